//! `GET /api/nodes`: which nodes serve these dashboards, as far as this one knows.
//!
//! For whoever runs them, as `/metrics` is: it names no dashboard, user or client.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::http::header::HeaderMap;
use warp::reply::Response;

use crate::http::reply::json_response;
use crate::http::{Site, on, socket};
use crate::metrics::Route;

/// What REST can tell of nodes.
pub trait Nodes: Send + Sync + 'static {
    /// All that are known, this one first, as JSON.
    fn list(&self) -> serde_json::Value;
}

/// Answers with the list. Pages of origins that may not connect may not look, either.
pub(super) fn list(headers: HeaderMap, site: Arc<Site>) -> Response {
    let response = match socket::check_origin(&headers, &site.allowed_origins) {
        Ok(()) => json_response(StatusCode::OK, &site.nodes.list()),
        Err(problem) => site.refuse(problem),
    };
    on(Route::Nodes, response)
}
