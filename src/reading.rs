//! Reads documents with yrs: a few at a time, each for a limited time, on threads of their own.
//!
//! There is content that costs yrs quadratic time: a hundred kilobytes of items that all conflict keep it busy for a
//! minute, a frame of the largest size for days. No thread can be stopped. So this work never runs on the runtime's
//! threads, which sessions and the store need, and for which a process waits at its end. Whoever asks is given up on after a
//! while; the thread goes on, and takes its dashboard's turn and one of the few places with it until it ends. What it
//! never takes is a room: without yrs a document is kept byte for byte and served all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use ydash_proto::id::DashboardId;

/// How long a reading may take, and as long may it wait to begin. 64 MB of ordinary content take some seconds.
const WITHIN: Duration = Duration::from_secs(10);
/// yrs recurses as deep as a document nests.
const STACK_BYTES: usize = 16 << 20;

/// Where documents are read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers {
    places: Arc<Semaphore>,
    /// One reading of a dashboard at a time, so that none takes all places.
    turns: Arc<Mutex<HashMap<DashboardId, Arc<Semaphore>>>>,
    within: Duration,
}

/// The reading took too long, could not begin, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document could not be read in time")]
pub struct GaveUp;

impl Default for Readers {
    /// Half of the processors may be busy with it.
    fn default() -> Readers {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Readers::new((processors / 2).max(2), WITHIN)
    }
}

impl Readers {
    fn new(places: usize, within: Duration) -> Readers {
        Readers { places: Arc::new(Semaphore::new(places)), turns: Arc::default(), within }
    }

    /// Runs `work`, which reads `dashboard`.
    ///
    /// # Errors
    /// [`GaveUp`] – do without: the work may still go on, and what comes of it is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        dashboard: &DashboardId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GaveUp> {
        let turn = self.acquire(self.turn(dashboard)).await?;
        let place = self.acquire(Arc::clone(&self.places)).await?;
        let (tell, told) = oneshot::channel();
        let (readers, id) = (self.clone(), dashboard.clone());
        let reading = move || {
            let _taken = Taken { readers, id, places: Some((turn, place)) };
            let _ = tell.send(work()); // Whoever asked may have given up.
        };
        thread::Builder::new().name("ydash-read".into()).stack_size(STACK_BYTES).spawn(reading).map_err(|_| GaveUp)?;
        timeout(self.within, told).await.map_err(|_| GaveUp)?.map_err(|_| GaveUp)
    }

    async fn acquire(&self, from: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, GaveUp> {
        timeout(self.within, from.acquire_owned()).await.map_err(|_| GaveUp)?.map_err(|_| GaveUp)
    }

    fn turn(&self, dashboard: &DashboardId) -> Arc<Semaphore> {
        let mut turns = self.turns();
        Arc::clone(turns.entry(dashboard.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<DashboardId, Arc<Semaphore>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reading holds; given back when it ends, also by a panic.
struct Taken {
    readers: Readers,
    id: DashboardId,
    places: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        drop(self.places.take());
        let mut turns = self.readers.turns();
        // Whoever waits for the turn holds it, too.
        if turns.get(&self.id).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn dashboard(name: &str) -> DashboardId {
        DashboardId::new("w", name).unwrap()
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_takes_nobody_elses_turn() {
        let readers = Readers::new(2, Duration::from_millis(50));
        let (end, ends) = mpsc::channel::<()>();
        let hung = readers.run(&dashboard("hung"), move || ends.recv()).await;
        assert_eq!(hung.err(), Some(GaveUp));
        assert_eq!(readers.run(&dashboard("hung"), || 1).await, Err(GaveUp), "one at a time");
        assert_eq!(readers.run(&dashboard("other"), || 2).await, Ok(2));
        drop(end);
        while readers.run(&dashboard("hung"), || 3).await != Ok(3) {}
    }

    #[tokio::test]
    async fn turns_that_nobody_waits_for_are_forgotten() {
        let readers = Readers::new(2, Duration::from_secs(5));
        for at in 0..10 {
            assert_eq!(readers.run(&dashboard(&at.to_string()), move || at).await, Ok(at));
        }
        assert!(
            readers
                .run(&dashboard("panics"), || panic!("told to"))
                .await
                .is_err_and(|gave_up: GaveUp| gave_up == GaveUp)
        );
        while !readers.turns().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(readers.places.available_permits(), 2);
    }
}
