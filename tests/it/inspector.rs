//! What an operator's browser gets to see, of a whole server.

use crate::support::forge;
use crate::support::node::Node;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

async fn get(node: &Node, path: &str) -> Value {
    let answer = reqwest::get(node.http(&format!("/api/inspector/{path}"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.unwrap()
}

async fn write(node: &Node, dashboard: &str, client: u64) {
    let update = forge::update((client, 0), &[forge::in_root("text", forge::STRING, &forge::var_bytes("hello"))], &[]);
    let url = node.http(&format!("/api/dashboards/{dashboard}/updates"));
    let answer = Client::new().post(url).body(update).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn rooms_their_members_and_the_end_of_their_log_are_shown() {
    let node = Node::start(&[]);
    assert_eq!(get(&node, "rooms").await, json!({ "total": 0, "rooms": [] }));
    for client in 1..=130 {
        write(&node, "acme/sales", client).await;
    }
    write(&node, "acme/costs", 1).await;

    let told = get(&node, "node").await;
    assert_eq!((&told["store"], &told["draining"]), (&json!("file:data"), &json!(false)));
    let rooms = get(&node, "rooms").await;
    assert_eq!(rooms["total"], 2);
    assert_eq!(rooms["rooms"][0]["dashboard"], "acme/costs");
    let rooms = get(&node, "rooms?q=acme%2Fs").await;
    assert_eq!((&rooms["total"], &rooms["rooms"][0]["updates"]), (&json!(1), &json!(130)));
    assert_eq!((&rooms["rooms"][0]["clients"], &rooms["rooms"][0]["saved"]), (&json!(130), &json!(true)));

    let (mut socket, _) = tokio_tungstenite::connect_async(node.ws("/ws/acme/sales")).await.unwrap();
    let room = loop {
        let room = get(&node, "rooms/acme/sales").await;
        if room["members"] == 1 && room["seats"][0]["waiting_frames"] == 0 {
            break room;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(room["seats"][0]["may_edit"], true);
    socket.close(None).await.unwrap();

    let log = get(&node, "log/acme/sales").await;
    let entries = log.as_array().unwrap();
    assert_eq!(entries.len(), 100);
    assert_eq!(entries[99]["spans"], json!([{ "client": 130, "from": 0, "to": 5 }]));
    assert_eq!((&entries[99]["source"], &entries[99]["session"]), (&json!("rest"), &Value::Null));
    let position = entries[97]["position"].as_str().unwrap();
    let later = get(&node, &format!("log/acme/sales?after={position}")).await;
    assert_eq!(later.as_array().unwrap()[..], entries[98..]);

    for path in ["", "nothing", "rooms/acme/gone", "log/acme/gone"] {
        let answer = reqwest::get(node.http(&format!("/api/inspector/{path}"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(&node, "rooms").await["total"], 2, "asking opens no room");
}

#[tokio::test]
async fn only_a_browser_on_the_servers_own_machine_sees_anything() {
    let node = Node::start(&[]);
    let off = Node::start(&["--inspector", "off"]);
    let status = |node: &Node, path: &str, header: Option<(&'static str, &'static str)>| {
        let request = Client::new().get(node.http(path));
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        async move { request.send().await.unwrap().status() }
    };
    for path in ["/inspector", "/api/inspector/node", "/api/inspector/rooms"] {
        assert_eq!(status(&node, path, None).await, StatusCode::OK, "{path}");
        // A foreign name that resolves to loopback: how a foreign page would get here.
        assert_eq!(status(&node, path, Some(("host", "evil.example"))).await, StatusCode::FORBIDDEN, "{path}");
        let through_proxy = Some(("x-forwarded-for", "127.0.0.1"));
        assert_eq!(status(&node, path, through_proxy).await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(status(&off, path, None).await, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(status(&node, "/", None).await, StatusCode::OK, "it is the inspector that is for this machine only");
    assert_eq!(status(&node, "/", Some(("host", "evil.example"))).await, StatusCode::FORBIDDEN);
}
