//! The `ydash` command.

fn main() {}
