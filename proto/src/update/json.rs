//! Whether a string is JSON, without making anything of it.
//!
//! Embeds and formats carry JSON text. A Yjs client parses it while it integrates; one that does not parse would stop every
//! client of the room, so it never gets in.

use super::scan::ScanError;

/// Checks `text` against RFC 8259, containers nested at most `depth_max` deep.
///
/// Returns whether yrs, which parses with serde_json, gives back the same value: not so for halves of surrogate pairs,
/// negative zero, and numbers that take more than exact decimal arithmetic on 53 bits.
pub(super) fn check(text: &str, depth_max: u16) -> Result<bool, ScanError> {
    let mut json = Json { bytes: text.as_bytes(), pos: 0, lossless: true };
    json.document(depth_max)?;
    Ok(json.lossless)
}

struct Json<'a> {
    bytes: &'a [u8],
    pos: usize,
    lossless: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

impl Json<'_> {
    /// Iterates with a stack of its own: input decides how deep it goes.
    fn document(&mut self, depth_max: u16) -> Result<(), ScanError> {
        let mut open = Vec::new();
        loop {
            let entered = match self.token()? {
                b'[' => Some((Container::Array, b']')),
                b'{' => Some((Container::Object, b'}')),
                first => {
                    self.scalar(first)?;
                    None
                }
            };
            if let Some((container, close)) = entered {
                if open.len() >= usize::from(depth_max) {
                    return Err(ScanError::Depth);
                }
                open.push(container);
                if self.peek() == Some(close) {
                    self.pos += 1;
                    open.pop();
                } else {
                    if container == Container::Object {
                        self.key()?;
                    }
                    continue;
                }
            }
            // A value has ended: close what ends with it, until another one follows or nothing is open.
            loop {
                let Some(container) = open.last() else {
                    return if self.peek().is_none() { Ok(()) } else { Err(ScanError::Json) };
                };
                match (self.token()?, container) {
                    (b',', Container::Array) => break,
                    (b',', Container::Object) => {
                        self.key()?;
                        break;
                    }
                    (b']', Container::Array) | (b'}', Container::Object) => {
                        open.pop();
                    }
                    _ => return Err(ScanError::Json),
                }
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ScanError> {
        let byte = *self.bytes.get(self.pos).ok_or(ScanError::Json)?;
        self.pos += 1;
        Ok(byte)
    }

    /// The next byte that is not white space, left in place.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
        self.bytes.get(self.pos).copied()
    }

    fn token(&mut self) -> Result<u8, ScanError> {
        self.peek();
        self.byte()
    }

    fn key(&mut self) -> Result<(), ScanError> {
        if self.token()? != b'"' {
            return Err(ScanError::Json);
        }
        self.string()?;
        if self.token()? == b':' { Ok(()) } else { Err(ScanError::Json) }
    }

    fn scalar(&mut self, first: u8) -> Result<(), ScanError> {
        match first {
            b'"' => self.string(),
            b't' => self.rest(b"rue"),
            b'f' => self.rest(b"alse"),
            b'n' => self.rest(b"ull"),
            b'-' | b'0'..=b'9' => self.number(first),
            _ => Err(ScanError::Json),
        }
    }

    fn rest(&mut self, rest: &[u8]) -> Result<(), ScanError> {
        if !self.bytes[self.pos..].starts_with(rest) {
            return Err(ScanError::Json);
        }
        self.pos += rest.len();
        Ok(())
    }

    /// What follows the opening quote.
    fn string(&mut self) -> Result<(), ScanError> {
        let mut high_surrogate = false;
        loop {
            let mut follows_high = false;
            match self.byte()? {
                b'"' => {
                    self.lossless &= !high_surrogate;
                    return Ok(());
                }
                b'\\' => match self.byte()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.lossless &= !high_surrogate,
                    b'u' => {
                        let unit = self.hex4()?;
                        let low = (0xdc00..0xe000).contains(&unit);
                        self.lossless &= low == high_surrogate;
                        follows_high = (0xd800..0xdc00).contains(&unit);
                    }
                    _ => return Err(ScanError::Json),
                },
                0..=0x1f => return Err(ScanError::Json),
                _ => self.lossless &= !high_surrogate,
            }
            high_surrogate = follows_high;
        }
    }

    fn hex4(&mut self) -> Result<u32, ScanError> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.byte()?).to_digit(16).ok_or(ScanError::Json)?;
        }
        Ok(unit)
    }

    fn number(&mut self, first: u8) -> Result<(), ScanError> {
        /// Decimal digits that a double always gives back.
        const EXACT_DIGITS: usize = 15;
        let start = self.pos;
        let lead = if first == b'-' { self.byte()? } else { first };
        let mut digits = 1;
        match lead {
            b'0' => {}
            b'1'..=b'9' => digits += self.digits(),
            _ => return Err(ScanError::Json),
        }
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            let fraction = self.digits();
            if fraction == 0 {
                return Err(ScanError::Json);
            }
            digits += fraction;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            if self.digits() == 0 {
                return Err(ScanError::Json);
            }
            self.lossless = false;
        }
        let is_minus_zero = first == b'-' && self.bytes[start..self.pos].iter().all(|b| matches!(b, b'0' | b'.'));
        self.lossless &= digits <= EXACT_DIGITS && !is_minus_zero;
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let digits = self.bytes[self.pos..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.pos += digits;
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_is_told_from_what_only_looks_like_it() {
        for text in
            ["null", " true ", "[]", "{}", "[1, -2.5, \"\\u00fc\\n\"]", r#"{"a":{"b":[{}]},"c":0}"#, "1e3", "\"ü\""]
        {
            assert!(check(text, 64).is_ok(), "{text}");
        }
        for text in [
            "",
            " ",
            "undefined",
            "nul",
            "01",
            "1.",
            "-",
            "1e",
            ".5",
            "+1",
            "[1,]",
            "[",
            "]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\u{1}\"",
            "1 2",
            "[1 2]",
            "{]",
            "[}",
            "NaN",
            "'a'",
        ] {
            assert_eq!(check(text, 64), Err(ScanError::Json), "{text}");
        }
    }

    #[test]
    fn json_nests_no_deeper_than_allowed() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(64), 64), Ok(true));
        assert_eq!(check(&nested(65), 64), Err(ScanError::Depth));
        assert_eq!(check(&"[".repeat(1 << 20), 64), Err(ScanError::Depth));
    }

    #[test]
    fn values_that_yrs_would_not_give_back_are_noticed() {
        for text in [
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ude00""#,
            r#""\ud83d\n""#,
            "-0",
            "-0.0",
            "1e999",
            "9223372036854775808",
            "0.1234567890123456",
        ] {
            assert_eq!(check(text, 64), Ok(false), "{text}");
        }
        for text in [r#""\ud83d\ude00""#, "0", "-1", "0.25", "123456789012345"] {
            assert_eq!(check(text, 64), Ok(true), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_verdict_is_that_of_serde_json(text in r#"[\[\]{},:"\\u0-9a.e+ -]{0,12}|(true|null|"a"|1|,|:|\[|\]|\{|\}| ){0,9}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            match check(&text, 64) {
                Ok(true) => prop_assert!(theirs),
                // What it refuses although it is JSON is exactly what would be lost.
                Ok(false) => {}
                Err(_) => prop_assert!(!theirs),
            }
        }
    }
}
