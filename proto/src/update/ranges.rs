//! Sorted, coalesced ranges of clocks of one client.

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

/// The ranges of one client: ascending, disjoint, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<ClockRange>);

impl Ranges {
    /// How many ranges they are.
    pub(super) fn len(&self) -> usize {
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
        Ranges(ranges)
    }

    pub(super) fn as_slice(&self) -> &[ClockRange] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, range: ClockRange) {
        debug_assert!(range.start < range.end, "{range:?} is empty");
        let from = match self.0.last() {
            Some(last) if last.end >= range.start => self.0.partition_point(|r| r.end < range.start),
            _ => return self.0.push(range),
        };
        let to = from + self.0[from..].partition_point(|r| r.start <= range.end);
        if from == to {
            return self.0.insert(from, range);
        }
        let start = range.start.min(self.0[from].start);
        let end = range.end.max(self.0[to - 1].end);
        self.0[from] = ClockRange { start, end };
        self.0.drain(from + 1..to);
    }

    pub(super) fn union(&mut self, other: &Ranges) {
        // Each insert may move everything behind it, so many into few is done as one merge.
        if other.0.len() <= 8 {
            return other.0.iter().for_each(|range| self.insert(*range));
        }
        let mut all = Vec::with_capacity(self.0.len() + other.0.len());
        all.extend_from_slice(&self.0);
        all.extend_from_slice(&other.0);
        *self = Ranges::from_unsorted(all);
    }

    pub(super) fn contains(&self, clock: Clock) -> bool {
        self.overlaps(ClockRange { start: clock, end: clock.saturating_add(1) })
    }

    pub(super) fn overlaps(&self, range: ClockRange) -> bool {
        let at = self.0.partition_point(|r| r.end <= range.start);
        self.0.get(at).is_some_and(|r| r.start < range.end)
    }

    pub(super) fn covers(&self, range: ClockRange) -> bool {
        let at = self.0.partition_point(|r| r.end <= range.start);
        self.0.get(at).is_some_and(|r| r.start <= range.start && r.end >= range.end)
    }

    /// What of `range` is not in here, in order.
    pub(super) fn gaps(&self, range: ClockRange, mut each: impl FnMut(ClockRange)) {
        let mut start = range.start;
        let at = self.0.partition_point(|r| r.end <= range.start);
        for known in self.0[at..].iter().take_while(|r| r.start < range.end) {
            if known.start > start {
                each(ClockRange { start, end: known.start });
            }
            start = known.end;
        }
        if start < range.end {
            each(ClockRange { start, end: range.end });
        }
    }
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
            prop_assert!(united.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(united.as_slice().iter().flat_map(|r| r.start..r.end).collect::<Vec<_>>(),
                            expected.iter().copied().collect::<Vec<_>>());
            let asked = range(asked);
            prop_assert_eq!(united.overlaps(asked), (asked.start..asked.end).any(|c| expected.contains(&c)));
            prop_assert_eq!(united.contains(asked.start), expected.contains(&asked.start));
            prop_assert_eq!(united.covers(asked), (asked.start..asked.end).all(|c| expected.contains(&c)));
            let mut gaps = Vec::new();
            united.gaps(asked, |gap| gaps.extend(gap.start..gap.end));
            prop_assert_eq!(gaps, (asked.start..asked.end).filter(|c| !expected.contains(c)).collect::<Vec<_>>());
        }
    }
}
