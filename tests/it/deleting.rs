//! Deleting dashboards: into the trash on every node, resurrected nowhere, and whole when it comes back.

use std::time::{Duration, Instant};

use reqwest::{Client as Http, Method, StatusCode};
use serde_json::{Value, json};
use yrs::updates::encoder::Encode;
use yrs::{ReadTxn, StateVector, Transact};

use crate::support::client::Client;
use crate::support::node::Node;
use crate::support::peer::{Peer, WITHIN};
use crate::support::redis::Server as Redis;
use crate::support::{forge, let_reqwest_work};

const DELETED: &str = "the dashboard was deleted";

struct Nodes {
    nodes: Vec<Node>,
    http: Http,
}

impl Nodes {
    fn on(store: &str, count: usize, flags: &[&str]) -> Nodes {
        let nodes = (0..count).map(|_| Node::start_at("127.0.0.1:0", store, flags)).collect();
        let_reqwest_work();
        Nodes { nodes, http: Http::new() }
    }

    async fn call(&self, n: usize, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, self.nodes[n].http(&format!("/api/{path}")));
        let request = match body {
            Some(body) => request.header("content-type", "application/merge-patch+json").body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn delete(&self, n: usize, dashboard: &str) {
        let (status, answer) = self.call(n, Method::DELETE, &format!("dashboards/{dashboard}"), None).await;
        // 202 while a node that is stopped still has its lease.
        assert!(status.is_success(), "{status} {answer}");
        assert_eq!(answer["deleted"], true, "{answer}");
    }

    async fn restore(&self, n: usize, dashboard: &str) {
        let path = format!("dashboards/{dashboard}/restore-deleted");
        let (status, answer) = self.call(n, Method::POST, &path, None).await;
        assert_eq!((status, &answer["restored"]), (StatusCode::OK, &json!(true)), "{answer}");
    }

    /// Begins a dashboard of the name anew.
    async fn begin(&self, n: usize, dashboard: &str, content: Value) {
        let request = self.http.put(self.nodes[n].http(&format!("/api/dashboards/{dashboard}")));
        let answer = request.header("if-none-match", "*").body(content.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
    }

    async fn update(&self, n: usize, dashboard: &str, update: Vec<u8>) -> (StatusCode, Value) {
        let url = self.nodes[n].http(&format!("/api/dashboards/{dashboard}/updates"));
        let answer = self.http.post(url).body(update).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn shown(&self, n: usize, dashboard: &str) -> (StatusCode, Value) {
        self.call(n, Method::GET, &format!("dashboards/{dashboard}"), None).await
    }

    /// Nobody gets it from any node.
    async fn is_gone(&self, dashboard: &str) {
        for n in 0..self.nodes.len() {
            let (status, answer) = self.shown(n, dashboard).await;
            assert_eq!((status, &answer["error"]), (StatusCode::GONE, &json!("deleted")), "node {n}: {answer}");
        }
    }

    async fn document(&self, n: usize, name: &str) -> Peer {
        Peer::try_open_document(&self.nodes[n].ws("/hocuspocus"), name).await.unwrap()
    }
}

/// The reason that a document of the Hocuspocus dialect ended with.
async fn denied(peer: &mut Peer) -> String {
    let began = Instant::now();
    // Authentication is not for [`Peer::next_within`], which takes it for a sign of life.
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;
    while let Ok(Some(Ok(message))) =
        tokio::time::timeout(WITHIN.saturating_sub(began.elapsed()), peer.socket.next()).await
    {
        let Message::Binary(bytes) = message else { continue };
        let address = usize::from(bytes[0]) + 1;
        if let [2, 1, reason @ ..] = &bytes[address..] {
            return String::from_utf8(reason[1..].to_vec()).unwrap();
        }
    }
    panic!("nobody denied it");
}

/// Whether its one edit is durable, beside its answer to the server's question.
fn is_saved(client: &Client) -> bool {
    client.answers > 0 && client.saved > client.answers
}

/// All that a client has.
fn state_of(client: &Client) -> Vec<u8> {
    client.doc.transact().encode_state_as_update_v1(&StateVector::default())
}

/// What it says that it has.
fn vector_of(client: &Client) -> Vec<u8> {
    client.doc.transact().state_vector().encode_v1()
}

async fn redis() -> (Redis, String) {
    let redis = tokio::task::spawn_blocking(|| Redis::start(&["--appendonly", "yes"])).await.unwrap();
    let url = redis.url();
    (redis, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_dashboard_is_gone_on_every_node_and_comes_back_whole() {
    let (_redis, url) = redis().await;
    let world = Nodes::on(&url, 3, &["--bus", &url]);
    let mut members = Vec::new();
    for (n, node) in world.nodes.iter().enumerate() {
        members.push(Client::joined(node, "/acme/sales?acks=1", 10 + n as u64).await);
    }
    let mut documents = Vec::new();
    for n in 0..3 {
        let mut peer = world.document(n, "acme/sales").await;
        peer.send(forge::sync_step1(&[0])).await;
        peer.expect(|frame| frame.starts_with(&[0, 1])).await;
        documents.push(peer);
    }
    for (n, member) in members.iter_mut().enumerate() {
        member.log(&format!("member {n}")).await;
        member.until(is_saved).await;
    }
    members[0].until(|client| client.logged().len() == 3).await;
    // Somebody leaves with a copy, and goes on writing.
    let mut traveller = Client::joined(&world.nodes[1], "/acme/sales?acks=1", 20).await;
    traveller.until(|client| client.logged().len() == 3).await;
    traveller.disconnect();
    traveller.log("written on the train").await;

    world.delete(0, "acme/sales").await;
    for member in &mut members {
        let peer = member.peer.as_mut().expect("it was in");
        let ended = peer.ended().await;
        assert_eq!((ended.code, ended.reason.as_str()), (4404, DELETED), "{ended:?}");
        member.disconnect();
    }
    for peer in &mut documents {
        assert_eq!(denied(peer).await, DELETED);
    }
    world.is_gone("acme/sales").await;

    // Nobody brings it back: by coming again, in either dialect, ...
    let copy = state_of(&traveller);
    for n in 0..3 {
        let mut peer = Peer::open(&world.nodes[n], "/acme/sales").await;
        peer.ended_for_good(4404).await;
        assert_eq!(denied(&mut world.document(n, "acme/sales").await).await, DELETED);
        // ... by an old copy as bytes or as JSON, ...
        assert_eq!(world.update(n, "acme/sales", copy.clone()).await.0, StatusCode::GONE);
        for (method, body) in [(Method::PUT, json!({"meta": {}})), (Method::PATCH, json!({"meta": {"a": 1}}))] {
            let (status, answer) = world.call(n, method, "dashboards/acme/sales", Some(body)).await;
            assert_eq!((status, &answer["error"]), (StatusCode::GONE, &json!("deleted")), "{answer}");
        }
        // ... nor by deleting it twice.
        assert_eq!(world.call(n, Method::DELETE, "dashboards/acme/sales", None).await.0, StatusCode::NOT_FOUND);
    }
    world.is_gone("acme/sales").await;
    let (_, trash) = world.call(1, Method::GET, "workspaces/acme/trash", None).await;
    assert_eq!(trash["trash"][0]["dashboard"], "acme/sales", "{trash}");
    assert_eq!(trash["trash"].as_array().unwrap().len(), 1);

    world.restore(2, "acme/sales").await;
    // It is whole on every node, and the traveller's edits merge.
    traveller.join(&world.nodes[0], "/acme/sales?acks=1").await;
    traveller.until(|client| client.answers > 0).await;
    for n in 0..3 {
        let mut reader = Client::joined(&world.nodes[n], "/acme/sales?acks=1", 30 + n as u64).await;
        reader.until(|client| client.logged().len() == 4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_under_the_name_takes_nothing_of_what_was_deleted() {
    let (_redis, url) = redis().await;
    let world = Nodes::on(&url, 2, &["--bus", &url]);
    let mut old = Client::joined(&world.nodes[0], "/acme/sales?acks=1", 10).await;
    old.log("from before").await;
    old.until(is_saved).await;
    old.disconnect();
    let copy = state_of(&old);
    world.delete(0, "acme/sales").await;
    world.begin(1, "acme/sales", json!({"meta": {"title": "anew"}})).await;
    let shown = (StatusCode::OK, json!({"meta": {"title": "anew"}}));
    for n in 0..2 {
        assert_eq!(world.shown(n, "acme/sales").await, shown);
        // An old tab is told aloud, in both dialects, and by REST.
        let mut peer = Peer::open(&world.nodes[n], "/acme/sales").await;
        peer.send(forge::sync_step1(&vector_of(&old))).await;
        let ended = peer.ended().await;
        assert_eq!(ended.code, 4409, "{ended:?}");
        let mut peer = world.document(n, "acme/sales").await;
        peer.send(forge::sync_step1(&vector_of(&old))).await;
        assert!(denied(&mut peer).await.contains("deleted dashboard of this name"));
        // One that says nothing of what it has, and brings it all the same.
        let mut peer = Peer::open(&world.nodes[n], "/acme/sales").await;
        peer.send(forge::live(&copy)).await;
        assert_eq!(peer.ended().await.code, 4409);
        let (status, answer) = world.update(n, "acme/sales", copy.clone()).await;
        assert_eq!((status, &answer["error"]), (StatusCode::CONFLICT, &json!("deleted_content")), "{answer}");
        assert_eq!(world.shown(n, "acme/sales").await, shown);
    }
    // A newcomer writes as ever, on both nodes.
    let mut new = Client::joined(&world.nodes[0], "/acme/sales?acks=1", 11).await;
    let mut other = Client::joined(&world.nodes[1], "/acme/sales?acks=1", 12).await;
    new.log("from now on").await;
    new.until(is_saved).await;
    other.until(|client| client.logged() == ["from now on"]).await;
    // While it exists the other one stays in the trash; after it, either comes back.
    let refused = world.call(0, Method::POST, "dashboards/acme/sales/restore-deleted", None).await;
    assert_eq!((refused.0, &refused.1["error"]), (StatusCode::CONFLICT, &json!("exists")));
    world.delete(1, "acme/sales").await;
    let back = world.call(0, Method::POST, "dashboards/acme/sales/restore-deleted?life=0", None).await;
    assert_eq!(back.0, StatusCode::OK, "{}", back.1);
    old.join(&world.nodes[1], "/acme/sales?acks=1").await;
    old.until(|client| client.is_synced).await;
    assert_eq!(world.shown(0, "acme/sales").await.1["log"], json!(["from before"]));
    let mut peer = Peer::open(&world.nodes[0], "/acme/sales").await;
    peer.send(forge::sync_step1(&vector_of(&new))).await;
    assert_eq!(peer.ended().await.code, 4409, "now the other one is the old one");
}

/// A node that was stopped while the dashboard was deleted, and begun anew, wakes with members, edits and snapshots of what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_meanwhile_brings_nothing_back() {
    let (_redis, url) = redis().await;
    let flags = ["--bus", &url, "--snapshot-interval", "1s", "--snapshot-bytes", "1"];
    let world = Nodes::on(&url, 3, &flags);
    let mut member = Client::joined(&world.nodes[2], "/acme/sales?acks=1", 10).await;
    let mut gone = Client::joined(&world.nodes[2], "/acme/gone?acks=1", 11).await;
    for client in [&mut member, &mut gone] {
        client.log("from before").await;
        client.until(is_saved).await;
    }
    let sales = Client::joined(&world.nodes[0], "/acme/sales?acks=1", 12).await;
    world.nodes[2].signal("STOP");
    // What its members write waits in its sockets.
    member.log("while it slept").await;
    gone.log("while it slept").await;
    world.delete(0, "acme/sales").await;
    world.delete(1, "acme/gone").await;
    world.begin(1, "acme/sales", json!({"meta": {"title": "anew"}})).await;
    drop(sales);
    let mut witness = Client::joined(&world.nodes[1], "/acme/sales?acks=1", 13).await;
    world.nodes[2].signal("CONT");
    for client in [&mut member, &mut gone] {
        let ended = client.peer.as_mut().unwrap().ended().await;
        assert_eq!(ended.code, 4404, "{ended:?}");
    }
    // A snapshot, or whatever else it had begun, would have come by then.
    witness.take_for(Duration::from_secs(3)).await;
    assert!(witness.logged().is_empty(), "{:?}", witness.logged());
    for n in 0..3 {
        assert_eq!(world.shown(n, "acme/sales").await, (StatusCode::OK, json!({"meta": {"title": "anew"}})));
    }
    world.is_gone("acme/gone").await;
    world.restore(2, "acme/gone").await;
    assert_eq!(world.shown(1, "acme/gone").await.1["log"], json!(["from before"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_is_emptied_in_time_or_at_once_and_the_name_stays_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("file:{}", directory.path().display());
    let world = Nodes::on(&store, 1, &["--trash", "2s"]);
    for name in ["w/a", "w/b"] {
        world.begin(0, name, json!({"meta": {"title": name}})).await;
    }
    world.delete(0, "w/a").await;
    let (status, answer) = world.call(0, Method::DELETE, "dashboards/w/b?purge=true", None).await;
    assert_eq!((status, &answer["purged"]), (StatusCode::OK, &json!(true)), "{answer}");
    let restored = world.call(0, Method::POST, "dashboards/w/b/restore-deleted", None).await;
    assert_eq!(restored.0, StatusCode::NOT_FOUND);
    world.nodes[0].until_metric("ydash_deletions_total{what=\"purged\"}", |purged| purged == 2.0).await;
    let restored = world.call(0, Method::POST, "dashboards/w/a/restore-deleted", None).await;
    assert_eq!(restored.0, StatusCode::NOT_FOUND);
    world.is_gone("w/a").await;
    let (_, listed) = world.call(0, Method::GET, "dashboards", None).await;
    assert_eq!(listed["items"], json!([]));
    world.begin(0, "w/a", json!({"meta": {"title": "anew"}})).await;
    assert_eq!(world.shown(0, "w/a").await.1, json!({"meta": {"title": "anew"}}));
}
