//! The time that rooms are told: wall time at the start, and monotonic from there.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use ydash_proto::time::Timestamp;

/// Milliseconds since the Unix epoch that never run backwards, whatever happens to the system's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Clock {
    /// A clock that starts at the system's time.
    #[must_use]
    pub fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Clock { started: Instant::now(), started_at: Timestamp(millis) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    /// When the clock will show `at`.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        // Rounded up: a timer that fires within the same millisecond would find nothing due.
        self.started + at.since(self.started_at) + Duration::from_micros(1)
    }
}
