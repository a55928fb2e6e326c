//! The primitives of lib0, in which Yjs writes everything: varints, byte strings and UTF-8 strings.
//!
//! The reader borrows and never allocates: each length is checked against the bytes that remain before anything is made of
//! it. Integers are those that JavaScript holds exactly, so at most 2^53 - 1; like JavaScript, it takes non-minimal varints.

/// The largest integer that JavaScript holds exactly.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The longest varint that can hold [`INTEGER_MAX`], a padded one included (lib0 itself stops there, too).
const VAR_UINT_BYTES_MAX: usize = 8;

/// Why bytes are not what was expected of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lib0Error {
    /// More is declared than there is.
    #[error("unexpected end of data")]
    End,
    /// An integer that JavaScript could not hold.
    #[error("integer beyond 2^53 - 1")]
    TooLarge,
    /// A string that is not UTF-8.
    #[error("string is not valid UTF-8")]
    Utf8,
}

/// Reads lib0 values off a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `buf`.
    #[must_use]
    pub fn new(buf: &'a [u8]) -> Reader<'a> {
        Reader { buf, pos: 0 }
    }

    /// Starts at byte `pos` of `buf`, at its end if that lies beyond.
    #[must_use]
    pub fn starting_at(buf: &'a [u8], pos: usize) -> Reader<'a> {
        Reader { buf, pos: pos.min(buf.len()) }
    }

    /// How many bytes have been read, those before the start included.
    #[must_use]
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pos == self.buf.len()
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Lib0Error::End`] – nothing is left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Lib0Error> {
        let byte = *self.buf.get(self.pos).ok_or(Lib0Error::End)?;
        self.pos += 1;
        Ok(byte)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`Lib0Error::End`] – fewer are left; nothing is read.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Lib0Error> {
        if n > self.remaining() {
            return Err(Lib0Error::End);
        }
        let bytes = &self.buf[self.pos..self.pos + n];
        self.pos += n;
        Ok(bytes)
    }

    /// An unsigned integer: seven bits a byte, least significant first.
    ///
    /// # Errors
    /// [`Lib0Error::End`] – it is cut off. [`Lib0Error::TooLarge`] – it is beyond 2^53 - 1.
    #[inline]
    pub fn var_uint(&mut self) -> Result<u64, Lib0Error> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.var_uint_rest(u64::from(first & 0x7f), 7)
    }

    /// A signed integer: sign and six bits in the first byte, then seven bits a byte.
    ///
    /// # Errors
    /// As [`Reader::var_uint`], for the magnitude.
    pub fn var_int(&mut self) -> Result<i64, Lib0Error> {
        let first = self.u8()?;
        let mut magnitude = u64::from(first & 0x3f);
        if first & 0x80 != 0 {
            magnitude = self.var_uint_rest(magnitude, 6)?;
        }
        let magnitude = i64::try_from(magnitude).map_err(|_| Lib0Error::TooLarge)?;
        Ok(if first & 0x40 != 0 { -magnitude } else { magnitude })
    }

    fn var_uint_rest(&mut self, low: u64, mut shift: u32) -> Result<u64, Lib0Error> {
        let mut value = low;
        for _ in 1..VAR_UINT_BYTES_MAX {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if value > INTEGER_MAX {
                return Err(Lib0Error::TooLarge);
            }
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(Lib0Error::TooLarge)
    }

    /// A length and that many bytes.
    ///
    /// # Errors
    /// As [`Reader::var_uint`]; [`Lib0Error::End`] – fewer bytes are left than declared.
    #[inline]
    pub fn var_bytes(&mut self) -> Result<&'a [u8], Lib0Error> {
        let len = self.var_uint()?;
        // A length beyond usize is beyond what remains as well.
        self.bytes(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// A length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// As [`Reader::var_bytes`]; [`Lib0Error::Utf8`] – the bytes are not UTF-8.
    #[inline]
    pub fn var_str(&mut self) -> Result<&'a str, Lib0Error> {
        core::str::from_utf8(self.var_bytes()?).map_err(|_| Lib0Error::Utf8)
    }
}

/// Appends an unsigned integer of at most 2^53 - 1.
#[inline]
pub fn write_var_uint(out: &mut Vec<u8>, mut n: u64) {
    debug_assert!(n <= INTEGER_MAX, "{n} is beyond what JavaScript can read");
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends the length of `bytes` and the bytes.
#[inline]
pub fn write_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`write_var_uint`] appends for `n`.
#[inline]
#[must_use]
pub fn var_uint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_the_bytes_that_lib0_writes() {
        let golden: [(u64, &[u8]); 6] = [
            (0, &[0]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (0xffff_ffff, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (n, bytes) in golden {
            let mut out = Vec::new();
            write_var_uint(&mut out, n);
            assert_eq!(out, bytes);
            assert_eq!(var_uint_len(n), bytes.len());
            assert_eq!(Reader::new(bytes).var_uint(), Ok(n));
        }
        for shift in 0..53 {
            for n in [(1 << shift) - 1, 1 << shift, INTEGER_MAX] {
                let mut out = Vec::new();
                write_var_uint(&mut out, n);
                assert_eq!(var_uint_len(n), out.len());
                assert_eq!(Reader::new(&out).var_uint(), Ok(n));
            }
        }
    }

    #[test]
    fn integers_that_javascript_cannot_hold_are_refused() {
        let mut beyond = [0xff; 8];
        beyond[7] = 0x1f;
        assert_eq!(Reader::new(&beyond).var_uint(), Err(Lib0Error::TooLarge));
        assert_eq!(Reader::new(&[0xff; 64]).var_uint(), Err(Lib0Error::TooLarge));
        assert_eq!(Reader::new(&[0x80; 64]).var_uint(), Err(Lib0Error::TooLarge));
    }

    #[test]
    fn non_minimal_varints_are_taken_as_javascript_takes_them() {
        assert_eq!(Reader::new(&[0x81, 0x80, 0x00]).var_uint(), Ok(1));
    }

    #[test]
    fn signed_integers_carry_their_sign_in_the_first_byte() {
        for (bytes, n) in [(&[0x01][..], 1), (&[0x41], -1), (&[0x40], 0), (&[0x80, 1], 64), (&[0xc0, 1], -64)] {
            assert_eq!(Reader::new(bytes).var_int(), Ok(n), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_are_checked_against_what_remains() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0x7f]).var_bytes(), Err(Lib0Error::End));
        assert_eq!(Reader::new(&[2, b'a']).var_str(), Err(Lib0Error::End));
        assert_eq!(Reader::new(&[]).u8(), Err(Lib0Error::End));
        assert_eq!(Reader::new(&[0x80]).var_uint(), Err(Lib0Error::End));
    }

    #[test]
    fn strings_must_be_utf8() {
        assert_eq!(Reader::new(&[2, 0xc3, 0xbc]).var_str(), Ok("ü"));
        assert_eq!(Reader::new(&[1, 0xc3]).var_str(), Err(Lib0Error::Utf8));
    }

    #[test]
    fn a_reader_knows_where_it_stands() {
        let mut reader = Reader::new(&[1, b'x', 7]);
        assert_eq!(reader.var_bytes(), Ok(&b"x"[..]));
        assert_eq!((reader.pos(), reader.remaining(), reader.is_empty()), (2, 1, false));
        assert_eq!(reader.u8(), Ok(7));
        assert!(reader.is_empty());
    }
}
