//! Open files: as many as the system allows, and how many of them may be connections.

use std::io;

/// What a process without a limit, or with one that cannot be read, counts as.
const UNLIMITED: u64 = 1 << 20;

/// Open files that are no connections: the store's, the listener, the bus'.
pub const BESIDE: u64 = 512;

/// Raises the limit to what the system allows, and says what it is.
///
/// # Errors
/// As the system says; it stays as it is.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}

/// The limit that [`raise`] raises it to.
///
/// # Errors
/// As the system says.
pub fn allowed() -> io::Result<u64> {
    rlimit::Resource::NOFILE.get_hard()
}

/// Connections that this process may hold at the limit that it has.
#[must_use]
pub fn for_connections() -> usize {
    let limit = rlimit::Resource::NOFILE.get_soft().unwrap_or(UNLIMITED).min(UNLIMITED);
    usize::try_from(connections_of(limit)).unwrap_or(usize::MAX)
}

/// With few files, half of them are the store's.
fn connections_of(limit: u64) -> u64 {
    limit.saturating_sub(BESIDE.min(limit / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_the_store_whatever_the_limit() {
        for (limit, connections) in [(0, 1), (1, 1), (256, 128), (1000, 500), (1024, 512), (20_000, 19_488)] {
            assert_eq!(connections_of(limit), connections, "{limit}");
        }
    }
}
