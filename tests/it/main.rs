//! Integration tests: real sockets, real processes, real files.

#![allow(clippy::unwrap_used)]

mod cluster;
mod config;
mod documents;
mod drain;
mod hocuspocus;
mod hostile;
mod http;
mod inspector;
mod keeping;
mod support;
mod tidy;
