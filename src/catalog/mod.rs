//! Small records that must never go back: who may do what, links, blocks. Beside [`crate::store::Store`], which keeps the dashboards.
//!
//! A dashboard merges whatever it is given; a record here is replaced as a whole, and only by whoever knows its version. So a grant that
//! was revoked does not come back with an older copy of the record. [`memory`] is the reference, the embedded store keeps the records in
//! a keyspace of its own, [`mod@redis`] is what several nodes share. All of them pass the same contract suite.
//!
//! What every catalog promises:
//!
//! - What was answered is durable, and every later read on any node finds it or something newer.
//! - Of those who replace the same version of a record, one succeeds. The others are told which version is there.
//! - The versions of a key grow, also beyond its removal: a version never stands for two contents.
//! - A damaged record is an error and not an absent one: it must not be taken for "nobody has said anything about it".

#[cfg(test)]
pub(crate) mod contract;
pub mod memory;
pub(crate) mod record;
pub mod redis;

use core::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ydash_proto::id::DashboardId;

/// The largest content of a record.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;

/// The longest key. A dashboard's name and what the record is about fit.
pub const KEY_BYTES_MAX: usize = 1024;

/// Records by key. Cheap to share; every method may be called from many tasks at once and never blocks its thread.
pub trait Catalog: Send + Sync + 'static {
    /// Whether other processes may write to it as well.
    fn is_shared(&self) -> bool;

    /// Reads a record; `None` if there is none.
    ///
    /// # Errors
    /// Any [`CatalogError`] but a conflict: nothing is known about the record, so it must not be taken for absent.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, CatalogError>>;

    /// Writes a record if what is there is `expected`, and returns its version when it is durable.
    ///
    /// # Errors
    /// [`CatalogError::Conflict`] – somebody else was faster: read it again and decide anew. [`CatalogError::Unavailable`] – it may be
    /// written or not.
    fn put<'a>(
        &'a self,
        key: &'a Key,
        expected: Expected,
        content: Bytes,
    ) -> BoxFuture<'a, Result<Version, CatalogError>>;

    /// Removes a record if what is there is `expected`. One that is not there is removed already.
    ///
    /// # Errors
    /// As for [`Catalog::put`].
    fn remove<'a>(&'a self, key: &'a Key, expected: Expected) -> BoxFuture<'a, Result<(), CatalogError>>;

    /// Lists at most `limit` keys that start with `prefix`, in byte order, those after `after` only.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, CatalogError>>;
}

/// What a record is found by: text without control characters, whose parts are joined by slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key; `None` if it is empty, longer than [`KEY_BYTES_MAX`], or has control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Key> {
        let is_plain = !text.is_empty() && text.len() <= KEY_BYTES_MAX && !text.chars().any(char::is_control);
        is_plain.then(|| Key(text.into()))
    }

    /// Where it is said who may do what with a dashboard.
    ///
    /// # Panics
    /// Never: names are far shorter than keys may be.
    #[must_use]
    pub fn of_dashboard(dashboard: &DashboardId) -> Key {
        Key::new(&format!("{ACCESS}{dashboard}")).expect("a dashboard's name is short and has no control characters")
    }

    /// Where it is said who may do what in a workspace, which is the first part of its dashboards' names.
    ///
    /// # Panics
    /// Never, for what is the workspace of some dashboard.
    #[must_use]
    pub fn of_workspace(workspace: &str) -> Key {
        Key::new(&format!("{ACCESS}{workspace}")).expect("a workspace's name is short and has no control characters")
    }

    /// Where it is said what lists tell of a dashboard.
    ///
    /// # Panics
    /// Never, as for [`Key::of_dashboard`].
    #[must_use]
    pub fn of_about(dashboard: &DashboardId) -> Key {
        Key::new(&format!("{ABOUT}{dashboard}")).expect("a dashboard's name is short and has no control characters")
    }

    /// Where it is said which users are blocked.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn of_blocked() -> Key {
        Key::new(BLOCKED).expect("is short and plain")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of its contents a record has. Grows with every change of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its version.
    pub version: Version,
    /// What was put.
    pub content: Bytes,
}

/// What has to be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No record.
    Absent,
    /// This version, and no later one.
    Version(Version),
    /// Whatever: an operator replaces it, also if it is damaged.
    Anything,
}

impl Expected {
    /// What one expects who has read this.
    #[must_use]
    pub fn as_read(record: Option<&Record>) -> Expected {
        record.map_or(Expected::Absent, |record| Expected::Version(record.version))
    }

    /// Whether it is what there is.
    #[must_use]
    pub fn is_met_by(self, actual: Option<Version>) -> bool {
        match self {
            Expected::Absent => actual.is_none(),
            Expected::Version(expected) => actual == Some(expected),
            Expected::Anything => true,
        }
    }
}

/// Why a catalog did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    /// Something else is there than was expected.
    #[error("the record has changed meanwhile")]
    Conflict {
        /// What is there.
        actual: Option<Version>,
    },
    /// It could not be reached or written. Try again later.
    #[error("catalog unavailable: {doing}: {cause}")]
    Unavailable {
        /// What was tried, as a phrase.
        doing: &'static str,
        /// What the store or the server said.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// What is there cannot be read. Nobody but an operator can say what it should be.
    #[error("record {key} of the catalog is damaged: {why}")]
    Damaged {
        /// Which one.
        key: Key,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was written by a later ydash.
    #[error("record {key} of the catalog has format {format}, which this version of ydash does not know")]
    LaterFormat {
        /// Which one.
        key: Key,
        /// Its format.
        format: u8,
    },
    /// The content is larger than [`CONTENT_BYTES_MAX`].
    #[error("content of {bytes} bytes exceeds the maximum of {CONTENT_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It was closed, as at shutdown.
    #[error("catalog closed")]
    Closed,
}

impl CatalogError {
    /// Wraps what a store or a server said.
    pub fn unavailable(doing: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> CatalogError {
        CatalogError::Unavailable { doing, cause: Arc::new(cause) }
    }
}

/// What keys begin with that say who may do what.
const ACCESS: &str = "acl/";

/// What keys begin with that tell of dashboards in lists.
const ABOUT: &str = "about/";

/// Which users are blocked.
const BLOCKED: &str = "blocked";

/// The dashboard that a record is about, if it is about one.
#[must_use]
pub fn dashboard_of(key: &Key) -> Option<DashboardId> {
    let name = key.as_str().strip_prefix(ACCESS).filter(|name| name.contains('/'))?;
    DashboardId::stored(name).ok()
}

/// Whether a record follows from what dashboards hold, so that nothing is lost without it.
#[must_use]
pub fn is_derived(key: &Key) -> bool {
    key.as_str().starts_with(ABOUT)
}

/// The workspace that a record is about, if it is about one.
#[must_use]
pub fn workspace_of(key: &Key) -> Option<&str> {
    key.as_str().strip_prefix(ACCESS).filter(|name| !name.contains('/'))
}

/// Refuses what is larger than a record may be.
pub(crate) fn check_len(content: &Bytes) -> Result<(), CatalogError> {
    if content.len() > CONTENT_BYTES_MAX { Err(CatalogError::TooLarge { bytes: content.len() }) } else { Ok(()) }
}

/// How many keys are read at once.
const PAGE: usize = 256;

/// Reads all keys with a prefix.
///
/// # Errors
/// As for [`Catalog::list`].
pub async fn list_all(catalog: &dyn Catalog, prefix: &str) -> Result<Vec<Key>, CatalogError> {
    let mut keys = Vec::new();
    loop {
        let page = catalog.list(prefix, keys.last(), PAGE).await?;
        let is_last = page.len() < PAGE;
        keys.extend(page);
        if is_last {
            return Ok(keys);
        }
    }
}

/// Reads every record, and says how many are whole and what is wrong with the others.
///
/// # Errors
/// The catalog cannot be reached.
pub async fn check(catalog: &dyn Catalog) -> Result<(u64, Vec<CatalogError>), CatalogError> {
    let (mut whole, mut damaged) = (0, Vec::new());
    for key in list_all(catalog, "").await? {
        match catalog.get(&key).await {
            Ok(Some(_)) => whole += 1,
            // Removed since.
            Ok(None) => {}
            Err(error @ (CatalogError::Damaged { .. } | CatalogError::LaterFormat { .. })) => damaged.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((whole, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_text() {
        assert_eq!(Key::new("acl/acme/Umsätze").unwrap().as_str(), "acl/acme/Umsätze");
        assert!(Key::new(&"k".repeat(KEY_BYTES_MAX)).is_some());
        for bad in ["", "a\nb", "a\0", &"k".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(Key::new(bad), None, "{bad:?}");
        }
    }
}
