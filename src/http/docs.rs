//! The page at `/api/docs`: reads the OpenAPI document, and tries its routes. Three files of `web/reference/`, built into the binary as they are.

use warp::http::header::{self, HeaderValue};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

/// What the page may do: load its own script and style, and ask this server. Nothing inline, nothing from elsewhere, and nobody frames it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// `GET /api/docs`
pub(super) fn page() -> Response {
    file("text/html; charset=utf-8", include_bytes!("../../web/reference/index.html"))
}

/// `GET /api/docs/page.css`
pub(super) fn style() -> Response {
    file("text/css; charset=utf-8", include_bytes!("../../web/reference/page.css"))
}

/// `GET /api/docs/page.js`
pub(super) fn script() -> Response {
    file("text/javascript; charset=utf-8", include_bytes!("../../web/reference/page.js"))
}

fn file(content_type: &'static str, bytes: &'static [u8]) -> Response {
    let mut response = HttpResponse::new(bytes.into());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        // Its names stay the same over a binary's upgrade, which must show at the next reload.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
