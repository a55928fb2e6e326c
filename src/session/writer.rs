//! The writing half of a session: empties the outbox with as few system calls as it takes.
//!
//! What is small leaves as one copied piece, which costs the kernel the least. Large payloads are shared between sessions and
//! never copied: a header of a few bytes goes in front of each, and the address of its session on a socket that has several; all that
//! waits leaves in one vectored write.

use super::deflate::{DeflatedStates, stored};
use super::outbox::{Item, Next, Outbox};
use super::rooms::Rooms;
use crate::metrics::{Metrics, Refusal};
use bytes::Bytes;
use core::time::Duration;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};
use ydash_proto::room::{Frame, FrameKind, Input};
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::websocket::{Opcode, close_payload, header};
use ydash_proto::wire::{encode, hocuspocus};

/// Up to so many bytes leave as one piece. Below what is worth compressing.
const SMALL_BYTES: usize = 8 << 10;
/// Slices in one system call (`IOV_MAX` is 1024 on Linux).
const SLICES_MAX: usize = 256;

pub(super) struct Writer {
    pub(super) io: OwnedWriteHalf,
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

thread_local! {
    static SMALL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn put(buffer: &mut Vec<u8>, opcode: Opcode, address: &[u8], payload: &[u8]) {
    let (header, len) = header(opcode, address.len() + payload.len(), true, false);
    buffer.extend_from_slice(&header[..len]);
    buffer.extend_from_slice(address);
    buffer.extend_from_slice(payload);
}

/// Keep-alives are for sockets with one session; those with several have a heartbeat of their own.
fn is_idle_talk(address: &Bytes, frame: &Frame) -> bool {
    !address.is_empty() && frame.bytes == encode::keep_alive()
}

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
    pub(super) async fn run(mut self) {
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
        self.outbox.abandon();
        let _ = self.io.shutdown().await; // The peer may be gone already.
    }

    async fn write(&self, items: &mut Vec<Item>) -> io::Result<()> {
        if let Some(outcome) = self.write_small(items) {
            let rest = outcome?;
            items.clear();
            return if rest.is_empty() { Ok(()) } else { self.write_all(&[Part::rest(rest.into())]).await };
        }
        let mut parts = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            match item {
                Item::Frame(address, frame) if is_idle_talk(&address, &frame) => {}
                Item::Frame(address, frame) => {
                    let deflated = match &self.deflated {
                        Some(states) if frame.kind == FrameKind::State => states.of(&frame.bytes).await,
                        _ => None,
                    };
                    parts.push(match deflated {
                        Some(bytes) => Part::message(Opcode::Binary, stored(&address), bytes, true),
                        None => Part::message(Opcode::Binary, address, frame.bytes, false),
                    });
                }
                Item::Said(message) => parts.push(Part::new(Opcode::Binary, message)),
                Item::Acks { address, saved, count } => {
                    let ack = encode::sync_status(saved);
                    let ack = || Part::message(Opcode::Binary, address.clone(), ack.clone(), false);
                    parts.extend((0..count).map(|_| ack()));
                }
                Item::Ping => parts.push(Part::new(Opcode::Ping, Bytes::new())),
                Item::Pong(payload) => parts.push(Part::new(Opcode::Pong, payload)),
            }
        }
        self.write_all(&parts).await
    }

    /// Writes what is small as one piece: copying it costs less than telling the kernel where the pieces are.
    ///
    /// `None` when it is not small; otherwise what the socket did not take.
    fn write_small(&self, items: &[Item]) -> Option<io::Result<Vec<u8>>> {
        SMALL.with_borrow_mut(|buffer| {
            buffer.clear();
            for item in items {
                match item {
                    Item::Frame(address, frame) if is_idle_talk(address, frame) => {}
                    Item::Frame(address, frame) if frame.bytes.len() <= SMALL_BYTES => {
                        put(buffer, Opcode::Binary, address, &frame.bytes);
                    }
                    Item::Frame(..) => return None,
                    Item::Said(message) => put(buffer, Opcode::Binary, &[], message),
                    Item::Acks { address, saved, count } => {
                        let ack = encode::sync_status(*saved);
                        for _ in 0..(*count).min(SMALL_BYTES as u32) {
                            put(buffer, Opcode::Binary, address, &ack);
                        }
                    }
                    Item::Ping => put(buffer, Opcode::Ping, &[], &[]),
                    Item::Pong(payload) => put(buffer, Opcode::Pong, &[], payload),
                }
                if buffer.len() > SMALL_BYTES {
                    return None;
                }
            }
            Some(match self.io.try_write(buffer) {
                Ok(written) => Ok(buffer[written..].to_vec()),
                Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => Ok(buffer.clone()),
                Err(failure) => Err(failure),
            })
        })
    }

    async fn write_all(&self, parts: &[Part]) -> io::Result<()> {
        let (mut first, mut offset) = (0, 0);
        while first < parts.len() {
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                let mut skip = offset;
                for part in &parts[first..] {
                    if count + 3 > SLICES_MAX {
                        break;
                    }
                    for bytes in [&part.header[..part.header_len], &part.address[..], &part.payload[..]] {
                        if skip < bytes.len() {
                            slices[count] = IoSlice::new(&bytes[skip..]);
                            count += 1;
                        }
                        skip = skip.saturating_sub(bytes.len());
                    }
                }
                self.io.try_write_vectored(&slices[..count])
            };
            match written {
                Ok(mut written) => {
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
            let denied = encode::permission_denied(code.reason());
            self.write_all(&[Part::new(Opcode::Binary, denied)]).await?;
        }
        sleep(after).await;
        let (code, reason) = if is_divided { hocuspocus::close_event(code) } else { (code.code(), code.reason()) };
        self.write_all(&[Part::new(Opcode::Close, close_payload(code, reason))]).await
    }
}
