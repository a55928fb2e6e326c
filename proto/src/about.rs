//! What a list tells of a dashboard without reading it: its title, and when who edited it last.
//!
//! Kept beside the document, in a record of its own, and written anew with each snapshot. It follows from the document and its log, so what
//! is lost of it is found out again.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::log::LogPosition;
use crate::time::Timestamp;

/// What is known of a dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `title` in its root map `meta`.
    pub title: Option<Arc<str>>,
    /// Its last edit, if any is known.
    pub edited: Option<Edited>,
}

/// When who edited it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// When the edit was accepted.
    pub at: Timestamp,
    /// The verified author; `None` when anonymous, or not known.
    pub by: Option<Arc<str>>,
}

/// The standing of a room, for those who follow it without reading its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Grows with each update.
    pub updates: u64,
    /// The end of its log.
    pub position: LogPosition,
    /// Whether other nodes have, or had, the dashboard open. If so, `position` says nothing about their latest edits.
    pub has_peers: bool,
    /// The last edit that came through this node, since the room was opened.
    pub edited: Option<Edited>,
    /// Grows with each change of anybody's presence.
    pub presence: u64,
    /// Sessions that have it open, those of other nodes included.
    pub present: usize,
}

/// The format of records.
const FORMAT: u64 = 1;

impl About {
    /// Takes the later of two edits. Several nodes each know their own.
    pub fn learn(&mut self, edited: Option<Edited>) {
        let is_later = |later: &Edited| self.edited.as_ref().is_none_or(|known| later.at > known.at);
        if let Some(later) = edited.filter(is_later) {
            self.edited = Some(later);
        }
    }

    /// Reads a record; `None` for one that is not understood.
    #[must_use]
    pub fn decode(stored: &[u8]) -> Option<About> {
        let record: Value = serde_json::from_slice(stored).ok()?;
        if record["format"].as_u64()? != FORMAT {
            return None;
        }
        let text = |name: &str| record[name].as_str().map(Arc::from);
        let edited = record["at"].as_u64().map(|at| Edited { at: Timestamp(at), by: text("by") });
        Some(About { title: text("title"), edited })
    }

    /// Writes a record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let edited = self.edited.as_ref();
        let record = json!({
            "format": FORMAT,
            "title": self.title.as_deref(),
            "at": edited.map(|edited| edited.at.0),
            "by": edited.and_then(|edited| edited.by.as_deref()),
        });
        record.to_string().into_bytes()
    }

    /// Whether `wanted`, in lower case, is in its title.
    #[must_use]
    pub fn is_titled(&self, wanted: &str) -> bool {
        self.title.as_ref().is_some_and(|title| title.to_lowercase().contains(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(at: u64, by: &str) -> Option<Edited> {
        Some(Edited { at: Timestamp(at), by: (!by.is_empty()).then(|| by.into()) })
    }

    #[test]
    fn records_say_what_was_written() {
        let sales = About { title: Some("Sales \"2026\"".into()), edited: edited(5, "ada") };
        for about in [sales, About { title: None, edited: edited(1, "") }, About::default()] {
            assert_eq!(About::decode(&about.encode()), Some(about));
        }
        for none in ["", "[]", "{}", r#"{"format":2,"title":"a"}"#] {
            assert_eq!(About::decode(none.as_bytes()), None, "{none}");
        }
    }

    /// Change these bytes only together with the format and docs/STORAGE.md.
    #[test]
    fn golden_record() {
        let about = About { title: Some("Sales".into()), edited: edited(1_767_225_600_000, "ada") };
        assert_eq!(
            String::from_utf8(about.encode()).unwrap(),
            r#"{"at":1767225600000,"by":"ada","format":1,"title":"Sales"}"#
        );
    }

    #[test]
    fn the_later_edit_counts() {
        let mut about = About::default();
        for (at, by, last) in [(5, "ada", "ada"), (3, "bob", "ada"), (5, "eve", "ada"), (6, "eve", "eve")] {
            about.learn(edited(at, by));
            assert_eq!(about.edited.as_ref().unwrap().by.as_deref(), Some(last));
        }
        about.learn(None);
        assert!(about.edited.is_some());
    }
}
