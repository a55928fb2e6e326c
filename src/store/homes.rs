//! Brings dashboards that lie under a name of an older rule to where clients look for them.
//!
//! y-websocket's clients once had all their names in the workspace `default`: what they wrote to `team/sales` lies under
//! `default/team/sales`, and is looked for under `team/sales` ([`DashboardId::home`]). It is appended there, as one update, and merges
//! with what others wrote to that name; only then it is removed. What cannot merge stays where it is, and is told.

use std::collections::BTreeSet;

use bytes::Bytes;
use ydash_proto::id::{ClientId, DashboardId};
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update;

use super::lines::state;
use super::{Append, LogEntry, LogPosition, Source, Store, StoreError};

/// How many names, or log entries, are read at once.
const PAGE: usize = 256;

/// What became of dashboards that were not where they belong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homecoming {
    /// To where nothing was.
    pub moved: u64,
    /// To where others had written.
    pub merged: u64,
    /// What stays where it is, and why.
    pub left: Vec<(DashboardId, LeftWhy)>,
}

/// Why a dashboard stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftWhy {
    /// Without an identity nobody could open it there.
    #[error("its name is reserved where it belongs")]
    Reserved,
    /// Yjs takes what one client id wrote in two documents for the same.
    #[error("the same client ids wrote other content to it than to the dashboard where it belongs")]
    SharedClients,
    /// Nobody would find it there, and taking back what was deleted would lose it.
    #[error("a dashboard of the name where it belongs was deleted: take it back, or end it for good and begin another")]
    Deleted,
    /// What is readable has been brought home.
    #[error("some of its records are unreadable")]
    Damaged,
}

/// Moves every dashboard that is not where it belongs. Doing it again, or on several nodes at once, does no harm; `now` is when it
/// is said to have been.
///
/// # Errors
/// Any [`StoreError`] – some have moved; the others are where they were.
pub async fn bring_home(store: &dyn Store, limits: &Limits, now: Timestamp) -> Result<Homecoming, StoreError> {
    let limits = &limits.for_trusted();
    let mut report = Homecoming::default();
    for dashboard in away(store).await? {
        let Some(home) = dashboard.home() else { continue };
        match bring(store, &dashboard, &home, limits, now).await? {
            Ok(true) => report.merged += 1,
            Ok(false) => report.moved += 1,
            Err(why) => report.left.push((dashboard, why)),
        }
    }
    Ok(report)
}

/// The dashboards that are not where they belong.
///
/// # Errors
/// As [`Store::list`].
pub async fn away(store: &dyn Store) -> Result<Vec<DashboardId>, StoreError> {
    let mut away = Vec::new();
    let mut last = None;
    loop {
        let page = store.list("default/", last.as_ref(), PAGE).await?;
        away.extend(page.iter().filter(|dashboard| dashboard.home().is_some()).cloned());
        let is_last = page.len() < PAGE;
        last = page.into_iter().next_back();
        if is_last {
            return Ok(away);
        }
    }
}

/// Moves one; `true` if there was something already.
async fn bring(
    store: &dyn Store,
    dashboard: &DashboardId,
    home: &DashboardId,
    limits: &Limits,
    now: Timestamp,
) -> Result<Result<bool, LeftWhy>, StoreError> {
    if home.is_reserved() {
        return Ok(Err(LeftWhy::Reserved));
    }
    let lives = store.lives(home).await?;
    if lives.gone.is_some() {
        return Ok(Err(LeftWhy::Deleted));
    }
    let mut read = super::archive::ArchiveReport::default();
    let stored = store.load(dashboard).await?;
    let mut damaged = stored.damaged > 0;
    let content = state(stored, limits, &mut read);
    damaged |= read.damaged > 0;
    let there = store.load(home).await?;
    let is_merge = !there.is_empty();
    if let Some(content) = content
        && !(is_merge && was_brought(store, home, &content).await?)
    {
        let there = state(there, limits, &mut read);
        if there.is_some_and(|there| contradict(&there, &content, limits)) {
            return Ok(Err(LeftWhy::SharedClients));
        }
        let entry = LogEntry { at: now, author: None, session: 0, source: Source::Import, update: content };
        let append = Append { dashboard: home.clone(), life: lives.current, after: None, entries: vec![entry] };
        store.append(vec![append]).await.into_iter().try_for_each(|result| result.map(drop))?;
    }
    if damaged {
        return Ok(Err(LeftWhy::Damaged));
    }
    store.remove(dashboard).await?;
    Ok(Ok(is_merge))
}

/// Whether this very content was appended before, and the end came before it was removed.
async fn was_brought(store: &dyn Store, home: &DashboardId, content: &Bytes) -> Result<bool, StoreError> {
    let mut after = LogPosition::START;
    loop {
        let page = store.log(home, after, PAGE).await?;
        if page.iter().any(|(_, entry)| entry.source == Source::Import && entry.update == content) {
            return Ok(true);
        }
        match page.last() {
            Some((position, _)) if page.len() == PAGE => after = *position,
            _ => return Ok(false),
        }
    }
}

/// Whether the same client wrote both and they may differ in it. A template that every document begins with does not differ.
fn contradict(one: &Bytes, other: &Bytes, limits: &Limits) -> bool {
    let clients = |state: &Bytes| -> BTreeSet<ClientId> {
        update::scan(state, limits).map(|scan| scan.spans.iter().map(|span| span.client).collect()).unwrap_or_default()
    };
    // Where two begin at the same clock, the first of them is taken.
    let merged = |first: &Bytes, second: &Bytes| update::merge(&[first.clone(), second.clone()]);
    !clients(one).is_disjoint(&clients(other))
        && (merged(one, other) != merged(other, one) || has_hole(one) || has_hole(other))
}

fn has_hole(state: &Bytes) -> bool {
    update::scan(state, &Limits::default().for_trusted()).is_ok_and(|scan| scan.spans.iter().any(|span| span.start > 0))
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStore;
    use super::*;
    use ydash_proto::document::{from_json, to_json};
    use ydash_proto::life::Life;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn kept(name: &str) -> DashboardId {
        DashboardId::stored(name).unwrap()
    }

    async fn write(store: &dyn Store, name: &str, json: &str, client: u32) {
        let update = from_json(json.as_bytes(), client).unwrap().into();
        let entry = LogEntry { at: NOW, author: None, session: 1, source: Source::Socket, update };
        let append = Append { dashboard: kept(name), life: Life::FIRST, after: None, entries: vec![entry] };
        store.append(vec![append]).await.remove(0).unwrap();
    }

    async fn shown(store: &dyn Store, name: &str) -> Option<String> {
        let stored = store.load(&kept(name)).await.unwrap();
        let state = state(stored, &Limits::default(), &mut Default::default())?;
        Some(to_json(&state).unwrap())
    }

    async fn settle(store: &dyn Store) -> Homecoming {
        bring_home(store, &Limits::default(), NOW).await.unwrap()
    }

    #[tokio::test]
    async fn what_lies_under_an_older_name_moves_to_where_clients_look_for_it() {
        let store = MemoryStore::new();
        write(&store, "default/team/sales", r#"{"a":{"k":1}}"#, 1).await;
        write(&store, "default/team/sales", r#"{"b":[2]}"#, 2).await;
        write(&store, "default/stays", r#"{"c":[3]}"#, 3).await;
        write(&store, "default/ünï/x", r#"{"d":[4]}"#, 4).await;
        assert_eq!(away(&store).await.unwrap(), [kept("default/team/sales")]);
        assert_eq!(settle(&store).await, Homecoming { moved: 1, ..Homecoming::default() });
        assert_eq!(shown(&store, "team/sales").await.as_deref(), Some(r#"{"a":{"k":1},"b":[2]}"#));
        assert_eq!(shown(&store, "default/team/sales").await, None);
        assert_eq!(shown(&store, "default/stays").await.as_deref(), Some(r#"{"c":[3]}"#));
        assert_eq!(settle(&store).await, Homecoming::default(), "once is enough");
    }

    #[tokio::test]
    async fn it_merges_with_what_others_wrote_to_the_same_name() {
        let store = MemoryStore::new();
        write(&store, "default/team/sales", r#"{"widgets":{"mine":1}}"#, 1).await;
        write(&store, "team/sales", r#"{"widgets":{"yours":2}}"#, 2).await;
        assert_eq!(settle(&store).await, Homecoming { merged: 1, ..Homecoming::default() });
        assert_eq!(shown(&store, "team/sales").await.as_deref(), Some(r#"{"widgets":{"mine":1,"yours":2}}"#));
        assert_eq!(shown(&store, "default/team/sales").await, None);
    }

    /// A process that ends between the append and the removal.
    #[tokio::test]
    async fn what_was_brought_already_is_only_removed() {
        let store = MemoryStore::new();
        write(&store, "default/team/sales", r#"{"a":[1]}"#, 1).await;
        let content =
            state(store.load(&kept("default/team/sales")).await.unwrap(), &Limits::default(), &mut Default::default());
        let entry = LogEntry { at: NOW, author: None, session: 0, source: Source::Import, update: content.unwrap() };
        let append = Append { dashboard: kept("team/sales"), life: Life::FIRST, after: None, entries: vec![entry] };
        store.append(vec![append]).await.remove(0).unwrap();
        assert_eq!(settle(&store).await, Homecoming { merged: 1, ..Homecoming::default() });
        assert_eq!(shown(&store, "team/sales").await.as_deref(), Some(r#"{"a":[1]}"#));
        assert_eq!(store.log(&kept("team/sales"), LogPosition::START, 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_template_that_both_begin_with_is_no_hindrance() {
        let store = MemoryStore::new();
        for (name, client) in [("default/team/sales", 1), ("team/sales", 2)] {
            write(&store, name, r#"{"template":["for","all"]}"#, 0).await;
            write(&store, name, &format!("{{\"by\":{{\"{client}\":true}}}}"), client).await;
        }
        assert_eq!(settle(&store).await, Homecoming { merged: 1, ..Homecoming::default() });
        let merged = r#"{"by":{"1":true,"2":true},"template":["for","all"]}"#;
        assert_eq!(shown(&store, "team/sales").await.as_deref(), Some(merged));
    }

    /// Merged, the second document's content would be taken for known, and be lost.
    #[tokio::test]
    async fn what_cannot_merge_or_be_opened_there_stays_and_is_told() {
        let store = MemoryStore::new();
        write(&store, "default/team/sales", r#"{"a":[1]}"#, 7).await;
        write(&store, "team/sales", r#"{"b":[2]}"#, 7).await;
        write(&store, "default/team/~ada", r#"{"c":[3]}"#, 8).await;
        let left =
            vec![(kept("default/team/sales"), LeftWhy::SharedClients), (kept("default/team/~ada"), LeftWhy::Reserved)];
        assert_eq!(settle(&store).await, Homecoming { left, ..Homecoming::default() });
        assert_eq!(shown(&store, "default/team/sales").await.as_deref(), Some(r#"{"a":[1]}"#));
        assert_eq!(shown(&store, "team/sales").await.as_deref(), Some(r#"{"b":[2]}"#));
    }
}
