//! What the log of a dashboard is made of.

use crate::time::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// An entry's place in the log of its dashboard: opaque, and growing with every append.
///
/// Wide enough for the two numbers of a Redis Stream id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u128);

impl LogPosition {
    /// Before every entry.
    pub const START: LogPosition = LogPosition(0);
}

impl core::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// Where an accepted update came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A member's WebSocket.
    Socket,
    /// The REST interface.
    Rest,
    /// A file that was imported.
    Import,
    /// Written after the store had been away: everything that was not durable yet, whoever wrote it.
    Recovery,
    /// Another node.
    Node,
}

/// One accepted update: who, when, and the original bytes reduced to what was new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When the room accepted it.
    pub at: Timestamp,
    /// The verified author; `None` when anonymous, or several after an outage of the store.
    pub author: Option<Arc<str>>,
    /// The session it came through; 0 when it was none.
    pub session: u64,
    /// The way it came in.
    pub source: Source,
    /// Yjs update v1.
    pub update: Bytes,
}
