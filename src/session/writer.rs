//! The writing half of a session: empties the outbox with as few system calls as it takes.
//!
//! What is small leaves as one copied piece ([`small`]). Large payloads are shared between sessions and
//! never copied: a header of a few bytes goes in front of each, and the address of its session on a socket that has several; all that
//! waits leaves in one vectored write.

use super::deflate::{DeflatedStates, stored};
use super::rooms::Rooms;
use crate::metrics::{Metrics, Refusal};
use crate::outbox::{Outbox, small};
use bytes::Bytes;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use ydash_proto::room::{FrameKind, Input};
use ydash_proto::session::{Item, Next, Question};
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::websocket::{Opcode, close_payload, header};
use ydash_proto::wire::{encode, hocuspocus};

/// Slices in one system call (`IOV_MAX` is 1024 on Linux).
const SLICES_MAX: usize = 256;
/// Bytes in one system call. What is larger goes in several, between which others have their turn: a socket takes megabytes at once, and that takes
/// milliseconds, for each of a hundred readers of the same state.
const WRITE_BYTES: usize = 256 << 10;

pub(super) struct Writer {
    pub(super) io: Arc<OwnedWriteHalf>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) rooms: Arc<Rooms>,
    /// Where compressed states are shared; `None` when the peer did not agree to compression.
    pub(super) deflated: Option<Arc<DeflatedStates>>,
    pub(super) stuck_timeout: Duration,
    pub(super) metrics: Arc<Metrics>,
}

struct Part {
    header: [u8; 10],
    header_len: usize,
    /// What goes in front of the payload in the same message.
    address: Bytes,
    payload: Bytes,
}

/// Room for so many items stays with an idle session.
const BATCH_KEPT: usize = 4;

impl Part {
    /// Bytes that are framed already.
    fn rest(payload: Bytes) -> Part {
        Part { header: [0; 10], header_len: 0, address: Bytes::new(), payload }
    }

    fn new(opcode: Opcode, payload: Bytes) -> Part {
        Part::message(opcode, Bytes::new(), payload, false)
    }

    fn message(opcode: Opcode, address: Bytes, payload: Bytes, compressed: bool) -> Part {
        let (header, header_len) = header(opcode, address.len() + payload.len(), true, compressed);
        Part { header, header_len, address, payload }
    }

    fn len(&self) -> usize {
        self.header_len + self.address.len() + self.payload.len()
    }
}

impl Writer {
    /// Writes until the outbox is closed or the socket is gone.
    pub(super) async fn run(self) {
        let mut batch = Vec::new();
        loop {
            match self.outbox.next(&mut batch).await {
                Next::Batch => {
                    let outcome = self.write(&mut batch).await;
                    if batch.capacity() > BATCH_KEPT {
                        batch = Vec::new();
                    }
                    match outcome {
                        Ok(()) => {}
                        Err(failure) => {
                            if failure.kind() == io::ErrorKind::TimedOut {
                                self.metrics.refusals.inc(Refusal::Stuck);
                                self.metrics.session_closed(CloseCode::Stuck.code());
                            }
                            break;
                        }
                    }
                }
                Next::Asked(member, question) => {
                    let Some(room) = self.rooms.of(member) else { continue };
                    let input = match question {
                        Question::State(have) => Input::SyncStep1 { member, have },
                        Question::Presence => Input::QueryAwareness { member },
                    };
                    if room.input(input).await.is_err() {
                        self.outbox.dismiss(member, CloseCode::Internal);
                    }
                }
                Next::Drained(member) => {
                    let Some(room) = self.rooms.of(member) else { continue };
                    if room.input(Input::Drained { member }).await.is_err() {
                        self.outbox.dismiss(member, CloseCode::Internal);
                    }
                }
                Next::Close(code, after) => {
                    self.metrics.session_closed(code.code());
                    let _ = timeout(self.stuck_timeout, self.say_goodbye(code, after)).await; // Said or not, it ends.
                    break;
                }
                Next::Gone => break,
            }
        }
        // Lets go of the socket, and so do we: that ends it.
        self.outbox.abandon();
    }

    async fn write(&self, items: &mut Vec<Item>) -> io::Result<()> {
        if let Some(outcome) = small::write_items(&self.io, items) {
            let rest = outcome?;
            items.clear();
            return if rest.is_empty() { Ok(()) } else { self.write_all(&[Part::rest(rest)]).await };
        }
        let mut parts = Vec::with_capacity(items.len());
        let mut address = Bytes::new();
        for item in items.drain(..) {
            match item {
                Item::Rest(bytes) => parts.push(Part::rest(bytes)),
                Item::Behind(prefix) => address = prefix,
                Item::Frame(frame) => {
                    let address = core::mem::take(&mut address);
                    let deflated = match &self.deflated {
                        Some(states) if matches!(frame.kind, FrameKind::State | FrameKind::Difference) => {
                            states.of(&frame.bytes, &address).await
                        }
                        _ => None,
                    };
                    parts.push(match deflated {
                        Some(bytes) => Part::message(Opcode::Binary, stored(&address), bytes, true),
                        None => Part::message(Opcode::Binary, address, frame.bytes, false),
                    });
                }
                Item::Said(message) => parts.push(Part::new(Opcode::Binary, message)),
                Item::Acks { saved, count } => {
                    let (address, ack) = (core::mem::take(&mut address), encode::sync_status(saved));
                    let ack = || Part::message(Opcode::Binary, address.clone(), ack.clone(), false);
                    parts.extend((0..count).map(|_| ack()));
                }
                Item::Ping => parts.push(Part::new(Opcode::Ping, Bytes::new())),
                Item::Pong(payload) => parts.push(Part::new(Opcode::Pong, payload)),
            }
        }
        self.write_all(&parts).await
    }

    async fn write_all(&self, parts: &[Part]) -> io::Result<()> {
        let (mut first, mut offset) = (0, 0);
        while first < parts.len() {
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let (mut count, mut left) = (0, WRITE_BYTES);
                let mut skip = offset;
                for part in &parts[first..] {
                    if count + 3 > SLICES_MAX || left == 0 {
                        break;
                    }
                    for bytes in [&part.header[..part.header_len], &part.address[..], &part.payload[..]] {
                        if skip < bytes.len() && left > 0 {
                            let end = bytes.len().min(skip.saturating_add(left));
                            slices[count] = IoSlice::new(&bytes[skip..end]);
                            left -= end - skip;
                            count += 1;
                        }
                        skip = skip.saturating_sub(bytes.len());
                    }
                }
                self.io.try_write_vectored(&slices[..count])
            };
            match written {
                Ok(mut written) => {
                    let is_long = written >= WRITE_BYTES;
                    written += offset;
                    offset = 0;
                    while first < parts.len() {
                        let len = parts[first].len();
                        if written < len {
                            offset = written;
                            break;
                        }
                        written -= len;
                        first += 1;
                    }
                    if is_long {
                        yield_now().await;
                    }
                }
                // Slow is not stuck: the time runs only while the socket takes nothing at all.
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => {
                    timeout(self.stuck_timeout, self.io.writable()).await.map_err(|_| io::ErrorKind::TimedOut)??;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn say_goodbye(&self, code: CloseCode, after: Duration) -> io::Result<()> {
        let is_divided = self.outbox.is_divided();
        if code.is_permanent() && !is_divided {
            // Clients before 3.1 know no permanent close code, but they print this.
            let denied = encode::permission_denied(&code.reason());
            self.write_all(&[Part::new(Opcode::Binary, denied)]).await?;
        }
        sleep(after).await;
        let (code, reason) = if is_divided { hocuspocus::close_event(code) } else { (code.code(), code.reason()) };
        self.write_all(&[Part::new(Opcode::Close, close_payload(code, &reason))]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use std::io::Read;
    use std::net::IpAddr;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use ydash_proto::id::MemberId;
    use ydash_proto::limits::OutboxLimits;
    use ydash_proto::room::Frame;
    use ydash_proto::session::Pushed;
    use ydash_proto::wire::websocket::{Decoder, Event, Options, Role};

    const ALICE: MemberId = MemberId(1);
    const LIMITS: OutboxLimits = OutboxLimits { bytes_max: usize::MAX, frames_max: usize::MAX };

    /// A writer over a socket, its outbox, and the far end.
    async fn written() -> (Arc<Outbox>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, near) = listener.accept().await.unwrap().0.into_split();
        let io = Arc::new(near);
        let metrics = Arc::new(Metrics::new());
        let account = Ledger::new(1 << 30, Arc::clone(&metrics)).account(IpAddr::from([192, 0, 2, 1]));
        let outbox = Arc::new(Outbox::new(Some(Arc::clone(&io)), LIMITS, account, Arc::clone(&metrics)));
        let writer = Writer {
            io,
            outbox: Arc::clone(&outbox),
            rooms: Arc::default(),
            deflated: None,
            stuck_timeout: Duration::from_secs(60),
            metrics,
        };
        tokio::spawn(writer.run());
        tokio::task::yield_now().await;
        (outbox, far)
    }

    fn frame(n: u32, len: usize) -> Frame {
        let mut bytes = vec![n as u8; len];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        Frame { bytes: bytes.into(), kind: FrameKind::Flush(u64::from(n)) }
    }

    #[tokio::test]
    async fn a_small_frame_is_on_the_socket_before_the_writer_has_run() {
        let (outbox, far) = written().await;
        assert_eq!(outbox.deliver(ALICE, &frame(1, 100)), Pushed::Taken);
        // Read past the runtime, so that the writer got no turn.
        let read = far.into_std().unwrap().read(&mut [0; 200]).unwrap();
        assert_eq!(read, 102);
    }

    #[tokio::test]
    async fn so_it_is_behind_the_address_of_its_session() {
        let (outbox, far) = written().await;
        outbox.divide();
        outbox.enroll(ALICE, "\x03doc".into());
        assert_eq!(outbox.deliver(ALICE, &frame(1, 100)), Pushed::Taken);
        assert_eq!(outbox.deliver(MemberId(2), &frame(2, 100)), Pushed::Taken, "nobody here");
        let mut bytes = [0; 300];
        let read = far.into_std().unwrap().read(&mut bytes).unwrap();
        assert_eq!((read, &bytes[..6]), (106, &b"\x82\x68\x03doc"[..]));
    }

    #[tokio::test]
    async fn frames_arrive_whole_and_in_their_order_however_they_were_given_and_however_slowly_they_are_read() {
        let (outbox, mut far) = written().await;
        // Until the socket is full several times over, so that frames are cut in the middle.
        let count = 4000;
        for n in 0..count {
            let frame = frame(n, 4 + (n as usize * 37) % 12_000);
            let pushed = if n % 7 == 3 { outbox.push(ALICE, &frame) } else { outbox.deliver(ALICE, &frame) };
            assert_eq!(pushed, Pushed::Taken);
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        outbox.close(CloseCode::Restart, Duration::ZERO);
        let options = Options { role: Role::Client, message_bytes_max: 1 << 20, deflate: false };
        let (mut decoder, mut expected, mut buffer) = (Decoder::new(options), 0, vec![0; 50_000]);
        loop {
            let read = far.read(&mut buffer).await.unwrap();
            let mut bytes = &buffer[..read];
            while let Some(event) = decoder.decode(&mut bytes).unwrap() {
                match event {
                    Event::Message { payload, .. } => {
                        assert_eq!(payload, frame(expected, payload.len()).bytes);
                        assert_eq!(payload.len(), 4 + (expected as usize * 37) % 12_000);
                        expected += 1;
                    }
                    Event::Close { code, .. } => {
                        assert_eq!((code, expected), (Some(CloseCode::Restart.code()), count));
                        return;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_ne!(read, 0, "ended after {expected}");
        }
    }
}
