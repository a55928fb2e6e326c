//! What a document knows, and which part of an update may be added to it.
//!
//! An update is never applied across a hole: doing so has left content that no newcomer could read, with honest clients
//! too. [`Knowledge::admit`] keeps the largest part that is new and whose causes are all known, and hands back the rest.
//! It also keeps every session from writing in the name of a client that another session owns.

use bytes::Bytes;

use super::nesting::{Levels, Nesting};
use super::ranges::ClockRange;
use super::scan::{Scan, ScanError, Span, scan};
use super::structs::{self, Facts, Id, Item, Kind, Parent, Struct};
use super::write::{DeletesToWrite, Origin, Piece, write_update};
use super::{DeleteSet, StateVector, merge};
use crate::id::{ClientId, Clock};
use crate::lib0::Reader;
use crate::limits::Limits;

/// What a document holds: clocks, deletions and how deep its items are nested. Never what they contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    clocks: StateVector,
    deletes: DeleteSet,
    nesting: Nesting,
    lossy: bool,
}

/// Where an update comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's live change.
    Update,
    /// A client's answer to SyncStep1: may hold anybody's structs and repeats every deletion.
    SyncStep2,
    /// The store, another node or the server itself: ownership was checked when it first came in.
    Trusted,
}

/// To whom a Yjs client id belongs, as seen from the session that sent the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Nobody who is here.
    Free,
    /// The session itself.
    Own,
    /// Another live session: nothing may be written in its name.
    OtherLive,
    /// A session that left moments ago: what it wrote may be relayed, but no garbage collected in its name.
    OtherRecent,
}

/// What became of an update. All `None`: there was nothing new in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// What is new and was added to the knowledge.
    pub accepted: Option<Accepted>,
    /// What cannot be added yet.
    pub held: Option<Held>,
    /// Why the whole update is refused; then nothing was added and nothing is held.
    pub refused: Option<Refusal>,
}

/// The part of an update that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// An update that follows on everything accepted before: the received bytes themselves when all of it was new.
    pub bytes: Bytes,
    /// Its scan: the clocks and deletions that are new.
    pub scan: Scan,
}

/// The part of an update that has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// An update: the received bytes themselves when nothing of it could be added.
    pub bytes: Bytes,
    /// What it waits for.
    pub why: HeldWhy,
    /// It may get further once one of these clients is known beyond its clock.
    pub missing: Vec<(ClientId, Clock)>,
}

/// What a held update waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldWhy {
    /// Structs that its sender or somebody else has: ask for them.
    Hole,
    /// It writes in the name of a client that belongs to another session, perhaps beside having a hole.
    Foreign,
}

/// Why an update is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Beyond [`Limits::nesting_max`].
    #[error("shared types are nested deeper than {0}")]
    Nesting(u16),
    /// Beyond [`Limits::document_clients_max`].
    #[error("the document would know more than {0} clients")]
    Clients(usize),
}

/// A document read from a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What it knows.
    pub knowledge: Knowledge,
    /// The updates that it consists of, each following on those before.
    pub parts: Vec<Accepted>,
    /// What lies behind a hole, because a record between is damaged or lost.
    pub held: Vec<Held>,
}

impl Knowledge {
    /// Reads a stored document: a full state and the updates since.
    ///
    /// # Errors
    /// [`ScanError`] – a part is no update or exceeds `limits`: treat it as damaged.
    pub fn of(base: &Bytes, tail: &[Bytes], limits: &Limits) -> Result<Opened, ScanError> {
        // What is stored was within the limits of its day; a lowered limit must not lock a document.
        let limits = Limits {
            any_depth_max: u16::MAX,
            nesting_max: u16::MAX,
            document_clients_max: usize::MAX,
            ..limits.clone()
        };
        let mut opened = Opened::default();
        for update in core::iter::once(base).chain(tail) {
            let scan = scan(update, &limits)?;
            opened.add(update, &scan, &limits);
        }
        opened.retry(&limits)?;
        Ok(opened)
    }

    /// The clocks that are known.
    #[must_use]
    pub fn clocks(&self) -> &StateVector {
        &self.clocks
    }

    /// A copy of the clocks that are known.
    #[must_use]
    pub fn state_vector(&self) -> StateVector {
        self.clocks.clone()
    }

    /// The deletions that are known, those that structs carry themselves included.
    #[must_use]
    pub fn deletes(&self) -> &DeleteSet {
        &self.deletes
    }

    /// Whether values were admitted that yrs would not give back as they are ([`Scan::lossy`]).
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether all of an update is known already; `scan` is its scan.
    #[must_use]
    pub fn contains(&self, update: &[u8], scan: &Scan) -> bool {
        scan.spans.iter().all(|span| self.clocks.get(span.client) >= span.end)
            && DeleteSet::collect(scan.deletes(update)).subtract(&self.deletes).is_empty()
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.clocks.len() * 32 + self.deletes.range_count() * 12 + self.nesting.memory()
    }

    /// Whether something that `held` waits for has come. One that is [`HeldWhy::Foreign`] waits for its owner to leave, too.
    #[must_use]
    pub fn resolves(&self, held: &Held) -> bool {
        held.missing.iter().any(|(client, clock)| self.clocks.get(*client) > *clock)
    }

    /// Adds what is new in `update` and closed under its causes; `scan` is its scan.
    ///
    /// Structs and deletions that are known are left out, so admitting an update again yields nothing. A cheap pass settles
    /// small updates that follow on what is known; others are ordered by their causes, at a cost linear in their size.
    pub fn admit(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        source: Source,
        ownership: impl Fn(ClientId) -> Ownership,
        limits: &Limits,
    ) -> Admission {
        let ownership = |client| if source == Source::Trusted { Ownership::Free } else { ownership(client) };
        if self.admit_whole(update, scan, &ownership, limits) {
            let accepted = Accepted { bytes: update.clone(), scan: scan.clone() };
            return Admission { accepted: Some(accepted), ..Admission::default() };
        }
        Order::new(self, update, scan).run(ownership, limits)
    }

    /// Adds a small update that is new as a whole and depends on nothing but what is known; says whether it was one.
    fn admit_whole(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        ownership: &impl Fn(ClientId) -> Ownership,
        limits: &Limits,
    ) -> bool {
        /// Beyond this, ordering pays: a struct here is looked up in a list.
        const SMALL: u32 = 16;
        if scan.structs > SMALL || scan.delete_ranges > SMALL || !scan.is_canonical || scan.has_skip || scan.is_empty()
        {
            return false;
        }
        let follows = |span: &Span| {
            self.clocks.get(span.client) == span.start
                && match ownership(span.client) {
                    Ownership::Free | Ownership::Own => true,
                    Ownership::OtherRecent => !span.has_gc,
                    Ownership::OtherLive => false,
                }
        };
        if !scan.spans.iter().all(follows) || self.clocks.len() + scan.spans.len() > limits.document_clients_max {
            return false;
        }
        for (client, range) in scan.deletes(update) {
            let known_to = scan.spans.iter().find(|span| span.client == client).map(|span| span.end);
            if range.end > known_to.unwrap_or_else(|| self.clocks.get(client)) || self.deletes.overlaps(client, range) {
                return false;
            }
        }
        let tracks_depth = scan.has_type || !self.nesting.is_empty();
        let mut levels: Vec<(ClientId, Levels)> = Vec::new();
        let mut deleted: Vec<(ClientId, ClockRange)> = Vec::new();
        for span in &scan.spans {
            let mut of_client = Levels::default();
            let mut walk = Walk::over(update, span.client, span.start, span.bytes.clone());
            while let Some(next) = walk.next() {
                if next.is_deleted() {
                    deleted.push((span.client, ClockRange { start: next.start, end: next.end }));
                }
                let Kind::Item(item) = &next.kind else { continue };
                // Causes in the own client precede by the scan, and what precedes is known or part of this span.
                if item.causes().any(|id| id.client != span.client && id.clock >= self.clocks.get(id.client)) {
                    return false;
                }
                if tracks_depth {
                    let depth = depth_of(item, |id| {
                        if id.client == span.client && id.clock >= span.start {
                            of_client.depth(id.clock)
                        } else {
                            self.nesting.depth(id)
                        }
                    });
                    if item.is_type && depth >= limits.nesting_max {
                        return false;
                    }
                    of_client.push(ClockRange { start: next.start, end: next.end }, depth);
                }
            }
            if !of_client.is_empty() {
                levels.push((span.client, of_client));
            }
        }

        scan.spans.iter().for_each(|span| self.clocks.advance(span.client, span.end));
        scan.deletes(update).chain(deleted).for_each(|(client, range)| self.deletes.insert_range(client, range));
        levels.into_iter().for_each(|(client, levels)| self.nesting.append(client, levels));
        self.lossy |= scan.lossy;
        true
    }
}

impl Opened {
    fn add(&mut self, update: &Bytes, scan: &Scan, limits: &Limits) {
        let admission = self.knowledge.admit(update, scan, Source::Trusted, |_| Ownership::Free, limits);
        self.parts.extend(admission.accepted);
        self.held.extend(admission.held);
    }

    /// Admits what was held once more, as one: stored updates may stand in any order.
    fn retry(&mut self, limits: &Limits) -> Result<(), ScanError> {
        if self.held.iter().any(|held| self.knowledge.resolves(held)) {
            let held: Vec<Bytes> = core::mem::take(&mut self.held).into_iter().map(|held| held.bytes).collect();
            let merged = merge(&held);
            self.add(&merged, &scan(&merged, limits)?, limits);
        }
        Ok(())
    }
}

/// Reads the structs of one span.
struct Walk<'a> {
    reader: Reader<'a>,
    client: ClientId,
    clock: Clock,
}

impl<'a> Walk<'a> {
    fn over(update: &'a [u8], client: ClientId, clock: Clock, bytes: core::ops::Range<usize>) -> Walk<'a> {
        Walk { reader: Reader::starting_at(&update[..bytes.end], bytes.start), client, clock }
    }

    fn next(&mut self) -> Option<Struct> {
        if self.reader.is_empty() {
            return None;
        }
        let next = structs::read(&mut self.reader, self.client, self.clock, u16::MAX, &mut Facts::default())
            .expect("scanned bytes are an update");
        self.clock = next.end;
        Some(next)
    }
}

/// How deep `item` is nested, given how deep everything before it is.
///
/// What is collected counts as depth 0: a struct that comes to lie in it is collected, too.
fn depth_of(item: &Item, depth: impl Fn(Id) -> u16) -> u16 {
    match item.parent {
        Parent::Root => 0,
        Parent::Of(parent) => depth(parent).saturating_add(1),
        Parent::OfNeighbour => item.origin.or(item.right_origin).map_or(0, depth),
    }
}

/// Brings the structs of one update into an order in which causes come first, as far as there is one.
///
/// Mirrors `integrateStructs` of `yjs/src/utils/encoding.js`: one cursor per client, and a stack of cursors each of which waits
/// for the next one to get past a clock. A struct is read again at most once per cause, so the cost is linear.
struct Order<'a> {
    knowledge: &'a mut Knowledge,
    update: &'a Bytes,
    scan: &'a Scan,
    tracks_depth: bool,
    /// Clients ascending.
    cursors: Vec<Cursor>,
    stack: Vec<Waiting>,
    deleted: Vec<(ClientId, ClockRange)>,
    missing: Vec<(ClientId, Clock)>,
    is_foreign: bool,
}

struct Cursor {
    client: ClientId,
    /// What was known before.
    before: Clock,
    /// What is known with what has been ordered.
    known: Clock,
    /// The spans of the client that are left, as indices into those of the scan; the first is being read.
    spans: core::ops::Range<usize>,
    /// Where the next struct begins, in bytes and as clock.
    at: usize,
    clock: Clock,
    /// How many structs of the span lie before it.
    passed: u32,
    /// What has been ordered: contiguous, so it lies within one span.
    ordered: Option<Ordered>,
    is_stacked: bool,
    is_blocked: bool,
    levels: Levels,
}

struct Ordered {
    first: Struct,
    bytes_end: usize,
    structs: u32,
    has_gc: bool,
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
    fn new(knowledge: &'a mut Knowledge, update: &'a Bytes, scan: &'a Scan) -> Order<'a> {
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
                levels: Levels::default(),
            });
            first += spans.len();
        }
        cursors.sort_by_key(|cursor| cursor.client);
        Order {
            tracks_depth: scan.has_type || !knowledge.nesting.is_empty(),
            knowledge,
            update,
            scan,
            cursors,
            stack: Vec::new(),
            deleted: Vec::new(),
            missing: Vec::new(),
            is_foreign: false,
        }
    }

    fn run(mut self, ownership: impl Fn(ClientId) -> Ownership, limits: &Limits) -> Admission {
        if let Err(refusal) = self.order(ownership, limits) {
            return Admission { refused: Some(refusal), ..Admission::default() };
        }
        let new_clients = self.cursors.iter().filter(|cursor| cursor.before == 0 && cursor.known > 0).count();
        if new_clients > 0 && self.knowledge.clocks.len() + new_clients > limits.document_clients_max {
            let refusal = Refusal::Clients(limits.document_clients_max);
            return Admission { refused: Some(refusal), ..Admission::default() };
        }

        let mut new = DeleteSet::collect(self.scan.deletes(self.update));
        let held = new.split_beyond(|client| self.known(client));
        let new = new.subtract(&self.knowledge.deletes);
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
        let origin = Origin::from(self.scan);

        let mut admission = Admission::default();
        if is_held {
            let why = if self.is_foreign { HeldWhy::Foreign } else { HeldWhy::Hole };
            let is_all = !is_accepted && self.is_whole(&held_pieces, &held);
            let bytes = if is_all {
                self.update.clone()
            } else {
                write_update(&held_pieces, &DeletesToWrite::Set(&held), origin).0
            };
            admission.held = Some(Held { bytes, why, missing: core::mem::take(&mut self.missing) });
        }
        if is_accepted {
            let is_all = !is_held && !self.scan.has_skip && self.is_whole(&accepted_pieces, &new);
            let (bytes, scan) = if is_all && self.scan.is_canonical {
                (self.update.clone(), self.scan.clone())
            } else {
                write_update(&accepted_pieces, &DeletesToWrite::Set(&new), origin)
            };
            admission.accepted = Some(Accepted { bytes, scan });
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
        // Also when the lossy value is among what is held: then the document keeps its log for nothing, which is safe.
        self.knowledge.lossy |= self.scan.lossy;
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

    fn depth(&self, id: Id) -> u16 {
        match self.cursor(id.client).map(|at| &self.cursors[at]) {
            Some(cursor) if id.clock >= cursor.before => cursor.levels.depth(id.clock),
            _ => self.knowledge.nesting.depth(id),
        }
    }

    fn order(&mut self, ownership: impl Fn(ClientId) -> Ownership, limits: &Limits) -> Result<(), Refusal> {
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
                        self.block(Some(missing));
                    }
                    Next::Hole => {
                        let missing = (cursor.client, cursor.clock - 1);
                        self.block(Some(missing));
                    }
                    Next::Struct(next) => self.take_or_wait(top, &next, &ownership, limits)?,
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
        ownership: &impl Fn(ClientId) -> Ownership,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let client = self.cursors[top].client;
        let is_foreign = match ownership(client) {
            Ownership::Free | Ownership::Own => false,
            Ownership::OtherRecent => matches!(next.kind, Kind::Gc),
            Ownership::OtherLive => true,
        };
        if is_foreign {
            self.is_foreign = true;
            self.block(None);
            return Ok(());
        }
        let mut depth = 0;
        if let Kind::Item(item) = &next.kind {
            let cause = item.causes().find(|id| id.client != client && id.clock >= self.known(id.client));
            if let Some(cause) = cause {
                match self.cursor(cause.client) {
                    // One that is on the stack waits for this very struct: a circle, which no honest client makes.
                    Some(at) if !self.cursors[at].is_blocked && !self.cursors[at].is_stacked => {
                        self.push(Waiting { cursor: at, until: Some(cause.clock) });
                    }
                    _ => self.block(Some((cause.client, cause.clock))),
                }
                return Ok(());
            }
            if self.tracks_depth {
                depth = depth_of(item, |id| self.depth(id));
                if item.is_type && depth >= limits.nesting_max {
                    return Err(Refusal::Nesting(limits.nesting_max));
                }
            }
        }
        let cursor = &mut self.cursors[top];
        let clocks = ClockRange { start: next.start.max(cursor.known), end: next.end };
        if next.is_deleted() {
            self.deleted.push((client, clocks));
        }
        cursor.levels.push(clocks, depth);
        let ordered = cursor.ordered.get_or_insert_with(|| Ordered {
            first: next.clone(),
            bytes_end: next.bytes.start,
            structs: 0,
            has_gc: false,
        });
        ordered.bytes_end = next.bytes.end;
        ordered.structs += 1;
        ordered.has_gc |= matches!(next.kind, Kind::Gc);
        cursor.known = next.end;
        cursor.pass(next);
        Ok(())
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
    fn block(&mut self, missing: Option<(ClientId, Clock)>) {
        self.missing.extend(missing);
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
                start: ordered.first.start,
                end: cursor.known,
                structs: ordered.structs,
                bytes: ordered.first.bytes.start..ordered.bytes_end,
                has_gc: ordered.has_gc,
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
