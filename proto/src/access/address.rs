//! Addresses of clients, and networks that grants are limited to.

use core::fmt;
use std::sync::Arc;

/// An IP address as 16 bytes; an IPv4 address is `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(pub [u8; 16]);

/// A network in CIDR notation, `10.0.0.0/8` or `2001:db8::/32`; an address alone is a network of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    base: [u8; 16],
    /// How many bits of it count.
    bits: u8,
    /// As it was written.
    text: Arc<str>,
}

impl Address {
    /// Reads an address; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Address> {
        if text.contains(':') { parse_v6(text).map(Address) } else { parse_v4(text).map(mapped).map(Address) }
    }
}

impl Network {
    /// Reads a network; `None` for anything else, also if bits beyond its length are set.
    #[must_use]
    pub fn parse(text: &str) -> Option<Network> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let Address(base) = Address::parse(address)?;
        let (first, most) = if address.contains(':') { (0, 128) } else { (96, 32) };
        let len = match len {
            None => most,
            Some(len) if len.len() <= 3 && len.bytes().all(|b| b.is_ascii_digit()) => {
                len.parse().ok().filter(|len| *len <= most)?
            }
            Some(_) => return None,
        };
        let network = Network { base, bits: first + len, text: text.into() };
        (network.masked(base) == base).then_some(network)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, Address(address): Address) -> bool {
        self.masked(address) == self.base
    }

    fn masked(&self, address: [u8; 16]) -> [u8; 16] {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        (u128::from_be_bytes(address) & mask).to_be_bytes()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[10..12].fill(0xff);
    bytes[12..].copy_from_slice(&v4);
    bytes
}

fn parse_v4(text: &str) -> Option<[u8; 4]> {
    let mut bytes = [0; 4];
    let mut parts = text.split('.');
    for byte in &mut bytes {
        let part = parts.next()?;
        // A leading zero means octal to some.
        let is_plain = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        *byte = part.parse().ok().filter(|_| is_plain && (part.len() == 1 || !part.starts_with('0')))?;
    }
    parts.next().is_none().then_some(bytes)
}

/// RFC 4291 §2.2.
fn parse_v6(text: &str) -> Option<[u8; 16]> {
    let (head, tail) = match text.split_once("::") {
        Some((head, tail)) => (groups(head, tail.is_empty())?, Some(groups(tail, true)?)),
        None => (groups(text, true)?, None),
    };
    let len = head.len() + tail.as_ref().map_or(0, Vec::len);
    let tail = match tail {
        Some(tail) if len < 8 => tail,
        None if len == 8 => Vec::new(),
        _ => return None,
    };
    let mut bytes = [0; 16];
    for (at, group) in head.iter().enumerate() {
        bytes[at * 2..at * 2 + 2].copy_from_slice(&group.to_be_bytes());
    }
    for (at, group) in tail.iter().rev().enumerate() {
        bytes[14 - at * 2..16 - at * 2].copy_from_slice(&group.to_be_bytes());
    }
    Some(bytes)
}

/// Groups of four hexadecimal digits; the last two may be an IPv4 address at the end.
fn groups(text: &str, is_end: bool) -> Option<Vec<u16>> {
    let mut groups = Vec::new();
    if text.is_empty() {
        return Some(groups);
    }
    let mut parts = text.split(':').peekable();
    while let Some(part) = parts.next() {
        if part.contains('.') {
            let [a, b, c, d] = parse_v4(part).filter(|_| is_end && parts.peek().is_none())?;
            groups.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
        } else {
            let is_plain = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            groups.push(u16::from_str_radix(part, 16).ok().filter(|_| is_plain)?);
        }
        if groups.len() > 8 {
            return None;
        }
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv6Addr};

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(Address::parse(address).unwrap())
    }

    /// As the standard library reads it, which may not be named outside tests.
    fn told(text: &str) -> Option<Address> {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        text.parse().ok().map(octets).map(Address)
    }

    #[test]
    fn networks_contain_their_addresses_and_no_others() {
        for (network, within, without) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.1.0/25", "192.168.1.127", "192.168.1.128"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::"),
            ("::/0", "10.0.0.1", "::1"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
        ] {
            assert!(contains(network, within), "{network} {within}");
            assert!(network == "::/0" || !contains(network, without), "{network} {without}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "/",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "010.0.0.0",
            "256.0.0.0",
            "::/129",
            ":::/8",
            "1::2::3",
            "2001:db8::1/32",
            "example.org",
            "10.0.0.0/+8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7::8:9",
            "::1%eth0",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_the_standard_library_reads_them(
            text in prop_oneof![
                "[0-9a-f:.]{0,40}",
                "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
                any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_string()),
                any::<u128>().prop_map(|bits| Ipv6Addr::from(bits & (u128::MAX >> 64 | 0xffff << 112)).to_string()),
            ]
        ) {
            prop_assert_eq!(Address::parse(&text), told(&text), "{}", text);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Network::parse(&text);
        }
    }
}
