//! The version of what is shown: the beginning of the SHA-256 of its JSON, names in order. A state vector does not tell, because
//! deletions do not move it.

use core::fmt;
use std::io;

use ring::digest::{Context, SHA256};
use serde_json::Value;

/// A version, compared as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(u128);

impl Etag {
    /// The version of something that is going to be added.
    #[must_use]
    pub fn begin() -> Digest {
        Digest(Context::new(&SHA256))
    }

    /// For tests, which need some.
    #[must_use]
    pub fn from_bits(bits: u128) -> Etag {
        Etag(bits)
    }

    /// As it stands in a header; `None` for what never was one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Etag> {
        let digits = text.trim().strip_prefix('"')?.strip_suffix('"')?;
        let is_ours = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_ours.then(|| u128::from_str_radix(digits, 16).ok().map(Etag)).flatten()
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:032x}\"", self.0)
    }
}

/// A version in the making.
pub struct Digest(Context);

impl Digest {
    /// Adds a value.
    pub fn add(&mut self, value: &Value) {
        serde_json::to_writer(&mut *self, value).expect("values become JSON");
        self.0.update(b"\n");
    }

    /// Adds text as it is.
    pub fn add_text(&mut self, text: &[u8]) {
        self.0.update(text);
    }

    /// The version.
    #[must_use]
    pub fn finish(self) -> Etag {
        let digest = self.0.finish();
        let first = digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Etag(u128::from_be_bytes(*first))
    }
}

impl io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `If-Match` and `If-None-Match` name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version, if there is one.
    Any,
    /// These. Those of others are left out: they fit nothing.
    These(Vec<Etag>),
}

impl Tags {
    /// As it stands in a header. Weak ones count as those that they weaken: versions are compared by bytes here.
    #[must_use]
    pub fn parse(text: &str) -> Tags {
        match text.trim() {
            "*" => Tags::Any,
            list => Tags::These(
                list.split(',').filter_map(|tag| Etag::parse(tag.trim().trim_start_matches("W/"))).collect(),
            ),
        }
    }

    /// Whether `etag`, the version of what is there, is among them.
    #[must_use]
    pub fn fit(&self, etag: Option<Etag>) -> bool {
        match (self, etag) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(tags), Some(etag)) => tags.contains(&etag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Etag {
        let mut digest = Etag::begin();
        digest.add(value);
        digest.finish()
    }

    #[test]
    fn a_version_is_that_of_the_content() {
        let etag = of(&json!({"b": 1, "a": [2]}));
        assert_eq!(etag, of(&serde_json::from_str(r#"{ "a": [2], "b": 1 }"#).unwrap()));
        assert_ne!(etag, of(&json!({"a": [2]})));
        assert_eq!(Etag::parse(&etag.to_string()), Some(etag));
        for text in ["", "\"\"", "*", "\"+0000000000000000000000000000001\"", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Etag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn conditions_name_versions() {
        let (a, b) = (Etag::from_bits(1), Etag::from_bits(2));
        assert!(Tags::parse("*").fit(Some(a)) && !Tags::parse("*").fit(None));
        let list = Tags::parse(&format!("\"other\", W/{a} ,{b}"));
        assert_eq!(list, Tags::These(vec![a, b]));
        assert!(list.fit(Some(b)) && !list.fit(None) && !list.fit(Some(Etag::from_bits(3))));
    }
}
