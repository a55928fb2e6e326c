//! What is for whoever operates the server: numbers, nodes, the inspector.
//!
//! Where tokens are read, an operator shows one. On the address of `admin-listen` nobody is asked: who reaches that is the network's to decide.

use std::net::IpAddr;
use std::time::Instant;

use warp::http::header::HeaderMap;

use crate::http::reply::Problem;
use crate::http::{Site, inspector, token};

/// Somebody who wants to see what operators see.
pub(super) struct Curious {
    pub(super) address: IpAddr,
    pub(super) headers: HeaderMap,
    pub(super) query: String,
}

impl Curious {
    /// Whether they may see numbers and nodes.
    pub(super) async fn check(&self, site: &Site) -> Result<(), Problem> {
        if site.is_admin || !site.authenticator.knows_operators() {
            return Ok(());
        }
        site.addresses.request(self.address, Instant::now()).map_err(Problem::Crowded)?;
        let token = token::find(&self.headers, &self.query);
        let principal = site.authenticator.identify(token.as_deref()).wait().await?;
        site.allowances.call(&principal).map_err(Problem::UserLimit)?;
        match (principal.is_operator(), token) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Problem::NotOperator),
            (false, None) => Err(Problem::Unauthenticated),
        }
    }

    /// Whether they get the page of the inspector. It holds nothing itself, and a link with an operator's token has it behind the `#`,
    /// which comes with no request: what the page shows it asks for with the token.
    pub(super) async fn check_inspector_page(&self, site: &Site) -> Result<(), Problem> {
        if site.inspector_on && site.authenticator.knows_operators() {
            return Ok(());
        }
        self.check_inspector(site).await
    }

    /// Whether they may see rooms, members and documents: while nobody can be asked who they are, only from this machine.
    pub(super) async fn check_inspector(&self, site: &Site) -> Result<(), Problem> {
        let is_local = || inspector::is_local(self.address, &self.headers);
        if !site.inspector_on {
            return Err(Problem::NotLocal);
        }
        if !site.is_admin && !site.authenticator.knows_operators() && !is_local() {
            return Err(Problem::NotLocal);
        }
        self.check(site).await
    }
}
