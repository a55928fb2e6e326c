//! A store that survives everything: what it holds is what a restarted process finds.

use crate::replica::Replica;
use bytes::Bytes;
use std::collections::BTreeMap;
use ydash_proto::id::{ClientId, Clock};
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::room::Loaded;
use ydash_proto::update::{self, Knowledge};

/// Clocks of one client that one session wrote.
pub(crate) type Written = (ClientId, Clock, Clock);

#[derive(Debug, Default)]
pub(crate) struct Store {
    snapshot: Option<(LogPosition, Bytes)>,
    log: Vec<(LogPosition, Bytes)>,
    end: u128,
    durable: Replica,
    /// Who wrote what, as the log says.
    pub(crate) written: BTreeMap<u64, Vec<Written>>,
    pub(crate) recoveries: usize,
}

impl Store {
    pub(crate) fn append(&mut self, entries: &[LogEntry]) -> LogPosition {
        for entry in entries {
            let scan = update::scan(&entry.update, &Limits::default()).expect("the log holds updates");
            assert!(!scan.is_empty(), "an entry that says nothing");
            let spans = scan.spans.iter().map(|span| (span.client, span.start, span.end));
            if entry.source == Source::Recovery {
                self.recoveries += 1;
            } else {
                self.written.entry(entry.session).or_default().extend(spans);
            }
            self.end += 1;
            self.log.push((LogPosition(self.end), entry.update.clone()));
            self.durable.receive(&entry.update);
        }
        LogPosition(self.end)
    }

    /// Keeps the snapshot unless a newer one is there, and trims what it covers.
    pub(crate) fn snapshot(&mut self, covers: LogPosition, state: Bytes) {
        if self.snapshot.as_ref().is_some_and(|(newer, _)| *newer > covers) {
            return;
        }
        assert!(covers <= LogPosition(self.end), "a snapshot of what was never appended");
        // Collecting garbage also deletes what was put into a deleted type elsewhere.
        self.durable.receive(&state);
        self.snapshot = Some((covers, state));
        self.log.retain(|(position, _)| *position > covers);
    }

    pub(crate) fn load(&self) -> Loaded {
        Loaded {
            snapshot: self.snapshot.as_ref().map(|(_, state)| state.clone()),
            log: self.log.iter().map(|(_, update)| update.clone()).collect(),
            position: LogPosition(self.end),
        }
    }

    pub(crate) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// All that was ever appended.
    pub(crate) fn durable(&self) -> &Knowledge {
        self.durable.knowledge()
    }

    /// Loads what is there as a new process would, and makes sure that nothing durable is missing.
    pub(crate) fn check(&self) {
        let mut found = Replica::default();
        let loaded = self.load();
        loaded.snapshot.iter().chain(&loaded.log).for_each(|update| _ = found.receive(update));
        found.assert_whole("the store");
        let missing = self.durable().deletes().subtract(found.knowledge().deletes());
        assert!(missing.is_empty(), "the store lost deletions: {missing:?}");
        assert!(
            found.knowledge().clocks().covers(self.durable().clocks()),
            "the store holds {:?} of {:?}",
            found.knowledge().clocks(),
            self.durable().clocks()
        );
    }
}
