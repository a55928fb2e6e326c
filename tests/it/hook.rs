//! The operator's own service decides who may do what: its questions, the effects of its answers, and a service that is away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::support::node::Node;
use super::support::peer::{Peer, WITHIN};
use super::support::{forge, let_reqwest_work};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// An answer of the service about a token.
#[derive(Clone)]
enum Answer {
    Yes(Value),
    Status(u16),
    /// A redirect.
    Elsewhere,
    TooMuch,
    Nothing,
}

/// A service as an operator would write it.
#[derive(Clone)]
struct Service {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Service {
    async fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, answers, asked) = (listener.local_addr().unwrap(), Arc::default(), Arc::default());
        let service = Service { address, answers, asked };
        let own = service.clone();
        tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                tokio::spawn(own.clone().serve(io));
            }
        });
        service
    }

    async fn serve(self, mut io: TcpStream) -> Option<()> {
        let mut request = Vec::new();
        loop {
            let (head, body_bytes) = loop {
                if io.read_buf(&mut request).await.ok()? == 0 {
                    return None;
                }
                let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8(request[..at].to_vec()).unwrap().to_lowercase();
                let length = field(&head, "content-length").parse::<usize>().unwrap();
                if request.len() >= at + 4 + length {
                    request.drain(..at + 4);
                    break (head, length);
                }
            };
            let body: Vec<u8> = request.drain(..body_bytes).collect();
            assert!(head.starts_with("post /authorize "), "{head}");
            let signed = [field(&head, "ydash-timestamp").as_bytes(), b".", &body].concat();
            let signature = field(&head, "ydash-signature").strip_prefix("v1=").unwrap().to_owned();
            let signature: Vec<u8> =
                (0..32).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap()).collect();
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &signed, &signature).unwrap();
            let question: Value = serde_json::from_slice(&body).unwrap();
            let token = question["token"].as_str().unwrap().to_owned();
            self.asked.lock().unwrap().push(question);
            let answer = self.answers.lock().unwrap().get(&token).cloned();
            let (status, more, body) = match answer {
                Some(Answer::Yes(answer)) => (200, String::new(), answer.to_string()),
                Some(Answer::Status(status)) => (status, String::new(), String::new()),
                Some(Answer::Elsewhere) => (307, format!("location: http://{}/other\r\n", self.address), String::new()),
                Some(Answer::TooMuch) => (200, String::new(), format!(r#"{{"user":"{}"}}"#, "x".repeat(70_000))),
                Some(Answer::Nothing) => return core::future::pending().await,
                None => (401, String::new(), String::new()),
            };
            let answer = format!("HTTP/1.1 {status} x\r\n{more}content-length: {}\r\n\r\n{body}", body.len());
            io.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn says(&self, token: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(token.into(), answer);
    }

    /// How often it was asked about a token.
    fn asked(&self, token: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|question| question["token"] == token).count()
    }

    fn node(&self, more: &[&str]) -> Node {
        let url = format!("http://{}/authorize", self.address);
        let node = Node::start(&[&["--authorize-url", &url, "--authorize-secret", SECRET], more].concat());
        let_reqwest_work();
        node
    }
}

fn field(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} is missing: {head}")).trim().to_owned()
}

async fn read(node: &Node, dashboard: &str, token: Option<&str>) -> StatusCode {
    let request = Client::new().get(node.http(&format!("/api/dashboards/{dashboard}/state")));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap().status()
}

async fn join(node: &Node, token: &str) -> Peer {
    let mut peer = Peer::open(node, &format!("/acme/sales?token={token}")).await;
    peer.expect(|frame| frame.starts_with(&[0, 0])).await;
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_who_may_do_what_and_its_change_of_mind_reaches_live_sessions() {
    let service = Service::start().await;
    let node = service.node(&[]);
    service.says("opaque-ada", Answer::Yes(json!({ "user": "ada", "role": "editor", "valid_for": 1 })));
    service.says("opaque-bob", Answer::Yes(json!({ "user": "bob", "role": "viewer" })));
    service.says("opaque-eve", Answer::Status(403));

    // Nobody is let in without it, and it is asked about tokens alone.
    assert_eq!(read(&node, "acme/sales", None).await, StatusCode::UNAUTHORIZED);
    assert_eq!(read(&node, "acme/sales", Some("unknown")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(read(&node, "acme/sales", Some("opaque-eve")).await, StatusCode::FORBIDDEN);
    assert_eq!(Peer::open(&node, "/acme/sales?token=unknown").await.ended().await.code, 4401);
    assert_eq!(Peer::open(&node, "/acme/sales?token=opaque-eve").await.ended().await.code, 4403);
    assert_eq!(service.asked(""), 0);

    // One answer is for one dashboard, and for as long as it says.
    for _ in 0..20 {
        assert_eq!(read(&node, "acme/sales", Some("opaque-bob")).await, StatusCode::OK);
    }
    assert_eq!(service.asked("opaque-bob"), 1);
    assert_eq!(read(&node, "acme/other", Some("opaque-bob")).await, StatusCode::OK);
    assert_eq!(service.asked("opaque-bob"), 2);
    let put = Client::new().put(node.http("/api/dashboards/acme/sales")).bearer_auth("opaque-bob").body("{}");
    assert_eq!(put.send().await.unwrap().status(), StatusCode::FORBIDDEN, "a viewer");

    // Sessions that are open are asked about again.
    let mut ada = join(&node, "opaque-ada").await;
    let question = service.asked.lock().unwrap().iter().find(|question| question["token"] == "opaque-ada").cloned();
    let question = question.unwrap();
    assert_eq!((&question["dashboard"], &question["address"]), (&json!("acme/sales"), &json!("127.0.0.1")));
    service.says("opaque-ada", Answer::Yes(json!({ "user": "ada", "role": "viewer", "valid_for": 1 })));
    let lowered = ada.expect(|frame| frame.starts_with(&[2, 2])).await;
    assert!(lowered.ends_with(b"readonly"), "{lowered:?}");
    service.says("opaque-ada", Answer::Status(403));
    let ended = ada.ended().await;
    assert_eq!(ended.code, 4403, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_service_has_no_answer_nobody_is_let_in_and_live_sessions_go_on_for_a_while() {
    let service = Service::start().await;
    let node = service.node(&[]);
    service.says("carol", Answer::Yes(json!({ "user": "carol", "role": "editor", "valid_for": 2 })));
    let mut carol = join(&node, "carol").await;
    let asked = service.asked("carol");
    service.says("carol", Answer::Status(500));

    for (token, answer) in [
        ("broken", Answer::Status(500)),
        ("elsewhere", Answer::Elsewhere),
        ("too-much", Answer::TooMuch),
        ("nonsense", Answer::Yes(json!({ "user": "dora", "role": "everything" }))),
    ] {
        service.says(token, answer);
        assert_eq!(read(&node, "acme/sales", Some(token)).await, StatusCode::SERVICE_UNAVAILABLE, "{token}");
    }
    let refused = Peer::open(&node, "/acme/sales?token=broken").await.ended().await;
    assert_eq!(refused.code, 1013, "{refused:?}");
    service.says("hangs", Answer::Nothing);
    let began = Instant::now();
    assert_eq!(read(&node, "acme/sales", Some("hangs")).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(began.elapsed() >= Duration::from_secs(3), "it is given three seconds");

    // Meanwhile the service is asked about her again, and does not answer.
    while service.asked("carol") == asked {
        assert!(began.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = carol.ended().await;
    assert_eq!((ended.code, &*ended.reason), (4501, "token expired"), "at the end of what was said last");
    service.says("carol", Answer::Yes(json!({ "user": "carol", "role": "editor", "valid_for": 1 })));
    let mut carol = join(&node, "carol").await;
    let ended = timeout(Duration::from_secs(4), carol.ended()).await;
    assert!(ended.is_err(), "it was asked about again and again: {ended:?}");
}

/// With keys as well, tokens are verified before the service is asked, which says what and not who.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_behind_verified_tokens_says_what_and_not_who() {
    let service = Service::start().await;
    let node = service.node(&["--auth-secret", SECRET]);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let minting = ydash::auth::Minting {
        user: "ada",
        name: None,
        groups: vec!["sales"],
        grants: vec![("acme/*", ydash_proto::access::Role::Owner)],
        is_operator: false,
        now: ydash_proto::time::Timestamp(u64::try_from(since.as_millis()).unwrap()),
        lifetime: Duration::from_secs(60),
    };
    let token = ydash::auth::mint(SECRET, &minting).unwrap();
    service.says(&token, Answer::Yes(json!({ "user": "root", "role": "viewer" })));
    assert_eq!(read(&node, "acme/sales", Some(&token)).await, StatusCode::OK);
    let question = service.asked.lock().unwrap()[0].clone();
    assert_eq!(question["user"], json!({ "id": "ada", "name": null, "groups": ["sales"] }));
    let put = Client::new().put(node.http("/api/dashboards/acme/sales")).bearer_auth(&token).body("{}");
    assert_eq!(put.send().await.unwrap().status(), StatusCode::FORBIDDEN, "what the token gives does not count");
    assert_eq!(read(&node, "acme/sales", Some("a.b.c")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.asked("a.b.c"), 0, "what is no token is nobody's to ask about");
}

/// Sessions went on being asked about the token that they came with, and ended with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_shows_another_token_is_asked_about_that_one() {
    let service = Service::start().await;
    let node = service.node(&[]);
    let ada = || Answer::Yes(json!({ "user": "ada", "role": "editor", "valid_for": 1 }));
    service.says("first", ada());
    service.says("second", ada());
    let mut peer = join(&node, "first").await;
    let shown = [&[2, 0][..], &forge::var_bytes("second")].concat();
    assert!(peer.send(shown).await);
    let began = Instant::now();
    while service.asked("second") == 0 {
        assert!(began.elapsed() < WITHIN);
        peer.next_within(Duration::from_millis(50)).await;
    }
    // It was rotated: only the second one is good.
    service.says("first", Answer::Status(401));
    let (first, second) = (service.asked("first"), service.asked("second"));
    while service.asked("second") < second + 3 {
        assert!(began.elapsed() < WITHIN, "{} times", service.asked("second"));
        peer.next_within(Duration::from_millis(50)).await;
    }
    assert!(service.asked("first") <= first + 1, "one may have been on its way");
    assert!(peer.send(forge::sync_step1(&[0])).await);
    peer.expect(|frame| frame.starts_with(&[0, 1])).await;
}

/// A document was denied, and its edits dropped, as soon as the service had no answer for a token that was shown again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_document_stays_while_nobody_can_say_whether_another_token_is_good() {
    let service = Service::start().await;
    let node = service.node(&[]);
    service.says("ada", Answer::Yes(json!({ "user": "ada", "role": "editor", "valid_for": 60 })));
    let mut peer = Peer::try_open_document_as(&node.ws("/hocuspocus"), "acme/sales", "ada").await.unwrap();
    peer.send(forge::sync_step1(&[0])).await;
    peer.expect(|frame| frame.starts_with(&[0, 1])).await;
    service.says("later", Answer::Status(500));
    service.says("root", Answer::Yes(json!({ "user": "root", "operator": true })));
    // A token, as its provider shows it.
    peer.send([&[2, 0][..], &forge::var_bytes("later")].concat()).await;
    let began = Instant::now();
    loop {
        let metrics = Client::new().get(node.http("/metrics")).bearer_auth("root").send().await.unwrap();
        if metrics.text().await.unwrap().contains("ydash_refusals_total{reason=\"unavailable\"} 1") {
            break;
        }
        assert!(began.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.asked("later"), 1);
    peer.send(forge::live(&forge::letters(7, 0, 3))).await;
    assert_eq!(peer.statuses(1).await, (1, 0), "it is saved");
}
