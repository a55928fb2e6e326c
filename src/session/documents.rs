//! The documents of one socket in the Hocuspocus dialect: each is let in by a token, opened, joined and left by itself.
//!
//! A document is waited for until its token has come, opened beside the others, and a member of its room from then on; what its client
//! says meanwhile waits here, within bounds. One that was denied stays so until another token comes: everything else about it is
//! ignored. What concerns a single document never ends the socket, unless its client can only be helped by coming back.

use super::questions::Questions;
use super::reader::{End, Reader, Taken, Talk};
use super::rooms::Rooms;
use super::{Admitted, Crowded, Place, Sessions};
use crate::ledger::{Account, CHARGED_BYTES_MIN, Lease};
use crate::metrics::{Memory, Refusal};
use crate::outbox::{Outbox, Question, REFUSAL_HOLD};
use crate::room::{OpenError, RoomHandle};
use bytes::Bytes;
use core::pin::Pin;
use core::time::Duration;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::debug;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::rate::TokenBucket;
use ydash_proto::room::{Dialect, Input, Joining};
use ydash_proto::time::Timestamp;
use ydash_proto::wire::Message;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::hocuspocus::{
    self, ADDRESS_BYTES_MAX, Address, ClientMessage, HEARTBEAT, Incoming, TOKEN_BYTES_MAX, Turns,
};

/// How often every socket gets a sign of life. Providers reconnect after 30 s without a message (`messageReconnectTimeout`).
const HEARTBEAT_EVERY: Duration = Duration::from_secs(20);
/// How long a token may follow a document's first question. Versions 3 and 4 send theirs before it; 2 sends none if it has none.
const TOKEN_GRACE: Duration = Duration::from_millis(200);
/// Until there may be a place for one more document among those that are being opened.
const PLACE_AGAIN: Duration = Duration::from_millis(50);
/// Between two attempts to open a document while the store is away.
const OPEN_AGAIN: Duration = Duration::from_millis(700);
/// How long before a token runs out the client is asked for another, at most.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// What a waiting message costs beside its bytes.
const WAITING_OVERHEAD: usize = 64;
/// How often documents may be opened on one socket: so many at once for each that may be open, then so many a second.
const OPENS_BURST_FACTOR: usize = 2;
const OPENS_PER_SECOND: u32 = 50;

/// What the application is told when an authenticator says no: Hocuspocus' own word.
const DENIED: &str = "permission-denied";
const TOO_MANY: &str = "documents-per-socket-max reached";
const RULES_BROKEN: &str = "Reset Connection";

/// The documents of one socket.
pub(super) struct Documents {
    sessions: Arc<Sessions>,
    rooms: Arc<Rooms>,
    outbox: Arc<Outbox>,
    address: IpAddr,
    /// By address as it comes.
    documents: HashMap<Bytes, Document>,
    opening: FuturesUnordered<JoinHandle<Opened>>,
    attempts: u64,
    /// What waits in all documents together.
    waiting: Waiting,
    opens: TokenBucket,
    /// The place that came with the socket: whoever holds the other half has it.
    own_place: Arc<()>,
    began: Instant,
    was_admitted: bool,
    heartbeat_at: Instant,
    timer: Pin<Box<Sleep>>,
}

struct Document {
    address: Address,
    phase: Phase,
    queue: VecDeque<Bytes>,
}

enum Phase {
    /// Somebody speaks of it without having shown a token.
    Waiting { since: Instant, asked_at: Option<Instant> },
    /// A token was good for it, but there is no place for it yet.
    Admitted { dashboard: DashboardId, admitted: Admitted, echoes: bool, again_at: Instant },
    /// It is being loaded.
    Opening { attempt: u64, admitted: Admitted, echoes: bool, place: Place },
    /// A member of its room.
    Live(Box<Live>),
    /// No token was good for it so far.
    Denied,
}

struct Live {
    member: MemberId,
    room: RoomHandle,
    admitted: Admitted,
    expires_at: Option<Instant>,
    ask_token_at: Option<Instant>,
    /// When to show who is here to a client that has not asked anything.
    introduce_at: Option<Instant>,
    turns: Turns,
    questions: Questions,
    _place: Place,
}

impl Live {
    /// Its client's question goes to the room. One that made another one superfluous counts for both: a provider begins to count
    /// anew with each.
    fn asks(&mut self) {
        self.turns.client_asked();
        self.introduce_at = None;
    }
}

/// How an attempt to open a document ended.
pub(super) struct Opened {
    key: Bytes,
    attempt: u64,
    outcome: Result<RoomHandle, OpenError>,
}

/// What a [`Documents`] waits for beside the socket.
pub(super) enum Happened {
    Opened(Opened),
    /// Opening panicked: which document that was, nobody knows any more.
    Failed,
    Time,
}

impl Talk for Documents {
    type Event = Happened;

    async fn take(&mut self, reader: &mut Reader<'_>, frame: Bytes) -> Result<Taken, End> {
        let (address, message) = match hocuspocus::decode(&frame) {
            Ok(Incoming::Liveness) => return Ok(Taken::Yes),
            Ok(Incoming::Addressed { address, .. }) if address.len() > ADDRESS_BYTES_MAX => {
                return Err(reader.refuse(Refusal::BadName, CloseCode::BadFrame));
            }
            Ok(Incoming::Addressed { address, message }) => (address, message),
            Err(failure) => {
                debug!(%failure, "frame refused");
                return Err(reader.refuse(Refusal::GarbageFrame, CloseCode::BadFrame));
            }
        };
        match message {
            ClientMessage::Token { token, version } => {
                let echoes = hocuspocus::echoes_presence(version.as_deref());
                Box::pin(self.token(reader, address, &token, echoes)).await?;
            }
            // Not answered: a provider that is there again by then would take it for its own end.
            ClientMessage::Close => Box::pin(self.forget(address.as_bytes())).await,
            ClientMessage::Ignored(kind) => reader.ignore(kind),
            message if self.is_live(address.as_bytes()) => {
                self.say_live(reader, address.as_bytes(), message).await?;
            }
            message => {
                if !self.say(reader, address, &message, &frame)? {
                    return Ok(Taken::Later(frame));
                }
            }
        }
        Ok(Taken::Yes)
    }

    async fn passed_over(&mut self, _: &mut Reader<'_>, head: &Bytes) -> Result<(), End> {
        let Some((address, is_answer)) = hocuspocus::edited(head) else { return Ok(()) };
        let Some(Document { phase: Phase::Live(live), .. }) = self.documents.get_mut(address.as_bytes()) else {
            return Ok(());
        };
        let (member, acks) = (
            live.member,
            match is_answer {
                true => u32::from(live.turns.client_answered(self.outbox.questions(live.member))),
                false => 1,
            },
        );
        live.room.input(Input::TooLarge { member, acks }).await.map_err(|_| End::with(CloseCode::Internal))
    }

    async fn wait(&mut self) -> Happened {
        // Both are cancel-safe: what was opened stays in its handle, the timer keeps its deadline.
        tokio::select! {
            Some(opened) = self.opening.next(), if !self.opening.is_empty() => match opened {
                Ok(opened) => Happened::Opened(opened),
                Err(_) => Happened::Failed,
            },
            () = &mut self.timer => Happened::Time,
        }
    }

    async fn attend(&mut self, reader: &mut Reader<'_>, event: Happened) -> Result<(), End> {
        match event {
            Happened::Opened(opened) => Box::pin(self.opened(reader, opened)).await,
            Happened::Failed => Err(End::with(CloseCode::Internal)),
            Happened::Time => Box::pin(self.look_at_the_time(reader)).await,
        }
    }

    async fn dismissed(&mut self, _: &mut Reader<'_>, member: MemberId, code: CloseCode) -> Result<(), End> {
        let is_it = |document: &Document| matches!(&document.phase, Phase::Live(live) if live.member == member);
        let found = self.documents.iter().find(|(_, document)| is_it(document)).map(|(key, _)| key.clone());
        match found {
            Some(key) => Box::pin(self.deny(&key, code.reason())).await,
            None => Ok(()),
        }
    }

    async fn leave(&mut self) {
        for (_, document) in core::mem::take(&mut self.documents) {
            if let Phase::Live(live) = document.phase {
                Box::pin(self.part(&live)).await;
            }
        }
    }
}

impl Documents {
    pub(super) fn new(sessions: Arc<Sessions>, rooms: Arc<Rooms>, outbox: Arc<Outbox>, address: IpAddr) -> Documents {
        let now = Instant::now();
        let burst = sessions.config.limits.documents_per_socket_max.saturating_mul(OPENS_BURST_FACTOR);
        Documents {
            rooms,
            outbox,
            address,
            documents: HashMap::new(),
            opening: FuturesUnordered::new(),
            attempts: 0,
            waiting: Waiting::new(&sessions, address),
            opens: TokenBucket::new(u32::try_from(burst).unwrap_or(u32::MAX), OPENS_PER_SECOND, Timestamp(0)),
            own_place: Arc::default(),
            began: now,
            was_admitted: false,
            heartbeat_at: now + HEARTBEAT_EVERY,
            timer: Box::pin(sleep_until(now + sessions.config.auth_timeout.min(HEARTBEAT_EVERY))),
            sessions,
        }
    }

    /// A client shows its token for the first time, or another one.
    async fn token(&mut self, reader: &mut Reader<'_>, address: &str, token: &Bytes, echoes: bool) -> Result<(), End> {
        let key = match self.documents.get_key_value(address.as_bytes()) {
            Some((key, _)) => key.clone(),
            None => match self.introduce(reader, address)? {
                Some(key) => key,
                None => return Ok(()),
            },
        };
        let document = self.documents.get_mut(&key).expect("found or made above");
        let dashboard = match DashboardId::parse(document.address.document()) {
            Ok(dashboard) => dashboard,
            Err(_) => {
                reader.count(Refusal::BadName);
                return self.deny(&key, CloseCode::BadName.reason()).await;
            }
        };
        let admitted = match core::str::from_utf8(token) {
            Ok(token) if token.len() <= TOKEN_BYTES_MAX => {
                self.sessions.doorkeeper.admit(self.address, &dashboard, Some(token).filter(|token| !token.is_empty()))
            }
            _ => None,
        };
        let Some(admitted) = admitted else {
            reader.count(Refusal::Forbidden);
            return self.deny(&key, DENIED).await;
        };
        match &mut document.phase {
            Phase::Live(live) => {
                let is_other = live.admitted.identity != admitted.identity || live.admitted.access != admitted.access;
                (live.expires_at, live.ask_token_at) = lifetime(&admitted);
                live.admitted = admitted;
                let Admitted { identity, access, .. } = live.admitted.clone();
                let (member, room) = (live.member, live.room.clone());
                let answer = hocuspocus::authenticated(&document.address, access);
                self.reschedule();
                // Who may write is told before the room asks for what it wrote; who may not any more, when the room takes nothing.
                let is_told_first = access.may_edit();
                if is_told_first {
                    self.tell(answer.clone())?;
                }
                if is_other {
                    let readmitted = Input::Readmitted { member, identity, access };
                    room.input(readmitted).await.map_err(|_| End::with(CloseCode::Internal))?;
                }
                if is_told_first { Ok(()) } else { self.tell(answer) }
            }
            Phase::Opening { admitted: before, .. } | Phase::Admitted { admitted: before, .. } => {
                *before = admitted;
                Ok(())
            }
            Phase::Waiting { .. } | Phase::Denied => {
                let again_at = Instant::now();
                document.phase = Phase::Admitted { dashboard, admitted, echoes, again_at };
                self.open(reader, &key).await
            }
        }
    }

    /// Makes room for a document that was not spoken of before. `None` when there is none.
    fn introduce(&mut self, reader: &mut Reader<'_>, address: &str) -> Result<Option<Bytes>, End> {
        let address = Address::new(address);
        let max = self.sessions.config.limits.documents_per_socket_max;
        if self.documents.len() >= max {
            // Version 2 does not say that it gave a document up.
            let is_denied = |document: &Document| matches!(document.phase, Phase::Denied);
            let denied = self.documents.iter().find(|(_, document)| is_denied(document)).map(|(key, _)| key.clone());
            denied.and_then(|key| self.documents.remove(&key));
        }
        if self.documents.len() >= max {
            reader.count(Refusal::SocketDocuments);
            self.tell(hocuspocus::permission_denied(&address, TOO_MANY))?;
            return Ok(None);
        }
        let key = Bytes::copy_from_slice(address.as_str().as_bytes());
        let phase = Phase::Waiting { since: Instant::now(), asked_at: None };
        self.documents.insert(key.clone(), Document { address, phase, queue: VecDeque::new() });
        self.reschedule();
        Ok(Some(key))
    }

    /// Opens a document that a token was good for, now or as soon as there is a place for it.
    async fn open(&mut self, reader: &mut Reader<'_>, key: &Bytes) -> Result<(), End> {
        let place = match self.place(reader) {
            Ok(place) => place,
            Err(Crowded::Joins(pause)) => {
                if let Some(Document { phase: Phase::Admitted { again_at, .. }, .. }) = self.documents.get_mut(key) {
                    *again_at = Instant::now() + pause.min(HEARTBEAT_EVERY);
                    self.reschedule();
                }
                return Ok(());
            }
            Err(Crowded::Full(reason)) => {
                reader.count(Refusal::SessionLimit);
                return self.deny(key, reason).await;
            }
        };
        let Some(document) = self.documents.get_mut(key) else { return Ok(()) };
        let Phase::Admitted { dashboard, admitted, echoes, .. } = &document.phase else { return Ok(()) };
        let (dashboard, admitted, echoes) = (dashboard.clone(), admitted.clone(), *echoes);
        self.attempts += 1;
        let attempt = self.attempts;
        document.phase = Phase::Opening { attempt, admitted, echoes, place };
        self.begin(key.clone(), attempt, dashboard);
        self.reschedule();
        Ok(())
    }

    /// A place for one more document: the first has the socket's, each other one counts like another socket.
    /// Each try counts as one.
    fn place(&mut self, reader: &Reader<'_>) -> Result<Place, Crowded> {
        // What was closed again before it was open is still on its way.
        if self.opening.len() >= self.sessions.config.limits.documents_per_socket_max {
            return Err(Crowded::Joins(PLACE_AGAIN));
        }
        self.opens.take(reader.now(), 1).map_err(Crowded::Joins)?;
        let place = self.place_at_address();
        if let Err(Crowded::Joins(_)) = place {
            reader.count(Refusal::JoinRate);
        }
        place
    }

    fn place_at_address(&self) -> Result<Place, Crowded> {
        if Arc::strong_count(&self.own_place) > 1 {
            return self.sessions.doorkeeper.join_again(self.address);
        }
        self.sessions.doorkeeper.join(self.address)?;
        Ok(Box::new(Arc::clone(&self.own_place)))
    }

    /// Opens a document beside the others, for as long as it may take while the store is away.
    fn begin(&self, key: Bytes, attempt: u64, dashboard: DashboardId) {
        let (registry, outbox) = (self.sessions.registry.clone(), Arc::clone(&self.outbox));
        let patience = Instant::now() + self.sessions.config.auth_timeout;
        // A task of its own, since opening that is given up halfway would leave its slot in the registry.
        self.opening.push(self.sessions.tracker.spawn(async move {
            let outcome = loop {
                match registry.open(&dashboard).await {
                    Err(OpenError::Store(_) | OpenError::Memory) if Instant::now() < patience && !outbox.is_gone() => {
                        sleep(OPEN_AGAIN + Duration::from_millis(fastrand::u64(0..600))).await;
                    }
                    outcome => break outcome,
                }
            };
            Opened { key, attempt, outcome }
        }));
    }

    async fn opened(&mut self, reader: &mut Reader<'_>, opened: Opened) -> Result<(), End> {
        let Opened { key, attempt, outcome } = opened;
        let Some(document) = self.documents.get_mut(&key) else { return Ok(()) };
        let Phase::Opening { attempt: current, admitted, echoes, .. } = &document.phase else { return Ok(()) };
        if *current != attempt {
            return Ok(()); // Closed and opened again since.
        }
        let (admitted, echoes) = (admitted.clone(), *echoes);
        let room = match outcome {
            Ok(room) => room,
            Err(failure) => {
                let code = self.sessions.refuse_open(&failure);
                return match failure {
                    OpenError::Draining => Err(End::with(code)),
                    OpenError::Store(_) | OpenError::Memory => Err(End::Close(code, REFUSAL_HOLD)),
                    // Nothing that coming back would help with, for a while.
                    OpenError::Damaged | OpenError::Quarantined => self.deny(&key, code.reason()).await,
                };
            }
        };
        let member = self.sessions.next_member();
        let joining = Joining {
            member,
            identity: admitted.identity.clone(),
            access: admitted.access,
            wants_acks: true,
            wants_echo: false,
            dialect: Dialect::Hocuspocus { echoes },
        };
        self.outbox.enroll(member, document.address.prefix().clone());
        let authenticated = hocuspocus::authenticated(&document.address, admitted.access);
        self.tell(authenticated)?;
        // Before it joins: the writer looks it up as soon as something overflowed.
        self.rooms.insert(member, room.clone());
        if room.join(joining, Arc::clone(&self.outbox)).await.is_err() {
            // It ended in between: once more.
            self.rooms.remove(member);
            self.outbox.withdraw(member);
            self.begin(key, attempt, room.id().clone());
            return Ok(());
        }
        self.was_admitted = true;
        let (expires_at, ask_token_at) = lifetime(&admitted);
        let document = self.documents.get_mut(&key).expect("it was here before the room was joined");
        let waiting = Phase::Waiting { since: Instant::now(), asked_at: None };
        let Phase::Opening { place, .. } = core::mem::replace(&mut document.phase, waiting) else {
            unreachable!("nothing but this task changes its phase")
        };
        let live = Live {
            member,
            room,
            admitted,
            expires_at,
            ask_token_at,
            introduce_at: echoes.then(|| Instant::now() + TOKEN_GRACE),
            turns: Turns::default(),
            questions: Questions::new(reader.now()),
            _place: place,
        };
        document.phase = Phase::Live(Box::new(live));
        self.reschedule();
        self.replay(reader, &key).await
    }

    /// Says what waited until the document was open.
    async fn replay(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), End> {
        while let Some(document) = self.documents.get_mut(key)
            && let Phase::Live(_) = document.phase
            && let Some(frame) = document.queue.pop_front()
        {
            self.waiting.less(&frame);
            if let Ok(Incoming::Addressed { message, .. }) = hocuspocus::decode(&frame) {
                self.say_live(reader, key, message).await?;
            }
        }
        Ok(())
    }

    /// Anything but a token and a goodbye, about a document that is not open. Says whether it was taken.
    fn say(
        &mut self,
        reader: &mut Reader<'_>,
        address: &str,
        message: &ClientMessage,
        frame: &Bytes,
    ) -> Result<bool, End> {
        let is_question = matches!(message, ClientMessage::Common(Message::SyncStep1(_)));
        let Some(document) = self.documents.get_mut(address.as_bytes()) else {
            // Version 2 takes its leave after its goodbye. Who is here announces itself again once it was let in.
            if matches!(message, ClientMessage::Common(Message::Awareness(_))) {
                return Ok(true);
            }
            if address.is_empty() && !is_question {
                // What y-websocket clients begin with reads like this.
                return Err(reader.refuse(Refusal::GarbageFrame, CloseCode::BadFrame));
            }
            let Some(key) = self.introduce(reader, address)? else { return Ok(true) };
            self.wait_for_token(reader, &key, is_question, frame)?;
            return Ok(true);
        };
        match document.phase {
            Phase::Live(_) | Phase::Denied => Ok(true),
            Phase::Waiting { .. } => {
                self.wait_for_token(reader, address.as_bytes(), is_question, frame)?;
                Ok(true)
            }
            Phase::Admitted { .. } | Phase::Opening { .. } => {
                // The token was good: nobody who may come in is turned away for being early. The socket is read later, but for
                // one message, which may be as large as any.
                let fits = self.waiting.is_empty() || self.waiting.fits(frame);
                if fits {
                    self.waiting.more(frame);
                    document.queue.push_back(frame.clone());
                }
                Ok(fits)
            }
        }
    }

    fn is_live(&self, key: &[u8]) -> bool {
        matches!(self.documents.get(key), Some(Document { phase: Phase::Live(_), .. }))
    }

    fn wait_for_token(
        &mut self,
        reader: &mut Reader<'_>,
        key: &[u8],
        is_question: bool,
        frame: &Bytes,
    ) -> Result<(), End> {
        if !self.waiting.fits(frame) {
            reader.count(Refusal::Pending);
            return Err(End::Close(CloseCode::Reset, REFUSAL_HOLD));
        }
        if let Some(Document { phase: Phase::Waiting { asked_at, .. }, queue, .. }) = self.documents.get_mut(key) {
            self.waiting.more(frame);
            queue.push_back(frame.clone());
            if is_question && asked_at.is_none() {
                *asked_at = Some(Instant::now());
                self.reschedule();
            }
        }
        Ok(())
    }

    async fn say_live(&mut self, reader: &mut Reader<'_>, key: &[u8], message: ClientMessage) -> Result<(), End> {
        let Some(Document { phase: Phase::Live(live), address, .. }) = self.documents.get_mut(key) else {
            return Ok(());
        };
        let member = live.member;
        let input = match message {
            ClientMessage::Update { update, message } => {
                Input::Update { member, update: reader.scan(update, Some(message)).await? }
            }
            ClientMessage::Common(Message::Awareness(body)) => reader.read_awareness(body, member)?,
            ClientMessage::Common(Message::SyncStep1(have)) => {
                let question = reader.read_question(have.clone()).await?;
                if !reader.may_ask(&mut live.questions, &live.room, &have) {
                    self.reschedule();
                    return Ok(());
                }
                live.asks();
                match self.outbox.postpone(member, Question::State(question)) {
                    Some(Question::State(have)) => Input::SyncStep1 { member, have },
                    _ => return Ok(()),
                }
            }
            ClientMessage::Common(Message::SyncStep2(update)) => {
                let update = reader.scan(update, None).await?;
                match live.turns.client_answered(self.outbox.questions(member)) {
                    true => Input::Update { member, update },
                    false => Input::Answer { member, update },
                }
            }
            ClientMessage::Stateless(payload) => {
                if payload.len() > self.sessions.config.limits.stateless_bytes_max {
                    reader.count(Refusal::Stateless);
                    return Ok(());
                }
                Input::Stateless { from: Some(member), payload }
            }
            ClientMessage::BroadcastStateless => {
                reader.count(Refusal::Forbidden);
                let closed = hocuspocus::close(address, RULES_BROKEN);
                Box::pin(self.forget(key)).await;
                return self.tell(closed);
            }
            ClientMessage::Common(_)
            | ClientMessage::Token { .. }
            | ClientMessage::Close
            | ClientMessage::Ignored(_) => return Ok(()),
        };
        live.room.deliver(input, reader.paid()).await.map_err(|_| End::with(CloseCode::Internal))
    }

    /// The client may not, or not any longer.
    async fn deny(&mut self, key: &[u8], reason: &str) -> Result<(), End> {
        let Some(document) = self.documents.get_mut(key) else { return Ok(()) };
        let denied = hocuspocus::permission_denied(&document.address, reason);
        core::mem::take(&mut document.queue).iter().for_each(|frame| self.waiting.less(frame));
        if let Phase::Live(live) = core::mem::replace(&mut document.phase, Phase::Denied) {
            self.part(&live).await;
        }
        self.reschedule();
        self.tell(denied)
    }

    async fn forget(&mut self, key: &[u8]) {
        let Some(document) = self.documents.remove(key) else { return };
        document.queue.iter().for_each(|frame| self.waiting.less(frame));
        if let Phase::Live(live) = document.phase {
            self.part(&live).await;
        }
        self.reschedule();
    }

    /// Withdrawn before it leaves: nothing that its room still sends can reach who comes after it.
    async fn part(&self, live: &Live) {
        self.outbox.withdraw(live.member);
        self.rooms.remove(live.member);
        live.room.leave(live.member).await;
    }

    /// Says something that must not get lost. Who does not read it while making us talk has to begin anew.
    fn tell(&self, message: Bytes) -> Result<(), End> {
        match self.outbox.say(message) {
            true => Ok(()),
            false => Err(End::Close(CloseCode::Reset, REFUSAL_HOLD)),
        }
    }

    fn beat(&mut self) -> Result<(), End> {
        self.heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        self.tell(Bytes::from_static(HEARTBEAT))
    }

    async fn look_at_the_time(&mut self, reader: &mut Reader<'_>) -> Result<(), End> {
        let now = Instant::now();
        let patience = self.sessions.config.auth_timeout;
        if now >= self.heartbeat_at {
            self.beat()?;
        }
        if !self.was_admitted && now >= self.began + patience {
            reader.count(Refusal::AuthTimeout);
            return Err(End::with(CloseCode::Idle));
        }
        let is_due = |document: &Document| due_at(document, patience).is_some_and(|at| now >= at);
        let due: Vec<Bytes> =
            self.documents.iter().filter(|(_, document)| is_due(document)).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.look_at(reader, key, now).await?;
        }
        self.reschedule();
        Ok(())
    }

    async fn look_at(&mut self, reader: &mut Reader<'_>, key: Bytes, now: Instant) -> Result<(), End> {
        let patience = self.sessions.config.auth_timeout;
        let Some(document) = self.documents.get_mut(&key) else { return Ok(()) };
        match &mut document.phase {
            Phase::Waiting { asked_at: Some(_), .. } => {
                // A version 2 without a token.
                let address = document.address.as_str().to_owned();
                self.token(reader, &address, &Bytes::new(), true).await
            }
            Phase::Waiting { since, .. } if now >= *since + patience => {
                reader.count(Refusal::AuthTimeout);
                self.forget(&key).await;
                Ok(())
            }
            Phase::Live(live) => {
                if live.expires_at.is_some_and(|at| now >= at) {
                    // Who has no other token, or knows no question for one, finds out by coming back. Version 2 does so
                    // without a pause, so tokens that are over as soon as they come would make it run in circles.
                    let hold = if self.began.elapsed() < REFUSAL_HOLD { REFUSAL_HOLD } else { Duration::ZERO };
                    return Err(End::Close(CloseCode::Reset, hold));
                }
                if let Some(have) = live.questions.due(reader.now(), &live.room) {
                    let have = reader.read_question(have).await?;
                    live.asks();
                    live.room
                        .input(Input::SyncStep1 { member: live.member, have })
                        .await
                        .map_err(|_| End::with(CloseCode::Internal))?;
                }
                if live.introduce_at.take_if(|at| now >= *at).is_some() {
                    let introduced = live.room.input(Input::QueryAwareness { member: live.member }).await;
                    introduced.map_err(|_| End::with(CloseCode::Internal))?;
                }
                if live.ask_token_at.take_if(|at| now >= *at).is_some() {
                    let request = hocuspocus::token_request(&document.address);
                    return self.tell(request);
                }
                Ok(())
            }
            Phase::Admitted { again_at, .. } if now >= *again_at => self.open(reader, &key).await,
            Phase::Waiting { .. } | Phase::Admitted { .. } | Phase::Opening { .. } | Phase::Denied => Ok(()),
        }
    }

    /// Sets the timer to the next thing that is due.
    fn reschedule(&mut self) {
        let patience = self.sessions.config.auth_timeout;
        let admission = (!self.was_admitted).then(|| self.began + patience);
        let documents = self.documents.values().filter_map(|document| due_at(document, patience));
        let next = documents.chain(admission).fold(self.heartbeat_at, Instant::min);
        if self.timer.deadline() != next || self.timer.is_elapsed() {
            self.timer.as_mut().reset(next);
        }
    }
}

/// Bytes of early messages on one socket. They cost no token, so those of one address leave place for others'.
struct Waiting {
    bytes: usize,
    bytes_max: usize,
    account: Account,
    lease: Option<Box<Lease>>,
}

impl Waiting {
    fn new(sessions: &Sessions, address: IpAddr) -> Waiting {
        let bytes_max = sessions.config.limits.pending_bytes_max;
        Waiting { bytes: 0, bytes_max, account: sessions.ledger.account(address), lease: None }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes place for one more; says whether there is.
    fn fits(&mut self, frame: &Bytes) -> bool {
        let bytes = self.bytes + frame.len() + WAITING_OVERHEAD;
        if bytes > self.bytes_max {
            return false;
        }
        bytes <= CHARGED_BYTES_MIN
            || self.lease.get_or_insert_with(|| self.account.lease(Memory::Pending)).resize(bytes).is_ok()
    }

    fn more(&mut self, frame: &Bytes) {
        self.bytes += frame.len() + WAITING_OVERHEAD;
        if self.bytes > CHARGED_BYTES_MIN {
            self.lease.get_or_insert_with(|| self.account.lease(Memory::Pending)).charge(self.bytes);
        }
    }

    fn less(&mut self, frame: &Bytes) {
        self.bytes -= frame.len() + WAITING_OVERHEAD;
        match &mut self.lease {
            Some(lease) if self.bytes > CHARGED_BYTES_MIN => lease.charge(self.bytes),
            _ => self.lease = None,
        }
    }
}

/// When something about a document is due.
fn due_at(document: &Document, patience: Duration) -> Option<Instant> {
    match &document.phase {
        Phase::Waiting { asked_at: Some(asked_at), .. } => Some(*asked_at + TOKEN_GRACE),
        Phase::Waiting { since, .. } => Some(*since + patience),
        Phase::Admitted { again_at, .. } => Some(*again_at),
        Phase::Live(live) => {
            let due = [live.introduce_at, live.ask_token_at, live.expires_at, live.questions.due_at()];
            due.into_iter().flatten().min()
        }
        Phase::Opening { .. } | Phase::Denied => None,
    }
}

/// When an admission ends, and when to ask for the next token.
fn lifetime(admitted: &Admitted) -> (Option<Instant>, Option<Instant>) {
    let Some(valid_for) = admitted.valid_for else { return (None, None) };
    let now = Instant::now();
    let lead = RENEW_BEFORE.min(valid_for / 4);
    (now.checked_add(valid_for), now.checked_add(valid_for - lead))
}
