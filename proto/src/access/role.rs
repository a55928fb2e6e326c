//! The four roles, and what each may do.

use core::fmt;
use core::str::FromStr;

/// What may be done with a dashboard, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing.
    pub const NONE: Capabilities = Capabilities(0);
    /// See the content, who else is here, and what is announced.
    pub const READ: Capabilities = Capabilities(1);
    /// Be seen: announce awareness.
    pub const PRESENCE: Capabilities = Capabilities(1 << 1);
    /// Edit.
    pub const WRITE: Capabilities = Capabilities(1 << 2);
    /// Send stateless messages to everybody here.
    pub const STATELESS: Capabilities = Capabilities(1 << 3);
    /// See earlier versions and who wrote them.
    pub const HISTORY: Capabilities = Capabilities(1 << 4);
    /// Make links and invite others, with no more than one's own role.
    pub const SHARE: Capabilities = Capabilities(1 << 5);
    /// Change who may do what.
    pub const MANAGE: Capabilities = Capabilities(1 << 6);

    /// Each by itself, with its name.
    pub const ALL: [(&'static str, Capabilities); 7] = [
        ("read", Capabilities::READ),
        ("presence", Capabilities::PRESENCE),
        ("write", Capabilities::WRITE),
        ("stateless", Capabilities::STATELESS),
        ("history", Capabilities::HISTORY),
        ("share", Capabilities::SHARE),
        ("manage", Capabilities::MANAGE),
    ];

    /// All of both.
    #[must_use]
    pub const fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of what is in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Capabilities::ALL.into_iter().filter(move |(_, one)| self.contains(*one)).map(|(name, _)| name)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What a grant gives, from least to most: each may do all that the one before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees the dashboard and is not seen: for screens on walls, by the thousand.
    Watcher,
    /// Sees it, and is seen by the others.
    Viewer,
    /// Edits it.
    Editor,
    /// Decides who may do what with it.
    Owner,
}

/// There is no role of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of watcher, viewer, editor, owner")]
pub struct UnknownRole;

impl Role {
    /// From least to most.
    pub const ALL: [Role; 4] = [Role::Watcher, Role::Viewer, Role::Editor, Role::Owner];

    /// What it may do.
    #[must_use]
    pub const fn capabilities(self) -> Capabilities {
        match self {
            Role::Watcher => Capabilities::READ,
            Role::Viewer => Role::Watcher.capabilities().and(Capabilities::PRESENCE),
            Role::Editor => Role::Viewer
                .capabilities()
                .and(Capabilities::WRITE)
                .and(Capabilities::STATELESS)
                .and(Capabilities::HISTORY),
            Role::Owner => Role::Editor.capabilities().and(Capabilities::SHARE).and(Capabilities::MANAGE),
        }
    }

    /// As it is written in tokens, grants and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Watcher => "watcher",
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Owner => "owner",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    /// Exactly as [`Role::as_str`] writes it.
    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_all_that_the_one_before_it_may_and_more() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[1].capabilities().contains(pair[0].capabilities()));
            assert_ne!(pair[1].capabilities(), pair[0].capabilities());
            assert!(pair[0] < pair[1]);
        }
    }

    #[test]
    fn roles_are_read_exactly_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for text in ["", "Editor", "editor ", "admin", "read-write"] {
            assert_eq!(text.parse::<Role>(), Err(UnknownRole), "{text:?}");
        }
    }

    #[test]
    fn every_capability_has_a_name_and_its_own_bit() {
        let owner: Vec<&str> = Role::Owner.capabilities().names().collect();
        assert_eq!(owner, Capabilities::ALL.map(|(name, _)| name));
        for (at, (_, one)) in Capabilities::ALL.into_iter().enumerate() {
            assert_eq!(one.0, 1 << at);
        }
    }
}
