//! Which other nodes live, as far as this one can tell: a state machine without clock or connection.
//!
//! A node that says nothing for the length of its lease is suspected; when its lease in Redis has lapsed as well, it is gone.
//! Silence is counted in heartbeats of this node's own that came back over the same channel meanwhile: while Redis is away, or
//! this node itself was stopped, nothing is heard and nobody is declared gone. What comes after counts from zero.

use crate::id::NodeId;
use crate::limits::bus::{GONE_MAX, NODES_MAX};
use crate::time::Timestamp;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How often a node says that it lives, and renews its lease.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a node may be silent. A killed node's presence is to be gone within 5 s.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long nobody is suspected after this node could hear nothing: the others have to find their way back, too.
const GRACE: Duration = Duration::from_secs(3);
/// Own heartbeats that came back before silence counts as such.
const ECHOES: u32 = 3;
/// A tick that comes this late was held up: the process was stopped, or the machine slept.
const STALLED: Duration = Duration::from_secs(2);

/// The nodes on the bus beside this one; `I` is what each says of itself.
#[derive(Debug)]
pub struct Membership<I> {
    nodes: BTreeMap<NodeId, Seen<I>>,
    gone: VecDeque<NodeId>,
    /// Nobody is suspected before. `None` while nothing is heard at all.
    listens_from: Option<Timestamp>,
    ticked_at: Timestamp,
}

#[derive(Debug)]
struct Seen<I> {
    heard_at: Timestamp,
    /// Own heartbeats that came back since.
    echoes: u32,
    is_checked: bool,
    info: Option<I>,
}

/// What is known of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownNode<I> {
    /// Which.
    pub node: NodeId,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// What it said of itself last; `None` when it has only been heard on a dashboard.
    pub info: Option<I>,
}

/// What hearing of a node led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeNews {
    /// It was known.
    Known,
    /// It is news.
    New,
    /// It was taken for gone, wrongly.
    Again,
    /// Too many are known: it is ignored.
    TooMany,
}

/// What a tick led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// This node was held up: others may have taken it for gone, and it has missed what they said.
    pub has_stalled: bool,
    /// Nodes whose lease is to be looked up; [`Membership::lease`] takes the answer.
    pub suspected: Vec<NodeId>,
}

impl<I: Clone> Membership<I> {
    /// Nobody is known.
    pub fn new(now: Timestamp) -> Membership<I> {
        Membership { nodes: BTreeMap::new(), gone: VecDeque::new(), listens_from: None, ticked_at: now }
    }

    /// The channel of heartbeats is heard again, or is not any more.
    pub fn connected(&mut self, now: Timestamp, is_connected: bool) {
        self.listens_from = is_connected.then_some(now);
        self.start_over(now);
    }

    /// A node said something on any channel; `info` when it was a heartbeat.
    pub fn heard(&mut self, now: Timestamp, node: NodeId, info: Option<I>) -> NodeNews {
        if let Some(seen) = self.nodes.get_mut(&node) {
            (seen.heard_at, seen.echoes, seen.is_checked) = (now, 0, false);
            seen.info = info.or(seen.info.take());
            return NodeNews::Known;
        }
        if self.nodes.len() >= NODES_MAX {
            return NodeNews::TooMany;
        }
        self.nodes.insert(node, Seen { heard_at: now, echoes: 0, is_checked: false, info });
        match self.gone.iter().position(|other| *other == node) {
            Some(at) => {
                self.gone.remove(at);
                NodeNews::Again
            }
            None => NodeNews::New,
        }
    }

    /// A node said that it leaves. Says whether it was known.
    pub fn left(&mut self, node: NodeId) -> bool {
        self.nodes.remove(&node).is_some()
    }

    /// A heartbeat of this node came back.
    pub fn echoed(&mut self) {
        for seen in self.nodes.values_mut() {
            // Whoever reaches the server can repeat this node's heartbeats.
            seen.echoes = seen.echoes.saturating_add(1);
        }
    }

    /// Looks who is silent. To be called several times a second.
    pub fn tick(&mut self, now: Timestamp) -> Ticked {
        let has_stalled = now.since(self.ticked_at) >= STALLED;
        self.ticked_at = now;
        if has_stalled {
            self.start_over(now);
        }
        let Some(listens_from) = self.listens_from else { return Ticked { has_stalled, suspected: Vec::new() } };
        let is_silent = |seen: &Seen<I>| {
            let since = seen.heard_at.max(listens_from);
            seen.echoes >= ECHOES && now.since(since) >= LEASE && !seen.is_checked
        };
        let mut suspected = Vec::new();
        for (&node, seen) in &mut self.nodes {
            if now >= listens_from && is_silent(seen) {
                seen.is_checked = true;
                suspected.push(node);
            }
        }
        Ticked { has_stalled, suspected }
    }

    /// What became of the lease of one that was suspected; `None` when that could not be found out. Says whether it is gone.
    pub fn lease(&mut self, node: NodeId, is_held: Option<bool>) -> bool {
        let Some(seen) = self.nodes.get_mut(&node).filter(|seen| seen.is_checked) else { return false };
        if is_held != Some(false) {
            seen.is_checked = false; // Asked again at the next tick.
            return false;
        }
        self.nodes.remove(&node);
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(node);
        true
    }

    /// Everybody who is known.
    pub fn known(&self) -> impl Iterator<Item = KnownNode<I>> {
        self.nodes.iter().map(|(&node, seen)| KnownNode { node, heard_at: seen.heard_at, info: seen.info.clone() })
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    fn start_over(&mut self, now: Timestamp) {
        let grace = if self.nodes.is_empty() { Duration::ZERO } else { GRACE };
        self.listens_from = self.listens_from.map(|_| now + grace);
        for seen in self.nodes.values_mut() {
            (seen.echoes, seen.is_checked) = (0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: NodeId = NodeId(1);
    const TICK: Duration = Duration::from_millis(250);

    /// A membership that listens, and has heard of one other node just now.
    fn listening() -> (Membership<()>, Timestamp) {
        let now = Timestamp(5_000);
        let mut membership = Membership::new(now);
        membership.connected(now, true);
        let mut now = now;
        for _ in 0..4 * GRACE.as_secs() {
            now = now + TICK;
            membership.tick(now);
        }
        assert_eq!(membership.heard(now, ANN, None), NodeNews::New);
        (membership, now)
    }

    /// Ticks for `time`, with an echo each second if `echoes`. Says when somebody was suspected first.
    fn pass(membership: &mut Membership<()>, now: &mut Timestamp, time: Duration, echoes: bool) -> Option<Duration> {
        let began = *now;
        while *now < began + time {
            *now = *now + TICK;
            if echoes && now.since(began).as_millis().is_multiple_of(1000) {
                membership.echoed();
            }
            if !membership.tick(*now).suspected.is_empty() {
                return Some(now.since(began));
            }
        }
        None
    }

    #[test]
    fn a_silent_node_whose_lease_has_lapsed_is_gone_within_four_seconds() {
        let (mut membership, mut now) = listening();
        let suspected = pass(&mut membership, &mut now, Duration::from_secs(10), true).expect("it is suspected");
        assert!((LEASE..LEASE + Duration::from_secs(1)).contains(&suspected), "{suspected:?}");
        assert!(membership.lease(ANN, Some(false)));
        assert_eq!(membership.count(), 0);
        assert_eq!(membership.heard(now, ANN, None), NodeNews::Again);
        assert_eq!(membership.heard(now, ANN, None), NodeNews::Known);
    }

    #[test]
    fn one_that_holds_its_lease_or_cannot_be_asked_about_stays() {
        let (mut membership, mut now) = listening();
        for answer in [Some(true), None] {
            assert!(pass(&mut membership, &mut now, Duration::from_secs(10), true).is_some());
            assert!(!membership.lease(ANN, answer));
        }
        membership.tick(now);
        membership.heard(now, ANN, None);
        assert!(!membership.lease(ANN, Some(false)), "it has spoken while it was asked about");
        assert_eq!(membership.count(), 1);
    }

    #[test]
    fn nobody_is_suspected_while_own_heartbeats_do_not_come_back() {
        let (mut membership, mut now) = listening();
        assert_eq!(pass(&mut membership, &mut now, Duration::from_secs(60), false), None);
        membership.connected(now, false);
        assert_eq!(pass(&mut membership, &mut now, Duration::from_secs(60), true), None);
    }

    #[test]
    fn who_comes_back_after_an_outage_has_time_to_do_so() {
        let (mut membership, mut now) = listening();
        membership.connected(now, false);
        pass(&mut membership, &mut now, Duration::from_secs(20), false);
        membership.connected(now, true);
        let suspected = pass(&mut membership, &mut now, Duration::from_secs(20), true).expect("it stays silent");
        assert!(suspected >= GRACE + LEASE, "{suspected:?}");
    }

    #[test]
    fn one_that_was_held_up_itself_blames_nobody_and_knows_it() {
        let (mut membership, mut now) = listening();
        now = now + Duration::from_secs(20);
        // What waited in its socket comes all at once.
        (0..20).for_each(|_| membership.echoed());
        assert_eq!(membership.tick(now), Ticked { has_stalled: true, suspected: Vec::new() });
        let suspected = pass(&mut membership, &mut now, Duration::from_secs(20), true).expect("it stays silent");
        assert!(suspected >= GRACE + LEASE, "{suspected:?}");
    }

    #[test]
    fn one_that_leaves_is_not_taken_for_gone() {
        let (mut membership, now) = listening();
        assert!(membership.left(ANN) && !membership.left(ANN));
        assert_eq!(membership.heard(now, ANN, None), NodeNews::New);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let (mut membership, now) = listening();
        for node in 0..2 * NODES_MAX as u64 {
            membership.heard(now, NodeId(node), None);
        }
        assert_eq!(membership.count(), NODES_MAX);
        assert_eq!(membership.heard(now, NodeId(u64::MAX), None), NodeNews::TooMany);
    }
}
