//! Whether bytes are a Yjs update, and which clocks they carry.
//!
//! One pass, linear in the bytes. What it allocates is bounded by the clients that the update names; counts and lengths are
//! held against the bytes that remain before anything is made of them.

use core::ops::Range;

use super::CLOCK_END_MAX;
use super::ranges::ClockRange;
use super::structs::{self, Facts, Kind, STRUCT_BYTES_MIN, read_count};
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
    /// Shared types are created.
    pub has_type: bool,
    /// It carries values that yrs would not give back as they are: BigInt, -0, legacy JSON content, subdocuments, XML
    /// hooks, JSON that serde_json reads differently.
    pub lossy: bool,
    /// It is laid out as Yjs does it: clients and deletions without empty sections, deletions in order.
    pub(super) is_canonical: bool,
    pub(super) deletes_at: usize,
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
    /// Garbage-collected structs are among them.
    pub has_gc: bool,
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
    let mut facts = Facts::default();
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
            let read = structs::read(&mut reader, client, span.end, depth_max, &mut facts)?;
            if let Kind::Skip = read.kind {
                scan.has_skip = true;
                let next = Span::starting_at(client, read.end, reader.pos());
                scan.close(core::mem::replace(&mut span, next), spans_max)?;
            } else {
                span.has_gc |= matches!(read.kind, Kind::Gc);
                span.end = read.end;
                span.structs += 1;
                span.bytes.end = reader.pos();
            }
        }
        scan.close(span, spans_max)?;
    }
    clients.check()?;
    scan.has_type = facts.has_type;
    scan.lossy = facts.lossy;
    scan.deletes_at = reader.pos();
    scan.read_deletes(&mut reader)?;
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
        Span { client, start: clock, end: clock, structs: 0, bytes: at..at, has_gc: false }
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

    fn read_deletes(&mut self, reader: &mut Reader<'_>) -> Result<(), ScanError> {
        let sections = read_count(reader, DELETE_SECTION_BYTES_MIN)?;
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
