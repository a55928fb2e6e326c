//! The composition root: the only place that knows every part and puts them together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};
use ydash_proto::access::Identity;
use ydash_proto::id::DashboardId;

use crate::auth::Anonymous;
use crate::config::Config;
use crate::http::{
    self, AddressLimits, Addresses, BodyBudget, Dashboards, ReadError, Routes, Site, SocketHandler, WriteError,
};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// A server that has its address and does not serve yet: clients wait in the backlog meanwhile.
pub struct Server {
    config: Arc<Config>,
    listener: TcpListener,
    local_address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the address.
    #[error("{address} is in use: is another ydash running? listen elsewhere with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Connections that may wait to be accepted: all clients come back at once after a restart. The system caps it at `somaxconn`.
const BACKLOG: u32 = 4096;

impl Server {
    /// Takes the configured address.
    ///
    /// # Errors
    /// [`BindError`] – for the operator.
    pub fn bind(config: Arc<Config>) -> Result<Server, BindError> {
        let address = config.listen;
        let listener = listen(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Listen { address, source },
        })?;
        let local_address = listener.local_addr().map_err(|source| BindError::Listen { address, source })?;
        Ok(Server { config, listener, local_address, metrics: Arc::new(Metrics::new()), shutdown: Shutdown::new() })
    }

    /// Where it can be reached; tells the port when the configuration left it to the system.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Its end.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Serves until the drain has begun, then waits for every task of [`Server::shutdown`], at most for the drain's deadline.
    /// Returns how many tasks were left behind.
    pub async fn serve(self, dashboards: Arc<dyn Dashboards>, sockets: Arc<dyn SocketHandler>) -> usize {
        let site = Arc::new(site(&self.config, &self.metrics, &self.shutdown, dashboards));
        let routes = Routes::new(&site);
        let (tasks, draining) = (self.shutdown.tasks().clone(), self.shutdown.draining().clone());
        http::serve(self.listener, site, routes, sockets, tasks, draining).await;
        let left = self.shutdown.finish(self.config.drain_deadline).await;
        if left > 0 {
            warn!(left, deadline = ?self.config.drain_deadline, "drain cut off");
        } else {
            info!("drained");
        }
        left
    }
}

fn site(config: &Config, metrics: &Arc<Metrics>, shutdown: &Shutdown, dashboards: Arc<dyn Dashboards>) -> Site {
    Site {
        authenticator: Arc::new(Anonymous::new(config.anonymous_access)),
        dashboards,
        metrics: Arc::clone(metrics),
        addresses: Addresses::new(AddressLimits {
            sessions_max: config.sessions_max,
            sessions_per_address_max: config.sessions_per_address_max,
            join_rate: config.address_join_rate,
            join_burst: config.address_join_burst,
        }),
        allowed_origins: config.allowed_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        header_timeout: config.header_timeout,
        frame_bytes_max: config.frame_bytes_max,
        draining: shutdown.draining().clone(),
        body_budget: BodyBudget::default(),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves what `config` says until a signal ends it.
///
/// # Errors
/// [`RunError`] – for the operator; nothing was served.
pub async fn run(config: Arc<Config>) -> Result<(), RunError> {
    let server = Server::bind(Arc::clone(&config))?;
    tokio::spawn(server.shutdown().clone().begin_on_signals());
    let address = server.local_address();
    info!(%address, store = %config.store, version = env!("CARGO_PKG_VERSION"), "serving");
    println!("ydash serves on http://{address}/ - new WebsocketProvider('ws://{address}', 'my-room', doc)");
    let (dashboards, sockets) = compose();
    server.serve(dashboards, sockets).await;
    Ok(())
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No address.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// What serves before rooms do: everybody is asked to try again.
fn compose() -> (Arc<dyn Dashboards>, Arc<dyn SocketHandler>) {
    (
        Arc::new(Nowhere),
        Arc::new(|socket: http::Upgraded| -> BoxFuture<'static, ()> { Box::pin(async move { drop(socket) }) }),
    )
}

struct Nowhere;

impl Dashboards for Nowhere {
    fn read_json(&self, _: DashboardId) -> BoxFuture<'static, Result<serde_json::Value, ReadError>> {
        Box::pin(async { Err(ReadError::Unavailable) })
    }

    fn read_state(&self, _: DashboardId, _: Option<Bytes>) -> BoxFuture<'static, Result<Bytes, ReadError>> {
        Box::pin(async { Err(ReadError::Unavailable) })
    }

    fn write_update(&self, _: DashboardId, _: Identity, _: Bytes) -> BoxFuture<'static, Result<(), WriteError>> {
        Box::pin(async { Err(WriteError::Unavailable) })
    }
}
