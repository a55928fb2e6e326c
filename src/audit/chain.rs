//! The lines of an audit log: each names the one before it by its hash, so none can be changed, taken out or put in between unnoticed.
//!
//! A line is a JSON object whose last member is `hash`: the SHA-256 of the line without that member, in hexadecimal. `prev` is the hash of
//! the line before it on the same node, `seq` its number. Lines are kept and handed out as the text that was hashed, so whoever checks
//! them needs no rules about how JSON is written.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::checkpoint::Checkpoint;

/// The longest line. What is told of an event beyond that is left out of it.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the last line; 0 before the first.
    pub(super) seq: u64,
    pub(super) hash: String,
}

impl Default for Head {
    fn default() -> Head {
        Head { seq: 0, hash: "0".repeat(64) }
    }
}

impl Head {
    /// Where the chain ends whose last line this is.
    pub(super) fn of(line: &str) -> Option<Head> {
        let read = Line::read(line)?;
        Some(Head { seq: read.seq, hash: read.hash })
    }

    /// Makes the next line.
    pub(super) fn append(&mut self, mut fields: Map<String, Value>) -> String {
        self.seq += 1;
        fields.insert("seq".to_owned(), self.seq.into());
        fields.insert("prev".to_owned(), core::mem::take(&mut self.hash).into());
        let mut text = Value::Object(fields).to_string();
        self.hash = hash_of(&text);
        text.pop();
        format!("{text},\"hash\":\"{}\"}}", self.hash)
    }
}

/// What has to be known of a line to place it.
pub(super) struct Line {
    pub(super) node: String,
    pub(super) seq: u64,
    pub(super) at: String,
    prev: String,
    hash: String,
    /// All that it says.
    pub(super) fields: Map<String, Value>,
}

impl Line {
    pub(super) fn read(line: &str) -> Option<Line> {
        let Value::Object(fields) = serde_json::from_str(line).ok()? else { return None };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let seq = fields.get("seq").and_then(Value::as_u64)?;
        Some(Line { node: text("node")?, seq, at: text("at")?, prev: text("prev")?, hash: text("hash")?, fields })
    }
}

fn hash_of(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a line's hash is that of the rest of it.
fn is_whole(line: &str, hash: &str) -> bool {
    let text = line.strip_suffix(&format!(",\"hash\":\"{hash}\"}}"));
    text.is_some_and(|text| hash_of(&format!("{text}}}")) == hash)
}

/// Checks lines of any number of nodes, those of each in their order.
#[derive(Debug, Default)]
pub struct Verifier {
    chains: BTreeMap<String, Chain>,
    faults: Vec<String>,
    lines: u64,
    wanted: Option<String>,
    /// Hashes of lines by node and number, as checkpoints tell them. Two of one line mean that it was replaced in between.
    expected: BTreeMap<(String, u64), BTreeSet<String>>,
    /// The last line of each node that is the one of a checkpoint.
    anchored: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Chain {
    first: u64,
    last: u64,
    hash: String,
}

/// Faults that are told one by one. Beyond, they are only counted as one more.
const FAULTS_MAX: usize = 100;

impl Verifier {
    /// Also looks for the line with this hash: one that is kept elsewhere shows that nothing up to it was taken off the end.
    #[must_use]
    pub fn wanting(hash: Option<String>) -> Verifier {
        Verifier { wanted: hash, ..Verifier::default() }
    }

    /// Also compares the lines with the ends of chains that checkpoints tell.
    #[must_use]
    pub fn expecting(mut self, checkpoints: impl IntoIterator<Item = Checkpoint>) -> Verifier {
        for Checkpoint { node, seq, hash } in checkpoints {
            self.expected.entry((node, seq)).or_default().insert(hash);
        }
        self
    }

    /// Takes the next line.
    pub fn take(&mut self, line: &str) {
        self.lines += 1;
        let Some(read) = Line::read(line) else {
            return self.fault(format!("line {} is no line of an audit log", self.lines));
        };
        let Line { node, seq, prev, hash, .. } = read;
        if !is_whole(line, &hash) {
            self.fault(format!("{node}: line {seq} was changed"));
        }
        if self.wanted.as_ref() == Some(&hash) {
            self.wanted = None;
        }
        match self.expected.remove(&(node.clone(), seq)) {
            Some(expected) if expected.iter().all(|expected| *expected == hash) => {
                self.anchored.insert(node.clone(), seq);
            }
            Some(_) => self.fault(format!("{node}: line {seq} is not the one that was there at a checkpoint")),
            None => {}
        }
        match self.chains.get_mut(&node) {
            None => drop(self.chains.insert(node, Chain { first: seq, last: seq, hash })),
            Some(chain) => {
                let (last, is_next) = (chain.last, seq == chain.last + 1 && prev == chain.hash);
                (chain.last, chain.hash) = (seq, hash);
                if !is_next {
                    self.fault(format!("{node}: line {seq} does not follow line {last}"));
                }
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() <= FAULTS_MAX {
            self.faults.push(if self.faults.len() < FAULTS_MAX { fault } else { "and more".to_owned() });
        }
    }

    /// What was found, a line each, and what is wrong, if anything.
    #[must_use]
    pub fn finish(mut self) -> (Vec<String>, Vec<String>) {
        if let Some(hash) = self.wanted.take() {
            self.fault(format!("there is no line with the hash {hash}"));
        }
        for (node, seq) in core::mem::take(&mut self.expected).into_keys() {
            match self.chains.get(&node) {
                None => {
                    self.fault(format!("{node}: line {seq} was there at a checkpoint, and there is none of that node"))
                }
                Some(Chain { last, .. }) if *last < seq => {
                    let last = *last;
                    self.fault(format!(
                        "{node}: line {seq} was there at a checkpoint, and the last one is line {last}"
                    ));
                }
                // The oldest are dropped by age.
                Some(_) => {}
            }
        }
        let told = self.chains.iter().map(|(node, Chain { first, last, hash })| {
            let anchored = self.anchored.get(node).map(|seq| format!("; a checkpoint vouches for line {seq}"));
            let anchored = anchored.unwrap_or_default();
            format!("{node}: lines {first} to {last}, the last one's hash is {hash}{anchored}")
        });
        (told.collect(), self.faults)
    }
}

/// A chain of the node `a`.
#[cfg(test)]
pub(super) fn lines(n: usize) -> Vec<String> {
    let mut head = Head::default();
    let fields = |i| serde_json::json!({ "at": "2026-11-28T06:00:00Z", "node": "a", "type": "t", "data": { "i": i } });
    (0..n).map(|i| head.append(fields(i).as_object().unwrap().clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let mut verifier = Verifier::default();
        lines.into_iter().for_each(|line| verifier.take(line));
        verifier.finish().1
    }

    /// Change this text only together with `docs/AUTH.md`: people have scripts that check it.
    #[test]
    fn golden_line() {
        let mut head = Head::default();
        let fields = json!({ "at": "2026-11-28T06:00:00Z", "node": "a", "type": "node.started" });
        assert_eq!(
            head.append(fields.as_object().unwrap().clone()),
            concat!(
                r#"{"at":"2026-11-28T06:00:00Z","node":"a","#,
                r#""prev":"0000000000000000000000000000000000000000000000000000000000000000","seq":1,"type":"node.started","#,
                r#""hash":"8ce2dd2d36d3f3eba8759071f044c986a85abff6a603b295a537976e02133355"}"#
            )
        );
        assert_eq!(Head::of(&head.clone().append(Map::new())), None, "no node and no time");
    }

    #[test]
    fn a_line_that_was_changed_taken_out_or_put_in_is_found() {
        let whole = lines(5);
        assert_eq!(faults(&whole), Vec::<String>::new());
        assert_eq!(faults(&whole[2..]), Vec::<String>::new(), "the oldest are dropped by age");
        let changed = |i: usize, line: String| {
            let mut lines = whole.clone();
            lines[i] = line;
            faults(&lines)
        };
        assert_eq!(changed(2, whole[2].replace("\"i\":2", "\"i\":3")), ["a: line 3 was changed"]);
        assert_eq!(faults(whole.iter().take(2).chain(&whole[3..])), ["a: line 4 does not follow line 2"]);
        assert_eq!(faults(whole.iter().take(3).chain(&whole[2..])).len(), 1);
        assert_eq!(changed(4, "{}".to_owned()), ["line 5 is no line of an audit log"]);
        // Whoever makes the hashes anew changes all that follow, and the last one's is known elsewhere.
        let mut verifier = Verifier::wanting(Head::of(&whole[4]).map(|head| head.hash));
        whole[..4].iter().for_each(|line| verifier.take(line));
        assert_eq!(verifier.finish().1.len(), 1);
    }
}
