//! One struct of an update: reading it, and cutting it.
//!
//! Mirrors `readClientsStructRefs` of `yjs/src/utils/encoding.js` and the `Content*.js` files beside it. Everything that a Yjs
//! client would throw on, or yrs die of, is refused here.

use core::ops::Range;

use super::CLOCK_END_MAX;
use super::content::{Content, TextPart};
use super::scan::ScanError;
use crate::id::{ClientId, Clock};
use crate::json::{self, JsonError};
use crate::lib0::{Lib0Error, Reader, write_var_uint};

pub(super) const INFO_GC: u8 = 0;
pub(super) const INFO_SKIP: u8 = 10;
pub(crate) const CONTENT_MASK: u8 = 0x1f;
pub(crate) const HAS_PARENT_SUB: u8 = 0x20;
pub(crate) const HAS_RIGHT_ORIGIN: u8 = 0x40;
pub(crate) const HAS_ORIGIN: u8 = 0x80;

pub(crate) const CONTENT_DELETED: u8 = 1;
pub(crate) const CONTENT_JSON: u8 = 2;
pub(crate) const CONTENT_BINARY: u8 = 3;
pub(crate) const CONTENT_STRING: u8 = 4;
pub(crate) const CONTENT_EMBED: u8 = 5;
pub(crate) const CONTENT_FORMAT: u8 = 6;
pub(crate) const CONTENT_TYPE: u8 = 7;
pub(crate) const CONTENT_ANY: u8 = 8;
pub(crate) const CONTENT_DOC: u8 = 9;

pub(crate) const TYPE_XML_ELEMENT: u64 = 3;
pub(super) const TYPE_XML_HOOK: u64 = 5;
const TYPE_MAX: u64 = 6;

/// The smallest struct: a GC block and its length.
pub(super) const STRUCT_BYTES_MIN: usize = 2;

/// One clock of one client: what other structs refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) client: ClientId,
    pub(crate) clock: Clock,
}

/// A struct, as far as the guard cares.
#[derive(Clone, Debug)]
pub(crate) struct Struct {
    pub(crate) start: Clock,
    pub(crate) end: Clock,
    /// Where it lies in the update.
    pub(crate) bytes: Range<usize>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Garbage collected: its length is all that is left of it.
    Gc,
    /// A hole.
    Skip,
    Item(Item),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) origin: Option<Id>,
    pub(crate) right_origin: Option<Id>,
    pub(crate) parent: Parent,
    /// It says itself that it is the value of a key. One with a neighbour has the neighbour's key, if any.
    pub(crate) has_key: bool,
    /// Its content is a shared type, to which other items may belong.
    pub(crate) is_type: bool,
    /// Its content is gone, its place is kept.
    pub(crate) is_deleted: bool,
    /// Where its content begins in the update.
    pub(super) content_at: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    /// That of the origin, or else of the right origin.
    OfNeighbour,
    /// A shared type of the document itself.
    Root,
    /// The shared type that is this item's content.
    Of(Id),
}

impl Item {
    /// What must be known before it: nothing else decides where it goes.
    pub(super) fn causes(&self) -> impl Iterator<Item = Id> {
        let parent = match self.parent {
            Parent::Of(id) => Some(id),
            Parent::OfNeighbour | Parent::Root => None,
        };
        self.origin.into_iter().chain(self.right_origin).chain(parent)
    }
}

impl Struct {
    /// Whether its content is a shared type, to which other items may belong.
    pub(super) fn is_type(&self) -> bool {
        matches!(self.kind, Kind::Item(Item { is_type: true, .. }))
    }

    /// Whether it says of itself that it is deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        matches!(self.kind, Kind::Gc | Kind::Item(Item { is_deleted: true, .. }))
    }
}

#[cfg(test)]
thread_local! {
    /// How many structs were read: what takes long is counted, not timed.
    pub(crate) static READS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Reads the struct of `client` that begins at `start`.
///
/// The cost is linear in its bytes, and nothing is allocated but for values nested in values.
pub(super) fn read(
    reader: &mut Reader<'_>,
    client: ClientId,
    start: Clock,
    depth_max: u16,
) -> Result<Struct, ScanError> {
    #[cfg(test)]
    READS.set(READS.get() + 1);
    let at = reader.pos();
    let info = reader.u8()?;
    let (len, kind) = match info {
        INFO_GC => (reader.var_uint()?, Kind::Gc),
        INFO_SKIP => (reader.var_uint()?, Kind::Skip),
        _ => {
            let Header { origin, right_origin, parent, key, .. } =
                read_header(reader, info, Id { client, clock: start })?;
            let content = info & CONTENT_MASK;
            let content_at = reader.pos();
            let len = read_content(reader, content, depth_max)?;
            let (is_type, is_deleted) = (content == CONTENT_TYPE, content == CONTENT_DELETED);
            let has_key = key.is_some();
            (len, Kind::Item(Item { origin, right_origin, parent, has_key, is_type, is_deleted, content_at }))
        }
    };
    if len == 0 {
        return Err(ScanError::EmptyStruct);
    }
    let end = u64::from(start).saturating_add(len);
    if end > CLOCK_END_MAX {
        return Err(ScanError::ClockOverflow);
    }
    Ok(Struct { start, end: end as Clock, bytes: at..reader.pos(), kind })
}

/// Where an item goes, as it says itself: what comes before its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) origin: Option<Id>,
    pub(crate) right_origin: Option<Id>,
    pub(crate) parent: Parent,
    /// The name of the parent when it is a root.
    pub(crate) root: &'a str,
    pub(crate) key: Option<&'a str>,
}

#[inline]
fn read_header<'a>(reader: &mut Reader<'a>, info: u8, own: Id) -> Result<Header<'a>, ScanError> {
    let origin = if info & HAS_ORIGIN != 0 { Some(read_cause(reader, own)?) } else { None };
    let right_origin = if info & HAS_RIGHT_ORIGIN != 0 { Some(read_cause(reader, own)?) } else { None };
    let mut header = Header { origin, right_origin, parent: Parent::OfNeighbour, root: "", key: None };
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        header.parent = match reader.var_uint()? {
            1 => {
                header.root = reader.var_str()?;
                Parent::Root
            }
            0 => Parent::Of(read_cause(reader, own)?),
            _ => return Err(ScanError::Parent),
        };
        if info & HAS_PARENT_SUB != 0 {
            header.key = Some(reader.var_str()?);
        }
    }
    Ok(header)
}

/// The header of `own`, which begins at `at` of a scanned update; `None` when it is no item.
pub(crate) fn header_at(update: &[u8], at: usize, own: Id) -> Option<Header<'_>> {
    let mut reader = Reader::starting_at(update, at);
    match reader.u8().expect("scanned as a struct") {
        INFO_GC | INFO_SKIP => None,
        info => Some(read_header(&mut reader, info, own).expect("scanned as an item")),
    }
}

/// Reads the structs of one span.
pub(crate) struct Walk<'a> {
    reader: Reader<'a>,
    client: ClientId,
    clock: Clock,
}

impl<'a> Walk<'a> {
    pub(crate) fn over(update: &'a [u8], client: ClientId, clock: Clock, bytes: Range<usize>) -> Walk<'a> {
        Walk { reader: Reader::starting_at(&update[..bytes.end], bytes.start), client, clock }
    }

    pub(crate) fn next(&mut self) -> Option<Struct> {
        if self.reader.is_empty() {
            return None;
        }
        let next = read(&mut self.reader, self.client, self.clock, u16::MAX).expect("scanned bytes are an update");
        self.clock = next.end;
        Some(next)
    }
}

/// Reads an id that `own` refers to, which in its own client must lie before it.
fn read_cause(reader: &mut Reader<'_>, own: Id) -> Result<Id, ScanError> {
    let client = reader.var_uint()?;
    let clock = reader.var_uint()?;
    if clock >= CLOCK_END_MAX {
        return Err(ScanError::ClockOverflow);
    }
    let clock = clock as Clock;
    if client == own.client && clock >= own.clock {
        return Err(ScanError::Causality);
    }
    Ok(Id { client, clock })
}

/// Skips one content and returns how many clocks it takes.
fn read_content(reader: &mut Reader<'_>, content: u8, depth_max: u16) -> Result<u64, ScanError> {
    match content {
        CONTENT_DELETED => Ok(reader.var_uint()?),
        CONTENT_JSON => {
            let count = read_count(reader, 1)?;
            for _ in 0..count {
                let text = reader.var_str()?;
                if text != "undefined" {
                    check_json(text, depth_max)?;
                }
            }
            Ok(count)
        }
        CONTENT_BINARY => {
            reader.var_bytes()?;
            Ok(1)
        }
        CONTENT_STRING => Ok(utf16_len(reader.var_str()?)),
        CONTENT_EMBED => {
            check_json(reader.var_str()?, depth_max)?;
            Ok(1)
        }
        CONTENT_FORMAT => {
            reader.var_str()?;
            check_json(reader.var_str()?, depth_max)?;
            Ok(1)
        }
        CONTENT_TYPE => {
            match reader.var_uint()? {
                TYPE_XML_ELEMENT | TYPE_XML_HOOK => {
                    reader.var_str()?;
                }
                other if other <= TYPE_MAX => {}
                other => return Err(ScanError::Type(other)),
            }
            Ok(1)
        }
        CONTENT_ANY => {
            let count = read_count(reader, 1)?;
            for _ in 0..count {
                skip_any(reader, depth_max)?;
            }
            Ok(count)
        }
        CONTENT_DOC => {
            reader.var_str()?;
            skip_any(reader, depth_max)?;
            Ok(1)
        }
        other => Err(ScanError::Content(other)),
    }
}

/// Embeds and formats carry JSON text. A Yjs client parses it while it integrates; one that does not parse would stop every client of
/// the room, so it never gets in.
fn check_json(text: &str, depth_max: u16) -> Result<(), ScanError> {
    json::check(text, depth_max).map_err(|error| match error {
        JsonError::NotJson => ScanError::Json,
        JsonError::TooDeep => ScanError::Depth,
    })
}

/// Reads how many things follow, each of which takes at least `bytes_min`.
pub(super) fn read_count(reader: &mut Reader<'_>, bytes_min: usize) -> Result<u64, ScanError> {
    let count = reader.var_uint()?;
    if count > (reader.remaining() / bytes_min) as u64 { Err(ScanError::Count) } else { Ok(count) }
}

/// Skips one value in lib0's `any` encoding.
///
/// Iterates with a stack of its own: a recursive reader overflows on 6,250 nested arrays, which take 12.5 KB.
fn skip_any(reader: &mut Reader<'_>, depth_max: u16) -> Result<(), ScanError> {
    let mut open: Vec<(u64, bool)> = Vec::new();
    loop {
        let tag = reader.u8()?;
        match tag {
            // undefined, null, false, true
            127 | 126 | 121 | 120 => {}
            125 => {
                reader.var_int()?;
            }
            124 => {
                reader.bytes(4)?;
            }
            // A double, a BigInt
            123 | 122 => {
                reader.bytes(8)?;
            }
            119 => {
                reader.var_str()?;
            }
            118 | 117 => {
                let is_object = tag == 118;
                if open.len() >= usize::from(depth_max) {
                    return Err(ScanError::Depth);
                }
                open.push((read_count(reader, if is_object { 2 } else { 1 })?, is_object));
            }
            116 => {
                reader.var_bytes()?;
            }
            other => return Err(ScanError::Any(other)),
        }
        loop {
            match open.last_mut() {
                None => return Ok(()),
                Some((0, _)) => {
                    open.pop();
                }
                Some((left, is_object)) => {
                    *left -= 1;
                    if *is_object {
                        reader.var_str()?;
                    }
                    break;
                }
            }
        }
    }
}

/// Skips one value of a scanned update.
pub(crate) fn skip_value(reader: &mut Reader<'_>) {
    skip_any(reader, u16::MAX).expect("scanned as a value");
}

/// How many UTF-16 units `text` takes: the clocks of a string count these.
pub(crate) fn utf16_len(text: &str) -> u64 {
    // Every character starts with a byte that is no continuation; those of four bytes take two units. Summed up in bytes that cannot
    // overflow, which a processor does many at a time: a paste is megabytes.
    let units = |part: &[u8]| {
        part.iter().fold(0_u8, |sum, b| sum.wrapping_add(u8::from(b & 0xc0 != 0x80)).wrapping_add(u8::from(*b >= 0xf0)))
    };
    text.as_bytes().chunks(127).map(|part| u64::from(units(part))).sum()
}

/// Appends what is left of a struct from clock `from` on, which lies inside it.
///
/// As `Item.write` with an offset: the rest names the clock before it as origin, so it needs no parent. A surrogate pair
/// that is cut leaves U+FFFD, as in Yjs.
pub(super) fn write_rest(out: &mut Vec<u8>, update: &[u8], client: ClientId, cut: &Struct, from: Clock) {
    debug_assert!(cut.start < from && from < cut.end, "{from} does not cut {cut:?}");
    let (offset, left) = (from - cut.start, cut.end - from);
    let info = update[cut.bytes.start];
    match &cut.kind {
        Kind::Gc | Kind::Skip => {
            out.push(info);
            write_var_uint(out, u64::from(left));
        }
        Kind::Item(item) => {
            let origin = Id { client, clock: from - 1 };
            write_header(out, update, cut, item, Some(origin), info & CONTENT_MASK);
            match cut.content(item, update) {
                Content::String(text) => {
                    let mut rest = TextPart::whole(text);
                    rest.split_off_front(offset);
                    write_text(out, &rest);
                }
                Content::Any(mut values) | Content::Json(mut values) => {
                    values.split_off_front(offset);
                    write_var_uint(out, u64::from(left));
                    out.extend_from_slice(values.bytes);
                }
                Content::Deleted => write_var_uint(out, u64::from(left)),
                other => unreachable!("{other:?} spans one clock and cannot be cut"),
            }
        }
    }
}

/// Appends what comes before the content of an item, or of a part of it that has another origin, for content of another kind.
pub(crate) fn write_header(
    out: &mut Vec<u8>,
    update: &[u8],
    of: &Struct,
    item: &Item,
    other_origin: Option<Id>,
    content: u8,
) {
    let flags = update[of.bytes.start] & !CONTENT_MASK;
    match other_origin {
        None => {
            out.push(flags | content);
            out.extend_from_slice(&update[of.bytes.start + 1..item.content_at]);
        }
        Some(origin) => {
            out.push(flags | HAS_ORIGIN | content);
            write_id(out, origin);
            if let Some(right_origin) = item.right_origin {
                write_id(out, right_origin);
            }
        }
    }
}

/// Appends what stands for `clocks` that are collected.
pub(crate) fn write_gc(out: &mut Vec<u8>, clocks: Clock) {
    out.push(INFO_GC);
    write_var_uint(out, clocks.into());
}

fn write_text(out: &mut Vec<u8>, part: &TextPart<'_>) {
    let pieces = part.pieces();
    write_var_uint(out, pieces.iter().map(|piece| piece.len() as u64).sum());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

pub(crate) fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock));
}

impl From<Lib0Error> for ScanError {
    fn from(error: Lib0Error) -> ScanError {
        ScanError::Lib0(error)
    }
}
