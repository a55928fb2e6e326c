//! Tests of the comparison of clocks: the clocks that are compared, and the edits that wait meanwhile.

use super::super::tests::{ALICE, BOB, CAROL, TestRoom, after, collected, message, room_with_an_author, typed};
use super::super::{Input, Loaded};
use super::*;
use crate::access::Access;
use crate::limits::Limits;
use crate::wire::Message;

/// Carol joins with so much; what she is asked for, beside what every session is.
fn comes_back(room: &mut TestRoom, have: &[(ClientId, Clock)]) -> StateVector {
    room.join_in(Dialect::YWebsocket, CAROL, Access::EDITOR);
    room.skip();
    room.input(Input::SyncStep1 { member: CAROL, have: have.iter().copied().collect() });
    let asked = room.sent(CAROL).into_iter().find_map(|message| match message {
        Message::SyncStep1(clocks) => Some(StateVector::decode(&clocks, &Limits::default()).expect("a state vector")),
        _ => None,
    });
    asked.expect("she is asked for what is to be compared")
}

fn is_refused(effects: &[Effect], member: MemberId) -> bool {
    let denied = |frame: &Frame| matches!(message(&frame.bytes), Message::PermissionDenied(_));
    effects.iter().any(|effect| matches!(effect, Effect::Send { to, frame } if *to == member && denied(frame)))
}

/// Somebody took an absent author's next clocks and put garbage over those after them; the server was restarted. The last clocks were all
/// deleted, so there was nothing to compare, and the author's own edits were lost without a word.
#[test]
fn deleted_clocks_are_passed_over_to_find_some_that_can_be_compared() {
    let mut room = room_with_an_author();
    room.input(Input::Left { member: ALICE });
    room.edit(BOB, &typed(7, 2, "forged"));
    room.edit(BOB, &collected(7, 8, 100));
    let mut room = TestRoom::open(Loaded { snapshot: Some(room.room.state()), ..Loaded::default() }, Limits::default());
    assert_eq!(comes_back(&mut room, &[(7, 120)]).get(7), 0);
    room.answer(CAROL, &typed(7, 0, &format!("hi{}", "own".repeat(39))));
    assert!(is_refused(&room.take(), CAROL));
    assert_eq!(room.room.clocks().get(7), 108);
}

/// The number of clocks that are passed over is bounded, for each id and for all of them.
#[test]
fn a_bounded_number_of_deleted_clocks_is_passed_over() {
    let mut room = TestRoom::new();
    room.join(BOB);
    let clients: Vec<ClientId> = (100..120).collect();
    for &client in &clients {
        room.edit(BOB, &typed(client, 0, "text"));
        (0..4).for_each(|n| room.edit(BOB, &collected(client, 4 + n * 100, 100)));
    }
    let mut room = TestRoom::open(Loaded { snapshot: Some(room.room.state()), ..Loaded::default() }, Limits::default());
    let have: Vec<(ClientId, Clock)> = clients.iter().map(|client| (*client, 404)).collect();
    let asked = comes_back(&mut room, &have);
    let passed: Vec<Clock> = clients.iter().map(|client| 404 - LAST_CLOCKS - asked.get(*client)).collect();
    assert_eq!(passed.iter().max(), Some(&DELETED_PASSED_MAX));
    assert_eq!(passed.iter().sum::<Clock>(), DELETED_PASSED_IN_ALL_MAX);
}

/// In a dashboard of many ids that others had brought, hers was not among those that she was asked about.
#[test]
fn a_client_is_asked_first_about_ids_under_which_it_has_more() {
    let mut room = TestRoom::new();
    room.join(BOB);
    let clients: Vec<ClientId> = (200..400).collect();
    for &client in &clients {
        room.edit(BOB, &typed(client, 0, "x"));
    }
    let mut have: Vec<(ClientId, Clock)> = clients.iter().map(|client| (*client, 1)).collect();
    have.last_mut().expect("many").1 = 5;
    let asked = comes_back(&mut room, &have);
    assert_eq!(asked.get(399), 0);
    let compared = clients.iter().filter(|client| asked.get(**client) == 0).count();
    assert_eq!(compared, SUSPECTS_MAX + UNKNOWN_MAX);
}

/// Another device with her number had gone on from something else. She was shown the first clock of that, which stood between two lists of
/// hers, and kept it in another place than everybody else.
#[test]
fn an_author_is_shown_what_others_write_in_its_name_when_that_is_compared() {
    for (own, is_equal) in [("hiown", true), ("hoown", false)] {
        let mut room = room_with_an_author();
        assert_eq!(comes_back(&mut room, &[(7, 5)]).get(7), 0);
        room.answer(CAROL, &after(7, 2, "own"));
        assert_eq!(room.sent(ALICE), []);
        room.answer(CAROL, &typed(7, 0, own));
        let effects = room.take();
        assert_eq!(is_refused(&effects, CAROL), !is_equal);
        let to_alice = effects.iter().filter(|effect| matches!(effect, Effect::Send { to: ALICE, .. })).count();
        assert_eq!(to_alice, if is_equal { 2 } else { 0 }, "{effects:?}");
        room.answer(ALICE, &Bytes::from_static(&update::EMPTY_UPDATE));
        assert_eq!(room.room.clocks().get(7), if is_equal { 5 } else { 2 });
    }
}
