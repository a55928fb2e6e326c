//! Keeping dashboards: a log of accepted updates and a snapshot for each, behind one trait.
//!
//! [`Store`] is the seam: [`memory`] is its reference and injects faults, [`embedded`] is one directory on disk, [`mod@redis`] is
//! what several nodes share. All of them pass the same contract suite. Rooms do not append themselves: they hand their entries to the [`writer`], which commits
//! those of all rooms together. [`archive`] carries dashboards from one store to another, and
//! [`homes`] to where their names say.
//!
//! What every store promises:
//!
//! - An append that was answered with a position is durable and is in every later load.
//! - An append that was answered with an error may be in later loads or not: the caller repeats it, and Yjs updates may be
//!   applied twice.
//! - Should it lose what was durable all the same, it says so to whoever relies on it, rather than append behind a hole.
//! - What was deleted does not come back by itself: appends say which life of the dashboard's name they are for.
//! - A snapshot never displaces one that covers more of the log.
//! - Entries are trimmed only up to the base that the log stands on, and no base is ahead of the snapshot: from the base on, every
//!   version of a dashboard is there ([`past`]).
//! - A version that was kept stays until somebody removes it, or the dashboard; an automatic one until newer ones need its room
//!   ([`versions`]).
//! - A damaged record is reported and set aside; the rest still loads. A record of a later format is refused, not guessed at.

pub mod archive;
pub mod content;
pub mod embedded;
pub mod homes;
pub mod lines;
pub mod memory;
pub mod past;
mod record;
pub mod redis;
mod refused;
pub mod trash;

mod url;
pub mod versions;
pub mod writer;

#[cfg(test)]
pub(crate) mod contract;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, Lives};
use ydash_proto::limits::VersionLimits;
pub use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::version::VersionId;

use crate::catalog::Catalog;

pub use self::past::{Base, Digest, History, Seal, SealOutcome, SealedSegment, Segment, SegmentInfo};
pub use self::refused::{Refused, SetAside};
pub use self::url::{StoreUrl, StoreUrlError};
pub use self::versions::{KeptVersion, VersionInfo, VersionLimit, VersionOutcome, Why};

/// The largest update or snapshot that a store takes, in bytes before compression.
///
/// Far above [`ydash_proto::limits::Limits::document_bytes_max`]: it bounds what a damaged length could make a load allocate.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Durable dashboards. Cheap to share; every method may be called from many tasks at once and never blocks its thread.
///
/// Dropping a returned future does not take back what it has begun.
pub trait Store: Send + Sync + 'static {
    /// Reads what is needed to open a dashboard: its snapshot and the log after it. Unknown dashboards are empty.
    ///
    /// # Errors
    /// Any [`StoreError`]: nothing is known about the dashboard, so it must not be shown as empty.
    fn load<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Stored, StoreError>>;

    /// Appends entries to the logs of many dashboards; each is durable when its position is returned.
    ///
    /// Answers one result per [`Append`], in their order. The entries of one [`Append`] are kept together or not at all, in
    /// their order. One without entries appends nothing, and answers the same: so a caller finds out whether what it relies on
    /// is still there.
    ///
    /// # Errors
    /// [`StoreError::Lost`] – what [`Append::after`] relies on is gone: append everything that is known, relying on nothing.
    /// [`StoreError::Gone`] – the dashboard was deleted: let go of it.
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>>;

    /// Keeps `state` as the snapshot that stands for the log up to and including `covers`.
    ///
    /// The first one of a dashboard whose log has nothing up to there is its base as well.
    ///
    /// # Errors
    /// [`StoreError::Lost`] – the store does not have what stood at `covers`, or never had it: as for [`Store::append`].
    fn snapshot<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        covers: LogPosition,
        state: Bytes,
    ) -> BoxFuture<'a, Result<SnapshotOutcome, StoreError>>;

    /// Reads an overview of a dashboard's past.
    fn history<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<History, StoreError>>;

    /// Reads the base of the log.
    fn base<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Base, StoreError>>;

    /// Puts the base forward and keeps the segment up to it, in one step: if the base still stands at [`Seal::from`], and the
    /// snapshot covers the new one. A second seal from the same base changes nothing. Removes no log entry.
    ///
    /// The oldest segments go when there are more bytes of them than [`HistoryLimits`] allow. A single segment that is longer is not kept.
    fn seal<'a>(&'a self, dashboard: &'a DashboardId, seal: Seal) -> BoxFuture<'a, Result<SealOutcome, StoreError>>;

    /// Removes log entries up to and including the base, as far as the snapshot covers them. A store may leave some of them to the
    /// next time. Damaged ones are kept for inspection.
    fn trim<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads the record of the segment that begins at a position, as it was sealed. It is not verified.
    fn segment<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        from: LogPosition,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Forgets the segments that end at or before a position. Damaged ones are kept for inspection.
    fn drop_segments<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        to: LogPosition,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Lists the versions that are kept with their content, oldest first. Damaged descriptions are left out.
    fn versions<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Vec<VersionInfo>, StoreError>>;

    /// Reads the record of a version's state, as it was kept. It is not verified.
    fn version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Keeps a version of a life of the dashboard; durable when it is answered. One whose id is there already stays as it is.
    ///
    /// Keeps within [`HistoryLimits::versions`]: the oldest automatic ones make room.
    ///
    /// # Errors
    /// [`StoreError::Gone`] – the dashboard was deleted.
    fn keep_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        life: Life,
        version: KeptVersion,
    ) -> BoxFuture<'a, Result<VersionOutcome, StoreError>>;

    /// Replaces the description of a version, if it is still `before`; says whether it was.
    fn describe_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        before: VersionInfo,
        after: VersionInfo,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes a version; says whether there was one.
    fn remove_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Reads at most `limit` log entries after a position, covered ones included. Fewer than `limit` means the end.
    ///
    /// Damaged entries are left out.
    fn log<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        after: LogPosition,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(LogPosition, LogEntry)>, StoreError>>;

    /// Lists at most `limit` dashboards whose full name starts with `prefix`, in byte order, those after `after` only.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>>;

    /// Forgets a dashboard: its snapshot, its whole log, its past, and what it refused. Positions given out later are still greater than
    /// the old ones.
    fn remove<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What there is to know of a dashboard's name beside the dashboard: what was deleted under it, and which life of it this is.
    ///
    /// # Errors
    /// Any [`StoreError`]: nothing is known, so nothing must be opened.
    fn lives<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Lives, StoreError>>;

    /// Ends, begins or brings back a life: moves everything that is kept under the name into the trash or from there, in one step with the
    /// change itself. From then on appends of any other life fail. Positions are kept, and later ones are still greater.
    ///
    /// What is in the trash is found under [`DashboardId::trashed`]; [`Store::list`] leaves it out.
    ///
    /// # Errors
    /// [`StoreError::LifeChanged`] – the change was made of another version than there is: read and decide again.
    fn change_life<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        change: LifeChange,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Lists at most `limit` names under which something was ever deleted, in byte order, those after `after` only.
    fn deleted<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>>;

    /// Keeps what a room refused where an operator finds it; durable when it is answered.
    ///
    /// At most [`SetAside::ENTRIES_MAX`] and [`SetAside::BYTES_MAX`] for each dashboard: the oldest are dropped and counted, and so
    /// is one that is too large by itself. It makes no dashboard: neither [`Store::list`] nor [`Store::load`] know it.
    fn set_aside<'a>(&'a self, dashboard: &'a DashboardId, refused: SetAside) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads what rooms of a dashboard refused, oldest first.
    fn refused<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Refused, StoreError>>;

    /// Where records are kept that never merge: who may do what. In the same place, and open as long as the store is.
    fn catalog(&self) -> Arc<dyn Catalog>;

    /// What is known to be missing: found out when the store was opened, and not acknowledged by an operator yet.
    fn missing(&self) -> Vec<Missing> {
        Vec::new()
    }

    /// Reads every record and reports damage. Slow: for `ydash doctor`, not for probes.
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, StoreError>>;

    /// Whether the store works: cheap enough for a readiness probe. Tries to recover from an earlier failure.
    ///
    /// Answers which life of the store this is: while it is the same, nothing durable can have been lost.
    fn ping(&self) -> BoxFuture<'_, Result<StoreLife, StoreError>>;

    /// Finishes what has begun and lets go of files and connections. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Entries for the log of one dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The dashboard.
    pub dashboard: DashboardId,
    /// Which of its lives: nothing is appended to any other.
    pub life: Life,
    /// The last position that the caller knows to be durable: nothing is appended unless the store still holds everything up to
    /// there. `None` relies on nothing.
    pub after: Option<LogPosition>,
    /// What to append, in order.
    pub entries: Vec<LogEntry>,
}

/// What became of an [`Append`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The position of its last entry. The end of the log if it had none.
    pub position: LogPosition,
    /// Where the log ended before. Beyond [`Append::after`], it holds entries that the caller has not heard of.
    pub before: LogPosition,
}

/// One of the lives of a store: it changes when the store was restarted, or could not be watched for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreLife(pub u64);

impl StoreLife {
    /// Of a store that can lose nothing while it is open.
    pub const ONLY: StoreLife = StoreLife(0);
}

/// What a store holds of a dashboard, as far as needed to open it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest snapshot and the position up to which it covers the log.
    pub snapshot: Option<(LogPosition, Bytes)>,
    /// The updates after the snapshot, oldest first. All that are left of the log if there is no readable snapshot.
    pub tail: Vec<Bytes>,
    /// The position of the last entry, or what the snapshot covers; [`LogPosition::START`] for an unknown dashboard.
    pub position: LogPosition,
    /// Records that were unreadable and are left out.
    pub damaged: u32,
}

impl Stored {
    /// Whether nothing was ever stored, or all of it was removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.tail.is_empty() && self.damaged == 0
    }

    /// The bytes of snapshot and tail.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |(_, state)| state.len()) + self.tail.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// It is the dashboard's snapshot.
    Kept,
    /// The store holds one that covers more; nothing was changed.
    Superseded,
}

/// What [`Store::check`] has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Dashboards.
    pub dashboards: u64,
    /// Readable snapshots.
    pub snapshots: u64,
    /// Readable log entries.
    pub entries: u64,
    /// Readable sealed segments.
    pub segments: u64,
    /// Readable versions that are kept with their content.
    pub versions: u64,
    /// Bytes of the records as stored.
    pub bytes: u64,
    /// Unreadable records, the first [`CheckReport::DAMAGED_MAX`] of them.
    pub damaged: Vec<DamagedRecord>,
    /// How many records are unreadable.
    pub damaged_total: u64,
    /// Damaged records that newer ones have made unneeded; kept for inspection.
    pub set_aside: u64,
    /// Content that rooms refused, kept for the operator: how many updates, and of which dashboards.
    pub refused: BTreeMap<String, u64>,
    /// What [`Store::missing`] says.
    pub missing: Vec<Missing>,
    /// What the operator may want to know, in words.
    pub remarks: Vec<String>,
}

impl CheckReport {
    /// How many damaged records are named.
    pub const DAMAGED_MAX: usize = 1000;

    /// Counts a damaged record, and names it while there is room.
    fn report(&mut self, record: DamagedRecord) {
        self.damaged_total += 1;
        if self.damaged.len() < Self::DAMAGED_MAX {
            self.damaged.push(record);
        }
    }
}

/// Something that was durable and is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The dashboard's name; empty if that cannot be told, or if it concerns many.
    pub dashboard: String,
    /// How many log entries, if that can be told.
    pub entries: u64,
    /// What is missing, as a phrase.
    pub why: String,
}

impl core::fmt::Display for Missing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Missing { dashboard, entries, why } = self;
        if !dashboard.is_empty() {
            write!(f, "{dashboard}: ")?;
        }
        if *entries > 0 {
            write!(f, "{entries} ")?;
        }
        f.write_str(why)
    }
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRecord {
    /// The dashboard's name, as far as it is readable.
    pub dashboard: String,
    /// Its place in the log, or where the segment begins; `None` for a snapshot and a base.
    pub position: Option<LogPosition>,
    /// What is wrong with it.
    pub why: String,
}

/// Why a store did not do what it was asked. Cloneable: a failed batch fails everybody in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached or written: full or read-only disk, IO error, server down. Try again later.
    #[error("store unavailable: {doing}: {cause}")]
    Unavailable {
        /// What was tried, as a phrase: "append to the log".
        doing: &'static str,
        /// What the operating system or the server said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A record was written by a later ydash. Nothing is lost: run at least that version.
    #[error(
        "record format {version} is not known to this version of ydash (up to {known}): it was written by a later one"
    )]
    LaterFormat {
        /// The record's format version.
        version: u8,
        /// The latest that this program knows.
        known: u8,
    },
    /// An update or a snapshot is larger than [`RECORD_BYTES_MAX`]. Trying again is useless.
    #[error("record of {bytes} bytes exceeds the maximum of {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The store does not have what was durable before, or never had it: it was restored from an older copy, emptied, or has
    /// failed over to a server that lagged behind. Trying the same again is useless; appending what is known is not.
    #[error("store has lost what was durable: position {known} is not there, the log ends at {end}")]
    Lost {
        /// What the caller relied on.
        known: LogPosition,
        /// Where the log ends, as far as that can be told.
        end: LogPosition,
    },
    /// The dashboard was deleted, or another one begun under its name. Trying again is useless.
    #[error("the dashboard was deleted")]
    Gone,
    /// A life of the name has ended or begun meanwhile. Read again and decide anew.
    #[error("what is deleted under the name has changed meanwhile")]
    LifeChanged,
    /// The store was closed, as at shutdown.
    #[error("store closed")]
    Closed,
}

impl StoreError {
    /// Wraps what the operating system, a library or a server said.
    pub fn unavailable(doing: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unavailable { doing, cause: Arc::new(cause) }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. })
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error(
        "directory {directory} is in use by another process: stop that one, or name another directory with --store"
    )]
    Locked {
        /// The store's directory.
        directory: PathBuf,
    },
    /// It was written by a version of ydash with another layout.
    #[error(
        "directory {directory} has format {version}, this version of ydash knows {known}: a later ydash wrote it, or its file `format` is damaged; if so, write {known} into it and run `ydash doctor --salvage`"
    )]
    Format {
        /// The store's directory.
        directory: PathBuf,
        /// Its format.
        version: String,
        /// The format that this program writes.
        known: u8,
    },
    /// Files of the store are missing or cannot be read. Starting all the same would lose what is left of it.
    #[error(
        "directory {directory} is damaged: {what}. Keep a copy of it, then run `ydash doctor --salvage`, which keeps what is readable and says what is not"
    )]
    Damaged {
        /// The store's directory.
        directory: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The directory cannot be created, read or written.
    #[error("directory {directory} cannot be opened")]
    Directory {
        /// The store's directory.
        directory: PathBuf,
        /// What the operating system or the storage engine said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whether there is something to open without making it: a Redis counts as there, a directory when it holds a store.
///
/// # Errors
/// What the system said about the directory.
pub fn is_there(url: &StoreUrl) -> std::io::Result<bool> {
    match url {
        StoreUrl::Memory | StoreUrl::Redis(_) => Ok(true),
        StoreUrl::Directory(directory) => embedded::is_in(directory),
    }
}

/// Makes a directory openable that is too damaged to start from, leaves out what cannot be read, and says what is missing. What
/// was missing at earlier starts counts as seen from then on. Returns where damaged files are kept, and what is missing.
///
/// # Errors
/// [`OpenError`] – as for [`open`]; nothing more can be saved without a backup.
pub fn salvage(directory: &std::path::Path) -> Result<(PathBuf, Vec<Missing>), OpenError> {
    embedded::EmbeddedStore::salvage(directory)
}

/// The bounds of sealed segments, however young they are, and of versions. The newest segments stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Of one dashboard, in bytes of records. Each segment counts for 16 KiB at least.
    pub bytes: u64,
    /// Of all dashboards; beyond it those go first that have most. A Redis has its own bound for all that it holds.
    pub bytes_total: u64,
    /// Versions of one dashboard that are kept with their content.
    pub versions: VersionLimits,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { bytes: 64 << 20, bytes_total: 4 << 30, versions: VersionLimits::DEFAULT }
    }
}

/// What a store is opened with besides its URL.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// How much history is kept.
    pub history: HistoryLimits,
    /// How dashboards are kept in Redis.
    pub redis: self::redis::RedisStoreConfig,
}

/// Opens the store that a URL names. Blocks while it reads what the last process left unfinished. Redis need not be there yet:
/// until it is, dashboards cannot be opened.
///
/// # Errors
/// [`OpenError`] – names the directory and what is wrong with it; the server cannot start.
pub fn open(url: &StoreUrl, config: &StoreConfig) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(memory::MemoryStore::new().with_history(config.history)),
        StoreUrl::Directory(directory) => {
            Arc::new(embedded::EmbeddedStore::open_with_history(directory, config.history)?)
        }
        StoreUrl::Redis(url) => {
            let store = self::redis::RedisStore::new(url.clone(), config.redis.clone());
            Arc::new(store.with_history(config.history))
        }
    })
}
