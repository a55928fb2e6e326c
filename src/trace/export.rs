//! Sends spans to a collector, by OTLP over HTTP. What it does not take is dropped: traces are never a reason to wait.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::time::Instant;

use reqwest::{Client, Url, redirect};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Finished, otlp};

/// Spans in one request.
const AT_ONCE: usize = 512;
/// How long spans are collected into one request.
const EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How often the operator is told that spans do not arrive.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where a collector listens: what `OTEL_EXPORTER_OTLP_ENDPOINT` names, without `/v1/traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => Ok(Endpoint(url)),
            _ => Err("expected an http or https URL, as http://collector:4318".into()),
        }
    }
}

impl Endpoint {
    fn traces(&self) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/v1/traces", self.0.path().trim_end_matches('/')));
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a span is where something came in.
pub(super) fn is_entry(name: &str) -> bool {
    matches!(name, "edit" | "join" | "request")
}

/// The sending end. It has to run for anything to arrive.
#[derive(Debug)]
pub struct Exporter {
    endpoint: Endpoint,
    node: String,
    queue: mpsc::Receiver<Finished>,
}

impl Exporter {
    pub(super) fn new(endpoint: Endpoint, node: String, queue: mpsc::Receiver<Finished>) -> Exporter {
        Exporter { endpoint, node, queue }
    }

    /// Sends what there is, every second, until it `is_over`; what has been traced by then is sent before it returns.
    pub async fn run(mut self, is_over: CancellationToken) {
        // There may be one already: Redis needs it as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agent = concat!("ydash/", env!("CARGO_PKG_VERSION"));
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(WITHIN).user_agent(agent).build();
        let client = match client {
            Ok(client) => client,
            Err(error) => return warn!(%error, "traces cannot be sent"),
        };
        let (url, mut told_at) = (self.endpoint.traces(), None::<Instant>);
        let mut spans = Vec::new();
        loop {
            let collecting =
                async { while spans.len() < AT_ONCE && self.queue.recv_many(&mut spans, AT_ONCE).await > 0 {} };
            // Whichever comes first: time, a full request, or the end. All that was received is kept.
            tokio::select! {
                _ = tokio::time::timeout(EVERY, collecting) => {}
                () = is_over.cancelled() => {
                    while let Ok(span) = self.queue.try_recv() {
                        spans.push(span);
                    }
                }
            }
            if spans.is_empty() {
                if is_over.is_cancelled() {
                    return;
                }
                continue;
            }
            let body = otlp::request(&self.node, &spans);
            let request = client.post(url.clone()).header("content-type", "application/x-protobuf").body(body);
            let failure = match request.send().await {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("answered {}", answer.status())),
                Err(error) => Some(error.without_url().to_string()),
            };
            if let Some(failure) = failure {
                if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    told_at = Some(Instant::now());
                    warn!(%failure, "the collector of otlp-endpoint does not take traces; they are dropped");
                }
                debug!(spans = spans.len(), %failure, "spans dropped");
            }
            spans.clear();
        }
    }
}
