//! Which pages may reach a server: by the name under which a browser found it (Host), and by where the page comes from (Origin).
//!
//! A browser lets every page on the web open sockets to this machine and send simple requests to it, and says whose page it was. And a
//! page whose own name is made to resolve to this machine (DNS rebinding) counts as this server's own, and says only its name. So both
//! are looked at before anything else. Whoever is no browser can say what it likes: this protects users of browsers, and nothing else.

use std::net::{IpAddr, SocketAddr};

use warp::http::Request;
use warp::http::header::{self, HeaderMap};

use crate::config::{HostName, Origin};
use crate::http::reply::Problem;

/// The rule of one server.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Whether only this machine reaches the server, under names that mean this machine.
    is_loopback: bool,
    allowed_hosts: Vec<HostName>,
    allowed_origins: Vec<Origin>,
}

impl Pages {
    /// The rule of a server that listens on `listen`.
    #[must_use]
    pub fn new(listen: SocketAddr, allowed_hosts: Vec<HostName>, allowed_origins: Vec<Origin>) -> Pages {
        Pages { is_loopback: listen.ip().to_canonical().is_loopback(), allowed_hosts, allowed_origins }
    }

    /// Whether a request may come in. `is_proxied` says that it comes from a trusted proxy.
    ///
    /// # Errors
    /// [`Problem`] – answer it.
    pub(super) fn check<B>(&self, request: &Request<B>, is_proxied: bool) -> Result<(), Problem> {
        let headers = request.headers();
        if headers.get_all(header::HOST).iter().nth(1).is_some() {
            return Err(Problem::BadRequest("the Host header is there twice"));
        }
        let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
        // A target with a host of its own is not what browsers send; it counts as well.
        let target = request.uri().authority().map(|authority| authority.as_str());
        if !host.into_iter().chain(target).all(|host| self.answers_to(name_of(host), is_proxied)) {
            return Err(Problem::Host);
        }
        match headers.get(header::ORIGIN) {
            Some(origin) => match origin.to_str() {
                Ok(origin) if self.takes(origin, host, is_proxied.then_some(headers)) => Ok(()),
                _ => Err(Problem::Origin),
            },
            // Every browser sends one with what could do harm, and whoever is no browser could send any.
            None => Ok(()),
        }
    }

    fn answers_to(&self, name: &str, is_proxied: bool) -> bool {
        let is_foreign_free = self.allowed_hosts.is_empty();
        let is_named = self.allowed_hosts.iter().any(|host| host.is_it(name));
        if is_named || is_loopback(name) {
            return true;
        }
        if self.is_loopback {
            // Which names a proxy answers to is its own to decide.
            return is_foreign_free && is_proxied;
        }
        // A page that was found by an address was served by that address: nothing to rebind.
        is_foreign_free || name.parse::<IpAddr>().is_ok()
    }

    fn takes(&self, origin: &str, host: Option<&str>, proxy: Option<&HeaderMap>) -> bool {
        if !self.allowed_origins.is_empty() {
            return self.allowed_origins.iter().any(|one| one.is_it(origin));
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(name) = authority.map(name_of) else { return false };
        // Ports are left out: proxies drop them, and pages on other ports of the same machine are as near as this one's own.
        let forwarded = proxy.into_iter().flat_map(|headers| headers.get_all("x-forwarded-host"));
        let forwarded =
            forwarded.filter_map(|hosts| hosts.to_str().ok()).flat_map(|hosts| hosts.split(',')).map(str::trim);
        is_loopback(name) || host.into_iter().chain(forwarded).any(|host| name_of(host).eq_ignore_ascii_case(name))
    }
}

/// The name or address in `name[:port]`, without brackets and the dot that may end a name.
pub(super) fn name_of(authority: &str) -> &str {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// Whether only the machine that a browser runs on can be meant: `localhost`, what is below it, an address of its own.
pub(super) fn is_loopback(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    if let Ok(address) = name.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback() || address.is_unspecified();
    }
    let above = name.len().checked_sub(LOCALHOST.len()).filter(|at| name.is_char_boundary(*at));
    above.is_some_and(|at| {
        name[at..].eq_ignore_ascii_case(LOCALHOST) && (at == 0 || at > 1 && name[..at].ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(listen: &str, hosts: &[&str], origins: &[&str]) -> Pages {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        Pages::new(listen.parse().unwrap(), hosts, origins)
    }

    fn check(pages: &Pages, is_proxied: bool, lines: &[(&str, &str)]) -> Result<(), Problem> {
        let request =
            lines.iter().fold(Request::builder().uri("/"), |request, (name, value)| request.header(*name, *value));
        pages.check(&request.body(()).unwrap(), is_proxied)
    }

    const LOOPBACK: [&str; 9] = [
        "localhost",
        "localhost:1234",
        "LOCALHOST.",
        "app.localhost:5173",
        "127.0.0.1:1234",
        "127.9.9.9",
        "[::1]:1234",
        "[::1]",
        "[::ffff:127.0.0.1]:80",
    ];
    const FOREIGN: [&str; 10] = [
        "",
        "evil.example",
        "evil.example:1234",
        "localhost.evil.example",
        "evillocalhost",
        ".localhost",
        "127.0.0.1.evil.example",
        "192.0.2.1:1234",
        "localhost:1234@evil.example",
        "1234",
    ];

    /// A page that has its own name resolve to 127.0.0.1 is same-origin with the server, and sends no Origin with a GET.
    #[test]
    fn on_loopback_only_loopback_names_are_answered() {
        for listen in ["127.0.0.1:1234", "[::1]:1234"] {
            let pages = pages(listen, &[], &[]);
            for host in LOOPBACK {
                assert_eq!(check(&pages, false, &[("host", host)]), Ok(()), "{host}");
            }
            for host in FOREIGN {
                assert_eq!(check(&pages, false, &[("host", host)]), Err(Problem::Host), "{host}");
                let rebound = format!("http://{host}");
                assert_eq!(check(&pages, false, &[("host", host), ("origin", &rebound)]), Err(Problem::Host), "{host}");
            }
            assert_eq!(check(&pages, false, &[]), Ok(()), "no browser");
        }
    }

    #[test]
    fn only_pages_of_loopback_origins_and_own_ones_come_in_by_default() {
        let (here, everywhere) = (pages("127.0.0.1:1234", &[], &[]), pages("0.0.0.0:1234", &[], &[]));
        let from = |pages: &Pages, host: &str, origin: &str| check(pages, false, &[("host", host), ("origin", origin)]);
        for (pages, host) in
            [(&here, "127.0.0.1:1234"), (&everywhere, "dash.example.org"), (&everywhere, "192.0.2.7:1234")]
        {
            for name in LOOPBACK {
                assert_eq!(from(pages, host, &format!("http://{name}")), Ok(()), "{name}");
                assert_eq!(from(pages, host, &format!("https://{name}")), Ok(()), "{name}");
            }
            for name in FOREIGN {
                assert_eq!(from(pages, host, &format!("https://{name}")), Err(Problem::Origin), "{name}");
            }
            for origin in ["null", "file://", "chrome-extension://localhost", "localhost", ""] {
                assert_eq!(from(pages, host, origin), Err(Problem::Origin), "{origin}");
            }
        }
        assert_eq!(from(&everywhere, "dash.example.org", "https://dash.example.org"), Ok(()));
        assert_eq!(from(&everywhere, "dash.example.org", "https://dash.example.org:8443"), Ok(()), "nginx's $host");
        assert_eq!(
            from(&everywhere, "192.0.2.7:1234", "http://192.0.2.7:5173"),
            Ok(()),
            "a development server beside it"
        );
        assert_eq!(from(&everywhere, "dash.example.org", "https://example.org"), Err(Problem::Origin));
    }

    #[test]
    fn a_list_of_origins_is_the_whole_rule() {
        let pages = pages("127.0.0.1:1234", &[], &["https://app.example.org", "null"]);
        let from = |origin: &str| check(&pages, false, &[("host", "localhost"), ("origin", origin)]);
        assert_eq!((from("https://app.example.org"), from("null")), (Ok(()), Ok(())));
        for origin in ["https://app.example.org.evil.example", "http://app.example.org", "http://localhost", "*"] {
            assert_eq!(from(origin), Err(Problem::Origin), "{origin}");
        }
        let anybody = self::pages("127.0.0.1:1234", &[], &["*"]);
        assert_eq!(check(&anybody, false, &[("host", "localhost"), ("origin", "https://a.example")]), Ok(()));
    }

    #[test]
    fn a_list_of_hosts_is_answered_beside_loopback_names() {
        let pages = pages("0.0.0.0:1234", &["dash.example.org"], &[]);
        for host in ["dash.example.org", "DASH.example.org:80", "localhost", "192.0.2.7:1234"] {
            assert_eq!(check(&pages, false, &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check(&pages, false, &[("host", "evil.example")]), Err(Problem::Host));
        assert_eq!(check(&pages, true, &[("host", "evil.example")]), Err(Problem::Host), "through a proxy, too");
        let behind = self::pages("127.0.0.1:1234", &["dash.example.org"], &[]);
        let own = [("host", "dash.example.org"), ("origin", "https://dash.example.org")];
        assert_eq!(check(&behind, false, &own), Ok(()), "a proxy on this machine that is not trusted");
        assert_eq!(check(&self::pages("127.0.0.1:1234", &["*"], &[]), false, &own), Ok(()));
    }

    #[test]
    fn a_trusted_proxy_decides_about_hosts_and_tells_the_one_that_the_browser_named() {
        let pages = pages("127.0.0.1:1234", &[], &[]);
        let own = [("host", "dash.example.org"), ("origin", "https://dash.example.org")];
        assert_eq!((check(&pages, true, &own), check(&pages, false, &own)), (Ok(()), Err(Problem::Host)));
        let rewritten = [
            ("host", "127.0.0.1:1234"),
            ("x-forwarded-host", "dash.example.org"),
            ("origin", "https://dash.example.org"),
        ];
        assert_eq!((check(&pages, true, &rewritten), check(&pages, false, &rewritten)), (Ok(()), Err(Problem::Origin)));
        let foreign = [("host", "dash.example.org"), ("origin", "https://evil.example")];
        assert_eq!(check(&pages, true, &foreign), Err(Problem::Origin));
    }

    #[test]
    fn a_host_in_the_target_or_a_second_one_does_not_get_around_the_rule() {
        let pages = pages("127.0.0.1:1234", &[], &[]);
        let absolute =
            Request::builder().uri("http://evil.example/metrics").header("host", "localhost").body(()).unwrap();
        assert_eq!(pages.check(&absolute, false), Err(Problem::Host));
        let twice = check(&pages, false, &[("host", "localhost"), ("host", "evil.example")]);
        assert!(matches!(twice, Err(Problem::BadRequest(_))));
    }
}
