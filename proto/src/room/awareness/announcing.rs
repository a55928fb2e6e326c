//! Who is here: what members announce, who is shown whom, and who is made to announce itself once more.

use super::stamp;
use super::{Announcer, Introduction};
use crate::id::{ClientId, MemberId};
use crate::limits::presence::CONTESTED_MAX;
use crate::room::effect::{Effect, Frame, FrameKind, Report};
use crate::room::input::Dialect;
use crate::room::{Room, YOUNG};
use crate::time::Timestamp;
use crate::wire::awareness::{Entries, NULL};
use crate::wire::encode;
use bytes::Bytes;

impl Room {
    pub(in crate::room) fn awareness(
        &mut self,
        now: Timestamp,
        id: MemberId,
        entries: Entries<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let introduction = match (member.announced, member.has_answered) {
            (Some(_), _) => Introduction::Done,
            (None, false) => Introduction::First,
            (None, true) => Introduction::Late,
        };
        let is_young = now.since(self.opened_at) < YOUNG;
        let verified = self.tuning.verifies_presence.then(|| stamp::verified(&member.admission.principal));
        let announced = member.announced;
        let announcer = Announcer { member: id, introduction, is_young, announced, verified: verified.as_deref() };
        let again = entries.clone();
        let announced = self.presence.announce(now, announcer, entries, &mut self.owners, &self.limits);
        if let Some(client) = announced.claimed {
            member.announced = Some(client);
            member.writes_as.retain(|other| *other != client);
        }
        let hidden: Vec<ClientId> = again.clone().filter(|entry| entry.is_null()).map(|entry| entry.client).collect();
        if let Some(own) = member.announced {
            let clocks = again.filter(|entry| entry.client == own).map(|entry| entry.clock);
            member.announced_at = clocks.fold(member.announced_at, u32::max);
        }
        // The other session may be its own, and dead.
        effects.extend(announced.contested.map(|member| Effect::Probe { member }));
        if let Some(client) = announced.claimed {
            self.claimed(now, id, client, effects);
        }
        for _ in 0..announced.dropped {
            effects.push(Effect::Report(Report::AwarenessDropped));
        }
        self.nudge(id, &announced.nudges, effects);
        self.let_speak(&hidden, effects);
        if announced.returned {
            self.nudge_others(now, id, effects);
        } else if is_young && !announced.nudges.is_empty() {
            // Here everybody who announces itself is nudged.
            self.company.somebody_returned(now);
        }
    }

    /// Makes everybody else announce itself again: `returned` was here before and takes nothing at a clock that it has seen.
    pub(in crate::room) fn nudge_others(&mut self, now: Timestamp, returned: MemberId, effects: &mut Vec<Effect>) {
        self.company.somebody_returned(now);
        for (owner, client, clock) in self.presence.nudge_others(now, returned) {
            self.nudge(owner, &[(client, clock)], effects);
        }
    }

    /// Answers a stale announcement of one's own id with a removal at the clock known here: stock clients then take the next
    /// clock and announce themselves at once, where they would otherwise stay invisible for up to 15 s.
    pub(in crate::room) fn nudge(&self, to: MemberId, clocks: &[(ClientId, u32)], effects: &mut Vec<Effect>) {
        if !clocks.is_empty() {
            let bytes = encode::awareness(clocks.iter().map(|&(client, clock)| (client, clock, NULL)));
            effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
            self.ask_presence(to, effects);
        }
    }

    /// Makes sessions announce themselves again for which another one spoke, that hid itself or left: it may not have been theirs.
    pub(in crate::room) fn let_speak(&mut self, hidden: &[ClientId], effects: &mut Vec<Effect>) {
        for &client in hidden {
            let Some(clock) = self.presence.hidden_at(client) else { continue };
            for (member, said) in self.owners.waiting_to_speak(client) {
                self.owners.nudged(client, member, said);
                self.nudge(member, &[(client, clock)], effects);
            }
        }
    }

    /// Asks a client for its presence that would not tell that it was made to take the next clock.
    pub(in crate::room) fn ask_presence(&self, to: MemberId, effects: &mut Vec<Effect>) {
        let dialect = self.members.get(&to).map(|member| member.dialect);
        if dialect == Some(Dialect::Hocuspocus { echoes: false }) {
            let frame = Frame { bytes: encode::query_awareness(), kind: FrameKind::Notice };
            effects.push(Effect::Send { to, frame });
        }
    }

    /// Shows a member who is here, once.
    pub(in crate::room) fn introduce(&mut self, to: MemberId, effects: &mut Vec<Effect>) {
        if self.make_aware(to) && self.presence.states() > 0 {
            self.send_presence(to, effects);
        }
    }

    /// From here on a member hears of everybody's changes. Says whether it did not before.
    pub(in crate::room) fn make_aware(&mut self, id: MemberId) -> bool {
        let at = self.unaware.binary_search(&id);
        at.map(|at| self.unaware.remove(at)).is_ok()
    }

    pub(in crate::room) fn send_presence(&mut self, to: MemberId, effects: &mut Vec<Effect>) {
        let bytes = self.presence.snapshot();
        effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
    }

    /// Shows a member who is here because it asks. One that has asked just now hears of every change: what it asks again is answered
    /// later, together with whatever others ask again.
    pub(in crate::room) fn presence_asked(&mut self, now: Timestamp, id: MemberId, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let wait = self.presence.show_again_after();
        if member.shown_at.is_none_or(|at| now.since(at) >= wait) {
            member.shown_at = Some(now);
            self.make_aware(id);
            self.send_presence(id, effects);
        } else {
            if self.unshown.is_empty() {
                self.show_at = now + wait;
            }
            self.unshown.insert(id);
        }
    }

    /// Shows those who is here that asked again.
    pub(in crate::room) fn show_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.unshown.is_empty() || now < self.show_at {
            return;
        }
        for id in core::mem::take(&mut self.unshown) {
            if let Some(member) = self.members.get_mut(&id) {
                member.shown_at = Some(now);
                self.send_presence(id, effects);
            }
        }
    }

    pub(in crate::room) fn flush_presence(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.publish_awareness(effects);
        // A client takes what comes under its own id for its own state. So sessions of one id are not told what the others of it say.
        let mut apart: Vec<(MemberId, Option<Bytes>)> = Vec::new();
        for (client, members) in self.owners.contested(self.presence.changed()).take(CONTESTED_MAX) {
            let others = self.presence.changed_but(client);
            apart.extend(members.map(|member| (member, others.clone())));
        }
        let Some((bytes, author)) = self.presence.take_dirty() else { return };
        self.awareness_at = Some(now);
        let frame = Frame { bytes, kind: FrameKind::Notice };
        let mut except = self.unaware.clone();
        for (to, others) in apart {
            let Err(at) = except.binary_search(&to) else { continue };
            except.insert(at, to);
            if let Some(bytes) = others {
                effects.push(Effect::Send { to, frame: Frame { bytes, kind: FrameKind::Notice } });
            }
        }
        if let Some(author) = author
            && let Err(at) = except.binary_search(&author)
        {
            except.insert(at, author);
        }
        effects.push(Effect::FanOut { frame, except });
    }
}
