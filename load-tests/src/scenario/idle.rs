//! Thousands of sessions that do nothing: memory per session, CPU per join.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::{CONNECTS_AT_ONCE, in_parallel, report_trouble};
use crate::report::{Report, Watch, report_memory};
use crate::session::{Announcement, Bystander, Session, World};

const FIRST_CLIENT: u64 = 0x7200_0000;

/// Who is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) sessions: usize,
    pub(crate) rooms: usize,
    /// How long after the last join memory is read.
    pub(crate) settle: Duration,
}

/// Runs `plan`.
pub(crate) async fn run(world: &Rc<World>, plan: Plan) -> Result<Report> {
    // One visit beforehand, so that what a server does once in its life is not counted.
    visit(world).await?;
    let before = world.server.as_ref().map(|server| server.memory()).transpose()?;
    let watch = Watch::begin(world.server.as_ref())?;
    let sessions = {
        let world = world.clone();
        in_parallel(plan.sessions, CONNECTS_AT_ONCE, move |index| {
            let world = world.clone();
            async move {
                let room = format!("idle-{:x}-{}", world.run, index % plan.rooms);
                let announcement = Announcement::silent(FIRST_CLIENT + index as u64);
                let session = Session::join(&world, &room, Bystander, Some(announcement)).await?;
                session.wait_synced(world.dialect).await?;
                Ok(session)
            }
        })
        .await?
    };
    let joined = watch.end()?;
    let watch = Watch::begin(world.server.as_ref())?;
    tokio::time::sleep(plan.settle).await;
    let idle = watch.end()?;

    let mut report = Report::new("idle");
    report.setting("sessions", plan.sessions);
    report.setting("rooms", plan.rooms);
    report.setting("settle", plan.settle.as_secs_f64());
    if let (Some(server), Some(before)) = (&world.server, before) {
        let grown = server.memory()?.resident_kib.saturating_sub(before.resident_kib);
        report.figure("kib_per_session", "RSS per session", grown as f64 / plan.sessions as f64, "KiB");
    }
    if let Some(cpu) = joined.server {
        let millis = cpu.as_secs_f64() * 1e3;
        report.figure("cpu_ms_per_join", "server CPU per join", millis / plan.sessions as f64, "ms");
    }
    if let Some(cpu) = idle.server {
        let percent = cpu.as_secs_f64() / idle.elapsed.as_secs_f64() * 100.0;
        report.figure("idle_cpu_percent", "server CPU while idle", percent, "%");
    }
    let rate = plan.sessions as f64 / joined.elapsed.as_secs_f64();
    report.figure("joins_per_s", "joins", rate, "/s");
    joined.report_others(&mut report);
    report_memory(&mut report, world.server.as_ref())?;
    report_trouble(&mut report, world);
    drop(sessions);
    Ok(report)
}

async fn visit(world: &Rc<World>) -> Result<()> {
    let room = format!("idle-{:x}-first", world.run);
    let session = Session::join(world, &room, Bystander, Some(Announcement::silent(FIRST_CLIENT - 1))).await?;
    session.wait_synced(world.dialect).await?;
    session.leave(0).await;
    Ok(())
}
