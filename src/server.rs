//! The composition root: the only place that knows every part and puts them together.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, OptionFuture};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use ydash_proto::access::{Admission, Capabilities};
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::room::{Dialect, Tuning};
use ydash_proto::time::Timestamp;
use ydash_proto::wire::close::CloseCode;

use crate::access::{Permissions, RecordCache};
use crate::allocator::{Excess, Peak, resident, return_free_pages};
use crate::allowances::Allowances;
use crate::audit::{Audit, Event, Signer};
use crate::auth::{Anonymous, Authenticator, Eventual, Hook, Replaceable, Tokens, Whence};
use crate::catalog::memory::MemoryCatalog;
use crate::cluster::Bus;
use crate::cluster::local::LocalBus;
use crate::cluster::nodes::NodeInfo;
use crate::cluster::redis::RedisBus;
use crate::config::{self, Config};
use crate::deletions::Trash;
use crate::descriptors;
use crate::grants::Grants;
use crate::http::{
    self, AddressLimits, Addresses, Crowded, Dashboards, Deletions, Destination, Inspector, Leases, NoDeletions,
    NoEntry, NoRecords, Nodes, PaceLimits, Pages, Routes, Site, SocketHandler, Upgraded,
};
use crate::inspect::Inspect;
use crate::ledger::Ledger;
use crate::metrics::{Label as _, Metrics, Refusal, RefusalsTold};
use crate::rest::{Attending, KnownNodes, Rest};
use crate::room::{MemberIds, Registry, RoomsConfig, Stay, Visit, Visitors};
use crate::session::{self, Arrival, Doorkeeper, Entrance, Place, Rates, Sessions, SessionsConfig};
use crate::shutdown::Shutdown;
use crate::store::homes::{self, Homecoming};
use crate::store::writer::{Commit, Writer, WriterConfig};
use crate::store::{self, OpenError, Store, StoreLife};
use crate::trace::Traces;

/// A server that has its address and does not serve yet: clients wait in the backlog meanwhile.
pub struct Server {
    config: Arc<Config>,
    listener: TcpListener,
    local_address: SocketAddr,
    /// For operators alone.
    admin: Option<TcpListener>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    started_at: SystemTime,
    bus: Arc<dyn Bus>,
    authenticator: Arc<dyn Authenticator>,
    /// Signs checkpoints of the audit log.
    signer: Option<Signer>,
    /// Whether other servers of this process use the same store when this one has ended.
    leaves_store_open: bool,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the address.
    #[error("{address} is in use: is another ydash running? listen elsewhere with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Connections that may wait to be accepted: all clients come back at once after a restart. The system caps it at `somaxconn`.
const BACKLOG: u32 = 4096;

impl Server {
    /// Takes the configured address.
    ///
    /// # Errors
    /// [`BindError`] – for the operator.
    pub fn bind(config: Arc<Config>) -> Result<Server, BindError> {
        let address = config.listen;
        let listener = take(address)?;
        let admin = config.admin_listen.map(take).transpose()?;
        let local_address = listener.local_addr().map_err(|source| BindError::Listen { address, source })?;
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Shutdown::new());
        let authenticator = authenticator(&config);
        Ok(Server {
            config,
            listener,
            local_address,
            admin,
            metrics,
            shutdown,
            started_at: SystemTime::now(),
            bus: LocalBus::new().node(),
            authenticator,
            signer: None,
            leaves_store_open: false,
        })
    }

    /// Joins other servers over `bus`; they must keep the same dashboards in the same place. By default a server is alone.
    #[must_use]
    pub fn on_bus(self, bus: Arc<dyn Bus>) -> Server {
        Server { bus, ..self }
    }

    /// Leaves the store to be closed by others in the same process who use it too. By default a server closes its store.
    #[must_use]
    pub fn leaving_store_open(self) -> Server {
        Server { leaves_store_open: true, ..self }
    }

    /// What it says of itself to other nodes and to whoever runs it.
    #[must_use]
    pub fn node_info(&self) -> NodeInfo {
        let address = self.local_address;
        let name = match self.config.node_name.as_str() {
            "" => format!("{}:{}", host_name(), address.port()),
            name => name.to_owned(),
        };
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        NodeInfo {
            name,
            version: env!("CARGO_PKG_VERSION").into(),
            started: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            // Every interface is no address that anybody could connect to.
            address: (!address.ip().is_unspecified()).then(|| address.to_string()),
            rooms: 0,
            sessions: 0,
        }
    }

    /// Asks somebody else who may enter. By default everybody has the configured `anonymous-access`.
    #[must_use]
    pub fn with_authenticator(self, authenticator: Arc<dyn Authenticator>) -> Server {
        Server { authenticator, ..self }
    }

    /// Signs checkpoints of the audit log. By default they tell hashes alone.
    #[must_use]
    pub fn signing_checkpoints(self, signer: Signer) -> Server {
        Server { signer: Some(signer), ..self }
    }

    /// Where it can be reached; tells the port when the configuration left it to the system.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Its end.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Serves dashboards from `store` until the drain has begun and is over, at the latest by its deadline.
    /// Returns how many tasks were left behind.
    pub async fn serve(self, store: Arc<dyn Store>) -> usize {
        let own = self.node_info();
        let Server {
            config, listener, admin, metrics, shutdown, bus, authenticator, signer, leaves_store_open, ..
        } = self;
        let (tasks, draining) = (shutdown.tasks().clone(), shutdown.draining().clone());
        let observer = Arc::clone(&metrics);
        let ledger = Ledger::new(config.memory().peers, Arc::clone(&metrics));
        let writer_tasks = TaskTracker::new();
        let writer = Writer::spawn(
            Arc::clone(&store),
            WriterConfig { commit_interval: config.commit_interval, ..WriterConfig::default() },
            move |commit| observe(&observer, commit),
            &writer_tasks,
        );
        let traces_end = CancellationToken::new();
        let (traces, exporting) = trace(&config, &own.name, &metrics, traces_end.clone());
        let catalog = store.catalog();
        let records = Arc::new(RecordCache::new(catalog.is_shared()));
        let allowances = Allowances::new(config.user_limits());
        let counts = authenticator.knows_operators();
        let audit = Audit::new(Arc::clone(&catalog), own.name.clone(), config.audit_bytes, counts, signer);
        let visitors = counts.then(|| Arc::new(GuestBook(audit.clone())) as Arc<dyn Visitors>);
        let registry = Registry::new(
            rooms(&config, &traces, &allowances, visitors),
            Arc::clone(&store),
            writer,
            Arc::clone(&bus),
            Arc::clone(&records),
            Arc::clone(&metrics),
            tasks.clone(),
        );
        let node = Arc::<str>::from(own.name.as_str());
        let nodes = Arc::new(KnownNodes { bus: Arc::clone(&bus), own, metrics: Arc::clone(&metrics) });
        let members = MemberIds::random();
        let attending =
            Attending { members: Arc::clone(&members), ledger: Arc::clone(&ledger), tracker: tasks.clone() };
        let dashboards = Arc::new(Rest::new(registry.clone(), config.limits(), attending, Arc::clone(&metrics)));
        let store_name = config.settings().find(|(knob, _, _)| knob.name == "store").map(|(_, text, _)| text);
        let inspector = Inspect::new(registry.clone(), config.limits(), store_name.unwrap_or_default());
        let inspector = Arc::new(inspector);
        let site = site(&config, &metrics, &ledger, &shutdown, dashboards, nodes, inspector);
        let permissions = Permissions::start(catalog, Arc::clone(&bus), Arc::new(registry.clone()), records).await;
        let access = Arc::new(Grants::new(permissions.clone(), audit.clone()));
        let trash =
            Trash::new(Arc::clone(&store), permissions.clone(), audit.clone(), config.trash, Arc::clone(&metrics));
        let deletions: Arc<dyn Deletions> = Arc::new(trash.clone());
        let site =
            Arc::new(Site { authenticator, access, deletions, audit: audit.clone(), allowances, traces, ..site });
        let sessions = Sessions::new(
            sessions(&config),
            registry.clone(),
            Arc::new(Door(Arc::clone(&site))),
            Arc::clone(&ledger),
            Arc::clone(&metrics),
            tasks.clone(),
            members,
        );
        let sockets: Arc<dyn SocketHandler> =
            Arc::new(Sockets { sessions: Arc::new(sessions), metrics: Arc::clone(&metrics) });
        let homing = Homing::begin(&*store, config.limits()).await;
        let keys = tokio::spawn(site.authenticator.keep_up());
        let sweeping = tokio::spawn(trash.keep_up());
        let auditing = tokio::spawn(audit.clone().keep());
        let of_node = |kind| {
            let data = json!({ "version": env!("CARGO_PKG_VERSION") });
            Event { kind, actor: None, target: Arc::clone(&node), data }
        };
        if audit.counts() {
            audit.tell(of_node("node.started"));
        }
        let upkeep = tokio::spawn(keep_up(homing, registry.clone(), Arc::clone(&store), ledger, Arc::clone(&metrics)));
        let routes = Routes::new(&site);
        let serving_operators = admin.map(|listener| {
            let address = listener.local_addr().unwrap_or(config.listen);
            let pages = Pages::new(address, config.allowed_hosts.clone(), config.allowed_origins.clone());
            let site = Arc::new(Site { is_admin: true, pages, trusted_proxies: Vec::new(), ..Site::clone(&site) });
            info!(%address, "what is for operators is served without tokens");
            let (routes, sockets) = (Routes::new(&site), Arc::clone(&sockets));
            http::serve(listener, site, routes, sockets, tasks.clone(), draining.clone())
        });
        let serving = http::serve(listener, site, routes, sockets, tasks, draining);
        tokio::join!(serving, OptionFuture::from(serving_operators));
        registry.drain().await;
        let left = shutdown.finish(config.drain_deadline).await;
        if left > 0 {
            warn!(left, deadline = ?config.drain_deadline, "drain cut off: what was not durable yet is with its clients");
        } else {
            info!("drained");
        }
        upkeep.abort();
        sweeping.abort();
        keys.abort();
        audit.close(audit.counts().then(|| of_node("node.stopped"))).await;
        auditing.abort();
        permissions.close();
        drop(registry);
        // After the last room: what it said has been heard, and who is still there goes with the node.
        bus.close().await;
        traces_end.cancel();
        if let Some(exporting) = exporting {
            // What the collector does not take by then is not worth a longer drain.
            let _ = timeout(TRACES_WITHIN, exporting).await;
        }
        if !leaves_store_open && let Err(failure) = store.close().await {
            warn!(%failure, "store not closed cleanly");
        }
        left
    }
}

/// How often memory and the store are looked at.
const UPKEEP: Duration = Duration::from_secs(2);

/// How often rooms look after a store that may lose things unnoticed: keys are evicted, or removed by hand.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// How long refusals are added up between two lines about them.
const TELL_REFUSALS: Duration = Duration::from_secs(60);

async fn keep_up(
    mut homing: Homing,
    registry: Registry,
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
) {
    let lost: u64 = store.missing().iter().map(|missing| missing.entries.max(1)).sum();
    metrics.store_missing.set(i64::try_from(lost).unwrap_or(i64::MAX));
    let mut ticks = tokio::time::interval(UPKEEP);
    let mut was_up = true;
    let (mut peak, mut excess) = (Peak::default(), Excess::default());
    let mut life = None;
    let mut looked_at = Instant::now();
    let (mut refusals, mut told_at) = (RefusalsTold::default(), None::<Instant>);
    loop {
        ticks.tick().await;
        if told_at.is_none_or(|at| at.elapsed() >= TELL_REFUSALS) {
            let news = refusals.news(&metrics.refusals);
            // The first is told at once: somebody may be trying something out.
            told_at = (!news.is_empty()).then(Instant::now);
            for (reason, times) in news {
                info!(reason = reason.as_str(), times, settings = reason.knobs(), "refused to clients");
            }
        }
        registry.relieve().await;
        let counted = metrics.room_bytes.get() + i64::try_from(ledger.used()).unwrap_or(i64::MAX);
        let has_excess = excess.is_found(resident(), usize::try_from(counted).unwrap_or(0));
        if peak.is_over(metrics.rooms.get() + metrics.sessions.get()) || has_excess {
            // Nobody waits for it.
            drop(tokio::task::spawn_blocking(return_free_pages));
        }
        let up = store.ping().await;
        metrics.store_up.set(i64::from(up.is_ok()));
        match &up {
            Ok(_) if !was_up => info!("store is back"),
            Err(failure) if was_up => {
                error!(%failure, "store is down: members keep editing, newcomers are told to try again")
            }
            _ => {}
        }
        was_up = up.is_ok();
        if let Ok(this) = up {
            homing.go_on(&*store).await;
            let is_another = life.replace(this).is_some_and(|before| before != this);
            if is_another || this != StoreLife::ONLY && looked_at.elapsed() >= LOOK_AFTER {
                looked_at = Instant::now();
                registry.check_store(is_another).await;
            }
        }
    }
}

/// Moves dashboards to where their names say: before the first client looks, or else as soon as the store is there.
struct Homing {
    limits: Limits,
    is_done: bool,
}

impl Homing {
    async fn begin(store: &dyn Store, limits: Limits) -> Homing {
        let mut homing = Homing { limits, is_done: false };
        homing.go_on(store).await;
        homing
    }

    async fn go_on(&mut self, store: &dyn Store) {
        if self.is_done {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        match homes::bring_home(store, &self.limits, now).await {
            Ok(Homecoming { moved, merged, left }) => {
                self.is_done = true;
                if moved + merged > 0 {
                    info!(moved, merged, "dashboards of y-websocket clients moved out of the workspace default");
                }
                for (dashboard, why) in left {
                    warn!(%dashboard, %why, "a dashboard stays where no client looks; ydash export --dashboard writes it out");
                }
            }
            Err(failure) => debug!(%failure, "names not looked through"),
        }
    }
}

fn observe(metrics: &Metrics, commit: &Commit) {
    metrics.append_seconds.observe(commit.took.as_secs_f64());
    metrics.append_bytes.inc_by(commit.bytes as u64);
    if commit.failed > 0 {
        metrics.appends_failed.inc_by(commit.failed as u64);
    }
}

/// Brings what has shaken hands to its session.
struct Sockets {
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

impl SocketHandler for Sockets {
    fn serve(&self, socket: Upgraded) -> BoxFuture<'static, ()> {
        let Upgraded { io, leftover, handshake, permit } = socket;
        let entrance = match handshake.destination {
            Destination::Dashboard(target) => Entrance::Dashboard(target),
            Destination::Asking(dashboard, verdict) => Entrance::Asking(dashboard, verdict),
            Destination::Documents => Entrance::Documents,
            Destination::Nowhere(NoEntry::BadName) => {
                self.metrics.refusals.inc(Refusal::BadName);
                Entrance::Nowhere(CloseCode::BadName)
            }
            Destination::Nowhere(NoEntry::Denied(denied)) => Entrance::Nowhere(self.sessions.refuse_entry(denied)),
        };
        let arrival = Arrival {
            io,
            leftover,
            deflate: handshake.deflate,
            from: handshake.from,
            token: handshake.token,
            entrance,
            wants_acks: handshake.options.acks,
            wants_echo: handshake.options.echo,
            caller: handshake.caller.map(Box::new),
            permit: Box::new(permit),
        };
        Box::pin(Arc::clone(&self.sessions).serve(arrival))
    }
}

/// Asks HTTP's authenticator about clients that show their token after the handshake, and counts their joins with its.
struct Door(Arc<Site>);

impl Doorkeeper for Door {
    fn admit(&self, from: &Whence, dashboard: &DashboardId, token: Option<&str>) -> Eventual<Admission> {
        self.0.admit(dashboard, from, token, Capabilities::READ)
    }

    fn asks_again(&self) -> bool {
        self.0.authenticator.asks_again()
    }

    fn join(&self, address: IpAddr) -> Result<(), session::Crowded> {
        self.0.addresses.join_again(address, Instant::now()).map_err(session::Crowded::Joins)
    }

    fn join_again(&self, address: IpAddr) -> Result<Place, session::Crowded> {
        match self.0.join_again(address) {
            Ok(permit) => Ok(Box::new(permit)),
            Err(Crowded::Joins { retry_after }) => Err(session::Crowded::Joins(retry_after)),
            Err(Crowded::Address { .. }) => Err(session::Crowded::Full("sessions-per-address-max reached, try again")),
            Err(_) => Err(session::Crowded::Full("sessions-max reached, try again")),
        }
    }
}

/// Writes into the audit log which sessions begin and end.
struct GuestBook(Audit);

impl GuestBook {
    fn tell(&self, kind: &'static str, visit: &Visit, mut data: Value) {
        data["session"] = visit.member.to_string().into();
        data["dialect"] = match visit.dialect {
            Dialect::YWebsocket => "y-websocket",
            Dialect::Hocuspocus { .. } => "hocuspocus",
            Dialect::Listening => "events",
        }
        .into();
        let (actor, target) = (Some(Arc::clone(&visit.user)), visit.dashboard.as_str().into());
        self.0.tell_often(Event { kind, actor, target, data });
    }
}

impl Visitors for GuestBook {
    fn came(&self, visit: &Visit) {
        self.tell("session.opened", visit, json!({ "position": visit.position.to_string() }));
    }

    fn left(&self, visit: &Visit, stay: Stay) {
        let data = json!({
            "seconds": stay.lasted.as_secs(),
            "updates": stay.updates,
            "bytes": stay.bytes,
            "position": stay.position.to_string(),
        });
        self.tell("session.closed", visit, data);
    }
}

/// How long a collector is waited for at the end.
const TRACES_WITHIN: Duration = Duration::from_secs(2);

/// Traces some of what happens, if there is somebody to tell. What tells them ends soon after the token is cancelled.
fn trace(
    config: &Config,
    node: &str,
    metrics: &Arc<Metrics>,
    is_over: CancellationToken,
) -> (Traces, Option<JoinHandle<()>>) {
    let Some(endpoint) = config.otlp_endpoint.clone() else { return (Traces::default(), None) };
    let metrics = Arc::clone(metrics);
    let dropped = move || _ = metrics.spans_dropped.inc();
    let (traces, exporter) = Traces::new(endpoint, config.trace_sample, node.to_owned(), dropped);
    (traces, Some(tokio::spawn(exporter.run(is_over))))
}

fn rooms(
    config: &Config,
    traces: &Traces,
    allowances: &Arc<Allowances>,
    visitors: Option<Arc<dyn Visitors>>,
) -> RoomsConfig {
    RoomsConfig {
        traces: traces.clone(),
        allowances: Arc::clone(allowances),
        visitors,
        limits: config.limits(),
        tuning: Tuning {
            flush_interval: config.flush_interval,
            awareness_interval: config.awareness_interval,
            room_idle: config.room_idle,
            snapshot_after_bytes: config.snapshot_bytes,
            snapshot_interval: config.snapshot_interval,
            verifies_presence: config.reads_tokens(),
            ..Tuning::default()
        },
        memory_max: config.memory().rooms,
        history: config.history,
        // To other nodes clients come by and by, and the rest of the deadline is for the last writes. A lone node's wait for its
        // return, and the longer they were turned away, the longer stock clients pause: they leave at once, at the end.
        drain_spread: config.drain_deadline / if config.bus_redis().is_some() { 4 } else { 40 },
    }
}

fn sessions(config: &Config) -> SessionsConfig {
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    SessionsConfig {
        limits: config.limits(),
        rates: Rates {
            messages_per_second: config.session_message_rate,
            messages_burst: config.session_message_burst,
            bytes_per_second: bytes(config.session_byte_rate),
            bytes_burst: bytes(config.session_byte_burst),
        },
        compress_bytes_max: config.compress_bytes_max,
        idle_timeout: config.idle_timeout,
        stuck_timeout: config.idle_timeout,
        auth_timeout: config.auth_timeout,
    }
}

/// Who decides about who comes: everybody is let in as far as `anonymous-access` goes, and by tokens if any are read.
fn authenticator(config: &Config) -> Arc<dyn Authenticator> {
    match read_authenticator(config) {
        Ok(authenticator) => authenticator,
        // The configuration has read them once already: a file has changed since.
        Err(error) => {
            error!(error, "tokens cannot be read: nobody is let in");
            Arc::new(Anonymous::new(None))
        }
    }
}

fn read_authenticator(config: &Config) -> Result<Arc<dyn Authenticator>, String> {
    let tokens = match config.issuers.as_slice() {
        [] => None,
        issuers => Some(Tokens::new(issuers, config.anonymous(), config::duration)?),
    };
    Ok(match (config.hook(), tokens) {
        (Some(hook), tokens) => Arc::new(Hook::new(&hook, tokens, config.anonymous())?),
        (None, Some(tokens)) => Arc::new(tokens),
        (None, None) => Arc::new(Anonymous::new(config.anonymous())),
    })
}

/// Reads the files of issuers and keys again, at each SIGHUP. Never returns.
async fn read_again_on_signal(config: Arc<Config>, authenticator: Replaceable) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        hangup.recv().await;
        let read = config.with_issuers_read_again().map_err(|failure| failure.to_string());
        match read.and_then(|config| read_authenticator(&config)) {
            Ok(next) => {
                until_ready(&*next).await;
                authenticator.replace(next);
                info!("who issues tokens was read again");
            }
            Err(error) => error!(error, "who issues tokens cannot be read: it stays as it was"),
        }
    }
}

/// For how long the last authenticator goes on while the next one fetches keys.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Has an authenticator fetch its keys before it replaces another one, or nobody could come in meanwhile. It waits for no issuer that does
/// not answer: an issuer that the operator has taken out must go.
async fn until_ready(next: &dyn Authenticator) {
    let ready = async {
        while !next.is_ready() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = next.keep_up() => {}
        _ = timeout(READY_WITHIN, ready) => {}
    }
}

/// What HTTP needs of the configuration and of the parts.
#[must_use]
pub fn site(
    config: &Config,
    metrics: &Arc<Metrics>,
    ledger: &Arc<Ledger>,
    shutdown: &Shutdown,
    dashboards: Arc<dyn Dashboards>,
    nodes: Arc<dyn Nodes>,
    inspector: Arc<dyn Inspector>,
) -> Site {
    Site {
        is_admin: false,
        authenticator: authenticator(config),
        access: Arc::new(NoRecords),
        deletions: Arc::new(NoDeletions),
        audit: Audit::new(Arc::new(MemoryCatalog::new()), String::new(), 0, false, None),
        dashboards,
        inspector,
        inspector_on: config.inspector,
        nodes,
        pushes: Arc::default(),
        leases: Leases::default(),
        metrics: Arc::clone(metrics),
        addresses: Addresses::new(AddressLimits {
            connections_max: descriptors::for_connections(),
            sessions_max: config.sessions_max,
            sessions_per_address_max: config.sessions_per_address_max,
            join_rate: config.address_join_rate,
            join_burst: config.address_join_burst,
            request_rate: config.address_request_rate,
            request_burst: config.address_request_burst,
            byte_rate: config.address_byte_rate,
            byte_burst: config.address_byte_burst,
        }),
        allowances: Allowances::new(config.user_limits()),
        pages: Pages::new(config.listen, config.allowed_hosts.clone(), config.allowed_origins.clone()),
        trusted_proxies: config.trusted_proxies.clone(),
        header_timeout: config.header_timeout,
        pace: PaceLimits { timeout: config.transfer_timeout, bytes_per_second: config.transfer_pace },
        compresses: config.compress_bytes_max > 0,
        frame_bytes_max: config.limits().frame_bytes_max,
        stateless_bytes_max: config.stateless_bytes_max,
        awareness_state_bytes_max: config.awareness_state_bytes_max,
        draining: shutdown.draining().clone(),
        ledger: Arc::clone(ledger),
        traces: Traces::default(),
    }
}

fn take(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Listen { address, source },
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How long the first connection of the bus is waited for, so that the first rooms need not hear that they missed something.
const BUS_WITHIN: Duration = Duration::from_secs(1);

/// What this machine is called.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "ydash".into())
}

/// Serves what `config` says until a signal ends it.
///
/// # Errors
/// [`RunError`] – for the operator; nothing was served.
pub async fn run(config: Arc<Config>) -> Result<(), RunError> {
    let server = Server::bind(Arc::clone(&config))?;
    let server = match config.audit_key.as_str() {
        "" => server,
        path => {
            let key = std::fs::read_to_string(path).map_err(|error| error.to_string());
            let signer = key.and_then(|key| Signer::read(&key));
            let told = |why| RunError::AuditKey { path: path.to_owned(), why };
            server.signing_checkpoints(signer.map_err(told)?)
        }
    };
    let store = store::open(&config.store, &config.store_config())?;
    tokio::spawn(server.shutdown().clone().begin_on_signals());
    let authenticator = Replaceable::new(Arc::clone(&server.authenticator));
    tokio::spawn(read_again_on_signal(Arc::clone(&config), authenticator.clone()));
    let server = server.with_authenticator(Arc::new(authenticator));
    let address = server.local_address();
    let server = match config.bus_redis() {
        Some(url) => {
            info!(bus = %url, "other nodes are heard over Redis");
            let bus = RedisBus::start(url.clone(), server.node_info(), Arc::clone(server.metrics()));
            if !bus.connected(BUS_WITHIN).await {
                warn!("bus is away: dashboards are served, and other nodes heard when it is back");
            }
            server.on_bus(Arc::new(bus))
        }
        None => server,
    };
    if config.insecure && config.anonymous().is_some() && !address.ip().to_canonical().is_loopback() {
        warn!(%address, "insecure: whoever reaches this address is asked for no credentials");
    }
    info!(%address, store = %config.store, version = env!("CARGO_PKG_VERSION"), "serving");
    println!("ydash serves on http://{address}/ - new WebsocketProvider('ws://{address}', 'my-room', doc)");
    server.serve(store).await;
    Ok(())
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No key to sign checkpoints with.
    #[error("audit-key {path}: {why}")]
    AuditKey {
        /// The file.
        path: String,
        /// The reason, in words.
        why: String,
    },
    /// No store.
    #[error(transparent)]
    Open(#[from] OpenError),
}
