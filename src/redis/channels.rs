//! Publish and subscribe: connections of their own, on which a server says unasked what was published.
//!
//! Such a connection does not replace itself: whoever listens has to know that it broke, because what was published meanwhile is
//! lost. It takes ordinary commands as well. Needs RESP3, which Redis 6 has.

use core::fmt;
use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, PushInfo, PushKind};
use bytes::Bytes;

use super::cluster::SlotMap;
use super::command::{Command, RedisError, Value};
use super::url::Address;
use super::{Redis, Way};

/// What comes unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Somebody published.
    Message {
        /// Where.
        channel: String,
        /// What.
        payload: Bytes,
    },
    /// A channel is not heard any more, as was asked for, or because its slot has moved.
    Unsubscribed {
        /// Which.
        channel: String,
    },
    /// Nothing more will come.
    Ended,
}

/// A server that channels are on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(Option<Address>);

/// Which server the channels of a slot are on.
#[derive(Clone, Debug)]
pub struct Slots(Option<Arc<SlotMap>>);

/// A connection that hears channels. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Channels {
    connection: MultiplexedConnection,
}

/// Takes what comes unasked; called by the connection's own task, so it must not wait.
#[derive(Clone)]
pub(super) struct Ear(Arc<dyn Fn(Pushed) + Send + Sync>);

impl Redis {
    /// Which server the channels of which slot are on: asked for anew in a Cluster, all on one elsewhere.
    ///
    /// # Errors
    /// No server of a Cluster could tell.
    pub async fn slots(&self) -> Result<Slots, RedisError> {
        match &self.shared.way {
            Way::One(_) => Ok(Slots(None)),
            Way::Many(cluster) => Ok(Slots(Some(cluster.look_again().await?))),
        }
    }

    /// Connects to hear channels. `hear` is called in the order in which things come, and must not wait.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn listen(
        &self,
        place: &Place,
        hear: impl Fn(Pushed) + Send + Sync + 'static,
    ) -> Result<Channels, RedisError> {
        let ear = Ear(Arc::new(hear));
        let connection = match (&self.shared.way, &place.0) {
            (Way::One(link), _) => link.connect_apart(ear).await?,
            (Way::Many(cluster), Some(address)) => cluster.connect_apart(address, ear).await?,
            (Way::Many(_), None) => return Err(RedisError::Unconnected("no server is named".into())),
        };
        Ok(Channels { connection })
    }
}

impl Channels {
    /// Sends commands together, when the future is first polled: one answer for each, refusals among them. Subscribing and
    /// unsubscribing take one channel a command.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn run(&self, commands: Vec<Command>) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.parts);
        }
        let mut connection = self.connection.clone();
        let answers = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        answers.map_err(|error| RedisError::Lost(error.to_string().into()))
    }
}

impl Slots {
    /// Where the channels of a slot are; `None` while nobody serves it.
    #[must_use]
    pub fn place(&self, slot: u16) -> Option<Place> {
        match &self.0 {
            None => Some(Place(None)),
            Some(map) => map.owner(Some(slot)).map(|owner| Place(Some(owner.clone()))),
        }
    }

    /// Every server once.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        match &self.0 {
            None => vec![Place(None)],
            Some(map) => map.owners.iter().map(|owner| Place(Some(owner.clone()))).collect(),
        }
    }
}

impl Ear {
    pub(super) fn take(&self, info: PushInfo) -> Result<(), ()> {
        if let Some(pushed) = read(info) {
            (self.0)(pushed);
        }
        Ok(())
    }
}

/// What is of interest of what comes.
fn read(info: PushInfo) -> Option<Pushed> {
    let PushInfo { kind, data } = info;
    let mut parts = data.into_iter().map(|part| match part {
        Value::BulkString(bytes) => bytes,
        _ => Vec::new(),
    });
    let mut next = || parts.next().unwrap_or_default();
    let text = |bytes| String::from_utf8(bytes).unwrap_or_default();
    match kind {
        PushKind::Message | PushKind::SMessage => {
            let channel = text(next());
            Some(Pushed::Message { channel, payload: next().into() })
        }
        PushKind::Unsubscribe | PushKind::SUnsubscribe => Some(Pushed::Unsubscribed { channel: text(next()) }),
        PushKind::Disconnection => Some(Pushed::Ended),
        _ => None,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("redis"),
        }
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}
