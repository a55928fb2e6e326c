//! How nodes talk: the rooms of one dashboard on several nodes hear each other over a [`Bus`].
//!
//! A bus carries bytes and promises little: what it is given may be lost, doubled, late or out of order, and nothing waits for it.
//! What makes up for that is decided in [`ydash_proto::room`]: numbers per origin, questions by state vector, and the store. What
//! every bus promises:
//!
//! - [`Bus::publish`] never waits, and hands the same bytes at most once, in one hop, to each other node that subscribes; never back.
//! - What is published after [`Bus::subscribe`] has returned is heard, unless [`Heard::Lost`] says that something may be missing.
//! - When a subscription ends on a node, or the node does, the others hear [`Heard::Gone`], at the latest when its lease lapses.
//! - [`Subscription::has_others`] errs in one direction only: it says `true` when it does not know.
//!
//! [`envelope`] is what the bytes are, [`local`] is the bus within one process.

#[cfg(test)]
pub(crate) mod contract;
pub mod envelope;
mod inbox;
pub mod local;
pub mod nodes;
pub mod redis;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use ydash_proto::id::{DashboardId, NodeId};

pub use inbox::Inbox;
use nodes::NodeStatus;
pub use ydash_proto::cluster::Heard;

/// One node's way to the others. Cheap to share.
pub trait Bus: Send + Sync + 'static {
    /// Which node this is: no two that are on the bus at a time have the same.
    fn node(&self) -> NodeId;

    /// Begins to listen to what other nodes say about a dashboard. A node has one subscription per dashboard.
    ///
    /// Does not fail: a bus that is down says [`Heard::Lost`] when it is back.
    fn subscribe<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Subscription>;

    /// The nodes that are known, this one first; empty for a bus that knows no nodes, only dashboards.
    fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }

    /// Leaves the bus, after the last subscription has ended: the others know at once.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The near end of what a bus does for one subscription. It ends when this is dropped.
pub trait Wire: Send + Sync + 'static {
    /// Hands bytes to the other nodes; never waits.
    fn publish(&self, envelope: Bytes);

    /// Whether another node listens; `true` when in doubt. As cheap as reading a flag.
    fn has_others(&self) -> bool;

    /// Whether another node has listened at any time since the subscription began; `true` when in doubt.
    fn has_had_others(&self) -> bool;
}

/// One dashboard's ear and voice on the bus.
pub struct Subscription {
    inbox: Arc<Inbox>,
    wire: Box<dyn Wire>,
}

impl Subscription {
    /// For implementations of [`Bus`]: they put into `inbox` what is heard.
    #[must_use]
    pub fn new(inbox: Arc<Inbox>, wire: Box<dyn Wire>) -> Subscription {
        Subscription { inbox, wire }
    }

    /// Puts something between the room and the bus, such as a counter, or the faults of a test.
    #[must_use]
    pub fn through(self, between: impl FnOnce(Box<dyn Wire>) -> Box<dyn Wire>) -> Subscription {
        Subscription { inbox: self.inbox, wire: between(self.wire) }
    }

    /// Waits for something to be heard and moves at most `max` of it into `heard`. Cancel-safe.
    pub async fn hear(&self, heard: &mut Vec<Heard>, max: usize) {
        self.inbox.take(heard, max).await;
    }

    /// As [`Wire::publish`].
    pub fn publish(&self, envelope: Bytes) {
        self.wire.publish(envelope);
    }

    /// As [`Wire::has_others`].
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.wire.has_others()
    }

    /// As [`Wire::has_had_others`].
    #[must_use]
    pub fn has_had_others(&self) -> bool {
        self.wire.has_had_others()
    }
}
