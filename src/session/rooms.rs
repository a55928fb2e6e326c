//! In which rooms the sessions of one socket are: what its reader and its writer share.

use crate::room::RoomHandle;
use std::sync::{Mutex, MutexGuard, PoisonError};
use ydash_proto::id::MemberId;

/// The rooms by member. While a handle is in here, its room stays in memory.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<Vec<(MemberId, RoomHandle)>>);

impl Rooms {
    pub(super) fn insert(&self, member: MemberId, room: RoomHandle) {
        let mut rooms = self.lock();
        let at = rooms.partition_point(|(other, _)| *other < member);
        rooms.reserve_exact(1); // Most sockets have one for good.
        rooms.insert(at, (member, room));
    }

    pub(super) fn remove(&self, member: MemberId) -> Option<RoomHandle> {
        let mut rooms = self.lock();
        let at = rooms.binary_search_by_key(&member, |(other, _)| *other).ok()?;
        Some(rooms.remove(at).1)
    }

    pub(super) fn of(&self, member: MemberId) -> Option<RoomHandle> {
        let rooms = self.lock();
        let at = rooms.binary_search_by_key(&member, |(other, _)| *other).ok()?;
        Some(rooms[at].1.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(MemberId, RoomHandle)>> {
        // Nothing in here panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
