//! Values that programs push for widgets, taken and told over HTTP: what is kept of them decides [`ydash_proto::pushed`].
//!
//! Pages hear of them on one stream (server-sent events) for all widgets of a dashboard. Nothing is queued for a stream: whenever its reader
//! has taken what there was, it gets what has come since. A slow one sees fewer, larger steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::Notify;
use warp::Reply;
use warp::http::header::{self, HeaderValue};
use warp::http::{HeaderName, StatusCode};
use warp::reply::Response;
use ydash_proto::id::DashboardId;
use ydash_proto::pushed::{PushError, PushLimits, Pushed};
use ydash_proto::time::Timestamp;

use crate::http::Site;
use crate::http::dashboards::take_body;
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::Call;

/// A push's body. Clients know it as `push-bytes-max`; no setting raises it.
const PUSH_BYTES_MAX: usize = 256 << 10;

/// How long a stream gathers what comes before it tells it: a fifth of what people call at once.
const GATHER: Duration = Duration::from_millis(100);

/// How often a quiet stream says that it lives: proxies cut what is silent for a minute.
const ALIVE: Duration = Duration::from_secs(20);

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
    let (site, dashboard) = (Arc::clone(&call.site), call.dashboard());
    // Its client comes back by itself, with whatever token its page has then.
    let ends = call.author().until.map(|until| tokio::time::Instant::now() + until.since(now()));
    if site.draining.is_cancelled() {
        return Err(Problem::Draining.into());
    }
    let mut response = warp::reply::stream(events(site, dashboard, ends)).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // nginx gathers answers otherwise.
    answer.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Everything that is kept, then what comes, until the node drains or the token of who asked `ends`.
fn events(
    site: Arc<Site>,
    dashboard: DashboardId,
    ends: Option<tokio::time::Instant>,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + Sync {
    struct Told {
        site: Arc<Site>,
        dashboard: DashboardId,
        /// The number of the last point that was told; none before everything was.
        last: Option<u64>,
    }
    let begin = Told { site, dashboard, last: None };
    // Boxed by a mutex's wrapper: a body has to be `Sync`, which futures of hyper's are not, and nobody polls it from two threads.
    SyncStream(Mutex::new(Box::pin(stream::unfold(begin, move |mut told| async move {
        let site = Arc::clone(&told.site);
        let ended = async {
            match ends {
                Some(ends) => tokio::time::sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        let mut ended = std::pin::pin!(ended);
        loop {
            if ends.is_some_and(|ends| tokio::time::Instant::now() >= ends) {
                return None;
            }
            let news = site.pushes.news.notified();
            let mut news = std::pin::pin!(news);
            // From here on it is told of pushes; what came before is seen by the look below.
            news.as_mut().enable();
            let is_news = told.last.is_none_or(|last| site.pushes.pushed().is_newer(&told.dashboard, last));
            if is_news {
                let is_first = told.last.is_none();
                if !is_first {
                    tokio::time::sleep(GATHER).await;
                }
                let (all, next) = site.pushes.pushed().since(&told.dashboard, told.last.unwrap_or(0));
                told.last = Some(next);
                // The first says all there is, also when that is nothing: what a page kept from an earlier stream is replaced by it.
                let event = if is_first { "all" } else { "news" };
                return Some((Ok(Bytes::from(format!("event: {event}\ndata: {all}\n\n"))), told));
            }
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep(ALIVE) => return Some((Ok(Bytes::from_static(b": alive\n\n")), told)),
                () = site.draining.cancelled() => return None,
                () = &mut ended => return None,
            }
        }
    }))))
}

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>> + Send>>;

/// A stream that may be shared between threads, because only its one owner polls it.
struct SyncStream(Mutex<Events>);

impl Stream for SyncStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
