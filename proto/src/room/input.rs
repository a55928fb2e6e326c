//! What a room is told.

use super::{Cut, FlushSeq};
use crate::access::{Admission, Records};
use crate::document::Compacted;
use crate::id::{MemberId, NodeId};
use crate::log::LogPosition;
use crate::update::{Scan, StateVector};
use bytes::Bytes;

/// Whose manners a member's client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// y-websocket: it is asked for what it has as soon as it joins.
    #[default]
    YWebsocket,
    /// HocuspocusProvider: it is asked in turn with each question of its own, since it expects one ack for each.
    Hocuspocus {
        /// Whether it sends back every awareness entry that it takes. Versions before 4.5 do. Later ones do not tell either that
        /// they were made to take the next clock, unless they are asked.
        echoes: bool,
    },
    /// A stream of events over HTTP: it only listens. It is asked nothing, and is nobody who is here.
    Listening,
}

/// One who joins.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Unique on this node.
    pub member: MemberId,
    /// Who it is, as far as verified, and as what it comes.
    pub admission: Admission,
    /// Whether it asked for a message of type 8 per update.
    pub wants_acks: bool,
    /// Whether it asked for its own updates to come back when they are durable.
    pub wants_echo: bool,
    /// What it speaks.
    pub dialect: Dialect,
}

/// An update that the scan found plausible.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Yjs update v1.
    pub update: Bytes,
    /// What the scan read out of it.
    pub scan: Scan,
    /// The whole frame when it is an Update (`00 02 ..`): forwarded as it came when all of it is new.
    pub frame: Option<Bytes>,
}

/// What the room of the same dashboard on one node says to those on others. `U` is how an update is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<U> {
    /// Content: what its members wrote, or an answer.
    Update(U),
    /// Awareness entries of its members that changed.
    Awareness(Bytes),
    /// The awareness of all its members: who is not in it is not there.
    Presence(Bytes),
    /// A text of the application for all members, UTF-8.
    Stateless(Bytes),
    /// Somebody came back to it who takes no entry at a clock that it has seen: everybody is to take the next one.
    Renew,
    /// What it has.
    StateVector {
        /// Its clocks.
        have: StateVector,
        /// Differs when its deletions do.
        deletes: u64,
        /// Whether it wants to have what it lacks.
        asks: bool,
    },
}

/// What a store holds of a dashboard.
#[derive(Clone, Debug, Default)]
pub struct StoreRead {
    /// The newest snapshot and the log after it.
    pub updates: Vec<Scanned>,
    /// Where the log ends.
    pub position: LogPosition,
}

/// Identifies a write that came in by REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session joined.
    Joined(Box<Joining>),
    /// A member says what it has and wants the rest.
    SyncStep1 {
        /// Who.
        member: MemberId,
        /// What it has.
        have: StateVector,
    },
    /// A member sent an Update or a SyncStep2.
    Update {
        /// Who.
        member: MemberId,
        /// What.
        update: Box<Scanned>,
    },
    /// A member sent a SyncStep2 for which it expects no ack: it answers a question that was put to it out of turn.
    Answer {
        /// Who.
        member: MemberId,
        /// What.
        update: Box<Scanned>,
    },
    /// A member sent an update in a message that is longer than one may be: nobody has what was in it.
    TooLarge {
        /// Who.
        member: MemberId,
        /// How many acks it expects for it.
        acks: u32,
    },
    /// What is written down about who may do what has changed.
    AccessChanged {
        /// All of it, or what has changed: what is of an older version counts for nothing.
        records: Box<Records>,
    },
    /// What a member may do has changed.
    Readmitted {
        /// Who.
        member: MemberId,
        /// Who it is, and as what, from here on.
        admission: Box<Admission>,
    },
    /// A text of the application for all members but the sender.
    Stateless {
        /// Who sends it.
        from: MemberId,
        /// What; UTF-8.
        payload: Bytes,
    },
    /// A REST call brings a text of the application for all members.
    Announce {
        /// Who makes the call.
        author: Box<Admission>,
        /// What; UTF-8.
        payload: Bytes,
    },
    /// A member sent awareness entries, as [`crate::wire::awareness::entries`] reads them; what it does not read is ignored.
    Awareness {
        /// Who.
        member: MemberId,
        /// What.
        body: Bytes,
    },
    /// A member asks for everybody's awareness.
    QueryAwareness {
        /// Who.
        member: MemberId,
    },
    /// A member's outbox overflowed: what waited in it was dropped, from this flush on.
    Overflowed {
        /// Who.
        member: MemberId,
        /// The first flush that it missed; 0 when a state was dropped.
        first_missed: FlushSeq,
    },
    /// The outbox of a member that had overflowed is empty.
    Drained {
        /// Who.
        member: MemberId,
    },
    /// A member's session ended.
    Left {
        /// Who.
        member: MemberId,
    },
    /// A REST call brings an update.
    Write {
        /// To be answered by [`super::Effect::Answer`].
        request: RequestId,
        /// Who.
        author: Box<Admission>,
        /// What.
        update: Box<Scanned>,
    },
    /// The append in flight is durable.
    Appended {
        /// Where its last entry stands; the end of the log if it had none.
        position: LogPosition,
        /// Where the log ended before.
        before: LogPosition,
    },
    /// The append in flight failed; it may be tried again.
    AppendFailed,
    /// The append in flight was refused: the store does not hold any more what it relied on.
    AppendLost,
    /// The difference in flight was cut; `None` when that failed.
    Cut {
        /// What [`Content::cut`](super::Content::cut) made of it.
        cut: Option<Cut>,
    },
    /// The compaction in flight ended; `None` when it failed.
    Compacted {
        /// The joined, garbage-collected state.
        base: Option<Compacted>,
    },
    /// The snapshot in flight ended.
    Snapshotted {
        /// Whether it is durable.
        saved: bool,
    },
    /// The snapshot in flight was refused: the store does not have the entries that it covers.
    SnapshotLost,
    /// Time to find out whether the store still holds what is durable.
    CheckStore {
        /// The store was restarted, or reached anew: compare what it holds, unless that can be told from positions.
        compare: bool,
    },
    /// Other nodes have the dashboard open, or, having had it open, have not any more. The first one says that there are or were.
    Linked {
        /// Whether there are any.
        others: bool,
    },
    /// The room of another node says something.
    Remote {
        /// Which node.
        origin: NodeId,
        /// Grows by one with each message of that node's room.
        number: u64,
        /// The content of its messages up to here is in the store.
        durable: u64,
        /// What; updates were scanned with [`crate::limits::Limits::for_trusted`].
        said: Said<Box<Scanned>>,
    },
    /// Messages of other nodes may have been lost.
    RemoteLost,
    /// A node has closed the dashboard, or is no more.
    NodeGone {
        /// Which.
        origin: NodeId,
    },
    /// Other nodes took this one for gone: they have removed its members' presence, and may have missed what it said.
    Forgotten,
    /// What [`super::Effect::ReadStore`] asked for; `None` when it failed.
    StoreRead {
        /// All of it.
        read: Option<StoreRead>,
    },
    /// Time to leave memory, or the process ends: flush, save and snapshot without delay.
    Close,
}
