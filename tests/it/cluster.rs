//! Several servers in one process, over one store and one bus: what one accepts, all have, whatever the bus does to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use ydash::cluster::envelope::Envelope;
use ydash::cluster::local::LocalBus;
use ydash::cluster::nodes::NodeInfo;
use ydash::cluster::redis::RedisBus;
use ydash::cluster::{Bus, Subscription, Wire};
use ydash::config::{Config, Layers};
use ydash::metrics::Metrics;
use ydash::server::Server;
use ydash::store::Store;
use ydash::store::memory::{MemoryStore, Step};
use ydash_proto::id::{DashboardId, NodeId};
use ydash_proto::life::Life;
use ydash_proto::limits::Limits;
use ydash_proto::room::Said;
use ydash_proto::wire::{self, Message, encode};
use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, GetString, Options, ReadTxn, StateVector, Text, Transact, Update};

use crate::support::redis::Server as RedisServer;

/// What must come, comes within this: more than one exchange of state vectors.
const WITHIN: Duration = Duration::from_secs(30);

/// Makes a test of each scenario for each bus.
macro_rules! over_each_bus {
    ($($scenario:ident,)*) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Cluster::local()).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Cluster::redis()).await;
            })*
        }
    };
}

over_each_bus! {
    edits_and_presence_cross_in_one_hop,
    a_lone_server_says_nothing,
    what_the_bus_loses_doubles_and_reorders_heals,
    a_node_that_vanishes_takes_its_presence_with_it,
    garbage_on_the_bus_is_counted_and_skipped,
    nodes_that_snapshot_the_same_dashboard_lose_nothing,
    what_a_node_could_not_append_before_it_died_is_appended_by_those_who_heard,
    what_another_node_has_not_saved_is_not_called_saved,
    who_moves_to_another_node_before_the_first_has_noticed_takes_its_id_along,
}

async fn edits_and_presence_cross_in_one_hop(cluster: Cluster) {
    let nodes = [cluster.node(&[]), cluster.node(&[]), cluster.node(&[])];
    let clients = [nodes[0].join(1).await, nodes[1].join(2).await, nodes[2].join(3).await];
    for client in &clients {
        client.show(1, r#"{"here":1}"#);
    }
    eventually("everybody sees everybody", || clients.iter().all(|client| client.sees() == [1, 2, 3])).await;
    for (n, client) in clients.iter().enumerate() {
        client.type_text(&format!("<{n}>"));
        eventually("all have the same", || same(&clients, 3 * (n + 1))).await;
    }
    let updates = cluster.weather.published.lock().unwrap().clone();
    assert_eq!(updates.values().sum::<u64>(), 3, "one message per flush, by its origin alone: {updates:?}");
    clients[0].show(9, "null");
    eventually("it left everywhere", || clients[1..].iter().all(|client| client.sees() == [2, 3])).await;
}

async fn a_lone_server_says_nothing(cluster: Cluster) {
    let node = cluster.node(&[]);
    let clients = [node.join(1).await, node.join(2).await];
    clients[0].show(1, "{}");
    clients[0].type_text("alone");
    eventually("both have it", || same(&clients, 5)).await;
    assert_eq!(node.metrics.bus_published.get(), 0);
    assert_eq!(cluster.weather.handed.load(Ordering::Relaxed), 0);
}

async fn what_the_bus_loses_doubles_and_reorders_heals(cluster: Cluster) {
    let nodes = [cluster.node(&[]), cluster.node(&[]), cluster.node(&[])];
    let clients = [nodes[0].join(1).await, nodes[1].join(2).await, nodes[2].join(3).await];
    cluster.weather.set(Sky::Storm);
    for n in 0..40 {
        for client in &clients {
            client.type_text("x");
            client.show(10 * n + 1, &format!(r#"{{"n":{n}}}"#));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last words of one are lost for certain, with nothing after them to tell.
    cluster.weather.set(Sky::Silence);
    clients[0].type_text("last");
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.weather.set(Sky::Clear);
    eventually("all have everything", || same(&clients, 3 * 40 + 4)).await;
    eventually("everybody sees everybody", || clients.iter().all(|client| client.sees() == [1, 2, 3])).await;
}

async fn a_node_that_vanishes_takes_its_presence_with_it(cluster: Cluster) {
    let (stays, goes) = (cluster.node(&[]), cluster.node(&[]));
    let (watcher, ghost) = (stays.join(1).await, goes.join(2).await);
    watcher.show(1, "{}");
    ghost.show(1, "{}");
    eventually("both are seen", || watcher.sees() == [1, 2]).await;
    goes.kill();
    eventually("the ghost is gone", || watcher.sees() == [1]).await;
    // Its client comes back on the node that is left, with the clock that everybody has seen removed.
    let _returned = stays.come_back(ghost.doc.clone(), 2, 2).await;
    eventually("it is seen again", || watcher.sees() == [1, 2]).await;
}

async fn garbage_on_the_bus_is_counted_and_skipped(cluster: Cluster) {
    let nodes = [cluster.node(&[]), cluster.node(&[])];
    let clients = [nodes[0].join(1).await, nodes[1].join(2).await];
    eventually("both have settled in", || clients.iter().all(|client| client.acks() == 1)).await;
    let intruder = cluster.bus.node(Arc::default());
    let line = intruder.subscribe(&dashboard()).await;
    let said =
        |said| Envelope { origin: NodeId(9), number: 1, life: Life::FIRST, durable: 0, said, trace: None }.encode();
    let no_update = said(Said::Update(Bytes::from_static(&[9, 9, 9])));
    let large = said(Said::Update(Bytes::from(vec![0xff; 300 << 10])));
    let no_entries = said(Said::Awareness(Bytes::from_static(&[200])));
    let cut = no_update.slice(..no_update.len() - 1);
    for garbage in [Bytes::new(), Bytes::from_static(b"\x09later"), Bytes::from_static(b"\x01xyz"), cut] {
        line.publish(garbage);
    }
    for garbage in [no_update, large, no_entries] {
        line.publish(garbage);
    }
    for node in &nodes {
        eventually("all of it is counted", || node.metrics.bus_garbage.get() == 7).await;
    }
    clients[0].type_text("on");
    eventually("edits cross", || same(&clients, 2)).await;
}

async fn nodes_that_snapshot_the_same_dashboard_lose_nothing(cluster: Cluster) {
    let nodes = [cluster.node(&EAGER), cluster.node(&EAGER)];
    snapshots_lose_nothing(cluster, nodes, 60).await;
}

/// The same, with one of the two late at each step of its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_snapshots_late_at_any_step_loses_nothing() {
    let steps = [Step::Load, Step::Loaded, Step::Append, Step::Appended];
    for step in steps.into_iter().chain([Step::Snapshot, Step::SnapshotKept, Step::Trimmed]) {
        let cluster = Cluster::local();
        let late = cluster.store.reopened();
        late.faults().delay(step, Duration::from_millis(25));
        let nodes = [cluster.node(&EAGER), cluster.node_over(late, &EAGER)];
        snapshots_lose_nothing(cluster, nodes, 40).await;
    }
}

/// Snapshots all the time, with nothing kept behind them.
const EAGER: [&str; 2] = ["--snapshot-interval=20ms", "--history=0s"];

/// The bus is silent, so neither node hears of what the other appends. A snapshot that covered it would lose it at the next load.
async fn snapshots_lose_nothing(cluster: Cluster, nodes: [Node; 2], rounds: usize) {
    let clients = [nodes[0].join(1).await, nodes[1].join(2).await];
    cluster.weather.set(Sky::Silence);
    for _ in 0..rounds {
        for client in &clients {
            client.type_text("x");
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    for node in &nodes {
        let snapshots = node.metrics.snapshots.get();
        assert!(snapshots > 3, "{snapshots} snapshots");
    }
    eventually_async("the store has everything", || async { cluster.stored().await.len() == 2 * rounds }).await;
    drop(clients);
    nodes.into_iter().for_each(Node::kill);
    let fresh = Cluster { store: cluster.store.reopened(), ..Cluster::local() }.node(&[]);
    let client = fresh.join(9).await;
    eventually("a reload has everything", || client.text().len() == 2 * rounds).await;
}

async fn what_a_node_could_not_append_before_it_died_is_appended_by_those_who_heard(cluster: Cluster) {
    let mut cluster = cluster;
    let heir = cluster.node(&[]);
    // The same dashboards behind switches of their own.
    let theirs = cluster.store.reopened();
    let shared = core::mem::replace(&mut cluster.store, theirs);
    let dying = cluster.node(&[]);
    cluster.store.faults().fail(Step::Append, u32::MAX);
    let (author, reader) = (dying.join(1).await, heir.join(2).await);
    eventually("the reader has settled in", || reader.acks() == 1).await;
    author.type_text("dear heirs");
    eventually("it crossed", || reader.text() == "dear heirs").await;
    cluster.store = shared;
    assert_eq!(cluster.stored().await, "", "nobody has appended it");
    dying.kill();
    eventually_async("the heir has", || async { cluster.stored().await == "dear heirs" }).await;
}

async fn what_another_node_has_not_saved_is_not_called_saved(cluster: Cluster) {
    let mut cluster = cluster;
    let second = cluster.node(&[]);
    let theirs = cluster.store.reopened();
    let shared = core::mem::replace(&mut cluster.store, theirs);
    let first = cluster.node(&[]);
    cluster.store.faults().fail(Step::Append, u32::MAX);
    let (author, reader) = (first.join(1).await, second.join(2).await);
    eventually("the reader has settled in", || reader.acks() == 1).await;
    author.type_text("mine");
    eventually("it crossed", || reader.text() == "mine").await;
    cluster.store = shared;
    // The author comes to the other node, which knows the edit from the bus alone.
    let gate = cluster.store.faults().hold(Step::Append);
    let moved = second.join_as(author.doc.clone(), 1).await;
    timeout(WITHIN, gate.arrived(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(moved.acks(), 0, "it is not durable yet");
    gate.release();
    eventually("it is called saved", || moved.acks() > 0).await;
    assert_eq!(cluster.stored().await, "mine");
}

/// A laptop that changes its network: the old socket is not closed, and says nothing any more.
async fn who_moves_to_another_node_before_the_first_has_noticed_takes_its_id_along(cluster: Cluster) {
    let nodes = [cluster.node(&[]), cluster.node(&[])];
    let watchers = [nodes[0].join(1).await, nodes[1].join(2).await];
    let traveller = nodes[0].join(3).await;
    traveller.show(1, "{}");
    traveller.type_text("at home ");
    for watcher in &watchers {
        eventually("it is seen", || watcher.sees() == [3] && watcher.text() == "at home ").await;
    }
    traveller.cut_off();
    traveller.type_text("on the way ");
    let moved = nodes[1].come_back(traveller.doc.clone(), 3, 2).await;
    moved.type_text("there");
    for watcher in &watchers {
        eventually("what it wrote is there", || watcher.text() == "at home on the way there").await;
        eventually("it is seen where it is", || watcher.sees() == [3] && watcher.clock_of(3) == moved.clock_of(3))
            .await;
    }
}

fn dashboard() -> DashboardId {
    DashboardId::parse("default/shared").unwrap()
}

fn same(clients: &[Client], len: usize) -> bool {
    let text = clients[0].text();
    text.len() == len && clients.iter().all(|client| client.text() == text)
}

/// Servers that share a store and a bus with weather.
struct Cluster {
    bus: Way,
    store: MemoryStore,
    weather: Arc<Weather>,
}

/// Over what the servers hear each other.
enum Way {
    Local(LocalBus),
    Redis { url: String, _server: Arc<RedisServer> },
}

impl Way {
    fn node(&self, metrics: Arc<Metrics>) -> Arc<dyn Bus> {
        match self {
            Way::Local(bus) => bus.node(),
            Way::Redis { url, .. } => {
                let own = NodeInfo {
                    name: "node".into(),
                    version: "0".into(),
                    started: 0,
                    address: None,
                    rooms: 0,
                    sessions: 0,
                };
                let bus = RedisBus::start(url.parse().unwrap(), own, Arc::clone(&metrics));
                let began = Instant::now();
                while metrics.bus_up.get() == 0 {
                    assert!(began.elapsed() < WITHIN, "no connection to {url}");
                    std::thread::sleep(Duration::from_millis(5));
                }
                Arc::new(bus)
            }
        }
    }
}

impl Cluster {
    fn local() -> Cluster {
        Cluster::over(Way::Local(LocalBus::new()))
    }

    fn redis() -> Cluster {
        let server = RedisServer::shared();
        let url = format!("{}?prefix=test-{:x}", server.url(), fastrand::u64(..));
        Cluster::over(Way::Redis { url, _server: server })
    }

    fn over(bus: Way) -> Cluster {
        Cluster { bus, store: MemoryStore::new(), weather: Arc::default() }
    }

    /// A server on a runtime of its own, so that it can vanish.
    fn node(&self, flags: &[&str]) -> Node {
        self.node_over(self.store.clone(), flags)
    }

    /// As [`Cluster::node`], with a way of its own to what the store keeps.
    fn node_over(&self, store: MemoryStore, flags: &[&str]) -> Node {
        let flags = flags.iter().map(|flag| flag.trim_start_matches("--").split_once('=').unwrap());
        let flags = [("listen", "127.0.0.1:0")].into_iter().chain(flags);
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (config, _) = Config::load(&Layers { flags, ..Layers::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = {
            let _inside = runtime.enter();
            let server = Server::bind(Arc::new(config)).unwrap();
            let bus = self.bus.node(Arc::clone(server.metrics()));
            server.on_bus(Arc::new(Outdoors { bus, weather: Arc::clone(&self.weather) })).leaving_store_open()
        };
        let (address, metrics) = (server.local_address(), Arc::clone(server.metrics()));
        runtime.spawn(server.serve(Arc::new(store)));
        Node { address, metrics, runtime: Some(runtime) }
    }

    /// The text that a load from the store gives.
    async fn stored(&self) -> String {
        let stored = self.store.load(&dashboard()).await.unwrap();
        let doc = Doc::new();
        for update in stored.snapshot.map(|(_, state)| state).into_iter().chain(stored.tail) {
            doc.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
        }
        text_of(&doc)
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

struct Node {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    runtime: Option<Runtime>,
}

impl Node {
    async fn join(&self, client: u64) -> Client {
        self.join_as(Doc::with_options(Options { client_id: ClientID::new(client), ..Options::default() }), client)
            .await
    }

    async fn join_as(&self, doc: Doc, client: u64) -> Client {
        Client::start(doc, client, None, self.connect().await)
    }

    /// Joins as stock clients do that have shown themselves before: they say so at `clock` before they have read anything.
    async fn come_back(&self, doc: Doc, client: u64, clock: u32) -> Client {
        Client::start(doc, client, Some(clock), self.connect().await)
    }

    async fn connect(&self) -> Socket {
        let url = format!("ws://{}/ws/default/shared?acks=1", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket
    }

    /// Ends it as `kill -9` would: no goodbye, no flush.
    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A Yjs client.
struct Client {
    doc: Doc,
    client: u64,
    seen: Arc<Mutex<Seen>>,
    outgoing: mpsc::UnboundedSender<Bytes>,
    /// Whether its network is gone: the socket stays open, and nothing goes or comes.
    is_cut_off: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    presence: BTreeMap<u64, (u32, bool)>,
    acks: usize,
}

impl Client {
    fn start(doc: Doc, client: u64, shown_at: Option<u32>, socket: Socket) -> Client {
        let (mut sink, mut stream) = socket.split();
        let (outgoing, mut queue) = mpsc::unbounded_channel::<Bytes>();
        let seen = Arc::new(Mutex::new(Seen::default()));
        outgoing.send(encode::sync_step1(&doc.transact().state_vector().encode_v1())).unwrap();
        if let Some(clock) = shown_at {
            seen.lock().unwrap().presence.insert(client, (clock, true));
            outgoing.send(encode::awareness([(client, clock, &b"{}"[..])])).unwrap();
        }
        let (is_cut_off, mut cut_off) = watch::channel(false);
        let silenced = cut_off.clone();
        tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if *silenced.borrow() {
                    continue;
                }
                if sink.send(Frame::Binary(frame)).await.is_err() {
                    return;
                }
            }
        });
        let (replica, watching, answers) = (doc.clone(), Arc::clone(&seen), outgoing.clone());
        tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    biased;
                    Ok(_) = cut_off.wait_for(|is_it| *is_it) => None,
                    frame = stream.next() => Some(frame),
                };
                let Some(frame) = frame else { return std::future::pending().await };
                let Some(Ok(frame)) = frame else { return };
                let Frame::Binary(frame) = frame else { continue };
                match wire::decode_from_server(&frame).unwrap() {
                    Message::SyncStep1(have) => {
                        let have = StateVector::decode_v1(&have).unwrap();
                        let lacking = replica.transact().encode_diff_v1(&have);
                        let _ = answers.send(encode::sync_step2(&lacking)); // The test may be over.
                    }
                    Message::SyncStep2(update) | Message::Update(update) => {
                        replica.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
                    }
                    Message::Awareness(body) => {
                        if let Some(clock) = watching.lock().unwrap().hear(&body, client) {
                            // What stock clients do: they are here, so they say so at the next clock.
                            let _ = answers.send(encode::awareness([(client, clock, &b"{}"[..])]));
                        }
                    }
                    Message::SyncStatus { .. } => watching.lock().unwrap().acks += 1,
                    _ => {}
                }
            }
        });
        Client { doc, client, seen, outgoing, is_cut_off }
    }

    /// Writes at the end.
    fn type_text(&self, text: &str) {
        let root = self.doc.get_or_insert_text("text");
        let mut txn = self.doc.transact_mut();
        root.push(&mut txn, text);
        let update = txn.encode_update_v1();
        drop(txn);
        self.outgoing.send(encode::update(&update)).unwrap();
    }

    fn show(&self, clock: u32, state: &str) {
        self.seen.lock().unwrap().presence.insert(self.client, (clock, state != "null"));
        self.outgoing.send(encode::awareness([(self.client, clock, state.as_bytes())])).unwrap();
    }

    fn cut_off(&self) {
        self.is_cut_off.send_replace(true);
    }

    /// The clock at which somebody was seen last.
    fn clock_of(&self, client: u64) -> u32 {
        self.seen.lock().unwrap().presence.get(&client).map_or(0, |(clock, _)| *clock)
    }

    fn text(&self) -> String {
        text_of(&self.doc)
    }

    /// Who is here.
    fn sees(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.presence.iter().filter(|(_, (_, shown))| *shown).map(|(&client, _)| client).collect()
    }

    fn acks(&self) -> usize {
        self.seen.lock().unwrap().acks
    }
}

impl Seen {
    /// y-protocols' `applyAwarenessUpdate`. Returns the clock at which to contradict one's own removal.
    fn hear(&mut self, body: &Bytes, own: u64) -> Option<u32> {
        let mut contradicts_at = None;
        for entry in wire::awareness::entries(body).unwrap() {
            let known = self.presence.entry(entry.client).or_default();
            if entry.client == own {
                if entry.is_null() && known.1 && entry.clock >= known.0 {
                    *known = (entry.clock + 1, true);
                    contradicts_at = Some(known.0);
                }
                continue;
            }
            if entry.clock > known.0 || entry.clock == known.0 && entry.is_null() {
                *known = (entry.clock, !entry.is_null());
            }
        }
        contradicts_at
    }
}

fn text_of(doc: &Doc) -> String {
    doc.get_or_insert_text("text").get_string(&doc.transact())
}

/// What the bus does to messages.
#[derive(Default)]
struct Weather {
    sky: Mutex<Sky>,
    handed: AtomicU64,
    /// Updates per origin.
    published: Mutex<BTreeMap<NodeId, u64>>,
    late: Mutex<Option<Bytes>>,
}

#[derive(Clone, Copy, Default)]
enum Sky {
    #[default]
    Clear,
    /// Some are lost, some doubled, some late.
    Storm,
    /// All are lost.
    Silence,
}

impl Weather {
    fn set(&self, sky: Sky) {
        *self.sky.lock().unwrap() = sky;
    }
}

/// A bus in the weather.
struct Outdoors {
    bus: Arc<dyn Bus>,
    weather: Arc<Weather>,
}

impl Bus for Outdoors {
    fn node(&self) -> NodeId {
        self.bus.node()
    }

    fn subscribe<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Subscription> {
        let weather = Arc::clone(&self.weather);
        Box::pin(async move {
            let subscription = self.bus.subscribe(dashboard).await;
            // What nodes say of access is for themselves; the weather is the rooms'.
            if dashboard.is_reserved() {
                return subscription;
            }
            subscription.through(|wire| Box::new(WireOutdoors { wire, weather }))
        })
    }
}

struct WireOutdoors {
    wire: Box<dyn Wire>,
    weather: Arc<Weather>,
}

impl Wire for WireOutdoors {
    fn publish(&self, envelope: Bytes) {
        let number = self.weather.handed.fetch_add(1, Ordering::Relaxed);
        let opened = Envelope::decode(&envelope, &Limits::default()).unwrap();
        if let Said::Update(_) = opened.said {
            *self.weather.published.lock().unwrap().entry(opened.origin).or_default() += 1;
        }
        match *self.weather.sky.lock().unwrap() {
            Sky::Clear => self.wire.publish(envelope),
            Sky::Silence => {}
            Sky::Storm => match number % 5 {
                0 => {}
                1 => {
                    self.wire.publish(envelope.clone());
                    self.wire.publish(envelope);
                }
                2 => {
                    let late = self.weather.late.lock().unwrap().replace(envelope);
                    late.into_iter().for_each(|late| self.wire.publish(late));
                }
                _ => self.wire.publish(envelope),
            },
        }
    }

    fn has_others(&self) -> bool {
        self.wire.has_others()
    }

    fn has_had_others(&self) -> bool {
        self.wire.has_had_others()
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    eventually_async(what, || async { holds() }).await;
}

async fn eventually_async<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
