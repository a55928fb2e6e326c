//! The catalog in the store's directory: a keyspace of its own, written by the committer and synced before it is answered.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::committer::Job;
use super::engine::{EngineError, Unreadable, View};
use super::slot::Slot;
use super::{StoreError, ask, read_aside};
use crate::catalog::{Catalog, CatalogError, Expected, Key, Record, Version, check_len, record};

/// The catalog of a store that is open.
pub(super) struct EmbeddedCatalog {
    pub(super) slot: Arc<Slot>,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) readers: Arc<Semaphore>,
}

impl EmbeddedCatalog {
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&View<'_>) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        read_aside(&self.slot, &self.readers, doing, read).await.map_err(|error| failed(doing, error))
    }

    async fn change(&self, key: &Key, expected: Expected, content: Option<Bytes>) -> Result<Version, CatalogError> {
        let key = key.clone();
        let changed = ask(&self.jobs, |answer| Job::Catalogue { key, expected, content, answer }).await;
        changed.map_err(|error| failed("write a record", error))?
    }
}

impl Catalog for EmbeddedCatalog {
    /// The directory is locked.
    fn is_shared(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, CatalogError>> {
        Box::pin(async move {
            let at = key.clone();
            let found = self.read("read a record", move |view| view.catalogued(at.as_str())).await?;
            match found {
                None => Ok(None),
                Some(Ok(record)) => decode(key, &record).map(Some),
                Some(Err(Unreadable)) => Err(unreadable(key)),
            }
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        expected: Expected,
        content: Bytes,
    ) -> BoxFuture<'a, Result<Version, CatalogError>> {
        Box::pin(async move {
            check_len(&content)?;
            self.change(key, expected, Some(content)).await
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: Expected) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move { self.change(key, expected, None).await.map(drop) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, CatalogError>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        Box::pin(async move {
            let read = move |view: &View<'_>| view.catalog_keys(&prefix, after.as_ref().map(Key::as_str), limit);
            let keys = self.read("list records", read).await?;
            // Only keys were ever put.
            Ok(keys.iter().filter_map(|key| Key::new(str::from_utf8(key).ok()?)).collect())
        })
    }
}

/// A record with its version.
pub(super) fn encode(version: u64, content: &[u8]) -> Vec<u8> {
    record::seal(&[&version.to_be_bytes(), content])
}

pub(super) fn decode(key: &Key, sealed: &[u8]) -> Result<Record, CatalogError> {
    let opened = record::open(key, sealed)?;
    let damaged = || CatalogError::Damaged { key: key.clone(), why: "its version is cut off" };
    let (version, content) = opened.split_first_chunk().ok_or_else(damaged)?;
    Ok(Record { version: Version(u64::from_be_bytes(*version)), content: Bytes::copy_from_slice(content) })
}

/// The block that it stands in cannot be read.
pub(super) fn unreadable(key: &Key) -> CatalogError {
    CatalogError::Damaged { key: key.clone(), why: "its block cannot be read" }
}

fn failed(doing: &'static str, error: StoreError) -> CatalogError {
    match error {
        StoreError::Closed => CatalogError::Closed,
        error => CatalogError::unavailable(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::EmbeddedStore;
    use super::*;
    use crate::catalog::contract::{self, Bench};
    use crate::store::Store;

    struct DiskBench {
        directory: tempfile::TempDir,
        store: EmbeddedStore,
        catalog: Arc<dyn Catalog>,
    }

    impl Bench for DiskBench {
        async fn new() -> DiskBench {
            let directory = tempfile::tempdir().unwrap();
            let store = EmbeddedStore::open(directory.path()).unwrap();
            let catalog = store.catalog();
            DiskBench { directory, store, catalog }
        }

        fn catalog(&self) -> &dyn Catalog {
            &*self.catalog
        }

        async fn close(&mut self) {
            self.store.close().await.unwrap();
        }

        async fn reopen(&mut self) {
            self.close().await;
            self.store = EmbeddedStore::open(self.directory.path()).unwrap();
            self.catalog = self.store.catalog();
        }

        async fn damage(&mut self, key: &Key) {
            let damage = |view: &View<'_>, batch: &mut super::super::engine::Batch<'_>| {
                let Some(Ok(record)) = view.catalogued(key.as_str())? else { panic!("no record") };
                let mut record = record.to_vec();
                *record.last_mut().unwrap() ^= 1;
                let version = view.catalog_version()?;
                batch.put_catalogued(key.as_str(), version, record);
                Ok(())
            };
            self.store.slot.commit("damage a record", damage).unwrap();
        }
    }

    contract::suite!(DiskBench);
}
