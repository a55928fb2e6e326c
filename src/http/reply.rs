//! What HTTP clients are told when something is refused: every status, code and sentence in one place.
//!
//! The body is a problem of RFC 9457, with what earlier clients read as extension members: `{"error": code, "message": sentence}`, and
//! `"limit"` where one was reached. Nothing internal is in it, and nothing of what the client sent but JSON pointers into its body.

use core::time::Duration;

use serde_json::json;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::http::addresses::{Crowded, PLAIN_CONNECTIONS_MAX};
use crate::metrics::Refusal;
use ydash_proto::allowance::Exceeded;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nothing is there.
    NotFound,
    /// Something is there, but not for this method.
    MethodNotAllowed,
    /// The request breaks HTTP or the route's own rules; the sentence says how.
    BadRequest(&'static str),
    /// The WebSocket handshake breaks RFC 6455 §4.2.1; the sentence says how.
    BadHandshake(&'static str),
    /// A WebSocket version other than 13.
    WebSocketVersion,
    /// Pages of this origin may not connect.
    Origin,
    /// The server does not answer to this name.
    Host,
    /// There is no memory for it at the moment; the sentence names the setting.
    Memory(&'static str),
    /// No dashboard can have this name.
    BadName,
    /// The caller may not do this with this dashboard.
    Forbidden,
    /// The caller shows no token that is taken.
    Unauthenticated,
    /// The caller is somebody, and does not operate the server.
    NotOperator,
    /// Whose the token is cannot be found out just then.
    Undecided,
    /// The user has what one may have.
    UserLimit(Exceeded),
    /// Only the operator on this machine may see this.
    NotLocal,
    /// The body is no Yjs update v1.
    MalformedUpdate,
    /// The update builds on updates that the server does not have.
    IncompleteUpdate,
    /// Other content was saved before under the same client id and clock.
    ConflictingUpdate,
    /// Nobody has written to the dashboard.
    NoDashboard,
    /// The dashboard was deleted.
    Deleted,
    /// A dashboard of this name is there.
    Exists,
    /// The update brings content of a deleted dashboard of this name.
    DeletedContent,
    /// The dashboard has nothing at this place.
    NothingThere,
    /// No version is kept under this id.
    NoVersion,
    /// Another version is there than the one that was demanded.
    Precondition,
    /// The version that a body was made from is not known here.
    BaseUnknown,
    /// A test of a JSON Patch failed.
    TestFailed,
    /// A PATCH is of no type that is known.
    PatchType,
    /// The dashboard cannot become what the body says.
    Invalid(&'static str),
    /// The update would break a limit of the document.
    DocumentLimit(&'static str),
    /// The body, or the document with it, would be too large.
    TooLarge {
        /// The knob that says so, or the name of a limit that none sets.
        limit: &'static str,
        /// Its value.
        bytes: usize,
    },
    /// A push would break a limit of pushed values; the sentence names it.
    PushLimit(&'static str),
    /// The dashboard gets more pushed values than it may; how long to wait.
    PushRate(Duration),
    /// The body arrived too slowly.
    Timeout,
    /// The caller's turn did not come in time.
    Busy,
    /// Too many, from one address or in all.
    Crowded(Crowded),
    /// The store does not answer.
    StoreUnavailable,
    /// The node is going away.
    Draining,
    /// Something broke that the log knows about.
    Internal,
}

impl Problem {
    /// How it is counted; `None` for what is merely a wrong URL or our own fault.
    #[must_use]
    pub(super) fn refusal(self) -> Option<Refusal> {
        Some(match self {
            Problem::NotFound | Problem::MethodNotAllowed | Problem::BadRequest(_) | Problem::Internal => return None,
            Problem::NoDashboard
            | Problem::Exists
            | Problem::NothingThere
            | Problem::NoVersion
            | Problem::Precondition
            | Problem::BaseUnknown
            | Problem::TestFailed
            | Problem::PatchType
            | Problem::Invalid(_) => return None,
            Problem::BadHandshake(_) | Problem::WebSocketVersion => Refusal::BadHandshake,
            Problem::Origin => Refusal::Origin,
            Problem::Host => Refusal::Host,
            Problem::Memory(_) => Refusal::Memory,
            Problem::BadName => Refusal::BadName,
            Problem::Forbidden | Problem::NotLocal | Problem::NotOperator => Refusal::Forbidden,
            Problem::Unauthenticated => Refusal::Unauthenticated,
            Problem::Undecided => Refusal::Unavailable,
            Problem::MalformedUpdate => Refusal::MalformedUpdate,
            Problem::IncompleteUpdate => Refusal::Held,
            Problem::ConflictingUpdate => Refusal::ContentDiffers,
            Problem::Deleted | Problem::DeletedContent => Refusal::Deleted,
            Problem::DocumentLimit(_) => Refusal::DocumentLimit,
            Problem::PushLimit(_) | Problem::PushRate(_) => Refusal::Pushed,
            Problem::TooLarge { limit: "document-bytes-max", .. } => Refusal::DocumentTooLarge,
            Problem::TooLarge { .. } => Refusal::FrameTooLarge,
            Problem::Timeout => Refusal::SlowBody,
            Problem::Busy => Refusal::Busy,
            Problem::Crowded(crowded) => crowded.refusal(),
            Problem::UserLimit(exceeded) => exceeded.limit.into(),
            Problem::StoreUnavailable => Refusal::Unavailable,
            Problem::Draining => Refusal::Draining,
        })
    }

    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Problem::NotFound => (StatusCode::NOT_FOUND, "not_found", "nothing is here"),
            Problem::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
            }
            Problem::BadRequest(how) => (StatusCode::BAD_REQUEST, "bad_request", how),
            Problem::BadHandshake(how) => (StatusCode::BAD_REQUEST, "bad_handshake", how),
            Problem::WebSocketVersion => {
                (StatusCode::UPGRADE_REQUIRED, "websocket_version", "only WebSocket version 13 is spoken here")
            }
            Problem::Origin => (
                StatusCode::FORBIDDEN,
                "origin",
                "pages of this origin may not connect; the setting allowed-origins names those that may",
            ),
            Problem::Host => (
                StatusCode::FORBIDDEN,
                "host",
                "this server does not answer to this name; the setting allowed-hosts names those that it answers to",
            ),
            Problem::Memory(which) => (StatusCode::SERVICE_UNAVAILABLE, "memory", which),
            Problem::BadName => (
                StatusCode::NOT_FOUND,
                "bad_name",
                "no dashboard can have this name: 1 to 255 bytes, no control characters, no segment . or ..",
            ),
            Problem::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "no access to this dashboard"),
            Problem::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "a token that is taken has to be shown, as in Authorization: Bearer",
            ),
            Problem::NotOperator => {
                (StatusCode::FORBIDDEN, "not_operator", "this is for whoever operates the server; see docs/AUTH.md")
            }
            Problem::Undecided => (
                StatusCode::SERVICE_UNAVAILABLE,
                "keys_unavailable",
                "the token cannot be checked at the moment; try again",
            ),
            Problem::NotLocal => {
                (StatusCode::FORBIDDEN, "forbidden", "only browsers on the server's own machine may see this")
            }
            Problem::MalformedUpdate => {
                (StatusCode::BAD_REQUEST, "malformed_update", "the body is not a Yjs update v1")
            }
            Problem::IncompleteUpdate => {
                (StatusCode::CONFLICT, "incomplete_update", "the update builds on updates that are not here")
            }
            Problem::ConflictingUpdate => (
                StatusCode::CONFLICT,
                "conflicting_update",
                "other content was saved before under the same client id and clock",
            ),
            Problem::NoDashboard => (
                StatusCode::NOT_FOUND,
                "no_dashboard",
                "nobody has written to a dashboard of this name; PUT of the whole begins one",
            ),
            Problem::Deleted => (
                StatusCode::GONE,
                "deleted",
                "the dashboard was deleted; restore-deleted takes it back, PUT with If-None-Match: * begins another",
            ),
            Problem::Exists => (StatusCode::CONFLICT, "exists", "a dashboard of this name exists"),
            Problem::DeletedContent => (
                StatusCode::CONFLICT,
                "deleted_content",
                "the update brings content of a dashboard of this name that was deleted",
            ),
            Problem::NothingThere => {
                (StatusCode::NOT_FOUND, "nothing_there", "the dashboard has nothing at this place")
            }
            Problem::NoVersion => (StatusCode::NOT_FOUND, "no_version", "no version is kept under this id"),
            Problem::Precondition => (
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "another version is there; read it, and decide again",
            ),
            Problem::BaseUnknown => (
                StatusCode::CONFLICT,
                "base_unknown",
                "this node does not know the version that Ydash-Base names; read the dashboard again",
            ),
            Problem::TestFailed => {
                (StatusCode::CONFLICT, "test_failed", "a test of the patch failed; nothing was changed")
            }
            Problem::PatchType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "patch_type",
                "a PATCH is application/merge-patch+json or application/json-patch+json",
            ),
            Problem::Invalid(how) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", how),
            Problem::DocumentLimit(how) => (StatusCode::UNPROCESSABLE_ENTITY, "document_limit", how),
            Problem::PushLimit(which) => (StatusCode::UNPROCESSABLE_ENTITY, "push_limit", which),
            Problem::PushRate(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "push_rate",
                "one dashboard takes 200 pushed points per second, and 7200 at once",
            ),
            Problem::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a size limit would be passed"),
            Problem::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body arrived too slowly; the settings transfer-timeout and transfer-pace say what is demanded",
            ),
            Problem::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many documents are being read or made; try again")
            }
            Problem::Crowded(Crowded::Process { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "full", "this node holds as many sessions as it may")
            }
            Problem::Crowded(Crowded::Address { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "address_full", "this address holds as many sessions as one may")
            }
            Problem::Crowded(Crowded::Connections) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connections",
                "this address, or this node, holds as many connections as it may; keep fewer open",
            ),
            Problem::Crowded(Crowded::Requests { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, "request_rate", "this address calls too often")
            }
            Problem::Crowded(Crowded::Bytes { .. }) => (
                StatusCode::TOO_MANY_REQUESTS,
                "byte_rate",
                "this address has read or written more than it may in this time",
            ),
            Problem::UserLimit(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "user_limit",
                "this user has as much as one may have in this time, on all sessions and calls together",
            ),
            Problem::Crowded(Crowded::Joins { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "join_rate", "this address joins too often")
            }
            Problem::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store does not answer; try again")
            }
            Problem::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "this node is going away; try again"),
            Problem::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke; the log knows more"),
        }
    }

    fn limit(self) -> Option<(&'static str, usize)> {
        match self {
            Problem::TooLarge { limit, bytes } => Some((limit, bytes)),
            Problem::Crowded(Crowded::Process { sessions_max }) => Some(("sessions-max", sessions_max)),
            Problem::Crowded(Crowded::Address { sessions_max }) => Some(("sessions-per-address-max", sessions_max)),
            Problem::Crowded(Crowded::Connections) => Some(("connections-per-address-max", PLAIN_CONNECTIONS_MAX)),
            Problem::UserLimit(exceeded) => Some((exceeded.limit.setting(), exceeded.value as usize)),
            Problem::Crowded(Crowded::Requests { rate, .. }) => Some(("address-request-rate", rate)),
            Problem::Crowded(Crowded::Bytes { rate, .. }) => Some(("address-byte-rate", rate)),
            _ => None,
        }
    }

    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Problem::Unauthenticated => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Problem::WebSocketVersion => Some((header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            Problem::Crowded(
                Crowded::Joins { retry_after }
                | Crowded::Requests { retry_after, .. }
                | Crowded::Bytes { retry_after, .. },
            ) => Some((header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs() + 1))),
            Problem::UserLimit(exceeded) => {
                Some((header::RETRY_AFTER, HeaderValue::from(exceeded.retry_after_seconds())))
            }
            Problem::PushRate(retry_after) => Some((header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs() + 1))),
            Problem::Crowded(_)
            | Problem::Busy
            | Problem::Memory(_)
            | Problem::StoreUnavailable
            | Problem::Undecided
            | Problem::Draining => Some((header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))),
            _ => None,
        }
    }
}

/// Every code, with its status and what it says, as far as that does not depend on the case.
pub(super) const CODES: &[(u16, &str, &str)] = &[
    (400, "bad_request", "the request breaks HTTP or the route's own rules; the sentence says how"),
    (400, "bad_handshake", "the WebSocket handshake breaks RFC 6455"),
    (400, "malformed_update", "the body is not a Yjs update v1"),
    (401, "unauthenticated", "a token that is taken has to be shown, as in `Authorization: Bearer`"),
    (403, "forbidden", "no access to this dashboard, or not this much"),
    (403, "not_operator", "this is for whoever operates the server"),
    (403, "host", "this server does not answer to this name: `allowed-hosts`"),
    (403, "origin", "pages of this origin may not connect: `allowed-origins`"),
    (404, "no_dashboard", "nobody has written to a dashboard of this name"),
    (404, "nothing_there", "the dashboard has nothing at this place"),
    (404, "bad_name", "no dashboard can have this name"),
    (404, "not_found", "nothing is here"),
    (405, "method_not_allowed", "this path does not take this method"),
    (408, "timeout", "the body arrived too slowly: `transfer-timeout`, `transfer-pace`"),
    (409, "base_unknown", "this node does not know the version that `Ydash-Base` names; read the dashboard again"),
    (409, "conflicting_update", "other content was saved before under the same client id and clock"),
    (409, "deleted_content", "the update brings content of a dashboard of this name that was deleted"),
    (409, "exists", "a dashboard of this name exists"),
    (409, "incomplete_update", "the update builds on updates that are not here"),
    (409, "test_failed", "a test of the patch failed; nothing was changed"),
    (
        410,
        "deleted",
        "the dashboard was deleted; `restore-deleted` takes it back, `PUT` with `If-None-Match: *` begins another",
    ),
    (412, "precondition_failed", "another version is there than `If-Match` or `If-None-Match` demand"),
    (413, "too_large", "a size limit would be passed; `limit` says which"),
    (415, "patch_type", "a PATCH is `application/merge-patch+json` or `application/json-patch+json`"),
    (422, "invalid", "the dashboard cannot become what the body says; `errors` says where"),
    (422, "document_limit", "the update would break a limit of documents; the sentence says which"),
    (426, "websocket_version", "only WebSocket version 13 is spoken here"),
    (429, "byte_rate", "this address has read or written more than it may in this time: `address-byte-rate`"),
    (429, "request_rate", "this address calls too often: `address-request-rate`"),
    (429, "user_limit", "this user has as much as one may have in this time; `limit` says which limit it is"),
    (500, "internal", "something broke; the log knows more"),
    (503, "address_full", "this address holds as many sessions as one may"),
    (503, "busy", "too many documents are being read or made; try again"),
    (503, "connections", "this address, or this node, holds as many connections as it may"),
    (503, "keys_unavailable", "the token cannot be checked at the moment; try again"),
    (503, "draining", "this node is going away; try again"),
    (503, "full", "this node holds as many sessions as it may"),
    (503, "join_rate", "this address joins too often"),
    (503, "memory", "there is no memory for it at the moment; the sentence names the setting"),
    (503, "store_unavailable", "the store does not answer; try again"),
];

/// A problem, and where in the body it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) problem: Problem,
    /// JSON pointers, each with what is wrong there.
    pub(super) errors: Vec<(String, String)>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused { problem, errors: Vec::new() }
    }
}

/// Where problems are explained: each code is a heading there.
const EXPLAINED: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/API.md#");

impl Refused {
    /// A problem at one place of the body.
    pub(super) fn at(problem: Problem, pointer: impl Into<String>, detail: impl ToString) -> Refused {
        Refused { problem, errors: vec![(pointer.into(), detail.to_string())] }
    }

    /// Says whether it is about rights: somebody may not do it, or may not know of it.
    pub(super) fn is_about_rights(&self) -> bool {
        matches!(self.problem, Problem::Forbidden | Problem::Unauthenticated)
    }

    /// The answer.
    #[must_use]
    pub(super) fn into_response(self) -> Response {
        let Refused { problem, errors } = self;
        let (status, code, message) = problem.words();
        let mut body = json!({
            "type": format!("{EXPLAINED}{code}"),
            "title": status.canonical_reason().unwrap_or(code),
            "status": status.as_u16(),
            "detail": message,
            "error": code,
            "message": message,
        });
        if let Some((name, value)) = problem.limit() {
            body["limit"] = json!({ "name": name, "value": value });
        }
        if !errors.is_empty() {
            let errors = errors.into_iter().map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail }));
            body["errors"] = errors.collect();
        }
        let mut response = bytes_response(status, "application/problem+json", body.to_string());
        if let Some((name, value)) = problem.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Long enough for a restart or a store's hiccup, short enough that nobody reloads by hand.
const RETRY_AFTER_SECONDS: &str = "2";

/// A JSON answer that no cache keeps.
#[must_use]
pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    bytes_response(status, "application/json", body.to_string())
}

/// An answer of one piece that no cache keeps.
#[must_use]
pub(super) fn bytes_response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<bytes::Bytes>,
) -> Response {
    let mut response = HttpResponse::new(body.into().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
