//! Whose word counts about where a client is: only a trusted proxy's.

use std::net::IpAddr;

use warp::http::header::HeaderMap;

use crate::config::Network;

/// Whether `peer` is a proxy whose `X-Forwarded-For` is believed.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(peer))
}

/// The address of the client behind `peer`.
///
/// `X-Forwarded-For` grows at its right end, one address per proxy. So the client is the rightmost that is not itself a trusted
/// proxy; everything left of it is hearsay.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut client = peer;
    let values = headers.get_all("x-forwarded-for");
    let mut hops: Vec<&str> =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
    while let Some(hop) = hops.pop() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        client = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &'static str) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.9", "198.51.100.1"), "192.0.2.9");
        assert_eq!(client("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(client("::1", "198.51.100.1, 10.1.2.3"), "198.51.100.1");
    }

    #[test]
    fn what_a_client_claims_about_itself_is_hearsay() {
        assert_eq!(client("10.0.0.1", "1.1.1.1, 198.51.100.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "garbage"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "garbage, 198.51.100.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
    }
}
