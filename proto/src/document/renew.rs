//! A new life for a document: what it shows, written anew by one client, and everything before it collected.
//!
//! It is a later state of the same document, as if somebody had deleted everything and put a copy in its place. So clients that
//! hold the old one understand: what they have is deleted, what they bring is known. All types and formats stay what they were.
//!
//! It copies content byte by byte, as a merge does: none of what peers sent is put into yrs.

use bytes::Bytes;

use super::tree::{BranchId, Tree, TreeError, Value};
use crate::id::{ClientId, Clock};
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::update::content::Shared;
use crate::update::scan_admitted;
use crate::update::structs::{
    CONTENT_ANY, CONTENT_BINARY, CONTENT_DOC, CONTENT_EMBED, CONTENT_FORMAT, CONTENT_JSON, CONTENT_STRING,
    CONTENT_TYPE, HAS_ORIGIN, HAS_PARENT_SUB, Id, TYPE_XML_ELEMENT, utf16_len, write_gc, write_id,
};

/// Why a document gets no new life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// Its content cannot be brought into order.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The client that is to write has written to it already.
    #[error("the client id is in use")]
    ClientInUse,
    /// Nested deeper than 400 types.
    #[error("its types are nested too deeply")]
    TooDeep,
    /// XML hooks, and options of subdocuments, cannot be carried over.
    #[error("it holds {0}, which would be lost")]
    Lossy(&'static str),
}

/// Steps that it may take to bring the items into order: some ten seconds, because somebody waits for it who can.
const STEPS_MAX: u64 = 1 << 30;
const DEPTH_MAX: u16 = 400;

/// What `any` writes for an object without properties.
const EMPTY_OBJECT: [u8; 2] = [118, 0];

/// Writes the state in which a document shows what it did, by `client`, which has not written to it. With `lossy`, what cannot be
/// carried over is left out.
///
/// # Errors
/// [`RenewError`] – the document stays as it is.
///
/// # Panics
/// When `state` is not an update. Only what was scanned or admitted comes here.
pub fn renew(state: &[u8], client: ClientId, lossy: bool) -> Result<Bytes, RenewError> {
    let tree = Tree::of(state, STEPS_MAX)?;
    let mut old: Vec<(ClientId, Clock)> =
        scan_admitted(state).spans.iter().map(|span| (span.client, span.end)).collect();
    old.retain(|(_, clocks)| *clocks > 0);
    if old.iter().any(|(id, _)| *id == client) {
        return Err(RenewError::ClientInUse);
    }
    let mut copy = Copy { tree: &tree, writer: Writer::new(client), lossy, depth: 0 };
    for (name, branch) in tree.roots() {
        copy.branch(Parent::Root(name), branch)?;
    }
    let writer = copy.writer;
    // Clients read states from the highest id on.
    old.sort_unstable_by(|a, b| b.cmp(a));
    let mut update = Vec::with_capacity(writer.out.len() + 24 * old.len() + 16);
    let own = usize::from(writer.structs > 0);
    write_var_uint(&mut update, (old.len() + own) as u64);
    let mut is_written = own == 0;
    let write_own = |update: &mut Vec<u8>, is_written: &mut bool| {
        if !std::mem::replace(is_written, true) {
            write_var_uint(update, writer.structs.into());
            write_id(update, Id { client, clock: 0 });
            update.extend_from_slice(&writer.out);
        }
    };
    for (id, clocks) in &old {
        if *id < client {
            write_own(&mut update, &mut is_written);
        }
        write_var_uint(&mut update, 1);
        write_id(&mut update, Id { client: *id, clock: 0 });
        write_gc(&mut update, *clocks);
    }
    write_own(&mut update, &mut is_written);
    write_var_uint(&mut update, old.len() as u64);
    for (id, clocks) in &old {
        write_var_uint(&mut update, *id);
        for number in [1, 0, u64::from(*clocks)] {
            write_var_uint(&mut update, number);
        }
    }
    Ok(update.into())
}

/// Structs of one client, from clock 0 on.
struct Writer {
    client: ClientId,
    clock: Clock,
    structs: u32,
    out: Vec<u8>,
}

/// The shared type that an item belongs to.
#[derive(Clone, Copy)]
enum Parent<'a> {
    Root(&'a str),
    Item(Clock),
}

/// Items one behind the other: those of a list, or the single one of a key.
struct Sequence<'a> {
    parent: Parent<'a>,
    key: Option<&'a str>,
    /// The last clock of what is written.
    left: Option<Clock>,
}

impl<'a> Sequence<'a> {
    fn new(parent: Parent<'a>, key: Option<&'a str>) -> Sequence<'a> {
        Sequence { parent, key, left: None }
    }
}

impl Writer {
    fn new(client: ClientId) -> Writer {
        Writer { client, clock: 0, structs: 0, out: Vec::new() }
    }

    /// What comes before the content of the next item of `sequence`, which takes `clocks`.
    fn header(&mut self, sequence: &mut Sequence<'_>, content: u8, clocks: Clock) {
        match (sequence.left, sequence.parent) {
            (Some(clock), _) => {
                self.out.push(content | HAS_ORIGIN);
                write_id(&mut self.out, Id { client: self.client, clock });
            }
            (None, parent) => {
                self.out.push(content | if sequence.key.is_some() { HAS_PARENT_SUB } else { 0 });
                match parent {
                    Parent::Root(name) => {
                        write_var_uint(&mut self.out, 1);
                        write_var_bytes(&mut self.out, name.as_bytes());
                    }
                    Parent::Item(clock) => {
                        write_var_uint(&mut self.out, 0);
                        write_id(&mut self.out, Id { client: self.client, clock });
                    }
                }
                if let Some(key) = sequence.key {
                    write_var_bytes(&mut self.out, key.as_bytes());
                }
            }
        }
        self.structs += 1;
        self.clock += clocks;
        sequence.left = Some(self.clock - 1);
    }
}

struct Copy<'t, 'a> {
    tree: &'t Tree<'a>,
    writer: Writer,
    lossy: bool,
    depth: u16,
}

/// Values of one kind that become one item.
#[derive(Default)]
struct Run {
    content: u8,
    bytes: Vec<u8>,
    clocks: Clock,
}

impl<'a> Copy<'_, 'a> {
    fn branch(&mut self, parent: Parent<'_>, branch: BranchId) -> Result<(), RenewError> {
        if self.depth == DEPTH_MAX {
            return Err(RenewError::TooDeep);
        }
        self.depth += 1;
        let tree = self.tree;
        for (key, value) in tree.entries(branch) {
            let Some(value) = value else { continue };
            let (mut sequence, mut run) = (Sequence::new(parent, Some(key)), Run::default());
            self.value(&mut sequence, &mut run, value.last())?;
            self.flush(&mut sequence, &mut run);
        }
        let (mut sequence, mut run) = (Sequence::new(parent, None), Run::default());
        for value in tree.items(branch) {
            self.value(&mut sequence, &mut run, value)?;
        }
        self.flush(&mut sequence, &mut run);
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self, sequence: &mut Sequence<'_>, run: &mut Run, value: Value<'a>) -> Result<(), RenewError> {
        let (content, bytes) = match value {
            Value::Gone => return Ok(()),
            Value::Text(part) => {
                for piece in part.pieces() {
                    self.extend(sequence, run, CONTENT_STRING, piece.as_bytes(), utf16_len(piece) as Clock);
                }
                return Ok(());
            }
            Value::Any(elements, count) => {
                self.extend(sequence, run, CONTENT_ANY, elements.bytes, count);
                return Ok(());
            }
            Value::Json(elements, count) => {
                self.extend(sequence, run, CONTENT_JSON, elements.bytes, count);
                return Ok(());
            }
            Value::Type(shared, branch) => {
                self.flush(sequence, run);
                return self.shared(sequence, shared, branch);
            }
            Value::Binary(bytes) => (CONTENT_BINARY, vec![bytes]),
            Value::Embed(json) => (CONTENT_EMBED, vec![json.as_bytes()]),
            Value::Format(name, json) => (CONTENT_FORMAT, vec![name.as_bytes(), json.as_bytes()]),
            Value::Doc(id) if self.lossy => (CONTENT_DOC, vec![id.as_bytes()]),
            Value::Doc(_) => return Err(RenewError::Lossy("subdocuments with their options")),
        };
        self.flush(sequence, run);
        self.writer.header(sequence, content, 1);
        for bytes in bytes {
            write_var_bytes(&mut self.writer.out, bytes);
        }
        if content == CONTENT_DOC {
            self.writer.out.extend_from_slice(&EMPTY_OBJECT);
        }
        Ok(())
    }

    fn shared(&mut self, sequence: &mut Sequence<'_>, shared: Shared<'a>, branch: BranchId) -> Result<(), RenewError> {
        let (kind, name) = match shared {
            Shared::Array => (0, None),
            Shared::Map => (1, None),
            Shared::Text => (2, None),
            Shared::XmlElement(name) => (TYPE_XML_ELEMENT, Some(name)),
            Shared::XmlFragment => (4, None),
            Shared::XmlText => (6, None),
            Shared::XmlHook if self.lossy => return Ok(()),
            Shared::XmlHook => return Err(RenewError::Lossy("XML hooks")),
        };
        self.writer.header(sequence, CONTENT_TYPE, 1);
        write_var_uint(&mut self.writer.out, kind);
        if let Some(name) = name {
            write_var_bytes(&mut self.writer.out, name.as_bytes());
        }
        let parent = Parent::Item(self.writer.clock - 1);
        self.branch(parent, branch)
    }

    fn extend(&mut self, sequence: &mut Sequence<'_>, run: &mut Run, content: u8, bytes: &[u8], clocks: Clock) {
        if run.content != content {
            self.flush(sequence, run);
            run.content = content;
        }
        run.bytes.extend_from_slice(bytes);
        run.clocks += clocks;
    }

    fn flush(&mut self, sequence: &mut Sequence<'_>, run: &mut Run) {
        let Run { content, bytes, clocks } = std::mem::take(run);
        if clocks == 0 {
            return;
        }
        self.writer.header(sequence, content, clocks);
        if content == CONTENT_STRING {
            write_var_bytes(&mut self.writer.out, &bytes);
        } else {
            write_var_uint(&mut self.writer.out, clocks.into());
            self.writer.out.extend_from_slice(&bytes);
        }
    }
}
