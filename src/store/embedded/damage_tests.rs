//! Images of a store in which one thing is wrong: a bit flipped, a file missing or cut anywhere. It starts or says what to do,
//! everything readable is served, and what is missing is named and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ydash_proto::life::Life;

use super::super::contract::{entry, id};
use super::super::past::begin_at;
use super::super::{Append, CheckReport, LogPosition, Missing, OpenError, Store};
use super::EmbeddedStore;
use super::engine::copy_sparsely;

const DASHBOARDS: u64 = 6;

/// A directory as a kill left it, and what was answered before.
struct Image {
    directory: tempfile::TempDir,
    /// The updates of each dashboard.
    acked: BTreeMap<String, BTreeSet<String>>,
}

impl Image {
    /// In one image everything is in the journal, in the other there are tables as well.
    async fn new(has_tables: bool) -> Image {
        let running = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(running.path()).unwrap();
        let mut acked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for n in 0..60 {
            let name = format!("w/{}", n % DASHBOARDS);
            let entries: Vec<_> = (0..=n % 3).map(|part| entry(n, &format!("update {n}.{part} of {name}"))).collect();
            let texts = entries.iter().map(|entry| String::from_utf8(entry.update.to_vec()).unwrap());
            acked.entry(name.clone()).or_default().extend(texts);
            let append = Append { dashboard: id(&name), life: Life::FIRST, after: None, entries };
            let covers = store.append(vec![append]).await.remove(0).unwrap().position;
            if n % 17 == 16 {
                let state = Bytes::from(acked[&name].iter().cloned().collect::<Vec<_>>().join("\n"));
                store.snapshot(&id(&name), covers, state.clone()).await.unwrap();
                if n % 2 == 1 {
                    begin_at(&store, &id(&name), covers, state).await.unwrap();
                }
            }
            if has_tables && n == 30 {
                store.slot.flush_for_test();
            }
        }
        let directory = tempfile::tempdir().unwrap();
        copy(running.path(), directory.path());
        // The engine reserves 64 MB, which take their time to copy.
        let journal = File::options().write(true).open(directory.path().join("db/0.jnl")).unwrap();
        journal.set_len(64 << 10).unwrap();
        Image { directory, acked }
    }

    fn copy(&self) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        copy(self.directory.path(), directory.path());
        directory
    }
}

/// What a store holds: log entries, and updates that are in the log or in the snapshot.
struct Content {
    log: BTreeMap<String, BTreeSet<String>>,
    all: BTreeMap<String, BTreeSet<String>>,
    damaged: BTreeMap<String, u32>,
    report: CheckReport,
    missing: Vec<Missing>,
}

impl Content {
    async fn of(store: &EmbeddedStore) -> Content {
        let (mut log, mut all, mut damaged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        for n in 0..DASHBOARDS {
            let name = format!("w/{n}");
            let entries = store.log(&id(&name), LogPosition::START, usize::MAX).await.unwrap();
            let entries: BTreeSet<_> = entries.iter().map(|(_, entry)| text(&entry.update)).collect();
            let stored = store.load(&id(&name)).await.unwrap();
            let mut updates: BTreeSet<_> = stored.tail.iter().map(text).collect();
            updates.extend(
                stored
                    .snapshot
                    .iter()
                    .flat_map(|(_, state)| text(state).lines().map(str::to_owned).collect::<Vec<_>>()),
            );
            damaged.insert(name.clone(), stored.damaged);
            log.insert(name.clone(), entries);
            all.insert(name, updates);
        }
        let report = store.check().await.unwrap();
        Content { log, all, damaged, report, missing: store.missing() }
    }

    fn entries_missing(&self, name: &str) -> u64 {
        self.missing.iter().filter(|missing| missing.dashboard == name).map(|missing| missing.entries).sum()
    }

    /// Whether somebody is told that the dashboard is not whole.
    fn is_told(&self, name: &str) -> bool {
        self.missing.iter().any(|missing| missing.dashboard == name || missing.dashboard.is_empty())
            || self.damaged[name] > 0
            || self.report.damaged.iter().any(|record| record.dashboard == name)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in from.read_dir().unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            copy_sparsely(&mut File::open(path).unwrap(), &mut File::create(target).unwrap()).unwrap();
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut items: Vec<_> = directory.read_dir().unwrap().map(|item| item.unwrap().path()).collect();
    items.sort();
    for path in items {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Damages one file of a store and says what was done; `None` if that would change nothing.
fn damage(directory: &Path, random: &mut fastrand::Rng) -> Option<(PathBuf, String)> {
    let mut found = Vec::new();
    files(directory, &mut found);
    // Most of what is written is in journals.
    let journal = found.iter().find(|path| path.extension().is_some_and(|is| is == "jnl")).unwrap().clone();
    let path = if random.bool() { journal } else { found.swap_remove(random.usize(..found.len())) };
    let bytes = std::fs::read(&path).unwrap();
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let told = match random.u8(..4) {
        0 => {
            std::fs::remove_file(&path).unwrap();
            "missing".to_owned()
        }
        1 if len > 0 => {
            let at = random.usize(..len);
            File::options().write(true).open(&path).unwrap().set_len(at as u64).unwrap();
            format!("cut at {at} of {len}")
        }
        _ if len > 0 => {
            let (at, bit) = (random.usize(..len), random.u8(..8));
            let mut bytes = bytes[..len].to_vec();
            bytes[at] ^= 1 << bit;
            use std::io::Write;
            File::options().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
            format!("bit {bit} of {at} of {len} flipped")
        }
        _ => return None,
    };
    Some((path, told))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_image_starts_or_says_what_to_do_and_what_is_missing_is_counted() {
    let images = [Image::new(false).await, Image::new(true).await];
    let whole = [content(images[0].directory.path()).await, content(images[1].directory.path()).await];
    for (image, whole) in images.iter().zip(&whole) {
        assert_eq!(whole.all, image.acked);
        assert_eq!(whole.missing, []);
    }
    let (mut started, mut salvaged, mut lossless) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let which = random.usize(..2);
        let directory = images[which].copy();
        let Some((path, told)) = damage(directory.path(), &mut random) else { continue };
        let file = path.strip_prefix(directory.path()).unwrap().display().to_string();
        let told = format!("seed {seed}: {file} {told}");
        let store = match EmbeddedStore::open(directory.path()) {
            Ok(store) => {
                started += 1;
                store
            }
            Err(error @ (OpenError::Damaged { .. } | OpenError::Format { .. })) => {
                assert!(error.to_string().contains("--salvage"), "{told}: {error}");
                salvaged += 1;
                let (_, missing) =
                    EmbeddedStore::salvage(directory.path()).unwrap_or_else(|error| panic!("{told}: {error:?}"));
                let mut store =
                    EmbeddedStore::open(directory.path()).unwrap_or_else(|error| panic!("{told}: {error:?}"));
                assert_eq!(store.missing, [], "{told}: what was salvaged is acknowledged");
                store.missing = missing;
                store
            }
            Err(error) => panic!("{told}: {error:?}"),
        };
        let content = Content::of(&store).await;
        let is_journal = file.ends_with(".jnl");
        let mut is_whole = true;
        for (name, acked) in &images[which].acked {
            let lost: Vec<_> = acked.difference(&content.all[name]).collect();
            assert!(lost.is_empty() || content.is_told(name), "{told}: {name} lost {lost:?} in silence");
            // What was trimmed is not missing as long as the snapshot is there that stands for it.
            let is_there = |update: &&String| {
                let is_trimmed = !whole[which].log[name].contains(*update);
                content.log[name].contains(*update) || is_trimmed && content.all[name].contains(*update)
            };
            let gone = acked.iter().filter(|update| !is_there(update)).count() as u64;
            if is_journal {
                assert_eq!(content.entries_missing(name), gone, "{told}: {name}: {:?}", content.missing);
            }
            is_whole &= lost.is_empty();
        }
        lossless += usize::from(is_whole);
        // It goes on, and positions are not used twice.
        for name in images[which].acked.keys() {
            let before = store.load(&id(name)).await.unwrap();
            let append =
                Append { dashboard: id(name), life: Life::FIRST, after: None, entries: vec![entry(99, "later")] };
            let after = store.append(vec![append]).await.remove(0).unwrap_or_else(|error| panic!("{told}: {error}"));
            assert!(after.position > before.position, "{told}");
            assert_eq!(store.load(&id(name)).await.unwrap().tail.len(), before.tail.len() + 1, "{told}: {name}");
        }
        store.close().await.unwrap();
    }
    eprintln!("{started} started, {salvaged} after a salvage; {lossless} of them had lost nothing");
    assert!(started > 100 && lossless > 100, "{started} {salvaged} {lossless}");
}

async fn content(directory: &Path) -> Content {
    let copied = tempfile::tempdir().unwrap();
    copy(directory, copied.path());
    let store = EmbeddedStore::open(copied.path()).unwrap();
    let content = Content::of(&store).await;
    store.close().await.unwrap();
    content
}
