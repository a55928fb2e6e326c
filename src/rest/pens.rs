//! The client ids under which this node writes what REST asks for: one for each dashboard, and one edit at a time.
//!
//! An id is drawn at random and used by this process alone. It is used again only while the document has exactly as much of it as was written
//! here: after a restart, or when something of it got lost, another one is drawn. For other content under clocks that
//! somebody has seen is a difference that never heals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as TurnMutex, OwnedMutexGuard};
use tokio::time::timeout;
use ydash_proto::document::edit::{Pen, Present};
use ydash_proto::id::DashboardId;

use crate::reading::GaveUp;

/// Dashboards whose ids are remembered. Beyond, the half that was used least lately is forgotten: those get other ids.
const PENS_MAX: usize = 10_000;
/// An id that has written so much makes way for another one: clocks end at 2^31.
const CLOCK_MAX: u32 = 1 << 30;

/// The ids of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pens(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// With the number of its last use.
    pens: HashMap<DashboardId, (Shared, u64)>,
    /// Counts uses.
    used: u64,
}

type Shared = Arc<TurnMutex<Option<Pen>>>;

/// The turn to edit one dashboard, with the id that wrote last.
pub(super) type Turn = OwnedMutexGuard<Option<Pen>>;

impl Pens {
    /// Waits for the turn to edit a dashboard. Cancel-safe.
    pub(super) async fn take(&self, dashboard: &DashboardId, within: Duration) -> Result<Turn, GaveUp> {
        let pen = self.of(dashboard);
        timeout(within, pen.lock_owned()).await.map_err(|_| GaveUp)
    }

    fn of(&self, dashboard: &DashboardId) -> Shared {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.used += 1;
        let used = known.used;
        if known.pens.len() >= PENS_MAX && !known.pens.contains_key(dashboard) {
            let mut uses: Vec<u64> = known.pens.values().map(|(_, used)| *used).collect();
            uses.sort_unstable();
            let until = uses[uses.len() / 2];
            known.pens.retain(|_, (pen, used)| *used > until || Arc::strong_count(pen) > 1);
        }
        let (pen, last) = known.pens.entry(dashboard.clone()).or_default();
        *last = used;
        Arc::clone(pen)
    }
}

/// What is written with next: the last one, if the document has just what it wrote, or another one.
pub(super) fn pen_for(last: Option<Pen>, present: &Present<'_>) -> Pen {
    match last {
        Some(pen) if pen.clock < CLOCK_MAX && present.clocks_of(pen.client) == pen.clock => pen,
        _ => loop {
            let client = u64::from(fastrand::u32(1..));
            if present.clocks_of(client) == 0 {
                return Pen { client, clock: 0 };
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ydash_proto::document::from_json;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn an_id_is_used_again_only_while_the_document_has_just_what_it_wrote() {
        let state = from_json(br#"{"m":{"a":1,"b":2}}"#, 7).unwrap();
        let present = Present::read(&state).unwrap();
        let whole = Pen { client: 7, clock: 2 };
        assert_eq!(pen_for(Some(whole), &present), whole);
        for lost in [Pen { client: 7, clock: 3 }, Pen { client: 7, clock: 1 }, Pen { client: 8, clock: 1 }] {
            let other = pen_for(Some(lost), &present);
            assert!(other.client != 7 && other.clock == 0, "{other:?}");
        }
        assert_eq!(pen_for(None, &present).clock, 0);
    }

    #[tokio::test]
    async fn one_edits_a_dashboard_at_a_time_and_others_do_not_wait() {
        let pens = Pens::default();
        let [a, b] = ["a", "b"].map(|name| DashboardId::new("w", name).unwrap());
        let mut turn = pens.take(&a, SOON).await.unwrap();
        *turn = Some(Pen { client: 1, clock: 5 });
        assert!(pens.take(&a, Duration::from_millis(1)).await.is_err());
        assert!(pens.take(&b, SOON).await.is_ok());
        drop(turn);
        assert_eq!(*pens.take(&a, SOON).await.unwrap(), Some(Pen { client: 1, clock: 5 }));
    }

    #[tokio::test]
    async fn ids_of_dashboards_that_nobody_edits_are_forgotten() {
        let pens = Pens::default();
        let dashboard = |at: usize| DashboardId::new("w", &at.to_string()).unwrap();
        let held = pens.take(&dashboard(0), SOON).await.unwrap();
        for at in 1..2 * PENS_MAX {
            *pens.take(&dashboard(at), SOON).await.unwrap() = Some(Pen { client: 1, clock: 1 });
        }
        let len = pens.0.lock().unwrap().pens.len();
        assert!(len <= PENS_MAX, "{len}");
        assert!(pens.take(&dashboard(0), Duration::from_millis(1)).await.is_err(), "who has the turn keeps it");
        drop(held);
    }
}
