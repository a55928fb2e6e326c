//! What one user may take of a node, on however many sessions and from however many addresses: sessions, joins, messages, bytes, REST calls
//! and new dashboards.
//!
//! It counts beside what a session and an address may. Nobody in particular, and whoever holds a link, count by their address alone: a link
//! is for as many people as it was given to.

use core::fmt;
use core::time::Duration;

use crate::rate::TokenBucket;
use crate::time::Timestamp;

/// How much of something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// What one user may take of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Sessions at a time.
    pub sessions_max: u32,
    /// Sessions that begin.
    pub joins: Pace,
    /// Messages on all sessions together.
    pub messages: Pace,
    /// Bytes that are sent, on all sessions and over REST together; what is larger than the burst passes alone.
    pub bytes: Pace,
    /// REST calls.
    pub requests: Pace,
    /// Dashboards that the user is the first to write to, per hour.
    pub dashboards_per_hour: u32,
    /// The same at once.
    pub dashboards_burst: u32,
}

/// A limit of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserLimit {
    /// `user-sessions-max`
    Sessions,
    /// `user-join-rate`
    Joins,
    /// `user-message-rate`
    Messages,
    /// `user-byte-rate`
    Bytes,
    /// `user-request-rate`
    Requests,
    /// `user-create-rate`
    Dashboards,
}

impl UserLimit {
    /// All of them.
    pub const ALL: [UserLimit; 6] = [
        UserLimit::Sessions,
        UserLimit::Joins,
        UserLimit::Messages,
        UserLimit::Bytes,
        UserLimit::Requests,
        UserLimit::Dashboards,
    ];

    /// The setting that says what it is.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            UserLimit::Sessions => "user-sessions-max",
            UserLimit::Joins => "user-join-rate",
            UserLimit::Messages => "user-message-rate",
            UserLimit::Bytes => "user-byte-rate",
            UserLimit::Requests => "user-request-rate",
            UserLimit::Dashboards => "user-create-rate",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            UserLimit::Sessions => "",
            UserLimit::Dashboards => " per hour",
            UserLimit::Joins | UserLimit::Messages | UserLimit::Bytes | UserLimit::Requests => " per second",
        }
    }
}

impl UserLimits {
    /// What the setting says.
    #[must_use]
    pub fn value(&self, limit: UserLimit) -> u32 {
        match limit {
            UserLimit::Sessions => self.sessions_max,
            UserLimit::Joins => self.joins.per_second,
            UserLimit::Messages => self.messages.per_second,
            UserLimit::Bytes => self.bytes.per_second,
            UserLimit::Requests => self.requests.per_second,
            UserLimit::Dashboards => self.dashboards_per_hour,
        }
    }

    fn exceeded(&self, limit: UserLimit, retry_after: Duration) -> Exceeded {
        let wait = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        Exceeded { limit, value: self.value(limit), wait }
    }
}

/// A user has what one may have; it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exceeded {
    /// Which limit it is.
    pub limit: UserLimit,
    /// What the setting says.
    pub value: u32,
    /// Milliseconds: it goes along in [`CloseCode`](crate::wire::close::CloseCode), of which every session has one.
    wait: u32,
}

impl Exceeded {
    /// One of a limit with that value, after which to come back in so many milliseconds.
    #[must_use]
    pub const fn new(limit: UserLimit, value: u32, wait: u32) -> Exceeded {
        Exceeded { limit, value, wait }
    }

    /// When to come back.
    #[must_use]
    pub fn retry_after(self) -> Duration {
        Duration::from_millis(self.wait.into())
    }

    /// The same in whole seconds.
    #[must_use]
    pub fn retry_after_seconds(self) -> u32 {
        self.wait.div_ceil(1000).max(1)
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (setting, unit) = (self.limit.setting(), self.limit.unit());
        write!(f, "{setting} is {}{unit}: try again in {} s", self.value, self.retry_after_seconds())
    }
}

/// Nobody knows when a session ends; about when a page that was closed has been missed.
const SESSION_AGAIN: Duration = Duration::from_secs(5);

/// A dashboard is so many tokens, so that a rate per hour is one of whole tokens per second.
const DASHBOARD: u32 = 3600;

/// What one user has of its limits.
#[derive(Clone, Debug)]
pub struct Allowance {
    limits: UserLimits,
    sessions: u32,
    joins: TokenBucket,
    messages: TokenBucket,
    bytes: TokenBucket,
    requests: TokenBucket,
    dashboards: TokenBucket,
}

impl Allowance {
    /// All of it is left.
    #[must_use]
    pub fn new(limits: UserLimits, now: Timestamp) -> Allowance {
        let bucket = |pace: Pace| TokenBucket::new(pace.burst, pace.per_second, now);
        let burst = limits.dashboards_burst.saturating_mul(DASHBOARD);
        Allowance {
            limits,
            sessions: 0,
            joins: bucket(limits.joins),
            messages: bucket(limits.messages),
            bytes: bucket(limits.bytes),
            requests: bucket(limits.requests),
            dashboards: TokenBucket::new(burst, limits.dashboards_per_hour, now),
        }
    }

    /// One session more.
    ///
    /// # Errors
    /// [`Exceeded`] – it is not counted.
    pub fn join(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        let limits = self.limits;
        if self.sessions >= limits.sessions_max {
            return Err(limits.exceeded(UserLimit::Sessions, SESSION_AGAIN));
        }
        self.joins.take(now, 1).map_err(|wait| limits.exceeded(UserLimit::Joins, wait))?;
        self.sessions += 1;
        Ok(())
    }

    /// One session less.
    pub fn leave(&mut self) {
        self.sessions = self.sessions.saturating_sub(1);
    }

    /// So many messages of so many bytes together.
    ///
    /// # Errors
    /// [`Exceeded`] – nothing was taken.
    pub fn send(&mut self, now: Timestamp, messages: u32, bytes: u32) -> Result<(), Exceeded> {
        let limits = self.limits;
        let before = self.messages.clone();
        self.messages.take(now, messages).map_err(|wait| limits.exceeded(UserLimit::Messages, wait))?;
        self.bytes.take(now, bytes).map_err(|wait| {
            self.messages = before;
            limits.exceeded(UserLimit::Bytes, wait)
        })
    }

    /// One REST call.
    ///
    /// # Errors
    /// [`Exceeded`] – it is not counted.
    pub fn call(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        let limits = self.limits;
        self.requests.take(now, 1).map_err(|wait| limits.exceeded(UserLimit::Requests, wait))
    }

    /// One dashboard that nobody has written to before.
    ///
    /// # Errors
    /// [`Exceeded`] – it is not counted.
    pub fn begin(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        let limits = self.limits;
        self.dashboards.take(now, DASHBOARD).map_err(|wait| limits.exceeded(UserLimit::Dashboards, wait))
    }

    /// Whether one more could be begun.
    ///
    /// # Errors
    /// [`Exceeded`] – not now.
    pub fn may_begin(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        self.clone().begin(now)
    }

    /// Whether forgetting it, and making another one later, is no loss.
    #[must_use]
    pub fn is_forgettable(&mut self, now: Timestamp) -> bool {
        let buckets = [&mut self.joins, &mut self.messages, &mut self.bytes, &mut self.requests, &mut self.dashboards];
        self.sessions == 0 && buckets.into_iter().all(|bucket| bucket.is_full(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UserLimits = UserLimits {
        sessions_max: 2,
        joins: Pace { per_second: 1, burst: 3 },
        messages: Pace { per_second: 10, burst: 20 },
        bytes: Pace { per_second: 1000, burst: 5000 },
        requests: Pace { per_second: 2, burst: 4 },
        dashboards_per_hour: 60,
        dashboards_burst: 2,
    };

    fn after(millis: u64) -> Timestamp {
        Timestamp(millis)
    }

    fn told(outcome: Result<(), Exceeded>) -> String {
        outcome.map_or_else(|exceeded| exceeded.to_string(), |()| "yes".into())
    }

    #[test]
    fn every_limit_of_a_user_says_which_it_is_its_value_and_when_to_come_back() {
        let mut user = Allowance::new(LIMITS, after(0));
        assert_eq!(told(user.join(after(0))), "yes");
        assert_eq!(told(user.join(after(0))), "yes");
        assert_eq!(told(user.join(after(0))), "user-sessions-max is 2: try again in 5 s");
        user.leave();
        assert_eq!(told(user.join(after(0))), "yes");
        user.leave();
        assert_eq!(told(user.join(after(0))), "user-join-rate is 1 per second: try again in 1 s");
        assert_eq!(told(user.join(after(1000))), "yes");

        assert_eq!(told(user.send(after(0), 1, 8000)), "yes", "what is larger than the burst passes alone");
        assert_eq!(told(user.send(after(0), 19, 1)), "user-byte-rate is 1000 per second: try again in 4 s");
        assert_eq!(told(user.send(after(4000), 20, 0)), "yes", "no message was counted that did not pass");
        assert_eq!(told(user.send(after(4000), 1, 0)), "user-message-rate is 10 per second: try again in 1 s");

        for _ in 0..4 {
            assert_eq!(told(user.call(after(0))), "yes");
        }
        assert_eq!(told(user.call(after(0))), "user-request-rate is 2 per second: try again in 1 s");

        assert_eq!(told(user.begin(after(0))), "yes");
        assert_eq!(told(user.begin(after(0))), "yes");
        assert_eq!(told(user.begin(after(0))), "user-create-rate is 60 per hour: try again in 60 s");
        assert_eq!(told(user.begin(after(60_000))), "yes");
    }

    #[test]
    fn a_user_who_has_left_and_owes_nothing_may_be_forgotten() {
        let mut user = Allowance::new(LIMITS, after(0));
        assert!(user.is_forgettable(after(0)));
        user.join(after(0)).unwrap();
        assert!(!user.is_forgettable(after(60_000)), "it is here");
        user.leave();
        assert!(user.is_forgettable(after(60_000)));
        user.begin(after(60_000)).unwrap();
        assert!(!user.is_forgettable(after(119_999)) && user.is_forgettable(after(120_000)));
    }
}
