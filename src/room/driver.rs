//! The task of one live room: owns its [`Room`], brings it its inputs and does what it wants done.
//!
//! Nothing in here waits for a client. What may take long (appending, compacting, writing a snapshot) runs beside the loop and
//! comes back as an input.

use super::about::Live;
use super::handle::{Large, OwnEdit, RoomView, ToRoom};
use super::memory::Payer;
use super::registry::Context;
use super::storage::{Written, scan_trusted};
use super::traced::{TracedEdit, TracedJoin};
use super::users::Inside;
use super::visit::{Visit, Visiting};
use crate::allowances::User;
use crate::cluster::envelope::{Envelope, EnvelopeError};
use crate::cluster::{Heard, Subscription};
use crate::metrics::{Eviction, JoinPart, Refusal, UpdateSource};
use crate::outbox::Outbox;
use crate::store::Appended;
use crate::trace::{Span, SpanContext};
use bytes::Bytes;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};
use ydash_proto::access::{Admission, Capabilities, Principal};
use ydash_proto::document::{Compacted, Kept, compact};
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::life::Life;
use ydash_proto::room::{
    Dialect, Effect, FrameKind, Input, LimitReached, Report, RequestId, Room, Said, Scanned, StoreRead, WriteRefusal,
};
use ydash_proto::session::Pushed;
use ydash_proto::time::Timestamp;
use ydash_proto::wire;
use ydash_proto::wire::close::CloseCode;

/// Inputs that are taken before what is due goes out.
const INPUTS_AT_ONCE: usize = 256;

/// In a room of up to so many, its task writes a flush to the sockets itself; the writers of larger ones share that among
/// the cores.
const DIRECT_MEMBERS_MAX: usize = 256;

/// Updates of other nodes above this take longer than a millisecond to scan.
const SCAN_ASIDE_BYTES: usize = 256 << 10;

/// How often a busy room's memory is counted: it takes a walk over everything in it.
const WEIGH_EVERY: Duration = Duration::from_secs(1);

/// When the store is asked again whether the dashboard was deleted, if it did not say.
const LIFE_ASKED_AGAIN: Duration = Duration::from_secs(2);

/// Nor more edits than these, or than this share of it, are taken before.
const WEIGH_AFTER_BYTES: usize = 256 << 10;
const WEIGH_AFTER_SHARE: usize = 16;

/// Members that an operator is shown of one room.
const SEATS_SHOWN: usize = 500;

/// Updates of more structs and deletions than that, or of more bytes, take longer than a millisecond or two to admit.
const LONG_STRUCTS: u32 = 2048;
const LONG_BYTES: usize = 256 << 10;
/// So may a deletion of more clocks than that, where very many parts of it are known.
const LONG_DELETION: u32 = 64 << 10;

/// One member's seat: leaves a closed outbox behind when the room dies with it.
struct Seat {
    member: MemberId,
    outbox: Arc<Outbox>,
    /// It hears of the room's end, and of its own, and needs no frames.
    only_listens: bool,
    /// Its user, if that is somebody in particular.
    user: Option<User>,
    /// The record of its visit, once the room has let it in.
    visit: Option<Box<Visiting>>,
    _inside: Inside,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Does nothing when the session has ended or was told to; tells it when the room panicked.
        self.outbox.dismiss(self.member, CloseCode::Internal);
    }
}

type Pending<T> = OptionFuture<Pin<Box<dyn Future<Output = T> + Send>>>;

pub(super) struct Driver {
    id: DashboardId,
    /// Which life of its name it is.
    life: Life,
    room: Room,
    context: Arc<Context>,
    seats: Vec<Seat>,
    effects: Vec<Effect>,
    answers: HashMap<RequestId, oneshot::Sender<Result<(), WriteRefusal>>>,
    next_request: u64,
    append: Pending<Written<Appended>>,
    compaction: Pending<Option<Compacted>>,
    snapshot: Pending<Written<()>>,
    /// What the room hears of other nodes' rooms, and tells them.
    line: Subscription,
    /// What the room was told of others on the line: nothing yet, or whether there are any.
    linked: Option<bool>,
    scans: FuturesUnordered<Pin<Box<dyn Future<Output = Option<Input>> + Send>>>,
    store_read: Pending<Option<StoreRead>>,
    /// For those who hold handles.
    document_bytes: Arc<AtomicUsize>,
    live: Arc<Live>,
    /// Who pays for how much memory.
    memory: (Payer, usize),
    weigh_at: Timestamp,
    held: usize,
    eviction: Eviction,
    append_failing: bool,
    /// The dashboard was deleted: nothing is taken or told any more.
    is_over: bool,
    /// How often the node had been stopped when the store was last asked whether the dashboard is still there.
    stops_known: u64,
    life_check: Pending<Option<bool>>,
    /// Who waits to hear that the dashboard is still there.
    checked: Vec<oneshot::Sender<()>>,
    is_uncollected: bool,
    updates: u64,
    flushed_bytes: u64,
    resyncs: u64,
    /// How much the node knew of access when the room was last told.
    access_known: u64,
    /// What is traced, if anything is: an edit made here, one heard of another node until it is passed on, and who joins.
    edit: Option<Box<TracedEdit>>,
    heard_edit: Option<Box<Span>>,
    join: Option<(MemberId, Box<TracedJoin>)>,
}

impl Driver {
    pub(super) fn new(
        id: DashboardId,
        life: Life,
        room: Room,
        line: Subscription,
        context: Arc<Context>,
    ) -> Box<Driver> {
        context.metrics.rooms.inc();
        let stops_known = context.records.stops();
        Box::new(Driver {
            id,
            life,
            room,
            context,
            seats: Vec::new(),
            effects: Vec::new(),
            answers: HashMap::new(),
            next_request: 0,
            append: None.into(),
            compaction: None.into(),
            snapshot: None.into(),
            line,
            linked: None,
            scans: FuturesUnordered::new(),
            store_read: None.into(),
            document_bytes: Arc::default(),
            live: Arc::default(),
            memory: (None, 0),
            weigh_at: Timestamp(0),
            held: 0,
            eviction: Eviction::Idle,
            append_failing: false,
            is_over: false,
            stops_known,
            life_check: None.into(),
            checked: Vec::new(),
            is_uncollected: false,
            updates: 0,
            flushed_bytes: 0,
            resyncs: 0,
            access_known: 0,
            edit: None,
            heard_edit: None,
            join: None,
        })
    }

    /// Where it keeps how large the document is.
    pub(super) fn document_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.document_bytes)
    }

    /// Where it leaves what lists tell of it.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Runs until the registry lets the room go.
    ///
    /// Boxed, because a future holds what moves into it several times over: as it was passed, and where it is used.
    pub(super) async fn run(mut self: Box<Self>, mut inbox: mpsc::Receiver<ToRoom>) {
        let mut messages = Vec::new();
        let mut heard = Vec::new();
        self.link(self.context.clock.now());
        self.perform(self.context.clock.now());
        self.account(self.context.clock.now());
        self.document_bytes.store(self.room.document_bytes(), Ordering::Relaxed);
        self.live.look(&self.room, self.updates, self.linked.is_some());
        let mut armed = self.context.clock.instant(self.room.poll_timeout());
        let timer = sleep_until(armed);
        tokio::pin!(timer);
        loop {
            let mut scanned = None;
            // Every branch is cancel-safe: `recv_many`, `hear` and the boxed futures keep what they have, the timer its deadline.
            tokio::select! {
                _ = inbox.recv_many(&mut messages, INPUTS_AT_ONCE) => {}
                Some(written) = &mut self.append => {
                    self.append = None.into();
                    self.appended(written);
                }
                Some(compacted) = &mut self.compaction => {
                    self.compaction = None.into();
                    self.compacted(compacted);
                }
                Some(written) = &mut self.snapshot => {
                    self.snapshot = None.into();
                    self.snapshotted(written);
                }
                () = self.line.hear(&mut heard, INPUTS_AT_ONCE) => {}
                Some(input) = self.scans.next(), if !self.scans.is_empty() => scanned = Some(input),
                Some(read) = &mut self.store_read => {
                    self.store_read = None.into();
                    let now = self.context.clock.now();
                    self.handle(now, Input::StoreRead { read });
                }
                Some(is_over) = &mut self.life_check => {
                    self.life_check = None.into();
                    match is_over {
                        Some(true) => self.is_over = true,
                        Some(false) => self.checked.clear(),
                        // The store does not say, and is asked again. Callers hear meanwhile that this node may still have it.
                        None => self.check_life(LIFE_ASKED_AGAIN),
                    }
                }
                () = &mut timer => armed = Instant::now() + Duration::from_secs(3600),
            }
            if !self.context.records.is_kept_up() {
                // This process was stopped, and rights may have gone meanwhile on which what has just come would still be let through.
                self.context.records.until_kept_up().await;
                self.look_up_access(self.context.clock.now());
            }
            let stops = self.context.records.stops();
            if core::mem::replace(&mut self.stops_known, stops) != stops {
                // It may have been deleted meanwhile, and what has just come is for a dashboard that is there.
                match self.context.storage.is_over(&self.id, self.life).await {
                    Some(is_over) => self.is_over |= is_over,
                    None => self.check_life(LIFE_ASKED_AGAIN),
                }
            }
            if self.is_over {
                return self.end(messages, inbox).await;
            }
            if let Some(input) = scanned {
                self.scanned(input);
            }
            let now = self.context.clock.now();
            let turn = (!messages.is_empty() || !heard.is_empty()).then(Instant::now);
            for message in messages.drain(..) {
                self.take(now, message);
            }
            // First, so that a newcomer's question is answered.
            self.link(now);
            for one in heard.drain(..) {
                self.hear(now, one);
            }
            if messages.capacity() > INPUTS_AT_ONCE / 4 {
                messages = Vec::new();
            }
            self.attend(now);
            self.document_bytes.store(self.room.document_bytes(), Ordering::Relaxed);
            self.live.look(&self.room, self.updates, self.linked.is_some());
            self.account(now);
            if let Some(began) = turn {
                self.context.metrics.room_turn_seconds.observe(began.elapsed().as_secs_f64());
            }
            if self.room.is_evictable(now) {
                if self.context.release(&self.id) {
                    self.context.metrics.evictions.inc(self.eviction);
                    debug!(dashboard = %self.id, "room evicted");
                    return;
                }
                self.room.stay(now);
            }
            let due = self.context.clock.instant(self.room.poll_timeout());
            // A timer that fires early costs one look; moving it at every input would cost more.
            if due < armed {
                armed = due;
                timer.as_mut().reset(due);
            }
        }
    }

    /// Asks the store after a pause whether this life of the name has ended.
    fn check_life(&mut self, pause: Duration) {
        let (storage, id, life) = (Arc::clone(&self.context.storage), self.id.clone(), self.life);
        let check = async move {
            tokio::time::sleep(pause).await;
            storage.is_over(&id, life).await
        };
        self.life_check = Some(Box::pin(check) as Pin<Box<_>>).into();
    }

    fn take(&mut self, now: Timestamp, message: ToRoom) {
        if decides(&message) {
            self.look_up_access(now);
        }
        match message {
            ToRoom::Traced { message, mut trace } => {
                trace.taken();
                // One at a time: what else comes meanwhile cannot be told from it.
                let is_followed = self.edit.is_none();
                if is_followed {
                    self.edit = Some(trace);
                }
                self.take(now, *message);
                if is_followed && self.edit.as_ref().is_some_and(|edit| !edit.is_accepted()) {
                    self.edit = None;
                }
            }
            ToRoom::Join { joining, outbox, asked_at, trace, follows } => {
                let member = joining.member;
                if let Some(mut trace) = trace {
                    trace.taken();
                    self.join = Some((member, trace));
                }
                self.context.metrics.join_seconds.observe(JoinPart::Queue, asked_at.elapsed().as_secs_f64());
                let inside = self.context.users.enter(&joining.admission.principal);
                let only_listens = joining.dialect == Dialect::Listening;
                let user = self.context.allowances().of(&joining.admission.principal);
                let seat = Seat { member, outbox, only_listens, user, visit: None, _inside: inside };
                let (principal, dialect) = (joining.admission.principal.clone(), joining.dialect);
                let at = self.seats.partition_point(|other| other.member < seat.member);
                self.seats.insert(at, seat);
                self.context.metrics.joins.inc();
                self.handle(now, Input::Joined(joining));
                self.begin_visit(member, &principal, dialect);
                if let Some(follows) = follows {
                    let follow = || self.live.follow(&self.room, self.updates, self.linked.is_some());
                    let _ = follows.send(self.room.has_member(member).then(follow)); // The caller may have gone.
                }
            }
            ToRoom::Input(Input::Left { member }) => {
                // Who leaves without a question is not waited for.
                self.join.take_if(|(joined, _)| *joined == member);
                if let Ok(at) = self.seats.binary_search_by_key(&member, |seat| seat.member) {
                    self.seats.remove(at);
                }
                self.handle(now, Input::Left { member });
            }
            ToRoom::Input(question @ Input::SyncStep1 { member, .. }) => {
                let (began, is_aside) = (Instant::now(), self.room.cuts_aside());
                if let Some((_, join)) = self.join.as_mut().filter(|(joined, _)| *joined == member) {
                    join.asks();
                }
                self.handle(now, question);
                if !is_aside {
                    self.context.metrics.join_seconds.observe(JoinPart::Encode, began.elapsed().as_secs_f64());
                }
            }
            ToRoom::Input(input) => self.handle_of_member(now, input),
            ToRoom::Large(large) => {
                let Large { input, turn, .. } = *large;
                let began = Instant::now();
                self.handle_of_member(now, input);
                if let Some(mut turn) = turn {
                    turn.took(began.elapsed());
                }
            }
            ToRoom::Read { have, answer } => {
                if !self.room.cuts_aside() {
                    let state = if have.is_empty() { self.room.state() } else { self.room.difference(&have) };
                    let _ = answer.send(state); // Whoever asked may have gone.
                } else {
                    let content = self.room.content();
                    let cutting = self.context.guest_cutters.run(move || content.difference(&have));
                    self.context.tracker.spawn(async move {
                        if let Some(state) = cutting.await {
                            let _ = answer.send(state); // As above.
                        }
                    });
                }
            }
            ToRoom::Write { author, update, answer } => self.write(now, author, update, answer),
            ToRoom::Edit { edit, taken, answer } => {
                let OwnEdit { author, update, pen, begins } = *edit;
                // Who may not write learns nothing of what is there.
                let refusal = if !self.room.may(now, &author, Capabilities::WRITE) {
                    Some(WriteRefusal::Forbidden)
                } else if begins && self.room.has_content() {
                    Some(WriteRefusal::Exists)
                } else if self.room.clocks().get(pen.client) != pen.clock {
                    Some(WriteRefusal::PenTaken)
                } else {
                    None
                };
                match refusal {
                    Some(refusal) => _ = answer.send(Err(refusal)), // Whoever asked may have gone.
                    None => {
                        self.write(now, Box::new(author), Box::new(update), answer);
                        let _ = taken.send(()); // As above.
                    }
                }
            }
            ToRoom::Access { records, taken } => {
                self.handle(now, Input::AccessChanged { records });
                let _ = taken.send(()); // Whoever waited may have given up.
            }
            ToRoom::CheckLife { checked } => {
                self.checked.push(checked);
                self.check_life(Duration::ZERO);
            }
            ToRoom::Look { answer } => {
                let _ = answer.send(self.view()); // As above.
            }
            ToRoom::Presence { reader, answer } => {
                let may_see = self.room.may(now, &reader, Capabilities::READ);
                let _ = answer.send(may_see.then(|| self.room.presence())); // As above.
            }
            ToRoom::Leave => {
                self.eviction = Eviction::Memory;
                self.room.leave_when_empty(now);
            }
            ToRoom::Drain => {
                self.eviction = Eviction::Drain;
                self.handle(now, Input::Close);
                for seat in &self.seats {
                    // Served to the last: what is edited until then is still passed on, kept and acknowledged.
                    let (member, outbox, delay) = (seat.member, Arc::clone(&seat.outbox), self.context.drain_delay());
                    self.context.tracker.spawn(async move {
                        sleep(delay).await;
                        outbox.dismiss(member, CloseCode::Restart);
                    });
                }
            }
        }
    }

    /// Has it written down that somebody is here, if the room has let them in.
    fn begin_visit(&mut self, member: MemberId, principal: &Principal, dialect: Dialect) {
        let Some(visitors) = self.context.visitors().filter(|_| self.room.has_member(member)) else { return };
        let (dashboard, position) = (self.id.clone(), self.room.position());
        let visit = |user| Visit { member, user, dashboard, dialect, position };
        let visit = Visiting::begin(visitors, principal, visit);
        if let Ok(at) = self.seats.binary_search_by_key(&member, |seat| seat.member) {
            self.seats[at].visit = visit;
        }
    }

    /// Sends everybody away: the dashboard was deleted. What was not durable yet is with its authors.
    async fn end(mut self: Box<Self>, messages: Vec<ToRoom>, mut inbox: mpsc::Receiver<ToRoom>) {
        info!(dashboard = %self.id, members = self.seats.len(), "dashboard deleted: its members are sent away");
        self.context.metrics.evictions.inc(Eviction::Deleted);
        for seat in self.seats.drain(..) {
            seat.outbox.expel(seat.member, CloseCode::Deleted);
        }
        // Whoever is just coming believes to be in; all others find that the room has ended.
        let send_away = |message| {
            if let ToRoom::Join { joining, outbox, .. } = message {
                outbox.expel(joining.member, CloseCode::Deleted);
            }
        };
        messages.into_iter().for_each(send_away);
        inbox.close();
        while let Some(message) = inbox.recv().await {
            send_away(message);
        }
    }

    fn write(
        &mut self,
        now: Timestamp,
        author: Box<Admission>,
        update: Box<Scanned>,
        answer: oneshot::Sender<Result<(), WriteRefusal>>,
    ) {
        self.answers.retain(|_, waiting| !waiting.is_closed());
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.answers.insert(request, answer);
        let begins = if self.would_begin(&update) { self.context.allowances().of(&author.principal) } else { None };
        self.handle_as(now, Input::Write { request, author, update }, begins);
    }

    /// Has the room know all that the node does of who may do what: a change that came while it was being opened was not told to it.
    fn look_up_access(&mut self, now: Timestamp) {
        let changes = self.context.records.changes();
        if changes != self.access_known {
            self.access_known = changes;
            let records = self.context.records.latest(&self.id);
            self.handle(now, Input::AccessChanged { records: Box::new(records) });
        }
    }

    fn view(&self) -> RoomView {
        let seats = self.room.views().take(SEATS_SHOWN).map(|member| {
            let (bytes, frames) = self.seat(member.id).map_or((0, 0), |seat| seat.outbox.waiting());
            (member, bytes, frames)
        });
        RoomView {
            members: self.room.members(),
            seats: seats.collect(),
            document_bytes: self.room.document_bytes(),
            memory_bytes: self.room.memory(),
            clients: self.room.clocks().len(),
            updates: self.updates,
            flushed_bytes: self.flushed_bytes,
            resyncs: self.resyncs,
            held: self.room.held(),
            is_saved: self.room.is_saved(),
            position: self.room.position(),
        }
    }

    /// Tells the room when it gets company or is alone again. One that never had company is told nothing.
    fn link(&mut self, now: Timestamp) {
        let others = self.line.has_others();
        let was_linked = self.linked.unwrap_or(false);
        if others != was_linked || self.linked.is_none() && self.line.has_had_others() {
            self.linked = Some(others);
            self.handle(now, Input::Linked { others });
        }
    }

    fn hear(&mut self, now: Timestamp, heard: Heard) {
        let bytes = match heard {
            Heard::Envelope(bytes) => bytes,
            Heard::Lost => return self.handle(now, Input::RemoteLost),
            Heard::Gone(origin) => return self.handle(now, Input::NodeGone { origin }),
            Heard::Forgotten => return self.handle(now, Input::Forgotten),
        };
        self.context.metrics.bus_heard.inc();
        match self.open_envelope(&bytes) {
            Ok((input, caller)) => {
                if let Some(caller) = caller {
                    self.heard_edit = self.context.traces().begin("heard", Some(caller)).map(Box::new);
                }
                if let Some(input) = input {
                    self.handle(now, input);
                }
                if self.seats.is_empty() {
                    // There is nobody to pass it on to.
                    self.heard_edit = None;
                }
            }
            Err(why) => self.garbage(why),
        }
    }

    /// What an envelope says, `None` when it is scanned beside the loop, and the trace that it is a part of.
    fn open_envelope(&self, bytes: &Bytes) -> Result<(Option<Input>, Option<SpanContext>), EnvelopeError> {
        let limits = self.context.limits.for_trusted();
        let Envelope { origin, number, life, durable, said, trace } = Envelope::decode(bytes, &limits)?;
        if life != self.life {
            // Of a node that has not heard yet, or of one that has and this one not.
            return Ok((None, None));
        }
        let said = match said {
            Said::Update(update) if update.len() > SCAN_ASIDE_BYTES => {
                let scan = self.context.tracker.spawn_blocking(move || scan_trusted(update, &limits));
                self.scans.push(Box::pin(async move {
                    let said = Said::Update(Box::new(scan.await.ok()??));
                    Some(Input::Remote { origin, number, durable, said })
                }));
                return Ok((None, trace));
            }
            Said::Update(update) => {
                let scanned = scan_trusted(update, &limits).ok_or(EnvelopeError::Garbage("no update"))?;
                Said::Update(Box::new(scanned))
            }
            Said::Awareness(body) | Said::Presence(body) if wire::awareness::entries(&body).is_err() => {
                return Err(EnvelopeError::Garbage("no awareness entries"));
            }
            Said::Stateless(payload) if core::str::from_utf8(&payload).is_err() => {
                return Err(EnvelopeError::Garbage("no text"));
            }
            Said::Awareness(body) => Said::Awareness(body),
            Said::Presence(body) => Said::Presence(body),
            Said::Stateless(payload) => Said::Stateless(payload),
            Said::Renew => Said::Renew,
            Said::StateVector { have, deletes, asks } => Said::StateVector { have, deletes, asks },
        };
        Ok((Some(Input::Remote { origin, number, durable, said }), trace))
    }

    fn scanned(&mut self, input: Option<Input>) {
        match input {
            Some(input) => self.handle(self.context.clock.now(), input),
            None => self.garbage(EnvelopeError::Garbage("no update")),
        }
    }

    fn garbage(&self, why: EnvelopeError) {
        self.context.metrics.bus_garbage.inc();
        debug!(dashboard = %self.id, %why, "message of another node skipped");
    }

    /// Has the room take what a member sends, who may be the first to write here: then that counts as a dashboard that its user begins.
    fn handle_of_member(&mut self, now: Timestamp, input: Input) {
        let begins = match &input {
            Input::Update { member, update } | Input::Answer { member, update } if self.would_begin(update) => {
                self.seat(*member).and_then(|seat| seat.user.clone())
            }
            _ => None,
        };
        if self.context.visitors().is_some()
            && let Input::Update { member, update } | Input::Answer { member, update } = &input
            // A client that has nothing to add answers with an empty update.
            && !update.scan.is_empty()
            && let Ok(at) = self.seats.binary_search_by_key(member, |seat| seat.member)
            && let Some(visit) = &mut self.seats[at].visit
        {
            visit.sent(update.update.len(), self.room.position());
        }
        self.handle_as(now, input, begins);
    }

    fn would_begin(&self, update: &Scanned) -> bool {
        !self.room.has_content() && update.scan.structs > 0
    }

    fn handle_as(&mut self, now: Timestamp, input: Input, begins: Option<User>) {
        let Some(user) = begins else { return self.handle(now, input) };
        self.room.keep_from_beginning(user.may_begin().err());
        self.handle(now, input);
        self.room.keep_from_beginning(None);
        // An update that is held or refused begins no dashboard.
        if self.room.has_content() {
            user.begun();
        }
    }

    fn handle(&mut self, now: Timestamp, input: Input) {
        let is_long = takes_long(&input) || self.room.is_laden();
        if is_long {
            self.reserve(now, &input);
        }
        let work = || {
            self.room.handle(now, input, &mut self.effects);
            if !self.effects.is_empty() {
                self.perform(now);
            }
        };
        if is_long { at_length(work) } else { work() }
    }

    /// Pays for what a large update may add before it is taken: many rooms that each look at what is left would take it all at once.
    fn reserve(&mut self, now: Timestamp, input: &Input) {
        let price = update_of(input).map_or(0, Scanned::price);
        if price >= WEIGH_AFTER_BYTES {
            self.room.allow(self.context.memory.headroom(self.memory));
            let (payer, bytes) = self.memory;
            let reserved = (payer, bytes.saturating_add(price));
            self.context.memory.weighed(core::mem::replace(&mut self.memory, reserved), reserved);
            self.weigh_at = now;
        }
    }

    /// Has the room do what is due.
    fn attend(&mut self, now: Timestamp) {
        let is_long = self.room.is_laden();
        let mut work = || {
            self.room.handle_timeout(now, &mut self.effects);
            self.perform(now);
        };
        if is_long { at_length(work) } else { work() }
    }

    fn perform(&mut self, now: Timestamp) {
        while !self.effects.is_empty() {
            let mut effects = core::mem::take(&mut self.effects);
            let fan_outs = effects.iter().filter(|effect| matches!(effect, Effect::FanOut { .. })).count();
            let directly = fan_outs == 1 && self.seats.len() <= DIRECT_MEMBERS_MAX;
            for effect in effects.drain(..) {
                self.perform_one(now, effect, directly);
            }
            if self.effects.is_empty() {
                self.effects = effects; // Keeps the allocation.
            }
        }
    }

    fn perform_one(&mut self, now: Timestamp, effect: Effect, directly: bool) {
        match effect {
            Effect::Send { to, frame } => {
                if matches!(frame.kind, FrameKind::State | FrameKind::Difference)
                    && let Some((_, join)) = self.join.take_if(|(joined, _)| *joined == to)
                {
                    join.answered(frame.bytes.len());
                }
                let Some(seat) = self.seat(to).filter(|seat| !seat.only_listens) else { return };
                if let Pushed::Overflowed(first_missed) = seat.outbox.push(to, &frame) {
                    self.room.handle(now, Input::Overflowed { member: to, first_missed }, &mut self.effects);
                }
            }
            Effect::FanOut { frame, except } => {
                let mut except = except.iter().peekable();
                let mut deliveries = 0;
                for seat in &self.seats {
                    // Both are sorted.
                    while except.next_if(|author| **author < seat.member).is_some() {}
                    if except.peek() == Some(&&seat.member) || seat.only_listens {
                        continue;
                    }
                    deliveries += 1;
                    let outbox = &seat.outbox;
                    let pushed =
                        if directly { outbox.deliver(seat.member, &frame) } else { outbox.push(seat.member, &frame) };
                    if let Pushed::Overflowed(first_missed) = pushed {
                        let input = Input::Overflowed { member: seat.member, first_missed };
                        self.room.handle(now, input, &mut self.effects);
                    }
                }
                self.context.metrics.deliveries.inc_by(deliveries);
            }
            Effect::Ack { to, saved, count } => {
                if let Some(seat) = self.seat(to) {
                    seat.outbox.ack(to, saved, count);
                }
            }
            Effect::Answer { request, result } => {
                if let Some(answer) = self.answers.remove(&request) {
                    let _ = answer.send(result); // Whoever asked may have gone.
                }
            }
            Effect::Append { entries, after } => {
                if let Some(edit) = self.edit.as_mut().filter(|_| !entries.is_empty()) {
                    edit.appends(entries.len(), entries.iter().map(|entry| entry.update.len()).sum());
                }
                self.live.logs(&entries);
                let submission = self.context.storage.append(&self.id, self.life, after, entries);
                self.append = Some(submission).into();
            }
            Effect::Compact { parts } => {
                let limits = self.context.limits.clone();
                let (readers, id) = (self.context.readers.clone(), self.id.clone());
                let work = async move { readers.run(&id, move || compact(&parts, &limits)).await.ok() };
                self.compaction = Some(Box::pin(work) as Pin<Box<_>>).into();
            }
            Effect::Cut { content, have } => {
                let (began, metrics) = (Instant::now(), Arc::clone(&self.context.metrics));
                let cutting = self.context.cutters.run(move || content.cut(&have));
                self.scans.push(Box::pin(async move {
                    let cut = cutting.await;
                    metrics.join_seconds.observe(JoinPart::Encode, began.elapsed().as_secs_f64());
                    Some(Input::Cut { cut })
                }));
            }
            Effect::Snapshot { covers, state } => {
                let (storage, edited) = (Arc::clone(&self.context.storage), self.live.edited());
                let write = storage.snapshot(self.id.clone(), covers, state, edited, now);
                self.snapshot = Some(Box::pin(write) as Pin<Box<_>>).into();
            }
            Effect::Publish { number, durable, said } => {
                let trace = match (&self.edit, &said) {
                    (Some(edit), Said::Update(update)) => edit.published(update.len()),
                    _ => None,
                };
                let envelope = Envelope { origin: self.context.node(), number, life: self.life, durable, said, trace };
                self.line.publish(envelope.encode());
                self.context.metrics.bus_published.inc();
            }
            Effect::ReadStore => {
                let read = Arc::clone(&self.context.storage).read(self.id.clone(), self.life);
                self.store_read = Some(Box::pin(read) as Pin<Box<_>>).into();
            }
            Effect::SetAside { entry, why } => self.context.storage.set_aside(&self.id, entry, why),
            Effect::Probe { member } => {
                if let Some(seat) = self.seat(member) {
                    seat.outbox.probe();
                }
            }
            Effect::Expel { member, code } => {
                self.context.metrics.refusals.inc(match code {
                    CloseCode::StaleCopy => Refusal::Deleted,
                    _ => Refusal::Forbidden,
                });
                if let Ok(at) = self.seats.binary_search_by_key(&member, |seat| seat.member) {
                    self.seats.remove(at).outbox.expel(member, code);
                }
            }
            Effect::Close { member, code } => {
                if code == CloseCode::RoomFull {
                    self.context.metrics.refusals.inc(Refusal::MemberLimit);
                }
                if let Some(seat) = self.seat(member) {
                    seat.outbox.dismiss(member, code);
                }
            }
            Effect::Report(report) => self.report(report),
        }
    }

    fn seat(&self, member: MemberId) -> Option<&Seat> {
        self.seats.binary_search_by_key(&member, |seat| seat.member).ok().map(|at| &self.seats[at])
    }

    fn appended(&mut self, written: Written<Appended>) {
        let now = self.context.clock.now();
        let mut told = None;
        let input = match written {
            Written::Durable(Appended { position, before }) => {
                told = self.edit.as_mut().and_then(|edit| edit.appended());
                if core::mem::take(&mut self.append_failing) {
                    info!(dashboard = %self.id, "appending again");
                }
                Input::Appended { position, before }
            }
            Written::Failed => {
                if !core::mem::replace(&mut self.append_failing, true) {
                    warn!(dashboard = %self.id, "append failed; members keep editing, nothing is called saved");
                }
                Input::AppendFailed
            }
            Written::Lost => Input::AppendLost,
            Written::Gone => {
                self.is_over = true;
                return;
            }
        };
        self.handle(now, input);
        if told.take().is_some() {
            self.edit = None;
        }
    }

    fn compacted(&mut self, compacted: Option<Compacted>) {
        let metrics = &self.context.metrics;
        match compacted.as_ref().map(|compacted| compacted.kept) {
            Some(Kept::Live) => _ = metrics.compactions.inc(),
            Some(Kept::All) | None => {
                metrics.compactions_failed.inc();
                // Whoever wrote what cannot be collected does not fill the log with it.
                if !core::mem::replace(&mut self.is_uncollected, true) {
                    warn!(dashboard = %self.id, "garbage could not be collected; all bytes are kept");
                }
            }
        }
        let now = self.context.clock.now();
        self.handle(now, Input::Compacted { base: compacted });
    }

    fn snapshotted(&mut self, written: Written<()>) {
        let now = self.context.clock.now();
        let input = match written {
            Written::Durable(()) => Input::Snapshotted { saved: true },
            Written::Failed => Input::Snapshotted { saved: false },
            Written::Lost | Written::Gone => Input::SnapshotLost,
        };
        self.handle(now, input);
    }

    fn report(&mut self, report: Report) {
        let metrics = &self.context.metrics;
        let refusal = match report {
            Report::Accepted { by_rest, by_step2 } => {
                let source = match (by_rest, by_step2) {
                    (true, _) => UpdateSource::Rest,
                    (_, true) => UpdateSource::SyncStep2,
                    _ => UpdateSource::Update,
                };
                metrics.updates.inc(source);
                self.updates += 1;
                if let Some(edit) = &mut self.edit {
                    edit.accepted();
                }
                return;
            }
            Report::Flushed { bytes, waited } => {
                if let Some(edit) = &mut self.edit {
                    edit.flushed(bytes);
                }
                self.heard_edit = None;
                self.flushed_bytes += bytes as u64;
                metrics.flush_bytes.observe(bytes as f64);
                metrics.flush_seconds.observe(waited.as_secs_f64());
                return;
            }
            Report::AcceptedFromNode => {
                self.updates += 1;
                metrics.updates.inc(UpdateSource::Node);
                return;
            }
            Report::AskedNodes => {
                metrics.bus_asked.inc();
                return;
            }
            Report::Resynced => {
                self.resyncs += 1;
                metrics.resyncs.inc();
                return;
            }
            Report::Held => return,
            Report::Diverged => {
                // That appends fail has been said; without a failure it takes no more than one large edit.
                debug!("too much waits for the store: it gets one difference");
                return;
            }
            Report::StoreLost => {
                metrics.store_losses.inc();
                warn!(dashboard = %self.id, "the store has lost what was durable; all that is known here is put back");
                return;
            }
            Report::FoundInStore => {
                debug!("the log holds what others wrote: it is read");
                return;
            }
            Report::ReadOnly => Refusal::ReadOnly,
            Report::NotAllowed => Refusal::NotAllowed,
            Report::Withheld => {
                debug!("an update waits for the author in whose name it was written");
                return;
            }
            Report::Differs => Refusal::ContentDiffers,
            Report::StaleCopy => Refusal::Deleted,
            Report::HeldExpired => Refusal::Held,
            Report::AwarenessDropped => Refusal::AwarenessLimit,
            Report::Limit(LimitReached::DocumentBytes | LimitReached::DeletedBytes) => Refusal::DocumentTooLarge,
            Report::Limit(LimitReached::MessageBytes) => Refusal::FrameTooLarge,
            Report::Limit(LimitReached::Memory) => Refusal::Memory,
            Report::Limit(LimitReached::Dashboards(_)) => Refusal::UserCreateRate,
            Report::Limit(LimitReached::Content) => Refusal::MalformedUpdate,
            Report::Limit(_) => Refusal::DocumentLimit,
        };
        metrics.refusals.inc(refusal);
    }

    /// Keeps the sums over all rooms right.
    fn account(&mut self, now: Timestamp) {
        let held = self.room.held();
        if held != self.held {
            self.context.metrics.held_updates.inc_by(held as i64 - self.held as i64);
            self.held = held;
        }
        let has_grown = self.room.grown() >= WEIGH_AFTER_BYTES.max(self.memory.1 / WEIGH_AFTER_SHARE);
        if now >= self.weigh_at || has_grown {
            self.weigh_at = now + WEIGH_EVERY;
            let weight = (self.seats.first().map(|seat| seat.outbox.payer()), self.room.weigh());
            let headroom = self.context.memory.weighed(core::mem::replace(&mut self.memory, weight), weight);
            self.room.allow(headroom);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let metrics = &self.context.metrics;
        metrics.rooms.dec();
        metrics.held_updates.inc_by(-(self.held as i64));
        self.context.memory.weighed(self.memory, (None, 0));
        if std::thread::panicking() {
            error!(dashboard = %self.id, "room failed; it opens again from the store");
        }
    }
}

/// Whether somebody is let in by a message, or not.
fn decides(message: &ToRoom) -> bool {
    matches!(
        message,
        ToRoom::Join { .. }
            | ToRoom::Write { .. }
            | ToRoom::Edit { .. }
            | ToRoom::Presence { .. }
            | ToRoom::Input(Input::Readmitted { .. } | Input::Announce { .. })
    )
}

/// Whether an input takes the room longer than other rooms on the same thread should have to wait.
fn takes_long(input: &Input) -> bool {
    let update = match input {
        Input::Compacted { base } => return base.as_ref().is_some_and(|base| base.state.len() > LONG_BYTES),
        Input::StoreRead { read } => return read.is_some(),
        _ => update_of(input),
    };
    update.is_some_and(|update| {
        update.scan.structs.saturating_add(update.scan.delete_ranges) > LONG_STRUCTS
            || update.update.len() > LONG_BYTES
            || update.scan.deletes(&update.update).any(|(_, range)| range.len() > LONG_DELETION)
    })
}

fn update_of(input: &Input) -> Option<&Scanned> {
    match input {
        Input::Update { update, .. } | Input::Answer { update, .. } | Input::Write { update, .. } => Some(update),
        Input::Remote { said: Said::Update(update), .. } => Some(update),
        _ => None,
    }
}

/// Does what takes long while another thread serves the other rooms of this one.
fn at_length(work: impl FnOnce()) {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
