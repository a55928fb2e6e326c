//! Writers drag widgets, everybody in the room follows: latency and CPU per delivered update.
//!
//! A delivery is one edit that newly reaches one member other than its author, in whichever frame and however merged.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{CONNECTS_AT_ONCE, SETTLE, drive, in_parallel, report_trouble, wait_until};
use crate::author::Author;
use crate::dialect;
use crate::received::for_each_span;
use crate::report::{Report, latencies, report_memory};
use crate::schedule::Schedule;
use crate::session::{Announcement, Member, Session, World, count};

/// Ids of this size are what Yjs 13 draws: five bytes as a varint.
const FIRST_CLIENT: u64 = 0x7000_0000;

/// Who is there and how often they edit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) rooms: usize,
    /// Per room.
    pub(crate) writers: usize,
    /// Per room.
    pub(crate) readers: usize,
    /// Edits per second and writer.
    pub(crate) rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// How long the last edits may take to arrive.
    pub(crate) drain: Duration,
    /// Whether the server says when an edit is saved, and that is measured.
    pub(crate) acks: bool,
}

/// What all members of all rooms share.
#[derive(Debug)]
struct Shared {
    world: Rc<World>,
    schedule: OnceCell<Rc<Schedule>>,
    /// Everything that arrived since the measured part began, whenever it was sent.
    deliveries: Cell<u64>,
    /// What of the measured turns arrived, whenever.
    arrived: Cell<u64>,
    repeated: Cell<u64>,
    saved: Cell<u64>,
    refused: Cell<u64>,
    /// From a writer on the same node.
    latency: RefCell<Histogram<u64>>,
    /// From a writer on another node.
    cross_latency: RefCell<Histogram<u64>>,
    save_latency: RefCell<Histogram<u64>>,
}

/// The sending half of a writer.
struct Writer {
    author: RefCell<Author>,
    /// The turns without an answer; `None` for a SyncStep2, which is answered as well.
    unsaved: RefCell<VecDeque<Option<u64>>>,
    session: OnceCell<Session>,
}

/// The receiving half of everybody.
struct RoomMember {
    shared: Rc<Shared>,
    node: usize,
    /// The room's writers among all.
    writers: Range<usize>,
    own: Option<(usize, Rc<Writer>)>,
    seen: Vec<Seen>,
}

/// Which edits of one writer arrived, by clock.
#[derive(Default)]
struct Seen {
    bits: Vec<u64>,
}

/// Runs `plan`.
pub(crate) async fn run(world: &Rc<World>, plan: Plan) -> Result<Report> {
    let shared = Rc::new(Shared {
        world: world.clone(),
        schedule: OnceCell::new(),
        deliveries: Cell::default(),
        arrived: Cell::default(),
        repeated: Cell::default(),
        saved: Cell::default(),
        refused: Cell::default(),
        latency: RefCell::new(latencies()),
        cross_latency: RefCell::new(latencies()),
        save_latency: RefCell::new(latencies()),
    });
    let writers: Rc<Vec<Rc<Writer>>> = Rc::new(
        (0..plan.rooms * plan.writers)
            .map(|index| {
                let author = Author::new(FIRST_CLIENT + index as u64, format!("w{}", index % plan.writers));
                Rc::new(Writer { author: RefCell::new(author), unsaved: RefCell::default(), session: OnceCell::new() })
            })
            .collect(),
    );
    let _sessions = join(world, plan, &shared, &writers).await?;
    tokio::time::sleep(SETTLE).await;

    let start = Instant::now() + Duration::from_millis(100);
    let schedule = Rc::new(Schedule::new(start, writers.len(), plan.rate, plan.warm_up, plan.measured));
    shared.schedule.set(schedule.clone()).expect("it is set once");
    let driven = {
        let (shared, writers, schedule) = (shared.clone(), writers.clone(), schedule.clone());
        let send = move |tick: crate::schedule::Tick| {
            let writer = &writers[tick.source];
            let edit = writer.author.borrow_mut().set(schedule.due(tick.source, tick.round));
            if let Some(session) = writer.session.get() {
                writer.unsaved.borrow_mut().push_back(Some(tick.round));
                session.send(&dialect::update(&edit));
            }
        };
        drive(world, shared.schedule.get().expect("it was set above"), send, || shared.deliveries.set(0)).await?
    };
    let deliveries = shared.deliveries.get();

    let edits = writers.len() as u64 * schedule.rounds().1;
    let expected = edits * (plan.writers + plan.readers - 1) as u64;
    let is_done =
        || shared.arrived.get() >= expected && (!plan.acks || shared.saved.get() + shared.refused.get() >= edits);
    wait_until(plan.drain, is_done).await;

    let mut report = Report::new(plan.name);
    report.setting("rooms", plan.rooms);
    report.setting("writers", plan.writers);
    report.setting("readers", plan.readers);
    report.setting("rate", plan.rate);
    report.setting("seconds", plan.measured.as_secs_f64());
    if world.targets.len() > 1 {
        report.setting("nodes", world.targets.len());
    }
    if plan.acks {
        report.latency("save", "edit until said to be saved", &shared.save_latency.borrow());
        let missing = edits.saturating_sub(shared.saved.get());
        report.figure("unsaved_percent", "edits never said to be saved", percent(missing, edits), "%");
        if shared.refused.get() > 0 {
            report.warn(format!("{} edits were refused", shared.refused.get()));
        }
    }
    driven.watched.report_cpu(&mut report, "cpu_us_per_delivery", "server CPU per delivery", deliveries);
    driven.watched.report_cpu(
        &mut report,
        "cpu_us_per_edit",
        "server CPU per edit",
        rate_edits(&plan, driven.watched.elapsed) as u64,
    );
    report.latency("latency", "edit until it arrived", &shared.latency.borrow());
    if world.targets.len() > 1 {
        report.latency("cross_latency", "edit until it arrived on another node", &shared.cross_latency.borrow());
    }
    let per_second = deliveries as f64 / driven.watched.elapsed.as_secs_f64();
    report.figure("deliveries_per_s", "deliveries", per_second, "/s");
    report.figure("frames_per_delivery", "frames per delivery", driven.frames as f64 / deliveries.max(1) as f64, "");
    report.figure("bytes_per_delivery", "bytes per delivery", driven.bytes as f64 / deliveries.max(1) as f64, "B");
    let lost = expected.saturating_sub(shared.arrived.get());
    report.figure("lost_percent", "lost", percent(lost, expected), "%");
    report.figure("repeated_percent", "delivered again", percent(shared.repeated.get(), expected), "%");
    if let Some(work) = driven.redis {
        work.report(&mut report, rate_edits(&plan, driven.watched.elapsed));
    }
    report_memory(&mut report, world.server.as_ref())?;
    driven.report(&mut report);
    report_trouble(&mut report, world);
    Ok(report)
}

async fn join(
    world: &Rc<World>,
    plan: Plan,
    shared: &Rc<Shared>,
    writers: &Rc<Vec<Rc<Writer>>>,
) -> Result<Vec<Session>> {
    let members = plan.writers + plan.readers;
    let (world, shared, writers) = (world.clone(), shared.clone(), writers.clone());
    in_parallel(plan.rooms * members, CONNECTS_AT_ONCE, move |index| {
        let (world, shared, writers) = (world.clone(), shared.clone(), writers.clone());
        async move {
            // Member by member through all rooms, as real users come.
            let (room, seat) = (index % plan.rooms, index / plan.rooms);
            let first = room * plan.writers;
            let own = (seat < plan.writers).then(|| (first + seat, writers[first + seat].clone()));
            let client = match &own {
                Some((_, writer)) => writer.author.borrow().client(),
                None => FIRST_CLIENT + (writers.len() + index) as u64,
            };
            let node = seat % world.targets.len();
            let member = RoomMember {
                shared,
                node,
                writers: first..first + plan.writers,
                own: own.clone(),
                seen: (0..plan.writers).map(|_| Seen::default()).collect(),
            };
            let room = format!("{}-{:x}-{room}", plan.name, world.run);
            let session = Session::join_at(&world, node, &room, member, Some(Announcement::silent(client))).await?;
            session.wait_synced(world.dialect).await?;
            if let Some((_, writer)) = own {
                writer.session.set(session.clone()).expect("a writer has one seat");
            }
            Ok(session)
        }
    })
    .await
}

impl Member for RoomMember {
    fn state(&self) -> Vec<u8> {
        self.own.as_ref().map_or_else(|| vec![0, 0], |(_, writer)| writer.author.borrow().state())
    }

    fn answered(&mut self) {
        if let Some((_, writer)) = &self.own {
            writer.unsaved.borrow_mut().push_back(None);
        }
    }

    fn update(&mut self, update: &[u8], at: Instant) {
        let RoomMember { shared, node, writers, own, seen } = self;
        let Some(schedule) = shared.schedule.get() else { return };
        let own = own.as_ref().map(|(index, _)| *index);
        let now = schedule.micros(at);
        let nodes = shared.world.targets.len();
        let (mut latency, mut cross_latency) = (shared.latency.borrow_mut(), shared.cross_latency.borrow_mut());
        let read = for_each_span(update, |client, clock, len| {
            let source = client.wrapping_sub(FIRST_CLIENT) as usize;
            if own == Some(source) || !writers.contains(&source) {
                return;
            }
            for round in clock..clock + len {
                if !seen[source - writers.start].insert(round) {
                    count(&shared.repeated, 1);
                    continue;
                }
                count(&shared.deliveries, 1);
                if schedule.is_measured(round) {
                    count(&shared.arrived, 1);
                    let is_near = (source - writers.start) % nodes == *node;
                    let latency = if is_near { &mut latency } else { &mut cross_latency };
                    latency.saturating_record(now.saturating_sub(schedule.due(source, round)));
                }
            }
        });
        if read.is_err() {
            count(&shared.world.surprises, 1);
        }
    }

    fn saved(&mut self, is_saved: bool, at: Instant) {
        let Some((source, writer)) = &self.own else { return };
        let Some(Some(round)) = writer.unsaved.borrow_mut().pop_front() else { return };
        let Some(schedule) = self.shared.schedule.get() else { return };
        if !schedule.is_measured(round) {
            return;
        }
        if is_saved {
            count(&self.shared.saved, 1);
            let waited = schedule.micros(at).saturating_sub(schedule.due(*source, round));
            self.shared.save_latency.borrow_mut().saturating_record(waited);
        } else {
            count(&self.shared.refused, 1);
        }
    }
}

impl Seen {
    /// Notes `clock`; `false` if it was noted before.
    fn insert(&mut self, clock: u64) -> bool {
        let (word, bit) = ((clock / 64) as usize, 1 << (clock % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }
}

/// Edits that were due in `elapsed`.
fn rate_edits(plan: &Plan, elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * plan.rate * (plan.rooms * plan.writers) as f64
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_is_new_once() {
        let mut seen = Seen::default();
        assert!([0, 63, 64, 200].iter().all(|&clock| seen.insert(clock)));
        assert!(![0, 63, 64, 200].iter().any(|&clock| seen.insert(clock)));
        assert!(seen.insert(199));
    }
}
