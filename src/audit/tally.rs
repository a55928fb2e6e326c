//! What happens too often to be told one by one: who came to which dashboard, who wrote over REST, who was refused. Added up by the minute.

use std::collections::HashMap;
use std::sync::Arc;

/// Kinds, people and dashboards that are told apart within a minute. Beyond, dashboards are not, and then people are not.
const ENTRIES_MAX: usize = 2048;
/// The same of one person, and the lines of their own that one person has within a minute.
const ENTRIES_OF_ONE_MAX: usize = 128;
/// People who have lines of their own within a minute. Beyond, others are counted.
const PEOPLE_MAX: usize = 16 << 10;

/// Something that is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    pub(super) kind: &'static str,
    pub(super) actor: Option<Arc<str>>,
    /// A dashboard; empty for several.
    pub(super) target: Arc<str>,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    times: HashMap<Entry, u64>,
    of_one: HashMap<Option<Arc<str>>, usize>,
    /// How many lines of their own people have had.
    lines: HashMap<Arc<str>, usize>,
}

impl Tally {
    pub(super) fn count(&mut self, entry: Entry) {
        if let Some(times) = self.times.get_mut(&entry) {
            *times += 1;
            return;
        }
        let of_one = self.of_one.get(&entry.actor).copied().unwrap_or(0);
        let is_full = self.times.len() >= ENTRIES_MAX;
        let entry = match (entry.target.is_empty(), entry.actor.is_some()) {
            (false, _) if is_full || of_one >= ENTRIES_OF_ONE_MAX => {
                return self.count(Entry { target: "".into(), ..entry });
            }
            // As many more as there are kinds.
            (true, true) if is_full => return self.count(Entry { actor: None, ..entry }),
            _ => entry,
        };
        *self.of_one.entry(entry.actor.clone()).or_default() += 1;
        self.times.insert(entry, 1);
    }

    /// Takes a line of their own for somebody; false if they have had enough of them within this minute.
    pub(super) fn take_line(&mut self, actor: Option<&Arc<str>>) -> bool {
        let Some(actor) = actor else { return false };
        if self.lines.len() >= PEOPLE_MAX && !self.lines.contains_key(actor) {
            return false;
        }
        let lines = self.lines.entry(Arc::clone(actor)).or_default();
        *lines += 1;
        *lines <= ENTRIES_OF_ONE_MAX
    }

    /// What was counted since the last time, in order.
    pub(super) fn take(&mut self) -> Vec<(Entry, u64)> {
        self.of_one.clear();
        self.lines.clear();
        let mut taken: Vec<(Entry, u64)> = self.times.drain().collect();
        taken.sort();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(actor: &str, target: &str) -> Entry {
        Entry { kind: "dashboard.entered", actor: Some(actor.into()), target: target.into() }
    }

    #[test]
    fn what_happens_often_is_one_line() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.count(entry("ada", "w/a"));
        }
        tally.count(entry("ada", "w/b"));
        assert_eq!(tally.take(), [(entry("ada", "w/a"), 3), (entry("ada", "w/b"), 1)]);
        assert_eq!(tally.take(), []);
    }

    #[test]
    fn a_person_has_so_many_lines_within_a_minute_and_takes_none_of_others() {
        let (ada, mallory): (Arc<str>, Arc<str>) = ("ada".into(), "mallory".into());
        let mut tally = Tally::default();
        let taken = (0..1000).filter(|_| tally.take_line(Some(&mallory))).count();
        assert_eq!(taken, ENTRIES_OF_ONE_MAX);
        assert!(tally.take_line(Some(&ada)));
        assert_eq!(tally.take(), []);
        assert!(tally.take_line(Some(&mallory)), "the next minute");
        let others = (0..2 * PEOPLE_MAX).filter(|n| tally.take_line(Some(&format!("user {n}").into()))).count();
        assert_eq!(others, PEOPLE_MAX - 1);
    }

    #[test]
    fn whoever_asks_for_many_names_fills_a_bounded_part_and_nothing_is_left_uncounted() {
        let mut tally = Tally::default();
        for n in 0..10 * ENTRIES_MAX {
            tally.count(entry("mallory", &format!("w/{n}")));
        }
        tally.count(entry("ada", "w/a"));
        let taken = tally.take();
        assert_eq!(taken.len(), ENTRIES_OF_ONE_MAX + 2);
        assert!(taken.contains(&(entry("ada", "w/a"), 1)));
        assert_eq!(taken.iter().map(|(_, times)| *times).sum::<u64>(), 10 * ENTRIES_MAX as u64 + 1);

        for n in 0..10 * ENTRIES_MAX {
            tally.count(entry(&format!("user {n}"), "w/a"));
        }
        let taken = tally.take();
        assert!(taken.len() <= ENTRIES_MAX + 1, "{}", taken.len());
        assert_eq!(taken.iter().map(|(_, times)| *times).sum::<u64>(), 10 * ENTRIES_MAX as u64);
    }
}
