//! Updates written by hand: what no Yjs client writes.

use ydash_proto::lib0::{Reader, write_var_bytes};

pub(crate) const DELETED: u8 = 1;
pub(crate) const STRING: u8 = 4;
pub(crate) const TYPE: u8 = 7;
pub(crate) const ANY: u8 = 8;

/// A client id and a clock.
pub(crate) type Id = (u64, u64);

/// A varint, also one that JavaScript could not read.
pub(crate) fn var_uint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

pub(crate) fn var_bytes(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_bytes(&mut out, bytes.as_ref());
    out
}

fn id((client, clock): Id) -> Vec<u8> {
    [var_uint(client), var_uint(clock)].concat()
}

/// One client's structs from a clock on, and deletions as (client, clock, length).
pub(crate) fn update(from: Id, structs: &[Vec<u8>], deletes: &[(u64, u64, u64)]) -> Vec<u8> {
    sections(&[(from, structs)], deletes)
}

/// Several clients' structs.
pub(crate) fn sections(sections: &[(Id, &[Vec<u8>])], deletes: &[(u64, u64, u64)]) -> Vec<u8> {
    let mut out = var_uint(sections.len() as u64);
    for (from, structs) in sections {
        out.extend([var_uint(structs.len() as u64), id(*from), structs.concat()].concat());
    }
    out.extend(var_uint(deletes.len() as u64));
    for &(client, clock, len) in deletes {
        out.extend([var_uint(client), var_uint(1), var_uint(clock), var_uint(len)].concat());
    }
    out
}

pub(crate) fn gc(len: u64) -> Vec<u8> {
    [vec![0], var_uint(len)].concat()
}

/// An item in the root type `root`.
pub(crate) fn in_root(root: &str, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content, 1], var_bytes(root), bytes.to_vec()].concat()
}

/// The value of `key` in the root type `root`.
pub(crate) fn set_in_root(root: &str, key: &str, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content | 0x20, 1], var_bytes(root), var_bytes(key), bytes.to_vec()].concat()
}

/// An item in the type that the item `parent` holds.
pub(crate) fn inside(parent: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content, 0], id(parent), bytes.to_vec()].concat()
}

/// An item right of `origin`.
pub(crate) fn after(origin: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content | 0x80], id(origin), bytes.to_vec()].concat()
}

/// An item left of `right_origin`.
pub(crate) fn before(right_origin: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content | 0x40], id(right_origin), bytes.to_vec()].concat()
}

/// An item between two.
pub(crate) fn between(origin: Id, right_origin: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![content | 0xc0], id(origin), id(right_origin), bytes.to_vec()].concat()
}

/// A text of so many letters in the root "text", by a client of its own.
pub(crate) fn letters(client: u64, clock: u64, count: usize) -> Vec<u8> {
    let text = var_bytes("x".repeat(count));
    match clock {
        0 => update((client, 0), &[in_root("text", STRING, &text)], &[]),
        _ => update((client, clock), &[after((client, clock - 1), STRING, &text)], &[]),
    }
}

/// `depth` arrays, each in the one before, as one `Any`.
pub(crate) fn nested_any(depth: usize) -> Vec<u8> {
    [vec![1], [117, 1].repeat(depth), vec![126]].concat()
}

/// A SyncStep1 frame.
pub(crate) fn sync_step1(state_vector: &[u8]) -> Vec<u8> {
    [vec![0, 0], var_bytes(state_vector)].concat()
}

/// A SyncStep2 frame.
pub(crate) fn sync_step2(update: &[u8]) -> Vec<u8> {
    [vec![0, 1], var_bytes(update)].concat()
}

/// An Update frame.
pub(crate) fn live(update: &[u8]) -> Vec<u8> {
    [vec![0, 2], var_bytes(update)].concat()
}

/// An Awareness frame of (client, clock, JSON) entries.
pub(crate) fn awareness(entries: &[(u64, u64, &str)]) -> Vec<u8> {
    let mut body = var_uint(entries.len() as u64);
    for &(client, clock, state) in entries {
        body.extend([id((client, clock)), var_bytes(state)].concat());
    }
    [vec![1], var_bytes(body)].concat()
}

/// The entries of an Awareness frame as (client, clock, JSON).
pub(crate) fn entries(frame: &[u8]) -> Vec<(u64, u64, String)> {
    let mut outer = Reader::new(frame);
    assert_eq!(outer.var_uint().unwrap(), 1);
    let mut reader = Reader::new(outer.var_bytes().unwrap());
    let count = reader.var_uint().unwrap();
    let mut entry = || (reader.var_uint().unwrap(), reader.var_uint().unwrap(), reader.var_str().unwrap().to_owned());
    (0..count).map(|_| entry()).collect()
}
