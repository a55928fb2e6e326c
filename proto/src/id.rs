//! Names: dashboards, members and Yjs clients, and the grammar that a dashboard's name must keep.

use core::fmt;
use std::sync::Arc;

/// A Yjs client id: uint32 in Yjs 13, uint53 in Yjs 14.
pub type ClientId = u64;

/// A Yjs clock: counts the elements that one client id has inserted. Sums stay below 2^31.
pub type Clock = u32;

/// The largest client id that JavaScript can hold exactly (2^53 - 1).
pub const CLIENT_ID_MAX: ClientId = (1 << 53) - 1;

/// One session inside one room; unique on its node for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// One running server, for the life of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:x}", self.0)
    }
}

/// The name of a dashboard: `workspace/name`. Cheap to clone.
///
/// A workspace is 1 to 64 of `A-Z a-z 0-9 . _ -` and does not start with a dot. A name is 1 to 255 bytes of UTF-8 without
/// control characters and backslashes, in segments parted by `/`; no segment is empty, `.` or `..`, and none starts or ends with
/// a space. Words that JavaScript objects inherit (`__proto__`, `constructor`) are names like any other: nothing here is looked
/// up as a property. A name that starts with `~` (a user's private document) or `@` (a channel) is reserved:
/// [`DashboardId::is_reserved`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DashboardId {
    full: Arc<str>,
    workspace_len: u8,
}

/// Why a name is not a dashboard's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The workspace breaks the grammar.
    #[error("workspace must be 1 to 64 characters of A-Z a-z 0-9 . _ - and not start with a dot")]
    Workspace,
    /// The name breaks the grammar.
    #[error(
        "name must be 1 to 255 bytes without control characters and backslashes, and no segment between slashes empty, `.`, `..` or with spaces at its ends"
    )]
    Name,
}

/// The workspace of dashboards that are named without one.
pub const DEFAULT_WORKSPACE: &str = "default";

const WORKSPACE_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 255;

impl DashboardId {
    /// Joins a workspace and a name, both already percent-decoded.
    ///
    /// # Errors
    /// [`IdError`] – names the part that breaks the grammar; nothing of the input is echoed.
    pub fn new(workspace: &str, name: &str) -> Result<DashboardId, IdError> {
        if !is_workspace(workspace) {
            return Err(IdError::Workspace);
        }
        if !is_name(name) {
            return Err(IdError::Name);
        }
        let workspace_len = u8::try_from(workspace.len()).expect("at most 64, checked above");
        Ok(DashboardId { full: format!("{workspace}/{name}").into(), workspace_len })
    }

    /// Parses `workspace/name`; everything after the first slash is the name.
    ///
    /// # Errors
    /// As [`DashboardId::new`].
    pub fn parse(full: &str) -> Result<DashboardId, IdError> {
        let (workspace, name) = full.split_once('/').ok_or(IdError::Name)?;
        DashboardId::new(workspace, name)
    }

    /// Parses `workspace/name`, or `name` for one in [`DEFAULT_WORKSPACE`].
    ///
    /// # Errors
    /// As [`DashboardId::new`].
    pub fn parse_short(name: &str) -> Result<DashboardId, IdError> {
        let (workspace, name) = name.split_once('/').unwrap_or((DEFAULT_WORKSPACE, name));
        DashboardId::new(workspace, name)
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.full[..usize::from(self.workspace_len)]
    }

    /// The name within the workspace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.full[usize::from(self.workspace_len) + 1..]
    }

    /// `workspace/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// Whether it is a user's private document (`~user`) or a channel (`@channel`), which need an identity.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.name().starts_with(['~', '@'])
    }
}

impl fmt::Display for DashboardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for DashboardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

fn is_workspace(s: &str) -> bool {
    (1..=WORKSPACE_BYTES_MAX).contains(&s.len())
        && !s.starts_with('.')
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_name(s: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&s.len())
        && s.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.trim() == segment
                && !segment.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{2028}' | '\u{2029}' | '\u{fffd}'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for (workspace, name) in [
            ("default", "my-room"),
            ("acme.eu", "sales/2026 Q1"),
            ("a", "ünï"),
            ("w", "a%2Fb"),
            ("constructor", "__proto__"),
        ] {
            let id = DashboardId::new(workspace, name).expect("in the grammar");
            assert_eq!((id.workspace(), id.name()), (workspace, name));
            assert_eq!(DashboardId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn a_short_name_is_in_the_default_workspace() {
        for (name, expected) in [
            ("sales", "default/sales"),
            ("acme/sales", "acme/sales"),
            ("acme/sales/2026", "acme/sales/2026"),
            ("__proto__", "default/__proto__"),
        ] {
            assert_eq!(DashboardId::parse_short(name).expect("in the grammar").as_str(), expected);
        }
        for name in ["", " ", "/a", "a/", "ü/a", "a/ "] {
            assert!(DashboardId::parse_short(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "/", "a//b", "..", "a/../b", ".", "\0", "a\u{0}b", "a\\b", " a", "a\n", &long] {
            assert_eq!(DashboardId::new("default", name), Err(IdError::Name), "{name:?}");
        }
        for workspace in ["", ".hidden", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(DashboardId::new(workspace, "a"), Err(IdError::Workspace), "{workspace:?}");
        }
    }

    #[test]
    fn private_documents_and_channels_are_reserved() {
        assert!(DashboardId::new("w", "~alice").expect("valid").is_reserved());
        assert!(DashboardId::new("w", "@approvals").expect("valid").is_reserved());
        assert!(!DashboardId::new("w", "alice~").expect("valid").is_reserved());
    }
}
