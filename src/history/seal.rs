//! Seals logs: what was edited since the base becomes a segment, and the base goes forward.
//!
//! The next base is made from the base before and the entries between, and from nothing else: so it is exactly what a client would
//! have that read the log up to there. It happens once a snapshot is durable, aside from the room and from who edits in it, on any
//! node and on several at once: the store takes one of them.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use ydash_proto::document::compact;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update;

use super::has_hole;
use crate::reading::Readers;
use crate::store::past::begin_at;
use crate::store::{Base, Digest, LogEntry, LogPosition, Seal, SealOutcome, Segment, Store, StoreError};

/// A log is sealed when it has grown by so much since its base.
const SEAL_BYTES: u64 = 256 << 10;
/// Or when its oldest entry is so old.
const SEAL_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A segment has no more bytes of updates than this, and one entry.
const SEGMENT_BYTES: usize = 1 << 20;
/// How many segments are sealed at once; what is left is for the next time.
const SEGMENTS_AT_ONCE: usize = 4;
/// Or more, while this much is left: a log may grow faster than snapshots come.
const LEFT_BYTES_MAX: u64 = 16 << 20;
const SEGMENTS_AT_ONCE_MAX: usize = 64;
/// A log that grows faster than it can be sealed begins anew where its snapshot stands.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// How many entries are read at once. Each may be as large as a document.
const PAGE: usize = 64;

/// How much is kept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long every edit is kept.
    pub keep: Duration,
    /// Bounds of documents.
    pub limits: Limits,
}

/// A snapshot that is durable.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The last log position that it contains.
    pub covers: LogPosition,
    /// Its state, which may hold more than that.
    pub state: Bytes,
    /// When it was made.
    pub at: Timestamp,
}

/// Seals what is due, forgets what is too old, and says how many segments were sealed.
///
/// # Errors
/// Any [`StoreError`]: nothing is lost, and the next snapshot tries again.
pub async fn keep_up(
    store: &Arc<dyn Store>,
    readers: &Readers,
    dashboard: &DashboardId,
    snapshot: Kept,
    policy: &Policy,
) -> Result<usize, StoreError> {
    let Kept { covers, state, at: now } = snapshot;
    if policy.keep.is_zero() {
        begin_at(&**store, dashboard, covers, state).await?;
        return Ok(0);
    }
    let mut sealed = 0;
    for round in 0..SEGMENTS_AT_ONCE_MAX {
        let history = store.history(dashboard).await?;
        if round >= SEGMENTS_AT_ONCE && history.log_bytes <= LEFT_BYTES_MAX {
            break;
        }
        if round == 0 {
            forget_old(&**store, dashboard, &history.segments, now, policy.keep).await?;
        }
        if history.log_bytes > LOG_BYTES_MAX {
            tracing::warn!(%dashboard, bytes = history.log_bytes, "edited faster than its log is sealed: history begins anew");
            begin_at(&**store, dashboard, covers, state).await?;
            break;
        }
        let is_old = history.since.is_some_and(|since| now.since(since) >= SEAL_AFTER);
        if history.base >= covers || (history.log_bytes < SEAL_BYTES && !is_old) {
            break;
        }
        let base = store.base(dashboard).await?;
        let (entries, is_all) =
            if base.is_damaged { (Vec::new(), true) } else { read(&**store, dashboard, base.position, covers).await? };
        if entries.is_empty() {
            let next = Base { state, ..Base::empty(covers) };
            let seal = Seal { from: base.position, base: next, segment: None };
            if store.seal(dashboard, seal).await? == SealOutcome::Sealed {
                tracing::error!(%dashboard, "the base of the log, or all after it, cannot be read: history begins anew");
                store.trim(dashboard).await?;
            }
            break;
        }
        let limits = policy.limits.clone();
        let snapshot = is_all.then(|| state.clone());
        let making = readers.run(dashboard, move || make(base, entries, snapshot, &limits)).await;
        let seal = making.map_err(|cause| StoreError::Unavailable { doing: "seal a log", cause: Arc::new(cause) })?;
        match store.seal(dashboard, seal).await? {
            SealOutcome::Sealed => sealed += 1,
            SealOutcome::TooLong => {
                tracing::warn!(%dashboard, "a segment is longer than `history-bytes`: the versions in it are not kept");
            }
            SealOutcome::Superseded => break,
        }
        store.trim(dashboard).await?;
    }
    Ok(sealed)
}

async fn forget_old(
    store: &dyn Store,
    dashboard: &DashboardId,
    segments: &[crate::store::SegmentInfo],
    now: Timestamp,
    keep: Duration,
) -> Result<(), StoreError> {
    // A clock that was set back makes some stay a little longer.
    let old = segments.iter().take_while(|segment| now.since(segment.last_at) > keep);
    match old.last() {
        Some(last) => store.drop_segments(dashboard, last.to).await,
        None => Ok(()),
    }
}

/// Reads the entries from the base to what the snapshot covers, or as many as make a segment; and whether that is all.
async fn read(
    store: &dyn Store,
    dashboard: &DashboardId,
    from: LogPosition,
    to: LogPosition,
) -> Result<(Vec<(LogPosition, LogEntry)>, bool), StoreError> {
    let (mut entries, mut bytes, mut after) = (Vec::new(), 0, from);
    loop {
        let page = store.log(dashboard, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        for (position, entry) in page {
            if position > to {
                return Ok((entries, true));
            }
            after = position;
            bytes += entry.update.len();
            entries.push((position, entry));
            if bytes >= SEGMENT_BYTES {
                return Ok((entries, false));
            }
        }
        if is_last {
            return Ok((entries, true));
        }
    }
}

/// Makes the segment and the base after it.
///
/// The base has holes if an entry cannot be read, or is before one that it builds on. The snapshot closes them if it covers no more
/// than the segment; it may bring a few later edits along.
fn make(base: Base, entries: Vec<(LogPosition, LogEntry)>, snapshot: Option<Bytes>, limits: &Limits) -> Seal {
    let trusted = limits.for_trusted();
    let mut parts = vec![base.state.clone()];
    let updates = entries.iter().map(|(_, entry)| entry.update.clone());
    // An entry that is no update was set aside when the dashboard was opened.
    parts.extend(updates.filter(|update| update::scan(update, &trusted).is_ok()));
    let mut compacted = compact(&parts, limits);
    if has_hole(&compacted.scan)
        && let Some(snapshot) = snapshot.filter(|state| update::scan(state, &trusted).is_ok())
    {
        compacted = compact(&[compacted.state, snapshot], limits);
    }
    let from = base.position;
    let segment = Segment { from, state: base.state, previous: base.previous, entries }.seal();
    let (to, previous) = (segment.info.to, Digest::of(&segment.record));
    Seal { from, base: Base { state: compacted.state, previous, ..Base::empty(to) }, segment: Some(segment) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOUR, House, board};
    use super::*;
    use crate::store::HistoryLimits;
    use ydash_proto::document::to_json;

    fn large(n: u32) -> String {
        format!("{{\"k{n}\":{{\"text\":\"{}\"}}}}", "x".repeat(20_000))
    }

    #[tokio::test]
    async fn a_log_is_sealed_when_it_is_long_or_old_and_every_version_stays() {
        let mut house = House::new();
        house.edit(HOUR, "ada", 1, r#"{"a":{"k":1}}"#).await;
        assert_eq!(house.snapshot(2 * HOUR).await, 0, "it is short and young");
        assert_eq!(house.store.history(&board()).await.unwrap().segments, []);
        house.edit(3 * HOUR, "bob", 2, r#"{"b":[2]}"#).await;
        assert_eq!(house.snapshot(25 * HOUR).await, 1, "it is a day old");
        for n in 0..40 {
            house.edit((26 + n) * HOUR, "ada", 10 + n as u32, &large(n as u32)).await;
            if n % 16 == 15 {
                assert_eq!(house.snapshot((26 + n) * HOUR).await, 1);
            }
        }
        let history = house.store.history(&board()).await.unwrap();
        assert_eq!(history.segments.iter().map(|segment| segment.entries).collect::<Vec<_>>(), [2, 16, 16]);
        assert_eq!(house.store.log(&board(), LogPosition::START, 100).await.unwrap().len(), 8, "the rest is trimmed");
        assert_eq!(house.compare().await, 42);
    }

    #[tokio::test]
    async fn what_is_too_old_is_forgotten_and_what_came_after_it_stands() {
        let mut house = House::new();
        for day in 0..12 {
            house.edit(24 * day * HOUR, "ada", 1 + day as u32, &format!("{{\"day{day}\":[1]}}")).await;
            house.snapshot((24 * day + 25) * HOUR).await;
        }
        let segments = house.store.history(&board()).await.unwrap().segments;
        assert_eq!(segments.first().unwrap().first_at, Timestamp(24 * 6 * HOUR));
        assert_eq!(house.compare().await, 6);
        // Without history nothing stays but the state.
        house.policy.keep = Duration::ZERO;
        house.edit(400 * HOUR, "ada", 99, r#"{"last":[1]}"#).await;
        house.snapshot(400 * HOUR).await;
        let history = house.store.history(&board()).await.unwrap();
        assert_eq!((history.segments.len(), history.base), (0, house.log.last().unwrap().0));
        assert_eq!(house.store.log(&board(), LogPosition::START, 100).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_long_log_is_sealed_by_and_by() {
        let mut house = House::new();
        for n in 0..400 {
            house.edit(HOUR + n, "ada", 1 + n as u32, &large(n as u32)).await;
        }
        assert_eq!(house.snapshot(2 * HOUR).await, SEGMENTS_AT_ONCE);
        assert_eq!(house.snapshot(2 * HOUR).await, SEGMENTS_AT_ONCE);
        assert_eq!(house.snapshot(2 * HOUR).await, 0);
        let history = house.store.history(&board()).await.unwrap();
        assert_eq!(history.segments.iter().map(|segment| segment.entries).sum::<u32>(), 400);
        assert_base_is_whole(&house).await;
    }

    #[tokio::test]
    async fn two_nodes_and_ends_between_two_steps_lose_no_version() {
        use crate::store::memory::Step;
        let mut house = House::new();
        for round in 0..6 {
            house.edit(HOUR * (1 + round * 25), "ada", 1 + round as u32, &format!("{{\"r{round}\":[1]}}")).await;
            let (covers, at) = (house.log.last().unwrap().0, Timestamp(HOUR * (25 + round * 25)));
            let state = house.state_at(covers);
            house.store.snapshot(&board(), covers, state.clone()).await.unwrap();
            let kept = Kept { covers, state, at };
            match round % 3 {
                0 => {
                    let both = tokio::join!(house.keep_up(kept.clone()), house.keep_up(kept));
                    assert_eq!(both.0.unwrap() + both.1.unwrap(), 1);
                }
                1 => {
                    house.memory.faults().fail(Step::Sealed, 1);
                    assert!(house.keep_up(kept.clone()).await.is_err());
                    assert_eq!(house.keep_up(kept).await.unwrap(), 0, "it is sealed by now");
                }
                _ => {
                    house.memory.faults().fail(Step::Seal, 1);
                    assert!(house.keep_up(kept.clone()).await.is_err());
                    assert_eq!(house.keep_up(kept).await.unwrap(), 1);
                }
            }
        }
        assert_eq!(house.compare().await, 6);
    }

    /// An unreadable entry leaves a hole, which the content of the snapshot closes.
    #[tokio::test]
    async fn a_damaged_entry_costs_its_versions_and_not_those_after_it() {
        let mut house = House::new();
        for n in 1..=3u64 {
            house.append(n, "ada", update_of_one_client(n)).await;
        }
        house.memory.damage_entry(&board(), 1);
        assert_eq!(house.snapshot(30 * HOUR).await, 1);
        assert_base_is_whole(&house).await;
    }

    /// Sealing stopped there for ever, and the log grew.
    #[tokio::test]
    async fn history_begins_anew_where_all_that_is_due_is_damaged() {
        let mut house = House::new();
        for n in 1..=2u64 {
            house.append(n, "ada", update_of_one_client(n)).await;
            house.memory.damage_entry(&board(), n as usize - 1);
        }
        assert_eq!(house.snapshot(30 * HOUR).await, 0);
        assert_eq!(house.store.base(&board()).await.unwrap().position, house.log[1].0);
        assert_base_is_whole(&house).await;
        house.append(31 * HOUR, "ada", update_of_one_client(3)).await;
        assert_eq!(house.snapshot(60 * HOUR).await, 1, "it goes on from there");
        assert_base_is_whole(&house).await;
    }

    #[tokio::test]
    async fn a_segment_longer_than_all_history_is_not_counted_as_sealed() {
        let mut house = House::new();
        house.store =
            Arc::new(house.memory.clone().with_history(HistoryLimits { bytes: 10, ..HistoryLimits::default() }));
        house.edit(HOUR, "ada", 1, r#"{"a":{"k":1}}"#).await;
        assert_eq!(house.snapshot(26 * HOUR).await, 0);
        let history = house.store.history(&board()).await.unwrap();
        assert_eq!((history.segments.len(), history.base), (0, house.log[0].0));
        assert_base_is_whole(&house).await;
    }

    #[tokio::test]
    async fn history_begins_anew_on_a_damaged_base() {
        let mut house = House::new();
        for n in 0..2 {
            house.edit(30 * n * HOUR, "ada", 1 + n as u32, &format!("{{\"k{n}\":[1]}}")).await;
            house.snapshot((30 * n + 25) * HOUR).await;
        }
        house.memory.damage_base(&board());
        house.edit(60 * HOUR, "ada", 9, r#"{"k9":[1]}"#).await;
        assert_eq!(house.snapshot(90 * HOUR).await, 0);
        assert_base_is_whole(&house).await;
    }

    async fn assert_base_is_whole(house: &House) {
        let base = house.store.base(&board()).await.unwrap();
        assert!(!base.is_damaged);
        assert_eq!(to_json(&base.state).unwrap(), to_json(&house.state_at(base.position)).unwrap());
    }

    /// The nth letter that one client writes into a list.
    fn update_of_one_client(n: u64) -> Bytes {
        // One struct of client 7 at clock n - 1: a number at the end of the root `l`.
        let mut bytes = vec![1, 1, 7, n as u8 - 1];
        if n == 1 {
            bytes.extend([8, 1, 1, b'l']);
        } else {
            bytes.extend([136, 7, n as u8 - 2]);
        }
        bytes.extend([1, 125, n as u8, 0]);
        bytes.into()
    }
}
