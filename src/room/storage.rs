//! What rooms ask of the store: appends, snapshots, reads, and a place for what they refused.

use super::about::Notes;
use super::registry::RoomsConfig;
use crate::history::read::{self, PastError};
use crate::history::seal::{self, Kept, Policy};
use crate::metrics::Metrics;
use crate::reading::Readers;
use crate::store::writer::WriterHandle;
use crate::store::{Append, Appended, SetAside, SnapshotOutcome, Store, StoreError, Stored};
use bytes::Bytes;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::warn;
use ydash_proto::about::Edited;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, Lives};
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition};
use ydash_proto::room::{Scanned, StoreRead};
use ydash_proto::time::Timestamp;
use ydash_proto::update;
use ydash_proto::version::Version;

/// How long a room waits for the store to say whether it is still there.
const LOOKED_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of the states whose logs wait to be sealed. A log beyond is left to the dashboard's next snapshot.
const SEALING_BYTES_MAX: usize = 256 << 20;
/// The least that each of them counts for.
const SEALING_BYTES_MIN: usize = 16 << 10;

/// The store as rooms use it.
pub(super) struct Storage {
    pub(super) store: Arc<dyn Store>,
    /// What lists tell of dashboards.
    pub(super) notes: Notes,
    writer: WriterHandle,
    limits: Limits,
    history: Policy,
    readers: Readers,
    /// Dashboards whose logs are being sealed.
    sealing: Mutex<HashSet<DashboardId>>,
    seal_turns: Semaphore,
    /// Bounds the states of logs that wait to be sealed.
    seal_bytes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
}

/// What became of something that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written<T> {
    /// It is durable.
    Durable(T),
    /// It may not be durable: to be tried again.
    Failed,
    /// It was refused: the store has lost what it builds on.
    Lost,
    /// It was refused: the dashboard was deleted.
    Gone,
}

impl<T> Written<T> {
    fn of(result: Result<T, StoreError>) -> Written<T> {
        match result {
            Ok(written) => Written::Durable(written),
            Err(StoreError::Lost { .. }) => Written::Lost,
            Err(StoreError::Gone) => Written::Gone,
            Err(_) => Written::Failed,
        }
    }
}

/// Takes a log out of those that are being sealed, however that ends.
struct Sealing<'a> {
    storage: &'a Storage,
    id: &'a DashboardId,
}

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        self.storage.sealing().remove(self.id);
    }
}

impl Storage {
    /// For the rooms of one node.
    pub(super) fn new(
        store: Arc<dyn Store>,
        writer: WriterHandle,
        config: &RoomsConfig,
        readers: Readers,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
    ) -> Storage {
        let (limits, sealing, seal_turns) = (config.limits.clone(), Mutex::default(), Semaphore::new(1));
        let seal_bytes = Arc::new(Semaphore::new(SEALING_BYTES_MAX));
        let history = Policy { keep: config.history, limits: limits.clone() };
        let notes = Notes::new(Arc::clone(&store), tracker.clone());
        Storage { store, notes, writer, limits, history, readers, sealing, seal_turns, seal_bytes, metrics, tracker }
    }

    /// The room in which a version of a dashboard is shown: that of its last edit, under any name of the version; or that of its id.
    pub(super) async fn room_of(
        &self,
        dashboard: &DashboardId,
        version: Version,
        now: Timestamp,
    ) -> Result<DashboardId, PastError> {
        let version = read::find(&*self.store, &self.readers, dashboard, version, now).await?;
        dashboard.at(version).map_err(|_| PastError::NotKept)
    }

    /// Reads the content of a room: its dashboard's, or that of a version.
    pub(super) async fn load(&self, id: &DashboardId) -> Result<Stored, PastError> {
        let Some((dashboard, version)) = id.past() else { return Ok(self.store.load(id).await?) };
        let version = version.pinned().ok_or(PastError::NotKept)?;
        let state = read::at(&*self.store, &self.readers, &dashboard, version, &self.limits).await?;
        Ok(Stored { snapshot: Some((LogPosition::START, state)), ..Stored::default() })
    }

    /// Submits entries that rely on everything up to `after` being there.
    pub(super) fn append(
        &self,
        id: &DashboardId,
        life: Life,
        after: Option<LogPosition>,
        entries: Vec<LogEntry>,
    ) -> Pin<Box<dyn Future<Output = Written<Appended>> + Send>> {
        if id.past().is_some() {
            // Nobody may write into the past: a room that asks whether all is there is told so.
            let answer = if entries.is_empty() { Written::Durable(Appended::default()) } else { Written::Failed };
            return Box::pin(core::future::ready(answer));
        }
        let submission = self.writer.submit(Append { dashboard: id.clone(), life, after, entries });
        Box::pin(async move { Written::of(submission.await) })
    }

    /// Writes a snapshot, unless a better one is there, and what lists tell of the dashboard.
    pub(super) async fn snapshot(
        self: Arc<Self>,
        id: DashboardId,
        covers: LogPosition,
        state: Bytes,
        edited: Option<Edited>,
        now: Timestamp,
    ) -> Written<()> {
        if id.past().is_some() {
            return Written::Durable(());
        }
        self.notes.write(&id, covers, state.clone(), edited).await;
        match self.store.snapshot(&id, covers, state.clone()).await {
            Ok(outcome) => {
                self.metrics.snapshots.inc();
                if outcome == SnapshotOutcome::Kept {
                    self.seal(id, Kept { covers, state, at: now });
                }
                Written::Durable(())
            }
            Err(failure) => {
                self.metrics.snapshots_failed.inc();
                warn!(dashboard = %id, %failure, "snapshot failed; the log still holds everything");
                Written::of(Err(failure))
            }
        }
    }

    /// Reads the lives of a dashboard's name, or of the dashboard whose version it is.
    pub(super) async fn lives(&self, id: &DashboardId) -> Result<Lives, StoreError> {
        self.store.lives(&id.present()).await
    }

    /// Whether nothing is there because it was deleted, as far as the store says.
    pub(super) async fn is_deleted(&self, id: &DashboardId) -> bool {
        self.lives(id).await.is_ok_and(|lives| lives.gone.is_some())
    }

    /// Whether a life of a dashboard's name has ended; `None` when the store does not say.
    pub(super) async fn is_over(&self, id: &DashboardId, life: Life) -> Option<bool> {
        match timeout(LOOKED_WITHIN, self.lives(id)).await {
            Ok(Ok(lives)) => Some(!lives.is_current(life)),
            _ => None,
        }
    }

    /// Seals the log if that is due. Nothing waits for it, not even a drain: the next snapshot seals the rest.
    fn seal(self: Arc<Self>, id: DashboardId, snapshot: Kept) {
        let bytes = snapshot.state.len().clamp(SEALING_BYTES_MIN, SEALING_BYTES_MAX) as u32;
        let Ok(held) = Arc::clone(&self.seal_bytes).try_acquire_many_owned(bytes) else { return };
        // The next snapshot seals what comes in between.
        if !self.sealing().insert(id.clone()) {
            return;
        }
        tokio::spawn(async move {
            let (_is_over, _held) = (Sealing { storage: &self, id: &id }, held);
            // One after the other: each holds a base, a state and the entries between.
            let Ok(_turn) = self.seal_turns.acquire().await else { return };
            let sealed = seal::keep_up(&self.store, &self.readers, &id, snapshot, &self.history).await;
            match sealed {
                Ok(0) | Err(StoreError::Closed) => {}
                Ok(segments) => {
                    self.metrics.seals.inc_by(segments as u64);
                }
                Err(failure) => {
                    self.metrics.seals_failed.inc();
                    warn!(dashboard = %id, %failure, "log not sealed; the next snapshot tries again");
                }
            }
        });
    }

    /// The dashboards whose logs are being sealed.
    fn sealing(&self) -> MutexGuard<'_, HashSet<DashboardId>> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a room refused where an operator finds it. The room bounds how often that is.
    pub(super) fn set_aside(&self, id: &DashboardId, entry: LogEntry, why: &'static str) {
        // The records of its dashboard still have this content.
        if id.past().is_some() {
            return;
        }
        let (store, id) = (Arc::clone(&self.store), id.clone());
        let LogEntry { at, author, session, update, .. } = entry;
        self.tracker.spawn(async move {
            let refused = SetAside { at, author, session, why: why.to_owned(), update };
            if let Err(failure) = store.set_aside(&id, refused).await {
                warn!(dashboard = %id, %failure, "cannot keep refused content; its author was told that it is not saved");
            }
        });
    }

    /// Reads what the store holds of a dashboard, other nodes' entries included; `None` when it cannot be read.
    pub(super) async fn read(self: Arc<Self>, id: DashboardId, life: Life) -> Option<StoreRead> {
        let stored = match self.load(&id).await {
            Ok(stored) => stored,
            Err(failure) => {
                warn!(dashboard = %id, %failure, "cannot read the store; leaving its contents untouched");
                return None;
            }
        };
        // What was loaded may be what began after the dashboard was deleted.
        if self.is_over(&id, life).await != Some(false) {
            return None;
        }
        let limits = self.limits.for_trusted();
        let scanning = self.tracker.spawn_blocking(move || {
            let position = stored.position;
            let snapshot = match stored.snapshot {
                // A snapshot that is no update must not be displaced by one that lacks what is in it.
                Some((_, state)) => Some(scan_trusted(state, &limits)?),
                None => None,
            };
            let tail = stored.tail.into_iter().filter_map(|update| scan_trusted(update, &limits));
            Some(StoreRead { updates: snapshot.into_iter().chain(tail).collect(), position })
        });
        scanning.await.ok().flatten()
    }
}

/// Scans what another node or the store brings.
pub(super) fn scan_trusted(update: Bytes, limits: &Limits) -> Option<Scanned> {
    let scan = update::scan(&update, limits).ok()?;
    Some(Scanned { update, scan, frame: None })
}
