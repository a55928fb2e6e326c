//! Stores that earlier releases wrote, opened by this one: everything that they held is there. `tests/it/stores/make` made them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use ydash::auth::{Minting, mint};
use ydash_proto::access::Role;
use ydash_proto::time::Timestamp;

use super::support::let_reqwest_work;
use super::support::node::Node;

const SECRET: &str = "an-old-secret-of-at-least-32-bytes";

fn unpack(archive: &str, into: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stores").join(archive);
    let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(into).status().unwrap();
    assert!(unpacked.success());
}

fn token(user: &str, grants: &[(&str, Role)]) -> String {
    let now = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64);
    let lifetime = Duration::from_secs(600);
    mint(
        SECRET,
        &Minting { user, name: None, groups: Vec::new(), grants: grants.to_vec(), is_operator: false, now, lifetime },
    )
    .unwrap()
}

async fn call(node: &Node, method: Method, path: &str, token: &str) -> (StatusCode, Value) {
    let_reqwest_work();
    let request = Client::new().request(method, node.http(&format!("/api/{path}"))).bearer_auth(token);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn board(n: u32) -> Value {
    json!({
        "meta": { "title": format!("Board {n}") },
        "widgets": { "a": { "title": format!("A{n}"), "options": { "n": n } } },
        "list": [1, 2, 3],
    })
}

/// A release without tokens, whose logs had neither lives nor authors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_first_release_opens_with_all_that_it_held() {
    let directory = tempfile::tempdir().unwrap();
    unpack("first.tar.gz", directory.path());
    for _ in 0..2 {
        let mut node = Node::start_in(directory.path(), &[]);
        for n in 1..=3 {
            let shown = call(&node, Method::GET, &format!("dashboards/acme/board-{n}"), "").await;
            assert_eq!(shown, (StatusCode::OK, board(n)));
        }
        assert!(node.terminate(Duration::from_secs(30)).await.success());
    }
}

/// The last release without history: documents, grants, the trash and the audit log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_release_without_history_opens_with_all_that_it_held() {
    let directory = tempfile::tempdir().unwrap();
    unpack("before-history.tar.gz", directory.path());
    let flags = [&*format!("--auth-secret={SECRET}"), "--trash=never"];
    let (ada, bob) = (token("ada", &[("acme/*", Role::Owner)]), token("bob", &[]));
    // Twice: the second start opens the records of the first, too.
    for is_again in [false, true] {
        let mut node = Node::start_in(directory.path(), &flags);
        let edited =
            json!({ "meta": { "title": "Board 1" }, "widgets": { "b": { "title": "second" } }, "list": [1, 2, 3] });
        assert_eq!(call(&node, Method::GET, "dashboards/acme/board-1", &ada).await, (StatusCode::OK, edited));
        assert_eq!(call(&node, Method::GET, "dashboards/acme/board-2", &bob).await, (StatusCode::OK, board(2)));
        assert_eq!(call(&node, Method::GET, "dashboards/acme/board-1", &bob).await.0, StatusCode::FORBIDDEN);
        let (_, listed) = call(&node, Method::GET, "dashboards", &ada).await;
        let names: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        if is_again {
            assert_eq!(names, ["acme/board-1", "acme/board-2", "acme/board-3"]);
        } else {
            assert_eq!(names, ["acme/board-1", "acme/board-2"]);
            assert_eq!(call(&node, Method::GET, "dashboards/acme/board-3", &ada).await.0, StatusCode::GONE);
            let restored = call(&node, Method::POST, "dashboards/acme/board-3/restore-deleted", &ada).await;
            assert_eq!(restored.0, StatusCode::OK, "{}", restored.1);
        }
        assert_eq!(call(&node, Method::GET, "dashboards/acme/board-3", &ada).await, (StatusCode::OK, board(3)));
        assert!(node.terminate(Duration::from_secs(30)).await.success());
    }
}
