//! A stock client: a real document, y-protocols' awareness, and what y-websocket's provider does with both.

use crate::account::Contents;
use crate::replica::Replica;
use crate::rng::Rng;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use ydash_proto::access::Access;
use ydash_proto::id::ClientId;
use ydash_proto::room::Dialect;
use ydash_proto::update::{DeleteSet, StateVector};
use ydash_proto::wire::{self, Message, awareness, encode};
use yrs::types::ToJson;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, ArrayPrelim, ClientID, Doc, GetString, Map, MapPrelim, OffsetKind, Options, Out, ReadTxn, Text,
    TextPrelim, Transact, TransactionMut, Update, WriteTxn,
};

const RENEW_AFTER: u64 = 15_000;
const OUTDATED_AFTER: u64 = 30_000;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) access: Access,
    pub(crate) dialect: Dialect,
    pub(crate) wants_acks: bool,
    /// Sends every awareness entry that it takes back to the server, as y-websocket up to 3.1 does.
    pub(crate) echoes: bool,
    /// Takes awareness at all.
    pub(crate) is_aware: bool,
    /// Has a state of its own.
    pub(crate) is_shown: bool,
    /// Edits, whether it may or not.
    pub(crate) edits: bool,
    pub(crate) is_hostile: bool,
}

impl Manners {
    /// Whether its document must come to agree with everybody's.
    pub(crate) fn converges(&self) -> bool {
        !self.is_hostile && (self.access.may_edit() || !self.edits)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    clock: u32,
    state: Option<String>,
    updated_at: u64,
}

pub(crate) struct Client {
    /// Under which it is shown.
    pub(crate) id: ClientId,
    /// Under which it edits: another one once it has received structs in its own name.
    pub(crate) writes_as: ClientId,
    spare: ClientId,
    pub(crate) manners: Manners,
    doc: Doc,
    replica: Replica,
    /// What its document came to know at each clock.
    pub(crate) contents: Contents,
    /// Its document holds content that stands nowhere else, where others hold something else: nothing more can be applied to it.
    pub(crate) is_stranded: bool,
    /// When it last heard that something of its own was refused.
    pub(crate) told_at: Option<u64>,
    made: Arc<Mutex<Vec<Bytes>>>,
    awareness: BTreeMap<ClientId, Known>,
    count: u64,
    /// What HocuspocusProvider calls its unsynced changes.
    pub(crate) unsynced: u32,
    /// When its own timer last gave somebody up whose renewals were late.
    pub(crate) gave_up_at: u64,
    /// It had nothing to say of itself when its socket opened, and has not since: what others say under its id is no word of its own.
    pub(crate) came_silently: bool,
    /// When its socket closed, something waited in its document for what comes before it.
    had_waiting: bool,
    /// Something of that came to be since, and the server has not asked for it: providers pass on only what comes from elsewhere.
    pub(crate) has_untold: bool,
}

impl Client {
    /// Ids that it may come to write under begin at `spare`.
    pub(crate) fn new(id: ClientId, spare: ClientId, manners: Manners, now: u64) -> Client {
        let made = Arc::default();
        let mut client = Client {
            id,
            writes_as: id,
            spare,
            manners,
            doc: observed(id, &made),
            replica: Replica::default(),
            contents: Contents::default(),
            is_stranded: false,
            told_at: None,
            made,
            awareness: BTreeMap::new(),
            count: 0,
            unsynced: 0,
            gave_up_at: 0,
            came_silently: true,
            had_waiting: false,
            has_untold: false,
        };
        if manners.is_shown {
            client.awareness.insert(id, Known { clock: 0, state: Some("{}".into()), updated_at: now });
            client.change_state(now);
        }
        client
    }

    /// The document as it is, to be carried elsewhere.
    pub(crate) fn image(&self) -> Bytes {
        self.doc.transact().encode_state_as_update_v1(&yrs::StateVector::default()).into()
    }

    /// What goes out when the socket opens, before anything is read.
    pub(crate) fn open(&mut self) -> Vec<Bytes> {
        self.unsynced = 1;
        self.has_untold = false;
        self.came_silently = self.state().is_none();
        let mut frames = vec![encode::sync_step1(&self.clocks().encode())];
        if self.state().is_some() {
            frames.push(self.entries(&[self.id]));
        }
        frames
    }

    /// The socket closed: everybody else's state is dropped, their clocks are not.
    pub(crate) fn closed(&mut self) {
        self.had_waiting = self.replica.is_waiting();
        let own = self.id;
        self.awareness.iter_mut().filter(|(id, _)| **id != own).for_each(|(_, known)| known.state = None);
    }

    /// What one frame leads to.
    pub(crate) fn receive(&mut self, now: u64, frame: &Bytes) -> Received {
        let mut received = Received::default();
        match wire::decode_from_server(frame).expect("the server speaks the dialect") {
            Message::SyncStep1(have) => received.answers.push(encode::sync_step2(&self.difference(&have))),
            Message::SyncStep2(update) | Message::Update(update) => received.changes = self.apply(&update),
            Message::Awareness(body) if self.manners.is_aware => received.answers = self.hear(now, &body),
            Message::SyncStatus { saved: true } => self.unsynced = self.unsynced.saturating_sub(1),
            Message::SyncStatus { saved: false } | Message::PermissionDenied(_) => self.told_at = Some(now),
            Message::QueryAwareness if self.manners.is_aware => {
                let shown = self.awareness.iter().filter(|(_, known)| known.state.is_some()).map(|(&id, _)| id);
                received.answers.push(self.entries(&shown.collect::<Vec<_>>()));
            }
            Message::Awareness(_) | Message::Authenticated { .. } | Message::QueryAwareness => {}
            other => panic!("{other:?} is nothing to send to a client"),
        }
        received
    }

    /// What somebody lacks who has `have`.
    pub(crate) fn difference(&self, have: &[u8]) -> Bytes {
        let have = yrs::StateVector::decode_v1(have).expect("a state vector");
        self.doc.transact().encode_state_as_update_v1(&have).into()
    }

    /// Applies what somebody else wrote; what providers are told of it.
    ///
    /// As in Yjs (`cleanupTransactions` in utils/Transaction.js), whoever receives structs in its own name takes another id.
    pub(crate) fn apply(&mut self, update: &Bytes) -> Vec<Bytes> {
        if self.is_stranded {
            return Vec::new();
        }
        let before = self.clocks().get(self.writes_as);
        let ready = self.replica.receive(update);
        self.has_untold |= self.had_waiting && !ready.is_empty();
        self.had_waiting &= self.replica.is_waiting();
        for ready in ready {
            self.contents.add(&ready);
            let update = Update::decode_v1(&ready).expect("an update");
            self.doc.transact_mut().apply_update(update).expect("applies");
        }
        let changes = self.take_made();
        if self.clocks().get(self.writes_as) != before {
            self.spare += 1;
            self.write_as(self.spare);
        }
        changes
    }

    /// Begins with the image of a document.
    pub(crate) fn restore(&mut self, image: &Bytes) {
        let writes_as = self.writes_as;
        self.apply(image);
        self.write_as(writes_as);
    }

    /// Yjs has the id in a field; here it takes a new document.
    fn write_as(&mut self, id: ClientId) {
        let state = self.image();
        self.writes_as = id;
        self.doc = observed(id, &self.made);
        self.doc.transact_mut().apply_update(Update::decode_v1(&state).expect("an update")).expect("applies");
        self.take_made();
    }

    fn take_made(&mut self) -> Vec<Bytes> {
        core::mem::take(&mut *self.made.lock().expect("one thread"))
    }

    /// Makes some edit as one transaction. `mark` tells its content from that of all others.
    pub(crate) fn edit(&mut self, rng: &mut Rng, mark: i32) -> Option<Bytes> {
        edit(&self.doc, rng, mark);
        self.made_one()
    }

    /// Sets one of its own keys anew, which deletes what stood there.
    pub(crate) fn overwrite(&mut self, rng: &mut Rng, mark: i32) -> Option<Bytes> {
        let key = format!("o{}.{}", self.id, rng.below(4));
        {
            let mut txn = self.doc.transact_mut();
            let map = txn.get_or_insert_map("map");
            map.insert(&mut txn, key, mark);
        }
        self.made_one()
    }

    fn made_one(&mut self) -> Option<Bytes> {
        let update = self.take_made().into_iter().next()?;
        assert!(self.replica.write(&update), "an own edit follows on what is known");
        Some(update)
    }

    /// y-protocols' timer, every 3 s.
    pub(crate) fn tick(&mut self, now: u64) -> Option<Bytes> {
        if !self.manners.is_aware {
            return None;
        }
        let mut changed = Vec::new();
        let own = self.id;
        for (&id, known) in &mut self.awareness {
            if known.state.is_none() {
                continue;
            }
            if id == own && now - known.updated_at >= RENEW_AFTER {
                known.clock += 1;
                known.updated_at = now;
                changed.push(id);
            } else if id != own && now - known.updated_at >= OUTDATED_AFTER {
                known.state = None;
                self.gave_up_at = now;
                changed.push(id);
            }
        }
        (!changed.is_empty()).then(|| self.entries(&changed))
    }

    /// Shows something else, or itself again.
    pub(crate) fn change_state(&mut self, now: u64) -> Bytes {
        self.count += 1;
        self.came_silently = false;
        let state = Some(format!("{{\"at\":{}}}", self.count));
        let clock = self.awareness.get(&self.id).map_or(0, |known| known.clock + 1);
        self.awareness.insert(self.id, Known { clock, state, updated_at: now });
        self.entries(&[self.id])
    }

    /// The page says goodbye.
    pub(crate) fn hide(&mut self) -> Option<Bytes> {
        let known = self.awareness.get_mut(&self.id)?;
        known.state.take()?;
        let frame = self.entries(&[self.id]);
        self.awareness.get_mut(&self.id)?.clock += 1;
        Some(frame)
    }

    /// What it shows of itself, if peers can see it: they ignore clock 0.
    pub(crate) fn state(&self) -> Option<&str> {
        self.awareness.get(&self.id).and_then(|known| known.state.as_deref())
    }

    /// Everybody else whom it sees.
    pub(crate) fn sees(&self) -> BTreeMap<ClientId, &str> {
        let others = self.awareness.iter().filter(|(id, _)| **id != self.id);
        others.filter_map(|(id, known)| known.state.as_deref().map(|state| (*id, state))).collect()
    }

    pub(crate) fn portrait(&self) -> Portrait {
        self.replica.assert_whole("a client");
        portrait(&self.doc)
    }

    pub(crate) fn clocks(&self) -> StateVector {
        clocks(&self.doc)
    }

    fn entries(&self, ids: &[ClientId]) -> Bytes {
        let entries = ids.iter().filter_map(|id| self.awareness.get(id).map(|known| (*id, known)));
        let entries =
            entries.map(|(id, known)| (id, known.clock, known.state.as_deref().map_or(awareness::NULL, str::as_bytes)));
        encode::awareness(entries.collect::<Vec<_>>())
    }

    /// `applyAwarenessUpdate` of y-protocols/awareness.js, and what the provider makes of its event.
    fn hear(&mut self, now: u64, body: &Bytes) -> Vec<Bytes> {
        let mut changed = Vec::new();
        let mut speaks_up = false;
        for entry in awareness::entries(body).expect("the server sends entries") {
            let state = entry.state(usize::MAX).expect("json");
            let state = (!entry.is_null()).then(|| String::from_utf8(state.to_vec()).expect("json is text"));
            let known = self.awareness.get(&entry.client);
            let (clock, shown) = known.map_or((0, false), |known| (known.clock, known.state.is_some()));
            if clock < entry.clock || clock == entry.clock && state.is_none() && shown {
                let is_known = known.is_some();
                let known =
                    self.awareness.entry(entry.client).or_insert(Known { clock: 0, state: None, updated_at: now });
                (known.clock, known.updated_at) = (entry.clock, now);
                if state.is_none() && entry.client == self.id && known.state.is_some() {
                    known.clock += 1;
                    speaks_up = true;
                } else {
                    known.state = state;
                }
                if is_known || known.state.is_some() {
                    changed.push(entry.client);
                }
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        if self.manners.dialect == (Dialect::Hocuspocus { echoes: false }) {
            Vec::new()
        } else if self.manners.echoes {
            vec![self.entries(&changed)]
        } else if speaks_up {
            vec![self.entries(&[self.id])]
        } else {
            Vec::new()
        }
    }
}

/// What a frame led to.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Frames for the server.
    pub(crate) answers: Vec<Bytes>,
    /// What changed in the document.
    pub(crate) changes: Vec<Bytes>,
}

/// All that two documents must agree on.
#[derive(Clone, Debug)]
pub(crate) struct Portrait {
    values: serde_json::Value,
    text: Vec<String>,
    pub(crate) clocks: StateVector,
    pub(crate) deletes: DeleteSet,
}

impl Portrait {
    /// Fails with what differs alone. What is `contested` may have been put together in several ways: Yjs decides by the neighbours
    /// of an item in which list it is.
    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &Portrait, is_contested: bool, whose: &str) {
        assert_eq!(self.clocks, expected.clocks, "the clocks of {whose}");
        let (more, less) = (self.deletes.subtract(&expected.deletes), expected.deletes.subtract(&self.deletes));
        assert!(more.is_empty() && less.is_empty(), "{whose} has deletions {more:?} and lacks {less:?}");
        if is_contested {
            return;
        }
        assert_eq!(self.values, expected.values, "the values of {whose}");
        assert_eq!(self.text, expected.text, "the text of {whose}");
    }
}

/// Of a state, as somebody sees it who has nothing else.
pub(crate) fn portrait_of(state: &Bytes) -> Portrait {
    let doc = document(77);
    let mut replica = Replica::default();
    for ready in replica.receive(state) {
        doc.transact_mut().apply_update(Update::decode_v1(&ready).expect("an update")).expect("applies");
    }
    replica.assert_whole("a newcomer");
    portrait(&doc)
}

fn portrait(doc: &Doc) -> Portrait {
    let (map, array, text) = {
        let mut txn = doc.transact_mut();
        (txn.get_or_insert_map("map"), txn.get_or_insert_array("array"), txn.get_or_insert_text("text"))
    };
    let txn = doc.transact();
    assert!(!txn.has_missing_updates(), "something is missing");
    let values = serde_json::json!([map.to_json(&txn), array.to_json(&txn)]);
    let runs = text.diff(&txn, yrs::types::text::YChange::identity);
    let text = runs.into_iter().map(|run| format!("{:?} {:?}", run.insert, run.attributes.map(|a| a.len()))).collect();
    // What the document holds as deleted: a deleted type takes along what was put into it elsewhere.
    let mut replica = Replica::default();
    replica.receive(&txn.encode_state_as_update_v1(&yrs::StateVector::default()).into());
    let knowledge = replica.knowledge();
    Portrait { values, text, clocks: knowledge.clocks().clone(), deletes: knowledge.deletes().clone() }
}

fn document(client: ClientId) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        cleanup_formatting: false,
        ..Options::default()
    })
}

/// A document that puts what changes it into `made`.
fn observed(client: ClientId, made: &Arc<Mutex<Vec<Bytes>>>) -> Doc {
    let doc = document(client);
    let made = Arc::clone(made);
    doc.observe_update_v1("provider", move |_, event| {
        made.lock().expect("one thread").push(Bytes::copy_from_slice(&event.update));
    })
    .expect("nobody else has the document");
    doc
}

/// A template: always the same structs under client id 0, of which a longer one has more.
pub(crate) fn template(len: usize) -> Bytes {
    let doc = document(0);
    {
        let mut txn = doc.transact_mut();
        let (map, array, text) =
            (txn.get_or_insert_map("map"), txn.get_or_insert_array("array"), txn.get_or_insert_text("text"));
        map.insert(&mut txn, "k0", "title");
        text.insert(&mut txn, 0, "Welcome");
        for part in 0..len as i32 {
            array.push_back(&mut txn, 100 + part);
            map.insert(&mut txn, format!("n{part}"), MapPrelim::from([("part", part)]));
        }
    }
    doc.transact().encode_state_as_update_v1(&yrs::StateVector::default()).into()
}

fn clocks(doc: &Doc) -> StateVector {
    doc.transact().state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect()
}

/// The update of some edit on top of `state`, by a client of its own.
pub(crate) fn edited(state: &Bytes, client: ClientId, rng: &mut Rng, mark: i32) -> Bytes {
    let doc = document(client);
    doc.transact_mut().apply_update(Update::decode_v1(state).expect("an update")).expect("applies");
    let before = doc.transact().state_vector();
    (0..=rng.below(2)).for_each(|_| edit(&doc, rng, mark));
    doc.transact().encode_state_as_update_v1(&before).into()
}

fn edit(doc: &Doc, rng: &mut Rng, mark: i32) {
    let mut txn = doc.transact_mut();
    for _ in 0..if rng.chance(10) { 1 + rng.below(4) } else { 1 } {
        edit_in(&mut txn, rng, mark);
    }
}

fn edit_in(txn: &mut TransactionMut<'_>, rng: &mut Rng, mark: i32) {
    let map = txn.get_or_insert_map("map");
    let array = txn.get_or_insert_array("array");
    let text = txn.get_or_insert_text("text");
    let key = format!("k{}", rng.below(4));
    let nested = format!("n{}", rng.below(4));
    let value = mark;
    match rng.below(13) {
        0 | 1 => _ = map.insert(txn, key, value),
        2 => _ = map.remove(txn, &key),
        3 | 4 => {
            let at = rng.below(u64::from(array.len(txn)) + 1) as u32;
            array.insert_range(txn, at, vec![value; 1 + rng.index(3)]);
        }
        5 => {
            let len = array.len(txn);
            let at = rng.below(u64::from(len) + 1) as u32;
            array.remove_range(txn, at, (1 + rng.below(4) as u32).min(len - at));
        }
        6 | 7 => {
            let at = rng.below(u64::from(text.len(txn)) + 1);
            let at = characters(&text.get_string(txn), at as usize);
            let typed = ["a", "bcd", "ü€", "lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam"];
            text.insert(txn, at, &format!("{}{mark}", typed[rng.index(typed.len())]));
        }
        8 => {
            let content = text.get_string(txn);
            let from = rng.index(content.chars().count() + 1);
            let (from, to) = (characters(&content, from), characters(&content, from + 1 + rng.index(5)));
            text.remove_range(txn, from, to - from);
        }
        9 => {
            let content = text.get_string(txn);
            let from = rng.index(content.chars().count() + 1);
            let (from, to) = (characters(&content, from), characters(&content, from + 1 + rng.index(5)));
            text.format(txn, from, to - from, [("bold".into(), Any::Bool(rng.chance(50)))].into());
        }
        10 => match rng.below(3) {
            0 => _ = map.insert(txn, nested, MapPrelim::from([("born", value)])),
            1 => _ = map.insert(txn, nested, ArrayPrelim::from([1, 2, value])),
            _ => _ = map.insert(txn, nested, TextPrelim::new(format!("nested{mark}"))),
        },
        11 => match map.get(txn, &nested) {
            Some(Out::YMap(nested)) => {
                nested.insert(txn, "deeper", MapPrelim::from([("value", value)]));
            }
            Some(Out::YArray(nested)) => _ = nested.push_back(txn, value),
            Some(Out::YText(nested)) => nested.push(txn, &format!("more{mark}")),
            _ => {}
        },
        _ => _ = map.remove(txn, &nested),
    }
}

/// Where the character at `at` begins, in UTF-16 units: edits keep to whole characters.
fn characters(text: &str, at: usize) -> u32 {
    text.chars().take(at).map(char::len_utf16).sum::<usize>() as u32
}
