//! Crashes and restarts of the real binary under writers who wait for acks: what was called saved is there.
//!
//! Needs an optimized binary to be worth its time, which `YDASH_BIN` names: `YDASH_BIN=target/release/ydash cargo test --test crash`.

#![allow(clippy::unwrap_used)]

#[path = "it/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
use support::node::Node;
use support::peer::Peer;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use ydash_proto::limits::Limits;
use ydash_proto::update::scan;

const ROOMS: [&str; 3] = ["alpha", "beta", "gamma"];
const WRITERS_PER_ROOM: u64 = 3;
const KILLS: u32 = 25;

/// Where the server is, or that it is away.
type Address = Option<String>;

/// A client that edits all the time, with or without a server, and knows which of its edits were called saved.
struct Writer {
    client: Client,
    room: &'static str,
    /// Edits of this client when each unanswered update was sent, oldest first. The first entry of a connection is the
    /// SyncStep2 that every SyncStep1 is answered with.
    sent: std::collections::VecDeque<u32>,
    answered: usize,
    /// Own edits that were called saved.
    saved: u32,
}

impl Writer {
    fn new(id: u64, room: &'static str) -> Writer {
        Writer { client: Client::new(id), room, sent: Default::default(), answered: 0, saved: 0 }
    }

    /// One in each room speaks Hocuspocus.
    fn is_provider(&self) -> bool {
        self.client.id % 1_000 == WRITERS_PER_ROOM - 1
    }

    /// Connects when there is a server, reads for a moment, and edits once.
    async fn step(&mut self, address: &watch::Receiver<Address>, random: &mut fastrand::Rng) {
        if !self.client.is_connected() {
            let url = address.borrow().clone();
            let peer = match url {
                Some(url) if self.is_provider() => {
                    Peer::try_open_document(&format!("{url}/hocuspocus"), self.room).await
                }
                Some(url) => Peer::try_open(&format!("{url}/{}?acks=1", self.room)).await,
                None => None,
            };
            if let Some(peer) = peer {
                self.sent.clear();
                self.answered = 0;
                self.client.begin(peer).await;
            }
        }
        let answers_before = self.client.answers;
        self.client.take_for(Duration::from_millis(random.u64(1..15))).await;
        // Its answers carry all that it had when it gave them; edits follow below, so that is what it has at this point.
        for _ in answers_before..self.client.answers {
            self.sent.push_back(self.client.clock());
        }
        self.note_acks();
        let key = format!("{}-{}", self.client.id, random.u8(..4));
        self.client.set(&key, random.i64(0..1_000_000)).await;
        if self.client.is_connected() {
            self.sent.push_back(self.client.clock());
        }
    }

    fn note_acks(&mut self) {
        assert_eq!(self.client.refused, 0, "nothing that an honest client sends is refused");
        while self.answered < self.client.saved {
            self.answered += 1;
            let clock = self.sent.pop_front().expect("an ack answers an update");
            self.saved = self.saved.max(clock);
        }
    }
}

/// Lets writers edit until they are stopped.
fn write(
    seed: u64,
    mut writer: Writer,
    address: watch::Receiver<Address>,
    saved: watch::Sender<u32>,
    is_over: Arc<AtomicBool>,
) -> JoinHandle<Writer> {
    tokio::spawn(async move {
        let mut random = fastrand::Rng::with_seed(seed ^ writer.client.id);
        while !is_over.load(Ordering::Relaxed) {
            writer.step(&address, &mut random).await;
            saved.send_replace(writer.saved);
        }
        writer
    })
}

/// How many edits of `client` an update holds from the first on.
fn clock_in(state: &[u8], client: u64) -> u32 {
    let scan = scan(state, &Limits::default()).unwrap();
    scan.spans.iter().filter(|span| span.client == client && span.start == 0).map(|span| span.end).max().unwrap_or(0)
}

async fn assert_saved(node: &Node, watched: &[(u64, &'static str, u32)]) {
    for room in ROOMS {
        let state = node.state(&format!("default/{room}")).await;
        for (id, _, saved) in watched.iter().filter(|(_, of, _)| *of == room) {
            let kept = clock_in(&state, *id);
            assert!(kept >= *saved, "client {id}: {saved} edits were called saved, {kept} are there");
        }
    }
}

struct Crowd {
    address: watch::Sender<Address>,
    writers: Vec<JoinHandle<Writer>>,
    saved: Vec<(u64, &'static str, watch::Receiver<u32>)>,
    is_over: Arc<AtomicBool>,
}

impl Crowd {
    fn gather(seed: u64) -> Crowd {
        let (address, addressed) = watch::channel(None);
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut writers, mut saved) = (Vec::new(), Vec::new());
        for (at, room) in ROOMS.into_iter().enumerate() {
            for writer in 0..WRITERS_PER_ROOM {
                let id = 1_000 * (at as u64 + 1) + writer;
                let (tell, told) = watch::channel(0);
                saved.push((id, room, told));
                writers.push(write(seed, Writer::new(id, room), addressed.clone(), tell, Arc::clone(&is_over)));
            }
        }
        Crowd { address, writers, saved, is_over }
    }

    fn send_to(&self, node: &Node) {
        self.address.send_replace(Some(format!("ws://{}", node.address)));
    }

    /// What has been called saved until this moment.
    fn saved(&self) -> Vec<(u64, &'static str, u32)> {
        self.saved.iter().map(|(id, room, saved)| (*id, *room, *saved.borrow())).collect()
    }

    async fn disperse(self) -> Vec<Writer> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut writers = Vec::new();
        for writer in self.writers {
            writers.push(writer.await.unwrap());
        }
        writers
    }
}

/// Brings everybody back and asserts that all of a room have the same content, which a newcomer gets, too.
async fn assert_converged(node: &Node, writers: Vec<Writer>) {
    let mut clients: Vec<(&str, Client)> = Vec::new();
    for Writer { mut client, room, .. } in writers {
        if !client.is_connected() {
            client.join(node, &format!("/{room}")).await;
        }
        clients.push((room, client));
    }
    for room in ROOMS {
        let expected: Vec<(u64, u32)> =
            clients.iter().filter(|(of, _)| *of == room).map(|(_, client)| (client.id, client.clock())).collect();
        assert!(expected.iter().all(|(_, clock)| *clock > 0));
        let has_all = |client: &Client| expected.iter().all(|(id, clock)| client.clock_of(*id) >= *clock);
        let mut members: Vec<&mut Client> =
            clients.iter_mut().filter(|(of, _)| *of == room).map(|(_, client)| client).collect();
        // All of them read meanwhile, and answer what they are asked.
        let began = Instant::now();
        while !members.iter().all(|client| has_all(client)) {
            assert!(began.elapsed() < Duration::from_secs(20), "{room} does not converge");
            for client in &mut members {
                client.take_for(Duration::from_millis(10)).await;
                if !client.is_connected() {
                    client.join(node, &format!("/{room}")).await;
                }
            }
        }
        let mut newcomer = Client::new(9);
        newcomer.join(node, &format!("/{room}")).await;
        newcomer.until(has_all).await;
        for client in members {
            assert_eq!(client.content(), newcomer.content(), "client {} of {room}", client.id);
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

fn start(directory: &Path) -> Node {
    // Short intervals: a kill meets commits, snapshots and evictions alike.
    Node::start_in(directory, &["--snapshot-bytes=16KiB", "--snapshot-interval=1s", "--room-idle=300ms", "--log=warn"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn what_was_called_saved_survives_sigkill() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let crowd = Crowd::gather(seed);
    let mut saved_by_last_kill = 0;
    for kill in 0..KILLS {
        let mut node = start(directory.path());
        assert_saved(&node, &crowd.saved()).await;
        crowd.send_to(&node);
        tokio::time::sleep(Duration::from_millis(random.u64(50..1_200))).await;
        crowd.address.send_replace(None);
        node.kill();
        // What it said with its last breath may still be on its way to a writer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let saved = crowd.saved();
        let sum: u32 = saved.iter().map(|(_, _, saved)| saved).sum();
        println!("kill {kill}: {sum} edits were called saved so far");
        saved_by_last_kill = sum;
    }
    assert!(saved_by_last_kill > 100, "only {saved_by_last_kill} edits were called saved: nothing was tried");
    assert!(crowd.saved().iter().all(|(_, _, saved)| *saved > 0), "in both dialects: {:?}", crowd.saved());
    let node = start(directory.path());
    assert_saved(&node, &crowd.saved()).await;
    crowd.send_to(&node);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_converged(&node, crowd.disperse().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn sigterm_drains_and_everybody_comes_back() {
    let seed = seed();
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--drain-deadline=4s", "--log=warn"];
    let mut node = Node::start_in(directory.path(), &flags);
    let crowd = Crowd::gather(seed);
    crowd.send_to(&node);
    let mut watcher = Peer::open(&node, "/alpha").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    crowd.address.send_replace(None);
    let (status, ended) = tokio::join!(node.terminate(Duration::from_secs(6)), watcher.ended());
    assert!(status.success(), "{status}");
    assert_eq!(ended.code, 1012);
    assert!(node.log().iter().all(|line| !line.contains(" WARN ") && !line.contains("ERROR")), "{:#?}", node.log());
    // All that was acknowledged to the last moment, drain included.
    let saved = crowd.saved();
    assert!(saved.iter().all(|(_, _, saved)| *saved > 0));

    let node = Node::start_in(directory.path(), &flags);
    assert_saved(&node, &saved).await;
    // Everybody comes back at once.
    crowd.send_to(&node);
    let began = Instant::now();
    node.until_metric("ydash_sessions", |sessions| sessions == ROOMS.len() as f64 * WRITERS_PER_ROOM as f64).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_converged(&node, crowd.disperse().await).await;
}
