//! What members and requests write: how an update is offered to the document, and what becomes of it.
//!
//! It is taken, as far as it is new; or it waits behind a hole, or for the client in whose name it writes; or it is refused, and
//! its sender hears that. Whose session writes under which client id is found out here, too.

use super::effect::{Effect, Frame, FrameKind, LimitReached, Report, WriteRefusal};
use super::input::{RequestId, Scanned};
use super::member::Held;
use super::saving::{Unsaved, Waiting};
use super::{Room, Sender};
use crate::access::{Access, Identity};
use crate::id::{ClientId, MemberId};
use crate::log::{LogEntry, Source};
use crate::time::Timestamp;
use crate::update::{self, HeldWhy, Ownership, Refusal, Scan, Source as Trust};
use crate::wire::close::CloseCode;
use bytes::Bytes;
use core::time::Duration;

/// How long an answer to a question for missing content may take before the question is put again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A document has at most so many ranges of what is deleted as its limit has bytes, divided by this: each takes some bytes itself.
const BYTES_PER_DELETION: usize = 8;

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
        member.has_answered |= scanned.frame.is_none();
        let is_answer = scanned.frame.is_none();
        if !member.access.may_edit() {
            self.read_only(id, &scanned, acks, effects);
            return;
        }
        if scanned.scan.spans.iter().any(|span| span.client > u64::from(u32::MAX)) {
            member.wants_echo = true;
        }
        let progressed = self.offer(now, Sender::Member(id), scanned, acks, None, effects);
        if is_answer {
            self.settle_refused(id, effects);
        }
        if progressed {
            self.retry_held(now, false, effects);
        }
    }

    /// Offers an update to the document and settles what comes of it. `held_since` is set when it had to wait before.
    pub(super) fn offer(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        scanned: Scanned,
        acks: u32,
        held_since: Option<Timestamp>,
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
        if held_since.is_none() {
            let price = price(&update, &scan);
            self.grown = self.grown.saturating_add(price);
            self.allowance = self.allowance.saturating_sub(price);
        }
        let is_update_frame = frame.is_some();
        let trust = if is_update_frame { Trust::Update } else { Trust::SyncStep2 };
        let owners = &self.owners;
        let presence = &self.presence;
        let ownership = |client| match presence.is_elsewhere(client) {
            true => Ownership::OtherLive,
            false => owners.ownership(now, client, id),
        };
        let admission = self.document.admit(&update, &scan, trust, ownership, &self.limits);
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
            let (author, session, source) = match sender {
                Sender::Member(id) => {
                    let author = self.members.get(&id).map(|member| &member.identity);
                    (author.and_then(Identity::author).map(Into::into), id.0, Source::Socket)
                }
                Sender::Request(_, identity) => (identity.author().map(Into::into), 0, Source::Rest),
            };
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
            if let (Some(id), true, [span]) = (id, is_update_frame, scan.spans.as_slice()) {
                self.claim_by_edit(id, span.client, span.has_gc);
            }
            self.revive(now);
        }
        if let Some(refusal) = admission.refused {
            let limit = match refusal {
                Refusal::Nesting(_) => LimitReached::Nesting,
                Refusal::Clients(_) => LimitReached::DocumentClients,
                Refusal::Parent | Refusal::Value => LimitReached::Content,
            };
            self.refuse(sender, update, acks, limit, effects);
        } else if let Some(held) = admission.held {
            if let Some(scanned) = id.and_then(|id| self.claim_by_return(id, &held)) {
                return self.offer(now, sender, scanned, acks, held_since, effects) || progressed;
            }
            self.hold(now, sender, held, acks, held_since, effects);
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
                if matches!(limit, LimitReached::DocumentBytes | LimitReached::DeletedBytes | LimitReached::Memory) {
                    self.does_not_fit(id, limit, update.len(), effects);
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
                if !self.members.get(&id).is_some_and(|member| member.wants_acks) || acks == 0 {
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
        let is_known = scanned.frame.is_none() && self.document.contains(&scanned.update, &scanned.scan);
        if is_known {
            self.wait_for_durable(Sender::Member(id), acks, effects);
        } else {
            effects.push(Effect::Report(Report::ReadOnly));
            self.reject(id, scanned.update.clone(), acks, effects);
        }
    }

    /// Who may edit from here on is asked for what was refused before.
    pub(super) fn readmitted(&mut self, id: MemberId, identity: Identity, access: Access, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let was_viewer = !member.access.may_edit();
        (member.identity, member.access) = (identity, access);
        if was_viewer && access.may_edit() {
            self.ask(id, effects);
        }
    }

    /// The first update of one client that was taken from a session makes that client id its own, unless it has one by awareness.
    pub(super) fn claim_by_edit(&mut self, id: MemberId, client: ClientId, has_gaps: bool) {
        if let Some(member) = self.members.get_mut(&id)
            && member.edits_as.is_none()
            && !has_gaps
            && self.owners.claim(client, id).is_ok()
        {
            member.edits_as = Some(client);
        }
    }

    /// A session without an id of its own that writes as somebody who left moments ago, and as nobody else, is that client come
    /// back: it would get the id by announcing it, too, but not every client takes part in awareness. Returns what was held
    /// for it, to be offered again.
    pub(super) fn claim_by_return(&mut self, id: MemberId, held: &update::Held) -> Option<Scanned> {
        let member = self.members.get_mut(&id)?;
        if held.why != HeldWhy::Foreign || member.announced.is_some() || member.edits_as.is_some() {
            return None;
        }
        let scan = update::scan(&held.bytes, &self.limits).ok()?;
        let client = scan.spans.first()?.client;
        if self.presence.is_elsewhere(client) {
            return None;
        }
        if scan.spans.iter().any(|span| span.client != client) || self.owners.claim(client, id).is_err() {
            return None;
        }
        member.edits_as = Some(client);
        Some(Scanned { update: held.bytes.clone(), scan, frame: None })
    }

    /// Keeps what lies behind a hole, and asks the sender for what is missing.
    pub(super) fn hold(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        waiting: update::Held,
        acks: u32,
        held_since: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) {
        let is_foreign = waiting.why == HeldWhy::Foreign;
        let id = match sender {
            Sender::Member(id) => id,
            Sender::Request(request, _) => {
                let refusal = if is_foreign { WriteRefusal::Foreign } else { WriteRefusal::Hole };
                effects.push(Effect::Answer { request, result: Err(refusal) });
                return;
            }
        };
        if held_since.is_none() {
            effects.push(Effect::Report(if is_foreign { Report::Foreign } else { Report::Held }));
            if is_foreign {
                self.probe_owners(id, &waiting.bytes, effects);
            }
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let bytes = waiting.memory();
        // A single one may be as large as a message.
        let has_room = member.held.len() < self.limits.held_updates_max
            && member.held_bytes + bytes <= self.limits.held_bytes_max.max(bytes);
        if !has_room && held_since.is_none() {
            // Nothing is lost: the sender still has it, and is asked for all that is missing here.
            member.held_overruns += u32::from(!member.unfit.is_any());
            let pause = if member.unfit.is_any() { member.unfit.pause(ASK_AGAIN) } else { Duration::ZERO };
            let is_asked = member.asked_at.is_none_or(|at| now.since(at) >= pause);
            let mut refused = acks;
            for held in member.take_held() {
                refused += held.acks;
                member.counts_as_unsaved(held.waiting.bytes, held.acks);
            }
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
        member.held.push_back(Held { waiting, since: held_since.unwrap_or(now), acks });
        self.held += 1;
        let ask =
            held_since.is_none() && member.asked_at.is_none_or(|at| now.since(at) >= member.unfit.pause(ASK_AGAIN));
        if ask {
            member.asked_at = Some(now);
            self.ask(id, effects);
        }
    }

    /// Finds out whether the sessions in whose names `update` writes still live: the sender may be one of them, come back.
    pub(super) fn probe_owners(&self, sender: MemberId, update: &[u8], effects: &mut Vec<Effect>) {
        let Ok(scan) = update::scan(update, &self.limits) else { return };
        let mut owners: Vec<MemberId> = scan.spans.iter().filter_map(|span| self.owners.owner(span.client)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|owner| *owner != sender);
        effects.extend(owners.into_iter().map(|member| Effect::Probe { member }));
    }

    /// Offers again what is held and may get further: the document grew, or an owner left (`owner_left`).
    pub(super) fn retry_held(&mut self, now: Timestamp, owner_left: bool, effects: &mut Vec<Effect>) {
        let mut owner_left = owner_left;
        while self.held > 0 {
            let mut progressed = false;
            let document = &self.document;
            let may_move =
                |held: &Held| document.resolves(&held.waiting) || owner_left && held.waiting.why == HeldWhy::Foreign;
            let waiting: Vec<MemberId> =
                self.members.iter().filter(|(_, member)| member.held.iter().any(may_move)).map(|(&id, _)| id).collect();
            for id in waiting {
                let Some(member) = self.members.get_mut(&id) else { continue };
                for held in member.take_held() {
                    let Ok(scan) = update::scan(&held.waiting.bytes, &self.limits) else { continue };
                    let scanned = Scanned { update: held.waiting.bytes, scan, frame: None };
                    progressed |= self.offer(now, Sender::Member(id), scanned, held.acks, Some(held.since), effects);
                }
                self.settle_refused(id, effects);
            }
            self.count_held();
            owner_left = false;
            if !progressed {
                return;
            }
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
            self.reject(id, update, acks, effects);
        }
        self.count_held();
    }

    pub(super) fn count_held(&mut self) {
        self.held = self.members.values().map(|member| member.held.len()).sum();
    }

    /// Sends SyncStep1: a stock client answers with all that is missing here.
    pub(super) fn ask(&mut self, to: MemberId, effects: &mut Vec<Effect>) {
        let frame = Frame { bytes: self.document.question(), kind: FrameKind::Notice };
        effects.push(Effect::Send { to, frame });
    }

    pub(super) fn write(
        &mut self,
        now: Timestamp,
        request: RequestId,
        identity: &Identity,
        scanned: Scanned,
        effects: &mut Vec<Effect>,
    ) {
        if self.offer(now, Sender::Request(request, identity), scanned, 0, None, effects) {
            self.retry_held(now, false, effects);
        }
    }
}

/// What an update may add to the memory of its room: its bytes, and what is known of each client and each parted deletion.
fn price(update: &Bytes, scan: &Scan) -> usize {
    const CLIENT: usize = 400;
    const DELETION: usize = 24;
    update.len() + scan.spans.len() * CLIENT + scan.delete_ranges as usize * DELETION
}
