//! The past of dashboards: sealing what was edited.
//!
//! What is kept, and the rule that no log is trimmed beyond its base, is the store's ([`crate::store::past`]). Here it is decided when a
//! log is sealed.

pub mod read;
pub mod seal;
pub mod verify;

#[cfg(test)]
mod testing;
