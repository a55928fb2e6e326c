//! Dashboards in Redis, through whole servers: what is kept when Redis goes, comes back, or has forgotten everything; and moving
//! in and out while servers serve.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ydash::store::Store;
use ydash::store::embedded::EmbeddedStore;
use ydash_proto::id::DashboardId;
use ydash_proto::log::LogPosition;

use super::support::client::Client;
use super::support::node::{Node, binary};
use super::support::redis::{Server, free_port};

const WITHIN: Duration = Duration::from_secs(30);

/// A node alone with its Redis.
fn node(redis: &Server, flags: &[&str]) -> Node {
    Node::start_at("127.0.0.1:0", &redis.url(), &[&["--bus", "none"], flags].concat())
}

async fn eventually(what: &str, is_it: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_it() {
        assert!(began.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn ydash(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary());
    let Output { status, stdout, stderr } =
        command.args(arguments).current_dir(directory).env_clear().output().unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_edited_while_redis_was_away_is_saved_when_it_is_back() {
    let mut redis = Server::start(&["--appendonly", "yes"]);
    let node = node(&redis, &[]);
    let mut client = Client::joined(&node, "/ws/w/board?acks=1", 1).await;
    client.set("before", 1).await;
    client.until(|client| client.saved == 2).await;
    redis.kill();
    client.set("during", 2).await;
    node.until_metric("ydash_store_up", |up| up == 0.0).await;
    assert_eq!(client.saved, 2);
    let mut other = Client::new(2);
    other.join(&node, "/ws/w/board").await;
    other.until(|other| other.get("during") == Some(2)).await;
    redis.restart();
    client.until(|client| client.saved == 3).await;
    drop(node);
    let again = super::keeping::node(&redis, &[]);
    let newcomer = Client::joined(&again, "/ws/w/board", 3).await;
    assert_eq!(newcomer.content(), client.content());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_room_puts_back_what_redis_has_forgotten() {
    let mut redis = Server::start(&[]);
    let node = node(&redis, &[]);
    let mut client = Client::joined(&node, "/ws/w/board?acks=1", 1).await;
    client.set("a", 1).await;
    client.set("b", 2).await;
    client.until(|client| client.saved == 3).await;
    redis.restart();
    assert_eq!(redis.ask(&["DBSIZE"]), "0");
    // Nobody edits, and nobody asks.
    eventually("it is back", || redis.ask(&["XLEN", "ydash:{w/board}:log"]) == "1").await;
    node.until_metric("ydash_store_losses_total", |losses| losses == 1.0).await;
    let other = super::keeping::node(&redis, &[]);
    let newcomer = Client::joined(&other, "/ws/w/board", 2).await;
    assert_eq!(newcomer.content(), client.content());
    client.set("c", 3).await;
    client.until(|client| client.saved == 4).await;
    assert_eq!(node.metric("ydash_store_losses_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboards_move_into_redis_and_out_while_a_server_serves() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let (done, told) = ydash(directory.path(), arguments);
        assert!(done, "{arguments:?}: {told}");
        told
    };
    let mut alone = Node::start_in(directory.path(), &[]);
    let mut client = Client::joined(&alone, "/ws/w/board?acks=1", 1).await;
    client.set("moved", 1).await;
    client.until(|client| client.saved == 2).await;
    drop(client);
    alone.terminate(WITHIN).await;
    run(&["export", "archive", "--store", "file:data"]);

    let redis = Server::start(&[]);
    let node = node(&redis, &[]);
    let mut member = Client::joined(&node, "/ws/w/board?acks=1", 2).await;
    member.set("here", 2).await;
    member.until(|member| member.saved == 2).await;
    assert!(run(&["import", "archive", "--store", &redis.url()]).contains("imported 1 dashboards"));
    member.set("later", 3).await;
    member.until(|member| member.get("moved") == Some(1)).await;

    let told = run(&["doctor", "--listen", "127.0.0.1:0", "--store", &redis.url()]);
    assert!(told.contains("1 dashboards") && !told.contains("BROKEN"), "{told}");
    run(&["export", "again", "--store", &redis.url()]);
    run(&["import", "again", "--store", "file:other"]);
    let other = Node::start_at("127.0.0.1:0", &format!("file:{}", directory.path().join("other").display()), &[]);
    let newcomer = Client::joined(&other, "/ws/w/board", 3).await;
    assert_eq!(newcomer.content(), member.content());

    let (done, told) =
        ydash(directory.path(), &["doctor", "--listen", "127.0.0.1:0", "--store", "redis://127.0.0.1:1"]);
    assert!(!done && told.contains("BROKEN") && told.contains("127.0.0.1:1"), "{told}");
}

/// A certificate for 127.0.0.1 that signs itself, and its key.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=ydash test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .args([certificate.as_os_str(), "-keyout".as_ref(), key.as_os_str()])
        .output()
        .expect("openssl is needed, as from `apt-get install openssl`");
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_and_bus_reach_a_redis_over_tls_whose_certificate_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(directory.path());
    let port = free_port();
    let tls = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--tls-cert-file"];
    let files = [&certificate, &key, &certificate].map(|path| path.to_str().unwrap());
    let _redis =
        Server::start(&[&tls[..], &[files[0], "--tls-key-file", files[1], "--tls-ca-cert-file", files[2]]].concat());
    let url = format!("rediss://127.0.0.1:{port}");
    let nodes = [(); 2].map(|()| Node::start_trusting(&certificate, &url, &[]));
    let mut client = Client::joined(&nodes[0], "/ws/w/board?acks=1", 1).await;
    let mut other = Client::joined(&nodes[1], "/ws/w/board", 2).await;
    client.set("over", 1).await;
    client.until(|client| client.saved == 2).await;
    other.until(|other| other.get("over") == Some(1)).await;
    let later = Node::start_trusting(&certificate, &url, &["--bus", "none"]);
    assert_eq!(Client::joined(&later, "/ws/w/board", 3).await.content(), client.content());

    let (done, told) = ydash(directory.path(), &["doctor", "--listen", "127.0.0.1:0", "--store", &url]);
    assert!(!done && told.contains("certificate"), "who does not trust it says so: {told}");
}

/// It was an ERROR line for each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_garbage_is_told_once_however_often_somebody_asks_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let id = |name| DashboardId::new("w", name).unwrap();
    let store = EmbeddedStore::open(&directory.path().join("data")).unwrap();
    for name in ["one", "two"] {
        let garbage = Bytes::from_static(b"garbage");
        store.snapshot(&id(name), LogPosition::START, garbage).await.unwrap();
    }
    drop(store);
    let mut node = Node::start_in(directory.path(), &[]);
    for _ in 0..10 {
        for name in ["one", "two"] {
            let answer = reqwest::get(node.http(&format!("/api/dashboards/w/{name}/state"))).await.unwrap();
            assert_eq!(answer.status(), 503);
        }
    }
    let _works = Client::joined(&node, "/ws/w/board", 1).await;
    node.terminate(WITHIN).await;
    let log = node.log();
    let errors: Vec<&String> = log.iter().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.len() == 2 && errors.iter().all(|line| line.contains("stored state is no document")), "{errors:#?}");
}

/// Anybody on the machine could read every dashboard: directories were 0755, files 0644.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_and_its_archives_are_for_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    fn open_to_others(path: &Path, found: &mut Vec<String>) {
        let mode = path.metadata().unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        for item in path.read_dir().into_iter().flatten() {
            open_to_others(&item.unwrap().path(), found);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let url = format!("file:{}", data.display());
    let mut node = Node::start_at("127.0.0.1:0", &url, &[]);
    let mut client = Client::joined(&node, "/ws/w/board?acks=1", 1).await;
    client.set("a", 1).await;
    client.until(|client| client.saved == 2).await;
    node.terminate(WITHIN).await;
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    assert_eq!(found, Vec::<String>::new());
    // What an earlier ydash left open is closed by the next start.
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(data.join("db"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(data.join("db/version"), PermissionsExt::from_mode(0o644)).unwrap();
    let (is_fine, told) = ydash(directory.path(), &["export", "archive", "--store", &url]);
    assert!(is_fine && told.contains("readable for others"), "{told}");
    open_to_others(&data, &mut found);
    open_to_others(&directory.path().join("archive"), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

/// One damaged place in a journal cost everything behind it: export said "1 dashboards" and ended with 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_journal_is_told_by_every_command_until_it_is_seen() {
    use std::io::{Seek, SeekFrom, Write};
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file:{}", directory.path().join("data").display());
    let mut node = Node::start_at("127.0.0.1:0", &url, &[]);
    for n in 0..20 {
        let mut client = Client::joined(&node, &format!("/ws/w/{n}?acks=1"), n + 1).await;
        client.set("a", 1).await;
        client.until(|client| client.saved == 2).await;
    }
    node.kill();
    let path = directory.path().join("data/db/0.jnl");
    let mut journal = std::fs::File::options().write(true).open(&path).unwrap();
    journal.seek(SeekFrom::Start(600)).unwrap();
    journal.write_all(&[0; 40]).unwrap();
    drop(journal);
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--store", &url]].concat();
        let output = Command::new(binary()).args(arguments).current_dir(directory.path()).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, told) = run(&["export", "archive"]);
    assert!(code == Some(2) && told.contains("log entries are missing"), "{code:?} {told}");
    assert!(!told.contains("exported 1 dashboards"), "what is behind the hole is there: {told}");
    let (code, told) = run(&["doctor", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("BROKEN  store     lost: "), "{code:?} {told}");
    let (code, told) = run(&["doctor", "--salvage", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(0) && told.contains("odd     salvage   lost: "), "{code:?} {told}");
    let (code, told) = run(&["doctor", "--salvage", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(0) && told.contains("ok      salvage   nothing is missing"), "{code:?} {told}");
    assert_eq!(run(&["export", "again"]).0, Some(0));
}
