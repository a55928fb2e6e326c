//! Who was let in to a dashboard, as what, and until when.

use super::{Access, Address, Asking, Principal, Records, decide};
use crate::id::DashboardId;
use crate::time::Timestamp;

/// Who was let in to a dashboard, as what, and until when. It goes from the handshake, the message or the request that showed a token through
/// the session into the room, and to the log from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Who, as far as verified.
    pub principal: Principal,
    /// What everybody, or everybody whom this authenticator lets in, may do, whatever else is written down.
    pub given: Access,
    /// What it may do, all in all.
    pub access: Access,
    /// Until when that holds; a client that can is asked for another token before. `None` for the life of the session.
    pub until: Option<Timestamp>,
    /// From where, if that is known: grants may be limited to networks.
    pub address: Option<Address>,
    /// What is written down about the dashboard, as of a moment ago. The room takes it, and decides by the newest that it knows.
    pub records: Option<Box<Records>>,
}

/// A dashboard, and who goes there as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub dashboard: DashboardId,
    /// Who, and as what.
    pub admission: Admission,
}

impl Admission {
    /// Everybody as nobody in particular, as what is given.
    #[must_use]
    pub fn anonymous(given: Access) -> Admission {
        Admission { given, access: given, ..Admission::default() }
    }

    /// Whether the other one lets the same in as the same, if not for the same time.
    #[must_use]
    pub fn is_alike(&self, other: &Admission) -> bool {
        self.principal == other.principal && self.given == other.given && self.access == other.access
    }

    /// What a principal may do with a dashboard of which nothing is written down: what is given to everybody, what its token says, and with
    /// its own private document whatever an editor may.
    #[must_use]
    pub fn without_records(principal: Principal, given: Access, dashboard: &DashboardId) -> Admission {
        // Those belong to somebody: what everybody may do is about the others.
        let given = if dashboard.present().is_reserved() { Access::NONE } else { given };
        let until = principal.as_user().and_then(|user| user.valid_until);
        let asking = Asking { principal: &principal, given, address: None };
        let access = decide(&asking, &Records::none(dashboard.clone()), Timestamp::default()).access;
        Admission { given, access, until, principal, ..Admission::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pattern, Role, TokenGrant, User};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn without_records_there_is_what_is_given_and_what_the_token_says() {
        let grant = TokenGrant { dashboards: Pattern::parse("acme/*").unwrap(), role: Role::Editor };
        let user = User { id: "ada".into(), token_grants: vec![grant], ..User::default() };
        let ada = Principal::User(Arc::new(user));
        let access = |principal: &Principal, given, name| {
            Admission::without_records(principal.clone(), given, &DashboardId::parse(name).unwrap()).access
        };
        assert_eq!(access(&ada, Access::NONE, "acme/sales"), Access::EDITOR);
        assert_eq!(access(&ada, Access::NONE, "other/sales"), Access::NONE);
        assert_eq!(access(&ada, Access::VIEWER, "other/sales"), Access::VIEWER);
        assert_eq!(access(&ada, Access::VIEWER, "acme/~ada"), Access::EDITOR);
        assert_eq!(access(&ada, Access::EDITOR, "acme/~bob"), Access::NONE);
        assert_eq!(access(&ada, Access::EDITOR, "acme/@news"), Access::NONE);
        assert_eq!(access(&Principal::Anonymous, Access::EDITOR, "acme/~ada"), Access::NONE);
        assert_eq!(access(&Principal::Anonymous, Access::EDITOR, "acme/sales"), Access::EDITOR);
        // Versions are for whoever may see the history of the dashboard, to read.
        assert_eq!(access(&ada, Access::NONE, "acme/@at/812/sales"), Access::VIEWER);
        assert_eq!(access(&ada, Access::NONE, "other/@at/812/sales"), Access::NONE);
        assert_eq!(access(&ada, Access::VIEWER, "other/@at/812/sales"), Access::NONE, "a viewer sees no history");
        assert_eq!(access(&ada, Access::NONE, "acme/@at/-2h/~ada"), Access::VIEWER);
        assert_eq!(access(&ada, Access::EDITOR, "acme/@at/-2h/~bob"), Access::NONE);
        assert_eq!(access(&ada, Access::EDITOR, "acme/@at/yesterday/sales"), Access::NONE);
        assert_eq!(access(&Principal::Anonymous, Access::EDITOR, "acme/@at/-2h/~ada"), Access::NONE);
        assert_eq!(access(&Principal::Anonymous, Access::EDITOR, "acme/@at/-2h/sales"), Access::VIEWER);
    }
}
