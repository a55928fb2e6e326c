//! A new document from JSON: what a template or another system has becomes shared types that everybody may edit.
//!
//! yrs writes it, by a client that was never there. What it is given was parsed and counted here, and none of it came from a Yjs peer.
//! It walks through a list from the start to the place where something is put, so everything is put in front of what follows it.

use core::fmt;
use std::collections::BTreeSet;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use yrs::block::ClientID;
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, Doc, Map, MapPrelim, MapRef, OffsetKind, Options, ReadTxn, StateVector, Text,
    Transact, TransactionMut, WriteTxn,
};

use crate::limits::CREATED_ITEMS_MAX;

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
    /// More than [`CREATED_ITEMS_MAX`].
    #[error("more than {CREATED_ITEMS_MAX} objects, lists, texts, entries and runs of plain values")]
    TooManyItems,
}

/// What one transaction takes up: yrs keeps books about each, and clears them at its end.
const STEPS_PER_TRANSACTION: usize = 256;

/// Makes the update that writes `json` into an empty document, by a client whose id is `client`.
///
/// The reverse of [`super::to_json`]: an object becomes a `Y.Map`, a list a `Y.Array`, a text that is a root a `Y.Text`; texts further
/// inside, numbers, truth values and `null` are plain values. Empty roots leave no trace, as in Yjs.
///
/// # Errors
/// [`CreateError`] – a sentence for whoever wrote it.
pub fn from_json(json: &[u8], client: u32) -> Result<Vec<u8>, CreateError> {
    let mut parts = Parts { tokens: Vec::new(), items: 0, mistake: CreateError::NotAnObject };
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader
        .deserialize_map(Roots(&mut parts))
        .and_then(|()| reader.end())
        .map_err(|error| if error.is_data() { parts.mistake } else { CreateError::NotJson })?;
    let id = ClientID::new(u64::from(client));
    let options = Options { offset_kind: OffsetKind::Utf16, skip_gc: true, ..Options::with_client_id(id) };
    let doc = Doc::with_options(options);
    let mut writer = Writer { tokens: parts.tokens, open: Vec::new() };
    while !writer.tokens.is_empty() {
        let mut txn = doc.transact_mut();
        (0..STEPS_PER_TRANSACTION).for_each(|_| writer.step(&mut txn));
    }
    Ok(doc.transact().encode_state_as_update_v1(&StateVector::default()))
}

/// The JSON as it is read, to be taken from the end: what something is stands behind what is in it.
enum Token {
    Plain(Any),
    Begin,
    List,
    Map,
    /// Of the value before it.
    Key(Box<str>),
    RootList(Box<str>),
    RootMap(Box<str>),
    RootText(Box<(String, String)>),
}

/// A shared type of which the rest is still to be written.
enum Open {
    List(ArrayRef),
    Map(MapRef),
}

struct Writer {
    tokens: Vec<Token>,
    open: Vec<Open>,
}

impl Writer {
    /// Writes one item, or turns to another shared type.
    fn step(&mut self, txn: &mut TransactionMut<'_>) {
        match self.tokens.pop() {
            None => {}
            Some(Token::Begin) => drop(self.open.pop()),
            Some(Token::RootList(name)) => self.open.push(Open::List(txn.get_or_insert_array(&*name))),
            Some(Token::RootMap(name)) => self.open.push(Open::Map(txn.get_or_insert_map(&*name))),
            Some(Token::RootText(root)) => txn.get_or_insert_text(root.0.as_str()).insert(txn, 0, &root.1),
            Some(token) => match self.open.last() {
                Some(Open::List(list)) => {
                    let list = list.clone();
                    self.element(txn, &list, token);
                }
                Some(Open::Map(map)) => {
                    let map = map.clone();
                    self.entry(txn, &map, token);
                }
                None => {}
            },
        }
    }

    fn element(&mut self, txn: &mut TransactionMut<'_>, list: &ArrayRef, token: Token) {
        match token {
            Token::List => self.open.push(Open::List(list.insert(txn, 0, ArrayPrelim::default()))),
            Token::Map => self.open.push(Open::Map(list.insert(txn, 0, MapPrelim::default()))),
            Token::Plain(last) => {
                let others = self.tokens.iter().rposition(|token| !matches!(token, Token::Plain(_)));
                let run = self.tokens.drain(others.map_or(0, |at| at + 1)..);
                let values = run.filter_map(|token| if let Token::Plain(value) = token { Some(value) } else { None });
                list.insert_range(txn, 0, values.chain([last]));
            }
            _ => {}
        }
    }

    fn entry(&mut self, txn: &mut TransactionMut<'_>, map: &MapRef, token: Token) {
        let Token::Key(key) = token else { return };
        match self.tokens.pop() {
            Some(Token::List) => self.open.push(Open::List(map.insert(txn, key, ArrayPrelim::default()))),
            Some(Token::Map) => self.open.push(Open::Map(map.insert(txn, key, MapPrelim::default()))),
            Some(Token::Plain(value)) => drop(map.insert(txn, key, value)),
            _ => {}
        }
    }
}

/// What was read.
struct Parts {
    tokens: Vec<Token>,
    items: usize,
    /// What it is when JSON is not as it should be at this place.
    mistake: CreateError,
}

impl Parts {
    fn entries<'de, A: MapAccess<'de>>(&mut self, mut entries: A) -> Result<(), A::Error> {
        self.tokens.push(Token::Begin);
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            entries.next_value_seed(Value(self))?;
            self.tokens.push(Token::Key(key.as_str().into()));
            self.once(&mut keys, key)?;
        }
        Ok(())
    }

    fn items<'de, A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        self.tokens.push(Token::Begin);
        while items.next_element_seed(Value(self))?.is_some() {}
        Ok(())
    }

    /// One more plain value, which is an item unless it goes on with a run.
    fn plain<E: serde::de::Error>(&mut self, value: Any) -> Result<(), E> {
        if !matches!(self.tokens.last(), Some(Token::Plain(_))) {
            self.count()?;
        }
        self.tokens.push(Token::Plain(value));
        Ok(())
    }

    /// A number as JavaScript has it.
    fn number<E: serde::de::Error>(&mut self, value: f64) -> Result<(), E> {
        let is_negative_zero = value == 0.0 && value.is_sign_negative();
        let is_integer = value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX) && !is_negative_zero;
        self.plain(if is_integer { Any::from(value as i32) } else { Any::from(value) })
    }

    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.items += 1;
        if self.items > CREATED_ITEMS_MAX { Err(self.refuse(CreateError::TooManyItems)) } else { Ok(()) }
    }

    fn once<E: serde::de::Error>(&mut self, keys: &mut BTreeSet<String>, key: String) -> Result<(), E> {
        if keys.insert(key) { Ok(()) } else { Err(self.refuse(CreateError::KeyTwice)) }
    }

    fn refuse<E: serde::de::Error>(&mut self, mistake: CreateError) -> E {
        self.mistake = mistake;
        E::custom(mistake)
    }
}

/// The whole text.
struct Roots<'p>(&'p mut Parts);

impl<'de> Visitor<'de> for Roots<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of root types")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut roots: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = roots.next_key::<String>()? {
            self.0.mistake = CreateError::NotAType;
            roots.next_value_seed(Root { parts: self.0, name: &name })?;
            self.0.once(&mut names, name)?;
        }
        Ok(())
    }
}

/// One root type.
struct Root<'p> {
    parts: &'p mut Parts,
    name: &'p str,
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
        self.parts.entries(entries)?;
        self.parts.tokens.push(Token::RootMap(self.name.into()));
        self.parts.count()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.parts.items(items)?;
        self.parts.tokens.push(Token::RootList(self.name.into()));
        self.parts.count()
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.parts.tokens.push(Token::RootText(Box::new((self.name.into(), text.into()))));
        self.parts.count()
    }
}

/// The next value in a shared type.
struct Value<'p>(&'p mut Parts);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.0.plain(Any::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.plain(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.number(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.number(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.number(value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.plain(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        self.0.entries(entries)?;
        self.0.tokens.push(Token::Map);
        self.0.count()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.0.items(items)?;
        self.0.tokens.push(Token::List);
        self.0.count()
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

    /// As Yjs 13.6 writes `doc.getText('t').insert(0, '😀')` and a list in `doc.getMap('m')` that gets `[2.5]`, `[new Y.Array()]` and
    /// `[1, 'x']` by `unshift`.
    #[test]
    fn bytes_are_those_of_yjs() {
        let update = from_json(r#"{"m":{"a":[1,"x",[],2.5]},"t":"😀"}"#.as_bytes(), 300).unwrap();
        let expected: &[&[u8]] = &[
            &[1, 5, 0xac, 2, 0],
            &[4, 1, 1, b't', 4, 0xf0, 0x9f, 0x98, 0x80],
            &[0x27, 1, 1, b'm', 1, b'a', 0],
            &[8, 0, 0xac, 2, 2, 1, 124, 0x40, 0x20, 0, 0],
            &[0x47, 0xac, 2, 3, 0],
            &[0x48, 0xac, 2, 4, 2, 125, 1, 119, 1, b'x'],
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

    /// The dearest shapes: 524,288 items of 1 MiB of JSON took 240 MB, and no more time than there is text.
    #[test]
    fn what_yrs_holds_at_once_is_bounded_and_counted_before_it_is_written() {
        let list = |element: &str, times: usize| format!("{{\"a\":[{}]}}", vec![element; times].join(","));
        for (element, items) in
            [("[]", 1), ("[1]", 2), (r#"{"":1}"#, 2), ("[[[]]]", 3), ("1,{}", 2), ("[1,2,3,null]", 2)]
        {
            let times = (CREATED_ITEMS_MAX - 1) / items;
            let update = from_json(list(element, times).as_bytes(), 7).unwrap();
            let scanned = scan(&update, &Limits::default()).unwrap();
            assert_eq!(scanned.structs as usize, items * times, "{element}");
            let beyond = list(element, times + 1);
            assert_eq!(from_json(beyond.as_bytes(), 7), Err(CreateError::TooManyItems), "{element}");
        }
        let roots = |count| (0..count).map(|n| format!("\"{n}\":\"\"")).collect::<Vec<_>>().join(",");
        let roots = |count| from_json(format!("{{{}}}", roots(count)).as_bytes(), 7);
        assert_eq!(roots(CREATED_ITEMS_MAX), Ok(vec![0, 0]));
        assert_eq!(roots(CREATED_ITEMS_MAX + 1), Err(CreateError::TooManyItems));
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
