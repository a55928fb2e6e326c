//! The presence of members of other nodes.
//!
//! An entry belongs to the node that first showed it, until that removes it or is gone. A client that comes back on
//! another node before its old one has noticed gets its id when that node, told of the claim, finds the old session dead.

use crate::id::{ClientId, MemberId, NodeId};
use crate::room::Room;
use crate::room::effect::Effect;
use crate::room::input::Said;
use crate::time::Timestamp;
use crate::wire::awareness::Entries;
use crate::wire::{self, encode};
use bytes::Bytes;

impl Room {
    /// Publishes which entries of this node's members changed; call it before they are told on this node.
    pub(in crate::room) fn publish_awareness(&mut self, effects: &mut Vec<Effect>) {
        if self.company.has_others()
            && let Some(body) = self.presence.changed_here()
        {
            self.publish(Said::Awareness(body), effects);
        }
    }

    /// A member announces itself: under an id that another node shows, the other node is told, which looks after its session.
    pub(in crate::room) fn announced_elsewhere(
        &mut self,
        id: MemberId,
        mut entries: Entries<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(remote) = &mut self.company.0 else { return };
        let Some(member) = self.members.get(&id) else { return };
        let (1, Some(entry)) = (entries.len(), entries.next()) else { return };
        // A late message at a clock that is known is an echo: stock clients send back what they are told.
        let is_echo = member.has_answered && self.presence.clock(entry.client).is_some_and(|at| entry.clock <= at);
        if member.announced.is_some() || is_echo || entry.is_null() || !self.presence.is_elsewhere(entry.client) {
            return;
        }
        let Ok(state) = entry.state(self.limits.awareness_state_bytes_max) else { return };
        remote.claims.retain(|(claimant, ..)| *claimant != id);
        remote.claims.push((id, entry.client, entry.clock));
        let frame = encode::awareness([(entry.client, entry.clock, &state[..])]);
        self.publish(Said::Awareness(encode::awareness_payload(&frame)), effects);
    }

    pub(in crate::room) fn publish_presence(&mut self, effects: &mut Vec<Effect>) {
        let body = self.presence.shown_here();
        self.publish(Said::Presence(body), effects);
    }

    pub(in crate::room) fn heard_awareness(
        &mut self,
        now: Timestamp,
        origin: NodeId,
        body: &Bytes,
        is_all: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(entries) = wire::awareness::entries(body) else { return };
        let (entries, _) = entries.up_to(self.limits.awareness_entries_max);
        let heard = self.presence.hear(now, origin, entries, is_all, &self.owners, &self.limits);
        effects.extend(heard.contested.into_iter().map(|member| Effect::Probe { member }));
        self.freed(now, &heard.freed, effects);
    }

    /// Ids that no other node shows any more: who claimed them here may have them, and what waited for their owners goes on.
    pub(in crate::room) fn freed(&mut self, now: Timestamp, freed: &[ClientId], effects: &mut Vec<Effect>) {
        let Some(remote) = self.company.0.as_mut().filter(|_| !freed.is_empty()) else { return };
        let claims = core::mem::take(&mut remote.claims);
        let (heirs, claims): (Vec<_>, _) = claims.into_iter().partition(|(_, id, _)| freed.contains(id));
        remote.claims = claims;
        let clocks: Vec<u32> = heirs.iter().map(|&(_, id, clock)| self.presence.hand_over(id, clock)).collect();
        if !heirs.is_empty() {
            // The removal goes first, then what makes them announce themselves again.
            self.flush_presence(now, effects);
        }
        for ((heir, client, _), clock) in heirs.into_iter().zip(clocks) {
            self.nudge(heir, &[(client, clock)], effects);
        }
        for held in self.members.values_mut().flat_map(|member| &mut member.held) {
            held.elsewhere_until = None;
        }
        self.retry_held(now, effects);
    }
}
