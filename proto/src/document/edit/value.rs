//! JSON as values: read strictly and at a bounded price, compared by what it means, written in lib0's encoding.
//!
//! Numbers are JavaScript's: `1`, `1.0` and `1e0` are one value, and so are `0` and `-0`.

use core::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::lib0::{write_var_bytes, write_var_uint};

/// How deep JSON may nest. The reader of documents goes no deeper either.
pub(super) const DEPTH_MAX: u16 = 410;
/// Memory that the values of one text may take, by estimate.
const MEMORY_MAX: usize = 96 << 20;
/// What a value, an entry beside its key, and an object that is not empty take.
const VALUE: usize = 40;
const ENTRY: usize = 48;
const OBJECT: usize = 400;

/// Why a text is not taken for JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is none, or nests too deeply.
    #[error("the body is not JSON")]
    NotJson,
    /// Which of the two values was meant?
    #[error("an object has the same key twice")]
    KeyTwice,
    /// Its values would take too much memory.
    #[error("the JSON has too many values")]
    TooLarge,
}

/// Reads JSON.
///
/// # Errors
/// [`JsonError`] – a sentence for whoever wrote it.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    read(text, true)
}

/// Reads JSON in which a key may come twice: the last value counts. So it may be in what peers wrote.
///
/// # Errors
/// [`JsonError`] – as [`parse`].
pub fn parse_lenient(text: &[u8]) -> Result<Value, JsonError> {
    read(text, false)
}

fn read(text: &[u8], is_strict: bool) -> Result<Value, JsonError> {
    let mut reading = Reading { is_strict, depth: 0, memory: 0, mistake: JsonError::NotJson };
    let mut reader = serde_json::Deserializer::from_slice(text);
    // Its own limit is 128, and a document may be deeper.
    reader.disable_recursion_limit();
    let value = Seed(&mut reading).deserialize(&mut reader);
    value.and_then(|value| reader.end().map(|()| value)).map_err(|_| reading.mistake)
}

struct Reading {
    is_strict: bool,
    depth: u16,
    memory: usize,
    /// What it is if it is not read.
    mistake: JsonError,
}

impl Reading {
    fn take<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.memory += bytes;
        if self.memory > MEMORY_MAX { Err(self.refuse(JsonError::TooLarge)) } else { Ok(()) }
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.refuse(JsonError::NotJson)) } else { Ok(()) }
    }

    fn refuse<E: serde::de::Error>(&mut self, mistake: JsonError) -> E {
        self.mistake = mistake;
        E::custom(mistake)
    }
}

struct Seed<'r>(&'r mut Reading);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.take(VALUE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        number(value).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.0.take(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Seed(self.0))? {
            values.push(value);
        }
        values.shrink_to_fit();
        self.0.depth -= 1;
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.take(ENTRY + key.len() + if map.is_empty() { OBJECT } else { 0 })?;
            let value = entries.next_value_seed(Seed(self.0))?;
            if map.insert(key, value).is_some() && self.0.is_strict {
                self.0.mistake = JsonError::KeyTwice;
                return Err(A::Error::custom(JsonError::KeyTwice));
            }
        }
        self.0.depth -= 1;
        Ok(Value::Object(map))
    }
}

/// A number in its one form; `None` for those that JSON does not have.
fn number(value: f64) -> Option<Value> {
    /// From here on not every whole number is a number of JavaScript.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}

/// How deep arrays and objects nest in a value.
pub(super) fn depth(value: &Value) -> u16 {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Memory that a value takes, by estimate.
pub(super) fn memory(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(memory).sum(),
            Value::Object(entries) if entries.is_empty() => 0,
            Value::Object(entries) => {
                OBJECT + entries.iter().map(|(key, value)| ENTRY + key.len() + memory(value)).sum::<usize>()
            }
            _ => 0,
        }
}

pub(super) fn is_container(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// Writes a value as lib0's `any`.
pub(super) fn write_any(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(126),
        Value::Bool(value) => out.push(if *value { 120 } else { 121 }),
        Value::Number(number) => write_number(out, number.as_f64().unwrap_or_default()),
        Value::String(text) => {
            out.push(119);
            write_var_bytes(out, text.as_bytes());
        }
        Value::Array(values) => {
            out.push(117);
            write_var_uint(out, values.len() as u64);
            values.iter().for_each(|value| write_any(out, value));
        }
        Value::Object(entries) => {
            out.push(118);
            write_var_uint(out, entries.len() as u64);
            for (key, value) in entries {
                write_var_bytes(out, key.as_bytes());
                write_any(out, value);
            }
        }
    }
}

fn write_number(out: &mut Vec<u8>, value: f64) {
    if value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX) {
        out.push(125);
        write_var_int(out, value as i32);
    } else if f64::from(value as f32) == value {
        out.push(124);
        out.extend_from_slice(&(value as f32).to_be_bytes());
    } else {
        out.push(123);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// lib0's `writeVarInt`: six bits and the sign first.
fn write_var_int(out: &mut Vec<u8>, value: i32) {
    let magnitude = value.unsigned_abs();
    let sign = if value < 0 { 0x40 } else { 0 };
    let more = if magnitude > 0x3f { 0x80 } else { 0 };
    out.push(more | sign | (magnitude & 0x3f) as u8);
    if more != 0 {
        write_var_uint(out, u64::from(magnitude >> 6));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lib0::Reader;

    #[test]
    fn numbers_have_one_form() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(read("[1,1.0,1e0,10e-1]"), serde_json::json!([1, 1, 1, 1]));
        assert_eq!(read("-0.0"), read("0"));
        assert_eq!(read("9007199254740993"), read("9007199254740992"));
        assert_eq!(read("0.1").to_string(), "0.1");
        assert_eq!(read("1e21").to_string(), "1e+21");
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, expected) in [
            ("", JsonError::NotJson),
            ("[1]x", JsonError::NotJson),
            ("1e999", JsonError::NotJson),
            (r#""\ud800""#, JsonError::NotJson),
            (r#"[{"a":1,"b":2,"a":1}]"#, JsonError::KeyTwice),
            (&deep(411), JsonError::NotJson),
            (&deep(100_000), JsonError::NotJson),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text:.40}");
        }
        assert_eq!(depth(&parse(deep(410).as_bytes()).unwrap()), 410);
        assert_eq!(parse_lenient(br#"{"a":1,"a":2}"#).unwrap(), serde_json::json!({"a": 2}));
    }

    #[test]
    fn values_that_take_much_more_than_their_text_are_bounded() {
        let text = format!("[{}1]", r#"{"":1},"#.repeat(300_000));
        assert_eq!(parse(text.as_bytes()), Err(JsonError::TooLarge));
        let text = format!("[{}1]", r#"{"":1},"#.repeat(100_000));
        let value = parse(text.as_bytes()).unwrap();
        assert!(memory(&value) < MEMORY_MAX);
    }

    #[test]
    fn integers_are_the_bytes_that_lib0_writes() {
        for value in [0, 1, -1, 63, 64, -64, 8191, 8192, i32::MAX, -i32::MAX] {
            let mut out = Vec::new();
            write_var_int(&mut out, value);
            assert_eq!(Reader::new(&out).var_int().unwrap(), i64::from(value));
        }
        let mut out = Vec::new();
        [0.5, 0.1, 2_147_483_648.0].into_iter().for_each(|value| write_number(&mut out, value));
        assert_eq!(out[..5], [124, 0x3f, 0, 0, 0]);
        assert_eq!((out[5], out[14], out.len()), (123, 124, 19));
    }
}
