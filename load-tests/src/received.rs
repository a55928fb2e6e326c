//! What an update that a server sends brings: which clocks of which clients.
//!
//! Servers merge what they forward, so frames say nothing about how many edits arrived; structs do. Only what the load tests'
//! documents can hold is understood: `Any`, deleted, collected and skipped structs.

use ydash_proto::lib0::{Lib0Error, Reader};

/// Calls `found(client, clock, len)` for every run of structs that `update` brings.
///
/// # Errors
/// The update is cut off, or holds content that no load test writes.
pub(crate) fn for_each_span(update: &[u8], mut found: impl FnMut(u64, u64, u64)) -> Result<(), ReceivedError> {
    let mut reader = Reader::new(update);
    for _ in 0..reader.var_uint()? {
        let structs = reader.var_uint()?;
        let client = reader.var_uint()?;
        let mut clock = reader.var_uint()?;
        let mut start = clock;
        for _ in 0..structs {
            match skip_struct(&mut reader)? {
                Struct::Holds(len) => clock += len,
                Struct::Skips(len) => {
                    report(&mut found, client, start, clock);
                    clock += len;
                    start = clock;
                }
            }
        }
        report(&mut found, client, start, clock);
    }
    Ok(())
}

/// Why an update was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedError {
    /// It is cut off or holds a broken number.
    Malformed,
    /// Content that no load test writes.
    Content(u8),
}

impl From<Lib0Error> for ReceivedError {
    fn from(_: Lib0Error) -> Self {
        ReceivedError::Malformed
    }
}

enum Struct {
    Holds(u64),
    Skips(u64),
}

fn report(found: &mut impl FnMut(u64, u64, u64), client: u64, start: u64, end: u64) {
    if end > start {
        found(client, start, end - start);
    }
}

fn skip_struct(reader: &mut Reader<'_>) -> Result<Struct, ReceivedError> {
    let info = reader.u8()?;
    match info & 0x1f {
        0 => return Ok(Struct::Holds(reader.var_uint()?)),
        10 => return Ok(Struct::Skips(reader.var_uint()?)),
        _ => {}
    }
    let origins = (info >> 7) + (info >> 6 & 1);
    for _ in 0..origins {
        reader.var_uint()?;
        reader.var_uint()?;
    }
    if origins == 0 {
        if reader.var_uint()? == 1 {
            reader.var_bytes()?;
        } else {
            reader.var_uint()?;
            reader.var_uint()?;
        }
        if info & 0x20 != 0 {
            reader.var_bytes()?;
        }
    }
    match info & 0x1f {
        1 => Ok(Struct::Holds(reader.var_uint()?)),
        8 => {
            let len = reader.var_uint()?;
            for _ in 0..len {
                skip_any(reader)?;
            }
            Ok(Struct::Holds(len))
        }
        other => Err(ReceivedError::Content(other)),
    }
}

fn skip_any(reader: &mut Reader<'_>) -> Result<(), ReceivedError> {
    match reader.u8()? {
        120 | 121 | 126 | 127 => {}
        125 => while reader.u8()? & 0x80 != 0 {},
        124 => {
            reader.bytes(4)?;
        }
        122 | 123 => {
            reader.bytes(8)?;
        }
        119 => {
            reader.var_bytes()?;
        }
        tag => return Err(ReceivedError::Content(tag)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::{Author, filled};
    use yrs::updates::decoder::Decode;
    use yrs::updates::encoder::Encode;
    use yrs::{Doc, ReadTxn, StateVector, Transact, Update};

    fn spans(update: &[u8]) -> Vec<(u64, u64, u64)> {
        let mut spans = Vec::new();
        for_each_span(update, |client, clock, len| spans.push((client, clock, len))).unwrap();
        spans
    }

    #[test]
    fn single_edits_and_states_are_counted() {
        let mut author = Author::new(7, "k".into());
        for clock in 0..200 {
            assert_eq!(spans(&author.set(clock * 1_000_000)), [(7, clock, 1)]);
        }
        assert_eq!(spans(&author.state()), [(7, 0, 200)]);
        assert_eq!(spans(&[0, 0]), []);
        assert_eq!(filled(1, 10, 100, 4).iter().flat_map(|u| spans(u)).map(|span| span.2).sum::<u64>(), 10);
    }

    #[test]
    fn merged_and_collected_updates_are_counted() {
        let mut authors = [Author::new(7, "a".into()), Author::new(8, "b".into())];
        let updates: Vec<_> = (0..20).map(|n| authors[n % 2].set(n as u64)).collect();
        let merged = yrs::merge_updates_v1(updates.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(spans(&merged), [(8, 0, 10), (7, 0, 10)]);

        let doc = Doc::new();
        updates.iter().for_each(|u| doc.transact_mut().apply_update(Update::decode_v1(u).unwrap()).unwrap());
        let collected = doc.transact().encode_state_as_update_v1(&StateVector::default());
        assert_eq!(spans(&collected), [(8, 0, 10), (7, 0, 10)]);
    }

    #[test]
    fn what_is_skipped_does_not_count() {
        let mut author = Author::new(7, "a".into());
        let updates: Vec<_> = (0..5).map(|n| author.set(n)).collect();
        let holed = Update::merge_updates([&updates[0], &updates[3]].map(|u| Update::decode_v1(u).unwrap()));
        assert_eq!(spans(&holed.encode_v1()), [(7, 0, 1), (7, 3, 1)]);
    }

    #[test]
    fn broken_updates_are_said_to_be() {
        let update = Author::new(7, "a".into()).set(1);
        for cut in 1..update.len() - 1 {
            assert_eq!(for_each_span(&update[..cut], |_, _, _| {}), Err(ReceivedError::Malformed), "{cut}");
        }
    }
}
