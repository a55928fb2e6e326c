//! Assembling an update from pieces of others, by copying their struct bytes.

use bytes::Bytes;

use super::scan::{Scan, Span};
use super::structs;
use super::{DeleteSet, is_empty_update};
use crate::id::{ClientId, Clock};
use crate::lib0::{Reader, var_uint_len, write_var_uint};

/// Consecutive structs of one client, to be copied.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    pub(super) client: ClientId,
    pub(super) start: Clock,
    pub(super) end: Clock,
    pub(super) structs: u32,
    pub(super) has_deleted: bool,
    /// The first struct, when its beginning was cut off.
    head: Vec<u8>,
    /// The whole structs after it, in `update`.
    body: core::ops::Range<usize>,
    update: &'a [u8],
}

impl<'a> Piece<'a> {
    /// All structs of `span` of `update`.
    pub(super) fn whole(update: &'a [u8], span: &Span) -> Piece<'a> {
        Piece {
            client: span.client,
            start: span.start,
            end: span.end,
            structs: span.structs,
            has_deleted: span.has_deleted,
            head: Vec::new(),
            body: span.bytes.clone(),
            update,
        }
    }

    /// Cuts off what lies before `from`, which is before the piece's end.
    pub(super) fn trim(&mut self, from: Clock) {
        if from <= self.start {
            return;
        }
        debug_assert!(from < self.end, "nothing of {self:?} lies beyond {from}");
        debug_assert!(self.head.is_empty(), "{self:?} was cut before");
        let mut reader = Reader::starting_at(&self.update[..self.body.end], self.body.start);
        let mut at = self.start;
        while at < from {
            let read = structs::read(&mut reader, self.client, at, u16::MAX).expect("admitted bytes are an update");
            at = read.end;
            if read.end > from {
                structs::write_rest(&mut self.head, self.update, self.client, &read, from);
            } else {
                self.structs -= 1;
            }
        }
        self.start = from;
        self.body.start = reader.pos();
    }
}

/// The deletions of an update that is being assembled.
pub(super) enum DeletesToWrite<'a> {
    /// Deletions that stand encoded somewhere already, and how many ranges they are.
    Encoded(&'a [u8], u32),
    Set(&'a DeleteSet),
}

/// Writes `pieces` – clients descending, clocks ascending, none overlapping – and the deletions as one update.
///
/// Between pieces of one client that do not touch, a Skip struct declares the hole.
pub(super) fn write_update(pieces: &[Piece<'_>], deletes: &DeletesToWrite<'_>) -> (Bytes, Scan) {
    /// Count, client and clock of a section, or info and length of a Skip struct, at most.
    const HEADER_BYTES_MAX: usize = 8 + 8 + 5;
    let body_bytes: usize = pieces.iter().map(|piece| piece.head.len() + piece.body.len() + HEADER_BYTES_MAX).sum();
    let deletes_bytes = match deletes {
        DeletesToWrite::Encoded(bytes, _) => bytes.len(),
        DeletesToWrite::Set(set) => set.range_count() * HEADER_BYTES_MAX,
    };
    let mut out = Vec::with_capacity(body_bytes + deletes_bytes + var_uint_len(pieces.len() as u64) + 1);
    let mut scan = Scan { is_canonical: true, ..Scan::default() };

    let sections = pieces.chunk_by(|one, next| one.client == next.client);
    write_var_uint(&mut out, sections.clone().count() as u64);
    for section in sections {
        let holes = section.windows(2).filter(|pair| pair[0].end < pair[1].start).count() as u64;
        let structs: u64 = section.iter().map(|piece| u64::from(piece.structs)).sum();
        write_var_uint(&mut out, structs + holes);
        write_var_uint(&mut out, section[0].client);
        write_var_uint(&mut out, u64::from(section[0].start));
        let mut known_to = section[0].start;
        for piece in section {
            if piece.start > known_to {
                out.push(structs::INFO_SKIP);
                write_var_uint(&mut out, u64::from(piece.start - known_to));
                scan.has_skip = true;
            }
            let at = out.len();
            out.extend_from_slice(&piece.head);
            out.extend_from_slice(&piece.update[piece.body.clone()]);
            known_to = piece.end;
            scan.structs += piece.structs;
            match scan.spans.last_mut() {
                Some(last) if last.client == piece.client && last.end == piece.start => {
                    last.end = piece.end;
                    last.structs += piece.structs;
                    last.bytes.end = out.len();
                    last.has_deleted |= piece.has_deleted;
                }
                _ => scan.spans.push(Span {
                    client: piece.client,
                    start: piece.start,
                    end: piece.end,
                    structs: piece.structs,
                    bytes: at..out.len(),
                    has_deleted: piece.has_deleted,
                }),
            }
        }
    }
    scan.deletes_at = out.len();
    match deletes {
        DeletesToWrite::Encoded(bytes, ranges) => {
            out.extend_from_slice(bytes);
            scan.delete_ranges = *ranges;
        }
        DeletesToWrite::Set(set) => {
            set.encode_into(&mut out);
            scan.delete_ranges = set.range_count() as u32;
        }
    }
    debug_assert!(is_empty_update(&out) == scan.is_empty(), "{out:?} is {scan:?}");
    (Bytes::from(out), scan)
}
