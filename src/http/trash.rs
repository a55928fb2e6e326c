//! Deleting dashboards over REST: into the trash, back from there, and for good.
//!
//! A deletion is answered when every node has sent its members away: `"applied": true`, or 202 with the nodes that have not confirmed. What
//! becomes of a dashboard is behind [`Deletions`], so that nothing below knows HTTP.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::{Admission, Capabilities, Principal};
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;

use crate::http::operator::Curious;
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::{Call, NAME};
use crate::http::{Site, inspector, path, token};

/// What stores and nodes offer to REST.
pub trait Deletions: Send + Sync + 'static {
    /// Does what is asked of a dashboard. The caller may.
    fn act(
        &self,
        dashboard: DashboardId,
        by: Admission,
        what: Deletion,
    ) -> BoxFuture<'static, Result<Deleted, DeletionRefusal>>;

    /// Names of a workspace that have something in the trash, with what that is, those after `after` only; and where to go on.
    fn list(
        &self,
        workspace: Arc<str>,
        after: Option<DashboardId>,
    ) -> BoxFuture<'static, Result<Listed, DeletionRefusal>>;
}

/// Names with what the trash holds of them, and where to go on.
pub type Listed = (Vec<(DashboardId, Value)>, Option<DashboardId>);

/// There is no trash, and nothing is deleted.
#[derive(Clone, Copy, Debug)]
pub struct NoDeletions;

impl Deletions for NoDeletions {
    fn act(&self, _: DashboardId, _: Admission, _: Deletion) -> BoxFuture<'static, Result<Deleted, DeletionRefusal>> {
        Box::pin(async { Err(DeletionRefusal::Unavailable) })
    }

    fn list(&self, _: Arc<str>, _: Option<DashboardId>) -> BoxFuture<'static, Result<Listed, DeletionRefusal>> {
        Box::pin(async { Ok((Vec::new(), None)) })
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Into the trash.
    Delete,
    /// Back from there: what was deleted last, or that life.
    Restore(Option<Life>),
    /// For good, whether it is in the trash or not: all of the name, or that life in the trash.
    Purge(Option<Life>),
    /// The name begins anew.
    Begin,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Deleted {
    /// What is answered, without the nodes.
    pub body: Value,
    /// Nodes that have not confirmed.
    pub missing: Vec<String>,
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionRefusal {
    /// Nobody has written to it, or nothing of it is in the trash.
    NotThere,
    /// A dashboard of the name is there.
    Exists,
    /// A limit is reached; the sentence names it.
    Full(&'static str),
    /// Not to this caller.
    Forbidden,
    /// The store does not answer.
    Unavailable,
}

impl From<DeletionRefusal> for Problem {
    fn from(refusal: DeletionRefusal) -> Problem {
        match refusal {
            DeletionRefusal::NotThere => Problem::NoDashboard,
            DeletionRefusal::Exists => Problem::Exists,
            DeletionRefusal::Full(why) => Problem::DocumentLimit(why),
            DeletionRefusal::Forbidden => Problem::Forbidden,
            DeletionRefusal::Unavailable => Problem::StoreUnavailable,
        }
    }
}

/// `DELETE` of a whole dashboard.
pub(super) async fn delete(call: Call) -> Result<Response, Refused> {
    let has_condition = call.headers.contains_key("if-match") || call.headers.contains_key("if-none-match");
    if has_condition || call.query("dry-run")?.is_some() {
        return Err(Problem::BadRequest("conditions and dry runs are for what is removed at a place: say at").into());
    }
    if !keeps(&call.site, &call.author()) {
        // They may remove what is in it.
        return Err(Problem::BadRequest(
            "at names what is to be removed; the dashboard itself is for whoever manages it",
        )
        .into());
    }
    let life = life(&call)?;
    let purge = call.query("purge")?.map(|purge| purge.into_owned());
    let what = match purge.as_deref() {
        None | Some("false") if life.is_some() => {
            return Err(Problem::BadRequest("life is for what is in the trash: with purge=true").into());
        }
        None | Some("false") => Deletion::Delete,
        Some("true" | "") => {
            let site = Arc::clone(&call.site);
            let is_known = call.author().access.may(Capabilities::MANAGE);
            let curious = Curious { address: call.address, headers: call.headers.clone(), query: call.query.clone() };
            if !is_known {
                may_purge(&site, curious).await?;
            }
            Deletion::Purge(life)
        }
        Some(_) => return Err(Problem::BadRequest("purge is true or false").into()),
    };
    act(call, what).await
}

/// `POST …/restore-deleted`
pub(super) async fn restore(call: Call) -> Result<Response, Refused> {
    let life = life(&call)?;
    act(call, Deletion::Restore(life)).await
}

/// `GET /api/workspaces/<workspace>/trash`: what the caller may take back.
pub(super) async fn list(call: Call) -> Result<Response, Refused> {
    let name = path::decode(call.parameter(NAME)).ok_or(Problem::BadName)?;
    let within = DashboardId::new(&name, "x").map_err(|_| Problem::BadName)?;
    let after = match call.query("after")? {
        Some(after) => {
            Some(DashboardId::parse(&after).map_err(|_| Problem::BadRequest("after is a dashboard's name"))?)
        }
        None => None,
    };
    let (site, address) = (Arc::clone(&call.site), call.address);
    site.addresses.request(address, std::time::Instant::now()).map_err(Problem::Crowded)?;
    let token = token::find(&call.headers, &call.query);
    let from = token::whence(address, &call.headers);
    drop(call);
    let (found, next) = site.deletions.list(within.workspace().into(), after).await.map_err(Problem::from)?;
    let mut shown = Vec::new();
    for (dashboard, what) in found {
        let admitted = site.admit(&dashboard, &from, token.as_deref(), Capabilities::MANAGE).wait().await;
        if admitted.is_ok_and(|admission| keeps(&site, &admission)) {
            shown.push(what);
        }
    }
    let body = json!({ "trash": shown, "next": next.map(|name| name.to_string()) });
    Ok(json_response(StatusCode::OK, &body))
}

/// Lets a name begin anew that was deleted.
pub(super) fn begin(call: &Call) -> BoxFuture<'static, Result<Deleted, DeletionRefusal>> {
    call.site.deletions.act(call.dashboard(), call.author(), Deletion::Begin)
}

async fn act(call: Call, what: Deletion) -> Result<Response, Refused> {
    let (dashboard, pushes) = (call.dashboard(), Arc::clone(&call.site.pushes));
    let acting = call.site.deletions.act(dashboard.clone(), call.author(), what);
    drop(call);
    let Deleted { mut body, missing } = acting.await.map_err(Problem::from)?;
    if matches!(what, Deletion::Delete | Deletion::Purge(None)) {
        pushes.forget(&dashboard);
    }
    let is_applied = missing.is_empty();
    body["applied"] = is_applied.into();
    if !is_applied {
        body["nodes"] = missing.into();
    }
    Ok(json_response(if is_applied { StatusCode::OK } else { StatusCode::ACCEPTED }, &body))
}

/// Whether somebody may delete and take back: who manages the dashboard. Where no tokens are read nobody can, and whoever edits may.
pub(super) fn keeps(site: &Site, admission: &Admission) -> bool {
    let is_nobody = admission.principal == Principal::Anonymous && !site.authenticator.knows_operators();
    admission.access.may(Capabilities::MANAGE) || is_nobody && admission.access.may(Capabilities::WRITE)
}

/// Nothing brings back what is ended for good: where no tokens are read, only somebody on the server's own machine may.
async fn may_purge(site: &Site, curious: Curious) -> Result<(), Problem> {
    if site.is_admin || site.authenticator.knows_operators() {
        return curious.check(site).await;
    }
    if inspector::is_local(curious.address, &curious.headers) { Ok(()) } else { Err(Problem::Forbidden) }
}

fn life(call: &Call) -> Result<Option<Life>, Problem> {
    match call.query("life")? {
        None => Ok(None),
        Some(life) => Ok(Some(Life(life.parse().map_err(|_| Problem::BadRequest("life is a number"))?))),
    }
}
