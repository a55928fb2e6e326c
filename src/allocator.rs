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
    fn a_peak_is_over_once() {
        let mut peak = Peak::default();
        let told: Vec<bool> = [0, 500, 1000, 501, 499, 400, 100, 0, 199, 0].map(|now| peak.is_over(now)).into();
        assert_eq!(told, [false, false, false, false, true, false, true, false, false, false]);
    }
}
