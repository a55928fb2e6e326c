//! Logs: one subscriber for the process, as text for people or as JSON lines for machines, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;

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
    /// A word of the filter is no level. Taken for a module's name, as tracing has it, it would silence everything else.
    #[error("log: `{word}` is no level; write for example info, or ydash::store=debug,info")]
    Level {
        /// The word.
        word: String,
    },
    /// The process logs elsewhere already.
    #[error("a subscriber for logs is installed already")]
    Installed,
}

/// Starts logging what `filter` lets through: a level for everything, and others for modules. Colours are used on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// [`TelemetryError`] – nothing was installed.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    if let Some(word) = filter.split(',').map(str::trim).find(|word| !is_directive(word)) {
        return Err(TelemetryError::Level { word: word.into() });
    }
    let levels: Targets = filter.parse().map_err(|source| TelemetryError::Filter { filter: filter.into(), source })?;
    let subscriber = tracing_subscriber::registry().with(levels);
    let lines = layer().with_writer(stderr);
    let installed = match format {
        LogFormat::Text => {
            let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            tracing::subscriber::set_global_default(subscriber.with(lines.with_ansi(colours)))
        }
        LogFormat::Json => tracing::subscriber::set_global_default(
            subscriber.with(lines.json().flatten_event(true).with_current_span(true).with_span_list(false)),
        ),
    };
    installed.map_err(|_| TelemetryError::Installed)
}

/// Whether a part of a filter says which level, or which of our own modules, or is none of the plain words that a slip makes.
fn is_directive(word: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level =
        LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)) || word.parse().is_ok_and(|n: u8| n <= 5);
    is_level || word.is_empty() || word.starts_with("ydash") || word.contains('=')
}

#[cfg(test)]
mod tests {
    use super::is_directive;

    #[test]
    fn a_word_that_is_no_level_is_no_directive() {
        for word in ["info", "WARN", "off", "0", "5", "ydash", "ydash::store", "ydash=debug", "hyper=warn", ""] {
            assert!(is_directive(word), "{word}");
        }
        for word in ["inof", "verbose", "6", "hyper", "[room]"] {
            assert!(!is_directive(word), "{word}");
        }
    }
}
