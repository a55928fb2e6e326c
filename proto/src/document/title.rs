//! The title of a dashboard, found without a tree: what a list of dashboards shows of each.
//!
//! Linear in the document, but for titles that several writers changed in turn very often, and bounded for those, too. Nothing is kept of
//! the document but where the title's values are.

use std::collections::BTreeMap;

use crate::id::{ClientId, Clock};
use crate::lib0::Reader;
use crate::update::content::Content;
use crate::update::structs::{Id, Kind, Parent, Struct, Walk, header_at};
use crate::update::{DeleteSet, Scan, scan_admitted};

/// Characters of a title that are kept.
pub const TITLE_CHARS_MAX: usize = 200;

/// The map that describes a dashboard, and the key in it.
const ROOT: &str = "meta";
const KEY: &str = "title";

/// Bytes that are looked at again to find a title that writers took turns at; and how often at least.
const LOOKED_AT_BYTES_MAX: usize = 64 << 20;
const PASSES_MIN: usize = 4;

/// The tag of a text in lib0's `any` encoding.
const ANY_TEXT: u8 = 119;

/// What `title` in the root map `meta` says, if that is a text that says something; cut to [`TITLE_CHARS_MAX`].
///
/// # Panics
/// When `state` is not an update. Only what was scanned or admitted comes here.
#[must_use]
pub fn title(state: &[u8]) -> Option<String> {
    let scan = scan_admitted(state);
    let mut values = Values::default();
    values.find_first(state, &scan);
    let passes_max = PASSES_MIN + LOOKED_AT_BYTES_MAX / state.len().max(1);
    for _ in 0..passes_max {
        if values.runs.is_empty() || !values.find_more(state, &scan)? {
            let last = values.last()?;
            let is_gone = last.is_deleted() || {
                let deletes = DeleteSet::collect(scan.deletes(state));
                deletes.contains(last.client, last.end - 1)
            };
            return if is_gone { None } else { last.text(state) };
        }
    }
    None
}

/// All values that the key has had, deleted ones, too: each follows on the one that its writer knew as the last.
#[derive(Default)]
struct Values {
    runs: BTreeMap<(ClientId, Clock), Run>,
}

/// Values of one client, one after the other.
struct Run {
    client: ClientId,
    end: Clock,
    origin: Option<Id>,
    found: Struct,
}

impl Run {
    fn is_deleted(&self) -> bool {
        self.found.is_deleted()
    }

    /// The last value, if it is a text.
    fn text(&self, state: &[u8]) -> Option<String> {
        let Kind::Item(item) = &self.found.kind else { return None };
        let before_last = self.found.end - self.found.start - 1;
        let text = match self.found.content(item, state) {
            Content::Any(mut elements) => {
                elements.split_off_front(before_last);
                let mut reader = Reader::new(elements.bytes);
                if reader.u8().ok()? != ANY_TEXT {
                    return None;
                }
                reader.var_str().ok()?.to_owned()
            }
            Content::Json(mut elements) => {
                elements.split_off_front(before_last);
                serde_json::from_str::<String>(Reader::new(elements.bytes).var_str().ok()?).ok()?
            }
            _ => return None,
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.chars().take(TITLE_CHARS_MAX).collect())
    }
}

impl Values {
    /// Finds values that say themselves what they are: those that were written where nobody knew another one.
    fn find_first(&mut self, state: &[u8], scan: &Scan) {
        each(state, scan, |client, found| {
            let is_rooted = |at: usize| {
                let header = header_at(state, at, Id { client, clock: found.start });
                header.is_some_and(|header| header.root == ROOT && header.key == Some(KEY))
            };
            if let Kind::Item(item) = found.kind
                && item.has_key
                && matches!(item.parent, Parent::Root)
                && is_rooted(found.bytes.start)
            {
                self.add(client, None, found);
            }
            Some(())
        });
    }

    /// Finds values that follow on known ones. Says whether there were any; `None` when they are not as clients write them.
    fn find_more(&mut self, state: &[u8], scan: &Scan) -> Option<bool> {
        let before = self.runs.len();
        each(state, scan, |client, found| {
            if let Kind::Item(item) = found.kind
                && let Some(origin) = item.origin
                && self.has(origin)
            {
                // Clients put values behind others, never before.
                if item.right_origin.is_some() {
                    return None;
                }
                self.add(client, Some(origin), found);
            }
            Some(())
        })?;
        Some(self.runs.len() > before)
    }

    fn add(&mut self, client: ClientId, origin: Option<Id>, found: Struct) {
        self.runs.insert((client, found.start), Run { client, end: found.end, origin, found });
    }

    fn has(&self, id: Id) -> bool {
        let before = self.runs.range(..=(id.client, id.clock)).next_back();
        before.is_some_and(|((client, _), run)| *client == id.client && id.clock < run.end)
    }

    /// The value that counts: of those that follow on the same one, that of the highest client is last
    /// (`Item.integrate` of `yjs/src/structs/Item.js`, with nothing to the right).
    fn last(&self) -> Option<&Run> {
        let is_behind = |one: &(ClientId, Clock), other: &(ClientId, Clock)| (one.0, other.1) > (other.0, one.1);
        let mut first: Option<(ClientId, Clock)> = None;
        let mut following: BTreeMap<(ClientId, Clock), (ClientId, Clock)> = BTreeMap::new();
        for (at, run) in &self.runs {
            match run.origin {
                None if first.is_none_or(|first| is_behind(at, &first)) => first = Some(*at),
                None => {}
                Some(Id { client, clock }) => {
                    let known = following.entry((client, clock)).or_insert(*at);
                    if is_behind(at, known) {
                        *known = *at;
                    }
                }
            }
        }
        let mut at = first?;
        // A circle, which no client writes, would go on for ever.
        for _ in 0..=self.runs.len() {
            let run = self.runs.get(&at)?;
            // What a client wrote next itself is last but for what a higher one put there.
            let next = following
                .range(at..(run.client, run.end))
                .find(|((_, clock), (client, _))| clock + 1 == run.end || *client > run.client);
            match next {
                Some((_, next)) => at = *next,
                None => return Some(run),
            }
        }
        None
    }
}

/// Goes through all structs, until one is not as it should be.
fn each(state: &[u8], scan: &Scan, mut see: impl FnMut(ClientId, Struct) -> Option<()>) -> Option<()> {
    for span in &scan.spans {
        let mut walk = Walk::over(state, span.client, span.start, span.bytes.clone());
        while let Some(found) = walk.next() {
            see(span.client, found)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::from_json;

    #[test]
    fn only_a_text_is_a_title() {
        let of = |json: &str| title(&from_json(json.as_bytes(), 7).unwrap());
        assert_eq!(
            of(r#"{"meta":{"a":1,"title":" Umsätze 2026 ","z":[]},"widgets":{}}"#).as_deref(),
            Some("Umsätze 2026")
        );
        for none in [
            r#"{"meta":{"title":5}}"#,
            r#"{"meta":{"title":""}}"#,
            r#"{"meta":{"title":"  "}}"#,
            r#"{"meta":{"title":{"title":"a"}}}"#,
            r#"{"meta":{"other":"a"},"title":"b","other":{"title":"c"},"widgets":{"meta":{"title":"d"}}}"#,
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        let long = of(&format!(r#"{{"meta":{{"title":"{}"}}}}"#, "ü".repeat(300))).unwrap();
        assert_eq!(long, "ü".repeat(TITLE_CHARS_MAX));
        assert_eq!(title(&crate::update::EMPTY_UPDATE), None);
    }
}
