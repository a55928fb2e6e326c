//! Three-way merge: what somebody made of an earlier state, applied to the present one.
//!
//! What only one side changed is as that side has it. Where both changed the same value, the side that writes counts; objects are merged by
//! their members, lists by their elements, shared texts by their characters, so additions of both survive.

use serde_json::{Map, Value};

use super::matching::{Budget, Hunk, hunks_of_texts, identities, pairs};
use super::{Present, Step};

/// `theirs` was made of `base`; what is shown was made of it by others.
pub(super) fn merge(present: &Present<'_>, base: &Value, theirs: &Value) -> Value {
    let mut merging = Merging { present, budget: Budget::new(), path: Vec::new() };
    merging.value(Some(base), theirs, present.shown())
}

struct Merging<'m, 'a> {
    present: &'m Present<'a>,
    budget: Budget,
    /// Where it is in what is shown.
    path: Vec<Step<'m>>,
}

impl<'m> Merging<'m, '_> {
    fn value(&mut self, base: Option<&'m Value>, theirs: &'m Value, ours: &'m Value) -> Value {
        static NULL: Value = Value::Null;
        if base == Some(theirs) || ours == theirs {
            return ours.clone();
        }
        if base == Some(ours) {
            return theirs.clone();
        }
        match (base.unwrap_or(&NULL), theirs, ours) {
            (base, Value::Object(theirs), Value::Object(ours)) if base.is_object() || base.is_null() => {
                Value::Object(self.object(base.as_object(), theirs, ours))
            }
            (base, Value::Array(theirs), Value::Array(ours)) if base.is_array() || base.is_null() => {
                Value::Array(self.list(base.as_array().map_or(&[], Vec::as_slice), theirs, ours))
            }
            (base, Value::String(theirs), Value::String(ours)) if self.present.is_text(&self.path) => {
                Value::String(self.text(base.as_str().unwrap_or_default(), theirs, ours))
            }
            _ => theirs.clone(),
        }
    }

    fn object(
        &mut self,
        base: Option<&'m Map<String, Value>>,
        theirs: &'m Map<String, Value>,
        ours: &'m Map<String, Value>,
    ) -> Map<String, Value> {
        let base = |key: &str| base.and_then(|base| base.get(key));
        let mut merged = Map::new();
        for (key, value) in theirs {
            match ours.get(key) {
                Some(own) => {
                    self.path.push(Step::Key(key));
                    merged.insert(key.clone(), self.value(base(key), value, own));
                    self.path.pop();
                }
                // Removed by others, unless it was changed here.
                None if base(key) == Some(value) => {}
                None => _ = merged.insert(key.clone(), value.clone()),
            }
        }
        let added = ours.iter().filter(|(key, _)| !theirs.contains_key(*key) && base(key).is_none());
        merged.extend(added.map(|(key, value)| (key.clone(), value.clone())));
        merged
    }

    fn list(&mut self, base: &'m [Value], theirs: &'m [Value], ours: &'m [Value]) -> Vec<Value> {
        if let Some(merged) = self.named_list(base, theirs, ours) {
            return merged;
        }
        let to_ours = places(&pairs(base, ours, &mut self.budget), base.len());
        let to_theirs = places(&pairs(base, theirs, &mut self.budget), base.len());
        let merged = sequence(
            &to_ours,
            &to_theirs,
            ours,
            theirs,
            |at, own, other| match (own, other) {
                (Some(own), Some(other)) => Some(Element::Both(at, own, other)),
                (None, Some(other)) if base[at] != theirs[other] => Some(Element::One(&theirs[other])),
                _ => None,
            },
            Element::One,
        );
        merged
            .into_iter()
            .map(|element| match element {
                Element::One(value) => value.clone(),
                Element::Both(at, own, other) => {
                    self.path.push(Step::Index(own));
                    let value = self.value(Some(&base[at]), &theirs[other], &ours[own]);
                    self.path.pop();
                    value
                }
            })
            .collect()
    }

    /// A list whose elements are known by a member: in the order of who changed it, with what the other one added.
    fn named_list(&mut self, base: &'m [Value], theirs: &'m [Value], ours: &'m [Value]) -> Option<Vec<Value>> {
        let [in_base, in_theirs, in_ours] = identities([base, theirs, ours])?;
        let known: Vec<usize> = theirs_order(&in_theirs.order, &in_base.places);
        let theirs_moved = !known.is_sorted();
        let (backbone, others) = if theirs_moved { (&in_theirs, &in_ours) } else { (&in_ours, &in_theirs) };
        // What the other side added, by what stands before it there.
        let mut order: Vec<&(bool, String)> = backbone.order.iter().collect();
        for (at, id) in others.order.iter().enumerate() {
            if backbone.places.contains_key(id) || in_base.places.contains_key(id) && theirs_moved {
                continue;
            }
            let before = others.order[..at].iter().rev().find_map(|id| order.iter().position(|other| *other == id));
            order.insert(before.map_or(0, |before| before + 1), id);
        }
        let mut merged = Vec::with_capacity(order.len());
        for id in order {
            let of = |side: &'m [Value], places: &std::collections::BTreeMap<(bool, String), usize>| {
                places.get(id).map(|at| &side[*at])
            };
            let old = of(base, &in_base.places);
            match (of(theirs, &in_theirs.places), of(ours, &in_ours.places)) {
                (Some(value), Some(own)) => {
                    self.path.push(Step::Index(in_ours.places[id]));
                    merged.push(self.value(old, value, own));
                    self.path.pop();
                }
                (Some(value), None) if old != Some(value) => merged.push(value.clone()),
                (None, Some(own)) if old.is_none() => merged.push(own.clone()),
                _ => {}
            }
        }
        Some(merged)
    }

    fn text(&mut self, base: &str, theirs: &str, ours: &str) -> String {
        let characters = |text: &str| text.chars().collect::<Vec<char>>();
        let len = base.chars().count();
        let to_ours = places_between(&hunks_of_texts(base, ours, &mut self.budget), len);
        let to_theirs = places_between(&hunks_of_texts(base, theirs, &mut self.budget), len);
        let (ours, theirs) = (characters(ours), characters(theirs));
        let kept = |_, own: Option<usize>, other: Option<usize>| own.and(other).map(|other| theirs[other]);
        sequence(&to_ours, &to_theirs, &ours, &theirs, kept, |c| *c).into_iter().collect()
    }
}

/// An element of a merged list: of one side, or of all three by their places.
enum Element<'m> {
    One(&'m Value),
    Both(usize, usize, usize),
}

fn theirs_order(order: &[(bool, String)], places: &std::collections::BTreeMap<(bool, String), usize>) -> Vec<usize> {
    order.iter().filter_map(|id| places.get(id).copied()).collect()
}

/// Where each element went.
fn places(pairs: &[(usize, usize)], len: usize) -> Vec<Option<usize>> {
    let mut places = vec![None; len];
    pairs.iter().for_each(|(from, to)| places[*from] = Some(*to));
    places
}

fn places_between(hunks: &[Hunk], len: usize) -> Vec<Option<usize>> {
    let mut places = vec![None; len];
    let (mut from, mut to) = (0, 0);
    for Hunk { old, new } in hunks.iter().chain([&Hunk { old: len..len, new: 0..0 }]) {
        for (at, place) in places[from..old.start].iter_mut().enumerate() {
            *place = Some(to + at);
        }
        (from, to) = (old.end, new.end);
    }
    places
}

/// Goes through a sequence in its three states: `kept` says what becomes of an element, `added` of what one side put in.
fn sequence<'s, T: PartialEq, U>(
    to_ours: &[Option<usize>],
    to_theirs: &[Option<usize>],
    ours: &'s [T],
    theirs: &'s [T],
    mut kept: impl FnMut(usize, Option<usize>, Option<usize>) -> Option<U>,
    mut added: impl FnMut(&'s T) -> U,
) -> Vec<U> {
    let (mut own, mut other) = (0, 0);
    let mut merged = Vec::with_capacity(ours.len().max(theirs.len()));
    for at in 0..=to_ours.len() {
        let is_end = at == to_ours.len();
        let to_own = if is_end { Some(ours.len()) } else { to_ours[at] };
        let to_other = if is_end { Some(theirs.len()) } else { to_theirs[at] };
        let by_us = to_own.map_or(&[][..], |to| &ours[own..to]);
        let by_them = to_other.map_or(&[][..], |to| &theirs[other..to]);
        merged.extend(by_us.iter().map(&mut added));
        // Sent twice, it is there once.
        if by_them != by_us {
            merged.extend(by_them.iter().map(&mut added));
        }
        (own, other) = (to_own.map_or(own, |to| to + 1), to_other.map_or(other, |to| to + 1));
        if !is_end {
            merged.extend(kept(at, to_own, to_other));
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::{Pen, Present};
    use crate::document::from_json;
    use serde_json::{Value, json};

    /// `ours` is what the document shows.
    fn merged(base: Value, theirs: Value, ours: Value) -> Value {
        let state = from_json(ours.to_string().as_bytes(), 7).unwrap();
        let present = Present::read(&state).unwrap();
        let merged = present.merge(&base, &theirs);
        assert_eq!(present.merge(&base, &base), *present.shown(), "who changes nothing changes nothing");
        assert_eq!(present.merge(present.shown(), &theirs), theirs, "who is alone gets what was written");
        let pen = Pen { client: 9, clock: 0 };
        assert!(present.edit(&merged, pen).is_ok());
        merged
    }

    #[test]
    fn changes_of_both_sides_survive() {
        let base = json!({"w": {"a": {"x": 1, "y": 1}, "b": {}}, "l": [1, 2, 3], "t": "one two"});
        let theirs = json!({"w": {"a": {"x": 2, "y": 1}, "c": {}}, "l": [0, 1, 2, 3], "t": "one, two"});
        let ours = json!({"w": {"a": {"x": 1, "y": 2}, "b": {}, "d": 1}, "l": [1, 3, 4], "t": "one two three"});
        let expected = json!({"w": {"a": {"x": 2, "y": 2}, "c": {}, "d": 1}, "l": [0, 1, 3, 4], "t": "one, two three"});
        assert_eq!(merged(base, theirs, ours), expected);
    }

    #[test]
    fn where_both_changed_one_value_who_writes_counts() {
        let of = |value: Value| json!({"m": {"k": value}});
        assert_eq!(merged(of(json!(1)), of(json!(2)), of(json!(3))), of(json!(2)));
        assert_eq!(merged(of(json!("#fff")), of(json!("#ff0")), of(json!("#0ff"))), of(json!("#ff0")), "no text");
        assert_eq!(merged(of(json!(1)), of(json!({"a": 1})), of(json!([1]))), of(json!({"a": 1})));
        let gone = json!({"m": {"l": 1}});
        assert_eq!(merged(json!({"m": {"k": 1, "l": 1}}), json!({"m": {"k": 2, "l": 1}}), gone)["m"]["k"], 2);
    }

    #[test]
    fn lists_of_what_has_names_are_merged_by_them() {
        let of = |elements: &[(&str, u8)]| -> Value {
            json!({"l": elements.iter().map(|(id, n)| json!({"id": id, "n": n})).collect::<Vec<_>>()})
        };
        let base = of(&[("a", 1), ("b", 1), ("c", 1)]);
        let moved = of(&[("c", 1), ("a", 1), ("b", 1), ("new", 1)]);
        let changed = of(&[("a", 2), ("other", 1), ("b", 1), ("c", 3)]);
        let both = of(&[("c", 3), ("a", 2), ("other", 1), ("b", 1), ("new", 1)]);
        assert_eq!(merged(base.clone(), moved.clone(), changed.clone()), both);
        let both = of(&[("c", 3), ("a", 2), ("other", 1), ("b", 1), ("new", 1)]);
        assert_eq!(merged(base.clone(), changed.clone(), moved), both);
        let without = of(&[("a", 1), ("c", 1)]);
        assert_eq!(merged(base, without, changed), of(&[("a", 2), ("other", 1), ("c", 3)]));
    }

    #[test]
    fn what_is_sent_twice_is_there_once() {
        let base = json!({"l": [1, 2], "t": "ab"});
        let theirs = json!({"l": [1, 5, 2], "t": "a-b"});
        assert_eq!(merged(base.clone(), theirs.clone(), theirs.clone()), theirs);
        let ours = json!({"l": [1, 5, 2, 6], "t": "a-bc"});
        assert_eq!(merged(base, theirs, ours.clone()), ours);
    }
}
