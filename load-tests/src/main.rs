//! Open-loop load against any Yjs server: what an edit, a cursor, a join and an idle session cost it.
//!
//! The whole generator runs on one thread, so that it fits on one core and the server on another; `compare` does that.

mod author;
mod command;
mod connection;
mod dialect;
mod process;
mod received;
mod redis;
mod relay;
mod report;
mod scenario;
mod schedule;
mod session;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

fn main() -> ExitCode {
    match run(command::Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: command::Command) -> Result<()> {
    // Where it cannot be raised, connecting says what is missing.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    tokio::task::LocalSet::new().block_on(&runtime, command.run())
}
