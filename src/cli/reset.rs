//! `ydash reset`: a new life for a dashboard, with what it shows and without what was deleted or overwritten in it.
//!
//! It writes what is there into an archive first. The dashboard should be open nowhere: a room that has it open keeps what it has.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ydash_proto::document::renew;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::limits::Limits;
use ydash_proto::time::Timestamp;

use super::transfer::{export_file, now, open, parse_dashboard, prepare, tell};
use crate::cli::Outcome;
use crate::config::Layers;
use crate::store::archive::ArchiveReport;
use crate::store::{Append, LogEntry, LogPosition, SnapshotOutcome, Source, Store, Why, is_there, lines, versions};

/// `reset` without the knobs.
pub(super) fn command() -> Command {
    let dashboard = Arg::new("dashboard").value_name("ID").required(true).value_parser(parse_dashboard);
    let backup = Arg::new("backup").long("backup").value_name("FILE").value_parser(value_parser!(PathBuf));
    let lossy = Arg::new("lossy").long("lossy").action(ArgAction::SetTrue);
    Command::new("reset")
        .about("Gives a dashboard a new life with what it shows, without the weight of what was deleted in it")
        .arg(dashboard.help("The dashboard, as workspace/name; it should be open nowhere"))
        .arg(backup.help("Archive to write before, which must not be there yet [workspace-name-TIME.ydash]"))
        .arg(lossy.help("Also if something is lost: XML hooks, options of subdocuments"))
}

/// Runs `ydash reset`.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    let config = prepare(layers)?;
    if !is_there(&config.store)? {
        return Err(format!("there is no store in {}", config.store).into());
    }
    let dashboard: &DashboardId = options.get_one("dashboard").expect("required");
    let lossy = options.get_flag("lossy");
    let at = now();
    let named = || PathBuf::from(format!("{}-{}.ydash", dashboard.as_str().replace(['/', ' ', '\\'], "-"), at.0));
    let backup = options.get_one("backup").cloned().unwrap_or_else(named);
    let limits = config.limits();
    let (before, after) = super::runtime()?.block_on(async {
        let store = open(&config).await?;
        let done = reset(&*store, dashboard, &backup, &limits, lossy, at).await;
        store.close().await?;
        done
    })?;
    println!("{dashboard}: {before} bytes became {after}; what it was is in {}", backup.display());
    Ok(ExitCode::SUCCESS)
}

/// Resets a dashboard, and says how many bytes its state had and has.
async fn reset(
    store: &dyn Store,
    dashboard: &DashboardId,
    backup: &Path,
    limits: &Limits,
    lossy: bool,
    at: Timestamp,
) -> Result<(usize, usize), Box<dyn Error>> {
    let life = store.lives(dashboard).await?.current;
    let stored = store.load(dashboard).await?;
    let (position, damaged) = (stored.position, stored.damaged);
    let mut report = ArchiveReport::default();
    let state = lines::state(stored, &limits.for_trusted(), &mut report);
    if damaged > 0 || report.damaged > 0 {
        return Err(format!("{dashboard} has damaged records: what is in them would be lost; see ydash doctor").into());
    }
    let Some(state) = state else { return Err(format!("{dashboard} is not in the store, or is empty").into()) };
    let renewed = loop {
        // An id that wrote to it before is drawn once in a blue moon.
        match renew(&state, fastrand::u32(1..).into(), lossy) {
            Err(ydash_proto::document::RenewError::ClientInUse) => {}
            renewed => break renewed,
        }
    };
    let renewed = renewed.map_err(|error| format!("{dashboard} cannot be written anew: {error}"))?;
    tell("kept", &export_file(store, std::slice::from_ref(dashboard), None, backup).await?);
    versions::keep_before(store, dashboard, life, position, &state, Why::BeforeReset, at).await?;
    replace(store, dashboard, life, position, renewed.clone(), at).await?;
    Ok((state.len(), renewed.len()))
}

/// Makes a state the dashboard's snapshot, if nobody has written to it since it was read.
async fn replace(
    store: &dyn Store,
    dashboard: &DashboardId,
    life: Life,
    position: LogPosition,
    state: Bytes,
    at: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let entry = LogEntry { at, author: None, session: 0, source: Source::Import, update: state.clone() };
    let append = Append { dashboard: dashboard.clone(), life, after: Some(position), entries: vec![entry] };
    let appended = store.append(vec![append]).await.remove(0)?;
    // What others wrote meanwhile is after the state and stays in the log; the snapshot must not stand for it.
    if appended.before != position {
        return Err(format!("{dashboard} was written to meanwhile: close it everywhere, then try again").into());
    }
    match store.snapshot(dashboard, appended.position, state).await? {
        SnapshotOutcome::Kept => Ok(()),
        SnapshotOutcome::Superseded => Err(format!("{dashboard} was written to meanwhile: close it everywhere").into()),
    }
}

#[cfg(test)]
mod tests {
    use ydash_proto::document::{from_json, to_json};

    use super::*;
    use crate::store::KeptVersion;
    use crate::store::contract::id;
    use crate::store::memory::MemoryStore;

    async fn append(store: &dyn Store, update: Vec<u8>) {
        let entry =
            LogEntry { at: Timestamp(1), author: None, session: 0, source: Source::Socket, update: update.into() };
        let append = Append { dashboard: id("w/a"), life: Life::FIRST, after: None, entries: vec![entry] };
        store.append(vec![append]).await.remove(0).unwrap();
    }

    #[tokio::test]
    async fn a_reset_keeps_what_is_shown_and_an_archive_of_what_was() {
        let store = MemoryStore::new();
        let limits = Limits::default();
        let backup = tempfile::tempdir().unwrap();
        let file = backup.path().join("archive");
        let failed = reset(&store, &id("w/a"), &file, &limits, false, Timestamp(5)).await.unwrap_err();
        assert!(failed.to_string().contains("not in the store"), "{failed}");
        append(&store, from_json(br#"{"map":{"a":[1,2,{"b":"c"}]},"text":"hello"}"#, 7).unwrap()).await;
        let shown = r#"{"map":{"a":[1,2,{"b":"c"}]},"text":"hello"}"#;
        reset(&store, &id("w/a"), &file, &limits, false, Timestamp(5)).await.unwrap();
        let stored = store.load(&id("w/a")).await.unwrap();
        assert_eq!(stored.tail.len(), 0);
        assert_eq!(to_json(&stored.snapshot.unwrap().1).unwrap(), shown);
        let versions = store.versions(&id("w/a")).await.unwrap();
        assert_eq!(
            versions.iter().map(|info| (info.why, info.at)).collect::<Vec<_>>(),
            [(Why::BeforeReset, Timestamp(5))]
        );
        let record = store.version(&id("w/a"), versions[0].id).await.unwrap().unwrap();
        assert_eq!(to_json(&KeptVersion::open(&record).unwrap()).unwrap(), shown);
        // The archive brings the old one back, and that is the same.
        let restored = MemoryStore::new();
        let archive = std::fs::File::open(&file).unwrap();
        crate::store::archive::import(archive, &restored, Timestamp(6), |_| Ok(())).await.unwrap();
        assert_eq!(to_json(&restored.load(&id("w/a")).await.unwrap().tail[0]).unwrap(), shown);
        // A second one finds its archive there already, and changes nothing.
        assert!(reset(&store, &id("w/a"), &file, &limits, false, Timestamp(7)).await.is_err());
    }

    #[tokio::test]
    async fn a_damaged_dashboard_is_not_reset() {
        let store = MemoryStore::new();
        append(&store, from_json(br#"{"text":"hello"}"#, 7).unwrap()).await;
        append(&store, from_json(br#"{"text":"hello"}"#, 8).unwrap()).await;
        store.damage_entry(&id("w/a"), 0);
        let file = Path::new("/nowhere");
        let failed = reset(&store, &id("w/a"), file, &Limits::default(), false, Timestamp(5)).await.unwrap_err();
        assert!(failed.to_string().contains("damaged"), "{failed}");
    }
}
