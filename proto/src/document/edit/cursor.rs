//! A way through a list or text, element by element, that knows what lies left and right of it.

use core::{array, iter, str};

use super::super::tree::{BranchId, Placed, Tree, Value};
use crate::id::Clock;
use crate::lib0::Reader;
use crate::update::content::{Shared, TextPart};
use crate::update::structs::{Id, skip_value};

/// Something that counts in a list: one value, or a character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) id: Id,
    pub(super) clocks: Clock,
    pub(super) form: Form<'a>,
}

/// What an element is, as far as an edit cares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    Shared(Shared<'a>, BranchId),
    /// An array or object that is one value.
    PlainContainer,
    Other,
}

/// Whether a list, or a text: values count in one, characters in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Values,
    Characters,
}

type Chars<'a> = iter::Flatten<array::IntoIter<str::Chars<'a>, 3>>;

pub(super) struct Cursor<'a, I: Iterator<Item = Placed<'a>>> {
    parts: iter::Peekable<I>,
    counts: Counts,
    /// The part that it is in, how much of it is behind, and how it goes on.
    part: Option<(Placed<'a>, Clock, Rest<'a>)>,
    /// The last clock before it.
    left: Option<Id>,
}

enum Rest<'a> {
    Chars(Chars<'a>),
    Any(Reader<'a>),
    Json(Reader<'a>),
    One,
}

impl<'a> Cursor<'a, core::iter::Empty<Placed<'a>>> {
    /// Before the first element of a branch.
    pub(super) fn over<'t>(
        tree: &'t Tree<'a>,
        branch: Option<BranchId>,
        counts: Counts,
    ) -> Cursor<'a, impl Iterator<Item = Placed<'a>> + use<'t, 'a>> {
        let parts = branch.into_iter().flat_map(|branch| tree.sequence(branch)).peekable();
        Cursor { parts, counts, part: None, left: None }
    }
}

impl<'a, I: Iterator<Item = Placed<'a>>> Cursor<'a, I> {
    /// The last clock left of it.
    pub(super) fn left(&self) -> Option<Id> {
        self.left
    }

    /// The first clock right of it, deleted or not.
    pub(super) fn right(&mut self) -> Option<Id> {
        match &self.part {
            Some((part, behind, _)) if *behind < part.clocks => Some(after(part, *behind)),
            _ => self.parts.peek().map(|part| part.id),
        }
    }

    /// Passes the next element.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        loop {
            let is_over = self.part.as_ref().is_none_or(|(part, behind, _)| *behind >= part.clocks);
            if is_over {
                let part = self.parts.next()?;
                let rest = if part.is_deleted { None } else { rest_of(part.value, self.counts) };
                match rest {
                    Some(rest) => self.part = Some((part, 0, rest)),
                    None => {
                        self.part = None;
                        self.left = Some(part.last_id());
                    }
                }
                continue;
            }
            let Some((part, behind, rest)) = &mut self.part else { continue };
            let id = after(part, *behind);
            let (clocks, form) = match rest {
                Rest::Chars(chars) => {
                    (chars.next().map_or(part.clocks - *behind, |c| c.len_utf16() as Clock), Form::Other)
                }
                Rest::Any(reader) => (1, any_form(reader)),
                Rest::Json(reader) => (1, json_form(reader)),
                Rest::One => (part.clocks - *behind, one_form(part.value)),
            };
            *behind += clocks;
            let element = Element { id, clocks, form };
            self.left = Some(Id { clock: id.clock + clocks - 1, ..id });
            return Some(element);
        }
    }
}

fn after(part: &Placed<'_>, clocks: Clock) -> Id {
    Id { clock: part.id.clock + clocks, ..part.id }
}

/// The elements of a part; `None` if it has none that count.
fn rest_of(value: Value<'_>, counts: Counts) -> Option<Rest<'_>> {
    match (value, counts) {
        (Value::Text(part), _) => Some(Rest::Chars(chars(part))),
        (_, Counts::Characters) | (Value::Gone | Value::Format(..), _) => None,
        (Value::Any(elements, _), _) => Some(Rest::Any(Reader::new(elements.bytes))),
        (Value::Json(elements, _), _) => Some(Rest::Json(Reader::new(elements.bytes))),
        _ => Some(Rest::One),
    }
}

fn chars(part: TextPart<'_>) -> Chars<'_> {
    part.pieces().map(str::chars).into_iter().flatten()
}

fn any_form<'a>(reader: &mut Reader<'a>) -> Form<'a> {
    let tag = reader.clone().u8();
    skip_value(reader);
    if matches!(tag, Ok(117 | 118)) { Form::PlainContainer } else { Form::Other }
}

fn json_form<'a>(reader: &mut Reader<'a>) -> Form<'a> {
    let is_container = reader.var_str().is_ok_and(|text| text.trim_start().starts_with(['[', '{']));
    if is_container { Form::PlainContainer } else { Form::Other }
}

/// What a value that stands alone is.
pub(super) fn one_form(value: Value<'_>) -> Form<'_> {
    match value {
        Value::Type(shared, branch) => Form::Shared(shared, branch),
        Value::Any(elements, _) => any_form(&mut Reader::new(elements.bytes)),
        Value::Json(elements, _) => json_form(&mut Reader::new(elements.bytes)),
        _ => Form::Other,
    }
}
