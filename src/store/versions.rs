//! Versions that are kept with their content: those that users have named, and those made before something destructive.
//!
//! Each is a description and a state of its own, and needs no log and no base. So sealing, trimming and the bounds of history remove
//! none. Versions are part of their dashboard: they go into the trash with it, come back with it, and end with it.

use std::sync::Arc;

use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::limits::VersionLimits;
use ydash_proto::time::Timestamp;
use ydash_proto::update::is_empty_update;
use ydash_proto::version::VersionId;

use super::record::{RecordError, check_len, decode_snapshot, decode_version, encode_snapshot};
use super::{LogPosition, Store, StoreError};

/// The description of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its id.
    pub id: VersionId,
    /// The end of the log when it was made; `None` in a store into which it was imported, whose log has other positions.
    pub position: Option<LogPosition>,
    /// The time at which it was made.
    pub at: Timestamp,
    /// The name that users gave it. Empty for an automatic one without a name.
    pub name: String,
    /// A note of the users'. May be empty.
    pub note: String,
    /// The user who made it, or whose edit it was made before, if known.
    pub author: Option<Arc<str>>,
    /// The reason why it was made.
    pub why: Why,
    /// The length of the record of its state.
    pub bytes: u64,
}

/// The reason why a version was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A user gave it a name.
    Named,
    /// A write of JSON removed much.
    BeforeEdit,
    /// `ydash reset` replaced all content.
    BeforeReset,
    /// An archive was imported over it.
    BeforeImport,
}

impl Why {
    /// The reason as REST and the command line show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Named => "named",
            Why::BeforeEdit => "before-edit",
            Why::BeforeReset => "before-reset",
            Why::BeforeImport => "before-import",
        }
    }
}

impl VersionInfo {
    /// Whether it has no name. Then it makes room for others.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.name.is_empty()
    }
}

/// A version as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its description.
    pub info: VersionInfo,
    /// The record of its state.
    pub record: Bytes,
}

impl KeptVersion {
    /// Deflates a state, and sets the length in `info`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn new(info: VersionInfo, state: &[u8]) -> Result<KeptVersion, StoreError> {
        check_len(state.len())?;
        let record = Bytes::from(encode_snapshot(info.position.unwrap_or_default(), state));
        Ok(KeptVersion { info: VersionInfo { bytes: record.len() as u64, ..info }, record })
    }

    /// The state that a record holds, Yjs update v1.
    ///
    /// # Errors
    /// The damage, in words.
    pub fn open(record: &[u8]) -> Result<Bytes, String> {
        decode_snapshot(record).map(|(_, state)| state).map_err(|error| error.to_string())
    }
}

/// The result of keeping a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionOutcome {
    /// It is kept, or was already.
    Kept,
    /// Nobody has written to the dashboard.
    Absent,
    /// There is no room for it: named versions fill a limit.
    Full(VersionLimit),
}

/// A limit of versions ([`VersionLimits`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionLimit {
    /// Their number.
    Count,
    /// The bytes of their records.
    Bytes,
}

/// Decodes descriptions of versions, and leaves out damaged ones.
pub(super) fn described<R: AsRef<[u8]>>(
    records: impl IntoIterator<Item = (VersionId, R)>,
) -> Result<Vec<VersionInfo>, RecordError> {
    let mut found = Vec::new();
    for (id, record) in records {
        match decode_version(record.as_ref()) {
            Ok(info) if info.id == id => found.push(info),
            Ok(_) | Err(RecordError::Damaged(_)) => {}
            Err(later) => return Err(later),
        }
    }
    Ok(found)
}

/// Chooses the versions that are removed so that one more finds room: the oldest automatic ones. `kept` has the oldest first.
///
/// # Errors
/// [`VersionLimit`] – named versions leave no room.
pub(super) fn displaced(
    kept: &[VersionInfo],
    next: &VersionInfo,
    limits: &VersionLimits,
) -> Result<Vec<VersionId>, VersionLimit> {
    let mut count = kept.len() + 1;
    let mut bytes = kept.iter().map(|info| info.bytes).sum::<u64>().saturating_add(next.bytes);
    let mut automatic = kept.iter().chain([next]).filter(|info| info.is_automatic()).count();
    let mut going = Vec::new();
    let mut oldest = kept.iter().filter(|info| info.is_automatic());
    loop {
        let reached = if count > limits.count {
            VersionLimit::Count
        } else if bytes > limits.bytes {
            VersionLimit::Bytes
        } else if automatic > limits.automatic && next.is_automatic() {
            VersionLimit::Count
        } else {
            return Ok(going);
        };
        let info = oldest.next().ok_or(reached)?;
        going.push(info.id);
        (count, bytes, automatic) = (count - 1, bytes - info.bytes, automatic - 1);
    }
}

/// Keeps the state that a dashboard has up to a position as an automatic version, before something destructive.
///
/// If the state has no content, or people have named as many versions as may be, nothing is kept. Neither is an error.
///
/// # Errors
/// As [`KeptVersion::new`] and [`Store::keep_version`].
pub async fn keep_before(
    store: &dyn Store,
    dashboard: &DashboardId,
    life: Life,
    position: LogPosition,
    state: &[u8],
    why: Why,
    at: Timestamp,
) -> Result<(), StoreError> {
    if is_empty_update(state) {
        return Ok(());
    }
    let (id, position) = (VersionId::new(at, fastrand::u32(..)), Some(position));
    let info = VersionInfo { id, position, at, name: String::new(), note: String::new(), author: None, why, bytes: 0 };
    store.keep_version(dashboard, life, KeptVersion::new(info, state)?).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u64, name: &str, bytes: u64) -> VersionInfo {
        let (name, note) = (name.to_owned(), String::new());
        let (position, author, why) = (None, None, Why::Named);
        VersionInfo { id: VersionId(id), position, at: Timestamp(id), name, note, author, why, bytes }
    }

    #[test]
    fn the_oldest_automatic_ones_make_room_and_named_ones_never() {
        let limits = VersionLimits { count: 4, automatic: 2, bytes: 100 };
        let kept = [info(1, "", 10), info(2, "a", 10), info(3, "", 10), info(4, "b", 10)];
        let goes = |next: &VersionInfo| displaced(&kept, next, &limits).map(|ids| ids.iter().map(|id| id.0).collect());
        assert_eq!(goes(&info(5, "c", 10)), Ok(vec![1]));
        assert_eq!(goes(&info(5, "", 10)), Ok(vec![1]), "one goes for both limits");
        assert_eq!(goes(&info(5, "c", 75)), Ok(vec![1, 3]));
        assert_eq!(goes(&info(5, "c", 81)), Err::<Vec<u64>, _>(VersionLimit::Bytes));
        assert_eq!(displaced(&kept[..1], &info(5, "", 10), &limits), Ok(vec![]));
        assert_eq!(displaced(&kept[..3], &info(5, "", 10), &limits), Ok(vec![VersionId(1)]), "three are automatic");
        assert_eq!(displaced(&kept[..3], &info(5, "c", 10), &limits), Ok(vec![]));
        let named = [info(1, "a", 1), info(2, "b", 1), info(3, "c", 1), info(4, "d", 1)];
        for next in [info(5, "", 1), info(5, "e", 1)] {
            assert_eq!(displaced(&named, &next, &limits), Err(VersionLimit::Count));
        }
    }
}
