//! The way to Redis: commands in, answers out, whether it is one server, a master that Sentinels know, or a Cluster.
//!
//! [`Redis`] keeps its connections alive by itself. A command fails within seconds when Redis does not answer and at once while
//! there is no connection; nothing is queued for later, because whoever sent it knows better what is still worth sending. A
//! command may have run although it failed, and, when a connection broke, even twice: send only what may be repeated.

mod channels;
mod cluster;
mod command;
mod link;
mod names;
mod sentinel;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod url;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::channels::{Channels, Place, Pushed, Slots};
pub use self::cluster::slot_of;
pub use self::command::{Command, RedisError, Script, Value};
pub use self::names::Names;
pub use self::url::{RedisUrl, RedisUrlError};

use self::cluster::Cluster;
use self::command::answer;
use self::link::{Access, Link, Target};
use self::sentinel::Sentinels;
use self::url::Deployment;

/// A Redis. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    url: RedisUrl,
    way: Way,
    connections_made: Arc<AtomicU64>,
}

enum Way {
    One(Link),
    Many(Cluster),
}

impl Redis {
    /// Connects when the first command comes.
    #[must_use]
    pub fn new(url: RedisUrl) -> Redis {
        if url.is_tls {
            // Fails when the process has a provider already, which will do.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let access =
            Access { is_tls: url.is_tls, credentials: url.credentials.clone(), database: url.database, ear: None };
        let made = Arc::new(AtomicU64::new(0));
        let link = |target| Link::new(target, access.clone(), Arc::clone(&made));
        let way = match url.deployment.clone() {
            Deployment::Server(address) => Way::One(link(Target::Server(address))),
            Deployment::Sentinel { sentinels, master, credentials } => {
                let sentinels = Sentinels { addresses: sentinels, master, credentials };
                Way::One(link(Target::Master(sentinels)))
            }
            Deployment::Cluster(seeds) => Way::Many(Cluster::new(seeds, access, Arc::clone(&made))),
        };
        Redis { shared: Arc::new(Shared { url, way, connections_made: made }) }
    }

    /// Which one it is.
    #[must_use]
    pub fn url(&self) -> &RedisUrl {
        &self.shared.url
    }

    /// Runs a command.
    ///
    /// # Errors
    /// [`RedisError`] – [`RedisError::Refused`] and [`RedisError::Unconnected`] did nothing, the others may have.
    pub async fn run(&self, command: Command) -> Result<Value, RedisError> {
        self.run_all(vec![command]).await.pop().expect("one answer for one command")
    }

    /// Runs commands that do not depend on each other, together: one answer for each, in their order.
    ///
    /// Those for the same server reach it in their order and in one piece, but others' may run between them, and one may fail
    /// and the next succeed. What must happen together is one script.
    pub async fn run_all(&self, commands: Vec<Command>) -> Vec<Result<Value, RedisError>> {
        if commands.is_empty() {
            return Vec::new();
        }
        match &self.shared.way {
            Way::One(link) => {
                let those: Vec<&Command> = commands.iter().collect();
                match link.run(&those).await {
                    Ok(values) => values.into_iter().map(answer).collect(),
                    Err(error) => vec![Err(error); commands.len()],
                }
            }
            Way::Many(cluster) => cluster.run_all(&commands).await,
        }
    }

    /// Runs a command on every server that owns keys: one answer for each server, in no order.
    ///
    /// # Errors
    /// As [`Redis::run`], when one of them fails.
    pub async fn run_everywhere(&self, command: Command) -> Result<Vec<Value>, RedisError> {
        match &self.shared.way {
            Way::One(_) => Ok(vec![self.run(command).await?]),
            Way::Many(cluster) => cluster.run_everywhere(&command).await,
        }
    }

    /// The keys that match a glob pattern, of all servers. Reads bit by bit, so that nobody else has to wait: what is made or removed
    /// meanwhile may be among them or not.
    ///
    /// # Errors
    /// As [`Redis::run`], when one of them fails.
    pub async fn keys(&self, pattern: &str) -> Result<BTreeSet<Vec<u8>>, RedisError> {
        let mut keys = BTreeSet::new();
        match &self.shared.way {
            Way::One(link) => scan(link, pattern, &mut keys).await?,
            Way::Many(cluster) => {
                for link in cluster.owners().await? {
                    scan(&link, pattern, &mut keys).await?;
                }
            }
        }
        Ok(keys)
    }

    /// How often a connection was made. While it stays the same, every server is the process that it was.
    #[must_use]
    pub fn connections_made(&self) -> u64 {
        self.shared.connections_made.load(Ordering::Relaxed)
    }

    /// Lets go of all connections. Later commands fail with [`RedisError::Closed`].
    pub async fn close(&self) {
        match &self.shared.way {
            Way::One(link) => link.close().await,
            Way::Many(cluster) => cluster.close().await,
        }
    }
}

async fn scan(link: &Link, pattern: &str, keys: &mut BTreeSet<Vec<u8>>) -> Result<(), RedisError> {
    const UNEXPECTED: RedisError = RedisError::Unexpected("SCAN");
    let mut cursor = b"0".to_vec();
    loop {
        let scan = Command::new("SCAN").arg(&cursor[..]).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
        let page = link.run(&[&scan]).await?.pop().map(answer).transpose()?;
        let Some(Value::Array(mut page)) = page else { return Err(UNEXPECTED) };
        let (Some(Value::Array(found)), Some(Value::BulkString(next))) = (page.pop(), page.pop()) else {
            return Err(UNEXPECTED);
        };
        keys.extend(
            found.into_iter().filter_map(|key| if let Value::BulkString(key) = key { Some(key) } else { None }),
        );
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}
