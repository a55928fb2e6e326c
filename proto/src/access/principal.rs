//! Who stands behind a session or a request, as far as that was verified.

use super::Role;
use crate::id::{DashboardId, IdError};
use crate::time::Timestamp;
use std::sync::Arc;

/// How many grants, groups or workspaces one token may carry.
pub const GRANTS_MAX: usize = 256;

/// Who stands behind a session or a request. Cheap to clone: all sessions of one token share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody in particular: no credentials were shown.
    #[default]
    Anonymous,
    /// A user whom an issuer of tokens vouches for.
    User(Arc<User>),
    /// Whoever holds a share link.
    Link(Arc<Link>),
}

/// A user whom an issuer of tokens vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// Who vouches: the `iss` of the token.
    pub issuer: Arc<str>,
    /// The name by which grants, logs and `~user` know the user. No two issuers vouch for the same id: all but one put a prefix in front.
    pub id: Arc<str>,
    /// What people call the user, to be shown to others.
    pub name: Option<Arc<str>>,
    /// The address, if the issuer says that it has verified it.
    pub verified_email: Option<Arc<str>>,
    /// At most [`GRANTS_MAX`].
    pub groups: Vec<Arc<str>>,
    /// The workspaces that the token speaks for at all; `None` when its issuer does not say, and grants alone decide.
    pub workspaces: Option<Vec<Arc<str>>>,
    /// What the token itself gives, and what its issuer's configuration gives with it. Few more than [`GRANTS_MAX`].
    pub token_grants: Vec<TokenGrant>,
    /// Whether it operates this server: reads metrics, nodes and the inspector. Says nothing about any dashboard.
    pub is_operator: bool,
    /// When the token ends.
    pub valid_until: Option<Timestamp>,
}

/// Whoever holds a share link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Which; never its secret.
    pub id: Arc<str>,
}

impl Principal {
    /// A user of whom nothing is known but the id.
    #[must_use]
    pub fn user(id: &str) -> Principal {
        Principal::User(Arc::new(User { id: id.into(), ..User::default() }))
    }

    /// The name under which edits are logged; `None` for anonymous ones.
    #[must_use]
    pub fn author(&self) -> Option<Arc<str>> {
        match self {
            Principal::Anonymous => None,
            Principal::User(user) => Some(Arc::clone(&user.id)),
            Principal::Link(link) => Some(format!("link:{}", link.id).into()),
        }
    }

    /// The user, if there is one.
    #[must_use]
    pub fn as_user(&self) -> Option<&User> {
        match self {
            Principal::User(user) => Some(user),
            Principal::Anonymous | Principal::Link(_) => None,
        }
    }

    /// Whether it operates this server.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.as_user().is_some_and(|user| user.is_operator)
    }

    /// Whether both are the same user, holders of the same link, or anonymous; whatever else their tokens say.
    #[must_use]
    pub fn is_same(&self, other: &Principal) -> bool {
        match (self, other) {
            (Principal::Anonymous, Principal::Anonymous) => true,
            (Principal::User(one), Principal::User(other)) => one.id == other.id,
            (Principal::Link(one), Principal::Link(other)) => one.id == other.id,
            _ => false,
        }
    }
}

impl User {
    /// Whether the token may be used in that workspace at all.
    #[must_use]
    pub fn speaks_for(&self, workspace: &str) -> bool {
        self.workspaces.as_ref().is_none_or(|known| known.iter().any(|one| **one == *workspace))
    }

    /// The highest role that the token itself gives for a dashboard. Private documents and channels are never covered.
    #[must_use]
    pub fn token_role(&self, dashboard: &DashboardId) -> Option<Role> {
        if !self.speaks_for(dashboard.workspace()) || dashboard.is_reserved() {
            return None;
        }
        self.token_grants.iter().filter(|grant| grant.dashboards.matches(dashboard)).map(|grant| grant.role).max()
    }

    /// Whether it is the user's private document: `~` and exactly the id, in a workspace that the token speaks for.
    #[must_use]
    pub fn owns(&self, dashboard: &DashboardId) -> bool {
        dashboard.name().strip_prefix('~') == Some(&*self.id) && self.speaks_for(dashboard.workspace())
    }
}

/// A role that a token gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenGrant {
    /// For which dashboards.
    pub dashboards: Pattern,
    /// Which.
    pub role: Role,
}

/// Which dashboards a grant is about: one, a folder of them, a workspace, or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// All of every workspace that the token speaks for. No text means that: it is the configuration's to give.
    All,
    /// `acme/sales`.
    Dashboard(DashboardId),
    /// `acme/*`, or `acme/finance/*` with the folder `finance/`: whatever begins with that.
    Below {
        /// The workspace.
        workspace: Arc<str>,
        /// Empty, or the beginning of the name with the slash behind it.
        folder: Arc<str>,
    },
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dashboard (acme/sales), a folder (acme/finance/*) or a workspace (acme/*)")]
pub struct PatternError;

impl From<IdError> for PatternError {
    fn from(_: IdError) -> PatternError {
        PatternError
    }
}

impl Pattern {
    /// Reads `workspace/name`, `workspace/folder/*` or `workspace/*`. A star anywhere else is part of a name.
    ///
    /// # Errors
    /// [`PatternError`] – there can be no such dashboard, or no workspace is named before the star.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let Some(below) = text.strip_suffix("/*") else {
            if text == "*" {
                return Err(PatternError); // Everything everywhere is nobody's to give.
            }
            return Ok(Pattern::Dashboard(DashboardId::parse(text)?));
        };
        let (workspace, folder) = below.split_once('/').unwrap_or((below, ""));
        // A dashboard there has to be possible, and has to be in that workspace.
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let within = DashboardId::new(workspace, &format!("{folder}x"))?;
        if within.workspace() != workspace || within.name() != format!("{folder}x") || within.is_reserved() {
            return Err(PatternError);
        }
        Ok(Pattern::Below { workspace: workspace.into(), folder: folder.into() })
    }

    /// Whether it is about `dashboard`. A folder or a workspace does not cover private documents (`~user`) and channels (`@channel`).
    #[must_use]
    pub fn matches(&self, dashboard: &DashboardId) -> bool {
        match self {
            Pattern::All => !dashboard.is_reserved(),
            Pattern::Dashboard(one) => one == dashboard,
            Pattern::Below { workspace, folder } => {
                **workspace == *dashboard.workspace()
                    && dashboard.name().starts_with(&**folder)
                    && !dashboard.is_reserved()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, dashboard: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&DashboardId::parse(dashboard).unwrap())
    }

    #[test]
    fn a_pattern_is_a_dashboard_a_folder_or_a_workspace() {
        assert!(matches("acme/sales", "acme/sales"));
        assert!(matches("sales", "default/sales"));
        assert!(matches("acme/*", "acme/sales"));
        assert!(matches("acme/*", "acme/finance/2026"));
        assert!(matches("acme/finance/*", "acme/finance/2026"));
        for (pattern, other) in [
            ("acme/sales", "acme/sales2"),
            ("acme/sales", "acme2/sales"),
            ("acme/*", "acme2/sales"),
            ("acme/*", "default/acme"),
            ("acme/finance/*", "acme/finance"),
            ("acme/finance/*", "acme/finance2/x"),
            ("acme/*", "acme/~ada"),
            ("acme/*", "acme/@news"),
            ("default/acme/*", "acme/sales"),
        ] {
            assert!(
                !Pattern::parse(pattern).is_ok_and(|pattern| { pattern.matches(&DashboardId::parse(other).unwrap()) }),
                "{pattern} {other}"
            );
        }
    }

    #[test]
    fn a_pattern_names_its_workspace() {
        for text in ["*", "/*", "*/*", "a b/*", "../*", "acme/../*", "acme/~ada/*", "", "default/acme/*"] {
            assert_eq!(Pattern::parse(text), Err(PatternError), "{text:?}");
        }
    }

    #[test]
    fn a_token_gives_nothing_where_it_does_not_speak() {
        let grants = [("acme/*", Role::Viewer), ("acme/sales", Role::Editor)];
        let grant = |(pattern, role): (&str, Role)| TokenGrant { dashboards: Pattern::parse(pattern).unwrap(), role };
        let mut user = User { token_grants: grants.map(grant).into(), ..User::default() };
        let sales = DashboardId::parse("acme/sales").unwrap();
        assert_eq!(user.token_role(&sales), Some(Role::Editor));
        assert_eq!(user.token_role(&DashboardId::parse("acme/other").unwrap()), Some(Role::Viewer));
        assert_eq!(user.token_role(&DashboardId::parse("other/sales").unwrap()), None);
        user.workspaces = Some(vec!["other".into()]);
        assert_eq!(user.token_role(&sales), None);
    }

    #[test]
    fn a_private_document_belongs_to_exactly_one_user() {
        let mut user = User { id: "ada".into(), ..User::default() };
        user.token_grants = vec![TokenGrant { dashboards: Pattern::All, role: Role::Owner }];
        let private = DashboardId::parse("acme/~ada").unwrap();
        assert!(user.owns(&private));
        assert_eq!(user.token_role(&private), None);
        for other in ["acme/~ad", "acme/~ada2", "acme/~Ada", "acme/ada", "acme/~", "acme/@ada", "acme/~ada/x"] {
            assert!(!user.owns(&DashboardId::parse(other).unwrap()), "{other}");
        }
        user.workspaces = Some(Vec::new());
        assert!(!user.owns(&private));
    }

    #[test]
    fn a_link_is_never_the_user_of_that_name() {
        let link = Principal::Link(Arc::new(Link { id: "ada".into() }));
        assert!(!link.is_same(&Principal::user("ada")));
        assert_eq!(link.author().as_deref(), Some("link:ada"));
        assert!(Principal::user("ada").is_same(&Principal::user("ada")));
        assert_eq!(Principal::Anonymous.author(), None);
    }
}
