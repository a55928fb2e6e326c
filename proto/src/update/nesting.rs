//! In what items may lie, and how deep they do.
//!
//! Deleting or collecting a shared type recurses through what it holds, in Yjs and in yrs alike, so depth is bounded where
//! structs come in. Most items lie at depth 0, in a shared type of the document itself; they take no room here.
//!
//! An item whose parent is no shared type is nothing to Yjs, but yrs refuses the whole document for it, for ever. What has
//! been deleted or collected may have been a shared type, and honest clients do write into it while they do not know yet.

use std::collections::BTreeMap;

use super::ranges::{ClockRange, Ranges};
use super::structs::{Id, Item, Parent, Struct};
use crate::id::{ClientId, Clock};

/// A depth that consecutive clocks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    clocks: ClockRange,
    depth: u16,
}

/// What is known of the items of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// The items that are nested, ascending.
    nested: Vec<Level>,
    /// Shared types, and what is left of what is deleted: what items may name as their parent.
    holders: Ranges,
}

/// An item names something as its parent that never was a shared type.
#[derive(Debug)]
pub(super) struct NoParent;

impl Levels {
    pub(super) fn is_empty(&self) -> bool {
        self.nested.is_empty() && self.holders.is_empty()
    }

    /// Adds `clocks` of a struct, beyond all that are in here.
    pub(super) fn push(&mut self, of: &Struct, clocks: ClockRange, depth: u16) {
        if of.is_type() || of.is_deleted() {
            self.holders.insert(clocks);
        }
        self.push_level(Level { clocks, depth });
    }

    fn push_level(&mut self, next: Level) {
        if next.depth == 0 {
            return;
        }
        match self.nested.last_mut() {
            Some(last) if last.depth == next.depth && last.clocks.end == next.clocks.start => {
                last.clocks.end = next.clocks.end;
            }
            _ => self.nested.push(next),
        }
    }

    fn depth(&self, clock: Clock) -> u16 {
        let at = self.nested.partition_point(|level| level.clocks.end <= clock);
        self.nested.get(at).filter(|level| level.clocks.start <= clock).map_or(0, |level| level.depth)
    }

    fn append(&mut self, later: Levels) {
        if self.is_empty() {
            *self = later;
        } else {
            later.nested.into_iter().for_each(|level| self.push_level(level));
            self.holders.union(&later.holders);
        }
    }
}

/// The nested items of a document, and in what they may lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nesting {
    clients: BTreeMap<ClientId, Levels>,
}

impl Nesting {
    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.clients
            .values()
            .map(|levels| {
                96 + levels.nested.len() * size_of::<Level>() + levels.holders.len() * size_of::<ClockRange>()
            })
            .sum()
    }

    /// What is known of the items of `client`.
    pub(super) fn of(&self, client: ClientId) -> Option<&Levels> {
        self.clients.get(&client)
    }

    /// Adds what was found about later clocks of `client`.
    pub(super) fn append(&mut self, client: ClientId, levels: Levels) {
        if !levels.is_empty() {
            self.clients.entry(client).or_default().append(levels);
        }
    }
}

/// How many shared types `item` lies in, those of the document itself not counted; `levels` says what is known of a client.
///
/// What is collected counts as depth 0: a struct that comes to lie in it is collected, too.
pub(super) fn depth_of<'a>(item: &Item, levels: impl Fn(Id) -> Option<&'a Levels>) -> Result<u16, NoParent> {
    let depth = |id: Id| levels(id).map_or(0, |levels| levels.depth(id.clock));
    match item.parent {
        Parent::Root => Ok(0),
        Parent::Of(parent) => match levels(parent) {
            Some(of) if of.holders.contains(parent.clock) => Ok(of.depth(parent.clock).saturating_add(1)),
            _ => Err(NoParent),
        },
        Parent::OfNeighbour => Ok(item.origin.or(item.right_origin).map_or(0, depth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_depth_share_a_level() {
        let mut levels = Levels::default();
        for (start, end, depth) in [(0, 3, 0), (3, 5, 1), (5, 6, 1), (6, 9, 2), (12, 13, 2)] {
            levels.push_level(Level { clocks: ClockRange { start, end }, depth });
        }
        assert_eq!(levels.nested.len(), 3);
        let depths: Vec<u16> = (0..14).map(|clock| levels.depth(clock)).collect();
        assert_eq!(depths, [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn later_items_continue_a_level() {
        let mut nesting = Nesting::default();
        for (start, end) in [(0, 1), (1, 4)] {
            let mut levels = Levels::default();
            levels.push_level(Level { clocks: ClockRange { start, end }, depth: 1 });
            nesting.append(7, levels);
        }
        assert_eq!(nesting.of(7).map(|levels| (levels.nested.len(), levels.depth(3))), Some((1, 1)));
        assert_eq!(nesting.of(8), None);
    }
}
