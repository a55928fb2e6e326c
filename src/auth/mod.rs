//! Who is asking, and what they may do with one dashboard.
//!
//! An [`Authenticator`] decides per request, and per document on a socket, before anything is loaded. It knows neither HTTP nor rooms: it sees a
//! [`Caller`], so the same decision holds for a socket, a REST call and whatever comes later.

use std::net::IpAddr;
use std::time::Duration;

use ydash_proto::access::{Access, Principal};
use ydash_proto::id::DashboardId;

/// What an authenticator may look at.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where the request comes from; behind a trusted proxy the address that the proxy saw.
    pub address: IpAddr,
    /// The dashboard it is about.
    pub dashboard: &'a DashboardId,
    /// What it shows for itself.
    pub token: Option<&'a str>,
}

/// Who the caller is and what it may do with that dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// As far as verified.
    pub identity: Principal,
    /// For this dashboard.
    pub access: Access,
    /// How long it holds; a client that can is then asked for another token. `None` for the life of the socket.
    pub valid_for: Option<Duration>,
}

/// The caller may not touch this dashboard. It says no more: a refusal never tells whether the dashboard exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access to this dashboard")]
pub struct Denied;

/// Decides who enters.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides about `caller`, without waiting for anything.
    ///
    /// # Errors
    /// [`Denied`] – refuse, permanently: the same caller gets the same answer.
    fn authenticate(&self, caller: &Caller<'_>) -> Result<Admission, Denied>;
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
    fn authenticate(&self, caller: &Caller<'_>) -> Result<Admission, Denied> {
        match self.access {
            Some(access) if !caller.dashboard.is_reserved() => {
                Ok(Admission { identity: Principal::Anonymous, access, valid_for: None })
            }
            _ => Err(Denied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(authenticator: Anonymous, name: &str) -> Result<Access, Denied> {
        let dashboard = DashboardId::new("default", name).unwrap();
        let caller = Caller { address: [127, 0, 0, 1].into(), dashboard: &dashboard, token: Some("any") };
        authenticator.authenticate(&caller).map(|admission| admission.access)
    }

    #[test]
    fn everybody_gets_the_configured_access() {
        assert_eq!(ask(Anonymous::new(Some(Access::EDITOR)), "a"), Ok(Access::EDITOR));
        assert_eq!(ask(Anonymous::new(Some(Access::VIEWER)), "a"), Ok(Access::VIEWER));
        assert_eq!(ask(Anonymous::new(None), "a"), Err(Denied));
    }

    #[test]
    fn reserved_names_need_an_identity() {
        for name in ["~alice", "@approvals"] {
            assert_eq!(ask(Anonymous::new(Some(Access::EDITOR)), name), Err(Denied));
        }
    }
}
