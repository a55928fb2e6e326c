//! The authenticator that reads tokens: the configured issuers, their keys, and what was verified lately.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, join_all};
use tracing::warn;
use ydash_proto::access::{Access, Admission, Principal, User};
use ydash_proto::time::Timestamp;

use super::cache::{Cache, digest_of};
use super::fetch::{self, Fetch};
use super::issuer::{Issuer, IssuerSettings, KeySource};
use super::keys::{Key, KeySet, NoKey};
use super::published::Published;
use super::token::{TokenError, Unverified, shown};
use super::{Authenticator, Caller, Denied, Eventual, crypto};

/// Lets in by tokens of the configured issuers; without a token, as far as everybody may.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    issuers: Vec<(Issuer, KeysOf)>,
    /// What who shows no token may do.
    anonymous: Option<Access>,
    /// Tokens that were verified lately. Failures are never kept: a token that is refused for a key that is fetched a moment later
    /// would be refused again.
    cache: Mutex<Cache<CachedUser>>,
    /// When what kind of failure was told last.
    told: Mutex<HashMap<&'static str, Instant>>,
}

/// A user, and the keys by which their token was verified: which issuer's, and which set of them.
type CachedUser = (Arc<User>, (usize, u64));

/// Verified tokens that are remembered in each half of the cache.
const CACHE_HALF: usize = 32 << 10;

#[derive(Debug)]
enum KeysOf {
    Fixed(KeySet),
    Published(Published),
}

/// Between two log lines about the same kind of failure: peers cause them at will.
const TELL_AGAIN: Duration = Duration::from_secs(10);

impl Tokens {
    /// Reads what is configured, and the files that it names.
    ///
    /// # Errors
    /// In words, for the operator.
    pub fn new(
        settings: &[IssuerSettings],
        anonymous: Option<Access>,
        duration: impl Fn(&str) -> Result<Duration, String>,
    ) -> Result<Tokens, String> {
        crypto::install();
        let mut issuers: Vec<(Issuer, KeysOf)> = Vec::new();
        let mut fetch = None;
        for settings in settings {
            let issuer = Issuer::new(settings, &duration)?;
            let with = |what: String| format!("issuer {}: {what}", issuer.issuer);
            for (other, _) in &issuers {
                if other.issuer == issuer.issuer {
                    return Err(with("is configured twice".into()));
                }
                if other.prefix() == issuer.prefix() && !other.is_own() && !issuer.is_own() {
                    return Err(with(format!(
                        "needs a `prefix` of its own: {} could vouch for the same ids",
                        other.issuer
                    )));
                }
            }
            let keys = match &issuer.keys {
                KeySource::Secret(secret) => {
                    KeysOf::Fixed(KeySet::from_secret(secret.as_bytes(), &issuer.algorithms).map_err(with)?)
                }
                KeySource::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|error| with(format!("{path}: {error}")))?;
                    let keys = KeySet::from_text(&text, &issuer.algorithms);
                    KeysOf::Fixed(keys.map_err(|error| with(format!("{path}: {error}")))?)
                }
                KeySource::Url(url) => {
                    fetch::parse(url).map_err(&with)?;
                    KeysOf::Published(published(&issuer, &mut fetch)?)
                }
                KeySource::Discover => {
                    fetch::parse(&issuer.issuer).map_err(&with)?;
                    KeysOf::Published(published(&issuer, &mut fetch)?)
                }
            };
            issuers.push((issuer, keys));
        }
        let (cache, told) = (Mutex::new(Cache::new(CACHE_HALF)), Mutex::default());
        Ok(Tokens(Arc::new(Shared { issuers, anonymous, cache, told })))
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// [`TokenError`] – for the operator alone.
    pub async fn verify(&self, token: &str) -> Result<Arc<User>, TokenError> {
        match self.0.verify(token, now()) {
            Err(TokenError::Fetching) => self.0.verify_later(token).await,
            verified => verified,
        }
    }

    /// Looks at every issuer's keys as a start would: for `ydash doctor`.
    pub async fn look(&self) -> Vec<Result<String, String>> {
        let mut findings = Vec::new();
        for (issuer, keys) in &self.0.issuers {
            let told = |keys: &KeySet| format!("issuer {}: {}", issuer.issuer, keys.told());
            match keys {
                KeysOf::Fixed(keys) => findings.push(Ok(told(keys))),
                KeysOf::Published(published) => match published.look().await {
                    Ok((keys, passed_over)) if !keys.is_empty() => {
                        findings.push(Ok(told(&keys)));
                        findings.extend(
                            passed_over
                                .into_iter()
                                .map(|why| Ok(format!("issuer {}: passed over: {why}", issuer.issuer))),
                        );
                    }
                    Ok((_, passed_over)) => findings.push(Err(format!(
                        "issuer {}: no key can be used: {}",
                        issuer.issuer,
                        passed_over.join("; ")
                    ))),
                    Err(why) => findings.push(Err(format!("issuer {}: {why}", issuer.issuer))),
                },
            }
        }
        findings
    }
}

fn published(issuer: &Issuer, fetch: &mut Option<Fetch>) -> Result<Published, String> {
    let fetch = match fetch {
        Some(fetch) => fetch.clone(),
        None => fetch.insert(Fetch::new()?).clone(),
    };
    Ok(Published::new(Arc::clone(&issuer.issuer), issuer.keys.clone(), issuer.algorithms.clone(), fetch))
}

impl Authenticator for Tokens {
    fn identify(&self, token: Option<&str>) -> Eventual<Principal> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Eventual::Now(Ok(Principal::Anonymous));
        };
        match self.0.verify(token, now()) {
            Ok(user) => Eventual::Now(Ok(Principal::User(user))),
            Err(TokenError::Fetching) => {
                let (shared, token) = (Arc::clone(&self.0), token.to_owned());
                Eventual::Later(Box::pin(async move {
                    let verified = shared.verify_later(&token).await;
                    verified.map(Principal::User).map_err(|error| shared.denied(&error))
                }))
            }
            Err(error) => Eventual::Now(Err(self.0.denied(&error))),
        }
    }

    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        let shared = Arc::clone(&self.0);
        let dashboard = caller.dashboard.clone();
        self.identify(caller.token).and_then(move |principal| {
            let given = shared.anonymous.unwrap_or(Access::NONE);
            Ok(Admission::without_records(principal, given, &dashboard))
        })
    }

    fn knows_operators(&self) -> bool {
        true
    }

    fn refusal(&self, principal: &Principal) -> Denied {
        if *principal == Principal::Anonymous { Denied::Unauthenticated } else { Denied::Forbidden }
    }

    fn is_ready(&self) -> bool {
        let has_keys = |keys: &KeysOf| match keys {
            KeysOf::Fixed(_) => true,
            KeysOf::Published(published) => !published.current().keys.is_empty(),
        };
        self.0.issuers.iter().all(|(_, keys)| has_keys(keys))
    }

    fn keep_up(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let published = shared.issuers.iter().filter_map(|(_, keys)| match keys {
                KeysOf::Published(published) => Some(published.keep()),
                KeysOf::Fixed(_) => None,
            });
            join_all(published).await;
        })
    }
}

impl Shared {
    /// Verifies a token, without waiting for anything: [`TokenError::Fetching`] says that waiting may help.
    fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<User>, TokenError> {
        if token.len() > super::TOKEN_BYTES_MAX {
            return Err(TokenError::Long(token.len()));
        }
        let digest = digest_of(token.as_bytes());
        if let Some((user, (at, version))) = self.cache().get(&digest, now)
            && self.version(at) == version
        {
            return Ok(user);
        }
        let unverified = Unverified::read(token)?;
        let named = unverified.issuer()?;
        let found = self.issuers.iter().position(|(issuer, _)| *issuer.issuer == *named);
        let at = found.ok_or_else(|| TokenError::Issuer(shown(named)))?;
        let (issuer, keys) = &self.issuers[at];
        issuer.check_type(unverified.kind.as_deref())?;
        let (kid, algorithm) = (unverified.kid.clone(), unverified.algorithm);
        let told = |why| no_key(why, kid.as_deref(), algorithm);
        let (claims, version) = match keys {
            KeysOf::Fixed(keys) => {
                let key: &Key = keys.find(kid.as_deref(), algorithm).map_err(told)?;
                (unverified.verify(key)?, 0)
            }
            KeysOf::Published(published) => {
                let current = published.current();
                let key = current.keys.find(kid.as_deref(), algorithm).map_err(|why| match why {
                    NoKey::Unknown => TokenError::Fetching,
                    why => told(why),
                })?;
                (unverified.verify(key)?, current.version)
            }
        };
        let verified = issuer.read(&claims, now)?;
        self.check_prefix(issuer, &verified.user.id)?;
        let user = Arc::new(verified.user);
        self.cache().put(digest, (Arc::clone(&user), (at, version)), verified.expires);
        Ok(user)
    }

    /// The same, when keys have been fetched again.
    async fn verify_later(&self, token: &str) -> Result<Arc<User>, TokenError> {
        let unverified = Unverified::read(token)?;
        let named = unverified.issuer()?;
        let found = self.issuers.iter().find(|(issuer, _)| *issuer.issuer == *named);
        let Some((_, KeysOf::Published(published))) = found else { return self.verify(token, now()) };
        let mut verified = Err(TokenError::Fetching);
        published
            .fetched_until(|is_newer| {
                verified = match self.verify(token, now()) {
                    Err(TokenError::Fetching) if is_newer => {
                        Err(no_key(NoKey::Unknown, unverified.kid.as_deref(), unverified.algorithm))
                    }
                    verified => verified,
                };
                verified != Err(TokenError::Fetching)
            })
            .await;
        verified
    }

    /// An id that would be another issuer's is nobody's; only the operator's own secret speaks for all.
    fn check_prefix(&self, issuer: &Issuer, id: &str) -> Result<(), TokenError> {
        let is_taken = |other: &Issuer| {
            let rest = other.prefix().and_then(|prefix| id.strip_prefix(prefix));
            other.issuer != issuer.issuer && rest.is_some_and(|rest| rest.starts_with(':'))
        };
        if !issuer.is_own() && issuer.prefix().is_none() && self.issuers.iter().any(|(other, _)| is_taken(other)) {
            return Err(TokenError::Claims(format!("the user {} would be another issuer's", shown(id))));
        }
        Ok(())
    }

    fn version(&self, at: usize) -> u64 {
        match &self.issuers[at].1 {
            KeysOf::Fixed(_) => 0,
            KeysOf::Published(published) => published.current().version,
        }
    }

    /// What the caller is told, and the operator, in one line per kind and some seconds.
    fn denied(&self, error: &TokenError) -> Denied {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at = told.get(error.kind());
        if at.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            told.insert(error.kind(), Instant::now());
            warn!(%error, "a token is not taken");
        }
        match error {
            TokenError::Expired { ago } => Denied::Expired { ago: *ago },
            TokenError::Fetching => Denied::TryAgain,
            _ => Denied::Unauthenticated,
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache<CachedUser>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_key(why: NoKey, kid: Option<&str>, algorithm: jsonwebtoken::Algorithm) -> TokenError {
    let kid = kid.map_or("none".into(), shown);
    TokenError::Key(match why {
        NoKey::Unknown => format!("kid {kid} is not in the set"),
        NoKey::Algorithm => {
            format!("the key {kid} is not for {algorithm:?}, with which the token says that it is signed")
        }
        NoKey::Unnamed => "it names no kid, and there are several keys".into(),
    })
}

/// The time by the system's clock, as tokens and [`Admission::until`] tell it.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
