//! What waits to be sent over one connection: in order, bounded, without anybody waiting to put something in.
//!
//! Envelopes that are too much are dropped and counted: the numbers that rooms give them tell the others. What subscriptions
//! need is not dropped; there is at most a handful for each.

use super::line::Line;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use ydash_proto::id::NodeId;

/// Bytes of envelopes that wait. One that is larger may wait alone.
const BYTES_MAX: usize = 32 << 20;
/// Messages that wait.
const MESSAGES_MAX: usize = 16_384;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Subscribe and say hello.
    Subscribe {
        line: Arc<Line>,
        /// Who waits for it.
        confirmed: Option<oneshot::Sender<()>>,
    },
    /// Say hello once more.
    Hello(Arc<Line>),
    /// Answer one or many hellos.
    Here(Arc<Line>),
    /// Tell a node that it was taken for gone.
    Forgotten(Arc<Line>, NodeId),
    /// Say bye and unsubscribe.
    Close(Arc<Line>),
    /// Publish one frame.
    Publish { channel: Arc<str>, frame: Vec<u8> },
}

/// The queue of one connection. It takes nothing while there is none.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    is_open: bool,
    outgoing: VecDeque<Outgoing>,
    bytes: usize,
    messages: usize,
}

impl Queue {
    /// Takes from here on.
    pub(super) fn open(&self) {
        self.lock().is_open = true;
    }

    /// Takes nothing more, and forgets what waits. Returns how many messages were among it.
    pub(super) fn close(&self) -> usize {
        let closed = core::mem::take(&mut *self.lock());
        for one in &closed.outgoing {
            if let Outgoing::Here(line) = one {
                line.is_answering.store(false, Ordering::Release);
            }
        }
        closed.messages
    }

    /// Whether it takes anything.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().outgoing.is_empty()
    }

    /// Adds something other than a message. Does nothing while there is no connection: a new one begins with subscribing.
    pub(super) fn push(&self, one: Outgoing) {
        let mut waiting = self.lock();
        if !waiting.is_open {
            return;
        }
        if let Outgoing::Here(line) = &one
            && line.is_answering.swap(true, Ordering::AcqRel)
        {
            return;
        }
        waiting.outgoing.push_back(one);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Adds the frames of one message, or none of them. Says whether they were taken.
    pub(super) fn publish(&self, channel: &Arc<str>, frames: Vec<Vec<u8>>) -> bool {
        let bytes: usize = frames.iter().map(Vec::len).sum();
        let mut waiting = self.lock();
        let is_full = waiting.messages + frames.len() > MESSAGES_MAX || waiting.bytes + bytes > BYTES_MAX;
        if !waiting.is_open || is_full && waiting.messages > 0 {
            return false;
        }
        waiting.bytes += bytes;
        waiting.messages += frames.len();
        let publish = |frame| Outgoing::Publish { channel: Arc::clone(channel), frame };
        waiting.outgoing.extend(frames.into_iter().map(publish));
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Waits until something waits. Cancel-safe.
    pub(super) async fn filled(&self) {
        loop {
            if !self.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what may go together.
    pub(super) fn take(&self, count_max: usize, bytes_max: usize) -> Vec<Outgoing> {
        let mut waiting = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < count_max && bytes < bytes_max {
            let Some(one) = waiting.outgoing.pop_front() else { break };
            match &one {
                Outgoing::Publish { frame, .. } => {
                    bytes += frame.len();
                    waiting.bytes -= frame.len();
                    waiting.messages -= 1;
                }
                Outgoing::Here(line) => line.is_answering.store(false, Ordering::Release),
                _ => {}
            }
            taken.push(one);
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Arc<str> {
        "c".into()
    }

    #[test]
    fn messages_are_bounded_and_one_large_one_passes() {
        let queue = Queue::default();
        assert!(!queue.publish(&channel(), vec![vec![0]]), "there is no connection");
        queue.open();
        let large = || vec![vec![0; BYTES_MAX / 2 + 1], vec![0; BYTES_MAX / 2]];
        assert!(queue.publish(&channel(), large()));
        assert!(!queue.publish(&channel(), vec![vec![0]]));
        assert_eq!(queue.take(1, usize::MAX).len(), 1);
        assert!(queue.publish(&channel(), vec![vec![0]]), "half of it has gone");
        assert_eq!(queue.take(usize::MAX, usize::MAX).len(), 2);
        for n in 0..2 * MESSAGES_MAX {
            assert_eq!(queue.publish(&channel(), vec![vec![0]]), n < MESSAGES_MAX);
        }
        assert_eq!(queue.close(), MESSAGES_MAX);
        assert!(queue.is_empty() && !queue.is_open());
    }

    #[test]
    fn many_questions_get_one_answer() {
        let queue = Queue::default();
        queue.open();
        let line = Arc::new(Line::new(channel(), 0));
        for _ in 0..1000 {
            queue.push(Outgoing::Here(Arc::clone(&line)));
        }
        assert_eq!(queue.take(10, 10).len(), 1);
        queue.push(Outgoing::Here(Arc::clone(&line)));
        assert_eq!(queue.take(10, 10).len(), 1);
    }

    #[test]
    fn what_goes_together_is_bounded() {
        let queue = Queue::default();
        queue.open();
        (0..10).for_each(|_| _ = queue.publish(&channel(), vec![vec![0; 10]]));
        assert_eq!(queue.take(3, usize::MAX).len(), 3);
        assert_eq!(queue.take(usize::MAX, 11).len(), 2);
    }
}
