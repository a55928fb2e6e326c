//! The engine's files besides its journals, looked at before the engine does: it removes what it does not know, and begins anew
//! where a file is missing, so that one missing file would empty the store in silence.
//!
//! ```text
//! db/version              "FJL" 0x03
//! db/lock                 empty
//! db/keyspaces/N/current  number of the manifest (u64)  xxh3-128 of its file (u128)  0x00       all integers little endian
//!              /v…        the manifest: an archive (sfa) whose section `tables` lists the tables by level and run
//!              /tables/…  the tables, by number
//! ```
//!
//! Keyspace 0 is the engine's own list of keyspaces. [`check`] puts right what can be put right without loss, and refuses the
//! rest; [`salvage`] keeps what is readable.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::engine::{Engine, KEYSPACES, KEYSPACES_AT_FIRST};
use super::journal::keep_aside;

const VERSION: &[u8; 4] = b"FJL\x03";
const CURRENT_LEN: usize = 25;

/// Files up to this size are corrected when one bit of them is wrong.
const CORRECTED_BYTES_MAX: usize = 16 << 10;

/// Where the engine tells of a table: its number, kind and value of its checksum, and a number that is 0 here.
const TABLE_LEN: usize = 8 + 1 + 16 + 8;

/// Puts right what loses nothing, and says what else is wrong: starting with that would lose what is readable.
///
/// `is_known` if it is certain that all keyspaces were there.
pub(super) fn check(directory: &Path, is_known: bool) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    restore_markers(directory)?;
    for (number, name) in KEYSPACES.iter().enumerate() {
        let keyspace = keyspace_in(directory, number);
        if !keyspace.try_exists()? {
            if is_known && number < KEYSPACES_AT_FIRST {
                wrong.push(format!("the keyspace of the {name} is missing ({})", keyspace.display()));
            }
            continue;
        }
        match Manifest::find(&keyspace)? {
            Some(manifest) => {
                let missing =
                    manifest.tables.iter().flatten().flatten().filter(|table| !table.path(&keyspace).is_file());
                wrong
                    .extend(missing.map(|table| {
                        format!("a table of the {name} is missing ({})", table.path(&keyspace).display())
                    }));
            }
            // The crash of the very first start may leave a keyspace without anything in it.
            None if !is_known && tables_in(&keyspace)?.is_empty() => {}
            None => wrong.push(format!("the list of tables of the {name} cannot be read ({})", keyspace.display())),
        }
    }
    Ok(wrong)
}

/// Makes a database openable, and says what that costs. Files that are changed or left out are kept in `aside`.
pub(super) fn salvage(directory: &Path, aside: &Path) -> io::Result<Vec<String>> {
    let mut lost = Vec::new();
    restore_markers(directory)?;
    let template = Template::make(aside)?;
    for (number, name) in KEYSPACES.iter().enumerate() {
        let keyspace = keyspace_in(directory, number);
        let aside = aside.join(number.to_string());
        let found = if keyspace.try_exists()? { Manifest::find(&keyspace)? } else { None };
        let tables = if keyspace.try_exists()? { tables_in(&keyspace)? } else { Vec::new() };
        if number == 0 {
            // It says the same in every store.
            let is_fine = match &found {
                Some(manifest) => manifest.is_sound(&keyspace)?,
                None => false,
            };
            if !is_fine {
                if keyspace.try_exists()? {
                    move_aside(&keyspace, &aside)?;
                }
                copy_tree(&keyspace_in(&template.directory, 0), &keyspace)?;
            }
            continue;
        }
        let (mut manifest, is_rebuilt) = match found {
            Some(manifest) => (manifest, false),
            None => {
                if keyspace.try_exists()? && !tables.is_empty() {
                    lost.push(format!("the list of tables of the {name} was made up from the tables that are there"));
                } else if number < KEYSPACES_AT_FIRST {
                    lost.push(format!("the keyspace of the {name} was missing, and begins empty"));
                }
                (Manifest::of(&keyspace, &tables)?, true)
            }
        };
        let mut is_changed = is_rebuilt;
        for run in manifest.tables.iter_mut().flatten() {
            let mut stays = Vec::new();
            for table in std::mem::take(run) {
                let path = table.path(&keyspace);
                match table.look(&path)? {
                    Look::Whole => stays.push(table),
                    Look::Corrected(bytes) => {
                        keep_aside(&path, &aside)?;
                        write_synced(&path, &bytes)?;
                        stays.push(table);
                    }
                    // Blocks that cannot be read are stepped over later.
                    Look::Damaged if template.opens(number, &path, &table)? => {
                        lost.push(format!(
                            "table {} of the {name} is damaged; what is readable of it is kept",
                            table.id
                        ));
                        stays.push(table);
                    }
                    Look::Damaged => {
                        keep_aside(&path, &aside)?;
                        lost.push(format!("table {} of the {name} could not be read at all", table.id));
                        is_changed = true;
                    }
                    Look::Missing => {
                        lost.push(format!("table {} of the {name} is missing", table.id));
                        is_changed = true;
                    }
                }
            }
            *run = stays;
        }
        if is_changed {
            let listed: BTreeSet<u64> = manifest.tables.iter().flatten().flatten().map(|table| table.id).collect();
            for id in tables.iter().filter(|id| !listed.contains(id)) {
                // The engine would remove it.
                let table = keyspace.join("tables").join(id.to_string());
                keep_aside(&table, &aside)?;
            }
            manifest.write(&keyspace)?;
        }
    }
    Ok(lost)
}

/// Brings back files whose content is always the same.
fn restore_markers(directory: &Path) -> io::Result<()> {
    let version = directory.join("version");
    let is_there = match std::fs::read(&version) {
        // A later engine's is for a later ydash to open; what differs in one bit was written by this one.
        Ok(bytes) => {
            bytes == VERSION || (bytes.starts_with(b"FJL") && bytes.len() == 4 && !is_flipped(&bytes, VERSION))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let is_begun = directory.join("keyspaces").try_exists()?;
    if !is_there && is_begun {
        write_synced(&version, VERSION)?;
    }
    let lock = directory.join("lock");
    if is_begun && !lock.try_exists()? {
        write_synced(&lock, b"")?;
    }
    Ok(())
}

fn is_flipped(bytes: &[u8], from: &[u8]) -> bool {
    bytes.len() == from.len() && bytes.iter().zip(from).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() == 1
}

fn keyspace_in(directory: &Path, number: usize) -> PathBuf {
    directory.join("keyspaces").join(number.to_string())
}

/// The numbers of the tables that are there, whether they are listed or not.
fn tables_in(keyspace: &Path) -> io::Result<Vec<u64>> {
    let mut ids = Vec::new();
    match keyspace.join("tables").read_dir() {
        Ok(items) => {
            for item in items {
                ids.extend(item?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    ids.sort_unstable();
    Ok(ids)
}

#[derive(Clone, Debug)]
struct Table {
    id: u64,
    checksum: u128,
    /// As it is listed.
    raw: Vec<u8>,
}

enum Look {
    Whole,
    Corrected(Vec<u8>),
    Damaged,
    Missing,
}

impl Table {
    fn of(id: u64, bytes: &[u8]) -> Table {
        let checksum = xxh3_128(bytes);
        let raw = [id.to_le_bytes().as_slice(), &[0], &checksum.to_le_bytes(), &[0; 8]].concat();
        Table { id, checksum, raw }
    }

    fn path(&self, keyspace: &Path) -> PathBuf {
        keyspace.join("tables").join(self.id.to_string())
    }

    fn look(&self, path: &Path) -> io::Result<Look> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Missing),
            Err(error) => return Err(error),
        };
        if xxh3_128(&bytes) == self.checksum {
            return Ok(Look::Whole);
        }
        Ok(correct(bytes, |bytes| xxh3_128(bytes) == self.checksum).map_or(Look::Damaged, Look::Corrected))
    }
}

/// Finds the one bit that makes bytes pass.
fn correct(mut bytes: Vec<u8>, mut passes: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
    if bytes.len() > CORRECTED_BYTES_MAX {
        return None;
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if passes(&bytes) {
            return Some(bytes);
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    None
}

/// Which tables a keyspace consists of.
#[derive(Debug)]
struct Manifest {
    id: u64,
    /// By level and run.
    tables: Vec<Vec<Vec<Table>>>,
}

/// Levels of a keyspace, as the engine makes them.
const LEVELS: usize = 7;

impl Manifest {
    /// Finds the manifest that is in force. One wrong bit is put right, and so is a missing `current` when there is only one manifest.
    fn find(keyspace: &Path) -> io::Result<Option<Manifest>> {
        let path = keyspace.join("current");
        let current = match std::fs::read(&path) {
            Ok(bytes) if bytes.len() == CURRENT_LEN => bytes,
            Ok(_) => return Manifest::find_only(keyspace),
            Err(error) if error.kind() == ErrorKind::NotFound => return Manifest::find_only(keyspace),
            Err(error) => return Err(error),
        };
        let read = |current: &[u8]| {
            let id = u64::from_le_bytes(*current.first_chunk()?);
            let checksum = u128::from_le_bytes(*current[8..].first_chunk()?);
            let bytes = std::fs::read(keyspace.join(format!("v{id}"))).ok()?;
            Some((id, checksum, bytes))
        };
        if let Some((id, checksum, bytes)) = read(&current) {
            if xxh3_128(&bytes) == checksum {
                return Ok(Manifest::parse(id, &bytes));
            }
            if let Some(bytes) = correct(bytes, |bytes| xxh3_128(bytes) == checksum) {
                write_synced(&keyspace.join(format!("v{id}")), &bytes)?;
                return Ok(Manifest::parse(id, &bytes));
            }
        }
        let passes = |current: &[u8]| read(current).is_some_and(|(_, checksum, bytes)| xxh3_128(&bytes) == checksum);
        match correct(current, passes) {
            Some(bytes) => {
                write_synced(&path, &bytes)?;
                Ok(read(&bytes).and_then(|(id, _, bytes)| Manifest::parse(id, &bytes)))
            }
            None => Manifest::find_only(keyspace),
        }
    }

    /// Takes the only manifest that is there, if it lists just the tables that are.
    fn find_only(keyspace: &Path) -> io::Result<Option<Manifest>> {
        let mut found = Vec::new();
        for item in keyspace.read_dir()? {
            let path = item?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if let Some(id) = name.strip_prefix('v').and_then(|id| id.parse::<u64>().ok()) {
                found.push((id, std::fs::read(path)?));
            }
        }
        let [(id, bytes)] = found.as_slice() else { return Ok(None) };
        let Some(manifest) = Manifest::parse(*id, bytes) else { return Ok(None) };
        let listed: BTreeSet<u64> = manifest.tables.iter().flatten().flatten().map(|table| table.id).collect();
        if !tables_in(keyspace)?.into_iter().eq(listed) {
            return Ok(None);
        }
        point_to(keyspace, *id, bytes)?;
        Ok(Some(manifest))
    }

    /// All tables that are there, the newest first: none of them is behind another.
    fn of(keyspace: &Path, tables: &[u64]) -> io::Result<Manifest> {
        let mut levels = vec![Vec::new(); LEVELS];
        for id in tables.iter().rev() {
            let bytes = std::fs::read(keyspace.join("tables").join(id.to_string()))?;
            levels[0].push(vec![Table::of(*id, &bytes)]);
        }
        Ok(Manifest { id: 0, tables: levels })
    }

    fn parse(id: u64, bytes: &[u8]) -> Option<Manifest> {
        let reader = sfa::Reader::from_reader(&mut io::Cursor::new(bytes)).ok()?;
        let section = reader.toc().section(b"tables")?;
        let from = usize::try_from(section.pos()).ok()?;
        let mut left = bytes.get(from..from.checked_add(usize::try_from(section.len()).ok()?)?)?;
        let mut take = |len: usize| {
            let (taken, rest) = left.split_at_checked(len)?;
            left = rest;
            Some(taken)
        };
        let mut tables = Vec::new();
        for _ in 0..take(1)?[0] {
            let mut runs = Vec::new();
            for _ in 0..take(1)?[0] {
                let mut run = Vec::new();
                for _ in 0..u32::from_le_bytes(*take(4)?.first_chunk()?) {
                    let raw = take(TABLE_LEN)?;
                    let id = u64::from_le_bytes(*raw.first_chunk()?);
                    let checksum = u128::from_le_bytes(*raw[9..].first_chunk()?);
                    run.push(Table { id, checksum, raw: raw.to_vec() });
                }
                runs.push(run);
            }
            tables.push(runs);
        }
        Some(Manifest { id, tables })
    }

    /// Whether all its tables are what they were.
    fn is_sound(&self, keyspace: &Path) -> io::Result<bool> {
        for table in self.tables.iter().flatten().flatten() {
            if !matches!(table.look(&table.path(keyspace))?, Look::Whole) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut tables = vec![self.tables.len() as u8];
        for level in &self.tables {
            let runs: Vec<_> = level.iter().filter(|run| !run.is_empty()).collect();
            tables.push(runs.len() as u8);
            for run in runs {
                tables.extend((run.len() as u32).to_le_bytes());
                tables.extend(run.iter().flat_map(|table| &table.raw));
            }
        }
        let mut bytes = Vec::new();
        let mut writer = sfa::Writer::from_writer(io::Cursor::new(&mut bytes));
        let sections: [(&str, &[u8]); 8] = [
            ("format_version", &[3]),
            ("crate_version", b"ydash"),
            ("tree_type", &[0]),
            ("level_count", &[LEVELS as u8]),
            ("filter_hash_type", &[0]),
            ("tables", &tables),
            ("blob_files", &[0; 4]),
            ("blob_gc_stats", &[0; 4]),
        ];
        for (name, content) in sections {
            writer.start(name)?;
            writer.write_all(content)?;
        }
        writer.finish().map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn write(&self, keyspace: &Path) -> io::Result<()> {
        std::fs::create_dir_all(keyspace.join("tables"))?;
        let (id, bytes) = (self.id + 1, self.encode()?);
        write_synced(&keyspace.join(format!("v{id}")), &bytes)?;
        point_to(keyspace, id, &bytes)
    }
}

/// Makes a manifest the one in force.
fn point_to(keyspace: &Path, id: u64, manifest: &[u8]) -> io::Result<()> {
    let bytes = [id.to_le_bytes().as_slice(), &xxh3_128(manifest).to_le_bytes(), &[0]].concat();
    write_synced(&keyspace.join("current"), &bytes)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = path.with_extension("written");
    let mut file = super::private(File::options().create(true).truncate(true).write(true)).open(&written)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&written, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn move_aside(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to.parent().unwrap_or(to))?;
    std::fs::rename(from, to)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for item in from.read_dir()? {
        let path = item?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            write_synced(&target, &std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// An empty database of the same make: what is always the same is copied from it, and tables are tried in it.
struct Template {
    directory: PathBuf,
}

impl Template {
    fn make(aside: &Path) -> io::Result<Template> {
        let directory = aside.join("template");
        std::fs::create_dir_all(&directory)?;
        drop(Engine::open(&directory).map_err(io::Error::other)?);
        Ok(Template { directory })
    }

    /// Whether the engine starts with a table: the parts of it that are read then are whole.
    fn opens(&self, number: usize, path: &Path, table: &Table) -> io::Result<bool> {
        let trial = self.directory.with_file_name("trial");
        copy_tree(&self.directory, &trial)?;
        let keyspace = keyspace_in(&trial, number);
        std::fs::copy(path, keyspace.join("tables").join(table.id.to_string()))?;
        let mut tables = vec![Vec::new(); LEVELS];
        tables[0].push(vec![table.clone()]);
        Manifest { id: 1, tables }.write(&keyspace)?;
        // It panics at some of what it does not expect.
        let opened = std::panic::catch_unwind(|| Engine::open(&trial).is_ok());
        std::fs::remove_dir_all(&trial)?;
        Ok(opened.unwrap_or(false))
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // It is of no use to anybody if it stays.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
