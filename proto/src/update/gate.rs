//! What a document knows, and which part of an update may be added to it.
//!
//! An update is never applied across a hole: doing so has left content that no newcomer could read, with honest clients
//! too. [`Knowledge::admit`] keeps the largest part that is new and whose causes are all known, and hands back the rest.
//! It also withholds what is written in the name of a client that is asked first.

use bytes::Bytes;

use super::nesting::{Levels, Nesting, Place, place_of};
use super::order::Order;
use super::ranges::ClockRange;
use super::scan::{Scan, ScanError, Span, scan};
use super::structs::{Id, Kind, Walk};
use super::write::{DeletesToWrite, Piece, write_update};
use super::{DeleteSet, StateVector, merge};
use crate::heap;
use crate::id::{ClientId, Clock};
use crate::limits::Limits;

/// What a document holds: clocks, deletions and how deep its items are nested. Never what they contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    pub(super) clocks: StateVector,
    pub(super) deletes: DeleteSet,
    pub(super) nesting: Nesting,
}

/// Where an update comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client's live change.
    Update,
    /// A client's answer to SyncStep1: may hold anybody's structs and repeats every deletion.
    SyncStep2,
    /// The store, another node or the server itself: nobody is asked again.
    Trusted,
}

/// What became of an update. All `None`: there was nothing new in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// What is new and was added to the knowledge.
    pub accepted: Option<Accepted>,
    /// What the structs in that say of themselves that it is deleted.
    pub(crate) deleted: Vec<(ClientId, ClockRange)>,
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
    /// It may get further once one of these clients is known beyond its clock. The first few: see [`Held::work`] for what a try costs.
    pub missing: Vec<(ClientId, Clock)>,
    /// How many structs and deletions have to be gone through to find out.
    pub work: u32,
}

impl Held {
    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        heap::block(self.bytes.len()) + heap::vec::<(ClientId, Clock)>(self.missing.len())
    }
}

/// What a held update waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldWhy {
    /// Structs that its sender or somebody else has: ask for them.
    Hole,
    /// It writes in the name of a client that is asked first, perhaps beside having a hole.
    Author,
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
    /// An item lies in something that is no shared type: garbage, but plausible until its parent is known.
    #[error("an item lies in something that is no shared type")]
    Parent,
    /// The value of a key takes several clocks and is not deleted: garbage that ends clients and servers.
    #[error("the value of a key takes several clocks")]
    Value,
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
        let limits = limits.for_trusted();
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

    /// Whether all of an update is known already; `scan` is its scan.
    #[must_use]
    pub fn contains(&self, update: &[u8], scan: &Scan) -> bool {
        let has_news = || {
            let mut deletes = DeleteSet::collect(scan.deletes(update));
            deletes.keep_news(&self.deletes);
            !deletes.is_empty()
        };
        scan.spans.iter().all(|span| self.clocks.get(span.client) >= span.end) && !has_news()
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.clocks.memory() + self.deletes.memory() + self.nesting.memory()
    }

    /// Whether something that `held` waits for has come. One that is [`HeldWhy::Author`] waits for its author's word, too.
    #[must_use]
    pub fn resolves(&self, held: &Held) -> bool {
        held.missing.iter().any(|(client, clock)| self.clocks.get(*client) > *clock)
    }

    /// Adds what is new in `update` and closed under its causes; `scan` is its scan.
    ///
    /// Structs and deletions that are known are left out, so admitting an update again yields nothing. New structs of a client that
    /// `is_withheld` are held. A cheap pass settles small updates that follow on what is known; others are ordered by their causes,
    /// at a cost linear in their size.
    ///
    /// # Panics
    /// When `scan` is that of other bytes.
    pub fn admit(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        source: Source,
        is_withheld: impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Admission {
        let is_trusted = source == Source::Trusted;
        let is_withheld = |client| !is_trusted && is_withheld(client);
        if let Some(deleted) = self.admit_whole(update, scan, &is_withheld, limits) {
            let accepted = Accepted { bytes: update.clone(), scan: scan.clone() };
            return Admission { accepted: Some(accepted), deleted, ..Admission::default() };
        }
        Order::new(self, update, scan, is_trusted).run(is_withheld, limits)
    }

    /// Adds a small update that is new as a whole and depends on nothing but what is known; if it was one, says what in it came deleted.
    fn admit_whole(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        is_withheld: &impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Option<Vec<(ClientId, ClockRange)>> {
        let News { levels, deleted } = self.weigh_whole(update, scan, is_withheld, limits)?;
        scan.spans.iter().for_each(|span| self.clocks.advance(span.client, span.end));
        let all_deleted = scan.deletes(update).chain(deleted.iter().copied());
        all_deleted.for_each(|(client, range)| self.deletes.insert_range(client, range));
        levels.into_iter().for_each(|(client, levels)| self.nesting.append(client, levels));
        Some(deleted)
    }

    /// Whether a small update is new as a whole and could be added as it is.
    #[must_use]
    pub fn would_admit(&self, update: &Bytes, scan: &Scan, limits: &Limits) -> bool {
        self.weigh_whole(update, scan, &|_| false, limits).is_some()
    }

    fn weigh_whole(
        &self,
        update: &Bytes,
        scan: &Scan,
        is_withheld: &impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Option<News> {
        /// Beyond this, ordering pays: a struct here is looked up in a list.
        const SMALL: u32 = 16;
        if scan.structs > SMALL || scan.delete_ranges > SMALL || !scan.is_canonical || scan.has_skip || scan.is_empty()
        {
            return None;
        }
        let follows = |span: &Span| self.clocks.get(span.client) == span.start && !is_withheld(span.client);
        if !scan.spans.iter().all(follows) || self.clocks.len() + scan.spans.len() > limits.document_clients_max {
            return None;
        }
        for (client, range) in scan.deletes(update) {
            let known_to = scan.spans.iter().find(|span| span.client == client).map(|span| span.end);
            if range.end > known_to.unwrap_or_else(|| self.clocks.get(client)) || self.deletes.overlaps(client, range) {
                return None;
            }
        }
        let mut levels: Vec<(ClientId, Levels)> = Vec::new();
        let mut deleted = Vec::new();
        for span in &scan.spans {
            let mut of_client = Levels::default();
            let mut walk = Walk::over(update, span.client, span.start, span.bytes.clone());
            while let Some(next) = walk.next() {
                if next.is_deleted() {
                    push_or_extend(&mut deleted, span.client, ClockRange { start: next.start, end: next.end });
                }
                let Kind::Item(item) = &next.kind else {
                    of_client.push(&next, ClockRange { start: next.start, end: next.end }, Place::default());
                    continue;
                };
                // Causes in the own client precede by the scan, and what precedes is known or part of this span.
                if item.causes().any(|id| id.client != span.client && id.clock >= self.clocks.get(id.client)) {
                    return None;
                }
                let levels = |id: Id| {
                    let is_new = id.client == span.client && id.clock >= span.start;
                    if is_new { Some(&of_client) } else { self.nesting.of(id.client) }
                };
                let Ok(place) = place_of(item, levels) else { return None };
                let is_one = next.end - next.start == 1;
                if (item.is_type && place.depth >= limits.nesting_max) || (place.is_keyed && !is_one) {
                    return None;
                }
                of_client.push(&next, ClockRange { start: next.start, end: next.end }, place);
            }
            if !of_client.is_empty() {
                levels.push((span.client, of_client));
            }
        }
        Some(News { levels, deleted })
    }
}

/// What a small update adds beside clocks.
struct News {
    levels: Vec<(ClientId, Levels)>,
    deleted: Vec<(ClientId, ClockRange)>,
}

/// Adds a range; one that follows on the last becomes part of it.
fn push_or_extend(ranges: &mut Vec<(ClientId, ClockRange)>, client: ClientId, range: ClockRange) {
    match ranges.last_mut() {
        Some((of, last)) if *of == client && last.end == range.start => last.end = range.end,
        _ => ranges.push((client, range)),
    }
}

impl Accepted {
    /// The same with all that its structs say of themselves that it is `deleted` among its deletions, as Yjs writes it.
    ///
    /// A client that has content of its own under these clocks skips the structs; it learns from the deletions that others have none.
    #[must_use]
    pub(crate) fn declaring(self, deleted: &[(ClientId, ClockRange)]) -> Accepted {
        if deleted.is_empty() {
            return self;
        }
        let declared = DeleteSet::collect(self.scan.deletes(&self.bytes));
        let mut all = declared.clone();
        all.extend(deleted.to_vec());
        if all == declared {
            return self;
        }
        let pieces: Vec<Piece<'_>> = self.scan.spans.iter().map(|span| Piece::whole(&self.bytes, span)).collect();
        let (bytes, scan) = write_update(&pieces, &DeletesToWrite::Set(&all));
        Accepted { bytes, scan }
    }
}

impl Opened {
    fn add(&mut self, update: &Bytes, scan: &Scan, limits: &Limits) {
        let admission = self.knowledge.admit(update, scan, Source::Trusted, |_| false, limits);
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

#[cfg(test)]
mod tests {
    use super::super::build::{
        ANY, DELETED, MAP, STRING, TYPE, after, before, gc, in_root, inside, skip, string, update,
    };
    use super::*;
    use proptest::prelude::*;

    fn admit_as(
        knowledge: &mut Knowledge,
        bytes: &Bytes,
        is_withheld: impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Admission {
        let scan = scan(bytes, &Limits::default()).expect("a plausible update");
        knowledge.admit(bytes, &scan, Source::Update, is_withheld, limits)
    }

    fn admit(knowledge: &mut Knowledge, bytes: &Bytes) -> Admission {
        admit_as(knowledge, bytes, |_| false, &Limits::default())
    }

    /// The bytes that were accepted and held.
    fn split(admission: Admission) -> (Option<Bytes>, Option<Bytes>) {
        assert_eq!(admission.refused, None);
        (admission.accepted.map(|accepted| accepted.bytes), admission.held.map(|held| held.bytes))
    }

    fn knowing(updates: &[Bytes]) -> Knowledge {
        let mut knowledge = Knowledge::default();
        for update in updates {
            let (accepted, held) = split(admit(&mut knowledge, update));
            assert!(accepted.is_some() && held.is_none());
        }
        knowledge
    }

    /// Client 1 wrote "abc" into a root type.
    fn abc() -> Bytes {
        update(&[(1, 0, &[in_root(STRING, &string("abc"))])], &[])
    }

    fn same_buffer(one: &Bytes, two: &Bytes) -> bool {
        one.as_ptr() == two.as_ptr() && one.len() == two.len()
    }

    #[test]
    fn what_is_new_is_accepted_as_it_came_and_only_once() {
        let mut knowledge = Knowledge::default();
        let bytes = abc();
        let accepted = admit(&mut knowledge, &bytes).accepted.expect("all of it is new");
        assert!(same_buffer(&accepted.bytes, &bytes), "a copy was made");
        assert_eq!(knowledge.clocks().get(1), 3);
        assert_eq!(admit(&mut knowledge, &bytes), Admission::default());
        assert_eq!(admit(&mut knowledge, &Bytes::from_static(&super::super::EMPTY_UPDATE)), Admission::default());
    }

    #[test]
    fn what_came_deleted_is_declared_deleted() {
        let declare = |bytes: &Bytes| {
            let admission = admit(&mut Knowledge::default(), bytes);
            let accepted = admission.accepted.expect("new").declaring(&admission.deleted);
            assert_eq!(accepted.scan, scan(&accepted.bytes, &Limits::default()).expect("an update"));
            accepted.bytes
        };
        let structs = [in_root(STRING, &string("a")), gc(5), in_root(DELETED, &[2])];
        let silent = update(&[(7, 0, &structs)], &[(7, 0, 1)]);
        let declared = update(&[(7, 0, &structs)], &[(7, 0, 8)]);
        assert_eq!(declare(&silent), declared);
        assert!(same_buffer(&declare(&declared), &declared), "a copy was made");
        assert!(same_buffer(&declare(&abc()), &abc()) || declare(&abc()) == abc());
    }

    #[test]
    fn what_is_known_is_cut_off_in_the_middle_of_a_struct() {
        let mut knowledge = knowing(&[abc()]);
        let longer =
            update(&[(1, 0, &[in_root(STRING, &string("abcde")), after((1, 0), ANY, &[1, 126])])], &[(1, 1, 1)]);
        let (accepted, held) = split(admit(&mut knowledge, &longer));
        let expected =
            update(&[(1, 3, &[after((1, 2), STRING, &string("de")), after((1, 0), ANY, &[1, 126])])], &[(1, 1, 1)]);
        assert_eq!((accepted, held), (Some(expected), None));
        assert_eq!(knowledge.clocks().get(1), 6);
    }

    #[test]
    fn every_content_that_can_be_cut_is_cut_as_yjs_does() {
        let json =
            |texts: &[&str]| [vec![texts.len() as u8], texts.iter().flat_map(|text| string(text)).collect()].concat();
        for (from, whole, rest) in [
            (1, gc(3), gc(2)),
            (2, in_root(DELETED, &[3]), after((1, 1), DELETED, &[1])),
            (2, in_root(ANY, &[3, 126, 117, 1, 120, 125, 7]), after((1, 1), ANY, &[1, 125, 7])),
            (1, in_root(2, &json(&["1", "undefined", "\"x\""])), after((1, 0), 2, &json(&["undefined", "\"x\""]))),
            (2, in_root(STRING, &string("ü😀x")), after((1, 1), STRING, &string("\u{fffd}x"))),
            (3, in_root(STRING, &string("ü😀x")), after((1, 2), STRING, &string("x"))),
            (1, after((2, 0), STRING, &string("ab")), after((1, 0), STRING, &string("b"))),
            (1, before((2, 0), STRING, &string("ab")), [vec![0xc4, 1, 0, 2, 0], string("b")].concat()),
            (1, [vec![0x24, 1, 1, b'r', 1, b'k'], string("ab")].concat(), [vec![0xa4, 1, 0], string("b")].concat()),
        ] {
            let mut knowledge = knowing(&[update(&[(2, 0, &[gc(1)])], &[]), update(&[(1, 0, &[gc(from)])], &[])]);
            let (accepted, held) = split(admit(&mut knowledge, &update(&[(1, 0, &[whole])], &[])));
            assert_eq!((accepted, held), (Some(update(&[(1, from, &[rest])], &[])), None));
        }
    }

    /// Hostile input 8a: what is applied across a hole may never be readable again.
    #[test]
    fn what_lies_behind_a_hole_is_held_until_the_hole_is_filled() {
        let mut knowledge = Knowledge::default();
        let later = update(&[(1, 3, &[after((1, 2), STRING, &string("d"))])], &[]);
        let held = admit(&mut knowledge, &later).held.expect("it follows on nothing known");
        assert!(same_buffer(&held.bytes, &later), "a copy was made");
        assert_eq!(held.why, HeldWhy::Hole);
        assert!(!knowledge.resolves(&held));
        assert!(admit(&mut knowledge, &abc()).accepted.is_some());
        assert!(knowledge.resolves(&held));
        assert_eq!(split(admit(&mut knowledge, &held.bytes)), (Some(later), None));
    }

    #[test]
    fn a_declared_hole_is_a_hole() {
        let mut knowledge = Knowledge::default();
        let bytes = update(&[(1, 0, &[gc(1), skip(2), gc(1), gc(2)])], &[]);
        let (accepted, held) = split(admit(&mut knowledge, &bytes));
        assert_eq!(accepted, Some(update(&[(1, 0, &[gc(1)])], &[])));
        assert_eq!(held, Some(update(&[(1, 3, &[gc(1), gc(2)])], &[])));
        // Once what it skips is known, it is none.
        let mut knowledge = knowing(&[update(&[(1, 0, &[gc(4)])], &[])]);
        let (accepted, held) = split(admit(&mut knowledge, &bytes));
        assert_eq!((accepted, held), (Some(update(&[(1, 4, &[gc(2)])], &[])), None));
    }

    #[test]
    fn what_refers_to_something_unknown_is_held_with_all_that_follows() {
        for struct_of_2 in [
            after((1, 0), STRING, &string("x")),
            before((1, 0), STRING, &string("x")),
            inside((1, 0), STRING, &string("x")),
        ] {
            let mut knowledge = Knowledge::default();
            // Client 3 depends on 2, which depends on 1, which is unknown; 4 depends on nobody.
            let bytes = update(
                &[
                    (4, 0, &[gc(1)]),
                    (3, 0, &[in_root(STRING, &string("y")), after((2, 1), STRING, &string("z")), gc(1)]),
                    (2, 0, &[gc(1), struct_of_2.clone(), gc(2)]),
                ],
                &[],
            );
            let admission = admit(&mut knowledge, &bytes);
            let missing = admission.held.as_ref().map(|held| held.missing.clone());
            assert!(missing.expect("something is held").contains(&(1, 0)));
            let (accepted, held) = split(admission);
            let y = in_root(STRING, &string("y"));
            assert_eq!(accepted, Some(update(&[(4, 0, &[gc(1)]), (3, 0, &[y]), (2, 0, &[gc(1)])], &[])));
            let z = after((2, 1), STRING, &string("z"));
            let expected = update(&[(3, 1, &[z, gc(1)]), (2, 1, &[struct_of_2, gc(2)])], &[]);
            assert_eq!(held.as_ref(), Some(&expected));

            let unknown = update(&[(1, 0, &[in_root(TYPE, &MAP)])], &[]);
            assert!(admit(&mut knowledge, &unknown).accepted.is_some());
            assert_eq!(split(admit(&mut knowledge, &expected)), (Some(expected), None));
        }
    }

    #[test]
    fn causes_inside_one_update_are_found_in_any_order() {
        // 1 -> 2 -> 3 -> 1, each time to an earlier clock, so there is an order.
        let bytes = update(
            &[
                (3, 0, &[after((2, 0), STRING, &string("a")), after((1, 1), STRING, &string("b"))]),
                (2, 0, &[after((1, 0), STRING, &string("a")), after((3, 0), STRING, &string("b"))]),
                (1, 0, &[in_root(STRING, &string("a")), after((2, 1), STRING, &string("b"))]),
            ],
            &[(2, 0, 2)],
        );
        let mut knowledge = Knowledge::default();
        let (accepted, held) = split(admit(&mut knowledge, &bytes));
        assert!(same_buffer(&accepted.expect("all of it is new"), &bytes));
        assert_eq!(held, None);
    }

    #[test]
    fn circles_are_held_and_nothing_else_is() {
        let bytes = update(
            &[
                (3, 0, &[gc(1)]),
                (2, 0, &[gc(1), after((1, 0), STRING, &string("a"))]),
                (1, 0, &[after((2, 1), STRING, &string("b"))]),
            ],
            &[],
        );
        let (accepted, held) = split(admit(&mut Knowledge::default(), &bytes));
        assert_eq!(accepted, Some(update(&[(3, 0, &[gc(1)]), (2, 0, &[gc(1)])], &[])));
        assert!(held.is_some());
    }

    #[test]
    fn deletions_are_taken_where_known_held_where_not_and_never_twice() {
        let mut knowledge = knowing(&[abc()]);
        let bytes = update(&[], &[(1, 1, 5), (2, 0, 1)]);
        let admission = admit(&mut knowledge, &bytes);
        assert_eq!(admission.held.as_ref().map(|held| held.missing.clone()), Some(vec![(1, 3), (2, 0)]));
        let (accepted, held) = split(admission);
        assert_eq!(accepted, Some(update(&[], &[(1, 1, 2)])));
        assert_eq!(held, Some(update(&[], &[(1, 3, 3), (2, 0, 1)])));
        // A SyncStep2 repeats all deletions.
        assert_eq!(split(admit(&mut knowledge, &update(&[], &[(1, 0, 3)]))).0, Some(update(&[], &[(1, 0, 1)])));
        assert_eq!(admit(&mut knowledge, &update(&[], &[(1, 0, 3)])), Admission::default());
    }

    /// 20 bytes came to 5 MB, and to a second of work.
    #[test]
    fn a_deletion_across_very_many_that_are_known_is_passed_on_as_it_came() {
        let text = update(&[(1, 0, &[in_root(STRING, &string(&"x".repeat(10_000)))])], &[]);
        let parts: Vec<_> = (1..5_000).map(|at| (1, 2 * at, 1)).collect();
        let mut knowledge = knowing(&[text, update(&[], &parts)]);
        let everything = update(&[], &[(1, 0, 10_000)]);
        let accepted = admit(&mut knowledge, &everything).accepted.expect("some of it is new");
        assert!(same_buffer(&accepted.bytes, &everything));
        assert_eq!(knowledge.deletes().range_count(), 1);
        assert_eq!(admit(&mut knowledge, &everything), Admission::default());
    }

    #[test]
    fn collected_and_emptied_structs_count_as_deleted() {
        for deleted in [gc(3), in_root(DELETED, &[3])] {
            let mut knowledge = Knowledge::default();
            let bytes = update(&[(1, 0, &[deleted])], &[(1, 0, 3)]);
            let accepted = admit(&mut knowledge, &bytes).accepted.expect("all of it is new");
            assert!(same_buffer(&accepted.bytes, &bytes));
            assert_eq!(admit(&mut knowledge, &update(&[], &[(1, 0, 3)])), Admission::default());
        }
    }

    /// 8 bytes in another user's name take a thousand of its clocks: its author is asked first.
    #[test]
    fn what_is_withheld_waits_and_the_rest_is_taken() {
        let forged = update(&[(7, 0, &[gc(1000)])], &[]);
        assert_eq!(forged.len(), 8);
        let own = update(&[(8, 0, &[gc(1)]), (7, 0, &[gc(1000)])], &[]);
        let is_withheld = |client| client == 7;
        let mut knowledge = Knowledge::default();
        let held = admit_as(&mut knowledge, &forged, is_withheld, &Limits::default()).held.expect("held");
        assert_eq!((held.why, held.bytes), (HeldWhy::Author, forged.clone()));
        assert_eq!(knowledge, Knowledge::default());
        let (accepted, held) = split(admit_as(&mut knowledge, &own, is_withheld, &Limits::default()));
        assert_eq!(accepted, Some(update(&[(8, 0, &[gc(1)])], &[])));
        assert_eq!(held, Some(forged.clone()));
        // Skip structs claim nothing either.
        let skipped = update(&[(7, 0, &[skip(1000), gc(1)])], &[]);
        assert!(admit_as(&mut knowledge, &skipped, is_withheld, &Limits::default()).accepted.is_none());
        // What is known already may be repeated by anybody, and what the store holds is nobody's to question.
        let scan = scan(&forged, &Limits::default()).expect("plausible");
        let trusted = knowledge.admit(&forged, &scan, Source::Trusted, is_withheld, &Limits::default());
        assert!(trusted.accepted.is_some());
        assert_eq!(admit_as(&mut knowledge, &forged, is_withheld, &Limits::default()), Admission::default());
    }

    /// Somebody who is shown what another one wrote in its name must be able to take it.
    #[test]
    fn what_would_be_admitted_follows_on_what_is_known_and_lies_in_types() {
        let knowledge = knowing(&[update(&[(7, 0, &[in_root(STRING, &string("a"))])], &[])]);
        let would = |bytes: Bytes| {
            let scan = scan(&bytes, &Limits::default()).expect("a plausible update");
            knowledge.would_admit(&bytes, &scan, &Limits::default())
        };
        assert!(would(update(&[(7, 1, &[after((7, 0), STRING, &string("b"))])], &[])));
        assert!(!would(update(&[(7, 2, &[in_root(STRING, &string("behind a hole"))])], &[])));
        assert!(!would(update(&[(7, 1, &[inside((7, 0), STRING, &string("in a letter"))])], &[])));
    }

    #[test]
    fn what_depends_on_something_withheld_is_held_with_it() {
        let bytes = update(
            &[(8, 0, &[gc(1), after((7, 0), STRING, &string("a"))]), (7, 0, &[in_root(STRING, &string("b"))])],
            &[(7, 0, 1), (8, 0, 1)],
        );
        let is_withheld = |client| client == 7;
        let mut knowledge = Knowledge::default();
        let admission = admit_as(&mut knowledge, &bytes, is_withheld, &Limits::default());
        let held = admission.held.clone().expect("held");
        assert_eq!(held.why, HeldWhy::Author);
        assert_eq!(split(admission).0, Some(update(&[(8, 0, &[gc(1)])], &[(8, 0, 1)])));
        // When the owner's own copy arrives, the rest fits.
        let own = update(&[(7, 0, &[in_root(STRING, &string("b"))])], &[]);
        assert!(admit(&mut knowledge, &own).accepted.is_some());
        assert!(knowledge.resolves(&held));
        let (accepted, still) = split(admit_as(&mut knowledge, &held.bytes, is_withheld, &Limits::default()));
        assert_eq!((accepted.is_some(), still), (true, None));
    }

    /// A chain of nested maps: each the child of the one before.
    fn chain(client: ClientId, from: Clock, to: Clock) -> Bytes {
        let link = |clock: Clock| {
            if clock == 0 { in_root(TYPE, &MAP) } else { inside((client, clock - 1), TYPE, &MAP) }
        };
        let structs: Vec<Vec<u8>> = (from..to).map(link).collect();
        update(&[(client, from, &structs)], &[])
    }

    /// Hostile input 8c: 60 KB, at whose deletion Yjs and yrs recurse 10,000 levels deep.
    #[test]
    fn shared_types_nest_no_deeper_than_allowed() {
        let limits = Limits::default();
        let max = Clock::from(limits.nesting_max);
        let mut knowledge = Knowledge::default();
        assert_eq!(admit(&mut knowledge, &chain(1, 0, 10_000)).refused, Some(Refusal::Nesting(limits.nesting_max)));
        assert_eq!(knowledge, Knowledge::default(), "a refused update leaves no trace");
        assert!(admit(&mut knowledge, &chain(1, 0, max)).accepted.is_some());
        assert_eq!(admit(&mut knowledge, &chain(1, max, max + 1)).refused, Some(Refusal::Nesting(limits.nesting_max)));
        assert!(
            admit(&mut knowledge, &update(&[(2, 0, &[inside((1, max - 1), ANY, &[1, 126])])], &[])).accepted.is_some()
        );
    }

    #[test]
    fn a_chain_that_comes_link_by_link_is_as_deep() {
        let mut knowledge = Knowledge::default();
        let max = Clock::from(Limits::default().nesting_max);
        for clock in 0..max {
            assert!(admit(&mut knowledge, &chain(1, clock, clock + 1)).accepted.is_some());
        }
        assert!(admit(&mut knowledge, &chain(1, max, max + 1)).refused.is_some());
        // Also from another client, and beside a sibling instead of inside a parent.
        let sibling =
            |content| update(&[(2, 0, &[after((1, max - 1), TYPE, &MAP), inside((2, 0), content, &MAP)])], &[]);
        assert!(admit(&mut knowledge, &sibling(TYPE)).refused.is_some());
        let right = update(&[(2, 0, &[before((1, max - 1), TYPE, &MAP), inside((2, 0), TYPE, &MAP)])], &[]);
        assert!(admit(&mut knowledge, &right).refused.is_some());
    }

    /// The type was empty when it came, so no item was nested until then.
    #[test]
    fn the_first_item_in_a_nested_type_is_nested() {
        let inner = update(&[(1, 1, &[inside((1, 0), ANY, &[1, 126])])], &[]);
        let limits = Limits { nesting_max: 2, ..Limits::default() };
        let mut knowledge = knowing(&[chain(1, 0, 1), inner]);
        let beside = update(&[(2, 0, &[after((1, 1), TYPE, &MAP), inside((2, 0), TYPE, &MAP)])], &[]);
        assert!(admit_as(&mut knowledge, &beside, |_| false, &limits).refused.is_some());
    }

    /// Hostile input 9: to Yjs such an item is nothing, yrs refuses the document for ever.
    #[test]
    fn an_item_in_something_that_is_no_shared_type_is_refused() {
        let child = update(&[(2, 0, &[inside((1, 0), ANY, &[1, 126])])], &[]);
        let deleted = update(&[(1, 0, &[in_root(STRING, &string("a"))])], &[(1, 0, 1)]);
        for parent in [abc(), deleted] {
            let mut knowledge = knowing(core::slice::from_ref(&parent));
            assert_eq!(admit(&mut knowledge, &child).refused, Some(Refusal::Parent));
            assert_eq!(knowledge, knowing(&[parent]));
        }
        let both = update(&[(1, 0, &[in_root(STRING, &string("a")), inside((1, 0), ANY, &[1, 126])])], &[]);
        assert_eq!(admit(&mut Knowledge::default(), &both).refused, Some(Refusal::Parent));
        // One that is deleted or collected may have been a shared type.
        for parent in [in_root(TYPE, &MAP), in_root(DELETED, &[1]), gc(1)] {
            let parent = update(&[(1, 0, &[parent])], &[]);
            assert!(admit(&mut knowing(&[parent]), &child).accepted.is_some());
        }
        // What is stored is opened nevertheless.
        let opened = Knowledge::of(&abc(), &[child], &Limits::default()).expect("updates");
        assert!(opened.held.is_empty());
    }

    /// Hostile input 9: parted, such a value leaves two live ones, over which Yjs throws and yrs uses freed memory.
    #[test]
    fn a_live_value_of_a_key_takes_one_clock() {
        let three = [3, 126, 126, 126];
        let keyed = |content, bytes: &[u8]| [&[content | 0x20, 1, 1, b'r', 1, b'k'], bytes].concat();
        let first = update(&[(2, 0, &[keyed(ANY, &[1, 126])])], &[]);
        for values in [
            keyed(ANY, &three),
            keyed(STRING, &string("abc")),
            after((2, 0), ANY, &three),
            before((2, 0), STRING, &string("abc")),
            [&[ANY | 0x20, 0, 2, 0, 1, b'k'][..], &three].concat(),
        ] {
            let mut knowledge = knowing(&[update(&[(2, 0, &[keyed(TYPE, &MAP)])], &[])]);
            for deletes in [&[][..], &[(1, 0, 2)], &[(1, 1, 2)]] {
                let refused =
                    admit(&mut knowledge, &update(&[(1, 0, core::slice::from_ref(&values))], deletes)).refused;
                assert_eq!(refused, Some(Refusal::Value));
            }
            // Clients that keep what is deleted merge the former values of a key.
            let former = update(&[(1, 0, &[values])], &[(1, 0, 3)]);
            let accepted = admit(&mut knowledge, &former).accepted.expect("it is deleted");
            assert_eq!(accepted.bytes, former);
        }
        let mut knowledge = knowing(core::slice::from_ref(&first));
        assert!(admit(&mut knowledge, &update(&[(1, 0, &[after((2, 0), DELETED, &[3])])], &[])).accepted.is_some());
        let opened =
            Knowledge::of(&first, &[update(&[(1, 0, &[after((2, 0), ANY, &three)])], &[])], &Limits::default());
        let opened = opened.expect("updates");
        assert!(opened.held.is_empty());
    }

    #[test]
    fn depth_survives_loading() {
        let max = Clock::from(Limits::default().nesting_max);
        let halves = [chain(1, 0, max / 2), chain(1, max / 2, max)];
        let opened = Knowledge::of(&halves[0], &halves[1..], &Limits::default()).expect("updates");
        assert_eq!(opened.knowledge, knowing(&halves));
        let mut knowledge = opened.knowledge;
        assert!(admit(&mut knowledge, &chain(1, max, max + 1)).refused.is_some());
    }

    #[test]
    fn a_document_knows_a_bounded_number_of_clients() {
        let limits = Limits { document_clients_max: 2, ..Limits::default() };
        let mut knowledge = knowing(&[abc()]);
        let from = |client| update(&[(client, 0, &[gc(1)])], &[]);
        let free = |_| false;
        assert!(admit_as(&mut knowledge, &from(2), free, &limits).accepted.is_some());
        assert_eq!(admit_as(&mut knowledge, &from(3), free, &limits).refused, Some(Refusal::Clients(2)));
        let known = update(&[(2, 1, &[gc(1)])], &[]);
        assert!(admit_as(&mut knowledge, &known, free, &limits).accepted.is_some());
    }

    #[test]
    fn stored_updates_open_in_any_order_and_keep_what_lies_behind_a_lost_one() {
        let step = |clock: Clock| update(&[(1, clock, &[gc(1)])], &[(1, clock, 1)]);
        let opened = Knowledge::of(&step(0), &[step(3), step(2), step(1)], &Limits::default()).expect("updates");
        assert_eq!(opened.knowledge.clocks().get(1), 4);
        assert!(opened.held.is_empty());
        let opened = Knowledge::of(&step(0), &[step(3), step(1)], &Limits::default()).expect("updates");
        assert_eq!(opened.knowledge.clocks().get(1), 2);
        assert_eq!(opened.held.iter().map(|held| held.bytes.clone()).collect::<Vec<_>>(), [step(3)]);
        assert_eq!(Knowledge::of(&step(0), &[Bytes::from_static(&[1])], &Limits::default()), Err(ScanError::Count));
    }

    /// Hostile input 4: the gate keeps nothing of what it cannot add; the budget for it is the room's.
    #[test]
    fn updates_out_of_order_leave_no_trace_in_the_knowledge() {
        let mut knowledge = Knowledge::default();
        for clock in (1..16_000).rev() {
            let admission = admit(&mut knowledge, &update(&[(1, clock, &[gc(1)])], &[]));
            assert!(admission.accepted.is_none() && admission.held.is_some());
        }
        assert_eq!(knowledge, Knowledge::default());
    }

    #[test]
    fn an_update_laid_out_as_no_client_does_is_written_anew() {
        // A client without structs, and one whose deletions are empty.
        let odd = Bytes::from_static(&[2, 0, 9, 4, 1, 1, 0, 0, 1, 2, 5, 0, 1, 1, 0, 1]);
        let (accepted, held) = split(admit(&mut Knowledge::default(), &odd));
        assert_eq!((accepted, held), (Some(update(&[(1, 0, &[gc(1)])], &[(1, 0, 1)])), None));
    }

    /// A struct of a made-up update: how long, what it refers to, whether there is a hole before it.
    #[derive(Clone, Debug)]
    struct Made {
        len: Clock,
        is_gc: bool,
        origin: Option<(usize, Clock)>,
        right_origin: Option<(usize, Clock)>,
        hole: Clock,
    }

    const CLIENTS: [ClientId; 4] = [1, 2, 300, 9_000_000_000];

    fn made() -> impl Strategy<Value = Made> {
        let cause = || prop::option::weighted(0.4, (0..CLIENTS.len(), 0..8u32));
        let hole = prop_oneof![9 => Just(0u32), 1 => 1..3u32];
        (1..4u32, prop::bool::weighted(0.2), cause(), cause(), hole)
            .prop_map(|(len, is_gc, origin, right_origin, hole)| Made { len, is_gc, origin, right_origin, hole })
    }

    /// The update, and for every struct its client, clocks, causes and whether it is collected.
    type Placed = (ClientId, ClockRange, Vec<Id>);

    fn place(sections: &[(Clock, Vec<Made>)], deletes: &[(usize, Clock, Clock)]) -> (Bytes, Vec<Placed>) {
        let mut placed = Vec::new();
        let mut encoded = Vec::new();
        for (client, (start, structs)) in CLIENTS.iter().zip(sections).filter(|(_, section)| !section.1.is_empty()) {
            let mut clock = *start;
            let mut bytes = Vec::new();
            for made in structs {
                if made.hole > 0 {
                    bytes.push(skip(made.hole));
                    clock += made.hole;
                }
                let cause = |of: Option<(usize, Clock)>| {
                    of.map(|(at, clock)| Id { client: CLIENTS[at], clock })
                        .filter(|id| !made.is_gc && (id.client != *client || id.clock < clock))
                };
                let (origin, right_origin) = (cause(made.origin), cause(made.right_origin));
                let text = string(&"x".repeat(made.len as usize));
                bytes.push(match (origin, right_origin) {
                    _ if made.is_gc => gc(made.len),
                    (None, None) => in_root(STRING, &text),
                    (Some(id), None) => after((id.client, id.clock), STRING, &text),
                    (None, Some(id)) => before((id.client, id.clock), STRING, &text),
                    (Some(left), Some(right)) => {
                        let mut both = after((left.client, left.clock), STRING, &[]);
                        both[0] |= 0x40;
                        both.extend_from_slice(&before((right.client, right.clock), STRING, &text)[1..]);
                        both
                    }
                });
                let clocks = ClockRange { start: clock, end: clock + made.len };
                placed.push((*client, clocks, origin.into_iter().chain(right_origin).collect()));
                clock += made.len;
            }
            encoded.push((*client, *start, bytes));
        }
        let sections: Vec<_> =
            encoded.iter().rev().map(|(client, start, bytes)| (*client, *start, &bytes[..])).collect();
        let deletes: Vec<_> = deletes.iter().map(|(at, clock, len)| (CLIENTS[*at], *clock, *len)).collect();
        (update(&sections, &deletes), placed)
    }

    /// What may be added, found by trying every struct until none fits any more.
    fn closure(known: &StateVector, placed: &[Placed], is_withheld: impl Fn(ClientId) -> bool) -> StateVector {
        let mut known = known.clone();
        loop {
            let before = known.clone();
            for (client, clocks, causes) in placed {
                let fits = clocks.start <= known.get(*client) && known.get(*client) < clocks.end;
                let is_closed = causes.iter().all(|id| id.client == *client || id.clock < known.get(id.client));
                if fits && !is_withheld(*client) && is_closed {
                    known.advance(*client, clocks.end);
                }
            }
            if known == before {
                return known;
            }
        }
    }

    /// Each edit looked up all that was missing: 200 sessions with one update each that waited for 131,000 clients, and no edit arrived.
    #[test]
    fn what_waits_for_very_many_clients_names_a_few_and_gets_through_nevertheless() {
        let mut knowledge = Knowledge::default();
        let clients = 10_000;
        let deletes: Vec<_> = (0..clients).map(|client| (client, 0, 1)).collect();
        let bytes = update(&[], &deletes);
        let mut held = admit(&mut knowledge, &bytes).held.expect("nothing of it is known");
        assert!(held.missing.len() < 100 && held.memory() < bytes.len() + 2_000);
        assert_eq!(held.work, clients as u32);
        let mut tries = 0;
        for client in (0..clients).rev() {
            assert!(
                admit(&mut knowledge, &update(&[(client, 0, &[in_root(STRING, &string("a"))])], &[])).held.is_none()
            );
            if knowledge.resolves(&held) {
                tries += 1;
                match admit(&mut knowledge, &held.bytes.clone()).held {
                    Some(rest) => held = rest,
                    None => break,
                }
            }
        }
        assert_eq!(knowledge.deletes().range_count(), clients as usize);
        assert!(tries > 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn the_largest_closed_part_is_accepted_and_the_rest_is_held(
            known in prop::collection::vec(0..4u32, CLIENTS.len()),
            sections in prop::collection::vec((0..4u32, prop::collection::vec(made(), 0..7)), CLIENTS.len()),
            deletes in prop::collection::vec((0..CLIENTS.len(), 0..20u32, 1..5u32), 0..5),
            known_deletes in prop::collection::vec((0..CLIENTS.len(), 0..4u32, 1..3u32), 0..3),
            withheld in prop::collection::vec(0..8u8, CLIENTS.len()),
        ) {
            let is_withheld = |client| {
                let at = CLIENTS.iter().position(|id| *id == client).expect("one of four");
                withheld[at] == 0
            };
            let mut knowledge = Knowledge::default();
            for (client, clock) in CLIENTS.iter().zip(&known) {
                knowledge.clocks.advance(*client, *clock);
            }
            for (at, clock, len) in &known_deletes {
                let end = (clock + len).min(knowledge.clocks.get(CLIENTS[*at]));
                knowledge.deletes.insert(CLIENTS[*at], *clock, end.saturating_sub(*clock));
            }
            let before = knowledge.clone();
            let (bytes, placed) = place(&sections, &deletes);
            let expected = closure(&before.clocks, &placed, is_withheld);
            let scanned = scan(&bytes, &Limits::default()).expect("plausible");
            let admission = knowledge.admit(&bytes, &scanned, Source::Update, is_withheld, &Limits::default());

            prop_assert_eq!(&knowledge.clocks, &expected);
            let all_deletes = DeleteSet::collect(scanned.deletes(&bytes));
            let (mut new, mut held) = (StateVector::default(), Vec::new());
            if let Some(accepted) = &admission.accepted {
                let again = scan(&accepted.bytes, &Limits::default()).expect("an update");
                prop_assert_eq!(&again.spans, &accepted.scan.spans);
                new = again.spans.iter().map(|span| (span.client, span.end)).collect();
                prop_assert!(again.spans.iter().all(|span| span.start == before.clocks.get(span.client)));
                let mut known_to = all_deletes.clone();
                known_to.split_beyond(|client| expected.get(client));
                prop_assert_eq!(DeleteSet::collect(again.deletes(&accepted.bytes)), known_to.subtract(&before.deletes));
            }
            for (client, clock) in expected.iter() {
                prop_assert_eq!(new.get(client).max(before.clocks.get(client)), clock);
            }
            if let Some(rest) = &admission.held {
                let again = scan(&rest.bytes, &Limits::default()).expect("an update");
                held = again.spans.iter().flat_map(|span| (span.start..span.end).map(|clock| (span.client, clock))).collect();
                prop_assert_eq!(again.spans.iter().map(|span| span.structs).sum::<u32>(), again.structs);
                let beyond = all_deletes.clone().split_beyond(|client| expected.get(client));
                prop_assert_eq!(DeleteSet::collect(again.deletes(&rest.bytes)), beyond);
            }
            let mut lacking: Vec<_> = placed
                .iter()
                .flat_map(|(client, clocks, ..)| (clocks.start..clocks.end).map(|clock| (*client, clock)))
                .filter(|(client, clock)| *clock >= expected.get(*client))
                .collect();
            // A struct that is known in part is held as a whole.
            held.retain(|(client, clock)| *clock >= expected.get(*client));
            lacking.sort_unstable();
            held.sort_unstable();
            prop_assert_eq!(held, lacking);

            // Told again what is missing, it fits; and told in vain, nothing changes.
            if let Some(rest) = &admission.held {
                let again = scan(&rest.bytes, &Limits::default()).expect("an update");
                let repeated = knowledge.clone().admit(&rest.bytes, &again, Source::Update, is_withheld, &Limits::default());
                prop_assert_eq!(repeated.accepted, None);
                prop_assert!(!knowledge.resolves(rest), "it waits for {:?}, which is known", rest.missing);
                prop_assert!(rest.why == HeldWhy::Author || !rest.missing.is_empty());
            }
        }
    }
}
