//! The results of several servers side by side, as the README shows them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::report::significant;

/// The servers, in the order of the columns.
const SERVERS: [&str; 5] = ["relay", "y-websocket", "hocuspocus", "ydash", "ydash-hocuspocus"];

/// How many of them are measured for comparison only.
const PEERS: usize = 3;

/// One line of the table.
struct Row {
    scenario: &'static str,
    key: &'static str,
    title: &'static str,
    /// What an earlier run of the same scenarios found for the first three servers (2 cores, 2026-11).
    earlier: [Option<f64>; PEERS],
    /// What ydash must not exceed.
    goal: Option<f64>,
}

const fn row(
    scenario: &'static str,
    key: &'static str,
    title: &'static str,
    earlier: [Option<f64>; PEERS],
    goal: Option<f64>,
) -> Row {
    Row { scenario, key, title, earlier, goal }
}

const fn figures(relay: f64, yws: f64, hocus: f64) -> [Option<f64>; PEERS] {
    [Some(relay), Some(yws), Some(hocus)]
}

const NONE: [Option<f64>; PEERS] = [None; PEERS];

const ROWS: &[Row] = &[
    row("few-writers", "cpu_us_per_delivery", "CPU µs per delivery", figures(5.3, 10.6, 11.9), Some(5.3)),
    row("few-writers", "latency_p99_ms", "p99 ms", figures(5.0, 11.2, 9.3), Some(10.0)),
    row("busy-room", "cpu_us_per_delivery", "CPU µs per delivery", figures(2.27, 6.82, 2.97), Some(0.6)),
    row("busy-room", "latency_p99_ms", "p99 ms", figures(6.4, 56.0, 15.0), Some(25.0)),
    row("busy-room", "lost_percent", "lost %", NONE, Some(0.0)),
    row("many-rooms", "cpu_us_per_delivery", "CPU µs per delivery", figures(9.2, 27.7, 38.3), Some(11.0)),
    row("many-rooms", "latency_p99_ms", "p99 ms", figures(2.1, 4.1, 18.0), Some(5.0)),
    row("many-rooms", "rss_mib", "RSS MiB after", figures(11.0, 104.0, 126.0), Some(25.0)),
    row("cursors", "cpu_us_per_move", "CPU µs per move", figures(278.0, 593.0, 443.0), Some(40.0)),
    row("cursors", "latency_p99_ms", "p99 ms", figures(6.6, 4186.0, 13.0), Some(40.0)),
    row("echoing-cursors", "cpu_us_per_move", "CPU µs per move", [None, Some(520.0), Some(1353.0)], Some(80.0)),
    row("echoing-cursors", "latency_p99_ms", "p99 ms", NONE, None),
    row("idle", "kib_per_session", "KiB per session", figures(7.5, 12.5, 17.6), Some(7.5)),
    row("idle", "cpu_ms_per_join", "CPU ms per join", figures(0.07, 0.29, 0.44), Some(0.08)),
    row("join-large", "cpu_ms_per_join", "CPU ms per join", [None, Some(3.8), Some(4.6)], Some(0.3)),
    row("join-large", "latency_p99_ms", "p99 ms", [None, Some(203.0), Some(220.0)], Some(40.0)),
    row("rooms-left", "kib_per_room", "KiB kept per room", figures(0.5, 66.0, 34.0), Some(1.0)),
    row("rooms-left", "kib_per_room_again", "KiB kept per further room", NONE, None),
    row("durable", "save_p99_ms", "p99 ms until saved", NONE, Some(100.0)),
    row("viewers", "cpu_us_per_delivery", "CPU µs per delivery", NONE, None),
    row("viewers", "latency_p99_ms", "p99 ms", NONE, None),
    row("restart-storm", "all_back_ms", "ms until all are back in sync", NONE, Some(2000.0)),
];

/// Reads every `*.json` of `directory` and lays the results out as a Markdown table.
pub(crate) fn markdown(directory: &Path) -> Result<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.context("list the results")?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    ensure!(!paths.is_empty(), "{} holds no results", directory.display());
    paths.sort();
    let reports: Vec<Value> = paths.iter().map(|path| read_report(path)).collect::<Result<_>>()?;
    Ok(layout(&reports))
}

fn read_report(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

fn layout(reports: &[Value]) -> String {
    let mut table = String::from("| scenario | figure |");
    SERVERS.iter().for_each(|server| write_cell(&mut table, server));
    table.push_str(" goal |\n|---|---|---|---|---|---|---|---|\n");
    let mut previous = "";
    for row in ROWS {
        let measured = SERVERS.map(|server| find(reports, row, server));
        if measured.iter().all(Option::is_none) {
            continue;
        }
        let scenario = if row.scenario == previous { "" } else { row.scenario };
        previous = row.scenario;
        let _ = write!(table, "| {scenario} | {} |", row.title);
        for (server, measured) in measured.into_iter().enumerate() {
            let earlier = row.earlier.get(server).copied().flatten();
            let mut cell = measured.map_or("-".to_owned(), significant);
            if let Some(earlier) = earlier {
                let _ = write!(cell, " ({earlier})");
            }
            if server >= PEERS
                && let (Some(measured), Some(goal)) = (measured, row.goal)
                && measured <= goal
            {
                cell = format!("**{cell}**");
            }
            write_cell(&mut table, &cell);
        }
        write_cell(&mut table, &row.goal.map_or(String::new(), |goal| format!("<= {goal}")));
        table.push('\n');
    }
    for report in reports {
        let text = |name: &str| report[name].as_str().unwrap_or("?").to_owned();
        for warning in report["warnings"].as_array().into_iter().flatten() {
            let _ = write!(table, "\n- {} of {}: {}", text("scenario"), text("server"), warning.as_str().unwrap_or(""));
        }
    }
    table
}

fn find(reports: &[Value], row: &Row, server: &str) -> Option<f64> {
    let report = reports.iter().find(|report| report["scenario"] == row.scenario && report["server"] == server)?;
    report["figures"][row.key].as_f64()
}

fn write_cell(table: &mut String, cell: &str) {
    let _ = write!(table, " {cell} |");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reached_goals_stand_out_and_missing_figures_are_dashes() {
        let report = |server: &str, cpu: f64, warnings: &[&str]| {
            json!({
                "scenario": "busy-room", "server": server, "warnings": warnings,
                "figures": { "cpu_us_per_delivery": cpu, "latency_p99_ms": 30.0 },
            })
        };
        let table = layout(&[report("ydash", 0.5, &[]), report("y-websocket", 7.0, &["generator-bound"])]);
        assert!(table.contains(
            "| busy-room | CPU µs per delivery | - (2.27) | 7.00 (6.82) | - (2.97) | **0.50** | - | <= 0.6 |"
        ));
        assert!(table.contains("|  | p99 ms | - (6.4) | 30.0 (56) | - (15) | 30.0 | - | <= 25 |"));
        assert!(!table.contains("idle"));
        assert!(table.ends_with("- busy-room of y-websocket: generator-bound"));
    }
}
