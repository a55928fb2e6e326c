//! One session in a room from its beginning to its end, as it is told to whoever writes that down. Never what it wrote.

use core::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ydash_proto::access::Principal;
use ydash_proto::id::{DashboardId, MemberId};
use ydash_proto::log::LogPosition;
use ydash_proto::room::Dialect;

/// Is told of sessions. It must not wait for anything.
pub trait Visitors: Send + Sync + 'static {
    /// One began.
    fn came(&self, visit: &Visit);

    /// It ended.
    fn left(&self, visit: &Visit, stay: Stay);
}

impl fmt::Debug for dyn Visitors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visitors")
    }
}

/// A session of somebody in particular.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The session.
    pub member: MemberId,
    /// Its user.
    pub user: Arc<str>,
    /// The dashboard.
    pub dashboard: DashboardId,
    /// Its dialect.
    pub dialect: Dialect,
    /// The end of the dashboard's log when it came.
    pub position: LogPosition,
}

/// The outcome of a session.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    /// How long it was here.
    pub lasted: Duration,
    /// Updates that it sent, taken or not. Empty ones do not count.
    pub updates: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The end of the dashboard's log when it sent the last one, or came.
    pub position: LogPosition,
}

/// A visit that lasts until it is dropped.
pub(super) struct Visiting {
    visitors: Arc<dyn Visitors>,
    visit: Visit,
    began: Instant,
    stay: Stay,
}

impl Visiting {
    /// Tells that somebody came. Nobody in particular is not told of.
    pub(super) fn begin(
        visitors: &Arc<dyn Visitors>,
        principal: &Principal,
        visit: impl FnOnce(Arc<str>) -> Visit,
    ) -> Option<Box<Visiting>> {
        let visit = visit(principal.author()?);
        visitors.came(&visit);
        let stay = Stay { lasted: Duration::ZERO, updates: 0, bytes: 0, position: visit.position };
        Some(Box::new(Visiting { visitors: Arc::clone(visitors), visit, began: Instant::now(), stay }))
    }

    /// It sent an update.
    pub(super) fn sent(&mut self, bytes: usize, position: LogPosition) {
        self.stay.updates += 1;
        self.stay.bytes += bytes as u64;
        self.stay.position = position;
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        self.visitors.left(&self.visit, Stay { lasted: self.began.elapsed(), ..self.stay });
    }
}
