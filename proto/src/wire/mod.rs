//! The bytes on the wire.

pub mod close;
pub mod websocket;
