//! One connected client: a reader and a writer around an [`Outbox`] and the [rooms](crate::room::RoomHandle) that it is in.
//!
//! In the y-websocket dialect that is one room for good, named by the path. In the Hocuspocus dialect messages name their documents,
//! which come and go, and each is let in by itself ([`Doorkeeper`]).
//!
//! A session knows frames and rooms. It never touches storage, the bus or HTTP. The reader checks every message before the room
//! sees it (framing, size, rate, the scan), and waits when the room is busy, which is the backpressure towards the peer. The writer
//! empties the outbox. Neither holds a buffer while the socket is quiet.

mod again;
mod deflate;
mod documents;
mod reader;
mod rooms;
mod workload;
mod writer;

use crate::allowances::UserPlace;
use crate::auth::{Denied, Eventual, KeptToken, Whence};
use crate::ledger::Ledger;
use crate::metrics::{Metrics, Refusal};
use crate::outbox::Outbox;
use crate::room::{MemberIds, OpenError, Registry, RoomHandle};
use crate::trace::SpanContext;
use again::Again;
use bytes::Bytes;
use core::time::Duration;
use deflate::DeflatedStates;
use documents::Documents;
use futures_util::future::BoxFuture;
use reader::{OneDocument, Reader, Refused};
use rooms::Rooms;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span};
use workload::Workloads;
use ydash_proto::access::{Admission, Principal, Target};
use ydash_proto::allowance::Exceeded;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::limits::Limits;
use ydash_proto::room::{Dialect, Joining};
use ydash_proto::session::Unopened;
use ydash_proto::wire::close::{CloseCode, REFUSAL_HOLD};

pub use ydash_proto::session::Crowded;

/// A client that has shaken hands.
pub struct Arrival {
    /// The connection.
    pub io: TcpStream,
    /// What came right behind the handshake.
    pub leftover: Bytes,
    /// Whether permessage-deflate was agreed on.
    pub deflate: bool,
    /// Where it comes from.
    pub from: Whence,
    /// The token that it showed, if that is to be asked about again while the session lives.
    pub token: Option<KeptToken>,
    /// Where it goes.
    pub entrance: Entrance,
    /// Whether it wants a message of type 8 per update.
    pub wants_acks: bool,
    /// Whether it wants its own updates back when they are durable.
    pub wants_echo: bool,
    /// The trace of whoever opened it, which the join becomes a part of.
    pub caller: Option<Box<SpanContext>>,
    /// Dropped when the session ends.
    pub permit: Box<dyn Send>,
}

/// Where a client goes.
pub enum Entrance {
    /// To one dashboard.
    Dashboard(Target),
    /// To one dashboard, as soon as it is known who comes.
    Asking(DashboardId, BoxFuture<'static, Result<Admission, Denied>>),
    /// To those that its messages name, in the Hocuspocus dialect.
    Documents,
    /// Nowhere, unless its first message is in the Hocuspocus dialect: then the path meant nothing.
    Nowhere(CloseCode),
}

/// Decides about clients that name a dashboard and show a token after the handshake.
pub trait Doorkeeper: Send + Sync + 'static {
    /// Who the client is and what it may do there.
    fn admit(&self, from: &Whence, dashboard: &DashboardId, token: Option<&str>) -> Eventual<Admission>;

    /// Whether what it says of a token may change while the token stays the same.
    fn asks_again(&self) -> bool;

    /// Counts a join of the session that came with the socket.
    ///
    /// # Errors
    /// [`Crowded::Joins`] only.
    fn join(&self, address: IpAddr) -> Result<(), Crowded>;

    /// Counts one more session on the same socket, until the place is dropped.
    ///
    /// # Errors
    /// [`Crowded`] – wait, or turn it away.
    fn join_again(&self, address: IpAddr) -> Result<Place, Crowded>;
}

/// What a session takes up; dropping it gives it back.
pub type Place = Box<dyn Send + Sync>;

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
    /// The largest message that is sent compressed, before that.
    pub compress_bytes_max: usize,
    /// A socket that says nothing for so long, not even a pong, is closed.
    pub idle_timeout: Duration,
    /// A socket that takes nothing for so long is closed.
    pub stuck_timeout: Duration,
    /// How long a client may take to show a token that is good.
    pub auth_timeout: Duration,
}

/// Serves sessions.
pub struct Sessions {
    config: SessionsConfig,
    registry: Registry,
    doorkeeper: Arc<dyn Doorkeeper>,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    members: Arc<MemberIds>,
    ledger: Arc<Ledger>,
    workloads: Workloads,
    deflated: Arc<DeflatedStates>,
}

impl Sessions {
    /// Sessions of the rooms in `registry`; their writers run on `tracker`.
    #[must_use]
    pub fn new(
        config: SessionsConfig,
        registry: Registry,
        doorkeeper: Arc<dyn Doorkeeper>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
        members: Arc<MemberIds>,
    ) -> Sessions {
        let compress_bytes_max = config.compress_bytes_max;
        Sessions {
            config,
            registry,
            doorkeeper,
            metrics,
            tracker,
            members,
            ledger,
            workloads: Workloads::default(),
            deflated: Arc::new(DeflatedStates::new(compress_bytes_max)),
        }
    }

    /// Serves one client until its socket is closed.
    pub fn serve(self: Arc<Self>, arrival: Arrival) -> impl Future<Output = ()> + Send {
        let member = self.next_member();
        let span = debug_span!("session", %member);
        self.serve_as(member, arrival).instrument(span)
    }

    fn next_member(&self) -> MemberId {
        self.members.draw()
    }

    /// No `async fn`: that would keep what it was given beside what it makes of it, for as long as the session lives. And each
    /// part is boxed by itself, so that a session is as large as what it does and not as the most that any might do.
    fn serve_as(self: Arc<Self>, member: MemberId, arrival: Arrival) -> impl Future<Output = ()> + Send {
        let Arrival { io, leftover, deflate, from, token, entrance, wants_acks, wants_echo, caller, permit } = arrival;
        let limits = self.config.limits.outbox();
        let (mut read_half, write_half) = io.into_split();
        let write_half = Arc::new(write_half);
        let (socket, account) = (Some(Arc::clone(&write_half)), self.ledger.account(from.address));
        let outbox = Arc::new(Outbox::new(socket, limits, account, Arc::clone(&self.metrics)));
        let rooms = Arc::new(Rooms::default());
        async move {
            let target = match entrance {
                Entrance::Dashboard(target) => Ok(Some(target)),
                Entrance::Asking(dashboard, verdict) => match verdict.await {
                    Ok(admission) => Ok(Some(Target { dashboard, admission })),
                    Err(denied) => Err(self.refuse_entry(denied)),
                },
                Entrance::Documents => {
                    outbox.divide();
                    Ok(None)
                }
                Entrance::Nowhere(code) => Err(code),
            };
            let user = match &target {
                Ok(Some(Target { admission, .. })) => self.place_of(&admission.principal),
                _ => Ok(None),
            };
            let (target, user) = match user {
                Ok(user) => (target, user),
                Err(exceeded) => (Err(CloseCode::UserLimit(exceeded)), None),
            };
            let mut again = None;
            let entered = match target {
                // Nothing is read from the socket until the document is loaded: early messages wait in its buffers.
                Ok(Some(Target { dashboard, admission })) => {
                    again = token.zip(admission.until).map(|(token, until)| {
                        Again::new(&self.doorkeeper, from.clone(), dashboard.clone(), token, until)
                    });
                    let dialect = Dialect::YWebsocket;
                    let joining = Joining { member, admission, wants_acks, wants_echo, dialect };
                    Box::pin(self.enter(&dashboard, joining, &rooms, &outbox, caller)).await.map(Some)
                }
                Ok(None) => Ok(None),
                Err(code) => Err(code),
            };
            let writer = writer::Writer {
                io: write_half,
                outbox: Arc::clone(&outbox),
                rooms: Arc::clone(&rooms),
                deflated: deflate.then(|| Arc::clone(&self.deflated)),
                stuck_timeout: self.config.stuck_timeout,
                metrics: Arc::clone(&self.metrics),
            };
            let writing = self.tracker.spawn(writer.run().in_current_span());
            let mut reader = Reader::new(&self, from.clone(), Arc::clone(&outbox), deflate);
            reader.sends_for(user.as_ref().map(|place| place.user().clone()));
            let io = &mut read_half;
            let greeting = match entered {
                Ok(Some(room)) => {
                    let mut talk = OneDocument::new(&room, member, &reader, again);
                    let greeting = Box::pin(reader.run(io, leftover, None, &mut talk)).await;
                    rooms.remove(member);
                    greeting.map(|greeting| (Bytes::new(), Some(greeting)))
                }
                Ok(None) => Some((leftover, None)),
                Err(code) => {
                    debug!(%code, "session refused");
                    let mut talk = Refused { code, patience: Instant::now() + REFUSAL_HOLD };
                    let greeting = Box::pin(reader.run(io, leftover, None, &mut talk)).await;
                    greeting.map(|greeting| (Bytes::new(), Some(greeting)))
                }
            };
            if let Some((leftover, greeting)) = greeting {
                let mut talk = Box::new(Documents::new(Arc::clone(&self), rooms, outbox, from, &reader));
                Box::pin(reader.run(io, leftover, greeting, &mut *talk)).await;
            }
            // The reader has given the outbox a reason to close, or the socket is gone; the writer ends either way.
            let _ = writing.await;
            drop((permit, user));
        }
    }

    /// Counts a session of a user until the place is dropped; nobody in particular needs none.
    fn place_of(&self, principal: &Principal) -> Result<Option<UserPlace>, Exceeded> {
        let place = self.registry.allowances().join(principal);
        place.inspect_err(|exceeded| self.metrics.refusals.inc(exceeded.limit.into()))
    }

    /// Opens a dashboard and joins its room.
    async fn enter(
        &self,
        dashboard: &DashboardId,
        joining: Joining,
        rooms: &Rooms,
        outbox: &Arc<Outbox>,
        caller: Option<Box<SpanContext>>,
    ) -> Result<RoomHandle, CloseCode> {
        let asked = Instant::now().into_std();
        let room = self.registry.open(dashboard).await.map_err(|failure| self.refuse_open(&failure))?;
        rooms.insert(joining.member, room.clone());
        room.join(joining, Arc::clone(outbox), asked, caller.map(|caller| *caller))
            .await
            .map_err(|_| CloseCode::Internal)?;
        Ok(room)
    }

    /// Counts somebody who is not let in, and says what to tell them.
    pub fn refuse_entry(&self, denied: Denied) -> CloseCode {
        let (refusal, code) = refusal(denied);
        self.metrics.refusals.inc(refusal);
        code
    }

    fn refuse_open(&self, failure: &OpenError) -> CloseCode {
        debug!(%failure, "dashboard not opened");
        let unopened = unopened(failure);
        self.metrics.refusals.inc(match unopened {
            Unopened::Draining => Refusal::Draining,
            Unopened::Deleted => Refusal::Deleted,
            Unopened::Away | Unopened::Memory | Unopened::Broken => Refusal::Unavailable,
            Unopened::NotKept => Refusal::Forbidden,
        });
        unopened.close_code()
    }
}

/// A token that ended longer ago is not taken for one whose page is getting another.
const RENEWABLE: Duration = Duration::from_secs(600);

/// How somebody who is not let in is counted, and told.
fn refusal(denied: Denied) -> (Refusal, CloseCode) {
    match denied {
        Denied::Forbidden => (Refusal::Forbidden, CloseCode::Forbidden),
        Denied::Expired { ago } if ago <= RENEWABLE => (Refusal::Expired, CloseCode::Expired),
        Denied::Expired { .. } => (Refusal::Expired, CloseCode::Unauthenticated),
        Denied::Unauthenticated => (Refusal::Unauthenticated, CloseCode::Unauthenticated),
        Denied::TryAgain => (Refusal::Unavailable, CloseCode::LoadFailed),
    }
}

fn unopened(failure: &OpenError) -> Unopened {
    match failure {
        OpenError::Draining => Unopened::Draining,
        OpenError::Memory => Unopened::Memory,
        OpenError::Store(_) => Unopened::Away,
        OpenError::Deleted => Unopened::Deleted,
        OpenError::Damaged | OpenError::Quarantined => Unopened::Broken,
        OpenError::NotKept => Unopened::NotKept,
    }
}
