//! What an update has that somebody lacks.

use bytes::Bytes;

use super::StateVector;
use super::merge::assemble;
use super::scan::{Scan, scan_admitted};

/// What of `update` lies beyond `have`, as `Y.diffUpdate`: all its deletions stay in it.
///
/// A struct that is known in part is cut, a client that is known is passed over. When nothing of it is known the same
/// bytes are returned, not a copy.
///
/// # Panics
/// When `update` is not an update. Only what was scanned or admitted comes here.
#[must_use]
pub fn diff(update: &Bytes, have: &StateVector) -> Bytes {
    diff_scanned(&[(update, &scan_admitted(update))], have)
}

/// What of several updates, merged, lies beyond `have`; spares making the merged update first.
///
/// # Panics
/// As [`diff`].
#[must_use]
pub fn diff_many(updates: &[Bytes], have: &StateVector) -> Bytes {
    let scans: Vec<Scan> = updates.iter().map(|update| scan_admitted(update)).collect();
    let parts: Vec<(&Bytes, &Scan)> = updates.iter().zip(&scans).collect();
    diff_scanned(&parts, have)
}

/// [`diff_many`] for updates whose scans are at hand: reads only the structs of clients that are known in part.
#[must_use]
pub fn diff_scanned(parts: &[(&Bytes, &Scan)], have: &StateVector) -> Bytes {
    assemble(parts, Some(have)).0
}

/// [`diff_scanned`], with the scan of what it returns.
pub(crate) fn diff_and_scan(parts: &[(&Bytes, &Scan)], have: &StateVector) -> (Bytes, Scan) {
    assemble(parts, Some(have))
}
