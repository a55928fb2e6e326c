//! `/api/dashboard/state`: a user's own data in a workspace, as one JSON object. It is the root `state` of the user's private document, so
//! pages may have it live over a socket, too.
//!
//! Calls and fields are those of servers that keep such a state without a document. A version is counted for their clients; it refuses
//! nobody, since each call is merged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::{Capabilities, Principal, Target};
use ydash_proto::document::edit::{ChangeError, Place};
use ydash_proto::id::{DEFAULT_WORKSPACE, DashboardId};

use crate::http::dashboards::{ReadError, has_memory, held, take_body};
use crate::http::editing::{Body, Conditions, EDIT_BYTES_MAX, EditError, Wish};
use crate::http::etag::Tags;
use crate::http::reply::{Problem, Refused, bytes_response, json_response};
use crate::http::routes::Call;
use crate::http::{Site, token};

/// The root that is the state, and the one that counts its versions.
const STATE: &str = "state";
const COUNTED: &str = "state_info";

/// How often a document is begun, or merged into, that somebody else began or ended meanwhile.
const ATTEMPTS: usize = 4;

/// `GET /api/dashboard/state`
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    let target = own(&call, &workspace_asked(&call)?, Capabilities::READ).await?;
    let (site, address) = (&call.site, call.address);
    has_memory(site, address)?;
    let (state, version) = shown(site, address, &target).await?;
    let text = json!({ "state": state, "version": version }).to_string();
    site.addresses.charge(address, text.len(), Instant::now());
    Ok(bytes_response(StatusCode::OK, "application/json", held(site, address, text.into())?))
}

/// `POST /api/dashboard/state`
pub(super) async fn merge(mut call: Call) -> Result<Response, Refused> {
    let (body, _lease) = take_body(&mut call, ("edit-bytes-max", EDIT_BYTES_MAX)).await?;
    let sent: Map<String, Value> =
        serde_json::from_slice(&body).map_err(|_| Problem::BadRequest("the body is a JSON object"))?;
    let Some(state @ Value::Object(_)) = sent.get("state") else {
        return Err(Problem::BadRequest("state is an object").into());
    };
    let workspace = match sent.get("workspaceId") {
        Some(Value::String(workspace)) => workspace.clone(),
        _ => workspace_asked(&call)?,
    };
    let target = own(&call, &workspace, Capabilities::WRITE).await?;
    let site = &call.site;
    let mut attempts = 0;
    let version = loop {
        attempts += 1;
        let version = shown(site, call.address, &target).await?.1 + 1;
        let mut sent = json!({ STATE: state, COUNTED: { "version": version } });
        let merged = edit(&call, &target, Place::Whole, Body::Merge(sent.to_string().into()), None).await;
        let begun = match merged {
            Err(EditError::NotFound) => {
                without_nulls(&mut sent);
                edit(&call, &target, Place::Whole, Body::Put(sent.to_string().into()), Some(Tags::Any)).await
            }
            merged => merged,
        };
        match begun {
            Ok(()) => break version,
            // Somebody else has just begun it: merged into that.
            Err(EditError::Precondition { .. }) if attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    };
    Ok(json_response(StatusCode::OK, &json!({ "success": true, "serverVersion": version })))
}

/// `DELETE /api/dashboard/state`
pub(super) async fn clear(call: Call) -> Result<Response, Refused> {
    let target = own(&call, &workspace_asked(&call)?, Capabilities::WRITE).await?;
    match edit(&call, &target, Place::At(format!("/{STATE}")), Body::Remove, None).await {
        Ok(()) | Err(EditError::NotFound | EditError::Change(ChangeError::NotThere { .. })) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(json_response(StatusCode::OK, &json!({ "success": true })))
}

fn workspace_asked(call: &Call) -> Result<String, Problem> {
    Ok(call.query("workspace")?.map_or(DEFAULT_WORKSPACE.to_owned(), |asked| asked.into_owned()))
}

/// The private document of whoever calls.
fn own(
    call: &Call,
    workspace: &str,
    needed: Capabilities,
) -> impl Future<Output = Result<Target, Problem>> + Send + use<> {
    let (site, address, workspace) = (Arc::clone(&call.site), call.address, workspace.to_owned());
    let token = token::find(&call.headers, &call.query);
    let from = token::whence(address, &call.headers);
    async move {
        site.addresses.request(address, Instant::now()).map_err(Problem::Crowded)?;
        let caller: Principal = site.authenticator.identify(token.as_deref()).wait().await?;
        site.allowances.call(&caller).map_err(Problem::UserLimit)?;
        let user = caller.as_user().ok_or(Problem::Unauthenticated)?;
        let dashboard = DashboardId::new(&workspace, &format!("~{}", user.id)).map_err(|_| Problem::BadName)?;
        let admission = site.admit(&dashboard, &from, token.as_deref(), needed).wait().await?;
        if !admission.access.may(needed) {
            return Err(Problem::Forbidden);
        }
        Ok(Target { dashboard, admission })
    }
}

/// The state and how often it was sent; nothing, before anything was.
async fn shown(site: &Site, address: IpAddr, target: &Target) -> Result<(Value, u64), Refused> {
    let whole = match site.dashboards.look(target.dashboard.clone(), address, Place::Whole).await {
        Ok(whole) => whole.json,
        Err(EditError::Read(ReadError::NotFound)) => return Ok((json!({}), 0)),
        Err(error) => return Err(error.into()),
    };
    let mut roots: Value = serde_json::from_slice(&whole).map_err(|_| Problem::Internal)?;
    let version = roots[COUNTED]["version"].as_f64().unwrap_or_default();
    let state = roots.get_mut(STATE).map_or_else(|| json!({}), Value::take);
    Ok((state, version as u64))
}

/// Writes to the document, and returns when that is durable.
fn edit(
    call: &Call,
    target: &Target,
    place: Place,
    body: Body,
    matches_none: Option<Tags>,
) -> impl Future<Output = Result<(), EditError>> + Send + use<> {
    let (site, address) = (Arc::clone(&call.site), call.address);
    let Target { dashboard, admission } = target.clone();
    let conditions = Conditions { matches: None, matches_none };
    let wish = Wish { place, body, base: None, conditions, is_dry_run: false };
    async move { site.dashboards.edit(dashboard, admission, address, wish).await.map(|_| ()) }
}

/// Removes members that are `null`, as merging into nothing does.
fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(without_nulls);
    }
}
