//! Rights are taken away from crowds on three nodes over a real Redis, also while a node or Redis stands still. After `"applied": true`, no
//! byte of content reaches users without the right to read, and no edit is taken from users without the right to write.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client as Http, Method, StatusCode};
use serde_json::{Value, json};
use ydash::auth::{Minting, mint};
use ydash_proto::access::Role;
use ydash_proto::time::Timestamp;

use crate::support::node::Node;
use crate::support::peer::{Peer, WITHIN};
use crate::support::redis::Server as Redis;
use crate::support::{forge, let_reqwest_work};

const SECRET: &str = "a secret of at least thirty-two bytes";

fn token(user: &str, grants: &[(&str, Role)], is_operator: bool) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let minting = Minting {
        user,
        name: None,
        groups: Vec::new(),
        grants: grants.to_vec(),
        is_operator,
        now: Timestamp(u64::try_from(since.as_millis()).unwrap()),
        lifetime: Duration::from_secs(3600),
    };
    mint(SECRET, &minting).unwrap()
}

struct World {
    redis: Redis,
    nodes: Vec<Node>,
    http: Http,
    owner: String,
}

impl World {
    async fn start() -> World {
        let redis = tokio::task::spawn_blocking(|| Redis::start(&[])).await.unwrap();
        let url = redis.url();
        let flags = ["--auth-secret", SECRET, "--bus", &url];
        let nodes = (0..3).map(|_| Node::start_at("127.0.0.1:0", &url, &flags)).collect();
        let_reqwest_work();
        World { redis, nodes, http: Http::new(), owner: token("olga", &[("acme/*", Role::Owner)], true) }
    }

    async fn call(&self, n: usize, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.request(method, self.nodes[n].http(&format!("/api/{path}"))).bearer_auth(&self.owner);
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// Does it on the first node until it is answered that every node has taken it. Says how long the last attempt took.
    async fn applied(&self, method: Method, path: &str, body: Value) -> (Duration, Value) {
        let first = Instant::now();
        loop {
            let began = Instant::now();
            let (status, answer) = self.call(0, method.clone(), path, body.clone()).await;
            if status.is_success() && answer["applied"] == true {
                return (began.elapsed(), answer);
            }
            assert!(first.elapsed() < 2 * WITHIN, "{status} {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn grant(&self, dashboard: &str, grants: &[(&str, &str)]) -> Duration {
        let grant = |(user, role): &(&str, &str)| json!({ "subject": format!("user:{user}"), "role": role });
        let grants: Vec<Value> = grants.iter().map(grant).collect();
        let path = format!("dashboards/{dashboard}/access");
        self.applied(Method::PUT, &path, json!({ "grants": grants })).await.0
    }

    async fn join(&self, n: usize, dashboard: &str, token: &str) -> Peer {
        let mut peer = Peer::open(&self.nodes[n], &format!("/{dashboard}?token={token}")).await;
        peer.send(forge::sync_step1(&[0])).await;
        peer.expect(|frame| frame.starts_with(&[0, 1])).await;
        peer
    }

    async fn shown(&self, dashboard: &str) -> String {
        let (status, shown) = self.call(1, Method::GET, &format!("dashboards/{dashboard}"), json!({})).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
        shown.to_string()
    }

    /// The secret has reached `token` on a node, but no former member, and the dashboard has it, but no edit of theirs.
    async fn secret_is_kept_from(&self, former: &mut [Peer], dashboard: &str, n: usize, token: &str) {
        let mut member = self.join(n, dashboard, token).await;
        member.send(forge::sync_step1(&[0])).await;
        member.expect(|frame| shows(frame, "the secret")).await;
        for has_seen in join_all(former.iter_mut().map(|peer| comes_to_see(peer, "the secret"))).await {
            assert!(!has_seen, "{dashboard}: content after a revocation that was answered");
        }
        let shown = self.shown(dashboard).await;
        assert!(shown.contains("the secret") && !shown.contains("too late"), "{shown}");
    }
}

/// The first text that a client types.
fn typed(client: u64, text: &str) -> Vec<u8> {
    forge::live(&forge::update((client, 0), &[forge::in_root("t", forge::STRING, &forge::var_bytes(text))], &[]))
}

fn shows(frame: &[u8], text: &str) -> bool {
    frame.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Whether anything comes that shows `text`, until the socket ends or is quiet for a while.
async fn comes_to_see(peer: &mut Peer, text: &str) -> bool {
    let mut has_seen = false;
    while let Some(frame) = peer.next_within(Duration::from_millis(500)).await {
        has_seen |= shows(&frame, text);
    }
    has_seen
}

/// Why somebody is in the crowd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Lowered,
    Removed,
    LinkRevoked,
    Blocked,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_members_on_three_nodes_lose_what_they_had_when_that_is_answered() {
    const CROWD: usize = 200;
    const ROUNDS: usize = 30;
    let world = World::start().await;
    let carol = token("carol", &[("acme/*", Role::Editor)], false);
    world.grant("acme/sales", &[("lowered", "editor"), ("removed", "editor"), ("blocked", "editor")]).await;
    let asked = json!({ "role": "editor" });
    let (_, link) = world.applied(Method::POST, "dashboards/acme/sales/links", asked).await;
    let own = |user| token(user, &[], false);
    let fates = [
        (Fate::Lowered, own("lowered")),
        (Fate::Removed, own("removed")),
        (Fate::LinkRevoked, link["link"].as_str().unwrap().to_owned()),
        (Fate::Blocked, own("blocked")),
    ];
    let mut crowd = join_all((0..CROWD).map(async |n| {
        let (fate, token) = &fates[n % fates.len()];
        (*fate, world.join(n % 3, "acme/sales", token).await)
    }))
    .await;
    let mut carol_here = world.join(0, "acme/sales", &carol).await;
    let mut carol_there = world.join(2, "acme/sales", &carol).await;

    world.grant("acme/sales", &[("lowered", "viewer"), ("blocked", "editor")]).await;
    let one = format!("dashboards/acme/sales/links/{}", link["id"].as_str().unwrap());
    world.applied(Method::DELETE, &one, json!({})).await;
    world.applied(Method::POST, "users/blocked/block", json!({})).await;

    for (n, (_, peer)) in crowd.iter_mut().enumerate() {
        peer.send(typed(1000 + n as u64, "too late")).await;
    }
    carol_here.send(typed(1, "the secret")).await;
    carol_there.expect(|frame| shows(frame, "the secret")).await;
    let seen = join_all(crowd.iter_mut().map(async |(fate, peer)| (*fate, comes_to_see(peer, "the secret").await)));
    for (n, (fate, has_seen)) in seen.await.into_iter().enumerate() {
        assert_eq!(has_seen, fate == Fate::Lowered, "member {n}, {fate:?}");
    }
    let shown = world.shown("acme/sales").await;
    assert!(shown.contains("the secret") && !shown.contains("too late"), "{shown}");
    assert!(!comes_to_see(&mut carol_there, "too late").await, "nobody else was shown what was not taken");

    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let role = if round % 2 == 0 { "editor" } else { "viewer" };
        took.push(world.grant("acme/sales", &[("lowered", role)]).await);
    }
    took.sort();
    eprintln!("until applied on 3 nodes: median {:?}, longest of {ROUNDS} {:?}", took[ROUNDS / 2], took[ROUNDS - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_holds_on_a_node_that_stood_still_and_after_redis_did() {
    let world = World::start().await;
    let carol = token("carol", &[("acme/*", Role::Editor)], false);
    let ada = token("ada", &[], false);

    // A node stands still while the right is taken away, and finds edits in its sockets when it goes on.
    world.grant("acme/one", &[("ada", "editor")]).await;
    let mut stopped = join_all((0..5).map(|_| world.join(2, "acme/one", &ada))).await;
    let mut carol_here = world.join(0, "acme/one", &carol).await;
    world.nodes[2].signal("STOP");
    world.grant("acme/one", &[]).await;
    for (n, peer) in stopped.iter_mut().enumerate() {
        peer.send(typed(100 + n as u64, "too late")).await;
    }
    carol_here.send(typed(1, "the secret")).await;
    carol_here.send(forge::sync_step1(&[0])).await;
    carol_here.expect(|frame| frame.starts_with(&[0, 1]) && shows(frame, "the secret")).await;
    world.nodes[2].signal("CONT");
    world.secret_is_kept_from(&mut stopped, "acme/one", 2, &carol).await;

    // Redis stands still: nothing is called applied that is not, and what is applied afterwards holds.
    world.grant("acme/two", &[("ada", "editor")]).await;
    let mut members = join_all((0..3).map(|n| world.join(n, "acme/two", &ada))).await;
    let mut carol_here = world.join(0, "acme/two", &carol).await;
    world.redis.freeze();
    let revoking = world.call(0, Method::PUT, "dashboards/acme/two/access", json!({ "grants": [] }));
    // Or it is not answered.
    if let Ok((status, answer)) = tokio::time::timeout(Duration::from_secs(3), revoking).await {
        assert!(!status.is_success() || answer["applied"] == false, "{status} {answer}");
    }
    // Members go on meanwhile.
    members[0].send(typed(200, "meanwhile")).await;
    carol_here.expect(|frame| shows(frame, "meanwhile")).await;
    world.redis.thaw();
    world.grant("acme/two", &[]).await;
    for (n, peer) in members.iter_mut().enumerate() {
        peer.send(typed(300 + n as u64, "too late")).await;
    }
    carol_here.send(typed(1, "the secret")).await;
    world.secret_is_kept_from(&mut members, "acme/two", 1, &carol).await;
}
