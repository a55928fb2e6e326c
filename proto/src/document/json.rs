//! A document as JSON, for people and for REST.

use super::with_document;
use serde_json::{Map, Number, Value, json};
use yrs::any::Number as YNumber;
use yrs::types::{AsPrelim, ToJson};
use yrs::{Any, Doc, GetString, In, Out, ReadTxn, Transact};

/// Why a document cannot be shown as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// yrs does not read it; stock clients may.
    #[error("document cannot be read on the server")]
    Unreadable,
}

/// Values deeper than this are left out. Shared types are bounded when they come in; this bounds `Any` inside them.
const DEPTH_MAX: usize = 512;

/// Renders the state of a document: an object of its root types.
///
/// The bytes do not say what type a root is: clients do, by asking for it. So it is inferred from the content: keys make a map,
/// characters a text, anything else an array. XML comes out as its text. What JSON cannot hold follows `JSON.stringify` where it
/// has a rule (`NaN` is `null`); a `Uint8Array` becomes an array of numbers, a BigInt a number or, beyond 2^53, a string.
///
/// # Errors
/// [`ReadError::Unreadable`] – yrs refused the bytes; the document itself is served all the same.
pub fn to_json(state: &[u8]) -> Result<Value, ReadError> {
    with_document(state, roots).ok_or(ReadError::Unreadable)
}

fn roots(doc: &Doc) -> Value {
    let names: Vec<String> = doc.transact().root_refs().map(|(name, _)| name.to_string()).collect();
    let mut object = Map::new();
    for name in names {
        let shape = {
            let txn = doc.transact();
            txn.get(name.as_str()).map(|root| shape(&root, &txn))
        };
        let value = match shape {
            Some(Shape::Map) => {
                let root = doc.get_or_insert_map(name.as_str());
                any(&root.to_json(&doc.transact()), 0)
            }
            Some(Shape::Text) => {
                let root = doc.get_or_insert_text(name.as_str());
                Value::String(root.get_string(&doc.transact()))
            }
            Some(Shape::Array) => {
                let root = doc.get_or_insert_array(name.as_str());
                any(&root.to_json(&doc.transact()), 0)
            }
            Some(Shape::Xml) => {
                let root = doc.get_or_insert_xml_fragment(name.as_str());
                Value::String(root.get_string(&doc.transact()))
            }
            None => Value::Null,
        };
        object.insert(name, value);
    }
    Value::Object(object)
}

enum Shape {
    Map,
    Text,
    Array,
    Xml,
}

fn shape(root: &Out, txn: &impl ReadTxn) -> Shape {
    match root.as_prelim(txn) {
        In::Text(_) => Shape::Text,
        In::Array(items) => {
            if !items.is_empty() && items.iter().all(|item| matches!(item, In::XmlElement(_) | In::XmlText(_))) {
                Shape::Xml
            } else {
                Shape::Array
            }
        }
        In::XmlText(_) | In::XmlElement(_) | In::XmlFragment(_) => Shape::Xml,
        _ => Shape::Map,
    }
}

fn any(value: &Any, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    match value {
        Any::Null | Any::Undefined => Value::Null,
        Any::Bool(value) => Value::Bool(*value),
        Any::Number(YNumber::Float(value)) => number(*value),
        Any::Number(YNumber::Int(value)) => {
            if value.unsigned_abs() < 1 << 53 {
                Value::Number(Number::from(*value))
            } else {
                Value::String(value.to_string())
            }
        }
        Any::String(value) => Value::String(value.to_string()),
        Any::Buffer(bytes) => json!(bytes.to_vec()),
        Any::Array(values) => Value::Array(values.iter().map(|value| any(value, depth + 1)).collect()),
        Any::Map(values) => {
            Value::Object(values.iter().map(|(key, value)| (key.clone(), any(value, depth + 1))).collect())
        }
    }
}

/// Whole numbers without a fraction, as JavaScript prints them.
fn number(value: f64) -> Value {
    const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;
    if value.fract() == 0.0 && value.abs() <= SAFE_INTEGER_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, checked above")]
        let whole = value as i64;
        return Value::Number(Number::from(whole));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
