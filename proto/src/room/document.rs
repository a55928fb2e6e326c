//! The document of a room, as bytes: one encoded state and the updates accepted since.
//!
//! Nothing is decoded into items here. Joins and differences are cut from the bytes, so they are lossless and a room costs what its
//! document weighs, not a multiple of it. Garbage is collected by compaction ([`crate::document::compact`]), which somebody
//! else runs on a thread that may take its time.

use crate::document::{Compacted, live_bytes};
use crate::heap;
use crate::id::{ClientId, Clock};
use crate::limits::Limits;
use crate::update::{
    self, Accepted, Admission, ClockRange, DeleteSet, Difference, Knowledge, Places, Scan, ScanError, Source,
    StateVector,
};
use crate::wire::encode;
use bytes::Bytes;
use std::sync::Arc;

/// Tail updates that are joined into one when there are so many: one `Bytes` costs more than a small update.
const TAIL_UPDATES_MAX: usize = 64;
/// What was joined before is joined with them unless it is more than so many times as long.
const TAIL_GROWTH: usize = 2;
/// Encoded differences that are kept for the next member that lacks the same: after a restart a thousand come back at once.
const DIFFERENCES_MAX: usize = 4;
/// A question of fewer bytes is made anew each time.
const QUESTION_BYTES_MIN: usize = 4 << 10;
/// Appended bytes below which a compaction is not worth its price.
const COMPACT_BYTES_MIN: usize = 64 << 10;

/// What `Bytes` keeps for those who share it.
const BYTES_OVERHEAD: usize = heap::block(24);

/// Updates of the tail up to here are scanned when they are looked into.
const SCAN_AGAIN_BYTES_MAX: usize = 4 << 10;

/// An update of the tail; its scan, too, if it is a run or long.
#[derive(Clone, Debug)]
struct TailPart {
    bytes: Bytes,
    /// How many of them come before its deletions.
    live: usize,
    scan: Option<Arc<Scan>>,
}

/// All of a document as it was at one moment. Cheap to clone, and the same whatever becomes of the document.
#[derive(Clone, Debug)]
pub struct Content {
    base: Bytes,
    base_scan: Arc<Scan>,
    tail: Vec<TailPart>,
    accepted: u64,
}

/// A difference that was cut out of a [`Content`].
#[derive(Clone, Debug)]
pub struct Cut {
    pub(super) frame: Bytes,
    scan: Arc<Scan>,
    accepted: u64,
}

impl Content {
    /// What one lacks that has `have`, as one update. Takes as long as the document is large: on a thread that may take its time.
    #[must_use]
    pub fn difference(&self, have: &StateVector) -> Bytes {
        difference(&self.base, &self.base_scan, &self.tail, have).0
    }

    /// The same as a SyncStep2 message.
    #[must_use]
    pub fn cut(&self, have: &StateVector) -> Cut {
        let (bytes, scan) = difference(&self.base, &self.base_scan, &self.tail, have);
        Cut { frame: encode::sync_step2(&bytes), scan: Arc::new(scan), accepted: self.accepted }
    }
}

fn difference(base: &Bytes, base_scan: &Scan, tail: &[TailPart], have: &StateVector) -> (Bytes, Scan) {
    let scanned = Scanned::of(tail);
    let parts: Vec<(&Bytes, &Scan)> = core::iter::once((base, base_scan)).chain(scanned.parts(tail)).collect();
    update::diff_and_scan(&parts, have)
}

/// A dashboard's content while its room is live.
#[derive(Debug)]
pub(super) struct Document {
    base: Bytes,
    base_scan: Arc<Scan>,
    /// How many bytes of the base hold what is not deleted, at most.
    base_live: usize,
    /// What was accepted since: runs that were joined, each much longer than the next, and the last updates one by one.
    tail: Vec<TailPart>,
    /// Where structs stand in base and tail.
    places: Places,
    /// How many of the tail are runs.
    tail_runs: usize,
    tail_bytes: usize,
    tail_live: usize,
    #[cfg(test)]
    joined_bytes: usize,
    /// Bytes accepted since the last compaction.
    grown: usize,
    knowledge: Knowledge,
    full: Option<Bytes>,
    differences: Vec<(StateVector, Bytes)>,
    /// The SyncStep1 frame, and how many bytes had been accepted when it was made.
    question: Option<(Bytes, u64)>,
    /// Bytes accepted since the document was opened.
    accepted: u64,
    orphans: Vec<Bytes>,
    /// How many of the tail's updates a running compaction covers.
    compacting: Option<usize>,
    compact_at: usize,
}

impl Document {
    /// An empty document.
    pub(super) fn empty() -> Document {
        Document {
            base: Bytes::from_static(&update::EMPTY_UPDATE),
            base_scan: Arc::default(),
            base_live: 0,
            tail: Vec::new(),
            tail_runs: 0,
            places: Places::default(),
            tail_bytes: 0,
            tail_live: 0,
            #[cfg(test)]
            joined_bytes: 0,
            grown: 0,
            knowledge: Knowledge::default(),
            full: None,
            differences: Vec::new(),
            question: None,
            accepted: 0,
            orphans: Vec::new(),
            compacting: None,
            compact_at: COMPACT_BYTES_MIN,
        }
    }

    /// What the store holds: a snapshot and the log after it.
    ///
    /// Entries that lie behind a hole (a damaged record was set aside, or a node was killed before it appended what others built
    /// on) wait as orphans and come back to life when a client brings what is missing.
    ///
    /// # Errors
    /// [`ScanError`] – the snapshot itself is not an update: the dashboard must not be opened, least of all as an empty one.
    pub(super) fn load(snapshot: Option<Bytes>, log: Vec<Bytes>, limits: &Limits) -> Result<Document, ScanError> {
        let mut document = Document::empty();
        if let Some(base) = snapshot {
            let opened = Knowledge::of(&base, &[], limits)?;
            document.knowledge = opened.knowledge;
            document.compact_at = COMPACT_BYTES_MIN.max(base.len() / 2);
            // To find it out takes as long as reading it, and matters only when the document is large.
            let is_large = base.len() > limits.document_bytes_max / 2;
            let live = if is_large { live_bytes(&base) } else { base.len() };
            let scan = Arc::new(update::scan_admitted(&base));
            document.rebase(base, scan, live);
            document.orphans = opened.held.into_iter().map(|held| held.bytes).collect();
        }
        document.orphans.extend(log);
        document.revive(limits);
        Ok(document)
    }

    /// Puts the guard's question for `update` and keeps what was accepted. That may close a hole: see [`Document::revive`].
    pub(super) fn admit(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        source: Source,
        is_withheld: impl Fn(ClientId) -> bool,
        limits: &Limits,
    ) -> Admission {
        let mut admission = self.knowledge.admit(update, scan, source, is_withheld, limits);
        if source != Source::Trusted {
            let deleted = &admission.deleted;
            admission.accepted = admission.accepted.map(|accepted| accepted.declaring(deleted));
        }
        if let Some(accepted) = &admission.accepted {
            self.keep(accepted);
        }
        admission
    }

    /// Whether a small update is new as a whole and could be added as it is.
    pub(super) fn would_admit(&self, update: &Bytes, limits: &Limits) -> bool {
        update::scan(update, limits).is_ok_and(|scan| self.knowledge.would_admit(update, &scan, limits))
    }

    /// Whether all of an update is known already.
    pub(super) fn contains(&self, update: &[u8], scan: &Scan) -> bool {
        self.knowledge.contains(update, scan)
    }

    /// Where an update, of which something is known, differs from what is kept.
    pub(super) fn differences(
        &mut self,
        update: &Bytes,
        scan: &Scan,
        never_seen: impl Fn(ClientId, ClockRange) -> Option<Clock>,
    ) -> Vec<Difference> {
        let scanned = Scanned::of(&self.tail);
        let base = core::iter::once((&self.base, &*self.base_scan));
        let kept: Vec<(&Bytes, &Scan)> = base.chain(scanned.parts(&self.tail)).collect();
        update::differences(&kept, update, scan, self.knowledge.clocks(), &mut self.places, never_seen)
    }

    /// The clock with which the last `count` clocks of `client` before `end` begin that are not deleted: deleted ones have no content to
    /// compare. Passes over at most `passed_max` of those.
    pub(super) fn last_live(&self, client: ClientId, end: Clock, count: Clock, passed_max: Clock) -> Clock {
        self.knowledge.deletes().last_live(client, end, count, end.saturating_sub(count.saturating_add(passed_max)))
    }

    /// Whether an update brings structs that are not known, whatever it deletes.
    pub(super) fn lacks_structs(&self, scan: &Scan) -> bool {
        scan.spans.iter().any(|span| self.knowledge.clocks().get(span.client) < span.end)
    }

    /// Whether something that `held` waits for has come.
    pub(super) fn resolves(&self, held: &update::Held) -> bool {
        self.knowledge.resolves(held)
    }

    /// What the document holds, per client.
    pub(super) fn clocks(&self) -> &StateVector {
        self.knowledge.clocks()
    }

    /// Encoded size, before garbage collection.
    pub(super) fn bytes(&self) -> usize {
        self.base.len() + self.tail_bytes
    }

    /// How many of its bytes hold what is not deleted, as far as that is known: what was deleted since garbage was collected last is
    /// counted still.
    pub(super) fn live_bytes(&self) -> usize {
        self.base_live + self.tail_live
    }

    /// Bytes that what was deleted takes still: its place, and that it is deleted.
    pub(super) fn dead_bytes(&self) -> usize {
        self.bytes() - self.live_bytes()
    }

    /// Whether deletions would leave the document with more ranges of what is deleted than so many, and with more than it has.
    pub(super) fn scatters(&self, update: &[u8], scan: &Scan, ranges_max: usize) -> bool {
        let deletes = self.knowledge.deletes();
        deletes.range_count() + scan.delete_ranges as usize > ranges_max
            && deletes.growth_with(&DeleteSet::collect(scan.deletes(update))) > 0
    }

    /// Whether the log holds entries that could not be placed: then no snapshot may stand for it.
    pub(super) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    /// What the log holds and could not be placed.
    pub(super) fn orphans(&self) -> impl Iterator<Item = Bytes> {
        self.orphans.iter().cloned()
    }

    /// How much of this document `other` holds; `None` if it holds all of it.
    pub(super) fn held_by(&self, other: &Knowledge) -> Option<StateVector> {
        let has_all =
            other.clocks().covers(self.clocks()) && self.knowledge.deletes().subtract(other.deletes()).is_empty();
        (!has_all).then(|| other.clocks().clone())
    }

    /// Keeps what the log holds and could not be placed.
    pub(super) fn add_orphans(&mut self, orphans: impl Iterator<Item = Bytes>) {
        for orphan in orphans {
            if !self.orphans.contains(&orphan) {
                self.orphans.push(orphan);
            }
        }
    }

    /// A number that differs, in all likelihood, when the deletions do.
    pub(super) fn deletes_digest(&self) -> u64 {
        // FNV-1a, over numbers in place of bytes.
        self.knowledge.deletes().iter().fold(0xcbf2_9ce4_8422_2325, |digest, (client, range)| {
            let words = [client, u64::from(range.start), u64::from(range.end)];
            words.iter().fold(digest, |digest, word| (digest ^ word).wrapping_mul(0x0100_0000_01b3))
        })
    }

    /// The whole state as one update.
    pub(super) fn state(&mut self) -> Bytes {
        if self.tail.is_empty() {
            return self.base.clone();
        }
        encode::sync_payload(&self.sync_step2(&StateVector::default()))
    }

    /// What one lacks that has `have`, as one update.
    pub(super) fn difference(&self, have: &StateVector) -> Bytes {
        difference(&self.base, &self.base_scan, &self.tail, have).0
    }

    /// All of it as it is at this moment, for differences that are cut elsewhere.
    pub(super) fn content(&self) -> Content {
        let (base, base_scan) = (self.base.clone(), Arc::clone(&self.base_scan));
        Content { base, base_scan, tail: self.tail.clone(), accepted: self.accepted }
    }

    /// How much was accepted so far: as long as it is the same, a difference is the same.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The SyncStep2 frame for one that has `have`; shared between all that have the same.
    pub(super) fn sync_step2(&mut self, have: &StateVector) -> Bytes {
        if let Some(frame) = self.cut_before(have) {
            return frame;
        }
        let cut = self.content().cut(have);
        self.keep_cut(have, &cut);
        cut.frame
    }

    /// The SyncStep2 frame for one that has `have`, if it was cut since anything was accepted.
    pub(super) fn cut_before(&self, have: &StateVector) -> Option<Bytes> {
        if have.is_empty() {
            return self.full.clone();
        }
        self.differences.iter().find(|(known, _)| known == have).map(|(_, frame)| frame.clone())
    }

    /// Keeps what was cut for one that has `have`, for others that have the same.
    pub(super) fn keep_cut(&mut self, have: &StateVector, cut: &Cut) {
        if cut.accepted != self.accepted {
            return;
        }
        if have.is_empty() {
            // The frame holds the state, so the state can live in it: no second copy. Not while a compaction counts on the tail.
            if self.compacting.is_none() {
                let state = encode::sync_payload(&cut.frame);
                self.base_live = self.live_bytes().min(state.len());
                self.base_scan = Arc::clone(&cut.scan);
                self.places.clear();
                self.base = state;
                self.tail.clear();
                self.tail_runs = 0;
                self.tail_bytes = 0;
                self.tail_live = 0;
            }
            self.full = Some(cut.frame.clone());
            return;
        }
        if self.differences.len() == DIFFERENCES_MAX {
            self.differences.remove(0);
        }
        self.differences.push((have.clone(), cut.frame.clone()));
    }

    /// The SyncStep1 frame: what one sends in answer that has more.
    ///
    /// One that names many clients may be some edits old, of together no more bytes than it has itself. Then the answers hold those
    /// edits, too, which are known.
    pub(super) fn question(&mut self) -> Bytes {
        if let Some((frame, made_at)) = &self.question
            && self.accepted - made_at <= (frame.len() - QUESTION_BYTES_MIN) as u64
        {
            return frame.clone();
        }
        let frame = encode::sync_step1(&self.clocks().encode());
        self.question = (frame.len() >= QUESTION_BYTES_MIN).then(|| (frame.clone(), self.accepted));
        frame
    }

    /// Starts a compaction when enough was appended, or when `force`d: the parts to join and collect garbage in.
    pub(super) fn compaction(&mut self, force: bool) -> Option<Vec<Bytes>> {
        if self.compacting.is_some() || !(force || self.grown >= self.compact_at) {
            return None;
        }
        self.compacting = Some(self.tail.len());
        Some(self.parts())
    }

    /// Whether anything was accepted since garbage was collected last.
    pub(super) fn has_grown(&self) -> bool {
        self.grown > 0
    }

    /// Whether a compaction is running.
    pub(super) fn is_compacting(&self) -> bool {
        self.compacting.is_some()
    }

    /// Puts a compaction's result in the place of what it covered. `None`: it failed, the parts stay as they are.
    pub(super) fn compacted(&mut self, base: Option<Compacted>) {
        let Some(covered) = self.compacting.take() else { return };
        if let Some(Compacted { state, live_bytes, scan, .. }) = base {
            self.rebase(state, scan, live_bytes);
            self.tail.drain(..covered);
            self.tail_runs = self.tail_runs.saturating_sub(covered);
            self.tail_bytes = self.tail.iter().map(|part| part.bytes.len()).sum();
            self.tail_live = self.tail.iter().map(|part| part.live).sum();
            self.grown = self.tail_bytes;
            self.let_go_encoded();
            self.compact_at = COMPACT_BYTES_MIN.max(self.base.len() / 2);
        } else {
            // The same content would fail again: wait until there is twice as much.
            self.compact_at = self.compact_at.max(self.grown).saturating_mul(2);
        }
    }

    /// Bytes accepted since the base was made.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Bytes held, roughly. What was replaced and somebody still reads is for that reader to pay.
    pub(super) fn memory(&self) -> usize {
        // The base mostly lies in the frame.
        let full = self.full.as_ref().filter(|frame| frame.len() < self.base.len()).map_or(0, Bytes::len);
        let tail = |part: &TailPart| {
            let scan = part.scan.as_ref().map_or(0, |scan| heap::block(size_of::<Scan>()) + scan.memory());
            BYTES_OVERHEAD + heap::block(part.bytes.len()) + scan
        };
        let difference = |(have, frame): &(StateVector, Bytes)| have.memory() + heap::block(frame.len());
        heap::block(self.base.len())
            + self.base_scan.memory()
            + full
            + heap::vec::<TailPart>(self.tail.capacity())
            + self.tail.iter().map(tail).sum::<usize>()
            + self.question.as_ref().map_or(0, |(frame, _)| heap::block(frame.len()))
            + self.differences.iter().map(difference).sum::<usize>()
            + self.orphans.iter().map(Bytes::len).sum::<usize>()
            + self.knowledge.memory()
    }

    /// Lets go of what was encoded: the document has changed.
    fn let_go_encoded(&mut self) {
        // Whoever reads one of them pays for it.
        self.full = None;
        self.differences = Vec::new();
    }

    fn rebase(&mut self, base: Bytes, scan: Arc<Scan>, live: usize) {
        self.base_scan = scan;
        self.base_live = live;
        self.places.clear();
        self.base = base;
    }

    fn parts(&self) -> Vec<Bytes> {
        let mut parts = Vec::with_capacity(1 + self.tail.len());
        if self.base.len() > update::EMPTY_UPDATE.len() || self.tail.is_empty() {
            parts.push(self.base.clone());
        }
        parts.extend(self.tail.iter().map(|part| part.bytes.clone()));
        parts
    }

    fn keep(&mut self, accepted: &Accepted) {
        self.let_go_encoded();
        self.accepted += accepted.bytes.len() as u64;
        self.tail_bytes += accepted.bytes.len();
        self.grown += accepted.bytes.len();
        let live = accepted.scan.struct_bytes();
        self.tail_live += live;
        // A long one is not scanned again each time.
        let scan = (accepted.bytes.len() > SCAN_AGAIN_BYTES_MAX).then(|| Arc::new(accepted.scan.clone()));
        self.tail.push(TailPart { bytes: accepted.bytes.clone(), live, scan });
        if self.tail.len() - self.tail_runs > TAIL_UPDATES_MAX {
            self.join_tail();
        }
    }

    /// Joins the last updates with each other, and with the runs before them that are not much longer. So a byte is copied as often
    /// as the tail has doubled since.
    fn join_tail(&mut self) {
        let covered = self.compacting.unwrap_or(0);
        let mut from = self.tail_runs.max(covered);
        let mut bytes: usize = self.tail[from..].iter().map(|part| part.bytes.len()).sum();
        while from > covered && self.tail[from - 1].bytes.len() <= TAIL_GROWTH * bytes {
            from -= 1;
            bytes += self.tail[from].bytes.len();
        }
        if self.tail.len() <= from + 1 {
            return;
        }
        let last = &self.tail[from..];
        let (joined, scan) = update::merge_scanned(&Scanned::of(last).parts(last).collect::<Vec<_>>());
        let live = scan.struct_bytes();
        self.tail_bytes = self.tail_bytes - bytes + joined.len();
        self.tail_live = self.tail_live - last.iter().map(|part| part.live).sum::<usize>() + live;
        #[cfg(test)]
        {
            self.joined_bytes += joined.len();
        }
        self.places.keep_only(&self.base);
        self.tail.truncate(from);
        self.tail.push(TailPart { bytes: joined, live, scan: Some(Arc::new(scan)) });
        self.tail_runs = self.tail.len();
    }

    /// Takes in what the log holds behind holes that are closed by now. Nobody was told of it before.
    pub(super) fn revive(&mut self, limits: &Limits) -> Vec<Accepted> {
        // Each was within the limits of its day.
        let limits = &limits.for_trusted();
        let mut revived = Vec::new();
        while !self.orphans.is_empty() {
            let before = revived.len();
            for orphan in core::mem::take(&mut self.orphans) {
                let Ok(scan) = update::scan(&orphan, limits) else {
                    continue;
                };
                let admission = self.knowledge.admit(&orphan, &scan, Source::Trusted, |_| false, limits);
                if let Some(accepted) = admission.accepted {
                    self.keep(&accepted);
                    revived.push(accepted);
                }
                if let Some(rest) = admission.held {
                    self.orphans.push(rest.bytes);
                }
            }
            if revived.len() == before {
                break;
            }
        }
        revived
    }
}

/// The scans of a tail's updates that do not have theirs at hand.
struct Scanned(Vec<Option<Scan>>);

impl Scanned {
    fn of(tail: &[TailPart]) -> Scanned {
        Scanned(tail.iter().map(|part| part.scan.is_none().then(|| update::scan_admitted(&part.bytes))).collect())
    }

    fn parts<'a>(&'a self, tail: &'a [TailPart]) -> impl Iterator<Item = (&'a Bytes, &'a Scan)> {
        tail.iter().zip(&self.0).filter_map(|(part, scanned)| {
            let scan = part.scan.as_deref().or(scanned.as_ref())?;
            Some((&part.bytes, scan))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::build::{STRING, after, in_root, string, update};

    fn admit(document: &mut Document, update: &Bytes) {
        let limits = Limits::default();
        let scan = update::scan(update, &limits).expect("an update");
        let admission = document.admit(update, &scan, Source::Update, |_| false, &limits);
        assert!(admission.accepted.is_some() && admission.held.is_none());
    }

    /// The tail was joined whole each 64 edits: 160 ms under 14 MB of it.
    #[test]
    fn joining_the_tail_costs_an_edit_no_more_than_its_logarithm() {
        let mut document = Document::empty();
        let text = |clock: u32, text: &str| {
            let item =
                if clock == 0 { in_root(STRING, &string(text)) } else { after((1, clock - 1), STRING, &string(text)) };
            update(&[(1, clock, &[item])], &[])
        };
        let large = 1 << 20;
        admit(&mut document, &text(0, &"x".repeat(large)));
        let edits = 100 * TAIL_UPDATES_MAX;
        for at in 0..edits {
            admit(&mut document, &text((large + at) as u32, "y"));
            if at == edits / 2 {
                document.compaction(true).expect("parts");
            }
        }
        assert!(document.joined_bytes < 2 * large + 14 * edits * 24, "{} bytes were copied", document.joined_bytes);
        assert!(document.tail.len() < TAIL_UPDATES_MAX + 32);
        let whole = document.state();
        assert_eq!(Knowledge::of(&whole, &[], &Limits::default()).expect("an update").knowledge, document.knowledge);
    }
}
