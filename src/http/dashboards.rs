//! The dashboards over REST: read as JSON, read as Yjs bytes, write an update, send a message to who is there.
//!
//! A write is an update like any other: it goes through the room, and is answered 200 when it is durable. What rooms can do is
//! behind [`Dashboards`], so that nothing below knows HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::{self as clock, timeout_at};
use warp::http::StatusCode;
use warp::reply::Response;
use ydash_proto::about::About;
use ydash_proto::access::Admission;
use ydash_proto::allowance::Exceeded;
use ydash_proto::document::CreateError;
use ydash_proto::document::edit::Place;
use ydash_proto::id::DashboardId;

use crate::http::editing::{EditError, Edited, Shown, Wish};
use crate::http::events::{Attend, Attendance, PresenceState};
use crate::http::history::{VersionCall, VersionRefusal};
use crate::http::pace::{Pace, PaceLimits};
use crate::http::reply::{Problem, Refused, bytes_response, json_response};
use crate::http::routes::Call;
use crate::http::{Site, path};
use crate::ledger::{CHARGED_BYTES_MIN, Lease};
use crate::metrics::Memory;

/// What rooms offer to REST.
pub trait Dashboards: Send + Sync + 'static {
    /// Names of at most `limit` dashboards that start with `prefix`, in byte order, those after `after` only.
    fn names(
        &self,
        prefix: String,
        after: Option<DashboardId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<DashboardId>, ReadError>>;

    /// What lists tell of each of these, without opening any; and how many bytes were looked at for it.
    fn noted(&self, dashboards: Vec<DashboardId>) -> BoxFuture<'static, Result<(Vec<Noted>, usize), ReadError>>;

    /// What a place of the document shows. Callers take turns.
    fn look(
        &self,
        dashboard: DashboardId,
        caller: IpAddr,
        place: Place,
    ) -> BoxFuture<'static, Result<Shown, EditError>>;

    /// Makes of the document what is wished, and returns when that is durable. Callers take turns.
    fn edit(
        &self,
        dashboard: DashboardId,
        author: Admission,
        caller: IpAddr,
        wish: Wish,
    ) -> BoxFuture<'static, Result<Edited, EditError>>;

    /// The document as one Yjs update v1; with `have` (an encoded state vector) only what is missing there.
    fn read_state(&self, dashboard: DashboardId, have: Option<Bytes>) -> BoxFuture<'static, Result<Read, ReadError>>;

    /// Applies an update v1, and returns when it is durable. Writing twice is harmless.
    fn write_update(
        &self,
        dashboard: DashboardId,
        author: Admission,
        update: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>>;

    /// Begins a dashboard with a whole document, and returns when that is durable; `false` if there is one already.
    fn begin(
        &self,
        dashboard: DashboardId,
        author: Admission,
        state: Bytes,
    ) -> BoxFuture<'static, Result<bool, WriteError>>;

    /// Lists, keeps, describes or removes versions that are kept with their content, and returns when that is durable. The caller may.
    fn versions(
        &self,
        dashboard: DashboardId,
        by: Admission,
        what: VersionCall,
    ) -> BoxFuture<'static, Result<Value, VersionRefusal>>;

    /// Sends a text to everybody who has the dashboard open in a dialect that has messages for it.
    fn send_stateless(
        &self,
        dashboard: DashboardId,
        author: Admission,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<(), WriteError>>;

    /// The presence states of everybody who is here.
    fn presence(
        &self,
        dashboard: DashboardId,
        reader: Admission,
    ) -> BoxFuture<'static, Result<Vec<PresenceState>, ReadError>>;

    /// Joins its room for somebody who speaks HTTP.
    fn attend(&self, attend: Attend) -> BoxFuture<'static, Result<Attendance, ReadError>>;
}

/// What is known of a dashboard just then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Its title and last edit.
    pub about: About,
    /// Who is here, as far as this node knows.
    pub present: usize,
}

/// What was read of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// One Yjs update v1.
    pub state: Bytes,
    /// Bytes that were looked at for it.
    pub cost: usize,
}

/// Why a dashboard is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody has written to it: answered 404.
    #[error("no such dashboard")]
    NotFound,
    /// It was deleted: answered 410.
    #[error("the dashboard was deleted")]
    Deleted,
    /// It could not be loaded just then: answered 503.
    #[error("dashboard cannot be loaded")]
    Unavailable,
    /// What the caller says it has is no state vector: answered 400.
    #[error("malformed state vector")]
    MalformedStateVector,
    /// Its turn did not come in time: answered 503.
    #[error("too many wait to read")]
    Busy,
    /// The caller may not see it, or may not any longer: answered 403.
    #[error("no access to this dashboard")]
    Forbidden,
    /// Its content could not be read; the log says why: answered 500.
    #[error("dashboard cannot be read")]
    Unreadable,
}

/// Why an update is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Not an update v1: answered 400.
    #[error("malformed update")]
    Malformed,
    /// Not JSON that could be a document: answered 400.
    #[error(transparent)]
    Json(CreateError),
    /// It builds on updates that the server does not have: answered 409.
    #[error("update behind a hole")]
    Incomplete,
    /// The dashboard was deleted: answered 410.
    #[error("the dashboard was deleted")]
    Deleted,
    /// It brings content of a deleted dashboard of this name: answered 409.
    #[error("content of a deleted dashboard of this name")]
    StaleCopy,
    /// Other content was saved before under the same client id and clock: answered 409.
    #[error("content differs from what was saved before")]
    Differs,
    /// The document would outgrow `document-bytes-max`: answered 413.
    #[error("document would be larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit's value.
        bytes_max: usize,
    },
    /// Its author has begun as many dashboards as one may: answered 429.
    #[error("{0}")]
    UserLimit(Exceeded),
    /// Another limit of documents; the sentence names it: answered 422.
    #[error("{0}")]
    Limit(&'static str),
    /// The room would take more memory than it may at the moment: answered 503.
    #[error("no memory for it")]
    Memory,
    /// Its turn did not come in time: answered 503. Nothing was written.
    #[error("too many wait to write")]
    Busy,
    /// Its author may not do that, or may not any longer: answered 403.
    #[error("no access to this dashboard")]
    Forbidden,
    /// It cannot be made durable just then: answered 503. It may have reached the members all the same.
    #[error("store unavailable")]
    Unavailable,
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        match error {
            ReadError::NotFound => Problem::NoDashboard,
            ReadError::Deleted => Problem::Deleted,
            ReadError::Unavailable => Problem::StoreUnavailable,
            ReadError::MalformedStateVector => Problem::BadRequest("sv is not a state vector"),
            ReadError::Busy => Problem::Busy,
            ReadError::Forbidden => Problem::Forbidden,
            ReadError::Unreadable => Problem::Internal,
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Problem {
        match error {
            WriteError::Malformed => Problem::MalformedUpdate,
            WriteError::Json(why) => match why {
                CreateError::NotJson => Problem::BadRequest("the body is not JSON"),
                CreateError::NotAnObject => Problem::BadRequest("a document is an object of root types"),
                CreateError::NotAType => Problem::BadRequest("a root is an object, a list or a text"),
                CreateError::KeyTwice => Problem::BadRequest("an object has the same key twice"),
                CreateError::TooManyItems => Problem::DocumentLimit(
                    "a dashboard is created from at most 200000 (create-items-max) objects, lists, texts, entries and runs of plain values",
                ),
            },
            WriteError::Incomplete => Problem::IncompleteUpdate,
            WriteError::Deleted => Problem::Deleted,
            WriteError::StaleCopy => Problem::DeletedContent,
            WriteError::Differs => Problem::ConflictingUpdate,
            WriteError::TooLarge { bytes_max } => Problem::TooLarge { limit: "document-bytes-max", bytes: bytes_max },
            WriteError::Limit(which) => Problem::DocumentLimit(which),
            WriteError::UserLimit(exceeded) => Problem::UserLimit(exceeded),
            WriteError::Memory => Problem::Memory("room-memory is used up; try again"),
            WriteError::Busy => Problem::Busy,
            WriteError::Forbidden => Problem::Forbidden,
            WriteError::Unavailable => Problem::StoreUnavailable,
        }
    }
}

/// `GET /api/dashboards/<name>/state`
pub(super) async fn read_state(call: Call) -> Result<Response, Refused> {
    let Call { site, address, query, .. } = &call;
    let have = match path::query_value(query, "sv") {
        Some(sv) => Some(decode_base64url(sv).ok_or(Problem::BadRequest("sv is not base64url"))?.into()),
        None => None,
    };
    has_memory(site, *address)?;
    let Read { state, cost } = site.dashboards.read_state(call.dashboard(), have).await.map_err(Problem::from)?;
    site.addresses.charge(*address, cost, Instant::now());
    Ok(bytes_response(StatusCode::OK, "application/octet-stream", held(site, *address, state)?))
}

/// Whether there is memory for an answer at all, before anything is done for it.
pub(super) fn has_memory(site: &Site, address: IpAddr) -> Result<(), Problem> {
    if site.ledger.headroom(address) == 0 { Err(NO_MEMORY) } else { Ok(()) }
}

const NO_MEMORY: Problem = Problem::Memory("what waits for this address holds its share of memory-max; try again");

/// An answer that is charged to its address until it is written or given up.
pub(super) fn held(site: &Site, address: IpAddr, answer: Bytes) -> Result<Bytes, Problem> {
    struct Held(Bytes, #[allow(dead_code, reason = "it is held")] Lease);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    if answer.len() < CHARGED_BYTES_MIN {
        return Ok(answer);
    }
    let mut lease = site.ledger.lease(address, Memory::HttpAnswers);
    lease.resize(answer.len()).map_err(|_| NO_MEMORY)?;
    Ok(Bytes::from_owner(Held(answer, lease)))
}

/// What a byte that is written costs beside one that is read: it is checked, joined, kept and passed on.
const WRITTEN_BYTE: usize = 4;

/// `POST /api/dashboards/<name>/updates`
pub(super) async fn write_update(mut call: Call) -> Result<Response, Refused> {
    let limit = ("frame-bytes-max", call.site.frame_bytes_max);
    let (update, _lease) = take_body(&mut call, limit).await?;
    let written = call.site.dashboards.write_update(call.dashboard(), call.author(), update);
    written.await.map_err(Problem::from)?;
    Ok(json_response(StatusCode::OK, &json!({ "durable": true })))
}

/// What a new dashboard may be written as: as an update it takes up to eight times that. Clients know it as `create-bytes-max`; no
/// setting raises it.
pub const CREATE_BYTES_MAX: usize = 1 << 20;

/// `POST /api/dashboards/<name>/stateless`
pub(super) async fn send_stateless(mut call: Call) -> Result<Response, Refused> {
    let limit = ("stateless-bytes-max", call.site.stateless_bytes_max);
    let (payload, _lease) = take_body(&mut call, limit).await?;
    if core::str::from_utf8(&payload).is_err() {
        return Err(Problem::BadRequest("a stateless message is UTF-8").into());
    }
    call.site.dashboards.send_stateless(call.dashboard(), call.author(), payload).await.map_err(Problem::from)?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "sent": true })))
}

/// Takes a body of at most so many bytes; `limit` says which setting it is.
pub(super) async fn take_body(call: &mut Call, limit: (&'static str, usize)) -> Result<(Bytes, Lease), Problem> {
    let (site, address) = (Arc::clone(&call.site), call.address);
    if site.draining.is_cancelled() {
        return Err(Problem::Draining);
    }
    let mut lease = site.ledger.lease(address, Memory::HttpBodies);
    let collected = collect(&mut call.body, limit, site.pace, &mut lease).await;
    // Also what is refused was read.
    let bytes = collected.as_ref().map_or(lease.bytes(), Bytes::len);
    site.addresses.charge(address, bytes.saturating_mul(WRITTEN_BYTE), Instant::now());
    // Before anything of it is done.
    let brought = call.target.as_ref().map_or(Ok(()), |target| {
        let principal = &target.admission.principal;
        site.allowances.bring(principal, bytes)
    });
    brought.map_err(Problem::UserLimit)?;
    match collected {
        Ok(body) => Ok((body, lease)),
        Err(Uncollected::TooLarge) => Err(Problem::TooLarge { limit: limit.0, bytes: limit.1 }),
        Err(Uncollected::TooSlow) => Err(Problem::Timeout),
        Err(Uncollected::NoMemory) => Err(NO_MEMORY),
        Err(Uncollected::Broken) => Err(Problem::BadRequest("the body broke off")),
    }
}

/// How long a body is not read on because its address, or everybody, holds too much.
const MEMORY_WITHIN: Duration = Duration::from_secs(5);

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uncollected {
    TooLarge,
    TooSlow,
    NoMemory,
    Broken,
}

/// Collects a body of at most so many bytes. Memory is taken as bytes arrive, from what the sender's address may have, so a slow body holds
/// little and makes nobody else wait.
async fn collect<S, B, E>(
    body: S,
    (_, bytes_max): (&'static str, usize),
    limits: PaceLimits,
    lease: &mut Lease,
) -> Result<Bytes, Uncollected>
where
    S: Stream<Item = Result<B, E>> + Send,
    B: Buf,
{
    let mut body = std::pin::pin!(body);
    let mut collected = BytesMut::new();
    let mut pace = Pace::new(limits, clock::Instant::now());
    loop {
        let mut chunk = match timeout_at(pace.due_at(), body.next()).await {
            Ok(Some(chunk)) => chunk.map_err(|_| Uncollected::Broken)?,
            Ok(None) => return Ok(collected.freeze()),
            Err(_) if pace.is_too_slow(clock::Instant::now()) => return Err(Uncollected::TooSlow),
            Err(_) => continue,
        };
        if chunk.remaining() > bytes_max - collected.len() {
            return Err(Uncollected::TooLarge);
        }
        let wanted = collected.len() + chunk.remaining();
        if wanted >= CHARGED_BYTES_MIN && wanted > lease.bytes() && lease.resize(wanted).is_err() {
            lease.resize_within(wanted, MEMORY_WITHIN).await.map_err(|_| Uncollected::NoMemory)?;
            pace = Pace::new(limits, clock::Instant::now()); // It was not the sender who was slow.
        }
        pace.moved(chunk.remaining());
        collected.reserve(chunk.remaining());
        while chunk.has_remaining() {
            let piece = chunk.chunk();
            collected.extend_from_slice(piece);
            let n = piece.len();
            chunk.advance(n);
        }
        if collected.capacity() >= CHARGED_BYTES_MIN {
            // It grows by doubling: what is counted is what is used.
            lease.charge(collected.capacity());
        }
    }
}

/// RFC 4648 §5, with or without padding.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    const BASE64URL: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    BASE64URL.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::metrics::Metrics;

    #[test]
    fn base64url_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("AA", &[0]),
            ("AA==", &[0]),
            ("-_8", &[0xfb, 0xff]),
            ("AQID", &[1, 2, 3]),
            ("AQIDBA", &[1, 2, 3, 4]),
        ] {
            assert_eq!(decode_base64url(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["A", "AAAAA", "A!", "%41", "+/8"] {
            assert_eq!(decode_base64url(text), None, "{text}");
        }
    }

    const PACE: PaceLimits = PaceLimits { timeout: Duration::from_secs(30), bytes_per_second: 100 };
    const HOME: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

    fn ledger(budget: usize) -> Arc<Ledger> {
        Ledger::new(budget, Arc::new(Metrics::new()))
    }

    fn chunks(count: usize, every: Duration) -> impl Stream<Item = Result<Bytes, ()>> + Send {
        futures_util::stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok(Bytes::from_static(&[7; 5000]))
        })
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_collected() {
        let ledger = ledger(1 << 20);
        let mut lease = ledger.lease(HOME, Memory::HttpBodies);
        let body = collect(chunks(4, Duration::ZERO), ("", 20_000), PACE, &mut lease).await.unwrap();
        assert_eq!(body.len(), 20_000);
        assert!((20_000..=40_000).contains(&lease.bytes()), "{}", lease.bytes());
        let refused = collect(chunks(4, Duration::ZERO), ("", 19_999), PACE, &mut lease).await;
        assert_eq!(refused, Err(Uncollected::TooLarge));
        drop(lease);
        assert_eq!(ledger.used(), 0);
    }

    /// Nine bodies of 16 MiB but for the last byte made all other writers wait for half a minute.
    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_given_up_and_one_that_is_large_is_not() {
        let ledger = ledger(1 << 20);
        let mut lease = ledger.lease(HOME, Memory::HttpBodies);
        let limit = ("", 1 << 20);
        // 100 s long.
        let body = collect(chunks(20, Duration::from_secs(5)), limit, PACE, &mut lease).await;
        assert_eq!(body.map(|body| body.len()), Ok(100_000));
        let began = clock::Instant::now();
        let stuck = chunks(20, Duration::ZERO).chain(futures_util::stream::pending());
        assert_eq!(collect(stuck, limit, PACE, &mut lease).await, Err(Uncollected::TooSlow));
        assert!(began.elapsed() < Duration::from_secs(61));
        let trickle = chunks(20, Duration::from_secs(29)).map(|_| Ok::<_, ()>(Bytes::from_static(b"x")));
        assert_eq!(collect(trickle, limit, PACE, &mut lease).await, Err(Uncollected::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_what_its_own_address_holds_and_nobody_elses() {
        let ledger = ledger(64 << 10);
        let mut hog = ledger.lease(HOME, Memory::HttpBodies);
        hog.resize(48 << 10).unwrap();
        let mut lease = ledger.lease(HOME, Memory::HttpBodies);
        let refused = collect(chunks(4, Duration::ZERO), ("", 20_000), PACE, &mut lease).await;
        assert_eq!(refused, Err(Uncollected::NoMemory));
        let mut other = ledger.lease("192.0.2.2".parse().unwrap(), Memory::HttpBodies);
        let began = clock::Instant::now();
        assert!(collect(chunks(1, Duration::ZERO), ("", 20_000), PACE, &mut other).await.is_ok());
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
