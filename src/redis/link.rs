//! The way to one server: a connection that many share and that replaces itself.
//!
//! A command ends within [`PATIENCE`] and the time that its bytes take. When no answer comes, or the server turns out to be a
//! replica, the connection is given up and the next command makes a new one, asking Sentinel again where that is the way. While
//! a server cannot be reached, commands fail at once, and one of them tries again after a pause that grows to [`PAUSE_MAX`].

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, Pipeline, ProtocolVersion, RedisConnectionInfo,
    Value,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::channels::Ear;
use super::command::{Command, RedisError, Replicas, Script};
use super::sentinel;
use super::url::{Address, Credentials};

/// How long a server may take for a small command. A Redis that works answers within milliseconds; forks and slow disks make it
/// stall for tenths of seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that come or go within a second at least.
const BYTES_PER_SECOND: usize = 4 << 20;
/// How long it may take to get a connection: two round trips, with TLS four.
const CONNECTING: Duration = Duration::from_secs(2);
/// The first pause after a failed attempt, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Commands that wait for the socket.
const QUEUE: usize = 256;

/// What a connection needs besides the address.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) is_tls: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) database: u32,
    /// Takes what comes unasked, for a connection that is to hear channels.
    pub(super) ear: Option<Ear>,
}

/// Which server.
pub(super) enum Target {
    Server(Address),
    /// Whichever is the master.
    Master(sentinel::Sentinels),
}

pub(super) struct Link {
    target: Target,
    access: Access,
    state: Mutex<State>,
    /// Connections made so far, also by others: their numbers.
    made: Arc<AtomicU64>,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    connection: Option<(u64, MultiplexedConnection)>,
    failure: Option<Failure>,
}

struct Failure {
    error: RedisError,
    again_at: Instant,
    pause: Duration,
}

impl Link {
    pub(super) fn new(target: Target, access: Access, made: Arc<AtomicU64>) -> Link {
        Link { target, access, state: Mutex::default(), made, is_closed: AtomicBool::new(false) }
    }

    /// Lets go of the connection, for good.
    pub(super) async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.state.lock().await.connection = None;
    }

    /// Sends commands together; one answer for each, in their order. Other commands may come between them.
    pub(super) async fn run(&self, commands: &[&Command]) -> Result<Vec<Value>, RedisError> {
        let bytes = commands.iter().map(|command| command.bytes).sum();
        let replicas = commands.iter().map(|command| command.replicas).max().filter(|n| *n > 0).map(Replicas);
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.parts.clone());
        }
        let mut answers = self.run_pipeline(pipeline, bytes, replicas.as_ref()).await?;
        // A script is unknown to a server that was restarted or has taken over.
        let unknown: Vec<usize> = (0..answers.len())
            .filter(|&n| commands[n].script.is_some() && code(&answers[n]) == Some("NOSCRIPT"))
            .collect();
        if !unknown.is_empty() {
            let mut again = Pipeline::with_capacity(unknown.len() + 1);
            let mut taught: Vec<&Script> = Vec::new();
            for &n in &unknown {
                if let Some(script) = commands[n].script
                    && !taught.iter().any(|other| core::ptr::eq(*other, script))
                {
                    taught.push(script);
                    again.add_command(script.load());
                }
            }
            unknown.iter().for_each(|&n| _ = again.add_command(commands[n].parts.clone()));
            let later = self.run_pipeline(again, bytes, replicas.as_ref()).await?;
            for (n, value) in unknown.into_iter().zip(later.into_iter().skip(taught.len())) {
                answers[n] = value;
            }
        }
        Ok(answers)
    }

    async fn run_pipeline(
        &self,
        mut pipeline: Pipeline,
        bytes: usize,
        replicas: Option<&Replicas>,
    ) -> Result<Vec<Value>, RedisError> {
        let mut allowed = PATIENCE + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64);
        if let Some(replicas) = replicas {
            // In the same pipeline, because it waits for what its own connection has written.
            pipeline.add_command(replicas.wait());
            allowed += Replicas::PATIENCE;
        }
        let mut is_first = true;
        loop {
            let (number, is_fresh, mut connection) = self.connection().await?;
            match timeout(allowed, connection.send_packed_commands(&pipeline, 0, pipeline.len())).await {
                Ok(Ok(mut answers)) => {
                    if let Some(replicas) = replicas {
                        replicas.check(answers.pop())?;
                    }
                    if answers.iter().any(|answer| matches!(code(answer), Some("READONLY" | "MASTERDOWN"))) {
                        self.give_up(number).await;
                    }
                    return Ok(answers);
                }
                Ok(Err(error)) => {
                    self.give_up(number).await;
                    // It may have been dead for long: a restarted server gets the command a second time, over a new one.
                    if is_fresh || !core::mem::take(&mut is_first) {
                        return Err(RedisError::Lost(error.to_string().into()));
                    }
                }
                Err(_) => {
                    self.give_up(number).await;
                    return Err(RedisError::Timeout { millis: allowed.as_millis() as u64 });
                }
            }
        }
    }

    /// The connection, its number, and whether it was made just now.
    async fn connection(&self) -> Result<(u64, bool, MultiplexedConnection), RedisError> {
        let mut state = self.state.lock().await;
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(RedisError::Closed);
        }
        if let Some((number, connection)) = &state.connection {
            return Ok((*number, false, connection.clone()));
        }
        if let Some(failure) = &state.failure
            && Instant::now() < failure.again_at
        {
            return Err(failure.error.clone());
        }
        match self.connect(&self.access).await {
            Ok(connection) => {
                let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
                state.connection = Some((number, connection.clone()));
                state.failure = None;
                Ok((number, true, connection))
            }
            Err(error) => {
                let pause = state.failure.as_ref().map_or(PAUSE_MIN, |failure| (failure.pause * 2).min(PAUSE_MAX));
                // Not all nodes at once.
                let again_at = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                state.failure = Some(Failure { error: error.clone(), again_at, pause });
                Err(error)
            }
        }
    }

    /// A connection of one's own, beside the one that all share.
    pub(super) async fn connect_apart(&self, ear: Ear) -> Result<MultiplexedConnection, RedisError> {
        self.connect(&Access { ear: Some(ear), ..self.access.clone() }).await
    }

    async fn connect(&self, access: &Access) -> Result<MultiplexedConnection, RedisError> {
        match &self.target {
            Target::Server(address) => connect(address, access).await,
            Target::Master(sentinels) => sentinels.connect_to_master(access).await,
        }
    }

    /// Drops a connection, unless another one has taken its place.
    async fn give_up(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|(current, _)| *current == number) {
            state.connection = None;
        }
    }
}

pub(super) fn code(value: &Value) -> Option<&str> {
    match value {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

pub(super) async fn connect(address: &Address, access: &Access) -> Result<MultiplexedConnection, RedisError> {
    let failed = |why: &dyn core::fmt::Display| RedisError::Unconnected(format!("{address}: {why}").into());
    let (host, port) = (address.host.clone(), address.port);
    let place = if access.is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut login = RedisConnectionInfo::default().set_db(i64::from(access.database)).set_skip_set_lib_name();
    if access.ear.is_some() {
        // What comes unasked cannot be told from answers otherwise.
        login = login.set_protocol(ProtocolVersion::RESP3);
    }
    if let Some(Credentials { user, password }) = &access.credentials {
        login = login.set_password(password);
        if !user.is_empty() {
            login = login.set_username(user);
        }
    }
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let info = place.into_connection_info().map_err(|error| failed(&error))?;
    let client = Client::open(info.set_tcp_settings(tcp).set_redis_settings(login)).map_err(|error| failed(&error))?;
    // Times are kept by the caller, who knows how much there is to carry.
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    if let Some(ear) = &access.ear {
        let ear = ear.clone();
        config = config.set_push_sender(move |info| ear.take(info));
    }
    match timeout(CONNECTING, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(connected) => connected.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format_args!("no answer within {} ms", CONNECTING.as_millis()))),
    }
}
