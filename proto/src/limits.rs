//! Every bound that a client can reach, in one place.
//!
//! (Those of pushed values stand beside them: [`crate::pushed::PushLimits`].) Each has a test that reaches it. What happens there is said with the bound; close codes are in [`crate::wire::close`].

use core::time::Duration;

/// What a document that is created from JSON may consist of: shared types, entries with plain values, and runs of plain values in lists.
/// Each takes up to 460 bytes for yrs, which writes them. Beyond: it is refused, before it is written.
pub const CREATED_ITEMS_MAX: usize = 200_000;

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

impl Default for Limits {
    fn default() -> Self {
        Limits {
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
            held_overruns_max: 8,
            held_for_max: Duration::from_secs(30),
            members_max: 20_000,
            outbox_bytes_max: 1 << 20,
            outbox_frames_max: 1024,
            documents_per_socket_max: 256,
            pending_bytes_max: 1 << 20,
            stateless_bytes_max: 64 << 10,
            unsaved_bytes_max: 4 << 20,
        }
    }
}
