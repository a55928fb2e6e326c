//! The tally: what was committed, noted beside the engine's files, so that a loss shows and is told by name.
//!
//! After each commit a line says which entries and snapshots it held. It is written without being synced: it outlives the
//! process, and a power failure may cost its end, so it proves that something is missing and never that nothing is. Two files of
//! bounded size; they say more than the journals hold, because what has left the journals is in tables, which the engine checks.
//!
//! ```text
//! file   "ydash tally" 0x0a 0x01  the store's number (u64)                all integers little endian
//! lines  length (u32)  CRC-32 (u32)  batch (u64)  notes:
//!          'N' number (u64) length (u16) name     a dashboard's number
//!          'E' number (u64) first (u64) count (u32)  entries at positions that follow each other
//!          'S' covers (u64) length (u16) name     a snapshot
//!          'R' number (u64)                       the dashboard was removed
//!          'P' position (u64)                     positions are reserved up to here
//! ```

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 13] = b"ydash tally\n\x01";
const HEADER_LEN: usize = MAGIC.len() + 8;

/// Beyond this a second file is begun and the one before the last goes. The journals, of 64 MB, are told of in less.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a commit held.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    bytes: Vec<u8>,
    names: Vec<(u64, String)>,
    /// The last run of entries, which may go on.
    run: Option<(u64, u64, u32)>,
}

impl Notes {
    pub(super) fn entry(&mut self, number: u64, position: u64) {
        match &mut self.run {
            Some((of, first, count)) if *of == number && *first + u64::from(*count) == position => *count += 1,
            _ => {
                self.end_run();
                self.run = Some((number, position, 1));
            }
        }
    }

    pub(super) fn name(&mut self, number: u64, name: &str) {
        self.names.push((number, name.to_owned()));
    }

    pub(super) fn snapshot(&mut self, name: &str, covers: u64) {
        self.put(b'S', &[covers]);
        self.put_text(name);
    }

    pub(super) fn removed(&mut self, number: u64) {
        self.put(b'R', &[number]);
    }

    pub(super) fn reserved(&mut self, to: u64) {
        self.put(b'P', &[to]);
    }

    fn end_run(&mut self) {
        if let Some((number, first, count)) = self.run.take() {
            self.put(b'E', &[number, first]);
            self.bytes.extend(count.to_le_bytes());
        }
    }

    fn put(&mut self, kind: u8, numbers: &[u64]) {
        self.bytes.push(kind);
        self.bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn put_text(&mut self, text: &str) {
        // Names are far shorter.
        self.bytes.extend((text.len() as u16).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }
}

/// What a tally says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note<'a> {
    Name(u64, &'a str),
    Entries { number: u64, first: u64, count: u32 },
    Snapshot { name: &'a str, covers: u64 },
    Removed(u64),
    Reserved(u64),
}

/// A tally as it was found, not read through yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The store's number.
    pub(super) store: Option<u64>,
    /// The last batch.
    pub(super) last: u64,
    /// Positions up to it may have been given out.
    pub(super) reserved: u64,
    files: Vec<Vec<u8>>,
    /// How much of the current file can be read.
    readable: u64,
}

impl Told {
    /// Reads what there is of a tally. What is cut off or damaged says nothing.
    pub(super) fn read(directory: &Path) -> io::Result<Told> {
        let mut told = Told::default();
        for path in [older(directory), current(directory)] {
            match std::fs::read(&path) {
                Ok(bytes) if bytes.starts_with(MAGIC) && bytes.len() >= HEADER_LEN => {
                    if path == current(directory) {
                        let mut left = &bytes[HEADER_LEN..];
                        while let Some((_, rest)) = line(left) {
                            left = rest;
                        }
                        told.readable = (bytes.len() - left.len()) as u64;
                    }
                    told.store = bytes[MAGIC.len()..].first_chunk().map(|store| u64::from_le_bytes(*store));
                    told.files.push(bytes);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let (mut last, mut reserved) = (0, 0);
        told.each(|batch, note| {
            last = last.max(batch);
            match note {
                Note::Reserved(to) => reserved = reserved.max(to),
                Note::Entries { first, count, .. } => reserved = reserved.max(first + u64::from(count)),
                _ => {}
            }
        });
        Ok(Told { last, reserved, ..told })
    }

    /// Whether there is a tally at all: not if an earlier ydash wrote the store.
    pub(super) fn is_there(&self) -> bool {
        !self.files.is_empty()
    }

    /// Reads every note, with the number of its batch.
    pub(super) fn each(&self, mut each: impl FnMut(u64, Note<'_>)) {
        for file in &self.files {
            let mut left = &file[HEADER_LEN..];
            while let Some((line, rest)) = line(left) {
                left = rest;
                let Some((batch, mut notes)) = line.split_first_chunk() else { continue };
                let batch = u64::from_le_bytes(*batch);
                while let Some((note, rest)) = note(notes) {
                    notes = rest;
                    each(batch, note);
                }
            }
        }
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (line, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    (crc32fast::hash(line) == u32::from_le_bytes(*crc)).then_some((line, rest))
}

fn note(bytes: &[u8]) -> Option<(Note<'_>, &[u8])> {
    let number = |bytes: &'_ [u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let (kind, rest) = bytes.split_first()?;
    let first = number(rest)?;
    let rest = &rest[8..];
    match kind {
        b'N' | b'S' => {
            let (len, rest) = rest.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            let name = str::from_utf8(text).ok()?;
            let note = if *kind == b'N' { Note::Name(first, name) } else { Note::Snapshot { name, covers: first } };
            Some((note, rest))
        }
        b'E' => {
            let (number, position) = (first, number(rest)?);
            let count = u32::from_le_bytes(*rest[8..].first_chunk()?);
            Some((Note::Entries { number, first: position, count }, &rest[12..]))
        }
        b'R' => Some((Note::Removed(first), rest)),
        b'P' => Some((Note::Reserved(first), rest)),
        _ => None,
    }
}

/// The tally that is being written.
#[derive(Debug)]
pub(super) struct Tally {
    directory: PathBuf,
    store: u64,
    /// `None` when it could not be written; it is tried again with the next file.
    file: Option<File>,
    len: u64,
    /// Whose names the current file says.
    named: HashSet<u64>,
}

impl Tally {
    /// Begins a new file; the current one becomes the older.
    pub(super) fn begin(directory: &Path, store: u64) -> io::Result<Tally> {
        match std::fs::rename(current(directory), older(directory)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            super::private(File::options().create(true).truncate(true).write(true)).open(current(directory))?;
        file.write_all(&[MAGIC.as_slice(), &store.to_le_bytes()].concat())?;
        file.sync_all()?;
        let len = HEADER_LEN as u64;
        Ok(Tally { directory: directory.to_owned(), store, file: Some(file), len, named: HashSet::new() })
    }

    /// Goes on with the current file, behind what can be read of it.
    pub(super) fn resume(directory: &Path, store: u64, told: &Told) -> io::Result<Tally> {
        if told.readable == 0 || told.store != Some(store) {
            return Tally::begin(directory, store);
        }
        let file = File::options().append(true).open(current(directory))?;
        file.set_len(told.readable)?;
        let len = told.readable;
        Ok(Tally { directory: directory.to_owned(), store, file: Some(file), len, named: HashSet::new() })
    }

    /// Notes what a batch held that is durable by now. `name_of` is asked for names that are not told yet.
    ///
    /// A tally that cannot be written is no reason to fail a commit.
    pub(super) fn note(&mut self, batch: u64, mut notes: Notes, mut name_of: impl FnMut(u64) -> Option<String>) {
        notes.end_run();
        if notes.bytes.is_empty() && notes.names.is_empty() {
            return;
        }
        if self.len > FILE_BYTES_MAX {
            match Tally::begin(&self.directory, self.store) {
                Ok(next) => *self = next,
                Err(error) => return self.give_up(&error),
            }
        }
        let mut names = Notes::default();
        for (number, name) in std::mem::take(&mut notes.names) {
            self.named.insert(number);
            names.put(b'N', &[number]);
            names.put_text(&name);
        }
        let mut left = notes.bytes.as_slice();
        while let Some((note, rest)) = note(left) {
            left = rest;
            if let Note::Entries { number, .. } = note
                && self.named.insert(number)
                && let Some(name) = name_of(number)
            {
                names.put(b'N', &[number]);
                names.put_text(&name);
            }
        }
        let line = [batch.to_le_bytes().as_slice(), &names.bytes, &notes.bytes].concat();
        let mut bytes = Vec::with_capacity(line.len() + 8);
        bytes.extend((line.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(&line).to_le_bytes());
        bytes.extend(line);
        let Some(file) = &mut self.file else { return };
        match file.write_all(&bytes) {
            Ok(()) => self.len += bytes.len() as u64,
            Err(error) => self.give_up(&error),
        }
    }

    /// Makes sure that what was noted outlives the machine, and lets go of the file.
    pub(super) fn close(&mut self) {
        if let Some(file) = self.file.take() {
            // It is as good as it gets without.
            let _ = file.sync_data();
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        if self.file.take().is_some() {
            tracing::warn!(%error, "the tally of commits cannot be written: until the next start a loss may not be noticed");
        }
    }
}

fn current(directory: &Path) -> PathBuf {
    directory.join("tally")
}

fn older(directory: &Path) -> PathBuf {
    directory.join("tally.old")
}

/// Whether a directory has a tally of this version.
pub(super) fn is_in(directory: &Path) -> io::Result<bool> {
    let is_ours = |path: PathBuf| match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.starts_with(MAGIC)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    Ok(is_ours(current(directory))? || is_ours(older(directory))?)
}

/// Moves the tally away, once what it proved to be missing is told.
pub(super) fn move_to(directory: &Path, aside: &Path) -> io::Result<()> {
    std::fs::create_dir_all(aside)?;
    for path in [older(directory), current(directory)] {
        match std::fs::rename(&path, aside.join(path.file_name().unwrap_or_default())) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(directory: &Path) -> Vec<(u64, String)> {
        let mut notes = Vec::new();
        Told::read(directory).unwrap().each(|batch, note| notes.push((batch, format!("{note:?}"))));
        notes
    }

    #[test]
    fn a_tally_tells_what_was_noted_up_to_where_it_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!Told::read(directory.path()).unwrap().is_there());
        let mut tally = Tally::begin(directory.path(), 7).unwrap();
        let mut notes = Notes::default();
        notes.name(1, "w/a");
        notes.entry(1, 2);
        notes.entry(1, 3);
        notes.entry(4, 9);
        notes.snapshot("w/ü", 3);
        notes.reserved(100);
        tally.note(1, notes, |number| Some(format!("w/{number}")));
        let mut notes = Notes::default();
        notes.entry(4, 10);
        notes.removed(1);
        tally.note(2, notes, |_| panic!("it is told already"));

        let read = Told::read(directory.path()).unwrap();
        assert_eq!((read.store, read.last, read.reserved), (Some(7), 2, 100));
        let all = [
            (1, "Name(1, \"w/a\")"),
            (1, "Name(4, \"w/4\")"),
            (1, "Entries { number: 1, first: 2, count: 2 }"),
            (1, "Snapshot { name: \"w/ü\", covers: 3 }"),
            (1, "Reserved(100)"),
            (1, "Entries { number: 4, first: 9, count: 1 }"),
            (2, "Removed(1)"),
            (2, "Entries { number: 4, first: 10, count: 1 }"),
        ];
        let all = all.map(|(batch, note)| (batch, note.to_owned()));
        assert_eq!(told(directory.path()), all);
        // The older file is read before the current one.
        let _next = Tally::begin(directory.path(), 7).unwrap();
        assert_eq!(told(directory.path()), all);
        let path = older(directory.path());
        let bytes = std::fs::read(&path).unwrap();
        for len in HEADER_LEN..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!([0, 6].contains(&told(directory.path()).len()), "{len}");
        }
    }
}
