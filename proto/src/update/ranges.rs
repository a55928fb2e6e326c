//! Sorted, coalesced ranges of clocks of one client.

use core::iter::Peekable;
use core::ops::Bound::{Excluded, Included};
use std::collections::BTreeMap;

use crate::id::Clock;

/// Clocks from `start` up to, but without, `end`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockRange {
    /// The first clock.
    pub start: Clock,
    /// The clock after the last.
    pub end: Clock,
}

impl ClockRange {
    /// How many clocks it spans.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> Clock {
        self.end - self.start
    }
}

/// To look a range up, or to remove one, costs about as much as so many steps from one to the next.
const STEPS: usize = 16;
/// The news of a range are told in so many parts at most; beyond, the range is told whole.
const PARTS_MAX: usize = 32;

/// The ranges of one client: ascending, disjoint, none touching the next.
///
/// Adding one and asking for one take logarithmic time, wherever it lies: a document may have a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<Clock, Clock>);

impl Ranges {
    /// Bytes held beside itself, roughly.
    pub(crate) fn memory(&self) -> usize {
        crate::heap::full_tree::<Clock, Clock>(self.0.len())
    }

    /// How many ranges they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes ranges in any order, overlapping or not; linear when they are in order, else as a sort.
    pub(super) fn from_unsorted(mut ranges: Vec<ClockRange>) -> Ranges {
        if ranges.windows(2).any(|pair| pair[0].end >= pair[1].start) {
            ranges.sort_unstable();
            ranges.dedup_by(|next, kept| {
                let touches = next.start <= kept.end;
                if touches {
                    kept.end = kept.end.max(next.end);
                }
                touches
            });
        }
        Ranges(ranges.into_iter().map(|range| (range.start, range.end)).collect())
    }

    /// All of them, ascending.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = ClockRange> + Clone {
        self.0.iter().map(|(&start, &end)| ClockRange { start, end })
    }

    pub(crate) fn first(&self) -> Option<ClockRange> {
        self.0.first_key_value().map(|(&start, &end)| ClockRange { start, end })
    }

    pub(crate) fn last(&self) -> Option<ClockRange> {
        self.0.last_key_value().map(|(&start, &end)| ClockRange { start, end })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, range: ClockRange) {
        debug_assert!(range.start < range.end, "{range:?} is empty");
        let ClockRange { start, mut end } = range;
        // Clocks mostly come in their order.
        if let Some(mut last) = self.0.last_entry().filter(|last| *last.key() <= start) {
            if *last.get() >= start {
                last.insert(end.max(*last.get()));
            } else {
                self.0.insert(start, end);
            }
            return;
        }
        // Each of those that it swallows was added once, so on the whole that costs no more than adding them did. Very many go at once.
        let mut one_by_one = self.len() / STEPS;
        while let Some((&next, &next_end)) = self.0.range((Excluded(start), Included(end))).next() {
            if one_by_one == 0 {
                let mut swallowed = self.0.split_off(&next);
                let mut behind = swallowed.split_off(&end.saturating_add(1));
                end = swallowed.last_key_value().map_or(end, |(_, last_end)| end.max(*last_end));
                self.0.append(&mut behind);
                break;
            }
            one_by_one -= 1;
            self.0.remove(&next);
            end = end.max(next_end);
        }
        match self.0.range_mut(..=start).next_back() {
            Some((_, before)) if *before >= start => *before = end.max(*before),
            _ => _ = self.0.insert(start, end),
        }
    }

    pub(super) fn union(&mut self, other: &Ranges) {
        if self.len() >= other.len() {
            other.iter().for_each(|range| self.insert(range));
        } else {
            let fewer = core::mem::replace(self, other.clone());
            fewer.iter().for_each(|range| self.insert(range));
        }
    }

    pub(super) fn contains(&self, clock: Clock) -> bool {
        self.overlaps(ClockRange { start: clock, end: clock.saturating_add(1) })
    }

    /// The first clock that is in here and in `range`.
    pub(crate) fn first_within(&self, range: ClockRange) -> Option<Clock> {
        let before = self.0.range(..=range.start).next_back();
        if before.is_some_and(|(_, end)| *end > range.start) {
            return Some(range.start);
        }
        self.0.range(range.start..range.end).next().map(|(start, _)| *start)
    }

    /// The clock with which the last `count` clocks before `end` begin that are not in here; at least `from`.
    pub(super) fn last_gaps(&self, end: Clock, count: Clock, from: Clock) -> Clock {
        let (mut at, mut left) = (end, count);
        for (&start, &stop) in self.0.range(..end).rev() {
            let gap = at.saturating_sub(stop);
            if gap >= left || at <= from {
                break;
            }
            (at, left) = (start, left - gap);
        }
        at.saturating_sub(left).max(from)
    }

    pub(super) fn overlaps(&self, range: ClockRange) -> bool {
        self.0.range(..range.end).next_back().is_some_and(|(_, end)| *end > range.start)
    }

    /// How many would become one with `range`.
    pub(super) fn touching(&self, range: ClockRange) -> usize {
        let before = self.0.range(..range.start).next_back().is_some_and(|(_, end)| *end >= range.start);
        usize::from(before) + self.0.range(range.start..=range.end).count()
    }

    pub(super) fn covers(&self, range: ClockRange) -> bool {
        self.0.range(..=range.start).next_back().is_some_and(|(_, end)| *end >= range.end)
    }

    /// What of `range` is not in here, in order.
    pub(super) fn gaps(&self, range: ClockRange, mut each: impl FnMut(ClockRange)) {
        self.each_gap(range, |gap| {
            each(gap);
            true
        });
    }

    /// The same, until `each` has had enough. Says whether it never had.
    fn each_gap(&self, range: ClockRange, each: impl FnMut(ClockRange) -> bool) -> bool {
        let before = self.0.range(..=range.start).next_back();
        let from = before.filter(|(_, end)| **end > range.start).map_or(range.start, |(start, _)| *start);
        let known = self.0.range(from..range.end).map(|(&start, &end)| ClockRange { start, end });
        gaps_between(&mut known.peekable(), range, each)
    }

    /// Splits off what lies at or beyond a clock.
    pub(super) fn split_off(&mut self, at: Clock) -> Ranges {
        let mut beyond = self.0.split_off(&at);
        if let Some(mut last) = self.0.last_entry().filter(|last| *last.get() > at) {
            beyond.insert(at, last.insert(at));
        }
        Ranges(beyond)
    }

    /// As [`Ranges::subtract`], but with no more ranges than a multiple of those in here: a range of which very many parts are new is told
    /// from the first to the last of them, with the known clocks between.
    pub(super) fn news(&self, known: &Ranges) -> Ranges {
        if self.len() * STEPS >= known.len() {
            return self.subtract(known);
        }
        let mut rest = Vec::new();
        for range in self.iter() {
            let first = rest.len();
            let is_told = known.each_gap(range, |gap| {
                rest.push(gap);
                rest.len() - first < PARTS_MAX
            });
            if !is_told {
                let end = known.0.range(..range.end).next_back().filter(|(_, end)| **end >= range.end);
                let end = end.map_or(range.end, |(start, _)| *start);
                rest[first].end = end;
                rest.truncate(first + 1);
            }
        }
        Ranges::from_unsorted(rest)
    }

    /// What is in here and not in `known`, in order: by looking each up, or by going through both, whichever is less.
    pub(super) fn subtract(&self, known: &Ranges) -> Ranges {
        let mut rest = Vec::new();
        let mut keep = |gap| rest.push(gap);
        if self.len() * STEPS < known.len() {
            self.iter().for_each(|range| known.gaps(range, &mut keep));
        } else {
            let mut known = known.iter().peekable();
            self.iter().for_each(|range| {
                gaps_between(&mut known, range, |gap| {
                    keep(gap);
                    true
                });
            });
        }
        Ranges::from_unsorted(rest)
    }
}

/// Tells `each` the parts of `range` that are not in `known`, which ascend, until it has had enough; passes over the known ones that end
/// within the range or before. Says whether it never had enough.
fn gaps_between(
    known: &mut Peekable<impl Iterator<Item = ClockRange>>,
    range: ClockRange,
    mut each: impl FnMut(ClockRange) -> bool,
) -> bool {
    let mut start = range.start;
    while let Some(next) = known.peek().copied().filter(|next| next.start < range.end) {
        if next.start > start && !each(ClockRange { start, end: next.start }) {
            return false;
        }
        start = start.max(next.end);
        if next.end > range.end {
            break; // It may cover some of what comes behind the range.
        }
        known.next();
    }
    start >= range.end || each(ClockRange { start, end: range.end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range((start, len): (Clock, Clock)) -> ClockRange {
        ClockRange { start, end: start + len }
    }

    proptest! {
        #[test]
        fn ranges_behave_like_a_set_of_clocks(
            one in prop::collection::vec((0..60u32, 1..6u32), 0..20),
            two in prop::collection::vec((0..60u32, 1..6u32), 0..20),
            asked in (0..60u32, 1..20u32),
        ) {
            let clocks = |of: &[(u32, u32)]| of.iter().flat_map(|(s, l)| *s..s + l).collect::<std::collections::BTreeSet<_>>();
            let mut inserted = Ranges::default();
            one.iter().for_each(|r| inserted.insert(range(*r)));
            prop_assert_eq!(&inserted, &Ranges::from_unsorted(one.iter().copied().map(range).collect()));
            let mut united = inserted.clone();
            united.union(&Ranges::from_unsorted(two.iter().copied().map(range).collect()));
            let expected = &clocks(&one) | &clocks(&two);
            let all: Vec<_> = united.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(all.iter().flat_map(|r| r.start..r.end).collect::<Vec<_>>(),
                            expected.iter().copied().collect::<Vec<_>>());
            let asked = range(asked);
            prop_assert_eq!(united.overlaps(asked), (asked.start..asked.end).any(|c| expected.contains(&c)));
            prop_assert_eq!(united.contains(asked.start), expected.contains(&asked.start));
            prop_assert_eq!(united.covers(asked), (asked.start..asked.end).all(|c| expected.contains(&c)));
            let live: Vec<u32> = (0..asked.start).rev().filter(|c| !expected.contains(c)).take(4).collect();
            prop_assert_eq!(united.last_gaps(asked.start, 4, 0), if live.len() < 4 { 0 } else { live[3] });
            prop_assert!(united.last_gaps(asked.start, 4, 7) >= 7);
            let mut gaps = Vec::new();
            united.gaps(asked, |gap| gaps.extend(gap.start..gap.end));
            prop_assert_eq!(gaps, (asked.start..asked.end).filter(|c| !expected.contains(c)).collect::<Vec<_>>());
            let two = Ranges::from_unsorted(two.iter().copied().map(range).collect());
            for (one, two) in [(&inserted, &two), (&two, &inserted), (&Ranges::from_unsorted(vec![asked]), &united)] {
                let clocks = |of: &Ranges| of.iter().flat_map(|r| r.start..r.end).collect::<std::collections::BTreeSet<_>>();
                prop_assert_eq!(clocks(&one.subtract(two)), &clocks(one) - &clocks(two));
                prop_assert_eq!(one.news(two), one.subtract(two));
            }
            let mut below = inserted.clone();
            let above = below.split_off(asked.start);
            prop_assert!(below.last().is_none_or(|last| last.end <= asked.start));
            prop_assert!(above.first().is_none_or(|first| first.start >= asked.start));
            below.union(&above);
            prop_assert_eq!(below, inserted);
        }
    }

    /// 20 bytes that delete all between a million deletions became a million ranges, which everybody was sent.
    #[test]
    fn what_is_new_between_very_many_is_told_as_one_range() {
        let apart = |from: Clock, to: Clock| Ranges((from..to).map(|at| (2 * at, 2 * at + 1)).collect());
        let range = |start, end| ClockRange { start, end };
        let known: Ranges = apart(10, 1_000);
        let news = |asked| Ranges(BTreeMap::from([asked])).news(&known).iter().collect::<Vec<_>>();
        assert_eq!(news((0, 3_000)), [range(0, 3_000)]);
        assert_eq!(news((20, 1_999)), [range(21, 1_998)], "but for what is known at either end");
        assert_eq!(news((20, 30)).len(), 5);
        assert_eq!(news((20, 21)), []);
    }

    #[test]
    fn a_range_swallows_very_many_and_nothing_behind_them() {
        let apart = |at: Clock| ClockRange { start: 3 * at, end: 3 * at + 1 };
        for (from, to, behind) in [(0, 3_000, 0), (300, 2_400, 199), (301, 2_398, 200), (299, 2_402, 199)] {
            let mut ranges = Ranges::from_unsorted((0..1_000).map(apart).collect());
            let mut all: Vec<ClockRange> = ranges.iter().collect();
            all.push(ClockRange { start: from, end: to });
            ranges.insert(ClockRange { start: from, end: to });
            assert_eq!(ranges, Ranges::from_unsorted(all));
            assert_eq!(ranges.iter().filter(|range| range.start > to).count(), behind);
        }
    }

    /// A sorted list moved all that lay behind each time: 6 ms for a deletion of 20 bytes in front of a million.
    #[test]
    fn a_range_in_front_of_a_million_others_costs_no_more_than_one_behind_them() {
        let apart = |at: Clock| ClockRange { start: 2 * at, end: 2 * at + 1 };
        let mut ranges = Ranges::default();
        (0..500_000).rev().for_each(|at| ranges.insert(apart(at)));
        assert_eq!(ranges.len(), 500_000);
        (0..499_999).for_each(|at| ranges.insert(ClockRange { start: 2 * at + 1, end: 2 * at + 2 }));
        assert_eq!(ranges, Ranges::from_unsorted(vec![ClockRange { start: 0, end: 999_999 }]));
    }
}
