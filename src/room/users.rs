//! Who is in the rooms of this node: members, and the users among them who showed a token.
//!
//! Bounded by the sessions that there may be. It counts, and never says who.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ydash_proto::access::Principal;

use crate::metrics::Metrics;

/// The users by name, with how often each is in.
#[derive(Debug)]
pub(super) struct Users {
    inside: Mutex<HashMap<Arc<str>, usize>>,
    metrics: Arc<Metrics>,
}

impl Users {
    pub(super) fn new(metrics: Arc<Metrics>) -> Users {
        Users { inside: Mutex::default(), metrics }
    }

    /// Counts a member until the answer is dropped.
    pub(super) fn enter(self: &Arc<Users>, principal: &Principal) -> Inside {
        self.metrics.members.inc();
        let id = match principal {
            Principal::User(user) => Some(Arc::clone(&user.id)),
            Principal::Anonymous | Principal::Link(_) => None,
        };
        if let Some(id) = &id {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            *inside.entry(Arc::clone(id)).or_default() += 1;
            self.metrics.users.set(inside.len() as i64);
        }
        Inside { users: Arc::clone(self), id }
    }
}

/// A member's presence in the count.
#[derive(Debug)]
pub(super) struct Inside {
    users: Arc<Users>,
    id: Option<Arc<str>>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.users.metrics.members.dec();
        let Some(id) = &self.id else { return };
        let mut inside = self.users.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = inside.get_mut(id) {
            *times -= 1;
            if *times == 0 {
                inside.remove(id);
            }
        }
        if inside.capacity() > 4 * inside.len().max(64) {
            inside.shrink_to_fit();
        }
        self.users.metrics.users.set(inside.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_counts_once_until_the_last_of_its_sessions_left() {
        let metrics = Arc::new(Metrics::new());
        let users = Arc::new(Users::new(Arc::clone(&metrics)));
        let counted = || (metrics.members.get(), metrics.users.get());
        let (ada, bob) = (Principal::user("ada"), Principal::user("bob"));
        let first = users.enter(&ada);
        let second = users.enter(&ada);
        let other = users.enter(&bob);
        let anybody = users.enter(&Principal::Anonymous);
        assert_eq!(counted(), (4, 2));
        drop(first);
        assert_eq!(counted(), (3, 2));
        drop(second);
        assert_eq!(counted(), (2, 1));
        drop((other, anybody));
        assert_eq!(counted(), (0, 0));
    }
}
