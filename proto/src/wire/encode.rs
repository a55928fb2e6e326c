//! Writes messages, each into one allocation of its exact size.
//!
//! A frame is made once and shared by all who receive it. [`frame`] is the shape that nearly all have; a dialect that puts an
//! address in front of every message passes it as `prefix`.

use bytes::Bytes;

use super::tag;
use crate::id::ClientId;
use crate::lib0::{Reader, var_uint_len, write_var_bytes, write_var_uint};

/// `prefix`, then `tags`, then the length of `body` and `body`.
#[must_use]
pub fn frame(prefix: &[u8], tags: &[u8], body: &[u8]) -> Bytes {
    let mut out = begin(prefix, tags, body.len());
    write_var_bytes(&mut out, body);
    out.into()
}

/// "This is what I have."
#[must_use]
pub fn sync_step1(state_vector: &[u8]) -> Bytes {
    frame(&[], &[tag::SYNC, tag::SYNC_STEP_1], state_vector)
}

/// "This is what you lack": the only answer to step 1 that makes a client `synced`, so send it even when `update` is empty.
#[must_use]
pub fn sync_step2(update: &[u8]) -> Bytes {
    frame(&[], &[tag::SYNC, tag::SYNC_STEP_2], update)
}

/// The update in a frame that [`sync_step2`] or [`update`] made; shares its bytes.
pub(crate) fn sync_payload(frame: &Bytes) -> Bytes {
    let mut reader = Reader::starting_at(frame, 2);
    let payload = reader.var_bytes().expect("made by this module");
    frame.slice_ref(payload)
}

/// The entries in a frame that [`awareness`](fn@awareness) made; shares its bytes.
pub(crate) fn awareness_payload(frame: &Bytes) -> Bytes {
    let mut reader = Reader::starting_at(frame, 1);
    let payload = reader.var_bytes().expect("made by this module");
    frame.slice_ref(payload)
}

/// "This has changed."
#[must_use]
pub fn update(update: &[u8]) -> Bytes {
    frame(&[], &[tag::SYNC, tag::UPDATE], update)
}

/// Awareness entries as (client, clock, state as JSON text), a state being [`awareness::NULL`](super::awareness::NULL) for who has
/// left. States go out verbatim. The iterator is walked twice, to size and to write.
#[must_use]
pub fn awareness<'a, I>(entries: I) -> Bytes
where
    I: IntoIterator<Item = (ClientId, u32, &'a [u8])>,
    I::IntoIter: Clone,
{
    prefixed_awareness(&[], entries)
}

/// As [`awareness`](fn@awareness), behind the address of a dialect that has one.
#[must_use]
pub fn prefixed_awareness<'a, I>(prefix: &[u8], entries: I) -> Bytes
where
    I: IntoIterator<Item = (ClientId, u32, &'a [u8])>,
    I::IntoIter: Clone,
{
    let entries = entries.into_iter();
    let (mut count, mut body_len) = (0_u64, 0);
    for (client, clock, state) in entries.clone() {
        count += 1;
        body_len += var_uint_len(client) + var_uint_len(clock.into()) + var_uint_len(state.len() as u64) + state.len();
    }
    body_len += var_uint_len(count);
    let mut out = begin(prefix, &[tag::AWARENESS], body_len);
    write_var_uint(&mut out, body_len as u64);
    write_var_uint(&mut out, count);
    for (client, clock, state) in entries {
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock.into());
        write_var_bytes(&mut out, state);
    }
    debug_assert_eq!(out.len(), out.capacity(), "sized exactly above");
    out.into()
}

/// Awareness entries that are encoded already, such as a client's own.
#[must_use]
pub fn awareness_body(body: &[u8]) -> Bytes {
    frame(&[], &[tag::AWARENESS], body)
}

/// "Tell me all awareness that you hold."
#[must_use]
pub fn query_awareness() -> Bytes {
    Bytes::from_static(&[tag::QUERY_AWARENESS])
}

/// "I will not serve you." Stock clients log it and stay, so a close frame must follow.
#[must_use]
pub fn permission_denied(reason: &str) -> Bytes {
    frame(&[], &[tag::AUTH, tag::PERMISSION_DENIED], reason.as_bytes())
}

/// The scopes of [`authenticated`], as Hocuspocus has them.
pub(super) const READ_WRITE: &str = "read-write";
pub(super) const READ_ONLY: &str = "readonly";

/// `02 01`: the token ends soon. A client that has another answers with it; y-protocols' `readAuthMessage` knows only `02 00`, and passes it over.
#[must_use]
pub fn ask_token() -> Bytes {
    Bytes::from_static(&[tag::AUTH, 1])
}

/// What the session may do. Only to clients that opted in; stock providers of y-websocket pass over it.
#[must_use]
pub fn authenticated(may_edit: bool) -> Bytes {
    let scope = if may_edit { READ_WRITE } else { READ_ONLY };
    frame(&[], &[tag::AUTH, tag::AUTHENTICATED], scope.as_bytes())
}

/// Whether everything that the client sent is durable. Only to clients that opted in: y-websocket 4 misreads what it does not
/// know.
#[must_use]
pub fn sync_status(saved: bool) -> Bytes {
    Bytes::from_static(if saved { &[tag::SYNC_STATUS, 1] } else { &[tag::SYNC_STATUS, 0] })
}

/// Awareness of nobody: raises no event on any client, yet keeps it from reconnecting after 30 s without a message.
#[must_use]
pub fn keep_alive() -> Bytes {
    Bytes::from_static(&[tag::AWARENESS, 1, 0])
}

fn begin(prefix: &[u8], tags: &[u8], body_len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.len() + tags.len() + var_uint_len(body_len as u64) + body_len);
    out.extend_from_slice(prefix);
    out.extend_from_slice(tags);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_in_front() {
        // Captured from Hocuspocus 4.7, document "doc".
        assert_eq!(&frame(b"\x03doc", &[tag::SYNC, tag::SYNC_STEP_2], &[0, 0])[..], b"\x03doc\x00\x01\x02\x00\x00");
        assert_eq!(
            &prefixed_awareness(b"\x03doc", [(1234, 0, &b"{}"[..])])[..],
            b"\x03doc\x01\x07\x01\xd2\x09\x00\x02{}"
        );
    }
}
