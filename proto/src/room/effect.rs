//! What a room wants done.

use super::input::{RequestId, Said};
use super::{Content, FlushSeq};
use crate::allowance::Exceeded;
use crate::id::MemberId;
use crate::log::{LogEntry, LogPosition};
use crate::update::Refusal;
use crate::update::StateVector;
use crate::wire::close::CloseCode;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;

/// What an outbox must know about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The whole state, shared between all who join: dropping it means starting over.
    State,
    /// What somebody lacked, shared at most with those who had the same: dropping it means starting over.
    Difference,
    /// Went to everybody in this flush: dropping it means a difference from here.
    Flush(FlushSeq),
    /// Goes again with the difference that follows an overflow, or is worth nothing later: dropping it costs nothing.
    Notice,
    /// A text of the application. Only the Hocuspocus dialect has a message for it; who lags does not get it.
    Stateless,
}

/// One message for a socket, in the y-websocket dialect's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One message.
    pub bytes: Bytes,
    /// What dropping it would mean.
    pub kind: FrameKind,
}

/// Why a REST write was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefusal {
    /// It builds on something that the dashboard does not have.
    #[error(
        "update refers to content that the dashboard does not have: read its state, then send the whole difference"
    )]
    Hole,
    /// It has other content than the dashboard under clocks that are taken.
    #[error("{0}", REASON_DIFFERS)]
    Differs,
    /// It would break a limit of the document.
    #[error("{0}")]
    Limit(LimitReached),
    /// Its author may not edit the dashboard.
    #[error("no access to this dashboard")]
    Forbidden,
    /// It was to begin a dashboard that has content.
    #[error("the dashboard exists")]
    Exists,
    /// It was made for clocks of a client of which the document has more, or fewer, by now.
    #[error("somebody else wrote under the client id of the edit")]
    PenTaken,
    /// It brings content of a dashboard of this name that was deleted.
    #[error("content of a deleted dashboard of this name")]
    Deleted,
}

/// Why an update is refused whose clocks are taken.
pub(super) const REASON_DIFFERS: &str = "not saved: other content was saved before under the same client id and clock";

/// A rule of documents that an update would break.
///
/// Its text is the only one: members are told it in their dialect, and callers of REST in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// `document_bytes_max`.
    DocumentBytes,
    /// What was deleted takes as much as `document_bytes_max` allows for what is not.
    DeletedBytes,
    /// `frame_bytes_max`.
    MessageBytes,
    /// There is no memory for it: the rooms of those who are in this one take more than their share.
    Memory,
    /// Its author has begun as many dashboards as one may, for the time being.
    Dashboards(Exceeded),
    /// `document_clients_max`.
    DocumentClients,
    /// `nesting_max`.
    Nesting,
    /// Items in what is no shared type, or a map's value over several clocks: no client writes them, and Yjs or yrs would fail.
    Content,
}

impl core::error::Error for LimitReached {}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitReached::Dashboards(exceeded) => write!(f, "this dashboard is not begun: {exceeded}"),
            limit => f.write_str(limit.as_str()),
        }
    }
}

impl LimitReached {
    /// What is said of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LimitReached::DocumentBytes => "document would exceed document-bytes-max: what exceeds it is not saved",
            LimitReached::DeletedBytes => {
                "what was deleted from the dashboard takes all the room there is for that, which `ydash reset` gives back"
            }
            LimitReached::MessageBytes => "message exceeds frame-bytes-max: what it holds is not saved",
            LimitReached::Memory => "room-memory is used up: what exceeds it is not saved, try again",
            LimitReached::Dashboards(_) => "user-create-rate reached: what would begin this dashboard is not saved",
            LimitReached::DocumentClients => "document would exceed document-clients-max",
            LimitReached::Nesting => "shared types would nest deeper than nesting-max",
            LimitReached::Content => "content that no client can write",
        }
    }
}

impl From<Refusal> for LimitReached {
    fn from(refusal: Refusal) -> LimitReached {
        match refusal {
            Refusal::Nesting(_) => LimitReached::Nesting,
            Refusal::Clients(_) => LimitReached::DocumentClients,
            Refusal::Parent | Refusal::Value => LimitReached::Content,
        }
    }
}

/// What happened, for the metrics and the log; never needed to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An update was accepted.
    Accepted {
        /// It came by REST.
        by_rest: bool,
        /// It came as a SyncStep2: edits made offline.
        by_step2: bool,
    },
    /// Content came from another node, or from the store where another node had put it.
    AcceptedFromNode,
    /// The other nodes were asked for what is missing here.
    AskedNodes,
    /// A flush of so many bytes went to everybody.
    Flushed {
        /// Its size.
        bytes: usize,
        /// How long its first update waited.
        waited: Duration,
    },
    /// A member, or a call, that may not edit did.
    ReadOnly,
    /// A member, or a call, sent something else that it may not send.
    NotAllowed,
    /// An update waits behind a hole.
    Held,
    /// An update waits for the author in whose name it was written.
    Withheld,
    /// An update has other content than what is kept under the same clocks.
    Differs,
    /// A copy of something deleted came back, or a part of it.
    StaleCopy,
    /// A held update waited too long, or too much was held.
    HeldExpired,
    /// An update would break a limit.
    Limit(LimitReached),
    /// An awareness entry was dropped.
    AwarenessDropped,
    /// A slow member got one difference for all that it missed.
    Resynced,
    /// The log waits as one difference: the store has been away for too long to keep every entry.
    Diverged,
    /// The store has lost what was durable: all that this room has is put back.
    StoreLost,
    /// The store holds entries that no room on the bus has told of, as after an import: they are read.
    FoundInStore,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Put a frame into one member's outbox.
    Send {
        /// Whose.
        to: MemberId,
        /// What.
        frame: Frame,
    },
    /// Put a frame into every member's outbox but these, which are sorted.
    FanOut {
        /// What.
        frame: Frame,
        /// Who wrote it.
        except: Vec<MemberId>,
    },
    /// Tell a member that so many of its updates are durable, or refused.
    Ack {
        /// Whom.
        to: MemberId,
        /// Durable or refused.
        saved: bool,
        /// How many.
        count: u32,
    },
    /// Answer a REST write.
    Answer {
        /// Which.
        request: RequestId,
        /// Durable or refused.
        result: Result<(), WriteRefusal>,
    },
    /// Append to the log; answered by `Appended`, `AppendFailed` or `AppendLost`. One is in flight at a time.
    Append {
        /// In order. None at all only finds out whether the store still holds what is relied on.
        entries: Vec<LogEntry>,
        /// What is relied on: everything up to here is in the store.
        after: Option<LogPosition>,
    },
    /// Join these and collect garbage, away from here; answered by `Compacted`. One is in flight at a time.
    Compact {
        /// The state and the updates after it.
        parts: Vec<Bytes>,
    },
    /// Cut a difference, away from here; answered by [`super::Input::Cut`]. One is in flight at a time.
    Cut {
        /// Out of what.
        content: Content,
        /// For one that has this.
        have: StateVector,
    },
    /// Write a snapshot; answered by `Snapshotted` or `SnapshotLost`. One is in flight at a time.
    Snapshot {
        /// Every entry up to here is in it.
        covers: LogPosition,
        /// The whole state.
        state: Bytes,
    },
    /// Tell the rooms of the other nodes; may get lost.
    Publish {
        /// Grows by one with each.
        number: u64,
        /// The content of the messages up to here is in the store.
        durable: u64,
        /// What.
        said: Said<Bytes>,
    },
    /// Read all that the store holds of the dashboard; answered by `StoreRead`. One is in flight at a time.
    ReadStore,
    /// Find out at once whether this member's socket still lives: somebody else announces its client id.
    Probe {
        /// Whose.
        member: MemberId,
    },
    /// End a session that may not be here any more: nothing more goes to it, and what waits for it is dropped.
    Expel {
        /// Whose.
        member: MemberId,
        /// Why.
        code: CloseCode,
    },
    /// End a session.
    Close {
        /// Whose.
        member: MemberId,
        /// Why.
        code: CloseCode,
    },
    /// Keep what was refused where an operator finds it.
    SetAside {
        /// The update, with who sent it.
        entry: LogEntry,
        /// Why it was refused.
        why: &'static str,
    },
    /// Count or log something.
    Report(Report),
}
