//! Carrying dashboards from one store to another: one file, in a format that no store uses itself.
//!
//! ```text
//! "ydash archive" 0x0a 0x07                     magic and format version
//! then frames:  kind (1 byte)  length (u32 LE)  payload  CRC-32 of kind, length and payload (u32 LE)
//!   'D'  a dashboard begins: its name
//!   'H'  a sealed segment: segment record                     in their order; not before version 7
//!   'B'  what the log stands on: base record; empty if the log before the snapshot stands on nothing   at most one; not before version 7
//!   'E'  a log entry: its position (u128 LE), entry record    in their order
//!   'S'  its snapshot: snapshot record                        at most one, after its entries
//!   'V'  a version that is kept with its content: length of its description (u32 LE), description, snapshot record   after its
//!        snapshot; not before version 7
//!   'R'  an update that its rooms refused: refused record   after its snapshot; not in version 1
//!   'C'  a record of the catalog: length of its key (u16 LE), key, content   after all dashboards; not before version 4
//!   'Z'  the archive ends: dashboards (u64 LE), entries (u64 LE)
//! ```
//!
//! Entries come before the snapshot because they are read before it: what is trimmed between the two reads is covered by the
//! snapshot then. So an export of a store in use misses nothing that was there when it began.
//!
//! Exporting also saves what is readable of a damaged store.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update::EMPTY_UPDATE;

use super::record::{
    RecordError, check_len, decode_base, decode_entry, decode_refused, decode_segment, decode_snapshot, decode_version,
    encode_base, encode_entry, encode_refused, encode_snapshot, encode_version,
};
use super::trash::{self, TrashError};
use super::{
    Append, Appended, Base, Digest, KeptVersion, LogEntry, LogPosition, RECORD_BYTES_MAX, Seal, SealOutcome, Segment,
    SetAside, SnapshotOutcome, Source, Store, StoreError, VersionInfo, VersionOutcome, Why, lines, versions,
};
use crate::catalog::{self, Catalog, CatalogError, Expected, Key, Record};

const MAGIC: &[u8; 14] = b"ydash archive\n";
const VERSION: u8 = 7;

/// Those that are read. One wrong bit makes none of them another one.
const VERSIONS: [u8; 4] = [1, 2, 4, VERSION];

/// The first version whose archives contain bases.
const FOUNDED: u8 = 7;

const DASHBOARD: u8 = b'D';
const SEGMENT: u8 = b'H';
const BASE: u8 = b'B';
const ENTRY: u8 = b'E';
const SNAPSHOT: u8 = b'S';
const KEPT: u8 = b'V';
const REFUSED: u8 = b'R';
const CATALOGUED: u8 = b'C';
const END: u8 = b'Z';

/// How often the past is read anew because somebody sealed meanwhile.
const TRIES: usize = 8;

/// How much is read and written at once.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 << 20;

/// What an export has written or an import has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Dashboards.
    pub dashboards: u64,
    /// Log entries.
    pub entries: u64,
    /// Sealed segments of history.
    pub segments: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Versions that are kept with their content.
    pub versions: u64,
    /// Versions among them that were not imported: the store has as many of the dashboard as it may, or nothing else of it.
    pub versions_left_out: u64,
    /// Updates that rooms refused, kept for the operator.
    pub refused: u64,
    /// Records of the catalog: who may do what.
    pub records: u64,
    /// Of these, how many were not imported, because the store has other ones: what it says about access stays as it is.
    pub records_differing: u64,
    /// Records that were unreadable in the store and are not in the archive.
    pub damaged: u64,
    /// Entries and snapshots of an archive that hold no content, by dashboard: they are set aside.
    pub unusable: BTreeMap<String, u64>,
}

impl ArchiveReport {
    fn unusable(&mut self, dashboard: &DashboardId) {
        *self.unusable.entry(dashboard.to_string()).or_default() += 1;
    }
}

/// Why an export or an import stopped. An import may be repeated: what was imported already does no harm.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read or written.
    #[error("archive cannot be read or written")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The catalog failed.
    #[error("{0}")]
    Catalog(#[from] CatalogError),
    /// A dashboard cannot begin under the name of a deleted one.
    #[error("{0}")]
    Trash(#[from] TrashError),
    /// The file does not begin as an archive does.
    #[error("not a ydash archive")]
    NotAnArchive,
    /// The file was written by a later ydash.
    #[error("archive format {0} is not known to this version of ydash")]
    LaterFormat(u8),
    /// The file ends before its end mark.
    #[error("archive is cut off after {0} dashboards")]
    CutOff(u64),
    /// The file does not hold what was written.
    #[error("archive is damaged after {dashboards} dashboards: {what}")]
    Damaged {
        /// How many dashboards were begun before.
        dashboards: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Writes the dashboards that `wanted` names into an archive. Blocks its thread while `to` does: for the command line.
///
/// # Errors
/// [`ArchiveError::Io`], [`ArchiveError::Store`] – the archive is incomplete and an import will say so.
pub async fn export(
    store: &dyn Store,
    wanted: impl Fn(&DashboardId) -> bool + Send,
    to: impl Write + Send,
) -> Result<ArchiveReport, ArchiveError> {
    let mut to = Frames { inner: to };
    let mut report = ArchiveReport::default();
    to.inner.write_all(MAGIC)?;
    to.inner.write_all(&[VERSION])?;
    let mut last = None;
    loop {
        let page = store.list("", last.as_ref(), PAGE).await?;
        for dashboard in page.iter().filter(|dashboard| wanted(dashboard)) {
            to.write(DASHBOARD, &[dashboard.as_str().as_bytes()])?;
            export_dashboard(store, dashboard, &mut to, &mut report).await?;
            report.dashboards += 1;
        }
        let is_last = page.len() < PAGE;
        last = page.into_iter().next_back();
        if is_last {
            break;
        }
    }
    export_catalog(&*store.catalog(), wanted, &mut to, &mut report).await?;
    to.write(END, &[&report.dashboards.to_le_bytes(), &report.entries.to_le_bytes()])?;
    to.inner.flush()?;
    Ok(report)
}

/// Writes the records of the dashboards that are wanted, and those that are of none.
async fn export_catalog(
    catalog: &dyn Catalog,
    wanted: impl Fn(&DashboardId) -> bool + Send,
    to: &mut Frames<impl Write + Send>,
    report: &mut ArchiveReport,
) -> Result<(), ArchiveError> {
    for key in catalog::list_all(catalog, "").await? {
        // What is in the trash is not in the archive.
        let is_left_out = |dashboard: DashboardId| !wanted(&dashboard) || dashboard.of_trash().is_some();
        if catalog::is_derived(&key) || catalog::dashboard_of(&key).is_some_and(is_left_out) {
            continue;
        }
        match catalog.get(&key).await {
            Ok(Some(Record { content, .. })) => {
                // Keys are far shorter.
                let len = key.as_str().len() as u16;
                to.write(CATALOGUED, &[&len.to_le_bytes(), key.as_str().as_bytes(), &content])?;
                report.records += 1;
            }
            Ok(None) => {}
            Err(CatalogError::Damaged { .. }) => report.damaged += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes a record, unless there is one.
async fn import_record(catalog: &dyn Catalog, key: &Key, content: Bytes) -> Result<bool, CatalogError> {
    match catalog.put(key, Expected::Absent, content.clone()).await {
        Ok(_) => Ok(true),
        Err(CatalogError::Conflict { .. }) => {
            Ok(catalog.get(key).await?.is_some_and(|record| record.content == content))
        }
        Err(error) => Err(error),
    }
}

async fn export_dashboard(
    store: &dyn Store,
    dashboard: &DashboardId,
    to: &mut Frames<impl Write + Send>,
    report: &mut ArchiveReport,
) -> Result<(), ArchiveError> {
    let mut after = export_past(store, dashboard, to, report).await?;
    loop {
        let page = store.log(dashboard, after, PAGE).await?;
        for (position, entry) in &page {
            to.write(ENTRY, &[&position.0.to_le_bytes(), &encode_entry(entry)?])?;
            after = *position;
        }
        report.entries += page.len() as u64;
        if page.len() < PAGE {
            break;
        }
    }
    let stored = store.load(dashboard).await?;
    report.damaged += u64::from(stored.damaged);
    if let Some((covers, state)) = stored.snapshot {
        check_len(state.len())?;
        to.write(SNAPSHOT, &[&encode_snapshot(covers, &state)])?;
        report.snapshots += 1;
    }
    for info in store.versions(dashboard).await? {
        // It may have been removed meanwhile.
        let Some(record) = store.version(dashboard, info.id).await? else { continue };
        if KeptVersion::open(&record).is_err() {
            report.damaged += 1;
            continue;
        }
        let description = encode_version(&info);
        to.write(KEPT, &[&(description.len() as u32).to_le_bytes(), &description, &record])?;
        report.versions += 1;
    }
    for refused in store.refused(dashboard).await?.kept {
        to.write(REFUSED, &[&encode_refused(&refused)])?;
        report.refused += 1;
    }
    Ok(())
}

/// Writes the sealed segments and the base, and says after which position the log is to follow.
async fn export_past(
    store: &dyn Store,
    dashboard: &DashboardId,
    to: &mut Frames<impl Write + Send>,
    report: &mut ArchiveReport,
) -> Result<LogPosition, ArchiveError> {
    for left in (0..TRIES).rev() {
        let history = store.history(dashboard).await?;
        if !history.is_founded {
            // The log of an earlier ydash still tells authors and times.
            if history.covers.is_some() {
                to.write(BASE, &[])?;
            }
            return Ok(LogPosition::START);
        }
        let mut segments = Vec::with_capacity(history.segments.len());
        for segment in &history.segments {
            segments.push(store.segment(dashboard, segment.from).await?);
        }
        let base = store.base(dashboard).await?;
        if base.position != history.base && left > 0 {
            continue;
        }
        for record in segments.into_iter().flatten() {
            match Segment::open(&record) {
                Ok(_) => {
                    to.write(SEGMENT, &[&record])?;
                    report.segments += 1;
                }
                Err(_) => report.damaged += 1,
            }
        }
        if base.is_damaged {
            report.damaged += 1;
            to.write(BASE, &[])?;
        } else if base.state[..] != EMPTY_UPDATE || !history.segments.is_empty() {
            check_len(base.state.len())?;
            to.write(BASE, &[&encode_base(&base)])?;
        }
        return Ok(base.position);
    }
    unreachable!("the last try takes what it has read")
}

/// Reads an archive into a store. Blocks its thread while `from` does: for the command line.
///
/// A dashboard that the store does not know gets its snapshot and its log as they were. One that it knows is not replaced: the
/// archive's entries and state are appended to it, and merge. `now` is when that is said to have been. What `judge` says to be no
/// content is set aside in the store with the reason, and named.
///
/// # Errors
/// [`ArchiveError`] – what came before the error is imported.
pub async fn import(
    from: impl Read + Send,
    store: &dyn Store,
    now: Timestamp,
    judge: impl Fn(&[u8]) -> Result<(), String> + Send,
) -> Result<ArchiveReport, ArchiveError> {
    let mut from = Frames { inner: from };
    let version = from.expect_magic()?;
    let mut report = ArchiveReport::default();
    let mut importing: Option<Importing> = None;
    loop {
        let (kind, payload) = from.read(report.dashboards)?;
        let damaged = |what| ArchiveError::Damaged { dashboards: report.dashboards, what };
        match (kind, &mut importing) {
            (DASHBOARD | END, before) => {
                if let Some(before) = before.take() {
                    before.finish(store).await?;
                }
                if kind == END {
                    let expected = [report.dashboards.to_le_bytes(), report.entries.to_le_bytes()].concat();
                    return if payload == expected { Ok(report) } else { Err(damaged("counts do not match")) };
                }
                let name = str::from_utf8(&payload).map_err(|_| damaged("name is not text"))?;
                let dashboard = DashboardId::parse(name).map_err(|_| damaged("not a dashboard's name"))?;
                let life = trash::life_to_write(store, &dashboard).await?;
                importing = Some(Importing::begin(store, dashboard, life, now, version >= FOUNDED).await?);
                report.dashboards += 1;
            }
            (SEGMENT, Some(importing)) => {
                let segment = decode_segment(&payload).map_err(|error| readable(error, report.dashboards))?;
                report.segments += 1;
                let mut updates =
                    core::iter::once(&segment.state).chain(segment.entries.iter().map(|(_, e)| &e.update));
                if updates.try_for_each(|update| judge(update)).is_err() {
                    report.unusable(&importing.dashboard);
                    continue;
                }
                importing.segment(store, segment).await?;
            }
            (BASE, Some(importing)) if payload.is_empty() => importing.is_founded = false,
            (BASE, Some(importing)) => {
                let Base { state, .. } = decode_base(&payload).map_err(|error| readable(error, report.dashboards))?;
                if judge(&state).is_err() {
                    // A snapshot of the same kind is named.
                    importing.is_founded = false;
                    continue;
                }
                importing.stand_on(store, state).await?;
            }
            (ENTRY, Some(importing)) => {
                let (position, record) = payload.split_first_chunk().ok_or_else(|| damaged("short entry"))?;
                let entry = decode_entry(record).map_err(|error| readable(error, report.dashboards))?;
                // Counted as the archive counts them.
                report.entries += 1;
                if let Err(why) = judge(&entry.update) {
                    let LogEntry { at, author, session, update, .. } = entry;
                    let refused = SetAside { at, author, session, why: format!("in an archive: {why}"), update };
                    report.unusable(&importing.dashboard);
                    store.set_aside(&importing.dashboard, refused).await?;
                    continue;
                }
                importing.entry(store, LogPosition(u128::from_le_bytes(*position)), entry).await?;
            }
            (SNAPSHOT, Some(importing)) => {
                let (covers, state) = decode_snapshot(&payload).map_err(|error| readable(error, report.dashboards))?;
                report.snapshots += 1;
                if let Err(why) = judge(&state) {
                    let why = format!("snapshot in an archive: {why}");
                    let refused = SetAside { at: now, author: None, session: 0, why, update: state };
                    report.unusable(&importing.dashboard);
                    store.set_aside(&importing.dashboard, refused).await?;
                    continue;
                }
                importing.snapshot(store, covers, state).await?;
            }
            (KEPT, Some(importing)) => {
                let malformed = || damaged("not a version");
                let (len, rest) = payload.split_first_chunk().ok_or_else(malformed)?;
                let split = rest.split_at_checked(u32::from_le_bytes(*len) as usize);
                let (description, record) = split.ok_or_else(malformed)?;
                let info = decode_version(description).map_err(|error| readable(error, report.dashboards))?;
                let (_, state) = decode_snapshot(record).map_err(|error| readable(error, report.dashboards))?;
                report.versions += 1;
                if judge(&state).is_err() {
                    report.unusable(&importing.dashboard);
                    continue;
                }
                let version = KeptVersion { info, record: Bytes::copy_from_slice(record) };
                if !importing.version(store, version).await? {
                    report.versions_left_out += 1;
                }
            }
            (REFUSED, Some(importing)) => {
                let refused = decode_refused(&payload).map_err(|error| readable(error, report.dashboards))?;
                store.set_aside(&importing.dashboard, refused).await?;
                report.refused += 1;
            }
            (CATALOGUED, _) => {
                let malformed = || damaged("not a record of the catalog");
                let (len, rest) = payload.split_first_chunk().ok_or_else(malformed)?;
                let split = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)));
                let (key, content) = split.ok_or_else(malformed)?;
                let key = str::from_utf8(key).ok().and_then(Key::new).ok_or_else(malformed)?;
                report.records += 1;
                if !import_record(&*store.catalog(), &key, Bytes::copy_from_slice(content)).await? {
                    report.records_differing += 1;
                }
            }
            (SEGMENT | BASE | ENTRY | SNAPSHOT | KEPT | REFUSED, None) => {
                return Err(damaged("record before the first dashboard"));
            }
            _ => return Err(damaged("unknown frame")),
        }
    }
}

fn readable(error: RecordError, dashboards: u64) -> ArchiveError {
    match error {
        RecordError::LaterFormat(version) => ArchiveError::LaterFormat(version),
        RecordError::Damaged(what) => ArchiveError::Damaged { dashboards, what },
    }
}

/// A dashboard on its way into a store.
///
/// Its past is made anew there: positions are the store's own, so segments are sealed again, with the same states, entries, authors
/// and times. That is so as long as the log holds nothing but what was appended here. Others may write meanwhile, as rooms of a server
/// on the same store do. No state of the archive contains what they wrote, so from then on none of them stands for the log:
/// states are appended as updates, which merge.
struct Importing {
    dashboard: DashboardId,
    life: Life,
    /// Whether nothing was there before and nobody else has written.
    is_alone: bool,
    /// The end of the log after the last append of this import.
    end: LogPosition,
    /// Up to where it was sealed here.
    sealed: LogPosition,
    now: Timestamp,
    /// Whether the log stands on what came before it in the archive.
    is_founded: bool,
    /// Where the entries stood in the store that they come from.
    positions: Vec<LogPosition>,
    waiting: Vec<LogEntry>,
    /// The segment that is to be sealed when it is known what comes after it.
    open: Option<Segment>,
    previous: Digest,
}

impl Importing {
    async fn begin(
        store: &dyn Store,
        dashboard: DashboardId,
        life: Life,
        now: Timestamp,
        is_founded: bool,
    ) -> Result<Importing, StoreError> {
        let mut importing = Importing {
            dashboard,
            life,
            is_alone: true,
            end: LogPosition::START,
            sealed: LogPosition::START,
            now,
            is_founded,
            positions: Vec::new(),
            waiting: Vec::new(),
            open: None,
            previous: Digest::default(),
        };
        // Read before the load, so that the next append notices what others write after it.
        importing.end = importing.put(store, Vec::new()).await?.position;
        let stored = store.load(&importing.dashboard).await?;
        importing.is_alone = stored.is_empty();
        if !importing.is_alone {
            let position = stored.position;
            let state = lines::state(stored, &Limits::default().for_trusted(), &mut ArchiveReport::default());
            if let Some(state) = state {
                let why = Why::BeforeImport;
                versions::keep_before(store, &importing.dashboard, life, position, &state, why, now).await?;
            }
        }
        Ok(importing)
    }

    /// Appends, and notices whether somebody else has.
    async fn put(&mut self, store: &dyn Store, entries: Vec<LogEntry>) -> Result<Appended, StoreError> {
        let append = Append { dashboard: self.dashboard.clone(), life: self.life, after: None, entries };
        let mut appended = Appended::default();
        for result in store.append(vec![append]).await {
            appended = result?;
        }
        if appended.before != self.end {
            self.others_write();
        }
        self.end = appended.position;
        Ok(appended)
    }

    fn others_write(&mut self) {
        self.is_alone = false;
        self.open = None;
    }

    /// Reads back what was appended here after a position, and says how many entries these are.
    async fn read_back(
        &self,
        store: &dyn Store,
        mut after: LogPosition,
        mut each: impl FnMut(LogPosition, LogEntry) + Send,
    ) -> Result<usize, StoreError> {
        let mut count = 0;
        while after < self.end {
            let page = store.log(&self.dashboard, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            // Later entries are somebody else's.
            for (position, entry) in page.into_iter().take_while(|(position, _)| *position <= self.end) {
                after = position;
                count += 1;
                each(position, entry);
            }
            if is_last {
                break;
            }
        }
        Ok(count)
    }

    /// Appends the entries of a segment, which is sealed once it is known what state they led to.
    async fn segment(&mut self, store: &dyn Store, segment: Segment) -> Result<(), StoreError> {
        if self.is_alone {
            self.stand_on(store, segment.state.clone()).await?;
        }
        if !self.is_alone {
            // The snapshot contains its edits.
            return Ok(());
        }
        for some in segment.entries.chunks(PAGE) {
            self.put(store, some.iter().map(|(_, entry)| entry.clone()).collect()).await?;
        }
        if !self.is_alone {
            return Ok(());
        }
        // Their positions in this store.
        let from = store.history(&self.dashboard).await?.base;
        let mut entries: Vec<(LogPosition, LogEntry)> = Vec::with_capacity(segment.entries.len());
        self.read_back(store, from, |position, entry| entries.push((position, entry))).await?;
        if entries.len() == segment.entries.len() {
            self.open = Some(Segment { from, previous: self.previous, entries, ..segment });
        } else {
            // Somebody else has sealed or trimmed.
            self.others_write();
        }
        Ok(())
    }

    /// Makes `state` the base of what comes next: the entries so far led to it.
    async fn stand_on(&mut self, store: &dyn Store, state: Bytes) -> Result<(), StoreError> {
        if !self.is_alone {
            return self.merge(store, state).await;
        }
        let Some(open) = self.open.take() else {
            if state[..] != EMPTY_UPDATE {
                self.keep(store, LogPosition::START, state).await?;
            }
            return Ok(());
        };
        let sealed = open.seal();
        let position = sealed.info.to;
        if !self.keep(store, position, state.clone()).await? {
            return Ok(());
        }
        self.previous = Digest::of(&sealed.record);
        let base = Base { state, previous: self.previous, ..Base::empty(position) };
        let seal = Seal { from: open.from, base, segment: Some(sealed) };
        if store.seal(&self.dashboard, seal).await? == SealOutcome::Superseded {
            // The snapshot holds the state.
            self.others_write();
            return Ok(());
        }
        self.sealed = position;
        store.trim(&self.dashboard).await
    }

    /// Keeps a snapshot, unless somebody else has kept a later one: then its state is merged. Says whether it is kept.
    async fn keep(&mut self, store: &dyn Store, covers: LogPosition, state: Bytes) -> Result<bool, StoreError> {
        match store.snapshot(&self.dashboard, covers, state.clone()).await? {
            SnapshotOutcome::Kept => Ok(true),
            SnapshotOutcome::Superseded => {
                self.others_write();
                self.merge(store, state).await?;
                Ok(false)
            }
        }
    }

    /// Appends a state as an update.
    async fn merge(&mut self, store: &dyn Store, state: Bytes) -> Result<(), StoreError> {
        if state[..] != EMPTY_UPDATE {
            self.waiting.push(self.imported(state));
        }
        self.append(store).await
    }

    fn imported(&self, update: Bytes) -> LogEntry {
        LogEntry { at: self.now, author: None, session: 0, source: Source::Import, update }
    }

    async fn entry(&mut self, store: &dyn Store, position: LogPosition, entry: LogEntry) -> Result<(), StoreError> {
        self.positions.push(position);
        self.waiting.push(entry);
        let bytes: usize = self.waiting.iter().map(|entry| entry.update.len()).sum();
        if self.waiting.len() >= PAGE || bytes >= PAGE_BYTES { self.append(store).await } else { Ok(()) }
    }

    async fn append(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.waiting);
        self.put(store, entries).await.map(drop)
    }

    async fn snapshot(&mut self, store: &dyn Store, covers: LogPosition, state: Bytes) -> Result<(), StoreError> {
        self.append(store).await?;
        if !self.is_alone {
            return self.merge(store, state).await;
        }
        // A segment whose base is not known is in the log still, and covered.
        let unsealed = self.open.as_ref().map_or(0, |open| open.entries.len());
        let covered = unsealed + self.positions.iter().filter(|position| **position <= covers).count();
        let (mut last, mut seen) = (self.sealed, 0);
        let note = |position, _| {
            seen += 1;
            if seen <= covered {
                last = position;
            }
        };
        if self.read_back(store, self.sealed, note).await? != unsealed + self.positions.len() {
            // Somebody else has trimmed, so these cannot be counted.
            self.others_write();
            return self.merge(store, state).await;
        }
        let is_kept = self.keep(store, last, state.clone()).await?;
        let history = store.history(&self.dashboard).await?;
        if is_kept && !self.is_founded && history.base < last {
            // Earlier entries tell authors and times, and no version.
            let base = Base { state, ..Base::empty(last) };
            store.seal(&self.dashboard, Seal { from: history.base, base, segment: None }).await?;
        }
        Ok(())
    }

    /// Keeps a version under its id; says whether there was room. Its position was one of another log, and its length is counted here.
    async fn version(&mut self, store: &dyn Store, version: KeptVersion) -> Result<bool, StoreError> {
        // Without an entry there may be no dashboard yet.
        self.append(store).await?;
        let info = VersionInfo { position: None, bytes: version.record.len() as u64, ..version.info };
        let kept = store.keep_version(&self.dashboard, self.life, KeptVersion { info, ..version }).await?;
        Ok(kept == VersionOutcome::Kept)
    }

    async fn finish(mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.append(store).await
    }
}

struct Frames<I> {
    inner: I,
}

impl<W: Write> Frames<W> {
    fn write(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut crc = crc32fast::Hasher::new();
        let mut put = |bytes: &[u8]| {
            crc.update(bytes);
            self.inner.write_all(bytes)
        };
        put(&[kind])?;
        put(&len.to_le_bytes())?;
        parts.iter().try_for_each(|part| put(part))?;
        self.inner.write_all(&crc.finalize().to_le_bytes())
    }
}

impl<R: Read> Frames<R> {
    fn expect_magic(&mut self) -> Result<u8, ArchiveError> {
        let mut start = [0; MAGIC.len() + 1];
        match self.inner.read_exact(&mut start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::NotAnArchive),
            Err(error) => Err(error.into()),
            Ok(()) if start[..MAGIC.len()] != *MAGIC => Err(ArchiveError::NotAnArchive),
            Ok(()) if !VERSIONS.contains(&start[MAGIC.len()]) => Err(ArchiveError::LaterFormat(start[MAGIC.len()])),
            Ok(()) => Ok(start[MAGIC.len()]),
        }
    }

    fn read(&mut self, dashboards: u64) -> Result<(u8, Vec<u8>), ArchiveError> {
        let cut_off = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::CutOff(dashboards),
            _ => ArchiveError::Io(error),
        };
        let damaged = |what| ArchiveError::Damaged { dashboards, what };
        let mut head = [0; 5];
        self.inner.read_exact(&mut head).map_err(cut_off)?;
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if len > RECORD_BYTES_MAX + PAGE_BYTES {
            return Err(damaged("implausible length"));
        }
        // Grows with what is really there, so that a damaged length costs no memory.
        let mut payload = Vec::new();
        if self.inner.by_ref().take(len as u64).read_to_end(&mut payload)? < len {
            return Err(ArchiveError::CutOff(dashboards));
        }
        let mut crc = [0; 4];
        self.inner.read_exact(&mut crc).map_err(cut_off)?;
        let mut expected = crc32fast::Hasher::new();
        expected.update(&head);
        expected.update(&payload);
        if u32::from_le_bytes(crc) == expected.finalize() {
            Ok((head[0], payload))
        } else {
            Err(damaged("checksum does not match"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use ydash_proto::version::VersionId;

    use super::super::Stored;
    use super::super::contract::{entry, id, update};
    use super::super::embedded::EmbeddedStore;
    use super::super::memory::{MemoryStore, Verdict};
    use super::super::past::begin_at;
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    /// Updates of these tests are texts.
    async fn import(from: impl Read + Send, store: &dyn Store, now: Timestamp) -> Result<ArchiveReport, ArchiveError> {
        super::import(from, store, now, |_| Ok(())).await
    }

    /// Dashboards of every shape: only a log, history with a snapshot in its middle, a trimmed log, only a snapshot.
    async fn filled() -> MemoryStore {
        let store = MemoryStore::new();
        let log_only = Append {
            dashboard: id("w/log"),
            life: Life::FIRST,
            after: None,
            entries: (0..600).map(|n| entry(n, &n.to_string())).collect(),
        };
        ok(&store, log_only).await;
        for (dashboard, is_trimmed) in [("w/history", false), ("w/trimmed", true)] {
            for n in 0..300 {
                ok(&store, update(dashboard, n)).await;
            }
            let covers = store.load(&id(dashboard)).await.unwrap().position;
            for n in 300..310 {
                ok(&store, update(dashboard, n)).await;
            }
            let state = Bytes::from(format!("state of {dashboard} ").repeat(2000));
            store.snapshot(&id(dashboard), covers, state.clone()).await.unwrap();
            if is_trimmed {
                begin_at(&store, &id(dashboard), covers, state).await.unwrap();
            }
        }
        let refused =
            SetAside { at: NOW, author: None, session: 1, why: "reason".to_owned(), update: Bytes::from_static(b"x") };
        store.set_aside(&id("w/log"), refused).await.unwrap();
        let state = Bytes::from_static(b"seed");
        store.snapshot(&id("w/snapshot"), LogPosition::START, state).await.unwrap();
        store
    }

    async fn ok(store: &dyn Store, append: Append) -> LogPosition {
        store.append(vec![append]).await.remove(0).unwrap().position
    }

    /// Everything about a store but its positions.
    async fn contents(store: &dyn Store) -> Vec<(DashboardId, Option<Bytes>, Vec<Bytes>, Vec<LogEntry>)> {
        let mut contents = Vec::new();
        for dashboard in store.list("", None, usize::MAX).await.unwrap() {
            let Stored { snapshot, tail, .. } = store.load(&dashboard).await.unwrap();
            let log = store.log(&dashboard, LogPosition::START, usize::MAX).await.unwrap();
            let log = log.into_iter().map(|(_, entry)| entry).collect();
            contents.push((dashboard, snapshot.map(|(_, state)| state), tail, log));
        }
        contents
    }

    async fn exported(store: &dyn Store) -> Vec<u8> {
        let mut archive = Vec::new();
        export(store, |_| true, &mut archive).await.unwrap();
        archive
    }

    #[tokio::test]
    async fn a_dashboard_of_an_older_name_is_imported_to_where_it_belongs() {
        let older = MemoryStore::new();
        let dashboard = DashboardId::stored("default/team/sales").unwrap();
        ok(&older, Append { dashboard, life: Life::FIRST, after: None, entries: vec![entry(1, "older")] }).await;
        let mut archive = Vec::new();
        export(&older, |_| true, &mut archive).await.unwrap();
        let store = MemoryStore::new();
        import(archive.as_slice(), &store, NOW).await.unwrap();
        assert_eq!(store.list("", None, 9).await.unwrap(), [id("team/sales")]);
        assert_eq!(store.load(&id("team/sales")).await.unwrap().tail.len(), 1);
    }

    #[tokio::test]
    async fn what_is_exported_imports_into_every_store() {
        let memory = filled().await;
        let mut archive = Vec::new();
        let report = export(&memory, |_| true, &mut archive).await.unwrap();
        assert_eq!((report.dashboards, report.snapshots, report.refused, report.damaged), (4, 3, 1, 0));

        let directory = tempfile::tempdir().unwrap();
        let embedded = EmbeddedStore::open(directory.path()).unwrap();
        ok(&embedded, update("other/one", 1)).await;
        embedded.remove(&id("other/one")).await.unwrap();
        assert_eq!(import(archive.as_slice(), &embedded, NOW).await.unwrap(), report);
        assert_eq!(contents(&embedded).await, contents(&memory).await);

        let again = MemoryStore::new();
        import(exported(&embedded).await.as_slice(), &again, NOW).await.unwrap();
        assert_eq!(contents(&again).await, contents(&memory).await);
        assert_eq!(again.refused(&id("w/log")).await.unwrap(), memory.refused(&id("w/log")).await.unwrap());
    }

    async fn sealed_three_times() -> MemoryStore {
        let memory = MemoryStore::new();
        let (mut from, mut previous) = (LogPosition::START, Digest::default());
        let mut state = Bytes::from_static(&EMPTY_UPDATE);
        for round in 0..3u64 {
            let mut entries: Vec<_> = (0..300).map(|n| entry(1000 * round + n, &format!("{round}.{n}"))).collect();
            entries.iter_mut().step_by(2).for_each(|entry| entry.author = Some("ada".into()));
            let to = ok(&memory, Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries }).await;
            let entries = memory.log(&id("w/a"), from, usize::MAX).await.unwrap();
            let sealed = Segment { from, state, previous, entries }.seal();
            state = Bytes::from(format!("state {round}"));
            previous = Digest::of(&sealed.record);
            memory.snapshot(&id("w/a"), to, state.clone()).await.unwrap();
            let base = Base { state: state.clone(), previous, ..Base::empty(to) };
            memory.seal(&id("w/a"), Seal { from, base, segment: Some(sealed) }).await.unwrap();
            memory.trim(&id("w/a")).await.unwrap();
            from = to;
        }
        ok(&memory, update("w/a", 9000)).await;
        memory
    }

    /// A write during an import, at any of its steps, is not lost, and neither is content of the archive.
    #[tokio::test]
    async fn who_writes_during_an_import_loses_nothing() {
        let sealed = sealed_three_times().await;
        // More than an import appends at once, a snapshot in their middle.
        let open = MemoryStore::new();
        let mut covers = LogPosition::START;
        for n in 0..600 {
            let position = ok(&open, update("w/a", n)).await;
            covers = if n < 400 { position } else { covers };
        }
        open.snapshot(&id("w/a"), covers, Bytes::from_static(b"state 2")).await.unwrap();
        let mut older = exported(&open).await;
        older[MAGIC.len()] = 4;
        for (archive, last) in
            [(exported(&sealed).await, "update 9000"), (exported(&open).await, "update 599"), (older, "update 599")]
        {
            for writes_at in 1.. {
                let store = Arc::new(MemoryStore::new());
                let (steps, other) = (Arc::new(AtomicUsize::new(0)), Arc::downgrade(&store));
                let counted = Arc::clone(&steps);
                store.faults().on_step(move |_, dashboard| {
                    let is_one = dashboard == Some(&id("w/a"));
                    if is_one && counted.fetch_add(1, Ordering::Relaxed) + 1 == writes_at {
                        let theirs = Append { entries: vec![entry(1, "theirs")], ..update("w/a", 0) };
                        let written = other.upgrade().unwrap().append(vec![theirs]).now_or_never();
                        written.expect("it does not wait").remove(0).unwrap();
                    }
                    Verdict::Proceed
                });
                import(archive.as_slice(), &*store, NOW).await.unwrap();
                store.faults().heal();
                let Stored { snapshot, tail, .. } = store.load(&id("w/a")).await.unwrap();
                let is_there = steps.load(Ordering::Relaxed) >= writes_at;
                let at = format!("at step {writes_at} of the archive that ends with {last}");
                assert_eq!(
                    tail.iter().filter(|update| update[..] == *b"theirs").count(),
                    usize::from(is_there),
                    "{at}"
                );
                assert!(tail.iter().any(|update| update[..] == *last.as_bytes()), "{at}");
                let mut known = snapshot.iter().map(|(_, state)| state).chain(&tail);
                assert!(known.any(|update| update[..] == *b"state 2"), "{at}");
                for info in &store.history(&id("w/a")).await.unwrap().segments {
                    let record = store.segment(&id("w/a"), info.from).await.unwrap().unwrap();
                    let segment = Segment::open(&record).unwrap();
                    assert!(segment.entries.iter().all(|(_, entry)| entry.update[..] != *b"theirs"), "{at}");
                }
                if !is_there {
                    assert!(writes_at > 10, "it has so many steps");
                    break;
                }
            }
        }
    }

    /// Three segments of two authors: what is sealed again has the same states, entries, authors and times, and a chain of its own.
    #[tokio::test]
    async fn the_past_comes_along_into_every_store() {
        let memory = sealed_three_times().await;
        let archive = exported(&memory).await;
        let past = async |store: &dyn Store| {
            let mut past = Vec::new();
            let (mut chain, history) = (Digest::default(), store.history(&id("w/a")).await.unwrap());
            for info in &history.segments {
                let record = store.segment(&id("w/a"), info.from).await.unwrap().unwrap();
                let segment = Segment::open(&record).unwrap();
                assert_eq!(segment.previous, chain);
                chain = Digest::of(&record);
                past.push((segment.state, segment.entries.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>()));
            }
            let base = store.base(&id("w/a")).await.unwrap();
            assert_eq!((base.previous, base.position), (chain, history.base));
            past.push((base.state, Vec::new()));
            past
        };
        let before = past(&memory).await;
        assert_eq!(before.len(), 4);
        let directory = tempfile::tempdir().unwrap();
        let embedded = EmbeddedStore::open(directory.path()).unwrap();
        ok(&embedded, update("other/one", 1)).await;
        let report = import(archive.as_slice(), &embedded, NOW).await.unwrap();
        assert_eq!((report.segments, report.entries), (3, 1));
        assert_eq!(past(&embedded).await, before);
        assert_eq!(contents(&embedded).await[1], contents(&memory).await[0]);
        let again = MemoryStore::new();
        import(exported(&embedded).await.as_slice(), &again, NOW).await.unwrap();
        assert_eq!(past(&again).await, before);
    }

    #[tokio::test]
    async fn versions_come_along_and_what_is_imported_over_is_kept_as_one() {
        let (store, board) = (sealed_three_times().await, id("w/a"));
        let state = ydash_proto::document::from_json(b"{\"k\":[1]}", 1).unwrap();
        let info = VersionInfo {
            id: VersionId(7),
            position: Some(LogPosition(3)),
            at: Timestamp(8),
            name: "Q3".to_owned(),
            note: "as agreed".to_owned(),
            author: Some("ada".into()),
            why: Why::Named,
            bytes: 0,
        };
        let version = KeptVersion::new(info, &state).unwrap();
        store.keep_version(&board, Life::FIRST, version.clone()).await.unwrap();
        let archive = exported(&store).await;
        let target = MemoryStore::new();
        let report = import(archive.as_slice(), &target, NOW).await.unwrap();
        assert_eq!((report.versions, report.versions_left_out), (1, 0));
        let info = VersionInfo { position: None, ..version.info };
        assert_eq!(
            target.versions(&board).await.unwrap(),
            std::slice::from_ref(&info),
            "its position was another log's"
        );
        assert_eq!(target.version(&board, VersionId(7)).await.unwrap(), Some(version.record));
        // Imported over, what was there before is a version; the one of the archive stays as it is.
        let (target, update) = (MemoryStore::new(), state.into());
        let entries = vec![LogEntry { update, ..entry(1, "") }];
        ok(&target, Append { dashboard: board.clone(), life: Life::FIRST, after: None, entries }).await;
        for n in 1..3 {
            import(archive.as_slice(), &target, NOW).await.unwrap();
            let versions = target.versions(&board).await.unwrap();
            assert_eq!((versions.len(), &versions[0]), (1 + n, &info));
            assert!(versions[1..].iter().all(|info| info.why == Why::BeforeImport && info.is_automatic()));
            let record = target.version(&board, versions[1].id).await.unwrap().unwrap();
            let kept = KeptVersion::open(&record).unwrap();
            assert!(n > 1 || ydash_proto::document::to_json(&kept).unwrap() == "{\"k\":[1]}");
        }
        // A damaged one is not exported, and costs nothing else.
        store.damage_version(&board, VersionId(7));
        let mut archive = Vec::new();
        let report = export(&store, |_| true, &mut archive).await.unwrap();
        assert_eq!((report.versions, report.damaged, report.segments), (0, 1, 3));
    }

    /// The log in an older archive may be whole, or only its end.
    #[tokio::test]
    async fn the_log_of_an_older_archive_stands_on_its_snapshot() {
        let store = MemoryStore::new();
        for n in 0..5 {
            ok(&store, update("w/a", n)).await;
        }
        let covers = store.load(&id("w/a")).await.unwrap().position;
        store.snapshot(&id("w/a"), covers, Bytes::from_static(b"state")).await.unwrap();
        ok(&store, update("w/a", 5)).await;
        let mut archive = exported(&store).await;
        archive[MAGIC.len()] = 4;
        let target = MemoryStore::new();
        import(archive.as_slice(), &target, NOW).await.unwrap();
        let base = target.base(&id("w/a")).await.unwrap();
        assert_eq!((base.position, base.state), (covers, Bytes::from_static(b"state")));
        assert_eq!(contents(&target).await, contents(&store).await, "who and when is there still");
    }

    #[tokio::test]
    async fn an_import_into_known_dashboards_adds_and_displaces_nothing() {
        let archive = exported(&filled().await).await;
        let store = MemoryStore::new();
        let covers = ok(&store, update("w/history", 1000)).await;
        let mine = Bytes::from_static(b"mine");
        assert_eq!(store.snapshot(&id("w/history"), covers, mine.clone()).await.unwrap(), SnapshotOutcome::Kept);
        import(archive.as_slice(), &store, NOW).await.unwrap();
        let stored = store.load(&id("w/history")).await.unwrap();
        assert_eq!(stored.snapshot.unwrap().1, mine);
        assert_eq!(stored.tail.len(), 311, "310 entries and the state");
        assert!(stored.tail[310].starts_with(b"state of w/history"));
        let log = store.log(&id("w/history"), covers, usize::MAX).await.unwrap();
        assert_eq!((log.last().unwrap().1.at, log.last().unwrap().1.source), (NOW, Source::Import));
    }

    #[tokio::test]
    async fn a_filter_chooses_dashboards() {
        let mut archive = Vec::new();
        export(&filled().await, |dashboard| dashboard.name() == "log", &mut archive).await.unwrap();
        let store = MemoryStore::new();
        assert_eq!(import(archive.as_slice(), &store, NOW).await.unwrap().entries, 600);
        assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/log")]);
    }

    #[tokio::test]
    async fn what_is_readable_of_a_damaged_store_is_exported() {
        let store = filled().await;
        store.damage_entry(&id("w/log"), 7);
        store.damage_snapshot(&id("w/history"));
        let mut archive = Vec::new();
        let report = export(&store, |_| true, &mut archive).await.unwrap();
        assert_eq!((report.damaged, report.snapshots), (2, 2));
        let saved = MemoryStore::new();
        import(archive.as_slice(), &saved, NOW).await.unwrap();
        assert_eq!(saved.load(&id("w/log")).await.unwrap().tail.len(), 599);
        assert_eq!(saved.load(&id("w/history")).await.unwrap().tail.len(), 310);
    }

    #[tokio::test]
    async fn every_cut_and_every_flipped_bit_is_noticed() {
        let store = MemoryStore::new();
        let covers = ok(&store, update("w/a", 1)).await;
        ok(&store, update("w/a", 2)).await;
        store.snapshot(&id("w/a"), covers, Bytes::from_static(b"state")).await.unwrap();
        let archive = exported(&store).await;
        for len in 0..archive.len() {
            let error = import(&archive[..len], &MemoryStore::new(), NOW).await.unwrap_err();
            assert!(matches!(error, ArchiveError::NotAnArchive | ArchiveError::CutOff(_)), "{len}: {error:?}");
        }
        for bit in 0..archive.len() * 8 {
            let mut flipped = archive.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(import(flipped.as_slice(), &MemoryStore::new(), NOW).await.is_err(), "bit {bit}");
        }
    }

    /// Change these bytes only together with [`VERSION`] and docs/STORAGE.md.
    #[tokio::test]
    async fn golden_archive() {
        let archive = exported(&MemoryStore::new()).await;
        let end = [vec![END, 16, 0, 0, 0], vec![0; 16], vec![0xb8, 0x39, 0xf1, 0xdf]].concat();
        assert_eq!(archive, [MAGIC.as_slice(), &[7], &end].concat());
        for version in [1, 2, 4] {
            let earlier = [MAGIC.as_slice(), &[version], &end].concat();
            assert_eq!(import(earlier.as_slice(), &MemoryStore::new(), NOW).await.unwrap(), ArchiveReport::default());
        }
    }

    /// Sealed rightly, and no updates: import said ok, and a load dropped them without a word.
    #[tokio::test]
    async fn what_is_no_content_is_set_aside_and_named() {
        let store = MemoryStore::new();
        let covers = ok(&store, update("w/a", 1)).await;
        ok(&store, update("w/a", 2)).await;
        store.snapshot(&id("w/b"), LogPosition::START, Bytes::from_static(b"garbage")).await.unwrap();
        store.snapshot(&id("w/a"), covers, Bytes::from_static(b"state")).await.unwrap();
        let archive = exported(&store).await;
        let target = MemoryStore::new();
        let judge = |bytes: &[u8]| match bytes {
            b"garbage" | b"update 2" => Err("is garbage".to_owned()),
            _ => Ok(()),
        };
        let report = super::import(archive.as_slice(), &target, NOW, judge).await.unwrap();
        let unusable: Vec<_> = report.unusable.into_iter().collect();
        assert_eq!(unusable, [("w/a".to_owned(), 1), ("w/b".to_owned(), 1)]);
        let stored = target.load(&id("w/a")).await.unwrap();
        assert_eq!((stored.snapshot.unwrap().1.as_ref(), stored.tail.len()), (b"state".as_slice(), 0));
        let kept = target.refused(&id("w/a")).await.unwrap().kept;
        assert_eq!(
            (kept[0].update.as_ref(), kept[0].why.as_str()),
            (b"update 2".as_slice(), "in an archive: is garbage")
        );
        assert!(target.load(&id("w/b")).await.unwrap().is_empty());
        assert_eq!(target.refused(&id("w/b")).await.unwrap().kept.len(), 1);
    }

    #[tokio::test]
    async fn records_of_the_catalog_come_along_and_replace_nothing() {
        let (store, target) = (filled().await, MemoryStore::new());
        let key = |text: &str| Key::new(text).unwrap();
        let put = async |store: &MemoryStore, at: &str, content: &'static [u8]| {
            let content = Bytes::from_static(content);
            store.catalog().put(&key(at), Expected::Absent, content).await.unwrap();
        };
        put(&store, "acl/w/log", b"{1}").await;
        put(&store, "acl/w/history", b"{2}").await;
        put(&store, "acl/w", b"{3}").await;
        put(&target, "acl/w/history", b"{restricted}").await;
        let report = import(exported(&store).await.as_slice(), &target, NOW).await.unwrap();
        assert_eq!((report.records, report.records_differing), (3, 1));
        let content = async |at: &str| target.catalog().get(&key(at)).await.unwrap().unwrap().content;
        assert_eq!(content("acl/w/log").await, "{1}");
        assert_eq!(content("acl/w/history").await, "{restricted}");
        assert_eq!(content("acl/w").await, "{3}");
        // Once more, and what is the same is no difference.
        let report = import(exported(&store).await.as_slice(), &target, NOW).await.unwrap();
        assert_eq!((report.records, report.records_differing), (3, 1));

        let mut one = Vec::new();
        export(&store, |dashboard| dashboard.name() == "log", &mut one).await.unwrap();
        let target = MemoryStore::new();
        import(one.as_slice(), &target, NOW).await.unwrap();
        assert_eq!(catalog::list_all(&*target.catalog(), "").await.unwrap(), [key("acl/w"), key("acl/w/log")]);
    }

    #[tokio::test]
    async fn another_version_is_named() {
        let mut archive = exported(&MemoryStore::new()).await;
        archive[MAGIC.len()] = 5;
        let error = import(archive.as_slice(), &MemoryStore::new(), NOW).await.unwrap_err();
        assert!(matches!(error, ArchiveError::LaterFormat(5)), "{error:?}");
    }
}
