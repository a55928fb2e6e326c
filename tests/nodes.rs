//! Several nodes of the real binary over a real Redis, behind nginx, under writers who wait for acks, while parts of it are killed,
//! stopped and restarted: afterwards everything that was called saved is everywhere, all agree, and presence is exact.
//!
//! Needs an optimized binary to be worth its time, which `YDASH_BIN` names: `YDASH_BIN=target/release/ydash cargo test --test nodes`. Each
//! scenario has a Redis, nodes and ports of its own, so they run at once: most of their time is waiting.

#![allow(clippy::unwrap_used)]

#[path = "it/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::client::Client;
use support::nginx::Nginx;
use support::node::Node;
use support::peer::Peer;
use support::redis::{Server, free_port};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use ydash_proto::limits::Limits;
use ydash_proto::update::scan;

const ROOMS: [&str; 2] = ["alpha", "beta"];
const WRITERS_PER_ROOM: u64 = 3;
const NODES: usize = 3;

/// A killed node's cursors are to vanish within this; the rest is for a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(7);
/// Everything is to be the same everywhere within this after the last trouble.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// How long a process or a Redis stays stopped: longer than any lease.
const STOPPED_FOR: Duration = Duration::from_secs(20);

/// What writers do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    /// Edit, and come back whenever the socket breaks.
    Write,
    /// Read only, and come back likewise.
    Rest,
    End,
}

/// What a writer tells of itself.
#[derive(Clone, Default)]
struct View {
    id: u64,
    room: &'static str,
    /// Own edits.
    edits: u32,
    /// Own edits that were called saved.
    saved: u32,
    /// Updates without an answer.
    owed: usize,
    clocks: BTreeMap<u64, u32>,
    sees: Vec<u64>,
    is_synced: bool,
    connects: u32,
}

/// A client that edits all the time, with or without a server, and knows which of its edits were called saved.
struct Writer {
    client: Client,
    room: &'static str,
    /// Where it connects.
    url: String,
    again_at: Instant,
    /// Edits of this client when each unanswered update was sent, oldest first.
    sent: VecDeque<u32>,
    answered: usize,
    saved: u32,
    logged: u32,
    connects: u32,
}

impl Writer {
    async fn step(&mut self, phase: Phase, random: &mut fastrand::Rng) {
        if !self.client.is_connected() && Instant::now() >= self.again_at {
            // A node that is stopped takes connections and says nothing.
            let opening = Peer::try_open(&self.url);
            match timeout(Duration::from_secs(3), opening).await.ok().flatten() {
                Some(peer) => {
                    (self.answered, self.connects) = (0, self.connects + 1);
                    self.sent.clear();
                    self.client.begin(peer).await;
                }
                None => self.again_at = Instant::now() + Duration::from_millis(random.u64(50..500)),
            }
        }
        let was_connected = self.client.is_connected();
        let answers_before = self.client.answers;
        self.client.take_for(Duration::from_millis(random.u64(10..40))).await;
        for _ in answers_before..self.client.answers {
            self.sent.push_back(self.client.clock());
        }
        assert_eq!(self.client.refused, 0, "nothing that an honest client sends is refused");
        while self.answered < self.client.saved {
            self.answered += 1;
            let clock = self.sent.pop_front().expect("an ack answers an update");
            self.saved = self.saved.max(clock);
        }
        if was_connected && !self.client.is_connected() {
            self.again_at = Instant::now() + Duration::from_millis(random.u64(50..500));
        }
        if phase == Phase::Write {
            self.logged += 1;
            let entry = format!("{}-{}", self.client.id, self.logged);
            self.client.log(&entry).await;
            if self.client.is_connected() {
                self.sent.push_back(self.client.clock());
            }
        }
    }

    fn view(&self) -> View {
        View {
            id: self.client.id,
            room: self.room,
            edits: self.client.clock(),
            saved: self.saved,
            owed: self.sent.len(),
            clocks: self.client.clocks(),
            sees: self.client.sees(),
            is_synced: self.client.is_connected() && self.client.is_synced,
            connects: self.connects,
        }
    }
}

#[derive(Default)]
struct Crowd {
    phase: watch::Sender<Phase>,
    writers: Vec<JoinHandle<Writer>>,
    views: Vec<Arc<Mutex<View>>>,
}

impl Crowd {
    fn gather(url: &str, seed: u64) -> Crowd {
        let mut crowd = Crowd::default();
        for (n, room) in ROOMS.iter().enumerate() {
            for writer in 0..WRITERS_PER_ROOM {
                crowd.add(100 * (n as u64 + 1) + writer, room, url, seed);
            }
        }
        crowd
    }

    /// One more, at a place of its own.
    fn add(&mut self, id: u64, room: &'static str, url: &str, seed: u64) {
        let mut writer = Writer {
            client: Client::new(id),
            room,
            url: format!("{url}/{room}?acks=1"),
            again_at: Instant::now(),
            sent: VecDeque::new(),
            answered: 0,
            saved: 0,
            logged: 0,
            connects: 0,
        };
        let view = Arc::new(Mutex::new(View { id, room, ..View::default() }));
        self.views.push(Arc::clone(&view));
        let phase = self.phase.subscribe();
        self.writers.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed ^ id);
            loop {
                let now = *phase.borrow();
                if now == Phase::End {
                    return writer;
                }
                writer.step(now, &mut random).await;
                *view.lock().unwrap() = writer.view();
            }
        }));
    }

    fn views(&self) -> Vec<View> {
        self.views.iter().map(|view| view.lock().unwrap().clone()).collect()
    }

    fn saved(&self) -> u32 {
        self.views().iter().map(|view| view.saved).sum()
    }

    /// Waits until something is true of all writers.
    async fn until(&self, what: &str, within: Duration, holds: impl Fn(&[View]) -> bool) -> Duration {
        match self.is_true_within(within, holds).await {
            Some(took) => took,
            None => panic!("not within {within:?}: {what}"),
        }
    }

    /// Waits until something is true of all writers, and says after how long; or what they are like if it takes longer.
    async fn is_true_within(&self, within: Duration, holds: impl Fn(&[View]) -> bool) -> Option<Duration> {
        let began = Instant::now();
        loop {
            let views = self.views();
            if holds(&views) {
                return Some(began.elapsed());
            }
            if began.elapsed() > within {
                for view in &views {
                    let View { id, room, edits, saved, owed, clocks, sees, is_synced, connects } = view;
                    eprintln!(
                        "{id} in {room}: {edits} edits, {saved} saved, {owed} owed, has {clocks:?}, sees {sees:?}, \
                         synced {is_synced}, connected {connects} times"
                    );
                }
                return None;
            }
            // A writer that failed says why.
            assert!(self.writers.iter().all(|writer| !writer.is_finished()), "a writer failed");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until something that was not yet saved is.
    async fn until_more_is_saved(&self) {
        let before: BTreeMap<u64, u32> = self.views().iter().map(|view| (view.id, view.saved)).collect();
        let is_further = |view: &View| view.saved > before[&view.id];
        self.until("more is saved for everybody", SETTLED_WITHIN, |views| views.iter().all(is_further)).await;
    }

    async fn end(self) -> Vec<Writer> {
        self.phase.send_replace(Phase::End);
        let mut writers = Vec::new();
        for writer in self.writers {
            writers.push(writer.await.unwrap());
        }
        writers
    }
}

/// Everybody who is in a room.
fn members<'a>(views: &'a [View], room: &str) -> Vec<&'a View> {
    views.iter().filter(|view| view.room == room).collect()
}

fn sees_exactly_the_others(view: &View, views: &[View]) -> bool {
    let others = members(views, view.room).into_iter().map(|other| other.id).filter(|id| *id != view.id);
    view.sees == others.collect::<Vec<_>>()
}

/// A Redis, nodes over it, and nginx before them.
struct World {
    redis: Server,
    nodes: Vec<Node>,
    nginx: Nginx,
    seed: u64,
}

impl World {
    fn start(redis: &[&str]) -> World {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("SEED={seed}");
        let redis = Server::start(redis);
        let nodes: Vec<Node> =
            (0..NODES).map(|n| World::node(&redis, &format!("127.0.0.1:{}", free_port()), n)).collect();
        let nginx = Nginx::start(&nodes.iter().map(|node| node.address).collect::<Vec<_>>());
        World { redis, nodes, nginx, seed }
    }

    fn node(redis: &Server, listen: &str, n: usize) -> Node {
        // Short intervals: trouble meets commits, snapshots and evictions alike.
        let name = format!("--node-name=node-{n}");
        let flags = [&name, "--snapshot-bytes=64KiB", "--snapshot-interval=2s", "--drain-deadline=4s", "--log=info"];
        Node::start_at(listen, &redis.url(), &flags)
    }

    /// Starts a node again where it was.
    fn restart(&mut self, n: usize) {
        let listen = self.nodes[n].address.to_string();
        self.nodes[n] = World::node(&self.redis, &listen, n);
    }

    fn url(&self) -> String {
        format!("ws://{}", self.nginx.address)
    }

    fn crowd(&self) -> Crowd {
        Crowd::gather(&self.url(), self.seed)
    }

    /// What a node says of all nodes.
    async fn names_known_to(&self, n: usize) -> Vec<String> {
        let told: serde_json::Value =
            reqwest::get(self.nodes[n].http("/api/nodes")).await.unwrap().json().await.unwrap();
        let name = |node: &serde_json::Value| node["name"].as_str().unwrap_or("?").to_owned();
        let mut names: Vec<String> = told["nodes"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    async fn until_all_know(&self, expected: &[&str], from: &[usize]) {
        for &n in from {
            let began = Instant::now();
            while self.names_known_to(n).await != expected {
                let known = self.names_known_to(n).await;
                assert!(began.elapsed() < GONE_WITHIN, "node {n} knows {known:?}, not {expected:?}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Which node holds what, and who is there: for who has to find out why they do not agree.
    async fn tell_rooms(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            for room in ROOMS {
                let state = scan(&node.state(&format!("default/{room}")).await, &Limits::default()).unwrap();
                let spans: Vec<_> = state.spans.iter().map(|span| (span.client, span.start, span.end)).collect();
                let shown = reqwest::get(node.http(&format!("/api/inspector/rooms/default/{room}"))).await.unwrap();
                eprintln!("node {n}, {room}: {spans:?}, {}", shown.text().await.unwrap());
            }
        }
    }

    /// Lets everybody rest, and asserts that nothing is lost or doubled, all agree, and everybody sees exactly the others.
    async fn assert_settled(&self, crowd: Crowd) {
        crowd.phase.send_replace(Phase::Rest);
        let has_all = |view: &View, views: &[View]| {
            members(views, view.room).iter().all(|other| view.clocks.get(&other.id) == Some(&other.edits))
        };
        let settled = crowd.is_true_within(SETTLED_WITHIN, |views| {
            views.iter().all(|view| {
                view.is_synced && view.owed == 0 && has_all(view, views) && sees_exactly_the_others(view, views)
            })
        });
        let Some(took) = settled.await else {
            self.tell_rooms().await;
            panic!("not within {SETTLED_WITHIN:?}: all have everything, saved, and see each other");
        };
        println!("settled after {took:?}");
        let views = crowd.views();
        // Newcomers on each node get the same, and see the same.
        for (n, node) in self.nodes.iter().enumerate() {
            for room in ROOMS {
                let expected = members(&views, room);
                let mut newcomer = Client::joined(node, &format!("/{room}"), 9_000 + n as u64).await;
                newcomer
                    .until(|newcomer| {
                        expected.iter().all(|view| newcomer.clock_of(view.id) == view.edits)
                            && expected.iter().all(|view| newcomer.sees().contains(&view.id))
                    })
                    .await;
            }
        }
        // The store alone, without the other nodes.
        let reader = Node::start_at("127.0.0.1:0", &self.redis.url(), &["--bus=none", "--log=warn"]);
        for room in ROOMS {
            let state = reader.state(&format!("default/{room}")).await;
            for view in members(&views, room) {
                assert_eq!(clock_in(&state, view.id), view.edits, "edits of {} in the store", view.id);
            }
        }
        let writers = crowd.end().await;
        for room in ROOMS {
            let members: Vec<&Writer> = writers.iter().filter(|writer| writer.room == room).collect();
            let log = members[0].client.logged();
            for writer in &members {
                assert_eq!(writer.client.logged(), log, "{} has another log", writer.client.id);
                let own = format!("{}-", writer.client.id);
                let of_this: Vec<_> = log.iter().filter(|entry| entry.starts_with(&own)).cloned().collect();
                let expected: Vec<_> = (1..=writer.logged).map(|n| format!("{own}{n}")).collect();
                assert_eq!(of_this, expected, "each edit once, and in its order");
            }
            println!("{room}: {} entries of {} writers", log.len(), members.len());
        }
    }
}

/// How many edits of `client` an update holds from the first on.
fn clock_in(state: &[u8], client: u64) -> u32 {
    let scan = scan(state, &Limits::default()).unwrap();
    scan.spans.iter().filter(|span| span.client == client && span.start == 0).map(|span| span.end).max().unwrap_or(0)
}

/// On disk before it is called saved.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
const FORGETFUL: &[&str] = &[];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn concurrent_edits_converge_on_every_node_and_in_the_store() {
    let world = World::start(FORGETFUL);
    world.until_all_know(&["node-0", "node-1", "node-2"], &[0, 1, 2]).await;
    let crowd = world.crowd();
    sleep(Duration::from_secs(5)).await;
    let mut busy = 0;
    for node in &world.nodes {
        busy += usize::from(node.metric("ydash_sessions").await > 0.0);
        assert_eq!(node.metric("ydash_bus_up").await, 1.0);
        assert_eq!(node.metric("ydash_nodes").await, 3.0);
        assert_eq!(node.metric("ydash_bus_dropped_total").await, 0.0);
        assert_eq!(node.metric("ydash_bus_garbage_total").await, 0.0);
    }
    assert_eq!(busy, NODES, "nginx spreads the sessions");
    world.assert_settled(crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn a_killed_node_takes_its_cursors_with_it_and_no_edit() {
    let mut world = World::start(DURABLE);
    let crowd = world.crowd();
    // One that sits on this very node, and does not come back.
    let mut ghosts = Crowd::default();
    ghosts.add(999, ROOMS[0], &world.nodes[2].ws(""), world.seed);
    let sees_ghost = |view: &View| view.sees.contains(&999);
    let is_in_its_room = |view: &&View| view.room == ROOMS[0];
    crowd
        .until("all see the one on the node that will be killed", SETTLED_WITHIN, |views| {
            views.iter().filter(is_in_its_room).all(sees_ghost)
        })
        .await;
    crowd.until_more_is_saved().await;
    ghosts.until_more_is_saved().await;
    world.nodes[2].kill();
    let acked = ghosts.saved();
    ghosts.end().await;
    let gone_after = crowd
        .until("nobody sees it any more", GONE_WITHIN, |views| !views.iter().filter(is_in_its_room).any(sees_ghost))
        .await;
    println!("its cursor was gone after {gone_after:?}");
    world.until_all_know(&["node-0", "node-1"], &[0, 1]).await;
    crowd.until_more_is_saved().await;
    let state = world.nodes[0].state(&format!("default/{}", ROOMS[0])).await;
    assert!(clock_in(&state, 999) >= acked && acked > 0, "{acked} edits of the dead were called saved");
    world.restart(2);
    world.until_all_know(&["node-0", "node-1", "node-2"], &[0, 1, 2]).await;
    world.assert_settled(crowd).await;
}

async fn redis_is_killed(arguments: &[&str]) {
    let mut world = World::start(arguments);
    let crowd = world.crowd();
    for _ in 0..3 {
        crowd.until_more_is_saved().await;
        world.redis.kill();
        sleep(Duration::from_secs(2)).await;
        let connected = |view: &View| view.is_synced;
        crowd.until("members edit on", SETTLED_WITHIN, |views| views.iter().all(connected)).await;
        world.redis.restart();
        crowd.until_more_is_saved().await;
    }
    assert!(crowd.views().iter().all(|view| view.connects == 1), "nobody was disconnected");
    world.assert_settled(crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn redis_is_killed_and_has_kept_everything() {
    redis_is_killed(DURABLE).await;
}

/// What a live node or client still had is written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn redis_is_killed_and_has_forgotten_everything() {
    redis_is_killed(FORGETFUL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn a_node_that_was_stopped_agrees_with_the_others_when_it_goes_on() {
    let world = World::start(FORGETFUL);
    let mut crowd = world.crowd();
    crowd.add(999, ROOMS[0], &world.nodes[1].ws(""), world.seed);
    let sees_it = |view: &View| view.sees.contains(&999);
    let is_other = |view: &&View| view.room == ROOMS[0] && view.id != 999;
    crowd
        .until("all see the one on the node that will stop", SETTLED_WITHIN, |views| {
            views.iter().filter(is_other).all(sees_it)
        })
        .await;
    crowd.until_more_is_saved().await;
    let before = crowd.saved();
    world.nodes[1].signal("STOP");
    let stopped_at = Instant::now();
    // Those who share its node wait with it.
    let gone_after = crowd
        .until("others see it no more", GONE_WITHIN, |views| {
            views.iter().filter(is_other).filter(|view| !sees_it(view)).count() >= 1
        })
        .await;
    println!("its cursor was gone after {gone_after:?}");
    world.until_all_know(&["node-0", "node-2"], &[0, 2]).await;
    sleep(STOPPED_FOR.saturating_sub(stopped_at.elapsed())).await;
    assert!(crowd.saved() > before, "the others go on");
    world.nodes[1].signal("CONT");
    world.until_all_know(&["node-0", "node-1", "node-2"], &[0, 1, 2]).await;
    let back_after =
        crowd.until("it is seen again", SETTLED_WITHIN, |views| views.iter().filter(is_other).all(sees_it)).await;
    println!("its cursor was back after {back_after:?}");
    world.assert_settled(crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn a_redis_that_was_stopped_costs_nobody_its_cursor() {
    let world = World::start(DURABLE);
    let crowd = world.crowd();
    crowd.until_more_is_saved().await;
    crowd
        .until("everybody sees everybody", SETTLED_WITHIN, |views| {
            views.iter().all(|view| sees_exactly_the_others(view, views))
        })
        .await;
    world.redis.freeze();
    let began = Instant::now();
    for node in &world.nodes {
        node.until_metric("ydash_bus_up", |up| up == 0.0).await;
    }
    println!("noticed after {:?}", began.elapsed());
    while began.elapsed() < STOPPED_FOR {
        let views = crowd.views();
        assert!(
            views.iter().all(|view| view.is_synced && sees_exactly_the_others(view, &views)),
            "nobody is taken for gone"
        );
        sleep(Duration::from_millis(250)).await;
    }
    world.redis.thaw();
    crowd.until_more_is_saved().await;
    assert!(crowd.views().iter().all(|view| view.connects == 1), "nobody was disconnected");
    world.until_all_know(&["node-0", "node-1", "node-2"], &[0, 1, 2]).await;
    world.assert_settled(crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn killed_bus_connections_heal_while_the_store_answers() {
    let world = World::start(FORGETFUL);
    let crowd = world.crowd();
    let mut killed = 0;
    for _ in 0..10 {
        crowd.until_more_is_saved().await;
        killed += world.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).parse::<u32>().unwrap();
        sleep(Duration::from_millis(300)).await;
    }
    assert!(killed >= 20, "{killed} connections were killed");
    for node in &world.nodes {
        assert!(node.metric("ydash_bus_reconnects_total").await >= 5.0);
        assert_eq!(node.metric("ydash_store_up").await, 1.0);
    }
    assert!(crowd.views().iter().all(|view| view.connects == 1), "nobody was disconnected");
    world.assert_settled(crowd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(debug_assertions, ignore = "takes long: scripts/test runs it against the release binary")]
async fn a_rolling_restart_under_load_loses_and_doubles_nothing() {
    let mut world = World::start(DURABLE);
    let crowd = world.crowd();
    crowd.until_more_is_saved().await;
    for n in 0..NODES {
        let status = world.nodes[n].terminate(Duration::from_secs(10)).await;
        assert!(status.success(), "{status}");
        let log = world.nodes[n].log();
        assert!(log.iter().any(|line| line.contains("drained")), "{log:#?}");
        world.restart(n);
        world.until_all_know(&["node-0", "node-1", "node-2"], &[0, 1, 2]).await;
        crowd.until_more_is_saved().await;
    }
    let connects: u32 = crowd.views().iter().map(|view| view.connects).sum();
    let writers = ROOMS.len() as u32 * WRITERS_PER_ROOM as u32;
    println!("{connects} connects of {writers} writers");
    assert!(connects > writers, "clients moved");
    assert!(connects < 10 * writers, "and not like a storm");
    world.assert_settled(crowd).await;
}
