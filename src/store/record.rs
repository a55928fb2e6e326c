//! How one record looks on disk and in Redis: version, kind, checksum, fields.
//!
//! ```text
//! byte 0       version, 1
//! byte 1       kind: 1 log entry, 2 snapshot, 3 head, 4 name, 5 refused content,
//!              6 record of the catalog, 7 base, 8 segment, 9 description of a version, 16 lives of a name
//! bytes 2..6   CRC-32 (IEEE, little endian) of bytes 0, 1 and all that follow
//! bytes 6..    the fields in bincode 2 standard encoding (varint integers, length-prefixed bytes)
//! ```
//!
//! A record whose checksum does not match is damaged; one with an unknown version is from a later ydash. The two are never
//! confused: the version is looked at first, and a bit flipped there reads as a later version, which refuses the load and
//! loses nothing.

use std::borrow::Cow;
use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Lives;
use ydash_proto::time::Timestamp;
use ydash_proto::version::VersionId;

use super::past::{Base, Digest, Segment};
use super::versions::{VersionInfo, Why};
use super::{LogEntry, LogPosition, RECORD_BYTES_MAX, SetAside, Source, StoreError};
use crate::compress::{deflate, inflate};

const VERSION: u8 = 1;
const HEADER_LEN: usize = 6;

/// States above this are deflated. Below, what deflating saves is less than what a disk block holds anyway.
const COMPRESS_ABOVE_BYTES: usize = 10 << 10;

/// Most of what deflate can save on Yjs states, at a third of level 6's time.
const COMPRESSION_LEVEL: u32 = 3;

/// How a state is kept within its record.
const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Written by a later ydash.
    #[error("format {0} is not known")]
    LaterFormat(u8),
    /// Not what was written.
    #[error("{0}")]
    Damaged(&'static str),
}

impl RecordError {
    /// What refuses the whole operation. Damage concerns only its record, but where that is all there is, it is reported so.
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            RecordError::LaterFormat(version) => StoreError::LaterFormat { version, known: VERSION },
            damaged => StoreError::unavailable("read a record", damaged),
        }
    }
}

/// What is known of a dashboard besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) struct Head {
    /// Stands for the dashboard in the keys of its log; 0 if none was given out.
    pub(super) number: u64,
    /// What the snapshot covers; `None` without one.
    pub(super) covers: Option<u64>,
    /// Log entries at or before it are trimmed, whether or not they are still there.
    pub(super) trimmed_to: u64,
    /// Log entries at or before it are physically gone.
    pub(super) swept_to: u64,
    /// Whether the dashboard was removed and only waits for its log to be swept.
    pub(super) is_removed: bool,
    /// The position of the base; `None` in a dashboard of an earlier ydash, whose base is its snapshot.
    pub(super) base: Option<u64>,
    /// The size of the sealed segments ([`SegmentInfo::counts`](super::past::SegmentInfo)).
    pub(super) history: u64,
    /// Whether the base has a record. Without one it is the empty document.
    pub(super) has_base: bool,
}

impl Head {
    /// The position of the base.
    pub(super) fn stands_at(&self) -> u64 {
        self.base.or(self.covers).unwrap_or(self.trimmed_to)
    }
}

/// A head as it was before there were bases.
#[derive(Encode, BorrowDecode)]
struct UnfoundedHead {
    number: u64,
    covers: Option<u64>,
    trimmed_to: u64,
    swept_to: u64,
    is_removed: bool,
    /// Bytes of the log that the snapshot covered.
    _history: Option<u64>,
}

/// A head as it was when nobody counted history.
#[derive(Encode, BorrowDecode)]
struct UncountedHead {
    number: u64,
    covers: Option<u64>,
    trimmed_to: u64,
    swept_to: u64,
    is_removed: bool,
}

/// The fields of a base, whose body is its state, and of a segment, whose body is a [`SegmentBody`].
#[derive(Encode, BorrowDecode)]
struct PastFields<'a> {
    /// The position of the state.
    position: u128,
    /// Of the segment before; empty without one.
    previous: &'a [u8],
    encoding: u8,
    /// The length of the body before deflating.
    len: u64,
    body: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct SegmentBody<'a> {
    state: &'a [u8],
    /// Each once.
    authors: Vec<&'a str>,
    entries: Vec<SegmentEntry<'a>>,
}

/// An entry within a segment: as short as can be, because there are many.
#[derive(Encode, BorrowDecode)]
struct SegmentEntry<'a> {
    /// Beyond the entry before, or where the segment begins.
    position: u128,
    /// Beyond the entry before, in milliseconds.
    at: i64,
    /// 0 for none, else one more than its place among the authors.
    author: u32,
    session: u64,
    source: u8,
    update: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct EntryFields<'a> {
    at: u64,
    author: Option<&'a str>,
    session: u64,
    source: u8,
    update: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct SnapshotFields<'a> {
    covers: u128,
    encoding: u8,
    /// Its length before deflating.
    len: u64,
    state: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct RefusedFields<'a> {
    at: u64,
    author: Option<&'a str>,
    session: u64,
    why: &'a str,
    update: &'a [u8],
}

/// The fields of the description of a version. Its state is in the record of a snapshot.
#[derive(Encode, BorrowDecode)]
struct VersionFields<'a> {
    id: u64,
    position: Option<u128>,
    at: u64,
    name: &'a str,
    note: &'a str,
    author: Option<&'a str>,
    why: u8,
    bytes: u64,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Entry = 1,
    Snapshot = 2,
    Head = 3,
    Name = 4,
    Refused = 5,
    // 6 is a record of the catalog.
    Base = 7,
    Segment = 8,
    Version = 9,
    Lives = 16,
}

/// Encodes a log entry.
pub(super) fn encode_entry(entry: &LogEntry) -> Result<Vec<u8>, StoreError> {
    check_len(entry.update.len())?;
    let fields = EntryFields {
        at: entry.at.0,
        author: entry.author.as_deref(),
        session: entry.session,
        source: source_number(entry.source),
        update: &entry.update,
    };
    Ok(seal(Kind::Entry, fields, entry.update.len() + entry.author.as_deref().map_or(0, str::len)))
}

/// Decodes a log entry.
pub(super) fn decode_entry(record: &[u8]) -> Result<LogEntry, RecordError> {
    let fields: EntryFields<'_> = open(Kind::Entry, record)?;
    Ok(LogEntry {
        at: Timestamp(fields.at),
        author: fields.author.map(Arc::from),
        session: fields.session,
        source: source_from(fields.source)?,
        update: Bytes::copy_from_slice(fields.update),
    })
}

/// Decodes only the update of a log entry, which is all that a load needs.
pub(super) fn decode_entry_update(record: &[u8]) -> Result<Bytes, RecordError> {
    open::<EntryFields<'_>>(Kind::Entry, record).map(|fields| Bytes::copy_from_slice(fields.update))
}

/// Decodes only the time of a log entry.
pub(super) fn decode_entry_at(record: &[u8]) -> Result<Timestamp, RecordError> {
    open::<EntryFields<'_>>(Kind::Entry, record).map(|fields| Timestamp(fields.at))
}

/// Deflates what is long, if that pays: how it is encoded, and the bytes.
fn shorten(plain: &[u8]) -> (u8, Cow<'_, [u8]>) {
    if plain.len() > COMPRESS_ABOVE_BYTES {
        let deflated = deflate(plain, COMPRESSION_LEVEL);
        if deflated.len() < plain.len() {
            return (DEFLATED, Cow::Owned(deflated));
        }
    }
    (PLAIN, Cow::Borrowed(plain))
}

/// Inflates what [`shorten`] has deflated.
fn lengthen(encoding: u8, len: u64, bytes: &[u8]) -> Result<Bytes, RecordError> {
    let len = usize::try_from(len).ok().filter(|len| *len <= RECORD_BYTES_MAX);
    let len = len.ok_or(RecordError::Damaged("implausible length of a state"))?;
    Ok(match encoding {
        PLAIN if bytes.len() == len => Bytes::copy_from_slice(bytes),
        DEFLATED => inflate(bytes, len).map_err(|_| RecordError::Damaged("state does not inflate"))?.into(),
        _ => return Err(RecordError::Damaged("unknown encoding of a state")),
    })
}

/// Encodes a snapshot that [`check_len`] has let through, deflated if that pays.
pub(super) fn encode_snapshot(covers: LogPosition, state: &[u8]) -> Vec<u8> {
    let (encoding, stored) = shorten(state);
    let fields = SnapshotFields { covers: covers.0, encoding, len: state.len() as u64, state: &stored };
    seal(Kind::Snapshot, fields, stored.len())
}

/// Decodes a snapshot: what it covers, and the state.
pub(super) fn decode_snapshot(record: &[u8]) -> Result<(LogPosition, Bytes), RecordError> {
    let fields: SnapshotFields<'_> = open(Kind::Snapshot, record)?;
    Ok((LogPosition(fields.covers), lengthen(fields.encoding, fields.len, fields.state)?))
}

/// Encodes a base.
pub(super) fn encode_base(base: &Base) -> Vec<u8> {
    encode_past(Kind::Base, base.position, &base.previous, &base.state)
}

/// Decodes a base. The record of a snapshot is a base as well, with nothing before it.
pub(super) fn decode_base(record: &[u8]) -> Result<Base, RecordError> {
    if record.get(1) == Some(&(Kind::Snapshot as u8)) {
        return decode_snapshot(record).map(|(covers, state)| Base { state, ..Base::empty(covers) });
    }
    let (position, previous, state) = decode_past(Kind::Base, record)?;
    Ok(Base { state, previous, ..Base::empty(position) })
}

fn encode_past(kind: Kind, position: LogPosition, previous: &Digest, body: &[u8]) -> Vec<u8> {
    let (encoding, stored) = shorten(body);
    let previous = digest_bytes(previous);
    let fields = PastFields { position: position.0, previous, encoding, len: body.len() as u64, body: &stored };
    seal(kind, fields, stored.len() + previous.len())
}

fn decode_past(kind: Kind, record: &[u8]) -> Result<(LogPosition, Digest, Bytes), RecordError> {
    let fields: PastFields<'_> = open(kind, record)?;
    let body = lengthen(fields.encoding, fields.len, fields.body)?;
    Ok((LogPosition(fields.position), digest_from(fields.previous)?, body))
}

/// Reads a base as far as its checksum tells, without inflating it.
pub(super) fn verify_base(record: &[u8]) -> Result<(), RecordError> {
    if record.get(1) == Some(&(Kind::Snapshot as u8)) {
        return decode_snapshot_covers(record).map(drop);
    }
    open::<PastFields<'_>>(Kind::Base, record).map(drop)
}

/// Encodes a segment.
pub(super) fn encode_segment(segment: &Segment) -> Vec<u8> {
    let mut authors: Vec<&str> = Vec::new();
    let mut numbers = std::collections::HashMap::new();
    let (mut position, mut at) = (segment.from.0, 0u64);
    let mut entries = Vec::with_capacity(segment.entries.len());
    for (place, entry) in &segment.entries {
        let author = entry.author.as_deref().map_or(0, |author| {
            *numbers.entry(author).or_insert_with(|| {
                authors.push(author);
                authors.len() as u32
            })
        });
        entries.push(SegmentEntry {
            position: place.0.wrapping_sub(position),
            at: entry.at.0.wrapping_sub(at) as i64,
            author,
            session: entry.session,
            source: source_number(entry.source),
            update: &entry.update,
        });
        (position, at) = (place.0, entry.at.0);
    }
    let body = SegmentBody { state: &segment.state, authors, entries };
    let body = bincode::encode_to_vec(body, bincode::config::standard())
        .expect("fields are plain integers, text and bytes, and a Vec takes them all");
    encode_past(Kind::Segment, segment.from, &segment.previous, &body)
}

/// Decodes a segment.
pub(super) fn decode_segment(record: &[u8]) -> Result<Segment, RecordError> {
    let (from, previous, body) = decode_past(Kind::Segment, record)?;
    let config = bincode::config::standard().with_limit::<{ RECORD_BYTES_MAX + 4096 }>();
    let body: SegmentBody<'_> = match bincode::borrow_decode_from_slice(&body, config) {
        Ok((decoded, used)) if used == body.len() => decoded,
        _ => return Err(RecordError::Damaged("segment does not decode")),
    };
    let authors: Vec<Arc<str>> = body.authors.into_iter().map(Arc::from).collect();
    let (mut position, mut at) = (from.0, 0u64);
    let mut entries = Vec::with_capacity(body.entries.len());
    for entry in body.entries {
        position = position.wrapping_add(entry.position);
        at = at.wrapping_add(entry.at as u64);
        let author = match entry.author.checked_sub(1) {
            None => None,
            Some(at) => Some(authors.get(at as usize).ok_or(RecordError::Damaged("unknown author in a segment"))?),
        };
        entries.push((
            LogPosition(position),
            LogEntry {
                at: Timestamp(at),
                author: author.cloned(),
                session: entry.session,
                source: source_from(entry.source)?,
                update: Bytes::copy_from_slice(entry.update),
            },
        ));
    }
    Ok(Segment { from, state: Bytes::copy_from_slice(body.state), previous, entries })
}

/// Whether a record is one of a segment and was not changed, without inflating it.
pub(super) fn verify_segment(record: &[u8]) -> Result<(), RecordError> {
    open::<PastFields<'_>>(Kind::Segment, record).map(drop)
}

fn digest_bytes(digest: &Digest) -> &[u8] {
    if *digest == Digest::default() { &[] } else { &digest.0 }
}

fn digest_from(bytes: &[u8]) -> Result<Digest, RecordError> {
    match bytes {
        [] => Ok(Digest::default()),
        _ => bytes.try_into().map(Digest).map_err(|_| RecordError::Damaged("not a SHA-256")),
    }
}

/// Reads what a snapshot covers without inflating it; its checksum is verified.
pub(super) fn decode_snapshot_covers(record: &[u8]) -> Result<LogPosition, RecordError> {
    open::<SnapshotFields<'_>>(Kind::Snapshot, record).map(|fields| LogPosition(fields.covers))
}

/// Encodes a head.
pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    seal(Kind::Head, head, 0)
}

/// Decodes a head.
pub(super) fn decode_head(record: &[u8]) -> Result<Head, RecordError> {
    let earlier = |error: RecordError| -> Result<Head, RecordError> {
        let head = |number, covers, trimmed_to, swept_to, is_removed| {
            Ok(Head { number, covers, trimmed_to, swept_to, is_removed, ..Head::default() })
        };
        if let Ok(UnfoundedHead { number, covers, trimmed_to, swept_to, is_removed, .. }) = open(Kind::Head, record) {
            return head(number, covers, trimmed_to, swept_to, is_removed);
        }
        let UncountedHead { number, covers, trimmed_to, swept_to, is_removed } =
            open(Kind::Head, record).map_err(|_| error)?;
        head(number, covers, trimmed_to, swept_to, is_removed)
    };
    open(Kind::Head, record).or_else(earlier)
}

/// Encodes a head as it was before there were bases.
#[cfg(test)]
pub(super) fn encode_unfounded_head(head: &Head) -> Vec<u8> {
    let Head { number, covers, trimmed_to, swept_to, is_removed, .. } = *head;
    seal(Kind::Head, UnfoundedHead { number, covers, trimmed_to, swept_to, is_removed, _history: Some(100) }, 0)
}

/// Encodes the name that belongs to a log.
pub(super) fn encode_name(id: &DashboardId) -> Vec<u8> {
    seal(Kind::Name, id.as_str(), id.as_str().len())
}

/// Decodes the name that belongs to a log.
pub(super) fn decode_name(record: &[u8]) -> Result<DashboardId, RecordError> {
    let name: &str = open(Kind::Name, record)?;
    DashboardId::stored(name).map_err(|_| RecordError::Damaged("not a dashboard's name"))
}

/// Encodes what is known of the lives of a name.
pub(super) fn encode_lives(lives: &Lives) -> Vec<u8> {
    let bytes = lives.encode();
    seal(Kind::Lives, bytes.as_slice(), bytes.len())
}

/// Decodes what is known of the lives of a name.
pub(super) fn decode_lives(record: &[u8]) -> Result<Lives, RecordError> {
    let bytes: &[u8] = open(Kind::Lives, record)?;
    Lives::decode(bytes).ok_or(RecordError::Damaged("no lives of a name"))
}

/// Encodes the description of a version.
pub(super) fn encode_version(info: &VersionInfo) -> Vec<u8> {
    let fields = VersionFields {
        id: info.id.0,
        position: info.position.map(|position| position.0),
        at: info.at.0,
        name: &info.name,
        note: &info.note,
        author: info.author.as_deref(),
        why: match info.why {
            Why::Named => 1,
            Why::BeforeEdit => 2,
            Why::BeforeReset => 3,
            Why::BeforeImport => 4,
        },
        bytes: info.bytes,
    };
    seal(Kind::Version, fields, info.name.len() + info.note.len() + info.author.as_deref().map_or(0, str::len))
}

/// Decodes the description of a version.
pub(super) fn decode_version(record: &[u8]) -> Result<VersionInfo, RecordError> {
    let fields: VersionFields<'_> = open(Kind::Version, record)?;
    Ok(VersionInfo {
        id: VersionId(fields.id),
        position: fields.position.map(LogPosition),
        at: Timestamp(fields.at),
        name: fields.name.to_owned(),
        note: fields.note.to_owned(),
        author: fields.author.map(Arc::from),
        why: match fields.why {
            1 => Why::Named,
            2 => Why::BeforeEdit,
            3 => Why::BeforeReset,
            4 => Why::BeforeImport,
            _ => return Err(RecordError::Damaged("unknown reason of a version")),
        },
        bytes: fields.bytes,
    })
}

/// Encodes content that a room refused.
pub(super) fn encode_refused(refused: &SetAside) -> Vec<u8> {
    let fields = RefusedFields {
        at: refused.at.0,
        author: refused.author.as_deref(),
        session: refused.session,
        why: &refused.why,
        update: &refused.update,
    };
    let text = refused.why.len() + refused.author.as_deref().map_or(0, str::len);
    seal(Kind::Refused, fields, refused.update.len() + text)
}

/// Decodes content that a room refused.
pub(super) fn decode_refused(record: &[u8]) -> Result<SetAside, RecordError> {
    let fields: RefusedFields<'_> = open(Kind::Refused, record)?;
    Ok(SetAside {
        at: Timestamp(fields.at),
        author: fields.author.map(Arc::from),
        session: fields.session,
        why: fields.why.to_owned(),
        update: Bytes::copy_from_slice(fields.update),
    })
}

/// Refuses what is larger than a record may be.
pub(super) fn check_len(bytes: usize) -> Result<(), StoreError> {
    if bytes > RECORD_BYTES_MAX { Err(StoreError::TooLarge { bytes }) } else { Ok(()) }
}

fn seal(kind: Kind, fields: impl Encode, payload_len: usize) -> Vec<u8> {
    // The other fields of any kind take less than 64 bytes.
    let mut record = Vec::with_capacity(HEADER_LEN + 64 + payload_len);
    record.extend_from_slice(&[VERSION, kind as u8, 0, 0, 0, 0]);
    bincode::encode_into_std_write(fields, &mut record, bincode::config::standard())
        .expect("fields are plain integers, text and bytes, and a Vec takes them all");
    let crc = checksum(&record);
    record[2..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    record
}

fn open<'a, T: BorrowDecode<'a, ()>>(kind: Kind, record: &'a [u8]) -> Result<T, RecordError> {
    match record.first() {
        None => return Err(RecordError::Damaged("empty record")),
        Some(&VERSION) => {}
        Some(&0) => return Err(RecordError::Damaged("zeroed record")),
        Some(&version) => return Err(RecordError::LaterFormat(version)),
    }
    let crc = record.get(2..HEADER_LEN).ok_or(RecordError::Damaged("cut record"))?;
    if crc != checksum(record).to_le_bytes() {
        return Err(RecordError::Damaged("checksum does not match"));
    }
    if record[1] != kind as u8 {
        return Err(RecordError::Damaged("record of another kind"));
    }
    // The limit is for the decoder's own peace: borrowed fields allocate nothing, and the checksum has matched.
    let config = bincode::config::standard().with_limit::<{ RECORD_BYTES_MAX + 4096 }>();
    match bincode::borrow_decode_from_slice(&record[HEADER_LEN..], config) {
        Ok((fields, used)) if used == record.len() - HEADER_LEN => Ok(fields),
        _ => Err(RecordError::Damaged("fields do not decode")),
    }
}

/// The checksum of everything but itself.
fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..2]);
    hasher.update(&record[HEADER_LEN..]);
    hasher.finalize()
}

fn source_number(source: Source) -> u8 {
    match source {
        Source::Socket => 1,
        Source::Rest => 2,
        Source::Import => 3,
        Source::Recovery => 4,
        Source::Node => 5,
    }
}

fn source_from(number: u8) -> Result<Source, RecordError> {
    Ok(match number {
        1 => Source::Socket,
        2 => Source::Rest,
        3 => Source::Import,
        4 => Source::Recovery,
        5 => Source::Node,
        _ => return Err(RecordError::Damaged("unknown source of an entry")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(author: Option<&str>, source: Source) -> LogEntry {
        LogEntry {
            at: Timestamp(1_700_000_000_000),
            author: author.map(Arc::from),
            session: 300,
            source,
            update: Bytes::from_static(&[0, 0]),
        }
    }

    /// Change these bytes only together with [`VERSION`] and docs/STORAGE.md.
    #[test]
    fn golden_entry() {
        let record = encode_entry(&entry(Some("eve"), Source::Rest)).unwrap();
        let fields = [
            vec![253, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0], // at: u64 behind the mark 253
            vec![1, 3, b'e', b'v', b'e'],                        // author: some, 3 bytes
            vec![251, 0x2c, 0x01],                               // session: u16 behind the mark 251
            vec![2],                                             // source: Rest
            vec![2, 0, 0],                                       // update: 2 bytes
        ];
        let crc = [0x63, 0xe4, 0x77, 0xb1];
        assert_eq!(record, [vec![1, 1], crc.to_vec(), fields.concat()].concat());
    }

    #[test]
    fn golden_snapshot() {
        let record = encode_snapshot(LogPosition(5), &[0, 0]);
        assert_eq!(record, [1, 2, 0x88, 0x43, 0x57, 0xc7, 5, PLAIN, 2, 2, 0, 0]);
    }

    #[test]
    fn golden_head() {
        let base = Some(6);
        let head = Head { number: 2, covers: Some(5), trimmed_to: 4, swept_to: 3, ..Head::default() };
        let earlier = Ok(head);
        let head = Head { base, history: 7, has_base: true, ..head };
        assert_eq!(encode_head(&head)[HEADER_LEN..], [2, 1, 5, 4, 3, 0, 1, 6, 7, 1]);
        let uncounted = [1, 3, 0xfc, 0x46, 0x32, 0xf3, 2, 1, 5, 4, 3, 0];
        assert_eq!(decode_head(&uncounted), earlier);
        for counted in [None, Some(0), Some(1), Some(7), Some(1 << 20)] {
            let fields = UnfoundedHead {
                number: 2,
                covers: Some(5),
                trimmed_to: 4,
                swept_to: 3,
                is_removed: false,
                _history: counted,
            };
            assert_eq!(decode_head(&seal(Kind::Head, fields, 0)), earlier);
        }
        for base in [None, Some(0), base, Some(1 << 40)] {
            let head = Head { base, ..head };
            assert_eq!(decode_head(&encode_head(&head)), Ok(head));
        }
    }

    #[test]
    fn golden_name() {
        let id = DashboardId::parse("w/a").unwrap();
        assert_eq!(encode_name(&id), [1, 4, 0x5e, 0x6c, 0xbc, 0xe4, 3, b'w', b'/', b'a']);
        assert_eq!(decode_name(&encode_name(&id)), Ok(id));
    }

    #[test]
    fn golden_refused() {
        let refused = SetAside {
            at: Timestamp(7),
            author: None,
            session: 3,
            why: "no".to_owned(),
            update: Bytes::from_static(&[0, 0]),
        };
        let record = encode_refused(&refused);
        assert_eq!(record[..2], [1, 5]);
        assert_eq!(record[HEADER_LEN..], [7, 0, 3, 2, b'n', b'o', 2, 0, 0]);
        assert_eq!(decode_refused(&record), Ok(refused));
    }

    #[test]
    fn golden_version() {
        let info = VersionInfo {
            id: VersionId(5),
            position: Some(LogPosition(6)),
            at: Timestamp(7),
            name: "Q3".to_owned(),
            note: String::new(),
            author: Some("eve".into()),
            why: Why::BeforeReset,
            bytes: 8,
        };
        let record = encode_version(&info);
        assert_eq!(record[..2], [1, 9]);
        assert_eq!(record[HEADER_LEN..], [5, 1, 6, 7, 2, b'Q', b'3', 0, 1, 3, b'e', b'v', b'e', 3, 8]);
        for why in [Why::Named, Why::BeforeEdit, Why::BeforeReset, Why::BeforeImport] {
            for position in [None, Some(LogPosition(u128::MAX))] {
                let info = VersionInfo { why, position, author: None, note: "ü".to_owned(), ..info.clone() };
                assert_eq!(decode_version(&encode_version(&info)), Ok(info));
            }
        }
    }

    #[test]
    fn golden_base_and_segment() {
        let base = |state: &'static [u8], previous| {
            let state = Bytes::from_static(state);
            Base { state, previous, ..Base::empty(LogPosition(5)) }
        };
        let record = encode_base(&base(&[0, 0], Digest::default()));
        assert_eq!(record[..2], [1, 7]);
        assert_eq!(record[HEADER_LEN..], [5, 0, PLAIN, 2, 2, 0, 0]);
        // A snapshot is a base as well.
        let snapshot = encode_snapshot(LogPosition(5), b"s");
        assert_eq!(decode_base(&snapshot), Ok(base(b"s", Digest::default())));
        let previous = Digest([7; 32]);
        for base in [base(&[0, 0], Digest::default()), base(b"state", previous)] {
            assert_eq!(decode_base(&encode_base(&base)), Ok(base));
        }

        let made = |at: u64, author: Option<&str>| LogEntry {
            at: Timestamp(at),
            author: author.map(Arc::from),
            session: 3,
            source: Source::Socket,
            update: Bytes::from_static(&[0, 0]),
        };
        let entries = vec![
            (LogPosition(6), made(10, Some("eve"))),
            (LogPosition(8), made(9, None)),
            (LogPosition(1 << 80), made(1_700_000_000_000, Some("bob"))),
            (LogPosition((1 << 80) + 1), made(1_700_000_000_000, Some("eve"))),
        ];
        let segment = Segment { from: LogPosition(5), state: Bytes::from_static(b"s"), previous, entries };
        assert_eq!(decode_segment(&encode_segment(&segment)), Ok(segment.clone()));
        let first = Segment { previous: Digest::default(), entries: segment.entries[..2].to_vec(), ..segment };
        let record = encode_segment(&first);
        assert_eq!(record[..2], [1, 8]);
        let body = [
            vec![1, b's', 1, 3, b'e', b'v', b'e', 2], // state, authors, two entries
            vec![1, 20, 1, 3, 1, 2, 0, 0], // position 5 + 1, at 10 (zigzag), first author, session, socket, update
            vec![2, 1, 0, 3, 1, 2, 0, 0],  // position 6 + 2, at 10 - 1, nobody
        ]
        .concat();
        assert_eq!(record[HEADER_LEN..], [vec![5, 0, PLAIN, 24, 24], body].concat());
        assert_eq!(verify_segment(&record), Ok(()));
        assert!(verify_segment(&record[..30]).is_err());
    }

    /// A log entry repeats its author's name; a segment contains each name once.
    #[test]
    fn a_segment_of_ten_thousand_edits_is_small() {
        let entries: Vec<_> = (0..10_000u64)
            .map(|n| {
                let entry = LogEntry {
                    at: Timestamp(1_700_000_000_000 + 40 * n),
                    author: Some(if n % 3 == 0 { "ada@example.org" } else { "bob@example.org" }.into()),
                    session: 70_000 + n % 5,
                    source: Source::Socket,
                    // One struct of client 3,141,592,653: a number that is set anew.
                    update: Bytes::from(
                        [
                            &[1, 1, 0xcd, 0xb4, 0xff, 0xd9, 0x0b][..],
                            &(n as u32).to_le_bytes(),
                            &[168, 1, 125],
                            &[n as u8 % 60, 0],
                        ]
                        .concat(),
                    ),
                };
                (LogPosition(n.into()), entry)
            })
            .collect();
        let segment = Segment { from: LogPosition(0), state: Bytes::new(), previous: Digest::default(), entries };
        let record = encode_segment(&segment);
        assert!(record.len() < 150_000, "{}", record.len());
        assert_eq!(decode_segment(&record).unwrap(), segment);
    }

    #[test]
    fn records_decode_to_what_they_were() {
        for source in [Source::Socket, Source::Rest, Source::Import, Source::Recovery, Source::Node] {
            for author in [None, Some(""), Some("älice")] {
                let entry = entry(author, source);
                let record = encode_entry(&entry).unwrap();
                assert_eq!(decode_entry_update(&record).unwrap(), entry.update);
                assert_eq!(decode_entry_at(&record).unwrap(), entry.at);
                assert_eq!(decode_entry(&record), Ok(entry));
            }
        }
        for len in [0, 1, COMPRESS_ABOVE_BYTES, COMPRESS_ABOVE_BYTES + 1, 1 << 20] {
            let state = Bytes::from(vec![7; len]);
            let record = encode_snapshot(LogPosition(u128::MAX), &state);
            let is_deflated = record.len() < len;
            assert_eq!(is_deflated, len > COMPRESS_ABOVE_BYTES, "{len}");
            assert_eq!(decode_snapshot_covers(&record), Ok(LogPosition(u128::MAX)));
            assert!(decode_snapshot(&record) == Ok((LogPosition(u128::MAX), state)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let records =
            [encode_entry(&entry(Some("eve"), Source::Socket)).unwrap(), encode_snapshot(LogPosition(5), b"state")];
        for record in records {
            for bit in 0..record.len() * 8 {
                let mut flipped = record.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let expects_version = bit < 8 && flipped[0] != 0;
                let error = decode_entry(&flipped).map(drop).and(decode_snapshot(&flipped).map(drop)).unwrap_err();
                assert_eq!(matches!(error, RecordError::LaterFormat(_)), expects_version, "bit {bit}");
            }
            for len in 0..record.len() {
                assert!(matches!(decode_entry(&record[..len]), Err(RecordError::Damaged(_))));
            }
        }
    }

    #[test]
    fn kinds_are_not_confused() {
        let record = encode_snapshot(LogPosition(5), b"state");
        assert_eq!(decode_entry(&record), Err(RecordError::Damaged("record of another kind")));
        assert_eq!(decode_head(&record), Err(RecordError::Damaged("record of another kind")));
    }

    #[test]
    fn a_later_format_is_named() {
        let mut record = encode_entry(&entry(None, Source::Socket)).unwrap();
        record[0] = 9;
        let error = decode_entry(&record).unwrap_err();
        let error = error.into_store_error();
        assert!(!error.is_transient() && error.to_string().contains("record format 9"), "{error}");
    }

    #[test]
    fn states_that_do_not_shrink_are_kept_plain() {
        let mut seed = 1u32;
        let noise: Vec<u8> = (0..50_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        let record = encode_snapshot(LogPosition(1), &noise);
        assert!(record.len() < noise.len() + 64);
        assert_eq!(decode_snapshot(&record).unwrap().1, noise);
    }
}
