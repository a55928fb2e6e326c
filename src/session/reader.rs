//! The reading half of a session: bytes from the socket become inputs of the room, after every check that needs no room.

use super::SessionsConfig;
use crate::compress;
use crate::metrics::{Metrics, Refusal};
use crate::outbox::{Call, Outbox};
use crate::room::RoomHandle;
use bytes::Bytes;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Poll, ready};
use core::time::Duration;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;
use ydash_proto::id::MemberId;
use ydash_proto::rate::TokenBucket;
use ydash_proto::room::{Input, Scanned};
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, StateVector};
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::websocket::{Decoder, Event, MessageKind, Options, Role};
use ydash_proto::wire::{self, FrameError, Message};

/// What one read takes at most. The buffer belongs to the thread, so an idle session has none.
const READ_BYTES: usize = 64 << 10;
/// How long a client that is asked whether it lives may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to answer a close. A drain waits for it, too.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a session may ask for what it lacks (SyncStep1), at once and in the long run. An answer may cost as much as the
/// document is large; stock clients ask once per connection, or every so many seconds (`resyncInterval`).
const QUESTIONS_BURST: u32 = 8;
const QUESTIONS_PER_SECOND: u32 = 1;
/// A message beyond this is scanned on a thread that may take its time.
const LARGE_MESSAGE: usize = 128 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Why a session ends.
enum End {
    /// The socket is gone, or the peer said goodbye.
    Gone,
    /// We say why.
    Close(CloseCode),
    /// Somebody else, the room mostly, has ended it and says why.
    Told,
}

pub(super) struct Reader<'a> {
    config: &'a SessionsConfig,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    decoder: Decoder,
    messages: TokenBucket,
    bytes: TokenBucket,
    questions: TokenBucket,
    started: Instant,
    heard_at: Instant,
    deadline: Option<Instant>,
    unknown_logged: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        config: &'a SessionsConfig,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
        deflate: bool,
    ) -> Reader<'a> {
        let now = Instant::now();
        let rates = config.rates;
        Reader {
            config,
            outbox,
            metrics,
            decoder: Decoder::new(Options {
                role: Role::Server,
                message_bytes_max: config.limits.frame_bytes_max,
                deflate,
            }),
            messages: TokenBucket::new(rates.messages_burst, rates.messages_per_second, Timestamp(0)),
            bytes: TokenBucket::new(rates.bytes_burst, rates.bytes_per_second, Timestamp(0)),
            questions: TokenBucket::new(QUESTIONS_BURST, QUESTIONS_PER_SECOND, Timestamp(0)),
            started: now,
            heard_at: now,
            deadline: None,
            unknown_logged: false,
        }
    }

    /// Reads until the session ends; the outbox knows the reason by then.
    pub(super) async fn run(&mut self, mut io: OwnedReadHalf, leftover: Bytes, room: &RoomHandle, member: MemberId) {
        let end = match self.serve(&mut io, leftover, room, member).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            End::Gone => self.outbox.abandon(),
            End::Close(code) => {
                self.outbox.close(code, crate::outbox::hold(code));
                self.say_no_more(io, room, member).await;
            }
            End::Told => self.say_no_more(io, room, member).await,
        }
    }

    /// The member is not heard any more, so it leaves the room before its socket is closed.
    async fn say_no_more(&mut self, io: OwnedReadHalf, room: &RoomHandle, member: MemberId) {
        room.leave(member).await;
        self.discard(io).await;
    }

    /// Throws away what the peer sends until it hangs up, so that the close frame is not lost to a reset.
    pub(super) async fn discard(&mut self, mut io: OwnedReadHalf) {
        let outbox = Arc::clone(&self.outbox);
        let drained = async {
            loop {
                if !matches!(read(&mut io, |_| ()).await, Ok(Some(()))) {
                    return;
                }
            }
        };
        let said = Arc::clone(&self.outbox);
        let patience = async {
            while !said.is_gone() {
                said.called().await;
            }
            sleep(GOODBYE_TIMEOUT).await;
        };
        tokio::select! {
            () = drained => {}
            () = patience => {}
        }
        outbox.abandon();
    }

    async fn serve(
        &mut self,
        io: &mut OwnedReadHalf,
        leftover: Bytes,
        room: &RoomHandle,
        member: MemberId,
    ) -> Result<core::convert::Infallible, End> {
        let mut events = Vec::new();
        let leftover_ok = self.decode(&leftover, &mut events);
        self.take_all(events, room, member).await?;
        leftover_ok?;
        let patience = sleep_until(self.heard_at + self.config.idle_timeout / 2);
        tokio::pin!(patience);
        let outbox = Arc::clone(&self.outbox);
        let called = outbox.called();
        tokio::pin!(called);
        loop {
            let mut events = Vec::new();
            // All cancel-safe; what was read is in `events`.
            let decoded = tokio::select! {
                decoded = read(io, |bytes| self.decode(bytes, &mut events)) => match decoded {
                    Ok(Some(decoded)) => decoded,
                    Ok(None) | Err(_) => return Err(End::Gone),
                },
                () = &mut patience => {
                    let next = self.look_at_the_time()?;
                    patience.as_mut().reset(next);
                    continue;
                }
                call = &mut called => {
                    if call == Call::Ended {
                        return Err(End::Told);
                    }
                    let deadline = Instant::now() + PROBE_TIMEOUT;
                    self.deadline = Some(deadline);
                    patience.as_mut().reset(deadline);
                    called.set(outbox.called());
                    continue;
                }
            };
            self.heard_at = Instant::now();
            self.deadline = None;
            if events.len() == 1
                && let Some(event) = events.pop()
            {
                self.take(event, room, member).await?;
            } else {
                self.take_all(events, room, member).await?;
            }
            decoded?;
        }
    }

    /// Pings a silent socket halfway, and gives it up at the end of its patience. Returns when to look again.
    fn look_at_the_time(&mut self) -> Result<Instant, End> {
        let now = Instant::now();
        let idle = self.config.idle_timeout;
        if self.deadline.is_some_and(|deadline| now >= deadline) || now >= self.heard_at + idle {
            self.metrics.refusals.inc(Refusal::Idle);
            return Err(End::Close(CloseCode::Idle));
        }
        let halfway = self.heard_at + idle / 2;
        if now < halfway {
            return Ok(halfway);
        }
        self.outbox.ping();
        Ok(self.heard_at + idle)
    }

    fn decode(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), End> {
        loop {
            match self.decoder.decode(&mut bytes) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return Ok(()),
                Err(failure) => {
                    debug!(%failure, "websocket refused");
                    let code = failure.close_code();
                    let refusal = match code {
                        CloseCode::MessageTooBig => Refusal::FrameTooLarge,
                        _ => Refusal::WebSocketProtocol,
                    };
                    return Err(self.refuse(refusal, code));
                }
            }
        }
    }

    async fn take_all(&mut self, events: Vec<Event>, room: &RoomHandle, member: MemberId) -> Result<(), End> {
        for event in events {
            self.take(event, room, member).await?;
        }
        Ok(())
    }

    async fn take(&mut self, event: Event, room: &RoomHandle, member: MemberId) -> Result<(), End> {
        let (payload, compressed) = match event {
            Event::Message { kind: MessageKind::Binary, payload, compressed } => (payload, compressed),
            Event::Message { kind: MessageKind::Text, .. } => {
                return Err(self.refuse(Refusal::TextFrame, CloseCode::TextFrame));
            }
            Event::Ping(payload) => {
                self.throttle(payload.len()).await;
                self.outbox.pong(payload);
                return Ok(());
            }
            Event::Pong(_) => {
                self.throttle(0).await;
                return Ok(());
            }
            Event::Close { .. } => return Err(End::Close(CloseCode::Normal)),
        };
        self.metrics.frames_received.inc();
        self.metrics.bytes_received.inc_by(payload.len() as u64);
        self.throttle(payload.len()).await;
        let frame = if compressed {
            let wire_bytes = payload.len();
            let inflated = self.inflate(payload).await?;
            // What comes out is what has to be worked on.
            self.throttle_bytes(inflated.len().saturating_sub(wire_bytes)).await;
            inflated
        } else {
            payload
        };
        let Some(input) = self.read_message(frame, member).await? else { return Ok(()) };
        room.input(input).await.map_err(|_| End::Close(CloseCode::Internal))
    }

    /// Waits until the session's rate allows one more message of so many bytes.
    async fn throttle(&mut self, bytes: usize) {
        wait_for(&mut self.messages, self.started, 1, &self.metrics).await;
        self.throttle_bytes(bytes).await;
    }

    async fn throttle_bytes(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        wait_for(&mut self.bytes, self.started, bytes, &self.metrics).await;
    }

    async fn inflate(&mut self, payload: Bytes) -> Result<Bytes, End> {
        let max = self.config.limits.frame_bytes_max;
        let inflated = if payload.len() > LARGE_MESSAGE / 8 {
            tokio::task::spawn_blocking(move || compress::inflate_bounded(&payload, max))
                .await
                .map_err(|_| End::Close(CloseCode::Internal))?
        } else {
            compress::inflate_bounded(&payload, max)
        };
        inflated.map(Bytes::from).map_err(|failure| {
            debug!(%failure, "message does not inflate");
            match failure {
                compress::InflateError::TooLarge { .. } => {
                    self.refuse(Refusal::FrameTooLarge, CloseCode::MessageTooBig)
                }
                _ => self.refuse(Refusal::GarbageFrame, CloseCode::BadPayload),
            }
        })
    }

    /// Turns a frame into what the room is told; `None` when that is nothing.
    async fn read_message(&mut self, frame: Bytes, member: MemberId) -> Result<Option<Input>, End> {
        let limits = &self.config.limits;
        let message = match wire::decode(&frame) {
            Ok(message) => message,
            Err(FrameError::UnknownType(kind)) => {
                // Ignored, as stock servers do: a client may speak more than we know.
                if !core::mem::replace(&mut self.unknown_logged, true) {
                    debug!(kind, "unknown message type");
                }
                self.metrics.refusals.inc(Refusal::UnknownMessage);
                return Ok(None);
            }
            Err(failure) => {
                debug!(%failure, "frame refused");
                return Err(self.refuse(Refusal::GarbageFrame, CloseCode::BadFrame));
            }
        };
        let (update, is_live) = match message {
            Message::SyncStep1(have) => {
                let decoded = if have.len() > LARGE_MESSAGE {
                    let (have, limits) = (have.clone(), limits.clone());
                    tokio::task::spawn_blocking(move || StateVector::decode(&have, &limits))
                        .await
                        .map_err(|_| End::Close(CloseCode::Internal))?
                } else {
                    StateVector::decode(&have, limits)
                };
                return match decoded {
                    Ok(have) => {
                        wait_for(&mut self.questions, self.started, 1, &self.metrics).await;
                        Ok(Some(Input::SyncStep1 { member, have }))
                    }
                    Err(failure) => {
                        debug!(%failure, "state vector refused");
                        Err(self.refuse(Refusal::GarbageFrame, CloseCode::BadFrame))
                    }
                };
            }
            Message::Awareness(body) => {
                self.metrics.awareness.inc();
                return match wire::awareness::entries(&body) {
                    Ok(_) => Ok(Some(Input::Awareness { member, body })),
                    Err(failure) => {
                        debug!(%failure, "awareness refused");
                        Err(self.refuse(Refusal::MalformedAwareness, CloseCode::BadFrame))
                    }
                };
            }
            Message::QueryAwareness => return Ok(Some(Input::QueryAwareness { member })),
            // Stock clients send none; `decode` hands out the last three from servers only.
            Message::Auth(_)
            | Message::PermissionDenied(_)
            | Message::Authenticated { .. }
            | Message::SyncStatus { .. } => return Ok(None),
            Message::SyncStep2(update) => (update, false),
            Message::Update(update) => (update, true),
        };
        let scan = if update.len() > LARGE_MESSAGE {
            let (update, limits) = (update.clone(), limits.clone());
            tokio::task::spawn_blocking(move || update::scan(&update, &limits))
                .await
                .map_err(|_| End::Close(CloseCode::Internal))?
        } else {
            update::scan(&update, limits)
        };
        match scan {
            Ok(scan) => {
                let frame = is_live.then_some(frame);
                Ok(Some(Input::Update { member, update: Box::new(Scanned { update, scan, frame }) }))
            }
            Err(failure) => {
                debug!(%failure, "update refused");
                Err(self.refuse(Refusal::MalformedUpdate, CloseCode::BadFrame))
            }
        }
    }

    fn refuse(&self, refusal: Refusal, code: CloseCode) -> End {
        self.metrics.refusals.inc(refusal);
        End::Close(code)
    }
}

/// Waits until `bucket` has `n` tokens for a session that began at `started`.
async fn wait_for(bucket: &mut TokenBucket, started: Instant, n: u32, metrics: &Metrics) {
    let mut was_slowed = false;
    let now = || Timestamp(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    while let Err(wait) = bucket.take(now(), n) {
        if !core::mem::replace(&mut was_slowed, true) {
            metrics.refusals.inc(Refusal::Rate);
        }
        sleep(wait).await;
    }
}

/// Reads once into the thread's buffer, as soon as there is something. `None` when the peer hung up. Cancel-safe.
async fn read<T>(io: &mut OwnedReadHalf, mut take: impl FnMut(&[u8]) -> T) -> io::Result<Option<T>> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            // Not `try_read`, which would have to fail once more before the socket counts as empty.
            ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
            Poll::Ready(Ok((!read.filled().is_empty()).then(|| take(read.filled()))))
        })
    })
    .await
}
