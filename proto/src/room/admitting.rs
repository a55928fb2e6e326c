//! Who may be here and do what: decided when somebody comes, when what is written down changes, and when a condition ends.
//!
//! What is written down comes with whoever joins, and whenever it changes; what is of an older version never displaces what is newer. From
//! the moment on at which a room has taken a change, nothing is taken from somebody who lost the right to write, and nothing goes to
//! somebody who lost the right to read: they are members no more, and what waits for them is dropped.

use super::Room;
use super::effect::{Effect, Frame, FrameKind};
use super::input::Dialect;
use crate::access::{Access, Admission, Asking, Capabilities, Decision, Records, decide};
use crate::id::MemberId;
use crate::time::Timestamp;
use crate::wire::close::CloseCode;
use crate::wire::encode;

/// What a room knows of what is written down, and when a time changes what that means.
#[derive(Debug, Default)]
pub(super) struct Admitting {
    /// `None` while nobody has come with any: then what somebody was let in with is what they may do.
    records: Option<Records>,
    again_at: Option<Timestamp>,
}

impl Admitting {
    /// When members are to be decided about again.
    pub(super) fn again_at(&self) -> Option<Timestamp> {
        self.again_at
    }

    /// Takes what is newer. Says whether anything was.
    fn learn(&mut self, records: Records) -> bool {
        match &mut self.records {
            Some(known) => known.learn(records),
            None => {
                self.records = Some(records);
                true
            }
        }
    }

    fn decide(&self, now: Timestamp, admission: &Admission) -> Decision {
        let Some(records) = &self.records else { return Decision { access: admission.access, until: None } };
        let Admission { principal, given, address, .. } = admission;
        decide(&Asking { principal, given: *given, address: *address }, records, now)
    }
}

impl Room {
    /// Whether somebody who was let in may do that with this dashboard. Sockets and calls are asked alike.
    #[must_use]
    pub fn may(&self, now: Timestamp, admission: &Admission, wanted: Capabilities) -> bool {
        self.admitting.decide(now, admission).access.may(wanted)
    }

    /// Takes what somebody brings of what is written down, and decides about them.
    pub(super) fn admit(&mut self, now: Timestamp, admission: &mut Admission, effects: &mut Vec<Effect>) {
        if let Some(records) = admission.records.take() {
            self.access_changed(now, *records, effects);
        }
        let Decision { access, until } = self.admitting.decide(now, admission);
        admission.access = access;
        self.admitting.again_at = self.admitting.again_at.into_iter().chain(until).min();
    }

    /// What is written down has changed.
    pub(super) fn access_changed(&mut self, now: Timestamp, records: Records, effects: &mut Vec<Effect>) {
        if self.admitting.learn(records) {
            self.decide_anew(now, effects);
        }
    }

    /// Decides again about those whose conditions end.
    pub(super) fn end_conditions(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.admitting.again_at.is_some_and(|at| now >= at) {
            self.decide_anew(now, effects);
        }
    }

    fn decide_anew(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let (mut gone, mut stay, mut again_at) = (Vec::new(), Vec::new(), None);
        for (id, member) in &self.members {
            let Decision { access, until } = self.admitting.decide(now, &member.admission);
            again_at = again_at.into_iter().chain(until).min();
            let before = member.admission.access;
            if !access.may(Capabilities::READ) {
                gone.push(*id);
            } else if access != before {
                stay.push((*id, access, access.may_edit() != before.may_edit()));
            }
        }
        self.admitting.again_at = again_at;
        // Those who go first: what happens when somebody leaves may bring content, which is not for them.
        gone.into_iter().for_each(|id| self.expel(now, id, CloseCode::Forbidden, effects));
        stay.into_iter().for_each(|(id, access, tells)| self.permit(now, id, access, tells, effects));
    }

    /// Another token was shown, or whoever let a member in says something else of it.
    pub(super) fn readmitted(
        &mut self,
        now: Timestamp,
        id: MemberId,
        mut admission: Admission,
        effects: &mut Vec<Effect>,
    ) {
        self.admit(now, &mut admission, effects);
        let access = admission.access;
        // What it brought may have been the end of it.
        let Some(member) = self.members.get_mut(&id) else { return };
        let (until, dialect) = (admission.until, member.dialect);
        member.admission = Admission { access: member.admission.access, ..admission };
        if !access.may(Capabilities::READ) {
            return self.expel(now, id, CloseCode::Forbidden, effects);
        }
        // In the other dialect, sessions see to tokens: they know when one ends, and answer it.
        let is_here = dialect == Dialect::YWebsocket;
        if is_here {
            self.terms.set(now, id, until);
        }
        self.permit(now, id, access, is_here, effects);
    }

    /// Ends somebody's membership at once: what they sent is not taken any more, and what waits for them is dropped.
    pub(super) fn expel(&mut self, now: Timestamp, id: MemberId, code: CloseCode, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.take_held();
        effects.push(Effect::Expel { member: id, code });
        self.left(now, id, effects);
    }

    /// Gives a member another access.
    fn permit(&mut self, now: Timestamp, id: MemberId, access: Access, tells: bool, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let (was_editor, was_seen) = (member.may(Capabilities::WRITE), member.may(Capabilities::PRESENCE));
        member.admission.access = access;
        member.is_told |= tells;
        let (is_editor, is_seen) = (member.may(Capabilities::WRITE), member.may(Capabilities::PRESENCE));
        let owned = member.owns();
        // Who may write is told before it is asked for what it wrote.
        if tells {
            self.tell_access(id, effects);
        }
        if was_seen && !is_seen {
            self.presence.leave(id, &owned, now);
        }
        if was_editor && !is_editor {
            self.let_go_of_held(id, effects);
        }
        if !was_editor && is_editor {
            for client in owned {
                self.claimed(now, id, client, effects);
            }
            self.ask(id, effects);
        }
    }

    /// Tells a member whether it may write. Stock clients of y-websocket pass over it.
    pub(super) fn tell_access(&self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get(&id) else { return };
        let bytes = encode::authenticated(member.admission.access.may_edit());
        effects.push(Effect::Send { to: id, frame: Frame { bytes, kind: FrameKind::Notice } });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALICE, BOB, TestRoom, typed};
    use super::super::{Input, Joining};
    use super::*;
    use crate::access::{Known, Principal, Record};
    use crate::id::DashboardId;
    use crate::room::{Report, RequestId, Scanned, WriteRefusal};
    use crate::wire::Message;
    use core::time::Duration;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn records(version: u64, grants: Value) -> Records {
        let record = Record::default().with_asked(&json!({ "grants": grants }), false).unwrap();
        let dashboard = Known { version, record: Arc::new(record) };
        Records { dashboard, ..Records::none(DashboardId::parse("acme/sales").unwrap()) }
    }

    fn roles(version: u64, alice: &str, bob: &str) -> Records {
        let grant = |user: &str, role: &str| json!({ "subject": format!("user:{user}"), "role": role });
        let grants = [("alice", alice), ("bob", bob)].into_iter().filter(|(_, role)| !role.is_empty());
        records(version, grants.map(|(user, role)| grant(user, role)).collect())
    }

    fn admission(user: &str, records: Records) -> Admission {
        Admission { principal: Principal::user(user), records: Some(Box::new(records)), ..Admission::default() }
    }

    fn join(room: &mut TestRoom, member: MemberId, admission: Admission) {
        join_in(Dialect::YWebsocket, room, member, admission);
    }

    fn join_in(dialect: Dialect, room: &mut TestRoom, member: MemberId, admission: Admission) {
        room.input(Input::Joined(Box::new(Joining {
            member,
            admission,
            wants_acks: true,
            wants_echo: false,
            dialect,
        })));
        room.input(Input::SyncStep1 { member, have: Default::default() });
    }

    /// Alice and Bob, who may write.
    fn two_editors() -> TestRoom {
        let mut room = TestRoom::new();
        join(&mut room, ALICE, admission("alice", roles(1, "editor", "editor")));
        join(&mut room, BOB, admission("bob", roles(1, "editor", "editor")));
        room.skip();
        room
    }

    fn changed(room: &mut TestRoom, records: Records) -> Vec<Effect> {
        room.input(Input::AccessChanged { records: Box::new(records) });
        room.take()
    }

    #[test]
    fn whoever_loses_the_right_to_read_gets_nothing_and_writes_nothing_from_then_on() {
        let mut room = two_editors();
        // What Alice wrote before is collected and goes out after.
        room.edit(ALICE, &typed(7, 0, "secret"));
        let effects = changed(&mut room, roles(2, "editor", ""));
        let expelled = |effect: &Effect| matches!(effect, Effect::Expel { member: BOB, code: CloseCode::Forbidden });
        assert_eq!(effects.iter().filter(|effect| expelled(effect)).count(), 1);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { to: BOB, .. })));
        assert_eq!(room.room.members(), 1);
        room.edit(BOB, &typed(8, 0, "late"));
        room.input(Input::SyncStep1 { member: BOB, have: Default::default() });
        room.after(Duration::from_secs(1));
        assert!(
            !room
                .take()
                .iter()
                .any(|effect| matches!(effect, Effect::Send { to: BOB, .. } | Effect::Ack { to: BOB, .. }))
        );
        assert_eq!(room.room.clocks().get(8), 0);
    }

    #[test]
    fn a_listener_is_asked_nothing_is_nobody_who_is_here_and_goes_with_its_rights() {
        let mut room = TestRoom::new();
        let admission = admission("bob", roles(1, "editor", "viewer"));
        let dialect = Dialect::Listening;
        let joining = Joining { member: BOB, admission, wants_acks: false, wants_echo: false, dialect };
        room.input(Input::Joined(Box::new(joining)));
        assert!(room.take().is_empty());
        assert_eq!((room.room.members(), room.room.present()), (1, 0));
        let effects = changed(&mut room, roles(2, "editor", ""));
        assert!(matches!(effects[..], [Effect::Expel { member: BOB, code: CloseCode::Forbidden }]), "{effects:?}");
        assert_eq!((room.room.members(), room.room.present()), (0, 0));
    }

    #[test]
    fn whoever_loses_the_right_to_write_stays_and_is_told() {
        let mut room = two_editors();
        // One that builds on what is not here waits, and is not taken later.
        room.edit(BOB, &typed(8, 3, "d"));
        room.skip();
        let effects = changed(&mut room, roles(2, "editor", "viewer"));
        let Effect::Send { to: BOB, frame } = &effects[0] else { panic!("{effects:?}") };
        assert!(matches!(effects[1], Effect::Ack { to: BOB, saved: false, count: 1 }), "{effects:?}");
        assert_eq!(frame.bytes, encode::authenticated(false));
        assert_eq!((effects.len(), room.room.held()), (2, 0));
        room.edit(BOB, &typed(8, 0, "abc"));
        let refused = room.take();
        assert!(
            matches!(refused[..], [Effect::Report(Report::ReadOnly), Effect::Ack { to: BOB, saved: false, count: 1 }])
                || matches!(refused[..], [Effect::Ack { to: BOB, saved: false, count: 1 }]),
            "{refused:?}"
        );
        assert_eq!(room.room.clocks().get(8), 0);
        // Nobody else notices.
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send { to: ALICE, .. } | Effect::FanOut { .. })));
    }

    #[test]
    fn whoever_may_write_from_then_on_is_told_and_asked_for_what_was_refused() {
        let mut room = TestRoom::new();
        join(&mut room, ALICE, admission("alice", roles(1, "viewer", "")));
        room.skip();
        room.input(Input::AccessChanged { records: Box::new(roles(2, "editor", "")) });
        let sent = room.sent(ALICE);
        assert!(matches!(sent[..], [Message::Authenticated { may_edit: true }, Message::SyncStep1(_)]), "{sent:?}");
        room.edit(ALICE, &typed(7, 0, "abc"));
        assert_eq!(room.room.clocks().get(7), 3);
    }

    /// Updates that waited when the right to write ended were refused and forgotten: after the right had come back, and all of them were
    /// saved, a HocuspocusProvider went on showing an unsaved change. The simulation found it.
    #[test]
    fn what_waited_when_the_right_to_write_ended_is_acknowledged_when_it_is_saved_after_all() {
        let mut room = TestRoom::new();
        join_in(Dialect::Hocuspocus { echoes: false }, &mut room, BOB, admission("bob", roles(1, "", "editor")));
        room.edit(BOB, &typed(8, 3, "d"));
        changed(&mut room, roles(2, "", "viewer"));
        changed(&mut room, roles(3, "", "editor"));
        let brought = crate::update::merge(&[typed(8, 0, "abc"), typed(8, 3, "d")]);
        room.answer(BOB, &brought);
        room.after(Duration::from_secs(1));
        room.skip();
        room.appended(1);
        assert_eq!(room.acks(), [(BOB, true, 2)]);
    }

    #[test]
    fn an_older_record_never_brings_a_right_back() {
        let mut room = two_editors();
        changed(&mut room, roles(3, "editor", ""));
        assert_eq!(changed(&mut room, roles(2, "editor", "owner")).len(), 0);
        // Bob comes back with what he was let in with a moment before.
        join(&mut room, BOB, admission("bob", roles(1, "editor", "editor")));
        let effects = room.take();
        assert!(matches!(effects[..], [Effect::Expel { member: BOB, code: CloseCode::Forbidden }]), "{effects:?}");
    }

    #[test]
    fn whoever_joins_brings_what_is_newer_for_all() {
        let mut room = two_editors();
        let newer = roles(2, "", "editor");
        room.input(Input::Left { member: BOB });
        room.skip();
        join(&mut room, BOB, admission("bob", newer));
        assert!(matches!(room.take()[0], Effect::Expel { member: ALICE, .. }));
    }

    #[test]
    fn a_condition_that_ends_needs_no_word_from_outside() {
        let mut room = TestRoom::new();
        let grants = json!([
            { "subject": "user:alice", "role": "viewer" },
            { "subject": "user:alice", "role": "editor", "not_after": "1970-01-01T01:00:00Z" },
            { "subject": "user:bob", "role": "editor", "not_after": "1970-01-01T02:00:00Z" },
        ]);
        join(&mut room, ALICE, admission("alice", records(1, grants.clone())));
        join(&mut room, BOB, admission("bob", records(1, grants)));
        room.skip();
        let hours = |hours: u64| Timestamp(hours * 3_600_000);
        assert!(room.room.poll_timeout() <= hours(1));
        room.now = hours(1);
        room.timeout();
        assert!(matches!(room.sent(ALICE)[..], [.., Message::Authenticated { may_edit: false }]));
        assert_eq!(room.room.members(), 2);
        room.now = hours(2);
        room.timeout();
        assert!(room.take().iter().any(|effect| matches!(effect, Effect::Expel { member: BOB, .. })));
        assert_eq!(room.room.members(), 1);
    }

    #[test]
    fn a_call_is_decided_about_with_the_newest_that_the_room_knows() {
        let mut room = two_editors();
        changed(&mut room, roles(2, "editor", "viewer"));
        let update = typed(8, 0, "abc");
        let scan = crate::update::scan(&update, &Default::default()).unwrap();
        let update = Box::new(Scanned { update, scan, frame: None });
        // He was let in before.
        let author = Admission { access: Access::EDITOR, records: None, ..admission("bob", roles(1, "", "editor")) };
        room.input(Input::Write { request: RequestId(1), author: Box::new(author), update });
        let refused = |effect: &Effect| matches!(effect, Effect::Answer { result: Err(WriteRefusal::Forbidden), .. });
        assert!(room.take().iter().any(refused));
    }

    #[test]
    fn what_is_given_to_everybody_stays_given() {
        let mut room = TestRoom::new();
        join(
            &mut room,
            ALICE,
            Admission { records: Some(Box::new(roles(1, "", ""))), ..Admission::anonymous(Access::EDITOR) },
        );
        room.skip();
        assert_eq!(changed(&mut room, roles(2, "viewer", "")).len(), 0);
        room.edit(ALICE, &typed(7, 0, "abc"));
        assert_eq!(room.room.clocks().get(7), 3);
    }
}
