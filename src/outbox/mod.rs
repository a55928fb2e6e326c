//! What waits to be written to one socket, shared by rooms, which fill it, and a session, which empties it.
//!
//! What fits, what is dropped and what goes next is decided by [`ydash_proto::session::Outbox`]; here are its lock, its wakers, the
//! memory it is charged for, and the way past it for small frames.

pub(crate) mod small;

use crate::ledger::{Account, Lease, Share};
use crate::metrics::{Memory, Metrics, Refusal};
use bytes::Bytes;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use ydash_proto::id::MemberId;
use ydash_proto::limits::OutboxLimits;
use ydash_proto::room::{Frame, FrameKind};
use ydash_proto::session::{self, Call, Item, Next, Purse, Pushed, Question};
use ydash_proto::wire::close::{CloseCode, REFUSAL_HOLD};

/// The gauge is told of changes from this size on: what waits for less than a socket's turn is nobody's news.
const TOLD_BYTES: usize = 16 << 10;

/// The outbox of one socket.
pub struct Outbox {
    shared: Mutex<Shared>,
    account: Account,
    metrics: Arc<Metrics>,
    /// Wakes the reader: it is to take a [`Call`].
    call: Notify,
}

struct Shared {
    queue: session::Outbox,
    /// Where a frame may go at once, while the socket lives.
    socket: Option<Arc<OwnedWriteHalf>>,
    /// What of the bytes that wait the gauge knows.
    told_bytes: usize,
    lease: Option<Box<Lease>>,
    shares: Option<Box<Shares>>,
    /// Set while the writer has nothing to do: whoever gives it something takes this.
    waker: Option<Waker>,
}

/// Large states that its sessions have in common with others: those that wait, and those on their way.
#[derive(Default)]
struct Shares {
    waiting: Vec<Share>,
    leaving: Vec<Share>,
}

/// States from this size on are charged, once for all who read the same.
const SHARED_BYTES: usize = 64 << 10;

impl Shared {
    /// Gives back the shares in what waits no more.
    fn settle_shares(&mut self) {
        if let Some(shares) = &mut self.shares {
            shares.waiting.retain(|share| self.queue.frames().any(|frame| share.is_in(&frame.bytes)));
        }
    }

    /// Notes which states leave with a batch. What left with the last one is written.
    fn shares_leave(&mut self, batch: &[Item]) {
        let Some(shares) = &mut self.shares else { return };
        let leaves = |share: &mut Share| {
            batch.iter().any(|item| matches!(item, Item::Frame(frame) if share.is_in(&frame.bytes)))
        };
        shares.leaving = shares.waiting.extract_if(.., leaves).collect();
        if shares.waiting.is_empty() && shares.leaving.is_empty() {
            self.shares = None;
        }
    }
}

/// The lease as what decides sees it.
struct Paid<'a> {
    lease: &'a mut Option<Box<Lease>>,
    account: &'a Account,
}

impl Purse for Paid<'_> {
    fn try_hold(&mut self, bytes: usize) -> bool {
        let lease = self.lease.get_or_insert_with(|| self.account.lease(Memory::Outboxes));
        bytes <= lease.bytes() || lease.resize(bytes).is_ok()
    }

    fn hold(&mut self, bytes: usize) {
        if bytes == 0 {
            *self.lease = None;
            return;
        }
        self.lease.get_or_insert_with(|| self.account.lease(Memory::Outboxes)).charge(bytes);
    }
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
        let queue = session::Outbox::new(limits);
        let shared = Shared { queue, socket, told_bytes: 0, lease: None, shares: None, waker: None };
        Outbox { shared: Mutex::new(shared), account, metrics, call: Notify::new() }
    }

    /// As [`Outbox::push`], but what is small goes straight to the socket if nothing waits: that spares a turn of the writer,
    /// which costs about as much again as the system call. Whoever has many frames for one socket pushes them, so
    /// that they leave together.
    pub fn deliver(&self, member: MemberId, frame: &Frame) -> Pushed {
        let mut shared = self.lock();
        if shared.waker.is_some()
            && let (Some(socket), Some(address)) = (&shared.socket, shared.queue.address(member, frame))
            && let Some(Ok(rest)) = small::write_frame(socket, address, &frame.bytes)
        {
            if !rest.is_empty() {
                shared.queue.put_first(rest);
                wake(shared);
            }
            return Pushed::Taken;
        }
        // A socket that is full, or gone, is the writer's to wait for, or to find out.
        self.put(shared, member, frame)
    }

    /// Puts a frame for `member` into the queue.
    pub fn push(&self, member: MemberId, frame: &Frame) -> Pushed {
        self.put(self.lock(), member, frame)
    }

    fn put(&self, mut guard: MutexGuard<'_, Shared>, member: MemberId, frame: &Frame) -> Pushed {
        let is_shared = frame.kind == FrameKind::State && frame.bytes.len() > SHARED_BYTES;
        let share = match is_shared.then(|| self.account.share(&frame.bytes, Memory::Outboxes)) {
            Some(Ok(share)) => Some(share),
            Some(Err(_)) => {
                // Its address does not read what it has asked for before. It may come back when it has.
                self.metrics.refusals.inc(Refusal::Memory);
                guard.queue.close(CloseCode::Memory, REFUSAL_HOLD);
                wake(guard);
                self.call.notify_one();
                return Pushed::Taken;
            }
            None => None,
        };
        let Shared { queue, lease, .. } = &mut *guard;
        let (_, before) = queue.waiting();
        let pushed = queue.push(member, frame, &mut Paid { lease, account: &self.account });
        let is_news = pushed != Pushed::Taken || queue.waiting().1 > before;
        if let Some(share) = share {
            guard.shares.get_or_insert_default().waiting.push(share);
        }
        if pushed != Pushed::Taken || is_shared {
            guard.settle_shares();
        }
        self.tell(&mut guard);
        if is_news {
            wake(guard);
        }
        pushed
    }

    /// The network address of its peer.
    #[must_use]
    pub fn payer(&self) -> IpAddr {
        self.account.payer()
    }

    /// Keeps a question for later when much is on its way to the socket. Gives it back when it can be answered at once.
    #[must_use]
    pub fn postpone(&self, member: MemberId, question: Question) -> Option<Question> {
        self.lock().queue.postpone(member, question)
    }

    /// Bytes and frames that wait.
    pub fn waiting(&self) -> (usize, usize) {
        self.lock().queue.waiting()
    }

    /// Counts acks.
    pub fn ack(&self, member: MemberId, saved: bool, count: u32) {
        self.give(|queue| queue.ack(member, saved, count));
    }

    /// Makes this a socket for several sessions, and forgets what waited for the one it had.
    pub fn divide(&self) {
        let mut shared = self.lock();
        shared.queue.divide();
        shared.settle_shares();
        self.tell(&mut shared);
    }

    /// Whether the socket is one for several sessions.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.lock().queue.is_divided()
    }

    /// Lets a session in whose frames go out behind `address`.
    pub fn enroll(&self, member: MemberId, address: Bytes) {
        self.lock().queue.enroll(member, address);
    }

    /// Forgets a session and all that waits for it.
    pub fn withdraw(&self, member: MemberId) {
        let mut shared = self.lock();
        shared.queue.withdraw(member);
        shared.settle_shares();
        self.tell(&mut shared);
    }

    /// Puts a whole message into the queue, before all frames. It is never dropped. Says whether it fits.
    #[must_use]
    pub fn say(&self, message: Bytes) -> bool {
        self.give(|queue| queue.say(message))
    }

    /// How many SyncStep1 were written to a session.
    #[must_use]
    pub fn questions(&self, member: MemberId) -> u64 {
        self.lock().queue.questions(member)
    }

    /// Has the writer ping the peer.
    pub fn ping(&self) {
        self.give(session::Outbox::ping);
    }

    /// Pings the peer and has the reader end the session unless it answers soon.
    pub fn probe(&self) {
        self.give(session::Outbox::probe);
        self.call.notify_one();
    }

    /// The way on which the reader hears that it is wanted. There is one: a second one would miss what the first is told.
    #[must_use]
    pub fn calls(&self) -> Calls<'_> {
        Calls { outbox: self, notified: Box::pin(self.call.notified()) }
    }

    fn take_call(&self) -> Option<Call> {
        let call = self.lock().queue.take_call();
        if let Some(Call::Dismissed(..)) = call {
            self.call.notify_one(); // There may be more.
        }
        call
    }

    /// Answers a ping; of several that wait only the newest is answered.
    pub fn pong(&self, payload: Bytes) {
        self.give(|queue| queue.pong(payload));
    }

    /// Ends the socket after what waits was written, `after` from then. The first call counts.
    pub fn close(&self, code: CloseCode, after: Duration) {
        self.give(|queue| queue.close(code, after));
        self.call.notify_one();
    }

    /// Ends one session. On a divided socket that leaves the others alone, if the reason concerns that session's document only.
    pub fn dismiss(&self, member: MemberId, code: CloseCode) {
        self.give(|queue| queue.dismiss(member, code));
        self.call.notify_one();
    }

    /// Ends one session at once: what waits for it is dropped, and nothing more is taken for it. On a divided socket that leaves the others
    /// alone.
    pub fn expel(&self, member: MemberId, code: CloseCode) {
        let mut shared = self.lock();
        shared.queue.expel(member, code);
        self.tell(&mut shared);
        wake(shared);
        self.call.notify_one();
    }

    /// Drops everything: the socket is gone.
    pub fn abandon(&self) {
        let mut guard = self.lock();
        let Shared { queue, lease, socket, .. } = &mut *guard;
        queue.abandon(&mut Paid { lease, account: &self.account });
        *socket = None;
        guard.shares = None;
        self.tell(&mut guard);
        wake(guard);
        self.call.notify_one();
    }

    /// Whether the writer has ended, or somebody found the socket gone.
    pub fn is_gone(&self) -> bool {
        self.lock().queue.is_gone()
    }

    /// Takes what is to be written next into `batch`. Cancel-safe: what was taken is in `batch`.
    pub async fn next(&self, batch: &mut Vec<Item>) -> Next {
        core::future::poll_fn(|cx| self.poll_next(cx, batch)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>, batch: &mut Vec<Item>) -> Poll<Next> {
        let mut guard = self.lock();
        let Shared { queue, lease, waker, .. } = &mut *guard;
        let next = queue.next(batch, &mut Paid { lease, account: &self.account });
        *waker = next.is_none().then(|| cx.waker().clone());
        guard.shares_leave(batch);
        self.tell(&mut guard);
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// Has the writer look at what it may have been given.
    fn give<T>(&self, change: impl FnOnce(&mut session::Outbox) -> T) -> T {
        let mut shared = self.lock();
        let outcome = change(&mut shared.queue);
        wake(shared);
        outcome
    }

    /// Keeps the gauge about right; right when nothing waits.
    fn tell(&self, shared: &mut Shared) {
        let (bytes, _) = shared.queue.waiting();
        if bytes.abs_diff(shared.told_bytes) >= TOLD_BYTES || bytes == 0 && shared.told_bytes > 0 {
            self.metrics.outbox_bytes.inc_by(bytes as i64 - shared.told_bytes as i64);
            shared.told_bytes = bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here panics between two writes to the queue.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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

fn wake(mut shared: MutexGuard<'_, Shared>) {
    let waker = shared.waker.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use ydash_proto::room::{FlushSeq, FrameKind};

    const ALICE: MemberId = MemberId(1);
    const BOB: MemberId = MemberId(2);

    fn account(budget: usize) -> Account {
        Ledger::new(budget, Arc::default()).account(IpAddr::from([192, 0, 2, 1]))
    }

    fn flush(seq: FlushSeq, bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![0; bytes]), kind: FrameKind::Flush(seq) }
    }

    async fn take(outbox: &Outbox) -> (Next, Vec<Item>) {
        let mut batch = Vec::new();
        let next = outbox.next(&mut batch).await;
        (next, batch)
    }

    /// Each had a state of another moment, which counted for nobody.
    #[tokio::test]
    async fn readers_of_one_address_that_do_not_read_states_are_turned_away_when_they_hold_its_share() {
        let ledger = Ledger::new(64 << 20, Arc::default());
        let account = ledger.account(IpAddr::from([192, 0, 2, 1]));
        let limits = OutboxLimits { bytes_max: 1 << 20, frames_max: 64 };
        let outboxes = [(); 10].map(|()| Outbox::new(None, limits, account.clone(), Arc::default()));
        let state = || Frame { bytes: Bytes::from(vec![0; 10 << 20]), kind: FrameKind::State };
        let states = [(); 5].map(|()| state());
        for (n, outbox) in outboxes.iter().enumerate() {
            assert_eq!(outbox.push(ALICE, &states[n / 2]), Pushed::Taken, "what others have too is paid");
        }
        assert_eq!(ledger.used(), 40 << 20);
        assert_eq!(take(&outboxes[7]).await.0, Next::Batch);
        assert_eq!(take(&outboxes[8]).await, (Next::Close(CloseCode::Memory, REFUSAL_HOLD), vec![]));
        outboxes[7].ping();
        take(&outboxes[7]).await;
        assert_eq!(ledger.used(), 40 << 20, "another one has it");
        outboxes[6].abandon();
        assert_eq!(ledger.used(), 30 << 20);
        outboxes.iter().for_each(Outbox::abandon);
        assert_eq!(ledger.used(), 0);
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

    /// What was taken is charged until it is written.
    #[tokio::test]
    async fn the_account_holds_what_waits_and_what_is_being_written() {
        let ledger = Ledger::new(64 << 20, Arc::default());
        let limits = OutboxLimits { bytes_max: 1 << 20, frames_max: 64 };
        let account = ledger.account(IpAddr::from([192, 0, 2, 1]));
        let outbox = Outbox::new(None, limits, account, Arc::default());
        let difference = Frame { bytes: Bytes::from(vec![0; 10 << 20]), kind: FrameKind::Difference };
        assert_eq!(outbox.push(ALICE, &difference), Pushed::Taken);
        assert_eq!(ledger.used(), 10 << 20);
        take(&outbox).await;
        assert_eq!(ledger.used(), 10 << 20);
        outbox.ping();
        take(&outbox).await;
        assert_eq!(ledger.used(), 0);
        outbox.push(ALICE, &difference);
        outbox.abandon();
        assert_eq!(ledger.used(), 0);
    }

    #[tokio::test]
    async fn a_full_room_dismisses_one_session_and_a_failed_one_ends_the_socket() {
        let limits = OutboxLimits { bytes_max: 100, frames_max: 8 };
        let outbox = Outbox::new(None, limits, account(1 << 30), Arc::default());
        outbox.divide();
        outbox.enroll(ALICE, "a".into());
        outbox.enroll(BOB, "b".into());
        let mut calls = outbox.calls();
        outbox.probe();
        outbox.dismiss(ALICE, CloseCode::RoomFull);
        assert_eq!(calls.next().await, Call::Dismissed(ALICE, CloseCode::RoomFull));
        assert_eq!(calls.next().await, Call::Probe);
        outbox.dismiss(BOB, CloseCode::Internal);
        assert_eq!(calls.next().await, Call::Ended);
    }
}
