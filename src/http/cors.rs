//! What pages of other origins may read of `/api`: what everybody may who shows the same token, from origins that may connect
//! ([`crate::http::pages`] turns others away before). Never with what a browser sends along by itself, such as cookies: nothing here reads those.

use warp::http::header::{self, HeaderValue};
use warp::http::{Method, Response as HttpResponse, StatusCode};
use warp::reply::Response;

/// Headers that requests may have beside those that need no permission.
const REQUEST_HEADERS: &str = "authorization, content-type, if-match, if-none-match, ydash-base";
/// Headers of answers that scripts may read beside those that need no permission.
const ANSWER_HEADERS: &str = "etag, link, retry-after";
/// Seconds for which a browser need not ask again.
const ASK_AGAIN_AFTER: &str = "600";

/// Answers a browser that asks whether a page may send a request.
pub(super) fn preflight<'m>(methods: impl Iterator<Item = &'m Method>) -> Response {
    let methods: Vec<&str> = methods.map(Method::as_str).collect();
    let mut response = HttpResponse::new("".into());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_str(&methods.join(", ")).expect("names of methods are plain");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(ASK_AGAIN_AFTER));
    response
}

/// Lets scripts of `origin` read an answer.
pub(super) fn share(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(ANSWER_HEADERS));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}
