//! Answers about tokens, by digest, each until its time: after a restart everybody comes back with the same tokens within seconds.
//!
//! Bounded by count; no token is kept.

use core::mem;
use std::collections::HashMap;

use ring::digest::{SHA256, digest};
use ydash_proto::time::Timestamp;

/// Answers, by digest.
#[derive(Debug)]
pub(super) struct Cache<V> {
    /// The most entries of each half; when the younger half is full, the older one is forgotten.
    half: usize,
    young: HashMap<[u8; 32], Entry<V>>,
    old: HashMap<[u8; 32], Entry<V>>,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    value: V,
    until: Timestamp,
}

/// SHA-256, which stands for a token.
pub(super) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl<V: Clone> Cache<V> {
    /// An empty cache of two halves with at most `half` entries each.
    pub(super) fn new(half: usize) -> Cache<V> {
        Cache { half, young: HashMap::new(), old: HashMap::new() }
    }

    /// The value, if it holds beyond `now`.
    pub(super) fn get(&mut self, digest: &[u8; 32], now: Timestamp) -> Option<V> {
        let found = match self.young.get(digest) {
            Some(found) => found.clone(),
            None => {
                let found = self.old.remove(digest)?;
                self.keep(*digest, found.clone());
                found
            }
        };
        (now < found.until).then_some(found.value)
    }

    /// Remembers a value until then.
    pub(super) fn put(&mut self, digest: [u8; 32], value: V, until: Timestamp) {
        self.keep(digest, Entry { value, until });
    }

    fn keep(&mut self, digest: [u8; 32], entry: Entry<V>) {
        if self.young.len() >= self.half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_answers_are_remembered_than_two_halves() {
        const HALF: usize = 100;
        let mut cache = Cache::new(HALF);
        for n in 0..3 * HALF {
            cache.put(digest_of(n.to_string().as_bytes()), n, Timestamp(10));
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * HALF);
        assert_eq!(cache.get(&digest_of(b"0"), Timestamp(0)), None);
        let last = 3 * HALF - 1;
        let digest = digest_of(last.to_string().as_bytes());
        assert_eq!(cache.get(&digest, Timestamp(9)), Some(last));
        assert_eq!(cache.get(&digest, Timestamp(10)), None, "it has ended");
    }
}
