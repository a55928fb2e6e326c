//! What one subscription has heard and its room has not taken yet: bounded, without anybody waiting to put something in.

use super::Heard;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use ydash_proto::id::NodeId;

/// Bytes of envelopes that wait for one room; beyond, they are dropped and it is told so. One that is larger may wait alone.
const BYTES_MAX: usize = 4 << 20;
/// Envelopes that wait for one room, likewise.
const ENVELOPES_MAX: usize = 1024;

/// A queue from the bus to one room.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    heard: VecDeque<Heard>,
    bytes: usize,
    envelopes: usize,
}

impl Inbox {
    /// Adds an envelope. When too much waits, all of it becomes one [`Heard::Lost`]: the room asks for what it lacks.
    pub fn put(&self, envelope: Bytes) {
        let mut waiting = self.lock();
        let is_full = waiting.envelopes >= ENVELOPES_MAX || waiting.bytes + envelope.len() > BYTES_MAX;
        if is_full && waiting.envelopes > 0 {
            waiting.lose();
        } else {
            waiting.bytes += envelope.len();
            waiting.envelopes += 1;
            waiting.heard.push_back(Heard::Envelope(envelope));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Says that something may be missing.
    pub fn lost(&self) {
        self.say_once(Heard::Lost);
    }

    /// Says that a node is gone. It is never dropped: there are as many as there are nodes.
    pub fn gone(&self, node: NodeId) {
        self.say_once(Heard::Gone(node));
    }

    /// Says that others took this node for gone. It is never dropped.
    pub fn forgotten(&self) {
        self.say_once(Heard::Forgotten);
    }

    /// What is said repeatedly before the room has taken it moves to the end: however often it is said, the queue is bounded.
    fn say_once(&self, one: Heard) {
        let mut waiting = self.lock();
        if !matches!(waiting.heard.back(), Some(last) if *last == one) {
            waiting.heard.retain(|other| *other != one);
            waiting.heard.push_back(one);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until there is something and moves at most `max` of it into `heard`.
    pub(super) async fn take(&self, heard: &mut Vec<Heard>, max: usize) {
        loop {
            if self.take_now(heard, max) {
                return;
            }
            // A permit that came since is kept: cancel-safe, and nothing is missed.
            self.filled.notified().await;
        }
    }

    fn take_now(&self, heard: &mut Vec<Heard>, max: usize) -> bool {
        let mut waiting = self.lock();
        let count = waiting.heard.len().min(max);
        for one in waiting.heard.drain(..count).collect::<Vec<_>>() {
            if let Heard::Envelope(bytes) = &one {
                waiting.bytes -= bytes.len();
                waiting.envelopes -= 1;
            }
            heard.push(one);
        }
        count > 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn lose(&mut self) {
        self.heard.retain(|one| matches!(one, Heard::Gone(_) | Heard::Forgotten));
        self.heard.push_back(Heard::Lost);
        self.bytes = 0;
        self.envelopes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_much_becomes_one_loss_and_nobody_gone_is_forgotten() {
        let inbox = Inbox::default();
        inbox.put(Bytes::from_static(b"first"));
        inbox.gone(NodeId(7));
        for _ in 0..ENVELOPES_MAX {
            inbox.put(Bytes::from_static(b"more"));
        }
        inbox.put(Bytes::from_static(b"after"));
        let mut heard = Vec::new();
        inbox.take(&mut heard, 10).await;
        let after = Heard::Envelope(Bytes::from_static(b"after"));
        assert_eq!(heard, [Heard::Gone(NodeId(7)), Heard::Lost, after]);
    }

    #[tokio::test]
    async fn what_is_said_again_before_it_is_taken_is_heard_once_and_last() {
        let inbox = Inbox::default();
        for _ in 0..10_000 {
            inbox.gone(NodeId(7));
            inbox.lost();
            inbox.forgotten();
            inbox.lost();
        }
        let mut heard = Vec::new();
        inbox.take(&mut heard, 10).await;
        assert_eq!(heard, [Heard::Gone(NodeId(7)), Heard::Forgotten, Heard::Lost]);
    }

    #[tokio::test]
    async fn bytes_are_bounded_but_one_large_envelope_passes() {
        let inbox = Inbox::default();
        inbox.put(Bytes::from(vec![0; BYTES_MAX + 1]));
        let mut heard = Vec::new();
        inbox.take(&mut heard, 10).await;
        assert!(matches!(heard.as_slice(), [Heard::Envelope(_)]));
        inbox.put(Bytes::from(vec![0; BYTES_MAX]));
        inbox.put(Bytes::from_static(b"one more"));
        heard.clear();
        inbox.take(&mut heard, 10).await;
        assert_eq!(heard, [Heard::Lost]);
    }
}
