//! Where the engine sits: sound, failed and to be reopened, or closed.
//!
//! The engine stops for good after an IO error. The slot lets go of it then and opens it again, with a growing pause between
//! attempts, when somebody calls. Until that succeeds reads are still served by the stopped engine: it holds everything that
//! was reported durable and nothing that was reported failed.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::super::StoreError;
use super::engine::{Batch, Engine, EngineError, View, adopt_copies, copy_journals};
use super::journal::{self, Stamp};
use super::tally::Tally;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Holds the engine of one directory.
pub(super) struct Slot {
    /// The database's.
    directory: PathBuf,
    state: RwLock<State>,
    commits: Mutex<Commits>,
}

/// What is known of the batches that were committed.
struct Commits {
    stamp: Stamp,
    tally: Tally,
}

enum State {
    Sound(Engine),
    Failed(Failure),
    Closed,
}

struct Failure {
    /// The stopped engine; `None` once it was let go of and could not be opened again.
    engine: Option<Engine>,
    cause: StoreError,
    retry_at: Instant,
    pause: Duration,
    /// Whether the journal was freed of the batch that failed.
    is_cut: bool,
}

impl Slot {
    /// Holds an engine that was opened.
    pub(super) fn new(directory: PathBuf, engine: Engine, stamp: Stamp, tally: Tally) -> Slot {
        let commits = Mutex::new(Commits { stamp, tally });
        Slot { directory, state: RwLock::new(State::Sound(engine)), commits }
    }

    /// Reads from the database.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&View<'_>) -> Result<T, EngineError>,
    ) -> Result<T, StoreError> {
        loop {
            match &*self.state() {
                State::Sound(engine) | State::Failed(Failure { engine: Some(engine), .. }) => {
                    return read(&engine.view()).map_err(|error| error.into_store_error(doing));
                }
                State::Failed(failure) if Instant::now() < failure.retry_at => return Err(failure.cause.clone()),
                State::Failed(_) => {}
                State::Closed => return Err(StoreError::Closed),
            }
            self.reopen()?;
        }
    }

    /// Lets `build` fill a batch and commits it. What `build` returns is to be believed only if this is `Ok`.
    pub(super) fn commit<T>(
        &self,
        doing: &'static str,
        build: impl FnOnce(&View<'_>, &mut Batch<'_>) -> Result<T, EngineError>,
    ) -> Result<T, StoreError> {
        let failure = loop {
            match &*self.state() {
                State::Sound(engine) => {
                    let commit = || {
                        let mut batch = engine.batch();
                        let built = build(&engine.view(), &mut batch).map_err(|error| error.into_store_error(doing));
                        (built, batch)
                    };
                    match catch_unwind(AssertUnwindSafe(commit)) {
                        Ok((Err(error), _)) => return Err(error),
                        Ok((Ok(built), batch)) if batch.is_empty() => return Ok(built),
                        Ok((Ok(built), mut batch)) => {
                            let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
                            // A number is used once, also if its batch fails: it may be there all the same.
                            commits.stamp.number += 1;
                            batch.stamp(commits.stamp);
                            match catch_unwind(AssertUnwindSafe(|| batch.commit())) {
                                Ok(Ok(notes)) => {
                                    let number = commits.stamp.number;
                                    let name_of = |log| engine.view().name(log).map(|name| name.to_string());
                                    commits.tally.note(number, notes, name_of);
                                    return Ok(built);
                                }
                                Ok(Err(error)) => break error,
                                Err(_) => break EngineError::Stopped,
                            }
                        }
                        Err(_) => break EngineError::Stopped,
                    }
                }
                State::Failed(failure) if Instant::now() < failure.retry_at => return Err(failure.cause.clone()),
                State::Failed(_) => {}
                State::Closed => return Err(StoreError::Closed),
            }
            self.reopen()?;
        };
        Err(self.fail(failure, doing))
    }

    /// Whether writes are taken; tries to recover if they are not.
    pub(super) fn ping(&self) -> Result<(), StoreError> {
        let is_failed = match &*self.state() {
            State::Sound(engine) if engine.is_sound() => return Ok(()),
            State::Sound(_) => false,
            State::Failed(_) => true,
            State::Closed => return Err(StoreError::Closed),
        };
        if is_failed { self.reopen() } else { Err(self.fail(EngineError::Stopped, "write to the store")) }
    }

    /// Lets go of the database.
    pub(super) fn close(&self) {
        *self.state_mut() = State::Closed;
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).tally.close();
    }

    #[cfg(test)]
    pub(super) fn flush_for_test(&self) {
        match &*self.state() {
            State::Sound(engine) => engine.flush(),
            _ => panic!("the store has failed or is closed"),
        }
    }

    fn fail(&self, error: EngineError, doing: &'static str) -> StoreError {
        // The engine says only that it stopped; the disk says why.
        let error = match error {
            EngineError::Stopped => probe(&self.directory).map_or_else(EngineError::Io, |()| EngineError::Stopped),
            error => error,
        };
        let cause = error.into_store_error(doing);
        tracing::error!(directory = %self.directory.display(), %cause, "store failed; it will be reopened");
        let mut state = self.state_mut();
        let State::Sound(engine) = std::mem::replace(&mut *state, State::Closed) else {
            unreachable!("only the committer lets a sound engine fail or close");
        };
        let retry_at = Instant::now() + RETRY_FIRST;
        let failure =
            Failure { engine: Some(engine), cause: cause.clone(), retry_at, pause: RETRY_FIRST, is_cut: false };
        *state = State::Failed(failure);
        cause
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.state_mut();
        let State::Failed(failure) = &mut *state else { return Ok(()) };
        if Instant::now() < failure.retry_at {
            return Err(failure.cause.clone());
        }
        match failure.recover(&self.directory) {
            Ok(engine) => {
                tracing::info!(directory = %self.directory.display(), "store reopened");
                *state = State::Sound(engine);
                Ok(())
            }
            Err(error) => {
                failure.cause = error.into_store_error("reopen the store");
                failure.pause = (failure.pause * 2).min(RETRY_MAX);
                failure.retry_at = Instant::now() + failure.pause;
                Err(failure.cause.clone())
            }
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic while writing leaves one of the three states whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn recover(&mut self, directory: &Path) -> Result<Engine, EngineError> {
        match copy_journals(directory) {
            Err(error) if error.kind() == ErrorKind::StorageFull && !self.is_cut => {
                // Half of the batch that did not fit may be what takes the space. Opening cuts it off.
                self.engine = None;
                self.engine = Some(Engine::open(directory)?);
                self.is_cut = true;
                copy_journals(directory)
            }
            copied => copied,
        }
        .map_err(EngineError::Io)?;
        self.engine = None;
        adopt_copies(directory).map_err(EngineError::Io)?;
        // The engine reads no journal that ends in half a batch whose parts came to the disk out of order.
        journal::repair(directory, None, 0, &directory.with_file_name("damaged").join("reopened"))
            .map_err(EngineError::Io)?;
        Engine::open(directory)
    }
}

/// Writes and syncs a small file, to learn what the disk has to say.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join("probe");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[1; 64 << 10])?;
        file.sync_all()
    });
    // Whatever it said about writing is worth more than what it says about removing.
    let _ = std::fs::remove_file(&path);
    written
}
