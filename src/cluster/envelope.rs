//! How a message between nodes looks on the bus: version, checksum, fields.
//!
//! ```text
//! byte 0       version: 1, or 2 with the life of the dashboard's name, which is 0 in the other
//! bytes 1..5   CRC-32 (IEEE, little endian) of byte 0 and all that follows
//! bytes 5..    in version 2 the life; origin, number, durable, kind, body in bincode 2 standard encoding (varint integers, length-prefixed bytes)
//! ```
//!
//! The origin numbers what it publishes about a dashboard; `durable` is the highest of its numbers whose content it knows to be
//! in the store. An update that is a part of a trace is of a kind of its own, with the context of the trace in front (16 bytes of the trace, 8 of the
//! span). What does not decode is counted and skipped by whoever hears it: the gap in the numbers, or the next exchange of
//! state vectors, brings what it was.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use ydash_proto::id::NodeId;
use ydash_proto::life::Life;
use ydash_proto::limits::Limits;
use ydash_proto::room::Said;
use ydash_proto::update::StateVector;

use crate::trace::{CONTEXT_BYTES, SpanContext};

/// Of a name under which nothing was ever begun anew.
const FIRST_LIFE: u8 = 1;
/// The latest: with the life.
const VERSION: u8 = 2;
const HEADER_LEN: usize = 5;

/// The largest envelope that is decoded: bounds what a damaged length could make a decoder believe.
const ENVELOPE_BYTES_MAX: usize = 256 << 20;

const UPDATE: u8 = 1;
const AWARENESS: u8 = 2;
const PRESENCE: u8 = 3;
const STATE_VECTOR: u8 = 4;
const RENEW: u8 = 5;
const STATELESS: u8 = 6;
const TRACED_UPDATE: u8 = 7;

/// A message from one node's room to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who says it.
    pub origin: NodeId,
    /// Grows by one with each message of this origin about this dashboard.
    pub number: u64,
    /// Which life of the dashboard's name it is about: a room of another one skips it.
    pub life: Life,
    /// The content of the origin's messages up to here is in the store.
    pub durable: u64,
    /// What it says.
    pub said: Said<Bytes>,
    /// The trace that it is a part of: of updates only.
    pub trace: Option<SpanContext>,
}

/// Why bytes are no envelope: count it and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Published by a later ydash.
    #[error("version {0} is not known")]
    LaterVersion(u8),
    /// Not what was published.
    #[error("{0}")]
    Garbage(&'static str),
}

#[derive(Encode, BorrowDecode)]
struct Fields<'a> {
    origin: u64,
    number: u64,
    durable: u64,
    kind: u8,
    asks: bool,
    deletes: u64,
    body: &'a [u8],
}

impl Envelope {
    /// The bytes for the bus.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (vector, traced);
        let (kind, asks, deletes, body): (u8, bool, u64, &[u8]) = match &self.said {
            Said::Update(update) => match self.trace {
                None => (UPDATE, false, 0, update),
                Some(trace) => {
                    traced = [&trace.to_bytes()[..], update].concat();
                    (TRACED_UPDATE, false, 0, &traced)
                }
            },
            Said::Awareness(body) => (AWARENESS, false, 0, body),
            Said::Presence(body) => (PRESENCE, false, 0, body),
            Said::Renew => (RENEW, false, 0, &[]),
            Said::Stateless(payload) => (STATELESS, false, 0, payload),
            Said::StateVector { have, deletes, asks } => {
                vector = have.encode();
                (STATE_VECTOR, *asks, *deletes, &vector)
            }
        };
        let Envelope { origin, number, durable, .. } = *self;
        let fields = Fields { origin: origin.0, number, durable, kind, asks, deletes, body };
        // The other fields take less than 64 bytes.
        let mut bytes = Vec::with_capacity(HEADER_LEN + 64 + body.len());
        let version = if self.life == Life::FIRST { FIRST_LIFE } else { VERSION };
        bytes.extend_from_slice(&[version, 0, 0, 0, 0]);
        if version == VERSION {
            bytes.extend_from_slice(&self.life.0.to_le_bytes());
        }
        bincode::encode_into_std_write(fields, &mut bytes, bincode::config::standard())
            .expect("fields are plain integers and bytes, and a Vec takes them all");
        let crc = checksum(&bytes);
        bytes[1..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
        bytes.into()
    }

    /// Reads what was published; bodies share the buffer of `bytes`.
    ///
    /// # Errors
    /// Any [`EnvelopeError`]: skip it.
    pub fn decode(bytes: &Bytes, limits: &Limits) -> Result<Envelope, EnvelopeError> {
        match bytes.first() {
            Some(&(FIRST_LIFE | VERSION)) => {}
            Some(&version) if version > VERSION => return Err(EnvelopeError::LaterVersion(version)),
            _ => return Err(EnvelopeError::Garbage("no version")),
        }
        let crc = bytes.get(1..HEADER_LEN).ok_or(EnvelopeError::Garbage("cut"))?;
        if crc != checksum(bytes).to_le_bytes() {
            return Err(EnvelopeError::Garbage("checksum does not match"));
        }
        let config = bincode::config::standard().with_limit::<ENVELOPE_BYTES_MAX>();
        let (life, body) = match bytes[HEADER_LEN..].split_first_chunk() {
            Some((life, body)) if bytes[0] == VERSION => (Life(u32::from_le_bytes(*life)), body),
            _ => (Life::FIRST, &bytes[HEADER_LEN..]),
        };
        let fields: Fields<'_> = match bincode::borrow_decode_from_slice(body, config) {
            Ok((fields, used)) if used == body.len() => fields,
            _ => return Err(EnvelopeError::Garbage("fields do not decode")),
        };
        let body = bytes.slice_ref(fields.body);
        let mut trace = None;
        let said = match fields.kind {
            UPDATE => Said::Update(body),
            TRACED_UPDATE => {
                let (context, _) =
                    body.split_first_chunk::<CONTEXT_BYTES>().ok_or(EnvelopeError::Garbage("no trace"))?;
                trace = Some(SpanContext::from_bytes(context));
                Said::Update(body.slice(CONTEXT_BYTES..))
            }
            AWARENESS => Said::Awareness(body),
            PRESENCE => Said::Presence(body),
            RENEW if body.is_empty() => Said::Renew,
            STATELESS => Said::Stateless(body),
            STATE_VECTOR => {
                let have = StateVector::decode(&body, limits);
                let have = have.map_err(|_| EnvelopeError::Garbage("not a state vector"))?;
                Said::StateVector { have, deletes: fields.deletes, asks: fields.asks }
            }
            _ => return Err(EnvelopeError::Garbage("unknown kind")),
        };
        Ok(Envelope {
            origin: NodeId(fields.origin),
            number: fields.number,
            life,
            durable: fields.durable,
            said,
            trace,
        })
    }
}

/// The checksum of everything but itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..1]);
    hasher.update(&bytes[HEADER_LEN..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(said: Said<Bytes>) -> Envelope {
        Envelope { origin: NodeId(7), number: 300, life: Life::FIRST, durable: 299, said, trace: None }
    }

    fn traced() -> Envelope {
        let trace = Some(SpanContext { trace: [0xaa; 16], span: [0xbb; 8] });
        Envelope { trace, ..envelope(Said::Update(Bytes::from_static(&[0, 0]))) }
    }

    fn every_kind() -> [Envelope; 8] {
        let have: StateVector = [(1, 2), (3, 4)].into_iter().collect();
        [
            envelope(Said::Update(Bytes::from_static(&[0, 0]))),
            envelope(Said::Awareness(Bytes::from_static(&[1, 7, 0, 2, b'{', b'}']))),
            envelope(Said::Presence(Bytes::from_static(&[0]))),
            envelope(Said::Renew),
            Envelope { life: Life(3), ..envelope(Said::Renew) },
            envelope(Said::Stateless(Bytes::from_static(b"hi"))),
            envelope(Said::StateVector { have, deletes: u64::MAX, asks: true }),
            traced(),
        ]
    }

    /// Change these bytes only together with [`VERSION`].
    #[test]
    fn golden_envelope() {
        let bytes = envelope(Said::Update(Bytes::from_static(&[0, 0]))).encode();
        let fields = [7, 251, 0x2c, 0x01, 251, 0x2b, 0x01, UPDATE, 0, 0, 2, 0, 0];
        assert_eq!(bytes[HEADER_LEN..], fields);
        assert_eq!(bytes[..HEADER_LEN], [1, 229, 141, 140, 185]);
    }

    #[test]
    fn golden_envelope_of_another_life() {
        let bytes = Envelope { life: Life(2), ..envelope(Said::Renew) }.encode();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[HEADER_LEN..], [2, 0, 0, 0, 7, 251, 0x2c, 0x01, 251, 0x2b, 0x01, RENEW, 0, 0, 0]);
    }

    #[test]
    fn golden_question() {
        let have = [(1, 2)].into_iter().collect();
        let bytes = envelope(Said::StateVector { have, deletes: 5, asks: true }).encode();
        assert_eq!(bytes[HEADER_LEN..], [7, 251, 0x2c, 0x01, 251, 0x2b, 0x01, STATE_VECTOR, 1, 5, 3, 1, 1, 2]);
    }

    #[test]
    fn golden_traced_update() {
        let mut fields = vec![7, 251, 0x2c, 0x01, 251, 0x2b, 0x01, TRACED_UPDATE, 0, 0, 26];
        fields.extend([0xaa; 16]);
        fields.extend([0xbb; 8]);
        fields.extend([0, 0]);
        assert_eq!(traced().encode()[HEADER_LEN..], fields);
    }

    #[test]
    fn envelopes_decode_to_what_they_were() {
        for envelope in every_kind() {
            assert_eq!(Envelope::decode(&envelope.encode(), &Limits::default()), Ok(envelope));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for envelope in every_kind() {
            let bytes = envelope.encode();
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Envelope::decode(&flipped.into(), &Limits::default()).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(Envelope::decode(&bytes.slice(..len), &Limits::default()).is_err());
            }
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = every_kind()[0].encode().to_vec();
        bytes[0] = 9;
        assert_eq!(Envelope::decode(&bytes.into(), &Limits::default()), Err(EnvelopeError::LaterVersion(9)));
    }
}
