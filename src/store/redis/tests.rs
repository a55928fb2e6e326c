//! The store against real servers: the contract on one server and on a Cluster, and every way in which Redis fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::contract::{self, Bench, entry, id, update};
use super::*;
use crate::redis::testing::{Server, ServerCluster};

const NOW: Timestamp = Timestamp(u64::MAX);

/// A prefix that no other test uses.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn open(url: &str) -> RedisStore {
    RedisStore::new(url.parse().unwrap(), RedisStoreConfig::default())
}

/// A store with a prefix of its own on a server that other tests use as well. `S` keeps the server alive.
struct PrefixBench<S> {
    store: RedisStore,
    url: String,
    _server: Arc<S>,
}

impl<S> PrefixBench<S> {
    fn on(url: String, server: Arc<S>) -> PrefixBench<S> {
        let url = format!("{url}?prefix={}", prefix());
        PrefixBench { store: open(&url), url, _server: server }
    }

    async fn run(&self, command: Command) -> Value {
        self.store.redis.run(command).await.unwrap()
    }

    async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        self.store = open(&self.url);
    }

    /// Writes the log anew, because no command changes an entry.
    async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
        let keys = self.store.keys(dashboard);
        let page = self.store.page(&keys.log, LogPosition::START, usize::MAX >> 8).await.unwrap();
        self.run(Command::new("DEL").key(&keys.log)).await;
        for (n, (position, record)) in page.into_iter().enumerate() {
            let mut record = record.to_vec();
            let last = record.len() - 1;
            record[last] ^= u8::from(n == index) << 4;
            let add = Command::new("XADD").key(&keys.log).arg(Id(position).to_string()).arg("e").arg(&record[..]);
            self.run(add).await;
        }
    }

    async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
        let state = self.store.keys(dashboard).state;
        let record = self.run(Command::new("HGET").key(&state).arg("snapshot")).await;
        let Value::BulkString(mut record) = record else { panic!("no snapshot") };
        let last = record.len() - 1;
        record[last] ^= 1;
        self.run(Command::new("HSET").key(&state).arg("snapshot").arg(&record[..])).await;
    }
}

macro_rules! bench {
    ($name:ident, $server:ty) => {
        struct $name(PrefixBench<$server>);

        impl Bench for $name {
            async fn new() -> $name {
                let server = tokio::task::spawn_blocking(<$server>::shared).await.unwrap();
                $name(PrefixBench::on(server.url(), server))
            }

            fn store(&self) -> &dyn Store {
                &self.0.store
            }

            async fn reopen(&mut self) {
                self.0.reopen().await;
            }

            async fn damage_entry(&mut self, dashboard: &DashboardId, index: usize) {
                self.0.damage_entry(dashboard, index).await;
            }

            async fn damage_snapshot(&mut self, dashboard: &DashboardId) {
                self.0.damage_snapshot(dashboard).await;
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
