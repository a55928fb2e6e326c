//! Many open a large dashboard at the same moment: latency until it is there, CPU per join.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{SETTLE, in_parallel, report_trouble};
use crate::author::filled;
use crate::dialect;
use crate::received::for_each_span;
use crate::report::{Report, Watch, Watched, latencies, report_memory};
use crate::session::{Announcement, Bystander, Member, Session, World, count};

const AUTHOR: u64 = 0x7300_0000;
const FIRST_CLIENT: u64 = AUTHOR + 1;

/// With its key, parent and framing, a value of this size takes 71 bytes of the document.
const VALUE_BYTES: usize = 46;
const BYTES_PER_KEY: usize = 71;

/// Keys per update in which the document is written, so that a frame stays small.
const KEYS_PER_UPDATE: u64 = 250;

/// Who joins what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) document_bytes: usize,
    /// How often all of them join.
    pub(crate) rounds: usize,
}

/// Counts what of the document arrived.
struct Joiner {
    keys: Rc<Cell<u64>>,
}

impl Member for Joiner {
    fn update(&mut self, update: &[u8], _: Instant) {
        // What cannot be read does not count, and the document is found incomplete.
        let _ = for_each_span(update, |client, _, len| {
            if client == AUTHOR {
                count(&self.keys, len);
            }
        });
    }
}

/// Runs `plan`.
pub(crate) async fn run(world: &Rc<World>, plan: Plan) -> Result<Report> {
    ensure!(world.dialect.syncs(), "a relay keeps no document that could be joined");
    let room = format!("join-large-{:x}", world.run);
    let author = Session::join(world, &room, Bystander, Some(Announcement::silent(AUTHOR))).await?;
    author.wait_synced(world.dialect).await?;
    let keys = (plan.document_bytes / BYTES_PER_KEY).max(1) as u64;
    for update in filled(AUTHOR, keys, VALUE_BYTES, KEYS_PER_UPDATE) {
        author.send(&dialect::update(&update));
    }
    author.round_trip(world.dialect).await?;
    tokio::time::sleep(SETTLE).await;

    let mut latency = latencies();
    let mut total = None;
    let mut incomplete = 0;
    let bytes_before = world.bytes_received.get();
    for round in 0..plan.rounds {
        let arrived: Rc<Vec<Rc<Cell<u64>>>> = Rc::new((0..plan.clients).map(|_| Rc::default()).collect());
        let watch = Watch::begin(world.server.as_ref())?;
        let begin = Instant::now();
        let joined = {
            let (world, room, arrived) = (world.clone(), room.clone(), arrived.clone());
            in_parallel(plan.clients, plan.clients, move |index| {
                let (world, room, keys) = (world.clone(), room.clone(), arrived[index].clone());
                async move {
                    let client = FIRST_CLIENT + (round * plan.clients + index) as u64;
                    let member = Joiner { keys };
                    let session = Session::join(&world, &room, member, Some(Announcement::silent(client))).await?;
                    let at = session.wait_synced(world.dialect).await?;
                    Ok((session, at))
                }
            })
            .await?
        };
        let watched = watch.end()?;
        total = Some(total.map_or(watched, |total: Watched| total.plus(watched)));
        for (_, at) in &joined {
            latency.saturating_record((*at - begin).as_micros() as u64);
        }
        incomplete += arrived.iter().filter(|arrived| arrived.get() < keys).count();
        for (session, _) in joined {
            session.leave(0).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    let mut report = Report::new("join-large");
    let joins = (plan.clients * plan.rounds) as f64;
    report.setting("clients", plan.clients);
    report.setting("document_bytes", plan.document_bytes);
    report.setting("rounds", plan.rounds);
    if let Some(cpu) = total.and_then(|total| total.server) {
        report.figure("cpu_ms_per_join", "server CPU per join", cpu.as_secs_f64() * 1e3 / joins, "ms");
    }
    report.latency("latency", "connect until the document is there", &latency);
    let bytes = (world.bytes_received.get() - bytes_before) as f64;
    report.figure("kib_per_join", "received per join", bytes / joins / 1024.0, "KiB");
    report.figure("incomplete_percent", "joins without all content", incomplete as f64 / joins * 100.0, "%");
    if let Some(total) = total {
        total.report_load(&mut report);
    }
    report_memory(&mut report, world.server.as_ref())?;
    report_trouble(&mut report, world);
    Ok(report)
}
