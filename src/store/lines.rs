//! Dashboards for other servers: one line of JSON each, with its state as one Yjs update v1 in base64.
//!
//! ```text
//! {"dashboard":"acme/sales","update":"AQHu…"}
//! ```
//!
//! What everybody who speaks Yjs can read, without history; `archive` is what carries dashboards between stores of ydash.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::io::Write;

use bytes::Bytes;
use serde_json::json;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::update;

use super::archive::{ArchiveError, ArchiveReport};
use super::{Store, Stored};

/// How many names are read at once.
const PAGE: usize = 256;

/// Writes the dashboards that `wanted` names, in the order of their names; one that nobody ever wrote to is left out. Blocks its
/// thread while `to` does: for the command line.
///
/// # Errors
/// [`ArchiveError::Io`], [`ArchiveError::Store`] – what was written before is whole lines, and fewer than there should be.
pub async fn export(
    store: &dyn Store,
    wanted: impl Fn(&DashboardId) -> bool + Send,
    limits: &Limits,
    mut to: impl Write + Send,
) -> Result<ArchiveReport, ArchiveError> {
    let limits = &limits.for_trusted();
    let mut report = ArchiveReport::default();
    let mut last = None;
    loop {
        let page = store.list("", last.as_ref(), PAGE).await?;
        for dashboard in page.iter().filter(|dashboard| wanted(dashboard)) {
            let stored = store.load(dashboard).await?;
            report.damaged += u64::from(stored.damaged);
            let Some(state) = state(stored, limits, &mut report) else { continue };
            let line = json!({ "dashboard": dashboard.as_str(), "update": BASE64.encode(&state) });
            writeln!(to, "{line}")?;
            report.dashboards += 1;
        }
        let is_last = page.len() < PAGE;
        last = page.into_iter().next_back();
        if is_last {
            break;
        }
    }
    to.flush()?;
    Ok(report)
}

/// All that is readable of a dashboard; `None` if there is nothing.
pub fn state(stored: Stored, limits: &Limits, report: &mut ArchiveReport) -> Option<Bytes> {
    report.snapshots += u64::from(stored.snapshot.is_some());
    report.entries += stored.tail.len() as u64;
    let snapshot = stored.snapshot.map(|(_, state)| state);
    let mut parts = Vec::new();
    for update in snapshot.into_iter().chain(stored.tail) {
        match update::scan(&update, limits) {
            Ok(scan) => parts.push((update, scan)),
            Err(_) => report.damaged += 1,
        }
    }
    let parts: Vec<_> = parts.iter().map(|(update, scan)| (update, scan)).collect();
    (!parts.is_empty()).then(|| update::merge_scanned(&parts).0)
}

#[cfg(test)]
mod tests {
    use super::super::contract::id;
    use super::super::memory::MemoryStore;
    use super::super::{Append, LogEntry, LogPosition, Source};
    use super::*;
    use ydash_proto::life::Life;
    use ydash_proto::time::Timestamp;

    #[tokio::test]
    async fn a_dashboard_is_one_line_whatever_it_is_kept_as() {
        // Client 1 sets m.k to 1, then to 2; client 2 sets m.j to 1.
        let first = Bytes::from_static(b"\x01\x01\x01\x00\x28\x01\x01\x6d\x01\x6b\x01\x7d\x01\x00");
        let other = Bytes::from_static(b"\x01\x01\x02\x00\x28\x01\x01\x6d\x01\x6a\x01\x7d\x01\x00");
        let store = MemoryStore::new();
        for (dashboard, updates) in [("a/log", vec![&first, &other]), ("a/two", vec![&first]), ("b/nothing", vec![])] {
            let entries = updates.into_iter().map(|update| LogEntry {
                at: Timestamp(1),
                author: None,
                session: 0,
                source: Source::Rest,
                update: update.clone(),
            });
            let append =
                Append { dashboard: id(dashboard), life: Life::FIRST, after: None, entries: entries.collect() };
            store.append(vec![append]).await.remove(0).unwrap();
        }
        let unreadable = Bytes::from_static(b"no update");
        store.snapshot(&id("a/two"), LogPosition::START, unreadable).await.unwrap();

        let mut lines = Vec::new();
        let report = export(&store, |id| id.name() != "nothing", &Limits::default(), &mut lines).await.unwrap();
        let joined = BASE64.encode(update::merge(&[first.clone(), other]));
        let expected = format!(
            "{{\"dashboard\":\"a/log\",\"update\":\"{joined}\"}}\n{{\"dashboard\":\"a/two\",\"update\":\"{}\"}}\n",
            BASE64.encode(&first)
        );
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        assert_eq!((report.dashboards, report.damaged), (2, 1));
    }
}
