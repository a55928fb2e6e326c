//! How one record of the catalog looks on disk and in Redis: as those of the store, version and checksum first.
//!
//! ```text
//! byte 0       version, 1
//! byte 1       kind, 6 (1 to 5 are the store's)
//! bytes 2..6   CRC-32 (IEEE, little endian) of bytes 0, 1 and all that follow
//! bytes 6..    the content as it was put: JSON, so that an operator can read it
//! ```
//!
//! In the embedded store the record's version (8 bytes, big endian) stands before the content; Redis keeps it beside the record.

use super::{CatalogError, Key};

const VERSION: u8 = 1;
const KIND: u8 = 6;
const HEADER_LEN: usize = 6;

/// Seals what is to be kept.
pub(crate) fn seal(parts: &[&[u8]]) -> Vec<u8> {
    let mut record = vec![VERSION, KIND, 0, 0, 0, 0];
    parts.iter().for_each(|part| record.extend_from_slice(part));
    let crc = checksum(&record);
    record[2..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    record
}

/// What was sealed.
pub(crate) fn open<'a>(key: &Key, record: &'a [u8]) -> Result<&'a [u8], CatalogError> {
    let damaged = |why| Err(CatalogError::Damaged { key: key.clone(), why });
    match record.first() {
        None => return damaged("empty record"),
        Some(&VERSION) => {}
        Some(0) => return damaged("zeroed record"),
        Some(&format) => return Err(CatalogError::LaterFormat { key: key.clone(), format }),
    }
    let Some(crc) = record.get(2..HEADER_LEN) else { return damaged("cut record") };
    if crc != checksum(record).to_le_bytes() {
        return damaged("checksum does not match");
    }
    if record[1] != KIND {
        return damaged("record of another kind");
    }
    Ok(&record[HEADER_LEN..])
}

/// The checksum of everything but itself.
fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..2]);
    hasher.update(&record[HEADER_LEN..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("acl/w").unwrap()
    }

    /// Change these bytes only together with [`VERSION`] and docs/STORAGE.md.
    #[test]
    fn golden_record() {
        assert_eq!(seal(&[b"{", b"}"]), [1, 6, 119, 105, 10, 127, b'{', b'}']);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let record = seal(&[b"content"]);
        assert_eq!(open(&key(), &record).unwrap(), b"content");
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(), &flipped).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(open(&key(), &record[..len]).is_err(), "{len}");
        }
        assert!(matches!(open(&key(), &[9; 20]), Err(CatalogError::LaterFormat { format: 9, .. })));
    }
}
