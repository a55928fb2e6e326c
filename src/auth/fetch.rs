//! Fetches the keys that issuers publish, and asks the service at `authorize-url`.
//!
//! It asks only addresses that the operator configured, or that a configured issuer names in its own metadata. It follows no redirects,
//! reads a bounded answer (1 MiB of an issuer), and waits at most 5 s.

use core::time::Duration;

use reqwest::{Client, ClientBuilder, Response, Url, redirect};
use serde_json::Value;

use super::json;

const BYTES_MAX: usize = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);

/// Fetches.
#[derive(Clone, Debug)]
pub(super) struct Fetch(Client);

impl Fetch {
    /// # Errors
    /// In words: this machine trusts nobody, for example.
    pub(super) fn new() -> Result<Fetch, String> {
        Fetch::made(|client| client)
    }

    /// As [`Fetch::new`], for requests to `url`: those to this machine go past all proxies that are configured, which must not read them.
    ///
    /// # Errors
    /// As there.
    pub(super) fn of(url: &Url) -> Result<Fetch, String> {
        if is_here(url) { Fetch::made(ClientBuilder::no_proxy) } else { Fetch::new() }
    }

    fn made(set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Fetch, String> {
        // There may be one already: Redis needs it as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(WITHIN)
            .user_agent(concat!("ydash/", env!("CARGO_PKG_VERSION")));
        set(client).build().map(Fetch).map_err(|error| told(&error))
    }

    /// What stands there.
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let place = parse(url)?;
        let asked = self.0.get(place).header("accept", "application/json").send().await;
        let answer = asked.map_err(|error| format!("{url}: {}", told(&error)))?;
        if answer.status() != 200 {
            return Err(format!("{url}: answered {}", answer.status()));
        }
        body_of(answer, BYTES_MAX).await.map_err(|why| format!("{url}: {why}"))
    }

    /// Asks a service; returns the status and the body of its answer.
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) async fn post(
        &self,
        url: &Url,
        headers: &[(&'static str, String)],
        body: String,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), String> {
        let mut request = self.0.post(url.clone()).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.map_err(|error| told(&error))?;
        let status = answer.status().as_u16();
        Ok((status, body_of(answer, bytes_max).await?))
    }

    /// Where the issuer says that its keys are (OpenID Connect Discovery).
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) async fn discover(&self, issuer: &str) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let metadata = json::object(&self.get(&url).await?).map_err(|error| format!("{url}: {error}"))?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        match text("issuer") {
            Some(own) if own == issuer => {}
            own => {
                return Err(format!(
                    "{url}: is of issuer {:?}, not {issuer:?}; a slash at the end counts",
                    own.unwrap_or_default()
                ));
            }
        }
        let keys = text("jwks_uri").ok_or_else(|| format!("{url}: names no jwks_uri"))?;
        parse(keys)?;
        Ok(keys.to_owned())
    }
}

/// A URL that may be asked: encrypted, or from this machine.
///
/// # Errors
/// In words, for the operator.
pub(super) fn parse(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if is_here(&parsed) => Ok(parsed),
        _ => Err(format!("{url}: only https is asked, or this machine")),
    }
}

/// Whether a URL is of this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<core::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

async fn body_of(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| told(&error))? {
        if body.len() + part.len() > bytes_max {
            return Err(format!("answered more than {bytes_max} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn core::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn keys_come_encrypted_or_from_this_machine() {
        for url in
            ["https://id.example/keys", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/keys"]
        {
            assert!(parse(url).is_ok(), "{url}");
        }
        for url in
            ["http://id.example/keys", "http://localhost.example/keys", "file:///etc/passwd", "ftp://127.0.0.1/", "x"]
        {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
