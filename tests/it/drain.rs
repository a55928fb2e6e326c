//! The orderly end, of a whole server with clients.

use crate::support::node::Node;
use futures_util::StreamExt;
use std::time::Duration;

/// Rooms once waited for their idle time, because sessions held them a moment longer than they were in them.
#[tokio::test]
async fn a_drain_ends_soon_after_its_clients_have_gone() {
    let mut node = Node::start(&["--drain-deadline=30s"]);
    let mut sockets = Vec::new();
    for room in 0..8 {
        for _ in 0..3 {
            let url = node.ws(&format!("/ws/acme/room-{room}"));
            let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
            sockets.push(tokio::spawn(socket.for_each(|_| async {})));
        }
    }
    let status = node.terminate(Duration::from_secs(20)).await;
    assert!(status.success());
    assert!(!node.log().iter().any(|line| line.contains("cut off")), "{:#?}", node.log());
    for socket in sockets {
        socket.await.unwrap();
    }
}
