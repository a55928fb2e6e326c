//! What integration tests against a whole server share: the process, stock-like clients, raw peers and updates written by hand.

#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod client;
pub(crate) mod forge;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod peer;
pub(crate) mod redis;

/// Makes `reqwest` work: the server's own build of it can speak TLS, and takes its cryptography from the process.
pub(crate) fn let_reqwest_work() {
    // Another test of the same process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
