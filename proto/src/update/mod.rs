//! The guard in front of the CRDT: Yjs updates (version 1) as bytes.
//!
//! Nothing here builds a document. [`scan`] says whether bytes are an update at all and which clocks they carry;
//! [`Knowledge::admit`] keeps the part that is new, closed under its causes; [`merge`] and [`diff`]
//! join and cut updates by copying struct bytes, so whatever a client wrote comes out as it went in.
//!
//! Update v2 is never decoded: a few of its bytes may stand for gigabytes.
//!
//! The format, as `yjs/src/utils/encoding.js` writes it: a count of clients; for each, highest id first, a count of structs, the
//! client, the first clock and the structs; then the deletions: a count of clients, for each the client, a count of
//! ranges, and (clock, length) pairs.

#[cfg(test)]
pub(crate) mod build;
mod compare;
pub(crate) mod content;
mod delete_set;
mod diff;
mod first;
mod gate;
mod merge;
mod nesting;
mod order;
mod ranges;
mod scan;
mod state_vector;
pub(crate) mod structs;
mod write;

pub use compare::Difference;
pub(crate) use compare::{Places, differences, is_repeated};
pub use delete_set::DeleteSet;
pub(crate) use diff::diff_and_scan;
pub use diff::{diff, diff_many, diff_scanned};
pub(crate) use first::first_clocks;
pub use gate::{Accepted, Admission, Held, HeldWhy, Knowledge, Opened, Refusal, Source};
pub use merge::{merge, merge_scanned};
pub use ranges::ClockRange;
pub(crate) use ranges::Ranges;
pub(crate) use scan::scan_admitted;
pub use scan::{Deletes, Scan, ScanError, Span, scan};
pub use state_vector::StateVector;

/// The update that says nothing: no structs, no deletions.
pub const EMPTY_UPDATE: [u8; 2] = [0, 0];

/// Whether `update` is [`EMPTY_UPDATE`], what stock clients answer when they have nothing to add.
#[must_use]
pub fn is_empty_update(update: &[u8]) -> bool {
    update == EMPTY_UPDATE
}

/// Clocks stay below this: Yjs keeps lengths in 32-bit arithmetic in places, and yrs panics beyond.
const CLOCK_END_MAX: u64 = (1 << 31) - 1;
