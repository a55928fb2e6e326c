//! Integration tests: real sockets, real processes, real files.

mod config;
mod http;
