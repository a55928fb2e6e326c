//! HTTP and the WebSocket handshake over real sockets, with recorded sessions and dashboards behind them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;
use ydash::auth::Denied;
use ydash::config::{Config, Layers};
use ydash::http::{
    self, Attend, Attendance, Body, Dashboards, Destination, EditError, Edited, Etag, Handshake, Inspector, NoEntry,
    Noted, Outcome, PresenceState, Read, ReadError, Routes, Shown, SocketOptions, Upgraded, VersionCall,
    VersionRefusal, Wish, WriteError,
};
use ydash::ledger::Ledger;
use ydash::metrics::{Exposition, Memory, Metrics, Refusal};
use ydash::server;
use ydash::shutdown::Shutdown;
use ydash_proto::about::Standing;
use ydash_proto::access::{Access, Admission, Target};
use ydash_proto::document::edit::Place;
use ydash_proto::id::DashboardId;

#[tokio::test]
async fn a_stock_client_opens_a_socket() {
    let mut site = Site::start(&[]).await;
    let (mut client, response) =
        tokio_tungstenite::connect_async(site.ws("/ws/acme/sales%2F2026?acks=1&token=x")).await.unwrap();
    assert_eq!(response.status(), 101);
    let (handshake, leftover) = site.session().await;
    let target = target(handshake.destination).await.unwrap();
    assert_eq!(target.dashboard.as_str(), "acme/sales/2026");
    assert_eq!(target.admission, Admission::anonymous(Access::EDITOR));
    assert_eq!(handshake.options, SocketOptions { acks: true, echo: false });
    assert!(!handshake.deflate && leftover.is_empty());
    // What the session writes is what the client reads, with nothing between.
    assert_eq!(client.next().await.unwrap().unwrap().into_data().as_ref(), b"hi");
}

#[tokio::test]
async fn one_name_is_one_dashboard_on_every_path_and_in_rest() {
    let mut site = Site::start(&[]).await;
    let names = [
        ("my-room", "default/my-room"),
        ("team/sales", "team/sales"),
        ("default/team/sales", "team/sales"),
        ("my%20project/board", "default/my project/board"),
        ("user:1/notes", "default/user:1/notes"),
        ("a%5Cb", "default/a\\b"),
        ("q83v//ASN/", "q83v//ASN/"),
        ("/q83v", "default//q83v"),
        ("q83v/", "default/q83v/"),
        ("%20", "default/ "),
        ("constructor", "default/constructor"),
        // As another part of the path would be called.
        ("state", "default/state"),
        ("x%2Fstate", "x/state"),
    ];
    for (at, (name, dashboard)) in names.into_iter().enumerate() {
        for path in [format!("/{name}"), format!("/{}", name.replace('/', "%2F")), format!("/ws/{name}")] {
            let (_answer, _socket) = site.exchange(&handshake(&path, "")).await;
            let told = target(site.session().await.0.destination).await.unwrap();
            assert_eq!(told.dashboard.as_str(), dashboard, "{path}");
        }
        let content = format!("what is in number {at}.");
        let id = DashboardId::parse(dashboard).unwrap();
        site.dashboards.texts.lock().unwrap().insert(id, content.clone().into());
        for path in ["", "/state"] {
            let request = format!("GET /api/dashboards/{name}{path} HTTP/1.1\r\nHost: {}\r\n\r\n", site.address);
            let (answer, _socket) = site.exchange(&request).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&content), "{name}{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn one_path_is_for_documents_that_are_named_by_messages() {
    let mut site = Site::start(&["--anonymous-access=none"]).await;
    for path in ["/hocuspocus", "/hocuspocus/", "/hocuspocus?a=b"] {
        let (_client, _) = tokio_tungstenite::connect_async(site.ws(path)).await.unwrap();
        assert!(matches!(site.session().await.0.destination, Destination::Documents), "{path}");
    }
}

#[tokio::test]
async fn frames_sent_along_with_the_handshake_are_not_lost() {
    let mut site = Site::start(&[]).await;
    let mut socket = site.connect().await;
    let frames = b"\x82\x81\x00\x00\x00\x00\x03";
    socket.write_all(&[handshake("/room", "").as_bytes(), frames].concat()).await.unwrap();
    assert_eq!(site.session().await.1, frames.as_slice());
}

#[tokio::test]
async fn bad_names_open_and_are_marked_for_refusal() {
    let mut site = Site::start(&[]).await;
    let long = format!("/{}", "x".repeat(300));
    for (path, why) in [
        ("/", NoEntry::BadName),
        ("/ws/", NoEntry::BadName),
        ("/a/../b", NoEntry::BadName),
        ("/ws/a/%2e%2e", NoEntry::BadName),
        ("/a%00b", NoEntry::BadName),
        ("/%ff", NoEntry::BadName),
        (&long, NoEntry::BadName),
        ("/~alice", NoEntry::Denied(Denied::Forbidden)),
        ("/ws/acme/@approvals", NoEntry::Denied(Denied::Forbidden)),
        ("/ws/acme/%7Ealice", NoEntry::Denied(Denied::Forbidden)),
    ] {
        let (answer, _socket) = site.exchange(&handshake(path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{path}: {answer}");
        assert_eq!(target(site.session().await.0.destination).await, Err(why), "{path}");
    }
}

#[tokio::test]
async fn without_anonymous_access_nobody_enters() {
    let mut site = Site::start(&["--anonymous-access=none"]).await;
    let (_answer, _socket) = site.exchange(&handshake("/room", "")).await;
    assert_eq!(target(site.session().await.0.destination).await, Err(NoEntry::Denied(Denied::Forbidden)));
    assert_eq!(site.get("/api/dashboards/default/room").await.0, 403);
}

#[tokio::test]
async fn read_only_access_reaches_sessions_and_writes() {
    let mut site = Site::start(&["--anonymous-access=read-only"]).await;
    let (_answer, _socket) = site.exchange(&handshake("/room", "")).await;
    assert_eq!(target(site.session().await.0.destination).await.unwrap().admission.access, Access::VIEWER);
    assert_eq!(site.get("/api/dashboards/default/room").await.0, 200);
    assert_eq!(site.post("/api/dashboards/default/room/updates", b"update").await.0, 403);
}

#[tokio::test]
async fn the_first_offered_subprotocol_is_chosen() {
    let site = Site::start(&[]).await;
    let (answer, _socket) = site.exchange(&handshake("/room", "Sec-WebSocket-Protocol: yauth-x, other\r\n")).await;
    assert!(answer.contains("sec-websocket-protocol: yauth-x\r\n"), "{answer}");
    let (answer, _socket) = site.exchange(&handshake("/room", "")).await;
    assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
}

#[tokio::test]
async fn compression_is_agreed_on_when_offered() {
    let mut site = Site::start(&[]).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (answer, _socket) = site.exchange(&handshake("/room", offer)).await;
    let agreed =
        "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    assert!(answer.contains(agreed), "{answer}");
    assert!(site.session().await.0.deflate);

    let mut site = Site::start(&["--compress-bytes-max=0"]).await;
    let (answer, _socket) = site.exchange(&handshake("/room", offer)).await;
    assert!(!answer.contains("permessage-deflate"), "{answer}");
    assert!(!site.session().await.0.deflate);
}

#[tokio::test]
async fn the_accept_key_is_rfc_6455s() {
    let site = Site::start(&[]).await;
    let (answer, _socket) = site.exchange(&handshake("/room", "")).await;
    // RFC 6455 §1.3's own example.
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
}

#[tokio::test]
async fn broken_handshakes_are_refused() {
    let site = Site::start(&[]).await;
    let good = handshake("/room", "");
    for (request, status) in [
        (good.replace("Connection: keep-alive, Upgrade\r\n", ""), 400),
        (good.replace("GET", "POST"), 400),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 400),
        (good.replace("Version: 13", "Version: 8"), 426),
        (good.replace("Sec-WebSocket-Version: 13\r\n", ""), 426),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400),
    ] {
        let (answer, _socket) = site.exchange(&request).await;
        assert!(answer.contains(&format!(" {status} ")), "{request}\n{answer}");
    }
    assert_eq!(site.metrics.refusals.get(Refusal::BadHandshake), 7);
    assert_eq!(site.metrics.sessions.get(), 0);
}

#[tokio::test]
async fn other_upgrades_are_offers_that_are_ignored() {
    let site = Site::start(&[]).await;
    let request =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
    let (answer, _socket) = site.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_list_of_origins_says_whose_pages_may_connect() {
    let site = Site::start(&["--allowed-origins=https://app.example.org,http://localhost:5173"]).await;
    for (origin, status) in [
        ("Origin: https://app.example.org\r\n", 101),
        ("Origin: http://localhost:5173\r\n", 101),
        ("", 101), // no browser
        ("Origin: https://evil.example.org\r\n", 403),
        ("Origin: https://app.example.org.evil.org\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        let (answer, _socket) = site.exchange(&handshake("/room", origin)).await;
        assert!(answer.contains(&format!(" {status} ")), "{origin}: {answer}");
    }
    assert_eq!(site.metrics.refusals.get(Refusal::Origin), 3);
}

/// Every page on the web could open sockets to a developer's machine, and write by requests that need no permission.
#[tokio::test]
async fn by_default_only_pages_of_loopback_origins_come_in() {
    let site = Site::start(&[]).await;
    let client = reqwest::Client::new();
    let path = "/api/dashboards/default/room";
    for (origin, is_taken) in [
        (Some("http://localhost:5173"), true), // a development server
        (Some("https://127.0.0.1"), true),
        (None, true),
        (Some("https://evil.example.org"), false),
        (Some("http://localhost.evil.example.org"), false),
        (Some("null"), false),
    ] {
        let line = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let (answer, _socket) = site.exchange(&handshake("/room", &line)).await;
        assert!(answer.contains(if is_taken { " 101 " } else { " 403 " }), "{origin:?}: {answer}");
        for (request, taken) in [
            (client.post(site.url(&format!("{path}/updates"))).body("update"), 200),
            (client.post(site.url(&format!("{path}/stateless"))).body("hi"), 202),
            (client.get(site.url(path)), 200),
            (client.get(site.url("/api/nodes")), 200),
            (client.get(site.url("/metrics")), 200),
        ] {
            let request = origin.iter().fold(request, |request, origin| request.header("origin", *origin));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), if is_taken { taken } else { 403 }, "{origin:?}");
            if !is_taken {
                let told: Value = answer.json().await.unwrap();
                assert_eq!(told["error"], "origin");
                assert!(told["message"].as_str().unwrap().contains("allowed-origins"), "{told}");
            }
        }
    }
    let put =
        client.put(site.url("/api/dashboards/default/new")).body("{}").header("origin", "https://evil.example.org");
    assert_eq!(put.send().await.unwrap().status(), 403);
    assert_eq!(site.metrics.refusals.get(Refusal::Origin), 3 * 6 + 1);
    assert!(
        site.metrics
            .expose(Exposition::OpenMetrics)
            .contains(r#"ydash_http_requests_total{route="updates",status="403"} 3"#)
    );
}

#[tokio::test]
async fn pages_that_may_connect_may_read_what_is_answered() {
    let site = Site::start(&["--allowed-origins=https://app.example.org"]).await;
    let client = reqwest::Client::new();
    let path = "/api/dashboards/default/room";
    let ask = |path: &str, origin: &str| {
        let request = client.request(reqwest::Method::OPTIONS, site.url(path)).header("origin", origin.to_owned());
        request.header("access-control-request-method", "PATCH").header("access-control-request-headers", "if-match")
    };
    let asked = ask(path, "https://app.example.org").send().await.unwrap();
    assert_eq!(asked.status(), 204);
    assert_eq!(asked.headers()["access-control-allow-origin"], "https://app.example.org");
    assert_eq!(asked.headers()["access-control-allow-methods"], "PUT, GET, PATCH, DELETE");
    assert!(asked.headers()["access-control-allow-headers"].to_str().unwrap().contains("if-match"));
    assert!(!asked.headers().contains_key("access-control-allow-credentials"));
    assert_eq!(ask(path, "https://evil.example.org").send().await.unwrap().status(), 403);
    for (path, status) in [("/api/nodes", 405), ("/api/inspector/rooms", 405), ("/api/none", 404)] {
        assert_eq!(ask(path, "https://app.example.org").send().await.unwrap().status(), status, "{path}");
    }
    // What failed is read as well, what is for operators is not.
    for (path, is_read) in [(path, true), ("/api/none", true), ("/api/openapi.json", true), ("/api/nodes", false)] {
        let get = || client.get(site.url(path));
        let answer = get().header("origin", "https://app.example.org").send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").map(|origin| origin.to_str().unwrap());
        assert_eq!(allowed, is_read.then_some("https://app.example.org"), "{path}");
        assert!(!get().send().await.unwrap().headers().contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn the_page_of_the_interface_loads_nothing_but_its_own_files() {
    let site = Site::start(&[]).await;
    for (path, content_type) in [
        ("/api/docs", "text/html; charset=utf-8"),
        ("/api/docs/page.css", "text/css; charset=utf-8"),
        ("/api/docs/page.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = reqwest::get(site.url(path)).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("http://") && !text.contains("https://"), "{path}");
    }
}

/// A page whose own name is made to resolve to 127.0.0.1 reads what it likes: to its browser it is the server's own.
#[tokio::test]
async fn on_loopback_nothing_but_probes_is_answered_under_a_foreign_name() {
    let site = Site::start(&[]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: evil.example.org:1234\r\n\r\n");
    for path in ["/", "/app.js", "/inspector", "/metrics", "/api/nodes", "/api/dashboards/default/room"] {
        let (answer, _socket) = site.exchange(&get(path)).await;
        assert!(answer.contains(" 403 ") && answer.contains("allowed-hosts"), "{path}: {answer}");
    }
    let rebound = handshake("/healthz", "Origin: http://evil.example.org:1234\r\n");
    let (answer, _socket) = site.exchange(&rebound.replace("Host: localhost", "Host: evil.example.org:1234")).await;
    assert!(answer.contains(" 403 ") && answer.contains(r#""error":"host""#), "{answer}");
    for path in ["/healthz", "/readyz"] {
        assert!(site.exchange(&get(path)).await.0.contains(" 200 "), "{path}");
    }
    assert_eq!(site.metrics.refusals.get(Refusal::Host), 7);
    let site = Site::start(&["--allowed-hosts=evil.example.org"]).await;
    assert!(site.exchange(&get("/metrics")).await.0.contains(" 200 "));
}

#[tokio::test]
async fn a_full_address_is_told_the_limit_and_may_come_back() {
    let site = Site::start(&["--sessions-per-address-max=2"]).await;
    let first = site.exchange(&handshake("/a", "")).await;
    let _second = site.exchange(&handshake("/b", "")).await;
    let (answer, _socket) = site.exchange(&handshake("/c", "")).await;
    assert!(answer.contains(" 503 ") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains(r#""limit":{"name":"sessions-per-address-max","value":2}"#), "{answer}");
    assert_eq!(site.metrics.refusals.get(Refusal::SessionLimit), 1);
    // Plain requests are served all the same.
    assert_eq!(site.get("/healthz").await.0, 200);
    drop(first);
    eventually(|| site.metrics.sessions.get() == 1).await;
    assert!(site.exchange(&handshake("/c", "")).await.0.contains(" 101 "));
}

#[tokio::test]
async fn joins_beyond_the_rate_are_refused_before_the_upgrade() {
    let site = Site::start(&["--address-join-rate=1", "--address-join-burst=3"]).await;
    for _ in 0..3 {
        assert!(site.exchange(&handshake("/a", "")).await.0.contains(" 101 "));
    }
    let (answer, _socket) = site.exchange(&handshake("/a", "")).await;
    assert!(answer.contains(" 503 ") && answer.contains("join_rate"), "{answer}");
    assert_eq!(site.metrics.refusals.get(Refusal::JoinRate), 1);
}

#[tokio::test]
async fn the_clients_of_a_trusted_proxy_are_counted_one_by_one() {
    let mut site = Site::start(&["--trusted-proxies=127.0.0.0/8", "--sessions-per-address-max=1"]).await;
    let from = |address: &str| handshake("/a", &format!("X-Forwarded-For: 9.9.9.9, {address}\r\n"));
    let (answer, _first) = site.exchange(&from("192.0.2.1")).await;
    assert!(answer.contains(" 101 "), "{answer}");
    assert_eq!(site.session().await.0.from.address.to_string(), "192.0.2.1");
    assert!(site.exchange(&from("192.0.2.1")).await.0.contains(" 503 "));
    assert!(site.exchange(&from("192.0.2.2")).await.0.contains(" 101 "));
}

#[tokio::test]
async fn a_client_cannot_claim_an_address() {
    let mut site = Site::start(&[]).await;
    let (_answer, _socket) = site.exchange(&handshake("/a", "X-Forwarded-For: 192.0.2.1\r\n")).await;
    assert_eq!(site.session().await.0.from.address.to_string(), "127.0.0.1");
}

/// nginx takes Upgrade off unless told otherwise, and what its operator saw was 404.
#[tokio::test]
async fn a_handshake_that_lost_its_upgrade_header_on_the_way_is_told_so() {
    let site = Site::start(&[]).await;
    let proxied = "GET /my-room HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut socket = site.connect().await;
    socket.write_all(proxied.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 400 ") && answer.contains("the Upgrade header is missing"), "{answer}");
    assert_eq!(site.metrics.refusals.get(Refusal::BadHandshake), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let site = Site::start(&["--header-timeout=100ms"]).await;
    let mut silent = site.connect().await;
    let mut slow = site.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    for socket in [&mut silent, &mut slow] {
        let mut told = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut told)).await.unwrap().unwrap();
        assert!(!told.starts_with(b"HTTP/1.1 2"), "{told:?}");
    }
}

/// A browser's cookies and what a CDN, an access proxy and a mesh add were more than 64 lines, or 16 KiB.
#[tokio::test]
async fn a_head_that_browsers_and_proxies_add_up_to_is_taken() {
    let site = Site::start(&[]).await;
    let lines: String = (0..120).map(|at| format!("X-Added-By-A-Proxy-{at}: {at}\r\n")).collect();
    let cookies = format!("Cookie: session={}\r\n", "c".repeat(16 << 10));
    let token = format!("X-Access-Assertion: {}\r\n", "j".repeat(8 << 10));
    for headers in
        [&lines, &(cookies.clone() + &token), &(lines[..2000].rsplit_once("X-").unwrap().0.to_owned() + &cookies)]
    {
        let (answer, _socket) = site.exchange(&handshake("/room", headers)).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let site = Site::start(&[]).await;
    let (answer, _socket) = site.exchange(&handshake(&format!("/{}", "x".repeat(40_000)), "")).await;
    assert!(answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let (answer, _socket) = site.exchange(&handshake("/room", &"X: y\r\n".repeat(200))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn dashboards_are_read_and_written() {
    let site = Site::start(&[]).await;
    let path = "/api/dashboards/acme/sales/2026";
    assert_eq!(site.get(path).await, (200, json!({ "content": "" })));
    assert_eq!(site.post(&format!("{path}/updates"), b"update").await, (200, json!({ "durable": true })));
    assert_eq!(site.get(path).await, (200, json!({ "content": "update" })));
    // An encoded slash is part of the name.
    assert_eq!(site.get("/api/dashboards/acme/sales%2F2026").await, (200, json!({ "content": "update" })));
    let response = reqwest::get(site.url(&format!("{path}/state?sv=AQID"))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.bytes().await.unwrap(), "update without [1, 2, 3]");
    assert_eq!(reqwest::get(site.url(&format!("{path}/state"))).await.unwrap().bytes().await.unwrap(), "update");
}

#[tokio::test]
async fn stateless_messages_are_sent_to_who_is_there() {
    let viewers = Site::start(&["--anonymous-access=read-only"]).await;
    let path = "/api/dashboards/acme/sales/stateless";
    assert_eq!(viewers.post(path, b"hi").await.0, 403);
    let site = Site::start(&["--stateless-bytes-max=10B"]).await;
    assert_eq!(site.post(path, "fünf".as_bytes()).await, (202, json!({ "sent": true })));
    assert_eq!(site.get("/api/dashboards/acme/sales").await, (200, json!({ "content": "fünf" })));
    assert_eq!(site.post(path, b"\xff").await.0, 400);
    let (status, answer) = site.post(path, &[b'x'; 11]).await;
    assert_eq!((status, &answer["limit"]["name"]), (413, &json!("stateless-bytes-max")));
    assert_eq!(site.get(path).await.0, 405);
}

#[tokio::test]
async fn what_is_put_is_bounded_and_needs_the_right_to_edit() {
    let site = Site::start(&[]).await;
    let put = |body: Vec<u8>| reqwest::Client::new().put(site.url("/api/dashboards/acme/new")).body(body).send();
    let status = |sent: Result<reqwest::Response, _>| sent.unwrap().status().as_u16();
    assert_eq!(status(put(b"{}".to_vec()).await), 201);
    assert_eq!(status(put(b"{}".to_vec()).await), 200);
    let large: serde_json::Value = put(vec![b' '; (8 << 20) + 1]).await.unwrap().json().await.unwrap();
    assert_eq!(large["limit"], json!({ "name": "edit-bytes-max", "value": 8 << 20 }));
    let site = Site::start(&["--anonymous-access=read-only"]).await;
    assert_eq!(status(reqwest::Client::new().put(site.url("/api/dashboards/acme/new")).body("{}").send().await), 403);
}

#[tokio::test]
async fn a_problem_is_one_of_rfc_9457_with_the_fields_that_were_there_before() {
    let site = Site::start(&[]).await;
    let answer = reqwest::get(site.url("/api/dashboards/acme/~alice")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["type"].as_str().unwrap().ends_with("/docs/API.md#forbidden"), "{problem}");
    assert_eq!((&problem["status"], &problem["title"]), (&json!(403), &json!("Forbidden")));
    assert_eq!((&problem["error"], &problem["message"]), (&json!("forbidden"), &problem["detail"]));
}

#[tokio::test]
async fn a_name_may_end_like_a_resource() {
    let site = Site::start(&[]).await;
    assert_eq!(site.post("/api/dashboards/acme/a%2Fstate/updates", b"x").await.0, 200);
    assert_eq!(site.get("/api/dashboards/acme/a%2Fstate").await, (200, json!({ "content": "x" })));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_json() {
    let site = Site::start(&["--frame-bytes-max=1KiB"]).await;
    let updates = "/api/dashboards/acme/a/updates";
    for (answer, status, error) in [
        (site.get("/nothing").await, 404, "not_found"),
        (site.post("/healthz", b"").await, 405, "method_not_allowed"),
        (site.get("/api/dashboards/").await, 404, "bad_name"),
        (site.get("/api/dashboards/acme/a%0ab").await, 404, "bad_name"),
        (site.get("/api/dashboards/acme/~alice").await, 403, "forbidden"),
        (site.post("/api/dashboards/acme/@approvals/updates", b"x").await, 403, "forbidden"),
        (site.get("/api/dashboards/acme/a/state?sv=!").await, 400, "bad_request"),
        (site.get("/api/dashboards/acme/a/updates").await, 405, "method_not_allowed"),
        (site.post(updates, b"garbage").await, 400, "malformed_update"),
        (site.post(updates, b"hole").await, 409, "incomplete_update"),
        (site.post(updates, b"large").await, 413, "too_large"),
        (site.post(updates, &[7; 1025]).await, 413, "too_large"),
        (site.post(updates, b"down").await, 503, "store_unavailable"),
        (site.get("/api/dashboards/acme/down").await, 503, "store_unavailable"),
    ] {
        assert_eq!((answer.0, answer.1["error"].as_str()), (status, Some(error)), "{answer:?}");
        assert!(answer.1["message"].is_string());
    }
    let down = reqwest::get(site.url("/api/dashboards/acme/down")).await.unwrap();
    assert!(down.headers().contains_key("retry-after"));
    let large = site.post(updates, &[7; 2000]).await.1;
    assert_eq!(large["limit"], json!({ "name": "frame-bytes-max", "value": 1024 }));
    let (_, name) = site.get("/api/dashboards/").await;
    assert!(name["message"].as_str().unwrap().starts_with("no dashboard can have this name: "), "{name}");
    assert_eq!(site.metrics.refusals.get(Refusal::MalformedUpdate), 1);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let site = Site::start(&["--frame-bytes-max=1KiB"]).await;
    let mut request = String::from(
        "POST /api/dashboards/a/b/updates HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for _ in 0..50 {
        request += &format!("64\r\n{}\r\n", "x".repeat(100));
    }
    let (answer, _socket) = site.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// Nine bodies that never ended held what all writers shared, until everybody had waited for half a minute.
#[tokio::test]
async fn a_body_that_stands_still_is_cut_and_told_why() {
    let site = Site::start(&["--transfer-timeout=100ms"]).await;
    let request = "POST /api/dashboards/a/b/updates HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    let (answer, _socket) = site.exchange(&format!("{request}{}", "x".repeat(50_000))).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("transfer-timeout"), "{answer}");
    assert_eq!(site.metrics.refusals.get(Refusal::SlowBody), 1);
    assert_eq!(site.ledger.used(), 0);
}

/// Forty answers of 40 MiB that nobody read were held for as long as their sockets stayed.
/// What stands around the bytes of a body is not the body: it neither fills memory nor keeps the pace.
#[tokio::test]
async fn a_body_of_chunk_heads_and_nothing_else_is_cut() {
    let site = Site::start(&["--transfer-timeout=200ms"]).await;
    let mut socket = site.connect().await;
    let head = "POST /api/dashboards/a/b/updates HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;";
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let trickle = tokio::spawn(async move { while writer.write_all(b"x").await.is_ok() {} });
    let mut answer = Vec::new();
    // Whether it is the pace or the bound of extensions that comes first.
    let _ = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    trickle.await.unwrap();
    assert_eq!(site.ledger.used(), 0);
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_charged_and_given_up() {
    let site = Site::start(&["--transfer-timeout=300ms", "--address-byte-burst=1GiB"]).await;
    let bytes = 15 << 20;
    assert_eq!(site.post("/api/dashboards/acme/a/updates", &vec![b'x'; bytes]).await.0, 200);
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let mut socket = socket.connect(site.address).await.unwrap();
        socket.write_all(b"GET /api/dashboards/acme/a/state HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        deaf.push(socket);
    }
    assert!(site.ledger.used() >= bytes, "{} bytes are charged", site.ledger.used());
    eventually(|| site.metrics.refusals.get(Refusal::Stuck) == 3).await;
    eventually(|| site.ledger.used() == 0).await;
}

#[tokio::test]
async fn an_address_that_holds_too_much_is_told_before_anything_is_done_for_it() {
    let site = Site::start(&["--memory-max=64MiB"]).await;
    assert_eq!(site.post("/api/dashboards/acme/a/updates", b"hi").await.0, 200);
    let mut held = site.ledger.lease("127.0.0.1".parse().unwrap(), Memory::Messages);
    held.charge(64 << 20);
    let (status, told) = site.get("/api/dashboards/acme/a").await;
    assert_eq!((status, &told["error"]), (503, &json!("memory")));
    assert!(told["message"].as_str().unwrap().contains("memory-max"), "{told}");
    assert_eq!(site.metrics.refusals.get(Refusal::Memory), 1);
    drop(held);
    assert_eq!(site.get("/api/dashboards/acme/a").await.0, 200);
}

#[tokio::test]
async fn rest_calls_beyond_the_rate_are_told_the_limit_and_when_to_come_back() {
    let site = Site::start(&["--address-request-rate=1", "--address-request-burst=3"]).await;
    let path = "/api/dashboards/acme/a";
    for _ in 0..3 {
        assert_eq!(site.get(path).await.0, 200);
    }
    // A slow machine earns another call meanwhile.
    let spent = async || while site.get(path).await.0 == 200 {};
    for resource in ["", "/state", "/state?sv=AA"] {
        spent().await;
        let answer = reqwest::get(site.url(&format!("{path}{resource}"))).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["limit"], json!({ "name": "address-request-rate", "value": 1 }));
    }
    for resource in ["/updates", "/stateless"] {
        spent().await;
        let (status, told) = site.post(&format!("{path}{resource}"), b"x").await;
        assert_eq!((status, &told["error"]), (429, &json!("request_rate")));
    }
    spent().await;
    let put = reqwest::Client::new().put(site.url("/api/dashboards/acme/b")).body("{}").send().await.unwrap();
    assert_eq!(put.status(), 429);
    assert_eq!(site.metrics.refusals.get(Refusal::RequestRate), 12, "six calls, and one before each");
    for status in [200, 200, 200, 429] {
        assert_eq!(
            reqwest::get(site.url("/metrics")).await.unwrap().status(),
            status,
            "watching has a bucket of its own"
        );
    }
    assert_eq!(site.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn what_rest_reads_and_writes_for_an_address_has_a_rate() {
    for (flags, is_refused) in [
        (&["--address-byte-rate=1KiB", "--address-byte-burst=1KiB"][..], true),
        (&["--address-byte-rate=1GiB", "--address-byte-burst=1GiB"][..], false),
    ] {
        let site = Site::start(flags).await;
        assert_eq!(
            site.post("/api/dashboards/acme/a/updates", &[b'x'; 100_000]).await.0,
            200,
            "a large one passes alone"
        );
        let (status, told) = site.get("/api/dashboards/acme/a").await;
        assert_eq!(status, if is_refused { 429 } else { 200 });
        assert_eq!(told["error"] == "byte_rate" && told["limit"]["name"] == "address-byte-rate", is_refused, "{told}");
    }
}

#[tokio::test]
async fn probes_tell_life_readiness_and_numbers() {
    let site = Site::start(&[]).await;
    assert_eq!(site.get("/healthz").await.0, 200);
    assert_eq!(site.get("/readyz").await, (200, json!({ "status": "ready" })));
    site.metrics.store_up.set(0);
    assert_eq!(site.get("/readyz").await, (503, json!({ "status": "store_unavailable" })));
    assert_eq!(site.get("/healthz").await.0, 200);
    let head = reqwest::Client::new().head(site.url("/healthz")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let response = reqwest::get(site.url("/metrics")).await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    assert!(text.contains(r#"ydash_http_requests_total{route="readyz",status="503"} 1"#), "{text}");
}

#[tokio::test]
async fn the_pages_and_what_they_load_are_in_the_binary() {
    let site = Site::start(&[]).await;
    for (path, least) in [("/", 3), ("/inspector", 3)] {
        let page = reqwest::get(site.url(path)).await.unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        let page = page.text().await.unwrap();
        let links = page.split(['"']).filter(|part| part.starts_with('/') && part.contains('.'));
        let mut loaded = 0;
        for link in links {
            let file = reqwest::get(site.url(link)).await.unwrap();
            assert_eq!(file.status(), 200, "{link}");
            let lasts = file.headers()["cache-control"].to_str().unwrap().contains("immutable");
            assert_eq!(lasts, link.starts_with("/chunk-"), "{link}");
            loaded += 1;
        }
        assert!(loaded >= least, "{path} loads {loaded} files");
    }
    let unasked = reqwest::get(site.url("/favicon.ico")).await.unwrap();
    assert_eq!(
        (unasked.status(), &unasked.headers()["content-type"]),
        (StatusCode::OK, &"image/svg+xml".parse().unwrap())
    );
}

#[tokio::test]
async fn a_dashboard_has_an_address_for_browsers() {
    let site = Site::start(&[]).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let page = reqwest::get(site.url("/d/team/sales")).await.unwrap();
    assert_eq!(
        (page.status(), &page.headers()["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    for (path, to) in [("/sales", "/d/default/sales"), ("/team/sales%20a", "/d/team/sales%20a")] {
        let moved = client.get(site.url(path)).header("accept", "text/html,*/*").send().await.unwrap();
        assert_eq!((moved.status(), moved.headers()["location"].to_str().unwrap()), (StatusCode::FOUND, to), "{path}");
    }
    for path in ["/api/sales", "//example.org/a"] {
        let unmoved = client.get(site.url(path)).header("accept", "text/html").send().await.unwrap();
        assert_eq!(unmoved.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(client.get(site.url("/sales")).send().await.unwrap().status(), StatusCode::NOT_FOUND, "not a browser");
}

#[tokio::test]
async fn pushed_values_are_kept_and_told_to_whoever_listens() {
    let site = Site::start(&[]).await;
    let data = "/api/dashboards/team/sales/widgets/orders/data";
    assert_eq!(site.get("/api/dashboards/team/sales/pushed").await.1["widgets"], json!({}));
    assert_eq!(site.post(data, b"[1,2]").await, (202, json!({ "points": 2 })));
    let client = reqwest::Client::new();
    let mut stream = client
        .get(site.url("/api/dashboards/team/sales/pushed"))
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let all = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(all.starts_with("event: all\ndata: {") && all.contains(r#""value":2.0"#), "{all}");
    assert_eq!(site.post(data, br#"{"at":5,"orders":7}"#).await.0, 202);
    let news = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(news.starts_with("event: news\ndata: {") && news.contains(r#"{"at":5,"values":{"orders":7.0}}"#), "{news}");
    assert!(!news.contains(r#""value":2.0"#), "told twice: {news}");
    // Nobody else's, and not the document's.
    assert_eq!(site.get("/api/dashboards/team/other/pushed").await.1["widgets"], json!({}));
}

#[tokio::test]
async fn pushes_that_are_none_or_too_much_are_refused_by_their_limit() {
    let site = Site::start(&[]).await;
    let data = "/api/dashboards/team/sales/widgets/orders/data";
    for (body, status, code) in [
        (&b"{}"[..], 400, "bad_request"),
        (b"nope", 400, "bad_request"),
        (&[b'['; 300_000], 413, "too_large"),
        (format!("[{}1]", "1,".repeat(3_600)).as_bytes(), 422, "push_limit"),
    ] {
        let (answered, told) = site.post(data, body).await;
        assert_eq!((answered, &told["error"]), (status, &json!(code)), "{told}");
    }
    let many = format!("[{}1]", "1,".repeat(3_599));
    for status in [202, 202, 429] {
        let (answered, told) = site.post(data, many.as_bytes()).await;
        assert_eq!(answered, status, "{told}");
    }
    assert!(site.metrics.pushed_bytes.get() > 0);
    assert_eq!(site.metrics.pushed_points.get(), 7_200);
    let looks = Site::start(&["--anonymous-access=read-only"]).await;
    assert_eq!(looks.post(data, b"1").await.0, 403);
    assert_eq!(looks.get("/api/dashboards/team/sales/pushed").await.0, 200);
}

#[tokio::test]
async fn files_of_the_page_travel_compressed_and_only_once() {
    let site = Site::start(&[]).await;
    let client = reqwest::Client::new();
    let plain = client.get(site.url("/app.js")).send().await.unwrap();
    let tag = plain.headers()["etag"].clone();
    let plain = plain.bytes().await.unwrap();
    let packed = client.get(site.url("/app.js")).header("accept-encoding", "br, gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() * 2 < plain.len());
    // What follows the ten bytes of the header is deflate, then a checksum and the length.
    let inflated = ydash::compress::inflate(&packed[10..packed.len() - 8], plain.len());
    assert_eq!(inflated.unwrap(), plain);
    let known = client.get(site.url("/app.js")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert!(known.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn sessions_are_counted_until_they_end() {
    let mut site = Site::start(&[]).await;
    let (_answer, socket) = site.exchange(&handshake("/room", "")).await;
    site.session().await;
    assert_eq!(site.metrics.sessions.get(), 1);
    drop(socket);
    eventually(|| site.metrics.sessions.get() == 0).await;
}

#[tokio::test]
async fn a_drain_answers_requests_in_flight_and_accepts_nothing_more() {
    let site = Site::start(&[]).await;
    let address = site.address;
    let mut kept_alive = site.connect().await;
    kept_alive.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_answer(&mut kept_alive).await;
    let url = site.url("/api/dashboards/acme/a/updates");
    let slow = tokio::spawn(async move { reqwest::Client::new().post(url).body("slow").send().await });
    site.dashboards.slow_began.notified().await;

    site.shutdown.begin();
    // An idle connection ends, so that its client goes elsewhere.
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), kept_alive.read_to_end(&mut rest)).await.unwrap().unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    site.dashboards.slow_may_end.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(site.served.await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let site = Site::start(&["--drain-deadline=50ms"]).await;
    let _held = site.exchange(&handshake("/room", "")).await;
    site.shutdown.begin();
    assert_eq!(site.served.await.unwrap(), 1);
}

/// A server with recorders behind it.
struct Site {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
    dashboards: Arc<Recorded>,
    sessions: mpsc::UnboundedReceiver<(Handshake, Bytes)>,
    served: tokio::task::JoinHandle<usize>,
}

impl Site {
    async fn start(flags: &[&str]) -> Site {
        crate::support::let_reqwest_work();
        let flags = flags.iter().map(|flag| flag.trim_start_matches("--").split_once('=').unwrap());
        let flags = [("listen", "127.0.0.1:0")].into_iter().chain(flags);
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (config, _) = Config::load(&Layers { flags, ..Layers::default() }).unwrap();
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
        let (recorder, sessions) = mpsc::unbounded_channel();
        let dashboards = Arc::new(Recorded::default());
        let known = dashboards.clone();
        let ledger = Ledger::new(config.memory().peers, Arc::clone(&metrics));
        let site = Arc::new(server::site(&config, &metrics, &ledger, &shutdown, known.clone(), known.clone(), known));
        let sockets = Arc::new(move |socket| record(socket, recorder.clone()));
        let serving = http::serve(
            listener,
            site.clone(),
            Routes::new(&site),
            sockets,
            shutdown.tasks().clone(),
            shutdown.draining().clone(),
        );
        let ending = shutdown.clone();
        let served = tokio::spawn(async move {
            serving.await;
            ending.finish(config.drain_deadline).await
        });
        Site { address, metrics, ledger, shutdown, dashboards, sessions, served }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn ws(&self, path: &str) -> impl IntoClientRequest + Unpin {
        format!("ws://{}{path}", self.address)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The next session that was handed over.
    async fn session(&mut self) -> (Handshake, Bytes) {
        tokio::time::timeout(Duration::from_secs(5), self.sessions.recv()).await.unwrap().unwrap()
    }

    /// Sends raw bytes and reads one answer; the socket stays open as long as it is held.
    async fn exchange(&self, request: &str) -> (String, TcpStream) {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        (read_answer(&mut socket).await, socket)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = reqwest::get(self.url(path)).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let response = reqwest::Client::new().post(self.url(path)).body(body.to_vec()).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// The dashboard that a path means.
async fn target(destination: Destination) -> Result<Target, NoEntry> {
    match destination {
        Destination::Dashboard(target) => Ok(target),
        Destination::Nowhere(why) => Err(why),
        // Refusals take a moment, and nothing else does.
        Destination::Asking(_, verdict) => Err(NoEntry::Denied(verdict.await.unwrap_err())),
        Destination::Documents => panic!("not a path of this dialect"),
    }
}

/// A session that says hi and then stays until its client leaves.
fn record(mut socket: Upgraded, recorder: mpsc::UnboundedSender<(Handshake, Bytes)>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let _permit = socket.permit;
        recorder.send((socket.handshake, socket.leftover)).unwrap();
        socket.io.write_all(b"\x82\x02hi").await.unwrap();
        while socket.io.read_u8().await.is_ok() {}
    })
}

/// Dashboards whose content is text; some contents and names stand for failures.
#[derive(Default)]
struct Recorded {
    texts: Mutex<HashMap<DashboardId, Bytes>>,
    slow_began: Notify,
    slow_may_end: Arc<Notify>,
}

impl Recorded {
    fn text(&self, dashboard: &DashboardId) -> Result<Bytes, ReadError> {
        if dashboard.name() == "down" {
            return Err(ReadError::Unavailable);
        }
        Ok(self.texts.lock().unwrap().get(dashboard).cloned().unwrap_or_default())
    }
}

/// The operator's view has tests of its own, in front of a whole server.
impl Inspector for Recorded {
    fn node(&self) -> Value {
        Value::Null
    }

    fn rooms(&self, _: String) -> BoxFuture<'static, Value> {
        Box::pin(async { Value::Null })
    }

    fn room(&self, _: DashboardId) -> BoxFuture<'static, Option<Value>> {
        Box::pin(async { None })
    }

    fn log(&self, _: DashboardId, _: Option<u128>) -> BoxFuture<'static, Option<Value>> {
        Box::pin(async { None })
    }
}

impl http::Nodes for Recorded {
    fn list(&self) -> Value {
        json!({ "nodes": [] })
    }
}

impl Dashboards for Recorded {
    fn names(
        &self,
        prefix: String,
        after: Option<DashboardId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DashboardId>, ReadError>> {
        let mut names: Vec<DashboardId> = self.texts.lock().unwrap().keys().cloned().collect();
        names.retain(|name| name.as_str().starts_with(&prefix) && after.as_ref().is_none_or(|after| name > after));
        names.sort();
        names.truncate(limit);
        Box::pin(async { Ok(names) })
    }

    fn noted(&self, dashboards: Vec<DashboardId>) -> BoxFuture<'static, Result<(Vec<Noted>, usize), ReadError>> {
        Box::pin(async move { Ok((vec![Noted::default(); dashboards.len()], 0)) })
    }

    fn look(&self, dashboard: DashboardId, _: IpAddr, _: Place) -> BoxFuture<'static, Result<Shown, EditError>> {
        let text = self.text(&dashboard);
        Box::pin(async {
            let json = json!({ "content": String::from_utf8_lossy(&text?) }).to_string().into();
            Ok(Shown { json, etag: Etag::from_bits(7) })
        })
    }

    fn read_state(&self, dashboard: DashboardId, have: Option<Bytes>) -> BoxFuture<'static, Result<Read, ReadError>> {
        let text = self.text(&dashboard);
        Box::pin(async move {
            let state = match have {
                Some(have) => format!("{} without {:?}", String::from_utf8_lossy(&text?), have.to_vec()).into(),
                None => text?,
            };
            Ok(Read { cost: state.len(), state })
        })
    }

    fn begin(&self, id: DashboardId, _: Admission, state: Bytes) -> BoxFuture<'static, Result<bool, WriteError>> {
        let is_new = self.texts.lock().unwrap().insert(id, state).is_none();
        Box::pin(async move { Ok(is_new) })
    }

    fn versions(
        &self,
        _: DashboardId,
        _: Admission,
        _: VersionCall,
    ) -> BoxFuture<'static, Result<Value, VersionRefusal>> {
        Box::pin(async { Err(VersionRefusal::NoDashboard) })
    }

    fn send_stateless(
        &self,
        id: DashboardId,
        _: Admission,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>> {
        self.texts.lock().unwrap().insert(id, payload);
        Box::pin(async { Ok(()) })
    }

    fn edit(
        &self,
        id: DashboardId,
        _: Admission,
        _: IpAddr,
        wish: Wish,
    ) -> BoxFuture<'static, Result<Edited, EditError>> {
        let Body::Put(json) = wish.body else { panic!("nothing else is asked of it") };
        let before = self.texts.lock().unwrap().insert(id, json);
        let outcome = if before.is_some() { Outcome::Changed } else { Outcome::Created };
        let etag = Some(Etag::from_bits(7));
        let edited = Edited { outcome, etag, is_dry_run: false, changes: Vec::new(), bytes: 0 };
        Box::pin(async { Ok(edited) })
    }

    fn presence(&self, _: DashboardId, _: Admission) -> BoxFuture<'static, Result<Vec<PresenceState>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// A room that never says anything.
    fn attend(&self, _: Attend) -> BoxFuture<'static, Result<Attendance, ReadError>> {
        let standing = watch::channel(Standing::default()).1;
        let (never, ended) = watch::channel(None);
        std::mem::forget(never);
        let (words, leaving) = (watch::channel(None).0, CancellationToken::new().drop_guard());
        Box::pin(async { Ok(Attendance { standing, ended, words, leaving }) })
    }

    fn write_update(&self, id: DashboardId, _: Admission, update: Bytes) -> BoxFuture<'static, Result<(), WriteError>> {
        let may_end = self.slow_may_end.clone();
        let outcome = match update.as_ref() {
            b"garbage" => Err(WriteError::Malformed),
            b"hole" => Err(WriteError::Incomplete),
            b"large" => Err(WriteError::TooLarge { bytes_max: 9 }),
            b"down" => Err(WriteError::Unavailable),
            _ => Ok(()),
        };
        let slow = update.as_ref() == b"slow";
        if slow {
            self.slow_began.notify_one();
        }
        self.texts.lock().unwrap().insert(id, update);
        Box::pin(async move {
            if slow {
                may_end.notified().await;
            }
            outcome
        })
    }
}

/// A handshake as browsers send it.
fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Reads one answer: its head, and a body if it says how long that is.
async fn read_answer(socket: &mut TcpStream) -> String {
    let reading = async {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => return String::from_utf8(answer).unwrap(),
            }
        }
        let head = String::from_utf8(answer).unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        socket.read_exact(&mut body).await.unwrap();
        head + &String::from_utf8(body).unwrap()
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("an answer in time")
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("the condition holds in time");
}
