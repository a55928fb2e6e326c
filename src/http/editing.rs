//! Dashboards as JSON over REST: read, put, patched and removed, whole, by JSON pointer, or widget by widget.
//!
//! What was read has a version (`ETag`). A write may demand one (`If-Match`), or say which one it was made from (`Ydash-Base`): then what others
//! changed since then stays.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::http::header::{self, HeaderValue};
use warp::reply::Response;
use ydash_proto::document::CreateError;
use ydash_proto::document::edit::{self, ChangeError, JsonError, Place};

use crate::http::dashboards::{CREATE_BYTES_MAX, ReadError, WriteError, has_memory, held, take_body};
use crate::http::etag::{Etag, Tags};
use crate::http::reply::{Problem, Refused, bytes_response, json_response};
use crate::http::routes::Call;
use crate::http::trash;

/// What JSON may be sent for a dashboard that exists. Clients know it as `edit-bytes-max`; no setting raises it.
pub(super) const EDIT_BYTES_MAX: usize = 8 << 20;

/// JSON with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As text.
    pub json: Bytes,
    /// Its version.
    pub etag: Etag,
}

/// What somebody wants of a dashboard.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which part it is about.
    pub place: Place,
    /// What is to become of that.
    pub body: Body,
    /// The version that the body was made from.
    pub base: Option<Etag>,
    /// Which version may be there.
    pub conditions: Conditions,
    /// Only say what would change.
    pub is_dry_run: bool,
}

/// What is to become of a place, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// This JSON.
    Put(Bytes),
    /// What this JSON Merge Patch makes of it.
    Merge(Bytes),
    /// What this JSON Patch makes of it.
    Patch(Bytes),
    /// Nothing.
    Remove,
}

/// RFC 9110 §13.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`
    pub matches: Option<Tags>,
    /// `If-None-Match`
    pub matches_none: Option<Tags>,
}

impl Conditions {
    /// Whether a write may be made where `etag` is the version, if anything is there.
    ///
    /// # Errors
    /// [`EditError::Precondition`].
    pub fn check(&self, etag: Option<Etag>) -> Result<(), EditError> {
        let fits = self.matches.as_ref().is_none_or(|tags| tags.fit(etag));
        let fits_none = self.matches_none.as_ref().is_none_or(|tags| !tags.fit(etag));
        if fits && fits_none { Ok(()) } else { Err(EditError::Precondition { etag }) }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// In short.
    pub outcome: Outcome,
    /// The version that was written; `None` when nothing is left there.
    pub etag: Option<Etag>,
    /// Nothing was written.
    pub is_dry_run: bool,
    /// What would change, in a dry run.
    pub changes: Vec<Value>,
    /// Size of the update.
    pub bytes: usize,
}

/// What came of it, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was there before.
    Created,
    /// Something else was there before.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Nobody has written to the dashboard: answered 404.
    #[error("no such dashboard")]
    NotFound,
    /// The dashboard has nothing at this place: answered 404.
    #[error("nothing is at this place")]
    NothingThere,
    /// Another version is there: answered 412.
    #[error("another version is there")]
    Precondition {
        /// Which.
        etag: Option<Etag>,
    },
    /// This node does not know the version that the body was made from: answered 409.
    #[error("unknown base")]
    BaseUnknown,
    /// The body is not JSON, or too much of it: answered 400 or 422.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The body of a new dashboard is none: answered as for an update.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A new dashboard is larger than one may begin: answered 413.
    #[error("too large to begin with")]
    CreateTooLarge,
    /// It cannot be made of what is there: answered 404, 409 or 422.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A document cannot become that: answered 422.
    #[error(transparent)]
    Edit(#[from] edit::EditError),
    /// The document is too large, or made to be too dear, to be edited as JSON: answered 422.
    #[error("dashboard cannot be edited as JSON")]
    NotEditable,
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<EditError> for Refused {
    fn from(error: EditError) -> Refused {
        match error {
            EditError::NotFound => Problem::NoDashboard.into(),
            EditError::NothingThere => Problem::NothingThere.into(),
            EditError::Precondition { .. } => Problem::Precondition.into(),
            EditError::BaseUnknown => Problem::BaseUnknown.into(),
            EditError::Json(JsonError::NotJson) => Problem::BadRequest("the body is not JSON").into(),
            EditError::Json(JsonError::KeyTwice) => Problem::BadRequest("an object has the same key twice").into(),
            EditError::Json(JsonError::TooLarge) => Problem::Invalid("the JSON has too many values").into(),
            EditError::Create(why) => Problem::from(WriteError::Json(why)).into(),
            EditError::CreateTooLarge => {
                Problem::TooLarge { limit: "create-bytes-max", bytes: CREATE_BYTES_MAX }.into()
            }
            EditError::Change(error) => match &error {
                ChangeError::NotThere { pointer } => Refused::at(Problem::NothingThere, pointer, &error),
                ChangeError::BadPointer => {
                    Problem::BadRequest("at is a JSON pointer: empty, or names that each follow a slash").into()
                }
                ChangeError::TestFailed { pointer } => Refused::at(Problem::TestFailed, pointer, &error),
                ChangeError::Operation { pointer, .. } => {
                    Refused::at(Problem::Invalid("the patch cannot be carried out"), pointer, &error)
                }
                ChangeError::NotAWidget => Refused::at(Problem::Invalid("this is no widget"), "", &error),
                ChangeError::NotAPatch => Refused::at(Problem::Invalid("this is no JSON Patch"), "", &error),
                ChangeError::TooLarge => Problem::Invalid("the patch would make too many values").into(),
            },
            EditError::Edit(error) => {
                Refused::at(Problem::Invalid("a dashboard cannot become that"), error.pointer(), &error)
            }
            EditError::NotEditable => {
                Problem::DocumentLimit("the dashboard has too much content to be edited as JSON; Yjs clients can")
                    .into()
            }
            EditError::Read(error) => Problem::from(error).into(),
            EditError::Write(error) => Problem::from(error).into(),
        }
    }
}

/// `GET …` of a dashboard, a place in it, or a widget.
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    let (site, address) = (&call.site, call.address);
    let place = place(&call)?;
    has_memory(site, address)?;
    let Shown { json, etag } = site.dashboards.look(call.dashboard(), address, place).await?;
    site.addresses.charge(address, json.len(), Instant::now());
    let is_known = call.header("if-none-match")?.is_some_and(|tags| Tags::parse(tags).fit(Some(etag)));
    let mut response = if is_known {
        let mut response = bytes_response(StatusCode::NOT_MODIFIED, "application/json", Bytes::new());
        response.headers_mut().remove(header::CONTENT_TYPE);
        response
    } else {
        bytes_response(StatusCode::OK, "application/json", held(site, address, json)?)
    };
    tag(&mut response, etag);
    // It may be kept, but not shown without asking.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

/// `PUT …`
pub(super) async fn put(mut call: Call) -> Result<Response, Refused> {
    let limit = limit(&call);
    let (body, _lease) = take_body(&mut call, limit).await?;
    write(call, Body::Put(body)).await
}

/// `PATCH …`
pub(super) async fn patch(mut call: Call) -> Result<Response, Refused> {
    let content_type = call.header("content-type")?.unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind: fn(Bytes) -> Body = match content_type.as_str() {
        MERGE_PATCH => Body::Merge,
        JSON_PATCH => Body::Patch,
        _ => return Err(Problem::PatchType.into()),
    };
    let limit = limit(&call);
    let (body, _lease) = take_body(&mut call, limit).await?;
    write(call, kind(body)).await
}

/// `DELETE …` of a dashboard, a place in it, or a widget.
pub(super) async fn remove(call: Call) -> Result<Response, Refused> {
    if matches!(place(&call)?, Place::Whole) {
        // A pointer that somebody forgot to fill in deletes nothing.
        if call.query("at")?.is_some() {
            return Err(Problem::BadRequest("at names what is to be removed").into());
        }
        return trash::delete(call).await;
    }
    write(call, Body::Remove).await
}

pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";

async fn write(call: Call, body: Body) -> Result<Response, Refused> {
    let site = &call.site;
    has_memory(site, call.address)?;
    let place = place(&call)?;
    let base = match call.header("ydash-base")? {
        Some(_) if place != Place::Whole || !matches!(body, Body::Put(_)) => {
            return Err(Problem::BadRequest("Ydash-Base is for a PUT of the whole dashboard").into());
        }
        Some(text) => Some(Etag::parse(text).ok_or(Problem::BadRequest("Ydash-Base is an ETag of this dashboard"))?),
        None => None,
    };
    let conditions = Conditions {
        matches: call.header("if-match")?.map(Tags::parse),
        matches_none: call.header("if-none-match")?.map(Tags::parse),
    };
    let is_dry_run = match call.query("dry-run")?.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(Problem::BadRequest("dry-run is true or false").into()),
    };
    let is_removal = body == Body::Remove;
    // Only who says that nothing may be there means to begin: what others send is for the dashboard that was deleted.
    let may_begin = place == Place::Whole && !is_dry_run && conditions.matches_none == Some(Tags::Any);
    let wish = Wish { place, body, base, conditions, is_dry_run };
    let mut edited = site.dashboards.edit(call.dashboard(), call.author(), call.address, wish.clone()).await;
    if may_begin && matches!((&edited, &wish.body), (Err(EditError::Read(ReadError::Deleted)), Body::Put(_))) {
        let begun = trash::begin(&call);
        begun.await.map_err(Problem::from)?;
        edited = site.dashboards.edit(call.dashboard(), call.author(), call.address, wish).await;
    }
    let edited = edited?;
    let Edited { outcome, etag, changes, bytes, .. } = edited;
    let is_changed = outcome != Outcome::Unchanged;
    if is_dry_run {
        let etag = etag.map(|etag| etag.to_string());
        let told = json!({ "changed": is_changed, "changes": changes, "bytes": bytes, "etag": etag });
        return Ok(json_response(StatusCode::OK, &told));
    }
    let status = if outcome == Outcome::Created && !is_removal { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json_response(status, &json!({ "durable": true, "changed": is_changed }));
    if let Some(etag) = etag {
        tag(&mut response, etag);
    }
    Ok(response)
}

fn tag(response: &mut Response, etag: Etag) {
    let value = HeaderValue::from_str(&etag.to_string()).expect("digits in quotes");
    response.headers_mut().insert(header::ETAG, value);
}

/// What a call is about.
fn place(call: &Call) -> Result<Place, Problem> {
    let id = call.parameter("id");
    if !id.is_empty() {
        return Ok(Place::Widget(id.to_owned()));
    }
    Ok(match call.query("at")? {
        Some(pointer) if !pointer.is_empty() => Place::At(pointer.into_owned()),
        _ => Place::Whole,
    })
}

fn limit(call: &Call) -> (&'static str, usize) {
    if call.site.frame_bytes_max < EDIT_BYTES_MAX {
        ("frame-bytes-max", call.site.frame_bytes_max)
    } else {
        ("edit-bytes-max", EDIT_BYTES_MAX)
    }
}
