//! Files for nobody else: what the process makes is for the user that it runs as.

/// Takes permissions for others away from every file that is made from here on: journals, tables, archives, logs.
pub(super) fn keep_files_private() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: umask takes a number, changes a number of the process, and cannot fail; there are no other threads yet.
    unsafe {
        libc::umask(0o077);
    }
}
