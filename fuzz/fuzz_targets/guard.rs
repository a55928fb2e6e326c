//! Arbitrary bytes against the guard: `cargo +nightly fuzz run guard`.

#![no_main]

#[path = "../checks/guard.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));
