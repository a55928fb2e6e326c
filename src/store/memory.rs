//! The store in memory: the reference for the contract, and where tests and the simulator inject faults.
//!
//! It keeps entries as they are handed in, so what it does is the plainest reading of [`Store`]. Nothing survives the
//! process, but everything survives [`MemoryStore::reopened`], which stands for a restart.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, Lives, Moving};
use ydash_proto::version::VersionId;

use super::record::{encode_refused, verify_segment};
use super::refused::displaced;
use super::versions;
use super::{
    Append, Appended, Base, CheckReport, DamagedRecord, History, HistoryLimits, KeptVersion, LogEntry, LogPosition,
    RECORD_BYTES_MAX, Refused, Seal, SealOutcome, SealedSegment, SetAside, SnapshotOutcome, Store, StoreError,
    StoreLife, Stored, VersionInfo, VersionOutcome,
};
use crate::catalog::Catalog;
use crate::catalog::memory::MemoryCatalog;

/// Dashboards in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    catalog: MemoryCatalog,
    faults: Faults,
    history: HistoryLimits,
}

#[derive(Default)]
struct Shared {
    dashboards: BTreeMap<DashboardId, Dashboard>,
    end: u128,
    set_aside: u64,
    refused: BTreeMap<DashboardId, Kept>,
    lives: BTreeMap<DashboardId, Lives>,
    closed: bool,
    life: u64,
}

#[derive(Default)]
struct Dashboard {
    snapshot: Option<Snapshot>,
    /// The base of the log; `None` for the empty document at its beginning.
    base: Option<Base>,
    /// Whether it comes from an earlier ydash: then its snapshot is its base.
    is_unfounded: bool,
    /// By the position at which they begin.
    segments: BTreeMap<LogPosition, SealedSegment>,
    versions: BTreeMap<VersionId, KeptVersion>,
    log: BTreeMap<LogPosition, Logged>,
    /// The last position that was given out.
    end: LogPosition,
    /// Positions after the first and up to the second were given out and are gone.
    lost: Vec<(LogPosition, LogPosition)>,
}

#[derive(Default)]
struct Kept {
    /// Each with its size as a record.
    refused: VecDeque<(usize, SetAside)>,
    dropped: u64,
}

struct Snapshot {
    covers: LogPosition,
    state: Bytes,
    damaged: bool,
}

struct Logged {
    entry: LogEntry,
    damaged: bool,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store without faults.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore {
            shared: Arc::default(),
            catalog: MemoryCatalog::new(),
            faults: Faults::default(),
            history: HistoryLimits::default(),
        }
    }

    /// Keeps so much history.
    #[must_use]
    pub fn with_history(self, history: HistoryLimits) -> MemoryStore {
        MemoryStore { history, ..self }
    }

    /// The switches by which a test makes it fail.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The same dashboards as a restarted process would find them: open, without faults.
    #[must_use]
    pub fn reopened(&self) -> MemoryStore {
        self.lock().closed = false;
        self.catalog.set_closed(false);
        let (shared, catalog) = (Arc::clone(&self.shared), self.catalog.clone());
        MemoryStore { shared, catalog, faults: Faults::default(), history: self.history }
    }

    /// Its catalog, for tests that make it fail.
    #[must_use]
    pub fn memory_catalog(&self) -> &MemoryCatalog {
        &self.catalog
    }

    /// Damages the `index`th entry that is left in a log; `false` if there is none.
    pub fn damage_entry(&self, dashboard: &DashboardId, index: usize) -> bool {
        let mut shared = self.lock();
        let entry = shared.dashboards.get_mut(dashboard).and_then(|d| d.log.values_mut().nth(index));
        entry.map(|logged| logged.damaged = true).is_some()
    }

    /// Damages a snapshot; `false` if there is none.
    pub fn damage_snapshot(&self, dashboard: &DashboardId) -> bool {
        let mut shared = self.lock();
        let snapshot = shared.dashboards.get_mut(dashboard).and_then(|d| d.snapshot.as_mut());
        snapshot.map(|snapshot| snapshot.damaged = true).is_some()
    }

    /// Damages the segment that begins at a position; `false` if there is none.
    pub fn damage_segment(&self, dashboard: &DashboardId, from: LogPosition) -> bool {
        let mut shared = self.lock();
        let segment = shared.dashboards.get_mut(dashboard).and_then(|d| d.segments.get_mut(&from));
        segment.map(|segment| segment.record = segment.record.slice(1..)).is_some()
    }

    /// Damages the state of a version; `false` if there is none.
    pub fn damage_version(&self, dashboard: &DashboardId, id: VersionId) -> bool {
        let mut shared = self.lock();
        let version = shared.dashboards.get_mut(dashboard).and_then(|there| there.versions.get_mut(&id));
        version.map(|version| version.record = version.record.slice(1..)).is_some()
    }

    /// Puts another segment where one begins.
    #[cfg(test)]
    pub(crate) fn replace_segment(&self, dashboard: &DashboardId, segment: SealedSegment) {
        let mut shared = self.lock();
        shared.dashboards.get_mut(dashboard).unwrap().segments.insert(segment.info.from, segment);
    }

    /// Damages the base; `false` if the log stands on nothing.
    pub fn damage_base(&self, dashboard: &DashboardId) -> bool {
        let mut shared = self.lock();
        let base = shared.dashboards.get_mut(dashboard).and_then(|d| d.base.as_mut());
        base.map(|base| *base = Base { is_damaged: true, ..Base::empty(base.position) }).is_some()
    }

    /// Loses everything, as a server without persistence does when it is restarted.
    pub fn lose_everything(&self) {
        let mut shared = self.lock();
        shared.dashboards.clear();
        shared.life += 1;
    }

    /// Loses the log after a position and any snapshot that covers more, as a server that is restored from an older copy.
    pub fn lose_after(&self, dashboard: &DashboardId, position: LogPosition) {
        let mut shared = self.lock();
        shared.life += 1;
        let Some(dashboard) = shared.dashboards.get_mut(dashboard) else { return };
        dashboard.log.retain(|at, _| *at <= position);
        dashboard.snapshot.take_if(|snapshot| snapshot.covers > position);
        if dashboard.base.as_ref().is_some_and(|base| base.position > position) {
            // The base of the older copy is not known here.
            dashboard.base = Some(Base { is_damaged: true, ..Base::empty(position) });
            dashboard.segments.retain(|_, segment| segment.info.to <= position);
        }
        dashboard.lost.push((position, dashboard.end));
        dashboard.end = position;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("nothing panics while it holds the dashboards")
    }

    fn open(&self) -> Result<MutexGuard<'_, Shared>, StoreError> {
        let shared = self.lock();
        if shared.closed { Err(StoreError::Closed) } else { Ok(shared) }
    }
}

impl Store for MemoryStore {
    fn load<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Load, Some(dashboard)).await?;
            let stored = self.open()?.dashboards.get(dashboard).map(Dashboard::load).unwrap_or_default();
            self.faults.pass(Step::Loaded, Some(dashboard)).await?;
            Ok(stored)
        })
    }

    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(async move {
            // One fault decides about the batch, as one failing disk would.
            let first = batch.first().map(|append| append.dashboard.clone());
            if let Err(error) = self.faults.pass(Step::Append, first.as_ref()).await {
                return vec![Err(error); batch.len()];
            }
            let len = batch.len();
            let results = match self.open() {
                Ok(mut shared) => batch.into_iter().map(|append| shared.append(append)).collect(),
                Err(error) => return vec![Err(error); len],
            };
            match self.faults.pass(Step::Appended, first.as_ref()).await {
                Ok(()) => results,
                Err(error) => vec![Err(error); len],
            }
        })
    }

    fn snapshot<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        covers: LogPosition,
        state: Bytes,
    ) -> BoxFuture<'a, Result<SnapshotOutcome, StoreError>> {
        Box::pin(async move {
            if state.len() > RECORD_BYTES_MAX {
                return Err(StoreError::TooLarge { bytes: state.len() });
            }
            self.faults.pass(Step::Snapshot, Some(dashboard)).await?;
            let outcome = self.open()?.snapshot(dashboard, covers, state)?;
            self.faults.pass(Step::SnapshotKept, Some(dashboard)).await?;
            Ok(outcome)
        })
    }

    fn history<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<History, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Log, Some(dashboard)).await?;
            Ok(self.open()?.dashboards.get(dashboard).map(Dashboard::past).unwrap_or_default())
        })
    }

    fn base<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Base, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Log, Some(dashboard)).await?;
            let base = self.open()?.dashboards.get(dashboard).map(Dashboard::stands_on);
            Ok(base.unwrap_or_else(|| Base::empty(LogPosition::START)))
        })
    }

    fn seal<'a>(&'a self, dashboard: &'a DashboardId, seal: Seal) -> BoxFuture<'a, Result<SealOutcome, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Seal, Some(dashboard)).await?;
            let outcome = self.open()?.seal(dashboard, seal, self.history);
            self.faults.pass(Step::Sealed, Some(dashboard)).await?;
            Ok(outcome)
        })
    }

    fn trim<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.open()?.trim(dashboard);
            self.faults.pass(Step::Trimmed, Some(dashboard)).await
        })
    }

    fn segment<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        from: LogPosition,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Log, Some(dashboard)).await?;
            let shared = self.open()?;
            let found = shared.dashboards.get(dashboard).and_then(|there| there.segments.get(&from));
            Ok(found.map(|segment| segment.record.clone()))
        })
    }

    fn drop_segments<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        to: LogPosition,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Seal, Some(dashboard)).await?;
            let mut shared = self.open()?;
            let Some(there) = shared.dashboards.get_mut(dashboard) else { return Ok(()) };
            let going: Vec<_> = there.segments.values().filter(|s| s.info.to <= to).map(|s| s.info.from).collect();
            let damaged = going.iter().filter(|from| there.forget_segment(**from)).count() as u64;
            shared.set_aside += damaged;
            Ok(())
        })
    }

    fn versions<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Vec<VersionInfo>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Versions, Some(dashboard)).await?;
            Ok(self.open()?.dashboards.get(dashboard).map(Dashboard::described).unwrap_or_default())
        })
    }

    fn version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Versions, Some(dashboard)).await?;
            let shared = self.open()?;
            let found = shared.dashboards.get(dashboard).and_then(|there| there.versions.get(&id));
            Ok(found.map(|version| version.record.clone()))
        })
    }

    fn keep_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        life: Life,
        version: KeptVersion,
    ) -> BoxFuture<'a, Result<VersionOutcome, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::KeepVersion, Some(dashboard)).await?;
            self.open()?.keep_version(dashboard, life, version, self.history)
        })
    }

    fn describe_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        before: VersionInfo,
        after: VersionInfo,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::KeepVersion, Some(dashboard)).await?;
            let mut shared = self.open()?;
            let there = shared.dashboards.get_mut(dashboard).and_then(|there| there.versions.get_mut(&before.id));
            Ok(there.filter(|version| version.info == before).map(|version| version.info = after).is_some())
        })
    }

    fn remove_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::KeepVersion, Some(dashboard)).await?;
            let mut shared = self.open()?;
            Ok(shared.dashboards.get_mut(dashboard).is_some_and(|there| there.versions.remove(&id).is_some()))
        })
    }

    fn log<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        after: LogPosition,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(LogPosition, LogEntry)>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Log, Some(dashboard)).await?;
            let shared = self.open()?;
            let Some(dashboard) = shared.dashboards.get(dashboard) else { return Ok(Vec::new()) };
            let readable = dashboard.after(after).filter(|(_, logged)| !logged.damaged);
            Ok(readable.take(limit).map(|(at, logged)| (*at, logged.entry.clone())).collect())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::List, None).await?;
            let shared = self.open()?;
            let ids = shared.dashboards.keys().filter(|id| id.of_trash().is_none());
            Ok(page_of(ids, prefix, after, limit))
        })
    }

    fn remove<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Remove, Some(dashboard)).await?;
            let mut shared = self.open()?;
            shared.dashboards.remove(dashboard);
            shared.refused.remove(dashboard);
            Ok(())
        })
    }

    fn lives<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Lives, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Lives, Some(dashboard)).await?;
            Ok(self.open()?.lives.get(dashboard).cloned().unwrap_or_default())
        })
    }

    fn change_life<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        change: LifeChange,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Remove, Some(dashboard)).await?;
            self.open()?.change_life(dashboard, change)
        })
    }

    fn deleted<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::List, None).await?;
            Ok(page_of(self.open()?.lives.keys(), prefix, after, limit))
        })
    }

    fn set_aside<'a>(&'a self, dashboard: &'a DashboardId, refused: SetAside) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::SetAside, Some(dashboard)).await?;
            let mut shared = self.open()?;
            if shared.lives.get(dashboard).is_none_or(|lives| lives.gone.is_none()) {
                shared.refused.entry(dashboard.clone()).or_default().keep(refused);
            }
            Ok(())
        })
    }

    fn refused<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Refused, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Log, Some(dashboard)).await?;
            let shared = self.open()?;
            let Some(kept) = shared.refused.get(dashboard) else { return Ok(Refused::default()) };
            let refused = kept.refused.iter().map(|(_, refused)| refused.clone()).collect();
            Ok(Refused { kept: refused, dropped: kept.dropped })
        })
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(self.catalog.clone())
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Check, None).await?;
            Ok(self.open()?.check())
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<StoreLife, StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Ping, None).await?;
            self.open().map(|shared| StoreLife(shared.life))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.faults.pass(Step::Close, None).await?;
            self.lock().closed = true;
            self.catalog.set_closed(true);
            Ok(())
        })
    }
}

/// The names of a list that are wanted.
fn page_of<'a>(
    ids: impl Iterator<Item = &'a DashboardId>,
    prefix: &str,
    after: Option<&DashboardId>,
    limit: usize,
) -> Vec<DashboardId> {
    // Compared as text: the order of every store.
    let is_wanted =
        |id: &&DashboardId| id.as_str().starts_with(prefix) && after.is_none_or(|after| id.as_str() > after.as_str());
    ids.filter(is_wanted).take(limit).cloned().collect()
}

impl Shared {
    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        if let Some(entry) = append.entries.iter().find(|entry| entry.update.len() > RECORD_BYTES_MAX) {
            return Err(StoreError::TooLarge { bytes: entry.update.len() });
        }
        let is_current = |lives: &Lives| lives.is_current(append.life);
        if !self.lives.get(&append.dashboard).map_or(append.life == Life::FIRST, is_current) {
            return Err(StoreError::Gone);
        }
        if let Some(known) = append.after {
            self.expect(&append.dashboard, known)?;
        }
        let before = self.dashboards.get(&append.dashboard).map(|dashboard| dashboard.end).unwrap_or_default();
        if append.entries.is_empty() {
            return Ok(Appended { position: before, before });
        }
        let dashboard = self.dashboards.entry(append.dashboard).or_default();
        for entry in append.entries {
            self.end += 1;
            dashboard.end = LogPosition(self.end);
            dashboard.log.insert(dashboard.end, Logged { entry, damaged: false });
        }
        Ok(Appended { position: dashboard.end, before })
    }

    fn keep_version(
        &mut self,
        id: &DashboardId,
        life: Life,
        version: KeptVersion,
        limits: HistoryLimits,
    ) -> Result<VersionOutcome, StoreError> {
        if !self.lives.get(id).map_or(life == Life::FIRST, |lives| lives.is_current(life)) {
            return Err(StoreError::Gone);
        }
        let Some(dashboard) = self.dashboards.get_mut(id) else { return Ok(VersionOutcome::Absent) };
        if dashboard.versions.contains_key(&version.info.id) {
            return Ok(VersionOutcome::Kept);
        }
        match versions::displaced(&dashboard.described(), &version.info, &limits.versions) {
            Ok(going) => going.iter().for_each(|id| drop(dashboard.versions.remove(id))),
            Err(limit) => return Ok(VersionOutcome::Full(limit)),
        }
        dashboard.versions.insert(version.info.id, version);
        Ok(VersionOutcome::Kept)
    }

    fn change_life(&mut self, id: &DashboardId, LifeChange { next, moving }: LifeChange) -> Result<(), StoreError> {
        if self.lives.get(id).map_or(0, |lives| lives.version) + 1 != next.version {
            return Err(StoreError::LifeChanged);
        }
        let (from, to) = match moving {
            Moving::Nothing => (id.clone(), id.clone()),
            Moving::Aside(life) => (id.clone(), id.trashed(life)),
            Moving::Back(life) => (id.trashed(life), id.clone()),
        };
        if from != to {
            if let Some(dashboard) = self.dashboards.remove(&from) {
                self.dashboards.insert(to.clone(), dashboard);
            }
            if let Some(refused) = self.refused.remove(&from) {
                self.refused.insert(to, refused);
            }
        }
        self.lives.insert(id.clone(), next);
        Ok(())
    }

    /// Makes sure that everything up to a position is there.
    fn expect(&self, id: &DashboardId, known: LogPosition) -> Result<(), StoreError> {
        let dashboard = self.dashboards.get(id);
        let end = dashboard.map(|dashboard| dashboard.end).unwrap_or_default();
        let is_lost = |(after, to): &(LogPosition, LogPosition)| *after < known && known <= *to;
        let is_there = dashboard.is_some_and(|there| !there.lost.iter().any(is_lost) && there.holds(known));
        if known == LogPosition::START || is_there { Ok(()) } else { Err(StoreError::Lost { known, end }) }
    }

    fn snapshot(&mut self, id: &DashboardId, covers: LogPosition, state: Bytes) -> Result<SnapshotOutcome, StoreError> {
        self.expect(id, covers)?;
        let dashboard = self.dashboards.entry(id.clone()).or_default();
        if dashboard.snapshot.as_ref().is_some_and(|kept| !kept.damaged && kept.covers > covers) {
            return Ok(SnapshotOutcome::Superseded);
        }
        if dashboard.is_unfounded {
            dashboard.base = dashboard.snapshot.is_some().then(|| dashboard.stands_on());
            dashboard.is_unfounded = false;
        }
        if dashboard.base.is_none() && covers == LogPosition::START {
            dashboard.base = Some(Base { state: state.clone(), ..Base::empty(covers) });
        }
        let displaced = dashboard.snapshot.replace(Snapshot { covers, state, damaged: false });
        self.set_aside += u64::from(displaced.is_some_and(|kept| kept.damaged));
        Ok(SnapshotOutcome::Kept)
    }

    fn seal(&mut self, id: &DashboardId, seal: Seal, limits: HistoryLimits) -> SealOutcome {
        let Some(dashboard) = self.dashboards.get_mut(id) else { return SealOutcome::Superseded };
        let stands = dashboard.stands_on().position;
        let covers = dashboard.snapshot.as_ref().map(|snapshot| snapshot.covers);
        if stands != seal.from || seal.base.position <= stands || covers < Some(seal.base.position) {
            return SealOutcome::Superseded;
        }
        dashboard.is_unfounded = false;
        let displaced = dashboard.base.replace(seal.base);
        let mut set_aside = u64::from(displaced.is_some_and(|base| base.is_damaged));
        let mut outcome = SealOutcome::Sealed;
        match seal.segment {
            Some(segment) if segment.info.counts() > limits.bytes => outcome = SealOutcome::TooLong,
            Some(segment) => drop(dashboard.segments.insert(segment.info.from, segment)),
            None => {}
        }
        set_aside += dashboard.shorten(limits.bytes);
        let mut allowed = limits.bytes;
        while allowed > 0 && self.dashboards.values().map(Dashboard::history_bytes).sum::<u64>() > limits.bytes_total {
            allowed /= 2;
            set_aside += self.dashboards.values_mut().map(|dashboard| dashboard.shorten(allowed)).sum::<u64>();
        }
        self.set_aside += set_aside;
        outcome
    }

    fn trim(&mut self, id: &DashboardId) {
        let Some(dashboard) = self.dashboards.get_mut(id) else { return };
        let (Some(base), Some(snapshot)) = (&dashboard.base, &dashboard.snapshot) else { return };
        let to = base.position.min(snapshot.covers);
        let mut set_aside = 0;
        dashboard.log.retain(|at, logged| {
            set_aside += u64::from(*at <= to && logged.damaged);
            *at > to
        });
        self.set_aside += set_aside;
    }

    fn check(&self) -> CheckReport {
        let mut report = CheckReport { set_aside: self.set_aside, ..CheckReport::default() };
        let refused = self.refused.iter().map(|(id, kept)| (id.to_string(), kept.refused.len() as u64));
        report.refused = refused.collect();
        for (id, dashboard) in &self.dashboards {
            report.dashboards += 1;
            let mut damaged = |position| {
                let why = "damaged by a test".to_owned();
                report.report(DamagedRecord { dashboard: id.to_string(), position, why });
            };
            let unreadable = dashboard.log.iter().filter(|(_, logged)| logged.damaged);
            unreadable.for_each(|(at, _)| damaged(Some(*at)));
            if dashboard.base.as_ref().is_some_and(|base| base.is_damaged) {
                damaged(None);
            }
            match &dashboard.snapshot {
                Some(snapshot) if snapshot.damaged => damaged(None),
                Some(snapshot) => {
                    report.snapshots += 1;
                    report.bytes += snapshot.state.len() as u64;
                }
                None => {}
            }
            for (from, segment) in &dashboard.segments {
                match verify_segment(&segment.record) {
                    Ok(()) => {
                        report.segments += 1;
                        report.bytes += segment.record.len() as u64;
                    }
                    Err(error) => report.report(DamagedRecord {
                        dashboard: id.to_string(),
                        position: Some(*from),
                        why: format!("sealed segment: {error}"),
                    }),
                }
            }
            for version in dashboard.versions.values() {
                match KeptVersion::open(&version.record) {
                    Ok(_) => {
                        report.versions += 1;
                        report.bytes += version.record.len() as u64;
                    }
                    Err(why) => report.report(DamagedRecord {
                        dashboard: id.to_string(),
                        position: None,
                        why: format!("version {}: {why}", version.info.id),
                    }),
                }
            }
            for logged in dashboard.log.values().filter(|logged| !logged.damaged) {
                report.entries += 1;
                report.bytes += logged.entry.update.len() as u64;
            }
        }
        report
    }
}

impl Kept {
    fn keep(&mut self, refused: SetAside) {
        let len = encode_refused(&refused).len();
        match displaced(self.refused.iter().map(|(len, _)| *len), len) {
            None => self.dropped += 1,
            Some(going) => {
                self.refused.drain(..going);
                self.dropped += going as u64;
                self.refused.push_back((len, refused));
            }
        }
    }
}

impl Dashboard {
    fn load(&self) -> Stored {
        let mut stored = Stored::default();
        match &self.snapshot {
            Some(snapshot) if snapshot.damaged => {
                stored.damaged += 1;
                if let Some(base) = self.base.as_ref().filter(|base| !base.is_damaged) {
                    stored.snapshot = Some((base.position, base.state.clone()));
                    stored.position = base.position;
                }
            }
            Some(snapshot) => {
                stored.snapshot = Some((snapshot.covers, snapshot.state.clone()));
                stored.position = snapshot.covers;
            }
            None => {}
        }
        for (at, logged) in self.after(stored.position) {
            stored.position = *at;
            if logged.damaged {
                stored.damaged += 1;
            } else {
                stored.tail.push(logged.entry.update.clone());
            }
        }
        stored
    }

    fn stands_on(&self) -> Base {
        match (&self.base, &self.snapshot) {
            (Some(base), _) => base.clone(),
            (None, Some(kept)) if self.is_unfounded => Base { state: kept.state.clone(), ..Base::empty(kept.covers) },
            _ => Base::empty(LogPosition::START),
        }
    }

    fn past(&self) -> History {
        let base = self.stands_on().position;
        History {
            base,
            is_founded: !self.is_unfounded,
            covers: self.snapshot.as_ref().map(|snapshot| snapshot.covers),
            log_bytes: self.after(base).map(|(_, logged)| logged.len()).sum(),
            since: self.after(base).next().map(|(_, logged)| logged.entry.at),
            segments: self.segments.values().map(|segment| segment.info).collect(),
        }
    }

    /// The descriptions of its versions.
    fn described(&self) -> Vec<VersionInfo> {
        self.versions.values().map(|version| version.info.clone()).collect()
    }

    /// The size of its segments ([`SegmentInfo::counts`](super::SegmentInfo)).
    fn history_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.info.counts()).sum()
    }

    /// Removes the oldest segments beyond so many bytes, and says how many of what it removed was damaged.
    fn shorten(&mut self, bytes: u64) -> u64 {
        let mut damaged = 0;
        while self.history_bytes() > bytes
            && let Some(oldest) = self.segments.keys().next().copied()
        {
            damaged += u64::from(self.forget_segment(oldest));
        }
        damaged
    }

    /// Whether it was damaged.
    fn forget_segment(&mut self, from: LogPosition) -> bool {
        self.segments.remove(&from).is_some_and(|segment| verify_segment(&segment.record).is_err())
    }

    /// Whether an entry is in the log, or in the snapshot.
    fn holds(&self, position: LogPosition) -> bool {
        self.log.contains_key(&position) || self.snapshot.as_ref().is_some_and(|snapshot| snapshot.covers >= position)
    }

    fn after(&self, position: LogPosition) -> impl Iterator<Item = (&LogPosition, &Logged)> {
        // Half-open from the next position, because a range that starts after its end would panic.
        self.log.range(LogPosition(position.0.saturating_add(1))..)
    }
}

impl Logged {
    fn len(&self) -> u64 {
        self.entry.update.len() as u64
    }
}

/// A moment in a store's work at which a test may interfere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Before anything is read for a load.
    Load,
    /// After a load was read, before it is answered.
    Loaded,
    /// Before a batch is written.
    Append,
    /// After a batch is durable, before it is answered: failing here stands for a lost answer.
    Appended,
    /// Before a snapshot is written.
    Snapshot,
    /// After a snapshot is durable, before it is answered.
    SnapshotKept,
    /// Before the base is put forward, or segments are dropped.
    Seal,
    /// After the base was put forward, before it is answered: failing here stands for a crash before the log is trimmed.
    Sealed,
    /// After the log is trimmed.
    Trimmed,
    /// Before it is looked up what was deleted under a name.
    Lives,
    /// Before versions are read.
    Versions,
    /// Before a version is kept, described anew or removed.
    KeepVersion,
    /// Before log entries are read.
    Log,
    /// Before dashboards are listed.
    List,
    /// Before a dashboard is removed.
    Remove,
    /// Before refused content is kept.
    SetAside,
    /// Before a check.
    Check,
    /// Before a ping is answered.
    Ping,
    /// Before the store closes.
    Close,
}

/// What a hook wants to happen at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// Fail with [`StoreError::Unavailable`].
    Fail,
}

/// Called at every step, with the dashboard where there is one (the first one of a batch).
pub type Hook = dyn Fn(Step, Option<&DashboardId>) -> Verdict + Send + Sync;

/// The switches of a [`MemoryStore`]. Clones share them.
#[derive(Clone)]
pub struct Faults {
    switches: Arc<watch::Sender<Switches>>,
}

#[derive(Clone, Default)]
struct Switches {
    down: bool,
    failing: HashMap<Step, u32>,
    delay: HashMap<Step, Duration>,
    held: HashMap<Step, usize>,
    waiting: HashMap<Step, usize>,
    passed: HashMap<Step, u64>,
    hook: Option<Arc<Hook>>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { switches: Arc::new(watch::Sender::new(Switches::default())) }
    }
}

impl Faults {
    /// Makes everything fail as long as it is `true`.
    pub fn set_down(&self, down: bool) {
        self.switches.send_modify(|switches| switches.down = down);
    }

    /// Fails the next `times` passes of a step; `u32::MAX` fails all of them, 0 none.
    pub fn fail(&self, step: Step, times: u32) {
        self.switches.send_modify(|switches| {
            switches.failing.insert(step, times);
        });
    }

    /// Fails the next `times` batches of appends; nothing of them is written.
    pub fn fail_appends(&self, times: u32) {
        self.fail(Step::Append, times);
    }

    /// Fails the next `times` loads.
    pub fn fail_loads(&self, times: u32) {
        self.fail(Step::Load, times);
    }

    /// Fails the next `times` snapshots; nothing of them is written.
    pub fn fail_snapshots(&self, times: u32) {
        self.fail(Step::Snapshot, times);
    }

    /// Lets every pass of a step take that long, by tokio's clock.
    pub fn delay(&self, step: Step, delay: Duration) {
        self.switches.send_modify(|switches| {
            switches.delay.insert(step, delay);
        });
    }

    /// Lets nobody pass a step while the returned [`Gate`] lives.
    #[must_use]
    pub fn hold(&self, step: Step) -> Gate {
        self.switches.send_modify(|switches| *switches.held.entry(step).or_default() += 1);
        Gate { faults: self.clone(), step }
    }

    /// Asks `hook` at every step from now on.
    pub fn on_step(&self, hook: impl Fn(Step, Option<&DashboardId>) -> Verdict + Send + Sync + 'static) {
        self.switches.send_modify(|switches| switches.hook = Some(Arc::new(hook)));
    }

    /// How often a step was reached, failures included.
    #[must_use]
    pub fn passed(&self, step: Step) -> u64 {
        self.switches.borrow().passed.get(&step).copied().unwrap_or(0)
    }

    /// Heals everything: no failures, delays or hooks. Gates stay.
    pub fn heal(&self) {
        self.switches.send_modify(|switches| {
            switches.down = false;
            switches.failing.clear();
            switches.delay.clear();
            switches.hook = None;
        });
    }

    async fn pass(&self, step: Step, dashboard: Option<&DashboardId>) -> Result<(), StoreError> {
        let (delay, held) = {
            let mut seen = (Duration::ZERO, false);
            self.switches.send_if_modified(|switches| {
                *switches.passed.entry(step).or_default() += 1;
                seen.0 = switches.delay.get(&step).copied().unwrap_or_default();
                seen.1 = switches.held.contains_key(&step);
                false
            });
            seen
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if held {
            let _waiting = Waiting::at(self, step);
            let mut switches = self.switches.subscribe();
            // The sender cannot be gone: `self` holds it.
            let _ = switches.wait_for(|switches| !switches.held.contains_key(&step)).await;
        }
        let hook = self.switches.borrow().hook.clone();
        if hook.is_some_and(|hook| hook(step, dashboard) == Verdict::Fail) || self.take_failure(step) {
            return Err(StoreError::unavailable("reach the memory store", Injected { step }));
        }
        Ok(())
    }

    fn take_failure(&self, step: Step) -> bool {
        let mut fails = false;
        self.switches.send_if_modified(|switches| {
            fails = switches.down;
            if let Some(left) = switches.failing.get_mut(&step).filter(|left| **left > 0) {
                fails = true;
                if *left < u32::MAX {
                    *left -= 1;
                }
            }
            false
        });
        fails
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = self.switches.borrow();
        f.debug_struct("Faults")
            .field("down", &switches.down)
            .field("failing", &switches.failing)
            .finish_non_exhaustive()
    }
}

/// Holds everybody at one step until it is dropped.
#[derive(Debug)]
pub struct Gate {
    faults: Faults,
    step: Step,
}

impl Gate {
    /// Waits until `count` callers stand before the gate.
    pub async fn arrived(&self, count: usize) {
        let mut switches = self.faults.switches.subscribe();
        // The sender cannot be gone: `self` holds it.
        let _ = switches.wait_for(|switches| switches.waiting.get(&self.step).copied().unwrap_or(0) >= count).await;
    }

    /// Lets everybody through, as dropping it does.
    pub fn release(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.faults.switches.send_modify(|switches| {
            if let Some(gates) = switches.held.get_mut(&self.step) {
                *gates -= 1;
                if *gates == 0 {
                    switches.held.remove(&self.step);
                }
            }
        });
    }
}

/// Counts a caller before a gate, also when its future is dropped there.
struct Waiting<'a> {
    faults: &'a Faults,
    step: Step,
}

impl<'a> Waiting<'a> {
    fn at(faults: &'a Faults, step: Step) -> Waiting<'a> {
        faults.switches.send_modify(|switches| *switches.waiting.entry(step).or_default() += 1);
        Waiting { faults, step }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.faults.switches.send_modify(|switches| *switches.waiting.entry(self.step).or_default() -= 1);
    }
}

/// The cause of a failure that a test asked for.
#[derive(Debug, thiserror::Error)]
#[error("fault injected at {step:?}")]
struct Injected {
    step: Step,
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Bench, id, update};
    use super::*;

    struct MemoryBench(MemoryStore);

    impl Bench for MemoryBench {
        async fn new() -> MemoryBench {
            MemoryBench(MemoryStore::new())
        }

        fn store(&self) -> &dyn Store {
            &self.0
        }

        async fn reopen(&mut self) {
            self.0.close().await.unwrap();
            self.0 = self.0.reopened();
        }

        async fn bound_history(&mut self, history: HistoryLimits) {
            self.0 = self.0.clone().with_history(history);
        }

        async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
            assert!(self.0.damage_entry(dashboard, index));
        }

        async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
            assert!(self.0.damage_snapshot(dashboard));
        }

        async fn damage_segment(&mut self, dashboard: &DashboardId, from: LogPosition) {
            assert!(self.0.damage_segment(dashboard, from));
        }

        async fn damage_base(&mut self, dashboard: &DashboardId) {
            assert!(self.0.damage_base(dashboard));
        }

        async fn damage_version(&mut self, dashboard: &DashboardId, id: VersionId) {
            assert!(self.0.damage_version(dashboard, id));
        }

        async fn unfound(&mut self, dashboard: &DashboardId) {
            self.0.lock().dashboards.get_mut(dashboard).unwrap().is_unfounded = true;
        }
    }

    contract::suite!(MemoryBench);

    #[tokio::test]
    async fn failing_appends_write_nothing_and_then_heal() {
        let store = MemoryStore::new();
        store.faults().fail_appends(1);
        let error = store.append(vec![update("w/a", 1)]).await.remove(0).unwrap_err();
        assert!(error.is_transient());
        assert!(store.load(&id("w/a")).await.unwrap().is_empty());
        assert!(store.append(vec![update("w/a", 1)]).await.remove(0).is_ok());
    }

    #[tokio::test]
    async fn failure_after_the_append_is_an_answer_lost() {
        let store = MemoryStore::new();
        store.faults().fail(Step::Appended, 1);
        assert!(store.append(vec![update("w/a", 1)]).await.remove(0).is_err());
        assert_eq!(store.load(&id("w/a")).await.unwrap().tail.len(), 1);
    }

    #[tokio::test]
    async fn a_store_that_is_down_refuses_everything_until_it_is_up() {
        let store = MemoryStore::new();
        store.faults().set_down(true);
        assert!(store.ping().await.is_err());
        assert!(store.load(&id("w/a")).await.is_err());
        assert!(store.append(vec![update("w/a", 1)]).await.remove(0).is_err());
        store.faults().set_down(false);
        assert!(store.ping().await.is_ok());
    }

    #[tokio::test]
    async fn a_gate_holds_callers_at_its_step() {
        let store = MemoryStore::new();
        let gate = store.faults().hold(Step::Load);
        let load = tokio::spawn({
            let store = store.clone();
            async move { store.load(&id("w/a")).await }
        });
        gate.arrived(1).await;
        assert!(!load.is_finished());
        gate.release();
        assert!(load.await.unwrap().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_hook_decides_about_each_step() {
        let store = MemoryStore::new();
        store.faults().on_step(|step, dashboard| {
            let hit = step == Step::Load && dashboard == Some(&id("w/b"));
            if hit { Verdict::Fail } else { Verdict::Proceed }
        });
        assert!(store.load(&id("w/a")).await.is_ok());
        assert!(store.load(&id("w/b")).await.is_err());
        assert_eq!(store.faults().passed(Step::Load), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_takes_virtual_time() {
        let store = MemoryStore::new();
        store.faults().delay(Step::Append, Duration::from_secs(5));
        let before = tokio::time::Instant::now();
        store.append(vec![update("w/a", 1)]).await.remove(0).unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(5));
    }
}
