//! What a node says of itself, and what is known of it: the entries of `GET /api/nodes`.

use crate::metrics::Metrics;
use serde::{Deserialize, Serialize};
use ydash_proto::id::NodeId;

/// What a node tells the others about itself with every heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// As its operator calls it.
    pub name: String,
    /// Of its ydash.
    pub version: String,
    /// When it was started: milliseconds since the Unix epoch.
    pub started: u64,
    /// Where it listens, unless that is every interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// Dashboards that are open on it.
    pub rooms: u64,
    /// Clients that are connected to it.
    pub sessions: u64,
}

impl NodeInfo {
    /// The same with what is open and connected at this moment.
    #[must_use]
    pub fn counting(self, metrics: &Metrics) -> NodeInfo {
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        NodeInfo { rooms: count(metrics.rooms.get()), sessions: count(metrics.sessions.get()), ..self }
    }
}

/// One node as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which.
    pub id: NodeId,
    /// Whether it is the one that was asked.
    pub is_own: bool,
    /// What it said last; `None` when it has only been heard on a dashboard.
    pub info: Option<NodeInfo>,
    /// How long ago it was heard last, in milliseconds.
    pub silent_for: u64,
    /// For how long it is believed to live without another word, in milliseconds; `None` without a bus that needs one.
    pub lease: Option<u64>,
}
