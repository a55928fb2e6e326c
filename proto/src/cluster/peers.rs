//! Who else has one dashboard open, as far as the bus can tell: a state machine without clock or connection.
//!
//! Whoever subscribes says *hello*, whoever has the dashboard open answers *here*, and says *bye* when it closes. The server counts
//! who listens when the hello is published, so one that is alone knows at once. What is in doubt counts as a peer.

use crate::id::NodeId;
use crate::limits::bus::{DROPPED_MAX, NODES_MAX};
use crate::time::Timestamp;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How long those who listen may take to answer a hello, and how long those who were here before the connection broke may take
/// to come back. Longer than a reconnect takes: nobody's presence is to flicker when Redis restarts.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The others on one dashboard.
#[derive(Debug, Default)]
pub struct Peers {
    others: BTreeMap<NodeId, Standing>,
    /// Nodes that said bye since the last hello: they may have been counted as listeners.
    left: usize,
    /// How many were to answer the last hello.
    expected: usize,
    /// Until when answers are waited for.
    settles_at: Option<Timestamp>,
    is_connected: bool,
    had_others: bool,
    /// Nodes that were taken for gone without their word: should one speak again, it must know.
    dropped: VecDeque<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Heard of since the last hello.
    Confirmed,
    /// Was here before the connection broke.
    Before,
}

/// What hearing of a node led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// It was taken for gone, and has to know that.
    pub was_dropped: bool,
}

impl Peers {
    /// Whether another node has the dashboard open; `true` when in doubt.
    pub fn has_others(&self) -> bool {
        !self.is_connected || self.settles_at.is_some() || !self.others.is_empty()
    }

    /// Whether another node has had it open at any time; `true` when in doubt. What is in doubt only between subscribing and
    /// the answer to that does not count.
    pub fn has_had_others(&self) -> bool {
        self.had_others || self.has_others()
    }

    /// Whether anything is heard.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The subscription is confirmed, and a hello was published that `listeners` others heard, if that is known.
    pub fn subscribed(&mut self, now: Timestamp, listeners: Option<usize>) {
        self.is_connected = true;
        self.expected = listeners.unwrap_or(usize::MAX);
        self.settles_at = Some(now + ANSWER_WITHIN);
        self.settle_early();
    }

    /// The connection is gone: what happens now is not heard.
    pub fn disconnected(&mut self) {
        self.is_connected = false;
        self.had_others = true;
        self.ask_again();
    }

    /// A hello is on its way once more: whoever was here is to say so.
    pub fn ask_again(&mut self) {
        self.left = 0;
        self.settles_at = None;
        self.others.values_mut().for_each(|standing| *standing = Standing::Before);
    }

    /// A node said something.
    pub fn met(&mut self, node: NodeId) -> Met {
        if self.others.len() >= NODES_MAX && !self.others.contains_key(&node) {
            return Met::default();
        }
        self.others.insert(node, Standing::Confirmed);
        self.had_others = true;
        let dropped = self.dropped.iter().position(|other| *other == node);
        dropped.map(|at| self.dropped.remove(at));
        self.settle_early();
        Met { was_dropped: dropped.is_some() }
    }

    /// A node said bye. Says whether it was here.
    pub fn left(&mut self, node: NodeId) -> bool {
        self.left = self.left.saturating_add(1);
        let was_here = self.others.remove(&node).is_some();
        self.settle_early();
        was_here
    }

    /// A node is silent everywhere and its lease has lapsed. Says whether it was here.
    pub fn gone(&mut self, node: NodeId) -> bool {
        let was_here = self.others.remove(&node).is_some();
        if was_here {
            self.drop_one(node);
        }
        self.settle_early();
        was_here
    }

    /// Whether a node was taken for gone.
    pub fn has_dropped(&self, node: NodeId) -> bool {
        self.dropped.contains(&node)
    }

    /// When [`Peers::settle`] has something to do.
    pub fn settles_at(&self) -> Option<Timestamp> {
        self.settles_at
    }

    /// Waits no longer: who was here before and did not come back is gone. Says who.
    pub fn settle(&mut self, now: Timestamp) -> Vec<NodeId> {
        if self.settles_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.settles_at = None;
        let silent = |(node, standing): (&NodeId, &Standing)| (*standing == Standing::Before).then_some(*node);
        let gone: Vec<NodeId> = self.others.iter().filter_map(silent).collect();
        for &node in &gone {
            self.others.remove(&node);
            self.drop_one(node);
        }
        gone
    }

    /// Everybody who was to answer has, and everybody who was here is back: nothing is in doubt.
    fn settle_early(&mut self) {
        let confirmed = self.others.values().filter(|standing| **standing == Standing::Confirmed).count();
        if self.left.saturating_add(confirmed) >= self.expected && confirmed == self.others.len() {
            self.settles_at = None;
        }
    }

    fn drop_one(&mut self, node: NodeId) {
        if self.dropped.len() >= DROPPED_MAX {
            self.dropped.pop_front();
        }
        self.dropped.push_back(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: NodeId = NodeId(1);
    const BEN: NodeId = NodeId(2);

    fn subscribed(listeners: usize) -> (Peers, Timestamp) {
        let (mut peers, now) = (Peers::default(), Timestamp(5_000));
        peers.subscribed(now, Some(listeners));
        (peers, now)
    }

    #[test]
    fn one_whom_nobody_listens_to_is_alone_at_once() {
        let (peers, _) = subscribed(0);
        assert!(!peers.has_others() && !peers.has_had_others());
    }

    #[test]
    fn who_listens_counts_until_it_has_answered_or_left() {
        let (mut peers, _) = subscribed(2);
        assert!(peers.has_others());
        peers.met(ANN);
        assert!(peers.settles_at().is_some(), "one more is to answer");
        assert!(!peers.left(BEN), "it was about to leave");
        assert_eq!(peers.settles_at(), None);
        assert!(peers.left(ANN));
        assert!(!peers.has_others() && peers.has_had_others());
    }

    #[test]
    fn strangers_that_only_listen_are_doubted_for_a_while() {
        let (mut peers, now) = subscribed(1);
        assert_eq!(peers.settle(now), []);
        assert!(peers.has_others());
        assert_eq!(peers.settle(now + ANSWER_WITHIN), []);
        assert!(!peers.has_others());
    }

    #[test]
    fn nothing_is_known_while_disconnected_and_those_who_come_back_stay() {
        let (mut peers, now) = subscribed(0);
        peers.met(ANN);
        peers.met(BEN);
        peers.disconnected();
        assert!(peers.has_others());
        peers.subscribed(now, Some(0));
        assert!(peers.settles_at().is_some(), "they may be slower than this node");
        assert_eq!(peers.met(ANN), Met::default());
        assert_eq!(peers.settle(now + ANSWER_WITHIN), [BEN]);
        assert!(peers.has_others());
        assert_eq!(peers.met(BEN), Met { was_dropped: true });
        assert_eq!(peers.met(BEN), Met::default());
    }

    #[test]
    fn a_lone_node_that_was_disconnected_has_had_peers_for_all_it_knows() {
        let (mut peers, now) = subscribed(0);
        peers.disconnected();
        peers.subscribed(now, Some(0));
        assert!(!peers.has_others() && peers.has_had_others());
    }

    #[test]
    fn one_that_is_gone_is_remembered_and_one_that_left_is_not() {
        let (mut peers, _) = subscribed(0);
        peers.met(ANN);
        peers.met(BEN);
        assert!(peers.gone(ANN) && !peers.gone(ANN));
        assert!(peers.left(BEN));
        assert!(peers.has_dropped(ANN) && !peers.has_dropped(BEN));
        assert!(!peers.has_others());
        assert_eq!(peers.met(BEN), Met::default());
        assert!(peers.met(ANN).was_dropped);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut peers, _) = subscribed(0);
        for node in 0..2 * NODES_MAX as u64 {
            peers.met(NodeId(node));
        }
        assert_eq!(peers.others.len(), NODES_MAX);
        for node in 0..NODES_MAX as u64 {
            peers.gone(NodeId(node));
        }
        assert_eq!(peers.dropped.len(), DROPPED_MAX);
        assert!(peers.has_dropped(NodeId(NODES_MAX as u64 - 1)));
    }
}
