//! The bytes on the wire: WebSocket frames, and in them the messages of the y-websocket dialect, or those of [`hocuspocus`].
//!
//! One binary WebSocket message is one [`Message`], because stock clients read the first message of a frame and drop the rest.
//! [`decode`] is what a server makes of a client's frame, [`decode_from_server`] the other way round; [`encode`] writes every
//! message in one allocation. Payloads are slices of the frame that they came in and are not looked into here: updates are the
//! business of [`crate::update`], awareness entries of [`awareness`].
//!
//! Below the messages lies [`websocket`], a pure RFC 6455 codec; [`close`] says with which codes a connection ends.

use bytes::Bytes;

use crate::lib0::{Lib0Error, Reader};
use close::CloseCode;

pub mod awareness;
pub mod close;
pub mod encode;
pub mod hocuspocus;
pub mod rights;
pub mod websocket;

/// The first varint of a message (y-websocket; y-protocols/sync.js, awareness.js, auth.js).
pub mod tag {
    /// One of the three sync messages follows.
    pub const SYNC: u8 = 0;
    /// Awareness entries follow.
    pub const AWARENESS: u8 = 1;
    /// A word about permissions follows.
    pub const AUTH: u8 = 2;
    /// Asks for all awareness entries; nothing follows.
    pub const QUERY_AWARENESS: u8 = 3;
    /// Says whether edits are saved: Hocuspocus' number for it, here only for clients that opted in.
    pub const SYNC_STATUS: u8 = 8;

    /// Under [`SYNC`]: a state vector.
    pub const SYNC_STEP_1: u8 = 0;
    /// Under [`SYNC`]: an update that answers a state vector.
    pub const SYNC_STEP_2: u8 = 1;
    /// Under [`SYNC`]: an update by itself.
    pub const UPDATE: u8 = 2;

    /// Under [`AUTH`]: a reason.
    pub const PERMISSION_DENIED: u8 = 0;
    /// Under [`AUTH`]: what the session may do, in Hocuspocus' numbers and words.
    pub const AUTHENTICATED: u8 = 2;
}

/// One message of the y-websocket dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "This is what I have": an encoded state vector.
    SyncStep1(Bytes),
    /// "This is what you lack": an update, v1. Only this makes a client `synced`.
    SyncStep2(Bytes),
    /// "This has changed": an update, v1.
    Update(Bytes),
    /// Presence: what [`awareness::entries`] reads.
    Awareness(Bytes),
    /// "Tell me all awareness that you hold." Stock clients ask it of other tabs, not of servers.
    QueryAwareness,
    /// From a client: whatever follows the tag. Stock clients never send it.
    Auth(Bytes),
    /// From a server: the reason why it will not serve.
    PermissionDenied(String),
    /// The token ends soon: a client that has another may send it.
    TokenWanted,
    /// From a server, to clients that opted in: what the session may do.
    Authenticated {
        /// `"read-write"` or `"readonly"`.
        may_edit: bool,
    },
    /// From a server, to clients that opted in: whether all edits they sent are durable.
    SyncStatus {
        /// `true`: durable; `false`: not kept.
        saved: bool,
    },
}

/// Why a frame is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame without a single byte.
    #[error("frame is empty")]
    Empty,
    /// A message type that the sender's side does not have. It may be an extension: stock clients ignore those, too.
    #[error("message type {0} is unknown")]
    UnknownType(u64),
    /// A sync message that is neither step 1, step 2 nor update.
    #[error("sync message {0} is unknown")]
    UnknownSync(u64),
    /// A word about permissions, or a save status, that is none.
    #[error("auth or status message {0} is unknown")]
    UnknownStatus(u64),
    /// The message ends before the frame does.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A number or length that cannot be.
    #[error("message is malformed")]
    Malformed(#[from] Lib0Error),
}

impl FrameError {
    /// What the connection is to be closed with, for all errors alike.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        CloseCode::BadFrame
    }
}

/// Reads the one message in a client's frame.
///
/// # Errors
/// Any [`FrameError`]; [`FrameError::UnknownType`] for what only servers say as well.
pub fn decode(frame: &Bytes) -> Result<Message, FrameError> {
    decode_as(frame, |kind, reader| match kind {
        tag::AUTH => Ok(Message::Auth(frame.slice_ref(reader.bytes(reader.remaining())?))),
        _ => decode_common(kind, reader, frame),
    })
}

/// Reads the one message in a server's frame.
///
/// # Errors
/// Any [`FrameError`].
pub fn decode_from_server(frame: &Bytes) -> Result<Message, FrameError> {
    decode_as(frame, |kind, reader| match kind {
        tag::AUTH => match reader.var_uint()? {
            0 => Ok(Message::PermissionDenied(reader.var_str()?.to_owned())),
            1 => Ok(Message::TokenWanted),
            2 => match reader.var_str()? {
                encode::READ_WRITE => Ok(Message::Authenticated { may_edit: true }),
                encode::READ_ONLY => Ok(Message::Authenticated { may_edit: false }),
                _ => Err(FrameError::UnknownStatus(2)),
            },
            unknown => Err(FrameError::UnknownStatus(unknown)),
        },
        tag::SYNC_STATUS => match reader.var_uint()? {
            0 => Ok(Message::SyncStatus { saved: false }),
            1 => Ok(Message::SyncStatus { saved: true }),
            unknown => Err(FrameError::UnknownStatus(unknown)),
        },
        _ => decode_common(kind, reader, frame),
    })
}

/// The token in the body of a client's [`Message::Auth`]: `00 text`, which renews a session; `None` for anything else.
#[must_use]
pub fn renewal(body: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(body);
    if reader.var_uint() != Ok(0) {
        return None;
    }
    let token = reader.var_str().ok()?;
    (reader.remaining() == 0 && token.len() <= hocuspocus::TOKEN_BYTES_MAX).then_some(token)
}

/// Whether a message that begins with `head` shows a token.
#[must_use]
pub fn is_auth(head: &[u8]) -> bool {
    head.first() == Some(&tag::AUTH)
}

/// Whether a message that begins with `head` is one that gets a SyncStatus: a SyncStep2 or an Update.
#[must_use]
pub fn is_update(head: &[u8]) -> bool {
    matches!(head, [tag::SYNC, tag::SYNC_STEP_2 | tag::UPDATE, ..])
}

fn decode_as(
    frame: &Bytes,
    body: impl FnOnce(u8, &mut Reader<'_>) -> Result<Message, FrameError>,
) -> Result<Message, FrameError> {
    if frame.is_empty() {
        return Err(FrameError::Empty);
    }
    let mut reader = Reader::new(frame);
    let kind = reader.var_uint()?;
    let message = body(u8::try_from(kind).map_err(|_| FrameError::UnknownType(kind))?, &mut reader)?;
    match reader.remaining() {
        0 => Ok(message),
        trailing => Err(FrameError::Trailing(trailing)),
    }
}

/// The messages that both sides send.
fn decode_common(kind: u8, reader: &mut Reader<'_>, frame: &Bytes) -> Result<Message, FrameError> {
    match kind {
        tag::SYNC => {
            let step = match reader.var_uint()? {
                0 => Message::SyncStep1,
                1 => Message::SyncStep2,
                2 => Message::Update,
                unknown => return Err(FrameError::UnknownSync(unknown)),
            };
            Ok(step(frame.slice_ref(reader.var_bytes()?)))
        }
        tag::AWARENESS => Ok(Message::Awareness(frame.slice_ref(reader.var_bytes()?))),
        tag::QUERY_AWARENESS => Ok(Message::QueryAwareness),
        unknown => Err(FrameError::UnknownType(unknown.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(message: &Message) -> Bytes {
        match message {
            Message::SyncStep1(state_vector) => encode::sync_step1(state_vector),
            Message::SyncStep2(update) => encode::sync_step2(update),
            Message::Update(update) => encode::update(update),
            Message::Awareness(body) => encode::awareness_body(body),
            Message::QueryAwareness => encode::query_awareness(),
            Message::Auth(body) => [&[tag::AUTH], &body[..]].concat().into(),
            Message::PermissionDenied(reason) => encode::permission_denied(reason),
            Message::TokenWanted => encode::ask_token(),
            Message::Authenticated { may_edit } => encode::authenticated(*may_edit),
            Message::SyncStatus { saved } => encode::sync_status(*saved),
        }
    }

    fn hex(text: &str) -> Bytes {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn frames_captured_from_real_clients_decode_and_encode_back() {
        let golden = [
            ("00 00 03 01 01 01", Message::SyncStep1(hex("01 01 01"))),
            ("00 00 01 00", Message::SyncStep1(hex("00"))),
            (
                "00 01 0e 01 01 01 00 28 01 01 6d 01 6b 01 7d 01 00",
                Message::SyncStep2(hex("01 01 01 00 28 01 01 6d 01 6b 01 7d 01 00")),
            ),
            ("00 01 02 00 00", Message::SyncStep2(hex("00 00"))),
            (
                "00 02 0e 01 01 01 00 28 01 01 6d 01 6b 01 7d 01 00",
                Message::Update(hex("01 01 01 00 28 01 01 6d 01 6b 01 7d 01 00")),
            ),
            ("01 06 01 01 00 02 7b 7d", Message::Awareness(hex("01 01 00 02 7b 7d"))),
            ("01 08 01 02 00 04 6e 75 6c 6c", Message::Awareness(hex("01 02 00 04 6e 75 6c 6c"))),
            ("03", Message::QueryAwareness),
        ];
        for (bytes, message) in golden {
            let frame = hex(bytes);
            assert_eq!(decode(&frame), Ok(message.clone()), "{bytes}");
            assert_eq!(decode_from_server(&frame), Ok(message.clone()), "{bytes}");
            assert_eq!(encode(&message), frame, "{bytes}");
        }
    }

    #[test]
    fn what_only_servers_say_is_unknown_from_a_client() {
        let denied = encode::permission_denied("no");
        assert_eq!(denied, hex("02 00 02 6e 6f"));
        assert_eq!(decode_from_server(&denied), Ok(Message::PermissionDenied("no".to_owned())));
        assert_eq!(decode(&denied), Ok(Message::Auth(hex("00 02 6e 6f"))));
        let read_only = encode::authenticated(false);
        assert_eq!(read_only, hex("02 02 08 72 65 61 64 6f 6e 6c 79"));
        assert_eq!(decode_from_server(&read_only), Ok(Message::Authenticated { may_edit: false }));
        let read_write = encode::authenticated(true);
        assert_eq!(read_write, hex("02 02 0a 72 65 61 64 2d 77 72 69 74 65"));
        assert_eq!(decode_from_server(&read_write), Ok(Message::Authenticated { may_edit: true }));
        for saved in [true, false] {
            let status = encode::sync_status(saved);
            assert_eq!(status, if saved { hex("08 01") } else { hex("08 00") });
            assert_eq!(decode_from_server(&status), Ok(Message::SyncStatus { saved }));
            assert_eq!(decode(&status), Err(FrameError::UnknownType(8)));
        }
        assert_eq!(decode_from_server(&hex("08 02")), Err(FrameError::UnknownStatus(2)));
        assert_eq!(decode_from_server(&hex("02 01")), Ok(Message::TokenWanted));
        assert_eq!(decode_from_server(&hex("02 03 00")), Err(FrameError::UnknownStatus(3)));
    }

    #[test]
    fn hostile_8_frames_that_are_no_message_are_told_apart() {
        for (bytes, expected) in [
            ("", FrameError::Empty),
            ("04", FrameError::UnknownType(4)),
            ("09", FrameError::UnknownType(9)),
            ("80 02", FrameError::UnknownType(256)),
            ("ff ff ff ff 0f", FrameError::UnknownType(0xffff_ffff)),
            ("00 03 00", FrameError::UnknownSync(3)),
            ("00 00 01 00 00", FrameError::Trailing(1)),
            ("03 03", FrameError::Trailing(1)),
            // yrs' Protocol::start: two messages in one frame.
            ("00 00 01 00 01 01 00", FrameError::Trailing(3)),
            ("00", FrameError::Malformed(Lib0Error::End)),
            ("80", FrameError::Malformed(Lib0Error::End)),
            ("00 02 0e 01", FrameError::Malformed(Lib0Error::End)),
            ("ff ff ff ff ff ff ff ff 7f", FrameError::Malformed(Lib0Error::TooLarge)),
        ] {
            assert_eq!(decode(&hex(bytes)), Err(expected), "{bytes}");
            assert!(expected.close_code().is_permanent());
        }
    }

    #[test]
    fn hostile_2_a_length_beyond_the_frame_is_malformed() {
        for bytes in ["00 00 ff ff ff 7f", "01 ff ff ff 7f", "00 02 ff ff ff ff ff ff ff 0f"] {
            assert_eq!(decode(&hex(bytes)), Err(FrameError::Malformed(Lib0Error::End)), "{bytes}");
        }
    }

    #[test]
    fn payloads_share_the_frame() {
        let frame = encode::update(&[7; 100]);
        let Ok(Message::Update(update)) = decode(&frame) else { panic!("an update") };
        assert_eq!(update.as_ptr(), frame[3..].as_ptr());
    }

    #[test]
    fn a_keep_alive_is_awareness_of_nobody() {
        assert_eq!(encode::keep_alive(), hex("01 01 00"));
        let Ok(Message::Awareness(body)) = decode_from_server(&encode::keep_alive()) else { panic!("awareness") };
        assert_eq!(awareness::entries(&body).unwrap().len(), 0);
    }

    fn message() -> impl Strategy<Value = Message> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Message::SyncStep1),
            bytes().prop_map(Message::SyncStep2),
            bytes().prop_map(Message::Update),
            bytes().prop_map(Message::Awareness),
            Just(Message::QueryAwareness),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire(message in message(), reason in ".*", body: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&message)), Ok(message.clone()));
            prop_assert_eq!(decode_from_server(&encode(&message)), Ok(message));
            let denied = Message::PermissionDenied(reason);
            prop_assert_eq!(decode_from_server(&encode(&denied)), Ok(denied));
            let auth = Message::Auth(body.into());
            prop_assert_eq!(decode(&encode(&auth)), Ok(auth));
        }

        #[test]
        fn random_frames_never_panic(bytes: Vec<u8>, kind in 0_u8..10) {
            let frame = Bytes::from([vec![kind], bytes].concat());
            for message in [decode(&frame), decode_from_server(&frame)].into_iter().flatten() {
                // JavaScript takes varints that are longer than need be, so the way back may be shorter, never different.
                let again = encode(&message);
                prop_assert!(again.len() <= frame.len());
                prop_assert!(decode(&again) == Ok(message.clone()) || decode_from_server(&again) == Ok(message));
            }
        }
    }
}
