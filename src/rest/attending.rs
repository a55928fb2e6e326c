//! Members of rooms who speak HTTP: streams that listen, and agents that show themselves. Each has an outbox like a session, which nobody
//! writes to a socket: what it is told is where the room stands.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ydash_proto::access::Admission;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::room::{Dialect, Input, Joining};
use ydash_proto::session::Next;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::{self, Message, awareness, encode};

use super::Rest;
use crate::http::{Attend, Attendance, Manner, Present, ReadError, Shows};
use crate::ledger::Ledger;
use crate::outbox::Outbox;
use crate::room::{MemberIds, RoomHandle};

/// States that wait to be shown.
const SHOWN_WAITING: usize = 4;

/// What it takes to join rooms.
#[derive(Clone)]
pub struct Attending {
    /// Numbers them.
    pub members: Arc<MemberIds>,
    /// What pays for their outboxes.
    pub ledger: Arc<Ledger>,
    /// Where their tasks run.
    pub tracker: TaskTracker,
}

impl Rest {
    pub(super) async fn present(self, dashboard: DashboardId, reader: Admission) -> Result<Vec<Present>, ReadError> {
        let room = self.open(&dashboard).await?;
        let told = room.presence(reader).await.map_err(|_| ReadError::Unavailable)?.ok_or(ReadError::Forbidden)?;
        let Ok(Message::Awareness(body)) = wire::decode(&told) else { return Err(ReadError::Unreadable) };
        let entries = awareness::entries(&body).map_err(|_| ReadError::Unreadable)?;
        let state_bytes_max = self.limits.awareness_bytes_max;
        let present = entries
            .filter_map(|entry| Some(Present { client: entry.client, state: entry.state(state_bytes_max).ok()? }));
        Ok(present.collect())
    }

    pub(super) async fn attend(self, attend: Attend) -> Result<Attendance, ReadError> {
        let Attend { target, address, manner, place } = attend;
        let Attending { members, ledger, tracker } = &self.attending;
        let room = self.open(&target.dashboard).await?;
        let (member, account) = (members.draw(), ledger.account(address));
        let outbox = Arc::new(Outbox::new(None, self.limits.outbox(), account, Arc::clone(&self.metrics)));
        let dialect = match manner {
            Manner::Listens => Dialect::Listening,
            Manner::ShowsItself => Dialect::YWebsocket,
        };
        let standing = room.follow();
        let joining = Joining { member, admission: target.admission, wants_acks: false, wants_echo: false, dialect };
        let joined = room.join(joining, Arc::clone(&outbox), Instant::now(), None).await;
        joined.map_err(|_| ReadError::Unavailable)?;
        let (words, to_show) = mpsc::channel(SHOWN_WAITING);
        let (end, ended) = watch::channel(None);
        let left = CancellationToken::new();
        let leaving = left.clone().drop_guard();
        tracker.spawn(async move {
            let code = stay(&room, member, &outbox, to_show, left).await;
            outbox.abandon();
            room.leave(member).await;
            end.send_replace(code);
            drop(place);
        });
        Ok(Attendance { standing, ended, words, leaving })
    }
}

/// Until it leaves, or is told to, and why.
async fn stay(
    room: &RoomHandle,
    member: MemberId,
    outbox: &Outbox,
    mut to_show: mpsc::Receiver<Shows>,
    left: CancellationToken,
) -> Option<CloseCode> {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        tokio::select! {
            next = outbox.next(&mut batch) => match next {
                // Content goes nowhere.
                Next::Batch | Next::Asked(..) => {}
                Next::Drained(member) => room.input(Input::Drained { member }).await.ok()?,
                Next::Close(code, _) => return Some(code),
                Next::Gone => return None,
            },
            Some(Shows { client, clock, state }) = to_show.recv() => {
                let message = encode::awareness([(client, clock, &state[..])]);
                let Ok(Message::Awareness(body)) = wire::decode(&message) else { continue };
                room.input(Input::Awareness { member, body }).await.ok()?;
            }
            () = left.cancelled() => return None,
        }
    }
}
