//! What this node knows of who may do what: records of the catalog, kept current, and every change of one brought to every node.
//!
//! A change is written to the catalog first, then told to all nodes on a line of their own. Each takes it into what it knows, has every open
//! room that it concerns take it, and confirms. Only when all nodes have confirmed, or are gone with their lease, a change is *applied*: from
//! then on nothing that the record does not allow is taken from anybody or sent to anybody, on any node.
//!
//! Whoever joins asks here before the dashboard is opened, and once more when it is, so a change that comes between the two is not missed:
//! either the second look sees it, or the room is open and is told.
//!
//! While the catalog is away, what is known is not forgotten by the rooms: their members stay. Newcomers are told to try again, unless what
//! is known here cannot have changed.

mod known;
mod line;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use ydash_proto::access::{Address, Blocked, Known, Record, Records};
use ydash_proto::id::{DashboardId, NodeId};

use self::known::FRESH_FOR;
pub use self::known::RecordCache;
use self::line::{Said, Word};
use crate::catalog::{Catalog, CatalogError, Expected, Key, Version};
use crate::cluster::{Bus, Heard, Subscription};

/// How long a change waits for other nodes: longer than the lease of one that hangs.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);

/// How long a node that starts waits until all others know it.
const MET_WITHIN: Duration = Duration::from_secs(1);

/// How often a node says to itself that it has not been stopped, and how long it reads again if it has.
const KEPT_UP_EVERY: Duration = Duration::from_millis(500);
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Heard at once.
const HEARD_AT_ONCE: usize = 64;

/// How many dashboards are looked at together.
const LOOKED_AT_ONCE: usize = 64;

/// The open rooms of this node.
pub trait Rooms: Send + Sync + 'static {
    /// Which dashboards are open.
    fn open(&self) -> Vec<DashboardId>;

    /// Tells a room what is written down about its dashboard, as far as it is open, and returns when it has taken that.
    fn tell(&self, records: Records) -> BoxFuture<'_, ()>;

    /// Has a room find out whether its dashboard was deleted, as far as it is open, and returns when it has ended or knows that it need not.
    fn check(&self, dashboard: DashboardId) -> BoxFuture<'_, ()>;
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One dashboard.
    Dashboard(DashboardId),
    /// All dashboards of a workspace.
    Workspace(Arc<str>),
    /// Users who are blocked, everywhere.
    Blocked,
}

impl Subject {
    /// Where its record is.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Subject::Dashboard(dashboard) => Key::of_dashboard(dashboard),
            Subject::Workspace(workspace) => Key::of_workspace(workspace),
            Subject::Blocked => Key::of_blocked(),
        }
    }

    /// Everything that says something about a dashboard, or a version of it.
    fn all_of(dashboard: &DashboardId) -> [Subject; 3] {
        let workspace = Subject::Workspace(dashboard.workspace().into());
        [Subject::Dashboard(dashboard.present()), workspace, Subject::Blocked]
    }

    /// Whether it says something about a dashboard.
    #[must_use]
    pub fn concerns(&self, dashboard: &DashboardId) -> bool {
        match self {
            Subject::Dashboard(one) => *one == dashboard.present(),
            Subject::Workspace(workspace) => **workspace == *dashboard.workspace(),
            Subject::Blocked => true,
        }
    }
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum Content {
    /// Of a dashboard or a workspace; and how many bytes are stored of it.
    Record(Known<Record>, usize),
    /// Of the server; and how many bytes are stored of it.
    Blocked(Known<Blocked>, usize),
}

impl Content {
    /// Reads what is stored.
    fn decode(subject: &Subject, version: u64, stored: &[u8]) -> Option<Content> {
        match subject {
            Subject::Blocked => {
                let record = Arc::new(Blocked::decode(stored)?);
                Some(Content::Blocked(Known { version, record }, stored.len()))
            }
            Subject::Dashboard(_) | Subject::Workspace(_) => {
                let in_workspace = matches!(subject, Subject::Workspace(_));
                let record = Record::decode(stored, in_workspace).inspect_err(|why| {
                    error!(record = %subject.key(), %why, "nobody is let in by this record");
                });
                Some(Content::Record(Known { version, record: Arc::new(record.ok()?) }, stored.len()))
            }
        }
    }

    /// As what is known of one dashboard, with nothing else.
    fn of(&self, subject: &Subject, dashboard: &DashboardId) -> Records {
        let mut records = Records::none(dashboard.clone());
        match (self, subject) {
            (Content::Record(known, _), Subject::Workspace(_)) => records.workspace = known.clone(),
            (Content::Record(known, _), _) => records.dashboard = known.clone(),
            (Content::Blocked(known, _), _) => records.blocked = known.clone(),
        }
        records
    }
}

/// A change that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The version that it made.
    pub version: Version,
    /// Nodes that have not confirmed it. It is applied when there are none.
    pub missing: Vec<NodeId>,
}

/// Why nothing can be said about who may do what.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The catalog said so.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A record is of a later ydash, or nobody's.
    #[error("the record of {0} is not understood")]
    NotUnderstood(Key),
}

/// What this node knows of who may do what. Cheap to clone.
#[derive(Clone)]
pub struct Permissions {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    bus: Arc<dyn Bus>,
    catalog: Arc<dyn Catalog>,
    rooms: Arc<dyn Rooms>,
    /// `None` when the node ends.
    line: Mutex<Option<Arc<Subscription>>>,
    records: Arc<RecordCache>,
    peers: Mutex<BTreeSet<NodeId>>,
    met: Notify,
    waiting: Mutex<BTreeMap<u64, watch::Sender<BTreeSet<NodeId>>>>,
    next_ticket: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The line on which nodes speak of access. No client can have it: it is a channel, and channels are the server's.
fn line_id() -> DashboardId {
    DashboardId::new("default", "@access").expect("in the grammar")
}

impl Permissions {
    /// Begins to listen to other nodes, and waits until they know this one. What becomes known goes into `records`.
    pub async fn start(
        catalog: Arc<dyn Catalog>,
        bus: Arc<dyn Bus>,
        rooms: Arc<dyn Rooms>,
        records: Arc<RecordCache>,
    ) -> Permissions {
        let line = Arc::new(bus.subscribe(&line_id()).await);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let is_shared = catalog.is_shared();
        let shared = Shared {
            node: bus.node(),
            bus,
            catalog,
            rooms,
            line: Mutex::new(Some(Arc::clone(&line))),
            records,
            peers: Mutex::default(),
            met: Notify::new(),
            waiting: Mutex::default(),
            // Tickets of an earlier life of this node may still be answered.
            next_ticket: AtomicU64::new(fastrand::u64(1..1 << 52)),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let permissions = Permissions { shared: Arc::new(shared) };
        let listening = Arc::clone(&permissions.shared).listen(Arc::clone(&line), stop.clone());
        tasks.spawn(listening);
        if is_shared {
            tasks.spawn(Arc::clone(&permissions.shared).look_again(stop));
        }
        permissions.meet(&line).await;
        permissions
    }

    /// Leaves the line: this node has no rooms any more.
    pub fn close(&self) {
        self.shared.stop.cancel();
        self.shared.lock(&self.shared.line).take();
    }

    /// What is known, for those who must not wait.
    #[must_use]
    pub fn known(&self) -> &RecordCache {
        &self.shared.records
    }

    /// Everything that is written down about a dashboard, as of this moment.
    ///
    /// # Errors
    /// [`AccessError`] – tell whoever asks to try again.
    pub async fn records(&self, dashboard: &DashboardId) -> Result<Records, AccessError> {
        self.shared.records(dashboard).await
    }

    /// Reads a record from the catalog itself.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn read(&self, subject: &Subject) -> Result<Option<Content>, AccessError> {
        self.shared.read(subject).await
    }

    /// Writes a record if what is there is `expected`, and brings it to all nodes.
    ///
    /// # Errors
    /// [`CatalogError`] – it is not written, or nobody knows.
    pub async fn write(&self, subject: Subject, expected: Expected, stored: Vec<u8>) -> Result<Applied, AccessError> {
        let (key, stored) = (subject.key(), Bytes::from(stored));
        let version = self.shared.catalog.put(&key, expected, stored.clone()).await?;
        let content = Content::decode(&subject, version.0, &stored).ok_or(AccessError::NotUnderstood(key))?;
        // A task of its own: whoever asked may hang up, and the change is made all the same.
        let spreading = self.shared.tasks.spawn(Arc::clone(&self.shared).spread(subject, content, stored));
        Ok(Applied { version, missing: spreading.await.unwrap_or_else(|_| vec![self.shared.node]) })
    }

    /// Removes a record if what is there is `expected`: whatever it gave is gone on all nodes, and nothing is kept of it.
    ///
    /// # Errors
    /// [`CatalogError`] – it may be there, or not.
    pub async fn erase(&self, subject: &Subject, expected: Expected) -> Result<(), AccessError> {
        let key = subject.key();
        if self.shared.catalog.get(&key).await?.is_none() {
            return Ok(());
        }
        // First as one that gives nothing: nodes forget what it gave when they hear of something later.
        let empty = match subject {
            Subject::Blocked => Blocked::default().encode(),
            Subject::Dashboard(_) | Subject::Workspace(_) => Record::default().encode(),
        };
        let Applied { version, .. } = self.write(subject.clone(), expected, empty).await?;
        Ok(self.shared.catalog.remove(&key, Expected::Version(version)).await?)
    }

    /// Has every node read everything again that it has open. Returns which have not confirmed.
    pub async fn recheck(&self) -> Vec<NodeId> {
        let spreading = self.shared.tasks.spawn({
            let shared = Arc::clone(&self.shared);
            async move {
                let reading = shared.read_again();
                shared.ask_all(|from, ticket| Word { from, said: Said::Recheck { ticket } }, reading).await
            }
        });
        spreading.await.unwrap_or_else(|_| vec![self.shared.node])
    }

    /// Has every node let go of a dashboard that was deleted. Returns which have not confirmed.
    pub async fn let_go(&self, dashboard: DashboardId) -> Vec<NodeId> {
        let spreading = self.shared.tasks.spawn({
            let shared = Arc::clone(&self.shared);
            async move {
                let word = |from, ticket| Word { from, said: Said::Deleted { ticket, dashboard: dashboard.clone() } };
                shared.ask_all(word, shared.rooms.check(dashboard.clone())).await
            }
        });
        spreading.await.unwrap_or_else(|_| vec![self.shared.node])
    }

    /// Introduces this node to the others, and waits until they have answered, or not for long.
    async fn meet(&self, line: &Subscription) {
        let shared = &self.shared;
        shared.tell(Said::Hello);
        let everybody_knows = async {
            loop {
                let met = shared.met.notified();
                let peers = shared.lock(&shared.peers).clone();
                let nodes = shared.bus.nodes();
                let unknown = nodes.iter().any(|node| !node.is_own && !peers.contains(&node.id));
                if !unknown && (!line.has_others() || !peers.is_empty()) {
                    return;
                }
                met.await;
            }
        };
        if timeout(MET_WITHIN, everybody_knows).await.is_err() {
            debug!("other nodes have not answered; changes of access may take some seconds to come here at first");
        }
    }
}

/// An address as records have them.
#[must_use]
pub fn address_of(address: IpAddr) -> Address {
    Address(match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    })
}

impl Shared {
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn records(&self, dashboard: &DashboardId) -> Result<Records, AccessError> {
        let subjects = Subject::all_of(dashboard);
        loop {
            let changes = self.records.changes();
            let missing = self.records.stale(&subjects);
            let reads = join_all(missing.iter().map(|subject| self.read(subject))).await;
            for (subject, read) in missing.iter().zip(reads) {
                self.records.learn(subject, read?);
            }
            let records = self.records.latest(dashboard);
            // What was heard while something was read has to be in it.
            if missing.is_empty() || self.records.changes() == changes {
                return Ok(records);
            }
        }
    }

    async fn read(&self, subject: &Subject) -> Result<Option<Content>, AccessError> {
        let key = subject.key();
        let Some(record) = self.catalog.get(&key).await? else { return Ok(None) };
        let content = Content::decode(subject, record.version.0, &record.content);
        content.map(Some).ok_or(AccessError::NotUnderstood(key))
    }

    /// Takes a change into what is known, and has the rooms take it.
    async fn apply(&self, subject: &Subject, content: &Content) {
        // First: whoever comes to a room that is not told, because it is only being opened, is decided about with this.
        self.records.learn(subject, Some(content.clone()));
        self.tell_rooms(subject, content).await;
    }

    async fn tell_rooms(&self, subject: &Subject, content: &Content) {
        let concerned = self.rooms.open().into_iter().filter(|dashboard| subject.concerns(dashboard));
        join_all(concerned.map(|dashboard| self.rooms.tell(content.of(subject, &dashboard)))).await;
    }

    /// Says that this node has heard all that it could. After it was stopped for longer than its lease, others have gone on without it: then
    /// it reads again first, and rooms wait for that.
    async fn keep_up(self: &Arc<Self>) {
        if self.records.is_kept_up() {
            return self.records.keep_up();
        }
        self.records.distrust();
        self.records.note_stop();
        let news = timeout(READ_WITHIN, self.learn_again()).await.unwrap_or_default();
        self.records.keep_up();
        for (subject, content) in news {
            self.tell_rooms(&subject, &content).await;
        }
        let shared = Arc::clone(self);
        self.tasks.spawn(async move { shared.check_rooms().await });
    }

    /// Has every room find out whether its dashboard was deleted while nobody could tell this node.
    async fn check_rooms(&self) {
        for some in self.rooms.open().chunks(LOOKED_AT_ONCE) {
            // A room whose store does not answer asks again by itself, and keeps nobody else from being asked.
            join_all(some.iter().map(|dashboard| timeout(APPLIED_WITHIN, self.rooms.check(dashboard.clone())))).await;
        }
    }

    async fn spread(self: Arc<Self>, subject: Subject, content: Content, stored: Bytes) -> Vec<NodeId> {
        let version = content.version();
        let said = |from, ticket| Word {
            from,
            said: Said::Changed { ticket, key: subject.key(), version, stored: stored.clone() },
        };
        self.ask_all(said, self.apply(&subject, &content)).await
    }

    /// Says something to all nodes, does the same here meanwhile, and returns who has not confirmed in time.
    async fn ask_all(&self, word: impl FnOnce(NodeId, u64) -> Word, here: impl Future<Output = ()>) -> Vec<NodeId> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let peers = self.peers();
        let (waiting, mut waits) = watch::channel(peers);
        self.lock(&self.waiting).insert(ticket, waiting);
        self.publish(word(self.node, ticket).encode());
        let deadline = Instant::now() + APPLIED_WITHIN;
        let elsewhere = async {
            // The sender is in the map until this ends.
            let _ = timeout(APPLIED_WITHIN, waits.wait_for(BTreeSet::is_empty)).await;
        };
        let here = async { timeout(deadline.saturating_duration_since(Instant::now()), here).await.is_ok() };
        let (is_here, ()) = tokio::join!(here, elsewhere);
        let left = self.lock(&self.waiting).remove(&ticket).map(|waiting| waiting.borrow().clone()).unwrap_or_default();
        left.into_iter().chain((!is_here).then_some(self.node)).collect()
    }

    /// All other nodes that are there.
    fn peers(&self) -> BTreeSet<NodeId> {
        let mut peers = self.lock(&self.peers).clone();
        peers.extend(self.bus.nodes().iter().filter(|node| !node.is_own).map(|node| node.id));
        peers
    }

    fn tell(&self, said: Said) {
        self.publish(Word { from: self.node, said }.encode());
    }

    fn publish(&self, bytes: Bytes) {
        // Whoever is alone says nothing. One who comes reads nothing before it is known here.
        if let Some(line) = self.lock(&self.line).as_ref().filter(|line| line.has_others()) {
            line.publish(bytes);
        }
    }

    /// Hears what other nodes say, until the node ends.
    async fn listen(self: Arc<Self>, line: Arc<Subscription>, stop: CancellationToken) {
        let mut heard = Vec::new();
        let mut ticks = interval(KEPT_UP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.records.keep_up(),
                _ = ticks.tick() => self.keep_up().await,
                () = line.hear(&mut heard, HEARD_AT_ONCE) => {}
            }
            for one in heard.drain(..) {
                match one {
                    Heard::Envelope(bytes) => match Word::decode(&bytes) {
                        Some(word) => self.hear(word),
                        None => debug!("a word of another node about access is not understood"),
                    },
                    Heard::Lost | Heard::Forgotten => {
                        self.records.distrust();
                        self.tell(Said::Hello);
                        let shared = Arc::clone(&self);
                        self.tasks.spawn(async move {
                            shared.read_again().await;
                            shared.check_rooms().await;
                        });
                    }
                    Heard::Gone(node) => {
                        self.lock(&self.peers).remove(&node);
                        for waiting in self.lock(&self.waiting).values() {
                            waiting.send_modify(|left| _ = left.remove(&node));
                        }
                    }
                }
            }
        }
    }

    fn hear(self: &Arc<Self>, word: Word) {
        let Word { from, said } = word;
        let is_new = self.lock(&self.peers).insert(from);
        match said {
            Said::Hello => self.tell(Said::Here { to: from }),
            Said::Here { .. } => {}
            Said::Changed { ticket, key, version, stored } => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    let subject = subject_of(&key);
                    let content = subject.as_ref().and_then(|subject| Content::decode(subject, version, &stored));
                    match subject.zip(content) {
                        Some((subject, content)) => {
                            shared.apply(&subject, &content).await;
                            shared.tell(Said::Applied { to: from, ticket });
                        }
                        // Not confirmed: whoever asks is told that this node has not applied it.
                        None => warn!(%key, "a change of access is not understood"),
                    }
                });
            }
            Said::Recheck { ticket } => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    shared.read_again().await;
                    shared.tell(Said::Applied { to: from, ticket });
                });
            }
            Said::Deleted { ticket, dashboard } => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    shared.rooms.check(dashboard).await;
                    shared.tell(Said::Applied { to: from, ticket });
                });
            }
            Said::Applied { to, ticket } if to == self.node => {
                if let Some(waiting) = self.lock(&self.waiting).get(&ticket) {
                    waiting.send_modify(|left| _ = left.remove(&from));
                }
            }
            Said::Applied { .. } => {}
        }
        if is_new {
            self.met.notify_waiters();
        }
    }

    /// Reads again what is written down about all open dashboards, and tells the rooms what is new.
    async fn read_again(&self) {
        for (subject, content) in self.learn_again().await {
            self.tell_rooms(&subject, &content).await;
        }
    }

    /// Reads again what is written down about all open dashboards. Returns what is new.
    async fn learn_again(&self) -> Vec<(Subject, Content)> {
        let mut news = Vec::new();
        let open = self.rooms.open();
        if open.is_empty() {
            return news;
        }
        let workspaces: BTreeSet<&str> = open.iter().map(DashboardId::workspace).collect();
        let subjects = workspaces.into_iter().map(|workspace| Subject::Workspace(workspace.into()));
        let subjects = subjects
            .chain([Subject::Blocked])
            .chain(open.iter().map(|dashboard| Subject::Dashboard(dashboard.present())));
        let subjects: Vec<Subject> = subjects.collect();
        for some in subjects.chunks(LOOKED_AT_ONCE) {
            let reads = join_all(some.iter().map(|subject| self.read(subject))).await;
            for (subject, read) in some.iter().zip(reads) {
                match read {
                    Ok(content) => {
                        let is_later = self.records.learn(subject, content.clone());
                        if let Some(content) = content.filter(|_| is_later) {
                            info!(record = %subject.key(), "access has changed and nobody has told");
                            news.push((subject.clone(), content));
                        }
                    }
                    Err(error) => {
                        debug!(%error, "access is not looked at again: whoever is here stays");
                        return news;
                    }
                }
            }
        }
        news
    }

    /// Reads again, now and then, what others may have changed without telling.
    async fn look_again(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(FRESH_FOR);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.read_again().await,
            }
        }
    }
}

/// What a record is about, by its key.
fn subject_of(key: &Key) -> Option<Subject> {
    if *key == Key::of_blocked() {
        return Some(Subject::Blocked);
    }
    match crate::catalog::dashboard_of(key) {
        Some(dashboard) => Some(Subject::Dashboard(dashboard)),
        None => crate::catalog::workspace_of(key).map(|workspace| Subject::Workspace(workspace.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryCatalog;
    use crate::cluster::local::LocalBus;
    use serde_json::json;
    use std::sync::atomic::AtomicBool;
    use ydash_proto::access::{Access, Asking, Principal, Role, decide};
    use ydash_proto::time::Timestamp;

    /// Rooms that take what they are told, unless they hang.
    #[derive(Default)]
    struct FakeRooms {
        open: Mutex<Vec<DashboardId>>,
        told: Mutex<Vec<Records>>,
        checked: Mutex<Vec<DashboardId>>,
        hangs: AtomicBool,
    }

    impl Rooms for FakeRooms {
        fn open(&self) -> Vec<DashboardId> {
            self.open.lock().unwrap().clone()
        }

        fn tell(&self, records: Records) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                if self.hangs.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                self.told.lock().unwrap().push(records);
            })
        }

        fn check(&self, dashboard: DashboardId) -> BoxFuture<'_, ()> {
            Box::pin(async move { self.checked.lock().unwrap().push(dashboard) })
        }
    }

    struct Node {
        permissions: Permissions,
        rooms: Arc<FakeRooms>,
    }

    async fn node(catalog: &MemoryCatalog, bus: &LocalBus, open: &[&str]) -> Node {
        let rooms = Arc::new(FakeRooms::default());
        *rooms.open.lock().unwrap() = open.iter().map(|name| DashboardId::parse(name).unwrap()).collect();
        let (catalog, told, records) =
            (Arc::new(catalog.clone()), Arc::clone(&rooms), Arc::new(RecordCache::new(false)));
        let permissions = Permissions::start(catalog, bus.node(), told, records).await;
        Node { permissions, rooms }
    }

    fn sales() -> DashboardId {
        DashboardId::parse("acme/sales").unwrap()
    }

    fn grants(role: &str) -> Vec<u8> {
        let asked = json!({ "grants": [{ "subject": "user:ada", "role": role }] });
        Record::default().with_asked(&asked, false).unwrap().encode()
    }

    fn role(records: &Records) -> Option<Role> {
        let asking = Asking { principal: &Principal::user("ada"), given: Access::NONE, address: None };
        decide(&asking, records, Timestamp(0)).access.role()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_known_and_told_on_every_node_when_it_is_applied() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let nodes = [
            node(&catalog, &bus, &["acme/sales", "other/x"]).await,
            node(&catalog, &bus, &["acme/sales"]).await,
            node(&catalog, &bus, &[]).await,
        ];
        for node in &nodes {
            assert_eq!(role(&node.permissions.records(&sales()).await.unwrap()), None);
        }
        let subject = Subject::Dashboard(sales());
        let write =
            async |expected, role| nodes[0].permissions.write(subject.clone(), expected, grants(role)).await.unwrap();
        let first = write(Expected::Absent, "editor").await;
        assert_eq!(first.missing, []);
        let second = write(Expected::Version(first.version), "viewer").await;
        assert_eq!(second.missing, []);
        for node in &nodes {
            assert_eq!(role(&node.permissions.records(&sales()).await.unwrap()), Some(Role::Viewer));
        }
        let told = |node: &Node| node.rooms.told.lock().unwrap().iter().map(role).collect::<Vec<_>>();
        assert_eq!(told(&nodes[0]), [Some(Role::Editor), Some(Role::Viewer)]);
        assert_eq!(told(&nodes[1]), told(&nodes[0]));
        assert_eq!(told(&nodes[2]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_a_workspace_or_of_blocked_users_is_told_to_all_rooms_that_it_concerns() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let node = node(&catalog, &bus, &["acme/sales", "acme/it", "other/x"]).await;
        let workspace = Subject::Workspace("acme".into());
        node.permissions.write(workspace, Expected::Absent, grants("viewer")).await.unwrap();
        let told = || -> Vec<String> {
            let told = core::mem::take(&mut *node.rooms.told.lock().unwrap());
            told.iter().map(|records| records.of.to_string()).collect()
        };
        assert_eq!(told(), ["acme/sales", "acme/it"]);
        assert_eq!(role(&node.permissions.records(&sales()).await.unwrap()), Some(Role::Viewer));
        let mut blocked = Blocked::default();
        blocked.users.insert("ada".into(), ("root".into(), Timestamp(0)));
        node.permissions.write(Subject::Blocked, Expected::Absent, blocked.encode()).await.unwrap();
        assert_eq!(told(), ["acme/sales", "acme/it", "other/x"]);
        assert_eq!(role(&node.permissions.records(&sales()).await.unwrap()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn every_node_looks_after_a_dashboard_that_was_deleted() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let nodes = [node(&catalog, &bus, &[]).await, node(&catalog, &bus, &["acme/sales"]).await];
        assert_eq!(nodes[0].permissions.let_go(sales()).await, []);
        for node in &nodes {
            assert_eq!(*node.rooms.checked.lock().unwrap(), [sales()]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_confirm_is_named() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let nodes = [node(&catalog, &bus, &[]).await, node(&catalog, &bus, &["acme/sales"]).await];
        nodes[1].rooms.hangs.store(true, Ordering::Relaxed);
        let write = |permissions: Permissions| async move {
            permissions.write(Subject::Dashboard(sales()), Expected::Anything, grants("viewer")).await.unwrap()
        };
        let before = Instant::now();
        let applied = write(nodes[0].permissions.clone()).await;
        assert_eq!(applied.missing, [nodes[1].permissions.shared.node]);
        assert_eq!(before.elapsed(), APPLIED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_not_waited_for() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let [first, second] = [node(&catalog, &bus, &[]).await, node(&catalog, &bus, &[]).await];
        second.permissions.close();
        let before = Instant::now();
        let subject = Subject::Dashboard(sales());
        let applied = first.permissions.write(subject, Expected::Anything, grants("viewer")).await.unwrap();
        assert_eq!(applied.missing, []);
        assert!(before.elapsed() < APPLIED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_catalog_is_away_what_may_have_changed_is_not_believed() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let node = node(&catalog, &bus, &[]).await;
        node.permissions.records(&sales()).await.unwrap();
        catalog.set_down(true);
        // Only this process writes: what it knows is what there is.
        node.permissions.records(&sales()).await.unwrap();
        assert!(node.permissions.records(&DashboardId::parse("acme/other").unwrap()).await.is_err());
        node.permissions.shared.records.distrust();
        assert!(node.permissions.records(&sales()).await.is_err());
        catalog.set_down(false);
        node.permissions.records(&sales()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_let_in_by_a_record_that_is_not_understood() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let node = node(&catalog, &bus, &[]).await;
        let later = Bytes::from_static(br#"{"format":2,"grants":[{"subject":"public","role":"owner"}]}"#);
        catalog.put(&Key::of_dashboard(&sales()), Expected::Absent, later).await.unwrap();
        let refused = node.permissions.records(&sales()).await;
        assert!(matches!(refused, Err(AccessError::NotUnderstood(_))), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_recheck_finds_what_nobody_has_told() {
        let (catalog, bus) = (MemoryCatalog::new(), LocalBus::new());
        let nodes = [node(&catalog, &bus, &[]).await, node(&catalog, &bus, &["acme/sales"]).await];
        nodes[1].permissions.records(&sales()).await.unwrap();
        catalog.put(&Key::of_dashboard(&sales()), Expected::Absent, grants("viewer").into()).await.unwrap();
        assert_eq!(nodes[0].permissions.recheck().await, []);
        let told: Vec<_> = nodes[1].rooms.told.lock().unwrap().iter().map(role).collect();
        assert_eq!(told, [Some(Role::Viewer)]);
    }
}
