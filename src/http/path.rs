//! From a URL's path to a dashboard's name.
//!
//! A path is decoded once, and what that gives is a name like those in messages: so encoded slashes are slashes. The rule of names is
//! [`DashboardId::parse`]'s.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use ydash_proto::id::{DashboardId, IdError};

/// The dashboard that an upgrade on `path` means: by what stands behind `/ws/`, or else by all of it but its first slash, because
/// `new WebsocketProvider('ws://host', 'my-room', doc)` opens `/my-room`.
///
/// # Errors
/// [`IdError`] – the name breaks the grammar or is not UTF-8.
pub(super) fn socket_dashboard(path: &str) -> Result<DashboardId, IdError> {
    dashboard(path.strip_prefix("/ws/").or_else(|| path.strip_prefix('/')).unwrap_or(path))
}

/// Whether an upgrade on `path` is for the Hocuspocus dialect. Its clients take slashes off the end of their URL, or do not.
pub(super) fn is_hocuspocus(path: &str) -> bool {
    path.strip_prefix("/hocuspocus").is_some_and(|rest| rest.bytes().all(|b| b == b'/'))
}

/// The dashboard of a name that is still percent-encoded.
///
/// # Errors
/// As [`socket_dashboard`].
pub(super) fn dashboard(name: &str) -> Result<DashboardId, IdError> {
    DashboardId::parse(&decode(name).ok_or(IdError::Name)?)
}

/// The value of the first `key` in a query string, still encoded; empty for a key without a value.
#[must_use]
pub(super) fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(k, _)| *k == key).map(|(_, v)| v)
}

/// Decodes `%XX`. A percent sign without two hex digits stands for itself, as browsers have it; `None` if the result is not
/// UTF-8.
pub(super) fn decode(encoded: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(encoded).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_means_one_dashboard() {
        for (path, expected) in [
            ("/my-room", "default/my-room"),
            ("/team/sales", "team/sales"),
            ("/team%2Fsales", "team/sales"),
            ("/ws/team/sales", "team/sales"),
            ("/ws/default/team/sales", "team/sales"),
            ("/ws/acme/sales/2026", "acme/sales/2026"),
            ("/ws/acme/sales%2F2026", "acme/sales/2026"),
            ("/ws/acme%2Fsales/2026", "acme/sales/2026"),
            ("/ws/acme/%C3%BCn%C3%AF", "acme/ünï"),
            ("/ws/acme/a%2520b", "acme/a%20b"),
            ("/ws/my-room", "default/my-room"),
            ("/ws/hocuspocus", "default/hocuspocus"),
            ("/ws/ws/a", "ws/a"),
            ("/ws", "default/ws"),
            ("/my%20project/board", "default/my project/board"),
            ("/user:1/notes", "default/user:1/notes"),
            ("//a", "default//a"),
            ("/ws//a", "default//a"),
            ("/a//b/", "a//b/"),
            ("/a/", "default/a/"),
            ("/a%5Cb", "default/a\\b"),
            ("/100%", "default/100%"),
            ("/%zz", "default/%zz"),
            ("/__proto__", "default/__proto__"),
        ] {
            assert_eq!(socket_dashboard(path).unwrap().as_str(), expected, "{path}");
        }
    }

    #[test]
    fn one_path_is_the_hocuspocus_endpoint() {
        for (path, is_it) in [
            ("/hocuspocus", true),
            ("/hocuspocus/", true),
            ("/hocuspocus/room", false),
            ("/hocuspocuses", false),
            ("/ws/default/hocuspocus", false),
            ("/", false),
        ] {
            assert_eq!(is_hocuspocus(path), is_it, "{path}");
        }
    }

    #[test]
    fn path_tricks_are_refused() {
        for path in ["/", "", "/ws/", "/a/../b", "/%2e%2e", "/ws/a/%2E%2E/b", "/a%00", "/%ff", "/ws/a/b%0ac"] {
            assert!(socket_dashboard(path).is_err(), "{path}");
        }
    }

    #[test]
    fn query_values_are_found() {
        assert_eq!(query_value("a=1&acks=1&b", "acks"), Some("1"));
        assert_eq!(query_value("acks", "acks"), Some(""));
        assert_eq!(query_value("xacks=1", "acks"), None);
        assert_eq!(query_value("", "acks"), None);
    }
}
