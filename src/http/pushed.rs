//! Values that programs push for widgets, taken and told over HTTP: what is kept of them decides [`ydash_proto::pushed`].
//!
//! Pages hear of them on one stream (server-sent events) for all widgets of a dashboard. Nothing is queued for a stream: whenever its reader
//! has taken what there was, it gets what has come since. A slow one sees fewer, larger steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::DropGuard;
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::id::DashboardId;
use ydash_proto::pushed::{PushError, PushLimits, Pushed};
use ydash_proto::time::Timestamp;
use ydash_proto::wire::close::CloseCode;

use crate::http::Site;
use crate::http::dashboards::take_body;
use crate::http::events::{Attendance, Manner, attend, end};
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::Call;
use crate::http::stream::{self, ALIVE, ALIVE_SAID};

/// A push's body. Clients know it as `push-bytes-max`; no setting raises it.
const PUSH_BYTES_MAX: usize = 256 << 10;

/// How long a stream gathers what comes before it tells it: a fifth of what people call at once.
const GATHER: Duration = Duration::from_millis(100);

/// The pushed values of this node, and how streams hear of them.
#[derive(Debug)]
pub struct Pushes {
    pushed: Mutex<Pushed>,
    news: Notify,
}

impl Default for Pushes {
    fn default() -> Pushes {
        Pushes { pushed: Mutex::new(Pushed::new(PushLimits::default())), news: Notify::new() }
    }
}

impl Pushes {
    /// Forgets what was pushed to a dashboard that is deleted.
    pub(super) fn forget(&self, dashboard: &DashboardId) {
        self.pushed().forget_dashboard(dashboard);
    }

    fn pushed(&self) -> MutexGuard<'_, Pushed> {
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Problem {
        match error {
            PushError::Malformed(how) => Problem::BadRequest(how),
            PushError::Limit(which) => Problem::PushLimit(which),
            PushError::Rate(retry_after) => Problem::PushRate(retry_after),
        }
    }
}

/// `POST /api/dashboards/<name>/widgets/<id>/data`
pub(super) async fn push(mut call: Call) -> Result<Response, Refused> {
    let (body, _lease) = take_body(&mut call, ("push-bytes-max", PUSH_BYTES_MAX)).await?;
    let Pushes { news, .. } = &*call.site.pushes;
    let mut pushed = call.site.pushes.pushed();
    let taken = pushed.push(now(), &call.dashboard(), call.parameter("id"), &body).map_err(Problem::from)?;
    call.site.metrics.pushed_bytes.set(i64::try_from(pushed.bytes()).unwrap_or(i64::MAX));
    drop(pushed);
    call.site.metrics.pushed_points.inc_by(taken as u64);
    news.notify_waiters();
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "points": taken })))
}

/// `GET /api/dashboards/<name>/pushed`: what is kept, or a stream of it for who asks for `text/event-stream`.
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    if !call.header("accept")?.is_some_and(|accepts| accepts.contains("text/event-stream")) {
        let (all, _) = call.site.pushes.pushed().since(&call.dashboard(), 0);
        return Ok(json_response(StatusCode::OK, &all));
    }
    // A stream is a member of the room: it hears nothing any more when its rights end.
    let Attendance { ended, leaving, .. } = attend(&call, Manner::Listens).await?;
    let (site, dashboard) = (Arc::clone(&call.site), call.dashboard());
    let told = Told { site, dashboard, ended, _leaving: leaving, last: None, is_over: false };
    Ok(stream::events(told, Told::next))
}

/// A stream of everything that is kept, then of what comes, until its reader may not see it any more.
struct Told {
    site: Arc<Site>,
    dashboard: DashboardId,
    /// The reason that the room sent it away, if it did.
    ended: watch::Receiver<Option<CloseCode>>,
    _leaving: DropGuard,
    /// The number of the last point that was told; none before everything was.
    last: Option<u64>,
    /// The end was told.
    is_over: bool,
}

impl Told {
    async fn next(mut self) -> Option<(Bytes, Told)> {
        let site = Arc::clone(&self.site);
        loop {
            if self.is_over {
                return None;
            }
            let over = *self.ended.borrow_and_update();
            if let Some(code) = over {
                self.is_over = true;
                return Some((end(code), self));
            }
            let news = site.pushes.news.notified();
            let mut news = std::pin::pin!(news);
            // From here on it is told of pushes; what came before is seen by the look below.
            news.as_mut().enable();
            let is_news = self.last.is_none_or(|last| site.pushes.pushed().is_newer(&self.dashboard, last));
            if is_news {
                let is_first = self.last.is_none();
                if !is_first {
                    tokio::time::sleep(GATHER).await;
                    if self.ended.has_changed().unwrap_or(true) {
                        continue;
                    }
                }
                let (all, next) = site.pushes.pushed().since(&self.dashboard, self.last.unwrap_or(0));
                self.last = Some(next);
                // The first says all there is, also when that is nothing: what a page kept from an earlier stream is replaced by it.
                let event = if is_first { "all" } else { "news" };
                return Some((Bytes::from(format!("event: {event}\ndata: {all}\n\n")), self));
            }
            tokio::select! {
                () = news => {}
                changed = self.ended.changed() => changed.ok()?,
                () = tokio::time::sleep(ALIVE) => return Some((ALIVE_SAID, self)),
            }
        }
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
