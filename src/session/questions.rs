//! How often one client's SyncStep1 are answered: an answer may cost as much as the document is large.
//!
//! Stock clients ask once per connection, or every so many milliseconds (`resyncInterval`, `forceSyncInterval`). A question beyond
//! the budget waits here while its client is read on, and a newer one takes its place: the answer to that says all that the
//! other's would.

use crate::room::RoomHandle;
use bytes::Bytes;
use core::time::Duration;
use tokio::time::Instant;
use ydash_proto::rate::TokenBucket;
use ydash_proto::time::Timestamp;

/// A question about a document of at least [`PRICED_BYTES`] costs so many tokens, about a smaller one less.
const PRICE_MAX: u32 = 16;
const PRICED_BYTES: usize = 1 << 20;
/// Eight of the dearest at once and one a second, or of the cheapest sixteen a second.
const BURST: u32 = 8 * PRICE_MAX;
const PER_SECOND: u32 = PRICE_MAX;
/// A question that is longer is answered, if it has to wait, as one of somebody who has nothing.
const KEPT_BYTES_MAX: usize = 32 << 10;
const HAS_NOTHING: &[u8] = &[0];

/// The questions of one session.
#[derive(Debug)]
pub(super) struct Questions {
    budget: TokenBucket,
    /// The newest that has to wait, and until when.
    waiting: Option<(Instant, Bytes)>,
}

impl Questions {
    /// None so far.
    pub(super) fn new(now: Timestamp) -> Questions {
        Questions { budget: TokenBucket::new(BURST, PER_SECOND, now), waiting: None }
    }

    /// The client asks about the document in `room`, of which it has `have`. Says whether it is to be answered at once.
    pub(super) fn ask(&mut self, now: Timestamp, room: &RoomHandle, have: &Bytes) -> bool {
        let due_at = match self.waiting {
            Some((due_at, _)) => due_at,
            None => match self.budget.take(now, price(room)) {
                Ok(()) => return true,
                Err(wait) => Instant::now() + wait,
            },
        };
        // A copy, so that it does not keep what it came in.
        let kept = match have.len() {
            ..=KEPT_BYTES_MAX => Bytes::copy_from_slice(have),
            _ => Bytes::from_static(HAS_NOTHING),
        };
        self.waiting = Some((due_at, kept));
        false
    }

    /// When the one that waits is to be answered.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(due_at, _)| *due_at)
    }

    /// The one that has waited long enough.
    pub(super) fn due(&mut self, now: Timestamp, room: &RoomHandle) -> Option<Bytes> {
        let (due_at, _) = self.waiting.as_mut().filter(|(due_at, _)| *due_at <= Instant::now())?;
        if let Err(wait) = self.budget.take(now, price(room)) {
            // The document has grown meanwhile.
            *due_at += wait.max(Duration::from_millis(1));
            return None;
        }
        self.waiting.take().map(|(_, have)| have)
    }
}

fn price(room: &RoomHandle) -> u32 {
    let sixteenths = room.document_bytes() / (PRICED_BYTES / PRICE_MAX as usize);
    u32::try_from(sixteenths).unwrap_or(u32::MAX).clamp(1, PRICE_MAX)
}
