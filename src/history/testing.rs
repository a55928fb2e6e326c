//! A dashboard and everything that was ever appended to it, for tests of its past.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ydash_proto::document::{from_json, to_json};
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update;

use super::seal::{Kept, Policy, keep_up};
use crate::reading::Readers;
use crate::store::memory::MemoryStore;
use crate::store::{Append, Digest, LogEntry, LogPosition, Segment, Source, Store, StoreError};

pub(super) const HOUR: u64 = 3_600_000;

pub(super) fn board() -> DashboardId {
    DashboardId::parse("w/a").unwrap()
}

pub(super) struct House {
    pub(super) memory: MemoryStore,
    pub(super) store: Arc<dyn Store>,
    pub(super) readers: Readers,
    pub(super) policy: Policy,
    /// All that was appended.
    pub(super) log: Vec<(LogPosition, LogEntry)>,
}

impl House {
    pub(super) fn new() -> House {
        let memory = MemoryStore::new();
        let policy = Policy { keep: Duration::from_secs(7 * 24 * 3600), limits: Limits::default() };
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        House { memory, store, readers: Readers::default(), policy, log: Vec::new() }
    }

    pub(super) async fn edit(&mut self, at: u64, author: &str, client: u32, json: &str) {
        let update = from_json(json.as_bytes(), client).unwrap().into();
        self.append(at, author, update).await;
    }

    pub(super) async fn append(&mut self, at: u64, author: &str, update: Bytes) {
        let author = Some(author.into());
        let entry = LogEntry { at: Timestamp(at), author, session: 1, source: Source::Socket, update };
        let append = Append { dashboard: board(), life: Life::FIRST, after: None, entries: vec![entry.clone()] };
        let position = self.store.append(vec![append]).await.remove(0).unwrap().position;
        self.log.push((position, entry));
    }

    /// An edit of another client: content of its own, or a deletion of somebody else's, nested types and texts among it.
    pub(super) async fn edit_at_random(&mut self, at: u64, random: &mut fastrand::Rng) {
        let client = 1 + self.log.len() as u32;
        let state = self.state_at(LogPosition(u128::MAX));
        let shown = to_json(&state).unwrap();
        let roots: Vec<String> = match serde_json::from_str(&shown).unwrap() {
            serde_json::Value::Object(roots) => roots.keys().cloned().collect(),
            _ => Vec::new(),
        };
        if roots.len() > 3 && random.bool() {
            // Deletes what a client wrote: all of it, or a part.
            let (of, from) = (random.u8(1..client.min(120) as u8), random.u8(..2));
            let deletes = vec![0, 1, of, 1, from, 1 + random.u8(..3)];
            return self.append(at, "bob", deletes.into()).await;
        }
        let n = random.u8(..);
        let json = match n % 3 {
            0 => format!("{{\"list{}\":[1,{n},{{\"a\":[true]}}]}}", client % 5),
            1 => format!("{{\"map{}\":{{\"k{}\":{n},\"deep\":{{\"x\":[{n}]}}}}}}", client % 4, n % 6),
            _ => format!("{{\"text{client}\":\"written {n}\"}}"),
        };
        self.edit(at, "ada", client, &json).await;
    }

    pub(super) fn state_at(&self, position: LogPosition) -> Bytes {
        let until = self.log.iter().take_while(|(at, _)| *at <= position);
        let updates: Vec<Bytes> = until.map(|(_, entry)| entry.update.clone()).collect();
        update::merge(&updates)
    }

    /// A snapshot of everything, which seals what is due.
    pub(super) async fn snapshot(&self, at: u64) -> usize {
        let covers = self.log.last().unwrap().0;
        let state = self.state_at(covers);
        self.store.snapshot(&board(), covers, state.clone()).await.unwrap();
        self.keep_up(Kept { covers, state, at: Timestamp(at) }).await.unwrap()
    }

    pub(super) async fn keep_up(&self, kept: Kept) -> Result<usize, StoreError> {
        keep_up(&self.store, &self.readers, &board(), kept, &self.policy).await
    }

    /// Every version that the segments and the log hold, beside what the whole log says.
    pub(super) async fn compare(&self) -> usize {
        let (mut compared, mut chain) = (0, None);
        let history = self.store.history(&board()).await.unwrap();
        let mut compare = |state: &Bytes, entries: &[(LogPosition, LogEntry)]| {
            let mut parts = vec![state.clone()];
            for (position, entry) in entries {
                parts.push(entry.update.clone());
                let shown = to_json(&update::merge(&parts)).unwrap();
                assert_eq!(shown, to_json(&self.state_at(*position)).unwrap(), "at {position}");
                let known = self.log.iter().find(|(at, _)| at == position).unwrap();
                assert_eq!(known.1, *entry);
                compared += 1;
            }
        };
        for info in &history.segments {
            let record = self.store.segment(&board(), info.from).await.unwrap().unwrap();
            let segment = Segment::open(&record).unwrap();
            assert!(chain.is_none_or(|chain| segment.previous == chain));
            chain = Some(Digest::of(&record));
            compare(&segment.state, &segment.entries);
        }
        let base = self.store.base(&board()).await.unwrap();
        assert_eq!(base.previous, chain.unwrap_or_default());
        compare(&base.state, &self.store.log(&board(), base.position, usize::MAX).await.unwrap());
        compared
    }
}
