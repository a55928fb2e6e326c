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
pub(super) struct FlushStarts {
    flushes: VecDeque<(FlushSeq, Starts)>,
    /// The clocks at which all flushes before those began.
    older: BTreeMap<ClientId, Clock>,
}

impl FlushStarts {
    /// Remembers that flush `seq` added structs from these clocks on.
    pub(super) fn record(&mut self, seq: FlushSeq, starts: Starts) {
        if self.flushes.len() == FLUSHES_MAX
            && let Some((_, oldest)) = self.flushes.pop_front()
        {
            for (client, clock) in oldest {
                self.older.entry(client).and_modify(|at| *at = clock.min(*at)).or_insert(clock);
            }
        }
        self.flushes.push_back((seq, starts));
    }

    /// What a member certainly has that got every flush before `first_missed`, when `now` is what the room knows.
    pub(super) fn before(&self, first_missed: FlushSeq, now: &StateVector) -> StateVector {
        let mut have = now.clone();
        if self.flushes.front().is_none_or(|(oldest, _)| first_missed < *oldest) {
            self.older.iter().for_each(|(&client, &clock)| have.lower(client, clock));
        }
        let from = self.flushes.partition_point(|(seq, _)| *seq < first_missed);
        for (_, starts) in self.flushes.range(from..) {
            for &(client, clock) in starts {
                have.lower(client, clock);
            }
        }
        have
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.flushes.iter().map(|(_, starts)| 24 + starts.len() * 16).sum::<usize>() + self.older.len() * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_told_from_its_first_missed_flush_on() {
        let mut journal = FlushStarts::default();
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

    /// One update of 131,000 clients once made each flush after it cost 3 ms: they were copied each time.
    #[test]
    fn what_a_flush_costs_does_not_grow_with_the_clients_of_those_before() {
        let mut journal = FlushStarts::default();
        journal.record(1, (0..131_000).map(|client| (client, 0)).collect());
        for seq in 2..100_000 {
            journal.record(seq, [(7, seq as Clock)].into());
        }
        assert!(journal.flushes.iter().all(|(_, starts)| starts.len() == 1));
        let now: StateVector = (0..131_000).map(|client| (client, 100_000)).collect();
        assert_eq!(journal.before(99_990, &now).get(7), 99_990);
        assert_eq!(journal.before(1, &now).len(), 0);
    }
}
