//! Why the server ends a connection, and how clients take it.
//!
//! A close code is the only part of a refusal that stock clients act on. What they do (y-websocket and @y/websocket; measured):
//!
//! - **4400 to 4499 is for good.** y-websocket >= 3.1 stops reconnecting and tells the application. Older versions reconnect
//!   after every close, 100 ms after a connection that had opened; so the server holds the socket for at least two seconds
//!   before it closes, which slows them down to that.
//! - **Everything else is for now**: all versions reconnect within 2.5 s, by themselves and without jitter.
//!
//! So no code from that range may be used for what passes by itself, such as silence: a laptop that wakes up would find its
//! dashboard deaf for ever.

use crate::allowance::{Exceeded, UserLimit};
use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

/// How long a socket is held before it is closed for good. Old clients come back 100 ms after a close, whatever its code
/// (y-websocket <= 3.0); holding slows them down.
pub const REFUSAL_HOLD: Duration = Duration::from_millis(2_100);

/// The reasons for which the server closes a connection.
///
/// Several share a code on the wire, where clients take them alike; their texts differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The client said goodbye first. 1000.
    Normal,
    /// Bytes that are not RFC 6455. 1002.
    BadWebSocket,
    /// A text message: the dialect is binary. 1003.
    TextFrame,
    /// A compressed message that does not inflate, or a reason that is not UTF-8. 1007.
    BadPayload,
    /// A message beyond [`frame_bytes_max`](crate::limits::Limits::frame_bytes_max). 1009.
    MessageTooBig,
    /// A fault of the server. 1011.
    Internal,
    /// The node drains; another one, or the restarted one, takes the client over. 1012.
    Restart,
    /// The dashboard could not be loaded. Never shown as an empty one. 1013.
    LoadFailed,
    /// The room has [`members_max`](crate::limits::Limits::members_max) members. 1013.
    RoomFull,
    /// The node has no room for more work. 1013.
    Overloaded,
    /// There is no place for what its address sends. 1013.
    Memory,
    /// The user has what one may have. 1013.
    UserLimit(Exceeded),
    /// The connection has to begin anew: too much waited for a token, or the token ran out. 1013.
    Reset,
    /// A message that no client of the dialect sends. 4400, permanent.
    BadFrame,
    /// Shows no token, or one that is not taken. 4401, permanent.
    Unauthenticated,
    /// May not open this dashboard, or may not any longer. 4403, permanent.
    Forbidden,
    /// The name is not a dashboard's name. 4404, permanent.
    BadName,
    /// The dashboard was deleted. 4404, permanent.
    Deleted,
    /// Holds a copy of a deleted dashboard of this name. 4409, permanent: what it has would come back with it.
    StaleCopy,
    /// Overran the bounds of updates behind a hole
    /// [`held_overruns_max`](crate::limits::Limits::held_overruns_max) times. 4413, permanent.
    HeldOverrun,
    /// Reads nothing for so long that it must have died. 4500.
    Stuck,
    /// The token has ended, a moment ago: transient, since whoever has one gets another. 4501.
    Expired,
    /// A large message arrives so slowly that it would keep its place for hours. 4508.
    Slow,
    /// Gave no sign of life. 4508: transient, unlike 4408, since sleeping laptops wake up.
    Idle,
}

impl CloseCode {
    /// All of them, for tables and tests.
    pub const ALL: [CloseCode; 24] = [
        CloseCode::Normal,
        CloseCode::BadWebSocket,
        CloseCode::TextFrame,
        CloseCode::BadPayload,
        CloseCode::MessageTooBig,
        CloseCode::Internal,
        CloseCode::Restart,
        CloseCode::LoadFailed,
        CloseCode::RoomFull,
        CloseCode::Overloaded,
        CloseCode::Memory,
        CloseCode::UserLimit(Exceeded::new(UserLimit::Sessions, u32::MAX, u32::MAX)),
        CloseCode::Reset,
        CloseCode::BadFrame,
        CloseCode::Unauthenticated,
        CloseCode::Forbidden,
        CloseCode::BadName,
        CloseCode::Deleted,
        CloseCode::StaleCopy,
        CloseCode::HeldOverrun,
        CloseCode::Stuck,
        CloseCode::Expired,
        CloseCode::Slow,
        CloseCode::Idle,
    ];

    /// How long to hold a socket that ends so.
    #[must_use]
    pub fn hold(self) -> Duration {
        match self {
            // Coming back at once would change nothing.
            CloseCode::RoomFull | CloseCode::UserLimit(_) | CloseCode::TextFrame => REFUSAL_HOLD,
            code if code.is_permanent() => REFUSAL_HOLD,
            _ => Duration::ZERO,
        }
    }

    /// The number in the close frame.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            CloseCode::Normal => 1000,
            CloseCode::BadWebSocket => 1002,
            CloseCode::TextFrame => 1003,
            CloseCode::BadPayload => 1007,
            CloseCode::MessageTooBig => 1009,
            CloseCode::Internal => 1011,
            CloseCode::Restart => 1012,
            CloseCode::LoadFailed
            | CloseCode::RoomFull
            | CloseCode::Overloaded
            | CloseCode::Memory
            | CloseCode::UserLimit(_)
            | CloseCode::Reset => 1013,
            CloseCode::BadFrame => 4400,
            CloseCode::Unauthenticated => 4401,
            CloseCode::Forbidden => 4403,
            CloseCode::BadName | CloseCode::Deleted => 4404,
            CloseCode::StaleCopy => 4409,
            CloseCode::HeldOverrun => 4413,
            CloseCode::Stuck => 4500,
            CloseCode::Expired => 4501,
            CloseCode::Slow | CloseCode::Idle => 4508,
        }
    }

    /// The text in the close frame, and in `permissionDenied` where that goes before it. At most 123 bytes; tells nothing of
    /// what exists on the server.
    #[must_use]
    pub fn reason(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            CloseCode::Normal => "goodbye",
            CloseCode::BadWebSocket => "not a websocket frame",
            CloseCode::TextFrame => "text message: only binary messages are understood",
            CloseCode::BadPayload => "message does not inflate or is not utf-8",
            CloseCode::MessageTooBig => "message exceeds frame-bytes-max",
            CloseCode::Internal => "internal failure, try again",
            CloseCode::Restart => "server restarts, reconnect",
            CloseCode::LoadFailed => "dashboard cannot be loaded at the moment, try again",
            CloseCode::RoomFull => "dashboard has members-max members, try again",
            CloseCode::Overloaded => "server is busy, try again",
            CloseCode::Memory => "memory-max reached for this address, try again",
            CloseCode::UserLimit(exceeded) => return exceeded.to_string().into(),
            CloseCode::Reset => "connection has to begin anew",
            CloseCode::BadFrame => "not a message of the y-websocket protocol",
            CloseCode::Unauthenticated => "a token that is taken has to be shown",
            CloseCode::Forbidden => "forbidden",
            CloseCode::BadName => {
                "no dashboard can have this name: 1 to 255 bytes, no control characters, no segment . or .."
            }
            CloseCode::Deleted => "the dashboard was deleted",
            CloseCode::StaleCopy => {
                "this page holds a copy of a deleted dashboard of this name: reload it without what it kept"
            }
            CloseCode::HeldOverrun => "held-overruns-max reached: too many updates that build on unknown ones",
            CloseCode::Stuck => "client does not read",
            CloseCode::Expired => "token expired",
            CloseCode::Slow => "message arrives too slowly, try again",
            CloseCode::Idle => "no sign of life from the client",
        })
    }

    /// Whether y-websocket >= 3.1 stops reconnecting. Hold the socket for at least two seconds before closing with such a code.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        (4400..=4499).contains(&self.code())
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_retry_can_heal_is_permanent() {
        let permanent: Vec<CloseCode> = CloseCode::ALL.into_iter().filter(|code| code.is_permanent()).collect();
        assert_eq!(
            permanent,
            [
                CloseCode::BadFrame,
                CloseCode::Unauthenticated,
                CloseCode::Forbidden,
                CloseCode::BadName,
                CloseCode::Deleted,
                CloseCode::StaleCopy,
                CloseCode::HeldOverrun
            ]
        );
    }

    #[test]
    fn reasons_fit_a_close_frame_and_codes_may_be_sent() {
        for code in CloseCode::ALL {
            assert!((1..=123).contains(&code.reason().len()), "{code}");
            // 1004 to 1006 and 1015 must not appear on the wire (RFC 6455 §7.4.1).
            assert!(matches!(code.code(), 1000..=1003 | 1007..=1014 | 4000..=4999), "{code}");
        }
    }

    #[test]
    fn reasons_tell_the_limit_by_name() {
        assert!(CloseCode::MessageTooBig.reason().contains("frame-bytes-max"));
        assert!(CloseCode::RoomFull.reason().contains("members-max"));
        assert!(CloseCode::Memory.reason().contains("memory-max"));
        assert!(CloseCode::HeldOverrun.reason().contains("held-overruns-max"));
    }
}
