//! Documents on a socket: what a client sees, with everything outside answered by hand, and in random order.

use super::*;
use crate::access::{Access, Admission, Principal};
use crate::allowance::{Exceeded, UserLimit};
use crate::id::MemberId;
use crate::limits::Limits;
use crate::time::Timestamp;
use crate::wire::close::{CloseCode, REFUSAL_HOLD};
use crate::wire::encode;
use crate::wire::hocuspocus::{self, Address, HEARTBEAT, ServerMessage};
use bytes::Bytes;
use core::time::Duration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
const BEGIN: Timestamp = Timestamp(5_000);

/// What is outside of a socket's documents, and what became of their effects.
struct World {
    questions: BTreeMap<SeatId, u64>,
    document_bytes: usize,
    memory: usize,
    kept: usize,
}

impl Outside for World {
    fn questions_put(&self, seat: SeatId) -> u64 {
        self.questions.get(&seat).copied().unwrap_or(0)
    }

    fn document_bytes(&self, _: SeatId) -> usize {
        self.document_bytes
    }

    fn keep(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.kept.max(self.memory);
        if fits {
            self.kept = bytes;
        }
        fits
    }

    fn charge(&mut self, bytes: usize) {
        self.kept = bytes;
    }
}

/// A socket whose effects the test answers by hand.
struct TestSocket {
    documents: Documents,
    world: World,
    now: Timestamp,
    members: u64,
}

fn limits() -> Limits {
    Limits { documents_per_socket_max: 3, pending_bytes_max: 1_000, stateless_bytes_max: 100, ..Limits::default() }
}

fn editor() -> Admission {
    Admission { principal: Principal::user("ada"), ..Admission::anonymous(Access::EDITOR) }
}

fn viewer() -> Admission {
    Admission { access: Access::VIEWER, ..editor() }
}

fn behind(name: &str, message: &[u8]) -> Bytes {
    [Address::new(name).prefix(), message].concat().into()
}

fn token(name: &str) -> Bytes {
    hocuspocus::token(&Address::new(name), "secret", Some("4.7.0"))
}

fn question(name: &str) -> Bytes {
    behind(name, &[0, 0, 1, 0])
}

fn stateless(name: &str, text: &str) -> Bytes {
    behind(name, &hocuspocus::stateless(text.as_bytes()))
}

fn goodbye(name: &str) -> Bytes {
    behind(name, &[7])
}

fn scope(access: Access) -> &'static str {
    if access.may_edit() { "ReadWrite" } else { "ReadOnly" }
}

/// The effects in short: what a test compares.
fn short(effects: &[DocumentsEffect]) -> Vec<String> {
    let name = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
    let each = effects.iter().map(|effect| match effect {
        DocumentsEffect::Tell(message) if message == HEARTBEAT => "heartbeat".into(),
        DocumentsEffect::Tell(message) => match hocuspocus::decode_from_server(message).unwrap() {
            hocuspocus::Outgoing::Addressed { address, message } => match message {
                ServerMessage::Authenticated(access) => format!("tell {address}: {}", scope(access)),
                ServerMessage::PermissionDenied(reason) => format!("tell {address}: denied, {reason}"),
                ServerMessage::TokenRequest => format!("tell {address}: your token"),
                ServerMessage::Close(reason) => format!("tell {address}: closed, {reason}"),
                other => format!("tell {address}: {other:?}"),
            },
            hocuspocus::Outgoing::Liveness => "liveness".into(),
        },
        DocumentsEffect::TakeLater(_) => "take later".into(),
        DocumentsEffect::Check { key, token, secret, .. } => {
            let secret = secret.as_ref().map_or("nothing".into(), name);
            format!("check {}#{token}: {secret}", name(key))
        }
        DocumentsEffect::TakePlace { key, seat, is_own, .. } => {
            format!("place {}@{}: {}", name(key), seat.0, if *is_own { "own" } else { "another" })
        }
        DocumentsEffect::Open { key, seat, .. } => format!("open {}@{}", name(key), seat.0),
        DocumentsEffect::Join { key, seat, joining, .. } => {
            format!("join {}@{}: {} {}", name(key), seat.0, joining.member, scope(joining.admission.access))
        }
        DocumentsEffect::Leave { seat } => format!("leave @{}", seat.0),
        DocumentsEffect::Update { seat, wants_ack, .. } => format!("update @{}: ack {wants_ack}", seat.0),
        DocumentsEffect::Awareness { seat, .. } => format!("awareness @{}", seat.0),
        DocumentsEffect::Ask { seat, .. } => format!("ask @{}", seat.0),
        DocumentsEffect::Introduce { seat } => format!("introduce @{}", seat.0),
        DocumentsEffect::Stateless { seat, payload } => format!("stateless @{}: {}", seat.0, name(payload)),
        DocumentsEffect::TooLarge { seat, acks } => format!("too large @{}: {acks}", seat.0),
        DocumentsEffect::Readmit { seat, admission } => format!("readmit @{}: {}", seat.0, scope(admission.access)),
        DocumentsEffect::Count(what) => format!("count {what:?}"),
        DocumentsEffect::Ignored(kind) => format!("ignored {kind}"),
        DocumentsEffect::End(code, hold) => format!("end {code:?} after {} ms", hold.as_millis()),
    });
    each.collect()
}

impl TestSocket {
    fn new() -> TestSocket {
        TestSocket::with(&limits())
    }

    fn with(limits: &Limits) -> TestSocket {
        let world = World { questions: BTreeMap::new(), document_bytes: 0, memory: usize::MAX, kept: 0 };
        TestSocket { documents: Documents::new(BEGIN, limits, AUTH_TIMEOUT), world, now: BEGIN, members: 0 }
    }

    fn input(&mut self, input: DocumentsInput) -> Vec<String> {
        let mut effects = Vec::new();
        self.documents.handle(self.now, input, &mut self.world, &mut effects);
        short(&effects)
    }

    fn frame(&mut self, frame: Bytes) -> Vec<String> {
        self.input(DocumentsInput::Frame(frame))
    }

    fn checked(&mut self, name: &str, token: u64, admitted: Result<Admission, NotTaken>) -> Vec<String> {
        self.input(DocumentsInput::Checked { key: Bytes::copy_from_slice(name.as_bytes()), token, admitted })
    }

    fn placed(&mut self, name: &str, seat: u64, place: Result<(), Crowded>) -> Vec<String> {
        let key = Bytes::copy_from_slice(name.as_bytes());
        self.input(DocumentsInput::Placed { key, seat: SeatId(seat), place })
    }

    fn opened(&mut self, name: &str, seat: u64, opened: Result<(), Unopened>) -> Vec<String> {
        self.members += 1;
        let (member, spread) = (MemberId(self.members), Duration::from_millis(100));
        let key = Bytes::copy_from_slice(name.as_bytes());
        self.input(DocumentsInput::Opened { key, seat: SeatId(seat), opened: opened.map(|()| member), spread })
    }

    fn joined(&mut self, name: &str, seat: u64, is_in: bool) -> Vec<String> {
        let key = Bytes::copy_from_slice(name.as_bytes());
        self.input(DocumentsInput::Joined { key, seat: SeatId(seat), is_in })
    }

    /// Until something is due, and what comes of it.
    fn wait(&mut self) -> (Duration, Vec<String>) {
        let waited = self.documents.due_at().since(self.now);
        self.now = self.now.max(self.documents.due_at());
        let mut effects = Vec::new();
        self.documents.handle_timeout(self.now, &mut self.world, &mut effects);
        (waited, short(&effects))
    }

    /// A document that is live in this seat.
    fn live(name: &str, admitted: Admission) -> TestSocket {
        let mut socket = TestSocket::new();
        socket.enter(name, 1, admitted);
        socket
    }

    fn enter(&mut self, name: &str, seat: u64, admitted: Admission) {
        let checks = self.frame(token(name));
        let token = checks[0].split(['#', ':']).nth(1).and_then(|token| token.parse().ok()).expect("a check");
        self.checked(name, token, Ok(admitted));
        self.placed(name, seat, Ok(()));
        self.opened(name, seat, Ok(()));
        self.joined(name, seat, true);
    }
}

#[test]
fn a_document_is_joined_when_its_token_was_good_and_what_came_before_follows() {
    let mut socket = TestSocket::new();
    assert_eq!(socket.frame(question("doc")), [""; 0]);
    assert_eq!(socket.frame(stateless("doc", "early")), [""; 0]);
    assert_eq!(socket.frame(token("doc")), ["check doc#1: secret"]);
    assert_eq!(socket.checked("doc", 1, Ok(editor())), ["place doc@1: own"]);
    assert_eq!(socket.placed("doc", 1, Ok(())), ["open doc@1"]);
    assert_eq!(socket.frame(stateless("doc", "while it opens")), [""; 0]);
    assert_ne!(socket.world.kept, 0);
    assert_eq!(socket.opened("doc", 1, Ok(())), ["tell doc: ReadWrite", "join doc@1: m1 ReadWrite"]);
    assert_eq!(socket.joined("doc", 1, true), ["ask @1", "stateless @1: early", "stateless @1: while it opens"]);
    assert_eq!(socket.world.kept, 0);
    assert_eq!(socket.frame(stateless("doc", "live")), ["stateless @1: live"]);
    assert_eq!(socket.frame(goodbye("doc")), ["leave @1"]);
}

#[test]
fn a_denied_document_is_ignored_until_another_token_is_good_and_the_others_stay() {
    let mut socket = TestSocket::live("other", editor());
    assert_eq!(socket.frame(token("doc")), ["check doc#2: secret"]);
    assert_eq!(
        socket.checked("doc", 2, Err(NotTaken::Unauthenticated)),
        ["count Unauthenticated", "tell doc: denied, permission-denied"]
    );
    assert_eq!(socket.frame(question("doc")), [""; 0]);
    assert_eq!(socket.frame(stateless("other", "still here")), ["stateless @1: still here"]);
    assert_eq!(socket.frame(token("doc")), ["check doc#3: secret"]);
    assert_eq!(socket.checked("doc", 3, Ok(viewer())), ["place doc@2: another"]);
}

#[test]
fn a_token_waits_while_the_one_before_is_checked() {
    let mut socket = TestSocket::new();
    assert_eq!(socket.frame(token("doc")), ["check doc#1: secret"]);
    assert_eq!(socket.frame(token("doc")), ["take later"]);
    assert_eq!(socket.frame(token("other")), ["check other#2: secret"]);
    assert_eq!(
        socket.checked("doc", 1, Err(NotTaken::Unauthenticated)),
        ["count Unauthenticated", "tell doc: denied, permission-denied"]
    );
    assert_eq!(socket.frame(token("doc")), ["check doc#3: secret"]);
}

#[test]
fn what_comes_for_a_document_that_was_closed_and_spoken_of_again_is_ignored() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    assert_eq!(socket.frame(goodbye("doc")), [""; 0]);
    assert_eq!(socket.frame(token("doc")), ["check doc#2: secret"]);
    assert_eq!(socket.checked("doc", 1, Ok(editor())), [""; 0]);
    assert_eq!(socket.checked("doc", 2, Ok(editor())), ["place doc@1: own"]);
    socket.placed("doc", 1, Ok(()));
    assert_eq!(socket.frame(goodbye("doc")), ["leave @1"]);
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 3, Ok(editor())), ["place doc@2: own"]);
    assert_eq!(socket.opened("doc", 1, Ok(())), [""; 0], "the seat was given up");
    assert_eq!(socket.placed("doc", 2, Ok(())), ["open doc@2"]);
    assert_eq!(socket.opened("doc", 2, Ok(())), ["tell doc: ReadWrite", "join doc@2: m2 ReadWrite"]);
}

/// Version 2 sends no token when its application has none.
#[test]
fn a_question_without_a_token_counts_as_an_empty_token_after_a_moment() {
    let mut socket = TestSocket::new();
    socket.frame(question("doc"));
    assert_eq!(socket.wait(), (Duration::from_millis(200), vec!["check doc#1: nothing".into()]));
}

#[test]
fn a_document_without_a_token_is_forgotten_and_a_socket_without_a_document_is_closed() {
    let mut socket = TestSocket::live("other", editor());
    socket.frame(stateless("doc", "early"));
    assert_eq!(socket.wait(), (AUTH_TIMEOUT, vec!["count AuthTimeout".into()]));
    assert_eq!(socket.world.kept, 0);

    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 1, Err(NotTaken::Unauthenticated)).len(), 2);
    let (waited, effects) = socket.wait();
    assert_eq!(waited, AUTH_TIMEOUT);
    assert_eq!(effects, ["count AuthTimeout", "end Idle after 0 ms"]);
}

#[test]
fn documents_beyond_the_limit_are_denied_unless_one_that_is_denied_makes_place() {
    let mut socket = TestSocket::new();
    for (seat, name) in [(1, "a"), (2, "b")] {
        socket.enter(name, seat, editor());
    }
    socket.frame(token("c"));
    socket.checked("c", 3, Err(NotTaken::Unauthenticated));
    assert_eq!(socket.frame(token("d")), ["check d#4: secret"], "it takes the place of the denied one");
    let denied = ["count SocketDocuments", "tell e: denied, documents-per-socket-max reached"];
    assert_eq!(socket.frame(token("e")), denied);
    assert_eq!(socket.frame(question("e")), denied);
    socket.frame(goodbye("a"));
    assert_eq!(socket.frame(token("e")), ["check e#5: secret"]);
}

#[test]
fn what_waits_for_a_token_is_bounded_and_so_is_the_memory_for_it() {
    let text = "x".repeat(100);
    let mut socket = TestSocket::new();
    let ends = ["count Pending", "end Reset after 2100 ms"];
    let early = (0..100).map(|n| socket.frame(stateless(["a", "b", "c"][n % 3], &text))).take_while(Vec::is_empty);
    assert_eq!(early.count(), 5, "a thousand bytes, with what each costs beside");
    assert_eq!(socket.frame(stateless("a", &text)), ends);

    let mut socket = TestSocket::new();
    socket.world.memory = 300;
    assert_eq!(socket.frame(stateless("a", &text)), [""; 0]);
    assert_eq!(socket.frame(stateless("a", &text)), ends);
}

#[test]
fn what_waits_for_a_document_to_open_stops_the_socket_and_one_message_may_be_as_large_as_any() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    socket.checked("doc", 1, Ok(editor()));
    socket.placed("doc", 1, Ok(()));
    assert_eq!(socket.frame(behind("doc", &encode::update(&[0; 5_000]))), [""; 0]);
    assert_eq!(socket.frame(stateless("doc", "next")), ["take later"]);
    socket.opened("doc", 1, Ok(()));
    assert_eq!(socket.joined("doc", 1, true), ["update @1: ack true"]);
    assert_eq!(socket.frame(stateless("doc", "next")), ["stateless @1: next"]);
}

#[test]
fn the_first_document_has_the_place_of_the_socket_and_gives_it_back() {
    let mut socket = TestSocket::new();
    socket.enter("a", 1, editor());
    socket.frame(token("b"));
    assert_eq!(socket.checked("b", 2, Ok(editor())), ["place b@2: another"]);
    assert_eq!(socket.frame(goodbye("a")), ["leave @1"]);
    socket.frame(token("c"));
    assert_eq!(socket.checked("c", 3, Ok(editor())), ["place c@3: own"]);
    assert_eq!(
        socket.placed("c", 3, Err(Crowded::Full("sessions-max reached"))),
        ["count SessionLimit", "leave @3", "tell c: denied, sessions-max reached"]
    );
    socket.frame(token("c"));
    assert_eq!(socket.checked("c", 4, Ok(editor())), ["place c@4: own"]);
}

#[test]
fn an_address_that_joins_too_often_waits_for_its_place() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    socket.checked("doc", 1, Ok(editor()));
    let pause = Duration::from_millis(700);
    assert_eq!(socket.placed("doc", 1, Err(Crowded::Joins(pause))), ["count JoinRate"]);
    assert_eq!(socket.wait(), (pause, vec!["place doc@2: own".into()]));
}

#[test]
fn a_user_who_joins_too_often_or_has_all_sessions_waits_for_a_place() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    socket.checked("doc", 1, Ok(editor()));
    let joins = Exceeded::new(UserLimit::Joins, 50, 700);
    assert_eq!(socket.placed("doc", 1, Err(Crowded::User(joins))), ["count UserLimit(Joins)"]);
    assert_eq!(socket.wait(), (Duration::from_millis(700), vec!["place doc@2: own".into()]));
    let sessions = Exceeded::new(UserLimit::Sessions, 1000, 5000);
    assert_eq!(socket.placed("doc", 2, Err(Crowded::User(sessions))), ["count UserLimit(Sessions)"]);
    assert_eq!(socket.wait(), (Duration::from_secs(5), vec!["place doc@3: own".into()]));
}

/// Each opening costs a task and a look into the store, whether its document is closed again or not.
#[test]
fn a_client_that_opens_and_closes_in_circles_is_slowed_down() {
    let mut socket = TestSocket::new();
    let mut opened = 0;
    for n in 1..=20 {
        socket.frame(token("doc"));
        if socket.checked("doc", n, Ok(editor())).is_empty() {
            let (waited, effects) = socket.wait();
            assert_eq!((waited, effects.len()), (Duration::from_millis(20), 1), "one in 20 ms");
            break;
        }
        opened += 1;
        socket.placed("doc", opened, Ok(()));
        socket.opened("doc", opened, Ok(()));
        socket.joined("doc", opened, true);
        socket.frame(goodbye("doc"));
    }
    assert_eq!(opened, 6, "twice as many as may be open");
}

#[test]
fn no_more_dashboards_are_being_loaded_than_may_be_open_though_they_are_closed_meanwhile() {
    let mut socket = TestSocket::new();
    for n in 1..=3 {
        socket.frame(token("doc"));
        socket.checked("doc", n, Ok(editor()));
        socket.placed("doc", n, Ok(()));
        socket.frame(goodbye("doc"));
    }
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 4, Ok(editor())), [""; 0]);
    assert_eq!(socket.wait(), (Duration::from_millis(50), vec![]));
    socket.opened("doc", 1, Ok(()));
    assert_eq!(socket.wait(), (Duration::from_millis(50), vec!["place doc@4: own".into()]));
}

#[test]
fn a_document_is_opened_again_while_the_store_is_away_until_patience_ends() {
    for (failure, code) in [(Unopened::Away, "LoadFailed"), (Unopened::Memory, "Overloaded")] {
        let mut socket = TestSocket::live("other", editor());
        socket.frame(token("doc"));
        socket.checked("doc", 2, Ok(editor()));
        socket.placed("doc", 2, Ok(()));
        let mut effects = socket.opened("doc", 2, Err(failure));
        let mut tries = 1;
        while effects.is_empty() {
            assert_eq!(socket.wait(), (Duration::from_millis(800), vec!["open doc@2".into()]));
            effects = socket.opened("doc", 2, Err(failure));
            tries += 1;
        }
        assert_eq!(effects, ["count Unavailable".into(), format!("end {code} after 2100 ms")]);
        assert_eq!(tries, 14, "ten seconds");
    }
}

#[test]
fn a_node_that_drains_ends_the_socket_and_a_broken_dashboard_only_itself() {
    let mut socket = TestSocket::live("other", editor());
    socket.frame(token("doc"));
    socket.checked("doc", 2, Ok(editor()));
    socket.placed("doc", 2, Ok(()));
    let broken = socket.opened("doc", 2, Err(Unopened::Broken));
    let reason = CloseCode::LoadFailed.reason();
    assert_eq!(broken, ["count Unavailable".into(), "leave @2".into(), format!("tell doc: denied, {reason}")]);
    socket.frame(token("doc"));
    socket.checked("doc", 3, Ok(editor()));
    socket.placed("doc", 3, Ok(()));
    assert_eq!(socket.opened("doc", 3, Err(Unopened::Draining)), ["count Draining", "end Restart after 0 ms"]);
}

#[test]
fn a_room_that_ended_before_it_was_joined_is_opened_again_and_its_client_told_once() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    socket.checked("doc", 1, Ok(editor()));
    socket.placed("doc", 1, Ok(()));
    socket.opened("doc", 1, Ok(()));
    assert_eq!(socket.joined("doc", 1, false), ["open doc@1"]);
    assert_eq!(socket.opened("doc", 1, Ok(())), ["join doc@1: m2 ReadWrite"]);
    assert_eq!(socket.joined("doc", 1, true), [""; 0]);
}

#[test]
fn who_may_write_by_now_is_told_before_the_room_and_who_may_not_any_more_after() {
    let mut socket = TestSocket::live("doc", viewer());
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 2, Ok(editor())), ["tell doc: ReadWrite", "readmit @1: ReadWrite"]);
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 3, Ok(viewer())), ["readmit @1: ReadOnly", "tell doc: ReadOnly"]);
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 4, Ok(viewer())), ["tell doc: ReadOnly"], "nothing for the room");
    socket.frame(token("doc"));
    let denied = ["count Unauthenticated", "leave @1", "tell doc: denied, permission-denied"];
    assert_eq!(socket.checked("doc", 5, Err(NotTaken::Unauthenticated)), denied);
}

#[test]
fn a_token_that_came_while_its_document_was_joined_counts() {
    let mut socket = TestSocket::new();
    socket.frame(token("doc"));
    socket.checked("doc", 1, Ok(editor()));
    socket.placed("doc", 1, Ok(()));
    socket.opened("doc", 1, Ok(()));
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 2, Ok(viewer())), [""; 0]);
    assert_eq!(socket.joined("doc", 1, true), ["readmit @1: ReadOnly", "tell doc: ReadOnly"]);
}

#[test]
fn a_client_is_asked_for_another_token_before_its_own_runs_out() {
    let for_a_minute = |now| Admission { until: Some(now + Duration::from_secs(60)), ..editor() };
    let mut socket = TestSocket::live("doc", for_a_minute(BEGIN));
    let asked = |socket: &mut TestSocket| loop {
        let (_, effects) = socket.wait();
        if effects != ["heartbeat"] {
            break (socket.now.since(BEGIN), effects);
        }
    };
    assert_eq!(asked(&mut socket), (Duration::from_secs(45), vec!["tell doc: your token".into()]));
    socket.frame(token("doc"));
    assert_eq!(socket.checked("doc", 2, Ok(for_a_minute(socket.now))), ["tell doc: ReadWrite"]);
    assert_eq!(asked(&mut socket), (Duration::from_secs(90), vec!["tell doc: your token".into()]));
    assert_eq!(asked(&mut socket), (Duration::from_secs(105), vec!["end Reset after 0 ms".into()]));
}

/// Version 2 comes back without a pause.
#[test]
fn a_token_that_is_over_as_soon_as_it_comes_does_not_make_its_client_run_in_circles() {
    let mut socket = TestSocket::live("doc", Admission { until: Some(BEGIN), ..editor() });
    assert_eq!(socket.wait(), (Duration::ZERO, vec![format!("end Reset after {} ms", REFUSAL_HOLD.as_millis())]));
}

#[test]
fn an_answer_out_of_turn_gets_no_ack() {
    let mut socket = TestSocket::live("doc", editor());
    let answer = || behind("doc", &encode::sync_step2(&[0, 0]));
    assert_eq!(socket.frame(question("doc")), ["ask @1"]);
    socket.world.questions.insert(SeatId(1), 2);
    assert_eq!(socket.frame(answer()), ["update @1: ack false"]);
    assert_eq!(socket.frame(answer()), ["update @1: ack true"]);
    let too_large = |kind| DocumentsInput::TooLarge { head: behind("doc", &[0, kind]) };
    socket.world.questions.insert(SeatId(1), 3);
    assert_eq!(socket.input(too_large(1)), ["too large @1: 0"]);
    assert_eq!(socket.input(too_large(2)), ["too large @1: 1"]);
}

#[test]
fn questions_beyond_the_budget_wait_and_are_asked_once() {
    let mut socket = TestSocket::live("doc", editor());
    socket.world.document_bytes = 64 << 20;
    let asked = (0..20).map(|_| socket.frame(question("doc"))).filter(|effects| effects == &["ask @1"]);
    assert_eq!(asked.count(), 8);
    assert_eq!(socket.frame(question("doc")), ["count Rate"]);
    assert_eq!(socket.wait(), (Duration::from_secs(1), vec!["ask @1".into()]));
}

/// Providers before 4.5 show nobody what they have not been shown.
#[test]
fn a_client_of_an_older_version_that_asks_nothing_is_shown_who_is_here() {
    let mut socket = TestSocket::new();
    socket.frame(hocuspocus::token(&Address::new("doc"), "secret", None));
    socket.checked("doc", 1, Ok(editor()));
    socket.placed("doc", 1, Ok(()));
    socket.opened("doc", 1, Ok(()));
    socket.joined("doc", 1, true);
    assert_eq!(socket.wait(), (Duration::from_millis(200), vec!["introduce @1".into()]));
}

#[test]
fn every_socket_gets_a_sign_of_life_each_twenty_seconds() {
    let mut socket = TestSocket::live("doc", editor());
    for _ in 0..3 {
        assert_eq!(socket.wait(), (Duration::from_secs(20), vec!["heartbeat".into()]));
    }
}

#[test]
fn who_plays_a_server_loses_that_document_and_long_texts_are_dropped() {
    let mut socket = TestSocket::live("doc", editor());
    assert_eq!(socket.frame(stateless("doc", &"x".repeat(101))), ["count Stateless"]);
    let closed = ["count Forbidden", "leave @1", "tell doc: closed, Reset Connection"];
    assert_eq!(socket.frame(behind("doc", &[6, 0])), closed);
}

#[test]
fn a_room_that_does_not_want_a_member_ends_that_document_alone() {
    let mut socket = TestSocket::live("doc", editor());
    socket.enter("other", 2, editor());
    let dismissed = DocumentsInput::Dismissed { seat: SeatId(1), code: CloseCode::RoomFull };
    let reason = CloseCode::RoomFull.reason();
    assert_eq!(socket.input(dismissed), ["leave @1".into(), format!("tell doc: denied, {reason}")]);
    assert_eq!(socket.frame(stateless("other", "hi")), ["stateless @2: hi"]);
}

#[test]
fn garbage_and_addresses_that_are_too_long_end_the_socket_and_names_that_are_none_their_document() {
    let garbage = ["count GarbageFrame", "end BadFrame after 2100 ms"];
    assert_eq!(TestSocket::new().frame(Bytes::from_static(&[3, b'd'])), garbage);
    assert_eq!(TestSocket::new().frame(behind("", &[0, 2, 0])), garbage, "a y-websocket client");
    let long = "x".repeat(513);
    assert_eq!(TestSocket::new().frame(question(&long)), ["count BadName", "end BadFrame after 2100 ms"]);
    let reason = CloseCode::BadName.reason();
    assert_eq!(
        TestSocket::new().frame(token("a/..")),
        ["count BadName".into(), format!("tell a/..: denied, {reason}")]
    );
}

#[test]
fn a_token_longer_than_any_is_not_looked_at() {
    let mut socket = TestSocket::new();
    let long = hocuspocus::token(&Address::new("doc"), &"x".repeat(hocuspocus::TOKEN_BYTES_MAX + 1), None);
    assert_eq!(socket.frame(long), ["count Unauthenticated", "tell doc: denied, permission-denied"]);
}

/// One move of a client, or of the world.
#[derive(Clone, Debug)]
enum Move {
    Frame(Bytes),
    /// The outcome of the effect that has waited longest, or of another one.
    Outcome {
        which: prop::sample::Index,
        is_good: bool,
        failure: u8,
    },
    Wait,
    Dismiss(prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Move> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "a\0s"]);
    let frame = (name, 0..8_u8).prop_map(|(name, kind)| match kind {
        0..=2 => token(name),
        3 => question(name),
        4 => goodbye(name),
        5 => stateless(name, "text"),
        6 => behind(name, &encode::update(&[0; 300])),
        _ => behind(name, &encode::sync_step2(&[0, 0])),
    });
    prop_oneof![
        6 => frame.prop_map(Move::Frame),
        6 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8), any::<u8>())
            .prop_map(|(which, is_good, failure)| Move::Outcome { which, is_good, failure }),
        2 => Just(Move::Wait),
        1 => any::<prop::sample::Index>().prop_map(Move::Dismiss),
    ]
}

proptest! {
    /// Whatever a client does, and in whatever order the world answers: seats and places are given back, and memory with them; every
    /// place is taken once, only live seats speak to rooms, and nothing that is due stays due.
    #[test]
    fn seats_and_memory_are_given_back_whatever_happens(moves in prop::collection::vec(moves(), 1..200)) {
        let mut socket = TestSocket::new();
        let mut waiting: Vec<DocumentsEffect> = Vec::new();
        let (mut seats, mut members): (BTreeSet<SeatId>, BTreeSet<SeatId>) = Default::default();
        let (mut own, mut loading) = (None, 0_usize);
        for step in moves {
            let mut effects = Vec::new();
            let TestSocket { documents, world, now, .. } = &mut socket;
            let input = match step {
                Move::Frame(frame) => Some(DocumentsInput::Frame(frame)),
                Move::Wait => {
                    *now = (*now).max(documents.due_at());
                    documents.handle_timeout(*now, world, &mut effects);
                    prop_assert!(documents.due_at() > *now || !effects.is_empty());
                    None
                }
                Move::Dismiss(which) if !members.is_empty() => {
                    let seat = *which.get(&members.iter().copied().collect::<Vec<_>>());
                    Some(DocumentsInput::Dismissed { seat, code: CloseCode::RoomFull })
                }
                Move::Outcome { which, is_good, failure } if !waiting.is_empty() => {
                    Some(match waiting.remove(which.index(waiting.len())) {
                        DocumentsEffect::Check { key, token, .. } => {
                            let admitted = match (is_good, failure % 2) {
                                (true, 0) => Ok(editor()),
                                (true, _) => Ok(viewer()),
                                (false, _) => Err(NotTaken::Unauthenticated),
                            };
                            DocumentsInput::Checked { key, token, admitted }
                        }
                        DocumentsEffect::Open { key, seat, .. } => {
                            loading -= 1;
                            let failures = [Unopened::Away, Unopened::Memory, Unopened::Broken];
                            let opened = if is_good { Ok(MemberId(seat.0)) } else { Err(failures[usize::from(failure % 3)]) };
                            DocumentsInput::Opened { key, seat, opened, spread: Duration::ZERO }
                        }
                        other => unreachable!("{other:?}"),
                    })
                }
                _ => None,
            };
            if let Some(input) = input {
                documents.handle(*now, input, world, &mut effects);
            }
            while !effects.is_empty() {
                let mut next = Vec::new();
                for effect in effects {
                    match effect {
                        DocumentsEffect::TakePlace { key, seat, is_own, .. } => {
                            prop_assert!(seats.insert(seat));
                            prop_assert_eq!(is_own, own.is_none());
                            if is_own {
                                own = Some(seat);
                            }
                            documents.handle(*now, DocumentsInput::Placed { key, seat, place: Ok(()) }, world, &mut next);
                        }
                        DocumentsEffect::Join { key, seat, .. } => {
                            prop_assert!(seats.contains(&seat));
                            members.insert(seat);
                            documents.handle(*now, DocumentsInput::Joined { key, seat, is_in: true }, world, &mut next);
                        }
                        DocumentsEffect::Leave { seat } => {
                            prop_assert!(seats.remove(&seat), "{seat:?} is given back once");
                            members.remove(&seat);
                            own = own.filter(|owner| *owner != seat);
                        }
                        DocumentsEffect::Open { seat, .. } => {
                            prop_assert!(seats.contains(&seat));
                            loading += 1;
                            waiting.push(effect);
                        }
                        DocumentsEffect::Check { .. } => waiting.push(effect),
                        DocumentsEffect::Update { seat, .. }
                        | DocumentsEffect::Ask { seat, .. }
                        | DocumentsEffect::Introduce { seat }
                        | DocumentsEffect::Readmit { seat, .. }
                        | DocumentsEffect::Stateless { seat, .. } => prop_assert!(members.contains(&seat)),
                        _ => {}
                    }
                }
                effects = next;
            }
            prop_assert!(loading <= limits().documents_per_socket_max);
            prop_assert!(seats.len() <= limits().documents_per_socket_max);
            prop_assert!(world.kept <= limits().pending_bytes_max);
        }
        for name in ["a", "b", "c", "d", "a\0s"] {
            let mut effects = Vec::new();
            socket.documents.handle(socket.now, DocumentsInput::Frame(goodbye(name)), &mut socket.world, &mut effects);
            for effect in effects {
                if let DocumentsEffect::Leave { seat } = effect {
                    prop_assert!(seats.remove(&seat));
                }
            }
        }
        prop_assert!(seats.is_empty());
        prop_assert_eq!(socket.world.kept, 0);
    }
}
