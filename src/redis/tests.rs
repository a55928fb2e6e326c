//! Connections against real servers, and how they end.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::testing::{Server, ServerCluster};
use super::*;

/// What a command may take at most when Redis hangs: patience, a connection, and some of a loaded machine.
const SECONDS: Duration = Duration::from_secs(6);

static GET: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));

fn connect(url: &str) -> Redis {
    Redis::new(url.parse().unwrap())
}

fn set(key: &str, value: &str) -> Command {
    Command::new("SET").key(key).arg(value)
}

fn get(key: &str) -> Command {
    Command::new("GET").key(key)
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

async fn eventually(redis: &Redis, command: Command) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match redis.run(command.clone()).await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn commands_are_answered_in_their_order_and_each_for_itself() {
    let server = Server::shared();
    let redis = connect(&server.url());
    let answers = redis.run_all(vec![set("order:a", "1"), Command::new("NONSENSE"), get("order:a")]).await;
    assert!(matches!(answers[0], Ok(Value::Okay)));
    assert_eq!(answers[1].as_ref().unwrap_err().code(), Some("ERR"));
    assert_eq!(*answers[2].as_ref().unwrap(), bulk("1"));
    assert!(redis.run_all(Vec::new()).await.is_empty());
    assert_eq!(redis.connections_made(), 1);
    redis.close().await;
    assert!(matches!(redis.run(get("order:a")).await, Err(RedisError::Closed)));
}

#[tokio::test]
async fn a_script_is_taught_to_a_server_that_does_not_know_it() {
    let server = Server::start(&[]);
    let redis = connect(&server.url());
    let call = || Command::script(&GET, &["a"]);
    for _ in 0..2 {
        let answers = redis.run_all(vec![set("a", "1"), call(), set("b", "2"), call()]).await;
        assert_eq!((answers[1].as_ref().unwrap(), answers[3].as_ref().unwrap()), (&bulk("1"), &bulk("1")));
        assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "OK");
    }
}

#[tokio::test]
async fn a_restarted_server_is_found_by_the_next_command() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let redis = connect(&server.url());
    redis.run(set("a", "1")).await.unwrap();
    server.restart();
    assert_eq!(redis.run(get("a")).await.unwrap(), bulk("1"));
    assert_eq!(redis.connections_made(), 2);
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_at_once() {
    let mut server = Server::start(&[]);
    let redis = connect(&server.url());
    redis.run(set("a", "1")).await.unwrap();
    server.kill();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(redis.run(get("a")).await.is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.restart();
    eventually(&redis, set("a", "2")).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error_within_seconds_and_used_again_later() {
    let server = Server::start(&[]);
    let redis = connect(&server.url());
    redis.run(set("a", "1")).await.unwrap();
    server.freeze();
    for _ in 0..2 {
        let began = Instant::now();
        let error = redis.run(get("a")).await.unwrap_err();
        assert!(matches!(error, RedisError::Timeout { .. } | RedisError::Unconnected(_)), "{error}");
        assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    }
    server.thaw();
    assert_eq!(eventually(&redis, get("a")).await, bulk("1"));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_right_one_lets_in() {
    let server = Server::start(&["--requirepass", "s3cret"]);
    let error = connect(&format!("redis://:other@127.0.0.1:{}", server.port())).run(get("a")).await.unwrap_err();
    assert!(matches!(error, RedisError::Unconnected(_)) && !error.to_string().contains("other"), "{error}");
    let redis = connect(&format!("redis://:s3cret@127.0.0.1:{}/3", server.port()));
    redis.run(set("a", "1")).await.unwrap();
    assert_eq!(redis.run(get("a")).await.unwrap(), bulk("1"));
}

#[tokio::test]
async fn large_values_come_and_go() {
    // Others would have to wait meanwhile.
    let server = Server::start(&[]);
    let redis = connect(&server.url());
    let large = vec![7u8; 64 << 20];
    redis.run(Command::new("SET").key("large").arg(&large[..])).await.unwrap();
    let back = redis.run(get("large").expecting(large.len())).await.unwrap();
    assert!(back == Value::BulkString(large));
    redis.run(Command::new("DEL").key("large")).await.unwrap();
}

#[tokio::test]
async fn a_cluster_gets_each_command_where_its_key_lives() {
    let cluster = ServerCluster::shared();
    let redis = connect(&cluster.url());
    assert!(redis.url().is_cluster());
    let keys: Vec<String> = (0..100).map(|n| format!("{{spread {n}}}")).collect();
    let written = redis.run_all(keys.iter().map(|key| set(key, key)).collect()).await;
    assert!(written.iter().all(Result::is_ok));
    let read = redis.run_all(keys.iter().map(|key| Command::script(&GET, &[key])).collect()).await;
    for (key, value) in keys.iter().zip(read) {
        assert_eq!(value.unwrap(), bulk(key));
    }
    assert_eq!(redis.connections_made(), 3);
    assert_eq!(redis.run_everywhere(Command::new("PING")).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = ServerCluster::start(&[]);
    let redis = connect(&cluster.url());
    redis.run(set("foo", "1")).await.unwrap();
    // The slot of `foo` goes from the third server to the first, in the steps that redis-cli takes.
    let [to, _, from] = cluster.servers.as_slice() else { panic!("three servers") };
    let name = |server: &Server| server.ask(&["CLUSTER", "MYID"]);
    assert_eq!(to.ask(&["CLUSTER", "SETSLOT", "12182", "IMPORTING", &name(from)]), "OK");
    assert_eq!(from.ask(&["CLUSTER", "SETSLOT", "12182", "MIGRATING", &name(to)]), "OK");
    let port = to.port().to_string();
    assert_eq!(from.ask(&["MIGRATE", "127.0.0.1", &port, "foo", "0", "5000"]), "OK");
    assert_eq!(redis.run(get("foo")).await.unwrap(), bulk("1"), "asked where it is going to be");
    for server in [to, from] {
        assert_eq!(server.ask(&["CLUSTER", "SETSLOT", "12182", "NODE", &name(to)]), "OK");
    }
    assert_eq!(redis.run(get("foo")).await.unwrap(), bulk("1"), "moved");
    assert_eq!(redis.run(get("foo")).await.unwrap(), bulk("1"));
}

#[tokio::test]
async fn a_server_of_a_cluster_that_hangs_holds_up_its_own_slots_only() {
    let cluster = ServerCluster::start(&["--cluster-require-full-coverage", "no"]);
    let redis = connect(&cluster.url());
    // One key on each server: 12182, 5061 and 9365.
    let keys = ["foo", "bar", "hello {x1}"].map(String::from);
    for key in &keys {
        redis.run(set(key, "1")).await.unwrap();
    }
    cluster.servers[2].freeze();
    let began = Instant::now();
    let answers = redis.run_all(vec![get("bar"), get("foo"), get("bar")]).await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
    assert!(began.elapsed() < SECONDS, "{:?}", began.elapsed());
    for _ in 0..5 {
        assert!(redis.run(get("bar")).await.is_ok());
    }
    cluster.servers[2].thaw();
    assert_eq!(eventually(&redis, get("foo")).await, bulk("1"));
}

#[tokio::test]
async fn the_master_that_sentinels_name_is_found_again_after_a_failover() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let sentinel = Server::start_sentinel("mymaster", master.port());
    let url = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{}/0?master=mymaster", sentinel.port());
    let redis = connect(&url);
    redis.run(set("a", "1")).await.unwrap();
    sentinel.wait_until(&["SENTINEL", "replicas", "mymaster"], |told| told.contains(&replica.port().to_string()));
    replica.wait_until(&["GET", "a"], |value| value == "1");
    master.kill();
    eventually(&redis, set("b", "2")).await;
    assert_eq!((replica.ask(&["GET", "a"]), replica.ask(&["GET", "b"])), ("1".into(), "2".into()));

    let unknown = format!("redis-sentinel://127.0.0.1:{}?master=other", sentinel.port());
    let error = connect(&unknown).run(get("a")).await.unwrap_err();
    assert!(error.to_string().contains("other"), "{error}");
}

#[tokio::test]
async fn a_replica_that_was_a_master_is_left() {
    let master = Server::start(&[]);
    let redis = connect(&master.url());
    redis.run(set("a", "1")).await.unwrap();
    assert_eq!(master.ask(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    assert_eq!(redis.run(set("a", "2")).await.unwrap_err().code(), Some("READONLY"));
    assert_eq!(master.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    redis.run(set("a", "3")).await.unwrap();
    assert_eq!(redis.connections_made(), 2);
}
