//! `ydash doctor`: looks at everything a start depends on, and says what is wrong and what to do.
//!
//! It makes nothing that is not there, and changes nothing but the list of names in a Redis, which it completes, and what a start
//! would put right as well. With `--salvage` it makes a damaged directory openable, and says what that costs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::auth::{Authenticator as _, Tokens};
use crate::catalog;
use crate::cli::{Outcome, chain, report, runtime};
use crate::config::{self, Config, Layers, Source};
use crate::descriptors;
use crate::store::{self, CheckReport, Store, StoreUrl, content, homes};

/// How a check came out.
enum Finding {
    Fine(String),
    /// Works, but someone may want to know.
    Odd(String),
    /// A start would fail, or data is damaged.
    Broken(String),
}

use Finding::{Broken, Fine, Odd};

/// Runs every check and prints one line each. The exit code tells whether anything is broken.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    let (config, warnings) = match Config::load(layers) {
        Ok(loaded) => loaded,
        Err(error) => {
            println!("{}", told_of("settings", &Broken(chain(&error))));
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut findings = vec![("settings", settings(&config))];
    findings.extend(warnings.into_iter().map(|warning| ("settings", Odd(warning))));
    findings.extend(runtime()?.block_on(tokens(&config, options)).into_iter().map(|finding| ("tokens", finding)));
    findings.push(("port", port(&config)));
    findings.push(("files", files(&config)));
    if options.get_flag(SALVAGE) {
        findings.extend(salvage(&config).into_iter().map(|finding| ("salvage", finding)));
    }
    findings.extend(runtime()?.block_on(keeping(&config)).into_iter().map(|finding| ("store", finding)));
    let mut told = String::new();
    for (subject, finding) in &findings {
        let line = told_of(subject, finding);
        println!("{line}");
        told.push_str(&line);
        told.push('\n');
    }
    if let Some(path) = options.get_one::<PathBuf>(BUNDLE) {
        // Read from standard input, it is used up.
        let token = options.get_one::<String>(TOKEN).map(String::as_str).filter(|token| *token != "-");
        report::write(path, &config, &told, token)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("{} has no secrets; read it before you pass it on", path.display());
    }
    let broken = findings.iter().any(|(_, finding)| matches!(finding, Broken(_)));
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The flag that changes what is on disk.
const SALVAGE: &str = "salvage";

/// The token to look at.
const TOKEN: &str = "token";

/// Where the report goes.
const BUNDLE: &str = "bundle";

/// `doctor` without the knobs.
pub(super) fn command() -> Command {
    let help =
        "Makes a damaged directory openable: keeps what is readable, and damaged files aside, and says what is missing";
    Command::new("doctor")
        .about("Checks settings, store, port and system limits, and says what is wrong")
        .arg(
            Arg::new(TOKEN)
                .long(TOKEN)
                .value_name("TOKEN")
                .help("A token: says whose it is, or why it is not taken; - reads it from standard input"),
        )
        .arg(
            Arg::new(BUNDLE)
                .long(BUNDLE)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Also writes a report for whoever helps: settings without secrets, findings, machine, numbers of the running server"),
        )
        .arg(Arg::new(SALVAGE).long(SALVAGE).action(ArgAction::SetTrue).help(help))
}

fn salvage(config: &Config) -> Vec<Finding> {
    let StoreUrl::Directory(directory) = &config.store else {
        return vec![Odd(format!("{} is no directory: there is nothing to salvage", config.store))];
    };
    if !store::is_there(&config.store).unwrap_or(false) {
        return vec![Fine(format!("{} holds no store", config.store))];
    }
    match store::salvage(directory) {
        Ok((_, missing)) if missing.is_empty() => vec![Fine("nothing is missing".to_owned())],
        Ok((kept, missing)) => {
            let told = format!("this list and damaged files are kept in {}", kept.parent().unwrap_or(&kept).display());
            missing.iter().map(|missing| Odd(format!("lost: {missing}"))).chain([Odd(told)]).collect()
        }
        Err(error) => vec![Broken(chain(&error))],
    }
}

fn told_of(subject: &str, finding: &Finding) -> String {
    let (mark, text) = match finding {
        Fine(text) => ("ok    ", text),
        Odd(text) => ("odd   ", text),
        Broken(text) => ("BROKEN", text),
    };
    format!("{mark}  {subject:<9} {text}")
}

fn settings(config: &Config) -> Finding {
    let set = config.settings().filter(|(_, _, source)| **source != Source::Default);
    let set: Vec<_> = set.map(|(knob, value, source)| format!("{}={value} {}", knob.name, source.told(knob))).collect();
    match set.as_slice() {
        [] => Fine("all defaults".into()),
        set => Fine(set.join(", ")),
    }
}

/// Looks at the issuers' keys, and at a token if one is given.
async fn tokens(config: &Config, options: &ArgMatches) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.issuers.is_empty() {
        findings.push(Fine("no issuer is configured: nobody is asked for a token".into()));
    }
    let tokens = match Tokens::new(&config.issuers, config.anonymous(), config::duration) {
        Ok(tokens) => tokens,
        Err(error) => return vec![Broken(error)],
    };
    findings.extend(tokens.look().await.into_iter().map(|found| match found {
        Ok(told) => Fine(told),
        Err(why) => Broken(why),
    }));
    let Some(token) = options.get_one::<String>(TOKEN) else { return findings };
    let token = match token.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).unwrap_or_default(),
        token => token.to_owned(),
    };
    let keeping = tokio::spawn(tokens.keep_up());
    findings.push(match tokens.verify(token.trim()).await {
        // Not whose it is: findings go into reports.
        Ok(user) => {
            Fine(format!("the token is taken, {}", if user.is_operator { "as an operator's" } else { "as a user's" }))
        }
        Err(error) => Broken(format!("the token is not taken: {error}")),
    });
    keeping.abort();
    findings
}

fn port(config: &Config) -> Finding {
    match TcpListener::bind(config.listen) {
        Ok(_) => Fine(format!("{} is free", config.listen)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Odd(format!("{} is in use: by a running ydash, or by something else", config.listen))
        }
        Err(error) => Broken(format!("cannot listen on {}: {error}", config.listen)),
    }
}

fn files(config: &Config) -> Finding {
    let wanted = descriptors::BESIDE + config.sessions_max as u64;
    match descriptors::allowed() {
        Ok(hard) if hard < wanted => {
            Odd(format!("{hard} open files allowed, {wanted} wanted: raise `ulimit -Hn` or lower sessions-max"))
        }
        Ok(hard) => Fine(format!("{hard} open files allowed, {wanted} wanted")),
        Err(error) => Odd(format!("the limit of open files cannot be read: {error}")),
    }
}

async fn keeping(config: &Config) -> Vec<Finding> {
    match store::is_there(&config.store) {
        Ok(true) => {}
        Ok(false) => return vec![Fine(format!("{} holds no store yet; the first start makes one", config.store))],
        Err(error) => return vec![Broken(format!("{} cannot be opened: {error}", config.store))],
    }
    let (url, options) = (config.store.clone(), config.store_config());
    let opened = tokio::task::spawn_blocking(move || store::open(&url, &options)).await;
    let store: Arc<dyn Store> = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(store::OpenError::Locked { directory })) => {
            return vec![Odd(format!("{} is in use by a running ydash; stop it to check", directory.display()))];
        }
        Ok(Err(error)) => return vec![Broken(chain(&error))],
        Err(panicked) => return vec![Broken(format!("opening it panicked: {panicked}"))],
    };
    let mut findings = match store.check().await {
        Ok(mut report) => match content::check(&*store, &config.limits()).await {
            Ok(found) => {
                report.damaged_total += found.len() as u64;
                report.damaged.extend(found);
                judge(&report)
            }
            Err(error) => vec![Broken(chain(&error))],
        },
        Err(error) => vec![Broken(chain(&error))],
    };
    findings.extend(match catalog::check(&*store.catalog()).await {
        Ok((whole, damaged)) => core::iter::once(Fine(format!("{whole} records of access")))
            .chain(damaged.iter().map(|error| Broken(format!("{error}; PUT …/access without If-Match replaces it"))))
            .collect(),
        Err(error) => vec![Broken(chain(&error))],
    });
    match homes::away(&*store).await {
        Ok(away) => findings.extend(away.first().and_then(|first| {
            let home = first.home()?;
            Some(Odd(format!("{} dashboards will move at the next start, such as {first} to {home}", away.len())))
        })),
        Err(error) => findings.push(Broken(chain(&error))),
    }
    match store.close().await {
        Ok(()) => findings,
        Err(error) => findings.into_iter().chain([Broken(chain(&error))]).collect(),
    }
}

fn judge(report: &CheckReport) -> Vec<Finding> {
    let mut findings = vec![Fine(format!(
        "{} dashboards, {} snapshots, {} log entries, {} bytes",
        report.dashboards, report.snapshots, report.entries, report.bytes
    ))];
    if report.set_aside > 0 {
        findings
            .push(Odd(format!("{} damaged records are set aside; newer snapshots stand for them", report.set_aside)));
    }
    findings.extend(report.refused.iter().map(|(dashboard, refused)| {
        Odd(format!("{dashboard}: {refused} refused updates are kept; ydash export writes them into the archive"))
    }));
    findings.extend(report.remarks.iter().cloned().map(Odd));
    findings.extend(
        report
            .missing
            .iter()
            .map(|missing| Broken(format!("lost: {missing} (ydash doctor --salvage marks this as seen)"))),
    );
    findings.extend(report.damaged.iter().map(|record| {
        let place = record.position.map_or("snapshot".into(), |position| format!("log entry {position}"));
        Broken(format!("{}: {place}: {}", record.dashboard, record.why))
    }));
    let unnamed = report.damaged_total.saturating_sub(report.damaged.len() as u64);
    if unnamed > 0 {
        findings.push(Broken(format!("and {unnamed} damaged records more")));
    }
    findings
}
