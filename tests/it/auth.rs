//! Authentication against a whole server: tokens on every way that carries them, keys over HTTP, and what each role may do with each route.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, StatusCode};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use ydash::auth::{Minting, mint};
use ydash::http::calls;
use ydash_proto::access::Role;
use ydash_proto::time::Timestamp;

use crate::support::forge;
use crate::support::node::{Node, binary};
use crate::support::peer::{Peer, WITHIN};

const SECRET: &str = "a secret of at least thirty-two bytes";

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

fn token(user: &str, grants: &[(&str, Role)], lifetime: Duration) -> String {
    minted(user, grants, false, lifetime)
}

fn operator() -> String {
    minted("olga", &[], true, HOUR)
}

fn minted(user: &str, grants: &[(&str, Role)], is_operator: bool, lifetime: Duration) -> String {
    let (grants, now) = (grants.to_vec(), now());
    mint(SECRET, &Minting { user, name: None, groups: Vec::new(), grants, is_operator, now, lifetime }).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

fn guarded() -> Node {
    Node::start(&["--auth-secret", SECRET])
}

/// A request that every route about a dashboard takes, as far as its right to be made goes.
async fn call(node: &Node, method: &str, path: &str, name: &str, token: Option<&str>) -> reqwest::Response {
    let path = path.replace("{name}", name).replace("{id}", "w1");
    let patch = "application/merge-patch+json";
    let body: &[u8] = if path.ends_with("/updates") { &[0, 0] } else { b"{}" };
    let request = Client::new().request(Method::from_bytes(method.as_bytes()).unwrap(), node.http(&path));
    let request = request.header("content-type", if method == "PATCH" { patch } else { "application/json" });
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.body(body).send().await.unwrap()
}

/// What reading a dashboard is answered with; 404 if nobody has written to it.
async fn read(node: &Node, name: &str, token: Option<&str>) -> u16 {
    call(node, "GET", "/api/dashboards/{name}/state", name, token).await.status().as_u16()
}

/// The table of `docs/SECURITY.md`: every role with every request, as the table of routes has them.
#[tokio::test]
async fn each_role_may_do_over_rest_what_its_capabilities_say() {
    let node = guarded();
    for role in Role::ALL {
        let token = token("ada", &[("acme/*", role)], HOUR);
        for (method, path, needed) in calls() {
            let status = call(&node, method, path, &format!("acme/{role}"), Some(&token)).await.status();
            let is_allowed = role.capabilities().contains(needed);
            assert_eq!(status == StatusCode::FORBIDDEN, !is_allowed, "{role} {method} {path}: {status}");
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{role} {method} {path}");
        }
    }
}

#[tokio::test]
async fn no_token_means_nothing_once_tokens_are_read() {
    let node = guarded();
    let good = token("ada", &[("acme/*", Role::Owner)], HOUR);
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    for (method, path, _) in calls() {
        for bad in [None, Some("opaque"), Some(&*unsigned)] {
            let answer = call(&node, method, path, "acme/sales", bad).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path} {bad:?}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
        // What is not there and what is not theirs look the same.
        let (other, absent) = (
            call(&node, method, path, "other/sales", Some(&good)).await,
            call(&node, method, path, "nowhere/x", Some(&good)).await,
        );
        assert_eq!((other.status(), absent.status()), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
        assert_eq!(other.text().await.unwrap(), absent.text().await.unwrap());
    }
}

/// Opens a socket, and says how it ends, or that it was let in.
async fn enter(node: &Node, path: &str, protocols: Option<&str>) -> Result<Option<String>, u16> {
    let mut request = node.ws(path).into_client_request().unwrap();
    if let Some(protocols) = protocols {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    }
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    let agreed = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
    loop {
        match tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap() {
            // The question for what the client has: it is in.
            Some(Ok(Message::Binary(frame))) if frame.starts_with(&[0, 0]) => return Ok(agreed),
            Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
            Some(Ok(_)) => {}
            ended => panic!("{ended:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_taken_wherever_a_client_can_put_it() {
    let node = guarded();
    let good = token("ada", &[("acme/*", Role::Editor)], HOUR);
    assert_eq!(enter(&node, &format!("/acme/sales?token={good}"), None).await, Ok(None));
    let offer = format!("ydash, token.{good}");
    assert_eq!(enter(&node, "/acme/sales", Some(&offer)).await, Ok(Some("ydash".into())));
    let url = node.http(&format!("/api/dashboards/acme/sales/state?token={good}"));
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_socket_is_refused_by_a_code_that_tells_a_client_what_to_do() {
    let node = guarded();
    let query = |token: &str| format!("/acme/sales?token={token}");
    assert_eq!(enter(&node, "/acme/sales", None).await, Err(4401));
    assert_eq!(enter(&node, &query("opaque"), None).await, Err(4401));
    let other = token("ada", &[("other/*", Role::Owner)], HOUR);
    assert_eq!(enter(&node, &query(&other), None).await, Err(4403));
    // One that ended a moment ago is got anew by whoever has a page; one of yesterday is not.
    let minting = |ago: u64| Minting {
        user: "ada",
        name: None,
        groups: Vec::new(),
        grants: vec![("acme/*", Role::Editor)],
        is_operator: false,
        now: Timestamp(now().0 - ago * 1000),
        lifetime: Duration::from_secs(60),
    };
    assert_eq!(enter(&node, &query(&mint(SECRET, &minting(90)).unwrap()), None).await, Err(4501));
    assert_eq!(enter(&node, &query(&mint(SECRET, &minting(3600)).unwrap()), None).await, Err(4401));
    let operator = Minting { is_operator: true, ..minting(0) };
    let metrics =
        Client::new().get(node.http("/metrics")).bearer_auth(mint(SECRET, &operator).unwrap()).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("ydash_refusals_total{reason=\"expired\"} 2"));
}

#[tokio::test]
async fn what_is_for_operators_needs_their_token_or_their_address() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = probe.local_addr().unwrap();
    drop(probe);
    let node = Node::start(&["--auth-secret", SECRET, "--admin-listen", &admin.to_string()]);
    let owner = token("ada", &[("acme/*", Role::Owner)], HOUR);
    let operator = operator();
    for path in ["/metrics", "/api/nodes", "/api/audit", "/api/inspector/node", "/api/inspector/rooms"] {
        let get = |token: Option<&str>| {
            let request = Client::new().get(node.http(path));
            match token {
                Some(token) => request.bearer_auth(token).send(),
                None => request.send(),
            }
        };
        assert_eq!(get(None).await.unwrap().status(), 401, "{path}");
        assert_eq!(get(Some(&owner)).await.unwrap().status(), 403, "{path}");
        assert_eq!(get(Some(&operator)).await.unwrap().status(), 200, "{path}");
        assert_eq!(reqwest::get(format!("http://{admin}{path}")).await.unwrap().status(), 200, "{path}");
    }
    // The page holds nothing itself.
    assert_eq!(reqwest::get(node.http("/inspector")).await.unwrap().status(), 200);
    // An operator is no owner, and the address opens no dashboard.
    assert_eq!(read(&node, "acme/sales", Some(&operator)).await, 403);
    assert_eq!(reqwest::get(format!("http://{admin}/api/dashboards/acme/sales/state")).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_private_document_is_for_its_user_alone() {
    let node = guarded();
    let ada = token("ada", &[], HOUR);
    let root = token("root", &[("acme/*", Role::Owner), ("acme/~ada", Role::Owner)], HOUR);
    assert_eq!(enter(&node, &format!("/acme/~ada?token={ada}"), None).await, Ok(None));
    assert_eq!(enter(&node, &format!("/acme/~ada?token={root}"), None).await, Err(4403));
    assert_eq!(enter(&node, &format!("/acme/~root?token={ada}"), None).await, Err(4403));
}

#[test]
fn ydash_token_prints_a_token_alone_on_a_line() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::support::node::binary())
            .env_clear()
            .env("YDASH_AUTH_SECRET", SECRET)
            .arg("token")
            .args(arguments)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_done, token, _) = run(&["--user", "ada", "--role", "editor", "--dashboard", "acme/sales", "--for", "1h"]);
    assert!(is_done && token.ends_with('\n') && token.lines().count() == 1 && token.split('.').count() == 3, "{token}");
    let claims: Value = serde_json::from_slice(&BASE64URL.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(claims["grants"], json!({ "acme/sales": "editor" }));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    let (_, link, _) =
        run(&["--user", "ada", "--dashboard", "acme/Q3 plan", "--link", "--url", "https://board.example/"]);
    assert!(link.starts_with("https://board.example/d/acme/Q3%20plan#token="), "{link}");
    let (_, pair, _) = run(&["--new-key"]);
    let pair: Value = serde_json::from_str(&pair).unwrap();
    assert_eq!(pair["public"]["kid"], pair["private"]["kid"]);
    for (arguments, named) in [
        (&["--role", "editor", "--dashboard", "a/b"][..], "--user"),
        (&["--user", "ada", "--role", "editor"], "--dashboard"),
        (&["--user", "ada", "--role", "admin", "--dashboard", "a/b"], "watcher, viewer, editor, owner"),
        (&["--user", "ada", "--role", "editor", "--dashboard", "*"], "acme/*"),
    ] {
        let (is_done, told, error) = run(arguments);
        assert!(!is_done && told.is_empty() && error.contains(named), "{arguments:?}: {error}");
    }
}

/// An identity provider: what it publishes, and how often it was asked.
struct Provider {
    address: std::net::SocketAddr,
    published: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    /// It answers nothing while this is locked.
    gate: Arc<tokio::sync::Mutex<()>>,
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwks(seeds: &[u8]) -> Value {
    let jwk = |seed: &u8| {
        let x = BASE64URL.encode(pair(*seed).public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": format!("k{seed}"), "x": x })
    };
    json!({ "keys": seeds.iter().map(jwk).collect::<Vec<_>>() })
}

impl Provider {
    async fn start(seeds: &[u8]) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (published, asked) = (Arc::new(Mutex::new(jwks(seeds))), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let (keys, count, open) = (Arc::clone(&published), Arc::clone(&asked), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let n = io.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                count.fetch_add(1, Ordering::Relaxed);
                let _open = open.lock().await;
                let body = if request.starts_with("GET /.well-known/openid-configuration ") {
                    json!({ "issuer": format!("http://{address}"), "jwks_uri": format!("http://{address}/keys") })
                } else {
                    keys.lock().unwrap().clone()
                };
                let body = body.to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = io.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await;
            }
        });
        Provider { address, published, asked, gate }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn publish(&self, seeds: &[u8]) {
        *self.published.lock().unwrap() = jwks(seeds);
    }

    fn sign(&self, seed: u8, changes: &Value) -> String {
        let seconds = now().0 / 1000;
        let mut claims =
            json!({ "iss": self.issuer(), "aud": "ydash", "sub": "ada", "iat": seconds, "exp": seconds + 600 });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let header = json!({ "alg": "EdDSA", "kid": format!("k{seed}") });
        let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        format!("{signed}.{}", BASE64URL.encode(pair(seed).sign(signed.as_bytes())))
    }
}

/// The keys of an issuer change while clients come: the new one is taken at once, the old one is gone, and nobody else is refused.
#[tokio::test]
async fn keys_are_discovered_and_rotate_under_load() {
    let provider = Provider::start(&[1]).await;
    let flags = ["--auth-issuer", &provider.issuer(), "--auth-audience", "ydash", "--auth-role", "editor"];
    let node = Node::start(&flags);
    until_ready(&node).await;
    let ask = |token: String| {
        let node = &node;
        async move { read(node, "acme/sales", Some(&token)).await }
    };
    assert_eq!(ask(provider.sign(1, &json!({}))).await, 200);
    provider.publish(&[2]);
    let asked = provider.asked.load(Ordering::Relaxed);
    // Many come with the new key before anybody knows it: they wait for one fetch.
    let tokens: Vec<String> = (0..30).map(|n| provider.sign(2, &json!({ "sub": format!("user{n}") }))).collect();
    let answers = futures_util::future::join_all(tokens.into_iter().map(ask)).await;
    assert_eq!(answers, vec![200; 30]);
    assert_eq!(provider.asked.load(Ordering::Relaxed) - asked, 2, "one fetch: of the metadata, and of the keys");
    assert_eq!(ask(provider.sign(1, &json!({ "sub": "late" }))).await, 503, "it may be of a set that is newer still");
    let remembered = provider.sign(1, &json!({}));
    assert_ne!(ask(remembered).await, 200, "what was verified with a key that is gone counts no more");
}

async fn until_ready(node: &Node) {
    let began = std::time::Instant::now();
    while reqwest::get(node.http("/readyz")).await.unwrap().status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "keys are not fetched: {:#?}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From a SIGHUP until the keys were fetched anew, nobody was let in.
#[tokio::test]
async fn keys_that_were_fetched_count_until_they_are_fetched_again_after_a_signal() {
    let provider = Provider::start(&[1]).await;
    let flags = ["--auth-issuer", &provider.issuer(), "--auth-audience", "ydash", "--auth-role", "editor"];
    let node = Node::start(&flags);
    until_ready(&node).await;
    let asked = provider.asked.load(Ordering::Relaxed);
    let held = provider.gate.lock().await;
    node.signal("HUP");
    let began = std::time::Instant::now();
    while provider.asked.load(Ordering::Relaxed) == asked {
        assert!(began.elapsed() < Duration::from_secs(20), "keys are not fetched again: {:#?}", node.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(read(&node, "acme/sales", Some(&provider.sign(1, &json!({})))).await, 200);
    drop(held);
    until_log(&node, "was read again").await;
    assert_eq!(read(&node, "acme/sales", Some(&provider.sign(1, &json!({ "sub": "bob" })))).await, 200);
}

#[tokio::test]
async fn a_token_makes_the_server_ask_nobody() {
    let (provider, evil) = (Provider::start(&[1]).await, Provider::start(&[1]).await);
    let keys = format!("{}/keys", provider.issuer());
    let flags = ["--auth-issuer", &provider.issuer(), "--auth-audience", "ydash", "--auth-keys", &keys];
    let node = Node::start(&flags);
    let foreign = evil.sign(1, &json!({}));
    let header = json!({ "alg": "EdDSA", "kid": "k1", "jku": format!("{}/keys", evil.issuer()) });
    let (_, rest) = foreign.split_once('.').unwrap();
    for token in [foreign.clone(), format!("{}.{rest}", BASE64URL.encode(header.to_string()))] {
        assert_eq!(read(&node, "acme/sales", Some(&token)).await, 401);
    }
    assert_eq!(evil.asked.load(Ordering::Relaxed), 0);
    let log = node.log().join("\n");
    assert!(log.contains("no issuer") && !log.contains(&foreign), "{log}");
}

/// The session whose token is renewed in place goes on; the one whose is not ends with a code upon which stock clients come back.
#[tokio::test]
async fn a_session_ends_with_its_token_unless_another_one_comes() {
    let node = guarded();
    let short = || token("ada", &[("acme/*", Role::Editor)], Duration::from_secs(4));
    let open =
        async || tokio_tungstenite::connect_async(node.ws(&format!("/acme/sales?token={}", short()))).await.unwrap().0;
    let (mut renewed, mut silent) = (open().await, open().await);
    let mut renewals = 0;
    let ended = async |socket: &mut tokio_tungstenite::WebSocketStream<_>, renewals: Option<&mut usize>| {
        let mut renewals = renewals;
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(frame))) if frame == [2, 1].as_slice() => {
                    let Some(renewals) = &mut renewals else { continue };
                    **renewals += 1;
                    if **renewals == 3 {
                        return None;
                    }
                    let token = short();
                    let mut message = vec![2, 0];
                    ydash_proto::lib0::write_var_uint(&mut message, token.len() as u64);
                    message.extend_from_slice(token.as_bytes());
                    socket.send(Message::Binary(message.into())).await.unwrap();
                }
                Some(Ok(Message::Close(Some(frame)))) => return Some(u16::from(frame.code)),
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::ConnectionClosed)) | None => return Some(0),
                Some(Err(error)) => panic!("{error}"),
            }
        }
    };
    let within = Duration::from_secs(30);
    let (one, other) = tokio::join!(
        tokio::time::timeout(within, ended(&mut renewed, Some(&mut renewals))),
        tokio::time::timeout(within, ended(&mut silent, None)),
    );
    assert_eq!(one.unwrap(), None, "it was asked for its token again and again, and stayed");
    assert_eq!(other.unwrap(), Some(4501));
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Opens a socket on `acme/sales`, or says how it was closed.
async fn join(node: &Node, token: &str) -> Result<Socket, (u16, String)> {
    let (mut socket, _) =
        tokio_tungstenite::connect_async(node.ws(&format!("/acme/sales?token={token}"))).await.unwrap();
    loop {
        match tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap() {
            Some(Ok(Message::Binary(frame))) if frame.starts_with(&[0, 0]) => return Ok(socket),
            Some(Ok(Message::Close(Some(frame)))) => return Err((frame.code.into(), frame.reason.to_string())),
            Some(Ok(_)) => {}
            ended => panic!("{ended:?}"),
        }
    }
}

/// The log says who was in which dashboard, from when to when and how, and nothing of what was written there.
#[tokio::test]
async fn sessions_are_in_the_audit_log_from_their_beginning_to_their_end() {
    let node = guarded();
    let ada = token("ada", &[("acme/*", Role::Editor)], HOUR);
    let mut first = Peer::open(&node, &format!("/acme/sales?token={ada}")).await;
    let url = node.ws("/hocuspocus");
    let mut second = Peer::try_open_document_as(&url, "acme/sales", &ada).await.expect("the server listens");
    for peer in [&mut first, &mut second] {
        // As stock clients do that have nothing to add: it is no update of theirs.
        peer.send([0_u8, 1, 2, 0, 0]).await;
        peer.send(forge::sync_step1(&[0])).await;
        peer.expect(|frame| frame.starts_with(&[0, 1])).await;
    }
    let typed = forge::update((1, 0), &[forge::in_root("t", forge::STRING, &forge::var_bytes("what it wrote"))], &[]);
    first.send(forge::live(&typed)).await;
    second.expect(|frame| frame.starts_with(&[0, 2])).await;
    drop((first, second));

    let began = std::time::Instant::now();
    let sessions: Vec<Value> = loop {
        let answer = Client::new().get(node.http("/api/audit?actor=ada")).bearer_auth(operator()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(!text.contains("what it wrote"), "{text}");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let sessions: Vec<Value> =
            lines.filter(|line| line["type"].as_str().unwrap().starts_with("session.")).collect();
        if sessions.len() == 4 {
            break sessions;
        }
        assert!(began.elapsed() < WITHIN, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for (dialect, updates) in [("y-websocket", 1), ("hocuspocus", 0)] {
        let of_it = sessions.iter().filter(|line| line["data"]["dialect"] == dialect);
        let [opened, closed] = of_it.collect::<Vec<_>>()[..] else { panic!("{sessions:?}") };
        assert_eq!((&opened["type"], &closed["type"]), (&json!("session.opened"), &json!("session.closed")));
        assert_eq!((&opened["target"], &opened["data"]["session"]), (&json!("acme/sales"), &closed["data"]["session"]));
        assert_eq!(closed["data"]["updates"], updates, "{closed}");
    }
}

/// A node's last checkpoint is in its log. It shows when lines were removed from the store since then.
#[tokio::test]
async fn checkpoints_in_the_log_show_what_was_cut_off_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (private, public) = ydash::auth::new_key().unwrap();
    std::fs::write(file("key.json"), json!({ "private": private }).to_string()).unwrap();
    std::fs::write(file("public.json"), public.to_string()).unwrap();
    let flags = ["--auth-secret", SECRET, "--audit-key", "key.json", "--node-name", "a"];
    let mut node = Node::start_in(directory.path(), &flags);
    drop(join(&node, &token("ada", &[("acme/*", Role::Editor)], HOUR)).await.unwrap());
    node.terminate(WITHIN).await;
    // A user may give a dashboard a name that looks like a checkpoint.
    let named = "dashboard=acme/ydash-audit.1.YQ.1.00.AA";
    std::fs::write(file("node.log"), node.log().join("\n") + "\n" + named).unwrap();

    let audit = |arguments: &[&str]| {
        let mut command = std::process::Command::new(binary());
        let output = command.current_dir(directory.path()).args(["audit"]).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, lines) = audit(&["export", "--store", "file:data"]);
    let lines: Vec<&str> = lines.lines().collect();
    let verified = |lines: &[&str]| {
        std::fs::write(file("lines"), lines.join("\n")).unwrap();
        audit(&["verify", "lines", "--key", "public.json", "--checkpoints", "node.log"])
    };
    let (is_whole, told) = verified(&lines);
    assert!(is_whole && told.contains("a checkpoint vouches for line"), "{told}");
    assert!(lines.last().unwrap().contains("node.stopped"), "{lines:?}");
    let (is_whole, told) = verified(&lines[..lines.len() - 1]);
    assert!(!is_whole && told.contains("was there at a checkpoint, and the last one is line"), "{told}");
    std::fs::write(file("public.json"), ydash::auth::new_key().unwrap().1.to_string()).unwrap();
    let (is_whole, told) = verified(&lines);
    assert!(!is_whole && told.contains("no checkpoint is signed with the key"), "{told}");
}

/// A user who reaches a limit is told its name, its value and when to come back. Other users are not affected.
#[tokio::test]
async fn limits_of_a_user_count_over_all_sessions_and_calls_and_others_do_not_notice() {
    let node = Node::start(&[
        "--auth-secret",
        SECRET,
        "--user-sessions-max=1",
        "--user-request-rate=1",
        "--user-request-burst=6",
        "--user-create-rate=60",
        "--user-create-burst=1",
    ]);
    let [ada, bob] = ["ada", "bob"].map(|user| token(user, &[("acme/*", Role::Editor)], HOUR));
    let first = join(&node, &ada).await.expect("it has a place");
    let refused = join(&node, &ada).await.expect_err("a second session");
    assert_eq!(refused, (1013, "user-sessions-max is 1: try again in 5 s".into()));
    assert!(join(&node, &bob).await.is_ok());
    drop(first);
    let began = std::time::Instant::now();
    while join(&node, &ada).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "its place is not given back");
    }

    let put = async |name: &str, title: &str, token: &str| {
        let url = node.http(&format!("/api/dashboards/{name}"));
        let request = Client::new().put(url).bearer_auth(token).header("content-type", "application/json");
        request.body(json!({ "meta": { "title": title } }).to_string()).send().await.unwrap()
    };
    let get = async |name: &str, token: &str| call(&node, "GET", "/api/dashboards/{name}", name, Some(token)).await;
    assert_eq!(put("acme/one", "first", &ada).await.status(), StatusCode::CREATED);
    let refused = put("acme/two", "second", &ada).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["error"], "user_limit");
    assert_eq!(problem["limit"], json!({ "name": "user-create-rate", "value": 60 }));
    assert_eq!(get("acme/two", &bob).await.status(), StatusCode::NOT_FOUND, "nothing was begun");
    assert_eq!(put("acme/one", "again", &ada).await.status(), StatusCode::OK, "what is there may be edited");
    assert_eq!(put("acme/two", "other", &bob).await.status(), StatusCode::CREATED);

    let mut refused = None;
    for _ in 0..100 {
        let answer = get("acme/one", &ada).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let problem: Value = refused.expect("a limit").json().await.unwrap();
    assert_eq!(problem["limit"], json!({ "name": "user-request-rate", "value": 1 }));
    assert_eq!(get("acme/one", &bob).await.status(), StatusCode::OK);

    let asked = Client::new().get(node.http("/metrics")).bearer_auth(operator());
    let metrics = asked.send().await.unwrap().text().await.unwrap();
    for reason in ["user_sessions", "user_create_rate", "user_request_rate"] {
        let counted = metrics.lines().find(|line| line.contains(&format!("reason=\"{reason}\""))).unwrap();
        assert!(!counted.ends_with(" 0"), "{counted}");
    }
}

async fn until_log(node: &Node, text: &str) {
    let began = std::time::Instant::now();
    while !node.log().iter().any(|line| line.contains(text)) {
        assert!(began.elapsed() < Duration::from_secs(20), "{text:?} is not logged: {:#?}", node.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An operator exchanges a key without a restart; one who writes a broken file locks nobody out.
#[tokio::test]
async fn keys_in_a_file_are_read_again_at_a_signal_and_a_broken_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.toml");
    let issuer = |secret: &str| {
        format!("[[issuer]]\nissuer = \"home\"\naudience = [\"ydash\"]\nsecret = \"{secret}\"\nrole = \"editor\"\n")
    };
    let (old, new) = ("the first secret of thirty-two bytes", "the other secret of thirty-two bytes");
    let signed = |secret: &str| {
        let seconds = now().0 / 1000;
        let claims = json!({ "iss": "home", "aud": "ydash", "sub": "ada", "iat": seconds, "exp": seconds + 600 });
        let header = json!({ "alg": "HS256" });
        let text = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        format!("{text}.{}", BASE64URL.encode(ring::hmac::sign(&key, text.as_bytes())))
    };
    std::fs::write(&path, issuer(old)).unwrap();
    let node = Node::start(&["--auth-file", path.to_str().unwrap()]);
    let (old_token, new_token) = (signed(old), signed(new));
    let status = async |token: &str| read(&node, "acme/sales", Some(token)).await;
    assert_eq!((status(&old_token).await, status(&new_token).await), (200, 401));
    let _held = join(&node, &old_token).await.expect("it is let in");

    std::fs::write(&path, "[[issuer]]\nissuer =").unwrap();
    node.signal("HUP");
    until_log(&node, "it stays as it was").await;
    assert_eq!((status(&old_token).await, status(&new_token).await), (200, 401));

    std::fs::write(&path, issuer(new)).unwrap();
    node.signal("HUP");
    until_log(&node, "was read again").await;
    assert_eq!((status(&old_token).await, status(&new_token).await), (401, 200));
}
