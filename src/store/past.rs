//! A dashboard's past: the base of its log, and sealed segments of earlier entries.
//!
//! The state at a position is the base at or before it and the entries between. The log holds the entries since the base; a
//! [`Segment`] holds an earlier base and the entries from there up to the next one. So the log may be trimmed up to the base, and
//! no further.

use core::fmt;

use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::time::Timestamp;
use ydash_proto::update::EMPTY_UPDATE;

use super::record::{self, RecordError};
use super::{LogEntry, LogPosition, Store, StoreError};

/// An overview of a dashboard's past, without content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The position of the base: the log after it is whole.
    pub base: LogPosition,
    /// Whether the store has noted a base. For a dashboard of an earlier ydash, the snapshot is the base until the next snapshot is
    /// written. The log before it tells only authors and times.
    pub is_founded: bool,
    /// The last position that the snapshot covers.
    pub covers: Option<LogPosition>,
    /// Bytes of the log after the base, roughly.
    pub log_bytes: u64,
    /// When the first entry after the base was made.
    pub since: Option<Timestamp>,
    /// Sealed segments, oldest first.
    pub segments: Vec<SegmentInfo>,
}

/// The state that the log stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The log entries after this position come on top of it.
    pub position: LogPosition,
    /// Yjs update v1.
    pub state: Bytes,
    /// Of the segment that ends here; zeros without one.
    pub previous: Digest,
    /// Whether its record cannot be read, is gone, or has another position. Then the state is empty and stands for nothing.
    pub is_damaged: bool,
}

impl Base {
    /// The empty document, from where a log begins.
    #[must_use]
    pub fn empty(position: LogPosition) -> Base {
        let state = Bytes::from_static(&EMPTY_UPDATE);
        Base { position, state, previous: Digest::default(), is_damaged: false }
    }

    /// Decodes the record of the base at a position; `None` if it is gone, or its block cannot be read.
    ///
    /// A record with another position is an earlier one that has come back: it is damaged, too.
    pub(super) fn read(position: LogPosition, bytes: Option<&[u8]>) -> Result<Base, RecordError> {
        match bytes.map(record::decode_base) {
            Some(Ok(base)) if base.position == position => Ok(base),
            Some(Err(later @ RecordError::LaterFormat(_))) => Err(later),
            _ => Ok(Base { is_damaged: true, ..Base::empty(position) }),
        }
    }
}

/// The SHA-256 of a segment's record.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of a segment's record.
    #[must_use]
    pub fn of(record: &[u8]) -> Digest {
        let mut digest = Digest::default();
        digest.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, record).as_ref());
        digest
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The description of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The position of its base: it holds the entries after this position.
    pub from: LogPosition,
    /// The position of its last entry, at which the next base stands.
    pub to: LogPosition,
    /// When the first of its entries was made.
    pub first_at: Timestamp,
    /// When the last was made.
    pub last_at: Timestamp,
    /// How many entries.
    pub entries: u32,
    /// The length of its record.
    pub bytes: u64,
}

/// The least that a segment counts for: its description takes memory and time, too.
pub(super) const SEGMENT_COUNTS_MIN: u64 = 16 << 10;

/// The length of [`SegmentInfo::key`].
const KEY_LEN: usize = 32 + 32 + 16 + 16 + 8 + 16;

impl SegmentInfo {
    /// How many bytes of [`HistoryLimits`](super::HistoryLimits) it takes.
    pub(super) fn counts(&self) -> u64 {
        self.bytes.max(SEGMENT_COUNTS_MIN)
    }

    /// All of it as a text: in the order of `from` when there are many.
    pub(super) fn key(&self) -> String {
        let SegmentInfo { from, to, first_at, last_at, entries, bytes } = self;
        let (from, to, first_at, last_at) = (from.0, to.0, first_at.0, last_at.0);
        format!("{from:032x}{to:032x}{first_at:016x}{last_at:016x}{entries:08x}{bytes:016x}")
    }

    /// The beginning of the key of the segment that begins at a position.
    pub(super) fn key_from(from: LogPosition) -> String {
        format!("{:032x}", from.0)
    }

    /// Reads a key.
    pub(super) fn from_key(key: &[u8]) -> Option<SegmentInfo> {
        let key = str::from_utf8(key).ok().filter(|key| key.len() == KEY_LEN)?;
        let number = |from: usize, len: usize| u64::from_str_radix(key.get(from..from + len)?, 16).ok();
        let position = |from: usize| u128::from_str_radix(key.get(from..from + 32)?, 16).ok().map(LogPosition);
        Some(SegmentInfo {
            from: position(0)?,
            to: position(32)?,
            first_at: Timestamp(number(64, 16)?),
            last_at: Timestamp(number(80, 16)?),
            entries: u32::try_from(number(96, 8)?).ok()?,
            bytes: number(104, 16)?,
        })
    }
}

/// A piece of a dashboard's past that is closed: a state, and every entry from there to the next base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The position of the state.
    pub from: LogPosition,
    /// The state there, Yjs update v1.
    pub state: Bytes,
    /// Of the segment before; zeros where history begins.
    pub previous: Digest,
    /// The entries after it, each with its position, oldest first.
    pub entries: Vec<(LogPosition, LogEntry)>,
}

impl Segment {
    /// As it is kept, deflated. A segment has at least one entry.
    #[must_use]
    pub fn seal(&self) -> SealedSegment {
        let record = Bytes::from(record::encode_segment(self));
        let at = |entry: Option<&(LogPosition, LogEntry)>| entry.map(|(_, entry)| entry.at).unwrap_or_default();
        let info = SegmentInfo {
            from: self.from,
            to: self.entries.last().map_or(self.from, |(position, _)| *position),
            first_at: at(self.entries.first()),
            last_at: at(self.entries.last()),
            entries: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
            bytes: record.len() as u64,
        };
        SealedSegment { info, record }
    }

    /// From its record.
    ///
    /// # Errors
    /// The damage, in words.
    pub fn open(record: &[u8]) -> Result<Segment, String> {
        record::decode_segment(record).map_err(|error| error.to_string())
    }
}

/// A segment as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its description.
    pub info: SegmentInfo,
    /// Its record.
    pub record: Bytes,
}

/// Puts the base of a dashboard forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The position of the base that this was made from.
    pub from: LogPosition,
    /// The base from now on.
    pub base: Base,
    /// The entries between the two; `None` drops them.
    pub segment: Option<SealedSegment>,
}

/// The result of a [`Seal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealOutcome {
    /// The base stands there, and the segment is kept.
    Sealed,
    /// The base stands there. The segment is longer than [`HistoryLimits`](super::HistoryLimits) allow and is not kept.
    TooLong,
    /// The base does not stand where it did, or the snapshot covers less than the new one; nothing was changed.
    Superseded,
}

/// Lets the log begin at a position that the snapshot covers, with `state`, and forgets what came before it.
///
/// # Errors
/// As [`Store::seal`] and [`Store::trim`].
pub async fn begin_at(
    store: &dyn Store,
    dashboard: &DashboardId,
    position: LogPosition,
    state: Bytes,
) -> Result<SealOutcome, StoreError> {
    let history = store.history(dashboard).await?;
    if history.base < position {
        let base = Base { state, ..Base::empty(position) };
        let outcome = store.seal(dashboard, Seal { from: history.base, base, segment: None }).await?;
        if outcome == SealOutcome::Superseded {
            return Ok(outcome);
        }
    }
    store.drop_segments(dashboard, position).await?;
    store.trim(dashboard).await?;
    Ok(SealOutcome::Sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_all_of_it_in_the_order_of_positions() {
        let info = |from: u128| SegmentInfo {
            from: LogPosition(from),
            to: LogPosition(from + 7),
            first_at: Timestamp(1_700_000_000_000),
            last_at: Timestamp(1_700_000_000_001),
            entries: u32::MAX,
            bytes: 5 << 30,
        };
        let mut keys = Vec::new();
        for from in [0, 9, 10, 1 << 64, u128::MAX - 7] {
            let key = info(from).key();
            assert!(key.starts_with(&SegmentInfo::key_from(LogPosition(from))));
            assert_eq!(SegmentInfo::from_key(key.as_bytes()), Some(info(from)));
            keys.push(key);
        }
        assert!(keys.is_sorted());
        for garbage in ["", "12", &"g".repeat(200), &"ü".repeat(KEY_LEN / 2)] {
            assert_eq!(SegmentInfo::from_key(garbage.as_bytes()), None);
        }
    }
}
