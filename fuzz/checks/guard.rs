//! What must hold for any bytes that meet the guard. Shared by the fuzz target and by the replay of its corpus.

#[path = "yrs_reads.rs"]
mod yrs_reads;

use bytes::Bytes;
use ydash_proto::document::{Kept, ReadError, TreeError, compact, to_json};
use ydash_proto::lib0::Reader;
use ydash_proto::limits::Limits;
use ydash_proto::update::{
    DeleteSet, EMPTY_UPDATE, Held, Knowledge, Scan, Source, StateVector, diff, diff_many, is_empty_update, merge, scan,
};
use yrs::updates::decoder::Decode;
use yrs::{ClientID, Doc, OffsetKind, Options, ReadTxn, Transact};
use yrs_reads::yrs_reads;

/// Takes `input` as one update and as a state vector, and as a conversation: updates with their lengths before them.
pub(crate) fn check(input: &[u8]) {
    if let Ok(state) = StateVector::decode(input, &Limits::default()) {
        assert_eq!(StateVector::decode(&state.encode(), &Limits::default()), Ok(state));
    }
    converse(&[Bytes::copy_from_slice(input)]);
    let mut reader = Reader::new(input);
    let mut updates = Vec::new();
    while let Ok(update) = reader.var_bytes() {
        updates.push(Bytes::copy_from_slice(update));
    }
    converse(&updates);
}

/// Client 2 is asked before others write in its name.
fn is_withheld(client: u64) -> bool {
    client == 2
}

fn converse(updates: &[Bytes]) {
    let limits = Limits { nesting_max: 4, document_clients_max: 64, ..Limits::default() };
    let mut knowledge = Knowledge::default();
    let (mut accepted, mut held): (Vec<Bytes>, Vec<Held>) = (Vec::new(), Vec::new());
    for update in updates {
        let Ok(scanned) = scan(update, &limits) else { continue };
        check_scan(update);
        let before = knowledge.clone();
        let admission = knowledge.admit(update, &scanned, Source::Update, is_withheld, &limits);
        if admission.accepted.is_none() {
            assert_eq!(knowledge, before);
        }
        if let Some(new) = &admission.accepted {
            let again = check_same(&new.bytes, &new.scan);
            for span in &again.spans {
                assert_eq!(span.start, before.clocks().get(span.client));
                assert_eq!(span.end, knowledge.clocks().get(span.client));
                assert!(!is_withheld(span.client));
            }
            let deletes = DeleteSet::collect(again.deletes(&new.bytes));
            assert_eq!(deletes.subtract(before.deletes()), deletes);
            assert!(!is_empty_update(&new.bytes));
        }
        if let Some(rest) = &admission.held {
            let scanned = scan(&rest.bytes, &limits).expect("what is held is an update");
            let again = knowledge.clone().admit(&rest.bytes, &scanned, Source::Update, is_withheld, &limits);
            assert_eq!(again.accepted, None, "more of it could have been accepted");
            assert_eq!(again.refused, None);
            assert_eq!(again.held.map(|held| held.why), Some(rest.why));
        }
        let again = knowledge.clone().admit(update, &scanned, Source::Update, is_withheld, &limits);
        assert_eq!(again.accepted, None, "accepted twice");
        accepted.extend(admission.accepted.map(|accepted| accepted.bytes));
        held.extend(admission.held);
    }

    let merged = merge(&accepted);
    if yrs_reads(&merged) {
        // Whatever peers make up, a document that the guard let through opens in yrs.
        let doc = Doc::with_options(Options {
            // With its default, bytes, yrs miscounts what it cuts through a surrogate pair.
            offset_kind: OffsetKind::Utf16,
            cleanup_formatting: false,
            ..Options::with_client_id(ClientID::new(77))
        });
        let update = yrs::Update::decode_v1(&merged).expect("nothing in it is foreign to yrs");
        doc.transact_mut().apply_update(update).expect("its parents were checked");
        assert!(!doc.transact().has_missing_updates(), "its causes were checked");
        let again = doc.transact().encode_state_as_update_v1(&yrs::StateVector::default());
        scan(&again, &Limits::default()).expect("yrs writes updates");
    }
    check_document(&accepted, &merged);
    let opened = Knowledge::of(&merged, &[], &limits).expect("accepted updates are updates");
    assert_eq!(opened.held, []);
    assert_eq!(opened.knowledge.clocks(), knowledge.clocks());
    assert_eq!(opened.knowledge.deletes(), knowledge.deletes());
    let known = diff(&merged, knowledge.clocks());
    assert_eq!(known[0], 0, "a diff against everything holds structs");
    let half: StateVector = knowledge.clocks().iter().map(|(client, clock)| (client, clock / 2)).collect();
    let rest = diff_many(&accepted, &half);
    assert_eq!(
        Knowledge::of(&merged, &[rest], &limits).expect("a diff is an update").parts.len(),
        usize::from(!is_empty_update(&merged))
    );

    // What is held may overlap and contradict itself; joining it must still give an update.
    let pending: Vec<Bytes> = held.into_iter().map(|held| held.bytes).collect();
    let pending = merge(&pending);
    let unlimited = Limits { document_clients_max: usize::MAX, ..limits.clone() };
    let scanned = scan(&pending, &unlimited).expect("merged updates are an update");
    let trusted = knowledge.admit(&pending, &scanned, Source::Trusted, is_withheld, &unlimited);
    if let Some(new) = trusted.accepted {
        check_same(&new.bytes, &new.scan);
    }
}

/// Whatever was accepted is a document that can be shown, or is given up for its price, and shows the same without its garbage.
fn check_document(parts: &[Bytes], merged: &Bytes) {
    let shown = to_json(merged);
    match &shown {
        // Some JSON serde_json does not read: half of a surrogate pair, a number without bounds.
        Ok(json) if yrs_reads(merged) => assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}"),
        Ok(_) | Err(ReadError::TooLarge | ReadError::Tree(TreeError::TooCostly)) => {}
        Err(other) => panic!("{other}"),
    }
    let compacted = compact(parts, &Limits::default());
    assert_eq!(compacted.kept, Kept::Live);
    assert_eq!(to_json(&compacted.state), shown);
    assert_eq!(compact(std::slice::from_ref(&compacted.state), &Limits::default()), compacted);
}

/// Bytes that pass the scan decode in yrs, unless they hold what yrs does not read as Yjs does.
fn check_scan(update: &Bytes) {
    if yrs_reads(update) {
        yrs::Update::decode_v1(update).expect("plausible, so yrs decodes it");
    }
    rescan(&merge(&[update.clone(), Bytes::from_static(&EMPTY_UPDATE)]));
}

/// What the guard says of bytes that it wrote is what scanning them says.
fn check_same(bytes: &Bytes, scanned: &Scan) -> Scan {
    let again = rescan(bytes);
    assert_eq!(again.spans.len(), scanned.spans.len());
    for (one, two) in again.spans.iter().zip(&scanned.spans) {
        assert_eq!((one.client, one.start, one.end, one.structs), (two.client, two.start, two.end, two.structs));
        assert_eq!((&one.bytes, one.has_deleted), (&two.bytes, two.has_deleted));
    }
    assert_eq!((again.structs, again.delete_ranges), (scanned.structs, scanned.delete_ranges));
    assert_eq!(again.has_skip, scanned.has_skip);
    again
}

fn rescan(bytes: &Bytes) -> Scan {
    let unlimited = Limits { document_clients_max: usize::MAX, ..Limits::default() };
    scan(bytes, &unlimited).expect("written by the guard itself")
}
