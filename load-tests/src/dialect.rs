//! What a server expects around the messages of y-protocols.

use ydash_proto::lib0::{Reader, write_var_bytes, write_var_uint};

/// A way to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// y-websocket: the room is the path, a frame is a message.
    YWebsocket,
    /// Hocuspocus: the room's name stands in front of each message, and authentication comes first.
    Hocuspocus,
    /// A relay that passes frames on and knows nothing of Yjs: the room is the path, and nobody answers a SyncStep1.
    Relay,
}

/// One message of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    SyncStep1,
    SyncStep2(&'a [u8]),
    Update(&'a [u8]),
    /// The entries, their count in front.
    Awareness(&'a [u8]),
    /// `08 01` or `08 00`: an edit is saved, or refused.
    SyncStatus(bool),
    Denied,
    /// Nothing that concerns a load test.
    Other,
}

/// An awareness entry as it stands in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwarenessEntry<'a> {
    pub(crate) client: u64,
    pub(crate) clock: u64,
    pub(crate) state: &'a [u8],
    /// All three as they were encoded.
    pub(crate) bytes: &'a [u8],
}

impl Dialect {
    /// The path of the upgrade request.
    pub(crate) fn path(self, base: &str, room: &str) -> String {
        let base = base.trim_end_matches('/');
        match self {
            Dialect::Hocuspocus => format!("{base}/"),
            Dialect::YWebsocket | Dialect::Relay => format!("{base}/{room}"),
        }
    }

    /// What stands in front of every message of a session.
    pub(crate) fn address(self, room: &str) -> Vec<u8> {
        let mut address = Vec::new();
        if self == Dialect::Hocuspocus {
            write_var_bytes(&mut address, room.as_bytes());
        }
        address
    }

    /// What a client sends as soon as it is connected: the token if the dialect wants one, and its state vector.
    pub(crate) fn greeting(self, state_vector: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Dialect::YWebsocket => vec![sync_step1(state_vector)],
            Dialect::Hocuspocus => {
                // Auth, Token: an empty one, and the version of the provider whose behaviour this is.
                let mut token = vec![2, 0, 0];
                write_var_bytes(&mut token, b"4.7.0");
                vec![token, sync_step1(state_vector)]
            }
            Dialect::Relay => Vec::new(),
        }
    }

    /// Whether somebody answers a SyncStep1.
    pub(crate) fn syncs(self) -> bool {
        self != Dialect::Relay
    }

    /// Calls `each` for every message of a frame. Only a joining relay puts several into one.
    pub(crate) fn for_each_message<'a>(self, frame: &'a [u8], mut each: impl FnMut(Message<'a>)) {
        let mut reader = Reader::new(frame);
        if self == Dialect::Hocuspocus && frame.len() > 1 && reader.var_bytes().is_err() {
            return;
        }
        while !reader.is_empty() {
            each(read_message(&mut reader).unwrap_or(Message::Other));
        }
    }
}

fn read_message<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    let message = match reader.u8().ok()? {
        0 => match reader.u8().ok()? {
            0 => {
                reader.var_bytes().ok()?;
                Message::SyncStep1
            }
            1 => Message::SyncStep2(reader.var_bytes().ok()?),
            2 => Message::Update(reader.var_bytes().ok()?),
            _ => return skip_rest(reader),
        },
        1 => Message::Awareness(reader.var_bytes().ok()?),
        // Permission denied is 0 in y-protocols and 1 in Hocuspocus, where 0 from the server has no text.
        2 => match (reader.u8().ok()?, reader.var_bytes()) {
            (0 | 1, Ok(_)) => Message::Denied,
            _ => Message::Other,
        },
        8 => Message::SyncStatus(reader.var_uint().ok()? == 1),
        _ => return skip_rest(reader),
    };
    Some(message)
}

fn skip_rest<'a>(reader: &mut Reader<'a>) -> Option<Message<'a>> {
    reader.bytes(reader.remaining()).ok()?;
    Some(Message::Other)
}

/// The entries of an awareness message, up to the first that is broken.
pub(crate) fn awareness_entries(entries: &[u8]) -> impl Iterator<Item = AwarenessEntry<'_>> {
    let mut reader = Reader::new(entries);
    let count = reader.var_uint().unwrap_or(0);
    (0..count).map_while(move |_| {
        let start = reader.pos();
        let (client, clock) = (reader.var_uint().ok()?, reader.var_uint().ok()?);
        let state = reader.var_bytes().ok()?;
        Some(AwarenessEntry { client, clock, state, bytes: &entries[start..reader.pos()] })
    })
}

/// SyncStep1: "send me what this state vector lacks".
pub(crate) fn sync_step1(state_vector: &[u8]) -> Vec<u8> {
    sync(0, state_vector)
}

/// SyncStep2 with `update`.
pub(crate) fn sync_step2(update: &[u8]) -> Vec<u8> {
    sync(1, update)
}

/// Update with `update`.
pub(crate) fn update(update: &[u8]) -> Vec<u8> {
    sync(2, update)
}

/// Awareness with one entry.
pub(crate) fn awareness(client: u64, clock: u64, state: &str) -> Vec<u8> {
    let mut entry = Vec::with_capacity(state.len() + 12);
    write_var_uint(&mut entry, client);
    write_var_uint(&mut entry, clock);
    write_var_bytes(&mut entry, state.as_bytes());
    awareness_of(1, &entry)
}

/// Awareness with `count` entries that are encoded already.
pub(crate) fn awareness_of(count: u64, entries: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(entries.len() + 2);
    write_var_uint(&mut body, count);
    body.extend_from_slice(entries);
    let mut message = vec![1];
    write_var_bytes(&mut message, &body);
    message
}

fn sync(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 6);
    message.extend_from_slice(&[0, kind]);
    write_var_bytes(&mut message, body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(dialect: Dialect, frame: &[u8]) -> Vec<Message<'_>> {
        let mut messages = Vec::new();
        dialect.for_each_message(frame, |message| messages.push(message));
        messages
    }

    #[test]
    fn frames_of_a_y_websocket_server_are_read() {
        let read = |frame| messages(Dialect::YWebsocket, frame);
        assert_eq!(read(&[0, 0, 1, 0]), [Message::SyncStep1]);
        assert_eq!(read(&[0, 1, 2, 0, 0]), [Message::SyncStep2(&[0, 0])]);
        assert_eq!(read(&[0, 2, 2, 0, 0]), [Message::Update(&[0, 0])]);
        assert_eq!(read(&[1, 1, 0]), [Message::Awareness(&[0])]);
        assert_eq!(read(&[2, 0, 1, b'x']), [Message::Denied]);
        assert_eq!(read(&[8, 1]), [Message::SyncStatus(true)]);
        assert_eq!(read(&[8, 0]), [Message::SyncStatus(false)]);
        assert_eq!(read(&[99, 1, 2, 3]), [Message::Other]);
        assert_eq!(read(&[0, 2, 2, 0, 0, 1, 1, 0]), [Message::Update(&[0, 0]), Message::Awareness(&[0])]);
    }

    #[test]
    fn frames_of_a_hocuspocus_server_are_read() {
        let read = |frame| messages(Dialect::Hocuspocus, frame);
        assert_eq!(read(b"\x03doc\x00\x02\x02\x00\x00"), [Message::Update(&[0, 0])]);
        assert_eq!(read(b"\x03doc\x08\x01"), [Message::SyncStatus(true)]);
        assert_eq!(read(b"\x03doc\x02\x02\x0aread-write"), [Message::Other]);
        assert_eq!(read(b"\x03doc\x02\x01\x09bad-token"), [Message::Denied]);
        assert_eq!(read(&[0]), [Message::Other]);
        assert_eq!(Dialect::Hocuspocus.address("doc"), b"\x03doc");
        assert_eq!(Dialect::Hocuspocus.path("", "doc"), "/");
    }

    #[test]
    fn awareness_is_written_and_read() {
        let message = awareness(300, 7, "{\"x\":1}");
        let [Message::Awareness(body)] = messages(Dialect::YWebsocket, &message)[..] else { panic!("{message:?}") };
        let entries: Vec<_> = awareness_entries(body).collect();
        assert_eq!((entries.len(), entries[0].client, entries[0].clock), (1, 300, 7));
        assert_eq!(entries[0].state, b"{\"x\":1}");
        assert_eq!(awareness_of(1, entries[0].bytes), message);
    }
}
