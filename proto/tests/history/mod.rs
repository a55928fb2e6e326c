//! Random histories of several clients, written by yrs, and what documents come of them.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod shown;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use ydash_proto::limits::Limits;
use ydash_proto::update::{Accepted, DeleteSet, Held, Knowledge, Source, StateVector, merge, scan};
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, ClientID, Doc, GetString, Map, MapPrelim, MapRef, OffsetKind, Options, Out,
    ReadTxn, Text, TextPrelim, TextRef, Transact, TransactionMut, Update, WriteTxn, Xml, XmlElementPrelim, XmlFragment,
    XmlFragmentRef, XmlTextPrelim,
};

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client edits; the update it sends is lost when `lost`.
    Edit { client: usize, edit: Edit, lost: bool },
    /// A client gets everything that another one has.
    Sync { from: usize, to: usize },
    /// The server gets a client's SyncStep2, made for what the server knows.
    Resync { client: usize },
    /// The server gets everything of a client, known or not.
    Upload { client: usize },
}

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Set { key: u8, value: i32 },
    Remove { key: u8 },
    Insert { at: u32, values: Vec<i32> },
    Delete { at: u32, len: u32 },
    Type { at: u32, text: String },
    Erase { at: u32, len: u32 },
    Format { at: u32, len: u32 },
    Nest { kind: u8, key: u8 },
    Nested { key: u8, value: i32 },
    Xml { at: u32 },
    Several(Vec<Edit>),
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let text = prop_oneof![Just("a".to_owned()), Just("bcd".to_owned()), Just("ü€😀x😀".to_owned())];
    let one = prop_oneof![
        (0..4u8, any::<i32>()).prop_map(|(key, value)| Edit::Set { key, value }),
        (0..4u8).prop_map(|key| Edit::Remove { key }),
        (0..20u32, prop::collection::vec(any::<i32>(), 1..4)).prop_map(|(at, values)| Edit::Insert { at, values }),
        (0..20u32, 1..5u32).prop_map(|(at, len)| Edit::Delete { at, len }),
        (0..20u32, text).prop_map(|(at, text)| Edit::Type { at, text }),
        (0..20u32, 1..5u32).prop_map(|(at, len)| Edit::Erase { at, len }),
        (0..20u32, 1..5u32).prop_map(|(at, len)| Edit::Format { at, len }),
        (0..4u8, 0..4u8).prop_map(|(kind, key)| Edit::Nest { kind, key }),
        (0..4u8, any::<i32>()).prop_map(|(key, value)| Edit::Nested { key, value }),
        (0..20u32).prop_map(|at| Edit::Xml { at }),
    ];
    prop_oneof![9 => one.clone(), 1 => prop::collection::vec(one, 2..5).prop_map(Edit::Several)]
}

pub(crate) fn step(clients: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..clients, edit(), prop::bool::weighted(0.15)).prop_map(|(client, edit, lost)| Step::Edit { client, edit, lost }),
        3 => (0..clients, 0..clients).prop_map(|(from, to)| Step::Sync { from, to }),
        1 => (0..clients).prop_map(|client| Step::Resync { client }),
        1 => (0..clients).prop_map(|client| Step::Upload { client }),
    ]
}

pub(crate) const CLIENTS: usize = 4;

/// Ids of every length in bytes that occurs: small, uint32 and uint53.
pub(crate) const CLIENT_IDS: [u64; CLIENTS] = [1, 300, 0xfedc_ba98, (1 << 53) - 2];

pub(crate) fn document(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        cleanup_formatting: false,
        // Some clients keep what is deleted, and merge it; most collect it.
        skip_gc: client == CLIENT_IDS[1],
        ..Options::default()
    })
}

pub(crate) fn reader_of(updates: &[Bytes]) -> Doc {
    let doc = document(77);
    updates.iter().for_each(|update| apply(&doc, update));
    doc
}

pub(crate) fn apply(doc: &Doc, update: &[u8]) {
    doc.transact_mut().apply_update(Update::decode_v1(update).expect("an update")).expect("applies");
}

pub(crate) fn full_state(doc: &Doc) -> Bytes {
    state_since(doc, &yrs::StateVector::default())
}

pub(crate) fn state_since(doc: &Doc, have: &yrs::StateVector) -> Bytes {
    doc.transact().encode_state_as_update_v1(have).into()
}

pub(crate) fn clocks(doc: &Doc) -> StateVector {
    doc.transact().state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect()
}

/// All that two documents must agree on: values, formats, clocks, deletions.
pub(crate) fn portrait(doc: &Doc) -> (serde_json::Value, Vec<String>, StateVector, DeleteSet) {
    let (map, array, text, xml) = roots(doc);
    let txn = doc.transact();
    assert!(!txn.has_missing_updates(), "something is missing");
    let values = serde_json::json!([map.to_json(&txn), array.to_json(&txn), xml.get_string(&txn)]);
    let runs = text.diff(&txn, yrs::types::text::YChange::identity);
    let runs = runs.into_iter().map(|run| format!("{:?} {:?}", run.insert, run.attributes.map(|a| a.len()))).collect();
    drop(txn);
    let state = full_state(doc);
    let deletes = DeleteSet::collect(scan(&state, &Limits::default()).expect("yrs writes updates").deletes(&state));
    (values, runs, clocks(doc), deletes)
}

pub(crate) fn roots(doc: &Doc) -> (MapRef, ArrayRef, TextRef, XmlFragmentRef) {
    let mut txn = doc.transact_mut();
    let (map, array) = (txn.get_or_insert_map("map"), txn.get_or_insert_array("array"));
    (map, array, txn.get_or_insert_text("text"), txn.get_or_insert_xml_fragment("xml"))
}

/// Makes the edit as one transaction and returns the update that a provider would send.
pub(crate) fn make(doc: &Doc, edit: &Edit) -> Bytes {
    let roots = roots(doc);
    let mut txn = doc.transact_mut();
    make_in(&mut txn, &roots, edit);
    txn.commit();
    txn.encode_update_v1().into()
}

pub(crate) fn make_in(txn: &mut TransactionMut<'_>, roots: &(MapRef, ArrayRef, TextRef, XmlFragmentRef), edit: &Edit) {
    let (map, array, text, xml) = roots;
    let within = |at: u32, len: u32, size: u32| {
        let at = if size == 0 { 0 } else { at % size };
        (at, len.min(size - at))
    };
    match edit {
        Edit::Set { key, value } => {
            map.insert(txn, key.to_string(), *value);
        }
        Edit::Remove { key } => {
            map.remove(txn, &key.to_string());
        }
        Edit::Insert { at, values } => {
            let at = at % (array.len(txn) + 1);
            array.insert_range(txn, at, values.clone());
        }
        Edit::Delete { at, len } => {
            let (at, len) = within(*at, *len, array.len(txn));
            array.remove_range(txn, at, len);
        }
        Edit::Type { at, text: typed } => {
            let (at, _) = characters(&text.get_string(txn), *at, 0);
            text.insert(txn, at, typed);
        }
        Edit::Erase { at, len } => {
            let (at, len) = characters(&text.get_string(txn), *at, *len);
            text.remove_range(txn, at, len);
        }
        Edit::Format { at, len } => {
            let bold: HashMap<Arc<str>, Any> = [("bold".into(), Any::Bool(len % 2 == 0))].into();
            let (at, len) = characters(&text.get_string(txn), *at, *len);
            text.format(txn, at, len, bold);
        }
        Edit::Nest { kind: 0, key } => {
            map.insert(txn, format!("n{key}"), MapPrelim::from([("born", 1)]));
        }
        Edit::Nest { kind: 1, key } => {
            map.insert(txn, format!("n{key}"), ArrayPrelim::from([1, 2, 3]));
        }
        Edit::Nest { kind: 2, key } => {
            map.insert(txn, format!("n{key}"), MapPrelim::default());
        }
        Edit::Nest { key, .. } => {
            map.insert(txn, format!("n{key}"), TextPrelim::new("nested"));
        }
        Edit::Nested { key, value } => match map.get(txn, &format!("n{key}")) {
            Some(Out::YMap(nested)) => {
                nested.insert(txn, "deeper", MapPrelim::from([("value", *value)]));
                nested.insert(txn, "value", *value);
            }
            Some(Out::YArray(nested)) => {
                nested.push_back(txn, *value);
            }
            Some(Out::YText(nested)) => nested.push(txn, "more"),
            _ => {}
        },
        Edit::Xml { at } => {
            let at = at % (xml.len(txn) + 1);
            let element = xml.insert(txn, at, XmlElementPrelim::empty("widget"));
            element.insert_attribute(txn, "id", at.to_string());
            element.push_back(txn, XmlTextPrelim::new("title"));
            if at > 2 {
                xml.remove_range(txn, 0, 1);
            }
        }
        Edit::Several(edits) => edits.iter().for_each(|edit| make_in(txn, roots, edit)),
    }
}

/// Where `len` characters from the one at `at` on lie, in UTF-16 units.
///
/// Edits keep to whole characters: what becomes of half a surrogate pair differs between copies of one Yjs document.
pub(crate) fn characters(text: &str, at: u32, len: u32) -> (u32, u32) {
    let at = at as usize % (text.chars().count() + 1);
    let units = |chars: &mut dyn Iterator<Item = char>| chars.map(char::len_utf16).sum::<usize>() as u32;
    (units(&mut text.chars().take(at)), units(&mut text.chars().skip(at).take(len as usize)))
}

/// The server's side: scan, admit, and hold what does not fit.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) knowledge: Knowledge,
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) held: Vec<Held>,
}

impl Gate {
    pub(crate) fn receive(&mut self, update: &Bytes) {
        self.admit(update);
        while self.held.iter().any(|held| self.knowledge.resolves(held)) {
            let held: Vec<Bytes> = self.held.drain(..).map(|held| held.bytes).collect();
            self.admit(&merge(&held));
        }
    }

    fn admit(&mut self, update: &Bytes) {
        let limits = Limits::default();
        let scanned = scan(update, &limits).expect("yrs writes updates");
        let before = self.knowledge.clone();
        let admission = self.knowledge.admit(update, &scanned, Source::Update, |_| false, &limits);
        assert_eq!(admission.refused, None);
        if let Some(accepted) = admission.accepted {
            self.check_new(&before, &accepted);
            self.accepted.push(accepted);
        } else {
            assert_eq!(before, self.knowledge);
        }
        self.held.extend(admission.held);
    }

    /// What is accepted follows on what was known, overlaps nothing, and its scan is that of its bytes.
    fn check_new(&self, before: &Knowledge, accepted: &Accepted) {
        let again = scan(&accepted.bytes, &Limits::default()).expect("accepted bytes are an update");
        assert_eq!((&again.spans, again.structs), (&accepted.scan.spans, accepted.scan.structs));
        assert_eq!((again.delete_ranges, again.has_skip), (accepted.scan.delete_ranges, accepted.scan.has_skip));
        assert!(!again.has_skip);
        for span in &again.spans {
            assert_eq!(span.start, before.clocks().get(span.client));
            assert_eq!(span.end, self.knowledge.clocks().get(span.client));
        }
        let new = DeleteSet::collect(again.deletes(&accepted.bytes));
        assert_eq!(new.subtract(before.deletes()), new);
        assert!(new.subtract(self.knowledge.deletes()).is_empty());
        for (client, range) in new.iter() {
            assert!(range.end <= self.knowledge.clocks().get(client));
        }
    }

    pub(crate) fn bytes(&self) -> Vec<Bytes> {
        self.accepted.iter().map(|accepted| accepted.bytes.clone()).collect()
    }
}

/// Plays a history; returns the clients and what the server made of it, shown everything at the end.
pub(crate) fn play(steps: &[Step], late: &[prop::sample::Index]) -> (Vec<Doc>, Gate) {
    let clients: Vec<Doc> = CLIENT_IDS.iter().map(|id| document(*id)).collect();
    let mut gate = Gate::default();
    let mut delayed: Vec<Bytes> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Edit { client, edit, lost } => {
                let update = make(&clients[*client], edit);
                match late.get(n) {
                    _ if *lost => {}
                    // Some arrive later, in another order.
                    Some(index) if index.index(3) == 0 => delayed.insert(index.index(delayed.len() + 1), update),
                    _ => gate.receive(&update),
                }
            }
            Step::Sync { from, to } if from != to => {
                let have = clients[*to].transact().state_vector();
                let update = state_since(&clients[*from], &have);
                apply(&clients[*to], &update);
            }
            Step::Sync { .. } => {}
            Step::Resync { client } => {
                let known = gate.knowledge.state_vector().encode();
                let have = yrs::StateVector::decode_v1(&known).expect("a state vector");
                gate.receive(&state_since(&clients[*client], &have));
            }
            Step::Upload { client } => gate.receive(&full_state(&clients[*client])),
        }
        if n % 7 == 6 {
            delayed.drain(..).for_each(|update| gate.receive(&update));
        }
    }
    delayed.iter().for_each(|update| gate.receive(update));
    for doc in &clients {
        gate.receive(&full_state(doc));
    }
    (clients, gate)
}
