//! What a Redis server did meanwhile, as it counts itself (`INFO`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Sub;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::report::Report;

/// How long Redis may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Commands that say something to other nodes.
const PUBLISHING: [&str; 2] = ["publish", "spublish"];

/// What a Redis server has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    commands: f64,
    published: f64,
    appended: f64,
    bytes_in: f64,
    bytes_out: f64,
    cpu_seconds: f64,
}

impl Work {
    /// Asks the server at `host:port`.
    pub(crate) fn so_far(address: &str) -> Result<Work> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("connect to Redis at {address}"))?;
        stream.set_read_timeout(Some(TIMEOUT)).context("limit the wait for Redis")?;
        stream.write_all(b"INFO all\r\nQUIT\r\n").context("ask Redis")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("read what Redis counts")?;
        let answer = String::from_utf8_lossy(&answer);
        if !answer.starts_with('$') {
            bail!("Redis answers INFO with {}", answer.lines().next().unwrap_or("nothing"));
        }
        Ok(Work::parse(&answer))
    }

    fn parse(info: &str) -> Work {
        let value = |name: &str| {
            let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<f64>().ok();
            info.lines().find_map(of_line).unwrap_or(0.0)
        };
        let calls = |command: &str| {
            let name = format!("cmdstat_{command}:calls=");
            let of_line = |line: &str| line.strip_prefix(&name)?.split(',').next()?.parse::<f64>().ok();
            info.lines().find_map(of_line).unwrap_or(0.0)
        };
        Work {
            commands: value("total_commands_processed"),
            published: PUBLISHING.map(calls).iter().sum(),
            appended: calls("xadd"),
            bytes_in: value("total_net_input_bytes"),
            bytes_out: value("total_net_output_bytes"),
            cpu_seconds: value("used_cpu_sys") + value("used_cpu_user"),
        }
    }

    /// Adds what it comes to per edit.
    pub(crate) fn report(&self, report: &mut Report, edits: f64) {
        let edits = edits.max(1.0);
        report.figure("redis_published_per_edit", "messages published on Redis per edit", self.published / edits, "");
        report.figure("redis_appended_per_edit", "entries appended on Redis per edit", self.appended / edits, "");
        report.figure("redis_commands_per_edit", "commands on Redis per edit", self.commands / edits, "");
        report.figure("redis_bytes_in_per_edit", "bytes to Redis per edit", self.bytes_in / edits, "B");
        report.figure("redis_bytes_out_per_edit", "bytes from Redis per edit", self.bytes_out / edits, "B");
        report.figure("redis_cpu_us_per_edit", "CPU of Redis per edit", self.cpu_seconds * 1e6 / edits, "us");
    }
}

impl Sub for Work {
    type Output = Work;

    fn sub(self, earlier: Work) -> Work {
        Work {
            commands: self.commands - earlier.commands,
            published: self.published - earlier.published,
            appended: self.appended - earlier.appended,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = "$9\r\n# Stats\r\ntotal_commands_processed:12\r\ntotal_net_input_bytes:300\r\ntotal_net_output_bytes:40\r\n\
            used_cpu_sys:0.5\r\nused_cpu_user:0.25\r\ncmdstat_spublish:calls=3,usec=9\r\ncmdstat_xadd:calls=4,usec=9\r\n";
        let work = Work::parse(info);
        let expected =
            Work { commands: 12.0, published: 3.0, appended: 4.0, bytes_in: 300.0, bytes_out: 40.0, cpu_seconds: 0.75 };
        assert_eq!(work, expected);
        assert_eq!((work - expected).commands, 0.0);
    }
}
