//! What documents are shown as, against what yrs makes of them.

mod history;

use bytes::Bytes;
use history::{CLIENTS, play, step};
use proptest::prelude::*;
use serde_json::{Map, Value};
use ydash_proto::document::to_json;
use ydash_proto::update::merge;
use yrs::types::{AsPrelim, ToJson};
use yrs::{Any, Doc, GetString, In, Out, ReadTxn, Transact};

/// The document as yrs shows it, the types of its roots inferred by the rules of `to_json`.
fn shown_by_yrs(state: &Bytes) -> Value {
    let doc = history::reader_of(std::slice::from_ref(state));
    let names: Vec<String> = doc.transact().root_refs().map(|(name, _)| name.to_string()).collect();
    Value::Object(names.into_iter().map(|name| (name.clone(), root(&doc, &name))).collect::<Map<_, _>>())
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_document_is_shown_as_yrs_shows_it(
        steps in prop::collection::vec(step(CLIENTS), 1..60),
        late in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let (_, gate) = play(&steps, &late);
        let state = merge(&gate.bytes());
        let shown: Value = serde_json::from_str(&to_json(&state).expect("it is read")).expect("JSON");
        prop_assert_eq!(shown, shown_by_yrs(&state));
    }
}
