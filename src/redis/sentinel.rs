//! Asking Sentinels which server is the master.
//!
//! Sentinels are asked all at once. One may be cut off and name a master that is none any more, so the server that is named must
//! say itself that it is the master; the first one that does is taken.

use core::time::Duration;

use ::redis::Value;
use ::redis::aio::MultiplexedConnection;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::command::{Command, RedisError};
use super::link::{Access, connect};
use super::url::{Address, Credentials};

/// How long a Sentinel may take. The others are asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Sentinels {
    pub(super) addresses: Vec<Address>,
    pub(super) master: String,
    pub(super) credentials: Option<Credentials>,
}

impl Sentinels {
    /// A connection to the master, with `access` to it.
    pub(super) async fn connect_to_master(&self, access: &Access) -> Result<MultiplexedConnection, RedisError> {
        let own = Access { is_tls: access.is_tls, credentials: self.credentials.clone(), database: 0, ear: None };
        let mut named: FuturesUnordered<_> = self.addresses.iter().map(|sentinel| self.ask(sentinel, &own)).collect();
        let mut tried: Vec<Address> = Vec::new();
        let mut last = None;
        while let Some(answer) = named.next().await {
            let reached = match answer {
                Ok(address) if tried.contains(&address) => continue,
                Ok(address) => {
                    tried.push(address.clone());
                    master_at(&address, access).await
                }
                Err(error) => Err(error),
            };
            match reached {
                Ok(connection) => return Ok(connection),
                // What a server said is worth more than that some Sentinel is down.
                Err(error) if last.is_none() || !tried.is_empty() => last = Some(error),
                Err(_) => {}
            }
        }
        Err(last.unwrap_or_else(|| RedisError::Unconnected("no Sentinels".into())))
    }

    async fn ask(&self, sentinel: &Address, access: &Access) -> Result<Address, RedisError> {
        let question = Command::new("SENTINEL").arg("get-master-addr-by-name").arg(self.master.as_str());
        let asking = async {
            let mut connection = connect(sentinel, access).await?;
            let answer = connection.send_packed_command(&question.parts).await;
            answer.map_err(|error| RedisError::Unconnected(format!("{sentinel}: {error}").into()))
        };
        let failed = |why: &str| RedisError::Unconnected(format!("Sentinel {sentinel}: {why}").into());
        match timeout(PATIENCE, asking).await.map_err(|_| failed("no answer"))?? {
            Value::Array(parts) => match parts.as_slice() {
                [Value::BulkString(host), Value::BulkString(port)] => {
                    let host = String::from_utf8_lossy(host).into_owned();
                    let port = String::from_utf8_lossy(port).parse().map_err(|_| failed("no port"))?;
                    Ok(Address { host, port })
                }
                _ => Err(failed("unexpected answer")),
            },
            Value::ServerError(error) => Err(failed(&error.to_string())),
            _ => Err(failed(&format!("does not know a master named {:?}", self.master))),
        }
    }
}

async fn master_at(address: &Address, access: &Access) -> Result<MultiplexedConnection, RedisError> {
    let failed = |why: &str| RedisError::Unconnected(format!("{address}: {why}").into());
    let mut connection = connect(address, access).await?;
    let role = timeout(PATIENCE, connection.send_packed_command(&Command::new("ROLE").parts)).await;
    match role.map_err(|_| failed("no answer"))?.map_err(|error| failed(&error.to_string()))? {
        Value::Array(parts) if matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master") => {
            Ok(connection)
        }
        Value::ServerError(error) => Err(failed(&error.to_string())),
        _ => Err(failed("is no master any more")),
    }
}
