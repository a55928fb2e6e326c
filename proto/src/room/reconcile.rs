//! What the store holds of a dashboard beside what this room has appended: read before snapshots, after a store was restarted, and when the
//! log turns out to hold more.
//!
//! **Snapshots.** The log holds entries of other nodes that this room may never have heard of. So once it has had company, it
//! reads the store before each snapshot, takes in what it does not know, and lets the snapshot cover what it has read. A room
//! without company does so when the log turns out to hold more than it has appended, as after an import.
//!
//! **A store that was restarted** may have lost what other nodes appended, which no position of this room's tells. So a room that
//! has had company reads it then, and appends what this room has and the store has not.

use super::Room;
use super::effect::{Effect, Report};
use super::input::{Scanned, StoreRead};
use super::peers::Company;
use super::saving::SNAPSHOT_AGAIN;
use crate::limits::Limits;
use crate::log::LogPosition;
use crate::time::Timestamp;
use crate::update::{self, Knowledge, Scan, Source as Trust};
use bytes::Bytes;

/// How far the store has been read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    is_under_way: bool,
    /// The log holds what somebody else wrote: to be read at once, and once more if a read was under way.
    is_wanted: bool,
    /// The read under way began before something changed: it tells too little.
    is_outdated: bool,
    /// When a read that failed is tried again.
    pub(super) again_at: Option<Timestamp>,
    /// To be found out by the next read: whether the store holds all that this room has.
    pub(super) compares: bool,
    /// What a snapshot may cover: the store was read up to there.
    up_to: Option<LogPosition>,
}

impl Reading {
    fn begin(&mut self, effects: &mut Vec<Effect>) {
        if !core::mem::replace(&mut self.is_under_way, true) {
            effects.push(Effect::ReadStore);
        }
    }

    /// Reads what is in the store from now on: a read that is under way is repeated.
    fn begin_anew(&mut self, effects: &mut Vec<Effect>) {
        self.is_wanted = true;
        self.is_outdated = self.is_under_way;
        self.again_at = None;
        self.up_to = None;
        self.begin(effects);
    }

    /// Reads once more what could not be read, when that is due.
    pub(super) fn retry(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.again_at.take_if(|at| now >= *at).is_some() {
            self.begin(effects);
        }
    }
}

impl Company {
    /// Whether the store is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.0.as_ref().is_some_and(|remote| remote.reading.is_under_way)
    }

    /// The position that a snapshot which begins now may cover, if the store was read for it.
    pub(super) fn take_read_up_to(&mut self) -> Option<LogPosition> {
        self.0.as_mut().and_then(|remote| remote.reading.up_to.take())
    }

    fn set_read_up_to(&mut self, position: Option<LogPosition>) {
        if let Some(remote) = &mut self.0 {
            remote.reading.up_to = position;
        }
    }

    /// Whether a snapshot must wait for the store to be read; begins that if need be.
    pub(super) fn must_read(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(remote) = &mut self.0 else { return false };
        if remote.reading.up_to.is_some() || !(remote.has_met || remote.reading.is_wanted) {
            return false;
        }
        remote.reading.begin(effects);
        true
    }

    /// Has the store read and compared with what is here, if others may have written to it.
    pub(super) fn compare_with_store(&mut self, effects: &mut Vec<Effect>) {
        if let Some(remote) = self.0.as_mut().filter(|remote| remote.has_met) {
            remote.reading.compares = true;
            remote.reading.begin_anew(effects);
        }
    }
}

impl Room {
    /// The log holds entries that this room neither appended nor loaded.
    pub(super) fn read_what_others_wrote(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Report::FoundInStore));
        self.company.meet(now, self.opened_at).reading.begin_anew(effects);
    }

    /// What the store holds: for the snapshot that waits for it, or to know it.
    pub(super) fn store_read(&mut self, now: Timestamp, read: Option<StoreRead>, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.company.0 else { return };
        remote.reading.is_under_way = false;
        if core::mem::take(&mut remote.reading.is_outdated) {
            remote.reading.begin(effects);
            return;
        }
        let Some(StoreRead { updates, position }) = read else {
            self.snapshot_retry_at = Some(now + SNAPSHOT_AGAIN);
            remote.reading.again_at = remote.reading.is_wanted.then_some(now + SNAPSHOT_AGAIN);
            return;
        };
        remote.reading.is_wanted = false;
        let (has_met, compares) = (remote.has_met, core::mem::take(&mut remote.reading.compares));
        if has_met {
            // One that is not due yet reads anew when it is, to cover more.
            let is_due = self.snapshot_due_at().is_some_and(|at| now >= at);
            self.company.set_read_up_to(is_due.then_some(position));
        } else {
            self.saving.has_read(position);
        }
        if compares && let Some(held) = self.document.held_by(&known_of(&updates, &self.limits.for_trusted())) {
            effects.push(Effect::Report(Report::StoreLost));
            self.saving.lacks(&held);
        }
        let mut left = updates;
        loop {
            let mut behind_holes = Vec::new();
            let mut progressed = false;
            for scanned in left {
                let admission = self.admit_trusted(now, &scanned, effects);
                progressed |= admission.accepted.is_some();
                if let Some(held) = admission.held
                    && let Ok(scan) = update::scan(&held.bytes, &self.limits.for_trusted())
                {
                    behind_holes.push(Scanned { update: held.bytes, scan, frame: None });
                }
            }
            left = behind_holes;
            if !progressed || left.is_empty() {
                break;
            }
        }
        // No snapshot stands for what could not be placed.
        self.document.add_orphans(left.into_iter().map(|scanned| scanned.update));
        self.retry_held(now, effects);
    }
}

/// What can be read out of what a store holds.
fn known_of(updates: &[Scanned], limits: &Limits) -> Knowledge {
    let mut knowledge = Knowledge::default();
    let mut left: Vec<(Bytes, Scan)> =
        updates.iter().map(|scanned| (scanned.update.clone(), scanned.scan.clone())).collect();
    let mut progressed = true;
    while progressed && !left.is_empty() {
        progressed = false;
        let mut held = Vec::new();
        for (update, scan) in left {
            let admission = knowledge.admit(&update, &scan, Trust::Trusted, |_| false, limits);
            progressed |= admission.accepted.is_some();
            held.extend(admission.held.and_then(|held| {
                let scan = update::scan(&held.bytes, limits).ok()?;
                Some((held.bytes, scan))
            }));
        }
        left = held;
    }
    knowledge
}
