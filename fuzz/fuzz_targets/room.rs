//! Arbitrary histories of a room: `cargo +nightly fuzz run room`.

#![no_main]

#[path = "../checks/room.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));
