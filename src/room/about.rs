//! What is told of dashboards in lists, without opening any: records that rooms write with their snapshots, and what rooms that are open
//! know better.
//!
//! A record follows from the document and its log. One that is missing, as after an import, is made by and by, one dashboard at a time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;
use ydash_proto::about::{About, Edited, Standing};
use ydash_proto::document;
use ydash_proto::id::DashboardId;
use ydash_proto::log::LogPosition;
use ydash_proto::room::Room;
use ydash_proto::update::{StateVector, merge};

use super::handle::RoomHandle;
use crate::catalog::{Catalog, CatalogError, Expected, Key};
use crate::store::{LogEntry, Store, Stored};

/// How often a record is written again that somebody else has changed meanwhile.
const ATTEMPTS: usize = 4;

/// A title in more bytes than these is looked for beside the runtime's threads: it takes a millisecond or so.
const ASIDE_BYTES: usize = 256 << 10;

/// Records that are to be made. What does not fit is found missing again.
const MISSING_MAX: usize = 256;

/// Open rooms that are asked for their title in one look, and of which size at most. Others are told by their record.
const ASKED_MAX: usize = 16;
const ASKED_BYTES_MAX: usize = 256 << 10;

/// How long a room may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// What a room's task leaves for those who do not ask it.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Who is here, other nodes' sessions included.
    present: AtomicUsize,
    /// Grows with each update.
    updates: AtomicU64,
    /// The last edit that came through this node.
    edited: Mutex<Option<Edited>>,
    /// The title, and after which update it was that.
    title: Mutex<Option<(u64, Option<Arc<str>>)>>,
    /// For those who follow it. Kept up to date only while somebody does.
    followed: watch::Sender<Standing>,
}

impl Live {
    /// As of now; `has_peers` is whether other nodes have, or had, the dashboard open.
    pub(super) fn look(&self, room: &Room, updates: u64, has_peers: bool) {
        self.present.store(room.present(), Ordering::Relaxed);
        self.updates.store(updates, Ordering::Relaxed);
        if self.followed.receiver_count() > 0 {
            let standing = Standing {
                updates,
                position: room.position(),
                has_peers,
                edited: self.edited(),
                presence: room.presence_changes(),
                present: room.present(),
            };
            self.followed.send_if_modified(|known| {
                let is_changed = *known != standing;
                *known = standing;
                is_changed
            });
        }
    }

    /// Notes what is written to the log.
    pub(super) fn logs(&self, entries: &[LogEntry]) {
        if let Some(last) = entries.last() {
            *lock(&self.edited) = Some(Edited { at: last.at, by: last.author.clone() });
        }
    }

    /// Tells where the room stands, from now on.
    pub(super) fn follow(&self, room: &Room, updates: u64, has_peers: bool) -> watch::Receiver<Standing> {
        let followed = self.followed.subscribe();
        // It holds what was told to the last one who followed, whenever that was.
        self.look(room, updates, has_peers);
        followed
    }

    /// The last edit that came through this node, since the room was opened.
    pub(super) fn edited(&self) -> Option<Edited> {
        lock(&self.edited).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic leaves a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a dashboard just then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Its title and last edit.
    pub about: About,
    /// Who is here, as far as this node knows: nobody, where it has not opened the dashboard.
    pub present: usize,
}

/// The records.
#[derive(Clone)]
pub(super) struct Notes {
    store: Arc<dyn Store>,
    catalog: Arc<dyn Catalog>,
    tracker: TaskTracker,
    missing: Arc<Mutex<HashSet<DashboardId>>>,
    /// One that is missing is made at a time.
    making: Arc<Semaphore>,
}

impl Notes {
    pub(super) fn new(store: Arc<dyn Store>, tracker: TaskTracker) -> Notes {
        let catalog = store.catalog();
        Notes { store, catalog, tracker, missing: Arc::default(), making: Arc::new(Semaphore::new(1)) }
    }

    /// Writes what a snapshot of a dashboard tells. Without `edited`, the log tells of the last edit up to there.
    pub(super) async fn write(&self, id: &DashboardId, covers: LogPosition, state: Bytes, edited: Option<Edited>) {
        let title = title_of(&self.tracker, state).await;
        let edited = match edited {
            None => self.last_edit(id, covers).await,
            known => known,
        };
        if let Err(failure) = self.put(id, title, edited).await {
            debug!(dashboard = %id, %failure, "what lists tell of it stays as it was");
        }
    }

    async fn last_edit(&self, id: &DashboardId, at: LogPosition) -> Option<Edited> {
        let before = LogPosition(at.0.checked_sub(1)?);
        let entries = self.store.log(id, before, 1).await.ok()?;
        entries.into_iter().next().map(|(_, entry)| Edited { at: entry.at, by: entry.author })
    }

    async fn put(&self, id: &DashboardId, title: Option<Arc<str>>, edited: Option<Edited>) -> Result<(), CatalogError> {
        let key = Key::of_about(id);
        for _ in 0..ATTEMPTS {
            let (known, expected) = match self.catalog.get(&key).await {
                Ok(known) => {
                    let expected = Expected::as_read(known.as_ref());
                    (known.and_then(|record| About::decode(&record.content)), expected)
                }
                // It follows from the document: one that cannot be read is made anew.
                Err(CatalogError::Damaged { .. }) => (None, Expected::Anything),
                Err(failure) => return Err(failure),
            };
            let mut about = known.clone().unwrap_or_default();
            about.title.clone_from(&title);
            about.learn(edited.clone());
            if known.as_ref() == Some(&about) {
                return Ok(());
            }
            match self.catalog.put(&key, expected, about.encode().into()).await {
                Err(CatalogError::Conflict { .. }) => {}
                written => return written.map(|_| ()),
            }
        }
        Ok(())
    }

    /// What is known of each of these, which may be open: then their rooms know better. And bytes that were looked at for it.
    pub(super) async fn of(
        &self,
        dashboards: Vec<(DashboardId, Option<RoomHandle>)>,
    ) -> Result<(Vec<Noted>, usize), CatalogError> {
        let keys: Vec<Key> = dashboards.iter().map(|(id, _)| Key::of_about(id)).collect();
        let records = join_all(keys.iter().map(|key| self.catalog.get(key))).await;
        let (mut all, mut asked, mut bytes) = (Vec::with_capacity(dashboards.len()), 0, 0);
        for ((id, room), record) in dashboards.into_iter().zip(records) {
            let known = match record {
                Ok(record) => record.and_then(|record| About::decode(&record.content)),
                Err(CatalogError::Damaged { .. } | CatalogError::LaterFormat { .. }) => None,
                Err(failure) => return Err(failure),
            };
            if known.is_none() && room.is_none() {
                self.make(id);
            }
            let mut noted = Noted { about: known.unwrap_or_default(), present: 0 };
            if let Some(room) = room {
                let live = &room.shared.live;
                noted.present = live.present.load(Ordering::Relaxed);
                noted.about.learn(live.edited());
                let updates = live.updates.load(Ordering::Relaxed);
                let known = lock(&live.title).clone().filter(|(at, _)| *at == updates);
                match known {
                    Some((_, title)) => noted.about.title = title,
                    None if asked < ASKED_MAX && room.document_bytes() <= ASKED_BYTES_MAX => {
                        asked += 1;
                        bytes += room.document_bytes();
                        if let Ok(Ok(state)) = timeout(ANSWERED_WITHIN, room.read(StateVector::default())).await {
                            let title = title_of(&self.tracker, state).await;
                            *lock(&live.title) = Some((updates, title.clone()));
                            noted.about.title = title;
                        }
                    }
                    None => {}
                }
            }
            all.push(noted);
        }
        Ok((all, bytes))
    }

    /// Has a record made that is missing, by and by.
    fn make(&self, id: DashboardId) {
        {
            let mut missing = lock(&self.missing);
            if missing.len() >= MISSING_MAX || !missing.insert(id.clone()) {
                return;
            }
        }
        let notes = self.clone();
        self.tracker.spawn(async move {
            if let Ok(_turn) = notes.making.acquire().await
                && let Ok(stored) = notes.store.load(&id).await
                && !stored.is_empty()
            {
                let Stored { snapshot, tail, position, .. } = stored;
                let parts: Vec<Bytes> = snapshot.into_iter().map(|(_, state)| state).chain(tail).collect();
                let edited = notes.last_edit(&id, position).await;
                // What is no update would be a panic: then nothing is told of its title.
                let joined = notes.tracker.spawn_blocking(move || joined(&parts)).await.ok().flatten();
                let title = match joined {
                    Some(state) => title_of(&notes.tracker, state).await,
                    None => None,
                };
                if let Err(failure) = notes.put(&id, title, edited).await {
                    debug!(dashboard = %id, %failure, "what lists tell of it is not written");
                }
            }
            lock(&notes.missing).remove(&id);
        });
    }
}

/// What is stored as one update; `None` if a part of it is none.
fn joined(parts: &[Bytes]) -> Option<Bytes> {
    let limits = ydash_proto::limits::Limits::default().for_trusted();
    let are_updates = parts.iter().all(|part| ydash_proto::update::scan(part, &limits).is_ok());
    are_updates.then(|| merge(parts))
}

async fn title_of(tracker: &TaskTracker, state: Bytes) -> Option<Arc<str>> {
    let title = if state.len() <= ASIDE_BYTES {
        document::title(&state)
    } else {
        tracker.spawn_blocking(move || document::title(&state)).await.ok().flatten()
    };
    title.map(Arc::from)
}
