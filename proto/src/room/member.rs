//! One session inside a room.

use super::input::{Dialect, Joining};
use crate::access::{Access, Identity};
use crate::id::{ClientId, MemberId};
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

/// What a member lacks whose outbox overflowed.
#[derive(Debug)]
pub(super) struct Lag {
    /// What it certainly has.
    have: StateVector,
    /// Overflows that no drain followed yet: an outbox may overflow again before the room hears that it was empty.
    overflows: u32,
}

impl Lag {
    /// Of a member that has `have`.
    pub(super) fn from(have: StateVector) -> Lag {
        Lag { have, overflows: 1 }
    }

    /// Its outbox overflowed again; it has no more than `have`.
    pub(super) fn again(&mut self, have: &StateVector) {
        self.overflows += 1;
        self.has_at_most(have);
    }

    /// It says, or it follows, that it has no more than `have`.
    pub(super) fn has_at_most(&mut self, have: &StateVector) {
        self.have = self.have.iter().map(|(client, clock)| (client, clock.min(have.get(client)))).collect();
    }

    /// Its outbox is empty: what it has, unless that overflowed once more meanwhile and takes nothing.
    pub(super) fn drained(&mut self) -> Option<StateVector> {
        self.overflows -= 1;
        (self.overflows == 0).then(|| core::mem::take(&mut self.have))
    }
}

/// What the room knows about one session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) identity: Identity,
    pub(super) access: Access,
    pub(super) wants_acks: bool,
    /// Yjs 14 counts an edit as saved when it comes back; only its ids are longer than 32 bits.
    pub(super) wants_echo: bool,
    pub(super) dialect: Dialect,
    /// The id that its first single-entry awareness frame announced.
    pub(super) announced: Option<ClientId>,
    /// The id under which it edits, as far as seen.
    pub(super) edits_as: Option<ClientId>,
    /// An id that it announced while another live session owned it, and at which clock last.
    pub(super) claims: Option<(ClientId, u32)>,
    /// Whether it has sent a SyncStep2. What it sends before that, it sends without having read anything.
    pub(super) has_answered: bool,
    /// Set while its outbox drains after an overflow.
    pub(super) lag: Option<Lag>,
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
    pub(super) held_overruns: u32,
    /// When it was last asked for what it has: an answer is on its way for a while.
    pub(super) asked_at: Option<Timestamp>,
}

/// One session as an operator sees it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Which session.
    pub id: MemberId,
    /// Who, as far as verified.
    pub identity: Identity,
    /// What it may do.
    pub access: Access,
    /// The Yjs client ids that it owns.
    pub clients: Vec<ClientId>,
    /// Updates of it that wait behind a hole.
    pub held: usize,
    /// Whether it missed something and waits for one difference.
    pub is_lagging: bool,
}

impl Member {
    pub(super) fn view(&self, id: MemberId) -> MemberView {
        MemberView {
            id,
            identity: self.identity.clone(),
            access: self.access,
            clients: self.owns(),
            held: self.held.len(),
            is_lagging: self.lag.is_some(),
        }
    }

    pub(super) fn new(joining: Joining) -> Member {
        Member {
            identity: joining.identity,
            access: joining.access,
            wants_acks: joining.wants_acks,
            wants_echo: joining.wants_echo,
            dialect: joining.dialect,
            announced: None,
            edits_as: None,
            claims: None,
            has_answered: false,
            lag: None,
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
