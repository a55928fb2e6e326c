//! Joining updates without looking into their content.

use bytes::Bytes;

use super::scan::{Scan, scan_admitted};
use super::write::{DeletesToWrite, Piece, write_update};
use super::{ClockRange, DeleteSet, EMPTY_UPDATE, StateVector};
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

    let mut deleting = parts.iter().filter(|(_, scan)| scan.delete_ranges > 0);
    let Some((first, scan)) = deleting.next() else {
        return write_update(&pieces, &DeletesToWrite::Set(&DeleteSet::default()));
    };
    // Only one of them deletes: its deletions are copied like structs.
    let rest: Vec<(ClientId, ClockRange)> = deleting.flat_map(|(update, scan)| scan.deletes(update)).collect();
    if rest.is_empty() && scan.is_canonical {
        let encoded = DeletesToWrite::Encoded(&first[scan.deletes_at..], scan.delete_ranges);
        return write_update(&pieces, &encoded);
    }
    let mut deletes = DeleteSet::collect(scan.deletes(first));
    deletes.extend(rest);
    write_update(&pieces, &DeletesToWrite::Set(&deletes))
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

#[cfg(test)]
mod tests {
    use super::super::build::{STRING, after, gc, in_root, skip, string, update};
    use super::super::{diff, scan};
    use super::*;
    use crate::limits::Limits;

    fn text(clock: Clock, text: &str) -> Bytes {
        let item =
            if clock == 0 { in_root(STRING, &string(text)) } else { after((1, clock - 1), STRING, &string(text)) };
        update(&[(1, clock, &[item])], &[])
    }

    #[test]
    fn updates_that_follow_on_each_other_are_joined_by_their_bytes() {
        let other = update(&[(300, 0, &[gc(2)])], &[(300, 0, 2), (1, 1, 1)]);
        let merged = merge(&[text(0, "ab"), other, text(2, "c")]);
        let items = [in_root(STRING, &string("ab")), after((1, 1), STRING, &string("c"))];
        assert_eq!(merged, update(&[(300, 0, &[gc(2)]), (1, 0, &items)], &[(300, 0, 2), (1, 1, 1)]));
    }

    #[test]
    fn merging_nothing_is_the_empty_update_and_merging_one_copies_nothing() {
        assert_eq!(merge(&[])[..], EMPTY_UPDATE);
        let one = text(0, "ab");
        assert_eq!(merge(core::slice::from_ref(&one)).as_ptr(), one.as_ptr());
        let none = Bytes::from_static(&EMPTY_UPDATE);
        assert_eq!(merge(&[none.clone(), one.clone(), none]), one);
    }

    #[test]
    fn what_overlaps_is_cut_and_holes_are_declared() {
        let merged = merge(&[text(0, "abc"), text(1, "bcde"), text(1, "b"), text(9, "x")]);
        let items = [
            in_root(STRING, &string("abc")),
            after((1, 2), STRING, &string("de")),
            skip(4),
            after((1, 8), STRING, &string("x")),
        ];
        assert_eq!(merged, update(&[(1, 0, &items)], &[]));
        // And a hole that something else fills is none.
        assert_eq!(
            merge(&[merged, text(5, "fghi")]).len(),
            merge(&[text(0, "abc"), text(3, "de"), text(5, "fghi"), text(9, "x")]).len()
        );
    }

    #[test]
    fn the_scan_of_a_merge_is_that_of_its_bytes() {
        let parts =
            [text(0, "abc"), update(&[(2, 4, &[gc(1), skip(1), gc(3)])], &[(1, 0, 1), (1, 2, 1)]), text(2, "cd")];
        let scans: Vec<Scan> = parts.iter().map(|part| scan_admitted(part)).collect();
        let (bytes, scanned) = merge_scanned(&parts.iter().zip(&scans).collect::<Vec<_>>());
        assert_eq!(scan(&bytes, &Limits::default()), Ok(scanned));
    }

    #[test]
    fn a_diff_cuts_structs_passes_over_clients_and_keeps_deletions() {
        let items = [in_root(STRING, &string("abc")), after((1, 2), STRING, &string("de"))];
        let whole = update(&[(2, 0, &[gc(1)]), (1, 0, &items)], &[(1, 0, 1)]);
        let have = |clocks: &[(ClientId, Clock)]| clocks.iter().copied().collect::<StateVector>();
        let cut = update(&[(1, 1, &[after((1, 0), STRING, &string("bc")), items[1].clone()])], &[(1, 0, 1)]);
        assert_eq!(diff(&whole, &have(&[(1, 1), (2, 1)])), cut);
        assert_eq!(diff(&whole, &have(&[(1, 3), (2, 7)])), update(&[(1, 3, &items[1..])], &[(1, 0, 1)]));
        assert_eq!(diff(&whole, &have(&[(1, 5), (2, 7)])), update(&[], &[(1, 0, 1)]));
        assert_eq!(diff(&whole, &StateVector::default()).as_ptr(), whole.as_ptr(), "a copy was made");
    }
}
