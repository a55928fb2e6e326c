//! Reads documents item by item: a few at a time, and one reading of a dashboard at a time.
//!
//! What is read costs what the document weighs, some seconds for the largest; whatever is in it, the reading ends. So who
//! wants one waits for a place, not for longer than a while, and never takes a processor that rooms and sessions need.

pub mod guests;
pub mod lengthy;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use ydash_proto::id::DashboardId;

/// How long a reading may wait to begin.
const WITHIN: Duration = Duration::from_secs(30);
/// Shorter readings follow each other at once: in a drain there are thousands.
const RESTS_FROM: Duration = Duration::from_millis(50);

/// Where documents are read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readers {
    places: Arc<Semaphore>,
    /// One reading of a dashboard at a time, so that none takes all places.
    turns: Arc<Mutex<HashMap<DashboardId, Arc<Semaphore>>>>,
    within: Duration,
}

/// The reading could not begin in time, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document could not be read in time")]
pub struct GaveUp;

impl Default for Readers {
    /// Half of the processors may be busy with it.
    fn default() -> Readers {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Readers::new((processors / 2).max(1), WITHIN)
    }
}

impl Readers {
    fn new(places: usize, within: Duration) -> Readers {
        Readers { places: Arc::new(Semaphore::new(places)), turns: Arc::default(), within }
    }

    /// Runs `work`, which reads `dashboard`, on a thread that may take its time. A place in which it took some rests for half as long.
    ///
    /// # Errors
    /// [`GaveUp`] – do without.
    pub async fn run<T: Send + 'static>(
        &self,
        dashboard: &DashboardId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GaveUp> {
        let turn = self.acquire(self.turn(dashboard)).await?;
        let place = self.acquire(Arc::clone(&self.places)).await?;
        let taken = Taken { readers: self.clone(), id: dashboard.clone(), places: Some((turn, place)) };
        let (done, is_done) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _taken = taken;
            let began = Instant::now();
            let _ = done.send(work()); // Whoever asked may have gone.
            let took = began.elapsed();
            if took >= RESTS_FROM {
                thread::sleep(took / 2);
            }
        });
        is_done.await.map_err(|_| GaveUp)
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

/// Where differences of large documents are cut: some processors' worth, in the order in which they are asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cutters(Arc<Semaphore>);

impl Default for Cutters {
    fn default() -> Cutters {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Cutters(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

impl Cutters {
    /// Runs `work` on a thread that may take its time; `None` when it failed. Then its place rests for half as long as that took, so
    /// that all of them together leave most of the processors to rooms and sessions.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send + 'static {
        let places = Arc::clone(&self.0);
        async move {
            let place = places.acquire_owned().await.ok()?;
            let (done, is_done) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _place = place;
                let began = Instant::now();
                let _ = done.send(work()); // Whoever asked may have gone.
                thread::sleep(began.elapsed() / 2);
            });
            is_done.await.ok()
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
    async fn a_dashboard_is_read_once_at_a_time_and_takes_nobody_elses_turn() {
        let readers = Readers::new(2, Duration::from_millis(50));
        let (end, ends) = mpsc::channel::<()>();
        let (begin, begins) = tokio::sync::oneshot::channel();
        let reading = tokio::spawn({
            let readers = readers.clone();
            let work = move || {
                begin.send(()).unwrap();
                let _ = ends.recv();
            };
            async move { readers.run(&dashboard("long"), work).await }
        });
        begins.await.unwrap();
        assert_eq!(readers.run(&dashboard("long"), || 1).await, Err(GaveUp), "one at a time");
        assert_eq!(readers.run(&dashboard("other"), || 2).await, Ok(2));
        drop(end);
        assert_eq!(reading.await.unwrap(), Ok(()));
        assert_eq!(readers.run(&dashboard("long"), || 3).await, Ok(3));
    }

    #[tokio::test]
    async fn turns_that_nobody_waits_for_are_forgotten() {
        let readers = Readers::new(2, Duration::from_secs(5));
        for at in 0..10 {
            assert_eq!(readers.run(&dashboard(&at.to_string()), move || at).await, Ok(at));
        }
        let panicked: Result<(), GaveUp> = readers.run(&dashboard("panics"), || panic!("told to")).await;
        assert_eq!(panicked, Err(GaveUp));
        // The answer comes first.
        let given_back = async {
            while !readers.turns().is_empty() || readers.places.available_permits() < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), given_back).await.expect("what a reading held is given back when it ends");
    }
}
