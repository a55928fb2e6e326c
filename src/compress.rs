//! Deflate, in the forms that ydash needs: WebSocket messages (RFC 7692), stored records, and files for browsers.
//!
//! Nothing here trusts a length: inflating always has a bound, and reserves memory only as output appears.

use std::cell::RefCell;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::Write;

/// What a sync flush ends with, and what RFC 7692 leaves out of every message (section 7.2.1).
const SYNC_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Why bytes could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Not a deflate stream.
    #[error("malformed deflate data")]
    Malformed,
    /// It would become larger than allowed.
    #[error("inflates beyond {max} bytes")]
    TooLarge {
        /// The bound that was given.
        max: usize,
    },
}

/// Deflates one WebSocket message for a peer that agreed to `server_no_context_takeover` (RFC 7692 §7.2.1).
///
/// `level` is 0 (none) to 9 (smallest).
#[must_use]
pub fn deflate_raw(message: &[u8], level: u32) -> Vec<u8> {
    let mut out = deflate_with(message, level, FlushCompress::Sync);
    debug_assert!(out.ends_with(&SYNC_TAIL), "a sync flush ends with an empty stored block");
    out.truncate(out.len() - SYNC_TAIL.len());
    out
}

/// Inflates one WebSocket message of a peer that agreed to `client_no_context_takeover` (RFC 7692 §7.2.2), to at most `max`
/// bytes.
///
/// Blocks marked as final are taken as RFC 7692 §7.2.3.4 wants it. A message that ends in the middle of a block gives what
/// there was: the codec above sees the missing rest.
///
/// # Errors
/// [`InflateError::Malformed`] – close with 1007. [`InflateError::TooLarge`] – close with 1009.
pub fn inflate_bounded(message: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    thread_local! {
        // Its 40 KB of window and tables outlive the message, or every small frame would allocate them.
        static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    }
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut out = Vec::new();
        let mut rest = message;
        while !rest.is_empty() {
            let (used, ended) = inflate_into(inflater, rest, &mut out, max)?;
            rest = &rest[used..];
            if ended {
                inflater.reset(false);
            } else if rest.is_empty() {
                inflate_into(inflater, &SYNC_TAIL, &mut out, max)?;
            } else {
                // All input is taken unless the output is bounded, which is an error of its own.
                return Err(InflateError::Malformed);
            }
        }
        Ok(out)
    })
}

/// The first bytes, at most `max`, of what a message inflates to that need not be whole; nothing if it is no deflate stream.
#[must_use]
pub fn inflate_beginning(message: &[u8], max: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(max);
    match Decompress::new(false).decompress_vec(message, &mut out, FlushDecompress::None) {
        Ok(_) => out,
        Err(_) => Vec::new(),
    }
}

/// Deflates a record: raw deflate, without header or checksum.
#[must_use]
pub fn deflate(data: &[u8], level: u32) -> Vec<u8> {
    deflate_with(data, level, FlushCompress::Finish)
}

/// Inflates a record that [`deflate`] made of exactly `len` bytes.
///
/// # Errors
/// [`InflateError::Malformed`] – also when it is cut short or followed by something. [`InflateError::TooLarge`] – it is longer
/// than `len`.
pub fn inflate(data: &[u8], len: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Decompress::new(false);
    let mut out = Vec::new();
    let (used, ended) = inflate_into(&mut inflater, data, &mut out, len)?;
    if ended && used == data.len() && out.len() == len { Ok(out) } else { Err(InflateError::Malformed) }
}

/// Compresses a file as small as can be, in the form that HTTP calls gzip (RFC 1952).
#[must_use]
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(data.len() / 3), Compression::best());
    encoder.write_all(data).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

fn deflate_with(data: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::new(level.min(9)), false);
    // Text-like states shrink to a third or better; what does not fit grows below.
    let mut out = Vec::with_capacity(data.len() / 3 + 64);
    loop {
        let used = usize::try_from(deflater.total_in()).expect("at most the input's length");
        let status = deflater
            .compress_vec(&data[used..], &mut out, flush)
            .expect("deflating has no errors without a dictionary");
        let done = match flush {
            // The flush is complete when it left room in the output.
            FlushCompress::Sync => out.len() < out.capacity(),
            _ => status == Status::StreamEnd,
        };
        if done {
            return out;
        }
        out.reserve(out.capacity().max(64));
    }
}

/// Inflates until the input is used up or the stream ends: the bytes used, and whether it ended.
fn inflate_into(
    inflater: &mut Decompress,
    input: &[u8],
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(usize, bool), InflateError> {
    let mut used = 0;
    loop {
        if out.len() == out.capacity() {
            // One byte beyond the bound shows that it is exceeded; growth follows what has really come out.
            let grown = (out.capacity() * 2).max(input.len().saturating_mul(4)).max(256);
            out.reserve_exact(grown.min(max.saturating_add(1)) - out.len());
        }
        let before = inflater.total_in();
        let status =
            inflater.decompress_vec(&input[used..], out, FlushDecompress::None).map_err(|_| InflateError::Malformed)?;
        used += usize::try_from(inflater.total_in() - before).expect("at most the input's length");
        if out.len() > max {
            return Err(InflateError::TooLarge { max });
        }
        if status == Status::StreamEnd {
            return Ok((used, true));
        }
        if out.len() < out.capacity() {
            return Ok((used, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 7692 §7.2.3.
    #[test]
    fn examples_of_the_rfc_inflate() {
        let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate_bounded(&compressed, 5).unwrap(), b"Hello");
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        assert_eq!(inflate_bounded(&stored, 5).unwrap(), b"Hello");
        let final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(inflate_bounded(&final_block, 5).unwrap(), b"Hello");
        let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflate_bounded(&two_blocks, 5).unwrap(), b"Hello");
    }

    #[test]
    fn deflated_message_is_the_rfc_example() {
        assert_eq!(deflate_raw(b"Hello", 6), [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        assert_eq!(inflate_bounded(&deflate_raw(b"", 6), 0).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound_without_its_memory() {
        let bomb = deflate_raw(&vec![0; 64 << 20], 9);
        assert!(bomb.len() < 70_000);
        assert_eq!(inflate_bounded(&bomb, 1 << 20), Err(InflateError::TooLarge { max: 1 << 20 }));
        assert_eq!(inflate(&deflate(&vec![0; 1 << 20], 9), 1000), Err(InflateError::TooLarge { max: 1000 }));
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        for len in [0, 1, 255, 256, 257, 100_000] {
            let data = vec![7; len];
            assert_eq!(inflate_bounded(&deflate_raw(&data, 6), len).unwrap(), data);
            if len > 0 {
                assert_eq!(
                    inflate_bounded(&deflate_raw(&data, 6), len - 1),
                    Err(InflateError::TooLarge { max: len - 1 })
                );
            }
        }
    }

    #[test]
    fn cut_or_extended_records_are_malformed() {
        let deflated = deflate(b"what a snapshot holds, what a snapshot holds", 6);
        assert_eq!(inflate(&deflated[..deflated.len() - 1], 44), Err(InflateError::Malformed));
        assert_eq!(inflate(&[deflated.as_slice(), b"x"].concat(), 44), Err(InflateError::Malformed));
        assert_eq!(inflate(&deflated, 45), Err(InflateError::Malformed));
    }

    proptest! {
        #[test]
        fn what_was_deflated_inflates(data in proptest::collection::vec(0u8..4, 0..20_000), level in 0u32..10) {
            prop_assert_eq!(&inflate_bounded(&deflate_raw(&data, level), data.len()).unwrap(), &data);
            prop_assert_eq!(&inflate(&deflate(&data, level), data.len()).unwrap(), &data);
        }

        #[test]
        fn incompressible_data_survives(data in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert_eq!(&inflate_bounded(&deflate_raw(&data, 6), data.len()).unwrap(), &data);
        }

        #[test]
        fn garbage_never_panics_nor_exceeds_the_bound(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(out) = inflate_bounded(&data, 1000) {
                prop_assert!(out.len() <= 1000);
            }
            let _ = inflate(&data, 1000);
        }
    }
}
