//! The registry over a real store in memory, a writer and a bus: openers, evictions and failures that race.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::RecordCache;
use crate::allowances::Allowances;
use crate::cluster::local::LocalBus;
use crate::ledger::Ledger;
use crate::outbox::Outbox;
use crate::store::memory::{MemoryStore, Step, Verdict};
use crate::store::writer::{Writer, WriterConfig};
use crate::trace::Traces;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use ydash_proto::access::{Access, Admission};
use ydash_proto::id::MemberId;
use ydash_proto::room::{Dialect, Joining, Scanned};
use ydash_proto::update::{StateVector, scan};

struct House {
    store: MemoryStore,
    registry: Registry,
    metrics: Arc<Metrics>,
}

/// A node without sockets.
fn house() -> House {
    let (store, metrics, tracker) = (MemoryStore::new(), Arc::new(Metrics::new()), TaskTracker::new());
    let writing = WriterConfig { commit_interval: Duration::from_millis(1), ..WriterConfig::default() };
    let writer = Writer::spawn(Arc::new(store.clone()), writing, |_| {}, &tracker);
    let config = RoomsConfig {
        limits: Limits::default(),
        tuning: Tuning::default(),
        memory_max: 64 << 20,
        history: Duration::ZERO,
        drain_spread: Duration::ZERO,
        traces: Traces::default(),
        allowances: Allowances::unlimited(),
        visitors: None,
    };
    let bus = LocalBus::new().node();
    let records = Arc::new(RecordCache::new(false));
    let registry = Registry::new(config, Arc::new(store.clone()), writer, bus, records, Arc::clone(&metrics), tracker);
    House { store, registry, metrics }
}

fn board() -> DashboardId {
    DashboardId::parse("w/board").unwrap()
}

/// What `client` (below 128) writes: one entry of the map `m`.
fn update_of(client: u8) -> Scanned {
    let update = Bytes::copy_from_slice(&[1, 1, client, 0, 0x28, 1, 1, b'm', 1, b'k', 1, 0x7d, 1, 0]);
    let scan = scan(&update, &Limits::default()).unwrap();
    Scanned { update, scan, frame: None }
}

fn anyone() -> Admission {
    Admission::anonymous(Access::EDITOR)
}

/// How many clients a room shows content of.
async fn clients(room: &RoomHandle) -> Result<usize, super::super::handle::Ended> {
    let state = room.read(StateVector::default()).await?;
    Ok(scan(&state, &Limits::default()).unwrap().spans.len())
}

/// Asks the rooms to leave until none is there.
async fn until_empty(registry: &Registry) {
    let empty = async {
        while registry.rooms() > 0 {
            registry.tell_all(|| ToRoom::Leave).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), empty).await.expect("rooms that nobody holds leave when asked to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_open_at_once_share_one_load_and_one_room() {
    let House { store, registry, .. } = house();
    let gate = store.faults().hold(Step::Load);
    let opening: Vec<_> = (0..32)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.open(&board()).await })
        })
        .collect();
    gate.arrived(1).await;
    gate.release();
    let mut rooms = Vec::new();
    for opening in opening {
        rooms.push(opening.await.unwrap().unwrap());
    }
    assert!(rooms.iter().all(|room| Arc::ptr_eq(&room.shared, &rooms[0].shared)));
    assert_eq!((store.faults().passed(Step::Load), registry.rooms()), (1, 1));
}

#[tokio::test]
async fn a_load_that_fails_leaves_nothing_and_the_next_one_opens() {
    let House { store, registry, .. } = house();
    store.faults().fail_loads(1);
    assert!(matches!(registry.open(&board()).await, Err(OpenError::Store(_))));
    assert_eq!(registry.rooms(), 0);
    let room = registry.open(&board()).await.unwrap();
    assert_eq!(clients(&room).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_that_somebody_holds_does_not_leave() {
    let House { store, registry, .. } = house();
    let room = registry.open(&board()).await.unwrap();
    room.write(anyone(), update_of(1)).await.unwrap();
    for _ in 0..100 {
        registry.tell_all(|| ToRoom::Leave).await;
    }
    // Behind all of these in its inbox.
    assert_eq!(clients(&room).await.unwrap(), 1);
    let again = registry.open(&board()).await.unwrap();
    assert!(Arc::ptr_eq(&room.shared, &again.shared));
    assert_eq!(store.faults().passed(Step::Load), 1);
}

/// Somebody who followed a room was told what the one before had been told, and before the room had let it in.
#[tokio::test]
async fn whoever_follows_a_room_is_let_in_first_and_told_where_it_stands_then() {
    let House { registry, metrics, .. } = house();
    let room = registry.open(&board()).await.unwrap();
    let ledger = Ledger::new(1 << 20, Arc::clone(&metrics));
    let follow = async |member, access| {
        let account = ledger.account(IpAddr::from([127, 0, 0, 1]));
        let outbox = Arc::new(Outbox::new(None, Limits::default().outbox(), account, Arc::clone(&metrics)));
        let (member, admission) = (MemberId(member), Admission::anonymous(access));
        let dialect = Dialect::Listening;
        let joining = Joining { member, admission, wants_acks: false, wants_echo: false, dialect };
        room.join_to_follow(joining, outbox).await.unwrap().await.unwrap()
    };
    let first = follow(1, Access::VIEWER).await.expect("let in");
    assert_eq!(first.borrow().updates, 0);
    drop(first);
    room.write(anyone(), update_of(1)).await.unwrap();
    assert!(follow(2, Access::NONE).await.is_none());
    let next = follow(3, Access::VIEWER).await.expect("let in");
    assert_eq!(next.borrow().updates, 1);
    assert_eq!(next.borrow().position, LogPosition(1));
}

/// Of two rooms for one dashboard, one would not show what the other has made durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_opens_while_rooms_leave_finds_everything_that_is_durable() {
    const ROUNDS: u8 = 20;
    const WRITERS: u8 = 6;
    let House { store, registry, .. } = house();
    let evicting = {
        let registry = registry.clone();
        tokio::spawn(async move {
            loop {
                registry.tell_all(|| ToRoom::Leave).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let durable = Arc::new(AtomicU32::new(0));
    for round in 0..ROUNDS {
        let writers = (0..WRITERS).map(|writer| {
            let (registry, durable) = (registry.clone(), Arc::clone(&durable));
            tokio::spawn(async move {
                let expected = durable.load(Ordering::SeqCst);
                // A handle keeps its room: nobody in here may find that it has ended.
                let room = registry.open(&board()).await.unwrap();
                let shown = clients(&room).await.unwrap();
                assert!(shown >= expected as usize, "{shown} of {expected} are shown");
                room.write(anyone(), update_of(1 + round * WRITERS + writer)).await.unwrap();
                durable.fetch_add(1, Ordering::SeqCst);
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        // The room is about to leave, is leaving or is out when the next ones come; every fifth time it is out for certain.
        if round % 5 == 4 {
            until_empty(&registry).await;
        } else {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..5_000))).await;
        }
    }
    evicting.abort();
    assert!(store.faults().passed(Step::Load) >= u64::from(ROUNDS / 5));
    let room = registry.open(&board()).await.unwrap();
    assert_eq!(clients(&room).await.unwrap(), usize::from(ROUNDS * WRITERS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_that_panics_opens_again_once_and_is_quarantined_then_with_its_log_kept() {
    let House { store, registry, metrics } = house();
    store.faults().on_step(|step, dashboard| {
        assert!(!(step == Step::Snapshot && dashboard == Some(&board())), "on purpose");
        Verdict::Proceed
    });
    for attempt in 1..=2 {
        let room = registry.open(&board()).await.unwrap();
        assert_eq!(clients(&room).await.unwrap(), attempt - 1, "what was durable is there again");
        room.write(anyone(), update_of(attempt as u8)).await.unwrap();
        drop(room);
        // It writes a snapshot before it leaves.
        until_empty(&registry).await;
        assert_eq!(metrics.rooms_quarantined.get(), attempt as u64 - 1);
    }
    for _ in 0..3 {
        assert!(matches!(registry.open(&board()).await, Err(OpenError::Quarantined)));
    }
    assert_eq!(registry.rooms(), 0);
    let other = registry.open(&DashboardId::parse("w/other").unwrap()).await.unwrap();
    other.write(anyone(), update_of(1)).await.unwrap();
    assert_eq!(store.log(&board(), LogPosition::START, 10).await.unwrap().len(), 2);
}
