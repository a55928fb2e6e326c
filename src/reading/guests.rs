//! Turns for those who ask over REST: places for slow work, given to addresses in turn, and what the last readings came to.
//!
//! Whoever asks a hundred times waits for itself: the next place goes to the address that has waited longest since it had one, and
//! none has more than half of them. What a reading came to is remembered for as long as the document is the same.

use core::hash::Hash;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use ydash_proto::id::DashboardId;

use super::GaveUp;

/// How many of one payer may wait. Beyond: refused at once.
const WAITING_MAX: usize = 32;

/// A number of places, and who waits for them.
#[derive(Debug)]
pub struct Turns<K: Hash + Eq + Copy>(Arc<Mutex<Line<K>>>);

impl<K: Hash + Eq + Copy> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Turns(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Line<K: Hash + Eq + Copy> {
    places: usize,
    taken: usize,
    waiting_max: usize,
    /// Places by who has them.
    holders: HashMap<K, usize>,
    waiting: HashMap<K, VecDeque<oneshot::Sender<Place<K>>>>,
    /// Those who wait, who is next in front.
    order: VecDeque<K>,
}

/// A place; dropping it gives it to whoever is next.
#[derive(Debug)]
pub struct Place<K: Hash + Eq + Copy> {
    turns: Turns<K>,
    /// None when nobody took it: it was never given.
    key: Option<K>,
}

impl<K: Hash + Eq + Copy> Turns<K> {
    /// So many places.
    #[must_use]
    pub fn new(places: usize) -> Turns<K> {
        Turns::with_line(places, WAITING_MAX)
    }

    /// So many places, for which so many of one payer may wait.
    #[must_use]
    pub fn with_line(places: usize, waiting_max: usize) -> Turns<K> {
        let line = Line {
            places: places.max(1),
            taken: 0,
            waiting_max,
            holders: HashMap::new(),
            waiting: HashMap::new(),
            order: VecDeque::new(),
        };
        Turns(Arc::new(Mutex::new(line)))
    }

    /// Waits for a place. Cancel-safe.
    ///
    /// # Errors
    /// [`GaveUp`] – there was none in time, or too many of the same wait already.
    pub async fn take(&self, key: K, within: Duration) -> Result<Place<K>, GaveUp> {
        let given = {
            let mut line = self.line();
            let waiting_max = line.waiting_max;
            let waiting = line.waiting.entry(key).or_default();
            waiting.retain(|one| !one.is_closed());
            if waiting.len() >= waiting_max {
                return Err(GaveUp);
            }
            let (give, given) = oneshot::channel();
            waiting.push_back(give);
            if !line.order.contains(&key) {
                line.order.push_back(key);
            }
            self.give(&mut line);
            given
        };
        timeout(within, given).await.map_err(|_| GaveUp)?.map_err(|_| GaveUp)
    }

    /// Gives free places to who is next.
    fn give(&self, line: &mut Line<K>) {
        let each = (line.places / 2).max(1);
        while line.taken < line.places {
            let may = |key: &K| line.holders.get(key).is_none_or(|held| *held < each);
            let Some(at) = line.order.iter().position(may) else { return };
            let key = line.order.remove(at).expect("it was found there");
            let Some(waiting) = line.waiting.get_mut(&key) else { continue };
            let mut is_given = false;
            while let Some(one) = waiting.pop_front() {
                match one.send(Place { turns: self.clone(), key: Some(key) }) {
                    Ok(()) => {
                        is_given = true;
                        break;
                    }
                    // Not given back through the lock that is held here.
                    Err(mut place) => place.key = None,
                }
            }
            if waiting.is_empty() {
                line.waiting.remove(&key);
            } else {
                line.order.push_back(key);
            }
            if is_given {
                line.taken += 1;
                *line.holders.entry(key).or_default() += 1;
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut line = self.turns.line();
        line.taken -= 1;
        if let Some(held) = line.holders.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                line.holders.remove(&key);
            }
        }
        self.turns.give(&mut line);
    }
}

impl<K: Hash + Eq + Copy + Send + 'static> Place<K> {
    /// Runs `work` on a thread that may take its time, in this place. With `rests`, the place then stays empty for as long: so it is busy
    /// half of the time at most.
    ///
    /// # Errors
    /// [`GaveUp`] – it panicked.
    pub async fn run<T: Send + 'static>(
        self,
        rests: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GaveUp> {
        let reading = move || {
            let (place, began) = (self, Instant::now());
            let done = work();
            (done, place, began.elapsed())
        };
        let (done, place, took) = tokio::task::spawn_blocking(reading).await.map_err(|_| GaveUp)?;
        if rests {
            tokio::spawn(async move {
                tokio::time::sleep(took).await;
                drop(place);
            });
        }
        Ok(done)
    }
}

/// What readings came to, one for each dashboard, while its document is the same.
#[derive(Debug)]
pub struct Remembered<T> {
    known: HashMap<DashboardId, Known<T>>,
    /// The oldest first.
    order: VecDeque<DashboardId>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Known<T> {
    /// Kept, so that no other document can be in its place: the same bytes in memory are the same document.
    state: Bytes,
    outcome: T,
    bytes: usize,
}

impl<T: Clone> Remembered<T> {
    /// Of at most so many bytes, documents included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Remembered<T> {
        Remembered { known: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// What reading this state came to.
    #[must_use]
    pub fn get(&self, dashboard: &DashboardId, state: &Bytes) -> Option<T> {
        let known = self.known.get(dashboard)?;
        let is_same = known.state.as_ptr() == state.as_ptr() && known.state.len() == state.len();
        is_same.then(|| known.outcome.clone())
    }

    /// Remembers what it came to; `bytes` of it. What is larger than an eighth of all is not remembered.
    pub fn put(&mut self, dashboard: &DashboardId, state: &Bytes, outcome: T, bytes: usize) {
        self.forget(dashboard);
        // What an entry costs beside what is in it.
        const BESIDE: usize = 512;
        let bytes = bytes + state.len() + BESIDE;
        if bytes > self.bytes_max / 8 {
            return;
        }
        self.bytes += bytes;
        self.known.insert(dashboard.clone(), Known { state: state.clone(), outcome, bytes });
        self.order.push_back(dashboard.clone());
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.front().cloned() else { break };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, dashboard: &DashboardId) {
        if let Some(known) = self.known.remove(dashboard) {
            self.bytes -= known.bytes;
            self.order.retain(|other| other != dashboard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// One that asks again and again had both places, and an honest call waited for as long as all of it took.
    #[tokio::test]
    async fn places_are_given_to_addresses_in_turn() {
        let turns: Turns<u8> = Turns::new(2);
        let first = turns.take(1, SOON).await.unwrap();
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.take(1, SOON).await })
            })
            .collect();
        while turns.line().waiting.get(&1).is_none_or(|waiting| waiting.len() < WAITING_MAX) {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.take(1, SOON).await.unwrap_err(), GaveUp, "too many wait");
        // Others come at once, one after the other and both at a time.
        let second = turns.take(2, SOON).await.unwrap();
        drop(second);
        let second = turns.take(2, SOON).await.unwrap();
        let third = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(3, SOON).await }
        });
        while !turns.line().waiting.contains_key(&3) {
            tokio::task::yield_now().await;
        }
        drop(second);
        let third = third.await.unwrap().unwrap();
        drop((first, third));
        for one in waiting {
            drop(one.await.unwrap().unwrap());
        }
        let line = turns.line();
        assert_eq!(line.taken, 0);
        assert!(line.holders.is_empty() && line.waiting.is_empty() && line.order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_no_longer_takes_no_place() {
        let turns: Turns<u8> = Turns::new(1);
        let held = turns.take(1, SOON).await.unwrap();
        assert_eq!(turns.take(2, SOON).await.unwrap_err(), GaveUp);
        drop(held);
        let held = turns.take(3, SOON).await.unwrap();
        let panicked: Result<(), GaveUp> = held.run(false, || panic!("told to")).await;
        assert_eq!(panicked, Err(GaveUp));
        let resting = turns.take(3, SOON).await.unwrap();
        assert_eq!(resting.run(true, || 7).await, Ok(7));
        assert!(turns.take(1, SOON).await.is_ok(), "it rests for no longer than it worked");
    }

    #[test]
    fn what_a_reading_came_to_is_remembered_until_the_document_changes() {
        let dashboard = |name: &str| DashboardId::new("w", name).unwrap();
        let state = |len: usize| Bytes::from(vec![0; len]);
        let mut remembered = Remembered::new(80_000);
        let (a, same_again) = (state(1000), state(1000));
        remembered.put(&dashboard("a"), &a, 1, 0);
        assert_eq!(remembered.get(&dashboard("a"), &a.clone()), Some(1));
        assert_eq!(remembered.get(&dashboard("a"), &same_again), None, "another version");
        assert_eq!(remembered.get(&dashboard("b"), &a), None);
        remembered.put(&dashboard("large"), &state(1000), 2, 10_000);
        assert_eq!(remembered.known.len(), 1, "too large to be remembered");
        for n in 0..100 {
            remembered.put(&dashboard(&n.to_string()), &state(1000), n, 3000);
        }
        assert!(remembered.bytes <= 80_000 && remembered.known.len() == remembered.order.len());
        assert_eq!(remembered.get(&dashboard("a"), &a), None, "the oldest makes place");
    }
}
