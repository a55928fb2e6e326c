//! What one party knows of the document, counted in clocks and deletions.

use bytes::Bytes;
use ydash_proto::limits::Limits;
use ydash_proto::update::{self, Knowledge, Source};

/// Takes updates in any order and puts them into one in which each follows on those before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    knowledge: Knowledge,
    waiting: Vec<Bytes>,
}

impl Replica {
    /// The parts that can be applied by now, in order.
    pub(crate) fn receive(&mut self, update: &Bytes) -> Vec<Bytes> {
        let mut ready = Vec::new();
        self.waiting.push(update.clone());
        loop {
            let before = ready.len();
            for update in core::mem::take(&mut self.waiting) {
                let scan = update::scan(&update, &Limits::default()).expect("an update");
                let admission = self.knowledge.admit(&update, &scan, Source::Trusted, |_| false, &Limits::default());
                assert_eq!(admission.refused, None);
                ready.extend(admission.accepted.map(|accepted| accepted.bytes));
                self.waiting.extend(admission.held.map(|held| held.bytes));
            }
            if ready.len() == before || self.waiting.is_empty() {
                return ready;
            }
        }
    }

    /// An edit of its own; says whether that follows on what is known. As in Yjs, what waits for it is looked at when the next update
    /// comes.
    pub(crate) fn write(&mut self, update: &Bytes) -> bool {
        let scan = update::scan(update, &Limits::default()).expect("an update");
        let admission = self.knowledge.admit(update, &scan, Source::Trusted, |_| false, &Limits::default());
        admission.accepted.is_some() && admission.held.is_none()
    }

    /// Says whether an update waits for those before it.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    #[track_caller]
    pub(crate) fn assert_whole(&self, whose: &str) {
        assert!(self.waiting.is_empty(), "{whose} waits for something: {:?}", self.waiting);
    }
}
