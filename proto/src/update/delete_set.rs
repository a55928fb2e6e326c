//! Which clocks are deleted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::ranges::{ClockRange, Ranges};
use super::scan::Deletes;
use crate::id::{ClientId, Clock};
use crate::lib0::write_var_uint;

/// A set of deleted clocks, per client in sorted, coalesced ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteSet {
    clients: BTreeMap<ClientId, Ranges>,
}

impl DeleteSet {
    /// The deletions of a scanned update, in whatever order it gives them.
    #[must_use]
    pub fn collect(deletes: Deletes<'_>) -> DeleteSet {
        let mut set = DeleteSet::default();
        let mut current: Option<(ClientId, Vec<ClockRange>)> = None;
        for (client, range) in deletes {
            match &mut current {
                Some((of, ranges)) if *of == client => ranges.push(range),
                _ => {
                    set.take(current.replace((client, vec![range])));
                }
            }
        }
        set.take(current);
        set
    }

    fn take(&mut self, section: Option<(ClientId, Vec<ClockRange>)>) {
        if let Some((client, ranges)) = section {
            self.unite(client, Ranges::from_unsorted(ranges));
        }
    }

    fn unite(&mut self, client: ClientId, ranges: Ranges) {
        match self.clients.entry(client) {
            Entry::Vacant(entry) => {
                entry.insert(ranges);
            }
            Entry::Occupied(mut entry) => entry.get_mut().union(&ranges),
        }
    }

    /// Adds `len` clocks from `clock` on; none when `len` is 0.
    pub fn insert(&mut self, client: ClientId, clock: Clock, len: Clock) {
        if len > 0 {
            self.insert_range(client, ClockRange { start: clock, end: clock + len });
        }
    }

    pub(crate) fn insert_range(&mut self, client: ClientId, range: ClockRange) {
        self.clients.entry(client).or_default().insert(range);
    }

    /// Whether `clock` of `client` is deleted.
    #[must_use]
    pub fn contains(&self, client: ClientId, clock: Clock) -> bool {
        self.clients.get(&client).is_some_and(|ranges| ranges.contains(clock))
    }

    pub(super) fn overlaps(&self, client: ClientId, range: ClockRange) -> bool {
        self.clients.get(&client).is_some_and(|ranges| ranges.overlaps(range))
    }

    /// Whether all of `range` is deleted.
    pub(crate) fn covers(&self, client: ClientId, range: ClockRange) -> bool {
        self.clients.get(&client).is_some_and(|ranges| ranges.covers(range))
    }

    /// The clock with which the last `count` clocks of `client` before `end` begin that are not deleted; at least `from`.
    pub(crate) fn last_live(&self, client: ClientId, end: Clock, count: Clock, from: Clock) -> Clock {
        let ranges = self.clients.get(&client);
        ranges.map_or(end.saturating_sub(count).max(from), |ranges| ranges.last_gaps(end, count, from))
    }

    /// The ranges of one client, ascending.
    pub(crate) fn of(&self, client: ClientId) -> Vec<ClockRange> {
        self.clients.get(&client).map_or_else(Vec::new, |ranges| ranges.iter().collect())
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &DeleteSet) {
        for (client, ranges) in &other.clients {
            match self.clients.entry(*client) {
                Entry::Vacant(entry) => {
                    entry.insert(ranges.clone());
                }
                Entry::Occupied(mut entry) => entry.get_mut().union(ranges),
            }
        }
    }

    /// Adds ranges in any order.
    pub(crate) fn extend(&mut self, mut ranges: Vec<(ClientId, ClockRange)>) {
        // Stable, because that sort makes use of the runs that updates come in.
        ranges.sort();
        for section in ranges.chunk_by(|one, next| one.0 == next.0) {
            self.unite(section[0].0, Ranges::from_unsorted(section.iter().map(|(_, range)| *range).collect()));
        }
    }

    /// Each client's first deleted clock.
    pub(super) fn first_clocks(&self) -> impl Iterator<Item = (ClientId, Clock)> {
        self.clients.iter().filter_map(|(client, ranges)| Some((*client, ranges.first()?.start)))
    }

    /// What is in here, but not in `known`.
    #[must_use]
    pub fn subtract(&self, known: &DeleteSet) -> DeleteSet {
        let mut rest = self.clone();
        rest.reduce(known, Ranges::subtract);
        rest
    }

    /// Leaves what is not in `known`. A range of which very many parts are not stays whole, so that there are never many more of them than
    /// there were, whatever is known.
    pub(super) fn keep_news(&mut self, known: &DeleteSet) {
        self.reduce(known, Ranges::news);
    }

    fn reduce(&mut self, known: &DeleteSet, reduced: impl Fn(&Ranges, &Ranges) -> Ranges) {
        self.clients.retain(|client, ranges| {
            if let Some(known) = known.clients.get(client) {
                *ranges = reduced(ranges, known);
            }
            !ranges.is_empty()
        });
    }

    /// By how many ranges there would be more, or less, with those of `other`.
    pub(crate) fn growth_with(&self, other: &DeleteSet) -> isize {
        let growth = |(client, range): (ClientId, ClockRange)| {
            1 - self.clients.get(&client).map_or(0, |ranges| ranges.touching(range)) as isize
        };
        other.iter().map(growth).sum()
    }

    /// Splits off what lies at or beyond the clock that `end_of` names for its client.
    pub(crate) fn split_beyond(&mut self, mut end_of: impl FnMut(ClientId) -> Clock) -> DeleteSet {
        let mut beyond = DeleteSet::default();
        self.clients.retain(|client, ranges| {
            let end = end_of(*client);
            if ranges.last().is_none_or(|last| last.end <= end) {
                return true;
            }
            beyond.clients.insert(*client, ranges.split_off(end));
            !ranges.is_empty()
        });
        beyond
    }

    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// How many ranges there are.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.clients.values().map(Ranges::len).sum()
    }

    /// Bytes held beside itself, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let ranges = self.clients.values().map(Ranges::memory).sum::<usize>();
        crate::heap::tree::<ClientId, Ranges>(self.clients.len()) + ranges
    }

    /// How many clocks are deleted.
    #[must_use]
    pub fn clock_count(&self) -> u64 {
        self.iter().map(|(_, range)| u64::from(range.len())).sum()
    }

    /// Every range, clients ascending, clocks ascending.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, ClockRange)> {
        self.clients.iter().flat_map(|(client, ranges)| ranges.iter().map(|range| (*client, range)))
    }

    /// Appends the set as Yjs writes it: clients descending, clocks ascending.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        write_var_uint(out, self.clients.len() as u64);
        for (client, ranges) in self.clients.iter().rev() {
            write_var_uint(out, *client);
            write_var_uint(out, ranges.len() as u64);
            for range in ranges.iter() {
                write_var_uint(out, u64::from(range.start));
                write_var_uint(out, u64::from(range.len()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(ClientId, Clock, Clock)]) -> DeleteSet {
        let mut set = DeleteSet::default();
        ranges.iter().for_each(|(client, clock, len)| set.insert(*client, *clock, *len));
        set
    }

    #[test]
    fn the_encoding_is_that_of_yjs() {
        let mut out = Vec::new();
        set(&[(1, 0, 2), (300, 5, 1), (1, 4, 3), (1, 7, 1)]).encode_into(&mut out);
        assert_eq!(out, [2, 0xac, 2, 1, 5, 1, 1, 2, 0, 2, 4, 4]);
    }

    #[test]
    fn what_is_known_is_subtracted() {
        let all = set(&[(1, 0, 10), (2, 0, 1), (3, 5, 5)]);
        let rest = all.subtract(&set(&[(1, 2, 3), (2, 0, 4)]));
        assert_eq!(rest, set(&[(1, 0, 2), (1, 5, 5), (3, 5, 5)]));
        assert!(all.subtract(&all).is_empty());
    }

    #[test]
    fn what_lies_beyond_a_clock_is_split_off() {
        let mut all = set(&[(1, 0, 10), (1, 20, 5), (2, 3, 2), (3, 0, 1)]);
        let beyond = all.split_beyond(|client| match client {
            1 => 7,
            2 => 0,
            _ => 100,
        });
        assert_eq!(all, set(&[(1, 0, 7), (3, 0, 1)]));
        assert_eq!(beyond, set(&[(1, 7, 3), (1, 20, 5), (2, 3, 2)]));
    }
}
