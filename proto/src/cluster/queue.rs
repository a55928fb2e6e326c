//! What one channel has brought and its room has not taken yet: bounded, without anybody waiting to put something in.

use crate::id::NodeId;
use crate::limits::bus::{QUEUE_BYTES_MAX, QUEUE_ENVELOPES_MAX};
use bytes::Bytes;
use std::collections::VecDeque;

/// What a node hears of a dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What another node has published.
    Envelope(Bytes),
    /// Something may be missing: the bus was away, or it went faster than this node took it.
    Lost,
    /// Another node has closed the dashboard, or is no more.
    Gone(NodeId),
    /// Others took this node for gone, and have removed its members' presence. Something may be missing as well.
    Forgotten,
}

/// A queue from the bus to one room.
#[derive(Clone, Debug, Default)]
pub struct HeardQueue {
    heard: VecDeque<Heard>,
    bytes: usize,
    envelopes: usize,
}

impl HeardQueue {
    /// Adds one. When too much waits, all envelopes become one [`Heard::Lost`]: the room asks for what it lacks. The rest is never dropped, and
    /// what is said again before the room has taken it moves to the end: however often it is said, the queue is bounded.
    pub fn put(&mut self, one: Heard) {
        let Heard::Envelope(envelope) = &one else { return self.say_once(one) };
        let is_full = self.envelopes >= QUEUE_ENVELOPES_MAX || self.bytes + envelope.len() > QUEUE_BYTES_MAX;
        if is_full && self.envelopes > 0 {
            self.heard.retain(|one| matches!(one, Heard::Gone(_) | Heard::Forgotten));
            self.heard.push_back(Heard::Lost);
            (self.bytes, self.envelopes) = (0, 0);
        } else {
            self.bytes += envelope.len();
            self.envelopes += 1;
            self.heard.push_back(one);
        }
    }

    /// Moves at most `max` of it into `heard`. Says whether there was anything.
    pub fn take(&mut self, heard: &mut Vec<Heard>, max: usize) -> bool {
        let count = self.heard.len().min(max);
        for one in self.heard.drain(..count) {
            if let Heard::Envelope(bytes) = &one {
                self.bytes -= bytes.len();
                self.envelopes -= 1;
            }
            heard.push(one);
        }
        count > 0
    }

    fn say_once(&mut self, one: Heard) {
        if self.heard.back() != Some(&one) {
            self.heard.retain(|other| *other != one);
            self.heard.push_back(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(bytes: &'static [u8]) -> Heard {
        Heard::Envelope(Bytes::from_static(bytes))
    }

    fn taken(queue: &mut HeardQueue) -> Vec<Heard> {
        let mut heard = Vec::new();
        queue.take(&mut heard, 10);
        heard
    }

    #[test]
    fn what_is_too_much_becomes_one_loss_and_nobody_gone_is_forgotten() {
        let mut queue = HeardQueue::default();
        queue.put(envelope(b"first"));
        queue.put(Heard::Gone(NodeId(7)));
        for _ in 0..QUEUE_ENVELOPES_MAX {
            queue.put(envelope(b"more"));
        }
        queue.put(envelope(b"after"));
        assert_eq!(taken(&mut queue), [Heard::Gone(NodeId(7)), Heard::Lost, envelope(b"after")]);
    }

    #[test]
    fn what_is_said_again_before_it_is_taken_is_heard_once_and_last() {
        let mut queue = HeardQueue::default();
        for _ in 0..10_000 {
            queue.put(Heard::Gone(NodeId(7)));
            queue.put(Heard::Lost);
            queue.put(Heard::Forgotten);
            queue.put(Heard::Lost);
        }
        assert_eq!(taken(&mut queue), [Heard::Gone(NodeId(7)), Heard::Forgotten, Heard::Lost]);
    }

    #[test]
    fn bytes_are_bounded_but_one_large_envelope_passes() {
        let mut queue = HeardQueue::default();
        queue.put(Heard::Envelope(Bytes::from(vec![0; QUEUE_BYTES_MAX + 1])));
        assert!(matches!(taken(&mut queue).as_slice(), [Heard::Envelope(_)]));
        queue.put(Heard::Envelope(Bytes::from(vec![0; QUEUE_BYTES_MAX])));
        queue.put(envelope(b"one more"));
        assert_eq!(taken(&mut queue), [Heard::Lost]);
    }
}
