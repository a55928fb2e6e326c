//! The Hocuspocus dialect by its bytes: a test for each rule, for each version of the provider that it concerns.
//!
//! The numbers are those of the table in `docs/HOCUSPOCUS.md`, "Rules and their tests"; `tests/interop/` plays the same rules with the
//! published packages.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use ydash::auth::{Authenticator, Caller, Denied, Eventual, now};
use ydash::cluster::Bus;
use ydash::cluster::local::LocalBus;
use ydash::config::{Config, Layers};
use ydash::metrics::{Memory, Metrics, Refusal};
use ydash::server::Server;
use ydash::shutdown::Shutdown;
use ydash::store::memory::{MemoryStore, Step, Verdict};
use ydash::store::{Append, LogEntry, Source, Store};
use ydash_proto::access::{Access, Admission, Principal};
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::time::Timestamp;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::hocuspocus::{self, Address, Outgoing, ServerMessage};

use crate::support::forge::{self, live, sync_step1, sync_step2};
use crate::support::peer::{Peer, WITHIN};

use Version::{V2, V3, V4};

/// Nothing came for so long: nothing comes.
const SILENCE: Duration = Duration::from_millis(400);

const STEP1: &[u8] = &[0, 0, 1, 0];
const NOTHING_NEW: &[u8] = &[0, 1, 2, 0, 0];
const SAVED: &[u8] = &[8, 1];
const REFUSED: &[u8] = &[8, 0];
const READ_WRITE: &[u8] = b"\x02\x02\x0aread-write";
const READ_ONLY: &[u8] = b"\x02\x02\x08readonly";
const TOKEN_REQUEST: &[u8] = &[2, 0];
const QUERY_AWARENESS: &[u8] = &[3];
const CLOSE: &[u8] = &[7];

// 2.5: authentication.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_a_token_is_answered_with_the_scope() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        for (token, scope) in [("editor", READ_WRITE), ("viewer", READ_ONLY)] {
            let mut socket = house.socket().await;
            socket.send_token(version, "doc", token).await;
            socket.reads("doc", &[scope]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_whoever_needs_no_token_is_let_in_with_any() {
    for (flags, scope) in [(&[][..], READ_WRITE), (&["--anonymous-access=read-only"], READ_ONLY)] {
        let house = House::open(flags).await;
        for version in [V3, V4] {
            for token in ["", "whatever"] {
                let mut socket = house.socket().await;
                socket.send_token(version, "doc", token).await;
                socket.reads("doc", &[scope]).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_version_2_without_a_token_begins_with_its_question_and_is_let_in() {
    let house = House::open(&[]).await;
    let mut socket = house.socket().await;
    socket.send("doc", STEP1).await;
    socket.send("doc", &forge::awareness(&[(7, 1, "{}")])).await;
    socket.reads("doc", &[READ_WRITE, NOTHING_NEW, STEP1]).await;
    // Where a token is needed it hears that, like everybody.
    let house = House::with_tokens().await;
    let mut socket = house.socket().await;
    socket.send("doc", STEP1).await;
    socket.reads("doc", &[&denied("permission-denied")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_who_is_denied_hears_why_and_keeps_its_socket() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.greet(version, "doc", "wrong").await;
        socket.reads("doc", &[&denied("permission-denied")]).await;
        // Versions 3 and 4 stay attached and go on talking: into the void, whatever they say.
        socket.send("doc", &live(&forge::letters(9, 0, 1))).await;
        socket.send("doc", STEP1).await;
        socket.is_silent().await;
        socket.send_token(version, "other", "editor").await;
        socket.reads("other", &[READ_WRITE]).await;
        // Asked by its application, it tries again.
        socket.greet(version, "doc", "editor").await;
        socket.reads("doc", &[READ_WRITE, NOTHING_NEW, STEP1]).await;
        socket.send("doc", NOTHING_NEW).await;
        socket.reads("doc", &[SAVED]).await;
    }
    assert_eq!(house.metrics.refusals.get(Refusal::Unauthenticated), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_another_token_changes_what_a_live_session_may_do() {
    let house = House::with_tokens().await;
    for version in [V3, V4] {
        let name = format!("renewed-{version:?}");
        let (mut socket, mut witness) = (house.socket().await, house.socket().await);
        witness.join(V4, &name, "editor").await;
        socket.join(version, &name, "viewer").await;
        socket.send(&name, &live(&forge::letters(9, 0, 1))).await;
        socket.reads(&name, &[REFUSED]).await;
        socket.send_token(version, &name, "editor").await;
        // What was refused before is asked for.
        socket.reads(&name, &[READ_WRITE, STEP1]).await;
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 1))).await;
        witness.reads(&name, &[&live(&forge::letters(9, 0, 1))]).await;
        // The provider does not count its answer, but what was refused: a refusal leaves its count as it is.
        socket.reads(&name, &[SAVED]).await;
        socket.is_silent().await;
        socket.send(&name, &live(&forge::letters(9, 1, 1))).await;
        socket.reads(&name, &[SAVED]).await;
        witness.reads(&name, &[&live(&forge::letters(9, 1, 1))]).await;
        // And back.
        socket.send_token(version, &name, "viewer").await;
        socket.reads(&name, &[READ_ONLY]).await;
        socket.send(&name, &live(&forge::letters(9, 2, 1))).await;
        socket.reads(&name, &[REFUSED]).await;
        // Who asks begins to count anew.
        socket.send(&name, &sync_step1(&[1, 9, 2])).await;
        socket.take_frames(&name, 2).await;
        socket.send_token(version, &name, "editor").await;
        socket.reads(&name, &[READ_WRITE, &sync_step1(&[1, 9, 2])]).await;
        socket.feed(&name, &sync_step2(&forge::letters(9, 2, 1))).await;
        socket.send(&name, &sync_step2(&forge::letters(9, 2, 1))).await;
        socket.reads(&name, &[SAVED]).await;
        socket.is_silent().await;
    }
}

/// As many times as it was refused, once all of it is durable, and not while it is refused again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_5_what_was_refused_and_is_saved_after_all_is_acknowledged() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        let name = format!("healed-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "viewer").await;
        for at in 0..3 {
            socket.send(&name, &live(&forge::letters(9, at, 1))).await;
            socket.reads(&name, &[REFUSED]).await;
        }
        // The answer to the first question.
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 3))).await;
        socket.reads(&name, &[REFUSED]).await;
        socket.send_token(version, &name, "editor").await;
        socket.reads(&name, &[READ_WRITE, STEP1]).await;
        let gate = house.store.faults().hold(Step::Append);
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 3))).await;
        timeout(WITHIN, gate.arrived(1)).await.unwrap();
        socket.is_silent().await;
        gate.release();
        socket.reads(&name, &[SAVED, SAVED, SAVED, SAVED]).await;
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_a_token_that_is_no_good_any_more_ends_the_document_and_not_the_socket() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        let (revoked, kept) = (&format!("revoked-{version:?}"), &format!("kept-{version:?}"));
        let (mut socket, mut witness) = (house.socket().await, house.socket().await);
        witness.join(V4, revoked, "editor").await;
        socket.join(version, revoked, "editor").await;
        socket.join(version, kept, "editor").await;
        socket.send(revoked, &forge::awareness(&[(9, 0, "{}")])).await;
        witness.reads(revoked, &[&forge::awareness(&[(9, 0, "{}")])]).await;
        socket.send_token(version, revoked, "wrong").await;
        socket.reads(revoked, &[&denied("permission-denied")]).await;
        witness.reads(revoked, &[&forge::awareness(&[(9, 0, "null")])]).await;
        witness.send(revoked, &live(&forge::letters(8, 0, 1))).await;
        witness.reads(revoked, &[SAVED]).await;
        socket.is_silent().await;
        socket.send(kept, &live(&forge::letters(9, 0, 1))).await;
        socket.reads(kept, &[SAVED]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_a_token_is_asked_for_before_it_runs_out() {
    let house = House::with_tokens().await;
    for version in [V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "short").await;
        for _ in 0..2 {
            socket.reads("doc", &[TOKEN_REQUEST]).await;
            socket.send_token(version, "doc", "short").await;
            socket.reads("doc", &[READ_WRITE]).await;
        }
        socket.reads("doc", &[TOKEN_REQUEST]).await;
        socket.send_token(version, "doc", "editor").await;
        socket.reads("doc", &[READ_WRITE]).await;
        socket.send("doc", &live(&[0, 0])).await;
        socket.reads("doc", &[SAVED]).await;
    }
    // Version 2 does not know the question: it comes back, and shows the token that its application has by then. So does any other
    // that has no answer.
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "short").await;
        socket.reads("doc", &[TOKEN_REQUEST]).await;
        let ended = socket.peer.ended().await;
        assert_eq!((ended.code, ended.reason.as_str()), (4205, "Reset Connection"), "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_5_tokens_are_bounded() {
    let house = House::with_tokens().await;
    let mut socket = house.socket().await;
    socket.send_token(V4, "doc", &"x".repeat(1 << 20)).await;
    socket.reads("doc", &[&denied("permission-denied")]).await;
    assert_eq!(house.tokens.asked.load(Ordering::Relaxed), 0, "nobody has to look at it");
}

// 2.6: traces.

/// Byte for byte what was captured from each version, document "doc", client 1234; the server's part as Hocuspocus 4.7 says it, but
/// for echoes to the sender and the answer to a goodbye.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_6_the_trace_of_a_session() {
    for (version, token) in [
        (V2, "03 646f63 02 00 03 746f6b"),
        (V3, "03 646f63 02 00 03 746f6b"),
        (V4, "03 646f63 02 00 03 746f6b 05 342e372e30"),
    ] {
        let house = House::open(&[]).await;
        let mut socket = house.socket().await;
        socket.send_hex(token).await;
        socket.send_hex("03 646f63 00 00 01 00").await;
        socket.send_hex("03 646f63 01 07 01 d209 00 02 7b7d").await;
        socket.reads_hex("03 646f63 02 02 0a 726561642d7772697465").await;
        socket.reads_hex("03 646f63 00 01 02 00 00").await;
        socket.reads_hex("03 646f63 00 00 01 00").await;
        socket.send_hex("03 646f63 00 01 02 00 00").await;
        socket.reads_hex("03 646f63 08 01").await;
        socket.send_hex("03 646f63 00 02 0f 01 01 d209 00 28 01 01 6d 01 6b 01 7d 01 00").await;
        socket.reads_hex("03 646f63 08 01").await;
        let mut other = house.socket().await;
        other.send_hex(token).await;
        other.send_hex("03 646f63 00 00 01 00").await;
        other.reads_hex("03 646f63 02 02 0a 726561642d7772697465").await;
        // Version 4 does not echo presence and is shown it at once; for the others it comes behind the question.
        if version == V4 {
            other.reads_hex("03 646f63 01 07 01 d209 00 02 7b7d").await;
        }
        other.reads_hex("03 646f63 00 01 0f 01 01 d209 00 28 01 01 6d 01 6b 01 7d 01 00").await;
        other.reads_hex("03 646f63 00 00 04 01 d209 01").await;
        if version != V4 {
            other.reads_hex("03 646f63 01 07 01 d209 00 02 7b7d").await;
        }
        socket.send_hex("03 646f63 01 09 01 d209 02 04 6e756c6c").await;
        socket.send_hex("03 646f63 07").await;
        other.reads_hex("03 646f63 01 09 01 d209 02 04 6e756c6c").await;
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_6_a_session_is_addressed_as_it_addressed_itself() {
    let house = House::open(&[]).await;
    let mut socket = house.socket().await;
    socket.send_hex("0f 646f630063757862 6b34616b616e76 02 00 00 05 342e372e30").await;
    socket.reads_hex("0f 646f630063757862 6b34616b616e76 02 02 0a 726561642d7772697465").await;
}

// 2.7: what a server must do.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_1_nothing_is_done_before_the_token_and_nothing_is_lost() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        let name = format!("early-{version:?}");
        let mut socket = house.socket().await;
        // What waited in the client is flushed with the first message on the socket, whatever that is about.
        socket.send(&name, &live(&forge::letters(9, 0, 2))).await;
        socket.is_silent().await;
        assert_eq!(house.metrics.rooms.get(), 0, "no room was opened");
        socket.greet(version, &name, "editor").await;
        socket.reads(&name, &[READ_WRITE]).await;
        let frames = socket.take_frames(&name, 3).await;
        assert!(
            frames.contains(&SAVED.to_vec()) && frames.contains(&sync_step2(&forge::letters(9, 0, 2))),
            "{frames:?}"
        );
        drop(socket);
        house.until("the room is gone", |house| house.metrics.rooms.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_1_documents_that_wait_for_a_token_at_once_wait_by_themselves() {
    let house = House::with_tokens().await;
    for version in [V2, V3, V4] {
        let names = ["one", "two", "three", "four"].map(|name| format!("{name}-{version:?}"));
        let mut socket = house.socket().await;
        for (at, name) in names.iter().enumerate() {
            for letter in 0..3 {
                socket.send(name, &live(&forge::letters(at as u64 + 1, letter, 1))).await;
            }
        }
        socket.is_silent().await;
        // In another order; one may look only, one may not at all, and one shows no token.
        let [one, two, three, four] = &names;
        socket.send_token(version, three, "editor").await;
        socket.reads(three, &[READ_WRITE, SAVED, SAVED, SAVED]).await;
        socket.send_token(version, one, "viewer").await;
        socket.reads(one, &[READ_ONLY, REFUSED, REFUSED, REFUSED]).await;
        socket.send_token(version, two, "wrong").await;
        socket.reads(two, &[&denied("permission-denied")]).await;
        socket.is_silent().await;
        let mut witness = house.socket().await;
        for (name, has_content) in [(one, false), (two, false), (three, true), (four, false)] {
            witness.greet(V4, name, "editor").await;
            let frames = witness.take_frames(name, 3).await;
            let state = frames.iter().find(|frame| frame.starts_with(&[0, 1])).unwrap();
            assert_eq!(*state != NOTHING_NEW, has_content, "{name}: {state:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_1_what_waits_for_a_token_is_bounded() {
    let house = House::open(&["--pending-bytes-max=64KiB"]).await;
    let mut socket = house.socket().await;
    for _ in 0..3 {
        socket.send("doc", &live(&forge::letters(9, 0, 30 << 10))).await;
    }
    let ended = socket.peer.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (4205, "Reset Connection"));
    // Version 2 comes back at once, so it is held.
    assert!(ended.after >= Duration::from_millis(1_900), "{ended:?}");
    assert_eq!(house.metrics.refusals.get(Refusal::Pending), 1);
    let mut socket = house.socket().await;
    for at in 0..2_000 {
        socket.send(&format!("doc-{}", at % 10), &forge::sync_step2(&[0, 0])).await;
    }
    assert_eq!(socket.peer.ended().await.code, 4205, "small ones count for more than their bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_1_a_socket_on_which_nobody_is_let_in_ends() {
    let house = House::with_tokens_and(&["--auth-timeout=1s"]).await;
    let mut quiet = house.socket().await;
    let mut denied_one = house.socket().await;
    denied_one.greet(V4, "doc", "wrong").await;
    let mut admitted = house.socket().await;
    admitted.join(V4, "doc", "editor").await;
    // What waits for a token on a socket that has shown a good one is forgotten.
    admitted.send("never", &live(&[0, 0])).await;
    for socket in [&mut quiet, &mut denied_one] {
        let ended = socket.peer.ended().await;
        assert_eq!((ended.code, ended.reason.as_str()), (4408, "Connection Timeout"));
    }
    house.until("it was forgotten", |house| house.metrics.refusals.get(Refusal::AuthTimeout) == 3).await;
    admitted.send_token(V4, "never", "editor").await;
    admitted.reads("never", &[READ_WRITE]).await;
    admitted.is_silent().await;
}

/// A socket that sends more than it may is read later, and that must not be what lets it stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_1_the_deadline_is_absolute_whatever_comes_meanwhile() {
    let house =
        House::with_tokens_and(&["--auth-timeout=1s", "--session-message-rate=10", "--session-message-burst=20"]).await;
    let wrong = hocuspocus::token(&Address::new("doc"), "wrong", None);
    let heartbeats = vec![Frame::Binary(hocuspocus::HEARTBEAT.into()); 400];
    let pings = vec![Frame::Ping("?".into()); 400];
    let tokens = vec![Frame::Binary(wrong); 400];
    let mut ends = Vec::new();
    for flood in [heartbeats, pings, tokens] {
        for drips in [false, true] {
            let socket = house.socket().await.peer.socket;
            let flood = flood.clone();
            ends.push(tokio::spawn(async move {
                let began = Instant::now();
                let (mut speaks, mut hears) = socket.split();
                let speaking = async {
                    for frame in flood {
                        speaks.feed(frame).await?;
                        if drips {
                            speaks.flush().await?;
                            tokio::time::sleep(Duration::from_millis(30)).await;
                        }
                    }
                    speaks.flush().await
                };
                let hearing = async {
                    loop {
                        if let Frame::Close(close) = hears.next().await.expect("a close frame")? {
                            return Ok::<_, tokio_tungstenite::tungstenite::Error>(close.unwrap());
                        }
                    }
                };
                let (_, close) = tokio::join!(speaking, timeout(WITHIN, hearing));
                (close.unwrap().unwrap(), began.elapsed())
            }));
        }
    }
    for end in ends {
        let (close, after) = end.await.unwrap();
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4408, "Connection Timeout"));
        assert!(after < Duration::from_secs(8), "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_2_who_is_let_in_hears_so_and_sees_who_is_here() {
    let house = House::open(&[]).await;
    let mut somebody = house.socket().await;
    somebody.join(V4, "doc", "").await;
    let entry = forge::awareness(&[(7, 3, "{\"name\":\"ada\"}")]);
    somebody.send("doc", &entry).await;
    let mut shown = house.socket().await;
    shown.send_token(V4, "doc", "").await;
    shown.reads("doc", &[READ_WRITE, &entry]).await;
    shown.send("doc", STEP1).await;
    shown.reads("doc", &[NOTHING_NEW, STEP1]).await;
    for version in [V2, V3] {
        let mut shown = house.socket().await;
        shown.greet(version, "doc", "token").await;
        shown.reads("doc", &[READ_WRITE, NOTHING_NEW, STEP1, &entry]).await;
        // One that never asks sees it all the same.
        let mut silent = house.socket().await;
        silent.send_token(version, "doc", "token").await;
        silent.reads("doc", &[READ_WRITE, &entry]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_2_a_document_that_cannot_be_loaded_is_opened_as_soon_as_it_can() {
    let house = House::open(&[]).await;
    house.store.faults().set_down(true);
    for version in [V2, V3, V4] {
        let name = format!("down-{version:?}");
        let mut socket = house.socket().await;
        socket.greet(version, &name, "token").await;
        socket.send(&name, &live(&forge::letters(9, 0, 1))).await;
        socket.is_silent().await;
        house.store.faults().set_down(false);
        socket.reads(&name, &[READ_WRITE]).await;
        let frames = socket.take_frames(&name, 3).await;
        assert!(frames.contains(&SAVED.to_vec()), "{frames:?}");
        house.store.faults().set_down(true);
    }
    // For as long as somebody may wait. Its documents come back together.
    let house = House::open(&["--auth-timeout=1s"]).await;
    let mut socket = house.socket().await;
    socket.join(V4, "open", "").await;
    house.store.faults().set_down(true);
    socket.greet(V4, "closed", "").await;
    let ended = socket.peer.ended().await;
    assert_eq!(ended.code, 1013, "never one of those that stop version 2");
    assert!(ended.after >= Duration::from_millis(1_900), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_3_every_question_is_answered_by_a_state_and_a_question() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        // forceSync: an empty document has an answer, too.
        for _ in 0..3 {
            socket.send("doc", STEP1).await;
            socket.reads("doc", &[NOTHING_NEW, STEP1]).await;
            socket.send("doc", NOTHING_NEW).await;
            socket.reads("doc", &[SAVED]).await;
        }
    }
}

/// As `forceSyncInterval` and `resyncInterval` make them, the latter in the other dialect. Of a large document an answer costs much, so
/// they are answered at their pace, the newest for all that wait; whatever else is said does not wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_3_questions_beyond_the_rate_are_answered_together_and_nothing_waits_for_them() {
    const LETTERS: usize = 3 << 20;
    let house = House::open(&[]).await;
    let question = sync_step1(&[vec![1, 9], forge::var_uint(LETTERS as u64)].concat());
    for version in [V2, V3, V4] {
        let (large, other) = (format!("large-{version:?}"), format!("other-{version:?}"));
        let mut socket = house.socket().await;
        socket.join(version, &large, "token").await;
        socket.join(version, &other, "token").await;
        socket.send(&large, &live(&forge::letters(9, 0, LETTERS))).await;
        socket.reads(&large, &[SAVED]).await;
        let (mut states, mut questions) = (0, 0);
        for _ in 0..8 {
            socket.send(&large, &question).await;
            socket.reads(&large, &[NOTHING_NEW]).await;
            assert!(socket.next().await.1.starts_with(&[0, 0]));
        }
        let began = Instant::now();
        for _ in 0..32 {
            socket.feed(&large, &question).await;
        }
        socket.feed(&other, &live(&forge::letters(9, 0, 1))).await;
        socket.peer.flush().await;
        let mut is_saved = false;
        while !is_saved {
            let (from, message) = socket.next().await;
            states += u32::from(from == large && message == NOTHING_NEW);
            questions += u32::from(from == large && message.starts_with(&[0, 0]));
            is_saved = from == other && message == SAVED;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "one by one they take half a minute: {:?}", began.elapsed());
        // The last ones have an answer soon, and each has its question: a provider answers that, and counts on the ack.
        while let Some(frame) = socket.peer.next_within(Duration::from_secs(3)).await {
            let message = frame.strip_prefix(&Address::new(&large).prefix()[..]).unwrap_or_default();
            states += u32::from(message == NOTHING_NEW);
            questions += u32::from(message.starts_with(&[0, 0]));
        }
        assert_eq!(states, questions);
        assert!((1..16).contains(&questions), "{questions}");
        for _ in 0..questions + 8 {
            socket.feed(&large, NOTHING_NEW).await;
        }
        socket.peer.flush().await;
        for _ in 0..questions + 8 {
            socket.reads(&large, &[SAVED]).await;
        }
        // As exact as before: behind a hole it is asked out of turn.
        socket.send(&large, &live(&forge::letters(8, 1, 1))).await;
        socket.until(&large, |frame| frame.starts_with(&[0, 0])).await;
        socket.send(&large, &sync_step2(&forge::letters(8, 0, 2))).await;
        socket.reads(&large, &[SAVED]).await;
        socket.is_silent().await;
    }
    let mut other = house.y_websocket("/large-V4?acks=1").await;
    other.expect(|frame| frame.starts_with(&[0, 0])).await;
    for _ in 0..40 {
        other.feed(question.clone()).await;
    }
    let began = Instant::now();
    other.send(live(&forge::letters(7, 0, 1))).await;
    assert_eq!(other.statuses(1).await, (1, 0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    other.expect(|frame| frame.starts_with(&[0, 1])).await;
}

/// Of a small document an answer is cheap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_3_questions_of_a_small_document_never_wait() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        let began = Instant::now();
        for _ in 0..60 {
            socket.send("doc", STEP1).await;
            socket.reads("doc", &[NOTHING_NEW, STEP1]).await;
            socket.send("doc", NOTHING_NEW).await;
            socket.reads("doc", &[SAVED]).await;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_one_ack_for_each_update_and_answer_and_for_nothing_else() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("acks-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        for at in 0..200 {
            socket.feed(&name, &live(&forge::letters(9, at, 1))).await;
            if at % 4 == 0 {
                // The same once more, and answers to nothing: each has its ack.
                socket.feed(&name, &live(&forge::letters(9, at, 1))).await;
                socket.feed(&name, &sync_step2(&forge::letters(9, 0, 1))).await;
            }
            socket.feed(&name, &forge::awareness(&[(9, at, "{}")])).await;
            socket.feed(&name, b"\x05\x02hi").await;
        }
        socket.peer.flush().await;
        let acks = socket.take_frames(&name, 300).await;
        assert!(acks.iter().all(|frame| frame == SAVED), "{acks:?}");
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_acks_beyond_the_rate_are_late_and_all_there() {
    let house = House::open(&["--session-message-rate=50", "--session-message-burst=20"]).await;
    for version in [V2, V3, V4] {
        let name = format!("late-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        for at in 0..100 {
            socket.feed(&name, &live(&forge::letters(9, at, 1))).await;
            socket.feed(&name, NOTHING_NEW).await;
        }
        socket.peer.flush().await;
        let acks = socket.take_frames(&name, 200).await;
        assert!(acks.iter().all(|frame| frame == SAVED), "{acks:?}");
        socket.is_silent().await;
    }
    assert!(house.metrics.refusals.get(Refusal::Rate) >= 3);
}

/// Nothing is lost when more waits behind a hole than may: the client has it, is asked for it, and then hears that it is saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_held_updates_that_are_too_many_are_refused_asked_for_and_saved() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("overrun-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        let held = 257;
        for at in 0..held {
            socket.feed(&name, &live(&forge::letters(9, 2 * at + 1, 1))).await;
        }
        socket.peer.flush().await;
        let answers = socket.take_frames(&name, held as usize + 2).await;
        let (questions, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|frame| frame == STEP1);
        assert_eq!(questions.len(), 2, "at the first one, and when they were too many");
        assert!(refused.iter().all(|frame| frame == REFUSED), "{refused:?}");
        let all = forge::letters(9, 0, 2 * held as usize);
        socket.send(&name, &sync_step2(&all)).await;
        let acks = socket.take_frames(&name, held as usize).await;
        assert!(acks.iter().all(|frame| frame == SAVED), "{acks:?}");
        socket.send(&name, &sync_step2(&all)).await;
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_a_held_update_that_waits_too_long_is_refused() {
    let house = House::open(&[]).await;
    let waits = [V2, V3, V4].map(|version| {
        let house = &house;
        async move {
            let name = format!("expired-{version:?}");
            let mut socket = house.socket().await;
            socket.join(version, &name, "token").await;
            socket.send(&name, &live(&forge::letters(9, 1, 1))).await;
            socket.reads(&name, &[STEP1]).await;
            let refused = async {
                loop {
                    match socket.peer.next_within(Duration::from_secs(30)).await.expect("at least a heartbeat") {
                        frame if frame == hocuspocus::HEARTBEAT => {}
                        frame => return frame,
                    }
                }
            };
            let refused = timeout(Duration::from_secs(75), refused).await.expect("a refusal");
            assert_eq!(refused, Socket::frame(&name, REFUSED));
            socket.send(&name, &sync_step2(&forge::letters(9, 0, 2))).await;
            socket.reads(&name, &[SAVED]).await;
            socket.is_silent().await;
        }
    });
    join_all(waits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_an_ack_means_durable() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("durable-{version:?}");
        let (mut socket, mut witness) = (house.socket().await, house.socket().await);
        socket.join(version, &name, "token").await;
        witness.join(V4, &name, "").await;
        let gate = house.store.faults().hold(Step::Append);
        socket.send(&name, &live(&forge::letters(9, 0, 1))).await;
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 1))).await;
        witness.reads(&name, &[&live(&forge::letters(9, 0, 1))]).await;
        timeout(WITHIN, gate.arrived(1)).await.unwrap();
        socket.is_silent().await;
        gate.release();
        socket.reads(&name, &[SAVED, SAVED]).await;
        // While the store is down nothing is called saved; when it is back everything is.
        house.store.faults().set_down(true);
        socket.send(&name, &live(&forge::letters(9, 1, 1))).await;
        witness.reads(&name, &[&live(&forge::letters(9, 1, 1))]).await;
        socket.is_silent().await;
        house.store.faults().set_down(false);
        socket.reads(&name, &[SAVED]).await;
    }
}

/// Behind a hole the server asks out of turn. A provider does not count its answer to that: an ack for it would be taken for one of
/// an edit that is not saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_4_an_answer_to_a_question_out_of_turn_has_no_ack() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("hole-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        socket.send(&name, &live(&forge::letters(9, 3, 1))).await;
        socket.reads(&name, &[STEP1]).await;
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 4))).await;
        socket.reads(&name, &[SAVED]).await;
        socket.is_silent().await;
        // The next question of its own counts again.
        socket.send(&name, STEP1).await;
        socket.take_frames(&name, 2).await;
        socket.send(&name, &sync_step2(&forge::letters(9, 0, 4))).await;
        socket.reads(&name, &[SAVED]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_5_what_a_viewer_sends_is_refused_unless_nothing_in_it_is_new() {
    let house = House::with_tokens().await;
    let mut author = house.socket().await;
    author.join(V4, "doc", "editor").await;
    let deletion = forge::update((9, 2), &[], &[(9, 1, 1)]);
    author.send("doc", &live(&forge::letters(9, 0, 2))).await;
    author.reads("doc", &[SAVED]).await;
    for version in [V2, V3, V4] {
        let mut viewer = house.socket().await;
        viewer.greet(version, "doc", "viewer").await;
        viewer.reads("doc", &[READ_ONLY]).await;
        viewer.take_frames("doc", 2).await;
        for (message, answer) in [
            (live(&forge::letters(9, 2, 1)), REFUSED),
            (sync_step2(&forge::letters(9, 0, 3)), REFUSED),
            (sync_step2(&deletion), REFUSED),
            (sync_step2(&forge::letters(9, 0, 2)), SAVED),
            (sync_step2(&[0, 0]), SAVED),
            // An update is an edit whatever is in it.
            (live(&forge::letters(9, 0, 1)), REFUSED),
        ] {
            viewer.send("doc", &message).await;
            viewer.reads("doc", &[answer]).await;
        }
        // Presence is its own; to say something to everybody takes an editor.
        let id = 20 + version as u64;
        let entry = forge::awareness(&[(id, 0, "{}")]);
        viewer.send("doc", b"\x05\x02hi").await;
        viewer.send("doc", &entry).await;
        author.reads("doc", &[&entry]).await;
        drop(viewer);
        author.reads("doc", &[&forge::awareness(&[(id, 0, "null")])]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_6_presence_reaches_the_others_and_goes_with_its_session() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("presence-{version:?}");
        let (mut socket, mut witness) = (house.socket().await, house.socket().await);
        witness.join(V4, &name, "").await;
        socket.join(version, &name, "token").await;
        let shows = |clock, state| forge::awareness(&[(7, clock, state)]);
        // Clock 0, which clients ignore until it grows, is theirs to ignore.
        for (clock, state) in [(0, "{}"), (1, "{\"x\":1}"), (2, "null"), (3, "{\"x\":2}")] {
            socket.send(&name, &shows(clock, state)).await;
            witness.reads(&name, &[&shows(clock, state)]).await;
        }
        // Set to null while connected: nobody is left to be removed later.
        socket.send(&name, &shows(4, "null")).await;
        witness.reads(&name, &[&shows(4, "null")]).await;
        socket.send(&name, &shows(5, "{}")).await;
        witness.reads(&name, &[&shows(5, "{}")]).await;
        socket.send(&name, CLOSE).await;
        witness.reads(&name, &[&shows(5, "null")]).await;
        socket.join(version, &name, "token").await;
        socket.send(&name, &shows(6, "{}")).await;
        witness.reads(&name, &[&shows(6, "{}")]).await;
        drop(socket);
        witness.reads(&name, &[&shows(6, "null")]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_6_entries_that_clients_send_back_go_no_further() {
    let house = House::open(&[]).await;
    for version in [V2, V3] {
        let name = format!("bounce-{version:?}");
        let mut sockets = [house.socket().await, house.socket().await, house.socket().await];
        for socket in &mut sockets {
            socket.join(version, &name, "token").await;
            // Providers answer before they read what others announce.
            socket.send(&name, &sync_step2(&[0, 0])).await;
            socket.reads(&name, &[SAVED]).await;
        }
        let [author, first, second] = &mut sockets;
        let entry = forge::awareness(&[(7, 0, "{}")]);
        author.send(&name, &entry).await;
        for reader in [first, second] {
            reader.reads(&name, &[&entry]).await;
            reader.send(&name, &entry).await;
        }
        for socket in &mut sockets {
            socket.is_silent().await;
        }
        // Nor do they own what they have sent back.
        let [author, first, _] = &mut sockets;
        author.send(&name, &forge::awareness(&[(7, 2, "{\"x\":1}")])).await;
        first.reads(&name, &[&forge::awareness(&[(7, 2, "{\"x\":1}")])]).await;
    }
}

/// As version 2 does for other tabs, and all before 4.5 for whatever they were told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_6_entries_of_an_id_that_nobody_owns_are_passed_on_until_somebody_does() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("relayed-{version:?}");
        let [mut relay, mut witness, mut owner] = [house.socket().await, house.socket().await, house.socket().await];
        witness.join(V4, &name, "").await;
        relay.join(version, &name, "token").await;
        let shows = |id, clock, state| forge::awareness(&[(id, clock, state)]);
        for entry in [shows(7, 1, "{}"), shows(50, 1, "{}"), shows(50, 2, "{\"x\":1}")] {
            relay.send(&name, &entry).await;
            witness.reads(&name, &[&entry]).await;
        }
        owner.join(version, &name, "token").await;
        owner.send(&name, &shows(50, 3, "{\"x\":2}")).await;
        witness.reads(&name, &[&shows(50, 3, "{\"x\":2}")]).await;
        // From then on nobody else speaks for it, neither with news nor with its end.
        relay.send(&name, &shows(50, 4, "{\"x\":3}")).await;
        relay.send(&name, &shows(50, 3, "null")).await;
        witness.is_silent().await;
        drop(owner);
        witness.reads(&name, &[&shows(50, 3, "null")]).await;
        drop(relay);
        witness.reads(&name, &[&shows(7, 1, "null")]).await;
    }
}

/// Everybody has seen it go at this clock and takes nothing at it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_6_who_comes_back_is_made_to_take_the_next_clock() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("back-{version:?}");
        let mut socket = house.socket().await;
        let mut witness = house.socket().await;
        witness.join(V4, &name, "").await;
        let entry = forge::awareness(&[(7, 3, "{}")]);
        let removal = forge::awareness(&[(7, 3, "null")]);
        socket.join(version, &name, "token").await;
        socket.send(&name, &entry).await;
        witness.reads(&name, &[&entry]).await;
        drop(socket);
        witness.reads(&name, &[&removal]).await;
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        socket.send(&name, &entry).await;
        socket.reads(&name, &[&removal]).await;
        // From 4.5 on a provider tells what it made of it only when asked.
        if version == V4 {
            socket.reads(&name, &[QUERY_AWARENESS]).await;
        }
        socket.send(&name, &forge::awareness(&[(7, 4, "{}")])).await;
        witness.reads(&name, &[&forge::awareness(&[(7, 4, "{}")])]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_7_a_goodbye_ends_the_document_is_not_answered_and_leaves_the_socket_open() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        socket.send("doc", CLOSE).await;
        // Version 2 takes its leave after its goodbye.
        socket.send("doc", &forge::awareness(&[(7, 1, "null")])).await;
        socket.is_silent().await;
        socket.join(version, "doc", "token").await;
        socket.send("doc", &live(&[0, 0])).await;
        socket.reads("doc", &[SAVED]).await;
    }
}

/// An ack of the old session would count for the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_7_what_the_old_session_had_coming_does_not_reach_the_new_one() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("again-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        let gate = house.store.faults().hold(Step::Append);
        socket.send(&name, &live(&forge::letters(9, 0, 1))).await;
        timeout(WITHIN, gate.arrived(1)).await.unwrap();
        socket.send(&name, CLOSE).await;
        socket.greet(version, &name, "token").await;
        socket.reads(&name, &[READ_WRITE]).await;
        let frames = socket.take_frames(&name, 2).await;
        assert!(!frames.contains(&SAVED.to_vec()), "{frames:?}");
        gate.release();
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_8_names_that_no_dashboard_can_have_are_denied() {
    let house = House::open(&[]).await;
    let long = "x".repeat(300);
    let mut socket = house.socket().await;
    for version in [V2, V3, V4] {
        for name in ["", "\t\n", "a\u{85}", "..", "a/../b", "a/.", &long, "\0session"] {
            // An empty name is nothing that a frame of one byte could not be taken for, so it is always longer.
            socket.greet(version, name, "token").await;
            socket.reads(name, &[&denied(&CloseCode::BadName.reason())]).await;
        }
        for name in ["~alice", "acme/@approvals"] {
            socket.greet(version, name, "token").await;
            socket.reads(name, &[&denied("permission-denied")]).await;
        }
    }
    assert_eq!(house.metrics.rooms.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_8_names_are_those_of_the_other_dialect() {
    let house = House::open(&[]).await;
    for (name, path) in [
        ("sales", "/sales"),
        ("acme/sales", "/ws/acme/sales"),
        ("acme/sales/2026", "/ws/acme/sales%2F2026"),
        ("default/shared", "/shared"),
        ("team/a", "/team/a"),
        ("team/b", "/team%2Fb"),
        ("default/team/c", "/team/c"),
        ("team/d", "/ws/default/team/d"),
        ("my project/board", "/my%20project/board"),
        ("user:1/notes", "/user:1/notes"),
        ("q83v//ASN/", "/q83v//ASN/"),
        ("/q83v=", "//q83v="),
        (" ", "/%20"),
        ("a\\b", "/a%5Cb"),
        ("ü{}%/a", "/%C3%BC%7B%7D%25/a"),
        ("__proto__", "/__proto__"),
        ("constructor/toString", "/ws/constructor/toString"),
    ] {
        let mut socket = house.socket().await;
        socket.join(V4, name, "").await;
        let mut other = house.y_websocket(path).await;
        other.expect(|frame| frame == STEP1).await;
        socket.send(name, &live(&forge::letters(9, 0, 1))).await;
        other.expect(|frame| frame == live(&forge::letters(9, 0, 1))).await;
        other.send(live(&forge::letters(8, 0, 1))).await;
        let frames = socket.take_frames(name, 2).await;
        assert!(frames.contains(&SAVED.to_vec()) && frames.contains(&live(&forge::letters(8, 0, 1))), "{frames:?}");
    }
}

/// y-websocket's clients once had all their names in the workspace `default`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_under_an_older_name_is_there_for_clients_of_both_dialects() {
    let (bus, store) = (LocalBus::new(), MemoryStore::new());
    let update = forge::letters(9, 0, 1);
    let entry =
        LogEntry { at: Timestamp(1), author: None, session: 1, source: Source::Socket, update: update.clone().into() };
    let dashboard = DashboardId::stored("default/team/sales").unwrap();
    let appended = store.append(vec![Append { dashboard, life: Life::FIRST, after: None, entries: vec![entry] }]).await;
    assert!(appended[0].is_ok());
    let house = House::start(&[], false, Some((bus.node(), store)));
    let mut other = house.y_websocket("/team/sales").await;
    other.send(sync_step1(&[0])).await;
    other.expect(|frame| frame == sync_step2(&update)).await;
    let mut socket = house.socket().await;
    socket.join(V4, "team/sales", "").await;
    socket.send("team/sales", &sync_step1(&[0])).await;
    let frames = socket.take_frames("team/sales", 2).await;
    assert!(frames.contains(&sync_step2(&update)), "{frames:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_7_9_what_nobody_knows_is_ignored() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        // QueryAwareness, SyncStatus, an unknown type, a server's words, version 4's pong.
        for message in [&[3][..], &[8, 1], &[42, 1, 2, 3], b"\x02\x01\x02no", b"\x02\x02\x08readonly"] {
            socket.send("doc", message).await;
        }
        for frame in [&[9][..], &[10], &[0]] {
            socket.peer.send(frame).await;
        }
        socket.is_silent().await;
        socket.send("doc", &live(&[0, 0])).await;
        socket.reads("doc", &[SAVED]).await;
    }
    assert!(house.metrics.refusals.get(Refusal::UnknownMessage) >= 15);
}

/// From server to server; from a client it is a sync message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_4_a_sync_reply_is_taken_as_a_sync_message() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("reply-{version:?}");
        let (mut socket, mut witness) = (house.socket().await, house.socket().await);
        socket.join(version, &name, "token").await;
        witness.join(V4, &name, "").await;
        for (message, update) in [
            (live(&forge::letters(9, 0, 1)), live(&forge::letters(9, 0, 1))),
            (sync_step2(&forge::letters(9, 1, 1)), live(&forge::letters(9, 1, 1))),
        ] {
            socket.send(&name, &[&[4], &message[1..]].concat()).await;
            socket.reads(&name, &[SAVED]).await;
            witness.reads(&name, &[&update]).await;
        }
        socket.send(&name, &[&[4], &sync_step1(&[1, 9, 2])[1..]].concat()).await;
        socket.reads(&name, &[NOTHING_NEW, &sync_step1(&[1, 9, 2])]).await;
    }
}

// 2.8: liveness.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_8_every_socket_gets_a_heartbeat_of_one_byte_that_all_versions_understand() {
    let house = House::open(&[]).await;
    let mut sockets = Vec::new();
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        sockets.push(socket);
    }
    // One on which no document is open waits for a token: it must not reconnect meanwhile, either.
    sockets.push(house.socket().await);
    for socket in &mut sockets {
        let began = Instant::now();
        let frame = socket.peer.next_within(Duration::from_secs(25)).await.expect("a heartbeat");
        assert_eq!(frame, hocuspocus::HEARTBEAT, "and nothing else, least of all version 4's ping");
        assert!(began.elapsed() < Duration::from_secs(25));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_8_a_socket_that_gives_no_sign_of_life_ends_with_a_code_after_which_all_come_back() {
    let house = House::open(&["--idle-timeout=2s"]).await;
    let url = house.url("/hocuspocus");
    let (mut answering, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let token = hocuspocus::token(&Address::new("doc"), "", Some("4.7.0"));
    answering.send(Frame::Binary(token.clone())).await.unwrap();
    // A browser answers pings by itself, without a word from the application.
    let lives = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let read = timeout(Duration::from_millis(200), answering.next()).await;
            assert!(!matches!(read, Ok(Some(Ok(Frame::Close(_)) | Err(_)) | None)), "it lives");
        }
    };
    let dies = async {
        let mut sockets = Vec::new();
        for version in [V2, V3, V4] {
            let mut silent = house.socket().await;
            silent.send_token(version, "doc", "token").await;
            silent.reads("doc", &[READ_WRITE]).await;
            sockets.push(silent);
        }
        // Nothing is read, so no ping is answered.
        tokio::time::sleep(Duration::from_secs(4)).await;
        for silent in &mut sockets {
            let ended = silent.peer.ended().await;
            assert_eq!((ended.code, ended.reason.as_str()), (4408, "Connection Timeout"));
        }
    };
    tokio::join!(lives, dies);
}

/// While it sends more than it may, what it says is read late; that is not its silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_8_who_is_read_late_is_neither_called_silent_nor_kept_from_hearing_of_the_end() {
    let house = House::open(&["--idle-timeout=2s", "--session-message-rate=10", "--session-message-burst=10"]).await;
    let mut talkative = house.socket().await;
    talkative.join(V4, "doc", "").await;
    let mut other = house.y_websocket("/doc?acks=1").await;
    other.expect(|frame| frame == STEP1).await;
    for at in 0..60 {
        talkative.feed("doc", &live(&forge::letters(9, at, 1))).await;
        other.feed(live(&forge::letters(8, at, 1))).await;
    }
    talkative.peer.flush().await;
    other.flush().await;
    let acks = async {
        let mut acks = 0;
        while acks < 60 {
            acks += usize::from(talkative.next().await.1 == SAVED);
        }
    };
    // Three times as long as they may be silent.
    tokio::join!(acks, async { assert_eq!(other.statuses(60).await, (60, 0)) });
    for at in 60..260 {
        talkative.feed("doc", &live(&forge::letters(9, at, 1))).await;
        other.feed(live(&forge::letters(8, at, 1))).await;
    }
    talkative.peer.flush().await;
    other.flush().await;
    talkative.until("doc", |frame| frame == SAVED).await;
    house.shutdown.begin();
    let began = Instant::now();
    let (end, _) = tokio::join!(talkative.peer.ended(), other.ended());
    assert_eq!(end.code, 1012);
    house.until("all sessions are over", |house| house.metrics.sessions.get() == 0).await;
    assert!(began.elapsed() < Duration::from_secs(8), "what they sent would take 20 s to read");
}

// 2.9: ends.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_garbage_ends_with_the_code_that_stops_version_2() {
    let house = House::open(&[]).await;
    let garbage = [
        &b""[..],
        b"\x03do",
        b"\xff\xff\xff\x7f",
        b"\x02\xff\xfe\x00\x00\x01\x00",
        b"\x03doc",
        b"\x03doc\x00\x03\x00",
        b"\x03doc\x00\x00\x01\x00\x00",
        b"\x03doc\x02\x00\x05x",
        b"\x03doc\x05\x01\xff",
        // The other dialect's first words: its empty name is nobody's.
        b"\x00\x00\x01\x00",
    ];
    let frames = garbage.map(|frame| Frame::Binary(frame.into())).into_iter().chain([Frame::Text("hello".into())]);
    let mut ends = Vec::new();
    // First of all, and from a provider of each version that has said who it is.
    for (frame, version) in frames.flat_map(|frame| [None, Some(V2), Some(V3), Some(V4)].map(|of| (frame.clone(), of)))
    {
        let mut socket = house.socket().await;
        if let Some(version) = version {
            socket.join(version, "other", "token").await;
        }
        ends.push(async move {
            let began = Instant::now();
            socket.peer.socket.send(frame.clone()).await.unwrap();
            let ended = socket.peer.ended().await;
            assert_eq!((ended.code, ended.reason.as_str()), (4401, "Unauthorized"), "{version:?} {frame:?}");
            assert!(
                began.elapsed() >= Duration::from_millis(1_900),
                "versions 3 and 4 come back: {ended:?} {version:?} {frame:?}"
            );
        });
    }
    join_all(ends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_garbage_about_a_live_document_ends_the_socket() {
    let house = House::open(&[]).await;
    for message in [&b"\x00\x02\x01\x09"[..], b"\x00\x01\x03\x01\x01\x01", b"\x01\x02\x05\x01", b"\x00\x00\x02\x05\x01"]
    {
        for version in [V2, V3, V4] {
            let mut socket = house.socket().await;
            socket.join(version, "doc", "token").await;
            socket.send("doc", message).await;
            assert_eq!(socket.peer.ended().await.code, 4401, "{version:?} {message:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_a_message_beyond_its_bound_is_refused_and_far_beyond_ends_with_1009() {
    let house = House::open(&["--frame-bytes-max=64KiB"]).await;
    let mut socket = house.socket().await;
    socket.join(V2, "doc", "token").await;
    // Closed for it, versions 3 and 4 came back with it, for ever.
    socket.send("doc", &live(&forge::letters(9, 0, 70 << 10))).await;
    socket.reads("doc", &[REFUSED]).await;
    socket.send("doc", &live(&forge::letters(9, 0, 1 << 10))).await;
    socket.reads("doc", &[SAVED]).await;
    socket.send("doc", &live(&forge::letters(9, 0, 600 << 10))).await;
    let ended = socket.peer.ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (1009, "Message Too Big"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_a_failure_ends_the_socket_with_1011_and_coming_back_helps() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("failing-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, "sound", "token").await;
        house.store.faults().on_step(|step, _| match step {
            Step::Load => panic!("a failure that the test wants"),
            _ => Verdict::Proceed,
        });
        socket.greet(version, &name, "token").await;
        let ended = socket.peer.ended().await;
        assert_eq!(ended.code, 1011, "{version:?}");
        house.store.faults().heal();
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        socket.join(version, "sound", "token").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_a_drain_sends_everybody_away_with_a_code_after_which_all_come_back() {
    let house = House::open(&["--drain-deadline=2s"]).await;
    let mut sockets = Vec::new();
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        for name in ["one", "two"] {
            socket.join(version, name, "token").await;
        }
        sockets.push(socket);
    }
    house.shutdown.begin();
    for socket in &mut sockets {
        assert_eq!(socket.peer.ended().await.code, 1012);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_who_plays_the_server_is_shown_the_door_of_that_document() {
    let house = House::open(&[]).await;
    let (mut socket, mut witness) = (house.socket().await, house.socket().await);
    witness.join(V4, "doc", "").await;
    socket.join(V4, "doc", "").await;
    socket.join(V4, "other", "").await;
    socket.send("doc", b"\x06\x02hi").await;
    socket.reads("doc", &[b"\x07\x10Reset Connection"]).await;
    witness.is_silent().await;
    socket.send("other", &live(&[0, 0])).await;
    socket.reads("other", &[SAVED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_a_full_room_denies_one_document_and_leaves_the_others() {
    let house = House::open(&["--members-max=1"]).await;
    let mut first = house.socket().await;
    first.join(V4, "full", "").await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.greet(version, "full", "token").await;
        socket.reads("full", &[READ_WRITE]).await;
        let reason = "dashboard has members-max members, try again";
        socket.until("full", |frame| frame == denied(reason)).await;
        let name = format!("own-{version:?}");
        socket.join(version, &name, "token").await;
        socket.send(&name, &live(&[0, 0])).await;
        socket.reads(&name, &[SAVED]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_9_documents_on_one_socket_are_bounded_and_the_rest_is_denied() {
    let house = House::open(&["--documents-per-socket-max=3"]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        for name in ["a", "b", "c"] {
            socket.join(version, name, "token").await;
        }
        socket.greet(version, "d", "token").await;
        let denied = denied("documents-per-socket-max reached");
        socket.reads("d", &[&denied, &denied]).await; // Its token, and its question.
        socket.send("a", CLOSE).await;
        socket.join(version, "d", "token").await;
        // One that was denied makes room for others.
        socket.send("d", CLOSE).await;
        socket.greet(version, "~nobody", "token").await;
        socket.until("~nobody", |frame| frame.starts_with(&[2, 1])).await;
        socket.join(version, "e", "token").await;
    }
}

// 2.10: what differs between the versions.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_10_several_documents_share_a_socket_and_nothing_else() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        let names: Vec<String> = (0..20).map(|at| format!("many-{version:?}-{at}")).collect();
        for name in &names {
            socket.greet(version, name, "token").await;
        }
        let mut answers = 0;
        while answers < 3 * names.len() {
            let (address, _) = socket.next().await;
            assert!(names.contains(&address));
            answers += 1;
        }
        let mut witness = house.socket().await;
        witness.join(V4, &names[3], "").await;
        socket.send(&names[3], &live(&forge::letters(9, 0, 1))).await;
        socket.reads(&names[3], &[SAVED]).await;
        witness.reads(&names[3], &[&live(&forge::letters(9, 0, 1))]).await;
        socket.is_silent().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_10_sessions_of_version_4_are_independent() {
    let house = House::with_tokens().await;
    let mut socket = house.socket().await;
    socket.join(V4, "doc", "editor").await;
    socket.join(V4, "doc\0one", "editor").await;
    socket.greet(V4, "doc\0two", "viewer").await;
    socket.reads("doc\0two", &[READ_ONLY]).await;
    socket.take_frames("doc\0two", 2).await;
    socket.greet(V4, "doc\0three", "wrong").await;
    socket.reads("doc\0three", &[&denied("permission-denied")]).await;
    // Each has its presence, its access and its acks; an edit of one reaches the others.
    socket.send("doc\0one", &forge::awareness(&[(1, 0, "{}")])).await;
    let mut shown = [socket.next().await, socket.next().await];
    shown.sort();
    let entry = forge::awareness(&[(1, 0, "{}")]);
    assert_eq!(shown, [("doc".to_owned(), entry.clone()), ("doc\0two".to_owned(), entry)]);
    socket.send("doc\0two", &live(&forge::letters(2, 0, 1))).await;
    socket.reads("doc\0two", &[REFUSED]).await;
    let update = live(&forge::letters(1, 0, 1));
    socket.send("doc\0one", &update).await;
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(socket.next().await);
    }
    got.sort();
    assert_eq!(
        got,
        [("doc".to_owned(), update.clone()), ("doc\0one".to_owned(), SAVED.to_vec()), ("doc\0two".to_owned(), update)]
    );
    // One leaves, and takes its own presence along.
    socket.send("doc\0one", CLOSE).await;
    let removal = forge::awareness(&[(1, 0, "null")]);
    let mut gone = [socket.next().await, socket.next().await];
    gone.sort();
    assert_eq!(gone, [("doc".to_owned(), removal.clone()), ("doc\0two".to_owned(), removal)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_10_no_version_is_sent_what_it_would_throw_on() {
    let house = House::with_tokens().await;
    let plays = [V2, V3].map(|version| {
        let house = &house;
        async move {
            let name = format!("doc-{version:?}");
            let (mut socket, mut witness, mut short) =
                (house.socket().await, house.socket().await, house.socket().await);
            witness.join(V4, &name, "editor").await;
            witness.send(&name, &forge::awareness(&[(8, 1, "{}")])).await;
            let mut seen = Vec::new();
            short.greet(version, "short", "short").await;
            socket.greet(version, &name, "editor").await;
            socket.gather(&mut seen).await;
            witness.send(&name, b"\x05\x02hi").await;
            witness.send(&name, &forge::awareness(&[(8, 2, "null")])).await;
            witness.send(&name, &live(&forge::letters(8, 0, 1))).await;
            for message in [
                &forge::awareness(&[(9, 3, "{}")])[..],
                &live(&forge::letters(9, 1, 1)),
                &sync_step2(&forge::letters(9, 0, 2)),
                &live(&forge::letters(9, 2, 1)),
                b"\x05\x02hi",
                QUERY_AWARENESS,
            ] {
                socket.send(&name, message).await;
            }
            socket.gather(&mut seen).await;
            socket.send(&name, CLOSE).await;
            // It comes back and is made to take the next clock; then its token is no good any more.
            socket.greet(version, &name, "editor").await;
            socket.send(&name, &forge::awareness(&[(9, 3, "{}")])).await;
            socket.gather(&mut seen).await;
            socket.send_token(version, &name, "viewer").await;
            socket.send(&name, &live(&forge::letters(9, 3, 1))).await;
            socket.gather(&mut seen).await;
            socket.send_token(version, &name, "wrong").await;
            socket.greet(version, " ", "editor").await;
            socket.gather(&mut seen).await;
            short.gather(&mut seen).await;
            while seen.last().is_none_or(|frame| frame != hocuspocus::HEARTBEAT) {
                seen.push(socket.peer.next_within(Duration::from_secs(30)).await.expect("a heartbeat"));
            }
            while let Some(frame) = short.peer.next_within(Duration::from_secs(5)).await {
                seen.push(frame);
            }
            let mut kinds = BTreeSet::new();
            for frame in &seen {
                let decoded = frame.clone().into();
                match hocuspocus::decode_from_server(&decoded) {
                    // Version 4's ping and pong are as short.
                    Ok(Outgoing::Liveness) => assert_eq!(frame, hocuspocus::HEARTBEAT),
                    Ok(Outgoing::Addressed { address, message }) => {
                        assert!(!matches!(message, ServerMessage::Close(_)), "{frame:?}");
                        let message = &frame[Address::new(address).prefix().len()..];
                        assert!([0, 1, 2, 3, 5, 8].contains(&message[0]), "{frame:?}");
                        // Which of the kind, where there are several.
                        let kind = if [0, 2, 8].contains(&message[0]) { &message[..2] } else { &message[..1] };
                        kinds.insert(kind.to_vec());
                    }
                    Err(failure) => panic!("{version:?} cannot read {frame:?}: {failure}"),
                }
            }
            let all: [&[u8]; 10] = [&[0, 0], &[0, 1], &[0, 2], &[1], &[2, 0], &[2, 1], &[2, 2], &[5], &[8, 0], &[8, 1]];
            for kind in all {
                assert!(kinds.contains(kind), "{version:?} was not sent {kind:?}: {kinds:?}");
            }
        }
    });
    join_all(plays).await;
}

// The first message tells the dialect, on any path.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_path_serves_hocuspocus_when_the_first_message_is_its() {
    let house = House::open(&[]).await;
    for path in ["/", "/collaboration", "/ws/acme/x", "/a//b", "/~alice", "/hocuspocus/", "/hocuspocus?token=x"] {
        for version in [V2, V3, V4] {
            let mut socket = Socket { peer: house.y_websocket(path).await };
            socket.greet(version, "doc", "token").await;
            socket.until("doc", |frame| frame == READ_WRITE).await;
            socket.take_frames("doc", 2).await;
            socket.send("doc", &live(&[0, 0])).await;
            socket.reads("doc", &[SAVED]).await;
        }
    }
    // Version 2 without a token.
    let mut socket = Socket { peer: house.y_websocket("/").await };
    socket.send("doc", STEP1).await;
    socket.until("doc", |frame| frame == READ_WRITE).await;
    // Where a path names a dashboard the server speaks first, and a provider then begins with what waited for a socket.
    let early = [live(&forge::letters(9, 0, 1)), forge::awareness(&[(9, 1, r#"{"user":1}"#)]), b"\x05\x02hi".to_vec()];
    for first in early {
        let mut socket = Socket { peer: house.y_websocket("/collaboration").await };
        socket.send("doc", &first).await;
        socket.greet(V4, "doc", "token").await;
        socket.until("doc", |frame| frame == READ_WRITE).await;
    }
    // The dashboards that the paths would have meant are left again.
    house.until("nobody is where a path led", |house| house.metrics.rooms.get() <= 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_right_behind_the_first_are_not_lost_with_the_change_of_dialect() {
    let house = House::open(&[]).await;
    for path in ["/", "/collaboration"] {
        let mut socket = Socket { peer: house.y_websocket(path).await };
        let token = hocuspocus::token(&Address::new("doc"), "", Some("4.7.0"));
        socket.peer.feed(token).await;
        socket.feed("doc", STEP1).await;
        for at in 0..50 {
            socket.feed("doc", &live(&forge::letters(9, at, 1))).await;
        }
        socket.peer.flush().await;
        let mut acks = 0;
        while acks < 50 {
            let (_, message) = socket.next().await;
            acks += usize::from(message == SAVED);
        }
        socket.send("doc", CLOSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_y_websocket_client_is_never_taken_for_another() {
    let house = House::open(&[]).await;
    let mut peer = house.y_websocket("/room?acks=1").await;
    // A message that this dialect ignores, first of all.
    peer.send([100, 1, 2, 3]).await;
    peer.send(sync_step1(&[0])).await;
    peer.expect(|frame| frame == NOTHING_NEW).await;
    // From then on a greeting is garbage.
    peer.send(hocuspocus::token(&Address::new("doc"), "", None)).await;
    peer.ended_for_good(4400).await;
    // A name that leads nowhere is refused as soon as the first message shows the dialect, and in time if none comes.
    for first in [Some(sync_step1(&[0])), None] {
        let mut peer = house.y_websocket("/a/%2e%2e").await;
        if let Some(first) = first {
            peer.send(first).await;
        }
        peer.ended_for_good(4404).await;
    }
}

// Both dialects in one room.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_dialects_see_each_others_edits_and_cursors() {
    let house = House::open(&[]).await;
    for version in [V2, V3, V4] {
        let name = format!("both-{version:?}");
        let mut socket = house.socket().await;
        socket.join(version, &name, "token").await;
        let mut other = house.y_websocket(&format!("/{name}?acks=1")).await;
        other.expect(|frame| frame == STEP1).await;
        let (own, foreign) = (forge::awareness(&[(1, 0, "{}")]), forge::awareness(&[(2, 0, "{}")]));
        socket.send(&name, &own).await;
        other.expect(|frame| frame == own).await;
        other.send(foreign.clone()).await;
        socket.reads(&name, &[&foreign]).await;
        socket.send(&name, &live(&forge::letters(1, 0, 1))).await;
        socket.reads(&name, &[SAVED]).await;
        other.expect(|frame| frame == live(&forge::letters(1, 0, 1))).await;
        other.send(live(&forge::letters(2, 0, 1))).await;
        assert_eq!(other.statuses(1).await, (1, 0));
        socket.reads(&name, &[&live(&forge::letters(2, 0, 1))]).await;
        drop(other);
        socket.reads(&name, &[&forge::awareness(&[(2, 0, "null")])]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_both_dialects_on_two_nodes_see_each_others_edits_and_cursors() {
    let [here, there] = House::pair().await;
    for version in [V2, V3, V4] {
        let name = format!("nodes-{version:?}");
        let mut socket = here.socket().await;
        socket.join(version, &name, "token").await;
        let mut other = there.y_websocket(&format!("/{name}?acks=1")).await;
        other.expect(|frame| frame == STEP1).await;
        let (own, foreign) = (forge::awareness(&[(1, 0, "{}")]), forge::awareness(&[(2, 0, "{}")]));
        socket.send(&name, &own).await;
        other.expect(|frame| frame == own).await;
        other.send(foreign.clone()).await;
        socket.until(&name, |frame| frame == foreign).await;
        socket.send(&name, &live(&forge::letters(1, 0, 1))).await;
        other.expect(|frame| frame == live(&forge::letters(1, 0, 1))).await;
        socket.until(&name, |frame| frame == SAVED).await;
        other.send(live(&forge::letters(2, 0, 1))).await;
        assert_eq!(other.statuses(1).await, (1, 0));
        socket.until(&name, |frame| frame == live(&forge::letters(2, 0, 1))).await;
        drop(other);
        socket.until(&name, |frame| frame == forge::awareness(&[(2, 0, "null")])).await;
    }
}

// Stateless messages.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateless_message_reaches_the_members_that_have_a_message_for_it() {
    let house = House::open(&["--stateless-bytes-max=1KiB"]).await;
    let mut sockets = Vec::new();
    for version in [V2, V3, V4] {
        let mut socket = house.socket().await;
        socket.join(version, "doc", "token").await;
        socket.join(version, "elsewhere", "token").await;
        sockets.push(socket);
    }
    let mut other = house.y_websocket("/doc").await;
    other.expect(|frame| frame == STEP1).await;
    for at in 0..3 {
        sockets[at].send("doc", b"\x05\x06h\xc3\xa9llo").await;
        for to in (0..3).filter(|to| *to != at) {
            sockets[to].reads("doc", &[b"\x05\x06h\xc3\xa9llo"]).await;
        }
    }
    let url = format!("http://{}/api/dashboards/default/doc/stateless", house.address);
    let answer = reqwest::Client::new().post(url).body("{\"by\":\"REST\"}").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    for socket in &mut sockets {
        socket.reads("doc", &[b"\x05\x0d{\"by\":\"REST\"}"]).await;
        socket.is_silent().await;
    }
    // y-websocket has no message for it, and one beyond the bound goes nowhere.
    sockets[0].send("doc", &[&[5, 0x81, 8][..], &[b'x'; 1025]].concat()).await;
    sockets[1].is_silent().await;
    assert_eq!(house.metrics.refusals.get(Refusal::Stateless), 1);
    while let Some(frame) = other.next_within(SILENCE).await {
        assert_ne!(frame[0], 5, "{frame:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateless_message_reaches_the_members_on_other_nodes_once() {
    let [here, there] = House::pair().await;
    let mut sockets = [here.socket().await, here.socket().await, there.socket().await];
    for socket in &mut sockets {
        socket.join(V4, "doc", "").await;
    }
    sockets[0].send("doc", b"\x05\x02hi").await;
    for socket in &mut sockets[1..] {
        socket.until("doc", |frame| frame == b"\x05\x02hi").await;
    }
    let url = format!("http://{}/api/dashboards/default/doc/stateless", there.address);
    assert_eq!(reqwest::Client::new().post(url).body("REST").send().await.unwrap().status(), 202);
    for socket in &mut sockets {
        socket.until("doc", |frame| frame == b"\x05\x04REST").await;
        while let Some(frame) = socket.peer.next_within(SILENCE).await {
            assert_ne!(frame[..4.min(frame.len())], *b"\x03doc\x05", "{frame:?}");
        }
    }
}

// Attacks.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_beyond_any_use_end_the_socket() {
    let house = House::open(&[]).await;
    for len in [513, 1 << 20] {
        let mut socket = house.socket().await;
        socket.greet(V4, &"x".repeat(len), "").await;
        assert_eq!(socket.peer.ended().await.code, 4401);
    }
    assert_eq!(house.metrics.refusals.get(Refusal::BadName), 2);
}

/// A bound per socket is none when sockets cost nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_early_messages_on_many_sockets_are_bounded_together() {
    let house = House::with_tokens_and(&["--memory-max=32MiB", "--room-memory=16MiB", "--auth-timeout=3s"]).await;
    let mut sockets = Vec::new();
    for _ in 0..40 {
        let mut socket = house.socket().await;
        let early = live(&forge::letters(9, 0, 900 << 10));
        sockets.push(tokio::spawn(async move {
            socket.send("doc", &early).await;
            socket.peer.ended().await.code
        }));
    }
    let waiting = |house: &House| house.metrics.memory_bytes.get(Memory::Pending);
    house.until("much waits", |house| waiting(house) > 8 << 20).await;
    // Three quarters of what is not for rooms.
    assert!(waiting(&house) <= 12 << 20);
    // Who shows a token first is served all the same.
    let mut honest = house.socket().await;
    honest.join(V4, "doc", "editor").await;
    honest.send("doc", &live(&forge::letters(8, 0, 1))).await;
    honest.reads("doc", &[SAVED]).await;
    // What the others held is free again when they are gone.
    for socket in sockets {
        assert!(matches!(socket.await.unwrap(), 4205 | 4408));
    }
    house.until("nothing waits", |house| waiting(house) == 0).await;
    let mut socket = house.socket().await;
    socket.send("doc", &live(&forge::letters(7, 0, 900 << 10))).await;
    socket.send_token(V4, "doc", "editor").await;
    socket.reads("doc", &[READ_WRITE, SAVED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_a_thousand_documents_on_one_socket() {
    let house = House::open(&[]).await;
    let mut socket = house.socket().await;
    for at in 0..1_000 {
        let token = hocuspocus::token(&Address::new(&format!("doc-{at}")), "", Some("4.7.0"));
        socket.peer.feed(token).await;
    }
    socket.peer.flush().await;
    let (mut admitted, mut denied) = (0, 0);
    while admitted + denied < 1_000 {
        let (_, message) = socket.next().await;
        admitted += usize::from(message == READ_WRITE);
        denied += usize::from(message.starts_with(&[2, 1]));
    }
    assert_eq!((admitted, denied), (256, 744));
    assert_eq!((house.metrics.rooms.get(), house.metrics.sessions.get()), (256, 256));
    let (mut first, mut other) = (house.socket().await, house.socket().await);
    first.join(V4, "doc-1000", "").await;
    other.join(V4, "doc-1000", "").await;
    drop(socket);
    house.until("all but one are left", |house| house.metrics.rooms.get() == 1).await;
}

/// One socket with many documents is worth as much as many sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_documents_count_as_sessions_of_their_address() {
    let house = House::open(&["--sessions-per-address-max=4"]).await;
    let (mut many, mut one) = (house.socket().await, house.socket().await);
    for name in ["a", "b", "c"] {
        many.join(V4, name, "").await;
    }
    one.join(V4, "a", "").await;
    many.send_token(V4, "d", "").await;
    many.reads("d", &[&denied("sessions-per-address-max reached, try again")]).await;
    assert_eq!(house.metrics.refusals.get(Refusal::SessionLimit), 1);
    // What is closed makes room, whichever it was.
    for (closed, opened) in [("a", "d"), ("b", "e")] {
        many.send(closed, CLOSE).await;
        many.join(V4, opened, "").await;
        assert_eq!(house.metrics.sessions.get(), 4);
    }
    drop(many);
    house.until("its places are free", |house| house.metrics.sessions.get() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_tokens_without_end_disturb_nobody_and_the_last_one_counts() {
    let house = House::with_tokens().await;
    let (mut storm, mut witness) = (house.socket().await, house.socket().await);
    witness.join(V4, "doc", "editor").await;
    storm.join(V4, "doc", "editor").await;
    for at in 0..1_500 {
        let token = ["viewer", "editor", "wrong"][at % 3];
        storm.peer.feed(hocuspocus::token(&Address::new("doc"), token, Some("4.7.0"))).await;
    }
    storm.peer.flush().await;
    for at in 0..20 {
        witness.send("doc", &live(&forge::letters(8, at, 1))).await;
        witness.reads("doc", &[SAVED]).await;
    }
    let mut denials = 0;
    while denials < 500 {
        let (_, message) = storm.next().await;
        denials += usize::from(message.starts_with(&[2, 1]));
    }
    storm.send_token(V4, "doc", "viewer").await;
    storm.until("doc", |frame| frame == READ_ONLY).await;
    storm.send("doc", &live(&forge::letters(9, 0, 1))).await;
    storm.until("doc", |frame| frame == REFUSED).await;
    assert_eq!(house.metrics.sessions.get(), 2);
}

/// Whatever was on its way when a document was closed and opened again, each session gets its own acks and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_closing_and_opening_as_fast_as_it_goes() {
    let house = House::open(&[]).await;
    let (mut socket, mut witness) = (house.socket().await, house.socket().await);
    witness.join(V4, "doc", "").await;
    for at in 0..300 {
        socket.peer.feed(hocuspocus::token(&Address::new("doc"), "", Some("4.7.0"))).await;
        socket.feed("doc", STEP1).await;
        socket.feed("doc", &live(&forge::letters(9, at, 1))).await;
        socket.feed("doc", CLOSE).await;
    }
    socket.peer.flush().await;
    let mut answers = 0;
    while let Some(frame) = socket.peer.next_within(Duration::from_secs(2)).await {
        answers += usize::from(frame != hocuspocus::HEARTBEAT);
    }
    assert!(answers <= 300 * 4, "{answers}");
    house.until("all but the last place are free", |house| house.metrics.sessions.get() == 2).await;
    socket.join(V4, "doc", "").await;
    socket.send("doc", NOTHING_NEW).await;
    socket.send("doc", &live(&forge::letters(7, 0, 1))).await;
    socket.reads("doc", &[SAVED, SAVED]).await;
    socket.is_silent().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_a_session_id_of_somebody_else_opens_nothing() {
    let house = House::with_tokens().await;
    let (mut owner, mut stranger) = (house.socket().await, house.socket().await);
    owner.join(V4, "doc\0one", "editor").await;
    // Neither on another socket, nor with another session's name, nor with none.
    for address in ["doc\0one", "doc\0two", "doc", "doc\0", "doc\0one\0"] {
        stranger.send(address, &live(&forge::letters(9, 0, 1))).await;
        stranger.send(address, b"\x05\x02hi").await;
        stranger.send(address, CLOSE).await;
    }
    for address in ["doc\0two", "doc", "doc\0"] {
        owner.send(address, &live(&forge::letters(9, 0, 1))).await;
    }
    owner.is_silent().await;
    stranger.is_silent().await;
    owner.send("doc\0one", &live(&forge::letters(8, 0, 1))).await;
    owner.reads("doc\0one", &[SAVED]).await;
    assert_eq!(house.metrics.sessions.get(), 2, "one document and two sockets");
}

/// Whose frames are dropped because it reads slowly, and whose edits are refused, is told so as often as it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_acks_are_exact_for_who_does_not_read_and_for_what_is_refused() {
    let house =
        House::open(&["--outbox-bytes-max=32KiB", "--frame-bytes-max=1MiB", "--document-bytes-max=12MiB"]).await;
    let (mut slow, mut author) = (house.narrow_socket().await, house.socket().await);
    slow.join(V4, "doc", "").await;
    author.join(V4, "doc", "").await;
    let (mut saved, mut refused, mut sent) = (0, 0, 0);
    while saved + refused < 40 {
        author.send("doc", &live(&forge::letters(9, (saved + refused) * (500 << 10), 500 << 10))).await;
        for _ in 0..25 {
            slow.send("doc", &live(&forge::letters(8, sent, 1))).await;
            sent += 1;
        }
        // One by one, so that they are not joined to a few frames, which would wait whatever their size.
        let status = loop {
            let (_, message) = author.next().await;
            if message.starts_with(&[8]) {
                break message;
            }
        };
        saved += u64::from(status == SAVED);
        refused += u64::from(status == REFUSED);
    }
    assert!(saved >= 10 && refused >= 10, "{saved} saved, {refused} refused");
    let (mut acks, mut differences) = (0, 0);
    while let Some(frame) = slow.peer.next_within(if acks < sent { WITHIN } else { 4 * SILENCE }).await {
        acks += u64::from(frame.starts_with(b"\x03doc\x08"));
        differences += u64::from(frame.starts_with(b"\x03doc\x00\x01"));
    }
    assert_eq!(acks, sent);
    assert_eq!((differences, house.metrics.resyncs.get()), (1, 1), "for all that was dropped");
}

/// What a version of the provider sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V2,
    V3,
    V4,
}

fn denied(reason: &str) -> Vec<u8> {
    [&[2, 1, reason.len() as u8], reason.as_bytes()].concat()
}

/// A server in this process.
struct House {
    address: SocketAddr,
    store: MemoryStore,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    tokens: Arc<Tokens>,
}

/// Lets in who shows one of three tokens.
#[derive(Default)]
struct Tokens {
    asked: AtomicU32,
}

impl Authenticator for Tokens {
    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (access, until) = match caller.token {
            Some("editor") => (Access::EDITOR, None),
            Some("viewer") => (Access::VIEWER, None),
            Some("short") => (Access::EDITOR, Some(now() + Duration::from_secs(2))),
            _ => return Eventual::Now(Err(Denied::Unauthenticated)),
        };
        let principal = Principal::user(caller.token.unwrap_or_default());
        Eventual::Now(Ok(Admission { principal, until, ..Admission::anonymous(access) }))
    }
}

impl House {
    async fn open(flags: &[&str]) -> House {
        House::start(flags, false, None)
    }

    async fn with_tokens() -> House {
        House::start(&[], true, None)
    }

    async fn with_tokens_and(flags: &[&str]) -> House {
        House::start(flags, true, None)
    }

    /// Two nodes of one cluster.
    async fn pair() -> [House; 2] {
        let (bus, store) = (LocalBus::new(), MemoryStore::new());
        [(); 2].map(|()| House::start(&[], false, Some((bus.node(), store.clone()))))
    }

    fn start(flags: &[&str], asks_for_tokens: bool, shared: Option<(Arc<dyn Bus>, MemoryStore)>) -> House {
        crate::support::let_reqwest_work();
        let flags = flags.iter().map(|flag| flag.trim_start_matches("--").split_once('=').unwrap());
        let flags = [("listen", "127.0.0.1:0"), ("room-idle", "300ms")].into_iter().chain(flags);
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (config, _) = Config::load(&Layers { flags, ..Layers::default() }).unwrap();
        let tokens = Arc::new(Tokens::default());
        let mut server = Server::bind(Arc::new(config)).unwrap();
        if asks_for_tokens {
            server = server.with_authenticator(Arc::clone(&tokens) as Arc<dyn Authenticator>);
        }
        let store = match shared {
            Some((bus, store)) => {
                server = server.on_bus(bus).leaving_store_open();
                store
            }
            None => MemoryStore::new(),
        };
        let (address, metrics) = (server.local_address(), Arc::clone(server.metrics()));
        let shutdown = server.shutdown().clone();
        tokio::spawn(server.serve(Arc::new(store.clone())));
        House { address, store, metrics, shutdown, tokens }
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    async fn y_websocket(&self, path: &str) -> Peer {
        Peer::try_open(&self.url(path)).await.expect("the server listens")
    }

    async fn socket(&self) -> Socket {
        Socket { peer: self.y_websocket("/hocuspocus").await }
    }

    /// What is not read soon from it stays with the server.
    async fn narrow_socket(&self) -> Socket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let io = MaybeTlsStream::Plain(socket.connect(self.address).await.unwrap());
        let (socket, _) = tokio_tungstenite::client_async(self.url("/hocuspocus"), io).await.unwrap();
        Socket { peer: Peer::over(socket) }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&House) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < WITHIN, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A socket that speaks for any number of providers.
struct Socket {
    peer: Peer,
}

impl Socket {
    fn frame(address: &str, message: &[u8]) -> Vec<u8> {
        [&Address::new(address).prefix()[..], message].concat()
    }

    async fn send(&mut self, address: &str, message: &[u8]) {
        self.peer.send(Socket::frame(address, message)).await;
    }

    async fn feed(&mut self, address: &str, message: &[u8]) {
        self.peer.feed(Socket::frame(address, message)).await;
    }

    async fn send_hex(&mut self, text: &str) {
        self.peer.send(hex(text)).await;
    }

    async fn send_token(&mut self, version: Version, address: &str, token: &str) {
        let told = (version == V4).then_some("4.7.0");
        self.peer.send(hocuspocus::token(&Address::new(address), token, told)).await;
    }

    /// What a provider without a presence says when its socket opens.
    async fn greet(&mut self, version: Version, address: &str, token: &str) {
        self.send_token(version, address, token).await;
        self.send(address, STEP1).await;
    }

    /// Greets, and takes the answers of a server that has an empty document and nobody in it; the first may already be there.
    async fn join(&mut self, version: Version, address: &str, token: &str) {
        self.greet(version, address, token).await;
        let mut has_state = false;
        let mut has_question = false;
        while !has_state || !has_question {
            let (from, message) = self.next().await;
            assert_eq!(from, address);
            assert!(!message.starts_with(&[2, 1]), "denied: {message:?}");
            has_state |= message.starts_with(&[0, 1]);
            has_question |= message.starts_with(&[0, 0]);
        }
    }

    /// The next message, with its address.
    async fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            let frame = self.peer.next_within(WITHIN).await.expect("the server says something");
            if frame == hocuspocus::HEARTBEAT {
                continue;
            }
            let decoded = frame.clone().into();
            let Ok(Outgoing::Addressed { address, .. }) = hocuspocus::decode_from_server(&decoded) else {
                panic!("not a server's frame: {frame:?}");
            };
            let prefix = Address::new(address).prefix().len();
            return (address.to_owned(), frame[prefix..].to_vec());
        }
    }

    /// The next messages are exactly these, about this document.
    #[track_caller]
    fn reads<'a>(&'a mut self, address: &'a str, messages: &'a [&'a [u8]]) -> impl Future<Output = ()> + use<'a> {
        let caller = std::panic::Location::caller();
        async move {
            for expected in messages {
                let next = timeout(WITHIN, self.next()).await;
                let (from, message) = next.unwrap_or_else(|_| panic!("{caller}: {expected:?} did not come"));
                assert_eq!((from.as_str(), message.as_slice()), (address, *expected), "{caller}");
            }
        }
    }

    async fn reads_hex(&mut self, text: &str) {
        let (address, message) = self.next().await;
        assert_eq!(Socket::frame(&address, &message), hex(text), "{text}");
    }

    /// The next so many messages, all about this document.
    async fn take_frames(&mut self, address: &str, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while frames.len() < count {
            let (from, message) = self.next().await;
            assert_eq!(from, address);
            frames.push(message);
        }
        frames
    }

    /// Reads until a message about this document `is_it`. Another dialect's frames, from before it was told, are passed over.
    async fn until(&mut self, address: &str, is_it: impl Fn(&[u8]) -> bool) {
        let prefix = Address::new(address).prefix().clone();
        self.peer.expect(|frame| frame.strip_prefix(&prefix[..]).is_some_and(&is_it)).await;
    }

    /// Takes all frames until it is silent.
    async fn gather(&mut self, frames: &mut Vec<Vec<u8>>) {
        while let Some(frame) = self.peer.next_within(SILENCE).await {
            frames.push(frame);
        }
    }

    async fn is_silent(&mut self) {
        let next = self.peer.next_within(SILENCE).await;
        assert!(next.is_none() || next.as_deref() == Some(hocuspocus::HEARTBEAT), "{next:?}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
