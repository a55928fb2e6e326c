//! Large first states, compressed once for everybody who joins.
//!
//! permessage-deflate without context takeover (RFC 7692) makes a compressed message the same bytes for every peer.

use crate::compress;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Below this, compressing costs more than it saves.
const STATE_BYTES_MIN: usize = 10 << 10;
/// How many states are remembered.
const STATES_MAX: usize = 8;
/// Fast: a state of 225 KB takes about 2 ms.
const LEVEL: u32 = 3;

/// `bytes` as the beginning of a compressed message that goes on with any other (a stored block, RFC 1951 §3.2.4): so the addresses
/// in front of a state differ from receiver to receiver, and the state is compressed once.
pub(super) fn stored(bytes: &Bytes) -> Bytes {
    let Ok(len) = u16::try_from(bytes.len()) else { unreachable!("addresses are bounded") };
    if len == 0 {
        return Bytes::new();
    }
    let (len, complement) = (len.to_le_bytes(), (!len).to_le_bytes());
    [&[0, len[0], len[1], complement[0], complement[1]], &bytes[..]].concat().into()
}

type Deflated = Arc<OnceCell<Option<Bytes>>>;

/// The last states that were compressed, as long as their room holds them too.
#[derive(Debug)]
pub(super) struct DeflatedStates {
    bytes_max: usize,
    states: Mutex<VecDeque<(Bytes, Deflated)>>,
}

impl DeflatedStates {
    /// For messages of at most `bytes_max` bytes before they are compressed: peers may refuse to inflate more than they can hold.
    pub(super) fn new(bytes_max: usize) -> DeflatedStates {
        DeflatedStates { bytes_max, states: Mutex::default() }
    }

    /// What stands for `state` in a compressed message that has `address` in front of it, or `None` when it should go out as it is.
    pub(super) async fn of(&self, state: &Bytes, address: &[u8]) -> Option<Bytes> {
        if state.len() < STATE_BYTES_MIN || address.len() + state.len() > self.bytes_max {
            return None;
        }
        let deflated = self.slot(state);
        let work = || async {
            let state = state.clone();
            let deflated = tokio::task::spawn_blocking(move || {
                let deflated = compress::deflate_raw(&state, LEVEL);
                (deflated.len() < state.len()).then(|| Bytes::from(deflated))
            });
            deflated.await.ok().flatten()
        };
        deflated.get_or_init(work).await.clone()
    }

    fn slot(&self, state: &Bytes) -> Deflated {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody else holds has been replaced by a newer state.
        states.retain(|(known, _)| !known.is_unique());
        let is_it = |known: &Bytes| known.as_ptr() == state.as_ptr() && known.len() == state.len();
        if let Some((_, deflated)) = states.iter().find(|(known, _)| is_it(known)) {
            return Arc::clone(deflated);
        }
        if states.len() == STATES_MAX {
            states.pop_front();
        }
        let deflated = Deflated::default();
        states.push_back((state.clone(), Arc::clone(&deflated)));
        deflated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_compressed_once_goes_out_behind_any_address() {
        let state = Bytes::from([b"some state ".repeat(5_000), (0..=255).collect()].concat());
        let states = DeflatedStates::new(1 << 20);
        let deflated = states.of(&state, b"").await.expect("worth compressing");
        for address in ["", "\x03doc", &"x".repeat(512)] {
            let message = [stored(&Bytes::copy_from_slice(address.as_bytes())), deflated.clone()].concat();
            let inflated = compress::inflate_bounded(&message, 1 << 20).unwrap();
            assert!(inflated.starts_with(address.as_bytes()) && inflated[address.len()..] == state);
        }
    }

    /// The WebSocket that is built into Node 22 and later gives up on a message that inflates to more than 4 MiB, and comes back for ever.
    #[tokio::test]
    async fn nothing_is_compressed_that_would_inflate_beyond_the_bound() {
        let states = DeflatedStates::new(100_000);
        let state = |len| Bytes::from(vec![b'x'; len]);
        assert!(states.of(&state(100_000), b"").await.is_some());
        assert!(states.of(&state(99_996), b"\x03doc").await.is_some());
        assert!(states.of(&state(99_997), b"\x03doc").await.is_none(), "the address is part of the message");
        assert!(states.of(&state(100_001), b"").await.is_none());
        assert!(DeflatedStates::new(0).of(&state(20_000), b"").await.is_none());
    }
}
