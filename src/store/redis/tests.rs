//! The store against real servers: the contract on one server and on a Cluster, and every way in which Redis fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::contract::{self, Bench, entry, id, update};
use super::*;
use crate::redis::testing::{Server, ServerCluster};

/// A prefix that no other test uses.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn open(url: &str) -> RedisStore {
    RedisStore::new(url.parse().unwrap(), RedisStoreConfig::default())
}

/// A store with a prefix of its own on a server that other tests use as well. `S` keeps the server alive.
struct PrefixBench<S> {
    store: RedisStore,
    url: String,
    _server: Arc<S>,
}

impl<S> PrefixBench<S> {
    fn on(url: String, server: Arc<S>) -> PrefixBench<S> {
        let url = format!("{url}?prefix={}", prefix());
        PrefixBench { store: open(&url), url, _server: server }
    }

    async fn run(&self, command: Command) -> Value {
        self.store.redis.run(command).await.unwrap()
    }

    async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        self.store = open(&self.url);
    }

    /// Writes the log anew, because no command changes an entry.
    async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
        let keys = self.store.keys(dashboard);
        let page = self.store.page(&keys.log, LogPosition::START, usize::MAX >> 8).await.unwrap();
        self.run(Command::new("DEL").key(&keys.log)).await;
        for (n, (position, record)) in page.into_iter().enumerate() {
            let mut record = record.to_vec();
            let last = record.len() - 1;
            record[last] ^= u8::from(n == index) << 4;
            let add = Command::new("XADD").key(&keys.log).arg(Id(position).to_string()).arg("e").arg(&record[..]);
            self.run(add).await;
        }
    }

    async fn damage_past(&mut self, dashboard: &DashboardId, field: &str) {
        let past = self.store.keys(dashboard).past;
        let record = self.store.record(&past, field).await.unwrap();
        let mut record = record.expect("it is there");
        *record.last_mut().unwrap() ^= 1;
        self.run(Command::new("HSET").key(&past).arg(field).arg(&record[..])).await;
    }

    async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
        let state = self.store.keys(dashboard).state;
        let record = self.run(Command::new("HGET").key(&state).arg("snapshot")).await;
        let Value::BulkString(mut record) = record else { panic!("no snapshot") };
        let last = record.len() - 1;
        record[last] ^= 1;
        self.run(Command::new("HSET").key(&state).arg("snapshot").arg(&record[..])).await;
    }
}

macro_rules! bench {
    ($name:ident, $server:ty) => {
        struct $name(PrefixBench<$server>);

        impl Bench for $name {
            async fn new() -> $name {
                let server = tokio::task::spawn_blocking(<$server>::shared).await.unwrap();
                $name(PrefixBench::on(server.url(), server))
            }

            fn store(&self) -> &dyn Store {
                &self.0.store
            }

            async fn reopen(&mut self) {
                self.0.reopen().await;
            }

            async fn bound_history(&mut self, history: HistoryLimits) {
                self.0.store = open(&self.0.url).with_history(history);
            }

            async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
                self.0.damage_entry(dashboard, index).await;
            }

            async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
                self.0.damage_snapshot(dashboard).await;
            }

            async fn damage_segment(&mut self, dashboard: &DashboardId, from: LogPosition) {
                let history = self.0.store.read_history(dashboard).await.unwrap();
                let info = history.segments.iter().find(|segment| segment.from == from).unwrap();
                self.0.damage_past(dashboard, &format!("s{}", info.key())).await;
            }

            async fn damage_base(&mut self, dashboard: &DashboardId) {
                self.0.damage_past(dashboard, "base").await;
            }

            async fn damage_version(&mut self, dashboard: &DashboardId, id: VersionId) {
                self.0.damage_past(dashboard, &format!("c{id}")).await;
            }

            async fn unfound(&mut self, dashboard: &DashboardId) {
                let keys = self.0.store.keys(dashboard);
                self.0.run(Command::new("HDEL").key(&keys.state).arg("base").arg("has-base")).await;
                self.0.run(Command::new("DEL").key(&keys.past)).await;
            }
        }
    };
}

bench!(ServerBench, Server);
bench!(ClusterBench, ServerCluster);

mod on_a_server {
    use super::*;

    contract::suite!(ServerBench);
}

mod on_a_cluster {
    use super::*;

    contract::suite!(ClusterBench);
}

/// What a call may take at most when Redis hangs.
const SECONDS: Duration = Duration::from_secs(8);

async fn append(store: &RedisStore, append: Append) -> Result<Appended, StoreError> {
    store.append(vec![append]).await.remove(0)
}

fn after(dashboard: &str, after: LogPosition, entries: Vec<LogEntry>) -> Append {
    Append { dashboard: id(dashboard), life: Life::FIRST, after: Some(after), entries }
}

fn large(bytes: usize) -> LogEntry {
    let noise = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes);
    LogEntry { update: noise.collect(), ..entry(1, "") }
}

async fn tail(store: &RedisStore, dashboard: &str) -> Vec<String> {
    let stored = store.load(&id(dashboard)).await.unwrap();
    stored.tail.iter().map(|update| String::from_utf8(update.to_vec()).unwrap()).collect()
}

/// Repeats an append until it is kept, as rooms do.
async fn eventually(store: &RedisStore, one: Append) -> Appended {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match append(store, one.clone()).await {
            Ok(appended) => return appended,
            Err(error) => assert!(error.is_transient() && Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_lost<T: std::fmt::Debug>(result: Result<T, StoreError>, position: LogPosition) {
    assert!(matches!(result, Err(StoreError::Lost { known, .. }) if known == position), "{result:?}");
}

fn refused(result: Result<Appended, StoreError>, by: &str) {
    let error = result.unwrap_err();
    let StoreError::Unavailable { cause, .. } = &error else { panic!("{error}") };
    assert!(cause.to_string().contains(by), "{error}: {cause}");
}

#[tokio::test]
async fn a_full_redis_refuses_whole_appends_and_takes_them_when_there_is_room() {
    let server = Server::start(&["--maxmemory", "16mb"]);
    let store = open(&server.url());
    let mut position = append(&store, update("w/a", 0)).await.unwrap().position;
    let mut kept = 1;
    let failed = loop {
        let two = vec![large(1 << 20), large(1 << 20)];
        match append(&store, after("w/a", position, two)).await {
            Ok(appended) => (position, kept) = (appended.position, kept + 2),
            Err(error) => break error,
        }
    };
    refused(Err(failed), "OOM");
    let stored = store.load(&id("w/a")).await.unwrap();
    assert_eq!((stored.tail.len(), stored.position), (kept, position));
    // What the refused bytes took is free again, enough for small ones: so no room at all.
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    refused(append(&store, after("w/a", position, vec![entry(1, "1")])).await, "OOM");
    assert!(store.snapshot(&id("w/a"), position, Bytes::from_static(b"state")).await.is_err());
    store.ping().await.unwrap();
    assert_eq!(server.ask(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert_eq!(append(&store, after("w/a", position, vec![entry(1, "1")])).await.unwrap().before, position);
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_still_loads() {
    let server = Server::start(&["--save", "3600 1", "--enable-protected-configs", "yes"]);
    let store = open(&server.url());
    append(&store, update("w/~me", 0)).await.unwrap();
    // A snapshot of its own fails: it stops taking writes, that somebody notices.
    assert_eq!(server.ask(&["CONFIG", "SET", "dir", "/proc"]), "OK");
    server.ask(&["BGSAVE"]);
    server.wait_until(&["INFO", "persistence"], |info| info.contains("rdb_last_bgsave_status:err"));
    refused(append(&store, update("w/~me", 1)).await, "MISCONF");
    assert_eq!(tail(&store, "w/~me").await, ["update 0"]);
    assert_eq!(server.ask(&["CONFIG", "SET", "dir", "/tmp"]), "OK");
    assert_eq!(server.ask(&["CONFIG", "SET", "save", ""]), "OK");
    append(&store, update("w/~me", 1)).await.unwrap();

    assert_eq!(server.ask(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    refused(append(&store, update("w/~me", 2)).await, "READONLY");
    assert_eq!(tail(&store, "w/~me").await, ["update 0", "update 1"]);
    assert_eq!(server.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    append(&store, update("w/~me", 2)).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_hangs_is_an_error_within_seconds() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let position = append(&store, update("w/a", 0)).await.unwrap().position;
    let life = store.ping().await.unwrap();
    server.freeze();
    let began = Instant::now();
    let (appended, loaded) = futures_util::future::join(append(&store, update("w/a", 1)), store.load(&id("w/b"))).await;
    assert!(appended.unwrap_err().is_transient() && loaded.unwrap_err().is_transient());
    assert!(store.ping().await.is_err());
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    server.thaw();
    eventually(&store, after("w/a", position, vec![entry(1, "update 1")])).await;
    // It may have taken the first one as well, when it went on.
    assert!(tail(&store, "w/a").await.ends_with(&["update 1".into()]));
    assert_ne!(store.ping().await.unwrap(), life, "somebody should look whether all is there");
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_kill_when_redis_keeps_a_file() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let store = open(&server.url());
    let first = append(&store, update("w/a", 1)).await.unwrap().position;
    store.snapshot(&id("w/a"), first, Bytes::from_static(b"state")).await.unwrap();
    let second = append(&store, after("w/a", first, vec![entry(2, "update 2")])).await.unwrap().position;
    let before = store.load(&id("w/a")).await.unwrap();
    let life = store.ping().await.unwrap();
    server.restart();
    assert_eq!(store.load(&id("w/a")).await.unwrap(), before);
    assert_ne!(store.ping().await.unwrap(), life);
    assert_eq!(append(&store, after("w/a", second, vec![entry(3, "update 3")])).await.unwrap().before, second);
    assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a")]);
}

#[tokio::test]
async fn a_redis_that_forgot_everything_says_so_to_who_relies_on_it() {
    let mut server = Server::start(&[]);
    let store = open(&server.url());
    let first = append(&store, update("w/a", 1)).await.unwrap().position;
    store.snapshot(&id("w/a"), first, Bytes::from_static(b"state")).await.unwrap();
    let second = append(&store, update("w/a", 2)).await.unwrap().position;
    server.restart();
    assert!(store.load(&id("w/a")).await.unwrap().is_empty());
    is_lost(append(&store, after("w/a", second, Vec::new())).await, second);
    is_lost(append(&store, after("w/a", second, vec![entry(3, "update 3")])).await, second);
    is_lost(store.snapshot(&id("w/a"), second, Bytes::from_static(b"state")).await, second);
    assert!(store.list("", None, 10).await.unwrap().is_empty());
    // One puts everything back; another one, which knew as much, does not take that for what it had.
    let again = append(&store, update("w/a", 4)).await.unwrap().position;
    assert!(again > second);
    is_lost(append(&store, after("w/a", second, Vec::new())).await, second);
    append(&store, after("w/a", again, Vec::new())).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a")]);
}

#[tokio::test]
async fn a_redis_that_was_restored_from_an_older_copy_says_so() {
    let mut server = Server::start(&[]);
    let store = open(&server.url());
    let first = append(&store, update("w/a", 1)).await.unwrap().position;
    assert_eq!(server.ask(&["SAVE"]), "OK");
    let second = append(&store, update("w/a", 2)).await.unwrap().position;
    server.restart();
    // Who comes new does not know better, and writes on.
    let third = append(&store, after("w/a", first, vec![entry(3, "update 3")])).await.unwrap().position;
    assert!(third > second);
    is_lost(append(&store, after("w/a", second, Vec::new())).await, second);
    // From now on nobody's older positions count, also where what they stand for is there.
    is_lost(append(&store, after("w/a", third, Vec::new())).await, third);
    let again = append(&store, update("w/a", 4)).await.unwrap().position;
    append(&store, after("w/a", again, Vec::new())).await.unwrap();
    is_lost(append(&store, after("w/a", first, Vec::new())).await, first);
    append(&store, after("w/a", again, Vec::new())).await.unwrap();
    assert_eq!(tail(&store, "w/a").await, ["update 1", "update 3", "update 4"]);
}

#[tokio::test]
async fn half_a_dashboard_is_noticed() {
    let server = Server::shared();
    let store = open(&format!("{}?prefix={}", server.url(), prefix()));
    for evicted in ["log", "state"] {
        let name = format!("w/no-{evicted}");
        let first = append(&store, update(&name, 1)).await.unwrap().position;
        store.snapshot(&id(&name), first, Bytes::from_static(b"state")).await.unwrap();
        let second = append(&store, update(&name, 2)).await.unwrap().position;
        let key = store.redis.url().dashboard_key(&id(&name), evicted);
        assert_eq!(server.ask(&["DEL", &key]), "1");
        is_lost(append(&store, after(&name, second, Vec::new())).await, second);
        is_lost(store.snapshot(&id(&name), second, Bytes::from_static(b"newer")).await, second);
        let again = append(&store, update(&name, 3)).await.unwrap().position;
        assert!(again > second);
        is_lost(append(&store, after(&name, second, Vec::new())).await, second);
        append(&store, after(&name, again, Vec::new())).await.unwrap();
    }
    append(&store, update("w/c", 1)).await.unwrap();
    assert_eq!(server.ask(&["DEL", &store.redis.url().dashboard_key(&id("w/c"), "state")]), "1");
    let stored = store.load(&id("w/c")).await.unwrap();
    assert_eq!((stored.tail.len(), stored.damaged), (1, 1), "a snapshot may be gone");
    assert_eq!(store.check().await.unwrap().damaged_total, 1);
}

#[tokio::test]
async fn private_documents_expire_after_their_last_use_and_others_do_not() {
    let server = Server::shared();
    let url = format!("{}?prefix={}", server.url(), prefix());
    let store = open(&url);
    let ttls = |name: &str| {
        ["log", "state"].map(|what| {
            let key = store.redis.url().dashboard_key(&id(name), what);
            server.ask(&["PTTL", &key]).parse::<i64>().unwrap()
        })
    };
    const DAY: i64 = 86_400_000;
    append(&store, update("w/~me", 1)).await.unwrap();
    append(&store, update("w/shared~", 1)).await.unwrap();
    assert!(ttls("w/~me").iter().all(|ttl| (29 * DAY..=30 * DAY).contains(ttl)), "{:?}", ttls("w/~me"));
    assert_eq!(ttls("w/shared~"), [-1, -1]);

    let short = RedisStoreConfig {
        private_ttl: Some(Duration::from_secs(60)),
        shared_ttl: Some(Duration::from_secs(90)),
        ..RedisStoreConfig::default()
    };
    let other = RedisStore::new(url.parse().unwrap(), short);
    let position = other.load(&id("w/~me")).await.unwrap().position;
    assert!(ttls("w/~me").iter().all(|ttl| *ttl <= 60_000));
    append(&other, after("w/shared~", LogPosition::START, Vec::new())).await.unwrap();
    assert!(ttls("w/shared~").iter().all(|ttl| (1..=90_000).contains(ttl)));
    other.snapshot(&id("w/~me"), position, Bytes::from_static(b"state")).await.unwrap();
    assert!(ttls("w/~me").iter().all(|ttl| *ttl <= 60_000));

    let forever = RedisStoreConfig { private_ttl: None, ..RedisStoreConfig::default() };
    let other = RedisStore::new(url.parse().unwrap(), forever);
    other.snapshot(&id("w/~me"), position, Bytes::from_static(b"state")).await.unwrap();
    assert_eq!(ttls("w/~me"), [-1, -1]);
}

#[tokio::test]
async fn the_list_heals() {
    let server = Server::shared();
    let store = open(&format!("{}?prefix={}", server.url(), prefix()));
    let key = |name: &str, what: &str| store.redis.url().dashboard_key(&id(name), what);
    for name in ["w/a", "w/b", "w/c"] {
        append(&store, update(name, 1)).await.unwrap();
    }
    // One expires: it is gone from the list.
    assert_eq!(server.ask(&["DEL", &key("w/b", "log"), &key("w/b", "state")]), "2");
    assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a"), id("w/c")]);
    assert_eq!(server.ask(&["ZCARD", &store.names()]), "2");
    // The list itself is lost: a check brings it back, and so does an append, a day later.
    assert_eq!(server.ask(&["DEL", &store.names()]), "1");
    append(&store, update("w/a", 2)).await.unwrap();
    assert!(store.list("", None, 10).await.unwrap().is_empty());
    assert_eq!(server.ask(&["HSET", &key("w/a", "state"), "listed", "1"]), "0");
    append(&store, update("w/a", 3)).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a")]);
    // Nodes that serve meanwhile have keys of their own there.
    assert_eq!(server.ask(&["SET", &store.redis.url().node_key(ydash_proto::id::NodeId(1)), "{}"]), "OK");
    let report = store.check().await.unwrap();
    assert_eq!((report.dashboards, report.damaged), (2, Vec::new()));
    assert!(report.remarks[0].starts_with("1 dashboards were missing"), "{:?}", report.remarks);
    assert!(report.remarks.iter().any(|remark| remark.contains("append-only file")), "{:?}", report.remarks);
    assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a"), id("w/c")]);
}

#[tokio::test]
async fn large_entries_and_states_come_back() {
    // Others would have to wait meanwhile.
    let server = Server::start(&[]);
    let store = open(&format!("{}?prefix={}", server.url(), prefix()));
    let (first, second) = (large(17 << 20), large(20 << 20));
    let entries = vec![first.clone(), second.clone()];
    let position = append(&store, Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries })
        .await
        .unwrap()
        .position;
    let stored = store.load(&id("w/a")).await.unwrap();
    assert!(stored.tail == [first.update.clone(), second.update.clone()]);
    let log = store.log(&id("w/a"), LogPosition::START, 10).await.unwrap();
    assert!(log.len() == 2 && log[1].1 == second);
    let state: Bytes = [first.update, second.update].concat().into();
    store.snapshot(&id("w/a"), position, state.clone()).await.unwrap();
    let stored = store.load(&id("w/a")).await.unwrap();
    assert!(stored.snapshot == Some((position, state)) && stored.tail.is_empty());
    store.remove(&id("w/a")).await.unwrap();
}

#[tokio::test]
async fn appends_go_on_when_sentinel_has_named_another_master() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let sentinel = Server::start_sentinel("main", master.port());
    let store = open(&format!("redis-sentinel://127.0.0.1:{}?master=main", sentinel.port()));
    let position = append(&store, update("w/a", 1)).await.unwrap().position;
    // `WAIT` would answer for what its own connection wrote, which is nothing.
    let log = store.keys(&id("w/a")).log;
    replica.wait_until(&["XLEN", &log], |len| len == "1");
    sentinel.wait_until(&["SENTINEL", "replicas", "main"], |told| told.contains(&replica.port().to_string()));
    master.kill();
    let appended = eventually(&store, after("w/a", position, vec![entry(2, "update 2")])).await;
    assert_eq!(appended.before, position);
    assert_eq!(tail(&store, "w/a").await, ["update 1", "update 2"]);
}

#[tokio::test]
async fn an_append_may_wait_for_replicas() {
    let master = Server::start(&[]);
    let config = RedisStoreConfig { wait_replicas: 1, ..RedisStoreConfig::default() };
    let store = RedisStore::new(master.url().parse().unwrap(), config);
    let began = Instant::now();
    refused(append(&store, update("w/a", 1)).await, "0 of 1 replicas");
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    store.load(&id("w/a")).await.unwrap();
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let position = eventually(&store, update("w/a", 2)).await.position;
    let log = store.keys(&id("w/a")).log;
    assert_eq!(replica.ask(&["XLEN", &log]), master.ask(&["XLEN", &log]));
    append(&store, after("w/a", position, vec![entry(3, "update 3")])).await.unwrap();
}

#[tokio::test]
async fn positions_grow_although_the_clock_does_not() {
    let server = Server::shared();
    let store = open(&format!("{}?prefix={}", server.url(), prefix()));
    // As an entry that came from a server whose clock was an hour ahead.
    let first = append(&store, update("w/a", 1)).await.unwrap().position;
    let ahead = LogPosition(first.0 + (3_600_000 << 64));
    let (log, state) = (store.keys(&id("w/a")).log, store.keys(&id("w/a")).state);
    let page = store.page(&log, LogPosition::START, 1).await.unwrap();
    let add = Command::new("XADD").key(&log).arg(Id(ahead).to_string()).arg("e").arg(&page[0].1[..]);
    store.redis.run(add).await.unwrap();
    server.ask(&["HSET", &state, "end", &Id(ahead).to_string()]);
    let mut last = ahead;
    for n in 0..5 {
        let next = append(&store, after("w/a", last, vec![entry(n, "x"), entry(n, "y")])).await.unwrap();
        assert!(next.before == last && next.position > last);
        last = next.position;
    }
    // Another era within the same millisecond goes on above.
    is_lost(append(&store, after("w/a", LogPosition(last.0 + 1), Vec::new())).await, LogPosition(last.0 + 1));
    let next = append(&store, update("w/a", 9)).await.unwrap();
    assert!(next.position > last);
    append(&store, after("w/a", next.position, vec![entry(1, "z")])).await.unwrap();
    assert_eq!(tail(&store, "w/a").await.len(), 14);
}

/// Else it would never be sealed again: nothing would say that there is something to seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_begins_with_a_damaged_entry_says_its_bytes_and_time() {
    let mut bench = ServerBench::new().await;
    let first = append(&bench.0.store, update("w/a", 0)).await.unwrap().position;
    append(&bench.0.store, update("w/a", 1)).await.unwrap();
    let before = bench.store().history(&id("w/a")).await.unwrap();
    bench.damage_entry(&id("w/a"), 0).await;
    let history = bench.store().history(&id("w/a")).await.unwrap();
    assert_eq!(history.since, Some(Timestamp((first.0 >> 64) as u64)));
    assert!(history.log_bytes > 0);
    assert_eq!(history.log_bytes, before.log_bytes);
}

/// A log with a base, a snapshot of its second entry, and the seal of what lies between.
async fn to_seal(store: &RedisStore) -> Seal {
    let first = append(store, update("w/a", 0)).await.unwrap().position;
    let state = Bytes::from_static(b"first");
    store.snapshot(&id("w/a"), first, state.clone()).await.unwrap();
    super::super::past::begin_at(store, &id("w/a"), first, state.clone()).await.unwrap();
    let second = append(store, update("w/a", 1)).await.unwrap().position;
    let entries = store.log(&id("w/a"), first, 10).await.unwrap();
    store.snapshot(&id("w/a"), second, Bytes::from_static(b"second")).await.unwrap();
    let sealed = super::super::Segment { from: first, state, previous: Default::default(), entries }.seal();
    let base = Base { state: Bytes::from_static(b"second"), ..Base::empty(second) };
    Seal { from: first, base, segment: Some(sealed) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_of_a_later_format_is_not_replaced() {
    let bench = ServerBench::new().await;
    let seal = to_seal(&bench.0.store).await;
    let past = bench.0.store.keys(&id("w/a")).past;
    let mut record = bench.0.store.record(&past, "base").await.unwrap().unwrap();
    record[0] = 99;
    bench.0.run(Command::new("HSET").key(&past).arg("base").arg(&record[..])).await;
    let error = bench.store().seal(&id("w/a"), seal).await.unwrap_err();
    assert!(matches!(error, StoreError::LaterFormat { version: 99, .. }), "{error:?}");
    assert_eq!(bench.0.store.record(&past, "base").await.unwrap(), Some(record));
}

/// It was the empty document, and later versions lacked what it held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_was_evicted_is_damaged() {
    let bench = ServerBench::new().await;
    let store = &bench.0.store;
    append(store, update("w/empty", 0)).await.unwrap();
    assert!(!store.base(&id("w/empty")).await.unwrap().is_damaged, "it never had a record");
    let seal = to_seal(store).await;
    assert_eq!(store.seal(&id("w/a"), seal.clone()).await.unwrap(), SealOutcome::Sealed);
    assert_eq!(store.base(&id("w/a")).await.unwrap(), seal.base);
    bench.0.run(Command::new("DEL").key(&store.keys(&id("w/a")).past)).await;
    let base = store.base(&id("w/a")).await.unwrap();
    assert_eq!(base, Base { is_damaged: true, ..Base::empty(seal.base.position) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_of_a_log_that_was_lost_is_not_kept() {
    let bench = ServerBench::new().await;
    let seal = to_seal(&bench.0.store).await;
    bench.0.run(Command::new("DEL").key(&bench.0.store.keys(&id("w/a")).log)).await;
    let before = bench.store().history(&id("w/a")).await.unwrap();
    assert_eq!(bench.store().seal(&id("w/a"), seal.clone()).await.unwrap(), SealOutcome::Superseded);
    assert_eq!(bench.store().history(&id("w/a")).await.unwrap(), before);
    // The base goes forward alone.
    let alone = Seal { segment: None, ..seal };
    assert_eq!(bench.store().seal(&id("w/a"), alone).await.unwrap(), SealOutcome::Sealed);
}
