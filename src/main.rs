//! The `ydash` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ydash::cli::run()
}
