//! Links and invitations as their holders have them: `yd_<id>_<secret>`. The secret is known to nobody else; records keep its digest.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::ledger::network;

/// What tells a link from a token.
const PREFIX: &str = "yd_";
const ID_LEN: usize = 16;
const SECRET_BYTES: usize = 32;

/// A link that was just made.
pub struct NewLink {
    /// Its public half.
    pub id: String,
    /// SHA-256 of its secret half.
    pub digest: [u8; 32],
    /// All of it, to be shown once.
    pub text: String,
}

/// A link that somebody shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLink {
    /// Its public half.
    pub id: String,
    /// SHA-256 of its secret half.
    pub digest: [u8; 32],
}

/// Makes a link. `None` when the system gives no random bytes.
#[must_use]
pub fn new_link() -> Option<NewLink> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; ID_LEN / 2], [0; SECRET_BYTES]);
    random.fill(&mut id).ok()?;
    random.fill(&mut secret).ok()?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{id}_{}", BASE64URL.encode(secret));
    Some(NewLink { id, digest: sha256(&secret), text })
}

/// Reads a link; `None` for anything else, such as a token.
#[must_use]
pub fn read_link(text: &str) -> Option<ShownLink> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_id = id.len() == ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let secret = BASE64URL.decode(secret).ok().filter(|secret| is_id && secret.len() == SECRET_BYTES)?;
    Some(ShownLink { id: id.to_owned(), digest: sha256(&secret) })
}

/// A mark of somebody who comes by a link, from one address (IPv6: one /64). Finding the address by trial takes the link's digest; only the
/// records hold that, as they hold the mark.
#[must_use]
pub fn mark(link: &ShownLink, address: IpAddr) -> u64 {
    let network = match network(address) {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let sum = sha256(&[&link.digest[..], &network.octets()].concat());
    let mut mark = [0; 8];
    mark.copy_from_slice(&sum[..8]);
    u64::from_be_bytes(mark)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_was_made_and_no_two_are_alike() {
        let (one, other) = (new_link().unwrap(), new_link().unwrap());
        assert_eq!(read_link(&one.text), Some(ShownLink { id: one.id.clone(), digest: one.digest }));
        assert_ne!((one.id, one.digest), (other.id, other.digest));
    }

    #[test]
    fn what_is_no_link_is_none() {
        let link = new_link().unwrap().text;
        let other_secret = link.replace(&link[20..21], if &link[20..21] == "A" { "B" } else { "A" });
        assert_ne!(read_link(&other_secret).map(|link| link.digest), read_link(&link).map(|link| link.digest));
        for text in [
            "",
            "yd_",
            "yd__",
            "a.b.c",
            &link[1..],
            &link[..link.len() - 1],
            &format!("{link}A"),
            &link.replace("yd_", "yd-"),
        ] {
            assert_eq!(read_link(text), None, "{text}");
        }
    }
}
