//! Chance that a seed repeats.

/// Marsaglia's xorshift64*.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        // Neighbouring seeds must not begin alike.
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = rng.next());
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Of any magnitude between `from` and `to`: as often 2 to 4 as 2000 to 4000.
    pub(crate) fn spread(&mut self, from: u64, to: u64) -> u64 {
        let octaves = u64::from((to / from.max(1)).max(1).ilog2()) + 1;
        let low = from.max(1) << self.below(octaves);
        (low + self.below(low)).clamp(from, to)
    }
}
