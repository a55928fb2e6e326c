//! Verifies what is kept of a dashboard's past: that every segment can be read, follows from the one before, and leads to the next.

use ydash_proto::document::to_json;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::update;

use super::has_hole;
use super::read::TRIES;
use crate::store::{Base, Digest, History, LogPosition, Segment, Store, StoreError};

/// The result of [`verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments that were read.
    pub segments: usize,
    /// Their entries.
    pub entries: usize,
    /// Faults, each with its position. Empty means that every version between the first segment and the base can be shown.
    pub faults: Vec<(LogPosition, String)>,
}

/// The end of a segment, for comparison with what follows it.
struct Border {
    at: LogPosition,
    digest: Digest,
    /// The JSON of the state there; `None` if its entries do not tell.
    shown: Option<String>,
}

/// Reads every segment and the base. It is for the command line: it decodes all of them, outside the readers' turns.
///
/// # Errors
/// [`StoreError`] – nothing can be said.
pub async fn verify(store: &dyn Store, dashboard: &DashboardId, limits: &Limits) -> Result<Verified, StoreError> {
    let mut tries = 0;
    loop {
        let history = store.history(dashboard).await?;
        let verified = verify_once(store, dashboard, &history, limits).await?;
        tries += 1;
        // A segment that a server has sealed or dropped meanwhile would look like a fault.
        if tries == TRIES || store.history(dashboard).await? == history {
            return Ok(verified);
        }
    }
}

async fn verify_once(
    store: &dyn Store,
    dashboard: &DashboardId,
    history: &History,
    limits: &Limits,
) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let mut border: Option<Border> = None;
    for info in &history.segments {
        let read =
            store.segment(dashboard, info.from).await?.map(|record| (Digest::of(&record), Segment::open(&record)));
        let (digest, segment) = match read {
            Some((digest, Ok(segment))) => (digest, segment),
            Some((_, Err(why))) => {
                verified.faults.push((info.from, why));
                border = None;
                continue;
            }
            None => {
                verified.faults.push((info.from, "segment is missing".to_owned()));
                border = None;
                continue;
            }
        };
        verified.segments += 1;
        verified.entries += segment.entries.len();
        if let Some(border) = border {
            verified.faults.extend(border.faults(segment.from, segment.previous, &segment.state));
        }
        border = Some(Border { at: info.to, digest, shown: end_of(&segment, limits) });
    }
    let base: Base = store.base(dashboard).await?;
    if base.is_damaged {
        verified.faults.push((base.position, "base cannot be read: history begins anew with the next seal".to_owned()));
    } else if let Some(border) = border {
        verified.faults.extend(border.faults(base.position, base.previous, &base.state));
    }
    Ok(verified)
}

impl Border {
    fn faults(&self, from: LogPosition, previous: Digest, state: &[u8]) -> Vec<(LogPosition, String)> {
        if from != self.at {
            return vec![(from, format!("history between {} and here is missing", self.at))];
        }
        let mut faults = Vec::new();
        if previous != self.digest {
            faults.push((from, format!("SHA-256 of the segment before is {}, not {previous}", self.digest)));
        }
        if self.shown.is_some() && to_json(state).ok() != self.shown {
            faults.push((from, "state differs from what the entries before it lead to".to_owned()));
        }
        faults
    }
}

/// The JSON of the state at the end of a segment, if its entries are whole.
fn end_of(segment: &Segment, limits: &Limits) -> Option<String> {
    let trusted = limits.for_trusted();
    let mut parts = vec![segment.state.clone()];
    for (_, entry) in &segment.entries {
        update::scan(&entry.update, &trusted).ok()?;
        parts.push(entry.update.clone());
    }
    let end = update::merge(&parts);
    let scan = update::scan(&end, &trusted).ok()?;
    // The snapshot has closed the hole with content that is not among the entries.
    if has_hole(&scan) { None } else { to_json(&end).ok() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOUR, House, board};
    use super::*;

    async fn sealed() -> House {
        let mut house = House::new();
        for n in 0..4 {
            house.edit(25 * n * HOUR, "ada", 1 + n as u32, &format!("{{\"k{n}\":[1]}}")).await;
            house.snapshot((25 * n + 25) * HOUR).await;
        }
        house
    }

    async fn verified(house: &House) -> Verified {
        verify(&*house.store, &board(), &Limits::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_sound_past_has_no_faults() {
        assert_eq!(verified(&House::new()).await, Verified::default());
        assert_eq!(verified(&sealed().await).await, Verified { segments: 4, entries: 4, faults: Vec::new() });
    }

    #[tokio::test]
    async fn what_is_damaged_is_named_with_its_place() {
        let house = sealed().await;
        let from = house.store.history(&board()).await.unwrap().segments[1].from;
        house.memory.damage_segment(&board(), from);
        let found = verified(&house).await;
        assert_eq!((found.segments, found.faults.len(), found.faults[0].0), (3, 1, from), "{:?}", found.faults);
    }

    /// A segment that was replaced by another whole one breaks the chain.
    #[tokio::test]
    async fn what_was_replaced_breaks_the_chain() {
        let house = sealed().await;
        let info = house.store.history(&board()).await.unwrap().segments[1];
        let record = house.store.segment(&board(), info.from).await.unwrap().unwrap();
        let mut segment = Segment::open(&record).unwrap();
        segment.entries[0].1.author = Some("mallory".into());
        house.memory.replace_segment(&board(), segment.seal());
        let found = verified(&house).await;
        assert_eq!((found.segments, found.faults.len(), found.faults[0].0), (4, 1, info.to), "{:?}", found.faults);
        assert!(found.faults[0].1.contains("SHA-256"));
    }
}
