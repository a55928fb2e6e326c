//! The contract of [`Store`], as tests that every implementation passes: `contract::suite!(ItsBench)`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeError, Lives};
use ydash_proto::limits::{Limits, VersionLimits};
use ydash_proto::time::Timestamp;
use ydash_proto::version::VersionId;

use super::past::{SEGMENT_COUNTS_MIN, begin_at};
use super::{
    Append, Appended, Base, Digest, History, HistoryLimits, KeptVersion, LogEntry, LogPosition, Refused, Seal,
    SealOutcome, Segment, SegmentInfo, SetAside, SnapshotOutcome, Source, Store, StoreError, Stored, VersionInfo,
    VersionLimit, VersionOutcome, Why, homes,
    trash::{self, TrashError},
};

/// One empty store, and what a test may do to it from outside.
pub(crate) trait Bench: Sized {
    /// Makes an empty store.
    async fn new() -> Self;

    /// The store under test.
    fn store(&self) -> &dyn Store;

    /// Closes the store and opens it as the next process would.
    async fn reopen(&mut self);

    /// Opens the store with other bounds for history.
    async fn bound_history(&mut self, history: HistoryLimits);

    /// Flips a bit in the `index`th log entry that is left.
    async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize);

    /// Flips a bit in the snapshot.
    async fn damage_snapshot(&mut self, dashboard: &DashboardId);

    /// Damages the segment that begins at a position.
    async fn damage_segment(&mut self, dashboard: &DashboardId, from: LogPosition);

    /// Damages the base.
    async fn damage_base(&mut self, dashboard: &DashboardId);

    /// Flips a bit in the state of a version.
    async fn damage_version(&mut self, dashboard: &DashboardId, id: VersionId);

    /// Makes of a dashboard what an earlier ydash, which knew no base, would have left.
    async fn unfound(&mut self, dashboard: &DashboardId);
}

/// Makes a test of every clause of the contract.
macro_rules! suite {
    ($bench:ty) => {
        $crate::store::contract::suite!(@each $bench:
            unknown_dashboards_load_empty,
            appends_load_in_their_order,
            positions_grow_across_dashboards_and_reopening,
            appends_survive_reopening,
            one_batch_serves_many_dashboards,
            an_append_without_entries_changes_nothing,
            a_load_is_the_snapshot_and_the_log_after_it,
            snapshots_survive_reopening,
            an_older_snapshot_never_displaces_a_newer_one,
            a_snapshot_of_the_same_position_is_kept,
            a_snapshot_ahead_of_the_log_is_refused,
            an_append_that_relies_on_what_is_there_is_kept,
            an_append_that_relies_on_what_is_gone_is_refused,
            a_snapshot_before_any_entry_is_kept,
            the_log_is_trimmed_only_up_to_the_base,
            a_base_is_never_ahead_of_the_snapshot,
            a_seal_keeps_what_lies_between_two_bases,
            of_two_that_seal_at_once_one_succeeds,
            a_log_that_was_sealed_and_not_trimmed_is_trimmed_later,
            segments_are_forgotten_from_the_front,
            history_is_bounded_in_bytes,
            small_segments_are_bounded_in_number,
            a_segment_longer_than_all_history_is_not_kept,
            a_damaged_segment_is_reported_and_set_aside,
            a_damaged_base_is_reported_and_displaced,
            a_dashboard_of_an_earlier_ydash_stands_on_its_snapshot,
            concurrent_snapshotters_lose_nothing,
            loads_beside_snapshots_are_whole,
            a_damaged_entry_is_left_out_and_reported,
            a_damaged_snapshot_is_left_out_and_the_whole_log_loads,
            a_damaged_snapshot_is_displaced_by_the_next,
            in_place_of_a_damaged_snapshot_the_base_loads,
            versions_are_kept_without_their_log,
            versions_are_bounded_and_named_ones_stay,
            of_two_that_describe_a_version_one_succeeds,
            a_version_that_is_named_meanwhile_makes_no_room,
            a_damaged_version_is_reported_and_costs_no_other,
            versions_go_and_come_with_their_dashboard,
            large_states_are_kept,
            names_do_not_collide,
            dashboards_under_an_older_name_move_to_where_they_belong,
            what_was_refused_is_kept_until_newer_takes_its_place,
            what_is_deleted_is_away_and_comes_back_whole,
            the_past_of_what_is_deleted_goes_and_comes_with_it,
            nothing_is_written_to_a_life_that_is_over,
            what_ends_for_good_leaves_the_clocks_that_may_not_come_back,
            of_changes_of_one_life_one_is_made,
            removed_dashboards_are_forgotten,
            positions_grow_beyond_a_removal,
            lists_are_paged_and_filtered,
            logs_are_paged_with_all_their_fields,
            appends_from_many_tasks_are_all_kept,
            a_closed_store_says_so,
        );
    };
    (@each $bench:ty: $($clause:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                $crate::store::contract::$clause(<$bench as $crate::store::contract::Bench>::new().await).await;
            }
        )*
    };
}
pub(crate) use suite;

/// Whether a snapshot is what the log begins with from then on.
const KEEP: bool = false;
const TRIM: bool = true;

pub(crate) fn id(name: &str) -> DashboardId {
    DashboardId::parse(name).unwrap()
}

pub(crate) fn entry(at: u64, update: &str) -> LogEntry {
    LogEntry {
        at: Timestamp(at),
        author: None,
        session: 7,
        source: Source::Socket,
        update: Bytes::copy_from_slice(update.as_bytes()),
    }
}

/// An append of one entry made at time `n`, whose update reads `update n`.
pub(crate) fn update(dashboard: &str, n: u64) -> Append {
    Append { dashboard: id(dashboard), life: Life::FIRST, after: None, entries: vec![entry(n, &format!("update {n}"))] }
}

async fn append(store: &dyn Store, append: Append) -> LogPosition {
    store.append(vec![append]).await.remove(0).unwrap().position
}

/// An append that relies on a position.
async fn append_after(
    store: &dyn Store,
    dashboard: &str,
    after: LogPosition,
    entries: Vec<LogEntry>,
) -> Result<Appended, StoreError> {
    store
        .append(vec![Append { dashboard: id(dashboard), life: Life::FIRST, after: Some(after), entries }])
        .await
        .remove(0)
}

async fn snapshot(
    store: &dyn Store,
    dashboard: &str,
    covers: LogPosition,
    state: &str,
    trims: bool,
) -> SnapshotOutcome {
    let state = Bytes::copy_from_slice(state.as_bytes());
    let outcome = store.snapshot(&id(dashboard), covers, state.clone()).await.unwrap();
    if trims && outcome == SnapshotOutcome::Kept {
        begin_at(store, &id(dashboard), covers, state).await.unwrap();
    }
    outcome
}

/// Seals everything from the base up to a position, at which `state` is the next base.
async fn seal(store: &dyn Store, dashboard: &str, to: LogPosition, state: &str) -> SealOutcome {
    let made = sealing(store, dashboard, to, state).await;
    store.seal(&id(dashboard), made).await.unwrap()
}

async fn sealing(store: &dyn Store, dashboard: &str, to: LogPosition, state: &str) -> Seal {
    let base = store.base(&id(dashboard)).await.unwrap();
    let mut entries = store.log(&id(dashboard), base.position, usize::MAX).await.unwrap();
    entries.retain(|(position, _)| *position <= to);
    let segment = Segment { from: base.position, state: base.state, previous: base.previous, entries }.seal();
    let (state, previous) = (Bytes::copy_from_slice(state.as_bytes()), Digest::of(&segment.record));
    let next = Base { state, previous, ..Base::empty(to) };
    Seal { from: base.position, base: next, segment: Some(segment) }
}

async fn history(store: &dyn Store, dashboard: &str) -> History {
    store.history(&id(dashboard)).await.unwrap()
}

async fn opened(store: &dyn Store, dashboard: &str, info: &SegmentInfo) -> Segment {
    Segment::open(&store.segment(&id(dashboard), info.from).await.unwrap().unwrap()).unwrap()
}

/// The state and the updates of a segment.
async fn told(store: &dyn Store, dashboard: &str, info: &SegmentInfo) -> (String, Vec<String>) {
    let segment = opened(store, dashboard, info).await;
    (text(&segment.state), segment.entries.iter().map(|(_, entry)| text(&entry.update)).collect())
}

async fn load(store: &dyn Store, dashboard: &str) -> Stored {
    store.load(&id(dashboard)).await.unwrap()
}

async fn log_updates(store: &dyn Store, dashboard: &str) -> Vec<String> {
    let log = store.log(&id(dashboard), LogPosition::START, usize::MAX).await.unwrap();
    log.iter().map(|(_, entry)| text(&entry.update)).collect()
}

fn tail(stored: &Stored) -> Vec<String> {
    stored.tail.iter().map(text).collect()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn unknown_dashboards_load_empty(bench: impl Bench) {
    let stored = load(bench.store(), "w/unknown").await;
    assert_eq!(stored, Stored::default());
    assert!(stored.is_empty());
    assert!(bench.store().log(&id("w/unknown"), LogPosition::START, 10).await.unwrap().is_empty());
    assert!(bench.store().list("", None, 10).await.unwrap().is_empty());
    bench.store().remove(&id("w/unknown")).await.unwrap();
    bench.store().ping().await.unwrap();
}

pub(crate) async fn appends_load_in_their_order(bench: impl Bench) {
    let store = bench.store();
    append(
        store,
        Append {
            dashboard: id("w/a"),
            life: Life::FIRST,
            after: None,
            entries: vec![entry(1, "1"), entry(1, "2"), entry(1, "3")],
        },
    )
    .await;
    append(store, Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![entry(0, "4")] }).await;
    let last =
        append(store, Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![entry(2, "")] })
            .await;
    let stored = load(store, "w/a").await;
    assert_eq!(tail(&stored), ["1", "2", "3", "4", ""]);
    assert_eq!((stored.snapshot, stored.position, stored.damaged), (None, last, 0));
}

pub(crate) async fn positions_grow_across_dashboards_and_reopening(mut bench: impl Bench) {
    let mut last = LogPosition::START;
    for round in 0..4 {
        for dashboard in ["w/a", "w/b"] {
            for n in 0..3 {
                let position = append(bench.store(), update(dashboard, n)).await;
                if dashboard == "w/a" {
                    assert!(position > last, "{position} after {last} in round {round}");
                    last = position;
                }
            }
        }
        bench.reopen().await;
    }
    assert_eq!(load(bench.store(), "w/a").await.position, last);
}

pub(crate) async fn appends_survive_reopening(mut bench: impl Bench) {
    for n in 0..100 {
        append(bench.store(), update("w/a", n)).await;
    }
    let before = load(bench.store(), "w/a").await;
    bench.reopen().await;
    assert_eq!(load(bench.store(), "w/a").await, before);
    assert_eq!(before.tail.len(), 100);
}

pub(crate) async fn one_batch_serves_many_dashboards(bench: impl Bench) {
    let mut batch: Vec<_> = (0..1000).map(|n| update(&format!("w/{n}"), n)).collect();
    batch.push(update("w/7", 1000));
    let results = bench.store().append(batch).await;
    assert_eq!(results.len(), 1001);
    for (n, result) in results.iter().enumerate().take(1000) {
        let stored = load(bench.store(), &format!("w/{n}")).await;
        let last = if n == 7 { &results[1000] } else { result };
        assert_eq!(stored.position, last.as_ref().unwrap().position);
        assert_eq!(tail(&stored)[0], format!("update {n}"));
    }
    assert_eq!(tail(&load(bench.store(), "w/7").await), ["update 7", "update 1000"]);
}

pub(crate) async fn an_append_without_entries_changes_nothing(bench: impl Bench) {
    let empty = |name: &str| Append { dashboard: id(name), life: Life::FIRST, after: None, entries: Vec::new() };
    let results = bench.store().append(vec![update("w/a", 1), empty("w/empty"), update("w/b", 1)]).await;
    assert_eq!(*results[1].as_ref().unwrap(), Appended::default());
    let end = results[0].as_ref().unwrap().position;
    let results = bench.store().append(vec![empty("w/a")]).await;
    assert_eq!(*results[0].as_ref().unwrap(), Appended { position: end, before: end });
    assert_eq!(bench.store().list("", None, 10).await.unwrap(), [id("w/a"), id("w/b")]);
    assert!(bench.store().append(Vec::new()).await.is_empty());
}

pub(crate) async fn a_load_is_the_snapshot_and_the_log_after_it(bench: impl Bench) {
    let store = bench.store();
    append(store, update("w/a", 1)).await;
    let covers = append(store, update("w/a", 2)).await;
    append(store, update("w/a", 3)).await;
    assert_eq!(snapshot(store, "w/a", covers, "state 2", KEEP).await, SnapshotOutcome::Kept);
    let last = append(store, update("w/a", 4)).await;
    let stored = load(store, "w/a").await;
    assert_eq!(stored.snapshot, Some((covers, Bytes::from_static(b"state 2"))));
    assert_eq!(tail(&stored), ["update 3", "update 4"]);
    assert_eq!(stored.position, last);

    assert_eq!(snapshot(store, "w/a", last, "state 4", KEEP).await, SnapshotOutcome::Kept);
    let stored = load(store, "w/a").await;
    assert_eq!((stored.position, stored.tail.len()), (last, 0));
    assert_eq!(log_updates(store, "w/a").await.len(), 4, "all of the log stays as history");
}

pub(crate) async fn snapshots_survive_reopening(mut bench: impl Bench) {
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "state", TRIM).await;
    append(bench.store(), update("w/a", 2)).await;
    let before = load(bench.store(), "w/a").await;
    bench.reopen().await;
    assert_eq!(load(bench.store(), "w/a").await, before);
    assert_eq!(before.snapshot.unwrap().1, "state");
}

pub(crate) async fn an_older_snapshot_never_displaces_a_newer_one(mut bench: impl Bench) {
    let older = append(bench.store(), update("w/a", 1)).await;
    let newer = append(bench.store(), update("w/a", 2)).await;
    assert_eq!(snapshot(bench.store(), "w/a", newer, "newer", TRIM).await, SnapshotOutcome::Kept);
    assert_eq!(snapshot(bench.store(), "w/a", older, "older", TRIM).await, SnapshotOutcome::Superseded);
    assert_eq!(load(bench.store(), "w/a").await.snapshot.unwrap().1, "newer");
    bench.reopen().await;
    assert_eq!(snapshot(bench.store(), "w/a", older, "older", TRIM).await, SnapshotOutcome::Superseded);
    assert_eq!(load(bench.store(), "w/a").await.snapshot.unwrap(), (newer, Bytes::from_static(b"newer")));
}

pub(crate) async fn a_snapshot_of_the_same_position_is_kept(bench: impl Bench) {
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "one node's", KEEP).await;
    assert_eq!(snapshot(bench.store(), "w/a", covers, "another's", KEEP).await, SnapshotOutcome::Kept);
    assert_eq!(load(bench.store(), "w/a").await.snapshot.unwrap().1, "another's");
}

pub(crate) async fn a_snapshot_ahead_of_the_log_is_refused(bench: impl Bench) {
    let last = append(bench.store(), update("w/a", 1)).await;
    let ahead = LogPosition(last.0 + 1);
    for dashboard in ["w/a", "w/unknown"] {
        let result = bench.store().snapshot(&id(dashboard), ahead, Bytes::from_static(b"state")).await;
        assert!(matches!(result, Err(StoreError::Lost { known, .. }) if known == ahead), "{result:?}");
    }
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 1"]);
    assert!(load(bench.store(), "w/unknown").await.is_empty());
}

pub(crate) async fn an_append_that_relies_on_what_is_there_is_kept(mut bench: impl Bench) {
    let first = append(bench.store(), update("w/a", 1)).await;
    let second = append_after(bench.store(), "w/a", first, vec![entry(2, "update 2")]).await.unwrap();
    assert_eq!(second.before, first);
    // Somebody else was faster: it is kept all the same, and says so.
    let third = append_after(bench.store(), "w/a", first, vec![entry(3, "update 3")]).await.unwrap();
    assert_eq!(third.before, second.position);
    bench.reopen().await;
    for after in [LogPosition::START, first, second.position, third.position] {
        let found = append_after(bench.store(), "w/a", after, Vec::new()).await.unwrap();
        assert_eq!(found, Appended { position: third.position, before: third.position });
    }
    // Also when what it relies on is in the snapshot alone.
    snapshot(bench.store(), "w/a", second.position, "to 2", TRIM).await;
    assert_eq!(log_updates(bench.store(), "w/a").await, ["update 3"]);
    for after in [first, second.position, third.position] {
        append_after(bench.store(), "w/a", after, Vec::new()).await.unwrap();
    }
    snapshot(bench.store(), "w/a", third.position, "to 3", TRIM).await;
    bench.reopen().await;
    let fourth = append_after(bench.store(), "w/a", third.position, vec![entry(4, "update 4")]).await.unwrap();
    assert_eq!(fourth.before, third.position);
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 4"]);
    let loaded = load(bench.store(), "w/a").await.position;
    assert!(append_after(bench.store(), "w/a", loaded, Vec::new()).await.is_ok());
    assert!(append_after(bench.store(), "w/new", LogPosition::START, vec![entry(1, "update 1")]).await.is_ok());
}

pub(crate) async fn an_append_that_relies_on_what_is_gone_is_refused(mut bench: impl Bench) {
    let position = append(bench.store(), update("w/a", 1)).await;
    let ahead = LogPosition(position.0 + 1);
    let removed = append(bench.store(), update("w/removed", 1)).await;
    bench.store().remove(&id("w/removed")).await.unwrap();
    let refused = async |store: &dyn Store, dashboard: &str, after: LogPosition| {
        for entries in [Vec::new(), vec![entry(2, "behind a hole")]] {
            let result = append_after(store, dashboard, after, entries).await;
            assert!(matches!(result, Err(StoreError::Lost { known, .. }) if known == after), "{dashboard}: {result:?}");
        }
    };
    for _ in 0..2 {
        refused(bench.store(), "w/a", ahead).await;
        refused(bench.store(), "w/unknown", position).await;
        refused(bench.store(), "w/removed", removed).await;
        bench.reopen().await;
    }
    assert!(load(bench.store(), "w/unknown").await.is_empty());
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 1"]);
    // A new life of a removed dashboard does not hold what the old one did.
    append(bench.store(), update("w/removed", 2)).await;
    refused(bench.store(), "w/removed", removed).await;
    assert_eq!(tail(&load(bench.store(), "w/removed").await), ["update 2"]);
    // Relying on nothing, everything can be put back, and relied on from there.
    let again = append(bench.store(), update("w/a", 3)).await;
    append_after(bench.store(), "w/a", again, vec![entry(4, "update 4")]).await.unwrap();
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 1", "update 3", "update 4"]);
}

pub(crate) async fn a_snapshot_before_any_entry_is_kept(bench: impl Bench) {
    assert_eq!(snapshot(bench.store(), "w/a", LogPosition::START, "seed", TRIM).await, SnapshotOutcome::Kept);
    append(bench.store(), update("w/a", 1)).await;
    let stored = load(bench.store(), "w/a").await;
    assert_eq!(stored.snapshot, Some((LogPosition::START, Bytes::from_static(b"seed"))));
    assert_eq!(tail(&stored), ["update 1"]);
    assert_eq!(bench.store().list("", None, 10).await.unwrap(), [id("w/a")]);
}

pub(crate) async fn the_log_is_trimmed_only_up_to_the_base(mut bench: impl Bench) {
    let mut positions = Vec::new();
    for n in 0..20 {
        positions.push(append(bench.store(), update("w/a", n)).await);
    }
    append(bench.store(), update("w/b", 0)).await;
    let from = |first: u64| (first..20).map(|n| format!("update {n}")).collect::<Vec<_>>();
    // A snapshot alone trims nothing, whoever asks for it and however often.
    snapshot(bench.store(), "w/a", positions[9], "to 9", KEEP).await;
    for _ in 0..2 {
        bench.store().trim(&id("w/a")).await.unwrap();
        assert_eq!(log_updates(bench.store(), "w/a").await, from(0));
        bench.reopen().await;
    }
    let first = bench.store().base(&id("w/a")).await.unwrap();
    assert!(first == Base::empty(first.position) && first.position < positions[0]);
    assert_eq!(seal(bench.store(), "w/a", positions[4], "to 4").await, SealOutcome::Sealed);
    assert_eq!(log_updates(bench.store(), "w/a").await, from(0), "to seal removes nothing");
    bench.store().trim(&id("w/a")).await.unwrap();
    assert_eq!(log_updates(bench.store(), "w/a").await, from(5));
    snapshot(bench.store(), "w/a", positions[12], "to 12", TRIM).await;
    assert_eq!(log_updates(bench.store(), "w/a").await, from(13));
    assert_eq!(tail(&load(bench.store(), "w/a").await), from(13));
    assert_eq!(log_updates(bench.store(), "w/b").await, ["update 0"]);
    bench.store().trim(&id("w/unknown")).await.unwrap();
    assert_eq!(bench.store().history(&id("w/unknown")).await.unwrap(), History::default());
    assert_eq!(bench.store().base(&id("w/unknown")).await.unwrap(), Base::empty(LogPosition::START));
}

pub(crate) async fn a_base_is_never_ahead_of_the_snapshot(bench: impl Bench) {
    let store = bench.store();
    let mut positions = Vec::new();
    for n in 0..4 {
        positions.push(append(store, update("w/a", n)).await);
    }
    assert_eq!(seal(store, "w/a", positions[0], "to 0").await, SealOutcome::Superseded, "there is no snapshot");
    snapshot(store, "w/a", positions[1], "to 1", KEEP).await;
    assert_eq!(seal(store, "w/a", positions[2], "to 2").await, SealOutcome::Superseded);
    assert_eq!(seal(store, "w/a", positions[1], "to 1").await, SealOutcome::Sealed);
    // Nor does it go back.
    let back = Seal { from: positions[1], base: Base::empty(positions[0]), segment: None };
    assert_eq!(store.seal(&id("w/a"), back).await.unwrap(), SealOutcome::Superseded);
    let unknown = Seal { from: LogPosition::START, base: Base::empty(positions[0]), segment: None };
    assert_eq!(store.seal(&id("w/unknown"), unknown).await.unwrap(), SealOutcome::Superseded);
    assert_eq!(history(store, "w/a").await.base, positions[1]);
    assert!(!store.list("", None, 10).await.unwrap().contains(&id("w/unknown")));
}

pub(crate) async fn a_seal_keeps_what_lies_between_two_bases(mut bench: impl Bench) {
    let empty = text(&Bytes::from_static(&ydash_proto::update::EMPTY_UPDATE));
    let mut ends = Vec::new();
    for round in 0..3u64 {
        let entries = (0..3).map(|n| entry(100 * round + n, &format!("{round}.{n}"))).collect();
        let append_ = Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries };
        let covers = append(bench.store(), append_).await;
        snapshot(bench.store(), "w/a", covers, &format!("after {round}"), KEEP).await;
        assert_eq!(seal(bench.store(), "w/a", covers, &format!("after {round}")).await, SealOutcome::Sealed);
        bench.store().trim(&id("w/a")).await.unwrap();
        ends.push(covers);
        bench.reopen().await;
    }
    let open = append(
        bench.store(),
        Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![entry(900, "open")] },
    )
    .await;
    for _ in 0..2 {
        let store = bench.store();
        let found = history(store, "w/a").await;
        assert_eq!((found.base, found.covers, found.is_founded), (ends[2], Some(ends[2]), true));
        assert_eq!(found.since, Some(Timestamp(900)));
        assert!(found.log_bytes > 0);
        assert_eq!(found.segments.iter().map(|segment| segment.to).collect::<Vec<_>>(), ends);
        assert_eq!(found.segments.iter().skip(1).map(|segment| segment.from).collect::<Vec<_>>(), ends[..2]);
        let mut previous = Digest::default();
        for (n, info) in found.segments.iter().enumerate() {
            let state = if n == 0 { empty.clone() } else { format!("after {}", n - 1) };
            assert_eq!(told(store, "w/a", info).await, (state, (0..3).map(|m| format!("{n}.{m}")).collect()));
            let hundred = 100 * n as u64;
            assert_eq!((info.first_at, info.last_at), (Timestamp(hundred), Timestamp(hundred + 2)));
            assert_eq!(info.entries, 3);
            assert_eq!(opened(store, "w/a", info).await.previous, previous, "each names the one before");
            let record = store.segment(&id("w/a"), info.from).await.unwrap().unwrap();
            assert_eq!(record.len() as u64, info.bytes);
            previous = Digest::of(&record);
        }
        let base = store.base(&id("w/a")).await.unwrap();
        assert_eq!((text(&base.state), base.position, base.previous), ("after 2".to_owned(), ends[2], previous));
        assert_eq!(store.segment(&id("w/a"), open).await.unwrap(), None);
        assert_eq!(store.check().await.unwrap().segments, 3);
        bench.reopen().await;
    }
    bench.store().remove(&id("w/a")).await.unwrap();
    append(bench.store(), update("w/a", 1)).await;
    let found = history(bench.store(), "w/a").await;
    assert!(found.segments.is_empty() && found.base >= ends[2].min(found.base));
    let base = bench.store().base(&id("w/a")).await.unwrap();
    assert_eq!(base, Base::empty(found.base), "a new life begins with nothing");
}

/// Two nodes that find at the same time that it is due.
pub(crate) async fn of_two_that_seal_at_once_one_succeeds(bench: impl Bench) {
    let store = bench.store();
    for round in 0..10 {
        let middle = append(store, update("w/a", 2 * round)).await;
        let covers = append(store, update("w/a", 2 * round + 1)).await;
        snapshot(store, "w/a", covers, &format!("to {round}"), KEEP).await;
        let (one, other) = (sealing(store, "w/a", middle, "one").await, sealing(store, "w/a", covers, "other").await);
        let dashboard = id("w/a");
        let both = futures_util::future::join(store.seal(&dashboard, one), store.seal(&dashboard, other)).await;
        let both = [both.0.unwrap(), both.1.unwrap()];
        assert_eq!(both.iter().filter(|outcome| **outcome == SealOutcome::Sealed).count(), 1, "{both:?}");
        store.trim(&dashboard).await.unwrap();
        if both[0] == SealOutcome::Sealed {
            assert_eq!(log_updates(store, "w/a").await, [format!("update {}", 2 * round + 1)]);
            assert_eq!(seal(store, "w/a", covers, "rest").await, SealOutcome::Sealed);
            store.trim(&dashboard).await.unwrap();
        }
    }
    let mut all = Vec::new();
    for info in &history(store, "w/a").await.segments {
        all.extend(told(store, "w/a", info).await.1);
    }
    assert_eq!(all, (0..20).map(|n| format!("update {n}")).collect::<Vec<_>>(), "each edit is in one segment");
}

/// A process that ends between the two.
pub(crate) async fn a_log_that_was_sealed_and_not_trimmed_is_trimmed_later(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 0)).await;
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
    seal(bench.store(), "w/a", covers, "state").await;
    let before = load(bench.store(), "w/a").await;
    bench.reopen().await;
    assert_eq!(load(bench.store(), "w/a").await, before);
    assert_eq!(log_updates(bench.store(), "w/a").await.len(), 2);
    let later = append_after(bench.store(), "w/a", covers, vec![entry(2, "update 2")]).await.unwrap().position;
    snapshot(bench.store(), "w/a", later, "later", KEEP).await;
    seal(bench.store(), "w/a", later, "later").await;
    bench.store().trim(&id("w/a")).await.unwrap();
    assert!(log_updates(bench.store(), "w/a").await.is_empty());
    let segments = history(bench.store(), "w/a").await.segments;
    assert_eq!(told(bench.store(), "w/a", &segments[1]).await, ("state".to_owned(), vec!["update 2".to_owned()]));
}

pub(crate) async fn segments_are_forgotten_from_the_front(mut bench: impl Bench) {
    let mut ends = Vec::new();
    for n in 0..6 {
        let covers = append(bench.store(), update("w/a", n)).await;
        snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
        seal(bench.store(), "w/a", covers, "state").await;
        ends.push(covers);
    }
    bench.store().drop_segments(&id("w/a"), LogPosition(ends[2].0 - 1)).await.unwrap();
    bench.store().drop_segments(&id("w/unknown"), ends[2]).await.unwrap();
    for _ in 0..2 {
        let left = history(bench.store(), "w/a").await.segments;
        assert_eq!(left.iter().map(|segment| segment.to).collect::<Vec<_>>(), ends[2..]);
        assert_eq!(bench.store().segment(&id("w/a"), ends[0]).await.unwrap(), None);
        bench.reopen().await;
    }
    bench.store().drop_segments(&id("w/a"), ends[5]).await.unwrap();
    assert_eq!(history(bench.store(), "w/a").await.segments, []);
    assert_eq!(text(&bench.store().base(&id("w/a")).await.unwrap().state), "state", "the base stays");
}

/// A document that is filled and emptied again and again stayed small, and its history took 500 MB in 15 s.
pub(crate) async fn history_is_bounded_in_bytes(mut bench: impl Bench) {
    let limits = HistoryLimits { bytes: 100_000, ..HistoryLimits::default() };
    bench.bound_history(limits).await;
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    };
    for round in 0..12 {
        let mut covers = LogPosition::START;
        for n in 0..3 {
            let text = format!("{round}.{n} {}", (0..1000).map(|_| noise()).collect::<String>());
            let entries = vec![entry(n, &text)];
            covers =
                append(bench.store(), Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries }).await;
        }
        let tail = append(bench.store(), update("w/a", round)).await;
        snapshot(bench.store(), "w/a", covers, &format!("state {round}"), KEEP).await;
        seal(bench.store(), "w/a", covers, &format!("state {round}")).await;
        bench.store().trim(&id("w/a")).await.unwrap();
        let segments = history(bench.store(), "w/a").await.segments;
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        assert!(bytes <= limits.bytes, "{bytes} bytes of history in round {round}");
        assert!(round < 10 || bytes > limits.bytes / 2, "{bytes} bytes of history in round {round}");
        assert_eq!(segments.last().unwrap().to, covers, "the newest stays");
        let stored = load(bench.store(), "w/a").await;
        assert_eq!((stored.position, stored.tail.len(), stored.damaged), (tail, 1, 0));
        assert_eq!(text(&stored.snapshot.unwrap().1), format!("state {round}"));
        append_after(bench.store(), "w/a", tail, Vec::new()).await.unwrap();
        if round == 6 {
            bench.reopen().await;
            bench.bound_history(limits).await;
        }
    }
}

/// Edits that deflate well make small segments, of which a dashboard could have tens of thousands.
pub(crate) async fn small_segments_are_bounded_in_number(mut bench: impl Bench) {
    bench.bound_history(HistoryLimits { bytes: 3 * SEGMENT_COUNTS_MIN, ..HistoryLimits::default() }).await;
    let mut ends = Vec::new();
    for n in 0..6 {
        let covers = append(bench.store(), update("w/a", n)).await;
        snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
        assert_eq!(seal(bench.store(), "w/a", covers, "state").await, SealOutcome::Sealed);
        ends.push(covers);
    }
    let segments = history(bench.store(), "w/a").await.segments;
    assert_eq!(segments.iter().map(|segment| segment.to).collect::<Vec<_>>(), ends[3..]);
}

pub(crate) async fn a_segment_longer_than_all_history_is_not_kept(mut bench: impl Bench) {
    let first = append(bench.store(), update("w/a", 0)).await;
    snapshot(bench.store(), "w/a", first, "state 0", KEEP).await;
    seal(bench.store(), "w/a", first, "state 0").await;
    let before = history(bench.store(), "w/a").await.segments;
    bench.bound_history(HistoryLimits { bytes: SEGMENT_COUNTS_MIN, ..HistoryLimits::default() }).await;
    let noise: String = (0..20_000u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    let entries = vec![entry(1, &noise)];
    let second = append(bench.store(), Append { entries, ..update("w/a", 1) }).await;
    snapshot(bench.store(), "w/a", second, "state 1", KEEP).await;
    assert_eq!(seal(bench.store(), "w/a", second, "state 1").await, SealOutcome::TooLong);
    let found = history(bench.store(), "w/a").await;
    assert_eq!((found.base, found.segments), (second, before));
    assert_eq!(text(&bench.store().base(&id("w/a")).await.unwrap().state), "state 1");
}

pub(crate) async fn a_damaged_segment_is_reported_and_set_aside(mut bench: impl Bench) {
    for n in 0..3 {
        let covers = append(bench.store(), update("w/a", n)).await;
        snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
        seal(bench.store(), "w/a", covers, "state").await;
    }
    let segments = history(bench.store(), "w/a").await.segments;
    bench.damage_segment(&id("w/a"), segments[1].from).await;
    let record = bench.store().segment(&id("w/a"), segments[1].from).await.unwrap().unwrap();
    assert!(Segment::open(&record).is_err());
    assert_eq!(load(bench.store(), "w/a").await.damaged, 0);
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.segments, report.damaged_total, report.set_aside), (2, 1, 0));
    assert_eq!(report.damaged[0].position, Some(segments[1].from));
    assert!(report.damaged[0].why.contains("segment"), "{}", report.damaged[0].why);
    bench.store().drop_segments(&id("w/a"), segments[1].to).await.unwrap();
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.segments, report.damaged_total, report.set_aside), (1, 0, 1));
}

pub(crate) async fn a_damaged_base_is_reported_and_displaced(mut bench: impl Bench) {
    let first = append(bench.store(), update("w/a", 0)).await;
    snapshot(bench.store(), "w/a", first, "state", TRIM).await;
    bench.damage_base(&id("w/a")).await;
    let base = bench.store().base(&id("w/a")).await.unwrap();
    assert_eq!((base.is_damaged, base.position), (true, first));
    assert_eq!(bench.store().check().await.unwrap().damaged_total, 1);
    assert_eq!(load(bench.store(), "w/a").await.damaged, 0);
    let second = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", second, "state 1", TRIM).await;
    let base = bench.store().base(&id("w/a")).await.unwrap();
    assert_eq!((base.is_damaged, base.position, text(&base.state)), (false, second, "state 1".to_owned()));
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.damaged_total, report.set_aside), (0, 1));
}

pub(crate) async fn a_dashboard_of_an_earlier_ydash_stands_on_its_snapshot(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 0)).await;
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "to 1", KEEP).await;
    let last = append(bench.store(), update("w/a", 2)).await;
    let alone = append(bench.store(), update("w/alone", 1)).await;
    let before = load(bench.store(), "w/a").await;
    bench.unfound(&id("w/a")).await;
    bench.unfound(&id("w/alone")).await;
    bench.reopen().await;
    assert_eq!(load(bench.store(), "w/a").await, before, "everything is there");
    assert_eq!(log_updates(bench.store(), "w/a").await.len(), 3);
    let found = history(bench.store(), "w/a").await;
    assert_eq!((found.base, found.is_founded, found.since), (covers, false, Some(Timestamp(2))));
    let base = bench.store().base(&id("w/a")).await.unwrap();
    assert_eq!((text(&base.state), base.is_damaged), ("to 1".to_owned(), false));
    bench.store().trim(&id("w/a")).await.unwrap();
    assert_eq!(log_updates(bench.store(), "w/a").await.len(), 3, "who and when stays as long as there is nothing else");
    // The next snapshot leaves the former one to stand on.
    snapshot(bench.store(), "w/a", last, "to 2", KEEP).await;
    let base = bench.store().base(&id("w/a")).await.unwrap();
    assert_eq!((text(&base.state), base.position), ("to 1".to_owned(), covers));
    assert!(history(bench.store(), "w/a").await.is_founded);
    assert_eq!(seal(bench.store(), "w/a", last, "to 2").await, SealOutcome::Sealed);
    let segments = history(bench.store(), "w/a").await.segments;
    assert_eq!(told(bench.store(), "w/a", &segments[0]).await, ("to 1".to_owned(), vec!["update 2".to_owned()]));
    bench.store().trim(&id("w/a")).await.unwrap();
    assert!(log_updates(bench.store(), "w/a").await.is_empty());
    // The log of a dashboard without a snapshot was never trimmed.
    let base = bench.store().base(&id("w/alone")).await.unwrap();
    assert!(base == Base::empty(base.position) && base.position < alone);
    snapshot(bench.store(), "w/alone", alone, "state", KEEP).await;
    assert_eq!(bench.store().base(&id("w/alone")).await.unwrap(), base);
}

pub(crate) async fn in_place_of_a_damaged_snapshot_the_base_loads(mut bench: impl Bench) {
    let first = append(bench.store(), update("w/a", 0)).await;
    snapshot(bench.store(), "w/a", first, "to 0", TRIM).await;
    let second = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", second, "to 1", KEEP).await;
    let third = append(bench.store(), update("w/a", 2)).await;
    bench.damage_snapshot(&id("w/a")).await;
    let stored = load(bench.store(), "w/a").await;
    assert_eq!(stored.snapshot, Some((first, Bytes::from_static(b"to 0"))));
    assert_eq!((stored.position, stored.damaged), (third, 1));
    assert_eq!(tail(&stored), ["update 1", "update 2"]);
}

pub(crate) async fn concurrent_snapshotters_lose_nothing(bench: impl Bench) {
    // Each state names the updates it stands for, so what is left can be checked whoever was last.
    let store = bench.store();
    let mut positions = Vec::new();
    for n in 0..40u64 {
        positions.push(append(store, update("w/a", n)).await);
    }
    let positions = &positions;
    let write = |n: usize| async move {
        snapshot(store, "w/a", positions[n], &format!("to {n}"), TRIM).await;
    };
    futures_util::future::join_all((0..40).rev().step_by(3).map(write)).await;
    let stored = load(store, "w/a").await;
    assert_eq!(stored.snapshot, Some((positions[39], Bytes::from_static(b"to 39"))));
    assert_eq!(stored.position, positions[39]);
    assert!(stored.tail.is_empty());
}

pub(crate) async fn loads_beside_snapshots_are_whole(bench: impl Bench) {
    let store = bench.store();
    let mut positions = Vec::new();
    for n in 0..100 {
        positions.push(append(store, update("w/a", n)).await);
    }
    let positions = &positions;
    let snapshots = async move {
        for (n, covers) in positions.iter().enumerate() {
            snapshot(store, "w/a", *covers, &n.to_string(), TRIM).await;
        }
    };
    let loads = async move {
        for _ in 0..200 {
            let stored = load(store, "w/a").await;
            let first = stored.snapshot.as_ref().map_or(0, |(_, state)| text(state).parse::<u64>().unwrap() + 1);
            assert_eq!(tail(&stored), (first..100).map(|n| format!("update {n}")).collect::<Vec<_>>());
        }
    };
    futures_util::future::join(snapshots, loads).await;
}

pub(crate) async fn a_damaged_entry_is_left_out_and_reported(mut bench: impl Bench) {
    let mut last = LogPosition::START;
    for n in 0..3 {
        last = append(bench.store(), update("w/a", n)).await;
    }
    append(bench.store(), update("w/b", 0)).await;
    bench.damage_entry(&id("w/a"), 1).await;

    let stored = load(bench.store(), "w/a").await;
    assert_eq!(tail(&stored), ["update 0", "update 2"]);
    assert_eq!((stored.damaged, stored.position), (1, last));
    assert_eq!(log_updates(bench.store(), "w/a").await, ["update 0", "update 2"]);
    assert_eq!(load(bench.store(), "w/b").await.damaged, 0);

    let report = bench.store().check().await.unwrap();
    assert_eq!((report.dashboards, report.entries, report.damaged_total), (2, 3, 1));
    assert_eq!((report.damaged[0].dashboard.as_str(), report.set_aside), ("w/a", 0));
    assert!(report.damaged[0].position.is_some());

    // Trimming sets the damaged record aside: a later load is clean, and the bytes are not gone.
    snapshot(bench.store(), "w/a", last, "state", TRIM).await;
    assert_eq!(load(bench.store(), "w/a").await.damaged, 0);
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.damaged_total, report.set_aside), (0, 1));
}

pub(crate) async fn a_damaged_snapshot_is_left_out_and_the_whole_log_loads(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 0)).await;
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
    append(bench.store(), update("w/a", 2)).await;
    bench.damage_snapshot(&id("w/a")).await;
    let stored = load(bench.store(), "w/a").await;
    assert_eq!((stored.snapshot.as_ref(), stored.damaged), (None, 1));
    assert_eq!(tail(&stored), ["update 0", "update 1", "update 2"]);
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.damaged_total, report.snapshots), (1, 0));
    assert_eq!(report.damaged[0].position, None);
}

pub(crate) async fn a_damaged_snapshot_is_displaced_by_the_next(mut bench: impl Bench) {
    let older = append(bench.store(), update("w/a", 0)).await;
    let covers = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
    bench.damage_snapshot(&id("w/a")).await;
    assert_eq!(snapshot(bench.store(), "w/a", older, "again", KEEP).await, SnapshotOutcome::Kept);
    let stored = load(bench.store(), "w/a").await;
    assert_eq!((stored.snapshot, stored.damaged), (Some((older, Bytes::from_static(b"again"))), 0));
    assert_eq!(stored.tail.len(), 1);
    assert_eq!(bench.store().check().await.unwrap().set_aside, 1);
}

/// A version with a state that reads `state n`. Without a name it is an automatic one.
fn version(n: u64, name: &str) -> KeptVersion {
    let (position, author) = (Some(LogPosition(n.into())), (n > 1).then(|| "ada".into()));
    let (name, note, why) = (name.to_owned(), format!("note {n}"), Why::Named);
    let info = VersionInfo { id: VersionId(n), position, at: Timestamp(n), name, note, author, why, bytes: 0 };
    KeptVersion::new(info, format!("state {n}").as_bytes()).unwrap()
}

async fn keep(store: &dyn Store, dashboard: &str, version: KeptVersion) -> VersionOutcome {
    store.keep_version(&id(dashboard), Life::FIRST, version).await.unwrap()
}

/// The versions of a dashboard, each with its state.
async fn versions_of(store: &dyn Store, dashboard: &DashboardId) -> Vec<(VersionInfo, String)> {
    let mut found = Vec::new();
    for info in store.versions(dashboard).await.unwrap() {
        let record = store.version(dashboard, info.id).await.unwrap().unwrap();
        found.push((info, text(&KeptVersion::open(&record).unwrap())));
    }
    found
}

pub(crate) async fn versions_are_kept_without_their_log(mut bench: impl Bench) {
    let board = id("w/a");
    assert_eq!(keep(bench.store(), "w/a", version(1, "early")).await, VersionOutcome::Absent);
    assert!(bench.store().load(&board).await.unwrap().is_empty());
    append(bench.store(), update("w/a", 0)).await;
    append(bench.store(), update("w/b", 0)).await;
    for n in [2, 1, 300] {
        assert_eq!(keep(bench.store(), "w/a", version(n, &format!("version {n}"))).await, VersionOutcome::Kept);
    }
    let expected = [1, 2, 300].map(|n| (version(n, &format!("version {n}")).info, format!("state {n}")));
    // One that is there stays as it is.
    assert_eq!(keep(bench.store(), "w/a", version(2, "other")).await, VersionOutcome::Kept);
    let last = append(bench.store(), update("w/a", 1)).await;
    snapshot(bench.store(), "w/a", last, "state", KEEP).await;
    seal(bench.store(), "w/a", last, "state").await;
    bench.store().trim(&board).await.unwrap();
    bench.store().drop_segments(&board, LogPosition(u128::MAX)).await.unwrap();
    for _ in 0..2 {
        assert!(log_updates(bench.store(), "w/a").await.is_empty());
        assert!(history(bench.store(), "w/a").await.segments.is_empty());
        assert_eq!(versions_of(bench.store(), &board).await, expected);
        assert!(versions_of(bench.store(), &id("w/b")).await.is_empty());
        assert_eq!(bench.store().version(&board, VersionId(3)).await.unwrap(), None);
        let report = bench.store().check().await.unwrap();
        assert_eq!((report.versions, report.damaged_total), (3, 0), "{report:?}");
        bench.reopen().await;
    }
    assert!(bench.store().remove_version(&board, VersionId(2)).await.unwrap());
    assert!(!bench.store().remove_version(&board, VersionId(2)).await.unwrap());
    assert!(!bench.store().remove_version(&id("w/unknown"), VersionId(1)).await.unwrap());
    assert_eq!(versions_of(bench.store(), &board).await, [expected[0].clone(), expected[2].clone()]);
}

pub(crate) async fn versions_are_bounded_and_named_ones_stay(mut bench: impl Bench) {
    let bytes = version(1, "a").info.bytes;
    let versions = VersionLimits { count: 4, automatic: 2, bytes: 5 * bytes };
    bench.bound_history(HistoryLimits { versions, ..HistoryLimits::default() }).await;
    append(bench.store(), update("w/a", 0)).await;
    let ids = async |bench: &dyn Store| -> Vec<u64> {
        bench.versions(&id("w/a")).await.unwrap().iter().map(|info| info.id.0).collect()
    };
    for (n, name) in [(1, "a"), (2, ""), (3, ""), (4, ""), (5, "b"), (6, "c")] {
        assert_eq!(keep(bench.store(), "w/a", version(n, name)).await, VersionOutcome::Kept);
    }
    assert_eq!(ids(bench.store()).await, [1, 4, 5, 6], "the oldest that has no name makes room");
    assert_eq!(keep(bench.store(), "w/a", version(7, "d")).await, VersionOutcome::Kept);
    for name in ["", "e"] {
        let full = VersionOutcome::Full(VersionLimit::Count);
        assert_eq!(keep(bench.store(), "w/a", version(8, name)).await, full, "{name:?}");
    }
    assert_eq!(ids(bench.store()).await, [1, 5, 6, 7]);
    assert_eq!(bench.store().version(&id("w/a"), VersionId(4)).await.unwrap(), None, "its state went, too");
    bench.store().remove_version(&id("w/a"), VersionId(1)).await.unwrap();
    let large = KeptVersion { record: Bytes::from(vec![0; 3 * bytes as usize]), ..version(9, "f") };
    let large = KeptVersion { info: VersionInfo { bytes: 3 * bytes, ..large.info }, ..large };
    assert_eq!(keep(bench.store(), "w/a", large).await, VersionOutcome::Full(VersionLimit::Bytes));

    // Of many at once none is kept beyond the limit.
    for n in [5, 6, 7] {
        bench.store().remove_version(&id("w/a"), VersionId(n)).await.unwrap();
    }
    let keeping = (10..20).map(|n| keep(bench.store(), "w/a", version(n, "many")));
    let outcomes = futures_util::future::join_all(keeping).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == VersionOutcome::Kept).count(), 4, "{outcomes:?}");
    assert_eq!(ids(bench.store()).await.len(), 4);
}

pub(crate) async fn of_two_that_describe_a_version_one_succeeds(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 0)).await;
    keep(bench.store(), "w/a", version(1, "before")).await;
    let before = version(1, "before").info;
    let named = |name: &str| VersionInfo { name: name.to_owned(), ..before.clone() };
    let board = id("w/a");
    let (one, other) = tokio::join!(
        bench.store().describe_version(&board, before.clone(), named("one")),
        bench.store().describe_version(&board, before.clone(), named("other")),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one != other, "{one} and {other}");
    bench.reopen().await;
    let expected = (named(if one { "one" } else { "other" }), "state 1".to_owned());
    assert_eq!(versions_of(bench.store(), &board).await, [expected]);
    let unknown = version(2, "unknown").info;
    assert!(!bench.store().describe_version(&board, unknown.clone(), unknown).await.unwrap());
    assert_eq!(bench.store().versions(&board).await.unwrap().len(), 1);
}

pub(crate) async fn a_version_that_is_named_meanwhile_makes_no_room(mut bench: impl Bench) {
    let versions = VersionLimits { count: 2, automatic: 2, bytes: u64::MAX };
    bench.bound_history(HistoryLimits { versions, ..HistoryLimits::default() }).await;
    let (board, store) = (id("w/a"), bench.store());
    append(store, update("w/a", 0)).await;
    for n in [1, 2] {
        keep(store, "w/a", version(n, "")).await;
    }
    // In Redis, each reads what there is before either writes.
    let naming = async {
        let found = store.versions(&board).await.unwrap().into_iter().find(|info| info.id == VersionId(1));
        let Some(before) = found else { return false };
        let after = VersionInfo { name: "named".to_owned(), ..before.clone() };
        store.describe_version(&board, before, after).await.unwrap()
    };
    let (is_named, kept) = futures_util::future::join(naming, keep(store, "w/a", version(3, ""))).await;
    assert_eq!(kept, VersionOutcome::Kept);
    let ids: Vec<u64> = store.versions(&board).await.unwrap().iter().map(|info| info.id.0).collect();
    assert_eq!(ids, if is_named { [1, 3] } else { [2, 3] }, "one that has a name stays");
}

pub(crate) async fn a_damaged_version_is_reported_and_costs_no_other(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 0)).await;
    for n in [1, 2] {
        keep(bench.store(), "w/a", version(n, "named")).await;
    }
    bench.damage_version(&id("w/a"), VersionId(1)).await;
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.versions, report.damaged_total), (1, 1), "{report:?}");
    assert!(report.damaged[0].why.contains("version v0000000000000001"), "{report:?}");
    let record = async |n| bench.store().version(&id("w/a"), VersionId(n)).await.unwrap().unwrap();
    assert!(KeptVersion::open(&record(1).await).is_err());
    assert_eq!(KeptVersion::open(&record(2).await).unwrap(), "state 2");
    assert_eq!(bench.store().versions(&id("w/a")).await.unwrap().len(), 2, "it can be removed");
}

pub(crate) async fn versions_go_and_come_with_their_dashboard(mut bench: impl Bench) {
    let (board, first) = (id("w/a"), id("w/a").trashed(Life::FIRST));
    append(bench.store(), update("w/a", 0)).await;
    for n in [1, 2] {
        keep(bench.store(), "w/a", version(n, "named")).await;
    }
    let before = versions_of(bench.store(), &board).await;
    trash::delete(bench.store(), &board, Timestamp(1), None, None, None).await.unwrap();
    for _ in 0..2 {
        assert!(versions_of(bench.store(), &board).await.is_empty());
        assert_eq!(versions_of(bench.store(), &first).await, before);
        let late = bench.store().keep_version(&board, Life::FIRST, version(3, "late")).await;
        assert!(matches!(late, Err(StoreError::Gone)), "{late:?}");
        bench.reopen().await;
    }
    trash::begin(bench.store(), &board).await.unwrap();
    append(bench.store(), Append { life: Life(1), ..update("w/a", 1) }).await;
    assert!(versions_of(bench.store(), &board).await.is_empty());
    let late = bench.store().keep_version(&board, Life::FIRST, version(3, "late")).await;
    assert!(matches!(late, Err(StoreError::Gone)), "{late:?}");
    let kept = bench.store().keep_version(&board, Life(1), version(4, "next")).await;
    assert_eq!(kept.unwrap(), VersionOutcome::Kept);
    trash::delete(bench.store(), &board, Timestamp(2), None, None, None).await.unwrap();
    trash::restore(bench.store(), &board, Some(Life::FIRST)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(versions_of(bench.store(), &board).await, before);
        bench.reopen().await;
    }
    trash::delete(bench.store(), &board, Timestamp(3), None, None, None).await.unwrap();
    trash::purge(bench.store(), &board, None).await.unwrap();
    for place in [&board, &first, &board.trashed(Life(1))] {
        assert!(bench.store().versions(place).await.unwrap().is_empty(), "{place}");
        for n in [1, 2, 4] {
            assert_eq!(bench.store().version(place, VersionId(n)).await.unwrap(), None, "{place}");
        }
    }
    assert_eq!(bench.store().check().await.unwrap().versions, 0);
}

pub(crate) async fn large_states_are_kept(mut bench: impl Bench) {
    // One that deflates well and one that does not.
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    let random: Bytes = (0..5_000_000).map(|_| noise()).collect();
    let regular: Bytes = b"{\"x\":1,\"y\":2,\"w\":3}".repeat(250_000).into();
    for state in [random, regular] {
        let mut large = entry(1, "");
        large.update = state.clone();
        let covers = append(
            bench.store(),
            Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![large] },
        )
        .await;
        assert!(load(bench.store(), "w/a").await.tail == std::slice::from_ref(&state));
        snapshot_bytes(bench.store(), covers, state.clone()).await;
        bench.reopen().await;
        let stored = load(bench.store(), "w/a").await;
        assert!(stored.snapshot == Some((covers, state)) && stored.tail.is_empty());
    }
}

async fn snapshot_bytes(store: &dyn Store, covers: LogPosition, state: Bytes) {
    store.snapshot(&id("w/a"), covers, state.clone()).await.unwrap();
    begin_at(store, &id("w/a"), covers, state).await.unwrap();
}

pub(crate) async fn names_do_not_collide(bench: impl Bench) {
    let store = bench.store();
    let long = format!("w/{}", "x".repeat(255));
    let names = [
        "a/b",
        "a/bc",
        "a/b/c",
        "a/b c",
        "ab/b",
        "a/B",
        "a/ü",
        "a/u\u{308}",
        "a/💥",
        "a/~me",
        "a/@all",
        "a/b!",
        &long,
        "a/b ",
        "a/b/",
        "a//b",
        "a/\\b",
        "a/{b}",
        "a/%7Bb%7D",
        "a/}:log",
        "default//b",
        "default/a/",
        "default/a b/c",
    ];
    for (n, name) in names.iter().enumerate() {
        for _ in 0..2 {
            append(store, update(name, n as u64)).await;
        }
    }
    for (n, name) in names.iter().enumerate() {
        let stored = load(store, name).await;
        assert_eq!(tail(&stored), [format!("update {n}"), format!("update {n}")], "{name}");
        snapshot(store, name, stored.position, &format!("state {n}"), TRIM).await;
    }
    store.remove(&id("a/b")).await.unwrap();
    for (n, name) in names.iter().enumerate().skip(1) {
        let stored = load(store, name).await;
        assert_eq!(text(&stored.snapshot.unwrap().1), format!("state {n}"), "{name}");
    }
    let listed: BTreeSet<_> = store.list("", None, 100).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, names.iter().skip(1).map(ToString::to_string).collect());
}

pub(crate) async fn dashboards_under_an_older_name_move_to_where_they_belong(mut bench: impl Bench) {
    let stored = |name: &str| DashboardId::stored(name).unwrap();
    let write = |name: &str, client: u32| {
        let json = format!("{{\"root\":{{\"{client}\":true}}}}");
        let update = ydash_proto::document::from_json(json.as_bytes(), client).unwrap();
        let entry = LogEntry { update: update.into(), ..entry(1, "") };
        Append { dashboard: stored(name), life: Life::FIRST, after: None, entries: vec![entry] }
    };
    append(bench.store(), write("default/team/{a}%", 1)).await;
    append(bench.store(), write("default/team/b", 2)).await;
    append(bench.store(), write("team/b", 3)).await;
    append(bench.store(), write("default/b", 4)).await;
    bench.reopen().await;
    let away = homes::away(bench.store()).await.unwrap();
    assert_eq!(away, [stored("default/team/b"), stored("default/team/{a}%")]);
    let done = homes::bring_home(bench.store(), &Limits::default(), Timestamp(9)).await.unwrap();
    assert_eq!((done.moved, done.merged, done.left), (1, 1, vec![]));
    bench.reopen().await;
    for (name, entries) in [("team/{a}%", 1), ("team/b", 2), ("default/b", 1), ("default/team/b", 0)] {
        assert_eq!(bench.store().load(&stored(name)).await.unwrap().tail.len(), entries, "{name}");
    }
    let listed: Vec<_> = bench.store().list("", None, 100).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["default/b", "team/b", "team/{a}%"]);
}

pub(crate) async fn what_was_refused_is_kept_until_newer_takes_its_place(mut bench: impl Bench) {
    let refused = |n: u64, len: usize| SetAside {
        at: Timestamp(n),
        author: n.is_multiple_of(2).then(|| "alice".into()),
        session: n,
        why: format!("reason {n}"),
        update: Bytes::from(vec![n as u8; len]),
    };
    let (a, b) = (id("w/a"), id("w/b"));
    assert_eq!(bench.store().refused(&a).await.unwrap(), Refused::default());
    let max = SetAside::ENTRIES_MAX as u64;
    for n in 0..max + 3 {
        bench.store().set_aside(&a, refused(n, n as usize)).await.unwrap();
    }
    bench.store().set_aside(&b, refused(1, 1)).await.unwrap();
    let kept: Vec<_> = (3..max + 3).map(|n| refused(n, n as usize)).collect();
    for _ in 0..2 {
        assert_eq!(bench.store().refused(&a).await.unwrap(), Refused { kept: kept.clone(), dropped: 3 });
        bench.reopen().await;
    }
    assert!(load(bench.store(), "w/a").await.is_empty());
    assert!(bench.store().list("", None, 10).await.unwrap().is_empty(), "it makes no dashboard");
    let report = bench.store().check().await.unwrap();
    assert_eq!(report.refused.into_iter().collect::<Vec<_>>(), [("w/a".to_owned(), max), ("w/b".to_owned(), 1)]);

    // Large ones displace as many as it takes; one that can never fit is only counted.
    bench.store().set_aside(&b, refused(2, SetAside::BYTES_MAX)).await.unwrap();
    bench.store().set_aside(&b, refused(3, SetAside::BYTES_MAX / 2)).await.unwrap();
    bench.store().set_aside(&b, refused(4, SetAside::BYTES_MAX / 2)).await.unwrap();
    let found = bench.store().refused(&b).await.unwrap();
    assert_eq!((found.kept, found.dropped), (vec![refused(4, SetAside::BYTES_MAX / 2)], 3));

    append(bench.store(), update("w/a", 1)).await;
    for dashboard in [&a, &b] {
        bench.store().remove(dashboard).await.unwrap();
        assert_eq!(bench.store().refused(dashboard).await.unwrap(), Refused::default());
    }
}

pub(crate) async fn what_is_deleted_is_away_and_comes_back_whole(mut bench: impl Bench) {
    let sales = id("w/sales");
    assert_eq!(bench.store().lives(&sales).await.unwrap(), Lives::default());
    let absent = trash::delete(bench.store(), &sales, Timestamp(1), None, None, None).await;
    assert!(matches!(absent, Err(TrashError::Life(LifeError::NotThere))), "{absent:?}");
    for n in 0..5 {
        append(bench.store(), update("w/sales", n)).await;
    }
    let covers = append(bench.store(), update("w/sales", 5)).await;
    append(bench.store(), update("w/sales", 6)).await;
    snapshot(bench.store(), "w/sales", covers, "state", KEEP).await;
    let refused =
        SetAside { at: Timestamp(1), author: None, session: 1, why: "why".into(), update: Bytes::from_static(b"no") };
    bench.store().set_aside(&sales, refused.clone()).await.unwrap();
    append(bench.store(), update("w/sales 2", 0)).await;
    let (before, log) = (load(bench.store(), "w/sales").await, log_updates(bench.store(), "w/sales").await);

    let keep = Some(std::time::Duration::from_secs(60));
    let trashed = trash::delete(bench.store(), &sales, Timestamp(1000), Some("ada".into()), keep, None).await.unwrap();
    assert_eq!((trashed.life, trashed.until), (Life::FIRST, Some(Timestamp(61_000))));
    for _ in 0..2 {
        assert!(load(bench.store(), "w/sales").await.is_empty());
        assert!(log_updates(bench.store(), "w/sales").await.is_empty());
        assert_eq!(bench.store().list("", None, 10).await.unwrap(), [id("w/sales 2")]);
        assert_eq!(bench.store().deleted("w/", None, 10).await.unwrap(), std::slice::from_ref(&sales));
        assert!(bench.store().deleted("v/", None, 10).await.unwrap().is_empty());
        assert!(bench.store().deleted("w/", Some(&sales), 10).await.unwrap().is_empty());
        assert_eq!(bench.store().refused(&sales).await.unwrap(), Refused::default());
        let lives = bench.store().lives(&sales).await.unwrap();
        assert_eq!(lives.trash, std::slice::from_ref(&trashed));
        assert!(lives.gone.is_some());
        bench.reopen().await;
    }
    let report = bench.store().check().await.unwrap();
    assert_eq!((report.dashboards, report.damaged_total), (2, 0), "{report:?}");
    // What is set aside by a room that has not heard of it is not kept: nobody would look for it.
    bench.store().set_aside(&sales, refused.clone()).await.unwrap();
    assert_eq!(bench.store().refused(&sales).await.unwrap(), Refused::default());

    trash::restore(bench.store(), &sales, None).await.unwrap();
    for _ in 0..2 {
        assert_eq!(load(bench.store(), "w/sales").await, before);
        assert_eq!(log_updates(bench.store(), "w/sales").await, log);
        assert_eq!(bench.store().list("", None, 10).await.unwrap(), [sales.clone(), id("w/sales 2")]);
        assert_eq!(bench.store().refused(&sales).await.unwrap().kept, std::slice::from_ref(&refused));
        bench.reopen().await;
    }
    // A room that had it open all the while goes on where it was.
    let appended = append_after(bench.store(), "w/sales", before.position, vec![entry(9, "later")]).await.unwrap();
    assert_eq!(appended.before, before.position);
    assert!(appended.position > before.position);
    assert_eq!(snapshot(bench.store(), "w/sales", appended.position, "state 2", KEEP).await, SnapshotOutcome::Kept);
}

pub(crate) async fn the_past_of_what_is_deleted_goes_and_comes_with_it(mut bench: impl Bench) {
    async fn write(store: &dyn Store, life: Life, n: u64) {
        let covers = append(store, Append { life, ..update("w/a", n) }).await;
        let state = format!("after {n}");
        snapshot(store, "w/a", covers, &state, KEEP).await;
        assert_eq!(seal(store, "w/a", covers, &state).await, SealOutcome::Sealed);
        store.trim(&id("w/a")).await.unwrap();
    }
    async fn past(store: &dyn Store, dashboard: &DashboardId) -> (History, Base, Vec<Bytes>) {
        let (history, base) = (store.history(dashboard).await.unwrap(), store.base(dashboard).await.unwrap());
        let mut records = Vec::new();
        for info in &history.segments {
            records.push(store.segment(dashboard, info.from).await.unwrap().unwrap());
        }
        (history, base, records)
    }
    let (board, first, second) = (id("w/a"), id("w/a").trashed(Life::FIRST), id("w/a").trashed(Life(1)));
    for n in 0..3 {
        write(bench.store(), Life::FIRST, n).await;
    }
    append(bench.store(), update("w/a", 3)).await;
    let before = past(bench.store(), &board).await;
    assert_eq!((before.2.len(), text(&before.1.state)), (3, "after 2".to_owned()));

    trash::delete(bench.store(), &board, Timestamp(1), None, None, None).await.unwrap();
    let late = Seal { from: before.1.position, base: Base::empty(LogPosition(before.1.position.0 + 1)), segment: None };
    for _ in 0..2 {
        assert_eq!(past(bench.store(), &board).await, (History::default(), Base::empty(LogPosition::START), vec![]));
        assert_eq!(past(bench.store(), &first).await, before);
        assert_eq!(bench.store().seal(&board, late.clone()).await.unwrap(), SealOutcome::Superseded);
        bench.store().trim(&board).await.unwrap();
        bench.store().drop_segments(&board, LogPosition(u128::MAX)).await.unwrap();
        let report = bench.store().check().await.unwrap();
        assert_eq!((report.segments, report.damaged_total), (3, 0), "{report:?}");
        bench.reopen().await;
    }
    // A life that begins under the name stands on nothing of the one before, and has a past of its own.
    trash::begin(bench.store(), &board).await.unwrap();
    append(bench.store(), Append { life: Life(1), ..update("w/a", 10) }).await;
    let begun = past(bench.store(), &board).await;
    assert_eq!((begun.0.segments.len(), begun.1), (0, Base::empty(begun.0.base)));
    assert_eq!(bench.store().seal(&board, late.clone()).await.unwrap(), SealOutcome::Superseded);
    write(bench.store(), Life(1), 11).await;
    let begun = past(bench.store(), &board).await;
    assert_eq!(begun.2.len(), 1);
    trash::delete(bench.store(), &board, Timestamp(2), None, None, None).await.unwrap();
    assert_eq!(past(bench.store(), &second).await, begun);

    trash::restore(bench.store(), &board, Some(Life::FIRST)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(past(bench.store(), &board).await, before);
        assert_eq!(past(bench.store(), &second).await, begun);
        assert_eq!(past(bench.store(), &first).await.0, History::default());
        bench.reopen().await;
    }
    // The chain goes on where it was.
    write(bench.store(), Life::FIRST, 4).await;
    let info = history(bench.store(), "w/a").await.segments[3];
    let last = opened(bench.store(), "w/a", &info).await;
    assert_eq!((text(&last.state), last.previous), ("after 2".to_owned(), before.1.previous));
    assert_eq!(told(bench.store(), "w/a", &info).await.1, ["update 3", "update 4"]);

    trash::delete(bench.store(), &board, Timestamp(3), None, None, None).await.unwrap();
    trash::purge(bench.store(), &board, None).await.unwrap();
    for _ in 0..2 {
        for place in [&board, &first, &second] {
            let left = past(bench.store(), place).await;
            assert_eq!((left.0, left.2), (History::default(), vec![]), "{place}");
            assert_eq!(left.1, Base::empty(LogPosition::START));
        }
        assert_eq!(bench.store().check().await.unwrap().segments, 0);
        bench.reopen().await;
    }
}

pub(crate) async fn nothing_is_written_to_a_life_that_is_over(mut bench: impl Bench) {
    let sales = id("w/sales");
    let first = append(bench.store(), update("w/sales", 1)).await;
    trash::delete(bench.store(), &sales, Timestamp(1), None, None, None).await.unwrap();
    let late = |life, after| Append { life, after, ..update("w/sales", 2) };
    let refused = async |bench: &dyn Store, append: Append| {
        let result = bench.append(vec![append.clone()]).await.remove(0);
        assert!(matches!(result, Err(StoreError::Gone)), "{append:?}: {result:?}");
    };
    for after in [None, Some(first), Some(LogPosition::START)] {
        refused(bench.store(), late(Life::FIRST, after)).await;
        refused(bench.store(), Append { entries: Vec::new(), ..late(Life::FIRST, after) }).await;
        refused(bench.store(), late(Life(1), after)).await;
    }
    let snapshot_of = async |store: &dyn Store| store.snapshot(&sales, first, Bytes::from_static(b"old")).await;
    assert!(matches!(snapshot_of(bench.store()).await, Err(StoreError::Lost { .. })));
    assert!(load(bench.store(), "w/sales").await.is_empty());

    bench.reopen().await;
    assert_eq!(trash::begin(bench.store(), &sales).await.unwrap(), Life(1));
    refused(bench.store(), late(Life::FIRST, None)).await;
    let anew = append(bench.store(), late(Life(1), None)).await;
    assert!(anew > first);
    refused(bench.store(), late(Life::FIRST, Some(first))).await;
    assert_eq!(snapshot(bench.store(), "w/sales", anew, "new", KEEP).await, SnapshotOutcome::Kept);
    // One of the first life that comes late displaces nothing.
    assert!(!matches!(snapshot_of(bench.store()).await, Ok(SnapshotOutcome::Kept)));
    assert_eq!(text(&load(bench.store(), "w/sales").await.snapshot.unwrap().1), "new");

    // Both in the trash, and the first comes back.
    trash::delete(bench.store(), &sales, Timestamp(2), None, None, None).await.unwrap();
    bench.reopen().await;
    trash::restore(bench.store(), &sales, Some(Life::FIRST)).await.unwrap();
    assert_eq!(tail(&load(bench.store(), "w/sales").await), ["update 1"]);
    refused(bench.store(), late(Life(1), None)).await;
    append(bench.store(), late(Life::FIRST, Some(first))).await;
    assert_eq!(bench.store().list("", None, 10).await.unwrap(), [sales]);
}

pub(crate) async fn what_ends_for_good_leaves_the_clocks_that_may_not_come_back(mut bench: impl Bench) {
    let sales = id("w/sales");
    let write = async |store: &dyn Store, life: Life, client: u32| {
        let json = format!("{{\"root\":{{\"{client}\":true}}}}");
        let update = ydash_proto::document::from_json(json.as_bytes(), client).unwrap();
        let entry = LogEntry { update: update.into(), ..entry(1, "") };
        append(store, Append { dashboard: id("w/sales"), life, after: None, entries: vec![entry] }).await
    };
    write(bench.store(), Life(0), 7).await;
    trash::delete(bench.store(), &sales, Timestamp(1), None, Some(std::time::Duration::ZERO), None).await.unwrap();
    trash::begin(bench.store(), &sales).await.unwrap();
    assert_eq!(bench.store().lives(&sales).await.unwrap().ended.get(7), 1);
    write(bench.store(), Life(1), 8).await;
    trash::delete(bench.store(), &sales, Timestamp(2), None, None, None).await.unwrap();
    let swept = trash::sweep(bench.store(), Timestamp(3)).await.unwrap();
    assert_eq!(swept, trash::Swept { purged: vec![(sales.clone(), Life(0))], kept: 1 });
    assert_eq!(trash::purge(bench.store(), &sales, None).await.unwrap(), [Life(1)]);
    let none = trash::purge(bench.store(), &sales, None).await;
    assert!(matches!(none, Err(TrashError::Life(LifeError::NotThere))), "{none:?}");
    for _ in 0..2 {
        let lives = bench.store().lives(&sales).await.unwrap();
        assert_eq!(lives.ended, [(7, 1), (8, 1)].into_iter().collect());
        assert!(lives.trash.is_empty() && lives.gone.is_some(), "the name stays closed");
        for place in [sales.clone(), sales.trashed(Life(0)), sales.trashed(Life(1))] {
            assert!(bench.store().load(&place).await.unwrap().is_empty(), "{place}");
        }
        assert!(bench.store().list("", None, 10).await.unwrap().is_empty());
        assert_eq!(trash::list(bench.store(), "w/", None, 10).await.unwrap(), (vec![], None));
        bench.reopen().await;
    }
}

pub(crate) async fn of_changes_of_one_life_one_is_made(bench: impl Bench) {
    let sales = id("w/sales");
    append(bench.store(), update("w/sales", 1)).await;
    let delete = |n| trash::delete(bench.store(), &sales, Timestamp(n), None, None, None);
    let results = futures_util::future::join_all((0..8).map(delete)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let begun = futures_util::future::join_all((0..8).map(|_| trash::begin(bench.store(), &sales))).await;
    assert_eq!(begun.iter().filter(|result| result.is_ok()).count(), 1, "{begun:?}");
    let lives = bench.store().lives(&sales).await.unwrap();
    assert_eq!((lives.version, lives.current, lives.trash.len()), (2, Life(1), 1));
    let stale = lives.purge(Life(0));
    trash::purge(bench.store(), &sales, None).await.unwrap();
    let late = bench.store().change_life(&sales, stale).await;
    assert!(matches!(late, Err(StoreError::LifeChanged)), "{late:?}");
}

pub(crate) async fn removed_dashboards_are_forgotten(mut bench: impl Bench) {
    for n in 0..10 {
        append(bench.store(), update("w/a", n)).await;
    }
    let covers = append(bench.store(), update("w/a", 10)).await;
    append(bench.store(), update("w/a", 11)).await;
    append(bench.store(), update("w/b", 0)).await;
    snapshot(bench.store(), "w/a", covers, "state", KEEP).await;
    bench.store().remove(&id("w/a")).await.unwrap();
    for _ in 0..2 {
        assert!(load(bench.store(), "w/a").await.is_empty());
        assert!(log_updates(bench.store(), "w/a").await.is_empty());
        assert_eq!(bench.store().list("", None, 10).await.unwrap(), [id("w/b")]);
        bench.reopen().await;
    }
    assert_eq!(load(bench.store(), "w/b").await.tail.len(), 1);
}

pub(crate) async fn positions_grow_beyond_a_removal(mut bench: impl Bench) {
    let before = append(bench.store(), update("w/a", 1)).await;
    bench.store().remove(&id("w/a")).await.unwrap();
    bench.reopen().await;
    let after = append(bench.store(), update("w/a", 2)).await;
    assert!(after > before);
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 2"]);
}

pub(crate) async fn lists_are_paged_and_filtered(bench: impl Bench) {
    let mut names: Vec<_> = (0..25).map(|n| format!("w{}/d{n}", n % 3)).collect();
    let results = bench.store().append(names.iter().map(|name| update(name, 1)).collect()).await;
    assert!(results.iter().all(Result::is_ok));
    names.sort();
    let mut listed = Vec::new();
    loop {
        let page = bench.store().list("", listed.last(), 10).await.unwrap();
        let is_last = page.len() < 10;
        listed.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(listed.iter().map(ToString::to_string).collect::<Vec<_>>(), names);

    let of_one: Vec<_> = listed.iter().filter(|id| id.workspace() == "w1").cloned().collect();
    assert_eq!(bench.store().list("w1/", None, 100).await.unwrap(), of_one);
    assert_eq!(bench.store().list("w1/", Some(&of_one[2]), 2).await.unwrap(), of_one[3..5]);
    assert_eq!(bench.store().list("w1/", of_one.last(), 2).await.unwrap(), []);
    // A start before the prefix or beyond it.
    assert_eq!(bench.store().list("w1/", Some(&id("a/a")), 100).await.unwrap(), of_one);
    assert_eq!(bench.store().list("w1/", Some(&id("z/z")), 100).await.unwrap(), []);
    assert_eq!(bench.store().list("", None, 0).await.unwrap(), []);
}

pub(crate) async fn logs_are_paged_with_all_their_fields(bench: impl Bench) {
    let sources = [Source::Socket, Source::Rest, Source::Import, Source::Recovery, Source::Node];
    let author: Arc<str> = "alice@example.org".into();
    let entries: Vec<_> = (0..50u64)
        .map(|n| LogEntry {
            at: Timestamp(1_700_000_000_000 + n),
            author: (n % 2 == 0).then(|| Arc::clone(&author)),
            session: u64::MAX - n,
            source: sources[n as usize % sources.len()],
            update: Bytes::from(vec![n as u8; n as usize]),
        })
        .collect();
    let last = append(
        bench.store(),
        Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: entries.clone() },
    )
    .await;
    let mut read = Vec::new();
    let mut after = LogPosition::START;
    loop {
        let page = bench.store().log(&id("w/a"), after, 7).await.unwrap();
        for (at, entry) in &page {
            assert!(*at > after);
            after = *at;
            read.push(entry.clone());
        }
        if page.len() < 7 {
            break;
        }
    }
    assert_eq!((read, after), (entries, last));
    assert!(bench.store().log(&id("w/a"), last, 7).await.unwrap().is_empty());
    assert!(bench.store().log(&id("w/a"), LogPosition(u128::MAX), 7).await.unwrap().is_empty());
    assert!(bench.store().log(&id("w/a"), LogPosition::START, 0).await.unwrap().is_empty());
}

pub(crate) async fn appends_from_many_tasks_are_all_kept(mut bench: impl Bench) {
    let store = bench.store();
    let task = |task: u64| async move {
        for n in 0..25 {
            append(store, update("w/shared", n)).await;
            append(store, update(&format!("w/{task}"), n)).await;
        }
    };
    futures_util::future::join_all((0..16).map(task)).await;
    for _ in 0..2 {
        assert_eq!(load(bench.store(), "w/shared").await.tail.len(), 400);
        for task in 0..16 {
            let expected: Vec<_> = (0..25).map(|n| format!("update {n}")).collect();
            assert_eq!(tail(&load(bench.store(), &format!("w/{task}")).await), expected);
        }
        bench.reopen().await;
    }
}

pub(crate) async fn a_closed_store_says_so(mut bench: impl Bench) {
    append(bench.store(), update("w/a", 1)).await;
    bench.store().close().await.unwrap();
    assert!(matches!(bench.store().load(&id("w/a")).await, Err(StoreError::Closed)));
    assert!(matches!(bench.store().append(vec![update("w/a", 2)]).await[0], Err(StoreError::Closed)));
    assert!(matches!(bench.store().ping().await, Err(StoreError::Closed)));
    bench.store().close().await.unwrap();
    bench.reopen().await;
    assert_eq!(tail(&load(bench.store(), "w/a").await), ["update 1"]);
}
