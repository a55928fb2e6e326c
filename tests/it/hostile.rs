//! Hostile and broken clients against a whole server: one test for each kind of attack, named by what must happen.
//!
//! The numbers are those of the list in `docs/internals/hostile-input.md`. In every test, two bystanders in the attacked room and two
//! in another one exchange edits all the while: none may take three seconds, none may lose its socket. At the end
//! the process lives, and its log says nothing above INFO.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use ydash_proto::limits::CREATED_ITEMS_MAX;

use crate::support::client::Client;
use crate::support::forge::{self, ANY, DELETED, STRING, TYPE, live, update, var_bytes, var_uint};
use crate::support::node::Node;
use crate::support::peer::{Peer, Raw, WITHIN, masked};

/// What a bystander may at most wait for an edit of the other one: some milliseconds, and the rest is for a debug build on a machine
/// that runs all other tests at the same time. What the attacks did to other servers took longer than this, or never ended.
const NOTICEABLE: Duration = Duration::from_secs(10);

/// The attacked room.
const ROOM: &str = "/attacked";
/// As [`ROOM`], with a message per update that says what became of it.
const ROOM_WITH_ACKS: &str = "/attacked?acks=1";

/// A server with bystanders.
struct Arena {
    node: Node,
    crowd: Vec<JoinHandle<(u32, Duration)>>,
    is_over: Arc<AtomicBool>,
    rss_before: u64,
}

impl Arena {
    async fn open(flags: &[&str]) -> Arena {
        let node = Node::start(flags);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut crowd = Vec::new();
        for (room, id) in [(ROOM, 100), ("/elsewhere", 200)] {
            let pair = [Client::joined(&node, room, id).await, Client::joined(&node, room, id + 1).await];
            crowd.push(tokio::spawn(exchange(pair, Arc::clone(&is_over))));
        }
        let rss_before = node.rss_mib();
        Arena { node, crowd, is_over, rss_before }
    }

    /// Asserts that memory has not grown by more than `mib`.
    fn assert_grown_at_most(&self, mib: u64) {
        let grown = self.node.rss_mib().saturating_sub(self.rss_before);
        assert!(grown <= mib, "memory grew by {grown} MiB");
    }

    /// Asserts that nobody noticed anything.
    async fn close(self) {
        let log = self.close_with_log().await;
        let loud: Vec<_> = log.iter().filter(|line| is_loud(line)).collect();
        assert!(loud.is_empty(), "{loud:#?}");
    }

    /// As [`Arena::close`], for attacks of which an operator is to be told. Returns what was logged.
    async fn close_with_log(mut self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        for pair in self.crowd.drain(..) {
            let (exchanges, slowest) = pair.await.expect("no bystander is disturbed");
            assert!(exchanges > 0 && slowest < NOTICEABLE, "{exchanges} exchanges, the slowest took {slowest:?}");
        }
        assert!(self.node.is_alive());
        let log: Vec<String> = self.node.log().into_iter().filter(|line| !line.starts_with("  ")).collect();
        assert!(log.len() < 50, "a flood of log lines: {:#?}", &log[..50]);
        log
    }
}

fn is_loud(line: &str) -> bool {
    line.contains(" WARN ") || line.contains("ERROR") || line.contains("panicked")
}

/// Two clients take turns until it is over. Returns how often, and the longest that an edit took.
async fn exchange(mut pair: [Client; 2], is_over: Arc<AtomicBool>) -> (u32, Duration) {
    let (mut turns, mut slowest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) || turns == 0 {
        turns += 1;
        let [author, reader] = &mut pair;
        let began = Instant::now();
        author.set("turn", turns.into()).await;
        reader.until(|reader| reader.get("turn") == Some(turns.into())).await;
        slowest = slowest.max(began.elapsed());
        while author.take(Duration::from_millis(5)).await {}
        assert!(author.is_connected());
        pair.swap(0, 1);
    }
    (turns, slowest)
}

/// Sends each frame over a socket of its own and expects a permanent refusal for every one.
async fn all_are_garbage(node: &Node, frames: Vec<Vec<u8>>) {
    let refused = frames.into_iter().enumerate().map(|(at, frame)| async move {
        let mut peer = Peer::open(node, ROOM).await;
        assert!(peer.send(frame).await, "frame {at}");
        peer.ended_for_good(4400).await;
    });
    join_all(refused).await;
}

/// Asserts that a session is still served.
async fn is_served(peer: &mut Peer) {
    peer.send(forge::sync_step1(&[0])).await;
    peer.expect(|frame| frame.starts_with(&[0, 1])).await;
}

/// The ids in an awareness frame, with whether their state is null.
fn announced(frame: &[u8]) -> Vec<(u64, u64, bool)> {
    forge::entries(frame).into_iter().map(|(id, clock, state)| (id, clock, state == "null")).collect()
}

// 1 and 2: bytes that make a decoder recurse or allocate.

#[tokio::test]
async fn hostile_01_values_nested_6250_deep_are_refused_before_they_are_decoded() {
    let arena = Arena::open(&[]).await;
    let nested = update((1, 0), &[forge::in_root("a", ANY, &forge::nested_any(6_250))], &[]);
    let json = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let embed = update((1, 0), &[forge::in_root("a", 5, &var_bytes(&json))], &[]);
    all_are_garbage(&arena.node, vec![live(&nested), forge::sync_step2(&nested), live(&embed)]).await;
    // One state that is no good is dropped; others in the same frame are not.
    let mut peer = Peer::open(&arena.node, ROOM).await;
    peer.send(forge::awareness(&[(1, 1, &json)])).await;
    is_served(&mut peer).await;
    assert_eq!(arena.node.refusals("awareness_limit").await, 1.0);
    arena.close().await;
}

#[tokio::test]
async fn hostile_02_declared_counts_are_held_against_the_bytes_that_remain() {
    let arena = Arena::open(&[]).await;
    let huge = [0xff, 0xff, 0xff, 0x7f];
    let awareness = [vec![1], var_bytes(huge)].concat();
    let mut frames = Vec::new();
    for _ in 0..10 {
        frames.extend([forge::sync_step1(&huge), awareness.clone(), live(&huge), live(&[&[1], &huge[..]].concat())]);
    }
    all_are_garbage(&arena.node, frames).await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

// 3: other people's names.

#[tokio::test]
async fn hostile_03_gc_for_another_users_id_does_not_swallow_their_edits() {
    const VICTIM: u64 = 300;
    let arena = Arena::open(&[]).await;
    let mut victim = Client::joined(&arena.node, ROOM, VICTIM).await;
    let mut witness = Client::joined(&arena.node, ROOM, 301).await;
    victim.set("mine", 1).await;
    witness.until(|witness| witness.get("mine") == Some(1)).await;

    let mut attacker = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    let next = u64::from(victim.clock());
    let forgeries = [
        update((VICTIM, next), &[forge::in_root("board", STRING, &var_bytes("forged"))], &[]),
        update((VICTIM, 0), &[forge::gc(1_000)], &[]),
        update((VICTIM, next), &[forge::gc(1_000)], &[]),
        update((VICTIM, next), &[forge::in_root("board", STRING, &var_bytes("other!"))], &[]),
        update((VICTIM, next), &[forge::in_root("board", DELETED, &var_uint(1_000))], &[]),
        update((VICTIM, next), &[vec![10, 50], forge::gc(1_000)], &[]),
    ];
    for at in 0..60 {
        let forged = &forgeries[at % forgeries.len()];
        attacker.send(if at % 2 == 0 { live(forged) } else { forge::sync_step2(forged) }).await;
    }
    // It is shown the forgeries before they are taken, and answers.
    victim.until(|victim| victim.clock() > next as u32).await;
    let (taken, refused) = attacker.statuses(60).await;
    assert!(taken + refused == 60 && refused > 0, "{taken} were taken, {refused} refused");
    assert!(arena.node.refusals("content_differs").await > 0.0);
    // Yjs takes another id upon structs in its own name; yrs does not.
    let mut victim = Client::joined(&arena.node, ROOM, VICTIM + 5).await;
    victim.until(|victim| victim.get("mine") == Some(1)).await;
    victim.set("mine", 2).await;
    witness.until(|witness| witness.get("mine") == Some(2)).await;
    let mut newcomer = Client::joined(&arena.node, ROOM, 302).await;
    newcomer.until(|newcomer| newcomer.get("mine") == Some(2)).await;
    arena.close().await;
}

// 4 to 6: updates that cost, or break arithmetic.

#[tokio::test]
async fn hostile_04_a_flood_of_updates_behind_holes_is_asked_about_then_ended() {
    let arena = Arena::open(&[]).await;
    let mut attacker = Peer::open(&arena.node, ROOM).await;
    for at in 0..4_000 {
        if !attacker.feed(live(&update((9, 10 + 2 * at), &[forge::gc(1)], &[]))).await {
            break;
        }
    }
    attacker.flush().await;
    attacker.expect(|frame| frame.starts_with(&[0, 0])).await;
    attacker.expect(|frame| frame.starts_with(&[0, 0])).await;
    attacker.ended_for_good(4413).await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_05_run_lengths_of_billions_are_refused() {
    let arena = Arena::open(&[]).await;
    let billions = var_uint(4_000_000_000);
    all_are_garbage(
        &arena.node,
        vec![
            // Structs, deletions, clients and ranges that are not there.
            live(&[&[1][..], &billions, &[1, 0, 0, 1, 0]].concat()),
            live(&[&[0, 1, 1][..], &billions, &[0, 1]].concat()),
            live(&[&[0][..], &billions, &[1, 1, 0, 1]].concat()),
            live(&[&billions[..], &[1, 1, 0, 0, 1, 0]].concat()),
            // Lengths beyond what a clock may be.
            live(&update((1, 0), &[forge::gc(4_000_000_000)], &[])),
            live(&update((1, 0), &[forge::in_root("a", DELETED, &billions)], &[])),
            live(&update((1, 0), &[[vec![10], billions.clone()].concat(), forge::gc(1)], &[])),
            live(&update((1, 0), &[], &[(1, 0, 4_000_000_000)])),
            // An array that declares billions of elements.
            live(&update((1, 0), &[forge::in_root("a", ANY, &[&[1, 117][..], &billions].concat())], &[])),
            live(&update((1, 0), &[forge::in_root("a", ANY, &billions)], &[])),
        ],
    )
    .await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_05_deletions_of_the_longest_length_cost_nothing() {
    const MOST: u64 = (1 << 31) - 2;
    let arena = Arena::open(&[]).await;
    let mut attacker = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    attacker.send(live(&update((9, 0), &[forge::gc(MOST)], &[]))).await;
    attacker.send(live(&update((10, 0), &[forge::in_root("a", DELETED, &var_uint(MOST))], &[]))).await;
    attacker.send(live(&update((11, 0), &[], &[(11, 0, MOST)]))).await;
    assert_eq!(attacker.statuses(2).await, (2, 0), "the third waits for what it deletes");
    assert_eq!(reqwest::get(arena.node.http("/api/dashboards/default/attacked")).await.unwrap().status(), 200);
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_06_clocks_and_ids_out_of_range_are_refused() {
    let arena = Arena::open(&[]).await;
    let far = (1 << 31) - 1;
    all_are_garbage(
        &arena.node,
        vec![
            live(&update((1, far), &[forge::gc(2)], &[])),
            live(&update((1, u64::MAX >> 11), &[forge::gc(1)], &[])),
            live(&update((1 << 53, 0), &[forge::gc(1)], &[])),
            live(&update((1, 0), &[forge::after((1 << 53, 0), STRING, &var_bytes("x"))], &[])),
            live(&update((1, 0), &[], &[(1, far, 2)])),
            forge::sync_step1(&[&[1][..], &var_uint(1 << 53), &[1]].concat()),
            forge::sync_step1(&[&[1, 1][..], &var_uint(1 << 32)].concat()),
            forge::awareness(&[(1 << 53, 1, "{}")]),
            forge::awareness(&[(1, 1 << 33, "{}")]),
            // A varint that never ends.
            live(&[0xff; 64]),
        ],
    )
    .await;
    arena.close().await;
}

// 7: presence.

#[tokio::test]
async fn hostile_07_nobody_speaks_for_the_presence_of_somebody_else() {
    const VICTIM: u64 = 7_000;
    let arena = Arena::open(&[]).await;
    let mut victim = Peer::open(&arena.node, ROOM).await;
    victim.send(forge::awareness(&[(VICTIM, 5, "{\"name\":\"victim\"}")])).await;
    let mut witness = Peer::open(&arena.node, ROOM).await;
    let shows = |frame: &[u8], id: u64| frame[0] == 1 && announced(frame).iter().any(|entry| entry.0 == id);
    witness.expect(|frame| shows(frame, VICTIM)).await;

    let mut attacker = Peer::open(&arena.node, ROOM).await;
    let attacks = [
        forge::awareness(&[(VICTIM, 6, "{\"name\":\"attacker\"}")]),
        forge::awareness(&[(VICTIM, 5, "null")]),
        forge::awareness(&[(VICTIM, 1 << 29, "{}")]),
        forge::awareness(&[(7_001, 1, "{}")]),
        forge::awareness(&[(VICTIM, 5, "null"), (VICTIM, 9, "null"), (7_002, 1, "{\"ghost\":1}")]),
        forge::awareness(&[(7_001, 2, &format!("\"{}\"", "x".repeat(1 << 20)))]),
    ];
    for attack in attacks {
        attacker.send(attack).await;
    }
    // The victim is asked whether it still lives, and its browser answers.
    assert!(victim.next_within(Duration::from_secs(1)).await.is_some());
    is_served(&mut victim).await;
    // The state of a megabyte.
    arena.node.until_metric("ydash_refusals_total{reason=\"awareness_limit\"}", |dropped| dropped >= 1.0).await;
    // Nothing proves an id, so the attacker is shown under it for a moment; but the victim's next move is.
    victim.send(forge::awareness(&[(VICTIM, 6, "{\"name\":\"still me\"}")])).await;
    let shows_me = |frame: &[u8]| frame[0] == 1 && String::from_utf8_lossy(frame).contains("still me");
    let nudge = victim.expect(|frame| shows(frame, VICTIM)).await;
    let (_, clock, is_null) = announced(&nudge)[0];
    assert!(is_null && clock >= 5, "{nudge:?}");
    victim.send(forge::awareness(&[(VICTIM, clock + 1, "{\"name\":\"still me\"}")])).await;
    witness.expect(shows_me).await;
    drop(attacker);
    is_served(&mut victim).await;
    arena.close().await;
}

#[tokio::test]
async fn hostile_07_a_thousand_ghosts_are_bounded_and_expire_with_nobody_to_renew_them() {
    let arena = Arena::open(&[]).await;
    let mut attacker = Peer::open(&arena.node, ROOM).await;
    let state = format!("\"{}\"", "x".repeat(4_000));
    for round in 1..20 {
        let ghosts: Vec<(u64, u64, &str)> = (0..1_000).map(|ghost| (50_000 + ghost, round, state.as_str())).collect();
        attacker.send(forge::awareness(&ghosts)).await;
    }
    let ghosts: Vec<(u64, u64, &str)> = (0..3_000).map(|ghost| (90_000 + ghost, 1, "{}")).collect();
    attacker.send(forge::awareness(&ghosts)).await;
    arena.node.until_metric("ydash_refusals_total{reason=\"awareness_limit\"}", |dropped| dropped >= 2_000.0).await;
    // Their states together are larger than an outbox: who overflowed by them is told the difference once, not for ever.
    let resyncs = arena.node.metric("ydash_resyncs_total").await;
    assert!(resyncs < 100.0, "{resyncs} resyncs");
    arena.assert_grown_at_most(96);
    arena.close().await;
}

// 8: framing.

#[tokio::test]
async fn hostile_08_text_is_refused_with_1003() {
    let arena = Arena::open(&[]).await;
    let mut peer = Peer::open(&arena.node, ROOM).await;
    peer.socket.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(peer.ended().await.code, 1003);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_empty_frames_and_trailing_bytes_are_garbage() {
    let arena = Arena::open(&[]).await;
    let letters = forge::letters(1, 0, 3);
    all_are_garbage(
        &arena.node,
        vec![
            vec![],
            vec![0],
            vec![0, 3, 0],
            vec![3, 3],
            [forge::sync_step1(&[0]), vec![0]].concat(),
            [forge::sync_step1(&[0]), forge::awareness(&[])].concat(),
            [live(&letters), live(&letters)].concat(),
            live(&[letters, vec![0]].concat()),
            vec![0, 2, 200, 1, 1],
        ],
    )
    .await;
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_unknown_message_types_are_ignored() {
    let arena = Arena::open(&[]).await;
    let mut peer = Peer::open(&arena.node, ROOM).await;
    for frame in [vec![4], vec![9, 1, 2, 3], vec![10], [var_uint(1 << 40), vec![7]].concat(), vec![8, 1]] {
        peer.send(frame).await;
    }
    peer.send(vec![2, 0, 1, b'x']).await;
    is_served(&mut peer).await;
    assert_eq!(arena.node.refusals("unknown_message").await, 5.0);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_broken_framing_is_answered_with_its_close_code() {
    let arena = Arena::open(&[]).await;
    let gigabyte = [&[0x82, 0xff][..], &(1_u64 << 30).to_be_bytes(), &[0; 4]].concat();
    let endless = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let begun = masked(0x02, b"x");
    let cases = [
        (gigabyte, 1009),
        (endless, 1002),
        (vec![0x82, 1, 3], 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0xa2, b"\x03"), 1002),
        (masked(0xc2, b"\x03"), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x09, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        ([begun.clone(), begun.clone()].concat(), 1002),
        ([begun, masked(0x00, b"").repeat(1_000)].concat(), 1002),
        (masked(0x88, &[3]), 1002),
        (masked(0x88, &1005_u16.to_be_bytes()), 1002),
        (masked(0x88, &[3, 0xe8, 0xff]), 1007),
        (masked(0x88, &[3, 0xe8]), 1000),
    ];
    let node = &arena.node;
    let refused = cases.into_iter().enumerate().map(|(at, (bytes, code))| async move {
        let mut raw = Raw::open(node, ROOM).await;
        raw.io.write_all(&bytes).await.unwrap();
        let got = raw.close_code().await;
        // RFC 6455 allows either for a length with its highest bit set.
        assert!(got == code || at == 1 && got == 1009, "case {at}: {got}");
    });
    join_all(refused).await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_a_message_in_fifty_thousand_fragments_costs_its_bytes() {
    let arena = Arena::open(&[]).await;
    let mut raw = Raw::open(&arena.node, ROOM_WITH_ACKS).await;
    let message = live(&forge::letters(9, 0, 50_000));
    let mut bytes = masked(0x02, &message[..1]);
    message[1..].iter().for_each(|byte| bytes.extend(masked(0x00, &[*byte])));
    bytes.extend(masked(0x80, b""));
    raw.io.write_all(&bytes).await.unwrap();
    let state = async {
        while arena.node.state("default/attacked").await.len() < 50_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), state).await.expect("the message is put together");
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_ten_thousand_frames_in_one_packet_are_read_one_by_one() {
    let arena = Arena::open(&["--session-message-burst=30000"]).await;
    let mut attacker = Peer::open(&arena.node, ROOM).await;
    for _ in 0..10_000 {
        attacker.feed(vec![100]).await;
    }
    for at in 0..10_000_u64 {
        attacker.feed(forge::awareness(&[(9, at, "{}")])).await;
    }
    attacker.flush().await;
    is_served(&mut attacker).await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

/// An author that sets 10,000 keys in a transaction each waited 10 s for its rate, and its cursor with it.
#[tokio::test]
async fn ten_thousand_small_edits_at_once_are_not_slowed_down_and_presence_is_counted_apart() {
    let arena = Arena::open(&[]).await;
    let mut author = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    for at in 0..9_990 {
        author.feed(live(&forge::letters(9, at, 1))).await;
    }
    for at in 1..1_000 {
        author.feed(forge::awareness(&[(9, at, "{}")])).await;
    }
    author.flush().await;
    assert_eq!(author.statuses(9_990).await, (9_990, 0));
    is_served(&mut author).await;
    assert_eq!(arena.node.refusals("rate").await, 0.0);
    arena.close().await;

    let arena = Arena::open(&["--session-message-rate=1", "--session-message-burst=20"]).await;
    let mut author = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    for at in 0..10 {
        author.send(live(&forge::letters(9, at, 1))).await;
    }
    for at in 1..20 {
        author.send(forge::awareness(&[(9, at, "{}")])).await;
    }
    assert_eq!(author.statuses(10).await, (10, 0));
    assert_eq!(arena.node.refusals("rate").await, 0.0);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08_a_flood_of_pings_is_slowed_down_and_answered_by_the_newest() {
    let arena = Arena::open(&[]).await;
    let mut attacker = Raw::open(&arena.node, ROOM).await;
    // Nothing is read. Beyond its burst, the session's socket is read at its rate.
    let flood = masked(0x89, &[7; 125]).repeat(100_000);
    let _ = tokio::time::timeout(Duration::from_secs(3), attacker.io.write_all(&flood)).await;
    arena.assert_grown_at_most(24);
    drop(attacker);
    arena.close().await;
}

// 8a to 8c: holes, version 2, nesting.

#[tokio::test]
async fn hostile_08a_what_lies_behind_a_hole_is_shown_to_nobody_until_it_is_filled() {
    let arena = Arena::open(&[]).await;
    let mut author = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    let mut witness = Client::joined(&arena.node, ROOM, 301).await;
    author.expect(|frame| frame.starts_with(&[0, 0])).await;
    let first = forge::letters(9, 0, 3);
    author.send(live(&forge::letters(9, 5, 2))).await;
    author.send(live(&forge::letters(9, 3, 2))).await;
    author.send(live(&update((8, 0), &[forge::after((9, 6), STRING, &var_bytes("!"))], &[(9, 0, 1)]))).await;
    author.expect(|frame| frame.starts_with(&[0, 0])).await;
    is_served(&mut author).await;
    witness.take_for(Duration::from_millis(300)).await;
    assert_eq!(witness.clock_of(9), 0);
    author.send(forge::sync_step2(&first)).await;
    assert_eq!(author.statuses(4).await, (4, 0));
    witness.until(|witness| witness.clock_of(8) == 1).await;
    assert_eq!(witness.clock_of(9), 7);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08b_updates_in_version_2_are_never_decoded() {
    let arena = Arena::open(&[]).await;
    let written = {
        let client = Client::new(9);
        let board = client.doc.get_or_insert_map("board");
        let mut txn = yrs::Transact::transact_mut(&client.doc);
        yrs::Map::insert(&board, &mut txn, "key", 1);
        txn.encode_update_v2()
    };
    // Eleven columns, of which one says "0, 2^31 times".
    let bomb = [&[0, 0, 6, 0][..], &var_uint((1 << 31) - 1), &[0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]].concat();
    all_are_garbage(&arena.node, vec![live(&written), forge::sync_step2(&written), live(&bomb)]).await;
    arena.assert_grown_at_most(16);
    arena.close().await;
}

#[tokio::test]
async fn hostile_08c_shared_types_nested_10000_deep_are_refused_and_the_author_stays() {
    let arena = Arena::open(&[]).await;
    let mut attacker = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    let chain = |client: u64, depth: u64| {
        let root = forge::in_root("deep", TYPE, &[0]);
        let nested = (1..depth).map(|at| forge::inside((client, at - 1), TYPE, &[0]));
        let structs: Vec<Vec<u8>> = core::iter::once(root).chain(nested).collect();
        update((client, 0), &structs, &[(client, 0, 1)])
    };
    attacker.send(live(&chain(9, 10_000))).await;
    assert_eq!(attacker.statuses(1).await, (0, 1));
    attacker.send(live(&chain(10, 120))).await;
    assert_eq!(attacker.statuses(1).await, (1, 0));
    assert_eq!(reqwest::get(arena.node.http("/api/dashboards/default/attacked")).await.unwrap().status(), 200);
    is_served(&mut attacker).await;
    arena.close().await;
}

// 10: storms, slow readers, crowds.

#[tokio::test]
async fn hostile_10_a_reconnect_storm_is_turned_away_by_its_address_budget() {
    let arena = Arena::open(&["--address-join-rate=20", "--address-join-burst=100"]).await;
    let (mut served, mut refused) = (0, 0);
    for _ in 0..20 {
        let attempts = (0..25).map(|_| tokio_tungstenite::connect_async(arena.node.ws(ROOM)));
        for attempt in join_all(attempts).await {
            match attempt {
                Ok(_) => served += 1,
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                    assert_eq!(answer.status(), 503);
                    assert!(answer.headers().contains_key("retry-after"));
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(served >= 90 && refused >= 200, "{served} served, {refused} refused");
    arena.assert_grown_at_most(24);
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_reader_that_does_not_read_costs_its_outbox_and_loses_nothing() {
    let arena = Arena::open(&["--outbox-bytes-max=256KiB"]).await;
    let mut slow = Client::new(301);
    slow.begin(Peer::open_narrow(&arena.node, "/busy").await).await;
    slow.until(|slow| slow.is_synced).await;
    let mut author = Peer::open(&arena.node, "/busy?acks=1").await;
    let (edits, size) = (60, 200 << 10);
    for at in 0..edits {
        // One by one, so that each is a frame of its own.
        author.send(live(&forge::letters(9, at * size as u64, size))).await;
        assert_eq!(author.statuses(1).await, (1, 0));
    }
    // The document is 12 MB: in memory, in the store's buffers, and encoded.
    arena.assert_grown_at_most(120);
    slow.until(|slow| slow.clock_of(9) == edits as u32 * size as u32).await;
    let resyncs = arena.node.metric("ydash_resyncs_total").await;
    assert!(resyncs >= 1.0, "{resyncs}");
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_asking_for_states_without_reading_them_neither_piles_up_nor_blocks_the_room() {
    let arena = Arena::open(&[]).await;
    let mut author = Peer::open(&arena.node, ROOM_WITH_ACKS).await;
    author.send(live(&forge::letters(9, 0, 4 << 20))).await;
    author.statuses(1).await;
    let rss_before = arena.node.rss_mib();
    let mut attacker = Raw::open(&arena.node, ROOM).await;
    for at in 1..2_000_u64 {
        // Each has something else, so nothing can be shared.
        let have = [vec![1], var_uint(9), var_uint(at)].concat();
        attacker.io.write_all(&masked(0x82, &forge::sync_step1(&have))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let grown = arena.node.rss_mib().saturating_sub(rss_before);
    assert!(grown < 100, "memory grew by {grown} MiB");
    drop(attacker);
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_half_open_socket_hands_its_client_id_over() {
    const ID: u64 = 400;
    let arena = Arena::open(&[]).await;
    // It has announced itself and answers nothing any more, not even pings.
    let mut gone = Raw::open(&arena.node, ROOM).await;
    gone.io.write_all(&masked(0x82, &forge::awareness(&[(ID, 1, "{}")]))).await.unwrap();
    let mut witness = Client::joined(&arena.node, ROOM, 301).await;
    let began = Instant::now();
    let mut back = Client::joined(&arena.node, ROOM, ID).await;
    back.set("back", 1).await;
    let both = async {
        tokio::select! {
            () = witness.until(|witness| witness.get("back") == Some(1)) => {}
            () = async { loop { back.take(Duration::from_secs(1)).await; } } => {}
        }
    };
    both.await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(gone);
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_two_thousand_rooms_from_one_address_cost_little_and_go() {
    let arena = Arena::open(&["--room-idle=1s"]).await;
    let node = &arena.node;
    let mut sockets: Vec<Raw> = Vec::new();
    // In waves: a test has one thread, and would take long from connecting to its handshakes.
    for wave in 0..10 {
        let paths: Vec<String> = (0..200).map(|at| format!("/crowd-{}", wave * 200 + at)).collect();
        sockets.extend(join_all(paths.iter().map(|path| Raw::open(node, path))).await);
    }
    // A handshake is answered before its room is there.
    node.until_metric("ydash_rooms", |rooms| rooms == 2_002.0).await;
    arena.assert_grown_at_most(64);
    drop(sockets);
    node.until_metric("ydash_rooms", |rooms| rooms == 2.0).await;
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_sessions_beyond_the_bound_of_an_address_get_503() {
    let arena = Arena::open(&["--sessions-per-address-max=50"]).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        match tokio_tungstenite::connect_async(arena.node.ws(ROOM)).await {
            Ok((socket, _)) => held.push(socket),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                assert_eq!(answer.status(), 503);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((held.len(), refused), (46, 54), "four are the bystanders'");
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_full_room_turns_newcomers_away_and_keeps_its_members() {
    let arena = Arena::open(&["--members-max=10"]).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut peer = Peer::open(&arena.node, ROOM).await;
        is_served(&mut peer).await; // It has its place before somebody else asks for one.
        held.push(peer);
    }
    for _ in 0..5 {
        let mut late = Peer::open(&arena.node, ROOM).await;
        assert_eq!(late.ended().await.code, 1013);
    }
    arena.node.until_metric("ydash_refusals_total{reason=\"member_limit\"}", |refused| refused == 5.0).await;
    is_served(&mut held[0]).await;
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_refused_session_that_stays_is_not_served_any_more() {
    let arena = Arena::open(&["--members-max=3"]).await;
    let mut last = Peer::open(&arena.node, ROOM).await;
    is_served(&mut last).await;
    // It ignores the close frame and goes on talking; its place is given back all the same.
    let mut ignoring = Raw::open(&arena.node, ROOM).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..20 {
        let _ = ignoring.io.write_all(&masked(0x82, &forge::sync_step1(&[0]))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left = async {
        while arena.node.metric("ydash_sessions").await > 5.0 {
            let _ = ignoring.io.write_all(&masked(0x89, b"")).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(14), left).await.expect("its place is given back");
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_document_at_its_bound_takes_no_more_and_others_are_not_affected() {
    let arena = Arena::open(&["--document-bytes-max=1MiB", "--frame-bytes-max=512KiB"]).await;
    let mut attacker = Peer::open(&arena.node, "/full?acks=1").await;
    let size = 100 << 10;
    for at in 0..20 {
        attacker.send(live(&forge::letters(9, at * size, size as usize))).await;
    }
    let (saved, refused) = attacker.statuses(20).await;
    assert!(saved == 10 && refused == 10, "{saved} saved, {refused} refused");
    assert!(arena.node.refusals("document_too_large").await >= 1.0);
    assert!(arena.node.state("default/full").await.len() <= 1 << 20);
    is_served(&mut attacker).await;
    arena.close().await;
}

/// Thirty sockets with 1.3 MB each once filled the memory of all rooms: who came later could open no other dashboard.
#[tokio::test]
async fn hostile_11_rooms_over_their_share_take_no_more_and_newcomers_open_theirs() {
    let arena = Arena::open(&["--memory-max=64MiB", "--room-memory=16MiB"]).await;
    let mut hogs = Vec::new();
    for room in 0..8 {
        let mut hog = Peer::open(&arena.node, &format!("/hog-{room}?acks=1")).await;
        let (mut saved, mut refused) = (0, 0);
        for at in 0..4 {
            hog.send(live(&forge::letters(9, at << 20, 1 << 20))).await;
            let (one_saved, one_refused) = hog.statuses(1).await;
            (saved, refused) = (saved + one_saved, refused + one_refused);
        }
        hogs.push((hog, saved, refused));
    }
    let (saved, refused): (usize, usize) =
        hogs.iter().fold((0, 0), |(saved, refused), (_, more, less)| (saved + more, refused + less));
    // Three quarters of 16 MiB are for one address.
    assert!((6..=14).contains(&saved) && refused >= 16, "{saved} MiB saved, {refused} MiB refused");
    assert!(arena.node.refusals("memory").await >= 1.0);
    arena.node.until_metric("ydash_memory_bytes{kind=\"rooms\"}", |bytes| bytes <= f64::from(15 << 20)).await;
    for newcomer in 0..10 {
        let mut peer = Peer::open(&arena.node, &format!("/newcomer-{newcomer}?acks=1")).await;
        is_served(&mut peer).await;
    }
    // Who is refused stays, and may delete.
    let (hog, ..) = hogs.last_mut().unwrap();
    is_served(hog).await;
    arena.close().await;
}

/// A hundred sockets with a message each that lacks its last byte once took 1.6 GiB, and kept it.
#[tokio::test]
async fn hostile_10_messages_that_do_not_end_leave_memory_for_others() {
    let arena = Arena::open(&["--memory-max=64MiB", "--room-memory=32MiB"]).await;
    // All from one address: 24 MiB of 32 are for it.
    let frame = masked(0x82, &forge::sync_step2(&forge::letters(9, 0, 2 << 20)));
    let mut hogs = Vec::new();
    for _ in 0..40 {
        let mut hog = Raw::open(&arena.node, "/hogged").await;
        let part = frame[..frame.len() - 1].to_vec();
        hogs.push(tokio::spawn(async move {
            let _ = hog.io.write_all(&part).await; // It may be closed before.
            let _ = hog.io.read_to_end(&mut Vec::new()).await;
        }));
    }
    let messages = "ydash_memory_bytes{kind=\"messages\"}";
    arena.node.until_metric(messages, |bytes| bytes > f64::from(16 << 20)).await;
    arena.assert_grown_at_most(96);
    // Some find no memory, the others make no progress.
    for reason in ["memory", "slow"] {
        let refused = format!("ydash_refusals_total{{reason=\"{reason}\"}}");
        arena.node.until_metric(&refused, |refused| refused >= 1.0).await;
    }
    // But for one that may have come last.
    arena.node.until_metric(messages, |bytes| bytes < f64::from(4 << 20)).await;
    hogs.iter().for_each(JoinHandle::abort);
    arena.close().await;
}

/// A paste of 20 MiB was closed with 1009, sent again, and so on for ever.
#[tokio::test]
async fn hostile_10_what_a_document_may_hold_arrives_at_once_and_what_it_may_not_is_refused_once() {
    let arena = Arena::open(&[]).await;
    let mut author = Peer::open(&arena.node, "/pasted?acks=1").await;
    author.send(live(&forge::letters(9, 0, 20 << 20))).await;
    assert_eq!(author.statuses(1).await, (1, 0));
    drop(author);
    let arena_of_small = Arena::open(&["--document-bytes-max=1MiB"]).await;
    let mut author = Peer::open(&arena_of_small.node, "/pasted?acks=1").await;
    author.send(live(&forge::letters(9, 0, 2 << 20))).await;
    let told = author.expect(|frame| frame.starts_with(&[2, 0])).await;
    assert!(String::from_utf8_lossy(&told).contains("frame-bytes-max"));
    // What builds on it is not taken either, and it is not asked for each time.
    for at in 0..20 {
        author.send(live(&forge::letters(9, (2 << 20) + at, 1))).await;
    }
    is_served(&mut author).await;
    arena_of_small.close().await;
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_compressed_bombs_are_bounded_by_what_they_inflate_to() {
    let zeros = ydash::compress::deflate_raw(&vec![0; 96 << 20], 9);
    assert!(zeros.len() < 1 << 20);
    let inflated = forge::sync_step2(&forge::letters(9, 0, 900 << 10));
    let small = masked(0xc2, &ydash::compress::deflate_raw(&inflated, 9));
    let arena =
        Arena::open(&["--frame-bytes-max=1MiB", "--session-byte-burst=4MiB", "--session-byte-rate=64KiB"]).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut bomb = Raw::open_with(&arena.node, ROOM, offer).await;
    bomb.io.write_all(&masked(0xc2, &zeros)).await.unwrap();
    bomb.io.write_all(&masked(0x88, &[3, 0xe8])).await.unwrap();
    assert_eq!(bomb.close_code().await, 1000, "what inflates to too much is passed over");
    assert_eq!(arena.node.refusals("frame_too_large").await, 1.0);
    arena.assert_grown_at_most(48);

    // Within the bound of a frame, and some kilobytes in all, but 7 MiB when they are inflated: the rate counts those.
    assert_eq!(arena.node.refusals("rate").await, 0.0);
    let mut many = Raw::open_with(&arena.node, "/bombed", offer).await;
    let bombs = small.repeat(8);
    assert!(bombs.len() < 64 << 10);
    many.io.write_all(&bombs).await.unwrap();
    arena.node.until_metric("ydash_refusals_total{reason=\"rate\"}", |slowed| slowed >= 1.0).await;
    arena.assert_grown_at_most(48);
    drop(many);
    arena.close().await;
}

#[tokio::test]
async fn hostile_10_a_large_state_vector_is_read_and_answered() {
    let arena = Arena::open(&[]).await;
    let mut peer = Peer::open(&arena.node, ROOM).await;
    let clients = 100_000_u64;
    let mut have = var_uint(clients);
    (0..clients).rev().for_each(|client| have.extend([var_uint(1_000 + client), vec![1]].concat()));
    for _ in 0..5 {
        peer.send(forge::sync_step1(&have)).await;
    }
    // Answers that are not read yet are joined into one.
    peer.expect(|frame| frame.starts_with(&[0, 1])).await;
    is_served(&mut peer).await;
    arena.assert_grown_at_most(96);
    arena.close().await;
}

// 11: names.

#[tokio::test]
async fn hostile_11_names_that_play_tricks_are_refused_alike_in_every_form() {
    let arena = Arena::open(&[]).await;
    let long = "x".repeat(10_000);
    let names = ["", "..", "%2e%2e", "a/../b", "a/%2e", "a%00b", "%ff", "a%0ab", "a%c2%85b", &long];
    let paths = names.iter().flat_map(|name| [format!("/{name}"), format!("/ws/{name}"), format!("/ws/acme/x/{name}")]);
    let paths = paths.filter(|path| path != "/ws/acme/x/");
    let reserved = ["~somebody-else", "%7Esomebody-else", "@approvals"];
    let reserved = reserved.iter().flat_map(|name| [format!("/{name}"), format!("/ws/acme/{name}")]);
    let workspaces = ["/ws/%2e%2e/a", "/ws/./a"].map(str::to_owned);
    let node = &arena.node;
    let refusals = paths.map(|path| (path, 4404)).chain(reserved.map(|path| (path, 4403)));
    let refusals = refusals.chain(workspaces.map(|path| (path, 4404))).map(|(path, code)| async move {
        let mut peer = Peer::open(node, &path).await;
        peer.send(forge::sync_step1(&[0])).await;
        peer.send(live(&forge::letters(9, 0, 1))).await;
        peer.ended_for_good(code).await;
    });
    join_all(refusals).await;
    for name in names.iter().filter(|name| !name.is_empty() && **name != ".." && **name != "%2e%2e") {
        if name.contains("..") || name.contains("%2e") {
            continue; // The client resolves it before it asks.
        }
        for path in [format!("/api/dashboards/default/{name}"), format!("/api/dashboards/default/{name}/state")] {
            let answer = reqwest::get(node.http(&path)).await.unwrap();
            assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
        }
    }
    assert_eq!(node.metric("ydash_rooms").await, 2.0, "no room was opened for any of them");
    arena.close().await;
}

/// Whoever looks names up as properties of a JavaScript object finds something under these; here nobody does.
#[tokio::test]
async fn hostile_11_words_that_objects_inherit_are_names_like_any_other() {
    let arena = Arena::open(&[]).await;
    for (at, word) in ["__proto__", "constructor", "prototype", "toString"].into_iter().enumerate() {
        let mut peer = Peer::open(&arena.node, &format!("/ws/{word}/{word}?acks=1")).await;
        peer.send(live(&forge::letters(9, 0, at + 1))).await;
        assert_eq!(peer.statuses(1).await, (1, 0));
        let json: serde_json::Value = reqwest::get(arena.node.http(&format!("/api/dashboards/{word}/{word}")))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(json, serde_json::json!({ "text": "x".repeat(at + 1) }));
    }
    arena.close().await;
}

// 14: viewers.

#[tokio::test]
async fn hostile_14_what_a_viewer_sends_is_dropped_and_counted_and_the_viewer_stays() {
    let node = Node::start(&["--anonymous-access=read-only"]);
    let mut viewer = Peer::open(&node, ROOM_WITH_ACKS).await;
    let mut witness = Client::joined(&node, ROOM, 301).await;
    viewer.send(forge::awareness(&[(9, 1, "{\"name\":\"viewer\"}")])).await;
    viewer.send(forge::sync_step2(&[0, 0])).await;
    viewer.send(live(&forge::letters(9, 0, 3))).await;
    viewer.send(forge::sync_step2(&forge::letters(9, 0, 3))).await;
    assert_eq!(viewer.statuses(3).await, (1, 2), "nothing new is no offence");
    is_served(&mut viewer).await;
    witness.take_for(Duration::from_millis(300)).await;
    assert_eq!(witness.clock(), 0);
    assert_eq!(node.state("default/attacked").await, [0, 0]);
    assert_eq!(node.refusals("read_only").await, 2.0);
    let mut node = node;
    assert!(node.is_alive());
}

// 9: content that costs its readers.

/// yrs 0.28.1 reads the second item of the first one for ever: two dashboards of it took JSON from everybody until a restart.
#[tokio::test]
async fn hostile_09_characters_in_an_array_keep_no_reader_busy() {
    let arena = Arena::open(&[]).await;
    let array = [forge::in_root("a", TYPE, &[0]), forge::inside((1, 0), STRING, &var_bytes("😀"))];
    let mixed = [forge::in_root("a", STRING, &var_bytes("😀")), forge::after((1, 1), ANY, &[1, 125, 1])];
    let dashboards = [(array, "{\"a\":[[\"😀\"]]}"), (mixed, "{\"a\":\"😀\"}")];
    for (at, (structs, shown)) in dashboards.iter().cycle().take(8).enumerate() {
        let mut attacker = Peer::open(&arena.node, &format!("/odd-{at}?acks=1")).await;
        attacker.send(live(&update((1, 0), structs, &[]))).await;
        assert_eq!(attacker.statuses(1).await, (1, 0));
        let answer = reqwest::get(arena.node.http(&format!("/api/dashboards/default/odd-{at}"))).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, *shown));
    }
    assert_eq!(reqwest::get(arena.node.http("/api/dashboards/default/elsewhere")).await.unwrap().status(), 200);
    arena.close().await;
}

/// Content that costs whoever puts its items in order: yrs some days, if it were asked.
#[tokio::test]
async fn hostile_09_content_that_all_conflicts_costs_nobody_else_anything() {
    // Every item conflicts with all before it: each of 20,000 is compared with up to 40,000 others. Clients of the same
    // document suffer by it; why that is not bounded is said in docs/internals/conflicts.md.
    let count = 20_000;
    let value = [1, 126];
    let mut structs = vec![forge::in_root("t", ANY, &value)];
    structs.extend((1..count).map(|at| forge::after((9, at - 1), ANY, &value)));
    structs.extend((0..count).map(|at| forge::before((9, count - 1 - at), ANY, &value)));
    let bomb = live(&update((9, 0), &structs, &[]));
    let arena = Arena::open(&["--snapshot-bytes=4KiB", "--snapshot-interval=1s"]).await;
    let mut attacker = Peer::open(&arena.node, "/bombed?acks=1").await;
    attacker.send(bomb).await;
    assert_eq!(attacker.statuses(1).await, (1, 0));
    // A debug build may take longer than anybody waits for a turn.
    let json = || reqwest::get(arena.node.http("/api/dashboards/default/bombed"));
    for answer in join_all((0..20).map(|_| json())).await {
        assert!(matches!(answer.unwrap().status().as_u16(), 500 | 503));
    }
    while json().await.unwrap().status() != 500 {}
    arena.node.until_metric("ydash_snapshots_total", |kept| kept >= 2.0).await;
    let mut newcomer = Peer::open(&arena.node, "/bombed").await;
    is_served(&mut newcomer).await;
    assert_eq!(reqwest::get(arena.node.http("/api/dashboards/default/elsewhere")).await.unwrap().status(), 200);
    arena.close().await;
}

/// In yrs 0.28.1, which joins such items from the last to the first, this takes 24 GiB, and the process with it.
#[tokio::test]
async fn hostile_09_letters_typed_one_by_one_cost_a_compaction_their_bytes() {
    let count = 400_000;
    let mut structs = vec![forge::in_root("t", STRING, &var_bytes("x"))];
    structs.extend((1..count).map(|at| forge::after((9, at - 1), STRING, &var_bytes("x"))));
    let letters = live(&update((9, 0), &structs, &[]));
    let arena = Arena::open(&[]).await;
    let mut author = Peer::open(&arena.node, "/typed?acks=1").await;
    author.send(letters).await;
    assert_eq!(author.statuses(1).await, (1, 0));
    arena.node.until_metric("ydash_compactions_total", |done| done >= 1.0).await;
    let compacted = async {
        while arena.node.state("default/typed").await.len() > count as usize + 100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), compacted).await.expect("the letters become one item");
    arena.assert_grown_at_most(200);
    arena.close().await;
}

/// Forty KB of it, written by yrs 0.28.1 number by number, took 19 s and 7.4 GB; its runs, from the last to the first, take their bytes.
#[tokio::test]
async fn hostile_09_a_dashboard_created_from_long_lists_costs_its_bytes() {
    let arena = Arena::open(&[]).await;
    for (at, element) in ["1", "{}", "[1]"].into_iter().enumerate() {
        let json = format!("{{\"a\":[{}null]}}", format!("{element},").repeat(99_000));
        let url = arena.node.http(&format!("/api/dashboards/default/listed-{at}"));
        let created = reqwest::Client::new().put(&url).body(json.clone()).send().await.unwrap();
        assert_eq!(created.status(), 201, "{element}");
        assert_eq!(reqwest::get(&url).await.unwrap().text().await.unwrap(), json);
    }
    let json = format!("{{\"a\":[{}null]}}", "[1],".repeat(CREATED_ITEMS_MAX / 2));
    let url = arena.node.http("/api/dashboards/default/too-many");
    let refused = reqwest::Client::new().put(&url).body(json).send().await.unwrap();
    assert_eq!(refused.status(), 422);
    let why: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(why["error"], "document_limit");
    let named = format!("at most {CREATED_ITEMS_MAX} (create-items-max)");
    assert!(why["message"].as_str().unwrap().contains(&named), "{why}");
    arena.assert_grown_at_most(200);
    arena.close().await;
}

/// Forty dashboards that took as many steps as JSON may, asked for four times a second: everybody's GET and PUT took ten seconds.
#[tokio::test]
async fn hostile_09_a_document_that_is_dear_as_json_is_read_once_and_keeps_nobody_waiting() {
    // About 2^21 steps: more than a quick reading may take, and less than is given up.
    let count = 2_000;
    let value = [1, 126];
    let mut structs = vec![forge::in_root("t", ANY, &value)];
    structs.extend((1..count).map(|at| forge::after((9, at - 1), ANY, &value)));
    structs.extend((0..count).map(|at| forge::before((9, count - 1 - at), ANY, &value)));
    let arena = Arena::open(&[]).await;
    let mut attacker = Peer::open(&arena.node, "/dear?acks=1").await;
    attacker.send(live(&update((9, 0), &structs, &[]))).await;
    assert_eq!(attacker.statuses(1).await, (1, 0));
    let dear = || reqwest::get(arena.node.http("/api/dashboards/default/dear"));
    for answer in join_all((0..20).map(|_| dear())).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    let read = arena.node.metric("ydash_documents_read_total").await;
    for answer in join_all((0..100).map(|_| dear())).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(arena.node.metric("ydash_documents_read_total").await, read, "it is remembered");
    attacker.send(live(&update((9, 2 * count), &[forge::in_root("u", ANY, &value)], &[]))).await;
    assert_eq!(attacker.statuses(1).await, (1, 0));
    assert!(dear().await.unwrap().text().await.unwrap().contains("\"u\""), "until it changes");
    let put = reqwest::Client::new().put(arena.node.http("/api/dashboards/default/made")).body("{\"a\":{\"b\":1}}");
    assert_eq!(put.send().await.unwrap().status(), 201);
    arena.close().await;
}

// 10: connections.

async fn raw(node: &Node) -> TcpStream {
    TcpStream::connect(node.address).await.unwrap()
}

/// Sends a request and reads what is answered until the connection ends, or for as long as a head takes.
async fn ask(node: &Node, path: &str) -> String {
    let mut socket = raw(node).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if socket.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut answer = Vec::new();
    // A connection that was cut is an answer, too.
    let _ = tokio::time::timeout(WITHIN, socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The bound counted sessions and other connections together: one address held 10,256.
#[tokio::test]
async fn hostile_10_connections_that_are_no_sessions_are_bounded_and_stop_no_session() {
    let arena = Arena::open(&[]).await;
    let mut held = Vec::new();
    while held.len() < 256 {
        held.push(raw(&arena.node).await);
    }
    // A request makes sure that all before it have been accepted.
    let answer = ask(&arena.node, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("connections-per-address-max"), "{answer}");
    assert!(ask(&arena.node, "/readyz").await.starts_with("HTTP/1.1 200 "));
    let mut session = Peer::open(&arena.node, ROOM).await;
    is_served(&mut session).await;
    let mut more = raw(&arena.node).await;
    let ended = async { while more.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(Duration::from_secs(8), ended).await.expect("one beyond that says nothing is cut early");
    let still = held.iter().filter(|socket| socket.try_read(&mut [0]).is_err()).count();
    assert!(still > 0, "those that have their place have as long as a head may take");
    drop(held);
    arena.close().await;
}

/// With 1,000 open files, 1,200 connections of one address let nobody in, and /readyz hung: an orchestrator kills such a server.
#[tokio::test]
async fn hostile_10_a_flood_of_connections_leaves_open_files_for_sessions_and_probes() {
    let node = Node::start_with_files(300, &["--header-timeout=5m"]);
    let mut member = Peer::open(&node, ROOM).await;
    let mut flood = Vec::new();
    for _ in 0..600 {
        flood.push(raw(&node).await);
    }
    for _ in 0..10 {
        for path in ["/readyz", "/healthz"] {
            let answer = ask(&node, path).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
        let mut newcomer = Peer::open(&node, ROOM).await;
        is_served(&mut newcomer).await;
        is_served(&mut member).await;
        for _ in 0..20 {
            flood.push(raw(&node).await);
        }
    }
    drop(flood);
    node.until_metric("ydash_refusals_total{reason=\"connections\"}", |cut| cut > 400.0).await;
    let mut node = node;
    assert!(node.is_alive());
    let loud: Vec<_> = node.log().into_iter().filter(|line| is_loud(line)).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}
