//! What the process counts about itself, in Prometheus' words.
//!
//! [`Metrics`] is made once and shared by reference. Every field is a cheap handle: a counter or gauge is one atomic add, a
//! histogram takes a short uncontended lock and so is observed per flush, append or load, never per frame or delivery. Labels
//! come from the closed enums below, so no client can make a series. No dashboard, user or address is ever a label.
//!
//! Names are `ydash_subject_unit[_total]`; the crate appends `_total` to counters.

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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
}

/// Declares an enum that is a [`Label`]: variants, what they mean and how they are shown, once.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident as $label:literal { $($(#[$variant_doc:meta])* $variant:ident = $shown:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$($name::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $($name::$variant => $shown,)* }
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
    /// Why a room left memory.
    Eviction as "why" {
        /// Nobody was in it for `room-idle`.
        Idle = "idle",
        /// The rooms together outgrew `room-memory`.
        Memory = "memory",
        /// The node drains.
        Drain = "drain",
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
        /// `GET /api/openapi.json`.
        OpenApi = "openapi",
        /// `GET /api/dashboards/…`.
        Dashboard = "dashboard",
        /// `/api/dashboards/…/widgets/…`.
        Widgets = "widgets",
        /// `GET /api/dashboards/…/state`.
        State = "state",
        /// `POST /api/dashboards/…/updates`.
        Updates = "updates",
        /// `POST /api/dashboards/…/stateless`.
        Stateless = "stateless",
        /// `POST /api/dashboards/…/widgets/<id>/data`, `GET /api/dashboards/…/pushed`.
        Pushed = "pushed",
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

    fn register(registry: &mut Registry, name: &str, help: &str) -> CounterBy<L> {
        let family = family(registry, name, help);
        let counters = L::ALL
            .iter()
            .map(|label| family.get_or_create_owned(&[(L::NAME, Cow::Borrowed(label.as_str()))]))
            .collect();
        CounterBy { counters, label: PhantomData }
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

    fn register(registry: &mut Registry, name: &str, help: &str) -> GaugeBy<L> {
        let family = Family::<Labels<1>, Gauge>::default();
        registry.register(name, help, family.clone());
        let gauge = |label: &L| family.get_or_create_owned(&[(L::NAME, Cow::Borrowed(label.as_str()))]);
        GaugeBy { gauges: L::ALL.iter().map(gauge).collect(), label: PhantomData }
    }
}

/// The process' metrics. See the module's introduction for what observing costs.
pub struct Metrics {
    /// Sockets that are open: counted from the upgrade until the last byte.
    pub sessions: Gauge,
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
    /// Rooms quarantined because they died again right after a reload.
    pub rooms_quarantined: Counter,
    sessions_closed: Family<Labels<1>, Counter>,
    http_requests: Family<Labels<2>, Counter>,
    registry: Registry,
}

/// Label names with their values.
type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

impl Metrics {
    /// Makes and registers everything.
    #[must_use]
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("ydash");
        let r = &mut registry;
        let metrics = Metrics {
            sessions: gauge(r, "sessions", "Open sockets"),
            rooms: gauge(r, "rooms", "Rooms live on this node"),
            room_bytes: gauge(r, "room_bytes", "Bytes that live rooms hold"),
            memory_bytes: GaugeBy::register(r, "memory_bytes", "Memory that clients make the process use"),
            joins: counter(r, "joins", "Sessions that entered a room"),
            frames_received: counter(r, "frames_received", "Messages received from clients"),
            bytes_received: counter(r, "bytes_received", "Message bytes received from clients"),
            updates: CounterBy::register(r, "updates", "Updates that added something to a document"),
            deliveries: counter(r, "deliveries", "Updates handed to receiving members"),
            awareness: counter(r, "awareness", "Awareness entries accepted"),
            flush_bytes: histogram(r, "flush_bytes", "Bytes of one flush", exponential_buckets(64.0, 4.0, 10)),
            flush_seconds: histogram(r, "flush_seconds", "From first input to outboxes", seconds(0.000_25)),
            append_seconds: histogram(r, "append_seconds", "From append to durable", seconds(0.001)),
            append_bytes: counter(r, "append_bytes", "Update bytes made durable"),
            appends_failed: counter(r, "appends_failed", "Appends that the store did not take"),
            load_seconds: histogram(r, "load_seconds", "From first opener to live room", seconds(0.001)),
            outbox_bytes: gauge(r, "outbox_bytes", "Bytes that wait in outboxes"),
            resyncs: counter(r, "resyncs", "Slow members brought up to date by one diff"),
            evictions: CounterBy::register(r, "evictions", "Rooms that left memory"),
            refusals: CounterBy::register(r, "refusals", "What was not taken from clients, by rule"),
            snapshots: counter(r, "snapshots", "Snapshots written"),
            snapshots_failed: counter(r, "snapshots_failed", "Snapshots that the store did not take"),
            store_losses: counter(r, "store_losses", "Rooms that put back what the store had lost"),
            compactions: counter(r, "compactions", "Documents compacted"),
            compactions_failed: counter(r, "compactions_failed", "Compactions given up"),
            pushed_points: counter(r, "pushed_points", "Points that programs pushed for widgets"),
            pushed_bytes: gauge(r, "pushed_bytes", "Memory of pushed points that are kept for widgets"),
            documents_read: counter(r, "documents_read", "Documents read item by item for REST"),
            held_updates: gauge(r, "held_updates", "Updates that wait behind a hole"),
            store_missing: gauge(
                r,
                "store_missing",
                "Log entries that the store has lost, and other losses, each counted once",
            ),
            store_up: gauge(r, "store_up", "Whether the store takes appends"),
            bus_published: counter(r, "bus_published", "Messages published to other nodes"),
            bus_heard: counter(r, "bus_heard", "Messages heard from other nodes"),
            bus_garbage: counter(r, "bus_garbage", "Messages from other nodes that were skipped"),
            bus_asked: counter(r, "bus_asked", "Questions to other nodes for missing content"),
            bus_dropped: counter(r, "bus_dropped", "Messages to other nodes that were dropped"),
            bus_bytes_published: counter(r, "bus_bytes_published", "Bytes published on the bus"),
            bus_bytes_heard: counter(r, "bus_bytes_heard", "Bytes heard on the bus, own messages included"),
            bus_reconnects: counter(r, "bus_reconnects", "Connections of the bus that broke"),
            bus_up: gauge(r, "bus_up", "Whether every connection of the bus is there"),
            nodes: gauge(r, "nodes", "Nodes believed to live, this one included"),
            rooms_quarantined: counter(r, "rooms_quarantined", "Rooms quarantined after dying again"),
            sessions_closed: family(r, "sessions_closed", "Sessions that ended, by close code"),
            http_requests: family(r, "http_requests", "HTTP requests by route and status"),
            registry,
        };
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

    /// The exposition that `/metrics` answers, in the OpenMetrics text format.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
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

/// The content type of [`Metrics::expose`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Codes with a series of their own: RFC 6455 §7.4.1 and docs/PROTOCOL.md.
const CLOSE_CODES: &[u16] =
    &[1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4404, 4413, 4500, 4501, 4508];

/// From `first` in steps of two, 14 of them: a quarter millisecond reaches to two seconds, a millisecond to eight.
fn seconds(first: f64) -> impl Iterator<Item = f64> {
    exponential_buckets(first, 2.0, 14)
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn histogram(registry: &mut Registry, name: &str, help: &str, buckets: impl Iterator<Item = f64>) -> Histogram {
    let histogram = Histogram::new(buckets);
    registry.register(name, help, histogram.clone());
    histogram
}

fn family<const N: usize>(registry: &mut Registry, name: &str, help: &str) -> Family<Labels<N>, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
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
        let text = metrics.expose();
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
