//! Whose a Yjs client id is: who speaks for it in awareness, and who writes under it.
//!
//! Nothing in the protocol proves an id. So nobody is refused for the name in which it writes: what is new and sound is taken from
//! whoever brings it first, and delivering it makes nobody its author. The author of an id is the live session that took it for
//! its own and wrote under it; it is asked before others write in its name. `docs/PROTOCOL.md`, "Client ids", has the whole rule.

use crate::id::{ClientId, Clock, MemberId};
use crate::time::Timestamp;
use crate::update::ClockRange;
use core::time::Duration;
use std::collections::BTreeMap;

/// How long an author may take to answer before what others wrote in its name is taken without its word. Stock clients answer at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How often an author is asked at most: what comes meanwhile in its name waits for the next question.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// How long structs of an id that another node shows wait for that node to bring them.
pub(super) const ELSEWHERE_WAIT: Duration = Duration::from_millis(500);

/// The ids of one room.
#[derive(Debug, Default)]
pub(super) struct Owners {
    speakers: BTreeMap<ClientId, MemberId>,
    authors: BTreeMap<ClientId, MemberId>,
    questions: BTreeMap<MemberId, Question>,
    never_seen: BTreeMap<ClientId, NeverSeen>,
}

/// Clocks that came with their content deleted, from the first to the last of them.
#[derive(Clone, Copy, Debug)]
struct NeverSeen {
    range: ClockRange,
    /// Who brought them, if it was one session.
    by: Option<MemberId>,
}

/// What an author was asked last.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// Which of the questions put to it: the author has answered when it has answered as many.
    number: u32,
    is_open: bool,
    asked_at: Timestamp,
}

impl Owners {
    /// The live session that speaks for `client` in awareness.
    pub(super) fn speaker(&self, client: ClientId) -> Option<MemberId> {
        self.speakers.get(&client).copied()
    }

    /// From here on `member` speaks for `client`.
    pub(super) fn speak(&mut self, client: ClientId, member: MemberId) {
        self.speakers.insert(client, member);
    }

    /// The live session that writes under `client` as its own.
    pub(super) fn author(&self, client: ClientId) -> Option<MemberId> {
        self.authors.get(&client).copied()
    }

    /// `member` wrote under `client`, which it took for its own.
    pub(super) fn writes(&mut self, client: ClientId, member: MemberId) {
        self.authors.insert(client, member);
    }

    /// Nobody is asked any more before others write under `client`, until somebody writes under it as its own.
    pub(super) fn withdraw(&mut self, client: ClientId) {
        self.authors.remove(&client);
    }

    /// Ends what `member` was among `clients`.
    pub(super) fn release(&mut self, clients: &[ClientId], member: MemberId) {
        for client in clients {
            if self.speakers.get(client) == Some(&member) {
                self.speakers.remove(client);
            }
            if self.authors.get(client) == Some(&member) {
                self.authors.remove(client);
            }
        }
        self.questions.remove(&member);
    }

    /// Whether an author may be asked now.
    pub(super) fn may_ask(&self, now: Timestamp, author: MemberId) -> bool {
        let question = self.questions.get(&author);
        question.is_none_or(|question| !question.is_open && now.since(question.asked_at) >= ASK_PAUSE)
    }

    /// An author was asked.
    pub(super) fn asked(&mut self, now: Timestamp, author: MemberId, number: u32) {
        self.questions.insert(author, Question { number, is_open: true, asked_at: now });
    }

    /// `author` has answered so many questions.
    pub(super) fn answered(&mut self, author: MemberId, answers: u32) {
        if let Some(question) = self.questions.get_mut(&author) {
            question.is_open &= answers < question.number;
        }
    }

    /// Whether question `number` to `author` is settled.
    pub(super) fn is_settled(&self, author: MemberId, number: u32) -> bool {
        self.questions.get(&author).is_none_or(|question| !question.is_open || question.number > number)
    }

    /// Gives up on authors that do not answer: nobody waits for them again until they write. Returns them.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Vec<MemberId> {
        let late = |question: &Question| question.is_open && now.since(question.asked_at) >= ANSWERS_WITHIN;
        let silent: Vec<MemberId> =
            self.questions.iter().filter(|(_, question)| late(question)).map(|(&author, _)| author).collect();
        for author in &silent {
            self.questions.remove(author);
            self.authors.retain(|_, other| other != author);
        }
        silent
    }

    /// When [`Owners::give_up`] or the next question may be due, while somebody waits.
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let due = |question: &Question| question.asked_at + if question.is_open { ANSWERS_WITHIN } else { ASK_PAUSE };
        self.questions.values().map(due).min()
    }

    /// Forgets questions that are settled.
    pub(super) fn forget_settled(&mut self, now: Timestamp) {
        self.questions.retain(|_, question| question.is_open || now.since(question.asked_at) < ASK_PAUSE);
    }

    /// A member brought clocks of `client` with their content deleted.
    pub(super) fn hide(&mut self, client: ClientId, start: Clock, end: Clock, by: MemberId) {
        let seen = self.never_seen.entry(client);
        let NeverSeen { range, by: known } =
            seen.or_insert(NeverSeen { range: ClockRange { start, end }, by: Some(by) });
        (range.start, range.end) = (range.start.min(start), range.end.max(end));
        *known = known.filter(|known| *known == by);
    }

    /// Where content of `client` may have come deleted from others than `member`, so that nobody here ever saw it.
    pub(super) fn never_seen(&self, client: ClientId, member: MemberId) -> Option<ClockRange> {
        let seen = self.never_seen.get(&client)?;
        (seen.by != Some(member)).then_some(seen.range)
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        (self.speakers.len() + self.authors.len() + self.never_seen.len()) * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: MemberId = MemberId(1);
    const BOB: MemberId = MemberId(2);

    #[test]
    fn speaking_and_writing_end_with_the_session_that_does_it() {
        let mut owners = Owners::default();
        owners.speak(7, ALICE);
        owners.writes(7, ALICE);
        owners.speak(7, BOB);
        owners.release(&[7], ALICE);
        assert_eq!((owners.speaker(7), owners.author(7)), (Some(BOB), None));
    }

    #[test]
    fn an_author_is_asked_once_at_a_time_and_given_up_when_it_does_not_answer() {
        let mut owners = Owners::default();
        let now = Timestamp(1_000);
        owners.writes(7, ALICE);
        assert!(owners.may_ask(now, ALICE));
        owners.asked(now, ALICE, 3);
        assert!(!owners.may_ask(now + ASK_PAUSE, ALICE));
        owners.answered(ALICE, 2);
        assert!(!owners.is_settled(ALICE, 3), "that was the answer to an earlier question");
        owners.answered(ALICE, 3);
        assert!(owners.is_settled(ALICE, 3));
        assert!(!owners.may_ask(now, ALICE) && owners.may_ask(now + ASK_PAUSE, ALICE));
        owners.asked(now + ASK_PAUSE, ALICE, 4);
        assert_eq!(owners.give_up(now + ANSWERS_WITHIN), []);
        assert_eq!(owners.give_up(now + ASK_PAUSE + ANSWERS_WITHIN), [ALICE]);
        assert_eq!(owners.author(7), None);
    }
}
