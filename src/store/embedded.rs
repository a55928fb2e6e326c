//! The store in one directory on disk: the default. Needs no server beside ydash.
//!
//! A log-structured engine (fjall) keeps the records; `committer` is the one thread that writes to it, syncs, and only then
//! answers. Reads go to few blocking threads. After a full disk or another IO error the `slot` reopens the engine without a
//! restart. See docs/STORAGE.md for the layout.

mod catalog;
mod committer;
mod engine;
mod files;
mod journal;
mod recovery;
mod slot;
mod tally;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod disk_tests;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, Lives};
use ydash_proto::version::VersionId;

use self::catalog::EmbeddedCatalog;
use self::committer::{Committer, Job, Sealing, Snapshot};
use self::engine::{EngineError, Found, Unreadable, View};
use self::slot::Slot;
use super::record::{
    Head, RecordError, check_len, decode_entry, decode_entry_at, decode_entry_update, decode_refused, decode_snapshot,
    decode_snapshot_covers, decode_version, encode_base, encode_refused, encode_snapshot, verify_base, verify_segment,
};
use super::versions;
use super::{
    Append, Appended, Base, CheckReport, DamagedRecord, History, HistoryLimits, KeptVersion, LogEntry, LogPosition,
    Missing, OpenError, Refused, Seal, SealOutcome, SetAside, SnapshotOutcome, Store, StoreError, StoreLife, Stored,
    VersionInfo, VersionOutcome,
};
use crate::catalog::Catalog;

/// The layout of the directory.
const FORMAT: u8 = 1;

/// Reads at once. More threads would only wait for the same disk, and each keeps a stack.
const READERS: usize = 4;

/// Dashboards in a directory.
pub struct EmbeddedStore {
    slot: Arc<Slot>,
    jobs: mpsc::Sender<Job>,
    readers: Arc<Semaphore>,
    missing: Vec<Missing>,
    /// Held from opening to closing, also while the engine is being reopened.
    lock: Mutex<Option<File>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created if need be. Blocks while it reads the journal.
    ///
    /// # Errors
    /// [`OpenError::Locked`] – another process has it open. [`OpenError::Format`] – another version of ydash wrote it.
    /// [`OpenError::Damaged`] – files are missing or unreadable. [`OpenError::Directory`] – it cannot be created, read or written.
    pub fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
        EmbeddedStore::open_with_history(directory, HistoryLimits::default())
    }

    /// As [`EmbeddedStore::open`], with bounds for history.
    ///
    /// # Errors
    /// As for [`EmbeddedStore::open`].
    pub fn open_with_history(directory: &Path, history: HistoryLimits) -> Result<EmbeddedStore, OpenError> {
        let store = EmbeddedStore::open_with(directory, history, false)?;
        for missing in store.missing.iter().take(CheckReport::DAMAGED_MAX) {
            tracing::error!(dashboard = missing.dashboard, entries = missing.entries, "lost: {}", missing.why);
        }
        if !store.missing.is_empty() {
            let entries: u64 = store.missing.iter().map(|missing| missing.entries).sum();
            tracing::error!(
                dashboards = store.missing.len(),
                entries,
                directory = %directory.display(),
                "the store has lost something; the rest is served. ydash doctor says what, ydash doctor --salvage marks it as seen"
            );
        }
        Ok(store)
    }

    /// Makes a damaged directory openable, and leaves it closed; see [`super::salvage`].
    ///
    /// # Errors
    /// As for [`EmbeddedStore::open`].
    pub fn salvage(directory: &Path) -> Result<(PathBuf, Vec<Missing>), OpenError> {
        let store = EmbeddedStore::open_with(directory, HistoryLimits::default(), true)?;
        let failed = |error: io::Error| OpenError::Directory { directory: directory.to_owned(), cause: error.into() };
        let kept = recovery::acknowledge(directory).map_err(failed)?;
        let missing = store.missing.clone();
        store.slot.close();
        Ok((kept, missing))
    }

    fn open_with(directory: &Path, history: HistoryLimits, salvage: bool) -> Result<EmbeddedStore, OpenError> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| OpenError::Directory {
            directory: directory.to_owned(),
            cause,
        };
        let lock = lock(directory).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => OpenError::Locked { directory: directory.to_owned() },
            _ => failed(error.into()),
        })?;
        let tightened = tighten(directory).map_err(|error| failed(error.into()))?;
        if tightened > 0 {
            tracing::info!(
                files = tightened,
                directory = %directory.display(),
                "the store was readable for others on this machine, and is not any more"
            );
        }
        if let Some(version) = other_format(directory).map_err(|error| failed(error.into()))? {
            return Err(OpenError::Format { directory: directory.to_owned(), version, known: FORMAT });
        }
        let recovered = recovery::open(directory, salvage).map_err(|error| match error {
            EngineError::Locked => OpenError::Locked { directory: directory.to_owned() },
            EngineError::Broken(what) | EngineError::Damage(what) => {
                OpenError::Damaged { directory: directory.to_owned(), what }
            }
            EngineError::Io(error) if error.kind() == ErrorKind::NotFound => {
                OpenError::Damaged { directory: directory.to_owned(), what: error.to_string() }
            }
            EngineError::Other(error) => {
                OpenError::Damaged { directory: directory.to_owned(), what: error.to_string() }
            }
            error => failed(error.into()),
        })?;
        let (slot, end, missing) = (Arc::new(recovered.slot), recovered.end, recovered.missing);

        let (jobs, todo) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&slot), todo, end, history);
        std::thread::Builder::new()
            .name("ydash-store".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| failed(error.into()))?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(EmbeddedStore { slot, jobs, readers, missing, lock: Mutex::new(Some(lock)) })
    }

    /// Runs `read` where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&View<'_>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, StoreError> {
        read_aside(&self.slot, &self.readers, doing, read).await
    }

    /// Hands a job to the committer and waits for its answer.
    async fn ask<T>(&self, job: impl FnOnce(committer::Answer<T>) -> Job) -> Result<T, StoreError> {
        ask(&self.jobs, job).await
    }
}

async fn read_aside<T: Send + 'static>(
    slot: &Arc<Slot>,
    readers: &Arc<Semaphore>,
    doing: &'static str,
    read: impl FnOnce(&View<'_>) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, StoreError> {
    let permit = Arc::clone(readers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
    let slot = Arc::clone(slot);
    let reading = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        slot.read(doing, read)
    });
    reading.await.unwrap_or_else(|panicked| Err(StoreError::unavailable(doing, panicked)))
}

async fn ask<T>(jobs: &mpsc::Sender<Job>, job: impl FnOnce(committer::Answer<T>) -> Job) -> Result<T, StoreError> {
    let (answer, answered) = oneshot::channel();
    // A committer that is gone drops the answer.
    let _ = jobs.send(job(answer));
    answered.await.unwrap_or(Err(StoreError::Closed))
}

impl Store for EmbeddedStore {
    fn load<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Stored, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("load a dashboard", move |view| load(view, &dashboard)))
    }

    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(async move {
            let len = batch.len();
            let (answer, answered) = oneshot::channel();
            let _ = self.jobs.send(Job::Append { batch, answer });
            answered.await.unwrap_or_else(|_| vec![Err(StoreError::Closed); len])
        })
    }

    fn snapshot<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        covers: LogPosition,
        state: Bytes,
    ) -> BoxFuture<'a, Result<SnapshotOutcome, StoreError>> {
        Box::pin(async move {
            check_len(state.len())?;
            let id = dashboard.clone();
            let preparing = self.read("prepare a snapshot", move |view| {
                prepare_snapshot(view, id, covers, encode_snapshot(covers, &state))
            });
            let snapshot = preparing.await?;
            self.ask(|answer| Job::Snapshot { snapshot, answer }).await
        })
    }

    fn history<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<History, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("read what there is of the past", move |view| read_history(view, &dashboard)))
    }

    fn base<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Base, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("read a base", move |view| read_base(view, &dashboard)))
    }

    fn seal<'a>(&'a self, dashboard: &'a DashboardId, seal: Seal) -> BoxFuture<'a, Result<SealOutcome, StoreError>> {
        Box::pin(async move {
            check_len(seal.base.state.len())?;
            check_len(seal.segment.as_ref().map_or(0, |segment| segment.record.len()))?;
            let Seal { from, base, segment } = seal;
            let id = dashboard.clone();
            let preparing = self.read("seal a log", move |view| {
                let displaced = match view.base(&id)? {
                    Some(Ok(kept)) => match verify_base(&kept) {
                        Ok(()) => None,
                        Err(RecordError::Damaged(_)) => Some(kept.to_vec()),
                        Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
                    },
                    _ => None,
                };
                let (to, base) = (base.position, encode_base(&base));
                Ok(Sealing { dashboard: id, from, to, base, segment, displaced })
            });
            let sealing = preparing.await?;
            self.ask(|answer| Job::Seal { sealing, answer }).await
        })
    }

    fn trim<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.ask(|answer| Job::Trim { dashboard, answer }))
    }

    fn segment<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        from: LogPosition,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let dashboard = dashboard.clone();
        let read = move |view: &View<'_>| Ok(view.segment(&dashboard, from)?.map(bytes_of));
        Box::pin(self.read("read a segment", read))
    }

    fn drop_segments<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        to: LogPosition,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.ask(move |answer| Job::DropSegments { dashboard, to, answer }))
    }

    fn versions<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Vec<VersionInfo>, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("list versions", move |view| Ok(versions::described(view.versions(&dashboard)?)?)))
    }

    fn version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let dashboard = dashboard.clone();
        let read = move |view: &View<'_>| Ok(view.version(&dashboard, id)?.map(bytes_of));
        Box::pin(self.read("read a version", read))
    }

    fn keep_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        life: Life,
        version: KeptVersion,
    ) -> BoxFuture<'a, Result<VersionOutcome, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(async move {
            check_len(version.record.len())?;
            self.ask(|answer| Job::KeepVersion { dashboard, life, version, answer }).await
        })
    }

    fn describe_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        before: VersionInfo,
        after: VersionInfo,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.ask(|answer| Job::DescribeVersion { dashboard, before, after, answer }))
    }

    fn remove_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.ask(move |answer| Job::RemoveVersion { dashboard, id, answer }))
    }

    fn log<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        after: LogPosition,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(LogPosition, LogEntry)>, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("read a log", move |view| read_log(view, &dashboard, after, limit)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        Box::pin(async move {
            let listed = self.read("list dashboards", move |view| list(view, &prefix, after.as_ref(), limit)).await?;
            for dashboard in listed.removed {
                let _ = self.jobs.send(Job::Sweep { dashboard });
            }
            Ok(listed.dashboards)
        })
    }

    fn remove<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.ask(|answer| Job::Remove { dashboard, answer }))
    }

    fn lives<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Lives, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("read what is deleted", move |view| view.lives(&dashboard)))
    }

    fn change_life<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        change: LifeChange,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(async move {
            let is_made = self.ask(|answer| Job::ChangeLife { dashboard, change, answer }).await?;
            if is_made { Ok(()) } else { Err(StoreError::LifeChanged) }
        })
    }

    fn deleted<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        let read = move |view: &View<'_>| view.names_with_lives(&prefix, after.as_ref(), limit);
        Box::pin(self.read("list what is deleted", read))
    }

    fn set_aside<'a>(&'a self, dashboard: &'a DashboardId, refused: SetAside) -> BoxFuture<'a, Result<(), StoreError>> {
        let (dashboard, record) = (dashboard.clone(), encode_refused(&refused));
        Box::pin(self.ask(|answer| Job::SetAside { dashboard, record, answer }))
    }

    fn refused<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Refused, StoreError>> {
        let dashboard = dashboard.clone();
        Box::pin(self.read("read what was refused", move |view| read_refused(view, &dashboard)))
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        let (slot, jobs, readers) = (Arc::clone(&self.slot), self.jobs.clone(), Arc::clone(&self.readers));
        Arc::new(EmbeddedCatalog { slot, jobs, readers })
    }

    fn missing(&self) -> Vec<Missing> {
        self.missing.clone()
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, StoreError>> {
        Box::pin(async move {
            let report = self.read("check the store", check).await?;
            Ok(CheckReport { missing: self.missing.clone(), ..report })
        })
    }

    /// The directory is locked: nothing that was synced is lost while it is open.
    fn ping(&self) -> BoxFuture<'_, Result<StoreLife, StoreError>> {
        Box::pin(async move { self.ask(|answer| Job::Ping { answer }).await.map(|()| StoreLife::ONLY) })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match self.ask(|answer| Job::Close { answer }).await {
                // Closing twice is no mistake.
                Ok(()) | Err(StoreError::Closed) => {}
                Err(error) => return Err(error),
            }
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(())
        })
    }
}

/// A record as it is answered: one that cannot be read is empty, and so a damaged one.
fn bytes_of(found: Result<engine::Value, Unreadable>) -> Bytes {
    found.map(|record| Bytes::copy_from_slice(&record)).unwrap_or_default()
}

fn load(view: &View<'_>, id: &DashboardId) -> Result<Stored, EngineError> {
    let mut stored = Stored::default();
    let Some(head) = view.head(id)?.filter(|head| !head.is_removed) else { return Ok(stored) };
    let mut after = head.trimmed_to;
    if head.covers.is_some() {
        match view.snapshot(id)?.and_then(Result::ok).map(|record| decode_snapshot(&record)) {
            // The one that the head speaks of; or, if a later one got lost, one that the log still goes on from.
            Some(Ok((covers, state)))
                if covers.0 >= head.trimmed_to.into() || head.covers.map(u128::from) == Some(covers.0) =>
            {
                after = after.max(u64::try_from(covers.0).unwrap_or(u64::MAX));
                stored.position = covers;
                stored.snapshot = Some((covers, state));
            }
            Some(Err(RecordError::LaterFormat(version))) => return Err(EngineError::LaterFormat(version)),
            found @ (Some(Ok(_) | Err(RecordError::Damaged(_))) | None) => {
                stored.damaged += 1;
                let base = base_of(view, id, &head)?;
                if let Some(stands) = head.base.filter(|_| head.has_base && !base.is_damaged) {
                    after = after.max(stands);
                    stored.position = base.position;
                    stored.snapshot = Some((base.position, base.state));
                } else if let Some(Ok(older)) = found {
                    // It is all there is.
                    stored.position = older.0;
                    stored.snapshot = Some(older);
                }
            }
        }
    }
    view.log(head.number, after, u64::MAX, |found| {
        match found {
            Found::Damage(_) => stored.damaged += 1,
            Found::Record(position, record) => {
                stored.position = LogPosition(position.into());
                match decode_entry_update(&record) {
                    Ok(update) => stored.tail.push(update),
                    Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
                    Err(RecordError::Damaged(_)) => stored.damaged += 1,
                }
            }
        }
        Ok(ControlFlow::<()>::Continue(()))
    })?;
    Ok(stored)
}

fn read_log(
    view: &View<'_>,
    id: &DashboardId,
    after: LogPosition,
    limit: usize,
) -> Result<Vec<(LogPosition, LogEntry)>, EngineError> {
    let mut entries = Vec::new();
    let Some(head) = view.head(id)?.filter(|head| !head.is_removed && limit > 0) else { return Ok(entries) };
    let after = u64::try_from(after.0).unwrap_or(u64::MAX).max(head.trimmed_to);
    view.log(head.number, after, u64::MAX, |found| {
        if let Found::Record(position, record) = found {
            match decode_entry(&record) {
                Ok(entry) => entries.push((LogPosition(position.into()), entry)),
                Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
                Err(RecordError::Damaged(_)) => {}
            }
        }
        Ok(if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(entries)
}

fn read_refused(view: &View<'_>, id: &DashboardId) -> Result<Refused, EngineError> {
    let (dropped, kept) = view.refused_of(id)?;
    let mut refused = Refused { kept: Vec::with_capacity(kept.len()), dropped };
    for (_, record) in kept {
        match decode_refused(&record) {
            Ok(one) => refused.kept.push(one),
            Err(RecordError::Damaged(_)) => {}
            Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
        }
    }
    Ok(refused)
}

fn read_history(view: &View<'_>, id: &DashboardId) -> Result<History, EngineError> {
    let Some(head) = view.head(id)?.filter(|head| !head.is_removed) else { return Ok(History::default()) };
    let stands = head.stands_at();
    let mut history = History {
        base: LogPosition(stands.into()),
        is_founded: head.base.is_some(),
        covers: head.covers.map(|covers| LogPosition(covers.into())),
        segments: view.segments(id)?,
        ..History::default()
    };
    // A base at the start is before the entries of an earlier life that are not removed yet.
    view.log(head.number, stands.max(head.trimmed_to), u64::MAX, |found| {
        if let Found::Record(_, entry) = found {
            history.log_bytes += entry.len() as u64;
            if history.since.is_none() {
                history.since = decode_entry_at(&entry).ok();
            }
        }
        Ok(ControlFlow::<()>::Continue(()))
    })?;
    Ok(history)
}

fn read_base(view: &View<'_>, id: &DashboardId) -> Result<Base, EngineError> {
    match view.head(id)?.filter(|head| !head.is_removed) {
        Some(head) => base_of(view, id, &head),
        None => Ok(Base::empty(LogPosition::START)),
    }
}

fn base_of(view: &View<'_>, id: &DashboardId, head: &Head) -> Result<Base, EngineError> {
    let stands = LogPosition(head.stands_at().into());
    let found = match (head.base, head.covers) {
        (Some(_), _) if head.has_base => view.base(id)?,
        (None, Some(_)) => view.snapshot(id)?,
        _ => return Ok(Base::empty(stands)),
    };
    let record = found.as_ref().and_then(|found| found.as_ref().ok()).map(|record| &record[..]);
    Base::read(stands, record).map_err(EngineError::from)
}

/// Finds out what a snapshot displaces, so that the committer need not read it.
fn prepare_snapshot(
    view: &View<'_>,
    dashboard: DashboardId,
    covers: LogPosition,
    record: Vec<u8>,
) -> Result<Snapshot, EngineError> {
    let mut snapshot = Snapshot { dashboard, covers, record, displaces: None, base: None, aside: Vec::new() };
    let id = &snapshot.dashboard;
    let head = view.head(id)?.filter(|head| !head.is_removed);
    let position = u64::try_from(covers.0).unwrap_or(u64::MAX);
    if head.is_none_or(|head| !head.has_base && position <= head.stands_at()) {
        snapshot.base = Some((position, snapshot.record.clone()));
    }
    let Some(head) = head else { return Ok(snapshot) };
    if head.covers.is_some() {
        match view.snapshot(id)? {
            Some(Ok(kept)) => match decode_snapshot_covers(&kept) {
                // The log of an earlier ydash begins with it from then on.
                Ok(_) if head.base.is_none() => snapshot.base = Some((head.stands_at(), kept.to_vec())),
                Ok(_) => {}
                Err(RecordError::LaterFormat(version)) => return Err(EngineError::LaterFormat(version)),
                Err(RecordError::Damaged(_)) => {
                    snapshot.displaces = head.covers;
                    snapshot.aside.push(kept.to_vec());
                }
            },
            Some(Err(_)) | None => snapshot.displaces = head.covers,
        }
    }
    if snapshot.displaces.is_some() && head.base.is_none() {
        snapshot.base = Some((position, snapshot.record.clone()));
    }
    Ok(snapshot)
}

#[derive(Default)]
struct Listed {
    dashboards: Vec<DashboardId>,
    /// Whose removal was interrupted.
    removed: Vec<DashboardId>,
}

fn list(view: &View<'_>, prefix: &str, after: Option<&DashboardId>, limit: usize) -> Result<Listed, EngineError> {
    let mut listed = Listed::default();
    if limit == 0 {
        return Ok(listed);
    }
    view.heads(prefix, after, |found| {
        match found.id {
            Ok(id) if found.head.is_removed => listed.removed.push(id),
            Ok(id) if id.of_trash().is_some() => {}
            Ok(id) => listed.dashboards.push(id),
            Err(_) => {}
        }
        Ok(if listed.dashboards.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(listed)
}

fn check(view: &View<'_>) -> Result<CheckReport, EngineError> {
    let mut report =
        CheckReport { set_aside: view.aside_len()?, refused: view.refused_len()?, ..CheckReport::default() };
    view.heads("", None, |found| {
        check_dashboard(view, found, &mut report)?;
        Ok(ControlFlow::<()>::Continue(()))
    })?;
    Ok(report)
}

fn check_dashboard(view: &View<'_>, found: engine::Listed, report: &mut CheckReport) -> Result<(), EngineError> {
    let name = found.id.as_ref().map_or_else(String::clone, ToString::to_string);
    let damaged = |position: Option<u64>, why: &str| DamagedRecord {
        dashboard: name.clone(),
        position: position.map(|position| LogPosition(position.into())),
        why: why.to_owned(),
    };
    let head = found.head;
    let id = match found.id {
        Ok(_) if head.is_removed => return Ok(()),
        Ok(id) => id,
        Err(_) => {
            report.report(damaged(None, "not a dashboard's name"));
            return Ok(());
        }
    };
    report.dashboards += 1;
    if found.is_made_up {
        report.report(damaged(None, "head cannot be read"));
    }
    if head.covers.is_some() {
        match view.snapshot(&id)? {
            None => report.report(damaged(None, "snapshot is missing")),
            Some(Err(_)) => report.report(damaged(None, "block of the snapshot cannot be read")),
            Some(Ok(record)) => {
                report.bytes += record.len() as u64;
                match decode_snapshot(&record) {
                    Ok(_) => report.snapshots += 1,
                    Err(error) => report.report(damaged(None, &error.to_string())),
                }
            }
        }
    }
    if base_of(view, &id, &head)?.is_damaged && head.base.is_some() {
        report.report(damaged(None, "base of the log is missing or cannot be read: its history begins anew"));
    }
    for segment in view.segments(&id)? {
        let why = match view.segment(&id, segment.from)? {
            None => Some("is missing".to_owned()),
            Some(Err(Unreadable)) => Some("block cannot be read".to_owned()),
            Some(Ok(record)) => {
                report.bytes += record.len() as u64;
                verify_segment(&record).err().map(|error| error.to_string())
            }
        };
        match why {
            None => report.segments += 1,
            Some(why) => report.report(DamagedRecord {
                dashboard: name.clone(),
                position: Some(segment.from),
                why: format!("sealed segment: {why}"),
            }),
        }
    }
    for (version, description) in view.versions(&id)? {
        let state = view.version(&id, version)?.map(bytes_of).unwrap_or_default();
        report.bytes += (description.len() + state.len()) as u64;
        match decode_version(&description).and_then(|_| decode_snapshot(&state)) {
            Ok(_) => report.versions += 1,
            Err(error) => report.report(damaged(None, &format!("version {version}: {error}"))),
        }
    }
    view.log(head.number, head.trimmed_to, u64::MAX, |found| {
        match found {
            Found::Damage(after) => {
                report.report(damaged(Some(after.saturating_add(1)), "block of the log cannot be read"))
            }
            Found::Record(position, record) => {
                report.bytes += record.len() as u64;
                match decode_entry(&record) {
                    Ok(_) => report.entries += 1,
                    Err(error) => report.report(damaged(Some(position), &error.to_string())),
                }
            }
        }
        Ok(ControlFlow::<()>::Continue(()))
    })?;
    Ok(())
}

/// Creates the directory and takes its lock; [`ErrorKind::WouldBlock`] if somebody has it.
fn lock(directory: &Path) -> io::Result<File> {
    create_synced(directory)?;
    let lock = private(File::options().create(true).truncate(false).write(true)).open(directory.join("lock"))?;
    lock.try_lock()?;
    Ok(lock)
}

/// Whether a directory holds a store.
pub(super) fn is_in(directory: &Path) -> io::Result<bool> {
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => {
            Ok(directory.join("format").try_exists()? || database_in(directory).try_exists()?)
        }
        Ok(_) => Err(not_a_directory()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a store is made of. Whatever else is in its directory is not ours to change.
const PARTS: [&str; 7] = ["lock", "format", "db", "tally", "tally.old", "losses", "damaged"];

/// Takes from others on the machine what permissions they have, and says of how many files and directories.
#[cfg(unix)]
fn tighten(directory: &Path) -> io::Result<usize> {
    use std::os::unix::fs::PermissionsExt;
    fn tighten_all(path: &Path, is_deep: bool) -> io::Result<usize> {
        // A link leads to what is not ours.
        let metadata = match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_symlink() => metadata,
            Ok(_) => return Ok(0),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mode = metadata.permissions().mode();
        let is_open = mode & 0o077 != 0;
        if is_open {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode & 0o700))?;
        }
        let mut tightened = usize::from(is_open);
        if is_deep && metadata.is_dir() {
            for item in path.read_dir()? {
                tightened += tighten_all(&item?.path(), true)?;
            }
        }
        Ok(tightened)
    }
    let of_parts: usize = PARTS.iter().map(|part| tighten_all(&directory.join(part), true)).sum::<io::Result<_>>()?;
    Ok(tighten_all(directory, false)? + of_parts)
}

#[cfg(not(unix))]
fn tighten(_: &Path) -> io::Result<usize> {
    Ok(0)
}

/// Files that hold what people wrote are for nobody else on the machine.
fn private(options: &mut std::fs::OpenOptions) -> &mut std::fs::OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn not_a_directory() -> io::Error {
    io::Error::new(ErrorKind::NotADirectory, "it is no directory")
}

/// Reads the format of a directory, or writes it into an empty one; `Some` if it is not ours.
fn other_format(directory: &Path) -> io::Result<Option<String>> {
    let path = directory.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == FORMAT.to_string() => Ok(None),
        // Empty after a crash between creating and writing it.
        // A later layout has a tally of another version, too: so this is one wrong bit, and not a later ydash.
        Ok(text) if !text.trim().is_empty() && !tally::is_in(directory)? => {
            Ok(Some(text.trim().chars().take(40).collect()))
        }
        Err(error) if error.kind() == ErrorKind::InvalidData && !tally::is_in(directory)? => {
            Ok(Some("unreadable".to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => write_format(&path),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => write_format(&path),
    }
}

fn write_format(path: &Path) -> io::Result<Option<String>> {
    let mut file = private(File::options().create(true).truncate(true).write(true)).open(path)?;
    file.write_all(format!("{FORMAT}\n").as_bytes())?;
    file.sync_all()?;
    File::open(path.parent().unwrap_or(path))?.sync_all()?;
    Ok(None)
}

fn database_in(directory: &Path) -> PathBuf {
    directory.join("db")
}

/// Creates a directory so that it is still there after a power failure.
fn create_synced(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if directory.exists() {
        return Err(not_a_directory());
    }
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut made = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut made, 0o700);
    made.create(directory)?;
    match directory.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ydash_proto::life::Life;

    use super::super::contract::{self, Bench, entry, id, update};
    use super::super::past::{Digest, Segment, SegmentInfo, begin_at};
    use super::super::record::encode_unfounded_head;
    use super::committer::SWEEP_ENTRIES_MAX;
    use super::*;

    struct EmbeddedBench {
        directory: tempfile::TempDir,
        store: Option<EmbeddedStore>,
    }

    impl EmbeddedBench {
        fn edit(&self, edit: impl FnOnce(&View<'_>, &mut engine::Batch<'_>)) {
            let slot = &self.store.as_ref().unwrap().slot;
            let edited = slot.commit("edit in a test", |view, batch| {
                edit(view, batch);
                Ok(())
            });
            edited.unwrap();
        }
    }

    impl Bench for EmbeddedBench {
        async fn new() -> EmbeddedBench {
            let directory = tempfile::tempdir().unwrap();
            let store = Some(EmbeddedStore::open(directory.path()).unwrap());
            EmbeddedBench { directory, store }
        }

        fn store(&self) -> &dyn Store {
            self.store.as_ref().unwrap()
        }

        async fn reopen(&mut self) {
            self.store.take().unwrap().close().await.unwrap();
            self.store = Some(EmbeddedStore::open(self.directory.path()).unwrap());
        }

        async fn bound_history(&mut self, history: HistoryLimits) {
            self.store.take().unwrap().close().await.unwrap();
            self.store = Some(EmbeddedStore::open_with_history(self.directory.path(), history).unwrap());
        }

        async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
            self.edit(|view, batch| {
                let mut entries = Vec::new();
                let each = |found| {
                    if let Found::Record(position, record) = found {
                        entries.push((position, record.to_vec()));
                    }
                    Ok(ControlFlow::<()>::Continue(()))
                };
                let number = view.head(dashboard).unwrap().unwrap().number;
                view.log(number, 0, u64::MAX, each).unwrap();
                let (position, mut record) = entries.swap_remove(index);
                *record.last_mut().unwrap() ^= 1;
                batch.put_entry(number, position, record);
            });
        }

        async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
            self.edit(|view, batch| {
                let mut record = view.snapshot(dashboard).unwrap().unwrap().unwrap().to_vec();
                *record.last_mut().unwrap() ^= 1;
                batch.put_snapshot(dashboard, 0, record);
            });
        }

        async fn damage_segment(&mut self, dashboard: &DashboardId, from: LogPosition) {
            self.edit(|view, batch| {
                let mut record = view.segment(dashboard, from).unwrap().unwrap().unwrap().to_vec();
                *record.last_mut().unwrap() ^= 1;
                batch.put_raw_segment(dashboard, from, &record);
            });
        }

        async fn damage_base(&mut self, dashboard: &DashboardId) {
            self.edit(|view, batch| {
                let mut record = view.base(dashboard).unwrap().unwrap().unwrap().to_vec();
                *record.last_mut().unwrap() ^= 1;
                batch.put_base(dashboard, &record);
            });
        }

        async fn damage_version(&mut self, dashboard: &DashboardId, id: VersionId) {
            self.edit(|view, batch| {
                let mut record = view.version(dashboard, id).unwrap().unwrap().unwrap().to_vec();
                *record.last_mut().unwrap() ^= 1;
                batch.put_version_state(dashboard, id, &record);
            });
        }

        async fn unfound(&mut self, dashboard: &DashboardId) {
            self.edit(|view, batch| {
                let head = view.head(dashboard).unwrap().unwrap();
                batch.put_raw_head(dashboard, &encode_unfounded_head(&head));
            });
        }
    }

    contract::suite!(EmbeddedBench);

    async fn append(store: &dyn Store, append: Append) -> LogPosition {
        store.append(vec![append]).await.remove(0).unwrap().position
    }

    #[tokio::test]
    async fn a_directory_in_use_is_named() {
        let bench = EmbeddedBench::new().await;
        let Err(error) = EmbeddedStore::open(bench.directory.path()) else { panic!("opened twice") };
        assert!(matches!(&error, OpenError::Locked { directory } if directory == bench.directory.path()), "{error:?}");
        assert!(error.to_string().contains(bench.directory.path().to_str().unwrap()));
    }

    #[tokio::test]
    async fn a_directory_of_another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("format"), "7\n").unwrap();
        let Err(error) = EmbeddedStore::open(directory.path()) else { panic!("opened") };
        assert!(matches!(&error, OpenError::Format { version, known: FORMAT, .. } if version == "7"), "{error:?}");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Err(error) = EmbeddedStore::open(&file.path().join("store")) else { panic!("opened") };
        assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    }

    /// What a crash leaves behind: the journal of a store that was never closed.
    #[tokio::test]
    async fn what_was_answered_survives_without_closing() {
        let mut bench = EmbeddedBench::new().await;
        for n in 0..50 {
            append(bench.store(), update("w/a", n)).await;
        }
        let copy = tempfile::tempdir().unwrap();
        copy_directory(bench.directory.path(), copy.path());
        bench.store = None;
        let store = EmbeddedStore::open(copy.path()).unwrap();
        assert_eq!(store.load(&id("w/a")).await.unwrap().tail.len(), 50);
        append(&store, update("w/a", 50)).await;
    }

    #[tokio::test]
    async fn a_record_of_a_later_format_refuses_the_load() {
        let bench = EmbeddedBench::new().await;
        let position = append(bench.store(), update("w/a", 1)).await;
        bench.edit(|view, batch| {
            let number = view.head(&id("w/a")).unwrap().unwrap().number;
            batch.put_entry(number, u64::try_from(position.0).unwrap(), vec![9, 1, 2]);
        });
        let error = bench.store().load(&id("w/a")).await.unwrap_err();
        assert!(matches!(error, StoreError::LaterFormat { version: 9, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_damaged_head_is_made_up_for() {
        let bench = EmbeddedBench::new().await;
        append(bench.store(), update("w/a", 1)).await;
        let covers = append(bench.store(), update("w/a", 2)).await;
        bench.store().snapshot(&id("w/a"), covers, Bytes::from_static(b"state")).await.unwrap();
        append(bench.store(), update("w/a", 3)).await;
        let before = bench.store().load(&id("w/a")).await.unwrap();
        bench.edit(|_, batch| batch.put_raw_head(&id("w/a"), b"\x01garbage"));
        assert_eq!(bench.store().load(&id("w/a")).await.unwrap(), before);
        assert_eq!(before.tail.len(), 1);
    }

    #[tokio::test]
    async fn a_removal_larger_than_a_batch_is_finished_in_the_background() {
        let mut bench = EmbeddedBench::new().await;
        let entries = vec![entry(1, "x"); 2 * SWEEP_ENTRIES_MAX + 5];
        append(bench.store(), Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries }).await;
        bench.store().remove(&id("w/a")).await.unwrap();
        assert!(bench.store().load(&id("w/a")).await.unwrap().is_empty());
        // A new life begins before the old one is swept, and does not see it.
        append(bench.store(), update("w/a", 7)).await;
        for _ in 0..2 {
            let stored = bench.store().load(&id("w/a")).await.unwrap();
            assert_eq!((stored.tail.len(), stored.snapshot), (1, None));
            assert_eq!(bench.store().log(&id("w/a"), LogPosition::START, 10).await.unwrap().len(), 1);
            bench.reopen().await;
        }
    }

    /// Each dashboard keeps within its own bound, and all together did not.
    #[tokio::test]
    async fn the_history_of_all_dashboards_is_bounded_and_the_longest_goes_first() {
        let mut bench = EmbeddedBench::new().await;
        let limits = HistoryLimits { bytes: 400_000, bytes_total: 480_000, ..HistoryLimits::default() };
        bench.bound_history(limits).await;
        let history = async |bench: &EmbeddedBench, name: &str| {
            let history = bench.store().history(&id(name)).await.unwrap();
            history.segments.iter().map(SegmentInfo::counts).sum::<u64>()
        };
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (0..500).map(|n| char::from(b'a' + (seed.rotate_left(n) % 26) as u8)).collect::<String>()
        };
        let names: Vec<String> = (0..8).map(|n| format!("w/{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            for _ in 0..if n == 3 { 1 } else { 60 } {
                let entries = (0..10).map(|n| entry(n, &noise())).collect();
                let to = append(bench.store(), Append { dashboard: id(name), life: Life::FIRST, after: None, entries })
                    .await;
                let state = Bytes::from_static(b"state");
                bench.store().snapshot(&id(name), to, state.clone()).await.unwrap();
                let from = bench.store().history(&id(name)).await.unwrap().base;
                let entries = bench.store().log(&id(name), from, usize::MAX).await.unwrap();
                let previous = Digest::default();
                let segment = Some(Segment { from, state: state.clone(), previous, entries }.seal());
                let seal = Seal { from, base: Base { state, ..Base::empty(to) }, segment };
                bench.store().seal(&id(name), seal).await.unwrap();
            }
        }
        let short = history(&bench, "w/3").await;
        for is_reopened in [false, true] {
            // Each answer comes between two steps of what is done when nothing else is.
            let mut pings = 0;
            let total = loop {
                let mut total = 0;
                for name in &names {
                    total += history(&bench, name).await;
                }
                if total <= limits.bytes_total {
                    break total;
                }
                pings += 1;
                assert!(pings < 10_000, "{total} bytes count");
                bench.store().ping().await.unwrap();
            };
            assert!(total > 120_000, "{total}: not more goes than has to");
            assert_eq!(history(&bench, "w/3").await, short, "the short one stays");
            assert_eq!(bench.store().load(&id("w/0")).await.unwrap().snapshot.unwrap().1, "state");
            if !is_reopened {
                bench.bound_history(limits).await;
            }
        }
    }

    /// 120 MB of updates, of which each snapshot leaves nothing: what they took on disk is given back.
    #[cfg(unix)]
    #[tokio::test]
    async fn trimmed_logs_do_not_make_the_directory_grow() {
        let bench = EmbeddedBench::new().await;
        let mut most = 0;
        for round in 0..12u64 {
            for dashboard in ["w/a", "w/b"] {
                let mut covers = LogPosition::START;
                for n in 0..50 {
                    let update = format!("{round} {n} {}", "x".repeat(1000));
                    let entries = vec![entry(n, &update); 100];
                    covers = append(
                        bench.store(),
                        Append { dashboard: id(dashboard), life: Life::FIRST, after: None, entries },
                    )
                    .await;
                }
                let state = Bytes::from(vec![1; 9000]);
                bench.store().snapshot(&id(dashboard), covers, state.clone()).await.unwrap();
                begin_at(bench.store(), &id(dashboard), covers, state).await.unwrap();
            }
            most = most.max(blocks_of(bench.directory.path()));
        }
        // Two journals of 64 MB, the older of which goes when its tables are written.
        assert!(most < 140 << 20, "{} MiB", most >> 20);
    }

    #[cfg(unix)]
    fn blocks_of(directory: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let mut bytes = 0;
        // Compaction removes files while they are counted.
        walk(directory, &mut |path| bytes += path.metadata().map_or(0, |metadata| metadata.blocks() * 512));
        bytes
    }

    /// Bits that rot in a table are noticed below the records: the blocks around them still load.
    #[tokio::test]
    async fn an_unreadable_block_costs_only_what_was_in_it() {
        let mut bench = EmbeddedBench::new().await;
        let mut seed = 1u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:x}", seed)
        };
        for _ in 0..20 {
            let entries = (0..1000).map(|n| entry(n, &noise())).collect();
            append(bench.store(), Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries }).await;
        }
        append(bench.store(), update("w/b", 1)).await;
        bench.store.as_ref().unwrap().slot.flush_for_test();
        bench.store.take().unwrap().close().await.unwrap();

        let table = largest_table(bench.directory.path());
        let mut bytes = std::fs::read(&table).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0x10;
        std::fs::write(&table, bytes).unwrap();

        bench.store = Some(EmbeddedStore::open(bench.directory.path()).unwrap());
        let stored = bench.store().load(&id("w/a")).await.unwrap();
        assert_eq!(stored.damaged, 1);
        assert!((19_000..20_000).contains(&stored.tail.len()), "{} of 20,000 entries are left", stored.tail.len());
        assert_eq!(bench.store().load(&id("w/b")).await.unwrap().tail.len(), 1);
        assert!(bench.store().check().await.unwrap().damaged_total >= 1);
    }

    /// A batch with a snapshot can get lost while the one that trimmed the log behind it survives.
    #[tokio::test]
    async fn a_snapshot_from_before_what_was_trimmed_is_not_taken_for_the_last_one() {
        let bench = EmbeddedBench::new().await;
        let store = bench.store();
        let mut older = Vec::new();
        for (n, state) in [b"first", b"later"].into_iter().enumerate() {
            let covers = append(store, update("w/a", n as u64)).await;
            store.snapshot(&id("w/a"), covers, Bytes::from_static(state)).await.unwrap();
            bench.edit(|view, batch| {
                let kept = view.snapshot(&id("w/a")).unwrap().unwrap().unwrap().to_vec();
                if n == 0 {
                    older = kept;
                } else {
                    // The base that the log is trimmed to.
                    batch.put_base(&id("w/a"), &kept);
                    let mut head = view.head(&id("w/a")).unwrap().unwrap();
                    (head.base, head.has_base) = (head.covers, true);
                    batch.put_head(&id("w/a"), &head);
                }
            });
        }
        store.trim(&id("w/a")).await.unwrap();
        let position = append(store, update("w/a", 2)).await;
        bench.edit(|_, batch| batch.put_snapshot(&id("w/a"), 0, older.clone()));
        let stored = store.load(&id("w/a")).await.unwrap();
        assert_eq!(stored.snapshot.unwrap().1, Bytes::from_static(b"later"));
        assert_eq!((stored.damaged, stored.tail.len(), stored.position), (1, 1, position));
    }

    /// A base that is gone was the empty document, and one that came back from before a seal was the present one: later versions
    /// lacked what it held.
    #[tokio::test]
    async fn a_base_that_is_missing_or_of_another_position_is_damaged() {
        let bench = EmbeddedBench::new().await;
        let store = bench.store();
        let mut records = Vec::new();
        for n in 0..2 {
            let covers = append(store, update("w/a", n)).await;
            let state = Bytes::from(format!("state {n}"));
            store.snapshot(&id("w/a"), covers, state.clone()).await.unwrap();
            begin_at(store, &id("w/a"), covers, state).await.unwrap();
            bench.edit(|view, _| records.push(view.base(&id("w/a")).unwrap().unwrap().unwrap().to_vec()));
        }
        let is_damaged = async || {
            let base = store.base(&id("w/a")).await.unwrap();
            assert_eq!(store.check().await.unwrap().damaged_total, u64::from(base.is_damaged));
            base.is_damaged
        };
        assert!(!is_damaged().await);
        bench.edit(|_, batch| batch.put_base(&id("w/a"), &records[0]));
        assert!(is_damaged().await, "it is an earlier one");
        bench.edit(|_, batch| batch.remove_base(&id("w/a")));
        assert!(is_damaged().await, "it is gone");
        bench.edit(|_, batch| batch.put_base(&id("w/a"), &records[1]));
        assert!(!is_damaged().await);
    }

    #[tokio::test]
    async fn unreadable_heads_are_made_up_from_the_logs() {
        let mut bench = EmbeddedBench::new().await;
        append(bench.store(), update("w/removed", 1)).await;
        bench.store().remove(&id("w/removed")).await.unwrap();
        for n in 0..50 {
            for name in ["w/a", "w/b", "v/c"] {
                append(bench.store(), update(name, n)).await;
            }
        }
        let covers = bench.store().load(&id("w/b")).await.unwrap().position;
        let state = Bytes::from_static(b"state");
        bench.store().snapshot(&id("w/b"), covers, state.clone()).await.unwrap();
        begin_at(bench.store(), &id("w/b"), covers, state).await.unwrap();
        bench.store.as_ref().unwrap().slot.flush_for_test();
        bench.store.take().unwrap().close().await.unwrap();

        // The heads are the first keyspace that was made.
        let table = largest_file(&bench.directory.path().join("db/keyspaces/1/tables"));
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&table, bytes).unwrap();

        bench.store = Some(EmbeddedStore::open(bench.directory.path()).unwrap());
        let store = bench.store();
        assert_eq!(store.list("", None, 10).await.unwrap(), [id("v/c"), id("w/a"), id("w/b")]);
        assert_eq!(store.list("w/", Some(&id("w/a")), 10).await.unwrap(), [id("w/b")]);
        assert_eq!(store.load(&id("w/a")).await.unwrap().tail.len(), 50);
        let stored = store.load(&id("w/b")).await.unwrap();
        assert_eq!((stored.snapshot.unwrap().1.as_ref(), stored.tail.len()), (b"state".as_slice(), 0));
        assert!(store.load(&id("w/unknown")).await.unwrap().is_empty());
        assert_eq!(store.check().await.unwrap().damaged_total, 3);
        append(store, update("w/a", 50)).await;
        assert_eq!(store.load(&id("w/a")).await.unwrap().tail.len(), 51);
    }

    fn largest_table(directory: &Path) -> PathBuf {
        largest_file(&directory.join("db/keyspaces"))
    }

    fn largest_file(directory: &Path) -> PathBuf {
        let mut files = Vec::new();
        walk(directory, &mut |path| files.push(path.to_owned()));
        files.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
    }

    fn walk(directory: &Path, each: &mut impl FnMut(&Path)) {
        for item in directory.read_dir().unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() { walk(&path, each) } else { each(&path) }
        }
    }

    fn copy_directory(from: &Path, to: &Path) {
        walk(from, &mut |path| {
            let target = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(path, target).unwrap();
        });
    }
}
