//! Versions of a dashboard that are kept with their content: made from the content of its room, described anew, removed.

use super::handle::ToRoom;
use super::registry::{OpenError, Registry};
use super::storage::Written;
use crate::store::{KeptVersion, StoreError, VersionInfo, VersionLimit, VersionOutcome, Why};
use std::sync::Arc;
use tokio::sync::oneshot;
use ydash_proto::id::DashboardId;
use ydash_proto::update::{StateVector, is_empty_update};
use ydash_proto::version::VersionId;

/// Attempts to describe a version while others describe it, too.
const ATTEMPTS: usize = 8;

/// The purpose of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Somebody wants it, under this name.
    Named {
        /// Not empty.
        name: String,
        /// A note of the user's. May be empty.
        note: String,
    },
    /// A write of JSON is about to remove much.
    BeforeEdit,
}

/// The reason why a version is not kept, or not described anew.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeepError {
    /// Nobody has written to the dashboard.
    #[error("nobody has written to the dashboard")]
    Absent,
    /// It was deleted.
    #[error("dashboard was deleted")]
    Deleted,
    /// Named versions fill a limit.
    #[error("there is no room for another version")]
    Full(VersionLimit),
    /// Try again.
    #[error("the version cannot be kept at the moment")]
    ForNow,
}

impl From<StoreError> for KeepError {
    fn from(failure: StoreError) -> KeepError {
        match failure {
            StoreError::Gone => KeepError::Deleted,
            failure => {
                tracing::debug!(%failure, "a version is not kept");
                KeepError::ForNow
            }
        }
    }
}

impl Registry {
    /// The versions of a dashboard that are kept, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] – nothing can be said about which there are.
    pub async fn versions(&self, id: &DashboardId) -> Result<Vec<VersionInfo>, StoreError> {
        self.context.storage.store.versions(id).await
    }

    /// Keeps what the dashboard shows as a version, and returns its description when it is durable.
    ///
    /// # Errors
    /// [`KeepError`] – nothing is kept.
    pub async fn keep_version(
        &self,
        id: &DashboardId,
        keeping: Keeping,
        author: Option<Arc<str>>,
    ) -> Result<VersionInfo, KeepError> {
        let storage = &self.context.storage;
        // Before the room is read: what it shows may not become a version of another life.
        let life = storage.lives(id).await?.current;
        let room = self.open(id).await.map_err(|failure| match failure {
            OpenError::Deleted => KeepError::Deleted,
            OpenError::NotKept => KeepError::Absent,
            _ => KeepError::ForNow,
        })?;
        let state = room.read(StateVector::default()).await.map_err(|_| KeepError::ForNow)?;
        if is_empty_update(&state) {
            return Err(KeepError::Absent);
        }
        let (checked, is_checked) = oneshot::channel();
        if room.send(ToRoom::CheckLife { checked }).await.is_ok() {
            let _ = is_checked.await; // It is dropped when the room knows, and when the room ends.
        }
        if room.shared.inbox.is_closed() {
            return Err(KeepError::ForNow);
        }
        let Written::Durable(end) = storage.append(id, life, None, Vec::new()).await else {
            return Err(KeepError::ForNow);
        };
        let at = self.context.clock.now();
        let (name, note, why) = match keeping {
            Keeping::Named { name, note } => (name, note, Why::Named),
            Keeping::BeforeEdit => (String::new(), String::new(), Why::BeforeEdit),
        };
        let version = VersionId::new(at, fastrand::u32(..));
        let position = Some(end.position);
        let info = VersionInfo { id: version, position, at, name, note, author, why, bytes: 0 };
        let encoding = self.context.readers.run(id, move || KeptVersion::new(info, &state)).await;
        let version = encoding.map_err(|_| KeepError::ForNow)??;
        let info = version.info.clone();
        match storage.store.keep_version(id, life, version).await? {
            VersionOutcome::Kept => {
                self.context.metrics.versions.inc();
                Ok(info)
            }
            VersionOutcome::Absent => Err(KeepError::Absent),
            VersionOutcome::Full(limit) => Err(KeepError::Full(limit)),
        }
    }

    /// Gives a version another name or note, and returns its description then; `None` if there is no such version.
    ///
    /// # Errors
    /// [`KeepError`] – it may be described anew or not.
    pub async fn describe_version(
        &self,
        id: &DashboardId,
        version: VersionId,
        name: Option<String>,
        note: Option<String>,
    ) -> Result<Option<VersionInfo>, KeepError> {
        let store = &self.context.storage.store;
        for _ in 0..ATTEMPTS {
            let kept = store.versions(id).await?;
            let Some(before) = kept.into_iter().find(|info| info.id == version) else { return Ok(None) };
            let mut after = before.clone();
            after.name = name.clone().unwrap_or(after.name);
            after.note = note.clone().unwrap_or(after.note);
            if store.describe_version(id, before, after.clone()).await? {
                return Ok(Some(after));
            }
        }
        Err(KeepError::ForNow)
    }

    /// Removes a version; says whether there was one.
    ///
    /// # Errors
    /// [`StoreError`] – it may be removed or not.
    pub async fn remove_version(&self, id: &DashboardId, version: VersionId) -> Result<bool, StoreError> {
        self.context.storage.store.remove_version(id, version).await
    }
}
