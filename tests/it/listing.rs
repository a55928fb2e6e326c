//! Lists of dashboards over REST: what is told of each, page by page, to those who may read it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client as Http, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use ydash::auth::{Minting, mint};
use ydash::store::embedded::EmbeddedStore;
use ydash::store::{Append, LogEntry, Source, Store};
use ydash_proto::access::Role;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::time::Timestamp;

use super::support::client::Client;
use super::support::let_reqwest_work;
use super::support::node::Node;

const WITHIN: Duration = Duration::from_secs(20);

struct Api {
    http: Http,
    base: String,
    token: Option<String>,
}

impl Api {
    fn of(node: &Node) -> Api {
        let_reqwest_work();
        Api { http: Http::new(), base: node.http("/api"), token: None }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self.http.get(format!("{}{path}", self.base));
        let request = self.token.iter().fold(request, |request, token| request.bearer_auth(token));
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn put(&self, dashboard: &str, body: &Value) {
        let request = self.http.put(format!("{}/dashboards/{dashboard}", self.base)).body(body.to_string());
        let request = self.token.iter().fold(request, |request, token| request.bearer_auth(token));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        let (status, mut body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["items"].take().as_array_mut().map(core::mem::take).unwrap()
    }

    async fn names(&self, path: &str) -> Vec<String> {
        self.items(path).await.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until a list tells this of its first dashboard.
    async fn until(&self, path: &str, is_it: impl Fn(&Value) -> bool) {
        let seen = timeout(WITHIN, async {
            while !self.items(path).await.first().is_some_and(&is_it) {
                sleep(Duration::from_millis(20)).await;
            }
        });
        if seen.await.is_err() {
            panic!("{:?}", self.items(path).await);
        }
    }
}

fn titled(title: &str) -> Value {
    json!({ "meta": { "title": title }, "widgets": { "a": { "type": "gauge" } } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_tells_titles_and_members_without_opening_anything() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--room-idle=1s"];
    let mut node = Node::start_in(directory.path(), &flags);
    let api = Api::of(&node);
    assert_eq!(api.get("/dashboards").await, (StatusCode::OK, json!({ "items": [], "next": null })));
    api.put("acme/sales", &titled("Sales")).await;
    api.put("acme/it", &json!({ "widgets": { "a": 1 } })).await;
    api.put("other/x", &titled("X")).await;
    let told = api.items("/workspaces/acme/dashboards").await;
    let of = |at: usize| (&told[at]["name"], &told[at]["title"], &told[at]["role"], &told[at]["members"]);
    assert_eq!(of(0), (&json!("acme/it"), &Value::Null, &json!("editor"), &json!(0)));
    assert_eq!(of(1), (&json!("acme/sales"), &json!("Sales"), &json!("editor"), &json!(0)));
    assert!(told[1]["updated_at"].as_str().unwrap().ends_with('Z') && told[1]["updated_by"].is_null(), "{told:?}");

    let member = Client::joined(&node, "/ws/acme/sales", 1).await;
    api.until("/dashboards?q=sales", |item| item["members"] == 1).await;
    // What a member changes is told while the room is open.
    let patch = api.http.patch(format!("{}/dashboards/acme/sales", api.base));
    let patch = patch.header("content-type", "application/merge-patch+json").body(r#"{"meta":{"title":"Umsätze"}}"#);
    assert!(patch.send().await.unwrap().status().is_success());
    api.until("/dashboards?q=SÄTZE", |item| item["title"] == "Umsätze").await;
    drop(member);

    // Rooms that leave say so in their records, which are there after a restart.
    node.until_metric("ydash_rooms", |rooms| rooms == 0.0).await;
    let told = api.items("/dashboards").await;
    node.kill();
    let node = Node::start_in(directory.path(), &flags);
    let api = Api::of(&node);
    assert_eq!(api.items("/dashboards").await, told);
    let titles: Vec<&Value> = told.iter().map(|item| &item["title"]).collect();
    assert_eq!(titles, [&Value::Null, &json!("Umsätze"), &json!("X")]);
    assert_eq!(node.metric("ydash_rooms").await, 0.0, "nothing was opened");
}

/// A crash before the first snapshot leaves no record, and so does an import.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_missing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start_in(directory.path(), &[]);
    Api::of(&node).put("acme/sales", &titled("Sales")).await;
    node.kill();
    let node = Node::start_in(directory.path(), &[]);
    let api = Api::of(&node);
    let is_whole = |item: &Value| item["title"] == "Sales" && item["updated_at"].is_string();
    api.until("/dashboards", is_whole).await;
    assert_eq!(node.metric("ydash_rooms").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_each_other_and_what_is_wrong_is_said() {
    let node = Node::start(&[]);
    let api = Api::of(&node);
    for n in 0..7 {
        api.put(&format!("w/{n}"), &titled(&format!("Board {}", n % 2))).await;
    }
    let mut seen = Vec::new();
    let mut path = "/workspaces/w/dashboards?limit=3".to_owned();
    loop {
        let (_, page) = api.get(&path).await;
        let names = page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        seen.extend(names);
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/workspaces/w/dashboards?limit=3&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(seen, ["w/0", "w/1", "w/2", "w/3", "w/4", "w/5", "w/6"]);
    assert_eq!(api.names("/dashboards?q=board%201").await, ["w/1", "w/3", "w/5"]);
    let answer = api.http.get(format!("{}/dashboards?limit=2&q=board", api.base)).send().await.unwrap();
    let link = answer.headers()["link"].to_str().unwrap().to_owned();
    assert_eq!(link, r#"</api/dashboards?limit=2&after=w%2F1&q=board>; rel="next""#);
    let exact = api.get("/dashboards?limit=7").await.1;
    assert_eq!((exact["items"].as_array().unwrap().len(), &exact["next"]), (7, &Value::Null));
    for bad in ["limit=0", "limit=201", "limit=a", "after=%00", &format!("q={}", "a".repeat(257))] {
        assert_eq!(api.get(&format!("/dashboards?{bad}")).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(api.get("/workspaces/.a/dashboards").await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.names("/workspaces/nobody/dashboards").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_caller_may_read_is_listed() {
    let node = Node::start(&["--auth-secret", SECRET]);
    let of = |user: &str, grants: &[(&str, Role)]| Api { token: Some(token(user, grants)), ..Api::of(&node) };
    let owner = of("olga", &[("acme/*", Role::Owner), ("other/*", Role::Owner)]);
    for dashboard in ["acme/a", "acme/b", "other/c"] {
        owner.put(dashboard, &titled("Board")).await;
    }
    let private = owner.http.put(format!("{}/dashboards/acme/~olga", owner.base));
    let private = private.body(titled("Board").to_string()).bearer_auth(owner.token.as_deref().unwrap());
    assert!(private.send().await.unwrap().status().is_success());
    assert_eq!(
        owner.names("/dashboards").await,
        ["acme/a", "acme/b", "other/c"],
        "private documents are no dashboards"
    );
    let told = owner.items("/dashboards").await;
    assert_eq!((&told[0]["role"], &told[0]["updated_by"]), (&json!("owner"), &json!("olga")));

    let bob = of("bob", &[("acme/b", Role::Viewer)]);
    assert_eq!(bob.names("/dashboards").await, ["acme/b"]);
    assert_eq!(bob.names("/dashboards?q=board&limit=1").await, ["acme/b"]);
    assert_eq!(bob.get("/dashboards?limit=1").await.1["next"], Value::Null, "what is hidden makes no next page");
    assert_eq!(bob.items("/workspaces/acme/dashboards").await[0]["may"], json!(["read", "presence"]));
    assert_eq!(bob.names("/workspaces/other/dashboards").await, Vec::<String>::new());
    // What is written down counts as well, as soon as it is answered.
    let grants = json!({ "grants": [{ "subject": "user:bob", "role": "editor" }] }).to_string();
    let put = owner.http.put(format!("{}/dashboards/other/c/access", owner.base)).body(grants);
    let put = put.bearer_auth(owner.token.as_deref().unwrap()).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::OK);
    assert_eq!(bob.names("/dashboards").await, ["acme/b", "other/c"]);

    assert_eq!(Api::of(&node).names("/dashboards").await, Vec::<String>::new());
    let stranger = Api { token: Some("a.b.c".into()), ..Api::of(&node) };
    assert_eq!(stranger.get("/dashboards").await.0, StatusCode::UNAUTHORIZED);
}

const SECRET: &str = "a secret of at least thirty-two bytes";

fn token(user: &str, grants: &[(&str, Role)]) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Timestamp(u64::try_from(since.as_millis()).unwrap());
    let (name, groups, grants) = (None, Vec::new(), grants.to_vec());
    let lifetime = Duration::from_secs(3600);
    mint(SECRET, &Minting { user, name, groups, grants, is_operator: false, now, lifetime }).unwrap()
}

/// Who may read few of many gets short pages that go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_looks_at_a_bounded_number_of_names() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = EmbeddedStore::open(&directory.path().join("data")).unwrap();
        let entry = |n: usize| Append {
            dashboard: DashboardId::parse(&format!("w/{n:04}")).unwrap(),
            life: Life::FIRST,
            after: None,
            entries: vec![LogEntry {
                at: Timestamp(1_767_225_600_000),
                author: None,
                session: 0,
                source: Source::Import,
                update: ydash_proto::document::from_json(titled("Board").to_string().as_bytes(), 7).unwrap().into(),
            }],
        };
        for written in store.append((0..1500).map(entry).collect()).await {
            written.unwrap();
        }
        store.close().await.unwrap();
    }
    let node = Node::start_in(directory.path(), &["--address-byte-rate=1GiB"]);
    let api = Api::of(&node);
    let (_, first) = api.get("/dashboards?q=nobody").await;
    assert_eq!((&first["items"], &first["next"]), (&json!([]), &json!("w/0999")));
    let (_, second) = api.get("/dashboards?q=nobody&after=w/0999").await;
    assert_eq!((&second["items"], &second["next"]), (&json!([]), &Value::Null));
    assert_eq!(api.names("/dashboards?q=w/1499&after=w/0999").await, ["w/1499"]);
}
