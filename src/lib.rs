//! Everything in ydash that does: sockets, HTTP, storage, tasks, configuration. What decides lives in `ydash_proto`.

pub mod compress;
pub mod metrics;
pub mod room;
pub mod session;
pub mod store;
