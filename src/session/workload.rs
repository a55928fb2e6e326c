//! What the work costs that a network address causes, and how much of it there may be: in the long run a third of the processors.
//!
//! A message is priced in microseconds, by its bytes and by the structs and deletions that were read out of it. What an address causes
//! beyond its share is not refused: its sockets are read later. Small messages are paid for together, so that they cost no more
//! than an addition each.

use super::reader::LARGE_MESSAGE;
use crate::ledger::network;
use core::time::Duration;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::time::Instant;
use ydash_proto::update::Scan;

/// An address may keep one in so many processors busy.
const SHARE: u64 = 3;
/// For so long it may have caused more, microseconds.
const BURST: u64 = 500_000;
/// A session pays when it owes so much, microseconds.
const PAID_AT: u64 = 500;
/// Messages beyond this are paid for before they are read, as if they were all of the smallest structs. Not those that take turns: there is one
/// of them at a time, and what it costs is known when it is over.
const RESERVED_BYTES: core::ops::RangeInclusive<usize> = (16 << 10) + 1..=LARGE_MESSAGE;
const BYTES_PER_STRUCT: u64 = 4;
/// To read a message, pass it on, keep it, write it to disk and join it with others.
const BYTES_PER_MICROSECOND: u64 = 32;
/// Addresses at which those that owe nothing are looked for and forgotten.
const SWEEP_AT: usize = 4096;

/// Everybody's.
#[derive(Debug)]
pub(super) struct Workloads {
    /// Until when each address has had its share, in microseconds since the start.
    addresses: Mutex<HashMap<IpAddr, Arc<AtomicU64>>>,
    started: Instant,
    processors: u64,
}

impl Default for Workloads {
    fn default() -> Workloads {
        let processors = thread::available_parallelism().map_or(1, usize::from) as u64;
        Workloads { addresses: Mutex::default(), started: Instant::now(), processors }
    }
}

impl Workloads {
    /// That of an address, for one session.
    pub(super) fn of(&self, address: IpAddr) -> Workload {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= SWEEP_AT {
            let now = self.started.elapsed().as_micros() as u64;
            addresses.retain(|_, had_to| Arc::strong_count(had_to) > 1 || had_to.load(Ordering::Relaxed) > now);
        }
        let had_to = Arc::clone(addresses.entry(network(address)).or_default());
        Workload { had_to, started: self.started, processors: self.processors, owes: 0 }
    }
}

/// What one session causes, as a part of what its address does.
#[derive(Debug)]
pub(super) struct Workload {
    had_to: Arc<AtomicU64>,
    started: Instant,
    processors: u64,
    owes: u64,
}

impl Workload {
    /// Pays for work of so many microseconds.
    ///
    /// # Errors
    /// The address has had its share: how long until it may try again. Nothing was paid.
    pub(super) fn pay(&mut self, price: u64) -> Result<(), Duration> {
        let due = self.owes + price;
        if due < PAID_AT {
            self.owes = due;
            return Ok(());
        }
        let now = self.started.elapsed().as_micros() as u64;
        let paid = self.had_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had_to| {
            (had_to <= now + BURST).then(|| had_to.max(now) + due * SHARE / self.processors)
        });
        match paid {
            Ok(_) => {
                self.owes = 0;
                Ok(())
            }
            // What was reserved may be given back any moment.
            Err(had_to) => Err(Duration::from_micros(had_to - now - BURST).clamp(SOON, LATER)),
        }
    }

    /// The work cost `price` where `reserved` was paid for.
    pub(super) fn settle(&mut self, reserved: u64, price: u64) {
        self.owes += price.saturating_sub(reserved);
        let too_much = reserved.saturating_sub(price) * SHARE / self.processors;
        if too_much > 0 {
            self.had_to
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had_to| Some(had_to.saturating_sub(too_much)))
                .ok();
        }
    }
}

const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(50);

/// What is to be paid for a message before anything is known of it but its length.
pub(super) fn reserved(bytes: usize) -> u64 {
    if RESERVED_BYTES.contains(&bytes) { bytes as u64 / BYTES_PER_STRUCT } else { 0 }
}

/// What it costs that so many bytes of a large message arrive: they are read, unmasked and put to those before.
pub(super) fn price_of_arrival(bytes: usize) -> u64 {
    bytes as u64 / 640
}

/// What any message costs.
pub(super) fn price(bytes: usize) -> u64 {
    3 + bytes as u64 / BYTES_PER_MICROSECOND
}

/// What an update costs beside.
pub(super) fn price_of(scan: &Scan) -> u64 {
    u64::from(scan.structs) + u64::from(scan.delete_ranges) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

    fn workloads(processors: u64) -> Workloads {
        Workloads { processors, ..Workloads::default() }
    }

    /// What an address may cause, seen from several sessions that each pay for as much as they can.
    async fn caused(workloads: &Workloads, sessions: usize, price: u64, within: Duration) -> Duration {
        let mut sessions: Vec<Workload> = (0..sessions).map(|_| workloads.of(ADDRESS)).collect();
        let end = Instant::now() + within;
        let mut caused = 0;
        while Instant::now() < end {
            let mut wait = LATER;
            for session in &mut sessions {
                loop {
                    match session.pay(price) {
                        Ok(()) => caused += price,
                        Err(until) => {
                            wait = wait.min(until);
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(wait).await;
        }
        Duration::from_micros(caused)
    }

    /// Bytes were rated, per session, and structs were not: one session at 4 MiB/s filled a processor.
    #[tokio::test(start_paused = true)]
    async fn an_address_causes_no_more_than_its_share_however_many_sessions_it_has() {
        for (sessions, price) in [(1, 10), (1, 250_000), (100, 300), (100, 50_000)] {
            let caused = caused(&workloads(2), sessions, price, Duration::from_secs(60)).await.as_secs_f64();
            let share = caused / (2.0 * 60.0);
            assert!((0.3..0.36).contains(&share), "{sessions} sessions, {price} µs: {share}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reserved_for_the_worst_is_given_back() {
        let workloads = workloads(2);
        let mut session = workloads.of(ADDRESS);
        let paste = LARGE_MESSAGE;
        assert_eq!(reserved(paste + 1), 0, "it takes turns");
        for _ in 0..1_000 {
            let reserved = reserved(paste);
            assert_eq!(session.pay(reserved), Ok(()));
            session.settle(reserved, 1);
        }
        while session.pay(reserved(paste)).is_ok() {}
        assert!(workloads.of(ADDRESS).pay(1_000).is_err(), "all sessions of the address wait");
        assert_eq!(workloads.of(IpAddr::V4(core::net::Ipv4Addr::BROADCAST)).pay(1_000), Ok(()), "others do not");
    }

    #[tokio::test(start_paused = true)]
    async fn small_messages_are_paid_for_together() {
        let workloads = workloads(2);
        let mut session = workloads.of(ADDRESS);
        for _ in 0..PAID_AT / price(20) {
            session.pay(price(20)).expect("its share");
            assert_eq!(session.had_to.load(Ordering::Relaxed), 0);
        }
        session.pay(price(20)).expect("its share");
        assert!(session.had_to.load(Ordering::Relaxed) > 0);
    }
}
