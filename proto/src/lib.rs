//! Everything in ydash that decides, and nothing that does.
//!
//! No tokio, no clock, no randomness, no IO: time is an argument, effects are data. So the same code runs in the server,
//! in the simulator by the thousand, under the fuzzers and in the load generator.
//!
//! A guided tour, in the order in which a frame meets it:
//!
//! 1. [`wire`] turns bytes into messages and back: WebSocket frames, the y-websocket dialect, close codes.
//! 2. [`update`] is the guard in front of the CRDT: is it plausible, what does it add, does it leave a hole, whose is it?
//! 3. [`room`] is a dashboard that is live on one node: a state machine from [`room::Input`] to [`room::Effect`].
//! 4. [`session`] is what is decided about one socket: which documents it has, and how often its client is answered.
//! 5. [`cluster`] is what is decided about the bus between nodes: who lives, who else has a dashboard open.
//! 6. [`document`] reads and compacts Yjs documents, away from the hot path.
//!
//! Beside them stand [`id`] (names and their grammar), [`life`] (what was deleted under a name), [`version`] (how versions are named),
//! [`access`] (who may do what), [`rate`] (token buckets),
//! [`allowance`] (what one user may take of a node), [`ledger`] (who may have how much memory), [`about`] (what lists tell of
//! dashboards), [`pushed`] (values that programs send for widgets), [`limits`] (every bound a client can reach) and [`time`].

pub mod about;
pub mod access;
pub mod allowance;
pub mod cluster;
pub mod document;
mod heap;
pub mod id;
mod json;
pub mod ledger;
pub mod lib0;
pub mod life;
pub mod limits;
pub mod log;
pub mod pushed;
pub mod rate;
pub mod room;
pub mod session;
pub mod time;
pub mod update;
pub mod version;
pub mod wire;
