//! One account of memory: who holds how much of a budget, and how much more each may have.
//!
//! Whoever holds little finds place to the last byte; whoever holds much finds it only while there is plenty. So a payer that is alone
//! may use most of the budget, several that want more than their share stop each other before anything is left, and what is left
//! is for those who come later and want little. The bands overlap: what a payer may have depends on what it holds already.
//!
//! Payers are what the caller counts by, network addresses mostly.

use std::collections::BTreeMap;

/// Up to this part of the budget, a payer may take what there is.
const SMALL: usize = 64;
/// Up to this part of the budget, a payer may take what there is but for the reserve.
const SHARE: usize = 8;
/// The part that is kept for payers with little.
const RESERVE: usize = 8;
/// The part that stays free of payers with more than their share.
const PLENTY: usize = 4;

/// Who holds how much.
#[derive(Clone, Debug)]
pub struct Ledger<K> {
    budget: usize,
    used: usize,
    held: BTreeMap<K, usize>,
}

/// Why there is no place. It passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The payer holds more than its share, and there is not plenty.
    #[error("its address holds more than its share of memory")]
    Share,
    /// Everybody together holds all there is.
    #[error("the memory budget is used up")]
    Budget,
}

impl<K: Ord + Copy> Ledger<K> {
    /// Nobody holds anything of so many bytes.
    #[must_use]
    pub fn new(budget: usize) -> Ledger<K> {
        Ledger { budget, used: 0, held: BTreeMap::new() }
    }

    /// All there is, in bytes.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Bytes that all payers hold.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes that one payer holds.
    #[must_use]
    pub fn held(&self, payer: K) -> usize {
        self.held.get(&payer).copied().unwrap_or(0)
    }

    /// Bytes that `payer` may take at this moment.
    #[must_use]
    pub fn headroom(&self, payer: K) -> usize {
        let (budget, held) = (self.budget, self.held(payer));
        let free = |kept: usize| (budget - kept).saturating_sub(self.used);
        let little = (budget / SMALL).saturating_sub(held).min(free(0));
        let fair = (budget / SHARE).saturating_sub(held).min(free(budget / RESERVE));
        little.max(fair).max(free(budget / PLENTY))
    }

    /// As [`Ledger::headroom`], for something of so many bytes: what is small may grow though its payer has much, as long as that leaves the
    /// reserve.
    #[must_use]
    pub fn headroom_of_one(&self, payer: K, bytes: usize) -> usize {
        let free = (self.budget - self.budget / RESERVE).saturating_sub(self.used);
        self.headroom(payer).max((self.budget / SMALL).saturating_sub(bytes).min(free))
    }

    /// Charges `bytes` to `payer`.
    ///
    /// # Errors
    /// [`Full`] – wait, or refuse what the memory is for. Nothing was charged.
    pub fn take(&mut self, payer: K, bytes: usize) -> Result<(), Full> {
        if bytes <= self.headroom(payer) {
            self.charge(payer, bytes);
            return Ok(());
        }
        let has_more_than_its_share = self.held(payer).saturating_add(bytes) > self.budget / SHARE;
        Err(if has_more_than_its_share { Full::Share } else { Full::Budget })
    }

    /// Charges what is there already, whether it may be or not.
    pub fn charge(&mut self, payer: K, bytes: usize) {
        if bytes > 0 {
            self.used = self.used.saturating_add(bytes);
            let held = self.held.entry(payer).or_default();
            *held = held.saturating_add(bytes);
        }
    }

    /// Gives back what was charged.
    pub fn give_back(&mut self, payer: K, bytes: usize) {
        let Some(held) = self.held.get_mut(&payer) else { return };
        let bytes = bytes.min(*held);
        *held -= bytes;
        self.used -= bytes;
        if *held == 0 {
            self.held.remove(&payer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: usize = 6400;

    #[test]
    fn a_payer_that_is_alone_may_use_most_of_the_budget() {
        let mut ledger = Ledger::new(BUDGET);
        assert_eq!(ledger.headroom(1), BUDGET * 3 / 4);
        assert_eq!(ledger.take(1, BUDGET * 3 / 4), Ok(()));
        assert_eq!(ledger.take(1, 1), Err(Full::Share));
        ledger.give_back(1, 1);
        assert_eq!(ledger.take(1, 1), Ok(()));
    }

    #[test]
    fn whoever_holds_much_leaves_a_share_for_the_next() {
        let mut ledger = Ledger::new(BUDGET);
        ledger.take(1, BUDGET * 3 / 4).unwrap();
        assert_eq!(ledger.headroom(2), BUDGET / 8, "a whole share");
        ledger.take(2, BUDGET / 8).unwrap();
        assert_eq!(ledger.take(2, 1), Err(Full::Share));
        // Seven eighths are used.
        assert_eq!(ledger.headroom(3), BUDGET / 64, "the reserve is for those who want little");
        for payer in 3..11 {
            assert_eq!(ledger.take(payer, BUDGET / 64), Ok(()));
        }
        assert_eq!(ledger.used(), BUDGET);
        assert_eq!(ledger.take(11, 1), Err(Full::Budget));
    }

    #[test]
    fn what_is_small_grows_though_its_payer_has_much() {
        let mut ledger = Ledger::new(BUDGET);
        ledger.take(1, BUDGET * 3 / 4).unwrap();
        assert_eq!(ledger.headroom_of_one(1, BUDGET / 2), 0);
        assert_eq!(ledger.headroom_of_one(1, 40), BUDGET / 64 - 40);
        ledger.charge(1, BUDGET / 8);
        assert_eq!(ledger.headroom_of_one(1, 40), 0, "the reserve is for others");
        assert_eq!(ledger.headroom_of_one(2, 0), BUDGET / 64);
    }

    #[test]
    fn what_nobody_holds_any_more_is_forgotten() {
        let mut ledger = Ledger::new(BUDGET);
        for payer in 0..1000 {
            ledger.take(payer, 6).unwrap();
            ledger.give_back(payer, 6);
        }
        assert!(ledger.held.is_empty());
        ledger.give_back(7, 6);
        assert_eq!(ledger.used(), 0, "what was never taken gives nothing");
    }

    proptest! {
        #[test]
        fn no_schedule_takes_more_than_there_is_and_sums_are_right(
            steps in proptest::collection::vec((0_u8..12, 0_usize..3000, any::<bool>()), 0..200),
        ) {
            let mut ledger = Ledger::new(BUDGET);
            for (payer, bytes, gives) in steps {
                if gives {
                    ledger.give_back(payer, bytes);
                } else {
                    let (before, headroom) = (ledger.used(), ledger.headroom(payer));
                    let taken = ledger.take(payer, bytes).is_ok();
                    prop_assert_eq!(taken, bytes <= headroom);
                    prop_assert_eq!(ledger.used(), before + if taken { bytes } else { 0 });
                }
                prop_assert!(ledger.used() <= BUDGET);
                prop_assert_eq!(ledger.used(), ledger.held.values().sum::<usize>());
                let newcomer = 99;
                // Eight newcomers with little are never shut out by those who hold more.
                let much: usize = ledger.held.values().filter(|held| **held > BUDGET / 64).sum();
                if ledger.used() == much {
                    prop_assert!(ledger.headroom(newcomer) >= BUDGET / 64);
                }
            }
        }
    }
}
