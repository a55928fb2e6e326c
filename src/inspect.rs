//! What an operator gets to see of this node: asked of the rooms themselves, a bounded number of them and each for a bounded time.

use crate::http::Inspector;
use crate::room::{Registry, RoomView};
use core::time::Duration;
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::time::timeout;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::update;

/// Rooms that one answer tells of.
const ROOMS_MAX: usize = 200;
/// Entries of a log that one answer tells of.
const ENTRIES_MAX: usize = 100;
/// How long a room may take to say something about itself. It is a matter of microseconds, unless it is in trouble.
const WITHIN: Duration = Duration::from_millis(500);
/// Larger entries are told of, not looked into.
const SCANNED_BYTES_MAX: usize = 64 << 10;

/// This node.
#[derive(Clone)]
pub struct Inspect {
    registry: Registry,
    limits: Limits,
    store: String,
    started: Instant,
}

impl Inspect {
    /// The node whose rooms are in `registry`. `store` names the store without its secrets.
    #[must_use]
    pub fn new(registry: Registry, limits: Limits, store: String) -> Inspect {
        Inspect { registry, limits, store, started: Instant::now() }
    }

    async fn look(&self, dashboard: &DashboardId) -> Option<RoomView> {
        timeout(WITHIN, self.registry.look(dashboard)).await.ok().flatten()
    }

    /// The last entries up to `end`. Logs are read forwards only, and positions have gaps of any size: so it tries ever further
    /// back, and reads on from there.
    async fn tail(&self, dashboard: &DashboardId, end: LogPosition) -> Option<Vec<(LogPosition, LogEntry)>> {
        let mut reach = ENTRIES_MAX as u128;
        loop {
            let after = LogPosition(end.0.saturating_sub(reach));
            let mut entries = self.registry.log(dashboard, after, ENTRIES_MAX).await.ok()?;
            if entries.len() < ENTRIES_MAX && after != LogPosition::START {
                reach = reach.saturating_mul(16);
                continue;
            }
            while let Some((last, _)) = entries.last().filter(|_| entries.len() >= ENTRIES_MAX) {
                let more = self.registry.log(dashboard, *last, ENTRIES_MAX).await.ok()?;
                if more.is_empty() {
                    break;
                }
                let is_end = more.len() < ENTRIES_MAX;
                entries.extend(more);
                entries.drain(..entries.len() - ENTRIES_MAX);
                if is_end {
                    break;
                }
            }
            return Some(entries);
        }
    }

    fn describe(&self, position: LogPosition, entry: &LogEntry) -> Value {
        let scan = (entry.update.len() <= SCANNED_BYTES_MAX)
            .then(|| update::scan(&entry.update, &self.limits.for_trusted()).ok())
            .flatten();
        let spans: Vec<Value> = scan
            .iter()
            .flat_map(|scan| &scan.spans)
            .take(8)
            .map(|span| json!({ "client": span.client, "from": span.start, "to": span.end }))
            .collect();
        json!({
            "position": position.to_string(),
            "at": entry.at.0,
            "author": entry.author,
            "session": (entry.session != 0).then(|| entry.session.to_string()),
            "source": match entry.source {
                Source::Socket => "socket",
                Source::Rest => "rest",
                Source::Import => "import",
                Source::Recovery => "recovery",
                Source::Node => "node",
            },
            "bytes": entry.update.len(),
            "spans": spans,
            "deletes": scan.map_or(0, |scan| scan.delete_ranges),
        })
    }
}

impl Inspector for Inspect {
    fn node(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.registry.node().to_string(),
            "store": self.store,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "draining": self.registry.is_draining(),
        })
    }

    fn rooms(&self, part: String) -> BoxFuture<'static, Value> {
        let inspect = self.clone();
        Box::pin(async move {
            let (ids, total) = inspect.registry.live(&part, ROOMS_MAX);
            let views = join_all(ids.iter().map(|id| inspect.look(id))).await;
            let rooms: Vec<Value> = ids.iter().zip(views).map(|(id, view)| summary(id, view.as_ref())).collect();
            json!({ "total": total, "rooms": rooms })
        })
    }

    fn room(&self, dashboard: DashboardId) -> BoxFuture<'static, Option<Value>> {
        let inspect = self.clone();
        Box::pin(async move {
            let view = inspect.look(&dashboard).await?;
            let mut room = summary(&dashboard, Some(&view));
            room["seats"] = view
                .seats
                .iter()
                .map(|(member, waiting_bytes, waiting_frames)| {
                    json!({
                        "session": member.id.0.to_string(),
                        "user": member.admission.principal.author().as_deref(),
                        "may_edit": member.admission.access.may_edit(),
                        "clients": member.clients,
                        "held": member.held,
                        "lagging": member.is_lagging,
                        "waiting_bytes": waiting_bytes,
                        "waiting_frames": waiting_frames,
                    })
                })
                .collect();
            Some(room)
        })
    }

    fn log(&self, dashboard: DashboardId, after: Option<u128>) -> BoxFuture<'static, Option<Value>> {
        let inspect = self.clone();
        Box::pin(async move {
            let entries = match after {
                Some(after) => inspect.registry.log(&dashboard, LogPosition(after), ENTRIES_MAX).await.ok()?,
                None => inspect.tail(&dashboard, inspect.look(&dashboard).await?.position).await?,
            };
            Some(entries.iter().map(|(position, entry)| inspect.describe(*position, entry)).collect())
        })
    }
}

fn summary(dashboard: &DashboardId, view: Option<&RoomView>) -> Value {
    let Some(view) = view else { return json!({ "dashboard": dashboard.as_str() }) };
    json!({
        "dashboard": dashboard.as_str(),
        "members": view.members,
        "lagging": view.seats.iter().filter(|(member, _, _)| member.is_lagging).count(),
        "waiting_bytes": view.seats.iter().map(|(_, bytes, _)| bytes).sum::<usize>(),
        "document_bytes": view.document_bytes,
        "memory_bytes": view.memory_bytes,
        "clients": view.clients,
        "updates": view.updates,
        "flushed_bytes": view.flushed_bytes,
        "resyncs": view.resyncs,
        "held": view.held,
        "saved": view.is_saved,
    })
}
