//! New lives of documents, seen by yrs: newcomers, and clients that still have the old one open.

use ydash_proto::document::{renew, to_json};
use ydash_proto::id::ClientId;
use ydash_proto::limits::Limits;
use ydash_proto::update;
use yrs::types::Attrs;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ClientID, Doc, GetString, Map, MapPrelim, OffsetKind, Options, ReadTxn, StateVector, Text,
    TextPrelim, Transact, Update, WriteTxn, Xml, XmlElementPrelim, XmlFragment, XmlTextPrelim,
};

const NEW: ClientId = 7_000_000;

fn doc(client: u64) -> Doc {
    Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(client)) })
}

fn state(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

fn apply(doc: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("an update");
    doc.transact_mut().apply_update(update).expect("applies");
}

/// Of every kind that people use, with much that is deleted.
fn filled() -> Doc {
    let doc = doc(5);
    let text = doc.get_or_insert_text("text");
    let list = doc.get_or_insert_array("list");
    let map = doc.get_or_insert_map("map");
    let xml = doc.get_or_insert_xml_fragment("xml");
    let mut tx = doc.transact_mut();
    text.insert(&mut tx, 0, "plain bold 💥 plain");
    text.format(&mut tx, 6, 4, Attrs::from([("bold".into(), Any::from(true))]));
    text.insert_embed(&mut tx, 3, Any::from("embedded"));
    for n in 0..200 {
        list.push_back(&mut tx, n);
        map.insert(&mut tx, "counter", n);
    }
    list.remove_range(&mut tx, 1, 198);
    let inner = list.push_back(&mut tx, MapPrelim::from([("a", 1), ("b", 2)]));
    inner.insert(&mut tx, "text", TextPrelim::new("inside"));
    inner.remove(&mut tx, "b");
    map.insert(&mut tx, "list", ArrayPrelim::from([1.5, 2.5]));
    map.insert(&mut tx, "bytes", Any::from(vec![1, 2, 3]));
    map.insert(&mut tx, "gone", 1);
    map.remove(&mut tx, "gone");
    let element = xml.push_back(&mut tx, XmlElementPrelim::empty("p"));
    element.insert_attribute(&mut tx, "class", "x");
    element.push_back(&mut tx, XmlTextPrelim::new("hello"));
    drop(tx);
    doc
}

/// What of a document JSON does not show.
fn looks(doc: &Doc) -> (String, Vec<(String, Option<Attrs>)>, String) {
    let text = doc.get_or_insert_text("text");
    let xml = doc.get_or_insert_xml_fragment("xml");
    let tx = doc.transact();
    let diff = text.diff(&tx, yrs::types::text::YChange::identity);
    let diff = diff.into_iter().map(|part| (part.insert.to_string(&tx), part.attributes.map(|attrs| *attrs)));
    (text.get_string(&tx), diff.collect(), xml.get_string(&tx))
}

#[test]
fn a_renewed_document_shows_what_it_did_to_newcomers_and_to_whoever_has_it_open() {
    let old = filled();
    let before = to_json(&state(&old)).unwrap();
    let looked = looks(&old);
    let renewed = renew(&state(&old), NEW, false).unwrap();
    assert_eq!(to_json(&renewed).unwrap(), before);

    let newcomer = doc(1);
    apply(&newcomer, &renewed);
    assert_eq!(looks(&newcomer), looked);
    assert_eq!(to_json(&state(&newcomer)).unwrap(), before);

    // An open tab: everything it had is deleted, and the copy is there instead.
    apply(&old, &renewed);
    assert_eq!(looks(&old), looked);
    assert_eq!(to_json(&state(&old)).unwrap(), before);
    // What it brings back is known already: nothing comes twice.
    apply(&newcomer, &state(&old));
    assert_eq!(looks(&newcomer), looked);
    let limits = Limits::default().for_trusted();
    let parts = [renewed, state(&filled()).into()];
    let scans: Vec<_> = parts.iter().map(|part| update::scan(part, &limits).unwrap()).collect();
    let both: Vec<_> = parts.iter().zip(&scans).collect();
    assert_eq!(to_json(&update::merge_scanned(&both).0).unwrap(), before);

    // They go on together.
    let list = old.get_or_insert_array("list");
    list.push_back(&mut old.transact_mut(), "later");
    apply(&newcomer, &state(&old));
    assert_eq!(to_json(&state(&newcomer)).unwrap(), to_json(&state(&old)).unwrap());
}

/// Letters between others' letters, every other one deleted: garbage collection leaves most of it.
#[test]
fn a_new_life_has_none_of_the_old_weight() {
    let old = doc(9);
    let text = old.get_or_insert_text("text");
    for n in 0..2000 {
        text.insert(&mut old.transact_mut(), n / 2, "x");
    }
    for n in 0..1000 {
        text.remove_range(&mut old.transact_mut(), n, 1);
    }
    let before = state(&old);
    let renewed = renew(&before, NEW, false).unwrap();
    assert!(renewed.len() < 1100 && before.len() > 5 * renewed.len(), "{} became {}", before.len(), renewed.len());
    assert_eq!(to_json(&renewed).unwrap(), to_json(&before).unwrap());
    // Once more: the life before costs a few bytes.
    let again = renew(&renewed, NEW + 1, false).unwrap();
    assert!(again.len() < renewed.len() + 40);
    assert_eq!(renew(&renewed, NEW, false), Err(ydash_proto::document::RenewError::ClientInUse));
}

#[test]
fn a_document_of_which_nothing_is_left_becomes_empty() {
    let old = doc(9);
    let text = old.get_or_insert_text("text");
    text.insert(&mut old.transact_mut(), 0, "gone");
    text.remove_range(&mut old.transact_mut(), 0, 4);
    let renewed = renew(&state(&old), NEW, false).unwrap();
    assert_eq!(to_json(&renewed).unwrap(), "{}");
    let tx = old.transact();
    assert!(tx.state_vector().get(&ClientID::new(9)) == 4);
    drop(tx);
    let _ = old.transact_mut().get_or_insert_text("text");
    apply(&old, &renewed);
}
