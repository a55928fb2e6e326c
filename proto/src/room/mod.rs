//! A dashboard that is live on one node, as a state machine: told of [`Input`]s, it answers with [`Effect`]s.
//!
//! A room decides who gets which bytes and when, what goes to the log, what is said to be saved, and when there is nothing left
//! to stay in memory for. It never waits, reads no clock and never fails: whatever a peer sends ends in an effect.
//!
//! The rules that hold at any time:
//! - what the guard accepted reaches every other member, by a flush or by one difference after its outbox overflowed;
//! - an ack goes out only after the store said that all of the update's content is durable;
//! - awareness of an id comes from the session that owns it, and disappears with it.

mod admitting;
mod authorship;
mod awareness;
mod cutting;
mod document;
mod editing;
mod effect;
mod flush;
mod input;
mod member;
mod peers;
mod reconcile;
mod resync;
mod saving;
mod terms;
#[cfg(test)]
mod tests;
mod unfit;

pub use effect::{Effect, Frame, FrameKind, LimitReached, Report, WriteRefusal};
pub use input::{Dialect, Input, Joining, RequestId, Said, Scanned, StoreRead};
pub use member::MemberView;
pub use resync::FlushSeq;

use crate::access::{Admission, Capabilities};
use crate::allowance::Exceeded;
use crate::heap;
use crate::id::{ClientId, MemberId};
use crate::life::Ended;
use crate::limits::Limits;
use crate::log::LogPosition;
use crate::rate::TokenBucket;
use crate::time::Timestamp;
use crate::update::{ScanError, StateVector};
use crate::wire::close::CloseCode;
use crate::wire::{self, encode};
use admitting::Admitting;
use awareness::{Owners, Presence};
use bytes::Bytes;
use core::time::Duration;
use cutting::{Cutting, Wants};
use document::Document;
pub use document::{Content, Cut};
use flush::Flush;
use member::{Lag, Member, Refused};
use peers::Company;
use resync::FlushStarts;
use saving::Saving;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use terms::Terms;

/// Structs and deletions that are held, and bytes that wait to be told, beyond which a turn of the room takes longer than a millisecond or two.
const LADEN_WORK: u32 = 2048;
const LADEN_BYTES: usize = 256 << 10;
/// How often something is sent to everybody. Stock clients reconnect when no message came for 30 s (`messageReconnectTimeout`).
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long after a room that closes could not leave it tries again.
const CLOSING_RETRY: Duration = Duration::from_millis(20);
/// A flush that joins so many updates came from a busy room.
const BUSY_UPDATES: usize = 3;
/// For how long after a room was opened its members may know each other from before: a restart, an eviction, another node.
/// All of a restarted server's clients are back within seconds.
const YOUNG: Duration = Duration::from_secs(30);

/// The pace of a room.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Updates go out at most this often in the long run, a quiet room's at once; a very busy room's as its awareness does.
    pub flush_interval: Duration,
    /// Awareness goes out at most this often.
    pub awareness_interval: Duration,
    /// How long a room without members stays in memory.
    pub room_idle: Duration,
    /// How long one stays that holds more than [`Tuning::heavy_room_bytes`].
    pub heavy_room_idle: Duration,
    /// What makes a room a heavy one.
    pub heavy_room_bytes: usize,
    /// A snapshot is written when the log has grown by so many bytes.
    pub snapshot_after_bytes: usize,
    /// A snapshot is written when the log holds something this old that none covers.
    pub snapshot_interval: Duration,
    /// Differences of documents of at least so many bytes are cut beside the room.
    pub cut_aside_bytes: usize,
    /// Whether presence states say whom the server has verified behind them.
    pub verifies_presence: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            flush_interval: Duration::from_millis(8),
            awareness_interval: Duration::from_millis(20),
            room_idle: Duration::from_secs(60),
            // A page that is reloaded is back by then.
            heavy_room_idle: Duration::from_secs(5),
            heavy_room_bytes: 4 << 20,
            snapshot_after_bytes: 256 << 10,
            snapshot_interval: Duration::from_secs(60),
            // Those of smaller ones take less than a millisecond or two.
            cut_aside_bytes: 256 << 10,
            verifies_presence: false,
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
    /// What was deleted under its name.
    pub ended: Ended,
}

/// A live dashboard.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    tuning: Tuning,
    document: Document,
    /// What may not come back.
    ended: Ended,
    /// Boxed, because a tree has room for eleven wherever it has one, and most rooms have one or two.
    members: BTreeMap<MemberId, Box<Member>>,
    /// How many of them only listen.
    listeners: usize,
    /// Members that are not shown yet who is here, sorted. Few, and not for long.
    unaware: Vec<MemberId>,
    /// Members that are to be shown who is here, all of them once more, at `show_at`.
    unshown: BTreeSet<MemberId>,
    show_at: Timestamp,
    owners: Owners,
    presence: Presence,
    flush: Flush,
    journal: FlushStarts,
    cutting: Cutting,
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
    admitting: Admitting,
    make_room_at: Option<Timestamp>,
    made_room_at: Option<Timestamp>,
    /// When the running compaction began; and until when no other does, since the last one took its time.
    compacts_since: Timestamp,
    compacted_enough_until: Timestamp,
    /// Updates that wait behind a hole or for an author, and those for an author.
    held: usize,
    withheld: usize,
    held_work: u32,
    /// How long the room may be busy with those, and when it looks at them next.
    retries: TokenBucket,
    retry_held_at: Option<Timestamp>,
    /// When the checks of members that came back end, oldest first.
    checks: VecDeque<(Timestamp, MemberId)>,
    /// Updates that were set aside since the room was opened.
    set_aside: u32,
    /// Until when members may be here.
    terms: Terms,
    /// What it may still take, and what it took since it was weighed.
    allowance: usize,
    /// Why the author at hand may not be the first to write to it.
    not_to_begin: Option<Exceeded>,
    grown: usize,
    /// What it held when it was weighed.
    weight: usize,
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
    Request(RequestId, &'a Admission),
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
            ended: loaded.ended,
            members: BTreeMap::new(),
            listeners: 0,
            unaware: Vec::new(),
            unshown: BTreeSet::new(),
            show_at: Timestamp(0),
            owners: Owners::default(),
            presence: Presence::default(),
            flush: Flush::default(),
            journal: FlushStarts::default(),
            cutting: Cutting::default(),
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
            admitting: Admitting::default(),
            make_room_at: None,
            made_room_at: None,
            compacts_since: now,
            compacted_enough_until: now,
            held: 0,
            withheld: 0,
            held_work: 0,
            retries: TokenBucket::new(editing::RETRIES_BURST, editing::RETRIES_PER_SECOND, now),
            retry_held_at: None,
            checks: VecDeque::new(),
            set_aside: 0,
            terms: Terms::default(),
            allowance: usize::MAX,
            not_to_begin: None,
            grown: 0,
            weight: 0,
        })
    }

    /// Takes one input. Call [`Room::handle_timeout`] after a batch of them: it sends what is due.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Joined(joining) => self.joined(now, *joining, effects),
            Input::SyncStep1 { member, have } => self.sync_step1(now, member, have, effects),
            Input::Cut { cut } => self.cut(cut, effects),
            Input::Update { member, update } => self.update(now, member, *update, 1, effects),
            Input::Answer { member, update } => self.update(now, member, *update, 0, effects),
            Input::TooLarge { member, acks } => self.too_large(member, acks, effects),
            Input::AccessChanged { records } => self.access_changed(now, *records, effects),
            Input::Readmitted { member, admission } => self.readmitted(now, member, *admission, effects),
            Input::Stateless { from, payload } => {
                if self.lets(from, Capabilities::STATELESS, effects) {
                    self.stateless(Some(from), &payload, effects);
                    self.publish_stateless(payload, effects);
                }
            }
            Input::Announce { author, payload } => {
                if self.may(now, &author, Capabilities::STATELESS) {
                    self.stateless(None, &payload, effects);
                    self.publish_stateless(payload, effects);
                } else {
                    effects.push(Effect::Report(Report::NotAllowed));
                }
            }
            Input::Awareness { member, body } => {
                if let Ok(entries) = wire::awareness::entries(&body)
                    && self.lets(member, Capabilities::PRESENCE, effects)
                {
                    let (entries, beyond) = entries.up_to(self.limits.awareness_entries_max);
                    if beyond > 0 {
                        effects.push(Effect::Report(Report::AwarenessDropped));
                    }
                    self.announced_elsewhere(member, entries.clone(), effects);
                    self.awareness(now, member, entries, effects);
                }
            }
            Input::QueryAwareness { member } => {
                self.presence_asked(now, member, effects);
            }
            Input::Overflowed { member, first_missed } => self.overflowed(member, first_missed),
            Input::Drained { member } => self.drained(member, effects),
            Input::Left { member } => self.left(now, member, effects),
            Input::Write { request, update, author } => self.write(now, request, &author, *update, effects),
            Input::Appended { position, before } => self.appended(now, position, before, effects),
            Input::AppendFailed => self.saving.failed(now),
            Input::AppendLost => {
                effects.push(Effect::Report(Report::StoreLost));
                self.saving.refused();
            }
            Input::Compacted { base } => self.compacted(now, base, effects),
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
        // First: what else is due is not for those who may not be here any more.
        self.end_conditions(now, effects);
        self.presence.expire(now);
        self.end_terms(now, effects);
        self.give_up_on_silent_authors(now, effects);
        self.retry_held_later(now, effects);
        self.end_checks(now, effects);
        for (owner, client, clock) in self.presence.nudge_again(now) {
            self.nudge(owner, &[(client, clock)], effects);
        }
        if !self.flush.is_empty() && (self.is_closing || now >= self.flush_at()) {
            self.flush(now, effects);
        }
        if self.presence.is_dirty() && is_due(self.awareness_at, self.tuning.awareness_interval, now) {
            self.flush_presence(now, effects);
        }
        self.show_again(now, effects);
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
        if !self.unshown.is_empty() {
            earlier(self.show_at);
        }
        if let Some(due) = self.terms.next() {
            earlier(due);
        }
        if let Some(due) = self.admitting.again_at() {
            earlier(due);
        }
        if let Some(due) = self.retry_held_at {
            earlier(due);
        }
        if let Some(due) = self.withheld_until() {
            earlier(due);
        }
        if let Some(due) = self.checks_until() {
            earlier(due);
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
            earlier(due.max(self.compacted_enough_until));
        }
        // Before that the room waits for an input (an append, a compaction or a snapshot ends), not for the time.
        if let Some(since) = self.empty_since.filter(|_| self.is_settled()) {
            // Offered again soon while closing: a session that has left holds its handle until its socket is closed.
            earlier(since + if self.is_closing { CLOSING_RETRY } else { self.idle() });
        }
        at
    }

    /// Whether a member may do that, and says aloud that it may not.
    fn lets(&self, id: MemberId, wanted: Capabilities, effects: &mut Vec<Effect>) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let is_allowed = member.may(wanted);
        if !is_allowed {
            effects.push(Effect::Report(Report::NotAllowed));
        }
        is_allowed
    }

    /// Whether the room could leave memory: nobody is here, everything is durable, and it has been so for the idle time (or was
    /// told to close).
    #[must_use]
    pub fn is_evictable(&self, now: Timestamp) -> bool {
        let idle = self.empty_since.is_some_and(|since| now.since(since) >= self.idle());
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

    /// Whether a member was let in, and has not left.
    #[must_use]
    pub fn has_member(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// How many are shown to be here: sessions of this node, and what other nodes show of theirs.
    #[must_use]
    pub fn present(&self) -> usize {
        self.members.len() - self.listeners + self.presence.shown_elsewhere()
    }

    /// Everybody's presence, as one awareness message.
    #[must_use]
    pub fn presence(&mut self) -> Bytes {
        self.presence.snapshot()
    }

    /// Grows with each change of anybody's presence.
    #[must_use]
    pub fn presence_changes(&self) -> u64 {
        self.presence.changes()
    }

    /// Updates that wait behind a hole, or for an author.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether what is due, or any update, may take longer than others on the same thread should wait: much waits to be told, or what is
    /// held takes long to be tried again.
    #[must_use]
    pub fn is_laden(&self) -> bool {
        self.held_work > LADEN_WORK || self.flush.bytes() > LADEN_BYTES
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

    /// Whether a difference is to be cut beside the room ([`Room::content`]).
    #[must_use]
    pub fn cuts_aside(&self) -> bool {
        self.document.bytes() >= self.tuning.cut_aside_bytes
    }

    /// All of the document as it is at this moment.
    #[must_use]
    pub fn content(&self) -> Content {
        self.document.content()
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

    /// Counts the bytes that it holds, roughly; linear in the clients that the document knows.
    pub fn weigh(&mut self) -> usize {
        self.grown = 0;
        self.weight = self.memory();
        self.weight
    }

    /// How long it stays when nobody is here.
    fn idle(&self) -> Duration {
        let Tuning { room_idle, heavy_room_idle, heavy_room_bytes, .. } = self.tuning;
        if self.weight > heavy_room_bytes { room_idle.min(heavy_room_idle) } else { room_idle }
    }

    /// What it took, by its price, since it was [weighed](Room::weigh).
    #[must_use]
    pub fn grown(&self) -> usize {
        self.grown
    }

    /// From here on it takes edits of so many bytes in all. Beyond, it refuses what is not a deletion.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// From here on nothing begins the dashboard, for this reason, if nobody has written to it; or anything does again.
    pub fn keep_from_beginning(&mut self, why: Option<Exceeded>) {
        self.not_to_begin = why;
    }

    /// Bytes held, roughly: for the memory budget.
    #[must_use]
    pub fn memory(&self) -> usize {
        let held: usize = self.members.values().map(|member| member.held_bytes + member.refused.bytes()).sum();
        size_of::<Room>()
            + self.members.len() * (heap::block(size_of::<Member>()) + 32)
            + held
            + self.document.memory()
            + self.ended.memory()
            + self.presence.memory()
            + self.owners.memory()
            + self.journal.memory()
            + self.cutting.memory()
            + self.terms.memory()
            // What waits for the store lies in the document's tail, as far as that was not joined since.
            + self.saving.memory().saturating_sub(self.document.tail_bytes())
            + self.company.memory()
    }

    fn joined(&mut self, now: Timestamp, mut joining: Joining, effects: &mut Vec<Effect>) {
        let Joining { member: id, dialect, .. } = joining;
        if self.is_closing {
            effects.push(Effect::Close { member: id, code: CloseCode::Restart });
            return;
        }
        self.admit(now, &mut joining.admission, effects);
        if !joining.admission.access.may(Capabilities::READ) {
            // It has a seat already, which is to get nothing; and other documents on its socket are none of this.
            effects.push(Effect::Expel { member: id, code: CloseCode::Forbidden });
            return;
        }
        if self.members.len() >= self.limits.members_max {
            effects.push(Effect::Close { member: id, code: CloseCode::RoomFull });
            return;
        }
        // Before it is in sync, so that no application offers an edit that will be refused.
        if joining.dialect == Dialect::YWebsocket && joining.wants_acks && !joining.admission.access.may_edit() {
            let frame = Frame { bytes: encode::authenticated(false), kind: FrameKind::Notice };
            effects.push(Effect::Send { to: id, frame });
        }
        if matches!(dialect, Dialect::YWebsocket | Dialect::Listening) {
            self.terms.set(now, id, joining.admission.until);
        }
        self.listeners += usize::from(dialect == Dialect::Listening);
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
            Dialect::Listening => _ = self.make_aware(id),
        }
    }

    fn sync_step1(&mut self, now: Timestamp, id: MemberId, have: StateVector, effects: &mut Vec<Effect>) {
        if self.members.contains_key(&id) && self.ended.is_held(&have, self.document.clocks()) {
            self.expel(now, id, CloseCode::StaleCopy, effects);
            return;
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.refused = Refused::default(); // A provider that asks begins to count anew.
        member.has(&have, self.document.clocks());
        let has_suspects = self.check_what_it_has(now, id, &have);
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(lag) = &mut member.lag {
            lag.has_at_most(&have); // It gets one difference when its outbox is empty; `Drained` sends it, and asks.
            return;
        }
        if has_suspects {
            // Before it gets what others deleted under its ids: after that it has nothing there to compare.
            member.is_asked = true;
            self.ask(id, effects);
        }
        self.send_difference(id, have, Wants::Answer, effects);
    }

    fn stateless(&self, from: Option<MemberId>, payload: &[u8], effects: &mut Vec<Effect>) {
        let frame = Frame { bytes: wire::hocuspocus::stateless(payload), kind: FrameKind::Stateless };
        effects.push(Effect::FanOut { frame, except: from.into_iter().collect() });
    }

    fn overflowed(&mut self, id: MemberId, first_missed: FlushSeq) {
        let Some(member) = self.members.get_mut(&id) else { return };
        // Whatever it lost, its outbox takes nothing more.
        let first_missed = if member.awaits > 0 { 0 } else { first_missed.min(self.seq + 1) };
        match &mut member.lag {
            Some(lag) => lag.again(first_missed),
            None => member.lag = Some(Lag::since(first_missed)),
        }
    }

    fn drained(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(lag) = member.lag.take_if(Lag::drained) else { return };
        let have = lag.have(&self.journal, &self.flush, self.document.clocks());
        // It holds what is collected, too; that goes to everybody once more with the flush.
        self.send_difference(id, have, Wants::Resync, effects);
    }

    /// A member whose outbox had overflowed was sent what it missed: whatever else went with that is sent once more.
    fn resynced(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        // Questions were dropped with the rest: what comes answers the one that follows.
        member.answers = member.asks;
        let (is_warned, is_told) = (member.is_warned, member.is_told);
        let is_shown = member.announced.is_some();
        let nudges = self.presence.unanswered(&member.owns());
        self.make_aware(id);
        // Among what it missed may be somebody's goodbye.
        let bytes = self.presence.everything();
        effects.push(Effect::Send { to: id, frame: Frame { bytes, kind: FrameKind::Notice } });
        if nudges.is_empty() && is_shown {
            self.ask_presence(id, effects); // For its own goodbye may be among them.
        }
        self.nudge(id, &nudges, effects);
        if is_warned {
            authorship::warn(id, effect::REASON_DIFFERS, effects); // It may have been dropped with the rest.
        }
        if is_told {
            self.tell_access(id, effects); // Likewise.
        }
        // The question may have been dropped with the rest; a second one costs one small answer.
        self.ask(id, effects);
    }

    fn left(&mut self, now: Timestamp, id: MemberId, effects: &mut Vec<Effect>) {
        if self.withheld > 0 {
            let mut last = Vec::new();
            self.take_withheld_of(now, id, &mut last);
            last.retain(|effect| !matches!(effect, Effect::Send { to, .. } | Effect::Ack { to, .. } if *to == id));
            effects.append(&mut last);
        }
        let Some(member) = self.members.remove(&id) else { return };
        self.listeners -= usize::from(member.dialect == Dialect::Listening);
        self.make_aware(id);
        self.terms.forget(id);
        self.unshown.remove(&id);
        self.cutting.forget(id);
        let owned = member.owns();
        self.presence.leave(id, &owned, now);
        let spoken: Vec<ClientId> =
            owned.iter().copied().filter(|client| self.owners.speaker(*client) == Some(id)).collect();
        self.owners.release(&owned, id);
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
            .filter_map(|(&heir, member)| member.announced.map(|client| (heir, client, member.announced_at)))
            .filter(|(_, client, _)| spoken.contains(client))
            .collect();
        for (heir, client, announced_at) in heirs {
            if self.owners.speaker(client).is_none() {
                self.owners.speak(client, heir);
                let clock = self.presence.hand_over(client, announced_at);
                self.flush_presence(now, effects);
                self.nudge(heir, &[(client, clock)], effects);
                self.nudge_others(now, heir, effects);
            }
        }
        self.retry_held(now, effects);
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
}

fn is_due(last: Option<Timestamp>, interval: Duration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= interval)
}

/// The answer for one that has `have`.
fn state(bytes: Bytes, have: &StateVector) -> Frame {
    Frame { bytes, kind: if have.is_empty() { FrameKind::State } else { FrameKind::Difference } }
}
