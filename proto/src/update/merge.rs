//! Joining updates without looking into their content.

use bytes::Bytes;

use super::scan::{Scan, scan_admitted};
use super::write::{DeletesToWrite, Origin, Piece, write_update};
use super::{DeleteSet, EMPTY_UPDATE, StateVector};
use crate::id::{ClientId, Clock};

/// Joins updates into one that says the same, as `Y.mergeUpdates`.
///
/// Struct bytes are copied, never decoded into values, so nothing is lost. The cost is linear when the updates follow on each
/// other, as accepted ones do; where they overlap, the later ones are cut; holes stay holes, declared by Skip structs.
///
/// # Panics
/// When one of them is not an update. Only what was scanned or admitted comes here.
#[must_use]
pub fn merge(updates: &[Bytes]) -> Bytes {
    if let [only] = updates {
        return only.clone();
    }
    let scans: Vec<Scan> = updates.iter().map(|update| scan_admitted(update)).collect();
    let parts: Vec<(&Bytes, &Scan)> = updates.iter().zip(&scans).collect();
    merge_scanned(&parts).0
}

/// [`merge`] for updates whose scans are at hand, which spares reading their structs. Returns the scan of the result, too.
#[must_use]
pub fn merge_scanned(parts: &[(&Bytes, &Scan)]) -> (Bytes, Scan) {
    assemble(parts, None)
}

/// Joins what `parts` have beyond `have`, or all of it, with all their deletions.
pub(super) fn assemble(parts: &[(&Bytes, &Scan)], have: Option<&StateVector>) -> (Bytes, Scan) {
    match parts {
        [] => return (Bytes::from_static(&EMPTY_UPDATE), scan_admitted(&EMPTY_UPDATE)),
        [(update, scan)] if scan.spans.iter().all(|span| known(have, span.client) <= span.start) => {
            return ((*update).clone(), (*scan).clone());
        }
        _ => {}
    }
    let spans = parts.iter().flat_map(|(update, scan)| scan.spans.iter().map(move |span| (*update, span)));
    let mut pieces: Vec<Piece<'_>> = spans
        .filter(|(_, span)| known(have, span.client) < span.end)
        .map(|(update, span)| Piece::whole(update, span))
        .collect();
    // Stable, so of two that start alike the earlier one is kept. In order already when there is one part.
    pieces.sort_by(|a, b| (b.client, a.start).cmp(&(a.client, b.start)));
    trim_known(&mut pieces, have);

    let origin = Origin {
        has_type: parts.iter().any(|(_, scan)| scan.has_type),
        lossy: parts.iter().any(|(_, scan)| scan.lossy),
    };
    let mut deleting = parts.iter().filter(|(_, scan)| scan.delete_ranges > 0);
    match (deleting.next(), deleting.next()) {
        (Some((update, scan)), None) if scan.is_canonical => {
            let encoded = DeletesToWrite::Encoded(&update[scan.deletes_at..], scan.delete_ranges);
            write_update(&pieces, &encoded, origin)
        }
        _ => {
            let mut deletes = DeleteSet::default();
            for (update, scan) in parts {
                deletes.union(&DeleteSet::collect(scan.deletes(update)));
            }
            write_update(&pieces, &DeletesToWrite::Set(&deletes), origin)
        }
    }
}

fn known(have: Option<&StateVector>, client: ClientId) -> Clock {
    have.map_or(0, |have| have.get(client))
}

/// Cuts off what `have` or an earlier piece of the same client covers. Pieces are sorted by client and start.
fn trim_known(pieces: &mut Vec<Piece<'_>>, have: Option<&StateVector>) {
    let mut covered: Option<(ClientId, Clock)> = None;
    pieces.retain_mut(|piece| {
        let from = match covered {
            Some((client, clock)) if client == piece.client => clock,
            _ => known(have, piece.client),
        };
        let is_new = piece.end > from;
        if is_new {
            piece.trim(from);
        }
        covered = Some((piece.client, from.max(piece.end)));
        is_new
    });
}
