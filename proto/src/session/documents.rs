//! The documents of one socket in the Hocuspocus dialect: each is let in by a token, opened, joined and left by itself.
//!
//! A document is waited for until its token has come, opened beside the others, and a member of its room from then on; what its client
//! says meanwhile waits here, within bounds. One that was denied stays so until another token comes: everything else about it is
//! ignored. What concerns a single document never ends the socket, unless its client can only be helped by coming back.
//!
//! [`Documents::handle`] takes what happened, [`Documents::handle_timeout`] what is due at [`Documents::due_at`]. Effects are to be performed
//! in their order, each to its end before the next. Those with an outcome (a place, an opened room, a joined room, a checked token) name the
//! input that brings it; a seat may be given up before, and what comes for it then is ignored.

use super::questions::Questions;
use crate::access::{Access, Admission, Principal};
use crate::allowance::{Exceeded, UserLimit};
use crate::id::{DashboardId, MemberId};
use crate::limits::Limits;
use crate::limits::documents::{
    ADDRESS_BYTES_MAX, HEARTBEAT_EVERY, OPENS_BURST_FACTOR, OPENS_PER_SECOND, TOKEN_BYTES_MAX, WAITING_OVERHEAD,
};
use crate::rate::TokenBucket;
use crate::room::{Dialect, Joining};
use crate::time::Timestamp;
use crate::wire::Message;
use crate::wire::close::{CloseCode, REFUSAL_HOLD};
use crate::wire::hocuspocus::{self, Address, ClientMessage, HEARTBEAT, Incoming, Turns};
use bytes::Bytes;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How long a token may follow a document's first question. Versions 3 and 4 send theirs before it; 2 sends none if it has none.
const TOKEN_GRACE: Duration = Duration::from_millis(200);
/// Until there may be a place for one more document among those that are being opened.
const PLACE_AGAIN: Duration = Duration::from_millis(50);
/// Between two attempts to open a document while the store is away, at least.
const OPEN_AGAIN: Duration = Duration::from_millis(700);
/// Until the client is asked for its token again, after nobody could say whether it is good.
const ASK_TOKEN_AGAIN: Duration = Duration::from_secs(5);
/// How long before a token runs out the client is asked for another, at most.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// What the application is told when an authenticator says no: Hocuspocus' own word.
const DENIED: &str = "permission-denied";
const TOO_MANY: &str = "documents-per-socket-max reached";
const RULES_BROKEN: &str = "Reset Connection";

/// One attempt to have a document open, and what becomes of it: unique on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatId(pub u64);

/// Why there is no place for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// Its address joins too often: the next join is taken after so long.
    Joins(Duration),
    /// A limit is reached; its name, for the client.
    Full(&'static str),
    /// Its user has reached a limit.
    User(Exceeded),
}

/// Why a dashboard could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The node drains.
    Draining,
    /// The store is away.
    Away,
    /// There is no memory for one more room.
    Memory,
    /// It was deleted.
    Deleted,
    /// Its record is damaged, or it is quarantined: nothing that coming back would help with, for a while.
    Broken,
    /// It is a version that is not kept.
    NotKept,
}

impl Unopened {
    /// What a client is told that came for nothing else.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Unopened::Draining => CloseCode::Restart,
            Unopened::Memory => CloseCode::Overloaded,
            Unopened::Away | Unopened::Broken => CloseCode::LoadFailed,
            Unopened::Deleted => CloseCode::Deleted,
            // The same as for a version that somebody may not see: it tells nothing about what is kept.
            Unopened::NotKept => CloseCode::Forbidden,
        }
    }
}

/// What can be looked up, and taken, without waiting for anybody.
pub trait Outside {
    /// How many SyncStep1 were written to the member in a seat.
    fn questions_put(&self, seat: SeatId) -> u64;

    /// Bytes of the document whose room a seat is in.
    fn document_bytes(&self, seat: SeatId) -> usize;

    /// Pays for so many bytes of early messages, all together. Says whether there is memory for them; less always succeeds.
    fn keep(&mut self, bytes: usize) -> bool;

    /// Pays for so many bytes of early messages, whether there is memory for them or not.
    fn charge(&mut self, bytes: usize);
}

/// What happened to a socket's documents.
#[derive(Clone, Debug)]
pub enum DocumentsInput {
    /// The client sent a message.
    Frame(Bytes),
    /// The client sent a message longer than one may be, which began so.
    TooLarge {
        /// Its beginning.
        head: Bytes,
    },
    /// A token was checked ([`DocumentsEffect::Check`]).
    Checked {
        /// Whose token.
        key: Bytes,
        /// Which of its tokens.
        token: u64,
        /// Whom it lets in, or why nobody.
        admitted: Result<Admission, NotTaken>,
    },
    /// A place was looked for ([`DocumentsEffect::TakePlace`]).
    Placed {
        /// Which document.
        key: Bytes,
        /// For which seat.
        seat: SeatId,
        /// Whether there is one.
        place: Result<(), Crowded>,
    },
    /// A dashboard was loaded, or not ([`DocumentsEffect::Open`]).
    Opened {
        /// Which document.
        key: Bytes,
        /// For which seat.
        seat: SeatId,
        /// The member that its session is to be, if it is open.
        opened: Result<MemberId, Unopened>,
        /// Something between nothing and a second, by chance: so not everybody tries again at the same time.
        spread: Duration,
    },
    /// A room was joined ([`DocumentsEffect::Join`]).
    Joined {
        /// Which document.
        key: Bytes,
        /// In which seat.
        seat: SeatId,
        /// Not when the room had ended in between.
        is_in: bool,
    },
    /// A room does not want the member in a seat.
    Dismissed {
        /// Which seat.
        seat: SeatId,
        /// Why.
        code: CloseCode,
    },
}

/// What is to be done for a socket's documents.
#[derive(Clone, Debug)]
pub enum DocumentsEffect {
    /// Tell the client this; it must not get lost. If it does not fit, the socket has to begin anew.
    Tell(Bytes),
    /// Show the last message again when something has happened beside the socket, and take none behind it before.
    TakeLater(Bytes),
    /// Find out whom a token lets in: [`DocumentsInput::Checked`].
    Check {
        /// Whose token.
        key: Bytes,
        /// Which of its tokens.
        token: u64,
        /// Where to.
        dashboard: DashboardId,
        /// UTF-8; `None` when the application has none.
        secret: Option<Bytes>,
    },
    /// Find a place for one more session: [`DocumentsInput::Placed`].
    TakePlace {
        /// Which document.
        key: Bytes,
        /// For which seat.
        seat: SeatId,
        /// Whether it is the place that came with the socket.
        is_own: bool,
        /// The user of the session.
        principal: Principal,
    },
    /// Load a dashboard, beside everything else: [`DocumentsInput::Opened`].
    Open {
        /// Which document.
        key: Bytes,
        /// For which seat.
        seat: SeatId,
        /// Which dashboard.
        dashboard: DashboardId,
    },
    /// Join the room that was opened for a seat: [`DocumentsInput::Joined`], before anything else happens.
    Join {
        /// Which document.
        key: Bytes,
        /// In which seat.
        seat: SeatId,
        /// As whom.
        joining: Joining,
        /// What goes in front of its messages.
        prefix: Bytes,
    },
    /// Give a seat up, with its place and whatever was opened for it. Nothing that its room still sends may reach who comes after it.
    Leave {
        /// Which.
        seat: SeatId,
    },
    /// Scan an update and bring it to the room.
    Update {
        /// From which seat.
        seat: SeatId,
        /// Yjs update v1.
        update: Bytes,
        /// The message of the y-websocket dialect that it is, if it is a live one.
        message: Option<Bytes>,
        /// Whether its author counts on an ack.
        wants_ack: bool,
    },
    /// Bring awareness entries to the room.
    Awareness {
        /// From which seat.
        seat: SeatId,
        /// What; not read yet.
        body: Bytes,
    },
    /// Have the room answer a SyncStep1.
    Ask {
        /// From which seat.
        seat: SeatId,
        /// What the client has; not read yet.
        have: Bytes,
    },
    /// Have the room show who is here.
    Introduce {
        /// To which seat.
        seat: SeatId,
    },
    /// Bring a text of the application to everybody else.
    Stateless {
        /// From which seat.
        seat: SeatId,
        /// UTF-8.
        payload: Bytes,
    },
    /// Tell the room that an update was too long to be read.
    TooLarge {
        /// From which seat.
        seat: SeatId,
        /// How many acks its author counts on.
        acks: u32,
    },
    /// Tell the room that a member may do something else by now.
    Readmit {
        /// In which seat.
        seat: SeatId,
        /// Who it is by now, and as what.
        admission: Admission,
    },
    /// Count what was not taken.
    Count(NotTaken),
    /// A message of a type that nobody knows was ignored.
    Ignored(u64),
    /// End the socket, at last after so long.
    End(CloseCode, Duration),
}

/// Why something that a client sent or wanted on a socket was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// A frame that is no message of the dialect.
    GarbageFrame,
    /// A name outside the grammar, or an address longer than any.
    BadName,
    /// A token of somebody who may not enter, or a message that only servers send.
    Forbidden,
    /// A dashboard that was deleted.
    Deleted,
    /// No token, or one that is not taken.
    Unauthenticated,
    /// A token that has ended.
    Expired,
    /// No token that was good in time.
    AuthTimeout,
    /// More than may wait for a token.
    Pending,
    /// More documents than one socket may have.
    SocketDocuments,
    /// A join beyond what one address may do per second.
    JoinRate,
    /// More sessions than the process, or one address, may hold.
    SessionLimit,
    /// More than one user may have.
    UserLimit(UserLimit),
    /// A question that has to wait.
    Rate,
    /// A stateless message over its limit.
    Stateless,
    /// A dashboard that could not be loaded just then.
    Unavailable,
    /// The node is draining.
    Draining,
}

/// The documents of one socket.
#[derive(Debug)]
pub struct Documents {
    documents_max: usize,
    pending_bytes_max: usize,
    stateless_bytes_max: usize,
    auth_timeout: Duration,
    /// By address as it comes.
    documents: BTreeMap<Bytes, Document>,
    seats: u64,
    tokens: u64,
    /// Dashboards that are being loaded, for seats that were given up meanwhile, too.
    opening: usize,
    /// Bytes of what waits in all documents together.
    pending_bytes: usize,
    opens: TokenBucket,
    /// Who has the place that came with the socket.
    own_place: Option<SeatId>,
    began: Timestamp,
    was_admitted: bool,
    heartbeat_at: Timestamp,
    due_at: Timestamp,
}

#[derive(Debug)]
struct Document {
    address: Address,
    /// The token that is being checked.
    checking: Option<u64>,
    /// Whether its provider sends back every awareness entry that it takes.
    echoes: bool,
    phase: Phase,
    queue: VecDeque<Bytes>,
}

#[derive(Debug)]
enum Phase {
    /// Somebody speaks of it without having shown a token that is good.
    Waiting { since: Timestamp, asked_at: Option<Timestamp> },
    /// A token was good for it.
    Entering(Box<Entering>),
    /// A member of its room.
    Live(Box<Live>),
    /// No token was good for it so far.
    Denied,
}

#[derive(Debug)]
struct Entering {
    dashboard: DashboardId,
    admitted: Admission,
    seat: SeatId,
    step: Step,
    /// Until when it is opened again if it cannot be opened.
    until: Timestamp,
    /// What its client was told that it may do.
    told: Option<Access>,
}

#[derive(Debug)]
enum Step {
    /// There is no place for it yet; when to look again.
    NoPlace(Timestamp),
    Placing,
    Opening,
    /// The store is away; when to try again.
    Closed(Timestamp),
    /// It joins as this.
    Joining(Admission),
}

#[derive(Debug)]
struct Live {
    seat: SeatId,
    admitted: Admission,
    expires_at: Option<Timestamp>,
    ask_token_at: Option<Timestamp>,
    /// When to show who is here to a client that has not asked anything.
    introduce_at: Option<Timestamp>,
    turns: Turns,
    questions: Questions,
}

impl Live {
    /// Its client's question goes to the room. One that made another one superfluous counts for both: a provider begins to count
    /// anew with each.
    fn asks(&mut self) {
        self.turns.client_asked();
        self.introduce_at = None;
    }
}

/// One call: what it knows and what comes of it.
struct Turn<'a> {
    now: Timestamp,
    outside: &'a mut dyn Outside,
    effects: &'a mut Vec<DocumentsEffect>,
}

impl Turn<'_> {
    fn tell(&mut self, message: Bytes) {
        self.effects.push(DocumentsEffect::Tell(message));
    }

    fn count(&mut self, what: NotTaken) {
        self.effects.push(DocumentsEffect::Count(what));
    }

    fn end(&mut self, code: CloseCode) {
        self.effects.push(DocumentsEffect::End(code, code.hold()));
    }
}

impl Documents {
    /// None so far, on a socket that speaks the dialect as of `now`.
    #[must_use]
    pub fn new(now: Timestamp, limits: &Limits, auth_timeout: Duration) -> Documents {
        let burst = limits.documents_per_socket_max.saturating_mul(OPENS_BURST_FACTOR);
        Documents {
            documents_max: limits.documents_per_socket_max,
            pending_bytes_max: limits.pending_bytes_max,
            stateless_bytes_max: limits.stateless_bytes_max,
            auth_timeout,
            documents: BTreeMap::new(),
            seats: 0,
            tokens: 0,
            opening: 0,
            pending_bytes: 0,
            opens: TokenBucket::new(u32::try_from(burst).unwrap_or(u32::MAX), OPENS_PER_SECOND, now),
            own_place: None,
            began: now,
            was_admitted: false,
            heartbeat_at: now + HEARTBEAT_EVERY,
            due_at: now + auth_timeout.min(HEARTBEAT_EVERY),
        }
    }

    /// When to call [`Documents::handle_timeout`], at the latest.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// Takes what happened.
    pub fn handle(
        &mut self,
        now: Timestamp,
        input: DocumentsInput,
        outside: &mut dyn Outside,
        effects: &mut Vec<DocumentsEffect>,
    ) {
        let turn = &mut Turn { now, outside, effects };
        match input {
            DocumentsInput::Frame(frame) => self.frame(turn, &frame),
            DocumentsInput::TooLarge { head } => self.too_large(turn, &head),
            DocumentsInput::Checked { key, token, admitted } => self.checked(turn, &key, token, admitted),
            DocumentsInput::Placed { key, seat, place } => self.placed(turn, &key, seat, place),
            DocumentsInput::Opened { key, seat, opened, spread } => self.opened(turn, &key, seat, opened, spread),
            DocumentsInput::Joined { key, seat, is_in } => self.joined(turn, &key, seat, is_in),
            DocumentsInput::Dismissed { seat, code } => {
                let is_it = |document: &Document| matches!(&document.phase, Phase::Live(live) if live.seat == seat);
                let found = self.documents.iter().find(|(_, document)| is_it(document)).map(|(key, _)| key.clone());
                if let Some(key) = found {
                    self.deny(turn, &key, &code.reason());
                }
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp, outside: &mut dyn Outside, effects: &mut Vec<DocumentsEffect>) {
        let turn = &mut Turn { now, outside, effects };
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + HEARTBEAT_EVERY;
            turn.tell(Bytes::from_static(HEARTBEAT));
        }
        if !self.was_admitted && now >= self.began + self.auth_timeout {
            turn.count(NotTaken::AuthTimeout);
            return turn.end(CloseCode::Idle);
        }
        let is_due = |document: &Document| due_at(document, self.auth_timeout).is_some_and(|at| now >= at);
        let due: Vec<Bytes> =
            self.documents.iter().filter(|(_, document)| is_due(document)).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.look_at(turn, &key);
        }
        self.reschedule();
    }

    fn frame(&mut self, turn: &mut Turn<'_>, frame: &Bytes) {
        let (address, message) = match hocuspocus::decode(frame) {
            Ok(Incoming::Liveness) => return,
            Ok(Incoming::Addressed { address, .. }) if address.len() > ADDRESS_BYTES_MAX => {
                turn.count(NotTaken::BadName);
                return turn.end(CloseCode::BadFrame);
            }
            Ok(Incoming::Addressed { address, message }) => (address, message),
            Err(_) => {
                turn.count(NotTaken::GarbageFrame);
                return turn.end(CloseCode::BadFrame);
            }
        };
        match message {
            ClientMessage::Token { token, version } => {
                let is_being_checked = |document: &Document| document.checking.is_some();
                if self.documents.get(address.as_bytes()).is_some_and(is_being_checked) {
                    // One at a time.
                    return turn.effects.push(DocumentsEffect::TakeLater(frame.clone()));
                }
                let echoes = hocuspocus::echoes_presence(version.as_deref());
                self.token(turn, address, &token, echoes);
            }
            // Not answered: a provider that is there again by then would take it for its own end.
            ClientMessage::Close => self.forget(turn, address.as_bytes()),
            ClientMessage::Ignored(kind) => turn.effects.push(DocumentsEffect::Ignored(kind)),
            message if self.is_live(address.as_bytes()) => self.say_live(turn, address.as_bytes(), message),
            message => self.say(turn, address, &message, frame),
        }
    }

    fn is_live(&self, key: &[u8]) -> bool {
        matches!(self.documents.get(key), Some(Document { phase: Phase::Live(_), .. }))
    }

    fn too_large(&mut self, turn: &mut Turn<'_>, head: &Bytes) {
        let Some((address, is_answer)) = hocuspocus::edited(head) else { return };
        let Some(Document { phase: Phase::Live(live), .. }) = self.documents.get_mut(address.as_bytes()) else {
            return;
        };
        let wants_ack = !is_answer || live.turns.client_answered(turn.outside.questions_put(live.seat));
        turn.effects.push(DocumentsEffect::TooLarge { seat: live.seat, acks: u32::from(wants_ack) });
    }

    /// A client shows its token for the first time, or another one.
    fn token(&mut self, turn: &mut Turn<'_>, address: &str, token: &Bytes, echoes: bool) {
        let key = match self.documents.get_key_value(address.as_bytes()) {
            Some((key, _)) => key.clone(),
            None => match self.introduce(turn, address) {
                Some(key) => key,
                None => return,
            },
        };
        let document = self.documents.get_mut(&key).expect("found or made above");
        let Ok(dashboard) = DashboardId::parse(document.address.document()) else {
            turn.count(NotTaken::BadName);
            return self.deny(turn, &key, &CloseCode::BadName.reason());
        };
        if token.len() > TOKEN_BYTES_MAX {
            turn.count(NotTaken::Unauthenticated);
            return self.deny(turn, &key, DENIED);
        }
        if matches!(document.phase, Phase::Waiting { .. } | Phase::Denied) {
            document.echoes = echoes;
        }
        self.tokens += 1;
        document.checking = Some(self.tokens);
        // A copy, so that it does not keep what it came in.
        let secret = (!token.is_empty()).then(|| Bytes::copy_from_slice(token));
        turn.effects.push(DocumentsEffect::Check { key, token: self.tokens, dashboard, secret });
        self.reschedule();
    }

    fn checked(&mut self, turn: &mut Turn<'_>, key: &Bytes, token: u64, admitted: Result<Admission, NotTaken>) {
        let Some(document) = self.documents.get_mut(key) else { return };
        if document.checking != Some(token) {
            return; // Closed, and spoken of again, since.
        }
        document.checking = None;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            // Nobody knows just then whether it is good: a live document stays until its last token ends, and is asked again.
            Err(NotTaken::Unavailable) if let Phase::Live(live) = &mut document.phase => {
                turn.count(NotTaken::Unavailable);
                live.ask_token_at = Some(turn.now + ASK_TOKEN_AGAIN);
                self.reschedule();
                return;
            }
            Err(why) => {
                turn.count(why);
                return self.deny(turn, key, DENIED);
            }
        };
        match &mut document.phase {
            Phase::Live(_) => self.renew(turn, key, admitted),
            Phase::Entering(entering) => entering.admitted = admitted,
            Phase::Waiting { .. } | Phase::Denied => {
                let dashboard = DashboardId::parse(document.address.document()).expect("it was one before the check");
                let entering = Entering {
                    dashboard,
                    admitted,
                    seat: SeatId(0),
                    step: Step::NoPlace(turn.now),
                    until: turn.now,
                    told: None,
                };
                document.phase = Phase::Entering(Box::new(entering));
                self.place(turn, key);
            }
        }
        self.reschedule();
    }

    /// A live document has another token.
    fn renew(&mut self, turn: &mut Turn<'_>, key: &[u8], admitted: Admission) {
        let Some(Document { address, phase: Phase::Live(live), .. }) = self.documents.get_mut(key) else { return };
        let is_other = !live.admitted.is_alike(&admitted);
        (live.expires_at, live.ask_token_at) = lifetime(turn.now, &admitted);
        live.admitted = admitted.clone();
        let access = admitted.access;
        let answer = hocuspocus::authenticated(address, access);
        let readmitted = is_other.then_some(DocumentsEffect::Readmit { seat: live.seat, admission: admitted });
        // Who may write is told before the room asks for what it wrote; who may not any more, when the room takes nothing.
        if access.may_edit() {
            turn.tell(answer);
            turn.effects.extend(readmitted);
        } else {
            turn.effects.extend(readmitted);
            turn.tell(answer);
        }
    }

    /// Makes room for a document that was not spoken of before. `None` when there is none.
    fn introduce(&mut self, turn: &mut Turn<'_>, address: &str) -> Option<Bytes> {
        let address = Address::new(address);
        if self.documents.len() >= self.documents_max {
            // Version 2 does not say that it gave a document up.
            let is_denied =
                |document: &Document| matches!(document.phase, Phase::Denied) && document.checking.is_none();
            let denied = self.documents.iter().find(|(_, document)| is_denied(document)).map(|(key, _)| key.clone());
            denied.and_then(|key| self.documents.remove(&key));
        }
        if self.documents.len() >= self.documents_max {
            turn.count(NotTaken::SocketDocuments);
            turn.tell(hocuspocus::permission_denied(&address, TOO_MANY));
            return None;
        }
        let key = Bytes::copy_from_slice(address.as_str().as_bytes());
        let phase = Phase::Waiting { since: turn.now, asked_at: None };
        let document = Document { address, checking: None, echoes: true, phase, queue: VecDeque::new() };
        self.documents.insert(key.clone(), document);
        self.reschedule();
        Some(key)
    }

    /// Looks for a place for a document that a token was good for: the first has the socket's, each other one counts like another socket.
    /// Each try counts as one.
    fn place(&mut self, turn: &mut Turn<'_>, key: &Bytes) {
        let Some(Document { phase: Phase::Entering(entering), .. }) = self.documents.get_mut(key) else { return };
        // What was closed again before it was open is still on its way.
        let may_open = match self.opening < self.documents_max {
            true => self.opens.take(turn.now, 1),
            false => Err(PLACE_AGAIN),
        };
        match may_open {
            Ok(()) => {
                self.seats += 1;
                let (seat, is_own) = (SeatId(self.seats), self.own_place.is_none());
                (entering.seat, entering.step) = (seat, Step::Placing);
                if is_own {
                    self.own_place = Some(seat);
                }
                let principal = entering.admitted.principal.clone();
                turn.effects.push(DocumentsEffect::TakePlace { key: key.clone(), seat, is_own, principal });
            }
            Err(pause) => entering.step = Step::NoPlace(turn.now + pause.min(HEARTBEAT_EVERY)),
        }
        self.reschedule();
    }

    fn placed(&mut self, turn: &mut Turn<'_>, key: &Bytes, seat: SeatId, place: Result<(), Crowded>) {
        let entering = match self.documents.get_mut(key) {
            Some(Document { phase: Phase::Entering(entering), .. }) if entering.seat == seat => entering,
            _ => return,
        };
        if place.is_err() && self.own_place == Some(seat) {
            self.own_place = None;
        }
        match place {
            Ok(()) => self.open(turn, key),
            Err(Crowded::Joins(pause)) => {
                entering.step = Step::NoPlace(turn.now + pause.min(HEARTBEAT_EVERY));
                turn.count(NotTaken::JoinRate);
                self.reschedule();
            }
            // It passes, with a session that ends, and a client that was denied would not try again.
            Err(Crowded::User(exceeded)) => {
                entering.step = Step::NoPlace(turn.now + exceeded.retry_after().min(HEARTBEAT_EVERY));
                turn.count(NotTaken::UserLimit(exceeded.limit));
                self.reschedule();
            }
            Err(Crowded::Full(reason)) => {
                turn.count(NotTaken::SessionLimit);
                self.deny(turn, key, reason);
            }
        }
    }

    /// Opens a document beside the others, for as long as it may take while the store is away.
    fn open(&mut self, turn: &mut Turn<'_>, key: &Bytes) {
        let Some(Document { phase: Phase::Entering(entering), .. }) = self.documents.get_mut(key) else { return };
        entering.until = turn.now + self.auth_timeout;
        entering.step = Step::Opening;
        self.opening += 1;
        let (seat, dashboard) = (entering.seat, entering.dashboard.clone());
        turn.effects.push(DocumentsEffect::Open { key: key.clone(), seat, dashboard });
        self.reschedule();
    }

    fn opened(
        &mut self,
        turn: &mut Turn<'_>,
        key: &Bytes,
        seat: SeatId,
        opened: Result<MemberId, Unopened>,
        spread: Duration,
    ) {
        self.opening = self.opening.saturating_sub(1);
        let (address, echoes, entering) = match self.documents.get_mut(key) {
            Some(Document { address, echoes, phase: Phase::Entering(entering), .. }) if entering.seat == seat => {
                (address, *echoes, entering)
            }
            _ => return, // Closed, and opened again, since.
        };
        let member = match opened {
            Ok(member) => member,
            Err(Unopened::Away | Unopened::Memory) if turn.now < entering.until => {
                entering.step = Step::Closed(turn.now + OPEN_AGAIN + spread);
                self.opening += 1;
                return self.reschedule();
            }
            Err(failure) => {
                turn.count(match failure {
                    Unopened::Draining => NotTaken::Draining,
                    Unopened::Deleted => NotTaken::Deleted,
                    _ => NotTaken::Unavailable,
                });
                let code = failure.close_code();
                return match failure {
                    Unopened::Draining => turn.end(code),
                    Unopened::Away | Unopened::Memory => turn.effects.push(DocumentsEffect::End(code, REFUSAL_HOLD)),
                    Unopened::Broken | Unopened::Deleted | Unopened::NotKept => self.deny(turn, key, &code.reason()),
                };
            }
        };
        let admitted = entering.admitted.clone();
        if entering.told != Some(admitted.access) {
            entering.told = Some(admitted.access);
            turn.tell(hocuspocus::authenticated(address, admitted.access));
        }
        let joining = Joining {
            member,
            admission: admitted.clone(),
            wants_acks: true,
            wants_echo: false,
            dialect: Dialect::Hocuspocus { echoes },
        };
        entering.step = Step::Joining(admitted);
        turn.effects.push(DocumentsEffect::Join { key: key.clone(), seat, joining, prefix: address.prefix().clone() });
    }

    fn joined(&mut self, turn: &mut Turn<'_>, key: &Bytes, seat: SeatId, is_in: bool) {
        let Some(document) = self.documents.get_mut(key) else { return };
        let entering = match &mut document.phase {
            Phase::Entering(entering) if entering.seat == seat => entering,
            _ => return,
        };
        if !is_in {
            return self.open(turn, key); // It ended in between: once more.
        }
        let Step::Joining(admitted) = core::mem::replace(&mut entering.step, Step::Opening) else { return };
        let latest = entering.admitted.clone();
        self.was_admitted = true;
        let (expires_at, ask_token_at) = lifetime(turn.now, &admitted);
        let is_other = latest != admitted;
        document.phase = Phase::Live(Box::new(Live {
            seat,
            admitted,
            expires_at,
            ask_token_at,
            introduce_at: document.echoes.then(|| turn.now + TOKEN_GRACE),
            turns: Turns::default(),
            questions: Questions::new(turn.now),
        }));
        if is_other {
            self.renew(turn, key, latest);
        }
        self.replay(turn, key);
        self.reschedule();
    }

    /// Says what waited until the document was open.
    fn replay(&mut self, turn: &mut Turn<'_>, key: &[u8]) {
        while let Some(document) = self.documents.get_mut(key)
            && let Phase::Live(_) = document.phase
            && let Some(frame) = document.queue.pop_front()
        {
            self.let_go(turn, &frame);
            if let Ok(Incoming::Addressed { message, .. }) = hocuspocus::decode(&frame) {
                self.say_live(turn, key, message);
            }
        }
    }

    /// Anything but a token and a goodbye, about a document that is not open.
    fn say(&mut self, turn: &mut Turn<'_>, address: &str, message: &ClientMessage, frame: &Bytes) {
        let is_question = matches!(message, ClientMessage::Common(Message::SyncStep1(_)));
        let Some(document) = self.documents.get_mut(address.as_bytes()) else {
            // Version 2 takes its leave after its goodbye. Who is here announces itself again once it was let in.
            if matches!(message, ClientMessage::Common(Message::Awareness(_))) {
                return;
            }
            if address.is_empty() && !is_question {
                // What y-websocket clients begin with reads like this.
                turn.count(NotTaken::GarbageFrame);
                return turn.end(CloseCode::BadFrame);
            }
            if let Some(key) = self.introduce(turn, address) {
                self.wait_for_token(turn, &key, is_question, frame);
            }
            return;
        };
        match document.phase {
            Phase::Live(_) | Phase::Denied => {}
            Phase::Waiting { .. } => self.wait_for_token(turn, address.as_bytes(), is_question, frame),
            Phase::Entering(_) => {
                // The token was good: nobody who may come in is turned away for being early. The socket is read later, but for
                // one message, which may be as large as any.
                let bytes = self.pending_bytes + frame.len() + WAITING_OVERHEAD;
                if self.pending_bytes == 0 {
                    turn.outside.charge(bytes);
                } else if bytes > self.pending_bytes_max || !turn.outside.keep(bytes) {
                    return turn.effects.push(DocumentsEffect::TakeLater(frame.clone()));
                }
                self.pending_bytes = bytes;
                document.queue.push_back(frame.clone());
            }
        }
    }

    fn wait_for_token(&mut self, turn: &mut Turn<'_>, key: &[u8], is_question: bool, frame: &Bytes) {
        let bytes = self.pending_bytes + frame.len() + WAITING_OVERHEAD;
        if bytes > self.pending_bytes_max || !turn.outside.keep(bytes) {
            turn.count(NotTaken::Pending);
            return turn.effects.push(DocumentsEffect::End(CloseCode::Reset, REFUSAL_HOLD));
        }
        if let Some(Document { phase: Phase::Waiting { asked_at, .. }, queue, .. }) = self.documents.get_mut(key) {
            self.pending_bytes = bytes;
            queue.push_back(frame.clone());
            if is_question && asked_at.is_none() {
                *asked_at = Some(turn.now);
                self.reschedule();
            }
        }
    }

    fn let_go(&mut self, turn: &mut Turn<'_>, frame: &Bytes) {
        self.pending_bytes -= frame.len() + WAITING_OVERHEAD;
        turn.outside.charge(self.pending_bytes);
    }

    fn say_live(&mut self, turn: &mut Turn<'_>, key: &[u8], message: ClientMessage) {
        let Some(Document { phase: Phase::Live(live), address, .. }) = self.documents.get_mut(key) else { return };
        let seat = live.seat;
        let effect = match message {
            ClientMessage::Update { update, message } => {
                DocumentsEffect::Update { seat, update, message: Some(message), wants_ack: true }
            }
            ClientMessage::Common(Message::Awareness(body)) => DocumentsEffect::Awareness { seat, body },
            ClientMessage::Common(Message::SyncStep1(have)) => {
                if !live.questions.ask(turn.now, turn.outside.document_bytes(seat), &have) {
                    turn.count(NotTaken::Rate);
                    return self.reschedule();
                }
                live.asks();
                DocumentsEffect::Ask { seat, have }
            }
            ClientMessage::Common(Message::SyncStep2(update)) => {
                let wants_ack = live.turns.client_answered(turn.outside.questions_put(seat));
                DocumentsEffect::Update { seat, update, message: None, wants_ack }
            }
            ClientMessage::Stateless(payload) if payload.len() > self.stateless_bytes_max => {
                DocumentsEffect::Count(NotTaken::Stateless)
            }
            ClientMessage::Stateless(payload) => DocumentsEffect::Stateless { seat, payload },
            ClientMessage::BroadcastStateless => {
                turn.count(NotTaken::Forbidden);
                let closed = hocuspocus::close(address, RULES_BROKEN);
                self.forget(turn, key);
                DocumentsEffect::Tell(closed)
            }
            ClientMessage::Common(_)
            | ClientMessage::Token { .. }
            | ClientMessage::Close
            | ClientMessage::Ignored(_) => return,
        };
        turn.effects.push(effect);
    }

    /// The client may not, or not any longer.
    fn deny(&mut self, turn: &mut Turn<'_>, key: &[u8], reason: &str) {
        let Some(document) = self.documents.get_mut(key) else { return };
        let denied = hocuspocus::permission_denied(&document.address, reason);
        let queue = core::mem::take(&mut document.queue);
        let phase = core::mem::replace(&mut document.phase, Phase::Denied);
        document.checking = None;
        self.give_up(turn, &phase, &queue);
        turn.tell(denied);
    }

    fn forget(&mut self, turn: &mut Turn<'_>, key: &[u8]) {
        let Some(document) = self.documents.remove(key) else { return };
        self.give_up(turn, &document.phase, &document.queue);
    }

    fn give_up(&mut self, turn: &mut Turn<'_>, phase: &Phase, queue: &VecDeque<Bytes>) {
        queue.iter().for_each(|frame| self.let_go(turn, frame));
        let seat = match phase {
            Phase::Live(live) => Some(live.seat),
            Phase::Entering(entering) => match entering.step {
                Step::NoPlace(_) => None,
                Step::Closed(_) => {
                    self.opening -= 1;
                    Some(entering.seat)
                }
                Step::Placing | Step::Opening | Step::Joining(_) => Some(entering.seat),
            },
            Phase::Waiting { .. } | Phase::Denied => None,
        };
        if let Some(seat) = seat {
            if self.own_place == Some(seat) {
                self.own_place = None;
            }
            turn.effects.push(DocumentsEffect::Leave { seat });
        }
        self.reschedule();
    }

    fn look_at(&mut self, turn: &mut Turn<'_>, key: &Bytes) {
        let Some(document) = self.documents.get_mut(key) else { return };
        match &mut document.phase {
            Phase::Waiting { asked_at: Some(_), .. } => {
                // A version 2 without a token.
                let address = document.address.as_str().to_owned();
                self.token(turn, &address, &Bytes::new(), true);
            }
            Phase::Waiting { .. } => {
                turn.count(NotTaken::AuthTimeout);
                self.forget(turn, key);
            }
            Phase::Live(live) => {
                if live.expires_at.is_some_and(|at| turn.now >= at) {
                    // Who has no other token, or knows no question for one, finds out by coming back. Version 2 does so
                    // without a pause, so tokens that are over as soon as they come would make it run in circles.
                    let is_young = turn.now.since(self.began) < REFUSAL_HOLD;
                    let hold = if is_young { REFUSAL_HOLD } else { Duration::ZERO };
                    return turn.effects.push(DocumentsEffect::End(CloseCode::Reset, hold));
                }
                let seat = live.seat;
                if let Some(have) = live.questions.due(turn.now, turn.outside.document_bytes(seat)) {
                    live.asks();
                    turn.effects.push(DocumentsEffect::Ask { seat, have });
                }
                if live.introduce_at.take_if(|at| turn.now >= *at).is_some() {
                    turn.effects.push(DocumentsEffect::Introduce { seat });
                }
                if live.ask_token_at.take_if(|at| turn.now >= *at).is_some() {
                    turn.tell(hocuspocus::token_request(&document.address));
                }
            }
            Phase::Entering(entering) => match entering.step {
                Step::NoPlace(_) => self.place(turn, key),
                Step::Closed(_) => {
                    entering.step = Step::Opening; // It is counted already.
                    let (seat, dashboard) = (entering.seat, entering.dashboard.clone());
                    turn.effects.push(DocumentsEffect::Open { key: key.clone(), seat, dashboard });
                }
                Step::Placing | Step::Opening | Step::Joining(_) => {}
            },
            Phase::Denied => {}
        }
    }

    /// Finds the next thing that is due.
    fn reschedule(&mut self) {
        let admission = (!self.was_admitted).then(|| self.began + self.auth_timeout);
        let documents = self.documents.values().filter_map(|document| due_at(document, self.auth_timeout));
        self.due_at = documents.chain(admission).fold(self.heartbeat_at, Timestamp::min);
    }
}

/// When something about a document is due.
fn due_at(document: &Document, auth_timeout: Duration) -> Option<Timestamp> {
    match &document.phase {
        Phase::Waiting { .. } if document.checking.is_some() => None,
        Phase::Waiting { asked_at: Some(asked_at), .. } => Some(*asked_at + TOKEN_GRACE),
        Phase::Waiting { since, .. } => Some(*since + auth_timeout),
        Phase::Entering(entering) => match entering.step {
            Step::NoPlace(at) | Step::Closed(at) => Some(at),
            Step::Placing | Step::Opening | Step::Joining(_) => None,
        },
        Phase::Live(live) => {
            let due = [live.introduce_at, live.ask_token_at, live.expires_at, live.questions.due_at()];
            due.into_iter().flatten().min()
        }
        Phase::Denied => None,
    }
}

/// When an admission ends, and when to ask for the next token.
fn lifetime(now: Timestamp, admitted: &Admission) -> (Option<Timestamp>, Option<Timestamp>) {
    let Some(until) = admitted.until else { return (None, None) };
    let valid_for = until.since(now);
    let lead = RENEW_BEFORE.min(valid_for / 4);
    (Some(now + valid_for), Some(now + (valid_for - lead)))
}
