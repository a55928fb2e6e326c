//! The guard against Yjs 13 itself: histories that it wrote, and what it makes of them, byte for byte.
//!
//! `fixtures/generate.mjs` says how `fixtures/yjs13.txt` came to be.

use bytes::Bytes;
use serde_json::json;
use ydash_proto::document::{Kept, compact, to_json};
use ydash_proto::limits::Limits;
use ydash_proto::update::{Admission, DeleteSet, Knowledge, Source, StateVector, diff, merge, scan};

#[derive(Default)]
struct History {
    name: &'static str,
    updates: Vec<Bytes>,
    merged: Bytes,
    /// The whole document, squashed and collected as clients do it.
    state: Bytes,
    /// The same, with its garbage collected.
    collected: Bytes,
    /// What it shows.
    json: serde_json::Value,
    diffs: Vec<(StateVector, Bytes)>,
}

fn histories() -> Vec<History> {
    let mut histories: Vec<History> = Vec::new();
    let mut have = StateVector::default();
    for line in include_str!("fixtures/yjs13.txt").lines() {
        let (kind, value) = line.split_once(' ').expect("kind and value");
        if kind == "history" {
            histories.push(History { name: value, ..History::default() });
            continue;
        }
        let bytes: Vec<u8> =
            (0..value.len()).step_by(2).map(|at| u8::from_str_radix(&value[at..at + 2], 16).expect("hex")).collect();
        let history = histories.last_mut().expect("a history has begun");
        match kind {
            "update" => history.updates.push(bytes.into()),
            "merged" => history.merged = bytes.into(),
            "state" => history.state = bytes.into(),
            "collected" => history.collected = bytes.into(),
            "json" => history.json = serde_json::from_slice(&bytes).expect("JSON"),
            "have" => {
                have = StateVector::decode(&bytes, &Limits::default()).expect("Yjs writes state vectors");
                assert_eq!(have.encode(), bytes, "Yjs encodes {have:?} otherwise");
            }
            "diff" => history.diffs.push((have.clone(), bytes.into())),
            other => panic!("unknown kind {other}"),
        }
    }
    histories
}

fn admit(knowledge: &mut Knowledge, update: &Bytes) -> Admission {
    let scan = scan(update, &Limits::default()).expect("Yjs writes updates");
    knowledge.admit(update, &scan, Source::Update, |_| false, &Limits::default())
}

fn known(updates: &[Bytes]) -> Knowledge {
    let mut knowledge = Knowledge::default();
    for update in updates {
        let admission = admit(&mut knowledge, update);
        assert_eq!((admission.held, admission.refused), (None, None));
        match admission.accepted {
            Some(accepted) => assert_eq!(accepted.bytes, update),
            // Several clients clean up after formats at once, and each tells of the same deletion.
            None => assert_eq!(update[0], 0, "structs were taken for known"),
        }
    }
    knowledge
}

#[test]
fn updates_of_yjs_are_accepted_as_they_are() {
    for history in histories() {
        let knowledge = known(&history.updates);
        assert_eq!(knowledge, known(&[history.merged]), "{}", history.name);
    }
}

#[test]
fn merging_gives_the_bytes_that_yjs_gives() {
    for history in histories() {
        let merged = merge(&history.updates);
        assert_eq!(merged.len(), history.merged.len(), "{}", history.name);
        for (at, (ours, theirs)) in merged.iter().zip(&history.merged).enumerate() {
            // A live document sets "has a key" also where the key is not written, which a merge in Yjs forgets.
            assert!(ours == theirs || ours ^ theirs == 0x20, "{} at byte {at}: {ours:#x}, {theirs:#x}", history.name);
        }
    }
}

#[test]
fn a_diff_gives_the_bytes_that_yjs_gives() {
    for history in histories() {
        for (have, expected) in &history.diffs {
            assert_eq!(diff(&history.merged, have), expected, "{} against {have:?}", history.name);
        }
    }
}

#[test]
fn a_diff_of_what_is_known_holds_nothing_new() {
    for history in histories() {
        let knowledge = known(&history.updates);
        for (have, rest) in &history.diffs {
            assert_eq!(admit(&mut knowledge.clone(), rest), Admission::default(), "{} against {have:?}", history.name);
        }
    }
}

/// A client that comes back answers SyncStep1 with all its deletions, and with documents that it has collected meanwhile.
#[test]
fn a_collected_state_holds_nothing_new_but_deletions() {
    for history in histories() {
        let mut knowledge = known(&history.updates);
        let before = knowledge.clocks().clone();
        let admission = admit(&mut knowledge, &history.state);
        assert_eq!((admission.held, admission.refused), (None, None));
        assert_eq!(knowledge.clocks(), &before, "{}", history.name);
        assert_eq!(admit(&mut knowledge, &history.state), Admission::default());
        let state = scan(&history.state, &Limits::default()).expect("Yjs writes updates");
        assert_eq!(knowledge.deletes(), &DeleteSet::collect(state.deletes(&history.state)), "{}", history.name);
    }
}

#[test]
fn documents_are_shown_as_yjs_shows_them() {
    for History { name, updates, merged, state, mut json, .. } in histories() {
        // Where Yjs shows less: of a root whose type it was not told, of an XML hook and of a document in a document.
        match name {
            "map" => json[""] = json!({ "": null }),
            "xml" => json["x"] = json["x"].as_str().expect("XML").replace("[object Object]", "{}").into(),
            "subdocument" => json["m"]["doc"] = json!({ "guid": "inner" }),
            _ => {}
        }
        for document in [state, merged, merge(&updates)] {
            let shown: serde_json::Value = serde_json::from_str(&to_json(&document).expect(name)).expect("JSON");
            assert_eq!(shown, json, "{name}");
        }
    }
}

#[test]
fn a_compacted_document_holds_what_yjs_keeps() {
    for History { name, updates, state, collected, json, .. } in histories() {
        // With what follows from the order of items: a client that has integrated them tells of it.
        let mut parts = updates.clone();
        parts.push(diff(&state, known(&updates).clocks()));
        let compacted = compact(&parts, &Limits::default());
        assert_eq!(compacted.kept, Kept::Live, "{name}");
        if name == "text" {
            // Yjs joins only what nobody has put something between.
            assert!(compacted.state.len() < collected.len());
            let shown: serde_json::Value = serde_json::from_str(&to_json(&compacted.state).expect(name)).expect("JSON");
            assert_eq!(shown, json);
        } else {
            assert_eq!(compacted.state, collected, "{name}");
        }
    }
}
