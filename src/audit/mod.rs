//! The audit log: who changed who may do what, who came in, who was refused. Never what a dashboard holds.
//!
//! Each node writes a chain of lines of its own ([`chain`]), into pages of the catalog, so it is as durable and as shared as grants are and
//! needs no lock between nodes. A page is replaced by compare-and-set until it is full. Two processes of one name, as while one replaces the
//! other, therefore write one chain. Pages of all nodes together are bounded; the oldest go first.
//!
//! While the catalog is away lines wait, bounded, and what is beyond is counted in the line that follows. Nobody's work waits for that.

mod chain;
mod checkpoint;
mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, info, warn};
use ydash_proto::access::{format_moment, parse_moment};
use ydash_proto::time::Timestamp;

pub use self::chain::Verifier;
use self::chain::{Head, LINE_BYTES_MAX, Line};
pub use self::checkpoint::{Checkpoint, CheckpointReader, Signer};
use self::tally::{Entry, Tally};
use crate::catalog::{Catalog, CatalogError, Expected, Key, Version, list_all};

/// What keys of pages begin with; when the page was begun and which node's it is follow, so that a list is in order of time.
const PAGES: &str = "audit/";
/// A page is replaced as a whole for every few lines.
pub const PAGE_BYTES: usize = 32 << 10;
/// Events that wait to be written.
const WAITING_MAX: usize = 4096;
/// How long what is counted is added up.
const TALLY_EVERY: Duration = Duration::from_secs(60);
/// How often the end of the chain is told to the log of the process, which leaves the machine where such logs do.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3600);
/// How long somebody waits until their act is in the log.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// Between attempts while the catalog is away.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pages that are read at once.
const READ_AT_ONCE: usize = 16;
/// How often somebody else may be faster in a row.
const ATTEMPTS: usize = 8;

/// Something that is told. Names of users and dashboards, never content.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened, as `link.made`.
    pub kind: &'static str,
    /// Who did it, if that is known.
    pub actor: Option<Arc<str>>,
    /// What it was done to: a dashboard, a workspace, a user.
    pub target: Arc<str>,
    /// What else there is to know.
    pub data: Value,
}

/// Which lines to read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Of this node only.
    pub node: Option<String>,
    /// Behind the line of that node with this number.
    pub after: Option<u64>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// With this user as the actor.
    pub actor: Option<String>,
    /// About this dashboard, or anything in this workspace.
    pub target: Option<String>,
    /// At most so many: the next ones behind `after`, else the newest.
    pub limit: usize,
}

/// The audit log, as one node writes it. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

struct Shared {
    catalog: Arc<dyn Catalog>,
    node: String,
    pages_max: usize,
    /// Whether what happens often is counted.
    counts: bool,
    /// Signs checkpoints, if there is a key.
    signer: Option<Signer>,
    /// The end of the chain, as far as it is written.
    head: Mutex<Head>,
    queue: Mutex<Queue>,
    news: Notify,
    /// How many events of all that were told are written, or lost.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Event, Timestamp)>,
    /// How many were told.
    told: u64,
    /// How many of those that were told since the last line do not fit.
    lost: u64,
    tally: Tally,
}

/// The page that is being written.
struct Page {
    key: Key,
    version: Option<Version>,
    text: String,
    head: Head,
    begun: u64,
}

impl Audit {
    /// A log in `catalog`, in which `node` has its own chain, and all nodes at most `bytes_max`. `counts` if it is known who comes. Its
    /// checkpoints are signed if there is a `signer`.
    #[must_use]
    pub fn new(
        catalog: Arc<dyn Catalog>,
        node: String,
        bytes_max: usize,
        counts: bool,
        signer: Option<Signer>,
    ) -> Audit {
        let shared = Shared {
            catalog,
            node,
            pages_max: (bytes_max / PAGE_BYTES).max(2),
            counts,
            signer,
            head: Mutex::default(),
            queue: Mutex::default(),
            news: Notify::new(),
            settled: watch::Sender::new(0),
        };
        Audit { shared: Arc::new(shared) }
    }

    /// Tells of an event. It is written soon.
    pub fn tell(&self, event: Event) {
        self.shared.queue().push(event, now());
        self.shared.news.notify_one();
    }

    /// Tells of an event of which there may be very many at once. Those beyond half of what may wait are counted, as by [`Audit::count`]:
    /// they never take the place of others. So are those beyond a user's lines of this minute: otherwise one user could push all older
    /// lines out of the log.
    pub fn tell_often(&self, event: Event) {
        let mut queue = self.shared.queue();
        if queue.waiting.len() >= WAITING_MAX / 2 || !queue.tally.take_line(event.actor.as_ref()) {
            let Event { kind, actor, target, .. } = event;
            return queue.tally.count(Entry { kind, actor, target });
        }
        queue.push(event, now());
        drop(queue);
        self.shared.news.notify_one();
    }

    /// Tells of an event, and waits until it is written, or not for long: while the catalog is away it waits in memory.
    pub async fn write(&self, event: Event) {
        self.shared.queue().push(event, now());
        self.settled().await;
    }

    /// Waits until all is written that was told so far, or not for long.
    async fn settled(&self) {
        let number = self.shared.queue().told;
        self.shared.news.notify_one();
        let mut settled = self.shared.settled.subscribe();
        // The sender is in `shared`.
        let _ = timeout(WRITTEN_WITHIN, settled.wait_for(|settled| *settled >= number)).await;
    }

    /// Counts something that happens often. What was counted is told once a minute.
    pub fn count(&self, kind: &'static str, actor: Option<Arc<str>>, target: &str) {
        if self.shared.counts {
            self.shared.queue().tally.count(Entry { kind, actor, target: target.into() });
        }
    }

    /// Whether what happens often is counted.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.shared.counts
    }

    /// Writes what is told, until it is dropped.
    pub async fn keep(self) {
        let mut page = None;
        let mut tally_at = Instant::now() + TALLY_EVERY;
        let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        let mut told = 0;
        loop {
            let _ = timeout_at(tally_at.min(checkpoint_at), self.shared.news.notified()).await;
            if Instant::now() >= tally_at {
                tally_at = Instant::now() + TALLY_EVERY;
                self.shared.queue().tell_tally();
            }
            while let Err(error) = self.shared.commit(&mut page).await {
                warn!(%error, "the audit log is not written; what is to be told waits");
                sleep(AGAIN_AFTER).await;
            }
            if Instant::now() >= checkpoint_at {
                checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
                let (seq, checkpoint) = self.shared.tell_checkpoint(told);
                told = seq;
                if let Some(checkpoint) = checkpoint {
                    let data = json!({ "checkpoint": checkpoint });
                    self.tell(Event { kind: "audit.checkpoint", actor: None, target: "".into(), data });
                    // The line about it is no news by itself.
                    told += 1;
                }
            }
        }
    }

    /// Tells of a last event, and waits until all is written that was told and counted, or not for long: the node ends.
    pub async fn close(&self, event: Option<Event>) {
        {
            let mut queue = self.shared.queue();
            queue.tell_tally();
            event.into_iter().for_each(|event| queue.push(event, now()));
        }
        self.settled().await;
        self.shared.tell_checkpoint(0);
        let queue = self.shared.queue();
        let left = queue.waiting.len() as u64 + queue.lost;
        if left > 0 {
            error!(events = left, "the audit log ends without events that could not be written");
        }
    }

    /// Reads lines, in order of time.
    ///
    /// # Errors
    /// [`CatalogError`] – the catalog is away.
    pub async fn read(&self, reading: &Reading) -> Result<Vec<String>, CatalogError> {
        read(&*self.shared.catalog, reading).await
    }
}

impl Queue {
    fn push(&mut self, event: Event, now: Timestamp) {
        self.told += 1;
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            return;
        }
        self.waiting.push_back((event, now));
    }

    fn tell_tally(&mut self) {
        for (Entry { kind, actor, target }, times) in self.tally.take() {
            self.push(Event { kind, actor, target, data: json!({ "times": times }) }, now());
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the log of the process where the chain ends, if it ends behind line `told`. Says up to which line is told by then, and the
    /// checkpoint if it is signed.
    fn tell_checkpoint(&self, told: u64) -> (u64, Option<String>) {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if head.seq <= told {
            return (told, None);
        }
        let checkpoint = self.signer.as_ref().map(|signer| signer.sign(&self.node, &head));
        info!(node = self.node, seq = head.seq, hash = head.hash, checkpoint, "audit checkpoint");
        (head.seq, checkpoint)
    }

    /// Writes all that waits.
    async fn commit(&self, page: &mut Option<Page>) -> Result<(), CatalogError> {
        let mut attempts = 0;
        loop {
            let lost = self.queue().lost;
            let some: Vec<(Event, Timestamp)> = self.queue().waiting.iter().take(256).cloned().collect();
            if some.is_empty() && lost == 0 {
                let settled = self.queue().told;
                // Nothing waits, so all that were told are settled.
                self.settled.send_if_modified(|before| core::mem::replace(before, settled) != settled);
                return Ok(());
            }
            let current = match page.take() {
                Some(current) => current,
                None => self.last_page().await?,
            };
            let (head, begun) = (current.head.clone(), current.begun);
            let (next, taken) = self.filled(current, &some, lost);
            let expected = next.version.map_or(Expected::Absent, Expected::Version);
            match self.catalog.put(&next.key, expected, Bytes::from(next.text.clone())).await {
                Ok(version) => {
                    attempts = 0;
                    let is_new = next.version.is_none();
                    self.took(&next.head, taken, lost);
                    *page = Some(Page { version: Some(version), ..next });
                    if is_new {
                        self.drop_oldest().await?;
                    }
                }
                Err(CatalogError::Conflict { .. }) if attempts < ATTEMPTS => {
                    attempts += 1;
                    let there = self.last_page().await?;
                    *page = Some(if there.head.seq < head.seq {
                        // Its page was the oldest of all nodes, and is gone: the chain goes on in another one.
                        self.page_after(&Page { head, begun, ..there })
                    } else {
                        // Another process of this name has written: its lines come first.
                        there
                    });
                }
                Err(error) => {
                    // It may be written all the same, and then its lines must not be there twice.
                    if let Ok(there) = self.last_page().await
                        && there.head == next.head
                    {
                        self.took(&there.head, taken, lost);
                        *page = Some(there);
                        continue;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// These events are written, and the chain ends with them.
    fn took(&self, head: &Head, taken: usize, lost: u64) {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone_from(head);
        let mut queue = self.queue();
        queue.waiting.drain(..taken);
        queue.lost -= lost;
        let settled = queue.told - queue.waiting.len() as u64 - queue.lost;
        drop(queue);
        self.settled.send_replace(settled);
    }

    /// A page with the next events behind its lines, or a page behind it with those, and how many it took.
    fn filled(&self, mut page: Page, events: &[(Event, Timestamp)], lost: u64) -> (Page, usize) {
        if page.text.len() >= PAGE_BYTES {
            page = self.page_after(&page);
        }
        if lost > 0 {
            let event = Event { kind: "audit.lost", actor: None, target: "".into(), data: json!({ "events": lost }) };
            self.add(&mut page, &event, now());
        }
        let mut taken = 0;
        for (event, at) in events {
            self.add(&mut page, event, *at);
            taken += 1;
            if page.text.len() >= PAGE_BYTES {
                break;
            }
        }
        (page, taken)
    }

    fn add(&self, page: &mut Page, event: &Event, at: Timestamp) {
        let Event { kind, actor, target, data } = event;
        let mut fields = Map::new();
        let mut say = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        say("at", format_moment(at).into());
        say("node", self.node.as_str().into());
        say("type", (*kind).into());
        if let Some(actor) = actor {
            say("actor", (**actor).into());
        }
        if !target.is_empty() {
            say("target", (**target).into());
        }
        let length = data.to_string().len();
        match data {
            Value::Null => {}
            _ if length > LINE_BYTES_MAX => say("data", json!({ "left_out_bytes": length })),
            data => say("data", data.clone()),
        }
        page.text.push_str(&page.head.append(fields));
        page.text.push('\n');
    }

    /// Where this node's chain ends. What cannot be read is left as it is, and a chain begins anew behind it.
    async fn last_page(&self) -> Result<Page, CatalogError> {
        let nothing =
            Page { key: page_key(0, &self.node), version: None, text: String::new(), head: Head::default(), begun: 0 };
        let keys = list_all(&*self.catalog, PAGES).await?;
        let own = keys.into_iter().filter_map(|key| Some((begun_of(&key, &self.node)?, key)));
        let Some((begun, key)) = own.last() else { return Ok(self.page_after(&nothing)) };
        let (text, version) = match self.catalog.get(&key).await {
            Ok(Some(record)) => (String::from_utf8(record.content.to_vec()).unwrap_or_default(), Some(record.version)),
            Ok(None) => (String::new(), None),
            Err(error @ (CatalogError::Damaged { .. } | CatalogError::LaterFormat { .. })) => {
                error!(%error, "the audit log cannot be continued, and begins anew");
                (String::new(), None)
            }
            Err(error) => return Err(error),
        };
        match text.lines().last().and_then(Head::of) {
            Some(head) => Ok(Page { key, version, text, head, begun }),
            None => Ok(self.page_after(&Page { begun, ..nothing })),
        }
    }

    fn page_after(&self, page: &Page) -> Page {
        let begun = now().0.max(page.begun + 1);
        Page { key: page_key(begun, &self.node), version: None, text: String::new(), head: page.head.clone(), begun }
    }

    /// Removes the oldest pages of all nodes that are too many.
    async fn drop_oldest(&self) -> Result<(), CatalogError> {
        let keys = list_all(&*self.catalog, PAGES).await?;
        let too_many = keys.len().saturating_sub(self.pages_max);
        for key in &keys[..too_many] {
            self.catalog.remove(key, Expected::Anything).await?;
        }
        Ok(())
    }
}

/// Reads lines of all nodes from a catalog, in order of time.
///
/// # Errors
/// [`CatalogError`] – it is away.
pub async fn read(catalog: &dyn Catalog, reading: &Reading) -> Result<Vec<String>, CatalogError> {
    let mut keys: Vec<(u64, String, Key)> = Vec::new();
    for key in list_all(catalog, PAGES).await? {
        let Some((begun, node)) = place_of(&key) else { continue };
        if reading.node.as_ref().is_none_or(|wanted| *wanted == node) {
            keys.push((begun, node, key));
        }
    }
    if let Some(since) = reading.since {
        // What a page holds is older than the next one of its node.
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        keys = keys
            .into_iter()
            .rev()
            .filter(|(begun, node, _)| next.insert(node.clone(), *begun).is_none_or(|next| next + 1000 > since.0))
            .collect();
        keys.reverse();
    }
    let mut found: Vec<(String, String)> = Vec::new();
    let mut latest: BTreeMap<String, String> = BTreeMap::new();
    for some in keys.chunks(READ_AT_ONCE) {
        for page in join_all(some.iter().map(|(_, _, key)| catalog.get(key))).await {
            let record = match page {
                Ok(Some(record)) => record,
                // Removed since.
                Ok(None) => continue,
                // The lines of others can be read. A verification of the log finds the gap.
                Err(error @ (CatalogError::Damaged { .. } | CatalogError::LaterFormat { .. })) => {
                    error!(%error, "a page of the audit log cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let text = String::from_utf8_lossy(&record.content);
            for (read, line) in text.lines().filter_map(|line| Some((Line::read(line)?, line))) {
                // Those of one node stay in their order, whatever its clock did, and though what waited is older.
                let at = latest.remove(&read.node).unwrap_or_default().max(read.at.clone());
                latest.insert(read.node.clone(), at.clone());
                if reading.wants(&read) {
                    found.push((at, line.to_owned()));
                }
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let beyond = found.len().saturating_sub(reading.limit);
    match reading.after {
        Some(_) => found.truncate(reading.limit),
        None => drop(found.drain(..beyond)),
    }
    Ok(found.into_iter().map(|(_, line)| line).collect())
}

impl Reading {
    fn wants(&self, line: &Line) -> bool {
        let text = |name: &str| line.fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_about = |wanted: &String| {
            let target = text("target");
            target == wanted || target.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.node.as_ref().is_none_or(|node| line.node == *node)
            && self.after.is_none_or(|after| line.seq > after)
            && self.since.is_none_or(|since| parse_moment(&line.at).is_some_and(|at| at.0 + 999 >= since.0))
            && self.actor.as_ref().is_none_or(|actor| text("actor") == actor)
            && self.target.as_ref().is_none_or(is_about)
    }
}

fn page_key(begun: u64, node: &str) -> Key {
    Key::new(&format!("{PAGES}{begun:013}/{node}")).expect("names of nodes are short and plain")
}

fn place_of(key: &Key) -> Option<(u64, String)> {
    let (begun, node) = key.as_str().strip_prefix(PAGES)?.split_once('/')?;
    Some((begun.parse().ok()?, node.to_owned()))
}

fn begun_of(key: &Key, node: &str) -> Option<u64> {
    place_of(key).filter(|(_, other)| other == node).map(|(begun, _)| begun)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryCatalog;

    fn audit(catalog: &MemoryCatalog, node: &str, bytes_max: usize) -> Audit {
        Audit::new(Arc::new(catalog.clone()), node.to_owned(), bytes_max, true, None)
    }

    fn event(kind: &'static str, n: usize) -> Event {
        Event { kind, actor: Some("ada".into()), target: format!("acme/{n}").into(), data: json!({ "n": n }) }
    }

    async fn all(catalog: &MemoryCatalog) -> Vec<String> {
        read(catalog, &Reading { limit: usize::MAX, ..Reading::default() }).await.unwrap()
    }

    fn faults(lines: &[String]) -> Vec<String> {
        let mut verifier = Verifier::default();
        lines.iter().for_each(|line| verifier.take(line));
        verifier.finish().1
    }

    fn of(line: &str, name: &str) -> Value {
        serde_json::from_str::<Value>(line).unwrap()[name].clone()
    }

    #[tokio::test]
    async fn what_is_told_is_there_in_one_chain_also_after_a_restart_and_beside_one_of_the_same_name() {
        let catalog = MemoryCatalog::new();
        for _ in 0..2 {
            let audit = audit(&catalog, "a", 1 << 20);
            let keeping = tokio::spawn(audit.clone().keep());
            for n in 0..3 {
                audit.write(event("link.made", n)).await;
            }
            keeping.abort();
        }
        let twins = [audit(&catalog, "a", 1 << 20), audit(&catalog, "a", 1 << 20)];
        let other = audit(&catalog, "b", 1 << 20);
        let keeping: Vec<_> = twins.iter().chain([&other]).map(|one| tokio::spawn(one.clone().keep())).collect();
        for n in 0..10 {
            tokio::join!(
                twins[0].write(event("link.made", n)),
                twins[1].write(event("link.revoked", n)),
                other.write(event("user.blocked", n))
            );
        }
        keeping.iter().for_each(|one| one.abort());
        let lines = all(&catalog).await;
        assert_eq!(lines.len(), 6 + 30);
        assert_eq!(faults(&lines), Vec::<String>::new());
        let of_a = lines.iter().filter(|line| of(line, "node") == "a").map(|line| of(line, "seq").as_u64().unwrap());
        assert_eq!(of_a.collect::<Vec<_>>(), (1..=26).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_log_is_bounded_and_its_oldest_pages_go_first() {
        let catalog = MemoryCatalog::new();
        let audit = audit(&catalog, "a", 4 * PAGE_BYTES);
        let keeping = tokio::spawn(audit.clone().keep());
        for n in 0..2000 {
            audit.tell(event("link.made", n));
        }
        audit.write(event("link.made", 2000)).await;
        keeping.abort();
        let lines = all(&catalog).await;
        let bytes: usize = lines.iter().map(String::len).sum();
        assert!(bytes <= 4 * (PAGE_BYTES + LINE_BYTES_MAX) && bytes > 2 * PAGE_BYTES, "{bytes}");
        assert_eq!(of(lines.last().unwrap(), "data"), json!({ "n": 2000 }));
        assert_ne!(of(&lines[0], "seq"), 1);
        assert_eq!(faults(&lines), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_catalog_is_away_lines_wait_up_to_a_bound_and_what_is_beyond_is_told() {
        let catalog = MemoryCatalog::new();
        let audit = audit(&catalog, "a", 64 << 20);
        catalog.set_down(true);
        let keeping = tokio::spawn(audit.clone().keep());
        for n in 0..WAITING_MAX + 10 {
            audit.tell(event("link.made", n));
        }
        assert_eq!(audit.shared.queue().waiting.len(), WAITING_MAX);
        let before = Instant::now();
        audit.write(event("link.made", 0)).await;
        assert_eq!(before.elapsed(), WRITTEN_WITHIN, "nobody waits for ever");
        catalog.set_down(false);
        tokio::time::sleep(2 * AGAIN_AFTER).await;
        audit.write(event("link.revoked", 1)).await;
        keeping.abort();
        let lines = all(&catalog).await;
        assert_eq!(faults(&lines), Vec::<String>::new());
        assert_eq!(lines.len(), WAITING_MAX + 2);
        let lost: Vec<_> = lines.iter().filter(|line| of(line, "type") == "audit.lost").collect();
        assert_eq!(lost.len(), 1);
        assert_eq!(of(lost[0], "data"), json!({ "events": 11 }));
        assert_eq!(of(lines.last().unwrap(), "type"), "link.revoked");
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_told_once_a_minute() {
        let catalog = MemoryCatalog::new();
        let audit = audit(&catalog, "a", 1 << 20);
        let keeping = tokio::spawn(audit.clone().keep());
        for _ in 0..1000 {
            audit.count("dashboard.entered", Some("ada".into()), "acme/sales");
        }
        tokio::time::sleep(TALLY_EVERY + Duration::from_secs(1)).await;
        keeping.abort();
        let lines = all(&catalog).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(of(&lines[0], "data"), json!({ "times": 1000 }));
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_at_once_are_counted_and_take_nobodys_place() {
        let catalog = MemoryCatalog::new();
        let audit = audit(&catalog, "a", 64 << 20);
        for n in 0..WAITING_MAX {
            // Those who come last are one user, so that they are counted in one line.
            let actor: Arc<str> = if n < WAITING_MAX / 2 { format!("user {n}").into() } else { "ada".into() };
            audit.tell_often(Event { actor: Some(actor), ..event("session.opened", 0) });
        }
        assert_eq!(audit.shared.queue().waiting.len(), WAITING_MAX / 2);
        audit.tell(event("link.made", 1));
        audit.shared.queue().tell_tally();
        let keeping = tokio::spawn(audit.clone().keep());
        audit.write(event("link.revoked", 1)).await;
        keeping.abort();
        let lines = all(&catalog).await;
        assert_eq!(lines.len(), WAITING_MAX / 2 + 3);
        assert_eq!(of(&lines[lines.len() - 2], "data"), json!({ "times": WAITING_MAX / 2 }));
    }

    /// One user whose sessions come and go pushed all older lines out of the log within half an hour.
    #[test]
    fn what_one_user_does_very_often_is_counted() {
        let audit = audit(&MemoryCatalog::new(), "a", 64 << 20);
        (0..1000).for_each(|_| audit.tell_often(event("session.opened", 0)));
        let mut queue = audit.shared.queue();
        let lines = queue.waiting.len();
        queue.tell_tally();
        assert!(lines < 200, "{lines}");
        assert_eq!(queue.waiting.len(), lines + 1);
        assert_eq!(queue.waiting[lines].0.data, json!({ "times": 1000 - lines }));
    }

    #[tokio::test]
    async fn lines_are_read_by_who_what_and_where_the_last_reading_ended() {
        let catalog = MemoryCatalog::new();
        let audit = audit(&catalog, "a", 64 << 20);
        let keeping = tokio::spawn(audit.clone().keep());
        for n in 0..500 {
            audit.tell(event("link.made", n));
        }
        audit.write(Event { actor: None, target: "acme".into(), ..event("access.changed", 0) }).await;
        keeping.abort();
        let seqs = async |reading: Reading| -> Vec<u64> {
            let lines = audit.read(&reading).await.unwrap();
            lines.iter().map(|line| of(line, "seq").as_u64().unwrap()).collect()
        };
        let limit = 3;
        assert_eq!(seqs(Reading { limit, ..Reading::default() }).await, [499, 500, 501]);
        let node = Some("a".to_owned());
        assert_eq!(seqs(Reading { limit, node, after: Some(7), ..Reading::default() }).await, [8, 9, 10]);
        let about = |target: &str| Reading { limit, target: Some(target.to_owned()), ..Reading::default() };
        assert_eq!(seqs(about("acme/7")).await, [8]);
        assert_eq!(seqs(about("acme")).await, [499, 500, 501]);
        assert_eq!(seqs(about("acm")).await, [0; 0]);
        let actor = Some("ada".to_owned());
        assert_eq!(seqs(Reading { limit, actor, ..Reading::default() }).await, [498, 499, 500]);
        let since = Some(Timestamp(now().0 + 3_600_000));
        assert_eq!(seqs(Reading { limit, since, ..Reading::default() }).await, [0; 0]);
        let since = Some(Timestamp(now().0 - 3_600_000));
        assert_eq!(seqs(Reading { limit, since, ..Reading::default() }).await, [499, 500, 501]);
    }
}
