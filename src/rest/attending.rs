//! Members of rooms who speak HTTP: streams that listen, and agents that show themselves. Each has an outbox like a session, which nobody
//! writes to a socket. They are told where the room stands.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ydash_proto::access::Admission;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::room::{Dialect, Input, Joining};
use ydash_proto::session::Next;
use ydash_proto::wire::close::CloseCode;
use ydash_proto::wire::{self, Message, awareness, encode};

use super::Rest;
use crate::http::{Attend, Attendance, Manner, PresenceState, ReadError, Shows};
use crate::ledger::Ledger;
use crate::outbox::Outbox;
use crate::room::{MemberIds, RoomHandle};

/// The means to join rooms.
#[derive(Clone)]
pub struct Attending {
    /// Numbers them.
    pub members: Arc<MemberIds>,
    /// Pays for their outboxes.
    pub ledger: Arc<Ledger>,
    /// Runs their tasks.
    pub tracker: TaskTracker,
}

impl Rest {
    pub(super) async fn present(
        self,
        dashboard: DashboardId,
        reader: Admission,
    ) -> Result<Vec<PresenceState>, ReadError> {
        let room = self.open(&dashboard).await?;
        let told = room.presence(reader).await.map_err(|_| ReadError::Unavailable)?.ok_or(ReadError::Forbidden)?;
        let Ok(Message::Awareness(body)) = wire::decode(&told) else { return Err(ReadError::Unreadable) };
        let entries = awareness::entries(&body).map_err(|_| ReadError::Unreadable)?;
        let state_bytes_max = self.limits.awareness_bytes_max;
        let present = entries.filter_map(|entry| {
            Some(PresenceState { client: entry.client, state: entry.state(state_bytes_max).ok()? })
        });
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
        let joining = Joining { member, admission: target.admission, wants_acks: false, wants_echo: false, dialect };
        let decided = room.join_to_follow(joining, Arc::clone(&outbox)).await.map_err(|_| ReadError::Unavailable)?;
        let (words, to_show) = watch::channel(None);
        let (end, mut ended) = watch::channel(None);
        let left = CancellationToken::new();
        let leaving = left.clone().drop_guard();
        tracker.spawn(async move {
            let code = stay(&room, member, &outbox, to_show, left).await;
            outbox.abandon();
            end.send_replace(Some(code));
            room.leave(member).await;
            drop(place);
        });
        // From here on, dropping this future leaves the room.
        match decided.await {
            Ok(Some(standing)) => Ok(Attendance { standing, ended, words, leaving }),
            Ok(None) => Err(match ended.wait_for(Option::is_some).await.ok().and_then(|code| *code) {
                Some(CloseCode::Forbidden) => ReadError::Forbidden,
                _ => ReadError::Unavailable,
            }),
            Err(_) => Err(ReadError::Unavailable),
        }
    }
}

/// Stays until it leaves or is sent away; returns why.
async fn stay(
    room: &RoomHandle,
    member: MemberId,
    outbox: &Outbox,
    mut to_show: watch::Receiver<Option<Shows>>,
    left: CancellationToken,
) -> CloseCode {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        tokio::select! {
            next = outbox.next(&mut batch) => match next {
                // Content goes nowhere.
                Next::Batch | Next::Asked(..) => {}
                Next::Drained(member) => {
                    if room.input(Input::Drained { member }).await.is_err() {
                        return CloseCode::Restart;
                    }
                }
                Next::Close(code, _) => return code,
                Next::Gone => return CloseCode::Normal,
            },
            Ok(()) = to_show.changed() => {
                let Some(Shows { client, clock, state }) = to_show.borrow_and_update().clone() else { continue };
                let message = encode::awareness([(client, clock, &state[..])]);
                let Ok(Message::Awareness(body)) = wire::decode(&message) else { continue };
                if room.input(Input::Awareness { member, body }).await.is_err() {
                    return CloseCode::Restart;
                }
            }
            () = left.cancelled() => return CloseCode::Normal,
        }
    }
}
