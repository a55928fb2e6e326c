//! A WebSocket, as lean as thousands of them on one core need it: mostly a client's, and a server's for the relay.
//!
//! All connections live on one thread and share one read buffer. A [`Connection`] sends, [`run`] receives until the socket ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use ydash_proto::wire::websocket::{Decoder, Event, Opcode, Options, Role, encode_masked, header};

/// How long a server may take to accept a connection, or to close one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Larger than any document that a load test reads.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Any value does where no proxy listens; every server has to unmask with it.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x0f, 0x96];

/// The key of every upgrade request, and what RFC 6455 §4.2.2 makes of it. Chance would guard against caches; there are none.
const KEY: &str = "bG9hZCB0ZXN0IGNsaWVudA==";
const ACCEPT: &str = "/7+Pf2hB5/gLjCcqbW3XW53k6D0=";

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 << 10]);
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    authority: String,
    /// What stands between the authority and the room, and behind the room.
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Target {
    /// Parses `ws://host:port/path`.
    pub(crate) fn parse(url: &str) -> Result<Target> {
        let rest = url.strip_prefix("ws://").with_context(|| format!("{url} does not begin with ws://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        ensure!(!authority.is_empty(), "{url} names no host");
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Target { authority, path: path.trim_end_matches('/').to_owned(), query: query.to_owned() })
    }

    /// Puts another parameter behind those of the query.
    pub(crate) fn add_query(&mut self, parameter: &str) {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(parameter);
    }
}

/// One open socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    role: Role,
    /// What the socket did not take yet.
    unsent: RefCell<Vec<u8>>,
    is_flushing: Cell<bool>,
    is_closed: Cell<bool>,
    closed: Notify,
}

/// What a connection's owner wants to know.
pub(crate) trait Receiver {
    /// A binary message arrived; `at` is when it was read off the socket.
    fn message(&mut self, connection: &Rc<Connection>, payload: &[u8], at: Instant);

    /// The socket is at its end: with the code and reason of the server's close frame, if it sent one.
    fn closed(&mut self, why: Option<(Option<u16>, String)>);
}

impl Connection {
    /// Connects and upgrades. Returns what the server sent right behind its answer as well.
    pub(crate) async fn open(target: &Target, path: &str) -> Result<(Rc<Connection>, Vec<u8>)> {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, Connection::upgrade(target, path))
            .await
            .context("wait for the server to accept a WebSocket")?
    }

    async fn upgrade(target: &Target, path: &str) -> Result<(Rc<Connection>, Vec<u8>)> {
        let mut stream = TcpStream::connect(&target.authority).await.context("connect")?;
        let query = if target.query.is_empty() { String::new() } else { format!("?{}", target.query) };
        let request = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            target.authority
        );
        stream.write_all(request.as_bytes()).await.context("send the upgrade request")?;
        let (answer, behind) = read_head(&mut stream).await?;
        if !answer.starts_with("HTTP/1.1 101") {
            let (status, _) = answer.split_once("\r\n").unwrap_or((&answer, ""));
            bail!("server refused the upgrade: {status} {}", String::from_utf8_lossy(&behind).trim());
        }
        ensure!(answer.contains(ACCEPT), "server answered the upgrade with a wrong Sec-WebSocket-Accept");
        Ok((Connection::over(stream, Role::Client)?, behind))
    }

    /// The server's side of [`Connection::open`], for clients of this crate. Returns the path as well.
    pub(crate) async fn accept(mut stream: TcpStream) -> Result<(Rc<Connection>, String, Vec<u8>)> {
        let (request, behind) = read_head(&mut stream).await?;
        let path = request.split(' ').nth(1).context("find the path of the request")?.to_owned();
        ensure!(request.contains(KEY), "not a client of this load generator");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.context("answer the upgrade request")?;
        Ok((Connection::over(stream, Role::Server)?, path, behind))
    }

    fn over(stream: TcpStream, role: Role) -> Result<Rc<Connection>> {
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(Rc::new(Connection {
            stream,
            role,
            unsent: RefCell::default(),
            is_flushing: Cell::default(),
            is_closed: Cell::default(),
            closed: Notify::new(),
        }))
    }

    /// Sends a binary message, at once if the socket takes it.
    pub(crate) fn send(self: &Rc<Self>, payload: &[u8]) {
        self.send_frame(Opcode::Binary, payload);
    }

    /// Says good-bye; the socket ends when the server answers.
    pub(crate) fn close(self: &Rc<Self>) {
        self.send_frame(Opcode::Close, &1000u16.to_be_bytes());
    }

    /// Waits for the socket's end, or not for long.
    pub(crate) async fn wait_closed(&self) {
        // A server that never closes is not waited for: its socket ends with this one.
        let _ = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.wait_end()).await;
    }

    /// Waits for the socket's end, however long that takes.
    pub(crate) async fn wait_end(&self) {
        let closed = self.closed.notified();
        if !self.is_closed.get() {
            closed.await;
        }
    }

    /// Whether the socket is at its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    fn send_frame(self: &Rc<Self>, opcode: Opcode, payload: &[u8]) {
        match self.role {
            Role::Client => self.send_encoded(&encode_masked(opcode, payload, MASK)),
            Role::Server => {
                let (head, used) = header(opcode, payload.len(), true, false);
                self.send_encoded(&[&head[..used], payload].concat());
            }
        }
    }

    /// Sends a whole frame with its header, which several connections may share.
    pub(crate) fn send_encoded(self: &Rc<Self>, frame: &[u8]) {
        if self.is_closed.get() {
            return;
        }
        let mut unsent = self.unsent.borrow_mut();
        let sent = if unsent.is_empty() { self.stream.try_write(frame).unwrap_or(0) } else { 0 };
        if sent < frame.len() {
            unsent.extend_from_slice(&frame[sent..]);
            if !self.is_flushing.replace(true) {
                tokio::task::spawn_local(self.clone().flush());
            }
        }
    }

    /// Writes what waits. A broken socket is noticed by the reader.
    async fn flush(self: Rc<Self>) {
        while !self.is_closed.get() && self.stream.writable().await.is_ok() {
            let mut unsent = self.unsent.borrow_mut();
            match self.stream.try_write(&unsent) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            if unsent.is_empty() {
                break;
            }
        }
        self.is_flushing.set(false);
    }
}

/// Reads the head of a request or answer, and what came right behind it.
async fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut head = Vec::with_capacity(512);
    loop {
        ensure!(stream.read_buf(&mut head).await.context("read the upgrade")? > 0, "peer closed the connection");
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let behind = head.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&head).into_owned(), behind));
        }
    }
}

/// Hands everything that arrives to `receiver`, until the socket ends. `behind` is what arrived with the upgrade.
pub(crate) async fn run(connection: Rc<Connection>, behind: Vec<u8>, mut receiver: impl Receiver) {
    let options = Options { role: connection.role, message_bytes_max: MESSAGE_BYTES_MAX, deflate: false };
    let mut decoder = Decoder::new(options);
    let mut end = take(&connection, &mut decoder, &behind, &mut receiver);
    drop(behind);
    while end.is_none() {
        if connection.stream.ready(Interest::READABLE).await.is_err() {
            break;
        }
        end = READ_BUFFER.with_borrow_mut(|buffer| match connection.stream.try_read(buffer) {
            Ok(0) => Some(None),
            Ok(len) => take(&connection, &mut decoder, &buffer[..len], &mut receiver),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(None),
        });
    }
    connection.is_closed.set(true);
    receiver.closed(end.flatten());
    connection.closed.notify_waiters();
}

/// Why a connection ended: `None` while it has not, the inner `None` without a close frame.
type End = Option<Option<(Option<u16>, String)>>;

fn take(connection: &Rc<Connection>, decoder: &mut Decoder, mut input: &[u8], receiver: &mut impl Receiver) -> End {
    let at = Instant::now();
    loop {
        match decoder.decode(&mut input) {
            Ok(None) => return None,
            Ok(Some(Event::Message { payload, .. })) => receiver.message(connection, &payload, at),
            Ok(Some(Event::Ping(payload))) => connection.send_frame(Opcode::Pong, &payload),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Oversized { bytes, .. })) => {
                return Some(Some((None, format!("the server sent a message of {bytes} bytes"))));
            }
            Ok(Some(Event::Close { code, reason })) => {
                connection.close();
                return Some(Some((code, reason)));
            }
            Err(error) => return Some(Some((None, error.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let target = Target::parse("ws://localhost:1234/ws/team/?token=a&acks=1").unwrap();
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("localhost:1234", "/ws/team"));
        assert_eq!(target.query, "token=a&acks=1");
        let mut target = Target::parse("ws://localhost:1234").unwrap();
        ["acks=1", "token=a"].iter().for_each(|parameter| target.add_query(parameter));
        assert_eq!(target.query, "acks=1&token=a");
        assert_eq!(Target::parse("ws://example.org").unwrap().authority, "example.org:80");
        assert!(Target::parse("http://localhost").is_err());
        assert!(Target::parse("ws:///room").is_err());
    }
}
