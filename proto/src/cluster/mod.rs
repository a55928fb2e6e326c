//! What is decided about the bus between nodes: which nodes live, who else has a dashboard open, and what its room hears.
//!
//! State machines without a connection. What nodes say to each other are [`BusFrame`]s; [`Channel`] is one dashboard's channel as
//! one node hears it, [`Membership`] the nodes' own, and [`HeardQueue`] what waits between a channel and a room.

mod assembly;
mod channel;
mod frame;
mod membership;
mod peers;
mod queue;

pub use assembly::{Assembled, Assembly, AssemblyBudget};
pub use channel::{Channel, Reply};
pub use frame::{BusFrame, Part};
pub use membership::{HEARTBEAT, KnownNode, LEASE, Membership, NodeNews, Ticked};
pub use peers::{ANSWER_WITHIN, Met, Peers};
pub use queue::{Heard, HeardQueue};
