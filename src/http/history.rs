//! Versions of a dashboard over REST: as JSON, as Yjs bytes, as a new dashboard.
//!
//! A version is a dashboard of its own, `workspace/@at/<version>/<name>`, that nobody can write to; these routes only name it in another
//! way.

use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::{Capabilities, Target};
use ydash_proto::id::DashboardId;

use crate::http::dashboards::{has_memory, take_body};
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::Call;
use crate::http::{dashboards, editing, token};

/// Bytes of a body that names a dashboard.
const BODY_BYTES_MAX: usize = 4 << 10;

/// `GET …/at/<version>`
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    editing::read(at_version(call)?).await
}

/// `GET …/at/<version>/state`
pub(super) async fn read_state(call: Call) -> Result<Response, Refused> {
    let call = at_version(call)?;
    has_memory(&call.site, call.address)?;
    // An empty document stands for a dashboard that nobody has written to, and not for a version that is not kept.
    dashboards::read_state(call).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    name: String,
}

/// `POST …/at/<version>/copy`
pub(super) async fn copy(call: Call) -> Result<Response, Refused> {
    let mut call = at_version(call)?;
    let (body, _lease) = take_body(&mut call, ("body", BODY_BYTES_MAX)).await?;
    let Copy { name } = serde_json::from_slice(&body).map_err(|_| Problem::BadRequest("the body is {\"name\": …}"))?;
    let target = DashboardId::parse(&name).map_err(|_| Problem::BadName)?;
    let shown = token::find(&call.headers, &call.query);
    let from = token::whence(call.address, &call.headers);
    let wanted = Capabilities::WRITE;
    let admission = call.site.admit(&target, &from, shown.as_deref(), wanted).wait().await.map_err(Problem::from)?;
    if !admission.access.may(wanted) {
        return Err(Problem::Forbidden.into());
    }
    has_memory(&call.site, call.address)?;
    let read = call.site.dashboards.read_state(call.dashboard(), None).await.map_err(Problem::from)?;
    call.site.addresses.charge(call.address, read.cost, Instant::now());
    let began = call.site.dashboards.begin(target.clone(), admission, read.state).await.map_err(Problem::from)?;
    if !began {
        return Err(Problem::Exists.into());
    }
    Ok(json_response(StatusCode::CREATED, &json!({ "name": target.as_str(), "durable": true })))
}

/// The call, about the version that its path names.
fn at_version(mut call: Call) -> Result<Call, Problem> {
    const WHAT: &str = "a version is a position, a time such as 2026-11-24T14:02:00Z, or -2h";
    let version = call.parameter("version").to_owned();
    let Some(target) = call.target.take() else { return Err(Problem::Internal) };
    let Target { dashboard, admission } = target;
    let name = format!("@at/{version}/{}", dashboard.name());
    let past = DashboardId::new(dashboard.workspace(), &name).map_err(|_| Problem::BadName)?;
    if past.past().is_none_or(|(present, _)| present != dashboard) {
        return Err(Problem::BadRequest(WHAT));
    }
    call.target = Some(Target { dashboard: past, admission });
    Ok(call)
}
