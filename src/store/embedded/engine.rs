//! The key-value engine below the embedded store: its files, its keyspaces, and its ways of failing.
//!
//! Nothing above knows fjall. Everything here blocks.
//!
//! ```text
//! heads      name                           -> head record          what there is of a dashboard, and its number
//! snapshots  name                           -> snapshot record
//!            name 0x00 'b'                  -> base record
//!            name 0x00 's' from (32 digits) -> segment record
//!            name 0x00 'v' id               -> snapshot record: the state of a version
//! log        number (BE64) position (BE64)  -> entry record; at position 0 the dashboard's name
//! aside      name 0x00 [position (BE64)]    -> damaged records that a snapshot has made unneeded
//! refused    name 0x00 [number (BE64)]     -> refused content; without a number how many were dropped (BE64)
//! catalog    key                            -> record of the catalog, its version (BE64) first
//! meta       "positions"                    -> BE64                 no position or number above it was ever given out
//!            "catalog"                      -> BE64                 the last version that a record of the catalog got
//!            "life" 0x00 name               -> record of the lives of a name under which something was deleted
//!            "segment" 0x00 name 0x00 key   -> 1: that there is a segment; the key says all about it
//!            "version" 0x00 name 0x00 id    -> description of a version
//!            "batch"                        -> the store's number and the batch's, BE64 each; in every batch
//! ```
//!
//! Log keys hold a number because short keys halve the cost of an append; the number's name stands beside the log, so that an
//! unreadable head loses nothing.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::config::{CompressionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use ydash_proto::id::DashboardId;
use ydash_proto::life::Lives;
use ydash_proto::version::VersionId;

use super::super::record::{
    Head, RecordError, decode_head, decode_lives, decode_name, decode_snapshot_covers, encode_head, encode_lives,
    encode_name,
};
use super::super::{LogPosition, SealedSegment, SegmentInfo, StoreError};
use super::journal::Stamp;
use super::tally::Notes;

/// Blocks and filters read from disk. A small server's dashboards fit; the page cache of the system is behind it.
const CACHE_BYTES: u64 = 8 << 20;

/// What a keyspace keeps in memory before it writes a table. Small, because there are several keyspaces and every record is in
/// the journal anyway.
const MEMTABLE_BYTES: u64 = 4 << 20;

/// What the journals may take on disk before quiet keyspaces are flushed to free them: the least that fjall allows.
const JOURNAL_BYTES: u64 = 64 << 20;

/// One flushes while the other compacts: with one alone, appends would wait for compactions.
const WORKER_THREADS: usize = 2;

/// Open tables. Each holds a file descriptor.
const OPEN_FILES: usize = 256;

/// How many flushed-to-be memtables and unsorted tables may wait before commits wait too.
///
/// Both are below the figures at which fjall itself would wait, because it waits without end if its workers have died.
const SEALED_MEMTABLES_MAX: usize = 2;
const UNSORTED_TABLES_MAX: usize = 16;

/// How long a commit waits for the workers before they are taken for dead.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Ends a dashboard's name within a key. No name holds it.
const NAME_END: u8 = 0;

/// Where a log's name stands: before every entry.
const NAME_POSITION: u64 = 0;

/// The engine's own keyspace and ours, by the numbers that they have in every store.
pub(super) const KEYSPACES: [&str; 8] =
    ["keyspaces", "heads", "snapshots", "log", "aside", "meta", "refused", "catalog"];

/// Those from this number on were added later: a store of an earlier ydash does not have them yet.
pub(super) const KEYSPACES_AT_FIRST: usize = 6;

const POSITIONS_KEY: &str = "positions";
const CATALOG_KEY: &str = "catalog";
/// Before the names under which something was deleted.
const LIFE_KEYS: &[u8] = b"life\0";
const SEGMENT_KEYS: &[u8] = b"segment\0";
/// Before the names of dashboards with versions.
const VERSION_KEYS: &[u8] = b"version\0";

/// In every batch, and nowhere else a key.
pub(super) const STAMP_KEY: &str = "batch";

/// An open database.
pub(super) struct Engine {
    database: Database,
    heads: Keyspace,
    snapshots: Keyspace,
    log: Keyspace,
    aside: Keyspace,
    refused: Keyspace,
    meta: Keyspace,
    catalog: Keyspace,
}

/// What a value is read as: cheap to clone, shared with the engine's memory.
pub(super) type Value = fjall::UserValue;

impl Engine {
    /// Opens or creates the database in `directory`, and reads what the journal holds.
    pub(super) fn open(directory: &Path) -> Result<Engine, EngineError> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKER_THREADS)
            // Snapshots come deflated, and single updates are too short.
            .journal_compression(CompressionType::None)
            .open()?;
        let looked_up = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let plain = || looked_up().data_block_compression_policy(CompressionPolicy::all(CompressionType::None));
        // Only ever read by ranges, for which filters are of no use.
        let scanned = || looked_up().filter_policy(FilterPolicy::all(FilterPolicyEntry::None));
        Ok(Engine {
            heads: database.keyspace("heads", looked_up)?,
            snapshots: database.keyspace("snapshots", plain)?,
            log: database.keyspace("log", scanned)?,
            aside: database.keyspace("aside", scanned)?,
            meta: database.keyspace("meta", looked_up)?,
            refused: database.keyspace("refused", scanned)?,
            catalog: database.keyspace("catalog", looked_up)?,
            database,
        })
    }

    /// What is in the database at this moment, whatever is committed meanwhile. Short-lived: it keeps old versions on disk.
    pub(super) fn view(&self) -> View<'_> {
        View { engine: self, at: self.database.snapshot() }
    }

    /// Starts a batch of writes.
    pub(super) fn batch(&self) -> Batch<'_> {
        let writes = self.database.batch().durability(Some(PersistMode::SyncData));
        Batch { engine: self, writes, notes: Notes::default() }
    }

    /// Whether nothing has gone wrong that only reopening heals.
    pub(super) fn is_sound(&self) -> bool {
        self.database.persist(PersistMode::Buffer).is_ok()
    }

    /// Writes what is in memory into tables.
    #[cfg(test)]
    pub(super) fn flush(&self) {
        for keyspace in [&self.heads, &self.snapshots, &self.log] {
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    }

    /// Waits until the workers have caught up.
    fn await_workers(&self) -> Result<(), EngineError> {
        let started = Instant::now();
        let is_behind = |keyspace: &&Keyspace| {
            keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX || keyspace.l0_table_count() >= UNSORTED_TABLES_MAX
        };
        while [&self.heads, &self.snapshots, &self.log].iter().any(is_behind) {
            if !self.is_sound() || started.elapsed() > STALL_MAX {
                return Err(EngineError::Stopped);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The database as it was at one moment.
pub(super) struct View<'a> {
    engine: &'a Engine,
    at: fjall::Snapshot,
}

/// What was found where a log was read.
pub(super) enum Found {
    /// An entry's record, not yet verified.
    Record(u64, Value),
    /// Unreadable blocks: one or more entries after the given position are gone.
    Damage(u64),
}

/// As [`Found`], in all logs.
enum Scanned {
    Record(u128, Value),
    Damage(u128),
}

/// A dashboard that was found where they are listed.
pub(super) struct Listed {
    /// Its name, or what can be read of it.
    pub(super) id: Result<DashboardId, String>,
    pub(super) head: Head,
    /// Whether the head's record cannot be read.
    pub(super) is_made_up: bool,
}

impl View<'_> {
    /// The bound of the positions that were given out.
    pub(super) fn positions_reserved(&self) -> Result<u64, EngineError> {
        match self.at.get(&self.engine.meta, POSITIONS_KEY)? {
            None => Ok(0),
            Some(value) => value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(EngineError::Key),
        }
    }

    /// The stamp of the last batch.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, EngineError> {
        Ok(self.at.get(&self.engine.meta, STAMP_KEY)?.and_then(|value| Stamp::decode(&value)))
    }

    /// Whose log a number is.
    pub(super) fn name(&self, number: u64) -> Option<DashboardId> {
        let key = log_key(number, NAME_POSITION).to_be_bytes();
        decode_name(&self.at.get(&self.engine.log, key).ok()??).ok()
    }

    /// The highest number or position that is in use.
    pub(super) fn highest(&self) -> Result<u64, EngineError> {
        let mut highest = 0;
        self.names(|number, _| highest = highest.max(number))?;
        self.heads("", None, |found| {
            highest = highest.max(found.head.number).max(self.last_position(&found.head)?);
            Ok(ControlFlow::<()>::Continue(()))
        })?;
        Ok(highest)
    }

    /// What there is of a dashboard; `None` for an unknown one. A removed one has a head until its log is swept.
    pub(super) fn head(&self, id: &DashboardId) -> Result<Option<Head>, EngineError> {
        Ok(self.find_head(id)?.map(|(head, _)| head))
    }

    /// As [`View::head`], and whether it had to be made up.
    fn find_head(&self, id: &DashboardId) -> Result<Option<(Head, bool)>, EngineError> {
        match self.at.get(&self.engine.heads, id.as_str()).map_err(EngineError::from) {
            Ok(None) => Ok(None),
            Ok(Some(value)) => match decode_head(&value) {
                Ok(head) => Ok(Some((head, false))),
                Err(RecordError::LaterFormat(version)) => Err(EngineError::LaterFormat(version)),
                Err(RecordError::Damaged(_)) => Ok(Some((self.make_up_head(id)?.unwrap_or_default(), true))),
            },
            Err(error) if error.is_damage() => Ok(self.make_up_head(id)?.map(|head| (head, true))),
            Err(error) => Err(error),
        }
    }

    /// Makes up for an unreadable head. What was trimmed but not swept appears again, which is harmless.
    fn make_up_head(&self, id: &DashboardId) -> Result<Option<Head>, EngineError> {
        let covers = match self.snapshot(id)? {
            None => None,
            Some(Ok(record)) => match decode_snapshot_covers(&record) {
                Ok(covers) => u64::try_from(covers.0).ok(),
                Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
                Err(RecordError::Damaged(_)) => Some(0),
            },
            Some(Err(Unreadable)) => Some(0),
        };
        let mut number = 0;
        self.names(|named, name| {
            // The latest life counts, if an earlier one is not swept yet.
            if name == *id {
                number = named;
            }
        })?;
        let is_unknown = covers.is_none() && number == 0;
        // The position of the base is lost, so the snapshot becomes the base with the next one. The segments stay.
        let history = self.segments(id)?.iter().map(SegmentInfo::counts).sum();
        Ok((!is_unknown).then_some(Head { number, covers, history, ..Head::default() }))
    }

    /// Reads the heads of dashboards whose name starts with `prefix`, those after `after` only, until `each` says stop.
    pub(super) fn heads<B>(
        &self,
        prefix: &str,
        after: Option<&DashboardId>,
        mut each: impl FnMut(Listed) -> Result<ControlFlow<B>, EngineError>,
    ) -> Result<Option<B>, EngineError> {
        let mut from = match after {
            Some(after) if after.as_str() >= prefix => next_key(after.as_str().as_bytes()),
            _ => prefix.as_bytes().to_vec(),
        };
        for item in self.at.range(&self.engine.heads, from.clone()..) {
            let key = match item.key().map_err(EngineError::from) {
                Ok(key) => key,
                Err(error) if error.is_damage() => return self.heads_by_names(prefix, &from, each),
                Err(error) => return Err(error),
            };
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            from = next_key(&key);
            let name = String::from_utf8_lossy(&key);
            let listed = match DashboardId::stored(&name) {
                Ok(id) => match self.find_head(&id)? {
                    Some((head, is_made_up)) => Listed { id: Ok(id), head, is_made_up },
                    None => continue,
                },
                Err(_) => Listed { id: Err(name.into_owned()), head: Head::default(), is_made_up: true },
            };
            if let ControlFlow::Break(b) = each(listed)? {
                return Ok(Some(b));
            }
        }
        Ok(None)
    }

    /// As [`View::heads`], where the heads cannot be read: slower, by the names in the log.
    fn heads_by_names<B>(
        &self,
        prefix: &str,
        from: &[u8],
        mut each: impl FnMut(Listed) -> Result<ControlFlow<B>, EngineError>,
    ) -> Result<Option<B>, EngineError> {
        let mut names = BTreeSet::new();
        self.names(|_, name| {
            if name.as_str().starts_with(prefix) && name.as_str().as_bytes() >= from {
                names.insert(name.as_str().to_owned());
            }
        })?;
        for name in names {
            let id = DashboardId::stored(&name).map_err(|_| EngineError::Key)?;
            let Some((head, is_made_up)) = self.find_head(&id)? else { continue };
            if let ControlFlow::Break(b) = each(Listed { id: Ok(id), head, is_made_up })? {
                return Ok(Some(b));
            }
        }
        Ok(None)
    }

    /// Reads the name of every number in the log, in the order in which they were given out.
    fn names(&self, mut each: impl FnMut(u64, DashboardId)) -> Result<(), EngineError> {
        let mut after = 0;
        // One look-up for each dashboard: the entries between two names are jumped over.
        while let Some(found) = self.scan(after, u128::MAX, |scanned| Ok(ControlFlow::Break(scanned)))? {
            after = match found {
                Scanned::Record(key, record) => {
                    let (number, position) = from_log_key(key);
                    if let (NAME_POSITION, Ok(id)) = (position, decode_name(&record)) {
                        each(number, id);
                    }
                    log_key(number, u64::MAX)
                }
                Scanned::Damage(key) => self.next_readable(key, u128::MAX)?,
            };
        }
        Ok(())
    }

    /// The record of a snapshot, not yet verified.
    pub(super) fn snapshot(&self, id: &DashboardId) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        match self.at.get(&self.engine.snapshots, id.as_str()).map_err(EngineError::from) {
            Ok(value) => Ok(value.map(Ok)),
            Err(error) if error.is_damage() => Ok(Some(Err(Unreadable))),
            Err(error) => Err(error),
        }
    }

    /// Reads the log with a number from after one position up to and including another, until `each` says stop.
    pub(super) fn log<B>(
        &self,
        number: u64,
        after: u64,
        to: u64,
        mut each: impl FnMut(Found) -> Result<ControlFlow<B>, EngineError>,
    ) -> Result<Option<B>, EngineError> {
        if after >= to {
            return Ok(None);
        }
        self.scan(log_key(number, after), log_key(number, to), |scanned| {
            each(match scanned {
                Scanned::Record(key, record) => Found::Record(from_log_key(key).1, record),
                Scanned::Damage(key) => Found::Damage(from_log_key(key).1),
            })
        })
    }

    /// The position of the last entry of a log, or what its snapshot covers.
    pub(super) fn last_position(&self, head: &Head) -> Result<u64, EngineError> {
        let covers = head.covers.unwrap_or(0);
        let (from, to) = (log_key(head.number, head.trimmed_to).saturating_add(1), log_key(head.number, u64::MAX));
        match self.log_range(from, to).next_back().map(|item| item.key().map_err(EngineError::from)) {
            None => Ok(covers),
            Some(Ok(key)) => {
                let key = key.first_chunk().map(|key| u128::from_be_bytes(*key)).ok_or(EngineError::Key)?;
                Ok(from_log_key(key).1.max(covers))
            }
            Some(Err(error)) if error.is_damage() => {
                let mut last = covers;
                self.log(head.number, head.trimmed_to, u64::MAX, |found| {
                    let (Found::Record(position, _) | Found::Damage(position)) = found;
                    last = last.max(position);
                    Ok(ControlFlow::<()>::Continue(()))
                })?;
                Ok(last)
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Reads all logs from after one key up to and including another, stepping over blocks that cannot be read.
    fn scan<B>(
        &self,
        mut after: u128,
        to: u128,
        mut each: impl FnMut(Scanned) -> Result<ControlFlow<B>, EngineError>,
    ) -> Result<Option<B>, EngineError> {
        while after < to {
            let mut is_damaged = false;
            for item in self.log_range(after + 1, to) {
                match item.into_inner().map_err(EngineError::from) {
                    Ok((key, record)) => {
                        after = key.first_chunk().map(|key| u128::from_be_bytes(*key)).ok_or(EngineError::Key)?;
                        if let ControlFlow::Break(b) = each(Scanned::Record(after, record))? {
                            return Ok(Some(b));
                        }
                    }
                    Err(error) if error.is_damage() => {
                        is_damaged = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if !is_damaged {
                break;
            }
            if let ControlFlow::Break(b) = each(Scanned::Damage(after))? {
                return Ok(Some(b));
            }
            after = self.next_readable(after, to)?;
        }
        Ok(None)
    }

    /// The key before the first that can be read again after an unreadable block; `to` if there is none.
    ///
    /// Where blocks begin is not known above the engine: so it tries further and further off, then narrows down.
    fn next_readable(&self, after: u128, to: u128) -> Result<u128, EngineError> {
        let is_readable = |from: u128| match self.log_range(from, to).next().map(fjall::Guard::into_inner) {
            None | Some(Ok(_)) => Ok(true),
            Some(Err(error)) => match EngineError::from(error) {
                error if error.is_damage() => Ok(false),
                error => Err(error),
            },
        };
        let (mut unreadable, mut step) = (after + 1, 1u128);
        let mut readable = loop {
            let from = unreadable.saturating_add(step).min(to);
            if is_readable(from)? {
                break from;
            }
            if from == to {
                return Ok(to);
            }
            unreadable = from;
            step = step.saturating_mul(2);
        };
        while unreadable + 1 < readable {
            let middle = unreadable + (readable - unreadable) / 2;
            if is_readable(middle)? {
                readable = middle;
            } else {
                unreadable = middle;
            }
        }
        Ok(readable - 1)
    }

    fn log_range(&self, from: u128, to: u128) -> fjall::Iter {
        self.at.range(&self.engine.log, from.to_be_bytes()..=to.to_be_bytes())
    }

    /// The record of a base, not yet verified.
    pub(super) fn base(&self, id: &DashboardId) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        self.of_the_past(past_key(id, BASE, ""))
    }

    /// The record of the segment that begins at a position, not yet verified.
    pub(super) fn segment(
        &self,
        id: &DashboardId,
        from: LogPosition,
    ) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        self.of_the_past(past_key(id, SEGMENT, &SegmentInfo::key_from(from)))
    }

    fn of_the_past(&self, key: Vec<u8>) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        match self.at.get(&self.engine.snapshots, key).map_err(EngineError::from) {
            Ok(value) => Ok(value.map(Ok)),
            Err(error) if error.is_damage() => Ok(Some(Err(Unreadable))),
            Err(error) => Err(error),
        }
    }

    /// The segments of a dashboard, oldest first.
    pub(super) fn segments(&self, id: &DashboardId) -> Result<Vec<SegmentInfo>, EngineError> {
        let prefix = segment_key(id, "");
        let mut segments = Vec::new();
        for item in self.at.prefix(&self.engine.meta, &prefix) {
            segments.extend(SegmentInfo::from_key(&item.key()?[prefix.len()..]));
        }
        Ok(segments)
    }

    /// The ids of a dashboard's versions with their descriptions, oldest first. Those are not yet verified.
    pub(super) fn versions(&self, id: &DashboardId) -> Result<Vec<(VersionId, Value)>, EngineError> {
        let prefix = version_key(id, "");
        let mut versions = Vec::new();
        for item in self.at.prefix(&self.engine.meta, &prefix) {
            let (key, record) = item.into_inner()?;
            let id = str::from_utf8(&key[prefix.len()..]).ok().and_then(VersionId::parse);
            versions.push((id.ok_or(EngineError::Key)?, record));
        }
        Ok(versions)
    }

    /// The record of a version's state, not yet verified.
    pub(super) fn version(
        &self,
        id: &DashboardId,
        version: VersionId,
    ) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        self.of_the_past(past_key(id, VERSION, &version.to_string()))
    }

    /// The keys under which damaged records of a dashboard were set aside.
    pub(super) fn aside_of(&self, id: &DashboardId) -> Result<Vec<Value>, EngineError> {
        let prefix = [id.as_str().as_bytes(), &[NAME_END]].concat();
        self.at.prefix(&self.engine.aside, prefix).map(|item| Ok(item.key()?)).collect()
    }

    /// What was refused of a dashboard: how many were dropped, and number and record of those that are kept, oldest first.
    pub(super) fn refused_of(&self, id: &DashboardId) -> Result<(u64, Vec<(u64, Value)>), EngineError> {
        let prefix = [id.as_str().as_bytes(), &[NAME_END]].concat();
        let (mut dropped, mut kept) = (0, Vec::new());
        for item in self.at.prefix(&self.engine.refused, &prefix) {
            let (key, record) = item.into_inner()?;
            match key[prefix.len()..].first_chunk() {
                Some(number) => kept.push((u64::from_be_bytes(*number), record)),
                None => dropped = record.first_chunk().map_or(0, |count| u64::from_be_bytes(*count)),
            }
        }
        Ok((dropped, kept))
    }

    /// How many refused updates are kept, by dashboard.
    pub(super) fn refused_len(&self) -> Result<BTreeMap<String, u64>, EngineError> {
        let mut counts = BTreeMap::new();
        for item in self.at.iter(&self.engine.refused) {
            let key = item.key()?;
            let name = key.split(|byte| *byte == NAME_END).next().unwrap_or_default();
            let is_count = key.len() == name.len() + 1;
            *counts.entry(String::from_utf8_lossy(name).into_owned()).or_default() += u64::from(!is_count);
        }
        Ok(counts)
    }

    /// What is known of the lives of a name; the default where nothing was ever deleted.
    pub(super) fn lives(&self, id: &DashboardId) -> Result<Lives, EngineError> {
        match self.at.get(&self.engine.meta, life_key(id.as_str()))? {
            None => Ok(Lives::default()),
            Some(record) => decode_lives(&record).map_err(|error| match error {
                RecordError::LaterFormat(version) => EngineError::LaterFormat(version),
                RecordError::Damaged(why) => EngineError::Damage(format!("lives of {id}: {why}")),
            }),
        }
    }

    /// At most `limit` names under which something was deleted, those after `after` only.
    pub(super) fn names_with_lives(
        &self,
        prefix: &str,
        after: Option<&DashboardId>,
        limit: usize,
    ) -> Result<Vec<DashboardId>, EngineError> {
        let from = match after {
            Some(after) if after.as_str() >= prefix => next_key(&life_key(after.as_str())),
            _ => life_key(prefix),
        };
        let within = life_key(prefix);
        let mut names = Vec::new();
        for item in self.at.range(&self.engine.meta, from..) {
            let key = item.key()?;
            if names.len() == limit || !key.starts_with(&within) {
                break;
            }
            let name = str::from_utf8(&key[LIFE_KEYS.len()..]).map_err(|_| EngineError::Key)?;
            names.push(DashboardId::stored(name).map_err(|_| EngineError::Key)?);
        }
        Ok(names)
    }

    /// The damaged records of a dashboard that were set aside, by the part of their keys after the name.
    pub(super) fn aside_records(&self, id: &DashboardId) -> Result<Vec<(Vec<u8>, Value)>, EngineError> {
        let prefix = [id.as_str().as_bytes(), &[NAME_END]].concat();
        let read = self.at.prefix(&self.engine.aside, &prefix).map(|item| {
            let (key, record) = item.into_inner()?;
            Ok((key[prefix.len()..].to_vec(), record))
        });
        read.collect()
    }

    /// A record of the catalog, not yet verified.
    pub(super) fn catalogued(&self, key: &str) -> Result<Option<Result<Value, Unreadable>>, EngineError> {
        match self.at.get(&self.engine.catalog, key).map_err(EngineError::from) {
            Ok(value) => Ok(value.map(Ok)),
            Err(error) if error.is_damage() => Ok(Some(Err(Unreadable))),
            Err(error) => Err(error),
        }
    }

    /// At most `limit` keys of the catalog that start with `prefix`, those after `after` only.
    pub(super) fn catalog_keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Value>, EngineError> {
        let from = match after {
            Some(after) if after >= prefix => next_key(after.as_bytes()),
            _ => prefix.as_bytes().to_vec(),
        };
        let mut keys = Vec::new();
        for item in self.at.range(&self.engine.catalog, from..).take(limit) {
            let key = item.key()?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The last version that a record of the catalog got.
    pub(super) fn catalog_version(&self) -> Result<u64, EngineError> {
        match self.at.get(&self.engine.meta, CATALOG_KEY)? {
            None => Ok(0),
            Some(value) => value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(EngineError::Key),
        }
    }

    /// How many damaged records were set aside.
    pub(super) fn aside_len(&self) -> Result<u64, EngineError> {
        self.at.iter(&self.engine.aside).try_fold(0, |len, item| Ok(item.key().map(|_| len + 1)?))
    }
}

/// Stands for a record whose block cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

/// Writes that become durable together.
pub(super) struct Batch<'a> {
    engine: &'a Engine,
    writes: fjall::OwnedWriteBatch,
    /// What is in it, for the tally.
    notes: Notes,
}

impl Batch<'_> {
    /// Adds a log entry.
    pub(super) fn put_entry(&mut self, number: u64, position: u64, record: Vec<u8>) {
        if position != NAME_POSITION {
            self.notes.entry(number, position);
        }
        self.writes.insert(&self.engine.log, log_key(number, position).to_be_bytes(), record);
    }

    /// Removes a log entry.
    pub(super) fn remove_entry(&mut self, number: u64, position: u64) {
        self.writes.remove(&self.engine.log, log_key(number, position).to_be_bytes());
    }

    /// Says whose log a number is.
    pub(super) fn put_name(&mut self, number: u64, id: &DashboardId) {
        self.notes.name(number, id.as_str());
        self.put_entry(number, NAME_POSITION, encode_name(id));
    }

    /// Forgets whose log a number was.
    pub(super) fn remove_name(&mut self, number: u64) {
        self.remove_entry(number, NAME_POSITION);
    }

    /// Keeps a snapshot, which covers the log up to a position.
    pub(super) fn put_snapshot(&mut self, id: &DashboardId, covers: u64, record: Vec<u8>) {
        self.notes.snapshot(id.as_str(), covers);
        self.writes.insert(&self.engine.snapshots, id.as_str(), record);
    }

    /// Removes a snapshot.
    pub(super) fn remove_snapshot(&mut self, id: &DashboardId) {
        self.writes.remove(&self.engine.snapshots, id.as_str());
    }

    /// Keeps a head. Once per batch and dashboard: which of two in one batch would win is not defined.
    pub(super) fn put_head(&mut self, id: &DashboardId, head: &Head) {
        if head.is_removed {
            self.notes.removed(head.number);
        }
        self.writes.insert(&self.engine.heads, id.as_str(), encode_head(head));
    }

    #[cfg(test)]
    pub(super) fn put_raw_head(&mut self, id: &DashboardId, record: &[u8]) {
        self.writes.insert(&self.engine.heads, id.as_str(), record);
    }

    /// Removes a head.
    pub(super) fn remove_head(&mut self, id: &DashboardId) {
        self.writes.remove(&self.engine.heads, id.as_str());
    }

    /// Keeps a base.
    pub(super) fn put_base(&mut self, id: &DashboardId, record: &[u8]) {
        self.writes.insert(&self.engine.snapshots, past_key(id, BASE, ""), record);
    }

    /// Keeps a segment.
    pub(super) fn put_segment(&mut self, id: &DashboardId, segment: &SealedSegment) {
        let from = SegmentInfo::key_from(segment.info.from);
        self.writes.insert(&self.engine.meta, segment_key(id, &segment.info.key()), [1u8]);
        self.writes.insert(&self.engine.snapshots, past_key(id, SEGMENT, &from), &segment.record[..]);
    }

    /// Notes a segment whose record is gone.
    pub(super) fn put_missing_segment(&mut self, id: &DashboardId, info: &SegmentInfo) {
        self.writes.insert(&self.engine.meta, segment_key(id, &info.key()), [1u8]);
    }

    /// Removes a segment.
    pub(super) fn remove_segment(&mut self, id: &DashboardId, info: &SegmentInfo) {
        self.writes.remove(&self.engine.meta, segment_key(id, &info.key()));
        self.writes.remove(&self.engine.snapshots, past_key(id, SEGMENT, &SegmentInfo::key_from(info.from)));
    }

    /// Keeps the description of a version.
    pub(super) fn put_version(&mut self, id: &DashboardId, version: VersionId, description: &[u8]) {
        self.writes.insert(&self.engine.meta, version_key(id, &version.to_string()), description);
    }

    /// Keeps the state of a version.
    pub(super) fn put_version_state(&mut self, id: &DashboardId, version: VersionId, record: &[u8]) {
        self.writes.insert(&self.engine.snapshots, past_key(id, VERSION, &version.to_string()), record);
    }

    /// Removes a version.
    pub(super) fn remove_version(&mut self, id: &DashboardId, version: VersionId) {
        self.writes.remove(&self.engine.meta, version_key(id, &version.to_string()));
        self.writes.remove(&self.engine.snapshots, past_key(id, VERSION, &version.to_string()));
    }

    /// Removes a base.
    pub(super) fn remove_base(&mut self, id: &DashboardId) {
        self.writes.remove(&self.engine.snapshots, past_key(id, BASE, ""));
    }

    /// Keeps a damaged segment (with where it begins) or base for inspection.
    pub(super) fn put_past_aside(&mut self, id: &DashboardId, from: Option<LogPosition>, record: &[u8]) {
        let mut key = [id.as_str().as_bytes(), &[NAME_END]].concat();
        key.extend_from_slice(if from.is_some() { b"segment " } else { b"base" });
        key.extend(from.into_iter().flat_map(|from| from.0.to_be_bytes()));
        self.writes.insert(&self.engine.aside, key, record);
    }

    #[cfg(test)]
    pub(super) fn put_raw_segment(&mut self, id: &DashboardId, from: LogPosition, record: &[u8]) {
        self.writes.insert(&self.engine.snapshots, past_key(id, SEGMENT, &SegmentInfo::key_from(from)), record);
    }

    /// Keeps a damaged log entry (with its position) or snapshot for inspection.
    pub(super) fn put_aside(&mut self, id: &DashboardId, position: Option<u64>, record: &[u8]) {
        let mut key = [id.as_str().as_bytes(), &[NAME_END]].concat();
        key.extend(position.into_iter().flat_map(u64::to_be_bytes));
        self.writes.insert(&self.engine.aside, key, record);
    }

    /// Keeps what was set aside of a dashboard under the key that it had, after another name.
    pub(super) fn put_aside_again(&mut self, id: &DashboardId, key: &[u8], record: &[u8]) {
        self.writes.insert(&self.engine.aside, [id.as_str().as_bytes(), &[NAME_END], key].concat(), record);
    }

    /// Keeps refused content under a number.
    pub(super) fn put_refused(&mut self, id: &DashboardId, number: u64, record: Vec<u8>) {
        self.writes.insert(&self.engine.refused, refused_key(id, Some(number)), record);
    }

    /// Notes how many refused updates were dropped.
    pub(super) fn put_dropped(&mut self, id: &DashboardId, dropped: u64) {
        self.writes.insert(&self.engine.refused, refused_key(id, None), dropped.to_be_bytes());
    }

    /// Removes refused content by its number, or the count of what was dropped.
    pub(super) fn remove_refused(&mut self, id: &DashboardId, number: Option<u64>) {
        self.writes.remove(&self.engine.refused, refused_key(id, number));
    }

    /// Keeps a record of the catalog under a version.
    pub(super) fn put_catalogued(&mut self, key: &str, version: u64, record: Vec<u8>) {
        self.writes.insert(&self.engine.meta, CATALOG_KEY, version.to_be_bytes());
        self.writes.insert(&self.engine.catalog, key, record);
    }

    /// Removes a record of the catalog.
    pub(super) fn remove_catalogued(&mut self, key: &str) {
        self.writes.remove(&self.engine.catalog, key);
    }

    /// Removes a record that was set aside, by its key.
    pub(super) fn remove_aside(&mut self, key: Value) {
        self.writes.remove(&self.engine.aside, key);
    }

    /// Keeps what is known of the lives of a name.
    pub(super) fn put_lives(&mut self, id: &DashboardId, lives: &Lives) {
        self.writes.insert(&self.engine.meta, life_key(id.as_str()), encode_lives(lives));
    }

    /// Reserves positions up to a bound.
    pub(super) fn reserve_positions(&mut self, to: u64) {
        self.notes.reserved(to);
        self.writes.insert(&self.engine.meta, POSITIONS_KEY, to.to_be_bytes());
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Puts the store's mark on it. Only what is behind damage needs one: it is told from what clients can write.
    pub(super) fn stamp(&mut self, stamp: Stamp) {
        self.writes.insert(&self.engine.meta, STAMP_KEY, stamp.encode());
    }

    /// Writes everything and returns what it was when it is durable. After a failure the engine must be reopened.
    pub(super) fn commit(self) -> Result<Notes, EngineError> {
        if self.writes.is_empty() {
            return Ok(self.notes);
        }
        self.engine.await_workers()?;
        self.writes.commit()?;
        Ok(self.notes)
    }
}

/// The ending of a journal's copy that has not taken its place.
const COPY: &str = "copy";

/// Copies every journal of a database that takes no more writes, each into a synced file beside it.
///
/// After a failed fsync the system may hold pages that it believes to be on disk and that are not. Opening the journal would
/// read them and append behind them, and a power failure would then cut off everything after the hole. A synced copy of what
/// can be read settles what is there. Making it also shows whether the disk takes writes again.
pub(super) fn copy_journals(directory: &Path) -> io::Result<()> {
    let copied = files_ending_in(directory, "jnl")?.into_iter().try_for_each(|journal| {
        let mut to = super::private(File::options().create(true).truncate(true).write(true))
            .open(journal.with_extension(COPY))?;
        copy_sparsely(&mut File::open(&journal)?, &mut to)?;
        to.sync_all()
    });
    if copied.is_err() {
        // Half a copy takes space that is wanted; if it cannot be removed either, opening removes it.
        let _ = drop_copies(directory);
    }
    copied
}

/// Puts the copies in the journals' places. The database must not be open.
pub(super) fn adopt_copies(directory: &Path) -> io::Result<()> {
    for copy in files_ending_in(directory, COPY)? {
        std::fs::rename(&copy, copy.with_extension("jnl"))?;
    }
    File::open(directory)?.sync_all()
}

/// Removes copies that never took a journal's place.
pub(super) fn drop_copies(directory: &Path) -> io::Result<()> {
    files_ending_in(directory, COPY)?.into_iter().try_for_each(std::fs::remove_file)
}

pub(super) fn files_ending_in(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for item in directory.read_dir()? {
        let path = item?.path();
        if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Copies a file without writing the zeros that journals reserve at their end.
pub(super) fn copy_sparsely(from: &mut File, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let zeros = vec![0; buffer.len()];
    let mut at = 0;
    loop {
        let len = from.read(&mut buffer)?;
        if len == 0 {
            return to.set_len(at);
        }
        if buffer[..len] != zeros[..len] {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&buffer[..len])?;
        }
        at += len as u64;
    }
}

/// The key of a log entry as a number: short, so that the engine keeps it within its nodes.
fn log_key(number: u64, position: u64) -> u128 {
    u128::from(number) << 64 | u128::from(position)
}

fn from_log_key(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

fn life_key(name: &str) -> Vec<u8> {
    [LIFE_KEYS, name.as_bytes()].concat()
}

/// The kinds of records of a dashboard's past, beside its snapshot.
const BASE: u8 = b'b';
const SEGMENT: u8 = b's';
const VERSION: u8 = b'v';

fn past_key(id: &DashboardId, what: u8, key: &str) -> Vec<u8> {
    [id.as_str().as_bytes(), &[NAME_END, what], key.as_bytes()].concat()
}

/// The key that lists a segment. It is not beside the segments: one bad bit in a large record would hide the names of all.
fn segment_key(id: &DashboardId, key: &str) -> Vec<u8> {
    [SEGMENT_KEYS, id.as_str().as_bytes(), &[NAME_END], key.as_bytes()].concat()
}

/// The key of a version's description. It is not beside its state, for the same reason.
fn version_key(id: &DashboardId, version: &str) -> Vec<u8> {
    [VERSION_KEYS, id.as_str().as_bytes(), &[NAME_END], version.as_bytes()].concat()
}

fn refused_key(id: &DashboardId, number: Option<u64>) -> Vec<u8> {
    let mut key = [id.as_str().as_bytes(), &[NAME_END]].concat();
    key.extend(number.into_iter().flat_map(u64::to_be_bytes));
    key
}

/// The least key that is greater.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// What the engine ran into.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// The operating system.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Another process has the database open.
    #[error("locked by another process")]
    Locked,
    /// The database stopped after an earlier failure, or its workers do not get on.
    #[error("storage engine stopped after a failure")]
    Stopped,
    /// A table or journal does not hold what was written.
    #[error("damaged file: {0}")]
    Damage(String),
    /// Files of the engine are missing or unreadable in a way that starting would make worse.
    #[error("{0}")]
    Broken(String),
    /// A record of a later ydash.
    #[error("format {0} is not known")]
    LaterFormat(u8),
    /// A key of the engine's own has a wrong length.
    #[error("malformed key")]
    Key,
    /// Anything else.
    #[error("{0}")]
    Other(fjall::Error),
}

impl EngineError {
    /// Whether a block cannot be read because its bytes are wrong.
    fn is_damage(&self) -> bool {
        matches!(self, EngineError::Damage(_))
    }

    /// What a caller is told.
    pub(super) fn into_store_error(self, doing: &'static str) -> StoreError {
        match self {
            EngineError::LaterFormat(version) => RecordError::LaterFormat(version).into_store_error(),
            EngineError::Io(cause) => StoreError::unavailable(doing, cause),
            error => StoreError::unavailable(doing, error),
        }
    }
}

impl From<RecordError> for EngineError {
    fn from(error: RecordError) -> EngineError {
        match error {
            RecordError::LaterFormat(version) => EngineError::LaterFormat(version),
            RecordError::Damaged(what) => EngineError::Damage(what.to_owned()),
        }
    }
}

impl From<fjall::Error> for EngineError {
    fn from(error: fjall::Error) -> EngineError {
        use fjall::{Error, LsmError};
        match error {
            Error::Io(cause) | Error::Storage(LsmError::Io(cause)) => EngineError::Io(cause),
            Error::Locked => EngineError::Locked,
            Error::Poisoned => EngineError::Stopped,
            Error::Storage(damage) => EngineError::Damage(format!("{damage:?}")),
            Error::JournalRecovery(_) | Error::InvalidTag(_) | Error::InvalidTrailer | Error::Decompress(_) => {
                EngineError::Damage(format!("{error:?}"))
            }
            error => EngineError::Other(error),
        }
    }
}
