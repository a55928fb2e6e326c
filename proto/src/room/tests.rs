//! The rules of a room, each by itself: inputs in, effects out. `proto/tests/simulation` plays them together.

use super::saving::{MAKE_ROOM_AGAIN, SNAPSHOT_AGAIN};
use super::*;
use crate::access::{Access, Admission, Capabilities, Principal, Role};
use crate::lib0::write_var_uint;
use crate::log::{LogEntry, Source};
use crate::update;
use crate::wire::Message;

pub(super) const ALICE: MemberId = MemberId(1);
pub(super) const BOB: MemberId = MemberId(2);
pub(super) const CAROL: MemberId = MemberId(3);

pub(super) struct TestRoom {
    pub(super) room: Room,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
}

impl TestRoom {
    pub(super) fn new() -> TestRoom {
        TestRoom::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> TestRoom {
        TestRoom::open(Loaded::default(), limits)
    }

    /// A room that has been open for a while.
    pub(super) fn open(loaded: Loaded, limits: Limits) -> TestRoom {
        let opened = Timestamp(1_000_000);
        let mut room = Room::open(opened, loaded, limits, Tuning::default()).expect("opens");
        let now = opened + 2 * YOUNG;
        room.handle_timeout(now, &mut Vec::new());
        TestRoom { room, now, effects: Vec::new() }
    }

    pub(super) fn join(&mut self, member: MemberId) {
        self.join_as(member, Access::EDITOR);
    }

    /// Joins, wants acks, and says what stock clients say at first.
    pub(super) fn join_as(&mut self, member: MemberId, access: Access) {
        self.join_in(Dialect::YWebsocket, member, access);
        self.input(Input::SyncStep1 { member, have: StateVector::default() });
    }

    pub(super) fn join_in(&mut self, dialect: Dialect, member: MemberId, access: Access) {
        let admission = Admission::anonymous(access);
        self.input(Input::Joined(Box::new(Joining {
            member,
            admission,
            wants_acks: true,
            wants_echo: false,
            dialect,
        })));
    }

    pub(super) fn input(&mut self, input: Input) {
        self.room.handle(self.now, input, &mut self.effects);
    }

    /// An update as a live change.
    pub(super) fn edit(&mut self, member: MemberId, update: &Bytes) {
        let scan = update::scan(update, &Limits::default()).expect("an update");
        let frame = Some(encode::update(update));
        self.input(Input::Update { member, update: Box::new(Scanned { update: update.clone(), scan, frame }) });
    }

    /// An update as the answer to a SyncStep1.
    pub(super) fn answer(&mut self, member: MemberId, update: &Bytes) {
        let scan = update::scan(update, &Limits::default()).expect("an update");
        self.input(Input::Update { member, update: Box::new(Scanned { update: update.clone(), scan, frame: None }) });
    }

    pub(super) fn announce(&mut self, member: MemberId, entries: &[(ClientId, u32, &str)]) {
        self.input(Input::Awareness { member, body: body(entries) });
    }

    pub(super) fn appended(&mut self, position: u128) {
        let before = self.room.saving.known().unwrap_or(LogPosition::START);
        self.input(Input::Appended { position: LogPosition(position), before });
    }

    pub(super) fn after(&mut self, wait: Duration) {
        self.now = self.now + wait;
        self.timeout();
    }

    pub(super) fn timeout(&mut self) {
        self.room.handle_timeout(self.now, &mut self.effects);
        assert!(self.room.poll_timeout() > self.now, "still due after everything was done");
    }

    /// Forgets what was asked for so far.
    pub(super) fn skip(&mut self) {
        self.timeout();
        self.effects.clear();
    }

    pub(super) fn take(&mut self) -> Vec<Effect> {
        self.effects.retain(|effect| !matches!(effect, Effect::Report(_)));
        core::mem::take(&mut self.effects)
    }

    /// What `to` alone was sent.
    pub(super) fn sent(&mut self, to: MemberId) -> Vec<Message> {
        let effects = self.take();
        let sent = effects.iter().filter_map(|effect| match effect {
            Effect::Send { to: member, frame } if *member == to => Some(message(&frame.bytes)),
            _ => None,
        });
        sent.collect()
    }

    /// What went to everybody but those.
    pub(super) fn fanned_out(&mut self) -> Vec<(Message, Vec<MemberId>)> {
        let fanned = self.take().into_iter().filter_map(|effect| match effect {
            Effect::FanOut { frame, except } => Some((message(&frame.bytes), except)),
            _ => None,
        });
        fanned.collect()
    }

    pub(super) fn acks(&mut self) -> Vec<(MemberId, bool, u32)> {
        let acks = self.take().into_iter().filter_map(|effect| match effect {
            Effect::Ack { to, saved, count } => Some((to, saved, count)),
            _ => None,
        });
        acks.collect()
    }

    pub(super) fn appends(&mut self) -> Vec<Vec<LogEntry>> {
        let appends = self.take().into_iter().filter_map(|effect| match effect {
            Effect::Append { entries, .. } => Some(entries),
            _ => None,
        });
        appends.collect()
    }
}

pub(super) fn message(frame: &Bytes) -> Message {
    wire::decode_from_server(frame).expect("a message")
}

fn body(entries: &[(ClientId, u32, &str)]) -> Bytes {
    let frame = encode::awareness(entries.iter().map(|(client, clock, state)| (*client, *clock, state.as_bytes())));
    match message(&frame) {
        Message::Awareness(body) => body,
        other => panic!("{other:?}"),
    }
}

fn awareness(entries: &[(ClientId, u32, &str)]) -> Message {
    Message::Awareness(body(entries))
}

/// `client` writes `text` into a root type, its first character at `clock`.
pub(super) fn typed(client: ClientId, clock: u32, text: &str) -> Bytes {
    structs(client, clock, &[&[4, 1, 1, b'r', text.len() as u8], text.as_bytes()].concat())
}

/// As [`typed`], behind the character before.
pub(super) fn after(client: ClientId, clock: u32, text: &str) -> Bytes {
    let mut bytes = vec![0x84];
    write_var_uint(&mut bytes, client);
    write_var_uint(&mut bytes, u64::from(clock) - 1);
    bytes.push(text.len() as u8);
    bytes.extend_from_slice(text.as_bytes());
    structs(client, clock, &bytes)
}

/// Collected garbage.
pub(super) fn collected(client: ClientId, clock: u32, len: u8) -> Bytes {
    structs(client, clock, &[0, len])
}

fn structs(client: ClientId, clock: u32, bytes: &[u8]) -> Bytes {
    let mut update = vec![1, 1];
    write_var_uint(&mut update, client);
    write_var_uint(&mut update, clock.into());
    update.extend_from_slice(bytes);
    update.push(0);
    update.into()
}

/// `client` deletes one character.
fn deleted(client: ClientId, clock: u8) -> Bytes {
    Bytes::from(vec![0, 1, client as u8, 1, clock, 1])
}

fn clocks(update: &Bytes) -> Vec<(ClientId, u32, u32)> {
    let scan = update::scan(update, &Limits::default()).expect("an update");
    scan.spans.iter().map(|span| (span.client, span.start, span.end)).collect()
}

fn step2(sent: &[Message]) -> Vec<(ClientId, u32, u32)> {
    let mut states = sent.iter().filter_map(|message| match message {
        Message::SyncStep2(update) => Some(clocks(update)),
        _ => None,
    });
    let state = states.next().expect("a SyncStep2");
    assert_eq!(states.next(), None, "one is enough");
    state
}

// Updates.

#[test]
fn a_quiet_room_forwards_the_received_frame() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.skip();
    let update = typed(7, 0, "hi");
    let frame = encode::update(&update);
    let scan = update::scan(&update, &Limits::default()).expect("an update");
    let scanned = Scanned { update, scan, frame: Some(frame.clone()) };
    room.input(Input::Update { member: ALICE, update: Box::new(scanned) });
    room.timeout();
    let effects = room.take();
    let Some(Effect::FanOut { frame: sent, except }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(except, &[ALICE]);
    assert_eq!(sent.bytes.as_ptr(), frame.as_ptr(), "a copy was made");
    assert_eq!(sent.kind, FrameKind::Flush(1));
}

#[test]
fn a_busy_room_sends_one_frame_per_interval_and_authors_what_they_lack() {
    let mut room = TestRoom::new();
    for member in [ALICE, BOB, CAROL] {
        room.join(member);
    }
    room.skip();
    for (n, text) in ["x", "y"].into_iter().enumerate() {
        room.edit(CAROL, &typed(9, n as u32, text));
        room.timeout();
        assert!(matches!(room.take()[..], [Effect::FanOut { .. }, ..]), "two go out at once");
    }
    room.after(Duration::from_millis(1));
    room.edit(ALICE, &typed(7, 0, "b"));
    room.timeout();
    room.edit(BOB, &typed(8, 0, "c"));
    room.timeout();
    assert!(room.take().is_empty(), "it collects");
    room.after(Duration::from_millis(7));
    let effects = room.take();
    let own = |to: MemberId| {
        effects.iter().find_map(|effect| match effect {
            Effect::Send { to: member, frame } if *member == to => Some(message(&frame.bytes)),
            _ => None,
        })
    };
    assert_eq!(own(ALICE), Some(Message::Update(typed(8, 0, "c"))));
    assert_eq!(own(BOB), Some(Message::Update(typed(7, 0, "b"))));
    let all = effects.iter().find_map(|effect| match effect {
        Effect::FanOut { frame, except } => Some((message(&frame.bytes), except.clone())),
        _ => None,
    });
    let Some((Message::Update(all), except)) = all else { panic!("{effects:?}") };
    assert_eq!((clocks(&all), except), (vec![(8, 0, 1), (7, 0, 1)], vec![ALICE, BOB]));
}

/// An author that left before the flush was still sent a frame of its own.
#[test]
fn who_left_gets_nothing() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.edit(BOB, &typed(8, 0, "a"));
    room.skip();
    room.edit(ALICE, &typed(7, 0, "a"));
    room.edit(BOB, &typed(8, 1, "b"));
    room.input(Input::Left { member: ALICE });
    room.after(Duration::from_millis(8));
    let to_alice = room.take().iter().any(|effect| match effect {
        Effect::Send { to, .. } => *to == ALICE,
        Effect::FanOut { except, .. } => except.contains(&ALICE),
        _ => false,
    });
    assert!(!to_alice);
}

#[test]
fn a_viewers_edits_reach_nobody_and_are_refused() {
    let mut room = TestRoom::new();
    room.join_as(ALICE, Access::VIEWER);
    room.join(BOB);
    room.skip();
    room.edit(ALICE, &typed(7, 0, "hi"));
    room.timeout();
    assert_eq!(room.room.clocks().len(), 0);
    assert!(matches!(room.take()[..], [Effect::Ack { to: ALICE, saved: false, count: 1 }]));
}

#[test]
fn a_viewer_is_told_so_before_anything_else() {
    let mut room = TestRoom::new();
    room.join_as(ALICE, Access::VIEWER);
    assert_eq!(room.sent(ALICE).first(), Some(&Message::Authenticated { may_edit: false }));
    room.join(BOB);
    let sent = room.sent(BOB);
    assert!(matches!(sent[..], [Message::SyncStep1(_), Message::SyncStep2(_)]), "{sent:?}");
}

/// A viewer's SyncStep2 was called saved as soon as its content was known, though not durable yet.
#[test]
fn what_a_viewer_repeats_is_acked_when_it_is_durable() {
    let mut room = TestRoom::new();
    room.join_as(ALICE, Access::VIEWER);
    room.join(BOB);
    room.edit(BOB, &typed(8, 0, "hi"));
    room.answer(ALICE, &typed(8, 0, "hi"));
    room.timeout();
    assert_eq!(room.acks(), []);
    room.appended(1);
    assert_eq!(room.acks(), [(ALICE, true, 1), (BOB, true, 1)]);
    room.answer(ALICE, &Bytes::from_static(&update::EMPTY_UPDATE));
    assert_eq!(room.acks(), [(ALICE, true, 1)]);
}

// Outboxes that overflowed.

#[test]
fn an_overflowed_member_gets_one_difference_when_it_has_drained() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    for clock in 0..4 {
        room.edit(ALICE, &typed(7, clock, "a"));
        room.after(Duration::from_millis(8));
    }
    room.input(Input::Overflowed { member: BOB, first_missed: 3 });
    room.skip();
    room.input(Input::Drained { member: BOB });
    assert_eq!(step2(&room.sent(BOB)), [(7, 2, 4)]);
    room.input(Input::Drained { member: BOB });
    assert!(room.take().is_empty());
}

/// What was collected at the time of the overflow counted as told, and its flush met an outbox that took nothing.
#[test]
fn what_was_not_flushed_yet_is_part_of_the_difference() {
    let mut room = TestRoom::new();
    for member in [ALICE, BOB, CAROL] {
        room.join(member);
    }
    room.edit(ALICE, &typed(7, 0, "a"));
    room.skip();
    room.edit(CAROL, &typed(9, 0, "b"));
    room.input(Input::Overflowed { member: BOB, first_missed: 1 });
    room.after(Duration::from_millis(8));
    room.take();
    room.input(Input::Drained { member: BOB });
    assert_eq!(step2(&room.sent(BOB)), [(9, 0, 1), (7, 0, 1)]);
}

/// Frames may fill the outbox again before the room hears that it was empty: the first difference met a full outbox, the second
/// began too late.
#[test]
fn an_outbox_may_overflow_again_before_the_room_hears_that_it_drained() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    for clock in 0..4 {
        room.edit(ALICE, &typed(7, clock, "a"));
        room.after(Duration::from_millis(8));
    }
    room.input(Input::Overflowed { member: BOB, first_missed: 2 });
    room.input(Input::Overflowed { member: BOB, first_missed: 4 });
    room.skip();
    room.input(Input::Drained { member: BOB });
    assert!(room.take().is_empty(), "its outbox takes nothing");
    room.input(Input::Drained { member: BOB });
    assert_eq!(step2(&room.sent(BOB)), [(7, 1, 4)]);
}

/// A member that overflowed before it had asked for the state was told the difference from its first lost flush, and no more.
#[test]
fn a_question_during_the_lag_is_answered_by_the_difference() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "abc"));
    room.timeout();
    let joining = Joining {
        member: BOB,
        admission: Admission::anonymous(Access::EDITOR),
        wants_acks: false,
        wants_echo: false,
        dialect: Dialect::YWebsocket,
    };
    room.input(Input::Joined(Box::new(joining)));
    room.edit(ALICE, &typed(7, 3, "d"));
    room.after(Duration::from_millis(8));
    room.input(Input::Overflowed { member: BOB, first_missed: 2 });
    room.skip();
    room.input(Input::SyncStep1 { member: BOB, have: [(7, 1)].into_iter().collect() });
    assert!(room.take().is_empty());
    room.input(Input::Drained { member: BOB });
    assert_eq!(step2(&room.sent(BOB)), [(7, 1, 4)]);
}

/// Whoever left while somebody lagged stayed on that one's screen until its own timer fired.
#[test]
fn goodbyes_that_were_dropped_are_said_again() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.announce(ALICE, &[(7, 1, "{}")]);
    room.skip();
    room.input(Input::Overflowed { member: BOB, first_missed: 0 });
    room.input(Input::Left { member: ALICE });
    room.skip();
    room.input(Input::Drained { member: BOB });
    assert!(room.sent(BOB).contains(&awareness(&[(7, 1, "null")])));
}

// The log.

#[test]
fn an_update_is_acked_once_and_only_when_it_is_appended() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.skip();
    room.edit(ALICE, &typed(7, 0, "a"));
    room.edit(ALICE, &typed(7, 1, "b"));
    room.timeout();
    let appends = room.appends();
    assert_eq!(appends.len(), 1);
    assert_eq!(clocks(&appends[0][0].update), [(7, 0, 2)], "one entry per session");
    room.edit(ALICE, &typed(7, 2, "c"));
    room.timeout();
    assert!(room.appends().is_empty(), "one append at a time");
    room.appended(1);
    assert_eq!(room.acks(), [(ALICE, true, 2)]);
    room.timeout();
    assert_eq!(room.appends().len(), 1);
    room.appended(2);
    assert_eq!(room.acks(), [(ALICE, true, 1)]);
    // Known and durable: at once.
    room.edit(ALICE, &typed(7, 2, "c"));
    assert_eq!(room.acks(), [(ALICE, true, 1)]);
}

#[test]
fn a_failed_append_is_tried_again_with_what_came_since() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "a"));
    room.skip();
    room.edit(ALICE, &typed(7, 1, "b"));
    room.input(Input::AppendFailed);
    room.timeout();
    assert!(room.appends().is_empty() && room.acks().is_empty());
    room.after(Duration::from_millis(100));
    let appends = room.appends();
    assert_eq!(clocks(&appends[0][0].update), [(7, 0, 2)]);
    room.appended(1);
    assert_eq!(room.acks(), [(ALICE, true, 2)]);
}

#[test]
fn after_a_long_outage_one_difference_is_appended() {
    let mut room = TestRoom::with_limits(Limits { unsaved_bytes_max: 40, ..Limits::default() });
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "a"));
    room.timeout();
    room.appended(1);
    for clock in 1..20 {
        room.edit(ALICE, &typed(7, clock, "a"));
        room.timeout();
        room.input(Input::AppendFailed);
    }
    room.skip();
    room.after(Duration::from_secs(2));
    let appends = room.appends();
    let [entry] = appends[0].as_slice() else { panic!("{appends:?}") };
    assert_eq!((entry.source, clocks(&entry.update)), (Source::Recovery, vec![(7, 1, 20)]));
    room.appended(2);
    assert_eq!(room.acks(), [(ALICE, true, 19)]);
    assert!(room.room.is_settled() || room.room.saving.since_snapshot() > 0);
}

/// Acks that came in while a difference was in flight, and that it covered, were sent after an append of nothing.
#[test]
fn a_difference_in_flight_settles_what_it_covers() {
    let mut room = TestRoom::with_limits(Limits { unsaved_bytes_max: 20, ..Limits::default() });
    room.join(ALICE);
    for clock in 0..9 {
        room.edit(ALICE, &typed(7, clock, "a"));
    }
    room.timeout();
    room.input(Input::AppendFailed);
    room.after(Duration::from_secs(2));
    room.skip();
    room.edit(ALICE, &typed(7, 8, "a"));
    room.appended(1);
    assert_eq!(room.acks(), [(ALICE, true, 10)]);
    room.timeout();
    assert!(room.appends().is_empty());
}

// Holes and ownership.

#[test]
fn what_lies_behind_a_hole_waits_and_its_sender_is_asked() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.skip();
    room.edit(ALICE, &typed(7, 2, "c"));
    assert_eq!(room.room.held(), 1);
    assert_eq!(room.sent(ALICE), [Message::SyncStep1(Bytes::from_static(&[0]))]);
    room.edit(ALICE, &typed(7, 3, "d"));
    assert!(room.take().is_empty(), "asked a moment ago");
    room.answer(ALICE, &typed(7, 0, "ab"));
    assert_eq!(room.room.held(), 0);
    room.timeout();
    let fanned = room.fanned_out();
    let [(Message::Update(update), _)] = fanned.as_slice() else { panic!("{fanned:?}") };
    assert_eq!(clocks(update), [(7, 0, 4)]);
    room.appended(1);
    assert_eq!(room.acks(), [(ALICE, true, 3)]);
}

/// Whatever was held was gone through and written anew with each edit that it waited for: 117 ms of the room's time for one of 20 bytes.
#[test]
fn what_is_held_is_tried_again_for_a_bounded_time_and_gets_through_in_the_end() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.skip();
    let deletes: Vec<_> = (0..editing::RETRIES_BURST).map(|at| (9, 2 * at, 1)).collect();
    room.edit(ALICE, &update::build::update(&[], &deletes));
    assert_eq!(room.room.held(), 1);
    room.skip();
    for clock in 0..100 {
        room.edit(BOB, &typed(9, clock, "a"));
    }
    let accepted = |effect: &Effect| matches!(effect, Effect::Report(Report::Accepted { .. }));
    let tries = room.effects.iter().filter(|effect| accepted(effect)).count() - 100;
    assert!(tries <= 1, "{tries} tries");
    let last = deleted(9, 98);
    let is_known = |room: &TestRoom| {
        room.room.document.contains(&last, &update::scan(&last, &Limits::default()).expect("an update"))
    };
    assert!(!is_known(&room));
    room.after(Duration::from_secs(3));
    assert!(is_known(&room), "held for good");
    // Of others that are held, what is small is tried at once as before, when there is time again.
    room.after(Duration::from_secs(3));
    room.edit(BOB, &typed(10, 1, "b"));
    room.edit(BOB, &typed(10, 0, "a"));
    assert_eq!(room.room.clocks().get(10), 2);
}

/// The members were asked what they have before, and told what the log had: nobody else would tell them.
#[test]
fn what_waited_in_the_log_behind_a_hole_is_told_to_everybody_when_that_is_closed() {
    let log = vec![typed(7, 2, "c"), typed(7, 3, "d")];
    let mut room = TestRoom::open(Loaded { log, ..Loaded::default() }, Limits::default());
    room.join(ALICE);
    room.join(BOB);
    room.skip();
    assert_eq!(room.room.clocks().get(7), 0);
    room.answer(BOB, &typed(7, 0, "ab"));
    room.timeout();
    let effects = room.take();
    let updates = |frame: &Frame| match message(&frame.bytes) {
        Message::Update(update) => clocks(&update),
        other => panic!("{other:?}"),
    };
    let sent = effects.iter().find_map(|effect| match effect {
        Effect::Send { to: BOB, frame } => Some(updates(frame)),
        _ => None,
    });
    assert_eq!(sent, Some(vec![(7, 2, 4)]), "who closed the hole lacks what lay behind it");
    let fanned = effects.iter().find_map(|effect| match effect {
        Effect::FanOut { frame, except } => Some((updates(frame), except.as_slice())),
        _ => None,
    });
    assert_eq!(fanned, Some((vec![(7, 0, 4)], &[BOB][..])));
}

#[test]
fn what_is_held_too_long_is_refused() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 2, "c"));
    room.skip();
    for _ in 0..3 {
        room.after(KEEP_ALIVE);
    }
    let is_ack = |effect: &Effect| matches!(effect, Effect::Ack { to: ALICE, saved: false, count: 1 });
    assert_eq!(room.effects.iter().filter(|effect| is_ack(effect)).count(), 1);
    // Whoever wants no acks hears of it, too: its client prints this.
    let denied = room.sent(ALICE).into_iter().filter(|message| matches!(message, Message::PermissionDenied(_)));
    assert_eq!(denied.count(), 1);
    assert_eq!(room.room.held(), 0);
}

#[test]
fn who_overruns_what_may_be_held_is_asked_then_closed() {
    let limits = Limits { held_updates_max: 2, held_overruns_max: 1, ..Limits::default() };
    let mut room = TestRoom::with_limits(limits);
    room.join(ALICE);
    room.skip();
    for clock in [10, 20, 30] {
        room.edit(ALICE, &typed(7, clock, "c"));
    }
    assert_eq!(room.acks(), [(ALICE, false, 3)]);
    for clock in [10, 20, 30] {
        room.edit(ALICE, &typed(7, clock, "c"));
    }
    assert!(matches!(room.take().last(), Some(Effect::Close { member: ALICE, code: CloseCode::HeldOverrun })));
}

// Client ids.

/// A room in which Alice announced 7 and wrote "hi" under it, and Bob announced 8.
pub(super) fn room_with_an_author() -> TestRoom {
    let mut room = TestRoom::new();
    for (member, client) in [(ALICE, 7), (BOB, 8)] {
        room.join(member);
        room.announce(member, &[(client, 1, "{}")]);
        room.answer(member, &Bytes::from_static(&update::EMPTY_UPDATE));
    }
    room.edit(ALICE, &typed(7, 0, "hi"));
    room.skip();
    room.appended(1);
    room.after(Duration::from_secs(1));
    room.skip();
    room
}

/// A member that had heard an edit by another transport passed it on as the first update of its session, and was taken for its
/// author: what she wrote herself was held, refused and lost.
#[test]
fn what_somebody_passes_on_is_taken_at_once_and_makes_nobody_its_author() {
    let mut room = TestRoom::new();
    room.join(BOB);
    room.announce(BOB, &[(8, 1, "{}")]);
    room.edit(BOB, &typed(7, 0, "one"));
    assert_eq!(room.room.clocks().get(7), 3);
    room.join(ALICE);
    room.announce(ALICE, &[(7, 1, "{}")]);
    room.answer(ALICE, &Bytes::from_static(&update::EMPTY_UPDATE));
    room.answer(ALICE, &typed(7, 0, "one"));
    room.edit(ALICE, &typed(7, 3, "two"));
    assert_eq!(room.room.clocks().get(7), 6);
    assert_eq!(room.room.held(), 0);
}

#[test]
fn an_author_is_shown_the_first_of_what_others_write_in_its_name_and_asked_for_its_own_first() {
    let mut room = room_with_an_author();
    room.edit(BOB, &typed(7, 2, "forged"));
    assert_eq!(room.room.clocks().get(7), 2);
    let sent = room.sent(ALICE);
    assert!(
        matches!(&sent[..], [Message::Update(shown), Message::SyncStep1(have)]
        if clocks(shown) == [(7, 2, 3)] && have[..] == [1, 7, 2]),
        "{sent:?}"
    );
    // What Alice wrote before she saw it comes before her answer, and counts.
    room.edit(ALICE, &typed(7, 2, "own"));
    assert_eq!(room.room.clocks().get(7), 5);
    let effects = room.take();
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Ack { to: BOB, saved: false, count: 1 })),
        "{effects:?}"
    );
    assert!(effects.iter().any(|effect| matches!(effect, Effect::SetAside { .. })), "{effects:?}");
    assert_eq!(room.room.held(), 0);
}

/// Two devices with one id: the author has nothing to say against it, and its client takes another id upon what it was shown.
#[test]
fn what_its_author_does_not_have_is_taken_when_it_has_answered() {
    let mut room = room_with_an_author();
    room.edit(BOB, &typed(7, 2, "other device"));
    room.skip();
    room.answer(ALICE, &Bytes::from_static(&update::EMPTY_UPDATE));
    assert_eq!(room.room.clocks().get(7), 14);
    room.timeout();
    room.appended(2);
    assert_eq!(room.acks(), [(ALICE, true, 1), (BOB, true, 1)]);
}

#[test]
fn nobody_waits_for_an_author_that_does_not_answer() {
    let mut room = room_with_an_author();
    room.edit(BOB, &typed(7, 2, "x"));
    room.after(Duration::from_millis(999));
    assert_eq!(room.room.clocks().get(7), 2);
    room.after(Duration::from_millis(1));
    assert_eq!(room.room.clocks().get(7), 3);
    room.skip();
    room.edit(BOB, &typed(7, 3, "y"));
    assert_eq!(room.room.clocks().get(7), 4, "it is not asked again until it writes");
}

#[test]
fn what_waits_for_an_author_is_taken_when_either_leaves() {
    for leaver in [ALICE, BOB] {
        let mut room = room_with_an_author();
        room.edit(BOB, &typed(7, 2, "x"));
        assert_eq!(room.room.clocks().get(7), 2);
        room.input(Input::Left { member: leaver });
        assert_eq!((room.room.clocks().get(7), room.room.held()), (3, 0));
    }
}

/// After a crash, everybody has what somebody else's session lost with the process.
#[test]
fn what_waits_for_an_author_is_settled_when_it_brings_the_same() {
    let mut room = room_with_an_author();
    room.answer(BOB, &typed(7, 2, "ho"));
    assert_eq!(room.room.held(), 1);
    room.edit(ALICE, &typed(7, 2, "ho"));
    assert_eq!(room.room.held(), 0);
    room.skip();
    room.appended(2);
    assert_eq!(room.acks(), [(ALICE, true, 1), (BOB, true, 1)]);
}

/// However much somebody writes in an author's name, the author gets one question. It writes under another id by then.
#[test]
fn an_author_is_not_flooded_with_questions() {
    let mut room = room_with_an_author();
    for clock in 2..102 {
        room.edit(BOB, &typed(7, clock, "x"));
    }
    let asked = |sent: Vec<Message>| sent.iter().filter(|message| matches!(message, Message::SyncStep1(_))).count();
    assert_eq!(asked(room.sent(ALICE)), 1);
    room.answer(ALICE, &Bytes::from_static(&update::EMPTY_UPDATE));
    assert_eq!((room.room.clocks().get(7), room.room.held()), (102, 0));
    // One whose client does not take another id is asked again, but not at once.
    room.edit(ALICE, &typed(7, 102, "own"));
    room.edit(BOB, &typed(7, 105, "x"));
    assert_eq!(asked(room.sent(ALICE)), 0);
    room.after(Duration::from_millis(50));
    assert_eq!(asked(room.sent(ALICE)), 1);
}

/// Alice is away with unsent edits; somebody takes her next clocks. Her edits were dropped and acknowledged as saved.
#[test]
fn who_comes_back_to_taken_clocks_is_told_that_its_edits_are_not_saved() {
    for (taken, is_behind) in [("forged", true), ("f", false)] {
        let mut room = room_with_an_author();
        room.input(Input::Left { member: ALICE });
        room.edit(BOB, &typed(7, 2, taken));
        let known = room.room.clocks().get(7);
        room.skip();
        room.input(Input::Joined(Box::new(Joining {
            member: CAROL,
            admission: Admission::anonymous(Access::EDITOR),
            wants_acks: true,
            wants_echo: false,
            dialect: Dialect::YWebsocket,
        })));
        // She has "hi", and "own" unsent.
        room.input(Input::SyncStep1 { member: CAROL, have: [(7, 5)].into_iter().collect() });
        room.announce(CAROL, &[(7, 2, "{}")]);
        assert!(room.sent(CAROL).contains(&Message::SyncStep1(vec![0].into())), "she is asked for the last clocks");
        // Her answer to the first question: what the server does not claim to have.
        let answer = if is_behind { Bytes::from_static(&update::EMPTY_UPDATE) } else { typed(7, known, "wn") };
        room.answer(CAROL, &answer);
        assert_eq!(room.room.clocks().get(7), known, "what continues something else waits");
        room.timeout();
        room.appended(3);
        let acks = room.acks();
        assert!(!acks.iter().any(|(to, ..)| *to == CAROL), "nothing is called saved before it was compared: {acks:?}");
        // Her answer to the second: the overlap.
        let again = typed(7, 0, "hiown");
        room.answer(CAROL, &again);
        let effects = room.take();
        let told = |effect: &Effect| matches!(effect, Effect::Ack { to: CAROL, saved: false, count: 1 | 2 });
        assert!(effects.iter().any(told), "{effects:?}");
        let refused = |effect: &Effect| match effect {
            Effect::Send { to: CAROL, frame } => matches!(message(&frame.bytes), Message::PermissionDenied(_)),
            _ => false,
        };
        assert!(effects.iter().any(refused), "{effects:?}");
        let aside = |effect: &Effect| matches!(effect, Effect::SetAside { entry, .. } if entry.update == again);
        assert!(effects.iter().any(aside), "{effects:?}");
    }
}

#[test]
fn who_comes_back_to_what_it_wrote_itself_is_asked_for_the_last_of_it_and_hears_that_it_is_saved() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.skip();
    room.join_in(Dialect::YWebsocket, CAROL, Access::EDITOR);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 5)].into_iter().collect() });
    room.announce(CAROL, &[(7, 1, "{}")]);
    assert!(room.sent(CAROL).contains(&Message::SyncStep1(vec![0].into())));
    room.answer(CAROL, &after(7, 2, "own"));
    assert_eq!(room.room.clocks().get(7), 2);
    room.answer(CAROL, &typed(7, 0, "hiown"));
    assert_eq!(room.room.clocks().get(7), 5);
    room.timeout();
    room.appended(3);
    assert_eq!(room.acks(), [(CAROL, true, 2)]);
}

/// Of a long text only its last clocks are asked for.
#[test]
fn the_last_eight_clocks_of_an_id_are_compared() {
    let mut room = room_with_an_author();
    room.edit(ALICE, &after(7, 2, "0123456789"));
    room.input(Input::Left { member: ALICE });
    room.skip();
    room.join_in(Dialect::YWebsocket, CAROL, Access::EDITOR);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 12)].into_iter().collect() });
    assert!(room.sent(CAROL).contains(&Message::SyncStep1(vec![1, 7, 4].into())));
}

/// She could not know, and went on under her id: others would have got the rest of a word whose beginning only she has.
#[test]
fn nothing_more_is_taken_under_an_id_that_differed() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.edit(BOB, &typed(7, 2, "x"));
    room.join(CAROL);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 4)].into_iter().collect() });
    room.answer(CAROL, &typed(7, 0, "hiow"));
    room.skip();
    room.edit(CAROL, &after(7, 4, "n"));
    room.edit(CAROL, &after(7, 3, "wn"));
    assert_eq!(room.acks(), [(CAROL, false, 1), (CAROL, false, 1)]);
    assert_eq!(room.room.clocks().get(7), 3);
    assert_eq!(room.room.held(), 0);
    room.edit(CAROL, &typed(9, 0, "elsewhere"));
    assert_eq!(room.room.clocks().get(9), 9, "under another id she is heard");
}

#[test]
fn what_waits_for_a_slow_client_s_answer_waits_for_a_second() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.join_in(Dialect::YWebsocket, CAROL, Access::EDITOR);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 2)].into_iter().collect() });
    room.edit(CAROL, &after(7, 2, "own"));
    room.edit(BOB, &typed(8, 0, "b"));
    assert_eq!((room.room.clocks().get(7), room.room.clocks().get(8)), (2, 1), "nobody else waits");
    room.after(Duration::from_millis(999));
    assert_eq!(room.room.clocks().get(7), 2);
    room.after(Duration::from_millis(1));
    assert_eq!(room.room.clocks().get(7), 5);
    room.edit(CAROL, &after(7, 5, "!"));
    room.skip();
    room.input(Input::Left { member: CAROL });
    // Whoever comes back is asked from where that began.
    room.join_in(Dialect::YWebsocket, ALICE, Access::EDITOR);
    room.input(Input::SyncStep1 { member: ALICE, have: [(7, 6)].into_iter().collect() });
    assert!(room.sent(ALICE).contains(&Message::SyncStep1(vec![1, 8, 1].into())));
}

#[test]
fn more_than_half_of_what_may_be_held_does_not_wait_for_an_answer() {
    let mut room = TestRoom::with_limits(Limits { held_updates_max: 4, ..Limits::default() });
    room.join(BOB);
    room.announce(BOB, &[(8, 1, "{}")]);
    room.edit(BOB, &typed(7, 0, "hi"));
    room.join_in(Dialect::YWebsocket, CAROL, Access::EDITOR);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 2)].into_iter().collect() });
    for clock in 2..4 {
        room.edit(CAROL, &after(7, clock, "x"));
    }
    assert_eq!((room.room.clocks().get(7), room.room.held()), (2, 2));
    room.edit(CAROL, &after(7, 4, "x"));
    assert_eq!((room.room.clocks().get(7), room.room.held()), (5, 0));
}

/// A client that never answers hears all the same that what it sent is saved.
#[test]
fn a_client_that_is_asked_about_its_id_and_does_not_answer_gets_its_acks() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.join(CAROL);
    room.announce(CAROL, &[(7, 2, "{}")]);
    room.edit(CAROL, &after(7, 2, "own"));
    room.after(Duration::from_secs(1));
    room.skip();
    room.appended(2);
    assert_eq!(room.acks(), []);
    room.after(Duration::from_secs(30));
    assert_eq!(room.acks(), [(CAROL, true, 1)]);
}

/// Garbage over clocks that are still to come. Their author sees that what it wrote is gone for everybody.
#[test]
fn who_comes_back_to_clocks_that_came_deleted_is_told() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.edit(BOB, &collected(7, 2, 100));
    room.skip();
    room.join_in(Dialect::Hocuspocus { echoes: true }, CAROL, Access::EDITOR);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 5)].into_iter().collect() });
    room.announce(CAROL, &[(7, 2, "{}")]);
    room.answer(CAROL, &Bytes::from_static(&update::EMPTY_UPDATE));
    room.skip();
    room.answer(CAROL, &typed(7, 0, "hiown"));
    let effects = room.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Ack { to: CAROL, saved: false, .. })), "{effects:?}");
    let gone = |effect: &Effect| match effect {
        Effect::Send { to: CAROL, frame } => {
            message(&frame.bytes) == Message::Update(Bytes::from_static(&[0, 1, 7, 1, 2, 100]))
        }
        _ => false,
    };
    assert!(effects.iter().any(gone), "{effects:?}");
}

/// The first question may be lost where an outbox overflows, and by the next one somebody else may have written under the id.
#[test]
fn a_client_that_has_more_is_asked_for_that_until_it_answers() {
    let mut room = TestRoom::new();
    room.join_in(Dialect::Hocuspocus { echoes: true }, ALICE, Access::EDITOR);
    room.join(BOB);
    room.input(Input::SyncStep1 { member: ALICE, have: [(7, 1)].into_iter().collect() });
    room.edit(BOB, &typed(7, 0, "bob"));
    room.edit(ALICE, &after(7, 9, "x"));
    let questions = |room: &mut TestRoom| {
        let questions = room.sent(ALICE).into_iter().filter_map(|message| match message {
            Message::SyncStep1(have) => StateVector::decode(&have, &Limits::default()).ok(),
            _ => None,
        });
        questions.map(|have| have.get(7)).collect::<Vec<_>>()
    };
    assert_eq!(questions(&mut room), [0, 0]);
    room.answer(ALICE, &typed(7, 0, "a"));
    assert_eq!(room.acks(), [(ALICE, false, 2)]);
    room.edit(ALICE, &after(8, 9, "x"));
    room.after(Duration::from_secs(6));
    room.edit(ALICE, &after(8, 12, "x"));
    assert_eq!(questions(&mut room), [3]);
}

/// It goes on editing while it is asked: what it overwrote meanwhile comes with its answer, deleted, before the edit is taken that waits for
/// the answer. Somebody else brought something of it that came deleted, too.
#[test]
fn an_author_that_overwrites_what_waits_for_its_own_answer_is_not_refused() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.edit(BOB, &collected(7, 2, 1));
    room.skip();
    room.join(CAROL);
    room.input(Input::SyncStep1 { member: CAROL, have: [(7, 3)].into_iter().collect() });
    room.announce(CAROL, &[(7, 2, "{}")]);
    room.edit(CAROL, &after(7, 3, "x"));
    let instead = [1, 1, 7, 4, 0x84, 7, 3, 1, b'y', 1, 7, 1, 3, 1];
    room.edit(CAROL, &Bytes::copy_from_slice(&instead));
    assert_eq!(room.room.held(), 2);
    room.skip();
    let answer = [1, 3, 7, 0, 4, 1, 1, b'r', 2, b'h', b'i', 0x81, 7, 1, 2, 0x84, 7, 3, 1, b'y', 1, 7, 1, 2, 2];
    room.answer(CAROL, &Bytes::copy_from_slice(&answer));
    assert_eq!((room.room.clocks().get(7), room.room.held()), (5, 0));
    let effects = room.take();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ack { saved: false, .. })), "{effects:?}");
}

/// One fixed update under client id 0 that every page applies, and a longer one of a later release.
#[test]
fn a_template_belongs_to_nobody() {
    let mut room = TestRoom::new();
    for (member, client) in [(ALICE, 7), (BOB, 8), (CAROL, 9)] {
        room.join(member);
        room.announce(member, &[(client, 1, "{}")]);
        room.answer(member, &Bytes::from_static(&update::EMPTY_UPDATE));
    }
    room.edit(ALICE, &typed(0, 0, "tem"));
    room.edit(BOB, &typed(0, 0, "tem"));
    room.edit(CAROL, &typed(0, 0, "template"));
    assert_eq!((room.room.clocks().get(0), room.room.held()), (8, 0));
    room.skip();
    room.appended(1);
    room.after(Duration::from_millis(8));
    room.appended(2);
    let refused = room.acks().into_iter().filter(|(_, saved, _)| !saved).count();
    assert_eq!(refused, 0);
}

// Presence.

#[test]
fn an_announcement_reaches_others_and_goes_with_its_session() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.answer(BOB, &Bytes::from_static(&update::EMPTY_UPDATE));
    room.skip();
    room.announce(ALICE, &[(7, 1, "{}")]);
    room.timeout();
    assert_eq!(room.fanned_out(), [(awareness(&[(7, 1, "{}")]), vec![ALICE])]);
    room.announce(BOB, &[(7, 1, "{}")]);
    room.announce(BOB, &[(7, 9, "null"), (8, 1, "{}")]);
    room.after(Duration::from_millis(20));
    assert_eq!(room.fanned_out(), [(awareness(&[(8, 1, "{}")]), vec![])], "an echo, and a lie");
    room.input(Input::Left { member: ALICE });
    room.after(Duration::from_millis(20));
    assert_eq!(room.fanned_out(), [(awareness(&[(7, 1, "null")]), vec![])]);
}

#[test]
fn who_comes_back_at_an_old_clock_is_nudged_and_so_is_everybody_for_its_sake() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.announce(BOB, &[(8, 5, "{}")]);
    room.input(Input::Left { member: ALICE });
    room.skip();
    room.join(CAROL);
    room.take();
    room.announce(CAROL, &[(7, 3, "{}")]);
    let effects = room.take();
    let sent = |to: MemberId, message_sent: Message| {
        effects.iter().any(|effect| matches!(effect, Effect::Send { to: member, frame } if *member == to && message(&frame.bytes) == message_sent))
    };
    assert!(sent(CAROL, awareness(&[(7, 3, "null")])));
    assert!(sent(BOB, awareness(&[(8, 5, "null")])));
}

/// Who came back with a higher clock, having moved while it was away, saw nobody until they renewed.
#[test]
fn others_are_nudged_for_who_comes_back_at_a_new_clock_too() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.announce(BOB, &[(8, 5, "{}")]);
    room.input(Input::Left { member: ALICE });
    room.skip();
    room.join(CAROL);
    room.announce(CAROL, &[(7, 4, "{}")]);
    assert_eq!(room.sent(BOB), [awareness(&[(8, 5, "null")])]);
}

/// Whoever was spoken for while it was away, by another tab or by a liar, saw nobody until they renewed.
#[test]
fn others_are_nudged_for_who_was_shown_while_it_was_away_too() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.announce(BOB, &[(8, 5, "{}")]);
    room.input(Input::Left { member: ALICE });
    room.announce(BOB, &[(7, 9, "{}")]);
    room.skip();
    room.join(CAROL);
    room.announce(CAROL, &[(7, 3, "{}")]);
    assert_eq!(room.sent(BOB), [awareness(&[(8, 5, "null")])]);
}

/// The second of two who came back within a second saw nobody until they renewed.
#[test]
fn a_nudge_that_comes_too_soon_is_made_up_for() {
    let mut room = TestRoom::new();
    for (member, client) in [(ALICE, 7), (BOB, 8)] {
        room.join(member);
        room.announce(member, &[(client, 3, "{}")]);
    }
    room.input(Input::Left { member: ALICE });
    room.join(CAROL);
    room.announce(CAROL, &[(7, 3, "{}")]);
    room.announce(BOB, &[(8, 4, "{}")]);
    room.input(Input::Left { member: CAROL });
    room.join(ALICE);
    room.skip();
    room.announce(ALICE, &[(7, 4, "{}")]);
    assert_eq!(room.sent(BOB), []);
    room.after(Duration::from_secs(1));
    assert_eq!(room.sent(BOB), [awareness(&[(8, 4, "null")])]);
}

/// A nudge that an overflow swallowed left its receiver invisible to who had come back.
#[test]
fn a_nudge_that_was_dropped_is_repeated() {
    let mut room = TestRoom::new();
    for (member, client) in [(ALICE, 7), (BOB, 8)] {
        room.join(member);
        room.announce(member, &[(client, 3, "{}")]);
    }
    room.input(Input::Left { member: ALICE });
    room.join(CAROL);
    room.announce(CAROL, &[(7, 4, "{}")]);
    room.input(Input::Overflowed { member: BOB, first_missed: FlushSeq::MAX });
    room.skip();
    room.input(Input::Drained { member: BOB });
    assert!(room.sent(BOB).contains(&awareness(&[(8, 3, "null")])));
}

/// The old session may be half open, or a page that is there twice: the newer one is shown, and edits under its id at once.
#[test]
fn the_newer_of_two_sessions_with_one_id_is_shown() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.join(BOB);
    room.skip();
    room.announce(BOB, &[(7, 3, "{\"b\":0}")]);
    let effects = room.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Probe { member: ALICE })), "{effects:?}");
    let nudged = |effect: &Effect| match effect {
        Effect::Send { to: BOB, frame } => message(&frame.bytes) == awareness(&[(7, 3, "null")]),
        _ => false,
    };
    assert!(effects.iter().any(nudged), "{effects:?}");
    room.edit(BOB, &typed(7, 0, "hi"));
    assert_eq!(room.room.clocks().get(7), 2);
    room.announce(BOB, &[(7, 4, "{\"b\":1}")]);
    room.after(Duration::from_millis(20));
    assert!(room.fanned_out().contains(&(awareness(&[(7, 4, "{\"b\":1}")]), vec![ALICE, BOB])));
    // The older one is not shown with what is no news, and takes nothing along when it leaves.
    room.announce(ALICE, &[(7, 5, "{}")]);
    room.input(Input::Left { member: ALICE });
    room.after(Duration::from_millis(20));
    assert_eq!(room.fanned_out(), []);
}

/// Somebody announces the id of a member who is here. That one is not told, since its client would take it for its own state, and
/// is shown again with its next move.
#[test]
fn of_two_sessions_with_one_id_the_one_that_moved_last_is_shown() {
    let mut room = TestRoom::new();
    for (member, client) in [(ALICE, 7), (CAROL, 9)] {
        room.join(member);
        room.announce(member, &[(client, 3, "{}")]);
    }
    room.join(BOB);
    room.after(Duration::from_millis(20));
    room.skip();
    room.announce(BOB, &[(7, 1 << 29, "{\"forged\":1}")]);
    room.announce(CAROL, &[(9, 4, "{\"x\":1}")]);
    room.after(Duration::from_millis(20));
    let effects = room.take();
    let sent: Vec<Message> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { to: ALICE, frame } => Some(message(&frame.bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [awareness(&[(9, 4, "{\"x\":1}")])]);
    let told_all = |effect: &Effect| matches!(effect, Effect::FanOut { except, .. } if except.contains(&ALICE));
    assert!(effects.iter().any(told_all), "{effects:?}");
    // She renews her state: no news. She moves: she is made to take the next clock, and is shown.
    room.announce(ALICE, &[(7, 4, "{}")]);
    assert_eq!(room.sent(ALICE), []);
    room.announce(ALICE, &[(7, 5, "{\"x\":2}")]);
    assert_eq!(room.sent(ALICE), [awareness(&[(7, 1 << 29, "null")])]);
    room.announce(ALICE, &[(7, (1 << 29) + 1, "{\"x\":2}")]);
    room.after(Duration::from_millis(20));
    let shown = awareness(&[(7, (1 << 29) + 1, "{\"x\":2}")]);
    assert!(room.fanned_out().contains(&(shown, vec![ALICE, BOB])));
}

#[test]
fn when_the_newer_of_two_sessions_leaves_the_older_one_announces_itself_again() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.join(BOB);
    room.announce(BOB, &[(7, 5, "{}")]);
    room.skip();
    room.input(Input::Left { member: BOB });
    assert!(room.sent(ALICE).contains(&awareness(&[(7, 5, "null")])));
    room.announce(ALICE, &[(7, 6, "{}")]);
    room.after(Duration::from_millis(20));
    assert!(room.fanned_out().contains(&(awareness(&[(7, 6, "{}")]), vec![ALICE])));
}

/// Somebody came back, and Bob's turn to announce himself again was to follow within a second. Meanwhile the older session with his id
/// was made to take the next clock, which counted as his turn: who came back did not see him.
#[test]
fn of_two_sessions_with_one_id_the_one_that_is_shown_announces_itself_to_who_came_back() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.join(BOB);
    room.announce(BOB, &[(7, 5, "{\"b\":0}")]);
    let come_back = |room: &mut TestRoom, clock| {
        room.join(CAROL);
        room.announce(CAROL, &[(9, clock, "{}")]);
    };
    come_back(&mut room, 1);
    room.input(Input::Left { member: CAROL });
    come_back(&mut room, 2);
    assert!(room.sent(BOB).contains(&awareness(&[(7, 5, "null")])));
    room.announce(BOB, &[(7, 6, "{\"b\":0}")]);
    room.input(Input::Left { member: CAROL });
    come_back(&mut room, 3);
    room.announce(ALICE, &[(7, 4, "{\"a\":1}")]);
    assert!(room.sent(ALICE).contains(&awareness(&[(7, 6, "null")])));
    room.after(Duration::from_secs(1));
    assert!(room.sent(BOB).contains(&awareness(&[(7, 6, "null")])));
}

/// A viewer that shows nothing of itself echoes what it reads, as stock clients do. Its first echo was taken for its own
/// announcement: it inherited the id of whoever left, who then could neither be seen nor edit when it came back.
#[test]
fn an_echo_is_no_announcement() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.announce(ALICE, &[(7, 3, "{}")]);
    room.join(BOB);
    room.answer(BOB, &Bytes::from_static(&update::EMPTY_UPDATE));
    room.skip();
    room.announce(BOB, &[(7, 3, "{}")]);
    assert!(room.take().is_empty());
    room.input(Input::Left { member: ALICE });
    room.announce(BOB, &[(7, 3, "{}")]);
    room.join(CAROL);
    room.announce(CAROL, &[(7, 4, "{}")]);
    room.after(Duration::from_millis(20));
    assert!(room.fanned_out().contains(&(awareness(&[(7, 4, "{}")]), vec![CAROL])));
}

// Time.

#[test]
fn everybody_hears_something_every_20_seconds_also_a_lonely_author() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.skip();
    for _ in 0..3 {
        room.edit(ALICE, &typed(7, 0, "a"));
        let due = room.room.poll_timeout();
        assert!(due.since(room.now) <= KEEP_ALIVE);
        room.after(KEEP_ALIVE);
        assert!(room.fanned_out().contains(&(awareness(&[]), vec![])));
    }
}

/// A room that has loaded two characters of client 5 at position 7, and Alice in it.
fn loaded_room() -> TestRoom {
    let loaded =
        Loaded { snapshot: Some(typed(5, 0, "ab")), log: Vec::new(), position: LogPosition(7), ..Loaded::default() };
    let mut room = TestRoom::open(loaded, Limits::default());
    room.join(ALICE);
    room.skip();
    room
}

fn relied_on(effects: &[Effect]) -> Vec<(usize, Option<LogPosition>)> {
    let append = |effect: &Effect| match effect {
        Effect::Append { entries, after } => Some((entries.len(), *after)),
        _ => None,
    };
    effects.iter().filter_map(append).collect()
}

#[test]
fn a_store_that_has_lost_everything_gets_everything_before_anything_is_called_saved() {
    let mut room = loaded_room();
    room.edit(ALICE, &typed(7, 0, "x"));
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, Some(LogPosition(7)))]);
    room.edit(ALICE, &typed(7, 1, "y"));
    room.input(Input::AppendLost);
    assert!(room.effects.iter().any(|effect| matches!(effect, Effect::Report(Report::StoreLost))));
    room.timeout();
    assert!(!room.effects.iter().any(|effect| matches!(effect, Effect::Ack { .. })));
    let effects = room.take();
    assert_eq!(relied_on(&effects), [(1, None)], "without delay, and relying on nothing");
    let Some(Effect::Append { entries, .. }) = effects.last() else { panic!("{effects:?}") };
    let mut all = clocks(&entries[0].update);
    all.sort_unstable();
    assert_eq!((entries[0].source, all), (Source::Recovery, vec![(5, 0, 2), (7, 0, 2)]));
    // It may be lost once more, or fail; nothing is called saved, and nothing is forgotten.
    room.input(Input::AppendLost);
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, None)]);
    room.input(Input::AppendFailed);
    room.after(RETRY);
    let effects = room.take();
    assert_eq!(relied_on(&effects), [(1, None)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ack { .. })));
    room.appended(20);
    assert_eq!(room.acks(), [(ALICE, true, 2)]);
    room.edit(ALICE, &typed(7, 2, "z"));
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, Some(LogPosition(20)))]);
}

const RETRY: Duration = Duration::from_secs(2);

#[test]
fn an_idle_room_makes_sure_of_the_store_and_appends_nothing() {
    let mut room = loaded_room();
    room.input(Input::CheckStore { compare: true });
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(0, Some(LogPosition(7)))]);
    room.appended(7);
    room.timeout();
    assert!(room.take().is_empty() && room.room.is_settled());
    // While the store is down nobody asks again and again.
    room.input(Input::CheckStore { compare: false });
    room.skip();
    room.input(Input::AppendFailed);
    room.after(RETRY);
    room.after(RETRY);
    assert!(relied_on(&room.take()).is_empty());
    // An edit makes sure as well.
    room.input(Input::CheckStore { compare: false });
    room.edit(ALICE, &typed(7, 0, "x"));
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, Some(LogPosition(7)))]);
    room.appended(8);
    room.timeout();
    assert!(relied_on(&room.take()).is_empty());
    // And it is no check of an empty room's that something is lost.
    room.input(Input::CheckStore { compare: false });
    room.skip();
    room.input(Input::AppendLost);
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, None)]);
}

#[test]
fn who_waits_during_a_check_hears_of_its_own_append() {
    let mut room = loaded_room();
    room.input(Input::CheckStore { compare: false });
    room.skip();
    room.edit(ALICE, &typed(5, 0, "ab"));
    room.edit(ALICE, &typed(7, 0, "x"));
    room.timeout();
    assert!(room.acks().is_empty(), "the store may not have it any more");
    room.input(Input::AppendLost);
    room.timeout();
    assert!(room.acks().is_empty());
    room.appended(20);
    assert_eq!(room.acks(), [(ALICE, true, 2)]);
}

#[test]
fn a_snapshot_of_what_the_store_has_lost_puts_everything_back() {
    let mut room = loaded_room();
    room.edit(ALICE, &typed(7, 0, "x"));
    room.skip();
    room.appended(8);
    room.skip();
    room.after(Duration::from_secs(60));
    room.input(Input::Compacted { base: None });
    assert!(room.take().iter().any(|effect| matches!(effect, Effect::Snapshot { covers: LogPosition(8), .. })));
    // An append was on its way: what it brings builds on what is gone.
    room.edit(ALICE, &typed(7, 1, "y"));
    room.skip();
    room.input(Input::SnapshotLost);
    room.appended(9);
    assert!(room.acks().is_empty());
    room.timeout();
    assert_eq!(relied_on(&room.take()), [(1, None)]);
    room.appended(20);
    assert_eq!(room.acks(), [(ALICE, true, 1)]);
    room.after(Duration::from_secs(60));
    room.input(Input::Compacted { base: None });
    assert!(room.take().iter().any(|effect| matches!(effect, Effect::Snapshot { covers: LogPosition(20), .. })));
    // The loss is known by now: an answer from before tells nothing new.
    room.input(Input::AppendLost);
    room.skip();
    room.appended(30);
    room.skip();
    room.input(Input::SnapshotLost);
    room.timeout();
    assert!(relied_on(&room.take()).is_empty());
}

#[test]
fn what_somebody_else_has_put_into_the_log_is_read_and_shown() {
    let mut room = loaded_room();
    room.edit(ALICE, &typed(7, 0, "x"));
    room.skip();
    room.input(Input::Appended { position: LogPosition(9), before: LogPosition(8) });
    let reads = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::ReadStore)).count();
    assert_eq!(reads(&room.take()), 1, "an import, say");
    room.input(Input::StoreRead { read: None });
    room.after(SNAPSHOT_AGAIN);
    assert_eq!(reads(&room.take()), 1, "tried again");
    let scanned = |update: Bytes| {
        let scan = update::scan(&update, &Limits::default()).expect("an update");
        Scanned { update, scan, frame: None }
    };
    let updates = vec![scanned(typed(5, 0, "ab")), scanned(typed(6, 0, "new")), scanned(typed(7, 0, "x"))];
    room.input(Input::StoreRead { read: Some(StoreRead { updates, position: LogPosition(9) }) });
    room.timeout();
    assert_eq!(room.fanned_out().len(), 1);
    assert_eq!(room.room.clocks().get(6), 3);
    room.after(Duration::from_secs(60));
    room.input(Input::Compacted { base: None });
    let effects = room.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Snapshot { covers: LogPosition(9), .. })));
    assert_eq!(reads(&effects), 0, "read once");
    room.input(Input::Snapshotted { saved: true });
    // Without anything of others, no snapshot has to wait for a read.
    room.edit(ALICE, &typed(7, 1, "y"));
    room.skip();
    room.appended(10);
    room.after(Duration::from_secs(60));
    assert_eq!(reads(&room.take()), 0);
}

#[test]
fn a_snapshot_is_taken_by_size_by_age_and_when_closing() {
    let compacts = |room: &mut TestRoom| room.take().iter().any(|effect| matches!(effect, Effect::Compact { .. }));
    let begin = || {
        let mut room = TestRoom::new();
        room.join(ALICE);
        room.edit(ALICE, &typed(7, 0, "a"));
        room.timeout();
        room.appended(1);
        room.skip();
        room
    };

    let mut room = begin();
    room.room.tuning.snapshot_after_bytes = 10;
    room.timeout();
    assert!(compacts(&mut room), "by size");

    let mut room = begin();
    room.after(Duration::from_secs(30));
    assert!(!compacts(&mut room));
    room.after(Duration::from_secs(30));
    assert!(compacts(&mut room), "by age");

    let mut room = begin();
    room.edit(ALICE, &typed(7, 1, "b"));
    room.input(Input::Close);
    room.timeout();
    assert!(!compacts(&mut room), "not before it is saved");
    room.appended(2);
    room.timeout();
    assert!(compacts(&mut room), "when closing");
    room.input(Input::Compacted { base: None });
    let state = room.room.state();
    let effects = room.take();
    assert!(
        matches!(&effects[..], [Effect::Snapshot { covers: LogPosition(2), state: taken }] if *taken == state),
        "{effects:?}"
    );
    room.input(Input::Snapshotted { saved: false });
    room.timeout();
    assert!(!room.room.is_settled());
    room.after(SNAPSHOT_AGAIN);
    assert!(compacts(&mut room), "tried again");
}

#[test]
fn a_room_leaves_when_it_is_empty_idle_and_saved() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "a"));
    room.input(Input::Left { member: ALICE });
    room.timeout();
    room.after(Duration::from_secs(60));
    assert!(!room.room.is_evictable(room.now), "its append is on its way");
    room.appended(1);
    room.timeout();
    assert!(!room.room.is_evictable(room.now), "no snapshot stands for its log");
    room.input(Input::Compacted { base: None });
    room.input(Input::Snapshotted { saved: true });
    assert!(room.room.is_evictable(room.now));
    room.room.stay(room.now);
    assert!(!room.room.is_evictable(room.now));
}

/// A session leaves its room before its socket is closed, and holds the room's handle until then. A drain that came upon that waited for
/// the room's idle time, and was cut off.
#[test]
fn a_room_that_closes_and_could_not_leave_tries_again_soon() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.input(Input::Close);
    room.input(Input::Left { member: ALICE });
    assert!(room.room.is_evictable(room.now));
    room.room.stay(room.now);
    assert_eq!(room.room.poll_timeout(), room.now + CLOSING_RETRY);
    assert!(room.room.is_evictable(room.now + CLOSING_RETRY));
}

/// A room that could not leave, since the store was down or a compaction ran, asked to be woken at a time that had passed: its
/// task span.
#[test]
fn a_room_that_waits_for_an_input_asks_for_no_alarm() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "a"));
    room.input(Input::Left { member: ALICE });
    room.timeout();
    room.after(Duration::from_secs(90)); // Nobody is here, an append is in flight.
    room.input(Input::Close);
    room.timeout(); // The snapshot waits for the append.
    room.appended(1);
    room.timeout(); // Compacting.
    assert!(room.room.document.is_compacting());
    room.input(Input::Compacted { base: None });
    room.timeout(); // Writing the snapshot.
    room.input(Input::Snapshotted { saved: true });
    assert!(room.room.is_evictable(room.now));
}

// Limits.

/// At the limit, a client's repetition of all deletions was refused although nothing in it was new.
#[test]
fn a_full_document_takes_nothing_more_but_knows_what_it_has() {
    let mut room = TestRoom::with_limits(Limits { document_bytes_max: 24, ..Limits::default() });
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "abc"));
    room.edit(ALICE, &deleted(7, 1));
    room.timeout();
    room.appended(1);
    room.skip();
    room.edit(ALICE, &typed(7, 3, "many more words than that"));
    assert_eq!(room.acks(), [(ALICE, false, 1)]);
    room.answer(ALICE, &deleted(7, 1));
    assert_eq!(room.acks(), [(ALICE, true, 1)]);
}

/// Who is told that a document is full has to be able to do something about it.
#[test]
fn a_full_document_takes_deletions_and_has_room_again() {
    let limits = Limits { document_bytes_max: 104, ..Limits::default() };
    let mut room = TestRoom::with_limits(limits.clone());
    let collects = |room: &mut TestRoom| {
        let effects = room.take();
        let parts = effects.iter().find_map(|effect| match effect {
            Effect::Compact { parts } => Some(parts),
            _ => None,
        });
        let base = parts.map(|parts| crate::document::compact(parts, &limits));
        if base.is_some() {
            room.input(Input::Compacted { base });
        }
        (parts.is_some(), effects.iter().filter(|effect| matches!(effect, Effect::Ack { saved: true, .. })).count())
    };
    let delete = |start: u8, len: u8| Bytes::from(vec![0, 1, 7, 1, start, len]);
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, &"a".repeat(90)));
    room.timeout();
    room.appended(1);
    room.skip();
    room.edit(ALICE, &typed(7, 90, "more"));
    room.timeout();
    assert_eq!(collects(&mut room), (true, 0), "refused, and there might have been garbage");

    room.edit(ALICE, &delete(0, 80));
    room.timeout();
    room.appended(2);
    assert_eq!(collects(&mut room), (false, 1), "not over and over");
    room.after(MAKE_ROOM_AGAIN);
    assert_eq!(collects(&mut room), (true, 0));
    room.edit(ALICE, &typed(7, 90, &"b".repeat(50)));
    room.timeout();
    room.appended(3);
    assert_eq!(collects(&mut room), (false, 1), "there is room again");

    room.skip();
    for start in 80..127 {
        room.edit(ALICE, &delete(start, 1));
    }
    assert_eq!(room.acks(), [], "all are taken, until nothing is left to delete");
}

/// 4 bytes for each item that is deleted, all of them in one place: nothing of it can be let go.
fn deleted_items(from: u32, count: u32) -> Bytes {
    let items: Vec<Vec<u8>> = (0..count).map(|_| update::build::after((7, 0), update::build::DELETED, &[1])).collect();
    update::build::update(&[(7, from, &items)], &[])
}

/// Collects garbage if that is wanted, and says whether it was.
fn collects(room: &mut TestRoom, takes: Duration) -> bool {
    room.timeout();
    let parts = room.take().into_iter().find_map(|effect| match effect {
        Effect::Compact { parts } => Some(parts),
        _ => None,
    });
    room.now = room.now + if parts.is_some() { takes } else { Duration::ZERO };
    let base = parts.map(|parts| crate::document::compact(&parts, &Limits::default()));
    let collected = base.is_some();
    if collected {
        room.input(Input::Compacted { base });
    }
    collected
}

/// 67 MB of deleted items, 7 seconds' work, left a document full for good: whatever its owner deleted, no edit was taken.
#[test]
fn a_document_full_of_what_was_deleted_takes_edits_again() {
    let mut room = TestRoom::with_limits(Limits { document_bytes_max: 2 << 10, ..Limits::default() });
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, "a"));
    room.edit(ALICE, &deleted_items(1, 500));
    let edit = typed(7, 501, &"b".repeat(100));
    room.edit(ALICE, &edit);
    assert_eq!(room.acks(), [(ALICE, false, 1)], "what is deleted is not told apart before garbage is collected");
    assert!(collects(&mut room, Duration::ZERO));
    room.edit(ALICE, &edit);
    assert_eq!(room.acks(), []);
    assert!(room.room.document.dead_bytes() > 1900 && room.room.document.live_bytes() < 200);
}

#[test]
fn beyond_its_bound_what_was_deleted_lets_no_edit_in_but_every_deletion() {
    let limits = Limits { document_bytes_max: 2 << 10, ..Limits::default() };
    let mut room = TestRoom::with_limits(limits.clone());
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, &"a".repeat(100)));
    let mut clock = 100;
    while room.room.document.dead_bytes() <= limits.document_bytes_max {
        room.edit(ALICE, &deleted_items(clock, 100));
        clock = room.room.clocks().get(7);
        room.after(MAKE_ROOM_AGAIN);
        collects(&mut room, Duration::ZERO);
    }
    room.skip();
    room.edit(ALICE, &typed(7, clock, "b"));
    let says_why = |effect: &Effect| matches!(effect, Effect::Report(Report::Limit(LimitReached::DeletedBytes)));
    assert!(room.effects.iter().any(says_why), "{:?}", room.effects);
    assert_eq!(room.acks(), [(ALICE, false, 1)]);
    for start in [5, 7, 9] {
        room.edit(ALICE, &Bytes::from(vec![0, 1, 7, 1, start, 1]));
    }
    room.edit(ALICE, &Bytes::from(vec![0, 1, 7, 1, 0, 100]));
    assert_eq!(room.acks(), [], "refused");
    assert!(room.room.document.contains(&deleted(7, 99), &update::scan(&deleted(7, 99), &limits).expect("an update")));
}

/// With very many already, deletions that would scatter over more of the document are refused, those that take in what lies between
/// are not.
#[test]
fn deletions_end_where_they_scatter_without_end() {
    let limits = Limits { document_bytes_max: 160, ..Limits::default() };
    let mut room = TestRoom::with_limits(limits.clone());
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, &"a".repeat(120)));
    room.skip();
    let one = |start: u8, len: u8| Bytes::from(vec![0, 1, 7, 1, start, len]);
    let refused_at = (0..60).position(|at| {
        room.edit(ALICE, &one(2 * at, 1));
        !room.acks().is_empty()
    });
    let refused_at = refused_at.expect("an end") as u8;
    assert!(usize::from(refused_at) > limits.document_bytes_max / 8, "{refused_at}");
    room.edit(ALICE, &one(1, 1));
    room.edit(ALICE, &one(0, 120));
    assert_eq!(room.acks(), []);
}

/// Two documents of 62 MB and a deletion of 20 bytes a second in each took two processors, as garbage was collected every two seconds
/// although that took ten.
#[test]
fn collecting_garbage_takes_a_bounded_share_of_the_time() {
    let mut room = TestRoom::with_limits(Limits { document_bytes_max: 300, ..Limits::default() });
    room.join(ALICE);
    room.edit(ALICE, &typed(7, 0, &"a".repeat(120)));
    room.edit(ALICE, &typed(8, 0, &"a".repeat(120)));
    let takes = Duration::from_secs(10);
    let began = room.now;
    let mut times = 0;
    for at in 0..120 {
        room.edit(ALICE, &Bytes::from(vec![0, 1, 7, 1, at, 1]));
        let appended = room.room.saving.position().0 + 1;
        times += u32::from(collects(&mut room, takes));
        room.appended(appended);
        room.after(Duration::from_secs(2));
        times += u32::from(collects(&mut room, takes));
    }
    let share = takes.as_secs_f64() * f64::from(times) / room.now.since(began).as_secs_f64();
    assert!(times >= 2 && share < 0.15, "{times} times, {share}");
    // What closes does not wait.
    room.input(Input::Snapshotted { saved: true });
    room.edit(ALICE, &Bytes::from(vec![0, 1, 8, 1, 1, 1]));
    room.input(Input::Left { member: ALICE });
    room.input(Input::Close);
    room.timeout();
    room.appended(1_000);
    assert!(collects(&mut room, takes));
}

#[test]
fn a_room_has_a_bounded_number_of_members() {
    let mut room = TestRoom::with_limits(Limits { members_max: 1, ..Limits::default() });
    room.join(ALICE);
    room.take();
    room.join(BOB);
    assert!(matches!(room.take()[..], [Effect::Close { member: BOB, code: CloseCode::RoomFull }]));
}

const HOCUSPOCUS: Dialect = Dialect::Hocuspocus { echoes: true };
const QUIET: Dialect = Dialect::Hocuspocus { echoes: false };

fn question(clocks: &[u8]) -> Message {
    Message::SyncStep1(Bytes::copy_from_slice(clocks))
}

/// protocol.md 2.7, 3: a provider counts one SyncStep2 for each SyncStep1 of its own, and expects the question for it.
#[test]
fn hocuspocus_clients_are_asked_in_turn_with_each_question_of_theirs() {
    let mut room = TestRoom::new();
    room.join_in(HOCUSPOCUS, ALICE, Access::EDITOR);
    assert_eq!(room.sent(ALICE), []);
    for _ in 0..2 {
        room.input(Input::SyncStep1 { member: ALICE, have: StateVector::default() });
        assert_eq!(room.sent(ALICE), [Message::SyncStep2(Bytes::from_static(&[0, 0])), question(&[0])]);
    }
}

#[test]
fn a_hocuspocus_client_that_joins_sees_who_is_there_before_it_asks() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.announce(ALICE, &[(7, 1, "{}")]);
    room.skip();
    room.join_in(QUIET, BOB, Access::EDITOR);
    assert_eq!(room.sent(BOB), [Message::Awareness(body(&[(7, 1, "{}")]))]);
    // One that would echo it is asked before, and hears of no change until then.
    room.join_in(HOCUSPOCUS, CAROL, Access::EDITOR);
    room.announce(ALICE, &[(7, 2, "{}")]);
    room.after(Duration::from_secs(1));
    assert_eq!(room.fanned_out(), [(Message::Awareness(body(&[(7, 2, "{}")])), vec![ALICE, CAROL])]);
    for shown in [Some(Message::Awareness(body(&[(7, 2, "{}")]))), None] {
        room.input(Input::SyncStep1 { member: CAROL, have: StateVector::default() });
        let mut expected = vec![Message::SyncStep2(Bytes::from_static(&[0, 0])), question(&[0])];
        expected.extend(shown);
        assert_eq!(room.sent(CAROL), expected);
    }
}

/// A client that came back while its old session was thought to live claimed its id, then echoed somebody else's entry before it had
/// answered anything: the echo took the claim's place, and nobody saw the client until its next renewal.
#[test]
fn an_echo_does_not_replace_the_claim_to_an_own_id() {
    let mut room = TestRoom::new();
    for (member, id) in [(ALICE, 7), (BOB, 8)] {
        room.join(member);
        room.announce(member, &[(id, 3, "{}")]);
    }
    room.join_in(HOCUSPOCUS, CAROL, Access::EDITOR);
    room.announce(CAROL, &[(7, 3, "{}")]);
    room.announce(CAROL, &[(8, 3, "{}")]);
    room.skip();
    room.input(Input::Left { member: ALICE });
    assert_eq!(room.sent(CAROL), [Message::Awareness(body(&[(7, 3, "null")]))], "it is made to take the next clock");
}

/// An answer that the client does not count is taken like any other, and acknowledged to nobody.
#[test]
fn an_answer_out_of_turn_is_taken_without_an_ack() {
    let mut room = TestRoom::new();
    room.join(BOB);
    room.join_in(HOCUSPOCUS, ALICE, Access::EDITOR);
    room.skip();
    let update = typed(7, 0, "abc");
    let scan = update::scan(&update, &Limits::default()).expect("an update");
    let scanned = Scanned { update: update.clone(), scan, frame: None };
    room.input(Input::Answer { member: ALICE, update: Box::new(scanned.clone()) });
    room.timeout();
    assert!(room.take().iter().any(|effect| matches!(effect, Effect::FanOut { .. })));
    room.appended(1);
    room.input(Input::Answer { member: ALICE, update: Box::new(scanned) });
    assert!(!room.take().iter().any(|effect| matches!(effect, Effect::Ack { .. })));
    room.answer(ALICE, &update);
    assert!(matches!(room.take()[..], [Effect::Ack { to: ALICE, saved: true, count: 1 }]));
}

/// HocuspocusProvider 4.5 and later takes the next clock in silence: asked for everybody's state, it tells its own.
#[test]
fn who_tells_a_new_clock_only_when_asked_is_asked() {
    for (dialect, asks) in [(HOCUSPOCUS, false), (QUIET, true)] {
        let mut room = TestRoom::new();
        room.join(BOB);
        room.join_in(dialect, ALICE, Access::EDITOR);
        room.announce(ALICE, &[(7, 4, "{}")]);
        room.input(Input::Left { member: ALICE });
        room.skip();
        // It comes back with the clock at which everybody has seen it go.
        room.join_in(dialect, ALICE, Access::EDITOR);
        room.announce(ALICE, &[(7, 4, "{}")]);
        let mut expected = vec![Message::Awareness(body(&[(7, 4, "null")]))];
        expected.extend(asks.then_some(Message::QueryAwareness));
        assert_eq!(room.sent(ALICE), expected);
    }
}

#[test]
fn access_changes_in_a_live_session() {
    let mut room = TestRoom::new();
    room.join_in(HOCUSPOCUS, ALICE, Access::VIEWER);
    room.edit(ALICE, &typed(7, 0, "abc"));
    assert!(matches!(room.take()[..], [Effect::Ack { to: ALICE, saved: false, count: 1 }]));
    let readmitted = |access| {
        let admission = Admission { principal: Principal::user("alice"), ..Admission::anonymous(access) };
        Input::Readmitted { member: ALICE, admission: Box::new(admission) }
    };
    room.input(readmitted(Access::EDITOR));
    assert_eq!(room.sent(ALICE), [question(&[0])], "it is asked for what was refused");
    room.answer(ALICE, &typed(7, 0, "abc"));
    room.timeout();
    let author = room.take().into_iter().find_map(|effect| match effect {
        Effect::Append { entries, .. } => entries[0].author.clone(),
        _ => None,
    });
    assert_eq!(author.as_deref(), Some("alice"));
    room.input(readmitted(Access::VIEWER));
    room.edit(ALICE, &typed(7, 3, "d"));
    assert!(matches!(room.take()[..], [Effect::Ack { to: ALICE, saved: false, count: 1 }]));
}

#[test]
fn a_stateless_message_goes_to_all_but_its_sender() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join_in(HOCUSPOCUS, BOB, Access::EDITOR);
    room.skip();
    let payload = Bytes::from_static(b"hi");
    let announce = Input::Announce { author: Box::new(Admission::anonymous(Access::EDITOR)), payload: payload.clone() };
    for (from, input) in [(Some(BOB), Input::Stateless { from: BOB, payload }), (None, announce)] {
        room.input(input);
        let [Effect::FanOut { frame, except }] = &room.take()[..] else { panic!("one frame for all") };
        assert_eq!((&frame.bytes[..], frame.kind), (&b"\x05\x02hi"[..], FrameKind::Stateless));
        assert_eq!(*except, from.into_iter().collect::<Vec<_>>());
    }
}

/// What a room lets through, for every role: the table of `docs/SECURITY.md`.
#[test]
fn each_role_may_do_what_its_capabilities_say_and_nothing_else() {
    for role in Role::ALL {
        let access = Access::of(role);
        let may = |wanted| access.may(wanted);
        for dialect in [Dialect::YWebsocket, HOCUSPOCUS] {
            let mut room = TestRoom::new();
            room.join(ALICE);
            room.join_in(dialect, BOB, access);
            room.skip();
            let refused = |room: &mut TestRoom| {
                let effects = core::mem::take(&mut room.effects);
                effects.iter().any(|effect| matches!(effect, Effect::Report(Report::NotAllowed | Report::ReadOnly)))
            };
            room.edit(BOB, &typed(7, 0, "x"));
            assert_eq!(refused(&mut room), !may(Capabilities::WRITE), "{role} edits");
            room.input(Input::Stateless { from: BOB, payload: Bytes::from_static(b"hi") });
            assert_eq!(refused(&mut room), !may(Capabilities::STATELESS), "{role} sends a stateless message");
            room.announce(BOB, &[(7, 1, "{}")]);
            assert_eq!(refused(&mut room), !may(Capabilities::PRESENCE), "{role} announces itself");
            room.input(Input::SyncStep1 { member: BOB, have: StateVector::default() });
            let is_answered = room.take().iter().any(|effect| matches!(effect, Effect::Send { to: BOB, .. }));
            assert!(is_answered, "{role} reads");

            let author = Admission::anonymous(access);
            room.input(Input::Announce { author: Box::new(author.clone()), payload: Bytes::from_static(b"hi") });
            assert_eq!(refused(&mut room), !may(Capabilities::STATELESS), "{role} announces over REST");
            let update = typed(8, 0, "y");
            let scan = update::scan(&update, &Limits::default()).expect("an update");
            let update = Box::new(Scanned { update, scan, frame: None });
            room.input(Input::Write { request: RequestId(1), author: Box::new(author), update });
            assert_eq!(refused(&mut room), !may(Capabilities::WRITE), "{role} writes over REST");
        }
    }
}

#[test]
fn a_state_says_whom_the_server_has_verified_and_whoever_passes_it_on_is_not() {
    let mut room = TestRoom::new();
    room.room.tuning.verifies_presence = true;
    let admission = Admission { principal: Principal::user("ada"), ..Admission::anonymous(Access::EDITOR) };
    let joining =
        Joining { member: ALICE, admission, wants_acks: true, wants_echo: false, dialect: Dialect::YWebsocket };
    room.input(Input::Joined(Box::new(joining)));
    room.join(BOB);
    room.announce(ALICE, &[(7, 1, r#"{"verified":{"id":"root"}}"#)]);
    room.announce(BOB, &[(8, 1, "{}")]);
    room.announce(BOB, &[(9, 1, r#"{"verified":{"id":"ada"}}"#)]);
    let shown = room.room.presence.everything();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains(r#"{"verified":{"id":"root"},"verified":{"id":"ada","name":null}}"#), "{shown}");
    assert!(shown.contains(r#"{"verified":null}"#), "{shown}");
    assert!(shown.contains(r#"{"verified":{"id":"ada"},"verified":null}"#), "{shown}");
    // What its client says again is what it said.
    room.skip();
    room.announce(ALICE, &[(7, 1, r#"{"verified":{"id":"root"}}"#)]);
    assert!(room.take().is_empty(), "no nudge, and nothing for the others");
}

#[test]
fn who_may_not_read_does_not_get_in() {
    let mut room = TestRoom::new();
    room.join_as(BOB, Access::NONE);
    assert!(matches!(room.take()[..], [Effect::Expel { member: BOB, code: CloseCode::Forbidden }]));
}

#[test]
fn one_message_brings_a_bounded_number_of_awareness_entries() {
    let mut room = TestRoom::with_limits(Limits { awareness_entries_max: 2, ..Limits::default() });
    room.join(ALICE);
    room.join_as(BOB, Access::VIEWER);
    room.skip();
    room.announce(BOB, &[(1, 1, "1"), (1, 2, "null"), (3, 1, "3")]);
    let dropped = |effect: &Effect| matches!(effect, Effect::Report(Report::AwarenessDropped));
    assert_eq!(room.effects.iter().filter(|effect| dropped(effect)).count(), 1);
    room.after(Duration::from_secs(1));
    assert_eq!(room.fanned_out(), []);
    room.announce(BOB, &[(1, 1, "1"), (3, 1, "3")]);
    room.after(Duration::from_secs(1));
    assert_eq!(room.fanned_out().len(), 1);
}

/// A query of one byte costs as much as everybody's states are long; 4 sockets that asked 500 times a second took a core.
#[test]
fn who_asks_again_who_is_here_is_answered_once_a_second_and_all_from_one_encoding() {
    let mut room = TestRoom::new();
    let everybody = [ALICE, BOB, CAROL];
    everybody.iter().for_each(|member| room.join(*member));
    room.announce(ALICE, &[(1, 1, "{}")]);
    room.after(Duration::from_secs(5));
    room.skip();
    let ask = |room: &mut TestRoom| {
        for _ in 0..100 {
            everybody.iter().for_each(|member| room.input(Input::QueryAwareness { member: *member }));
        }
    };
    let answers = |room: &mut TestRoom| {
        let effects = room.take();
        let sent = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { frame, .. } => Some(frame.bytes),
            _ => None,
        });
        sent.collect::<Vec<_>>()
    };
    ask(&mut room);
    let sent = answers(&mut room);
    assert_eq!(sent.len(), everybody.len());
    assert!(sent.iter().all(|frame| frame.as_ptr() == sent[0].as_ptr()), "encoded more than once");
    room.announce(ALICE, &[(1, 2, "{}")]);
    room.after(Duration::from_millis(900));
    assert_eq!(answers(&mut room).len(), 0);
    room.after(Duration::from_millis(100));
    let sent = answers(&mut room);
    assert_eq!(sent.len(), everybody.len());
    assert!(sent.iter().all(|frame| frame.as_ptr() == sent[0].as_ptr()), "encoded more than once");
    assert_eq!(message(&sent[0]), awareness(&[(1, 2, "{}")]));
    assert_eq!(room.room.poll_timeout(), room.room.keep_alive_at, "nobody waits");
}

#[test]
fn who_joins_a_dashboard_of_many_clients_is_asked_with_a_question_that_was_made_before() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    let clients = 10_000;
    let sections: Vec<_> = (0..clients).rev().map(|client| (client, 0, vec![update::build::gc(1)])).collect();
    let sections: Vec<_> = sections.iter().map(|(client, clock, structs)| (*client, *clock, &structs[..])).collect();
    room.edit(ALICE, &update::build::update(&sections, &[]));
    let question = |room: &mut TestRoom, member| {
        room.skip();
        room.join_in(Dialect::YWebsocket, member, Access::EDITOR);
        let effects = room.take();
        let Some(Effect::Send { frame, .. }) = effects.first() else { panic!("no question") };
        frame.bytes.clone()
    };
    let first = question(&mut room, BOB);
    room.edit(ALICE, &collected(5, 1, 1));
    let second = question(&mut room, CAROL);
    assert_eq!(first.as_ptr(), second.as_ptr());
    // It never grows older than its own length.
    let long = "x".repeat(100);
    (0..first.len() / 100).for_each(|at| room.edit(ALICE, &typed(clients + 1, 100 * at as u32, &long)));
    let Message::SyncStep1(have) = message(&question(&mut room, MemberId(9))) else { panic!("no question") };
    let have = StateVector::decode(&have, &Limits::default()).expect("a state vector");
    assert_eq!((have.get(5), have.len()), (2, clients as usize + 1));
}

#[test]
fn who_lost_no_edit_when_its_outbox_overflowed_misses_those_that_come_until_it_is_empty() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.join(BOB);
    room.edit(ALICE, &typed(1, 0, "a"));
    room.skip();
    room.input(Input::Overflowed { member: BOB, first_missed: FlushSeq::MAX });
    room.after(Duration::from_secs(1));
    room.edit(ALICE, &typed(1, 1, "b"));
    room.skip();
    room.input(Input::Drained { member: BOB });
    assert_eq!(step2(&room.sent(BOB)), [(1, 1, 2)]);
}

/// What to cut, when that is asked for.
fn cut_of(effects: &[Effect]) -> Option<Cut> {
    effects.iter().find_map(|effect| match effect {
        Effect::Cut { content, have } => Some(content.cut(have)),
        _ => None,
    })
}

fn large_room() -> TestRoom {
    let mut room = TestRoom::new();
    room.join(ALICE);
    let text = "a".repeat(100_000);
    let large = |client| {
        let item = update::build::in_root(update::build::STRING, &update::build::string(&text));
        update::build::update(&[(client, 0, &[item])], &[])
    };
    (7..10).for_each(|client| room.edit(ALICE, &large(client)));
    room.skip();
    room
}

/// A difference took 210 ms of the room's time, at 13 bytes a question: nobody's edits arrived.
#[test]
fn answers_about_a_large_document_are_cut_beside_the_room_one_at_a_time_and_once_for_all_alike() {
    let mut room = large_room();
    let ask = |room: &mut TestRoom, member, clock| {
        room.input(Input::SyncStep1 { member, have: [(7, clock)].into_iter().collect() });
    };
    for member in [BOB, CAROL, MemberId(4)] {
        room.join_in(Dialect::YWebsocket, member, Access::EDITOR);
    }
    room.skip();
    ask(&mut room, BOB, 1);
    let first = room.take();
    let cut = cut_of(&first).expect("it takes a while");
    assert!(first.iter().all(|effect| !matches!(effect, Effect::Send { .. })));
    ask(&mut room, CAROL, 2);
    ask(&mut room, CAROL, 1); // It says so anew, and the state is as it was.
    ask(&mut room, MemberId(4), 2);
    // The room goes on meanwhile.
    room.edit(ALICE, &typed(11, 0, "more"));
    room.timeout();
    assert_eq!(room.fanned_out().len(), 1);
    room.input(Input::Cut { cut: Some(cut) });
    let effects = room.take();
    let answered: Vec<MemberId> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { to, frame } if frame.kind == FrameKind::Difference => Some(*to),
            _ => None,
        })
        .collect();
    assert_eq!(answered, [BOB, CAROL]);
    let cut = cut_of(&effects).expect("the next");
    room.input(Input::Cut { cut: Some(cut) });
    assert_eq!(step2(&room.sent(MemberId(4))), [(11, 0, 4), (9, 0, 100_000), (8, 0, 100_000), (7, 2, 100_000)]);
}

#[test]
fn who_loses_edits_before_its_answer_is_cut_gets_everything() {
    let mut room = large_room();
    room.join_in(Dialect::YWebsocket, BOB, Access::EDITOR);
    room.skip();
    room.input(Input::SyncStep1 { member: BOB, have: [(7, 5)].into_iter().collect() });
    let cut = cut_of(&room.take()).expect("it takes a while");
    room.edit(ALICE, &typed(11, 0, "more"));
    room.skip();
    room.input(Input::Overflowed { member: BOB, first_missed: 4 });
    room.input(Input::Cut { cut: Some(cut) });
    assert!(room.take().is_empty(), "its outbox takes nothing");
    room.input(Input::Drained { member: BOB });
    let cut = cut_of(&room.take()).expect("it takes a while");
    room.input(Input::Cut { cut: Some(cut) });
    assert_eq!(step2(&room.sent(BOB)), [(11, 0, 4), (9, 0, 100_000), (8, 0, 100_000), (7, 0, 100_000)]);
    // A question that waits when the outbox overflows and drains is answered with all that was dropped, goodbyes as well.
    room.edit(ALICE, &typed(11, 4, "more"));
    room.join_in(Dialect::YWebsocket, MemberId(4), Access::EDITOR);
    room.input(Input::SyncStep1 { member: MemberId(4), have: [(8, 1)].into_iter().collect() });
    let first = cut_of(&room.take()).expect("it takes a while");
    room.input(Input::SyncStep1 { member: BOB, have: [(7, 5)].into_iter().collect() });
    room.input(Input::Overflowed { member: BOB, first_missed: FlushSeq::MAX });
    room.input(Input::Drained { member: BOB });
    room.take();
    room.input(Input::Cut { cut: Some(first) });
    let cut = cut_of(&room.effects).expect("the next");
    room.effects.clear();
    room.input(Input::Cut { cut: Some(cut) });
    assert!(room.effects.iter().any(|effect| matches!(effect, Effect::Report(Report::Resynced))));
    assert!(room.sent(BOB).iter().any(|message| matches!(message, Message::Awareness(_))));
    // One that is known is sent at once, until anything changes.
    room.join_as(CAROL, Access::EDITOR);
    assert_eq!(step2(&room.sent(CAROL)).len(), 4);
}

/// What was open once filled the memory of all rooms, and only newcomers paid for it: no other dashboard could be opened.
#[test]
fn a_room_that_may_not_grow_refuses_edits_and_takes_deletions() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.edit(ALICE, &typed(1, 0, "some text"));
    room.room.weigh();
    room.skip();
    room.room.allow(10);
    room.edit(ALICE, &typed(1, 9, "more"));
    let is_told = |effect: &Effect| matches!(effect, Effect::Report(Report::Limit(LimitReached::Memory)));
    assert!(room.effects.iter().any(is_told));
    assert_eq!(room.acks(), [(ALICE, false, 1)]);
    room.edit(ALICE, &deleted(1, 3));
    room.edit(ALICE, &typed(1, 0, "some text"));
    assert!(!room.effects.iter().any(is_told), "a deletion, and what is known already");
    let before = room.room.grown();
    room.room.allow(usize::MAX);
    room.edit(ALICE, &typed(1, 9, "more"));
    assert!(room.room.grown() > before);
}

/// Whoever has what does not fit was asked for it at each later edit, and sent it again each time.
#[test]
fn what_is_too_large_is_refused_once_and_asked_for_ever_more_rarely() {
    let mut room = TestRoom::new();
    room.join(ALICE);
    room.skip();
    room.input(Input::TooLarge { member: ALICE, acks: 1 });
    assert_eq!(room.acks(), [(ALICE, false, 1)]);
    let mut denied = 0;
    let mut asked = Vec::new();
    for second in 0..600 {
        let later = typed(1, 10_000_000 + second, "x");
        room.edit(ALICE, &later);
        for message in room.sent(ALICE) {
            match message {
                Message::SyncStep1(_) => {
                    asked.push(second);
                    room.input(Input::TooLarge { member: ALICE, acks: 1 });
                }
                Message::PermissionDenied(_) => denied += 1,
                _ => {}
            }
        }
        room.skip();
        room.after(Duration::from_secs(1));
        assert!(!room.effects.iter().any(|effect| matches!(effect, Effect::Close { .. })));
        room.skip();
    }
    assert!(asked.len() <= 7, "asked at {asked:?}");
    assert!(denied <= 1);
}

#[test]
fn a_copy_of_something_deleted_is_sent_away_and_leaves_no_trace() {
    use crate::life::Ended;
    let ended = Ended::new([(7, 4), (9, 2)].into_iter().collect());
    let loaded =
        || Loaded { log: vec![typed(9, 0, "ab")], position: LogPosition(1), ended: ended.clone(), ..Loaded::default() };
    let mut room = TestRoom::open(loaded(), Limits::default());
    for member in [ALICE, BOB, CAROL] {
        room.join(member);
    }
    room.skip();
    // What it has itself is no matter: it was taken back, or imported.
    room.input(Input::SyncStep1 { member: ALICE, have: [(9, 2), (5, 3)].into_iter().collect() });
    room.edit(ALICE, &typed(9, 2, "c"));
    assert!(!room.take().iter().any(|effect| matches!(effect, Effect::Expel { .. })));
    room.input(Input::SyncStep1 { member: BOB, have: [(7, 1)].into_iter().collect() });
    let is_bobs = |effect: &Effect| matches!(effect, Effect::Expel { member: BOB, code: CloseCode::StaleCopy });
    let effects = room.take();
    assert_eq!(effects.iter().filter(|effect| is_bobs(effect)).count(), 1);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { to: BOB, .. })));
    room.edit(CAROL, &typed(7, 0, "abcd"));
    assert!(room.take().iter().any(|effect| matches!(effect, Effect::Expel { member: CAROL, .. })));
    let scan = update::scan(&typed(7, 3, "d"), &Limits::default()).expect("an update");
    let update = Box::new(Scanned { update: typed(7, 3, "d"), scan, frame: None });
    let author = crate::access::Admission::anonymous(Access::EDITOR);
    room.input(Input::Write { request: RequestId(1), author: Box::new(author), update });
    let refused = Effect::Answer { request: RequestId(1), result: Err(WriteRefusal::Deleted) };
    assert!(room.take().iter().any(|effect| format!("{effect:?}") == format!("{refused:?}")));
    assert_eq!(room.room.members(), 1);
    assert_eq!(room.room.clocks().get(7), 0);
}
