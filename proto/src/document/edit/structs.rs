//! What an edit writes: structs of one client and deletions, as one update.

use crate::id::{ClientId, Clock};
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::update::structs::{CONTENT_ANY, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, Id, write_id};
use crate::update::{DeleteSet, EMPTY_UPDATE};
use serde_json::Value;

use super::value::write_any;

/// The shared type that an item belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parent<'p> {
    Root(&'p str),
    /// The content of this item.
    Item(Id),
}

/// Where the next item goes; after it, what follows goes behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'p> {
    pub(super) parent: Parent<'p>,
    pub(super) key: Option<&'p str>,
    pub(super) left: Option<Id>,
    pub(super) right: Option<Id>,
}

impl<'p> Seat<'p> {
    /// The beginning of what has nothing in it.
    pub(super) fn inside(parent: Parent<'p>) -> Seat<'p> {
        Seat { parent, key: None, left: None, right: None }
    }
}

#[derive(Debug)]
pub(super) struct Structs {
    client: ClientId,
    from: Clock,
    clock: Clock,
    pub(super) count: usize,
    out: Vec<u8>,
    deletes: DeleteSet,
}

impl Structs {
    /// By `client`, from its clock `from` on.
    pub(super) fn new(client: ClientId, from: Clock) -> Structs {
        Structs { client, from, clock: from, count: 0, out: Vec::new(), deletes: DeleteSet::default() }
    }

    /// Deletes clocks.
    pub(super) fn delete(&mut self, id: Id, clocks: Clock) {
        self.deletes.insert(id.client, id.clock, clocks);
    }

    /// Writes an item, and makes `seat` the one behind it. Returns its first clock.
    pub(super) fn item(&mut self, seat: &mut Seat<'_>, content: u8, clocks: Clock, bytes: &[u8]) -> Id {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let Seat { parent, key, left, right } = *seat;
        self.out.push(
            content
                | flag(left.is_some(), HAS_ORIGIN)
                | flag(right.is_some(), HAS_RIGHT_ORIGIN)
                | flag(key.is_some(), HAS_PARENT_SUB),
        );
        left.into_iter().chain(right).for_each(|id| write_id(&mut self.out, id));
        if left.is_none() && right.is_none() {
            match parent {
                Parent::Root(name) => {
                    write_var_uint(&mut self.out, 1);
                    write_var_bytes(&mut self.out, name.as_bytes());
                }
                Parent::Item(id) => {
                    write_var_uint(&mut self.out, 0);
                    write_id(&mut self.out, id);
                }
            }
            if let Some(key) = key {
                write_var_bytes(&mut self.out, key.as_bytes());
            }
        }
        self.out.extend_from_slice(bytes);
        self.count += 1;
        let id = Id { client: self.client, clock: self.clock };
        self.clock += clocks;
        seat.left = Some(Id { clock: self.clock - 1, ..id });
        id
    }

    /// Writes plain values as one item.
    pub(super) fn plain<'v>(&mut self, seat: &mut Seat<'_>, values: impl ExactSizeIterator<Item = &'v Value>) {
        let count = values.len();
        let mut bytes = Vec::new();
        write_var_uint(&mut bytes, count as u64);
        values.for_each(|value| write_any(&mut bytes, value));
        self.item(seat, CONTENT_ANY, count as Clock, &bytes);
    }

    /// The update, and how many clocks it takes.
    pub(super) fn finish(self) -> (Vec<u8>, Clock) {
        let clocks = self.clock - self.from;
        if clocks == 0 && self.deletes.is_empty() {
            return (EMPTY_UPDATE.to_vec(), 0);
        }
        let mut update = Vec::with_capacity(self.out.len() + 64);
        write_var_uint(&mut update, u64::from(clocks > 0));
        if clocks > 0 {
            write_var_uint(&mut update, self.count as u64);
            write_id(&mut update, Id { client: self.client, clock: self.from });
            update.extend_from_slice(&self.out);
        }
        self.deletes.encode_into(&mut update);
        (update, clocks)
    }
}
