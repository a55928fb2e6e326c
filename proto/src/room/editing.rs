//! What members and requests write: how an update is offered to the document, and what becomes of it.
//!
//! It is taken, as far as it is new; or it waits behind a hole, or for the author in whose name it was written; or it is refused, and
//! its sender hears that. Whose a client id is, is for [`super::authorship`] to find out.

use super::effect::{Effect, Frame, FrameKind, LimitReached, Report, WriteRefusal};
use super::input::{RequestId, Scanned};
use super::member::{Held, Member, ToAsk};
use super::saving::{Unsaved, Waiting};
use super::{Room, Sender};
use crate::access::{Admission, Capabilities};
use crate::id::MemberId;
use crate::log::LogEntry;
use crate::time::Timestamp;
use crate::update::{self, HeldWhy, Scan, Source as Trust};
use crate::wire::close::CloseCode;
use crate::wire::encode;
use bytes::Bytes;
use core::time::Duration;

/// What is said to whom waited too long for what its edits build on.
const HELD_EXPIRED: &str = "edits that build on content which is not here are not saved";
/// How long an answer to a question for missing content may take before the question is put again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long structs wait for their sender to say whether it has what is kept before them. Slow readers take longer.
const CHECKED_WITHIN: Duration = Duration::from_secs(1);
/// A document has at most so many ranges of what is deleted as its limit has bytes, divided by this: each takes some bytes itself.
const BYTES_PER_DELETION: usize = 8;

/// So many held updates are looked at in a microsecond, to find out which may get further.
const HELD_LOOKED_AT: u32 = 4;
/// How long a room may be busy with what is held: microseconds at once, and per second.
pub(super) const RETRIES_BURST: u32 = 200_000;
pub(super) const RETRIES_PER_SECOND: u32 = 100_000;

/// How often an update was offered.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It has just come.
    First,
    /// It was held, and is not to be forgotten again.
    Again { since: Timestamp, authors: Vec<ToAsk>, elsewhere_until: Option<Timestamp> },
    /// It was held until the authors were asked in whose name it was written.
    Released,
}

impl Attempt {
    fn is_released(&self) -> bool {
        matches!(self, Attempt::Released)
    }
}

impl Room {
    pub(super) fn update(
        &mut self,
        now: Timestamp,
        id: MemberId,
        scanned: Scanned,
        acks: u32,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let is_answer = scanned.frame.is_none();
        if is_answer {
            member.answered();
            self.owners.answered(id, member.answers);
        }
        if !member.may(Capabilities::WRITE) {
            self.read_only(id, &scanned, acks, effects);
            return;
        }
        if self.ended.is_brought(&scanned.scan, self.document.clocks()) {
            self.expel(now, id, CloseCode::StaleCopy, effects);
            return;
        }
        if scanned.scan.spans.iter().any(|span| span.client > u64::from(u32::MAX)) {
            member.wants_echo = true;
        }
        let spans = &scanned.scan.spans;
        let reaches_back =
            |&(client, from): &(_, _)| spans.iter().any(|span| span.client == client && span.start <= from);
        let is_checked = member.check.as_ref().is_some_and(|check| check.clients.iter().all(reaches_back));
        let progressed = self.offer(now, Sender::Member(id), scanned, acks, Attempt::First, effects);
        if is_answer {
            self.settle_refused(id, effects);
            self.check_answered(now, id, is_checked, effects);
        }
        if progressed || is_answer {
            self.retry_held(now, effects);
        }
        self.retry_held_later(now, effects);
    }

    /// Offers an update to the document and settles what comes of it.
    pub(super) fn offer(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        scanned: Scanned,
        acks: u32,
        attempt: Attempt,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Scanned { update, scan, frame } = scanned;
        let id = match sender {
            Sender::Member(id) => Some(id),
            Sender::Request(..) => None,
        };
        if let Some(limit) = self.is_too_much(&update, &scan) {
            self.make_room(now, scan.struct_bytes());
            self.refuse(sender, update, acks, limit, effects);
            return false;
        }
        if matches!(attempt, Attempt::First) {
            let price = price(&update, &scan);
            self.grown = self.grown.saturating_add(price);
            self.allowance = self.allowance.saturating_sub(price);
        }
        let is_update_frame = frame.is_some();
        let differences = self.differences(id.filter(|_| !is_update_frame), &update, &scan);
        let differs = !differences.is_empty();
        if differs {
            self.refuse_different(now, sender, &update, acks, &differences, effects);
            if id.is_none() {
                return false;
            }
        }
        let mut acks = if differs { 0 } else { acks };
        if let Some(id) = id.filter(|id| !differs && self.differed_before(*id, &scan)) {
            // Not to be remembered as refused: its clocks are known, and it is not saved all the same.
            self.ack(id, false, acks, effects);
            acks = 0;
        }
        let trust = if is_update_frame { Trust::Update } else { Trust::SyncStep2 };
        let (owners, presence) = (&self.owners, &self.presence);
        let member = id.and_then(|id| self.members.get(&id));
        let is_withheld = |client| {
            let waits_for_author = || match owners.author(client) {
                Some(author) => Some(author) != id,
                None => presence.is_elsewhere(client),
            };
            member.is_some_and(|member| {
                member.bars(client)
                    || !attempt.is_released() && (member.is_unproven(client, &scan) || waits_for_author())
            })
        };
        let admission = self.document.admit(&update, &scan, trust, is_withheld, &self.limits);
        let progressed = admission.accepted.is_some();
        if admission.accepted.as_ref().is_some_and(|accepted| accepted.scan.delete_ranges > 0) {
            self.make_room(now, 0);
        }
        if let Some(accepted) = admission.accepted {
            if let Some(member) = id.and_then(|id| self.members.get_mut(&id)).filter(|_| !is_update_frame) {
                member.unfit.is_over();
            }
            let by_rest = matches!(sender, Sender::Request(..));
            effects.push(Effect::Report(Report::Accepted { by_rest, by_step2: !is_update_frame }));
            let verbatim = accepted.bytes.as_ptr() == update.as_ptr() && accepted.bytes.len() == update.len();
            let frame = frame.filter(|_| verbatim);
            let starts = || accepted.scan.spans.iter().map(|span| (span.client, span.start));
            self.flush.collect(now, id, accepted.clone(), frame);
            self.company.wrote(&accepted.bytes);
            let (author, session, source) = self.author_of(sender);
            let echo_to = id.filter(|id| self.members.get(id).is_some_and(|member| member.wants_echo));
            let entry = LogEntry { at: now, author, session, source, update: accepted.bytes.clone() };
            if self.saving.add(
                Unsaved { entry, echo_to },
                starts(),
                self.document.clocks(),
                self.limits.unsaved_bytes_max,
            ) {
                effects.push(Effect::Report(Report::Diverged));
            }
            if let Some(id) = id {
                self.delivered(now, id, is_update_frame, &accepted, &admission.deleted, effects);
            }
            self.revive(now);
        }
        if let Some(refusal) = admission.refused {
            self.refuse(sender, update, acks, refusal.into(), effects);
        } else if let Some(held) = admission.held.filter(|_| !differs) {
            let barred =
                id.filter(|id| self.members.get(id).is_some_and(|member| member.bars_held(&held, &self.limits)));
            match barred {
                Some(id) => self.refuse_barred(now, id, &held, acks, effects),
                None => self.hold(now, sender, held, acks, attempt, effects),
            }
        } else {
            self.vouch_for(now, sender, &update, &scan, is_update_frame, effects);
            self.wait_for_durable(sender, acks, effects);
        }
        progressed
    }

    /// Which limit an update would break.
    ///
    /// A document at its limit still takes what is deleted from it: that makes room. What is deleted already takes room, too, which is
    /// counted apart; beyond, deletions are taken as long as they do not scatter over a document that has very many already.
    fn is_too_much(&self, update: &Bytes, scan: &Scan) -> Option<LimitReached> {
        let limit = self.limits.document_bytes_max;
        let (live, dead) = (self.document.live_bytes(), self.document.dead_bytes());
        if let Some(exceeded) = self.not_to_begin.filter(|_| !self.has_content() && scan.structs > 0) {
            return Some(LimitReached::Dashboards(exceeded));
        }
        let is_dear = price(update, scan) > self.allowance;
        if is_dear && self.document.lacks_structs(scan) && !self.document.contains(update, scan) {
            return Some(LimitReached::Memory);
        }
        if live + scan.struct_bytes() <= limit && dead <= limit {
            return None;
        }
        let scatters = dead > limit && self.document.scatters(update, scan, limit / BYTES_PER_DELETION);
        if !scatters && !self.document.lacks_structs(scan) {
            return None;
        }
        // A SyncStep2 repeats all deletions: it may hold nothing new.
        let is_known = self.document.contains(update, scan);
        (!is_known).then_some(if dead > limit { LimitReached::DeletedBytes } else { LimitReached::DocumentBytes })
    }

    pub(super) fn refuse(
        &mut self,
        sender: Sender<'_>,
        update: Bytes,
        acks: u32,
        limit: LimitReached,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Report(Report::Limit(limit)));
        match sender {
            Sender::Member(id) => {
                if matches!(
                    limit,
                    LimitReached::DocumentBytes
                        | LimitReached::DeletedBytes
                        | LimitReached::Memory
                        | LimitReached::Dashboards(_)
                ) {
                    self.does_not_fit(id, limit, update.len(), effects);
                }
                if limit == LimitReached::Content {
                    self.warn_once(id, &limit.to_string(), effects);
                }
                self.reject(id, update, acks, effects);
            }
            Sender::Request(request, _) => {
                effects.push(Effect::Answer { request, result: Err(WriteRefusal::Limit(limit)) });
            }
        }
    }

    /// Tells the sender when all that it sent is durable; at once, when it is so already.
    pub(super) fn wait_for_durable(&mut self, sender: Sender<'_>, acks: u32, effects: &mut Vec<Effect>) {
        match sender {
            Sender::Member(id) => {
                let Some(member) = self.members.get_mut(&id).filter(|member| member.wants_acks && acks > 0) else {
                    return;
                };
                if member.check.is_some() {
                    // What it has under its own id may not be what is kept: nothing is called saved before that is known.
                    member.unchecked_acks += acks;
                    return;
                }
                if self.saving.when_durable(Waiting::Member(id, acks)) {
                    self.ack(id, true, acks, effects);
                }
            }
            Sender::Request(request, _) => {
                if self.saving.when_durable(Waiting::Request(request)) {
                    effects.push(Effect::Answer { request, result: Ok(()) });
                }
            }
        }
    }

    pub(super) fn ack(&self, id: MemberId, saved: bool, count: u32, effects: &mut Vec<Effect>) {
        if count > 0 && self.members.get(&id).is_some_and(|member| member.wants_acks) {
            effects.push(Effect::Ack { to: id, saved, count });
        }
    }

    /// Tells a member that an update was not taken.
    fn reject(&mut self, id: MemberId, update: Bytes, acks: u32, effects: &mut Vec<Effect>) {
        self.ack(id, false, acks, effects);
        if let Some(member) = self.members.get_mut(&id) {
            member.counts_as_unsaved(update, acks);
        }
    }

    /// What was refused may have come with an answer: then its sender is told once more, when it is durable.
    fn settle_refused(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let (document, limits) = (&self.document, &self.limits);
        let is_known = |update: &Bytes| update::scan(update, limits).is_ok_and(|scan| document.contains(update, &scan));
        let settled = member.refused.settle(is_known);
        self.wait_for_durable(Sender::Member(id), settled, effects);
    }

    /// What a viewer sends is dropped, never punished: stock clients answer every SyncStep1 with a SyncStep2.
    pub(super) fn read_only(&mut self, id: MemberId, scanned: &Scanned, acks: u32, effects: &mut Vec<Effect>) {
        let is_known = scanned.frame.is_none()
            && self.document.contains(&scanned.update, &scanned.scan)
            && self.differences(Some(id), &scanned.update, &scanned.scan).is_empty();
        if is_known {
            self.wait_for_durable(Sender::Member(id), acks, effects);
        } else {
            effects.push(Effect::Report(Report::ReadOnly));
            self.reject(id, scanned.update.clone(), acks, effects);
        }
    }

    /// What a member sent while it might still edit, and what waits to be taken, is not taken any more.
    pub(super) fn let_go_of_held(&mut self, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let refused = member.refuse_held();
        self.count_held();
        self.ack(id, false, refused, effects);
    }

    /// Asks for other tokens in time, and ends those who have none.
    pub(super) fn end_terms(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for member in self.terms.asked(now) {
            let frame = Frame { bytes: encode::ask_token(), kind: FrameKind::Notice };
            effects.push(Effect::Send { to: member, frame });
        }
        for member in self.terms.ended(now) {
            effects.push(Effect::Close { member, code: CloseCode::Expired });
        }
    }

    /// Keeps what lies behind a hole, and asks the sender for what is missing; or what an author is to be asked about first.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        waiting: update::Held,
        acks: u32,
        attempt: Attempt,
        effects: &mut Vec<Effect>,
    ) {
        let is_withheld = waiting.why == HeldWhy::Author;
        let id = match sender {
            Sender::Member(id) => id,
            Sender::Request(request, _) => {
                effects.push(Effect::Answer { request, result: Err(WriteRefusal::Hole) });
                return;
            }
        };
        let is_first = matches!(attempt, Attempt::First);
        if is_first {
            effects.push(Effect::Report(if is_withheld { Report::Withheld } else { Report::Held }));
        }
        let is_fresh = !matches!(attempt, Attempt::Again { .. });
        let (since, authors, elsewhere_until) = match attempt {
            Attempt::First if is_withheld => {
                let (authors, elsewhere_until) = self.whom_to_ask(now, id, &waiting);
                (now, authors, elsewhere_until)
            }
            Attempt::First | Attempt::Released => (now, Vec::new(), None),
            Attempt::Again { since, authors, .. } if is_withheld && authors.is_empty() => {
                let (authors, elsewhere_until) = self.whom_to_ask(now, id, &waiting);
                (since, authors, elsewhere_until)
            }
            Attempt::Again { since, authors, elsewhere_until } => (since, authors, elsewhere_until),
        };
        let Some(member) = self.members.get_mut(&id) else { return };
        let (bytes, work) = (waiting.memory(), waiting.work);
        // A single one may be as large as a message.
        let has_room = member.held.len() < self.limits.held_updates_max
            && work <= self.limits.held_work_max
            && member.held_bytes + bytes <= self.limits.held_bytes_max.max(bytes);
        if !has_room && is_first {
            // Nothing is lost: the sender still has it, and is asked for all that is missing here.
            member.held_overruns += u32::from(!member.unfit.is_any());
            let pause = if member.unfit.is_any() { member.unfit.pause(ASK_AGAIN) } else { Duration::ZERO };
            let is_asked = member.asked_at.is_none_or(|at| now.since(at) >= pause);
            let refused = acks + member.refuse_held();
            member.counts_as_unsaved(waiting.bytes, acks);
            if is_asked {
                member.asked_at = Some(now);
            }
            let ends = member.held_overruns > self.limits.held_overruns_max;
            effects.push(Effect::Report(Report::HeldExpired));
            self.count_held();
            self.ack(id, false, refused, effects);
            if ends {
                effects.push(Effect::Close { member: id, code: CloseCode::HeldOverrun });
            } else if is_asked {
                self.ask(id, effects);
            }
            return;
        }
        member.held_bytes += bytes;
        let check_until = member.check.as_ref().filter(|_| is_withheld).map(|_| since + CHECKED_WITHIN);
        // It may wait once more for an author: not for a time that has passed.
        let check_until = check_until.filter(|until| now < *until);
        member.held.push_back(Held { waiting, since, acks, authors, elsewhere_until, check_until });
        self.held += 1;
        self.held_work = self.held_work.saturating_add(work);
        let is_much =
            member.held.len() * 2 > self.limits.held_updates_max || member.held_bytes * 2 > self.limits.held_bytes_max;
        if let Some(check) = member.check.as_mut().filter(|check| is_much && !check.is_overrun) {
            // Beyond the bounds all of it would be refused.
            check.is_overrun = true;
            member.held.iter_mut().for_each(|held| held.check_until = None);
            self.retry_held_at = Some(now);
        }
        if is_withheld {
            self.withheld += 1;
            self.ask_authors(now, effects);
        } else if is_fresh && member.asked_at.is_none_or(|at| now.since(at) >= member.unfit.pause(ASK_AGAIN)) {
            member.asked_at = Some(now);
            self.ask(id, effects);
        }
    }

    /// Offers again what is held and may get further: the document grew, or an author was heard or is gone.
    ///
    /// To look for it, and to go through it, takes time, which is bounded: what there is no time for waits until there is.
    pub(super) fn retry_held(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while self.held > 0 {
            if !self.may_spend(now, self.held as u32 / HELD_LOOKED_AT) {
                break;
            }
            let mut progressed = false;
            let may_move = |member: &Member, held: &Held| {
                self.document.resolves(&held.waiting) || self.is_released(now, member, held)
            };
            let waiting: Vec<MemberId> = self
                .members
                .iter()
                .filter(|(_, member)| member.held.iter().any(|held| may_move(member, held)))
                .map(|(&id, _)| id)
                .collect();
            for id in waiting {
                let Some(member) = self.members.get_mut(&id) else { continue };
                for held in member.take_held() {
                    let is_released = self.members.get(&id).is_some_and(|member| self.is_released(now, member, &held));
                    let may_move = is_released || self.document.resolves(&held.waiting);
                    if !may_move || !self.may_spend(now, held.price()) {
                        self.keep_holding(id, held);
                        continue;
                    }
                    let Ok(scan) = update::scan(&held.waiting.bytes, &self.limits) else { continue };
                    let attempt = match is_released {
                        true => Attempt::Released,
                        false => {
                            let Held { since, authors, elsewhere_until, .. } = held;
                            Attempt::Again { since, authors, elsewhere_until }
                        }
                    };
                    let scanned = Scanned { update: held.waiting.bytes, scan, frame: None };
                    progressed |= self.offer(now, Sender::Member(id), scanned, held.acks, attempt, effects);
                }
                self.settle_refused(id, effects);
            }
            self.count_held();
            if !progressed {
                break;
            }
        }
        self.ask_authors(now, effects);
    }

    /// Puts back what was taken out and is not tried again.
    fn keep_holding(&mut self, id: MemberId, held: Held) {
        if let Some(member) = self.members.get_mut(&id) {
            member.held_bytes += held.waiting.memory();
            member.held.push_back(held);
        }
    }

    /// Whether there are so many microseconds for what is held. If not, it is looked at again when there are.
    fn may_spend(&mut self, now: Timestamp, price: u32) -> bool {
        let Err(wait) = self.retries.take(now, price) else { return true };
        let at = now + wait;
        self.retry_held_at = Some(self.retry_held_at.map_or(at, |earlier| earlier.min(at)));
        false
    }

    /// Tries again what there was no time for.
    pub(super) fn retry_held_later(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.retry_held_at.take_if(|at| now >= *at).is_some() {
            self.retry_held(now, effects);
        }
    }

    pub(super) fn expire_held(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let limit = self.limits.held_for_max;
        let mut expired = Vec::new();
        for (&id, member) in &mut self.members {
            while member.held.front().is_some_and(|held| now.since(held.since) >= limit)
                && let Some(held) = member.held.pop_front()
            {
                member.held_bytes = member.held_bytes.saturating_sub(held.waiting.memory());
                expired.push((id, held.waiting.bytes, held.acks));
            }
        }
        for (id, update, acks) in expired {
            effects.push(Effect::Report(Report::HeldExpired));
            self.tell_unsaved(id, HELD_EXPIRED, effects);
            self.reject(id, update, acks, effects);
        }
        self.count_held();
    }

    pub(super) fn count_held(&mut self) {
        self.held = self.members.values().map(|member| member.held.len()).sum();
        let work = self.members.values().flat_map(|member| &member.held).map(|held| held.waiting.work);
        self.held_work = work.fold(0, u32::saturating_add);
        let held = self.members.values().flat_map(|member| &member.held);
        self.withheld = held.filter(|held| held.waiting.why == HeldWhy::Author).count();
    }

    /// Sends SyncStep1: a stock client answers with all that is missing here.
    pub(super) fn ask(&mut self, to: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&to) else { return };
        member.asks += 1;
        let bytes = match member.asked_for(self.document.clocks()) {
            Some(clocks) => encode::sync_step1(&clocks.encode()),
            None => self.document.question(),
        };
        effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
    }

    pub(super) fn write(
        &mut self,
        now: Timestamp,
        request: RequestId,
        author: &Admission,
        scanned: Scanned,
        effects: &mut Vec<Effect>,
    ) {
        if !self.may(now, author, Capabilities::WRITE) {
            effects.push(Effect::Report(Report::ReadOnly));
            effects.push(Effect::Answer { request, result: Err(WriteRefusal::Forbidden) });
            return;
        }
        if self.ended.is_brought(&scanned.scan, self.document.clocks()) {
            effects.push(Effect::Report(Report::StaleCopy));
            effects.push(Effect::Answer { request, result: Err(WriteRefusal::Deleted) });
            return;
        }
        if self.offer(now, Sender::Request(request, author), scanned, 0, Attempt::First, effects) {
            self.retry_held(now, effects);
        }
    }
}

impl Scanned {
    /// What it may add to the memory of a room.
    #[must_use]
    pub fn price(&self) -> usize {
        price(&self.update, &self.scan)
    }
}

/// What an update may add to the memory of its room: its bytes, and what is known of each client and each parted deletion.
fn price(update: &Bytes, scan: &Scan) -> usize {
    const CLIENT: usize = 400;
    const DELETION: usize = 24;
    update.len() + scan.spans.len() * CLIENT + scan.delete_ranges as usize * DELETION
}

#[cfg(test)]
mod tests {
    use super::super::input::Input;
    use super::super::tests::{ALICE, BOB, TestRoom, typed};
    use super::*;
    use crate::allowance::{Exceeded, UserLimit};
    use crate::limits::Limits;

    #[test]
    fn a_user_who_has_begun_enough_dashboards_begins_no_other_one_and_may_edit_those_that_are_there() {
        let mut room = TestRoom::new();
        room.join(ALICE);
        room.skip();
        let exceeded = Exceeded::new(UserLimit::Dashboards, 10, 60_000);
        room.room.keep_from_beginning(Some(exceeded));
        room.edit(ALICE, &typed(1, 0, "some text"));
        let is_told = |effect: &Effect| matches!(effect, Effect::Report(Report::Limit(LimitReached::Dashboards(_))));
        assert!(room.effects.iter().any(is_told));
        assert_eq!(room.acks(), [(ALICE, false, 1)]);
        assert!(!room.room.has_content());
        room.room.keep_from_beginning(None);
        room.edit(ALICE, &typed(1, 0, "some text"));
        assert!(room.room.has_content());
        room.room.keep_from_beginning(Some(exceeded));
        room.skip();
        room.edit(ALICE, &typed(1, 9, "more"));
        assert!(!room.effects.iter().any(is_told), "it is there");
    }

    /// A message of 16 MiB of the smallest structs was read three times on the room's task, while everybody in the room waited.
    #[test]
    fn what_a_member_sends_is_read_once_by_its_room() {
        use update::build::{DELETED, STRING, after, string};
        const STRUCTS: u32 = 20_000;
        let mut room = TestRoom::new();
        room.join(ALICE);
        room.join(BOB);
        room.skip();
        room.edit(ALICE, &typed(1, 0, "a"));
        let deleted: Vec<Vec<u8>> = (0..STRUCTS).map(|_| after((1, 0), DELETED, &[1])).collect();
        let mut alternating = deleted.clone();
        alternating.iter_mut().step_by(2).for_each(|one| *one = after((1, 0), STRING, &string("b")));
        for (client, structs) in [(2, deleted), (3, alternating)] {
            let update = update::build::update(&[(client, 0, &structs)], &[]);
            let scan = update::scan(&update, &Limits::default()).expect("an update");
            let (frame, before) = (Some(encode::update(&update)), update::structs::READS.get());
            room.input(Input::Update { member: ALICE, update: Box::new(Scanned { update, scan, frame }) });
            room.timeout();
            let reads = update::structs::READS.get() - before;
            assert_eq!(room.room.clocks().get(client), STRUCTS);
            assert!(reads <= STRUCTS as usize + 100, "{reads} structs were read");
        }
    }
}
