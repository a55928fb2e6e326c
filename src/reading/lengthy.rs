//! What takes longer than others on the same processor should wait takes turns: one at a time for every two processors, and those who want
//! one by address, not first come.
//!
//! A turn goes with a large message from the moment at which it is read until its room has taken it. It rests for half as long as there was
//! work in it, so that all large messages together leave a third of a processor of every two, and the other one, to small ones.

use super::guests::{Place, Turns};
use core::time::Duration;
use std::net::IpAddr;
use std::thread;
use std::time::Instant;
use tokio::runtime::Handle;

/// Less work than this in a turn is no reason to rest.
const RESTS_FROM: Duration = Duration::from_millis(2);
/// Nobody gives up waiting: its socket is read later. Whoever waits is a session, and those are bounded.
const WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Where turns are given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lengthy(Turns<IpAddr>);

impl Default for Lengthy {
    /// Half of the processors may be busy with it.
    fn default() -> Lengthy {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Lengthy(Turns::with_line(processors / 2, usize::MAX))
    }
}

impl Lengthy {
    /// Waits for a turn. Cancel-safe. `None` after a day.
    pub async fn turn(&self, address: IpAddr) -> Option<Turn> {
        let place = self.0.take(address, WITHIN).await.ok()?;
        Some(Turn { place: Some(place), worked: Duration::ZERO })
    }
}

/// A turn; dropping it gives it to the next, after a rest.
#[derive(Debug)]
pub struct Turn {
    place: Option<Place<IpAddr>>,
    worked: Duration,
}

impl Turn {
    /// Does some work in it.
    pub fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.worked += began.elapsed();
        done
    }

    /// Notes that somebody else has worked for it.
    pub fn took(&mut self, took: Duration) {
        self.worked += took;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(place) = self.place.take().filter(|_| self.worked >= RESTS_FROM) else { return };
        if let Ok(runtime) = Handle::try_current() {
            let rest = self.worked / 2;
            runtime.spawn(async move {
                tokio::time::sleep(rest).await;
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [IpAddr; 2] =
        [IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), IpAddr::V4(core::net::Ipv4Addr::BROADCAST)];

    /// 25 rooms of one address were busy with 15 MiB each, one behind the other on the threads that serve everybody.
    #[tokio::test(start_paused = true)]
    async fn large_messages_take_turns_by_address_and_rest() {
        let lengthy = Lengthy(Turns::with_line(1, usize::MAX));
        let mut first = lengthy.turn(ADDRESSES[0]).await.unwrap();
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for (n, address) in [(1, ADDRESSES[0]), (2, ADDRESSES[0]), (3, ADDRESSES[1])] {
            let (lengthy, order) = (lengthy.clone(), std::sync::Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let turn = lengthy.turn(address).await.unwrap();
                order.lock().unwrap().push(n);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        first.took(Duration::from_millis(100));
        let began = tokio::time::Instant::now();
        drop(first);
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 3, 2]);
        assert_eq!(began.elapsed().as_millis(), 50);
    }
}
