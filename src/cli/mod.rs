//! The command line: `ydash serve`, `export`, `import`, `reset`, `trash`, `history`, `token`, `audit`, `doctor`. `ydash` alone serves.
//!
//! Flags are made from the table of knobs, so every knob is one; the rest here is what each command does with a configuration.

mod audit;
mod doctor;
mod history;
mod private;
mod report;
mod reset;
mod token;
mod transfer;
mod trash;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::runtime;
use tracing::{info, warn};

use crate::config::{Config, Knob, Layers, LogFormat};
use crate::{allocator, descriptors, server, telemetry};

/// Runs the process' command and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    private::keep_files_private();
    allocator::return_large_blocks();
    let matches = match parse(std::env::args_os()) {
        Ok(matches) => matches,
        // Help and version come as errors too; clap knows which stream and code they have.
        Err(told) => told.exit(),
    };
    let outcome = match matches.subcommand() {
        Some(("audit", options)) => layers(&matches, Some(options)).and_then(|layers| audit::run(&layers, options)),
        Some(("doctor", options)) => layers(&matches, Some(options)).and_then(|layers| doctor::run(&layers, options)),
        Some(("export", options)) => {
            layers(&matches, Some(options)).and_then(|layers| transfer::export(&layers, options))
        }
        Some(("history", options)) => layers(&matches, Some(options)).and_then(|layers| history::run(&layers, options)),
        Some(("import", options)) => {
            layers(&matches, Some(options)).and_then(|layers| transfer::import(&layers, options))
        }
        Some(("reset", options)) => layers(&matches, Some(options)).and_then(|layers| reset::run(&layers, options)),
        Some(("trash", options)) => layers(&matches, Some(options)).and_then(|layers| trash::run(&layers, options)),
        Some(("token", options)) => layers(&matches, Some(options)).and_then(|layers| token::run(&layers, options)),
        Some((_, options)) => layers(&matches, Some(options)).and_then(|layers| serve(&layers)),
        None => layers(&matches, None).and_then(|layers| serve(&layers)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ydash: {}", chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

fn serve(layers: &Layers) -> Outcome {
    let (mut config, warnings) = Config::load(layers)?;
    telemetry::init(&config.log, config.log_format)?;
    tell_settings(&config);
    // Below the table, where somebody sees them.
    for warning in warnings {
        warn!("{warning}");
    }
    fit_descriptors(&mut config);
    // In a task, so that the accept loop runs on a worker: from this thread every accept and spawn would wake another one.
    let runtime = runtime()?;
    let served = runtime.block_on(async { tokio::spawn(server::run(Arc::new(config))).await });
    // The drain has waited for everything that it waits for. Dropping the runtime would wait for what hangs on a file, without end.
    runtime.shutdown_background();
    served??;
    Ok(ExitCode::SUCCESS)
}

/// The whole command line, for parsing and for help.
fn command() -> Command {
    let file = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
    let file = file.help("TOML file with settings; ydash.toml is read if it is there [env: YDASH_CONFIG]");
    let with_knobs = |command: Command, shown: &[&str]| {
        let flags = Knob::all().iter().map(|knob| flag(knob).hide(!shown.is_empty() && !shown.contains(&knob.group)));
        command.arg(file.clone()).args(flags)
    };
    let root = Command::new("ydash")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The backend for collaborative dashboards: stock Yjs frontends, durable edits, one binary")
        .after_help(
            "Every setting is also a variable (--room-idle is YDASH_ROOM_IDLE) and a key in the TOML file (room-idle).\n\
             Flags win over variables, variables over the file.\n\n\
             Start:    ydash\n\
             Connect:  new WebsocketProvider('ws://127.0.0.1:1234', 'my-room', doc)",
        )
        .styles(STYLES)
        .max_term_width(120);
    with_knobs(root, &[])
        .subcommand(with_knobs(Command::new("serve").about("Serves (the default)"), &[]))
        .subcommand(with_knobs(transfer::export_command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(transfer::import_command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(reset::command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(trash::command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(history::command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(token::command(), &["Access"]))
        .subcommand(with_knobs(audit::command(), &["Keeping", "Logs"]))
        .subcommand(with_knobs(doctor::command(), &["Serving", "Access", "Keeping"]))
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

fn flag(knob: &'static Knob) -> Arg {
    let help = knob.help.trim_end_matches('.');
    let help = match knob.default {
        "" => help.to_owned(),
        _ if knob.is_switch() => help.to_owned(),
        default => format!("{help} [{default}]"),
    };
    let flag = Arg::new(knob.name).long(knob.name).help(help).help_heading(knob.group);
    if knob.is_switch() {
        // `--insecure` alone, or `--insecure=false` to overrule a file.
        flag.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true)
    } else if knob.is_list() {
        flag.value_name(knob.hint).action(ArgAction::Append)
    } else {
        flag.value_name(knob.hint)
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    command().try_get_matches_from(arguments)
}

/// The layers that the process was started with. A flag may stand before or behind the command's name.
fn layers(root: &ArgMatches, sub: Option<&ArgMatches>) -> Result<Layers, Box<dyn Error>> {
    let mut layers = Layers { environment: environment(), ..Layers::default() };
    for matches in [Some(root), sub].into_iter().flatten() {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            layers.file = Some(file.clone());
        }
        for knob in Knob::all() {
            if let Some(values) = matches.get_many::<String>(knob.name) {
                let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
                layers.flags.push((knob.name.to_owned(), text));
            }
        }
    }
    Ok(layers)
}

/// The environment as far as it is text; what is not, no knob could take.
fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn runtime() -> std::io::Result<runtime::Runtime> {
    runtime::Builder::new_multi_thread().enable_all().thread_name("ydash").build()
}

/// Says at start what is configured and where it came from.
fn tell_settings(config: &Config) {
    match config.log_format {
        LogFormat::Text => eprint!("{}", config.table()),
        LogFormat::Json => {
            for (knob, value, source) in config.settings() {
                info!(setting = knob.name, value, source = source.told(knob), "configured");
            }
        }
    }
}

/// Raises the limit of open files to what the system allows, and promises no more sessions than that: a client that is told
/// "full" comes back later, one that is never accepted hangs.
fn fit_descriptors(config: &mut Config) {
    if let Err(error) = descriptors::raise() {
        warn!(%error, "the limit of open files stays as it is");
    }
    let sessions_max = descriptors::for_connections();
    if sessions_max < config.sessions_max {
        info!(sessions_max, configured = config.sessions_max, "fewer sessions are taken: open files are limited");
        config.sessions_max = sessions_max;
    }
}

/// An error with all its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(told.as_str()) {
            let _ = write!(text, ": {}", told.trim_end());
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Vec<(String, String)> {
        let matches = parse(arguments.iter().map(OsString::from)).unwrap();
        layers(&matches, matches.subcommand().map(|(_, options)| options)).unwrap().flags
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        let expected = vec![(String::from("listen"), String::from("1234"))];
        for arguments in [
            &["ydash", "--listen", "1234"][..],
            &["ydash", "--listen=1234", "serve"],
            &["ydash", "serve", "--listen", "1234"],
        ] {
            assert_eq!(flags(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_switch_needs_no_value_and_a_list_repeats() {
        assert_eq!(flags(&["ydash", "--insecure"]), [("insecure".into(), "true".into())]);
        assert_eq!(flags(&["ydash", "--insecure=false"]), [("insecure".into(), "false".into())]);
        let origins = flags(&["ydash", "--allowed-origins", "https://a", "--allowed-origins", "https://b"]);
        assert_eq!(origins, [("allowed-origins".into(), "https://a,https://b".into())]);
    }

    #[test]
    fn an_unknown_flag_is_refused_with_a_suggestion() {
        let refused = parse(["ydash", "--rom-idle", "1s"].iter().map(OsString::from)).unwrap_err().to_string();
        assert!(refused.contains("--room-idle"), "{refused}");
    }
}
