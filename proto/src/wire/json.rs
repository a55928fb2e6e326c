//! Whether a text is JSON that `JSON.parse` takes (RFC 8259), without making anything of it.
//!
//! Iterative and without allocation. Unlike a parser into Rust values it takes what JavaScript writes and reads without harm:
//! halves of surrogate pairs as escapes, and numbers of any size.

/// Whether `text` is one JSON value that nests at most `depth_max` deep, itself at most 128.
pub(super) fn is_json(text: &str, depth_max: u32) -> bool {
    debug_assert!(depth_max <= u128::BITS);
    Checker { bytes: text.as_bytes() }.value(depth_max).is_some()
}

struct Checker<'a> {
    /// What is left of the text.
    bytes: &'a [u8],
}

impl Checker<'_> {
    /// The whole text; `None` as soon as it cannot be JSON any more.
    fn value(&mut self, depth_max: u32) -> Option<()> {
        // The open containers, innermost in the lowest bit: 1 for an object.
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            match self.token()? {
                first @ (b'{' | b'[') => {
                    let is_object = first == b'{';
                    if depth == depth_max {
                        return None;
                    }
                    // A closing bracket is the first token plus two, in ASCII.
                    if !self.take_if(first + 2) {
                        depth += 1;
                        open = open << 1 | u128::from(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' => {
                    let first = self.byte()?;
                    self.number(first)?;
                }
                first => self.number(first)?,
            }
            // A value has ended, and with it perhaps what it is in.
            loop {
                if depth == 0 {
                    self.skip_space();
                    return self.bytes.is_empty().then_some(());
                }
                let is_object = open & 1 == 1;
                match self.token()? {
                    b',' if is_object => {
                        self.key()?;
                        break;
                    }
                    b',' => break,
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                depth -= 1;
                open >>= 1;
            }
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
            assert!(is_json(text, 128), "{text}");
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
            assert!(!is_json(text, 128), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded_and_never_recursed() {
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(is_json(&nested(128), 128));
        assert!(!is_json(&nested(129), 128));
        assert!(!is_json(&"[".repeat(1 << 20), 128));
        assert!(!is_json(&"{\"\":".repeat(1 << 20), 128));
        assert!(is_json(&nested(2), 2));
        assert!(!is_json("[[{}]]", 2), "an empty container is a level, too");
    }

    proptest! {
        /// serde_json is stricter in two points only: unpaired surrogates and numbers out of range.
        #[test]
        fn agrees_with_a_parser(text in "[\\[\\]{},:\"\\\\0-9a-f.eE+ trulns-]{0,12}") {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            match parsed {
                Ok(_) => prop_assert!(is_json(&text, 128)),
                Err(error) => {
                    let message = error.to_string();
                    let is_stricter = message.contains("surrogate") || message.contains("out of range")
                        || message.contains("end of hex escape");
                    prop_assert!(is_stricter || !is_json(&text, 128), "{}", message);
                }
            }
        }
    }
}
