//! Joins the parts of a document into one state and lets go of what was deleted.

use super::with_document;
use crate::limits::Limits;
use crate::update::{self, Knowledge};
use bytes::Bytes;
use yrs::{ReadTxn, StateVector, Transact};

/// A state that stands for all its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Yjs update v1.
    pub state: Bytes,
    /// Whether garbage was collected, and if not, why.
    pub kept: Kept,
}

/// How much of the parts' bytes a compaction kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Deleted content is gone.
    Live,
    /// All: it holds values that yrs would not give back as they came (BigInt, -0, legacy JSON).
    AllLossy,
    /// All: yrs could not read it, or what it gave back lacked something.
    AllUnread,
}

/// Joins `parts`, the encoded state of a document and the updates after it, in order.
///
/// Garbage is collected only when nothing else is lost by it: the result has the same clocks and at least the same deletions, or
/// it is the plain join of the parts.
#[must_use]
pub fn compact(parts: &[Bytes], limits: &Limits) -> Compacted {
    let joined = match parts {
        [only] => only.clone(),
        _ => update::merge(parts),
    };
    let Ok(scan) = update::scan(&joined, limits) else {
        return Compacted { state: joined, kept: Kept::AllUnread };
    };
    if scan.lossy {
        return Compacted { state: joined, kept: Kept::AllLossy };
    }
    let collected = with_document(&joined, |doc| doc.transact().encode_diff_v1(&StateVector::default()));
    match collected {
        Some(collected) if stands_for(&collected, &joined, limits) => {
            Compacted { state: collected.into(), kept: Kept::Live }
        }
        _ => Compacted { state: joined, kept: Kept::AllUnread },
    }
}

fn stands_for(collected: &[u8], joined: &Bytes, limits: &Limits) -> bool {
    let collected = Bytes::copy_from_slice(collected);
    match (Knowledge::of(&collected, &[], limits), Knowledge::of(joined, &[], limits)) {
        (Ok(ours), Ok(theirs)) => {
            ours.knowledge.clocks() == theirs.knowledge.clocks()
                && theirs.knowledge.deletes().subtract(ours.knowledge.deletes()).is_empty()
        }
        _ => false,
    }
}
