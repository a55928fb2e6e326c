//! Everything in ydash that does: sockets, HTTP, storage, tasks, configuration. What decides lives in `ydash_proto`.

pub mod access;
mod allocator;
pub mod audit;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod compress;
pub mod config;
pub mod deletions;
pub mod descriptors;
pub mod grants;
pub mod http;
pub mod inspect;
pub mod ledger;
pub mod metrics;
pub mod outbox;
pub mod reading;
pub mod redis;
pub mod rest;
pub mod room;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod trace;
