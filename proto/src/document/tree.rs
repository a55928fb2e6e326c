//! A document's items in the order in which clients show them, found from its bytes.
//!
//! Places items as `Item.integrate` of `yjs/src/structs/Item.js` does, but in tables of numbers: structs are parted beforehand
//! wherever something refers into them or deletions begin or end, so nothing is parted or moved later. Where items were put
//! concurrently into one place each may have to be compared with all others, which is what content that is made to hurt
//! uses; so those steps are counted, and beyond a bound the tree is given up.

use std::collections::BTreeMap;

use crate::id::{ClientId, Clock};
use crate::update::content::{Content, Elements, Shared, TextPart};
use crate::update::structs::{Header, Id, Kind, Parent, Walk, header_at};
use crate::update::{DeleteSet, scan_admitted};

/// Parts of structs in one tree: each takes some 80 bytes. Dashboards of the largest size have a tenth of it.
const PARTS_MAX: usize = 2 << 20;

/// Nothing, where a number of a part, list or branch stands.
const NONE: u32 = u32::MAX;

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Something is missing or goes in circles; the gate lets neither in.
    #[error("document is not whole")]
    NotWhole,
    /// Too many items.
    #[error("document has too many parts")]
    TooLarge,
    /// Too many items at the same places.
    #[error("document has too many concurrent items at the same places")]
    TooCostly,
}

/// The content of a document.
pub(super) struct Tree<'a> {
    state: &'a [u8],
    /// Ascending.
    clients: Vec<Client>,
    /// By client, then clock.
    parts: Vec<Part<'a>>,
    lists: Vec<List>,
    branches: Vec<Branch>,
    /// The list of each key of a branch.
    keys: BTreeMap<(u32, &'a str), u32>,
    roots: BTreeMap<&'a str, u32>,
    steps: u64,
}

struct Client {
    id: ClientId,
    /// How many clocks it has.
    clocks: Clock,
    /// Its first part, and the one behind its last.
    first: u32,
    end: u32,
    /// Its first part that has not been placed.
    next: u32,
    is_waiting: bool,
}

/// A struct, or a part of one.
struct Part<'a> {
    start: Clock,
    client: u32,
    /// Where its struct begins, if it is that struct's first part.
    at: Option<u32>,
    is_deleted: bool,
    value: Value<'a>,
    /// What it is in; `NONE` for what is collected.
    list: u32,
    left: u32,
    right: u32,
    origin: u32,
    right_origin: u32,
    /// When it was last passed in search for a place: which search, and how many had been passed before.
    passed_by: u32,
    passed_at: u32,
}

/// What a part shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Nothing any more: deleted or collected.
    Gone,
    /// JSON texts, so many.
    Json(Elements<'a>, Clock),
    Binary(&'a [u8]),
    Text(TextPart<'a>),
    /// JSON.
    Embed(&'a str),
    /// A name and a value as JSON.
    Format(&'a str, &'a str),
    /// A shared type, with what is in it.
    Type(Shared<'a>, BranchId),
    /// Values in lib0's encoding, so many.
    Any(Elements<'a>, Clock),
    /// A document of its own, by its id.
    Doc(&'a str),
}

impl<'a> Value<'a> {
    /// The last of the values that it stands for: what counts of them for a key.
    pub(super) fn last(self) -> Value<'a> {
        match self {
            Value::Json(mut elements, count) => {
                elements.split_off_front(count - 1);
                Value::Json(elements, 1)
            }
            Value::Any(mut elements, count) => {
                elements.split_off_front(count - 1);
                Value::Any(elements, 1)
            }
            Value::Text(part) if part.ends_with_half => {
                Value::Text(TextPart { ends_with_half: true, ..TextPart::default() })
            }
            Value::Text(part) => {
                let at = part.text.char_indices().next_back().map_or(0, |(at, _)| at);
                Value::Text(TextPart::whole(&part.text[at..]))
            }
            one => one,
        }
    }
}

/// What a shared type holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BranchId(u32);

/// A part in its place, deleted or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    /// Its first clock.
    pub(super) id: Id,
    /// How many clocks it takes.
    pub(super) clocks: Clock,
    pub(super) is_deleted: bool,
    pub(super) value: Value<'a>,
}

impl Placed<'_> {
    /// Its last clock: what an item to its right names as origin.
    pub(super) fn last_id(&self) -> Id {
        Id { clock: self.id.clock + self.clocks - 1, ..self.id }
    }
}

/// What a root is shown as. Its bytes do not say: clients do, by asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootKind {
    Map,
    Array,
    Text,
    Xml,
    /// Nothing was ever in it.
    Nothing,
}

/// Items one after the other: those of a list, or all values that a key has had, the last of which counts.
struct List {
    is_keyed: bool,
    first: u32,
    last: u32,
    len: u64,
}

struct Branch {
    list: u32,
}

impl<'a> Tree<'a> {
    /// Reads a whole state: every client's structs from the first on.
    pub(super) fn of(state: &'a [u8], steps_max: u64) -> Result<Tree<'a>, TreeError> {
        let mut tree = Tree {
            state,
            clients: Vec::new(),
            parts: Vec::new(),
            lists: Vec::new(),
            branches: Vec::new(),
            keys: BTreeMap::new(),
            roots: BTreeMap::new(),
            steps: 0,
        };
        tree.read()?;
        // Clients read states from the highest id on.
        for client in (0..tree.clients.len() as u32).rev() {
            tree.place_all(client, steps_max)?;
        }
        Ok(tree)
    }

    /// The roots by name.
    pub(super) fn roots(&self) -> impl Iterator<Item = (&'a str, BranchId)> {
        self.roots.iter().map(|(name, branch)| (*name, BranchId(*branch)))
    }

    /// The root of this name, if anything was ever in it.
    pub(super) fn root(&self, name: &str) -> Option<BranchId> {
        self.roots.get(name).map(|branch| BranchId(*branch))
    }

    /// What a root is shown as: keys make a map, characters a text, XML a fragment, anything else an array.
    pub(super) fn root_kind(&self, branch: BranchId) -> RootKind {
        let has_keys = self.entries(branch).next().is_some();
        let first = self.items(branch).next();
        let is_text = matches!(first, Some(Value::Text(_) | Value::Format(..) | Value::Embed(_)));
        let is_xml = |value| matches!(value, Value::Type(Shared::XmlElement(_) | Shared::XmlText | Shared::XmlHook, _));
        match (has_keys, self.is_list(branch)) {
            (true, false) => RootKind::Map,
            (true, true) => RootKind::Xml,
            (false, true) if is_text => RootKind::Text,
            (false, true) if first.is_some() && self.items(branch).all(is_xml) => RootKind::Xml,
            (false, true) => RootKind::Array,
            (false, false) => RootKind::Nothing,
        }
    }

    /// How many clocks the document has of a client.
    pub(super) fn clocks_of(&self, client: ClientId) -> Clock {
        let at = self.clients.binary_search_by_key(&client, |client| client.id);
        at.map_or(0, |at| self.clients[at].clocks)
    }

    /// All parts of a branch as a list, deleted ones, too.
    pub(super) fn sequence(&self, BranchId(branch): BranchId) -> impl Iterator<Item = Placed<'a>> {
        let list = self.branches[branch as usize].list;
        let mut at = if list == NONE { NONE } else { self.lists[list as usize].first };
        core::iter::from_fn(move || {
            let placed = self.placed(at)?;
            at = self.parts[at as usize].right;
            Some(placed)
        })
    }

    /// What counts of the values that a key has had.
    pub(super) fn slot(&self, BranchId(branch): BranchId, key: &str) -> Option<Placed<'a>> {
        self.keys.get(&(branch, key)).and_then(|list| self.placed(self.lists[*list as usize].last))
    }

    fn placed(&self, at: u32) -> Option<Placed<'a>> {
        let part = self.parts.get(at as usize)?;
        let client = &self.clients[part.client as usize];
        let end = if at + 1 < client.end { self.parts[at as usize + 1].start } else { client.clocks };
        let id = Id { client: client.id, clock: part.start };
        Some(Placed { id, clocks: end - part.start, is_deleted: part.is_deleted, value: part.value })
    }

    /// What a branch shows as a list.
    pub(super) fn items(&self, BranchId(branch): BranchId) -> impl Iterator<Item = Value<'a>> {
        let list = self.branches[branch as usize].list;
        let mut at = if list == NONE { NONE } else { self.lists[list as usize].first };
        core::iter::from_fn(move || {
            loop {
                let part = self.parts.get(at as usize)?;
                at = part.right;
                if !part.is_deleted {
                    return Some(part.value);
                }
            }
        })
    }

    /// Whether a branch has, or had, items as a list.
    pub(super) fn is_list(&self, BranchId(branch): BranchId) -> bool {
        self.branches[branch as usize].list != NONE
    }

    /// What a branch shows by keys, `None` for those that are deleted.
    pub(super) fn entries(&self, BranchId(branch): BranchId) -> impl Iterator<Item = (&'a str, Option<Value<'a>>)> {
        self.keys.range((branch, "")..(branch + 1, "")).map(|((_, key), list)| {
            let last = &self.parts[self.lists[*list as usize].last as usize];
            (*key, (!last.is_deleted).then_some(last.value))
        })
    }

    /// Parts all structs.
    fn read(&mut self) -> Result<(), TreeError> {
        let state = self.state;
        let scan = scan_admitted(state);
        let deletes = DeleteSet::collect(scan.deletes(state));
        let mut spans: Vec<_> = scan.spans.iter().collect();
        spans.sort_by_key(|span| span.client);
        let is_whole = spans.iter().all(|span| span.start == 0) && spans.windows(2).all(|w| w[0].client < w[1].client);
        if !is_whole {
            return Err(TreeError::NotWhole);
        }
        if scan.structs as usize > PARTS_MAX || u32::try_from(state.len()).is_err() {
            return Err(TreeError::TooLarge);
        }
        let mut cuts: Vec<(ClientId, Clock)> = Vec::new();
        for span in &spans {
            let mut walk = Walk::over(state, span.client, 0, span.bytes.clone());
            while let Some(next) = walk.next() {
                let Kind::Item(item) = next.kind else { continue };
                // What follows on what its client wrote last, refers to an end.
                let origin = item.origin.filter(|id| id.client != span.client || id.clock + 1 != next.start);
                cuts.extend(origin.map(|id| (id.client, id.clock + 1)));
                cuts.extend(item.right_origin.map(|id| (id.client, id.clock)));
            }
        }
        cuts.extend(deletes.iter().flat_map(|(client, range)| [(client, range.start), (client, range.end)]));
        cuts.sort_unstable();
        cuts.dedup();
        let mut cuts = cuts.into_iter().peekable();
        for span in spans {
            let client = self.clients.len() as u32;
            let first = self.parts.len() as u32;
            let mut walk = Walk::over(state, span.client, 0, span.bytes.clone());
            while let Some(next) = walk.next() {
                while cuts.next_if(|cut| *cut <= (span.client, next.start)).is_some() {}
                let mut rest = match &next.kind {
                    Kind::Item(item) => Rest::of(next.content(item, state)),
                    Kind::Gc | Kind::Skip => Rest::Gone,
                };
                let mut start = next.start;
                while start < next.end {
                    let cut = cuts.next_if(|cut| *cut < (span.client, next.end));
                    let end = cut.map_or(next.end, |(_, clock)| clock);
                    let value = self.take(&mut rest, end - start);
                    let range = crate::update::ClockRange { start, end };
                    let is_deleted = matches!(value, Value::Gone) || deletes.covers(span.client, range);
                    let at = (start == next.start).then_some(next.bytes.start as u32);
                    self.parts.push(Part::new(start, client, at, is_deleted, value));
                    start = end;
                }
                if self.parts.len() > PARTS_MAX {
                    return Err(TreeError::TooLarge);
                }
            }
            let end = self.parts.len() as u32;
            self.clients.push(Client { id: span.client, clocks: span.end, first, end, next: first, is_waiting: false });
        }
        Ok(())
    }

    fn take(&mut self, rest: &mut Rest<'a>, clocks: Clock) -> Value<'a> {
        match rest {
            Rest::Gone => Value::Gone,
            Rest::Json(elements) => Value::Json(elements.split_off_front(clocks), clocks),
            Rest::Any(elements) => Value::Any(elements.split_off_front(clocks), clocks),
            Rest::Text(text) => Value::Text(text.split_off_front(clocks)),
            Rest::Whole(Content::Binary(bytes)) => Value::Binary(bytes),
            Rest::Whole(Content::Embed(json)) => Value::Embed(json),
            Rest::Whole(Content::Format(name, json)) => Value::Format(name, json),
            Rest::Whole(Content::Type(shared)) => Value::Type(*shared, BranchId(self.branch())),
            Rest::Whole(Content::Doc(guid)) => Value::Doc(guid),
            Rest::Whole(other) => unreachable!("{other:?} is parted"),
        }
    }

    fn branch(&mut self) -> u32 {
        self.branches.push(Branch { list: NONE });
        self.branches.len() as u32 - 1
    }

    fn list(&mut self, branch: u32, key: Option<&'a str>) -> u32 {
        let next = self.lists.len() as u32;
        let list = match key {
            Some(key) => *self.keys.entry((branch, key)).or_insert(next),
            None => {
                let list = &mut self.branches[branch as usize].list;
                *list = if *list == NONE { next } else { *list };
                *list
            }
        };
        if list == next {
            self.lists.push(List { is_keyed: key.is_some(), first: NONE, last: NONE, len: 0 });
        }
        list
    }

    /// The part that holds a clock.
    fn find(&self, id: Id) -> Result<u32, TreeError> {
        let at = self.clients.binary_search_by_key(&id.client, |client| client.id).map_err(|_| TreeError::NotWhole)?;
        let Client { clocks, first, end, .. } = self.clients[at];
        if id.clock >= clocks {
            return Err(TreeError::NotWhole);
        }
        let parts = &self.parts[first as usize..end as usize];
        let behind = parts.partition_point(|part| part.start <= id.clock) as u32;
        Ok(first + behind - 1)
    }

    /// Places every part of `client`, and before each what it refers to.
    fn place_all(&mut self, client: u32, steps_max: u64) -> Result<(), TreeError> {
        // Who waits, and up to which part.
        let mut stack = vec![(client, self.clients[client as usize].end)];
        while let Some(&(client, until)) = stack.last() {
            let next = self.clients[client as usize].next;
            if next >= until {
                self.clients[client as usize].is_waiting = false;
                stack.pop();
                continue;
            }
            let cause = self.refer(next)?;
            let unplaced = cause.into_iter().find(|part| {
                self.parts.get(*part as usize).is_some_and(|cause| *part >= self.clients[cause.client as usize].next)
            });
            if let Some(part) = unplaced {
                let of = self.parts[part as usize].client;
                self.clients[client as usize].is_waiting = true;
                if self.clients[of as usize].is_waiting {
                    return Err(TreeError::NotWhole);
                }
                stack.push((of, part + 1));
                continue;
            }
            self.place(next, cause[2], steps_max)?;
            self.clients[client as usize].next += 1;
        }
        Ok(())
    }

    fn header(&self, part: u32) -> Option<Header<'a>> {
        let Part { at, start, client, .. } = self.parts[part as usize];
        let own = Id { client: self.clients[client as usize].id, clock: start };
        at.and_then(|at| header_at(self.state, at as usize, own))
    }

    /// Finds what a part refers to: its origin, its right origin and what it is in.
    fn refer(&mut self, part: u32) -> Result<[u32; 3], TreeError> {
        if self.parts[part as usize].at.is_none() {
            let right_origin = self.parts[part as usize - 1].right_origin;
            (self.parts[part as usize].origin, self.parts[part as usize].right_origin) = (part - 1, right_origin);
            return Ok([NONE; 3]);
        }
        let Some(header) = self.header(part) else { return Ok([NONE; 3]) };
        let find = |id: Option<Id>| id.map_or(Ok(NONE), |id| self.find(id));
        let parent = match header.parent {
            Parent::Of(id) => Some(id),
            Parent::OfNeighbour | Parent::Root => None,
        };
        let found = [find(header.origin)?, find(header.right_origin)?, find(parent)?];
        (self.parts[part as usize].origin, self.parts[part as usize].right_origin) = (found[0], found[1]);
        Ok(found)
    }

    /// The list that a part belongs to; `NONE` when what it would be in is gone.
    fn list_of(&mut self, part: u32, parent: u32) -> u32 {
        let Part { at, origin, right_origin, .. } = self.parts[part as usize];
        let in_list = |part: u32| self.parts.get(part as usize).map(|part| part.list);
        let neighbours = [in_list(origin), in_list(right_origin)];
        if neighbours.contains(&Some(NONE)) {
            return NONE;
        }
        if at.is_none() {
            return neighbours[0].unwrap_or(NONE);
        }
        let Some(header) = self.header(part) else { return NONE };
        let branch = match header.parent {
            Parent::OfNeighbour => return neighbours[0].or(neighbours[1]).unwrap_or(NONE),
            Parent::Root => match self.roots.get(header.root) {
                Some(branch) => *branch,
                None => {
                    let branch = self.branch();
                    self.roots.insert(header.root, branch);
                    branch
                }
            },
            Parent::Of(_) => match self.parts[parent as usize] {
                Part { value: Value::Type(_, BranchId(branch)), list, .. } if list != NONE => branch,
                _ => return NONE,
            },
        };
        self.list(branch, header.key)
    }

    /// Puts a part where it belongs. All that it refers to has been placed.
    fn place(&mut self, this: u32, parent: u32, steps_max: u64) -> Result<(), TreeError> {
        let list = self.list_of(this, parent);
        self.parts[this as usize].list = list;
        if list == NONE {
            self.parts[this as usize].is_deleted = true;
            return Ok(());
        }
        let Part { origin: mut left, right_origin: right, .. } = self.parts[this as usize];
        let is_contested = match (self.parts.get(left as usize), self.parts.get(right as usize)) {
            (None, None) => true,
            (None, Some(right)) => right.left != NONE,
            (Some(left), _) => left.right != right,
        };
        if is_contested {
            left = self.search(this, list, steps_max)?;
        }
        let right = match self.parts.get_mut(left as usize) {
            Some(left) => core::mem::replace(&mut left.right, this),
            None => core::mem::replace(&mut self.lists[list as usize].first, this),
        };
        match self.parts.get_mut(right as usize) {
            Some(right) => right.left = this,
            None => self.lists[list as usize].last = this,
        }
        let part = &mut self.parts[this as usize];
        (part.left, part.right) = (left, right);
        self.lists[list as usize].len += 1;
        Ok(())
    }

    /// Compares a part with those that were put into the same place; returns which of them comes to lie left of it.
    fn search(&mut self, this: u32, list: u32, steps_max: u64) -> Result<u32, TreeError> {
        let Part { client, origin, right_origin, .. } = self.parts[this as usize];
        let mut left = origin;
        let mut at = match self.parts.get(left as usize) {
            Some(left) => left.right,
            None => self.lists[list as usize].first,
        };
        if left == NONE && self.lists[list as usize].is_keyed {
            // To find the first value of a key clients pass all of them.
            self.steps += self.lists[list as usize].len;
        }
        // Of those passed, the ones from here on conflict with this one.
        let (mut passed, mut conflicting_from) = (0, 0);
        while at != NONE && at != right_origin {
            self.steps += 1;
            if self.steps > steps_max {
                return Err(TreeError::TooCostly);
            }
            let other = &mut self.parts[at as usize];
            (other.passed_by, other.passed_at) = (this, passed);
            passed += 1;
            let Part { client: other_client, origin: other_origin, right_origin: other_right, right: next, .. } =
                *other;
            if other_origin == origin {
                if other_client < client {
                    left = at;
                    conflicting_from = passed;
                } else if other_right == right_origin {
                    break;
                }
            } else {
                match self.parts.get(other_origin as usize) {
                    Some(before) if before.passed_by == this => {
                        if before.passed_at < conflicting_from {
                            left = at;
                            conflicting_from = passed;
                        }
                    }
                    _ => break,
                }
            }
            at = next;
        }
        if self.steps > steps_max { Err(TreeError::TooCostly) } else { Ok(left) }
    }
}

/// What is left of a struct's content.
enum Rest<'a> {
    Gone,
    Json(Elements<'a>),
    Any(Elements<'a>),
    Text(TextPart<'a>),
    Whole(Content<'a>),
}

impl<'a> Rest<'a> {
    fn of(content: Content<'a>) -> Rest<'a> {
        match content {
            Content::Deleted => Rest::Gone,
            Content::Json(elements) => Rest::Json(elements),
            Content::Any(elements) => Rest::Any(elements),
            Content::String(text) => Rest::Text(TextPart::whole(text)),
            whole => Rest::Whole(whole),
        }
    }
}

impl<'a> Part<'a> {
    fn new(start: Clock, client: u32, at: Option<u32>, is_deleted: bool, value: Value<'a>) -> Part<'a> {
        Part {
            start,
            client,
            at,
            is_deleted,
            value,
            list: NONE,
            left: NONE,
            right: NONE,
            origin: NONE,
            right_origin: NONE,
            passed_by: NONE,
            passed_at: 0,
        }
    }
}
