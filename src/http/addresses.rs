//! How much one network address may hold open and how often it may join: the counts, the budgets, and the guards that give back.
//!
//! An IPv6 address counts by its /64, which is what one machine is given. Everything here is a short critical section at
//! accept, join and close; the frame path never comes here.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::ledger::network as counted;
use crate::metrics::Refusal;

/// What addresses, and all of them together, may do.
#[derive(Clone, Debug)]
pub struct AddressLimits {
    /// Connections of this process, of every kind: the open files that are left for them.
    pub connections_max: usize,
    /// Sessions in this process.
    pub sessions_max: usize,
    /// Sessions from one address.
    pub sessions_per_address_max: usize,
    /// Joins per second from one address, on average.
    pub join_rate: u32,
    /// Joins at once from one address.
    pub join_burst: u32,
    /// REST calls per second from one address, on average.
    pub request_rate: u32,
    /// REST calls at once from one address.
    pub request_burst: u32,
    /// Bytes per second that REST reads and writes for one address, on average.
    pub byte_rate: usize,
    /// Bytes that REST reads and writes at once for one address; what is larger passes alone.
    pub byte_burst: usize,
}

impl AddressLimits {
    /// Connections that are kept for those who come when the others are taken, each for a moment: probes, above all.
    fn kept(&self) -> usize {
        (self.connections_max / 16).clamp(1, 64)
    }

    /// Connections that one address may hold, of every kind: others find some, whatever it does.
    fn share(&self) -> usize {
        (self.connections_max - self.connections_max / 4).max(1)
    }

    fn sessions_max(&self) -> usize {
        self.sessions_max.min(self.connections_max.saturating_sub(self.kept())).max(1)
    }

    fn sessions_per_address_max(&self) -> usize {
        self.sessions_per_address_max.min(self.share())
    }

    /// When the joins of an address will be paid for with one more, or how long until it may join again.
    fn pay_join(&self, entry: &Entry, now: Instant) -> Result<Instant, Duration> {
        let cost = Duration::from_secs(1) / self.join_rate.max(1);
        let paid_at = entry.joins_paid_at.max(now) + cost;
        in_time(paid_at, now + cost * self.join_burst.max(1))
    }

    /// As [`AddressLimits::pay_join`], for a request; `paid_at` is its bucket.
    fn pay_request(&self, paid_at: Instant, now: Instant) -> Result<Instant, Crowded> {
        let cost = Duration::from_secs(1) / self.request_rate.max(1);
        let rate = usize::try_from(self.request_rate).unwrap_or(usize::MAX);
        in_time(paid_at.max(now) + cost, now + cost * self.request_burst.max(1))
            .map_err(|retry_after| Crowded::Requests { rate, retry_after })
    }

    /// How long so many bytes take at the rate.
    fn time_of(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / self.byte_rate.max(1) as u128;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(DEBT_MAX)
    }
}

/// What one call may cost at most, as time that its address has to wait: a setting may be low, but the wait ends.
const DEBT_MAX: Duration = Duration::from_secs(600);

fn in_time(paid_at: Instant, allowed: Instant) -> Result<Instant, Duration> {
    let early = paid_at.checked_duration_since(allowed).filter(|early| !early.is_zero());
    early.map_or(Ok(paid_at), Err)
}

/// Connections that are no sessions, of one address: pages, REST calls, refused upgrades. Beyond, one may become a session, or ask for a probe.
pub(super) const PLAIN_CONNECTIONS_MAX: usize = 256;

/// Up to so many connections of one address that found no place are not cut for its next ones.
const HURRIED_FEW: usize = 8;

/// Entries at which addresses that hold nothing are looked for and forgotten.
const TABLE_SWEEP_AT: usize = 4096;

/// The table of addresses.
#[derive(Debug)]
pub struct Addresses {
    limits: AddressLimits,
    sessions: AtomicUsize,
    /// Connections that were cut and have not ended yet: they are counted no more, and still hold their files.
    leaving: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<IpAddr, Entry>,
    sweep_at: usize,
    /// Connections of all addresses, and of trusted proxies.
    connections: usize,
    /// Connections that found no place, the oldest first.
    hurried: BTreeMap<u64, Hurried>,
    next: u64,
}

#[derive(Debug)]
struct Hurried {
    address: Option<IpAddr>,
    cut: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    /// Of every kind.
    connections: usize,
    /// Those that are no sessions.
    plain: usize,
    /// Those of them that found no place.
    hurried: usize,
    sessions: usize,
    /// When the joins so far will be paid for at the average rate (GCRA): one instant is the whole bucket.
    joins_paid_at: Instant,
    /// Likewise for REST calls, and for what they read and wrote.
    requests_paid_at: Instant,
    bytes_paid_at: Instant,
    /// Likewise for everything else but probes: a flood of REST calls does not blind whoever watches from the same address.
    looks_paid_at: Instant,
}

impl Entry {
    fn is_forgettable(&self, now: Instant) -> bool {
        let paid_at = self.joins_paid_at.max(self.requests_paid_at).max(self.bytes_paid_at).max(self.looks_paid_at);
        self.connections == 0 && self.sessions == 0 && paid_at <= now
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
    /// The address holds all connections that one may hold, or the process has none left; a session might still get in.
    Connections,
    /// The address joins too often.
    Joins {
        /// When the next join is taken.
        retry_after: Duration,
    },
    /// The address calls REST too often.
    Requests {
        /// Its `address-request-rate`.
        rate: usize,
        /// When the next call is taken.
        retry_after: Duration,
    },
    /// REST has read or written too much for the address.
    Bytes {
        /// Its `address-byte-rate`.
        rate: usize,
        /// When the next call is taken.
        retry_after: Duration,
    },
}

impl Crowded {
    /// How it is counted.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Crowded::Process { .. } | Crowded::Address { .. } => Refusal::SessionLimit,
            Crowded::Connections => Refusal::Connections,
            Crowded::Joins { .. } => Refusal::JoinRate,
            Crowded::Requests { .. } | Crowded::Bytes { .. } => Refusal::RequestRate,
        }
    }
}

impl Addresses {
    /// An empty table.
    #[must_use]
    pub fn new(limits: AddressLimits) -> Arc<Addresses> {
        let table = Mutex::new(Table { sweep_at: TABLE_SWEEP_AT, ..Table::default() });
        Arc::new(Addresses { limits, sessions: AtomicUsize::new(0), leaving: AtomicUsize::new(0), table })
    }

    /// Counts an accepted connection until the permit is dropped; `address` is none for a trusted proxy's, which stands for many.
    ///
    /// One that finds no place is let in all the same, but hurried: it may become a session or ask for a probe and nothing else, at once, and is cut
    /// when the next one comes and there is no open file left. (A crowd that comes back is many connections before it is as many sessions.) So a probe gets its answer whatever else is connected. `None` when every
    /// connection is one that has its place.
    #[must_use]
    pub fn connect(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionPermit> {
        let address = address.map(counted);
        let limits = &self.limits;
        let mut table = self.table();
        let now = Instant::now();
        table.sweep(now);
        let (plain, connections) = address.map_or((0, 0), |address| {
            let entry = table.entry(address, now);
            (entry.plain, entry.connections)
        });
        // Those that are hurried give way to those that find a place.
        let placed = table.connections - table.hurried.len();
        let has_place = plain < PLAIN_CONNECTIONS_MAX
            && connections < limits.share()
            && placed < limits.connections_max.saturating_sub(limits.kept());
        if table.connections >= limits.connections_max && !self.cut_oldest(&mut table, address) {
            return None;
        }
        let hurried = (!has_place).then(|| table.hurry(address));
        table.connections += 1;
        if let Some(address) = address {
            let entry = table.entry(address, now);
            entry.connections += 1;
            entry.plain += 1;
        }
        drop(table);
        Some(ConnectionPermit { addresses: Arc::clone(self), address, hurried, is_plain: true })
    }

    /// Cuts the connection that has been hurried for longest, because there is no open file for another one.
    pub fn make_room(&self) {
        self.cut_oldest(&mut self.table(), None);
    }

    /// Whether so many were cut that no more are to be accepted before some have ended. They do so at once.
    #[must_use]
    pub fn waits_for_files(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) > self.limits.kept()
    }

    fn cut_oldest(&self, table: &mut Table, address: Option<IpAddr>) -> bool {
        let is_cut = table.cut_oldest(address);
        self.leaving.fetch_add(usize::from(is_cut), Ordering::Relaxed);
        is_cut
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
        let sessions_max = limits.sessions_per_address_max();
        if entry.sessions >= sessions_max {
            return Err(Crowded::Address { sessions_max });
        }
        let paid_at = limits.pay_join(entry, now).map_err(|retry_after| Crowded::Joins { retry_after })?;
        let sessions_max = limits.sessions_max();
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= sessions_max {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Crowded::Process { sessions_max });
        }
        entry.joins_paid_at = paid_at;
        entry.sessions += 1;
        drop(table);
        Ok(SessionPermit { addresses: Arc::clone(self), address })
    }

    /// Counts a REST call on a dashboard.
    ///
    /// # Errors
    /// [`Crowded`] – answer 429 and name the limit.
    pub fn request(&self, address: IpAddr, now: Instant) -> Result<(), Crowded> {
        let limits = &self.limits;
        let mut table = self.table();
        table.sweep(now);
        let entry = table.entry(counted(address), now);
        // What a call costs is known when it has been answered: the next one waits until it is paid for.
        in_time(entry.bytes_paid_at, now + limits.time_of(limits.byte_burst))
            .map_err(|retry_after| Crowded::Bytes { rate: limits.byte_rate, retry_after })?;
        entry.requests_paid_at = limits.pay_request(entry.requests_paid_at, now)?;
        Ok(())
    }

    /// Counts a request that is for no dashboard: a page, the metrics, nothing that is there.
    ///
    /// # Errors
    /// As [`Addresses::request`].
    pub fn look(&self, address: IpAddr, now: Instant) -> Result<(), Crowded> {
        let mut table = self.table();
        table.sweep(now);
        let entry = table.entry(counted(address), now);
        entry.looks_paid_at = self.limits.pay_request(entry.looks_paid_at, now)?;
        Ok(())
    }

    /// Charges what REST has read or written for an address.
    pub fn charge(&self, address: IpAddr, bytes: usize, now: Instant) {
        let cost = self.limits.time_of(bytes);
        let mut table = self.table();
        let entry = table.entry(counted(address), now);
        entry.bytes_paid_at = (entry.bytes_paid_at.max(now) + cost).min(now + DEBT_MAX);
    }

    /// Counts a join of the session that a socket has a place for already.
    ///
    /// # Errors
    /// How long to wait before the next attempt.
    pub fn join_again(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.table();
        let entry = table.entry(counted(address), now);
        entry.joins_paid_at = self.limits.pay_join(entry, now)?;
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
        self.entries.entry(address).or_insert(Entry {
            connections: 0,
            plain: 0,
            hurried: 0,
            sessions: 0,
            joins_paid_at: now,
            requests_paid_at: now,
            bytes_paid_at: now,
            looks_paid_at: now,
        })
    }

    fn hurry(&mut self, address: Option<IpAddr>) -> (u64, CancellationToken) {
        let cut = CancellationToken::new();
        let id = self.next;
        self.next += 1;
        self.hurried.insert(id, Hurried { address, cut: cut.clone() });
        if let Some(entry) = address.and_then(|address| self.entries.get_mut(&address)) {
            entry.hurried += 1;
        }
        (id, cut)
    }

    /// Takes one out of those that are hurried. Says whether it was still among them.
    fn settle(&mut self, id: u64) -> bool {
        let Some(one) = self.hurried.remove(&id) else { return false };
        one.cut.cancel();
        if let Some(entry) = one.address.and_then(|address| self.entries.get_mut(&address)) {
            entry.hurried -= 1;
        }
        true
    }

    /// Cuts the oldest hurried connection of `address`, if it has more than a few, or of all. Says whether there was one.
    fn cut_oldest(&mut self, address: Option<IpAddr>) -> bool {
        // Who has a few is not who takes the places: its probe stays, while its other connections come.
        let has_many =
            address.and_then(|address| self.entries.get(&address)).is_some_and(|one| one.hurried > HURRIED_FEW);
        let own = has_many.then(|| self.hurried.iter().find(|(_, one)| one.address == address)).flatten();
        let Some(id) = own.or_else(|| self.hurried.iter().next()).map(|(id, _)| *id) else { return false };
        let address = self.hurried.get(&id).and_then(|one| one.address);
        self.settle(id);
        self.disconnected(address, true);
        true
    }

    fn disconnected(&mut self, address: Option<IpAddr>, was_plain: bool) {
        self.connections -= 1;
        if let Some(entry) = address.and_then(|address| self.entries.get_mut(&address)) {
            entry.connections -= 1;
            entry.plain -= usize::from(was_plain);
        }
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
    address: Option<IpAddr>,
    hurried: Option<(u64, CancellationToken)>,
    is_plain: bool,
}

impl ConnectionPermit {
    /// Cancelled when the connection is to be cut; `None` for one that has its place.
    #[must_use]
    pub fn hurried(&self) -> Option<&CancellationToken> {
        self.hurried.as_ref().map(|(_, cut)| cut)
    }

    /// The connection is a session from here on, which has a place of its own.
    pub fn became_session(&mut self) {
        let mut table = self.addresses.table();
        // One that was cut a moment ago is counted as gone; it ends with what it was to become.
        let was_cut = self.hurried.as_ref().is_some_and(|(id, _)| !table.settle(*id));
        if was_cut {
            table.connections += 1;
            self.addresses.leaving.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(entry) = self.address.and_then(|address| table.entries.get_mut(&address)) {
            if was_cut {
                entry.connections += 1;
            } else {
                entry.plain -= 1;
            }
        }
        drop(table);
        (self.hurried, self.is_plain) = (None, false);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut table = self.addresses.table();
        if self.hurried.as_ref().is_some_and(|(id, _)| !table.settle(*id)) {
            // It was cut, and counted as gone then.
            self.addresses.leaving.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        table.disconnected(self.address, self.is_plain);
        drop(table);
        if let Some(address) = self.address {
            self.addresses.release(address, |_| {});
        }
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
        let limits =
            AddressLimits { sessions_max, sessions_per_address_max: per_address, join_rate, join_burst, ..LIMITS };
        Addresses::new(limits)
    }

    const LIMITS: AddressLimits = AddressLimits {
        connections_max: 100_000,
        sessions_max: 100_000,
        sessions_per_address_max: 100_000,
        join_rate: 1000,
        join_burst: 1000,
        request_rate: 10,
        request_burst: 3,
        byte_rate: 1000,
        byte_burst: 2000,
    };

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

    fn are_hurried(permits: &[ConnectionPermit]) -> usize {
        permits.iter().filter(|permit| permit.hurried().is_some()).count()
    }

    /// The bound counted sessions and connections together: 10,256 by default, not the 256 that were promised.
    #[test]
    fn an_address_has_its_plain_connections_whatever_sessions_it_may_have() {
        let addresses = Addresses::new(LIMITS);
        let connect = |address: IpAddr| addresses.connect(Some(address)).unwrap();
        let mut held: Vec<_> = (0..PLAIN_CONNECTIONS_MAX).map(|_| connect(HOME)).collect();
        assert_eq!(are_hurried(&held), 0);
        assert!(connect(HOME).hurried().is_some() && connect(AWAY).hurried().is_none());
        held[0].became_session();
        let next = connect(HOME);
        assert!(next.hurried().is_none(), "a session takes none of them");
        assert!(connect(HOME).hurried().is_some());
        // A crowd that comes back at once gets in, however many it is.
        let mut crowd: Vec<_> = (0..5000).map(|_| connect(HOME)).collect();
        crowd.iter_mut().for_each(ConnectionPermit::became_session);
        assert!(connect(HOME).hurried().is_some(), "and takes none of them, either");
        drop((held, next, crowd));
        assert!(connect(HOME).hurried().is_none());
        assert_eq!(addresses.table().connections, 0);
        assert!(addresses.table().entries.is_empty() && addresses.table().hurried.is_empty());
    }

    #[test]
    fn one_address_never_takes_all_open_files_and_a_probe_finds_one() {
        let addresses = Addresses::new(AddressLimits { connections_max: 100, ..LIMITS });
        let connect = |address: IpAddr| addresses.connect(Some(address)).unwrap();
        let now = Instant::now();
        let sessions: Vec<_> = core::iter::from_fn(|| addresses.join(HOME, now).ok()).collect();
        assert_eq!(sessions.len(), 75, "sessions follow the open files, too");
        let mut own: Vec<_> = (0..75).map(|_| connect(HOME)).collect();
        own.iter_mut().for_each(ConnectionPermit::became_session);
        let flood: Vec<_> = (0..1000).map(|_| connect(HOME)).collect();
        assert_eq!(addresses.table().connections, 100);
        assert_eq!(flood.iter().filter(|permit| !permit.hurried().unwrap().is_cancelled()).count(), 25);
        // Whoever comes last is not cut: a probe that asks at once is answered, also from the address of the flood.
        let (probe, other) = (connect(HOME), connect(AWAY));
        assert!(!probe.hurried().unwrap().is_cancelled() && other.hurried().is_none(), "others have their places");
        let more: Vec<_> = (0..1000).map(|_| connect(HOME)).collect();
        assert!(probe.hurried().unwrap().is_cancelled());
        assert_eq!(addresses.table().connections, 100);
        drop((flood, probe, more));
        assert!((0..18).map(|_| connect(AWAY)).all(|permit| permit.hurried().is_none()));
        drop((own, other));
        assert_eq!(addresses.table().connections, 0);
    }

    #[test]
    fn when_every_place_is_taken_a_flood_pushes_out_its_own_and_not_others() {
        let addresses = Addresses::new(AddressLimits { connections_max: 320, ..LIMITS });
        let connect = |address: IpAddr| addresses.connect(Some(address)).unwrap();
        let crowd = |n: u32| IpAddr::V4((0x0a00_0000 + n).into());
        let placed: Vec<_> = (0..300).map(|n| connect(crowd(n))).collect();
        assert_eq!(are_hurried(&placed), 0);
        let flood: Vec<_> = (0..1000).map(|_| connect(HOME)).collect();
        // Not even its own next ones push out who has a few.
        let probes: Vec<_> = (0..HURRIED_FEW).map(|_| connect(AWAY)).collect();
        let more: Vec<_> = (0..1000).map(|_| connect(HOME)).collect();
        assert!(probes.iter().all(|probe| !probe.hurried().unwrap().is_cancelled()));
        assert_eq!(addresses.table().connections, 320);
        assert!(addresses.waits_for_files(), "those that were cut hold their files until they are dropped");
        drop((placed, flood, probes, more));
        assert!(!addresses.waits_for_files() && addresses.leaving.load(Ordering::Relaxed) == 0);
        assert_eq!(addresses.table().connections, 0);
        assert!(addresses.table().entries.is_empty());
    }

    #[test]
    fn one_that_is_cut_while_it_becomes_a_session_is_counted_once() {
        let addresses = Addresses::new(AddressLimits { connections_max: 1, ..LIMITS });
        let mut first = addresses.connect(Some(HOME)).unwrap();
        let second = addresses.connect(Some(HOME)).unwrap();
        assert!(first.hurried().unwrap().is_cancelled());
        first.became_session();
        assert_eq!(addresses.table().connections, 2);
        drop((first, second));
        assert_eq!(addresses.table().connections, 0);
        assert!(addresses.table().entries.is_empty());
    }

    #[test]
    fn when_every_open_file_is_a_session_nobody_is_let_in() {
        let addresses = Addresses::new(AddressLimits { connections_max: 2, ..LIMITS });
        let mut held: Vec<_> = [HOME, AWAY].map(|address| addresses.connect(Some(address)).unwrap()).into();
        held.iter_mut().for_each(ConnectionPermit::became_session);
        assert!(addresses.connect(Some(HOME)).is_none() && addresses.connect(None).is_none());
        held.pop();
        assert!(addresses.connect(None).is_some());
    }

    #[test]
    fn rest_calls_are_taken_in_a_burst_and_then_at_the_rate() {
        let addresses = Addresses::new(LIMITS);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(addresses.request(HOME, now), Ok(()));
        }
        let refused = Crowded::Requests { rate: 10, retry_after: Duration::from_millis(100) };
        assert_eq!(addresses.request(HOME, now), Err(refused));
        assert_eq!(addresses.request(AWAY, now), Ok(()));
        assert_eq!(addresses.request(HOME, now + Duration::from_millis(100)), Ok(()));
        for _ in 0..3 {
            assert_eq!(addresses.look(HOME, now), Ok(()), "what is no call has a bucket of its own");
        }
        assert_eq!(addresses.look(HOME, now), Err(refused));
    }

    #[test]
    fn what_rest_reads_and_writes_is_paid_for_before_the_next_call() {
        let addresses = Addresses::new(LIMITS);
        let now = Instant::now();
        assert_eq!(addresses.request(HOME, now), Ok(()));
        addresses.charge(HOME, 5000, now);
        let refused = Crowded::Bytes { rate: 1000, retry_after: Duration::from_secs(3) };
        assert_eq!(addresses.request(HOME, now), Err(refused), "5 s of bytes, 2 s of which may be ahead");
        assert_eq!(addresses.request(AWAY, now), Ok(()));
        assert_eq!(addresses.request(HOME, now + Duration::from_secs(3)), Ok(()));
        addresses.charge(HOME, usize::MAX, now);
        assert_eq!(addresses.request(HOME, now + DEBT_MAX), Ok(()), "the wait ends");
    }

    #[test]
    fn addresses_that_hold_nothing_are_forgotten() {
        let addresses = addresses(100, 1, 10, 3);
        for i in 0..20_000_u32 {
            drop(addresses.connect(Some(IpAddr::V4((0x0a00_0000 + i).into()))).unwrap());
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
