//! A new document from JSON: what a template or another system has becomes shared types that everybody may edit.
//!
//! yrs writes it. What it is given here was parsed and counted, and none of it came from a Yjs peer.

use serde_json::Value as Json;
use yrs::block::ClientID;
use yrs::updates::encoder::{Encoder, EncoderV1};
use yrs::{
    Any, Array, ArrayPrelim, Doc, In, Map, MapPrelim, OffsetKind, Options, ReadTxn, StateVector, Text, Transact,
    WriteTxn,
};

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
}

/// Makes the update that writes `json` into an empty document, by a client whose id is `client`.
///
/// The reverse of [`super::to_json`]: an object becomes a `Y.Map`, a list a `Y.Array`, a text that is a root a `Y.Text`; texts further
/// inside, numbers, truth values and `null` are plain values. Empty roots leave no trace, as in Yjs.
///
/// # Errors
/// [`CreateError`] – a sentence for whoever wrote it.
pub fn from_json(json: &[u8], client: u32) -> Result<Vec<u8>, CreateError> {
    let json: Json = serde_json::from_slice(json).map_err(|_| CreateError::NotJson)?;
    let Json::Object(roots) = json else { return Err(CreateError::NotAnObject) };
    let options =
        Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(u64::from(client))) };
    let doc = Doc::with_options(options);
    let mut txn = doc.transact_mut();
    for (name, root) in roots {
        match root {
            Json::Object(entries) => {
                let map = txn.get_or_insert_map(name.as_str());
                for (key, value) in entries {
                    map.insert(&mut txn, key, shared(value));
                }
            }
            Json::Array(items) => {
                let array = txn.get_or_insert_array(name.as_str());
                for item in items {
                    array.push_back(&mut txn, shared(item));
                }
            }
            Json::String(text) => txn.get_or_insert_text(name.as_str()).push(&mut txn, &text),
            Json::Null | Json::Bool(_) | Json::Number(_) => return Err(CreateError::NotAType),
        }
    }
    let mut encoder = EncoderV1::new();
    txn.encode_diff(&StateVector::default(), &mut encoder);
    Ok(encoder.to_vec())
}

fn shared(json: Json) -> In {
    match json {
        Json::Null => In::Any(Any::Null),
        Json::Bool(value) => In::Any(Any::Bool(value)),
        // As JavaScript has it.
        Json::Number(number) => In::Any(Any::from(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => In::Any(Any::String(text.into())),
        Json::Array(items) => In::Array(items.into_iter().map(shared).collect::<ArrayPrelim>()),
        Json::Object(entries) => {
            In::Map(entries.into_iter().map(|(key, value)| (key, shared(value))).collect::<MapPrelim>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::to_json;
    use super::*;
    use crate::limits::Limits;
    use crate::update::scan;

    #[test]
    fn what_is_created_reads_as_it_was_written() {
        for json in [
            r#"{"widgets":{"sales":{"title":"Sales 😀","refresh":30,"points":[1,2.5,-3,null,true,"😀"]}}}"#,
            r#"{"layout":[{"x":0,"y":4},["a","b"]],"note":"Hello, \"you\""}"#,
            r#"{}"#,
        ] {
            let update = from_json(json.as_bytes(), 7).unwrap();
            let scanned = scan(&update, &Limits::default()).unwrap();
            assert!(scanned.spans.iter().all(|span| (span.client, span.start) == (7, 0)));
            let read: Json = serde_json::from_str(&to_json(&update).unwrap()).unwrap();
            let written: Json = serde_json::from_str(json).unwrap();
            assert_eq!(read.to_string().replace(".0", ""), written.to_string().replace(".0", ""));
        }
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for (json, expected) in [
            ("", CreateError::NotJson),
            ("{\"a\":", CreateError::NotJson),
            (deep.as_str(), CreateError::NotJson),
            ("[1]", CreateError::NotAnObject),
            ("{\"a\":1}", CreateError::NotAType),
        ] {
            assert_eq!(from_json(json.as_bytes(), 7), Err(expected), "{json}");
        }
    }
}
