//! What REST can do with dashboards: each call opens the room, as a session would, and lets it go again.

use crate::cluster::Bus;
use crate::cluster::nodes::{NodeInfo, NodeStatus};
use crate::http::{Dashboards, Nodes, ReadError, WriteError};
use crate::metrics::Metrics;
use crate::room::{Registry, WriteError as RoomWriteError};
use bytes::Bytes;
use core::time::Duration;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;
use tracing::debug;
use ydash_proto::access::Identity;
use ydash_proto::document;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::room::{Input, LimitReached, Scanned, WriteRefusal};
use ydash_proto::update::{self, StateVector};

/// How long a write may wait for the store.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// The dashboards of this node.
#[derive(Clone)]
pub struct Rest {
    registry: Registry,
    limits: Limits,
}

impl Rest {
    /// REST on the rooms of `registry`.
    #[must_use]
    pub fn new(registry: Registry, limits: Limits) -> Rest {
        Rest { registry, limits }
    }

    async fn state(&self, dashboard: &DashboardId, have: StateVector) -> Result<Bytes, ReadError> {
        let room = self.registry.open(dashboard).await.map_err(|failure| {
            debug!(%failure, "dashboard not opened");
            ReadError::Unavailable
        })?;
        room.read(have).await.map_err(|_| ReadError::Unavailable)
    }
}

impl Dashboards for Rest {
    fn read_json(&self, dashboard: DashboardId) -> BoxFuture<'static, Result<String, ReadError>> {
        let rest = self.clone();
        Box::pin(async move {
            let state = rest.state(&dashboard, StateVector::default()).await?;
            let read = rest.registry.guest_readers().run(&dashboard, move || document::to_json(&state)).await;
            read.map_err(|_| ReadError::Unreadable)?.map_err(|failure| {
                debug!(%dashboard, %failure, "not shown as json");
                ReadError::Unreadable
            })
        })
    }

    fn read_state(&self, dashboard: DashboardId, have: Option<Bytes>) -> BoxFuture<'static, Result<Bytes, ReadError>> {
        let rest = self.clone();
        Box::pin(async move {
            let have = match have {
                Some(have) => StateVector::decode(&have, &rest.limits).map_err(|_| ReadError::MalformedStateVector)?,
                None => StateVector::default(),
            };
            rest.state(&dashboard, have).await
        })
    }

    fn write_update(
        &self,
        dashboard: DashboardId,
        author: Identity,
        update: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>> {
        Box::pin(self.clone().put(dashboard, author, update, false))
    }

    fn create(
        &self,
        dashboard: DashboardId,
        author: Identity,
        json: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>> {
        let rest = self.clone();
        Box::pin(async move {
            let client = fastrand::u32(1..);
            let made = rest.registry.guest_readers().run(&dashboard, move || document::from_json(&json, client)).await;
            let update = made.map_err(|_| WriteError::Unavailable)?.map_err(WriteError::Json)?;
            rest.put(dashboard, author, update.into(), true).await
        })
    }

    fn send_stateless(&self, dashboard: DashboardId, payload: Bytes) -> BoxFuture<'static, Result<(), WriteError>> {
        let rest = self.clone();
        Box::pin(async move {
            // Opened even if nobody is here: somebody may be on another node.
            let room = rest.registry.open(&dashboard).await.map_err(|_| WriteError::Unavailable)?;
            room.input(Input::Stateless { from: None, payload }).await.map_err(|_| WriteError::Unavailable)
        })
    }
}

impl Rest {
    async fn put(
        self,
        dashboard: DashboardId,
        author: Identity,
        update: Bytes,
        creates: bool,
    ) -> Result<(), WriteError> {
        let (limits, scanned) = (self.limits.clone(), update.clone());
        let scan = tokio::task::spawn_blocking(move || update::scan(&scanned, &limits)).await;
        let scan = scan.map_err(|_| WriteError::Unavailable)?.map_err(|_| WriteError::Malformed)?;
        let room = self.registry.open(&dashboard).await.map_err(|_| WriteError::Unavailable)?;
        let update = Scanned { update, scan, frame: None };
        let writing =
            async { if creates { room.create(author, update).await } else { room.write(author, update).await } };
        match timeout(DURABLE_WITHIN, writing).await {
            Ok(Ok(())) => Ok(()),
            Err(_) | Ok(Err(RoomWriteError::Ended(_))) => Err(WriteError::Unavailable),
            Ok(Err(RoomWriteError::Refused(refusal))) => Err(match refusal {
                WriteRefusal::Exists => WriteError::Exists,
                WriteRefusal::Hole | WriteRefusal::Foreign => WriteError::Incomplete,
                WriteRefusal::Limit(LimitReached::DocumentBytes) => {
                    WriteError::TooLarge { bytes_max: self.limits.document_bytes_max }
                }
                WriteRefusal::Limit(LimitReached::DeletedBytes) => WriteError::Limit(
                    "what was deleted from the dashboard takes all the room there is for that, which `ydash reset` gives back",
                ),
                WriteRefusal::Limit(LimitReached::Memory | LimitReached::MessageBytes) => WriteError::Memory,
                WriteRefusal::Limit(LimitReached::DocumentClients) => {
                    WriteError::Limit("the document would know too many clients")
                }
                WriteRefusal::Limit(LimitReached::Content) => WriteError::Malformed,
                WriteRefusal::Limit(LimitReached::Nesting) => {
                    WriteError::Limit("shared types would be nested too deep")
                }
            }),
        }
    }
}

/// The nodes that this one knows.
pub struct KnownNodes {
    /// What knows them; without a bus that does, this node is alone.
    pub bus: Arc<dyn Bus>,
    /// What this node says of itself.
    pub own: NodeInfo,
    /// Where its rooms and sessions are counted.
    pub metrics: Arc<Metrics>,
}

impl Nodes for KnownNodes {
    fn list(&self) -> Value {
        let mut nodes = self.bus.nodes();
        if nodes.is_empty() {
            let info = Some(self.own.clone().counting(&self.metrics));
            nodes.push(NodeStatus { id: self.bus.node(), is_own: true, info, silent_for: 0, lease: None });
        }
        let nodes: Vec<Value> = nodes.into_iter().map(entry).collect();
        json!({ "nodes": nodes })
    }
}

fn entry(node: NodeStatus) -> Value {
    let NodeStatus { id, is_own, info, silent_for, lease } = node;
    let mut entry = match info {
        Some(info) => serde_json::to_value(info).expect("plain fields become JSON"),
        None => json!({}),
    };
    entry["id"] = json!(id.to_string());
    entry["self"] = json!(is_own);
    entry["silent_ms"] = json!(silent_for);
    if let Some(lease) = lease {
        entry["lease_ms"] = json!(lease);
    }
    entry
}
