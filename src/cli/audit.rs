//! `ydash audit`: writes the audit log out, and says whether it is whole.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::transfer::{STANDARD, open, prepare};
use crate::audit::{Checkpoint, CheckpointReader, Reading, Verifier, read};
use crate::cli::{Outcome, runtime};
use crate::config::Layers;
use crate::store::is_there;

/// `audit` without the knobs.
pub(super) fn command() -> Command {
    let action = Arg::new("action").value_name("ACTION").required(true).value_parser(["export", "verify"]);
    let file = Arg::new("file").value_name("FILE").value_parser(value_parser!(PathBuf));
    let hash = Arg::new("hash").long("hash").value_name("HASH");
    let text = |name: &'static str| Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf));
    Command::new("audit")
        .about("Writes the audit log out, or says whether it is whole")
        .arg(action.help("export: prints all lines; verify: says what was changed, taken out or put in"))
        .arg(file.help("Lines that were exported or read over REST, for verify; - is standard input [the store]"))
        .arg(text("key").help("For verify: the public half of audit-key; what it signed has to fit the lines"))
        .arg(text("checkpoints").requires("key").help("For verify: logs of the nodes, which were kept elsewhere"))
        .arg(hash.help("For verify: a line has to be there with this hash, which was written down elsewhere"))
}

/// Runs `ydash audit`.
pub(super) fn run(layers: &Layers, options: &ArgMatches) -> Outcome {
    let file = options.get_one::<PathBuf>("file");
    let is_export = options.get_one::<String>("action").is_some_and(|action| action == "export");
    let lines = match file {
        Some(_) if is_export => return Err("export prints to standard output".into()),
        Some(path) => from_file(path)?,
        None => from_store(layers)?,
    };
    if is_export {
        let mut out = io::stdout().lock();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (mut unproven, mut checkpoints) = (Vec::new(), Vec::new());
    if let Some(key) = options.get_one::<PathBuf>("key") {
        let reader = CheckpointReader::new(&fs::read_to_string(key)?)?;
        let logs = options.get_one::<PathBuf>("checkpoints").map(fs::read_to_string).transpose()?;
        let (in_lines, others_in_lines) = signed(lines.iter().flat_map(|line| reader.all_in(line)));
        let (in_logs, others_in_logs) = signed(logs.iter().flat_map(|log| reader.all_in(log)));
        let others = others_in_lines + others_in_logs;
        if others > 0 {
            println!("words that look like checkpoints and are not signed with the key: {others}");
        }
        let needed = if logs.is_some() { &in_logs } else { &in_lines };
        if needed.is_empty() {
            unproven.push("no checkpoint is signed with the key".to_owned());
        }
        checkpoints = [in_lines, in_logs].concat();
    }
    let mut verifier = Verifier::wanting(options.get_one::<String>("hash").cloned()).expecting(checkpoints);
    lines.iter().filter(|line| !line.is_empty()).for_each(|line| verifier.take(line));
    let (told, faults) = verifier.finish();
    let faults = [unproven, faults].concat();
    for line in told {
        println!("{line}");
    }
    for fault in &faults {
        println!("BROKEN  {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checkpoints that are signed with the key, and how many words look like one and are not. Those are no fault: somebody may have given
/// a dashboard such a name, or an earlier key has signed them.
fn signed<'a>(found: impl Iterator<Item = Result<Checkpoint, &'a str>>) -> (Vec<Checkpoint>, usize) {
    let (signed, others): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
    (signed.into_iter().flatten().collect(), others.len())
}

fn from_file(path: &Path) -> io::Result<Vec<String>> {
    let from: Box<dyn BufRead> = if path.as_os_str() == STANDARD {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path)?))
    };
    from.lines().collect()
}

fn from_store(layers: &Layers) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let config = prepare(layers)?;
    if !is_there(&config.store)? {
        return Err(format!("there is no store in {}", config.store).into());
    }
    runtime()?.block_on(async {
        let store = open(&config).await?;
        let lines = read(&*store.catalog(), &Reading { limit: usize::MAX, ..Reading::default() }).await;
        store.close().await?;
        Ok(lines?)
    })
}
