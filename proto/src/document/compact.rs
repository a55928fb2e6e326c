//! Joins the parts of a document into one state and lets go of what was deleted.
//!
//! Comes to what a Yjs client comes to at the end of a transaction (`tryGc` and `tryMerge` of `yjs/src/utils/Transaction.js`), on
//! the bytes and in linear time: what lies in a deleted type is collected, what is deleted otherwise keeps its place, and
//! structs of which each was written right behind the one before become one. For none of it must the order of items be known:
//! a client that reads the joined struct parts it wherever somebody else's item lies between.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{ClientId, Clock};
use crate::lib0::{var_uint_len, write_var_uint};
use crate::limits::Limits;
use crate::update::content::{Content, Elements, TextPart};
use crate::update::structs::{
    CONTENT_ANY, CONTENT_DELETED, CONTENT_JSON, CONTENT_MASK, CONTENT_STRING, Id, Item, Kind, Parent, Struct, Walk,
    header_at, write_gc, write_header,
};
use crate::update::{self, ClockRange, DeleteSet, Knowledge, Scan, Span, StateVector, scan_admitted};

/// A state that stands for all its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Yjs update v1.
    pub state: Bytes,
    /// How many of its bytes hold what is not deleted; all, where that was not found out.
    pub live_bytes: usize,
    /// Whether garbage was collected.
    pub kept: Kept,
    /// The state's scan: to make it takes as long as to read the state, which a room does not wait for.
    pub scan: Arc<Scan>,
}

/// How much of the parts' bytes a compaction kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Deleted content is gone.
    Live,
    /// All: the parts are not a whole document, or what came out lacked something or was longer.
    All,
}

/// How much longer a compacted state may be than what it stands for, for the sake of small documents.
const GROWTH_BYTES_MAX: usize = 16 << 10;

/// Joins `parts`, the encoded state of a document and the updates after it, in order.
///
/// Garbage is collected only when nothing else is lost by it: the result has the same clocks and at least the same deletions, or
/// it is the plain join of the parts. And only when the result is not longer: parting a text wherever a letter was deleted, as Yjs
/// does, takes up to 27 bytes for each. Such a text stays whole, with the letters that were deleted here and there.
///
/// # Panics
/// When a part is not an update. Only what was admitted comes here.
#[must_use]
pub fn compact(parts: &[Bytes], limits: &Limits) -> Compacted {
    let joined = update::merge(parts);
    let bytes_max = joined.len() + GROWTH_BYTES_MAX;
    let collected = collect(&joined, Form::Parted, bytes_max).or_else(|why| match why {
        NotCollected::Longer => collect(&joined, Form::Whole, bytes_max),
        NotCollected::NotWhole => Err(why),
    });
    let (state, live_bytes, kept) = match collected {
        Ok(collected) if collected.is_whole(limits) => (collected.state, collected.live_bytes, Kept::Live),
        _ => (joined.clone(), joined.len(), Kept::All),
    };
    Compacted { scan: Arc::new(scan_admitted(&state)), state, live_bytes, kept }
}

/// How many bytes of a state hold what is not deleted.
///
/// # Panics
/// When it is not an update. Only what was admitted comes here.
#[must_use]
pub fn live_bytes(state: &[u8]) -> usize {
    let scan = scan_admitted(state);
    let deletes = DeleteSet::collect(scan.deletes(state));
    let mut live_bytes = 0;
    for span in &scan.spans {
        let mut walk = Walk::over(state, span.client, span.start, span.bytes.clone());
        while let Some(next) = walk.next() {
            let clocks = ClockRange { start: next.start, end: next.end };
            if !next.is_deleted() && !deletes.covers(span.client, clocks) {
                live_bytes += next.bytes.len();
            }
        }
    }
    live_bytes
}

/// What becomes of an item of which a part is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It is parted.
    Parted,
    /// It stays whole where that takes less: clients delete what is deleted as soon as they have read it.
    Whole,
}

/// Why garbage was not collected.
enum NotCollected {
    /// Something is missing, or refers to itself in a circle.
    NotWhole,
    /// The result would be longer.
    Longer,
}

/// A state without what was deleted.
struct Collected {
    state: Bytes,
    live_bytes: usize,
    /// What is to be in it.
    clocks: StateVector,
    deletes: DeleteSet,
}

impl Collected {
    fn is_whole(&self, limits: &Limits) -> bool {
        Knowledge::of(&self.state, &[], limits).is_ok_and(|opened| {
            *opened.knowledge.clocks() == self.clocks && self.deletes.subtract(opened.knowledge.deletes()).is_empty()
        })
    }
}

/// The state without what was deleted.
fn collect(state: &[u8], form: Form, bytes_max: usize) -> Result<Collected, NotCollected> {
    let scan = scan_admitted(state);
    let mut spans: Vec<Span> = scan.spans.clone();
    spans.sort_by_key(|span| span.client);
    let is_whole = spans.iter().all(|span| span.start == 0) && spans.windows(2).all(|w| w[0].client < w[1].client);
    if !is_whole || scan.has_skip || u32::try_from(state.len()).is_err() {
        return Err(NotCollected::NotWhole);
    }
    let mut structs = Structs::of(state, &spans, DeleteSet::collect(scan.deletes(state)));
    structs.decide()?;
    let clocks: StateVector = spans.iter().map(|span| (span.client, span.end)).collect();
    let mut deletes = structs.deletes.clone();
    deletes.split_beyond(|client| clocks.get(client));
    // What nobody collected yet can be kept, but only with all that it lies in.
    let (collects, keeps_types) = if structs.is_mixed { (GONE, true) } else { (COLLECTED, false) };
    structs.count_as_deleted(collects);

    let mut out = Vec::with_capacity(state.len());
    write_var_uint(&mut out, spans.len() as u64);
    let mut live_bytes = 0;
    for (span, client) in spans.iter().zip(&structs.clients).rev() {
        let mut section = Section { form, keeps_types, ..Section::of(state, span.client) };
        let deletes = structs.deletes.of(span.client);
        let mut deletes = &deletes[..];
        let mut walk = Walk::over(state, span.client, 0, span.bytes.clone());
        let mut at = client.first as usize;
        while let Some(next) = walk.next() {
            match &next.kind {
                Kind::Item(item) if structs.fates[at] & collects == 0 => {
                    let is_keyed = structs.fates[at] & KEYED != 0;
                    section.item(&next, item, is_keyed, &mut deletes);
                }
                _ => section.gc(next.end - next.start),
            }
            if out.len() + section.out.len() > bytes_max {
                return Err(NotCollected::Longer);
            }
            at += 1;
        }
        section.close();
        write_var_uint(&mut out, section.structs);
        write_var_uint(&mut out, span.client);
        write_var_uint(&mut out, 0);
        out.extend_from_slice(&section.out);
        live_bytes += section.live_bytes;
    }
    structs.deletes.encode_into(&mut out);
    match out.len() <= bytes_max {
        true => Ok(Collected { state: Bytes::from(out), live_bytes, clocks, deletes }),
        false => Err(NotCollected::Longer),
    }
}

/// All structs of a state, by client and clock, and what is to become of each.
struct Structs<'a> {
    state: &'a [u8],
    /// Ascending.
    clients: Vec<Client>,
    /// Where each begins: its first clock and its first byte.
    begins: Vec<(Clock, u32)>,
    fates: Vec<u8>,
    deletes: DeleteSet,
    /// Something lies between what is deleted and what is not, as no client puts it. Collecting one would take it along.
    is_mixed: bool,
}

struct Client {
    id: ClientId,
    clocks: Clock,
    /// Its first struct, and the one behind its last.
    first: u32,
    end: u32,
}

/// What is known of a struct, as bits.
const DECIDED: u8 = 1;
/// It waits for what it refers to.
const WAITS: u8 = 2;
/// It lies in something that is deleted: nothing but its length stays.
const COLLECTED: u8 = 4;
/// It has been collected, or lies beside what has: nobody who reads the state finds a place for it.
const GONE: u8 = 8;
/// It is, or was, the value of a key.
const KEYED: u8 = 16;

impl<'a> Structs<'a> {
    fn of(state: &'a [u8], spans: &[Span], deletes: DeleteSet) -> Structs<'a> {
        let (mut clients, mut begins, mut deleted) = (Vec::with_capacity(spans.len()), Vec::new(), Vec::new());
        for span in spans {
            let first = begins.len() as u32;
            let mut walk = Walk::over(state, span.client, 0, span.bytes.clone());
            while let Some(next) = walk.next() {
                begins.push((next.start, next.bytes.start as u32));
                if next.is_deleted() {
                    deleted.push((span.client, ClockRange { start: next.start, end: next.end }));
                }
            }
            clients.push(Client { id: span.client, clocks: span.end, first, end: begins.len() as u32 });
        }
        let fates = vec![0; begins.len()];
        let mut structs = Structs { state, clients, begins, fates, deletes, is_mixed: false };
        structs.deletes.extend(deleted);
        structs
    }

    /// Adds what is going to be collected to the deletions.
    fn count_as_deleted(&mut self, collects: u8) {
        let mut collected = Vec::new();
        for Client { id, clocks, first, end } in &self.clients {
            for at in *first as usize..*end as usize {
                if self.fates[at] & collects != 0 {
                    let behind = if at + 1 < *end as usize { self.begins[at + 1].0 } else { *clocks };
                    collected.push((*id, ClockRange { start: self.begins[at].0, end: behind }));
                }
            }
        }
        self.deletes.extend(collected);
    }

    fn find(&self, id: Id) -> Result<usize, NotCollected> {
        let at =
            self.clients.binary_search_by_key(&id.client, |client| client.id).map_err(|_| NotCollected::NotWhole)?;
        let Client { clocks, first, end, .. } = self.clients[at];
        let begins = &self.begins[first as usize..end as usize];
        let behind = begins.partition_point(|(start, _)| *start <= id.clock);
        if id.clock < clocks { Ok(first as usize + behind - 1) } else { Err(NotCollected::NotWhole) }
    }

    /// Decides what becomes of every struct.
    fn decide(&mut self) -> Result<(), NotCollected> {
        let mut stack = Vec::new();
        for client in 0..self.clients.len() {
            let Client { id, first, end, .. } = self.clients[client];
            for at in first as usize..end as usize {
                stack.push((id, at));
                while let Some(&(client, at)) = stack.last() {
                    match self.decide_one(client, at)? {
                        Some(cause) => stack.push(cause),
                        None => _ = stack.pop(),
                    }
                }
            }
        }
        Ok(())
    }

    /// Decides what becomes of one struct, or returns what has to be decided first.
    fn decide_one(&mut self, client: ClientId, at: usize) -> Result<Option<(ClientId, usize)>, NotCollected> {
        if self.fates[at] & DECIDED != 0 {
            return Ok(None);
        }
        let (clock, byte) = self.begins[at];
        let Some(header) = header_at(self.state, byte as usize, Id { client, clock }) else {
            self.fates[at] = DECIDED | COLLECTED | GONE;
            return Ok(None);
        };
        let mut fate = if header.key.is_some() { DECIDED | KEYED } else { DECIDED };
        let parent = match header.parent {
            Parent::Of(id) => Some(id),
            Parent::OfNeighbour | Parent::Root => None,
        };
        let mut in_all = COLLECTED;
        for id in [header.origin, header.right_origin, parent].into_iter().flatten() {
            let cause = self.find(id)?;
            if self.fates[cause] & DECIDED == 0 {
                if self.fates[cause] & WAITS != 0 {
                    return Err(NotCollected::NotWhole);
                }
                self.fates[at] |= WAITS;
                return Ok(Some((id.client, cause)));
            }
            let inherits = COLLECTED | GONE | if parent.is_some() { 0 } else { KEYED };
            fate |= self.fates[cause] & inherits;
            in_all &= self.fates[cause];
        }
        self.is_mixed |= fate & (COLLECTED | GONE) == COLLECTED && in_all == 0;
        if parent.is_some_and(|id| self.deletes.contains(id.client, id.clock)) {
            fate |= COLLECTED;
        }
        self.fates[at] = fate;
        Ok(None)
    }
}

/// The structs of one client as they come out.
struct Section<'a> {
    state: &'a [u8],
    client: ClientId,
    form: Form,
    /// Deleted types stay what they are, and so does what lies in them.
    keeps_types: bool,
    out: Vec<u8>,
    structs: u64,
    live_bytes: usize,
    /// The last one, which may become longer.
    open: Option<Open>,
    /// Of the last one, up to its content.
    header: Vec<u8>,
    content: Vec<u8>,
}

struct Open {
    kind: Merging,
    right_origin: Option<Id>,
    clocks: Clock,
    /// Bytes of its content that are deleted.
    dead: usize,
}

/// What can be joined with its like.
#[derive(Clone, Copy, PartialEq)]
enum Merging {
    Gc,
    Deleted,
    String,
    Values(u8),
    /// The value of a key takes one clock.
    Never,
}

impl<'a> Section<'a> {
    fn of(state: &'a [u8], client: ClientId) -> Section<'a> {
        Section {
            state,
            client,
            form: Form::Parted,
            keeps_types: false,
            out: Vec::new(),
            structs: 0,
            live_bytes: 0,
            open: None,
            header: Vec::new(),
            content: Vec::new(),
        }
    }

    fn gc(&mut self, clocks: Clock) {
        match &mut self.open {
            Some(open) if open.kind == Merging::Gc => open.clocks += clocks,
            _ => {
                self.close();
                self.open = Some(Open { kind: Merging::Gc, right_origin: None, clocks, dead: 0 });
            }
        }
    }

    /// Parts an item into what is deleted and what is not. `deletes` begin at or before it.
    fn item(&mut self, of: &Struct, item: &Item, is_keyed: bool, deletes: &mut &[ClockRange]) {
        let content = of.content(item, self.state);
        let mut text = TextPart::default();
        let mut values = None;
        match content {
            Content::String(whole) => text = TextPart::whole(whole),
            Content::Any(whole) | Content::Json(whole) => values = Some(whole),
            _ => {}
        }
        let mut start = of.start;
        while start < of.end {
            while deletes.first().is_some_and(|range| range.end <= start) {
                *deletes = &deletes[1..];
            }
            let (deleted, until) = match deletes.first() {
                Some(range) if range.start <= start => (Some(*range), range.end),
                Some(range) => (None, range.start),
                None => (None, of.end),
            };
            let range = ClockRange { start, end: until.min(of.end) };
            let clocks = range.len();
            let part_of_text = text.split_off_front(if matches!(content, Content::String(_)) { clocks } else { 0 });
            let part_of_values = values.as_mut().map(|values: &mut Elements<'_>| values.split_off_front(clocks));
            let is_kept = !is_keyed
                && deleted.is_some_and(|deleted| self.form == Form::Whole && self.parts_for_more(item, deleted));
            match content {
                Content::String(_) if is_kept => {
                    // Half a pair is not kept whole: the other half is not, either.
                    let half = |is_there| if is_there { " " } else { "" };
                    let TextPart { begins_with_half, text, ends_with_half } = part_of_text;
                    let pieces = [half(begins_with_half), text, half(ends_with_half)].map(str::as_bytes);
                    self.part(of, item, range, Merging::String, CONTENT_STRING, &pieces);
                    self.keeps_dead(pieces.concat().len());
                }
                Content::Any(_) | Content::Json(_) if is_kept => {
                    let which = if matches!(content, Content::Any(_)) { CONTENT_ANY } else { CONTENT_JSON };
                    let bytes = part_of_values.map_or(&[][..], |values| values.bytes);
                    self.part(of, item, range, Merging::Values(which), which, &[bytes]);
                    self.keeps_dead(bytes.len());
                }
                _ if (deleted.is_some() && !(self.keeps_types && item.is_type))
                    || matches!(content, Content::Deleted) =>
                {
                    self.part(of, item, range, Merging::Deleted, CONTENT_DELETED, &[]);
                }
                Content::String(_) => {
                    let kind = if is_keyed { Merging::Never } else { Merging::String };
                    self.part(of, item, range, kind, CONTENT_STRING, &part_of_text.pieces().map(str::as_bytes));
                }
                Content::Any(_) | Content::Json(_) => {
                    let which = if matches!(content, Content::Any(_)) { CONTENT_ANY } else { CONTENT_JSON };
                    let kind = if is_keyed { Merging::Never } else { Merging::Values(which) };
                    self.part(of, item, range, kind, which, &[part_of_values.map_or(&[][..], |values| values.bytes)]);
                }
                _ => {
                    self.close();
                    self.out.extend_from_slice(&self.state[of.bytes.clone()]);
                    self.live_bytes += of.bytes.len();
                    self.structs += 1;
                }
            }
            start = range.end;
        }
    }

    /// Whether it takes more to part an item before and behind what is deleted than to keep that.
    fn parts_for_more(&self, item: &Item, deleted: ClockRange) -> bool {
        let id_len = |id: Id| var_uint_len(id.client) + var_uint_len(u64::from(id.clock));
        let origin = Id { client: self.client, clock: deleted.start };
        let header = 2 + id_len(origin) + item.right_origin.map_or(0, id_len);
        deleted.len() as usize <= 2 * header
    }

    /// So many bytes that were added last are deleted.
    fn keeps_dead(&mut self, bytes: usize) {
        if let Some(open) = &mut self.open {
            open.dead += bytes;
        }
    }

    fn part(&mut self, of: &Struct, item: &Item, range: ClockRange, kind: Merging, content: u8, bytes: &[&[u8]]) {
        let origin = match range.start.checked_sub(1) {
            Some(before) if range.start > of.start => Some(Id { client: self.client, clock: before }),
            _ => item.origin,
        };
        let follows = range.start.checked_sub(1).map(|clock| Id { client: self.client, clock });
        if let Some(open) = &mut self.open
            && open.kind == kind
            && kind != Merging::Never
            && origin.is_some()
            && origin == follows
            && open.right_origin == item.right_origin
        {
            open.clocks += range.len();
            bytes.iter().for_each(|bytes| self.content.extend_from_slice(bytes));
            return;
        }
        self.close();
        let other_origin = (range.start > of.start).then_some(origin).flatten();
        write_header(&mut self.header, self.state, of, item, other_origin, content);
        bytes.iter().for_each(|bytes| self.content.extend_from_slice(bytes));
        self.open = Some(Open { kind, right_origin: item.right_origin, clocks: range.len(), dead: 0 });
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let before = self.out.len();
        self.structs += 1;
        self.out.extend_from_slice(&self.header);
        match open.kind {
            Merging::Gc => write_gc(&mut self.out, open.clocks),
            Merging::Deleted => write_var_uint(&mut self.out, open.clocks.into()),
            _ if self.header[0] & CONTENT_MASK == CONTENT_STRING => {
                write_var_uint(&mut self.out, self.content.len() as u64);
            }
            _ => write_var_uint(&mut self.out, open.clocks.into()),
        }
        self.out.extend_from_slice(&self.content);
        if !matches!(open.kind, Merging::Gc | Merging::Deleted) {
            self.live_bytes += self.out.len() - before - open.dead;
        }
        self.header.clear();
        self.content.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::build::{
        ANY, DELETED, MAP, STRING, TYPE, after, before, gc, in_root, inside, skip, string, update,
    };
    use proptest::prelude::*;

    fn compacted(parts: &[Bytes]) -> Bytes {
        let Compacted { state, kept, .. } = compact(parts, &Limits::default());
        assert_eq!(kept, Kept::Live);
        state
    }

    /// What becomes of the structs of client 1 with deletions.
    #[track_caller]
    fn check(structs: &[Vec<u8>], deletes: &[(ClientId, Clock, Clock)], expected: &[Vec<u8>]) {
        let state = compacted(&[update(&[(1, 0, structs)], deletes)]);
        let all: Vec<_> = Knowledge::of(&state, &[], &Limits::default())
            .map(|opened| {
                opened.knowledge.deletes().iter().map(|(client, range)| (client, range.start, range.len())).collect()
            })
            .expect("an update");
        assert_eq!(state, update(&[(1, 0, expected)], &all));
    }

    #[test]
    fn what_was_written_in_a_row_becomes_one() {
        let letters =
            [in_root(STRING, &string("a")), after((1, 0), STRING, &string("😀")), after((1, 2), STRING, &string("b"))];
        check(&letters, &[], &[in_root(STRING, &string("a😀b"))]);
        let values =
            [in_root(ANY, &[1, 126]), after((1, 0), ANY, &[2, 125, 7, 120]), after((1, 2), STRING, &string("b"))];
        check(&values, &[], &[in_root(ANY, &[3, 126, 125, 7, 120]), values[2].clone()]);
        let legacy =
            [in_root(2, &[&[1][..], &string("1")].concat()), after((1, 0), 2, &[&[1][..], &string("2")].concat())];
        check(&legacy, &[], &[in_root(2, &[&[2][..], &string("1"), &string("2")].concat())]);
        // Not in front of each other, not elsewhere, and never the values of a key: those take one clock.
        let apart =
            [in_root(STRING, &string("a")), before((1, 0), STRING, &string("b")), after((1, 0), STRING, &string("c"))];
        check(&apart, &[], &apart);
        let keyed = [[&[ANY | 0x20, 1, 1, b'r', 1, b'k'][..], &[1, 126]].concat(), after((1, 0), ANY, &[1, 120])];
        check(&keyed, &[], &keyed);
        check(&keyed, &[(1, 0, 1)], &[[&[DELETED | 0x20, 1, 1, b'r', 1, b'k'][..], &[1]].concat(), keyed[1].clone()]);
        check(&keyed, &[(1, 0, 2)], &[[&[DELETED | 0x20, 1, 1, b'r', 1, b'k'][..], &[2]].concat()]);
    }

    #[test]
    fn what_is_deleted_keeps_its_place_only() {
        let text = [in_root(STRING, &string("a😀bc"))];
        let deleted = |origin, len| after((1, origin), DELETED, &[len]);
        check(
            &text,
            &[(1, 1, 2)],
            &[in_root(STRING, &string("a")), deleted(0, 2), after((1, 2), STRING, &string("bc"))],
        );
        check(
            &text,
            &[(1, 2, 1), (1, 4, 1)],
            &[in_root(STRING, &string("a\u{fffd}")), deleted(1, 1), after((1, 2), STRING, &string("b")), deleted(3, 1)],
        );
        check(&text, &[(1, 0, 5)], &[in_root(DELETED, &[5])]);
        let items = [
            in_root(3, &[1, 7]),
            after((1, 0), 5, &string("1")),
            after((1, 1), 6, &[string("b"), string("1")].concat()),
        ];
        check(&items, &[(1, 0, 3)], &[in_root(DELETED, &[3])]);
        let values = [in_root(ANY, &[3, 125, 1, 125, 2, 125, 3])];
        check(&values, &[(1, 1, 1)], &[in_root(ANY, &[1, 125, 1]), deleted(0, 1), after((1, 1), ANY, &[1, 125, 3])]);
    }

    #[test]
    fn what_lies_in_something_deleted_is_collected_also_what_came_later() {
        let nested = [
            in_root(TYPE, &MAP),
            inside((1, 0), TYPE, &MAP),
            inside((1, 1), ANY, &[1, 126]),
            after((1, 2), ANY, &[1, 120]),
            in_root(STRING, &string("a")),
        ];
        let rest = [in_root(DELETED, &[1]), gc(3), nested[4].clone()];
        check(&nested, &[(1, 0, 3)], &rest);
        check(&rest, &[], &rest);
        let by_another = update(&[(2, 0, &[inside((1, 1), ANY, &[1, 126]), after((2, 0), ANY, &[1, 126])])], &[]);
        let state = compacted(&[update(&[(1, 0, &nested)], &[(1, 0, 3)]), by_another]);
        assert_eq!(state, update(&[(2, 0, &[gc(2)]), (1, 0, &rest)], &[(2, 0, 2), (1, 0, 4)]));
    }

    /// No client puts an item between two that lie in different types. Once one of them is collected, it has no place.
    #[test]
    fn what_lies_beside_garbage_by_force_stays_with_all_that_it_needs() {
        let both = [
            in_root(TYPE, &MAP),
            inside((1, 0), ANY, &[1, 126]),
            in_root(STRING, &string("a")),
            [&[STRING | 0xc0, 1, 2, 1, 1][..], &string("b")].concat(),
            in_root(STRING, &string("c")),
        ];
        let rest =
            [both[0].clone(), inside((1, 0), DELETED, &[1]), both[2].clone(), both[3].clone(), in_root(DELETED, &[1])];
        check(&both, &[(1, 0, 2), (1, 4, 1)], &rest);
    }

    #[test]
    fn what_is_not_whole_is_kept_as_it_is() {
        for parts in [
            vec![update(&[(1, 1, &[gc(1)])], &[])],
            vec![update(&[(1, 0, &[gc(1), skip(1), gc(1)])], &[])],
            vec![update(&[(1, 0, &[after((2, 0), STRING, &string("a"))])], &[])],
        ] {
            let state = parts[0].clone();
            let scan = Arc::new(scan_admitted(&state));
            let all = Compacted { live_bytes: state.len(), state, kept: Kept::All, scan };
            assert_eq!(compact(&parts, &Limits::default()), all);
        }
        assert_eq!(compacted(&[])[..], update::EMPTY_UPDATE);
    }

    /// Each joined struct costs what it adds: in yrs 0.28.1 a tenth of this takes 10 s and 5 GB.
    #[test]
    fn a_million_letters_are_joined_in_linear_time() {
        let mut letters = vec![in_root(STRING, &string("a"))];
        letters.extend((1..1_000_000).map(|at| after((1, at - 1), STRING, &string("a"))));
        let state = compacted(&[update(&[(1, 0, &letters)], &[])]);
        assert!(state.len() < 1_000_020);
    }

    /// 3 messages of together 10.8 MB made 85 MB: each letter got neighbours of its own when every other one was deleted.
    #[test]
    fn a_text_of_which_every_other_letter_is_deleted_does_not_grow() {
        let id = crate::id::CLIENT_ID_MAX;
        let both = |bytes: &[u8]| {
            let mut item = after((id, 0), STRING, &[]);
            item[0] |= 0x40;
            item.extend_from_slice(&before((id, 1), STRING, bytes)[1..]);
            item
        };
        let letters = 100_000;
        let deletes: Vec<_> = (0..letters / 2).map(|at| (id, 2 + 2 * at, 1)).collect();
        let state = update(
            &[(id, 0, &[in_root(STRING, &string("<>")), both(&string(&"x".repeat(letters as usize)))])],
            &deletes,
        );
        let Compacted { state: collected, live_bytes, kept, .. } =
            compact(core::slice::from_ref(&state), &Limits::default());
        assert_eq!(kept, Kept::Live);
        assert!(collected.len() <= state.len(), "{} bytes became {}", state.len(), collected.len());
        assert!(live_bytes < letters as usize / 2 + 100, "{live_bytes}");
        assert_eq!(compact(core::slice::from_ref(&collected), &Limits::default()).state, collected, "once is enough");
    }

    #[test]
    fn what_is_live_is_counted_apart() {
        let dead = [in_root(STRING, &string("abc")), after((1, 2), DELETED, &[5]), gc(7)];
        let live = [in_root(STRING, &string("abcd")), after((2, 3), ANY, &[1, 126])];
        let state = update(&[(2, 0, &live), (1, 0, &dead)], &[(1, 0, 3)]);
        let live = live.concat().len();
        assert_eq!(super::live_bytes(&state), live);
        let compacted = compact(core::slice::from_ref(&state), &Limits::default());
        assert_eq!((compacted.live_bytes, super::live_bytes(&compacted.state)), (live, live));
        let part = update(&[(1, 1, &dead[2..])], &[]);
        assert_eq!(compact(core::slice::from_ref(&part), &Limits::default()).live_bytes, part.len());
    }

    proptest! {
        #[test]
        fn a_text_that_stays_whole_reads_as_a_parted_one_and_takes_no_more_than_it_did(
            runs in prop::collection::vec((prop::sample::select(vec!["a", "ü", "😀", "€uro and more", "b😀c"]), 1..8usize, 0..3u8), 1..8),
            deletes in prop::collection::vec((0..120u32, 1..9u32), 0..20),
            client in prop::sample::select(vec![1, 300, crate::id::CLIENT_ID_MAX]),
        ) {
            let mut clock = 0;
            let mut structs = Vec::new();
            for (text, times, kind) in runs {
                let (content, bytes, clocks) = match kind {
                    0 => (ANY, [&[times as u8][..], &[119, 2, b'h', b'i'].repeat(times)].concat(), times as Clock),
                    1 => (2, [&[times as u8][..], &string("12").repeat(times)].concat(), times as Clock),
                    _ => (STRING, string(&text.repeat(times)), text.repeat(times).encode_utf16().count() as Clock),
                };
                structs.push(if clock == 0 { in_root(content, &bytes) } else { after((client, clock - 1), content, &bytes) });
                clock += clocks;
            }
            let deletes: Vec<_> = deletes.into_iter().filter(|(at, len)| at + len <= clock).map(|(at, len)| (client, at, len)).collect();
            let state = update(&[(client, 0, &structs)], &deletes);
            let Ok(whole) = collect(&state, Form::Whole, usize::MAX) else { panic!("it is whole") };
            let Ok(parted) = collect(&state, Form::Parted, usize::MAX) else { panic!("it is whole") };
            prop_assert!(whole.is_whole(&Limits::default()));
            prop_assert_eq!(crate::document::to_json(&whole.state), crate::document::to_json(&parted.state));
            let canonical = update::merge(&[state.clone(), Bytes::from_static(&update::EMPTY_UPDATE)]);
            let scan = scan_admitted(&canonical);
            prop_assert!(scan_admitted(&whole.state).struct_bytes() <= scan.struct_bytes());
            let Ok(again) = collect(&whole.state, Form::Whole, usize::MAX) else { panic!("it is whole") };
            prop_assert_eq!((&again.state, again.live_bytes), (&whole.state, whole.live_bytes));
        }
    }
}
