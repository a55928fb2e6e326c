//! `ydash trash`: what was deleted, back from there, or for good; and deleting itself.
//!
//! It opens the store itself, as `ydash export` does. Servers on a Redis let go of what is deleted so with the next edit, within a minute at the
//! latest.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use ydash_proto::access::moment;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, Trashed};

use super::transfer::{now, open, parse_dashboard, prepare};
use crate::cli::Outcome;
use crate::config::Layers;
use crate::store::{is_there, trash};

/// `trash` without the knobs.
pub(super) fn command() -> Command {
    let dashboard = || Arg::new("dashboard").value_name("ID").required(true).value_parser(parse_dashboard);
    let life = || Arg::new("life").long("life").value_name("N").value_parser(value_parser!(u32));
    Command::new("trash")
        .about("Lists what was deleted, takes it back, ends it for good, or deletes")
        .subcommand_required(true)
        .subcommand(
            Command::new("list")
                .about(
                    "Lists what is in the trash: name, life, when it was deleted and until when it can be taken back",
                )
                .arg(Arg::new("prefix").value_name("PREFIX").default_value("").help("Only names that begin so")),
        )
        .subcommand(
            Command::new("delete")
                .about("Puts a dashboard into the trash")
                .arg(dashboard().help("The dashboard, as workspace/name")),
        )
        .subcommand(
            Command::new("restore")
                .about("Takes a dashboard back")
                .arg(dashboard().help("The dashboard, as workspace/name"))
                .arg(life().help("Which of those that were deleted under the name [the last one]")),
        )
        .subcommand(
            Command::new("purge")
                .about("Ends what is in the trash for good")
                .arg(dashboard().help("The dashboard, as workspace/name"))
                .arg(life().help("Only what was deleted as this life [all]")),
        )
}

/// Runs `ydash trash`.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    let config = prepare(layers)?;
    if !is_there(&config.store)? {
        return Err(format!("there is no store in {}", config.store).into());
    }
    let Some((what, options)) = options.subcommand() else { unreachable!("one is required") };
    super::runtime()?.block_on(async {
        let store = open(&config).await?;
        let dashboard = || options.get_one::<DashboardId>("dashboard").expect("required");
        let life = || options.get_one::<u32>("life").copied().map(Life);
        let done = async {
            match what {
                "delete" => {
                    let trashed = trash::delete(&*store, dashboard(), now(), None, config.trash, None).await?;
                    println!("{} is in the trash {}", dashboard(), until(&trashed));
                }
                "restore" => {
                    trash::restore(&*store, dashboard(), life()).await?;
                    println!("{} is back", dashboard());
                }
                "purge" => {
                    let ended = trash::purge(&*store, dashboard(), life()).await?;
                    println!("{}: {} ended for good", dashboard(), ended.len());
                }
                _ => {
                    let prefix = options.get_one::<String>("prefix").map_or("", String::as_str);
                    let mut after = None;
                    loop {
                        let (found, next) = trash::list(&*store, prefix, after.as_ref(), LISTED).await?;
                        for (dashboard, lives) in found {
                            for trashed in &lives.trash {
                                let at = moment::format(trashed.at);
                                println!("{dashboard}\t{}\t{at}\t{}", trashed.life, until(trashed));
                            }
                        }
                        match next {
                            Some(name) => after = Some(name),
                            None => break,
                        }
                    }
                }
            }
            Ok::<_, trash::TrashError>(())
        };
        let done = done.await;
        store.close().await?;
        done?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Names that are read at once.
const LISTED: usize = 256;

fn until(trashed: &Trashed) -> String {
    trashed.until.map_or_else(|| "for ever".to_owned(), |until| format!("until {}", moment::format(until)))
}
