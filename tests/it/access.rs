//! Who may do what, from REST to the wire: grants, links and blocks, and that a change holds from the moment on at which it is answered.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Text, Transact, Update};

use ydash::auth::{Authenticator, Caller, Denied, Eventual};
use ydash::cluster::local::LocalBus;
use ydash::cluster::redis::RedisBus;
use ydash::config::{Config, Layers};
use ydash::redis::RedisUrl;
use ydash::server::Server;
use ydash::store::memory::MemoryStore;
use ydash::store::{self, Store, StoreConfig, StoreUrl};
use ydash_proto::access::{Access, Admission, Pattern, Principal, Role, TokenGrant, User};
use ydash_proto::wire::rights::SAID;

use crate::support::peer::{Peer, WITHIN};
use crate::support::redis::Server as Redis;
use crate::support::{forge, let_reqwest_work};

/// Believes what a token says: `ada` is the user ada, `olga` owns the workspace acme, `root` operates the server.
struct Believing;

impl Believing {
    fn principal(token: &str) -> Principal {
        let token_grants = match token {
            "olga" => vec![TokenGrant { dashboards: Pattern::parse("acme/*").unwrap(), role: Role::Owner }],
            _ => Vec::new(),
        };
        let (id, is_operator) = (token.into(), token == "root");
        Principal::User(Arc::new(User { id, token_grants, is_operator, ..User::default() }))
    }
}

impl Authenticator for Believing {
    fn identify(&self, token: Option<&str>) -> Eventual<Principal> {
        let token = token.filter(|token| !token.is_empty());
        Eventual::Now(Ok(token.map_or(Principal::Anonymous, Believing::principal)))
    }

    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        let dashboard = caller.dashboard.clone();
        self.identify(caller.token)
            .and_then(move |principal| Ok(Admission::without_records(principal, Access::NONE, &dashboard)))
    }

    fn refusal(&self, _: &Principal) -> Denied {
        Denied::Forbidden
    }
}

#[derive(Clone)]
struct House {
    address: SocketAddr,
    http: Client,
}

impl House {
    fn server() -> Server {
        let flags = [("listen", "127.0.0.1:0"), ("flush-interval", "1ms")];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (config, _) = Config::load(&Layers { flags, ..Layers::default() }).unwrap();
        Server::bind(Arc::new(config)).unwrap().with_authenticator(Arc::new(Believing))
    }

    fn serve(server: Server, store: Arc<dyn Store>) -> House {
        let address = server.local_address();
        tokio::spawn(server.serve(store));
        let_reqwest_work();
        House { address, http: Client::new() }
    }

    fn alone() -> House {
        House::serve(House::server(), Arc::new(MemoryStore::new()))
    }

    fn three() -> [House; 3] {
        let (bus, store) = (LocalBus::new(), MemoryStore::new());
        [(); 3].map(|()| House::serve(House::server().on_bus(bus.node()).leaving_store_open(), Arc::new(store.clone())))
    }

    /// Bus, store and catalog in a real Redis.
    async fn over(redis: &Redis) -> House {
        let server = House::server();
        let url: RedisUrl = redis.url().parse().unwrap();
        let bus = RedisBus::start(url.clone(), server.node_info(), Arc::clone(server.metrics()));
        assert!(bus.connected(WITHIN).await);
        let store = store::open(&StoreUrl::Redis(url), &StoreConfig::default()).unwrap();
        House::serve(server.on_bus(Arc::new(bus)), store)
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("http://{}/api/{path}", self.address)).bearer_auth(token);
        let request = match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, token, None).await
    }

    /// Whether somebody may read a dashboard.
    async fn reads(&self, dashboard: &str, token: &str) -> StatusCode {
        let url = format!("http://{}/api/dashboards/{dashboard}/state", self.address);
        self.http.get(url).bearer_auth(token).send().await.unwrap().status()
    }

    /// Gives roles on acme/sales, and takes all others. What is answered holds everywhere.
    async fn grant(&self, roles: &[(&str, &str)]) {
        let grant = |(user, role): &(&str, &str)| json!({ "subject": format!("user:{user}"), "role": role });
        let grants: Vec<Value> = roles.iter().map(grant).collect();
        let asked = json!({ "grants": grants });
        let (status, answer) = self.call(Method::PUT, "dashboards/acme/sales/access", "olga", Some(asked)).await;
        assert_eq!((status, &answer["applied"]), (StatusCode::OK, &json!(true)), "{answer}");
    }

    async fn y_websocket(&self, token: &str) -> Member {
        let url = format!("ws://{}/acme/sales?token={token}", self.address);
        Member::greet(Peer::try_open(&url).await.expect("the server listens")).await
    }

    async fn hocuspocus(&self, token: &str) -> Member {
        let url = format!("ws://{}/hocuspocus", self.address);
        let peer = Peer::try_open_document_as(&url, "acme/sales", token).await.expect("the server listens");
        Member::greet(peer).await
    }
}

/// Reads a stream of events until it has told `what`.
async fn told(stream: &mut reqwest::Response, what: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(what) {
            let chunk = stream.chunk().await.unwrap().unwrap_or_else(|| panic!("the stream ended without {what:?}"));
            text += core::str::from_utf8(&chunk).unwrap();
        }
    };
    let is_told = tokio::time::timeout(WITHIN, reading).await.is_ok();
    assert!(is_told, "{what:?} was not told: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_own_state_is_merged_for_it_alone() {
    let house = House::alone();
    let path = "dashboard/state?workspace=acme";
    let empty = json!({ "state": {}, "version": 0 });
    assert_eq!(house.get(path, "ada").await, (StatusCode::OK, empty.clone()));
    assert_eq!(house.call(Method::DELETE, path, "ada", None).await, (StatusCode::OK, json!({ "success": true })));
    let post = async |token: &'static str, body: Value| house.call(Method::POST, path, token, Some(body)).await;
    let first = json!({ "state": { "theme": "dark", "none": null, "filters": { "region": "eu", "tags": [1, 2] } }, "version": 7 });
    assert_eq!(post("ada", first).await, (StatusCode::OK, json!({ "success": true, "serverVersion": 1 })));
    // A change of an old version is merged like any other.
    let second = json!({ "state": { "theme": null, "filters": { "tags": ["x"] } }, "version": 0, "checksum": "x" });
    assert_eq!(post("ada", second).await, (StatusCode::OK, json!({ "success": true, "serverVersion": 2 })));
    let merged = json!({ "state": { "filters": { "region": "eu", "tags": ["x"] } }, "version": 2 });
    assert_eq!(house.get(path, "ada").await, (StatusCode::OK, merged.clone()));
    // It is the user's private document, in this workspace.
    assert_eq!(house.get("dashboards/acme/~ada", "ada").await.1["state"], merged["state"]);
    for (path, token) in [(path, "bob"), (path, "olga"), ("dashboard/state", "ada")] {
        assert_eq!(house.get(path, token).await, (StatusCode::OK, empty.clone()), "{path} of {token}");
    }
    // At once, and into another workspace.
    let all = (0..5).map(|n| post("bob", json!({ "state": { format!("key-{n}"): n }, "workspaceId": "else" })));
    for (status, answer) in futures_util::future::join_all(all).await {
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert_eq!(house.get("dashboard/state?workspace=else", "bob").await.1["state"].as_object().unwrap().len(), 5);
    assert_eq!(house.call(Method::DELETE, path, "ada", None).await.0, StatusCode::OK);
    assert_eq!(house.get(path, "ada").await.1["state"], json!({}));
    assert_eq!(post("ada", json!({ "state": 1 })).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(house.get(path, "").await.0, StatusCode::UNAUTHORIZED);
}

/// Streams of pushed values went on until their token ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_streams_and_leases() {
    let house = House::alone();
    house.grant(&[("ada", "editor"), ("carol", "editor")]).await;
    let open = |path: &str| {
        let request = house.http.get(format!("http://{}/api/dashboards/acme/sales/{path}", house.address));
        request.header("accept", "text/event-stream").bearer_auth("ada").send()
    };
    let (mut events, mut pushed) = (open("events").await.unwrap(), open("pushed").await.unwrap());
    told(&mut events, "event: presence").await;
    told(&mut pushed, "event: all").await;
    let shown = json!({ "state": { "user": { "name": "Bot" } } });
    let (status, lease) = house.call(Method::POST, "dashboards/acme/sales/presence", "ada", Some(shown.clone())).await;
    assert_eq!(status, StatusCode::CREATED, "{lease}");
    told(&mut events, "event: presence").await;
    let (_, there) = house.get("dashboards/acme/sales/presence", "carol").await;
    assert_eq!(there["presence"][0]["state"]["user"]["name"], "Bot", "{there}");
    // Somebody else's lease is not there.
    let path = format!("dashboards/acme/sales/presence/{}", lease["clientId"]);
    assert_eq!(house.call(Method::DELETE, &path, "carol", None).await.1, json!({ "ended": false }));

    house.grant(&[("carol", "editor")]).await;
    let push = "dashboards/acme/sales/widgets/a/data";
    assert_eq!(house.call(Method::POST, push, "carol", Some(json!(42))).await.0, StatusCode::ACCEPTED);
    for stream in [&mut events, &mut pushed] {
        let text = told(stream, "event: end").await;
        assert!(text.contains("4403") && !text.contains("42"), "{text}");
        assert_eq!(stream.chunk().await.unwrap(), None);
    }
    assert_eq!(house.get("dashboards/acme/sales/presence", "carol").await.1, json!({ "presence": [] }));
    for path in ["events", "pushed", "presence"] {
        assert_eq!(open(path).await.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    let (status, _) = house.call(Method::POST, "dashboards/acme/sales/presence", "ada", Some(shown)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

/// The rights of today count, also for versions of times at which they were others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_for_those_who_may_see_the_history_and_for_as_long() {
    let house = House::alone();
    house.grant(&[("ada", "editor"), ("bob", "viewer")]).await;
    let path = "dashboards/acme/sales";
    let (status, _) = house.call(Method::PUT, path, "ada", Some(json!({ "board": { "a": 1 } }))).await;
    assert_eq!(status, StatusCode::CREATED);
    for version in ["dashboards/acme/sales/at/-0s", "dashboards/acme/@at/-0s/sales"] {
        assert_eq!(house.get(version, "ada").await, (StatusCode::OK, json!({ "board": { "a": 1 } })));
        for other in ["bob", "eve"] {
            assert_eq!(house.get(version, other).await.0, StatusCode::FORBIDDEN, "{version} for {other}");
        }
    }
    // A copy needs the right to edit where it is to be.
    let copy = async |token: &'static str, name: &str| {
        house.call(Method::POST, &format!("{path}/at/-0s/copy"), token, Some(json!({ "name": name }))).await.0
    };
    assert_eq!(copy("ada", "acme/then").await, StatusCode::FORBIDDEN);
    assert_eq!(copy("bob", "acme/~bob").await, StatusCode::FORBIDDEN);
    assert_eq!(copy("ada", "acme/~ada").await, StatusCode::CREATED);

    let url = |token: &str| format!("ws://{}/acme/@at/-0s/sales?token={token}", house.address);
    let mut visitor = Member::greet(Peer::try_open(&url("ada")).await.unwrap()).await.joined().await;
    assert_eq!(Peer::try_open(&url("bob")).await.unwrap().ended().await.code, 4403);
    house.grant(&[("ada", "viewer")]).await;
    assert_eq!(visitor.peer.ended().await.code, 4403);
    assert_eq!(house.get("dashboards/acme/sales/at/-0s", "ada").await.0, StatusCode::FORBIDDEN);
}

/// Somebody in acme/sales who speaks either dialect.
struct Member {
    peer: Peer,
    doc: Doc,
}

impl Member {
    async fn greet(mut peer: Peer) -> Member {
        peer.send(forge::sync_step1(&[0])).await;
        Member { peer, doc: Doc::new() }
    }

    async fn joined(mut self) -> Member {
        self.until("its state", |frame| frame.starts_with(&[0, 1])).await;
        self
    }

    async fn write(&mut self, text: &str) {
        let update = {
            let content = self.doc.get_or_insert_text("t");
            let mut txn = self.doc.transact_mut();
            content.push(&mut txn, text);
            txn.encode_update_v1()
        };
        self.peer.send(forge::live(&update)).await;
    }

    fn text(&self) -> String {
        self.doc.get_or_insert_text("t").get_string(&self.doc.transact())
    }

    /// Takes one message; `None` when the socket has ended, or nothing came in time.
    async fn take(&mut self, within: Duration) -> Option<Vec<u8>> {
        let frame = self.peer.next_within(within).await?;
        if let [0, 1 | 2, ..] = frame[..] {
            let mut reader = ydash_proto::lib0::Reader::new(&frame[2..]);
            let update = Update::decode_v1(reader.var_bytes().unwrap()).unwrap();
            self.doc.transact_mut().apply_update(update).unwrap();
        }
        Some(frame)
    }

    async fn until(&mut self, what: &str, is_it: impl Fn(&[u8]) -> bool) {
        let began = Instant::now();
        loop {
            let frame = self.take(WITHIN.saturating_sub(began.elapsed())).await;
            if is_it(&frame.unwrap_or_else(|| panic!("{what} did not come"))) {
                return;
            }
        }
    }

    async fn until_text(&mut self, text: &str) {
        let began = Instant::now();
        while !self.text().contains(text) {
            let left = WITHIN.saturating_sub(began.elapsed());
            assert!(self.take(left).await.is_some(), "{text:?} did not come: {:?}", self.text());
        }
    }

    /// Takes what comes until the socket ends or is quiet for a while.
    async fn drain(&mut self) {
        while self.take(Duration::from_millis(300)).await.is_some() {}
    }
}

const READ_ONLY: &[u8] = b"\x02\x02\x08readonly";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_revocation_is_answered_nothing_reaches_the_revoked_and_nothing_of_theirs_is_taken() {
    revoke(&[House::alone()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_holds_on_every_node_when_it_is_answered() {
    revoke(&House::three()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_holds_on_every_node_over_redis_when_it_is_answered() {
    let redis = tokio::task::spawn_blocking(Redis::shared).await.unwrap();
    revoke(&[House::over(&redis).await, House::over(&redis).await, House::over(&redis).await]).await;
}

async fn revoke(houses: &[House]) {
    let (first, last) = (&houses[0], &houses[houses.len() - 1]);
    first.grant(&[("ada", "editor"), ("bob", "editor"), ("carol", "editor")]).await;
    let mut carol = first.y_websocket("carol").await.joined().await;
    let mut revoked = Vec::new();
    for house in houses {
        revoked.push(house.y_websocket("ada").await.joined().await);
        revoked.push(house.hocuspocus("bob").await.joined().await);
    }
    carol.write("before").await;
    for member in &mut revoked {
        member.until_text("before").await;
    }

    last.grant(&[("carol", "editor")]).await;
    for member in &mut revoked {
        member.write("late").await;
    }
    carol.write("secret").await;
    // A reader that may see it has it: so it has been sent to everybody who may.
    let mut witness = last.y_websocket("olga").await.joined().await;
    witness.until_text("secret").await;
    for member in &mut revoked {
        member.drain().await;
        assert!(!member.text().contains("secret"), "{}", member.text());
    }
    let (status, document) = last.get("dashboards/acme/sales", "olga").await;
    assert_eq!((status, &document["t"]), (StatusCode::OK, &json!("beforesecret")));
    // Nor do they come back, on either road.
    for house in houses {
        assert_eq!(house.reads("acme/sales", "ada").await, StatusCode::FORBIDDEN);
        let mut again = house.y_websocket("ada").await;
        again.drain().await;
        assert_eq!(again.text(), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_role_is_shown_in_place_in_both_dialects() {
    let house = House::alone();
    house.grant(&[("ada", "editor"), ("bob", "editor"), ("carol", "editor")]).await;
    let mut carol = house.y_websocket("carol").await.joined().await;
    let mut lowered = [house.y_websocket("ada").await.joined().await, house.hocuspocus("bob").await.joined().await];
    house.grant(&[("ada", "viewer"), ("bob", "viewer"), ("carol", "editor")]).await;
    for (member, is_told) in lowered.iter_mut().zip([true, false]) {
        if is_told {
            member.until("word of it", |frame| frame == READ_ONLY).await;
        }
        member.write("late").await;
    }
    carol.write("news").await;
    for member in &mut lowered {
        member.until_text("news").await;
    }
    let (_, document) = house.get("dashboards/acme/sales", "olga").await;
    assert_eq!(document["t"], "news");
    house.grant(&[("ada", "editor"), ("bob", "viewer"), ("carol", "editor")]).await;
    let [ada, _] = &mut lowered;
    ada.until("a question for what was refused", |frame| frame.starts_with(&[0, 0])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_role_is_taken_by_the_room_before_it_is_answered() {
    let house = House::alone();
    house.grant(&[("ada", "editor")]).await;
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(house.y_websocket("ada").await.joined().await);
    }
    let mut took = Vec::new();
    for round in 0..20 {
        let role = if round % 2 == 0 { "viewer" } else { "editor" };
        let began = Instant::now();
        house.grant(&[("ada", role)]).await;
        took.push(began.elapsed());
    }
    for member in &mut members {
        member.until("word of it", |frame| frame == READ_ONLY).await;
    }
    took.sort_unstable();
    println!("20 changes with 20 members: median {:?}, slowest {:?}", took[took.len() / 2], took[took.len() - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_replaced_only_by_whoever_has_read_it() {
    let house = House::alone();
    let path = "dashboards/acme/sales/access";
    let (status, none) = house.get(path, "olga").await;
    assert_eq!((status, none), (StatusCode::OK, json!({ "grants": [], "restricted": false, "version": 0 })));
    let put = async |tag: &str, asked: Value| {
        let url = format!("http://{}/api/{path}", house.address);
        let request = house.http.put(url).bearer_auth("olga").header("If-Match", tag).body(asked.to_string());
        let answer = request.send().await.unwrap();
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
        (answer.status(), etag, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let one = json!({ "grants": [{ "subject": "user:ada", "role": "viewer" }], "restricted": true });
    let (status, etag, _) = put("\"0\"", one.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(put("\"0\"", one.clone()).await.0, StatusCode::PRECONDITION_FAILED);
    let etag = etag.unwrap();
    let (_, shown) = house.get(path, "olga").await;
    assert_eq!((format!("\"{}\"", shown["version"]), &shown["restricted"]), (etag.clone(), &json!(true)));
    assert_eq!(put(&etag, json!({ "grants": [] })).await.0, StatusCode::OK);
    assert_eq!(put("W/x", one).await.0, StatusCode::BAD_REQUEST);
    for (asked, told) in [
        (json!({ "grants": [{ "subject": "user:ada", "role": "king" }] }), "grant 0: a role is one of"),
        (json!({ "grants": [{ "subject": "user:ada", "role": "viewer", "if": 1 }] }), "unknown field \"if\""),
        (json!({ "grants": [], "deny": [] }), "fields grants and restricted"),
    ] {
        let (status, answer) = house.call(Method::PUT, path, "olga", Some(asked)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(answer["errors"][0]["detail"].as_str().unwrap().contains(told), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_gives_to_all_of_its_dashboards_unless_they_are_restricted() {
    let house = House::alone();
    let everyone = json!({ "grants": [
        { "subject": "everyone", "role": "viewer" },
        { "subject": "user:fred", "role": "editor", "folder": "finance/" },
    ] });
    let (status, answer) = house.call(Method::PUT, "workspaces/acme/access", "olga", Some(everyone)).await;
    assert_eq!((status, &answer["applied"]), (StatusCode::OK, &json!(true)), "{answer}");
    assert_eq!(house.reads("acme/sales", "ada").await, StatusCode::OK);
    assert_eq!(house.reads("other/sales", "ada").await, StatusCode::FORBIDDEN);
    let restricted = json!({ "grants": [], "restricted": true });
    house.call(Method::PUT, "dashboards/acme/sales/access", "olga", Some(restricted)).await;
    assert_eq!(house.reads("acme/sales", "ada").await, StatusCode::FORBIDDEN);
    assert_eq!(house.reads("acme/other", "ada").await, StatusCode::OK);

    let (_, why) = house.get("dashboards/acme/finance%2Fx/access?user=fred", "olga").await;
    assert_eq!((&why["role"], &why["user"]), (&json!("editor"), &json!("fred")), "{why}");
    let (_, why) = house.get("dashboards/acme/sales/access?user=fred", "olga").await;
    assert_eq!(why["role"], Value::Null);
    assert!(why["reasons"][0]["missing"].as_str().unwrap().contains("restricted"), "{why}");
    let private = house.reads("acme/~ada", "ada").await;
    assert_eq!((private, house.reads("acme/~ada", "olga").await), (StatusCode::OK, StatusCode::FORBIDDEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_opens_one_dashboard_to_whoever_has_it_until_it_is_revoked() {
    let house = House::alone();
    let links = "dashboards/acme/sales/links";
    let (status, made) =
        house.call(Method::POST, links, "olga", Some(json!({ "role": "editor", "label": "wall" }))).await;
    assert_eq!((status, &made["applied"]), (StatusCode::CREATED, &json!(true)), "{made}");
    let link = made["link"].as_str().unwrap().to_owned();
    let (_, listed) = house.get(links, "olga").await;
    assert_eq!((&listed["links"][0]["label"], &listed["links"][0]["link"]), (&json!("wall"), &Value::Null));
    assert!(!listed.to_string().contains("sha256"), "{listed}");

    let mut guests = [house.y_websocket(&link).await.joined().await, house.hocuspocus(&link).await.joined().await];
    guests[0].write("by link").await;
    guests[1].until_text("by link").await;
    for wrong in [link[..link.len() - 1].to_owned() + "!", link.replace("yd_", "yd_0")] {
        assert_ne!(house.reads("acme/sales", &wrong).await, StatusCode::OK, "{wrong}");
    }
    assert_ne!(house.reads("acme/other", &link).await, StatusCode::OK);
    // An editor may not make links, and no link may own.
    assert_eq!(
        house.call(Method::POST, links, &link, Some(json!({ "role": "viewer" }))).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        house.call(Method::POST, links, "olga", Some(json!({ "role": "owner" }))).await.0,
        StatusCode::BAD_REQUEST
    );

    let one = format!("{links}/{}", made["id"].as_str().unwrap());
    let (status, revoked) = house.call(Method::DELETE, &one, "olga", None).await;
    assert_eq!((status, &revoked["applied"]), (StatusCode::OK, &json!(true)), "{revoked}");
    assert_eq!(house.call(Method::DELETE, &one, "olga", None).await.0, StatusCode::NOT_FOUND);
    let mut olga = house.y_websocket("olga").await.joined().await;
    olga.write("after").await;
    house.y_websocket("olga").await.joined().await.until_text("after").await;
    for guest in &mut guests {
        guest.drain().await;
        assert!(!guest.text().contains("after"));
    }
    assert_ne!(house.reads("acme/sales", &link).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_is_accepted_once_and_gives_no_more_than_its_maker_has() {
    let house = House::alone();
    let collaborators = "dashboards/acme/sales/collaborators";
    let (status, answer) =
        house.call(Method::POST, collaborators, "olga", Some(json!({ "user": "ada", "role": "owner" }))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let invitation = json!({ "role": "viewer", "not_after": "2999-01-01T00:00:00Z" });
    let (status, made) = house.call(Method::POST, collaborators, "ada", Some(invitation)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let accept = json!({ "invitation": made["invitation"] });
    let path = "dashboards/acme/sales/invitations/accept";
    let (status, accepted) = house.call(Method::POST, path, "bob", Some(accept.clone())).await;
    assert_eq!((status, &accepted["role"]), (StatusCode::OK, &json!("viewer")), "{accepted}");
    assert_eq!(house.call(Method::POST, path, "eve", Some(accept)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(house.reads("acme/sales", "bob").await, StatusCode::OK);
    let (_, listed) = house.get(collaborators, "olga").await;
    assert_eq!(
        (listed["collaborators"].as_array().unwrap().len(), &listed["invitations"]),
        (2, &json!([])),
        "{listed}"
    );
    let removed = house.call(Method::DELETE, &format!("{collaborators}/bob"), "ada", None).await;
    assert_eq!((removed.0, &removed.1["applied"]), (StatusCode::OK, &json!(true)));
    assert_eq!(house.reads("acme/sales", "bob").await, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_user_is_out_of_everything_at_once() {
    let house = House::alone();
    house.grant(&[("ada", "editor")]).await;
    let mut ada = house.y_websocket("ada").await.joined().await;
    let (status, answer) = house.call(Method::POST, "users/ada/block", "root", None).await;
    assert_eq!((status, &answer["applied"]), (StatusCode::OK, &json!(true)), "{answer}");
    ada.write("late").await;
    ada.drain().await;
    assert_eq!(house.reads("acme/~ada", "ada").await, StatusCode::FORBIDDEN);
    assert_eq!(house.get("dashboards/acme/sales", "olga").await.0, StatusCode::NOT_FOUND, "nothing was written");
    assert_eq!(house.call(Method::DELETE, "users/ada/block", "root", None).await.0, StatusCode::OK);
    assert_eq!(house.reads("acme/sales", "ada").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_catalog_is_away_live_sessions_go_on_and_newcomers_are_told_to_try_again() {
    let store = MemoryStore::new();
    let house = House::serve(House::server(), Arc::new(store.clone()));
    house.grant(&[("ada", "editor"), ("bob", "editor")]).await;
    let mut ada = house.y_websocket("ada").await.joined().await;
    let mut bob = house.y_websocket("bob").await.joined().await;
    store.memory_catalog().set_down(true);
    ada.write("on").await;
    bob.until_text("on").await;
    assert_eq!(house.reads("acme/unknown", "ada").await, StatusCode::SERVICE_UNAVAILABLE);
    let (status, _) =
        house.call(Method::PUT, "dashboards/acme/sales/access", "olga", Some(json!({ "grants": [] }))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    store.memory_catalog().set_down(false);
    assert_eq!(house.reads("acme/unknown", "ada").await, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_and_links_end_with_their_dashboard_and_come_back_with_it() {
    let house = House::alone();
    let grants = [("ada", "owner"), ("bob", "editor"), ("carol", "viewer")];
    house.grant(&grants).await;
    let put = async |token: &str, condition: Option<&str>| {
        let request = house.http.put(format!("http://{}/api/dashboards/acme/sales", house.address)).bearer_auth(token);
        let request = if let Some(tags) = condition { request.header("if-none-match", tags) } else { request };
        request.body(json!({ "meta": { "by": token } }).to_string()).send().await.unwrap().status()
    };
    let call = async |method: Method, path: &str, token: &str| {
        house.call(method, &format!("dashboards/acme/sales{path}"), token, None).await
    };
    assert_eq!(put("bob", None).await, StatusCode::CREATED);
    let (_, link) =
        house.call(Method::POST, "dashboards/acme/sales/links", "ada", Some(json!({"role": "viewer"}))).await;
    let link = link["link"].as_str().unwrap().to_owned();
    assert_eq!(house.reads("acme/sales", &link).await, StatusCode::OK);

    // Who may not manage it may not delete it, take it back or see it in the trash.
    assert_eq!(call(Method::DELETE, "", "bob").await.0, StatusCode::BAD_REQUEST, "an editor removes what is in it");
    for token in ["carol", "dave"] {
        assert_eq!(call(Method::DELETE, "", token).await.0, StatusCode::FORBIDDEN, "{token}");
    }
    assert_eq!(call(Method::DELETE, "", "ada").await.0, StatusCode::OK);
    for token in ["bob", "carol", "dave"] {
        assert_eq!(call(Method::POST, "/restore-deleted", token).await.0, StatusCode::FORBIDDEN, "{token}");
        assert!(call(Method::DELETE, "?purge=true", token).await.0.is_client_error(), "{token}");
        assert_eq!(house.get("workspaces/acme/trash", token).await.1["trash"], json!([]), "{token}");
    }
    // What is deleted and what is forbidden look the same to whoever has no access.
    assert_eq!(house.get("dashboards/acme/sales", "dave").await.0, StatusCode::FORBIDDEN);
    assert_eq!(house.reads("acme/sales", &link).await, StatusCode::GONE);
    assert_eq!(house.get("workspaces/acme/trash", "ada").await.1["trash"][0]["deleted"][0]["deleted_by"], "ada");

    // An editor of what was deleted has no right in what begins; whoever manages the name begins it, and owns it.
    assert_eq!(put("bob", Some("*")).await, StatusCode::FORBIDDEN);
    assert_eq!(put("olga", None).await, StatusCode::GONE);
    assert_eq!(put("olga", Some("*")).await, StatusCode::CREATED);
    for (token, status) in [("bob", StatusCode::FORBIDDEN), ("olga", StatusCode::OK), (&link, StatusCode::UNAUTHORIZED)]
    {
        assert_eq!(house.reads("acme/sales", token).await, status, "{token}");
    }
    // Both deleted, the first comes back with its grants and its link.
    assert_eq!(call(Method::DELETE, "", "olga").await.0, StatusCode::OK);
    assert_eq!(call(Method::POST, "/restore-deleted?life=0", "olga").await.0, StatusCode::OK);
    assert_eq!(house.get("dashboards/acme/sales", "carol").await.1, json!({ "meta": { "by": "bob" } }));
    for (token, status) in [("bob", StatusCode::OK), (&link, StatusCode::OK), ("dave", StatusCode::FORBIDDEN)] {
        assert_eq!(house.reads("acme/sales", token).await, status, "{token}");
    }
    // Ended for good, with all that is written down about it.
    assert_eq!(call(Method::DELETE, "?purge=true", "ada").await.0, StatusCode::OK);
    assert_eq!(call(Method::POST, "/restore-deleted", "olga").await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.reads("acme/sales", "ada").await, StatusCode::FORBIDDEN);
    let (_, access) = call(Method::GET, "/access", "olga").await;
    assert_eq!(access["grants"], json!([]));
}

/// What `ydash audit verify` says of lines, and whether it finds nothing wrong with them.
fn verified(lines: &[String], hash: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ydash"));
    command.args(["audit", "verify", "-", "--hash", hash]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut verifying = command.spawn().unwrap();
    verifying.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let output = verifying.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changed_what_is_in_the_audit_log_when_it_is_answered_and_no_line_can_be_taken_out_unnoticed() {
    let house = House::alone();
    house.grant(&[("ada", "editor")]).await;
    let links = "dashboards/acme/sales/links";
    let (_, made) = house.call(Method::POST, links, "olga", Some(json!({ "role": "viewer" }))).await;
    let (id, link) = (made["id"].as_str().unwrap(), made["link"].as_str().unwrap());
    // What is refused changes nothing.
    assert_eq!(
        house.call(Method::POST, links, "ada", Some(json!({ "role": "viewer" }))).await.0,
        StatusCode::FORBIDDEN
    );
    let revoked = house.call(Method::DELETE, &format!("{links}/{id}"), "olga", None).await;
    assert_eq!(revoked.0, StatusCode::OK);
    assert_eq!(house.call(Method::POST, "users/ada/block", "root", None).await.0, StatusCode::OK);

    let read = async |query: &str| -> Vec<String> {
        let answer = house.http.get(format!("http://{}/api/audit{query}", house.address)).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        answer.text().await.unwrap().lines().map(str::to_owned).collect()
    };
    let lines = read("").await;
    let told: Vec<[String; 3]> = lines
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            ["type", "actor", "target"].map(|name| line[name].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let expected = [
        ["access.changed", "olga", "acme/sales"],
        ["link.made", "olga", "acme/sales"],
        ["link.revoked", "olga", "acme/sales"],
        ["user.blocked", "root", "ada"],
    ];
    assert_eq!(told, expected.map(|line| line.map(str::to_owned)));
    let changed: Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(changed["data"]["added"].to_string().contains("user:ada"), "{changed}");
    let secret = link.rsplit('_').next().unwrap();
    assert!(lines.iter().all(|line| !line.contains(secret)), "the secret is shown once, elsewhere");
    assert_eq!(read("?actor=root").await, lines[3..]);
    assert_eq!(read("?target=acme&limit=2").await, lines[1..3]);

    let last: Value = serde_json::from_str(&lines[3]).unwrap();
    let hash = last["hash"].as_str().unwrap();
    let (is_whole, told) = verified(&lines, hash);
    assert!(is_whole && told.contains("lines 1 to 4"), "{told}");
    for broken in [
        [&lines[..1], &lines[2..]].concat(),
        lines[..3].to_vec(),
        lines.iter().map(|line| line.replace("ada", "eve")).collect(),
    ] {
        let (is_whole, told) = verified(&broken, hash);
        assert!(!is_whole && told.contains("BROKEN"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_may_be_bound_to_pages_of_some_origins_and_to_so_many_who_come() {
    let house = House::alone();
    let links = "dashboards/acme/sales/links";
    let make = async |what: Value| {
        let (status, made) = house.call(Method::POST, links, "olga", Some(what)).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made["link"].as_str().unwrap().to_owned()
    };
    let reads = async |link: &str, origin: Option<&str>| {
        let request =
            house.http.get(format!("http://{}/api/dashboards/acme/sales/state", house.address)).bearer_auth(link);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        request.send().await.unwrap().status()
    };
    let own = "http://localhost:3000";
    let embedded = make(json!({ "role": "viewer", "origins": [own] })).await;
    assert_eq!(reads(&embedded, Some(own)).await, StatusCode::OK);
    assert_eq!(reads(&embedded, Some("http://localhost:3001")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(reads(&embedded, None).await, StatusCode::UNAUTHORIZED);
    for bad in [json!([]), json!(["https://app.example.org/"]), json!(["*"]), json!([1]), json!("https://a")] {
        let asked = json!({ "role": "viewer", "origins": bad });
        assert_eq!(house.call(Method::POST, links, "olga", Some(asked)).await.0, StatusCode::BAD_REQUEST);
    }

    let once = make(json!({ "role": "viewer", "uses_max": 1 })).await;
    // A visitor whom it does not allow what they want spends no use. They did, so whoever the link was for was locked out.
    let elsewhere = Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build().unwrap();
    let url = format!("http://{}/api/dashboards/acme/sales", house.address);
    let refused = elsewhere.put(&url).bearer_auth(&once).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    for _ in 0..3 {
        assert_eq!(reads(&once, None).await, StatusCode::OK, "whoever came may come back");
    }
    house.y_websocket(&once).await.joined().await;
    let (_, listed) = house.get(links, "olga").await;
    let shown = listed["links"].as_array().unwrap().iter().find(|link| link["uses_max"] == 1).unwrap().clone();
    assert_eq!(shown["uses"], 1, "{shown}");
    let refused = elsewhere.get(format!("{url}/state")).bearer_auth(&once).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "somebody else");
    for bad in [json!(0), json!(-1), json!(1001), json!("1")] {
        let asked = json!({ "role": "viewer", "uses_max": bad });
        assert_eq!(house.call(Method::POST, links, "olga", Some(asked)).await.0, StatusCode::BAD_REQUEST);
    }

    // A use on a version is one of its dashboard: no record of the version was found, and the visitor was refused.
    let (status, _) =
        house.call(Method::PUT, "dashboards/acme/sales", "olga", Some(json!({ "board": { "a": 1 } }))).await;
    assert!(status.is_success(), "{status}");
    let editing = make(json!({ "role": "editor", "uses_max": 1 })).await;
    assert_eq!(house.get("dashboards/acme/@at/-0s/sales", &editing).await.0, StatusCode::OK);
}

/// A message of the table, with `mark` in it, and the frame that shows that it was taken.
pub(crate) struct Sample {
    pub(crate) frame: Vec<u8>,
    /// Whether its sender gets that frame, rather than somebody else.
    comes_back: bool,
    is_it: Seen,
}

/// Whether a frame shows that a message with this mark was taken.
type Seen = fn(&[u8], &str) -> bool;

fn has(frame: &[u8], mark: &str) -> bool {
    frame.windows(mark.len()).any(|part| part == mark.as_bytes())
}

pub(crate) fn sample(name: &str, client: u64, mark: &str) -> Option<Sample> {
    let update = forge::update((client, 0), &[forge::in_root("t", forge::STRING, &forge::var_bytes(mark))], &[]);
    let (frame, comes_back, is_it): (Vec<u8>, _, Seen) = match name {
        "SyncStep1" => (forge::sync_step1(&[0]), true, |frame, _| frame.starts_with(&[0, 1])),
        "SyncStep2 with something new" => {
            (forge::sync_step2(&update), false, |frame, mark| frame.starts_with(&[0, 2]) && has(frame, mark))
        }
        "Update" => (forge::live(&update), false, |frame, mark| frame.starts_with(&[0, 2]) && has(frame, mark)),
        "Awareness" => {
            let state = format!(r#"{{"mark":"{mark}"}}"#);
            (forge::awareness(&[(client, 1, &state)]), false, |frame, mark| frame[0] == 1 && has(frame, mark))
        }
        "QueryAwareness" => (vec![3], true, |frame, _| frame[0] == 1),
        "Stateless" => {
            let frame = [&[5], &forge::var_bytes(mark)[..]].concat();
            (frame, false, |frame, mark| matches!(frame[0], 5 | 6) && has(frame, mark))
        }
        // They say something about whoever says it, and there is nothing to be allowed.
        "another token" | "Close" => return None,
        other => panic!("no sample of {other}: the table has a message that no test says"),
    };
    Some(Sample { frame, comes_back, is_it })
}

/// The table of `docs/SECURITY.md`, from the table of messages: said on real sockets by every role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_say_in_either_dialect_what_the_table_says_and_nothing_else() {
    let house = House::alone();
    let roles: Vec<(&str, &str)> = Role::ALL.iter().map(|role| (role.as_str(), role.as_str())).collect();
    house.grant(&roles).await;
    let mut witnesses = [house.y_websocket("olga").await.joined().await, house.hocuspocus("olga").await.joined().await];
    for (witness, client) in witnesses.iter_mut().zip([1, 2]) {
        witness.peer.send(forge::awareness(&[(client, 1, "{}")])).await;
    }
    let (mut client, mut tried) = (10_u64, 0);
    for role in Role::ALL {
        for is_hocuspocus in [false, true] {
            for said in SAID.iter().filter(|said| is_hocuspocus || !said.is_of_documents) {
                client += 1;
                let mark = format!("{role}-{client}-says");
                let Some(Sample { frame, comes_back, is_it }) = sample(said.name, client, &mark) else { continue };
                tried += 1;
                let mut speaker = match is_hocuspocus {
                    true => house.hocuspocus(role.as_str()).await.joined().await,
                    false => house.y_websocket(role.as_str()).await.joined().await,
                };
                speaker.peer.send(frame).await;
                let may = role.capabilities().contains(said.needs);
                let what = format!("{role} says {} ({mark})", said.name);
                if comes_back {
                    assert!(may, "whoever is in may read");
                    speaker.until(&what, |frame| is_it(frame, &mark)).await;
                    continue;
                }
                // Stateless messages go to those who have them in their dialect.
                let witness = &mut witnesses[usize::from(said.is_of_documents)];
                if may {
                    witness.until(&what, |frame| is_it(frame, &mark)).await;
                    continue;
                }
                // An answer shows that the room has seen to it.
                speaker.peer.send(forge::sync_step1(&[0])).await;
                speaker.until("an answer", |frame| frame.starts_with(&[0, 1])).await;
                while let Some(frame) = witness.take(Duration::from_millis(60)).await {
                    assert!(!is_it(&frame, &mark), "{what}");
                }
            }
        }
    }
    assert!(tried >= 40, "only {tried} tried");
}
