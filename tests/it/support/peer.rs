//! A peer that says whatever a test wants it to say, over an independent WebSocket implementation.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::forge;
use super::node::Node;

/// What must come, comes within this.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);

/// One socket.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What stands in front of each message in the Hocuspocus dialect; otherwise nothing.
    address: Vec<u8>,
}

/// How a socket ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// What the last permissionDenied message said.
    pub(crate) denied: Option<String>,
    /// From the start of waiting to the close frame.
    pub(crate) after: Duration,
}

impl Peer {
    /// On a socket that is open.
    pub(crate) fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Peer {
        Peer { socket, address: Vec::new() }
    }

    /// Opens a socket; nothing is said yet.
    pub(crate) async fn open(node: &Node, path: &str) -> Peer {
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) =
            tokio_tungstenite::connect_async_with_config(node.ws(path), Some(config), true).await.unwrap();
        Peer::over(socket)
    }

    /// Opens a socket unless nobody listens.
    pub(crate) async fn try_open(url: &str) -> Option<Peer> {
        let (socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
        Some(Peer::over(socket))
    }

    /// As [`Peer::try_open`], on a document in the Hocuspocus dialect. Everything but signs of life and authentication reads as in
    /// the other one.
    pub(crate) async fn try_open_document(url: &str, name: &str) -> Option<Peer> {
        Peer::try_open_document_as(url, name, "").await
    }

    /// As [`Peer::try_open_document`], with a token.
    pub(crate) async fn try_open_document_as(url: &str, name: &str, token: &str) -> Option<Peer> {
        let mut peer = Peer::try_open(url).await?;
        peer.address = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        let token = [&[2, 0][..], &forge::var_bytes(token)].concat();
        peer.send(token).await.then_some(peer)
    }

    /// As [`Peer::open`], with a small receive buffer: what is not read soon stays with the server.
    pub(crate) async fn open_narrow(node: &Node, path: &str) -> Peer {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let io = MaybeTlsStream::Plain(socket.connect(node.address).await.unwrap());
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = tokio_tungstenite::client_async_with_config(node.ws(path), io, Some(config)).await.unwrap();
        Peer::over(socket)
    }

    /// Sends one binary message. An error is no failure: the server may have hung up.
    pub(crate) async fn send(&mut self, frame: impl Into<Vec<u8>>) -> bool {
        self.socket.send(Message::Binary([&self.address[..], &frame.into()].concat().into())).await.is_ok()
    }

    /// Puts a message into the socket's buffer; [`Peer::flush`] sends them together.
    pub(crate) async fn feed(&mut self, frame: impl Into<Vec<u8>>) -> bool {
        self.socket.feed(Message::Binary([&self.address[..], &frame.into()].concat().into())).await.is_ok()
    }

    pub(crate) async fn flush(&mut self) -> bool {
        self.socket.flush().await.is_ok()
    }

    /// The next binary message; `None` when the socket has ended or nothing came in time.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let next = async {
            loop {
                match self.socket.next().await? {
                    Ok(Message::Binary(bytes)) => match bytes.strip_prefix(&self.address[..]) {
                        Some([2, ..]) if !self.address.is_empty() => {}
                        Some(message) => return Some(message.to_vec()),
                        None => {}
                    },
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(limit, next).await.ok().flatten()
    }

    /// The next binary message that `is_it`.
    pub(crate) async fn expect(&mut self, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let until = Instant::now() + WITHIN;
        while let Some(frame) = self.next_within(until.saturating_duration_since(Instant::now())).await {
            if is_it(&frame) {
                return frame;
            }
        }
        panic!("what was expected did not come");
    }

    /// Counts the acks (`08 01`) and refusals (`08 00`) until there are `count` of both together.
    pub(crate) async fn statuses(&mut self, count: usize) -> (usize, usize) {
        let (mut saved, mut refused) = (0, 0);
        while saved + refused < count {
            match self.expect(|frame| frame[0] == 8).await.as_slice() {
                [8, 1] => saved += 1,
                [8, 0] => refused += 1,
                other => panic!("no status: {other:?}"),
            }
        }
        (saved, refused)
    }

    /// Reads to the end of the socket.
    pub(crate) async fn ended(&mut self) -> Ended {
        let began = Instant::now();
        let mut denied = None;
        let close = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) if bytes.starts_with(&[2, 0]) => {
                        denied = Some(String::from_utf8(bytes[3..].to_vec()).unwrap());
                    }
                    Some(Ok(Message::Close(frame))) => return frame.expect("a code and a reason"),
                    Some(Ok(_)) => {}
                    other => panic!("ended without a close frame: {other:?}"),
                }
            }
        };
        let frame = timeout(WITHIN, close).await.expect("the server closes the socket");
        Ended { code: frame.code.into(), reason: frame.reason.to_string(), denied, after: began.elapsed() }
    }

    /// Asserts a permanent refusal: said first, held so that old clients do not hammer, then closed with `code`.
    pub(crate) async fn ended_for_good(&mut self, code: u16) {
        let ended = self.ended().await;
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(ended.denied.as_deref(), Some(ended.reason.as_str()), "{ended:?}");
        assert!(ended.after >= Duration::from_millis(1_900), "not held: {ended:?}");
    }
}

/// A socket that speaks TCP only: for broken framing, and for never reading.
pub(crate) struct Raw {
    pub(crate) io: TcpStream,
}

impl Raw {
    /// Shakes hands by hand.
    pub(crate) async fn open(node: &Node, path: &str) -> Raw {
        Raw::open_with(node, path, "").await
    }

    /// As [`Raw::open`], with further header lines.
    pub(crate) async fn open_with(node: &Node, path: &str, headers: &str) -> Raw {
        let mut io = TcpStream::connect(node.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(WITHIN, io.read_u8()).await.unwrap().unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Raw { io }
    }

    /// The code of the close frame in what the server sends until it hangs up.
    pub(crate) async fn close_code(mut self) -> u16 {
        let mut bytes = Vec::new();
        timeout(WITHIN, self.io.read_to_end(&mut bytes)).await.expect("the server hangs up").unwrap();
        let mut rest = bytes.as_slice();
        while let [first, second, ..] = *rest {
            let (len, header) = match second {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()) as usize, 10),
                len => (usize::from(len), 2),
            };
            if first == 0x88 {
                return u16::from_be_bytes([rest[2], rest[3]]);
            }
            rest = &rest[header + len..];
        }
        panic!("no close frame in {} bytes", bytes.len());
    }
}

/// A client's frame with a mask of zeros.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => out.extend([&[0x80 | 126], &(len as u16).to_be_bytes()[..]].concat()),
        len => out.extend([&[0x80 | 127], &(len as u64).to_be_bytes()[..]].concat()),
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}
