//! Arbitrary bytes against the Hocuspocus dialect's codec: `cargo +nightly fuzz run hocuspocus`.

#![no_main]

#[path = "../checks/hocuspocus.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));
