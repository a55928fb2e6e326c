//! Edits from JSON: what a document is to show becomes the smallest update that makes it show that.
//!
//! What is shown already is not touched, so a document that is put back as it was read is not edited at all, and what JSON cannot hold
//! (XML, formats, `BigInt`, `Uint8Array`, `undefined`) stays as long as what it is shown as stays. Shared types stay the types they are:
//! in a `Y.Map` keys are set and removed, in a `Y.Array` elements, in a `Y.Text` characters. An edit refers to peers' items,
//! so it is written here, on the bytes; what is new in it is what yrs would write.
//!
//! Linear in the document but for lists and texts that differ much, which are compared within a number of steps.

mod change;
mod cursor;
mod matching;
mod merge;
mod removal;
mod structs;
mod value;

pub use change::{CHANGES_MAX, Change, ChangeError, PATCH_OPERATIONS_MAX, Place, changes};
pub use removal::removes_much;
pub use value::{JsonError, parse, parse_lenient};

use serde_json::{Map, Value as Json};

use super::json::{Foreign, ReadError, render};
use super::tree::{BranchId, RootKind, Tree, TreeError};
use crate::id::{ClientId, Clock};
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::update::content::Shared;
use crate::update::structs::{CONTENT_STRING, CONTENT_TYPE, utf16_len};
use cursor::{Counts, Cursor, Element, Form, one_form};
use matching::{Budget, Hunk, hunks, hunks_of_texts, pairs};
use structs::{Parent, Seat, Structs};
use value::{depth, is_container};

/// Steps that bringing the items into order may take: some tenths of a second.
const STEPS_MAX: u64 = 1 << 25;
/// What a document may take as JSON to be edited.
pub const EDITED_JSON_BYTES_MAX: usize = 32 << 20;
/// Items that one edit may write: each takes readers some time.
pub const EDITED_ITEMS_MAX: usize = crate::limits::CREATED_ITEMS_MAX;
/// How deep arrays and objects may nest inside one plain value, as for peers.
const PLAIN_DEPTH_MAX: u16 = 64;

/// `Y.Array` and `Y.Map` on the wire.
const ARRAY: u8 = 0;
const MAP: u8 = 1;

/// Who writes: a client id that nobody else writes under, and the first of its clocks that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pen {
    /// The Yjs client.
    pub client: ClientId,
    /// As many as the document has of it.
    pub clock: Clock,
}

/// What an edit comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Yjs update v1; [`crate::update::EMPTY_UPDATE`] if the document shows all of it already.
    pub update: Vec<u8>,
    /// Clocks of the pen that it takes.
    pub clocks: Clock,
}

/// Why a document does not become what it is to show. Each names the place, as a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// A document is its root types, by their names.
    #[error("a document is an object of root types")]
    NotAnObject,
    /// Roots are shared types; a number or a truth value is none.
    #[error("a root is an object, a list or a text")]
    NotAType {
        /// Where.
        pointer: String,
    },
    /// Clients that hold the root as what it is would not see what it became.
    #[error("a root that has content stays an object, a list or a text, as it is")]
    OtherRoot {
        /// Where.
        pointer: String,
    },
    /// XML is shown as text, from which it cannot be made again.
    #[error("XML cannot be edited as JSON")]
    Xml {
        /// Where.
        pointer: String,
    },
    /// Plain values nest 64 deep at most.
    #[error("a plain value would nest deeper than {PLAIN_DEPTH_MAX}")]
    TooDeep {
        /// Where.
        pointer: String,
    },
    /// More than [`EDITED_ITEMS_MAX`].
    #[error("an edit writes at most {EDITED_ITEMS_MAX} objects, lists, texts, entries and runs of plain values")]
    TooManyItems,
}

impl EditError {
    /// The place that the error is about.
    #[must_use]
    pub fn pointer(&self) -> &str {
        match self {
            EditError::NotAType { pointer }
            | EditError::OtherRoot { pointer }
            | EditError::Xml { pointer }
            | EditError::TooDeep { pointer } => pointer,
            EditError::NotAnObject | EditError::TooManyItems => "",
        }
    }
}

/// Why a document cannot be edited as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It cannot be shown as JSON.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its values would take too much memory.
    #[error("document has too many values")]
    TooManyValues,
}

/// A document with what it shows: the present, which edits are made against.
pub struct Present<'a> {
    tree: Tree<'a>,
    text: String,
    shown: Json,
}

impl<'a> Present<'a> {
    /// Reads a document's state.
    ///
    /// # Errors
    /// [`OpenError`] – nothing that honest clients write; such a document is edited by Yjs clients only.
    ///
    /// # Panics
    /// When `state` is not an update. Only what was scanned or admitted comes here.
    pub fn read(state: &'a [u8]) -> Result<Present<'a>, OpenError> {
        Present::read_within(state, STEPS_MAX)
    }

    /// As [`Present::read`], with at most so many steps beside those that are linear in the document.
    ///
    /// # Errors
    /// As [`Present::read`].
    ///
    /// # Panics
    /// As [`Present::read`].
    pub fn read_within(state: &'a [u8], steps_max: u64) -> Result<Present<'a>, OpenError> {
        let tree = Tree::of(state, steps_max.min(STEPS_MAX))?;
        let text = render(&tree, EDITED_JSON_BYTES_MAX, Foreign::AsItIs)?;
        let shown = match value::parse_lenient(text.as_bytes()) {
            Err(JsonError::NotJson) => {
                value::parse_lenient(render(&tree, EDITED_JSON_BYTES_MAX, Foreign::Readable)?.as_bytes())
            }
            read => read,
        };
        let shown = shown.map_err(|_| OpenError::TooManyValues)?;
        Ok(Present { tree, text, shown })
    }

    /// What it shows, as [`super::to_json`] renders it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it shows.
    #[must_use]
    pub fn shown(&self) -> &Json {
        &self.shown
    }

    /// How many clocks it has of a client.
    #[must_use]
    pub fn clocks_of(&self, client: ClientId) -> Clock {
        self.tree.clocks_of(client)
    }

    /// Merges what somebody made of `base` into the present: what is the same in both stays as it is here. Where both changed the
    /// same thing, `theirs` counts; lists take what was added to either, shared texts, too.
    #[must_use]
    pub fn merge(&self, base: &Json, theirs: &Json) -> Json {
        merge::merge(self, base, theirs)
    }

    /// Writes, with `pen`, what makes the document show `target`. Roots that are not in it are emptied.
    ///
    /// # Errors
    /// [`EditError`] – a sentence for whoever wrote it, and the place.
    pub fn edit(&self, target: &Json, pen: Pen) -> Result<Edit, EditError> {
        let mut editor = Editor {
            tree: &self.tree,
            structs: Structs::new(pen.client, pen.clock),
            budget: Budget::new(),
            path: Vec::new(),
        };
        editor.roots(&self.shown, target)?;
        let (update, clocks) = editor.structs.finish();
        Ok(Edit { update, clocks })
    }

    /// Whether a place holds a `Y.Text`.
    fn is_text(&self, path: &[Step<'_>]) -> bool {
        let Some((Step::Key(name), rest)) = path.split_first() else { return false };
        let Some(root) = self.tree.root(name) else { return false };
        if rest.is_empty() {
            return self.tree.root_kind(root) == RootKind::Text;
        }
        let mut branch = root;
        for (at, step) in rest.iter().enumerate() {
            let form = match step {
                Step::Key(key) => self.tree.slot(branch, key).map(|slot| one_form(slot.value.last())),
                Step::Index(index) => {
                    let mut cursor = Cursor::over(&self.tree, Some(branch), Counts::Values);
                    core::iter::from_fn(|| cursor.next()).nth(*index).map(|element| element.form)
                }
            };
            match form {
                Some(Form::Shared(Shared::Text, _)) => return at + 1 == rest.len(),
                Some(Form::Shared(_, inner)) => branch = inner,
                _ => return false,
            }
        }
        false
    }
}

impl From<TreeError> for OpenError {
    fn from(error: TreeError) -> OpenError {
        OpenError::Read(error.into())
    }
}

/// One step down.
#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// RFC 6901.
fn pointer(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        text.push('/');
        match step {
            Step::Key(key) => text.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => text.push_str(&index.to_string()),
        }
    }
    text
}

/// How containers that are new are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Containers {
    Shared,
    /// As those beside them are.
    Plain,
}

struct Editor<'t, 'a> {
    tree: &'t Tree<'a>,
    structs: Structs,
    budget: Budget,
    /// Where it is.
    path: Vec<Step<'t>>,
}

impl<'t, 'a> Editor<'t, 'a> {
    fn at<T>(&mut self, step: Step<'t>, work: impl FnOnce(&mut Self) -> Result<T, EditError>) -> Result<T, EditError> {
        self.path.push(step);
        let done = work(self)?;
        self.path.pop();
        Ok(done)
    }

    fn pointer(&self) -> String {
        pointer(&self.path)
    }

    fn roots(&mut self, shown: &'t Json, target: &'t Json) -> Result<(), EditError> {
        let Json::Object(target) = target else { return Err(EditError::NotAnObject) };
        let Json::Object(shown) = shown else { return Ok(()) };
        for (name, old) in shown {
            if !target.contains_key(name) {
                self.at(Step::Key(name), |editor| editor.empty_root(name, old))?;
            }
        }
        for (name, new) in target {
            let old = shown.get(name);
            if old != Some(new) {
                self.at(Step::Key(name), |editor| editor.root(name, old, new))?;
            }
        }
        Ok(())
    }

    fn root(&mut self, name: &'t str, old: Option<&'t Json>, new: &'t Json) -> Result<(), EditError> {
        static NOTHING: Json = Json::Null;
        if !matches!(new, Json::Object(_) | Json::Array(_) | Json::String(_)) {
            return Err(EditError::NotAType { pointer: self.pointer() });
        }
        if is_empty(new) && old.is_none_or(is_empty) {
            return Ok(());
        }
        let branch = self.tree.root(name);
        let kind = branch.map_or(RootKind::Nothing, |branch| self.tree.root_kind(branch));
        let parent = Parent::Root(name);
        let old = old.unwrap_or(&NOTHING);
        match (kind, new) {
            (RootKind::Xml, _) => Err(EditError::Xml { pointer: self.pointer() }),
            (RootKind::Map | RootKind::Nothing, Json::Object(new)) => self.map(parent, branch, entries(old), new),
            (RootKind::Array | RootKind::Nothing, Json::Array(new)) => self.list(parent, branch, values(old), new),
            (RootKind::Text | RootKind::Nothing, Json::String(new)) => self.text(parent, branch, text(old), new),
            // What it held is gone, so nobody can tell what it is.
            (RootKind::Array, Json::String(new)) if is_empty(old) => self.text(parent, branch, "", new),
            _ if is_empty(new) => self.empty_root(name, old),
            _ => Err(EditError::OtherRoot { pointer: self.pointer() }),
        }
    }

    fn empty_root(&mut self, name: &'t str, old: &'t Json) -> Result<(), EditError> {
        let Some(branch) = self.tree.root(name).filter(|_| !is_empty(old)) else { return Ok(()) };
        for (_, slot) in self.slots(branch) {
            self.structs.delete(slot.id, slot.clocks);
        }
        for part in self.tree.sequence(branch).filter(|part| !part.is_deleted) {
            self.structs.delete(part.id, part.clocks);
        }
        Ok(())
    }

    /// What a branch shows by keys.
    fn slots(&self, branch: BranchId) -> impl Iterator<Item = (&'a str, super::tree::Placed<'a>)> + use<'t, 'a> {
        let tree = self.tree;
        let keys = tree.entries(branch).filter(|(_, value)| value.is_some());
        keys.filter_map(move |(key, _)| Some((key, tree.slot(branch, key)?)))
    }

    fn map(
        &mut self,
        parent: Parent<'_>,
        branch: Option<BranchId>,
        old: &'t Map<String, Json>,
        new: &'t Map<String, Json>,
    ) -> Result<(), EditError> {
        let slot = |editor: &Self, key: &str| branch.and_then(|branch| editor.tree.slot(branch, key));
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            if let Some(slot) = slot(self, key) {
                self.structs.delete(slot.id, slot.clocks);
            }
        }
        let mut beside = None;
        for (key, value) in new {
            let before = old.get(key);
            if before == Some(value) {
                continue;
            }
            let slot = slot(self, key);
            let form = slot.filter(|slot| !slot.is_deleted).map(|slot| one_form(slot.value.last()));
            self.at(Step::Key(key), |editor| {
                if let (Some(Form::Shared(shared, inner)), Some(slot), Some(before)) = (form, slot, before)
                    && editor.shared(Parent::Item(slot.id), shared, inner, before, value)?
                {
                    return Ok(());
                }
                let containers = match form {
                    Some(Form::PlainContainer) => Containers::Plain,
                    Some(Form::Shared(..)) => Containers::Shared,
                    _ if !is_container(value) => Containers::Plain,
                    _ => *beside.get_or_insert_with(|| match branch {
                        Some(branch) => as_beside(editor.slots(branch).map(|(_, slot)| one_form(slot.value.last()))),
                        None => Containers::Shared,
                    }),
                };
                let left = slot.map(|slot| slot.last_id());
                if let Some(slot) = slot.filter(|slot| !slot.is_deleted) {
                    editor.structs.delete(slot.id, slot.clocks);
                }
                let mut place = Seat { parent, key: Some(key), left, right: None };
                editor.write(&mut place, core::slice::from_ref(value), containers)
            })?;
        }
        Ok(())
    }

    /// Edits a shared type if it can become `new`, and says whether it can.
    fn shared(
        &mut self,
        parent: Parent<'_>,
        shared: Shared<'a>,
        branch: BranchId,
        old: &'t Json,
        new: &'t Json,
    ) -> Result<bool, EditError> {
        match (shared, old, new) {
            (Shared::Map | Shared::XmlHook, Json::Object(old), Json::Object(new)) => {
                self.map(parent, Some(branch), old, new)?;
            }
            (Shared::Array, Json::Array(old), Json::Array(new)) => self.list(parent, Some(branch), old, new)?,
            (Shared::Text, Json::String(old), Json::String(new)) => self.text(parent, Some(branch), old, new)?,
            (Shared::XmlElement(_) | Shared::XmlFragment | Shared::XmlText, _, Json::String(_)) => {
                return Err(EditError::Xml { pointer: self.pointer() });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn list(
        &mut self,
        parent: Parent<'_>,
        branch: Option<BranchId>,
        old: &'t [Json],
        new: &'t [Json],
    ) -> Result<(), EditError> {
        let elements: Vec<Element<'a>> = {
            let mut cursor = Cursor::over(self.tree, branch, Counts::Values);
            core::iter::from_fn(|| cursor.next()).collect()
        };
        let mut pairs = pairs(old, new, &mut self.budget);
        // What is no shared type, or cannot be the one that it is, is replaced.
        pairs.retain(|(a, b)| {
            old[*a] == new[*b] || elements.get(*a).is_some_and(|element| becomes(element.form, &new[*b]))
        });
        for &(a, b) in pairs.iter().filter(|(a, b)| old[*a] != new[*b]) {
            if let Form::Shared(shared, inner) = elements[a].form {
                let parent = Parent::Item(elements[a].id);
                self.at(Step::Index(b), |editor| editor.shared(parent, shared, inner, &old[a], &new[b]))?;
            }
        }
        let hunks = hunks(&pairs, old.len(), new.len());
        if hunks.is_empty() {
            return Ok(());
        }
        let containers = as_beside(elements.iter().map(|element| element.form));
        let mut cursor = Cursor::over(self.tree, branch, Counts::Values);
        let mut passed = 0;
        for Hunk { old: removed, new: added } in hunks {
            self.pass(&mut cursor, removed.start - passed, false);
            let mut place = Seat { parent, key: None, left: cursor.left(), right: cursor.right() };
            self.pass(&mut cursor, removed.len(), true);
            passed = removed.end;
            self.at(Step::Index(added.start), |editor| editor.write(&mut place, &new[added], containers))?;
        }
        Ok(())
    }

    fn text(&mut self, parent: Parent<'_>, branch: Option<BranchId>, old: &str, new: &str) -> Result<(), EditError> {
        let hunks = hunks_of_texts(old, new, &mut self.budget);
        let mut cursor = Cursor::over(self.tree, branch, Counts::Characters);
        let mut passed = 0;
        let mut added = new.char_indices().map(|(at, _)| at).chain([new.len()]);
        let mut counted = 0;
        for Hunk { old: removed, new: inserted } in hunks {
            self.pass(&mut cursor, removed.start - passed, false);
            let mut place = Seat { parent, key: None, left: cursor.left(), right: cursor.right() };
            self.pass(&mut cursor, removed.len(), true);
            passed = removed.end;
            if inserted.is_empty() {
                continue;
            }
            let mut byte = |index: usize| {
                let at = added.nth(index - counted);
                counted = index + 1;
                at.unwrap_or(new.len())
            };
            let piece = &new[byte(inserted.start)..byte(inserted.end)];
            let mut bytes = Vec::with_capacity(piece.len() + 4);
            write_var_bytes(&mut bytes, piece.as_bytes());
            self.structs.item(&mut place, CONTENT_STRING, utf16_len(piece) as Clock, &bytes);
            self.count()?;
        }
        Ok(())
    }

    fn pass<I>(&mut self, cursor: &mut Cursor<'a, I>, count: usize, removes: bool)
    where
        I: Iterator<Item = super::tree::Placed<'a>>,
    {
        for _ in 0..count {
            let Some(element) = cursor.next() else { return };
            if removes {
                self.structs.delete(element.id, element.clocks);
            }
        }
    }

    /// Writes values one behind the other.
    fn write(&mut self, place: &mut Seat<'_>, values: &'t [Json], containers: Containers) -> Result<(), EditError> {
        let is_plain = |value: &Json| containers == Containers::Plain || !is_container(value);
        let mut rest = values;
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|value| is_plain(value)).count();
            if run > 0 {
                let (plain, others) = rest.split_at(run);
                if plain.iter().any(|value| depth(value) > PLAIN_DEPTH_MAX) {
                    return Err(EditError::TooDeep { pointer: self.pointer() });
                }
                self.structs.plain(place, plain.iter());
                self.count()?;
                rest = others;
                continue;
            }
            let mut bytes = Vec::new();
            write_var_uint(&mut bytes, u64::from(if first.is_array() { ARRAY } else { MAP }));
            let id = self.structs.item(place, CONTENT_TYPE, 1, &bytes);
            self.count()?;
            self.fill(Parent::Item(id), first)?;
            rest = &rest[1..];
        }
        Ok(())
    }

    /// Writes what is in a shared type that is new.
    fn fill(&mut self, parent: Parent<'_>, value: &'t Json) -> Result<(), EditError> {
        match value {
            Json::Array(values) => self.write(&mut Seat::inside(parent), values, Containers::Shared),
            Json::Object(entries) => entries.iter().try_for_each(|(key, value)| {
                let mut place = Seat { key: Some(key), ..Seat::inside(parent) };
                self.write(&mut place, core::slice::from_ref(value), Containers::Shared)
            }),
            _ => Ok(()),
        }
    }

    fn count(&self) -> Result<(), EditError> {
        if self.structs.count > EDITED_ITEMS_MAX { Err(EditError::TooManyItems) } else { Ok(()) }
    }
}

/// New containers are shared types, unless those beside them are plain values: who reads one as the other sees nothing of it.
fn as_beside<'a>(forms: impl Iterator<Item = Form<'a>>) -> Containers {
    let mut containers = Containers::Shared;
    for form in forms {
        match form {
            Form::Shared(..) => return Containers::Shared,
            Form::PlainContainer => containers = Containers::Plain,
            Form::Other => {}
        }
    }
    containers
}

/// Whether an element of a list can become `new` and stay what it is.
fn becomes(form: Form<'_>, new: &Json) -> bool {
    let Form::Shared(shared, _) = form else { return false };
    match new {
        Json::Array(_) => shared == Shared::Array,
        Json::Object(_) => matches!(shared, Shared::Map | Shared::XmlHook),
        // XML as well: that is refused.
        Json::String(_) => !matches!(shared, Shared::Array | Shared::Map | Shared::XmlHook),
        _ => false,
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Object(entries) => entries.is_empty(),
        Json::Array(values) => values.is_empty(),
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}

fn entries(value: &Json) -> &Map<String, Json> {
    static NONE: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

fn values(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{from_json, to_json};
    use crate::update::build::{self, ANY, MAP as A_MAP, STRING, TYPE, after, inside, string};
    use crate::update::{EMPTY_UPDATE, merge};
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    const PEN: Pen = Pen { client: 9, clock: 3 };

    fn document(structs: &[Vec<u8>]) -> Bytes {
        build::update(&[(1, 0, structs)], &[])
    }

    fn edit(state: &Bytes, target: &Json) -> Result<Edit, EditError> {
        Present::read(state).expect("it is read").edit(target, PEN)
    }

    /// What the document shows after the edit.
    fn shown(state: &Bytes, edit: &Edit) -> Json {
        let earlier = build::update(&[(PEN.client, 0, &[build::gc(PEN.clock)])], &[]);
        let after = merge(&[state.clone(), earlier, Bytes::copy_from_slice(&edit.update)]);
        serde_json::from_str(&to_json(&after).expect("it is read")).expect("JSON")
    }

    /// As Yjs 13.6 writes `map.set('k', 2)`, `map.delete('l')`, `text.insert(1, 'x')` and `list.insert(1, [7])` of client 9.
    #[test]
    fn bytes_are_those_of_yjs() {
        let keyed = |key: &str, value: u8| [&[ANY | 0x20, 1, 1, b'm'][..], &string(key), &[1, 125, value]].concat();
        let state = document(&[
            keyed("k", 1),
            keyed("l", 1),
            [&[STRING, 1, 1, b't'][..], &string("ab")].concat(),
            vec![ANY, 1, 1, b'v', 2, 125, 5, 125, 6],
        ]);
        let target = json!({"m": {"k": 2}, "t": "axb", "v": [5, 7, 6]});
        let Edit { update, clocks } = edit(&state, &target).unwrap();
        assert_eq!(clocks, 3);
        let expected: &[&[u8]] = &[
            &[1, 3, 9, 3],
            &[ANY | 0xa0, 1, 0, 1, 125, 2],
            &[STRING | 0xc0, 1, 2, 1, 3, 1, b'x'],
            &[ANY | 0xc0, 1, 4, 1, 5, 1, 125, 7],
            &[1, 1, 1, 0, 2],
        ];
        assert_eq!(update, expected.concat());
        assert_eq!(shown(&state, &Edit { update, clocks }), target);
    }

    #[test]
    fn what_json_cannot_hold_survives_where_nothing_changed() {
        let keyed = |key: &str, bytes: &[u8]| [&[ANY | 0x20, 1, 1, b'm'][..], &string(key), bytes].concat();
        let state = document(&[
            keyed("big", &[1, 122, 0, 0x20, 0, 0, 0, 0, 0, 0]),
            keyed("bytes", &[1, 116, 2, 0, 255]),
            keyed("none", &[1, 127]),
            [&[6, 1, 1, b't'][..], &string("bold"), &string("true")].concat(),
            after((1, 3), STRING, &string("ab")),
            after((1, 5), 5, &string("{\"image\":1}")),
            [&[TYPE, 1, 1, b'x', 3][..], &string("p")].concat(),
        ]);
        let read = Present::read(&state).unwrap();
        assert_eq!(edit(&state, read.shown()).unwrap().update, EMPTY_UPDATE);
        let mut target = read.shown().clone();
        target["m"]["more"] = json!(1);
        target["t"] = json!("aXb");
        let made = edit(&state, &target).unwrap();
        assert!(made.update.ends_with(&[0]), "nothing is deleted: {:?}", made.update);
        assert_eq!(shown(&state, &made), target);
        target["x"] = json!("<p>text</p>");
        assert_eq!(edit(&state, &target), Err(EditError::Xml { pointer: "/x".into() }));
    }

    #[test]
    fn what_is_not_there_cannot_be_made_of_a_root() {
        let state = Bytes::from(from_json(br#"{"m":{"a":1},"l":[1],"t":"x"}"#, 7).unwrap());
        for (target, expected) in [
            (json!([]), EditError::NotAnObject),
            (json!({"n": 1}), EditError::NotAType { pointer: "/n".into() }),
            (json!({"a/b~": null}), EditError::NotAType { pointer: "/a~1b~0".into() }),
            (json!({"m": [1]}), EditError::OtherRoot { pointer: "/m".into() }),
            (json!({"t": {"a": 1}}), EditError::OtherRoot { pointer: "/t".into() }),
        ] {
            assert_eq!(edit(&state, &target), Err(expected), "{target}");
        }
        let emptied = edit(&state, &json!({"n": {}, "t": []})).unwrap();
        assert_eq!((emptied.clocks, shown(&state, &emptied)), (0, json!({"l": [], "m": {}, "t": []})));
        let deep = format!(r#"{{"m":{{"a":{}1{}}}}}"#, "[".repeat(65), "]".repeat(65));
        let plain = document(&[[&[ANY | 0x20, 1, 1, b'm'][..], &string("a"), &[1, 117, 0]].concat()]);
        let too_deep = edit(&plain, &parse(deep.as_bytes()).unwrap());
        assert_eq!(too_deep, Err(EditError::TooDeep { pointer: "/m/a".into() }));
    }

    #[test]
    fn new_containers_are_what_those_beside_them_are() {
        let object = |value: u8| [&[118, 1, 1, b'x', 125][..], &[value]].concat();
        let plain = document(&[[&[ANY, 1, 1, b'l', 2][..], &object(1), &object(2)].concat()]);
        let made = edit(&plain, &json!({"l": [{"x": 1}, {"x": 3}, {"x": 4}]})).unwrap();
        assert_eq!(made.clocks, 2, "two plain values");
        let shared = document(&[[&[TYPE, 1, 1, b'l'][..], &A_MAP].concat(), {
            [&[ANY | 0x20, 0, 1, 0][..], &string("x"), &[1, 125, 1]].concat()
        }]);
        let made = edit(&shared, &json!({"l": [{"x": 1, "y": [[]]}, {"x": 2}]})).unwrap();
        assert_eq!(made.clocks, 4, "y and the list in it, a map and its x");
        assert_eq!(shown(&shared, &made), json!({"l": [{"x": 1, "y": [[]]}, {"x": 2}]}));
    }

    #[test]
    fn a_text_that_is_shared_is_edited_by_characters_wherever_it_is() {
        let state = document(&[
            [&[TYPE | 0x20, 1, 1, b'm'][..], &string("t"), &[2]].concat(),
            inside((1, 0), STRING, &string("one 😀")),
            [&[ANY | 0x20, 1, 1, b'm'][..], &string("s"), &[1, 119, 3], b"one"].concat(),
        ]);
        let made = edit(&state, &json!({"m": {"t": "one 😀!", "s": "two"}})).unwrap();
        assert_eq!(made.clocks, 2);
        assert_eq!(shown(&state, &made), json!({"m": {"t": "one 😀!", "s": "two"}}));
        let present = Present::read(&state).unwrap();
        let merged = present.merge(&json!({"m": {"t": "one", "s": "a"}}), &json!({"m": {"t": "1 one", "s": "b"}}));
        assert_eq!(merged, json!({"m": {"t": "1 one 😀", "s": "b"}}));
    }

    /// Peers sent text that is JSON to JavaScript and not to serde_json.
    #[test]
    fn what_is_no_json_here_keeps_nobody_from_editing() {
        let state = document(&[
            [&[TYPE, 1, 1, b'l'][..], &[0]].concat(),
            inside((1, 0), 5, &string(r#""\ud800""#)),
            after((1, 1), 5, &string(r#"{"a":1,"a":2}"#)),
        ]);
        let present = Present::read(&state).unwrap();
        assert_eq!(*present.shown(), json!({"l": [[null, {"a": 2}]]}));
        let made = edit(&state, &json!({"l": [[null, {"a": 2}, 3]]})).unwrap();
        assert!(made.update.ends_with(&[0]), "nothing is deleted");
    }

    #[test]
    fn an_edit_of_too_many_items_is_refused() {
        let list = |count: usize| json!({"l": vec![json!({}); count]});
        let empty = Bytes::from_static(&EMPTY_UPDATE);
        assert!(edit(&empty, &list(EDITED_ITEMS_MAX)).is_ok());
        assert_eq!(edit(&empty, &list(EDITED_ITEMS_MAX + 1)), Err(EditError::TooManyItems));
    }

    /// Lists that differ in every element cost no more than the budget, and show what was asked for all the same.
    #[test]
    fn lists_and_texts_that_differ_in_everything_are_replaced() {
        let of = |n: u32| json!({"l": (0..20_000).map(|k| json!(k * n)).collect::<Vec<_>>(), "t": "ab".repeat(n as usize * 9_000)});
        let state = Bytes::from(from_json(of(3).to_string().as_bytes(), 7).unwrap());
        let made = edit(&state, &of(7)).unwrap();
        assert_eq!(shown(&state, &made), of(7));
        assert!(made.clocks >= 19_990);
    }

    fn json_value() -> impl Strategy<Value = Json> {
        let plain = prop_oneof![Just(Json::Null), (0..3_i32).prop_map(Json::from), "[ab]{0,2}".prop_map(Json::from)];
        plain.prop_recursive(3, 24, 4, |value| {
            prop_oneof![
                prop::collection::vec(value.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-c]", value, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Where each value that both show lies: maps by their keys, lists as long as they are equal.
    fn ids(tree: &Tree<'_>, branch: BranchId, old: &Json, new: &Json, found: &mut Vec<crate::update::structs::Id>) {
        if let (Json::Object(old), Json::Object(new)) = (old, new) {
            for (key, value) in old {
                let (Some(other), Some(slot)) = (new.get(key), tree.slot(branch, key)) else { continue };
                let form = one_form(slot.value.last());
                let stays = other == value || matches!(form, Form::Shared(..)) && becomes(form, other);
                if stays {
                    found.push(slot.id);
                }
                if let (true, Form::Shared(_, inner)) = (stays, form) {
                    ids(tree, inner, value, other, found);
                }
            }
        } else if old == new {
            found.extend(tree.sequence(branch).filter(|part| !part.is_deleted).map(|part| part.id));
        }
    }

    proptest! {
        #[test]
        fn ids_of_what_is_unchanged_stay(
            old in prop::collection::btree_map("[a-c]", json_value(), 1..4),
            new in prop::collection::btree_map("[a-c]", json_value(), 1..4),
        ) {
            let root = |map: std::collections::BTreeMap<String, Json>| json!({"r": Json::Object(map.into_iter().collect())});
            let (old, new) = (root(old), root(new));
            let state = Bytes::from(from_json(old.to_string().as_bytes(), 7).expect("a document"));
            let made = edit(&state, &new).expect("an edit");
            prop_assert_eq!(shown(&state, &made), new.clone());
            let after = merge(&[
                state.clone(),
                build::update(&[(PEN.client, 0, &[build::gc(PEN.clock)])], &[]),
                Bytes::from(made.update),
            ]);
            let find = |state: &Bytes| {
                let tree = Tree::of(state, STEPS_MAX).expect("a tree");
                let mut found = Vec::new();
                ids(&tree, tree.root("r").expect("a root"), &old["r"], &new["r"], &mut found);
                found
            };
            let (before, after) = (find(&state), find(&after));
            prop_assert!(before.iter().all(|id| after.contains(id)), "{:?} of {:?}", after, before);
        }
    }
}
