//! How deep every item is nested in shared types.
//!
//! Deleting or collecting a shared type recurses through what it holds, in Yjs and in yrs alike, so depth is bounded where
//! structs come in. Most items lie at depth 0, in a shared type of the document itself; they take no room here.

use std::collections::BTreeMap;

use super::ranges::ClockRange;
use super::structs::Id;
use crate::id::ClientId;

/// A depth that consecutive clocks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    clocks: ClockRange,
    depth: u16,
}

/// The items of one client that are nested, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels(Vec<Level>);

impl Levels {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds clocks beyond all that are in here.
    pub(super) fn push(&mut self, clocks: ClockRange, depth: u16) {
        if depth == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.depth == depth && last.clocks.end == clocks.start => last.clocks.end = clocks.end,
            _ => self.0.push(Level { clocks, depth }),
        }
    }

    pub(super) fn depth(&self, clock: crate::id::Clock) -> u16 {
        let at = self.0.partition_point(|level| level.clocks.end <= clock);
        self.0.get(at).filter(|level| level.clocks.start <= clock).map_or(0, |level| level.depth)
    }

    pub(super) fn append(&mut self, later: Levels) {
        if self.0.is_empty() {
            self.0 = later.0;
        } else {
            later.0.into_iter().for_each(|level| self.push(level.clocks, level.depth));
        }
    }
}

/// The nested items of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nesting {
    clients: BTreeMap<ClientId, Levels>,
}

impl Nesting {
    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.clients.values().map(|levels| 48 + levels.0.len() * size_of::<Level>()).sum()
    }

    /// How many shared types `id` lies in, those of the document itself not counted.
    pub(super) fn depth(&self, id: Id) -> u16 {
        self.clients.get(&id.client).map_or(0, |levels| levels.depth(id.clock))
    }

    /// Adds what was found about later clocks of `client`.
    pub(super) fn append(&mut self, client: ClientId, levels: Levels) {
        if !levels.is_empty() {
            self.clients.entry(client).or_default().append(levels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_depth_share_a_level() {
        let mut levels = Levels::default();
        for (start, end, depth) in [(0, 3, 0), (3, 5, 1), (5, 6, 1), (6, 9, 2), (12, 13, 2)] {
            levels.push(ClockRange { start, end }, depth);
        }
        assert_eq!(levels.0.len(), 3);
        let depths: Vec<u16> = (0..14).map(|clock| levels.depth(clock)).collect();
        assert_eq!(depths, [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn later_items_continue_a_level() {
        let mut nesting = Nesting::default();
        for (start, end) in [(0, 1), (1, 4)] {
            let mut levels = Levels::default();
            levels.push(ClockRange { start, end }, 1);
            nesting.append(7, levels);
        }
        assert_eq!(nesting.clients[&7].0.len(), 1);
        assert_eq!(nesting.depth(Id { client: 7, clock: 3 }), 1);
        assert_eq!(nesting.depth(Id { client: 8, clock: 3 }), 0);
    }
}
