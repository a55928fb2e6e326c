//! `ydash history`: what is kept of a dashboard's past, a version of it, and whether all of it is sound.
//!
//! It opens the store itself, as `ydash export` does, and changes nothing.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ydash_proto::access::format_moment;
use ydash_proto::document::to_json;
use ydash_proto::id::DashboardId;
use ydash_proto::version::Version;

use super::transfer::{STANDARD, now, open, parse_dashboard, prepare};
use crate::cli::Outcome;
use crate::config::Layers;
use crate::history::{read, verify};
use crate::reading::Readers;
use crate::store::{LogEntry, LogPosition, Segment, Store, StoreError, VersionInfo, is_there};

/// How many entries are read at once.
const PAGE: usize = 1024;

/// `history` without the settings.
pub(super) fn command() -> Command {
    let dashboard = || {
        let argument = Arg::new("dashboard").value_name("ID").required(true).value_parser(parse_dashboard);
        argument.help("The dashboard, as workspace/name")
    };
    let version = Arg::new("version").value_name("VERSION").required(true).allow_hyphen_values(true);
    let version = version.value_parser(parse_version);
    let state = Arg::new("state").long("state").value_name("FILE").value_parser(value_parser!(PathBuf));
    let edits = Arg::new("edits").long("edits").action(ArgAction::SetTrue);
    Command::new("history")
        .about("Shows what is kept of a dashboard's past, shows a version of it, or verifies all of it")
        .subcommand_required(true)
        .subcommand(
            Command::new("show")
                .about("Lists what is kept: from and to which position, the times of the first and the last edit, how many edits, bytes")
                .arg(dashboard())
                .arg(edits.help("Lists every edit instead: position, time, author, bytes")),
        )
        .subcommand(
            Command::new("at")
                .about("Prints a version as JSON")
                .arg(dashboard())
                .arg(version.help("An id of a version, a position, a time such as 2026-11-24T14:02:00Z, or -2h (s, m, h, d)"))
                .arg(state.help("Writes it as a Yjs update into this file instead, which must not be there yet; - for standard output")),
        )
        .subcommand(
            Command::new("versions")
                .about("Lists the versions that are kept with their content: id, time, author, why, bytes, name and note")
                .arg(dashboard()),
        )
        .subcommand(
            Command::new("verify")
                .about("Reads all of it: whether each segment is whole, follows from the one before and leads to the next")
                .arg(dashboard()),
        )
}

fn parse_version(text: &str) -> Result<Version, String> {
    Version::parse(text).ok_or_else(|| {
        "neither a position, nor a time such as 2026-11-24T14:02:00Z, nor -2h, nor an id of a version".to_owned()
    })
}

/// Runs `ydash history`.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    let config = prepare(layers)?;
    if !is_there(&config.store)? {
        return Err(format!("there is no store in {}", config.store).into());
    }
    let Some((what, options)) = options.subcommand() else { unreachable!("one is required") };
    let dashboard: &DashboardId = options.get_one("dashboard").expect("required");
    let limits = config.limits();
    super::runtime()?.block_on(async {
        let store = open(&config).await?;
        let done: Outcome = async {
            match what {
                "show" if options.get_flag("edits") => return edits(&*store, dashboard).await,
                "show" => show(&*store, dashboard).await?,
                "versions" => {
                    for info in store.versions(dashboard).await? {
                        let (at, author) = (format_moment(info.at), info.author.as_deref().unwrap_or("-"));
                        let VersionInfo { id, name, note, why, bytes, .. } = &info;
                        let why = why.as_str();
                        // Notes may have lines, and text from an archive any characters: a list has one line for each version.
                        let [name, note] = [name, note].map(|text| text.replace(char::is_control, " "));
                        println!("{id}\t{at}\t{author}\t{why}\t{bytes}\t{name}\t{note}");
                    }
                }
                "at" => {
                    let version: &Version = options.get_one("version").expect("required");
                    let readers = Readers::default();
                    let version = read::find(&*store, &readers, dashboard, *version, now()).await?;
                    let state = read::at(&*store, &readers, dashboard, version, &limits).await?;
                    match options.get_one::<PathBuf>("state") {
                        Some(file) => write(file, &state)?,
                        None => println!("{}", to_json(&state)?),
                    }
                }
                _ => {
                    let verified = verify::verify(&*store, dashboard, &limits).await?;
                    for (position, what) in &verified.faults {
                        println!("{position}\t{what}");
                    }
                    let verify::Verified { segments, entries, faults } = verified;
                    println!("{dashboard}: {segments} segments with {entries} edits, {} faults", faults.len());
                    if !faults.is_empty() {
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        .await;
        store.close().await?;
        done
    })
}

async fn show(store: &dyn Store, dashboard: &DashboardId) -> Result<(), StoreError> {
    let history = store.history(dashboard).await?;
    println!("from\tto\tfirst\tlast\tedits\tbytes");
    for info in &history.segments {
        let (first, last) = (format_moment(info.first_at), format_moment(info.last_at));
        println!("{}\t{}\t{first}\t{last}\t{}\t{}", info.from, info.to, info.entries, info.bytes);
    }
    let (mut first, mut last, mut count) = (None, None, 0_u64);
    each_of_log(store, dashboard, history.base, |position, entry| {
        first.get_or_insert(entry.at);
        last = Some((position, entry.at));
        count += 1;
    })
    .await?;
    if let (Some(first), Some((to, last))) = (first, last) {
        let (first, last) = (format_moment(first), format_moment(last));
        println!("{}\t{to}\t{first}\t{last}\t{count}\t{} (not sealed yet)", history.base, history.log_bytes);
    }
    Ok(())
}

async fn edits(store: &dyn Store, dashboard: &DashboardId) -> Outcome {
    let history = store.history(dashboard).await?;
    let tell = |position: LogPosition, entry: &LogEntry| {
        let (at, author) = (format_moment(entry.at), entry.author.as_deref().unwrap_or("-"));
        println!("{position}\t{at}\t{author}\t{}", entry.update.len());
    };
    let mut code = ExitCode::SUCCESS;
    for info in &history.segments {
        let record = store.segment(dashboard, info.from).await?.unwrap_or_default();
        match Segment::open(&record) {
            Ok(segment) => segment.entries.iter().for_each(|(position, entry)| tell(*position, entry)),
            Err(why) => {
                eprintln!("cannot read the edits from {} to {}: {why}", info.from, info.to);
                code = ExitCode::FAILURE;
            }
        }
    }
    each_of_log(store, dashboard, history.base, tell).await?;
    Ok(code)
}

async fn each_of_log(
    store: &dyn Store,
    dashboard: &DashboardId,
    mut after: LogPosition,
    mut with: impl FnMut(LogPosition, &LogEntry),
) -> Result<(), StoreError> {
    loop {
        let page = store.log(dashboard, after, PAGE).await?;
        for (position, entry) in &page {
            with(*position, entry);
            after = *position;
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

fn write(file: &Path, state: &Bytes) -> io::Result<()> {
    if file == Path::new(STANDARD) {
        return io::stdout().write_all(state);
    }
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(state)
}
