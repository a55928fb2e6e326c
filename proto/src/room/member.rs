//! One session inside a room.

use super::input::Joining;
use crate::access::{Access, Identity};
use crate::id::ClientId;
use crate::time::Timestamp;
use crate::update::{self, StateVector};
use std::collections::VecDeque;

/// An update that waits behind a hole, or for the end of the session that owns its client id.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) waiting: update::Held,
    pub(super) since: Timestamp,
    /// Updates that wait for a SyncStatus until this one is settled.
    pub(super) acks: u32,
}

/// What the room knows about one session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) identity: Identity,
    pub(super) access: Access,
    pub(super) wants_acks: bool,
    /// Yjs 14 counts an edit as saved when it comes back; only its ids are longer than 32 bits.
    pub(super) wants_echo: bool,
    /// The id that its first single-entry awareness frame announced.
    pub(super) announced: Option<ClientId>,
    /// The id under which it edits, as far as seen.
    pub(super) edits_as: Option<ClientId>,
    /// An id that it announced while another live session owned it.
    pub(super) claims: Option<ClientId>,
    /// Set while its outbox drains after an overflow: what it certainly has.
    pub(super) lags_from: Option<StateVector>,
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
    pub(super) held_overruns: u32,
    /// When it was last asked for what it has: an answer is on its way for a while.
    pub(super) asked_at: Option<Timestamp>,
}

impl Member {
    pub(super) fn new(joining: Joining) -> Member {
        Member {
            identity: joining.identity,
            access: joining.access,
            wants_acks: joining.wants_acks,
            wants_echo: joining.wants_echo,
            announced: None,
            edits_as: None,
            claims: None,
            lags_from: None,
            held: VecDeque::new(),
            held_bytes: 0,
            held_overruns: 0,
            asked_at: None,
        }
    }

    /// The client ids it owns.
    pub(super) fn owns(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = self.announced.into_iter().chain(self.edits_as).collect();
        ids.dedup();
        ids
    }

    /// Takes what was held out, to be tried again.
    pub(super) fn take_held(&mut self) -> VecDeque<Held> {
        self.held_bytes = 0;
        core::mem::take(&mut self.held)
    }
}
