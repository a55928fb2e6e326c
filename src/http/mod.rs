//! HTTP: every route on one screen, the WebSocket handshake, and the loop that serves them.
//!
//! Knows everybody, and nobody knows it: what it needs from rooms and sessions are the traits [`Dashboards`] and
//! [`SocketHandler`], which the composition root fills in. Upgrades are answered before any route is looked at ([`serve`]).

mod access;
mod addresses;
mod assets;
mod audit;
mod cors;
mod dashboards;
mod docs;
mod editing;
mod etag;
mod events;
mod history;
mod inspector;
mod listing;
mod nodes;
mod openapi;
mod operator;
mod own_state;
mod pace;
mod pages;
mod path;
mod presence;
mod proxy;
mod pushed;
mod reply;
mod routes;
mod serve;
mod socket;
mod stream;
mod token;
mod trash;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use warp::http::{HeaderMap, Request, StatusCode, header};
use warp::reject::{self, MethodNotAllowed, Rejection};
use warp::reply::Response;
use warp::{Filter, path as segment};
use ydash_proto::access::{Admission, Capabilities};
use ydash_proto::id::DashboardId;

use crate::allowances::Allowances;
use crate::audit::Audit;
use crate::auth::{Authenticator, Caller, Denied, Eventual, Whence, read_link};
use crate::config::Network;
use crate::ledger::Ledger;
use crate::metrics::{Exposition, Metrics, Route};
use crate::trace::Traces;

pub use access::{AccessAnswer, AccessCall, AccessControl, AccessRefusal, NoRecords, Scope};
pub use addresses::{AddressLimits, Addresses, Crowded};
pub use dashboards::{CREATE_BYTES_MAX, Dashboards, Noted, Read, ReadError, WriteError};
pub use editing::{Body, Conditions, EditError, Edited, Outcome, Shown, Wish};
pub use etag::{Digest, Etag, Tags};
pub use events::{Attend, Attendance, Manner, PresenceState, Shows};
pub use history::{VersionCall, VersionRefusal};
pub use inspector::Inspector;
pub use nodes::Nodes;
pub use openapi::{document as openapi, reference as api_reference};
pub use pace::PaceLimits;
pub use pages::Pages;
pub use presence::Leases;
pub use pushed::Pushes;
pub use routes::{calls, requests, rights};
pub use serve::{Listener, serve};
pub use socket::{Destination, Handshake, NoEntry, Permit, SocketHandler, SocketOptions, Upgraded};
pub use trash::{Deleted, Deletion, DeletionRefusal, Deletions, Listed as TrashListed, NoDeletions};

use operator::Curious;
use reply::{Problem, Refused, bytes_response, json_response};

/// What all routes and handshakes of one server share.
#[derive(Clone)]
pub struct Site {
    /// Whether this is the address that is for operators alone.
    pub is_admin: bool,
    /// Decides who enters.
    pub authenticator: Arc<dyn Authenticator>,
    /// What is written down about who may do what.
    pub access: Arc<dyn AccessControl>,
    /// What is told of who changed who may do what, and of who came.
    pub audit: Audit,
    /// What REST reads and writes.
    pub dashboards: Arc<dyn Dashboards>,
    /// What deletes dashboards.
    pub deletions: Arc<dyn Deletions>,
    /// What `/inspector` shows, and whether it shows anything.
    pub inspector: Arc<dyn Inspector>,
    /// As the knob says.
    pub inspector_on: bool,
    /// Which nodes REST tells of.
    pub nodes: Arc<dyn Nodes>,
    /// What programs push for widgets.
    pub pushes: Arc<Pushes>,
    /// The leases by which calls show somebody.
    pub leases: Leases,
    /// Counts requests and refusals; its `store_up` is what `/readyz` tells.
    pub metrics: Arc<Metrics>,
    /// The per-address and process-wide limits.
    pub addresses: Arc<Addresses>,
    /// The limits of users on this node.
    pub allowances: Arc<Allowances>,
    /// Which pages may come in.
    pub pages: Pages,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// How long a request's head may take, and how long an idle connection waits for one.
    pub header_timeout: Duration,
    /// Whether offers of permessage-deflate are taken.
    pub compresses: bool,
    /// How slow bodies and answers may be.
    pub pace: PaceLimits,
    /// The largest body.
    pub frame_bytes_max: usize,
    /// The largest stateless message.
    pub stateless_bytes_max: usize,
    /// The largest awareness state.
    pub awareness_state_bytes_max: usize,
    /// Cancelled when the node begins to drain.
    pub draining: CancellationToken,
    /// What memory of requests and answers is paid from.
    pub ledger: Arc<Ledger>,
    /// What some requests are followed by.
    pub traces: Traces,
}

impl Site {
    /// Says who comes to a dashboard, and what they may do there: by their token or link, and by what is written down. The caller finds
    /// out whether that includes what is `wanted`.
    pub fn admit(
        &self,
        dashboard: &DashboardId,
        from: &Whence,
        token: Option<&str>,
        wanted: Capabilities,
    ) -> Eventual<Admission> {
        let decided = match token.and_then(read_link) {
            Some(link) => self.access.decide_link(dashboard, from, link, wanted),
            None => {
                let (access, dashboard, address) = (Arc::clone(&self.access), dashboard.clone(), from.address);
                match self.authenticator.authenticate(&Caller { from, dashboard: &dashboard, token }) {
                    Eventual::Now(Ok(admission)) => access.decide(&dashboard, address, admission),
                    Eventual::Now(Err(denied)) => Eventual::Now(Err(denied)),
                    Eventual::Later(verdict) => Eventual::Later(Box::pin(async move {
                        let admission = verdict.await?;
                        access.decide(&dashboard, address, admission).wait().await
                    })),
                }
            }
        };
        let authenticator = Arc::clone(&self.authenticator);
        let (audit, dashboard) = (self.audit.clone(), dashboard.clone());
        decided.and_then(move |admission| {
            let (is_let_in, author) = (!admission.access.is_none(), admission.principal.author());
            // Names that nobody in particular asks for are anybody's invention.
            let target = if is_let_in || author.is_some() { dashboard.as_str() } else { "" };
            audit.count(if is_let_in { "dashboard.entered" } else { "dashboard.refused" }, author, target);
            if is_let_in { Ok(admission) } else { Err(authenticator.refusal(&admission.principal)) }
        })
    }

    /// Counts another session on a socket that is open already, until the permit is dropped.
    ///
    /// # Errors
    /// [`Crowded`] – it passes: wait, or say which limit it is.
    pub fn join_again(&self, address: IpAddr) -> Result<Permit, Crowded> {
        let session = self.addresses.join(address, Instant::now())?;
        Ok(Permit::new(session, None, Arc::clone(&self.metrics)))
    }

    /// Answers a problem, and counts it.
    fn refuse(&self, refused: impl Into<Refused>) -> Response {
        let refused = refused.into();
        debug!(problem = ?refused.problem, "request refused");
        if let Some(refusal) = refused.problem.refusal() {
            self.metrics.refusals.inc(refusal);
        }
        refused.into_response()
    }
}

/// Every route; those below `/api` are in the table of [`routes`]. (Upgrades do not come here.)
fn routes(site: &Arc<Site>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + use<> {
    let health = segment!("healthz").and(reading()).and(with(site)).map(health);
    let ready = segment!("readyz").and(reading()).and(with(site)).map(ready);
    let metrics = segment!("metrics").and(reading()).and(curious()).and(with(site)).then(
        |curious: Curious, site: Arc<Site>| async move {
            let allowed = curious.check(&site).await;
            allowed
                .map_or_else(|problem| on(Route::Metrics, site.refuse(problem)), |()| metrics(&site, &curious.headers))
        },
    );
    let api = segment!("api" / ..)
        .and(warp::method())
        .and(warp::path::full())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ClientAddress>())
        .and(warp::body::stream())
        .and(with(site))
        .then(|method, path: warp::path::FullPath, query, headers, address: ClientAddress, body, site| {
            let (path, body) = (path.as_str().to_owned(), routes::body_stream(body));
            routes::dispatch(site, routes::Incoming { method, path, query, headers, address: address.0, body })
        });
    let page = reading().and(warp::path::full()).and(curious()).and(with(site)).and_then(
        |path: warp::path::FullPath, curious: Curious, site: Arc<Site>| async move {
            if path.as_str() == "/inspector"
                && let Err(problem) = curious.check_inspector_page(&site).await
            {
                return Ok(on(Route::Inspector, site.refuse(problem)));
            }
            let headers = curious.headers;
            let page = assets::answer(path.as_str(), &headers).or_else(|| assets::moved(path.as_str(), &headers));
            page.map(|page| on(Route::Page, page)).ok_or_else(reject::not_found)
        },
    );

    health.or(ready).unify().or(metrics).unify().or(api).unify().or(page).unify().recover(unmatched).unify()
}

fn health(_: Arc<Site>) -> Response {
    on(Route::Health, json_response(StatusCode::OK, &json!({ "status": "alive" })))
}

/// Ready means: send new clients here. Members of live rooms are served while the store is down, newcomers may not be.
fn ready(site: Arc<Site>) -> Response {
    let (status, body) = if site.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "draining" }))
    } else if site.metrics.store_up.get() == 0 {
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "store_unavailable" }))
    } else if !site.authenticator.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "keys_unavailable" }))
    } else {
        (StatusCode::OK, json!({ "status": "ready" }))
    };
    on(Route::Ready, json_response(status, &body))
}

fn metrics(site: &Site, headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Exposition::accepted(accept);
    on(Route::Metrics, bytes_response(StatusCode::OK, format.content_type(), site.metrics.expose(format)))
}

/// Whether a path is a probe's. Orchestrators name hosts as they like, and what they get tells nobody anything.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// What a request that is refused at the door is counted under.
fn route_of(path: &str) -> Route {
    if let Some(counted) = routes::counted(path) {
        return counted;
    }
    match path {
        "/" => Route::Page,
        "/healthz" => Route::Health,
        "/readyz" => Route::Ready,
        "/metrics" => Route::Metrics,
        "/inspector" => Route::Inspector,
        _ => Route::Unknown,
    }
}

/// Who wants to see what is for operators.
fn curious() -> impl Filter<Extract = (Curious,), Error = Rejection> + Clone {
    warp::ext::get::<ClientAddress>()
        .and(warp::header::headers_cloned())
        .and(query())
        .map(|address: ClientAddress, headers, query| Curious { address: address.0, headers, query })
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Problem {
        match denied {
            Denied::Forbidden => Problem::Forbidden,
            Denied::Unauthenticated | Denied::Expired { .. } => Problem::Unauthenticated,
            Denied::TryAgain => Problem::Undecided,
        }
    }
}

async fn unmatched(rejection: Rejection) -> Result<Response, Infallible> {
    let problem = if rejection.find::<MethodNotAllowed>().is_some() {
        Problem::MethodNotAllowed
    } else if rejection.is_not_found() {
        Problem::NotFound
    } else {
        Problem::BadRequest("the request does not fit this path")
    };
    Ok(Refused::from(problem).into_response())
}

fn reading() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Copy {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

fn with(site: &Arc<Site>) -> impl Filter<Extract = (Arc<Site>,), Error = Infallible> + Clone + use<> {
    let site = Arc::clone(site);
    warp::any().map(move || Arc::clone(&site))
}

/// Marks a response with the route it is counted under.
fn on(route: Route, mut response: Response) -> Response {
    response.extensions_mut().insert(route);
    response
}

/// Where a request comes from, as a request extension.
#[derive(Clone, Copy, Debug)]
struct ClientAddress(IpAddr);

/// The routes as a service, whatever warp calls its type.
#[derive(Clone)]
pub struct Routes(Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response> + Send + Sync>);

impl Routes {
    /// The routes of `site`.
    #[must_use]
    pub fn new(site: &Arc<Site>) -> Routes {
        let service = TowerToHyperService::new(warp::service(routes(site).boxed()));
        Routes(Arc::new(move |request| {
            let answer = service.call(request);
            Box::pin(async move { answer.await.unwrap_or_else(|never: Infallible| match never {}) })
        }))
    }

    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'static, Response> {
        (self.0)(request)
    }
}
