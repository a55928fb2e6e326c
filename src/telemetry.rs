//! Logs: one subscriber for the process, as text for people or as JSON lines for machines, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use crate::config::LogFormat;

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log: `{filter}` is not a filter; write for example info, or ydash=debug,info")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process logs elsewhere already.
    #[error("a subscriber for logs is installed already")]
    Installed,
}

/// Starts logging what `filter` lets through. Colours are used on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// [`TelemetryError`] – nothing was installed.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.into(), source })?;
    let subscriber = Subscriber::builder().with_env_filter(parsed).with_writer(stderr);
    let installed = match format {
        LogFormat::Text => {
            let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            tracing::subscriber::set_global_default(subscriber.with_ansi(colours).finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(
            subscriber.json().flatten_event(true).with_current_span(true).with_span_list(false).finish(),
        ),
    };
    installed.map_err(|_| TelemetryError::Installed)
}
