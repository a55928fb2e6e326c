//! The guard in front of the CRDT.
