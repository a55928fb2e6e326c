//! A new document from JSON: what a template or another system has becomes shared types that everybody may edit.
//!
//! Written as it is read, by a client that was never there: neither the values nor a document are ever held. The update takes at most
//! [`GROWTH_MAX`] times the bytes of the text, and the work is linear in them.

use core::fmt;
use std::collections::BTreeSet;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::id::{ClientId, Clock};
use crate::lib0::{write_var_bytes, write_var_int, write_var_uint};
use crate::update::structs::{
    CONTENT_ANY, CONTENT_STRING, CONTENT_TYPE, HAS_ORIGIN, HAS_PARENT_SUB, Id, utf16_len, write_id,
};

/// What a byte of JSON may become: `[1],` is an item for the list and one for what is in it, which name client and clock.
#[cfg(test)]
const GROWTH_MAX: usize = 8;

/// Why JSON does not become a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Not JSON, or nested deeper than 128 values.
    #[error("the body is not JSON")]
    NotJson,
    /// A document is its root types, by their names.
    #[error("a document is an object of root types")]
    NotAnObject,
    /// Roots are shared types; a number or a truth value is none.
    #[error("a root is an object, a list or a text")]
    NotAType,
    /// Which of the two values was meant?
    #[error("an object has the same key twice")]
    KeyTwice,
}

/// Makes the update that writes `json` into an empty document, by a client whose id is `client`.
///
/// The reverse of [`super::to_json`]: an object becomes a `Y.Map`, a list a `Y.Array`, a text that is a root a `Y.Text`; texts further
/// inside, numbers, truth values and `null` are plain values. Empty roots leave no trace, as in Yjs.
///
/// # Errors
/// [`CreateError`] – a sentence for whoever wrote it.
pub fn from_json(json: &[u8], client: u32) -> Result<Vec<u8>, CreateError> {
    let mut writer = Writer::new(client.into());
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader
        .deserialize_map(Roots(&mut writer))
        .and_then(|()| reader.end())
        .map_err(|error| if error.is_data() { writer.mistake } else { CreateError::NotJson })?;
    Ok(writer.into_update())
}

/// Structs of one client, from clock 0 on.
pub(super) struct Writer {
    client: ClientId,
    pub(super) clock: Clock,
    pub(super) structs: u32,
    pub(super) out: Vec<u8>,
    /// What it is when JSON is not as it should be at this place.
    mistake: CreateError,
}

/// The shared type that an item belongs to.
#[derive(Clone, Copy)]
pub(super) enum Parent<'a> {
    Root(&'a str),
    Item(Clock),
}

/// Items one behind the other: those of a list, or the single one of a key.
pub(super) struct Sequence<'a> {
    parent: Parent<'a>,
    key: Option<&'a str>,
    /// The last clock of what is written.
    left: Option<Clock>,
    /// Plain values that will be one item.
    run: Vec<u8>,
    values: Clock,
}

impl<'a> Sequence<'a> {
    pub(super) fn new(parent: Parent<'a>, key: Option<&'a str>) -> Sequence<'a> {
        Sequence { parent, key, left: None, run: Vec::new(), values: 0 }
    }
}

/// `Y.Array` and `Y.Map`, as `ContentType` has them.
const ARRAY: u8 = 0;
const MAP: u8 = 1;

impl Writer {
    pub(super) fn new(client: ClientId) -> Writer {
        Writer { client, clock: 0, structs: 0, out: Vec::new(), mistake: CreateError::NotAnObject }
    }

    fn into_update(self) -> Vec<u8> {
        let mut update = Vec::with_capacity(self.out.len() + 16);
        if self.structs > 0 {
            write_var_uint(&mut update, 1);
            write_var_uint(&mut update, self.structs.into());
            write_id(&mut update, Id { client: self.client, clock: 0 });
            update.extend_from_slice(&self.out);
        } else {
            write_var_uint(&mut update, 0);
        }
        write_var_uint(&mut update, 0); // nothing is deleted
        update
    }

    /// What comes before the content of the next item of `sequence`, which takes `clocks`.
    pub(super) fn header(&mut self, sequence: &mut Sequence<'_>, content: u8, clocks: Clock) {
        match (sequence.left, sequence.parent) {
            (Some(clock), _) => {
                self.out.push(content | HAS_ORIGIN);
                write_id(&mut self.out, Id { client: self.client, clock });
            }
            (None, parent) => {
                self.out.push(content | if sequence.key.is_some() { HAS_PARENT_SUB } else { 0 });
                match parent {
                    Parent::Root(name) => {
                        write_var_uint(&mut self.out, 1);
                        write_var_bytes(&mut self.out, name.as_bytes());
                    }
                    Parent::Item(clock) => {
                        write_var_uint(&mut self.out, 0);
                        write_id(&mut self.out, Id { client: self.client, clock });
                    }
                }
                if let Some(key) = sequence.key {
                    write_var_bytes(&mut self.out, key.as_bytes());
                }
            }
        }
        self.structs += 1;
        self.clock += clocks;
        sequence.left = Some(self.clock - 1);
    }

    /// Writes the plain values that wait.
    fn flush(&mut self, sequence: &mut Sequence<'_>) {
        let clocks = core::mem::take(&mut sequence.values);
        if clocks > 0 {
            self.header(sequence, CONTENT_ANY, clocks);
            write_var_uint(&mut self.out, clocks.into());
            self.out.append(&mut sequence.run);
        }
    }

    /// Writes a shared type, and says what its items name as their parent.
    fn shared(&mut self, sequence: &mut Sequence<'_>, kind: u8) -> Parent<'static> {
        self.flush(sequence);
        self.header(sequence, CONTENT_TYPE, 1);
        self.out.push(kind);
        Parent::Item(self.clock - 1)
    }

    fn text(&mut self, name: &str, text: &str) {
        // More than 2^31 units do not fit into what may be sent.
        let units = utf16_len(text) as Clock;
        if units > 0 {
            self.header(&mut Sequence::new(Parent::Root(name), None), CONTENT_STRING, units);
            write_var_bytes(&mut self.out, text.as_bytes());
        }
    }

    fn entries<'de, A: MapAccess<'de>>(&mut self, parent: Parent<'_>, mut entries: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let mut sequence = Sequence::new(parent, Some(&key));
            entries.next_value_seed(Element { writer: self, sequence: &mut sequence })?;
            self.flush(&mut sequence);
            self.once(&mut keys, key)?;
        }
        Ok(())
    }

    fn items<'de, A: SeqAccess<'de>>(&mut self, parent: Parent<'_>, mut items: A) -> Result<(), A::Error> {
        let mut sequence = Sequence::new(parent, None);
        while items.next_element_seed(Element { writer: self, sequence: &mut sequence })?.is_some() {}
        self.flush(&mut sequence);
        Ok(())
    }

    fn once<E: serde::de::Error>(&mut self, keys: &mut BTreeSet<String>, key: String) -> Result<(), E> {
        if keys.insert(key) {
            return Ok(());
        }
        self.mistake = CreateError::KeyTwice;
        Err(E::custom(self.mistake))
    }
}

/// The whole text.
struct Roots<'w>(&'w mut Writer);

impl<'de> Visitor<'de> for Roots<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of root types")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut roots: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = roots.next_key::<String>()? {
            self.0.mistake = CreateError::NotAType;
            roots.next_value_seed(Root { writer: self.0, name: &name })?;
            self.0.once(&mut names, name)?;
        }
        Ok(())
    }
}

/// One root type.
struct Root<'w> {
    writer: &'w mut Writer,
    name: &'w str,
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a list or a text")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        self.writer.entries(Parent::Root(self.name), entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.writer.items(Parent::Root(self.name), items)
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.writer.text(self.name, text);
        Ok(())
    }
}

/// The next value of a sequence.
struct Element<'w, 's> {
    writer: &'w mut Writer,
    sequence: &'w mut Sequence<'s>,
}

/// Values as lib0 writes them (`encoding.js`, `writeAny`).
mod any {
    pub(super) const NULL: u8 = 126;
    pub(super) const INTEGER: u8 = 125;
    pub(super) const FLOAT32: u8 = 124;
    pub(super) const FLOAT64: u8 = 123;
    pub(super) const FALSE: u8 = 121;
    pub(super) const TRUE: u8 = 120;
    pub(super) const STRING: u8 = 119;
    /// Beyond, whole numbers are written as floats.
    pub(super) const INTEGER_MAX: f64 = 0x7fff_ffff_u32 as f64;
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.sequence.push(any::NULL);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.sequence.push(if value { any::TRUE } else { any::FALSE });
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.sequence.number(value as f64);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.sequence.number(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.sequence.number(value);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.sequence.push(any::STRING);
        write_var_bytes(&mut self.sequence.run, text.as_bytes());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let parent = self.writer.shared(self.sequence, MAP);
        self.writer.entries(parent, entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        let parent = self.writer.shared(self.sequence, ARRAY);
        self.writer.items(parent, items)
    }
}

impl Sequence<'_> {
    /// One more plain value; what follows its kind is written into the run.
    fn push(&mut self, kind: u8) {
        self.values += 1;
        self.run.push(kind);
    }

    /// A number as JavaScript has it.
    fn number(&mut self, value: f64) {
        let is_negative_zero = value == 0.0 && value.is_sign_negative();
        if value.fract() == 0.0 && value.abs() <= any::INTEGER_MAX && !is_negative_zero {
            self.push(any::INTEGER);
            write_var_int(&mut self.run, value as i64);
        } else if f64::from(value as f32) == value {
            self.push(any::FLOAT32);
            self.run.extend_from_slice(&(value as f32).to_be_bytes());
        } else {
            self.push(any::FLOAT64);
            self.run.extend_from_slice(&value.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::to_json;
    use super::*;
    use crate::limits::Limits;
    use crate::update::scan;
    use serde_json::Value as Json;

    fn read(update: &[u8]) -> Json {
        serde_json::from_str(&to_json(update).unwrap()).unwrap()
    }

    #[test]
    fn what_is_created_reads_as_it_was_written() {
        for json in [
            r#"{"widgets":{"sales":{"title":"Sales 😀","refresh":30,"points":[1,2.5,-3,null,true,"😀"]}}}"#,
            r#"{"layout":[{"x":0,"y":4},["a","b"]],"note":"Hello, \"you\""}"#,
            r#"{"a":[1,[],2,{},3,[[4,5],6],{"":{"":false}}],"b":{"c":"d"},"":["\u0000"]}"#,
            r#"{"n":[0,-1,63,64,-64,2147483647,-2147483647,2147483648,9007199254740992,0.1,0.5,1e300,-1e-7]}"#,
            r#"{}"#,
        ] {
            let update = from_json(json.as_bytes(), 7).unwrap();
            let scanned = scan(&update, &Limits::default()).unwrap();
            assert!(scanned.spans.iter().all(|span| (span.client, span.start) == (7, 0)));
            let written: Json = serde_json::from_str(json).unwrap();
            assert_eq!(read(&update).to_string().replace(".0", ""), written.to_string().replace(".0", ""));
        }
        let empty = from_json(br#"{"a":{},"b":[],"c":""}"#, 7).unwrap();
        assert_eq!((empty.as_slice(), read(&empty)), (&[0, 0][..], serde_json::json!({})));
    }

    /// As Yjs 13.6 writes `doc.getMap('m').set('a', new Y.Array([1, 'x', [], 2.5]))`, then `doc.getText('t').insert(0, '😀')`.
    #[test]
    fn bytes_are_those_of_yjs() {
        let update = from_json(r#"{"m":{"a":[1,"x",[],2.5]},"t":"😀"}"#.as_bytes(), 300).unwrap();
        let expected: &[&[u8]] = &[
            &[1, 5, 0xac, 2, 0],
            &[0x27, 1, 1, b'm', 1, b'a', 0],
            &[8, 0, 0xac, 2, 0, 2, 125, 1, 119, 1, b'x'],
            &[0x87, 0xac, 2, 2, 0],
            &[0x88, 0xac, 2, 3, 1, 124, 0x40, 0x20, 0, 0],
            &[4, 1, 1, b't', 4, 0xf0, 0x9f, 0x98, 0x80],
            &[0],
        ];
        assert_eq!(update, expected.concat());
    }

    /// A list of 20,000 ones once took 19 s and 7.4 GB, because each was an item that was joined with the one before it.
    #[test]
    fn a_long_list_of_plain_values_is_one_item() {
        let json = format!("{{\"a\":[{}1]}}", "1,".repeat(99_999));
        let update = from_json(json.as_bytes(), u32::MAX).unwrap();
        let scanned = scan(&update, &Limits::default()).unwrap();
        assert_eq!((scanned.structs, scanned.spans[0].end), (1, 100_000));
        assert!(update.len() < 200_040, "{}", update.len());
        assert_eq!(read(&update)["a"].as_array().unwrap().len(), 100_000);
    }

    #[test]
    fn an_update_is_bounded_by_the_text_that_it_is_made_of() {
        let list = |element: &str| {
            format!("{{\"a\":[{}null]}}", format!("{element},").repeat((1 << 16) / (element.len() + 1)))
        };
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let keys: Vec<String> = (0..10_000).map(|n| format!("\"{n:x}\":[]")).collect();
        let texts = [
            list("1"),
            list("[]"),
            list("{}"),
            list("[1]"),
            list(r#"{"":1}"#),
            list(r#"{"":[1]}"#),
            list("[],1"),
            list(&deep),
        ];
        for json in texts.into_iter().chain([format!("{{\"a\":{{{}}}}}", keys.join(","))]) {
            let update = from_json(json.as_bytes(), u32::MAX).unwrap();
            let scanned = scan(&update, &Limits::default()).unwrap();
            assert!(update.len() <= GROWTH_MAX * json.len(), "{} of {}: {}", update.len(), json.len(), &json[..20]);
            assert!(scanned.structs as usize <= json.len() / 2);
            assert_eq!(to_json(&update).unwrap().len(), json.len());
        }
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for (json, expected) in [
            ("", CreateError::NotJson),
            ("{\"a\":", CreateError::NotJson),
            ("{\"a\":[1]}x", CreateError::NotJson),
            ("{\"a\":[1e999]}", CreateError::NotJson),
            (deep.as_str(), CreateError::NotJson),
            ("[1]", CreateError::NotAnObject),
            ("1", CreateError::NotAnObject),
            ("{\"a\":1}", CreateError::NotAType),
            ("{\"a\":[],\"b\":null}", CreateError::NotAType),
            ("{\"a\":[],\"a\":[]}", CreateError::KeyTwice),
            ("{\"a\":[{\"k\":1,\"l\":2,\"k\":1}]}", CreateError::KeyTwice),
        ] {
            assert_eq!(from_json(json.as_bytes(), 7), Err(expected), "{json}");
        }
    }
}
