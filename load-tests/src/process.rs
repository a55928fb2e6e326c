//! What a process costs: its CPU time and memory as Linux counts them.

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

/// A tick of `/proc/PID/stat`: 10 ms on every Linux of note (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A server to watch: one process, or several nodes as one.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pids: Rc<[u32]>,
}

/// CPU time at one moment.
#[derive(Clone, Debug)]
pub(crate) struct CpuSample {
    /// utime + stime of all threads, ended ones included, to the tick.
    total: Duration,
    /// The same to the nanosecond, of the threads that live.
    threads: BTreeMap<u32, Duration>,
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// VmRSS.
    pub(crate) resident_kib: u64,
    /// VmHWM: the most that it ever was.
    pub(crate) peak_kib: u64,
}

impl Process {
    /// The processes `pids`, which must run.
    ///
    /// # Errors
    /// One does not, or belongs to somebody else.
    pub(crate) fn new(pids: &[u32]) -> Result<Process> {
        let process = Process { pids: pids.into() };
        process.cpu()?;
        process.memory()?;
        Ok(process)
    }

    /// The load generator itself.
    pub(crate) fn own() -> Process {
        Process { pids: [std::process::id()].into() }
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<CpuSample> {
        let mut sample = CpuSample { total: Duration::ZERO, threads: BTreeMap::new() };
        for pid in self.pids.iter() {
            let stat = read(*pid, "stat")?;
            // The second field is the name, in parentheses, and may hold anything.
            let fields = stat.rsplit_once(')').map(|(_, rest)| rest).context("parse /proc/PID/stat")?;
            let times = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
            sample.total += TICK * times.sum::<u64>() as u32;
            for entry in fs::read_dir(format!("/proc/{pid}/task")).context("list the server's threads")? {
                let entry = entry.context("list the server's threads")?;
                let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                // A thread may end between the listing and this.
                let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
                if let Some(nanos) = schedstat.split(' ').next().and_then(|field| field.parse().ok()) {
                    sample.threads.insert(tid, Duration::from_nanos(nanos));
                }
            }
        }
        Ok(sample)
    }

    /// Memory, of several processes their sum.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut memory = Memory { resident_kib: 0, peak_kib: 0 };
        for pid in self.pids.iter() {
            let status = read(*pid, "status")?;
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse::<u64>().ok())
                    .with_context(|| format!("find {name} in /proc/{pid}/status"))
            };
            memory.resident_kib += field("VmRSS:")?;
            memory.peak_kib += field("VmHWM:")?;
        }
        Ok(memory)
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

impl CpuSample {
    /// CPU time from `earlier` to this sample.
    ///
    /// To the nanosecond where threads tell; a thread that ended took its count with it, which shows as a difference to the
    /// total in ticks, and then the total is taken.
    pub(crate) fn since(&self, earlier: &CpuSample) -> Duration {
        let coarse = self.total.saturating_sub(earlier.total);
        let fine: Duration = self
            .threads
            .iter()
            .map(|(tid, time)| time.saturating_sub(earlier.threads.get(tid).copied().unwrap_or_default()))
            .sum();
        let tolerance = 2 * TICK + coarse / 50;
        if fine.abs_diff(coarse) <= tolerance { fine } else { coarse }
    }
}

/// CPU time that all cores together spent on anything, the hypervisor's other guests included.
pub(crate) fn machine_busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().context("read the first line of /proc/stat")?;
    // cpu user nice system idle iowait irq softirq steal
    let fields: Vec<u64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|f| f.parse().ok()).collect();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok(TICK * (fields.iter().sum::<u64>() - idle) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn own_cpu_time_is_counted() {
        let before = Process::own().cpu().unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let used = Process::own().cpu().unwrap().since(&before);
        assert!(used > Duration::from_millis(10), "{used:?}");
    }

    #[test]
    fn own_memory_is_counted() {
        let memory = Process::own().memory().unwrap();
        assert!(memory.resident_kib > 100 && memory.peak_kib >= memory.resident_kib);
    }
}
