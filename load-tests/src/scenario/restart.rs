//! Everybody comes back at once after the server was restarted: time until all are in sync again.
//!
//! Clients retry as y-websocket does: 100 ms after the socket ended, then twice as long each time, at most 2.5 s, no jitter.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{CONNECTS_AT_ONCE, SETTLE, in_parallel, report_trouble};
use crate::author::Author;
use crate::dialect;
use crate::report::{Report, latencies};
use crate::session::{Announcement, Member, Session, World, count};

const AUTHOR: u64 = 0x7500_0000;
const FIRST_CLIENT: u64 = 0x7600_0000;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_millis(2500);

/// Who is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    /// Edits per room before the restart.
    pub(crate) edits: u64,
    /// How long the restart and the return may take.
    pub(crate) patience: Duration,
}

/// A client that holds the room's document.
#[derive(Clone)]
struct Holder {
    document: Rc<RefCell<Author>>,
}

impl Member for Holder {
    fn state_vector(&self) -> Vec<u8> {
        self.document.borrow().state_vector()
    }

    fn state(&self) -> Vec<u8> {
        self.document.borrow().state()
    }

    fn update(&mut self, _: &[u8], _: Instant) {}
}

/// Runs `plan`. Creates `ready` once everybody is there, for whoever restarts the server.
pub(crate) async fn run(world: &Rc<World>, plan: Plan, ready: Option<&Path>) -> Result<Report> {
    ensure!(world.dialect.syncs(), "a relay keeps no document to come back to");
    let documents: Rc<Vec<_>> = Rc::new(
        (0..plan.rooms).map(|room| Rc::new(RefCell::new(Author::new(AUTHOR + room as u64, "w0".to_owned())))).collect(),
    );
    let join = {
        let (world, documents) = (world.clone(), documents.clone());
        move |index: usize| {
            let (world, room) = (world.clone(), index % plan.rooms);
            let member = Holder { document: documents[room].clone() };
            async move {
                let name = format!("restart-storm-{:x}-{room}", world.run);
                let announcement = Announcement::silent(FIRST_CLIENT + index as u64);
                let session = Session::join(&world, &name, member, Some(announcement)).await?;
                session.expect_end();
                let at = session.wait_synced(world.dialect).await?;
                anyhow::Ok((session, at))
            }
        }
    };
    let sessions = in_parallel(plan.clients, CONNECTS_AT_ONCE, join.clone()).await?;
    for (document, (session, _)) in documents.iter().zip(&sessions) {
        for value in 0..plan.edits {
            let edit = document.borrow_mut().set(value);
            session.send(&dialect::update(&edit));
        }
        session.round_trip(world.dialect).await?;
    }
    tokio::time::sleep(SETTLE).await;
    eprintln!("everybody is there: restart the server");
    if let Some(ready) = ready {
        std::fs::write(ready, "").with_context(|| format!("create {}", ready.display()))?;
    }

    let failed = Rc::new(Cell::new(0));
    let sessions = Rc::new(sessions);
    let back = {
        let (failed, sessions) = (failed.clone(), sessions.clone());
        in_parallel(plan.clients, plan.clients, move |index| {
            let (join, failed, sessions) = (join.clone(), failed.clone(), sessions.clone());
            async move {
                sessions[index].0.wait_end().await;
                let ended = Instant::now();
                let mut retry = RETRY_FIRST;
                loop {
                    tokio::time::sleep(retry).await;
                    let tried = Instant::now();
                    match join(index).await {
                        Ok((session, at)) => return Ok((session, Return { ended, accepted: tried, synced: at })),
                        Err(_) => count(&failed, 1),
                    }
                    retry = (2 * retry).min(RETRY_LONGEST);
                }
            }
        })
    };
    let back = tokio::time::timeout(plan.patience, back).await.context("wait until everybody is back")??;

    let returns = || back.iter().map(|(_, back)| back);
    let ended = returns().map(|back| back.ended).min().context("find a client")?;
    let accepted = returns().map(|back| back.accepted).min().context("find a client")?;
    let mut latency = latencies();
    returns().for_each(|back| latency.saturating_record((back.synced - accepted).as_micros() as u64));
    let mut report = Report::new("restart-storm");
    report.setting("clients", plan.clients);
    report.setting("rooms", plan.rooms);
    report.setting("edits", plan.edits);
    report.figure("outage_ms", "first socket lost until one was accepted", millis(accepted - ended), "ms");
    report.figure("all_back_ms", "from then until all were in sync", latency.max() as f64 / 1e3, "ms");
    report.latency("back", "from then until a client was in sync", &latency);
    report.figure("failed_attempts", "attempts that failed", failed.get() as f64, "");
    report_trouble(&mut report, world);
    Ok(report)
}

struct Return {
    /// The socket was lost.
    ended: Instant,
    /// The attempt began that succeeded.
    accepted: Instant,
    synced: Instant,
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
