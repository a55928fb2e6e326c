//! Everybody in one room moves a cursor: latency and CPU per move.
//!
//! Cursors may be skipped, since only the newest counts: a move has reached a member once that move or a newer one shows.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{CONNECTS_AT_ONCE, SETTLE, drive, in_parallel, report_trouble, wait_until};
use crate::dialect::{self, awareness_entries};
use crate::report::{Report, latencies, report_memory};
use crate::schedule::{Schedule, Tick};
use crate::session::{Announcement, Member, Session, World, count};

const FIRST_CLIENT: u64 = 0x7100_0000;

/// The awareness clock of the announcement; the n-th move has the n-th clock behind it.
const CLOCK_JOINED: u64 = 1;

/// Who is there and how often they move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) cursors: usize,
    /// Moves per second and cursor.
    pub(crate) rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// How long the last moves may take to arrive.
    pub(crate) drain: Duration,
    /// Whether clients send back what was new to them, as y-websocket's and older Hocuspocus clients do (yjs#732).
    pub(crate) echo: bool,
}

#[derive(Debug)]
struct Shared {
    schedule: OnceCell<Rc<Schedule>>,
    latency: RefCell<Histogram<u64>>,
    /// Measured moves that arrived or were overtaken by a newer one.
    shown: Cell<u64>,
    /// Entries that were new to their receiver, since the measured part began.
    entries: Cell<u64>,
    echoes: Cell<u64>,
    removed: Cell<u64>,
}

struct Onlooker {
    shared: Rc<Shared>,
    own: usize,
    echo: bool,
    /// The newest clock of each cursor.
    known: Vec<u64>,
}

/// Runs `plan`.
pub(crate) async fn run(world: &Rc<World>, plan: Plan) -> Result<Report> {
    let shared = Rc::new(Shared {
        schedule: OnceCell::new(),
        latency: RefCell::new(latencies()),
        shown: Cell::default(),
        entries: Cell::default(),
        echoes: Cell::default(),
        removed: Cell::default(),
    });
    let sessions = {
        let (world, shared) = (world.clone(), shared.clone());
        in_parallel(plan.cursors, CONNECTS_AT_ONCE, move |own| {
            let (world, shared) = (world.clone(), shared.clone());
            async move {
                let member = Onlooker { shared, own, echo: plan.echo, known: vec![0; plan.cursors] };
                let announcement =
                    Announcement { client: FIRST_CLIENT + own as u64, clock: CLOCK_JOINED, state: state(own, 0) };
                let room = format!("{}-{:x}", plan.name, world.run);
                let session = Session::join(&world, &room, member, Some(announcement)).await?;
                session.wait_synced(world.dialect).await?;
                Ok(session)
            }
        })
        .await?
    };
    tokio::time::sleep(SETTLE).await;

    let start = Instant::now() + Duration::from_millis(100);
    let schedule = Rc::new(Schedule::new(start, plan.cursors, plan.rate, plan.warm_up, plan.measured));
    shared.schedule.set(schedule.clone()).expect("it is set once");
    let send = move |Tick { source, round }: Tick| {
        let clock = CLOCK_JOINED + 1 + round;
        sessions[source].send(&dialect::awareness(FIRST_CLIENT + source as u64, clock, &state(source, clock)));
    };
    let begun = || {
        shared.entries.set(0);
        shared.echoes.set(0);
    };
    let driven = drive(world, &schedule, send, begun).await?;
    let (entries, echoes) = (shared.entries.get(), shared.echoes.get());
    let moves = plan.cursors as u64 * schedule.rounds().1;
    let expected = moves * (plan.cursors - 1) as u64;
    wait_until(plan.drain, || shared.shown.get() >= expected).await;

    let mut report = Report::new(plan.name);
    report.setting("cursors", plan.cursors);
    report.setting("rate", plan.rate);
    report.setting("seconds", plan.measured.as_secs_f64());
    driven.watched.report_cpu(&mut report, "cpu_us_per_move", "server CPU per move", moves);
    report.latency("latency", "move until it or a newer one shows", &shared.latency.borrow());
    let per_move = |n: u64| n as f64 / moves.max(1) as f64;
    report.figure("frames_per_move", "frames per move", per_move(driven.frames), "");
    report.figure("entries_per_move", "new entries per move", per_move(entries), "");
    report.figure("bytes_per_move", "bytes per move", per_move(driven.bytes), "B");
    if plan.echo {
        report.figure("echoes_per_move", "frames echoed per move", per_move(echoes), "");
    }
    let lost = expected.saturating_sub(shared.shown.get()) as f64 / expected.max(1) as f64 * 100.0;
    report.figure("lost_percent", "never shown, not even a newer one", lost, "%");
    if shared.removed.get() > 0 {
        report.warn(format!("{} times a cursor disappeared in the middle of the run", shared.removed.get()));
    }
    report_memory(&mut report, world.server.as_ref())?;
    driven.report(&mut report);
    report_trouble(&mut report, world);
    Ok(report)
}

/// Presence as applications write it.
fn state(cursor: usize, step: u64) -> String {
    let (x, y) = (step * 7 % 1920, step * 3 % 1080);
    format!(r##"{{"user":{{"name":"User {cursor}","color":"#30bced"}},"cursor":{{"x":{x},"y":{y}}}}}"##)
}

impl Member for Onlooker {
    fn update(&mut self, _: &[u8], _: Instant) {}

    fn awareness(&mut self, session: &Session, entries: &[u8], at: Instant) {
        let mut news = Vec::new();
        let mut news_count = 0;
        for entry in awareness_entries(entries) {
            let cursor = entry.client.wrapping_sub(FIRST_CLIENT) as usize;
            if cursor == self.own {
                continue;
            }
            let Some(known) = self.known.get_mut(cursor) else { continue };
            if entry.state == b"null" && entry.clock >= *known {
                count(&self.shared.removed, 1);
            }
            if entry.clock <= *known {
                continue;
            }
            let news_of = *known + 1..=entry.clock;
            *known = entry.clock;
            news_count += 1;
            if self.echo {
                news.extend_from_slice(entry.bytes);
            }
            self.shared.shown(cursor, news_of, at);
        }
        count(&self.shared.entries, news_count);
        if self.echo && news_count > 0 {
            session.send(&dialect::awareness_of(news_count, &news));
            count(&self.shared.echoes, 1);
        }
    }
}

impl Shared {
    /// Notes that moves of `cursor` show, those that were skipped included.
    fn shown(&self, cursor: usize, clocks: std::ops::RangeInclusive<u64>, at: Instant) {
        let Some(schedule) = self.schedule.get() else { return };
        let now = schedule.micros(at);
        let mut latency = self.latency.borrow_mut();
        for round in clocks.filter_map(|clock| clock.checked_sub(CLOCK_JOINED + 1)) {
            if schedule.is_measured(round) {
                count(&self.shown, 1);
                latency.saturating_record(now.saturating_sub(schedule.due(cursor, round)));
            }
        }
    }
}
