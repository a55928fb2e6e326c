//! The documents of one socket in the Hocuspocus dialect: what [`ydash_proto::session::Documents`] decides is done here.
//!
//! A seat holds what belongs to one document: its place, and its room once that is open. Rooms are opened in tasks of their own, and a single
//! timer tells what is due.

use super::reader::{End, Reader, Taken, Talk};
use super::rooms::Rooms;
use super::{Place, Sessions, unopened};
use crate::allowances::UserPlace;
use crate::auth::{Denied, Whence};
use crate::ledger::{Account, CHARGED_BYTES_MIN, Lease};
use crate::metrics::{Memory, Refusal};
use crate::outbox::Outbox;
use crate::room::{OpenError, RoomHandle};
use bytes::Bytes;
use core::pin::Pin;
use core::time::Duration;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};
use tracing::debug;
use ydash_proto::access::{Admission, Principal};
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::room::{Input, Joining};
use ydash_proto::session::{self, Crowded, DocumentsEffect, DocumentsInput, NotTaken, Outside, SeatId};
use ydash_proto::wire::close::{CloseCode, REFUSAL_HOLD};

/// The documents of one socket.
pub(super) struct Documents {
    sessions: Arc<Sessions>,
    outbox: Arc<Outbox>,
    from: Whence,
    documents: session::Documents,
    world: World,
    opening: FuturesUnordered<JoinHandle<Opened>>,
    timer: Pin<Box<Sleep>>,
}

/// What the documents look up.
struct World {
    rooms: Arc<Rooms>,
    outbox: Arc<Outbox>,
    seats: HashMap<SeatId, Seat>,
    early: Early,
}

/// What belongs to one document.
struct Seat {
    _place: Option<Place>,
    _user: Option<UserPlace>,
    room: Option<RoomHandle>,
    /// Set while it is a member of its room.
    member: Option<MemberId>,
    /// When it was asked for.
    asked: std::time::Instant,
}

/// How an attempt to open a document ended.
pub(super) struct Opened {
    key: Bytes,
    seat: SeatId,
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
        self.handle(reader, DocumentsInput::Frame(frame)).await
    }

    async fn passed_over(&mut self, reader: &mut Reader<'_>, head: &Bytes) -> Result<(), End> {
        self.handle(reader, DocumentsInput::TooLarge { head: head.clone() }).await.map(|_| ())
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
            Happened::Opened(Opened { key, seat, outcome }) => {
                let opened = self.seat_opened(seat, outcome);
                let spread = Duration::from_millis(fastrand::u64(0..600));
                let input = DocumentsInput::Opened { key, seat, opened, spread };
                Box::pin(self.handle(reader, input)).await.map(|_| ())
            }
            Happened::Failed => Err(End::with(CloseCode::Internal)),
            Happened::Time => {
                let mut effects = Vec::new();
                self.documents.handle_timeout(reader.now(), &mut self.world, &mut effects);
                Box::pin(self.perform(reader, effects)).await.map(|_| ())
            }
        }
    }

    async fn dismissed(&mut self, reader: &mut Reader<'_>, member: MemberId, code: CloseCode) -> Result<(), End> {
        let seats = &self.world.seats;
        let Some(seat) = seats.iter().find(|(_, seat)| seat.member == Some(member)).map(|(id, _)| *id) else {
            return Ok(());
        };
        Box::pin(self.handle(reader, DocumentsInput::Dismissed { seat, code })).await.map(|_| ())
    }

    async fn leave(&mut self) {
        for (_, seat) in core::mem::take(&mut self.world.seats) {
            Box::pin(self.part(seat)).await;
        }
    }
}

impl Documents {
    pub(super) fn new(
        sessions: Arc<Sessions>,
        rooms: Arc<Rooms>,
        outbox: Arc<Outbox>,
        from: Whence,
        reader: &Reader<'_>,
    ) -> Documents {
        let config = &sessions.config;
        let documents = session::Documents::new(reader.now(), &config.limits, config.auth_timeout);
        let early = Early { account: sessions.ledger.account(from.address), lease: None };
        Documents {
            outbox: Arc::clone(&outbox),
            from,
            timer: Box::pin(sleep_until(reader.instant(documents.due_at()))),
            documents,
            world: World { rooms, outbox, seats: HashMap::new(), early },
            opening: FuturesUnordered::new(),
            sessions,
        }
    }

    async fn handle(&mut self, reader: &mut Reader<'_>, input: DocumentsInput) -> Result<Taken, End> {
        let mut effects = Vec::new();
        self.documents.handle(reader.now(), input, &mut self.world, &mut effects);
        self.perform(reader, effects).await
    }

    /// Performs effects, and those of what they bring.
    async fn perform(&mut self, reader: &mut Reader<'_>, effects: Vec<DocumentsEffect>) -> Result<Taken, End> {
        let mut taken = Taken::Yes;
        let mut effects = effects;
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                let outcome = match effect {
                    DocumentsEffect::Tell(message) => self.tell(message).map(|()| None)?,
                    DocumentsEffect::TakeLater(frame) => {
                        taken = Taken::Later(frame);
                        None
                    }
                    DocumentsEffect::End(code, hold) => return Err(End::Close(code, hold)),
                    DocumentsEffect::Count(what) => {
                        reader.count(what.into());
                        None
                    }
                    DocumentsEffect::Ignored(kind) => {
                        reader.ignore(kind);
                        None
                    }
                    DocumentsEffect::Check { key, token, dashboard, secret } => {
                        let admitted = Box::pin(self.check(&dashboard, secret.as_ref())).await;
                        Some(DocumentsInput::Checked { key, token, admitted })
                    }
                    DocumentsEffect::TakePlace { key, seat, is_own, principal } => {
                        let place = self.take_place(reader, seat, is_own, &principal);
                        Some(DocumentsInput::Placed { key, seat, place })
                    }
                    DocumentsEffect::Open { key, seat, dashboard } => {
                        self.open(key, seat, dashboard);
                        None
                    }
                    DocumentsEffect::Join { key, seat, joining, prefix } => {
                        let is_in = Box::pin(self.join(seat, joining, prefix)).await;
                        Some(DocumentsInput::Joined { key, seat, is_in })
                    }
                    DocumentsEffect::Leave { seat } => {
                        if let Some(seat) = self.world.seats.remove(&seat) {
                            Box::pin(self.part(seat)).await;
                        }
                        None
                    }
                    said => {
                        self.say(reader, said).await?;
                        None
                    }
                };
                if let Some(outcome) = outcome {
                    self.documents.handle(reader.now(), outcome, &mut self.world, &mut next);
                }
            }
            effects = next;
        }
        let due_at = reader.instant(self.documents.due_at());
        if self.timer.deadline() != due_at || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due_at);
        }
        Ok(taken)
    }

    /// Brings what a client says to its room.
    async fn say(&mut self, reader: &mut Reader<'_>, effect: DocumentsEffect) -> Result<(), End> {
        let (seat, input): (SeatId, _) = match effect {
            DocumentsEffect::Update { seat, update, message, wants_ack } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                let update = reader.scan(update, message).await?;
                match wants_ack {
                    true => (seat, Input::Update { member, update }),
                    false => (seat, Input::Answer { member, update }),
                }
            }
            DocumentsEffect::Awareness { seat, body } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                (seat, reader.read_awareness(body, member)?)
            }
            DocumentsEffect::Ask { seat, have } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                let have = reader.read_question(have).await?;
                let Some(question) = reader.put_question(member, have) else { return Ok(()) };
                (seat, question)
            }
            DocumentsEffect::Introduce { seat } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                (seat, Input::QueryAwareness { member })
            }
            DocumentsEffect::Stateless { seat, payload } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                (seat, Input::Stateless { from: member, payload })
            }
            DocumentsEffect::TooLarge { seat, acks } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                (seat, Input::TooLarge { member, acks })
            }
            DocumentsEffect::Readmit { seat, admission } => {
                let Some(member) = self.world.member(seat) else { return Ok(()) };
                reader.sends_for(reader.allowances.of(&admission.principal));
                (seat, Input::Readmitted { member, admission: Box::new(admission) })
            }
            other => unreachable!("{other:?} is performed above"),
        };
        let Some(Seat { room: Some(room), .. }) = self.world.seats.get(&seat) else { return Ok(()) };
        room.deliver(input, reader.paid(), reader.turn(), reader.arrived)
            .await
            .map_err(|_| End::with(CloseCode::Internal))
    }

    /// Whom a token lets in. What has to be waited for takes seconds at most, and the socket with it.
    async fn check(&self, dashboard: &DashboardId, secret: Option<&Bytes>) -> Result<Admission, NotTaken> {
        let verdict = match secret.map(|secret| core::str::from_utf8(secret)).transpose() {
            Ok(token) => self.sessions.doorkeeper.admit(&self.from, dashboard, token).refused_late().wait().await,
            Err(_) => Err(Denied::Unauthenticated),
        };
        verdict.map_err(|denied| match denied {
            Denied::Forbidden => NotTaken::Forbidden,
            Denied::Unauthenticated => NotTaken::Unauthenticated,
            Denied::Expired { .. } => NotTaken::Expired,
            Denied::TryAgain => NotTaken::Unavailable,
        })
    }

    fn take_place(
        &mut self,
        reader: &mut Reader<'_>,
        seat: SeatId,
        is_own: bool,
        principal: &Principal,
    ) -> Result<(), Crowded> {
        let place = match is_own {
            true => self.sessions.doorkeeper.join(self.from.address).map(|()| None),
            false => self.sessions.doorkeeper.join_again(self.from.address).map(Some),
        }?;
        // After the address, which turns more joins away: those cost the user nothing.
        let user = self.sessions.registry.allowances().join(principal).map_err(Crowded::User)?;
        // Of several users on one socket, the last one pays for everything that is sent on it.
        reader.sends_for(user.as_ref().map(|place| place.user().clone()));
        let asked = std::time::Instant::now();
        self.world.seats.insert(seat, Seat { _place: place, _user: user, room: None, member: None, asked });
        Ok(())
    }

    fn open(&self, key: Bytes, seat: SeatId, dashboard: DashboardId) {
        let registry = self.sessions.registry.clone();
        // A task of its own, since opening that is given up halfway would leave its slot in the registry.
        self.opening.push(self.sessions.tracker.spawn(async move {
            let outcome = registry.open(&dashboard).await;
            Opened { key, seat, outcome }
        }));
    }

    fn seat_opened(
        &mut self,
        seat: SeatId,
        outcome: Result<RoomHandle, OpenError>,
    ) -> Result<MemberId, session::Unopened> {
        let room = outcome.map_err(|failure| {
            debug!(%failure, "dashboard not opened");
            unopened(&failure)
        })?;
        if let Some(seat) = self.world.seats.get_mut(&seat) {
            seat.room = Some(room);
        }
        Ok(self.sessions.next_member())
    }

    /// Says whether the room took it in.
    async fn join(&mut self, seat: SeatId, joining: Joining, prefix: Bytes) -> bool {
        let Some(Seat { room: room @ Some(_), member: seated, asked, .. }) = self.world.seats.get_mut(&seat) else {
            return false;
        };
        let member = joining.member;
        self.outbox.enroll(member, prefix);
        if let Some(opened) = room {
            // Before it joins: the writer looks it up as soon as something overflowed.
            self.world.rooms.insert(member, opened.clone());
            if opened.join(joining, Arc::clone(&self.outbox), *asked, None).await.is_ok() {
                *seated = Some(member);
                return true;
            }
        }
        *room = None;
        self.world.rooms.remove(member);
        self.outbox.withdraw(member);
        false
    }

    /// Withdrawn before it leaves: nothing that its room still sends can reach who comes after it.
    async fn part(&self, seat: Seat) {
        if let Seat { member: Some(member), room: Some(room), .. } = seat {
            self.outbox.withdraw(member);
            self.world.rooms.remove(member);
            room.leave(member).await;
        }
    }

    /// Says something that must not get lost. Who does not read it while making us talk has to begin anew.
    fn tell(&self, message: Bytes) -> Result<(), End> {
        match self.outbox.say(message) {
            true => Ok(()),
            false => Err(End::Close(CloseCode::Reset, REFUSAL_HOLD)),
        }
    }
}

impl World {
    fn member(&self, seat: SeatId) -> Option<MemberId> {
        self.seats.get(&seat).and_then(|seat| seat.member)
    }
}

impl Outside for World {
    fn questions_put(&self, seat: SeatId) -> u64 {
        self.member(seat).map_or(0, |member| self.outbox.questions(member))
    }

    fn document_bytes(&self, seat: SeatId) -> usize {
        let room = self.seats.get(&seat).and_then(|seat| seat.room.as_ref());
        room.map_or(0, RoomHandle::document_bytes)
    }

    fn keep(&mut self, bytes: usize) -> bool {
        self.early.resize(bytes)
    }

    fn charge(&mut self, bytes: usize) {
        self.early.charge(bytes);
    }
}

/// Bytes of early messages on one socket. They cost no token, so those of one address leave place for others'.
struct Early {
    account: Account,
    lease: Option<Box<Lease>>,
}

impl Early {
    fn resize(&mut self, bytes: usize) -> bool {
        if bytes <= CHARGED_BYTES_MIN {
            self.lease = None;
            return true;
        }
        self.lease.get_or_insert_with(|| self.account.lease(Memory::Pending)).resize(bytes).is_ok()
    }

    fn charge(&mut self, bytes: usize) {
        if bytes <= CHARGED_BYTES_MIN {
            self.lease = None;
            return;
        }
        self.lease.get_or_insert_with(|| self.account.lease(Memory::Pending)).charge(bytes);
    }
}

impl From<NotTaken> for Refusal {
    fn from(what: NotTaken) -> Refusal {
        match what {
            NotTaken::GarbageFrame => Refusal::GarbageFrame,
            NotTaken::BadName => Refusal::BadName,
            NotTaken::Forbidden => Refusal::Forbidden,
            NotTaken::Deleted => Refusal::Deleted,
            NotTaken::Unauthenticated => Refusal::Unauthenticated,
            NotTaken::Expired => Refusal::Expired,
            NotTaken::AuthTimeout => Refusal::AuthTimeout,
            NotTaken::Pending => Refusal::Pending,
            NotTaken::SocketDocuments => Refusal::SocketDocuments,
            NotTaken::JoinRate => Refusal::JoinRate,
            NotTaken::SessionLimit => Refusal::SessionLimit,
            NotTaken::UserLimit(limit) => limit.into(),
            NotTaken::Rate => Refusal::Rate,
            NotTaken::Stateless => Refusal::Stateless,
            NotTaken::Unavailable => Refusal::Unavailable,
            NotTaken::Draining => Refusal::Draining,
        }
    }
}
