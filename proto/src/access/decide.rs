//! Who may do what with one dashboard at one moment: the union of everything that is given.
//!
//! Nothing that is given takes anything away, so order never matters, and whoever asks why can be told. What is not given is not there:
//! no record, an unknown role or an unknown condition mean nothing. Two things stand above grants: a user who is blocked may do nothing,
//! and a private document (`~user`) is for that user alone.

use super::Access;
use super::address::Address;
use super::condition::Unmet;
use super::grant::{Grant, GrantError, Subject};
use super::principal::{Pattern, Principal, TokenGrant};
use super::record::{Blocked, Entry, Record, ShareLink};
use super::role::{Capabilities, Role};
use crate::id::DashboardId;
use crate::time::Timestamp;
use std::sync::Arc;

/// Everything that is written down about who may do what with one dashboard. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// Of which dashboard.
    pub of: DashboardId,
    /// Of its workspace.
    pub workspace: Known<Record>,
    /// Its own.
    pub dashboard: Known<Record>,
    /// Of the server.
    pub blocked: Known<Blocked>,
}

/// Something that is written down, as of one version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known<T> {
    /// Grows with every change. 0 if nothing was ever written.
    pub version: u64,
    /// What it says.
    pub record: Arc<T>,
}

impl<T> Known<T> {
    /// Takes what is of a later version. Says whether it was.
    pub fn learn(&mut self, other: Known<T>) -> bool {
        let is_later = other.version > self.version;
        if is_later {
            *self = other;
        }
        is_later
    }
}

impl Records {
    /// Nothing is written down.
    #[must_use]
    pub fn none(of: DashboardId) -> Records {
        Records { of, workspace: Known::default(), dashboard: Known::default(), blocked: Known::default() }
    }

    /// Takes what is of later versions: what was heard of late must not come back. Says whether anything was.
    pub fn learn(&mut self, other: Records) -> bool {
        let workspace = self.workspace.learn(other.workspace);
        let dashboard = self.dashboard.learn(other.dashboard);
        let blocked = self.blocked.learn(other.blocked);
        workspace || dashboard || blocked
    }
}

/// Somebody who wants to do something with a dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What they may do whatever is written down, as `anonymous-access` and other authenticators give it.
    pub given: Access,
    /// From where, if that is known.
    pub address: Option<Address>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What may be done.
    pub access: Access,
    /// Until when that holds if nothing else changes; `None` if no time changes it.
    pub until: Option<Timestamp>,
}

/// Decides. Users who may see the history of a dashboard may read versions of it, and be seen there; nobody may do more with a version.
#[must_use]
pub fn decide(asking: &Asking<'_>, records: &Records, now: Timestamp) -> Decision {
    if let Some((present, _)) = records.of.past() {
        let decision = decide(asking, &Records { of: present, ..records.clone() }, now);
        let seen = if decision.access.may(Capabilities::PRESENCE) { Access::VIEWER } else { Access::of(Role::Watcher) };
        let access = if decision.access.may(Capabilities::HISTORY) { seen } else { Access::NONE };
        return Decision { access, ..decision };
    }
    let mut decision = Decision::default();
    consider(asking, records, now, |considered| {
        if considered.outcome == Outcome::Counts {
            decision.access = decision.access.and(considered.gives);
        }
        decision.until = decision.until.into_iter().chain(considered.changes_at).min();
    });
    decision
}

/// What somebody may do in a whole workspace: by its record and by their token, neither of which may be for some folder only.
#[must_use]
pub fn workspace_access(asking: &Asking<'_>, records: &Records, now: Timestamp) -> Access {
    let mut access = Access::NONE;
    consider(asking, records, now, |considered| {
        let is_for_all = match considered.what {
            What::Workspace(grant) => grant.folder.is_none(),
            What::Token(TokenGrant { dashboards: Pattern::Below { folder, .. }, .. }) => folder.is_empty(),
            What::Token(TokenGrant { dashboards: Pattern::All, .. }) => true,
            _ => false,
        };
        if is_for_all && considered.outcome == Outcome::Counts {
            access = access.and(considered.gives);
        }
    });
    access
}

/// Something that was looked at for a decision.
#[derive(Clone, Debug)]
pub(super) struct Considered<'a> {
    pub(super) what: What<'a>,
    /// What it gives where it counts.
    pub(super) gives: Access,
    pub(super) outcome: Outcome<'a>,
    /// When the outcome changes by time.
    pub(super) changes_at: Option<Timestamp>,
}

/// What was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Given,
    Private,
    Blocked,
    Workspace(&'a Grant),
    Dashboard(&'a Grant),
    Unknown(&'a Entry),
    Token(&'a TokenGrant),
    Link(&'a ShareLink),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    Counts,
    /// It is for somebody else.
    OtherSubject,
    /// It is for other dashboards.
    OtherFolder,
    /// The token does not speak for the workspace.
    OtherWorkspace,
    /// The dashboard does without its workspace's grants.
    Restricted,
    Unmet(Unmet),
    NotUnderstood(&'a GrantError),
}

/// Looks at everything there is, and hands it to `each`.
pub(super) fn consider<'a>(
    asking: &Asking<'a>,
    records: &'a Records,
    now: Timestamp,
    mut each: impl FnMut(Considered<'a>),
) {
    let counts = |what, gives| Considered { what, gives, outcome: Outcome::Counts, changes_at: None };
    let Asking { principal, given, .. } = *asking;
    let (dashboard, workspace, own) = (&records.of, &*records.workspace.record, &*records.dashboard.record);
    let user = principal.as_user();
    if user.is_some_and(|user| records.blocked.record.users.contains_key(&user.id)) {
        return each(counts(What::Blocked, Access::NONE));
    }
    if dashboard.is_reserved() {
        // What is written down about a private document counts as little as what is about the workspace. Channels are the server's.
        let owner = dashboard.name().strip_prefix('~');
        if user.is_some_and(|user| Some(&*user.id) == owner && user.speaks_for(dashboard.workspace())) {
            each(counts(What::Private, Access::EDITOR));
        }
        return;
    }
    if !given.is_none() {
        each(counts(What::Given, given));
    }
    // Whoever owns the workspace of a restricted dashboard may still let somebody in.
    let of_workspace = |role: Role| match (own.restricted, role) {
        (false, role) => Access::of(role),
        (true, Role::Owner) => Access { capabilities: Capabilities::MANAGE },
        (true, _) => Access::NONE,
    };
    let is_left_out = |gives: Access| own.restricted && gives.is_none();

    for entry in &workspace.grants {
        let Entry::Grant(grant) = entry else {
            each(not_understood(entry));
            continue;
        };
        let gives = of_workspace(grant.role);
        let is_in_folder = grant.folder.as_ref().is_none_or(|folder| dashboard.name().starts_with(&**folder));
        let outcome = if !is_in_folder { Some(Outcome::OtherFolder) } else { None };
        let outcome = outcome.or(is_left_out(gives).then_some(Outcome::Restricted));
        each(considered(asking, dashboard, What::Workspace(grant), grant, gives, outcome, now));
    }
    for entry in &own.grants {
        let Entry::Grant(grant) = entry else {
            each(not_understood(entry));
            continue;
        };
        each(considered(asking, dashboard, What::Dashboard(grant), grant, Access::of(grant.role), None, now));
    }
    for grant in user.iter().flat_map(|user| &user.token_grants) {
        let gives = match grant.dashboards {
            Pattern::Dashboard(_) => Access::of(grant.role),
            Pattern::Below { .. } | Pattern::All => of_workspace(grant.role),
        };
        let outcome = if !grant.dashboards.matches(dashboard) {
            Outcome::OtherFolder
        } else if !user.is_some_and(|user| user.speaks_for(dashboard.workspace())) {
            Outcome::OtherWorkspace
        } else if is_left_out(gives) {
            Outcome::Restricted
        } else {
            Outcome::Counts
        };
        each(Considered { what: What::Token(grant), gives, outcome, changes_at: None });
    }
    if let Principal::Link(link) = principal
        && let Some(link) = own.link(&link.id)
    {
        let outcome = match link.when.check(asking.address, now) {
            Ok(()) => Outcome::Counts,
            Err(unmet) => Outcome::Unmet(unmet),
        };
        let changes_at = link.when.changes_at(now);
        each(Considered { what: What::Link(link), gives: Access::of(link.role), outcome, changes_at });
    }
}

fn considered<'a>(
    asking: &Asking<'a>,
    dashboard: &DashboardId,
    what: What<'a>,
    grant: &Grant,
    gives: Access,
    outcome: Option<Outcome<'a>>,
    now: Timestamp,
) -> Considered<'a> {
    if let Some(outcome) = outcome {
        return Considered { what, gives, outcome, changes_at: None };
    }
    if !grant.subject.means(asking.principal, dashboard.workspace()) {
        let is_foreign = |id: &Arc<str>| asking.principal.as_user().is_some_and(|user| user.id == *id);
        let outcome = match &grant.subject {
            Subject::User(id) if is_foreign(id) => Outcome::OtherWorkspace,
            _ => Outcome::OtherSubject,
        };
        return Considered { what, gives, outcome, changes_at: None };
    }
    let outcome = match grant.when.check(asking.address, now) {
        Ok(()) => Outcome::Counts,
        Err(unmet) => Outcome::Unmet(unmet),
    };
    Considered { what, gives, outcome, changes_at: grant.when.changes_at(now) }
}

fn not_understood(entry: &Entry) -> Considered<'_> {
    let outcome = match entry {
        Entry::Unknown { why, .. } => Outcome::NotUnderstood(why),
        Entry::Grant(_) => Outcome::OtherSubject,
    };
    Considered { what: What::Unknown(entry), gives: Access::NONE, outcome, changes_at: None }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::condition::tests::conditions;
    use super::super::{Link, User};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp(1_795_832_527_000);

    fn id(dashboard: &str) -> DashboardId {
        DashboardId::parse(dashboard).unwrap()
    }

    fn known<T>(record: T) -> Known<T> {
        Known { version: 1, record: Arc::new(record) }
    }

    pub(in super::super) fn records(workspace: Value, dashboard: Value) -> Records {
        let record = |value: Value, in_workspace| known(Record::default().with_asked(&value, in_workspace).unwrap());
        let (workspace, dashboard) = (record(workspace, true), record(dashboard, false));
        Records { workspace, dashboard, ..Records::none(id("acme/sales")) }
    }

    fn nothing() -> Value {
        json!({ "grants": [] })
    }

    fn grant(subject: &str, role: &str) -> Value {
        json!({ "grants": [{ "subject": subject, "role": role }] })
    }

    fn role(records: &Records, principal: &Principal, dashboard: &str) -> Option<Role> {
        access(records, principal, dashboard).role()
    }

    fn access(records: &Records, principal: &Principal, dashboard: &str) -> Access {
        let records = Records { of: id(dashboard), ..records.clone() };
        decide(&Asking { principal, given: Access::NONE, address: None }, &records, NOW).access
    }

    #[test]
    fn absent_means_nothing() {
        for principal in [Principal::Anonymous, Principal::user("ada"), link("l1")] {
            assert_eq!(role(&Records::none(id("acme/sales")), &principal, "acme/sales"), None);
        }
    }

    fn link(id: &str) -> Principal {
        Principal::Link(Arc::new(Link { id: id.into() }))
    }

    #[test]
    fn workspace_and_dashboard_add_up() {
        let records = records(grant("everyone", "viewer"), grant("user:ada", "editor"));
        assert_eq!(role(&records, &Principal::user("ada"), "acme/sales"), Some(Role::Editor));
        assert_eq!(role(&records, &Principal::user("bob"), "acme/sales"), Some(Role::Viewer));
        assert_eq!(role(&records, &Principal::Anonymous, "acme/sales"), None);
    }

    #[test]
    fn a_restricted_dashboard_leaves_the_workspaces_grants_out_and_its_owners_manage_it() {
        let workspace = json!({ "grants": [
            { "subject": "everyone", "role": "editor" }, { "subject": "user:olga", "role": "owner" },
        ] });
        let dashboard = json!({ "restricted": true, "grants": [{ "subject": "user:ada", "role": "viewer" }] });
        let records = records(workspace, dashboard);
        assert_eq!(role(&records, &Principal::user("ada"), "acme/sales"), Some(Role::Viewer));
        assert_eq!(role(&records, &Principal::user("bob"), "acme/sales"), None);
        let olga = access(&records, &Principal::user("olga"), "acme/sales");
        assert!(olga.may(Capabilities::MANAGE) && !olga.may(Capabilities::READ));
        // So it is with what a token says about all of the workspace.
        let token = |pattern, role| {
            let dashboards = Pattern::parse(pattern).unwrap();
            let user = User { token_grants: vec![TokenGrant { dashboards, role }], ..User::default() };
            access(&records, &Principal::User(Arc::new(user)), "acme/sales")
        };
        assert_eq!(token("acme/*", Role::Editor), Access::NONE);
        assert_eq!(token("acme/*", Role::Owner).capabilities, Capabilities::MANAGE);
        assert_eq!(token("acme/sales", Role::Editor), Access::EDITOR);
    }

    #[test]
    fn a_folder_is_the_beginning_of_names() {
        let workspace = json!({ "grants": [{ "subject": "user:ada", "role": "editor", "folder": "finance/" }] });
        let records = records(workspace, nothing());
        for (dashboard, expected) in [
            ("acme/finance/2026", Some(Role::Editor)),
            ("acme/finance/a/b", Some(Role::Editor)),
            ("acme/finance", None),
            ("acme/finance2/x", None),
            ("acme/sales", None),
        ] {
            assert_eq!(role(&records, &Principal::user("ada"), dashboard), expected, "{dashboard}");
        }
    }

    #[test]
    fn a_private_document_is_for_its_user_alone() {
        let all = json!({ "grants": [{ "subject": "public", "role": "owner" }, { "subject": "user:olga", "role": "owner" }] });
        let records = records(all.clone(), all);
        assert_eq!(role(&records, &Principal::user("ada"), "acme/~ada"), Some(Role::Editor));
        for principal in [Principal::user("olga"), Principal::Anonymous, link("ada"), Principal::user("~ada")] {
            assert_eq!(role(&records, &principal, "acme/~ada"), None, "{principal:?}");
        }
        assert_eq!(role(&records, &Principal::user("ada"), "acme/~ada/notes"), None);
        assert_eq!(role(&records, &Principal::user("ada"), "acme/@news"), None);
        let elsewhere = User { id: "ada".into(), workspaces: Some(vec!["other".into()]), ..User::default() };
        assert_eq!(role(&records, &Principal::User(Arc::new(elsewhere)), "acme/~ada"), None);
    }

    #[test]
    fn a_blocked_user_may_do_nothing() {
        let mut records = records(grant("user:ada", "owner"), grant("public", "viewer"));
        let mut blocked = Blocked::default();
        blocked.users.insert("ada".into(), ("root".into(), NOW));
        records.blocked = known(blocked);
        let ada = Principal::user("ada");
        assert_eq!((role(&records, &ada, "acme/sales"), role(&records, &ada, "acme/~ada")), (None, None));
        let asking = Asking { principal: &ada, given: Access::EDITOR, address: None };
        assert_eq!(decide(&asking, &records, NOW), Decision::default());
        assert_eq!(role(&records, &Principal::user("bob"), "acme/sales"), Some(Role::Viewer));
    }

    #[test]
    fn a_link_opens_its_dashboard_while_it_is_there() {
        let asked = json!({ "role": "editor", "not_after": "2026-11-28T03:00:00Z" });
        let made = ShareLink::asked(&asked, "l1".into(), [0; 32], "ada".into(), NOW).unwrap();
        let record = Record { restricted: true, links: vec![made], ..Record::default() };
        let mut records = Records { dashboard: known(record), ..Records::none(id("acme/sales")) };
        assert_eq!(role(&records, &link("l1"), "acme/sales"), Some(Role::Editor));
        assert_eq!(role(&records, &link("l2"), "acme/sales"), None);
        assert_eq!(role(&records, &Principal::user("l1"), "acme/sales"), None);
        let asking = Asking { principal: &link("l1"), given: Access::NONE, address: None };
        let end = Timestamp(NOW.0 / 3_600_000 * 3_600_000 + 3_600_000);
        assert_eq!(decide(&asking, &records, NOW).until, Some(end));
        assert_eq!(decide(&asking, &records, end), Decision::default());
        records.dashboard = Known::default();
        assert_eq!(role(&records, &link("l1"), "acme/sales"), None);
    }

    #[test]
    fn a_workspace_is_managed_by_those_who_own_all_of_it() {
        let workspace = json!({ "grants": [
            { "subject": "user:olga", "role": "owner" },
            { "subject": "user:fred", "role": "owner", "folder": "finance/" },
        ] });
        // A dashboard's own record says nothing of its workspace, and neither does its being restricted, as of no dashboard in particular.
        let records = records(workspace, grant("user:ada", "owner"));
        let token = |pattern| {
            let grant = TokenGrant { dashboards: Pattern::parse(pattern).unwrap(), role: Role::Owner };
            Principal::User(Arc::new(User { token_grants: vec![grant], ..User::default() }))
        };
        for (principal, role) in [
            (Principal::user("olga"), Some(Role::Owner)),
            (Principal::user("fred"), None),
            (Principal::user("ada"), None),
            (Principal::Anonymous, None),
            (token("acme/*"), Some(Role::Owner)),
            (token("acme/finance/*"), None),
            (token("acme/sales"), None),
            (token("other/*"), None),
        ] {
            let records = Records { of: id("acme/finance/x"), ..records.clone() };
            let asking = Asking { principal: &principal, given: Access::EDITOR, address: None };
            assert_eq!(workspace_access(&asking, &records, NOW).role(), role, "{principal:?}");
        }
    }

    #[test]
    fn what_is_heard_late_does_not_come_back() {
        let mut records = records(grant("everyone", "viewer"), nothing());
        let late = records.clone();
        let revoked = Known { version: 2, record: Arc::default() };
        assert!(records.learn(Records { workspace: revoked, ..late.clone() }));
        assert!(!records.learn(late));
        assert_eq!(role(&records, &Principal::user("ada"), "acme/sales"), None);
    }

    #[test]
    fn what_is_given_anyway_is_added() {
        let principal = Principal::Anonymous;
        let asking = Asking { principal: &principal, given: Access::VIEWER, address: None };
        assert_eq!(decide(&asking, &Records::none(id("acme/sales")), NOW).access, Access::VIEWER);
        let records = records(nothing(), grant("public", "editor"));
        assert_eq!(decide(&asking, &records, NOW).access, Access::EDITOR);
    }

    fn grants() -> impl Strategy<Value = Vec<Grant>> {
        let subject = prop_oneof![
            Just(Subject::User("ada".into())),
            Just(Subject::User("bob".into())),
            Just(Subject::Group("sales".into())),
            Just(Subject::Everyone),
            Just(Subject::Public),
        ];
        let folder = proptest::option::of(prop_oneof![Just(Arc::from("finance/")), Just(Arc::from("lobby/"))]);
        let grant = (subject, 0_usize..4, folder, conditions());
        let grant =
            grant.prop_map(|(subject, role, folder, when)| Grant { subject, role: Role::ALL[role], folder, when });
        proptest::collection::vec(grant, 0..6)
    }

    fn asking_ones() -> impl Strategy<Value = (Principal, &'static str, Option<Address>, Timestamp)> {
        let user = |id: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| Arc::from(*group)).collect();
            Principal::User(Arc::new(User { id: id.into(), groups, ..User::default() }))
        };
        let principal = prop_oneof![
            Just(Principal::Anonymous),
            Just(user("ada", &[])),
            Just(user("bob", &["sales"])),
            Just(link("l1")),
        ];
        let dashboard =
            prop_oneof![Just("acme/finance/a"), Just("acme/lobby/b"), Just("acme/sales"), Just("acme/~ada")];
        let address = prop_oneof![Just(None), Just(Address::parse("10.1.2.3")), Just(Address::parse("::1"))];
        (principal, dashboard, address, (0_u64..240_000_000_000).prop_map(Timestamp))
    }

    fn made(name: &str, workspace: &[Grant], dashboard: &[Grant], restricted: bool) -> Records {
        let record = |grants: &[Grant], restricted| {
            let grants = grants.iter().cloned().map(Entry::Grant).collect();
            known(Record { restricted, grants, ..Record::default() })
        };
        let dashboard: Vec<Grant> = dashboard.iter().map(|grant| Grant { folder: None, ..grant.clone() }).collect();
        let (workspace, dashboard) = (record(workspace, false), record(&dashboard, restricted));
        Records { workspace, dashboard, ..Records::none(id(name)) }
    }

    proptest! {
        #[test]
        fn order_never_matters_and_another_grant_never_takes_away(
            workspace in grants(),
            dashboard in grants(),
            restricted: bool,
            (principal, name, address, now) in asking_ones(),
            turn in 0_usize..6,
            without in 0_usize..6,
        ) {
            let asking = Asking { principal: &principal, given: Access::NONE, address };
            let decided = decide(&asking, &made(name, &workspace, &dashboard, restricted), now);

            let turned = |grants: &[Grant]| {
                let mut grants = grants.to_vec();
                let by = turn.min(grants.len());
                grants.rotate_left(by);
                grants
            };
            prop_assert_eq!(decide(&asking, &made(name, &turned(&workspace), &turned(&dashboard), restricted), now), decided);

            let fewer = |grants: &[Grant]| {
                let mut grants = grants.to_vec();
                if without < grants.len() {
                    grants.remove(without);
                }
                grants
            };
            let less = decide(&asking, &made(name, &fewer(&workspace), &fewer(&dashboard), restricted), now);
            prop_assert!(decided.access.may(less.access.capabilities));
            let least = decide(&asking, &made(name, &[], &[], restricted), now).access;
            prop_assert_eq!(least.is_none(), name != "acme/~ada" || principal != Principal::user("ada"));
        }

        #[test]
        fn a_decision_holds_until_it_is_said_to_end(
            workspace in grants(),
            dashboard in grants(),
            restricted: bool,
            (principal, name, address, now) in asking_ones(),
            later in 0.0_f64..1.0,
        ) {
            let asking = Asking { principal: &principal, given: Access::NONE, address };
            let records = made(name, &workspace, &dashboard, restricted);
            let decided = decide(&asking, &records, now);
            let until = decided.until.unwrap_or(Timestamp(now.0 + 30 * 24 * 3_600_000));
            prop_assert!(until > now);
            let between = Timestamp(now.0 + ((until.0 - 1 - now.0) as f64 * later) as u64);
            prop_assert_eq!(decide(&asking, &records, between).access, decided.access);
        }
    }
}
