//! A token that is asked about again while its session lives: what it opens may change without it, if a service says who may do what.
//!
//! It is asked when half of the time is over for which the last answer holds, so that a service which is away for the other half ends nothing.

use core::time::Duration;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use ydash_proto::access::Admission;
use ydash_proto::id::DashboardId;
use ydash_proto::time::Timestamp;

use super::Doorkeeper;
use crate::auth::{Denied, KeptToken, Whence};

/// Between two attempts while nobody answers.
const RETRY: Duration = Duration::from_secs(5);

pub(super) struct Again {
    doorkeeper: Arc<dyn Doorkeeper>,
    from: Whence,
    dashboard: DashboardId,
    token: KeptToken,
    at: Instant,
    asked: Option<BoxFuture<'static, Result<Admission, Denied>>>,
}

impl Again {
    pub(super) fn new(
        doorkeeper: &Arc<dyn Doorkeeper>,
        from: Whence,
        dashboard: DashboardId,
        token: KeptToken,
        until: Timestamp,
    ) -> Box<Again> {
        let (doorkeeper, at) = (Arc::clone(doorkeeper), half_of(until));
        Box::new(Again { doorkeeper, from, dashboard, token, at, asked: None })
    }

    /// What is said of the token when it is asked about next. Cancel-safe.
    pub(super) async fn verdict(&mut self) -> Result<Admission, Denied> {
        let asked = match &mut self.asked {
            Some(asked) => asked,
            None => {
                sleep_until(self.at).await;
                let eventual = self.doorkeeper.admit(&self.from, &self.dashboard, Some(&self.token.0));
                self.asked.insert(Box::pin(eventual.wait()))
            }
        };
        let verdict = asked.await;
        self.asked = None;
        self.at = match &verdict {
            Ok(Admission { until: Some(until), .. }) => half_of(*until),
            _ => Instant::now() + RETRY,
        };
        verdict
    }
}

/// When half of the time until then is over, or a moment from now.
fn half_of(until: Timestamp) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(until.0).saturating_sub(now);
    Instant::now() + (left / 2).clamp(SOON, Duration::from_secs(24 * 3600))
}

/// However short an answer holds.
const SOON: Duration = Duration::from_millis(200);
