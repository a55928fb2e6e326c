//! How a Redis is named in the configuration: one server, a master that Sentinels know, or a Cluster.
//!
//! ```text
//! redis://[user:password@]host[:6379][/db][?prefix=NAME]
//! redis-sentinel://[user:password@]host[:26379],host[:26379],…[/db]?master=NAME[&sentinel-user=…&sentinel-password=…]
//! redis-cluster://[user:password@]host[:6379],host[:6379],…
//! ```
//!
//! `rediss…` instead of `redis…` is the same over TLS. What is no letter or digit in a user, password or value is
//! percent-encoded. User and password are for the servers; Sentinels have their own, if any. `prefix` begins every key.

use core::fmt;
use core::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ydash_proto::id::{DashboardId, NodeId};

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const PREFIX: &str = "ydash";
const PREFIX_BYTES_MAX: usize = 64;

/// Which Redis, and how to get in. Shown without its passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) deployment: Deployment,
    pub(super) is_tls: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) database: u32,
    prefix: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Deployment {
    Server(Address),
    Sentinel { sentinels: Vec<Address>, master: String, credentials: Option<Credentials> },
    Cluster(Vec<Address>),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Empty for Redis' default user.
    pub(super) user: String,
    pub(super) password: String,
}

/// Why a text names no Redis. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// No known scheme.
    #[error("Redis must be `redis://…`, `redis-sentinel://…`, `redis-cluster://…`, or one of them with `rediss`")]
    Scheme,
    /// No host.
    #[error("Redis needs a host, as in `redis://127.0.0.1:6379`")]
    NoHost,
    /// A host that is none.
    #[error(
        "host of Redis must be a name or an address, IPv6 in brackets; `@`, `:` and `/` in a password are %40, %3A and %2F"
    )]
    Host,
    /// A port that is none.
    #[error("port of Redis must be a number from 1 to 65535")]
    Port,
    /// Several hosts behind `redis://`.
    #[error("`redis://` takes one host: write `redis-sentinel://` or `redis-cluster://` for several")]
    Hosts,
    /// A database that is none.
    #[error("database of Redis must be a number, as in `redis://127.0.0.1:6379/2`")]
    Database,
    /// A database of a Cluster.
    #[error("a Redis Cluster has no databases: leave out what stands behind the hosts, or set another `prefix`")]
    ClusterDatabase,
    /// Sentinel without a master's name.
    #[error(
        "`redis-sentinel://` needs the name of the master, as in `redis-sentinel://127.0.0.1:26379/0?master=mymaster`"
    )]
    NoMaster,
    /// A prefix that would not do in keys.
    #[error("`prefix` must be 1 to 64 of A-Z a-z 0-9 . _ : -")]
    Prefix,
    /// A percent sign without two hexadecimal digits, or no UTF-8 behind them.
    #[error("percent-encoding in the URL of Redis is broken: a percent sign itself is %25")]
    Encoding,
    /// Something behind the question mark that nobody reads.
    #[error("behind the `?` may stand prefix, and for Sentinel master, sentinel-user and sentinel-password")]
    Parameter,
}

impl RedisUrl {
    /// What every key begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether keys are spread over several servers, so that one command can only reach keys of one hash tag.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.deployment, Deployment::Cluster(_))
    }

    /// The key of `what` that belongs to a dashboard: all of a dashboard's keys are on one server.
    #[must_use]
    pub fn dashboard_key(&self, dashboard: &DashboardId, what: &str) -> String {
        self.tagged_key(dashboard.as_str(), what)
    }

    /// A key with any text as its hash tag. Braces in it are percent-encoded, and so is the percent sign, because a brace would end the
    /// tag.
    #[must_use]
    pub fn tagged_key(&self, tag: &str, what: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + tag.len() + what.len() + 4);
        key.push_str(&self.prefix);
        key.push_str(":{");
        for c in tag.chars() {
            match c {
                '{' => key.push_str("%7B"),
                '}' => key.push_str("%7D"),
                '%' => key.push_str("%25"),
                c => key.push(c),
            }
        }
        key.push_str("}:");
        key.push_str(what);
        key
    }

    /// The channel of a dashboard. Channels know no databases, so its number is part of the name.
    #[must_use]
    pub fn dashboard_channel(&self, dashboard: &DashboardId) -> String {
        self.in_database(self.dashboard_key(dashboard, "bus"))
    }

    /// The channel on which nodes speak of themselves. No dashboard has a name without a slash.
    #[must_use]
    pub fn nodes_channel(&self) -> String {
        self.in_database(format!("{}:{{nodes}}:bus", self.prefix))
    }

    /// The key of a node's lease.
    #[must_use]
    pub fn node_key(&self, node: NodeId) -> String {
        format!("{}:{{nodes}}:{node}", self.prefix)
    }

    fn in_database(&self, channel: String) -> String {
        if self.database == 0 { channel } else { format!("{channel}:{}", self.database) }
    }

    /// Whether this is the key of a node.
    #[must_use]
    pub fn is_node_key(&self, key: &[u8]) -> bool {
        key.starts_with(format!("{}:{{nodes}}:", self.prefix).as_bytes())
    }

    /// The dashboard whose key of `what` this is.
    #[must_use]
    pub fn dashboard_of_key(&self, key: &[u8], what: &str) -> Option<DashboardId> {
        let key = str::from_utf8(key).ok()?;
        let name = key.strip_prefix(&self.prefix)?.strip_prefix(":{")?.strip_suffix(what)?.strip_suffix("}:")?;
        let dashboard = DashboardId::stored(&percent_decoded(name).ok()?).ok()?;
        (self.dashboard_key(&dashboard, what) == key).then_some(dashboard)
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<RedisUrl, RedisUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError::Scheme)?;
        let (is_tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(RedisUrlError::Scheme)?),
        };
        let default_port = match kind {
            "" | "-cluster" => SERVER_PORT,
            "-sentinel" => SENTINEL_PORT,
            _ => return Err(RedisUrlError::Scheme),
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials_from(credentials)?), hosts),
            None => (None, authority),
        };
        let mut addresses =
            hosts.split(',').map(|host| address_from(host, default_port)).collect::<Result<Vec<_>, _>>()?;
        let mut prefix = PREFIX.to_owned();
        let mut master = None;
        let mut sentinel = Credentials { user: String::new(), password: String::new() };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(RedisUrlError::Parameter)?;
            let value = percent_decoded(value)?;
            match name {
                "prefix" => prefix = value,
                "master" if kind == "-sentinel" => master = Some(value),
                "sentinel-user" if kind == "-sentinel" => sentinel.user = value,
                "sentinel-password" if kind == "-sentinel" => sentinel.password = value,
                _ => return Err(RedisUrlError::Parameter),
            }
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(fits) {
            return Err(RedisUrlError::Prefix);
        }
        let database_number = match database {
            "" => 0,
            number => number.parse().map_err(|_| RedisUrlError::Database)?,
        };
        let deployment = match kind {
            "" if addresses.len() > 1 => return Err(RedisUrlError::Hosts),
            "" => Deployment::Server(addresses.remove(0)),
            "-cluster" if !database.is_empty() => return Err(RedisUrlError::ClusterDatabase),
            "-cluster" => Deployment::Cluster(addresses),
            _ => Deployment::Sentinel {
                sentinels: addresses,
                master: master.filter(|name| !name.is_empty()).ok_or(RedisUrlError::NoMaster)?,
                credentials: (!sentinel.password.is_empty()).then_some(sentinel),
            },
        };
        Ok(RedisUrl { deployment, is_tls, credentials, database: database_number, prefix })
    }
}

/// Parses back to the same but for the passwords, which are masked.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, addresses) = match &self.deployment {
            Deployment::Server(address) => ("", core::slice::from_ref(address)),
            Deployment::Sentinel { sentinels, .. } => ("-sentinel", sentinels.as_slice()),
            Deployment::Cluster(addresses) => ("-cluster", addresses.as_slice()),
        };
        write!(f, "redis{}{kind}://", if self.is_tls { "s" } else { "" })?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}:***@", Encoded(&credentials.user))?;
        }
        for (n, address) in addresses.iter().enumerate() {
            write!(f, "{}{address}", if n > 0 { "," } else { "" })?;
        }
        if !self.is_cluster() {
            write!(f, "/{}", self.database)?;
        }
        let mut mark = '?';
        let mut parameter = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            write!(f, "{}{name}={}", core::mem::replace(&mut mark, '&'), Encoded(value))
        };
        if let Deployment::Sentinel { master, credentials, .. } = &self.deployment {
            parameter(f, "master", master)?;
            if let Some(credentials) = credentials {
                parameter(f, "sentinel-user", &credentials.user)?;
                parameter(f, "sentinel-password", "***")?;
            }
        }
        if self.prefix != PREFIX {
            parameter(f, "prefix", &self.prefix)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn credentials_from(text: &str) -> Result<Credentials, RedisUrlError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Ok(Credentials { user: percent_decoded(user)?, password: percent_decoded(password)? })
}

fn address_from(text: &str, default_port: u16) -> Result<Address, RedisUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(RedisUrlError::Host)?;
            host.parse::<core::net::Ipv6Addr>().map_err(|_| RedisUrlError::Host)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(RedisUrlError::Host),
            }
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(RedisUrlError::NoHost);
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '@' | '/' | '?' | '#' | '%' | '[' | ']'))
    {
        return Err(RedisUrlError::Host);
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(RedisUrlError::Port)?,
        None => default_port,
    };
    Ok(Address { host: host.to_owned(), port })
}

fn percent_decoded(text: &str) -> Result<String, RedisUrlError> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return Err(RedisUrlError::Encoding);
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| RedisUrlError::Encoding)?;
    Ok(decoded.into_owned())
}

/// Percent-encoded, a mask left as it is.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PLAIN: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'*').remove(b':');
        utf8_percent_encode(self.0, PLAIN).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_sentinels_and_clusters() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://127.0.0.1:7000/2", "redis://127.0.0.1:7000/2"),
            ("rediss://[::1]:7000", "rediss://[::1]:7000/0"),
            ("redis://:s3cret@h/", "redis://:***@h:6379/0"),
            ("redis://me:s3%40cret@h?prefix=other", "redis://me:***@h:6379/0?prefix=other"),
            ("redis-sentinel://a,b:1/3?master=m", "redis-sentinel://a:26379,b:1/3?master=m"),
            (
                "rediss-sentinel://u:s3cret@a?sentinel-password=s3cret&master=m%20n&sentinel-user=s",
                "rediss-sentinel://u:***@a:26379/0?master=m%20n&sentinel-user=s&sentinel-password=***",
            ),
            ("redis-cluster://a:7000,[fd00::1],c", "redis-cluster://a:7000,[fd00::1]:6379,c:6379"),
            ("rediss-cluster://me:s3cret@a?prefix=x", "rediss-cluster://me:***@a:6379?prefix=x"),
        ] {
            let parsed: RedisUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(parsed.to_string(), shown, "{url}");
            assert!(!format!("{parsed:?}").contains("cret"), "{url}");
            assert_eq!(shown.parse::<RedisUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let url: RedisUrl = "redis://m%3Ae:a@b%2F%25@h".parse().unwrap_or_else(|_| panic!());
        let credentials = url.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("m:e", "a@b/%"));
    }

    #[test]
    fn what_names_no_redis_is_refused_with_the_reason() {
        for (url, expected) in [
            ("", RedisUrlError::Scheme),
            ("redis:h", RedisUrlError::Scheme),
            ("redis-x://h", RedisUrlError::Scheme),
            ("http://h", RedisUrlError::Scheme),
            ("redis://", RedisUrlError::NoHost),
            ("redis://me:secret@", RedisUrlError::NoHost),
            ("redis-cluster://a,,b", RedisUrlError::NoHost),
            ("redis://a b", RedisUrlError::Host),
            ("redis://[::1", RedisUrlError::Host),
            ("redis://[x]:1", RedisUrlError::Host),
            ("redis://h:0", RedisUrlError::Port),
            ("redis://h:x", RedisUrlError::Port),
            ("redis://h:65536", RedisUrlError::Port),
            ("redis://me:se/cret@h", RedisUrlError::Port),
            ("redis://a,b", RedisUrlError::Hosts),
            ("redis://h/x", RedisUrlError::Database),
            ("redis://h/-1", RedisUrlError::Database),
            ("redis-cluster://h/1", RedisUrlError::ClusterDatabase),
            ("redis-sentinel://h", RedisUrlError::NoMaster),
            ("redis-sentinel://h?master=", RedisUrlError::NoMaster),
            ("redis://h?master=m", RedisUrlError::Parameter),
            ("redis://h?timeout=3", RedisUrlError::Parameter),
            ("redis://h?prefix=a{b", RedisUrlError::Prefix),
            ("redis://h?prefix=", RedisUrlError::Prefix),
            ("redis://:a%b@h", RedisUrlError::Encoding),
            ("redis://:%ff@h", RedisUrlError::Encoding),
        ] {
            assert_eq!(url.parse::<RedisUrl>(), Err(expected), "{url}");
        }
    }

    #[test]
    fn keys_name_their_dashboard_and_no_name_breaks_the_hash_tag() {
        let url: RedisUrl = "redis://h?prefix=p".parse().unwrap_or_else(|_| panic!());
        let id = |name: &str| DashboardId::parse(name).unwrap();
        assert_eq!(url.dashboard_key(&id("w/a b"), "log"), "p:{w/a b}:log");
        for name in ["w/a", "w/{", "w/}", "w/{}", "w/a}:log", "w/%7D", "w/100%", "w/ü/💥", "w/~me"] {
            let key = url.dashboard_key(&id(name), "log");
            assert_eq!(key.matches(['{', '}']).count(), 2, "{key}");
            assert_eq!(url.dashboard_of_key(key.as_bytes(), "log"), Some(id(name)), "{key}");
            assert_eq!(url.dashboard_of_key(key.as_bytes(), "state"), None, "{key}");
        }
        for key in ["p:{w/a}:", "p:{w}:log", "q:{w/a}:log", "p:{w/%zz}:log", "p:{w/%61}:log", "p:w/a:log"] {
            assert_eq!(url.dashboard_of_key(key.as_bytes(), "log"), None, "{key}");
        }
    }
}
