//! Rooms in random weather: real documents on slow and broken links, a store that fails, a process that dies, hostile members.
//!
//! Whatever happens, in every calm all replicas agree, everybody sees who is there and nobody else, every edit was acked exactly
//! once and never before it was durable, and after a restart nothing durable is missing.
//!
//! `YDASH_SIM_CASES` says how many histories to play, `YDASH_SIM_SEED` with which to begin; a failure prints its seed.
//! `YDASH_SIM_TRACE=1` prints every step.

mod client;
mod hostile;
mod outbox;
mod replica;
mod rng;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::World;

/// Some 20 s in a debug build.
const CASES: u64 = 60;

#[test]
fn rooms_keep_their_promises_in_any_weather() {
    let read = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first: Option<u64> = read("YDASH_SIM_SEED");
    let cases = read("YDASH_SIM_CASES").unwrap_or(if first.is_some() { 1 } else { CASES });
    let first = first.unwrap_or(1);
    let goes_on = std::env::var_os("YDASH_SIM_GO_ON").is_some();
    let mut failed = Vec::new();
    for seed in first..first + cases {
        let mut world = World::new(seed);
        world.trace = std::env::var_os("YDASH_SIM_TRACE").is_some();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.play())) {
            eprintln!("repeat with YDASH_SIM_SEED={seed}");
            if !goes_on {
                resume_unwind(panic);
            }
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{} of {cases} failed: {failed:?}", failed.len());
}
