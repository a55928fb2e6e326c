//! Dashboards edited as JSON over REST, through a whole server, with members that see it.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::support::client::Client;
use super::support::node::Node;

/// Calls on one dashboard.
struct Api {
    client: reqwest::Client,
    url: String,
}

struct Answer {
    status: u16,
    etag: String,
    body: Value,
}

impl Answer {
    async fn of(response: Response) -> Answer {
        let etag = response.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        Answer { status, etag, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    fn told(&self) -> (u16, &str) {
        (self.status, self.body["error"].as_str().unwrap_or_default())
    }
}

impl Api {
    fn of(node: &Node, dashboard: &str) -> Api {
        Api { client: reqwest::Client::new(), url: node.http(&format!("/api/dashboards/{dashboard}")) }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).body(body.to_string())).await
    }

    async fn put_with(&self, header: &str, value: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, "").header(header, value).body(body.to_string())).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Answer {
        let kind = if body.is_array() { "application/json-patch+json" } else { "application/merge-patch+json" };
        self.send(self.request(Method::PATCH, path).header("content-type", kind).body(body.to_string())).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_is_seen_by_members_and_is_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::start_in(directory.path(), &[]);
    let api = Api::of(&node, "w/board");
    assert_eq!(api.get("").await.told(), (404, "no_dashboard"), "a typo is no empty dashboard");
    assert_eq!(api.patch("", &json!({"a": 1})).await.told(), (404, "no_dashboard"));
    let begun = api.put("", &json!({"board": {"a": 1, "b": 2}})).await;
    assert_eq!((begun.status, begun.body), (201, json!({"changed": true, "durable": true})));
    let mut member = Client::joined(&node, "/ws/w/board", 1).await;
    assert_eq!(member.get("a"), Some(1));
    assert_eq!(api.put("", &json!({"board": {"a": 5, "c": 3}})).await.status, 200);
    member.until(|member| member.get("a") == Some(5) && member.get("b").is_none() && member.get("c") == Some(3)).await;
    member.set("by member", 7).await;
    assert_eq!(api.patch("", &json!({"board": {"c": null, "d": 4}})).await.status, 200);
    member.until(|member| member.get("d") == Some(4)).await;
    node.kill();
    let node = Node::start_in(directory.path(), &[]);
    let shown = Api::of(&node, "w/board").get("").await.body;
    assert_eq!(
        (&shown["board"]["a"], &shown["board"]["d"], &shown["board"]["c"]),
        (&json!(5), &json!(4), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn putting_back_what_was_read_writes_nothing() {
    let node = Node::start(&[]);
    let api = Api::of(&node, "w/board");
    let board = json!({"m": {"a": [1, {"b": "c"}], "n": 0.1}, "t": "text", "l": [{}]});
    api.put("", &board).await;
    let read = api.get("").await;
    assert_eq!(read.body, board);
    let state = node.state("w/board").await;
    let put = api.put("", &read.body).await;
    assert_eq!((put.status, put.body, &put.etag), (200, json!({"changed": false, "durable": true}), &read.etag));
    assert_eq!(node.state("w/board").await, state);
    let again = api.send(api.request(Method::GET, "").header("if-none-match", &read.etag)).await;
    assert_eq!((again.status, &again.etag), (304, &read.etag));
    assert_eq!(api.get("?at=/m/a/1").await.body, json!({"b": "c"}));
    assert_eq!(api.get("?at=/m/none").await.told(), (404, "nothing_there"));
    assert_eq!(api.get("?at=m").await.told(), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_demands_a_version_is_refused_where_another_one_is() {
    let node = Node::start(&[]);
    let api = Api::of(&node, "w/board");
    assert_eq!(api.put_with("if-match", "*", &json!({"m": {"a": 1}})).await.told(), (412, "precondition_failed"));
    let begun = api.put_with("if-none-match", "*", &json!({"m": {"a": 1}})).await;
    assert_eq!(begun.status, 201);
    assert_eq!(api.put_with("if-none-match", "*", &json!({"m": {}})).await.status, 412);
    let changed = api.put_with("if-match", &begun.etag, &json!({"m": {"a": 2}})).await;
    assert_eq!((changed.status, changed.etag == begun.etag), (200, false));
    assert_eq!(api.put_with("if-match", &begun.etag, &json!({"m": {"a": 3}})).await.status, 412);
    let read = api.get("").await;
    assert_eq!((read.body, read.etag), (json!({"m": {"a": 2}}), changed.etag));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_put_what_they_made_of_one_version_both_have_their_way() {
    let node = Node::start(&[]);
    let api = Api::of(&node, "w/board");
    api.put("", &json!({"m": {"a": 1, "b": 1}, "l": [1, 2]})).await;
    let base = api.get("").await.etag;
    let one = api.put_with("ydash-base", &base, &json!({"m": {"a": 2, "b": 1}, "l": [0, 1, 2]})).await;
    assert_eq!(one.status, 200);
    let other = api.put_with("ydash-base", &base, &json!({"m": {"a": 1, "b": 2}, "l": [1, 2, 3]})).await;
    assert_eq!(other.status, 200);
    let both = json!({"m": {"a": 2, "b": 2}, "l": [0, 1, 2, 3]});
    let read = api.get("").await;
    assert_eq!((&read.body, &read.etag), (&both, &other.etag));
    let unknown = format!("\"{}\"", "0".repeat(32));
    assert_eq!(api.put_with("ydash-base", &unknown, &both).await.told(), (409, "base_unknown"));
    assert_eq!(api.put_with("ydash-base", "x", &both).await.told(), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_and_widgets_are_edited_by_themselves_and_errors_name_places() {
    let node = Node::start(&[]);
    let api = Api::of(&node, "w/board");
    api.put("", &json!({"widgets": {"a": {"n": 1}}, "text": "abc"})).await;
    let widget = json!({"widget": {"type": "gauge"}, "layout": {"x": 0}});
    assert_eq!(api.put("/widgets/b%2F1", &widget).await.status, 201);
    let read = api.get("/widgets/b%2F1").await;
    assert_eq!(read.body, widget);
    assert_eq!(api.patch("/widgets/a", &json!({"widget": {"n": 2}, "layout": {"x": 4}})).await.status, 200);
    assert_eq!(api.get("/widgets/b%2F1").await.etag, read.etag, "a change elsewhere is none of its");
    assert_eq!(api.delete("/widgets/b%2F1").await.body, json!({"changed": true, "durable": true}));
    assert_eq!(api.delete("/widgets/b%2F1").await.told(), (404, "nothing_there"));
    assert_eq!(api.put("?at=/text", &json!("abcd")).await.status, 200);
    assert_eq!(api.put("?at=/widgets/a/list", &json!([1])).await.status, 201);
    assert_eq!(api.delete("?at=/widgets/a/list/0").await.status, 200);
    for refused in ["?at=", "?dry-run=true"] {
        assert_eq!(
            api.delete(refused).await.told(),
            (400, "bad_request"),
            "{refused}: it is not the dashboard that is meant"
        );
    }
    let shown = json!({"widgets": {"a": {"n": 2, "list": []}}, "layout": {"a": {"x": 4}}, "text": "abcd"});
    assert_eq!(api.get("").await.body, shown);
    let would = api.put("?at=/text&dry-run=true", &json!("x")).await;
    assert_eq!(would.body["changes"], json!([{"op": "replace", "path": "/text"}]));
    for (answer, told, pointer) in [
        (api.put("?at=/none/a", &json!(1)).await, (404, "nothing_there"), "/none/a"),
        (api.put("?at=/new", &json!(1)).await, (422, "invalid"), "/new"),
        (api.put("?at=/text", &json!({"a": 1})).await, (422, "invalid"), "/text"),
        (api.put("/widgets/a", &json!({"widget": 1})).await, (422, "invalid"), ""),
        (api.patch("", &json!([{"op": "remove", "path": "/x"}])).await, (422, "invalid"), "/0"),
        (api.patch("", &json!([{"op": "test", "path": "/text", "value": 1}])).await, (409, "test_failed"), "/0"),
    ] {
        assert_eq!((answer.told(), &answer.body["errors"][0]["pointer"]), (told, &json!(pointer)), "{}", answer.body);
    }
    let odd = api.send(api.request(Method::PATCH, "").body("{}")).await;
    assert_eq!(odd.told(), (415, "patch_type"));
    assert_eq!(api.send(api.request(Method::PUT, "").body("{\"a\":{\"b\":1,\"b\":2}}")).await.status, 400);
    assert_eq!(api.get("").await.body, shown, "nothing of all that was written");
}

/// Two write by REST, each in its way, and three on sockets: nothing of anybody is lost, and all agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_and_sockets_write_at_once_and_nothing_is_lost() {
    const ROUNDS: i64 = 30;
    let node = Node::start(&[]);
    let api = Api::of(&node, "w/board");
    api.put("", &json!({"board": {"begun": 1}, "log": ["begun"]})).await;
    let mut members = Vec::new();
    for id in 1..=3 {
        members.push(Client::joined(&node, "/ws/w/board", id).await);
    }
    let by_whole = async {
        let api = Api::of(&node, "w/board");
        for round in 0..ROUNDS {
            let Answer { etag, body: mut board, .. } = api.get("").await;
            board["board"][format!("whole {round}")] = json!(round);
            board["log"].as_array_mut().unwrap().push(json!(format!("whole {round}")));
            let put = api.put_with("ydash-base", &etag, &board).await;
            assert_eq!(put.status, 200, "{}", put.body);
        }
    };
    let by_patch = async {
        let api = Api::of(&node, "w/board");
        for round in 0..ROUNDS {
            let patch = json!([
                {"op": "add", "path": format!("/board/patch {round}"), "value": round},
                {"op": "add", "path": "/log/0", "value": format!("patch {round}")},
            ]);
            let patched = api.patch("", &patch).await;
            assert_eq!(patched.status, 200, "{}", patched.body);
        }
    };
    let by_sockets = async {
        for round in 0..ROUNDS {
            for member in &mut members {
                member.set(&format!("{} {round}", member.id), round).await;
                member.log(&format!("{} {round}", member.id)).await;
                member.take_for(Duration::from_millis(5)).await;
            }
        }
    };
    futures_util::future::join3(by_whole, by_patch, by_sockets).await;
    let count = (5 * ROUNDS + 1) as usize;
    for member in &mut members {
        member.until(|member| member.content().len() == count && member.logged().len() == count).await;
    }
    let shown = api.get("").await.body;
    assert_eq!(shown["board"].as_object().unwrap().len(), count);
    let log: Vec<String> = serde_json::from_value(shown["log"].clone()).unwrap();
    for member in &members {
        assert_eq!(member.logged(), log);
    }
    let mut once = log.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), count, "each entry is there once: {log:?}");
}
