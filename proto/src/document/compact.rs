//! Joins the parts of a document into one state and lets go of what was deleted.
//!
//! Comes to what a Yjs client comes to at the end of a transaction (`tryGc` and `tryMerge` of `yjs/src/utils/Transaction.js`), on
//! the bytes and in linear time: what lies in a deleted type is collected, what is deleted otherwise keeps its place, and
//! structs of which each was written right behind the one before become one. For none of it must the order of items be known:
//! a client that reads the joined struct parts it wherever somebody else's item lies between.

use bytes::Bytes;

use crate::id::{ClientId, Clock};
use crate::lib0::write_var_uint;
use crate::limits::Limits;
use crate::update::content::{Content, Elements, TextPart};
use crate::update::structs::{
    CONTENT_ANY, CONTENT_DELETED, CONTENT_JSON, CONTENT_MASK, CONTENT_STRING, Id, Item, Kind, Parent, Struct, Walk,
    header_at, write_gc, write_header,
};
use crate::update::{self, ClockRange, DeleteSet, Knowledge, Span, scan_admitted};

/// A state that stands for all its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Yjs update v1.
    pub state: Bytes,
    /// Whether garbage was collected.
    pub kept: Kept,
}

/// How much of the parts' bytes a compaction kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Deleted content is gone.
    Live,
    /// All: the parts are not a whole document, or what came out lacked something.
    All,
}

/// Joins `parts`, the encoded state of a document and the updates after it, in order.
///
/// Garbage is collected only when nothing else is lost by it: the result has the same clocks and at least the same deletions, or
/// it is the plain join of the parts.
///
/// # Panics
/// When a part is not an update. Only what was admitted comes here.
#[must_use]
pub fn compact(parts: &[Bytes], limits: &Limits) -> Compacted {
    let joined = update::merge(parts);
    match collect(&joined) {
        Ok(state) if stands_for(&state, &joined, limits) => Compacted { state, kept: Kept::Live },
        _ => Compacted { state: joined, kept: Kept::All },
    }
}

fn stands_for(collected: &Bytes, joined: &Bytes, limits: &Limits) -> bool {
    match (Knowledge::of(collected, &[], limits), Knowledge::of(joined, &[], limits)) {
        (Ok(ours), Ok(theirs)) => {
            ours.knowledge.clocks() == theirs.knowledge.clocks()
                && theirs.knowledge.deletes().subtract(ours.knowledge.deletes()).is_empty()
        }
        _ => false,
    }
}

/// Something is missing, or refers to itself in a circle.
struct NotWhole;

/// The state without what was deleted.
fn collect(state: &[u8]) -> Result<Bytes, NotWhole> {
    let scan = scan_admitted(state);
    let mut spans: Vec<Span> = scan.spans.clone();
    spans.sort_by_key(|span| span.client);
    let is_whole = spans.iter().all(|span| span.start == 0) && spans.windows(2).all(|w| w[0].client < w[1].client);
    if !is_whole || scan.has_skip || u32::try_from(state.len()).is_err() {
        return Err(NotWhole);
    }
    let mut structs = Structs::of(state, &spans, DeleteSet::collect(scan.deletes(state)));
    structs.decide()?;
    // What nobody collected yet can be kept, but only with all that it lies in.
    let (collects, keeps_types) = if structs.is_mixed { (GONE, true) } else { (COLLECTED, false) };

    let mut out = Vec::with_capacity(state.len());
    write_var_uint(&mut out, spans.len() as u64);
    let mut collected: Vec<(ClientId, ClockRange)> = Vec::new();
    for (span, client) in spans.iter().zip(&structs.clients).rev() {
        let mut section = Section { state, client: span.client, keeps_types, out: Vec::new(), structs: 0, open: None };
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
                _ => {
                    collected.push((span.client, ClockRange { start: next.start, end: next.end }));
                    section.gc(next.end - next.start);
                }
            }
            at += 1;
        }
        section.close();
        write_var_uint(&mut out, section.structs);
        write_var_uint(&mut out, span.client);
        write_var_uint(&mut out, 0);
        out.extend_from_slice(&section.out);
    }
    structs.deletes.extend(collected);
    structs.deletes.encode_into(&mut out);
    Ok(Bytes::from(out))
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

    fn find(&self, id: Id) -> Result<usize, NotWhole> {
        let at = self.clients.binary_search_by_key(&id.client, |client| client.id).map_err(|_| NotWhole)?;
        let Client { clocks, first, end, .. } = self.clients[at];
        let begins = &self.begins[first as usize..end as usize];
        let behind = begins.partition_point(|(start, _)| *start <= id.clock);
        if id.clock < clocks { Ok(first as usize + behind - 1) } else { Err(NotWhole) }
    }

    /// Decides what becomes of every struct.
    fn decide(&mut self) -> Result<(), NotWhole> {
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
    fn decide_one(&mut self, client: ClientId, at: usize) -> Result<Option<(ClientId, usize)>, NotWhole> {
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
                    return Err(NotWhole);
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
    /// Deleted types stay what they are, and so does what lies in them.
    keeps_types: bool,
    out: Vec<u8>,
    structs: u64,
    /// The last one, which may become longer.
    open: Option<Open>,
}

struct Open {
    kind: Merging,
    /// Up to its content.
    header: Vec<u8>,
    right_origin: Option<Id>,
    clocks: Clock,
    content: Vec<u8>,
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

impl Section<'_> {
    fn gc(&mut self, clocks: Clock) {
        match &mut self.open {
            Some(open) if open.kind == Merging::Gc => open.clocks += clocks,
            _ => self.open(Open {
                kind: Merging::Gc,
                header: Vec::new(),
                right_origin: None,
                clocks,
                content: Vec::new(),
            }),
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
            let (is_deleted, until) = match deletes.first() {
                Some(range) if range.start <= start => (true, range.end),
                Some(range) => (false, range.start),
                None => (false, of.end),
            };
            let range = ClockRange { start, end: until.min(of.end) };
            let clocks = range.len();
            let part_of_text = text.split_off_front(if matches!(content, Content::String(_)) { clocks } else { 0 });
            let part_of_values = values.as_mut().map(|values: &mut Elements<'_>| values.split_off_front(clocks));
            match content {
                _ if (is_deleted && !(self.keeps_types && item.is_type)) || matches!(content, Content::Deleted) => {
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
                    self.structs += 1;
                }
            }
            start = range.end;
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
            bytes.iter().for_each(|bytes| open.content.extend_from_slice(bytes));
            return;
        }
        let mut header = Vec::new();
        write_header(&mut header, self.state, of, item, (range.start > of.start).then_some(origin).flatten(), content);
        let (right_origin, clocks) = (item.right_origin, range.len());
        self.open(Open { kind, header, right_origin, clocks, content: bytes.concat() });
    }

    fn open(&mut self, next: Open) {
        self.close();
        self.open = Some(next);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.structs += 1;
        self.out.extend_from_slice(&open.header);
        match open.kind {
            Merging::Gc => write_gc(&mut self.out, open.clocks),
            Merging::Deleted => write_var_uint(&mut self.out, open.clocks.into()),
            _ if open.header[0] & CONTENT_MASK == CONTENT_STRING => {
                write_var_uint(&mut self.out, open.content.len() as u64);
            }
            _ => write_var_uint(&mut self.out, open.clocks.into()),
        }
        self.out.extend_from_slice(&open.content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::build::{
        ANY, DELETED, MAP, STRING, TYPE, after, before, gc, in_root, inside, skip, string, update,
    };

    fn compacted(parts: &[Bytes]) -> Bytes {
        let Compacted { state, kept } = compact(parts, &Limits::default());
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
            assert_eq!(compact(&parts, &Limits::default()), Compacted { state: parts[0].clone(), kept: Kept::All });
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
}
