//! What must hold for any bytes that come as messages of the Hocuspocus dialect. Shared by the fuzz target and by the replay of its corpus.

use bytes::Bytes;
use ydash_proto::lib0::Reader;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::hocuspocus::{
    Address, ClientMessage, Incoming, Outgoing, ServerMessage, Turns, authenticated, close, decode, decode_from_server,
    echoes_presence, is_greeting, permission_denied, token,
};
use ydash_proto::wire::{self, FrameError, Message, awareness};

/// Takes `input` as one message, and as a conversation: messages with their lengths before them.
pub(crate) fn check(input: &[u8]) {
    message(&Bytes::copy_from_slice(input));
    let mut reader = Reader::new(input);
    let mut turns = Turns::default();
    let (mut asked, mut answered, mut counted) = (0_u64, 0_u64, 0_u64);
    while let Ok(bytes) = reader.var_bytes() {
        let frame = Bytes::copy_from_slice(bytes);
        message(&frame);
        match decode(&frame) {
            Ok(Incoming::Addressed { message: ClientMessage::Common(Message::SyncStep1(_)), .. }) => {
                turns.client_asked();
                asked += 1;
            }
            Ok(Incoming::Addressed { message: ClientMessage::Common(Message::SyncStep2(_)), .. }) => {
                // The server has asked in turn, and as often again as the answer is long.
                let put = asked + frame.len() as u64 % 4;
                counted += u64::from(turns.client_answered(put));
                answered += 1;
                // Whatever happened: as many go uncounted as there were questions out of turn, never more.
                assert!(answered - counted <= 3, "{answered} answers, {counted} counted");
            }
            _ => {}
        }
    }
}

fn message(frame: &Bytes) {
    let read = decode(frame);
    // A type that nobody knows is no offence.
    assert!(!matches!(read, Err(FrameError::UnknownType(_))));
    if let Ok(Incoming::Addressed { address, message }) = &read {
        let kept = Address::new(address);
        assert_eq!(kept.as_str(), *address);
        assert!(address.starts_with(kept.document()) && !kept.document().contains('\0'));
        said(&kept, message);
        answers(&kept);
    }
    if is_greeting(frame) {
        assert!(matches!(&read, Ok(Incoming::Addressed { address, .. }) if !address.is_empty()));
        // What a y-websocket client begins with is never taken for a greeting.
        match wire::decode(frame) {
            Ok(Message::Awareness(body)) => assert!(awareness::entries(&body).is_err()),
            Ok(Message::SyncStep1(_) | Message::SyncStep2(_) | Message::Update(_)) => {
                panic!("{frame:?} is y-websocket's")
            }
            _ => {}
        }
    }
    if let Ok(Outgoing::Addressed { address, message: ServerMessage::Common(Message::Update(update)) }) =
        decode_from_server(frame)
    {
        assert!(address.len() + update.len() < frame.len());
    }
}

fn said(address: &Address, message: &ClientMessage) {
    match message {
        ClientMessage::Update { update, message } => {
            assert_eq!(wire::decode(message), Ok(Message::Update(update.clone())));
        }
        ClientMessage::Token { token: shown, version } => {
            let text = core::str::from_utf8(shown).expect("it was read as a string");
            let version = version.as_deref().map(|version| core::str::from_utf8(version).expect("likewise"));
            let _ = echoes_presence(version.map(str::as_bytes));
            let again = token(address, text, version);
            let Ok(Incoming::Addressed { message, .. }) = decode(&again) else { panic!("{again:?} is not read") };
            assert!(matches!(message, ClientMessage::Token { token, .. } if token == *shown));
        }
        ClientMessage::Stateless(payload) => assert!(core::str::from_utf8(payload).is_ok()),
        _ => {}
    }
}

/// Each answer goes back under the address, and is understood.
fn answers(address: &Address) {
    use ydash_proto::access::Access;
    for answer in [
        authenticated(address, Access::VIEWER),
        permission_denied(address, &CloseCode::BadName.reason()),
        close(address, "Reset Connection"),
    ] {
        let Ok(Outgoing::Addressed { address: told, .. }) = decode_from_server(&answer) else { panic!("{answer:?}") };
        assert_eq!(told, address.as_str());
    }
}
