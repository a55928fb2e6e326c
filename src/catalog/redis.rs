//! The catalog in Redis: what several nodes share.
//!
//! A record is a hash of its own, replaced by one Lua script that compares the version: nobody needs a lock, and in a Cluster every record
//! is in the slot of its key. A sorted set of all keys, on one server, is what lists are read from: a key is in it before its record
//! is, so a list may look for a record that is not there, and never misses one.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Catalog, CatalogError, Expected, Key, Record, Version, check_len, record};
use crate::redis::{Command, Names, Redis, RedisError, Script, Value};

static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/put.lua")));

/// How long a removed record's version stays known. Beyond, the server's clock has gone further.
const TOMBSTONE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Keys that are read at once.
const KEYS: usize = 256;

/// Records in a Redis.
#[derive(Clone)]
pub struct RedisCatalog {
    redis: Redis,
    /// Where writes go; connections of their own if they wait for replicas.
    writes: Redis,
    wait_replicas: u32,
}

impl RedisCatalog {
    /// A catalog over connections that the store has as well. `writes` are answered when so many replicas have them.
    #[must_use]
    pub fn new(redis: Redis, writes: Redis, wait_replicas: u32) -> RedisCatalog {
        RedisCatalog { redis, writes, wait_replicas }
    }

    fn key(&self, key: &Key) -> String {
        self.redis.url().tagged_key(key.as_str(), "catalog")
    }

    /// The sorted set of all keys.
    fn keys(&self) -> String {
        format!("{}:catalog", self.redis.url().prefix())
    }

    async fn enter(&self, key: &Key) -> Result<(), CatalogError> {
        let add = Command::new("ZADD").key(&self.keys()).arg(0).arg(key.as_str());
        self.writes.run(add).await.map(drop).map_err(|error| failed("list a record", error))
    }

    async fn change(&self, key: &Key, expected: Expected, sealed: &[u8]) -> Result<Version, CatalogError> {
        const DOING: &str = "write a record";
        let expected = match expected {
            Expected::Absent => "0".to_owned(),
            Expected::Version(version) => version.to_string(),
            Expected::Anything => String::new(),
        };
        let command = Command::script(&PUT, &[&self.key(key)])
            .replicated_to(self.wait_replicas)
            .arg(expected)
            .arg(sealed)
            .arg(TOMBSTONE.as_millis() as u64);
        let answer = self.writes.run(command).await.map_err(|error| failed(DOING, error))?;
        let Value::Array(parts) = &answer else { return Err(unexpected(DOING)) };
        let [word, version] = parts.as_slice() else { return Err(unexpected(DOING)) };
        let version = number(version).ok_or_else(|| unexpected(DOING))?;
        match text(word) {
            Some("ok") => Ok(Version(version)),
            Some("conflict") => Err(CatalogError::Conflict { actual: (version > 0).then_some(Version(version)) }),
            _ => Err(unexpected(DOING)),
        }
    }

    /// Which of these keys have a record.
    async fn are_there(&self, keys: &[Key]) -> Result<Vec<bool>, CatalogError> {
        let look = |key: &Key| Command::new("HEXISTS").key(&self.key(key)).arg("r");
        let answers = self.redis.run_all(keys.iter().map(look).collect()).await;
        let is_there = |answer: Result<Value, RedisError>| match answer.map_err(|error| failed(LISTING, error))? {
            Value::Int(n) => Ok(n == 1),
            _ => Err(unexpected(LISTING)),
        };
        answers.into_iter().map(is_there).collect()
    }

    async fn list_some(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CatalogError> {
        let mut listed = Vec::new();
        let mut names = Names::new(&self.redis, self.keys(), prefix, after.map(Key::as_str));
        while listed.len() < limit {
            let page = names.next_page(KEYS).await.map_err(|error| failed(LISTING, error))?;
            let Some(page) = page else { break };
            let page: Option<Vec<Key>> = page.iter().map(|name| Key::new(name)).collect();
            let page = page.ok_or_else(|| unexpected(LISTING))?;
            let there = self.are_there(&page).await?;
            for (key, is_there) in page.into_iter().zip(there) {
                if is_there {
                    listed.push(key);
                } else {
                    self.leave(&key).await?;
                }
            }
        }
        listed.truncate(limit);
        Ok(listed)
    }

    /// Takes a key out of the list whose record is gone; puts it back if the record came meanwhile.
    async fn leave(&self, key: &Key) -> Result<(), CatalogError> {
        let remove = Command::new("ZREM").key(&self.keys()).arg(key.as_str());
        self.redis.run(remove).await.map_err(|error| failed(LISTING, error))?;
        if self.are_there(core::slice::from_ref(key)).await? == [true] { self.enter(key).await } else { Ok(()) }
    }
}

impl Catalog for RedisCatalog {
    fn is_shared(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>, CatalogError>> {
        const DOING: &str = "read a record";
        Box::pin(async move {
            let read = Command::new("HMGET").key(&self.key(key)).arg("v").arg("r");
            let answer = self.redis.run(read).await.map_err(|error| failed(DOING, error))?;
            let Value::Array(parts) = &answer else { return Err(unexpected(DOING)) };
            match parts.as_slice() {
                [_, Value::Nil] => Ok(None),
                [version, Value::BulkString(sealed)] => {
                    let version = number(version)
                        .ok_or_else(|| CatalogError::Damaged { key: key.clone(), why: "its version is missing" })?;
                    let content = Bytes::copy_from_slice(record::open(key, sealed)?);
                    Ok(Some(Record { version: Version(version), content }))
                }
                _ => Err(unexpected(DOING)),
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
            self.enter(key).await?;
            let version = self.change(key, expected, &record::seal(&[&content])).await?;
            // Once more, in case a list has taken it out between the two. That is so rare that its failing may be left to the next put.
            let _ = self.enter(key).await;
            Ok(version)
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: Expected) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async move { self.change(key, expected, &[]).await.map(drop) })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, CatalogError>> {
        Box::pin(self.list_some(prefix, after, limit))
    }
}

const LISTING: &str = "list records";

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        value => text(value)?.parse().ok(),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn failed(doing: &'static str, error: RedisError) -> CatalogError {
    match error {
        RedisError::Closed => CatalogError::Closed,
        error => CatalogError::unavailable(doing, error),
    }
}

fn unexpected(doing: &'static str) -> CatalogError {
    CatalogError::unavailable(doing, RedisError::Unexpected("a script of the catalog"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::contract::{self, Bench, key};
    use super::*;
    use crate::redis::testing::{Server, ServerCluster};

    /// A catalog with a prefix of its own on a server that other tests use as well.
    struct PrefixBench<S> {
        catalog: RedisCatalog,
        url: String,
        _server: Arc<S>,
    }

    fn connect(url: &str) -> RedisCatalog {
        let redis = Redis::new(url.parse().unwrap());
        RedisCatalog::new(redis.clone(), redis, 0)
    }

    impl<S> PrefixBench<S> {
        fn on(url: &str, server: Arc<S>) -> PrefixBench<S> {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let url = format!("{url}?prefix=c{}", NEXT.fetch_add(1, Ordering::Relaxed));
            PrefixBench { catalog: connect(&url), url, _server: server }
        }
    }

    macro_rules! bench {
        ($name:ident, $server:ty) => {
            struct $name(PrefixBench<$server>);

            impl Bench for $name {
                async fn new() -> $name {
                    let server = tokio::task::spawn_blocking(<$server>::shared).await.unwrap();
                    $name(PrefixBench::on(&server.url(), server))
                }

                fn catalog(&self) -> &dyn Catalog {
                    &self.0.catalog
                }

                async fn close(&mut self) {
                    self.0.catalog.redis.close().await;
                }

                async fn reopen(&mut self) {
                    self.close().await;
                    self.0.catalog = connect(&self.0.url);
                }

                async fn damage(&mut self, key: &Key) {
                    let catalog = &self.0.catalog;
                    let at = catalog.key(key);
                    let read = catalog.redis.run(Command::new("HGET").key(&at).arg("r")).await.unwrap();
                    let Value::BulkString(mut sealed) = read else { panic!("no record") };
                    *sealed.last_mut().unwrap() ^= 1;
                    let write = Command::new("HSET").key(&at).arg("r").arg(&sealed[..]);
                    catalog.redis.run(write).await.unwrap();
                }
            }
        };
    }

    bench!(ServerBench, Server);
    bench!(ClusterBench, ServerCluster);

    mod on_a_server {
        use super::*;

        contract::suite!(ServerBench);
    }

    mod on_a_cluster {
        use super::*;

        contract::suite!(ClusterBench);
    }

    /// A connection that breaks before the answer has the command sent again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_put_that_runs_twice_succeeds_once_and_is_no_conflict() {
        let bench = ServerBench::new().await;
        let catalog = &bench.0.catalog;
        let sealed = record::seal(&[b"x"]);
        let first = catalog.change(&key("a"), Expected::Absent, &sealed).await.unwrap();
        assert_eq!(catalog.change(&key("a"), Expected::Absent, &sealed).await.unwrap(), first);
        let next = catalog.change(&key("a"), Expected::Version(first), &record::seal(&[b"y"])).await.unwrap();
        assert!(next > first);
        assert!(catalog.change(&key("a"), Expected::Absent, &sealed).await.is_err());
    }
}
