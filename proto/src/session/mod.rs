//! What is decided about one socket: what waits for it, which documents of the Hocuspocus dialect it has, and how often its client is
//! answered.
//!
//! State machines without a socket: frames and outcomes come in as data, and effects go out. What they have to look up or pay for on the
//! way is behind [`Outside`] and [`Purse`].

mod documents;
mod outbox;
mod questions;

#[cfg(test)]
mod tests;

pub use documents::{Crowded, Documents, DocumentsEffect, DocumentsInput, NotTaken, Outside, SeatId, Unopened};
pub use outbox::{Call, Item, Next, Outbox, Purse, Pushed, Question};
pub use questions::Questions;
