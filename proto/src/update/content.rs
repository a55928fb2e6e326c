//! What an item holds, read off its bytes, whole or in parts.

use super::structs::{
    CONTENT_ANY, CONTENT_BINARY, CONTENT_DELETED, CONTENT_DOC, CONTENT_EMBED, CONTENT_FORMAT, CONTENT_JSON,
    CONTENT_MASK, CONTENT_STRING, CONTENT_TYPE, Item, Struct, TYPE_XML_ELEMENT, TYPE_XML_HOOK, skip_value,
};
use crate::id::Clock;
use crate::lib0::Reader;

/// The content of an item; what takes several clocks comes as a sequence of as many elements.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// Gone.
    Deleted,
    /// Values as JSON texts, `undefined` among them: what Yjs wrote before `Any`.
    Json(Elements<'a>),
    Binary(&'a [u8]),
    /// A clock for each UTF-16 unit.
    String(&'a str),
    /// JSON.
    Embed(&'a str),
    /// What begins or ends at this place of a text: a name, and a value as JSON.
    Format(&'a str, &'a str),
    Type(Shared<'a>),
    Any(Elements<'a>),
    /// A document of its own, by its id.
    Doc(&'a str),
}

/// A shared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared<'a> {
    Array,
    Map,
    Text,
    XmlElement(&'a str),
    XmlFragment,
    XmlHook,
    XmlText,
}

/// Encoded values, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a> {
    pub(crate) bytes: &'a [u8],
    is_any: bool,
}

impl Struct {
    /// What it holds; it must be an item of `update`.
    pub(crate) fn content<'a>(&self, item: &Item, update: &'a [u8]) -> Content<'a> {
        let mut reader = Reader::starting_at(&update[..self.bytes.end], item.content_at);
        let scanned = "scanned as such";
        let elements = |mut reader: Reader<'a>, is_any| {
            reader.var_uint().expect(scanned);
            Elements { bytes: reader.bytes(reader.remaining()).expect(scanned), is_any }
        };
        match update[self.bytes.start] & CONTENT_MASK {
            CONTENT_DELETED => Content::Deleted,
            CONTENT_JSON => Content::Json(elements(reader, false)),
            CONTENT_BINARY => Content::Binary(reader.var_bytes().expect(scanned)),
            CONTENT_STRING => Content::String(reader.var_str().expect(scanned)),
            CONTENT_EMBED => Content::Embed(reader.var_str().expect(scanned)),
            CONTENT_FORMAT => Content::Format(reader.var_str().expect(scanned), reader.var_str().expect(scanned)),
            CONTENT_TYPE => Content::Type(match reader.var_uint().expect(scanned) {
                0 => Shared::Array,
                1 => Shared::Map,
                2 => Shared::Text,
                TYPE_XML_ELEMENT => Shared::XmlElement(reader.var_str().expect(scanned)),
                4 => Shared::XmlFragment,
                TYPE_XML_HOOK => Shared::XmlHook,
                _ => Shared::XmlText,
            }),
            CONTENT_ANY => Content::Any(elements(reader, true)),
            CONTENT_DOC => Content::Doc(reader.var_str().expect(scanned)),
            other => unreachable!("{other} was not scanned as content"),
        }
    }
}

impl<'a> Elements<'a> {
    /// Cuts off the first `count`.
    pub(crate) fn split_off_front(&mut self, count: Clock) -> Elements<'a> {
        let mut reader = Reader::new(self.bytes);
        for _ in 0..count {
            if self.is_any {
                skip_value(&mut reader);
            } else {
                reader.var_bytes().expect("scanned as a text");
            }
        }
        let (front, rest) = self.bytes.split_at(reader.pos());
        self.bytes = rest;
        Elements { bytes: front, is_any: self.is_any }
    }
}

/// A part of a text, by UTF-16 units. Of a surrogate pair that is cut each half becomes U+FFFD, as in Yjs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextPart<'a> {
    pub(crate) begins_with_half: bool,
    pub(crate) text: &'a str,
    pub(crate) ends_with_half: bool,
}

/// How much of a text is looked at together.
const STEP: usize = 64;

/// What stands for half a surrogate pair.
pub(crate) const HALF: &str = "\u{fffd}";

impl<'a> TextPart<'a> {
    pub(crate) fn whole(text: &'a str) -> TextPart<'a> {
        TextPart { text, ..TextPart::default() }
    }

    /// Cuts off the first `units`, which are not more than there are.
    pub(crate) fn split_off_front(&mut self, units: Clock) -> TextPart<'a> {
        let mut left = units as usize;
        if left == 0 {
            return TextPart::default();
        }
        let begins_with_half = core::mem::take(&mut self.begins_with_half);
        left -= usize::from(begins_with_half);
        let mut at = 0;
        // Most texts are of one byte a unit, and what is cut off may be megabytes.
        for part in self.text.as_bytes().chunks(STEP) {
            if part.len() > left || !part.is_ascii() {
                break;
            }
            left -= part.len();
            at += part.len();
        }
        for c in self.text[at..].chars() {
            if left < c.len_utf16() {
                break;
            }
            left -= c.len_utf16();
            at += c.len_utf8();
        }
        let (front, mut rest) = self.text.split_at(at);
        // One unit is left: a pair is cut, or it is the half at the end.
        let ends_with_half = left > 0;
        if ends_with_half {
            match rest.chars().next() {
                Some(pair) => {
                    rest = &rest[pair.len_utf8()..];
                    self.begins_with_half = true;
                }
                None => self.ends_with_half = false,
            }
        }
        self.text = rest;
        TextPart { begins_with_half, text: front, ends_with_half }
    }

    /// The part as text, in up to three pieces.
    pub(crate) fn pieces(&self) -> [&'a str; 3] {
        let half = |is_there| if is_there { HALF } else { "" };
        [half(self.begins_with_half), self.text, half(self.ends_with_half)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, cuts: &[Clock]) -> Vec<String> {
        let mut rest = TextPart::whole(text);
        let mut parts: Vec<String> = cuts.iter().map(|units| rest.split_off_front(*units).pieces().concat()).collect();
        parts.push(rest.pieces().concat());
        parts
    }

    #[test]
    fn text_is_cut_by_units_and_halves_of_pairs_are_replaced() {
        assert_eq!(parts("abc", &[1, 1]), ["a", "b", "c"]);
        assert_eq!(parts("ü😀x", &[1, 2]), ["ü", "😀", "x"]);
        assert_eq!(parts("ü😀x", &[2, 1]), ["ü\u{fffd}", "\u{fffd}", "x"]);
        assert_eq!(parts("😀😀", &[1, 2]), ["\u{fffd}", "\u{fffd}\u{fffd}", "\u{fffd}"]);
        assert_eq!(parts("😀", &[1, 1]), ["\u{fffd}", "\u{fffd}", ""]);
        assert_eq!(parts("a", &[0, 1]), ["", "a", ""]);
        let long = ["a".repeat(200), "😀".into(), "b".repeat(200)].concat();
        for at in [1, 63, 64, 65, 128, 199, 200, 202, 203, 402] {
            let units: Vec<u16> = long.encode_utf16().collect();
            let halves = [&units[..at], &units[at..]].map(|half| String::from_utf16(half).expect("no pair is cut"));
            assert_eq!(parts(&long, &[at as Clock]), halves);
        }
    }
}
