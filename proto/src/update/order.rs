//! The part of an update whose causes are known, found by bringing its structs into an order in which causes come first.
//!
//! Mirrors `integrateStructs` of `yjs/src/utils/encoding.js`: one cursor per client, and a stack of cursors each of which waits
//! for the next one to get past a clock. A struct is read again at most once per cause, so the cost is linear.

use core::ops::Range;

use bytes::Bytes;

use super::gate::{Accepted, Admission, Held, HeldWhy, Knowledge, Refusal};
use super::nesting::{Levels, NoParent, Place, place_of};
use super::scan::{Scan, Span};
use super::structs::{Id, Kind, Parent, Struct, Walk};
use super::write::{DeletesToWrite, Piece, write_update};
use super::{ClockRange, DeleteSet};
use crate::id::{ClientId, Clock};
use crate::limits::Limits;

/// How many clients a held update names that it waits for. It may wait for more: it is tried again when one of these is known further,
/// and all are known at last only when these are, too.
const MISSING_MAX: usize = 64;

/// Orders the structs of one update. What is found is committed to the knowledge at the end, or not at all.
pub(super) struct Order<'a> {
    knowledge: &'a mut Knowledge,
    update: &'a Bytes,
    scan: &'a Scan,
    /// Clients ascending.
    cursors: Vec<Cursor>,
    stack: Vec<Waiting>,
    /// The deletions of the update.
    deletes: DeleteSet,
    /// What its structs say of themselves that it is deleted.
    deleted: Vec<(ClientId, ClockRange)>,
    missing: Vec<(ClientId, Clock)>,
    is_withheld: bool,
    is_trusted: bool,
    /// The neighbour that was looked up last, and where it lies: mostly that of the next struct, too.
    neighbour: Option<(Id, Place)>,
}

struct Cursor {
    client: ClientId,
    /// What was known before.
    before: Clock,
    /// What is known with what has been ordered.
    known: Clock,
    /// The spans of the client that are left, as indices into those of the scan; the first is being read.
    spans: Range<usize>,
    /// Where the next struct begins, in bytes and as clock.
    at: usize,
    clock: Clock,
    /// How many structs of the span lie before it.
    passed: u32,
    /// What has been ordered: contiguous, so it lies within one span.
    ordered: Option<Ordered>,
    is_stacked: bool,
    is_blocked: bool,
    /// Whether its author is asked first, as soon as that was looked up.
    is_withheld: Option<bool>,
    levels: Levels,
}

struct Ordered {
    /// Where the first struct begins, which may be known in part.
    start: Clock,
    bytes: Range<usize>,
    structs: u32,
    has_deleted: bool,
}

/// A cursor on the stack, to be read until its client is known beyond a clock; without one, to its end.
#[derive(Clone, Copy)]
struct Waiting {
    cursor: usize,
    until: Option<Clock>,
}

enum Next {
    /// The client has no more.
    End,
    /// What follows does not touch what is known.
    Hole,
    Struct(Struct),
}

impl Cursor {
    /// Moves to the first struct that is not known, and returns it without passing it.
    fn next(&mut self, update: &[u8], scan: &Scan) -> Next {
        loop {
            if self.spans.is_empty() {
                return Next::End;
            }
            let span = &scan.spans[self.spans.start];
            if span.end <= self.known {
                self.spans.start += 1;
                self.passed = 0;
                if let Some(next) = scan.spans.get(self.spans.start) {
                    (self.at, self.clock) = (next.bytes.start, next.start);
                }
                continue;
            }
            if self.clock > self.known {
                return Next::Hole;
            }
            let mut walk = Walk::over(update, self.client, self.clock, self.at..span.bytes.end);
            let next = walk.next().expect("the span ends beyond the clock");
            if next.end > self.known {
                return Next::Struct(next);
            }
            self.pass(&next);
        }
    }

    fn pass(&mut self, passed: &Struct) {
        self.at = passed.bytes.end;
        self.clock = passed.end;
        self.passed += 1;
    }
}

impl<'a> Order<'a> {
    pub(super) fn new(knowledge: &'a mut Knowledge, update: &'a Bytes, scan: &'a Scan, is_trusted: bool) -> Order<'a> {
        let mut cursors: Vec<Cursor> = Vec::new();
        let mut first = 0;
        for spans in scan.spans.chunk_by(|one, next| one.client == next.client) {
            let span = &spans[0];
            let known = knowledge.clocks.get(span.client);
            cursors.push(Cursor {
                client: span.client,
                before: known,
                known,
                spans: first..first + spans.len(),
                at: span.bytes.start,
                clock: span.start,
                passed: 0,
                ordered: None,
                is_stacked: false,
                is_blocked: false,
                is_withheld: None,
                levels: Levels::default(),
            });
            first += spans.len();
        }
        cursors.sort_by_key(|cursor| cursor.client);
        Order {
            knowledge,
            update,
            scan,
            cursors,
            stack: Vec::new(),
            deletes: DeleteSet::collect(scan.deletes(update)),
            deleted: Vec::new(),
            missing: Vec::new(),
            is_withheld: false,
            is_trusted,
            neighbour: None,
        }
    }

    pub(super) fn run(mut self, is_withheld: impl Fn(ClientId) -> bool, limits: &Limits) -> Admission {
        if let Err(refusal) = self.order(is_withheld, limits) {
            return Admission { refused: Some(refusal), ..Admission::default() };
        }
        let new_clients = self.cursors.iter().filter(|cursor| cursor.before == 0 && cursor.known > 0).count();
        if new_clients > 0 && self.knowledge.clocks.len() + new_clients > limits.document_clients_max {
            let refusal = Refusal::Clients(limits.document_clients_max);
            return Admission { refused: Some(refusal), ..Admission::default() };
        }

        let mut new = core::mem::take(&mut self.deletes);
        let held = new.split_beyond(|client| self.known(client));
        new.keep_news(&self.knowledge.deletes);
        self.missing.extend(held.first_clocks());
        self.missing.sort_unstable();
        self.missing.dedup_by_key(|(client, _)| *client);

        let mut accepted_pieces = Vec::new();
        let mut held_pieces = Vec::new();
        for cursor in self.cursors.iter().rev() {
            self.collect_pieces(cursor, &mut accepted_pieces, &mut held_pieces);
        }
        let is_held = !held_pieces.is_empty() || !held.is_empty();
        let is_accepted = !accepted_pieces.is_empty() || !new.is_empty();

        let mut admission = Admission::default();
        if is_held {
            let why = if self.is_withheld { HeldWhy::Author } else { HeldWhy::Hole };
            let is_all = !is_accepted && self.is_whole(&held_pieces, &held);
            let (bytes, work) = if is_all {
                (self.update.clone(), self.scan.work())
            } else {
                let (bytes, scan) = write_update(&held_pieces, &DeletesToWrite::Set(&held));
                (bytes, scan.work())
            };
            self.missing.truncate(MISSING_MAX);
            admission.held = Some(Held { bytes, why, missing: core::mem::take(&mut self.missing), work });
        }
        if is_accepted {
            let is_all = !is_held && !self.scan.has_skip && self.is_whole(&accepted_pieces, &new);
            let (bytes, scan) = if is_all && self.scan.is_canonical {
                (self.update.clone(), self.scan.clone())
            } else {
                write_update(&accepted_pieces, &DeletesToWrite::Set(&new))
            };
            admission.accepted = Some(Accepted { bytes, scan });
            admission.deleted = self.deleted.clone();
            self.commit(&new);
        }
        admission
    }

    /// Whether pieces and deletions are all that the update holds.
    fn is_whole(&self, pieces: &[Piece<'_>], deletes: &DeleteSet) -> bool {
        let spans = &self.scan.spans;
        let clocks = |start: Clock, end: Clock| u64::from(end - start);
        pieces.iter().map(|piece| clocks(piece.start, piece.end)).sum::<u64>()
            == spans.iter().map(|span| clocks(span.start, span.end)).sum::<u64>()
            && deletes.clock_count()
                == self.scan.deletes(self.update).map(|(_, range)| u64::from(range.len())).sum::<u64>()
    }

    fn commit(&mut self, new_deletes: &DeleteSet) {
        for cursor in &mut self.cursors {
            self.knowledge.clocks.advance(cursor.client, cursor.known);
            self.knowledge.nesting.append(cursor.client, core::mem::take(&mut cursor.levels));
        }
        self.knowledge.deletes.union(new_deletes);
        self.knowledge.deletes.extend(core::mem::take(&mut self.deleted));
    }

    fn cursor(&self, client: ClientId) -> Option<usize> {
        self.cursors.binary_search_by_key(&client, |cursor| cursor.client).ok()
    }

    fn known(&self, client: ClientId) -> Clock {
        self.cursor(client).map_or_else(|| self.knowledge.clocks.get(client), |at| self.cursors[at].known)
    }

    fn levels(&self, id: Id) -> Option<&Levels> {
        match self.cursor(id.client).map(|at| &self.cursors[at]) {
            Some(cursor) if id.clock >= cursor.before => Some(&cursor.levels),
            _ => self.knowledge.nesting.of(id.client),
        }
    }

    fn order(&mut self, is_withheld: impl Fn(ClientId) -> bool, limits: &Limits) -> Result<(), Refusal> {
        for root in (0..self.cursors.len()).rev() {
            if !self.cursors[root].is_blocked {
                self.push(Waiting { cursor: root, until: None });
            }
            while let Some(&Waiting { cursor: top, until }) = self.stack.last() {
                let cursor = &mut self.cursors[top];
                if until.is_some_and(|clock| cursor.known > clock) {
                    self.pop();
                    continue;
                }
                match cursor.next(self.update, self.scan) {
                    Next::End if until.is_none() => self.pop(),
                    Next::End => {
                        let missing = (cursor.client, until.unwrap_or(cursor.known));
                        self.block(missing);
                    }
                    Next::Hole => {
                        let missing = (cursor.client, cursor.clock - 1);
                        self.block(missing);
                    }
                    Next::Struct(next) => self.take_or_wait(top, &next, &is_withheld, limits)?,
                }
            }
        }
        Ok(())
    }

    /// Takes the next struct of a cursor, or puts on the stack what it waits for.
    fn take_or_wait(
        &mut self,
        top: usize,
        next: &Struct,
        is_withheld: &impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let client = self.cursors[top].client;
        if *self.cursors[top].is_withheld.get_or_insert_with(|| is_withheld(client)) {
            self.is_withheld = true;
            // The author's own copy may come at any time; then this one is known.
            let known = self.cursors[top].known;
            self.block((client, known));
            return Ok(());
        }
        let clocks = ClockRange { start: next.start.max(self.cursors[top].known), end: next.end };
        let mut place = Place::default();
        if let Kind::Item(item) = &next.kind {
            let is_neighbour = |id: Id| self.neighbour.is_some_and(|(known, _)| known == id);
            let is_missing = |id: &Id| id.client != client && !is_neighbour(*id) && id.clock >= self.known(id.client);
            let cause = item.causes().find(is_missing);
            if let Some(cause) = cause {
                match self.cursor(cause.client) {
                    // One that is on the stack waits for this very struct: a circle, which no honest client makes.
                    Some(at) if !self.cursors[at].is_blocked && !self.cursors[at].is_stacked => {
                        self.push(Waiting { cursor: at, until: Some(cause.clock) });
                    }
                    _ => self.block((cause.client, cause.clock)),
                }
                return Ok(());
            }
            match (item.parent, item.origin, item.right_origin) {
                (Parent::OfNeighbour, Some(origin), None) => {
                    place = match self.neighbour {
                        Some((id, of_neighbour)) if id == origin => of_neighbour,
                        _ => self.levels(origin).map_or(Place::default(), |levels| levels.place(origin.clock)),
                    };
                    self.neighbour = Some((origin, place));
                }
                _ => match place_of(item, |id| self.levels(id)) {
                    Ok(of_item) => place = of_item,
                    Err(NoParent) => self.distrust(Refusal::Parent)?,
                },
            }
            if place.is_keyed && clocks.len() > 1 && !item.is_deleted && !self.deletes.covers(client, clocks) {
                self.distrust(Refusal::Value)?;
            }
            if item.is_type && place.depth >= limits.nesting_max {
                return Err(Refusal::Nesting(limits.nesting_max));
            }
        }
        let cursor = &mut self.cursors[top];
        if next.is_deleted() {
            match self.deleted.last_mut() {
                Some((of, last)) if *of == client && last.end == clocks.start => last.end = clocks.end,
                _ => self.deleted.push((client, clocks)),
            }
        }
        cursor.levels.push(next, clocks, place);
        let ordered = cursor.ordered.get_or_insert_with(|| Ordered {
            start: next.start,
            bytes: next.bytes.clone(),
            structs: 0,
            has_deleted: false,
        });
        ordered.bytes.end = next.bytes.end;
        ordered.structs += 1;
        ordered.has_deleted |= next.is_deleted();
        cursor.known = next.end;
        cursor.pass(next);
        Ok(())
    }

    /// Refuses what would break clients. What is stored already is kept whatever it is.
    fn distrust(&self, refusal: Refusal) -> Result<(), Refusal> {
        if self.is_trusted { Ok(()) } else { Err(refusal) }
    }

    fn push(&mut self, waiting: Waiting) {
        self.cursors[waiting.cursor].is_stacked = true;
        self.stack.push(waiting);
    }

    fn pop(&mut self) {
        if let Some(waiting) = self.stack.pop() {
            self.cursors[waiting.cursor].is_stacked = false;
        }
    }

    /// Gives up on every cursor on the stack: each waits for the one above, and the last will get no further.
    fn block(&mut self, missing: (ClientId, Clock)) {
        self.missing.push(missing);
        for waiting in self.stack.drain(..) {
            let cursor = &mut self.cursors[waiting.cursor];
            cursor.is_stacked = false;
            cursor.is_blocked = true;
        }
    }

    /// Splits what the update has of a client into what was ordered and what was not; what was known before is in neither.
    fn collect_pieces(&self, cursor: &Cursor, accepted: &mut Vec<Piece<'a>>, held: &mut Vec<Piece<'a>>) {
        if let Some(ordered) = &cursor.ordered {
            let span = Span {
                client: cursor.client,
                start: ordered.start,
                end: cursor.known,
                structs: ordered.structs,
                bytes: ordered.bytes.clone(),
                has_deleted: ordered.has_deleted,
            };
            let mut piece = Piece::whole(self.update, &span);
            piece.trim(cursor.before);
            accepted.push(piece);
        }
        for (i, span) in self.scan.spans[cursor.spans.clone()].iter().enumerate() {
            let is_begun = i == 0 && cursor.passed > 0;
            let left = if is_begun {
                Span {
                    start: cursor.clock,
                    structs: span.structs - cursor.passed,
                    bytes: cursor.at..span.bytes.end,
                    ..span.clone()
                }
            } else {
                span.clone()
            };
            if left.structs > 0 {
                held.push(Piece::whole(self.update, &left));
            }
        }
    }
}
