//! Where a request carries its token. Never in a cookie: a browser sends those along for pages that have no business here.

use std::net::IpAddr;

use warp::http::header::{self, HeaderMap, HeaderValue};

use crate::auth::Whence;
use crate::http::path;

/// What subprotocols begin with that are a token. The rest of an offer says what is spoken.
const TOKEN_PROTOCOL: &str = "token.";

/// The token of a request: in `Authorization: Bearer`, which is looked at first, among the subprotocols of a WebSocket, or in the query as
/// `token`, for those who can say it nowhere else.
pub(super) fn find(headers: &HeaderMap, query: &str) -> Option<String> {
    bearer(headers)
        .or_else(|| protocols(headers).find_map(|offer| offer.strip_prefix(TOKEN_PROTOCOL)).map(str::to_owned))
        .or_else(|| path::query_value(query, "token").and_then(path::decode).map(|token| token.into_owned()))
        .filter(|token| !token.is_empty())
}

/// The address and the origin of a request.
pub(super) fn whence(address: IpAddr, headers: &HeaderMap) -> Whence {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    Whence { address, origin: origin.filter(|origin| origin.len() <= ORIGIN_BYTES_MAX).map(Into::into) }
}

/// A longer origin is nobody's: every session keeps its own.
const ORIGIN_BYTES_MAX: usize = 300;

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The subprotocol to agree on: Chrome fails a connection whose server selects none. A token is sent back only if nothing else is offered.
pub(super) fn agreed_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let agreed = protocols(headers).find(|offer| !offer.starts_with(TOKEN_PROTOCOL));
    HeaderValue::from_str(agreed.or_else(|| protocols(headers).next())?).ok()
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_found_wherever_a_client_can_put_it() {
        let authorization = (header::AUTHORIZATION, "Bearer a.b.c");
        let protocol = (header::SEC_WEBSOCKET_PROTOCOL, "ydash, token.d.e.f");
        assert_eq!(find(&headers(&[authorization.clone(), protocol.clone()]), "token=g.h.i").as_deref(), Some("a.b.c"));
        assert_eq!(find(&headers(std::slice::from_ref(&protocol)), "token=g.h.i").as_deref(), Some("d.e.f"));
        assert_eq!(find(&HeaderMap::new(), "acks=1&token=g.h%2Ei").as_deref(), Some("g.h.i"));
        for (lines, query) in [
            (vec![(header::AUTHORIZATION, "Basic YTpi")], ""),
            (vec![(header::AUTHORIZATION, "Bearer ")], "token="),
            (vec![(header::COOKIE, "token=a.b.c")], "tokens=a.b.c"),
        ] {
            assert_eq!(find(&headers(&lines), query), None, "{lines:?} {query}");
        }
    }

    #[test]
    fn a_token_is_not_sent_back_unless_nothing_else_is_offered() {
        let agreed = |offer| agreed_protocol(&headers(&[(header::SEC_WEBSOCKET_PROTOCOL, offer)]));
        assert_eq!(agreed("token.a.b.c, ydash"), Some(HeaderValue::from_static("ydash")));
        assert_eq!(agreed("yjs"), Some(HeaderValue::from_static("yjs")));
        assert_eq!(agreed("token.a.b.c"), Some(HeaderValue::from_static("token.a.b.c")));
        assert_eq!(agreed_protocol(&HeaderMap::new()), None);
    }
}
