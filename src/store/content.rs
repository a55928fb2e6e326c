//! Whether what a store holds are documents: its checksums say only that it is what was written.

use ydash_proto::limits::Limits;
use ydash_proto::update;

use super::{CheckReport, DamagedRecord, LogPosition, Store, StoreError};

/// How many names, or log entries, are read at once.
const PAGE: usize = 256;

/// Why bytes are no update, as a phrase.
pub fn judge(bytes: &[u8], limits: &Limits) -> Result<(), String> {
    update::scan(bytes, limits).map(drop).map_err(|error| format!("holds no update: {error}"))
}

/// Reads every snapshot and log entry, and names those that are no updates. Slow: for `ydash doctor`.
///
/// # Errors
/// Any [`StoreError`] – what was found before is lost with it.
pub async fn check(store: &dyn Store, limits: &Limits) -> Result<Vec<DamagedRecord>, StoreError> {
    let limits = &limits.for_trusted();
    let mut found = Vec::new();
    let mut last = None;
    loop {
        let page = store.list("", last.as_ref(), PAGE).await?;
        for dashboard in &page {
            let mut judge = |position, bytes: &[u8]| {
                let Err(why) = judge(bytes, limits) else { return };
                if found.len() < CheckReport::DAMAGED_MAX {
                    found.push(DamagedRecord { dashboard: dashboard.to_string(), position, why });
                }
            };
            if let Some((_, state)) = store.load(dashboard).await?.snapshot {
                judge(None, &state);
            }
            let mut after = LogPosition::START;
            loop {
                let entries = store.log(dashboard, after, PAGE).await?;
                let Some((end, _)) = entries.last() else { break };
                after = *end;
                entries.iter().for_each(|(position, entry)| judge(Some(*position), &entry.update));
            }
        }
        let is_last = page.len() < PAGE;
        last = page.into_iter().next_back();
        if is_last {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::contract::{id, update};
    use super::super::memory::MemoryStore;
    use super::*;

    #[tokio::test]
    async fn what_is_no_update_is_named_by_dashboard_and_place() {
        let store = MemoryStore::new();
        let position = store.append(vec![update("w/log", 1)]).await.remove(0).unwrap().position;
        store.snapshot(&id("w/state"), LogPosition::START, Bytes::from_static(b"garbage")).await.unwrap();
        store.snapshot(&id("w/fine"), LogPosition::START, Bytes::from_static(&[0, 0])).await.unwrap();
        let found = check(&store, &Limits::default()).await.unwrap();
        let found: Vec<_> = found.iter().map(|record| (record.dashboard.as_str(), record.position)).collect();
        assert_eq!(found, [("w/log", Some(position)), ("w/state", None)]);
        assert_eq!(store.check().await.unwrap().damaged_total, 0, "the records themselves are whole");
    }
}
