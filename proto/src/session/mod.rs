//! What is decided about one socket: which documents of the Hocuspocus dialect it has, and how often a client is answered.
//!
//! State machines without a socket: frames and outcomes come in as data, and effects go out. What they have to look up on the way
//! is behind [`Outside`].

mod documents;
mod questions;

#[cfg(test)]
mod tests;

pub use documents::{
    Admitted, Crowded, Documents, DocumentsEffect, DocumentsInput, NotTaken, Outside, SeatId, Unopened,
};
pub use questions::Questions;
