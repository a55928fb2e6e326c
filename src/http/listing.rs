//! Lists of dashboards: those that the caller may read, page by page, with what is told of each.
//!
//! None is opened for it, and a call looks at a bounded number of names: who may read few of many gets short pages that go on.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use warp::http::StatusCode;
use warp::http::header::{self, HeaderValue};
use warp::reply::Response;
use ydash_proto::access::{Access, Capabilities, Principal, format_moment, shown};
use ydash_proto::id::DashboardId;

use crate::auth::{Denied, Whence, read_link};
use crate::http::dashboards::Noted;
use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::{Call, NAME};
use crate::http::{Site, path, token};

/// Dashboards of one page, if nothing else is asked for, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// Names that are looked at for one page, and how many of them together.
const LOOKED_AT_MAX: usize = 1000;
const TOGETHER: usize = 64;

/// How many names are decided about at once.
const DECIDED_AT_ONCE: usize = 8;

/// Bytes that a name counts as that is looked at: its access and its record are read.
const LOOK_BYTES: usize = 4 << 10;

/// The longest text that is searched for.
const QUERY_BYTES_MAX: usize = 256;

/// What is asked for.
struct Wanted {
    /// What names begin with.
    prefix: String,
    /// In lower case; empty for all.
    text: String,
    limit: usize,
    after: Option<DashboardId>,
}

/// A page, and where the next one begins.
struct Page {
    items: Vec<Value>,
    next: Option<DashboardId>,
}

/// `GET /api/dashboards`
pub(super) async fn all(call: Call) -> Result<Response, Refused> {
    list(call, String::new()).await
}

/// `GET /api/workspaces/<workspace>/dashboards`
pub(super) async fn of_workspace(call: Call) -> Result<Response, Refused> {
    let name = path::decode(call.parameter(NAME)).ok_or(Problem::BadName)?;
    // A workspace is whatever a dashboard could be in.
    let within = DashboardId::new(&name, "x").map_err(|_| Problem::BadName)?;
    list(call, format!("{}/", within.workspace())).await
}

async fn list(call: Call, prefix: String) -> Result<Response, Refused> {
    let site = &call.site;
    site.addresses.request(call.address, Instant::now()).map_err(Problem::Crowded)?;
    let wanted = wanted(&call, prefix)?;
    let token = token::find(&call.headers, &call.query);
    // A token that is not taken is told, rather than shown an empty list. A link speaks for one dashboard alone.
    if token.as_deref().is_some_and(|token| read_link(token).is_none()) {
        let principal: Principal = site.authenticator.identify(token.as_deref()).wait().await.map_err(Problem::from)?;
        site.allowances.call(&principal).map_err(Problem::UserLimit)?;
    }
    let path = if wanted.prefix.is_empty() {
        "/api/dashboards".to_owned()
    } else {
        format!("/api/workspaces/{}/dashboards", wanted.prefix.trim_end_matches('/'))
    };
    let from = token::whence(call.address, &call.headers);
    let Page { items, next } = page(site, &from, token.as_deref(), &wanted).await?;
    let mut response =
        json_response(StatusCode::OK, &json!({ "items": items, "next": next.as_ref().map(DashboardId::as_str) }));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Some(next) = next {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query = format!("limit={}&after={}&q={}", wanted.limit, encode(next.as_str()), encode(&wanted.text));
        let link = HeaderValue::from_str(&format!("<{path}?{query}>; rel=\"next\"")).expect("encoded text is plain");
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

fn wanted(call: &Call, prefix: String) -> Result<Wanted, Problem> {
    let limit = match call.query("limit")? {
        None => PAGE,
        Some(limit) => {
            let limit = limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.ok_or(Problem::BadRequest("limit is a number from 1 to 200"))?
        }
    };
    let after = match call.query("after")? {
        Some(after) if !after.is_empty() => {
            let after = DashboardId::parse(&after);
            Some(after.map_err(|_| Problem::BadRequest("after is what `next` said"))?)
        }
        _ => None,
    };
    let text = call.query("q")?.unwrap_or_default().to_lowercase();
    if text.len() > QUERY_BYTES_MAX {
        return Err(Problem::BadRequest("q has at most 256 bytes"));
    }
    Ok(Wanted { prefix, text, limit, after })
}

async fn page(site: &Arc<Site>, from: &Whence, token: Option<&str>, wanted: &Wanted) -> Result<Page, Problem> {
    let address = from.address;
    let (mut items, mut after, mut looked_at) = (Vec::new(), wanted.after.clone(), 0);
    loop {
        // One more than fits tells whether there is a next page.
        let together = TOGETHER.min(LOOKED_AT_MAX - looked_at);
        let names = site.dashboards.names(wanted.prefix.clone(), after.clone(), together).await?;
        let is_end = names.len() < together;
        looked_at += names.len();
        site.addresses.charge(address, names.len() * LOOK_BYTES, Instant::now());
        let readable = readable(site, from, token, &names).await?;
        let (noted, bytes) = site.dashboards.noted(readable.iter().map(|(id, _)| id.clone()).collect()).await?;
        site.addresses.charge(address, bytes, Instant::now());
        for ((id, access), noted) in readable.into_iter().zip(noted) {
            let is_meant = wanted.text.is_empty()
                || id.as_str().to_lowercase().contains(&wanted.text)
                || noted.about.is_titled(&wanted.text);
            if !is_meant {
                continue;
            }
            if items.len() == wanted.limit {
                return Ok(Page { items, next: after });
            }
            items.push(item(&id, access, noted));
            after = Some(id);
        }
        if is_end {
            return Ok(Page { items, next: None });
        }
        after = names.last().cloned();
        if looked_at >= LOOKED_AT_MAX {
            return Ok(Page { items, next: after });
        }
    }
}

/// Those of `names` that the caller may read, and what they may do with them.
async fn readable(
    site: &Arc<Site>,
    from: &Whence,
    token: Option<&str>,
    names: &[DashboardId],
) -> Result<Vec<(DashboardId, Access)>, Problem> {
    // Private documents and channels are no dashboards.
    let shown: Vec<DashboardId> = names.iter().filter(|id| !id.is_reserved()).cloned().collect();
    let (site, from, token) = (Arc::clone(site), from.clone(), token.map(str::to_owned));
    let deciding = stream::iter(shown).map(move |id| {
        let decided = site.admit(&id, &from, token.as_deref(), Capabilities::READ);
        async move { (id, decided.wait().await) }
    });
    // A service that is asked about each is not asked about all at once.
    let decided: Vec<_> = deciding.buffered(DECIDED_AT_ONCE).collect().await;
    let mut readable = Vec::new();
    for (id, decision) in decided {
        match decision {
            Ok(admission) if admission.access.may(Capabilities::READ) => readable.push((id, admission.access)),
            Ok(_) | Err(Denied::Forbidden | Denied::Unauthenticated) => {}
            // Nothing is left out because it could not be decided.
            Err(denied) => return Err(denied.into()),
        }
    }
    Ok(readable)
}

fn item(id: &DashboardId, access: Access, Noted { about, present }: Noted) -> Value {
    let mut item = Map::new();
    let edited = about.edited.as_ref();
    item.insert("name".to_owned(), id.as_str().into());
    item.insert("title".to_owned(), about.title.as_deref().into());
    item.insert("updated_at".to_owned(), edited.map(|edited| format_moment(edited.at)).into());
    item.insert("updated_by".to_owned(), edited.and_then(|edited| edited.by.as_deref()).into());
    item.insert("members".to_owned(), present.into());
    item.extend(shown(access));
    Value::Object(item)
}
