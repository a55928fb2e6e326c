//! Where items lie: how deep, in what, and whether as the value of a key.
//!
//! Deleting or collecting a shared type recurses through what it holds, in Yjs and in yrs alike, so depth is bounded where
//! structs come in. Items of lists at depth 0, in a shared type of the document itself, take no room here.
//!
//! An item whose parent is no shared type is nothing to Yjs, but yrs refuses the whole document for it, for ever. What has
//! been deleted or collected may have been a shared type, and honest clients do write into it while they do not know yet.
//!
//! The value of a key takes one clock. One that takes several can be parted, which leaves a key with two live values;
//! when their map is deleted, every Yjs client throws and yrs uses memory that it has freed.

use std::collections::BTreeMap;

use super::ranges::{ClockRange, Ranges};
use super::structs::{Id, Item, Parent, Struct};
use crate::heap;
use crate::id::{ClientId, Clock};

/// Where an item lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// In how many shared types, those of the document itself not counted.
    pub(super) depth: u16,
    /// As the value of a key: of a map, or an attribute.
    pub(super) is_keyed: bool,
}

/// A place that consecutive clocks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    clocks: ClockRange,
    place: Place,
}

/// What is known of the items of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// The items that are nested or keyed, ascending.
    places: Vec<Level>,
    /// Shared types, and what is left of what is deleted: what items may name as their parent.
    holders: Ranges,
}

/// An item names something as its parent that never was a shared type.
#[derive(Debug)]
pub(super) struct NoParent;

impl Levels {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.holders.is_empty()
    }

    /// Adds `clocks` of a struct, beyond all that are in here.
    pub(super) fn push(&mut self, of: &Struct, clocks: ClockRange, place: Place) {
        if of.is_type() || of.is_deleted() {
            self.holders.insert(clocks);
        }
        self.push_level(Level { clocks, place });
    }

    fn push_level(&mut self, next: Level) {
        if next.place == Place::default() {
            return;
        }
        match self.places.last_mut() {
            Some(last) if last.place == next.place && last.clocks.end == next.clocks.start => {
                last.clocks.end = next.clocks.end;
            }
            _ => self.places.push(next),
        }
    }

    pub(super) fn place(&self, clock: Clock) -> Place {
        let at = self.places.partition_point(|level| level.clocks.end <= clock);
        self.places.get(at).filter(|level| level.clocks.start <= clock).map_or(Place::default(), |level| level.place)
    }

    fn append(&mut self, later: Levels) {
        if self.is_empty() {
            *self = later;
        } else {
            later.places.into_iter().for_each(|level| self.push_level(level));
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
        let levels = |levels: &Levels| heap::vec::<Level>(levels.places.capacity()) + levels.holders.memory();
        heap::tree::<ClientId, Levels>(self.clients.len()) + self.clients.values().map(levels).sum::<usize>()
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

/// Where `item` lies; `levels` says what is known of a client.
///
/// What is collected counts as a list at depth 0: a struct that comes to lie in it is collected, too. Of two neighbours the
/// one that is more restricted counts, because which of them decides differs once the other is collected.
pub(super) fn place_of<'a>(item: &Item, levels: impl Fn(Id) -> Option<&'a Levels>) -> Result<Place, NoParent> {
    let place = |id: Id| levels(id).map_or(Place::default(), |levels| levels.place(id.clock));
    match item.parent {
        Parent::Root => Ok(Place { depth: 0, is_keyed: item.has_key }),
        Parent::Of(parent) => match levels(parent) {
            Some(of) if of.holders.contains(parent.clock) => {
                let depth = of.place(parent.clock).depth.saturating_add(1);
                Ok(Place { depth, is_keyed: item.has_key })
            }
            _ => Err(NoParent),
        },
        Parent::OfNeighbour => {
            let left = item.origin.map_or(Place::default(), place);
            let right = item.right_origin.map_or(Place::default(), place);
            Ok(Place { depth: left.depth.max(right.depth), is_keyed: left.is_keyed || right.is_keyed })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(start: Clock, end: Clock, depth: u16) -> Level {
        Level { clocks: ClockRange { start, end }, place: Place { depth, is_keyed: false } }
    }

    #[test]
    fn neighbours_in_one_place_share_a_level() {
        let mut levels = Levels::default();
        for (start, end, depth) in [(0, 3, 0), (3, 5, 1), (5, 6, 1), (6, 9, 2), (12, 13, 2)] {
            levels.push_level(nested(start, end, depth));
        }
        assert_eq!(levels.places.len(), 3);
        let depths: Vec<u16> = (0..14).map(|clock| levels.place(clock).depth).collect();
        assert_eq!(depths, [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn later_items_continue_a_level() {
        let mut nesting = Nesting::default();
        for (start, end) in [(0, 1), (1, 4)] {
            let mut levels = Levels::default();
            levels.push_level(nested(start, end, 1));
            nesting.append(7, levels);
        }
        assert_eq!(nesting.of(7).map(|levels| (levels.places.len(), levels.place(3).depth)), Some((1, 1)));
        assert_eq!(nesting.of(8), None);
    }
}
