//! What REST does with who may do what: reads, explains and changes records, makes links and invitations.
//!
//! Every change is made by compare-and-set on what was read, so none of two at once is lost, and is answered when all nodes have it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tracing::{debug, info, warn};
use ydash_proto::access::{
    Access, Address, Admission, Asking, BLOCKED_MAX, Blocked, Capabilities, Conditions, Entry, Grant, Invitation,
    Known, Link, Principal, RECORD_GRANTS_MAX, RECORD_LINKS_MAX, Record, RecordError, Records, Role, ShareLink,
    Subject as Grantee, Taken, User, decide, explain, is_name, workspace_access,
};
use ydash_proto::id::DashboardId;
use ydash_proto::time::Timestamp;

use crate::access::{AccessError, Applied, Content, Permissions, Subject, address_of};
use crate::audit::{Audit, Event};
use crate::auth::{Denied, Eventual, ShownLink, Whence, mark, new_link, read_link};
use crate::catalog::{CatalogError, Expected, Version};
use crate::http::{AccessAnswer, AccessCall, AccessControl, AccessRefusal, Scope};

/// How often a change is tried again that somebody else overtook.
const ATTEMPTS: usize = 16;

/// Changes of records, for REST. Cheap to clone.
#[derive(Clone)]
pub struct Grants {
    permissions: Permissions,
    audit: Audit,
}

type Answer = Result<AccessAnswer, AccessRefusal>;

impl AccessControl for Grants {
    fn act(&self, by: Admission, what: AccessCall) -> BoxFuture<'static, Answer> {
        let grants = self.clone();
        // A task of its own: the caller may hang up, and the change is in the audit log all the same.
        let acting = tokio::spawn(async move { grants.act_as(&by, what).await });
        Box::pin(async move { acting.await.unwrap_or(Err(AccessRefusal::Unavailable)) })
    }

    fn decide(&self, dashboard: &DashboardId, address: IpAddr, admission: Admission) -> Eventual<Admission> {
        // Records only ever add to what everybody may do, but for blocked users, and nobody in particular is none of those.
        if admission.principal == Principal::Anonymous && admission.given.may_edit() && !dashboard.is_reserved() {
            return Eventual::Now(Ok(admission));
        }
        if let Some(records) = self.permissions.known().current(dashboard) {
            return Eventual::Now(Ok(decided(admission, address, records)));
        }
        let (permissions, dashboard) = (self.permissions.clone(), dashboard.clone());
        Eventual::Later(Box::pin(async move {
            let records = permissions.records(&dashboard).await.map_err(try_again)?;
            Ok(decided(admission, address, records))
        }))
    }

    fn decide_link(
        &self,
        dashboard: &DashboardId,
        from: &Whence,
        shown: ShownLink,
        wanted: Capabilities,
    ) -> Eventual<Admission> {
        let (grants, dashboard, from) = (self.clone(), dashboard.clone(), from.clone());
        Eventual::Later(Box::pin(async move {
            let records = grants.permissions.records(&dashboard).await.map_err(try_again)?;
            let link = records.dashboard.record.link(&shown.id).filter(|link| link.secret == shown.digest);
            let link = link.filter(|link| link.is_for(from.origin.as_deref())).ok_or(Denied::Unauthenticated)?;
            let principal = Principal::Link(Arc::new(Link { id: Arc::clone(&link.id) }));
            let mark = mark(&shown, from.address);
            let is_counted = match link.takes(mark).ok_or(Denied::Unauthenticated)? {
                Taken::AsItIs => false,
                Taken::Counted => true,
            };
            let admission = decided(Admission { principal, ..Admission::default() }, from.address, records);
            if is_counted && admission.access.may(wanted) {
                grants.count_use(dashboard.present(), &shown, mark).await?;
            }
            Ok(admission)
        }))
    }

    fn in_workspace(
        &self,
        principal: Principal,
        workspace: Arc<str>,
        address: IpAddr,
    ) -> BoxFuture<'static, Result<Capabilities, AccessRefusal>> {
        let permissions = self.permissions.clone();
        Box::pin(async move {
            // Of any dashboard there: what is its own does not count.
            let within = DashboardId::new(&workspace, "x").map_err(|_| AccessRefusal::Forbidden)?;
            let records = permissions.records(&within).await.map_err(unavailable)?;
            let asking = Asking { principal: &principal, given: Access::NONE, address: Some(address_of(address)) };
            Ok(workspace_access(&asking, &records, now()).capabilities)
        })
    }
}

impl Grants {
    /// Changes what `permissions` knows, and tells `audit` of it.
    #[must_use]
    pub fn new(permissions: Permissions, audit: Audit) -> Grants {
        Grants { permissions, audit }
    }

    /// Writes down who has changed what, before that is answered.
    async fn told(&self, by: &Admission, target: Target<'_>, kind: &'static str, applied: &Applied, mut data: Value) {
        let actor = by.principal.author();
        let target = match target {
            Target::Record(Subject::Dashboard(dashboard)) => dashboard.as_str().into(),
            Target::Record(Subject::Workspace(workspace)) => Arc::clone(workspace),
            Target::Record(Subject::Blocked) => "".into(),
            Target::User(user) => user.into(),
        };
        info!(by = actor.as_deref().unwrap_or("nobody"), target = &*target, kind, "access changed");
        data["applied"] = applied.missing.is_empty().into();
        data["version"] = applied.version.0.into();
        self.audit.write(Event { kind, actor, target, data }).await;
    }

    async fn act_as(&self, by: &Admission, what: AccessCall) -> Answer {
        match what {
            AccessCall::Read(scope) => self.read(scope).await,
            AccessCall::Explain { dashboard, user, groups, address } => {
                self.explain(&dashboard, &user, groups, address.as_deref()).await
            }
            AccessCall::Write { scope, version, asked } => self.write(by, scope, version, &asked).await,
            AccessCall::Links(dashboard) => {
                let record = self.record_of(&Subject::Dashboard(dashboard)).await?;
                let links: Vec<Value> = record.record.links.iter().map(ShareLink::to_json).collect();
                Ok(answer(200, record.version, json!({ "links": links })))
            }
            AccessCall::MakeLink(dashboard, asked) => self.make_link(by, dashboard, &asked).await,
            AccessCall::RevokeLink(dashboard, id) => {
                let subject = Subject::Dashboard(dashboard);
                let applied = self.change(subject.clone(), |mut record| {
                    let before = record.links.len() + record.invitations.len();
                    record.links.retain(|link| *link.id != *id);
                    record.invitations.retain(|invitation| *invitation.id != *id);
                    let is_there = record.links.len() + record.invitations.len() < before;
                    if is_there { Ok(record) } else { Err(AccessRefusal::Missing) }
                });
                let applied = applied.await?;
                self.told(by, Target::Record(&subject), "link.revoked", &applied, json!({ "id": id })).await;
                Ok(changed(200, &applied, json!({})))
            }
            AccessCall::Collaborators(dashboard) => self.collaborators(dashboard).await,
            AccessCall::Invite(dashboard, asked) => self.invite(by, dashboard, &asked).await,
            AccessCall::Accept(dashboard, asked) => self.accept(by, dashboard, &asked).await,
            AccessCall::RemoveCollaborator(dashboard, user) => {
                let is_theirs = |entry: &Entry| matches!(entry, Entry::Grant(Grant { subject: Grantee::User(id), .. }) if **id == *user);
                let subject = Subject::Dashboard(dashboard);
                let applied = self.change(subject.clone(), |mut record| {
                    let before = record.grants.len();
                    record.grants.retain(|entry| !is_theirs(entry));
                    if record.grants.len() < before { Ok(record) } else { Err(AccessRefusal::Missing) }
                });
                let applied = applied.await?;
                let data = json!({ "user": user });
                self.told(by, Target::Record(&subject), "collaborator.removed", &applied, data).await;
                Ok(changed(200, &applied, json!({})))
            }
            AccessCall::Recheck => {
                let missing = self.permissions.recheck().await;
                let (kind, actor) = ("access.rechecked", by.principal.author());
                let data = json!({ "applied": missing.is_empty() });
                self.audit.write(Event { kind, actor, target: "".into(), data }).await;
                let nodes: Vec<String> = missing.iter().map(ToString::to_string).collect();
                let status = if nodes.is_empty() { 200 } else { 202 };
                let body = json!({ "applied": nodes.is_empty(), "nodes": nodes });
                Ok(AccessAnswer { status, version: None, body })
            }
            AccessCall::Block(user) => self.block(by, &user, true).await,
            AccessCall::Unblock(user) => self.block(by, &user, false).await,
        }
    }

    async fn read(&self, scope: Scope) -> Answer {
        let is_dashboard = matches!(scope, Scope::Dashboard(_));
        let Known { version, record } = self.record_of(&subject(scope)).await?;
        let mut body = json!({ "grants": record.grants_json(), "version": version });
        if is_dashboard {
            body["restricted"] = record.restricted.into();
        }
        Ok(answer(200, version, body))
    }

    async fn explain(&self, dashboard: &DashboardId, user: &str, groups: Vec<String>, address: Option<&str>) -> Answer {
        if !is_name(user) {
            return Err(AccessRefusal::Malformed("user is no user's id".to_owned()));
        }
        let address = match address {
            None => None,
            Some(text) => {
                let malformed = || AccessRefusal::Malformed("address is no IP address".to_owned());
                Some(Address::parse(text).ok_or_else(malformed)?)
            }
        };
        let records = self.permissions.records(dashboard).await.map_err(unavailable)?;
        let groups = groups.into_iter().map(Arc::from).collect();
        let principal = Principal::User(Arc::new(User { id: user.into(), groups, ..User::default() }));
        let asking = Asking { principal: &principal, given: Access::NONE, address };
        let mut body = explain(&asking, &records, now()).to_json();
        body["user"] = user.into();
        Ok(AccessAnswer { status: 200, version: None, body })
    }

    async fn write(&self, by: &Admission, scope: Scope, version: Option<u64>, asked: &Value) -> Answer {
        let in_workspace = matches!(scope, Scope::Workspace(_));
        let subject = subject(scope);
        let edited = Mutex::default();
        let edit = |record: Record| {
            let before = record.clone();
            let after = record.with_asked(asked, in_workspace).map_err(malformed)?;
            *edited.lock().unwrap_or_else(PoisonError::into_inner) = difference(&before, &after);
            Ok(after)
        };
        let applied = match version {
            None => self.change_whatever(subject.clone(), edit).await?,
            Some(version) => {
                let known = self.record_of(&subject).await?;
                if known.version != version {
                    return Err(AccessRefusal::Changed);
                }
                let record = edit((*known.record).clone())?;
                let expected = if version == 0 { Expected::Absent } else { Expected::Version(Version(version)) };
                self.put(subject.clone(), expected, &record).await?
            }
        };
        let edited = edited.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.told(by, Target::Record(&subject), "access.changed", &applied, edited).await;
        Ok(changed(200, &applied, json!({})))
    }

    /// Counts a visitor in a link's record, unless others spent its last use meanwhile.
    async fn count_use(&self, dashboard: DashboardId, shown: &ShownLink, mark: u64) -> Result<(), Denied> {
        let counted = self.change(Subject::Dashboard(dashboard), |mut record| {
            let is_it = |link: &&mut ShareLink| *link.id == *shown.id && link.secret == shown.digest;
            let link = record.links.iter_mut().find(is_it).ok_or(AccessRefusal::Missing)?;
            match link.takes(mark).ok_or(AccessRefusal::Missing)? {
                Taken::Counted => link.uses.push(mark),
                Taken::AsItIs => {}
            }
            Ok(record)
        });
        match counted.await {
            Ok(_) => Ok(()),
            Err(AccessRefusal::Missing) => Err(Denied::Unauthenticated),
            Err(_) => Err(Denied::TryAgain),
        }
    }

    async fn make_link(&self, by: &Admission, dashboard: DashboardId, asked: &Value) -> Answer {
        let link = new_link().ok_or(AccessRefusal::Unavailable)?;
        let (author, at) = (by.principal.author().unwrap_or_default(), now());
        let made = ShareLink::asked(asked, link.id.as_str().into(), link.digest, author, at).ok_or_else(|| {
            AccessRefusal::Malformed(
                "a link has a role of watcher, viewer or editor, and may have label, not_before, not_after, weekly, \
                 addresses, origins, uses_max"
                    .to_owned(),
            )
        })?;
        may_give(by, made.role)?;
        let subject = Subject::Dashboard(dashboard);
        let applied = self.change(subject.clone(), |mut record| {
            if record.links.len() >= RECORD_LINKS_MAX {
                return Err(AccessRefusal::Full("a dashboard has at most 200 links"));
            }
            record.links.push(made.clone());
            Ok(record)
        });
        let applied = applied.await?;
        let mut body = made.to_json();
        self.told(by, Target::Record(&subject), "link.made", &applied, body.clone()).await;
        body["link"] = link.text.into();
        Ok(changed(201, &applied, body))
    }

    async fn collaborators(&self, dashboard: DashboardId) -> Answer {
        let workspace = Subject::Workspace(dashboard.workspace().into());
        let (own, workspace) =
            (self.record_of(&Subject::Dashboard(dashboard)).await?, self.record_of(&workspace).await?);
        let mut collaborators = Vec::new();
        for (from, record) in [("dashboard", &own.record), ("workspace", &workspace.record)] {
            for grant in record.understood() {
                if let Grantee::User(user) = &grant.subject {
                    collaborators.push(json!({ "user": **user, "role": grant.role.as_str(), "from": from }));
                }
            }
        }
        let invitations: Vec<Value> = own.record.invitations.iter().map(Invitation::to_json).collect();
        let body = json!({ "collaborators": collaborators, "invitations": invitations });
        Ok(answer(200, own.version, body))
    }

    async fn invite(&self, by: &Admission, dashboard: DashboardId, asked: &Value) -> Answer {
        let subject = Subject::Dashboard(dashboard);
        if let Some(user) = asked.get("user").and_then(Value::as_str) {
            let mut grant = asked.clone();
            grant.as_object_mut().and_then(|fields| fields.remove("user"));
            grant["subject"] = format!("user:{user}").into();
            let grant = Grant::parse(&grant, false).map_err(|error| AccessRefusal::Malformed(error.to_string()))?;
            may_give(by, grant.role)?;
            let applied = self.change(subject.clone(), |record| with_grant(record, grant.clone())).await?;
            self.told(
                by,
                Target::Record(&subject),
                "collaborator.added",
                &applied,
                json!({ "grant": grant.to_json() }),
            )
            .await;
            return Ok(changed(200, &applied, json!({ "user": user, "role": grant.role.as_str() })));
        }
        let link = new_link().ok_or(AccessRefusal::Unavailable)?;
        let author = by.principal.author().unwrap_or_default();
        let made = Invitation::asked(asked, link.id.as_str().into(), link.digest, author, now()).ok_or_else(|| {
            let why = "an invitation has a user, or a role and a time not_after, and may have an email";
            AccessRefusal::Malformed(why.to_owned())
        })?;
        may_give(by, made.role)?;
        let applied = self.change(subject.clone(), |mut record| {
            let now = now();
            record.invitations.retain(|invitation| invitation.not_after > now);
            if record.invitations.len() >= RECORD_LINKS_MAX {
                return Err(AccessRefusal::Full("a dashboard has at most 200 invitations"));
            }
            record.invitations.push(made.clone());
            Ok(record)
        });
        let applied = applied.await?;
        let mut body = made.to_json();
        // Whom it is for stays with whoever manages it.
        let data = json!({ "id": &*made.id, "role": made.role.as_str() });
        self.told(by, Target::Record(&subject), "invitation.made", &applied, data).await;
        body["invitation"] = link.text.into();
        Ok(changed(201, &applied, body))
    }

    /// Turns an invitation into a grant. Whatever is wrong with it, the answer is the same.
    async fn accept(&self, by: &Admission, dashboard: DashboardId, asked: &Value) -> Answer {
        let user = by.principal.as_user().ok_or(AccessRefusal::Forbidden)?;
        let shown = asked.get("invitation").and_then(Value::as_str).and_then(read_link);
        let shown = shown.ok_or(AccessRefusal::Forbidden)?;
        let subject = Subject::Dashboard(dashboard.clone());
        if !user.speaks_for(dashboard.workspace()) {
            return Err(AccessRefusal::Forbidden);
        }
        let mut role = Role::Watcher;
        let applied = self.change(subject.clone(), |mut record| {
            let is_it = |invitation: &Invitation| *invitation.id == *shown.id && invitation.secret == shown.digest;
            let at = record.invitations.iter().position(is_it).ok_or(AccessRefusal::Forbidden)?;
            let invitation = record.invitations.remove(at);
            let is_for = invitation.email.is_none() || invitation.email == user.verified_email;
            if invitation.not_after <= now() || !is_for {
                return Err(AccessRefusal::Forbidden);
            }
            role = invitation.role;
            let subject = Grantee::User(Arc::clone(&user.id));
            with_grant(record, Grant { subject, role, folder: None, when: Conditions::default() })
        });
        let applied = applied.await?;
        let data = json!({ "id": shown.id, "role": role.as_str() });
        self.told(by, Target::Record(&subject), "invitation.accepted", &applied, data).await;
        Ok(changed(200, &applied, json!({ "user": *user.id, "role": role.as_str() })))
    }

    async fn block(&self, by: &Admission, user: &str, blocks: bool) -> Answer {
        if !is_name(user) {
            return Err(AccessRefusal::Malformed("user is no user's id".to_owned()));
        }
        for _ in 0..ATTEMPTS {
            let known = match self.permissions.read(&Subject::Blocked).await.map_err(unavailable)? {
                Some(Content::Blocked(known, _)) => known,
                _ => Known::default(),
            };
            let mut blocked: Blocked = (*known.record).clone();
            if !blocks {
                blocked.users.remove(user);
            } else if !blocked.users.contains_key(user) {
                if blocked.users.len() >= BLOCKED_MAX {
                    return Err(AccessRefusal::Full("at most 10000 users are blocked; let their tokens end instead"));
                }
                blocked.users.insert(user.into(), (by.principal.author().unwrap_or_default(), now()));
            }
            let expected = expected(known.version);
            match self.permissions.write(Subject::Blocked, expected, blocked.encode()).await {
                Ok(applied) => {
                    let kind = if blocks { "user.blocked" } else { "user.unblocked" };
                    self.told(by, Target::User(user), kind, &applied, json!({})).await;
                    return Ok(changed(200, &applied, json!({ "blocked": blocks })));
                }
                Err(AccessError::Catalog(CatalogError::Conflict { .. })) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(AccessRefusal::Unavailable)
    }

    async fn record_of(&self, subject: &Subject) -> Result<Known<Record>, AccessRefusal> {
        match self.permissions.read(subject).await.map_err(unavailable)? {
            Some(Content::Record(known, _)) => Ok(known),
            _ => Ok(Known::default()),
        }
    }

    /// Changes a record, whoever else does so meanwhile.
    async fn change(
        &self,
        subject: Subject,
        mut edit: impl FnMut(Record) -> Result<Record, AccessRefusal>,
    ) -> Result<Applied, AccessRefusal> {
        for _ in 0..ATTEMPTS {
            let known = self.record_of(&subject).await?;
            let record = edit((*known.record).clone())?;
            match self.put(subject.clone(), expected(known.version), &record).await {
                Err(AccessRefusal::Changed) => {}
                done => return done,
            }
        }
        Err(AccessRefusal::Unavailable)
    }

    /// As [`Grants::change`]; a record that cannot be read is replaced.
    async fn change_whatever(
        &self,
        subject: Subject,
        edit: impl Fn(Record) -> Result<Record, AccessRefusal>,
    ) -> Result<Applied, AccessRefusal> {
        let unreadable = matches!(
            self.permissions.read(&subject).await,
            Err(AccessError::NotUnderstood(_) | AccessError::Catalog(CatalogError::Damaged { .. }))
        );
        if unreadable {
            warn!(record = %subject.key(), "a record that could not be read is replaced");
            return self.put(subject, Expected::Anything, &edit(Record::default())?).await;
        }
        self.change(subject, edit).await
    }

    async fn put(&self, subject: Subject, expected: Expected, record: &Record) -> Result<Applied, AccessRefusal> {
        match self.permissions.write(subject, expected, record.encode()).await {
            Err(AccessError::Catalog(CatalogError::Conflict { .. })) => Err(AccessRefusal::Changed),
            Err(AccessError::Catalog(CatalogError::TooLarge { .. })) => {
                Err(AccessRefusal::Full("a record of access has at most 1 MiB"))
            }
            written => written.map_err(unavailable),
        }
    }
}

/// An admission with what is written down.
fn decided(admission: Admission, address: IpAddr, records: Records) -> Admission {
    let address = Some(address_of(address));
    let asking = Asking { principal: &admission.principal, given: admission.given, address };
    let access = decide(&asking, &records, now()).access;
    Admission { access, address, records: Some(Box::new(records)), ..admission }
}

/// Who may do what is not known: nobody is let in by a guess, or sent away for good.
fn try_again(error: AccessError) -> Denied {
    debug!(%error, "somebody who comes is told to try again");
    Denied::TryAgain
}

fn with_grant(mut record: Record, grant: Grant) -> Result<Record, AccessRefusal> {
    let entry = Entry::Grant(grant);
    if !record.grants.contains(&entry) {
        if record.grants.len() >= RECORD_GRANTS_MAX {
            return Err(AccessRefusal::Full("a dashboard has at most 500 grants"));
        }
        record.grants.push(entry);
    }
    Ok(record)
}

/// Nobody gives more than they have.
fn may_give(by: &Admission, role: Role) -> Result<(), AccessRefusal> {
    if by.access.may(role.capabilities()) { Ok(()) } else { Err(AccessRefusal::Forbidden) }
}

fn subject(scope: Scope) -> Subject {
    match scope {
        Scope::Dashboard(dashboard) => Subject::Dashboard(dashboard),
        Scope::Workspace(workspace) => Subject::Workspace(workspace),
    }
}

fn expected(version: u64) -> Expected {
    if version == 0 { Expected::Absent } else { Expected::Version(Version(version)) }
}

fn answer(status: u16, version: u64, body: Value) -> AccessAnswer {
    AccessAnswer { status, version: Some(version), body }
}

/// The answer to a change: applied when no node is missing.
fn changed(status: u16, applied: &Applied, mut body: Value) -> AccessAnswer {
    let nodes: Vec<String> = applied.missing.iter().map(ToString::to_string).collect();
    body["applied"] = nodes.is_empty().into();
    body["version"] = applied.version.0.into();
    let status = if nodes.is_empty() { status } else { 202 };
    if !nodes.is_empty() {
        body["nodes"] = nodes.into();
    }
    AccessAnswer { status, version: Some(applied.version.0), body }
}

/// What was changed, for the audit log.
enum Target<'a> {
    Record(&'a Subject),
    User(&'a str),
}

/// Grants that are told one by one, of those that a change adds or takes.
const TOLD_MAX: usize = 20;

/// What a change adds and takes.
fn difference(before: &Record, after: &Record) -> Value {
    let mut told = json!({});
    for (name, some, others) in [("added", after, before), ("removed", before, after)] {
        let only: Vec<&Entry> = some.grants.iter().filter(|entry| !others.grants.contains(entry)).collect();
        told[name] = only.iter().take(TOLD_MAX).map(|entry| entry.to_json()).collect();
        if only.len() > TOLD_MAX {
            told[format!("{name}_in_all")] = only.len().into();
        }
    }
    if before.restricted != after.restricted {
        told["restricted"] = after.restricted.into();
    }
    told
}

fn malformed(error: RecordError) -> AccessRefusal {
    match error {
        RecordError::TooMany => AccessRefusal::Full("a record has at most 500 grants"),
        error => AccessRefusal::Malformed(error.to_string()),
    }
}

fn unavailable(error: AccessError) -> AccessRefusal {
    warn!(%error, "access is neither read nor written");
    AccessRefusal::Unavailable
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
