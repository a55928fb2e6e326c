//! One Yjs client that edits, as bytes: no CRDT library runs in the load generator.
//!
//! An author sets one key of the root map again and again, as dragging a widget does. The updates are those that Yjs writes:
//! the first names its parent, later ones stand right of the item they replace and delete it. They depend on nobody else's,
//! so any order between authors is valid, and each advances the author's clock by one: the clock counts the edits.

use ydash_proto::lib0::{write_var_bytes, write_var_uint};

/// The root type of every document of a load test.
const ROOT: &[u8] = b"layout";

/// Struct info: an `Any` value with a `parentSub`.
const INFO_SET: u8 = 0x28;

/// As [`INFO_SET`], with a left origin.
const INFO_REPLACE: u8 = 0x80 | INFO_SET;

/// The tag of an integer and of a string in lib0's `any`.
const ANY_INTEGER: u8 = 125;
const ANY_STRING: u8 = 119;

/// A Yjs client that sets one key.
#[derive(Debug)]
pub(crate) struct Author {
    client: u64,
    key: String,
    clock: u64,
    /// Every item so far, for whoever asks with a SyncStep1.
    items: Vec<u8>,
}

impl Author {
    /// An author that has not edited yet.
    pub(crate) fn new(client: u64, key: String) -> Author {
        Author { client, key, clock: 0, items: Vec::new() }
    }

    /// The Yjs client id.
    pub(crate) fn client(&self) -> u64 {
        self.client
    }

    /// Sets the key to `value` and returns the update, v1 encoded.
    pub(crate) fn set(&mut self, value: u64) -> Vec<u8> {
        let start = self.items.len();
        self.write_item(value);
        let mut update = Vec::with_capacity(48);
        write_structs_header(&mut update, 1, self.client, self.clock);
        update.extend_from_slice(&self.items[start..]);
        match self.clock.checked_sub(1) {
            Some(replaced) => write_delete_set(&mut update, self.client, replaced, 1),
            None => update.push(0),
        }
        self.clock += 1;
        update
    }

    /// Everything so far as one update, which is what a SyncStep1 with an empty state vector asks for.
    pub(crate) fn state(&self) -> Vec<u8> {
        if self.clock == 0 {
            return vec![0, 0];
        }
        let mut update = Vec::with_capacity(self.items.len() + 32);
        write_structs_header(&mut update, self.clock, self.client, 0);
        update.extend_from_slice(&self.items);
        match self.clock - 1 {
            0 => update.push(0),
            replaced => write_delete_set(&mut update, self.client, 0, replaced),
        }
        update
    }

    /// The state vector of somebody who has everything so far.
    pub(crate) fn state_vector(&self) -> Vec<u8> {
        let mut vector = vec![1];
        write_var_uint(&mut vector, self.client);
        write_var_uint(&mut vector, self.clock);
        vector
    }

    fn write_item(&mut self, value: u64) {
        let out = &mut self.items;
        match self.clock.checked_sub(1) {
            None => write_first_item_head(out, &self.key),
            Some(left) => {
                out.push(INFO_REPLACE);
                write_var_uint(out, self.client);
                write_var_uint(out, left);
            }
        }
        out.push(1);
        out.push(ANY_INTEGER);
        write_var_int(out, value);
    }
}

/// A document of `keys` keys that hold strings of `value_bytes` bytes, as updates of at most `keys_per_update` keys.
pub(crate) fn filled(client: u64, keys: u64, value_bytes: usize, keys_per_update: u64) -> Vec<Vec<u8>> {
    let mut updates = Vec::new();
    let mut first = 0;
    while first < keys {
        let count = keys_per_update.min(keys - first);
        let mut update = Vec::new();
        write_structs_header(&mut update, count, client, first);
        for key in first..first + count {
            write_first_item_head(&mut update, &format!("widget-{key:05}"));
            update.push(1);
            update.push(ANY_STRING);
            let value: Vec<u8> = (0..value_bytes as u64).map(|i| b'a' + (mix(key * 8191 + i) % 26) as u8).collect();
            write_var_bytes(&mut update, &value);
        }
        update.push(0);
        updates.push(update);
        first += count;
    }
    updates
}

/// A repeatable number that looks like chance (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn write_structs_header(out: &mut Vec<u8>, structs: u64, client: u64, clock: u64) {
    out.push(1);
    write_var_uint(out, structs);
    write_var_uint(out, client);
    write_var_uint(out, clock);
}

fn write_first_item_head(out: &mut Vec<u8>, key: &str) {
    out.push(INFO_SET);
    // The parent is a root type.
    out.push(1);
    write_var_bytes(out, ROOT);
    write_var_bytes(out, key.as_bytes());
}

fn write_delete_set(out: &mut Vec<u8>, client: u64, clock: u64, len: u64) {
    out.push(1);
    write_var_uint(out, client);
    out.push(1);
    write_var_uint(out, clock);
    write_var_uint(out, len);
}

/// lib0's signed varint, for what is not negative: six bits in the first byte, since bit 6 is the sign.
fn write_var_int(out: &mut Vec<u8>, n: u64) {
    if n < 0x40 {
        out.push(n as u8);
    } else {
        out.push((n & 0x3f) as u8 | 0x80);
        write_var_uint(out, n >> 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::updates::decoder::Decode;
    use yrs::updates::encoder::Encode;
    use yrs::{Any, Doc, GetString, Map, Out, ReadTxn, StateVector, Transact, Update};

    fn apply(doc: &Doc, update: &[u8]) {
        doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
    }

    fn value(doc: &Doc, key: &str) -> String {
        let map = doc.get_or_insert_map("layout");
        let txn = doc.transact();
        match map.get(&txn, key) {
            Some(Out::Any(Any::String(text))) => text.to_string(),
            Some(Out::Any(any)) => any.to_string(),
            Some(Out::YText(text)) => text.get_string(&txn),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn first_set_is_what_yjs_writes() {
        // Captured from Yjs: client 1 sets "k" of its root map to 1; here the root is "layout".
        let expected = [&[1, 1, 1, 0, 0x28, 1, 6][..], b"layout", &[1, b'k', 1, 125, 1, 0]].concat();
        assert_eq!(Author::new(1, "k".into()).set(1), expected);
    }

    #[test]
    fn every_edit_arrives_and_replaces_the_one_before() {
        let doc = Doc::new();
        let mut author = Author::new(3_000_000_000, "w7".into());
        for n in [0, 1, 63, 64, 8191, 8192, 2_000_000_000] {
            let update = author.set(n);
            assert!(update.len() < 48, "{} bytes", update.len());
            apply(&doc, &update);
            assert_eq!(value(&doc, "w7"), n.to_string());
        }
        assert_eq!(doc.transact().state_vector().get(&yrs::ClientID::new(3_000_000_000)), 7);
        assert!(!doc.transact().has_missing_updates());
    }

    #[test]
    fn state_is_the_sum_of_the_edits() {
        let (edits, state) = (Doc::new(), Doc::new());
        let mut author = Author::new(5, "k".into());
        assert_eq!(author.state(), [0, 0]);
        for n in 0..100 {
            apply(&edits, &author.set(n));
        }
        apply(&state, &author.state());
        assert_eq!(value(&state, "k"), "99");
        assert_eq!(edits.transact().state_vector(), state.transact().state_vector());
        assert_eq!(edits.transact().state_vector().encode_v1(), author.state_vector());
    }

    #[test]
    fn authors_do_not_depend_on_each_other() {
        let doc = Doc::new();
        let mut authors: Vec<_> = (0..5).map(|n| Author::new(100 + n, format!("w{n}"))).collect();
        let mut updates: Vec<_> = authors.iter_mut().rev().flat_map(|author| [author.set(1), author.set(2)]).collect();
        updates.rotate_left(4);
        updates.iter().for_each(|update| apply(&doc, update));
        assert!((0..5).all(|n| value(&doc, &format!("w{n}")) == "2"));
    }

    #[test]
    fn filled_document_has_its_size_and_keys() {
        let doc = Doc::new();
        let updates = filled(9, 3000, 46, 300);
        assert_eq!(updates.len(), 10);
        updates.iter().for_each(|update| apply(&doc, update));
        assert_eq!(doc.get_or_insert_map("layout").len(&doc.transact()), 3000);
        assert_eq!(value(&doc, "widget-02999").len(), 46);
        let bytes = doc.transact().encode_state_as_update_v1(&StateVector::default()).len();
        assert!((200_000..250_000).contains(&bytes), "{bytes}");
    }
}
