//! A store that survives every process: what it holds is what a restarted one finds. It may be emptied itself.

use crate::account::Contents;
use crate::replica::Replica;
use bytes::Bytes;
use std::collections::BTreeMap;
use ydash_proto::id::{ClientId, Clock};
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::room::Loaded;
use ydash_proto::update::{self, Knowledge};

/// What a store held at some time.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub(crate) knowledge: Knowledge,
    pub(crate) contents: Contents,
}

/// Clocks of one client that one session wrote.
pub(crate) type Written = (ClientId, Clock, Clock);

#[derive(Debug, Default)]
pub(crate) struct Store {
    snapshot: Option<(LogPosition, Bytes)>,
    log: Vec<(LogPosition, Bytes)>,
    /// The last position given out.
    given: u128,
    /// Where the log ends.
    end: LogPosition,
    /// What stood up to here is lost.
    lost_up_to: LogPosition,
    durable: Replica,
    contents: Contents,
    /// Whether somebody has to come back before everything in the log has its place.
    pub(crate) has_holes: bool,
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
            self.given += 1;
            self.end = LogPosition(self.given);
            self.log.push((self.end, entry.update.clone()));
            self.receive(&entry.update);
        }
        self.end
    }

    fn receive(&mut self, update: &Bytes) {
        for ready in self.durable.receive(update) {
            self.contents.add(&ready);
        }
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> LogPosition {
        self.end
    }

    /// Loses everything.
    pub(crate) fn lose(&mut self) {
        let (given, written, recoveries) = (self.given, core::mem::take(&mut self.written), self.recoveries);
        *self = Store { given, written, recoveries, lost_up_to: LogPosition(given), ..Store::default() };
    }

    /// Whether what stood at a position is lost.
    pub(crate) fn has_lost(&self, position: LogPosition) -> bool {
        position > LogPosition::START && position <= self.lost_up_to
    }

    /// Keeps the snapshot unless a newer one is there, and trims what it covers.
    pub(crate) fn snapshot(&mut self, covers: LogPosition, state: Bytes) {
        if self.snapshot.as_ref().is_some_and(|(newer, _)| *newer > covers) {
            return;
        }
        assert!(covers <= self.end, "a snapshot of what was never appended");
        // Collecting garbage also deletes what was put into a deleted type elsewhere.
        self.receive(&state);
        self.snapshot = Some((covers, state));
        self.log.retain(|(position, _)| *position > covers);
    }

    pub(crate) fn load(&self) -> Loaded {
        Loaded {
            snapshot: self.snapshot.as_ref().map(|(_, state)| state.clone()),
            log: self.log.iter().map(|(_, update)| update.clone()).collect(),
            position: self.end,
            ..Loaded::default()
        }
    }

    pub(crate) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// All that was ever appended.
    pub(crate) fn durable(&self) -> &Knowledge {
        self.durable.knowledge()
    }

    /// Whether all of an update is durable.
    pub(crate) fn durable_has(&self, update: &Bytes) -> bool {
        let scan = update::scan(update, &Limits::default()).expect("an update");
        self.durable().contains(update, &scan)
    }

    /// Likewise, with what stands there.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(crate) fn picture(&self) -> Durable {
        Durable { knowledge: self.durable().clone(), contents: self.contents.clone() }
    }

    /// Loads what is there as a new process would, and makes sure that nothing durable is missing.
    pub(crate) fn check(&self) {
        let mut found = Replica::default();
        let loaded = self.load();
        loaded.snapshot.iter().chain(&loaded.log).for_each(|update| _ = found.receive(update));
        if !self.has_holes {
            found.assert_whole("the store");
        }
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
