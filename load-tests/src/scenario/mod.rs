//! What is done to the server, and what of it is measured.

pub(crate) mod cursors;
pub(crate) mod edits;
pub(crate) mod idle;
pub(crate) mod join;
pub(crate) mod restart;
pub(crate) mod rooms_left;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::redis::Work;
use crate::report::{Report, Watch, Watched};
use crate::schedule::{Schedule, Tick};
use crate::session::World;

/// Connections that are made at once, so that a listen queue never overflows.
const CONNECTS_AT_ONCE: usize = 32;

/// How long the server is left alone after everybody joined.
const SETTLE: Duration = Duration::from_millis(1500);

/// Runs `work(0..count)`, at most `at_once` at a time, and returns the results in order.
async fn in_parallel<T, W, F>(count: usize, at_once: usize, work: W) -> Result<Vec<T>>
where
    T: 'static,
    W: Fn(usize) -> F + 'static,
    F: Future<Output = Result<T>>,
{
    let (next, work) = (Rc::new(Cell::new(0)), Rc::new(work));
    let mut workers = Vec::new();
    for _ in 0..at_once.min(count) {
        let (next, work) = (next.clone(), work.clone());
        workers.push(tokio::task::spawn_local(async move {
            let mut done = Vec::new();
            while next.get() < count {
                let index = next.replace(next.get() + 1);
                done.push((index, work(index).await?));
            }
            anyhow::Ok(done)
        }));
    }
    let mut results = Vec::with_capacity(count);
    for worker in workers {
        results.extend(worker.await.context("join a worker")??);
    }
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// What happened while the load ran.
struct Driven {
    watched: Watched,
    frames: u64,
    bytes: u64,
    redis: Option<Work>,
    /// How late the generator itself was, in microseconds.
    lateness: Histogram<u64>,
}

/// Sends by `schedule`, calling `send` for each turn, and watches the measured part; `begun` is called as that begins.
async fn drive(
    world: &Rc<World>,
    schedule: &Rc<Schedule>,
    mut send: impl FnMut(Tick) + 'static,
    begun: impl FnOnce(),
) -> Result<Driven> {
    let (begin, end) = schedule.window();
    let mut ticks = schedule.run();
    let sender = tokio::task::spawn_local({
        let schedule = schedule.clone();
        async move {
            let mut lateness = crate::report::latencies();
            while let Some(tick) = ticks.recv().await {
                lateness.saturating_record(schedule.now().saturating_sub(schedule.due(tick.source, tick.round)));
                send(tick);
            }
            lateness
        }
    });
    tokio::time::sleep_until(begin.into()).await;
    let watch = Watch::begin(world.server.as_ref())?;
    let (frames, bytes) = (world.frames_received.get(), world.bytes_received.get());
    let redis_before = world.redis.as_deref().map(Work::so_far).transpose()?;
    begun();
    tokio::time::sleep_until(end.into()).await;
    let watched = watch.end()?;
    let redis = world.redis.as_deref().map(Work::so_far).transpose()?.zip(redis_before).map(|(now, then)| now - then);
    Ok(Driven {
        watched,
        redis,
        frames: world.frames_received.get() - frames,
        bytes: world.bytes_received.get() - bytes,
        lateness: sender.await.context("join the sender")?,
    })
}

impl Driven {
    fn report(&self, report: &mut Report) {
        self.watched.report_load(report);
        let p99 = self.lateness.value_at_quantile(0.99) as f64 / 1e3;
        report.figure("generator_late_p99_ms", "generator late by, p99", p99, "ms");
    }
}

/// Waits until `is_done`, or for `at_most`.
async fn wait_until(at_most: Duration, mut is_done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_done() && begin.elapsed() < at_most {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Adds what went wrong, if anything did.
fn report_trouble(report: &mut Report, world: &World) {
    if world.closed_early.get() > 0 {
        let reasons = world.close_reasons.borrow().join("; ");
        report.warn(format!("{} sockets ended early: {reasons}", world.closed_early.get()));
    }
    if world.surprises.get() > 0 {
        report.warn(format!("{} messages were refusals or not understood", world.surprises.get()));
    }
}
