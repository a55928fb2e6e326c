//! Group commit: the appends of all rooms go to the store together, one batch at a time.
//!
//! A lone append on a quiet server is committed at once. While a batch is in flight, and until the commit interval after
//! it has passed, further appends collect into the next one, so that many rooms share one fsync. The queue needs no bound of
//! its own: a room has at most one append in flight, and each is bounded by
//! [`ydash_proto::limits::Limits::unsaved_bytes_max`]. Small appends do not wait behind large ones.
//!
//! A failed batch fails everybody in it. Nothing is tried again here: the rooms know what is still missing.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Append, Appended, Store, StoreError};

/// How appends are gathered.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The least time from the start of one commit to the next.
    ///
    /// An fsync costs some 100 µs of CPU and a turn of the disk; 25 a second serve any number of rooms, and an edit waits
    /// 40 ms at most for its turn, far below the 100 ms in which it should be durable.
    pub commit_interval: Duration,
    /// Bytes of updates in one batch. What is beyond waits for the next, which then follows without an interval.
    pub batch_bytes_max: usize,
    /// Appends in one batch.
    pub batch_appends_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        WriterConfig { commit_interval: Duration::from_millis(40), batch_bytes_max: 8 << 20, batch_appends_max: 4096 }
    }
}

/// What one commit was, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Appends in the batch.
    pub appends: usize,
    /// Those that failed.
    pub failed: usize,
    /// Entries in the batch.
    pub entries: usize,
    /// Bytes of updates in the batch.
    pub bytes: usize,
    /// How long the append that was submitted first waited for the batch.
    pub waited: Duration,
    /// How long the store took.
    pub took: Duration,
}

/// Starts the task that commits.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// Spawns the writer on `tracker` and returns the way to it. It ends when every handle is gone and everything submitted is
    /// answered. `observe` is called after every commit and must not block.
    pub fn spawn(
        store: Arc<dyn Store>,
        config: WriterConfig,
        observe: impl Fn(&Commit) + Send + 'static,
        tracker: &TaskTracker,
    ) -> WriterHandle {
        let (queue, submissions) = mpsc::unbounded_channel();
        tracker.spawn(run(store, config, observe, submissions));
        WriterHandle { queue }
    }
}

/// The way to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    queue: mpsc::UnboundedSender<Submission>,
}

impl WriterHandle {
    /// Queues an append at once; the returned future resolves when it is durable or has failed.
    ///
    /// Dropping the future does not take the append back.
    pub fn submit(&self, append: Append) -> Submitted {
        let (answer, answered) = oneshot::channel();
        // A writer that is gone drops the sender, which `Submitted` reports as closed.
        let _ = self.queue.send(Submission { append, submitted_at: Instant::now(), answer });
        Submitted { answered }
    }
}

/// An append on its way.
///
/// Resolves to where it stands when it is durable, to [`StoreError::Closed`] if the writer is gone.
#[derive(Debug)]
#[must_use = "the append goes on, but nobody learns whether it is durable"]
pub struct Submitted {
    answered: oneshot::Receiver<Result<Appended, StoreError>>,
}

impl Future for Submitted {
    type Output = Result<Appended, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(cx).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

/// Larger appends let smaller ones go first: they take a while to write, and there may be many.
const LARGE_APPEND: usize = 256 << 10;

/// What waits: small appends in their order, and large ones in theirs, of which one goes with each batch. A room has one append at a time,
/// so none overtakes another of the same room.
#[derive(Default)]
struct Waiting {
    small: VecDeque<Submission>,
    large: VecDeque<Submission>,
}

impl Waiting {
    fn put(&mut self, submission: Submission) {
        let queue = if submission.append.bytes() > LARGE_APPEND { &mut self.large } else { &mut self.small };
        queue.push_back(submission);
    }

    fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// When the first came.
    fn since(&self) -> Option<Instant> {
        [&self.small, &self.large].into_iter().filter_map(|queue| Some(queue.front()?.submitted_at)).min()
    }

    /// The next small one that finds a place in a batch.
    fn take_small(&mut self, commit: &Commit, config: &WriterConfig) -> Option<Submission> {
        let has_place = commit.appends < config.batch_appends_max && commit.bytes < config.batch_bytes_max;
        has_place.then(|| self.small.pop_front()).flatten()
    }
}

impl Append {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.update.len()).sum()
    }
}

struct Submission {
    append: Append,
    submitted_at: Instant,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
}

async fn run(
    store: Arc<dyn Store>,
    config: WriterConfig,
    observe: impl Fn(&Commit) + Send,
    mut submissions: mpsc::UnboundedReceiver<Submission>,
) {
    let mut answers = Vec::new();
    let mut waiting = Waiting::default();
    let mut due = Instant::now();
    loop {
        if waiting.is_empty() {
            let Some(first) = submissions.recv().await else { return };
            waiting.put(first);
        }
        // Sleeping without listening saves a wake-up for every append that comes meanwhile.
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }

        while let Ok(next) = submissions.try_recv() {
            waiting.put(next);
        }
        let started = Instant::now();
        let waited = waiting.since().map_or(Duration::ZERO, |since| started - since);
        let mut commit = Commit { waited, ..Commit::default() };
        let mut batch = Vec::with_capacity(waiting.small.len() + 1);
        let mut large = waiting.large.pop_front();
        while let Some(Submission { append, answer, .. }) =
            waiting.take_small(&commit, &config).or_else(|| large.take())
        {
            commit.appends += 1;
            commit.entries += append.entries.len();
            commit.bytes += append.bytes();
            batch.push(append);
            answers.push(answer);
        }
        let is_full = !waiting.is_empty();

        let results = store.append(batch).await;
        assert_eq!(results.len(), answers.len(), "a store answers every append of a batch");
        for (answer, result) in answers.drain(..).zip(results) {
            commit.failed += usize::from(result.is_err());
            // A room that is gone does not want to know.
            let _ = answer.send(result);
        }
        commit.took = started.elapsed();
        observe(&commit);
        due = if is_full { Instant::now() } else { started + config.commit_interval };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::contract::{id, update};
    use super::super::memory::{MemoryStore, Step};
    use super::*;

    struct Bench {
        store: MemoryStore,
        writer: WriterHandle,
        commits: Arc<Mutex<Vec<Commit>>>,
        tracker: TaskTracker,
    }

    impl Bench {
        fn new(config: WriterConfig) -> Bench {
            let store = MemoryStore::new();
            let commits = Arc::new(Mutex::new(Vec::new()));
            let tracker = TaskTracker::new();
            let observe = {
                let commits = Arc::clone(&commits);
                move |commit: &Commit| commits.lock().unwrap().push(*commit)
            };
            let writer = Writer::spawn(Arc::new(store.clone()), config, observe, &tracker);
            Bench { store, writer, commits, tracker }
        }

        fn commits(&self) -> Vec<Commit> {
            self.commits.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_append_is_committed_at_once() {
        let bench = Bench::new(WriterConfig::default());
        let started = Instant::now();
        bench.writer.submit(update("w/a", 1)).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        bench.writer.submit(update("w/a", 2)).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(bench.store.load(&id("w/a")).await.unwrap().tail.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn appends_within_the_interval_share_a_commit() {
        let bench = Bench::new(WriterConfig::default());
        bench.writer.submit(update("w/a", 1)).await.unwrap();
        let started = Instant::now();
        let waiting: Vec<_> = (0..100).map(|n| bench.writer.submit(update(&format!("w/{n}"), 1))).collect();
        for submitted in waiting {
            submitted.await.unwrap();
        }
        let waited = started.elapsed();
        assert!(waited <= WriterConfig::default().commit_interval + Duration::from_millis(1), "{waited:?}");
        assert_eq!(bench.commits().iter().map(|commit| commit.appends).collect::<Vec<_>>(), [1, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn appends_collect_while_a_batch_is_in_flight() {
        let bench = Bench::new(WriterConfig { commit_interval: Duration::ZERO, ..WriterConfig::default() });
        let gate = bench.store.faults().hold(Step::Append);
        let first = bench.writer.submit(update("w/a", 1));
        gate.arrived(1).await;
        let rest: Vec<_> = (0..10).map(|n| bench.writer.submit(update(&format!("w/{n}"), 1))).collect();
        gate.release();
        first.await.unwrap();
        for submitted in rest {
            submitted.await.unwrap();
        }
        assert_eq!(bench.commits().iter().map(|commit| commit.appends).collect::<Vec<_>>(), [1, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_bounded_and_a_full_one_is_followed_at_once() {
        for config in [
            WriterConfig { batch_appends_max: 4, ..WriterConfig::default() },
            WriterConfig { batch_bytes_max: 4 * update("w/a", 1).entries[0].update.len(), ..WriterConfig::default() },
        ] {
            let bench = Bench::new(config);
            let started = Instant::now();
            let waiting: Vec<_> = (0..10).map(|n| bench.writer.submit(update(&format!("w/{n}"), 1))).collect();
            for submitted in waiting {
                submitted.await.unwrap();
            }
            assert_eq!(bench.commits().iter().map(|commit| commit.appends).collect::<Vec<_>>(), [4, 4, 2]);
            assert!(started.elapsed() <= Duration::from_millis(1));
        }
    }

    /// An edit of a quiet dashboard was saved after 5 s, behind 25 pastes of 30 MiB each.
    #[tokio::test(start_paused = true)]
    async fn small_appends_do_not_wait_behind_large_ones() {
        let bench = Bench::new(WriterConfig::default());
        let large = |n: usize| {
            let mut append = update(&format!("w/large-{n}"), 1);
            append.entries[0].update = vec![0; LARGE_APPEND + 1].into();
            append
        };
        let mut waiting: Vec<_> = (0..3).map(|n| bench.writer.submit(large(n))).collect();
        waiting.extend((0..5).map(|n| bench.writer.submit(update(&format!("w/{n}"), 1))));
        for submitted in waiting {
            submitted.await.unwrap();
        }
        assert_eq!(bench.commits().iter().map(|commit| commit.appends).collect::<Vec<_>>(), [6, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_batch_fails_everybody_in_it_and_the_next_one_works() {
        let bench = Bench::new(WriterConfig::default());
        bench.store.faults().fail_appends(1);
        let (a, b) = (bench.writer.submit(update("w/a", 1)), bench.writer.submit(update("w/b", 1)));
        assert!(a.await.unwrap_err().is_transient());
        assert!(b.await.unwrap_err().is_transient());
        bench.writer.submit(update("w/a", 1)).await.unwrap();
        assert_eq!(bench.commits().iter().map(|commit| commit.failed).collect::<Vec<_>>(), [2, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_submitted_is_written_although_everybody_left() {
        let Bench { store, writer, tracker, .. } = Bench::new(WriterConfig::default());
        drop(writer.submit(update("w/a", 1)));
        drop(writer.submit(update("w/b", 1)));
        drop(writer);
        tracker.close();
        tracker.wait().await;
        assert_eq!(store.list("", None, 10).await.unwrap(), [id("w/a"), id("w/b")]);
    }

    #[tokio::test]
    async fn a_writer_that_is_gone_reports_closed() {
        let (queue, submissions) = mpsc::unbounded_channel();
        drop(submissions);
        let writer = WriterHandle { queue };
        assert!(matches!(writer.submit(update("w/a", 1)).await, Err(StoreError::Closed)));
    }
}
