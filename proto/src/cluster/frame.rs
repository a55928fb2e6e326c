//! What is said on a channel: an envelope, a part of one, or a word about who is here.

use crate::id::NodeId;
use crate::limits::bus::BODY_BYTES_MAX;
use bytes::Bytes;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusFrame {
    /// A room's envelope.
    Envelope(Bytes),
    /// A piece of an envelope that is too large for one message.
    Part(Part),
    /// "I have this dashboard open; who else has?" On the nodes' channel: "I am here; who else is?"
    Hello,
    /// "I have", to whoever asked.
    Here,
    /// "I have it no more." On the nodes' channel: "I am leaving."
    Bye,
    /// "I took you for gone, and have removed your members' presence."
    Forgotten(NodeId),
    /// "I live, and this is what I am": JSON, on the nodes' channel.
    Heartbeat(Bytes),
}

/// A piece of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Differs between the envelopes of one node.
    pub message: u64,
    /// Which piece, from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// Its bytes.
    pub bytes: Bytes,
}

impl BusFrame {
    /// An envelope as the frames that carry it: one, unless it is too large for one. `message` is a number of its own.
    #[must_use]
    pub fn carry(envelope: Bytes, message: u64) -> Vec<BusFrame> {
        if envelope.len() <= BODY_BYTES_MAX {
            return vec![BusFrame::Envelope(envelope)];
        }
        let count = u32::try_from(envelope.len().div_ceil(BODY_BYTES_MAX)).unwrap_or(u32::MAX);
        let part = |index: u32| {
            let from = index as usize * BODY_BYTES_MAX;
            let bytes = envelope.slice(from..envelope.len().min(from + BODY_BYTES_MAX));
            BusFrame::Part(Part { message, index, count, bytes })
        };
        (0..count).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_envelopes_are_parted() {
        assert_eq!(BusFrame::carry(Bytes::from(vec![1; BODY_BYTES_MAX]), 1).len(), 1);
        let parts = BusFrame::carry(Bytes::from(vec![1; BODY_BYTES_MAX + 1]), 1);
        let lens: Vec<usize> = parts
            .iter()
            .map(|part| match part {
                BusFrame::Part(part) => part.bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lens, [BODY_BYTES_MAX, 1]);
    }
}
