//! Limits of one user on a node, over all sessions and addresses: sessions, joins, messages, bytes, REST calls and new dashboards.
//!
//! They hold beside the limits of a session and of an address. Callers without a token, and those with a link, count by their address
//! alone: many people may hold the same link.

use core::fmt;
use core::time::Duration;

use crate::rate::TokenBucket;
use crate::time::Timestamp;

/// A rate, in the long run and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// The limits of one user on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Sessions at a time.
    pub sessions_max: u32,
    /// Sessions that begin.
    pub joins: Rate,
    /// Messages on all sessions together.
    pub messages: Rate,
    /// Bytes that are sent, on all sessions and over REST together. A message larger than the burst waits for all of it.
    pub bytes: Rate,
    /// REST calls.
    pub requests: Rate,
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

    /// The name of its setting.
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
    /// The value of a limit's setting.
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

/// A limit that a user has reached. It passes: the same may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exceeded {
    /// The limit.
    pub limit: UserLimit,
    /// The value of its setting.
    pub value: u32,
    /// Milliseconds, in 32 bits: a [`CloseCode`](crate::wire::close::CloseCode) holds it, and every session holds one of those.
    wait: u32,
}

impl Exceeded {
    /// `limit` is reached, whose setting has this `value`; `wait` is the time until the next attempt, in milliseconds.
    #[must_use]
    pub const fn new(limit: UserLimit, value: u32, wait: u32) -> Exceeded {
        Exceeded { limit, value, wait }
    }

    /// The time until the next attempt.
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

/// The time until the next attempt while all sessions are taken: nobody knows when one ends, but a page that was closed is missed by then.
const SESSION_AGAIN: Duration = Duration::from_secs(5);

/// Tokens that a dashboard costs, so that a rate per hour is a whole number of tokens per second.
const DASHBOARD: u32 = 3600;

/// One user's use of the limits.
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
    /// Nothing is used.
    #[must_use]
    pub fn new(limits: UserLimits, now: Timestamp) -> Allowance {
        let bucket = |rate: Rate| TokenBucket::new(rate.burst, rate.per_second, now);
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

    /// One dashboard more that the user is the first to write to.
    ///
    /// # Errors
    /// [`Exceeded`] – it is not counted.
    pub fn begin(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        let limits = self.limits;
        self.dashboards.take(now, DASHBOARD).map_err(|wait| limits.exceeded(UserLimit::Dashboards, wait))
    }

    /// Whether the user may begin one more dashboard. Counts nothing.
    ///
    /// # Errors
    /// [`Exceeded`] – not yet.
    pub fn may_begin(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        self.clone().begin(now)
    }

    /// Whether it equals one that is made later, so that it may be forgotten.
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
        joins: Rate { per_second: 1, burst: 3 },
        messages: Rate { per_second: 10, burst: 20 },
        bytes: Rate { per_second: 1000, burst: 5000 },
        requests: Rate { per_second: 2, burst: 4 },
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
