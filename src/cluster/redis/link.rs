//! The way to one server, kept up: a connection over which a queue is published and channels are heard.
//!
//! Batches are pipelined, a few at a time, and never wait for each other. A server that says nothing for [`PATIENCE`] while it owes
//! an answer is taken for gone, and so is one that does not bring this node's own heartbeats back. While there is no connection
//! nothing is queued; a new one begins with subscribing to everything again, after which everybody hears that it may have
//! missed something.

use super::frame::encode;
use super::hub::Hub;
use super::line::Line;
use super::outgoing::{Outgoing, Queue};
use crate::redis::{Channels, Command, Place, Pushed, RedisError, Value};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use ydash_proto::cluster::{BusFrame, HEARTBEAT};

/// How long a server may owe an answer, or an own heartbeat, without a sign of life.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The first pause before a new connection, and the longest. Shorter than the grace that others give.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a server is asked whether it is the master: what is published on a replica, the others do not hear.
const ROLE_EVERY: Duration = Duration::from_secs(5);

/// Commands that go together.
const BATCH_COMMANDS: usize = 512;
/// Bytes that go together.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that are under way at a time.
const BATCHES_MAX: usize = 8;
/// Bytes that are under way at a time. What is larger waits for answers, so that no subscriber's buffer in Redis overflows.
const WINDOW_BYTES: usize = 4 << 20;

/// A server of the bus.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) place: Place,
    pub(super) queue: Queue,
    /// Cancelled when it is not needed any more.
    pub(super) stop: CancellationToken,
    /// Nothing is under way.
    is_idle: AtomicBool,
}

/// What the connection's own task tells, as it hears it.
struct Ears {
    began: Instant,
    /// When something came last, in milliseconds since `began`.
    heard_at: AtomicU64,
    /// Whether the connection is the link's still.
    is_current: AtomicBool,
    ended: Notify,
    /// Channels that are being unsubscribed: the server says so once more, by itself, when it drops one.
    leaving: Mutex<HashMap<Arc<str>, u32>>,
}

/// What an answer is for.
enum Expected {
    Nothing,
    /// What the server is.
    Role,
    Left(Arc<str>),
    /// How many heard the hello.
    Listeners {
        line: Arc<Line>,
        confirmed: Option<oneshot::Sender<()>>,
    },
}

/// One batch and what came of it.
struct Batch {
    expected: Vec<Expected>,
    bytes: usize,
    answers: Result<Vec<Value>, RedisError>,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the server closed it")]
    Ended,
    #[error("the server does not answer")]
    Silent,
    #[error("own heartbeats do not come back")]
    Deaf,
    #[error("the server is a replica")]
    Replica,
}

/// The names of the commands: sharded where the server has that.
#[derive(Clone, Copy)]
struct Words {
    subscribe: &'static str,
    unsubscribe: &'static str,
    publish: &'static str,
}

const SHARDED: Words = Words { subscribe: "SSUBSCRIBE", unsubscribe: "SUNSUBSCRIBE", publish: "SPUBLISH" };
const PLAIN: Words = Words { subscribe: "SUBSCRIBE", unsubscribe: "UNSUBSCRIBE", publish: "PUBLISH" };

impl Link {
    pub(super) fn new(place: Place) -> Link {
        let (queue, stop) = (Queue::default(), CancellationToken::new());
        Link { place, queue, stop, is_idle: AtomicBool::new(true) }
    }

    /// Whether all that was to be said has been answered.
    pub(super) fn is_done(&self) -> bool {
        !self.queue.is_open() || self.queue.is_empty() && self.is_idle.load(Ordering::Acquire)
    }

    /// Keeps a connection up until the link is stopped.
    pub(super) async fn run(self: Arc<Self>, hub: Arc<Hub>) {
        let mut pause = PAUSE_MIN;
        let mut failure: Option<String> = None;
        while !self.stop.is_cancelled() {
            let ears = Arc::new(Ears::new());
            // What comes after this belongs to nobody.
            let connected = tokio::select! {
                () = self.stop.cancelled() => return,
                connected = self.connect(&hub, &ears) => connected,
            };
            match connected {
                Ok((channels, words)) => {
                    (pause, failure) = (PAUSE_MIN, None);
                    info!(server = %self.place, "bus connected");
                    let session = Session { link: &self, hub: &hub, ears: &ears, channels, words };
                    let ended = session.run().await;
                    ears.is_current.store(false, Ordering::Release);
                    self.disconnected(&hub);
                    if let Err(why) = ended {
                        warn!(server = %self.place, %why, "bus disconnected: rooms go on, and catch up when it is back");
                    }
                }
                Err(why) => {
                    ears.is_current.store(false, Ordering::Release);
                    let why = why.to_string();
                    // Said once for each reason, not at each attempt.
                    if failure.as_ref() != Some(&why) {
                        debug!(server = %self.place, why, "bus not connected");
                        failure = Some(why);
                    }
                }
            }
            hub.look_for_servers();
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(jittered) => {}
            }
        }
    }

    async fn connect(&self, hub: &Arc<Hub>, ears: &Arc<Ears>) -> Result<(Channels, Words), RedisError> {
        let (listener, hearing) = (Arc::clone(hub), Arc::clone(ears));
        let channels = hub.redis.listen(&self.place, move |pushed| hearing.hear(&listener, pushed)).await?;
        // Without arguments it does nothing but tell whether there is such a command.
        let told = tokio::time::timeout(PATIENCE, channels.run(vec![Command::new(SHARDED.publish)])).await;
        let told = told.map_err(|_| RedisError::Timeout { millis: PATIENCE.as_millis() as u64 })??;
        let is_known = matches!(told.first(), Some(Value::ServerError(error))
            if error.details().is_some_and(|detail| detail.contains("number of arguments")));
        Ok((channels, if is_known { SHARDED } else { PLAIN }))
    }

    fn disconnected(&self, hub: &Hub) {
        hub.metrics.bus_dropped.inc_by(self.queue.close() as u64);
        self.is_idle.store(true, Ordering::Release);
        hub.disconnected(self);
    }
}

/// One connection of a link.
struct Session<'a> {
    link: &'a Arc<Link>,
    hub: &'a Arc<Hub>,
    ears: &'a Arc<Ears>,
    channels: Channels,
    words: Words,
}

impl Session<'_> {
    /// Ends with `Ok` when the link is stopped.
    async fn run(self) -> Result<(), Broken> {
        let mut under_way: FuturesOrdered<BoxFuture<'static, Batch>> = FuturesOrdered::new();
        let mut sent: VecDeque<Instant> = VecDeque::new();
        let mut bytes_under_way = 0;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut spoke_at, mut role_at) = (Instant::now(), Instant::now());
        self.begin(&mut under_way, &mut sent);
        loop {
            let has_room = under_way.len() < BATCHES_MAX && bytes_under_way < WINDOW_BYTES;
            self.link.is_idle.store(under_way.is_empty(), Ordering::Release);
            // All branches are cancel-safe. Answers first: they make room.
            tokio::select! {
                biased;
                () = self.link.stop.cancelled() => return Ok(()),
                () = self.ears.ended.notified() => return Err(Broken::Ended),
                Some(batch) = under_way.next(), if !under_way.is_empty() => {
                    sent.pop_front();
                    bytes_under_way -= batch.bytes;
                    self.answered(batch)?;
                }
                () = self.link.queue.filled(), if has_room => {
                    let batch = self.batch();
                    bytes_under_way += batch.1;
                    spoke_at = Instant::now();
                    sent.push_back(spoke_at);
                    under_way.push_back(self.send(batch));
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    let heard_at = self.ears.heard_at();
                    if sent.front().is_some_and(|at| now.saturating_duration_since(heard_at.max(*at)) >= PATIENCE) {
                        return Err(Broken::Silent);
                    }
                    if self.hub.is_deaf(self.link, now, self.ears.began) {
                        return Err(Broken::Deaf);
                    }
                    let question = if now.saturating_duration_since(role_at) >= ROLE_EVERY {
                        role_at = now;
                        Some((Command::new("ROLE"), Expected::Role))
                    } else if under_way.is_empty() && now.saturating_duration_since(spoke_at) >= HEARTBEAT {
                        Some((Command::new("PING"), Expected::Nothing))
                    } else {
                        None
                    };
                    if let Some((command, expected)) = question {
                        spoke_at = now;
                        sent.push_back(now);
                        under_way.push_back(self.send((vec![command], 0, vec![expected])));
                    }
                }
            }
        }
    }

    /// Subscribes to everything that is this server's.
    fn begin(&self, under_way: &mut FuturesOrdered<BoxFuture<'static, Batch>>, sent: &mut VecDeque<Instant>) {
        let Words { subscribe, publish, .. } = self.words;
        sent.push_back(Instant::now());
        under_way.push_back(self.send((vec![Command::new("ROLE")], 0, vec![Expected::Role])));
        if self.hub.carries_nodes(self.link) {
            let channel = &*self.hub.nodes_channel;
            let hello = encode(&BusFrame::Hello, self.hub.node);
            let commands =
                vec![Command::new(subscribe).arg(channel), Command::new(publish).arg(channel).arg(hello.as_slice())];
            sent.push_back(Instant::now());
            under_way.push_back(self.send((commands, 0, vec![Expected::Nothing, Expected::Nothing])));
        }
        // Open before the look: who subscribes meanwhile is subscribed twice, which is once.
        self.link.queue.open();
        for line in self.hub.connected(self.link) {
            self.link.queue.push(Outgoing::Subscribe { line, confirmed: None });
        }
    }

    /// What waits, as commands.
    fn batch(&self) -> (Vec<Command>, usize, Vec<Expected>) {
        let Words { subscribe, unsubscribe, publish } = self.words;
        let node = self.hub.node;
        let (mut commands, mut expected, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut say = |channel: &Arc<str>, frame: &[u8]| {
            self.hub.metrics.bus_bytes_published.inc_by(frame.len() as u64);
            bytes += frame.len();
            Command::new(publish).arg(&**channel).arg(frame)
        };
        for one in self.link.queue.take(BATCH_COMMANDS, BATCH_BYTES) {
            match one {
                Outgoing::Subscribe { line, confirmed } => {
                    commands.push(Command::new(subscribe).arg(&*line.channel));
                    expected.push(Expected::Nothing);
                    commands.push(say(&line.channel, &encode(&BusFrame::Hello, node)));
                    expected.push(Expected::Listeners { line, confirmed });
                }
                Outgoing::Hello(line) => {
                    commands.push(say(&line.channel, &encode(&BusFrame::Hello, node)));
                    expected.push(Expected::Listeners { line, confirmed: None });
                }
                Outgoing::Here(line) => {
                    commands.push(say(&line.channel, &encode(&BusFrame::Here, node)));
                    expected.push(Expected::Nothing);
                }
                Outgoing::Forgotten(line, target) => {
                    commands.push(say(&line.channel, &encode(&BusFrame::Forgotten(target), node)));
                    expected.push(Expected::Nothing);
                }
                Outgoing::Close(line) => {
                    commands.push(say(&line.channel, &encode(&BusFrame::Bye, node)));
                    expected.push(Expected::Nothing);
                    self.ears.leaves(&line.channel);
                    commands.push(Command::new(unsubscribe).arg(&*line.channel));
                    expected.push(Expected::Left(Arc::clone(&line.channel)));
                }
                Outgoing::Publish { channel, frame } => {
                    commands.push(say(&channel, &frame));
                    expected.push(Expected::Nothing);
                }
            }
        }
        (commands, bytes, expected)
    }

    /// Has it sent when it is first polled, which happens in the order of the calls.
    fn send(&self, (commands, bytes, expected): (Vec<Command>, usize, Vec<Expected>)) -> BoxFuture<'static, Batch> {
        let channels = self.channels.clone();
        Box::pin(async move { Batch { expected, bytes, answers: channels.run(commands).await } })
    }

    fn answered(&self, batch: Batch) -> Result<(), Broken> {
        let answers = batch.answers?;
        self.ears.heard();
        for (expected, answer) in batch.expected.into_iter().zip(answers) {
            if matches!(expected, Expected::Role) {
                // One that may not be asked is believed.
                let is_replica = matches!(&answer, Value::Array(role)
                    if matches!(role.first(), Some(Value::BulkString(role)) if role == b"slave"));
                if is_replica {
                    return Err(Broken::Replica);
                }
                continue;
            }
            if let Value::ServerError(error) = &answer {
                let (code, detail) = (error.code().into(), error.details().unwrap_or_default().into());
                return Err(Broken::Redis(RedisError::Refused { code, detail }));
            }
            match expected {
                Expected::Nothing | Expected::Role => {}
                Expected::Left(channel) => self.ears.left(&channel),
                Expected::Listeners { line, confirmed } => {
                    // This node is one of them.
                    let listeners = match answer {
                        Value::Int(count) => Some(usize::try_from(count).unwrap_or(0).saturating_sub(1)),
                        _ => None,
                    };
                    self.hub.subscribed(&line, listeners);
                    if let Some(confirmed) = confirmed {
                        let _ = confirmed.send(()); // Whoever waited may have given up.
                    }
                }
            }
        }
        Ok(())
    }
}

impl Ears {
    fn new() -> Ears {
        Ears {
            began: Instant::now(),
            heard_at: AtomicU64::new(0),
            is_current: AtomicBool::new(true),
            ended: Notify::new(),
            leaving: Mutex::default(),
        }
    }

    /// Called by the connection's task, so that nothing waits in between.
    fn hear(&self, hub: &Hub, pushed: Pushed) {
        if !self.is_current.load(Ordering::Acquire) {
            return;
        }
        self.heard();
        match pushed {
            Pushed::Message { channel, payload } => hub.heard(&channel, payload),
            Pushed::Unsubscribed { channel } => {
                // A slot has moved: the server lets go of its channels by itself.
                if !self.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&*channel) {
                    self.ended.notify_one();
                }
            }
            Pushed::Ended => self.ended.notify_one(),
        }
    }

    fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(millis, Ordering::Release);
    }

    fn heard_at(&self) -> Instant {
        self.began + Duration::from_millis(self.heard_at.load(Ordering::Acquire))
    }

    fn leaves(&self, channel: &Arc<str>) {
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner).entry(Arc::clone(channel)).or_default() += 1;
    }

    fn left(&self, channel: &Arc<str>) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = leaving.get_mut(channel) {
            *times -= 1;
            if *times == 0 {
                leaving.remove(channel);
            }
        }
    }
}
