//! `GET /api/nodes`: which nodes serve these dashboards, as far as this one knows.
//!
//! For whoever runs them, as `/metrics` is: it names no dashboard, user or client.

use warp::http::StatusCode;
use warp::reply::Response;

use crate::http::reply::{Refused, json_response};
use crate::http::routes::Call;

/// What REST can tell of nodes.
pub trait Nodes: Send + Sync + 'static {
    /// All that are known, this one first, as JSON.
    fn list(&self) -> serde_json::Value;
}

/// `GET /api/nodes`
pub(super) async fn list(call: Call) -> Result<Response, Refused> {
    Ok(json_response(StatusCode::OK, &call.site.nodes.list()))
}
