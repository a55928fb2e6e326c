//! A room, its driver, its store, its sockets and its clients, in one thread and in virtual time.
//!
//! The driver does what `src/room/driver.rs` does, in the same order. Links keep the order of their frames and delay them;
//! everything that takes time in the server may take any time, fail, or be lost with the process.

use crate::account::{Contents, Edit, Fate, pieces};
use crate::cast::{self, Cast, Part, Play, Template};
use crate::client::{Client, edited, portrait_of};
use crate::hostile;
use crate::mesh::{Link, Origin};
use crate::replica::Replica;
use crate::revoking::{Rights, records_in, user};
use crate::rng::Rng;
use crate::store::{Durable, Store, Written};
use bytes::Bytes;
use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use ydash_proto::access::{Access, Admission, Capabilities, Principal};
use ydash_proto::document::compact;
use ydash_proto::id::{ClientId, MemberId};
use ydash_proto::limits::Limits;
use ydash_proto::log::{LogEntry, LogPosition, Source};
use ydash_proto::room::{
    Content, Dialect, Effect, Frame, FrameKind, Input, Joining, RequestId, Room, Scanned, StoreRead, Tuning,
};
use ydash_proto::session::{Item, Next, Outbox, Pushed, Question};
use ydash_proto::time::Timestamp;
use ydash_proto::update::{self, DeleteSet, Knowledge, Source as Trust, StateVector};
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::hocuspocus::Turns;
use ydash_proto::wire::{self, Message, encode};

const PROBE_TIMEOUT: u64 = 5_000;
/// How long a server believes in a socket that says nothing.
const IDLE_TIMEOUT: u64 = 60_000;
/// Whoever is here has shown itself again after so long.
const RENEWED: u64 = 30_000;
/// An update that follows on what is known is taken or refused within so long, whoever brings it: it is compared first with what is kept,
/// its author may have a second to answer an earlier question, and a second for this one.
const SETTLED: u64 = 3_200;
/// In calm weather everybody has heard everything after so long.
const CALM: u64 = 9_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Act(usize),
    Tick(usize),
    Connect(usize),
    Mesh(usize),
    Whisper(usize, usize),
    Up(MemberId),
    Down(MemberId),
    Write(MemberId),
    Gone(MemberId),
    Drive,
    Appended,
    Compacted,
    Cut,
    Snapshotted,
    StoreRead,
    Check,
    Weather,
}

/// One connection, with both of its ends.
struct Session {
    client: usize,
    outbox: Outbox,
    writer_wakes: bool,
    up: VecDeque<(u64, Bytes)>,
    down: VecDeque<(u64, Bytes)>,
    delay: u64,
    /// How long the reader takes per batch.
    pace: u64,
    is_joined: bool,
    /// The server knows that it is over.
    is_over: bool,
    /// The client's end is gone.
    is_dead: bool,
    /// It may not read any more: nothing but that is said on it.
    is_expelled: bool,
    /// It might not write at some time: what it wrote then was refused with reason.
    is_lowered: bool,
    frames: u32,
    /// Which of its answers count.
    turns: Turns,
    saved: u32,
    refused: u32,
    durable: u32,
    /// Updates that were not found in the store yet.
    unsaved: Vec<Bytes>,
    /// All of them, and whether an ack is expected for it.
    sent: Vec<(Bytes, bool)>,
    /// Whether it heard that it was refused, without a number, or is closed.
    is_warned: bool,
    /// What flushes told it.
    told: Vec<Written>,
}

/// The one room's process.
struct Host {
    room: Room,
    inbox: VecDeque<Input>,
    effects: Vec<Effect>,
    seats: Vec<MemberId>,
    due: u64,
    append: Option<(Vec<LogEntry>, Option<LogPosition>)>,
    compaction: Option<Vec<Bytes>>,
    cut: Option<(Content, StateVector)>,
    snapshot: Option<(LogPosition, Bytes)>,
    is_closing: bool,
    answers: BTreeMap<RequestId, Bytes>,
}

/// An update that the room has heard and neither taken nor refused.
struct Unsettled {
    member: MemberId,
    update: Bytes,
    refusals: u32,
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreMood {
    Well,
    Slow,
    Failing,
}

pub(crate) struct World {
    play: Play,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    seq: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    pub(crate) limits: Limits,
    tuning: Tuning,
    store: Store,
    mood: StoreMood,
    host: Option<Host>,
    sessions: BTreeMap<MemberId, Session>,
    pub(crate) clients: Vec<Client>,
    pub(crate) parts: Vec<Part>,
    pub(crate) templates: [Bytes; 2],
    connected: Vec<Option<MemberId>>,
    next_member: u64,
    next_request: u64,
    next_mark: i32,
    pub(crate) next_life: u64,
    pub(crate) is_calm: bool,
    /// Several sessions may write under one id: then one of them may have to hear that its edits are not kept.
    shares_ids: bool,
    /// Ids that several clients had before one of them was loaded anew.
    pub(crate) shared: BTreeSet<ClientId>,
    /// It has not begun yet.
    pub(crate) is_dormant: Vec<bool>,
    pub(crate) is_meshed: Vec<bool>,
    /// What is on its way within meshes, by sender and receiver.
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    /// A document as it was at some time.
    pub(crate) images: Vec<Option<Bytes>>,
    /// Every edit of honest clients.
    pub(crate) account: Vec<Edit>,
    /// What came first to the room at each clock, as far as the room knows it.
    pub(crate) came: Contents,
    shadow: Replica,
    unsettled: Vec<Unsettled>,
    /// Whom a liar set clocks for. Peers remember those; a room that opens later does not, and cannot make the victim pass them.
    lied_about: BTreeSet<ClientId>,
    silenced: BTreeSet<ClientId>,
    /// Somebody wrote where somebody else had written: what it wrote further builds on something that nobody else has.
    pub(crate) is_contested: bool,
    /// Somebody wrote in the name of others on purpose. Yjs relies on each client writing its own structs one after another: it puts forged
    /// ones, and what is put beside them, into different places in different documents.
    is_forged: bool,
    /// When the room was opened.
    opened_at: u64,
    /// What the room held when it was let go.
    left_with: Option<Bytes>,
    /// Nobody comes back any more.
    is_finished: bool,
    /// The store has lost what the room went with: who edits brings it back, viewers alone cannot.
    is_bereaved: bool,
    /// What the store held before losses of which the room has not heard.
    lost_unnoticed: Vec<Durable>,
    /// The store loses everything now and then.
    loses: bool,
    /// Everybody overwrites its own keys all the time, and deletes nothing of others.
    is_rush: bool,
    /// Authors per flush stay within what gets frames of their own.
    few_authors: bool,
    /// The clients' rights, in histories in which they change.
    pub(crate) rights: Option<Rights>,
    pub(crate) trace: bool,
}

impl World {
    pub(crate) fn new(play: Play, seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let tight = rng.chance(70);
        let holds_little = rng.chance(30);
        let limits = Limits {
            outbox_bytes_max: if tight { rng.spread(300, 20_000) as usize } else { 1 << 20 },
            outbox_frames_max: if tight { rng.spread(6, 128) as usize } else { 1024 },
            unsaved_bytes_max: if tight { rng.spread(64, 4_000) as usize } else { 4 << 20 },
            held_updates_max: if holds_little { 8 } else { 256 },
            held_bytes_max: if holds_little { 4_000 } else { 1 << 20 },
            held_overruns_max: if holds_little { 2 } else { 8 },
            members_max: 24,
            ..Limits::default()
        };
        let tuning = Tuning {
            room_idle: Duration::from_millis(rng.spread(200, 20_000)),
            snapshot_after_bytes: rng.spread(100, 20_000) as usize,
            snapshot_interval: Duration::from_millis(rng.spread(1_000, 60_000)),
            cut_aside_bytes: rng.spread(1, 10_000) as usize,
            ..Tuning::default()
        };
        let cast = match play {
            Play::Weather | Play::Revoking => cast::weather(seed, &mut rng),
            Play::Honest | Play::Hostile => cast::identities(play, &mut rng),
        };
        let Cast { clients, parts, templates, shares_ids, few_authors } = cast;
        let count = clients.len();
        let most: Vec<Access> = clients.iter().map(|client| client.manners.access).collect();
        World {
            play,
            rng,
            now: 1_000_000,
            seq: 0,
            events: BinaryHeap::new(),
            limits,
            tuning,
            store: Store::default(),
            mood: StoreMood::Well,
            host: None,
            sessions: BTreeMap::new(),
            is_dormant: parts.iter().map(|part| part.copy_of.is_some()).collect(),
            clients,
            parts,
            templates,
            connected: vec![None; count],
            next_member: 1,
            next_request: 1,
            next_mark: 1000,
            next_life: count as u64,
            is_calm: false,
            shares_ids,
            shared: BTreeSet::new(),
            is_meshed: vec![false; count],
            links: BTreeMap::new(),
            images: vec![None; count],
            account: Vec::new(),
            came: Contents::default(),
            shadow: Replica::default(),
            unsettled: Vec::new(),
            lied_about: BTreeSet::new(),
            silenced: BTreeSet::new(),
            is_contested: false,
            is_forged: false,
            opened_at: 0,
            left_with: None,
            is_finished: false,
            is_bereaved: false,
            lost_unnoticed: Vec::new(),
            loses: seed.is_multiple_of(3),
            is_rush: play == Play::Weather && seed % 6 == 5,
            few_authors,
            rights: (play == Play::Revoking).then(|| Rights::new(&most)),
            trace: false,
        }
    }

    /// Plays some rounds of weather and calm, and looks at everything in every calm.
    pub(crate) fn play(&mut self) {
        for client in 0..self.clients.len() {
            let now = self.now;
            if !self.is_dormant[client] {
                self.at(now + client as u64 * 100, Event::Connect(client));
                self.at(now + client as u64 * 50, Event::Mesh(client));
            }
            let first = self.rng.below(3_000);
            self.at(now + first, Event::Tick(client));
        }
        for _ in 0..1 + self.rng.below(4) {
            self.is_calm = false;
            self.at(self.now, Event::Weather);
            for client in 0..self.clients.len() {
                self.at(self.now, Event::Act(client));
            }
            let until = self.now + self.rng.spread(1_000, 40_000);
            self.run(until);
            self.calm_down();
            self.run(self.now + CALM);
            self.check();
        }
        self.finish();
    }

    fn run(&mut self, until: u64) {
        let mut at_once = 0;
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else { return };
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 20_000, "time stands still: {event:?}");
            self.now = self.now.max(at);
            self.step(event);
        }
        self.now = until;
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.events.push(Reverse((at.max(self.now), self.seq, event)));
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn step(&mut self, event: Event) {
        if self.trace && !matches!(event, Event::Tick(_)) {
            eprintln!("{} {event:?}", self.now);
        }
        match event {
            Event::Act(client) => self.act(client),
            Event::Tick(client) => {
                self.after(3_000, Event::Tick(client));
                let now = self.now;
                if let Some(frame) = self.clients[client].tick(now) {
                    self.say(client, frame);
                }
            }
            Event::Connect(client) => self.connect(client),
            Event::Mesh(client) => self.join_mesh(client),
            Event::Whisper(from, to) => self.whispered(from, to),
            Event::Up(member) => self.up(member),
            Event::Down(member) => self.down(member),
            Event::Write(member) => self.write(member),
            Event::Gone(member) => self.over(member),
            Event::Drive => self.drive(),
            Event::Appended => self.appended(),
            Event::Compacted => self.compacted(),
            Event::Cut => self.cut(),
            Event::Snapshotted => self.snapshotted(),
            Event::StoreRead => self.store_read(),
            Event::Check => {
                let compare = self.rng.chance(50);
                self.tell(Input::CheckStore { compare });
            }
            Event::Weather => self.weather(),
        }
    }

    // What clients do.

    fn act(&mut self, client: usize) {
        if self.is_calm {
            return;
        }
        let pause = self.rng.spread(1, if self.is_rush { 300 } else { 4_000 });
        self.after(pause, Event::Act(client));
        let now = self.now;
        if self.is_dormant[client] {
            if self.rng.chance(20) {
                self.wake_copy(client);
            }
            return;
        }
        let manners = self.clients[client].manners;
        match self.play {
            Play::Weather => {}
            Play::Honest | Play::Hostile => self.act_beside(client),
            Play::Revoking if self.rng.chance(15) => self.change_rights(),
            Play::Revoking => {}
        }
        match self.rng.below(20) {
            0..=12 if manners.edits => {
                let burst = if self.rng.chance(10) { 1 + self.rng.below(12) } else { 1 };
                for _ in 0..burst {
                    self.next_mark += 1;
                    let (edits, mark) = (&mut self.clients[client], self.next_mark);
                    let made = if self.is_rush {
                        edits.overwrite(&mut self.rng, mark)
                    } else {
                        edits.edit(&mut self.rng, mark)
                    };
                    if let Some(update) = made {
                        self.changed(client, &update, Origin::Own);
                    }
                }
            }
            13..=15 if manners.is_shown => {
                let frame = self.clients[client].change_state(now);
                self.say(client, frame);
            }
            // Asking again, HocuspocusProvider forgets how many of its edits are not acknowledged yet.
            16 if manners.dialect == Dialect::YWebsocket => {
                let have = self.clients[client].clocks();
                self.say(client, encode::sync_step1(&have.encode()));
            }
            17 => self.say(client, encode::query_awareness()),
            18 if self.rng.chance(30) => self.drop_socket(client),
            19 if manners.is_shown && self.rng.chance(20) => {
                if let Some(frame) = self.clients[client].hide() {
                    self.say(client, frame);
                }
                if self.rng.chance(50) {
                    self.drop_socket(client);
                }
            }
            _ => {}
        }
        if manners.is_hostile && self.rng.chance(if self.play == Play::Weather { 70 } else { 30 }) {
            self.attack(client);
        }
    }

    /// What clients do beside the server.
    fn act_beside(&mut self, client: usize) {
        if self.rng.chance(10) {
            self.images[client] = Some(self.clients[client].image());
        }
        if self.parts[client].mesh.is_some() && self.is_meshed[client] && self.rng.chance(6) {
            self.leave_mesh(client);
            let back = self.rng.spread(50, 10_000);
            self.after(back, Event::Mesh(client));
        }
        if self.rng.chance(3) && self.clients[client].manners.edits && !self.clients[client].manners.is_hostile {
            // A newer page with a longer template.
            let template = self.templates[1].clone();
            self.apply(client, &template, Origin::Own);
        }
    }

    fn attack(&mut self, client: usize) {
        let Some(host) = &self.host else { return };
        let victims: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|victim| !victim.manners.is_hostile && victim.manners.access.may_edit())
            .flat_map(|victim| [victim.id, victim.writes_as])
            .collect();
        let own = self.clients[client].id;
        let known = host.room.clocks().clone();
        if let Some(frame) = hostile::frame(&mut self.rng, own, &victims, &known) {
            if let Ok(Message::Awareness(body)) = wire::decode(&frame) {
                let entries = wire::awareness::entries(&body).expect("entries");
                self.lied_about.extend(entries.map(|entry| entry.client));
            } else {
                self.is_forged = true;
            }
            self.say(client, frame);
        }
    }

    pub(crate) fn drop_socket(&mut self, client: usize) {
        let Some(member) = self.connected[client].take() else { return };
        self.clients[client].closed();
        // In calm weather a socket that ends is missed at once: a page that is loaded anew there leaves nobody behind.
        let half_open = self.rng.chance(30) && !self.is_calm;
        let back = if self.rng.chance(30) { self.rng.spread(100, 20_000) } else { self.rng.spread(1, 300) };
        self.after(back, Event::Connect(client));
        let Some(session) = self.sessions.get_mut(&member) else { return };
        session.is_dead = true;
        session.down.clear();
        if half_open {
            session.up.clear();
            self.after(IDLE_TIMEOUT, Event::Gone(member));
        } else {
            // What was sent before arrives, unless it does not.
            if self.rng.chance(50) {
                let keep = self.rng.index(session.up.len() + 1);
                session.up.truncate(keep);
            }
            let last = session.up.back().map_or(0, |(at, _)| at - self.now.min(*at)) + 1;
            self.after(last, Event::Gone(member));
        }
    }

    fn connect(&mut self, client: usize) {
        if self.connected[client].is_some() || self.is_finished || self.is_dormant[client] {
            return;
        }
        self.fill_in(client, Template::Before);
        if self.host.as_ref().is_some_and(|host| host.is_closing) {
            self.after(100, Event::Connect(client));
            return;
        }
        if self.rights.as_ref().is_some_and(|rights| !rights.lets_in(client)) {
            let back = self.rng.spread(100, 2_500);
            return self.after(back, Event::Connect(client));
        }
        if self.host.is_none() {
            self.open();
        }
        let member = MemberId(self.next_member);
        self.next_member += 1;
        let delay = self.rng.spread(1, 200);
        let slow = !self.is_calm && self.rng.chance(25);
        let pace = if slow { self.rng.spread(100, 8_000) } else { self.rng.below(3) };
        let mut outbox = Outbox::new(self.limits.outbox());
        if self.clients[client].manners.dialect != Dialect::YWebsocket {
            outbox.divide();
            outbox.enroll(member, Bytes::new());
        }
        self.sessions.insert(
            member,
            Session {
                client,
                outbox,
                writer_wakes: false,
                up: VecDeque::new(),
                down: VecDeque::new(),
                delay,
                pace,
                is_joined: false,
                is_over: false,
                is_dead: false,
                is_expelled: false,
                is_lowered: false,
                frames: 0,
                turns: Turns::default(),
                saved: 0,
                refused: 0,
                durable: 0,
                unsaved: Vec::new(),
                sent: Vec::new(),
                is_warned: false,
                told: Vec::new(),
            },
        );
        self.connected[client] = Some(member);
        let manners = self.clients[client].manners;
        let joining = Joining {
            member,
            admission: match &self.rights {
                Some(rights) => rights.admission(client),
                None => Admission { principal: user(client), ..Admission::anonymous(manners.access) },
            },
            wants_acks: manners.wants_acks,
            wants_echo: false,
            dialect: manners.dialect,
        };
        self.tell(Input::Joined(Box::new(joining)));
        if manners.is_shown && self.clients[client].state().is_none() {
            let now = self.now;
            self.clients[client].change_state(now);
        }
        for frame in self.clients[client].open() {
            self.say(client, frame);
        }
        if self.parts[client].squats {
            self.squat(client);
        }
    }

    /// Announces the id of somebody, here or not, as its own.
    fn squat(&mut self, client: usize) {
        let victims: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|victim| !victim.manners.is_hostile)
            .flat_map(|victim| [victim.id, victim.writes_as])
            .collect();
        if !victims.is_empty() {
            let victim = victims[self.rng.index(victims.len())];
            self.lied_about.insert(victim);
            let clock = self.rng.spread(1, 1 << 20) as u32;
            self.say(client, encode::awareness([(victim, clock, &b"{\"name\":\"Mallory\"}"[..])]));
        }
    }

    /// Sends a client's frame, if its socket is open.
    pub(crate) fn say(&mut self, client: usize, frame: Bytes) {
        let Some(member) = self.connected[client] else { return };
        let jitter = self.rng.below(5);
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&member) else { return };
        let at = session.up.back().map_or(0, |(at, _)| *at).max(now + session.delay + jitter);
        session.up.push_back((at, frame));
        self.at(at, Event::Up(member));
    }

    /// What `src/session/reader.rs` does with the frames that have arrived.
    fn up(&mut self, member: MemberId) {
        loop {
            let now = self.now;
            let Some(session) = self.sessions.get_mut(&member) else { return };
            if session.is_over || session.up.front().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((_, frame)) = session.up.pop_front() else { return };
            let (update, is_live) = match wire::decode(&frame).expect("clients speak the dialect") {
                Message::SyncStep1(have) => {
                    session.turns.client_asked();
                    let have = StateVector::decode(&have, &self.limits).expect("a state vector");
                    if let Some(Question::State(have)) = session.outbox.postpone(member, Question::State(have)) {
                        self.tell(Input::SyncStep1 { member, have });
                    }
                    continue;
                }
                Message::Awareness(body) => {
                    self.tell(Input::Awareness { member, body });
                    continue;
                }
                Message::QueryAwareness => {
                    if session.outbox.postpone(member, Question::Presence).is_some() {
                        self.tell(Input::QueryAwareness { member });
                    }
                    continue;
                }
                Message::SyncStep2(update) => (update, false),
                Message::Update(update) => (update, true),
                other => panic!("{other:?}"),
            };
            let speaks_hocuspocus = self.clients[session.client].manners.dialect != Dialect::YWebsocket;
            let counts =
                is_live || !speaks_hocuspocus || session.turns.client_answered(session.outbox.questions(member));
            let scan = update::scan(&update, &self.limits).expect("clients write updates");
            let frame = is_live.then_some(frame);
            if counts {
                session.frames += 1;
                session.unsaved.push(update.clone());
            }
            session.sent.push((update.clone(), counts));
            let update = Box::new(Scanned { update, scan, frame });
            self.tell(if counts { Input::Update { member, update } } else { Input::Answer { member, update } });
        }
    }

    fn down(&mut self, member: MemberId) {
        loop {
            let now = self.now;
            let Some(session) = self.sessions.get_mut(&member) else { return };
            if session.is_dead || session.down.front().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((_, frame)) = session.down.pop_front() else { return };
            let client = session.client;
            if frame.is_empty() {
                // The server closed the socket.
                session.is_dead = true;
                self.connected[client] = None;
                self.clients[client].closed();
                let back = self.rng.spread(100, 2_500);
                self.after(back, Event::Connect(client));
                return;
            }
            let received = self.clients[client].receive(now, &frame);
            received.answers.into_iter().for_each(|answer| self.say(client, answer));
            for change in received.changes {
                self.changed(client, &change, Origin::Server);
            }
            if frame.starts_with(&[wire::tag::SYNC, wire::tag::SYNC_STEP_2]) {
                self.fill_in(client, Template::Synced);
            }
            if self.clients[client].told_at == Some(now) {
                self.told(client);
            }
            self.check_unsynced(client, &frame);
        }
    }

    /// A client heard that something of it was refused: it shows that to its user, who loads the page anew if it does not go on.
    fn told(&mut self, client: usize) {
        for edit in self.account.iter_mut().filter(|edit| edit.author == client) {
            edit.is_told = true;
        }
        if self.clients[client].is_stranded {
            self.reload(client);
        }
    }

    /// A Hocuspocus client that has no unsynced changes has none that could still be lost, but by a store that loses what it had.
    fn check_unsynced(&self, client: usize, frame: &Bytes) {
        let Client { manners, unsynced, .. } = &self.clients[client];
        if manners.dialect != Dialect::YWebsocket
            && manners.converges()
            && frame.starts_with(&[wire::tag::SYNC_STATUS])
            && *unsynced == 0
            && !self.store.has_lost(LogPosition(1))
        {
            for edit in self.account.iter().filter(|edit| edit.author == client && !edit.is_told) {
                let fate = edit.fate(self.store.contents(), self.store.durable().deletes());
                assert_eq!(fate, Fate::Kept, "client {client} thinks {edit:?} is saved");
            }
        }
    }

    /// What `src/session/writer.rs` does.
    fn write(&mut self, member: MemberId) {
        let (now, jitter) = (self.now, self.rng.below(3));
        let Some(session) = self.sessions.get_mut(&member) else { return };
        session.writer_wakes = false;
        if session.is_over {
            return;
        }
        let mut items = Vec::new();
        match session.outbox.next(&mut items, &mut ()) {
            Some(Next::Batch) => {
                let at = session.down.back().map_or(0, |(at, _)| *at).max(now + session.delay + jitter);
                for item in items {
                    match item {
                        Item::Frame(frame) => {
                            assert!(!session.is_expelled, "{member} may not read: {frame:?}");
                            session.down.push_back((at, frame.bytes));
                        }
                        Item::Acks { saved, count } => {
                            (0..count).for_each(|_| session.down.push_back((at, encode::sync_status(saved))));
                        }
                        // One session per socket: its address is empty, and nothing else is said on it.
                        Item::Behind(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
                session.writer_wakes = true;
                // A peer that is gone acknowledges nothing: its socket's buffers fill up.
                let pace = if session.is_dead { IDLE_TIMEOUT } else { session.pace };
                self.at(at, Event::Down(member));
                self.after(pace, Event::Write(member));
            }
            Some(Next::Drained(member)) => {
                self.tell(Input::Drained { member });
                self.wake_writer(member);
            }
            Some(Next::Asked(member, question)) => {
                self.tell(match question {
                    Question::State(have) => Input::SyncStep1 { member, have },
                    Question::Presence => Input::QueryAwareness { member },
                });
                self.wake_writer(member);
            }
            Some(Next::Close(..)) => {
                let at = session.down.back().map_or(0, |(at, _)| *at).max(now + session.delay);
                session.down.push_back((at, Bytes::new()));
                self.at(at, Event::Down(member));
                self.over(member);
            }
            Some(Next::Gone) | None => {}
        }
    }

    fn wake_writer(&mut self, member: MemberId) {
        if let Some(session) = self.sessions.get_mut(&member)
            && !core::mem::replace(&mut session.writer_wakes, true)
        {
            self.after(0, Event::Write(member));
        }
    }

    /// The reader ends: the member leaves.
    fn over(&mut self, member: MemberId) {
        if let Some(session) = self.sessions.get_mut(&member)
            && !core::mem::replace(&mut session.is_over, true)
        {
            self.tell(Input::Left { member });
        }
    }

    // What the server does.

    fn open(&mut self) {
        self.silenced.append(&mut self.lied_about);
        self.opened_at = self.now;
        self.store.check();
        let now = Timestamp(self.now);
        let room = Room::open(now, self.store.load(), self.limits.clone(), self.tuning.clone()).expect("opens");
        assert!(room.clocks().covers(self.store.durable().clocks()), "something durable is missing after a restart");
        let mut room = room;
        let state = room.state();
        self.came.restart(&Contents::of(&state));
        self.shadow = Replica::default();
        self.shadow.receive(&state);
        self.unsettled.clear();
        if let Some(rights) = &mut self.rights {
            rights.opened(&room);
        }
        self.host = Some(Host {
            room,
            inbox: VecDeque::new(),
            effects: Vec::new(),
            seats: Vec::new(),
            due: 0,
            append: None,
            compaction: None,
            cut: None,
            snapshot: None,
            is_closing: false,
            answers: BTreeMap::new(),
        });
        self.wake(0);
    }

    pub(crate) fn tell(&mut self, input: Input) {
        let delay = if self.is_calm || self.rng.chance(70) { 0 } else { self.rng.spread(1, 50) };
        if let Some(host) = &mut self.host {
            host.inbox.push_back(input);
            self.wake(delay);
        }
    }

    fn wake(&mut self, delay: u64) {
        let at = self.now + delay;
        if let Some(host) = &mut self.host
            && (host.due <= self.now || at < host.due)
        {
            host.due = at;
            self.at(at, Event::Drive);
        }
    }

    fn drive(&mut self) {
        let now = self.now;
        let Some(host) = &mut self.host else { return };
        if host.due > now {
            return; // An earlier alarm that was moved.
        }
        let inputs: Vec<Input> = host.inbox.drain(..).collect();
        for input in inputs {
            match &input {
                Input::Joined(joining) => {
                    if let Some(news) = self.rights.as_ref().and_then(Rights::news) {
                        self.handle(news);
                    }
                    host_mut(&mut self.host).seats.push(joining.member);
                    if let Some(session) = self.sessions.get_mut(&joining.member) {
                        session.is_joined = true;
                    }
                }
                Input::Left { member } => {
                    host_mut(&mut self.host).seats.retain(|seat| seat != member);
                }
                Input::Close => host_mut(&mut self.host).is_closing = true,
                _ => {}
            }
            let closes = matches!(input, Input::Close);
            self.handle(input);
            if closes {
                let seats = host_mut(&mut self.host).seats.clone();
                for member in seats {
                    if let Some(session) = self.sessions.get_mut(&member) {
                        session.outbox.close(CloseCode::Restart, Duration::ZERO);
                    }
                    self.wake_writer(member);
                }
            }
        }
        self.settle();
    }

    /// What follows every turn of the driver's loop.
    fn settle(&mut self) {
        let now = Timestamp(self.now);
        let host = host_mut(&mut self.host);
        host.room.handle_timeout(now, &mut host.effects);
        self.listen();
        self.perform();
        self.check_settled();
        let host = host_mut(&mut self.host);
        let held_max = host.room.members() * self.limits.held_updates_max;
        assert!(host.room.held() <= held_max, "{} updates are held by {}", host.room.held(), host.room.members());
        if host.room.is_evictable(now) {
            let is_wanted = self.sessions.values().any(|session| !session.is_over) || !host.inbox.is_empty();
            if !is_wanted {
                self.evict();
                return;
            }
            host.room.stay(now);
        }
        self.arm();
    }

    fn arm(&mut self) {
        let host = host_mut(&mut self.host);
        let due = host.room.poll_timeout().0;
        assert!(due > self.now, "still due after everything was done: {due} at {}, {:?}", self.now, host.room);
        host.due = due;
        if !host.inbox.is_empty() {
            host.due = self.now;
        }
        let due = host.due;
        self.at(due, Event::Drive);
    }

    fn evict(&mut self) {
        let is_hurt = self.is_hurt();
        self.lost_unnoticed.clear();
        self.unsettled.clear();
        let Some(mut host) = self.host.take() else { return };
        assert!(host.append.is_none() && host.compaction.is_none() && host.snapshot.is_none());
        if is_hurt {
            // It went before it was told.
            assert!(!self.is_calm);
            self.is_bereaved = true;
            return;
        }
        assert!(self.store.durable().clocks() == host.room.clocks(), "evicted before it was saved");
        assert_eq!(self.store.log_len(), 0, "evicted without a snapshot");
        let known = Knowledge::of(&host.room.state(), &[], &self.limits).expect("a state").knowledge;
        assert!(known.deletes().subtract(self.store.durable().deletes()).is_empty(), "deletions were not saved");
        self.store.check();
        self.left_with = Some(host.room.state());
    }

    fn handle(&mut self, input: Input) {
        let now = Timestamp(self.now);
        if self.trace {
            eprintln!("  {input:?}");
        }
        let update = match &input {
            Input::Update { member, update } | Input::Answer { member, update } => {
                Some((*member, update.update.clone(), self.refusals(*member)))
            }
            _ => None,
        };
        let author = match &input {
            Input::Update { member, .. } | Input::Answer { member, .. } => {
                self.sessions.get(member).map(|session| user(session.client))
            }
            Input::Write { author, .. } => Some(author.principal.clone()),
            _ => None,
        };
        let records = records_in(&input);
        let host = host_mut(&mut self.host);
        let before = self.rights.as_ref().map(|_| host.room.state());
        host.room.handle(now, input, &mut host.effects);
        self.listen();
        self.perform();
        if let Some(rights) = &mut self.rights {
            rights.told(records);
            let rights = &*rights;
            let may_write = |who: &Principal| rights.may(who, Capabilities::WRITE);
            let host = host_mut(&mut self.host);
            if author.is_some_and(|author| author != Principal::Anonymous && !may_write(&author)) {
                assert_eq!(before, Some(host.room.state()), "something was taken from somebody who may not write");
            }
            // Their updates are refused, and not all of them are told.
            let sessions = &self.sessions;
            self.unsettled.retain(|wait| may_write(&user(sessions[&wait.member].client)));
            for session in self.sessions.values_mut() {
                session.is_lowered |= !may_write(&user(session.client));
            }
            rights.check_seats(host.seats.iter().map(|member| self.sessions[member].client));
        }
        if let Some((member, update, refusals)) = update {
            self.expect_settled(member, update, refusals);
        }
    }

    /// Looks at what is new in the room.
    fn listen(&mut self) {
        let host = host_mut(&mut self.host);
        if let Some(rights) = &mut self.rights {
            rights.took(&host.room, &self.clients);
        }
        if host.room.clocks() == self.shadow.knowledge().clocks() {
            return;
        }
        let news = host.room.difference(self.shadow.knowledge().clocks());
        self.shadow.receive(&news);
        for piece in self.came.add(&news) {
            for client in 0..self.clients.len() {
                let Client { is_stranded, manners, contents, .. } = &self.clients[client];
                if !is_stranded && !manners.is_hostile && contents.differs_from(&piece) {
                    self.stranded(client);
                }
            }
        }
    }

    fn refusals(&self, member: MemberId) -> u32 {
        self.sessions.get(&member).map_or(0, |session| session.refused)
    }

    /// What follows on what is known may wait for a moment, and not longer.
    fn expect_settled(&mut self, member: MemberId, update: Bytes, refusals: u32) {
        let scan = update::scan(&update, &Limits::default()).expect("an update");
        let may_edit = self.sessions.get(&member).is_some_and(|session| match &self.rights {
            Some(rights) => rights.may(&user(session.client), Capabilities::WRITE),
            None => self.clients[session.client].manners.access.may_edit(),
        });
        let known = self.shadow.knowledge();
        // Where little may be held, what is let go waits until its sender answers a question for all that is missing.
        let holds_little = self.limits.held_updates_max <= 8;
        if !may_edit || holds_little || scan.spans.iter().all(|span| known.clocks().get(span.client) >= span.end) {
            return;
        }
        let admission = known.clone().admit(&update, &scan, Trust::SyncStep2, |_| false, &Limits::default());
        if admission.held.is_none() && admission.refused.is_none() {
            self.unsettled.push(Unsettled { member, update, refusals, until: self.now + SETTLED });
        }
    }

    fn check_settled(&mut self) {
        let now = self.now;
        for Unsettled { member, update, refusals, .. } in self.unsettled.extract_if(.., |wait| wait.until <= now) {
            let scan = update::scan(&update, &Limits::default()).expect("an update");
            let known = self.shadow.knowledge().clocks();
            let is_known = scan.spans.iter().all(|span| known.get(span.client) >= span.end);
            let session = self.sessions.get(&member).filter(|session| !session.is_over);
            let is_refused = session.is_none_or(|session| session.is_warned || session.refused > refusals);
            assert!(is_known || is_refused, "what {member} wrote waits for too long: {:?}", scan.spans);
        }
    }

    fn perform(&mut self) {
        loop {
            let effects = core::mem::take(&mut host_mut(&mut self.host).effects);
            if effects.is_empty() {
                return;
            }
            effects.into_iter().for_each(|effect| self.perform_one(effect));
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        if self.trace {
            match &effect {
                Effect::Send { to, frame } => {
                    eprintln!("    send {to} {:?} {:?}", frame.kind, wire::decode_from_server(&frame.bytes));
                }
                Effect::FanOut { frame, except } => {
                    eprintln!("    fan out {:?} {:?} {except:?}", frame.kind, wire::decode_from_server(&frame.bytes));
                }
                other => eprintln!("    {other:?}"),
            }
        }
        let is_expelled = matches!(effect, Effect::Expel { .. });
        match effect {
            Effect::Send { to, frame } => {
                assert!(host_mut(&mut self.host).seats.contains(&to), "{frame:?} to {to}, who left");
                self.push(to, &frame);
            }
            Effect::FanOut { frame, except } => {
                assert!(except.is_sorted());
                for member in host_mut(&mut self.host).seats.clone() {
                    if !except.contains(&member) {
                        self.push(member, &frame);
                    }
                }
            }
            Effect::Ack { to, saved, count } => {
                assert!(host_mut(&mut self.host).seats.contains(&to), "an ack to {to}, who left");
                self.ack(to, saved, count);
            }
            Effect::Answer { request, result } => {
                let update = host_mut(&mut self.host).answers.remove(&request).expect("answered once");
                if result.is_ok() {
                    let scan = update::scan(&update, &self.limits).expect("an update");
                    // As with acks: what was durable before a loss that nobody has noticed counts.
                    let mut durable = self.lost_unnoticed.iter().map(|lost| &lost.knowledge);
                    let is_durable = durable.any(|durable| durable.contains(&update, &scan))
                        || self.store.durable().contains(&update, &scan);
                    assert!(is_durable, "a write is called saved before it is");
                }
            }
            Effect::Append { entries, after } => {
                let host = host_mut(&mut self.host);
                assert!(host.append.is_none(), "two appends at once");
                host.append = Some((entries, after));
                let delay = match self.mood {
                    StoreMood::Well => self.rng.spread(1, 40),
                    StoreMood::Slow | StoreMood::Failing => self.rng.spread(1, 3_000),
                };
                self.after(delay, Event::Appended);
            }
            Effect::Compact { parts } => {
                let host = host_mut(&mut self.host);
                assert!(host.compaction.is_none(), "two compactions at once");
                host.compaction = Some(parts);
                let delay = self.rng.spread(1, if self.is_calm { 20 } else { 1_000 });
                self.after(delay, Event::Compacted);
            }
            Effect::Cut { content, have } => {
                let host = host_mut(&mut self.host);
                assert!(host.cut.replace((content, have)).is_none(), "two differences at once");
                let delay = self.rng.spread(1, if self.is_calm { 20 } else { 1_000 });
                self.after(delay, Event::Cut);
            }
            Effect::Snapshot { covers, state } => {
                let host = host_mut(&mut self.host);
                assert!(host.snapshot.is_none(), "two snapshots at once");
                host.snapshot = Some((covers, state));
                let delay = self.rng.spread(1, if self.is_calm { 20 } else { 2_000 });
                self.after(delay, Event::Snapshotted);
            }
            Effect::Probe { member } => {
                if self.sessions.get(&member).is_some_and(|session| session.is_dead) {
                    self.after(PROBE_TIMEOUT, Event::Gone(member));
                }
            }
            Effect::Close { member, code } | Effect::Expel { member, code } => {
                if is_expelled && let Some(session) = self.sessions.get_mut(&member) {
                    host_mut(&mut self.host).seats.retain(|seat| *seat != member);
                    session.outbox.expel(member, code);
                    session.is_expelled = true;
                }
                if let Some(session) = self.sessions.get_mut(&member) {
                    session.outbox.close(code, Duration::ZERO);
                    session.is_warned = true;
                }
                self.wake_writer(member);
            }
            // After a failure, what it did not hear of may be its own.
            Effect::ReadStore => {
                let delay = self.rng.spread(1, 500);
                self.after(delay, Event::StoreRead);
            }
            Effect::Publish { .. } => unreachable!("no bus"),
            Effect::SetAside { .. } | Effect::Report(_) => {}
        }
    }

    fn push(&mut self, member: MemberId, frame: &Frame) {
        let Some(session) = self.sessions.get_mut(&member) else { return };
        if matches!(frame.kind, FrameKind::Flush(_)) {
            let Ok(Message::Update(update)) = wire::decode_from_server(&frame.bytes) else { panic!("{frame:?}") };
            let scan = update::scan(&update, &Limits::default()).expect("an update");
            session.told.extend(scan.spans.iter().map(|span| (span.client, span.start, span.end)));
        }
        if frame.bytes.starts_with(&[wire::tag::AUTH, wire::tag::PERMISSION_DENIED]) {
            session.is_warned = true;
        }
        if let Pushed::Overflowed(first_missed) = session.outbox.push(member, frame, &mut ()) {
            if self.trace {
                eprintln!("    {member} overflows at {first_missed}");
            }
            let host = host_mut(&mut self.host);
            host.room.handle(Timestamp(self.now), Input::Overflowed { member, first_missed }, &mut host.effects);
        }
        self.wake_writer(member);
    }

    fn ack(&mut self, member: MemberId, saved: bool, count: u32) {
        let Some(session) = self.sessions.get_mut(&member) else { return };
        assert!(self.clients[session.client].manners.wants_acks, "an ack that nobody asked for");
        *(if saved { &mut session.saved } else { &mut session.refused }) += count;
        let speaks_hocuspocus = self.clients[session.client].manners.dialect != Dialect::YWebsocket;
        // There what was refused is told of once more when it has become durable all the same, and refusals are not counted.
        let told = if speaks_hocuspocus { session.saved } else { session.saved + session.refused };
        assert!(told <= session.frames, "more acks than frames");
        // Nothing that the room could know of: what was durable before the loss counts until it has noticed.
        let manners = self.clients[session.client].manners;
        let is_hostile = manners.is_hostile;
        for Durable { knowledge, contents } in &self.lost_unnoticed {
            count_durable(session, is_hostile, knowledge, contents);
        }
        count_durable(session, is_hostile, self.store.durable(), self.store.contents());
        assert!(
            session.saved <= session.durable,
            "{member} was told too early: {manners:?}, {:?}",
            self.store.contents().differences(session.unsaved.iter())
        );
        session.outbox.ack(member, saved, count);
        self.wake_writer(member);
    }

    fn appended(&mut self) {
        let Some((entries, after)) = self.host.as_mut().and_then(|host| host.append.take()) else { return };
        let fails = self.mood == StoreMood::Failing && self.rng.chance(80);
        let is_refused = after.is_some_and(|after| self.store.has_lost(after));
        // What failed may have been written all the same.
        let is_written = !is_refused && (!fails || self.rng.chance(20));
        let before = self.store.end();
        let position = is_written.then(|| self.store.append(&entries));
        let input = match position {
            Some(position) if !fails => Input::Appended { position, before },
            None if !fails => Input::AppendLost,
            _ => Input::AppendFailed,
        };
        if matches!(input, Input::AppendLost) {
            self.noticed();
        }
        self.handle(input);
        self.settle();
    }

    fn store_read(&mut self) {
        if self.host.is_none() {
            return;
        }
        let fails = self.mood == StoreMood::Failing && self.rng.chance(80);
        let read = (!fails).then(|| {
            let loaded = self.store.load();
            let scanned = |update: Bytes| {
                let scan = update::scan(&update, &Limits::default()).expect("an update");
                Scanned { update, scan, frame: None }
            };
            let updates = loaded.snapshot.into_iter().chain(loaded.log).map(scanned).collect();
            StoreRead { updates, position: loaded.position }
        });
        self.handle(Input::StoreRead { read });
        self.settle();
    }

    /// The store is emptied. Whoever looks after it tells the room, now or a little later.
    fn lose(&mut self) {
        self.lost_unnoticed.push(self.store.picture());
        self.store.lose();
        let delay = if self.rng.chance(50) { 0 } else { self.rng.spread(1, 4_000) };
        self.after(delay, Event::Check);
    }

    /// From now on the room knows what is gone. Acks that were on their way are of before.
    fn noticed(&mut self) {
        for Durable { knowledge, contents } in core::mem::take(&mut self.lost_unnoticed) {
            for session in self.sessions.values_mut() {
                let is_hostile = self.clients[session.client].manners.is_hostile;
                count_durable(session, is_hostile, &knowledge, &contents);
            }
        }
    }

    /// Whether the store has lost what the room has not put back yet.
    fn is_hurt(&mut self) -> bool {
        let Some(host) = &mut self.host else { return false };
        let known = Knowledge::of(&host.room.state(), &[], &self.limits).expect("a state").knowledge;
        let durable = self.store.durable();
        self.store.has_lost(LogPosition(1))
            && !(durable.clocks().covers(known.clocks()) && known.deletes().subtract(durable.deletes()).is_empty())
    }

    fn compacted(&mut self) {
        let Some(parts) = self.host.as_mut().and_then(|host| host.compaction.take()) else { return };
        let base = (self.is_calm || self.rng.chance(85)).then(|| compact(&parts, &self.limits));
        self.handle(Input::Compacted { base });
        self.settle();
    }

    fn cut(&mut self) {
        let Some((content, have)) = self.host.as_mut().and_then(|host| host.cut.take()) else { return };
        let cut = (self.is_calm || self.rng.chance(85)).then(|| content.cut(&have));
        self.handle(Input::Cut { cut });
        self.settle();
    }

    fn snapshotted(&mut self) {
        let Some((covers, state)) = self.host.as_mut().and_then(|host| host.snapshot.take()) else { return };
        if self.store.has_lost(covers) {
            self.noticed();
            self.handle(Input::SnapshotLost);
            return self.settle();
        }
        let saved = self.mood != StoreMood::Failing || self.rng.chance(20);
        if saved || self.rng.chance(20) {
            self.store.snapshot(covers, state);
        }
        self.handle(Input::Snapshotted { saved });
        self.settle();
    }

    fn weather(&mut self) {
        if self.is_calm {
            return;
        }
        let pause = self.rng.spread(50, 8_000);
        self.after(pause, Event::Weather);
        match self.rng.below(15) {
            14 if self.loses => self.lose(),
            0 | 1 => self.mood = StoreMood::Failing,
            2 => self.mood = StoreMood::Slow,
            3..=5 => self.mood = StoreMood::Well,
            6 => self.crash(),
            7 if self.rng.chance(30) => self.tell(Input::Close),
            8 => {
                let now = Timestamp(self.now);
                if let Some(host) = &mut self.host {
                    host.room.leave_when_empty(now);
                    self.wake(0);
                }
            }
            9 | 10 => {
                let slow = self.rng.spread(1, 5_000);
                let members: Vec<MemberId> = self.sessions.keys().copied().collect();
                if !members.is_empty() {
                    let member = members[self.rng.index(members.len())];
                    self.sessions.entry(member).and_modify(|session| session.pace = slow);
                }
            }
            11 => self.rest_write(),
            12 => {
                // Everybody goes.
                for client in 0..self.clients.len() {
                    self.drop_socket(client);
                }
            }
            _ => {}
        }
    }

    fn rest_write(&mut self) {
        let Some(host) = &mut self.host else { return };
        self.next_mark += 1;
        let update = edited(&host.room.state(), 1 << 40 | self.next_request, &mut self.rng, self.next_mark);
        let scan = update::scan(&update, &self.limits).expect("an update");
        let request = RequestId(self.next_request);
        self.next_request += 1;
        host.answers.insert(request, update.clone());
        let update = Box::new(Scanned { update, scan, frame: None });
        let author = match &self.rights {
            Some(rights) => rights.admission(self.rng.index(self.clients.len())),
            None => Admission::anonymous(Access::EDITOR),
        };
        self.tell(Input::Write { request, author: Box::new(author), update });
    }

    /// The process is lost, with everything in it.
    fn crash(&mut self) {
        self.is_bereaved |= self.is_hurt();
        self.lost_unnoticed.clear();
        let Some(mut host) = self.host.take() else { return };
        // Viewers may have seen what a request wrote, and nobody else can bring that back.
        self.is_bereaved |= !host.answers.is_empty();
        if let Some((mut entries, after)) = host.append.take()
            && !after.is_some_and(|after| self.store.has_lost(after))
            && self.rng.chance(50)
        {
            // Where several nodes append, one may die before it has, and leave out what the entries of others rely on. Its client
            // brings it back.
            let first = entries.first().and_then(|first| self.sessions.get(&MemberId(first.session)));
            let author = first.map(|session| &self.clients[session.client]);
            let comes_back =
                author.is_some_and(|author| author.manners.converges() && author.manners.access.may_edit());
            if entries.len() > 1 && entries[0].source == Source::Socket && comes_back && self.rng.chance(50) {
                entries.remove(0);
                self.store.has_holes = true;
            }
            self.store.append(&entries);
        }
        self.check_authors();
        self.unsettled.clear();
        self.sessions.clear();
        for client in 0..self.clients.len() {
            if self.connected[client].take().is_some() {
                self.clients[client].closed();
                let back = self.rng.spread(100, 2_500);
                self.after(back, Event::Connect(client));
            }
        }
    }

    // What must hold.

    fn calm_down(&mut self) {
        self.is_calm = true;
        if self.play == Play::Revoking {
            self.restore_rights();
        }
        self.mood = StoreMood::Well;
        self.after(0, Event::Check);
        let members: Vec<MemberId> = self.sessions.keys().copied().collect();
        for member in members {
            let Some(session) = self.sessions.get_mut(&member) else { continue };
            session.pace = 1;
            // Sleeping writers and half-open sockets wake up.
            if session.writer_wakes {
                self.after(0, Event::Write(member));
            }
            if self.sessions[&member].is_dead {
                self.over(member);
            }
        }
        for client in 0..self.clients.len() {
            self.after(0, Event::Connect(client));
            if !self.is_dormant[client] {
                self.after(0, Event::Mesh(client));
            }
        }
    }

    fn check(&mut self) {
        self.check_authors();
        self.store.has_holes = false;
        let Some(host) = &mut self.host else { return assert!(self.connected.iter().all(Option::is_none)) };
        let state = host.room.state();
        let expected = portrait_of(&state);
        self.check_account(&Contents::of(&state), &expected.deletes);
        for (at, client) in self.clients.iter().enumerate() {
            let Some(member) = self.connected[at] else { continue };
            if client.manners.is_hostile || client.is_stranded {
                continue;
            }
            let session = &self.sessions[&member];
            assert!(!session.outbox.lags(member), "{member} is told nothing");
            let has_more = self.is_bereaved && !client.manners.access.may_edit();
            if client.manners.converges() && !has_more {
                let whose = format!("client {} ({member})", client.id);
                let portrait = client.portrait();
                if self.is_forged {
                    // Structs that waited in a document for others come to be in the provider's own transaction, of which it tells nobody
                    // until it is asked when it comes again. If they were forged, and the server has lost them, no author brings them back.
                    let is_as_much = portrait.clocks == expected.clocks;
                    let has_more = client.has_untold && portrait.clocks.covers(&expected.clocks);
                    assert!(
                        is_as_much || has_more,
                        "the clocks of {whose}: {:?}, {:?}",
                        portrait.clocks,
                        expected.clocks
                    );
                } else {
                    portrait.assert_is(&expected, self.is_contested, &whose);
                }
            }
            self.check_acks(at, session);
        }
        self.check_presence();
        let Some(host) = &self.host else { return };
        for client in self.clients.iter().filter(|client| !client.manners.access.may_edit()) {
            assert_eq!(host.room.clocks().get(client.id), 0, "a viewer's edit was taken");
        }
        self.store.check();
        assert!(host.room.is_settled() || self.tuning.snapshot_interval > Duration::from_secs(1));
        assert!(self.store.durable().clocks() == host.room.clocks(), "not all of it was saved");
        for client in 0..self.clients.len() {
            if self.clients[client].is_stranded {
                self.reload(client);
            }
        }
    }

    /// Every edit is there, as its author wrote it, or its author was told.
    fn check_account(&self, found: &Contents, deletes: &DeleteSet) {
        let is_honest = self.play == Play::Honest && !self.shares_ids;
        for edit in &self.account {
            let fate = edit.fate(found, deletes);
            let author = &self.clients[edit.author];
            assert!(
                fate == Fate::Kept || edit.is_told && !is_honest,
                "client {} ({}, {:?}): {fate:?} since {}, told: {}: {edit:?}",
                edit.author,
                author.id,
                author.manners,
                edit.made_at,
                edit.is_told
            );
        }
        let stranded = self.clients.iter().position(|client| client.is_stranded);
        assert!(!is_honest || stranded.is_none(), "client {stranded:?} is stranded");
    }

    fn check_acks(&self, client: usize, session: &Session) {
        let Client { manners, unsynced, .. } = &self.clients[client];
        if !manners.wants_acks {
            return;
        }
        // What came deleted first, and from its author later, may have been deleted by somebody who cannot have heard of it; where nobody
        // deletes what is another's, not. Who shows no presence may be the author of whatever it has.
        // What continues something that nobody else has, or builds on that, is refused, too.
        let lost: BTreeSet<ClientId> = self
            .came
            .differences(session.sent.iter().map(|(sent, _)| sent))
            .iter()
            .map(|(client, ..)| *client)
            .collect();
        let continues = |sent: &Bytes| pieces(sent).iter().any(|piece| lost.contains(&piece.client));
        let builds_on = |sent: &Bytes| !lost.is_empty() && !self.store.durable_has(sent);
        let came_gone = |sent: &Bytes| !(self.is_rush && manners.is_shown) && self.came.came_gone(sent);
        let differs = |sent: &Bytes| self.came.differs(sent) || came_gone(sent) || continues(sent) || builds_on(sent);
        let differing: Vec<bool> =
            session.sent.iter().filter(|(sent, _)| differs(sent)).map(|(_, counts)| *counts).collect();
        let is_lowered = session.is_lowered;
        let unjust = session.refused.saturating_sub(differing.len() as u32);
        let differing = differing.into_iter().filter(|counts| *counts).count() as u32;
        let what = format!("{} saved, {} refused of {}", session.saved, session.refused, session.frames);
        let may_edit = manners.access.may_edit();
        if manners.dialect != Dialect::YWebsocket && may_edit {
            assert!(is_lowered || session.saved + differing >= session.frames, "client {client}: {what} {manners:?}");
            assert!(*unsynced <= differing, "client {client}: {unsynced} unsynced changes, {what} {manners:?}");
        } else {
            assert_eq!(session.saved + session.refused, session.frames, "client {client}: {what} {manners:?}");
        }
        // Of who comes back while its old session is thought to live, more may wait than may be held.
        if may_edit && !is_lowered && self.limits.held_updates_max > 8 {
            assert_eq!(unjust, 0, "client {client}: {what}, {differing} differ {manners:?}");
        }
    }

    /// Everybody sees who is there, and nobody else.
    fn check_presence(&self) {
        let mut shown: BTreeMap<ClientId, Vec<&str>> = BTreeMap::new();
        for (client, _) in self.clients.iter().zip(&self.connected).filter(|(_, member)| member.is_some()) {
            if let Some(state) = client.state() {
                shown.entry(client.id).or_default().push(state);
            }
        }
        let hidden: BTreeSet<ClientId> = (self.clients.iter().zip(&self.connected))
            .filter(|(client, member)| member.is_some() && client.manners.is_shown && client.state().is_none())
            .map(|(client, _)| client.id)
            .collect();
        let hostile: BTreeSet<ClientId> =
            self.clients.iter().filter(|client| client.manners.is_hostile).map(|client| client.id).collect();
        // One that shows nothing takes what others say under its id for its own, and need not be seen.
        let shows = |id: &ClientId| self.clients.iter().any(|client| client.id == *id && client.manners.is_shown);
        let was_shared = |id: &ClientId| {
            self.shared.contains(id) || self.clients.iter().filter(|client| client.id == *id).count() > 1
        };
        let mut agreed: BTreeMap<ClientId, &str> = BTreeMap::new();
        for (client, member) in self.clients.iter().zip(&self.connected) {
            let Some(member) = *member else { continue };
            if client.manners.is_hostile || !client.manners.is_aware {
                continue;
            }
            let who = || {
                let clients = self.clients.iter().zip(&self.connected);
                let clients = clients.map(|(client, member)| (client.id, *member, client.state(), client.manners));
                format!("client {} ({member}) of {:?}", client.id, clients.collect::<Vec<_>>())
            };
            // Without a state it says nothing when it comes back, so others show themselves when they renew; so they do to
            // one that read so slowly that its own timer gave them up.
            let sees_late = client.state().is_none() || client.came_silently || self.now - client.gave_up_at < RENEWED;
            let sees = client.sees();
            for (id, states) in &shown {
                let is_known = !hostile.contains(id) && !self.silenced.contains(id) && *id != client.id;
                match sees.get(id) {
                    _ if !is_known => {}
                    // Of two connections that show one id the other one may have said goodbye for both.
                    // And a room that was opened a moment ago does not know how far others have heard of them.
                    None => {
                        let is_new = self.now - self.opened_at < RENEWED && was_shared(id);
                        assert!(
                            sees_late || hidden.contains(id) || is_new || !shows(id),
                            "{id} is not seen by {}",
                            who()
                        );
                    }
                    // A liar may be seen as whoever it pretends to be.
                    Some(_) if self.lied_about.contains(id) => {}
                    Some(state) => {
                        assert!(states.contains(state), "{id} is seen as {state}, not as {states:?} by {}", who());
                        let agreed = agreed.entry(*id).or_insert(state);
                        assert_eq!(agreed, state, "{id} is seen in two ways, one of them by {}", who());
                    }
                }
            }
            let gone = sees.keys().find(|id| {
                let is_somebodys = self.clients.iter().any(|client| client.id == **id) && **id != client.id;
                let is_lie = self.lied_about.contains(id) || self.silenced.contains(id) || hostile.contains(id);
                is_somebodys && !is_lie && !shown.contains_key(id)
            });
            assert_eq!(gone, None, "who is not there is seen by {}", who());
        }
    }

    /// Nobody gets back by a flush what the log says it wrote.
    fn check_authors(&mut self) {
        if !self.few_authors {
            return;
        }
        for (member, session) in &mut self.sessions {
            let written = self.store.written.get(&member.0).map_or(&[][..], Vec::as_slice);
            for (client, start, end) in session.told.drain(..) {
                let is_own = |own: &&Written| own.0 == client && own.1 < end && start < own.2;
                if let Some(own) = written.iter().find(is_own) {
                    panic!("{member} got its own {own:?} back");
                }
            }
        }
    }

    /// Everybody goes, the room is let go, and a newcomer finds what all had.
    fn finish(&mut self) {
        let is_live = self.host.is_some();
        self.is_finished = true;
        self.tell(Input::Close);
        for client in 0..self.clients.len() {
            self.connected[client] = None;
        }
        let members: Vec<MemberId> = self.sessions.keys().copied().collect();
        for member in members {
            self.over(member);
        }
        self.run(self.now + 30_000);
        assert!(self.host.is_none(), "the room does not end");
        let Some(left) = self.left_with.take().filter(|_| is_live) else { return };
        let expected = portrait_of(&left);
        self.open();
        let state = host_mut(&mut self.host).room.state();
        portrait_of(&state).assert_is(&expected, self.is_forged, "the store");
    }
}

/// Counts what of a session's updates is durable by now: as it was sent, unless it was invented.
fn count_durable(session: &mut Session, is_hostile: bool, durable: &Knowledge, contents: &Contents) {
    let before = session.unsaved.len();
    session.unsaved.retain(|update| {
        let scan = update::scan(update, &Limits::default()).expect("an update");
        !durable.contains(update, &scan) || !is_hostile && contents.replaces(update, durable.deletes())
    });
    session.durable += (before - session.unsaved.len()) as u32;
}

fn host_mut(host: &mut Option<Host>) -> &mut Host {
    host.as_mut().expect("the room is live")
}
