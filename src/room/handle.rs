//! The way to a room: whoever holds a [`RoomHandle`] keeps the room in memory.

use super::about::Live;
use crate::ledger::{CHARGED_BYTES_MIN, Lease};
use crate::outbox::Outbox;
use crate::reading::lengthy::Turn;
use crate::room::traced::{TracedEdit, TracedJoin};
use crate::trace::{self, SpanContext, Traces};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use ydash_proto::about::Standing;
use ydash_proto::access::{Admission, Records};
use ydash_proto::document::edit::Pen;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::log::LogPosition;
use ydash_proto::room::{Input, Joining, MemberView, Scanned, WriteRefusal};
use ydash_proto::update::StateVector;

/// What goes into a room's inbox. Small: the channel keeps its blocks.
pub(super) enum ToRoom {
    Join {
        joining: Box<Joining>,
        outbox: Arc<Outbox>,
        asked_at: Instant,
        trace: Option<Box<TracedJoin>>,
        /// Answered with `None` if the room refuses the member.
        follows: Option<oneshot::Sender<Option<watch::Receiver<Standing>>>>,
    },
    Input(Input),
    /// An input with what it takes up until it is taken.
    Large(Box<Large>),
    Read {
        have: StateVector,
        answer: oneshot::Sender<Bytes>,
    },
    Write {
        author: Box<Admission>,
        update: Box<Scanned>,
        answer: oneshot::Sender<Result<(), WriteRefusal>>,
    },
    /// Something with an edit in it that is traced.
    Traced {
        message: Box<ToRoom>,
        trace: Box<TracedEdit>,
    },
    /// An update that this node made itself.
    Edit {
        edit: Box<OwnEdit>,
        /// Told as soon as it is in the document.
        taken: oneshot::Sender<()>,
        answer: oneshot::Sender<Result<(), WriteRefusal>>,
    },
    /// What is written down about who may do what; answered when the room has taken it.
    Access {
        records: Box<Records>,
        taken: oneshot::Sender<()>,
    },
    /// Finds out whether the dashboard is still there; answered when it is, or the room has ended.
    CheckLife {
        checked: oneshot::Sender<()>,
    },
    Look {
        answer: oneshot::Sender<RoomView>,
    },
    /// Everybody's presence, for who may see the dashboard.
    Presence {
        reader: Box<Admission>,
        answer: oneshot::Sender<Option<Bytes>>,
    },
    /// The rooms together outgrew their memory: leave as soon as nobody is here.
    Leave,
    /// The node drains: flush, save, snapshot, and send everybody elsewhere.
    Drain,
}

/// A large input: its bytes count until the room has it.
pub(super) struct Large {
    pub(super) input: Input,
    /// Work on it is done in this turn.
    pub(super) turn: Option<Box<Turn>>,
    _lease: Option<Box<Lease>>,
    _place: Option<OwnedSemaphorePermit>,
}

/// An update with what it relies on.
pub(super) struct OwnEdit {
    pub(super) author: Admission,
    pub(super) update: Scanned,
    /// Refuse it if the document has more, or less, of this client.
    pub(super) pen: Pen,
    /// Refuse it if there is anything already.
    pub(super) begins: bool,
}

/// KiB that wait for one room; beyond, its peers' sockets are not read. A single input may be larger.
const INBOX_KIB: usize = 8 << 10;
/// Smaller inputs are bounded well enough by their number.
const LARGE_INPUT: usize = CHARGED_BYTES_MIN;

/// Bytes for [`Shared::inbox_bytes`].
pub(super) fn inbox_bytes() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(INBOX_KIB))
}

fn weight(input: &Input) -> usize {
    match input {
        Input::Update { update, .. } | Input::Answer { update, .. } | Input::Write { update, .. } => {
            update.update.len()
        }
        Input::Awareness { body, .. } => body.len(),
        Input::Stateless { payload, .. } | Input::Announce { payload, .. } => payload.len(),
        _ => 0,
    }
}

/// A live room as an operator sees it. Counters begin with the room.
#[derive(Debug)]
pub struct RoomView {
    /// How many are here.
    pub members: usize,
    /// The first of them, with bytes and frames that wait in their outboxes.
    pub seats: Vec<(MemberView, usize, usize)>,
    /// The encoded document.
    pub document_bytes: usize,
    /// All that the room holds.
    pub memory_bytes: usize,
    /// Client ids that the document knows.
    pub clients: usize,
    /// Updates accepted.
    pub updates: u64,
    /// Bytes of flushes, counted once however many received them.
    pub flushed_bytes: u64,
    /// Slow members brought up to date by one difference.
    pub resyncs: u64,
    /// Updates that wait behind a hole.
    pub held: usize,
    /// Whether everything accepted is durable.
    pub is_saved: bool,
    /// Where the log ends.
    pub position: LogPosition,
}

/// Numbers those who come to rooms of this process.
#[derive(Debug)]
pub struct MemberIds(AtomicU64);

impl MemberIds {
    /// Begins with a random one, which tells the members of this process from those of another one in the log.
    #[must_use]
    pub fn random() -> Arc<MemberIds> {
        Arc::new(MemberIds(AtomicU64::new(fastrand::u64(1..1 << 52))))
    }

    /// The next one.
    #[must_use]
    pub fn draw(&self) -> MemberId {
        MemberId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The room ended: it failed, or the node drains. Open the dashboard again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the room has ended")]
pub struct Ended;

/// Why a REST write was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The room refused it.
    #[error(transparent)]
    Refused(#[from] WriteRefusal),
    /// The room ended before it was durable; it may or may not be kept: send it again.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// An update that is in the document. Members see it; it is not durable yet.
#[derive(Debug)]
pub struct Taken(Option<oneshot::Receiver<Result<(), WriteRefusal>>>);

impl Taken {
    /// Waits until it is durable.
    ///
    /// # Errors
    /// [`WriteError`] – the room ended before; it may or may not be kept.
    pub async fn durable(self) -> Result<(), WriteError> {
        match self.0 {
            Some(answered) => Ok(answered.await.map_err(|_| Ended)??),
            None => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: DashboardId,
    pub(super) inbox: mpsc::Sender<ToRoom>,
    /// What large inputs take up.
    pub(super) inbox_bytes: Arc<Semaphore>,
    /// As of the room's last turn.
    pub(super) document_bytes: Arc<AtomicUsize>,
    pub(super) traces: Traces,
    /// What lists tell of it.
    pub(super) live: Arc<Live>,
}

/// A live room. Cheap to clone; as long as one exists, the room is not evicted.
#[derive(Clone, Debug)]
pub struct RoomHandle {
    pub(super) shared: Arc<Shared>,
}

impl core::fmt::Debug for ToRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ToRoom::Join { .. } => "Join",
            ToRoom::Traced { message, .. } => return message.fmt(f),
            ToRoom::Input(_) | ToRoom::Large(_) => "Input",
            ToRoom::Read { .. } => "Read",
            ToRoom::Write { .. } => "Write",
            ToRoom::Edit { .. } => "Edit",
            ToRoom::Access { .. } => "Access",
            ToRoom::CheckLife { .. } => "CheckLife",
            ToRoom::Look { .. } => "Look",
            ToRoom::Presence { .. } => "Presence",
            ToRoom::Leave => "Leave",
            ToRoom::Drain => "Drain",
        })
    }
}

impl RoomHandle {
    /// Which dashboard it is.
    #[must_use]
    pub fn id(&self) -> &DashboardId {
        &self.shared.id
    }

    /// Bytes of the encoded document, as of a moment ago.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        self.shared.document_bytes.load(Ordering::Relaxed)
    }

    /// Brings a session in, whose client asked for the dashboard at `asked`, perhaps as a part of its own trace. Its frames go to `outbox`
    /// from then on.
    ///
    /// # Errors
    /// [`Ended`] – open the dashboard again.
    pub async fn join(
        &self,
        joining: Joining,
        outbox: Arc<Outbox>,
        asked: Instant,
        caller: Option<SpanContext>,
    ) -> Result<(), Ended> {
        let trace = self.shared.traces.begin("join", caller).map(|join| TracedJoin::new(join, asked));
        let (joining, asked_at) = (Box::new(joining), Instant::now());
        self.send(ToRoom::Join { joining, outbox, asked_at, trace, follows: None }).await
    }

    /// Brings in somebody who follows the room. Once the room has let the member in, it answers with a receiver of its standing. It answers
    /// `None` if it refuses the member: then the outbox says why.
    ///
    /// # Errors
    /// [`Ended`] – open the dashboard again.
    pub async fn join_to_follow(
        &self,
        joining: Joining,
        outbox: Arc<Outbox>,
    ) -> Result<oneshot::Receiver<Option<watch::Receiver<Standing>>>, Ended> {
        let (follows, decided) = oneshot::channel();
        let (joining, asked_at) = (Box::new(joining), Instant::now());
        self.send(ToRoom::Join { joining, outbox, asked_at, trace: None, follows: Some(follows) }).await?;
        Ok(decided)
    }

    /// Tells the room something. Waits while its inbox is full: that is the backpressure towards the peer.
    ///
    /// # Errors
    /// [`Ended`] – end the session; its client comes back.
    pub async fn input(&self, input: Input) -> Result<(), Ended> {
        self.deliver(input, None, None, None).await
    }

    /// As [`RoomHandle::input`], with the lease for what it takes up until the room has it, the turn in which the room is to take it, and when
    /// it arrived at its socket, if anybody is interested.
    ///
    /// # Errors
    /// [`Ended`] – likewise.
    pub async fn deliver(
        &self,
        input: Input,
        lease: Option<Box<Lease>>,
        turn: Option<Box<Turn>>,
        arrived: Option<Instant>,
    ) -> Result<(), Ended> {
        let trace = match input {
            Input::Update { .. } if arrived.is_some() => self.trace(None, arrived),
            _ => None,
        };
        let bytes = weight(&input);
        if bytes <= LARGE_INPUT {
            return self.send_traced(ToRoom::Input(input), trace).await;
        }
        let place = self.place_for(bytes).await?;
        self.send_traced(ToRoom::Large(Box::new(Large { input, turn, _lease: lease, _place: Some(place) })), trace)
            .await
    }

    /// Begins the trace of an edit, if this is one of those that are looked at.
    fn trace(&self, caller: Option<SpanContext>, arrived: Option<Instant>) -> Option<Box<TracedEdit>> {
        self.shared.traces.begin("edit", caller).map(|edit| TracedEdit::new(edit, arrived))
    }

    /// Waits until there is place for so many bytes in the inbox.
    async fn place_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Ended> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10).min(INBOX_KIB)).expect("an inbox is smaller");
        // A room that ends gives back what it held, and refuses what comes.
        Arc::clone(&self.shared.inbox_bytes).acquire_many_owned(kib).await.map_err(|_| Ended)
    }

    /// Ends a session.
    pub async fn leave(&self, member: MemberId) {
        // A room that has ended has forgotten the member already.
        let _ = self.input(Input::Left { member }).await;
    }

    /// What one lacks that has `have`, as one Yjs update v1.
    ///
    /// # Errors
    /// [`Ended`] – open the dashboard again.
    pub async fn read(&self, have: StateVector) -> Result<Bytes, Ended> {
        let (answer, answered) = oneshot::channel();
        self.send(ToRoom::Read { have, answer }).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Applies an update and waits until it is durable.
    ///
    /// # Errors
    /// [`WriteError`] – it was refused, or the room ended meanwhile.
    pub async fn write(&self, author: Admission, update: Scanned) -> Result<(), WriteError> {
        let (answer, answered) = oneshot::channel();
        let message = ToRoom::Write { author: Box::new(author), update: Box::new(update), answer };
        self.send_traced(message, self.trace(trace::current(), None)).await?;
        Ok(answered.await.map_err(|_| Ended)??)
    }

    /// Applies an update that this node made for `pen`, and returns as soon as it is in the document. With `begins` only if the dashboard is empty.
    ///
    /// # Errors
    /// [`WriteError`] – it was refused, or the room ended meanwhile; [`WriteRefusal::PenTaken`] when somebody else wrote as that client,
    /// and [`WriteRefusal::Exists`] when there is anything.
    pub async fn edit(&self, author: Admission, update: Scanned, pen: Pen, begins: bool) -> Result<Taken, WriteError> {
        let ((taken, is_taken), (answer, mut answered)) = (oneshot::channel(), oneshot::channel());
        let edit = Box::new(OwnEdit { author, update, pen, begins });
        self.send_traced(ToRoom::Edit { edit, taken, answer }, self.trace(trace::current(), None)).await?;
        if is_taken.await.is_err() {
            // Refused, or the room is gone.
            answered.await.map_err(|_| Ended)??;
            return Err(Ended.into());
        }
        match answered.try_recv() {
            Ok(answer) => {
                answer?;
                Ok(Taken(None))
            }
            Err(_) => Ok(Taken(Some(answered))),
        }
    }

    /// Everybody's presence as an awareness message; `None` for who may not see it, or may not any longer.
    ///
    /// # Errors
    /// [`Ended`] – open the dashboard again.
    pub async fn presence(&self, reader: Admission) -> Result<Option<Bytes>, Ended> {
        let (answer, answered) = oneshot::channel();
        self.send(ToRoom::Presence { reader: Box::new(reader), answer }).await?;
        answered.await.map_err(|_| Ended)
    }

    async fn send_traced(&self, message: ToRoom, trace: Option<Box<TracedEdit>>) -> Result<(), Ended> {
        match trace {
            Some(trace) => self.send(ToRoom::Traced { message: Box::new(message), trace }).await,
            None => self.send(message).await,
        }
    }

    pub(super) async fn send(&self, message: ToRoom) -> Result<(), Ended> {
        self.shared.inbox.send(message).await.map_err(|_| Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    /// A handle, and what a room would take its inputs from.
    fn handle() -> (RoomHandle, mpsc::Receiver<ToRoom>) {
        let (inbox, messages) = mpsc::channel(256);
        let id = DashboardId::new("w", "board").unwrap();
        let shared = Shared {
            id,
            inbox,
            inbox_bytes: inbox_bytes(),
            document_bytes: Arc::default(),
            live: Arc::default(),
            traces: Traces::default(),
        };
        (RoomHandle { shared: Arc::new(shared) }, messages)
    }

    fn large(kib: usize) -> Input {
        Input::Stateless { from: MemberId(1), payload: Bytes::from(vec![b'x'; kib << 10]) }
    }

    /// Its inbox keeps two blocks of 32 messages for as long as a room lives.
    #[test]
    fn what_goes_into_an_inbox_is_small() {
        assert!(size_of::<ToRoom>() <= 64, "{} bytes", size_of::<ToRoom>());
    }

    fn poll<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// 256 messages of 1 MiB each waited for a room that was busy: its inbox was bounded by their number alone.
    #[tokio::test]
    async fn what_waits_for_a_room_is_bounded_in_bytes() {
        let (handle, mut messages) = handle();
        for _ in 0..INBOX_KIB / 1024 {
            assert_eq!(handle.input(large(1024)).await, Ok(()));
        }
        let mut next = pin!(handle.input(large(5)));
        assert_eq!(poll(next.as_mut()), Poll::Pending, "its socket is not read meanwhile");
        assert_eq!(poll(pin!(handle.input(Input::Left { member: MemberId(1) }))), Poll::Ready(Ok(())), "what is small");
        drop(messages.recv().await);
        assert_eq!(next.await, Ok(()));
    }

    #[tokio::test]
    async fn an_input_that_is_larger_than_the_inbox_waits_until_it_is_alone() {
        let (handle, mut messages) = handle();
        handle.input(large(5)).await.unwrap();
        let mut next = pin!(handle.input(large(2 * INBOX_KIB)));
        assert_eq!(poll(next.as_mut()), Poll::Pending);
        drop(messages.recv().await);
        assert_eq!(next.await, Ok(()));
        assert_eq!(poll(pin!(handle.input(large(5)))), Poll::Pending);
    }
}
