//! The memory of all rooms: one budget, in which each room is paid for by the address of whoever was here first.
//!
//! A room whose payer has more than its share takes no more edits than there is plenty for, unless it is a small one; dashboards are opened to the last byte. Rooms
//! that nobody is in leave early when memory gets short.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use ydash_proto::ledger::Ledger;

/// A room up to this part of the budget opens and grows whatever others hold: what is small never pays for what is large.
const ALWAYS: usize = 2048;

/// Who pays for a room; `None` while nobody is in it.
pub(super) type Payer = Option<IpAddr>;

/// The budget of all rooms.
#[derive(Debug)]
pub(super) struct RoomMemory(Mutex<Ledger<Payer>>);

impl RoomMemory {
    pub(super) fn new(budget: usize) -> RoomMemory {
        RoomMemory(Mutex::new(Ledger::new(budget)))
    }

    /// Bytes that all rooms hold.
    pub(super) fn used(&self) -> usize {
        self.ledger().used()
    }

    /// Whether rooms that nobody is in should leave.
    pub(super) fn is_short(&self) -> bool {
        let ledger = self.ledger();
        ledger.used() > ledger.budget() / 4 * 3
    }

    /// Whether another dashboard may be opened, of so many bytes.
    pub(super) fn has_place_for(&self, bytes: usize) -> bool {
        let ledger = self.ledger();
        bytes <= ledger.budget() / ALWAYS || ledger.used().saturating_add(bytes) <= ledger.budget()
    }

    /// How much a room of so many bytes may grow.
    pub(super) fn headroom(&self, (payer, bytes): (Payer, usize)) -> usize {
        headroom(&self.ledger(), payer, bytes)
    }

    /// Takes a room's new weight in the place of its old one. Returns how much it may grow.
    pub(super) fn weighed(&self, (was, before): (Payer, usize), (payer, bytes): (Payer, usize)) -> usize {
        let mut ledger = self.ledger();
        ledger.give_back(was, before);
        ledger.charge(payer, bytes);
        headroom(&ledger, payer, bytes)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger<Payer>> {
        // Sums are right even after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn headroom(ledger: &Ledger<Payer>, payer: Payer, bytes: usize) -> usize {
    ledger.headroom_of_one(payer, bytes).max((ledger.budget() / ALWAYS).saturating_sub(bytes))
}
