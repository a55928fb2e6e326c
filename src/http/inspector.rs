//! What `/inspector` shows, as JSON: rooms, members, what waits for slow ones, the log.
//!
//! Names of dashboards are all that protects them while nobody has credentials, so only a browser on the server's own machine gets
//! to see them: the connection comes from loopback, no proxy has touched the request, and the page was opened under a loopback
//! name (a foreign name that resolves to loopback is how foreign pages get there). Every answer is bounded.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use serde_json::Value;
use warp::http::StatusCode;
use warp::http::header::{self, HeaderMap};
use warp::reply::Response;
use ydash_proto::id::DashboardId;

use crate::http::reply::{Problem, Refused, json_response};
use crate::http::routes::Call;
use crate::http::{pages, path};

/// What the node tells about itself.
pub trait Inspector: Send + Sync + 'static {
    /// The node, its store and its company.
    fn node(&self) -> Value;

    /// Live rooms whose names contain `part`, with how many there are.
    fn rooms(&self, part: String) -> BoxFuture<'static, Value>;

    /// One live room with its members; `None` when it is not live.
    fn room(&self, dashboard: DashboardId) -> BoxFuture<'static, Option<Value>>;

    /// The end of a live room's log, or what came after a position of it; `None` when there is nothing to tell.
    fn log(&self, dashboard: DashboardId, after: Option<u128>) -> BoxFuture<'static, Option<Value>>;
}

/// `GET /api/inspector/<path>`
pub(super) async fn answer(call: Call) -> Result<Response, Refused> {
    let Call { site, query, .. } = &call;
    let inspector = &site.inspector;
    let path = call.parameter("path");
    let found = match path.split_once('/') {
        None if path == "node" => Some(inspector.node()),
        None if path == "rooms" => {
            let part = path::query_value(query, "q").and_then(path::decode).unwrap_or_default();
            Some(inspector.rooms(part.into_owned()).await)
        }
        Some(("rooms", name)) => inspector.room(dashboard(name)?).await,
        Some(("log", name)) => {
            let after = path::query_value(query, "after").and_then(|after| after.parse().ok());
            inspector.log(dashboard(name)?, after).await
        }
        _ => None,
    };
    found.map(|value| json_response(StatusCode::OK, &value)).ok_or(Problem::NotFound.into())
}

fn dashboard(name: &str) -> Result<DashboardId, Problem> {
    path::dashboard(name).map_err(|_| Problem::BadName)
}

/// Whether the request comes from a browser on this machine, straight.
pub(super) fn is_local(address: IpAddr, headers: &HeaderMap) -> bool {
    const TOUCHED: &[&str] =
        &["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_loopback_name = pages::is_loopback(pages::name_of(host));
    address.to_canonical().is_loopback() && is_loopback_name && !TOUCHED.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_browsers_on_this_machine_are_local() {
        let check = |address: &str, lines: &[(&'static str, &'static str)]| {
            let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            is_local(address.parse().unwrap(), &headers)
        };
        for host in ["localhost", "localhost:1234", "LOCALHOST", "127.0.0.1:80", "127.9.9.9", "[::1]:1234", "[::1]"] {
            assert!(check("127.0.0.1", &[("host", host)]), "{host}");
            assert!(check("::1", &[("host", host)]), "{host}");
            assert!(!check("192.0.2.1", &[("host", host)]), "{host}");
        }
        assert!(check("::ffff:127.0.0.1", &[("host", "localhost")]));
        for host in ["", "example.org", "localhost.example.org:1234", "127.0.0.1.example.org", "192.0.2.1", "1234"] {
            assert!(!check("127.0.0.1", &[("host", host)]), "{host}");
        }
        assert!(!check("127.0.0.1", &[]));
        assert!(!check("127.0.0.1", &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")]));
        assert!(!check("127.0.0.1", &[("host", "localhost"), ("via", "1.1 proxy")]));
    }
}
