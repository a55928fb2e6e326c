//! Which session owns which Yjs client id.
//!
//! A session owns the id that its first single-entry awareness frame announces, and the id under which its first update of
//! one client was taken. What carries an id that somebody else owns is not taken from others. An id stays reserved for a
//! while after its session ended, so that nobody can fill the clocks of a user who is just reconnecting.

use crate::id::{ClientId, MemberId};
use crate::time::Timestamp;
use crate::update::Ownership;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// How long the id of a session that ended stays reserved: a laptop's nap, a train's tunnel.
const RESERVED_FOR: Duration = Duration::from_secs(600);
/// How many ids of ended sessions stay reserved at most; beyond, the oldest becomes free.
const RESERVED_MAX: usize = 4096;

/// The owners of one room.
#[derive(Debug, Default)]
pub(super) struct Owners {
    live: BTreeMap<ClientId, MemberId>,
    reserved: BTreeMap<ClientId, Timestamp>,
    reserved_order: VecDeque<(Timestamp, ClientId)>,
}

impl Owners {
    /// Makes `member` the owner unless another live session is; then says which.
    pub(super) fn claim(&mut self, client: ClientId, member: MemberId) -> Result<(), MemberId> {
        match self.live.get(&client) {
            Some(&owner) if owner != member => Err(owner),
            Some(_) => Ok(()),
            None => {
                self.live.insert(client, member);
                self.reserved.remove(&client);
                Ok(())
            }
        }
    }

    /// The live session that owns `client`.
    pub(super) fn owner(&self, client: ClientId) -> Option<MemberId> {
        self.live.get(&client).copied()
    }

    /// What the gate must know about `client` when `member` sends its structs.
    pub(super) fn ownership(&self, now: Timestamp, client: ClientId, member: Option<MemberId>) -> Ownership {
        match self.live.get(&client) {
            Some(&owner) if Some(owner) == member => Ownership::Own,
            Some(_) => Ownership::OtherLive,
            None => match self.reserved.get(&client) {
                Some(&since) if now.since(since) < RESERVED_FOR => Ownership::OtherRecent,
                _ => Ownership::Free,
            },
        }
    }

    /// Ends what `member` owned and keeps it reserved.
    pub(super) fn release(&mut self, now: Timestamp, clients: &[ClientId], member: MemberId) {
        for &client in clients {
            if self.live.get(&client) == Some(&member) {
                self.live.remove(&client);
                self.reserved.insert(client, now);
                self.reserved_order.push_back((now, client));
            }
        }
        while let Some(&(since, client)) = self.reserved_order.front() {
            if self.reserved_order.len() <= RESERVED_MAX && now.since(since) < RESERVED_FOR {
                break;
            }
            self.reserved_order.pop_front();
            if self.reserved.get(&client) == Some(&since) {
                self.reserved.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: MemberId = MemberId(1);
    const BOB: MemberId = MemberId(2);

    #[test]
    fn an_owned_id_is_foreign_to_others_and_reserved_after_its_session() {
        let mut owners = Owners::default();
        let now = Timestamp(1_000);
        assert_eq!(owners.claim(7, ALICE), Ok(()));
        assert_eq!(owners.claim(7, BOB), Err(ALICE));
        assert_eq!(owners.ownership(now, 7, Some(ALICE)), Ownership::Own);
        assert_eq!(owners.ownership(now, 7, Some(BOB)), Ownership::OtherLive);
        owners.release(now, &[7], ALICE);
        assert_eq!(owners.ownership(now, 7, Some(BOB)), Ownership::OtherRecent);
        assert_eq!(owners.ownership(now + RESERVED_FOR, 7, Some(BOB)), Ownership::Free);
        assert_eq!(
            owners.claim(7, BOB),
            Ok(()),
            "who announces a reserved id gets it: it is the same user coming back"
        );
    }

    #[test]
    fn reserved_ids_are_bounded() {
        let mut owners = Owners::default();
        for client in 0..(RESERVED_MAX as u64 + 100) {
            assert_eq!(owners.claim(client, ALICE), Ok(()));
            owners.release(Timestamp(client), &[client], ALICE);
        }
        assert_eq!(owners.reserved.len(), RESERVED_MAX);
        assert!(owners.live.is_empty());
    }
}
