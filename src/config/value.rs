//! How configuration values are written: durations, sizes, lists and addresses.

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ydash_proto::access::Access;

use crate::redis::{RedisUrl, RedisUrlError};

/// `60s`, `8ms`, `7d`: a number and its unit, `ms s m h d`.
///
/// # Errors
/// In words, for the operator.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let expected = || String::from("expected a duration such as 8ms, 60s, 5m, 12h or 7d");
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| String::from("duration is too long"))
}

/// A duration above zero: at zero everybody would be late.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time above zero".into()),
        time => Ok(time),
    }
}

/// How long something stays: a duration, a number of seconds as Redis has it, or `never` if it is never removed.
pub(super) fn lifetime(text: &str) -> Result<Option<Duration>, String> {
    match text.parse() {
        Ok(0) => Err("expected a time above zero, or never".into()),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) if text == "never" => Ok(None),
        Err(_) => match duration(text) {
            Ok(Duration::ZERO) => Err("expected a time above zero, or never".into()),
            Ok(time) => Ok(Some(time)),
            Err(_) => Err("expected a duration such as 12h or 30d, a number of seconds, or never".into()),
        },
    }
}

/// `65536`, `64KiB`, `16MiB`, `2GiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let expected = || String::from("expected a size such as 65536, 64KiB, 16MiB or 2GiB");
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    let total = number.checked_mul(scale).and_then(|total| usize::try_from(total).ok());
    total.ok_or_else(|| String::from("size is too large"))
}

/// A size above zero: at zero nothing would fit.
pub(super) fn size(text: &str) -> Result<usize, String> {
    match bytes(text)? {
        0 => Err("expected a size above zero".into()),
        size => Ok(size),
    }
}

/// A size above zero, or `auto`.
pub(super) fn size_or_auto(text: &str) -> Result<Option<usize>, String> {
    if text == "auto" { Ok(None) } else { size(text).map(Some) }
}

/// A whole number above zero.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = text.replace('_', "").parse::<u64>().ok().filter(|number| *number > 0);
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| String::from("expected a whole number above zero"))
}

/// A whole number.
pub(super) fn count_or_none(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| String::from("expected a whole number"))
}

/// A share of a whole, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// `true` or `false`.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// `127.0.0.1:1234`, `[::1]:1234`, `localhost:1234`, or a port alone for loopback.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let loopback = |port: &str| port.parse().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let address = text.parse().ok();
    address
        .or_else(|| loopback(text))
        .or_else(|| loopback(text.strip_prefix("localhost:")?))
        .ok_or_else(|| "expected an address and a port such as 127.0.0.1:1234 or [::]:1234".into())
}

/// The same, or nothing.
pub(super) fn listen_or_not(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { listen(text).map(Some) }
}

/// Parts between commas.
pub(super) fn list<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<Vec<T>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|error: T::Err| format!("{part}: {error}"))).collect()
}

/// A name for people: one line, not too long.
pub(super) fn name(text: &str) -> Result<String, String> {
    const CHARACTERS_MAX: usize = 128;
    let fits = text.chars().count() <= CHARACTERS_MAX && !text.chars().any(char::is_control);
    if fits { Ok(text.into()) } else { Err(format!("expected at most {CHARACTERS_MAX} characters on one line")) }
}

/// Whatever its own parser says.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// One line, or nothing.
pub(super) fn line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) { Err("expected one line".into()) } else { Ok(text.into()) }
}

/// Nothing, or whatever its own parser says.
pub(super) fn optional<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { parsed(text).map(Some) }
}

/// A secret. How long it has to be depends on what it is for.
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret(text.into()))
}

/// Something that is written into no log, also not by mistake.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What clients without a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Everything that an editor may, unless tokens are read: then nothing.
    Auto,
    /// This, or nothing.
    Is(Option<Access>),
}

impl FromStr for AnonymousAccess {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<AnonymousAccess, &'static str> {
        match text {
            "auto" => Ok(AnonymousAccess::Auto),
            "read-write" => Ok(AnonymousAccess::Is(Some(Access::EDITOR))),
            "read-only" => Ok(AnonymousAccess::Is(Some(Access::VIEWER))),
            "none" => Ok(AnonymousAccess::Is(None)),
            _ => Err("expected read-write, read-only, none or auto"),
        }
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.replace('_', "").parse().ok()?, unit.trim()))
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LogFormat, &'static str> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// How this node and others hear each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusUrl {
    /// Over the store's Redis; not at all with a store that is this node's own.
    Auto,
    /// Not at all.
    None,
    /// Over this Redis.
    Redis(RedisUrl),
}

impl FromStr for BusUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<BusUrl, String> {
        match text {
            "auto" => Ok(BusUrl::Auto),
            "none" => Ok(BusUrl::None),
            _ if text.contains("://") => {
                text.parse().map(BusUrl::Redis).map_err(|error: RedisUrlError| error.to_string())
            }
            _ => Err("expected auto, none, or a Redis as in redis://127.0.0.1:6379".into()),
        }
    }
}

/// Stands for every origin, or every host.
const ANY: &str = "*";

/// A web origin, `scheme://host[:port]`, exactly as browsers write it; `null`, which is what pages in files and sandboxes say; or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Whether this is what stands in a header.
    #[must_use]
    pub fn is_it(&self, origin: &str) -> bool {
        self.0 == ANY || self.0 == origin
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Origin, &'static str> {
        let host = text.split_once("://").map_or("", |(_, host)| host);
        let exact = !host.is_empty() && !host.contains('/') && text == text.to_ascii_lowercase() && text.is_ascii();
        if exact || text == ANY || text == "null" {
            Ok(Origin(text.into()))
        } else {
            Err("expected scheme://host[:port] in lower case, without a path; or *, or null")
        }
    }
}

/// A name under which a browser finds the server, without a port; or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Whether this is what a browser named.
    #[must_use]
    pub fn is_it(&self, name: &str) -> bool {
        self.0 == ANY || self.0.eq_ignore_ascii_case(name)
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HostName, &'static str> {
        let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !text.is_empty() && is_name(text) || text == ANY || text.parse::<IpAddr>().is_ok() {
            Ok(HostName(text.into()))
        } else {
            Err("expected a name or an address without a port, or *")
        }
    }
}

/// An address or a range of them: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether `address` lies in it. An IPv4 address that arrives on an IPv6 socket counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                (net.to_bits() ^ one.to_bits()).checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                (net.to_bits() ^ one.to_bits()).checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Network, &'static str> {
        let expected = "expected an address or a range such as 10.0.0.0/8";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| expected)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits { Err(expected) } else { Ok(Network { address, prefix }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [("8ms", 8), ("60s", 60_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "8", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetimes_may_have_no_end() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        for (text, expected) in [("30d", days(30)), ("2592000", days(30)), ("never", None)] {
            assert_eq!(lifetime(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "0s", "-1", "soon"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, expected) in [("0", 0), ("65536", 65536), ("64KiB", 65536), ("16MiB", 16 << 20), ("1 GiB", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "1K", "-1", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!((size("1KiB"), timeout("1s")), (Ok(1024), Ok(Duration::from_secs(1))));
        assert!(size("0KiB").is_err() && timeout("0s").is_err());
    }

    #[test]
    fn listening_addresses_are_taken_in_short_forms() {
        for text in ["127.0.0.1:1234", "1234", "localhost:1234"] {
            assert_eq!(listen(text).unwrap().to_string(), "127.0.0.1:1234", "{text}");
        }
        assert_eq!(listen("[::]:80").unwrap().to_string(), "[::]:80");
        assert!(listen("example.org:80").is_err());
    }

    #[test]
    fn networks_hold_their_addresses() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse::<IpAddr>().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "11.0.0.1"));
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("fd00::/8", "fd12::1"));
        for text in ["", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bus_is_a_redis_or_none() {
        assert_eq!("auto".parse(), Ok(BusUrl::Auto));
        assert_eq!("none".parse(), Ok(BusUrl::None));
        assert_eq!("redis://h".parse(), Ok(BusUrl::Redis("redis://h".parse().unwrap())));
        for text in ["", "redis", "nats://h", "redis://a,b"] {
            assert!(text.parse::<BusUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_exact() {
        assert!("https://app.example.org".parse::<Origin>().is_ok());
        assert!("http://localhost:5173".parse::<Origin>().is_ok());
        for text in ["app.example.org", "https://", "https://app.example.org/", "https://App.example.org", "**"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        assert!("*".parse::<Origin>().unwrap().is_it("null"));
    }

    #[test]
    fn hosts_have_no_ports() {
        assert!("dash.example.org".parse::<HostName>().unwrap().is_it("DASH.example.org"));
        assert!("*".parse::<HostName>().unwrap().is_it("anything"));
        assert!("::1".parse::<HostName>().is_ok());
        for text in ["", "dash.example.org:80", "https://dash.example.org", "*.example.org"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
