//! What becomes of documents, against what yrs makes of them: as JSON, and when garbage is collected.

mod history;

use bytes::Bytes;
use history::shown::shown_by_yrs;
use history::{CLIENTS, clocks, document, full_state, play, portrait, reader_of, step};
use proptest::prelude::*;
use serde_json::Value;
use ydash_proto::document::{Compacted, Kept, compact, from_json, to_json};
use ydash_proto::limits::Limits;
use ydash_proto::update::{DeleteSet, Knowledge, StateVector, diff, merge};
use yrs::{Array, MapPrelim, Text, Transact};

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

/// A list to yrs as well, which never came to the end of it.
#[test]
fn a_text_that_begins_with_a_nested_type_is_shown_as_a_list() {
    let doc = document(1);
    let text = doc.get_or_insert_text("text");
    text.insert(&mut doc.transact_mut(), 0, "a😀");
    text.insert_embed(&mut doc.transact_mut(), 0, MapPrelim::default());
    assert_eq!(shown_by_yrs(&full_state(&doc)), serde_json::json!({ "text": [{}, "a", "😀"] }));
}

/// Values as they stand in a document made from JSON, but for empty roots, which leave no trace.
fn json() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n) + 0.1)),
        "[a😀é]{0,4}".prop_map(Value::from),
    ];
    let value = plain.prop_recursive(4, 40, 6, |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c😀]{0,2}", value, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let list = prop::collection::vec(value.clone(), 1..8).prop_map(Value::from);
    let map =
        prop::collection::btree_map("[a-c]{0,2}", value, 1..5).prop_map(|map| Value::Object(map.into_iter().collect()));
    let root = prop_oneof![list, map, "[a😀é]{1,5}".prop_map(Value::from)];
    prop::collection::btree_map("[l-z]{0,2}", root, 0..4).prop_map(|roots| Value::Object(roots.into_iter().collect()))
}

proptest! {
    #[test]
    fn a_document_created_from_json_is_that_json_to_yrs_and_can_be_edited(written in json(), client in 1_u32..) {
        let state = Bytes::from(from_json(written.to_string().as_bytes(), client).expect("a document"));
        prop_assert_eq!(compacted(std::slice::from_ref(&state)), state.clone(), "nothing in it is left to be joined");
        let shown: Value = serde_json::from_str(&to_json(&state).expect("it is read")).expect("JSON");
        prop_assert_eq!(&shown, &written);
        prop_assert_eq!(&shown_by_yrs(&state), &written);

        let doc = reader_of(std::slice::from_ref(&state));
        let list = doc.get_or_insert_array("more");
        list.push_back(&mut doc.transact_mut(), "at the end");
        for (name, root) in written.as_object().expect("roots") {
            if let Value::Array(items) = root {
                let list = doc.get_or_insert_array(name.as_str());
                prop_assert_eq!(list.len(&doc.transact()) as usize, items.len());
                list.insert(&mut doc.transact_mut(), items.len() as u32 / 2, "in the middle");
            }
        }
        let edited = full_state(&doc);
        let shown: Value = serde_json::from_str(&to_json(&edited).expect("it is read")).expect("JSON");
        prop_assert_eq!(shown, shown_by_yrs(&edited));
    }
}

/// What a document shows and knows, without the deletions that a compaction may add.
fn seen(updates: &[Bytes]) -> (Value, Vec<String>, StateVector) {
    let (values, runs, clocks, _) = portrait(&reader_of(updates));
    (values, runs, clocks)
}

fn compacted(parts: &[Bytes]) -> Bytes {
    let Compacted { state, kept, .. } = compact(parts, &Limits::default());
    assert_eq!(kept, Kept::Live);
    state
}

fn deletes(state: &Bytes) -> DeleteSet {
    Knowledge::of(state, &[], &Limits::default()).expect("an update").knowledge.deletes().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_document_is_the_same_and_goes_on_alike(
        steps in prop::collection::vec(step(CLIENTS), 1..60),
        late in prop::collection::vec(any::<prop::sample::Index>(), 60),
        cut in any::<prop::sample::Index>(),
    ) {
        let (clients, gate) = play(&steps, &late);
        let all = gate.bytes();
        let expected = seen(&all);
        let whole = compacted(&all);
        prop_assert_eq!(&seen(std::slice::from_ref(&whole)), &expected);
        prop_assert_eq!(&compacted(std::slice::from_ref(&whole)), &whole, "once is enough");
        prop_assert!(deletes(&merge(&all)).subtract(&deletes(&whole)).is_empty());
        // yrs collects as much, having brought the items into order; it knows of deletions that follow from that.
        let theirs = full_state(&reader_of(&all));
        prop_assert!(whole.len() <= theirs.len() + 40 * steps.len(), "{} bytes, {} in yrs", whole.len(), theirs.len());

        // Compacted at any time, it goes on with the same updates, and clients that have it otherwise agree with it.
        let (early, later) = all.split_at(cut.index(all.len() + 1));
        let mut parts = vec![compacted(early)];
        parts.extend_from_slice(later);
        let opened = Knowledge::of(&parts[0], later, &Limits::default()).expect("updates");
        prop_assert_eq!(&opened.held, &vec![]);
        prop_assert_eq!(&seen(&parts), &expected);
        prop_assert_eq!(&seen(&[compacted(&parts)]), &expected);
        for doc in &clients {
            let have = clocks(doc);
            let missing = diff(&whole, &have);
            prop_assert_eq!(&seen(&[full_state(doc), missing]), &expected);
            prop_assert_eq!(&seen(&[whole.clone(), full_state(doc)]), &expected);
        }
    }
}
