//! Dashboards followed, and shown presence, by programs that speak HTTP and nothing else.

use std::time::Duration;

use reqwest::{Client as Http, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::client::Client;
use super::support::let_reqwest_work;
use super::support::node::Node;
use super::support::peer::WITHIN;

struct Program {
    http: Http,
    base: String,
}

impl Program {
    fn of(node: &Node) -> Program {
        let_reqwest_work();
        Program { http: Http::new(), base: node.http("/api/dashboards/team/board") }
    }

    async fn follow(&self, since: Option<&str>) -> Stream {
        let request = self.http.get(format!("{}/events", self.base));
        let request = since.into_iter().fold(request, |request, since| request.header("last-event-id", since));
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, text: String::new() }
    }

    async fn show(&self, body: Value) -> (StatusCode, Value) {
        let answer = self.http.post(format!("{}/presence", self.base)).body(body.to_string()).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn shown(&self) -> Vec<Value> {
        let answer = self.http.get(format!("{}/presence", self.base)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["presence"].as_array().unwrap().clone()
    }
}

struct Stream {
    response: Response,
    /// Events that have come and were not looked at yet.
    text: String,
}

impl Stream {
    /// Takes events until one of this name comes whose data is this; returns its id.
    async fn until(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> String {
        timeout(WITHIN, async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    let line =
                        |field: &str| event.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
                    let data = serde_json::from_str(line("data: ")).unwrap_or_default();
                    if line("event: ") == name && is_it(&data) {
                        return line("id: ").to_owned();
                    }
                }
                let chunk = self.response.chunk().await.unwrap().expect("the stream goes on");
                self.text += core::str::from_utf8(&chunk).unwrap();
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {name}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_of_edits_and_of_who_comes_and_never_what_is_shown() {
    let node = Node::start(&[]);
    let program = Program::of(&node);
    let mut stream = program.follow(None).await;
    stream.until("change", |data| data["position"] == "0").await;
    // A follower is nobody who is here.
    stream.until("presence", |data| data["members"] == 0).await;
    let mut ada = Client::joined(&node, "/team/board", 7).await;
    stream.until("presence", |data| data["members"] == 1).await;
    ada.set("secret", 1_234_567).await;
    let told = stream.until("change", |data| data["position"] != "0" && data["at"].is_string()).await;
    assert!(!stream.text.contains("1234567"));
    drop(stream);

    // A client that comes back is told only of what happened meanwhile.
    let mut again = program.follow(Some(&told)).await;
    again.until("presence", |data| data["members"] == 1).await;
    assert!(!again.text.contains("change"), "{}", again.text);
    drop(again);
    ada.set("secret", 2).await;
    ada.until(|ada| ada.get("secret") == Some(2)).await;
    let mut later = program.follow(Some(&told)).await;
    let after = later.until("change", |data| data["position"].as_str() != Some(&told)).await;
    assert_ne!(after, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_shown_for_as_long_as_its_lease_is_renewed() {
    let node = Node::start(&[]);
    let program = Program::of(&node);
    let mut ada = Client::joined(&node, "/team/board", 7).await;
    let (status, lease) = program.show(json!({ "state": { "task": "reads" }, "ttl": 60 })).await;
    assert_eq!((status, &lease["ttl"]), (StatusCode::CREATED, &json!(60)));
    let agent = lease["clientId"].as_u64().unwrap();
    ada.until(|ada| ada.sees().contains(&agent)).await;

    let again = json!({ "state": { "task": "writes" }, "clientId": agent, "ttl": 60 });
    assert_eq!(program.show(again).await, (StatusCode::OK, json!({ "clientId": agent, "ttl": 60 })));
    let is_agent = |one: &&Value| one["clientId"] == json!(agent);
    let task = async {
        while program.shown().await.iter().find(is_agent).map(|one| one["state"]["task"].clone())
            != Some(json!("writes"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, task).await.expect("the new state is shown");

    let ended = program.http.delete(format!("{}/presence/{agent}", program.base)).send().await.unwrap();
    assert_eq!(ended.json::<Value>().await.unwrap(), json!({ "ended": true }));
    ada.until(|ada| !ada.sees().contains(&agent)).await;

    let (_, short) = program.show(json!({ "state": {}, "ttl": 1 })).await;
    let agent = short["clientId"].as_u64().unwrap();
    ada.until(|ada| ada.sees().contains(&agent)).await;
    ada.until(|ada| !ada.sees().contains(&agent)).await;
    // One that is over is not renewed: it is another one.
    let (status, other) = program.show(json!({ "state": {}, "clientId": agent })).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(other["clientId"], json!(agent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_are_none_are_refused_and_take_places_of_their_address() {
    let node = Node::start(&["--sessions-per-address-max=3"]);
    let program = Program::of(&node);
    for body in [json!({}), json!({ "state": 1 }), json!({ "state": {}, "ttl": 61 }), json!({ "state": {}, "ttl": 0 })]
    {
        assert_eq!(program.show(body.clone()).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    let large = json!({ "state": { "text": "x".repeat(40 << 10) } });
    assert_eq!(program.show(large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let _stream = program.follow(None).await;
    for _ in 0..2 {
        assert_eq!(program.show(json!({ "state": {}, "ttl": 60 })).await.0, StatusCode::CREATED);
    }
    let (status, problem) = program.show(json!({ "state": {} })).await;
    assert_eq!(
        (status, &problem["limit"]["name"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("sessions-per-address-max")),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_the_node_and_say_so() {
    let mut node = Node::start(&["--drain-deadline=4s"]);
    let program = Program::of(&node);
    let mut stream = program.follow(None).await;
    stream.until("presence", |_| true).await;
    let ending = async {
        stream.until("end", |data| data["code"] == 1012).await;
        assert_eq!(stream.response.chunk().await.unwrap(), None);
    };
    let (status, ()) = tokio::join!(node.terminate(WITHIN), ending);
    assert!(status.success());
}
