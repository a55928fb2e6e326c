//! An authenticator that gives way to another one while the server runs: the operator has changed who issues tokens.
//!
//! Open sessions stay until their token ends, as when an issuer takes a key out. The new authenticator decides about newcomers.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use ydash_proto::access::{Admission, Principal};

use super::{Authenticator, Caller, Denied, Eventual};

/// The authenticator that decides at the moment. Cheap to clone.
#[derive(Clone)]
pub struct Replaceable(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<dyn Authenticator>>,
    replaced: Notify,
}

impl Replaceable {
    /// `first` decides until it is replaced.
    #[must_use]
    pub fn new(first: Arc<dyn Authenticator>) -> Replaceable {
        Replaceable(Arc::new(Shared { current: RwLock::new(first), replaced: Notify::new() }))
    }

    /// From here on, `next` decides.
    pub fn replace(&self, next: Arc<dyn Authenticator>) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.0.replaced.notify_one();
    }
}

impl Shared {
    fn current(&self) -> Arc<dyn Authenticator> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Authenticator for Replaceable {
    fn identify(&self, token: Option<&str>) -> Eventual<Principal> {
        self.0.current().identify(token)
    }

    fn authenticate(&self, caller: &Caller<'_>) -> Eventual<Admission> {
        self.0.current().authenticate(caller)
    }

    fn knows_operators(&self) -> bool {
        self.0.current().knows_operators()
    }

    fn asks_again(&self) -> bool {
        self.0.current().asks_again()
    }

    fn refusal(&self, principal: &Principal) -> Denied {
        self.0.current().refusal(principal)
    }

    fn is_ready(&self) -> bool {
        self.0.current().is_ready()
    }

    fn keep_up(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            loop {
                let current = shared.current();
                // One that was replaced needs no keys.
                tokio::select! {
                    () = current.keep_up() => shared.replaced.notified().await,
                    () = shared.replaced.notified() => {}
                }
            }
        })
    }
}
