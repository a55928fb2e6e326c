//! One session inside a room.

use super::flush::Flush;
use super::input::{Dialect, Joining};
use super::resync::{FlushSeq, FlushStarts};
use super::unfit::Unfit;
use crate::access::{Admission, Capabilities};
use crate::id::{ClientId, Clock, MemberId};
use crate::limits::Limits;
use crate::limits::authorship::{BARRED_MAX, REFUSED_BYTES_MAX, REFUSED_UPDATES_MAX, STRANGERS_MAX, WRITES_AS_MAX};
use crate::time::Timestamp;
use crate::update::{self, Scan, StateVector};
use bytes::Bytes;
use std::collections::VecDeque;

/// An author to be asked, and by which question it was.
pub(super) type ToAsk = (MemberId, Option<u32>);

/// An update that waits behind a hole, or for the word of the author in whose name it was written.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) waiting: update::Held,
    pub(super) since: Timestamp,
    /// Updates that wait for a SyncStatus until this one is settled.
    pub(super) acks: u32,
    /// The authors to be asked, each with the question that it was shown with.
    pub(super) authors: Vec<ToAsk>,
    /// Another node shows an author of it, which may bring the same until then.
    pub(super) elsewhere_until: Option<Timestamp>,
    /// It waits until its sender's check is over, or until then.
    pub(super) check_until: Option<Timestamp>,
}

/// A returning author is asked for what it has under its id anew: what is kept there may not be what it wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Check {
    /// Ids that it may write under, and from which clock on it is asked.
    pub(super) clients: Vec<(ClientId, Clock)>,
    /// Those of which others brought content, and that it is asked about before it hears of that.
    pub(super) suspects: Vec<ClientId>,
    /// By which of the questions put to it.
    pub(super) question: u32,
    /// A client that has not answered by then never does.
    pub(super) until: Timestamp,
    /// Nothing waits for it any more: there was too much.
    pub(super) is_overrun: bool,
}

impl Held {
    /// Says whether it may still wait for its sender's check.
    fn may_wait_for_check(&self, now: Timestamp) -> bool {
        self.check_until.is_some_and(|until| now < until)
    }

    /// What trying it again costs, in microseconds.
    pub(super) fn price(&self) -> u32 {
        (3 + self.waiting.bytes.len() as u32 / 512).saturating_add(self.waiting.work)
    }
}

/// Updates that a member was told are refused.
///
/// A HocuspocusProvider takes a refusal for nothing: it goes on counting the update as unsaved until it hears that it is saved after
/// all, or asks (SyncStep1) and begins to count anew.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// With how many of them each one stands for.
    updates: Vec<(Bytes, u32)>,
    bytes: usize,
}

impl Refused {
    pub(super) fn add(&mut self, update: Bytes, count: u32) {
        if count == 0 || self.bytes + update.len() > REFUSED_BYTES_MAX {
            return;
        }
        self.bytes += update.len();
        self.updates.push((update, count));
        if self.updates.len() == REFUSED_UPDATES_MAX {
            let count = self.updates.iter().map(|(_, count)| count).sum();
            let updates: Vec<Bytes> =
                core::mem::take(&mut self.updates).into_iter().map(|(update, _)| update).collect();
            let joined = update::merge(&updates);
            self.bytes = joined.len();
            self.updates.push((joined, count));
        }
    }

    /// Forgets those that `is_known`, and says how many they were.
    pub(super) fn settle(&mut self, is_known: impl Fn(&Bytes) -> bool) -> u32 {
        let mut settled = 0;
        self.updates.retain(|(update, count)| {
            let is_known = is_known(update);
            if is_known {
                self.bytes -= update.len();
                settled += count;
            }
            !is_known
        });
        settled
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a member lacks whose outbox overflowed, as little as it takes: what that comes to is found out when its outbox is empty.
#[derive(Debug)]
pub(super) struct Lag {
    /// The first flush that it missed; 0 when it is to get everything.
    first_missed: FlushSeq,
    /// What it says that it has, when it said so meanwhile.
    says: Option<StateVector>,
    /// Overflows that no drain followed yet: an outbox may overflow again before the room hears that it was empty.
    overflows: u32,
}

/// One that says of more clients what it has, while it lags, gets everything.
const SAYS_CLIENTS_MAX: usize = 1024;

impl Lag {
    /// Of a member that missed this flush and all that follow; 0 for everything.
    pub(super) fn since(first_missed: FlushSeq) -> Lag {
        Lag { first_missed, says: None, overflows: 1 }
    }

    /// Its outbox overflowed again.
    pub(super) fn again(&mut self, first_missed: FlushSeq) {
        self.overflows += 1;
        self.first_missed = first_missed.min(self.first_missed);
    }

    /// It says that it has no more than `have`.
    pub(super) fn has_at_most(&mut self, have: &StateVector) {
        if have.len() > SAYS_CLIENTS_MAX {
            self.first_missed = 0;
        } else {
            self.says = Some(match self.says.take() {
                Some(before) => before.at_most(have),
                None => have.clone(),
            });
        }
    }

    /// Its outbox is empty. Says whether that is so still: it may have overflowed once more meanwhile and take nothing.
    pub(super) fn drained(&mut self) -> bool {
        self.overflows -= 1;
        self.overflows == 0
    }

    /// What it certainly has.
    pub(super) fn have(&self, journal: &FlushStarts, flush: &Flush, now: &StateVector) -> StateVector {
        if self.first_missed == 0 {
            return StateVector::default();
        }
        let mut have = journal.before(self.first_missed, now);
        flush.lower(&mut have);
        match &self.says {
            Some(says) => says.at_most(&have),
            None => have,
        }
    }
}

/// What the room knows about one session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) admission: Admission,
    pub(super) wants_acks: bool,
    /// Yjs 14 counts an edit as saved when it comes back; only its ids are longer than 32 bits.
    pub(super) wants_echo: bool,
    pub(super) dialect: Dialect,
    /// The id that its first single-entry awareness frame announced.
    pub(super) announced: Option<ClientId>,
    /// At which clock it announced that last.
    pub(super) announced_at: u32,
    /// Other ids under which it sent edits of its own, as far as can be told.
    pub(super) writes_as: Vec<ClientId>,
    /// From which clock on it brought what the document has of an id, before it took that for its own.
    pub(super) brought: Vec<(ClientId, Clock)>,
    /// Ids of its own that it wrote from the first clock on, or of which it has shown that it has what is kept.
    pub(super) proven: Vec<ClientId>,
    /// Ids of which it had something, but less than the document, when it asked last.
    pub(super) behind: Vec<ClientId>,
    /// Ids of which it has more than the document had when it asked first, and how much that was: until it answers, every question asks for
    /// that, since the first one may be lost.
    pub(super) ahead: Vec<(ClientId, Clock)>,
    /// Under way.
    pub(super) check: Option<Check>,
    /// Updates that wait for a SyncStatus until the check is done.
    pub(super) unchecked_acks: u32,
    /// Its question was answered with one before the state that it waits for.
    pub(super) is_asked: bool,
    /// SyncStep1 that were put to it, and SyncStep2 that came.
    pub(super) asks: u32,
    pub(super) answers: u32,
    /// It was shown what others wrote in its name.
    pub(super) heard_of_itself: bool,
    /// It was told that content of its own differs from what is kept.
    pub(super) is_warned: bool,
    /// It said what it has, and was asked whether that is what is kept.
    pub(super) is_compared: bool,
    /// Ids under which nothing more of it is taken, since it had something else than what is kept from a clock on: what it brings would
    /// continue something that nobody else has.
    pub(super) barred: Vec<(ClientId, Clock)>,
    /// It was told that it may write, or may not any more.
    pub(super) is_told: bool,
    /// Whether it has sent a SyncStep2. What it sends before that, it sends without having read anything.
    pub(super) has_answered: bool,
    /// Set while its outbox drains after an overflow.
    pub(super) lag: Option<Lag>,
    /// In the Hocuspocus dialect.
    pub(super) refused: Refused,
    pub(super) held: VecDeque<Held>,
    pub(super) held_bytes: usize,
    pub(super) held_overruns: u32,
    /// What of it did not fit.
    pub(super) unfit: Unfit,
    /// When it was last asked for what it has: an answer is on its way for a while.
    pub(super) asked_at: Option<Timestamp>,
    /// When it was last shown who is here because it asked.
    pub(super) shown_at: Option<Timestamp>,
    /// How many differences it waits for.
    pub(super) awaits: u32,
}

/// One session as an operator sees it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Which session.
    pub id: MemberId,
    /// Who, as far as verified, and as what.
    pub admission: Admission,
    /// The Yjs client ids that it owns.
    pub clients: Vec<ClientId>,
    /// Updates of it that wait behind a hole.
    pub held: usize,
    /// Whether it missed something and waits for one difference.
    pub is_lagging: bool,
}

impl Member {
    pub(super) fn view(&self, id: MemberId) -> MemberView {
        MemberView {
            id,
            admission: self.admission.clone(),
            clients: self.owns(),
            held: self.held.len(),
            is_lagging: self.lag.is_some(),
        }
    }

    /// Whether it may do that.
    pub(super) fn may(&self, wanted: Capabilities) -> bool {
        self.admission.access.may(wanted)
    }

    pub(super) fn new(joining: Joining) -> Member {
        Member {
            admission: joining.admission,
            wants_acks: joining.wants_acks,
            wants_echo: joining.wants_echo,
            dialect: joining.dialect,
            announced: None,
            announced_at: 0,
            writes_as: Vec::new(),
            brought: Vec::new(),
            proven: Vec::new(),
            behind: Vec::new(),
            ahead: Vec::new(),
            check: None,
            unchecked_acks: 0,
            is_asked: false,
            asks: 0,
            answers: 0,
            heard_of_itself: false,
            is_warned: false,
            is_compared: false,
            barred: Vec::new(),
            is_told: false,
            has_answered: false,
            lag: None,
            refused: Refused::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            held_overruns: 0,
            unfit: Unfit::default(),
            asked_at: None,
            shown_at: None,
            awaits: 0,
        }
    }

    /// The client ids that it takes for its own.
    pub(super) fn owns(&self) -> Vec<ClientId> {
        self.announced.into_iter().chain(self.writes_as.iter().copied()).collect()
    }

    /// Whether it takes `client` for its own.
    pub(super) fn is(&self, client: ClientId) -> bool {
        self.announced == Some(client) || self.writes_as.contains(&client)
    }

    /// It writes under one more id of its own, unless it has too many.
    pub(super) fn takes(&mut self, client: ClientId) -> bool {
        let has_room = self.writes_as.len() < WRITES_AS_MAX;
        if has_room {
            self.writes_as.push(client);
        }
        has_room
    }

    /// An id is its own as far as can be told: anybody can say so, but only its author wrote it from the first clock on, or knows what is
    /// kept under it last.
    pub(super) fn proves(&mut self, client: ClientId) {
        if self.is(client) && !self.proven.contains(&client) {
            self.proven.push(client);
        }
    }

    /// It brought what the document has of an id from `start` on.
    pub(super) fn brings(&mut self, client: ClientId, start: Clock) {
        let is_known = self.brought.iter().any(|(known, _)| *known == client);
        if !is_known && self.brought.len() < STRANGERS_MAX {
            self.brought.push((client, start));
        }
    }

    /// It says what it has, and the document knows `clocks`.
    pub(super) fn has(&mut self, have: &StateVector, clocks: &StateVector) {
        let behind = have.iter().filter(|(client, clock)| *clock < clocks.get(*client)).map(|(client, _)| client);
        self.behind = behind.take(STRANGERS_MAX + 1).collect();
        if !self.has_answered && self.ahead.is_empty() {
            let ahead = have.iter().filter(|(client, clock)| *clock > clocks.get(*client));
            self.ahead = ahead.map(|(client, _)| (client, clocks.get(client))).take(STRANGERS_MAX + 1).collect();
        }
    }

    /// What it is asked for, when the document has `clocks`.
    pub(super) fn asked_for(&self, clocks: &StateVector) -> Option<StateVector> {
        if self.ahead.len() > STRANGERS_MAX {
            return Some(StateVector::default());
        }
        let checked = self.check.iter().flat_map(|check| &check.clients);
        let mut lower =
            self.ahead.iter().chain(checked).filter(|(client, from)| *from < clocks.get(*client)).peekable();
        lower.peek()?;
        let mut clocks = clocks.clone();
        lower.for_each(|(client, from)| clocks.lower(*client, *from));
        Some(clocks)
    }

    /// An answer came from it.
    pub(super) fn answered(&mut self) {
        self.has_answered = true;
        self.ahead = Vec::new();
        self.answers = self.asks.min(self.answers + 1);
    }

    /// Whether it may have had less of `client` than the document.
    pub(super) fn was_behind(&self, client: ClientId) -> bool {
        self.behind.len() > STRANGERS_MAX || self.behind.contains(&client)
    }

    /// Whether it is asked for what it has of `client` at an earlier clock than `scan` begins with.
    pub(super) fn is_unproven(&self, client: ClientId, scan: &Scan) -> bool {
        let check = self.check.as_ref().filter(|check| !check.is_overrun);
        let asked = check.and_then(|check| check.clients.iter().find(|(other, _)| *other == client));
        asked.is_some_and(|(_, from)| !scan.spans.iter().any(|span| span.client == client && span.start <= *from))
    }

    /// Says whether an update that it brought waits until its own copy of the clocks before that is compared.
    pub(super) fn is_compared_before(&self, now: Timestamp, held: &Held) -> bool {
        self.check.is_some() && held.may_wait_for_check(now)
    }

    /// The updates that it brought, without those that wait for the comparison.
    pub(super) fn compared(&mut self, now: Timestamp) -> impl Iterator<Item = &mut Held> {
        let is_checked = self.check.is_some();
        self.held.iter_mut().filter(move |held| !(is_checked && held.may_wait_for_check(now)))
    }

    /// From `clock` on nothing is taken of it under `client`.
    pub(super) fn bar(&mut self, client: ClientId, clock: Clock) {
        if let Some((_, from)) = self.barred.iter_mut().find(|(other, _)| *other == client) {
            *from = clock.min(*from);
        } else if self.barred.len() < BARRED_MAX {
            self.barred.push((client, clock));
        }
    }

    /// Whether nothing is taken of it under `client`; under no id of one that had something else under very many.
    pub(super) fn bars(&self, client: ClientId) -> bool {
        self.barred.len() >= BARRED_MAX || self.barred.iter().any(|(barred, _)| *barred == client)
    }

    /// Whether what waits needs something that is not taken of it.
    pub(super) fn bars_held(&self, waiting: &update::Held, limits: &Limits) -> bool {
        !self.barred.is_empty()
            && (waiting.missing.iter().any(|(client, _)| self.bars(*client))
                || update::scan(&waiting.bytes, limits)
                    .is_ok_and(|scan| scan.spans.iter().any(|span| self.bars(span.client))))
    }

    /// Remembers an update that was refused, for which it expects so many acks.
    pub(super) fn counts_as_unsaved(&mut self, update: Bytes, acks: u32) {
        if self.dialect != Dialect::YWebsocket {
            self.refused.add(update, acks);
        }
    }

    /// Drops what was held as refused. Says how many acks its sender expects for it.
    pub(super) fn refuse_held(&mut self) -> u32 {
        let mut refused = 0;
        for held in self.take_held() {
            refused += held.acks;
            self.counts_as_unsaved(held.waiting.bytes, held.acks);
        }
        refused
    }

    /// Takes what was held out, to be tried again.
    pub(super) fn take_held(&mut self) -> VecDeque<Held> {
        self.held_bytes = 0;
        core::mem::take(&mut self.held)
    }
}
