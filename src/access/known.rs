//! Records that were read or heard of, by what they are about: bounded, and never older than something known before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use ydash_proto::access::Records;
use ydash_proto::id::DashboardId;

use super::{Content, Subject};

/// How long what was read from a catalog that others write to counts as current. They tell of every change; this is for those that got lost.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(5);

/// What a node knows of who may do what. Rooms look here whenever somebody comes, so that none is decided about with less than is known.
pub struct RecordCache {
    known: Mutex<KnownRecords>,
    /// Grows whenever something later becomes known.
    changes: AtomicU64,
    /// Whether other nodes go on without this one when it is stopped.
    is_leased: bool,
    began: Instant,
    /// When it was known that nothing had been missed, in milliseconds since it began.
    kept_up_at: AtomicU64,
    kept_up: Notify,
    /// How often this node was found to have been stopped.
    stops: AtomicU64,
}

/// A node that was stopped for so long was not waited for.
const LEASE: Duration = Duration::from_secs(3);

impl RecordCache {
    /// Nothing is known yet. `is_shared` if other processes write to the catalog.
    #[must_use]
    pub fn new(is_shared: bool) -> RecordCache {
        let known = KnownRecords::new(is_shared.then_some(FRESH_FOR));
        RecordCache {
            known: Mutex::new(known),
            changes: AtomicU64::new(0),
            is_leased: is_shared,
            began: Instant::now(),
            kept_up_at: AtomicU64::new(0),
            kept_up: Notify::new(),
            stops: AtomicU64::new(0),
        }
    }

    /// Whether this node was not stopped for longer than others wait for it.
    #[must_use]
    pub fn is_kept_up(&self) -> bool {
        !self.is_leased
            || self.now().saturating_sub(self.kept_up_at.load(Ordering::Acquire)) <= LEASE.as_millis() as u64
    }

    /// Waits until what this node has missed while it was stopped is known, or cannot be.
    pub async fn until_kept_up(&self) {
        let waiting = async {
            loop {
                let kept_up = self.kept_up.notified();
                if self.is_kept_up() {
                    return;
                }
                kept_up.await;
            }
        };
        // While the catalog is away nobody can know: whoever is here stays.
        let _ = timeout(LEASE, waiting).await;
    }

    /// How often this node was stopped for longer than others wait for it.
    #[must_use]
    pub fn stops(&self) -> u64 {
        self.stops.load(Ordering::Acquire)
    }

    pub(super) fn note_stop(&self) {
        self.stops.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn keep_up(&self) {
        self.kept_up_at.store(self.now(), Ordering::Release);
        self.kept_up.notify_waiters();
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How often something became known.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All that is known about a dashboard, current or not.
    #[must_use]
    pub fn latest(&self, dashboard: &DashboardId) -> Records {
        self.lock().records(dashboard, &Subject::all_of(dashboard))
    }

    /// All that is known about a dashboard, if nothing of it has to be read.
    #[must_use]
    pub fn current(&self, dashboard: &DashboardId) -> Option<Records> {
        let (now, subjects) = (Instant::now(), Subject::all_of(dashboard));
        let known = self.lock();
        let is_current = subjects.iter().all(|subject| known.is_fresh(subject, now));
        is_current.then(|| known.records(dashboard, &subjects))
    }

    /// Those of `subjects` that have to be read before they are believed.
    pub(super) fn stale<'a>(&self, subjects: &'a [Subject]) -> Vec<&'a Subject> {
        let now = Instant::now();
        let known = self.lock();
        subjects.iter().filter(|subject| !known.is_fresh(subject, now)).collect()
    }

    pub(super) fn learn(&self, subject: &Subject, content: Option<Content>) -> bool {
        let is_later = self.lock().learn(subject, content, Instant::now());
        if is_later {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        is_later
    }

    pub(super) fn distrust(&self) {
        self.lock().distrust();
    }

    fn lock(&self) -> MutexGuard<'_, KnownRecords> {
        // A panic leaves a whole entry or none.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that are remembered. Beyond, those are forgotten that were read longest ago.
const KNOWN_MAX: usize = 32 << 10;
/// Bytes of them, as they are stored. One has at most [`crate::catalog::CONTENT_BYTES_MAX`].
const KNOWN_BYTES_MAX: usize = 32 << 20;

/// Records, also absent ones.
struct KnownRecords {
    entries: HashMap<Subject, Entry>,
    bytes: usize,
    /// How long what was read counts as current; `None` if only this process writes.
    fresh_for: Option<Duration>,
}

struct Entry {
    /// `None` if nothing is written down.
    content: Option<Content>,
    /// `None` if something may have been missed since.
    read_at: Option<Instant>,
}

impl Content {
    pub(super) fn version(&self) -> u64 {
        match self {
            Content::Record(known, _) => known.version,
            Content::Blocked(known, _) => known.version,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Content::Record(_, bytes) | Content::Blocked(_, bytes) => *bytes,
        }
    }
}

impl KnownRecords {
    fn new(fresh_for: Option<Duration>) -> KnownRecords {
        KnownRecords { entries: HashMap::new(), bytes: 0, fresh_for }
    }

    /// Whether what is known is current.
    fn is_fresh(&self, subject: &Subject, now: Instant) -> bool {
        let read_at = self.entries.get(subject).and_then(|entry| entry.read_at);
        read_at.is_some_and(|at| self.fresh_for.is_none_or(|fresh_for| now.duration_since(at) < fresh_for))
    }

    /// What is known, current or not.
    fn get(&self, subject: &Subject) -> Option<&Content> {
        self.entries.get(subject)?.content.as_ref()
    }

    /// All that is known about a dashboard, which is what `subjects` says, current or not.
    fn records(&self, dashboard: &DashboardId, subjects: &[Subject]) -> Records {
        let mut records = Records::none(dashboard.clone());
        for subject in subjects {
            if let Some(content) = self.get(subject) {
                records.learn(content.of(subject, dashboard));
            }
        }
        records
    }

    /// Takes what was read or heard. Says whether it is later than what was known.
    fn learn(&mut self, subject: &Subject, content: Option<Content>, now: Instant) -> bool {
        let version = content.as_ref().map_or(0, Content::version);
        let bytes = content.as_ref().map_or(0, Content::bytes);
        if let Some(entry) = self.entries.get_mut(subject) {
            let is_later = version > entry.content.as_ref().map_or(0, Content::version);
            if is_later {
                self.bytes -= entry.content.as_ref().map_or(0, Content::bytes);
                self.bytes += bytes;
                entry.content = content;
            }
            entry.read_at = Some(now);
            return is_later;
        }
        while self.entries.len() >= KNOWN_MAX || self.bytes + bytes > KNOWN_BYTES_MAX {
            let before = self.entries.len();
            self.forget_some();
            if self.entries.len() == before {
                break;
            }
        }
        self.bytes += bytes;
        self.entries.insert(subject.clone(), Entry { content, read_at: Some(now) });
        version > 0
    }

    /// Something may have been missed: everything is read again before it is believed.
    fn distrust(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.read_at = None);
    }

    /// Forgets the older half.
    fn forget_some(&mut self) {
        let mut ages: Vec<Option<Instant>> = self.entries.values().map(|entry| entry.read_at).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        self.entries.retain(|subject, entry| entry.read_at > median || *subject == Subject::Blocked);
        self.bytes = self.entries.values().filter_map(|entry| entry.content.as_ref()).map(Content::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use ydash_proto::access::{Known, Record};
    use ydash_proto::id::DashboardId;

    fn subject(n: usize) -> Subject {
        Subject::Dashboard(DashboardId::parse(&format!("w/{n}")).unwrap())
    }

    fn content(version: u64) -> Option<Content> {
        Some(Content::Record(Known { version, record: Arc::new(Record::default()) }, 1 << 20))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_never_displaces_what_is_newer() {
        let mut known = KnownRecords::new(Some(Duration::from_secs(5)));
        let now = Instant::now();
        assert!(!known.is_fresh(&subject(1), now));
        assert!(!known.learn(&subject(1), None, now), "absent is no news");
        assert!(known.is_fresh(&subject(1), now));
        assert!(known.learn(&subject(1), content(3), now));
        assert!(!known.learn(&subject(1), content(2), now));
        assert!(!known.learn(&subject(1), None, now));
        assert_eq!(known.get(&subject(1)).map(Content::version), Some(3));
        assert!(!known.is_fresh(&subject(1), now + Duration::from_secs(5)));
        known.distrust();
        assert!(!known.is_fresh(&subject(1), now));
        assert_eq!(known.get(&subject(1)).map(Content::version), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_bounded_however_many_names_are_asked_for() {
        let mut known = KnownRecords::new(None);
        known.learn(&Subject::Blocked, None, Instant::now());
        for n in 0..KNOWN_MAX * 2 {
            tokio::time::advance(Duration::from_millis(1)).await;
            known.learn(&subject(n), None, Instant::now());
            assert!(known.entries.len() <= KNOWN_MAX);
        }
        assert!(known.is_fresh(&subject(KNOWN_MAX * 2 - 1), Instant::now()));
        assert!(!known.is_fresh(&subject(0), Instant::now()));
        assert!(known.is_fresh(&Subject::Blocked, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_bounded_in_bytes_and_the_last_one_is_there() {
        let mut known = KnownRecords::new(None);
        for n in 0..100 {
            tokio::time::advance(Duration::from_millis(1)).await;
            for version in 1..=2 {
                assert!(known.learn(&subject(n), content(version), Instant::now()));
            }
            assert!(known.bytes <= KNOWN_BYTES_MAX && known.bytes == known.entries.len() << 20, "{}", known.bytes);
            assert!(known.get(&subject(n)).is_some());
        }
        assert!(known.get(&subject(0)).is_none());
    }
}
