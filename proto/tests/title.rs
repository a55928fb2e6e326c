//! Titles that are found without a tree, against the tree, which `proto/tests/document.rs` compares with yrs.

use proptest::prelude::*;
use serde_json::Value;
use ydash_proto::document::{title, to_json};
use ydash_proto::update::merge;
use yrs::updates::decoder::Decode;
use yrs::{Any, Doc, Map, MapPrelim, ReadTxn, StateVector, TextPrelim, Transact, Update};

#[derive(Clone, Debug)]
enum Step {
    Title(usize, String),
    Other(usize),
    Remove(usize),
    Number(usize),
    Shared(usize),
    Nested(usize),
    /// The first hears all of the second.
    Hear(usize, usize),
}

const WRITERS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let writer = || 0..WRITERS;
    prop_oneof![
        6 => (writer(), "[a-c]{1,3}").prop_map(|(writer, text)| Step::Title(writer, text)),
        1 => writer().prop_map(Step::Other),
        1 => writer().prop_map(Step::Remove),
        1 => writer().prop_map(Step::Number),
        1 => writer().prop_map(Step::Shared),
        1 => writer().prop_map(Step::Nested),
        4 => (writer(), writer()).prop_map(|(to, from)| Step::Hear(to, from)),
    ]
}

fn state(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_title_is_what_the_document_shows(steps in prop::collection::vec(step(), 1..60)) {
        let docs: Vec<Doc> = (0..WRITERS).map(|n| Doc::with_client_id(n as u64 + 1)).collect();
        for step in steps {
            match step {
                Step::Title(at, text) => {
                    let meta = docs[at].get_or_insert_map("meta");
                    meta.insert(&mut docs[at].transact_mut(), "title", text);
                }
                Step::Number(at) => {
                    let meta = docs[at].get_or_insert_map("meta");
                    meta.insert(&mut docs[at].transact_mut(), "title", 5);
                }
                Step::Shared(at) => {
                    let meta = docs[at].get_or_insert_map("meta");
                    meta.insert(&mut docs[at].transact_mut(), "title", TextPrelim::new("shared"));
                }
                Step::Other(at) => {
                    let meta = docs[at].get_or_insert_map("meta");
                    meta.insert(&mut docs[at].transact_mut(), "about", "other");
                }
                Step::Nested(at) => {
                    let widgets = docs[at].get_or_insert_map("widgets");
                    let meta = MapPrelim::from([("title", Any::from("nested"))]);
                    widgets.insert(&mut docs[at].transact_mut(), "meta", meta);
                }
                Step::Remove(at) => {
                    let meta = docs[at].get_or_insert_map("meta");
                    meta.remove(&mut docs[at].transact_mut(), "title");
                }
                Step::Hear(to, from) => {
                    let heard = Update::decode_v1(&state(&docs[from])).unwrap();
                    docs[to].transact_mut().apply_update(heard).unwrap();
                }
            }
        }
        let states: Vec<bytes::Bytes> = docs.iter().map(|doc| state(doc).into()).collect();
        let joined = merge(&states);
        let shown: Value = serde_json::from_str(&to_json(&joined).unwrap()).unwrap();
        // A shared text is one to the tree: only a plain one is a title.
        let plain = shown["meta"]["title"].as_str().filter(|text| *text != "shared");
        let found = title(&joined);
        prop_assert_eq!(found.as_deref(), plain);
    }
}
