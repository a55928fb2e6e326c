//! What must hold for any bytes that come over a WebSocket. Shared by the fuzz target and by the replay of its corpus.

use ydash_proto::wire::websocket::{
    Decoder, Event, MessageKind, Opcode, Options, Role, WebSocketError, apply_mask, close_payload, encode_masked,
    encode_masked_fragment, header,
};

/// Small, so that inputs of a few hundred bytes reach it.
const MESSAGE_BYTES_MAX: usize = 300;

/// What a decoder holds beside the bytes of a message: its stage, and a control frame of 125 bytes.
const OVERHEAD_BYTES: usize = 600;

/// The first byte of `input` chooses the role, compression and where reads are cut; the others arrive.
pub(crate) fn check(input: &[u8]) {
    let Some((&choices, bytes)) = input.split_first() else { return };
    let role = if choices & 1 == 0 { Role::Server } else { Role::Client };
    let options = Options { role, message_bytes_max: MESSAGE_BYTES_MAX, deflate: choices & 2 != 0 };
    let at_once = decode(options, [bytes].into_iter());
    assert_eq!(decode(options, bytes.chunks(1)), at_once, "read byte by byte");
    let step = usize::from(choices >> 2) + 2;
    assert_eq!(decode(options, bytes.chunks(step)), at_once, "read by {step} bytes");

    let (events, end) = at_once;
    for event in &events {
        plausible(event, options);
    }
    if let Some(error) = end {
        assert!((1000..5000).contains(&error.close_code().code()));
    }
    let again: Vec<u8> = events.iter().flat_map(|event| encode(event, role)).collect();
    let said: Vec<Event> = events.into_iter().filter(|event| !matches!(event, Event::Oversized { .. })).collect();
    assert_eq!(decode(options, [&again[..]].into_iter()), (said, None), "written again");
}

/// What comes of some reads, up to an error.
fn decode<'a>(options: Options, reads: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<WebSocketError>) {
    let mut decoder = Decoder::new(options);
    let mut events = Vec::new();
    for mut read in reads {
        loop {
            match decoder.decode(&mut read) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
            assert!(decoder.buffered_bytes() <= 2 * MESSAGE_BYTES_MAX + OVERHEAD_BYTES);
        }
        assert!(read.is_empty(), "no event and no error means that the read is used up");
        let (held, arrived) = (decoder.buffered_bytes(), decoder.arrived_bytes());
        assert!(held <= 2 * MESSAGE_BYTES_MAX + OVERHEAD_BYTES, "{held} bytes held");
        // Whoever charges the memory of a message does so before it is read.
        assert!(arrived <= held && decoder.buffered_bytes_after(0) <= held);
    }
    (events, None)
}

fn plausible(event: &Event, options: Options) {
    match event {
        Event::Message { payload, compressed, .. } => {
            assert!(payload.len() <= MESSAGE_BYTES_MAX);
            assert!(!compressed || options.deflate);
        }
        Event::Oversized { head, bytes, .. } => {
            assert!(*bytes > MESSAGE_BYTES_MAX && head.len() <= 1024 && head.len() <= *bytes);
        }
        Event::Ping(payload) | Event::Pong(payload) => assert!(payload.len() <= 125),
        Event::Close { code, reason } => {
            assert!(reason.len() <= 123 && (code.is_some() || reason.is_empty()));
        }
    }
}

/// The frame that says the same; none for a message of which only the beginning is there.
fn encode(event: &Event, role: Role) -> Vec<u8> {
    let (opcode, payload, compressed) = match event {
        Event::Message { kind: MessageKind::Binary, payload, compressed } => (Opcode::Binary, payload, *compressed),
        Event::Message { kind: MessageKind::Text, payload, compressed } => (Opcode::Text, payload, *compressed),
        Event::Oversized { .. } => return Vec::new(),
        Event::Ping(payload) => (Opcode::Ping, payload, false),
        Event::Pong(payload) => (Opcode::Pong, payload, false),
        Event::Close { code: Some(code), reason } => (Opcode::Close, &close_payload(*code, reason), false),
        Event::Close { code: None, .. } => (Opcode::Close, &bytes::Bytes::new(), false),
    };
    if role == Role::Client {
        // A client takes frames without a mask.
        let (head, len) = header(opcode, payload.len(), true, compressed);
        return [&head[..len], &payload[..]].concat();
    }
    let mask = [0x37, 0xfa, 0x21, payload.len() as u8];
    let frame = if compressed {
        encode_masked_fragment(opcode, payload, mask, true, true)
    } else {
        encode_masked(opcode, payload, mask)
    };
    let mut unmasked = frame[frame.len() - payload.len()..].to_vec();
    apply_mask(&mut unmasked, mask, 0);
    assert_eq!(unmasked, payload[..]);
    frame
}
