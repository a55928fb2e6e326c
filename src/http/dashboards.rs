//! The dashboards over REST: read as JSON, read as Yjs bytes, write an update, send a message to who is there.
//!
//! A write is an update like any other: it goes through the room, and is answered 200 when it is durable. What rooms can do is
//! behind [`Dashboards`], so that nothing below knows HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::Identity;
use ydash_proto::document::CreateError;
use ydash_proto::id::DashboardId;

use crate::http::reply::{Problem, bytes_response, json_response};
use crate::http::socket::Target;
use crate::http::{Site, path};

/// What rooms offer to REST.
pub trait Dashboards: Send + Sync + 'static {
    /// The document's content as JSON text, by the names of its root types.
    fn read_json(&self, dashboard: DashboardId) -> BoxFuture<'static, Result<String, ReadError>>;

    /// The document as one Yjs update v1; with `have` (an encoded state vector) only what is missing there.
    fn read_state(&self, dashboard: DashboardId, have: Option<Bytes>) -> BoxFuture<'static, Result<Bytes, ReadError>>;

    /// Applies an update v1, and returns when it is durable. Writing twice is harmless.
    fn write_update(
        &self,
        dashboard: DashboardId,
        author: Identity,
        update: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>>;

    /// Begins a dashboard with what JSON says, and returns when it is durable.
    fn create(
        &self,
        dashboard: DashboardId,
        author: Identity,
        json: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>>;

    /// Sends a text to everybody who has the dashboard open in a dialect that has messages for it.
    fn send_stateless(&self, dashboard: DashboardId, payload: Bytes) -> BoxFuture<'static, Result<(), WriteError>>;
}

/// Why a dashboard is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It could not be loaded just then: answered 503.
    #[error("dashboard cannot be loaded")]
    Unavailable,
    /// What the caller says it has is no state vector: answered 400.
    #[error("malformed state vector")]
    MalformedStateVector,
    /// Its content could not be read; the log says why: answered 500.
    #[error("dashboard cannot be read")]
    Unreadable,
}

/// Why an update is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Not an update v1: answered 400.
    #[error("malformed update")]
    Malformed,
    /// Not JSON that could be a document: answered 400.
    #[error(transparent)]
    Json(CreateError),
    /// The dashboard has content already: answered 409.
    #[error("dashboard exists")]
    Exists,
    /// It builds on updates that the server does not have: answered 409.
    #[error("update behind a hole")]
    Incomplete,
    /// The document would outgrow `document-bytes-max`: answered 413.
    #[error("document would be larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit's value.
        bytes_max: usize,
    },
    /// Another limit of documents; the sentence names it: answered 422.
    #[error("{0}")]
    Limit(&'static str),
    /// The room would take more memory than it may at the moment: answered 503.
    #[error("no memory for it")]
    Memory,
    /// It cannot be made durable just then: answered 503. It may have reached the members all the same.
    #[error("store unavailable")]
    Unavailable,
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        match error {
            ReadError::Unavailable => Problem::StoreUnavailable,
            ReadError::MalformedStateVector => Problem::BadRequest("sv is not a state vector"),
            ReadError::Unreadable => Problem::Internal,
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Problem {
        match error {
            WriteError::Malformed => Problem::MalformedUpdate,
            WriteError::Json(why) => Problem::BadRequest(match why {
                CreateError::NotJson => "the body is not JSON",
                CreateError::NotAnObject => "a document is an object of root types",
                CreateError::NotAType => "a root is an object, a list or a text",
                CreateError::KeyTwice => "an object has the same key twice",
            }),
            WriteError::Exists => Problem::Exists,
            WriteError::Incomplete => Problem::IncompleteUpdate,
            WriteError::TooLarge { bytes_max } => Problem::TooLarge { limit: "document-bytes-max", bytes: bytes_max },
            WriteError::Limit(which) => Problem::DocumentLimit(which),
            WriteError::Memory => Problem::Memory("room-memory is used up; try again"),
            WriteError::Unavailable => Problem::StoreUnavailable,
        }
    }
}

/// `GET /api/dashboards/<name>`
pub(super) async fn read_json(site: Arc<Site>, target: Target) -> Result<Response, Problem> {
    let document = site.dashboards.read_json(target.dashboard).await?;
    Ok(bytes_response(StatusCode::OK, "application/json", document))
}

/// `GET /api/dashboards/<name>/state`
pub(super) async fn read_state(site: Arc<Site>, target: Target, query: String) -> Result<Response, Problem> {
    let have = match path::query_value(&query, "sv") {
        Some(sv) => Some(decode_base64url(sv).ok_or(Problem::BadRequest("sv is not base64url"))?.into()),
        None => None,
    };
    let state = site.dashboards.read_state(target.dashboard, have).await?;
    Ok(bytes_response(StatusCode::OK, "application/octet-stream", state))
}

/// `POST /api/dashboards/<name>/updates`
pub(super) async fn write_update<S, B, E>(site: Arc<Site>, target: Target, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    may_edit(&target)?;
    let limit = ("frame-bytes-max", site.frame_bytes_max);
    let (update, _budget) = take_body(&site, body, limit).await?;
    site.dashboards.write_update(target.dashboard, target.identity, update).await?;
    Ok(json_response(StatusCode::OK, &json!({ "durable": true })))
}

/// What a new dashboard may be written as: as an update it takes up to eight times that. Clients know it as `create-bytes-max`; no
/// setting raises it.
const CREATE_BYTES_MAX: usize = 1 << 20;

/// `PUT /api/dashboards/<name>`
pub(super) async fn create<S, B, E>(site: Arc<Site>, target: Target, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    may_edit(&target)?;
    let limit = if site.frame_bytes_max < CREATE_BYTES_MAX {
        ("frame-bytes-max", site.frame_bytes_max)
    } else {
        ("create-bytes-max", CREATE_BYTES_MAX)
    };
    let (json, _budget) = take_body(&site, body, limit).await?;
    site.dashboards.create(target.dashboard, target.identity, json).await?;
    Ok(json_response(StatusCode::CREATED, &json!({ "durable": true })))
}

/// `POST /api/dashboards/<name>/stateless`
///
/// Who may look may say something, as on a socket.
pub(super) async fn send_stateless<S, B, E>(site: Arc<Site>, target: Target, body: S) -> Result<Response, Problem>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    let limit = ("stateless-bytes-max", site.stateless_bytes_max);
    let (payload, _budget) = take_body(&site, body, limit).await?;
    if core::str::from_utf8(&payload).is_err() {
        return Err(Problem::BadRequest("a stateless message is UTF-8"));
    }
    site.dashboards.send_stateless(target.dashboard, payload).await?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "sent": true })))
}

fn may_edit(target: &Target) -> Result<(), Problem> {
    if target.access.may_edit() { Ok(()) } else { Err(Problem::Forbidden) }
}

/// Takes a body of at most so many bytes; `limit` says which knob it is.
async fn take_body<S, B, E>(
    site: &Site,
    body: S,
    limit: (&'static str, usize),
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    if site.draining.is_cancelled() {
        return Err(Problem::Draining);
    }
    let arriving = tokio::time::timeout(BODY_DEADLINE, collect(body, limit, &site.body_budget));
    arriving.await.map_err(|_| Problem::Timeout)?
}

/// How long a body may take; 16 MiB come in half a minute over 5 Mbit/s.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// KiB of bodies that are held at once, in all requests together.
const BODY_BUDGET_KIB: usize = 128 << 10;

/// What bodies are counted against while they arrive and are worked on.
#[derive(Clone, Debug)]
pub struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        BodyBudget(Arc::new(Semaphore::new(BODY_BUDGET_KIB)))
    }
}

/// Collects a body of at most so many bytes. Memory is taken as bytes arrive, so a slow client holds little.
async fn collect<S, B, E>(
    body: S,
    (limit, bytes_max): (&'static str, usize),
    budget: &BodyBudget,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    let mut body = std::pin::pin!(body);
    let mut collected = BytesMut::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| Problem::BadRequest("the body broke off"))?;
        if chunk.remaining() > bytes_max - collected.len() {
            return Err(Problem::TooLarge { limit, bytes: bytes_max });
        }
        let wanted = (collected.len() + chunk.remaining()).div_ceil(1024).min(BODY_BUDGET_KIB);
        let missing = wanted - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if missing > 0 {
            let missing = u32::try_from(missing).expect("a budget's worth of KiB fits");
            let more = Arc::clone(&budget.0).acquire_many_owned(missing).await.expect("the budget is never closed");
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
        }
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            collected.extend_from_slice(piece);
            let n = piece.len();
            chunk.advance(n);
        }
    }
    Ok((collected.freeze(), held))
}

/// RFC 4648 §5, with or without padding.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'-' | b'+' => 62,
                b'_' | b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("AA", &[0]),
            ("AA==", &[0]),
            ("-_8", &[0xfb, 0xff]),
            ("AQID", &[1, 2, 3]),
            ("AQIDBA", &[1, 2, 3, 4]),
        ] {
            assert_eq!(decode_base64url(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["A", "AAAAA", "A!", "%41"] {
            assert_eq!(decode_base64url(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_collected() {
        let chunks = || futures_util::stream::iter((0..4).map(|_| Ok::<_, ()>(Bytes::from_static(&[7; 1000]))));
        let budget = BodyBudget::default();
        let (body, held) = collect(chunks(), ("frame-bytes-max", 4000), &budget).await.unwrap();
        assert_eq!((body.len(), held.map(|permit| permit.num_permits())), (4000, Some(4)));
        let refused = collect(chunks(), ("frame-bytes-max", 3999), &budget).await.map(|_| ());
        assert_eq!(refused, Err(Problem::TooLarge { limit: "frame-bytes-max", bytes: 3999 }));
        assert_eq!(budget.0.available_permits(), BODY_BUDGET_KIB);
    }
}
