//! The contract of buses over real Redis servers, and what happens when they or nodes go away.

use super::super::contract;
use super::super::{Bus, Heard, Subscription};
use super::*;
use crate::redis::testing::{Server, ServerCluster};
use std::time::Instant;

/// What is to happen happens within this, also on a busy machine.
const WITHIN: Duration = Duration::from_secs(20);

mod one_server {
    use super::*;
    contract::suite!(OneServer);
}

mod cluster {
    use super::*;
    contract::suite!(ManyServers);
}

struct OneServer(Arc<Server>, String);

impl contract::Bench for OneServer {
    async fn new() -> OneServer {
        OneServer(Server::shared(), prefix())
    }

    async fn node(&self) -> Arc<dyn Bus> {
        Arc::new(started(&format!("{}?prefix={}", self.0.url(), self.1)).await)
    }
}

struct ManyServers(Arc<ServerCluster>, String);

impl contract::Bench for ManyServers {
    async fn new() -> ManyServers {
        ManyServers(ServerCluster::shared(), prefix())
    }

    async fn node(&self) -> Arc<dyn Bus> {
        Arc::new(started(&format!("{}?prefix={}", self.0.url(), self.1)).await)
    }
}

fn prefix() -> String {
    format!("test-{:x}", fastrand::u64(..))
}

fn bus(url: &str) -> (RedisBus, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let own = NodeInfo { name: "test".into(), version: "0".into(), started: 0, address: None, rooms: 0, sessions: 0 };
    (RedisBus::start(url.parse().unwrap(), own, Arc::clone(&metrics)), metrics)
}

async fn started(url: &str) -> RedisBus {
    let (bus, _) = bus(url);
    assert!(bus.connected(WITHIN).await, "no connection to {url}");
    bus
}

fn id(name: &str) -> DashboardId {
    DashboardId::parse(name).unwrap()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Hears until `is_it`, and returns all of it.
async fn hear_until(from: &Subscription, is_it: impl Fn(&Heard) -> bool) -> Vec<Heard> {
    let mut heard = Vec::new();
    let hearing = async {
        while !heard.iter().any(&is_it) {
            from.hear(&mut heard, 64).await;
        }
    };
    let in_time = timeout(WITHIN, hearing).await.is_ok();
    assert!(in_time, "only heard {heard:?}");
    heard
}

fn said(text: &'static str) -> impl Fn(&Heard) -> bool {
    move |heard| *heard == Heard::Envelope(Bytes::from_static(text.as_bytes()))
}

/// Says something again and again until it is heard: while a connection is away, words are lost.
async fn reaches(from: &Subscription, to: &Subscription) {
    static WORDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let word = WORDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    let expected = Heard::Envelope(Bytes::from(word.clone()));
    let began = Instant::now();
    let mut heard = Vec::new();
    while !heard.contains(&expected) {
        assert!(began.elapsed() < WITHIN, "{word} does not arrive: {heard:?}");
        from.publish(Bytes::from(word.clone()));
        let _ = timeout(Duration::from_millis(100), to.hear(&mut heard, 64)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_envelopes_arrive_whole_and_between_others() {
    let server = Server::shared();
    let url = format!("{}?prefix={}", server.url(), prefix());
    let nodes = [started(&url).await, started(&url).await];
    let (a, b) = (nodes[0].subscribe(&id("w/a")).await, nodes[1].subscribe(&id("w/a")).await);
    // Three parts, which fit into an inbox together with the others, however late its room takes them.
    let large: Bytes = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    a.publish(Bytes::from_static(b"before"));
    a.publish(large.clone());
    a.publish(Bytes::from_static(b"after"));
    let heard = hear_until(&b, said("after")).await;
    let expected = [Bytes::from_static(b"before"), large, Bytes::from_static(b"after")].map(Heard::Envelope);
    assert!(heard == expected, "{} messages", heard.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_channel_is_counted_and_stops_nothing() {
    let server = Server::shared();
    let prefix = prefix();
    let url = format!("{}?prefix={prefix}", server.url());
    let ((a, _), (b, metrics)) = (bus(&url), bus(&url));
    assert!(a.connected(WITHIN).await && b.connected(WITHIN).await);
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    let channels = [format!("{prefix}:{{w/a}}:bus"), format!("{prefix}:{{nodes}}:bus")];
    for channel in &channels {
        for garbage in ["", "hello", "\u{1}", "\u{9}later", &"x".repeat(100_000)] {
            assert_eq!(server.ask(&["SPUBLISH", channel, garbage]), "2", "both listen on {channel}");
        }
    }
    eventually("all of it is counted", || metrics.bus_garbage.get() == 10).await;
    reaches(&from, &to).await;
    assert_eq!(metrics.bus_reconnects.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_know_each_other_and_one_that_leaves_is_gone_at_once() {
    let server = Server::shared();
    let url = format!("{}?prefix={}", server.url(), prefix());
    let nodes = [started(&url).await, started(&url).await, started(&url).await];
    for node in &nodes {
        eventually("all are known by name", || {
            let known = node.nodes();
            known.len() == 3 && known.iter().all(|node| node.info.as_ref().is_some_and(|info| info.name == "test"))
        })
        .await;
        assert!(node.nodes()[0].is_own && node.nodes()[0].id == node.node());
    }
    let [a, b, c] = nodes;
    let (here, there) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    eventually("it has company", || here.has_others()).await;
    // Its subscription is left open: the node's own goodbye is enough.
    b.close().await;
    let began = Instant::now();
    hear_until(&here, |heard| *heard == Heard::Gone(b.node())).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    eventually("it is forgotten", || a.nodes().len() == 2 && c.nodes().len() == 2).await;
    assert!(!here.has_others());
    drop(there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_gone_within_its_lease() {
    let server = Server::shared();
    let url = format!("{}?prefix={}", server.url(), prefix());
    let (a, b) = (started(&url).await, started(&url).await);
    let (here, there) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    eventually("it has company", || here.has_others()).await;
    // As a kill would: everything ends, and nothing is said.
    b.heart.cancel();
    b.stop.cancel();
    b.hub.stop();
    let began = Instant::now();
    hear_until(&here, |heard| *heard == Heard::Gone(b.node())).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500), "not before its lease has lapsed: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!here.has_others() && here.has_had_others());
    drop(there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_was_never_there_fails_nothing_and_tells_when_it_comes() {
    let mut server = Server::start(&[]);
    let url = server.url();
    server.kill();
    let (a, b) = (bus(&url).0, bus(&url).0);
    assert!(!a.connected(Duration::from_millis(200)).await);
    let began = Instant::now();
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    assert!(began.elapsed() < CONFIRMED_WITHIN, "nobody waits for what is away");
    assert!(from.has_others() && from.has_had_others(), "who knows?");
    from.publish(Bytes::from_static(b"into the void"));
    server.restart();
    hear_until(&from, |heard| *heard == Heard::Lost).await;
    hear_until(&to, |heard| *heard == Heard::Lost).await;
    reaches(&from, &to).await;
    drop(to);
    eventually("it is alone, and knows", || !from.has_others()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_heals_while_the_command_connection_lives() {
    let server = Server::start(&[]);
    let ((a, metrics), (b, _)) = (bus(&server.url()), bus(&server.url()));
    assert!(a.connected(WITHIN).await && b.connected(WITHIN).await);
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    reaches(&from, &to).await;
    for _ in 0..3 {
        let killed = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert_eq!(killed, "2");
        for line in [&from, &to] {
            let heard = hear_until(line, |heard| *heard == Heard::Lost).await;
            assert!(!heard.iter().any(|heard| matches!(heard, Heard::Gone(_))), "{heard:?}");
        }
        reaches(&from, &to).await;
        reaches(&to, &from).await;
    }
    assert_eq!(metrics.bus_reconnects.get(), 3);
    assert_eq!(metrics.bus_up.get(), 1);
    eventually("both know both", || a.nodes().len() == 2 && b.nodes().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_noticed_in_seconds_and_takes_nobody_with_it() {
    let server = Server::start(&[]);
    let ((a, metrics), (b, _)) = (bus(&server.url()), bus(&server.url()));
    assert!(a.connected(WITHIN).await && b.connected(WITHIN).await);
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    reaches(&from, &to).await;
    reaches(&to, &from).await;
    server.freeze();
    let began = Instant::now();
    eventually("it is noticed", || metrics.bus_up.get() == 0).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(from.has_others());
    // Longer than any lease.
    sleep(Duration::from_secs(5)).await;
    server.thaw();
    for line in [&from, &to] {
        let heard = hear_until(line, |heard| *heard == Heard::Lost).await;
        assert!(!heard.iter().any(|heard| matches!(heard, Heard::Gone(_))), "{heard:?}");
    }
    reaches(&from, &to).await;
    reaches(&to, &from).await;
    assert_eq!((a.nodes().len(), b.nodes().len()), (2, 2));
}

/// What a node that was stopped for longer than its lease and then goes on sees: the others have dropped it, and tell it so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_taken_for_gone_is_told_when_it_speaks_again() {
    let server = Server::start(&[]);
    let (a, b) = (started(&server.url()).await, started(&server.url()).await);
    let (here, there) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    reaches(&here, &there).await;
    b.heart.cancel();
    hear_until(&here, |heard| *heard == Heard::Gone(b.node())).await;
    assert_eq!(a.nodes().len(), 1);
    let heart = CancellationToken::new();
    b.tasks.spawn(heart::beat(Arc::clone(&b.hub), heart.clone()));
    hear_until(&there, |heard| *heard == Heard::Forgotten).await;
    eventually("it is known again", || a.nodes().len() == 2 && here.has_others()).await;
    reaches(&there, &here).await;
    heart.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_dashboards_are_subscribed_and_subscribed_again_in_seconds() {
    let server = Server::start(&[]);
    let (a, _) = bus(&server.url());
    let a = Arc::new(a);
    assert!(a.connected(WITHIN).await);
    let b = started(&server.url()).await;
    let began = Instant::now();
    let opening = (0..10_000).map(|n| {
        let a = Arc::clone(&a);
        tokio::spawn(async move { a.subscribe(&id(&format!("w/{n}"))).await })
    });
    let mut lines = Vec::new();
    for line in opening.collect::<Vec<_>>() {
        lines.push(line.await.unwrap());
    }
    println!("opened in {:?}", began.elapsed());
    // Not `has_had_others`, which stays should the machine have been so busy meanwhile that the connection counted as deaf.
    eventually("nobody else has them", || lines.iter().all(|line| !line.has_others())).await;
    let other = b.subscribe(&id("w/9999")).await;
    eventually("it has company", || lines[9_999].has_others()).await;
    let began = Instant::now();
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for line in &lines {
        hear_until(line, |heard| *heard == Heard::Lost).await;
    }
    println!("opened again in {:?}", began.elapsed());
    reaches(&lines[9_999], &other).await;
    let began = Instant::now();
    drop(lines);
    server.wait_until(&["PUBSUB", "SHARDNUMSUB", "{x}"], |_| true);
    server.wait_until(&["PUBSUB", "SHARDCHANNELS"], |channels| channels.lines().count() == 2);
    println!("closed in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_moves_a_slot_or_loses_a_server_is_followed() {
    let cluster = ServerCluster::start(&[]);
    let (a, b) = (started(&cluster.url()).await, started(&cluster.url()).await);
    let mut lines = Vec::new();
    for n in 0..30 {
        let dashboard = id(&format!("w/{n}"));
        lines.push((dashboard.clone(), a.subscribe(&dashboard).await, b.subscribe(&dashboard).await));
    }
    for (_, from, to) in &lines {
        reaches(from, to).await;
    }
    // Every slot of the first server goes to the second.
    let ids: Vec<String> = cluster.servers.iter().map(|server| server.ask(&["CLUSTER", "MYID"])).collect();
    for slot in 0..=5460 {
        let slot = slot.to_string();
        for server in [1, 0, 2] {
            cluster.servers[server].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
        }
    }
    for (_, from, to) in &lines {
        reaches(from, to).await;
        reaches(to, from).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_server_without_sharded_channels_does_as_well() {
    let server = Server::start(&["--rename-command", "SPUBLISH", "", "--rename-command", "SSUBSCRIBE", ""]);
    let (a, b) = (started(&server.url()).await, started(&format!("{}/0", server.url())).await);
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    reaches(&from, &to).await;
    eventually("they know each other", || a.nodes().len() == 2 && b.nodes().len() == 2).await;
    drop(to);
    hear_until(&from, |heard| *heard == Heard::Gone(b.node())).await;
    eventually("it is alone", || !from.has_others()).await;
    // The same server, but other dashboards.
    let elsewhere = started(&format!("{}/1", server.url())).await;
    let other = elsewhere.subscribe(&id("w/a")).await;
    assert!(!other.has_others() && elsewhere.nodes().len() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_follows_the_master_that_sentinels_name() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let sentinel = Server::start_sentinel("mymaster", master.port());
    let url = format!("redis-sentinel://127.0.0.1:{}?master=mymaster", sentinel.port());
    sentinel.wait_until(&["SENTINEL", "replicas", "mymaster"], |told| told.contains(&replica.port().to_string()));
    let (a, b) = (started(&url).await, started(&url).await);
    let (from, to) = (a.subscribe(&id("w/a")).await, b.subscribe(&id("w/a")).await);
    reaches(&from, &to).await;
    master.kill();
    hear_until(&from, |heard| *heard == Heard::Lost).await;
    reaches(&from, &to).await;
    reaches(&to, &from).await;
    eventually("they know each other", || a.nodes().len() == 2 && b.nodes().len() == 2).await;
}

/// What is published there reaches nobody who is with the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_a_replica_is_left() {
    let server = Server::start(&[]);
    let (a, metrics) = bus(&server.url());
    assert!(a.connected(WITHIN).await);
    let line = a.subscribe(&id("w/a")).await;
    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    eventually("it is left", || metrics.bus_up.get() == 0 && line.has_others()).await;
    assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    hear_until(&line, |heard| *heard == Heard::Lost).await;
    eventually("it is alone again", || !line.has_others()).await;
}
