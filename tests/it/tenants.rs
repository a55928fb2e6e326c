//! One tenant probes for what another one has: no request and no message shows whether something is absent or only forbidden, neither by
//! the answer and its headers nor by the time that it takes.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use ydash::auth::{Minting, REFUSED_AFTER, mint};
use ydash::http::{calls, requests};
use ydash_proto::access::Role;
use ydash_proto::wire::rights::SAID;

use crate::access::sample;
use crate::support::forge;
use crate::support::node::Node;
use crate::support::peer::Peer;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// The server never runs out of what it allows one address and one user.
const GENEROUS: [&str; 5] = [
    "--address-request-rate=100000",
    "--address-request-burst=100000",
    "--user-request-rate=100000",
    "--user-request-burst=100000",
    "--address-join-rate=100000",
];

/// Names that exist, each beside one that does not. Workspaces and users follow.
const DASHBOARDS: [[&str; 2]; 6] = [
    ["acme/sales", "acme/nothing"],
    ["acme/sales", "nowhere/nothing"],
    ["acme/secret", "acme/nothing"],
    ["acme/gone", "acme/nothing"],
    ["acme/~olga", "acme/~nobody"],
    ["acme/@at/-0s/sales", "acme/@at/-0s/nothing"],
];
const WORKSPACES: [[&str; 2]; 1] = [["acme", "nowhere"]];
const USERS: [[&str; 2]; 1] = [["olga", "nobody"]];

fn token(user: &str, dashboards: &str, role: Role) -> String {
    let now = ydash::auth::now();
    let (groups, grants, lifetime) = (Vec::new(), vec![(dashboards, role)], Duration::from_secs(3600));
    mint(SECRET, &Minting { user, name: None, groups, grants, is_operator: false, now, lifetime }).unwrap()
}

struct Tenants {
    node: Node,
    http: Client,
    /// Owns everything in acme.
    olga: String,
    /// Owns everything in evil, and nothing in acme.
    eve: String,
    /// The public half of a link to acme/sales.
    link: String,
}

impl Tenants {
    async fn start() -> Tenants {
        let node = Node::start(&[&["--auth-secret", SECRET][..], &GENEROUS].concat());
        let (olga, eve) = (token("olga", "acme/*", Role::Owner), token("eve", "evil/*", Role::Owner));
        let mut tenants = Tenants { node, http: Client::new(), olga, eve, link: String::new() };
        for name in ["acme/sales", "acme/secret", "acme/gone", "acme/~olga"] {
            tenants.make(name).await;
        }
        let grants = json!({ "grants": [{ "subject": "user:ada", "role": "editor" }], "restricted": true });
        tenants.as_olga(Method::PUT, "dashboards/acme/secret/access", grants).await;
        let (links, role) = ("dashboards/acme/sales/links", json!({ "role": "viewer" }));
        tenants.link = tenants.as_olga(Method::POST, links, role).await["id"].as_str().unwrap().to_owned();
        tenants.as_olga(Method::DELETE, "dashboards/acme/gone", json!({})).await;
        tenants
    }

    async fn as_olga(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, self.node.http(&format!("/api/{path}"))).bearer_auth(&self.olga);
        let answer = request.body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn make(&self, name: &str) {
        self.as_olga(Method::PUT, &format!("dashboards/{name}"), json!({ "board": { "a": 1 } })).await;
    }

    /// A body that has a part for every request.
    fn body(&self) -> String {
        let invitation = format!("yd_{}_{}", self.link, "a".repeat(43));
        json!({ "invitation": invitation, "state": {}, "name": "evil/copy" }).to_string()
    }

    /// The answer to a request: its status, its headers but for the time, and its body.
    async fn answer(&self, method: &str, path: &str, token: Option<&str>) -> (StatusCode, Vec<String>, String) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = self.http.request(method.parse().unwrap(), self.node.http(path)).header("content-type", kind);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.body(self.body()).send().await.unwrap();
        let headers = answer.headers().iter().filter(|(name, _)| *name != "date");
        let headers = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        (answer.status(), headers, answer.text().await.unwrap())
    }
}

/// The pairs of names that go into a path, if it has a name.
fn pairs(path: &str) -> &'static [[&'static str; 2]] {
    match path.strip_prefix("/api/").unwrap().split('/').next() {
        _ if !path.contains("{name}") => &[],
        Some("dashboards") => &DASHBOARDS,
        Some("workspaces") => &WORKSPACES,
        Some("users") => &USERS,
        other => panic!("no name that could be in {path}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_and_forbidden_are_answered_alike_by_every_request() {
    let tenants = Tenants::start().await;
    let vera = token("vera", "acme/*", Role::Viewer);
    let elsewhere = tenants.as_olga(Method::POST, "dashboards/acme/sales/links", json!({ "role": "viewer" })).await;
    let elsewhere = elsewhere["link"].as_str().unwrap();
    let mut tried = Vec::new();
    for (method, path) in requests() {
        let needed = calls().find(|call| (call.0, call.1) == (method, path)).map(|call| call.2);
        for [there, absent] in pairs(path) {
            let of = |name: &str| path.replace("{name}", name).replace("{id}", &tenants.link);
            let may_look = needed.is_some_and(|needed| Role::Viewer.capabilities().contains(needed));
            // Somebody of the same workspace finds out nothing by what their role does not allow.
            let is_hers = !may_look && needed.is_some() && !there.contains(['~', '@']) && absent.starts_with("acme");
            let callers = [
                (true, "nobody", None),
                (true, "eve", Some(&*tenants.eve)),
                (is_hers, "vera", Some(&*vera)),
                (!there.ends_with("sales") && needed.is_some(), "a link to another dashboard", Some(elsewhere)),
            ];
            for (_, who, token) in callers.into_iter().filter(|(is_asked, ..)| *is_asked) {
                for query in ["", "?user=olga"] {
                    tried.push((method, of(there) + query, of(absent) + query, who, token));
                }
            }
        }
        // Calls that name nothing name nothing of others either.
        if pairs(path).is_empty() && !path.contains("{path}") {
            let (.., text) = tenants.answer(method, path, Some(&tenants.eve)).await;
            assert!(!path.starts_with("/api/dashboards") || !text.contains("acme"), "{method} {path}: {text}");
        }
    }
    assert!(tried.len() > 1000, "only {} tried", tried.len());
    let ask = async |(method, there, absent, who, token): (_, String, String, _, Option<&str>)| {
        let (found, expected) =
            tokio::join!(tenants.answer(method, &there, token), tenants.answer(method, &absent, token));
        assert_eq!(found, expected, "{method} {there} and {absent} for {who}");
        let is_refused = matches!(found.0, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // A list holds what the caller may read, and that is nothing.
        let is_empty = [r#""items":[]"#, r#""trash":[]"#].iter().any(|list| found.2.contains(list));
        assert!(is_refused || is_empty, "{method} {there} for {who}: {found:?}");
    };
    stream::iter(tried).map(ask).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// All that a socket is told until it ends, or says nothing more.
async fn heard(mut peer: Peer, name: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        // Somebody who is refused is told so after 2.1 s.
        let next = tokio::time::timeout(Duration::from_secs(3), peer.socket.next());
        match next.await {
            Ok(Some(Ok(Message::Binary(frame)))) => {
                // In one dialect the name stands in front of everything.
                let address = forge::var_bytes(name);
                heard.push(format!("{:?}", frame.strip_prefix(&address[..]).unwrap_or(&frame)));
            }
            Ok(Some(Ok(Message::Close(frame)))) => {
                heard.push(format!("{frame:?}"));
                return heard;
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) | Err(_) => return heard,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_and_forbidden_are_answered_alike_to_every_message() {
    let tenants = Tenants::start().await;
    let own_token = [&[2, 0][..], &forge::var_bytes(&tenants.eve)].concat();
    let say = async |is_hocuspocus: bool, name: &'static str, token: &str, said: &[u8]| {
        let mut peer = if is_hocuspocus {
            Peer::try_open_document_as(&tenants.node.ws("/hocuspocus"), name, token).await.unwrap()
        } else {
            Peer::open(&tenants.node, &format!("/{name}?token={token}")).await
        };
        peer.send(said).await;
        heard(peer, name).await
    };
    let mut tried = Vec::new();
    for said in SAID {
        let frame = sample(said.name, 7, "is it there").map(|sample| sample.frame);
        let frame = frame.unwrap_or_else(|| if said.name == "Close" { vec![7] } else { own_token.clone() });
        for is_hocuspocus in [false, true] {
            if said.is_of_documents && !is_hocuspocus {
                continue;
            }
            for [there, absent] in DASHBOARDS {
                for token in ["", &tenants.eve] {
                    let (say, frame) = (&say, frame.clone());
                    tried.push(async move {
                        let (there_heard, absent_heard) = tokio::join!(
                            say(is_hocuspocus, there, token, &frame),
                            say(is_hocuspocus, absent, token, &frame)
                        );
                        let what = format!("{} to {there} and {absent} ({is_hocuspocus}, {token:?})", said.name);
                        assert_eq!(there_heard, absent_heard, "{what}");
                        assert!(!there_heard.is_empty(), "{what}");
                    });
                }
            }
        }
    }
    stream::iter(tried).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Of so many pairs that do not differ, the share in which one is slower is beyond these bounds once in a hundred million.
const PAIRS: usize = 400;
const ALIKE: RangeInclusive<f64> = 0.35..=0.65;
/// Pairs that are measured at once, the two of each after each other.
const AT_ONCE: usize = 20;

/// The share of pairs in which an existing name was refused later than an absent one. It is counted rather than timed: a busy machine makes
/// both slower.
async fn slower(took: impl AsyncFn(bool, usize) -> Duration) -> f64 {
    let pair = async |n: usize| {
        // The second of a pair finds warm caches.
        let is_first = n.is_multiple_of(2);
        let (one, other) = (took(is_first, n).await, took(!is_first, n).await);
        (one > other) == is_first
    };
    let slower: Vec<bool> = stream::iter((0..PAIRS).map(pair)).buffer_unordered(AT_ONCE).collect().await;
    slower.iter().filter(|is_slower| **is_slower).count() as f64 / PAIRS as f64
}

/// A refusal about a name that was in use came sooner than one whose record had to be read first: its time showed which names were in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_and_forbidden_take_the_same_time() {
    let tenants = Tenants::start().await;
    let names: Vec<String> = (0..PAIRS).map(|n| format!("acme/there-{n}")).collect();
    stream::iter(&names).map(|name| tenants.make(name)).buffer_unordered(AT_ONCE).collect::<()>().await;
    let took = async |name: String| {
        let began = Instant::now();
        let (status, ..) =
            tenants.answer("GET", &format!("/api/dashboards/acme/{name}/state"), Some(&tenants.eve)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        began.elapsed()
    };
    let again = slower(async |is_there, _| took(if is_there { "secret" } else { "absent" }.to_owned()).await).await;
    let once =
        slower(async |is_there, n| took(format!("{}-{n}", if is_there { "there" } else { "absent" })).await).await;
    println!(
        "what is there is refused later in {again:.3} of {PAIRS} pairs, and in {once:.3} if it is asked about once"
    );
    assert!(ALIKE.contains(&again) && ALIKE.contains(&once), "{again} {once}");
}

/// A refusal was held back from the beginning of the request. One that followed from a slow body came at once, so its time showed which
/// records were in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_held_back_from_the_end_of_a_slow_body() {
    let tenants = Tenants::start().await;
    let (address, body) = (tenants.node.http("").replace("http://", ""), tenants.body());
    let path = "/api/dashboards/acme/sales/invitations/accept";
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        tenants.eve,
        body.len()
    );
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    // The body is slow on purpose.
    tokio::time::sleep(2 * REFUSED_AFTER).await;
    let began = Instant::now();
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    let status = core::str::from_utf8(&answer[9..]).unwrap();
    assert!(["401", "403"].contains(&status), "{status}");
    assert!(began.elapsed() >= REFUSED_AFTER, "{:?}", began.elapsed());
}
