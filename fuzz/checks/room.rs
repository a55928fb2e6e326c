//! What must hold for a room whatever it is told, against a model that only counts clocks and deletions. Shared by the fuzz target
//! and by the replay of its corpus; `proto/tests/simulation` does the same with real documents.

use bytes::Bytes;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use ydash_proto::access::{Access, Admission};
use ydash_proto::document::{Compacted, Kept};
use ydash_proto::id::MemberId;
use ydash_proto::limits::{Limits, OutboxLimits};
use ydash_proto::log::{self, LogEntry, LogPosition};
use ydash_proto::room::{Dialect, Effect, Frame, Input, Joining, Loaded, RequestId, Room, Scanned, Tuning};
use ydash_proto::session::{Item, Next, Outbox, Pushed};
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, Knowledge, Source, StateVector};
use ydash_proto::wire::{self, Message};

const MEMBERS: usize = 4;
const OUTBOX_FRAMES: usize = 6;
const DIALECTS: [Dialect; 3] =
    [Dialect::YWebsocket, Dialect::Hocuspocus { echoes: true }, Dialect::Hocuspocus { echoes: false }];

/// Plays `input` as a history: each step is a byte for what happens, one for whom it happens to, and its arguments.
pub(crate) fn check(input: &[u8]) {
    let mut play = Play::new();
    let mut bytes = Script(input);
    // Long histories find no more than short ones.
    for _ in 0..400 {
        let Some(step) = bytes.byte() else { break };
        let member = usize::from(bytes.byte().unwrap_or(0)) % MEMBERS;
        play.step(step, member, &mut bytes);
    }
    play.finish();
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte().unwrap_or(0) % bound
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// An update of some client: of known content types, at some clock, with some origin and deletion.
    fn update(&mut self, clocks: &StateVector) -> Bytes {
        let client = 1 + self.below(MEMBERS as u8 + 1);
        let clock = clocks.get(client.into()).min(100) as u8;
        let clock = match self.below(4) {
            0 => clock + self.below(4),
            1 => clock.saturating_sub(self.below(4)),
            _ => clock,
        };
        let (other, at) = (1 + self.below(MEMBERS as u8 + 1), self.below(8));
        let mut update = vec![1, 1, client, clock];
        match self.below(5) {
            0 => update.extend([0, 1 + self.below(5)]),
            1 => update.extend([0x84, other, at, 2, b'a', b'b']),
            2 => update.extend([0x08, 1, 1, b'r', 2, 126, 127]),
            3 => update.extend([0x07, 1, 1, b'r', 1]),
            _ => update.extend([0x04, 1, 1, b'r', 3, b'x', b'y', b'z']),
        }
        match self.below(3) {
            0 => update.extend([1, other, 1, at, 1 + self.below(3)]),
            _ => update.push(0),
        }
        update.into()
    }
}

/// Knows what it was told, in whatever order.
#[derive(Default)]
struct Replica {
    knowledge: Knowledge,
    waiting: Vec<Bytes>,
}

impl Replica {
    fn receive(&mut self, update: &Bytes) {
        self.waiting.push(update.clone());
        loop {
            let mut progressed = false;
            for update in core::mem::take(&mut self.waiting) {
                let limits = Limits::default();
                let scan = update::scan(&update, &limits).expect("the room sends updates");
                let admission = self.knowledge.admit(&update, &scan, Source::Trusted, |_| false, &limits);
                progressed |= admission.accepted.is_some();
                self.waiting.extend(admission.held.map(|held| held.bytes));
            }
            if !progressed || self.waiting.is_empty() {
                return;
            }
        }
    }

    fn contains(&self, update: &Bytes) -> bool {
        self.knowledge.contains(update, &update::scan(update, &Limits::default()).expect("scanned before"))
    }

    fn assert_is(&self, other: &Knowledge) {
        assert!(self.waiting.is_empty(), "it waits for {:?}", self.waiting);
        assert_eq!(self.knowledge.clocks(), other.clocks());
        assert_eq!(self.knowledge.deletes(), other.deletes());
    }
}

struct Seat {
    id: MemberId,
    access: Access,
    outbox: Outbox,
    /// What was written and it has not read yet.
    down: VecDeque<Bytes>,
    replica: Replica,
    /// It speaks Hocuspocus.
    takes_turns: bool,
    frames: u32,
    saved: u32,
    refused: u32,
    sent: Vec<Bytes>,
    /// How many updates were durable when the store lost everything; they are not in `sent` any more.
    saved_once: usize,
}

struct Play {
    room: Room,
    now: Timestamp,
    limits: Limits,
    effects: Vec<Effect>,
    seats: [Option<Seat>; MEMBERS],
    next_member: u64,
    next_request: u64,
    unanswered: Vec<(RequestId, Bytes)>,
    append: Option<(Vec<LogEntry>, Option<LogPosition>)>,
    compaction: Option<Vec<Bytes>>,
    snapshot: Option<(LogPosition, Bytes)>,
    stored: Loaded,
    log: Vec<(LogPosition, Bytes)>,
    durable: Replica,
    /// Everything up to here is lost.
    lost_up_to: LogPosition,
    /// Where the log ends.
    end: LogPosition,
}

impl Play {
    fn new() -> Play {
        let limits = Limits {
            unsaved_bytes_max: 60,
            held_updates_max: 4,
            held_bytes_max: 64,
            held_overruns_max: 2,
            awareness_entries_max: 8,
            document_clients_max: 5,
            document_bytes_max: 600,
            nesting_max: 4,
            members_max: MEMBERS - 1,
            ..Limits::default()
        };
        let now = Timestamp(1_000_000);
        Play {
            room: open(now, Loaded::default(), &limits),
            now,
            limits,
            effects: Vec::new(),
            seats: Default::default(),
            next_member: 1,
            next_request: 1,
            unanswered: Vec::new(),
            append: None,
            compaction: None,
            snapshot: None,
            stored: Loaded::default(),
            log: Vec::new(),
            durable: Replica::default(),
            lost_up_to: LogPosition::START,
            end: LogPosition::START,
        }
    }

    fn step(&mut self, step: u8, member: usize, script: &mut Script<'_>) {
        match step % 18 {
            0 | 1 => self.join(member, script.below(4) == 0),
            2 => self.leave(member),
            3..=6 => {
                let update = script.update(self.room.clocks());
                self.update(member, update, step & 0x20 == 0);
            }
            7 => {
                let update = Bytes::copy_from_slice(script.bytes());
                self.update(member, update, true);
            }
            8 => {
                let body = match script.below(3) {
                    0 => Bytes::copy_from_slice(script.bytes()),
                    _ => Bytes::from(vec![1, 1 + script.below(MEMBERS as u8), script.below(8), 2, b'{', b'}']),
                };
                if let (Some(seat), Ok(_)) = (&self.seats[member], wire::awareness::entries(&body)) {
                    let member = seat.id;
                    self.handle(Input::Awareness { member, body });
                }
            }
            9 => {
                if let Some(seat) = &self.seats[member] {
                    let (member, have) = (seat.id, seat.replica.knowledge.clocks().clone());
                    self.handle(Input::SyncStep1 { member, have });
                }
            }
            10 => self.read(member, usize::from(script.below(8))),
            11 => self.appended(script.below(3) > 0),
            12 => self.compacted(script.below(3) > 0),
            13 => self.snapshotted(script.below(3) > 0),
            14 => {
                let update = script.update(self.room.clocks());
                let scan = update::scan(&update, &self.limits);
                if let Ok(scan) = scan {
                    let request = RequestId(self.next_request);
                    self.next_request += 1;
                    self.unanswered.push((request, update.clone()));
                    let update = Box::new(Scanned { update, scan, frame: None });
                    self.handle(Input::Write {
                        request,
                        author: Box::new(Admission::anonymous(Access::EDITOR)),
                        update,
                    });
                }
            }
            15 => match script.below(4) {
                0 => self.restart(),
                1 => self.lose(),
                _ => self.turn(Duration::from_secs(u64::from(script.below(30)))),
            },
            16 => self.turn(Duration::from_millis(script.byte().unwrap_or(1).into())),
            _ => self.turn(Duration::from_secs(u64::from(script.below(30)))),
        }
    }

    fn join(&mut self, at: usize, is_viewer: bool) {
        if self.seats[at].is_some() {
            return;
        }
        let id = MemberId(self.next_member);
        self.next_member += 1;
        let access = if is_viewer { Access::VIEWER } else { Access::EDITOR };
        let is_full = self.room.members() == self.limits.members_max;
        let mut outbox = Outbox::new(OutboxLimits { frames_max: OUTBOX_FRAMES, ..self.limits.outbox() });
        if DIALECTS[at % DIALECTS.len()] != Dialect::YWebsocket {
            outbox.divide();
            outbox.enroll(id, Bytes::new());
        }
        self.seats[at] = Some(Seat {
            id,
            access,
            takes_turns: DIALECTS[at % DIALECTS.len()] != Dialect::YWebsocket,
            outbox,
            down: VecDeque::new(),
            replica: Replica::default(),
            frames: 0,
            saved: 0,
            refused: 0,
            sent: Vec::new(),
            saved_once: 0,
        });
        let joining = Joining {
            member: id,
            admission: Admission::anonymous(access),
            wants_acks: true,
            wants_echo: false,
            dialect: DIALECTS[at % DIALECTS.len()],
        };
        self.handle(Input::Joined(Box::new(joining)));
        assert_eq!(self.seats[at].is_none(), is_full, "a room has a bounded number of members");
        self.handle(Input::SyncStep1 { member: id, have: StateVector::default() });
    }

    fn leave(&mut self, at: usize) {
        if let Some(seat) = self.seats[at].take() {
            self.handle(Input::Left { member: seat.id });
        }
    }

    fn update(&mut self, at: usize, update: Bytes, is_live: bool) {
        let Some(seat) = &mut self.seats[at] else { return };
        let Ok(scan) = update::scan(&update, &self.limits) else { return };
        seat.frames += 1;
        seat.sent.push(update.clone());
        let (member, may_edit) = (seat.id, seat.access.may_edit());
        let before = self.room.clocks().clone();
        let frame = is_live.then(|| wire::encode::update(&update));
        self.handle(Input::Update { member, update: Box::new(Scanned { update, scan, frame }) });
        assert!(may_edit || *self.room.clocks() == before, "a viewer's edit was taken");
    }

    /// A member reads some of what waits for it; when it has read all that was written, more is.
    fn read(&mut self, at: usize, frames: usize) {
        let mut left = frames;
        while left > 0 {
            let Some(seat) = &mut self.seats[at] else { return };
            if let Some(bytes) = seat.down.pop_front() {
                left -= 1;
                match wire::decode_from_server(&bytes).expect("the room speaks the dialect") {
                    Message::SyncStep2(update) | Message::Update(update) => seat.replica.receive(&update),
                    _ => {}
                }
                continue;
            }
            let mut items = Vec::new();
            match seat.outbox.next(&mut items, &mut ()) {
                Some(Next::Batch) => seat.down.extend(items.into_iter().filter_map(|item| match item {
                    Item::Frame(frame) => Some(frame.bytes),
                    _ => None,
                })),
                Some(Next::Drained(member)) => self.handle(Input::Drained { member }),
                _ => return,
            }
        }
    }

    fn appended(&mut self, is_written: bool) {
        let Some((entries, after)) = self.append.take() else { return };
        if !is_written {
            return self.handle(Input::AppendFailed);
        }
        if after.is_some_and(|after| self.is_lost(after)) {
            return self.handle(Input::AppendLost);
        }
        let before = self.end;
        for entry in entries {
            // An author has what it wrote; a recovery's authors are not told apart.
            for seat in self.seats.iter_mut().flatten() {
                if entry.session == seat.id.0 || entry.source == log::Source::Recovery && seat.frames > 0 {
                    seat.replica.receive(&entry.update);
                }
            }
            self.stored.position.0 += 1;
            self.durable.receive(&entry.update);
            self.log.push((self.stored.position, entry.update));
            self.end = self.stored.position;
        }
        self.handle(Input::Appended { position: self.end, before });
    }

    fn compacted(&mut self, succeeds: bool) {
        let Some(parts) = self.compaction.take() else { return };
        let base = succeeds.then(|| {
            let state = update::merge(&parts);
            let limits = Limits::default().for_trusted();
            let scan = Arc::new(update::scan(&state, &limits).expect("a state is an update"));
            Compacted { live_bytes: state.len(), state, kept: Kept::All, scan }
        });
        self.handle(Input::Compacted { base });
    }

    fn snapshotted(&mut self, is_saved: bool) {
        let Some((covers, state)) = self.snapshot.take() else { return };
        if self.is_lost(covers) {
            return self.handle(Input::SnapshotLost);
        }
        if is_saved {
            self.durable.receive(&state);
            self.stored.snapshot = Some(state);
            self.log.retain(|(position, _)| *position > covers);
        }
        self.handle(Input::Snapshotted { saved: is_saved });
    }

    /// The store is emptied. What was acked before was saved then; everything else must be saved anew before it is acked.
    fn lose(&mut self) {
        for seat in self.seats.iter_mut().flatten() {
            let (saved, unsaved) = seat.sent.drain(..).partition::<Vec<_>, _>(|update| self.durable.contains(update));
            seat.sent = unsaved;
            seat.saved_once += saved.len();
        }
        (self.lost_up_to, self.end) = (self.stored.position, LogPosition::START);
        (self.stored.snapshot, self.durable) = (None, Replica::default());
        self.log.clear();
    }

    fn is_lost(&self, position: LogPosition) -> bool {
        position > LogPosition::START && position <= self.lost_up_to
    }

    /// The process is lost.
    fn restart(&mut self) {
        (self.append, self.compaction, self.snapshot) = (None, None, None);
        self.unanswered.clear();
        self.seats = Default::default();
        self.stored.log = self.log.iter().map(|(_, update)| update.clone()).collect();
        self.room = open(self.now, Loaded { position: self.end, ..self.stored.clone() }, &self.limits);
        let mut found = Replica::default();
        found.receive(&self.room.state());
        found.assert_is(&self.durable.knowledge);
    }

    fn turn(&mut self, wait: Duration) {
        self.now = self.now + wait;
        self.room.handle_timeout(self.now, &mut self.effects);
        self.perform();
        if self.room.is_evictable(self.now) {
            self.room.stay(self.now);
        }
        assert!(self.room.poll_timeout() > self.now, "still due after everything was done");
        assert!(self.room.held() <= self.room.members() * self.limits.held_updates_max);
    }

    fn handle(&mut self, input: Input) {
        self.room.handle(self.now, input, &mut self.effects);
        self.perform();
    }

    fn perform(&mut self) {
        while !self.effects.is_empty() {
            for effect in core::mem::take(&mut self.effects) {
                self.perform_one(effect);
            }
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, frame } => self.push(self.seat(to), &frame),
            Effect::FanOut { frame, except } => {
                assert!(except.is_sorted());
                for at in 0..MEMBERS {
                    if self.seats[at].as_ref().is_some_and(|seat| !except.contains(&seat.id)) {
                        self.push(at, &frame);
                    }
                }
            }
            Effect::Ack { to, saved, count } => {
                let at = self.seat(to);
                let Some(seat) = &mut self.seats[at] else { return };
                *(if saved { &mut seat.saved } else { &mut seat.refused }) += count;
                // In one dialect what was refused is told of once more when it is saved after all.
                assert!(seat.saved.max(seat.refused) <= seat.frames, "more acks than frames");
                assert!(seat.takes_turns || seat.saved + seat.refused <= seat.frames, "more acks than frames");
                let durable = seat.sent.iter().filter(|update| self.durable.contains(update)).count();
                assert!(seat.saved as usize <= seat.saved_once + durable, "called saved before it was");
            }
            Effect::Answer { request, result } => {
                let at = self.unanswered.iter().position(|(other, _)| *other == request).expect("answered once");
                let (_, update) = self.unanswered.swap_remove(at);
                assert!(result.is_err() || self.durable.contains(&update), "a write is called saved before it is");
            }
            Effect::Append { entries, after } => {
                assert!(self.append.replace((entries, after)).is_none(), "two appends at once");
            }
            Effect::Cut { .. } => panic!("a difference of a small document was to be cut aside"),
            Effect::Compact { parts } => assert!(self.compaction.replace(parts).is_none(), "two compactions at once"),
            Effect::Snapshot { covers, state } => {
                assert!(covers <= self.stored.position);
                assert!(self.snapshot.replace((covers, state)).is_none(), "two snapshots at once");
            }
            Effect::Close { member, .. } | Effect::Expel { member, .. } => {
                let at = self.seat(member);
                self.leave(at);
            }
            // A room without a bus says nothing and reads nothing again.
            Effect::Publish { .. } | Effect::ReadStore => unreachable!("no bus"),
            Effect::Probe { .. } | Effect::SetAside { .. } | Effect::Report(_) => {}
        }
    }

    /// Where a member sits. The room tells nothing to others.
    fn seat(&self, member: MemberId) -> usize {
        let at = self.seats.iter().position(|seat| seat.as_ref().is_some_and(|seat| seat.id == member));
        at.unwrap_or_else(|| panic!("{member} has left"))
    }

    fn push(&mut self, at: usize, frame: &Frame) {
        let Some(seat) = &mut self.seats[at] else { return };
        let member = seat.id;
        if let Pushed::Overflowed(first_missed) = seat.outbox.push(member, frame, &mut ()) {
            self.room.handle(self.now, Input::Overflowed { member, first_missed }, &mut self.effects);
        }
    }

    /// Everything works for a while, everybody reads; then all agree, and so does what is stored.
    fn finish(&mut self) {
        self.handle(Input::CheckStore { compare: false });
        for _ in 0..12 {
            self.turn(Duration::from_secs(7));
            for at in 0..MEMBERS {
                self.read(at, usize::MAX);
            }
            self.appended(true);
            self.compacted(true);
            self.snapshotted(true);
        }
        let mut room = Replica::default();
        room.receive(&self.room.state());
        assert_eq!(room.knowledge.clocks(), self.room.clocks());
        room.assert_is(&self.durable.knowledge);
        for seat in self.seats.iter().flatten() {
            seat.replica.assert_is(&room.knowledge);
            let acks = seat.saved + seat.refused;
            assert!(acks == seat.frames || seat.takes_turns && acks > seat.frames, "an ack for each frame");
        }
        assert!(self.unanswered.is_empty());
        for at in 0..MEMBERS {
            self.leave(at);
        }
        self.handle(Input::Close);
        for _ in 0..4 {
            self.turn(Duration::from_secs(7));
            self.appended(true);
            self.compacted(true);
            self.snapshotted(true);
        }
        assert!(self.room.is_evictable(self.now), "a closed room ends");
        self.restart();
    }
}

fn open(now: Timestamp, stored: Loaded, limits: &Limits) -> Room {
    let tuning = Tuning { snapshot_after_bytes: 200, snapshot_interval: Duration::from_secs(40), ..Tuning::default() };
    Room::open(now, stored, limits.clone(), tuning).expect("what a room stored is an update")
}
