//! Real Redis servers, as the unit tests have them.

#![allow(unused_imports, reason = "not every test binary uses them")]

#[path = "../../../src/redis/testing.rs"]
mod testing;

pub(crate) use testing::{Server, free_port};
