//! What a room does about client ids, which nothing proves: authors are asked before others write in their names, those who come
//! back are asked for what is kept under theirs, and content that differs from what is kept is refused aloud.
//!
//! `docs/PROTOCOL.md`, "Client ids", has the rule; [`Owners`](super::awareness::Owners) keeps who is whose.

#[cfg(test)]
mod tests;

use super::awareness::ELSEWHERE_WAIT;
use super::editing::Attempt;
use super::effect::{Effect, Frame, FrameKind, REASON_DIFFERS, Report, WriteRefusal};
use super::input::{Dialect, Scanned};
use super::member::{Held, Member, ToAsk};
use super::{Room, Sender};
use crate::access::{Capabilities, Principal};
use crate::id::{ClientId, Clock, MemberId};
use crate::limits::authorship::{
    AUTHORS_MAX, DELETED_PASSED_IN_ALL_MAX, DELETED_PASSED_MAX, SET_ASIDE_MAX, SUSPECTS_MAX, UNKNOWN_CLOCKS_MAX,
    UNKNOWN_MAX,
};
use crate::log::{LogEntry, Source};
use crate::time::Timestamp;
use crate::update::{self, Accepted, ClockRange, Difference, Scan, StateVector};
use crate::wire::encode;
use bytes::Bytes;
use core::cmp::Ordering;
use core::time::Duration;
use std::collections::BTreeSet;

/// How long a client may take to answer what it is asked about its own id. Slow readers take long to come to the question.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// So many clocks of an id are compared that are not deleted: its last ones tell, since the first difference ends what is taken. One alone
/// may be alike by chance, as the end of a format is.
const LAST_CLOCKS: Clock = 8;

impl Room {
    /// A member took `client` for its own. If the document knows something of it that this session did not bring, somebody else may
    /// have written that in its name: it is asked for some of it again, to be compared.
    pub(super) fn claimed(&mut self, now: Timestamp, id: MemberId, client: ClientId, effects: &mut Vec<Effect>) {
        let known = self.document.clocks().get(client);
        let Some(member) = self.members.get_mut(&id) else { return };
        let brought = member.brought.iter().find(|(other, _)| *other == client).map(|(_, start)| *start);
        if brought.is_some() {
            self.owners.writes(client, id);
        }
        let start = brought.unwrap_or(known);
        if start == 0 || !member.may(Capabilities::WRITE) {
            return;
        }
        // The last clock tells: one who takes somebody's next clocks cannot know what that one writes under them. A client that had
        // less of its own id than the document has been given the rest by now, so it is asked for all.
        let proven_to = self.owners.proven_to(client).unwrap_or(start);
        let from = match member.was_behind(client) {
            true => 0,
            false => self.document.last_live(client, start.min(proven_to), LAST_CLOCKS, DELETED_PASSED_MAX),
        };
        let asked = member.check.as_ref().map_or(&[][..], |check| &check.clients);
        if asked.iter().any(|(other, asked)| *other == client && *asked <= from) {
            return;
        }
        self.check(now, id, &[(client, from)]);
        self.ask(id, effects);
    }

    /// With its next question a member is asked for what it has of these ids from these clocks on, to be compared.
    fn check(&mut self, now: Timestamp, id: MemberId, clients: &[(ClientId, Clock)]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let until = now + ANSWERS_WITHIN;
        let check = member.check.get_or_insert_default();
        for &(client, from) in clients {
            match check.clients.iter_mut().find(|(other, _)| *other == client) {
                Some((_, asked)) => *asked = from.min(*asked),
                None => check.clients.push((client, from)),
            }
        }
        (check.question, check.until) = (member.asks + 1, until);
        self.checks.push_back((until, id));
    }

    /// A member says what it has. An id under which it writes need not be the one that it announces: a client that has heard of itself
    /// takes another one, and some announce none. So it is asked for the last that it has of those under which somebody else
    /// may have written what is kept. Says whether there are any.
    pub(super) fn check_what_it_has(&mut self, now: Timestamp, id: MemberId, have: &StateVector) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if !member.may(Capabilities::WRITE) || core::mem::replace(&mut member.is_compared, true) {
            return false;
        }
        let known = self.document.clocks();
        let (mut suspects, mut unknown) = (Vec::new(), Vec::new());
        for (client, clock) in have.iter() {
            let kept = known.get(client);
            let is_own = member.brought.contains(&(client, 0));
            if kept == 0 || clock == 0 || is_own {
                continue;
            }
            let end = clock.min(kept).min(self.owners.proven_to(client).unwrap_or(kept));
            // Ids of which it has more come first: it goes on from there. Ids of which both have as much come last.
            let rank = match clock.cmp(&kept) {
                Ordering::Greater => 0,
                Ordering::Less => 1,
                Ordering::Equal => 2,
            };
            let came_from_author = self.owners.came_from_author(client);
            if came_from_author == Some(false) {
                suspects.push((rank, kept, client, end));
            } else {
                // Of what came from its author, too: its user may have two devices with one id.
                unknown.push((rank, came_from_author.is_some(), kept, client, end));
            }
        }
        // Of each kind first what is read fast.
        suspects.sort_unstable();
        unknown.sort_unstable();
        let more = suspects.split_off(suspects.len().min(SUSPECTS_MAX));
        let suspects = suspects.into_iter().map(|(.., client, end)| (client, end, true));
        let mut clocks: Clock = 0;
        let more = more.into_iter().map(|(_, kept, client, end)| (kept, client, end, true));
        let others = more.chain(unknown.into_iter().map(|(.., kept, client, end)| (kept, client, end, false)));
        let others = others.take(UNKNOWN_MAX).take_while(|(kept, ..)| {
            clocks = clocks.saturating_add(*kept);
            clocks <= UNKNOWN_CLOCKS_MAX
        });
        let mut left = DELETED_PASSED_IN_ALL_MAX;
        let (mut asked, mut brought_by_others) = (Vec::new(), Vec::new());
        for (client, end, is_suspect) in
            suspects.chain(others.map(|(_, client, end, is_suspect)| (client, end, is_suspect)))
        {
            let from = self.document.last_live(client, end, LAST_CLOCKS, left.min(DELETED_PASSED_MAX));
            left -= (end - from).saturating_sub(LAST_CLOCKS);
            asked.push((client, from));
            if is_suspect {
                brought_by_others.push(client);
            }
        }
        if asked.is_empty() {
            return false;
        }
        self.check(now, id, &asked);
        if let Some(check) = self.members.get_mut(&id).and_then(|member| member.check.as_mut()) {
            check.suspects = brought_by_others;
        }
        true
    }

    /// A member answered; `is_checked`: with what it was asked for again, which was compared.
    pub(super) fn check_answered(&mut self, now: Timestamp, id: MemberId, is_checked: bool, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let answers = member.answers;
        let Some(check) = member.check.as_mut().filter(|check| is_checked || answers >= check.question) else { return };
        if !is_checked && check.clients.iter().any(|(_, from)| *from > 0) {
            // It has nothing at that clock: less than is kept in its name.
            let clients: Vec<(ClientId, Clock)> = check.clients.iter().map(|(client, _)| (*client, 0)).collect();
            self.check(now, id, &clients);
            self.ask(id, effects);
            return;
        }
        if is_checked {
            let checked = core::mem::take(&mut check.clients);
            let is_kept = |client| !member.bars(client);
            let kept: Vec<(ClientId, Clock)> = checked.into_iter().filter(|(client, _)| is_kept(*client)).collect();
            for (client, from) in kept {
                member.proves(client);
                self.owners.proved(client, from, id);
            }
        }
        self.end_check(id, effects);
    }

    fn end_check(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.check = None;
        let acks = core::mem::take(&mut member.unchecked_acks);
        self.wait_for_durable(Sender::Member(id), acks, effects);
    }

    /// Ends the checks of clients that do not answer: they have nothing that this session did not bring.
    pub(super) fn end_checks(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut has_ended = false;
        while let Some(&(until, id)) = self.checks.front()
            && now >= until
        {
            self.checks.pop_front();
            let check = self.members.get(&id).and_then(|member| member.check.as_ref());
            if check.is_some_and(|check| now >= check.until) {
                self.end_check(id, effects);
                has_ended = true;
            }
        }
        if has_ended {
            self.retry_held(now, effects);
        }
    }

    /// When [`Room::end_checks`] has something to do.
    pub(super) fn checks_until(&self) -> Option<Timestamp> {
        self.checks.front().map(|(until, _)| *until)
    }

    /// A member brought something new.
    pub(super) fn delivered(
        &mut self,
        now: Timestamp,
        id: MemberId,
        is_update: bool,
        accepted: &Accepted,
        came_deleted: &[(ClientId, ClockRange)],
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let spans = &accepted.scan.spans;
        let mut claimed = None;
        // A session that announces an id writes under another one only if its client has heard of itself by somebody else.
        let may_differ = member.announced.is_none_or(|own| {
            self.document.clocks().get(own) > 0 && self.owners.author(own) != Some(id) || member.heard_of_itself
        });
        if let (true, [span]) = (is_update, spans.as_slice())
            && may_differ
            && !member.is(span.client)
            && self.owners.speaker(span.client).is_none()
            && self.owners.author(span.client).is_none()
        {
            // A live edit, and nobody else says that it is its own.
            member.brings(span.client, span.start);
            claimed = member.takes(span.client).then_some(span.client);
        }
        for &(client, range) in came_deleted {
            self.owners.hidden_mut().hide(client, range, id);
        }
        for span in spans.iter().filter(|span| member.is_unproven(span.client, &accepted.scan)) {
            self.owners.continued(span.client, span.start, id);
        }
        for span in spans {
            if span.start == 0 {
                member.proves(span.client);
            }
            self.owners.came(span.client, span.start, member.proven.contains(&span.client));
            if member.is(span.client) {
                let is_sure = member.announced == Some(span.client) || self.owners.author(span.client).is_none();
                if is_sure {
                    self.owners.writes(span.client, id);
                }
            } else {
                member.brings(span.client, span.start);
                // Its author was shown it, so it writes under another id from here on; if it does not, it is the author again.
                self.owners.withdraw(span.client);
            }
        }
        if let Some(client) = claimed {
            self.claimed(now, id, client, effects);
        }
    }

    /// Where an update differs from what is kept under the same clocks.
    ///
    /// Content that came deleted, and not from its author, may have been deleted by somebody who had heard of it, or it was forged. An
    /// author that comes back with that content is told that it is not kept, and so is one that has fewer clocks than are kept.
    pub(super) fn differences(&mut self, answerer: Option<MemberId>, update: &Bytes, scan: &Scan) -> Vec<Difference> {
        if !update::is_repeated(scan, self.document.clocks()) {
            return Vec::new();
        }
        let ends_before = |span: &&update::Span| span.end < self.document.clocks().get(span.client);
        let fewer: BTreeSet<ClientId> = scan.spans.iter().filter(ends_before).map(|span| span.client).collect();
        let (members, owners) = (&self.members, &self.owners);
        let never_seen = |client, range| {
            let member = members.get(&answerer?)?;
            let is_forged = member.is(client) && (member.was_behind(client) || fewer.contains(&client));
            let may_be_own = member.announced.is_none_or(|own| own == client);
            let is_suspect = member.check.as_ref().is_some_and(|check| check.suspects.contains(&client));
            (is_forged || is_suspect && may_be_own)
                .then(|| owners.hidden().first_within(client, range, answerer?))
                .flatten()
        };
        self.document.differences(update, scan, never_seen)
    }

    /// Whether an update holds something under an id of which its sender had something else before: what is deleted there by now is
    /// not what it wrote.
    pub(super) fn differed_before(&self, id: MemberId, scan: &Scan) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let is_barred = |span: &update::Span| {
            member.barred.iter().any(|(client, clock)| *client == span.client && *clock < span.end)
        };
        scan.spans.iter().any(is_barred)
    }

    /// Tells the sender of an update that differs from what is kept that it is not saved, and sets it aside. What is new in it can be
    /// taken all the same.
    pub(super) fn refuse_different(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        update: &Bytes,
        acks: u32,
        differences: &[Difference],
        effects: &mut Vec<Effect>,
    ) {
        self.put_aside(now, sender, update, effects);
        match sender {
            Sender::Request(request, _) => {
                effects.push(Effect::Answer { request, result: Err(WriteRefusal::Differs) });
            }
            Sender::Member(id) => self.tell_differs(id, acks, differences, effects),
        }
    }

    fn put_aside(&mut self, now: Timestamp, sender: Sender<'_>, update: &Bytes, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Report::Differs));
        if self.set_aside < SET_ASIDE_MAX {
            self.set_aside += 1;
            let (author, session, source) = self.author_of(sender);
            let entry = LogEntry { at: now, author, session, source, update: update.clone() };
            effects.push(Effect::SetAside { entry, why: REASON_DIFFERS });
        }
    }

    /// Tells a session that what it brought continues something that only it has. It is not remembered as refused: others may bring
    /// something else under its clocks.
    pub(super) fn refuse_barred(
        &mut self,
        now: Timestamp,
        id: MemberId,
        waiting: &update::Held,
        acks: u32,
        effects: &mut Vec<Effect>,
    ) {
        self.put_aside(now, Sender::Member(id), &waiting.bytes, effects);
        self.ack(id, false, acks, effects);
    }

    fn tell_differs(&mut self, id: MemberId, acks: u32, differences: &[Difference], effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let unchecked = core::mem::take(&mut member.unchecked_acks);
        // Its provider counts what it was not told of as unsaved. If this answers out of turn, the provider does not count on an ack for
        // it, so one of those that wait tells it.
        let is_out_of_turn = member.dialect != Dialect::YWebsocket && acks == 0;
        let acks = if is_out_of_turn { 1 } else { acks };
        self.wait_for_durable(Sender::Member(id), unchecked.saturating_sub(u32::from(is_out_of_turn)), effects);
        self.warn_once(id, REASON_DIFFERS, effects);
        let Some(member) = self.members.get_mut(&id) else { return };
        for difference in differences.iter().filter(|difference| !difference.is_deleted) {
            member.bar(difference.client, difference.clock);
        }
        // What waits and continues that is not taken any more.
        let mut refused = acks;
        for held in member.take_held() {
            if member.bars_held(&held.waiting, &self.limits) {
                refused += held.acks;
            } else {
                member.held_bytes += held.waiting.memory();
                member.held.push_back(held);
            }
        }
        self.count_held();
        self.ack(id, false, refused, effects);
        // What came deleted is gone for all others: its author sees that, too.
        let mut gone = update::DeleteSet::default();
        for difference in differences.iter().filter(|difference| difference.is_deleted) {
            gone.union(&self.owners.hidden().all(difference.client, id));
        }
        if !gone.is_empty() {
            let mut deletions = vec![0];
            gone.encode_into(&mut deletions);
            let frame = Frame { bytes: encode::update(&deletions), kind: FrameKind::Notice };
            effects.push(Effect::Send { to: id, frame });
        }
    }

    /// Tells a session of the dialect that counts nothing that something of it is not saved.
    pub(super) fn warn_once(&mut self, id: MemberId, why: &str, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id).filter(|member| member.dialect == Dialect::YWebsocket) else {
            return;
        };
        if !core::mem::replace(&mut member.is_warned, true) {
            warn(id, why, effects);
        }
    }

    /// Who wrote an update, for the log.
    pub(super) fn author_of(&self, sender: Sender<'_>) -> (Option<std::sync::Arc<str>>, u64, Source) {
        match sender {
            Sender::Member(id) => {
                let author = self.members.get(&id).map(|member| &member.admission.principal);
                (author.and_then(Principal::author), id.0, Source::Socket)
            }
            Sender::Request(_, author) => (author.principal.author(), 0, Source::Rest),
        }
    }

    /// Which authors are to be asked about an update that `sender` brought, and until when it waits for another node.
    pub(super) fn whom_to_ask(
        &self,
        now: Timestamp,
        sender: MemberId,
        waiting: &update::Held,
    ) -> (Vec<ToAsk>, Option<Timestamp>) {
        let Ok(scan) = update::scan(&waiting.bytes, &self.limits) else { return (Vec::new(), None) };
        let mut authors = Vec::new();
        let mut is_elsewhere = false;
        for span in &scan.spans {
            match self.owners.author(span.client) {
                Some(author) if author != sender => authors.push((author, None)),
                Some(_) => {}
                None => is_elsewhere |= self.presence.is_elsewhere(span.client),
            }
        }
        authors.sort_unstable();
        authors.dedup();
        if authors.len() > AUTHORS_MAX {
            authors.clear();
        }
        (authors, is_elsewhere.then(|| now + ELSEWHERE_WAIT))
    }

    /// Whether everybody who is to be asked about what is held has answered, or is gone.
    pub(super) fn is_released(&self, now: Timestamp, member: &Member, held: &Held) -> bool {
        held.waiting.why == update::HeldWhy::Author
            && !member.is_compared_before(now, held)
            && held.elsewhere_until.is_none_or(|until| now >= until)
            && held.authors.iter().all(|&(author, question)| match question {
                _ if !self.members.contains_key(&author) => true,
                Some(number) => self.owners.is_settled(author, number),
                None => false,
            })
    }

    /// Shows authors the first of what others wrote in their names, and asks them what they have: their own comes first, and a Yjs client that
    /// receives something in its own name takes another id for what it writes from then on. Its answer tells that it has.
    pub(super) fn ask_authors(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.withheld == 0 {
            return;
        }
        // Of what is compared first, nothing is shown: it may continue something that nobody else has, and an author that took it in could
        // not place it.
        let mut to_ask: Vec<MemberId> = self
            .members
            .values()
            .flat_map(|member| member.held.iter().filter(move |held| !member.is_compared_before(now, held)))
            .flat_map(|held| &held.authors)
            .filter(|(author, question)| question.is_none() && self.owners.may_ask(now, *author))
            .map(|(author, _)| *author)
            .filter(|author| self.members.contains_key(author))
            .collect();
        to_ask.sort_unstable();
        to_ask.dedup();
        if to_ask.is_empty() {
            return;
        }
        // What it refers to is to be there before it.
        self.flush(now, effects);
        for author in to_ask {
            let Some(member) = self.members.get_mut(&author) else { continue };
            member.heard_of_itself = true;
            let number = member.asks + 1;
            let mut shown = Vec::new();
            for held in self.members.values_mut().flat_map(|member| member.compared(now)) {
                for (of, question) in &mut held.authors {
                    if *of == author && question.is_none() {
                        *question = Some(number);
                        // Its first clock is enough. The rest would be put behind what the author has of its own and nobody else has
                        // yet. And what is no sound continuation is nothing to show: it may be refused later, or end a client.
                        let Ok(scan) = update::scan(&held.waiting.bytes, &self.limits) else { continue };
                        let is_wanted = |client| self.owners.author(client) == Some(author);
                        let first = update::first_clocks(&held.waiting.bytes, &scan, is_wanted);
                        shown.extend(first.filter(|first| self.document.would_admit(first, &self.limits)));
                    }
                }
            }
            if !shown.is_empty() {
                let bytes = encode::update(&update::merge(&shown));
                effects.push(Effect::Send { to: author, frame: Frame { bytes, kind: FrameKind::Notice } });
            }
            self.ask(author, effects);
            self.owners.asked(now, author, number);
        }
    }

    /// Takes what waits for authors that do not answer, or for another node that does not bring it.
    pub(super) fn give_up_on_silent_authors(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.withheld_until().is_none_or(|due| now < due) {
            return;
        }
        for held in self.members.values_mut().flat_map(|member| &mut member.held) {
            held.elsewhere_until = held.elsewhere_until.filter(|until| now < *until);
            held.check_until = held.check_until.filter(|until| now < *until);
        }
        for author in self.owners.give_up(now) {
            if let Some(member) = self.members.get_mut(&author) {
                member.answers = member.asks;
            }
        }
        self.owners.forget_settled(now);
        self.retry_held(now, effects);
    }

    /// When [`Room::give_up_on_silent_authors`] may have something to do.
    pub(super) fn withheld_until(&self) -> Option<Timestamp> {
        if self.withheld == 0 {
            return None;
        }
        let held = self.members.values().flat_map(|member| &member.held);
        let until = held.flat_map(|held| [held.elsewhere_until, held.check_until]).flatten().min();
        self.owners.next_timeout().into_iter().chain(until).min()
    }

    /// Takes what a member that leaves brought in the names of others, and that waits for them: it cannot bring it again.
    pub(super) fn take_withheld_of(&mut self, now: Timestamp, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut progressed = false;
        for held in member.take_held() {
            if held.waiting.why == update::HeldWhy::Author
                && let Ok(scan) = update::scan(&held.waiting.bytes, &self.limits)
            {
                let scanned = Scanned { update: held.waiting.bytes, scan, frame: None };
                progressed |= self.offer(now, Sender::Member(id), scanned, 0, Attempt::Released, effects);
            }
        }
        self.count_held();
        if progressed {
            self.retry_held(now, effects);
        }
    }
}

/// Tells a session without a message for it that something of it is not saved.
pub(super) fn warn(to: MemberId, why: &str, effects: &mut Vec<Effect>) {
    let frame = Frame { bytes: encode::permission_denied(why), kind: FrameKind::Notice };
    effects.push(Effect::Send { to, frame });
}
