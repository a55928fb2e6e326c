//! The beat of a node: says every second that it lives, renews its lease, and looks who else does.

use super::hub::Hub;
use crate::redis::{Command, Value};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use ydash_proto::cluster::{BusFrame, HEARTBEAT, LEASE};

/// How often a silent node is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Between two beats that somebody asked for.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// What came back from Redis.
enum Told {
    /// Whether the lease had been there when it was renewed; `None` when it could not be.
    Renewed { since: u64, was_there: Option<bool> },
    /// Whether another node's lease is there.
    Lease(ydash_proto::id::NodeId, Option<bool>),
}

/// Beats until it is stopped.
pub(super) async fn beat(hub: Arc<Hub>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut beaten_at: Option<Instant> = None;
    let mut is_asked = false;
    let mut questions: FuturesUnordered<BoxFuture<'static, Told>> = FuturesUnordered::new();
    let (mut is_renewing, mut held_since) = (false, None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = hub.asked.notified() => is_asked = true,
            Some(told) = questions.next(), if !questions.is_empty() => match told {
                Told::Lease(node, is_held) => hub.lease(node, is_held),
                Told::Renewed { since, was_there } => {
                    is_renewing = false;
                    // Over one and the same connection: a server that was restarted has forgotten everybody's.
                    if was_there == Some(false) && held_since == Some(since) {
                        hub.was_away();
                    }
                    held_since = was_there.map(|_| since);
                }
            },
        }
        let now = Instant::now();
        for node in hub.tick() {
            questions.push(look_up(Arc::clone(&hub), node).boxed());
        }
        let since = beaten_at.map_or(HEARTBEAT, |at| now.saturating_duration_since(at));
        if since >= HEARTBEAT || is_asked && since >= ANSWER_PAUSE {
            (beaten_at, is_asked) = (Some(now), false);
            let said = serde_json::to_vec(&hub.own_info()).expect("plain fields become JSON");
            hub.tell_nodes(&BusFrame::Heartbeat(said.clone().into()));
            if !core::mem::replace(&mut is_renewing, true) {
                questions.push(renew(Arc::clone(&hub), said).boxed());
            }
        }
    }
}

async fn renew(hub: Arc<Hub>, said: Vec<u8>) -> Told {
    let since = hub.redis.connections_made();
    let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
    let set = Command::new("SET").key(&hub.lease_key(hub.node)).arg(said.as_slice());
    let before = hub.redis.run(set.arg("PX").arg(lease).arg("GET")).await;
    let was_there = before.ok().map(|before| !matches!(before, Value::Nil));
    Told::Renewed { since, was_there }
}

async fn look_up(hub: Arc<Hub>, node: ydash_proto::id::NodeId) -> Told {
    let answer = hub.redis.run(Command::new("EXISTS").key(&hub.lease_key(node))).await;
    let is_held = match answer {
        Ok(Value::Int(count)) => Some(count > 0),
        _ => None,
    };
    Told::Lease(node, is_held)
}
