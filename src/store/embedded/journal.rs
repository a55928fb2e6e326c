//! The engine's journals, read before the engine reads them: damage is told apart from a torn end, and cut out.
//!
//! The engine takes the first thing that it cannot read for the end of a journal, and drops what is behind; or it refuses to
//! start. So this looks on: batches behind it mean that the place is damaged. A batch in which one bit is wrong is corrected,
//! because its checksum says which one. What cannot be corrected is left out, and everything else stays.
//!
//! ```text
//! batch  0x01 items (u32)  seqno (u64)                                     all integers little endian
//!        items: 0x02 kind (0 value, 1 and 2 removal) 0x00 keyspace (u64) key length (u16) value length (u32, twice) key value
//!               0x04 keyspace (u64)
//!        0x03 xxh3 of the items (u64) "FJL" 0x03
//! file   batches, then zeros
//! ```
//!
//! Content of clients is in the batches, so bytes that look like a batch prove nothing: behind damage only those count that
//! carry the store's own [`Stamp`], which no client knows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::engine::STAMP_KEY;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8; 4] = b"FJL\x03";

/// Batches up to this size are corrected: trying every bit of one that is larger would take seconds.
const CORRECTED_BYTES_MAX: usize = 16 << 10;

/// Beyond this, the number of the first or the last batch is so far from its neighbour's that it was not written so.
const SEQNO_STEP_MAX: u64 = 1 << 20;

/// What the store puts into each of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// A random number that stands for the store.
    pub(super) store: u64,
    /// Grows by one from batch to batch.
    pub(super) number: u64,
}

impl Stamp {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.store.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Stamp> {
        let both = u128::from_be_bytes(*bytes.first_chunk().filter(|_| bytes.len() == 16)?);
        Some(Stamp { store: (both >> 64) as u64, number: both as u64 })
    }
}

/// What was wrong with the journals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Repair {
    /// Places where single bits were wrong; nothing is lost there.
    pub(super) corrected: usize,
    /// Places where batches were left out.
    pub(super) gaps: usize,
    /// Journals that ended in something that is no batch, as after a crash.
    pub(super) torn: usize,
}

/// Makes the journals of a database that is not open readable for the engine.
///
/// Of a journal that is damaged, or that lacks batches up to the number `known`, a copy is kept in `aside` first. Batches are
/// trusted behind damage if they are stamped by `store`; `None` if that is not known.
pub(super) fn repair(directory: &Path, store: Option<u64>, known: u64, aside: &Path) -> io::Result<Repair> {
    let mut repair = Repair::default();
    let mut before = None;
    let journals = journals(directory)?;
    let count = journals.len();
    for (n, path) in journals.into_iter().enumerate() {
        let data = read(&path)?;
        let mut scan = scan(&data, store);
        let is_renumbered = scan.renumber(before);
        before = scan.batches.last().map(|batch| batch.seqno).or(before);
        let last = scan.batches.iter().filter_map(|batch| batch.stamp).map(|stamp| stamp.number).max();
        let is_short = n + 1 == count && scan.torn.is_some() && last.unwrap_or(0) < known;
        let is_damaged = scan.corrected > 0 || scan.gaps > 0 || is_renumbered;
        repair.corrected += scan.corrected + usize::from(is_renumbered);
        repair.gaps += scan.gaps;
        repair.torn += usize::from(scan.torn.is_some());
        if is_damaged || is_short {
            keep_aside(&path, aside)?;
        }
        if is_damaged || scan.torn.is_some() {
            rewrite(&path, &data, &scan)?;
        }
    }
    Ok(repair)
}

/// Keeps a copy of a damaged file.
pub(super) fn keep_aside(path: &Path, aside: &Path) -> io::Result<()> {
    std::fs::create_dir_all(aside)?;
    let name = path.file_name().unwrap_or_default();
    let mut to = super::private(File::options().create(true).truncate(true).write(true)).open(aside.join(name))?;
    super::engine::copy_sparsely(&mut File::open(path)?, &mut to)?;
    to.sync_all()?;
    File::open(aside)?.sync_all()
}

/// The journals in the order in which they were written.
fn journals(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in super::engine::files_ending_in(directory, "jnl")? {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        // The engine would refuse to start because of any other name.
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reads a journal without the zeros at its end, which take no memory that way.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut data = Vec::new();
    let (mut zeros, mut buffer) = (0, vec![0; 64 << 10]);
    let blank = vec![0; buffer.len()];
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        // Comparing whole blocks is many times as fast as looking at each byte of the 64 MB that are reserved.
        let last = if buffer[..len] == blank[..len] { None } else { buffer[..len].iter().rposition(|byte| *byte != 0) };
        match last {
            None => zeros += len,
            Some(last) => {
                data.resize(data.len() + zeros, 0);
                data.extend_from_slice(&buffer[..=last]);
                zeros = len - last - 1;
            }
        }
    }
    Ok(data)
}

fn rewrite(path: &Path, data: &[u8], scan: &Scan) -> io::Result<()> {
    let written = path.with_extension("repaired");
    let mut file = super::private(File::options().create(true).truncate(true).write(true)).open(&written)?;
    for batch in &scan.batches {
        let mut bytes = data[batch.range.clone()].to_vec();
        if let Some(bit) = batch.corrected {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[5..13].copy_from_slice(&batch.seqno.to_le_bytes());
        file.write_all(&bytes)?;
    }
    file.sync_all()?;
    std::fs::rename(&written, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[derive(Debug, Default)]
struct Scan {
    batches: Vec<Found>,
    corrected: usize,
    gaps: usize,
    /// What is behind the last batch and is none.
    torn: Option<Range<usize>>,
}

#[derive(Debug)]
struct Found {
    range: Range<usize>,
    seqno: u64,
    stamp: Option<Stamp>,
    /// The bit that was wrong, counted from the start of the range.
    corrected: Option<usize>,
}

impl Scan {
    fn push(&mut self, at: usize, batch: Parsed, corrected: Option<usize>) {
        let Parsed { len, seqno, stamp } = batch;
        self.corrected += usize::from(corrected.is_some());
        self.batches.push(Found { range: at..at + len, seqno, stamp, corrected });
    }

    /// The number of a batch stands outside of its checksum, but numbers grow: one that is out of order is put right.
    fn renumber(&mut self, before: Option<u64>) -> bool {
        let mut is_renumbered = false;
        for n in 0..self.batches.len() {
            let last = if n > 0 { Some(self.batches[n - 1].seqno) } else { before };
            let next = self.batches.get(n + 1).map(|batch| batch.seqno);
            let seqno = self.batches[n].seqno;
            let fits_after = last.is_none_or(|last| last < seqno && seqno - last <= SEQNO_STEP_MAX);
            let fits_before = next.is_none_or(|next| seqno < next && next - seqno <= SEQNO_STEP_MAX);
            let right = match (last, next) {
                _ if fits_after && fits_before => continue,
                // Its neighbours agree with each other, so it is this one that is wrong.
                (Some(last), Some(next)) if last + 1 < next && next - last <= 2 * SEQNO_STEP_MAX => last + 1,
                // The next one is wrong, and is put right in its turn.
                (Some(_), Some(_)) if fits_after => continue,
                (Some(last), _) => last + 1,
                (None, Some(next)) if self.agree(n + 1) && next > 0 => next - 1,
                (None, _) => continue,
            };
            self.batches[n].seqno = right;
            is_renumbered = true;
        }
        is_renumbered
    }

    /// Whether the batch and the one after it are in order.
    fn agree(&self, n: usize) -> bool {
        match self.batches.get(n..n + 2) {
            Some([one, next]) => one.seqno < next.seqno && next.seqno - one.seqno <= SEQNO_STEP_MAX,
            _ => false,
        }
    }
}

fn scan(data: &[u8], mut store: Option<u64>) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < data.len() {
        if let Some(batch) = parse(&data[at..]) {
            store = store.or(batch.stamp.map(|stamp| stamp.store));
            let len = batch.len;
            scan.push(at, batch, None);
            at += len;
            continue;
        }
        let next = (at + 1..data.len()).find(|from| {
            let is_ours =
                |batch: Parsed| store.is_none() || batch.stamp.is_some_and(|stamp| Some(stamp.store) == store);
            data[*from] == START && parse(&data[*from..]).is_some_and(is_ours)
        });
        let end = next.unwrap_or(data.len());
        match correct(&data[at..end]) {
            Some((bit, batch)) => scan.push(at, batch, Some(bit)),
            None if next.is_some() => scan.gaps += 1,
            None => scan.torn = Some(at..end),
        }
        at = end;
    }
    scan
}

/// Finds the one wrong bit of a batch.
///
/// The checksum has 64 bits, so that a wrong one of some 100,000 candidates passes it is out of the question.
fn correct(data: &[u8]) -> Option<(usize, Parsed)> {
    if data.len() > CORRECTED_BYTES_MAX {
        return None;
    }
    let mut bytes = data.to_vec();
    (0..bytes.len() * 8).find_map(|bit| {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let batch = parse(&bytes).filter(|batch| batch.len == bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        batch.map(|batch| (bit, batch))
    })
}

#[derive(Clone, Copy)]
struct Parsed {
    len: usize,
    seqno: u64,
    stamp: Option<Stamp>,
}

/// Reads the batch with which `data` begins; `None` if it does not begin with a whole one.
fn parse(data: &[u8]) -> Option<Parsed> {
    let mut left = data;
    let mut take = |len: usize| {
        let (taken, rest) = left.split_at_checked(len)?;
        left = rest;
        Some(taken)
    };
    if take(1)? != [START] {
        return None;
    }
    let count = u32::from_le_bytes(*take(4)?.first_chunk()?);
    let seqno = u64::from_le_bytes(*take(8)?.first_chunk()?);
    let mut stamp = None;
    let mut len = 13;
    for _ in 0..count {
        match take(1)? {
            [ITEM] => {
                let head = take(20)?;
                let key_len = usize::from(u16::from_le_bytes(*head[10..].first_chunk()?));
                let value_len = u32::from_le_bytes(*head[12..].first_chunk()?);
                if head[0] > 2 || head[1] != 0 || head[12..16] != head[16..20] {
                    return None;
                }
                let key = take(key_len)?;
                let value = take(value_len as usize)?;
                if key == STAMP_KEY.as_bytes() {
                    stamp = Stamp::decode(value);
                }
                len += 21 + key_len + value_len as usize;
            }
            [CLEAR] => {
                take(8)?;
                len += 9;
            }
            _ => return None,
        }
    }
    if take(1)? != [END] {
        return None;
    }
    let checksum = u64::from_le_bytes(*take(8)?.first_chunk()?);
    let is_whole = count > 0 && take(4)? == MAGIC && xxh3_64(&data[13..len]) == checksum;
    is_whole.then_some(Parsed { len: len + 13, seqno, stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u64 = 0x1234_5678_9abc_def0;

    fn item(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![ITEM, 0, 0];
        bytes.extend(3u64.to_le_bytes());
        bytes.extend((key.len() as u16).to_le_bytes());
        bytes.extend([(value.len() as u32).to_le_bytes(); 2].concat());
        [&bytes, key, value].concat()
    }

    fn batch(seqno: u64, number: u64, value: &[u8]) -> Vec<u8> {
        let stamp = Stamp { store: STORE, number }.encode();
        let items = [item(b"key", value), item(STAMP_KEY.as_bytes(), &stamp)].concat();
        let mut bytes = vec![START];
        bytes.extend(2u32.to_le_bytes());
        bytes.extend(seqno.to_le_bytes());
        bytes.extend(&items);
        bytes.push(END);
        bytes.extend(xxh3_64(&items).to_le_bytes());
        bytes.extend(MAGIC);
        bytes
    }

    fn journal(count: u64) -> Vec<u8> {
        (0..count).flat_map(|n| batch(10 + n, 1 + n, format!("value {n}").as_bytes())).collect()
    }

    fn numbers(scan: &Scan) -> Vec<u64> {
        scan.batches.iter().map(|batch| batch.stamp.unwrap().number).collect()
    }

    fn repaired(directory: &tempfile::TempDir, data: &[u8]) -> (Repair, Vec<u8>) {
        let path = directory.path().join("0.jnl");
        std::fs::write(&path, data).unwrap();
        let repair = repair(directory.path(), Some(STORE), 0, &directory.path().join("aside")).unwrap();
        (repair, std::fs::read(path).unwrap())
    }

    #[test]
    fn every_flipped_bit_of_a_journal_is_put_right() {
        let directory = tempfile::tempdir().unwrap();
        let whole = journal(4);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped.resize(whole.len() + 500, 0);
            let (repair, data) = repaired(&directory, &flipped);
            assert_eq!((repair.gaps, repair.torn), (0, 0), "bit {bit}");
            let scan = scan(&data, Some(STORE));
            assert_eq!(numbers(&scan), [1, 2, 3, 4], "bit {bit}");
            assert!(scan.batches.is_sorted_by(|a, b| a.seqno < b.seqno), "bit {bit}: {:?}", scan.batches);
        }
    }

    #[test]
    fn what_is_behind_a_damaged_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let whole = journal(6);
        let len = whole.len() / 6;
        for (damaged, left) in [(0..1, vec![2, 3, 4, 5, 6]), (2..3, vec![1, 2, 4, 5, 6]), (1..4, vec![1, 5, 6])] {
            let mut data = whole.clone();
            data[damaged.start * len + 7..damaged.end * len - 7].fill(0);
            let (repair, data) = repaired(&directory, &data);
            assert_eq!((repair.gaps, repair.torn), (1, 0));
            assert_eq!(numbers(&scan(&data, Some(STORE))), left);
            assert_eq!(repaired(&directory, &data).0, Repair::default(), "once is enough");
        }
    }

    #[test]
    fn a_torn_end_is_cut_off_and_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let whole = journal(3);
        let len = whole.len() / 3;
        for cut in 2 * len + 1..3 * len {
            let (repair, data) = repaired(&directory, &whole[..cut]);
            assert_eq!(repair, Repair { torn: usize::from(cut < 3 * len), ..Repair::default() });
            assert_eq!(data, whole[..2 * len]);
            assert!(!directory.path().join("aside").exists());
        }
    }

    #[test]
    fn what_a_client_made_look_like_a_batch_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut forged = batch(11, 2, b"forged");
        let at = forged.windows(8).position(|bytes| bytes == STORE.to_be_bytes()).unwrap();
        // Whoever does not know the store's number cannot stamp.
        forged[at] ^= 1;
        let items = forged[13..forged.len() - 13].to_vec();
        let end = forged.len() - 12;
        forged[end..end + 8].copy_from_slice(&xxh3_64(&items).to_le_bytes());
        assert!(parse(&forged).is_some());
        let mut data =
            [batch(10, 1, b"1"), batch(11, 2, &[b"x", forged.as_slice(), b"y"].concat()), batch(12, 3, b"3")].concat();
        let second = batch(10, 1, b"1").len();
        data[second..second + 4].fill(0xff);
        let (repair, data) = repaired(&directory, &data);
        assert_eq!((repair.gaps, numbers(&scan(&data, Some(STORE)))), (1, vec![1, 3]));
    }
}
