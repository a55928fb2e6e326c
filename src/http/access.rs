//! Who may do what, over REST: grants of a dashboard or a workspace, links, collaborators, blocked users.
//!
//! A change is answered when every node has taken it: `"applied": true`, or 202 with the nodes that have not confirmed. What records are
//! and do is behind [`AccessControl`], so that nothing below knows HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use serde_json::Value;
use warp::http::StatusCode;
use warp::http::header::{self, HeaderMap, HeaderValue};
use warp::reply::Response;
use ydash_proto::access::{Admission, Capabilities, Principal};
use ydash_proto::id::DashboardId;

use crate::auth::{Denied, Eventual, ShownLink, Whence};
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::{Call, NAME};
use crate::http::{dashboards, path, token};

/// The largest body of these requests: 500 grants with some conditions each. Clients know it as `access-bytes-max`; no setting raises it.
const ACCESS_BYTES_MAX: usize = 256 << 10;

/// What records of access offer to REST.
pub trait AccessControl: Send + Sync + 'static {
    /// Does what is asked, if `by` may.
    fn act(&self, by: Admission, what: AccessCall) -> BoxFuture<'static, Result<AccessAnswer, AccessRefusal>>;

    /// Completes what an authenticator says of somebody with what is written down.
    fn decide(&self, dashboard: &DashboardId, address: IpAddr, admission: Admission) -> Eventual<Admission>;

    /// Lets somebody in by a link. A visitor to whom it does not allow what is `wanted` spends none of its uses.
    fn decide_link(
        &self,
        dashboard: &DashboardId,
        from: &Whence,
        link: ShownLink,
        wanted: Capabilities,
    ) -> Eventual<Admission>;

    /// What somebody may do in a workspace as a whole.
    fn in_workspace(
        &self,
        principal: Principal,
        workspace: Arc<str>,
        address: IpAddr,
    ) -> BoxFuture<'static, Result<Capabilities, AccessRefusal>>;
}

/// Nothing is written down: what authenticators say is all there is.
#[derive(Clone, Copy, Debug)]
pub struct NoRecords;

impl AccessControl for NoRecords {
    fn act(&self, _: Admission, _: AccessCall) -> BoxFuture<'static, Result<AccessAnswer, AccessRefusal>> {
        Box::pin(async { Err(AccessRefusal::Unavailable) })
    }

    fn decide(&self, _: &DashboardId, _: IpAddr, admission: Admission) -> Eventual<Admission> {
        Eventual::Now(Ok(admission))
    }

    fn decide_link(&self, _: &DashboardId, _: &Whence, _: ShownLink, _: Capabilities) -> Eventual<Admission> {
        Eventual::Now(Err(Denied::Unauthenticated))
    }

    fn in_workspace(
        &self,
        _: Principal,
        _: Arc<str>,
        _: IpAddr,
    ) -> BoxFuture<'static, Result<Capabilities, AccessRefusal>> {
        Box::pin(async { Ok(Capabilities::NONE) })
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum AccessCall {
    /// The grants of a dashboard or a workspace.
    Read(Scope),
    /// What a user may do, and why.
    Explain {
        /// Where.
        dashboard: DashboardId,
        /// Who.
        user: String,
        /// In which groups.
        groups: Vec<String>,
        /// From where.
        address: Option<String>,
    },
    /// Other grants.
    Write {
        /// Of what.
        scope: Scope,
        /// The version that is replaced; `None` for whichever.
        version: Option<u64>,
        /// What is asked for.
        asked: Value,
    },
    /// The links of a dashboard.
    Links(DashboardId),
    /// Another link.
    MakeLink(DashboardId, Value),
    /// A link less.
    RevokeLink(DashboardId, String),
    /// Users with a grant of their own.
    Collaborators(DashboardId),
    /// One more, or an invitation.
    Invite(DashboardId, Value),
    /// Somebody accepts an invitation.
    Accept(DashboardId, Value),
    /// One less.
    RemoveCollaborator(DashboardId, String),
    /// Every node reads everything again.
    Recheck,
    /// A user may do nothing any more.
    Block(String),
    /// A user may do again what grants say.
    Unblock(String),
}

/// What grants are of.
#[derive(Clone, Debug)]
pub enum Scope {
    /// One dashboard.
    Dashboard(DashboardId),
    /// All of a workspace.
    Workspace(Arc<str>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessAnswer {
    /// 200, 201, or 202 for a change that not all nodes have confirmed.
    pub status: u16,
    /// The record's version.
    pub version: Option<u64>,
    /// What is answered.
    pub body: Value,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// Not to this caller.
    Forbidden,
    /// No such link or collaborator.
    Missing,
    /// It is not understood; the sentence says why.
    Malformed(String),
    /// The record is of another version.
    Changed,
    /// A limit is reached; the sentence names it.
    Full(&'static str),
    /// The catalog does not answer, or its record is not understood.
    Unavailable,
}

/// `…/access`
pub(super) async fn read(mut call: Call) -> Result<Response, Refused> {
    let dashboard = call.dashboard();
    let what = match call.query("user")? {
        None => AccessCall::Read(Scope::Dashboard(dashboard)),
        Some(user) => {
            let groups = call.query("groups")?.unwrap_or_default();
            let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
            let address = call.query("address")?.map(|address| address.into_owned());
            AccessCall::Explain { dashboard, user: user.into_owned(), groups, address }
        }
    };
    let by = call.author();
    act(&mut call, by, what).await
}

/// `PUT …/access`
pub(super) async fn write(mut call: Call) -> Result<Response, Refused> {
    let (scope, version) = (Scope::Dashboard(call.dashboard()), if_match(&call.headers)?);
    let asked = take_json(&mut call).await?;
    let by = call.author();
    act(&mut call, by, AccessCall::Write { scope, version, asked }).await
}

/// `…/links`
pub(super) async fn links(mut call: Call) -> Result<Response, Refused> {
    let (by, what) = (call.author(), AccessCall::Links(call.dashboard()));
    act(&mut call, by, what).await
}

/// `POST …/links`
pub(super) async fn make_link(mut call: Call) -> Result<Response, Refused> {
    let asked = take_json(&mut call).await?;
    let (by, what) = (call.author(), AccessCall::MakeLink(call.dashboard(), asked));
    act(&mut call, by, what).await
}

/// `DELETE …/links/<id>`
pub(super) async fn revoke_link(mut call: Call) -> Result<Response, Refused> {
    let (by, what) = (call.author(), AccessCall::RevokeLink(call.dashboard(), call.parameter("id").to_owned()));
    act(&mut call, by, what).await
}

/// `…/collaborators`
pub(super) async fn collaborators(mut call: Call) -> Result<Response, Refused> {
    let (by, what) = (call.author(), AccessCall::Collaborators(call.dashboard()));
    act(&mut call, by, what).await
}

/// `POST …/collaborators`
pub(super) async fn invite(mut call: Call) -> Result<Response, Refused> {
    let asked = take_json(&mut call).await?;
    let (by, what) = (call.author(), AccessCall::Invite(call.dashboard(), asked));
    act(&mut call, by, what).await
}

/// `DELETE …/collaborators/<user>`
pub(super) async fn remove_collaborator(mut call: Call) -> Result<Response, Refused> {
    let user = call.parameter("user").to_owned();
    let (by, what) = (call.author(), AccessCall::RemoveCollaborator(call.dashboard(), user));
    act(&mut call, by, what).await
}

/// `POST …/invitations/accept`: whoever has the secret of an invitation has no grant yet.
pub(super) async fn accept(mut call: Call) -> Result<Response, Refused> {
    let principal = principal(&mut call).await?;
    let dashboard = path::dashboard(call.parameter(NAME)).map_err(|_| Problem::BadName)?;
    let asked = take_json(&mut call).await?;
    let by = Admission { principal, ..Admission::default() };
    act(&mut call, by, AccessCall::Accept(dashboard, asked)).await
}

/// `/api/workspaces/<workspace>/access`
pub(super) async fn read_workspace(mut call: Call) -> Result<Response, Refused> {
    let (by, workspace) = workspace(&mut call).await?;
    act(&mut call, by, AccessCall::Read(Scope::Workspace(workspace))).await
}

/// `PUT /api/workspaces/<workspace>/access`
pub(super) async fn write_workspace(mut call: Call) -> Result<Response, Refused> {
    let (by, workspace) = workspace(&mut call).await?;
    let (scope, version) = (Scope::Workspace(workspace), if_match(&call.headers)?);
    let asked = take_json(&mut call).await?;
    act(&mut call, by, AccessCall::Write { scope, version, asked }).await
}

/// `POST /api/admin/recheck`
pub(super) async fn recheck(mut call: Call) -> Result<Response, Refused> {
    let by = operator(&mut call).await?;
    act(&mut call, by, AccessCall::Recheck).await
}

/// `POST /api/users/<user>/block`
pub(super) async fn block(mut call: Call) -> Result<Response, Refused> {
    let (by, user) = (operator(&mut call).await?, user(&call)?);
    act(&mut call, by, AccessCall::Block(user)).await
}

/// `DELETE /api/users/<user>/block`
pub(super) async fn unblock(mut call: Call) -> Result<Response, Refused> {
    let (by, user) = (operator(&mut call).await?, user(&call)?);
    act(&mut call, by, AccessCall::Unblock(user)).await
}

/// Whoever calls, as far as verified.
async fn principal(call: &mut Call) -> Result<Principal, Problem> {
    call.site.addresses.request(call.address, Instant::now()).map_err(Problem::Crowded)?;
    let token = token::find(&call.headers, &call.query);
    let principal = call.site.authenticator.identify(token.as_deref()).wait().await?;
    call.site.allowances.call(&principal).map_err(Problem::UserLimit)?;
    Ok(principal)
}

/// The workspace that the path names, and who manages it.
async fn workspace(call: &mut Call) -> Result<(Admission, Arc<str>), Problem> {
    let principal = principal(call).await?;
    let name = path::decode(call.parameter(NAME)).ok_or(Problem::BadName)?;
    // A workspace is whatever a dashboard could be in.
    let within = DashboardId::new(&name, "x").map_err(|_| Problem::BadName)?;
    let workspace: Arc<str> = within.workspace().into();
    let may = call.site.access.in_workspace(principal.clone(), Arc::clone(&workspace), call.address).await;
    if !may.map_err(refused)?.contains(Capabilities::MANAGE) {
        return Err(Problem::Forbidden);
    }
    Ok((Admission { principal, ..Admission::default() }, workspace))
}

async fn operator(call: &mut Call) -> Result<Admission, Problem> {
    let principal = principal(call).await?;
    if !principal.is_operator() {
        return Err(Problem::Forbidden);
    }
    Ok(Admission { principal, ..Admission::default() })
}

fn user(call: &Call) -> Result<String, Problem> {
    let user = path::decode(call.parameter(NAME)).ok_or(Problem::BadRequest("the path is not UTF-8"))?;
    Ok(user.into_owned())
}

async fn act(call: &mut Call, by: Admission, what: AccessCall) -> Result<Response, Refused> {
    let AccessAnswer { status, version, body } = match call.site.access.act(by, what).await {
        Ok(answer) => answer,
        Err(AccessRefusal::Malformed(why)) => {
            return Err(Refused::at(Problem::BadRequest("what is asked for is not understood"), "", why));
        }
        Err(refusal) => return Err(refused(refusal).into()),
    };
    let mut response = json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &body);
    if let Some(etag) = version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

fn refused(refusal: AccessRefusal) -> Problem {
    match refusal {
        AccessRefusal::Forbidden => Problem::Forbidden,
        AccessRefusal::Missing => Problem::NotFound,
        AccessRefusal::Malformed(_) => Problem::BadRequest("the request is not understood"),
        AccessRefusal::Changed => Problem::Precondition,
        AccessRefusal::Full(which) => Problem::DocumentLimit(which),
        AccessRefusal::Unavailable => Problem::StoreUnavailable,
    }
}

/// The version that a request expects. Anything but one version in quotes, or a star, is refused: it must not count as no condition.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    const MALFORMED: Problem = Problem::BadRequest("If-Match takes one version, as the ETag of an answer");
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    match value.to_str() {
        Ok("*") => Ok(None),
        Ok(tag) => {
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
            version.map(Some).ok_or(MALFORMED)
        }
        Err(_) => Err(MALFORMED),
    }
}

async fn take_json(call: &mut Call) -> Result<Value, Problem> {
    let (body, _lease) = dashboards::take_body(call, ("access-bytes-max", ACCESS_BYTES_MAX)).await?;
    serde_json::from_slice(&body).map_err(|_| Problem::BadRequest("the body is not JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_not_understood_is_never_none() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
            if_match(&headers)
        };
        assert_eq!(if_match(&HeaderMap::new()), Ok(None));
        assert_eq!((read("*"), read("\"17\"")), (Ok(None), Ok(Some(17))));
        for value in ["17", "W/\"17\"", "\"17\", \"18\"", "\"\"", "\"-1\""] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
