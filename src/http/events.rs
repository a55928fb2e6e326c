//! Server-sent events about a dashboard: it was edited, somebody came or went. Never its content.
//!
//! Nothing is queued for a stream: whenever its reader has taken an event, it is told where the dashboard stands by then. A slow one sees
//! fewer, larger steps. A stream is a member of the room, so that a change of rights reaches it as it reaches sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::DropGuard;
use warp::reply::Response;
use ydash_proto::about::{Edited, Standing};
use ydash_proto::access::{Target, format_moment};
use ydash_proto::id::ClientId;
use ydash_proto::log::LogPosition;
use ydash_proto::wire::close::CloseCode;

use crate::http::reply::{Problem, Refused};
use crate::http::routes::Call;
use crate::http::stream::{self, ALIVE, ALIVE_SAID};

/// How long a stream waits before it tells of a change: edits that were made together are told together, and mostly when they are durable.
const GATHER: Duration = Duration::from_millis(100);

/// A stream tells of changes four times a second at most.
const PACE: Duration = Duration::from_millis(250);

/// A request to join a room by a call. The member stays until the [`Attendance`] that it gets is dropped.
pub struct Attend {
    /// The dashboard, and the caller's rights.
    pub target: Target,
    /// The caller's network address.
    pub address: IpAddr,
    /// Its behaviour there.
    pub manner: Manner,
    /// Its place among the sessions of its address and user; dropped when it has left.
    pub place: Box<dyn Send + Sync>,
}

/// The behaviour of a member who speaks HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Only listens, and is nobody who is here.
    Listens,
    /// Shows itself, as an agent or a job.
    ShowsItself,
}

/// A place in a room. Dropping it leaves the room.
pub struct Attendance {
    /// Tells where the room stands, which has let this member in.
    pub standing: watch::Receiver<Standing>,
    /// The reason that the room sent it away, if it did.
    pub ended: watch::Receiver<Option<CloseCode>>,
    /// Takes its presence state. The newest counts.
    pub words: watch::Sender<Option<Shows>>,
    /// Has it leave.
    pub leaving: DropGuard,
}

/// A presence state at an awareness clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shows {
    /// The Yjs client id.
    pub client: ClientId,
    /// Grows with each.
    pub clock: u32,
    /// As JSON.
    pub state: Bytes,
}

/// The presence state of somebody who is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceState {
    /// The Yjs client id.
    pub client: ClientId,
    /// The state, as JSON.
    pub state: Bytes,
}

/// Joins the room of the dashboard that a call is about.
pub(super) fn attend(call: &Call, manner: Manner) -> impl Future<Output = Result<Attendance, Refused>> + Send + use<> {
    let (site, address) = (Arc::clone(&call.site), call.address);
    let target = Target { dashboard: call.dashboard(), admission: call.author() };
    async move {
        if site.draining.is_cancelled() {
            return Err(Problem::Draining.into());
        }
        let user = site.allowances.of(&target.admission.principal).map(|user| user.join()).transpose();
        let user = user.map_err(Problem::UserLimit)?;
        let place = Box::new((site.join_again(address).map_err(Problem::Crowded)?, user));
        let attended = site.dashboards.attend(Attend { target, address, manner, place }).await;
        Ok(attended.map_err(Problem::from)?)
    }
}

/// `GET /api/dashboards/<name>/events`
pub(super) async fn follow(call: Call) -> Result<Response, Refused> {
    let since = call.header("last-event-id")?.and_then(|id| id.parse().ok()).map(LogPosition);
    let attendance = attend(&call, Manner::Listens).await?;
    let follower = Follower { attendance, since, told: None, next_at: Instant::now(), is_over: false };
    Ok(stream::events(follower, Follower::next))
}

struct Follower {
    attendance: Attendance,
    /// The position that an earlier stream told it.
    since: Option<LogPosition>,
    told: Option<Arc<Standing>>,
    /// When it may be told again.
    next_at: Instant,
    /// The end was told.
    is_over: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Follower)> {
        loop {
            let Attendance { standing, ended, .. } = &mut self.attendance;
            if self.is_over {
                return None;
            }
            let over = *ended.borrow_and_update();
            if let Some(code) = over {
                self.is_over = true;
                return Some((end(code), self));
            }
            let has_news = self.told.as_deref() != Some(&*standing.borrow_and_update());
            if has_news {
                if self.told.is_some() {
                    sleep_until(self.next_at.max(Instant::now() + GATHER)).await;
                    if ended.has_changed().unwrap_or(true) {
                        continue;
                    }
                }
                let now = Arc::new(standing.borrow_and_update().clone());
                self.next_at = Instant::now() + PACE;
                let text = news(self.told.replace(Arc::clone(&now)).as_deref(), &now, self.since.take());
                if !text.is_empty() {
                    return Some((text.into(), self));
                }
                continue;
            }
            tokio::select! {
                // First: when the room ends, too, the end is told.
                biased;
                changed = ended.changed() => changed.ok()?,
                changed = standing.changed() => if changed.is_err() {
                    ended.changed().await.ok()?;
                },
                () = sleep(ALIVE) => return Some((ALIVE_SAID, self)),
            }
        }
    }
}

/// The events between two looks; `since` is the position that an earlier stream told.
fn news(before: Option<&Standing>, now: &Standing, since: Option<LogPosition>) -> String {
    let mut text = String::new();
    let is_changed = match before {
        Some(before) => before.updates != now.updates || before.position != now.position,
        // Edits of other nodes may not have moved the position.
        None => now.has_peers || since != Some(now.position),
    };
    if is_changed {
        let edited =
            now.edited.as_ref().filter(|edited| before.is_some_and(|before| before.edited.as_ref() != Some(edited)));
        let (at, by) = match edited {
            Some(Edited { at, by }) => (Some(format_moment(*at)), by.as_deref()),
            None => (None, None),
        };
        let position = now.position.to_string();
        let data = json!({ "position": position, "at": at, "by": by });
        text = format!("id: {position}\nevent: change\ndata: {data}\n\n");
    }
    if before.is_none_or(|before| before.presence != now.presence || before.present != now.present) {
        let data = json!({ "members": now.present });
        text += &format!("event: presence\ndata: {data}\n\n");
    }
    text
}

/// The last event of a stream.
pub(super) fn end(code: CloseCode) -> Bytes {
    let data = json!({ "code": code.code(), "reason": code.reason() });
    format!("event: end\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ydash_proto::time::Timestamp;

    fn standing(updates: u64, position: u128, presence: u64) -> Standing {
        Standing { updates, position: LogPosition(position), has_peers: false, edited: None, presence, present: 2 }
    }

    #[test]
    fn a_stream_begins_with_where_the_dashboard_stands() {
        let text = news(None, &standing(0, 7, 0), None);
        let expected = "id: 7\nevent: change\ndata: {\"at\":null,\"by\":null,\"position\":\"7\"}\n\n\
                        event: presence\ndata: {\"members\":2}\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_stream_that_goes_on_is_told_of_a_change_only_if_there_was_one() {
        assert!(!news(None, &standing(0, 7, 0), Some(LogPosition(7))).contains("change"));
        assert!(news(None, &standing(0, 8, 0), Some(LogPosition(7))).contains("change"));
    }

    /// Another node may have written meanwhile, which moves this node's position only when it reads the store.
    #[test]
    fn a_stream_that_goes_on_is_always_told_of_a_change_if_other_nodes_may_have_edited() {
        let now = Standing { has_peers: true, ..standing(0, 7, 0) };
        assert!(news(None, &now, Some(LogPosition(7))).contains("change"));
    }

    #[test]
    fn a_change_says_who_made_the_last_edit_where_that_is_known() {
        let before = standing(3, 7, 1);
        let mut now = standing(4, 8, 1);
        now.edited = Some(Edited { at: Timestamp(1_000), by: Some("ada".into()) });
        let text = news(Some(&before), &now, None);
        assert!(text.starts_with("id: 8\nevent: change\n") && text.contains("\"by\":\"ada\""), "{text}");
        assert!(!text.contains("presence"), "{text}");
        // An edit of another node follows it.
        let later = Standing { updates: 5, ..now.clone() };
        assert!(news(Some(&now), &later, None).contains("\"by\":null"));
        assert_eq!(news(Some(&now), &now, None), "");
    }
}
