//! Whether bytes are a Yjs update, and which clocks they carry.
//!
//! One pass, linear in the bytes. What it allocates is bounded by the clients that the update names; counts and lengths are
//! held against the bytes that remain before anything is made of them.

use core::ops::Range;

use super::CLOCK_END_MAX;
use super::ranges::ClockRange;
use super::structs::{self, Kind, STRUCT_BYTES_MIN, read_count};
use crate::id::{ClientId, Clock};
use crate::lib0::{Lib0Error, Reader};
use crate::limits::Limits;

/// What an update carries. Describes the bytes that it was made from and is of no use with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Runs of structs without a hole, in the order of the bytes; several of one client only across holes.
    pub spans: Vec<Span>,
    /// Structs, holes not counted.
    pub structs: u32,
    /// Ranges of deletions.
    pub delete_ranges: u32,
    /// Holes are declared in between (Skip structs).
    pub has_skip: bool,
    /// It is laid out as Yjs does it: clients and deletions without empty sections, deletions in order.
    pub(super) is_canonical: bool,
    pub(super) deletes_at: usize,
}

impl Scan {
    /// Bytes held beside itself.
    pub(crate) fn memory(&self) -> usize {
        crate::heap::vec::<Span>(self.spans.capacity())
    }
}

/// Consecutive structs of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose structs they are.
    pub client: ClientId,
    /// The first clock.
    pub start: Clock,
    /// The clock after the last.
    pub end: Clock,
    /// How many structs they are.
    pub structs: u32,
    /// Where they lie in the update.
    pub bytes: Range<usize>,
    /// Structs whose content is gone are among them.
    pub has_deleted: bool,
}

/// Why bytes are not a plausible update or state vector. All of it is garbage that no honest peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A primitive is cut off or out of range.
    #[error("{0}")]
    Lib0(Lib0Error),
    /// More is declared than the bytes can hold.
    #[error("a count exceeds the bytes that follow it")]
    Count,
    /// Something follows the end.
    #[error("bytes follow the end")]
    Trailing,
    /// A struct or a deletion without length.
    #[error("a struct or deletion is empty")]
    EmptyStruct,
    /// Clocks that reach 2^31.
    #[error("clocks reach 2^31")]
    ClockOverflow,
    /// A content reference that Yjs 13 does not know.
    #[error("unknown content {0}")]
    Content(u8),
    /// A shared type that Yjs 13 does not know.
    #[error("unknown shared type {0}")]
    Type(u64),
    /// A value tag that lib0 does not know.
    #[error("unknown value {0}")]
    Any(u8),
    /// A parent that is neither a name nor an id.
    #[error("unknown kind of parent")]
    Parent,
    /// Values nested beyond [`Limits::any_depth_max`].
    #[error("values are nested too deep")]
    Depth,
    /// An embed or format that is not JSON.
    #[error("text is not JSON")]
    Json,
    /// A struct that refers to itself or to later ones of its client.
    #[error("a struct precedes what it refers to")]
    Causality,
    /// Two sections for one client.
    #[error("a client has two sections")]
    DuplicateClient,
    /// More clients or holes than a document may have ([`Limits::document_clients_max`]).
    #[error("too many clients")]
    TooManyClients,
}

/// Scans an update (version 1) from an untrusted peer.
///
/// # Errors
/// [`ScanError`] – not a plausible update: garbage, close the member.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<Scan, ScanError> {
    scan_with(bytes, limits.any_depth_max, limits.document_clients_max)
}

/// Scans bytes that were admitted before, perhaps under other limits.
///
/// # Panics
/// When they are not an update, which admitted bytes are.
pub(crate) fn scan_admitted(bytes: &[u8]) -> Scan {
    scan_with(bytes, u16::MAX, usize::MAX).expect("admitted bytes are an update")
}

fn scan_with(bytes: &[u8], depth_max: u16, spans_max: usize) -> Result<Scan, ScanError> {
    let mut reader = Reader::new(bytes);
    let mut scan = Scan { is_canonical: true, ..Scan::default() };
    let sections = read_count(&mut reader, SECTION_BYTES_MIN)?;
    if sections > spans_max as u64 {
        return Err(ScanError::TooManyClients);
    }
    let mut clients = DistinctClients::default();
    for _ in 0..sections {
        let count = read_count(&mut reader, STRUCT_BYTES_MIN)?;
        let client = reader.var_uint()?;
        clients.push(client, sections);
        scan.is_canonical &= count > 0;
        let mut span = Span::starting_at(client, read_clock(&mut reader)?, reader.pos());
        for _ in 0..count {
            let read = structs::read(&mut reader, client, span.end, depth_max)?;
            if let Kind::Skip = read.kind {
                scan.has_skip = true;
                let next = Span::starting_at(client, read.end, reader.pos());
                scan.close(core::mem::replace(&mut span, next), spans_max)?;
            } else {
                span.has_deleted |= read.is_deleted();
                span.end = read.end;
                span.structs += 1;
                span.bytes.end = reader.pos();
            }
        }
        scan.close(span, spans_max)?;
    }
    clients.check()?;
    scan.deletes_at = reader.pos();
    scan.read_deletes(&mut reader, spans_max)?;
    if reader.is_empty() { Ok(scan) } else { Err(ScanError::Trailing) }
}

/// The smallest section of a client: a count, an id and a number.
const SECTION_BYTES_MIN: usize = 3;

/// The smallest section of a client's deletions: an id and a count.
const DELETE_SECTION_BYTES_MIN: usize = 2;

/// The smallest deletion: a clock and a length.
const DELETE_BYTES_MIN: usize = 2;

fn read_clock(reader: &mut Reader<'_>) -> Result<Clock, ScanError> {
    let clock = reader.var_uint()?;
    if clock > CLOCK_END_MAX { Err(ScanError::ClockOverflow) } else { Ok(clock as Clock) }
}

fn read_delete(reader: &mut Reader<'_>) -> Result<ClockRange, ScanError> {
    let start = read_clock(reader)?;
    let len = reader.var_uint()?;
    let end = u64::from(start).saturating_add(len);
    if len == 0 {
        Err(ScanError::EmptyStruct)
    } else if end > CLOCK_END_MAX {
        Err(ScanError::ClockOverflow)
    } else {
        Ok(ClockRange { start, end: end as Clock })
    }
}

impl Span {
    fn starting_at(client: ClientId, clock: Clock, at: usize) -> Span {
        Span { client, start: clock, end: clock, structs: 0, bytes: at..at, has_deleted: false }
    }
}

impl Scan {
    fn close(&mut self, span: Span, spans_max: usize) -> Result<(), ScanError> {
        if span.structs > 0 {
            if self.spans.len() >= spans_max {
                return Err(ScanError::TooManyClients);
            }
            self.structs += span.structs;
            self.spans.push(span);
        }
        Ok(())
    }

    fn read_deletes(&mut self, reader: &mut Reader<'_>, clients_max: usize) -> Result<(), ScanError> {
        let sections = read_count(reader, DELETE_SECTION_BYTES_MIN)?;
        if sections > clients_max as u64 {
            return Err(ScanError::TooManyClients);
        }
        let mut clients = DistinctClients::default();
        for _ in 0..sections {
            clients.push(reader.var_uint()?, sections);
            let count = read_count(reader, DELETE_BYTES_MIN)?;
            self.is_canonical &= count > 0;
            let mut known_to = 0;
            for _ in 0..count {
                let range = read_delete(reader)?;
                self.is_canonical &= range.start >= known_to;
                known_to = range.end;
                self.delete_ranges += 1;
            }
        }
        clients.check()
    }

    /// The deletions, in the order in which `bytes`, the update that was scanned, gives them.
    #[must_use]
    pub fn deletes<'a>(&self, bytes: &'a [u8]) -> Deletes<'a> {
        let mut reader = Reader::starting_at(bytes, self.deletes_at);
        let sections = reader.var_uint().unwrap_or(0);
        Deletes { reader, sections, ranges: 0, client: 0 }
    }

    /// How many bytes of the update come before its deletions.
    #[must_use]
    pub fn struct_bytes(&self) -> usize {
        self.deletes_at
    }

    /// How many structs and deletions there are to go through.
    pub(super) fn work(&self) -> u32 {
        self.structs.saturating_add(self.delete_ranges)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.delete_ranges == 0
    }
}

/// Iterates over the deletions of a scanned update.
#[derive(Clone, Debug)]
pub struct Deletes<'a> {
    reader: Reader<'a>,
    sections: u64,
    ranges: u64,
    client: ClientId,
}

impl Iterator for Deletes<'_> {
    type Item = (ClientId, ClockRange);

    fn next(&mut self) -> Option<(ClientId, ClockRange)> {
        while self.ranges == 0 {
            self.sections = self.sections.checked_sub(1)?;
            self.client = self.reader.var_uint().ok()?;
            self.ranges = self.reader.var_uint().ok()?;
        }
        self.ranges -= 1;
        Some((self.client, read_delete(&mut self.reader).ok()?))
    }
}

/// Notices a client that comes twice: at a glance while they come in order, as Yjs writes them, else by sorting.
#[derive(Default)]
struct DistinctClients {
    seen: Vec<ClientId>,
}

impl DistinctClients {
    fn push(&mut self, client: ClientId, of: u64) {
        // A single one is distinct, and by far the most common.
        if of > 1 {
            self.seen.push(client);
        }
    }

    fn check(mut self) -> Result<(), ScanError> {
        let is_descending = self.seen.windows(2).all(|pair| pair[0] > pair[1]);
        if !is_descending {
            self.seen.sort_unstable();
            if self.seen.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(ScanError::DuplicateClient);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::{ANY, STRING, after, before, gc, in_root, inside, skip, string, update};
    use super::*;

    fn check(bytes: &[u8]) -> Result<Scan, ScanError> {
        scan(bytes, &Limits::default())
    }

    /// An update of client 1 with one struct.
    fn alone(bytes: Vec<u8>) -> Result<Scan, ScanError> {
        check(&update(&[(1, 5, &[bytes])], &[]))
    }

    #[test]
    fn a_captured_update_of_a_stock_client_is_read() {
        let bytes = [1, 1, 1, 0, 0x28, 1, 1, 0x6d, 1, 0x6b, 1, 0x7d, 1, 0];
        let scan = check(&bytes).expect("as in protocol captures");
        assert_eq!(scan.spans, [Span { client: 1, start: 0, end: 1, structs: 1, bytes: 4..13, has_deleted: false }]);
        assert_eq!((scan.structs, scan.delete_ranges, scan.has_skip), (1, 0, false));
        assert_eq!(check(&[0, 0]), Ok(Scan { is_canonical: true, deletes_at: 1, ..Scan::default() }));
    }

    #[test]
    fn every_content_that_yjs_writes_is_taken_and_counts_its_clocks() {
        for (content, bytes, clocks) in [
            (1, vec![9], 9),
            (2, [vec![3], string("undefined"), string("{\"a\":1}"), string("null")].concat(), 3),
            (3, vec![2, 0xff, 0xfe], 1),
            (4, string("aü€😀"), 5),
            (5, string("{\"image\":\"x\"}"), 1),
            (6, [string("bold"), string("null")].concat(), 1),
            (7, vec![0], 1),
            (7, [vec![3], string("div")].concat(), 1),
            (7, [vec![5], string("hook")].concat(), 1),
            (7, vec![6], 1),
            (8, vec![2, 127, 118, 1, 1, b'k', 117, 2, 126, 119, 1, b'v'], 2),
            (8, vec![5, 120, 121, 124, 0, 0, 0, 0, 123, 0, 0, 0, 0, 0, 0, 0, 0, 116, 1, 9], 5),
            (9, [string("guid"), vec![118, 0]].concat(), 1),
        ] {
            let scan = alone(in_root(content, &bytes)).unwrap_or_else(|error| panic!("content {content}: {error}"));
            assert_eq!(scan.spans[0].end - scan.spans[0].start, clocks, "content {content}");
        }
    }

    /// Hostile input 1: 12.5 KB that overflow the stack of a recursive decoder and abort the process.
    #[test]
    fn values_nested_too_deep_are_refused_before_they_are_decoded() {
        let nested = |depth: usize| {
            let mut value = vec![1];
            (0..depth).for_each(|_| value.extend([117, 1]));
            value.push(126);
            in_root(ANY, &value)
        };
        assert!(alone(nested(64)).is_ok());
        assert_eq!(alone(nested(65)), Err(ScanError::Depth));
        assert_eq!(alone(nested(6_250)), Err(ScanError::Depth));
        let objects: Vec<u8> = [1].into_iter().chain([118, 1, 0].repeat(6_250)).chain([126]).collect();
        assert_eq!(alone(in_root(ANY, &objects)), Err(ScanError::Depth));
        assert_eq!(alone(in_root(5, &string(&"[".repeat(6_250)))), Err(ScanError::Depth));
    }

    /// Hostile input 2 and 5: four bytes that make a decoder allocate half a gigabyte, or loop for a billion structs.
    #[test]
    fn counts_beyond_the_bytes_that_remain_are_refused() {
        let huge = [0xff, 0xff, 0xff, 0x7f];
        assert_eq!(check(&huge), Err(ScanError::Count), "clients");
        assert_eq!(check(&[&[1][..], &huge, &[1, 0, 0, 0]].concat()), Err(ScanError::Count), "structs");
        assert_eq!(check(&[&[0][..], &huge].concat()), Err(ScanError::Count), "clients with deletions");
        assert_eq!(check(&[&[0, 1, 1][..], &huge, &[0, 1]].concat()), Err(ScanError::Count), "deletions");
        assert_eq!(alone(in_root(ANY, &huge)), Err(ScanError::Count), "values");
        assert_eq!(alone(in_root(2, &huge)), Err(ScanError::Count), "JSON values");
        assert_eq!(alone(in_root(ANY, &[&[1, 117][..], &huge].concat())), Err(ScanError::Count), "array elements");
        assert_eq!(alone(in_root(ANY, &[&[1, 118][..], &huge].concat())), Err(ScanError::Count), "object entries");
        assert_eq!(alone(in_root(STRING, &huge)), Err(ScanError::Lib0(Lib0Error::End)), "string bytes");
    }

    /// Hostile input 6.
    #[test]
    fn clocks_and_client_ids_out_of_range_are_refused() {
        let last = (1 << 31) - 2;
        assert!(check(&update(&[(1, last, &[gc(1)])], &[])).is_ok());
        assert_eq!(check(&update(&[(1, last, &[gc(2)])], &[])), Err(ScanError::ClockOverflow));
        assert_eq!(check(&update(&[(1, last, &[gc(1), gc(1)])], &[])), Err(ScanError::ClockOverflow));
        assert_eq!(check(&update(&[(1, 0, &[gc(u32::MAX)])], &[])), Err(ScanError::ClockOverflow));
        assert_eq!(check(&update(&[(1, u32::MAX, &[gc(1)])], &[])), Err(ScanError::ClockOverflow));
        assert_eq!(
            check(&update(&[(1, 0, &[in_root(1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f])])], &[])),
            Err(ScanError::ClockOverflow)
        );
        assert_eq!(check(&[0, 1, 1, 1, 0xfe, 0xff, 0xff, 0xff, 7, 2]), Err(ScanError::ClockOverflow), "deletion");
        assert_eq!(alone(after((2, u32::MAX), STRING, &string("a"))), Err(ScanError::ClockOverflow), "origin");

        let id_max = crate::id::CLIENT_ID_MAX;
        assert!(check(&update(&[(id_max, 0, &[gc(1)])], &[])).is_ok());
        // 2^53
        let beyond = [1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 1, 0];
        assert_eq!(check(&beyond), Err(ScanError::Lib0(Lib0Error::TooLarge)));
    }

    #[test]
    fn what_is_empty_is_refused() {
        for empty in [gc(0), skip(0), in_root(STRING, &[0]), in_root(ANY, &[0]), in_root(1, &[0]), in_root(2, &[0])] {
            assert_eq!(alone(empty), Err(ScanError::EmptyStruct));
        }
        assert_eq!(check(&[0, 1, 1, 1, 3, 0]), Err(ScanError::EmptyStruct), "deletion");
    }

    #[test]
    fn structs_precede_nothing_they_refer_to() {
        assert!(alone(after((1, 4), STRING, &string("a"))).is_ok());
        assert_eq!(alone(after((1, 5), STRING, &string("a"))), Err(ScanError::Causality));
        assert_eq!(alone(before((1, 6), STRING, &string("a"))), Err(ScanError::Causality));
        assert_eq!(alone(inside((1, 5), STRING, &string("a"))), Err(ScanError::Causality));
        assert!(alone(inside((2, 5), STRING, &string("a"))).is_ok());
    }

    #[test]
    fn contents_and_types_that_yjs_13_does_not_know_are_refused() {
        for content in 11..=31 {
            assert_eq!(alone(in_root(content, &[1, 1])), Err(ScanError::Content(content)));
        }
        // GC and Skip carry no flags; with them, implementations disagree on what they are.
        assert_eq!(alone(vec![0x80, 2, 0, 1]), Err(ScanError::Content(0)));
        assert_eq!(alone(in_root(10 | 0x20, &[1, b'k', 1])), Err(ScanError::Content(10)));
        for shared_type in [7, 8, 9, 15, 200] {
            assert_eq!(
                alone(in_root(7, &[shared_type as u8, 1])),
                Err(ScanError::Type(if shared_type == 200 { 200 } else { shared_type }))
            );
        }
        assert_eq!(alone(in_root(ANY, &[1, 115])), Err(ScanError::Any(115)));
        assert_eq!(alone(vec![STRING, 2, 1, b'r', 1, b'a']), Err(ScanError::Parent));
    }

    #[test]
    fn text_must_be_utf8_and_json_must_parse() {
        assert_eq!(alone(in_root(STRING, &[1, 0xff])), Err(ScanError::Lib0(Lib0Error::Utf8)));
        assert_eq!(
            alone(in_root(STRING, &[3, 0xed, 0xa0, 0x80])),
            Err(ScanError::Lib0(Lib0Error::Utf8)),
            "a surrogate"
        );
        assert_eq!(alone(in_root(5, &string("{"))), Err(ScanError::Json));
        assert_eq!(alone(in_root(6, &[string("bold"), string("undefined")].concat())), Err(ScanError::Json));
        assert_eq!(alone(in_root(2, &[vec![1], string("")].concat())), Err(ScanError::Json));
    }

    #[test]
    fn a_client_has_one_section() {
        let one = [gc(1)];
        assert_eq!(check(&update(&[(1, 0, &one), (1, 1, &one)], &[])), Err(ScanError::DuplicateClient));
        assert_eq!(check(&update(&[(1, 0, &one), (2, 1, &one), (1, 1, &one)], &[])), Err(ScanError::DuplicateClient));
        assert!(check(&update(&[(1, 0, &one), (2, 1, &one)], &[])).is_ok(), "any order");
        assert_eq!(check(&[0, 2, 1, 1, 0, 1, 1, 1, 5, 1]), Err(ScanError::DuplicateClient), "deletions");
    }

    /// Hostile input 8 and 8b.
    #[test]
    fn bytes_that_are_cut_off_or_go_on_are_refused() {
        let whole = update(&[(9, 0, &[in_root(STRING, &string("abc")), after((1, 4), ANY, &[1, 126])])], &[(9, 0, 1)]);
        assert!(check(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(check(&[&whole[..], &[0]].concat()), Err(ScanError::Trailing));
        // An empty update of version 2.
        assert!(check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn clients_and_holes_are_bounded() {
        let limits = Limits { document_clients_max: 2, ..Limits::default() };
        let one = [gc(1)];
        assert_eq!(
            scan(&update(&[(3, 0, &one), (2, 0, &one), (1, 0, &one)], &[]), &limits),
            Err(ScanError::TooManyClients)
        );
        let deletes = update(&[], &[(1, 0, 1), (2, 0, 1), (3, 0, 1)]);
        assert_eq!(scan(&deletes, &limits), Err(ScanError::TooManyClients));
        let holes = [gc(1), skip(1), gc(1), skip(1), gc(1)];
        assert_eq!(scan(&update(&[(3, 0, &holes)], &[]), &limits), Err(ScanError::TooManyClients));
    }

    #[test]
    fn a_hole_parts_a_section_into_spans() {
        let scan =
            check(&update(&[(3, 2, &[skip(2), gc(1), gc(2), skip(1), in_root(STRING, &string("ab")), skip(3)])], &[]))
                .expect("as Yjs merges");
        let spans: Vec<_> =
            scan.spans.iter().map(|span| (span.start, span.end, span.structs, span.has_deleted)).collect();
        assert_eq!(spans, [(4, 7, 2, true), (8, 10, 1, false)]);
        assert!(scan.has_skip);
    }

    #[test]
    fn deletions_come_as_the_update_gives_them() {
        let bytes = update(&[], &[(1, 3, 2), (700, 0, 1), (1, 9, 1)]);
        let scan = check(&bytes).expect("an update");
        let deletes: Vec<_> = scan.deletes(&bytes).map(|(client, range)| (client, range.start, range.end)).collect();
        assert_eq!(deletes, [(700, 0, 1), (1, 3, 5), (1, 9, 10)]);
        assert_eq!(scan.delete_ranges, 3);
    }
}
