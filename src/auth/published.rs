//! Keys that an issuer publishes: fetched at the start, again from time to time, and at once when a token names a key that is not known.
//!
//! The set is replaced as a whole. A failed fetch leaves it as it is, for a day; after that nobody knows what the issuer has taken out.

use core::time::Duration;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::Algorithm;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::fetch::Fetch;
use super::issuer::KeySource;
use super::keys::KeySet;

/// How often keys are fetched, and how long somebody waits for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From one fetch to the next.
    every: Duration,
    /// The same when a token names an unknown key: whoever makes names up causes no more.
    at_least: Duration,
    /// How long keys are used that could not be fetched again.
    stale_max: Duration,
    /// How long whoever shows such a token waits.
    patience: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            every: Duration::from_secs(600),
            at_least: Duration::from_secs(30),
            stale_max: Duration::from_secs(24 * 3600),
            patience: Duration::from_secs(3),
        }
    }
}

/// After a failed fetch, while there are no keys at all: doubled each time, up to the usual pause for unknown keys.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The keys of one issuer, as fetched last.
#[derive(Debug)]
pub(super) struct Published {
    issuer: Arc<str>,
    source: KeySource,
    algorithms: Vec<Algorithm>,
    pace: Pace,
    fetch: Fetch,
    current: RwLock<Arc<Fetched>>,
    wanted: Notify,
    /// When the fetch began that brought the current keys.
    brought: watch::Sender<Option<Instant>>,
}

/// Keys, and which fetch they are of.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// Another one with each set that differs from the one before.
    pub(super) version: u64,
}

impl Published {
    pub(super) fn new(issuer: Arc<str>, source: KeySource, algorithms: Vec<Algorithm>, fetch: Fetch) -> Published {
        Published {
            issuer,
            source,
            algorithms,
            pace: Pace::default(),
            fetch,
            current: RwLock::default(),
            wanted: Notify::new(),
            brought: watch::Sender::new(None),
        }
    }

    /// The keys, none before the first fetch.
    pub(super) fn current(&self) -> Arc<Fetched> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for keys to be fetched, and waits a moment until `is_settled` says that those suffice that are there. It is told whether their
    /// fetch began after the question.
    pub(super) async fn fetched_until(&self, mut is_settled: impl FnMut(bool) -> bool) {
        let asked = Instant::now();
        let mut brought = self.brought.subscribe();
        self.wanted.notify_one();
        let settled = brought.wait_for(|began| is_settled(began.is_some_and(|began| began >= asked)));
        // In time or not: whoever asked looks again.
        let _ = timeout_at(asked + self.pace.patience, settled).await;
    }

    /// Fetches keys, for ever.
    pub(super) async fn keep(&self) {
        // When this begins anew, the keys stay what they are: verified tokens refer to their version, and they become stale all the same.
        let (mut bytes_before, mut version, mut failures) = (Vec::new(), self.current().version, 0_u32);
        let (mut brought_at, mut wanted_at): (Option<Instant>, Option<Instant>) = (*self.brought.borrow(), None);
        loop {
            let began = Instant::now();
            match self.bytes().await.and_then(|bytes| {
                let (keys, passed_over) = KeySet::from_published(&bytes, &self.algorithms)?;
                if keys.is_empty() {
                    return Err(format!(
                        "no key can be used: {}",
                        passed_over.first().map_or("there is none", |why| why)
                    ));
                }
                Ok((bytes, keys, passed_over))
            }) {
                Ok((bytes, keys, passed_over)) => {
                    if bytes != bytes_before {
                        version += 1;
                        info!(issuer = %self.issuer, keys = keys.told(), "keys fetched");
                        for why in passed_over {
                            warn!(issuer = %self.issuer, why, "a published key is passed over");
                        }
                        bytes_before = bytes;
                        self.replace(Fetched { keys, version });
                    }
                    (brought_at, failures) = (Some(began), 0);
                    self.brought.send_replace(Some(began));
                }
                Err(why) => {
                    failures += 1;
                    if failures.is_power_of_two() {
                        warn!(issuer = %self.issuer, why, "keys not fetched; those that are known stay for a day");
                    }
                    if brought_at.is_some_and(|at| at.elapsed() >= self.pace.stale_max) {
                        version += 1;
                        bytes_before.clear();
                        self.replace(Fetched { keys: KeySet::default(), version });
                    }
                }
            }
            let is_empty = self.current().keys.is_empty();
            let pause = match failures {
                0 => self.pace.every,
                _ if is_empty => (RETRY_AFTER * 2_u32.saturating_pow(failures - 1)).min(self.pace.at_least),
                _ => self.pace.at_least,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => {
                    // Each by itself at once: after the start, or after a while in which nobody asked.
                    if let Some(before) = wanted_at {
                        sleep_until(before + self.pace.at_least).await;
                    }
                    wanted_at = Some(Instant::now());
                }
            }
        }
    }

    /// Fetches once, and says what there is: for `ydash doctor`.
    ///
    /// # Errors
    /// In words, for the operator.
    pub(super) async fn look(&self) -> Result<(KeySet, Vec<String>), String> {
        KeySet::from_published(&self.bytes().await?, &self.algorithms)
    }

    async fn bytes(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            KeySource::Url(url) => self.fetch.get(url).await,
            KeySource::Discover => {
                let url = self.fetch.discover(&self.issuer).await?;
                self.fetch.get(&url).await
            }
            KeySource::File(_) | KeySource::Secret(_) => Err("nothing is to be fetched".into()),
        }
    }

    fn replace(&self, fetched: Fetched) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fetched);
    }
}
