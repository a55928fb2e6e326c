//! What REST does with deleting: the store makes the step, then every node lets go of the dashboard, then grants and links follow.
//!
//! The store comes first, because from then on nothing can be written; what is told afterwards only makes it quicker. A node that is not
//! told finds out by itself, with its next append or when it has been stopped.

use core::time::Duration;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tracing::{debug, info, warn};
use ydash_proto::access::{
    Admission, Capabilities, Conditions, Entry, Grant, Principal, Record, Role, Subject as Grantee, moment,
};
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeError, Lives, TRASHED_MAX, Trashed};
use ydash_proto::time::Timestamp;

use crate::access::{AccessError, Content, Permissions, Subject};
use crate::audit::{Audit, Event};
use crate::catalog::{CatalogError, Expected, Key, Version};
use crate::http::{Deleted, Deletion, DeletionRefusal, Deletions, TrashListed};
use crate::metrics::{Deletion as Counted, Metrics};
use crate::store::trash::{self, TrashError};
use crate::store::{Store, StoreError};

/// Names that are listed at once.
const LISTED: usize = 100;

/// Deletions on one store, which every node hears of.
#[derive(Clone)]
pub struct Trash {
    store: Arc<dyn Store>,
    permissions: Permissions,
    audit: Audit,
    /// How long what is deleted can be taken back; `None` for ever.
    keep: Option<Duration>,
    metrics: Arc<Metrics>,
}

impl Deletions for Trash {
    fn act(
        &self,
        dashboard: DashboardId,
        by: Admission,
        what: Deletion,
    ) -> BoxFuture<'static, Result<Deleted, DeletionRefusal>> {
        let trash = self.clone();
        // A task of its own: whoever asked may hang up, and what was begun is finished all the same.
        let acting = tokio::spawn(async move { trash.act_as(&dashboard, &by, what).await });
        Box::pin(async move { acting.await.unwrap_or(Err(DeletionRefusal::Unavailable)) })
    }

    fn list(
        &self,
        workspace: Arc<str>,
        after: Option<DashboardId>,
    ) -> BoxFuture<'static, Result<TrashListed, DeletionRefusal>> {
        let trash = self.clone();
        Box::pin(async move {
            let listed = trash::list(&*trash.store, &format!("{workspace}/"), after.as_ref(), LISTED).await;
            let (found, next) = listed.map_err(unavailable)?;
            let shown = found.into_iter().map(|(dashboard, lives)| {
                let told = told(&dashboard, &lives);
                (dashboard, told)
            });
            Ok((shown.collect(), next))
        })
    }
}

impl Trash {
    /// Keeps what is deleted for `keep`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        permissions: Permissions,
        audit: Audit,
        keep: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> Trash {
        Trash { store, permissions, audit, keep, metrics }
    }

    /// Ends for good what has been in the trash for its time, again and again.
    pub async fn keep_up(self) {
        loop {
            match trash::sweep(&*self.store, now()).await {
                Ok(swept) => {
                    self.metrics.trash_dashboards.set(i64::try_from(swept.kept).unwrap_or(i64::MAX));
                    for (dashboard, life) in swept.purged {
                        self.metrics.deletions.inc(Counted::Purged);
                        self.forget_records(&dashboard, life).await;
                        self.tell("dashboard.purged", &dashboard, None, &[life]).await;
                    }
                }
                Err(failure) => debug!(%failure, "trash not looked through"),
            }
            // Often enough for a time that is short, as in tests.
            let pause = self.keep.map_or(SWEEP_MAX, |keep| (keep / 10).clamp(Duration::from_secs(1), SWEEP_MAX));
            tokio::time::sleep(pause).await;
        }
    }

    async fn act_as(
        &self,
        dashboard: &DashboardId,
        by: &Admission,
        what: Deletion,
    ) -> Result<Deleted, DeletionRefusal> {
        match what {
            Deletion::Delete => {
                let (trashed, missing) = self.delete(dashboard, by).await?;
                let body = json!({ "deleted": true, "life": trashed.life.0, "until": until(&trashed) });
                Ok(Deleted { body, missing })
            }
            Deletion::Restore(life) => {
                let before = self.store.lives(dashboard).await.map_err(unavailable)?;
                if before.gone.is_none() {
                    return Err(DeletionRefusal::Exists);
                }
                let life = before.trashed(life).ok_or(DeletionRefusal::NotThere)?.life;
                // First: nobody can open it yet, so its content is never there under the grants of another life.
                self.swap_grants(dashboard, before.current, life).await?;
                let life = trash::restore(&*self.store, dashboard, Some(life)).await.map_err(refused)?;
                // Last: should this have to be done again, they are needed.
                self.erase(&Subject::Dashboard(dashboard.trashed(life)), Expected::Anything).await;
                self.forget_about(dashboard).await;
                self.metrics.deletions.inc(Counted::Restored);
                self.tell("dashboard.restored", dashboard, by.principal.author(), &[life]).await;
                Ok(Deleted { body: json!({ "restored": true, "life": life.0 }), missing: Vec::new() })
            }
            Deletion::Purge(life) => {
                let lives = self.store.lives(dashboard).await.map_err(unavailable)?;
                let mut missing = Vec::new();
                if life.is_none() && lives.gone.is_none() {
                    match self.delete(dashboard, by).await {
                        Ok((_, not_confirmed)) => missing = not_confirmed,
                        // What was deleted before can still end.
                        Err(DeletionRefusal::NotThere) if !lives.trash.is_empty() => {}
                        Err(refusal) => return Err(refusal),
                    }
                }
                let ended = trash::purge(&*self.store, dashboard, life).await.map_err(refused)?;
                for life in &ended {
                    self.metrics.deletions.inc(Counted::Purged);
                    self.forget_records(dashboard, *life).await;
                }
                self.tell("dashboard.purged", dashboard, by.principal.author(), &ended).await;
                let lives: Vec<u32> = ended.iter().map(|life| life.0).collect();
                Ok(Deleted { body: json!({ "purged": true, "lives": lives }), missing })
            }
            Deletion::Begin => {
                let before = self.store.lives(dashboard).await.map_err(unavailable)?;
                if before.gone.is_none() {
                    return Err(DeletionRefusal::Exists);
                }
                self.put_grants_away(dashboard, by, before.current).await?;
                // Lists do not tell the title of what was deleted.
                self.forget_about(dashboard).await;
                let life = trash::begin(&*self.store, dashboard).await.map_err(refused)?;
                self.tell("dashboard.begun", dashboard, by.principal.author(), &[life]).await;
                Ok(Deleted { body: json!({ "begun": true }), missing: Vec::new() })
            }
        }
    }

    /// Puts a dashboard into the trash, and says which nodes have not confirmed that its members are sent away.
    async fn delete(&self, dashboard: &DashboardId, by: &Admission) -> Result<(Trashed, Vec<String>), DeletionRefusal> {
        let author = by.principal.author();
        // Grants that are left there of an earlier time in the trash have changed since.
        let life = self.store.lives(dashboard).await.map_err(unavailable)?.current;
        self.erase(&Subject::Dashboard(dashboard.trashed(life)), Expected::Anything).await;
        let trashed = trash::delete(&*self.store, dashboard, now(), author.clone(), self.keep, None).await;
        let trashed = trashed.map_err(refused)?;
        self.metrics.deletions.inc(Counted::Deleted);
        // At once: members do not stay for as long as the audit log takes, and the log has it should nodes not answer.
        let lives = [trashed.life];
        let telling = self.tell("dashboard.deleted", dashboard, author, &lives);
        let (missing, ()) = tokio::join!(self.let_go(dashboard), telling);
        Ok((trashed, missing))
    }

    /// Writes down what became of lives of a name, in the process' log and in the audit log.
    async fn tell(&self, kind: &'static str, dashboard: &DashboardId, by: Option<Arc<str>>, lives: &[Life]) {
        let lives: Vec<u32> = lives.iter().map(|life| life.0).collect();
        info!(%dashboard, by = by.as_deref(), ?lives, kind, "trash");
        let data = json!({ "lives": lives });
        self.audit.write(Event { kind, actor: by, target: dashboard.as_str().into(), data }).await;
    }

    /// Has all nodes send the members away, and says which have not confirmed.
    async fn let_go(&self, dashboard: &DashboardId) -> Vec<String> {
        let missing = self.permissions.let_go(dashboard.clone()).await;
        missing.iter().map(ToString::to_string).collect()
    }

    /// Puts what is written down about who may do what beside the dashboard in the trash. Whoever begins the next one owns it.
    async fn put_grants_away(
        &self,
        dashboard: &DashboardId,
        by: &Admission,
        life: Life,
    ) -> Result<(), DeletionRefusal> {
        let (record, version) = self.record(dashboard).await?;
        if record.is_empty() {
            return Ok(());
        }
        // Rights in what was deleted are none in what begins.
        if !by.access.may(Capabilities::MANAGE) {
            return Err(DeletionRefusal::Forbidden);
        }
        // Those that were put away before stay: what is there now is of whoever began the next one.
        self.put_away(&dashboard.trashed(life), &record).await?;
        let mut next = Record::default();
        if let Principal::User(user) = &by.principal {
            let subject = Grantee::User(user.id.clone());
            next.grants.push(Entry::Grant(Grant {
                subject,
                role: Role::Owner,
                folder: None,
                when: Conditions::default(),
            }));
        }
        self.write(dashboard, Expected::Version(Version(version)), &next).await
    }

    /// Brings back the grants of a life, and puts away those of the one that ended last. Done again, it does what is left to do.
    async fn swap_grants(&self, dashboard: &DashboardId, ended: Life, back: Life) -> Result<(), DeletionRefusal> {
        let ((now, version), (then, then_version)) =
            (self.record(dashboard).await?, self.record(&dashboard.trashed(back)).await?);
        // Those of the life that ended last are still under the name, unless a next one was to begin.
        if then_version == 0 && ended == back {
            return Ok(());
        }
        if now.is_empty() && then.is_empty() {
            return Ok(());
        }
        if ended != back {
            // Also if there are none: should this be done again, those under the name are not of this life any more.
            self.put_away(&dashboard.trashed(ended), &now).await?;
        }
        let expected = if version == 0 { Expected::Absent } else { Expected::Version(Version(version)) };
        self.write(dashboard, expected, &then).await
    }

    /// Keeps what was written down about a life that has ended, unless it is kept already.
    async fn put_away(&self, place: &DashboardId, record: &Record) -> Result<(), DeletionRefusal> {
        let written =
            self.permissions.write(Subject::Dashboard(place.clone()), Expected::Absent, record.encode()).await;
        match written {
            Ok(_) | Err(AccessError::Catalog(CatalogError::Conflict { .. })) => Ok(()),
            Err(failure) => Err(unreadable(failure)),
        }
    }

    /// Nothing is left of a life, so nobody may do anything with it.
    async fn forget_records(&self, dashboard: &DashboardId, life: Life) {
        self.erase(&Subject::Dashboard(dashboard.trashed(life)), Expected::Anything).await;
        // Read first: whoever begins another one meanwhile changes it, and keeps what it has then.
        let version = self.record(dashboard).await.map(|(_, version)| version);
        match (version, self.store.lives(dashboard).await) {
            (Ok(version), Ok(lives)) if lives.gone.is_some() && lives.current == life => {
                if version != 0 {
                    self.erase(&Subject::Dashboard(dashboard.clone()), Expected::Version(Version(version))).await;
                }
                self.forget_about(dashboard).await;
            }
            (Ok(_), Ok(_)) => {}
            _ => warn!(%dashboard, "grants of a dashboard that is ended for good may be left"),
        }
    }

    /// Removes the title of a dashboard and who edited it last. They are found out again if it is there.
    async fn forget_about(&self, dashboard: &DashboardId) {
        if let Err(failure) = self.store.catalog().remove(&Key::of_about(dashboard), Expected::Anything).await {
            warn!(%dashboard, %failure, "lists may tell the title of a deleted dashboard");
        }
    }

    async fn record(&self, dashboard: &DashboardId) -> Result<(Record, u64), DeletionRefusal> {
        match self.permissions.read(&Subject::Dashboard(dashboard.clone())).await.map_err(unreadable)? {
            Some(Content::Record(known, _)) => Ok(((*known.record).clone(), known.version)),
            _ => Ok((Record::default(), 0)),
        }
    }

    async fn write(&self, dashboard: &DashboardId, expected: Expected, record: &Record) -> Result<(), DeletionRefusal> {
        let written = self.permissions.write(Subject::Dashboard(dashboard.clone()), expected, record.encode()).await;
        written.map(drop).map_err(unreadable)
    }

    async fn erase(&self, subject: &Subject, expected: Expected) {
        if let Err(failure) = self.permissions.erase(subject, expected).await {
            warn!(record = %subject.key(), %failure, "grants of a dashboard that is ended for good may be left");
        }
    }
}

/// How long the trash is not looked through at most.
const SWEEP_MAX: Duration = Duration::from_secs(600);

fn told(dashboard: &DashboardId, lives: &Lives) -> Value {
    let entry = |trashed: &Trashed| {
        json!({
            "life": trashed.life.0,
            "deleted_at": moment::format(trashed.at),
            "deleted_by": trashed.by.as_deref(),
            "until": until(trashed),
        })
    };
    let entries: Vec<Value> = lives.trash.iter().map(entry).collect();
    json!({ "dashboard": dashboard.as_str(), "deleted": entries, "exists": lives.gone.is_none() })
}

fn until(trashed: &Trashed) -> Option<String> {
    trashed.until.map(moment::format)
}

fn refused(error: TrashError) -> DeletionRefusal {
    match error {
        TrashError::Life(LifeError::NotThere) => DeletionRefusal::NotThere,
        TrashError::Life(LifeError::Exists) => DeletionRefusal::Exists,
        TrashError::Life(LifeError::TrashFull) => {
            const { assert!(TRASHED_MAX == 16) };
            DeletionRefusal::Full("the trash holds at most 16 dashboards of one name: end one for good first")
        }
        TrashError::Life(LifeError::NameSpent) => {
            DeletionRefusal::Full("deleted dashboards of this name had too many client ids: choose another name")
        }
        TrashError::Store(error) => unavailable(error),
    }
}

fn unavailable(failure: StoreError) -> DeletionRefusal {
    debug!(%failure, "the trash cannot be reached");
    DeletionRefusal::Unavailable
}

fn unreadable(failure: AccessError) -> DeletionRefusal {
    match failure {
        AccessError::Catalog(CatalogError::Conflict { .. }) => debug!("grants have changed meanwhile"),
        failure => debug!(%failure, "grants of a dashboard cannot be moved"),
    }
    DeletionRefusal::Unavailable
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{RecordCache, Rooms};
    use crate::cluster::local::LocalBus;
    use crate::store::memory::MemoryStore;
    use ydash_proto::access::Records;

    struct NoRooms;

    impl Rooms for NoRooms {
        fn open(&self) -> Vec<DashboardId> {
            Vec::new()
        }

        fn tell(&self, _: Records) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }

        fn check(&self, _: DashboardId) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    /// A store failed after the grants were swapped. When that was done again, a life without grants got those of the other one.
    #[tokio::test]
    async fn a_life_that_is_brought_back_twice_leaves_its_grants_to_no_other_life() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (catalog, records) = (store.catalog(), Arc::new(RecordCache::new(false)));
        let bus = LocalBus::new().node();
        let permissions = Permissions::start(Arc::clone(&catalog), bus, Arc::new(NoRooms), records).await;
        let audit = Audit::new(catalog, "node".into(), 1 << 20, false, None);
        let trash = Trash::new(store, permissions, audit, None, Arc::default());
        let board = DashboardId::parse("acme/board").unwrap();
        let asked = json!({ "grants": [{ "subject": "user:ada", "role": "editor" }] });
        let shared = Record::default().with_asked(&asked, false).unwrap();
        trash.write(&board.trashed(Life(1)), Expected::Absent, &shared).await.unwrap();
        for _ in 0..2 {
            trash.swap_grants(&board, Life(2), Life(1)).await.unwrap();
            assert_eq!(trash.record(&board).await.unwrap().0, shared);
        }
        assert!(trash.record(&board.trashed(Life(2))).await.unwrap().0.is_empty());
    }
}
