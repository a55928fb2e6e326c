//! The limits of users on this node: one [`Allowance`] per user, which all of the user's sessions and calls share.
//!
//! A user is remembered while in a session, and after it until all rates have recovered. Joins and calls look a user up in the table; a
//! session keeps what it found there, so that messages do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ydash_proto::access::Principal;
use ydash_proto::allowance::{Allowance, Exceeded, UserLimit, UserLimits};
use ydash_proto::limits::users::{REMEMBERED_MAX, TOLD_BYTES, TOLD_MESSAGES};
use ydash_proto::time::Timestamp;

use crate::metrics::Refusal;

/// Users at which those that owe nothing are looked for and forgotten.
const SWEEP_AT: usize = 4096;

/// The table of users.
#[derive(Debug)]
pub struct Allowances {
    limits: UserLimits,
    started: Instant,
    users: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<Arc<str>, Arc<Mutex<Allowance>>>,
    sweep_at: usize,
}

impl Allowances {
    /// No user has used anything.
    #[must_use]
    pub fn new(limits: UserLimits) -> Arc<Allowances> {
        let users = Mutex::new(Table { entries: HashMap::new(), sweep_at: SWEEP_AT });
        Arc::new(Allowances { limits, started: Instant::now(), users })
    }

    /// Without limits in effect.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Arc<Allowances> {
        use ydash_proto::allowance::Rate;
        let rate = Rate { per_second: u32::MAX, burst: u32::MAX };
        Allowances::new(UserLimits {
            sessions_max: u32::MAX,
            joins: rate,
            messages: rate,
            bytes: rate,
            requests: rate,
            dashboards_per_hour: u32::MAX,
            dashboards_burst: u32::MAX,
        })
    }

    /// The user's allowance; `None` for somebody who counts by the address alone.
    #[must_use]
    pub fn of(&self, principal: &Principal) -> Option<User> {
        let Principal::User(user) = principal else { return None };
        let now = self.now();
        let mut table = lock(&self.users);
        table.sweep(now);
        let allowance = match table.entries.get(&user.id) {
            Some(known) => Arc::clone(known),
            None => {
                let allowance = Arc::new(Mutex::new(Allowance::new(self.limits, now)));
                table.entries.insert(Arc::clone(&user.id), Arc::clone(&allowance));
                allowance
            }
        };
        Some(User { allowance, started: self.started })
    }

    /// Counts a session until the place is dropped; `None` for somebody who counts by the address alone.
    ///
    /// # Errors
    /// [`Exceeded`] – turn it away and name the limit.
    pub fn join(&self, principal: &Principal) -> Result<Option<UserPlace>, Exceeded> {
        self.of(principal).map(|user| user.join()).transpose()
    }

    /// Counts a REST call, if a user makes it.
    ///
    /// # Errors
    /// [`Exceeded`] – answer 429 and name the limit.
    pub fn call(&self, principal: &Principal) -> Result<(), Exceeded> {
        self.of(principal).map_or(Ok(()), |user| user.take(Allowance::call))
    }

    /// Counts bytes that came with a REST call.
    ///
    /// # Errors
    /// As [`Allowances::call`].
    pub fn bring(&self, principal: &Principal, bytes: usize) -> Result<(), Exceeded> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.of(principal).map_or(Ok(()), |user| user.take(|allowance, now| allowance.send(now, 0, bytes)))
    }

    fn now(&self) -> Timestamp {
        since(self.started)
    }
}

fn since(started: Instant) -> Timestamp {
    Timestamp(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic leaves half a value behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Forgets users without a session whose rates have recovered, each time the table has doubled; at its bound, all without a session.
    fn sweep(&mut self, now: Timestamp) {
        if self.entries.len() < self.sweep_at {
            return;
        }
        // Another holder of the allowance is a session, or about to be one.
        self.entries.retain(|_, one| Arc::strong_count(one) > 1 || !lock(one).is_forgettable(now));
        if self.entries.len() >= REMEMBERED_MAX {
            self.entries.retain(|_, one| Arc::strong_count(one) > 1);
        }
        self.sweep_at = (self.entries.len() * 2).max(SWEEP_AT);
        if self.entries.len() < REMEMBERED_MAX {
            self.sweep_at = self.sweep_at.min(REMEMBERED_MAX);
        }
    }
}

/// A user's allowance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct User {
    allowance: Arc<Mutex<Allowance>>,
    started: Instant,
}

impl User {
    fn take<T>(&self, what: impl FnOnce(&mut Allowance, Timestamp) -> T) -> T {
        what(&mut lock(&self.allowance), since(self.started))
    }

    /// Counts a session until the place is dropped.
    ///
    /// # Errors
    /// [`Exceeded`] – turn it away and name the limit.
    pub fn join(&self) -> Result<UserPlace, Exceeded> {
        self.take(Allowance::join)?;
        Ok(UserPlace(self.clone()))
    }

    /// Whether the user may begin another dashboard.
    ///
    /// # Errors
    /// [`Exceeded`] – it is not to be begun.
    pub fn may_begin(&self) -> Result<(), Exceeded> {
        self.take(Allowance::may_begin)
    }

    /// Counts a dashboard that the user has begun.
    pub fn begun(&self) {
        // Other rooms may have begun some since `may_begin`: then the user has one too many, once.
        let _ = self.take(Allowance::begin);
    }
}

/// The place of a user's session; dropping it gives it back.
#[derive(Debug)]
pub struct UserPlace(User);

impl UserPlace {
    /// The user who has it.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.0
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        self.0.take(|allowance, _| allowance.leave());
    }
}

/// Messages and bytes that a session has sent and its user has not paid for yet.
#[derive(Debug, Default)]
pub struct Sent {
    user: Option<User>,
    messages: u32,
    bytes: u32,
}

impl Sent {
    /// From here on, this user pays.
    pub fn by(&mut self, user: User) {
        self.user = Some(user);
    }

    /// One message more.
    pub fn message(&mut self) {
        self.messages = self.messages.saturating_add(1);
    }

    /// So many bytes more.
    pub fn bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Pays for everything that was sent, once it is enough: most messages cost an addition and a comparison, and take no lock.
    ///
    /// # Errors
    /// [`Exceeded`] – wait, and try again: nothing was paid.
    pub fn settle(&mut self) -> Result<(), Exceeded> {
        if self.messages >= TOLD_MESSAGES || self.bytes >= TOLD_BYTES {
            let (messages, bytes) = (self.messages, self.bytes);
            if let Some(user) = &self.user {
                user.take(|allowance, now| allowance.send(now, messages, bytes))?;
            }
            (self.messages, self.bytes) = (0, 0);
        }
        Ok(())
    }
}

impl From<UserLimit> for Refusal {
    fn from(limit: UserLimit) -> Refusal {
        match limit {
            UserLimit::Sessions => Refusal::UserSessions,
            UserLimit::Joins => Refusal::UserJoinRate,
            UserLimit::Messages | UserLimit::Bytes => Refusal::UserRate,
            UserLimit::Requests => Refusal::UserRequestRate,
            UserLimit::Dashboards => Refusal::UserCreateRate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ydash_proto::allowance::Rate;

    const LIMITS: UserLimits = UserLimits {
        sessions_max: 2,
        joins: Rate { per_second: 1, burst: 100 },
        messages: Rate { per_second: 1, burst: 32 },
        bytes: Rate { per_second: 1, burst: 1 << 20 },
        requests: Rate { per_second: 1, burst: 2 },
        dashboards_per_hour: 1,
        dashboards_burst: 1,
    };

    fn limit<T>(outcome: Result<T, Exceeded>) -> Option<UserLimit> {
        outcome.err().map(|exceeded| exceeded.limit)
    }

    #[test]
    fn all_sessions_and_calls_of_a_user_count_together_and_nobody_elses() {
        let allowances = Allowances::new(LIMITS);
        let (ada, bob) = (Principal::user("ada"), Principal::user("bob"));
        let of = |who: &Principal| allowances.of(who).unwrap();
        let first = of(&ada).join().unwrap();
        let _second = of(&ada).join().unwrap();
        assert_eq!(limit(of(&ada).join()), Some(UserLimit::Sessions));
        assert!(of(&bob).join().is_ok());
        drop(first);
        assert!(allowances.join(&ada).is_ok_and(|place| place.is_some()));

        let (mut one, mut other) = (Sent::default(), Sent::default());
        one.by(of(&ada));
        other.by(of(&ada));
        for sent in [&mut one, &mut other] {
            for _ in 0..TOLD_MESSAGES {
                sent.message();
                sent.settle().unwrap();
            }
        }
        for _ in 1..TOLD_MESSAGES {
            one.message();
            assert_eq!(one.settle(), Ok(()), "paid for together");
        }
        one.message();
        assert_eq!(limit(one.settle()), Some(UserLimit::Messages));
        other.bytes(2 << 20);
        assert_eq!(other.settle(), Ok(()), "a paste passes");
        assert_eq!(limit(allowances.bring(&ada, 1)), Some(UserLimit::Bytes), "over REST as well");
        assert_eq!(allowances.bring(&bob, 1), Ok(()));

        assert_eq!((allowances.call(&ada), allowances.call(&ada)), (Ok(()), Ok(())));
        assert_eq!(limit(allowances.call(&ada)), Some(UserLimit::Requests));
        assert_eq!((of(&ada).may_begin(), of(&ada).may_begin()), (Ok(()), Ok(())), "none was begun");
        of(&ada).begun();
        assert_eq!(limit(of(&ada).may_begin()), Some(UserLimit::Dashboards));
        assert!(allowances.join(&Principal::Anonymous).is_ok_and(|place| place.is_none()));
        assert_eq!(allowances.call(&Principal::Anonymous), Ok(()));
    }

    #[test]
    fn users_who_are_in_no_session_are_remembered_up_to_a_bound() {
        let allowances = Allowances::new(LIMITS);
        let here = allowances.of(&Principal::user("here")).unwrap().join().unwrap();
        for n in 0..2 * REMEMBERED_MAX {
            // The rate of each has not recovered.
            allowances.call(&Principal::user(&format!("user{n}"))).unwrap();
            assert!(lock(&allowances.users).entries.len() <= REMEMBERED_MAX + 1);
        }
        assert!(lock(&allowances.users).entries.contains_key("here"));
        drop(here);
    }
}
