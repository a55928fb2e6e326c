//! Whether an edit removes so much that what was there is to be kept first.

use serde_json::Value;

/// An edit that removes fewer bytes never removes much: they are typed again in a minute.
const REMOVED_BYTES_MIN: usize = 256;

/// Whether at least half of what a document shows is gone in what it is to show, and that is more than a few words.
///
/// A key or an element counts with all that is in it, a text with the characters between what begins and ends it on both sides. Lists are
/// compared place by place, so one that is put in another order counts as replaced.
#[must_use]
pub fn removes_much(before: &Value, after: &Value) -> bool {
    let removed = removed(before, after);
    removed >= REMOVED_BYTES_MIN && removed >= weight(before).div_ceil(2)
}

/// Bytes of a value, roughly as JSON has them.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + weight(value)).sum(),
    }
}

/// How many of them are gone.
fn removed(before: &Value, after: &Value) -> usize {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .map(|(key, value)| match after.get(key) {
                Some(there) => removed(value, there),
                None => key.len() + weight(value),
            })
            .sum(),
        (Value::Array(before), Value::Array(after)) => {
            let gone = before.get(after.len()..).unwrap_or_default();
            before.iter().zip(after).map(|(value, there)| removed(value, there)).sum::<usize>()
                + gone.iter().map(weight).sum::<usize>()
        }
        (Value::String(before), Value::String(after)) => {
            let (before, after) = (before.as_bytes(), after.as_bytes());
            let begins = before.iter().zip(after).take_while(|(one, other)| one == other).count();
            let (before, after) = (&before[begins..], &after[begins..]);
            let ends = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
            before.len() - ends
        }
        _ if before == after => 0,
        _ => weight(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn half_of_what_is_shown_and_more_than_a_few_words_is_much() {
        let widget = |n: usize| json!({ "title": format!("widget {n}"), "text": "x".repeat(100), "list": [1, 2, n] });
        let board = |count: usize| -> Value {
            let widgets = (0..count).map(|n| (format!("w{n}"), widget(n)));
            json!({ "meta": { "title": "Sales" }, "widgets": widgets.collect::<serde_json::Map<_, _>>() })
        };
        assert!(removes_much(&board(10), &board(4)));
        assert!(removes_much(&board(10), &json!({})));
        assert!(removes_much(&board(10), &json!({ "meta": { "title": "Sales" }, "widgets": [] })));
        assert!(!removes_much(&board(10), &board(6)), "less than half");
        assert!(!removes_much(&board(10), &board(10)));
        assert!(!removes_much(&board(4), &board(10)));
        assert!(!removes_much(&board(1), &json!({})), "a few words");
        let text = |words: &[&str]| json!({ "text": words.concat() });
        let (a, b, c) = ("a".repeat(400), "b".repeat(400), "c".repeat(400));
        assert!(removes_much(&text(&[&a, &b, &c]), &text(&[&a])));
        assert!(removes_much(&text(&[&a, &b, &c]), &text(&[&a, &c.repeat(2).to_uppercase()])));
        assert!(!removes_much(&text(&[&a, &b, &c]), &text(&[&a, &c])), "a third");
        assert!(!removes_much(&text(&[&a, &c]), &text(&[&a, &b, &c])));
        let list = |range: core::ops::Range<u32>| json!({ "list": range.collect::<Vec<_>>() });
        assert!(removes_much(&list(0..200), &list(0..90)));
        assert!(!removes_much(&list(0..200), &list(0..110)));
    }
}
