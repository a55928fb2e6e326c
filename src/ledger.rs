//! The process' account of memory that clients can make it use, and the leases that are paid from it.
//!
//! Everything that grows with what peers send or ask for, and is not a room, holds a [`Lease`] for as long as it is there; dropping it gives
//! the bytes back. It is charged to the network address that it is for. What finds no place waits (its socket is read later)
//! or is refused with "try again"; who may still have how much is [`ydash_proto::ledger`]'s to decide.

use crate::metrics::{Memory, Metrics};
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Instant, sleep};
use ydash_proto::ledger;

pub use ydash_proto::ledger::Full;

/// How long to wait before asking again for what found no place.
pub const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Less than this is nobody's news: it is not charged.
pub const CHARGED_BYTES_MIN: usize = 4 << 10;

/// What an automatic budget is at least and at most.
const BUDGET_MIN: usize = 256 << 20;
const BUDGET_MAX: usize = 4 << 30;

/// The address that others of the same network count as: an IPv6 address is its /64, which is what one machine is given.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The account. What is charged per message comes here only when it is large.
pub struct Ledger {
    accounts: Mutex<ledger::Ledger<IpAddr>>,
    /// What several hold together, by where it lies.
    shared: Mutex<HashMap<usize, Shared>>,
    is_tight: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Ledger {
    /// An account of so many bytes.
    #[must_use]
    pub fn new(budget: usize, metrics: Arc<Metrics>) -> Arc<Ledger> {
        Arc::new(Ledger {
            accounts: Mutex::new(ledger::Ledger::new(budget)),
            shared: Mutex::default(),
            is_tight: AtomicBool::new(false),
            metrics,
        })
    }

    /// A lease of nothing yet, for something of this kind that `address` is to pay for.
    #[must_use]
    pub fn lease(self: &Arc<Self>, address: IpAddr, kind: Memory) -> Lease {
        Lease { ledger: Arc::clone(self), payer: network(address), kind, bytes: 0 }
    }

    /// The account as `address` has it.
    #[must_use]
    pub fn account(self: &Arc<Self>, address: IpAddr) -> Account {
        Account { ledger: Arc::clone(self), payer: network(address) }
    }

    /// Whether little is left: then what is not charged yet is kept small, too.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.is_tight.load(Ordering::Relaxed)
    }

    /// Bytes that all leases hold.
    #[must_use]
    pub fn used(&self) -> usize {
        self.accounts().used()
    }

    /// Bytes that `address` may still take.
    #[must_use]
    pub fn headroom(&self, address: IpAddr) -> usize {
        self.accounts().headroom(network(address))
    }

    fn shared(&self) -> MutexGuard<'_, HashMap<usize, Shared>> {
        // As below.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, accounts: &ledger::Ledger<IpAddr>) {
        self.is_tight.store(accounts.used() > accounts.budget() / 2, Ordering::Relaxed);
    }

    fn accounts(&self) -> MutexGuard<'_, ledger::Ledger<IpAddr>> {
        // Sums are right even after a panic elsewhere.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account as one address has it. Cheap to clone.
#[derive(Clone)]
pub struct Account {
    ledger: Arc<Ledger>,
    payer: IpAddr,
}

impl Account {
    /// A lease of nothing yet, for something of this kind.
    #[must_use]
    pub fn lease(&self, kind: Memory) -> Box<Lease> {
        Box::new(Lease { ledger: Arc::clone(&self.ledger), payer: self.payer, kind, bytes: 0 })
    }

    /// A share in something that others may hold, too: it is paid once, by one of those who hold it.
    ///
    /// # Errors
    /// [`Full`] – nobody pays for it yet, and this account cannot.
    pub fn share(&self, bytes: &Bytes, kind: Memory) -> Result<Share, Full> {
        let key = bytes.as_ptr() as usize;
        let mut shared = self.ledger.shared();
        if let Some(known) = shared.get_mut(&key) {
            *known.holders.entry(self.payer).or_default() += 1;
        } else {
            let mut lease = *self.lease(kind);
            lease.resize(bytes.len())?;
            // Kept, so that nothing else comes to lie there.
            let bytes = bytes.clone();
            shared.insert(key, Shared { _bytes: bytes, lease, holders: BTreeMap::from([(self.payer, 1)]) });
        }
        Ok(Share { ledger: Arc::clone(&self.ledger), payer: self.payer, key })
    }

    /// The network address that pays.
    #[must_use]
    pub fn payer(&self) -> IpAddr {
        self.payer
    }

    /// Whether little is left, as [`Ledger::is_tight`].
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.ledger.is_tight()
    }
}

struct Shared {
    _bytes: Bytes,
    lease: Lease,
    /// How many shares each address has.
    holders: BTreeMap<IpAddr, usize>,
}

/// A share in something that several hold.
pub struct Share {
    ledger: Arc<Ledger>,
    payer: IpAddr,
    key: usize,
}

impl Share {
    /// Whether it is one in this.
    #[must_use]
    pub fn is_in(&self, bytes: &Bytes) -> bool {
        bytes.as_ptr() as usize == self.key
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").finish_non_exhaustive()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shared = self.ledger.shared();
        let Some(known) = shared.get_mut(&self.key) else { return };
        if let Some(count) = known.holders.get_mut(&self.payer) {
            *count -= 1;
            if *count == 0 {
                known.holders.remove(&self.payer);
            }
        }
        match known.holders.first_key_value() {
            None => {
                let last = shared.remove(&self.key);
                drop(shared);
                drop(last);
            }
            // Whoever is the last to hold it pays for it.
            Some((&next, _)) if !known.holders.contains_key(&known.lease.payer) => known.lease.move_to(next),
            Some(_) => {}
        }
    }
}

/// Bytes that are charged until it is dropped.
pub struct Lease {
    ledger: Arc<Ledger>,
    payer: IpAddr,
    kind: Memory,
    bytes: usize,
}

impl Lease {
    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it one of so many bytes. Less always succeeds.
    ///
    /// # Errors
    /// [`Full`] – wait, or refuse. It holds what it held.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Full> {
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) {
            let mut accounts = self.ledger.accounts();
            accounts.take(self.payer, more)?;
            self.ledger.changed(&accounts);
        }
        self.settle(bytes, false);
        Ok(())
    }

    /// As [`Lease::resize`], asking again for a while. Cancel-safe.
    ///
    /// # Errors
    /// [`Full`] – there was no place for so long.
    pub async fn resize_within(&mut self, bytes: usize, patience: Duration) -> Result<(), Full> {
        let until = Instant::now() + patience;
        loop {
            match self.resize(bytes) {
                Err(_) if Instant::now() < until => sleep(ASK_AGAIN).await,
                settled => return settled,
            }
        }
    }

    /// Makes it one of so many bytes, because they are there already.
    pub fn charge(&mut self, bytes: usize) {
        self.settle(bytes, true);
    }

    fn move_to(&mut self, payer: IpAddr) {
        let mut accounts = self.ledger.accounts();
        accounts.give_back(self.payer, self.bytes);
        accounts.charge(payer, self.bytes);
        self.payer = payer;
    }

    fn settle(&mut self, bytes: usize, forced: bool) {
        if bytes == self.bytes {
            return;
        }
        if bytes < self.bytes || forced {
            let mut accounts = self.ledger.accounts();
            match bytes.checked_sub(self.bytes) {
                Some(more) => accounts.charge(self.payer, more),
                None => accounts.give_back(self.payer, self.bytes - bytes),
            }
            self.ledger.changed(&accounts);
        }
        self.ledger.metrics.memory_bytes.inc_by(self.kind, bytes as i64 - self.bytes as i64);
        self.bytes = bytes;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("kind", &self.kind).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(0, false);
    }
}

/// A budget for a machine or a container with so much memory: half of it, within bounds. `None`: unknown.
#[must_use]
pub fn automatic_budget(memory: Option<usize>) -> usize {
    memory.map_or(BUDGET_MIN, |memory| (memory / 2).clamp(BUDGET_MIN, BUDGET_MAX))
}

/// How much memory this process may use: what its control group or the machine has, whichever is less. `None`: nobody says.
#[must_use]
pub fn available_memory() -> Option<usize> {
    let limit = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    groups.into_iter().filter_map(limit).chain(machine).min()
}

/// `MemTotal:       16316412 kB`
fn total_of(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_lease_gives_back_what_it_holds_and_the_gauge_follows() {
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(6400, Arc::clone(&metrics));
        let mut lease = ledger.lease(HOME, Memory::Messages);
        assert_eq!(lease.resize(4800), Ok(()));
        assert_eq!(lease.resize(4801), Err(Full::Share));
        assert_eq!((lease.bytes(), ledger.used(), ledger.headroom(HOME)), (4800, 4800, 0));
        assert_eq!(lease.resize(10), Ok(()));
        lease.charge(6500);
        assert_eq!((ledger.used(), metrics.memory_bytes.get(Memory::Messages)), (6500, 6500));
        drop(lease);
        assert_eq!((ledger.used(), metrics.memory_bytes.get(Memory::Messages)), (0, 0));
    }

    /// A state counted for nothing while others had it, too, and to its room when it had been replaced: whoever did not read filled the room's
    /// budget.
    #[test]
    fn what_several_hold_is_paid_once_by_one_of_them() {
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(6400, Arc::clone(&metrics));
        let [alice, bob] = [HOME, "192.0.2.2".parse().unwrap()].map(|address| ledger.account(address));
        let state = Bytes::from(vec![0; 4000]);
        let shares = [&alice, &alice, &bob].map(|account| account.share(&state, Memory::Outboxes).unwrap());
        assert_eq!((ledger.used(), ledger.headroom(bob.payer())), (4000, 800));
        let [first, second, third] = shares;
        drop((second, first));
        assert_eq!((ledger.used(), ledger.headroom(HOME)), (4000, 800), "who is left pays");
        assert_eq!(bob.share(&Bytes::from(vec![0; 801]), Memory::Outboxes).err(), Some(Full::Share));
        drop(third);
        assert_eq!((ledger.used(), metrics.memory_bytes.get(Memory::Outboxes)), (0, 0));
        assert!(ledger.shared().is_empty());
    }

    #[test]
    fn one_ipv6_network_pays_as_one() {
        let ledger = Ledger::new(6400, Arc::new(Metrics::new()));
        let mut one = ledger.lease("2001:db8::1".parse().unwrap(), Memory::Messages);
        one.resize(4800).unwrap();
        assert_eq!(ledger.headroom("2001:db8::ffff:2".parse().unwrap()), 0);
        assert_eq!(ledger.headroom("2001:db8:0:1::1".parse().unwrap()), 800);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_place_is_asked_for_again_until_patience_ends() {
        let ledger = Ledger::new(6400, Arc::new(Metrics::new()));
        let mut hog = ledger.lease(HOME, Memory::Messages);
        hog.charge(6400);
        let mut lease = ledger.lease("192.0.2.2".parse().unwrap(), Memory::Messages);
        assert_eq!(lease.resize_within(100, Duration::from_secs(5)).await, Err(Full::Budget));
        let released = async {
            sleep(Duration::from_secs(3)).await;
            drop(hog);
        };
        let (settled, ()) = tokio::join!(lease.resize_within(100, Duration::from_secs(5)), released);
        assert_eq!(settled, Ok(()));
    }

    #[test]
    fn the_automatic_budget_is_half_of_the_memory_within_bounds() {
        assert_eq!(automatic_budget(None), 256 << 20);
        assert_eq!(automatic_budget(Some(128 << 20)), 256 << 20);
        assert_eq!(automatic_budget(Some(2 << 30)), 1 << 30);
        assert_eq!(automatic_budget(Some(64 << 30)), 4 << 30);
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       16316412 kB\n"), Some(16_316_412 * 1024));
    }
}
