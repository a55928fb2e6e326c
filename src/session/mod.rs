//! One connected client: a reader and a writer around a [`RoomHandle`](crate::room::RoomHandle) and an [`Outbox`].
//!
//! A session knows frames and rooms. It never touches storage, the bus or HTTP. The reader checks every message before the room
//! sees it (framing, size, rate, the scan), and waits when the room is busy, which is the backpressure towards the peer. The writer
//! empties the outbox. Neither holds a buffer while the socket is quiet.

mod deflate;
mod reader;
mod writer;

use crate::metrics::{Metrics, Refusal};
use crate::outbox::{Outbox, OutboxLimits, REFUSAL_HOLD};
use crate::room::{OpenError, Registry};
use bytes::Bytes;
use core::time::Duration;
use deflate::DeflatedStates;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span};
use ydash_proto::access::{Access, Identity};
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::limits::Limits;
use ydash_proto::room::Joining;
use ydash_proto::wire::close::CloseCode;

/// A client that has shaken hands.
pub struct Arrival {
    /// The connection.
    pub io: TcpStream,
    /// What came right behind the handshake.
    pub leftover: Bytes,
    /// Whether permessage-deflate was agreed on.
    pub deflate: bool,
    /// Where it goes, or why it may not.
    pub entry: Result<Entry, CloseCode>,
    /// Whether it wants a message of type 8 per update.
    pub wants_acks: bool,
    /// Whether it wants its own updates back when they are durable.
    pub wants_echo: bool,
    /// Dropped when the session ends.
    pub permit: Box<dyn Send>,
}

/// A dashboard and what the session may do there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it goes.
    pub dashboard: DashboardId,
    /// Who it is, as far as verified.
    pub identity: Identity,
    /// What it may do.
    pub access: Access,
}

/// How much one session may send. What is beyond is not dropped: its socket is read later.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Messages per second.
    pub messages_per_second: u32,
    /// Messages at once.
    pub messages_burst: u32,
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// Bytes at once.
    pub bytes_burst: u32,
}

/// What sessions need to know.
#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// Bounds of messages and outboxes.
    pub limits: Limits,
    /// How much one session may send.
    pub rates: Rates,
    /// A socket that says nothing for so long, not even a pong, is closed.
    pub idle_timeout: Duration,
    /// A socket that takes nothing for so long is closed.
    pub stuck_timeout: Duration,
}

/// Serves sessions.
pub struct Sessions {
    config: SessionsConfig,
    registry: Registry,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    next_member: AtomicU64,
    deflated: Arc<DeflatedStates>,
}

impl Sessions {
    /// Sessions of the rooms in `registry`; their writers run on `tracker`.
    ///
    /// `first_member` tells the sessions of this process from those of another one in the log.
    #[must_use]
    pub fn new(
        config: SessionsConfig,
        registry: Registry,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
        first_member: u64,
    ) -> Sessions {
        Sessions {
            config,
            registry,
            metrics,
            tracker,
            next_member: AtomicU64::new(first_member),
            deflated: Arc::default(),
        }
    }

    /// Serves one client until its socket is closed.
    pub async fn serve(self: Arc<Self>, arrival: Arrival) {
        let member = MemberId(self.next_member.fetch_add(1, Ordering::Relaxed));
        let span = debug_span!("session", %member);
        self.serve_as(member, arrival).instrument(span).await;
    }

    async fn serve_as(self: Arc<Self>, member: MemberId, arrival: Arrival) {
        let Arrival { io, leftover, deflate, entry, wants_acks, wants_echo, permit } = arrival;
        let limits = OutboxLimits {
            bytes_max: self.config.limits.outbox_bytes_max,
            frames_max: self.config.limits.outbox_frames_max,
        };
        let (read_half, write_half) = io.into_split();
        let write_half = Arc::new(write_half);
        let outbox = Arc::new(Outbox::new(Some(Arc::clone(&write_half)), limits, Arc::clone(&self.metrics)));
        let entered = match entry {
            // Nothing is read from the socket until the document is loaded: early messages wait in its buffers.
            Ok(entry) => match self.registry.open(&entry.dashboard).await {
                Ok(room) => {
                    let joining =
                        Joining { member, identity: entry.identity, access: entry.access, wants_acks, wants_echo };
                    let joined = room.join(joining, Arc::clone(&outbox)).await;
                    joined.map(|()| room).map_err(|_| CloseCode::Internal)
                }
                Err(failure) => Err(self.refuse_open(&failure)),
            },
            Err(code) => Err(code),
        };
        let writer = writer::Writer {
            io: write_half,
            outbox: Arc::clone(&outbox),
            room: entered.as_ref().ok().cloned(),
            deflated: deflate.then(|| Arc::clone(&self.deflated)),
            stuck_timeout: self.config.stuck_timeout,
            metrics: Arc::clone(&self.metrics),
        };
        let writing = self.tracker.spawn(writer.run().in_current_span());
        let mut reader = reader::Reader::new(&self.config, Arc::clone(&outbox), Arc::clone(&self.metrics), deflate);
        match entered {
            Ok(room) => {
                reader.run(read_half, leftover, &room, member).await;
                room.leave(member).await;
            }
            Err(code) => {
                debug!(%code, "session refused");
                outbox.close(code, REFUSAL_HOLD);
                reader.discard(read_half).await;
            }
        }
        // The reader has given the outbox a reason to close, or the socket is gone; the writer ends either way.
        let _ = writing.await;
        drop(permit);
    }

    fn refuse_open(&self, failure: &OpenError) -> CloseCode {
        debug!(%failure, "dashboard not opened");
        match failure {
            OpenError::Draining => {
                self.metrics.refusals.inc(Refusal::Draining);
                CloseCode::Restart
            }
            OpenError::Memory => {
                self.metrics.refusals.inc(Refusal::Unavailable);
                CloseCode::Overloaded
            }
            OpenError::Store(_) | OpenError::Damaged | OpenError::Quarantined => {
                self.metrics.refusals.inc(Refusal::Unavailable);
                CloseCode::LoadFailed
            }
        }
    }
}
