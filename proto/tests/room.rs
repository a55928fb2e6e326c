//! When a room wants to be woken.

use bytes::Bytes;
use ydash_proto::access::{Access, Admission};
use ydash_proto::document::compact;
use ydash_proto::limits::Limits;
use ydash_proto::log::LogPosition;
use ydash_proto::room::{Effect, Input, Loaded, RequestId, Room, Scanned, Tuning};
use ydash_proto::time::Timestamp;
use ydash_proto::update;

/// `doc.getMap('m').set('a', 1)` as client 1.
const UPDATE: &[u8] = &[1, 1, 1, 0, 40, 1, 1, b'm', 1, b'a', 1, 125, 1, 0];

#[test]
fn a_room_whose_idle_time_is_over_waits_for_its_snapshot_without_spinning() {
    let (limits, tuning) = (Limits::default(), Tuning::default());
    let mut now = Timestamp(1_000_000);
    let mut effects = Vec::new();
    let mut room = Room::open(now, Loaded::default(), limits.clone(), tuning.clone()).unwrap();
    let update = Bytes::from_static(UPDATE);
    let scan = update::scan(&update, &limits).unwrap();
    let update = Box::new(Scanned { update, scan, frame: None });
    room.handle(
        now,
        Input::Write { request: RequestId(1), author: Box::new(Admission::anonymous(Access::EDITOR)), update },
        &mut effects,
    );
    room.handle_timeout(now, &mut effects);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Append { .. })));
    room.handle(now, Input::Appended { position: LogPosition(1), before: LogPosition::START }, &mut effects);

    effects.clear();
    now = now + tuning.room_idle;
    room.handle_timeout(now, &mut effects);
    let Some(Effect::Compact { parts }) = effects.pop() else { panic!("{effects:?}") };
    assert!(room.poll_timeout() > now, "it compacts");

    let base = compact(&parts, &Limits::default());
    room.handle(now, Input::Compacted { base: Some(base) }, &mut effects);
    assert!(matches!(effects.last(), Some(Effect::Snapshot { .. })));
    room.handle_timeout(now, &mut effects);
    assert!(room.poll_timeout() > now, "it writes a snapshot");

    room.handle(now, Input::Snapshotted { saved: false }, &mut effects);
    room.handle_timeout(now, &mut effects);
    assert!(room.poll_timeout() > now, "it tries again later");

    room.handle(now, Input::Close, &mut effects);
    room.handle_timeout(now, &mut effects);
    assert!(room.poll_timeout() > now, "it tries again later, closing or not");
}
