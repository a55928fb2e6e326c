//! Disks that are full or read-only, on small file systems in memory. Mounting them needs root: without it, these tests say
//! that they were skipped.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ydash_proto::life::Life;

use super::super::contract::{entry, id, update};
use super::super::{Append, OpenError, Store, StoreError};
use super::EmbeddedStore;

/// A mounted file system of its own.
struct SmallDisk {
    mountpoint: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<SmallDisk> {
        let mountpoint = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(mountpoint.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { mountpoint });
        }
        eprintln!("skipped: mounting a tmpfs needs root");
        None
    }

    fn store(&self) -> PathBuf {
        self.mountpoint.path().join("store")
    }

    fn remount_read_only(&self) {
        let path = self.mountpoint.path();
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(path).status().unwrap().success());
    }

    /// Takes all space but `leave` bytes.
    fn fill(&self, leave: usize) {
        let spare = self.mountpoint.path().join("spare");
        std::fs::write(&spare, vec![1; leave]).unwrap();
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        let block = vec![1; 4096];
        while filler.write_all(&block).is_ok() {}
        std::fs::remove_file(spare).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.mountpoint.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.mountpoint.path()).status();
    }
}

/// Appends updates and remembers which of them the store said to have.
struct Witness {
    store: EmbeddedStore,
    kept: Vec<String>,
    next: usize,
}

impl Witness {
    fn new(directory: &Path) -> Witness {
        Witness { store: EmbeddedStore::open(directory).unwrap(), kept: Vec::new(), next: 0 }
    }

    async fn append(&mut self, len: usize) -> Result<(), StoreError> {
        let text = format!("{:0len$}", self.next);
        self.next += 1;
        let append = Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![entry(1, &text)] };
        self.store.append(vec![append]).await.remove(0)?;
        self.kept.push(text);
        Ok(())
    }

    /// Appends until it fails.
    async fn append_until_full(&mut self, len: usize) -> StoreError {
        for _ in 0..100_000 {
            if let Err(error) = self.append(len).await {
                return error;
            }
        }
        panic!("the disk does not get full");
    }

    async fn append_until_it_works(&mut self, len: usize) {
        let started = Instant::now();
        while let Err(error) = self.append(len).await {
            assert!(error.is_transient(), "{error}");
            assert!(started.elapsed() < Duration::from_secs(20), "still failing: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that was reported kept is there, in its order; other updates may be there too.
    async fn expect_all_kept(&self) {
        let stored = self.store.load(&id("w/a")).await.unwrap();
        assert_eq!(stored.damaged, 0);
        let found: BTreeMap<_, _> =
            stored.tail.iter().enumerate().map(|(place, update)| (update.clone(), place)).collect();
        let places: Vec<_> = self.kept.iter().map(|text| found.get(text.as_bytes()).copied()).collect();
        assert!(places.iter().all(Option::is_some), "{} of {} are left", found.len(), self.kept.len());
        assert!(places.is_sorted());
    }

    async fn reopen(self, directory: &Path) -> Witness {
        self.store.close().await.unwrap();
        Witness { store: EmbeddedStore::open(directory).unwrap(), ..self }
    }
}

fn is_full(error: &StoreError) -> bool {
    error.is_transient() && error.to_string().contains("No space left")
}

#[tokio::test]
async fn a_full_disk_is_named_loses_nothing_and_heals_without_a_restart() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let mut witness = Witness::new(&disk.store());
    for _ in 0..100 {
        witness.append(100).await.unwrap();
    }
    for _ in 0..3 {
        disk.fill(64 << 10);
        let error = witness.append_until_full(1000).await;
        assert!(is_full(&error), "{error}");
        // What there is can be read, and goes on being refused with the cause.
        witness.expect_all_kept().await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(is_full(&witness.append(1000).await.unwrap_err()));
        assert!(is_full(&witness.store.ping().await.unwrap_err()));
        witness.expect_all_kept().await;

        disk.empty();
        witness.append_until_it_works(100).await;
        witness.store.ping().await.unwrap();
        witness.expect_all_kept().await;
    }
    witness = witness.reopen(&disk.store()).await;
    witness.expect_all_kept().await;
    witness.append(100).await.unwrap();
}

/// The engine's background threads die of a full disk without anybody asking them for something.
#[tokio::test]
async fn a_disk_that_is_full_for_tables_heals_too() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let mut witness = Witness::new(&disk.store());
    for _ in 0..75 {
        witness.append(50_000).await.unwrap();
    }
    // Room for the journal to go on beyond the size of a memtable, but not for the table.
    disk.fill(1 << 20);
    let error = witness.append_until_full(50_000).await;
    assert!(is_full(&error), "{error}");
    witness.expect_all_kept().await;
    disk.empty();
    witness.append_until_it_works(50_000).await;
    for _ in 0..20 {
        witness.append_until_it_works(50_000).await;
    }
    witness.expect_all_kept().await;
    witness = witness.reopen(&disk.store()).await;
    witness.expect_all_kept().await;
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_leaves_the_old_one() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    let store = EmbeddedStore::open(&disk.store()).unwrap();
    let covers = store.append(vec![update("w/a", 1)]).await.remove(0).unwrap().position;
    store.snapshot(&id("w/a"), covers, Bytes::from_static(b"small")).await.unwrap();
    let mut seed = 1u32;
    let noise = (0..9 << 20).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let error = store.snapshot(&id("w/a"), covers, noise.collect()).await.unwrap_err();
    assert!(is_full(&error), "{error}");
    assert_eq!(store.load(&id("w/a")).await.unwrap().snapshot.unwrap().1, "small");
    let started = Instant::now();
    while let Err(error) = store.append(vec![update("w/a", 2)]).await.remove(0) {
        assert!(started.elapsed() < Duration::from_secs(20), "still failing: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.load(&id("w/a")).await.unwrap().snapshot.unwrap().1, "small");
}

#[tokio::test]
async fn a_read_only_disk_is_named_when_opening() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    let store = EmbeddedStore::open(&disk.store()).unwrap();
    store.append(vec![update("w/a", 1)]).await.remove(0).unwrap();
    store.close().await.unwrap();
    disk.remount_read_only();
    let Err(OpenError::Directory { cause, .. }) = EmbeddedStore::open(&disk.store()) else { panic!("opened") };
    let kind = cause.downcast_ref::<std::io::Error>().unwrap().kind();
    assert_eq!(kind, ErrorKind::ReadOnlyFilesystem);
}
