//! Signed ends of a chain. They leave the machine with the log of the process: whoever keeps them finds a chain that was written anew, or
//! whose end was cut off.
//!
//! A checkpoint is one word, so that it is found in a log of any form: `ydash-audit.1.NODE.SEQ.HASH.SIGNATURE`, with the node's name and the
//! Ed25519 signature in base64url. The signature is that of everything before the last dot.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde_json::Value;

use super::chain::Head;

const BEGINNING: &str = "ydash-audit.1.";

/// Signs checkpoints with a node's private key.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads a private key as `ydash token --new-key` prints it: that line, or its `private` alone.
    ///
    /// # Errors
    /// In words, for the operator.
    pub fn read(text: &str) -> Result<Signer, String> {
        let key = jwk(text, "private")?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&member(&key, "d")?, &member(&key, "x")?);
        pair.map(Signer).map_err(|error| format!("no pair of Ed25519 keys: {error}"))
    }

    pub(super) fn sign(&self, node: &str, head: &Head) -> String {
        let signed = format!("{BEGINNING}{}.{}.{}", BASE64URL.encode(node), head.seq, head.hash);
        let signature = BASE64URL.encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// The end of a chain at the time when its node signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) node: String,
    pub(super) seq: u64,
    pub(super) hash: String,
}

/// Finds checkpoints.
pub struct CheckpointReader(UnparsedPublicKey<Vec<u8>>);

impl CheckpointReader {
    /// Believes those that are signed with this key, as `ydash token --new-key` prints it: that line, or its `public` alone.
    ///
    /// # Errors
    /// In words, for the operator.
    pub fn new(key: &str) -> Result<CheckpointReader, String> {
        Ok(CheckpointReader(UnparsedPublicKey::new(&ED25519, member(&jwk(key, "public")?, "x")?)))
    }

    /// The checkpoints in a text, whatever else is in it; for a word that looks like one and is not signed with the key, that word.
    pub fn all_in<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Result<Checkpoint, &'a str>> {
        text.match_indices(BEGINNING).map(|(at, _)| {
            let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&letter);
            let rest = &text[at..];
            let word = &rest[..rest.find(|letter| !is_of_it(letter)).unwrap_or(rest.len())];
            self.read(word).ok_or(word)
        })
    }

    fn read(&self, word: &str) -> Option<Checkpoint> {
        let (signed, signature) = word.rsplit_once('.')?;
        self.0.verify(signed.as_bytes(), &BASE64URL.decode(signature).ok()?).ok()?;
        let mut parts = signed.strip_prefix(BEGINNING)?.split('.');
        let node = String::from_utf8(BASE64URL.decode(parts.next()?).ok()?).ok()?;
        Some(Checkpoint { node, seq: parts.next()?.parse().ok()?, hash: parts.next()?.to_owned() })
    }
}

/// The JWK in a text: all of it, or the member of this name.
fn jwk(text: &str, name: &str) -> Result<Value, String> {
    let mut read: Value = serde_json::from_str(text.trim()).map_err(|_| "no JSON Web Key".to_owned())?;
    let key = read.get_mut(name).map(Value::take).unwrap_or(read);
    if key["crv"] == "Ed25519" { Ok(key) } else { Err("no key of the curve Ed25519".to_owned()) }
}

fn member(key: &Value, name: &str) -> Result<Vec<u8>, String> {
    let bytes = key[name].as_str().and_then(|text| BASE64URL.decode(text).ok());
    bytes.ok_or_else(|| format!("the key has no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Verifier;
    use crate::audit::chain::lines;

    fn keys() -> (Signer, CheckpointReader) {
        let (private, public) = crate::auth::new_key().unwrap();
        (Signer::read(&private.to_string()).unwrap(), CheckpointReader::new(&public.to_string()).unwrap())
    }

    fn faults(lines: &[String], checkpoints: &[Checkpoint]) -> Vec<String> {
        let mut verifier = Verifier::default().expecting(checkpoints.iter().cloned());
        lines.iter().for_each(|line| verifier.take(line));
        verifier.finish().1
    }

    #[test]
    fn a_chain_that_was_written_anew_or_cut_off_is_found_by_its_checkpoints() {
        let (signer, reader) = keys();
        let whole = lines(5);
        let told = |at: usize| format!("{{\"checkpoint\":\"{}\"}}\n", signer.sign("a", &Head::of(&whole[at]).unwrap()));
        let log = told(1) + "something else\n" + &told(4);
        let checkpoints: Vec<Checkpoint> = reader.all_in(&log).map(Result::unwrap).collect();
        assert_eq!(checkpoints.len(), 2);
        assert_eq!(faults(&whole, &checkpoints), Vec::<String>::new());
        assert_eq!(faults(&whole[3..], &checkpoints), Vec::<String>::new(), "the oldest are dropped by age");
        assert_eq!(
            faults(&whole[..4], &checkpoints),
            ["a: line 5 was there at a checkpoint, and the last one is line 4"]
        );
        // Somebody who may write to the store makes all hashes anew.
        let mut head = Head::default();
        let anew: Vec<String> = whole
            .iter()
            .map(|line| {
                let Value::Object(mut fields) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
                ["seq", "prev", "hash"].iter().for_each(|name| drop(fields.remove(*name)));
                fields.insert("actor".to_owned(), "somebody else".into());
                head.append(fields)
            })
            .collect();
        assert_eq!(faults(&anew, &[]), Vec::<String>::new());
        assert_eq!(faults(&anew, &checkpoints).len(), 2);
        assert_eq!(faults(&[], &checkpoints).len(), 2);
        // The node goes on with what it finds, and signs that, too. It does not replace what it signed before.
        let again = Checkpoint { hash: Head::of(&anew[4]).unwrap().hash, ..checkpoints[1].clone() };
        assert_eq!(faults(&anew, &[checkpoints[1].clone(), again]).len(), 1);
    }

    #[test]
    fn a_checkpoint_of_another_key_or_that_was_changed_is_none() {
        let ((signer, reader), (other, _)) = (keys(), keys());
        let head = Head::of(&lines(3)[2]).unwrap();
        let (good, foreign) = (signer.sign("a", &head), other.sign("a", &head));
        assert!(reader.all_in(&good).all(|read| read.is_ok()));
        for bad in [foreign, good.replace(".3.", ".4."), good[..good.len() - 2].to_owned()] {
            assert_eq!(reader.all_in(&bad).collect::<Vec<_>>(), [Err(&*bad)]);
        }
    }
}
