//! Names: dashboards, members and Yjs clients, and the grammar that a dashboard's name must keep.

use crate::version::{Pinned, Version};
use core::fmt;
use std::sync::Arc;

use crate::life::Life;

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
/// Every text that has 1 to 255 bytes of UTF-8 behind its workspace, no control characters, and no segment `.` or `..` between slashes
/// (no URL can say those) names one: [`DashboardId::parse`]. Words that JavaScript objects inherit (`__proto__`, `constructor`) are
/// names like any other: nothing here is looked up as a property. A name that starts with `~` (a user's private document) or `@` (a
/// channel) is reserved: [`DashboardId::is_reserved`].
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
        "name must be 1 to 255 bytes of UTF-8 without control characters, and no segment between slashes `.` or `..`"
    )]
    Name,
}

/// The workspace of dashboards that are named without one.
pub const DEFAULT_WORKSPACE: &str = "default";

pub(crate) const WORKSPACE_BYTES_MAX: usize = 64;
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Begins the names under which stores keep what was deleted.
const TRASH: &str = "@trash/";
/// How much longer those are than what they were: this, a number of ten digits and a slash.
const TRASH_BYTES_MAX: usize = TRASH.len() + 11;
/// Begins the names of versions.
const PAST: &str = "@at/";

impl DashboardId {
    /// The dashboard that `name` means, whatever client says it, on whatever path (percent-decoded) or in whatever message.
    ///
    /// What stands before the first slash is the workspace, if it is 1 to 64 of `A-Z a-z 0-9 . _ -`, does not start with a dot, and
    /// something follows the slash. Otherwise all of it is a name in [`DEFAULT_WORKSPACE`]. `default/` in front says nothing. So two
    /// names mean the same dashboard only if they are the same but for that.
    ///
    /// # Errors
    /// [`IdError::Name`] – nothing of the input is echoed.
    pub fn parse(name: &str) -> Result<DashboardId, IdError> {
        let mut name = name;
        while let Some(rest) = name.strip_prefix(DEFAULT_WORKSPACE).and_then(|rest| rest.strip_prefix('/'))
            && !rest.is_empty()
        {
            name = rest;
        }
        match name.split_once('/') {
            Some((workspace, rest)) if is_workspace(workspace) && !rest.is_empty() => {
                DashboardId::as_kept(workspace, rest)
            }
            _ => DashboardId::as_kept(DEFAULT_WORKSPACE, name),
        }
    }

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
        DashboardId::parse(&format!("{workspace}/{name}"))
    }

    /// What a store has under `full`: also what belongs somewhere else by now, see [`DashboardId::home`].
    ///
    /// # Errors
    /// [`IdError`] – no store has such a name.
    pub fn stored(full: &str) -> Result<DashboardId, IdError> {
        let (workspace, name) = full.split_once('/').ok_or(IdError::Name)?;
        DashboardId::as_kept(workspace, name)
    }

    /// Where a stored dashboard belongs, if not where it is: `default/team/sales` was written when y-websocket's clients had all
    /// their names in [`DEFAULT_WORKSPACE`], and is `team/sales`.
    #[must_use]
    pub fn home(&self) -> Option<DashboardId> {
        DashboardId::parse(&self.full).ok().filter(|home| home != self)
    }

    fn as_kept(workspace: &str, name: &str) -> Result<DashboardId, IdError> {
        if !is_workspace(workspace) {
            return Err(IdError::Workspace);
        }
        if !is_name(name) {
            return Err(IdError::Name);
        }
        let workspace_len = u8::try_from(workspace.len()).expect("at most 64, checked above");
        Ok(DashboardId { full: format!("{workspace}/{name}").into(), workspace_len })
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

    /// Where a store keeps this dashboard while a life of its name lies in the trash: `workspace/@trash/<life>/<name>`. No client reaches that.
    #[must_use]
    pub fn trashed(&self, life: Life) -> DashboardId {
        let full = format!("{}/{TRASH}{life}/{}", self.workspace(), self.name());
        DashboardId { full: full.into(), workspace_len: self.workspace_len }
    }

    /// Whose place in the trash it is.
    #[must_use]
    pub fn of_trash(&self) -> Option<(DashboardId, Life)> {
        let (life, name) = self.name().strip_prefix(TRASH)?.split_once('/')?;
        let dashboard = DashboardId::as_kept(self.workspace(), name).ok()?;
        let life = Life(life.parse().ok()?);
        (dashboard.trashed(life) == *self).then_some((dashboard, life))
    }

    /// The dashboard and the version that a name such as `workspace/@at/-2h/sales` means. `None` for every other name, also if the text
    /// after `@at/` is no [`Version`], or is not followed by the name of a dashboard in the same workspace that is no channel and no
    /// version itself.
    #[must_use]
    pub fn past(&self) -> Option<(DashboardId, Version)> {
        let (version, name) = self.name().strip_prefix(PAST)?.split_once('/')?;
        let dashboard = DashboardId::new(self.workspace(), name).ok()?;
        let is_elsewhere = dashboard.workspace() != self.workspace() || dashboard.name() != name;
        if is_elsewhere || name.starts_with('@') {
            return None;
        }
        Some((dashboard, Version::parse(version)?))
    }

    /// The name of a version of this dashboard, for [`DashboardId::past`].
    ///
    /// # Errors
    /// [`IdError::Name`] – together they are too long.
    pub fn at(&self, version: Pinned) -> Result<DashboardId, IdError> {
        DashboardId::as_kept(self.workspace(), &format!("{PAST}{version}/{}", self.name()))
    }

    /// The dashboard that this is, or that this is a version of.
    #[must_use]
    pub fn present(&self) -> DashboardId {
        self.past().map_or_else(|| self.clone(), |(dashboard, _)| dashboard)
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
    let longer = if s.starts_with(TRASH) { TRASH_BYTES_MAX } else { 0 };
    (1..=NAME_BYTES_MAX + longer).contains(&s.len())
        && !s.chars().any(char::is_control)
        && !s.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogPosition;
    use proptest::prelude::*;

    #[test]
    fn every_dashboard_has_places_in_the_trash_that_no_other_has() {
        for name in ["w/a", "default/~ada", "w/@trash", "w/a/b", &format!("w/{}", "x".repeat(NAME_BYTES_MAX))] {
            let id = DashboardId::stored(name).unwrap();
            for life in [Life(0), Life(u32::MAX)] {
                let place = id.trashed(life);
                assert_eq!(place.of_trash(), Some((id.clone(), life)));
                assert_eq!(DashboardId::stored(place.as_str()), Ok(place.clone()), "a store finds it again");
                assert!(place.is_reserved() && place.home().is_none());
            }
        }
        for name in ["w/a", "w/@trash/x", "w/@trash/01/x", "w/@trash/1", "w/@trash/4294967296/x", "w/@trash/1/./x"] {
            assert_eq!(DashboardId::stored(name).ok().and_then(|id| id.of_trash()), None, "{name}");
        }
    }

    #[test]
    fn a_name_may_mean_a_version_of_a_dashboard() {
        let past = |name: &str| DashboardId::parse(name).unwrap().past();
        let version = |text: &str| Version::parse(text).unwrap();
        let id = |name: &str| DashboardId::parse(name).unwrap();
        for (name, dashboard, of) in [
            ("acme/@at/812/sales", "acme/sales", "812"),
            ("acme/@at/-2h/team/sales", "acme/team/sales", "-2h"),
            ("acme/@at/2026-11-28T02:22:07Z/~ada", "acme/~ada", "2026-11-28T02:22:07Z"),
            ("@at/0/my room", "my room", "0"),
            ("acme/@at/v1a2223f3d0c00001/sales", "acme/sales", "v1a2223f3d0c00001"),
        ] {
            assert_eq!(past(name), Some((id(dashboard), version(of))), "{name}");
            assert_eq!(id(name).present(), id(dashboard));
            assert!(id(name).is_reserved(), "whoever does not ask for a version finds a reserved name");
        }
        for name in [
            "acme/sales",
            "acme/@at",
            "acme/@at/812",
            "acme/@at/812/",
            "acme/@at/yesterday/sales",
            "acme/@at/812/@news",
            "acme/@at/812/@at/811/sales",
            "@at/812/acme/sales",
            "@at/812/default/sales",
            "acme/at/812/sales",
        ] {
            assert_eq!(past(name), None, "{name}");
            assert_eq!(id(name).present(), id(name));
        }
        let position = |position| Pinned::Position(LogPosition(position));
        let at = id("acme/sales").at(position(812)).unwrap();
        assert_eq!((at.as_str(), at.present()), ("acme/@at/812/sales", id("acme/sales")));
        let long = DashboardId::new("w", &"x".repeat(250)).unwrap();
        assert_eq!(long.at(position(u128::MAX)), Err(IdError::Name));
    }

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
    fn every_name_means_one_dashboard() {
        for (name, expected) in [
            ("sales", "default/sales"),
            ("acme/sales", "acme/sales"),
            ("acme/sales/2026", "acme/sales/2026"),
            ("__proto__", "default/__proto__"),
            ("__proto__/constructor", "__proto__/constructor"),
            // Before the slash is no workspace.
            ("my project/board", "default/my project/board"),
            ("user:1/notes", "default/user:1/notes"),
            ("ünï/x", "default/ünï/x"),
            (".hidden/x", "default/.hidden/x"),
            ("/sales", "default//sales"),
            ("//", "default///"),
            ("@doc/1", "default/@doc/1"),
            // Nothing follows it.
            ("acme/", "default/acme/"),
            ("default/", "default/default/"),
            ("default", "default/default"),
            // base64, and what else stock servers take.
            ("q83vASNFZ4m=", "default/q83vASNFZ4m="),
            ("a+b//c/", "default/a+b//c/"),
            ("ab//c/", "ab//c/"),
            (" a ", "default/ a "),
            ("a\\b", "default/a\\b"),
            ("a{b}%7B", "default/a{b}%7B"),
            ("a\u{2028}\u{fffd}b", "default/a\u{2028}\u{fffd}b"),
            ("...", "default/..."),
            // The default workspace says nothing.
            ("default/sales", "default/sales"),
            ("default/acme/sales", "acme/sales"),
            ("default/default/acme/sales", "acme/sales"),
            ("default//sales", "default//sales"),
            ("defaults/sales", "defaults/sales"),
        ] {
            let id = DashboardId::parse(name).expect("a name");
            assert_eq!(id.as_str(), expected, "{name:?}");
            assert_eq!(DashboardId::parse(expected), Ok(id.clone()), "it is what it says");
            assert_eq!(DashboardId::stored(expected), Ok(id.clone()));
            assert_eq!(id.home(), None);
        }
    }

    proptest! {
        #[test]
        fn names_that_differ_mean_different_dashboards(a in "(default/)?[a/.:é]{0,6}", b in "(default/)?[a/.:é]{0,6}") {
            let said = |name: &str| {
                let mut name = name.to_owned();
                while name.len() > "default/".len() && name.starts_with("default/") {
                    name.drain(.."default/".len());
                }
                name
            };
            if let (Ok(one), Ok(other)) = (DashboardId::parse(&a), DashboardId::parse(&b)) {
                prop_assert_eq!(one == other, said(&a) == said(&b));
                prop_assert_eq!(DashboardId::parse(one.as_str()), Ok(one));
            }
        }
    }

    #[test]
    fn what_was_kept_by_an_older_rule_knows_where_it_belongs() {
        for (kept, home) in [
            ("default/team/sales", Some("team/sales")),
            ("default/default/x", Some("default/x")),
            ("default/ünï/x", None),
            ("team/sales", None),
            ("default/sales", None),
        ] {
            let kept = DashboardId::stored(kept).expect("it is kept");
            assert_eq!(kept.home().as_ref().map(DashboardId::as_str), home, "{kept}");
        }
        assert!(DashboardId::stored("sales").is_err());
        assert!(DashboardId::stored("a b/c").is_err());
    }

    #[test]
    fn names_have_from_1_to_255_bytes_behind_their_workspace() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for name in [longest.clone(), format!("acme/{longest}"), format!("{}/{longest}", "w".repeat(64))] {
            assert!(DashboardId::parse(&name).is_ok());
            assert_eq!(DashboardId::parse(&format!("{name}x")), Err(IdError::Name));
        }
        assert_eq!(DashboardId::parse(&format!("{}/{}", "w".repeat(65), "x".repeat(190))), Err(IdError::Name));
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "",
            "..",
            "a/../b",
            "a/..",
            "../a",
            ".",
            "a/./b",
            "\0",
            "a\u{0}b",
            "a\n",
            "a\u{7f}",
            "a\u{85}",
            "default/..",
        ] {
            assert_eq!(DashboardId::parse(name), Err(IdError::Name), "{name:?}");
        }
        for workspace in ["", ".hidden", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(DashboardId::new(workspace, "a"), Err(IdError::Workspace), "{workspace:?}");
        }
        assert_eq!(DashboardId::new("acme", ""), Err(IdError::Name));
    }

    #[test]
    fn private_documents_and_channels_are_reserved() {
        assert!(DashboardId::new("w", "~alice").expect("valid").is_reserved());
        assert!(DashboardId::new("w", "@approvals").expect("valid").is_reserved());
        assert!(DashboardId::parse("@doc/1").expect("valid").is_reserved());
        assert!(!DashboardId::new("w", "alice~").expect("valid").is_reserved());
    }
}
