//! What dashboards showed when they were read lately: what an edit may say that it was made from.
//!
//! Kept as the text that was answered, some versions of each for some minutes. Another node knows only what it answered itself.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ydash_proto::id::DashboardId;

use crate::http::Etag;

/// Versions of one dashboard.
const VERSIONS_MAX: usize = 16;
/// How long one is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Bytes of all of them; one takes an eighth at most.
const BYTES_MAX: usize = 64 << 20;
/// What one takes beside its text.
const BESIDE: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Bases {
    texts: HashMap<DashboardId, Vec<(Etag, Bytes)>>,
    /// The oldest first; a version that was read again stands there twice.
    order: VecDeque<(Instant, DashboardId, Etag)>,
    bytes: usize,
}

impl Bases {
    /// Remembers what a dashboard shows.
    pub(super) fn put(&mut self, now: Instant, dashboard: &DashboardId, etag: Etag, text: &Bytes) {
        while let Some((at, ..)) = self.order.front() {
            if now.duration_since(*at) < KEPT_FOR && self.bytes <= BYTES_MAX && self.order.len() < BYTES_MAX / BESIDE {
                break;
            }
            self.forget_oldest();
        }
        if text.len() + BESIDE > BYTES_MAX / 8 {
            return;
        }
        let versions = self.texts.entry(dashboard.clone()).or_default();
        if versions.iter().any(|(known, _)| *known == etag) {
            return;
        }
        versions.push((etag, text.clone()));
        self.bytes += text.len() + BESIDE;
        if versions.len() > VERSIONS_MAX {
            self.bytes -= versions.remove(0).1.len() + BESIDE;
        }
        self.order.push_back((now, dashboard.clone(), etag));
    }

    /// What the dashboard showed then.
    pub(super) fn get(&self, dashboard: &DashboardId, etag: Etag) -> Option<Bytes> {
        self.texts.get(dashboard)?.iter().find(|(known, _)| *known == etag).map(|(_, text)| text.clone())
    }

    fn forget_oldest(&mut self) {
        let Some((_, dashboard, etag)) = self.order.pop_front() else { return };
        let Some(versions) = self.texts.get_mut(&dashboard) else { return };
        if let Some(at) = versions.iter().position(|(known, _)| *known == etag) {
            self.bytes -= versions.remove(at).1.len() + BESIDE;
        }
        if versions.is_empty() {
            self.texts.remove(&dashboard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(n: u128) -> Etag {
        Etag::from_bits(n)
    }

    #[test]
    fn versions_are_bounded_in_number_bytes_and_time() {
        let (mut bases, now) = (Bases::default(), Instant::now());
        let dashboard = |at: u128| DashboardId::new("w", &at.to_string()).unwrap();
        let text = Bytes::from(vec![0; 1 << 20]);
        for at in 0..20 {
            bases.put(now, &dashboard(0), etag(at), &text);
            bases.put(now, &dashboard(0), etag(at), &text);
        }
        assert_eq!((bases.get(&dashboard(0), etag(3)), bases.get(&dashboard(0), etag(4))), (None, Some(text.clone())));
        for at in 1..100 {
            bases.put(now, &dashboard(at), etag(at), &text);
            assert!(bases.bytes <= BYTES_MAX + text.len() + BESIDE, "{}", bases.bytes);
        }
        assert_eq!(bases.get(&dashboard(0), etag(19)), None, "the oldest make place");
        assert_eq!(bases.get(&dashboard(99), etag(1)), None);
        bases.put(now, &dashboard(200), etag(1), &Bytes::from(vec![0; BYTES_MAX / 8]));
        assert_eq!(bases.get(&dashboard(200), etag(1)), None, "too large to be kept");
        bases.put(now + KEPT_FOR, &dashboard(300), etag(1), &text);
        assert_eq!((bases.texts.len(), bases.order.len(), bases.bytes), (1, 1, text.len() + BESIDE));
    }
}
