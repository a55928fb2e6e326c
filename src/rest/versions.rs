//! Versions of a dashboard that are kept, as REST lists, makes, describes and removes them.

use super::Rest;
use crate::http::{VersionCall, VersionRefusal};
use crate::room::{KeepError, Keeping, VersionInfo, VersionLimit};
use serde_json::{Value, json};
use tracing::debug;
use ydash_proto::access::{Admission, format_moment};
use ydash_proto::id::DashboardId;

impl Rest {
    /// Does what is asked. The caller may.
    pub(super) async fn on_versions(
        self,
        dashboard: DashboardId,
        by: Admission,
        what: VersionCall,
    ) -> Result<Value, VersionRefusal> {
        let registry = &self.registry;
        match what {
            VersionCall::List => {
                let kept = registry.versions(&dashboard).await.map_err(unavailable)?;
                Ok(json!({ "versions": kept.iter().rev().map(told).collect::<Vec<_>>() }))
            }
            VersionCall::Keep { name, note } => {
                let keeping = Keeping::Named { name, note };
                let kept = registry.keep_version(&dashboard, keeping, by.principal.author()).await;
                kept.map(|info| told(&info)).map_err(refused)
            }
            VersionCall::Describe { id, name, note } => {
                let described = registry.describe_version(&dashboard, id, name, note).await.map_err(refused)?;
                described.map(|info| told(&info)).ok_or(VersionRefusal::NoVersion)
            }
            VersionCall::Remove(id) => {
                let is_removed = registry.remove_version(&dashboard, id).await.map_err(unavailable)?;
                if is_removed { Ok(json!({ "removed": true })) } else { Err(VersionRefusal::NoVersion) }
            }
        }
    }

    /// Keeps the content of a dashboard as a version, before an edit that removes much. If named versions fill a limit, the edit goes on
    /// without one.
    pub(super) async fn keep_before(&self, dashboard: &DashboardId, by: &Admission) -> Result<(), VersionRefusal> {
        match self.registry.keep_version(dashboard, Keeping::BeforeEdit, by.principal.author()).await {
            Ok(_) | Err(KeepError::Absent | KeepError::Full(_)) => Ok(()),
            Err(failure) => Err(refused(failure)),
        }
    }
}

fn told(info: &VersionInfo) -> Value {
    let VersionInfo { id, position, at, name, note, author, why, bytes } = info;
    json!({
        "id": id.to_string(),
        // Larger than numbers in JSON are read exactly.
        "position": position.map(|position| position.to_string()),
        "at": format_moment(*at),
        "name": name,
        "note": note,
        "by": author.as_deref(),
        "why": why.as_str(),
        "bytes": bytes,
    })
}

fn refused(failure: KeepError) -> VersionRefusal {
    match failure {
        KeepError::Absent => VersionRefusal::NoDashboard,
        KeepError::Deleted => VersionRefusal::Deleted,
        KeepError::Full(VersionLimit::Count) => VersionRefusal::FullOfVersions,
        KeepError::Full(VersionLimit::Bytes) => VersionRefusal::FullOfBytes,
        KeepError::ForNow => VersionRefusal::Unavailable,
    }
}

fn unavailable(failure: impl core::fmt::Display) -> VersionRefusal {
    debug!(%failure, "versions cannot be reached");
    VersionRefusal::Unavailable
}
