//! The capabilities that messages of clients need, in either dialect.
//!
//! The table of `docs/SECURITY.md` is made of this one, and a test sends each message as every role, so that rooms keep to it. A message
//! without a decision does not compile.

use super::Message;
use super::hocuspocus::ClientMessage;
use crate::access::Capabilities;

/// A kind of message that clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its name in `docs/PROTOCOL.md`.
    pub name: &'static str,
    /// The capabilities that its sender needs, beside those to be a member.
    pub needs: Capabilities,
    /// Whether only the Hocuspocus dialect has it.
    pub is_of_documents: bool,
}

const fn both(name: &'static str, needs: Capabilities) -> Said {
    Said { name, needs, is_of_documents: false }
}

const fn of_documents(name: &'static str, needs: Capabilities) -> Said {
    Said { name, needs, is_of_documents: true }
}

const STEP1: Said = both("SyncStep1", Capabilities::READ);
const STEP2: Said = both("SyncStep2 with something new", Capabilities::WRITE);
const UPDATE: Said = both("Update", Capabilities::WRITE);
const AWARENESS: Said = both("Awareness", Capabilities::PRESENCE);
const QUERY_AWARENESS: Said = both("QueryAwareness", Capabilities::READ);
/// The token says what its holder may do from then on.
const TOKEN: Said = both("another token", Capabilities::NONE);
const STATELESS: Said = of_documents("Stateless", Capabilities::STATELESS);
const CLOSE: Said = of_documents("Close", Capabilities::NONE);

/// All kinds of messages.
pub const SAID: [Said; 8] = [STEP1, STEP2, UPDATE, AWARENESS, QUERY_AWARENESS, TOKEN, STATELESS, CLOSE];

impl Message {
    /// Its kind; `None` for messages that only servers send, which do nothing.
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        match self {
            Message::SyncStep1(_) => Some(STEP1),
            Message::SyncStep2(_) => Some(STEP2),
            Message::Update(_) => Some(UPDATE),
            Message::Awareness(_) => Some(AWARENESS),
            Message::QueryAwareness => Some(QUERY_AWARENESS),
            Message::Auth(_) => Some(TOKEN),
            Message::PermissionDenied(_)
            | Message::TokenWanted
            | Message::Authenticated { .. }
            | Message::SyncStatus { .. } => None,
        }
    }
}

impl ClientMessage {
    /// As [`Message::said`].
    #[must_use]
    pub fn said(&self) -> Option<Said> {
        match self {
            ClientMessage::Common(message) => message.said(),
            ClientMessage::Update { .. } => Some(UPDATE),
            ClientMessage::Token { .. } => Some(TOKEN),
            ClientMessage::Stateless(_) => Some(STATELESS),
            ClientMessage::Close => Some(CLOSE),
            ClientMessage::BroadcastStateless | ClientMessage::Ignored(_) => None,
        }
    }
}
