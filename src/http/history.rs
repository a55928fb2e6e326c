//! Versions of a dashboard over REST: as JSON, as Yjs bytes, as a new dashboard; and those that are kept with their content.
//!
//! A version is a dashboard of its own, `workspace/@at/<version>/<name>`, that nobody can write to; these routes only name it in another
//! way.

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::{Capabilities, Target};
use ydash_proto::id::DashboardId;
use ydash_proto::limits::VersionLimits;
use ydash_proto::version::VersionId;

use crate::audit::Event;
use crate::http::dashboards::{has_memory, held, take_body};
use crate::http::reply::{Problem, Refused, bytes_response, json_response};
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
    const WHAT: &str = "a version is an id, a position, a time such as 2026-11-24T14:02:00Z, or -2h";
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

/// A call about the versions of a dashboard that are kept with their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionCall {
    /// Lists them, newest first.
    List,
    /// Keeps what the dashboard shows.
    Keep {
        /// Not empty.
        name: String,
        /// May be empty.
        note: String,
    },
    /// Gives one another name or note.
    Describe {
        /// The version.
        id: VersionId,
        /// Not empty.
        name: Option<String>,
        /// May be empty.
        note: Option<String>,
    },
    /// Removes one.
    Remove(VersionId),
}

/// The reason why a call about versions is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionRefusal {
    /// Nobody has written to the dashboard.
    NoDashboard,
    /// It was deleted.
    Deleted,
    /// There is no version of that id.
    NoVersion,
    /// Named versions fill the limit of their number.
    FullOfVersions,
    /// Named versions fill the limit of their bytes.
    FullOfBytes,
    /// Try again.
    Unavailable,
}

impl From<VersionRefusal> for Problem {
    fn from(refusal: VersionRefusal) -> Problem {
        const { assert!(VersionLimits::DEFAULT.count == 1000 && VersionLimits::DEFAULT.bytes == 256 << 20) };
        match refusal {
            VersionRefusal::NoDashboard => Problem::NoDashboard,
            VersionRefusal::Deleted => Problem::Deleted,
            VersionRefusal::NoVersion => Problem::NoVersion,
            VersionRefusal::FullOfVersions => {
                Problem::DocumentLimit("a dashboard keeps at most 1000 versions: remove one first")
            }
            VersionRefusal::FullOfBytes => {
                Problem::DocumentLimit("versions of a dashboard take at most 256 MiB: remove one first")
            }
            VersionRefusal::Unavailable => Problem::StoreUnavailable,
        }
    }
}

/// `GET …/versions`
pub(super) async fn list(call: Call) -> Result<Response, Refused> {
    has_memory(&call.site, call.address)?;
    let listed = call.site.dashboards.versions(call.dashboard(), call.author(), VersionCall::List).await;
    // Notes may make several MiB of it.
    let text = listed.map_err(Problem::from)?.to_string();
    call.site.addresses.charge(call.address, text.len(), Instant::now());
    Ok(bytes_response(StatusCode::OK, "application/json", held(&call.site, call.address, text.into())?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVersion {
    name: String,
    #[serde(default)]
    note: String,
}

/// `POST …/versions`
pub(super) async fn keep(mut call: Call) -> Result<Response, Refused> {
    has_memory(&call.site, call.address)?;
    let (body, _lease) = take_body(&mut call, ("body", VERSION_BODY_BYTES_MAX)).await?;
    let said = serde_json::from_slice(&body);
    let NewVersion { name, note } =
        said.map_err(|_| Problem::BadRequest("the body is {\"name\": …}, and perhaps \"note\""))?;
    let what = VersionCall::Keep { name: name_of(&name)?, note: note_of(note)? };
    let (site, address) = (Arc::clone(&call.site), call.address);
    let kept = act(call, "version.named", what).await?;
    // A short body makes the store write a whole state.
    let bytes = kept["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok());
    site.addresses.charge(address, bytes.unwrap_or_default(), Instant::now());
    Ok(json_response(StatusCode::CREATED, &kept))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: Option<String>,
    note: Option<String>,
}

/// `PATCH …/versions/<id>`
pub(super) async fn describe(mut call: Call) -> Result<Response, Refused> {
    let id = version_id(&call)?;
    let (body, _lease) = take_body(&mut call, ("body", VERSION_BODY_BYTES_MAX)).await?;
    let said = serde_json::from_slice::<Description>(&body).ok();
    let said = said.filter(|Description { name, note }| name.is_some() || note.is_some());
    let Description { name, note } = said.ok_or(Problem::BadRequest("the body has \"name\", \"note\" or both"))?;
    let (name, note) = (name.as_deref().map(name_of).transpose()?, note.map(note_of).transpose()?);
    let described = act(call, "version.renamed", VersionCall::Describe { id, name, note }).await?;
    Ok(json_response(StatusCode::OK, &described))
}

/// `DELETE …/versions/<id>`
pub(super) async fn remove(call: Call) -> Result<Response, Refused> {
    let what = VersionCall::Remove(version_id(&call)?);
    Ok(json_response(StatusCode::OK, &act(call, "version.removed", what).await?))
}

/// Enough for a name and a note of full length, with every character escaped.
const VERSION_BODY_BYTES_MAX: usize = 64 << 10;

/// Carries out a call that changes versions, and writes it into the audit log.
async fn act(call: Call, kind: &'static str, what: VersionCall) -> Result<Value, Problem> {
    let (dashboard, by) = (call.dashboard(), call.author());
    let id = match &what {
        VersionCall::Describe { id, .. } | VersionCall::Remove(id) => Some(id.to_string()),
        VersionCall::List | VersionCall::Keep { .. } => None,
    };
    let actor = by.principal.author();
    let answer = call.site.dashboards.versions(dashboard.clone(), by, what).await?;
    let id = id.map_or_else(|| answer["id"].clone(), Value::from);
    let target = dashboard.as_str().into();
    // An editor may do this as often as it may call: not every line may push an older one out.
    call.site.audit.tell_often(Event { kind, actor, target, data: json!({ "id": id }) });
    Ok(answer)
}

fn version_id(call: &Call) -> Result<VersionId, Problem> {
    VersionId::parse(call.parameter("id")).ok_or(Problem::NoVersion)
}

fn name_of(name: &str) -> Result<String, Problem> {
    const { assert!(VersionLimits::NAME_BYTES_MAX == 200) };
    let name = name.trim();
    let is_name =
        !name.is_empty() && name.len() <= VersionLimits::NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if is_name {
        Ok(name.to_owned())
    } else {
        Err(Problem::BadRequest("name is 1 to 200 bytes without control characters"))
    }
}

fn note_of(note: String) -> Result<String, Problem> {
    const { assert!(VersionLimits::NOTE_BYTES_MAX == 4096) };
    if note.len() <= VersionLimits::NOTE_BYTES_MAX {
        Ok(note)
    } else {
        Err(Problem::BadRequest("note is at most 4096 bytes"))
    }
}
