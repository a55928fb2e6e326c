//! Who wrote what: the content of every clock, read from bytes by a reader of its own.
//!
//! The room's guard counts clocks. An account also knows what stands there, so that an edit which was silently replaced is found.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use ydash_proto::id::{ClientId, Clock};
use ydash_proto::lib0::{Lib0Error, Reader};
use ydash_proto::update::DeleteSet;

/// What stands at one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing that was heard of.
    Unknown,
    /// An item; the number stands for its content and its place.
    Live(u64),
    /// It came deleted or collected.
    Gone,
}

/// Clocks of one client that lie together in one struct.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) client: ClientId,
    pub(crate) start: Clock,
    pub(crate) len: Clock,
    /// One number per clock; `None` when it came deleted or collected.
    pub(crate) live: Option<Vec<u64>>,
    /// `None` when it came collected.
    place: Option<Placed>,
}

/// Where a struct stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    /// A number for the place of its first clock.
    first: u64,
    /// A number for what all of it stands before; each clock but the first stands behind the one before it.
    right: u64,
}

impl Piece {
    /// Its live clocks, each with what stands there.
    pub(crate) fn clocks(&self) -> impl Iterator<Item = (Clock, u64)> {
        (self.start..).zip(self.live.iter().flatten().copied())
    }
}

/// What came first at each clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    live: BTreeMap<(ClientId, Clock), u64>,
    /// Structs that were not collected: where they end, and their place.
    places: BTreeMap<(ClientId, Clock), (Clock, Placed)>,
    ends: BTreeMap<ClientId, Clock>,
}

impl Contents {
    pub(crate) fn of(update: &[u8]) -> Contents {
        let mut contents = Contents::default();
        contents.add(update);
        contents
    }

    /// Adds what is new in an update that follows on what is known; what that is.
    pub(crate) fn add(&mut self, update: &[u8]) -> Vec<Piece> {
        let mut fresh = pieces(update);
        for piece in &mut fresh {
            let end = self.ends.entry(piece.client).or_default();
            let known = end.saturating_sub(piece.start).min(piece.len);
            piece.start += known;
            piece.len -= known;
            if let Some(live) = &mut piece.live {
                live.drain(..known as usize);
            }
            *end = (*end).max(piece.start + piece.len);
            if let Some(place) = piece.place.filter(|_| piece.len > 0) {
                // What is cut off stands behind the clock before it.
                let first = if known > 0 { behind(piece.client, piece.start, place.right) } else { place.first };
                piece.place = Some(Placed { first, ..place });
                self.places.insert((piece.client, piece.start), (piece.start + piece.len, Placed { first, ..place }));
            }
            self.live.extend(piece.clocks().map(|(clock, content)| ((piece.client, clock), content)));
        }
        fresh.retain(|piece| piece.len > 0);
        fresh
    }

    pub(crate) fn at(&self, client: ClientId, clock: Clock) -> Content {
        match self.live.get(&(client, clock)) {
            Some(&content) => Content::Live(content),
            None if clock < self.ends.get(&client).copied().unwrap_or(0) => Content::Gone,
            None => Content::Unknown,
        }
    }

    /// Whether something else stands where an update has content. What is deleted does not count: whoever may edit may delete, and
    /// everybody sees that, its author, too.
    pub(crate) fn differs(&self, update: &[u8]) -> bool {
        pieces(update).iter().any(|piece| self.differs_from(piece))
    }

    pub(crate) fn differs_from(&self, piece: &Piece) -> bool {
        self.is_placed_elsewhere(piece)
            || piece.clocks().any(|(clock, content)| match self.at(piece.client, clock) {
                Content::Unknown | Content::Gone => false,
                Content::Live(other) => other != content,
            })
    }

    fn is_placed_elsewhere(&self, piece: &Piece) -> bool {
        let Some(placed) = piece.place else { return false };
        let (client, end) = (piece.client, piece.start + piece.len);
        let place_at = |clock: Clock, start: Clock, of: &Placed| {
            if clock == start { of.first } else { behind(client, clock, of.right) }
        };
        let before = self.places.range(..(client, piece.start)).next_back();
        let reaching = before.filter(|((of, _), (end, _))| *of == client && *end > piece.start);
        let within = self.places.range((client, piece.start)..(client, end));
        reaching.into_iter().chain(within).any(|((_, start), (_, other))| {
            let clock = (*start).max(piece.start);
            place_at(clock, *start, other) != place_at(clock, piece.start, &placed)
        })
    }

    /// Whether something else stands where an update has content, and stands there still: what is deleted by now is deleted for all.
    pub(crate) fn replaces(&self, update: &[u8], deletes: &DeleteSet) -> bool {
        pieces(update).iter().any(|piece| {
            piece.clocks().any(|(clock, content)| self.fate(piece.client, clock, content, deletes) == Fate::Replaced)
        })
    }

    fn fate(&self, client: ClientId, clock: Clock, content: u64, deletes: &DeleteSet) -> Fate {
        match self.at(client, clock) {
            Content::Unknown => Fate::Missing,
            Content::Live(other) if other != content && !deletes.contains(client, clock) => Fate::Replaced,
            Content::Live(_) | Content::Gone => Fate::Kept,
        }
    }

    /// Where updates differ, for whoever looks for the reason.
    pub(crate) fn differences<'a>(&self, updates: impl Iterator<Item = &'a Bytes>) -> Vec<(ClientId, Clock, Content)> {
        let pieces = updates.flat_map(|update| pieces(update));
        let differing = pieces.filter(|piece| self.differs_from(piece));
        differing.map(|piece| (piece.client, piece.start, self.at(piece.client, piece.start))).collect()
    }

    /// Whether an update has content where something is known as deleted or collected from the beginning.
    pub(crate) fn came_gone(&self, update: &[u8]) -> bool {
        pieces(update)
            .iter()
            .any(|piece| piece.clocks().any(|(clock, _)| self.at(piece.client, clock) == Content::Gone))
    }

    /// After a restart: what of `found` was known before keeps what it came as.
    pub(crate) fn restart(&mut self, found: &Contents) {
        self.live.retain(|(client, clock), _| *clock < found.ends.get(client).copied().unwrap_or(0));
        self.places.retain(|(client, clock), _| *clock < found.ends.get(client).copied().unwrap_or(0));
        self.places.extend(found.places.iter().map(|(&at, &place)| (at, place)));
        self.live.extend(found.live.iter().map(|(&at, &content)| (at, content)));
        self.ends.clone_from(&found.ends);
    }
}

/// One transaction of one client.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) author: usize,
    pub(crate) made_at: u64,
    pub(crate) pieces: Vec<Piece>,
    /// Its author knows that it may not be kept.
    pub(crate) is_told: bool,
}

/// What became of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It is there, or somebody who may has deleted it.
    Kept,
    /// Something else stands where it stood.
    Replaced,
    /// Nothing stands there.
    Missing,
}

impl Edit {
    /// `found` knows what is there, or was before it was deleted.
    pub(crate) fn fate(&self, found: &Contents, deletes: &DeleteSet) -> Fate {
        let fates = self
            .pieces
            .iter()
            .flat_map(|piece| piece.clocks().map(|(clock, content)| found.fate(piece.client, clock, content, deletes)));
        fates.max().unwrap_or(Fate::Kept)
    }
}

/// The structs of an update.
pub(crate) fn pieces(update: &[u8]) -> Vec<Piece> {
    read(&mut Reader::new(update)).expect("an update")
}

fn read(reader: &mut Reader<'_>) -> Result<Vec<Piece>, Lib0Error> {
    let mut pieces = Vec::new();
    for _ in 0..reader.var_uint()? {
        let structs = reader.var_uint()?;
        let client = reader.var_uint()?;
        let mut clock = reader.var_uint()? as Clock;
        for _ in 0..structs {
            let (len, place, live) = read_struct(reader, client, clock)?;
            if let Some(live) = live {
                pieces.push(Piece { client, start: clock, len, live, place });
            }
            clock += len;
        }
    }
    Ok(pieces)
}

type Place<'a> =
    (Option<(ClientId, u64)>, Option<(ClientId, u64)>, Option<&'a str>, Option<(u64, u64)>, Option<&'a str>);

/// What is read of a struct: nothing, that its content is gone, or the numbers in it.
type Read = Option<Option<Vec<u64>>>;

/// Its length, its place if it has one, and unless it is a hole what it holds.
fn read_struct(
    reader: &mut Reader<'_>,
    client: ClientId,
    clock: Clock,
) -> Result<(Clock, Option<Placed>, Read), Lib0Error> {
    let info = reader.u8()?;
    if info == 0 || info == 10 {
        let len = reader.var_uint()? as Clock;
        return Ok((len, None, (info == 0).then_some(None)));
    }
    let mut place: Place<'_> = (None, None, None, None, None);
    if info & 0x80 != 0 {
        place.0 = Some((reader.var_uint()?, reader.var_uint()?));
    }
    if info & 0x40 != 0 {
        place.1 = Some((reader.var_uint()?, reader.var_uint()?));
    }
    if info & 0xc0 == 0 {
        match reader.var_uint()? {
            1 => place.2 = Some(reader.var_str()?),
            _ => place.3 = Some((reader.var_uint()?, reader.var_uint()?)),
        }
        if info & 0x20 != 0 {
            place.4 = Some(reader.var_str()?);
        }
    }
    let content = info & 0x1f;
    let mut values: Vec<u64> = Vec::new();
    let mut add = |value: &[u8]| {
        // Within a struct each clock has the one before to its left, as after a cut.
        let mut hasher = DefaultHasher::new();
        let left = (client, u64::from(clock) + values.len() as u64);
        let place = if values.is_empty() { place } else { (Some((left.0, left.1 - 1)), place.1, None, None, None) };
        (content, place, value).hash(&mut hasher);
        values.push(hasher.finish());
    };
    match content {
        1 => return Ok((reader.var_uint()? as Clock, Some(placed(&place)), Some(None))),
        2 => {
            for _ in 0..reader.var_uint()? {
                add(reader.var_bytes()?);
            }
        }
        3 | 5 => add(reader.var_bytes()?),
        4 => reader.var_str()?.encode_utf16().for_each(|unit| add(&unit.to_le_bytes())),
        6 => {
            let (key, value) = (reader.var_bytes()?, reader.var_bytes()?);
            add(&[key, b"=", value].concat());
        }
        7 => {
            let kind = reader.var_uint()?;
            let name = if kind == 3 || kind == 5 { reader.var_str()? } else { "" };
            add(&[&[kind as u8], name.as_bytes()].concat());
        }
        8 => {
            for _ in 0..reader.var_uint()? {
                let mut value = Vec::new();
                read_any(reader, &mut value)?;
                add(&value);
            }
        }
        other => panic!("content {other} is nothing that these clients write"),
    }
    Ok((values.len() as Clock, Some(placed(&place)), Some(Some(values))))
}

fn placed(place: &Place<'_>) -> Placed {
    Placed { first: number(place), right: right(place.1) }
}

/// The place of a clock that stands behind the one before it.
fn behind(client: ClientId, clock: Clock, right: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (client, clock, right).hash(&mut hasher);
    hasher.finish()
}

fn right(origin: Option<(ClientId, u64)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    origin.hash(&mut hasher);
    hasher.finish()
}

/// One that says that it stands behind a clock has the number of what is cut off behind that.
fn number(place: &Place<'_>) -> u64 {
    if let (Some((client, clock)), origin, None, None, None) = place {
        return behind(*client, *clock as Clock + 1, right(*origin));
    }
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    hasher.finish()
}

/// Copies one `Any` value.
fn read_any(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Lib0Error> {
    let tag = reader.u8()?;
    out.push(tag);
    match tag {
        125 => out.extend(reader.var_int()?.to_le_bytes()),
        124 => out.extend(reader.bytes(4)?),
        122 | 123 => out.extend(reader.bytes(8)?),
        116 | 119 => out.extend(reader.var_bytes()?),
        117 | 118 => {
            for _ in 0..reader.var_uint()? {
                if tag == 118 {
                    out.extend(reader.var_bytes()?);
                }
                read_any(reader, out)?;
            }
        }
        _ => {}
    }
    Ok(())
}
