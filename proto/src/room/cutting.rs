//! Answers about a large document, which take a while to cut: beside the room, one after the other, and each for all who have the
//! same.
//!
//! A member that waits for one hears of every edit meanwhile. What its outbox drops before the answer is there, the answer cannot make
//! good: then it gets everything when its outbox is empty.

use super::Room;
use super::document::Cut;
use super::effect::{Effect, Report};
use super::input::Dialect;
use crate::id::MemberId;
use crate::update::StateVector;
use std::collections::VecDeque;

/// What a member waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// The answer to its question.
    Answer,
    /// One difference for all that its outbox dropped.
    Resync,
}

/// Who waits for a difference.
#[derive(Debug, Default)]
pub(super) struct Cutting {
    under_way: Option<UnderWay>,
    /// A member waits once: what it has is what it said last.
    queue: VecDeque<(MemberId, StateVector, Wants)>,
}

#[derive(Debug)]
struct UnderWay {
    have: StateVector,
    accepted: u64,
    members: Vec<(MemberId, Wants)>,
}

impl Cutting {
    /// Forgets a member that left.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.queue.retain(|(waiting, ..)| *waiting != member);
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.queue.iter().map(|(_, have, _)| 32 + have.len() * 24).sum()
    }
}

impl Room {
    /// Sends a member the difference to what it has: at once, when that is quickly done.
    pub(super) fn send_difference(&mut self, id: MemberId, have: StateVector, wants: Wants, effects: &mut Vec<Effect>) {
        if !self.cuts_aside() {
            let frame = self.document.sync_step2(&have);
            return self.difference_cut(id, frame, &have, wants, effects);
        }
        if let Some(frame) = self.document.cut_before(&have) {
            return self.difference_cut(id, frame, &have, wants, effects);
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        let accepted = self.document.accepted();
        match &mut self.cutting.under_way {
            Some(under_way) if under_way.accepted == accepted && under_way.have == have => {
                member.awaits += 1;
                under_way.members.push((id, wants));
                // Whatever it asked before is answered with that.
                let waited = self.cutting.queue.len();
                self.cutting.queue.retain(|(waiting, _, wants)| *waiting != id || *wants == Wants::Resync);
                member.awaits -= (waited - self.cutting.queue.len()) as u32;
            }
            _ => match self.cutting.queue.iter_mut().find(|(waiting, ..)| *waiting == id) {
                Some((_, before, Wants::Answer)) if wants == Wants::Answer => *before = have,
                Some((_, before, waits_for)) => {
                    *before = before.at_most(&have);
                    *waits_for = Wants::Resync;
                }
                None => {
                    member.awaits += 1;
                    self.cutting.queue.push_back((id, have, wants));
                    self.cut_next(effects);
                }
            },
        }
    }

    fn cut_next(&mut self, effects: &mut Vec<Effect>) {
        while self.cutting.under_way.is_none()
            && let Some((id, have, wants)) = self.cutting.queue.pop_front()
        {
            let mut members = vec![(id, wants)];
            self.cutting.queue.retain(|(id, other, wants)| {
                let is_same = *other == have;
                if is_same {
                    members.push((*id, *wants));
                }
                !is_same
            });
            // One that lags gets a difference when its outbox is empty.
            members.retain(|(id, _)| match self.members.get_mut(id) {
                Some(member) if member.lag.is_some() => {
                    member.awaits -= 1;
                    false
                }
                Some(_) => true,
                None => false,
            });
            if !members.is_empty() {
                effects.push(Effect::Cut { content: self.document.content(), have: have.clone() });
                self.cutting.under_way = Some(UnderWay { have, accepted: self.document.accepted(), members });
            }
        }
    }

    /// A difference was cut; `None`: it could not be.
    pub(super) fn cut(&mut self, cut: Option<Cut>, effects: &mut Vec<Effect>) {
        let Some(UnderWay { have, members, .. }) = self.cutting.under_way.take() else { return };
        let frame = match &cut {
            Some(cut) => {
                self.document.keep_cut(&have, cut);
                cut.frame.clone()
            }
            None => self.document.sync_step2(&have),
        };
        for (id, wants) in members {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.awaits -= 1;
            if member.lag.is_none() {
                self.difference_cut(id, frame.clone(), &have, wants, effects);
            }
        }
        self.cut_next(effects);
    }

    fn difference_cut(
        &mut self,
        id: MemberId,
        frame: bytes::Bytes,
        have: &StateVector,
        wants: Wants,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let is_asked = core::mem::take(&mut member.is_asked);
        let takes_turns = member.dialect != Dialect::YWebsocket && !is_asked;
        if wants == Wants::Resync {
            effects.push(Effect::Report(Report::Resynced));
        }
        effects.push(Effect::Send { to: id, frame: super::state(frame, have) });
        match wants {
            // Behind the state: an overflow that began before it would not know that it was lost, too.
            Wants::Answer => {
                if takes_turns {
                    self.ask(id, effects);
                }
                self.introduce(id, effects);
            }
            Wants::Resync => self.resynced(id, effects),
        }
    }
}
