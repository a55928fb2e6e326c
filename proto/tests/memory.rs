//! What a room says that it holds is what it holds, within a fifth: the budget of rooms is made of it.
//!
//! The allocator counts, and rounds as glibc does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ydash_proto::access::{Access, Admission};
use ydash_proto::id::MemberId;
use ydash_proto::lib0::{write_var_bytes, write_var_uint};
use ydash_proto::limits::Limits;
use ydash_proto::room::{Dialect, Effect, Input, Joining, Loaded, Room, Scanned, Tuning};
use ydash_proto::time::Timestamp;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

fn rounded(layout: &Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

#[allow(unsafe_code)]
// SAFETY: everything is the system's allocator's; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(rounded(&layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(rounded(&layout), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ALICE: MemberId = MemberId(1);

/// Content types, and what precedes an item in a root.
const STRING: u8 = 4;
const TYPE: u8 = 7;
const IN_ROOT: [u8; 3] = [1, 1, b'r'];

/// An update of one item a client, and deletions of client 1 of one clock each.
fn an_update(clients: impl ExactSizeIterator<Item = u64>, clock: u64, item: &[u8], deleted: &[u64]) -> Bytes {
    let mut out = Vec::new();
    write_var_uint(&mut out, clients.len() as u64);
    for client in clients {
        write_var_uint(&mut out, 1);
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock);
        out.extend_from_slice(item);
    }
    write_var_uint(&mut out, u64::from(!deleted.is_empty()));
    if !deleted.is_empty() {
        write_var_uint(&mut out, 1);
        write_var_uint(&mut out, deleted.len() as u64);
        for &clock in deleted {
            write_var_uint(&mut out, clock);
            write_var_uint(&mut out, 1);
        }
    }
    out.shrink_to_fit();
    out.into()
}

fn letters(count: usize) -> Vec<u8> {
    let mut item = [&[STRING], &IN_ROOT[..]].concat();
    write_var_bytes(&mut item, &vec![b'x'; count]);
    item
}

/// Opens a room, has a member write `updates`, and compares what it says with what was allocated.
fn check(what: &str, count: u64, update: impl Fn(u64) -> Bytes) {
    let before = HELD.load(Ordering::Relaxed);
    let mut now = Timestamp(1_000_000);
    let mut room = Room::open(now, Loaded::default(), Limits::default(), Tuning::default()).expect("opens");
    let mut effects = Vec::new();
    let joining = Joining {
        member: ALICE,
        admission: Admission::anonymous(Access::EDITOR),
        wants_acks: false,
        wants_echo: false,
        dialect: Dialect::YWebsocket,
    };
    room.handle(now, Input::Joined(Box::new(joining)), &mut effects);
    for bytes in (1..=count).map(update) {
        let scan = ydash_proto::update::scan(&bytes, &Limits::default()).expect("a plausible update");
        let scanned = Box::new(Scanned { update: bytes, scan, frame: None });
        room.handle(now, Input::Update { member: ALICE, update: scanned }, &mut effects);
        now.0 += 1_000;
        room.handle_timeout(now, &mut effects);
        // Everything is durable at once, and no longer waits.
        let appends = effects.iter().filter(|effect| matches!(effect, Effect::Append { .. })).count();
        effects.clear();
        for _ in 0..appends {
            let position = room.position();
            let next = ydash_proto::log::LogPosition(position.0 + 1);
            room.handle(now, Input::Appended { position: next, before: position }, &mut effects);
        }
        effects.clear();
    }
    drop(effects);
    let (held, said) = (HELD.load(Ordering::Relaxed) - before, room.weigh());
    let percent = said * 100 / held;
    assert!((80..=125).contains(&percent), "{what}: says {said}, holds {held}: {percent} %");
}

/// One test, since there is one allocator. Clients were counted at half of what they take, so attackers had twice the budget.
#[test]
fn a_room_knows_what_it_holds() {
    let a_type = [&[TYPE], &IN_ROOT[..], &[0]].concat();
    check("a text", 1, |_| an_update([1].into_iter(), 0, &letters(4 << 20), &[]));
    let ids = |count: u64| (1..=count).rev().collect::<Vec<_>>().into_iter();
    check("clients", 1, |_| an_update(ids(20_000), 0, &a_type, &[]));
    check("clients, one by one", 3_000, |client| an_update([client].into_iter(), 0, &a_type, &[]));
    let parted: Vec<u64> = (0..50_000).map(|at| at * 2).collect();
    check("parted deletions", 1, |_| an_update([1].into_iter(), 0, &letters(100_000), &parted));
}
