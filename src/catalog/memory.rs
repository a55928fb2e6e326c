//! The catalog in memory: the reference for the contract, and where tests make one fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Catalog, CatalogError, Expected, Key, Record, Version, check_len};

/// Records in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalog {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    records: BTreeMap<Key, Kept>,
    last: u64,
    is_down: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    is_damaged: bool,
}

/// What a test asked for.
#[derive(Debug, thiserror::Error)]
#[error("the memory catalog was switched off")]
struct SwitchedOff;

impl MemoryCatalog {
    /// An empty one.
    #[must_use]
    pub fn new() -> MemoryCatalog {
        MemoryCatalog::default()
    }

    /// Makes everything fail as long as it is `true`.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// Closes it or opens it again, as the store does that it belongs to.
    pub fn set_closed(&self, is_closed: bool) {
        self.lock().is_closed = is_closed;
    }

    /// Damages a record; `false` if there is none.
    pub fn damage(&self, key: &Key) -> bool {
        self.lock().records.get_mut(key).map(|kept| kept.is_damaged = true).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic leaves a whole record or none.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, doing: &'static str) -> Result<MutexGuard<'_, Shared>, CatalogError> {
        let shared = self.lock();
        if shared.is_closed {
            Err(CatalogError::Closed)
        } else if shared.is_down {
            Err(CatalogError::unavailable(doing, SwitchedOff))
        } else {
            Ok(shared)
        }
    }
}

impl Shared {
    fn expect(&self, key: &Key, expected: Expected) -> Result<(), CatalogError> {
        let actual = self.records.get(key).map(|kept| kept.record.version);
        if expected.is_met_by(actual) { Ok(()) } else { Err(CatalogError::Conflict { actual }) }
    }
}

impl Catalog for MemoryCatalog {
    fn is_shared(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, CatalogError>> {
        Box::pin(async move {
            match self.open("read a record")?.records.get(key) {
                None => Ok(None),
                Some(Kept { is_damaged: true, .. }) => {
                    Err(CatalogError::Damaged { key: key.clone(), why: "damaged by a test" })
                }
                Some(kept) => Ok(Some(kept.record.clone())),
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
            let mut shared = self.open("write a record")?;
            shared.expect(key, expected)?;
            shared.last += 1;
            let version = Version(shared.last);
            let kept = Kept { record: Record { version, content }, is_damaged: false };
            shared.records.insert(key.clone(), kept);
            Ok(version)
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: Expected) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move {
            let mut shared = self.open("remove a record")?;
            if shared.records.contains_key(key) {
                shared.expect(key, expected)?;
                shared.records.remove(key);
            }
            Ok(())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, CatalogError>> {
        Box::pin(async move {
            let shared = self.open("list records")?;
            let keys = shared.records.keys().filter(|key| key.as_str().starts_with(prefix));
            Ok(keys.filter(|key| after.is_none_or(|after| *key > after)).take(limit).cloned().collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Bench, key};
    use super::*;

    struct MemoryBench(MemoryCatalog);

    impl Bench for MemoryBench {
        async fn new() -> MemoryBench {
            MemoryBench(MemoryCatalog::new())
        }

        fn catalog(&self) -> &dyn Catalog {
            &self.0
        }

        async fn close(&mut self) {
            self.0.set_closed(true);
        }

        async fn reopen(&mut self) {
            self.0.set_closed(false);
        }

        async fn damage(&mut self, key: &Key) {
            assert!(self.0.damage(key));
        }
    }

    contract::suite!(MemoryBench);

    #[tokio::test]
    async fn one_that_is_down_answers_nothing_and_keeps_everything() {
        let catalog = MemoryCatalog::new();
        let version = catalog.put(&key("a"), Expected::Absent, Bytes::from_static(b"1")).await.unwrap();
        catalog.set_down(true);
        assert!(matches!(catalog.get(&key("a")).await, Err(CatalogError::Unavailable { .. })));
        assert!(matches!(catalog.list("", None, 9).await, Err(CatalogError::Unavailable { .. })));
        catalog.set_down(false);
        assert_eq!(catalog.get(&key("a")).await.unwrap().unwrap().version, version);
    }
}
