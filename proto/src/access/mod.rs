//! Who a session is and what it may do.
//!
//! A [`Principal`] is who stands behind a session or a request, as far as that was verified. A [`Role`] is what a grant gives; it stands for
//! a set of [`Capabilities`]. An [`Access`] is what all grants together allow one principal to do with one dashboard. Nothing here ever takes
//! a capability away: what is not given is not there.

mod address;
mod admission;
mod condition;
mod decide;
mod explain;
mod grant;
pub mod moment;
mod principal;
mod record;
mod role;

pub use address::{Address, Network};
pub use admission::{Admission, Target};
pub use condition::{CONDITIONS_MAX, ConditionError, Conditions, Unmet, Weekly};
pub use decide::{Asking, Decision, Known, Records, decide, workspace_access};
pub use explain::{Explanation, explain, shown};
pub use grant::{Grant, GrantError, SUBJECT_BYTES_MAX, Subject, is_name};
pub use moment::{format as format_moment, parse as parse_moment};
pub use principal::{GRANTS_MAX, Link, Pattern, PatternError, Principal, TokenGrant, User};
pub use record::{
    BLOCKED_MAX, Blocked, Entry, Invitation, LABEL_CHARS_MAX, LINK_ORIGINS_MAX, LINK_USES_MAX, RECORD_GRANTS_MAX,
    RECORD_LINKS_MAX, Record, RecordError, ShareLink, Taken,
};
pub use role::{Capabilities, Role, UnknownRole};

/// What a principal may do with one dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// All of it.
    pub capabilities: Capabilities,
}

impl Access {
    /// Nothing: whoever has no more may not know whether the dashboard exists.
    pub const NONE: Access = Access { capabilities: Capabilities::NONE };
    /// What a [`Role::Viewer`] may do.
    pub const VIEWER: Access = Access::of(Role::Viewer);
    /// What a [`Role::Editor`] may do.
    pub const EDITOR: Access = Access::of(Role::Editor);

    /// What `role` may do.
    #[must_use]
    pub const fn of(role: Role) -> Access {
        Access { capabilities: role.capabilities() }
    }

    /// What either of two grants allows.
    #[must_use]
    pub const fn and(self, other: Access) -> Access {
        Access { capabilities: self.capabilities.and(other.capabilities) }
    }

    /// Whether all of `wanted` is allowed.
    #[must_use]
    pub const fn may(self, wanted: Capabilities) -> bool {
        self.capabilities.contains(wanted)
    }

    /// Whether edits are taken.
    #[must_use]
    pub const fn may_edit(self) -> bool {
        self.may(Capabilities::WRITE)
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.capabilities.is_empty()
    }

    /// The highest role that may do no more than this, to be shown to people; `None` when even a watcher may do more.
    #[must_use]
    pub fn role(self) -> Option<Role> {
        Role::ALL.iter().rev().copied().find(|role| self.may(role.capabilities()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_named_by_the_highest_role_that_it_covers() {
        assert_eq!(Access::NONE.role(), None);
        for role in Role::ALL {
            assert_eq!(Access::of(role).role(), Some(role));
        }
        let both = Access::of(Role::Watcher).and(Access { capabilities: Capabilities::MANAGE });
        assert_eq!(both.role(), Some(Role::Watcher));
        assert!(!both.may_edit());
    }

    #[test]
    fn only_editors_and_owners_edit() {
        let editing: Vec<Role> = Role::ALL.into_iter().filter(|role| Access::of(*role).may_edit()).collect();
        assert_eq!(editing, [Role::Editor, Role::Owner]);
    }
}
