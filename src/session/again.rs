//! A token that is asked about again while its session lives: if a service decides who may do what, its answer may change while the token
//! stays the same.
//!
//! The question is put when half of the time is over for which the last answer holds, and a little by chance, so that sessions that came
//! together do not ask together. The other half is for a service that is away.

use core::time::Duration;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use ydash_proto::access::Admission;
use ydash_proto::id::DashboardId;
use ydash_proto::time::Timestamp;

use super::Doorkeeper;
use crate::auth::{Denied, KeptToken, Whence, now};

/// Between two attempts while nobody answers.
const RETRY: Duration = Duration::from_secs(5);
/// The shortest pause, however short an answer holds, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How much longer a pause may be by chance.
const SPREAD: f64 = 0.2;

pub(super) struct Again {
    asked: Arc<Asked>,
    /// The pause and then the question, as far as they have come.
    next: BoxFuture<'static, Result<Admission, Denied>>,
}

struct Asked {
    doorkeeper: Arc<dyn Doorkeeper>,
    from: Whence,
    dashboard: DashboardId,
    token: KeptToken,
}

impl Again {
    pub(super) fn new(
        doorkeeper: &Arc<dyn Doorkeeper>,
        from: Whence,
        dashboard: DashboardId,
        token: KeptToken,
        until: Timestamp,
    ) -> Box<Again> {
        let asked = Arc::new(Asked { doorkeeper: Arc::clone(doorkeeper), from, dashboard, token });
        let next = Arc::clone(&asked).verdict(half_of(until));
        Box::new(Again { asked, next })
    }

    /// The next answer about the token. Cancel-safe.
    pub(super) async fn verdict(&mut self) -> Result<Admission, Denied> {
        let verdict = (&mut self.next).await;
        let pause = match &verdict {
            Ok(Admission { until: Some(until), .. }) => half_of(*until),
            _ => RETRY,
        };
        self.next = Arc::clone(&self.asked).verdict(pause);
        verdict
    }
}

impl Asked {
    fn verdict(self: Arc<Asked>, pause: Duration) -> BoxFuture<'static, Result<Admission, Denied>> {
        let at = Instant::now() + pause.mul_f64(1.0 + SPREAD * fastrand::f64());
        Box::pin(async move {
            sleep_until(at).await;
            self.doorkeeper.admit(&self.from, &self.dashboard, Some(&self.token.0)).wait().await
        })
    }
}

/// Half of the time until then.
fn half_of(until: Timestamp) -> Duration {
    (until.since(now()) / 2).clamp(PAUSE_MIN, PAUSE_MAX)
}
