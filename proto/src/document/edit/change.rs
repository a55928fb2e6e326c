//! What a caller wants changed, at a place: a whole, a JSON Merge Patch (RFC 7396), a JSON Patch (RFC 6902), or nothing left there.
//!
//! Works on what a document shows; [`super::Present::edit`] makes the edit of it. Patches are bounded in operations and in memory: `copy`
//! doubles, so thirty of them would make a billion values.

use std::borrow::Cow;

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::{Map, Value, json};

use super::value::{DEPTH_MAX, depth, memory};

/// Operations of one JSON Patch.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;
/// Memory that a document may take when it was patched, by estimate.
const PATCHED_MEMORY_MAX: usize = 96 << 20;
/// Changes that are listed.
pub const CHANGES_MAX: usize = 1_000;

/// Which part of a document a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    Whole,
    /// What a JSON pointer (RFC 6901) names.
    At(String),
    /// A widget with its layout: `{"widget": …, "layout": …}`, of which `widgets` and `layout` hold one part each.
    Widget(String),
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// This.
    Put(Value),
    /// A JSON Merge Patch.
    Merge(Value),
    /// A JSON Patch.
    Patch(Value),
    /// Nothing.
    Remove,
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The place is not there.
    #[error("nothing is at this place")]
    NotThere {
        /// Which.
        pointer: String,
    },
    /// No JSON pointer names the place.
    #[error("a JSON pointer is empty or begins with a slash")]
    BadPointer,
    /// Not what a widget is written as.
    #[error(
        "a widget is written as an object of `widget`, an object, and `layout`, an object or null, and each dashboard keeps them in objects"
    )]
    NotAWidget,
    /// The body is no list of operations.
    #[error("a JSON Patch is a list of at most {PATCH_OPERATIONS_MAX} operations")]
    NotAPatch,
    /// An operation is none, or cannot be carried out. Nothing was changed.
    #[error("{why}")]
    Operation {
        /// In the patch.
        pointer: String,
        /// As a sentence.
        why: &'static str,
    },
    /// A `test` found something else. Nothing was changed.
    #[error("a test of the patch failed")]
    TestFailed {
        /// In the patch.
        pointer: String,
    },
    /// What was copied takes too much memory, or nests too deeply.
    #[error("the patch would make too many values")]
    TooLarge,
}

impl Place {
    /// What a document shows there; `None` if there is nothing.
    ///
    /// # Errors
    /// [`ChangeError::BadPointer`].
    pub fn look<'v>(&self, shown: &'v Value) -> Result<Option<Cow<'v, Value>>, ChangeError> {
        match self {
            Place::Whole => Ok(Some(Cow::Borrowed(shown))),
            Place::At(pointer) => {
                check(pointer)?;
                Ok(shown.pointer(pointer).map(Cow::Borrowed))
            }
            Place::Widget(id) => {
                Ok(shown["widgets"].get(id.as_str()).map(|widget| match shown["layout"].get(id.as_str()) {
                    Some(layout) => Cow::Owned(json!({ "widget": widget, "layout": layout })),
                    None => Cow::Owned(json!({ "widget": widget })),
                }))
            }
        }
    }

    /// What a document is to show, all of it, when `change` is made there.
    ///
    /// # Errors
    /// [`ChangeError`] – a sentence for whoever asked for it.
    pub fn change(&self, shown: &Value, change: Change) -> Result<Value, ChangeError> {
        let here = self.look(shown)?;
        let is_there = here.is_some();
        let after = match change {
            Change::Put(value) => Some(value),
            Change::Remove => None,
            Change::Merge(patch) => {
                let mut after = here.ok_or_else(|| self.not_there())?.into_owned();
                json_patch::merge(&mut after, &patch);
                Some(after)
            }
            Change::Patch(operations) => Some(patched(here.ok_or_else(|| self.not_there())?.into_owned(), operations)?),
        };
        match self {
            Place::Whole => Ok(after.unwrap_or_else(|| json!({}))),
            Place::At(pointer) => self.set(shown, pointer, after),
            Place::Widget(id) => self.set_widget(shown, id, is_there, after),
        }
    }

    fn not_there(&self) -> ChangeError {
        let pointer = match self {
            Place::Whole => String::new(),
            Place::At(pointer) => pointer.clone(),
            Place::Widget(id) => format!("/widgets/{}", id.replace('~', "~0").replace('/', "~1")),
        };
        ChangeError::NotThere { pointer }
    }

    fn set(&self, shown: &Value, pointer: &str, value: Option<Value>) -> Result<Value, ChangeError> {
        let mut document = shown.clone();
        let Some((parent, last)) = pointer.rsplit_once('/') else {
            return Ok(value.unwrap_or_else(|| json!({})));
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        let parent = document.pointer_mut(parent).ok_or_else(|| self.not_there())?;
        match (parent, value) {
            (Value::Object(entries), Some(value)) => drop(entries.insert(last, value)),
            (Value::Object(entries), None) => drop(entries.remove(&last).ok_or_else(|| self.not_there())?),
            (Value::Array(values), value) => {
                let end = values.len();
                let at = if last == "-" { Some(end) } else { index(&last) };
                match (at, value) {
                    (Some(at), Some(value)) if at < end => values[at] = value,
                    (Some(at), Some(value)) if at == end => values.push(value),
                    (Some(at), None) if at < end => drop(values.remove(at)),
                    _ => return Err(self.not_there()),
                }
            }
            _ => return Err(self.not_there()),
        }
        Ok(document)
    }

    fn set_widget(&self, shown: &Value, id: &str, is_there: bool, after: Option<Value>) -> Result<Value, ChangeError> {
        let mut document = shown.clone();
        let Some(roots) = document.as_object_mut() else { return Err(self.not_there()) };
        let mut part = |root: &str, value: Option<Value>| {
            let entries = roots.entry(root).or_insert_with(|| Value::Object(Map::new()));
            // An emptied text or list is shown as an empty list.
            if entries.as_array().is_some_and(Vec::is_empty) {
                *entries = Value::Object(Map::new());
            }
            let entries = entries.as_object_mut().ok_or(ChangeError::NotAWidget)?;
            match value {
                Some(value) => drop(entries.insert(id.to_owned(), value)),
                None => drop(entries.remove(id)),
            }
            Ok(())
        };
        match after {
            None if !is_there => return Err(self.not_there()),
            None => {
                part("widgets", None)?;
                part("layout", None)?;
            }
            Some(Value::Object(mut members)) => {
                let widget = members.remove("widget").filter(Value::is_object).ok_or(ChangeError::NotAWidget)?;
                let layout = members.remove("layout");
                if !members.is_empty() || layout.as_ref().is_some_and(|layout| !layout.is_object() && !layout.is_null())
                {
                    return Err(ChangeError::NotAWidget);
                }
                part("widgets", Some(widget))?;
                match layout {
                    Some(Value::Null) => part("layout", None)?,
                    Some(layout) => part("layout", Some(layout))?,
                    None => {}
                }
            }
            Some(_) => return Err(ChangeError::NotAWidget),
        }
        Ok(document)
    }
}

fn check(pointer: &str) -> Result<(), ChangeError> {
    if pointer.is_empty() || pointer.starts_with('/') { Ok(()) } else { Err(ChangeError::BadPointer) }
}

/// A place in a list: digits without a zero in front.
fn index(text: &str) -> Option<usize> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

/// Carries out a JSON Patch, all of it or nothing.
fn patched(mut value: Value, operations: Value) -> Result<Value, ChangeError> {
    let Value::Array(operations) = operations else { return Err(ChangeError::NotAPatch) };
    if operations.len() > PATCH_OPERATIONS_MAX {
        return Err(ChangeError::NotAPatch);
    }
    let mut taken = memory(&value);
    for (at, operation) in operations.into_iter().enumerate() {
        let pointer = format!("/{at}");
        let refused = |why| ChangeError::Operation { pointer: pointer.clone(), why };
        let operation: PatchOperation =
            serde_json::from_value(operation).map_err(|_| refused("this is no operation of a JSON Patch"))?;
        taken += match &operation {
            PatchOperation::Copy(copy) => copy.from.resolve(&value).map_or(0, memory),
            PatchOperation::Add(add) => memory(&add.value),
            PatchOperation::Replace(replace) => memory(&replace.value),
            PatchOperation::Remove(_) | PatchOperation::Move(_) | PatchOperation::Test(_) => 0,
        };
        if taken > PATCHED_MEMORY_MAX {
            return Err(ChangeError::TooLarge);
        }
        json_patch::patch_unsafe(&mut value, core::slice::from_ref(&operation)).map_err(|error| match error.kind {
            PatchErrorKind::TestFailed => ChangeError::TestFailed { pointer: pointer.clone() },
            PatchErrorKind::InvalidFromPointer => refused("nothing is where this operation takes from"),
            PatchErrorKind::CannotMoveInsideItself => refused("nothing can be moved into itself"),
            _ => refused("this operation names a place that is not there"),
        })?;
    }
    if depth(&value) > DEPTH_MAX { Err(ChangeError::TooLarge) } else { Ok(value) }
}

/// What is to be changed to get from `old` to `new`, as operations of a JSON Patch without values: at most [`CHANGES_MAX`].
#[must_use]
pub fn changes(old: &Value, new: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    compare(&mut String::new(), old, new, &mut found);
    found
}

fn compare(path: &mut String, old: &Value, new: &Value, found: &mut Vec<Value>) {
    if old == new || found.len() >= CHANGES_MAX {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        found.push(json!({ "op": "replace", "path": path }));
        return;
    };
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    for key in keys {
        let len = path.len();
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) => compare(path, old, new, found),
            _ if found.len() >= CHANGES_MAX => {}
            (Some(_), None) => found.push(json!({ "op": "remove", "path": path })),
            _ => found.push(json!({ "op": "add", "path": path })),
        }
        path.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str) -> Place {
        Place::At(pointer.into())
    }

    #[test]
    fn a_place_is_put_merged_patched_and_removed() {
        let shown = json!({"m": {"a": {"x": 1}, "b/c": 2}, "l": [1, 2]});
        let put = |place: Place, value: Value| place.change(&shown, Change::Put(value));
        assert_eq!(put(Place::Whole, json!({"n": {}})), Ok(json!({"n": {}})));
        assert_eq!(put(at("/m/b~1c"), json!(3)).unwrap()["m"]["b/c"], 3);
        assert_eq!(put(at("/l/-"), json!(3)).unwrap()["l"], json!([1, 2, 3]));
        assert_eq!(put(at("/l/1"), json!(3)).unwrap()["l"], json!([1, 3]));
        for pointer in ["/l/3", "/l/01", "/l/x", "/m/a/x/y", "/none/a"] {
            assert_eq!(put(at(pointer), json!(3)), Err(ChangeError::NotThere { pointer: pointer.into() }));
        }
        assert_eq!(put(at("m"), json!(3)), Err(ChangeError::BadPointer));
        assert_eq!(at("/l/0").change(&shown, Change::Remove).unwrap()["l"], json!([2]));
        assert_eq!(at("/m/a").change(&shown, Change::Remove).unwrap()["m"], json!({"b/c": 2}));
        assert!(at("/m/none").change(&shown, Change::Remove).is_err());
        let merged = at("/m").change(&shown, Change::Merge(json!({"a": {"y": 2}, "b/c": null})));
        assert_eq!(merged.unwrap()["m"], json!({"a": {"x": 1, "y": 2}}));
        let patch = json!([{"op": "test", "path": "/x", "value": 1}, {"op": "move", "from": "/x", "path": "/y"}]);
        assert_eq!(at("/m/a").change(&shown, Change::Patch(patch)).unwrap()["m"]["a"], json!({"y": 1}));
    }

    #[test]
    fn a_widget_is_in_two_places() {
        let widget = Place::Widget("a".into());
        let shown = json!({"widgets": {"a": {"t": 1}, "b": {}}, "layout": {"a": {"x": 1}}});
        let look = |id: &str| Place::Widget(id.into()).look(&shown).unwrap().map(Cow::into_owned);
        assert_eq!(look("a"), Some(json!({"widget": {"t": 1}, "layout": {"x": 1}})));
        assert_eq!(look("b"), Some(json!({"widget": {}})));
        assert_eq!(look("c"), None);
        let put = |value: Value| widget.change(&shown, Change::Put(value));
        let kept = put(json!({"widget": {"t": 2}})).unwrap();
        assert_eq!(kept, json!({"widgets": {"a": {"t": 2}, "b": {}}, "layout": {"a": {"x": 1}}}));
        assert_eq!(put(json!({"widget": {}, "layout": null})).unwrap()["layout"], json!({}));
        let removed = widget.change(&shown, Change::Remove).unwrap();
        assert_eq!(removed, json!({"widgets": {"b": {}}, "layout": {}}));
        for wrong in
            [json!({}), json!({"widget": 1}), json!({"widget": {}, "layout": 1}), json!({"widget": {}, "x": 1})]
        {
            assert_eq!(put(wrong), Err(ChangeError::NotAWidget));
        }
        let patch = json!([{"op": "add", "path": "/layout/y", "value": 2}]);
        assert_eq!(widget.change(&shown, Change::Patch(patch)).unwrap()["layout"]["a"], json!({"x": 1, "y": 2}));
        let other = json!({"widgets": [1]});
        assert_eq!(widget.change(&other, Change::Put(json!({"widget": {}}))), Err(ChangeError::NotAWidget));
    }

    #[test]
    fn patches_are_all_or_nothing_and_say_which_operation_it_was() {
        let patch = |operations: Value| at("/m").change(&json!({"m": {"a": 1}}), Change::Patch(operations));
        let pointer = || "/1".to_owned();
        let good = json!({"op": "add", "path": "/b", "value": 1});
        let tested = patch(json!([good, {"op": "test", "path": "/a", "value": 2}]));
        assert_eq!(tested, Err(ChangeError::TestFailed { pointer: pointer() }));
        for bad in [
            json!({"op": "remove", "path": "/none"}),
            json!({"op": "move", "from": "/none", "path": "/x"}),
            json!({"op": "copy", "path": "/x"}),
            json!({"op": "dance", "path": "/x"}),
            json!(7),
        ] {
            let refused = patch(json!([good, bad]));
            assert!(matches!(&refused, Err(ChangeError::Operation { pointer, .. }) if pointer == "/1"), "{refused:?}");
        }
        assert_eq!(patch(json!({})), Err(ChangeError::NotAPatch));
        assert_eq!(patch(vec![good.clone(); PATCH_OPERATIONS_MAX + 1].into()), Err(ChangeError::NotAPatch));
        assert!(patch(vec![good; PATCH_OPERATIONS_MAX].into()).is_ok());
    }

    /// Thirty operations that copy the whole into itself make a billion values.
    #[test]
    fn a_patch_that_doubles_is_given_up() {
        let shown = json!({"m": {"a": 1}});
        let patch = |operations: Vec<Value>| at("/m").change(&shown, Change::Patch(operations.into()));
        let double = |n: u32| json!({"op": "copy", "from": "", "path": format!("/{n}")});
        assert_eq!(patch((0..30).map(double).collect()), Err(ChangeError::TooLarge));
        let deepen = json!({"op": "copy", "from": "", "path": "/b"});
        assert_eq!(patch(vec![deepen; 500]), Err(ChangeError::TooLarge));
    }

    #[test]
    fn changes_are_listed_by_place() {
        let (old, new) = (json!({"a": {"x": 1, "y": 2}, "b": [1]}), json!({"a": {"x": 2, "z/": 3}, "b": [1, 2]}));
        let expected = json!([
            {"op": "replace", "path": "/a/x"},
            {"op": "remove", "path": "/a/y"},
            {"op": "add", "path": "/a/z~1"},
            {"op": "replace", "path": "/b"},
        ]);
        assert_eq!(Value::from(changes(&old, &new)), expected);
        let many: Map<String, Value> = (0..2 * CHANGES_MAX).map(|n| (n.to_string(), json!(1))).collect();
        assert_eq!(changes(&json!({}), &Value::Object(many)).len(), CHANGES_MAX);
    }
}
