//! Whose a Yjs client id is: who speaks for it in awareness, and who writes under it.
//!
//! Nothing in the protocol proves an id. So nobody is refused for the name in which it writes: what is new and sound is taken from
//! whoever brings it first, and delivering it makes nobody its author. The author of an id is the live session that took it for
//! its own and wrote under it; it is asked before others write in its name. `docs/PROTOCOL.md`, "Client ids", has the whole rule.

use super::hidden::Hidden;
use crate::id::{ClientId, Clock, MemberId};
use crate::time::Timestamp;
use core::time::Duration;
use std::collections::BTreeMap;

/// How long an author may take to answer before what others wrote in its name is taken without its word. Stock clients answer at once.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How often an author is asked at most: what comes meanwhile in its name waits for the next question.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// How long structs of an id that another node shows wait for that node to bring them.
pub(in crate::room) const ELSEWHERE_WAIT: Duration = Duration::from_millis(500);

/// The ids of one room.
#[derive(Debug, Default)]
pub(in crate::room) struct Owners {
    speakers: BTreeMap<ClientId, MemberId>,
    authors: BTreeMap<ClientId, MemberId>,
    /// Sessions that announced an id for which another one speaks.
    displaced: BTreeMap<ClientId, Vec<Displaced>>,
    questions: BTreeMap<MemberId, Question>,
    /// Clocks that came with their content deleted.
    hidden: Hidden,
    /// From which clock on an id was continued by a session that did not say whether it has what is kept before that; and by which, if
    /// it was one.
    unproven: BTreeMap<ClientId, (Clock, Option<MemberId>)>,
    /// Ids of which something came in this life of the room: whether all of it came from a session that writes under them.
    came_from_author: BTreeMap<ClientId, bool>,
}

/// A session that announced an id, but another one has changed its state since.
#[derive(Clone, Copy, Debug)]
struct Displaced {
    member: MemberId,
    /// A digest of the state that it announced last.
    said: u64,
    /// It was made to take the next clock: what it says at that counts.
    is_nudged: bool,
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
    pub(in crate::room) fn speaker(&self, client: ClientId) -> Option<MemberId> {
        self.speakers.get(&client).copied()
    }

    /// From here on `member` speaks for `client`.
    pub(in crate::room) fn speak(&mut self, client: ClientId, member: MemberId) {
        self.speakers.insert(client, member);
        self.forget_displaced(client, member);
    }

    /// `member` speaks for `client` in the place of another session, which announced `said` last.
    pub(in crate::room) fn displace(&mut self, client: ClientId, member: MemberId, said: u64) {
        let before = self.speakers.insert(client, member);
        self.forget_displaced(client, member);
        if let Some(before) = before.filter(|before| *before != member) {
            let displaced = Displaced { member: before, said, is_nudged: false };
            self.displaced.entry(client).or_default().push(displaced);
        }
    }

    /// Whether a session that announced `client`, for which another one speaks, has news: it has just come, it was made to announce
    /// itself again, or its state has changed. One that only renews its state, as a forgotten connection does, has none.
    pub(in crate::room) fn has_news(&self, client: ClientId, member: MemberId, said: u64) -> bool {
        self.displaced_of(client, member).is_none_or(|displaced| displaced.is_nudged || displaced.said != said)
    }

    /// Whether such a session was made to take the next clock.
    pub(in crate::room) fn is_nudged(&self, client: ClientId, member: MemberId) -> bool {
        self.displaced_of(client, member).is_some_and(|displaced| displaced.is_nudged)
    }

    /// Sessions that announced `client`, for which another one spoke, and that were not made to take the next clock since; each with a
    /// digest of what it announced.
    pub(in crate::room) fn waiting_to_speak(&self, client: ClientId) -> Vec<(MemberId, u64)> {
        let displaced = self.displaced.get(&client).map_or(&[][..], Vec::as_slice);
        let waiting = displaced.iter().filter(|displaced| !displaced.is_nudged);
        waiting.map(|displaced| (displaced.member, displaced.said)).collect()
    }

    /// A session that announced `said` is made to take the next clock.
    pub(in crate::room) fn nudged(&mut self, client: ClientId, member: MemberId, said: u64) {
        self.forget_displaced(client, member);
        self.displaced.entry(client).or_default().push(Displaced { member, said, is_nudged: true });
    }

    /// Of which of `clients` other sessions than the one that speaks are here, and which those are.
    pub(in crate::room) fn contested(
        &self,
        clients: impl Iterator<Item = ClientId>,
    ) -> impl Iterator<Item = (ClientId, impl Iterator<Item = MemberId>)> {
        let is_calm = self.displaced.is_empty();
        clients.take_while(move |_| !is_calm).filter_map(|client| {
            let displaced = self.displaced.get(&client)?;
            Some((client, displaced.iter().map(|displaced| displaced.member)))
        })
    }

    fn displaced_of(&self, client: ClientId, member: MemberId) -> Option<&Displaced> {
        self.displaced.get(&client)?.iter().find(|displaced| displaced.member == member)
    }

    fn forget_displaced(&mut self, client: ClientId, member: MemberId) {
        if let Some(displaced) = self.displaced.get_mut(&client) {
            displaced.retain(|displaced| displaced.member != member);
            if displaced.is_empty() {
                self.displaced.remove(&client);
            }
        }
    }

    /// The live session that writes under `client` as its own.
    pub(in crate::room) fn author(&self, client: ClientId) -> Option<MemberId> {
        self.authors.get(&client).copied()
    }

    /// `member` wrote under `client`, which it took for its own.
    pub(in crate::room) fn writes(&mut self, client: ClientId, member: MemberId) {
        self.authors.insert(client, member);
    }

    /// Nobody is asked any more before others write under `client`, until somebody writes under it as its own.
    pub(in crate::room) fn withdraw(&mut self, client: ClientId) {
        self.authors.remove(&client);
    }

    /// Ends what `member` was among `clients`.
    pub(in crate::room) fn release(&mut self, clients: &[ClientId], member: MemberId) {
        for client in clients {
            if self.speakers.get(client) == Some(&member) {
                self.speakers.remove(client);
            }
            if self.authors.get(client) == Some(&member) {
                self.authors.remove(client);
            }
            self.forget_displaced(*client, member);
        }
        self.questions.remove(&member);
        self.hidden.leave(member);
    }

    /// Whether an author may be asked now.
    pub(in crate::room) fn may_ask(&self, now: Timestamp, author: MemberId) -> bool {
        let question = self.questions.get(&author);
        question.is_none_or(|question| !question.is_open && now.since(question.asked_at) >= ASK_PAUSE)
    }

    /// An author was asked.
    pub(in crate::room) fn asked(&mut self, now: Timestamp, author: MemberId, number: u32) {
        self.questions.insert(author, Question { number, is_open: true, asked_at: now });
    }

    /// `author` has answered so many questions.
    pub(in crate::room) fn answered(&mut self, author: MemberId, answers: u32) {
        if let Some(question) = self.questions.get_mut(&author) {
            question.is_open &= answers < question.number;
        }
    }

    /// Whether question `number` to `author` is settled.
    pub(in crate::room) fn is_settled(&self, author: MemberId, number: u32) -> bool {
        self.questions.get(&author).is_none_or(|question| !question.is_open || question.number > number)
    }

    /// Gives up on authors that do not answer: nobody waits for them again until they write. Returns them.
    pub(in crate::room) fn give_up(&mut self, now: Timestamp) -> Vec<MemberId> {
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
    pub(in crate::room) fn next_timeout(&self) -> Option<Timestamp> {
        let due = |question: &Question| question.asked_at + if question.is_open { ANSWERS_WITHIN } else { ASK_PAUSE };
        self.questions.values().map(due).min()
    }

    /// Forgets questions that are settled.
    pub(in crate::room) fn forget_settled(&mut self, now: Timestamp) {
        self.questions.retain(|_, question| question.is_open || now.since(question.asked_at) < ASK_PAUSE);
    }

    /// Structs of `client` came from `start` on, from a session that writes under it or from somebody else.
    pub(in crate::room) fn came(&mut self, client: ClientId, start: Clock, is_author: bool) {
        if !is_author {
            self.came_from_author.insert(client, false);
        } else if start == 0 {
            self.came_from_author.entry(client).or_insert(true);
        }
    }

    /// Whether all that is known of `client` came from a session that writes under it; `None` when it was there before the room was.
    pub(in crate::room) fn came_from_author(&self, client: ClientId) -> Option<bool> {
        self.came_from_author.get(&client).copied()
    }

    /// `member` continued `client` from `start` on, and what it has before that is not known.
    pub(in crate::room) fn continued(&mut self, client: ClientId, start: Clock, member: MemberId) {
        let (from, by) = self.unproven.entry(client).or_insert((start, Some(member)));
        *from = start.min(*from);
        *by = by.filter(|by| *by == member);
    }

    /// What `member` has of `client` before `clock` is what is kept.
    pub(in crate::room) fn proved(&mut self, client: ClientId, clock: Clock, member: MemberId) {
        let is_proved = |(from, by): &mut (Clock, Option<MemberId>)| clock < *from && *by == Some(member);
        self.unproven.get_mut(&client).is_some_and(is_proved).then(|| self.unproven.remove(&client));
    }

    /// The last clock of `client` of which it is known that whoever continued it had what is kept, if not all are.
    pub(in crate::room) fn proven_to(&self, client: ClientId) -> Option<Clock> {
        self.unproven.get(&client).map(|(from, _)| *from)
    }

    /// Clocks that came with their content deleted.
    pub(in crate::room) fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// As [`Owners::hidden`], to add some.
    pub(in crate::room) fn hidden_mut(&mut self) -> &mut Hidden {
        &mut self.hidden
    }

    /// Bytes held, roughly.
    pub(in crate::room) fn memory(&self) -> usize {
        (self.speakers.len() + self.authors.len() + self.unproven.len() + self.came_from_author.len()) * 32
            + self.hidden.memory()
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
