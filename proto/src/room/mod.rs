//! A dashboard that is live on one node, as a state machine: told of [`Input`]s, it answers with [`Effect`]s.
//!
//! A room decides who gets which bytes and when, what goes to the log, what is said to be saved, and when there is nothing left
//! to stay in memory for. It never waits, reads no clock and never fails: whatever a peer sends ends in an effect.
//!
//! The rules that hold at any time:
//! - what the guard accepted reaches every other member, by a flush or by one difference after its outbox overflowed;
//! - an ack goes out only after the store said that all of the update's content is durable;
//! - awareness of an id comes from the session that owns it, and disappears with it.

mod document;
mod effect;
mod flush;
mod input;
mod journal;
mod member;
mod ownership;
mod presence;
mod remote;
mod saving;
#[cfg(test)]
mod tests;

pub use effect::{Effect, Frame, FrameKind, LimitReached, Report, WriteRefusal};
pub use input::{Dialect, Input, Joining, RequestId, Said, Scanned, StoreRead};
pub use journal::FlushSeq;
pub use member::MemberView;

use crate::access::{Access, Identity};
use crate::id::{ClientId, MemberId};
use crate::limits::Limits;
use crate::log::{LogEntry, LogPosition, Source};
use crate::time::Timestamp;
use crate::update::{self, HeldWhy, Ownership, Refusal, Scan, ScanError, Source as Trust, StateVector};
use crate::wire::awareness::{Entries, NULL};
use crate::wire::close::CloseCode;
use crate::wire::{self, encode};
use bytes::Bytes;
use core::time::Duration;
use document::Document;
use flush::Flush;
use journal::Journal;
use member::{Held, Lag, Member};
use ownership::Owners;
use presence::{Announcer, Introduction, Presence};
use remote::Company;
use saving::{Durable, Saving, ToAppend, Unsaved, Waiting};
use std::collections::BTreeMap;

/// How often something is sent to everybody. Stock clients reconnect when no message came for 30 s (`messageReconnectTimeout`).
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long an answer to a question for missing content may take before the question is put again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long after a room that closes could not leave it tries again.
const CLOSING_RETRY: Duration = Duration::from_millis(20);
/// A flush that joins so many updates came from a busy room.
const BUSY_UPDATES: usize = 3;
/// For how long after a room was opened its members may know each other from before: a restart, an eviction, another node.
/// All of a restarted server's clients are back within seconds.
const YOUNG: Duration = Duration::from_secs(30);
/// A document that has come so close to its limit is nearly full; when full it takes deletions that make it larger by no more.
const DELETIONS_SHARE: usize = 8;
/// How long after garbage was collected to make room in a full document it may be again.
const MAKE_ROOM_AGAIN: Duration = Duration::from_secs(2);
/// How long after a failed snapshot the next one is tried; the log still holds everything.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(5);

/// The pace of a room.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Updates go out at most this often in the long run, a quiet room's at once; a very busy room's as its awareness does.
    pub flush_interval: Duration,
    /// Awareness goes out at most this often.
    pub awareness_interval: Duration,
    /// How long a room without members stays in memory.
    pub room_idle: Duration,
    /// A snapshot is written when the log has grown by so many bytes.
    pub snapshot_after_bytes: usize,
    /// A snapshot is written when the log holds something this old that none covers.
    pub snapshot_interval: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            flush_interval: Duration::from_millis(8),
            awareness_interval: Duration::from_millis(20),
            room_idle: Duration::from_secs(60),
            snapshot_after_bytes: 256 << 10,
            snapshot_interval: Duration::from_secs(60),
        }
    }
}

/// What the store held when the room was opened.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The newest snapshot.
    pub snapshot: Option<Bytes>,
    /// The log after it.
    pub log: Vec<Bytes>,
    /// Where the log ends.
    pub position: LogPosition,
}

/// A live dashboard.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    tuning: Tuning,
    document: Document,
    /// Boxed, because a tree has room for eleven wherever it has one, and most rooms have one or two.
    members: BTreeMap<MemberId, Box<Member>>,
    /// Members that are not shown yet who is here, sorted. Few, and not for long.
    unaware: Vec<MemberId>,
    owners: Owners,
    presence: Presence,
    flush: Flush,
    journal: Journal,
    saving: Saving,
    company: Company,
    seq: FlushSeq,
    /// When all flushes so far would have been made at the pace of one per interval.
    flush_paced_to: Timestamp,
    awareness_at: Option<Timestamp>,
    opened_at: Timestamp,
    keep_alive_at: Timestamp,
    empty_since: Option<Timestamp>,
    is_closing: bool,
    is_busy: bool,
    /// The snapshot that the running compaction is for: what it covers, when it began, bytes uncovered then.
    snapshot_wanted: Option<SnapshotBegun>,
    snapshot_in_flight: Option<SnapshotBegun>,
    snapshot_retry_at: Option<Timestamp>,
    /// When garbage is to be collected because the document is nearly full; and when it last was.
    make_room_at: Option<Timestamp>,
    made_room_at: Option<Timestamp>,
    held: usize,
}

#[derive(Clone, Copy, Debug)]
struct SnapshotBegun {
    covers: LogPosition,
    at: Timestamp,
    bytes: usize,
}

/// Who sent an update.
#[derive(Clone, Copy)]
enum Sender<'a> {
    Member(MemberId),
    Request(RequestId, &'a Identity),
}

impl Room {
    /// Opens a dashboard with what the store holds.
    ///
    /// # Errors
    /// [`ScanError`] – the snapshot is not an update: refuse to open, and tell an operator.
    pub fn open(now: Timestamp, loaded: Loaded, limits: Limits, tuning: Tuning) -> Result<Room, ScanError> {
        let log_bytes = loaded.log.iter().map(Bytes::len).sum();
        let document = Document::load(loaded.snapshot, loaded.log, &limits)?;
        Ok(Room {
            limits,
            tuning,
            document,
            members: BTreeMap::new(),
            unaware: Vec::new(),
            owners: Owners::default(),
            presence: Presence::default(),
            flush: Flush::default(),
            journal: Journal::default(),
            saving: Saving::new(now, loaded.position, log_bytes),
            company: Company::default(),
            seq: 0,
            flush_paced_to: Timestamp::default(),
            awareness_at: None,
            opened_at: now,
            keep_alive_at: now + KEEP_ALIVE,
            empty_since: Some(now),
            is_closing: false,
            is_busy: false,
            snapshot_wanted: None,
            snapshot_in_flight: None,
            snapshot_retry_at: None,
            make_room_at: None,
            made_room_at: None,
            held: 0,
        })
    }

    /// Takes one input. Call [`Room::handle_timeout`] after a batch of them: it sends what is due.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Joined(joining) => self.joined(joining, effects),
            Input::SyncStep1 { member, have } => self.sync_step1(member, &have, effects),
            Input::Update { member, update } => self.update(now, member, *update, 1, effects),
            Input::Answer { member, update } => self.update(now, member, *update, 0, effects),
            Input::Readmitted { member, identity, access } => self.readmitted(member, identity, access, effects),
            Input::Stateless { from, payload } => {
                self.stateless(from, &payload, effects);
                self.publish_stateless(payload, effects);
            }
            Input::Awareness { member, body } => {
                if let Ok(entries) = wire::awareness::entries(&body) {
                    self.announced_elsewhere(member, entries.clone(), effects);
                    self.awareness(now, member, entries, effects);
                }
            }
            Input::QueryAwareness { member } => {
                if self.members.contains_key(&member) {
                    self.make_aware(member);
                    self.send_presence(member, effects);
                }
            }
            Input::Overflowed { member, first_missed } => self.overflowed(member, first_missed),
            Input::Drained { member } => self.drained(member, effects),
            Input::Left { member } => self.left(now, member, effects),
            Input::Write { request, update, identity } => self.write(now, request, &identity, *update, effects),
            Input::Appended { position, before } => self.appended(now, position, before, effects),
            Input::AppendFailed => self.saving.failed(now),
            Input::AppendLost => {
                effects.push(Effect::Report(Report::StoreLost));
                self.saving.refused();
            }
            Input::Compacted { base } => self.compacted(base, effects),
            Input::Snapshotted { saved } => self.snapshotted(now, saved),
            Input::SnapshotLost => self.snapshot_lost(now, effects),
            Input::CheckStore { compare } => {
                self.saving.check();
                if compare {
                    self.company.compare_with_store(effects);
                }
            }
            Input::Linked { others } => self.linked(now, others, effects),
            Input::Remote { origin, number, durable, said } => {
                self.heard(now, origin, number, durable, said, effects);
            }
            Input::RemoteLost => self.lost(now),
            Input::NodeGone { origin } => self.node_gone(now, origin, effects),
            Input::Forgotten => self.forgotten(now),
            Input::StoreRead { read } => self.store_read(now, read, effects),
            Input::Close => {
                self.is_closing = true;
                self.adopt_all(now, effects);
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.presence.expire(now);
        for (owner, client, clock) in self.presence.nudge_again(now) {
            self.nudge(owner, &[(client, clock)], effects);
        }
        if !self.flush.is_empty() && (self.is_closing || now >= self.flush_at()) {
            self.flush(now, effects);
        }
        if self.presence.is_dirty() && is_due(self.awareness_at, self.tuning.awareness_interval, now) {
            self.flush_presence(now, effects);
        }
        if now >= self.keep_alive_at {
            self.keep_alive_at = now + KEEP_ALIVE;
            self.expire_held(now, effects);
            if !self.members.is_empty() {
                let frame = Frame { bytes: encode::keep_alive(), kind: FrameKind::Notice };
                effects.push(Effect::FanOut { frame, except: Vec::new() });
            }
        }
        self.keep_company(now, effects);
        self.append(now, effects);
        self.compact(now, effects);
    }

    /// Whether anything was ever written.
    #[must_use]
    pub fn has_content(&self) -> bool {
        !self.document.clocks().is_empty()
    }

    /// When [`Room::handle_timeout`] is needed next, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        let mut at = self.keep_alive_at;
        let mut earlier = |candidate: Timestamp| at = at.min(candidate);
        if !self.flush.is_empty() {
            earlier(self.flush_at());
        }
        if self.presence.is_dirty() {
            earlier(self.awareness_at.map_or(Timestamp(0), |last| last + self.tuning.awareness_interval));
        }
        if let Some(expiry) = self.presence.next_expiry() {
            earlier(expiry);
        }
        if let Some(nudge) = self.presence.next_nudge() {
            earlier(nudge);
        }
        if let Some(retry) = self.saving.retry_at() {
            earlier(retry);
        }
        if let Some(due) = self.snapshot_due_at() {
            earlier(due);
        }
        if let Some(due) = self.company.next_timeout() {
            earlier(due);
        }
        if let Some(due) = self.make_room_at.filter(|_| !self.document.is_compacting()) {
            earlier(due);
        }
        // Before that the room waits for an input (an append, a compaction or a snapshot ends), not for the time.
        if let Some(since) = self.empty_since.filter(|_| self.is_settled()) {
            // Offered again soon while closing: a session that has left holds its handle until its socket is closed.
            earlier(since + if self.is_closing { CLOSING_RETRY } else { self.tuning.room_idle });
        }
        at
    }

    /// Whether the room could leave memory: nobody is here, everything is durable, and it has been so for the idle time (or was
    /// told to close).
    #[must_use]
    pub fn is_evictable(&self, now: Timestamp) -> bool {
        let idle = self.empty_since.is_some_and(|since| now.since(since) >= self.tuning.room_idle);
        (idle || self.is_closing && self.members.is_empty()) && self.is_settled()
    }

    /// Whether everything accepted is durable and no work is on its way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.flush.is_empty()
            && self.saving.is_saved()
            && self.company.is_settled()
            && !self.document.is_compacting()
            && self.snapshot_in_flight.is_none()
            && self.snapshot_wanted.is_none()
            && (self.saving.since_snapshot() == 0 || self.document.has_orphans())
    }

    /// An eviction that was offered did not happen: the idle time begins anew.
    pub fn stay(&mut self, now: Timestamp) {
        if self.members.is_empty() {
            self.empty_since = Some(now);
        }
    }

    /// How many sessions are in the room.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Updates that wait behind a hole.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes of the encoded document.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        self.document.bytes()
    }

    /// Whether everything accepted is durable.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saving.is_saved()
    }

    /// Where the log ends.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.saving.position()
    }

    /// Who is here, in the order in which they came.
    pub fn views(&self) -> impl Iterator<Item = MemberView> {
        self.members.iter().map(|(id, member)| member.view(*id))
    }

    /// What the document holds, per client.
    #[must_use]
    pub fn clocks(&self) -> &StateVector {
        self.document.clocks()
    }

    /// The whole state as one update.
    #[must_use]
    pub fn state(&mut self) -> Bytes {
        self.document.state()
    }

    /// What one lacks that has `have`.
    #[must_use]
    pub fn difference(&self, have: &StateVector) -> Bytes {
        self.document.difference(have)
    }

    /// Gives up the idle time: memory is short.
    pub fn leave_when_empty(&mut self, now: Timestamp) {
        if self.members.is_empty() {
            self.empty_since = Some(Timestamp(now.0.saturating_sub(self.tuning.room_idle.as_millis() as u64)));
        }
    }

    /// Bytes held, roughly: for the memory budget.
    #[must_use]
    pub fn memory(&self) -> usize {
        let held: usize = self.members.values().map(|member| member.held_bytes).sum();
        size_of::<Room>()
            + self.members.len() * size_of::<(MemberId, Member)>()
            + held
            + self.document.memory()
            + self.presence.memory()
            + self.journal.memory()
            + self.saving.memory()
            + self.company.memory()
    }

    fn joined(&mut self, joining: Joining, effects: &mut Vec<Effect>) {
        let Joining { member: id, dialect, .. } = joining;
        if self.is_closing {
            effects.push(Effect::Close { member: id, code: CloseCode::Restart });
            return;
        }
        if self.members.len() >= self.limits.members_max {
            effects.push(Effect::Close { member: id, code: CloseCode::RoomFull });
            return;
        }
        // Before it is in sync, so that no application offers an edit that will be refused.
        if joining.dialect == Dialect::YWebsocket && joining.wants_acks && !joining.access.may_edit() {
            let frame = Frame { bytes: encode::authenticated(false), kind: FrameKind::Notice };
            effects.push(Effect::Send { to: id, frame });
        }
        self.members.insert(id, Box::new(Member::new(joining)));
        self.empty_since = None;
        let at = self.unaware.partition_point(|other| *other < id);
        self.unaware.insert(at, id);
        // One that echoes is shown who is here when it has been asked for its edits: its answer tells what it said before it had
        // read anything, its own announcement, from echoes.
        match dialect {
            Dialect::YWebsocket => {
                self.ask(id, effects);
                self.introduce(id, effects);
            }
            Dialect::Hocuspocus { echoes: false } => self.introduce(id, effects),
            Dialect::Hocuspocus { echoes: true } => {}
        }
    }

    fn sync_step1(&mut self, id: MemberId, have: &StateVector, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(lag) = &mut member.lag {
            lag.has_at_most(have); // It gets one difference when its outbox is empty; `Drained` sends it, and asks.
            return;
        }
        let takes_turns = member.dialect != Dialect::YWebsocket;
        let frame = self.document.sync_step2(have);
        effects.push(Effect::Send { to: id, frame: Frame { bytes: frame, kind: FrameKind::State } });
        // Behind the state: an overflow that began before it would not know that it was lost, too.
        if takes_turns {
            self.ask(id, effects);
        }
        self.introduce(id, effects);
    }

    fn update(&mut self, now: Timestamp, id: MemberId, scanned: Scanned, acks: u32, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.has_answered |= scanned.frame.is_none();
        if !member.access.may_edit() {
            self.read_only(id, &scanned, acks, effects);
            return;
        }
        if scanned.scan.spans.iter().any(|span| span.client > u64::from(u32::MAX)) {
            member.wants_echo = true;
        }
        if self.offer(now, Sender::Member(id), scanned, acks, None, effects) {
            self.retry_held(now, false, effects);
        }
    }

    /// Offers an update to the document and settles what comes of it. `held_since` is set when it had to wait before.
    fn offer(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        scanned: Scanned,
        acks: u32,
        held_since: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Scanned { update, scan, frame } = scanned;
        let id = match sender {
            Sender::Member(id) => Some(id),
            Sender::Request(..) => None,
        };
        let is_full = self.document.bytes() + update.len() > self.limits.document_bytes_max;
        if is_full && !self.fits_into_full(&update, &scan) {
            self.make_room(now);
            self.refuse(sender, acks, LimitReached::DocumentBytes, effects);
            return false;
        }
        let is_update_frame = frame.is_some();
        let trust = if is_update_frame { Trust::Update } else { Trust::SyncStep2 };
        let owners = &self.owners;
        let presence = &self.presence;
        let ownership = |client| match presence.is_elsewhere(client) {
            true => Ownership::OtherLive,
            false => owners.ownership(now, client, id),
        };
        let admission = self.document.admit(&update, &scan, trust, ownership, &self.limits);
        let progressed = admission.accepted.is_some();
        if admission.accepted.as_ref().is_some_and(|accepted| accepted.scan.delete_ranges > 0) {
            self.make_room(now);
        }
        if let Some(accepted) = admission.accepted {
            let by_rest = matches!(sender, Sender::Request(..));
            effects.push(Effect::Report(Report::Accepted { by_rest, by_step2: !is_update_frame }));
            let verbatim = accepted.bytes.as_ptr() == update.as_ptr() && accepted.bytes.len() == update.len();
            let frame = frame.filter(|_| verbatim);
            let starts = || accepted.scan.spans.iter().map(|span| (span.client, span.start));
            self.flush.collect(now, id, accepted.clone(), frame);
            self.company.wrote(&accepted.bytes);
            let (author, session, source) = match sender {
                Sender::Member(id) => {
                    let author = self.members.get(&id).map(|member| &member.identity);
                    (author.and_then(Identity::author).map(Into::into), id.0, Source::Socket)
                }
                Sender::Request(_, identity) => (identity.author().map(Into::into), 0, Source::Rest),
            };
            let echo_to = id.filter(|id| self.members.get(id).is_some_and(|member| member.wants_echo));
            let entry = LogEntry { at: now, author, session, source, update: accepted.bytes.clone() };
            if self.saving.add(
                Unsaved { entry, echo_to },
                starts(),
                self.document.clocks(),
                self.limits.unsaved_bytes_max,
            ) {
                effects.push(Effect::Report(Report::Diverged));
            }
            if let (Some(id), true, [span]) = (id, is_update_frame, scan.spans.as_slice()) {
                self.claim_by_edit(id, span.client, span.has_gc);
            }
        }
        if let Some(refusal) = admission.refused {
            let limit = match refusal {
                Refusal::Nesting(_) => LimitReached::Nesting,
                Refusal::Clients(_) => LimitReached::DocumentClients,
                Refusal::Parent | Refusal::Value => LimitReached::Content,
            };
            self.refuse(sender, acks, limit, effects);
        } else if let Some(held) = admission.held {
            if let Some(scanned) = id.and_then(|id| self.claim_by_return(id, &held)) {
                return self.offer(now, sender, scanned, acks, held_since, effects) || progressed;
            }
            self.hold(now, sender, held, acks, held_since, effects);
        } else {
            self.vouch_for(now, sender, &update, &scan, is_update_frame, effects);
            self.wait_for_durable(sender, acks, effects);
        }
        progressed
    }

    /// What a document at its limit still takes: deletions, which make room, up to some more bytes, since they take some themselves.
    fn fits_into_full(&self, update: &Bytes, scan: &Scan) -> bool {
        let limit = self.limits.document_bytes_max + self.limits.document_bytes_max / DELETIONS_SHARE;
        let only_deletes = !self.document.lacks_structs(scan) && self.document.bytes() + update.len() <= limit;
        // A SyncStep2 repeats all deletions: it may hold nothing new.
        only_deletes || self.document.contains(update, scan)
    }

    /// Has garbage collected, soon, if the document is nearly full and there may be some.
    fn make_room(&mut self, now: Timestamp) {
        let limit = self.limits.document_bytes_max;
        if self.document.has_grown() && self.document.bytes() > limit - limit / DELETIONS_SHARE {
            let soonest = self.made_room_at.map_or(now, |last| now.max(last + MAKE_ROOM_AGAIN));
            self.make_room_at.get_or_insert(soonest);
        }
    }

    fn refuse(&mut self, sender: Sender<'_>, acks: u32, limit: LimitReached, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Report::Limit(limit)));
        match sender {
            Sender::Member(id) => self.ack(id, false, acks, effects),
            Sender::Request(request, _) => {
                effects.push(Effect::Answer { request, result: Err(WriteRefusal::Limit(limit)) });
            }
        }
    }

    /// Tells the sender when all that it sent is durable; at once, when it is so already.
    fn wait_for_durable(&mut self, sender: Sender<'_>, acks: u32, effects: &mut Vec<Effect>) {
        match sender {
            Sender::Member(id) => {
                if !self.members.get(&id).is_some_and(|member| member.wants_acks) || acks == 0 {
                    return;
                }
                if self.saving.when_durable(Waiting::Member(id, acks)) {
                    self.ack(id, true, acks, effects);
                }
            }
            Sender::Request(request, _) => {
                if self.saving.when_durable(Waiting::Request(request)) {
                    effects.push(Effect::Answer { request, result: Ok(()) });
                }
            }
        }
    }

    fn ack(&self, id: MemberId, saved: bool, count: u32, effects: &mut Vec<Effect>) {
        if count > 0 && self.members.get(&id).is_some_and(|member| member.wants_acks) {
            effects.push(Effect::Ack { to: id, saved, count });
        }
    }

    /// What a viewer sends is dropped, never punished: stock clients answer every SyncStep1 with a SyncStep2.
    fn read_only(&mut self, id: MemberId, scanned: &Scanned, acks: u32, effects: &mut Vec<Effect>) {
        let is_known = scanned.frame.is_none() && self.document.contains(&scanned.update, &scanned.scan);
        if is_known {
            self.wait_for_durable(Sender::Member(id), acks, effects);
        } else {
            effects.push(Effect::Report(Report::ReadOnly));
            self.ack(id, false, acks, effects);
        }
    }

    /// Who may edit from here on is asked for what was refused before.
    fn readmitted(&mut self, id: MemberId, identity: Identity, access: Access, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let was_viewer = !member.access.may_edit();
        (member.identity, member.access) = (identity, access);
        if was_viewer && access.may_edit() {
            self.ask(id, effects);
        }
    }

    fn stateless(&self, from: Option<MemberId>, payload: &[u8], effects: &mut Vec<Effect>) {
        let frame = Frame { bytes: wire::hocuspocus::stateless(payload), kind: FrameKind::Stateless };
        effects.push(Effect::FanOut { frame, except: from.into_iter().collect() });
    }

    /// The first update of one client that was taken from a session makes that client id its own, unless it has one by awareness.
    fn claim_by_edit(&mut self, id: MemberId, client: ClientId, has_gaps: bool) {
        if let Some(member) = self.members.get_mut(&id)
            && member.edits_as.is_none()
            && !has_gaps
            && self.owners.claim(client, id).is_ok()
        {
            member.edits_as = Some(client);
        }
    }

    /// A session without an id of its own that writes as somebody who left moments ago, and as nobody else, is that client come
    /// back: it would get the id by announcing it, too, but not every client takes part in awareness. Returns what was held
    /// for it, to be offered again.
    fn claim_by_return(&mut self, id: MemberId, held: &update::Held) -> Option<Scanned> {
        let member = self.members.get_mut(&id)?;
        if held.why != HeldWhy::Foreign || member.announced.is_some() || member.edits_as.is_some() {
            return None;
        }
        let scan = update::scan(&held.bytes, &self.limits).ok()?;
        let client = scan.spans.first()?.client;
        if self.presence.is_elsewhere(client) {
            return None;
        }
        if scan.spans.iter().any(|span| span.client != client) || self.owners.claim(client, id).is_err() {
            return None;
        }
        member.edits_as = Some(client);
        Some(Scanned { update: held.bytes.clone(), scan, frame: None })
    }

    /// Keeps what lies behind a hole, and asks the sender for what is missing.
    fn hold(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        waiting: update::Held,
        acks: u32,
        held_since: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) {
        let is_foreign = waiting.why == HeldWhy::Foreign;
        let id = match sender {
            Sender::Member(id) => id,
            Sender::Request(request, _) => {
                let refusal = if is_foreign { WriteRefusal::Foreign } else { WriteRefusal::Hole };
                effects.push(Effect::Answer { request, result: Err(refusal) });
                return;
            }
        };
        if held_since.is_none() {
            effects.push(Effect::Report(if is_foreign { Report::Foreign } else { Report::Held }));
            if is_foreign {
                self.probe_owners(id, &waiting.bytes, effects);
            }
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let bytes = waiting.memory();
        // A single one may be as large as a message.
        let has_room = member.held.len() < self.limits.held_updates_max
            && member.held_bytes + bytes <= self.limits.held_bytes_max.max(bytes);
        if !has_room && held_since.is_none() {
            // Nothing is lost: the sender still has it, and is asked for all that is missing here.
            member.held_overruns += 1;
            let refused = member.take_held().iter().map(|held| held.acks).sum::<u32>() + acks;
            member.asked_at = Some(now);
            let ends = member.held_overruns > self.limits.held_overruns_max;
            effects.push(Effect::Report(Report::HeldExpired));
            self.count_held();
            self.ack(id, false, refused, effects);
            if ends {
                effects.push(Effect::Close { member: id, code: CloseCode::HeldOverrun });
            } else {
                self.ask(id, effects);
            }
            return;
        }
        member.held_bytes += bytes;
        member.held.push_back(Held { waiting, since: held_since.unwrap_or(now), acks });
        self.held += 1;
        let ask = held_since.is_none() && member.asked_at.is_none_or(|at| now.since(at) >= ASK_AGAIN);
        if ask {
            member.asked_at = Some(now);
            self.ask(id, effects);
        }
    }

    /// Finds out whether the sessions in whose names `update` writes still live: the sender may be one of them, come back.
    fn probe_owners(&self, sender: MemberId, update: &[u8], effects: &mut Vec<Effect>) {
        let Ok(scan) = update::scan(update, &self.limits) else { return };
        let mut owners: Vec<MemberId> = scan.spans.iter().filter_map(|span| self.owners.owner(span.client)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|owner| *owner != sender);
        effects.extend(owners.into_iter().map(|member| Effect::Probe { member }));
    }

    /// Offers again what is held and may get further: the document grew, or an owner left (`owner_left`).
    fn retry_held(&mut self, now: Timestamp, owner_left: bool, effects: &mut Vec<Effect>) {
        let mut owner_left = owner_left;
        while self.held > 0 {
            let mut progressed = false;
            let document = &self.document;
            let may_move =
                |held: &Held| document.resolves(&held.waiting) || owner_left && held.waiting.why == HeldWhy::Foreign;
            let waiting: Vec<MemberId> =
                self.members.iter().filter(|(_, member)| member.held.iter().any(may_move)).map(|(&id, _)| id).collect();
            for id in waiting {
                let Some(member) = self.members.get_mut(&id) else { continue };
                for held in member.take_held() {
                    let Ok(scan) = update::scan(&held.waiting.bytes, &self.limits) else { continue };
                    let scanned = Scanned { update: held.waiting.bytes, scan, frame: None };
                    progressed |= self.offer(now, Sender::Member(id), scanned, held.acks, Some(held.since), effects);
                }
            }
            self.count_held();
            owner_left = false;
            if !progressed {
                return;
            }
        }
    }

    fn expire_held(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let limit = self.limits.held_for_max;
        let mut expired = Vec::new();
        for (&id, member) in &mut self.members {
            while member.held.front().is_some_and(|held| now.since(held.since) >= limit)
                && let Some(held) = member.held.pop_front()
            {
                member.held_bytes = member.held_bytes.saturating_sub(held.waiting.memory());
                expired.push((id, held.acks));
            }
        }
        for (id, acks) in expired {
            effects.push(Effect::Report(Report::HeldExpired));
            self.ack(id, false, acks, effects);
        }
        self.count_held();
    }

    fn count_held(&mut self) {
        self.held = self.members.values().map(|member| member.held.len()).sum();
    }

    /// Sends SyncStep1: a stock client answers with all that is missing here.
    fn ask(&self, to: MemberId, effects: &mut Vec<Effect>) {
        let frame = Frame { bytes: encode::sync_step1(&self.document.clocks().encode()), kind: FrameKind::Notice };
        effects.push(Effect::Send { to, frame });
    }

    fn write(
        &mut self,
        now: Timestamp,
        request: RequestId,
        identity: &Identity,
        scanned: Scanned,
        effects: &mut Vec<Effect>,
    ) {
        if self.offer(now, Sender::Request(request, identity), scanned, 0, None, effects) {
            self.retry_held(now, false, effects);
        }
    }

    fn awareness(&mut self, now: Timestamp, id: MemberId, entries: Entries<'_>, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let introduction = match (member.announced, member.has_answered || member.claims.is_some()) {
            (Some(_), _) => Introduction::Done,
            (None, false) => Introduction::First,
            (None, true) => Introduction::Late,
        };
        let is_young = now.since(self.opened_at) < YOUNG;
        let announcer = Announcer { member: id, introduction, is_young };
        let again = entries.clone();
        let announced = self.presence.announce(now, announcer, entries, &mut self.owners, &self.limits);
        if let Some(client) = announced.claimed {
            member.announced = Some(client);
            member.claims = None;
        }
        if let Some((client, owner)) = announced.contested {
            member.claims = Some((client, 0));
            effects.push(Effect::Probe { member: owner });
        }
        if let Some((claimed, clock)) = &mut member.claims {
            let own = again.filter(|entry| entry.client == *claimed);
            *clock = own.map(|entry| entry.clock).fold(*clock, u32::max);
        }
        for _ in 0..announced.dropped {
            effects.push(Effect::Report(Report::AwarenessDropped));
        }
        self.nudge(id, &announced.nudges, effects);
        if announced.returned {
            self.nudge_others(now, id, effects);
        } else if is_young && !announced.nudges.is_empty() {
            // Here everybody who announces itself is nudged.
            self.company.somebody_returned(now);
        }
    }

    /// Makes everybody else announce itself again: `returned` was here before and takes nothing at a clock that it has seen.
    fn nudge_others(&mut self, now: Timestamp, returned: MemberId, effects: &mut Vec<Effect>) {
        self.company.somebody_returned(now);
        for (owner, client, clock) in self.presence.nudge_others(now, returned) {
            self.nudge(owner, &[(client, clock)], effects);
        }
    }

    /// Answers a stale announcement of one's own id with a removal at the clock known here: stock clients then take the next
    /// clock and announce themselves at once, where they would otherwise stay invisible for up to 15 s.
    fn nudge(&self, to: MemberId, clocks: &[(ClientId, u32)], effects: &mut Vec<Effect>) {
        if !clocks.is_empty() {
            let bytes = encode::awareness(clocks.iter().map(|&(client, clock)| (client, clock, NULL)));
            effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
            self.ask_presence(to, effects);
        }
    }

    /// Asks a client for its presence that would not tell that it was made to take the next clock.
    fn ask_presence(&self, to: MemberId, effects: &mut Vec<Effect>) {
        let dialect = self.members.get(&to).map(|member| member.dialect);
        if dialect == Some(Dialect::Hocuspocus { echoes: false }) {
            let frame = Frame { bytes: encode::query_awareness(), kind: FrameKind::Notice };
            effects.push(Effect::Send { to, frame });
        }
    }

    /// Shows a member who is here, once.
    fn introduce(&mut self, to: MemberId, effects: &mut Vec<Effect>) {
        if self.make_aware(to) && self.presence.states() > 0 {
            self.send_presence(to, effects);
        }
    }

    /// From here on a member hears of everybody's changes. Says whether it did not before.
    fn make_aware(&mut self, id: MemberId) -> bool {
        let at = self.unaware.binary_search(&id);
        at.map(|at| self.unaware.remove(at)).is_ok()
    }

    fn send_presence(&self, to: MemberId, effects: &mut Vec<Effect>) {
        let bytes = self.presence.snapshot();
        effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
    }

    fn overflowed(&mut self, id: MemberId, first_missed: FlushSeq) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let have = if first_missed == 0 {
            StateVector::default()
        } else {
            let mut have = self.journal.before(first_missed, self.document.clocks());
            self.flush.lower(&mut have);
            have
        };
        match &mut member.lag {
            Some(lag) => lag.again(&have),
            None => member.lag = Some(Lag::from(have)),
        }
    }

    fn drained(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(have) = member.lag.as_mut().and_then(Lag::drained) else { return };
        member.lag = None;
        let nudges = self.presence.unanswered(&member.owns());
        let is_shown = member.announced.is_some() || member.claims.is_some();
        // It holds what is collected, too; that goes to everybody once more with the flush.
        let frame = self.document.sync_step2(&have);
        effects.push(Effect::Report(Report::Resynced));
        effects.push(Effect::Send { to: id, frame: Frame { bytes: frame, kind: FrameKind::State } });
        self.make_aware(id);
        // Among what it missed may be somebody's goodbye.
        let bytes = self.presence.everything();
        effects.push(Effect::Send { to: id, frame: Frame { bytes, kind: FrameKind::Notice } });
        if nudges.is_empty() && is_shown {
            self.ask_presence(id, effects); // For its own goodbye may be among them.
        }
        self.nudge(id, &nudges, effects);
        // The question may have been dropped with the rest; a second one costs one small answer.
        self.ask(id, effects);
    }

    fn left(&mut self, now: Timestamp, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.remove(&id) else { return };
        self.make_aware(id);
        let owned = member.owns();
        self.presence.leave(id, &owned, now);
        self.owners.release(now, &owned, id);
        self.saving.forget(id);
        self.flush.forget(id);
        self.company.forget(id);
        self.count_held();
        if self.members.is_empty() {
            self.empty_since = Some(now);
        }
        let heirs: Vec<(MemberId, ClientId, u32)> = self
            .members
            .iter()
            .filter_map(|(&heir, member)| member.claims.map(|(client, clock)| (heir, client, clock)))
            .filter(|(_, client, _)| owned.contains(client))
            .collect();
        for (heir, client, announced_at) in heirs {
            if self.owners.claim(client, heir).is_ok()
                && let Some(member) = self.members.get_mut(&heir)
            {
                member.claims = None;
                member.announced = Some(client);
                let clock = self.presence.hand_over(client, announced_at);
                self.flush_presence(now, effects);
                self.nudge(heir, &[(client, clock)], effects);
                self.nudge_others(now, heir, effects);
            }
        }
        self.retry_held(now, true, effects);
    }

    /// The pace of flushes. A room so busy that a flush joins several updates takes that of its cursors, if it is slower: 20 ms
    /// are hardly a frame on a screen, and save half of what flushes cost.
    fn flush_interval(&self) -> Duration {
        let Tuning { flush_interval, awareness_interval, .. } = self.tuning;
        if self.is_busy { flush_interval.max(awareness_interval) } else { flush_interval }
    }

    /// When what was collected may go out.
    ///
    /// A room may flush twice at once: two edits that happen to meet are no reason to let one of them wait, and what comes
    /// steadily goes out once in an interval all the same.
    fn flush_at(&self) -> Timestamp {
        self.flush_paced_to - self.flush_interval()
    }

    fn flush(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.is_busy = self.flush.len() >= BUSY_UPDATES;
        let Some(frames) = self.flush.take() else { return };
        self.flush_paced_to = self.flush_paced_to.max(now) + self.flush_interval();
        self.seq += 1;
        self.journal.record(self.seq, frames.starts);
        let kind = FrameKind::Flush(self.seq);
        effects.push(Effect::Report(Report::Flushed { bytes: frames.all.len(), waited: now.since(frames.began) }));
        self.publish_flush(&frames.all, effects);
        for (to, bytes) in frames.own {
            effects.push(Effect::Send { to, frame: Frame { bytes, kind } });
        }
        effects.push(Effect::FanOut { frame: Frame { bytes: frames.all, kind }, except: frames.except });
    }

    fn flush_presence(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.publish_awareness(effects);
        let Some((bytes, author)) = self.presence.take_dirty() else { return };
        self.awareness_at = Some(now);
        let frame = Frame { bytes, kind: FrameKind::Notice };
        let mut except = self.unaware.clone();
        if let Some(author) = author
            && let Err(at) = except.binary_search(&author)
        {
            except.insert(at, author);
        }
        effects.push(Effect::FanOut { frame, except });
    }

    fn append(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let after = self.saving.known();
        let entries = match self.saving.next(now, self.document.clocks()) {
            Some(ToAppend::Entries(entries)) => entries,
            Some(ToAppend::DifferenceFrom(durable)) => {
                let mut entries = vec![saving::recovery_entry(now, self.document.difference(&durable))];
                if after.is_none() {
                    // What lies behind a hole is in no difference.
                    entries.extend(self.document.orphans().map(|orphan| saving::recovery_entry(now, orphan)));
                    entries.retain(|entry| entry.update[..] != update::EMPTY_UPDATE);
                }
                entries
            }
            None => return,
        };
        self.company.appending();
        effects.push(Effect::Append { entries, after });
    }

    fn appended(&mut self, now: Timestamp, position: LogPosition, before: LogPosition, effects: &mut Vec<Effect>) {
        let known = self.saving.known().unwrap_or(LogPosition::START);
        let Some(Durable { batch, is_check }) = self.saving.appended(now, position) else { return };
        self.company.appended();
        if before > known && (is_check || !self.company.has_others()) {
            self.read_what_others_wrote(now, effects);
        }
        for (to, count) in batch.acks {
            self.ack(to, true, count, effects);
        }
        for request in batch.answers {
            effects.push(Effect::Answer { request, result: Ok(()) });
        }
        for Unsaved { entry, echo_to } in batch.entries {
            if let Some(to) = echo_to
                && self.members.get(&to).is_some_and(|member| member.lag.is_none())
            {
                let frame = Frame { bytes: encode::update(&entry.update), kind: FrameKind::Notice };
                effects.push(Effect::Send { to, frame });
            }
        }
    }

    /// `None` also while something is on its way that a snapshot has to wait for: its end is an input.
    fn snapshot_due_at(&self) -> Option<Timestamp> {
        let is_under_way = self.snapshot_in_flight.is_some() || self.snapshot_wanted.is_some();
        let has_to_wait = self.document.is_compacting() || self.is_closing && !self.saving.is_saved();
        if is_under_way || has_to_wait || self.document.has_orphans() {
            return None;
        }
        if self.company.is_reading() {
            return None;
        }
        let since = self.saving.unsnapshotted_since()?;
        let leaves = self.is_closing || self.saving.since_snapshot() >= self.tuning.snapshot_after_bytes;
        let by_time = since + self.tuning.snapshot_interval;
        let by_idle = self.empty_since.map(|since| since + self.tuning.room_idle);
        let due = if leaves { since } else { by_idle.map_or(by_time, |at| at.min(by_time)) };
        Some(self.snapshot_retry_at.map_or(due, |retry| due.max(retry)))
    }

    fn compact(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let wants_snapshot = self.snapshot_due_at().is_some_and(|at| now >= at) && !self.company.must_read(effects);
        let makes_room = self.make_room_at.is_some_and(|at| now >= at);
        if let Some(parts) = self.document.compaction(wants_snapshot || makes_room) {
            if self.make_room_at.take().is_some() {
                self.made_room_at = Some(now);
            }
            if wants_snapshot {
                self.snapshot_wanted = Some(SnapshotBegun {
                    covers: self.company.take_read_up_to().unwrap_or(self.saving.position()),
                    at: now,
                    bytes: self.saving.since_snapshot(),
                });
            }
            effects.push(Effect::Compact { parts });
        }
    }

    fn compacted(&mut self, base: Option<Bytes>, effects: &mut Vec<Effect>) {
        self.document.compacted(base);
        if let Some(begun) = self.snapshot_wanted.take() {
            self.snapshot_in_flight = Some(begun);
            effects.push(Effect::Snapshot { covers: begun.covers, state: self.document.state() });
        }
    }

    /// The store has no use for a snapshot of what it does not have.
    fn snapshot_lost(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.snapshot_retry_at = Some(now + SNAPSHOT_AGAIN);
        if let Some(begun) = self.snapshot_in_flight.take()
            && !self.saving.is_void(begun.covers)
        {
            effects.push(Effect::Report(Report::StoreLost));
            self.saving.lost();
        }
    }

    fn snapshotted(&mut self, now: Timestamp, saved: bool) {
        let Some(begun) = self.snapshot_in_flight.take() else { return };
        if saved {
            self.snapshot_retry_at = None;
            self.saving.snapshotted(begun.at, begun.bytes);
        } else {
            self.snapshot_retry_at = Some(now + SNAPSHOT_AGAIN);
        }
    }
}

fn is_due(last: Option<Timestamp>, interval: Duration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= interval)
}
