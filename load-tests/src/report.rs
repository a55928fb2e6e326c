//! The figures of one run, for people and for programs.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::process::{CpuSample, Process, machine_busy};

/// Share of one core above which the generator, not the server, may be what a run measured.
const GENERATOR_BUSY_MAX: f64 = 0.9;

/// Share of one core that other processes may use before they disturb a run.
const OTHERS_BUSY_MAX: f64 = 0.1;

/// Latencies in microseconds, to three digits, up to five minutes.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 300_000_000, 3).expect("bounds are constant and valid")
}

/// Everything that a run found.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: &'static str,
    settings: Map<String, Value>,
    figures: Vec<Figure>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Figure {
    /// The name in JSON, with its unit.
    key: String,
    /// What people read.
    label: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(scenario: &'static str) -> Report {
        Report { scenario, settings: Map::new(), figures: Vec::new(), warnings: Vec::new() }
    }

    /// Notes how the run was made.
    pub(crate) fn setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, key: &str, label: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { key: key.to_owned(), label: label.to_owned(), value, unit });
    }

    /// Adds the median, the p99 and the maximum of latencies in microseconds.
    pub(crate) fn latency(&mut self, key: &str, label: &str, latencies: &Histogram<u64>) {
        if latencies.is_empty() {
            self.warn(format!("nothing was measured: {label}"));
            return;
        }
        for (suffix, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let millis = latencies.value_at_quantile(quantile) as f64 / 1e3;
            self.figure(&format!("{key}_{suffix}_ms"), &format!("{label}, {suffix}"), millis, "ms");
        }
    }

    /// Adds something that the reader must know before believing the figures.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The whole report as JSON.
    pub(crate) fn to_json(&self, label: &str) -> Value {
        let figures: Map<String, Value> =
            self.figures.iter().map(|figure| (figure.key.clone(), json!(figure.value))).collect();
        json!({
            "scenario": self.scenario,
            "server": label,
            "settings": self.settings,
            "figures": figures,
            "warnings": self.warnings,
        })
    }

    /// Writes the JSON to `path`, or to standard output if that is `-`.
    pub(crate) fn save(&self, label: &str, path: &str) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&self.to_json(label)).context("encode the report")?;
        text.push('\n');
        if path == "-" {
            print!("{text}");
            return Ok(());
        }
        std::fs::write(path, text).with_context(|| format!("write {path}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(f, "{} ({})", self.scenario, settings.join(", "))?;
        let width = self.figures.iter().map(|figure| figure.label.chars().count()).max().unwrap_or(0);
        for Figure { label, value, unit, .. } in &self.figures {
            writeln!(f, "  {label:<width$}  {:>12} {unit}", significant(*value))?;
        }
        for warning in &self.warnings {
            writeln!(f, "  ! {warning}")?;
        }
        Ok(())
    }
}

/// As many decimals as mean something.
pub(crate) fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.095 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Watches the server and the generator over a stretch of time.
#[derive(Debug)]
pub(crate) struct Watch {
    server: Option<Process>,
    server_before: Option<CpuSample>,
    own_before: CpuSample,
    machine_before: Duration,
    begin: std::time::Instant,
}

/// What a [`Watch`] saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// CPU time of the server, if its process is known.
    pub(crate) server: Option<Duration>,
    /// CPU time of the generator.
    pub(crate) own: Duration,
    /// CPU time of everybody else on this machine, if the server's is known.
    pub(crate) others: Option<Duration>,
    pub(crate) elapsed: Duration,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn begin(server: Option<&Process>) -> Result<Watch> {
        Ok(Watch {
            server_before: server.map(Process::cpu).transpose()?,
            server: server.cloned(),
            own_before: Process::own().cpu()?,
            machine_before: machine_busy()?,
            begin: std::time::Instant::now(),
        })
    }

    /// What happened since.
    pub(crate) fn end(&self) -> Result<Watched> {
        let server = match (&self.server, &self.server_before) {
            (Some(server), Some(before)) => Some(server.cpu()?.since(before)),
            _ => None,
        };
        let own = Process::own().cpu()?.since(&self.own_before);
        let machine = machine_busy()?.saturating_sub(self.machine_before);
        let others = server.map(|server| machine.saturating_sub(server + own));
        Ok(Watched { server, own, others, elapsed: self.begin.elapsed() })
    }
}

impl Watched {
    /// Adds the server's CPU time per `unit`, of which there were `count`, as `key` in microseconds.
    pub(crate) fn report_cpu(&self, report: &mut Report, key: &str, label: &str, count: u64) {
        if let Some(server) = self.server {
            report.figure(key, label, server.as_secs_f64() * 1e6 / count.max(1) as f64, "us");
        }
    }

    /// Adds how busy everybody was, and says so if the generator may have been the bottleneck.
    pub(crate) fn report_load(&self, report: &mut Report) {
        if let Some(server) = self.server {
            report.figure("server_cpu_percent", "server CPU", self.share(server) * 100.0, "%");
        }
        let own = self.share(self.own);
        report.figure("generator_cpu_percent", "generator CPU", own * 100.0, "%");
        if own > GENERATOR_BUSY_MAX {
            report.warn(format!(
                "generator-bound: it used {:.0} % of a core, so latencies and rates are its own limit",
                own * 100.0
            ));
        }
        self.report_others(report);
    }

    /// Adds how busy the rest of the machine was, and says so if that disturbed the run.
    pub(crate) fn report_others(&self, report: &mut Report) {
        let Some(others) = self.others.map(|others| self.share(others)) else { return };
        report.figure("others_cpu_percent", "CPU of other processes", others * 100.0, "%");
        if others > OTHERS_BUSY_MAX {
            report.warn(format!("other processes used {:.0} % of a core and disturbed the run", others * 100.0));
        }
    }

    /// Both stretches of time as one.
    pub(crate) fn plus(self, other: Watched) -> Watched {
        let sum = |(a, b)| a + b;
        Watched {
            server: self.server.zip(other.server).map(sum),
            own: self.own + other.own,
            others: self.others.zip(other.others).map(sum),
            elapsed: self.elapsed + other.elapsed,
        }
    }

    fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Adds the server's memory.
pub(crate) fn report_memory(report: &mut Report, server: Option<&Process>) -> Result<()> {
    if let Some(server) = server {
        let memory = server.memory()?;
        report.figure("rss_mib", "server RSS after", memory.resident_kib as f64 / 1024.0, "MiB");
        report.figure("rss_peak_mib", "server RSS at most", memory.peak_kib as f64 / 1024.0, "MiB");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_same_for_people_and_programs() {
        let mut report = Report::new("few-writers");
        report.setting("writers", 5);
        let mut histogram = latencies();
        (1..=1000u64).for_each(|n| histogram.record(n * 10).unwrap());
        report.latency("latency", "edit to reader", &histogram);
        report.figure("cpu_us_per_delivery", "CPU per delivery", 5.25, "us");
        report.warn("something".into());
        let json = report.to_json("ydash");
        assert_eq!(json["figures"]["cpu_us_per_delivery"], 5.25);
        assert!((json["figures"]["latency_p99_ms"].as_f64().unwrap() - 9.9).abs() < 0.05);
        assert_eq!(json["settings"]["writers"], 5);
        let text = report.to_string();
        assert!(text.contains("edit to reader, p99") && text.contains("5.25 us") && text.contains("! something"));
    }

    #[test]
    fn figures_have_the_digits_that_mean_something() {
        assert_eq!([1234.5, 12.34, 1.234, 0.0567, 0.0].map(significant), ["1234", "12.3", "1.23", "0.057", "0"]);
    }
}
