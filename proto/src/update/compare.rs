//! Whether structs whose clocks are known say what is kept under these clocks.
//!
//! Yjs never looks: a clock that is known is skipped, whatever comes under it. So somebody who writes in another client's name
//! takes that client's next clocks, and its own edits under them vanish without a word. Here both are read side by side, clock by
//! clock. How structs are cut and joined does not matter, nor how a value is encoded: peers cut, join and encode them anew.
//!
//! The cost is linear in the structs that are compared, on both sides, and in the runs that are kept. Where a struct stands within
//! a long run is remembered in [`Places`].

use core::ops::Range;
use core::str::EncodeUtf16;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::content::{Content, Elements};
use super::scan::{Scan, Span};
use super::structs::{Id, Item, Kind, Parent, Struct, Walk, header_at, skip_value};
use super::{ClockRange, StateVector};
use crate::id::{ClientId, Clock};
use crate::lib0::Reader;

/// Structs that say something else than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose they are.
    pub client: ClientId,
    /// Where they begin to differ.
    pub clock: Clock,
    /// What is kept there was deleted when it came; content arrives for it.
    pub is_deleted: bool,
}

/// Whether `update`, whose scan is `scan`, has structs under clocks that are `known`.
pub(crate) fn is_repeated(scan: &Scan, known: &StateVector) -> bool {
    scan.spans.iter().any(|span| span.start < known.get(span.client))
}

/// Where structs stand within the long runs of what is kept, so that one of them is found without reading all before it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Each update that was looked into.
    updates: Vec<(Bytes, Stretches)>,
}

/// Clock and first byte of the first struct of each stretch, by client and first clock of a run.
type Stretches = BTreeMap<(ClientId, Clock), Vec<(Clock, usize)>>;

/// So many structs are read to find one.
const STRETCH: usize = 128;
/// Updates whose runs are remembered; beyond, the oldest are found anew.
const UPDATES_MAX: usize = 16;

impl Places {
    /// Forgets all: what is kept has been written anew.
    pub(crate) fn clear(&mut self) {
        self.updates.clear();
    }

    /// Forgets all but `update`.
    pub(crate) fn keep_only(&mut self, update: &Bytes) {
        self.updates.retain(|(known, _)| known.as_ptr() == update.as_ptr());
    }

    /// A struct of a run at or before `clock`, with the clock and the byte at which it begins.
    fn before(&mut self, update: &Bytes, span: &Span, clock: Clock) -> (Clock, usize) {
        if span.structs as usize <= STRETCH || clock <= span.start {
            return (span.start, span.bytes.start);
        }
        let is_same = |(known, _): &(Bytes, _)| known.as_ptr() == update.as_ptr() && known.len() == update.len();
        let at = self.updates.iter().position(is_same).unwrap_or_else(|| {
            if self.updates.len() == UPDATES_MAX {
                self.updates.remove(0);
            }
            self.updates.push((update.clone(), BTreeMap::new()));
            self.updates.len() - 1
        });
        let stretches = self.updates[at].1.entry((span.client, span.start)).or_insert_with(|| {
            let mut walk = Walk::over(update, span.client, span.start, span.bytes.clone());
            core::iter::from_fn(|| walk.next()).step_by(STRETCH).map(|read| (read.start, read.bytes.start)).collect()
        });
        let after = stretches.partition_point(|(start, _)| *start <= clock);
        stretches[after.max(1) - 1]
    }
}

/// Where `update` differs from what is `kept` under the clocks that are `known`: the first place of each client.
///
/// What is deleted on one side has no content to compare, but a place unless it was collected. It differs in content only from the first clock on that `never_seen` finds in a range:
/// one that nobody here ever saw with content.
///
/// # Panics
/// When a scan is that of other bytes.
pub(crate) fn differences(
    kept: &[(&Bytes, &Scan)],
    update: &Bytes,
    scan: &Scan,
    known: &StateVector,
    places: &mut Places,
    never_seen: impl Fn(ClientId, ClockRange) -> Option<Clock>,
) -> Vec<Difference> {
    let mut repeated: BTreeMap<ClientId, (ClockRange, Vec<Part<'_>>)> = BTreeMap::new();
    for span in &scan.spans {
        let end = span.end.min(known.get(span.client));
        if span.start < end {
            let of_client = repeated.entry(span.client).or_insert((ClockRange { start: span.start, end }, Vec::new()));
            of_client.0.start = of_client.0.start.min(span.start);
            of_client.0.end = of_client.0.end.max(end);
        }
    }
    for (bytes, scan) in kept {
        for span in &scan.spans {
            if let Some((range, parts)) = repeated.get_mut(&span.client)
                && span.start < range.end
                && range.start < span.end
            {
                let (start, at) = places.before(bytes, span, range.start);
                parts.push(Part { update: bytes, start, bytes: at..span.bytes.end });
            }
        }
    }
    let mut found = Vec::new();
    for (client, (range, mut parts)) in repeated {
        parts.sort_by_key(|part| part.start);
        let theirs = scan.spans.iter().filter(|span| span.client == client);
        let theirs = theirs.map(|span| Part { update, start: span.start, bytes: span.bytes.clone() }).collect();
        let (mut kept, mut theirs) = (Side::new(client, parts), Side::new(client, theirs));
        if let Some((clock, is_deleted)) =
            first_difference(&mut kept, &mut theirs, range, |range| never_seen(client, range))
        {
            found.push(Difference { client, clock, is_deleted });
        }
    }
    found
}

fn first_difference(
    kept: &mut Side<'_>,
    theirs: &mut Side<'_>,
    range: ClockRange,
    never_seen: impl Fn(ClockRange) -> Option<Clock>,
) -> Option<(Clock, bool)> {
    let mut clock = range.start;
    while clock < range.end {
        // Each side may have holes; what one of them lacks cannot differ.
        let at = kept.seek(clock)?.max(theirs.seek(clock)?);
        if at > clock {
            clock = at;
            continue;
        }
        let end = kept.end()?.min(theirs.end()?).min(range.end);
        let (one, other) = (kept.current.as_mut()?, theirs.current.as_mut()?);
        if let (Some(kept_item), Some(item)) = (one.item, other.item)
            && !one.is_placed_as(&kept_item, other, &item, clock)
        {
            return Some((clock, false));
        }
        if one.has_content() && other.has_content() {
            if let Some(after) = one.units.first_difference(&mut other.units, end - clock) {
                return Some((clock + after, false));
            }
            (one.at, other.at) = (end, end);
        } else if !one.has_content()
            && other.has_content()
            && let Some(hidden) = never_seen(ClockRange { start: clock, end })
        {
            return Some((hidden, true));
        }
        clock = end;
    }
    None
}

/// Consecutive structs of one client in an update.
struct Part<'a> {
    update: &'a Bytes,
    start: Clock,
    bytes: Range<usize>,
}

/// The structs of one client on one side, read from clock to clock.
struct Side<'a> {
    client: ClientId,
    parts: std::vec::IntoIter<Part<'a>>,
    walk: Option<(&'a Bytes, Walk<'a>)>,
    current: Option<Current<'a>>,
}

struct Current<'a> {
    client: ClientId,
    update: &'a [u8],
    read: Struct,
    /// `None` when it was collected. One that is deleted still has its place.
    item: Option<Item>,
    /// How far its content was read.
    at: Clock,
    units: Units<'a>,
}

impl<'a> Side<'a> {
    fn new(client: ClientId, parts: Vec<Part<'a>>) -> Side<'a> {
        Side { client, parts: parts.into_iter(), walk: None, current: None }
    }

    /// Moves to the struct that holds `clock`, or the next one, and says where that begins or, if it holds `clock`, that.
    fn seek(&mut self, clock: Clock) -> Option<Clock> {
        loop {
            if let Some(current) = &mut self.current
                && current.read.end > clock
            {
                let at = clock.max(current.read.start);
                if current.has_content() && current.at < at {
                    current.units.skip(at - current.at);
                    current.at = at;
                }
                return Some(at);
            }
            self.current = None;
            match self.walk.as_mut().and_then(|(update, walk)| walk.next().map(|read| (*update, read))) {
                Some((_, read)) if read.end <= clock => {}
                Some((update, read)) => self.current = Some(Current::new(self.client, update, read)),
                None => {
                    let Part { update, start, bytes } = self.parts.next()?;
                    self.walk = Some((update, Walk::over(update, self.client, start, bytes)));
                }
            }
        }
    }

    fn end(&self) -> Option<Clock> {
        self.current.as_ref().map(|current| current.read.end)
    }
}

impl<'a> Current<'a> {
    fn new(client: ClientId, update: &'a [u8], read: Struct) -> Current<'a> {
        let item = match read.kind {
            Kind::Item(item) => Some(item),
            _ => None,
        };
        let live = item.filter(|item| !item.is_deleted);
        let units = live.map_or(Units::One(Content::Deleted), |item| Units::of(read.content(&item, update)));
        Current { client, update, at: read.start, read, item, units }
    }

    fn has_content(&self) -> bool {
        self.item.is_some_and(|item| !item.is_deleted)
    }

    /// Whether both place what begins at `clock` alike. What is cut off a struct has the clock before it as origin.
    fn is_placed_as(&self, item: &Item, other: &Current<'_>, other_item: &Item, clock: Clock) -> bool {
        let origin = |current: &Current<'_>, item: &Item| {
            if clock > current.read.start { Some(Id { client: self.client, clock: clock - 1 }) } else { item.origin }
        };
        let origins = (origin(self, item), origin(other, other_item));
        if origins.0 != origins.1 || item.right_origin != other_item.right_origin {
            return false;
        }
        if origins.0.is_some() || item.right_origin.is_some() {
            return true; // Neighbours decide about parent and key.
        }
        let same_parent = match (item.parent, other_item.parent) {
            (Parent::Of(one), Parent::Of(other)) => one == other,
            (Parent::Root, Parent::Root) | (Parent::OfNeighbour, Parent::OfNeighbour) => true,
            _ => false,
        };
        let id = Id { client: self.client, clock };
        let header = |current: &Current<'a>| header_at(current.update, current.read.bytes.start, id);
        let other = header_at(other.update, other.read.bytes.start, id);
        let one = header(self).map(|header| (header.root, header.key));
        same_parent && one == other.map(|header| (header.root, header.key))
    }
}

/// What is left of a content, clock by clock.
enum Units<'a> {
    Text(EncodeUtf16<'a>),
    Values(Elements<'a>, IsAny),
    One(Content<'a>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct IsAny(bool);

impl<'a> Units<'a> {
    fn of(content: Content<'a>) -> Units<'a> {
        match content {
            Content::String(text) => Units::Text(text.encode_utf16()),
            Content::Any(values) => Units::Values(values, IsAny(true)),
            Content::Json(values) => Units::Values(values, IsAny(false)),
            one => Units::One(one),
        }
    }

    fn skip(&mut self, count: Clock) {
        match self {
            Units::Text(units) => {
                units.nth(count as usize - 1);
            }
            Units::Values(values, _) => {
                values.split_off_front(count);
            }
            Units::One(_) => {}
        }
    }

    /// Reads `count` on both sides, or as many as are alike; then says how many these were.
    fn first_difference(&mut self, other: &mut Units<'_>, count: Clock) -> Option<Clock> {
        match (self, other) {
            (Units::Text(one), Units::Text(other)) => (0..count).find(|_| {
                let (one, other) = (one.next(), other.next());
                // Half a surrogate pair, where a text was cut, is replaced.
                one != other && one != Some(HALF) && other != Some(HALF)
            }),
            (Units::Values(one, as_one), Units::Values(other, as_other)) if as_one == as_other => {
                (0..count).find(|_| {
                    let (one, other) = (one.split_off_front(1).bytes, other.split_off_front(1).bytes);
                    let is_same = if as_one.0 { is_same_value } else { is_same_json_text };
                    one != other && !is_same(one, other)
                })
            }
            (Units::One(one), Units::One(other)) => (!is_same_content(one, other)).then_some(0),
            _ => Some(0),
        }
    }
}

/// U+FFFD.
const HALF: u16 = 0xfffd;

fn is_same_content(one: &Content<'_>, other: &Content<'_>) -> bool {
    match (one, other) {
        (Content::Binary(one), Content::Binary(other)) => one == other,
        (Content::Embed(one), Content::Embed(other)) => is_same_json(one, other),
        (Content::Format(key, value), Content::Format(other_key, other_value)) => {
            key == other_key && is_same_json(value, other_value)
        }
        (Content::Type(one), Content::Type(other)) => one == other,
        (Content::Doc(one), Content::Doc(other)) => one == other,
        _ => false,
    }
}

fn is_same_json_text(one: &[u8], other: &[u8]) -> bool {
    let text = |bytes| Reader::new(bytes).var_str();
    matches!((text(one), text(other)), (Ok(one), Ok(other)) if is_same_json(one, other))
}

/// Whether two texts are the same JSON. Keys have no order; 1 and 1.0 are one number to JavaScript.
fn is_same_json(one: &str, other: &str) -> bool {
    fn is_same(one: &serde_json::Value, other: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (one, other) {
            (Number(one), Number(other)) => one == other || one.as_f64() == other.as_f64(),
            (Array(one), Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
            }
            (Object(one), Object(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| is_same(one, other)))
            }
            _ => one == other,
        }
    }
    let parse = |text| serde_json::from_str::<serde_json::Value>(text);
    one == other || matches!((parse(one), parse(other)), (Ok(one), Ok(other)) if is_same(&one, &other))
}

/// Whether two encoded values are the same to a client. A client may write a number, and the keys of an object, in several ways.
fn is_same_value(one: &[u8], other: &[u8]) -> bool {
    let mut open = vec![(one, other)];
    while let Some((one, other)) = open.pop() {
        if one == other {
            continue;
        }
        let pair = (Value::read(one), Value::read(other));
        match pair {
            (Some(Value::Number(one)), Some(Value::Number(other)))
                if one == other || one.is_nan() && other.is_nan() => {}
            (Some(Value::List(one)), Some(Value::List(other))) if one.len() == other.len() => {
                open.extend(one.into_iter().zip(other));
            }
            (Some(Value::Object(one)), Some(Value::Object(other))) if one.keys().eq(other.keys()) => {
                open.extend(one.into_values().zip(other.into_values()));
            }
            _ => return false,
        }
    }
    true
}

/// A value in lib0's `any` encoding that has more than one encoding.
enum Value<'a> {
    Number(f64),
    List(Vec<&'a [u8]>),
    Object(BTreeMap<&'a str, &'a [u8]>),
}

impl<'a> Value<'a> {
    fn read(bytes: &'a [u8]) -> Option<Value<'a>> {
        let mut reader = Reader::new(bytes);
        let next = |reader: &mut Reader<'a>| {
            let from = reader.pos();
            skip_value(reader);
            &bytes[from..reader.pos()]
        };
        match reader.u8().ok()? {
            125 => Some(Value::Number(reader.var_int().ok()? as f64)),
            124 => Some(Value::Number(f64::from(f32::from_be_bytes(reader.bytes(4).ok()?.try_into().ok()?)))),
            123 => Some(Value::Number(f64::from_be_bytes(reader.bytes(8).ok()?.try_into().ok()?))),
            122 => Some(Value::Number(i64::from_be_bytes(reader.bytes(8).ok()?.try_into().ok()?) as f64)),
            117 => {
                let count = reader.var_uint().ok()?;
                Some(Value::List((0..count).map(|_| next(&mut reader)).collect()))
            }
            118 => {
                let count = reader.var_uint().ok()?;
                let mut object = BTreeMap::new();
                for _ in 0..count {
                    let key = reader.var_str().ok()?;
                    object.insert(key, next(&mut reader));
                }
                Some(Value::Object(object))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::{ANY, DELETED, STRING, TYPE, after, before, gc, in_root, string, update};
    use super::super::scan;
    use super::*;
    use crate::limits::Limits;

    fn scanned(update: &Bytes) -> Scan {
        scan(update, &Limits::default()).expect("a plausible update")
    }

    /// Where `update` differs from `kept`, of which nobody ever saw the content where `never_seen` says so.
    fn compare(kept: &[Bytes], update: &Bytes, never_seen: Option<ClockRange>) -> Vec<(ClientId, Clock, bool)> {
        let scans: Vec<Scan> = kept.iter().map(scanned).collect();
        let mut known = StateVector::default();
        scans.iter().flat_map(|scan| &scan.spans).for_each(|span| known.advance(span.client, span.end));
        let kept: Vec<(&Bytes, &Scan)> = kept.iter().zip(&scans).collect();
        let mut places = Places::default();
        let hidden = |_, range: ClockRange| {
            never_seen
                .filter(|seen| seen.start < range.end && range.start < seen.end)
                .map(|seen| seen.start.max(range.start))
        };
        let found = differences(&kept, update, &scanned(update), &known, &mut places, hidden);
        assert_eq!(differences(&kept, update, &scanned(update), &known, &mut places, hidden), found);
        found.iter().map(|found| (found.client, found.clock, found.is_deleted)).collect()
    }

    fn text(text: &str) -> Bytes {
        update(&[(1, 0, &[in_root(STRING, &string(text))])], &[])
    }

    #[test]
    fn the_same_again_does_not_differ_however_it_is_cut() {
        let parts = [
            update(&[(1, 0, &[in_root(STRING, &string("ab"))])], &[]),
            update(&[(1, 2, &[after((1, 1), STRING, &string("cd")), after((1, 3), STRING, &string("ef"))])], &[]),
        ];
        assert_eq!(compare(&parts, &text("abcdef"), None), []);
        assert_eq!(compare(&parts, &text("abcdefgh"), None), [], "what follows is not known");
        assert_eq!(compare(&[text("abcdef")], &parts[1], None), []);
        assert_eq!(compare(&[text("abcdef")], &text("ab"), None), []);
    }

    #[test]
    fn the_first_clock_with_other_content_is_found() {
        assert_eq!(compare(&[text("abcdef")], &text("abXdef"), None), [(1, 2, false)]);
        assert_eq!(compare(&[text("abc")], &text("abcX"), None), []);
        let elsewhere = update(&[(1, 2, &[after((1, 0), STRING, &string("c"))])], &[]);
        assert_eq!(compare(&[text("abc")], &elsewhere, None), [(1, 2, false)], "it stands in another place");
        let other_kind = update(&[(1, 0, &[in_root(ANY, &[1, 126])])], &[]);
        assert_eq!(compare(&[text("abc")], &other_kind, None), [(1, 0, false)]);
        let of_two = update(&[(2, 0, &[in_root(STRING, &string("z"))]), (1, 0, &[in_root(STRING, &string("x"))])], &[]);
        assert_eq!(compare(&[text("abc")], &of_two, None), [(1, 0, false)], "client 2 is not known");
        let before_it = update(&[(1, 0, &[before((9, 0), STRING, &string("a"))])], &[]);
        assert_eq!(compare(&[text("abc")], &before_it, None), [(1, 0, false)]);
    }

    /// What is put behind it would go into another list on either side.
    #[test]
    fn what_is_deleted_still_has_its_place() {
        let in_text = update(&[(1, 0, &[in_root(DELETED, &[1])])], &[]);
        let elsewhere = update(&[(1, 0, &[before((9, 0), DELETED, &[1])])], &[]);
        assert_eq!(compare(core::slice::from_ref(&in_text), &elsewhere, None), [(1, 0, false)]);
        assert_eq!(compare(&[elsewhere], &text("a"), None), [(1, 0, false)]);
        assert_eq!(compare(&[in_text], &text("a"), None), []);
    }

    #[test]
    fn half_a_surrogate_pair_stands_for_the_pair() {
        let cut = update(&[(1, 0, &[in_root(STRING, &string("a\u{fffd}"))])], &[]);
        assert_eq!(compare(&[text("a😀b")], &cut, None), []);
        let rest = update(&[(1, 2, &[after((1, 1), STRING, &string("\u{fffd}b"))])], &[]);
        assert_eq!(compare(&[text("a😀b")], &rest, None), []);
        let other = update(&[(1, 2, &[after((1, 1), STRING, &string("\u{fffd}c"))])], &[]);
        assert_eq!(compare(&[text("a😀b")], &other, None), [(1, 3, false)]);
    }

    #[test]
    fn values_count_not_their_encodings() {
        let values = |bytes: &[u8]| update(&[(1, 0, &[in_root(ANY, bytes)])], &[]);
        let one_as_float = [&[1, 123][..], &1f64.to_be_bytes()].concat();
        assert_eq!(compare(&[values(&[1, 125, 1])], &values(&one_as_float), None), []);
        let keys = [&[1, 118, 2, 1, b'a', 120, 1, b'b', 117, 1][..], &one_as_float[1..]].concat();
        let swapped = [1, 118, 2, 1, b'b', 117, 1, 125, 1, 1, b'a', 120];
        assert_eq!(compare(&[values(&keys)], &values(&swapped), None), []);
        let other = [1, 118, 2, 1, b'b', 117, 1, 125, 2, 1, b'a', 120];
        assert_eq!(compare(&[values(&keys)], &values(&other), None), [(1, 0, false)]);
        assert_eq!(compare(&[values(&[2, 126, 120])], &values(&[2, 126, 121]), None), [(1, 1, false)]);
    }

    #[test]
    fn what_is_deleted_differs_only_if_nobody_saw_its_content() {
        let deleted = update(&[(1, 0, &[in_root(DELETED, &[3])])], &[]);
        let collected = update(&[(1, 0, &[gc(3)])], &[]);
        let shared = update(&[(1, 0, &[in_root(TYPE, &[1])])], &[]);
        for kept in [deleted, collected] {
            assert_eq!(compare(core::slice::from_ref(&kept), &text("abc"), None), []);
            assert_eq!(compare(&[text("abc")], &kept, None), []);
            let hidden = Some(ClockRange { start: 1, end: 9 });
            assert_eq!(compare(core::slice::from_ref(&kept), &text("abc"), hidden), [(1, 1, true)]);
            assert_eq!(compare(core::slice::from_ref(&kept), &kept, hidden), []);
            assert_eq!(compare(core::slice::from_ref(&kept), &shared, hidden), [], "it ends before");
        }
    }

    /// 20 bytes at the end of a long run cost reading all of it, each time.
    #[test]
    fn a_struct_is_found_in_a_long_run_without_reading_all_before_it() {
        let letters: Vec<Vec<u8>> = core::iter::once(in_root(STRING, &string("x")))
            .chain((1..10_000).map(|clock| after((1, clock - 1), STRING, &string("x"))))
            .collect();
        let long = update(&[(1, 0, &letters)], &[]);
        let scan = scanned(&long);
        let mut places = Places::default();
        for clock in [0, 1, 127, 128, 129, 5_000, 9_999] {
            let (start, at) = places.before(&long, &scan.spans[0], clock);
            assert!(start <= clock && clock - start < STRETCH as Clock, "{start} for {clock}");
            let mut walk = Walk::over(&long, 1, start, at..scan.spans[0].bytes.end);
            assert_eq!(walk.next().map(|read| read.start), Some(start));
        }
        assert_eq!(places.updates.len(), 1);
        assert_eq!(
            compare(&[long], &update(&[(1, 9_999, &[after((1, 9_998), STRING, &string("y"))])], &[]), None),
            [(1, 9_999, false)]
        );
    }

    /// Each letter of a long text comes alone: what was read of the text is not read anew for each.
    #[test]
    fn many_small_structs_against_a_large_one_cost_their_sum() {
        let long = "x".repeat(200_000);
        let letters: Vec<Vec<u8>> = core::iter::once(in_root(STRING, &string("x")))
            .chain((1..200_000).map(|clock| after((1, clock - 1), STRING, &string("x"))))
            .collect();
        let letters = update(&[(1, 0, &letters)], &[]);
        assert_eq!(compare(&[text(&long)], &letters, None), []);
        assert_eq!(compare(&[letters], &text(&long), None), []);
    }
}
