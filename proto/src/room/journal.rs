//! What the last flushes added, so that a member that missed some can be told the difference alone.

use crate::id::{ClientId, Clock};
use crate::update::StateVector;
use std::collections::{BTreeMap, VecDeque};

/// Counts the frames that a room sent to everybody. 0 stands before the first.
pub type FlushSeq = u64;

/// How many flushes are told apart. What is older counts as one: who missed a part of it gets all of it.
const FLUSHES_MAX: usize = 64;

/// Where a flush began, per client.
pub(super) type Starts = Box<[(ClientId, Clock)]>;

/// The clocks at which each of the last flushes began.
#[derive(Debug, Default)]
pub(super) struct Journal {
    flushes: VecDeque<(FlushSeq, Starts)>,
}

impl Journal {
    /// Remembers that flush `seq` added structs from these clocks on.
    pub(super) fn record(&mut self, seq: FlushSeq, starts: Starts) {
        if self.flushes.len() == FLUSHES_MAX
            && let (Some((oldest, first)), Some((_, second))) = (self.flushes.pop_front(), self.flushes.pop_front())
        {
            let mut joined: BTreeMap<ClientId, Clock> = first.into_iter().collect();
            for (client, clock) in second {
                joined.entry(client).and_modify(|at| *at = clock.min(*at)).or_insert(clock);
            }
            self.flushes.push_front((oldest, joined.into_iter().collect()));
        }
        self.flushes.push_back((seq, starts));
    }

    /// What a member certainly has that got every flush before `first_missed`, when `now` is what the room knows.
    pub(super) fn before(&self, first_missed: FlushSeq, now: &StateVector) -> StateVector {
        let mut have = now.clone();
        // The newest entry that began at or before the first missed flush may hold it: entries of joined flushes do.
        let from = self.flushes.partition_point(|(seq, _)| *seq <= first_missed).saturating_sub(1);
        for (_, starts) in self.flushes.range(from..) {
            for &(client, clock) in starts {
                have.lower(client, clock);
            }
        }
        have
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.flushes.iter().map(|(_, starts)| 24 + starts.len() * 16).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_told_from_its_first_missed_flush_on() {
        let mut journal = Journal::default();
        let mut now = StateVector::default();
        for seq in 1..=3 * FLUSHES_MAX as u64 {
            let start = (seq - 1) as Clock * 2;
            journal.record(seq, [(7, start)].into());
            now.advance(7, start + 2);
        }
        let last = 3 * FLUSHES_MAX as u64;
        assert_eq!(journal.before(last, &now).get(7), (last as Clock - 1) * 2);
        assert_eq!(journal.before(last - 5, &now).get(7), (last as Clock - 6) * 2);
        assert_eq!(journal.before(3, &now).get(7), 0, "joined flushes count as one");
        assert_eq!(journal.flushes.len(), FLUSHES_MAX);
    }
}
