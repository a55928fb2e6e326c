//! What must hold for any JSON that any document is to become. Shared by the fuzz target and by the replay of its corpus.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use ydash_proto::document::edit::{Pen, Present, parse};
use ydash_proto::document::to_json;
use ydash_proto::lib0::Reader;
use ydash_proto::limits::Limits;
use ydash_proto::update::{EMPTY_UPDATE, Knowledge, Source, merge, scan};

/// Takes `input` as an update with its length before it, which makes a document, and as the JSON that it is to become.
pub(crate) fn check(input: &[u8]) {
    let mut reader = Reader::new(input);
    let Ok(update) = reader.var_bytes().map(Bytes::copy_from_slice) else { return };
    let target = reader.bytes(reader.remaining()).ok().and_then(|json| parse(json).ok()).unwrap_or_else(|| json!({}));
    let limits = Limits::default();
    let Ok(scanned) = scan(&update, &limits) else { return };
    let mut knowledge = Knowledge::default();
    let Some(accepted) = knowledge.admit(&update, &scanned, Source::Update, |_| false, &limits).accepted else {
        return;
    };
    become_it(&accepted.bytes, &target, &mut knowledge);
}

fn become_it(state: &Bytes, target: &Value, knowledge: &mut Knowledge) {
    let Ok(present) = Present::read(state) else { return };
    let pen = (1..).map(|client| Pen { client, clock: 0 }).find(|pen| present.clocks_of(pen.client) == 0);
    let pen = pen.expect("a document has few clients");
    let unchanged = present.edit(present.shown(), pen).expect("what it shows, it may show");
    assert_eq!(unchanged.update, EMPTY_UPDATE);
    assert_eq!(&present.merge(present.shown(), target), target);
    assert_eq!(&present.merge(target, target), present.shown());
    let mut more = present.shown().clone();
    more["one more of these"] = json!([{ "a": [1, "😀"] }]);
    let less = json!({});
    for target in [target, &more, &less] {
        let Ok(edit) = present.edit(target, pen) else { continue };
        let update = Bytes::from(edit.update);
        let scanned = scan(&update, &Limits::default()).expect("an edit is an update");
        let admission = knowledge.clone().admit(&update, &scanned, Source::Update, |_| false, &Limits::default());
        assert_eq!((admission.held, admission.refused), (None, None), "an edit is taken whole");
        let after = merge(&[state.clone(), update]);
        let Ok(after) = to_json(&after) else { continue };
        let Ok(after) = parse(after.as_bytes()) else { continue };
        assert_eq!(without_empty_roots(after), without_empty_roots(target.clone()));
    }
}

/// Roots stay, with nothing in them.
fn without_empty_roots(document: Value) -> Map<String, Value> {
    let Value::Object(mut roots) = document else { return Map::new() };
    roots.retain(|_, root| !matches!(root.to_string().as_str(), "{}" | "[]" | "\"\""));
    roots
}
