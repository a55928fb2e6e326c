//! WebSocket frames (RFC 6455) from and to bytes, for both roles, without IO.
//!
//! [`Decoder`] is fed whatever a socket gave and hands out whole messages. Between messages it holds one null pointer and its
//! options, so that an idle connection costs no buffer; a frame that lies wholly in the caller's read buffer is copied once, into
//! an allocation of its exact size. What waits unfinished grows with the bytes that arrived, never with what a header promised.
//!
//! Frames of a server are not masked, so one payload serves every peer: [`header`] is made at write time and goes out in front of
//! the shared payload. [`encode_masked`] is the client's side, for the load generator and tests.
//!
//! It never inflates: a message with RSV1 (permessage-deflate, RFC 7692) is handed out as it came, marked `compressed`.

use bytes::Bytes;

use super::close::CloseCode;
use crate::limits::websocket::{FRAGMENTS_EMPTY_MAX, HEAD_BYTES, OVERSIZED_FACTOR};

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes masked frames only (RFC 6455 §5.1).
    Server,
    /// Takes unmasked frames only.
    Client,
}

/// What a [`Decoder`] is to accept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which end of the connection decodes.
    pub role: Role,
    /// The largest message in bytes, summed over its fragments and as it is on the wire, i.e. before inflating.
    pub message_bytes_max: usize,
    /// Whether permessage-deflate was negotiated, so that RSV1 may mark the first frame of a message.
    pub deflate: bool,
}

/// What the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, its fragments joined and its mask removed.
    Message {
        /// How the peer labelled it.
        kind: MessageKind,
        /// Its bytes; those of a text message are not checked to be UTF-8, since nobody here reads text.
        payload: Bytes,
        /// Whether `payload` is a raw deflate stream that lacks its last four bytes (RFC 7692 §7.2.2).
        compressed: bool,
    },
    /// A message longer than [`Options::message_bytes_max`], of which nothing is kept but its beginning.
    Oversized {
        /// Its first bytes, at most 1024.
        head: Bytes,
        /// As in [`Event::Message`].
        compressed: bool,
        /// How long it was.
        bytes: usize,
    },
    /// Wants a pong with the same bytes, at most 125.
    Ping(Bytes),
    /// Answers a ping, or none.
    Pong(Bytes),
    /// The peer is done: answer with a close frame if none was sent, and read no further.
    Close {
        /// `None` when the frame was empty.
        code: Option<u16>,
        /// At most 123 bytes.
        reason: String,
    },
}

/// The two kinds of data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Everything that Yjs clients send.
    Binary,
    /// Nothing that a Yjs client sends.
    Text,
}

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0,
    /// Begins a text message.
    Text = 1,
    /// Begins a binary message.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a sign of life.
    Ping = 9,
    /// Is one.
    Pong = 10,
}

/// Why the connection must end. The decoder is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// RSV2 or RSV3, or RSV1 where no compressed message may begin.
    #[error("reserved bit is set")]
    ReservedBit,
    /// An opcode that RFC 6455 leaves undefined.
    #[error("opcode {0} is undefined")]
    Opcode(u8),
    /// A client's frame without a mask, or a server's with one.
    #[error("frame is masked by the wrong side")]
    Masking,
    /// A ping, pong or close that is fragmented or longer than 125 bytes.
    #[error("control frame is fragmented or too long")]
    ControlFrame,
    /// A continuation of nothing, or a message that begins inside another.
    #[error("fragments are out of order")]
    FragmentOrder,
    /// A message padded with empty fragments, which cost the sender next to nothing.
    #[error("message has more than {FRAGMENTS_EMPTY_MAX} empty fragments")]
    TooManyFragments,
    /// A close frame with half a code, or with a code that must not be sent.
    #[error("close code is invalid")]
    CloseCode,
    /// A close frame whose reason is not UTF-8.
    #[error("close reason is not utf-8")]
    CloseReason,
    /// A message longer than [`Options::message_bytes_max`], known as soon as a header announces it; at a server, one so long that not even
    /// passing over it is worth it.
    #[error("message of {bytes} bytes exceeds {max}")]
    TooBig {
        /// What the fragments so far and the newest header add up to.
        bytes: u64,
        /// The bound.
        max: usize,
    },
}

impl WebSocketError {
    /// What the connection is to be closed with.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            WebSocketError::TooBig { .. } => CloseCode::MessageTooBig,
            WebSocketError::CloseReason => CloseCode::BadPayload,
            _ => CloseCode::BadWebSocket,
        }
    }
}

/// RFC 6455 §5.5.
const CONTROL_BYTES_MAX: usize = 125;

/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// Turns what a socket gave into [`Event`]s.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
    /// `None` between messages.
    partial: Option<Box<Partial>>,
}

/// What waits for more bytes.
#[derive(Debug, Default)]
struct Partial {
    stage: Stage,
    /// The control frame that is arriving; it may arrive between two fragments of a message.
    control: Vec<u8>,
    /// The message that is arriving.
    message: Option<Unfinished>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Header { bytes: [u8; HEADER_BYTES_MAX], len: usize },
    Payload { header: Header, arrived: usize },
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Header { bytes: [0; HEADER_BYTES_MAX], len: 0 }
    }
}

#[derive(Debug)]
struct Unfinished {
    kind: MessageKind,
    compressed: bool,
    /// The fragments so far in one buffer: ten thousand tiny ones cost their bytes and nothing beside.
    bytes: Vec<u8>,
    /// What arrived, kept or not.
    len: usize,
    fragments_empty: u8,
}

impl Options {
    /// The longest message that does not end the connection.
    fn passed_over_max(&self) -> usize {
        match self.role {
            Role::Server => self.message_bytes_max.saturating_mul(OVERSIZED_FACTOR),
            Role::Client => self.message_bytes_max,
        }
    }
}

impl Decoder {
    /// A decoder at the start of a connection, right behind the handshake.
    #[must_use]
    pub fn new(options: Options) -> Decoder {
        Decoder { options, partial: None }
    }

    /// Takes bytes from the front of `input` until they complete an event.
    ///
    /// Returns `None` when `input` is used up; what is left of an unfinished frame has been kept, so `input`'s buffer is free for
    /// the next read. Call it again after every event, since one read often holds several frames.
    ///
    /// # Errors
    /// Any [`WebSocketError`]: close the connection with [`WebSocketError::close_code`] and read no further.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, WebSocketError> {
        loop {
            let stage = self.partial.as_deref().map(|partial| partial.stage).unwrap_or_default();
            match stage {
                Stage::Header { bytes, len } => {
                    let Some(header) = self.take_header(bytes, len, input)? else { return Ok(None) };
                    self.check_order(&header)?;
                    let fits = header.is_control() || header.len <= self.options.message_bytes_max;
                    if fits
                        && self.is_whole_message(&header)
                        && let Some(payload) = input.split_off(..header.len)
                    {
                        return self.event_at_once(&header, payload).map(Some);
                    }
                    self.begin_payload(header);
                }
                Stage::Payload { header, arrived } => {
                    let event = self.take_payload(header, arrived, input)?;
                    if event.is_some() || input.is_empty() {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Bytes of memory that an unfinished message holds at this moment; zero between messages.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.partial.as_deref().map_or(0, |partial| {
            size_of::<Partial>()
                + partial.control.capacity()
                + partial.message.as_ref().map_or(0, |message| message.bytes.capacity())
        })
    }

    /// Bytes of an unfinished message that have arrived, if they are kept.
    #[must_use]
    pub fn arrived_bytes(&self) -> usize {
        self.partial.as_deref().and_then(|partial| partial.message.as_ref()).map_or(0, |message| message.bytes.len())
    }

    /// [`Decoder::buffered_bytes`] after a read of so many bytes that does not finish the message; zero between messages.
    #[must_use]
    pub fn buffered_bytes_after(&self, read: usize) -> usize {
        let Some(partial) = self.partial.as_deref() else { return 0 };
        let buffered = self.buffered_bytes();
        match (&partial.message, partial.stage) {
            (Some(message), Stage::Payload { header, arrived })
                if !header.is_control() && message.len <= self.options.message_bytes_max =>
            {
                let missing = header.len - arrived;
                buffered + growth(&message.bytes, read.min(missing), missing)
            }
            _ => buffered,
        }
    }

    /// Completes the header of which `len` bytes came with earlier reads; keeps what there is when it does not suffice.
    fn take_header(
        &mut self,
        mut bytes: [u8; HEADER_BYTES_MAX],
        len: usize,
        input: &mut &[u8],
    ) -> Result<Option<Header>, WebSocketError> {
        if len == 0
            && let Some((header, used)) = Header::parse(input, &self.options)?
        {
            *input = &input[used..];
            return Ok(Some(header));
        }
        let taken = input.len().min(HEADER_BYTES_MAX - len);
        bytes[len..len + taken].copy_from_slice(&input[..taken]);
        let have = len + taken;
        match Header::parse(&bytes[..have], &self.options)? {
            Some((header, used)) => {
                // The header was incomplete without this read, so it ends in it.
                *input = &input[used - len..];
                Ok(Some(header))
            }
            None => {
                *input = &input[taken..];
                if have > 0 {
                    self.partial.get_or_insert_default().stage = Stage::Header { bytes, len: have };
                }
                Ok(None)
            }
        }
    }

    /// What a header alone cannot know: its place among the fragments, and the size of the message it belongs to.
    fn check_order(&self, header: &Header) -> Result<(), WebSocketError> {
        if header.is_control() {
            return Ok(());
        }
        let message = self.partial.as_deref().and_then(|partial| partial.message.as_ref());
        if message.is_some() != (header.opcode == Opcode::Continuation) {
            return Err(WebSocketError::FragmentOrder);
        }
        let before = message.map_or(0, |message| message.len);
        let max = self.options.passed_over_max();
        // A header announces at most `max`, which it was checked for; so does what arrived.
        if header.len > max - before {
            return Err(WebSocketError::TooBig { bytes: header.len as u64 + before as u64, max });
        }
        if header.len == 0 && message.is_some_and(|message| message.fragments_empty == FRAGMENTS_EMPTY_MAX) {
            return Err(WebSocketError::TooManyFragments);
        }
        Ok(())
    }

    /// Whether the frame is an event of its own, with nothing before it and nothing to follow.
    fn is_whole_message(&self, header: &Header) -> bool {
        header.is_control() || (header.fin && header.opcode != Opcode::Continuation)
    }

    /// The frequent case: one frame, one read, one copy.
    fn event_at_once(&mut self, header: &Header, payload: &[u8]) -> Result<Event, WebSocketError> {
        // What may remain is an unfinished message around a control frame.
        match self.partial.as_deref_mut() {
            Some(partial) if partial.message.is_some() => partial.stage = Stage::default(),
            _ => self.partial = None,
        }
        let mut payload = payload.to_vec();
        header.unmask(&mut payload, 0);
        header.event(payload)
    }

    fn begin_payload(&mut self, header: Header) {
        let max = self.options.message_bytes_max;
        let partial = self.partial.get_or_insert_default();
        partial.stage = Stage::Payload { header, arrived: 0 };
        if header.is_control() {
            return;
        }
        let message = partial.message.get_or_insert_with(|| Unfinished {
            kind: header.kind(),
            compressed: header.compressed,
            bytes: Vec::new(),
            len: 0,
            fragments_empty: 0,
        });
        message.len += header.len;
        if message.len > max {
            message.bytes.truncate(HEAD_BYTES);
            message.bytes.shrink_to_fit();
        }
        message.fragments_empty += u8::from(header.len == 0);
    }

    /// Appends what arrived of a payload. `None`: `input` is used up, or the message goes on in another fragment.
    fn take_payload(
        &mut self,
        header: Header,
        arrived: usize,
        input: &mut &[u8],
    ) -> Result<Option<Event>, WebSocketError> {
        let max = self.options.message_bytes_max;
        let partial = self.partial.get_or_insert_default();
        let missing = header.len - arrived;
        let (chunk, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        let (buffer, kept) = match &mut partial.message {
            Some(message) if !header.is_control() => {
                let is_oversized = message.len > max;
                let kept = if is_oversized { chunk.len().min(HEAD_BYTES - message.bytes.len()) } else { chunk.len() };
                (&mut message.bytes, kept)
            }
            _ => (&mut partial.control, chunk.len()),
        };
        append(buffer, &chunk[..kept], missing);
        let start = buffer.len() - kept;
        header.unmask(&mut buffer[start..], arrived);
        if chunk.len() < missing {
            partial.stage = Stage::Payload { header, arrived: arrived + chunk.len() };
            return Ok(None);
        }
        partial.stage = Stage::default();
        if header.is_control() {
            let payload = core::mem::take(&mut partial.control);
            if partial.message.is_none() {
                self.partial = None;
            }
            return header.event(payload).map(Some);
        }
        if !header.fin {
            return Ok(None);
        }
        let finished = partial.message.take();
        self.partial = None;
        Ok(finished.map(|message| {
            let Unfinished { kind, compressed, mut bytes, len, .. } = message;
            if len > max {
                return Event::Oversized { head: bytes.into(), compressed, bytes: len };
            }
            bytes.shrink_to_fit();
            Event::Message { kind, payload: bytes.into(), compressed }
        }))
    }
}

/// Appends `chunk` to `buffer`, which is known to need `missing` more bytes in all.
///
/// Capacity at most doubles what arrived, so a header that announces much costs nothing; and it stops at what was announced, so
/// that the finished message has its exact size.
fn append(buffer: &mut Vec<u8>, chunk: &[u8], missing: usize) {
    let more = growth(buffer, chunk.len(), missing);
    if more > 0 {
        buffer.reserve_exact(more + buffer.capacity() - buffer.len());
    }
    buffer.extend_from_slice(chunk);
}

/// By how much [`append`] lets the capacity grow for so many bytes.
fn growth(buffer: &Vec<u8>, chunk: usize, missing: usize) -> usize {
    let spare = buffer.capacity() - buffer.len();
    if spare >= chunk { 0 } else { chunk.max(buffer.len()).min(missing) - spare }
}

/// A parsed frame header that is legal by itself.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: Opcode,
    fin: bool,
    compressed: bool,
    mask: Option<[u8; 4]>,
    len: usize,
}

impl Header {
    /// Parses the header at the front of `bytes` and says how long it is; `None` when more bytes are needed.
    ///
    /// Complains as early as the offending bytes are there. A length in more bytes than it needs is let pass, as peers do.
    fn parse(bytes: &[u8], options: &Options) -> Result<Option<(Header, usize)>, WebSocketError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::try_from(first & 0x0f)?;
        let fin = first & 0x80 != 0;
        let compressed = first & 0x40 != 0;
        let begins_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (compressed && !(options.deflate && begins_message)) {
            return Err(WebSocketError::ReservedBit);
        }
        let is_masked = second & 0x80 != 0;
        if is_masked != (options.role == Role::Server) {
            return Err(WebSocketError::Masking);
        }
        let short_len = second & 0x7f;
        if opcode.is_control() && (!fin || usize::from(short_len) > CONTROL_BYTES_MAX) {
            return Err(WebSocketError::ControlFrame);
        }
        let (len, rest) = match short_len {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        let max = options.passed_over_max();
        let len = match usize::try_from(len) {
            // Control frames have a bound of their own, and must get through however small that of messages is.
            Ok(len) if len <= max || opcode.is_control() => len,
            _ => return Err(WebSocketError::TooBig { bytes: len, max }),
        };
        let (mask, rest) = match (is_masked, rest.split_first_chunk()) {
            (false, _) => (None, rest),
            (true, Some((mask, rest))) => (Some(*mask), rest),
            (true, None) => return Ok(None),
        };
        Ok(Some((Header { opcode, fin, compressed, mask, len }, bytes.len() - rest.len())))
    }

    fn is_control(&self) -> bool {
        self.opcode.is_control()
    }

    fn kind(&self) -> MessageKind {
        if self.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary }
    }

    fn unmask(&self, bytes: &mut [u8], offset: usize) {
        if let Some(mask) = self.mask {
            apply_mask(bytes, mask, offset);
        }
    }

    /// What a frame that is complete in itself says.
    fn event(&self, payload: Vec<u8>) -> Result<Event, WebSocketError> {
        Ok(match self.opcode {
            Opcode::Ping => Event::Ping(payload.into()),
            Opcode::Pong => Event::Pong(payload.into()),
            Opcode::Close => {
                let (code, reason) = parse_close(&payload)?;
                Event::Close { code, reason }
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                Event::Message { kind: self.kind(), payload: payload.into(), compressed: self.compressed }
            }
        })
    }
}

impl Opcode {
    /// Whether it is a close, ping or pong.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

impl TryFrom<u8> for Opcode {
    type Error = WebSocketError;

    fn try_from(byte: u8) -> Result<Opcode, WebSocketError> {
        Ok(match byte {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(WebSocketError::Opcode(byte)),
        })
    }
}

fn parse_close(payload: &[u8]) -> Result<(Option<u16>, String), WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok((None, String::new())) } else { Err(WebSocketError::CloseCode) };
    };
    let code = u16::from_be_bytes(*code);
    // 1004 to 1006 and 1015 are for use inside an endpoint; the rest below 3000 awaits a definition (RFC 6455 §7.4).
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WebSocketError::CloseCode);
    }
    let reason = core::str::from_utf8(reason).map_err(|_| WebSocketError::CloseReason)?;
    Ok((Some(code), reason.to_owned()))
}

/// Masks or unmasks `bytes`, in front of which `offset` bytes of the same payload have gone (RFC 6455 §5.3).
pub fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

/// The header of a server's frame: an array and how many of its bytes are used.
///
/// `compressed` sets RSV1, for the first frame of a data message only.
#[must_use]
pub fn header(opcode: Opcode, payload_len: usize, fin: bool, compressed: bool) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    bytes[0] = opcode as u8 | u8::from(fin) << 7 | u8::from(compressed) << 6;
    let used = if payload_len <= 125 {
        bytes[1] = payload_len as u8;
        2
    } else if let Ok(len) = u16::try_from(payload_len) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        bytes[1] = 127;
        bytes[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    };
    (bytes, used)
}

/// A whole unfragmented frame of a client. `mask` should be random, so that no proxy mistakes the payload for a request.
#[must_use]
pub fn encode_masked(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    encode_masked_fragment(opcode, payload, mask, true, false)
}

/// As [`encode_masked`], for a fragment (`fin` unset) or a compressed message (`compressed` sets RSV1).
#[must_use]
pub fn encode_masked_fragment(opcode: Opcode, payload: &[u8], mask: [u8; 4], fin: bool, compressed: bool) -> Vec<u8> {
    let (mut header, used) = header(opcode, payload.len(), fin, compressed);
    header[1] |= 0x80;
    let mut frame = Vec::with_capacity(used + mask.len() + payload.len());
    frame.extend_from_slice(&header[..used]);
    frame.extend_from_slice(&mask);
    frame.extend_from_slice(payload);
    apply_mask(&mut frame[used + mask.len()..], mask, 0);
    frame
}

/// The payload of a close frame; a reason beyond 123 bytes is cut at a character.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Bytes {
    let mut len = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    let mut payload = Vec::with_capacity(2 + len);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..len]);
    payload.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn server(message_bytes_max: usize) -> Decoder {
        Decoder::new(Options { role: Role::Server, message_bytes_max, deflate: false })
    }

    fn client() -> Decoder {
        Decoder::new(Options { role: Role::Client, message_bytes_max: MAX, deflate: false })
    }

    fn binary(payload: &[u8]) -> Event {
        Event::Message { kind: MessageKind::Binary, payload: Bytes::copy_from_slice(payload), compressed: false }
    }

    fn fragment(opcode: Opcode, payload: &[u8], fin: bool) -> Vec<u8> {
        encode_masked_fragment(opcode, payload, MASK, fin, false)
    }

    /// Feeds `reads` one after the other and collects everything that comes out.
    fn feed<'a>(
        decoder: &mut Decoder,
        reads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Event>, WebSocketError> {
        let mut events = Vec::new();
        for mut read in reads {
            while let Some(event) = decoder.decode(&mut read)? {
                events.push(event);
            }
            assert!(read.is_empty(), "no event and no error means that the read is used up");
        }
        Ok(events)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Event>, WebSocketError> {
        feed(&mut server(MAX), [bytes])
    }

    #[test]
    fn examples_of_the_rfc_decode() {
        // RFC 6455 §5.7, single-frame unmasked and masked text, fragmented text, ping and pong.
        let hello =
            Event::Message { kind: MessageKind::Text, payload: Bytes::from_static(b"Hello"), compressed: false };
        let unmasked = b"\x81\x05Hello";
        let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let fragmented = b"\x01\x03Hel\x80\x02lo";
        assert_eq!(feed(&mut client(), [&unmasked[..]]), Ok(vec![hello.clone()]));
        assert_eq!(decode(masked), Ok(vec![hello.clone()]));
        assert_eq!(feed(&mut client(), [&fragmented[..]]), Ok(vec![hello]));
        assert_eq!(feed(&mut client(), [&b"\x89\x05Hello"[..]]), Ok(vec![Event::Ping(Bytes::from_static(b"Hello"))]));
        assert_eq!(
            decode(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            Ok(vec![Event::Pong(Bytes::from_static(b"Hello"))])
        );
    }

    #[test]
    fn headers_are_as_short_as_they_can_be() {
        for (len, expected) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let (bytes, used) = header(Opcode::Binary, len, true, false);
            assert_eq!(&bytes[..used], expected, "{len}");
        }
        assert_eq!(header(Opcode::Text, 1, false, true).0[0], 0x41);
    }

    #[test]
    fn a_whole_frame_keeps_no_buffer_and_has_its_exact_size() {
        let mut decoder = server(MAX);
        let frame = encode_masked(Opcode::Binary, &[7; 1000], MASK);
        let mut two = [frame.as_slice(), frame.as_slice()].concat();
        two.truncate(frame.len() + 3);
        let mut input = two.as_slice();
        assert_eq!(decoder.decode(&mut input), Ok(Some(binary(&[7; 1000]))));
        assert_eq!(decoder.buffered_bytes(), 0);
        assert_eq!(input.len(), 3, "the next frame is left in the caller's buffer");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!((1..200).contains(&decoder.buffered_bytes()), "half a header waits");
        assert_eq!(feed(&mut decoder, [&frame[3..]]), Ok(vec![binary(&[7; 1000])]));
        assert_eq!(decoder.buffered_bytes(), 0);
        assert!(size_of::<Decoder>() <= 32, "this much is paid by every idle connection");
    }

    #[test]
    fn several_frames_in_one_read_come_out_in_order() {
        let mut bytes = encode_masked(Opcode::Binary, b"one", MASK);
        bytes.extend(fragment(Opcode::Binary, b"t", false));
        bytes.extend(encode_masked(Opcode::Ping, b"!", MASK));
        bytes.extend(fragment(Opcode::Continuation, b"", false));
        bytes.extend(fragment(Opcode::Continuation, b"wo", true));
        bytes.extend(encode_masked(Opcode::Close, &close_payload(1000, "bye"), MASK));
        assert_eq!(
            decode(&bytes),
            Ok(vec![
                binary(b"one"),
                Event::Ping(Bytes::from_static(b"!")),
                binary(b"two"),
                Event::Close { code: Some(1000), reason: "bye".to_owned() },
            ])
        );
    }

    #[test]
    fn deflate_is_taken_only_when_negotiated_and_only_on_a_first_frame() {
        let frame = encode_masked_fragment(Opcode::Binary, b"zip", MASK, true, true);
        assert_eq!(decode(&frame), Err(WebSocketError::ReservedBit));

        let deflating = || Decoder::new(Options { role: Role::Server, message_bytes_max: MAX, deflate: true });
        let payload = Bytes::from_static(b"zip");
        let compressed = Event::Message { kind: MessageKind::Binary, payload, compressed: true };
        assert_eq!(feed(&mut deflating(), [&frame[..]]), Ok(vec![compressed.clone()]));

        let mut fragments = encode_masked_fragment(Opcode::Binary, b"z", MASK, false, true);
        fragments.extend(fragment(Opcode::Continuation, b"ip", true));
        assert_eq!(feed(&mut deflating(), [&fragments[..]]), Ok(vec![compressed]));

        let mut twice = encode_masked_fragment(Opcode::Binary, b"z", MASK, false, true);
        twice.extend(encode_masked_fragment(Opcode::Continuation, b"ip", MASK, true, true));
        assert_eq!(feed(&mut deflating(), [&twice[..]]), Err(WebSocketError::ReservedBit));
        let ping = encode_masked_fragment(Opcode::Ping, b"", MASK, true, true);
        assert_eq!(feed(&mut deflating(), [&ping[..]]), Err(WebSocketError::ReservedBit));
    }

    #[test]
    fn broken_frames_are_protocol_errors() {
        use WebSocketError as E;
        for (bytes, expected) in [
            (&b"\x83\x80"[..], E::Opcode(3)),
            (b"\x8b\x80", E::Opcode(11)),
            (b"\xa2\x80", E::ReservedBit),
            (b"\x92\x80", E::ReservedBit),
            (b"\x82\x01", E::Masking),
            (b"\x09\x80", E::ControlFrame),
            (b"\x89\xfe", E::ControlFrame),
            (b"\x80\x80....", E::FragmentOrder),
            (b"\x02\x80....\x82\x80....", E::FragmentOrder),
        ] {
            assert_eq!(decode(bytes), Err(expected), "{bytes:02x?}");
            assert_eq!(expected.close_code(), CloseCode::BadWebSocket);
        }
        assert_eq!(feed(&mut client(), [&b"\x82\x80"[..]]), Err(E::Masking));
    }

    #[test]
    fn close_frames_are_checked() {
        let close = |payload: &[u8]| decode(&encode_masked(Opcode::Close, payload, MASK));
        assert_eq!(close(b""), Ok(vec![Event::Close { code: None, reason: String::new() }]));
        assert_eq!(close(b"\x03"), Err(WebSocketError::CloseCode));
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(close(&code.to_be_bytes()), Err(WebSocketError::CloseCode), "{code}");
        }
        for code in [1000_u16, 1001, 1011, 1013, 3000, 4400, 4999] {
            let expected = Event::Close { code: Some(code), reason: String::new() };
            assert_eq!(close(&code.to_be_bytes()), Ok(vec![expected]));
        }
        assert_eq!(close(b"\x03\xe8\xff"), Err(WebSocketError::CloseReason));
        assert_eq!(WebSocketError::CloseReason.close_code(), CloseCode::BadPayload);
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let payload = close_payload(1000, &"ü".repeat(100));
        assert_eq!(payload.len(), 2 + 122);
        assert!(core::str::from_utf8(&payload[2..]).is_ok());
    }

    #[test]
    fn hostile_8_a_header_of_a_gigabyte_is_an_error_at_once() {
        let mut header = vec![0x82, 0xff];
        header.extend_from_slice(&(1_u64 << 30).to_be_bytes());
        let too_big = WebSocketError::TooBig { bytes: 1 << 30, max: 8 * MAX };
        assert_eq!(decode(&header), Err(too_big), "even before the mask is there");
        assert_eq!(too_big.close_code(), CloseCode::MessageTooBig);
        header[2..].copy_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(decode(&header), Err(WebSocketError::TooBig { bytes: u64::MAX, max: 8 * MAX }));
    }

    #[test]
    fn hostile_8_an_announced_megabyte_costs_what_arrived() {
        let mut decoder = server(MAX);
        let frame = encode_masked(Opcode::Binary, &vec![1; MAX], MASK);
        assert_eq!(feed(&mut decoder, [&frame[..1014]]), Ok(vec![]));
        assert!(decoder.buffered_bytes() < 1500, "{}", decoder.buffered_bytes());
        assert_eq!(feed(&mut decoder, frame[1014..].chunks(4096)), Ok(vec![binary(&vec![1; MAX])]));
        assert_eq!(decoder.buffered_bytes(), 0);
    }

    /// Whoever is closed for a message that is too long comes back and sends it again.
    #[test]
    fn a_message_that_is_too_long_is_passed_over_and_the_next_one_is_taken() {
        let long: Vec<u8> = (0..MAX + 1).map(|at| (at % 251) as u8).collect();
        let head = Bytes::copy_from_slice(&long[..HEAD_BYTES]);
        let oversized = Event::Oversized { head, compressed: false, bytes: MAX + 1 };
        let one = encode_masked(Opcode::Binary, &long, MASK);
        let fragments = [
            fragment(Opcode::Binary, &long[..700], false),
            fragment(Opcode::Continuation, &long[700..MAX], false),
            encode_masked(Opcode::Ping, b"!", MASK),
            fragment(Opcode::Continuation, &long[MAX..], true),
        ]
        .concat();
        let next = encode_masked(Opcode::Binary, b"next", MASK);
        let mut decoder = server(MAX);
        let taken = feed(&mut decoder, one.chunks(10_000).chain([&next[..]]));
        assert_eq!(taken, Ok(vec![oversized.clone(), binary(b"next")]));
        let taken = feed(&mut decoder, fragments.chunks(10_000).chain([&next[..]]));
        let ping = Event::Ping(Bytes::from_static(b"!"));
        assert_eq!(taken, Ok(vec![ping, oversized, binary(b"next")]));
        assert_eq!(feed(&mut decoder, [&one[..MAX]]), Ok(vec![]));
        assert!(decoder.buffered_bytes() <= 2_000, "{}", decoder.buffered_bytes());
    }

    #[test]
    fn what_a_read_will_take_is_known_before() {
        let mut decoder = server(MAX);
        let frame = encode_masked(Opcode::Binary, &vec![1; MAX], MASK);
        assert_eq!(decoder.buffered_bytes_after(4096), 0);
        for chunk in frame.chunks(4096) {
            let expected = decoder.buffered_bytes_after(chunk.len());
            let is_first = decoder.buffered_bytes() == 0;
            let is_last = !feed(&mut decoder, [chunk]).unwrap().is_empty();
            assert!(is_first || is_last || decoder.buffered_bytes() == expected);
        }
    }

    #[test]
    fn hostile_8_thousands_of_tiny_fragments_cost_their_bytes() {
        let mut decoder = server(10_000);
        assert_eq!(feed(&mut decoder, [&fragment(Opcode::Binary, b"x", false)[..]]), Ok(vec![]));
        let tiny = fragment(Opcode::Continuation, b"x", false);
        for _ in 0..9_999 {
            assert_eq!(feed(&mut decoder, [&tiny[..]]), Ok(vec![]));
        }
        assert!(decoder.buffered_bytes() <= 2 * 10_000 + 200);
        for _ in 9_999..80_000 - 1 {
            assert_eq!(feed(&mut decoder, [&tiny[..]]), Ok(vec![]));
        }
        assert!(decoder.buffered_bytes() <= 2_000, "what cannot fit is not kept");
        assert_eq!(
            feed(&mut decoder, [&tiny[..]]),
            Err(WebSocketError::TooBig { bytes: 80_001, max: 80_000 }),
            "the sum of the fragments is what counts"
        );
    }

    #[test]
    fn hostile_8_a_flood_of_empty_fragments_is_an_error() {
        let mut decoder = server(MAX);
        assert_eq!(feed(&mut decoder, [&fragment(Opcode::Binary, b"", false)[..]]), Ok(vec![]));
        let empty = fragment(Opcode::Continuation, b"", false);
        let error = (0..1000).find_map(|_| feed(&mut decoder, [&empty[..]]).err());
        assert_eq!(error, Some(WebSocketError::TooManyFragments));
    }

    #[test]
    fn control_frames_pass_however_small_the_message_bound() {
        let ping = encode_masked(Opcode::Ping, &[1; 125], MASK);
        assert_eq!(feed(&mut server(10), [&ping[..]]), Ok(vec![Event::Ping(Bytes::from(vec![1; 125]))]));
    }

    /// One thing that a well-behaved client writes, in one or several frames.
    #[derive(Clone, Debug)]
    enum Said {
        Message { kind: MessageKind, fragments: Vec<Vec<u8>>, ping_between: bool },
        Pong(Vec<u8>),
    }

    fn said() -> impl Strategy<Value = Said> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..300);
        let kind = prop_oneof![Just(MessageKind::Binary), Just(MessageKind::Text)];
        prop_oneof![
            4 => (kind, proptest::collection::vec(payload(), 1..4), any::<bool>()).prop_map(
                |(kind, fragments, ping_between)| Said::Message { kind, fragments, ping_between }
            ),
            1 => proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Pong),
        ]
    }

    /// The bytes of a conversation and the events that it must give.
    fn write(conversation: &[Said], mask: [u8; 4]) -> (Vec<u8>, Vec<Event>) {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        for said in conversation {
            match said {
                Said::Pong(payload) => {
                    bytes.extend(encode_masked(Opcode::Pong, payload, mask));
                    events.push(Event::Pong(payload.clone().into()));
                }
                Said::Message { kind, fragments, ping_between } => {
                    for (i, fragment) in fragments.iter().enumerate() {
                        let opcode = match (i, kind) {
                            (0, MessageKind::Binary) => Opcode::Binary,
                            (0, MessageKind::Text) => Opcode::Text,
                            _ => Opcode::Continuation,
                        };
                        let fin = i + 1 == fragments.len();
                        bytes.extend(encode_masked_fragment(opcode, fragment, mask, fin, false));
                        if *ping_between && !fin {
                            bytes.extend(encode_masked(Opcode::Ping, b"?", mask));
                            events.push(Event::Ping(Bytes::from_static(b"?")));
                        }
                    }
                    events.push(Event::Message { kind: *kind, payload: fragments.concat().into(), compressed: false });
                }
            }
        }
        (bytes, events)
    }

    proptest! {
        #[test]
        fn reads_may_split_anywhere(
            conversation in proptest::collection::vec(said(), 0..6),
            mask in any::<[u8; 4]>(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..40),
        ) {
            let (bytes, expected) = write(&conversation, mask);
            prop_assert_eq!(decode(&bytes), Ok(expected.clone()));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut decoder = server(MAX);
            let reads = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(feed(&mut decoder, reads), Ok(expected.clone()));
            prop_assert_eq!(decoder.buffered_bytes(), 0);
            let mut decoder = server(MAX);
            prop_assert_eq!(feed(&mut decoder, bytes.chunks(1)), Ok(expected));
            prop_assert_eq!(decoder.buffered_bytes(), 0);
        }

        #[test]
        fn random_bytes_never_panic_and_split_alike(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            masked in any::<bool>(),
            deflate in any::<bool>(),
            step in 1_usize..20,
        ) {
            let role = if masked { Role::Server } else { Role::Client };
            let options = Options { role, message_bytes_max: 400, deflate };
            let at_once = feed(&mut Decoder::new(options), [&bytes[..]]);
            let split = feed(&mut Decoder::new(options), bytes.chunks(step));
            prop_assert_eq!(at_once, split);
        }

        #[test]
        fn masking_is_the_same_at_any_offset(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            mask in any::<[u8; 4]>(),
            offset in 0_usize..9,
        ) {
            let plain: Vec<u8> =
                bytes.iter().enumerate().map(|(i, byte)| byte ^ mask[(i + offset) % 4]).collect();
            let mut fast = bytes;
            apply_mask(&mut fast, mask, offset);
            prop_assert_eq!(fast, plain);
        }
    }
}
