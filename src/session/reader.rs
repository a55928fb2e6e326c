//! The reading half of a socket: bytes become messages, and messages inputs of rooms, after every check that needs no room.
//!
//! What a message is about is for a [`Talk`] to know: one document for good, several, or not decided yet.

use super::again::Again;
use super::workload::{self, Workload};
use super::{Doorkeeper, Sessions, SessionsConfig, refusal};
use crate::allowances::{Allowances, Sent, User};
use crate::auth::{Denied, KeptToken, Whence};
use crate::compress;
use crate::ledger::{ASK_AGAIN, Account, CHARGED_BYTES_MIN, Lease};
use crate::metrics::{Memory, Metrics, Refusal};
use crate::outbox::{Calls, Outbox};
use crate::reading::lengthy::{Lengthy, Turn};
use crate::room::{Clock, RoomHandle};
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
use ydash_proto::access::Admission;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::rate::{Pace, TokenBucket};
use ydash_proto::room::{Input, Scanned};
use ydash_proto::session::{Call, Question, Questions};
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, StateVector};
use ydash_proto::wire::close::{CloseCode, REFUSAL_HOLD};
use ydash_proto::wire::websocket::{Decoder, Event, MessageKind, Options, Role};
use ydash_proto::wire::{self, FrameError, Message, hocuspocus};

/// What one read takes at most. The buffer belongs to the thread, so an idle session has none.
const READ_BYTES: usize = 64 << 10;
/// How long a client that is asked whether it lives may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to answer a close. A drain waits for it, too.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a message may wait for memory before its sender has to begin anew.
const MEMORY_PATIENCE: Duration = Duration::from_secs(10);
/// What a message may inflate to before that is paid for, and by how much more each further attempt may take.
const INFLATED_FIRST: usize = 64 << 10;
const INFLATED_STEP: usize = 16;
/// How much of a message that is too long is looked at: what it is, and about which document.
const HEAD_BYTES: usize = 1 << 10;
/// A message beyond this is scanned on a thread that may take its time, in its turn.
pub(super) const LARGE_MESSAGE: usize = 128 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Why a talk ends.
pub(super) enum End {
    /// The socket is gone, or the peer said goodbye.
    Gone,
    /// We say why, at last after so long.
    Close(CloseCode, Duration),
    /// Somebody else, the room mostly, has ended it and says why.
    Told,
    /// The peer speaks Hocuspocus: this message is its first.
    Greeted(Bytes),
}

impl End {
    /// For this reason, held as long as it takes.
    pub(super) fn with(code: CloseCode) -> End {
        End::Close(code, code.hold())
    }
}

/// What became of a message.
pub(super) enum Taken {
    /// It was seen to.
    Yes,
    /// It is to be shown again when something has happened beside the socket; nothing behind it is taken before.
    Later(Bytes),
}

/// What the messages on a socket are about.
pub(super) trait Talk {
    /// Something that happens beside the socket.
    type Event;

    /// Takes one binary message. It waits for rooms alone: what takes longer is for [`Talk::wait`].
    async fn take(&mut self, reader: &mut Reader<'_>, message: Bytes) -> Result<Taken, End>;

    /// A message was longer than one may be, and is lost but for its beginning.
    async fn passed_over(&mut self, reader: &mut Reader<'_>, head: &Bytes) -> Result<(), End>;

    /// Waits for something beside the socket. Cancel-safe.
    async fn wait(&mut self) -> Self::Event;

    /// Sees to what [`Talk::wait`] waited for.
    async fn attend(&mut self, reader: &mut Reader<'_>, event: Self::Event) -> Result<(), End>;

    /// A room does not want one of the socket's members.
    async fn dismissed(&mut self, reader: &mut Reader<'_>, member: MemberId, code: CloseCode) -> Result<(), End>;

    /// The talk is over: members leave their rooms.
    async fn leave(&mut self);
}

/// One member of one room.
pub(super) struct OneDocument<'a> {
    room: &'a RoomHandle,
    member: MemberId,
    questions: Questions,
    /// When the reader's time began.
    clock: Clock,
    is_first: bool,
    /// Set where its token is asked about again.
    again: Option<Box<Again>>,
}

/// An event of a [`OneDocument`].
pub(super) enum Due {
    Question,
    /// Its token was asked about again.
    Admitted(Result<Admission, Denied>),
}

impl<'a> OneDocument<'a> {
    pub(super) fn new(
        room: &'a RoomHandle,
        member: MemberId,
        reader: &Reader<'_>,
        again: Option<Box<Again>>,
    ) -> OneDocument<'a> {
        let questions = Questions::new(Timestamp(0));
        OneDocument { room, member, questions, clock: reader.clock, is_first: true, again }
    }
}

impl Talk for OneDocument<'_> {
    type Event = Due;

    async fn take(&mut self, reader: &mut Reader<'_>, message: Bytes) -> Result<Taken, End> {
        if core::mem::take(&mut self.is_first) && hocuspocus::is_greeting(&message) {
            return Err(End::Greeted(message));
        }
        let shown = wire::is_auth(&message).then(|| message.clone());
        if let Some(input) = reader.read_message(message, self.member, self.room, &mut self.questions).await? {
            if let (Some(shown), Input::Readmitted { admission, .. }) = (shown, &input) {
                // From here on, this is the token that is asked about, and its user pays.
                reader.sends_for(reader.allowances.of(&admission.principal));
                let token = match wire::decode(&shown) {
                    Ok(Message::Auth(body)) => wire::renewal(&body).map(Arc::from),
                    _ => None,
                };
                self.again = reader.again(self.room.id(), token, admission.until);
            }
            self.room
                .deliver(input, reader.paid(), reader.turn(), reader.arrived)
                .await
                .map_err(|_| End::with(CloseCode::Internal))?;
        }
        Ok(Taken::Yes)
    }

    async fn passed_over(&mut self, _: &mut Reader<'_>, head: &Bytes) -> Result<(), End> {
        let wants_ack = wire::is_update(head);
        let input = Input::TooLarge { member: self.member, acks: u32::from(wants_ack) };
        self.room.input(input).await.map_err(|_| End::with(CloseCode::Internal))
    }

    async fn wait(&mut self) -> Due {
        let question = self.questions.due_at().map(|due_at| self.clock.instant(due_at));
        // Boxed, so that a session without a question is no larger for it.
        match (question, &mut self.again) {
            (None, None) => core::future::pending().await,
            (None, Some(again)) => Due::Admitted(again.verdict().await),
            (Some(due_at), None) => {
                Box::pin(sleep_until(due_at)).await;
                Due::Question
            }
            (Some(due_at), Some(again)) => {
                let due = async move {
                    // Both are cancel-safe: the deadline stays, and `again` keeps its question.
                    tokio::select! {
                        () = sleep_until(due_at) => Due::Question,
                        verdict = again.verdict() => Due::Admitted(verdict),
                    }
                };
                Box::pin(due).await
            }
        }
    }

    async fn attend(&mut self, reader: &mut Reader<'_>, due: Due) -> Result<(), End> {
        if let Due::Admitted(verdict) = due {
            return match verdict {
                Ok(admission) => {
                    reader.sends_for(reader.allowances.of(&admission.principal));
                    let input = Input::Readmitted { member: self.member, admission: Box::new(admission) };
                    self.room.input(input).await.map_err(|_| End::with(CloseCode::Internal))
                }
                // It stays until the last answer ends.
                Err(Denied::TryAgain) => Ok(()),
                Err(denied) => {
                    let (refusal, code) = refusal(denied);
                    reader.count(refusal);
                    Err(End::Close(code, REFUSAL_HOLD))
                }
            };
        }
        let Some(have) = self.questions.due(reader.now(), self.room.document_bytes()) else { return Ok(()) };
        let have = reader.read_question(have).await?;
        let Some(question) = reader.put_question(self.member, have) else { return Ok(()) };
        self.room.input(question).await.map_err(|_| End::with(CloseCode::Internal))
    }

    async fn dismissed(&mut self, _: &mut Reader<'_>, _: MemberId, _: CloseCode) -> Result<(), End> {
        Err(End::Told)
    }

    async fn leave(&mut self) {
        self.room.leave(self.member).await;
    }
}

/// A peer that is refused, unless its first message shows that the path meant nothing: it speaks Hocuspocus.
pub(super) struct Refused {
    pub(super) code: CloseCode,
    pub(super) patience: Instant,
}

impl Talk for Refused {
    type Event = ();

    async fn take(&mut self, _: &mut Reader<'_>, message: Bytes) -> Result<Taken, End> {
        Err(match hocuspocus::is_greeting(&message) {
            true => End::Greeted(message),
            false => End::Close(self.code, REFUSAL_HOLD),
        })
    }

    async fn passed_over(&mut self, _: &mut Reader<'_>, _: &Bytes) -> Result<(), End> {
        Err(End::Close(self.code, REFUSAL_HOLD))
    }

    async fn wait(&mut self) {
        sleep_until(self.patience).await;
    }

    async fn attend(&mut self, _: &mut Reader<'_>, (): ()) -> Result<(), End> {
        Err(End::Close(self.code, Duration::ZERO)) // It has been held.
    }

    async fn dismissed(&mut self, _: &mut Reader<'_>, _: MemberId, _: CloseCode) -> Result<(), End> {
        Err(End::Told)
    }

    async fn leave(&mut self) {}
}

/// What checking a signature costs, in microseconds.
const VERIFICATION: u64 = 100;

pub(super) struct Reader<'a> {
    config: &'a SessionsConfig,
    doorkeeper: &'a Arc<dyn Doorkeeper>,
    pub(super) allowances: &'a Allowances,
    from: Whence,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    account: Account,
    /// Set while a large message arrives.
    arriving: Option<Box<Arriving>>,
    /// What the message that arrived last takes up, until somebody has it.
    paid: Option<Box<Lease>>,
    /// Where large messages take turns, and the turn of the one at hand.
    lengthy: &'a Lengthy,
    turn: Option<Box<Turn>>,
    workload: Workload,
    /// What the message that is being read costs.
    price: u64,
    /// What was read together with a greeting and is not taken yet.
    backlog: Vec<Event>,
    decoder: Decoder,
    messages: TokenBucket,
    /// Messages that tell presence are counted apart: however many edits come at once, the cursor goes on.
    presence: TokenBucket,
    bytes: TokenBucket,
    /// Messages and bytes that its user has not paid for yet.
    sent: Sent,
    clock: Clock,
    heard_at: Instant,
    deadline: Option<Instant>,
    unknown_logged: bool,
    /// Whether some edits are traced; then, when the message at hand arrived.
    is_traced: bool,
    pub(super) arrived: Option<std::time::Instant>,
}

/// A large message on its way in.
struct Arriving {
    lease: Box<Lease>,
    pace: Pace,
    /// Reads since others had their turn.
    reads: usize,
}

/// So many reads take half a millisecond.
const READS_AT_ONCE: usize = 8;

impl<'a> Reader<'a> {
    pub(super) fn new(sessions: &'a Sessions, from: Whence, outbox: Arc<Outbox>, deflate: bool) -> Reader<'a> {
        let now = Instant::now();
        let config = &sessions.config;
        let rates = config.rates;
        Reader {
            config,
            doorkeeper: &sessions.doorkeeper,
            allowances: sessions.registry.allowances(),
            outbox,
            metrics: Arc::clone(&sessions.metrics),
            workload: sessions.workloads.of(from.address),
            price: 0,
            account: sessions.ledger.account(from.address),
            from,
            arriving: None,
            paid: None,
            lengthy: sessions.registry.lengthy(),
            turn: None,
            backlog: Vec::new(),
            decoder: Decoder::new(Options {
                role: Role::Server,
                message_bytes_max: config.limits.message_bytes_max(),
                deflate,
            }),
            messages: TokenBucket::new(rates.messages_burst, rates.messages_per_second, Timestamp(0)),
            presence: TokenBucket::new(rates.messages_burst, rates.messages_per_second, Timestamp(0)),
            bytes: TokenBucket::new(rates.bytes_burst, rates.bytes_per_second, Timestamp(0)),
            sent: Sent::default(),
            clock: sessions.registry.clock(),
            heard_at: now,
            deadline: None,
            unknown_logged: false,
            is_traced: sessions.registry.traces().is_on(),
            arrived: None,
        }
    }

    /// From here on, this user pays for everything that is read. `None` changes nothing: a token that names no user frees nobody of limits.
    pub(super) fn sends_for(&mut self, user: Option<User>) {
        if let Some(user) = user {
            self.sent.by(user);
        }
    }

    /// Reads until the talk ends; the outbox knows the reason by then. `greeting` is a message that was read before.
    ///
    /// Returns the greeting of a peer that turned out to speak Hocuspocus: its socket goes on.
    pub(super) async fn run<T: Talk>(
        &mut self,
        io: &mut OwnedReadHalf,
        leftover: Bytes,
        greeting: Option<Bytes>,
        talk: &mut T,
    ) -> Option<Bytes> {
        let end = match self.serve(io, leftover, greeting, talk).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            End::Gone => {
                self.outbox.abandon();
                talk.leave().await;
            }
            End::Close(code, hold) => {
                self.outbox.close(code, hold);
                self.say_no_more(io, talk).await;
            }
            End::Told => self.say_no_more(io, talk).await,
            End::Greeted(greeting) => {
                self.outbox.divide();
                talk.leave().await;
                return Some(greeting);
            }
        }
        None
    }

    /// The members are not heard any more, so they leave their rooms before the socket is closed.
    async fn say_no_more<T: Talk>(&mut self, io: &mut OwnedReadHalf, talk: &mut T) {
        talk.leave().await;
        self.discard(io).await;
    }

    /// Throws away what the peer sends until it hangs up, so that the close frame is not lost to a reset.
    async fn discard(&mut self, io: &mut OwnedReadHalf) {
        let outbox = Arc::clone(&self.outbox);
        let drained = async {
            loop {
                if !matches!(read(io, READ_BYTES, |_| ()).await, Ok(Some(()))) {
                    return;
                }
            }
        };
        let said = Arc::clone(&self.outbox);
        let patience = async {
            let mut calls = said.calls();
            while !said.is_gone() {
                calls.next().await;
            }
            sleep(GOODBYE_TIMEOUT).await;
        };
        tokio::select! {
            () = drained => {}
            () = patience => {}
        }
        outbox.abandon();
    }

    async fn serve<T: Talk>(
        &mut self,
        io: &mut OwnedReadHalf,
        leftover: Bytes,
        greeting: Option<Bytes>,
        talk: &mut T,
    ) -> Result<core::convert::Infallible, End> {
        let outbox = Arc::clone(&self.outbox);
        let calls = &mut outbox.calls();
        if let Some(greeting) = greeting {
            self.hand_over(greeting, talk, calls).await?;
        }
        let mut events = core::mem::take(&mut self.backlog);
        let leftover_ok = self.decode(&leftover, &mut events);
        self.take_all(events, talk, calls).await?;
        leftover_ok?;
        self.heard_at = Instant::now();
        let patience = sleep_until(self.heard_at + self.config.idle_timeout / 2);
        tokio::pin!(patience);
        loop {
            self.make_place(talk, calls).await?;
            // Somebody asked whether the peer lives, or a large message arrives.
            if let Some(deadline) = self.deadline
                && deadline != patience.deadline()
            {
                patience.as_mut().reset(deadline);
            }
            if let Some(due_at) = self.arrival_due_at()
                && due_at < patience.deadline()
            {
                patience.as_mut().reset(due_at);
            }
            let bytes_max = self.read_bytes_max();
            let mut events = Vec::new();
            // All cancel-safe; what was read is in `events`.
            let decoded = tokio::select! {
                decoded = read(io, bytes_max, |bytes| self.decode(bytes, &mut events)) => match decoded {
                    Ok(Some(decoded)) => decoded,
                    Ok(None) | Err(_) => return Err(End::Gone),
                },
                () = &mut patience => {
                    let next = self.look_at_the_time()?;
                    patience.as_mut().reset(next);
                    continue;
                }
                call = calls.next() => {
                    self.answer(call, talk).await?;
                    continue;
                }
                event = talk.wait() => {
                    talk.attend(self, event).await?;
                    continue;
                }
            };
            self.deadline = None;
            if events.len() == 1
                && let Some(event) = events.pop()
            {
                self.take(event, talk, calls).await?;
            } else {
                self.take_all(events, talk, calls).await?;
            }
            decoded?;
            // However long that took: what was not read meanwhile was not kept silent by the peer.
            let was_read_at = core::mem::replace(&mut self.heard_at, Instant::now());
            if let Some(arriving) = &mut self.arriving {
                arriving.pace.excuse(self.heard_at - was_read_at);
            }
            if let Some(deadline) = &mut self.deadline {
                *deadline = self.heard_at + PROBE_TIMEOUT;
            }
        }
    }

    /// Pays for what the next read may bring of a message that is arriving, or waits until there is memory.
    async fn make_place<T: Talk>(&mut self, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let bytes = self.decoder.buffered_bytes_after(READ_BYTES);
        if bytes <= CHARGED_BYTES_MIN {
            return Ok(());
        }
        let (now, arrived) = (self.now(), self.decoder.arrived_bytes());
        let arriving = self.arriving.get_or_insert_with(|| {
            Box::new(Arriving { lease: self.account.lease(Memory::Messages), pace: Pace::new(now, arrived), reads: 0 })
        });
        arriving.reads += 1;
        let is_long = arriving.reads.is_multiple_of(READS_AT_ONCE);
        if arriving.lease.resize(bytes).is_ok() {
            return if is_long { self.pay_for_arrival(talk, calls).await } else { Ok(()) };
        }
        arriving.lease.charge(self.decoder.buffered_bytes());
        let began = Instant::now();
        let mut lease = core::mem::replace(&mut arriving.lease, self.account.lease(Memory::Messages));
        Box::pin(self.wait_for_memory(&mut lease, bytes, talk, calls)).await?;
        if let Some(arriving) = &mut self.arriving {
            arriving.lease = lease;
            arriving.pace.excuse(began.elapsed());
        }
        Ok(())
    }

    /// Pays for what has arrived since it did so last, and lets others have their turn.
    async fn pay_for_arrival<T: Talk>(&mut self, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let began = Instant::now();
        self.wait_for_share(workload::price_of_arrival(READS_AT_ONCE * READ_BYTES), talk, calls).await?;
        tokio::task::yield_now().await;
        if let Some(arriving) = &mut self.arriving {
            arriving.pace.excuse(began.elapsed());
        }
        Ok(())
    }

    /// Has `lease` be one of so many bytes, as soon as that can be.
    async fn wait_for_memory<T: Talk>(
        &mut self,
        lease: &mut Lease,
        bytes: usize,
        talk: &mut T,
        calls: &mut Calls<'_>,
    ) -> Result<(), End> {
        let until = Instant::now() + MEMORY_PATIENCE;
        while let Err(failure) = lease.resize(bytes) {
            if Instant::now() >= until {
                debug!(%failure, bytes, "no memory for a message");
                self.count(Refusal::Memory);
                return Err(End::Close(CloseCode::Memory, REFUSAL_HOLD));
            }
            self.pause(Some(ASK_AGAIN), talk, calls).await?;
        }
        Ok(())
    }

    /// How much one read may take. What a first read brings is not paid for, so it is little while memory is short.
    fn read_bytes_max(&self) -> usize {
        if self.arriving.is_none() && self.account.is_tight() { CHARGED_BYTES_MIN } else { READ_BYTES }
    }

    /// When the next part of a large message has to be there.
    fn arrival_due_at(&self) -> Option<Instant> {
        let due_at = self.arriving.as_ref()?.pace.due_at();
        Some(self.instant(due_at))
    }

    /// What the message at hand takes up: whoever takes the message keeps this with it.
    pub(super) fn paid(&mut self) -> Option<Box<Lease>> {
        self.paid.take()
    }

    /// The turn of the message at hand: whoever takes the message works in it.
    pub(super) fn turn(&mut self) -> Option<Box<Turn>> {
        self.turn.take()
    }

    /// Waits for the turn of a large message.
    async fn take_turn<T: Talk>(&mut self, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let turn = self.lengthy.turn(self.account.payer());
        tokio::pin!(turn);
        loop {
            // All cancel-safe.
            tokio::select! {
                turn = &mut turn => {
                    self.turn = turn.map(Box::new);
                    return Ok(());
                }
                call = calls.next() => self.answer(call, talk).await?,
                event = talk.wait() => talk.attend(self, event).await?,
            }
        }
    }

    /// Does what somebody else than the peer wants.
    async fn answer<T: Talk>(&mut self, call: Call, talk: &mut T) -> Result<(), End> {
        match call {
            Call::Ended => Err(End::Told),
            Call::Probe => {
                self.deadline = Some(Instant::now() + PROBE_TIMEOUT);
                Ok(())
            }
            Call::Dismissed(member, code) => talk.dismissed(self, member, code).await,
        }
    }

    /// Reads nothing for so long, or until something has happened, and sees to everything else: nothing that a peer sends, however
    /// much it is, puts off its end.
    async fn pause<T: Talk>(&mut self, wait: Option<Duration>, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let over = sleep(wait.unwrap_or_default());
        tokio::pin!(over);
        loop {
            // All cancel-safe.
            tokio::select! {
                () = &mut over, if wait.is_some() => return Ok(()),
                call = calls.next() => self.answer(call, talk).await?,
                event = talk.wait() => talk.attend(self, event).await?,
            }
            if wait.is_none() {
                return Ok(());
            }
        }
    }

    /// Pings a silent socket halfway, and gives it up at the end of its patience. Returns when to look again.
    fn look_at_the_time(&mut self) -> Result<Instant, End> {
        let now = Instant::now();
        let (at, arrived) = (self.now(), self.decoder.arrived_bytes());
        if self.arriving.as_mut().is_some_and(|arriving| !arriving.pace.holds(at, arrived)) {
            return Err(self.refuse(Refusal::Slow, CloseCode::Slow));
        }
        let idle = self.config.idle_timeout;
        if self.deadline.is_some_and(|deadline| now >= deadline) || now >= self.heard_at + idle {
            self.metrics.refusals.inc(Refusal::Idle);
            return Err(End::with(CloseCode::Idle));
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
                Ok(Some(event)) => {
                    if matches!(event, Event::Message { .. } | Event::Oversized { .. })
                        && let Some(arriving) = self.arriving.take()
                    {
                        // The first message that comes out of a read is the one that was arriving.
                        self.paid = Some(arriving.lease);
                    }
                    events.push(event);
                }
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

    async fn take_all<T: Talk>(&mut self, events: Vec<Event>, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            let taken = self.take(event, talk, calls).await;
            if matches!(taken, Err(End::Greeted(_))) {
                self.backlog = events.collect();
                return taken;
            }
            taken?;
        }
        Ok(())
    }

    async fn take<T: Talk>(&mut self, event: Event, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let mut paid = self.paid.take().filter(|_| matches!(event, Event::Message { .. }));
        let (payload, compressed) = match event {
            Event::Message { kind: MessageKind::Binary, payload, compressed } => (payload, compressed),
            Event::Message { kind: MessageKind::Text, .. } => {
                return Err(self.refuse(Refusal::TextFrame, CloseCode::TextFrame));
            }
            Event::Oversized { head, compressed, bytes } => {
                self.throttle(bytes, talk, calls).await?;
                return self.pass_over(&head, compressed, talk).await;
            }
            Event::Ping(payload) => {
                self.throttle(payload.len(), talk, calls).await?;
                self.outbox.pong(payload);
                return Ok(());
            }
            Event::Pong(_) => return self.throttle(0, talk, calls).await,
            Event::Close { .. } => return Err(End::with(CloseCode::Normal)),
        };
        self.arrived = self.is_traced.then(std::time::Instant::now);
        self.metrics.frames_received.inc();
        self.sent.message();
        self.metrics.bytes_received.inc_by(payload.len() as u64);
        if payload.len() > CHARGED_BYTES_MIN {
            paid.get_or_insert_with(|| self.account.lease(Memory::Messages)).charge(payload.len());
        }
        if !compressed && is_presence(&payload) {
            self.wait_for(|reader| &mut reader.presence, 1, talk, calls).await?;
            self.throttle_bytes(payload.len(), talk, calls).await?;
        } else {
            self.throttle(payload.len(), talk, calls).await?;
        }
        let frame = if compressed {
            let wire_bytes = payload.len();
            let Some(inflated) = self.inflate(payload, &mut paid, talk, calls).await? else { return Ok(()) };
            // What comes out is what has to be worked on.
            self.throttle_bytes(inflated.len().saturating_sub(wire_bytes), talk, calls).await?;
            inflated
        } else {
            payload
        };
        let reserved = workload::reserved(frame.len());
        self.price = workload::price(frame.len());
        self.wait_for_share(reserved, talk, calls).await?;
        self.paid = paid;
        let taken = self.hand_over(frame, talk, calls).await;
        self.paid = None;
        self.workload.settle(reserved, self.price);
        taken
    }

    async fn hand_over<T: Talk>(&mut self, frame: Bytes, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let mut frame = frame;
        loop {
            if frame.len() > LARGE_MESSAGE {
                Box::pin(self.take_turn(talk, calls)).await?;
            }
            let taken = talk.take(self, frame).await;
            self.turn = None;
            let Taken::Later(again) = taken? else { return Ok(()) };
            Box::pin(self.pause(None, talk, calls)).await?;
            frame = again;
        }
    }

    /// A message was longer than one may be. Its sender is told, and stays: who is closed for it comes back and sends it again, for ever.
    async fn pass_over<T: Talk>(&mut self, head: &Bytes, compressed: bool, talk: &mut T) -> Result<(), End> {
        self.count(Refusal::FrameTooLarge);
        if compressed {
            let head = compress::inflate_beginning(head, HEAD_BYTES).into();
            return talk.passed_over(self, &head).await;
        }
        talk.passed_over(self, head).await
    }

    /// Waits until the session's rate allows one more message of so many bytes.
    async fn throttle<T: Talk>(&mut self, bytes: usize, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        self.wait_for(|reader| &mut reader.messages, 1, talk, calls).await?;
        self.throttle_bytes(bytes, talk, calls).await
    }

    async fn throttle_bytes<T: Talk>(&mut self, bytes: usize, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        self.sent.bytes(bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.wait_for(|reader| &mut reader.bytes, bytes, talk, calls).await?;
        self.wait_for_user(talk, calls).await
    }

    /// Waits until the user may have sent what was read.
    async fn wait_for_user<T: Talk>(&mut self, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let mut was_slowed = false;
        while let Err(exceeded) = self.sent.settle() {
            if !core::mem::replace(&mut was_slowed, true) {
                self.count(exceeded.limit.into());
            }
            Box::pin(self.pause(Some(exceeded.retry_after()), talk, calls)).await?;
        }
        Ok(())
    }

    /// Waits until the address may cause so much work more.
    async fn wait_for_share<T: Talk>(&mut self, price: u64, talk: &mut T, calls: &mut Calls<'_>) -> Result<(), End> {
        let mut was_slowed = false;
        while let Err(wait) = self.workload.pay(price) {
            if !core::mem::replace(&mut was_slowed, true) {
                self.count(Refusal::Rate);
            }
            Box::pin(self.pause(Some(wait), talk, calls)).await?;
        }
        Ok(())
    }

    /// Waits until one of the session's buckets has `n` tokens.
    async fn wait_for<T: Talk>(
        &mut self,
        bucket: impl Fn(&mut Self) -> &mut TokenBucket,
        n: u32,
        talk: &mut T,
        calls: &mut Calls<'_>,
    ) -> Result<(), End> {
        let mut was_slowed = false;
        loop {
            let now = self.now();
            let Err(wait) = bucket(self).take(now, n) else { return Ok(()) };
            if !core::mem::replace(&mut was_slowed, true) {
                self.count(Refusal::Rate);
            }
            Box::pin(self.pause(Some(wait), talk, calls)).await?;
        }
    }

    /// Inflates a message, step by step, so that what comes out is paid for before it is there.
    async fn inflate<T: Talk>(
        &mut self,
        payload: Bytes,
        paid: &mut Option<Box<Lease>>,
        talk: &mut T,
        calls: &mut Calls<'_>,
    ) -> Result<Option<Bytes>, End> {
        let limit = self.config.limits.message_bytes_max();
        let mut max = limit.min(INFLATED_FIRST.max(payload.len()));
        loop {
            let inflated = if payload.len() > LARGE_MESSAGE / 8 || max > LARGE_MESSAGE {
                let payload = payload.clone();
                tokio::task::spawn_blocking(move || compress::inflate_bounded(&payload, max))
                    .await
                    .map_err(|_| End::with(CloseCode::Internal))?
            } else {
                compress::inflate_bounded(&payload, max)
            };
            match inflated {
                Ok(mut inflated) => {
                    inflated.shrink_to_fit();
                    if let Some(paid) = paid {
                        paid.charge(inflated.len());
                    }
                    return Ok(Some(inflated.into()));
                }
                Err(compress::InflateError::TooLarge { .. }) if max < limit => {
                    max = limit.min(max.saturating_mul(INFLATED_STEP));
                    let lease = paid.get_or_insert_with(|| self.account.lease(Memory::Messages));
                    Box::pin(self.wait_for_memory(lease, payload.len() + max, talk, calls)).await?;
                }
                Err(failure) => {
                    debug!(%failure, "message does not inflate");
                    if let compress::InflateError::TooLarge { .. } = failure {
                        self.throttle_bytes(max, talk, calls).await?;
                        let head = payload.slice(..payload.len().min(HEAD_BYTES));
                        self.pass_over(&head, true, talk).await?;
                        return Ok(None);
                    }
                    return Err(self.refuse(Refusal::GarbageFrame, CloseCode::BadPayload));
                }
            }
        }
    }

    /// Turns a message of the y-websocket dialect into what the room is told; `None` when that is nothing.
    async fn read_message(
        &mut self,
        frame: Bytes,
        member: MemberId,
        room: &RoomHandle,
        questions: &mut Questions,
    ) -> Result<Option<Input>, End> {
        match wire::decode(&frame) {
            Ok(Message::SyncStep1(have)) => {
                let asked = self.read_question(have.clone()).await?;
                if !questions.ask(self.now(), room.document_bytes(), &have) {
                    self.count(Refusal::Rate);
                    return Ok(None);
                }
                Ok(self.put_question(member, asked))
            }
            Ok(Message::SyncStep2(update)) => {
                let update = self.scan(update, None).await?;
                Ok(Some(Input::Update { member, update }))
            }
            Ok(Message::Update(update)) => {
                let update = self.scan(update, Some(frame)).await?;
                Ok(Some(Input::Update { member, update }))
            }
            Ok(Message::Awareness(body)) => self.read_awareness(body, member).map(Some),
            Ok(Message::QueryAwareness) => {
                let now = self.outbox.postpone(member, Question::Presence).is_some();
                Ok(now.then_some(Input::QueryAwareness { member }))
            }
            Ok(Message::Auth(body)) => match wire::renewal(&body) {
                Some(token) => Box::pin(self.renew(token, member, room)).await,
                None => Ok(None),
            },
            // Stock clients send none; `decode` hands them out from servers only.
            Ok(
                Message::PermissionDenied(_)
                | Message::TokenWanted
                | Message::Authenticated { .. }
                | Message::SyncStatus { .. },
            ) => Ok(None),
            Err(FrameError::UnknownType(kind)) => {
                self.ignore(kind);
                Ok(None)
            }
            Err(failure) => {
                debug!(%failure, "frame refused");
                Err(self.refuse(Refusal::GarbageFrame, CloseCode::BadFrame))
            }
        }
    }

    /// Another token for the session. One that is not taken ends it, as it would not have let it in; while nobody can say, the one before
    /// counts for as long as it does.
    async fn renew(&mut self, token: &str, member: MemberId, room: &RoomHandle) -> Result<Option<Input>, End> {
        self.price += VERIFICATION;
        match self.doorkeeper.admit(&self.from, room.id(), Some(token)).wait().await {
            Ok(admission) => Ok(Some(Input::Readmitted { member, admission: Box::new(admission) })),
            Err(Denied::TryAgain) => {
                self.count(refusal(Denied::TryAgain).0);
                Ok(None)
            }
            Err(denied) => {
                let (refusal, code) = refusal(denied);
                self.count(refusal);
                Err(End::Close(code, REFUSAL_HOLD))
            }
        }
    }

    /// Asks about a token again, if the doorkeeper may change its mind about it.
    fn again(&self, dashboard: &DashboardId, token: Option<Arc<str>>, until: Option<Timestamp>) -> Option<Box<Again>> {
        if !self.doorkeeper.asks_again() {
            return None;
        }
        let (token, until) = token.filter(|token| !token.is_empty()).zip(until)?;
        Some(Again::new(self.doorkeeper, self.from.clone(), dashboard.clone(), KeptToken(token), until))
    }

    /// Counts a message that is not understood. It is no offence, as with stock servers: a client may speak more than we know.
    pub(super) fn ignore(&mut self, kind: u64) {
        if !core::mem::replace(&mut self.unknown_logged, true) {
            debug!(kind, "unknown message type");
        }
        self.metrics.refusals.inc(Refusal::UnknownMessage);
    }

    /// What a room is asked, unless that has to wait for the socket.
    pub(super) fn put_question(&self, member: MemberId, have: StateVector) -> Option<Input> {
        match self.outbox.postpone(member, Question::State(have)) {
            Some(Question::State(have)) => Some(Input::SyncStep1 { member, have }),
            _ => None,
        }
    }

    /// What a SyncStep1 says that its sender has.
    pub(super) async fn read_question(&mut self, have: Bytes) -> Result<StateVector, End> {
        let limits = &self.config.limits;
        let decoded = if have.len() > LARGE_MESSAGE {
            let limits = limits.clone();
            tokio::task::spawn_blocking(move || StateVector::decode(&have, &limits))
                .await
                .map_err(|_| End::with(CloseCode::Internal))?
        } else {
            StateVector::decode(&have, limits)
        };
        decoded.map_err(|failure| {
            debug!(%failure, "state vector refused");
            self.refuse(Refusal::GarbageFrame, CloseCode::BadFrame)
        })
    }

    /// Awareness entries.
    pub(super) fn read_awareness(&mut self, body: Bytes, member: MemberId) -> Result<Input, End> {
        self.metrics.awareness.inc();
        match wire::awareness::entries(&body) {
            Ok(_) => Ok(Input::Awareness { member, body }),
            Err(failure) => {
                debug!(%failure, "awareness refused");
                Err(self.refuse(Refusal::MalformedAwareness, CloseCode::BadFrame))
            }
        }
    }

    /// An update: a SyncStep2, or a live one in its message.
    pub(super) async fn scan(&mut self, update: Bytes, message: Option<Bytes>) -> Result<Box<Scanned>, End> {
        let limits = &self.config.limits;
        let scan = if update.len() > LARGE_MESSAGE {
            let (update, limits) = (update.clone(), limits.clone());
            let scanning = move || {
                let began = Instant::now();
                (update::scan(&update, &limits), began.elapsed())
            };
            let scanned = tokio::task::spawn_blocking(scanning).await;
            let (scan, took) = scanned.map_err(|_| End::with(CloseCode::Internal))?;
            if let Some(turn) = &mut self.turn {
                turn.took(took);
            }
            scan
        } else {
            update::scan(&update, limits)
        };
        match scan {
            Ok(scan) => {
                self.price += workload::price_of(&scan);
                Ok(Box::new(Scanned { update, scan, frame: message }))
            }
            Err(failure) => {
                debug!(%failure, "update refused");
                Err(self.refuse(Refusal::MalformedUpdate, CloseCode::BadFrame))
            }
        }
    }

    /// The time that budgets are told.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When that time comes.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.clock.instant(at)
    }

    pub(super) fn refuse(&self, refusal: Refusal, code: CloseCode) -> End {
        self.count(refusal);
        End::with(code)
    }

    pub(super) fn count(&self, refusal: Refusal) {
        self.metrics.refusals.inc(refusal);
    }
}

/// Whether a message tells presence, in either dialect; only which bucket it counts in depends on that.
fn is_presence(message: &[u8]) -> bool {
    const AWARENESS: u8 = 1;
    match message {
        [0, ..] => false,
        [AWARENESS, ..] => true,
        // In the Hocuspocus dialect the document's name comes first.
        [name_bytes, rest @ ..] => rest.get(usize::from(*name_bytes)) == Some(&AWARENESS),
        [] => false,
    }
}

/// Reads once into the thread's buffer, as soon as there is something. `None` when the peer hung up. Cancel-safe.
async fn read<T>(io: &mut OwnedReadHalf, bytes_max: usize, mut take: impl FnMut(&[u8]) -> T) -> io::Result<Option<T>> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(&mut buffer[..bytes_max]);
            // Not `try_read`, which would have to fail once more before the socket counts as empty.
            ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
            Poll::Ready(Ok((!read.filled().is_empty()).then(|| take(read.filled()))))
        })
    })
    .await
}
