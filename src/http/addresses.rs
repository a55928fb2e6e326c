//! How much one network address may hold open and how often it may join: the counts, the budgets, and the guards that give back.
//!
//! An IPv6 address counts by its /64, which is what one machine is given. Everything here is a short critical section at
//! accept, join and close; the frame path never comes here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ledger::network as counted;
use crate::metrics::Refusal;

/// What addresses, and all of them together, may do.
#[derive(Clone, Debug)]
pub struct AddressLimits {
    /// Sessions in this process.
    pub sessions_max: usize,
    /// Sessions from one address.
    pub sessions_per_address_max: usize,
    /// Joins per second from one address, on average.
    pub join_rate: u32,
    /// Joins at once from one address.
    pub join_burst: u32,
}

impl AddressLimits {
    /// When the joins of an address will be paid for with one more, or how long until it may join again.
    fn pay(&self, entry: &Entry, now: Instant) -> Result<Instant, Duration> {
        let cost = Duration::from_secs(1) / self.join_rate.max(1);
        let paid_at = entry.joins_paid_at.max(now) + cost;
        let early = paid_at.checked_duration_since(now + cost * self.join_burst.max(1)).filter(|d| !d.is_zero());
        early.map_or(Ok(paid_at), Err)
    }
}

/// Connections beyond its sessions that an address may hold: pages, REST calls, refused upgrades.
const PLAIN_CONNECTIONS_MAX: usize = 256;

/// Entries at which addresses that hold nothing are looked for and forgotten.
const TABLE_SWEEP_AT: usize = 4096;

/// The table of addresses.
#[derive(Debug)]
pub struct Addresses {
    limits: AddressLimits,
    sessions: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<IpAddr, Entry>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    connections: usize,
    sessions: usize,
    /// When the joins so far will be paid for at the average rate (GCRA): one instant is the whole bucket.
    joins_paid_at: Instant,
}

impl Entry {
    fn is_forgettable(&self, now: Instant) -> bool {
        self.connections == 0 && self.sessions == 0 && self.joins_paid_at <= now
    }
}

/// Why an address was turned away; all of them pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The process is full.
    Process {
        /// Its `sessions-max`.
        sessions_max: usize,
    },
    /// The address holds all that one may hold.
    Address {
        /// Its `sessions-per-address-max`.
        sessions_max: usize,
    },
    /// The address joins too often.
    Joins {
        /// When the next join is taken.
        retry_after: Duration,
    },
}

impl Crowded {
    /// How it is counted.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Crowded::Process { .. } | Crowded::Address { .. } => Refusal::SessionLimit,
            Crowded::Joins { .. } => Refusal::JoinRate,
        }
    }
}

impl Addresses {
    /// An empty table.
    #[must_use]
    pub fn new(limits: AddressLimits) -> Arc<Addresses> {
        let table = Mutex::new(Table { entries: HashMap::new(), sweep_at: TABLE_SWEEP_AT });
        Arc::new(Addresses { limits, sessions: AtomicUsize::new(0), table })
    }

    /// Counts an accepted connection until the permit is dropped; `None` when the address, or the process, holds too many.
    #[must_use]
    pub fn connect(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let address = counted(address);
        let mut table = self.table();
        let now = Instant::now();
        table.sweep(now);
        let entry = table.entry(address, now);
        if entry.connections >= self.limits.sessions_per_address_max.saturating_add(PLAIN_CONNECTIONS_MAX) {
            return None;
        }
        entry.connections += 1;
        drop(table);
        Some(ConnectionPermit { addresses: Arc::clone(self), address })
    }

    /// Counts a session until the permit is dropped.
    ///
    /// # Errors
    /// [`Crowded`] – answer 503 and name the limit.
    pub fn join(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<SessionPermit, Crowded> {
        let address = counted(address);
        let limits = &self.limits;
        let mut table = self.table();
        let entry = table.entry(address, now);
        if entry.sessions >= limits.sessions_per_address_max {
            return Err(Crowded::Address { sessions_max: limits.sessions_per_address_max });
        }
        let paid_at = limits.pay(entry, now).map_err(|retry_after| Crowded::Joins { retry_after })?;
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= limits.sessions_max {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Crowded::Process { sessions_max: limits.sessions_max });
        }
        entry.joins_paid_at = paid_at;
        entry.sessions += 1;
        drop(table);
        Ok(SessionPermit { addresses: Arc::clone(self), address })
    }

    /// Counts a join of the session that a socket has a place for already.
    ///
    /// # Errors
    /// How long to wait before the next attempt.
    pub fn join_again(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.table();
        let entry = table.entry(counted(address), now);
        entry.joins_paid_at = self.limits.pay(entry, now)?;
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in the critical sections can panic half-way; counts are right even after a panic elsewhere.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, address: IpAddr, give_back: impl FnOnce(&mut Entry)) {
        let mut table = self.table();
        if let Some(entry) = table.entries.get_mut(&address) {
            give_back(entry);
            if entry.is_forgettable(Instant::now()) {
                table.entries.remove(&address);
            }
        }
    }
}

impl Table {
    fn entry(&mut self, address: IpAddr, now: Instant) -> &mut Entry {
        self.entries.entry(address).or_insert(Entry { connections: 0, sessions: 0, joins_paid_at: now })
    }

    /// Forgets addresses that hold nothing and owe nothing, each time the table has doubled.
    fn sweep(&mut self, now: Instant) {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| !entry.is_forgettable(now));
            self.sweep_at = (self.entries.len() * 2).max(TABLE_SWEEP_AT);
        }
    }
}

/// A connection that is counted; dropping it gives its place back.
#[derive(Debug)]
pub struct ConnectionPermit {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.addresses.release(self.address, |entry| entry.connections -= 1);
    }
}

/// A session that is counted; dropping it gives its place back.
#[derive(Debug)]
pub struct SessionPermit {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.addresses.sessions.fetch_sub(1, Ordering::Relaxed);
        self.addresses.release(self.address, |entry| entry.sessions -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(sessions_max: usize, per_address: usize, join_rate: u32, join_burst: u32) -> Arc<Addresses> {
        Addresses::new(AddressLimits { sessions_max, sessions_per_address_max: per_address, join_rate, join_burst })
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_full_address_does_not_fill_the_others() {
        let addresses = addresses(10, 2, 1000, 1000);
        let now = Instant::now();
        let first = addresses.join(HOME, now).unwrap();
        let _second = addresses.join(HOME, now).unwrap();
        assert_eq!(addresses.join(HOME, now).unwrap_err(), Crowded::Address { sessions_max: 2 });
        let _other = addresses.join(AWAY, now).unwrap();
        drop(first);
        assert!(addresses.join(HOME, now).is_ok());
    }

    #[test]
    fn the_process_limit_holds_over_all_addresses() {
        let addresses = addresses(1, 10, 1000, 1000);
        let now = Instant::now();
        let held = addresses.join(HOME, now).unwrap();
        assert_eq!(addresses.join(AWAY, now).unwrap_err(), Crowded::Process { sessions_max: 1 });
        drop(held);
        assert!(addresses.join(AWAY, now).is_ok());
    }

    #[test]
    fn joins_are_taken_in_a_burst_and_then_at_the_rate() {
        let addresses = addresses(100, 100, 10, 3);
        let now = Instant::now();
        for _ in 0..3 {
            drop(addresses.join(HOME, now).unwrap());
        }
        let Crowded::Joins { retry_after } = addresses.join(HOME, now).unwrap_err() else { panic!("not the rate") };
        assert_eq!(retry_after, Duration::from_millis(100));
        assert!(addresses.join(HOME, now + retry_after).is_ok());
        assert!(addresses.join(HOME, now + retry_after).is_err());
        assert!(addresses.join(AWAY, now).is_ok());
    }

    #[test]
    fn connections_have_a_limit_of_their_own() {
        let addresses = addresses(100, 1, 10, 3);
        let held: Vec<_> = (0..=PLAIN_CONNECTIONS_MAX).map(|_| addresses.connect(HOME).unwrap()).collect();
        assert!(addresses.connect(HOME).is_none());
        drop(held);
        assert!(addresses.connect(HOME).is_some());
    }

    #[test]
    fn addresses_that_hold_nothing_are_forgotten() {
        let addresses = addresses(100, 1, 10, 3);
        for i in 0..20_000_u32 {
            drop(addresses.connect(IpAddr::V4((0x0a00_0000 + i).into())).unwrap());
        }
        assert!(addresses.table().entries.is_empty());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let addresses = addresses(100, 1, 10, 3);
        let now = Instant::now();
        let _held = addresses.join("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(addresses.join("2001:db8::ffff:2".parse().unwrap(), now).is_err());
        assert!(addresses.join("2001:db8:0:1::1".parse().unwrap(), now).is_ok());
    }
}
