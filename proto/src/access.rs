//! Who a session is and what it may do.

use std::sync::Arc;

/// Who stands behind a session, as far as the server has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody in particular: no credentials were asked for.
    #[default]
    Anonymous,
    /// A user that an authenticator vouches for.
    User(Arc<str>),
}

impl Identity {
    /// The name under which edits are logged; `None` for anonymous ones.
    #[must_use]
    pub fn author(&self) -> Option<&str> {
        match self {
            Identity::Anonymous => None,
            Identity::User(name) => Some(name),
        }
    }
}

/// What a session may do with its dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads and shows its presence; its edits are dropped and counted.
    ReadOnly,
    /// Reads and edits.
    ReadWrite,
}

impl Access {
    /// Whether edits are taken.
    #[must_use]
    pub fn may_edit(self) -> bool {
        self == Access::ReadWrite
    }
}
