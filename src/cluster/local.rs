//! The bus within one process: for several servers over one store, as tests and programs that embed more than one listener have.
//!
//! Whoever is alone on it pays one look at a flag per turn of a room; nothing is encoded or queued.

use super::{Bus, Heard, Inbox, Subscription, Wire};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ydash_proto::id::{DashboardId, NodeId};

/// A bus in memory. Clones share it.
#[derive(Clone, Default)]
pub struct LocalBus {
    lines: Arc<Mutex<HashMap<DashboardId, Vec<Listener>>>>,
}

struct Listener {
    node: NodeId,
    inbox: Arc<Inbox>,
    others_seen: Arc<Others>,
}

/// Who else is on the line, for one that may ask often.
#[derive(Default)]
struct Others {
    has_others: AtomicBool,
    has_had_others: AtomicBool,
}

impl LocalBus {
    /// A bus that nobody is on.
    #[must_use]
    pub fn new() -> LocalBus {
        LocalBus::default()
    }

    /// A node's way onto it, under an id of its own.
    #[must_use]
    pub fn node(&self) -> Arc<dyn Bus> {
        Arc::new(LocalNode { bus: self.clone(), node: NodeId(fastrand::u64(1..)) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DashboardId, Vec<Listener>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct LocalNode {
    bus: LocalBus,
    node: NodeId,
}

impl Bus for LocalNode {
    fn node(&self) -> NodeId {
        self.node
    }

    fn subscribe<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Subscription> {
        let inbox = Arc::new(Inbox::default());
        let others_seen = Arc::new(Others::default());
        let listener = Listener { node: self.node, inbox: Arc::clone(&inbox), others_seen: Arc::clone(&others_seen) };
        let mut lines = self.bus.lock();
        let line = lines.entry(dashboard.clone()).or_default();
        line.push(listener);
        tell_others(line);
        drop(lines);
        let wire = LocalWire { bus: self.bus.clone(), node: self.node, dashboard: dashboard.clone(), others_seen };
        Box::pin(async move { Subscription::new(inbox, Box::new(wire)) })
    }
}

struct LocalWire {
    bus: LocalBus,
    node: NodeId,
    dashboard: DashboardId,
    others_seen: Arc<Others>,
}

impl Wire for LocalWire {
    fn publish(&self, envelope: Bytes) {
        let lines = self.bus.lock();
        let others = lines.get(&self.dashboard).into_iter().flatten().filter(|other| other.node != self.node);
        others.for_each(|other| other.inbox.put(Heard::Envelope(envelope.clone())));
    }

    fn has_others(&self) -> bool {
        self.others_seen.has_others.load(Ordering::Acquire)
    }

    fn has_had_others(&self) -> bool {
        self.others_seen.has_had_others.load(Ordering::Acquire)
    }
}

impl Drop for LocalWire {
    fn drop(&mut self) {
        let mut lines = self.bus.lock();
        let Some(line) = lines.get_mut(&self.dashboard) else { return };
        line.retain(|listener| !Arc::ptr_eq(&listener.others_seen, &self.others_seen));
        tell_others(line);
        line.iter().filter(|other| other.node != self.node).for_each(|other| other.inbox.put(Heard::Gone(self.node)));
        if line.is_empty() {
            lines.remove(&self.dashboard);
        }
    }
}

fn tell_others(line: &[Listener]) {
    for listener in line {
        let has_others = line.iter().any(|other| other.node != listener.node);
        listener.others_seen.has_others.store(has_others, Ordering::Release);
        listener.others_seen.has_had_others.fetch_or(has_others, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    contract::suite!(LocalBus);

    impl contract::Bench for LocalBus {
        async fn new() -> LocalBus {
            LocalBus::new()
        }

        async fn node(&self) -> Arc<dyn Bus> {
            LocalBus::node(self)
        }
    }
}
