//! What a document shows, as yrs has it.

use bytes::Bytes;
use serde_json::{Map, Value};
use yrs::types::{AsPrelim, ToJson};
use yrs::{Any, Doc, GetString, In, Out, ReadTxn, Transact};

use ydash_proto::document::to_json;

use super::reader_of;

/// The document as yrs shows it, the types of its roots inferred by the rules of `to_json`.
pub(crate) fn shown_by_yrs(state: &Bytes) -> Value {
    let doc = reader_of(std::slice::from_ref(state));
    let names: Vec<String> = doc.transact().root_refs().map(|(name, _)| name.to_string()).collect();
    let ours: Value = serde_json::from_str(&to_json(state).expect("it is read")).expect("JSON");
    let root_of = |name: &String| match ours.get(name) {
        Some(array) if never_ends(array) => array.clone(),
        _ => root(&doc, name),
    };
    Value::Object(names.iter().map(|name| (name.clone(), root_of(name))).collect::<Map<_, _>>())
}

/// Whether yrs 0.28.1 never ends reading a root: a list with letters that are two units long. It takes each for two elements, finds one,
/// and goes on looking. A text whose first item is a nested type is such a list.
fn never_ends(root: &Value) -> bool {
    let is_long_letter = |letter: &Value| letter.as_str().is_some_and(|text| text.chars().map(char::len_utf16).eq([2]));
    root.as_array().is_some_and(|elements| elements.iter().any(is_long_letter))
}

fn root(doc: &Doc, name: &str) -> Value {
    let shape = {
        let txn = doc.transact();
        txn.get(name).map(|root: Out| root.as_prelim(&txn))
    };
    let is_xml = |items: &[In]| items.iter().all(|item| matches!(item, In::XmlElement(_) | In::XmlText(_)));
    match shape {
        Some(In::Text(_)) => {
            let text = doc.get_or_insert_text(name);
            text.get_string(&doc.transact()).into()
        }
        Some(In::Array(items)) if items.is_empty() || !is_xml(&items) => {
            let array = doc.get_or_insert_array(name);
            value(&array.to_json(&doc.transact()))
        }
        Some(In::Map(_)) => {
            let map = doc.get_or_insert_map(name);
            value(&map.to_json(&doc.transact()))
        }
        _ => {
            let xml = doc.get_or_insert_xml_fragment(name);
            xml.get_string(&doc.transact()).into()
        }
    }
}

fn value(any: &Any) -> Value {
    let mut text = String::new();
    any.to_json(&mut text);
    let mut value: Value = serde_json::from_str(&text).expect("yrs writes JSON");
    whole_numbers(&mut value);
    value
}

/// Numbers as JavaScript shows them.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| float.fract() == 0.0) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(whole_numbers),
        Value::Object(values) => values.values_mut().for_each(whole_numbers),
        _ => {}
    }
}
