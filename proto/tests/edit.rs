//! Edits from JSON, against what yrs makes of them: whatever clients wrote before, the document shows what was asked for, nothing
//! else is touched, and edits made at the same time come together.

mod history;

use bytes::Bytes;
use history::shown::shown_by_yrs;
use history::{CLIENTS, apply, document, edit, full_state, make, play, portrait, reader_of, state_since, step};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};
use ydash_proto::document::edit::{Edit, EditError, Pen, Present};
use ydash_proto::document::to_json;
use ydash_proto::limits::Limits;
use ydash_proto::update::{EMPTY_UPDATE, merge, scan};
use yrs::{ReadTxn, Transact};

const PEN: Pen = Pen { client: 4711, clock: 0 };

fn plain() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n) + 0.1)),
        "[ab😀é]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    plain().prop_recursive(3, 20, 5, |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{0,2}", value, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// One change to JSON, somewhere.
#[derive(Clone, Debug)]
struct Change {
    way: Vec<Index>,
    kind: u8,
    place: Index,
    value: Value,
    text: String,
}

fn change() -> impl Strategy<Value = Change> {
    (prop::collection::vec(any::<Index>(), 4), 0..8_u8, any::<Index>(), value(), "[xy😀]{1,3}")
        .prop_map(|(way, kind, place, value, text)| Change { way, kind, place, value, text })
}

impl Change {
    fn make(&self, target: &mut Value) {
        let Value::Object(roots) = target else { return };
        if roots.is_empty() || self.kind == 7 {
            roots.insert("more".into(), serde_json::json!([]));
        }
        let at = self.place.index(roots.len());
        let (_, mut value) = roots.iter_mut().nth(at).expect("as many");
        for way in &self.way {
            let len = value.as_object().map_or(0, Map::len) + value.as_array().map_or(0, Vec::len);
            if len == 0 || way.index(3) == 0 {
                break;
            }
            let at = way.index(len);
            value = match value {
                Value::Object(entries) => entries.values_mut().nth(at).expect("as many"),
                Value::Array(values) => &mut values[at],
                _ => unreachable!("it has nothing in it"),
            };
        }
        self.change(value);
    }

    fn change(&self, value: &mut Value) {
        match value {
            Value::Object(entries) => {
                match (self.kind, entries.keys().nth(self.place.index(entries.len().max(1))).cloned()) {
                    (0, Some(key)) => drop(entries.remove(&key)),
                    (1..4, Some(key)) => drop(entries.insert(key, self.value.clone())),
                    _ => drop(entries.insert(self.text.clone(), self.value.clone())),
                }
            }
            Value::Array(values) => match (self.kind, values.len()) {
                (0, 1..) => drop(values.remove(self.place.index(values.len()))),
                (1, len @ 1..) => values[self.place.index(len)] = self.value.clone(),
                (2, 2..) => values.rotate_left(1),
                (_, len) => values.insert(self.place.index(len + 1), self.value.clone()),
            },
            Value::String(text) => {
                let mut chars: Vec<char> = text.chars().collect();
                let at = self.place.index(chars.len() + 1);
                let until = (at + usize::from(self.kind)).min(chars.len());
                chars.splice(at..until, self.text.chars());
                *text = chars.into_iter().collect();
            }
            other => *other = self.value.clone(),
        }
    }
}

/// A document, but for roots with nothing in them.
fn without_empty_roots(mut document: Value) -> Map<String, Value> {
    let roots = document.as_object_mut().expect("roots");
    roots.retain(|_, root| !matches!(root.to_string().as_str(), "{}" | "[]" | "\"\""));
    core::mem::take(roots)
}

fn shown(state: &Bytes) -> Value {
    serde_json::from_str(&to_json(state).expect("it is read")).expect("JSON")
}

/// The document that an edit leaves, having checked that it is one for yrs, too.
fn edited(state: &Bytes, Edit { update, clocks }: &Edit) -> Bytes {
    let update = Bytes::copy_from_slice(update);
    let scan = scan(&update, &Limits::default()).expect("an update");
    let written: u32 = scan.spans.iter().map(|span| span.end - span.start).sum();
    assert_eq!(written, *clocks);
    let after = merge(&[state.clone(), update]);
    portrait(&reader_of(std::slice::from_ref(&after)));
    after
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_document_becomes_what_it_is_to_show(
        steps in prop::collection::vec(step(CLIENTS), 1..60),
        late in prop::collection::vec(any::<Index>(), 60),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let (_, gate) = play(&steps, &late);
        let state = merge(&gate.bytes());
        let present = Present::read(&state).expect("it is read");
        let text = to_json(&state).expect("it is read");
        prop_assert_eq!(present.text(), &text);
        let nothing = present.edit(present.shown(), PEN).expect("no edit");
        prop_assert_eq!(nothing, Edit { update: EMPTY_UPDATE.to_vec(), clocks: 0 }, "what was read is put back");

        let mut target = present.shown().clone();
        changes.iter().for_each(|change| change.make(&mut target));
        match present.edit(&target, PEN) {
            Ok(edit) => {
                let after = edited(&state, &edit);
                prop_assert_eq!(without_empty_roots(shown(&after)), without_empty_roots(target));
                prop_assert_eq!(shown(&after), shown_by_yrs(&after));
            }
            Err(EditError::NotAType { pointer } | EditError::OtherRoot { pointer } | EditError::Xml { pointer }) => {
                prop_assert_ne!(present.shown().pointer(&pointer), target.pointer(&pointer), "{}", pointer);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    /// Three that write by REST and two by sockets, none of which knows of the others.
    #[test]
    fn edits_at_the_same_time_converge_and_lose_nothing(
        steps in prop::collection::vec(step(CLIENTS), 1..40),
        late in prop::collection::vec(any::<Index>(), 40),
        changes in prop::collection::vec(prop::collection::vec(change(), 1..4), 3),
        edits in prop::collection::vec(prop::collection::vec(edit(), 1..4), 2),
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (_, gate) = play(&steps, &late);
        let state = merge(&gate.bytes());
        let present = Present::read(&state).expect("it is read");
        let mut updates = Vec::new();
        for (at, changes) in changes.iter().enumerate() {
            let mut target = present.shown().clone();
            changes.iter().for_each(|change| change.make(&mut target));
            target["added"][format!("by {at}")] = serde_json::json!({ "list": [at] });
            let pen = Pen { client: 5000 - at as u64, clock: 0 };
            updates.push(match present.edit(&target, pen) {
                Ok(edit) => Bytes::from(edit.update),
                Err(_) => {
                    let mut target = present.shown().clone();
                    target["added"][format!("by {at}")] = serde_json::json!({ "list": [at] });
                    present.edit(&target, pen).expect("an edit").update.into()
                }
            });
        }
        for (at, edits) in edits.iter().enumerate() {
            let doc = document(6000 + at as u64);
            apply(&doc, &state);
            let before = doc.transact().state_vector();
            edits.iter().for_each(|edit| drop(make(&doc, edit)));
            updates.push(state_since(&doc, &before));
        }
        let all: Vec<Bytes> = core::iter::once(state.clone()).chain(updates.iter().cloned()).collect();
        let straight = merge(&all);
        let shuffled: Vec<Bytes> =
            core::iter::once(state).chain(order.iter().map(|at| updates[*at].clone())).collect();
        let (one, other) = (reader_of(&all), reader_of(&shuffled));
        prop_assert_eq!(portrait(&one), portrait(&other));
        let after = full_state(&one);
        prop_assert_eq!(shown(&straight), shown(&after));
        prop_assert_eq!(shown(&after), shown_by_yrs(&after));
        for at in 0..3 {
            prop_assert_eq!(&shown(&after)["added"][format!("by {at}")], &serde_json::json!({ "list": [at] }));
        }
    }
}
