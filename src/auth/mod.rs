//! Who is asking, and what they may do with one dashboard.
//!
//! An [`Authenticator`] decides per request, and per document on a socket, before anything is loaded. It knows neither HTTP nor rooms: it sees a
//! [`Caller`], so the same decision holds for a socket, a REST call and whatever comes later. [`Tokens`] reads signed tokens; [`Hook`] asks
//! the operator's service; [`Anonymous`] asks nobody for anything.

mod cache;
mod crypto;
mod fetch;
mod hook;
mod issuer;
mod json;
mod keys;
mod link;
mod mint;
mod published;
mod replaceable;
mod token;
mod tokens;

#[cfg(test)]
mod attacks;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use tokio::time::{Instant, sleep_until};
use ydash_proto::access::{Access, Admission, Principal};
use ydash_proto::id::DashboardId;

pub use hook::{Hook, HookSettings};
pub use issuer::{IssuerSettings, OWN, Preset};
pub use link::{NewLink, ShownLink, mark, new_link, read_link};
pub use mint::{Minting, mint, new_key, new_secret};
pub use replaceable::Replaceable;
pub use token::{TOKEN_BYTES_MAX, TokenError};
pub use tokens::{Tokens, now};

/// The address and the origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whence {
    /// The client's address; behind a trusted proxy, the one that the proxy saw.
    pub address: IpAddr,
    /// The origin of the page, as its browser says. Clients other than browsers can say anything.
    pub origin: Option<Arc<str>>,
}

/// A token that is kept to be asked about again. It is written into no log.
#[derive(Clone)]
pub struct KeptToken(pub Arc<str>);

impl core::fmt::Debug for KeptToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("***")
    }
}

/// What an authenticator may look at.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its address and origin.
    pub from: &'a Whence,
    /// The dashboard it is about.
    pub dashboard: &'a DashboardId,
    /// What it shows for itself.
    pub token: Option<&'a str>,
}

/// Why somebody is not let in. It says no more: a refusal never tells whether the dashboard exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is clear who asks, and they may not touch this dashboard: permanent until somebody changes that.
    #[error("no access to this dashboard")]
    Forbidden,
    /// No token, or one that is not taken: permanent with this token.
    #[error("no token that is taken")]
    Unauthenticated,
    /// The token is over. Whoever has one usually gets another.
    #[error("the token ended {} s ago", .ago.as_secs())]
    Expired {
        /// Since when.
        ago: Duration,
    },
    /// It cannot be decided at the moment.
    #[error("not to be decided at the moment")]
    TryAgain,
}

/// A decision that is there, or will be within seconds.
pub enum Eventual<T> {
    /// Nothing had to be waited for.
    Now(Result<T, Denied>),
    /// Something has to be asked elsewhere first.
    Later(BoxFuture<'static, Result<T, Denied>>),
}

/// The shortest time between a question and its refusal.
///
/// Records of dashboards that are in use are in memory, and all others have to be read: a refusal that came at once would show which names
/// are in use. Reading a record from a store that is well takes less than this.
pub const REFUSED_AFTER: Duration = Duration::from_millis(20);

impl<T: Send + 'static> Eventual<T> {
    /// What follows from it.
    pub fn and_then<U>(self, then: impl FnOnce(T) -> Result<U, Denied> + Send + 'static) -> Eventual<U> {
        match self {
            Eventual::Now(verdict) => Eventual::Now(verdict.and_then(then)),
            Eventual::Later(verdict) => Eventual::Later(verdict.map(|verdict| verdict.and_then(then)).boxed()),
        }
    }

    /// Holds a refusal back until [`REFUSED_AFTER`] has passed.
    pub fn refused_late(self) -> Eventual<T> {
        let decided = match self {
            Eventual::Now(Ok(admitted)) => return Eventual::Now(Ok(admitted)),
            decided => decided,
        };
        let told_at = Instant::now() + REFUSED_AFTER;
        let held = async move {
            let decided = decided.wait().await;
            if matches!(decided, Err(Denied::Forbidden | Denied::Unauthenticated)) {
                sleep_until(told_at).await;
            }
            decided
        };
        Eventual::Later(held.boxed())
    }

    /// Waits for it.
    ///
    /// # Errors
    /// [`Denied`] – as it was decided.
    pub async fn wait(self) -> Result<T, Denied> {
        match self {
            Eventual::Now(verdict) => verdict,
            Eventual::Later(verdict) => verdict.await,
        }
    }
}

/// Decides who enters.
pub trait Authenticator: Send + Sync + 'static {
    /// Says who shows `token`: nobody in particular, if it shows none.
    fn identify(&self, token: Option<&str>) -> Eventual<Principal> {
        let _ = token;
        Eventual::Now(Ok(Principal::Anonymous))
    }

    /// Decides about `caller`, as far as nothing is written down about the dashboard: with that, whoever is let in as nothing may still do something.
    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission>;

    /// Whether it can tell who operates the server. If not, what operators see is for whoever reaches the port.
    fn knows_operators(&self) -> bool {
        false
    }

    /// Whether what it says of a token may change while the token stays the same, so that live sessions have it asked again.
    fn asks_again(&self) -> bool {
        false
    }

    /// What somebody is told who may do nothing.
    fn refusal(&self, principal: &Principal) -> Denied {
        let _ = principal;
        Denied::Forbidden
    }

    /// Whether it can decide about everybody already: `/readyz` asks.
    fn is_ready(&self) -> bool {
        true
    }

    /// What it has to do all the time, such as fetching keys again. It is stopped when the server ends.
    fn keep_up(&self) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// Asks nobody for anything: everybody is [`Principal::Anonymous`], whatever token they show.
///
/// Private documents (`~user`) and channels (`@channel`) belong to identities, so nobody enters them here.
#[derive(Clone, Copy, Debug)]
pub struct Anonymous {
    access: Option<Access>,
}

impl Anonymous {
    /// Lets everybody in with `access`, or nobody.
    #[must_use]
    pub fn new(access: Option<Access>) -> Anonymous {
        Anonymous { access }
    }
}

impl Authenticator for Anonymous {
    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        let given = self.access.unwrap_or(Access::NONE);
        Eventual::Now(Ok(Admission::without_records(Principal::Anonymous, given, caller.dashboard)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(authenticator: Anonymous, name: &str) -> Result<Access, Denied> {
        let dashboard = DashboardId::new("default", name).unwrap();
        let from = Whence { address: [127, 0, 0, 1].into(), origin: None };
        let caller = Caller { from: &from, dashboard: &dashboard, token: Some("any") };
        match authenticator.authenticate(&caller) {
            Eventual::Now(verdict) => verdict.map(|admission| admission.access),
            Eventual::Later(_) => panic!("nothing is to be waited for"),
        }
    }

    #[test]
    fn everybody_gets_the_configured_access() {
        assert_eq!(ask(Anonymous::new(Some(Access::EDITOR)), "a"), Ok(Access::EDITOR));
        assert_eq!(ask(Anonymous::new(Some(Access::VIEWER)), "a"), Ok(Access::VIEWER));
        assert_eq!(ask(Anonymous::new(None), "a"), Ok(Access::NONE));
    }

    #[test]
    fn reserved_names_need_an_identity() {
        for name in ["~alice", "@approvals"] {
            assert_eq!(ask(Anonymous::new(Some(Access::EDITOR)), name), Ok(Access::NONE));
        }
    }
}
