//! The one thread that writes: it turns jobs into batches, and answers when they are durable.
//!
//! Jobs that wait while a batch is being synced go into the next one together. Being alone, it may read, decide and write
//! without locks: positions grow and snapshots are guarded because nobody else does either.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use bytes::Bytes;
use tokio::sync::oneshot;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, Moving};
use ydash_proto::version::VersionId;

use super::super::record::{Head, RecordError, decode_entry_at, encode_entry, encode_version, verify_segment};
use super::super::refused::displaced;
use super::super::versions;
use super::super::{
    Append, Appended, HistoryLimits, KeptVersion, LogPosition, SealOutcome, SealedSegment, SegmentInfo,
    SnapshotOutcome, StoreError, VersionInfo, VersionOutcome,
};
use super::catalog;
use super::engine::{Batch, EngineError, Found, Unreadable, View};
use super::slot::Slot;
use crate::catalog::{CatalogError, Expected, Key, Version};

/// How many log entries one batch removes: some 50 ms of work.
pub(super) const SWEEP_ENTRIES_MAX: usize = 16 << 10;

/// How many jobs and bytes share one batch.
const GROUP_JOBS_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 16 << 20;

/// How many positions are reserved at once: one more small record in that many entries.
const RESERVED_POSITIONS: u64 = 1 << 16;

/// How many dashboards are remembered, to spare a look-up for every append.
const DASHBOARDS_MAX: usize = 8 << 10;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked to do.
pub(super) enum Job {
    Append {
        batch: Vec<Append>,
        answer: oneshot::Sender<Vec<Result<Appended, StoreError>>>,
    },
    Snapshot {
        snapshot: Snapshot,
        answer: Answer<SnapshotOutcome>,
    },
    /// Puts the base of a dashboard forward.
    Seal {
        sealing: Sealing,
        answer: Answer<SealOutcome>,
    },
    /// Removes log entries up to the base.
    Trim {
        dashboard: DashboardId,
        answer: Answer<()>,
    },
    /// Removes the segments up to a position.
    DropSegments {
        dashboard: DashboardId,
        to: LogPosition,
        answer: Answer<()>,
    },
    /// Keeps a version with its content.
    KeepVersion {
        dashboard: DashboardId,
        life: Life,
        version: KeptVersion,
        answer: Answer<VersionOutcome>,
    },
    /// Replaces the description of a version, if it is what it was.
    DescribeVersion {
        dashboard: DashboardId,
        before: VersionInfo,
        after: VersionInfo,
        answer: Answer<bool>,
    },
    RemoveVersion {
        dashboard: DashboardId,
        id: VersionId,
        answer: Answer<bool>,
    },
    Remove {
        dashboard: DashboardId,
        answer: Answer<()>,
    },
    /// Keeps what a room refused.
    SetAside {
        dashboard: DashboardId,
        record: Vec<u8>,
        answer: Answer<()>,
    },
    /// Ends, begins or brings back a life of a name.
    ChangeLife {
        dashboard: DashboardId,
        change: LifeChange,
        answer: Answer<bool>,
    },
    /// Writes a record of the catalog, or removes it.
    Catalogue {
        key: Key,
        expected: Expected,
        content: Option<Bytes>,
        answer: Answer<Result<Version, CatalogError>>,
    },
    /// Finishes a removal that a crash has interrupted.
    Sweep {
        dashboard: DashboardId,
    },
    Ping {
        answer: Answer<()>,
    },
    Close {
        answer: Answer<()>,
    },
}

/// A snapshot to be kept, with what was found out beforehand so that this thread need not read it.
pub(super) struct Snapshot {
    pub(super) dashboard: DashboardId,
    pub(super) covers: LogPosition,
    pub(super) record: Vec<u8>,
    /// What the kept snapshot covers, if that one is damaged and must not refuse this one.
    pub(super) displaces: Option<u64>,
    /// Position and record of the base, where it has none yet: this snapshot or, of an earlier ydash, the one that it displaces.
    pub(super) base: Option<(u64, Vec<u8>)>,
    /// The damaged record that it displaces.
    pub(super) aside: Vec<Vec<u8>>,
}

/// A seal, with what was made and found out beforehand.
pub(super) struct Sealing {
    pub(super) dashboard: DashboardId,
    pub(super) from: LogPosition,
    pub(super) to: LogPosition,
    /// The record of the next base.
    pub(super) base: Vec<u8>,
    pub(super) segment: Option<SealedSegment>,
    /// The damaged record of the base that it displaces.
    pub(super) displaced: Option<Vec<u8>>,
}

pub(super) struct Committer {
    slot: Arc<Slot>,
    jobs: Receiver<Job>,
    /// The last position given out.
    end: u64,
    /// Positions up to it are reserved on disk; 0 when that is not certain.
    reserved: u64,
    dashboards: HashMap<DashboardId, Live>,
    sweeps: VecDeque<DashboardId>,
    limits: HistoryLimits,
    relief: Relief,
}

/// Shortening the history of all dashboards while there is too much of it, the longest first.
#[derive(Default)]
struct Relief {
    /// The size of all dashboards' segments ([`SegmentInfo::counts`]).
    total: u64,
    /// How much each may keep in this round; it halves from round to round.
    allowed: Option<u64>,
    /// The dashboard that was looked at last.
    after: Option<DashboardId>,
    /// Nothing more can go until there is another snapshot.
    is_exhausted: bool,
}

/// How many heads are looked at between two jobs.
const RELIEF_HEADS: usize = 1024;

impl Committer {
    pub(super) fn new(slot: Arc<Slot>, jobs: Receiver<Job>, end: u64, limits: HistoryLimits) -> Committer {
        let (dashboards, sweeps, relief) = (HashMap::new(), VecDeque::new(), Relief::default());
        Committer { slot, jobs, end, reserved: end, dashboards, sweeps, limits, relief }
    }

    /// Works until it is told to close or everybody who could ask is gone.
    pub(super) fn run(mut self) {
        let mut next = None;
        let counted = self.slot.read("count history", |view| {
            let mut total = 0;
            view.heads("", None, |found| {
                total += found.head.history;
                Ok(ControlFlow::<()>::Continue(()))
            })?;
            Ok(total)
        });
        // If it cannot be counted, only later seals count.
        self.relief.total = counted.unwrap_or(0);
        loop {
            let job = match next.take() {
                Some(job) => job,
                None if self.sweeps.is_empty() && !self.is_over() => match self.jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
                None => match self.jobs.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty) => {
                        if self.sweeps.is_empty() {
                            self.relieve()
                        } else {
                            self.sweep_next()
                        }
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return,
                },
            };
            // Whoever asked may be gone; what was asked is done all the same.
            match job {
                Job::Append { .. } | Job::Snapshot { .. } => next = self.commit_group(job),
                Job::Seal { sealing, answer } => drop(answer.send(self.seal(&sealing))),
                Job::Trim { dashboard, answer } => drop(answer.send(self.trim(&dashboard))),
                Job::DropSegments { dashboard, to, answer } => drop(answer.send(self.drop_segments(&dashboard, to))),
                Job::KeepVersion { dashboard, life, version, answer } => {
                    drop(answer.send(self.keep_version(&dashboard, life, &version)));
                }
                Job::DescribeVersion { dashboard, before, after, answer } => {
                    drop(answer.send(self.describe_version(&dashboard, &before, &after)));
                }
                Job::RemoveVersion { dashboard, id, answer } => {
                    drop(answer.send(self.remove_version(&dashboard, id)));
                }
                Job::Remove { dashboard, answer } => drop(answer.send(self.remove(&dashboard))),
                Job::SetAside { dashboard, record, answer } => drop(answer.send(self.set_aside(&dashboard, record))),
                Job::ChangeLife { dashboard, change, answer } => {
                    drop(answer.send(self.change_life(&dashboard, &change)));
                }
                Job::Catalogue { key, expected, content, answer } => {
                    drop(answer.send(self.catalogue(&key, expected, content.as_ref())));
                }
                Job::Sweep { dashboard } => self.sweeps.push_back(dashboard),
                Job::Ping { answer } => drop(answer.send(self.slot.ping())),
                Job::Close { answer } => {
                    self.slot.close();
                    drop(answer.send(Ok(())));
                    return;
                }
            }
        }
    }

    /// Commits a job together with those that wait behind it; returns the first that cannot join.
    fn commit_group(&mut self, first: Job) -> Option<Job> {
        let mut jobs = vec![first];
        let mut bytes = jobs[0].bytes();
        let mut left_over = None;
        while jobs.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(job @ (Job::Append { .. } | Job::Snapshot { .. })) => {
                    bytes += job.bytes();
                    jobs.push(job);
                }
                Ok(job) => {
                    left_over = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }

        let slot = Arc::clone(&self.slot);
        let committed = slot.commit("append to the store", |view, batch| self.build(view, batch, &mut jobs));
        match committed {
            Ok((results, reserved)) => {
                self.reserved = reserved;
                for (job, result) in jobs.into_iter().zip(results) {
                    match (job, result) {
                        (Job::Append { answer, .. }, Done::Appended(results)) => drop(answer.send(results)),
                        (Job::Snapshot { answer, .. }, Done::Snapshot(result)) => drop(answer.send(result)),
                        _ => unreachable!("every job gets its own kind of result"),
                    }
                }
            }
            Err(error) => {
                self.forget_unsaved();
                for job in jobs {
                    match job {
                        // Nobody knows the appends' number any more, once they are encoded: it was kept.
                        Job::Append { batch, answer } => drop(answer.send(vec![Err(error.clone()); batch.len()])),
                        Job::Snapshot { answer, .. } => drop(answer.send(Err(error.clone()))),
                        _ => unreachable!("only appends and snapshots are grouped"),
                    }
                }
            }
        }
        left_over
    }

    fn build(
        &mut self,
        view: &View<'_>,
        batch: &mut Batch<'_>,
        jobs: &mut [Job],
    ) -> Result<(Vec<Done>, u64), EngineError> {
        let mut changed = Changed::default();
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs {
            done.push(match job {
                Job::Append { batch: appends, .. } => {
                    let mut results = Vec::with_capacity(appends.len());
                    for append in appends {
                        results.push(self.append(view, batch, &mut changed, append)?);
                    }
                    Done::Appended(results)
                }
                Job::Snapshot { snapshot, .. } => Done::Snapshot(self.snapshot(view, batch, &mut changed, snapshot)?),
                _ => unreachable!("only appends and snapshots are grouped"),
            });
        }
        for dashboard in &changed.heads {
            batch.put_head(dashboard, &self.dashboards[dashboard].head);
        }
        for (dashboard, (covers, record)) in changed.snapshots {
            batch.put_snapshot(&dashboard, covers, record);
        }
        let mut reserved = self.reserved;
        if self.end > reserved {
            reserved = self.end + RESERVED_POSITIONS;
            batch.reserve_positions(reserved);
        }
        Ok((done, reserved))
    }

    fn append(
        &mut self,
        view: &View<'_>,
        batch: &mut Batch<'_>,
        changed: &mut Changed,
        append: &Append,
    ) -> Result<Result<Appended, StoreError>, EngineError> {
        // All are encoded before one is put, because they are kept together or not at all.
        let records = match append.entries.iter().map(encode_entry).collect::<Result<Vec<_>, _>>() {
            Ok(records) => records,
            Err(error) => return Ok(Err(error)),
        };
        if !self.is_current(view, &append.dashboard, append.life)? {
            return Ok(Err(StoreError::Gone));
        }
        if let Some(known) = append.after
            && let Err(error) = self.expect(view, &append.dashboard, known)?
        {
            return Ok(Err(error));
        }
        if records.is_empty() {
            let position = LogPosition(self.last_of(view, &append.dashboard)?.into());
            return Ok(Ok(Appended { position, before: position }));
        }
        let mut end = self.end;
        changed.logs.insert(append.dashboard.clone());
        let live = self.live(view, batch, changed, &append.dashboard, &mut end)?;
        let before = live.last;
        for record in records {
            end += 1;
            live.last = end;
            batch.put_entry(live.head.number, end, record);
        }
        self.end = end;
        Ok(Ok(Appended { position: LogPosition(end.into()), before: LogPosition(before.into()) }))
    }

    /// Whether a life of a dashboard is the one that may be written to.
    fn is_current(&self, view: &View<'_>, dashboard: &DashboardId, life: Life) -> Result<bool, EngineError> {
        match self.dashboards.get(dashboard) {
            Some(live) => Ok(live.life == life),
            None => Ok(view.lives(dashboard)?.is_current(life)),
        }
    }

    /// Makes sure that a dashboard has everything up to a position.
    fn expect(
        &mut self,
        view: &View<'_>,
        dashboard: &DashboardId,
        known: LogPosition,
    ) -> Result<Result<(), StoreError>, EngineError> {
        let last = self.last_of(view, dashboard)?;
        let lost = StoreError::Lost { known, end: LogPosition(last.into()) };
        let Some(known) = u64::try_from(known.0).ok().filter(|known| *known <= last) else { return Ok(Err(lost)) };
        let head = match self.dashboards.get(dashboard) {
            Some(live) => Some(live.head),
            None => view.head(dashboard)?.filter(|head| !head.is_removed),
        };
        // What is trimmed without a snapshot that covers it was an earlier life's.
        let is_there = |head: Head| known > head.trimmed_to || head.covers.is_some_and(|covers| covers >= known);
        Ok(if known == 0 || head.is_some_and(is_there) { Ok(()) } else { Err(lost) })
    }

    /// The last position in a dashboard's log; 0 if it has none.
    fn last_of(&self, view: &View<'_>, dashboard: &DashboardId) -> Result<u64, EngineError> {
        match self.dashboards.get(dashboard) {
            Some(live) => Ok(live.last),
            None => match view.head(dashboard)?.filter(|head| !head.is_removed) {
                Some(head) => view.last_position(&head),
                None => Ok(0),
            },
        }
    }

    fn snapshot(
        &mut self,
        view: &View<'_>,
        batch: &mut Batch<'_>,
        changed: &mut Changed,
        snapshot: &mut Snapshot,
    ) -> Result<Result<SnapshotOutcome, StoreError>, EngineError> {
        let dashboard = &snapshot.dashboard;
        if let Err(error) = self.expect(view, dashboard, snapshot.covers)? {
            return Ok(Err(error));
        }
        let covers = u64::try_from(snapshot.covers.0).unwrap_or(u64::MAX);
        let mut end = self.end;
        let live = self.live(view, batch, changed, dashboard, &mut end)?;
        live.last = live.last.max(covers);
        let head = &mut live.head;
        if head.covers > Some(covers) && head.covers != snapshot.displaces {
            self.end = end;
            return Ok(Ok(SnapshotOutcome::Superseded));
        }
        let stands = head.stands_at();
        let is_wanted = head.base.is_none() || (!head.has_base && covers <= stands);
        head.covers = Some(covers);
        match snapshot.base.take().filter(|_| is_wanted) {
            Some((position, record)) => {
                batch.put_base(dashboard, &record);
                (head.base, head.has_base) = (Some(position), true);
            }
            None => head.base = head.base.or(Some(stands)),
        }
        changed.heads.insert(dashboard.clone());
        changed.snapshots.insert(dashboard.clone(), (covers, std::mem::take(&mut snapshot.record)));
        for record in &snapshot.aside {
            batch.put_aside(dashboard, None, record);
        }
        self.end = end;
        Ok(Ok(SnapshotOutcome::Kept))
    }

    fn seal(&mut self, sealing: &Sealing) -> Result<SealOutcome, StoreError> {
        let dashboard = &sealing.dashboard;
        let limits = self.limits;
        let slot = Arc::clone(&self.slot);
        let sealed = slot.commit("seal a log", |view, batch| {
            let Some(mut head) = view.head(dashboard)?.filter(|head| !head.is_removed) else { return Ok(None) };
            let (before, stands) = (head.history, head.stands_at());
            let to = u64::try_from(sealing.to.0).unwrap_or(u64::MAX);
            if sealing.from.0 != u128::from(stands) || to <= stands || head.covers < Some(to) {
                return Ok(None);
            }
            batch.put_base(dashboard, &sealing.base);
            if let Some(record) = &sealing.displaced {
                batch.put_past_aside(dashboard, None, record);
            }
            (head.base, head.has_base) = (Some(to), true);
            let segments = view.segments(dashboard)?;
            let (mut outcome, mut added) = (SealOutcome::Sealed, 0);
            match &sealing.segment {
                Some(segment) if segment.info.counts() > limits.bytes => outcome = SealOutcome::TooLong,
                Some(segment) => {
                    batch.put_segment(dashboard, segment);
                    added = segment.info.counts();
                }
                None => {}
            }
            head.history = forget_oldest(view, batch, dashboard, &segments, added, limits.bytes)?;
            batch.put_head(dashboard, &head);
            Ok(Some((outcome, before, head.history)))
        });
        self.dashboards.remove(dashboard);
        let Some((outcome, before, after)) = sealed? else { return Ok(SealOutcome::Superseded) };
        self.relief.total = self.relief.total.saturating_sub(before) + after;
        self.relief.is_exhausted = false;
        Ok(outcome)
    }

    fn trim(&mut self, dashboard: &DashboardId) -> Result<(), StoreError> {
        let slot = Arc::clone(&self.slot);
        let is_swept = slot.commit("trim a log", |view, batch| {
            let Some(mut head) = view.head(dashboard)?.filter(|head| !head.is_removed) else { return Ok(true) };
            let (Some(base), Some(covers)) = (head.base, head.covers) else { return Ok(true) };
            head.trimmed_to = head.trimmed_to.max(base.min(covers));
            sweep(view, batch, dashboard, head)
        });
        self.dashboards.remove(dashboard);
        if !is_swept? {
            self.sweeps.push_back(dashboard.clone());
        }
        Ok(())
    }

    fn drop_segments(&mut self, dashboard: &DashboardId, to: LogPosition) -> Result<(), StoreError> {
        let slot = Arc::clone(&self.slot);
        let dropped = slot.commit("forget segments", |view, batch| {
            let Some(mut head) = view.head(dashboard)?.filter(|head| !head.is_removed) else { return Ok(0) };
            let segments = view.segments(dashboard)?;
            let (going, staying): (Vec<_>, Vec<_>) = segments.iter().partition(|segment| segment.to <= to);
            if going.is_empty() {
                return Ok(0);
            }
            going.iter().try_for_each(|segment| forget_segment(view, batch, dashboard, segment))?;
            let before = head.history;
            head.history = staying.iter().map(|segment| segment.counts()).sum();
            batch.put_head(dashboard, &head);
            Ok(before.saturating_sub(head.history))
        });
        self.dashboards.remove(dashboard);
        self.relief.total = self.relief.total.saturating_sub(dropped?);
        Ok(())
    }

    fn keep_version(
        &mut self,
        dashboard: &DashboardId,
        life: Life,
        version: &KeptVersion,
    ) -> Result<VersionOutcome, StoreError> {
        let slot = Arc::clone(&self.slot);
        let kept = slot.commit("keep a version", |view, batch| {
            if !self.is_current(view, dashboard, life)? {
                return Ok(None);
            }
            if view.head(dashboard)?.is_none_or(|head| head.is_removed) {
                return Ok(Some(VersionOutcome::Absent));
            }
            let (id, records) = (version.info.id, view.versions(dashboard)?);
            if records.iter().any(|(other, _)| *other == id) {
                return Ok(Some(VersionOutcome::Kept));
            }
            let kept = versions::described(records).map_err(EngineError::from)?;
            match versions::displaced(&kept, &version.info, &self.limits.versions) {
                Ok(going) => going.into_iter().for_each(|id| batch.remove_version(dashboard, id)),
                Err(limit) => return Ok(Some(VersionOutcome::Full(limit))),
            }
            batch.put_version(dashboard, id, &encode_version(&version.info));
            batch.put_version_state(dashboard, id, &version.record);
            Ok(Some(VersionOutcome::Kept))
        });
        kept?.ok_or(StoreError::Gone)
    }

    fn describe_version(
        &mut self,
        dashboard: &DashboardId,
        before: &VersionInfo,
        after: &VersionInfo,
    ) -> Result<bool, StoreError> {
        let slot = Arc::clone(&self.slot);
        slot.commit("describe a version", |view, batch| {
            let kept = versions::described(view.versions(dashboard)?).map_err(EngineError::from)?;
            let is_same = kept.contains(before);
            if is_same {
                batch.put_version(dashboard, before.id, &encode_version(after));
            }
            Ok(is_same)
        })
    }

    fn remove_version(&mut self, dashboard: &DashboardId, id: VersionId) -> Result<bool, StoreError> {
        let slot = Arc::clone(&self.slot);
        slot.commit("remove a version", |view, batch| {
            let is_there = view.versions(dashboard)?.iter().any(|(other, _)| *other == id);
            if is_there {
                batch.remove_version(dashboard, id);
            }
            Ok(is_there)
        })
    }

    /// A dashboard that is about to be written to; made if there is none, with a number after `end`.
    fn live(
        &mut self,
        view: &View<'_>,
        batch: &mut Batch<'_>,
        changed: &mut Changed,
        dashboard: &DashboardId,
        end: &mut u64,
    ) -> Result<&mut Live, EngineError> {
        if !self.dashboards.contains_key(dashboard) {
            if self.dashboards.len() >= DASHBOARDS_MAX {
                // Those that this batch has changed are needed until it is built.
                self.dashboards.retain(|id, _| changed.heads.contains(id) || changed.logs.contains(id));
            }
            let live = match view.head(dashboard)? {
                Some(head) if !head.is_removed && head.number > 0 => {
                    Live { head, last: view.last_position(&head)?, life: view.lives(dashboard)?.current }
                }
                other => {
                    changed.heads.insert(dashboard.clone());
                    let is_new = other.is_none_or(|head| head.is_removed);
                    let mut head = other.unwrap_or_default();
                    if head.number == 0 {
                        *end += 1;
                        head.number = *end;
                        batch.put_name(head.number, dashboard);
                    }
                    // What an earlier life of the dashboard has left in the log stays hidden.
                    let last = if head.is_removed { 0 } else { head.covers.unwrap_or(0) };
                    let life = view.lives(dashboard)?.current;
                    let (base, has_base) = if is_new { (Some(*end), false) } else { (head.base, head.has_base) };
                    Live { head: Head { trimmed_to: *end, is_removed: false, base, has_base, ..head }, last, life }
                }
            };
            self.dashboards.insert(dashboard.clone(), live);
        }
        Ok(self.dashboards.get_mut(dashboard).expect("inserted above"))
    }

    fn remove(&mut self, dashboard: &DashboardId) -> Result<(), StoreError> {
        self.dashboards.remove(dashboard);
        let end = self.end;
        let slot = Arc::clone(&self.slot);
        let mut history = 0;
        let is_swept = slot.commit("remove a dashboard", |view, batch| {
            let Some(head) = view.head(dashboard)? else {
                remove_refused(view, batch, dashboard)?;
                return Ok(true);
            };
            batch.remove_snapshot(dashboard);
            batch.remove_base(dashboard);
            view.segments(dashboard)?.iter().for_each(|segment| batch.remove_segment(dashboard, segment));
            view.versions(dashboard)?.into_iter().for_each(|(id, _)| batch.remove_version(dashboard, id));
            history = head.history;
            view.aside_of(dashboard)?.into_iter().for_each(|key| batch.remove_aside(key));
            remove_refused(view, batch, dashboard)?;
            let Head { number, swept_to, .. } = head;
            let removed = Head { number, swept_to, trimmed_to: end, is_removed: true, ..Head::default() };
            sweep(view, batch, dashboard, removed)
        })?;
        self.relief.total = self.relief.total.saturating_sub(history);
        if !is_swept {
            self.sweeps.push_back(dashboard.clone());
        }
        Ok(())
    }

    /// Says whether it was made of the version that there is.
    fn change_life(&mut self, dashboard: &DashboardId, change: &LifeChange) -> Result<bool, StoreError> {
        let LifeChange { next, moving } = change;
        let moving = match moving {
            Moving::Nothing => None,
            Moving::Aside(life) => Some((dashboard.clone(), dashboard.trashed(*life))),
            Moving::Back(life) => Some((dashboard.trashed(*life), dashboard.clone())),
        };
        self.dashboards.remove(dashboard);
        if let Some((from, to)) = &moving {
            self.dashboards.remove(from);
            self.dashboards.remove(to);
        }
        let slot = Arc::clone(&self.slot);
        slot.commit("change what is deleted", |view, batch| {
            if view.lives(dashboard)?.version + 1 != next.version {
                return Ok(false);
            }
            if let Some((from, to)) = &moving {
                relocate(view, batch, from, to)?;
            }
            batch.put_lives(dashboard, next);
            Ok(true)
        })
    }

    fn set_aside(&mut self, dashboard: &DashboardId, record: Vec<u8>) -> Result<(), StoreError> {
        let slot = Arc::clone(&self.slot);
        slot.commit("keep what was refused", |view, batch| {
            if view.lives(dashboard)?.gone.is_some() {
                return Ok(());
            }
            let (mut dropped, kept) = view.refused_of(dashboard)?;
            let dropped_before = dropped;
            match displaced(kept.iter().map(|(_, record)| record.len()), record.len()) {
                None => dropped += 1,
                Some(going) => {
                    kept[..going].iter().for_each(|(number, _)| batch.remove_refused(dashboard, Some(*number)));
                    dropped += going as u64;
                    let number = kept.last().map_or(0, |(number, _)| number + 1);
                    batch.put_refused(dashboard, number, record);
                }
            }
            if dropped > dropped_before {
                batch.put_dropped(dashboard, dropped);
            }
            Ok(())
        })
    }

    fn catalogue(
        &mut self,
        key: &Key,
        expected: Expected,
        content: Option<&Bytes>,
    ) -> Result<Result<Version, CatalogError>, StoreError> {
        let slot = Arc::clone(&self.slot);
        slot.commit("write a record of the catalog", |view, batch| {
            let kept = match view.catalogued(key.as_str())? {
                None => None,
                Some(Ok(record)) => Some(catalog::decode(key, &record).map(|record| record.version)),
                Some(Err(Unreadable)) => Some(Err(catalog::unreadable(key))),
            };
            let last = view.catalog_version()?;
            let actual = match kept {
                None if content.is_none() => return Ok(Ok(Version(last))),
                None => None,
                Some(Ok(version)) => Some(version),
                Some(Err(_)) if expected == Expected::Anything => None,
                Some(Err(damaged)) => return Ok(Err(damaged)),
            };
            if !expected.is_met_by(actual) {
                return Ok(Err(CatalogError::Conflict { actual }));
            }
            let version = last + 1;
            match content {
                Some(content) => batch.put_catalogued(key.as_str(), version, catalog::encode(version, content)),
                None => batch.remove_catalogued(key.as_str()),
            }
            Ok(Ok(Version(version)))
        })
    }

    fn sweep_next(&mut self) {
        let Some(dashboard) = self.sweeps.pop_front() else { return };
        self.dashboards.remove(&dashboard);
        let slot = Arc::clone(&self.slot);
        let is_swept = slot.commit("sweep a log", |view, batch| match view.head(&dashboard)? {
            None => Ok(true),
            Some(head) => sweep(view, batch, &dashboard, head),
        });
        // After a failure it is left to the next snapshot or list, rather than tried in a loop.
        if let Ok(false) = is_swept {
            self.sweeps.push_back(dashboard);
        }
    }

    /// Whether there is more history than there may be, and some of it can go.
    fn is_over(&self) -> bool {
        // Once begun, it goes on for a while, so that not every snapshot begins it anew.
        let bound = self.limits.bytes_total;
        let bound = if self.relief.allowed.is_some() { bound - bound / 8 } else { bound };
        self.relief.total > bound && !self.relief.is_exhausted
    }

    /// Shortens the history of the next dashboard that has more than is allowed in this round.
    fn relieve(&mut self) {
        let allowed = self.relief.allowed.unwrap_or(self.limits.bytes / 2);
        let after = self.relief.after.take();
        let slot = Arc::clone(&self.slot);
        let relieved = slot.commit("shorten history", |view, batch| {
            let (mut looked, mut last) = (0, None);
            let found = view.heads("", after.as_ref(), |found| {
                looked += 1;
                last = found.id.ok().or(last.take());
                let is_long = found.head.history > allowed && !found.head.is_removed;
                Ok(if is_long || looked == RELIEF_HEADS {
                    ControlFlow::Break(is_long.then_some(found.head))
                } else {
                    ControlFlow::Continue(())
                })
            })?;
            let is_end = found.is_none();
            let mut gone = 0;
            if let (Some(Some(mut head)), Some(id)) = (found, &last) {
                let before = head.history;
                head.history = forget_oldest(view, batch, id, &view.segments(id)?, 0, allowed)?;
                gone = before.saturating_sub(head.history);
                batch.put_head(id, &head);
            }
            Ok((last, is_end, gone))
        });
        let Ok((last, is_end, gone)) = relieved else {
            self.relief.is_exhausted = true;
            return;
        };
        if let Some(id) = &last {
            self.dashboards.remove(id);
        }
        self.relief.total = self.relief.total.saturating_sub(gone);
        self.relief.allowed = Some(if is_end { allowed / 2 } else { allowed });
        self.relief.after = last.filter(|_| !is_end);
        self.relief.is_exhausted = is_end && allowed == 0;
        if self.relief.is_exhausted || !self.is_over() {
            self.relief.allowed = None;
            self.relief.after = None;
        }
    }

    /// After a failure nobody knows what is on disk.
    fn forget_unsaved(&mut self) {
        self.reserved = 0;
        self.dashboards.clear();
    }
}

/// Moves all that is kept of a dashboard to another name. Its log stays where it is, under its number.
fn relocate(view: &View<'_>, batch: &mut Batch<'_>, from: &DashboardId, to: &DashboardId) -> Result<(), EngineError> {
    if let Some(head) = view.head(from)?.filter(|head| !head.is_removed) {
        // What was removed there is still being swept, by its head.
        if view.head(to)?.is_some() {
            return Err(EngineError::Io(io::Error::new(
                io::ErrorKind::WouldBlock,
                "an earlier removal is not finished",
            )));
        }
        if let Some(Ok(record)) = view.snapshot(from)? {
            batch.put_snapshot(to, head.covers.unwrap_or(0), record.to_vec());
        }
        batch.remove_snapshot(from);
        batch.remove_head(from);
        batch.put_head(to, &head);
        batch.put_name(head.number, to);
    }
    relocate_past(view, batch, from, to)?;
    for (key, record) in view.aside_records(from)? {
        batch.put_aside_again(to, &key, &record);
    }
    view.aside_of(from)?.into_iter().for_each(|key| batch.remove_aside(key));
    let (dropped, kept) = view.refused_of(from)?;
    for (number, record) in kept {
        batch.put_refused(to, number, record.to_vec());
    }
    if dropped > 0 {
        batch.put_dropped(to, dropped);
    }
    remove_refused(view, batch, from)
}

/// Moves the base, the segments and the versions. An unreadable record becomes an empty one, so that its loss stays visible.
fn relocate_past(
    view: &View<'_>,
    batch: &mut Batch<'_>,
    from: &DashboardId,
    to: &DashboardId,
) -> Result<(), EngineError> {
    if let Some(base) = view.base(from)? {
        batch.put_base(to, base.as_deref().unwrap_or_default());
        batch.remove_base(from);
    }
    for info in view.segments(from)? {
        match view.segment(from, info.from)? {
            Some(found) => {
                let record = found.map(|record| Bytes::copy_from_slice(&record)).unwrap_or_default();
                batch.put_segment(to, &SealedSegment { info, record });
            }
            None => batch.put_missing_segment(to, &info),
        }
        batch.remove_segment(from, &info);
    }
    for (version, description) in view.versions(from)? {
        batch.put_version(to, version, &description);
        if let Some(found) = view.version(from, version)? {
            batch.put_version_state(to, version, found.as_deref().unwrap_or_default());
        }
        batch.remove_version(from, version);
    }
    Ok(())
}

fn remove_refused(view: &View<'_>, batch: &mut Batch<'_>, dashboard: &DashboardId) -> Result<(), EngineError> {
    let (dropped, kept) = view.refused_of(dashboard)?;
    kept.into_iter().for_each(|(number, _)| batch.remove_refused(dashboard, Some(number)));
    if dropped > 0 {
        batch.remove_refused(dashboard, None);
    }
    Ok(())
}

/// Removes the oldest segments while all of them count for more than is allowed, together with `added`; says what is left.
fn forget_oldest(
    view: &View<'_>,
    batch: &mut Batch<'_>,
    dashboard: &DashboardId,
    segments: &[SegmentInfo],
    added: u64,
    allowed: u64,
) -> Result<u64, EngineError> {
    let mut left = added + segments.iter().map(SegmentInfo::counts).sum::<u64>();
    for segment in segments {
        if left <= allowed {
            break;
        }
        forget_segment(view, batch, dashboard, segment)?;
        left -= segment.counts();
    }
    Ok(left)
}

/// Removes a segment; a damaged one is kept for inspection.
fn forget_segment(
    view: &View<'_>,
    batch: &mut Batch<'_>,
    dashboard: &DashboardId,
    segment: &SegmentInfo,
) -> Result<(), EngineError> {
    if let Some(Ok(record)) = view.segment(dashboard, segment.from)?
        && verify_segment(&record).is_err()
    {
        batch.put_past_aside(dashboard, Some(segment.from), &record);
    }
    batch.remove_segment(dashboard, segment);
    Ok(())
}

/// Removes the next trimmed entries of a log; `true` if none are left. Damaged ones of a live dashboard are kept for inspection.
fn sweep(view: &View<'_>, batch: &mut Batch<'_>, dashboard: &DashboardId, mut head: Head) -> Result<bool, EngineError> {
    let mut swept = 0;
    let stopped = view.log(head.number, head.swept_to, head.trimmed_to, |found| {
        // Unreadable entries stay, hidden; only what is found can be removed.
        if let Found::Record(position, entry) = found {
            if !head.is_removed && matches!(decode_entry_at(&entry), Err(RecordError::Damaged(_))) {
                batch.put_aside(dashboard, Some(position), &entry);
            }
            batch.remove_entry(head.number, position);
            head.swept_to = position;
            swept += 1;
        }
        Ok(if swept < SWEEP_ENTRIES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let is_swept = stopped.is_none();
    if is_swept {
        head.swept_to = head.trimmed_to;
    }
    if is_swept && head.is_removed {
        batch.remove_head(dashboard);
        batch.remove_name(head.number);
    } else {
        batch.put_head(dashboard, &head);
    }
    Ok(is_swept)
}

/// A dashboard that was written to a while ago.
#[derive(Clone, Copy)]
struct Live {
    head: Head,
    /// The last position in its log, or what its snapshot covers.
    last: u64,
    /// Which life of its name it is.
    life: Life,
}

/// What a batch overwrites, once for each dashboard however many jobs change it.
#[derive(Default)]
struct Changed {
    heads: HashSet<DashboardId>,
    /// Whose log it appends to.
    logs: HashSet<DashboardId>,
    /// With what they cover.
    snapshots: HashMap<DashboardId, (u64, Vec<u8>)>,
}

enum Done {
    Appended(Vec<Result<Appended, StoreError>>),
    Snapshot(Result<SnapshotOutcome, StoreError>),
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Job::Append { batch, .. } => {
                batch.iter().flat_map(|append| &append.entries).map(|entry| entry.update.len()).sum()
            }
            Job::Snapshot { snapshot, .. } => snapshot.record.len(),
            _ => 0,
        }
    }
}
