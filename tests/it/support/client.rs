//! A client as y-websocket is one: a document, a presence, and a socket that may come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Any, Array, ClientID, Doc, Map, OffsetKind, Options, Out, ReadTxn, StateVector, Transact, Update};

use ydash_proto::lib0::Reader;

use super::forge;
use super::node::Node;
use super::peer::{Peer, WITHIN};

/// One client. What it edits without a socket, or while the socket breaks, goes with the next SyncStep2.
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) doc: Doc,
    pub(crate) peer: Option<Peer>,
    /// The clock of its presence.
    presence: u64,
    /// The others' clocks, and whether they are shown.
    others: BTreeMap<u64, (u64, bool)>,
    /// Whether the document has been synced over this socket.
    pub(crate) is_synced: bool,
    /// Questions for what the server lacks that were answered, since the socket was opened.
    pub(crate) answers: usize,
    /// Acks since the socket was opened.
    pub(crate) saved: usize,
    /// Refusals since the socket was opened.
    pub(crate) refused: usize,
}

impl Client {
    /// A client with an empty document and no socket.
    pub(crate) fn new(id: u64) -> Client {
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(id),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        Client {
            id,
            doc,
            peer: None,
            presence: 1,
            others: BTreeMap::new(),
            is_synced: false,
            answers: 0,
            saved: 0,
            refused: 0,
        }
    }

    /// A client that is in a room and in sync.
    pub(crate) async fn joined(node: &Node, path: &str, id: u64) -> Client {
        let mut client = Client::new(id);
        client.join(node, path).await;
        client.until(|client| client.is_synced).await;
        client
    }

    /// Opens a socket and says what stock clients say: SyncStep1, then their presence.
    pub(crate) async fn join(&mut self, node: &Node, path: &str) {
        let peer = Peer::open(node, path).await;
        self.begin(peer).await;
    }

    /// As [`Client::join`], on a socket that is open.
    pub(crate) async fn begin(&mut self, peer: Peer) {
        (self.is_synced, self.answers, self.saved, self.refused) = (false, 0, 0, 0);
        self.peer = Some(peer);
        let have = self.doc.transact().state_vector().encode_v1();
        self.send(forge::sync_step1(&have)).await;
        self.announce().await;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.peer.is_some()
    }

    /// Drops the socket without a word.
    pub(crate) fn disconnect(&mut self) {
        self.peer = None;
        // Their clocks are kept: what comes at the same ones is not taken.
        self.others.values_mut().for_each(|(_, is_shown)| *is_shown = false);
    }

    /// Who else is here.
    pub(crate) fn sees(&self) -> Vec<u64> {
        self.others.iter().filter(|(_, (_, is_shown))| *is_shown).map(|(&id, _)| id).collect()
    }

    /// Sets a key of the root map "board", and sends the update when there is a socket.
    pub(crate) async fn set(&mut self, key: &str, value: i64) {
        let update = {
            let board = self.doc.get_or_insert_map("board");
            let mut txn = self.doc.transact_mut();
            board.insert(&mut txn, key, Any::from(value));
            txn.encode_update_v1()
        };
        self.send(forge::live(&update)).await;
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<i64> {
        let board = self.doc.get_or_insert_map("board");
        match board.get(&self.doc.transact(), key) {
            Some(Out::Any(Any::Number(number))) => number.as_i64(),
            _ => None,
        }
    }

    /// Adds an entry to the root array "log", and sends the update when there is a socket.
    pub(crate) async fn log(&mut self, entry: &str) {
        let update = {
            let log = self.doc.get_or_insert_array("log");
            let mut txn = self.doc.transact_mut();
            log.push_back(&mut txn, Any::from(entry));
            txn.encode_update_v1()
        };
        self.send(forge::live(&update)).await;
    }

    /// The root array "log".
    pub(crate) fn logged(&self) -> Vec<String> {
        let log = self.doc.get_or_insert_array("log");
        let txn = self.doc.transact();
        log.iter(&txn).map(|entry| entry.to_string(&txn)).collect()
    }

    /// How many edits of whom the document holds.
    pub(crate) fn clocks(&self) -> BTreeMap<u64, u32> {
        self.doc.transact().state_vector().iter().map(|(id, clock)| (id.get(), *clock)).collect()
    }

    /// The document's whole content, comparable between clients.
    pub(crate) fn content(&self) -> Vec<(String, i64)> {
        let board = self.doc.get_or_insert_map("board");
        let txn = self.doc.transact();
        let keys: Vec<String> = board.keys(&txn).map(ToString::to_string).collect();
        drop(txn);
        let mut content: Vec<_> = keys.into_iter().filter_map(|key| self.get(&key).map(|value| (key, value))).collect();
        content.sort();
        content
    }

    /// How many edits of its own the document holds.
    pub(crate) fn clock(&self) -> u32 {
        self.clock_of(self.id)
    }

    /// How many edits of a client the document holds.
    pub(crate) fn clock_of(&self, id: u64) -> u32 {
        self.doc.transact().state_vector().get(&ClientID::new(id))
    }

    /// Sends a frame when there is a socket.
    pub(crate) async fn send(&mut self, frame: Vec<u8>) {
        if let Some(peer) = &mut self.peer
            && !peer.send(frame).await
        {
            self.disconnect();
        }
    }

    /// Takes what comes within `limit`. Says whether something came.
    pub(crate) async fn take(&mut self, limit: Duration) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        let began = Instant::now();
        let Some(frame) = peer.next_within(limit).await else {
            if began.elapsed() < limit {
                self.disconnect(); // It ended: otherwise the time would be up.
            }
            return false;
        };
        let mut reader = Reader::new(&frame);
        match (reader.var_uint().unwrap(), &frame[1..]) {
            (0, _) => match reader.var_uint().unwrap() {
                0 => {
                    let have = StateVector::decode_v1(reader.var_bytes().unwrap()).unwrap();
                    let lacking = self.doc.transact().encode_diff_v1(&have);
                    self.send(forge::sync_step2(&lacking)).await;
                    self.answers += 1;
                }
                step => {
                    let update = Update::decode_v1(reader.var_bytes().unwrap()).unwrap();
                    self.doc.transact_mut().apply_update(update).unwrap();
                    self.is_synced |= step == 1;
                }
            },
            (1, _) => self.take_presence(&frame).await,
            (8, [1]) => self.saved += 1,
            (8, [0]) => self.refused += 1,
            _ => {}
        }
        true
    }

    /// Takes what comes within `time`.
    pub(crate) async fn take_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.is_connected() {
                self.take(left).await;
            } else {
                tokio::time::sleep(left).await;
            }
        }
    }

    /// As y-protocols' `applyAwarenessUpdate`, and stock clients' echo of what was new to them (yjs#732). Who is said to be gone
    /// and is not announces itself anew, at the next clock.
    async fn take_presence(&mut self, frame: &[u8]) {
        let mut has_news = false;
        let mut is_contradicted = false;
        for (id, clock, state) in forge::entries(frame) {
            let is_null = state == "null";
            if id == self.id {
                if is_null && clock >= self.presence {
                    self.presence = clock + 1;
                    is_contradicted = true;
                }
                continue;
            }
            let known = self.others.get(&id).copied();
            if known.is_none_or(|(at, is_shown)| clock > at || clock == at && is_null && is_shown) {
                self.others.insert(id, (clock, !is_null));
                has_news = true;
            }
        }
        if is_contradicted {
            self.announce().await;
        } else if has_news {
            self.send(frame.to_vec()).await;
        }
    }

    async fn announce(&mut self) {
        let state = format!("{{\"user\":{}}}", self.id);
        self.send(forge::awareness(&[(self.id, self.presence, &state)])).await;
    }

    /// Takes what comes until `is_done`.
    pub(crate) async fn until(&mut self, is_done: impl Fn(&Client) -> bool) {
        let began = Instant::now();
        while !is_done(self) {
            assert!(began.elapsed() < WITHIN, "client {} waited in vain", self.id);
            assert!(self.is_connected(), "client {} was disconnected", self.id);
            self.take(Duration::from_millis(200)).await;
        }
    }
}
