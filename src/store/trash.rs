//! Deleting dashboards: into the trash, back from there, and for good.
//!
//! What the lives of a name may become is decided in [`ydash_proto::life`]; stores make each step in one piece. Nodes need no lock: whoever
//! was overtaken reads again.

use core::time::Duration;
use std::sync::Arc;

use tracing::warn;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, LifeError, Lives, Trashed};
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, StateVector};

use super::{Store, StoreError};

/// How often a change is tried again that somebody else overtook.
const ATTEMPTS: usize = 16;

/// How many names are looked at for one list, most of which may have nothing in the trash any more.
const LOOKED_AT_MAX: usize = 1000;

/// How many names are read at once.
const NAMES: usize = 256;

/// Why something was not deleted, begun or taken back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrashError {
    /// The name does not change so.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// The store said so.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts a dashboard into the trash, for `keep`; `None` for ever. With `moved_to` its name says where it is now.
///
/// # Errors
/// [`LifeError::NotThere`] – nobody has written to it, or it is deleted. Others as they say.
pub async fn delete(
    store: &dyn Store,
    dashboard: &DashboardId,
    now: Timestamp,
    by: Option<Arc<str>>,
    keep: Option<Duration>,
    moved_to: Option<DashboardId>,
) -> Result<Trashed, TrashError> {
    let until = keep.map(|keep| now + keep);
    for _ in 0..ATTEMPTS {
        let lives = store.lives(dashboard).await?;
        if lives.gone.is_none() && store.load(dashboard).await?.is_empty() {
            return Err(LifeError::NotThere.into());
        }
        let change = lives.delete(now, by.clone(), until, moved_to.clone())?;
        if let Some(mut next) = make(store, dashboard, change).await? {
            return Ok(next.trash.pop().expect("it was put there"));
        }
    }
    Err(StoreError::LifeChanged.into())
}

/// Takes a dashboard back from the trash: that of a life, or the one that was deleted last.
///
/// # Errors
/// [`LifeError::Exists`], [`LifeError::NotThere`]. Others as they say.
pub async fn restore(store: &dyn Store, dashboard: &DashboardId, life: Option<Life>) -> Result<Life, TrashError> {
    for _ in 0..ATTEMPTS {
        let lives = store.lives(dashboard).await?;
        let back = lives.trashed(life).map(|trashed| trashed.life);
        let mut ended = StateVector::default();
        for trashed in lives.trash.iter().filter(|trashed| Some(trashed.life) != back) {
            add_clocks(store, &dashboard.trashed(trashed.life), &mut ended).await?;
        }
        let change = lives.restore(life, &ended)?;
        if let Some(next) = make(store, dashboard, change).await? {
            return Ok(next.current);
        }
    }
    Err(StoreError::LifeChanged.into())
}

/// Lets a name that was deleted begin anew.
///
/// # Errors
/// [`LifeError::Exists`] – it need not begin. Others as they say.
pub async fn begin(store: &dyn Store, dashboard: &DashboardId) -> Result<Life, TrashError> {
    for _ in 0..ATTEMPTS {
        let lives = store.lives(dashboard).await?;
        let mut ended = StateVector::default();
        for trashed in &lives.trash {
            add_clocks(store, &dashboard.trashed(trashed.life), &mut ended).await?;
        }
        if let Some(next) = make(store, dashboard, lives.begin(&ended)?).await? {
            return Ok(next.current);
        }
    }
    Err(StoreError::LifeChanged.into())
}

/// The life to write to for whoever brings a dashboard from elsewhere: the current one, or another if the name was deleted.
///
/// # Errors
/// [`LifeError::NameSpent`]. Others as they say.
pub async fn life_to_write(store: &dyn Store, dashboard: &DashboardId) -> Result<Life, TrashError> {
    loop {
        let lives = store.lives(dashboard).await?;
        if lives.gone.is_none() {
            return Ok(lives.current);
        }
        match begin(store, dashboard).await {
            // Somebody else was faster.
            Err(TrashError::Life(LifeError::Exists)) => {}
            begun => return begun,
        }
    }
}

/// Ends for good what is in the trash: that of a life, or all of the name. Returns which it was.
///
/// # Errors
/// [`LifeError::NotThere`]. Others as they say; what was ended before stays so.
pub async fn purge(store: &dyn Store, dashboard: &DashboardId, life: Option<Life>) -> Result<Vec<Life>, TrashError> {
    let lives = store.lives(dashboard).await?;
    let meant = lives.trash.iter().map(|trashed| trashed.life).filter(|one| life.is_none_or(|life| life == *one));
    let meant: Vec<Life> = meant.collect();
    if meant.is_empty() {
        return Err(LifeError::NotThere.into());
    }
    for life in &meant {
        let place = dashboard.trashed(*life);
        let mut ended = StateVector::default();
        add_clocks(store, &place, &mut ended).await?;
        // First: once it is gone, nobody can say whose copies may not come back.
        let mut is_noted = false;
        for _ in 0..ATTEMPTS {
            let change = store.lives(dashboard).await?.note_ended(&ended)?;
            is_noted = make(store, dashboard, change).await?.is_some();
            if is_noted {
                break;
            }
        }
        if !is_noted {
            return Err(StoreError::LifeChanged.into());
        }
        store.remove(&place).await?;
        // Should this fail, it is ended once more.
        for _ in 0..ATTEMPTS {
            let change = store.lives(dashboard).await?.purge(*life);
            if make(store, dashboard, change).await?.is_some() {
                break;
            }
        }
    }
    Ok(meant)
}

/// Names with their lives, and the one to go on after.
pub type Listed = (Vec<(DashboardId, Lives)>, Option<DashboardId>);

/// What the trash holds of names that start with `prefix`, by name: at most `limit` names, those after `after` only; and the name to go on
/// after, if there may be more.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &dyn Store,
    prefix: &str,
    after: Option<&DashboardId>,
    limit: usize,
) -> Result<Listed, StoreError> {
    let mut found = Vec::new();
    let mut after = after.cloned();
    let mut looked_at = 0;
    loop {
        let names = store.deleted(prefix, after.as_ref(), NAMES).await?;
        let is_last = names.len() < NAMES;
        for name in names {
            if found.len() == limit || looked_at == LOOKED_AT_MAX {
                return Ok((found, after));
            }
            looked_at += 1;
            after = Some(name.clone());
            let lives = store.lives(&name).await?;
            if !lives.trash.is_empty() {
                found.push((name, lives));
            }
        }
        if is_last {
            return Ok((found, None));
        }
    }
}

/// What a walk through the trash has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Dashboards whose time was over, and which are ended for good.
    pub purged: Vec<(DashboardId, Life)>,
    /// Dashboards that are still in the trash.
    pub kept: u64,
}

/// Ends for good whatever has been in the trash for its time.
///
/// # Errors
/// [`TrashError`] – go on later.
pub async fn sweep(store: &dyn Store, now: Timestamp) -> Result<Swept, TrashError> {
    let mut swept = Swept::default();
    let mut after = None;
    loop {
        let (found, next) = list(store, "", after.as_ref(), NAMES).await?;
        for (dashboard, lives) in found {
            for trashed in lives.trash {
                if trashed.until.is_some_and(|until| until <= now) {
                    match purge(store, &dashboard, Some(trashed.life)).await {
                        Ok(lives) => swept.purged.extend(lives.into_iter().map(|life| (dashboard.clone(), life))),
                        // Somebody else was faster.
                        Err(TrashError::Life(LifeError::NotThere)) => {}
                        // It is tried again with the next walk; the names behind it do not wait for it.
                        Err(error) => {
                            warn!(%dashboard, %error, "a dashboard in the trash is not ended for good");
                            swept.kept += 1;
                        }
                    }
                } else {
                    swept.kept += 1;
                }
            }
        }
        match next {
            Some(name) => after = Some(name),
            None => return Ok(swept),
        }
    }
}

/// Makes a change; `None` if somebody else was faster.
async fn make(store: &dyn Store, dashboard: &DashboardId, change: LifeChange) -> Result<Option<Lives>, StoreError> {
    let next = change.next.clone();
    match store.change_life(dashboard, change).await {
        Ok(()) => Ok(Some(next)),
        Err(StoreError::LifeChanged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds how far the clocks of a dashboard go.
async fn add_clocks(store: &dyn Store, dashboard: &DashboardId, clocks: &mut StateVector) -> Result<(), StoreError> {
    let stored = store.load(dashboard).await?;
    let limits = Limits::default().for_trusted();
    let updates = stored.snapshot.into_iter().map(|(_, state)| state).chain(stored.tail);
    // What cannot be read is nothing that a client could have.
    for scan in updates.filter_map(|update| update::scan(&update, &limits).ok()) {
        scan.spans.iter().for_each(|span| clocks.advance(span.client, span.end));
    }
    Ok(())
}
