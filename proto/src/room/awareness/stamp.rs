//! Who really stands behind a presence state: written behind what its client says of itself, without reading or writing that anew.
//!
//! A state is passed on as it came, with `,"verified":…` before its last brace. Of several entries of one name the last one counts in
//! `JSON.parse`, so what a client says under that name is never seen. Nobody but the session that announced an id is verified by it: what
//! others say about the id says `null`.

use crate::access::Principal;
use bytes::Bytes;
use serde_json::{Value, json};

/// What is written behind states of somebody: JSON.
pub(super) fn verified(principal: &Principal) -> String {
    let who = match principal {
        Principal::Anonymous => Value::Null,
        Principal::User(user) => json!({ "id": &*user.id, "name": user.name.as_deref() }),
        Principal::Link(link) => json!({ "link": &*link.id }),
    };
    who.to_string()
}

/// What stands behind states of which nobody vouches.
pub(super) const NOBODY: &str = "null";

/// A state with `verified` behind it, and how many bytes that is. What is no object says nothing of anybody and stays as it is.
pub(super) fn stamped(state: &Bytes, verified: &str) -> (Bytes, usize) {
    let object = state.trim_ascii();
    let Some(inner) = object.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
        return (state.clone(), 0);
    };
    let comma = if inner.trim_ascii().is_empty() { "" } else { "," };
    let stamp = format!("{comma}\"verified\":{verified}");
    let bytes = [b"{", inner, stamp.as_bytes(), b"}"].concat();
    (bytes.into(), stamp.len())
}

/// The state as its client said it.
pub(super) fn unstamped(state: &Bytes, stamp: usize) -> Bytes {
    if stamp == 0 {
        return state.clone();
    }
    let kept = state.len() - 1 - stamp;
    [&state[..kept], b"}"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_say_who_it_is() {
        let ada = verified(&Principal::user("ada"));
        for (said, expected) in [
            (r#"{"user":{"name":"Bob"}}"#, r#"{"user":{"name":"Bob"},"verified":{"id":"ada","name":null}}"#),
            ("{}", r#"{"verified":{"id":"ada","name":null}}"#),
            ("{ }", r#"{ "verified":{"id":"ada","name":null}}"#),
            (
                r#"{"verified":{"id":"root"},"verified":{"id":"root"}} "#,
                r#"{"verified":{"id":"root"},"verified":{"id":"root"},"verified":{"id":"ada","name":null}}"#,
            ),
            ("1", "1"),
            (r#""{}""#, r#""{}""#),
            ("[{}]", "[{}]"),
        ] {
            let (state, stamp) = stamped(&Bytes::from(said), &ada);
            assert_eq!(state, expected);
            let parsed: Value = serde_json::from_slice(&state).unwrap();
            if parsed.is_object() {
                assert_eq!(parsed["verified"]["id"], "ada");
            }
            assert_eq!(unstamped(&state, stamp), said.trim_end());
        }
        let name = "\"},\"verified\":{\"id\":\"root\"}";
        let (state, _) = stamped(&Bytes::from("{}"), &verified(&Principal::user(name)));
        let parsed: Value = serde_json::from_slice(&state).unwrap();
        assert_eq!(parsed["verified"]["id"], name);
        assert_eq!(verified(&Principal::Anonymous), NOBODY);
    }
}
