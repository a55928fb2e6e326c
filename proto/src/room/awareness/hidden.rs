//! Clocks that came with their content deleted: nobody here ever saw what stood there.
//!
//! They are kept by the session that brought them, since that session knows what it deleted: its own earlier edits may have waited
//! meanwhile and still have their content.

use crate::id::{ClientId, Clock, MemberId};
use crate::limits::authorship::{HIDDEN_RANGES_MAX, HIDING_SESSIONS_MAX};
use crate::update::{ClockRange, DeleteSet, Ranges};
use std::collections::BTreeMap;

/// The clocks of all ids of a room that came deleted.
#[derive(Debug, Default)]
pub(in crate::room) struct Hidden {
    clients: BTreeMap<ClientId, Clocks>,
    /// Under which ids live sessions brought some.
    brought: BTreeMap<MemberId, Vec<ClientId>>,
}

/// Those of one id.
#[derive(Debug, Default)]
struct Clocks {
    /// What live sessions brought.
    by: Vec<(MemberId, Ranges)>,
    /// What others brought.
    by_others: Ranges,
}

impl Hidden {
    /// `by` brought clocks of `client` with their content deleted.
    pub(in crate::room) fn hide(&mut self, client: ClientId, range: ClockRange, by: MemberId) {
        let clocks = self.clients.entry(client).or_default();
        match clocks.by.iter().position(|(member, _)| *member == by) {
            Some(at) => add(&mut clocks.by[at].1, range),
            None if clocks.by.len() == HIDING_SESSIONS_MAX => add(&mut clocks.by_others, range),
            None => {
                let mut ranges = Ranges::default();
                ranges.insert(range);
                clocks.by.push((by, ranges));
                self.brought.entry(by).or_default().push(client);
            }
        }
    }

    /// `member` has left.
    pub(in crate::room) fn leave(&mut self, member: MemberId) {
        for client in self.brought.remove(&member).into_iter().flatten() {
            let Some(clocks) = self.clients.get_mut(&client) else { continue };
            if let Some(at) = clocks.by.iter().position(|(by, _)| *by == member) {
                let (_, ranges) = clocks.by.swap_remove(at);
                ranges.iter().for_each(|range| add(&mut clocks.by_others, range));
            }
        }
    }

    /// The first clock of `client` within `range` that came deleted from others than `member`.
    pub(in crate::room) fn first_within(&self, client: ClientId, range: ClockRange, member: MemberId) -> Option<Clock> {
        self.brought_by_others(client, member).filter_map(|ranges| ranges.first_within(range)).min()
    }

    /// All clocks of `client` that came deleted from others than `member`.
    pub(in crate::room) fn all(&self, client: ClientId, member: MemberId) -> DeleteSet {
        let mut all = DeleteSet::default();
        self.brought_by_others(client, member).flat_map(Ranges::iter).for_each(|range| all.insert_range(client, range));
        all
    }

    fn brought_by_others(&self, client: ClientId, member: MemberId) -> impl Iterator<Item = &Ranges> {
        self.clients.get(&client).into_iter().flat_map(move |clocks| {
            let by = clocks.by.iter().filter(move |(by, _)| *by != member).map(|(_, ranges)| ranges);
            by.chain([&clocks.by_others])
        })
    }

    /// Bytes held, roughly.
    pub(in crate::room) fn memory(&self) -> usize {
        let of = |clocks: &Clocks| {
            let by = clocks.by.iter().map(|(_, ranges)| size_of::<(MemberId, Ranges, ClientId)>() + ranges.memory());
            size_of::<(ClientId, Clocks)>() + by.sum::<usize>() + clocks.by_others.memory()
        };
        self.clients.values().map(of).sum()
    }
}

/// Adds a range; where there are too many, all that lies between them counts as hidden, too: its author is told once too often.
fn add(ranges: &mut Ranges, range: ClockRange) {
    ranges.insert(range);
    if ranges.len() > HIDDEN_RANGES_MAX
        && let (Some(first), Some(last)) = (ranges.first(), ranges.last())
    {
        ranges.insert(ClockRange { start: first.start, end: last.end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = 7;

    fn range(start: Clock, end: Clock) -> ClockRange {
        ClockRange { start, end }
    }

    #[test]
    fn what_a_session_brought_itself_is_not_hidden_from_it() {
        let (alice, bob) = (MemberId(1), MemberId(2));
        let mut hidden = Hidden::default();
        hidden.hide(CLIENT, range(4, 8), alice);
        hidden.hide(CLIENT, range(10, 12), bob);
        assert_eq!(hidden.first_within(CLIENT, range(0, 20), alice), Some(10));
        assert_eq!(hidden.first_within(CLIENT, range(0, 20), bob), Some(4));
        assert_eq!(hidden.first_within(CLIENT, range(8, 10), bob), None);
        hidden.leave(alice);
        assert_eq!(hidden.first_within(CLIENT, range(6, 20), alice), Some(6), "another session under the same number");
        assert_eq!(hidden.all(CLIENT, bob).of(CLIENT), [range(4, 8)]);
    }

    #[test]
    fn too_many_ranges_count_as_one() {
        let (mut hidden, alice) = (Hidden::default(), MemberId(1));
        for at in 0..2 * HIDDEN_RANGES_MAX as u32 {
            hidden.hide(CLIENT, range(2 * at, 2 * at + 1), alice);
            assert!(hidden.clients[&CLIENT].by[0].1.len() <= HIDDEN_RANGES_MAX);
        }
        assert_eq!(hidden.first_within(CLIENT, range(1, 2), MemberId(2)), Some(1));
        hidden.leave(alice);
        assert!(hidden.clients[&CLIENT].by_others.len() <= HIDDEN_RANGES_MAX);
    }

    #[test]
    fn of_too_many_sessions_it_is_not_known_who_brought_what() {
        let mut hidden = Hidden::default();
        let sessions = HIDING_SESSIONS_MAX as u32 + 4;
        for at in 0..sessions {
            hidden.hide(CLIENT, range(2 * at, 2 * at + 1), MemberId(u64::from(at)));
        }
        assert_eq!(hidden.clients[&CLIENT].by.len(), HIDING_SESSIONS_MAX);
        let last = sessions - 1;
        let found = hidden.first_within(CLIENT, range(2 * last, 2 * last + 1), MemberId(u64::from(last)));
        assert_eq!(found, Some(2 * last), "rather told once too often than never");
    }
}
