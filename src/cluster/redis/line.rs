//! One subscription: its channel, what is decided about it, and the room's inbox.

use super::super::Inbox;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use ydash_proto::cluster::{AssemblyBudget, BusFrame, Channel, Heard, Reply};
use ydash_proto::id::NodeId;
use ydash_proto::time::Timestamp;

/// A dashboard that is open on this node.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) channel: Arc<str>,
    pub(super) slot: u16,
    /// A *here* waits to be said: one answers all who asked.
    pub(super) is_answering: AtomicBool,
    inbox: Arc<Inbox>,
    state: Mutex<Channel>,
    has_others: AtomicBool,
    has_had_others: AtomicBool,
}

impl Line {
    /// One that is not connected yet.
    pub(super) fn new(channel: Arc<str>, slot: u16) -> Line {
        Line {
            channel,
            slot,
            is_answering: AtomicBool::new(false),
            inbox: Arc::default(),
            state: Mutex::default(),
            has_others: AtomicBool::new(true),
            has_had_others: AtomicBool::new(true),
        }
    }

    /// Where its room takes what is heard.
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(super) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Acquire)
    }

    pub(super) fn has_had_others(&self) -> bool {
        self.has_had_others.load(Ordering::Acquire)
    }

    /// As [`Channel::hear`].
    pub(super) fn hear(&self, own: NodeId, from: NodeId, frame: BusFrame, budget: &AssemblyBudget) -> Option<Reply> {
        self.change(|channel, heard| channel.hear(own, from, frame, budget, heard))
    }

    /// As [`Channel::subscribed`].
    pub(super) fn subscribed(&self, now: Timestamp, listeners: Option<usize>) -> Option<Timestamp> {
        self.change(|channel, heard| channel.subscribed(now, listeners, heard))
    }

    /// As [`Channel::is_not_awaited`].
    pub(super) fn is_not_awaited(&self) {
        self.change(|channel, _| channel.is_not_awaited());
    }

    /// As [`Channel::disconnected`].
    pub(super) fn disconnected(&self) {
        self.change(|channel, _| channel.disconnected());
    }

    /// As [`Channel::was_away`].
    pub(super) fn was_away(&self) {
        self.change(Channel::was_away);
    }

    /// As [`Channel::gone`].
    pub(super) fn gone(&self, node: NodeId) {
        self.change(|channel, heard| channel.gone(node, heard));
    }

    /// As [`Channel::left`].
    pub(super) fn left(&self, node: NodeId) {
        self.change(|channel, heard| channel.left(node, heard));
    }

    /// Whether a node was taken for gone here.
    pub(super) fn has_dropped(&self, node: NodeId) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).peers().has_dropped(node)
    }

    /// As [`Channel::settle`].
    pub(super) fn settle(&self, now: Timestamp) {
        self.change(|channel, heard| channel.settle(now, heard));
    }

    /// Changes what is known, shows it, and then has the room hear of it: it looks whether it has company when it does.
    fn change<T>(&self, change: impl FnOnce(&mut Channel, &mut Vec<Heard>) -> T) -> T {
        let mut channel = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heard = Vec::new();
        let outcome = change(&mut channel, &mut heard);
        self.has_others.store(channel.peers().has_others(), Ordering::Release);
        self.has_had_others.store(channel.peers().has_had_others(), Ordering::Release);
        // Still under the lock: what is heard is put in the order in which it is.
        heard.into_iter().for_each(|one| self.inbox.put(one));
        outcome
    }
}
