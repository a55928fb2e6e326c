//! What one subscription has heard and its room has not taken yet: a [`HeardQueue`], and who waits for it.

use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use ydash_proto::cluster::{Heard, HeardQueue};

/// A queue from the bus to one room.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<HeardQueue>,
    filled: Notify,
}

impl Inbox {
    /// As [`HeardQueue::put`].
    pub fn put(&self, one: Heard) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).put(one);
        self.filled.notify_one();
    }

    /// Waits until there is something and moves at most `max` of it into `heard`.
    pub(super) async fn take(&self, heard: &mut Vec<Heard>, max: usize) {
        loop {
            if self.queue.lock().unwrap_or_else(PoisonError::into_inner).take(heard, max) {
                return;
            }
            // A permit that came since is kept: cancel-safe, and nothing is missed.
            self.filled.notified().await;
        }
    }
}
