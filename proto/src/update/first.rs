//! The first clock of what an update brings: as little of it as tells a client that somebody else writes under its id.

use bytes::Bytes;

use super::content::Content;
use super::scan::{Scan, Span};
use super::structs::{CONTENT_MASK, INFO_GC, Kind, Walk, write_header};
use crate::id::ClientId;
use crate::lib0::{write_var_bytes, write_var_uint};

/// An update with the first clock of each client for which `is_wanted`, and nothing else; `scan` is that of `update`.
///
/// One clock is either new to whoever gets it or known. Of several, the rest would be put behind what it has of its own. `None` when
/// the first one is half a surrogate pair, which would not survive being cut.
#[must_use]
pub(crate) fn first_clocks(update: &Bytes, scan: &Scan, is_wanted: impl Fn(ClientId) -> bool) -> Option<Bytes> {
    let mut spans: Vec<&Span> = scan.spans.iter().filter(|span| is_wanted(span.client)).collect();
    spans.dedup_by_key(|span| span.client);
    let mut out = Vec::new();
    write_var_uint(&mut out, spans.len() as u64);
    for span in spans {
        write_var_uint(&mut out, 1);
        write_var_uint(&mut out, span.client);
        write_var_uint(&mut out, u64::from(span.start));
        write_first(&mut out, update, span)?;
    }
    out.push(0);
    Some(Bytes::from(out))
}

fn write_first(out: &mut Vec<u8>, update: &[u8], span: &Span) -> Option<()> {
    let mut walk = Walk::over(update, span.client, span.start, span.bytes.clone());
    let first = walk.next().expect("a span has structs");
    let Kind::Item(item) = &first.kind else {
        out.extend_from_slice(&[INFO_GC, 1]);
        return Some(());
    };
    if first.end - first.start == 1 {
        out.extend_from_slice(&update[first.bytes.clone()]);
        return Some(());
    }
    write_header(out, update, &first, item, None, update[first.bytes.start] & CONTENT_MASK);
    match first.content(item, update) {
        Content::String(text) => {
            let first = text.chars().next().filter(|first| first.len_utf16() == 1)?;
            write_var_bytes(out, first.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Content::Any(mut values) | Content::Json(mut values) => {
            out.push(1);
            out.extend_from_slice(values.split_off_front(1).bytes);
        }
        Content::Deleted => out.push(1),
        other => unreachable!("{other:?} spans one clock"),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::build::{ANY, DELETED, STRING, after, gc, in_root, string, update};
    use super::super::scan;
    use super::*;
    use crate::limits::Limits;

    fn first(update: &Bytes) -> Option<Bytes> {
        let limits = Limits::default();
        first_clocks(update, &scan(update, &limits).expect("an update"), |client| client == 1)
    }

    #[test]
    fn the_first_clock_of_a_struct_stands_where_the_struct_does() {
        let of = |content: u8, whole: &[u8], cut: &[u8]| {
            let item = |bytes: &[u8]| update(&[(1, 5, &[after((2, 3), content, bytes)])], &[]);
            assert_eq!(first(&item(whole)), Some(item(cut)));
        };
        of(STRING, &string("abc"), &string("a"));
        of(STRING, &string("ü€"), &string("ü"));
        of(ANY, &[2, 120, 121], &[1, 120]);
        of(DELETED, &[7], &[1]);
        assert_eq!(first(&update(&[(1, 5, &[gc(7)])], &[])), Some(update(&[(1, 5, &[gc(1)])], &[])));
        assert_eq!(first(&update(&[(1, 5, &[in_root(STRING, &string("😀b"))])], &[])), None);
    }

    #[test]
    fn what_follows_and_other_clients_and_deletions_are_left_out() {
        let own = in_root(STRING, &string("a"));
        let all = update(
            &[(2, 0, &[in_root(STRING, &string("z"))]), (1, 0, &[own.clone(), after((1, 0), STRING, &string("b"))])],
            &[(2, 0, 1)],
        );
        assert_eq!(first(&all), Some(update(&[(1, 0, &[own])], &[])));
    }
}
