//! The way of accepted updates into the log: what is durable, what is on its way, and who waits to hear of it.
//!
//! One append is in flight at a time; what is accepted meanwhile goes with the next one. While the store is away, entries are
//! kept up to a bound; beyond it only the state vector that is known to be durable is remembered, and one difference from
//! there takes the entries' place.
//!
//! Every append says which position it relies on. A store that does not hold it any more refuses: then nothing is durable, the
//! difference is the whole state, and who waits to hear that something is saved waits for that.

mod snapshots;

#[cfg(test)]
pub(super) use snapshots::MAKE_ROOM_AGAIN;
pub(super) use snapshots::SNAPSHOT_AGAIN;

use super::input::RequestId;
use crate::id::{ClientId, Clock, MemberId};
use crate::log::{LogEntry, LogPosition, Source};
use crate::time::Timestamp;
use crate::update::{self, StateVector};
use bytes::Bytes;
use core::time::Duration;
use std::collections::BTreeMap;

/// Entries of up to so many bytes are joined.
const JOINED_BYTES_MAX: usize = 64 << 10;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// One entry and the member that gets it back when it is durable.
#[derive(Debug)]
pub(super) struct Unsaved {
    pub(super) entry: LogEntry,
    pub(super) echo_to: Option<MemberId>,
}

/// Entries that share a fate, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Unsaved>,
    pub(super) acks: BTreeMap<MemberId, u32>,
    pub(super) answers: Vec<RequestId>,
    bytes: usize,
    starts: Vec<(ClientId, Clock)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.acks.is_empty() && self.answers.is_empty()
    }

    fn wait_for(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Member(member, count) => *self.acks.entry(member).or_default() += count,
            Waiting::Request(request) => self.answers.push(request),
        }
    }

    fn give_up_entries(&mut self) {
        self.entries = Vec::new();
        self.starts = Vec::new();
        self.bytes = 0;
    }

    fn lower(&self, durable: &mut StateVector) {
        for &(client, clock) in &self.starts {
            durable.lower(client, clock);
        }
    }
}

/// The append on its way.
#[derive(Debug)]
struct InFlight {
    batch: Batch,
    /// Set when it is one difference: the clocks up to which it reaches.
    difference_up_to: Option<StateVector>,
    /// Whether entries that came after the difference was cut had to be given up too.
    given_up_since: bool,
    /// Whether it became known meanwhile that the store has lost what it builds on.
    is_void: bool,
}

impl InFlight {
    /// Whether it appends nothing.
    fn is_check(&self) -> bool {
        self.batch.entries.is_empty() && self.difference_up_to.is_none()
    }
}

/// What an append has made durable.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) batch: Batch,
    /// It appended nothing.
    pub(super) is_check: bool,
}

/// Who wants to hear when something is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Member(MemberId, u32),
    Request(RequestId),
}

/// What an append is to carry.
#[derive(Debug)]
pub(super) enum ToAppend {
    Entries(Vec<LogEntry>),
    /// Everything since this state vector.
    DifferenceFrom(StateVector),
}

/// The state of saving of one room.
#[derive(Debug)]
pub(super) struct Saving {
    unsaved: Batch,
    in_flight: Option<InFlight>,
    /// Set when entries were given up: what is certainly durable.
    diverged_at: Option<StateVector>,
    /// The last entry that this room appended, loaded or read.
    position: LogPosition,
    /// The last position that the store has told of: what the next append relies on.
    known: Option<LogPosition>,
    /// Positions up to here were known when the store turned out to have lost what stood there.
    void_up_to: LogPosition,
    wants_check: bool,
    retry_at: Option<Timestamp>,
    retry_after: Duration,
    since_snapshot: usize,
    unsnapshotted_since: Option<Timestamp>,
}

impl Saving {
    /// Of a dashboard whose log, as far as loaded, ends at `position` with `log_bytes` after the snapshot.
    pub(super) fn new(now: Timestamp, position: LogPosition, log_bytes: usize) -> Saving {
        Saving {
            unsaved: Batch::default(),
            in_flight: None,
            diverged_at: None,
            position,
            known: Some(position),
            void_up_to: LogPosition::START,
            wants_check: false,
            retry_at: None,
            retry_after: RETRY_MIN,
            since_snapshot: log_bytes,
            unsnapshotted_since: (log_bytes > 0).then_some(now),
        }
    }

    /// Takes an accepted update whose structs begin at `starts`. Returns whether entries had to be given up for a difference.
    pub(super) fn add(
        &mut self,
        unsaved: Unsaved,
        starts: impl Iterator<Item = (ClientId, Clock)>,
        clocks: &StateVector,
        bytes_max: usize,
    ) -> bool {
        self.unsaved.bytes += unsaved.entry.update.len();
        self.unsaved.starts.extend(starts);
        self.unsaved.entries.push(unsaved);
        // A single large update is no backlog.
        if self.unsaved.bytes <= bytes_max || self.unsaved.entries.len() == 1 {
            return false;
        }
        match &mut self.in_flight {
            Some(InFlight { difference_up_to: Some(_), given_up_since, .. }) => *given_up_since = true,
            in_flight => {
                if self.diverged_at.is_none() {
                    let mut durable = clocks.clone();
                    self.unsaved.lower(&mut durable);
                    if let Some(in_flight) = in_flight {
                        in_flight.batch.lower(&mut durable);
                    }
                    self.diverged_at = Some(durable);
                }
            }
        }
        self.unsaved.give_up_entries();
        true
    }

    /// Lets `waiting` hear when all that was added so far is durable. Returns whether that is so already.
    pub(super) fn when_durable(&mut self, waiting: Waiting) -> bool {
        // A difference in flight holds everything, unless something was given up after it was cut.
        let is_in_flight = |in_flight: &InFlight| {
            in_flight.difference_up_to.is_some() && !in_flight.given_up_since && !in_flight.is_void
        };
        let lags_behind = self.diverged_at.is_some() && !self.in_flight.as_ref().is_some_and(is_in_flight);
        if !self.unsaved.is_empty() || lags_behind {
            self.unsaved.wait_for(waiting);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.batch.wait_for(waiting);
        } else {
            return true;
        }
        false
    }

    /// Forgets a member that left.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.unsaved.acks.remove(&member);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.batch.acks.remove(&member);
        }
    }

    /// The next append, when there is something and nothing is in flight.
    pub(super) fn next(&mut self, now: Timestamp, clocks: &StateVector) -> Option<ToAppend> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        let is_check = core::mem::take(&mut self.wants_check);
        if self.unsaved.is_empty() && self.diverged_at.is_none() && !is_check {
            return None;
        }
        let batch = core::mem::take(&mut self.unsaved);
        let to_append = match &self.diverged_at {
            Some(durable) => ToAppend::DifferenceFrom(durable.clone()),
            None => ToAppend::Entries(one_per_session(&batch.entries)),
        };
        let difference_up_to = self.diverged_at.is_some().then(|| clocks.clone());
        self.in_flight = Some(InFlight { batch, difference_up_to, given_up_since: false, is_void: false });
        Some(to_append)
    }

    /// What the append in flight relies on.
    pub(super) fn known(&self) -> Option<LogPosition> {
        self.known
    }

    /// The append in flight is durable: who waited for it. `None` if what it builds on turned out to be lost: then they wait on.
    pub(super) fn appended(&mut self, now: Timestamp, position: LogPosition) -> Option<Durable> {
        self.retry_after = RETRY_MIN;
        self.retry_at = None;
        let in_flight = self.in_flight.take_if(|in_flight| !in_flight.is_void);
        let Some(in_flight) = in_flight else {
            self.put_back();
            return None;
        };
        self.known = Some(position);
        let is_check = in_flight.is_check();
        if !is_check {
            self.position = self.position.max(position);
            self.unsnapshotted_since.get_or_insert(now);
            self.since_snapshot += in_flight.batch.bytes.max(1);
            if let Some(reached) = in_flight.difference_up_to {
                self.diverged_at = in_flight.given_up_since.then_some(reached);
            }
        }
        Some(Durable { batch: in_flight.batch, is_check })
    }

    /// The store does not have any more what was durable: all of the document is to go there anew.
    pub(super) fn lost(&mut self) {
        self.void_up_to = self.void_up_to.max(self.position).max(self.known.unwrap_or_default());
        self.position = LogPosition::START;
        self.known = None;
        self.diverged_at = Some(StateVector::default());
        self.retry_at = None;
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.is_void = true;
        }
    }

    /// The append in flight was refused, because the store has lost what it relied on.
    pub(super) fn refused(&mut self) {
        self.lost();
        self.put_back();
    }

    /// Whether it is known that what stood at a position is lost.
    pub(super) fn is_void(&self, position: LogPosition) -> bool {
        position <= self.void_up_to
    }

    /// The store was read and holds only so much of the document.
    pub(super) fn lacks(&mut self, held: &StateVector) {
        match &mut self.diverged_at {
            None => self.diverged_at = Some(held.clone()),
            Some(durable) => {
                let clocks: Vec<_> = durable.iter().map(|(client, _)| (client, held.get(client))).collect();
                clocks.into_iter().for_each(|(client, clock)| durable.lower(client, clock));
            }
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.is_void = true;
        }
    }

    /// The log was read: all of it up to a position is in the document.
    pub(super) fn has_read(&mut self, position: LogPosition) {
        self.position = self.position.max(position);
        self.known = self.known.map(|known| known.max(position));
    }

    /// Makes sure soon that the store still holds everything; with the next append, if there is one.
    pub(super) fn check(&mut self) {
        self.wants_check = true;
    }

    /// The append in flight failed: it goes back to the front.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.retry_at = Some(now + self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
        self.put_back();
    }

    /// Puts the append in flight in front of what came after it.
    fn put_back(&mut self) {
        let Some(InFlight { mut batch, .. }) = self.in_flight.take() else { return };
        let later = core::mem::take(&mut self.unsaved);
        if self.diverged_at.is_some() {
            batch.give_up_entries();
        }
        batch.entries.extend(later.entries);
        batch.starts.extend(later.starts);
        batch.bytes += later.bytes;
        batch.answers.extend(later.answers);
        for (member, count) in later.acks {
            *batch.acks.entry(member).or_default() += count;
        }
        self.unsaved = batch;
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Whether all that was accepted is durable.
    pub(super) fn is_saved(&self) -> bool {
        self.unsaved.is_empty() && self.in_flight.is_none() && self.diverged_at.is_none()
    }

    /// Whether all that was accepted and is not durable is in the append in flight.
    pub(super) fn is_all_in_flight(&self) -> bool {
        let is_whole = |in_flight: &InFlight| !in_flight.given_up_since && !in_flight.is_void;
        self.unsaved.entries.is_empty() && self.in_flight.as_ref().is_some_and(is_whole)
    }

    /// Everything in the log up to here is in the document, unless other nodes write to it as well.
    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    /// Bytes in the log that no snapshot covers.
    pub(super) fn since_snapshot(&self) -> usize {
        self.since_snapshot
    }

    /// Since when the log holds something that no snapshot covers.
    pub(super) fn unsnapshotted_since(&self) -> Option<Timestamp> {
        self.unsnapshotted_since
    }

    /// A snapshot that was begun at `begun`, with `bytes` uncovered at that time, is durable.
    pub(super) fn snapshotted(&mut self, begun: Timestamp, bytes: usize) {
        self.since_snapshot = self.since_snapshot.saturating_sub(bytes);
        self.unsnapshotted_since = (self.since_snapshot > 0).then_some(begun);
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.unsaved.bytes + self.in_flight.as_ref().map_or(0, |in_flight| in_flight.batch.bytes)
    }
}

/// Joins the small entries of each session, in the order of their first ones. To join a large one takes as long as to read it.
///
/// An entry may then stand before one that it builds on; loading places them in whatever order they come.
fn one_per_session(entries: &[Unsaved]) -> Vec<LogEntry> {
    let mut joined: Vec<(LogEntry, Vec<Bytes>)> = Vec::new();
    for Unsaved { entry, .. } in entries {
        let same = |(first, _): &&mut (LogEntry, Vec<Bytes>)| {
            first.session == entry.session
                && first.author == entry.author
                && first.source == entry.source
                && first.update.len() <= JOINED_BYTES_MAX
        };
        let is_small = entry.update.len() <= JOINED_BYTES_MAX;
        match joined.iter_mut().find(same).filter(|_| is_small) {
            Some((_, updates)) => updates.push(entry.update.clone()),
            None => joined.push((entry.clone(), vec![entry.update.clone()])),
        }
    }
    let join = |(entry, updates): (LogEntry, Vec<Bytes>)| match updates.as_slice() {
        [_] => entry,
        _ => LogEntry { update: update::merge(&updates), ..entry },
    };
    joined.into_iter().map(join).collect()
}

/// The entry that stands for everything since the store went away.
pub(super) fn recovery_entry(now: Timestamp, difference: Bytes) -> LogEntry {
    LogEntry { at: now, author: None, session: 0, source: Source::Recovery, update: difference }
}
