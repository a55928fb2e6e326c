//! Opening a store: what is damaged is put right where that loses nothing, left out where it does, and told.
//!
//! First the files, then the journals, then the engine, and then what the tally says is compared with what there is. What is
//! missing is named and counted in the file `losses` until an operator has seen it ([`acknowledge`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ydash_proto::id::DashboardId;

use super::super::Missing;
use super::super::record::decode_snapshot_covers;
use super::engine::{Engine, EngineError, Found, View, drop_copies};
use super::journal::{self, Stamp};
use super::slot::Slot;
use super::tally::{self, Note, Tally, Told};
use super::{create_synced, database_in, files, private};

/// How far positions go on after a loss: nobody knows what the last ones were.
const POSITIONS_SKIPPED: u64 = 1 << 20;

/// A store that was opened.
pub(super) struct Recovered {
    pub(super) slot: Slot,
    /// The last position that may have been given out.
    pub(super) end: u64,
    /// What is missing, from this start and from earlier ones.
    pub(super) missing: Vec<Missing>,
}

/// Opens the database of the store in `root`, whose lock is held. With `salvage`, files that cannot be read are left out.
pub(super) fn open(root: &Path, salvage: bool) -> Result<Recovered, EngineError> {
    let directory = database_in(root);
    let aside = aside(root);
    let told = Told::read(root).map_err(EngineError::Io)?;
    let mut missing = Vec::new();
    let is_new = !directory.is_dir() || directory.read_dir().map_err(EngineError::Io)?.next().is_none();
    if is_new && told.last > 0 && !salvage {
        return Err(EngineError::Broken(format!("{} is missing, but dashboards were kept in it", directory.display())));
    }
    create_synced(&directory).map_err(EngineError::Io)?;
    drop_copies(&directory).map_err(EngineError::Io)?;
    let mut repair = journal::Repair::default();
    if !is_new {
        if salvage {
            let lost = files::salvage(&directory, &aside.join("keyspaces")).map_err(EngineError::Io)?;
            missing.extend(lost.into_iter().map(|why| Missing { dashboard: String::new(), entries: 0, why }));
        } else {
            let wrong = files::check(&directory, told.is_there()).map_err(EngineError::Io)?;
            if !wrong.is_empty() {
                return Err(EngineError::Broken(wrong.join("; ")));
            }
        }
        repair = journal::repair(&directory, told.store, told.last, &aside).map_err(EngineError::Io)?;
    }
    if repair.corrected > 0 {
        tracing::warn!(places = repair.corrected, kept = %aside.display(), "a journal had single wrong bits, which were put right");
    }
    // The engine panics at some of what it does not expect.
    let engine = catch_unwind(AssertUnwindSafe(|| Engine::open(&directory)))
        .unwrap_or_else(|_| Err(EngineError::Damage("the storage engine panicked".to_owned())))?;

    let view = engine.view();
    let stamp = view.stamp()?;
    let store = stamp.map(|stamp| stamp.store).or(told.store).unwrap_or_else(|| fastrand::u64(1..));
    let number = stamp.map_or(0, |stamp| stamp.number);
    let mut end = view.positions_reserved()?.max(told.reserved);
    let is_short = number < told.last;
    let is_suspicious = repair.gaps > 0 || is_short || !missing.is_empty();
    let tally = if is_suspicious {
        let found = compare(&view, &told)?;
        if found.is_empty() && repair.gaps > 0 {
            let why = format!("{} places of the journal could not be read", repair.gaps);
            missing.push(Missing { dashboard: String::new(), entries: 0, why });
        }
        missing.extend(found);
        end = end.max(view.highest()?) + POSITIONS_SKIPPED;
        note(root, &missing).map_err(EngineError::Io)?;
        // What it says is told by now.
        tally::move_to(root, &aside).map_err(EngineError::Io)?;
        Tally::begin(root, store)
    } else {
        Tally::resume(root, store, &told)
    };
    let tally = tally.map_err(EngineError::Io)?;
    drop(view);
    let stamp = Stamp { store, number: number.max(told.last) };
    let missing = noted(root).map_err(EngineError::Io)?;
    Ok(Recovered { slot: Slot::new(directory, engine, stamp, tally), end, missing })
}

/// What the tally tells of and the store does not have.
fn compare(view: &View<'_>, told: &Told) -> Result<Vec<Missing>, EngineError> {
    let mut names: HashMap<u64, String> = HashMap::new();
    let mut removed = HashSet::new();
    let mut runs = Vec::new();
    let mut snapshots: BTreeMap<String, u64> = BTreeMap::new();
    told.each(|_, note| match note {
        Note::Name(number, name) => {
            // It has moved into the trash or back, and its snapshot with it.
            if let Some(before) = names.insert(number, name.to_owned()).filter(|before| before != name) {
                snapshots.remove(&before);
            }
        }
        Note::Removed(number) => {
            removed.insert(number);
            names.get(&number).map(|name| snapshots.remove(name));
        }
        Note::Entries { number, first, count } => runs.push((number, first, count)),
        Note::Snapshot { name, covers } => {
            let newest = snapshots.entry(name.to_owned()).or_default();
            *newest = covers.max(*newest);
        }
        Note::Reserved(_) => {}
    });
    runs.sort_unstable();
    runs.dedup();
    let mut missing: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (number, first, count) in runs {
        if removed.contains(&number) {
            continue;
        }
        let id = view.name(number).or_else(|| DashboardId::parse(names.get(&number)?).ok());
        let (mut found, mut covered) = (0, 0);
        if let Some(id) = &id
            && let Some(head) = view.head(id)?
        {
            if head.number != number && head.number > 0 || head.is_removed {
                continue;
            }
            let last = first + u64::from(count) - 1;
            // What is trimmed is not missing.
            let from = first.max(head.trimmed_to + 1);
            found = from.min(last + 1) - first;
            view.log(number, from - 1, last, |read| {
                found += u64::from(matches!(read, Found::Record(..)));
                Ok(ControlFlow::<()>::Continue(()))
            })?;
            if head.covers.is_some_and(|covers| covers >= last) {
                covered = u64::from(count) - found.min(count.into());
            }
        }
        if found < u64::from(count) {
            let name = id.map_or_else(|| names.get(&number).cloned().unwrap_or_default(), |id| id.to_string());
            let (entries, in_snapshot) = missing.entry(name).or_default();
            *entries += u64::from(count) - found;
            *in_snapshot += covered;
        }
    }
    let mut told: Vec<Missing> = Vec::new();
    for (dashboard, (entries, covered)) in missing {
        let why = match covered {
            0 => "log entries are missing".to_owned(),
            covered => format!("log entries are missing, {covered} of which the snapshot holds"),
        };
        told.push(Missing { dashboard, entries, why });
    }
    for (name, covers) in snapshots {
        let Ok(id) = DashboardId::parse(&name) else { continue };
        let Some(head) = view.head(&id)? else { continue };
        // The record tells its own position: a head that was written later may tell that of a lost one.
        let kept = view.snapshot(&id)?.and_then(Result::ok).and_then(|record| decode_snapshot_covers(&record).ok());
        if !head.is_removed && kept.is_none_or(|kept| kept.0 < covers.into()) {
            let why = match kept {
                Some(kept) if kept.0 >= head.trimmed_to.into() => "an older one and the log stand for it",
                _ => "the base of the log, if it is there, and the log stand for it",
            };
            let why = format!("its last snapshot is missing; {why}");
            told.push(Missing { dashboard: name, entries: 0, why });
        }
    }
    Ok(told)
}

/// Where the damaged files of this start are kept.
fn aside(root: &Path) -> PathBuf {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    root.join("damaged").join(since.as_millis().to_string())
}

fn losses(root: &Path) -> PathBuf {
    root.join("losses")
}

/// Adds to what is known to be missing.
fn note(root: &Path, missing: &[Missing]) -> io::Result<()> {
    let mut file = private(File::options().create(true).append(true)).open(losses(root))?;
    for Missing { dashboard, entries, why } in missing {
        file.write_all(format!("{dashboard}\t{entries}\t{why}\n").as_bytes())?;
    }
    file.sync_all()
}

/// What is known to be missing and no operator has acknowledged.
fn noted(root: &Path) -> io::Result<Vec<Missing>> {
    let text = match std::fs::read(losses(root)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let read = |line: &str| {
        let mut fields = line.splitn(3, '\t');
        let dashboard = fields.next()?.to_owned();
        let entries = fields.next()?.parse().ok()?;
        Some(Missing { dashboard, entries, why: fields.next()?.to_owned() })
    };
    // A line that was cut off by a crash, or damaged, still says that there was something.
    let read = |line: &str| {
        read(line).unwrap_or_else(|| Missing { entries: 0, dashboard: String::new(), why: line.to_owned() })
    };
    Ok(text.lines().map(read).collect())
}

/// Puts away what was missing: an operator has seen it. Says where it is kept.
pub(super) fn acknowledge(root: &Path) -> io::Result<PathBuf> {
    let aside = aside(root);
    std::fs::create_dir_all(&aside)?;
    let kept = aside.join("losses");
    match std::fs::rename(losses(root), &kept) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(kept),
    }
}
