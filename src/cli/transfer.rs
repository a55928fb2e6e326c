//! `ydash export` and `ydash import`: dashboards to a file and back.
//!
//! Both open the store themselves: a directory that no server has open, or a Redis, also while servers serve from it. `-` stands for
//! standard output and input.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tracing::warn;
use ydash_proto::id::DashboardId;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;

use crate::cli::{Outcome, chain, runtime};
use crate::config::{Config, Layers};
use crate::store::archive::{self, ArchiveError, ArchiveReport};
use crate::store::{self, Store, StoreError, StoreUrl, content, lines};
use crate::telemetry;

/// The file that stands for standard output or input.
pub(super) const STANDARD: &str = "-";

/// `export` without the knobs.
pub(super) fn export_command() -> Command {
    let dashboard = Arg::new("dashboard").long("dashboard").value_name("ID").action(ArgAction::Append);
    let yjs = Arg::new("yjs").long("yjs").action(ArgAction::SetTrue);
    Command::new("export")
        .about("Writes dashboards with their history into one file")
        .arg(file("File to write, which must not be there yet; - for standard output"))
        .arg(dashboard.help("Only this dashboard; may be repeated").value_parser(parse_dashboard))
        .arg(yjs.help("For other servers: a line of JSON per dashboard, with its state as Yjs update v1 in base64, without history"))
}

/// `import` without the knobs.
pub(super) fn import_command() -> Command {
    Command::new("import")
        .about("Reads dashboards from such a file; what is in the store already is merged with, never replaced")
        .arg(file("File to read; - for standard input"))
}

fn file(help: &'static str) -> Arg {
    Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help(help)
}

/// A name as clients say it, or as a store has it that no server of this version has opened yet.
pub(super) fn parse_dashboard(text: &str) -> Result<DashboardId, String> {
    DashboardId::stored(text).or_else(|_| DashboardId::parse(text)).map_err(|error| error.to_string())
}

/// Runs `ydash export`.
pub(super) fn export(layers: &Layers, options: &ArgMatches) -> Outcome {
    let config = prepare(layers)?;
    if let StoreUrl::Directory(directory) = &config.store {
        let there = store::is_there(&config.store);
        if !there.map_err(|error| format!("directory {} cannot be opened: {error}", directory.display()))? {
            return Err(format!("there is no store in {}", directory.display()).into());
        }
    }
    let path: &PathBuf = options.get_one("file").expect("required");
    let only: Vec<DashboardId> = options.get_many("dashboard").into_iter().flatten().cloned().collect();
    let limits = options.get_flag("yjs").then(|| config.limits());
    let limits = limits.as_ref();
    let report = runtime()?.block_on(async {
        let store = open(&config).await?;
        let (only_these, missing) = look_for(&*store, only).await?;
        if !missing.is_empty() {
            return Err(format!("not in the store, so nothing is written: {}", missing.join(", ")).into());
        }
        let only_these = only_these.as_slice();
        let report = if path.as_os_str() == STANDARD {
            write(&*store, only_these, limits, BufWriter::new(io::stdout())).await?
        } else {
            export_file(&*store, only_these, limits, path).await?
        };
        let missing = store.missing();
        store.close().await?;
        Ok::<_, Box<dyn Error>>((report, missing))
    })?;
    let (report, missing) = report;
    if report.damaged > 0 {
        warn!(damaged = report.damaged, "unreadable records are not in the archive; ydash doctor names them");
    }
    for missing in &missing {
        warn!(
            dashboard = missing.dashboard,
            entries = missing.entries,
            "lost before, so not in the archive: {}",
            missing.why
        );
    }
    tell("exported", &report);
    let is_all = report.damaged == 0 && missing.is_empty();
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// How a command ends that has done what can be done, and not all that was asked.
pub(super) const INCOMPLETE: u8 = 2;

/// Which of the dashboards named the store has, under that name or where it belongs by now, and which it does not have.
async fn look_for(store: &dyn Store, named: Vec<DashboardId>) -> Result<(Vec<DashboardId>, Vec<String>), StoreError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for dashboard in named {
        let home = dashboard.home();
        let mut there = None;
        for name in [Some(&dashboard), home.as_ref()].into_iter().flatten() {
            // The shortest name with a prefix is the prefix itself.
            if there.is_none() && store.list(name.as_str(), None, 1).await?.first() == Some(name) {
                there = Some(name.clone());
            }
        }
        match there {
            Some(name) => found.push(name),
            None => missing.push(dashboard.to_string()),
        }
    }
    Ok((found, missing))
}

/// Runs `ydash import`.
pub(super) fn import(layers: &Layers, options: &ArgMatches) -> Outcome {
    let config = prepare(layers)?;
    let path: &PathBuf = options.get_one("file").expect("required");
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let from: Box<dyn Read + Send> = if path.as_os_str() == STANDARD {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut from = BufReader::new(from);
    if from.fill_buf().map_err(unreadable)?.first() == Some(&b'{') {
        return Err(format!(
            "{} holds lines for other servers, no archive: migrate/bin/ydash-migrate.js reads those",
            path.display()
        )
        .into());
    }
    let report = runtime()?.block_on(async {
        let store = open(&config).await?;
        let limits = config.limits().for_trusted();
        let judge = |bytes: &[u8]| content::judge(bytes, &limits);
        let report = archive::import(from, &*store, now(), judge).await.map_err(|error| match error {
            ArchiveError::Store(failure) => Box::from(failure),
            error => Box::<dyn Error>::from(format!("{}: {}", path.display(), chain(&error))),
        })?;
        store.close().await?;
        Ok::<_, Box<dyn Error>>(report)
    })?;
    tell("imported", &report);
    if report.records_differing > 0 {
        warn!(
            records = report.records_differing,
            "the store has other records of who may do what, and keeps them; those of the archive are not taken"
        );
    }
    if report.versions_left_out > 0 {
        warn!(
            versions = report.versions_left_out,
            "versions are not imported: the store has as many of their dashboards as it keeps, or nothing else of them"
        );
    }
    for (dashboard, count) in &report.unusable {
        warn!(dashboard, count, "records of the archive hold no updates; they are set aside, ydash export writes them");
    }
    Ok(if report.unusable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

pub(super) fn prepare(layers: &Layers) -> Result<Config, Box<dyn Error>> {
    let (config, warnings) = Config::load(layers)?;
    telemetry::init(&config.log, config.log_format)?;
    for warning in warnings {
        warn!("{warning}");
    }
    if config.store == StoreUrl::Memory {
        return Err(
            "memory: keeps nothing between two commands; name a store with --store file:DIRECTORY or redis://HOST"
                .into(),
        );
    }
    Ok(config)
}

pub(super) async fn open(config: &Config) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let (url, options) = (config.store.clone(), config.store_config());
    Ok(tokio::task::spawn_blocking(move || store::open(&url, &options)).await??)
}

/// Writes an archive, or with `limits` lines for other servers.
async fn write(
    store: &dyn Store,
    only: &[DashboardId],
    limits: Option<&Limits>,
    to: impl Write + Send,
) -> Result<ArchiveReport, ArchiveError> {
    let wanted = |id: &DashboardId| only.is_empty() || only.contains(id);
    match limits {
        None => archive::export(store, wanted, to).await,
        Some(limits) => lines::export(store, wanted, limits, to).await,
    }
}

/// Writes beside the file and renames at the end: whoever finds the file finds all of it.
pub(super) async fn export_file(
    store: &dyn Store,
    only: &[DashboardId],
    limits: Option<&Limits>,
    path: &Path,
) -> Result<ArchiveReport, Box<dyn Error>> {
    if path.exists() {
        return Err(format!("{} is there already", path.display()).into());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let writing = async {
        let mut options = File::options();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let made = options.open(&partial).map_err(|error| format!("cannot write {}: {error}", partial.display()))?;
        let mut file = BufWriter::new(made);
        let report = write(store, only, limits, &mut file).await?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&partial, path)?;
        Ok::<_, Box<dyn Error>>(report)
    };
    let written = writing.await;
    if written.is_err() {
        // What is left of it is of no use, and the error is what matters.
        let _ = fs::remove_file(&partial);
    }
    written
}

pub(super) fn tell(what: &str, report: &ArchiveReport) {
    let ArchiveReport { dashboards, entries, snapshots, records, .. } = report;
    let refused = if report.refused > 0 { format!(", {} refused updates", report.refused) } else { String::new() };
    let versions = if report.versions > 0 { format!(", {} versions", report.versions) } else { String::new() };
    let records = if *records > 0 { format!(", {records} records of access") } else { String::new() };
    eprintln!(
        "{what} {dashboards} dashboards, {entries} log entries, {snapshots} snapshots{versions}{refused}{records}"
    );
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
