//! Memory that goes back to the system after a peak.
//!
//! glibc keeps what was freed below the newest allocation of an arena, and small allocations that outlive a crowd pin most of what
//! it used. Asked to, it returns every free page. Other allocators do so by themselves, or cannot be asked.

/// Returns free pages to the system. Takes a while with a large heap, in which other threads may wait: for a quiet moment after
/// a peak, on a thread that may block.
pub(crate) fn return_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: has no precondition, and glibc documents it as safe to call from any thread (MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has blocks of a mebibyte and more go back to the system when they are freed. By itself glibc raises that bound to 32 MiB as soon as one of them
/// was, and keeps documents and messages between smaller blocks.
pub(crate) fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: sets a number of the allocator; called before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Memory of this process that is in RAM; 0 where nobody says.
pub(crate) fn resident() -> usize {
    const PAGE: usize = 4 << 10;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).map_or(0, |pages| pages * PAGE)
}

/// Tells when much more memory is in use than is accounted for.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    /// What the last walk over the heap left.
    left: usize,
    /// Bytes that were accounted for then.
    counted: usize,
    /// Whether many of those had been given back at the last look.
    has_fallen: bool,
}

/// What is accounted for is right within a fifth, and there is what nobody accounts for.
const COUNTED_SHARE: usize = 5;
const UNCOUNTED: usize = 64 << 20;
/// Less than this is no reason for another walk over the heap.
const WORTH_A_WALK: usize = 32 << 20;

impl Excess {
    /// Takes note of how much is resident and accounted for; `true` when it is worth a walk over the heap.
    pub(crate) fn is_found(&mut self, resident: usize, counted: usize) -> bool {
        self.left = self.left.min(resident);
        let is_excess = resident > counted + counted / COUNTED_SHARE + UNCOUNTED;
        // Memory that was in use at the last walk may be free by now. Most of it goes back by itself by the next look.
        let has_fallen = is_excess && counted + WORTH_A_WALK < self.counted;
        let had_fallen = core::mem::replace(&mut self.has_fallen, has_fallen);
        let is_found = is_excess && (resident > self.left + WORTH_A_WALK || has_fallen && had_fallen);
        if is_found {
            *self = Excess { left: resident, counted, has_fallen: false };
        }
        is_found
    }
}

/// Tells when a peak is over.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    highest: i64,
}

/// A smaller crowd than this leaves nothing behind that is worth a walk over the heap.
const CROWD: i64 = 200;

impl Peak {
    /// Takes note of how many sessions and rooms there are; `true` once when less than half of a crowd is left.
    pub(crate) fn is_over(&mut self, now: i64) -> bool {
        let is_over = self.highest >= CROWD && now < self.highest / 2;
        self.highest = if is_over { now } else { self.highest.max(now) };
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_accounts_for_is_looked_for_once_unless_there_is_more() {
        const MIB: usize = 1 << 20;
        let mut excess = Excess::default();
        let resident = [20, 1_200, 1_500, 1_500, 900, 920, 960, 300];
        let counted = [0, 1_000, 1_000, 1_000, 1_000, 100, 100, 200];
        let found =
            resident.iter().zip(counted).map(|(resident, counted)| excess.is_found(resident * MIB, counted * MIB));
        assert_eq!(found.collect::<Vec<_>>(), [false, false, true, false, false, false, true, false]);
    }

    /// 30 rooms of 131,000 clients left half a gigabyte behind: while they were there, a walk had found it in use, and there was no other.
    #[test]
    fn what_was_in_use_at_a_walk_is_looked_for_again_when_it_was_given_back() {
        const MIB: usize = 1 << 20;
        let mut excess = Excess::default();
        let mut found = |resident, counted| excess.is_found(resident * MIB, counted * MIB);
        assert!(found(500, 300));
        assert!(!found(510, 310));
        assert!(!found(510, 10), "it may go by itself");
        assert!(found(505, 10));
        assert!(!found(505, 10) && !found(505, 0), "nothing was given back since");
    }

    #[test]
    fn a_peak_is_over_once() {
        let mut peak = Peak::default();
        let told: Vec<bool> = [0, 500, 1000, 501, 499, 400, 100, 0, 199, 0].map(|now| peak.is_over(now)).into();
        assert_eq!(told, [false, false, false, false, true, false, true, false, false, false]);
    }
}
