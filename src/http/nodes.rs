//! `GET /api/nodes`: which nodes serve these dashboards, as far as this one knows.
//!
//! For whoever runs them, as `/metrics` is: it names no dashboard, user or client.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::reply::Response;

use crate::http::reply::json_response;
use crate::http::{Site, on};
use crate::metrics::Route;

/// What REST can tell of nodes.
pub trait Nodes: Send + Sync + 'static {
    /// All that are known, this one first, as JSON.
    fn list(&self) -> serde_json::Value;
}

/// Answers with the list.
pub(super) fn list(site: Arc<Site>) -> Response {
    on(Route::Nodes, json_response(StatusCode::OK, &site.nodes.list()))
}
