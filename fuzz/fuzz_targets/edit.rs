//! Arbitrary documents that are to become arbitrary JSON: `cargo +nightly fuzz run edit`.

#![no_main]

#[path = "../checks/edit.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));
