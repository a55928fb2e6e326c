//! The Hocuspocus dialect: the messages of the y-websocket dialect behind an address, so that one socket carries many documents.
//!
//! ```text
//! frame   := varString address, varUint type, payload
//! address := document | document NUL session        (sessions: HocuspocusProvider 4)
//! ```
//!
//! Written after HocuspocusProvider 2.15, 3.4 and 4.7; the bytes in the tests were captured from them. What they have in common
//! with y-websocket (sync, awareness) is a [`Message`]; authentication, goodbyes, acks and stateless messages are their own.
//! A client is answered with its address as it sent it, because it looks its provider up by that.
//!
//! One byte is a whole frame: `00`, an empty address, is what every version takes for a sign of life and nothing else, so it is the
//! server's heartbeat. `09` and `0a` are version 4's ping and pong; older ones throw on them.

use bytes::Bytes;
use core::fmt;
use std::borrow::Cow;

use super::close::CloseCode;
use super::{FrameError, Message, awareness, decode_common, encode, tag as common};
use crate::access::Access;
use crate::lib0::{Reader, write_var_bytes, write_var_uint};

/// The types that the y-websocket dialect does not have (`types.ts` of @hocuspocus/provider).
pub mod tag {
    /// As a sync message, but not to be answered with a question: from server to server.
    pub const SYNC_REPLY: u8 = 4;
    /// A text for the application.
    pub const STATELESS: u8 = 5;
    /// From server to server.
    pub const BROADCAST_STATELESS: u8 = 6;
    /// The end of one document or session, not of the socket.
    pub const CLOSE: u8 = 7;
    /// Version 4's ping.
    pub const PING: u8 = 9;
    /// Version 4's pong.
    pub const PONG: u8 = 10;

    /// Under [`AUTH`](crate::wire::tag::AUTH): a token from a client; from a server, with nothing behind it, the wish for one.
    pub const TOKEN: u8 = 0;
    /// Under [`AUTH`](crate::wire::tag::AUTH): a reason.
    pub const PERMISSION_DENIED: u8 = 1;
    /// Under [`AUTH`](crate::wire::tag::AUTH): a scope.
    pub const AUTHENTICATED: u8 = 2;
}

pub use crate::limits::documents::{ADDRESS_BYTES_MAX, TOKEN_BYTES_MAX};

/// Divides a document's name from a session's.
const SESSION_SEPARATOR: char = '\0';

/// What a client's address means, kept for the answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// As it stands in front of every message: its length, then itself.
    prefix: Bytes,
    document_len: usize,
    len_bytes: usize,
}

impl Address {
    /// Of a frame's `address`; copied, so that it does not keep the frame.
    #[must_use]
    pub fn new(address: &str) -> Address {
        let mut prefix = Vec::with_capacity(address.len() + 2);
        write_var_bytes(&mut prefix, address.as_bytes());
        Address {
            len_bytes: prefix.len() - address.len(),
            document_len: address.find(SESSION_SEPARATOR).unwrap_or(address.len()),
            prefix: prefix.into(),
        }
    }

    /// What goes in front of each message.
    #[must_use]
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The address as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.prefix[self.len_bytes..]).expect("was a str")
    }

    /// The document's name.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.as_str()[..self.document_len]
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A client's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// One byte: a sign of life.
    Liveness,
    /// A message about one document or session.
    Addressed {
        /// Which, as it is to stand in the answers.
        address: &'a str,
        /// What.
        message: ClientMessage,
    },
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// SyncStep1, SyncStep2 or Awareness.
    Common(Message),
    /// An update, and the message of the y-websocket dialect that it is.
    Update {
        /// Yjs update v1.
        update: Bytes,
        /// `00 02 bytes(update)`, without the address.
        message: Bytes,
    },
    /// "Let me in", or "this is my token by now".
    Token {
        /// UTF-8; empty when the application has none.
        token: Bytes,
        /// The provider's version, UTF-8: from 4 on they tell it.
        version: Option<Bytes>,
    },
    /// A text for everybody else: UTF-8.
    Stateless(Bytes),
    /// What only servers say: a client that does plays one.
    BroadcastStateless,
    /// "I leave this document."
    Close,
    /// A message that servers do not answer, or a type that nobody knows.
    Ignored(u64),
}

/// Reads a client's frame.
///
/// # Errors
/// Any [`FrameError`] but [`FrameError::UnknownType`]: a type that nobody knows is no offence.
pub fn decode(frame: &Bytes) -> Result<Incoming<'_>, FrameError> {
    match **frame {
        [] => return Err(FrameError::Empty),
        [0 | tag::PING | tag::PONG] => return Ok(Incoming::Liveness),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = reader.var_str()?;
    let at = reader.pos();
    let kind = reader.var_uint()?;
    let message = match u8::try_from(kind) {
        Ok(common::SYNC | tag::SYNC_REPLY) => match decode_common(common::SYNC, &mut reader, frame)? {
            Message::Update(update) => {
                let is_verbatim = kind == u64::from(common::SYNC);
                let message = if is_verbatim { frame.slice(at..reader.pos()) } else { encode::update(&update) };
                ClientMessage::Update { update, message }
            }
            message => ClientMessage::Common(message),
        },
        Ok(common::AWARENESS) => ClientMessage::Common(decode_common(common::AWARENESS, &mut reader, frame)?),
        Ok(common::AUTH) => match reader.var_uint()? {
            0 => {
                let token = frame.slice_ref(reader.var_str()?.as_bytes());
                let version = match reader.is_empty() {
                    true => None,
                    false => Some(frame.slice_ref(reader.var_str()?.as_bytes())),
                };
                skip(&mut reader); // Later versions may tell more.
                ClientMessage::Token { token, version }
            }
            _ => ignored(kind, &mut reader),
        },
        Ok(tag::STATELESS) => ClientMessage::Stateless(frame.slice_ref(reader.var_str()?.as_bytes())),
        Ok(tag::BROADCAST_STATELESS) => {
            skip(&mut reader);
            ClientMessage::BroadcastStateless
        }
        Ok(tag::CLOSE) => {
            skip(&mut reader);
            ClientMessage::Close
        }
        _ => ignored(kind, &mut reader),
    };
    match reader.remaining() {
        0 => Ok(Incoming::Addressed { address, message }),
        trailing => Err(FrameError::Trailing(trailing)),
    }
}

/// Which document a client's frame is about that begins with `head`, and whether it is a SyncStep2 (`true`) or an Update; `None` if it is
/// neither.
#[must_use]
pub fn edited(head: &[u8]) -> Option<(&str, bool)> {
    let mut reader = Reader::new(head);
    let address = reader.var_str().ok()?;
    let kind = u8::try_from(reader.var_uint().ok()?).ok()?;
    let step = reader.var_uint().ok()?;
    match (kind, step) {
        (common::SYNC | tag::SYNC_REPLY, 1) => Some((address, true)),
        (common::SYNC | tag::SYNC_REPLY, 2) => Some((address, false)),
        _ => None,
    }
}

fn ignored(kind: u64, reader: &mut Reader<'_>) -> ClientMessage {
    skip(reader);
    ClientMessage::Ignored(kind)
}

fn skip(reader: &mut Reader<'_>) {
    let rest = reader.remaining();
    reader.bytes(rest).expect("what remains is there");
}

/// Whether a provider of this version sends every awareness entry that it takes back to the server: all before 4.5 do.
#[must_use]
pub fn echoes_presence(version: Option<&[u8]>) -> bool {
    let Some(version) = version.and_then(|version| core::str::from_utf8(version).ok()) else { return true };
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) < (4, 5),
        (None, _) => false,
    }
}

/// Whether the first frame on a socket is this dialect's and cannot be the y-websocket one's.
///
/// Providers begin with a token, or with SyncStep1 when they have none (version 2); but where the server says something first, as it does
/// on a path that names a dashboard, they begin with what the application said before there was a socket: presence, edits, stateless
/// messages. A y-websocket client begins with SyncStep1, whose first byte is 0: here an empty name, which no document has. What could
/// be either is y-websocket's.
#[must_use]
pub fn is_greeting(frame: &Bytes) -> bool {
    let Ok(Incoming::Addressed { address, message }) = decode(frame) else { return false };
    let greets = match &message {
        ClientMessage::Token { .. } | ClientMessage::Update { .. } | ClientMessage::Stateless(_) => true,
        ClientMessage::Common(Message::SyncStep1(_) | Message::SyncStep2(_)) => true,
        ClientMessage::Common(Message::Awareness(body)) => awareness::entries(body).is_ok(),
        // Too short to be told from an extension's.
        ClientMessage::Common(_)
        | ClientMessage::BroadcastStateless
        | ClientMessage::Close
        | ClientMessage::Ignored(_) => false,
    };
    let could_be_awareness =
        || matches!(super::decode(frame), Ok(Message::Awareness(body)) if awareness::entries(&body).is_ok());
    greets && !address.is_empty() && !could_be_awareness()
}

/// A server's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// One byte: a sign of life.
    Liveness,
    /// A message about one document or session.
    Addressed {
        /// Which.
        address: &'a str,
        /// What.
        message: ServerMessage,
    },
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// Sync, Awareness or QueryAwareness.
    Common(Message),
    /// "Send me your token."
    TokenRequest,
    /// "You may not."
    PermissionDenied(String),
    /// "You may."
    Authenticated(Access),
    /// A text for the application: UTF-8.
    Stateless(Bytes),
    /// "This document is closed to you."
    Close(String),
    /// What became of an update.
    SyncStatus {
        /// `true`: durable; `false`: not kept.
        saved: bool,
    },
}

/// Reads a server's frame.
///
/// # Errors
/// Any [`FrameError`].
pub fn decode_from_server(frame: &Bytes) -> Result<Outgoing<'_>, FrameError> {
    match **frame {
        [] => return Err(FrameError::Empty),
        [0 | tag::PING | tag::PONG] => return Ok(Outgoing::Liveness),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = reader.var_str()?;
    let kind = reader.var_uint()?;
    let kind = u8::try_from(kind).map_err(|_| FrameError::UnknownType(kind))?;
    let message = match kind {
        common::AUTH => match reader.var_uint()? {
            0 => ServerMessage::TokenRequest,
            1 => ServerMessage::PermissionDenied(reader.var_str()?.to_owned()),
            2 => match reader.var_str()? {
                READ_WRITE => ServerMessage::Authenticated(Access::EDITOR),
                READ_ONLY => ServerMessage::Authenticated(Access::VIEWER),
                _ => return Err(FrameError::UnknownStatus(2)),
            },
            unknown => return Err(FrameError::UnknownStatus(unknown)),
        },
        tag::STATELESS => ServerMessage::Stateless(frame.slice_ref(reader.var_str()?.as_bytes())),
        tag::CLOSE => ServerMessage::Close(reader.var_str()?.to_owned()),
        common::SYNC_STATUS => match reader.var_uint()? {
            0 => ServerMessage::SyncStatus { saved: false },
            1 => ServerMessage::SyncStatus { saved: true },
            unknown => return Err(FrameError::UnknownStatus(unknown)),
        },
        _ => ServerMessage::Common(decode_common(kind, &mut reader, frame)?),
    };
    match reader.remaining() {
        0 => Ok(Outgoing::Addressed { address, message }),
        trailing => Err(FrameError::Trailing(trailing)),
    }
}

const READ_WRITE: &str = "read-write";
const READ_ONLY: &str = "readonly";

/// A sign of life that every version understands and none reacts to.
pub const HEARTBEAT: &[u8] = &[0];

/// "You may", and what.
#[must_use]
pub fn authenticated(address: &Address, access: Access) -> Bytes {
    let scope = if access.may_edit() { READ_WRITE } else { READ_ONLY };
    encode::frame(address.prefix(), &[common::AUTH, tag::AUTHENTICATED], scope.as_bytes())
}

/// "You may not." The socket stays open.
#[must_use]
pub fn permission_denied(address: &Address, reason: &str) -> Bytes {
    encode::frame(address.prefix(), &[common::AUTH, tag::PERMISSION_DENIED], reason.as_bytes())
}

/// "Send me your token." Providers from 3.3 on ask the application for it again; 2 ignores it.
#[must_use]
pub fn token_request(address: &Address) -> Bytes {
    [address.prefix(), &[common::AUTH, tag::TOKEN][..]].concat().into()
}

/// "This document is closed to you." Version 2 throws on it, 3 and 4 stay deaf until the socket ends: only for who broke rules.
#[must_use]
pub fn close(address: &Address, reason: &str) -> Bytes {
    encode::frame(address.prefix(), &[tag::CLOSE], reason.as_bytes())
}

/// Whether one update is durable, without the address.
#[must_use]
pub fn sync_status(saved: bool) -> Bytes {
    encode::sync_status(saved)
}

/// A text for the application, without the address: one message for all who receive it.
#[must_use]
pub fn stateless(payload: &[u8]) -> Bytes {
    encode::frame(&[], &[tag::STATELESS], payload)
}

/// A client's token message, as version 4 sends it when `version` is given and older ones when it is not.
#[must_use]
pub fn token(address: &Address, token: &str, version: Option<&str>) -> Bytes {
    let mut out = encode::frame(address.prefix(), &[common::AUTH, tag::TOKEN], token.as_bytes()).to_vec();
    if let Some(version) = version {
        write_var_uint(&mut out, version.len() as u64);
        out.extend_from_slice(version.as_bytes());
    }
    out.into()
}

/// Which of a client's SyncStep2 it expects an ack for.
///
/// A provider counts its unsaved changes: one per Update, and one for the SyncStep2 that it will be asked for after each
/// SyncStep1 of its own. When the server asks out of turn (behind a hole, after a resync), the provider answers with one more
/// SyncStep2 that it does not count; an ack for it would make it believe that something else was saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turns {
    asked_by_client: u64,
    uncounted: u64,
}

impl Turns {
    /// The client sent SyncStep1.
    pub fn client_asked(&mut self) {
        self.asked_by_client += 1;
    }

    /// Of so many SyncStep1 in all that were written to it, the client sent one more SyncStep2. Says whether it counts on an ack.
    ///
    /// Of several answers on their way the last ones count: by then everything before them is durable, too. One that answers
    /// nothing counts as well.
    pub fn client_answered(&mut self, put_to_client: u64) -> bool {
        let out_of_turn = put_to_client.saturating_sub(self.asked_by_client);
        let counts = self.uncounted >= out_of_turn;
        self.uncounted += u64::from(!counts);
        counts
    }
}

/// How a socket is closed in this dialect.
///
/// Versions 3 and 4 come back after every close, 1 s later; 2 comes back at once, but never after 4401, 4403 and 1009. So those
/// are for what no retry heals. The reasons are `CloseEvents.ts`' own where there is one.
#[must_use]
pub fn close_event(code: CloseCode) -> (u16, Cow<'static, str>) {
    let (number, reason) = match code {
        CloseCode::BadFrame | CloseCode::TextFrame => (4401, "Unauthorized"),
        CloseCode::Forbidden | CloseCode::BadName => (4403, "Forbidden"),
        CloseCode::MessageTooBig => (1009, "Message Too Big"),
        CloseCode::Idle => (4408, "Connection Timeout"),
        CloseCode::Reset | CloseCode::HeldOverrun | CloseCode::Expired => (4205, "Reset Connection"),
        other => return (other.code(), other.reason()),
    };
    (number, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lib0::Lib0Error;
    use proptest::prelude::*;

    fn hex(text: &str) -> Bytes {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn from_client<'a>(address: &'a str, message: ClientMessage) -> Result<Incoming<'a>, FrameError> {
        Ok(Incoming::Addressed { address, message })
    }

    /// Captured from each version on document "doc" with client id 1234, in the order in which they came.
    #[test]
    fn frames_of_every_provider_decode() {
        let token = |version: Option<&'static str>| ClientMessage::Token {
            token: "tok".into(),
            version: version.map(Bytes::from),
        };
        let no_token = |version: Option<&'static str>| ClientMessage::Token {
            token: Bytes::new(),
            version: version.map(Bytes::from),
        };
        let one = hex("01 01 d2 09 00 28 01 01 6d 01 6b 01 7d 01 00");
        let golden = [
            // 2.15 and 3.4 send a token without a version, 4.7 tells it.
            ("03 64 6f 63 02 00 03 74 6f 6b", token(None)),
            ("03 64 6f 63 02 00 03 74 6f 6b 05 34 2e 37 2e 30", token(Some("4.7.0"))),
            // 3.4 and 4.7 without a token; 2.15 begins with what follows.
            ("03 64 6f 63 02 00 00", no_token(None)),
            ("03 64 6f 63 02 00 00 05 34 2e 37 2e 30", no_token(Some("4.7.0"))),
            ("03 64 6f 63 00 00 01 00", ClientMessage::Common(Message::SyncStep1(hex("00")))),
            (
                "03 64 6f 63 01 07 01 d2 09 00 02 7b 7d",
                ClientMessage::Common(Message::Awareness(hex("01 d2 09 00 02 7b 7d"))),
            ),
            ("03 64 6f 63 00 01 02 00 00", ClientMessage::Common(Message::SyncStep2(hex("00 00")))),
            (
                "03 64 6f 63 00 02 0f 01 01 d2 09 00 28 01 01 6d 01 6b 01 7d 01 00",
                ClientMessage::Update { update: one.clone(), message: encode::update(&one) },
            ),
            (
                "03 64 6f 63 01 09 01 d2 09 02 04 6e 75 6c 6c",
                ClientMessage::Common(Message::Awareness(hex("01 d2 09 02 04 6e 75 6c 6c"))),
            ),
            ("03 64 6f 63 05 02 68 69", ClientMessage::Stateless("hi".into())),
            ("03 64 6f 63 07", ClientMessage::Close),
        ];
        for (bytes, message) in golden {
            assert_eq!(decode(&hex(bytes)), from_client("doc", message), "{bytes}");
        }
        for bytes in ["0a", "09", "00"] {
            assert_eq!(decode(&hex(bytes)), Ok(Incoming::Liveness), "{bytes}");
        }
        let session = "0f 64 6f 63 00 63 75 78 62 6b 34 61 6b 61 6e 76 07";
        assert_eq!(decode(&hex(session)), from_client("doc\0cuxbk4akanv", ClientMessage::Close));
    }

    /// Captured from Hocuspocus 4.7, and understood by all three providers.
    #[test]
    fn frames_of_a_server_are_written_and_read() {
        let doc = Address::new("doc");
        let behind = |message: Bytes| Bytes::from([doc.prefix(), &message[..]].concat());
        let golden = [
            (
                "03 64 6f 63 02 02 0a 72 65 61 64 2d 77 72 69 74 65",
                authenticated(&doc, Access::EDITOR),
                ServerMessage::Authenticated(Access::EDITOR),
            ),
            (
                "03 64 6f 63 02 02 08 72 65 61 64 6f 6e 6c 79",
                authenticated(&doc, Access::VIEWER),
                ServerMessage::Authenticated(Access::VIEWER),
            ),
            (
                "03 64 6f 63 02 01 09 62 61 64 2d 74 6f 6b 65 6e",
                permission_denied(&doc, "bad-token"),
                ServerMessage::PermissionDenied("bad-token".into()),
            ),
            ("03 64 6f 63 02 00", token_request(&doc), ServerMessage::TokenRequest),
            ("03 64 6f 63 08 01", behind(sync_status(true)), ServerMessage::SyncStatus { saved: true }),
            ("03 64 6f 63 08 00", behind(sync_status(false)), ServerMessage::SyncStatus { saved: false }),
            ("03 64 6f 63 05 02 68 69", behind(stateless(b"hi")), ServerMessage::Stateless("hi".into())),
            (
                "03 64 6f 63 07 10 52 65 73 65 74 20 43 6f 6e 6e 65 63 74 69 6f 6e",
                close(&doc, "Reset Connection"),
                ServerMessage::Close("Reset Connection".into()),
            ),
            (
                "03 64 6f 63 00 01 02 00 00",
                behind(encode::sync_step2(&[0, 0])),
                ServerMessage::Common(Message::SyncStep2(hex("00 00"))),
            ),
            ("03 64 6f 63 03", behind(encode::query_awareness()), ServerMessage::Common(Message::QueryAwareness)),
        ];
        for (bytes, frame, message) in golden {
            assert_eq!(frame, hex(bytes), "{message:?}");
            assert_eq!(decode_from_server(&frame), Ok(Outgoing::Addressed { address: "doc", message }));
        }
        assert_eq!(decode_from_server(&HEARTBEAT.into()), Ok(Outgoing::Liveness));
    }

    #[test]
    fn an_address_is_a_document_or_a_session_on_it_and_comes_back_as_it_came() {
        let session = Address::new("doc\0cuxbk4akanv");
        assert_eq!((session.document(), session.as_str()), ("doc", "doc\0cuxbk4akanv"));
        assert_eq!(session.prefix()[..], b"\x0fdoc\0cuxbk4akanv"[..]);
        let plain = Address::new("acme/sales");
        assert_eq!((plain.document(), &plain.prefix()[..]), ("acme/sales", &b"\x0aacme/sales"[..]));
        // The first separator counts, and nothing before it is no name.
        assert_eq!(Address::new("a\0b\0c").document(), "a");
        assert_eq!(Address::new("\0b").document(), "");
        let long = Address::new(&"x".repeat(200));
        assert_eq!((long.document().len(), &long.prefix()[..2]), (200, &[0xc8, 0x01][..]));
    }

    /// `SyncReply` is what servers say to each other; from a client it is a sync message like any other.
    #[test]
    fn a_sync_reply_is_a_sync_message() {
        let reply = hex("03 64 6f 63 04 02 02 00 00");
        let update = ClientMessage::Update { update: hex("00 00"), message: encode::update(&[0, 0]) };
        assert_eq!(decode(&reply), from_client("doc", update));
    }

    #[test]
    fn what_servers_do_not_answer_and_unknown_types_are_ignored() {
        for (bytes, kind) in [
            ("03 64 6f 63 03", 3),
            ("03 64 6f 63 08 01", 8),
            ("03 64 6f 63 0b 01 02 03", 11),
            ("03 64 6f 63 80 02", 256),
            ("03 64 6f 63 02 01 01 78", 2),
            ("03 64 6f 63 02 02 01 78", 2),
        ] {
            assert_eq!(decode(&hex(bytes)), from_client("doc", ClientMessage::Ignored(kind)), "{bytes}");
        }
        let broadcast = hex("03 64 6f 63 06 02 68 69");
        assert_eq!(decode(&broadcast), from_client("doc", ClientMessage::BroadcastStateless));
    }

    #[test]
    fn hostile_8_frames_that_are_no_message_are_told_apart() {
        for (bytes, expected) in [
            ("", FrameError::Empty),
            ("03", FrameError::Malformed(Lib0Error::End)),
            ("03 64 6f 63", FrameError::Malformed(Lib0Error::End)),
            ("ff ff ff 7f 64", FrameError::Malformed(Lib0Error::End)),
            ("02 ff fe 00", FrameError::Malformed(Lib0Error::Utf8)),
            ("03 64 6f 63 00", FrameError::Malformed(Lib0Error::End)),
            ("03 64 6f 63 00 03 00", FrameError::UnknownSync(3)),
            ("03 64 6f 63 00 00 01 00 00", FrameError::Trailing(1)),
            ("03 64 6f 63 02", FrameError::Malformed(Lib0Error::End)),
            ("03 64 6f 63 02 00 ff ff ff 7f", FrameError::Malformed(Lib0Error::End)),
            ("03 64 6f 63 02 00 01 ff", FrameError::Malformed(Lib0Error::Utf8)),
            ("03 64 6f 63 05 01 ff", FrameError::Malformed(Lib0Error::Utf8)),
            ("03 64 6f 63 05 01 78 00", FrameError::Trailing(1)),
            ("03 64 6f 63 01 ff ff ff 7f", FrameError::Malformed(Lib0Error::End)),
        ] {
            assert_eq!(decode(&hex(bytes)), Err(expected), "{bytes}");
        }
    }

    #[test]
    fn versions_before_4_5_echo_presence() {
        for version in [None, Some("4.0.0"), Some("4.4.1"), Some("4"), Some("3.4.4")] {
            assert!(echoes_presence(version.map(str::as_bytes)), "{version:?}");
        }
        for version in ["4.5.0", "4.7.0", "4.10.0-rc.1", "5.0.0", "next"] {
            assert!(!echoes_presence(Some(version.as_bytes())), "{version}");
        }
    }

    #[test]
    fn the_first_frame_tells_the_dialects_apart() {
        let greetings = [
            "03 64 6f 63 02 00 03 74 6f 6b 05 34 2e 37 2e 30",
            "03 64 6f 63 02 00 00",
            "03 64 6f 63 00 00 01 00",
            // Names as long as the other dialect's types are numbers.
            "01 61 02 00 00",
            "01 61 02 00 03 65 79 4a",
            "02 61 62 02 00 00",
            "03 61 62 63 00 00 01 00",
            "04 61 62 63 64 02 00 00",
            "05 64 6f 63 00 73 02 00 00",
            // What was said before there was a socket.
            "03 64 6f 63 00 02 02 00 00",
            "03 64 6f 63 00 01 02 00 00",
            "03 64 6f 63 01 06 01 01 00 02 7b 7d",
            "03 64 6f 63 05 02 68 69",
        ];
        for bytes in greetings {
            assert!(is_greeting(&hex(bytes)), "{bytes}");
        }
        let others = [
            // What y-websocket clients send.
            "00 00 01 00",
            "00 00 03 01 01 01",
            "00 01 02 00 00",
            "01 06 01 01 00 02 7b 7d",
            "01 01 00",
            "03",
            "02 00 02 6e 6f",
            // An extension's own.
            "64 01 02 03",
            // What anything might be.
            "03 64 6f 63 03",
            "03 64 6f 63 06 01 61",
            "03 64 6f 63 07",
            "03 64 6f 63 01 02 7b 7d",
            "09",
            "",
        ];
        for bytes in others {
            assert!(!is_greeting(&hex(bytes)), "{bytes}");
        }
        // Read either way it makes sense (a document "\u{8}", or the presence of two clients): then it is y-websocket's.
        let either = hex("01 08 02 00 05 01 78 05 05 00");
        assert!(matches!(decode(&either), Ok(Incoming::Addressed { message: ClientMessage::Token { .. }, .. })));
        assert!(!is_greeting(&either));
    }

    #[test]
    fn payloads_share_the_frame_and_an_update_goes_on_without_its_address() {
        let frame = Bytes::from([&b"\x03doc"[..], &encode::update(&[7; 100])].concat());
        let Ok(Incoming::Addressed { message: ClientMessage::Update { update, message }, .. }) = decode(&frame) else {
            panic!("an update")
        };
        assert_eq!((message.as_ptr(), update.as_ptr()), (frame[4..].as_ptr(), frame[7..].as_ptr()));
        assert_eq!(message, encode::update(&[7; 100]));
    }

    #[test]
    fn answers_count_that_a_client_expects_to_be_acknowledged() {
        let mut turns = Turns::default();
        turns.client_asked();
        assert!(turns.client_answered(1), "each question of its own brings one");
        assert!(!turns.client_answered(2), "an answer to a question out of turn does not count");
        turns.client_asked();
        // Two are on their way: to the question in turn, and to one more.
        assert!(!turns.client_answered(4));
        assert!(turns.client_answered(4));
        assert!(turns.client_answered(4), "and what answers nothing counts");
        // A question that was never written is no question.
        turns.client_asked();
        assert!(turns.client_answered(4));
    }

    /// 4401, 4403 and 1009 stop version 2 for good; whatever passes by itself must not be among them.
    #[test]
    fn only_what_no_retry_heals_stops_version_2() {
        let stops = |code: &CloseCode| matches!(close_event(*code).0, 4401 | 4403 | 1009);
        let stopping: Vec<CloseCode> = CloseCode::ALL.into_iter().filter(stops).collect();
        assert_eq!(
            stopping,
            [
                CloseCode::TextFrame,
                CloseCode::MessageTooBig,
                CloseCode::BadFrame,
                CloseCode::Unauthenticated,
                CloseCode::Forbidden,
                CloseCode::BadName
            ]
        );
        for code in CloseCode::ALL {
            let (number, reason) = close_event(code);
            assert!(matches!(number, 1000..=1003 | 1007..=1014 | 4000..=4999), "{code}");
            assert!((1..=123).contains(&reason.len()), "{code}");
        }
    }

    proptest! {
        #[test]
        fn random_frames_never_panic(bytes: Vec<u8>, name in ".{0,4}", kind in 0_u8..12) {
            let plain = Bytes::from(bytes.clone());
            let addressed = Bytes::from([&Address::new(&name).prefix()[..], &[kind], &bytes].concat());
            for frame in [plain, addressed] {
                let _ = is_greeting(&frame);
                if let Ok(Outgoing::Addressed { address, .. }) = decode_from_server(&frame) {
                    prop_assert!(address.len() < frame.len());
                }
                if let Ok(Incoming::Addressed { address, message }) = decode(&frame) {
                    let again = Address::new(address);
                    prop_assert_eq!(again.as_str(), address);
                    if let ClientMessage::Update { update, message } = message {
                        prop_assert_eq!(super::super::decode(&message), Ok(Message::Update(update)));
                    }
                }
            }
        }

        #[test]
        fn tokens_survive_the_wire(name in "[^\0]{1,20}", text: String, version in proptest::option::of("[0-9.]{0,8}")) {
            let frame = token(&Address::new(&name), &text, version.as_deref());
            let version = version.map(|version| Bytes::from(version.into_bytes()));
            let message = ClientMessage::Token { token: Bytes::from(text.into_bytes()), version };
            prop_assert_eq!(decode(&frame), Ok(Incoming::Addressed { address: &name, message }));
        }
    }
}
