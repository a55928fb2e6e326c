//! The WebSocket handshake (RFC 6455 §4.2), and what a session is given when it succeeded.
//!
//! It is done by hand and before any route is looked at: a join's whole budget is some tens of microseconds. What comes out is
//! the bare socket; framing is the session's.
//!
//! A bad name, a bad token or missing access is *not* refused here: clients understand a permanent refusal only as a close code on an
//! open socket, so the socket is opened and the session is told why to end it ([`NoEntry`]). What passes (limits, draining) is refused
//! with 503: clients wait longer after a failed open than after a close.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use headers::{HeaderMapExt, SecWebsocketAccept, SecWebsocketKey};
use tokio::net::TcpStream;
use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, Request, StatusCode, Version};
use warp::reply::Response;
use ydash_proto::access::{Admission, Capabilities, Target};
use ydash_proto::id::DashboardId;

use crate::auth::{Denied, Eventual, KeptToken, Whence};
use crate::http::Site;
use crate::http::addresses::{ConnectionPermit, SessionPermit};
use crate::http::reply::Problem;
use crate::http::{path, token};
use crate::metrics::Metrics;
use crate::trace::SpanContext;

/// A socket that speaks WebSocket from here on.
#[derive(Debug)]
pub struct Upgraded<I = TcpStream> {
    /// The connection itself, with nothing wrapped around it.
    pub io: I,
    /// What the client sent right behind its handshake: already read, comes before anything from `io`.
    pub leftover: Bytes,
    /// What was agreed on.
    pub handshake: Handshake,
    /// Hold it as long as the session lives: it is what the limits and the sessions gauge count.
    pub permit: Permit,
}

/// What a handshake settled.
#[derive(Debug)]
pub struct Handshake {
    /// The client's address and origin. Never log them above DEBUG.
    pub from: Whence,
    /// The client's token, if it is to be asked about again.
    pub token: Option<KeptToken>,
    /// Where the session goes.
    pub destination: Destination,
    /// What the URL asked for.
    pub options: SocketOptions,
    /// Whether permessage-deflate was agreed on, without context takeover in either direction (RFC 7692).
    pub deflate: bool,
    /// The trace that the client is in, if anything here is traced.
    pub caller: Option<SpanContext>,
}

/// What a path means to a session.
pub enum Destination {
    /// One dashboard.
    Dashboard(Target),
    /// One dashboard, as soon as it is known who comes.
    Asking(DashboardId, BoxFuture<'static, Result<Admission, Denied>>),
    /// The endpoint of the Hocuspocus dialect, whose messages name their documents.
    Documents,
    /// Nothing that may be entered. (Hocuspocus' clients may connect to any path: their first message tells.)
    Nowhere(NoEntry),
}

impl core::fmt::Debug for Destination {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Destination::Dashboard(target) => f.debug_tuple("Dashboard").field(target).finish(),
            Destination::Asking(dashboard, _) => f.debug_tuple("Asking").field(dashboard).finish(),
            Destination::Documents => f.write_str("Documents"),
            Destination::Nowhere(why) => f.debug_tuple("Nowhere").field(why).finish(),
        }
    }
}

/// Why an open socket is to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// No dashboard can have this name: close code 4404.
    BadName,
    /// Not let in, or a reserved name without an identity.
    Denied(Denied),
}

/// Query parameters that opt into something; unknown ones pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `acks=1`: say when an update is durable.
    pub acks: bool,
    /// `echo=1`: send the client its own updates once they are durable.
    pub echo: bool,
}

/// The place a session takes; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    _session: SessionPermit,
    _connection: Option<ConnectionPermit>,
    metrics: Arc<Metrics>,
}

impl Permit {
    pub(super) fn new(session: SessionPermit, connection: Option<ConnectionPermit>, metrics: Arc<Metrics>) -> Permit {
        metrics.sessions.inc();
        Permit { _session: session, _connection: connection, metrics }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.sessions.dec();
    }
}

/// Takes sockets over. Implemented by whoever owns sessions.
pub trait SocketHandler<I = TcpStream>: Send + Sync + 'static {
    /// Serves one socket until it is closed. Runs in the connection's own task.
    fn serve(&self, socket: Upgraded<I>) -> BoxFuture<'static, ()>;
}

impl<I, F> SocketHandler<I> for F
where
    F: Fn(Upgraded<I>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
{
    fn serve(&self, socket: Upgraded<I>) -> BoxFuture<'static, ()> {
        self(socket)
    }
}

/// Whether the request wants a WebSocket. Other upgrades (`h2c`) are offers that a server may ignore.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::UPGRADE) && has_token(request.headers(), header::UPGRADE, "websocket")
}

/// Whether a request was a WebSocket's before something on the way took its Upgrade header off, as proxies do unless told otherwise.
pub(super) fn was_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
}

/// The trace that a client says to be in.
pub(super) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    SpanContext::parse(headers.get("traceparent")?.to_str().ok()?)
}

/// What is said to whoever [`was_upgrade`].
pub(super) const NO_UPGRADE: Problem =
    Problem::BadHandshake("the Upgrade header is missing: a proxy on the way has to pass Upgrade and Connection on");

/// Checks the handshake and answers it.
///
/// On success the response is 101 and the caller hands the connection over.
///
/// # Errors
/// [`Problem`] – answer it and keep speaking HTTP.
pub(super) fn shake_hands<B>(
    request: &Request<B>,
    address: IpAddr,
    site: &Site,
) -> Result<(Response, Handshake, SessionPermit), Problem> {
    let headers = request.headers();
    let accept = accept_key(request)?;
    if site.draining.is_cancelled() {
        return Err(Problem::Draining);
    }
    let permit = site.addresses.join(address, Instant::now()).map_err(Problem::Crowded)?;

    let deflate = if site.compresses { negotiate_deflate(headers) } else { None };
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.typed_insert(accept);
    if let Some(agreed) = deflate {
        answer.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(agreed));
    }
    if let Some(protocol) = token::agreed_protocol(headers) {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }

    let query = request.uri().query().unwrap_or_default();
    let options = SocketOptions {
        acks: path::query_value(query, "acks") == Some("1"),
        echo: path::query_value(query, "echo") == Some("1"),
    };
    let token = token::find(headers, query);
    let from = token::whence(address, headers);
    let destination = destination(request.uri().path(), &from, token.as_deref(), site);
    let token = token.filter(|_| site.authenticator.asks_again()).map(|token| KeptToken(token.into()));
    let caller = caller(headers).filter(|_| site.traces.is_on());
    Ok((response, Handshake { from, token, destination, options, deflate: deflate.is_some(), caller }, permit))
}

fn destination(path: &str, from: &Whence, token: Option<&str>, site: &Site) -> Destination {
    if path::is_hocuspocus(path) {
        return Destination::Documents;
    }
    match path::socket_dashboard(path) {
        Ok(dashboard) => match site.admit(&dashboard, from, token, Capabilities::READ).refused_late() {
            Eventual::Now(Ok(admission)) => Destination::Dashboard(Target { dashboard, admission }),
            Eventual::Now(Err(denied)) => Destination::Nowhere(NoEntry::Denied(denied)),
            Eventual::Later(verdict) => Destination::Asking(dashboard, verdict),
        },
        Err(_) => Destination::Nowhere(NoEntry::BadName),
    }
}

fn accept_key<B>(request: &Request<B>) -> Result<SecWebsocketAccept, Problem> {
    let headers = request.headers();
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(Problem::BadHandshake("a handshake is a GET over HTTP/1.1"));
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return Err(Problem::BadHandshake(
            "the Connection header does not say upgrade: a proxy on the way has to pass Upgrade and Connection on",
        ));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Problem::WebSocketVersion);
    }
    if !headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(|key| is_key(key.as_bytes())) {
        return Err(Problem::BadHandshake("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let key = headers.typed_get::<SecWebsocketKey>();
    Ok(key.ok_or(Problem::BadHandshake("Sec-WebSocket-Key is missing"))?.into())
}

/// 16 bytes in base64: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Picks the first offer of permessage-deflate that can be kept, and says what to answer (RFC 7692 §7.1).
///
/// Never with context takeover: a shared window costs hundreds of KB per connection. A client that demands a smaller server window
/// (`server_max_window_bits` below 15) is served without compression.
fn negotiate_deflate(headers: &HeaderMap) -> Option<&'static str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    offers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).find_map(deflate_answer)
}

fn deflate_answer(offer: &str) -> Option<&'static str> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let (mut server_takeover, mut client_takeover, mut server_bits, mut client_bits) = (false, false, false, false);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        let seen = match (name, value) {
            ("server_no_context_takeover", None) => &mut server_takeover,
            ("client_no_context_takeover", None) => &mut client_takeover,
            ("server_max_window_bits", Some("15")) => &mut server_bits,
            // A hint about its own window, or that it would take one: any window can be inflated.
            ("client_max_window_bits", None | Some("8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")) => {
                &mut client_bits
            }
            _ => return None,
        };
        if core::mem::replace(seen, true) {
            return None; // a parameter twice makes the offer invalid
        }
    }
    Some(if server_bits {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
    } else {
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    })
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deflate_is_agreed_without_context_takeover_or_not_at_all() {
        let plain = Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        for (offer, answer) in [
            ("permessage-deflate", plain),
            ("permessage-deflate; client_max_window_bits", plain),
            ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", plain),
            (
                "permessage-deflate; server_max_window_bits=15",
                Some(
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
                ),
            ),
            ("permessage-deflate; server_max_window_bits=10", None),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", plain),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
            ("permessage-deflate; unknown", None),
            ("x-webkit-deflate-frame", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
            assert_eq!(negotiate_deflate(&headers), answer, "{offer}");
        }
        assert_eq!(negotiate_deflate(&HeaderMap::new()), None);
    }

    #[test]
    fn only_sixteen_bytes_in_base64_are_a_key() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQQQ", "dGhlIHNhbXBsZSBub25!ZQ=="] {
            assert!(!is_key(key.as_bytes()), "{key}");
        }
    }
}
