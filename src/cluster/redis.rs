//! The bus over Redis: one pub/sub channel per dashboard, one message per flush, one hop.
//!
//! Every node that has a dashboard open subscribes to its channel (`ydash:{workspace/name}:bus`, sharded pub/sub where the server
//! has it) and publishes there; it knows its own messages by their header. Who else is there is known from words on the same
//! channel, and which nodes live from heartbeats on another and a lease in Redis. Nothing here is kept by Redis, and nothing
//! waits for it: while it is away messages are dropped and counted, and rooms hear [`Heard::Lost`](super::Heard::Lost) when it
//! is back.

mod frame;
mod heart;
mod hub;
mod line;
mod link;
mod outgoing;
#[cfg(test)]
mod tests;

use super::nodes::{NodeInfo, NodeStatus};
use super::{Bus, Subscription, Wire};
use crate::metrics::Metrics;
use crate::redis::{Command, Redis, RedisUrl};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hub::Hub;
use line::Line;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;
use ydash_proto::cluster::BusFrame;
use ydash_proto::id::{DashboardId, NodeId};

/// How long a subscription waits to be confirmed before its room opens without.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
/// How long the last words may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at whether they are said.
const CLOSING_LOOK: Duration = Duration::from_millis(5);
/// Between two looks for servers when none can be found.
const SEARCH_PAUSE: Duration = Duration::from_millis(300);

/// This node's way onto the bus.
pub struct RedisBus {
    hub: Arc<Hub>,
    tasks: TaskTracker,
    stop: CancellationToken,
    heart: CancellationToken,
}

impl RedisBus {
    /// Begins to connect; whether that succeeds shows later. `own` is what the others are told, `rooms` and `sessions` left out:
    /// they are read from the metrics.
    #[must_use]
    pub fn start(url: RedisUrl, own: NodeInfo, metrics: Arc<Metrics>) -> RedisBus {
        let hub = Arc::new(Hub::new(Redis::new(url), own, metrics));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let heart = stop.child_token();
        tasks.spawn(heart::beat(Arc::clone(&hub), heart.clone()));
        tasks.spawn(search(Arc::clone(&hub), tasks.clone(), stop.child_token()));
        RedisBus { hub, tasks, stop, heart }
    }

    /// Waits for the first connection, at most for `limit`. Says whether there is one.
    pub async fn connected(&self, limit: Duration) -> bool {
        let waiting = async {
            loop {
                let changed = self.hub.changed.notified();
                if self.hub.is_connected() {
                    return;
                }
                changed.await;
            }
        };
        timeout(limit, waiting).await.is_ok()
    }
}

impl Bus for RedisBus {
    fn node(&self) -> NodeId {
        self.hub.node
    }

    fn subscribe<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Subscription> {
        Box::pin(async move {
            let (line, confirmation) = self.hub.open(dashboard);
            // Made first: it ends the subscription should whoever waits here give up.
            let wire = Box::new(RedisWire { hub: Arc::clone(&self.hub), line: Arc::clone(&line) });
            if !matches!(timeout(CONFIRMED_WITHIN, confirmation).await, Ok(Ok(()))) {
                line.is_not_awaited();
            }
            Subscription::new(Arc::clone(line.inbox()), wire)
        })
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        self.hub.nodes()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Or the others would hear of it again.
            self.heart.cancel();
            self.hub.tell_nodes(&BusFrame::Bye);
            let last_words = async {
                while !self.hub.is_done() {
                    sleep(CLOSING_LOOK).await;
                }
                let lease = self.hub.lease_key(self.hub.node);
                self.hub.redis.run(Command::new("DEL").key(&lease)).await
            };
            if !matches!(timeout(CLOSED_WITHIN, last_words).await, Ok(Ok(_))) {
                debug!("bus closed without a word: the others will miss this node");
            }
            self.stop.cancel();
            self.tasks.close();
            self.hub.stop();
            self.tasks.wait().await;
            self.hub.redis.close().await;
        })
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.stop.cancel();
        self.hub.stop();
    }
}

struct RedisWire {
    hub: Arc<Hub>,
    line: Arc<Line>,
}

impl Wire for RedisWire {
    fn publish(&self, envelope: Bytes) {
        self.hub.publish(&self.line, envelope);
    }

    fn has_others(&self) -> bool {
        self.line.has_others()
    }

    fn has_had_others(&self) -> bool {
        self.line.has_had_others()
    }
}

impl Drop for RedisWire {
    fn drop(&mut self) {
        self.hub.close(&self.line);
    }
}

/// Finds out which servers carry the bus: once, and in a Cluster whenever something went wrong with one of them.
async fn search(hub: Arc<Hub>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = hub.redis.slots() => found,
        };
        let is_found = found.is_ok();
        match found {
            Ok(slots) => {
                for link in hub.found_servers(slots) {
                    tasks.spawn(link.run(Arc::clone(&hub)));
                }
            }
            Err(why) => debug!(%why, "servers of the bus not found"),
        }
        let pause = async {
            // Not more often, however often a connection fails.
            sleep(SEARCH_PAUSE).await;
            if is_found {
                hub.lost_its_way.notified().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause => {}
        }
    }
}
