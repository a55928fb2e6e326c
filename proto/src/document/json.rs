//! A document as JSON, for people and for REST.
//!
//! Written as it is read, into one text: values made first would take a multiple of what the document does.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::tree::{BranchId, RootKind, Tree, TreeError, Value};
use crate::lib0::Reader;
use crate::update::content::Shared;
use crate::update::structs::skip_value;

/// Why a document cannot be shown as JSON. It is served as Yjs bytes all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its content cannot be brought into order, or only at too high a price.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The text would be a multiple of the document: formats over formats.
    #[error("document is too large as JSON")]
    TooLarge,
}

/// Steps that a document may take to be read: a second or two.
const STEPS_MAX: u64 = 1 << 27;
/// What a byte of a document may become: one of a `Uint8Array` becomes `255,`, one of a string `\u0001`.
const GROWTH_MAX: usize = 8;
/// Beside that, for the names of a small document's formats.
const BYTES_FREE: usize = 1 << 20;
/// Values deeper than this are left out. What comes in is nested less; this bounds the stack for what is stored.
const DEPTH_MAX: u16 = 400;

/// Renders the state of a document: an object of its root types.
///
/// The bytes do not say what type a root is: clients do, by asking for it. So it is inferred from the content: keys make a map,
/// characters a text, anything else an array. XML comes out as its text. What JSON cannot hold follows `JSON.stringify` where it
/// has a rule (`NaN` is `null`); a `Uint8Array` becomes an array of numbers, a BigInt a number or, beyond 2^53, a string.
///
/// The cost is bounded whatever is in the document, and linear for what clients write.
///
/// # Errors
/// [`ReadError`] – nothing that honest clients write; the document itself is served all the same.
///
/// # Panics
/// When `state` is not an update. Only what was scanned or admitted comes here.
pub fn to_json(state: &[u8]) -> Result<String, ReadError> {
    to_json_within(state, STEPS_MAX)
}

/// As [`to_json`], with at most so many steps beside those that are linear in the document.
///
/// # Errors
/// As [`to_json`].
///
/// # Panics
/// As [`to_json`].
pub fn to_json_within(state: &[u8], steps_max: u64) -> Result<String, ReadError> {
    let tree = Tree::of(state, steps_max.min(STEPS_MAX))?;
    let bytes_max = state.len().saturating_mul(GROWTH_MAX).saturating_add(BYTES_FREE);
    render(&tree, bytes_max, Foreign::AsItIs)
}

/// Renders a tree into at most so many bytes.
pub(super) fn render(tree: &Tree<'_>, bytes_max: usize, foreign: Foreign) -> Result<String, ReadError> {
    let mut writer = Writer { tree, out: String::new(), bytes_max, depth: 0, foreign };
    writer.roots()?;
    Ok(writer.out)
}

/// What becomes of JSON that peers sent as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    AsItIs,
    /// What serde_json does not read (half a surrogate pair, a number beyond all bounds) becomes `null`.
    Readable,
}

struct Writer<'t, 'a> {
    tree: &'t Tree<'a>,
    out: String,
    bytes_max: usize,
    depth: u16,
    foreign: Foreign,
}

impl<'a> Writer<'_, 'a> {
    fn roots(&mut self) -> Result<(), ReadError> {
        self.out.push('{');
        for (at, (name, branch)) in self.tree.roots().enumerate() {
            self.separate(at)?;
            self.string(name);
            self.out.push(':');
            self.root(branch)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn root(&mut self, branch: BranchId) -> Result<(), ReadError> {
        match self.tree.root_kind(branch) {
            RootKind::Map => self.map(branch),
            RootKind::Xml => self.xml(|writer, out| writer.children(branch, out)),
            RootKind::Text => self.text(branch),
            RootKind::Array => self.array(branch),
            RootKind::Nothing => {
                self.out.push_str("{}");
                Ok(())
            }
        }
    }

    fn shared(&mut self, shared: Shared<'a>, branch: BranchId) -> Result<(), ReadError> {
        if self.depth == DEPTH_MAX {
            self.out.push_str("null");
            return Ok(());
        }
        self.depth += 1;
        match shared {
            Shared::Array => self.array(branch)?,
            Shared::Map | Shared::XmlHook => self.map(branch)?,
            Shared::Text => self.text(branch)?,
            Shared::XmlElement(_) | Shared::XmlFragment | Shared::XmlText => {
                self.xml(|writer, out| writer.markup(shared, branch, out))?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn map(&mut self, branch: BranchId) -> Result<(), ReadError> {
        self.out.push('{');
        let shown = self.tree.entries(branch).filter_map(|(key, value)| value.map(|value| (key, value)));
        for (at, (key, value)) in shown.enumerate() {
            self.separate(at)?;
            self.string(key);
            self.out.push(':');
            let before = self.out.len();
            self.elements(value.last(), before)?;
            if self.out.len() == before {
                self.out.push_str("null");
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn array(&mut self, branch: BranchId) -> Result<(), ReadError> {
        self.out.push('[');
        let begin = self.out.len();
        for value in self.tree.items(branch) {
            self.elements(value, begin)?;
        }
        self.out.push(']');
        Ok(())
    }

    fn text(&mut self, branch: BranchId) -> Result<(), ReadError> {
        self.out.push('"');
        for value in self.tree.items(branch) {
            if let Value::Text(part) = value {
                part.pieces().iter().for_each(|piece| self.escaped(piece));
                self.check()?;
            }
        }
        self.out.push('"');
        Ok(())
    }

    /// The elements that an item stands for, in an array that began at `begin`.
    fn elements(&mut self, value: Value<'a>, begin: usize) -> Result<(), ReadError> {
        self.check()?;
        let next = |writer: &mut Self| {
            if writer.out.len() > begin {
                writer.out.push(',');
            }
        };
        match value {
            Value::Gone | Value::Format(..) => {}
            Value::Json(elements, count) => {
                let mut reader = Reader::new(elements.bytes);
                for _ in 0..count {
                    next(self);
                    match reader.var_str().expect("scanned as a text") {
                        "undefined" => self.out.push_str("null"),
                        json => self.foreign(json),
                    }
                    self.check()?;
                }
            }
            Value::Any(elements, count) => {
                let mut reader = Reader::new(elements.bytes);
                for _ in 0..count {
                    next(self);
                    self.any(&mut reader)?;
                }
            }
            Value::Text(part) => {
                for piece in part.pieces() {
                    for c in piece.chars() {
                        next(self);
                        self.string(c.encode_utf8(&mut [0; 4]));
                        self.check()?;
                    }
                }
            }
            Value::Binary(bytes) => {
                next(self);
                self.numbers(bytes);
            }
            Value::Embed(json) => {
                next(self);
                self.foreign(json);
            }
            Value::Type(shared, branch) => {
                next(self);
                self.shared(shared, branch)?;
            }
            Value::Doc(guid) => {
                next(self);
                self.out.push_str("{\"guid\":");
                self.string(guid);
                self.out.push('}');
            }
        }
        Ok(())
    }

    /// One value in lib0's encoding.
    fn any(&mut self, reader: &mut Reader<'a>) -> Result<(), ReadError> {
        const SCANNED: &str = "scanned as a value";
        self.check()?;
        if self.depth == DEPTH_MAX {
            skip_value(reader);
            self.out.push_str("null");
            return Ok(());
        }
        match reader.u8().expect(SCANNED) {
            125 => _ = write!(self.out, "{}", reader.var_int().expect(SCANNED)),
            124 => self.number(f32::from_be_bytes(fixed(reader)).into()),
            123 => self.number(f64::from_be_bytes(fixed(reader))),
            122 => {
                let number = i64::from_be_bytes(fixed(reader));
                let quote = if number.unsigned_abs() < 1 << 53 { "" } else { "\"" };
                let _ = write!(self.out, "{quote}{number}{quote}");
            }
            121 => self.out.push_str("false"),
            120 => self.out.push_str("true"),
            119 => self.string(reader.var_str().expect(SCANNED)),
            118 => self.object(reader)?,
            117 => {
                self.depth += 1;
                self.out.push('[');
                for at in 0..reader.var_uint().expect(SCANNED) {
                    self.separate(at as usize)?;
                    self.any(reader)?;
                }
                self.out.push(']');
                self.depth -= 1;
            }
            116 => self.numbers(reader.var_bytes().expect(SCANNED)),
            _ => self.out.push_str("null"),
        }
        Ok(())
    }

    fn object(&mut self, reader: &mut Reader<'a>) -> Result<(), ReadError> {
        self.depth += 1;
        self.out.push('{');
        let begin = self.out.len();
        let count = reader.var_uint().expect("scanned as a count");
        let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for _ in 0..count {
            let from = if self.out.len() > begin { self.out.len() + 1 } else { begin };
            self.separate(from - begin)?;
            let key = reader.var_str().expect("scanned as a key");
            self.string(key);
            self.out.push(':');
            self.any(reader)?;
            places.insert(key, (from, self.out.len()));
        }
        if places.len() as u64 != count {
            // A key came twice: as in JavaScript the last value counts.
            let members: Vec<&str> = places.values().map(|&(from, to)| &self.out[from..to]).collect();
            let members = members.join(",");
            self.out.truncate(begin);
            self.out.push_str(&members);
        }
        self.out.push('}');
        self.depth -= 1;
        Ok(())
    }

    /// JSON that a peer sent as text.
    fn foreign(&mut self, json: &str) {
        let is_read = self.foreign == Foreign::AsItIs || serde_json::from_str::<Json>(json).is_ok();
        self.out.push_str(if is_read { json } else { "null" });
    }

    /// Whole numbers without a fraction, as JavaScript prints them.
    fn number(&mut self, value: f64) {
        /// From here on JavaScript writes exponents.
        const EXPONENT_FROM: f64 = 1e21;
        if value == 0.0 {
            self.out.push('0');
        } else if value.fract() == 0.0 && value.abs() < EXPONENT_FROM {
            let _ = write!(self.out, "{value}");
        } else {
            match serde_json::Number::from_f64(value) {
                Some(number) => _ = write!(self.out, "{number}"),
                None => self.out.push_str("null"),
            }
        }
    }

    fn numbers(&mut self, bytes: &[u8]) {
        self.out.push('[');
        for (at, byte) in bytes.iter().enumerate() {
            let _ = write!(self.out, "{}{byte}", if at > 0 { "," } else { "" });
        }
        self.out.push(']');
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        self.escaped(text);
        self.out.push('"');
    }

    /// What goes between quotes.
    fn escaped(&mut self, text: &str) {
        let quoted = serde_json::to_string(text).expect("a text is JSON");
        self.out.push_str(&quoted[1..quoted.len() - 1]);
    }

    fn separate(&mut self, at: usize) -> Result<(), ReadError> {
        if at > 0 {
            self.out.push(',');
        }
        self.check()
    }

    fn check(&self) -> Result<(), ReadError> {
        if self.out.len() > self.bytes_max { Err(ReadError::TooLarge) } else { Ok(()) }
    }

    /// What `write` puts together, as one string.
    fn xml(
        &mut self,
        write: impl FnOnce(&mut Writer<'_, 'a>, &mut String) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut markup = String::new();
        write(self, &mut markup)?;
        self.string(&markup);
        self.check()
    }

    /// As `toString` of Yjs' XML types.
    fn markup(&mut self, shared: Shared<'a>, branch: BranchId, out: &mut String) -> Result<(), ReadError> {
        match shared {
            Shared::XmlElement(name) => {
                out.push('<');
                out.push_str(name);
                for (key, value) in self.tree.entries(branch) {
                    if let Some(value) = value {
                        out.push(' ');
                        out.push_str(key);
                        out.push_str("=\"");
                        self.plain(value.last(), out)?;
                        out.push('"');
                    }
                }
                out.push('>');
                self.children(branch, out)?;
                out.push_str("</");
                out.push_str(name);
                out.push('>');
                Ok(())
            }
            Shared::XmlText => self.formatted(branch, out),
            _ => self.children(branch, out),
        }
    }

    fn children(&mut self, branch: BranchId, out: &mut String) -> Result<(), ReadError> {
        self.tree.items(branch).try_for_each(|value| self.plain(value, out))
    }

    /// A text in which formats stand as elements around what they format.
    fn formatted(&mut self, branch: BranchId, out: &mut String) -> Result<(), ReadError> {
        let mut formats: BTreeMap<&str, String> = BTreeMap::new();
        for value in self.tree.items(branch) {
            match value {
                Value::Format(name, "null") => _ = formats.remove(name),
                Value::Format(name, json) => _ = formats.insert(name, opening_tag(name, json)),
                _ => {
                    formats.values().for_each(|tag| out.push_str(tag));
                    self.plain(value, out)?;
                    for name in formats.keys().rev() {
                        out.push_str("</");
                        out.push_str(name);
                        out.push('>');
                    }
                    self.check_markup(out)?;
                }
            }
        }
        Ok(())
    }

    /// A value in XML: strings and XML as they are, anything else as JSON.
    fn plain(&mut self, value: Value<'a>, out: &mut String) -> Result<(), ReadError> {
        self.check_markup(out)?;
        match value {
            Value::Text(part) => part.pieces().iter().for_each(|piece| out.push_str(piece)),
            Value::Type(
                shared @ (Shared::XmlElement(_) | Shared::XmlFragment | Shared::XmlText | Shared::Text),
                branch,
            ) => {
                if self.depth < DEPTH_MAX {
                    self.depth += 1;
                    self.markup(shared, branch, out)?;
                    self.depth -= 1;
                }
            }
            Value::Any(elements, count) => {
                let mut reader = Reader::new(elements.bytes);
                for _ in 0..count {
                    if let Some(text) = as_text(&mut reader) {
                        out.push_str(text);
                    } else {
                        self.aside(out, |writer| writer.any(&mut reader))?;
                    }
                    self.check_markup(out)?;
                }
            }
            other => self.aside(out, |writer| writer.elements(other, writer.out.len()))?,
        }
        Ok(())
    }

    /// Has JSON written at the end of the text, and moves it to `out`.
    fn aside(
        &mut self,
        out: &mut String,
        write: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let begin = self.out.len();
        write(self)?;
        out.push_str(&self.out[begin..]);
        self.out.truncate(begin);
        Ok(())
    }

    fn check_markup(&self, out: &str) -> Result<(), ReadError> {
        if self.out.len() + out.len() > self.bytes_max { Err(ReadError::TooLarge) } else { Ok(()) }
    }
}

fn fixed<const N: usize>(reader: &mut Reader<'_>) -> [u8; N] {
    reader.bytes(N).expect("scanned as a number").try_into().expect("so many were read")
}

/// The next value, if it is a string; else it is not read.
fn as_text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let mut after = reader.clone();
    (after.u8() == Ok(119)).then(|| {
        let text = after.var_str().expect("scanned as a string");
        *reader = after;
        text
    })
}

/// `<name key="value">`, with the members of `json` if it is an object.
fn opening_tag(name: &str, json: &str) -> String {
    let mut tag = format!("<{name}");
    if let Ok(Json::Object(members)) = serde_json::from_str(json) {
        for (key, value) in &members {
            let _ = match value {
                Json::String(text) => write!(tag, " {key}=\"{text}\""),
                other => write!(tag, " {key}=\"{other}\""),
            };
        }
    }
    tag.push('>');
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClientId, Clock};
    use crate::update::build::{ANY, DELETED, MAP, STRING, TYPE, after, before, gc, in_root, inside, string, update};

    const ARRAY: [u8; 1] = [0];

    /// What the document of client 1 with these structs shows in the root "r".
    fn shown(structs: &[Vec<u8>]) -> Json {
        shown_with(structs, &[])
    }

    fn shown_with(structs: &[Vec<u8>], deletes: &[(ClientId, Clock, Clock)]) -> Json {
        let json = to_json(&update(&[(1, 0, structs)], deletes)).expect("it is read");
        let document: Json = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        document["r"].clone()
    }

    fn keyed(key: &str, content: u8, bytes: &[u8]) -> Vec<u8> {
        [&[content | 0x20, 1, 1, b'r'], &string(key)[..], bytes].concat()
    }

    #[test]
    fn nobody_wrote_anything() {
        assert_eq!(to_json(&crate::update::EMPTY_UPDATE).as_deref(), Ok("{}"));
    }

    /// Hostile input 9: yrs 0.28.1 reads an array that holds such a string for ever.
    #[test]
    fn characters_in_an_array_are_its_elements() {
        let array = [in_root(TYPE, &ARRAY), inside((1, 0), STRING, &string("a😀"))];
        assert_eq!(shown(&array), serde_json::json!([["a", "😀"]]));
        let mixed = [in_root(ANY, &[1, 125, 1]), in_root(STRING, &string("😀")), after((1, 0), ANY, &[1, 126])];
        assert_eq!(shown(&mixed), serde_json::json!("😀"), "a root that begins with characters is a text");
        let mixed = [in_root(STRING, &string("😀")), after((1, 1), ANY, &[1, 126])];
        assert_eq!(shown_with(&mixed, &[(1, 0, 2)]), serde_json::json!([null]));
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        let text = [in_root(STRING, &string("a😀b"))];
        assert_eq!(shown_with(&text, &[(1, 1, 1)]), "a\u{fffd}b");
        assert_eq!(shown_with(&text, &[(1, 2, 1)]), "a\u{fffd}b");
    }

    #[test]
    fn every_value_has_its_form() {
        let values = [
            &[125, 0x41][..],
            &[125, 0x40],
            &[124, 0x3f, 0xc0, 0, 0],
            &[123, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
            &[123, 0x40, 0x08, 0, 0, 0, 0, 0, 0],
            &[122, 0, 0x20, 0, 0, 0, 0, 0, 0],
            &[122, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
            &[120],
            &[121],
            &[127],
            &[119, 3, b'"', b'\n', b'x'],
            &[116, 2, 0, 255],
            &[117, 2, 126, 117, 0],
            &[118, 3, 1, b'k', 125, 1, 1, b'l', 118, 0, 1, b'k', 125, 2],
        ];
        let any = [&[values.len() as u8][..], &values.concat()].concat();
        let json = to_json(&update(&[(1, 0, &[in_root(ANY, &any)])], &[])).expect("it is read");
        assert_eq!(
            json,
            r#"{"r":[-1,0,1.5,null,3,"9007199254740992",-2,true,false,null,"\"\nx",[0,255],[null,[]],{"k":2,"l":{}}]}"#
        );
        let legacy = [vec![3], string("undefined"), string("{\"a\": 1}"), string("null")].concat();
        let items = [
            in_root(2, &legacy),
            after((1, 2), 3, &[1, 7]),
            after((1, 3), 5, &string("[1]")),
            after((1, 4), 6, &[string("bold"), string("true")].concat()),
            after((1, 5), 9, &[string("guid"), vec![118, 0]].concat()),
        ];
        assert_eq!(shown(&items), serde_json::json!([null, {"a": 1}, null, [7], [1], {"guid": "guid"}]));
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let set = [keyed("k", ANY, &[1, 125, 1]), after((1, 0), ANY, &[1, 125, 2]), keyed("l", ANY, &[1, 120])];
        assert_eq!(shown_with(&set, &[(1, 0, 1)]), serde_json::json!({"k": 2, "l": true}));
        assert_eq!(shown_with(&set, &[(1, 0, 2)]), serde_json::json!({"l": true}));
        // What is stored may be older than the rule that a value takes one clock.
        let several =
            [keyed("k", ANY, &[2, 125, 1, 125, 2]), keyed("s", STRING, &string("ab")), keyed("d", DELETED, &[1])];
        assert_eq!(shown(&several), serde_json::json!({"k": 2, "s": "b"}));
    }

    #[test]
    fn what_is_collected_or_in_nothing_is_not_shown() {
        let orphans = [gc(2), after((1, 1), STRING, &string("x")), in_root(TYPE, &MAP), inside((1, 3), ANY, &[1, 126])];
        assert_eq!(shown(&orphans), serde_json::json!([{}]));
        let in_text = [in_root(STRING, &string("x")), inside((1, 0), ANY, &[1, 126])];
        assert_eq!(shown(&in_text), "x");
    }

    #[test]
    fn xml_is_shown_as_its_text() {
        let element = [&[3][..], &string("p")].concat();
        let bold = [string("b"), string("{\"n\":1,\"s\":\"x\"}")].concat();
        let xml = [
            in_root(TYPE, &element),
            [&[ANY | 0x20, 0, 1, 0][..], &string("id"), &[1, 119, 1, b'7']].concat(),
            inside((1, 0), TYPE, &[6]),
            inside((1, 2), STRING, &string("a")),
            after((1, 3), 6, &bold),
            after((1, 4), STRING, &string("<c")),
            after((1, 6), 6, &[string("b"), string("null")].concat()),
            after((1, 7), 5, &string("{}")),
        ];
        assert_eq!(shown(&xml), "<p id=\"7\">a<b n=\"1\" s=\"x\"><c</b>{}</p>");
    }

    /// Formats stand around every run of a text, so many of both would be a multiple of the document.
    #[test]
    fn text_that_multiplies_is_given_up() {
        let count = 6_000;
        let mut structs = vec![in_root(TYPE, &[6]), inside((1, 0), 6, &[string("f"), string("1")].concat())];
        for clock in 1..count {
            let content = if clock % 2 == 0 { string("x") } else { [string(&clock.to_string()), string("1")].concat() };
            structs.push(after((1, clock), if clock % 2 == 0 { STRING } else { 6 }, &content));
        }
        assert_eq!(to_json(&update(&[(1, 0, &structs)], &[])), Err(ReadError::TooLarge));
    }

    /// Stored by an earlier version, or under other limits.
    #[test]
    fn depth_costs_no_stack() {
        let chain: Vec<Vec<u8>> = (0..30_000)
            .map(|at| if at == 0 { in_root(TYPE, &ARRAY) } else { inside((1, at - 1), TYPE, &ARRAY) })
            .collect();
        let element = [&[3][..], &string("p")].concat();
        let xml: Vec<Vec<u8>> = (0..30_000)
            .map(|at| if at == 0 { in_root(TYPE, &element) } else { inside((1, at - 1), TYPE, &element) })
            .collect();
        let value = in_root(ANY, &[&[1][..], &[117, 1].repeat(30_000), &[126]].concat());
        for structs in [chain, xml, vec![value]] {
            assert!(to_json(&update(&[(1, 0, &structs)], &[])).is_ok());
        }
    }

    /// Hostile input 9, as by an earlier version: each of the second half is compared with all of the first.
    #[test]
    fn items_that_all_conflict_are_given_up() {
        let count = 20_000;
        let mut structs = vec![in_root(ANY, &[1, 126])];
        structs.extend((1..count).map(|at| after((1, at - 1), ANY, &[1, 126])));
        structs.extend((0..count).map(|at| before((1, count - 1 - at), ANY, &[1, 126])));
        assert_eq!(to_json(&update(&[(1, 0, &structs)], &[])), Err(ReadError::Tree(TreeError::TooCostly)));
        let sets: Vec<Vec<u8>> = (0..20_000).map(|_| keyed("k", ANY, &[1, 126])).collect();
        assert_eq!(to_json(&update(&[(1, 0, &sets)], &[])), Err(ReadError::Tree(TreeError::TooCostly)));
    }

    /// What a document costs its readers says nothing of what it costs with one item more (docs/PROTOCOL.md, "What items at one
    /// place cost clients"): the third client, who is read first, brings the lower of the two others before the higher one.
    #[test]
    fn one_item_more_can_make_all_others_conflict() {
        let fronts = |client| -> Vec<Vec<u8>> {
            let first = in_root(ANY, &[1, 126]);
            core::iter::once(first).chain((0..12_000).map(|at| before((client, at), ANY, &[1, 126]))).collect()
        };
        let (high, low, last) = (fronts(10), fronts(5), [before((5, 12_000), ANY, &[1, 126])]);
        assert!(to_json(&update(&[(10, 0, &high), (5, 0, &low)], &[])).is_ok());
        let dear = update(&[(20, 0, &last), (10, 0, &high), (5, 0, &low)], &[]);
        assert_eq!(to_json(&dear), Err(ReadError::Tree(TreeError::TooCostly)));
    }

    #[test]
    fn what_is_not_whole_is_no_document() {
        let hole = update(&[(1, 1, &[gc(1)])], &[]);
        assert_eq!(to_json(&hole), Err(ReadError::Tree(TreeError::NotWhole)));
        let cause = update(&[(1, 0, &[after((2, 0), ANY, &[1, 126])])], &[]);
        assert_eq!(to_json(&cause), Err(ReadError::Tree(TreeError::NotWhole)));
        let circle = update(
            &[(2, 0, &[gc(1), after((1, 0), STRING, &string("a"))]), (1, 0, &[after((2, 1), STRING, &string("b"))])],
            &[],
        );
        assert_eq!(to_json(&circle), Err(ReadError::Tree(TreeError::NotWhole)));
    }
}
