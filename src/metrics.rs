//! What the process counts about itself, in Prometheus' words.
//!
//! [`Metrics`] is made once and shared by reference. Every field is a cheap handle: a counter or gauge is one atomic add, a
//! histogram takes a short uncontended lock and so is observed per flush, append, load or turn of a room, never per delivery. Labels
//! come from the closed enums below, so no client can make a series. No dashboard, user or address is ever a label.
//!
//! Names are `ydash_subject_unit[_total]`; the crate appends `_total` to counters. Each is registered with what it means and what to do
//! about it, from which `docs/METRICS.md` is made.

mod process;
mod registrar;

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;
use std::fmt::Write as _;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use registrar::{Reference, Registrar};

/// A closed set of label values: the only kind of label there is.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The value as it is shown.
    fn as_str(self) -> &'static str;
    /// What it stands for, in a sentence for operators.
    fn meaning(self) -> String;
}

/// Declares an enum that is a [`Label`]: variants, what they mean and how they are shown, once.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident as $label:literal { $($(#[doc = $meaning:literal])* $variant:ident = $shown:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $meaning])* $variant,)* }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$($name::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $($name::$variant => $shown,)* }
            }

            fn meaning(self) -> String {
                match self { $($name::$variant => concat!($($meaning,)*).trim().to_owned(),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

label! {
    /// Why something that a client sent or wanted was not taken. One reason per rule, so that an alert can name the rule.
    Refusal as "reason" {
        /// A frame that is no message of the dialect.
        GarbageFrame = "garbage_frame",
        /// A text frame.
        TextFrame = "text_frame",
        /// Bytes that are not WebSocket framing.
        WebSocketProtocol = "websocket_protocol",
        /// A message type that nobody knows.
        UnknownMessage = "unknown_message",
        /// Update bytes that the scan found implausible.
        MalformedUpdate = "malformed_update",
        /// An awareness frame that does not parse.
        MalformedAwareness = "malformed_awareness",
        /// An awareness state over its limit, or more entries than a room keeps.
        AwarenessLimit = "awareness_limit",
        /// A message over `frame-bytes-max`.
        FrameTooLarge = "frame_too_large",
        /// An update that would take the document over `document-bytes-max`.
        DocumentTooLarge = "document_too_large",
        /// An update that nests, names clients or counts beyond what a document may.
        DocumentLimit = "document_limit",
        /// Content that differs from what was saved before under the same client id and clock.
        ContentDiffers = "content_differs",
        /// Updates behind a hole that was not filled in time or outgrew its budget.
        Held = "held",
        /// An edit from a session that may only read.
        ReadOnly = "read_only",
        /// More messages or bytes per second than a session may send.
        Rate = "rate",
        /// A join beyond what one address may do per second.
        JoinRate = "join_rate",
        /// More sessions than the process, or one address, may hold.
        SessionLimit = "session_limit",
        /// More sessions than one user may have on this node.
        UserSessions = "user_sessions",
        /// A join beyond what one user may do per second.
        UserJoinRate = "user_join_rate",
        /// More messages or bytes per second than one user may send, on all sessions and over REST together.
        UserRate = "user_rate",
        /// More REST calls than one user may make in a time.
        UserRequestRate = "user_request_rate",
        /// More dashboards than one user may begin in a time.
        UserCreateRate = "user_create_rate",
        /// More connections that are no sessions than one address may hold, or than there are open files for.
        Connections = "connections",
        /// More REST calls, or bytes by them, than one address may have in a time.
        RequestRate = "request_rate",
        /// A REST call whose turn did not come in time.
        Busy = "busy",
        /// A body that came too slowly.
        SlowBody = "slow_body",
        /// More members than one room may hold.
        MemberLimit = "member_limit",
        /// A name outside the grammar.
        BadName = "bad_name",
        /// A dashboard or operation that the caller may not touch.
        Forbidden = "forbidden",
        /// A dashboard that was deleted, or a copy of one.
        Deleted = "deleted",
        /// Something other than an edit that a session, or a call, may not send.
        NotAllowed = "not_allowed",
        /// No token, or one that is not taken.
        Unauthenticated = "unauthenticated",
        /// A token that has ended.
        Expired = "expired",
        /// A page of an origin that is not on the list.
        Origin = "origin",
        /// A name in Host that is not this server's: a page that was made to resolve to it, or a proxy that nobody named.
        Host = "host",
        /// A handshake that is not RFC 6455's.
        BadHandshake = "bad_handshake",
        /// The dashboard could not be loaded or stored just then.
        Unavailable = "unavailable",
        /// The node is draining.
        Draining = "draining",
        /// A client that showed no token that was good in time.
        AuthTimeout = "auth_timeout",
        /// More than may wait for a token.
        Pending = "pending",
        /// More documents than one socket may have.
        SocketDocuments = "socket_documents",
        /// A stateless message over its limit.
        Stateless = "stateless",
        /// A push of values for a widget, beyond what one dashboard takes.
        Pushed = "pushed",
        /// What would take more memory than there is for its address.
        Memory = "memory",
        /// A large message that made no progress.
        Slow = "slow",
        /// A socket that said nothing for too long.
        Idle = "idle",
        /// A reader whose socket took nothing for too long.
        Stuck = "stuck",
    }
}

label! {
    /// Where an update came from.
    UpdateSource as "source" {
        /// An Update frame: a live edit.
        Update = "update",
        /// A SyncStep2 frame with something new: an edit made offline.
        SyncStep2 = "sync_step2",
        /// `POST …/updates`.
        Rest = "rest",
        /// Another node.
        Node = "node",
    }
}

label! {
    /// What became of a dashboard that somebody deleted.
    Deletion as "what" {
        /// It went into the trash.
        Deleted = "deleted",
        /// It was taken back.
        Restored = "restored",
        /// It ended for good.
        Purged = "purged",
    }
}

label! {
    /// Why a room left memory.
    Eviction as "why" {
        /// Nobody was in it for `room-idle`.
        Idle = "idle",
        /// The rooms together outgrew `room-memory`.
        Memory = "memory",
        /// The node drains.
        Drain = "drain",
        /// The dashboard was deleted.
        Deleted = "deleted",
        /// It panicked, or its state was beyond use; it opens again from the store.
        Failed = "failed",
    }
}

label! {
    /// What an HTTP request asked for; unknown paths are one value.
    Route as "route" {
        /// The page and its assets.
        Page = "page",
        /// What `/inspector` shows.
        Inspector = "inspector",
        /// `/healthz`.
        Health = "healthz",
        /// `/readyz`.
        Ready = "readyz",
        /// `/metrics`.
        Metrics = "metrics",
        /// An upgrade to a WebSocket.
        Socket = "socket",
        /// `GET /api/nodes`.
        Nodes = "nodes",
        /// `GET /api/openapi.json`, and the page that shows it.
        OpenApi = "openapi",
        /// `GET /api/dashboards`, `GET /api/workspaces/…/dashboards`.
        Listing = "listing",
        /// `/api/dashboards/…`.
        Dashboard = "dashboard",
        /// `/api/dashboards/…/widgets/…`.
        Widgets = "widgets",
        /// `GET /api/dashboards/…/state`.
        State = "state",
        /// `/api/dashboards/…/at/…`.
        History = "history",
        /// `POST /api/dashboards/…/updates`.
        Updates = "updates",
        /// `POST /api/dashboards/…/stateless`.
        Stateless = "stateless",
        /// `POST /api/dashboards/…/widgets/<id>/data`, `GET /api/dashboards/…/pushed`.
        Pushed = "pushed",
        /// `/api/dashboard/state`.
        OwnState = "own_state",
        /// `GET /api/dashboards/…/events`.
        Events = "events",
        /// `/api/dashboards/…/presence`.
        Presence = "presence",
        /// Who may do what: grants, links, collaborators, blocked users.
        Access = "access",
        /// Anything else.
        Unknown = "unknown",
    }
}

label! {
    /// What memory that clients make the process use is for.
    Memory as "kind" {
        /// Messages that are arriving, or arrived and wait for their room.
        Messages = "messages",
        /// What waits to be written to sockets, states that everybody shares not counted.
        Outboxes = "outboxes",
        /// Messages that wait for a token or for their document to open.
        Pending = "pending",
        /// Bodies of HTTP requests.
        HttpBodies = "http_bodies",
        /// HTTP answers that are being written.
        HttpAnswers = "http_answers",
        /// Live rooms, as `room-memory` counts them.
        Rooms = "rooms",
    }
}

label! {
    /// What a client that opens a dashboard waits for.
    JoinPart as "part" {
        /// The dashboard becomes a live room: hardly any time when it is one already, else the load from the store.
        Open = "open",
        /// The room's task takes the newcomer in.
        Queue = "queue",
        /// The difference between the document and what the client has is made.
        Encode = "encode",
    }
}

impl Refusal {
    /// Whether somebody who runs the server should read of it: a client that is built or set up wrongly, a limit that is in the way. The
    /// others come with bad networks, restarts and merging, or are told otherwise.
    #[must_use]
    pub fn is_telling(self) -> bool {
        !matches!(
            self,
            Refusal::Held
                | Refusal::ContentDiffers
                | Refusal::Unavailable
                | Refusal::Draining
                | Refusal::Idle
                | Refusal::Busy
                | Refusal::SlowBody
                | Refusal::Stuck
                | Refusal::UnknownMessage
                | Refusal::Expired
                | Refusal::Deleted
        )
    }

    /// The knobs that decide about it, with commas between; `None` if none does.
    #[must_use]
    pub fn knobs(self) -> Option<&'static str> {
        Some(match self {
            Refusal::AwarenessLimit => "awareness-state-bytes-max",
            Refusal::FrameTooLarge => "frame-bytes-max",
            Refusal::DocumentTooLarge => "document-bytes-max",
            Refusal::ReadOnly | Refusal::Forbidden | Refusal::NotAllowed => "anonymous-access",
            Refusal::Unauthenticated | Refusal::Expired => "auth-secret, auth-issuer, auth-file",
            Refusal::Rate => "session-message-rate, session-byte-rate",
            Refusal::JoinRate => "address-join-rate, trusted-proxies",
            Refusal::SessionLimit => "sessions-max, sessions-per-address-max, trusted-proxies",
            Refusal::UserSessions => "user-sessions-max",
            Refusal::UserJoinRate => "user-join-rate",
            Refusal::UserRate => "user-message-rate, user-byte-rate",
            Refusal::UserRequestRate => "user-request-rate",
            Refusal::UserCreateRate => "user-create-rate",
            Refusal::RequestRate => "address-request-rate, address-byte-rate, trusted-proxies",
            Refusal::Connections => "trusted-proxies",
            Refusal::SlowBody => "transfer-timeout, transfer-pace",
            Refusal::MemberLimit => "members-max",
            Refusal::Origin => "allowed-origins",
            Refusal::Host => "allowed-hosts, trusted-proxies",
            Refusal::AuthTimeout => "auth-timeout",
            Refusal::Pending => "pending-bytes-max",
            Refusal::Memory => "memory-max, room-memory, trusted-proxies",
            Refusal::SocketDocuments => "documents-per-socket-max",
            Refusal::Stateless => "stateless-bytes-max",
            _ => return None,
        })
    }
}

/// What of the refusals has been told.
#[derive(Clone, Debug)]
pub struct RefusalsTold([u64; Refusal::ALL.len()]);

impl Default for RefusalsTold {
    fn default() -> RefusalsTold {
        RefusalsTold([0; Refusal::ALL.len()])
    }
}

impl RefusalsTold {
    /// What is worth telling and was counted since it was last asked.
    pub fn news(&mut self, refusals: &CounterBy<Refusal>) -> Vec<(Refusal, u64)> {
        let telling = Refusal::ALL.iter().filter(|refusal| refusal.is_telling());
        let counted = telling.map(|refusal| {
            let total = refusals.get(*refusal);
            (*refusal, total - std::mem::replace(&mut self.0[refusal.index()], total))
        });
        counted.filter(|(_, times)| *times > 0).collect()
    }
}

/// Counters, one per value of a [`Label`]; all exist from the start, so a rate over them never misses the first event.
#[derive(Clone, Debug)]
pub struct CounterBy<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> CounterBy<L> {
    /// Counts one.
    pub fn inc(&self, label: L) {
        self.counters[label.index()].inc();
    }

    /// Counts `n`.
    pub fn inc_by(&self, label: L, n: u64) {
        self.counters[label.index()].inc_by(n);
    }

    /// What has been counted.
    #[must_use]
    pub fn get(&self, label: L) -> u64 {
        self.counters[label.index()].get()
    }

    fn new(counter: impl Fn(&L) -> Counter) -> CounterBy<L> {
        CounterBy { counters: L::ALL.iter().map(counter).collect(), label: PhantomData }
    }
}

/// Gauges, one per value of a [`Label`]; all exist from the start.
#[derive(Clone, Debug)]
pub struct GaugeBy<L> {
    gauges: Box<[Gauge]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> GaugeBy<L> {
    /// Adds `n`, which may be negative.
    pub fn inc_by(&self, label: L, n: i64) {
        self.gauges[label.index()].inc_by(n);
    }

    /// Sets it.
    pub fn set(&self, label: L, value: i64) {
        self.gauges[label.index()].set(value);
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self, label: L) -> i64 {
        self.gauges[label.index()].get()
    }

    fn new(gauge: impl Fn(&L) -> Gauge) -> GaugeBy<L> {
        GaugeBy { gauges: L::ALL.iter().map(gauge).collect(), label: PhantomData }
    }
}

/// Histograms, one per value of a [`Label`]; all exist from the start.
#[derive(Clone, Debug)]
pub struct HistogramBy<L> {
    histograms: Box<[Histogram]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> HistogramBy<L> {
    /// Takes one value in.
    pub fn observe(&self, label: L, value: f64) {
        self.histograms[label.index()].observe(value);
    }

    fn new(histogram: impl Fn(&L) -> Histogram) -> HistogramBy<L> {
        HistogramBy { histograms: L::ALL.iter().map(histogram).collect(), label: PhantomData }
    }
}

/// The process' metrics. See the module's introduction for what observing costs.
pub struct Metrics {
    /// Sockets that are open: counted from the upgrade until the last byte.
    pub sessions: Gauge,
    /// Members of the rooms of this node: one for each session and dashboard.
    pub members: Gauge,
    /// Users who showed a token and are in a room of this node, each once.
    pub users: Gauge,
    /// Rooms that are live on this node.
    pub rooms: Gauge,
    /// Bytes that live rooms hold: documents, tails, held updates, presence. What `room-memory` is measured against.
    pub room_bytes: Gauge,
    /// Memory that clients make the process use, by what it is for. What `memory-max` and `room-memory` bound.
    pub memory_bytes: GaugeBy<Memory>,
    /// Sessions that entered a room.
    pub joins: Counter,
    /// WebSocket messages that clients sent, of any type.
    pub frames_received: Counter,
    /// Payload bytes that clients sent.
    pub bytes_received: Counter,
    /// Updates that added something to a document.
    pub updates: CounterBy<UpdateSource>,
    /// Updates handed to a member's outbox: one per update and receiving member, however many share a frame.
    pub deliveries: Counter,
    /// Awareness entries that were accepted and passed on.
    pub awareness: Counter,
    /// Bytes of one flush's frames, counted once however many members receive them.
    pub flush_bytes: Histogram,
    /// From the first input that a flush carries until it stands in the outboxes.
    pub flush_seconds: Histogram,
    /// From handing an append to the store's writer until it is durable.
    pub append_seconds: Histogram,
    /// Update bytes made durable.
    pub append_bytes: Counter,
    /// Appends that failed.
    pub appends_failed: Counter,
    /// From the first opener's wish until a room is live.
    pub load_seconds: Histogram,
    /// What each newcomer waited for.
    pub join_seconds: HistogramBy<JoinPart>,
    /// How long a room's task worked on what had come in.
    pub room_turn_seconds: Histogram,
    /// From the head of a request until its answer begins.
    pub http_request_seconds: HistogramBy<Route>,
    /// Bytes that wait in outboxes.
    pub outbox_bytes: Gauge,
    /// Slow members whose outbox was dropped and who got one diff.
    pub resyncs: Counter,
    /// Rooms that left memory.
    pub evictions: CounterBy<Eviction>,
    /// What was not taken, by rule.
    pub refusals: CounterBy<Refusal>,
    /// Snapshots written.
    pub snapshots: Counter,
    /// Snapshots that the store did not take.
    pub snapshots_failed: Counter,
    /// Dashboards that were deleted, taken back, or ended for good.
    pub deletions: CounterBy<Deletion>,
    /// Dashboards in the trash, as of a moment ago.
    pub trash_dashboards: Gauge,
    /// Segments of history that were sealed.
    pub seals: Counter,
    /// Versions that were kept with their content.
    pub versions: Counter,
    /// Logs that were to be sealed and were not.
    pub seals_failed: Counter,
    /// Rooms that found that the store had lost what was durable, and put back what they had.
    pub store_losses: Counter,
    /// Documents compacted.
    pub compactions: Counter,
    /// Compactions given up: a document that is not whole, or no place for the work in time.
    pub compactions_failed: Counter,
    /// Documents read item by item for REST. What is remembered of an earlier reading does not count.
    pub documents_read: Counter,
    /// Points that programs pushed for widgets.
    pub pushed_points: Counter,
    /// Memory of what is kept of them.
    pub pushed_bytes: Gauge,
    /// Updates that wait behind a hole.
    pub held_updates: Gauge,
    /// 1 while the store takes appends, 0 while it does not.
    pub store_up: Gauge,
    /// What the store had lost when it was opened: log entries, and other losses, each counted once.
    pub store_missing: Gauge,
    /// Messages published to other nodes.
    pub bus_published: Counter,
    /// Messages heard from other nodes, garbage included.
    pub bus_heard: Counter,
    /// Messages from other nodes that could not be read and were skipped.
    pub bus_garbage: Counter,
    /// Questions to other nodes for what seemed to be missing.
    pub bus_asked: Counter,
    /// Messages to other nodes that were dropped: the bus was away, or too much waited for it.
    pub bus_dropped: Counter,
    /// Bytes published on the bus.
    pub bus_bytes_published: Counter,
    /// Bytes heard on the bus, own messages included.
    pub bus_bytes_heard: Counter,
    /// Connections of the bus that broke.
    pub bus_reconnects: Counter,
    /// 1 while every connection of the bus is there; 0 while one is not, and without a bus.
    pub bus_up: Gauge,
    /// Nodes that are believed to live, this one included.
    pub nodes: Gauge,
    /// Spans of traces that were not sent.
    pub spans_dropped: Counter,
    /// Rooms quarantined because they died again right after a reload.
    pub rooms_quarantined: Counter,
    sessions_closed: Family<Labels<1>, Counter>,
    http_requests: Family<Labels<2>, Counter>,
    registry: Registry,
    process: Registry,
    reference: Reference,
}

/// Label names with their values.
type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

impl Metrics {
    /// Makes and registers everything.
    #[must_use]
    pub fn new() -> Metrics {
        let mut registrar = Registrar::new();
        let r = &mut registrar;
        let metrics = Metrics {
            flush_seconds: r.about(LATENCY).histogram(
                "flush_seconds",
                seconds(0.000_25),
                "From the first edit that a flush carries until the flush is in the outboxes of the other members",
                "A 99th percentile above flush-interval (8 to 20 ms) means that a processor is short. Compare ydash_room_turn_seconds and the \
                 machine's load; spread dashboards over more nodes.",
            ),
            append_seconds: r.histogram(
                "append_seconds",
                seconds(0.001),
                "From handing edits to the store's writer until they are durable",
                "Clients wait this long for \"saved\". Above a second, look at the disk's latency, or at Redis' (`redis-cli --latency`, \
                 appendfsync). Members see edits before they are saved, so a slow store delays nobody's screen.",
            ),
            http_request_seconds: r.histograms(
                "http_request_seconds",
                || Histogram::new(seconds(0.000_5)),
                "From the head of an HTTP request until its answer begins",
                "Writes wait for the store (ydash_append_seconds), reads of large dashboards for their turn (refusals with reason `busy`).",
            ),
            room_turn_seconds: r.about(PROCESSING).histogram(
                "room_turn_seconds",
                seconds(0.000_062_5),
                "How long a room worked on what had come in since it last looked",
                "A turn above 50 ms delays everybody in that room. The inspector lists rooms by size; lower document-bytes-max, or split the \
                 dashboard.",
            ),
            documents_read: r.counter(
                "documents_read",
                "Documents read item by item for REST",
                "Many of them cost processor time: have clients send If-None-Match, which an unchanged dashboard answers with 304.",
            ),
            compactions: r.counter(
                "compactions",
                "Documents whose garbage was collected",
                "Nothing: collecting takes a ninth of a processor per dashboard at most.",
            ),
            join_seconds: r.about(SYNC).histograms(
                "join_seconds",
                || Histogram::new(seconds(0.000_062_5)),
                "The wait of a client that opens a dashboard, in parts",
                "`open` is the store, see ydash_load_seconds. `queue` is a busy room, see ydash_room_turn_seconds. `encode` is a large document, or \
                 many clients that come back with different states at once.",
            ),
            load_seconds: r.histogram(
                "load_seconds",
                seconds(0.001),
                "From the first opener's wish until its dashboard is a live room",
                "Long logs load slowly: lower snapshot-bytes. If many dashboards are opened again and again, raise room-idle or room-memory \
                 (ydash_evictions_total).",
            ),
            snapshots: r.counter(
                "snapshots",
                "Snapshots written",
                "Nothing. None at all while updates come in for longer than snapshot-interval: see ydash_snapshots_failed_total.",
            ),
            seals: r.counter(
                "seals",
                "Segments of history that were sealed",
                "Nothing: a dashboard that is edited has one for each 256 KiB of edits, and at least one a day.",
            ),
            versions: r.counter(
                "versions",
                "Versions of dashboards that were kept with their content",
                "Many with nobody naming them: a program writes JSON that removes much, again and again. Each takes a whole state until newer \
                 ones take its place.",
            ),
            sessions: r.about(CONNECTIONS).gauge(
                "sessions",
                "Open WebSockets",
                "Near sessions-max newcomers are refused: add a node, or raise sessions-max and `ulimit -Hn`.",
            ),
            members: r.gauge(
                "members",
                "Members of rooms: one for each session and dashboard, several for a Hocuspocus socket with several documents",
                "Compare with ydash_sessions: more sessions than members means clients that wait for a token or for their dashboard.",
            ),
            users: r.gauge(
                "users",
                "Users who showed a token and are in at least one room of this node, each counted once",
                "Nothing. It stays 0 where nobody is asked for a token. A user who is on two nodes counts on both.",
            ),
            joins: r.counter(
                "joins",
                "Members that entered a room",
                "A high rate with steady ydash_sessions means clients that reconnect in a loop: see ydash_sessions_closed_total and ydash_refusals_total.",
            ),
            sessions_closed: r.family(
                "sessions_closed",
                &["code"],
                "Sessions that ended, by close code (docs/PROTOCOL.md, \"Close codes\")",
                "1001 and 1006 are pages that were closed and networks that broke. 1011 is a room or server that failed: look for ERROR in the log. \
                 1012 is a drain.",
            ),
            rooms: r.gauge("rooms", "Dashboards that are live on this node", "Nothing; memory is what they cost, see ydash_room_bytes."),
            deletions: r.counters(
                "deletions",
                "Dashboards that were deleted, taken back from the trash, or ended for good",
                "Nothing. Many with what `deleted` that nobody expects: list the trash (`ydash trash list`), and take back what was not meant.",
            ),
            trash_dashboards: r.gauge(
                "trash_dashboards",
                "Dashboards in the trash, as of the last walk through it",
                "They take space until the time of the setting trash is over: shorten it, or end them with `ydash trash purge`.",
            ),
            evictions: r.counters(
                "evictions",
                "Rooms that left memory",
                "Many with why `memory`: raise room-memory or memory-max. Any with `failed`: report the ERROR line of the log.",
            ),
            updates: r.about(OPERATIONS).counters(
                "updates",
                "Edits that added something to a document",
                "Nothing: this is the load. With several nodes, sum without `node`, or each edit counts once per node.",
            ),
            awareness: r.counter(
                "awareness",
                "Messages with cursors and presence that were taken",
                "Nothing: this is the load of cursors.",
            ),
            deliveries: r.counter(
                "deliveries",
                "Updates handed to receiving members",
                "Divided by updates, this is the size of the rooms that are edited. It is what processors and network work for.",
            ),
            frames_received: r.counter(
                "frames_received",
                "Messages received from clients",
                "Far more than edits and cursors together: a client that sends what nobody needs; the inspector shows messages per member.",
            ),
            bytes_received: r.counter(
                "bytes_received",
                "Message bytes received from clients",
                "A rise without more edits: clients that send whole documents, such as pages that reload often.",
            ),
            flush_bytes: r.histogram(
                "flush_bytes",
                exponential_buckets(64.0, 4.0, 10),
                "Bytes of one flush, counted once however many members receive it",
                "Large flushes are pasted or generated content; they are what slow networks fall behind on.",
            ),
            append_bytes: r.counter("append_bytes", "Update bytes made durable", "Plan disk space by it: history says how long it stays."),
            http_requests: r.family(
                "http_requests",
                &["route", "status"],
                "HTTP requests by route and status",
                "5xx are for you, 4xx for whoever calls: 401 and 403 are tokens and grants, 429 the limits address-request-rate, user-request-rate and \
                 address-byte-rate.",
            ),
            pushed_points: r.counter("pushed_points", "Points that programs pushed for widgets", "Nothing: this is the load of pushed data."),
            outbox_bytes: r.about(DROPS).gauge(
                "outbox_bytes",
                "Bytes that wait to be written to sockets",
                "Some MiB are a burst. A steady rise means networks, or a proxy, that take less than rooms produce; each member is bounded by \
                 outbox-bytes-max.",
            ),
            resyncs: r.counter(
                "resyncs",
                "Slow members whose waiting messages were dropped and who got one difference for them",
                "Nothing is lost. A steady rate means clients on slow networks or frozen tabs, or an outbox-bytes-max that is too small for these \
                 dashboards.",
            ),
            bus_dropped: r.counter(
                "bus_dropped",
                "Messages to other nodes that were dropped: the bus was away, or too much waited for it",
                "Nothing is lost, since nodes compare what they have afterwards. A steady rate means that the bus' Redis is too slow or the network to \
                 it too narrow.",
            ),
            refusals: r.about(FAILURES).counters(
                "refusals",
                "Messages and requests that were refused, by the rule",
                "The values below say what each rule is and which settings decide. At the default level the log says once a minute what was refused.",
            ),
            store_up: r.gauge(
                "store_up",
                "Whether the store takes edits",
                "At 0: free disk space, or bring Redis back. Members go on editing, nothing is called saved, and closed dashboards cannot be opened. No \
                 restart is needed afterwards.",
            ),
            appends_failed: r.counter(
                "appends_failed",
                "Attempts to make edits durable that the store did not take",
                "See ydash_store_up. Edits are kept in memory and tried again.",
            ),
            snapshots_failed: r.counter(
                "snapshots_failed",
                "Snapshots that the store did not take",
                "Logs grow and dashboards load more slowly until one succeeds. The log says why.",
            ),
            seals_failed: r.counter(
                "seals_failed",
                "Logs that were to be sealed into history and were not",
                "Nothing is lost: the log stays, and the next snapshot tries again. If it goes on, the store is short of space; the log says why.",
            ),
            compactions_failed: r.counter(
                "compactions_failed",
                "Times that a document's garbage could not be collected",
                "All bytes are kept, so the dashboard stays larger than it has to be. A few under load are harmless.",
            ),
            store_losses: r.counter(
                "store_losses",
                "Rooms that found that the store had lost what was durable, and put back what they had",
                "Any at all: the store does not keep what it promises. Check appendfsync and failovers of Redis, or the disk.",
            ),
            store_missing: r.gauge(
                "store_missing",
                "Log entries that the store had lost when it was opened, and other losses, each counted once",
                "Run `ydash doctor`: it names the dashboards. Restore them from a backup with `ydash import`, which merges.",
            ),
            rooms_quarantined: r.counter(
                "rooms_quarantined",
                "Dashboards that were closed for ten minutes because their room failed again after a reload",
                "Any at all is a defect: keep the ERROR lines and `ydash export --dashboard` of it, and report them.",
            ),
            held_updates: r.about(CONFLICTS).gauge(
                "held_updates",
                "Edits that wait for an earlier edit that has not arrived",
                "It falls back within seconds, or the edits are refused (reason `held`). Content that contradicts what was saved is refused with reason \
                 `content_differs` and kept for `ydash export`.",
            ),
            memory_bytes: r.about(MEMORY).gauges(
                "memory_bytes",
                "Memory that clients make the process use, by what it is for",
                "The sum is bounded by memory-max. When it is reached, large messages are refused with reason `memory`.",
            ),
            room_bytes: r.gauge("room_bytes", "Memory of live rooms", "Bounded by room-memory: beyond it, empty rooms leave early."),
            pushed_bytes: r.gauge(
                "pushed_bytes",
                "Memory of pushed points that are kept for widgets",
                "Bounded; the oldest points go first.",
            ),
            nodes: r.about(NODES).gauge(
                "nodes",
                "Nodes believed to live, this one included",
                "Fewer than you run: a node is down or cannot reach the bus. Nodes that disagree about the number are partitioned.",
            ),
            bus_up: r.gauge(
                "bus_up",
                "Whether every connection of the bus is there; 0 without a bus",
                "At 0 with several nodes, members on different nodes do not see each other's edits until it is back; then everything merges.",
            ),
            bus_reconnects: r.counter(
                "bus_reconnects",
                "Connections of the bus that broke",
                "A steady rate: Redis closes them (client-output-buffer-limit pubsub, timeout), or a network in between does.",
            ),
            bus_published: r.counter("bus_published", "Messages published to other nodes", "Nothing: this is the load between nodes."),
            bus_heard: r.counter("bus_heard", "Messages heard from other nodes", "Nothing: this is the load between nodes."),
            bus_asked: r.counter(
                "bus_asked",
                "Questions to other nodes for missing content",
                "A few after reconnects heal what was lost. A steady rate goes with ydash_bus_dropped_total.",
            ),
            bus_garbage: r.counter(
                "bus_garbage",
                "Messages from other nodes that could not be read and were skipped",
                "Any at all: something else publishes on the same channels, or nodes of incompatible versions share a Redis.",
            ),
            bus_bytes_published: r.counter(
                "bus_bytes_published",
                "Bytes published on the bus",
                "Compare with the network to Redis; presence of large rooms is most of it.",
            ),
            bus_bytes_heard: r.counter(
                "bus_bytes_heard",
                "Bytes heard on the bus, own messages included",
                "Compare with the network to Redis.",
            ),
            spans_dropped: r.about(PROCESS).counter(
                "spans_dropped",
                "Parts of traces that were dropped because more came than the collector was sent",
                "Lower trace-sample. Nothing else is affected.",
            ),
            process: process::registry(),
            registry: Registry::default(),
            reference: Reference::default(),
        };
        r.about(PROCESS).build(
            "build_info",
            "Which version this is",
            "Nodes of different versions should not last longer than a rolling update.",
        );
        let (registry, reference) = registrar.finish();
        let metrics = Metrics { registry, reference, ..metrics };
        metrics.store_up.set(1);
        metrics.nodes.set(1);
        metrics
    }

    /// Counts a session's end. `code` is the close code that this side sent or received, 1006 if none was.
    ///
    /// A code that is not in docs/PROTOCOL.md counts as `other`: clients choose theirs.
    pub fn session_closed(&self, code: u16) {
        let code = if CLOSE_CODES.contains(&code) { Cow::Owned(code.to_string()) } else { Cow::Borrowed("other") };
        self.sessions_closed.get_or_create(&[("code", code)]).inc();
    }

    /// Counts an answered HTTP request.
    pub fn http_request(&self, route: Route, status: u16) {
        let labels = [("route", Cow::Borrowed(route.as_str())), ("status", Cow::Owned(status.to_string()))];
        self.http_requests.get_or_create(&labels).inc();
    }

    /// What `/metrics` answers.
    #[must_use]
    pub fn expose(&self, format: Exposition) -> String {
        let mut text = String::with_capacity(32 << 10);
        let infallible = "writing to a String cannot fail";
        encode_registry(&mut text, &self.registry).expect(infallible);
        encode_registry(&mut text, &self.process).expect(infallible);
        match format {
            Exposition::OpenMetrics => encode_eof(&mut text).expect(infallible),
            Exposition::Prometheus => text = self.as_prometheus(&text),
        }
        text
    }

    /// The same in the older format, in which a counter is declared under the name of its sample.
    fn as_prometheus(&self, text: &str) -> String {
        let counters: std::collections::HashSet<&str> = self.reference.counters().collect();
        let mut older = String::with_capacity(text.len() + (4 << 10));
        for line in text.lines() {
            let declared = line.strip_prefix("# ").and_then(|rest| {
                let (what, rest) = rest.split_once(' ')?;
                let (name, rest) = rest.split_once(' ')?;
                let total = format!("{name}_total");
                counters.contains(total.as_str()).then(|| format!("# {what} {total} {rest}"))
            });
            let _ = writeln!(older, "{}", declared.as_deref().unwrap_or(line));
        }
        older
    }

    /// `docs/METRICS.md`: every metric, what it means, and what to do about it.
    #[must_use]
    pub fn reference(&self) -> String {
        self.reference.page()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// How numbers are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4, for tools that ask for plain text, such as promtool.
    Prometheus,
}

impl Exposition {
    /// By what a request's Accept header says. Prometheus names both.
    #[must_use]
    pub fn accepted(accept: &str) -> Exposition {
        let is_named = |kind: &str| accept.contains(kind);
        if is_named("text/plain") && !is_named("application/openmetrics-text") {
            Exposition::Prometheus
        } else {
            Exposition::OpenMetrics
        }
    }

    /// Its content type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The sections of the reference, by what operators ask about.
const LATENCY: &str = "Latency";
const PROCESSING: &str = "Processing time";
const SYNC: &str = "Sync latency";
const CONNECTIONS: &str = "Connections and users";
const OPERATIONS: &str = "Operations";
const DROPS: &str = "Drops and slow readers";
const FAILURES: &str = "Failures and refusals";
const CONFLICTS: &str = "Conflicts held";
const MEMORY: &str = "Memory";
const NODES: &str = "Several nodes";
const PROCESS: &str = "Process";

/// Codes with a series of their own: RFC 6455 §7.4.1 and docs/PROTOCOL.md.
const CLOSE_CODES: &[u16] =
    &[1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4404, 4413, 4500, 4501, 4508];

/// From `first` in steps of two, 14 of them: a quarter millisecond reaches to two seconds, a millisecond to eight.
fn seconds(first: f64) -> impl Iterator<Item = f64> {
    exponential_buckets(first, 2.0, 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_exposed_under_its_name() {
        let metrics = Metrics::new();
        metrics.sessions.inc();
        metrics.joins.inc_by(3);
        metrics.refusals.inc(Refusal::Rate);
        metrics.updates.inc_by(UpdateSource::Rest, 2);
        metrics.flush_seconds.observe(0.003);
        metrics.session_closed(1012);
        metrics.session_closed(3999);
        metrics.http_request(Route::Page, 200);
        let text = metrics.expose(Exposition::OpenMetrics);
        for line in [
            "ydash_sessions 1",
            "ydash_joins_total 3",
            "ydash_refusals_total{reason=\"rate\"} 1",
            "ydash_refusals_total{reason=\"stuck\"} 0",
            "ydash_updates_total{source=\"rest\"} 2",
            "ydash_flush_seconds_count 1",
            "ydash_sessions_closed_total{code=\"1012\"} 1",
            "ydash_sessions_closed_total{code=\"other\"} 1",
            "ydash_http_requests_total{route=\"page\",status=\"200\"} 1",
            "ydash_store_up 1",
            "ydash_memory_bytes{kind=\"messages\"} 0",
            "ydash_join_seconds_count{part=\"open\"} 0",
            concat!("ydash_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn refusals_are_told_once() {
        let refusals = Metrics::new().refusals;
        let mut told = RefusalsTold::default();
        assert_eq!(told.news(&refusals), []);
        refusals.inc_by(Refusal::Origin, 2);
        refusals.inc(Refusal::Idle);
        assert_eq!(told.news(&refusals), [(Refusal::Origin, 2)]);
        assert_eq!(told.news(&refusals), []);
        refusals.inc(Refusal::Origin);
        refusals.inc(Refusal::BadName);
        assert_eq!(told.news(&refusals), [(Refusal::BadName, 1), (Refusal::Origin, 1)]);
    }

    #[test]
    fn labels_know_their_place() {
        for (i, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.index(), i);
        }
    }
}
