//! One command for Redis, and what comes back.

use core::time::Duration;
use std::sync::Arc;

use ::redis::{Cmd, Script as Hashed, ToRedisArgs};

pub use ::redis::Value;

use super::cluster::slot_of;

/// A Lua script that runs by its hash; a server that does not know it is taught it.
#[derive(Debug)]
pub struct Script {
    hash: String,
    source: &'static str,
}

impl Script {
    /// Keep it in a `LazyLock`.
    #[must_use]
    pub fn new(source: &'static str) -> Script {
        Script { hash: Hashed::new(source).get_hash().to_owned(), source }
    }

    pub(super) fn load(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("SCRIPT").arg("LOAD").arg(self.source);
        command
    }
}

/// A command with its arguments.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) parts: Cmd,
    /// Of its first key: decides which server of a Cluster it goes to.
    pub(super) slot: Option<u16>,
    pub(super) script: Option<&'static Script>,
    pub(super) bytes: usize,
    /// How many replicas are to have it before it is answered.
    pub(super) replicas: u32,
}

impl Command {
    /// Begins a command by its name.
    #[must_use]
    pub fn new(name: &str) -> Command {
        let mut parts = Cmd::new();
        parts.arg(name);
        Command { parts, slot: None, script: None, bytes: name.len(), replicas: 0 }
    }

    /// Begins a call of a script with its keys, all of one hash tag.
    #[must_use]
    pub fn script(script: &'static Script, keys: &[&str]) -> Command {
        let mut command = Command::new("EVALSHA").arg(script.hash.as_str()).arg(keys.len());
        command.script = Some(script);
        keys.iter().fold(command, |command, key| command.key(key))
    }

    /// Adds a key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Command {
        self.slot = self.slot.or_else(|| Some(slot_of(key.as_bytes())));
        self.arg(key)
    }

    /// Adds an argument that is no key.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Command {
        let before = self.parts.args_iter().len();
        self.parts.arg(argument);
        self.bytes += self.parts.args_iter().skip(before).map(|part| argument_len(&part)).sum::<usize>();
        self
    }

    /// Has it answered only when so many replicas have what it wrote. Send such commands over a [`super::Redis`] of their own: others
    /// on the same connection have to wait as well.
    #[must_use]
    pub fn replicated_to(mut self, replicas: u32) -> Command {
        self.replicas = replicas;
        self
    }

    /// Says how many bytes it is to bring back, so that a large answer gets the time that it takes.
    #[must_use]
    pub fn expecting(mut self, bytes: usize) -> Command {
        self.bytes += bytes;
        self
    }
}

/// The wait for replicas, which holds up everything else on its connection.
pub(super) struct Replicas(pub(super) u32);

impl Replicas {
    /// How long they may take.
    pub(super) const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn wait(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("WAIT").arg(self.0).arg(Self::PATIENCE.as_millis() as u64);
        command
    }

    pub(super) fn check(&self, answer: Option<Value>) -> Result<(), RedisError> {
        match answer {
            Some(Value::Int(have)) if have >= i64::from(self.0) => Ok(()),
            Some(Value::Int(have)) => Err(RedisError::Unreplicated { wanted: self.0, have }),
            _ => Err(RedisError::Unexpected("WAIT")),
        }
    }
}

fn argument_len(argument: &::redis::Arg<&[u8]>) -> usize {
    match argument {
        ::redis::Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Why a command did not do what it was to do. Cloneable: a broken connection fails everything that was on it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RedisError {
    /// There is no connection. The command was not sent.
    #[error("no connection to Redis: {0}")]
    Unconnected(Arc<str>),
    /// The connection broke before the answer. Nobody knows whether the command ran.
    #[error("connection to Redis lost: {0}")]
    Lost(Arc<str>),
    /// No answer came in time. Nobody knows whether the command ran, or will.
    #[error("Redis did not answer within {millis} ms")]
    Timeout {
        /// How long that was.
        millis: u64,
    },
    /// Redis answered with an error: the command did nothing.
    #[error("Redis refuses: {code} {detail}")]
    Refused {
        /// The first word: `OOM`, `READONLY`, …
        code: Arc<str>,
        /// The rest.
        detail: Arc<str>,
    },
    /// It ran, and too few replicas have heard of it.
    #[error("{have} of {wanted} replicas have it")]
    Unreplicated {
        /// How many should.
        wanted: u32,
        /// How many do.
        have: i64,
    },
    /// Redis answered something else than this command does.
    #[error("Redis gave an unexpected answer to {0}")]
    Unexpected(&'static str),
    /// The connection was closed from here.
    #[error("connection to Redis is closed")]
    Closed,
}

impl RedisError {
    /// The error that Redis answered with, by its first word.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            RedisError::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Tells an answer from a refusal.
pub(super) fn answer(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(RedisError::Refused {
            code: error.code().into(),
            detail: error.details().unwrap_or_default().trim().into(),
        }),
        value => Ok(value),
    }
}
