//! Token buckets: how much of something may happen, in bursts and in the long run.
//!
//! Integer arithmetic on thousandths of a token, so that nothing drifts however often it is asked; 32 bytes each, since sessions,
//! users and addresses have several.

use core::time::Duration;

use crate::time::Timestamp;

/// Lets `capacity` tokens through at once and `per_second` in the long run.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    capacity: u32,
    per_second: u32,
    /// Thousandths of a token; negative after a take beyond the capacity.
    level: i64,
    refilled_at: Timestamp,
}

const THOUSANDTHS: i64 = 1000;

impl TokenBucket {
    /// A full bucket. A `capacity` of zero lets nothing through; a `per_second` of zero never refills.
    #[must_use]
    pub fn new(capacity: u32, per_second: u32, now: Timestamp) -> TokenBucket {
        TokenBucket { capacity, per_second, level: i64::from(capacity) * THOUSANDTHS, refilled_at: now }
    }

    /// Takes `n` tokens.
    ///
    /// More than the capacity can be had from a full bucket, which then owes the difference: one large message may pass, and the
    /// long run still holds.
    ///
    /// # Errors
    /// How long to wait until the same take succeeds, in whole milliseconds rounded up; [`Duration::MAX`] for never. Nothing was
    /// taken.
    pub fn take(&mut self, now: Timestamp, n: u32) -> Result<(), Duration> {
        self.refill(now);
        if self.capacity == 0 && n > 0 {
            return Err(Duration::MAX);
        }
        let needed = i64::from(n.min(self.capacity)) * THOUSANDTHS;
        if self.level >= needed {
            self.level -= i64::from(n) * THOUSANDTHS;
            return Ok(());
        }
        if self.per_second == 0 {
            return Err(Duration::MAX);
        }
        // The difference is positive, and a token a second is a thousandth a millisecond.
        let missing = (needed - self.level).unsigned_abs();
        Err(Duration::from_millis(missing.div_ceil(self.per_second.into())))
    }

    /// Whether nothing is missing, so that forgetting the bucket and making another later is no loss.
    #[must_use]
    pub fn is_full(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        self.level == self.full()
    }

    fn refill(&mut self, now: Timestamp) {
        let elapsed = now.0.saturating_sub(self.refilled_at.0);
        let refilled = i64::try_from(elapsed.saturating_mul(self.per_second.into())).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(refilled).min(self.full());
        self.refilled_at = self.refilled_at.max(now);
    }

    fn full(&self) -> i64 {
        i64::from(self.capacity) * THOUSANDTHS
    }
}

/// Whether something large that arrives piece by piece makes progress: each ten seconds have to bring a part of what is there.
///
/// So what a slow line brings passes, and what is held back but for its last byte does not keep its place.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    since: Timestamp,
    had: usize,
}

/// How long the next part may take.
const PACE_WINDOW: Duration = Duration::from_secs(10);
/// The next part: so many bytes, or for every so many that are there one.
const PACE_BYTES_MIN: usize = 1 << 10;
const PACE_SHARE: usize = 256;

impl Pace {
    /// `has` bytes are there.
    #[must_use]
    pub fn new(now: Timestamp, has: usize) -> Pace {
        Pace { since: now, had: has }
    }

    /// When the next part has to be there.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.since + PACE_WINDOW
    }

    /// Takes note that `has` bytes are there. Says whether that is enough.
    pub fn holds(&mut self, now: Timestamp, has: usize) -> bool {
        let part = (self.had / PACE_SHARE).max(PACE_BYTES_MIN);
        let is_there = has.saturating_sub(self.had) >= part;
        if is_there {
            *self = Pace::new(now, has);
        }
        is_there || now < self.due_at()
    }

    /// For so long nothing was read: that is not the sender's fault.
    pub fn excuse(&mut self, pause: Duration) {
        self.since = self.since + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn after(millis: u64) -> Timestamp {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(3, 10, START);
        for _ in 0..3 {
            assert_eq!(bucket.take(START, 1), Ok(()));
        }
        assert_eq!(bucket.take(START, 1), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(after(99), 1), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(after(100), 1), Ok(()));
        assert_eq!(bucket.take(after(100_000), 3), Ok(()));
        assert_eq!(bucket.take(after(100_000), 1), Err(Duration::from_millis(100)), "never more than its capacity");
    }

    #[test]
    fn a_take_beyond_the_capacity_is_owed() {
        let mut bucket = TokenBucket::new(10, 10, START);
        assert_eq!(bucket.take(START, 30), Ok(()));
        assert_eq!(bucket.take(START, 1), Err(Duration::from_millis(2100)));
        assert_eq!(bucket.take(after(2100), 1), Ok(()));
        assert_eq!(bucket.take(after(2100), 30), Err(Duration::from_millis(1000)), "only when it is full");
    }

    #[test]
    fn zero_means_never() {
        assert_eq!(TokenBucket::new(0, 10, START).take(after(1 << 40), 1), Err(Duration::MAX));
        assert_eq!(TokenBucket::new(0, 10, START).take(START, 0), Ok(()));
        let mut once = TokenBucket::new(1, 0, START);
        assert_eq!(once.take(START, 1), Ok(()));
        assert_eq!(once.take(after(1 << 40), 1), Err(Duration::MAX));
    }

    #[test]
    fn a_clock_that_runs_backwards_gives_nothing() {
        let mut bucket = TokenBucket::new(1, 1, after(5000));
        assert_eq!(bucket.take(after(5000), 1), Ok(()));
        assert_eq!(bucket.take(START, 1), Err(Duration::from_millis(1000)));
        assert_eq!(bucket.take(after(5999), 1), Err(Duration::from_millis(1)), "the past was not counted twice");
    }

    #[test]
    fn a_bucket_is_full_again_in_time() {
        let mut bucket = TokenBucket::new(2, 1, START);
        assert!(bucket.is_full(START));
        assert_eq!(bucket.take(START, 1), Ok(()));
        assert!(!bucket.is_full(after(999)));
        assert!(bucket.is_full(after(1000)));
        assert!(size_of::<TokenBucket>() <= 32);
    }

    #[test]
    fn what_is_held_back_but_for_its_last_byte_loses_its_place_and_a_slow_line_does_not() {
        let mut held_back = Pace::new(START, 16 << 20);
        assert!(held_back.holds(after(9_999), (16 << 20) + 10), "a byte a second");
        assert!(!held_back.holds(after(10_000), (16 << 20) + 10));
        // 8 KB a second bring 16 MiB in half an hour.
        let (mut slow, mut has) = (Pace::new(START, 0), 0);
        for second in 1..2_000 {
            has += 8 << 10;
            assert!(slow.holds(after(second * 1_000), has), "after {second} s");
        }
        let mut paused = Pace::new(START, 0);
        paused.excuse(Duration::from_secs(60));
        assert!(paused.holds(after(69_000), 1) && !paused.holds(after(70_000), 1));
    }

    proptest! {
        #[test]
        fn no_schedule_gets_more_than_the_rate_and_every_wait_is_exact(
            capacity in 1_u32..50,
            per_second in 1_u32..5000,
            takes in proptest::collection::vec((0_u64..300, 0_u32..60), 1..100),
        ) {
            let mut bucket = TokenBucket::new(capacity, per_second, START);
            let (mut millis, mut taken, mut largest) = (0, 0_u64, 0);
            for (pause, n) in takes {
                millis += pause;
                if let Err(wait) = bucket.take(after(millis), n) {
                    let wait = wait.as_millis() as u64;
                    prop_assert!(wait > 0);
                    prop_assert!(bucket.clone().take(after(millis + wait - 1), n).is_err());
                    millis += wait;
                    prop_assert_eq!(bucket.take(after(millis), n), Ok(()));
                }
                taken += u64::from(n);
                largest = largest.max(u64::from(n.saturating_sub(capacity)));
                let allowed = u64::from(capacity) * 1000 + millis * u64::from(per_second);
                prop_assert!(taken * 1000 <= allowed + largest * 1000);
            }
        }

        #[test]
        fn extremes_never_overflow(
            capacity: u32, per_second: u32, start: u64, takes in proptest::collection::vec(any::<(u64, u32)>(), 0..20),
        ) {
            let mut bucket = TokenBucket::new(capacity, per_second, Timestamp(start));
            for (now, n) in takes {
                let _ = bucket.take(Timestamp(now), n);
            }
        }
    }
}
