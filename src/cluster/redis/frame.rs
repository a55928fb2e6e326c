//! What is said on a channel of Redis: a small header, and an envelope, a part of one, or a word about who is here.
//!
//! ```text
//! byte 0       version, 1
//! byte 1       kind
//! bytes 2..6   CRC-32 (IEEE, little endian) of bytes 0..2 and 6.., bodies of kinds 1 and 2 left out: envelopes have their own
//! bytes 6..14  who says it: node id, little endian
//! bytes 14..   body
//! ```
//!
//! Redis hands a node its own messages as well: the header tells them apart before anything else is looked at. Channels are open
//! to whoever reaches the server, so what does not decode is counted and skipped.

use bytes::Bytes;
use ydash_proto::cluster::{BusFrame, Part};
use ydash_proto::id::NodeId;
use ydash_proto::limits::bus::{BODY_BYTES_MAX, PARTS_MAX};

const VERSION: u8 = 1;
const HEADER_LEN: usize = 14;

const ENVELOPE: u8 = 1;
const PART: u8 = 2;
const HELLO: u8 = 3;
const HERE: u8 = 4;
const BYE: u8 = 5;
const FORGOTTEN: u8 = 6;
const HEARTBEAT: u8 = 7;

/// A heartbeat says what `/api/nodes` shows of a node, which is a few hundred bytes.
const HEARTBEAT_BYTES_MAX: usize = 4096;

/// Why bytes are no frame: count it and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BusFrameError {
    /// Published by a later ydash.
    #[error("version {0} is not known")]
    LaterVersion(u8),
    /// Nothing that ydash publishes.
    #[error("{0}")]
    Garbage(&'static str),
}

/// The bytes for the channel.
pub(super) fn encode(frame: &BusFrame, node: NodeId) -> Vec<u8> {
    let mut head = [0; 16];
    let (kind, head_len, body): (u8, usize, &[u8]) = match frame {
        BusFrame::Envelope(envelope) => (ENVELOPE, 0, envelope),
        BusFrame::Part(Part { message, index, count, bytes }) => {
            head[..8].copy_from_slice(&message.to_le_bytes());
            head[8..12].copy_from_slice(&index.to_le_bytes());
            head[12..].copy_from_slice(&count.to_le_bytes());
            (PART, 16, bytes)
        }
        BusFrame::Hello => (HELLO, 0, &[]),
        BusFrame::Here => (HERE, 0, &[]),
        BusFrame::Bye => (BYE, 0, &[]),
        BusFrame::Forgotten(target) => {
            head[..8].copy_from_slice(&target.0.to_le_bytes());
            (FORGOTTEN, 8, &[])
        }
        BusFrame::Heartbeat(said) => (HEARTBEAT, 0, said),
    };
    let mut bytes = Vec::with_capacity(HEADER_LEN + head_len + body.len());
    bytes.extend_from_slice(&[VERSION, kind, 0, 0, 0, 0]);
    bytes.extend_from_slice(&node.0.to_le_bytes());
    bytes.extend_from_slice(&head[..head_len]);
    bytes.extend_from_slice(body);
    let crc = checksum(&bytes);
    bytes[2..6].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads a message, and who says it. Bodies share the buffer of `bytes`.
///
/// # Errors
/// Any [`BusFrameError`]: skip it.
pub(super) fn decode(bytes: &Bytes) -> Result<(NodeId, BusFrame), BusFrameError> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(&version) if version > VERSION => return Err(BusFrameError::LaterVersion(version)),
        _ => return Err(BusFrameError::Garbage("no version")),
    }
    let header = bytes.get(..HEADER_LEN).ok_or(BusFrameError::Garbage("cut"))?;
    if header[2..6] != checksum(bytes).to_le_bytes() {
        return Err(BusFrameError::Garbage("checksum does not match"));
    }
    let node = NodeId(u64_at(header, 6).ok_or(BusFrameError::Garbage("cut"))?);
    let body = bytes.slice(HEADER_LEN..);
    let frame = match header[1] {
        ENVELOPE => BusFrame::Envelope(body),
        PART => BusFrame::Part(decode_part(&body).ok_or(BusFrameError::Garbage("not a part"))?),
        HELLO if body.is_empty() => BusFrame::Hello,
        HERE if body.is_empty() => BusFrame::Here,
        BYE if body.is_empty() => BusFrame::Bye,
        FORGOTTEN if body.len() == 8 => {
            BusFrame::Forgotten(NodeId(u64_at(&body, 0).ok_or(BusFrameError::Garbage("cut"))?))
        }
        HEARTBEAT if body.len() <= HEARTBEAT_BYTES_MAX => BusFrame::Heartbeat(body),
        _ => return Err(BusFrameError::Garbage("unknown kind")),
    };
    Ok((node, frame))
}

fn decode_part(body: &Bytes) -> Option<Part> {
    let (message, index) = (u64_at(body, 0)?, u32_at(body, 8)?);
    let count = u32_at(body, 12)?;
    let bytes = body.slice(16..);
    if count > PARTS_MAX || index >= count || bytes.len() > BODY_BYTES_MAX {
        return None;
    }
    // Only the last one may be short.
    let is_whole = index + 1 == count || bytes.len() == BODY_BYTES_MAX;
    is_whole.then_some(Part { message, index, count, bytes })
}

/// The checksum of what stands around it; envelopes bring their own.
fn checksum(bytes: &[u8]) -> u32 {
    let until = match bytes[1] {
        ENVELOPE => HEADER_LEN,
        PART => bytes.len().min(HEADER_LEN + 16),
        _ => bytes.len(),
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..2]);
    hasher.update(&bytes[6..until]);
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(0x0102_0304_0506_0708);

    fn every_kind() -> [BusFrame; 7] {
        let part = Part { message: 5, index: 1, count: 2, bytes: Bytes::from_static(b"end") };
        [
            BusFrame::Envelope(Bytes::from_static(b"words")),
            BusFrame::Part(part),
            BusFrame::Hello,
            BusFrame::Here,
            BusFrame::Bye,
            BusFrame::Forgotten(NodeId(9)),
            BusFrame::Heartbeat(Bytes::from_static(b"{}")),
        ]
    }

    /// Change these bytes only together with [`VERSION`].
    #[test]
    fn golden_frames() {
        let hello = [1, 3, 193, 13, 43, 245, 8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(encode(&BusFrame::Hello, NODE), hello);
        let envelope = encode(&BusFrame::Envelope(Bytes::from_static(b"ab")), NODE);
        assert_eq!(envelope[..2], [1, ENVELOPE]);
        assert_eq!(envelope[6..], [8, 7, 6, 5, 4, 3, 2, 1, b'a', b'b']);
    }

    #[test]
    fn frames_decode_to_what_they_were() {
        for frame in every_kind() {
            assert_eq!(decode(&encode(&frame, NODE).into()), Ok((NODE, frame)));
        }
    }

    #[test]
    fn garbage_is_noticed() {
        for frame in every_kind() {
            let bytes = encode(&frame, NODE);
            // Bodies of envelopes are theirs to check.
            let checked = match &frame {
                BusFrame::Envelope(_) => HEADER_LEN,
                BusFrame::Part(_) => HEADER_LEN + 16,
                _ => bytes.len(),
            };
            for bit in 0..checked * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped.into()).is_err(), "bit {bit} of {frame:?}");
            }
            for len in 0..HEADER_LEN {
                assert!(decode(&Bytes::copy_from_slice(&bytes[..len])).is_err());
            }
        }
        let mut later = encode(&BusFrame::Hello, NODE);
        later[0] = 7;
        assert_eq!(decode(&later.into()), Err(BusFrameError::LaterVersion(7)));
    }

    #[test]
    fn parts_that_cannot_be_are_garbage() {
        let part = |index, count, len| {
            let part = Part { message: 1, index, count, bytes: Bytes::from(vec![0; len]) };
            decode(&encode(&BusFrame::Part(part), NODE).into())
        };
        assert!(part(0, 2, BODY_BYTES_MAX).is_ok());
        assert!(part(0, 2, 1).is_err(), "only the last one is short");
        assert!(part(2, 2, 1).is_err());
        assert!(part(0, PARTS_MAX + 1, BODY_BYTES_MAX).is_err());
        assert!(part(0, 1, BODY_BYTES_MAX + 1).is_err());
    }

    /// Thirty bytes from whoever reaches the Redis server ended the reader of every node.
    #[test]
    fn numbers_of_strangers_are_not_calculated_with_before_they_are_checked() {
        for index in [0, 1, u32::MAX - 1, u32::MAX] {
            for count in [0, 1, u32::MAX - 1, u32::MAX] {
                let part = Part { message: u64::MAX, index, count, bytes: Bytes::new() };
                let bytes = encode(&BusFrame::Part(part), NODE);
                assert_eq!(bytes.len(), 30);
                let is_part = matches!(decode(&bytes.into()), Ok((NODE, BusFrame::Part(_))));
                assert_eq!(is_part, (index, count) == (0, 1), "part {index} of {count}");
            }
        }
    }
}
