//! The pages and what they load, built into the binary.

use std::sync::LazyLock;

use warp::http::header::{self, HeaderMap, HeaderValue};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::compress;

/// One file of a page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    /// A hash of the content, as an entity tag.
    tag: &'static str,
    /// Whether the path names the content: it never changes under this path.
    is_hashed: bool,
    bytes: &'static [u8],
}

/// Every file, by the path it is served under. They are built from `web/`, list included, and committed, so that no build here
/// needs Node.
const ASSETS: &[Asset] = include!("../../web/dist/assets.rs");

/// The files as browsers ask for them, made when the first one does.
static COMPRESSED: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| compress::gzip(asset.bytes)).collect());

/// What the pages may do: their own scripts and styles, nothing inline, no code from elsewhere, and nobody frames them.
///
/// Data, images and frames may come from elsewhere, because widgets show them; the page asks each of its readers first, by origin, and frames
/// are sandboxed. `docs/SECURITY.md` says what that leaves.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss: http: https:; \
     img-src 'self' data: http: https:; frame-src http: https:; object-src 'none'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'";

/// Where dashboards have their addresses: `/d/<workspace>/<name>`. The page finds out the rest.
const DASHBOARDS: &str = "/d/";

/// Where a browser finds what it asked for at a path that means a dashboard to sockets: `/team/sales` is `/d/team/sales`.
pub(super) fn moved(path: &str, headers: &HeaderMap) -> Option<Response> {
    let wants_page = headers
        .get(header::ACCEPT)
        .and_then(|accepts| accepts.to_str().ok())
        .is_some_and(|accepts| accepts.contains("text/html"));
    if !wants_page || path.starts_with("/api/") || path.starts_with("//") {
        return None;
    }
    let name = path.strip_prefix('/').filter(|name| !name.is_empty())?;
    let workspace = if name.contains('/') { "" } else { "default/" };
    let location = HeaderValue::try_from(format!("{DASHBOARDS}{workspace}{name}")).ok()?;
    let mut response = HttpResponse::new("".into());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// The file under `path`, or nothing.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response> {
    let path = if path.starts_with(DASHBOARDS) { "/" } else { path };
    let at = ASSETS.iter().position(|asset| asset.path == path)?;
    let asset = &ASSETS[at];
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == asset.tag);
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|codings| codings.to_str().ok())
        .is_some_and(|codings| codings.split(',').any(|coding| coding.trim() == "gzip"));
    let mut response = if is_known {
        HttpResponse::new("".into())
    } else if takes_gzip {
        HttpResponse::new(COMPRESSED[at].as_slice().into())
    } else {
        HttpResponse::new(asset.bytes.into())
    };
    *response.status_mut() = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let answer = response.headers_mut();
    if takes_gzip && !is_known {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(header::ETAG, HeaderValue::from_static(asset.tag));
    // Other names stay the same over a binary's upgrade, which must show at the next reload.
    let lasts = if asset.is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(lasts));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    Some(response)
}
