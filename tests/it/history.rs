//! Versions of dashboards, through a whole server: by name over sockets, and over REST.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use ydash_proto::access::format_moment;
use ydash_proto::time::Timestamp;

use super::support::client::Client;
use super::support::node::{Node, binary};
use super::support::peer::Peer;

/// The time in RFC 3339, to the second.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format_moment(Timestamp(since.as_millis() as u64))
}

async fn next_second() {
    let before = now();
    while now() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A time between the edits before and after this call. Times have whole seconds.
async fn now_after_this_second() -> String {
    next_second().await;
    let then = now();
    next_second().await;
    then
}

async fn call(node: &Node, method: Method, path: &str) -> u16 {
    let url = node.http(&format!("/api/dashboards/{path}"));
    reqwest::Client::new().request(method, url).send().await.unwrap().status().as_u16()
}

async fn put(node: &Node, dashboard: &str, body: &Value) -> u16 {
    let url = node.http(&format!("/api/dashboards/{dashboard}"));
    reqwest::Client::new().put(url).body(body.to_string()).send().await.unwrap().status().as_u16()
}

async fn get(node: &Node, path: &str) -> (u16, Value) {
    let response = reqwest::get(node.http(&format!("/api/dashboards/{path}"))).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

async fn copy(node: &Node, path: &str, name: &str) -> u16 {
    let url = node.http(&format!("/api/dashboards/{path}/copy"));
    let body = json!({ "name": name }).to_string();
    reqwest::Client::new().post(url).body(body).send().await.unwrap().status().as_u16()
}

/// Edits on both sides of a moment, on a server that writes snapshots all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_shown_while_others_edit_and_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--snapshot-interval=20ms"];
    let mut node = Node::start_in(directory.path(), &flags);
    let (first, second) = (json!({"board": {"a": 1, "gone": true}}), json!({"board": {"a": 2, "new": [1]}}));
    assert_eq!(get(&node, "w/board/at/-0s").await.0, 404, "there is no such dashboard");
    assert_eq!(put(&node, "w/board", &first).await, 201);
    let then = now_after_this_second().await;
    assert_eq!(put(&node, "w/board", &second).await, 200);

    for _ in 0..2 {
        assert_eq!(get(&node, &format!("w/board/at/{then}")).await, (200, first.clone()));
        assert_eq!(get(&node, &format!("w/board/at/{then}?at=/board/a")).await, (200, json!(1)));
        assert_eq!(get(&node, &format!("w/@at/{then}/board")).await, (200, first.clone()), "as a dashboard of its own");
        assert_eq!(get(&node, "w/board/at/-0s").await, (200, second.clone()));
        assert_eq!(get(&node, "w/board/at/-1h").await.0, 404);
        assert_eq!(get(&node, "w/board/at/1").await.0, 404);
        assert_eq!(get(&node, "w/board/at/yesterday").await.0, 400);
        assert_eq!(get(&node, "w/board/at/-1h/state").await.0, 404);
        assert_eq!(get(&node, "w/never/at/-0s").await.0, 404);
        // Names of no version, of a version of a forbidden dashboard, and of a forbidden dashboard get the same answer.
        for name in ["w/@at/yesterday/board", "w/@at/-0s/@news", "w/@news", "w/@at/-0s/~ada"] {
            assert_eq!(get(&node, name).await.0, 403, "{name}");
        }
        assert_eq!(put(&node, &format!("w/@at/{then}/board"), &second).await, 403, "nobody writes into the past");
        node.kill();
        node = Node::start_in(directory.path(), &flags);
    }

    // In the room of a version, others are seen, and an edit is not taken.
    let room = format!("/ws/w/@at/{then}/board");
    let mut ada = Client::joined(&node, &room, 1).await;
    let mut bob = Client::joined(&node, &room, 2).await;
    ada.until(|ada| ada.sees() == [2]).await;
    bob.until(|bob| bob.sees() == [1]).await;
    assert_eq!((ada.get("a"), ada.content().len()), (Some(1), 1));
    ada.set("a", 9).await;
    assert_eq!(put(&node, "w/board", &json!({"board": {"a": 3}})).await, 200);
    while bob.take(Duration::from_millis(500)).await {}
    assert_eq!(bob.get("a"), Some(1));
    assert_eq!(get(&node, &format!("w/board/at/{then}")).await, (200, first.clone()));
    assert_eq!(get(&node, "w/board").await, (200, json!({"board": {"a": 3}})));

    assert_eq!(copy(&node, &format!("w/board/at/{then}"), "w/then").await, 201);
    assert_eq!(copy(&node, &format!("w/board/at/{then}"), "w/then").await, 409, "nothing is overwritten");
    assert_eq!(copy(&node, &format!("w/board/at/{then}"), "w/@at/-0s/then").await, 403);
    assert_eq!(get(&node, "w/then").await, (200, first));
}

async fn send(node: &Node, method: Method, path: &str, body: &str) -> (u16, Value) {
    let url = node.http(&format!("/api/dashboards/{path}"));
    let response = reqwest::Client::new().request(method, url).body(body.to_owned()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

/// Of a server that keeps no history, killed as soon as it has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_has_a_name_is_kept_when_its_edits_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--snapshot-interval=20ms", "--history=0s"];
    let mut node = Node::start_in(directory.path(), &flags);
    assert_eq!(send(&node, Method::POST, "w/board/versions", r#"{"name":"early"}"#).await.0, 404);
    let first = json!({"board": {"a": 1, "text": "x".repeat(400)}});
    assert_eq!(put(&node, "w/board", &first).await, 201);
    let (status, kept) = send(&node, Method::POST, "w/board/versions", r#"{"name":" Q3 ","note":"as agreed"}"#).await;
    node.kill();
    assert_eq!(
        (status, &kept["name"], &kept["note"], &kept["why"]),
        (201, &json!("Q3"), &json!("as agreed"), &json!("named"))
    );
    node = Node::start_in(directory.path(), &flags);
    let id = kept["id"].as_str().unwrap().to_owned();
    let in_the_log = format!("w/board/at/{}", kept["position"].as_str().unwrap());
    let (mut n, began) = (1, Instant::now());
    // Snapshots take away the edits before them.
    while n == 1 || get(&node, &in_the_log).await.0 != 404 {
        assert!(began.elapsed() < Duration::from_secs(60), "its edits stay");
        n += 1;
        assert_eq!(put(&node, "w/board", &json!({"board": {"a": n, "text": "x".repeat(400)}})).await, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for path in [format!("w/board/at/{id}"), format!("w/@at/{id}/board")] {
        assert_eq!(get(&node, &path).await, (200, first.clone()), "{path}");
    }
    let visitor = Client::joined(&node, &format!("/ws/w/@at/{id}/board"), 1).await;
    assert_eq!(visitor.get("a"), Some(1));
    assert_eq!(copy(&node, &format!("w/board/at/{id}"), "w/then").await, 201);
    assert_eq!(get(&node, "w/then").await, (200, first.clone()));

    let version = format!("w/board/versions/{id}");
    for (path, body, expected) in [
        (version.as_str(), r#"{"name":""}"#, 400),
        (version.as_str(), r#"{"title":"no"}"#, 400),
        (version.as_str(), "{}", 400),
        ("w/board/versions/v0000000000000001", r#"{"name":"b"}"#, 404),
        ("w/board/versions/7", r#"{"name":"b"}"#, 404),
        (version.as_str(), r#"{"name":"Q3, final"}"#, 200),
    ] {
        assert_eq!(send(&node, Method::PATCH, path, body).await.0, expected, "{path} {body}");
    }
    let long = json!({ "name": "n".repeat(201) }).to_string();
    for body in ["", "{}", r#"{"name":"a\nb"}"#, &long] {
        assert_eq!(send(&node, Method::POST, "w/board/versions", body).await.0, 400, "{body}");
    }
    // A write of JSON that removes much keeps what was there, as a version like any other.
    let before = get(&node, "w/board").await.1;
    assert_eq!(put(&node, "w/board", &json!({"board": {}})).await, 200);
    let listed = get(&node, "w/board/versions").await.1["versions"].clone();
    let shown: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (one["name"].clone(), one["why"].clone())).collect();
    assert_eq!(shown, [(json!(""), json!("before-edit")), (json!("Q3, final"), json!("named"))]);
    let automatic = listed[0]["id"].as_str().unwrap();
    assert_eq!(get(&node, &format!("w/board/at/{automatic}")).await, (200, before));

    assert_eq!(call(&node, Method::DELETE, &version).await, 200);
    assert_eq!(call(&node, Method::DELETE, &version).await, 404);
    assert_eq!(get(&node, &format!("w/board/at/{id}")).await.0, 404, "also while its room is open");
    drop(visitor);
    node.kill();
    let mut listing = Command::new(binary());
    listing.args(["history", "versions", "w/board"]).current_dir(directory.path()).env_clear();
    let listed = String::from_utf8(listing.output().unwrap().stdout).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert!(listed.starts_with(automatic) && listed.contains("before-edit"), "{listed}");
}

/// No version shows a deleted dashboard, not even to those who have one open. It comes back with its versions, or ends with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_go_into_the_trash_and_come_back_with_their_dashboard() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start_in(directory.path(), &["--snapshot-interval=20ms"]);
    let board = json!({"board": {"a": 1}});
    assert_eq!(put(&node, "w/board", &board).await, 201);
    let then = now_after_this_second().await;
    let version = format!("w/board/at/{then}");
    assert_eq!(get(&node, &version).await, (200, board.clone()));
    let mut visitor = Client::joined(&node, &format!("/ws/w/@at/{then}/board"), 1).await;
    assert_eq!(visitor.get("a"), Some(1));

    assert_eq!(call(&node, Method::DELETE, "w/board").await, 200);
    assert_eq!(visitor.peer.as_mut().unwrap().ended().await.code, 4404);
    visitor.disconnect();
    Peer::open(&node, &format!("/ws/w/@at/{then}/board")).await.ended_for_good(4404).await;
    assert_eq!(get(&node, &version).await.0, 410);
    assert_eq!(call(&node, Method::POST, "w/board/restore-deleted").await, 200);
    assert_eq!(get(&node, &version).await, (200, board));

    assert_eq!(call(&node, Method::DELETE, "w/board?purge=true").await, 200);
    assert_eq!(get(&node, &version).await.0, 410);
    let url = node.http("/api/dashboards/w/board");
    let next = reqwest::Client::new().put(url).header("if-none-match", "*").body("{\"board\":{\"b\":1}}").send().await;
    assert_eq!(next.unwrap().status(), 201);
    assert_eq!(get(&node, &version).await.0, 404, "the next dashboard of that name has a past of its own");
}

/// The command line tells of the same past, with no server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_versions_and_verifies_them() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).current_dir(directory.path()).env_clear().output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), told)
    };
    let mut node = Node::start_in(directory.path(), &[]);
    assert_eq!(put(&node, "w/board", &json!({"board": {"a": 1}})).await, 201);
    assert_eq!(put(&node, "w/board", &json!({"board": {"a": 2}})).await, 200);
    node.kill();

    let (_, edits) = run(&["history", "show", "w/board", "--edits"]);
    let first = edits.lines().next().unwrap().split('\t').next().unwrap();
    assert_eq!(run(&["history", "at", "w/board", first]), (true, "{\"board\":{\"a\":1}}\n".to_owned()));
    assert_eq!(run(&["history", "at", "w/board", "-0s"]), (true, "{\"board\":{\"a\":2}}\n".to_owned()));
    assert!(run(&["history", "at", "w/board", first, "--state", "then.bin"]).0);
    assert!(directory.path().join("then.bin").metadata().unwrap().len() > 10);
    let (is_overwritten, told) = run(&["history", "at", "w/board", "-0s", "--state", "then.bin"]);
    assert!(!is_overwritten && told.contains("exists"), "{told}");
    for (version, why) in [("-1h", "no such version"), ("yesterday", "neither a position")] {
        let (is_shown, told) = run(&["history", "at", "w/board", version]);
        assert!(!is_shown && told.contains(why), "{told}");
    }
    let (_, shown) = run(&["history", "show", "w/board"]);
    assert!(shown.lines().count() == 2 && shown.contains("\t2\t") && shown.contains("not sealed yet"), "{shown}");
    assert_eq!(
        run(&["history", "verify", "w/board"]),
        (true, "w/board: 0 segments with 0 edits, 0 faults\n".to_owned())
    );
}
