//! What a busy room collects until its next flush, and the frames that come out.

use super::resync::Starts;
use crate::id::MemberId;
use crate::time::Timestamp;
use crate::update::{self, Accepted, StateVector};
use crate::wire::encode;
use bytes::Bytes;

/// Up to so many authors in one flush each get a frame without their own edits; beyond, everybody gets the same one. An author's own
/// edit coming back is harmless, and what stock servers do; cutting a frame per author would cost authors times updates.
const OWN_FRAMES_MAX: usize = 8;

#[derive(Debug)]
struct Collected {
    author: Option<MemberId>,
    accepted: Accepted,
    frame: Option<Bytes>,
}

impl Collected {
    fn as_frame(&self) -> Bytes {
        self.frame.clone().unwrap_or_else(|| encode::update(&self.accepted.bytes))
    }
}

/// Accepted updates that nobody was told of.
#[derive(Debug, Default)]
pub(super) struct Flush {
    collected: Vec<Collected>,
    began: Timestamp,
}

/// The frames of one flush.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frames {
    /// For everybody but `except`.
    pub(super) all: Bytes,
    /// Authors, sorted.
    pub(super) except: Vec<MemberId>,
    /// What each author lacks.
    pub(super) own: Vec<(MemberId, Bytes)>,
    /// Where the flush began, per client.
    pub(super) starts: Starts,
    /// When its first update came.
    pub(super) began: Timestamp,
}

impl Flush {
    /// Adds an accepted update. `frame` is the message it came in, when all of that was accepted.
    pub(super) fn collect(
        &mut self,
        now: Timestamp,
        author: Option<MemberId>,
        accepted: Accepted,
        frame: Option<Bytes>,
    ) {
        if self.collected.is_empty() {
            self.began = now;
        }
        self.collected.push(Collected { author, accepted, frame });
    }

    /// Bytes of what was collected.
    pub(super) fn bytes(&self) -> usize {
        self.collected.iter().map(|one| one.accepted.bytes.len()).sum()
    }

    /// How many updates were collected.
    pub(super) fn len(&self) -> usize {
        self.collected.len()
    }

    /// Forgets that `author` wrote anything: it left, and needs no frame of its own.
    pub(super) fn forget(&mut self, author: MemberId) {
        for one in self.collected.iter_mut().filter(|one| one.author == Some(author)) {
            one.author = None;
        }
    }

    /// Takes what was collected out of what somebody is thought to have.
    pub(super) fn lower(&self, have: &mut StateVector) {
        for span in self.collected.iter().flat_map(|one| &one.accepted.scan.spans) {
            have.lower(span.client, span.start);
        }
    }

    /// Whether nothing was collected.
    pub(super) fn is_empty(&self) -> bool {
        self.collected.is_empty()
    }

    /// Makes the frames and begins anew.
    pub(super) fn take(&mut self) -> Option<Frames> {
        let collected = core::mem::take(&mut self.collected);
        let began = self.began;
        let spans = collected.iter().flat_map(|one| &one.accepted.scan.spans);
        let starts = spans.map(|span| (span.client, span.start)).collect();
        if let [only] = collected.as_slice() {
            let except = only.author.into_iter().collect();
            return Some(Frames { all: only.as_frame(), except, own: Vec::new(), starts, began });
        }
        let first = collected.first()?;
        let mut authors: Vec<MemberId> = collected.iter().filter_map(|one| one.author).collect();
        authors.sort_unstable();
        authors.dedup();
        let all = join(collected.iter());
        if authors.len() > OWN_FRAMES_MAX {
            return Some(Frames { all, except: Vec::new(), own: Vec::new(), starts, began });
        }
        let own = if collected.iter().all(|one| one.author == first.author) {
            Vec::new()
        } else {
            authors
                .iter()
                .map(|&author| (author, join(collected.iter().filter(|one| one.author != Some(author)))))
                .collect()
        };
        Some(Frames { all, except: authors, own, starts, began })
    }
}

fn join<'a>(collected: impl Iterator<Item = &'a Collected>) -> Bytes {
    let collected: Vec<&Collected> = collected.collect();
    if let [only] = collected.as_slice() {
        return only.as_frame();
    }
    let parts: Vec<_> = collected.iter().map(|one| (&one.accepted.bytes, &one.accepted.scan)).collect();
    encode::update(&update::merge_scanned(&parts).0)
}
