//! When the room appends, collects garbage and writes a snapshot, and what it makes of the store's answers.
//!
//! What is durable is for [`super::saving`] to know.

use super::{Durable, ToAppend, Unsaved};
use crate::document::Compacted;
use crate::log::LogPosition;
use crate::room::effect::{Effect, Frame, FrameKind, Report};
use crate::room::{Room, SnapshotBegun, saving};
use crate::time::Timestamp;
use crate::update;
use crate::wire::encode;
use core::time::Duration;

/// A document is nearly full when no more than this share of its limit is left.
const NEARLY_FULL_SHARE: usize = 8;
/// For how many times as long as collecting garbage took none is collected in the same room: a document that costs seconds takes a
/// ninth of a processor at most, whatever its members do. Not when it closes.
const COMPACTION_REST: u32 = 8;
/// How long after garbage was collected to make room in a full document it may be again.
pub(in crate::room) const MAKE_ROOM_AGAIN: Duration = Duration::from_secs(2);
/// How long after a failed snapshot the next one is tried; the log still holds everything.
pub(in crate::room) const SNAPSHOT_AGAIN: Duration = Duration::from_secs(5);

impl Room {
    /// Has garbage collected, soon, if the document is nearly full with `wanted` bytes more and there may be some.
    pub(in crate::room) fn make_room(&mut self, now: Timestamp, wanted: usize) {
        let limit = self.limits.document_bytes_max;
        let fullest = self.document.live_bytes().max(self.document.dead_bytes());
        if self.document.has_grown() && fullest + wanted > limit - limit / NEARLY_FULL_SHARE {
            let soonest = self.made_room_at.map_or(now, |last| now.max(last + MAKE_ROOM_AGAIN));
            self.make_room_at.get_or_insert(soonest);
        }
    }

    /// Entries of the log that lay behind a hole come to life once it is closed, and members hear of them as of any other edit.
    ///
    /// That is no rare accident: when a node is killed, the log may lack an edit of its clients on which another node's rely.
    pub(in crate::room) fn revive(&mut self, now: Timestamp) {
        for accepted in self.document.revive(&self.limits) {
            self.company.heard_in_flush();
            self.flush.collect(now, None, accepted, None);
        }
    }

    pub(in crate::room) fn append(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let after = self.saving.known();
        let entries = match self.saving.next(now, self.document.clocks()) {
            Some(ToAppend::Entries(entries)) => entries,
            Some(ToAppend::DifferenceFrom(durable)) => {
                let mut entries = vec![saving::recovery_entry(now, self.document.difference(&durable))];
                if after.is_none() {
                    // What lies behind a hole is in no difference.
                    entries.extend(self.document.orphans().map(|orphan| saving::recovery_entry(now, orphan)));
                    entries.retain(|entry| entry.update[..] != update::EMPTY_UPDATE);
                }
                entries
            }
            None => return,
        };
        self.company.appending();
        effects.push(Effect::Append { entries, after });
    }

    pub(in crate::room) fn appended(
        &mut self,
        now: Timestamp,
        position: LogPosition,
        before: LogPosition,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.saving.known().unwrap_or(LogPosition::START);
        let Some(Durable { batch, is_check }) = self.saving.appended(now, position) else { return };
        self.company.appended();
        if before > known && (is_check || !self.company.has_others()) {
            self.read_what_others_wrote(now, effects);
        }
        for (to, count) in batch.acks {
            self.ack(to, true, count, effects);
        }
        for request in batch.answers {
            effects.push(Effect::Answer { request, result: Ok(()) });
        }
        for Unsaved { entry, echo_to } in batch.entries {
            if let Some(to) = echo_to
                && self.members.get(&to).is_some_and(|member| member.lag.is_none())
            {
                let frame = Frame { bytes: encode::update(&entry.update), kind: FrameKind::Notice };
                effects.push(Effect::Send { to, frame });
            }
        }
    }

    /// `None` also while something is on its way that a snapshot has to wait for: its end is an input.
    pub(in crate::room) fn snapshot_due_at(&self) -> Option<Timestamp> {
        let is_under_way = self.snapshot_in_flight.is_some() || self.snapshot_wanted.is_some();
        let has_to_wait = self.document.is_compacting() || self.is_closing && !self.saving.is_saved();
        if is_under_way || has_to_wait || self.document.has_orphans() {
            return None;
        }
        if self.company.is_reading() {
            return None;
        }
        let since = self.saving.unsnapshotted_since()?;
        let leaves = self.is_closing || self.saving.since_snapshot() >= self.tuning.snapshot_after_bytes;
        let by_time = since + self.tuning.snapshot_interval;
        let by_idle = self.empty_since.map(|since| since + self.idle());
        let due = if leaves { since } else { by_idle.map_or(by_time, |at| at.min(by_time)) };
        let due = if self.is_closing { due } else { due.max(self.compacted_enough_until) };
        Some(self.snapshot_retry_at.map_or(due, |retry| due.max(retry)))
    }

    pub(in crate::room) fn compact(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if now < self.compacted_enough_until && !self.is_closing {
            return;
        }
        let wants_snapshot = self.snapshot_due_at().is_some_and(|at| now >= at) && !self.company.must_read(effects);
        let makes_room = self.make_room_at.is_some_and(|at| now >= at);
        if let Some(parts) = self.document.compaction(wants_snapshot || makes_room) {
            self.compacts_since = now;
            if self.make_room_at.take().is_some() {
                self.made_room_at = Some(now);
            }
            if wants_snapshot {
                self.snapshot_wanted = Some(SnapshotBegun {
                    covers: self.company.take_read_up_to().unwrap_or(self.saving.position()),
                    at: now,
                    bytes: self.saving.since_snapshot(),
                });
            }
            effects.push(Effect::Compact { parts });
        }
    }

    pub(in crate::room) fn compacted(&mut self, now: Timestamp, base: Option<Compacted>, effects: &mut Vec<Effect>) {
        self.compacted_enough_until = now + now.since(self.compacts_since) * COMPACTION_REST;
        // Updates that were accepted since are not covered, and to join them with a large state takes a while.
        let state = base.as_ref().map(|base| base.state.clone());
        self.document.compacted(base);
        if let Some(begun) = self.snapshot_wanted.take() {
            self.snapshot_in_flight = Some(begun);
            let state = state.unwrap_or_else(|| self.document.state());
            effects.push(Effect::Snapshot { covers: begun.covers, state });
        }
    }

    /// The store has no use for a snapshot of what it does not have.
    pub(in crate::room) fn snapshot_lost(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.snapshot_retry_at = Some(now + SNAPSHOT_AGAIN);
        if let Some(begun) = self.snapshot_in_flight.take()
            && !self.saving.is_void(begun.covers)
        {
            effects.push(Effect::Report(Report::StoreLost));
            self.saving.lost();
        }
    }

    pub(in crate::room) fn snapshotted(&mut self, now: Timestamp, saved: bool) {
        let Some(begun) = self.snapshot_in_flight.take() else { return };
        if saved {
            self.snapshot_retry_at = None;
            self.saving.snapshotted(begun.at, begun.bytes);
        } else {
            self.snapshot_retry_at = Some(now + SNAPSHOT_AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::room::Input;
    use crate::room::tests::{ALICE, TestRoom, typed};

    /// A room joined edits that were made while garbage was collected with all of the document, on its task, for a snapshot that did not
    /// cover them.
    #[test]
    fn a_snapshot_is_what_was_compacted_whatever_was_typed_meanwhile() {
        let mut room = TestRoom::new();
        room.room.tuning.snapshot_after_bytes = 10;
        room.join(ALICE);
        room.edit(ALICE, &typed(7, 0, "a"));
        room.timeout();
        room.appended(1);
        room.timeout();
        let effects = room.take();
        let parts = effects.iter().find_map(|effect| match effect {
            Effect::Compact { parts } => Some(parts.clone()),
            _ => None,
        });
        room.edit(ALICE, &typed(7, 1, "b"));
        let base = crate::document::compact(&parts.expect("a compaction"), &Limits::default());
        let compacted = base.state.clone();
        room.input(Input::Compacted { base: Some(base) });
        let effects = room.take();
        let snapshot = effects.iter().find_map(|effect| match effect {
            Effect::Snapshot { covers: LogPosition(1), state } => Some(state),
            _ => None,
        });
        assert_eq!(snapshot.expect("a snapshot").as_ptr(), compacted.as_ptr(), "a copy was made");
        assert_eq!(room.room.clocks().get(7), 2);
        room.timeout();
        room.appended(2);
        room.input(Input::Snapshotted { saved: true });
        room.timeout();
        assert!(room.room.saving.since_snapshot() > 0, "what came later is not covered");
    }
}
