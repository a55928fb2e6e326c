//! The past of dashboards: sealing what was edited.
//!
//! The store keeps the records, and trims no log beyond its base ([`crate::store::past`]). This module decides when a log is sealed.

pub mod read;
pub mod seal;
pub mod verify;

#[cfg(test)]
mod testing;

use ydash_proto::update::Scan;

/// Whether a state lacks structs that later ones of the same client follow.
fn has_hole(scan: &Scan) -> bool {
    scan.has_skip || scan.spans.iter().any(|span| span.start > 0)
}
