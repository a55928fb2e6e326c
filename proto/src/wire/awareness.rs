//! Awareness entries: who is there, and what each shows of itself.
//!
//! Stock clients send every entry they receive back to the server, so most of what arrives is old. [`entries`] therefore walks
//! raw varints: client and clock are there to compare before anything is known, copied or checked of the state. Only the state of
//! an entry that turned out to matter is looked at, by [`Entry::state`], and it is passed on verbatim: parsing and writing JSON
//! again would change what applications put there.

use bytes::Bytes;

use super::close::CloseCode;
use crate::id::ClientId;
use crate::json;
use crate::lib0::{Lib0Error, Reader};

/// The state of a client that has left, as JSON text.
pub const NULL: &[u8] = b"null";

/// How deep a state may nest: what JavaScript and its libraries walk recursively without trouble.
const DEPTH_MAX: u16 = 128;

/// Client, clock and state take at least one byte each.
const ENTRY_BYTES_MIN: u64 = 3;

/// Why bytes are not awareness entries: close the connection with [`AwarenessError::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwarenessError {
    /// More entries are declared than the bytes could hold.
    #[error("{declared} entries are declared in {bytes} bytes")]
    Count {
        /// What the first varint says.
        declared: u64,
        /// What follows it.
        bytes: usize,
    },
    /// A clock beyond 2^32 - 1, at which no client arrives by counting.
    #[error("clock {0} is beyond 32 bits")]
    Clock(u64),
    /// The entries end before the bytes do.
    #[error("{0} bytes follow the last entry")]
    Trailing(usize),
    /// A number or length that cannot be; client ids beyond 2^53 - 1 as well.
    #[error("entry is malformed")]
    Malformed(#[from] Lib0Error),
}

impl AwarenessError {
    /// What the connection is to be closed with, for all errors alike.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        CloseCode::BadFrame
    }
}

/// Why a state is not to be kept or passed on: drop the entry, keep the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Longer than [`awareness_state_bytes_max`](crate::limits::Limits::awareness_state_bytes_max).
    #[error("state of {bytes} bytes exceeds {max}")]
    TooBig {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not JSON, or nested deeper than 128: every peer's client would throw on it.
    #[error("state is not json")]
    NotJson,
}

/// Checks the frame of all entries in `body` (what [`Message::Awareness`](super::Message::Awareness) holds) and iterates them.
///
/// Linear and without allocation. States are not looked at: that is left to [`Entry::state`].
///
/// # Errors
/// Any [`AwarenessError`], before the first entry is handed out.
pub fn entries(body: &Bytes) -> Result<Entries<'_>, AwarenessError> {
    let mut reader = Reader::new(body);
    let declared = reader.var_uint()?;
    if declared > reader.remaining() as u64 / ENTRY_BYTES_MIN {
        return Err(AwarenessError::Count { declared, bytes: reader.remaining() });
    }
    let start = reader.clone();
    for _ in 0..declared {
        read(&mut reader)?;
    }
    match reader.remaining() {
        0 => Ok(Entries { body, reader: start, left: declared as usize }),
        trailing => Err(AwarenessError::Trailing(trailing)),
    }
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<(ClientId, u32, &'a [u8]), AwarenessError> {
    let client = reader.var_uint()?;
    let clock = reader.var_uint()?;
    let clock = u32::try_from(clock).map_err(|_| AwarenessError::Clock(clock))?;
    Ok((client, clock, reader.var_bytes()?))
}

/// The entries of one awareness message, in their order; `len()` says how many.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    body: &'a Bytes,
    reader: Reader<'a>,
    left: usize,
}

impl Entries<'_> {
    /// The first `max` of them, and how many come after those.
    #[must_use]
    pub fn up_to(self, max: usize) -> (Self, usize) {
        let left = self.left.min(max);
        let beyond = self.left - left;
        (Entries { left, ..self }, beyond)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (client, clock, json) = read(&mut self.reader).expect("every entry was read once before");
        Some(Entry { client, clock, json, body: self.body })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// What one client shows of itself at one awareness clock.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Whose entry it is; at most 2^53 - 1.
    pub client: ClientId,
    /// How often that client has announced itself: the newer entry counts.
    pub clock: u32,
    json: &'a [u8],
    body: &'a Bytes,
}

impl Entry<'_> {
    /// Whether the client has left.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.json.len() >= NULL.len() && self.json.trim_ascii() == NULL
    }

    /// Whether its state is, byte for byte, `state`.
    #[must_use]
    pub fn is(&self, state: &[u8]) -> bool {
        self.json == state
    }

    /// The state as JSON text, byte for byte as it came and of at most `bytes_max`; [`NULL`] for who has left.
    ///
    /// It shares the message's buffer unless that is much larger, which would otherwise live as long as the state.
    ///
    /// # Errors
    /// Any [`StateError`].
    pub fn state(&self, bytes_max: usize) -> Result<Bytes, StateError> {
        let bytes = self.json.len();
        if bytes > bytes_max {
            return Err(StateError::TooBig { bytes, max: bytes_max });
        }
        if self.is_null() {
            return Ok(Bytes::from_static(NULL));
        }
        let text = core::str::from_utf8(self.json).map_err(|_| StateError::NotJson)?;
        if json::check(text, DEPTH_MAX).is_err() {
            return Err(StateError::NotJson);
        }
        let is_most_of_it = self.body.len() <= 2 * bytes;
        Ok(if is_most_of_it { self.body.slice_ref(self.json) } else { Bytes::copy_from_slice(self.json) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CLIENT_ID_MAX;
    use crate::lib0::{write_var_bytes, write_var_uint};
    use crate::wire::{Message, decode, encode};
    use proptest::prelude::*;

    const STATE_BYTES_MAX: usize = 4 << 10;

    fn body(entries: &[(u64, u64, &[u8])]) -> Bytes {
        let mut out = Vec::new();
        write_var_uint(&mut out, entries.len() as u64);
        for (client, clock, state) in entries {
            write_var_uint(&mut out, *client);
            write_var_uint(&mut out, *clock);
            write_var_bytes(&mut out, state);
        }
        out.into()
    }

    fn only(body: &Bytes) -> Entry<'_> {
        let mut entries = entries(body).expect("well-formed");
        assert_eq!(entries.len(), 1);
        entries.next().expect("one")
    }

    #[test]
    fn captured_announcement_and_leave_are_read() {
        let announced = Bytes::from_static(b"\x01\x01\x00\x02{}");
        let entry = only(&announced);
        assert_eq!((entry.client, entry.clock, entry.is_null()), (1, 0, false));
        assert_eq!(entry.state(STATE_BYTES_MAX), Ok(Bytes::from_static(b"{}")));

        let left = Bytes::from_static(b"\x01\x02\x00\x04null");
        let entry = only(&left);
        assert_eq!((entry.client, entry.clock, entry.is_null()), (2, 0, true));
        assert_eq!(entry.state(STATE_BYTES_MAX), Ok(Bytes::from_static(NULL)));
    }

    #[test]
    fn states_are_encoded_byte_for_byte() {
        let state: &[u8] = b" {\"a\" : 1.0e0,\"b\":\"\\ud83d\"} ";
        let frame = encode::awareness([(300, 7, state), (CLIENT_ID_MAX, u32::MAX, NULL)]);
        let Ok(Message::Awareness(body)) = decode(&frame) else { panic!("awareness") };
        let read: Vec<_> =
            entries(&body).unwrap().map(|e| (e.client, e.clock, e.state(STATE_BYTES_MAX).unwrap())).collect();
        assert_eq!(read, [(300, 7, Bytes::from_static(state)), (CLIENT_ID_MAX, u32::MAX, Bytes::from_static(NULL))]);
    }

    #[test]
    fn a_small_state_does_not_keep_a_large_message_alive() {
        let large = format!("\"{}\"", "x".repeat(1000));
        let both = body(&[(1, 1, b"{}"), (2, 1, large.as_bytes())]);
        let range = both.as_ptr_range();
        let states: Vec<Bytes> = entries(&both).unwrap().map(|e| e.state(STATE_BYTES_MAX).unwrap()).collect();
        assert!(!range.contains(&states[0].as_ptr()), "copied");
        assert!(range.contains(&states[1].as_ptr()), "shared");
    }

    #[test]
    fn hostile_2_counts_beyond_the_bytes_are_refused_at_once() {
        let error = AwarenessError::Count { declared: 0x0fff_ffff, bytes: 0 };
        assert_eq!(entries(&Bytes::from_static(b"\xff\xff\xff\x7f")).unwrap_err(), error);
        assert!(error.close_code().is_permanent());
        let lies = Bytes::from_static(b"\x02\x01\x00\x02{}");
        assert_eq!(entries(&lies).unwrap_err(), AwarenessError::Count { declared: 2, bytes: 5 });
        let lies = Bytes::from_static(b"\x02\x01\x00\x04true");
        assert_eq!(entries(&lies).unwrap_err(), AwarenessError::Malformed(Lib0Error::End));
        let long = Bytes::from_static(b"\x01\x01\x00\xff\xff\xff\x7f");
        assert_eq!(entries(&long).unwrap_err(), AwarenessError::Malformed(Lib0Error::End));
        assert_eq!(entries(&Bytes::new()).unwrap_err(), AwarenessError::Malformed(Lib0Error::End));
    }

    #[test]
    fn hostile_7_clocks_and_ids_beyond_what_clients_use_are_refused() {
        let ahead = body(&[(1, 1 << 32, b"{}")]);
        assert_eq!(entries(&ahead).unwrap_err(), AwarenessError::Clock(1 << 32));
        assert_eq!(only(&body(&[(CLIENT_ID_MAX, u32::MAX.into(), b"{}")])).clock, u32::MAX);
        let mut id = vec![1];
        id.extend([0xff; 7]);
        id.extend([0x1f, 0, 2, b'{', b'}']);
        assert_eq!(entries(&id.into()).unwrap_err(), AwarenessError::Malformed(Lib0Error::TooLarge));
    }

    #[test]
    fn hostile_7_a_large_state_is_dropped_and_its_neighbours_stay() {
        let large = format!("\"{}\"", "x".repeat(1 << 20));
        let body = body(&[(1, 1, b"{}"), (2, 1, large.as_bytes()), (3, 1, b"[]")]);
        let states: Vec<_> = entries(&body).unwrap().map(|e| e.state(STATE_BYTES_MAX)).collect();
        assert_eq!(
            states,
            [
                Ok(Bytes::from_static(b"{}")),
                Err(StateError::TooBig { bytes: large.len(), max: STATE_BYTES_MAX }),
                Ok(Bytes::from_static(b"[]")),
            ]
        );
    }

    #[test]
    fn hostile_8_bytes_after_the_last_entry_are_refused() {
        let trailing = Bytes::from_static(b"\x01\x01\x00\x02{}\x00");
        assert_eq!(entries(&trailing).unwrap_err(), AwarenessError::Trailing(1));
        assert_eq!(entries(&Bytes::from_static(b"\x00\x00")).unwrap_err(), AwarenessError::Trailing(1));
    }

    #[test]
    fn what_clients_could_not_parse_is_dropped() {
        let deep = ["[".repeat(129), "]".repeat(129)].concat();
        for state in [&b""[..], b"{", b"nul", b"undefined", b"\"\xff\"", b"{}{}", deep.as_bytes()] {
            let body = body(&[(1, 1, state)]);
            assert_eq!(only(&body).state(STATE_BYTES_MAX), Err(StateError::NotJson), "{state:?}");
        }
        assert!(only(&body(&[(1, 1, b" null\n")])).is_null(), "as JSON.parse would have it");
    }

    proptest! {
        #[test]
        fn entries_survive_the_wire(
            table in proptest::collection::vec((0..=CLIENT_ID_MAX, any::<u32>(), "[a-zü]{0,200}"), 0..20)
        ) {
            let table: Vec<_> =
                table.into_iter().map(|(client, clock, text)| (client, clock, format!("\"{text}\""))).collect();
            let frame = encode::awareness(table.iter().map(|(client, clock, text)| (*client, *clock, text.as_bytes())));
            let Ok(Message::Awareness(body)) = decode(&frame) else { panic!("awareness") };
            let read: Vec<_> = entries(&body)
                .unwrap()
                .map(|e| (e.client, e.clock, String::from_utf8(e.state(STATE_BYTES_MAX).unwrap().to_vec()).unwrap()))
                .collect();
            prop_assert_eq!(read, table);
        }

        #[test]
        fn random_bytes_never_panic(count in 0_u8..4, bytes: Vec<u8>) {
            let body = Bytes::from([vec![count], bytes].concat());
            if let Ok(entries) = entries(&body) {
                prop_assert_eq!(entries.len(), usize::from(count));
                for entry in entries {
                    let _ = entry.state(64);
                }
            }
        }
    }
}
