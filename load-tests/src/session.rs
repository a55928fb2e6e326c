//! A stock client in a room: greets, answers the server's SyncStep1, announces itself, leaves politely.
//!
//! What arrives beyond that goes to a [`Member`], which is where scenarios measure.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::Notify;

use crate::connection::{self, Connection, Receiver, Target};
use crate::dialect::{self, Dialect, Message};
use crate::process::Process;

/// How long a room may take to answer a SyncStep1.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);

/// Of a client that has nothing yet.
const EMPTY_STATE_VECTOR: [u8; 1] = [0];

/// Reasons of closed sockets that a report lists.
const CLOSE_REASONS_MAX: usize = 5;

/// What all sessions of a run have in common.
#[derive(Debug)]
pub(crate) struct World {
    /// The nodes of the server.
    pub(crate) targets: Vec<Target>,
    pub(crate) dialect: Dialect,
    /// The tokens that clients show, in turns. If empty, they show none.
    pub(crate) tokens: Vec<String>,
    pub(crate) tokens_shown: Cell<usize>,
    pub(crate) server: Option<Process>,
    /// Where the nodes' Redis listens, if its work is to be counted.
    pub(crate) redis: Option<String>,
    /// Sets this run's rooms and clients apart from those of earlier runs against the same server.
    pub(crate) run: u64,
    /// Binary frames and their bytes, over all sessions.
    pub(crate) frames_received: Cell<u64>,
    pub(crate) bytes_received: Cell<u64>,
    /// Messages that no load test expects: refusals, broken updates.
    pub(crate) surprises: Cell<u64>,
    pub(crate) closed_early: Cell<u64>,
    pub(crate) close_reasons: RefCell<Vec<String>>,
}

impl World {
    /// The URL of the next client, with a token of its own if there are any.
    fn with_token(&self, target: &Target) -> Target {
        let mut target = target.clone();
        if !self.tokens.is_empty() {
            let shown = self.tokens_shown.replace(self.tokens_shown.get() + 1);
            target.add_query(&format!("token={}", self.tokens[shown % self.tokens.len()]));
        }
        target
    }
}

/// What a scenario makes of the messages that one session receives.
pub(crate) trait Member {
    /// What this client has when it joins.
    fn state_vector(&self) -> Vec<u8> {
        EMPTY_STATE_VECTOR.to_vec()
    }

    /// Everything that this client wrote, for the server's SyncStep1.
    fn state(&self) -> Vec<u8> {
        vec![0, 0]
    }

    /// The SyncStep1 was answered with [`Member::state`].
    fn answered(&mut self) {}

    /// An Update or SyncStep2 brought `update`, read off the socket at `at`.
    fn update(&mut self, update: &[u8], at: Instant);

    /// Awareness arrived; the scenario may answer over `session`.
    fn awareness(&mut self, _session: &Session, _entries: &[u8], _at: Instant) {}

    /// The oldest edit without an answer is saved, or refused.
    fn saved(&mut self, _is_saved: bool, _at: Instant) {}
}

/// A client in a room.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    connection: Rc<Connection>,
    address: Rc<[u8]>,
    progress: Rc<Progress>,
    /// What [`Session::leave`] takes back.
    announced: Option<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    /// When the newest SyncStep2 was complete, and how many there were.
    synced_at: Cell<Option<Instant>>,
    syncs: Cell<u64>,
    is_leaving: Cell<bool>,
    changed: Notify,
}

/// How a client shows itself when it joins.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) client: u64,
    pub(crate) clock: u64,
    pub(crate) state: String,
}

impl Announcement {
    /// A client whose application set no presence: y-protocols announces an empty state at clock 0.
    pub(crate) fn silent(client: u64) -> Announcement {
        Announcement { client, clock: 0, state: "{}".to_owned() }
    }
}

impl Session {
    /// Connects, greets and announces. The room's content follows: [`Session::wait_synced`].
    pub(crate) async fn join(
        world: &Rc<World>,
        room: &str,
        member: impl Member + 'static,
        announcement: Option<Announcement>,
    ) -> Result<Session> {
        Session::join_at(world, 0, room, member, announcement).await
    }

    /// As [`Session::join`], on one of several nodes.
    pub(crate) async fn join_at(
        world: &Rc<World>,
        node: usize,
        room: &str,
        member: impl Member + 'static,
        announcement: Option<Announcement>,
    ) -> Result<Session> {
        let target = world.with_token(&world.targets[node]);
        let path = world.dialect.path(&target.path, room);
        let (connection, behind) = Connection::open(&target, &path).await?;
        let session = Session {
            connection: connection.clone(),
            address: world.dialect.address(room).into(),
            progress: Rc::default(),
            announced: announcement.as_ref().map(|announcement| announcement.client),
        };
        for message in world.dialect.greeting(&member.state_vector()) {
            session.send(&message);
        }
        if let Some(Announcement { client, clock, state }) = announcement {
            session.send(&dialect::awareness(client, clock, &state));
        }
        let ears = Ears { world: world.clone(), session: session.clone(), member };
        tokio::task::spawn_local(connection::run(connection, behind, ears));
        Ok(session)
    }

    /// Sends one message.
    pub(crate) fn send(&self, message: &[u8]) {
        if self.address.is_empty() {
            self.connection.send(message);
        } else {
            self.connection.send(&[&self.address, message].concat());
        }
    }

    /// Waits until the room's content has arrived, and says when the last of it was read.
    pub(crate) async fn wait_synced(&self, dialect: Dialect) -> Result<Instant> {
        if !dialect.syncs() {
            return Ok(Instant::now());
        }
        self.wait_syncs(1).await
    }

    /// Asks for the room's content again and waits for it: the server has by then taken everything that was sent before.
    pub(crate) async fn round_trip(&self, dialect: Dialect) -> Result<()> {
        if dialect.syncs() {
            let syncs = self.progress.syncs.get();
            self.send(&dialect::sync_step1(&EMPTY_STATE_VECTOR));
            self.wait_syncs(syncs + 1).await?;
        }
        Ok(())
    }

    /// Leaves as a provider does: takes its presence back and closes the socket.
    pub(crate) async fn leave(&self, clock: u64) {
        self.progress.is_leaving.set(true);
        if let Some(client) = self.announced {
            self.send(&dialect::awareness(client, clock, "null"));
        }
        self.connection.close();
        self.connection.wait_closed().await;
    }

    /// Notes that the server will end the socket, and that this is no surprise.
    pub(crate) fn expect_end(&self) {
        self.progress.is_leaving.set(true);
    }

    /// Waits until the socket is at its end, however long that takes.
    pub(crate) async fn wait_end(&self) {
        self.connection.wait_end().await;
    }

    async fn wait_syncs(&self, count: u64) -> Result<Instant> {
        let wait = async {
            loop {
                let changed = self.progress.changed.notified();
                match self.progress.synced_at.get() {
                    Some(at) if self.progress.syncs.get() >= count => return Ok(at),
                    _ if self.connection.is_closed() => bail!("server closed the connection before it synced"),
                    _ => changed.await,
                }
            }
        };
        tokio::time::timeout(SYNC_TIMEOUT, wait).await.context("wait for the server's SyncStep2")?
    }
}

/// A session's receiving side.
struct Ears<M> {
    world: Rc<World>,
    session: Session,
    member: M,
}

impl<M: Member> Receiver for Ears<M> {
    fn message(&mut self, _: &Rc<Connection>, payload: &[u8], at: Instant) {
        let Ears { world, session, member } = self;
        count(&world.frames_received, 1);
        count(&world.bytes_received, payload.len() as u64);
        world.dialect.for_each_message(payload, |message| match message {
            Message::Update(update) => member.update(update, at),
            Message::Awareness(entries) => member.awareness(session, entries, at),
            Message::SyncStatus(is_saved) => member.saved(is_saved, at),
            Message::SyncStep2(update) => {
                session.progress.synced_at.set(Some(at));
                count(&session.progress.syncs, 1);
                session.progress.changed.notify_waiters();
                member.update(update, at);
            }
            Message::SyncStep1 => {
                session.send(&dialect::sync_step2(&member.state()));
                member.answered();
            }
            Message::Denied => count(&world.surprises, 1),
            Message::Other => {}
        });
    }

    fn closed(&mut self, why: Option<(Option<u16>, String)>) {
        let Ears { world, session, .. } = self;
        if !session.progress.is_leaving.get() {
            count(&world.closed_early, 1);
            let mut reasons = world.close_reasons.borrow_mut();
            let reason = match why {
                Some((code, reason)) => format!("{} {reason}", code.map_or("without code".into(), |c| c.to_string())),
                None => "without a close frame".to_owned(),
            };
            if reasons.len() < CLOSE_REASONS_MAX && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        session.progress.changed.notify_waiters();
    }
}

/// A member that only is there.
#[derive(Debug)]
pub(crate) struct Bystander;

impl Member for Bystander {
    fn update(&mut self, _: &[u8], _: Instant) {}
}

/// Adds to a counter.
pub(crate) fn count(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}
