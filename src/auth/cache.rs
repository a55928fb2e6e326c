//! Tokens that were verified lately: after a restart everybody comes back with the same ones within seconds.
//!
//! Failures are never kept, or a token that is refused once, for a key that is fetched a moment later, would be refused again.

use core::mem;
use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use ydash_proto::access::User;
use ydash_proto::time::Timestamp;

/// So many tokens are remembered in each of two halves; when the younger half is full, the older one is forgotten.
const HALF: usize = 32 << 10;

/// Which issuer's keys, and which set of them.
pub(super) type Keys = (usize, u64);

/// Verified tokens, by digest.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: HashMap<[u8; 32], Remembered>,
    old: HashMap<[u8; 32], Remembered>,
}

#[derive(Clone, Debug)]
struct Remembered {
    user: Arc<User>,
    expires: Timestamp,
    keys: Keys,
}

/// What stands for a token.
pub(super) fn digest_of(token: &str) -> [u8; 32] {
    let digest = digest(&SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Cache {
    /// Whose it is, and by which keys it was verified, if the token goes on beyond `now`.
    pub(super) fn get(&mut self, digest: &[u8; 32], now: Timestamp) -> Option<(Arc<User>, Keys)> {
        let found = match self.young.get(digest) {
            Some(found) => found.clone(),
            None => {
                let found = self.old.remove(digest)?;
                self.keep(*digest, found.clone());
                found
            }
        };
        (now < found.expires).then_some((found.user, found.keys))
    }

    /// Remembers a token.
    pub(super) fn put(&mut self, digest: [u8; 32], user: Arc<User>, expires: Timestamp, keys: Keys) {
        self.keep(digest, Remembered { user, expires, keys });
    }

    fn keep(&mut self, digest: [u8; 32], remembered: Remembered) {
        if self.young.len() >= HALF {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, remembered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_tokens_are_remembered_than_two_halves() {
        let mut cache = Cache::default();
        let user = Arc::new(User::default());
        for n in 0..3 * HALF {
            cache.put(digest_of(&n.to_string()), Arc::clone(&user), Timestamp(10), (0, 0));
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * HALF);
        assert!(cache.get(&digest_of("0"), Timestamp(0)).is_none());
        let last = digest_of(&(3 * HALF - 1).to_string());
        assert!(cache.get(&last, Timestamp(9)).is_some());
        assert!(cache.get(&last, Timestamp(10)).is_none(), "it has ended");
    }
}
