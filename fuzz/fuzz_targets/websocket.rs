//! Arbitrary bytes against WebSocket framing: `cargo +nightly fuzz run websocket`.

#![no_main]

#[path = "../checks/websocket.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));
