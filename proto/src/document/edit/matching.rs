//! Which elements of two lists, or characters of two texts, are the same: what an edit leaves alone.
//!
//! Elements with an `id`, `name` or `key` of their own are known by it, others by what they are. Myers' algorithm finds the shortest
//! difference; its steps are counted, and where there would be too many, all between the common ends counts as replaced.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Members by which elements are known, the first that all have.
const IDENTITIES: [&str; 3] = ["id", "name", "key"];
/// So many insertions and deletions are looked for in one list or text.
const DIFFERENCE_MAX: usize = 1_000;

/// Steps that all comparisons of one edit may take together.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    /// Some tenths of a second.
    pub(super) fn new() -> Budget {
        Budget(1 << 25)
    }

    fn take(&mut self, steps: u64) -> bool {
        self.0 = self.0.saturating_sub(steps);
        self.0 > 0
    }

    #[cfg(test)]
    pub(super) fn of(steps: u64) -> Budget {
        Budget(steps)
    }
}

/// What lies between pairs: `old` gives way to `new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// The pairs of two lists, ascending in both: equal, or the same thing that has changed.
pub(super) fn pairs(old: &[Value], new: &[Value], budget: &mut Budget) -> Vec<(usize, usize)> {
    if let Some(pairs) = pairs_by_identity(old, new) {
        return pairs;
    }
    let (front, back) = common_ends(old, new);
    let (old_mid, new_mid) = (&old[front..old.len() - back], &new[front..new.len() - back]);
    let between = match (old_mid, new_mid) {
        ([], _) | (_, []) => Vec::new(),
        _ => {
            let (old_ids, new_ids) = intern(old_mid, new_mid);
            let equal = shortest(&old_ids, &new_ids, budget).unwrap_or_default();
            with_changed(&equal, old_mid, new_mid, budget)
        }
    };
    let between = between.into_iter().map(|(a, b)| (a + front, b + front));
    let ends = (0..back).map(|at| (old.len() - back + at, new.len() - back + at));
    (0..front).map(|at| (at, at)).chain(between).chain(ends).collect()
}

/// What lies between pairs.
pub(super) fn hunks(pairs: &[(usize, usize)], old: usize, new: usize) -> Vec<Hunk> {
    let mut hunks = Vec::new();
    let mut from = (0, 0);
    for &(a, b) in pairs.iter().chain([&(old, new)]) {
        if from != (a, b) {
            hunks.push(Hunk { old: from.0..a, new: from.1..b });
        }
        from = (a + 1, b + 1);
    }
    hunks
}

/// What differs between two texts, in characters.
pub(super) fn hunks_of_texts(old: &str, new: &str, budget: &mut Budget) -> Vec<Hunk> {
    let bytes = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    let bytes = (0..=bytes).rev().find(|at| old.is_char_boundary(*at) && new.is_char_boundary(*at)).unwrap_or(0);
    let front = old[..bytes].chars().count();
    let old_mid: Vec<char> = old[bytes..].chars().collect();
    let new_mid: Vec<char> = new[bytes..].chars().collect();
    let back = old_mid.iter().rev().zip(new_mid.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, new_mid) = (&old_mid[..old_mid.len() - back], &new_mid[..new_mid.len() - back]);
    let pairs = match (old_mid, new_mid) {
        ([], []) => return Vec::new(),
        ([], _) | (_, []) => Vec::new(),
        _ => shortest(old_mid, new_mid, budget).unwrap_or_default(),
    };
    let mut hunks = hunks(&pairs, old_mid.len(), new_mid.len());
    for Hunk { old, new } in &mut hunks {
        (*old, *new) = (old.start + front..old.end + front, new.start + front..new.end + front);
    }
    hunks
}

/// By a member that tells all elements apart; those that keep their order stay.
fn pairs_by_identity(old: &[Value], new: &[Value]) -> Option<Vec<(usize, usize)>> {
    if old.is_empty() || new.is_empty() {
        return None;
    }
    let [old, new] = identities([old, new])?;
    let place = |(b, id)| old.places.get(id).map(|a| (*a, b));
    Some(longest_ascending(&new.order.iter().enumerate().filter_map(place).collect::<Vec<_>>()))
}

/// What an element is known by: a text or a number.
fn identity(member: &str, value: &Value) -> Option<(bool, String)> {
    match value.as_object()?.get(member)? {
        Value::String(text) => Some((true, text.clone())),
        Value::Number(number) => Some((false, number.to_string())),
        _ => None,
    }
}

/// How the elements of a list are called, in order, and where each is.
pub(super) struct Named {
    pub(super) order: Vec<(bool, String)>,
    pub(super) places: BTreeMap<(bool, String), usize>,
}

/// How the elements of several lists are called, if one member tells those of each apart.
pub(super) fn identities<const N: usize>(lists: [&[Value]; N]) -> Option<[Named; N]> {
    if lists.iter().all(|list| list.is_empty()) {
        return None;
    }
    IDENTITIES.iter().find_map(|member| {
        let mut named = Vec::with_capacity(N);
        for list in lists {
            let places = places_by(member, list)?;
            let order = list.iter().filter_map(|value| identity(member, value)).collect();
            named.push(Named { order, places });
        }
        named.try_into().ok()
    })
}

fn places_by(member: &str, values: &[Value]) -> Option<BTreeMap<(bool, String), usize>> {
    let mut places = BTreeMap::new();
    for (at, value) in values.iter().enumerate() {
        if places.insert(identity(member, value)?, at).is_some() {
            return None;
        }
    }
    Some(places)
}

/// The longest run of pairs whose first numbers ascend; the second ones do.
fn longest_ascending(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // Of runs of each length, where the one with the lowest end ends; and what comes before each pair in its run.
    let (mut ends, mut before): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::with_capacity(pairs.len()));
    for (at, (a, _)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].0 < *a);
        before.push(if length == 0 { usize::MAX } else { ends[length - 1] });
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(pair) = at.and_then(|at| pairs.get(at)) {
        run.push(*pair);
        at = at.map(|at| before[at]);
    }
    run.reverse();
    run
}

fn common_ends<T: PartialEq>(old: &[T], new: &[T]) -> (usize, usize) {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let back = old[front..].iter().rev().zip(new[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    (front, back)
}

/// A number for each value, the same for equal ones.
fn intern(old: &[Value], new: &[Value]) -> (Vec<u32>, Vec<u32>) {
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut number = |value: &Value| {
        let next = numbers.len() as u32;
        *numbers.entry(value.to_string()).or_insert(next)
    };
    (old.iter().map(&mut number).collect(), new.iter().map(&mut number).collect())
}

/// Between equal elements, what gives way to as many of the same kind is those, changed; if there are more or fewer, those that have
/// something in common.
fn with_changed(equal: &[(usize, usize)], old: &[Value], new: &[Value], budget: &mut Budget) -> Vec<(usize, usize)> {
    let mut pairs: BTreeSet<(usize, usize)> = equal.iter().copied().collect();
    for Hunk { old: removed, new: added } in hunks(equal, old.len(), new.len()) {
        if removed.len() == added.len() {
            pairs.extend(removed.zip(added).filter(|(a, b)| is_alike(&old[*a], &new[*b])));
            continue;
        }
        let mut from = added.start;
        for a in removed {
            let found = (from..added.end).find(|b| budget.take(1) && has_in_common(&old[a], &new[*b]));
            if let Some(b) = found {
                pairs.insert((a, b));
                from = b + 1;
            }
        }
    }
    pairs.into_iter().collect()
}

fn is_alike(old: &Value, new: &Value) -> bool {
    old.is_object() && new.is_object() || old.is_array() && new.is_array() || old.is_string() && new.is_string()
}

/// Whether two objects have a member, or two lists a first element, that is the same plain value.
fn has_in_common(old: &Value, new: &Value) -> bool {
    let is_same = |old: &Value, new: &Value| !old.is_object() && !old.is_array() && old == new;
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().take(16).any(|(key, value)| new.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Array(old), Value::Array(new)) => {
            matches!((old.first(), new.first()), (Some(old), Some(new)) if is_same(old, new))
        }
        _ => false,
    }
}

/// The pairs that the shortest difference leaves; `None` if it is too long to be looked for.
///
/// Myers, "An O(ND) Difference Algorithm and Its Variations", with all furthest points kept, to walk back.
fn shortest<T: PartialEq>(old: &[T], new: &[T], budget: &mut Budget) -> Option<Vec<(usize, usize)>> {
    let (n, m) = (old.len() as i64, new.len() as i64);
    let longest = (old.len() + new.len()).min(DIFFERENCE_MAX) as i64;
    let index = |k: i64| (k + longest + 1) as usize;
    let mut furthest = vec![0_i64; 2 * longest as usize + 3];
    // For each length of a difference, the furthest points before it.
    let mut trace: Vec<Vec<u32>> = Vec::new();
    for d in 0..=longest {
        trace.push((-d..=d).map(|k| furthest[index(k)] as u32).collect());
        let mut steps = 0;
        for k in (-d..=d).step_by(2) {
            let goes_down = k == -d || k != d && furthest[index(k - 1)] < furthest[index(k + 1)];
            let mut x = if goes_down { furthest[index(k + 1)] } else { furthest[index(k - 1)] + 1 };
            let mut y = x - k;
            while x < n && y < m && old[x as usize] == new[y as usize] {
                (x, y) = (x + 1, y + 1);
                steps += 1;
            }
            furthest[index(k)] = x;
            steps += 1;
            if x >= n && y >= m {
                return Some(walk_back(&trace, d, (n, m)));
            }
        }
        if !budget.take(steps) {
            return None;
        }
    }
    None
}

fn walk_back(trace: &[Vec<u32>], d: i64, (mut x, mut y): (i64, i64)) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for d in (0..=d).rev() {
        let before = &trace[d as usize];
        let at = |k: i64| if k.abs() <= d { i64::from(before[(k + d) as usize]) } else { -1 };
        let k = x - y;
        let goes_down = k == -d || k != d && at(k - 1) < at(k + 1);
        let from_k = if goes_down { k + 1 } else { k - 1 };
        let (from_x, from_y) = if d == 0 { (0, 0) } else { (at(from_k), at(from_k) - from_k) };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            pairs.push((x as usize, y as usize));
        }
        (x, y) = (from_x, from_y);
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn texts(old: &str, new: &str) -> Vec<(String, String)> {
        let part = |text: &str, range: Range<usize>| text.chars().skip(range.start).take(range.len()).collect();
        let hunks = hunks_of_texts(old, new, &mut Budget::new());
        hunks.into_iter().map(|hunk| (part(old, hunk.old), part(new, hunk.new))).collect()
    }

    #[test]
    fn a_text_differs_where_it_was_changed() {
        let change = |old: &str, new: &str| (old.to_owned(), new.to_owned());
        assert_eq!(texts("abc", "abc"), []);
        assert_eq!(texts("abc", "abxc"), [change("", "x")]);
        assert_eq!(texts("aaa", "aa"), [change("a", "")]);
        assert_eq!(texts("a😀b", "a😁b"), [change("😀", "😁")]);
        assert_eq!(texts("é", "è"), [change("é", "è")]);
        assert_eq!(texts("the cat sat", "the bat sat down"), [change("c", "b"), change("", " down")]);
    }

    #[test]
    fn elements_are_known_by_what_names_them() {
        let pairs =
            |old: Value, new: Value| super::pairs(old.as_array().unwrap(), new.as_array().unwrap(), &mut Budget::new());
        let (a, b, c) = (json!({"id": "a", "n": 1}), json!({"id": "b"}), json!({"id": "c"}));
        assert_eq!(pairs(json!([a, b, c]), json!([c, {"id": "a", "n": 2}, b])), [(0, 1), (1, 2)]);
        assert_eq!(pairs(json!([{"id": 1}, {"id": "1"}]), json!([{"id": "1"}])), [(1, 0)]);
        // Not all have one: by what they are, and what changed in its place is the same.
        assert_eq!(pairs(json!([a, 7]), json!([b, 7])), [(0, 0), (1, 1)]);
        assert_eq!(pairs(json!([1, 2, 3]), json!([1, 4, 3])), [(0, 0), (2, 2)]);
        assert_eq!(pairs(json!([[1], [2]]), json!([[1], [3], [2]])), [(0, 0), (1, 2)]);
    }

    #[test]
    fn what_differs_too_much_is_replaced_and_costs_no_more_than_its_budget() {
        let old: String = (0..100_000_u32).map(|n| char::from(b'a' + (n % 7) as u8)).collect();
        let new: String = (0..100_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(n) % 11) as u8)).collect();
        let mut budget = Budget::new();
        let hunks = hunks_of_texts(&format!("<{old}!>"), &format!("<{new}?>"), &mut budget);
        let [Hunk { old, new }] = &hunks[..] else { panic!("{hunks:?}") };
        assert!(old.len() > 99_900 && new.len() == old.len(), "{hunks:?}");
        assert!(budget.0 > (1 << 25) - 3_000_000, "{}", (1 << 25) - budget.0);
        let hunks = hunks_of_texts("xaxbxc", "aybycy", &mut Budget::of(2));
        assert_eq!(hunks, [Hunk { old: 0..6, new: 0..6 }]);
    }

    proptest! {
        #[test]
        fn pairs_are_equal_ascend_and_are_as_many_as_can_be(
            old in prop::collection::vec(0..4_u8, 0..14),
            new in prop::collection::vec(0..4_u8, 0..14),
        ) {
            let pairs = shortest(&old, &new, &mut Budget::new()).expect("short");
            prop_assert!(pairs.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
            prop_assert!(pairs.iter().all(|(a, b)| old[*a] == new[*b]));
            let mut longest = vec![vec![0; new.len() + 1]; old.len() + 1];
            for a in 0..old.len() {
                for b in 0..new.len() {
                    longest[a + 1][b + 1] =
                        if old[a] == new[b] { longest[a][b] + 1 } else { longest[a][b + 1].max(longest[a + 1][b]) };
                }
            }
            prop_assert_eq!(pairs.len(), longest[old.len()][new.len()]);
            let hunks = hunks(&pairs, old.len(), new.len());
            let kept: usize = old.len() - hunks.iter().map(|hunk| hunk.old.len()).sum::<usize>();
            prop_assert_eq!(kept, pairs.len());
        }
    }
}
