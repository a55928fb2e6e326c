//! Until when members may be here: who is asked for another token, and whose time is up.
//!
//! Those of the Hocuspocus dialect have several documents on one socket, and their sessions see to that.

use crate::id::MemberId;
use crate::time::Timestamp;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// How long before a token runs out its client is asked for another, at most; of a short one a quarter is enough.
const ASK_BEFORE: Duration = Duration::from_secs(30);

/// The members whose time is limited.
#[derive(Debug, Default)]
pub(super) struct Terms {
    of: BTreeMap<MemberId, (Timestamp, Timestamp)>,
    asks: BTreeSet<(Timestamp, MemberId)>,
    ends: BTreeSet<(Timestamp, MemberId)>,
}

impl Terms {
    /// A member may be here until then; without an end for good.
    pub(super) fn set(&mut self, now: Timestamp, member: MemberId, until: Option<Timestamp>) {
        self.forget(member);
        let Some(until) = until else { return };
        let asks = until - ASK_BEFORE.min(until.since(now) / 4);
        self.asks.insert((asks, member));
        self.ends.insert((until, member));
        self.of.insert(member, (asks, until));
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, member: MemberId) {
        if let Some((asks, ends)) = self.of.remove(&member) {
            self.asks.remove(&(asks, member));
            self.ends.remove(&(ends, member));
        }
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        const MEMBER: usize = 160;
        self.of.len() * MEMBER
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.asks.first().into_iter().chain(self.ends.first()).map(|(at, _)| *at).min()
    }

    /// Who is to be asked for another token.
    pub(super) fn asked(&mut self, now: Timestamp) -> Vec<MemberId> {
        due(&mut self.asks, now)
    }

    /// Whose time is up.
    pub(super) fn ended(&mut self, now: Timestamp) -> Vec<MemberId> {
        due(&mut self.ends, now)
    }
}

fn due(set: &mut BTreeSet<(Timestamp, MemberId)>, now: Timestamp) -> Vec<MemberId> {
    let mut due = Vec::new();
    while let Some((at, member)) = set.first().copied()
        && now >= at
    {
        set.pop_first();
        due.push(member);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: MemberId = MemberId(1);

    #[test]
    fn a_member_is_asked_in_time_and_ends_unless_it_gets_more() {
        let mut terms = Terms::default();
        let at = |seconds: u64| Timestamp(seconds * 1000);
        terms.set(at(0), ADA, Some(at(600)));
        assert_eq!(terms.next(), Some(at(570)));
        assert_eq!(terms.asked(at(570)), [ADA]);
        terms.set(at(570), ADA, Some(at(610)));
        assert_eq!(terms.next(), Some(at(600)), "a quarter of what is left");
        assert_eq!((terms.asked(at(610)), terms.ended(at(610))), (vec![ADA], vec![ADA]));
        assert_eq!(terms.next(), None);
        terms.set(at(0), ADA, Some(at(5)));
        terms.set(at(0), ADA, None);
        assert_eq!(terms.next(), None);
    }
}
