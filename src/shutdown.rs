//! The way down: a signal starts the drain, a deadline ends it, a second signal ends it at once.
//!
//! A drain has two steps. [`Shutdown::draining`] is cancelled first: nothing more is accepted, rooms flush and say goodbye.
//! Whoever still works in [`Shutdown::tasks`] when the deadline passes is left behind.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// One server's end, shared by everything that has to know of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nothing is ending yet.
    #[must_use]
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Cancelled when the drain begins.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Where every task of the server is spawned.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Begins the drain.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Begins the drain at SIGTERM or SIGINT, and exits the process at the second one. Never returns.
    ///
    /// # Errors
    /// The signals cannot be listened to.
    pub async fn begin_on_signals(self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            // Both are cancel-safe.
            let (name, code) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 143),
                _ = interrupt.recv() => ("SIGINT", 130),
            };
            if self.draining.is_cancelled() {
                warn!(signal = name, "second signal: exiting at once");
                std::process::exit(code);
            }
            info!(signal = name, "draining");
            self.begin();
        }
    }

    /// Waits until every task has ended, at most for `deadline`. Returns how many were left behind.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.tasks.close();
        match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_heed_the_drain_are_waited_for() {
        let shutdown = Shutdown::new();
        let draining = shutdown.draining().clone();
        shutdown.tasks().spawn(async move {
            draining.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        shutdown.begin();
        assert_eq!(shutdown.finish(Duration::from_secs(2)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_leaves_behind_who_does_not() {
        let shutdown = Shutdown::new();
        shutdown.tasks().spawn(std::future::pending::<()>());
        shutdown.begin();
        assert_eq!(shutdown.finish(Duration::from_secs(2)).await, 1);
    }
}
