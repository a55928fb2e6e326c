//! What rooms refused, kept where an operator finds it: a little of it for each dashboard, the newest.

use std::sync::Arc;

use bytes::Bytes;
use ydash_proto::time::Timestamp;

/// Content that a room refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// When it was refused.
    pub at: Timestamp,
    /// Who sent it, if that is known.
    pub author: Option<Arc<str>>,
    /// The session that sent it.
    pub session: u64,
    /// Why it was refused, as a phrase.
    pub why: String,
    /// What was refused: bytes of a client, not checked.
    pub update: Bytes,
}

impl SetAside {
    /// How many are kept for each dashboard: what one person can look through.
    pub const ENTRIES_MAX: usize = 64;

    /// How many bytes are kept for each dashboard, as records.
    ///
    /// A refused paste fits, and somebody who has everything refused cannot fill the disk with it.
    pub const BYTES_MAX: usize = 4 << 20;
}

/// What is kept of the content that the rooms of a dashboard refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The newest, oldest first.
    pub kept: Vec<SetAside>,
    /// How many there were besides.
    pub dropped: u64,
}

/// How many of the oldest must go, so that one more of `len` bytes fits; `None` if that one is too large by itself.
///
/// `kept` are the sizes of those that are kept, oldest first.
pub(super) fn displaced(kept: impl ExactSizeIterator<Item = usize> + Clone, len: usize) -> Option<usize> {
    if len > SetAside::BYTES_MAX {
        return None;
    }
    let mut bytes = kept.clone().sum::<usize>() + len;
    let mut left = kept.len() + 1;
    let mut going = 0;
    for oldest in kept {
        if left <= SetAside::ENTRIES_MAX && bytes <= SetAside::BYTES_MAX {
            break;
        }
        bytes -= oldest;
        left -= 1;
        going += 1;
    }
    Some(going)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let mib = 1 << 20;
        for (kept, len, going) in [
            (vec![], 1, Some(0)),
            (vec![1; 63], 1, Some(0)),
            (vec![1; 64], 1, Some(1)),
            (vec![mib; 4], 1, Some(1)),
            (vec![1, 4 * mib - 1], 1, Some(1)),
            (vec![mib; 4], 4 * mib, Some(4)),
            (vec![mib; 4], 4 * mib + 1, None),
        ] {
            assert_eq!(displaced(kept.iter().copied(), len), going, "{} and {len}", kept.len());
        }
    }
}
