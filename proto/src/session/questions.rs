//! How often one client's SyncStep1 are answered: an answer may cost as much as the document is large.
//!
//! Stock clients ask once per connection, or every so many milliseconds (`resyncInterval`, `forceSyncInterval`). A question beyond
//! the budget waits here while its client is read on, and a newer one takes its place: the answer to that says all that the
//! other's would.

use crate::limits::questions::{BURST, KEPT_BYTES_MAX, PER_SECOND, PRICE_MAX, PRICED_BYTES};
use crate::rate::TokenBucket;
use crate::time::Timestamp;
use bytes::Bytes;
use core::time::Duration;

const HAS_NOTHING: &[u8] = &[0];

/// The questions of one session.
#[derive(Clone, Debug)]
pub struct Questions {
    budget: TokenBucket,
    /// The newest that has to wait, and until when.
    waiting: Option<(Timestamp, Bytes)>,
}

impl Questions {
    /// None so far.
    #[must_use]
    pub fn new(now: Timestamp) -> Questions {
        Questions { budget: TokenBucket::new(BURST, PER_SECOND, now), waiting: None }
    }

    /// The client asks about a document of so many bytes, of which it has `have`. Says whether it is to be answered at once.
    pub fn ask(&mut self, now: Timestamp, document_bytes: usize, have: &Bytes) -> bool {
        let due_at = match self.waiting {
            Some((due_at, _)) => due_at,
            None => match self.budget.take(now, price(document_bytes)) {
                Ok(()) => return true,
                Err(wait) => now + wait,
            },
        };
        // A copy, so that it does not keep what it came in.
        let kept = match have.len() {
            ..=KEPT_BYTES_MAX => Bytes::copy_from_slice(have),
            _ => Bytes::from_static(HAS_NOTHING),
        };
        self.waiting = Some((due_at, kept));
        false
    }

    /// When the one that waits is to be answered.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.waiting.as_ref().map(|(due_at, _)| *due_at)
    }

    /// The one that has waited long enough.
    pub fn due(&mut self, now: Timestamp, document_bytes: usize) -> Option<Bytes> {
        let (due_at, _) = self.waiting.as_mut().filter(|(due_at, _)| *due_at <= now)?;
        if let Err(wait) = self.budget.take(now, price(document_bytes)) {
            // The document has grown meanwhile.
            *due_at = now + wait.max(Duration::from_millis(1));
            return None;
        }
        self.waiting.take().map(|(_, have)| have)
    }
}

fn price(document_bytes: usize) -> u32 {
    let sixteenths = document_bytes / (PRICED_BYTES / PRICE_MAX as usize);
    u32::try_from(sixteenths).unwrap_or(u32::MAX).clamp(1, PRICE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp(1_000);

    #[test]
    fn a_large_document_is_told_eight_times_at_once_and_once_a_second() {
        let mut questions = Questions::new(BEGIN);
        let have = Bytes::from_static(&[0]);
        let answered = (0..20).filter(|_| questions.ask(BEGIN, 64 << 20, &have)).count();
        assert_eq!((answered, questions.due_at()), (8, Some(BEGIN + Duration::from_secs(1))));
        assert_eq!(questions.due(BEGIN + Duration::from_millis(999), 64 << 20), None);
        assert_eq!(questions.due(BEGIN + Duration::from_secs(1), 64 << 20), Some(have));
        assert_eq!(questions.due_at(), None);
    }

    #[test]
    fn of_several_questions_that_wait_the_newest_is_answered() {
        let mut questions = Questions::new(BEGIN);
        while questions.ask(BEGIN, 0, &Bytes::from_static(&[0])) {}
        for have in [vec![1, 1, 1], vec![7; KEPT_BYTES_MAX + 1], vec![1, 2, 3]] {
            assert!(!questions.ask(BEGIN, 0, &have.into()));
        }
        assert_eq!(questions.due(BEGIN + Duration::from_secs(1), 0).as_deref(), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn a_question_too_long_to_keep_waits_as_one_of_somebody_who_has_nothing() {
        let mut questions = Questions::new(BEGIN);
        while questions.ask(BEGIN, 0, &vec![7; KEPT_BYTES_MAX + 1].into()) {}
        assert_eq!(questions.due(BEGIN + Duration::from_secs(1), 0).as_deref(), Some(HAS_NOTHING));
    }

    #[test]
    fn a_question_about_a_document_that_grew_while_it_waited_waits_for_the_higher_price() {
        let mut questions = Questions::new(BEGIN);
        while questions.ask(BEGIN, 0, &Bytes::from_static(&[0])) {}
        let due_at = questions.due_at().expect("one waits");
        assert_eq!(questions.due(due_at, 64 << 20), None);
        let later = questions.due_at().expect("it still waits");
        assert!(later > due_at);
        assert!(questions.due(later, 64 << 20).is_some());
    }
}
