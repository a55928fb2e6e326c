//! Presence over HTTP: a list of those who are here, and a place among them for agents and jobs, which hold it by a lease.
//!
//! A lease is a member of the room like any other. It ends when it is not renewed, with the rights of its holder, and with the node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::access::Principal;
use ydash_proto::id::{ClientId, DashboardId};

use crate::http::dashboards::{has_memory, held, take_body};
use crate::http::events::{Attendance, Manner, Shows, attend};
use crate::http::reply::{Problem, Refused, bytes_response, json_response};
use crate::http::routes::Call;

/// Bytes that a body may hold beside a state.
const BESIDE_STATE: usize = 1 << 10;

/// How long a lease may last, in seconds, and how long it does if that is not said.
const TTL_MAX: u64 = 60;
const TTL: u64 = 30;

/// The leases that this node has given. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<HashMap<(DashboardId, ClientId), Lease>>>);

#[derive(Debug)]
struct Lease {
    holder: Principal,
    /// How often it has announced itself.
    clock: u32,
    words: watch::Sender<Option<Shows>>,
    until: watch::Sender<Instant>,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, HashMap<(DashboardId, ClientId), Lease>> {
        // A panic leaves a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `state` for a lease that there is; says whether there is one of this holder.
    fn renew(&self, key: &(DashboardId, ClientId), holder: &Principal, state: &str, ttl: Duration) -> bool {
        let mut leases = self.lock();
        let Some(lease) = leases.get_mut(key).filter(|lease| lease.holder.is_same(holder)) else { return false };
        lease.clock = lease.clock.saturating_add(1);
        lease.words.send_replace(Some(shows(key.1, lease.clock, state)));
        lease.until.send_replace(Instant::now() + ttl);
        true
    }

    /// Keeps a place until its time is up, or its holder may not be here any more.
    fn begin(&self, key: (DashboardId, ClientId), holder: Principal, state: &str, ttl: Duration, place: Attendance) {
        let (until, mut due) = watch::channel(Instant::now() + ttl);
        let Attendance { words, mut ended, leaving, .. } = place;
        words.send_replace(Some(shows(key.1, 1, state)));
        self.lock().insert(key.clone(), Lease { holder, clock: 1, words, until });
        let leases = self.clone();
        tokio::spawn(async move {
            loop {
                let at = *due.borrow_and_update();
                tokio::select! {
                    () = sleep_until(at) => break,
                    changed = due.changed() => if changed.is_err() { break },
                    _ = ended.changed() => break,
                }
            }
            leases.lock().remove(&key);
            drop(leaving);
        });
    }

    /// Ends a lease of this holder; says whether there was one.
    fn end(&self, key: &(DashboardId, ClientId), holder: &Principal) -> bool {
        let mut leases = self.lock();
        let is_there = leases.get(key).is_some_and(|lease| lease.holder.is_same(holder));
        if is_there {
            leases.remove(key);
        }
        is_there
    }
}

fn shows(client: ClientId, clock: u32, state: &str) -> Shows {
    Shows { client, clock, state: Bytes::copy_from_slice(state.as_bytes()) }
}

/// `GET /api/dashboards/<name>/presence`
pub(super) async fn read(call: Call) -> Result<Response, Refused> {
    let (site, address) = (&call.site, call.address);
    has_memory(site, address)?;
    let present = site.dashboards.presence(call.dashboard(), call.author()).await.map_err(Problem::from)?;
    let mut text = String::from("{\"presence\":[");
    for (n, one) in present.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        // A room takes only states that are JSON.
        text += &format!("{comma}{{\"clientId\":{},\"state\":{}}}", one.client, String::from_utf8_lossy(&one.state));
    }
    text += "]}";
    site.addresses.charge(address, text.len(), std::time::Instant::now());
    Ok(bytes_response(StatusCode::OK, "application/json", held(site, address, text.into())?))
}

/// `POST /api/dashboards/<name>/presence`
pub(super) async fn lease(mut call: Call) -> Result<Response, Refused> {
    let (limit, bytes) = ("awareness-state-bytes-max", call.site.awareness_state_bytes_max);
    let (body, _paid) = take_body(&mut call, (limit, bytes + BESIDE_STATE)).await?;
    let asked: Map<String, Value> =
        serde_json::from_slice(&body).map_err(|_| Problem::BadRequest("the body is a JSON object"))?;
    let state = match asked.get("state") {
        Some(state @ Value::Object(_)) => state.to_string(),
        _ => return Err(Problem::BadRequest("state is an object: what is shown of the caller").into()),
    };
    if state.len() > bytes {
        return Err(Problem::TooLarge { limit, bytes }.into());
    }
    let ttl = match asked.get("ttl") {
        None => TTL,
        Some(ttl) => ttl
            .as_u64()
            .filter(|ttl| (1..=TTL_MAX).contains(ttl))
            .ok_or(Problem::BadRequest("ttl is a number of seconds, 1 to 60"))?,
    };
    let known = match asked.get("clientId") {
        None => None,
        Some(client) => {
            Some(client.as_u64().ok_or(Problem::BadRequest("clientId is the number that an earlier answer gave"))?)
        }
    };
    let (dashboard, holder) = (call.dashboard(), call.author().principal);
    let (leases, lasts) = (call.site.leases.clone(), Duration::from_secs(ttl));
    let answer = |status, client: ClientId| Ok(json_response(status, &json!({ "clientId": client, "ttl": ttl })));
    if let Some(client) = known
        && leases.renew(&(dashboard.clone(), client), &holder, &state, lasts)
    {
        return answer(StatusCode::OK, client);
    }
    let place = attend(&call, Manner::ShowsItself).await?;
    let client = ClientId::from(fastrand::u32(1..));
    leases.begin((dashboard, client), holder, &state, lasts, place);
    answer(StatusCode::CREATED, client)
}

/// `DELETE /api/dashboards/<name>/presence/<client>`
pub(super) async fn end(call: Call) -> Result<Response, Refused> {
    let client = call.parameter("id").parse().map_err(|_| Problem::BadRequest("the path ends with a client id"))?;
    let is_ended = call.site.leases.end(&(call.dashboard(), client), &call.author().principal);
    Ok(json_response(StatusCode::OK, &json!({ "ended": is_ended })))
}
