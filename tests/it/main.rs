//! Integration tests: real sockets, real processes, real files.

#![allow(clippy::unwrap_used)]

mod access;
mod auth;
mod cluster;
mod config;
mod deleting;
mod documents;
mod drain;
mod editing;
mod events;
mod history;
mod hocuspocus;
mod hook;
mod hostile;
mod http;
mod inspector;
mod keeping;
mod listing;
mod metrics;
mod older_stores;
mod reference;
mod revoking;
mod support;
mod tenants;
mod tidy;
mod traces;
