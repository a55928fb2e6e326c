//! Presence: who is here, whose ids are whose, and who is shown whom.
//!
//! [`Presence`] is the table of what is announced, [`Owners`] says which session or node an id belongs to, and what a room does with both
//! stands in `announcing` for its own members and in `elsewhere` for those of other nodes.

mod announcing;
mod elsewhere;
mod hidden;
mod ownership;
mod stamp;
mod table;

pub(super) use ownership::{ELSEWHERE_WAIT, Owners};
pub(super) use table::{Announcer, Introduction, Presence};
