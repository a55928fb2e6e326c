//! One struct of an update: reading it, and cutting off its beginning.
//!
//! Mirrors `readClientsStructRefs` of `yjs/src/utils/encoding.js` and the `Content*.js` files beside it. Everything that a Yjs
//! client would throw on, or yrs die of, is refused here.

use core::ops::Range;

use super::scan::ScanError;
use super::{CLOCK_END_MAX, json};
use crate::id::{ClientId, Clock};
use crate::lib0::{Lib0Error, Reader, write_var_bytes, write_var_uint};

const INFO_GC: u8 = 0;
pub(super) const INFO_SKIP: u8 = 10;
const CONTENT_MASK: u8 = 0x1f;
const HAS_PARENT_SUB: u8 = 0x20;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;

const CONTENT_DELETED: u8 = 1;
const CONTENT_JSON: u8 = 2;
const CONTENT_BINARY: u8 = 3;
const CONTENT_STRING: u8 = 4;
const CONTENT_EMBED: u8 = 5;
const CONTENT_FORMAT: u8 = 6;
const CONTENT_TYPE: u8 = 7;
const CONTENT_ANY: u8 = 8;
const CONTENT_DOC: u8 = 9;

const TYPE_XML_ELEMENT: u64 = 3;
const TYPE_XML_HOOK: u64 = 5;
const TYPE_MAX: u64 = 6;

/// The smallest struct: a GC block and its length.
pub(super) const STRUCT_BYTES_MIN: usize = 2;

/// One clock of one client: what other structs refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) client: ClientId,
    pub(super) clock: Clock,
}

/// A struct, as far as the guard cares.
#[derive(Clone, Debug)]
pub(super) struct Struct {
    pub(super) start: Clock,
    pub(super) end: Clock,
    /// Where it lies in the update.
    pub(super) bytes: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Garbage collected: its length is all that is left of it.
    Gc,
    /// A hole.
    Skip,
    Item(Item),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) origin: Option<Id>,
    pub(super) right_origin: Option<Id>,
    pub(super) parent: Parent,
    /// It says itself that it is the value of a key. One with a neighbour has the neighbour's key, if any.
    pub(super) has_key: bool,
    /// Its content is a shared type, to which other items may belong.
    pub(super) is_type: bool,
    /// Its content is gone, its place is kept.
    pub(super) is_deleted: bool,
    /// Where its content begins in the update.
    content_at: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Parent {
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
    pub(super) fn is_deleted(&self) -> bool {
        matches!(self.kind, Kind::Gc | Kind::Item(Item { is_deleted: true, .. }))
    }
}

/// What scanning found beside clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) lossy: bool,
}

/// Reads the struct of `client` that begins at `start`.
///
/// The cost is linear in its bytes, and nothing is allocated but for values nested in values.
pub(super) fn read(
    reader: &mut Reader<'_>,
    client: ClientId,
    start: Clock,
    depth_max: u16,
    facts: &mut Facts,
) -> Result<Struct, ScanError> {
    let at = reader.pos();
    let info = reader.u8()?;
    let (len, kind) = match info {
        INFO_GC => (reader.var_uint()?, Kind::Gc),
        INFO_SKIP => (reader.var_uint()?, Kind::Skip),
        _ => {
            let own = Id { client, clock: start };
            let origin = if info & HAS_ORIGIN != 0 { Some(read_cause(reader, own)?) } else { None };
            let right_origin = if info & HAS_RIGHT_ORIGIN != 0 { Some(read_cause(reader, own)?) } else { None };
            let mut parent = Parent::OfNeighbour;
            let mut has_key = false;
            if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
                parent = match reader.var_uint()? {
                    1 => {
                        reader.var_str()?;
                        Parent::Root
                    }
                    0 => Parent::Of(read_cause(reader, own)?),
                    _ => return Err(ScanError::Parent),
                };
                has_key = info & HAS_PARENT_SUB != 0;
                if has_key {
                    reader.var_str()?;
                }
            }
            let content = info & CONTENT_MASK;
            let content_at = reader.pos();
            let len = read_content(reader, content, depth_max, facts)?;
            let (is_type, is_deleted) = (content == CONTENT_TYPE, content == CONTENT_DELETED);
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

/// Reads the structs of one span.
pub(super) struct Walk<'a> {
    reader: Reader<'a>,
    client: ClientId,
    clock: Clock,
}

impl<'a> Walk<'a> {
    pub(super) fn over(update: &'a [u8], client: ClientId, clock: Clock, bytes: Range<usize>) -> Walk<'a> {
        Walk { reader: Reader::starting_at(&update[..bytes.end], bytes.start), client, clock }
    }

    pub(super) fn next(&mut self) -> Option<Struct> {
        if self.reader.is_empty() {
            return None;
        }
        let next = read(&mut self.reader, self.client, self.clock, u16::MAX, &mut Facts::default())
            .expect("scanned bytes are an update");
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
fn read_content(reader: &mut Reader<'_>, content: u8, depth_max: u16, facts: &mut Facts) -> Result<u64, ScanError> {
    match content {
        CONTENT_DELETED => Ok(reader.var_uint()?),
        CONTENT_JSON => {
            facts.lossy = true;
            let count = read_count(reader, 1)?;
            for _ in 0..count {
                let text = reader.var_str()?;
                if text != "undefined" {
                    json::check(text, depth_max)?;
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
            facts.lossy |= !json::check(reader.var_str()?, depth_max)?;
            Ok(1)
        }
        CONTENT_FORMAT => {
            reader.var_str()?;
            facts.lossy |= !json::check(reader.var_str()?, depth_max)?;
            Ok(1)
        }
        CONTENT_TYPE => {
            match reader.var_uint()? {
                TYPE_XML_ELEMENT => {
                    reader.var_str()?;
                }
                TYPE_XML_HOOK => {
                    reader.var_str()?;
                    // yrs does not read the hook's name and takes it for the next struct.
                    facts.lossy = true;
                }
                other if other <= TYPE_MAX => {}
                other => return Err(ScanError::Type(other)),
            }
            Ok(1)
        }
        CONTENT_ANY => {
            let count = read_count(reader, 1)?;
            for _ in 0..count {
                skip_any(reader, depth_max, facts)?;
            }
            Ok(count)
        }
        CONTENT_DOC => {
            // yrs keeps only the options that it knows.
            facts.lossy = true;
            reader.var_str()?;
            skip_any(reader, depth_max, facts)?;
            Ok(1)
        }
        other => Err(ScanError::Content(other)),
    }
}

/// Reads how many things follow, each of which takes at least `bytes_min`.
pub(super) fn read_count(reader: &mut Reader<'_>, bytes_min: usize) -> Result<u64, ScanError> {
    let count = reader.var_uint()?;
    if count > (reader.remaining() / bytes_min) as u64 { Err(ScanError::Count) } else { Ok(count) }
}

/// Skips one value in lib0's `any` encoding.
///
/// Iterates with a stack of its own: a recursive reader overflows on 6,250 nested arrays, which take 12.5 KB.
fn skip_any(reader: &mut Reader<'_>, depth_max: u16, facts: &mut Facts) -> Result<(), ScanError> {
    let mut open: Vec<(u64, bool)> = Vec::new();
    loop {
        let tag = reader.u8()?;
        match tag {
            // undefined, null, false, true
            127 | 126 | 121 | 120 => {}
            125 => {
                let at_sign = reader.clone().u8()?;
                // JavaScript has a negative zero, yrs' integers have not.
                facts.lossy |= reader.var_int()? == 0 && at_sign & 0x40 != 0;
            }
            124 => {
                reader.bytes(4)?;
            }
            123 => {
                reader.bytes(8)?;
            }
            122 => {
                reader.bytes(8)?;
                // A BigInt comes back from yrs as a number.
                facts.lossy = true;
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

/// How many UTF-16 units `text` takes: the clocks of a string count these.
fn utf16_len(text: &str) -> u64 {
    // Every character starts with a byte that is no continuation; those of four bytes take two units.
    text.bytes().map(|b| u64::from(b & 0xc0 != 0x80) + u64::from(b >= 0xf0)).sum()
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
            out.push(info | HAS_ORIGIN);
            write_id(out, Id { client, clock: from - 1 });
            if let Some(right_origin) = item.right_origin {
                write_id(out, right_origin);
            }
            let mut reader = Reader::starting_at(&update[..cut.bytes.end], item.content_at);
            match info & CONTENT_MASK {
                CONTENT_STRING => {
                    let text = reader.var_str().expect("scanned as a string");
                    write_string_rest(out, text, offset);
                }
                CONTENT_ANY | CONTENT_JSON => {
                    reader.var_uint().expect("scanned as a count");
                    write_var_uint(out, u64::from(left));
                    for _ in 0..offset {
                        if info & CONTENT_MASK == CONTENT_ANY {
                            skip_any(&mut reader, u16::MAX, &mut Facts::default()).expect("scanned as a value");
                        } else {
                            reader.var_bytes().expect("scanned as a string");
                        }
                    }
                    out.extend_from_slice(&update[reader.pos()..cut.bytes.end]);
                }
                CONTENT_DELETED => write_var_uint(out, u64::from(left)),
                other => unreachable!("content {other} spans one clock and cannot be cut"),
            }
        }
    }
}

fn write_string_rest(out: &mut Vec<u8>, text: &str, offset: Clock) {
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units == u64::from(offset) {
            return write_var_bytes(out, &text.as_bytes()[at..]);
        }
        units += c.len_utf16() as u64;
        if units > u64::from(offset) {
            let rest = &text[at + c.len_utf8()..];
            write_var_uint(out, (rest.len() + '\u{fffd}'.len_utf8()) as u64);
            out.extend_from_slice("\u{fffd}".as_bytes());
            out.extend_from_slice(rest.as_bytes());
            return;
        }
    }
    unreachable!("the cut lies inside the string");
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock));
}

impl From<Lib0Error> for ScanError {
    fn from(error: Lib0Error) -> ScanError {
        ScanError::Lib0(error)
    }
}
