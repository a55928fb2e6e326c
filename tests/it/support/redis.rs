//! Real Redis servers, as the unit tests have them.

#[path = "../../../src/redis/testing.rs"]
mod testing;

pub(crate) use testing::Server;
