//! What Redis answers, read: positions, words, entries.

use core::fmt;

use bytes::Bytes;

use crate::redis::{RedisError, Value};
use crate::store::{LogPosition, StoreError};

/// A position as Redis writes it: `ms-seq`.
pub(super) struct Id(pub(super) LogPosition);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.0.0;
        write!(f, "{}-{}", position >> 64, position & u128::from(u64::MAX))
    }
}

/// Reads a position.
pub(super) fn position_from(id: &str) -> Option<LogPosition> {
    let (ms, seq) = id.split_once('-')?;
    Some(LogPosition(u128::from(ms.parse::<u64>().ok()?) << 64 | u128::from(seq.parse::<u64>().ok()?)))
}

/// An array that Redis has answered.
pub(super) struct Answer {
    parts: Vec<Value>,
    /// To what.
    to: &'static str,
}

impl Answer {
    pub(super) fn of(value: Value, to: &'static str) -> Result<Answer, StoreError> {
        match value {
            Value::Array(parts) => Ok(Answer { parts, to }),
            _ => Err(missing(to)),
        }
    }

    pub(super) fn parts(&self) -> &[Value] {
        &self.parts
    }

    /// Its bytes.
    pub(super) fn len(&self) -> usize {
        let len = |part: &Value| if let Value::BulkString(bytes) = part { bytes.len() } else { 0 };
        self.parts.iter().map(len).sum()
    }

    pub(super) fn part(&self, n: usize) -> Result<&Value, StoreError> {
        self.parts.get(n).ok_or_else(|| missing(self.to))
    }

    /// The first word, which says what the rest is.
    pub(super) fn word(&self) -> Result<&str, StoreError> {
        text(self.part(0)?)
    }

    pub(super) fn number(&self, n: usize) -> Result<u64, StoreError> {
        match self.part(n)? {
            Value::Int(number) => u64::try_from(*number).map_err(|_| missing(self.to)),
            value => text(value)?.parse().map_err(|_| missing(self.to)),
        }
    }

    pub(super) fn position(&self, n: usize) -> Result<LogPosition, StoreError> {
        position_from(text(self.part(n)?)?).ok_or_else(|| missing(self.to))
    }
}

/// Reads positions and records that stand by turns.
pub(super) fn entries_from(parts: &[Value]) -> Result<Vec<(LogPosition, Bytes)>, StoreError> {
    let entry = |pair: &[Value]| match pair {
        [id, Value::BulkString(record)] => {
            let position = position_from(text(id)?).ok_or_else(|| missing("a log"))?;
            Ok((position, Bytes::copy_from_slice(record)))
        }
        _ => Err(missing("a log")),
    };
    parts.chunks(2).map(entry).collect()
}

pub(super) fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).map_err(|_| missing("a script")),
        Value::SimpleString(text) => Ok(text),
        Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(missing("a script")),
    }
}

/// Redis answered something else than it does.
pub(super) fn missing(to: &'static str) -> StoreError {
    StoreError::unavailable("understand Redis", RedisError::Unexpected(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ids_of_the_stream() {
        for (id, position) in [
            ("0-0", 0),
            ("0-1", 1),
            ("1-0", 1 << 64),
            ("1700000000000-4503599627370495", (1_700_000_000_000 << 64) + 4_503_599_627_370_495),
            ("18446744073709551615-18446744073709551615", u128::MAX),
        ] {
            assert_eq!(Id(LogPosition(position)).to_string(), id);
            assert_eq!(position_from(id), Some(LogPosition(position)));
        }
        for garbage in ["", "-", "1", "1-", "a-1", "1-1-1", "18446744073709551616-0"] {
            assert_eq!(position_from(garbage), None, "{garbage}");
        }
    }
}
