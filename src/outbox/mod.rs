//! What waits to be written to one socket: bounded in bytes and frames, shared by the sessions on it.
//!
//! A socket has one session, or, once [divided](Outbox::divide), any number: each with the address that goes in front of its frames.
//!
//! A room never waits for a socket. When a session's frames outgrow the bound, all of them that wait are dropped, the room is
//! told which flush was the first one lost, and what it sends meanwhile is ignored; once the socket has drained, the session gets one
//! difference for everything. So a slow reader costs a bounded amount of memory, is not disconnected for being slow, and
//! loses nothing. Acks are counted, not queued: their number is exact whatever is dropped.

pub(crate) mod small;

use crate::ledger::{Account, Lease};
use crate::metrics::{Memory, Metrics};
use bytes::Bytes;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use ydash_proto::id::MemberId;
use ydash_proto::room::{FlushSeq, Frame, FrameKind};
use ydash_proto::update::StateVector;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::{encode, tag};

/// The bounds of one outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes that may wait, shared states not counted; a handful of frames may be larger.
    pub bytes_max: usize,
    /// Frames that may wait.
    pub frames_max: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits, or the session lags and it was ignored: either way there is nothing to do.
    Taken,
    /// The session's frames were dropped; the first lost flush, or 0 when a state was among them.
    Overflowed(FlushSeq),
}

/// What the writer is to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Frames, in order; acks come as messages of type 8.
    Batch,
    /// What a session asked while much waited for it: everything is written, it can be answered.
    Asked(MemberId, Question),
    /// A session that lagged: everything is written, it can be told the difference.
    Drained(MemberId),
    /// Say goodbye and end.
    Close(CloseCode, Duration),
    /// The socket is gone.
    Gone,
}

/// What may cost a long answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// SyncStep1, from one that has this.
    State(StateVector),
    /// Who is here.
    Presence,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// What the socket did not take of a frame, framed already.
    Rest(Bytes),
    /// The address in front of what comes next, on a socket with several sessions.
    Behind(Bytes),
    /// A message.
    Frame(Frame),
    /// A message with its address.
    Said(Bytes),
    /// So many acks of one kind.
    Acks {
        /// Durable or refused.
        saved: bool,
        /// How many.
        count: u32,
    },
    /// A WebSocket ping.
    Ping,
    /// A WebSocket pong with the ping's payload.
    Pong(Bytes),
}

/// Room for so many frames stays with an idle session.
const FRAMES_KEPT: usize = 4;
/// Frames that may wait whatever their size. What follows an overflow (a difference, everybody's presence, up to three small ones)
/// must fit into an empty outbox, or it would overflow again and again.
const FRAMES_ALWAYS: usize = 5;

/// States that may wait for the sessions of a divided socket whatever their size; beyond, they count like other frames.
const STATES_ALWAYS: usize = 4;
/// Bytes of what was [said](Outbox::say) that may wait: it is never dropped.
const SAID_BYTES_MAX: usize = 256 << 10;

/// With more on its way to a socket, its sessions' questions are answered later: answers are made when they can be written, so that a
/// reader that does not read has at most one.
const BUSY_BYTES: usize = 64 << 10;

/// What waits is charged from this size on, with what is on its way.
const CHARGED_BYTES: usize = 64 << 10;

/// How many frames the writer takes at once.
const BATCH_FRAMES: usize = 64;

#[derive(Debug, Default)]
struct Queue {
    /// Where a frame may go at once, while the socket lives.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// What of `bytes` the gauge knows.
    told_bytes: usize,
    rest: Option<Bytes>,
    frames: VecDeque<(MemberId, Frame)>,
    bytes: usize,
    /// Of differences that wait: like states, they do not count as `bytes`, but they are charged.
    difference_bytes: usize,
    /// Of all frames that the writer has taken and not written yet; and those of them that are charged.
    leaving_bytes: usize,
    leaving_charged: usize,
    lease: Option<Box<Lease>>,
    asked: Vec<(MemberId, Question)>,
    saved: u32,
    refused: u32,
    lagging: Vec<MemberId>,
    ping: bool,
    pong: Option<Bytes>,
    close: Option<(CloseCode, Duration)>,
    is_closed: bool,
    /// Set while the writer has nothing to do: whoever gives it something takes this.
    waker: Option<Waker>,
    wants_probe: bool,
    several: Option<Box<Several>>,
}

/// What a divided socket has beside.
#[derive(Debug, Default)]
struct Several {
    /// Sorted by member.
    sessions: Vec<Session>,
    said: VecDeque<Bytes>,
    said_bytes: usize,
    dismissed: Vec<(MemberId, CloseCode)>,
}

#[derive(Debug)]
struct Session {
    member: MemberId,
    address: Bytes,
    saved: u32,
    refused: u32,
    /// SyncStep1 that were written.
    questions: u64,
}

impl Several {
    fn session(&mut self, member: MemberId) -> Option<&mut Session> {
        let at = self.sessions.binary_search_by_key(&member, |session| session.member).ok()?;
        Some(&mut self.sessions[at])
    }
}

impl Queue {
    /// What goes in front of `frame` for `member`, or `None` when it is nothing for this socket.
    fn address(&self, member: MemberId, frame: &Frame) -> Option<&[u8]> {
        match &self.several {
            // Only the dialect that divides sockets has a message for it.
            None => (frame.kind != FrameKind::Stateless).then_some(&[]),
            Some(several) => {
                let at = several.sessions.binary_search_by_key(&member, |session| session.member).ok()?;
                // Sockets with several sessions have a heartbeat of their own.
                (frame.bytes != encode::keep_alive()).then_some(&several.sessions[at].address)
            }
        }
    }

    /// Whether another state may wait. Those of one session are shared with others; those of several add up.
    fn has_room_for_state(&self, member: MemberId, bytes: usize, bytes_max: usize) -> bool {
        if self.several.is_none() {
            return !self.has_state(member);
        }
        let (mut count, mut sum) = (0, bytes);
        for (owner, waiting) in self.frames.iter().filter(|(_, waiting)| is_state(waiting)) {
            if *owner == member {
                return false;
            }
            count += 1;
            sum += waiting.bytes.len();
        }
        count < STATES_ALWAYS || sum <= bytes_max
    }

    fn drop_frames(&mut self, member: MemberId, mut each: impl FnMut(&Frame)) {
        let (mut freed, mut freed_differences) = (0, 0);
        self.frames.retain(|(owner, waiting)| {
            let drops = *owner == member;
            if drops {
                each(waiting);
                freed += weight(waiting);
                freed_differences += difference(waiting);
            }
            !drops
        });
        self.bytes -= freed;
        self.difference_bytes -= freed_differences;
        self.frames.shrink_to(BATCH_FRAMES);
    }

    /// Whether a state waits for `member`. A second one would say it all again, and states count for nothing in `bytes`.
    fn has_state(&self, member: MemberId) -> bool {
        self.frames.iter().any(|(owner, waiting)| *owner == member && is_state(waiting))
    }
}

/// The gauge is told of changes from this size on: what waits for less than a socket's turn is nobody's news.
const TOLD_BYTES: usize = 16 << 10;

/// The outbox of one socket.
pub struct Outbox {
    queue: Mutex<Queue>,
    limits: OutboxLimits,
    account: Account,
    metrics: Arc<Metrics>,
    /// Wakes the reader: it is to take a [`Call`].
    call: Notify,
}

/// What the reader is told by others than the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Find out whether the peer lives: it has been pinged.
    Probe,
    /// A room does not want one of the socket's sessions.
    Dismissed(MemberId, CloseCode),
    /// Somebody else has ended the session; the peer is told why, or is gone.
    Ended,
}

impl Outbox {
    /// An empty one in front of `socket`, which its writer shares. What waits is paid by `account`.
    #[must_use]
    pub fn new(
        socket: Option<Arc<OwnedWriteHalf>>,
        limits: OutboxLimits,
        account: Account,
        metrics: Arc<Metrics>,
    ) -> Outbox {
        let queue = Queue { socket, ..Queue::default() };
        Outbox { queue: Mutex::new(queue), limits, account, metrics, call: Notify::new() }
    }

    /// As [`Outbox::push`], but what is small goes straight to the socket if nothing waits: that spares a turn of the writer,
    /// which costs about as much again as the system call. Whoever has many frames for one socket pushes them, so
    /// that they leave together.
    pub fn deliver(&self, member: MemberId, frame: &Frame) -> Pushed {
        let mut queue = self.lock();
        if queue.waker.is_some()
            && let (Some(socket), Some(address)) = (&queue.socket, queue.address(member, frame))
            && let Some(Ok(rest)) = small::write_frame(socket, address, &frame.bytes)
        {
            if !rest.is_empty() {
                queue.rest = Some(rest);
                wake(queue);
            }
            return Pushed::Taken;
        }
        // A socket that is full, or gone, is the writer's to wait for, or to find out.
        self.put(queue, member, frame)
    }

    /// Puts a frame for `member` into the queue.
    pub fn push(&self, member: MemberId, frame: &Frame) -> Pushed {
        self.put(self.lock(), member, frame)
    }

    fn put(&self, mut queue: MutexGuard<'_, Queue>, member: MemberId, frame: &Frame) -> Pushed {
        if queue.is_closed || queue.close.is_some() || !queue.lagging.is_empty() && queue.lagging.contains(&member) {
            return Pushed::Taken;
        }
        if queue.address(member, frame).is_none() {
            return Pushed::Taken;
        }
        let fits = (queue.bytes + weight(frame) <= self.limits.bytes_max || queue.frames.len() < FRAMES_ALWAYS)
            && queue.frames.len() < self.limits.frames_max
            && (!is_state(frame) || queue.has_room_for_state(member, frame.bytes.len(), self.limits.bytes_max))
            && self.is_paid_for(&mut queue, frame);
        if fits {
            queue.bytes += weight(frame);
            queue.difference_bytes += difference(frame);
            queue.frames.push_back((member, frame.clone()));
            self.tell(&mut queue);
            let waker = queue.waker.take();
            drop(queue);
            if let Some(waker) = waker {
                waker.wake();
            }
            return Pushed::Taken;
        }
        let mut first_lost = lost(frame);
        queue.drop_frames(member, |waiting| first_lost = first_lost.min(lost(waiting)));
        self.tell(&mut queue);
        queue.lagging.push(member);
        wake(queue);
        Pushed::Overflowed(first_lost)
    }

    /// The network address of its peer.
    #[must_use]
    pub fn payer(&self) -> IpAddr {
        self.account.payer()
    }

    /// Whether there is memory for one more frame. Where there is none, its reader lags and gets one state that is shared: nothing is lost.
    fn is_paid_for(&self, queue: &mut Queue, frame: &Frame) -> bool {
        let bytes = queue.bytes + queue.difference_bytes + queue.leaving_charged + weight(frame) + difference(frame);
        if bytes <= CHARGED_BYTES || weight(frame) + difference(frame) == 0 {
            return true;
        }
        let lease = queue.lease.get_or_insert_with(|| self.account.lease(Memory::Outboxes));
        if bytes <= lease.bytes() || lease.resize(bytes).is_ok() {
            return true;
        }
        if frame.kind == FrameKind::Difference || queue.frames.len() >= FRAMES_ALWAYS {
            return false;
        }
        lease.charge(bytes); // It is one of those without which no reader could catch up.
        true
    }

    /// Keeps a question for later when much is on its way to the socket: the newest of each session, whose answer says what those before
    /// it would. Gives it back when it can be answered at once.
    #[must_use]
    pub fn postpone(&self, member: MemberId, question: Question) -> Option<Question> {
        let mut queue = self.lock();
        let is_busy =
            queue.bytes + queue.leaving_bytes > BUSY_BYTES || queue.frames.iter().any(|(_, frame)| is_long(frame));
        if queue.is_closed || queue.close.is_some() || !is_busy {
            return Some(question);
        }
        let is_alike = |(other, kept): &(MemberId, Question)| {
            *other == member && core::mem::discriminant(kept) == core::mem::discriminant(&question)
        };
        queue.asked.retain(|kept| !is_alike(kept));
        queue.asked.push((member, question));
        None
    }

    /// Bytes and frames that wait.
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.bytes, queue.frames.len())
    }

    /// Counts acks.
    pub fn ack(&self, member: MemberId, saved: bool, count: u32) {
        let mut guard = self.lock();
        let queue = &mut *guard;
        let (saved_count, refused_count) = match &mut queue.several {
            None => (&mut queue.saved, &mut queue.refused),
            Some(several) => match several.session(member) {
                Some(session) => (&mut session.saved, &mut session.refused),
                None => return, // It has left: whoever has its address by now counts on acks of its own.
            },
        };
        let counter = if saved { saved_count } else { refused_count };
        *counter = counter.saturating_add(count);
        wake(guard);
    }

    /// Makes this a socket for several sessions, and forgets what waited for the one it had.
    pub fn divide(&self) {
        let mut queue = self.lock();
        queue.frames = VecDeque::new();
        queue.asked = Vec::new();
        (queue.bytes, queue.difference_bytes, queue.saved, queue.refused) = (0, 0, 0, 0);
        queue.lagging = Vec::new();
        queue.several = Some(Box::default());
        self.tell(&mut queue);
    }

    /// Whether the socket is one for several sessions.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.lock().several.is_some()
    }

    /// Lets a session in whose frames go out behind `address`.
    pub fn enroll(&self, member: MemberId, address: Bytes) {
        let mut queue = self.lock();
        let Some(several) = &mut queue.several else { return };
        let at = several.sessions.partition_point(|session| session.member < member);
        several.sessions.insert(at, Session { member, address, saved: 0, refused: 0, questions: 0 });
    }

    /// Forgets a session and all that waits for it.
    pub fn withdraw(&self, member: MemberId) {
        let mut queue = self.lock();
        queue.drop_frames(member, |_| ());
        self.tell(&mut queue);
        queue.lagging.retain(|other| *other != member);
        queue.asked.retain(|(other, _)| *other != member);
        if let Some(several) = &mut queue.several {
            several.sessions.retain(|session| session.member != member);
            several.dismissed.retain(|(other, _)| *other != member);
        }
    }

    /// Puts a whole message into the queue, before all frames. It is never dropped. Says whether it fits.
    #[must_use]
    pub fn say(&self, message: Bytes) -> bool {
        let mut queue = self.lock();
        let Some(several) = &mut queue.several else { return true };
        if several.said_bytes + message.len() > SAID_BYTES_MAX {
            return false;
        }
        several.said_bytes += message.len();
        several.said.push_back(message);
        wake(queue);
        true
    }

    /// How many SyncStep1 were written to a session.
    #[must_use]
    pub fn questions(&self, member: MemberId) -> u64 {
        let mut queue = self.lock();
        queue.several.as_mut().and_then(|several| several.session(member)).map_or(0, |session| session.questions)
    }

    /// Has the writer ping the peer.
    pub fn ping(&self) {
        let mut queue = self.lock();
        queue.ping = true;
        wake(queue);
    }

    /// Pings the peer and has the reader end the session unless it answers soon.
    pub fn probe(&self) {
        let mut queue = self.lock();
        (queue.ping, queue.wants_probe) = (true, true);
        wake(queue);
        self.call.notify_one();
    }

    /// The way on which the reader hears that it is wanted. There is one: a second one would miss what the first is told.
    #[must_use]
    pub fn calls(&self) -> Calls<'_> {
        Calls { outbox: self, notified: Box::pin(self.call.notified()) }
    }

    fn take_call(&self) -> Option<Call> {
        let mut queue = self.lock();
        if queue.is_closed || queue.close.is_some() {
            return Some(Call::Ended);
        }
        if let Some((member, code)) = queue.several.as_mut().and_then(|several| several.dismissed.pop()) {
            self.call.notify_one(); // There may be more.
            return Some(Call::Dismissed(member, code));
        }
        core::mem::take(&mut queue.wants_probe).then_some(Call::Probe)
    }

    /// Answers a ping; of several that wait only the newest is answered (RFC 6455 §5.5.3).
    pub fn pong(&self, payload: Bytes) {
        let mut queue = self.lock();
        queue.pong = Some(payload);
        wake(queue);
    }

    /// Ends the socket after what waits was written, `after` from now. The first call counts.
    pub fn close(&self, code: CloseCode, after: Duration) {
        let mut queue = self.lock();
        if queue.close.is_none() {
            queue.close = Some((code, after));
        }
        wake(queue);
        self.call.notify_one();
    }

    /// Ends one session. On a divided socket that leaves the others alone, if the reason concerns that session's document only.
    pub fn dismiss(&self, member: MemberId, code: CloseCode) {
        let mut queue = self.lock();
        if let Some(several) = &mut queue.several {
            if several.session(member).is_none() {
                return;
            }
            if code == CloseCode::RoomFull {
                several.dismissed.push((member, code));
                drop(queue);
                self.call.notify_one();
                return;
            }
        }
        drop(queue);
        self.close(code, code.hold());
    }

    /// Drops everything: the socket is gone.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        let waker = queue.waker.take();
        queue.bytes = 0;
        self.tell(&mut queue);
        *queue = Queue { is_closed: true, waker, ..Queue::default() };
        wake(queue);
        self.call.notify_one();
    }

    /// Whether the writer has ended, or somebody found the socket gone.
    pub fn is_gone(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes what is to be written next into `batch`. Cancel-safe: what was taken is in `batch`.
    pub async fn next(&self, batch: &mut Vec<Item>) -> Next {
        core::future::poll_fn(|cx| self.poll_next(cx, batch)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>, batch: &mut Vec<Item>) -> Poll<Next> {
        let mut queue = self.lock();
        queue.waker = None;
        // Whoever asks for more has written what it took before.
        (queue.leaving_bytes, queue.leaving_charged) = (0, 0);
        if queue.is_closed {
            return Poll::Ready(Next::Gone);
        }
        if let Some(rest) = queue.rest.take() {
            batch.push(Item::Rest(rest));
        }
        if queue.ping {
            queue.ping = false;
            batch.push(Item::Ping);
        }
        if let Some(payload) = queue.pong.take() {
            batch.push(Item::Pong(payload));
        }
        let count = queue.frames.len().min(BATCH_FRAMES);
        let (mut written, mut differences, mut leaving) = (0, 0, 0);
        let Queue { saved, refused, frames, several, .. } = &mut *queue;
        let mut leaves = |frame: &Frame| {
            written += weight(frame);
            differences += difference(frame);
            leaving += frame.bytes.len();
        };
        match several {
            None => {
                put_acks(batch, None, saved, refused);
                for (_, frame) in frames.drain(..count) {
                    leaves(&frame);
                    batch.push(Item::Frame(frame));
                }
            }
            Some(several) => {
                several.said_bytes = 0;
                batch.extend(core::mem::take(&mut several.said).into_iter().map(Item::Said));
                for session in &mut several.sessions {
                    put_acks(batch, Some(&session.address), &mut session.saved, &mut session.refused);
                }
                for (member, frame) in frames.drain(..count) {
                    leaves(&frame);
                    let Some(session) = several.session(member) else { continue };
                    session.questions += u64::from(frame.bytes.starts_with(&[tag::SYNC, tag::SYNC_STEP_1]));
                    batch.extend([Item::Behind(session.address.clone()), Item::Frame(frame)]);
                }
            }
        }
        queue.bytes -= written;
        queue.difference_bytes -= differences;
        (queue.leaving_bytes, queue.leaving_charged) = (leaving, written + differences);
        self.tell(&mut queue);
        self.settle(&mut queue);
        if !batch.is_empty() {
            return Poll::Ready(Next::Batch);
        }
        if queue.frames.capacity() > FRAMES_KEPT {
            queue.frames = VecDeque::new();
        }
        if let Some((code, after)) = queue.close {
            return Poll::Ready(Next::Close(code, after));
        }
        if let Some((member, question)) = queue.asked.pop() {
            if queue.asked.is_empty() {
                queue.asked = Vec::new();
            }
            return Poll::Ready(Next::Asked(member, question));
        }
        if !queue.lagging.is_empty() {
            // One by one: what follows an overflow needs an empty outbox.
            return Poll::Ready(Next::Drained(queue.lagging.remove(0)));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Gives back what is written.
    fn settle(&self, queue: &mut Queue) {
        let bytes = queue.bytes + queue.difference_bytes + queue.leaving_charged;
        match &mut queue.lease {
            Some(_) if bytes <= CHARGED_BYTES => queue.lease = None,
            Some(lease) if bytes < lease.bytes() => lease.charge(bytes),
            _ => {}
        }
    }

    /// Keeps the gauge about right; right when nothing waits.
    fn tell(&self, queue: &mut Queue) {
        if queue.bytes.abs_diff(queue.told_bytes) >= TOLD_BYTES || queue.bytes == 0 && queue.told_bytes > 0 {
            self.metrics.outbox_bytes.inc_by(queue.bytes as i64 - queue.told_bytes as i64);
            queue.told_bytes = queue.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics between two writes to the queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader hears [`Call`]s on.
pub struct Calls<'a> {
    outbox: &'a Outbox,
    notified: Pin<Box<Notified<'a>>>,
}

impl Calls<'_> {
    /// Waits until the reader is wanted. Cancel-safe.
    pub async fn next(&mut self) -> Call {
        loop {
            self.notified.as_mut().await;
            self.notified.set(self.outbox.call.notified());
            if let Some(call) = self.outbox.take_call() {
                return call;
            }
        }
    }
}

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn put_acks(batch: &mut Vec<Item>, address: Option<&Bytes>, saved: &mut u32, refused: &mut u32) {
    for (saved, count) in [(true, core::mem::take(saved)), (false, core::mem::take(refused))] {
        if count > 0 {
            batch.extend(address.cloned().map(Item::Behind));
            batch.push(Item::Acks { saved, count });
        }
    }
}

/// A state is shared by everybody who joins: it costs its reader nothing of its own.
fn weight(frame: &Frame) -> usize {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(_) | FrameKind::Notice | FrameKind::Stateless => frame.bytes.len(),
    }
}

/// What is charged beside.
fn difference(frame: &Frame) -> usize {
    if frame.kind == FrameKind::Difference { frame.bytes.len() } else { 0 }
}

fn is_state(frame: &Frame) -> bool {
    matches!(frame.kind, FrameKind::State | FrameKind::Difference)
}

fn is_long(frame: &Frame) -> bool {
    frame.bytes.len() > BUSY_BYTES
}

fn lost(frame: &Frame) -> FlushSeq {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(seq) => seq,
        FrameKind::Notice | FrameKind::Stateless => FlushSeq::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    const ALICE: MemberId = MemberId(1);

    fn account(budget: usize) -> Account {
        Ledger::new(budget, Arc::default()).account(IpAddr::from([192, 0, 2, 1]))
    }

    fn outbox() -> Outbox {
        Outbox::new(None, OutboxLimits { bytes_max: 100, frames_max: 8 }, account(1 << 30), Arc::default())
    }

    fn flush(seq: FlushSeq, bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![0; bytes]), kind: FrameKind::Flush(seq) }
    }

    async fn take(outbox: &Outbox) -> (Next, Vec<Item>) {
        let mut batch = Vec::new();
        let next = outbox.next(&mut batch).await;
        (next, batch)
    }

    #[tokio::test]
    async fn the_gauge_knows_what_waits() {
        let metrics = Arc::new(Metrics::new());
        let limits = OutboxLimits { bytes_max: 100 << 10, frames_max: 8 };
        let outboxes = [(); 3].map(|()| Outbox::new(None, limits, account(1 << 30), Arc::clone(&metrics)));
        outboxes.iter().for_each(|outbox| _ = outbox.push(ALICE, &flush(1, 20 << 10)));
        outboxes[0].push(ALICE, &flush(2, 1000));
        assert_eq!(metrics.outbox_bytes.get(), 60 << 10, "less than a step is not told");
        outboxes[0].abandon();
        take(&outboxes[1]).await;
        assert_eq!(metrics.outbox_bytes.get(), 20 << 10);
        assert_eq!(outboxes[2].push(ALICE, &flush(2, 90 << 10)), Pushed::Taken, "a few frames fit whatever their size");
        assert_eq!(metrics.outbox_bytes.get(), 110 << 10);
        for seq in 3..7 {
            outboxes[2].push(ALICE, &flush(seq, 50 << 10));
        }
        assert_eq!(metrics.outbox_bytes.get(), 0, "it overflowed");
    }

    #[tokio::test]
    async fn an_overflow_drops_what_waits_and_names_the_first_lost_flush() {
        let outbox = outbox();
        for seq in 3..8 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 20)), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(8, 60)), Pushed::Overflowed(3));
        assert_eq!(outbox.push(ALICE, &flush(9, 10)), Pushed::Taken, "ignored while it lags");
        assert_eq!(take(&outbox).await, (Next::Drained(ALICE), vec![]));
        assert_eq!(outbox.push(ALICE, &flush(10, 10)), Pushed::Taken);
        assert_eq!(take(&outbox).await, (Next::Batch, vec![Item::Frame(flush(10, 10))]));
    }

    #[tokio::test]
    async fn frames_are_bounded_by_number_too() {
        let outbox = outbox();
        for seq in 1..=8 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 1)), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(9, 1)), Pushed::Overflowed(1));
    }

    /// With 300 members whose presence takes 4 KB each, nobody who had overflowed once ever got anything again: the room's
    /// answer was larger than the bound, so it overflowed, so the room answered.
    #[tokio::test]
    async fn what_follows_an_overflow_fits_whatever_its_size() {
        let outbox = outbox();
        let state = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::State };
        let notice = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::Notice };
        for frame in [&state, &notice, &notice, &notice] {
            assert_eq!(outbox.push(ALICE, frame), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(1, 1)), Pushed::Taken);
        assert_eq!(outbox.push(ALICE, &flush(2, 1)), Pushed::Overflowed(0), "a lost state means starting over");
    }

    #[tokio::test]
    async fn a_second_state_does_not_wait_behind_the_first() {
        let outbox = outbox();
        let state = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::State };
        assert_eq!(outbox.push(ALICE, &state), Pushed::Taken);
        assert_eq!(outbox.push(MemberId(2), &state), Pushed::Taken, "another session on the socket");
        assert_eq!(outbox.push(ALICE, &state), Pushed::Overflowed(0));
    }

    #[tokio::test]
    async fn acks_survive_an_overflow() {
        let outbox = outbox();
        outbox.ack(ALICE, true, 2);
        for seq in 1..=5 {
            outbox.push(ALICE, &flush(seq, 20));
        }
        outbox.ack(ALICE, true, 1);
        outbox.ack(ALICE, false, 1);
        assert_eq!(outbox.push(ALICE, &flush(6, 90)), Pushed::Overflowed(1));
        assert_eq!(take(&outbox).await, (Next::Batch, vec![acks(true, 3), acks(false, 1)]));
    }

    const BOB: MemberId = MemberId(2);

    fn acks(saved: bool, count: u32) -> Item {
        Item::Acks { saved, count }
    }

    fn behind(address: &'static str) -> Item {
        Item::Behind(address.into())
    }

    /// For Alice behind "a" and Bob behind "b".
    fn divided() -> Outbox {
        let outbox = outbox();
        outbox.push(MemberId(9), &flush(1, 10));
        outbox.divide();
        outbox.enroll(BOB, "b".into());
        outbox.enroll(ALICE, "a".into());
        outbox
    }

    #[tokio::test]
    async fn each_session_of_a_divided_socket_has_its_address_and_acks() {
        let outbox = divided();
        outbox.push(BOB, &flush(1, 10));
        outbox.push(ALICE, &flush(2, 10));
        outbox.push(MemberId(3), &flush(3, 10));
        for (member, saved, count) in [(ALICE, true, 2), (BOB, false, 1), (MemberId(3), true, 1)] {
            outbox.ack(member, saved, count);
        }
        assert!(outbox.say("said".into()));
        let expected = vec![
            Item::Said("said".into()),
            behind("a"),
            acks(true, 2),
            behind("b"),
            acks(false, 1),
            behind("b"),
            Item::Frame(flush(1, 10)),
            behind("a"),
            Item::Frame(flush(2, 10)),
        ];
        assert_eq!(take(&outbox).await, (Next::Batch, expected));
    }

    #[tokio::test]
    async fn who_withdrew_leaves_nothing_behind_for_the_next_one_with_its_address() {
        let outbox = divided();
        outbox.push(ALICE, &flush(1, 10));
        outbox.ack(ALICE, true, 1);
        outbox.push(BOB, &flush(1, 10));
        outbox.withdraw(ALICE);
        outbox.push(ALICE, &flush(2, 10));
        outbox.ack(ALICE, true, 1);
        outbox.dismiss(ALICE, CloseCode::Internal);
        outbox.enroll(MemberId(3), "a".into());
        assert_eq!(take(&outbox).await, (Next::Batch, vec![behind("b"), Item::Frame(flush(1, 10))]));
    }

    /// Together they stay within the bound of the socket, and each is told the difference in its turn.
    #[tokio::test]
    async fn sessions_that_overflow_drain_one_by_one() {
        let outbox = divided();
        for seq in 1..=5 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 20)), Pushed::Taken);
        }
        assert_eq!(outbox.push(BOB, &flush(1, 20)), Pushed::Overflowed(1), "the others' frames stay");
        assert_eq!(outbox.push(ALICE, &flush(6, 20)), Pushed::Overflowed(1));
        assert_eq!(take(&outbox).await, (Next::Drained(BOB), vec![]));
        assert_eq!(outbox.push(BOB, &flush(2, 1000)), Pushed::Taken);
        assert_eq!(take(&outbox).await.0, Next::Batch);
        assert_eq!(take(&outbox).await, (Next::Drained(ALICE), vec![]));
    }

    #[tokio::test]
    async fn states_of_many_documents_are_bounded() {
        let outbox =
            Outbox::new(None, OutboxLimits { bytes_max: 1000, frames_max: 64 }, account(1 << 30), Arc::default());
        outbox.divide();
        let state = Frame { bytes: Bytes::from(vec![0; 400]), kind: FrameKind::State };
        let mut taken = 0;
        for member in 1..=20 {
            outbox.enroll(MemberId(member), "x".into());
            taken += usize::from(outbox.push(MemberId(member), &state) == Pushed::Taken);
        }
        assert_eq!(taken, STATES_ALWAYS);
        let small = Frame { bytes: Bytes::from(vec![0; 4]), kind: FrameKind::State };
        let outbox =
            Outbox::new(None, OutboxLimits { bytes_max: 1000, frames_max: 64 }, account(1 << 30), Arc::default());
        outbox.divide();
        for member in 1..=20 {
            outbox.enroll(MemberId(member), "x".into());
            assert_eq!(outbox.push(MemberId(member), &small), Pushed::Taken, "small ones go out together");
        }
    }

    #[tokio::test]
    async fn what_is_said_is_bounded_and_questions_are_counted_when_they_leave() {
        let outbox = divided();
        let question = Frame { bytes: Bytes::from_static(&[0, 0, 1, 0]), kind: FrameKind::Notice };
        outbox.push(ALICE, &question);
        assert_eq!(outbox.questions(ALICE), 0);
        take(&outbox).await;
        assert_eq!((outbox.questions(ALICE), outbox.questions(BOB)), (1, 0));
        let said = Bytes::from(vec![0; SAID_BYTES_MAX / 2]);
        assert!(outbox.say(said.clone()) && outbox.say(said.clone()) && !outbox.say(said.slice(..1)));
        take(&outbox).await;
        assert!(outbox.say(said));
    }

    #[tokio::test]
    async fn a_full_room_dismisses_one_session_and_a_failed_one_ends_the_socket() {
        let outbox = divided();
        let mut calls = outbox.calls();
        outbox.probe();
        outbox.dismiss(ALICE, CloseCode::RoomFull);
        assert_eq!(calls.next().await, Call::Dismissed(ALICE, CloseCode::RoomFull));
        assert_eq!(calls.next().await, Call::Probe);
        outbox.dismiss(BOB, CloseCode::Internal);
        assert_eq!(calls.next().await, Call::Ended);
    }

    #[tokio::test]
    async fn an_undivided_socket_gets_no_stateless_messages() {
        let outbox = outbox();
        let stateless = Frame { bytes: Bytes::from_static(&[5, 0]), kind: FrameKind::Stateless };
        outbox.push(ALICE, &stateless);
        outbox.push(ALICE, &flush(1, 1));
        assert_eq!(take(&outbox).await, (Next::Batch, vec![Item::Frame(flush(1, 1))]));
    }

    fn difference(bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![0; bytes]), kind: FrameKind::Difference }
    }

    fn wide(account: &Account) -> Outbox {
        Outbox::new(None, OutboxLimits { bytes_max: 1 << 20, frames_max: 64 }, account.clone(), Arc::default())
    }

    /// Sixty sockets that did not read once cost 34 MiB each, for 13 bytes that each sent.
    #[tokio::test]
    async fn a_difference_that_nobody_can_pay_for_gives_way_to_the_state_that_all_share() {
        let ledger = Ledger::new(64 << 20, Arc::default());
        let account = ledger.account(IpAddr::from([192, 0, 2, 1]));
        let outboxes: Vec<Outbox> = (0..10).map(|_| wide(&account)).collect();
        let pushed: Vec<Pushed> = outboxes.iter().map(|outbox| outbox.push(ALICE, &difference(10 << 20))).collect();
        assert!(pushed[..4].iter().all(|pushed| *pushed == Pushed::Taken));
        assert!(pushed[4..].iter().all(|pushed| *pushed == Pushed::Overflowed(0)));
        assert!(ledger.used() <= 48 << 20);
        assert_eq!(take(&outboxes[9]).await, (Next::Drained(ALICE), vec![]));
        let state = Frame { bytes: Bytes::from(vec![0; 40 << 20]), kind: FrameKind::State };
        assert_eq!(outboxes[9].push(ALICE, &state), Pushed::Taken);
        // What was taken is charged until it is written.
        assert_eq!(take(&outboxes[0]).await.0, Next::Batch);
        assert!(ledger.used() >= 40 << 20);
        outboxes[0].ping();
        take(&outboxes[0]).await;
        assert!(ledger.used() <= 30 << 20);
        outboxes.iter().for_each(Outbox::abandon);
        assert_eq!(ledger.used(), 0);
    }

    #[tokio::test]
    async fn questions_of_a_reader_that_does_not_read_wait_and_the_newest_is_answered() {
        let outbox = outbox();
        let question = |clock| Question::State([(1, clock)].into_iter().collect());
        assert_eq!(outbox.postpone(ALICE, question(1)), Some(question(1)), "nothing waits");
        outbox.push(ALICE, &Frame { bytes: Bytes::from(vec![0; 1 << 20]), kind: FrameKind::State });
        assert_eq!(take(&outbox).await.0, Next::Batch);
        for clock in 2..100 {
            assert_eq!(outbox.postpone(ALICE, question(clock)), None, "a state is on its way");
            assert_eq!(outbox.postpone(ALICE, Question::Presence), None);
        }
        assert_eq!(take(&outbox).await, (Next::Asked(ALICE, Question::Presence), vec![]));
        assert_eq!(take(&outbox).await, (Next::Asked(ALICE, question(99)), vec![]));
        assert_eq!(outbox.postpone(ALICE, Question::Presence), Some(Question::Presence));
    }

    #[tokio::test]
    async fn what_waits_for_readers_of_one_address_leaves_memory_for_others() {
        let ledger = Ledger::new(4 << 20, Arc::default());
        let account = ledger.account(IpAddr::from([192, 0, 2, 1]));
        let outboxes: Vec<Outbox> = (0..10).map(|_| wide(&account)).collect();
        for seq in 1..20 {
            for outbox in &outboxes {
                let _ = outbox.push(ALICE, &flush(seq, 40 << 10)); // Taken, or its reader lags.
            }
        }
        assert!(ledger.used() <= 3 << 20, "{}", ledger.used());
        assert!(outboxes.iter().any(|outbox| outbox.waiting().0 == 0), "some lag");
    }
}
