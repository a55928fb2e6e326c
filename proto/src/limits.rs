//! Every bound that a client can reach, in one place.
//!
//! Each has a test that reaches it. What happens there is said with the bound; close codes are in [`crate::wire::close`]. [`Limits`] has those
//! that settings or tests change; the modules have those that are right for everybody. What must hold between them is asserted when this is
//! compiled.
//!
//! Beside their use stand bounds of what a room remembers of its members (`room/member.rs`, `room/authorship.rs`), of work on a document
//! (`document/`, `update/compare.rs`), rates ([`crate::rate`], [`crate::ledger`]), pushed values
//! ([`crate::pushed::PushLimits`]), and those of HTTP in the server's `http/`.

use crate::id;
use core::time::Duration;

/// What a document that is created from JSON may consist of: shared types, entries with plain values, and runs of plain values in lists.
/// Each takes up to 460 bytes for yrs, which writes them. Beyond: it is refused, before it is written.
pub const CREATED_ITEMS_MAX: usize = 200_000;

/// The bounds of the versions of one dashboard that are kept with their content. Beyond, the oldest that nobody has named go; where all are
/// named, no more are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionLimits {
    /// Versions of a dashboard.
    pub count: usize,
    /// Versions without a name among them.
    pub automatic: usize,
    /// Bytes of the records of their states.
    pub bytes: u64,
}

impl VersionLimits {
    /// Those of every store.
    pub const DEFAULT: VersionLimits = VersionLimits { count: 1000, automatic: 50, bytes: 256 << 20 };
    /// Bytes of a version's name. Beyond: refused.
    pub const NAME_BYTES_MAX: usize = 200;
    /// Bytes of the note on a version. Beyond: refused.
    pub const NOTE_BYTES_MAX: usize = 4 << 10;
}

impl Default for VersionLimits {
    fn default() -> Self {
        VersionLimits::DEFAULT
    }
}

/// The bounds of one room and of the sessions in it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One message from a client, after inflating. As large as a document, so that what one may hold can be brought. Beyond: it is read past and
    /// refused, its sender stays; beyond eight times that, or if it is compressed, the socket closes with 1009.
    pub frame_bytes_max: usize,
    /// What is not deleted in one document, encoded. Beyond: the update is refused, the member stays. Deletions are taken still, and
    /// make room. What is deleted may take as much again; beyond, only deletions are taken.
    pub document_bytes_max: usize,
    /// Clients that one document may know. Beyond: the update is refused.
    pub document_clients_max: usize,
    /// How deep shared types may nest. Beyond: the update is refused.
    pub nesting_max: u16,
    /// How deep arrays and objects inside one `Any` value may nest. Beyond: garbage.
    pub any_depth_max: u16,
    /// One awareness state as JSON. Beyond: its user is shown to nobody, until a state fits.
    pub awareness_state_bytes_max: usize,
    /// All awareness states that a room keeps; those of more than 4 KiB find place in half of it. Beyond: as for a state that is too large.
    pub awareness_bytes_max: usize,
    /// Awareness entries that a room shows, and that one message brings. Beyond: entries that no live session owns are dropped, and
    /// what a message has beyond.
    pub awareness_entries_max: usize,
    /// Updates that wait behind a hole, per member. Beyond: they are dropped and the member is asked for everything.
    pub held_updates_max: usize,
    /// Bytes that wait behind a hole, per member, with the list of what they wait for. A single update may be larger.
    pub held_bytes_max: usize,
    /// Structs and deletions of one update that waits behind a hole. Beyond: as for too many updates.
    pub held_work_max: u32,
    /// How often a member may overrun its held updates before its session ends.
    pub held_overruns_max: u32,
    /// How long an update may wait behind a hole before it is refused.
    pub held_for_max: Duration,
    /// Members in one room. Beyond: refused with "try again".
    pub members_max: usize,
    /// Bytes that wait for one socket. Beyond: they are dropped and the member gets one diff when its socket drains.
    pub outbox_bytes_max: usize,
    /// Frames that wait for one socket; as [`Limits::outbox_bytes_max`].
    pub outbox_frames_max: usize,
    /// Documents, or sessions on them, that one socket of the Hocuspocus dialect has. Beyond: denied, the others stay.
    pub documents_per_socket_max: usize,
    /// Bytes that wait on one socket for a token. Beyond: the socket closes, its client begins anew. What waits for documents that
    /// are being opened counts, too; beyond, the socket is read later.
    pub pending_bytes_max: usize,
    /// One stateless message. Beyond: dropped.
    pub stateless_bytes_max: usize,
    /// Bytes of log entries that wait for the store. Beyond: they become one diff against what is durable.
    pub unsaved_bytes_max: usize,
}

/// The bounds of one socket's outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Bytes that may wait, shared states not counted; a handful of frames may be larger.
    pub bytes_max: usize,
    /// Frames that may wait.
    pub frames_max: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Limits::default().outbox()
    }
}

/// What a message may have beside the update in it: its type, lengths, and the address of a document.
const MESSAGE_OVERHEAD: usize = 1 << 10;

impl Limits {
    /// One message with all that is around an update of [`Limits::frame_bytes_max`].
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.frame_bytes_max.saturating_add(MESSAGE_OVERHEAD)
    }

    /// Those of one socket's outbox.
    #[must_use]
    pub fn outbox(&self) -> OutboxLimits {
        OutboxLimits { bytes_max: self.outbox_bytes_max, frames_max: self.outbox_frames_max }
    }

    /// For what a store or another node brings: it was within the limits of its day, and a lowered limit must not lock a document.
    #[must_use]
    pub fn for_trusted(&self) -> Limits {
        Limits { any_depth_max: u16::MAX, nesting_max: u16::MAX, document_clients_max: usize::MAX, ..self.clone() }
    }
}

impl Limits {
    /// Those that hold unless a setting says otherwise.
    pub const DEFAULT: Limits = Limits {
        frame_bytes_max: 64 << 20,
        document_bytes_max: 64 << 20,
        document_clients_max: 1 << 17,
        nesting_max: 128,
        any_depth_max: 64,
        awareness_state_bytes_max: 32 << 10,
        awareness_bytes_max: 8 << 20,
        awareness_entries_max: 16 << 10,
        held_updates_max: 256,
        held_bytes_max: 1 << 20,
        held_work_max: 1 << 18,
        held_overruns_max: 8,
        held_for_max: Duration::from_secs(30),
        members_max: 20_000,
        outbox_bytes_max: 1 << 20,
        outbox_frames_max: 1024,
        documents_per_socket_max: 256,
        pending_bytes_max: 1 << 20,
        stateless_bytes_max: 64 << 10,
        unsaved_bytes_max: 4 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// One socket, before anything is known of what it says.
pub mod websocket {
    /// Empty fragments that one message may have. Streaming encoders end a message with one; no more than that is ever useful.
    pub const FRAGMENTS_EMPTY_MAX: u8 = 16;
    /// A server reads past a message that is up to so many times longer than it may be. Its sender is told, and stays: whoever is closed for
    /// what it sends comes back and sends it again, for ever.
    pub const OVERSIZED_FACTOR: usize = 8;
    /// What is kept of such a message: enough to see what it is, and which document it is about.
    pub const HEAD_BYTES: usize = 1 << 10;
}

/// The documents of one socket in the Hocuspocus dialect.
pub mod documents {
    use core::time::Duration;

    /// The longest address that is answered: a workspace, a name, and a session several times as long as providers draw them.
    pub const ADDRESS_BYTES_MAX: usize = 512;
    /// The longest token that is looked at.
    pub const TOKEN_BYTES_MAX: usize = 16 << 10;
    /// How often every socket gets a sign of life. Providers reconnect after 30 s without a message (`messageReconnectTimeout`).
    pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(20);
    /// What a waiting message costs beside its bytes.
    pub const WAITING_OVERHEAD: usize = 64;
    /// How often documents may be opened on one socket: so many at once for each that may be open, then so many a second.
    pub const OPENS_BURST_FACTOR: usize = 2;
    /// As above.
    pub const OPENS_PER_SECOND: u32 = 50;
}

/// The questions (SyncStep1) of one session.
pub mod questions {
    /// A question about a document of at least [`PRICED_BYTES`] costs so many tokens, about a smaller one less.
    pub const PRICE_MAX: u32 = 16;
    /// From this size on a document is as dear as any.
    pub const PRICED_BYTES: usize = 1 << 20;
    /// Eight of the dearest at once and one a second, or of the cheapest sixteen a second.
    pub const BURST: u32 = 8 * PRICE_MAX;
    /// As above.
    pub const PER_SECOND: u32 = PRICE_MAX;
    /// A question that is longer is answered, if it has to wait, as one of somebody who has nothing.
    pub const KEPT_BYTES_MAX: usize = 32 << 10;
}

/// What waits for one socket, beside what settings say.
pub mod outbox {
    /// Frames that may wait whatever their size. What follows an overflow (a difference, everybody's presence, up to three small ones)
    /// must fit into an empty outbox, or it would overflow again and again.
    pub const FRAMES_ALWAYS: usize = 5;
    /// States that may wait for the sessions of a divided socket whatever their size; beyond, they count like other frames.
    pub const STATES_ALWAYS: usize = 4;
    /// Bytes of what was [said](crate::session::Outbox::say) that may wait: it is never dropped.
    pub const SAID_BYTES_MAX: usize = 256 << 10;
    /// With more on its way to a socket, its sessions' questions are answered later: answers are made when they can be written, so that a
    /// reader that does not read has at most one.
    pub const BUSY_BYTES: usize = 64 << 10;
    /// What waits is charged from this size on, with what is on its way.
    pub const CHARGED_BYTES: usize = 64 << 10;
    /// How many frames the writer takes at once.
    pub const BATCH_FRAMES: usize = 64;
}

/// The awareness table of one room, beside what settings say.
pub mod presence {
    /// States of ids that no live session owns; beyond, further ones are dropped.
    pub const UNOWNED_MAX: usize = 1024;
    /// Clocks that are remembered after a removal; beyond, those that were removed first are forgotten.
    pub const REMOVED_MAX: usize = 4096;
    /// A state beyond this finds place only in half of what a room keeps.
    pub const SMALL_STATE: usize = 4 << 10;
    /// How far a client that was made to take the next clock goes on: it takes that, and perhaps moves meanwhile.
    pub const NUDGED_CLOCKS_MAX: u32 = 64;
    /// How far ahead somebody other than the owner may set a clock: nobody can push another's clock to its end.
    pub const UNOWNED_CLOCK_MAX: u32 = 1 << 30;
    /// Ids that changed in one message and have several sessions, for each of which a message of its own is made; the sessions of others get
    /// everybody's.
    pub const CONTESTED_MAX: usize = 8;
}

/// What a room remembers of who wrote under which client id.
pub mod authorship {
    /// Authors that are asked about one update. One that is written in the names of more waits for none of them.
    pub const AUTHORS_MAX: usize = 16;
    /// Ids in the name of which others wrote that a session which knows them is asked about.
    pub const SUSPECTS_MAX: usize = 16;
    /// Clocks of ids of which nobody knows who wrote them that it is asked about beside: comparing reads as many at most.
    pub const UNKNOWN_CLOCKS_MAX: u32 = 16 << 10;
    /// Such ids at most.
    pub const UNKNOWN_MAX: usize = 64;
    /// Deleted clocks of an id that are passed over to find those that can be compared. An author that was away has seldom written more.
    pub const DELETED_PASSED_MAX: u32 = 256;
    /// The same for all ids of one question: those clocks are read, too.
    pub const DELETED_PASSED_IN_ALL_MAX: u32 = 2048;
    /// Updates set aside in one life of a room. Beyond, they are refused and counted only.
    pub const SET_ASIDE_MAX: u32 = 64;
    /// Ids of which a session that has not introduced itself brought, has or lacks something. Beyond, everything is asked for.
    pub const STRANGERS_MAX: usize = 64;
    /// Ids that a session may write under beside the one that it announces: a client that hears of itself takes another one.
    pub const WRITES_AS_MAX: usize = 4;
    /// Ids under which a session had something else than what is kept. Of one that has so many nothing is taken.
    pub const BARRED_MAX: usize = 64;
    /// Updates that a session was told are refused: so many are joined to one.
    pub const REFUSED_UPDATES_MAX: usize = 64;
    /// Beyond, nothing is remembered: its client then counts them until it asks or comes back.
    pub const REFUSED_BYTES_MAX: usize = 64 << 10;
    /// Sessions of which it is known apart which clocks of one id they brought deleted. What more of them bring counts as brought by
    /// somebody who is gone.
    pub const HIDING_SESSIONS_MAX: usize = 16;
    /// Ranges of such clocks of one id and session. Beyond, they count as one, from the first to the last.
    pub const HIDDEN_RANGES_MAX: usize = 1024;
}

/// Limits of users on a node.
pub mod users {
    /// Users without a session who are remembered until their rates have recovered. Beyond, all of them are forgotten; users with a session
    /// are not.
    pub const REMEMBERED_MAX: usize = 64 << 10;
    /// Messages after which a session pays from its user's allowance, so that most cost no more than an addition.
    pub const TOLD_MESSAGES: u32 = 16;
    /// The same in bytes.
    pub const TOLD_BYTES: u32 = 64 << 10;
}

/// What comes from the bus, which is open to whoever reaches its server.
pub mod bus {
    /// The largest body that goes as one message. Redis cuts a subscriber off for whom 32 MiB wait (`client-output-buffer-limit
    /// pubsub`), so what is larger goes in parts of this size.
    pub const BODY_BYTES_MAX: usize = 1 << 20;
    /// Parts that one envelope may have: 256 MiB.
    pub const PARTS_MAX: u32 = 256;
    /// Bytes of unfinished envelopes, all subscriptions together.
    pub const ASSEMBLY_BYTES_MAX: usize = 256 << 20;
    /// Bytes of envelopes that wait for one room; beyond, they are dropped and it is told so. One that is larger may wait alone.
    pub const QUEUE_BYTES_MAX: usize = 4 << 20;
    /// Envelopes that wait for one room, likewise.
    pub const QUEUE_ENVELOPES_MAX: usize = 1024;
    /// Nodes that are known; beyond, somebody plays with the channel.
    pub const NODES_MAX: usize = 1024;
    /// Nodes that are remembered as taken for gone.
    pub const GONE_MAX: usize = 256;
    /// Nodes that are remembered as taken for gone.
    pub const DROPPED_MAX: usize = 64;
}

/// What must hold between bounds.
const _: () = {
    let limits = Limits::DEFAULT;
    // What a document holds can be brought in one message, with all that is around it.
    assert!(limits.frame_bytes_max >= limits.document_bytes_max);
    assert!(MESSAGE_OVERHEAD >= documents::ADDRESS_BYTES_MAX + 2 * LENGTH_BYTES_MAX + TYPE_BYTES);
    // The beginning of a message that is too long tells which document it is about, and whether it counts on an ack.
    assert!(websocket::HEAD_BYTES >= documents::ADDRESS_BYTES_MAX + LENGTH_BYTES_MAX + TYPE_BYTES);
    // Every dashboard's name is an address, with a session behind it.
    assert!(documents::ADDRESS_BYTES_MAX > id::WORKSPACE_BYTES_MAX + 1 + id::NAME_BYTES_MAX);
    // A token that is good is not refused for its length, and all documents of a socket can be answered at once.
    assert!(documents::TOKEN_BYTES_MAX + documents::WAITING_OVERHEAD < limits.pending_bytes_max);
    assert!(
        limits.documents_per_socket_max * (documents::ADDRESS_BYTES_MAX + REASON_BYTES_MAX) <= outbox::SAID_BYTES_MAX
    );
    // Providers give up a socket that is silent for 30 s.
    assert!(documents::HEARTBEAT_EVERY.as_secs() < 30);
    // What a room says to one that has drained fits into an empty outbox whatever its size, or it would overflow for ever.
    assert!(outbox::FRAMES_ALWAYS >= FRAMES_AFTER_OVERFLOW && outbox::BATCH_FRAMES >= outbox::FRAMES_ALWAYS);
    assert!(limits.outbox_frames_max > outbox::FRAMES_ALWAYS);
    // One more message of each kind has a place where others wait.
    assert!(
        limits.stateless_bytes_max < limits.outbox_bytes_max && limits.stateless_bytes_max < limits.pending_bytes_max
    );
    assert!(outbox::BUSY_BYTES <= limits.outbox_bytes_max && outbox::CHARGED_BYTES <= limits.outbox_bytes_max);
    // The largest state finds place in the half that is for large ones, and every small one is allowed.
    assert!(limits.awareness_state_bytes_max <= limits.awareness_bytes_max / 2);
    assert!(presence::SMALL_STATE <= limits.awareness_state_bytes_max);
    assert!(presence::UNOWNED_MAX <= limits.awareness_entries_max);
    // What members hold behind holes does not outgrow what a room may hold for the store by itself.
    assert!(limits.held_bytes_max <= limits.unsaved_bytes_max);
    // The largest envelope that goes in parts can be put together, and one part never overflows a queue that is empty.
    assert!(bus::PARTS_MAX as usize * bus::BODY_BYTES_MAX <= bus::ASSEMBLY_BYTES_MAX);
    assert!(bus::BODY_BYTES_MAX <= bus::QUEUE_BYTES_MAX);
};

/// A length or a type as a varint, at most.
const LENGTH_BYTES_MAX: usize = 8;
/// Two numbers say what kind of message it is.
const TYPE_BYTES: usize = 2;
/// What stands behind an address in an answer: type and reason, a close reason at most.
const REASON_BYTES_MAX: usize = 128;
/// A difference, everybody's presence, and up to three small ones.
const FRAMES_AFTER_OVERFLOW: usize = 5;
