//! Finds or opens the room of a dashboard; never two for one dashboard on a node.
//!
//! A slot is being loaded or live. First openers share one load; a load that failed leaves nothing behind, least of all an empty
//! dashboard. A room leaves by [`Context::release`], which takes the slot out only when nobody holds or is just taking a
//! handle: by then everything it accepted is durable, so whoever opens it a moment later loads the same content.

use super::about::Noted;
use super::clock::Clock;
use super::driver::Driver;
use super::handle::{RoomHandle, RoomView, Shared, ToRoom, inbox_bytes};
use super::memory::RoomMemory;
use super::storage::Storage;
use super::users::Users;
use super::visit::Visitors;
use crate::access::{RecordCache, Rooms};
use crate::allowances::Allowances;
use crate::catalog::CatalogError;
use crate::cluster::Bus;
use crate::history::read::PastError;
use crate::metrics::{Eviction, JoinPart, Memory, Metrics};
use crate::reading::lengthy::Lengthy;
use crate::reading::{Cutters, Readers};
use crate::store::writer::WriterHandle;
use crate::store::{SetAside, Store, StoreError};
use crate::trace::Traces;
use core::time::Duration;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info_span};
use ydash_proto::access::Records;
use ydash_proto::id::{DashboardId, NodeId};
use ydash_proto::life::Ended;
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::room::{Input, Loaded, Room, Tuning};

/// Messages that wait for one room; beyond, its peers' sockets are not read.
const INBOX_MESSAGES: usize = 256;
/// Rooms that look after the store at once, and the pause before the next: 10 000 take ten seconds.
const CHECKED_AT_ONCE: usize = 100;
const CHECK_PAUSE: Duration = Duration::from_millis(100);
/// How long a dashboard whose room failed twice stays closed.
const QUARANTINE: Duration = Duration::from_secs(600);
/// Failures that are remembered.
const FAILURES_MAX: usize = 4096;

/// What rooms need to know.
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    /// Bounds of every room.
    pub limits: Limits,
    /// Pace of every room.
    pub tuning: Tuning,
    /// Memory of all rooms together; beyond, empty rooms leave at once and dashboards that are not open stay closed.
    pub memory_max: usize,
    /// For how long every edit is kept.
    pub history: Duration,
    /// Over how long a drain spreads the goodbyes.
    pub drain_spread: Duration,
    /// What some edits and joins are followed by.
    pub traces: Traces,
    /// The limits of users on this node.
    pub allowances: Arc<Allowances>,
    /// Is told of sessions, if tokens say who comes.
    pub visitors: Option<Arc<dyn Visitors>>,
}

/// Why a dashboard cannot be opened. All of it but [`OpenError::Deleted`] and [`OpenError::NotKept`] passes: the client is to try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not say what it holds.
    #[error("store unavailable")]
    Store(#[source] Arc<StoreError>),
    /// What the store holds is no document.
    #[error("stored state is damaged")]
    Damaged,
    /// Its room failed repeatedly; it stays closed for a while, with its log kept.
    #[error("dashboard is quarantined")]
    Quarantined,
    /// The rooms that are open take all the memory they may.
    #[error("memory budget of rooms is used up")]
    Memory,
    /// It was deleted.
    #[error("dashboard was deleted")]
    Deleted,
    /// The node is about to end.
    #[error("node is draining")]
    Draining,
    /// It is a version that is not kept.
    #[error("no such version is kept")]
    NotKept,
}

impl OpenError {
    fn of_the_past(error: PastError) -> OpenError {
        match error {
            PastError::NotKept => OpenError::NotKept,
            PastError::Damaged => OpenError::Damaged,
            PastError::Busy => OpenError::Memory,
            PastError::Store(failure) => OpenError::Store(Arc::new(failure)),
        }
    }
}

type Slot = Arc<OnceCell<RoomHandle>>;

/// What all rooms share.
pub(super) struct Context {
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Who is in the rooms.
    pub(super) users: Arc<Users>,
    pub(super) tracker: TaskTracker,
    pub(super) memory: RoomMemory,
    /// Where rooms read.
    pub(super) readers: Readers,
    /// Where differences of large documents are cut, for members and for others.
    pub(super) cutters: Cutters,
    pub(super) guest_cutters: Cutters,
    pub(super) storage: Arc<Storage>,
    lengthy: Lengthy,
    config: RoomsConfig,
    bus: Arc<dyn Bus>,
    /// What the node knows of who may do what.
    pub(super) records: Arc<RecordCache>,
    slots: DashMap<DashboardId, Slot>,
    failures: Mutex<HashMap<DashboardId, (u32, Instant)>>,
    /// Whose damage was told: somebody who asks again and again would fill the log with it.
    told: Mutex<HashSet<DashboardId>>,
    is_draining: AtomicBool,
}

/// The rooms of this node. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    pub(super) context: Arc<Context>,
}

impl Registry {
    /// No rooms yet. Their tasks run on `tracker`.
    #[must_use]
    pub fn new(
        config: RoomsConfig,
        store: Arc<dyn Store>,
        writer: WriterHandle,
        bus: Arc<dyn Bus>,
        records: Arc<RecordCache>,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
    ) -> Registry {
        let readers = Readers::default();
        let storage = Storage::new(store, writer, &config, readers.clone(), Arc::clone(&metrics), tracker.clone());
        let context = Context {
            limits: config.limits.clone(),
            clock: Clock::start(),
            users: Arc::new(Users::new(Arc::clone(&metrics))),
            metrics,
            tracker,
            memory: RoomMemory::new(config.memory_max),
            readers,
            cutters: Cutters::default(),
            guest_cutters: Cutters::default(),
            storage: Arc::new(storage),
            lengthy: Lengthy::default(),
            config,
            bus,
            records,
            slots: DashMap::new(),
            failures: Mutex::default(),
            told: Mutex::default(),
            is_draining: AtomicBool::new(false),
        };
        Registry { context: Arc::new(context) }
    }

    /// The room of a dashboard, or of a version of one, opened if need be.
    ///
    /// # Errors
    /// [`OpenError`] – refuse the session and let its client try again; nothing must be shown.
    pub async fn open(&self, id: &DashboardId) -> Result<RoomHandle, OpenError> {
        let Some((dashboard, version)) = id.past() else { return self.open_room(id).await };
        if self.context.is_draining.load(Ordering::Relaxed) {
            return Err(OpenError::Draining);
        }
        let now = self.context.clock.now();
        let storage = &self.context.storage;
        match storage.room_of(&dashboard, version, now).await {
            Ok(room) => self.open_room(&room).await,
            Err(PastError::NotKept) if storage.is_deleted(&dashboard).await => Err(OpenError::Deleted),
            Err(failure) => Err(OpenError::of_the_past(failure)),
        }
    }

    async fn open_room(&self, id: &DashboardId) -> Result<RoomHandle, OpenError> {
        let began = Instant::now();
        loop {
            if self.context.is_draining.load(Ordering::Relaxed) {
                return Err(OpenError::Draining);
            }
            let slot = match self.context.slots.get(id) {
                Some(slot) => Arc::clone(&slot),
                None => Arc::clone(&self.context.slots.entry(id.clone()).or_default()),
            };
            let opened = slot.get_or_try_init(|| self.load(id)).await.cloned();
            match opened {
                Ok(room) if room.shared.inbox.is_closed() => self.context.forget(id, &room),
                Ok(room) => {
                    self.context.metrics.join_seconds.observe(JoinPart::Open, began.elapsed().as_secs_f64());
                    return Ok(room);
                }
                Err(failure) => {
                    drop(slot);
                    // Others may be trying again in this very slot: then it is theirs to remove.
                    self.context.slots.remove_if(id, |_, slot| !slot.initialized() && Arc::strong_count(slot) == 1);
                    return Err(failure);
                }
            }
        }
    }

    /// Whether the node still opens dashboards.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.context.is_draining.load(Ordering::Relaxed)
    }

    /// How many rooms are open or being opened.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.context.slots.len()
    }

    /// The live rooms whose names contain `part`, by name, at most `limit` of them, and how many there are in all.
    #[must_use]
    pub fn live(&self, part: &str, limit: usize) -> (Vec<DashboardId>, usize) {
        let is_meant = |id: &DashboardId| id.as_str().contains(part);
        let mut found: Vec<DashboardId> = self
            .context
            .slots
            .iter()
            .filter(|slot| slot.initialized() && is_meant(slot.key()))
            .map(|slot| slot.key().clone())
            .collect();
        let total = found.len();
        found.sort_unstable();
        found.truncate(limit);
        (found, total)
    }

    /// What a live room has to say about itself; `None` if it is not live, or too busy. Does not keep it alive.
    pub async fn look(&self, id: &DashboardId) -> Option<RoomView> {
        let inbox = self.context.slots.get(id)?.get()?.shared.inbox.clone();
        let (answer, answered) = oneshot::channel();
        inbox.try_send(ToRoom::Look { answer }).ok()?;
        drop(inbox);
        answered.await.ok()
    }

    /// Entries of a dashboard's log, as [`Store::log`] has them.
    ///
    /// # Errors
    /// [`StoreError`] – nothing can be said about the log.
    pub async fn log(
        &self,
        id: &DashboardId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<(LogPosition, LogEntry)>, StoreError> {
        self.context.storage.store.log(id, after, limit).await
    }

    /// Names of dashboards that are stored, as [`Store::list`] has them.
    ///
    /// # Errors
    /// [`StoreError`] – nothing can be said about which there are.
    pub async fn stored(
        &self,
        prefix: &str,
        after: Option<&DashboardId>,
        limit: usize,
    ) -> Result<Vec<DashboardId>, StoreError> {
        self.context.storage.store.list(prefix, after, limit).await
    }

    /// What lists tell of each of these, without opening any; and how many bytes were looked at for it.
    ///
    /// # Errors
    /// [`CatalogError`] – try again.
    pub async fn noted(&self, dashboards: Vec<DashboardId>) -> Result<(Vec<Noted>, usize), CatalogError> {
        let with_rooms = dashboards.into_iter().map(|id| {
            let room = self.context.slots.get(&id).and_then(|slot| slot.get().cloned());
            (id, room.filter(|room| !room.shared.inbox.is_closed()))
        });
        self.context.storage.notes.of(with_rooms.collect()).await
    }

    /// Where large inputs of rooms take turns.
    #[must_use]
    pub fn lengthy(&self) -> &Lengthy {
        &self.context.lengthy
    }

    /// The limits of users on this node.
    #[must_use]
    pub fn allowances(&self) -> &Allowances {
        &self.context.config.allowances
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.context.node()
    }

    /// What some edits and joins are followed by.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.context.config.traces
    }

    /// The time that rooms are told.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.context.clock
    }

    /// Sends empty rooms away when all together take more memory than they may. Call it every few seconds.
    pub async fn relieve(&self) {
        let bytes = self.context.memory.used() as i64;
        self.context.metrics.room_bytes.set(bytes);
        self.context.metrics.memory_bytes.set(Memory::Rooms, bytes);
        if self.context.memory.is_short() {
            self.tell_all(|| ToRoom::Leave).await;
        }
        if self.context.slots.capacity() > 4 * self.context.slots.len().max(64) {
            self.context.slots.shrink_to_fit();
        }
    }

    /// Has every room find out whether the store still holds what is durable; with `compare`, also what other nodes wrote.
    ///
    /// Some at a time, so that neither the store nor this node has to do it all at once.
    pub async fn check_store(&self, compare: bool) {
        for (n, inbox) in self.inboxes().into_iter().enumerate() {
            if n % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1 {
                tokio::time::sleep(CHECK_PAUSE).await;
            }
            let _ = inbox.send(ToRoom::Input(Input::CheckStore { compare })).await; // A room that has ended needs no telling.
        }
    }

    /// Opens nothing any more, has every room flush, save and snapshot, and sends every session elsewhere.
    ///
    /// Returns at once; rooms end one by one as they are settled and empty: wait for the tracker, within a deadline.
    pub async fn drain(&self) {
        self.context.is_draining.store(true, Ordering::Relaxed);
        self.tell_all(|| ToRoom::Drain).await;
    }

    async fn tell_all(&self, message: impl Fn() -> ToRoom) {
        for inbox in self.inboxes() {
            let _ = inbox.send(message()).await; // A room that has ended needs no telling.
        }
    }

    fn inboxes(&self) -> Vec<mpsc::Sender<ToRoom>> {
        self.context.slots.iter().filter_map(|slot| slot.get().map(|room| room.shared.inbox.clone())).collect()
    }

    async fn load(&self, id: &DashboardId) -> Result<RoomHandle, OpenError> {
        let context = &self.context;
        if context.is_quarantined(id) {
            return Err(OpenError::Quarantined);
        }
        let began = Instant::now();
        // Before the load: what other nodes write from here on is heard, what they wrote before is loaded.
        let line = context.bus.subscribe(id).await;
        // Before the load, too: should it be deleted and begun anew in between, the room is of a life that is over, and writes nothing.
        let lives = context.storage.lives(id).await.map_err(|failure| {
            debug!(dashboard = %id, %failure, "load failed");
            OpenError::Store(Arc::new(failure))
        })?;
        if lives.gone.is_some() {
            return Err(OpenError::Deleted);
        }
        let life = lives.current;
        let stored = context.storage.load(id).await.map_err(|failure| {
            debug!(dashboard = %id, %failure, "load failed");
            OpenError::of_the_past(failure)
        })?;
        let is_first = context.is_told_first(id);
        if stored.damaged > 0 && is_first {
            context.note_told(id);
            error!(dashboard = %id, damaged = stored.damaged, "damaged records were set aside; run `ydash doctor`");
        }
        let size = stored.bytes();
        if !context.memory.has_place_for(size) {
            // Those that nobody is in leave, so that the next attempt may find a place.
            self.tell_all(|| ToRoom::Leave).await;
            return Err(OpenError::Memory);
        }
        let loaded = Loaded {
            snapshot: stored.snapshot.map(|(_, state)| state),
            log: stored.tail,
            position: stored.position,
            ended: Ended::new(lives.ended),
        };
        let (now, limits, tuning) = (context.clock.now(), context.limits.clone(), context.config.tuning.clone());
        let open = move || {
            let trusted = limits.for_trusted();
            let is_none = |update: &&bytes::Bytes| ydash_proto::update::scan(update, &trusted).is_err();
            let unusable: Vec<bytes::Bytes> = loaded.log.iter().filter(is_none).cloned().collect();
            Room::open(now, loaded, limits, tuning).map(|room| (room, unusable))
        };
        /// Reading more than this takes over a millisecond.
        const LARGE: usize = 256 << 10;
        let opened = if size > LARGE { context.tracker.spawn_blocking(open).await.ok() } else { Some(open()) };
        let room = match opened {
            Some(Ok((room, unusable))) => {
                if !unusable.is_empty() && is_first {
                    context.note_told(id);
                    let entries = unusable.len();
                    error!(dashboard = %id, entries, "log entries hold no updates; they are set aside, see `ydash doctor`");
                    // The next snapshot trims them.
                    for update in unusable.into_iter().take(SetAside::ENTRIES_MAX) {
                        let entry = LogEntry { at: now, author: None, session: 0, source: Source::Recovery, update };
                        context.storage.set_aside(id, entry, "log entry holds no update");
                    }
                }
                room
            }
            Some(Err(failure)) => {
                if is_first {
                    context.note_told(id);
                    error!(dashboard = %id, %failure, "stored state is no document; it stays closed, its records stay as they are");
                }
                return Err(OpenError::Damaged);
            }
            None => return Err(OpenError::Damaged),
        };
        context.metrics.load_seconds.observe(began.elapsed().as_secs_f64());
        let (inbox, messages) = mpsc::channel(INBOX_MESSAGES);
        let driver = Driver::new(id.clone(), life, room, line, Arc::clone(context));
        let (document_bytes, live) = (driver.document_bytes(), driver.live());
        let handle = RoomHandle {
            shared: Arc::new(Shared {
                id: id.clone(),
                inbox,
                inbox_bytes: inbox_bytes(),
                document_bytes,
                live,
                traces: context.config.traces.clone(),
            }),
        };
        let span = info_span!("room", dashboard = %id);
        let guard = Arc::clone(context);
        let ended = id.clone();
        context.tracker.spawn(
            async move {
                if AssertUnwindSafe(driver.run(messages)).catch_unwind().await.is_err() {
                    guard.failed(&ended);
                } else {
                    guard.sweep(&ended);
                }
            }
            .instrument(span),
        );
        Ok(handle)
    }
}

impl Rooms for Registry {
    fn open(&self) -> Vec<DashboardId> {
        let open = self.context.slots.iter().filter(|slot| slot.initialized());
        open.map(|slot| slot.key().clone()).collect()
    }

    fn tell(&self, records: Records) -> BoxFuture<'_, ()> {
        let room = self.context.slots.get(&records.of).and_then(|slot| slot.get().cloned());
        Box::pin(async move {
            let Some(room) = room else { return };
            let (taken, is_taken) = oneshot::channel();
            // A room that has ended lets nobody do anything.
            if room.send(ToRoom::Access { records: Box::new(records), taken }).await.is_ok() {
                let _ = is_taken.await;
            }
        })
    }

    fn check(&self, dashboard: DashboardId) -> BoxFuture<'_, ()> {
        // Rooms of its versions, too, show what was deleted.
        let rooms: Vec<(DashboardId, Option<RoomHandle>)> = self
            .context
            .slots
            .iter()
            .filter(|slot| {
                *slot.key() == dashboard || slot.key().past().is_some_and(|(present, _)| present == dashboard)
            })
            .map(|slot| (slot.key().clone(), slot.get().cloned()))
            .collect();
        Box::pin(async move {
            let checks = rooms.into_iter().map(|(id, room)| async move {
                let room = match room {
                    Some(room) => room,
                    // It is being loaded, and may have read what was there before. If it cannot be opened, nobody is in it.
                    None => match self.open_room(&id).await {
                        Ok(room) => room,
                        Err(_) => return,
                    },
                };
                let (checked, is_checked) = oneshot::channel();
                if room.send(ToRoom::CheckLife { checked }).await.is_ok() {
                    let _ = is_checked.await; // A room that has ended has sent everybody away.
                }
            });
            join_all(checks).await;
        })
    }
}

impl Context {
    /// Takes a room out unless somebody holds a handle to it, or is just taking one. Says whether it is out.
    pub(super) fn release(&self, id: &DashboardId) -> bool {
        // Under the shard's lock: whoever wants a handle takes the slot under the same lock first.
        let is_unused = |_: &DashboardId, slot: &Slot| {
            Arc::strong_count(slot) == 1 && slot.get().is_none_or(|room| Arc::strong_count(&room.shared) == 1)
        };
        self.slots.remove_if(id, is_unused).is_some() || !self.slots.contains_key(id)
    }

    /// Which node this is.
    pub(super) fn node(&self) -> NodeId {
        self.bus.node()
    }

    /// A while within the drain, so that clients do not come back all at once.
    pub(super) fn drain_delay(&self) -> Duration {
        self.config.drain_spread.mul_f64(fastrand::f64())
    }

    /// What some edits are followed by.
    pub(super) fn traces(&self) -> &Traces {
        &self.config.traces
    }

    pub(super) fn allowances(&self) -> &Allowances {
        &self.config.allowances
    }

    pub(super) fn visitors(&self) -> Option<&Arc<dyn Visitors>> {
        self.config.visitors.as_ref()
    }

    fn forget(&self, id: &DashboardId, room: &RoomHandle) {
        let is_it =
            |_: &DashboardId, slot: &Slot| slot.get().is_some_and(|other| Arc::ptr_eq(&other.shared, &room.shared));
        self.slots.remove_if(id, is_it);
    }

    fn failed(&self, id: &DashboardId) {
        self.metrics.evictions.inc(Eviction::Failed);
        {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() >= FAILURES_MAX {
                failures.retain(|_, (_, at)| at.elapsed() < QUARANTINE);
            }
            let (count, at) = failures.entry(id.clone()).or_insert((0, Instant::now()));
            if at.elapsed() >= QUARANTINE {
                *count = 0;
            }
            (*count, *at) = (*count + 1, Instant::now());
            if *count >= 2 {
                self.metrics.rooms_quarantined.inc();
                error!(dashboard = %id, "room failed again: the dashboard is quarantined, its log is kept");
            } else {
                error!(dashboard = %id, "room failed; the dashboard opens again from the store");
            }
        }
        // Last: whoever finds the place empty may open another room.
        self.sweep(id);
    }

    /// Takes a room out that has ended.
    fn sweep(&self, id: &DashboardId) {
        if let Entry::Occupied(slot) = self.slots.entry(id.clone())
            && slot.get().get().is_some_and(|room| room.shared.inbox.is_closed())
        {
            slot.remove();
        }
    }

    /// Whether damage of a dashboard is to be told: it was not, since the start or for a long time.
    fn is_told_first(&self, id: &DashboardId) -> bool {
        !self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Notes that it was told.
    fn note_told(&self, id: &DashboardId) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= FAILURES_MAX {
            told.clear();
        }
        told.insert(id.clone());
    }

    fn is_quarantined(&self, id: &DashboardId) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(id).is_some_and(|(count, at)| *count >= 2 && at.elapsed() < QUARANTINE)
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
