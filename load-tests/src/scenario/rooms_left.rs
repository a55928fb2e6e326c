//! Rooms are opened, edited and left: what of their memory stays.
//!
//! All rooms of a pass are open at the same time. Two passes over different rooms: the first also shows what a server grows once and keeps, the second what every room costs.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::{CONNECTS_AT_ONCE, in_parallel, report_trouble};
use crate::author::Author;
use crate::dialect;
use crate::report::{Report, report_memory};
use crate::session::{Announcement, Bystander, Session, World};

const FIRST_CLIENT: u64 = 0x7400_0000;
const PASSES: usize = 2;

/// What is visited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rooms: usize,
    /// Edits per room.
    pub(crate) edits: u64,
    /// How long after the last one left memory is read: longer than the server keeps an empty room.
    pub(crate) settle: Duration,
}

/// Runs `plan`.
pub(crate) async fn run(world: &Rc<World>, plan: Plan) -> Result<Report> {
    let mut resident = Vec::new();
    resident.extend(world.server.as_ref().map(|server| server.memory()).transpose()?);
    for pass in 0..PASSES {
        let shared = world.clone();
        let first = pass * plan.rooms;
        let open = move |index| visit(shared.clone(), plan.edits, first + index);
        let sessions = Rc::new(in_parallel(plan.rooms, CONNECTS_AT_ONCE, open).await?);
        in_parallel(plan.rooms, CONNECTS_AT_ONCE, move |index| {
            let session = sessions[index].clone();
            async move {
                session.leave(0).await;
                Ok(())
            }
        })
        .await?;
        tokio::time::sleep(plan.settle).await;
        resident.extend(world.server.as_ref().map(|server| server.memory()).transpose()?);
    }

    let mut report = Report::new("rooms-left");
    report.setting("rooms", plan.rooms);
    report.setting("edits", plan.edits);
    report.setting("settle", plan.settle.as_secs_f64());
    for (pass, pair) in resident.windows(2).enumerate() {
        let grown = pair[1].resident_kib as f64 - pair[0].resident_kib as f64;
        let (key, label) = match pass {
            0 => ("kib_per_room", "RSS kept per room"),
            _ => ("kib_per_room_again", "RSS kept per further room"),
        };
        report.figure(key, label, grown / plan.rooms as f64, "KiB");
    }
    report_memory(&mut report, world.server.as_ref())?;
    report_trouble(&mut report, world);
    Ok(report)
}

async fn visit(world: Rc<World>, edits: u64, index: usize) -> Result<Session> {
    let client = FIRST_CLIENT + index as u64;
    let room = format!("rooms-left-{:x}-{index}", world.run);
    let session = Session::join(&world, &room, Bystander, Some(Announcement::silent(client))).await?;
    session.wait_synced(world.dialect).await?;
    let mut author = Author::new(client, "w0".to_owned());
    for value in 0..edits {
        session.send(&dialect::update(&author.set(value)));
    }
    session.round_trip(world.dialect).await?;
    Ok(session)
}
