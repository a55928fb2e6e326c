//! The command line.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::connection::Target;
use crate::dialect::Dialect;
use crate::process::Process;
use crate::report::Report;
use crate::scenario::{cursors, edits, idle, join, restart, rooms_left};
use crate::session::World;
use crate::{relay, table};

/// Open-loop load against any Yjs server.
#[derive(Debug, Parser)]
#[command(name = "load-tests", version)]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// 1 room, 5 writers at 10/s, 95 readers
    FewWriters(EditArgs),
    /// 1 room, 20 writers dragging at 25/s, 180 readers
    BusyRoom(EditArgs),
    /// 200 rooms of 2 writers at 5/s and 3 readers
    ManyRooms(EditArgs),
    /// 1 room, 2 writers at 2/s, 10,000 readers
    Viewers(EditArgs),
    /// 50 rooms of 2 writers at 5/s: time until an edit is said to be saved (`?acks=1`)
    Durable(EditArgs),
    /// 20 rooms of 3 writers at 5/s and 6 readers, spread over the nodes that `--url` names
    Nodes(EditArgs),
    /// 100 cursors at 20/s in one room
    Cursors(CursorArgs),
    /// 30 cursors at 10/s whose clients send back what was new to them, as stock clients do
    EchoingCursors(CursorArgs),
    /// 5,000 idle sessions in 500 rooms: memory per session, CPU per join
    Idle(IdleArgs),
    /// 50 clients join a document of 225 KB at once
    JoinLarge(JoinArgs),
    /// 2,000 rooms opened, edited and left: memory that stays
    RoomsLeft(RoomsLeftArgs),
    /// 1,000 clients in 100 rooms come back after a restart: time until all are in sync again
    RestartStorm(RestartArgs),
    /// Serve as a relay that knows nothing of Yjs
    Relay(RelayArgs),
    /// Lay saved results out as a Markdown table
    Table {
        /// Directory of the JSON files
        directory: PathBuf,
    },
}

/// The server and the report.
#[derive(Debug, Args)]
struct Common {
    /// Where the server listens; a path and a query are passed on with every connection. Scenarios of edits take several, one
    /// for each node: members of a room take turns at them
    #[arg(long, default_value = "ws://127.0.0.1:1234", value_delimiter = ',')]
    url: Vec<String>,
    /// What the server speaks
    #[arg(long, value_enum, default_value = "y-websocket")]
    dialect: Dialect,
    /// Tokens, a line each: connections take turns at them. Of the y-websocket dialect
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Process whose CPU time and memory are read, or the sum over several; without it only latencies are measured
    #[arg(long, value_name = "PID,..", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Redis whose work is counted, as `host:port`
    #[arg(long, value_name = "ADDR")]
    redis: Option<String>,
    /// The server's name in the results
    #[arg(long, default_value = "server")]
    label: String,
    /// Also write the results as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

/// How long to load.
#[derive(Debug, Args)]
struct Span {
    /// Seconds that are measured
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Seconds of the same load before that
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// Seconds that the last messages may take to arrive
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
}

#[derive(Debug, Args)]
struct EditArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    span: Span,
    /// Rooms
    #[arg(long)]
    rooms: Option<usize>,
    /// Writers per room
    #[arg(long)]
    writers: Option<usize>,
    /// Members per room that only read
    #[arg(long)]
    readers: Option<usize>,
    /// Edits per second and writer
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Debug, Args)]
struct CursorArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    span: Span,
    /// Cursors
    #[arg(long)]
    cursors: Option<usize>,
    /// Moves per second and cursor
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Debug, Args)]
struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// Sessions
    #[arg(long, default_value_t = 5000)]
    sessions: usize,
    /// Rooms
    #[arg(long, default_value_t = 500)]
    rooms: usize,
    /// Seconds between the last join and reading memory
    #[arg(long, default_value_t = 5.0)]
    settle: f64,
}

#[derive(Debug, Args)]
struct JoinArgs {
    #[command(flatten)]
    common: Common,
    /// Clients that join at once
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Size of the document
    #[arg(long, default_value_t = 225_000)]
    document_bytes: usize,
    /// How often they do it
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

#[derive(Debug, Args)]
struct RoomsLeftArgs {
    #[command(flatten)]
    common: Common,
    /// Rooms per pass
    #[arg(long, default_value_t = 2000)]
    rooms: usize,
    /// Edits per room
    #[arg(long, default_value_t = 10)]
    edits: u64,
    /// Seconds between leaving the last room and reading memory: more than the server keeps an empty room
    #[arg(long, default_value_t = 75.0)]
    settle: f64,
}

#[derive(Debug, Args)]
struct RestartArgs {
    #[command(flatten)]
    common: Common,
    /// Clients
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Rooms
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Edits per room before the restart
    #[arg(long, default_value_t = 100)]
    edits: u64,
    /// Created once everybody is there: restart the server then
    #[arg(long, value_name = "FILE")]
    ready: Option<PathBuf>,
    /// Seconds that the restart and the return may take
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
}

#[derive(Debug, Args)]
struct RelayArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:1234")]
    listen: String,
    /// Join what a room collects in so many milliseconds into one frame
    #[arg(long, value_name = "MILLISECONDS")]
    join_ms: Option<u64>,
}

impl Command {
    /// Does what was asked for.
    pub(crate) async fn run(self) -> Result<()> {
        match self.action {
            Action::FewWriters(args) => args.run("few-writers", 1, 5, 95, 10.0).await,
            Action::BusyRoom(args) => args.run("busy-room", 1, 20, 180, 25.0).await,
            Action::ManyRooms(args) => args.run("many-rooms", 200, 2, 3, 5.0).await,
            Action::Viewers(args) => args.run("viewers", 1, 2, 10_000, 2.0).await,
            Action::Durable(args) => args.run(DURABLE, 50, 2, 0, 5.0).await,
            Action::Nodes(args) => args.run("nodes", 20, 3, 6, 5.0).await,
            Action::Cursors(args) => args.run("cursors", 100, 20.0, false).await,
            Action::EchoingCursors(args) => args.run("echoing-cursors", 30, 10.0, true).await,
            Action::Idle(args) => args.run().await,
            Action::JoinLarge(args) => args.run().await,
            Action::RoomsLeft(args) => args.run().await,
            Action::RestartStorm(args) => args.run().await,
            Action::Relay(args) => relay::serve(&args.listen, args.join_ms.map(Duration::from_millis)).await,
            Action::Table { directory } => {
                println!("{}", table::markdown(&directory)?);
                Ok(())
            }
        }
    }
}

/// The scenario that asks for acks.
const DURABLE: &str = "durable";

impl EditArgs {
    async fn run(self, name: &'static str, rooms: usize, writers: usize, readers: usize, rate: f64) -> Result<()> {
        let acks = name == DURABLE;
        let mut world = self.common.world()?;
        if acks && world.dialect == Dialect::YWebsocket {
            world.targets.iter_mut().for_each(|target| target.add_query("acks=1"));
        }
        let plan = edits::Plan {
            name,
            rooms: self.rooms.unwrap_or(rooms),
            writers: self.writers.unwrap_or(writers),
            readers: self.readers.unwrap_or(readers),
            rate: self.rate.unwrap_or(rate),
            warm_up: seconds(self.span.warm_up)?,
            measured: seconds(self.span.seconds)?,
            drain: seconds(self.span.drain)?,
            acks,
        };
        self.common.finish(&edits::run(&Rc::new(world), plan).await?)
    }
}

impl CursorArgs {
    async fn run(self, name: &'static str, cursors: usize, rate: f64, echo: bool) -> Result<()> {
        let plan = cursors::Plan {
            name,
            cursors: self.cursors.unwrap_or(cursors),
            rate: self.rate.unwrap_or(rate),
            warm_up: seconds(self.span.warm_up)?,
            measured: seconds(self.span.seconds)?,
            drain: seconds(self.span.drain)?,
            echo,
        };
        self.common.finish(&cursors::run(&Rc::new(self.common.world()?), plan).await?)
    }
}

impl IdleArgs {
    async fn run(self) -> Result<()> {
        let plan = idle::Plan { sessions: self.sessions, rooms: self.rooms.max(1), settle: seconds(self.settle)? };
        self.common.finish(&idle::run(&Rc::new(self.common.world()?), plan).await?)
    }
}

impl JoinArgs {
    async fn run(self) -> Result<()> {
        let plan = join::Plan { clients: self.clients, document_bytes: self.document_bytes, rounds: self.rounds };
        self.common.finish(&join::run(&Rc::new(self.common.world()?), plan).await?)
    }
}

impl RoomsLeftArgs {
    async fn run(self) -> Result<()> {
        let plan = rooms_left::Plan { rooms: self.rooms, edits: self.edits, settle: seconds(self.settle)? };
        self.common.finish(&rooms_left::run(&Rc::new(self.common.world()?), plan).await?)
    }
}

impl RestartArgs {
    async fn run(self) -> Result<()> {
        let plan = restart::Plan {
            clients: self.clients,
            rooms: self.rooms.max(1),
            edits: self.edits,
            patience: seconds(self.patience)?,
        };
        let report = restart::run(&Rc::new(self.common.world()?), plan, self.ready.as_deref()).await?;
        self.common.finish(&report)
    }
}

impl Common {
    fn world(&self) -> Result<World> {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("read the clock")?;
        let tokens = match &self.tokens {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
            None => String::new(),
        };
        Ok(World {
            targets: self.url.iter().map(|url| Target::parse(url)).collect::<Result<_>>()?,
            dialect: self.dialect,
            tokens: tokens.lines().map(str::to_owned).collect(),
            tokens_shown: Default::default(),
            server: (!self.server_pid.is_empty()).then(|| Process::new(&self.server_pid)).transpose()?,
            redis: self.redis.clone(),
            run: since_epoch.as_millis() as u64,
            frames_received: Default::default(),
            bytes_received: Default::default(),
            surprises: Default::default(),
            closed_early: Default::default(),
            close_reasons: Default::default(),
        })
    }

    fn finish(&self, report: &Report) -> Result<()> {
        if self.json.as_deref() != Some("-") {
            print!("{report}");
        }
        self.json.as_deref().map_or(Ok(()), |path| report.save(&self.label, path))
    }
}

fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).context("take a span of time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Command::command().debug_assert();
    }
}
