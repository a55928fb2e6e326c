//! Reads versions of a dashboard: which position a version means, and the state there.
//!
//! The state at a position is the last base at or before it and all entries from there up to it. Only the segment that contains the
//! position is decoded. A version that was kept has its state with it.

use bytes::Bytes;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, is_empty_update};
use ydash_proto::version::{Pinned, Version, Wanted};

use crate::reading::Readers;
use crate::store::{History, KeptVersion, LogEntry, LogPosition, Segment, SegmentInfo, Store, StoreError};

/// How many entries are read at once.
const PAGE: usize = 1024;
/// How often a read begins again because the log was sealed meanwhile.
pub(super) const TRIES: usize = 8;

/// Why a version cannot be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PastError {
    /// There is no such dashboard, it did not exist yet, or its history begins later or has a gap there.
    #[error("no such version is kept")]
    NotKept,
    /// The segment or base that it is made of cannot be read.
    #[error("the record that holds this version is damaged")]
    Damaged,
    /// Too many others are reading, or the log was sealed again and again meanwhile.
    #[error("too many wait to read")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds the position of the last edit in a version, or the version that was kept under its id.
///
/// # Errors
/// [`PastError`] – nothing can be shown.
pub async fn find(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    version: Version,
    now: Timestamp,
) -> Result<Pinned, PastError> {
    let version = match version.at(now) {
        Ok(wanted) => wanted,
        Err(id) if store.versions(dashboard).await?.iter().any(|info| info.id == id) => return Ok(Pinned::Kept(id)),
        Err(_) => return Err(PastError::NotKept),
    };
    for _ in 0..TRIES {
        let history = store.history(dashboard).await?;
        let found = find_in(store, readers, dashboard, &history, version).await;
        if store.history(dashboard).await?.base == history.base {
            return found.map(Pinned::Position);
        }
    }
    Err(PastError::Busy)
}

async fn find_in(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    history: &History,
    version: Wanted,
) -> Result<LogPosition, PastError> {
    let includes = |position: LogPosition, at: Timestamp| match version {
        Wanted::Position(wanted) => position <= wanted,
        Wanted::Time(wanted) => at <= wanted,
    };
    let (mut last, mut is_last, mut after) = (None, true, history.base);
    'log: loop {
        let page = store.log(dashboard, after, PAGE).await?;
        for (position, entry) in &page {
            is_last = includes(*position, entry.at);
            if !is_last {
                break 'log;
            }
            last = Some(*position);
        }
        match page.last() {
            Some((position, _)) if page.len() == PAGE => after = *position,
            _ => break,
        }
    }
    if let Wanted::Position(wanted) = version
        && is_last
        && wanted > last.unwrap_or(history.base)
    {
        // Nobody has given that out yet.
        return Err(PastError::NotKept);
    }
    if let Some(last) = last {
        return Ok(last);
    }
    // The position at which history goes on after the segment.
    let mut next = history.base;
    for info in history.segments.iter().rev() {
        if includes(info.to, info.last_at) {
            return match version {
                _ if info.to == next => Ok(info.to),
                Wanted::Position(wanted) if wanted >= next => Ok(next),
                Wanted::Position(wanted) if wanted == info.to => Ok(info.to),
                // The edits up to `next` are not kept: nobody knows which of them the version has.
                _ => Err(PastError::NotKept),
            };
        }
        next = info.from;
        let begins_before = match version {
            Wanted::Position(wanted) => info.from <= wanted,
            Wanted::Time(wanted) => info.first_at <= wanted,
        };
        if begins_before {
            let segment = open(store, readers, dashboard, info.from).await?;
            let included = segment.entries.iter().take_while(|(position, entry)| includes(*position, entry.at));
            if let Some((position, _)) = included.last() {
                return Ok(*position);
            }
        }
    }
    // The first state that is kept is a version, too.
    let first = history.segments.first().map_or(history.base, |info| info.from);
    if let Wanted::Position(wanted) = version
        && wanted >= first
        && !is_empty_update(&state_of(store, readers, dashboard, history, first).await?)
    {
        return Ok(first);
    }
    Err(PastError::NotKept)
}

/// Reads the state of a version that [`find`] has found.
///
/// # Errors
/// [`PastError`] – it is forgotten by now, or cannot be read.
pub async fn at(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    version: Pinned,
    limits: &Limits,
) -> Result<Bytes, PastError> {
    let position = match version {
        Pinned::Position(position) => position,
        Pinned::Kept(id) => {
            let record = store.version(dashboard, id).await?.ok_or(PastError::NotKept)?;
            let opening = readers.run(dashboard, move || KeptVersion::open(&record)).await;
            return opening.map_err(|_| PastError::Busy)?.map_err(|why| {
                tracing::error!(%dashboard, %id, why, "the state of a version cannot be read");
                PastError::Damaged
            });
        }
    };
    let (state, entries) = read(store, readers, dashboard, position).await?;
    let limits = limits.for_trusted();
    let joining = move || {
        let updates = entries.into_iter().map(|(_, entry)| entry.update);
        // An entry that is no update was set aside when the dashboard was opened.
        let updates = updates.filter(|update| update::scan(update, &limits).is_ok());
        update::merge(&core::iter::once(state).chain(updates).collect::<Vec<_>>())
    };
    readers.run(dashboard, joining).await.map_err(|_| PastError::Busy)
}

/// Reads the base of a version, and the entries from there up to it.
async fn read(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    position: LogPosition,
) -> Result<(Bytes, Vec<(LogPosition, LogEntry)>), PastError> {
    for _ in 0..TRIES {
        let history = store.history(dashboard).await?;
        if position < history.base {
            let holds = |info: &&SegmentInfo| info.from <= position && position <= info.to;
            let mut failure = PastError::NotKept;
            // Two segments have the position at which they meet; the later one has its state.
            for info in history.segments.iter().rev().filter(holds) {
                match open(store, readers, dashboard, info.from).await {
                    Ok(segment) => {
                        let entries = segment.entries.into_iter().take_while(|(at, _)| *at <= position);
                        return Ok((segment.state, entries.collect()));
                    }
                    Err(PastError::Damaged) => failure = PastError::Damaged,
                    Err(other) => return Err(other),
                }
            }
            return Err(failure);
        }
        let base = store.base(dashboard).await?;
        let entries = until(store, dashboard, base.position, position).await?;
        // Entries that were sealed and trimmed meanwhile would be missing.
        if base.position == history.base && store.history(dashboard).await?.base == history.base {
            return if base.is_damaged { Err(PastError::Damaged) } else { Ok((base.state, entries)) };
        }
    }
    Err(PastError::Busy)
}

async fn state_of(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    history: &History,
    position: LogPosition,
) -> Result<Bytes, PastError> {
    if position == history.base {
        let base = store.base(dashboard).await?;
        return if base.is_damaged { Err(PastError::Damaged) } else { Ok(base.state) };
    }
    Ok(open(store, readers, dashboard, position).await?.state)
}

/// The entries from a base up to a position.
async fn until(
    store: &dyn Store,
    dashboard: &DashboardId,
    from: LogPosition,
    to: LogPosition,
) -> Result<Vec<(LogPosition, LogEntry)>, StoreError> {
    let (mut entries, mut after) = (Vec::new(), from);
    loop {
        let page = store.log(dashboard, after, PAGE).await?;
        let is_last = page.len() < PAGE || page.last().is_some_and(|(position, _)| *position >= to);
        after = page.last().map_or(after, |(position, _)| *position);
        entries.extend(page.into_iter().take_while(|(position, _)| *position <= to));
        if is_last {
            return Ok(entries);
        }
    }
}

/// Reads the segment that begins at a position.
async fn open(
    store: &dyn Store,
    readers: &Readers,
    dashboard: &DashboardId,
    from: LogPosition,
) -> Result<Segment, PastError> {
    let record = store.segment(dashboard, from).await?.ok_or(PastError::NotKept)?;
    let opening = readers.run(dashboard, move || Segment::open(&record)).await.map_err(|_| PastError::Busy)?;
    opening.map_err(|why| {
        tracing::error!(%dashboard, %from, why, "a sealed segment cannot be read: the versions in it cannot be shown");
        PastError::Damaged
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOUR, House, board};
    use super::*;
    use crate::store::{VersionInfo, Why};
    use ydash_proto::document::to_json;
    use ydash_proto::life::Life;
    use ydash_proto::version::VersionId;

    const NOW: Timestamp = Timestamp(1000 * HOUR);

    async fn found(house: &House, version: &str) -> Result<LogPosition, PastError> {
        let version = Version::parse(version).unwrap();
        match find(&*house.store, &house.readers, &board(), version, NOW).await? {
            Pinned::Position(position) => Ok(position),
            Pinned::Kept(_) => panic!("it is no version of the log"),
        }
    }

    async fn shown(house: &House, version: &str) -> String {
        let position = Pinned::Position(found(house, version).await.unwrap());
        let state = at(&*house.store, &house.readers, &board(), position, &Limits::default()).await.unwrap();
        to_json(&state).unwrap()
    }

    fn expected(house: &House, position: LogPosition) -> String {
        to_json(&house.state_at(position)).unwrap()
    }

    async fn is_not_kept(house: &House, version: &str) {
        let found = found(house, version).await;
        assert!(matches!(found, Err(PastError::NotKept)), "{version}: {found:?}");
    }

    /// Random edits and deletions by many, sealed now and then: every position and every time shows what the log up to there says.
    #[tokio::test]
    async fn every_version_shows_what_the_log_up_to_there_says() {
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut house = House::new();
            let mut now = 900 * HOUR;
            for n in 0..60 {
                now += random.u64(0..20) * HOUR / 10 + u64::from(n % 7 == 0);
                house.edit_at_random(now, &mut random).await;
                if random.u8(..6) == 0 {
                    house.snapshot(now).await;
                }
            }
            house.policy.keep = core::time::Duration::from_secs(90 * 24 * 3600);
            house.snapshot(now + 25 * HOUR).await;
            house.edit_at_random(now + 26 * HOUR, &mut random).await;
            assert!(!house.store.history(&board()).await.unwrap().segments.is_empty());
            for (position, entry) in house.log.clone() {
                assert_eq!(found(&house, &position.to_string()).await.unwrap(), position, "seed {seed}");
                assert_eq!(
                    shown(&house, &position.to_string()).await,
                    expected(&house, position),
                    "seed {seed} at {position}"
                );
                let last = house.log.iter().rev().find(|(_, other)| other.at <= entry.at).unwrap().0;
                let ago = (NOW.0 as i64 - entry.at.0 as i64) / 1000;
                if ago >= 0 && entry.at.0 % 1000 == 0 {
                    assert_eq!(
                        shown(&house, &format!("-{ago}s")).await,
                        expected(&house, last),
                        "seed {seed} {ago} s ago"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_kept_or_not_there_yet_is_no_version() {
        let mut house = House::new();
        is_not_kept(&house, "0").await;
        is_not_kept(&house, "7").await;
        is_not_kept(&house, "-1h").await;
        for day in 0..10 {
            house.edit(24 * day * HOUR, "ada", 1 + day as u32, &format!("{{\"day{day}\":[1]}}")).await;
            house.snapshot((24 * day + 25) * HOUR).await;
        }
        let first = house.store.history(&board()).await.unwrap().segments[0];
        assert_eq!(first.first_at, Timestamp(24 * 4 * HOUR), "older ones are forgotten");
        is_not_kept(&house, &(first.from.0 - 1).to_string()).await;
        is_not_kept(&house, &format!("-{}h", 1000 - 24 * 4 + 1)).await;
        assert_eq!(shown(&house, &format!("-{}h", 1000 - 24 * 4)).await, expected(&house, first.to));
        // The state that is left of what was forgotten is a version.
        assert_eq!(shown(&house, &first.from.to_string()).await, expected(&house, first.from));
        let last = house.log.last().unwrap().0;
        assert_eq!(found(&house, "-0s").await.unwrap(), last);
        assert_eq!(shown(&house, &last.to_string()).await, expected(&house, last));
        is_not_kept(&house, &(last.0 + 1).to_string()).await;
    }

    /// A version whose last edits were lost showed what was before them.
    #[tokio::test]
    async fn what_was_edited_before_history_began_anew_is_no_version() {
        let mut house = House::new();
        for n in 0..3 {
            house.edit(30 * n * HOUR, "ada", 1 + n as u32, &format!("{{\"k{n}\":[1]}}")).await;
            if n == 1 {
                house.memory.damage_base(&board());
            }
            house.snapshot((30 * n + 25) * HOUR).await;
        }
        let ends: Vec<LogPosition> = house.log.iter().map(|(position, _)| *position).collect();
        let segments = house.store.history(&board()).await.unwrap().segments;
        assert_eq!(segments.iter().map(|info| (info.from, info.to)).collect::<Vec<_>>()[1..], [(ends[1], ends[2])]);
        for position in &ends {
            assert_eq!(shown(&house, &position.to_string()).await, expected(&house, *position));
        }
        assert_eq!(shown(&house, "-940h").await, expected(&house, ends[2]));
        is_not_kept(&house, "-970h").await;
        is_not_kept(&house, "-999h").await;
    }

    /// Of a version that was kept, nothing is needed but what was kept.
    #[tokio::test]
    async fn what_was_kept_under_an_id_is_a_version_when_its_log_is_gone() {
        let mut house = House::new();
        house.edit(0, "ada", 1, "{\"k\":[1]}").await;
        let (state, id) = (house.state_at(LogPosition(u128::MAX)), VersionId::new(Timestamp(HOUR), 7));
        let info = VersionInfo {
            id,
            position: Some(house.log[0].0),
            at: Timestamp(HOUR),
            name: "first".to_owned(),
            note: String::new(),
            author: None,
            why: Why::Named,
            bytes: 0,
        };
        house.store.keep_version(&board(), Life::FIRST, KeptVersion::new(info, &state).unwrap()).await.unwrap();
        for n in 1..12 {
            house.edit(24 * n * HOUR, "ada", 1 + n as u32, &format!("{{\"day{n}\":[1]}}")).await;
            house.snapshot((24 * n + 25) * HOUR).await;
        }
        is_not_kept(&house, &house.log[0].0.to_string()).await;
        let version = Version::parse(&id.to_string()).unwrap();
        let found = find(&*house.store, &house.readers, &board(), version, NOW).await.unwrap();
        assert_eq!(found, Pinned::Kept(id));
        let read = async || at(&*house.store, &house.readers, &board(), found, &Limits::default()).await;
        assert_eq!(to_json(&read().await.unwrap()).unwrap(), expected(&house, house.log[0].0));
        house.memory.damage_version(&board(), id);
        assert!(matches!(read().await, Err(PastError::Damaged)));
        house.store.remove_version(&board(), id).await.unwrap();
        assert!(matches!(read().await, Err(PastError::NotKept)));
        let gone = find(&*house.store, &house.readers, &board(), version, NOW).await;
        assert!(matches!(gone, Err(PastError::NotKept)));
    }

    #[tokio::test]
    async fn a_damaged_segment_costs_the_versions_in_it_alone() {
        let mut house = House::new();
        for n in 0..3 {
            for hour in 0..2 {
                house
                    .edit((30 * n + hour) * HOUR, "ada", 1 + (2 * n + hour) as u32, &format!("{{\"k{n}{hour}\":[1]}}"))
                    .await;
            }
            house.snapshot((30 * n + 26) * HOUR).await;
        }
        let segments = house.store.history(&board()).await.unwrap().segments;
        house.memory.damage_segment(&board(), segments[1].from);
        for (n, (position, _)) in house.log.iter().enumerate() {
            let version = Pinned::Position(*position);
            let read = at(&*house.store, &house.readers, &board(), version, &Limits::default()).await;
            match n {
                2 => assert!(matches!(read, Err(PastError::Damaged)), "{read:?}"),
                // The next segment begins with what the damaged one led to.
                _ => assert_eq!(to_json(&read.unwrap()).unwrap(), expected(&house, *position)),
            }
        }
    }
}
