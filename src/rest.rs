//! What REST can do with dashboards: each call opens the room, as a session would, and lets it go again.

mod attending;
mod bases;
mod editing;
mod pens;
mod versions;

use crate::cluster::Bus;
use crate::cluster::nodes::{NodeInfo, NodeStatus};
use crate::http::{
    Attend, Attendance, Dashboards, EditError, Edited, Etag, Nodes, Noted, PresenceState, Read, ReadError, Shown,
    VersionCall, VersionRefusal, Wish, WriteError,
};
use crate::metrics::Metrics;
use crate::reading::guests::{Remembered, Turns};
use crate::room::{Noted as RoomNoted, OpenError, Registry, RoomHandle, WriteError as RoomWriteError};
pub use attending::Attending;
use bases::Bases;
use bytes::Bytes;
use core::time::Duration;
use editing::etag_of_roots;
use futures_util::future::BoxFuture;
use pens::Pens;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;
use ydash_proto::access::Admission;
use ydash_proto::document::edit::{Pen, Place, parse_lenient};
use ydash_proto::document::{self, TreeError};
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::room::{Input, LimitReached, Scanned, WriteRefusal};
use ydash_proto::update::{self, StateVector, is_empty_update};

/// How long a write may wait for the store.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// How long a call may wait for its turn to read or make a document.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Up to this size, a document is read at once, with a few steps. Almost all are; what takes more is read where it disturbs nobody.
const QUICK_BYTES_MAX: usize = 1 << 20;
/// Some milliseconds.
const QUICK_STEPS_MAX: u64 = 1 << 20;

/// What is remembered of readings, with the documents that they were of. Those of rooms that are open are there anyway.
const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// The dashboards of this node.
#[derive(Clone)]
pub struct Rest {
    registry: Registry,
    limits: Limits,
    attending: Attending,
    /// Where documents are read that take a moment.
    quick: Turns<IpAddr>,
    /// Where those are read that are large, or made to be dear. Busy half of the time at most.
    dear: Turns<IpAddr>,
    /// Where documents are made from JSON: reading takes no place from writing.
    making: Turns<IpAddr>,
    remembered: Arc<Mutex<Remembered<Result<Shown, ReadError>>>>,
    /// Under which ids this node writes.
    pens: Pens,
    bases: Arc<Mutex<Bases>>,
    /// A dear document has been read.
    was_read: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Rest {
    /// REST on the rooms of `registry`.
    #[must_use]
    pub fn new(registry: Registry, limits: Limits, attending: Attending, metrics: Arc<Metrics>) -> Rest {
        let places = thread::available_parallelism().map_or(1, usize::from) / 2;
        let turns = || Turns::new(places);
        let remembered = Arc::new(Mutex::new(Remembered::new(REMEMBERED_BYTES_MAX)));
        let (quick, dear, making) = (turns(), turns(), turns());
        let (pens, bases) = (Pens::default(), Arc::default());
        Rest {
            registry,
            limits,
            attending,
            quick,
            dear,
            making,
            remembered,
            pens,
            bases,
            was_read: Arc::default(),
            metrics,
        }
    }

    async fn open(&self, dashboard: &DashboardId) -> Result<RoomHandle, Unopened> {
        self.registry.open(dashboard).await.map_err(|failure| {
            debug!(%failure, "dashboard not opened");
            match failure {
                OpenError::Deleted => Unopened::Deleted,
                OpenError::NotKept => Unopened::NotKept,
                _ => Unopened::ForNow,
            }
        })
    }

    async fn state(&self, dashboard: &DashboardId, have: StateVector) -> Result<Bytes, ReadError> {
        let room = self.open(dashboard).await?;
        room.read(have).await.map_err(|_| ReadError::Unavailable)
    }

    async fn json(&self, dashboard: &DashboardId, caller: IpAddr) -> Result<Shown, ReadError> {
        let state = self.state(dashboard, StateVector::default()).await?;
        if is_empty_update(&state) {
            return Err(ReadError::NotFound);
        }
        if let Some(known) = self.remembered().get(dashboard, &state) {
            return known;
        }
        let metrics = Arc::clone(&self.metrics);
        if state.len() <= QUICK_BYTES_MAX {
            let place = self.quick.take(caller, TURN_WITHIN).await.map_err(|_| ReadError::Busy)?;
            let reading = state.clone();
            metrics.documents_read.inc();
            let read = place.run(false, move || shown(document::to_json_within(&reading, QUICK_STEPS_MAX))).await;
            match read.map_err(|_| ReadError::Unreadable)? {
                Err(document::ReadError::Tree(TreeError::TooCostly)) => {}
                read => return self.remember(dashboard, &state, read),
            }
        }
        let mut turn = pin!(self.dear.take(caller, TURN_WITHIN));
        let place = loop {
            // Others may have waited for the same.
            let read_elsewhere = self.was_read.notified();
            if let Some(known) = self.remembered().get(dashboard, &state) {
                return known;
            }
            tokio::select! {
                place = &mut turn => break place.map_err(|_| ReadError::Busy)?,
                () = read_elsewhere => {}
            }
        };
        let reading = state.clone();
        metrics.documents_read.inc();
        let read =
            place.run(true, move || shown(document::to_json(&reading))).await.map_err(|_| ReadError::Unreadable)?;
        let outcome = self.remember(dashboard, &state, read);
        self.was_read.notify_waiters();
        outcome
    }

    fn remember(
        &self,
        dashboard: &DashboardId,
        state: &Bytes,
        read: Result<Shown, document::ReadError>,
    ) -> Result<Shown, ReadError> {
        let outcome = read.map_err(|failure| {
            debug!(%dashboard, %failure, "not shown as json");
            ReadError::Unreadable
        });
        let bytes = outcome.as_ref().map_or(0, |shown| shown.json.len());
        if let Ok(shown) = &outcome {
            self.bases().put(Instant::now(), dashboard, shown.etag, &shown.json);
        }
        self.remembered().put(dashboard, state, outcome.clone(), bytes);
        outcome
    }

    fn bases(&self) -> MutexGuard<'_, Bases> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered<Result<Shown, ReadError>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a dashboard was not opened.
enum Unopened {
    Deleted,
    /// It is a version that is not kept.
    NotKept,
    ForNow,
}

impl From<Unopened> for ReadError {
    fn from(why: Unopened) -> ReadError {
        match why {
            Unopened::Deleted => ReadError::Deleted,
            Unopened::NotKept => ReadError::NotFound,
            Unopened::ForNow => ReadError::Unavailable,
        }
    }
}

impl From<Unopened> for WriteError {
    fn from(why: Unopened) -> WriteError {
        match why {
            Unopened::Deleted => WriteError::Deleted,
            // Nobody may write to a version, kept or not.
            Unopened::NotKept | Unopened::ForNow => WriteError::Unavailable,
        }
    }
}

impl Dashboards for Rest {
    fn names(
        &self,
        prefix: String,
        after: Option<DashboardId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DashboardId>, ReadError>> {
        let registry = self.registry.clone();
        Box::pin(async move {
            registry.stored(&prefix, after.as_ref(), limit).await.map_err(|failure| {
                debug!(%failure, "dashboards not listed");
                ReadError::Unavailable
            })
        })
    }

    fn noted(&self, dashboards: Vec<DashboardId>) -> BoxFuture<'static, Result<(Vec<Noted>, usize), ReadError>> {
        let registry = self.registry.clone();
        Box::pin(async move {
            let (noted, bytes) = registry.noted(dashboards).await.map_err(|failure| {
                debug!(%failure, "dashboards not listed");
                ReadError::Unavailable
            })?;
            Ok((noted.into_iter().map(|RoomNoted { about, present }| Noted { about, present }).collect(), bytes))
        })
    }

    fn look(
        &self,
        dashboard: DashboardId,
        caller: IpAddr,
        place: Place,
    ) -> BoxFuture<'static, Result<Shown, EditError>> {
        Box::pin(self.clone().look(dashboard, caller, place))
    }

    fn edit(
        &self,
        dashboard: DashboardId,
        author: Admission,
        caller: IpAddr,
        wish: Wish,
    ) -> BoxFuture<'static, Result<Edited, EditError>> {
        Box::pin(self.clone().edit(dashboard, author, caller, wish))
    }

    fn read_state(&self, dashboard: DashboardId, have: Option<Bytes>) -> BoxFuture<'static, Result<Read, ReadError>> {
        let rest = self.clone();
        Box::pin(async move {
            let have = match have {
                Some(have) => StateVector::decode(&have, &rest.limits).map_err(|_| ReadError::MalformedStateVector)?,
                None => StateVector::default(),
            };
            let room = rest.open(&dashboard).await?;
            let state = room.read(have).await.map_err(|_| ReadError::Unavailable)?;
            Ok(Read { cost: room.document_bytes().max(state.len()), state })
        })
    }

    fn presence(
        &self,
        dashboard: DashboardId,
        reader: Admission,
    ) -> BoxFuture<'static, Result<Vec<PresenceState>, ReadError>> {
        Box::pin(self.clone().present(dashboard, reader))
    }

    fn attend(&self, attend: Attend) -> BoxFuture<'static, Result<Attendance, ReadError>> {
        Box::pin(self.clone().attend(attend))
    }

    fn write_update(
        &self,
        dashboard: DashboardId,
        author: Admission,
        update: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>> {
        Box::pin(self.clone().put(dashboard, author, update))
    }

    fn begin(
        &self,
        dashboard: DashboardId,
        author: Admission,
        state: Bytes,
    ) -> BoxFuture<'static, Result<bool, WriteError>> {
        Box::pin(self.clone().begin_with(dashboard, author, state))
    }

    fn versions(
        &self,
        dashboard: DashboardId,
        by: Admission,
        what: VersionCall,
    ) -> BoxFuture<'static, Result<Value, VersionRefusal>> {
        Box::pin(self.clone().on_versions(dashboard, by, what))
    }

    fn send_stateless(
        &self,
        dashboard: DashboardId,
        author: Admission,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>> {
        let rest = self.clone();
        Box::pin(async move {
            // Opened even if nobody is here: somebody may be on another node.
            let room = rest.open(&dashboard).await?;
            room.input(Input::Announce { author: Box::new(author), payload }).await.map_err(|_| WriteError::Unavailable)
        })
    }
}

impl Rest {
    async fn put(self, dashboard: DashboardId, author: Admission, update: Bytes) -> Result<(), WriteError> {
        let (limits, scanned) = (self.limits.clone(), update.clone());
        let scan = tokio::task::spawn_blocking(move || update::scan(&scanned, &limits)).await;
        let scan = scan.map_err(|_| WriteError::Unavailable)?.map_err(|_| WriteError::Malformed)?;
        let room = self.open(&dashboard).await?;
        let update = Scanned { update, scan, frame: None };
        match timeout(DURABLE_WITHIN, room.write(author, update)).await {
            Ok(written) => written.map_err(|refused| self.refused(refused)),
            Err(_) => Err(WriteError::Unavailable),
        }
    }

    async fn begin_with(self, dashboard: DashboardId, author: Admission, state: Bytes) -> Result<bool, WriteError> {
        // It was admitted once, under the limits of that time.
        let (limits, scanned) = (self.limits.for_trusted(), state.clone());
        let scan = tokio::task::spawn_blocking(move || update::scan(&scanned, &limits)).await;
        let scan = scan.map_err(|_| WriteError::Unavailable)?.map_err(|_| WriteError::Malformed)?;
        let room = self.open(&dashboard).await?;
        let is_free = |client: &u32| scan.spans.iter().all(|span| span.client != u64::from(*client));
        let client = std::iter::repeat_with(|| fastrand::u32(1..)).find(is_free).unwrap_or(1);
        let pen = Pen { client: client.into(), clock: 0 };
        let taken = match room.edit(author, Scanned { update: state, scan, frame: None }, pen, true).await {
            Ok(taken) => taken,
            Err(RoomWriteError::Refused(WriteRefusal::Exists | WriteRefusal::PenTaken)) => return Ok(false),
            Err(refused) => return Err(self.refused(refused)),
        };
        match timeout(DURABLE_WITHIN, taken.durable()).await {
            Ok(written) => written.map(|()| true).map_err(|refused| self.refused(refused)),
            Err(_) => Err(WriteError::Unavailable),
        }
    }

    /// What is said of a write that a room did not take.
    fn refused(&self, error: RoomWriteError) -> WriteError {
        match error {
            RoomWriteError::Ended(_) => WriteError::Unavailable,
            RoomWriteError::Refused(refusal) => match refusal {
                // Those who write what this node makes try again; nobody else is refused so.
                WriteRefusal::Exists | WriteRefusal::PenTaken => WriteError::Unavailable,
                WriteRefusal::Deleted => WriteError::StaleCopy,
                WriteRefusal::Forbidden => WriteError::Forbidden,
                WriteRefusal::Hole => WriteError::Incomplete,
                WriteRefusal::Differs => WriteError::Differs,
                WriteRefusal::Limit(LimitReached::DocumentBytes) => {
                    WriteError::TooLarge { bytes_max: self.limits.document_bytes_max }
                }
                WriteRefusal::Limit(LimitReached::Memory | LimitReached::MessageBytes) => WriteError::Memory,
                WriteRefusal::Limit(LimitReached::Dashboards(exceeded)) => WriteError::UserLimit(exceeded),
                WriteRefusal::Limit(LimitReached::Content) => WriteError::Malformed,
                WriteRefusal::Limit(
                    limit @ (LimitReached::DeletedBytes | LimitReached::DocumentClients | LimitReached::Nesting),
                ) => WriteError::Limit(limit.as_str()),
            },
        }
    }
}

/// What was read, with its version.
fn shown(read: Result<String, document::ReadError>) -> Result<Shown, document::ReadError> {
    let json = Bytes::from(read?);
    let etag = match parse_lenient(&json) {
        Ok(Value::Object(roots)) => etag_of_roots(&roots),
        // What takes too much memory as values, or is no JSON to serde_json, has the version of its text.
        _ => {
            let mut digest = Etag::begin();
            digest.add_text(&json);
            digest.finish()
        }
    };
    Ok(Shown { etag, json })
}

/// The nodes that this one knows.
pub struct KnownNodes {
    /// What knows them; without a bus that does, this node is alone.
    pub bus: Arc<dyn Bus>,
    /// What this node says of itself.
    pub own: NodeInfo,
    /// Where its rooms and sessions are counted.
    pub metrics: Arc<Metrics>,
}

impl Nodes for KnownNodes {
    fn list(&self) -> Value {
        let mut nodes = self.bus.nodes();
        if nodes.is_empty() {
            let info = Some(self.own.clone().counting(&self.metrics));
            nodes.push(NodeStatus { id: self.bus.node(), is_own: true, info, silent_for: 0, lease: None });
        }
        let nodes: Vec<Value> = nodes.into_iter().map(entry).collect();
        json!({ "nodes": nodes })
    }
}

fn entry(node: NodeStatus) -> Value {
    let NodeStatus { id, is_own, info, silent_for, lease } = node;
    let mut entry = match info {
        Some(info) => serde_json::to_value(info).expect("plain fields become JSON"),
        None => json!({}),
    };
    entry["id"] = json!(id.to_string());
    entry["self"] = json!(is_own);
    entry["silent_ms"] = json!(silent_for);
    if let Some(lease) = lease {
        entry["lease_ms"] = json!(lease);
    }
    entry
}
