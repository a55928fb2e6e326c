//! What waits to be written to one socket: bounded in bytes and frames, shared by the sessions on it.
//!
//! A room never waits for a socket. When a session's frames outgrow the bound, all of them that wait are dropped, the room is
//! told which flush was the first one lost, and what it sends meanwhile is ignored; once the socket has drained, the session gets one
//! difference for everything. So a slow reader costs a bounded amount of memory, is not disconnected for being slow, and
//! loses nothing. Acks are counted, not queued: their number is exact whatever is dropped.

pub(crate) mod small;

use crate::metrics::Metrics;
use bytes::Bytes;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use ydash_proto::id::MemberId;
use ydash_proto::room::{FlushSeq, Frame, FrameKind};
use ydash_proto::wire::close::CloseCode;

/// How long a socket is held before it is closed for good. Old clients come back 100 ms after a close, whatever its code
/// (y-websocket <= 3.0); holding slows them down.
pub(crate) const REFUSAL_HOLD: Duration = Duration::from_millis(2_100);

/// How long to hold a socket that ends with `code`.
pub(crate) fn hold(code: CloseCode) -> Duration {
    match code {
        // Coming back at once would change nothing.
        CloseCode::RoomFull => REFUSAL_HOLD,
        code if code.is_permanent() => REFUSAL_HOLD,
        _ => Duration::ZERO,
    }
}

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
    /// Sessions that lagged: everything is written, they can be told the difference.
    Drained(Vec<MemberId>),
    /// Say goodbye and end.
    Close(CloseCode, Duration),
    /// The socket is gone.
    Gone,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// What the socket did not take of a frame, framed already.
    Rest(Bytes),
    /// A message.
    Frame(Frame),
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
/// Frames that may wait whatever their size. What follows an overflow (a difference, everybody's presence, a question) must fit
/// into an empty outbox, or it would overflow again and again.
const FRAMES_ALWAYS: usize = 4;

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
    saved: u32,
    refused: u32,
    lagging: Vec<MemberId>,
    ping: bool,
    pong: Option<Bytes>,
    close: Option<(CloseCode, Duration)>,
    is_closed: bool,
    /// Set while the writer has nothing to do: whoever gives it something takes this.
    waker: Option<Waker>,
}

impl Queue {
    /// Whether a state waits for `member`. A second one would say it all again, and states count for nothing in `bytes`.
    fn has_state(&self, member: MemberId) -> bool {
        self.frames.iter().any(|(owner, waiting)| *owner == member && waiting.kind == FrameKind::State)
    }
}

/// The gauge is told of changes from this size on: what waits for less than a socket's turn is nobody's news.
const TOLD_BYTES: usize = 16 << 10;

/// The outbox of one socket.
pub struct Outbox {
    queue: Mutex<Queue>,
    limits: OutboxLimits,
    metrics: Arc<Metrics>,
    /// Wakes the reader: it is to take a [`Call`].
    call: Notify,
}

/// What the reader is told by others than the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Find out whether the peer lives: it has been pinged.
    Probe,
    /// Somebody else has ended the session; the peer is told why, or is gone.
    Ended,
}

impl Outbox {
    /// An empty one in front of `socket`, which its writer shares.
    #[must_use]
    pub fn new(socket: Option<Arc<OwnedWriteHalf>>, limits: OutboxLimits, metrics: Arc<Metrics>) -> Outbox {
        let queue = Queue { socket, ..Queue::default() };
        Outbox { queue: Mutex::new(queue), limits, metrics, call: Notify::new() }
    }

    /// As [`Outbox::push`], but what is small goes straight to the socket if nothing waits: that spares a turn of the writer,
    /// which costs about as much again as the system call. Whoever has many frames for one socket pushes them, so
    /// that they leave together.
    pub fn deliver(&self, member: MemberId, frame: &Frame) -> Pushed {
        let mut queue = self.lock();
        if queue.waker.is_some()
            && let Some(Ok(rest)) = queue.socket.as_ref().and_then(|socket| small::write_frame(socket, &frame.bytes))
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
        let fits = (queue.bytes + weight(frame) <= self.limits.bytes_max || queue.frames.len() < FRAMES_ALWAYS)
            && queue.frames.len() < self.limits.frames_max
            && !(frame.kind == FrameKind::State && queue.has_state(member));
        if fits {
            queue.bytes += weight(frame);
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
        let mut freed = 0;
        queue.frames.retain(|(owner, waiting)| {
            let drops = *owner == member;
            if drops {
                first_lost = first_lost.min(lost(waiting));
                freed += self::weight(waiting);
            }
            !drops
        });
        queue.bytes -= freed;
        self.tell(&mut queue);
        queue.frames.shrink_to(BATCH_FRAMES);
        queue.lagging.push(member);
        wake(queue);
        Pushed::Overflowed(first_lost)
    }

    /// Bytes and frames that wait.
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.bytes, queue.frames.len())
    }

    /// Counts acks.
    pub fn ack(&self, saved: bool, count: u32) {
        let mut queue = self.lock();
        let counter = if saved { &mut queue.saved } else { &mut queue.refused };
        *counter = counter.saturating_add(count);
        wake(queue);
    }

    /// Has the writer ping the peer.
    pub fn ping(&self) {
        let mut queue = self.lock();
        queue.ping = true;
        wake(queue);
    }

    /// Pings the peer and has the reader end the session unless it answers soon.
    pub fn probe(&self) {
        self.ping();
        self.call.notify_one();
    }

    /// Waits until the reader is wanted. Cancel-safe.
    pub async fn called(&self) -> Call {
        self.call.notified().await;
        let queue = self.lock();
        if queue.is_closed || queue.close.is_some() { Call::Ended } else { Call::Probe }
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
        for (saved, count) in [(true, core::mem::take(&mut queue.saved)), (false, core::mem::take(&mut queue.refused))]
        {
            if count > 0 {
                batch.push(Item::Acks { saved, count });
            }
        }
        let count = queue.frames.len().min(BATCH_FRAMES);
        let mut written = 0;
        for (_, frame) in queue.frames.drain(..count) {
            written += weight(&frame);
            batch.push(Item::Frame(frame));
        }
        queue.bytes -= written;
        self.tell(&mut queue);
        if !batch.is_empty() {
            return Poll::Ready(Next::Batch);
        }
        if queue.frames.capacity() > FRAMES_KEPT {
            queue.frames = VecDeque::new();
        }
        if let Some((code, after)) = queue.close {
            return Poll::Ready(Next::Close(code, after));
        }
        if !queue.lagging.is_empty() {
            return Poll::Ready(Next::Drained(core::mem::take(&mut queue.lagging)));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
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

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A state is shared by everybody who joins: it costs its reader nothing of its own.
fn weight(frame: &Frame) -> usize {
    match frame.kind {
        FrameKind::State => 0,
        FrameKind::Flush(_) | FrameKind::Notice => frame.bytes.len(),
    }
}

fn lost(frame: &Frame) -> FlushSeq {
    match frame.kind {
        FrameKind::State => 0,
        FrameKind::Flush(seq) => seq,
        FrameKind::Notice => FlushSeq::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const ALICE: MemberId = MemberId(1);

    fn outbox() -> Outbox {
        Outbox::new(None, OutboxLimits { bytes_max: 100, frames_max: 8 }, Arc::default())
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
        let outboxes = [(); 3].map(|()| Outbox::new(None, limits, Arc::clone(&metrics)));
        outboxes.iter().for_each(|outbox| _ = outbox.push(ALICE, &flush(1, 20 << 10)));
        outboxes[0].push(ALICE, &flush(2, 1000));
        assert_eq!(metrics.outbox_bytes.get(), 60 << 10, "less than a step is not told");
        outboxes[0].abandon();
        take(&outboxes[1]).await;
        assert_eq!(metrics.outbox_bytes.get(), 20 << 10);
        assert_eq!(outboxes[2].push(ALICE, &flush(2, 90 << 10)), Pushed::Taken, "four frames fit whatever their size");
        assert_eq!(metrics.outbox_bytes.get(), 110 << 10);
        for seq in 3..6 {
            outboxes[2].push(ALICE, &flush(seq, 50 << 10));
        }
        assert_eq!(metrics.outbox_bytes.get(), 0, "it overflowed");
    }

    #[tokio::test]
    async fn an_overflow_drops_what_waits_and_names_the_first_lost_flush() {
        let outbox = outbox();
        for seq in 4..8 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 20)), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(8, 60)), Pushed::Overflowed(4));
        assert_eq!(outbox.push(ALICE, &flush(9, 10)), Pushed::Taken, "ignored while it lags");
        assert_eq!(take(&outbox).await, (Next::Drained(vec![ALICE]), vec![]));
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
        for frame in [&state, &notice, &notice] {
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
        outbox.ack(true, 2);
        for seq in 1..5 {
            outbox.push(ALICE, &flush(seq, 20));
        }
        outbox.ack(true, 1);
        outbox.ack(false, 1);
        assert_eq!(outbox.push(ALICE, &flush(5, 90)), Pushed::Overflowed(1));
        let acks = vec![Item::Acks { saved: true, count: 3 }, Item::Acks { saved: false, count: 1 }];
        assert_eq!(take(&outbox).await, (Next::Batch, acks));
    }
}
