//! Updates written by hand, for tests: honest clients do not write what the guard is there for.

use bytes::Bytes;

use super::DeleteSet;
use crate::id::{ClientId, Clock};
use crate::lib0::{write_var_bytes, write_var_uint};

pub(crate) type Id = (ClientId, Clock);

/// One client's section: the client, its first clock, its structs.
pub(crate) type Section<'a> = (ClientId, Clock, &'a [Vec<u8>]);

pub(crate) fn update(sections: &[Section<'_>], deletes: &[(ClientId, Clock, Clock)]) -> Bytes {
    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (client, clock, structs) in sections {
        write_var_uint(&mut out, structs.len() as u64);
        write_id(&mut out, (*client, *clock));
        structs.iter().for_each(|bytes| out.extend_from_slice(bytes));
    }
    let mut set = DeleteSet::default();
    deletes.iter().for_each(|(client, clock, len)| set.insert(*client, *clock, *len));
    set.encode_into(&mut out);
    Bytes::from(out)
}

fn write_id(out: &mut Vec<u8>, (client, clock): Id) {
    write_var_uint(out, client);
    write_var_uint(out, u64::from(clock));
}

fn with_len(info: u8, len: Clock) -> Vec<u8> {
    let mut out = vec![info];
    write_var_uint(&mut out, u64::from(len));
    out
}

pub(crate) fn gc(len: Clock) -> Vec<u8> {
    with_len(0, len)
}

pub(crate) fn skip(len: Clock) -> Vec<u8> {
    with_len(10, len)
}

/// An item of content `content` in the root type "r".
pub(crate) fn in_root(content: u8, bytes: &[u8]) -> Vec<u8> {
    [&[content, 1, 1, b'r'], bytes].concat()
}

/// An item of content `content` in the type that the item `parent` holds.
pub(crate) fn inside(parent: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![content, 0];
    write_id(&mut out, parent);
    out.extend_from_slice(bytes);
    out
}

/// An item of content `content` to the right of `origin`.
pub(crate) fn after(origin: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![content | 0x80];
    write_id(&mut out, origin);
    out.extend_from_slice(bytes);
    out
}

/// An item of content `content` to the left of `right_origin`.
pub(crate) fn before(right_origin: Id, content: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![content | 0x40];
    write_id(&mut out, right_origin);
    out.extend_from_slice(bytes);
    out
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_bytes(&mut out, text.as_bytes());
    out
}

pub(crate) const DELETED: u8 = 1;
pub(crate) const STRING: u8 = 4;
pub(crate) const TYPE: u8 = 7;
pub(crate) const ANY: u8 = 8;

/// The content of a Y.Map.
pub(crate) const MAP: [u8; 1] = [1];
