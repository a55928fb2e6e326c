//! What the connections, the heart and the subscriptions of one node share: which channel is whose, and which server carries it.
//!
//! Locks are taken in this order and never held across an await: lines, servers, then one line or one queue.

use super::frame;
use super::line::Line;
use super::link::Link;
use super::outgoing::Outgoing;
use crate::cluster::nodes::{NodeInfo, NodeStatus};
use crate::metrics::Metrics;
use crate::redis::{Place, Redis, Slots, slot_of};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tracing::{debug, info};
use ydash_proto::cluster::{AssemblyBudget, BusFrame, KnownNode, LEASE, Membership, NodeNews, Reply};
use ydash_proto::id::{DashboardId, NodeId};
use ydash_proto::time::Timestamp;

/// Longer than own heartbeats may stay away before the connection counts as broken.
const DEAF_AFTER: Duration = Duration::from_secs(4);

pub(super) struct Hub {
    pub(super) node: NodeId,
    pub(super) redis: Redis,
    pub(super) metrics: Arc<Metrics>,
    /// Where nodes speak of themselves.
    pub(super) nodes_channel: Arc<str>,
    nodes_slot: u16,
    own: NodeInfo,
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    servers: Mutex<Servers>,
    membership: Mutex<Membership<NodeInfo>>,
    budget: AssemblyBudget,
    /// Lines that do not know yet who is there, by when that ends.
    doubtful: Mutex<VecDeque<(Timestamp, Weak<Line>)>>,
    began: Instant,
    /// When an own heartbeat came back last, in milliseconds since `began`.
    echoed_at: AtomicU64,
    /// Somebody wants to know who is here.
    pub(super) asked: Notify,
    /// The map of servers may be wrong.
    pub(super) lost_its_way: Notify,
    /// A connection came up or went down.
    pub(super) changed: Notify,
    messages: AtomicU64,
}

/// Which server carries which slot, and the connection to each.
#[derive(Debug, Default)]
struct Servers {
    slots: Option<Slots>,
    links: HashMap<Place, Arc<Link>>,
}

impl Hub {
    pub(super) fn new(redis: Redis, own: NodeInfo, metrics: Arc<Metrics>) -> Hub {
        let nodes_channel: Arc<str> = redis.url().nodes_channel().into();
        let now = Instant::now();
        Hub {
            node: NodeId(fastrand::u64(1..)),
            nodes_slot: slot_of(nodes_channel.as_bytes()),
            nodes_channel,
            redis,
            metrics,
            own,
            lines: Mutex::default(),
            servers: Mutex::default(),
            membership: Mutex::new(Membership::new(Timestamp(0))),
            budget: AssemblyBudget::default(),
            doubtful: Mutex::default(),
            began: now,
            echoed_at: AtomicU64::new(0),
            asked: Notify::new(),
            lost_its_way: Notify::new(),
            changed: Notify::new(),
            messages: AtomicU64::new(0),
        }
    }

    /// The time that is told to what decides.
    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Begins to listen to a dashboard. What is returned second resolves when it is confirmed, or fails when it will not be soon.
    pub(super) fn open(&self, dashboard: &DashboardId) -> (Arc<Line>, oneshot::Receiver<()>) {
        let channel: Arc<str> = self.redis.url().dashboard_channel(dashboard).into();
        let slot = slot_of(channel.as_bytes());
        let line = Arc::new(Line::new(Arc::clone(&channel), slot));
        let (confirmed, confirmation) = oneshot::channel();
        let mut lines = self.lines();
        lines.insert(channel, Arc::clone(&line));
        // Still under the lock: what happens to a channel is queued in the order in which it happens.
        if let Some(link) = self.link_of(slot) {
            link.queue.push(Outgoing::Subscribe { line: Arc::clone(&line), confirmed: Some(confirmed) });
        }
        (line, confirmation)
    }

    /// Ends a subscription, unless another one has taken its place.
    pub(super) fn close(&self, line: &Arc<Line>) {
        let mut lines = self.lines();
        if lines.get(&line.channel).is_some_and(|current| Arc::ptr_eq(current, line)) {
            lines.remove(&line.channel);
            if let Some(link) = self.link_of(line.slot) {
                link.queue.push(Outgoing::Close(Arc::clone(line)));
            }
        }
    }

    /// Publishes an envelope, or drops and counts it.
    pub(super) fn publish(&self, line: &Line, envelope: Bytes) {
        let message = self.messages.fetch_add(1, Ordering::Relaxed);
        let frames: Vec<_> =
            BusFrame::carry(envelope, message).iter().map(|one| frame::encode(one, self.node)).collect();
        let count = frames.len() as u64;
        let is_taken = self.link_of(line.slot).is_some_and(|link| link.queue.publish(&line.channel, frames));
        if !is_taken {
            self.metrics.bus_dropped.inc_by(count);
        }
    }

    /// Takes what came on a channel.
    pub(super) fn heard(&self, channel: &str, payload: Bytes) {
        self.metrics.bus_bytes_heard.inc_by(payload.len() as u64);
        let (from, frame) = match frame::decode(&payload) {
            Ok(said) => said,
            Err(why) => {
                debug!(%why, "message on the bus skipped");
                self.metrics.bus_garbage.inc();
                return;
            }
        };
        let is_taken = if *channel == *self.nodes_channel {
            self.heard_of_nodes(from, &frame)
        } else if from == self.node {
            true
        } else {
            self.heard_on_line(channel, from, frame)
        };
        if !is_taken {
            debug!("message on the bus skipped: it does not belong there");
            self.metrics.bus_garbage.inc();
        }
    }

    fn heard_on_line(&self, channel: &str, from: NodeId, frame: BusFrame) -> bool {
        // What comes after a subscription has ended is nobody's.
        let Some(line) = self.lines().get(channel).cloned() else { return true };
        if !self.meet(from, None) {
            return false;
        }
        let Some(Reply { here, forgotten }) = line.hear(self.node, from, frame, &self.budget) else { return false };
        if here || forgotten {
            let Some(link) = self.link_of(line.slot) else { return true };
            if here {
                link.queue.push(Outgoing::Here(Arc::clone(&line)));
            }
            if forgotten {
                link.queue.push(Outgoing::Forgotten(line, from));
            }
        }
        true
    }

    fn heard_of_nodes(&self, from: NodeId, frame: &BusFrame) -> bool {
        let is_own = from == self.node;
        match frame {
            BusFrame::Heartbeat(_) if is_own => {
                self.echoed_at.store(self.now().0, Ordering::Release);
                self.membership().echoed();
                true
            }
            BusFrame::Heartbeat(said) => {
                serde_json::from_slice(said).is_ok_and(|info: NodeInfo| self.meet(from, Some(info)))
            }
            BusFrame::Hello => {
                self.asked.notify_one();
                true
            }
            BusFrame::Bye if is_own => true,
            BusFrame::Bye => {
                if self.membership().left(from) {
                    info!(node = %from, "node left");
                    self.count_nodes();
                }
                self.all_lines().iter().for_each(|line| line.left(from));
                true
            }
            _ => false,
        }
    }

    /// A node speaks. Says whether it is listened to.
    fn meet(&self, node: NodeId, info: Option<NodeInfo>) -> bool {
        let heard = self.membership().heard(self.now(), node, info);
        match heard {
            NodeNews::Known => {}
            NodeNews::TooMany => return false,
            NodeNews::New => {
                debug!(%node, "node met");
                self.count_nodes();
            }
            NodeNews::Again => {
                info!(%node, "node is back that was taken for gone");
                self.count_nodes();
                // Where it is still, it answers; then it is told.
                self.ask_again(self.all_lines().iter().filter(|line| line.has_dropped(node)));
            }
        }
        true
    }

    /// Looks who is silent, and ends doubts. Says whom to look up.
    pub(super) fn tick(&self) -> Vec<NodeId> {
        let now = self.now();
        let ticked = self.membership().tick(now);
        if ticked.has_stalled {
            info!("this node was held up: what it missed is asked for");
            self.was_away();
        }
        let mut doubtful = self.doubtful();
        // In the order of their ends: all last equally long.
        let due = doubtful.iter().take_while(|(until, _)| now >= *until).count();
        let due: Vec<_> = doubtful.drain(..due).collect();
        drop(doubtful);
        for line in due.into_iter().filter_map(|(_, line)| line.upgrade()) {
            line.settle(now);
        }
        ticked.suspected
    }

    /// What became of the lease of a node that was suspected; `None` when that could not be found out.
    pub(super) fn lease(&self, node: NodeId, is_held: Option<bool>) {
        if self.membership().lease(node, is_held) {
            info!(%node, "node is gone: silent, and its lease has lapsed");
            self.count_nodes();
            self.all_lines().iter().for_each(|line| line.gone(node));
        }
    }

    /// This node did not run, or its lease lapsed: others may have taken it for gone, and it may have missed something.
    pub(super) fn was_away(&self) {
        let lines = self.all_lines();
        lines.iter().for_each(|line| line.was_away());
        self.ask_again(lines.iter());
    }

    fn ask_again<'a>(&self, lines: impl Iterator<Item = &'a Arc<Line>>) {
        for line in lines {
            if let Some(link) = self.link_of(line.slot) {
                link.queue.push(Outgoing::Hello(Arc::clone(line)));
            }
        }
    }

    /// A connection is up: these are its lines.
    pub(super) fn connected(&self, link: &Link) -> Vec<Arc<Line>> {
        if self.carries_nodes(link) {
            self.membership().connected(self.now(), true);
            self.asked.notify_one();
        }
        self.show_up();
        self.lines_of(link)
    }

    /// A connection is gone, and nothing is heard over it.
    pub(super) fn disconnected(&self, link: &Link) {
        if self.carries_nodes(link) {
            self.membership().connected(self.now(), false);
        }
        self.metrics.bus_reconnects.inc();
        self.show_up();
        self.lines_of(link).iter().for_each(|line| line.disconnected());
    }

    /// A line is heard.
    pub(super) fn subscribed(&self, line: &Arc<Line>, listeners: Option<usize>) {
        if let Some(until) = line.subscribed(self.now(), listeners) {
            self.doubtful().push_back((until, Arc::downgrade(line)));
        }
    }

    /// Whether own heartbeats do not come back over a connection that has been there for long enough.
    pub(super) fn is_deaf(&self, link: &Link, now: Instant, connected_at: Instant) -> bool {
        let echoed_at = self.began + Duration::from_millis(self.echoed_at.load(Ordering::Acquire));
        self.carries_nodes(link) && now.saturating_duration_since(echoed_at.max(connected_at)) >= DEAF_AFTER
    }

    /// Whether the nodes' channel is on this server.
    pub(super) fn carries_nodes(&self, link: &Link) -> bool {
        self.servers().place(self.nodes_slot).is_some_and(|place| place == link.place)
    }

    /// The map of servers may be wrong.
    pub(super) fn look_for_servers(&self) {
        self.lost_its_way.notify_one();
    }

    /// Takes a map of servers. Returns the connections that are to be made; those that nobody needs any more are stopped.
    pub(super) fn found_servers(&self, slots: Slots) -> Vec<Arc<Link>> {
        let lines = self.lines();
        let mut servers = self.servers();
        let before = servers.slots.replace(slots);
        let places = servers.slots.as_ref().map(Slots::places).unwrap_or_default();
        servers.links.retain(|place, link| {
            let stays = places.contains(place);
            if !stays {
                link.stop.cancel();
            }
            stays
        });
        let mut new = Vec::new();
        for place in places {
            servers.links.entry(place.clone()).or_insert_with(|| {
                let link = Arc::new(Link::new(place));
                new.push(Arc::clone(&link));
                link
            });
        }
        for line in lines.values() {
            let was = before.as_ref().and_then(|slots| slots.place(line.slot));
            let is = servers.place(line.slot);
            if was != is {
                line.disconnected();
                if let Some(link) = is.and_then(|place| servers.links.get(&place)) {
                    link.queue.push(Outgoing::Subscribe { line: Arc::clone(line), confirmed: None });
                }
            }
        }
        new
    }

    /// Nothing is needed any more.
    pub(super) fn stop(&self) {
        self.servers().links.values().for_each(|link| link.stop.cancel());
    }

    /// Whether every server is connected.
    pub(super) fn is_connected(&self) -> bool {
        let servers = self.servers();
        !servers.links.is_empty() && servers.links.values().all(|link| link.queue.is_open())
    }

    /// Whether all that was to be said has been.
    pub(super) fn is_done(&self) -> bool {
        self.servers().links.values().all(|link| link.is_done())
    }

    /// Says something to all nodes.
    pub(super) fn tell_nodes(&self, frame: &BusFrame) {
        if let Some(link) = self.link_of(self.nodes_slot) {
            let _ = link.queue.publish(&self.nodes_channel, vec![frame::encode(frame, self.node)]); // The next one will do.
        }
    }

    /// What this node says of itself.
    pub(super) fn own_info(&self) -> NodeInfo {
        self.own.clone().counting(&self.metrics)
    }

    /// The key of this node's lease, or another's.
    pub(super) fn lease_key(&self, node: NodeId) -> String {
        self.redis.url().node_key(node)
    }

    /// All nodes that are known, this one first.
    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let lease = Some(millis(LEASE));
        let own = NodeStatus { id: self.node, is_own: true, info: Some(self.own_info()), silent_for: 0, lease };
        let now = self.now();
        let status = |KnownNode { node, heard_at, info }| {
            let silence = now.since(heard_at);
            let lease = Some(millis(LEASE.saturating_sub(silence)));
            NodeStatus { id: node, is_own: false, info, silent_for: millis(silence), lease }
        };
        core::iter::once(own).chain(self.membership().known().map(status)).collect()
    }

    fn lines_of(&self, link: &Link) -> Vec<Arc<Line>> {
        let lines = self.lines();
        let servers = self.servers();
        let is_its = |line: &&Arc<Line>| servers.place(line.slot).is_some_and(|place| place == link.place);
        lines.values().filter(is_its).cloned().collect()
    }

    fn all_lines(&self) -> Vec<Arc<Line>> {
        self.lines().values().cloned().collect()
    }

    fn link_of(&self, slot: u16) -> Option<Arc<Link>> {
        let servers = self.servers();
        servers.place(slot).and_then(|place| servers.links.get(&place).cloned())
    }

    fn count_nodes(&self) {
        self.metrics.nodes.set(1 + i64::try_from(self.membership().count()).unwrap_or(0));
    }

    fn show_up(&self) {
        self.metrics.bus_up.set(i64::from(self.is_connected()));
        self.changed.notify_waiters();
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn membership(&self) -> MutexGuard<'_, Membership<NodeInfo>> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubtful(&self) -> MutexGuard<'_, VecDeque<(Timestamp, Weak<Line>)>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Servers {
    fn place(&self, slot: u16) -> Option<Place> {
        self.slots.as_ref()?.place(slot)
    }
}
