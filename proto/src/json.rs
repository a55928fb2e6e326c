//! Whether a text is JSON that `JSON.parse` takes (RFC 8259), without making anything of it.
//!
//! Iterative, and without allocation up to a depth of 128. Unlike a parser into Rust values it takes what JavaScript writes and reads
//! without harm: halves of surrogate pairs as escapes, and numbers of any size.

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    NotJson,
    /// It may be JSON, and nests deeper than is allowed.
    TooDeep,
}

/// Checks that `text` is one JSON value whose containers nest at most `depth_max` deep.
pub(crate) fn check(text: &str, depth_max: u16) -> Result<(), JsonError> {
    Checker { bytes: text.as_bytes() }.value(depth_max.into())
}

/// The containers that are open, one bit for each: 1 for an object.
#[derive(Default)]
struct Open {
    depth: u32,
    /// The innermost ones, the last in the lowest bit.
    inner: u128,
    /// All further out, as many to a word.
    outer: Vec<u128>,
}

impl Open {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(u128::BITS) {
            self.outer.push(core::mem::take(&mut self.inner));
        }
        self.inner = self.inner << 1 | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.inner >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(u128::BITS) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost one is an object; `None` when all are closed.
    fn is_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.inner & 1 == 1)
    }
}

struct Checker<'a> {
    /// What is left of the text.
    bytes: &'a [u8],
}

impl Checker<'_> {
    /// The whole text.
    fn value(&mut self, depth_max: u32) -> Result<(), JsonError> {
        let mut open = Open::default();
        loop {
            let first = self.token().ok_or(JsonError::NotJson)?;
            if let b'{' | b'[' = first {
                if open.depth == depth_max {
                    return Err(JsonError::TooDeep);
                }
                // A closing bracket is the opening one plus two, in ASCII.
                if !self.take_if(first + 2) {
                    open.push(first == b'{');
                    if first == b'{' {
                        self.key().ok_or(JsonError::NotJson)?;
                    }
                    continue;
                }
            } else {
                self.scalar(first).ok_or(JsonError::NotJson)?;
            }
            // A value has ended, and with it perhaps what it is in.
            loop {
                let Some(is_object) = open.is_object() else {
                    self.skip_space();
                    return if self.bytes.is_empty() { Ok(()) } else { Err(JsonError::NotJson) };
                };
                match self.token().ok_or(JsonError::NotJson)? {
                    b',' if is_object => {
                        self.key().ok_or(JsonError::NotJson)?;
                        break;
                    }
                    b',' => break,
                    b'}' if is_object => open.pop(),
                    b']' if !is_object => open.pop(),
                    _ => return Err(JsonError::NotJson),
                }
            }
        }
    }

    /// A value that is no container, behind its first byte; `None` as soon as it cannot be one.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string(),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            b'-' => {
                let first = self.byte()?;
                self.number(first)
            }
            first => self.number(first),
        }
    }

    fn key(&mut self) -> Option<()> {
        (self.token()? == b'"').then_some(())?;
        self.string()?;
        (self.token()? == b':').then_some(())
    }

    /// Behind its opening quote.
    fn string(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                b'"' => return Some(()),
                b'\\' => match self.byte()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = self.bytes.split_off(..4)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    }
                    _ => return None,
                },
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    /// Behind its sign and first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        first.is_ascii_digit().then_some(())?;
        if first != b'0' {
            self.digits();
        }
        if self.next_is(b".") {
            self.byte()?;
            (self.digits() > 0).then_some(())?;
        }
        if self.next_is(b"eE") {
            self.byte()?;
            if self.next_is(b"+-") {
                self.byte()?;
            }
            (self.digits() > 0).then_some(())?;
        }
        Some(())
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.bytes = &self.bytes[count..];
        count
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(rest)?;
        Some(())
    }

    fn next_is(&self, any_of: &[u8]) -> bool {
        self.bytes.first().is_some_and(|byte| any_of.contains(byte))
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes.split_off_first().copied()
    }

    fn token(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn take_if(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.bytes.strip_prefix(&[byte]) {
            Some(rest) => {
                self.bytes = rest;
                true
            }
            None => false,
        }
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.bytes {
            self.bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_json(text: &str) -> bool {
        check(text, 128).is_ok()
    }

    #[test]
    fn json_is_told_from_what_is_none() {
        for text in [
            "null",
            " {} ",
            "[ ]",
            "{\"a\":[1,-0.5e+10,{\"b\":null}],\"c\":\"\\u00fc\\n\"}",
            "0",
            "-1",
            "1E400",
            "12345678901234567890",
            "\"\\ud83d\"",
            "[[],{},[[]]]",
            "\"\u{2028}\u{7f}\"",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[1}",
            "{\"a\":1]",
            "01",
            "1.",
            ".1",
            "+1",
            "-",
            "1e",
            "1e+",
            "--1",
            "nul",
            "nulll",
            "truE",
            "NaN",
            "Infinity",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"\n\"",
            "'a'",
            "1 2",
            "{}{}",
            "\u{feff}{}",
            "\u{a0}1",
            "[1 2]",
            "{\"a\" 1}",
            "undefined",
            "]]",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_and_never_recursed() {
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(check(&nested(128), 128), Ok(()));
        assert_eq!(check(&nested(129), 128), Err(JsonError::TooDeep));
        assert_eq!(check(&"[".repeat(1 << 20), 128), Err(JsonError::TooDeep));
        assert_eq!(check(&"{\"\":".repeat(1 << 20), 128), Err(JsonError::TooDeep));
        assert_eq!(check(&nested(2), 2), Ok(()));
        assert_eq!(check("[[{}]]", 2), Err(JsonError::TooDeep), "an empty container is a level, too");
        assert_eq!(check("[[", 2), Err(JsonError::NotJson));
    }

    #[test]
    fn brackets_are_told_apart_at_any_depth() {
        // Objects and lists in turn, across the words that remember which is which.
        let opened: String = (0..1_000).map(|depth| if depth % 3 == 0 { "{\"\":" } else { "[" }).collect();
        let closed: String = (0..1_000).rev().map(|depth| if depth % 3 == 0 { '}' } else { ']' }).collect();
        assert_eq!(check(&format!("{opened}1{closed}"), u16::MAX), Ok(()));
        for at in [0, 1, 127, 128, 129, 255, 256, 500, 999] {
            let mut wrong = closed.clone().into_bytes();
            wrong[at] ^= b'}' ^ b']';
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(check(&format!("{opened}1{wrong}"), u16::MAX), Err(JsonError::NotJson), "{at}");
        }
    }

    proptest! {
        /// serde_json is stricter in two points only: unpaired surrogates and numbers out of range.
        #[test]
        fn agrees_with_a_parser(text in "[\\[\\]{},:\"\\\\0-9a-f.eE+ trulns-]{0,12}") {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            match parsed {
                Ok(_) => prop_assert!(is_json(&text)),
                Err(error) => {
                    let message = error.to_string();
                    let is_stricter = message.contains("surrogate") || message.contains("out of range")
                        || message.contains("end of hex escape");
                    prop_assert!(is_stricter || !is_json(&text), "{}", message);
                }
            }
        }
    }
}
