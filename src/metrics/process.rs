//! What the operating system counts about this process, read when somebody asks, under the names that Prometheus' clients share.
//!
//! Empty where there is no `/proc`.

use core::fmt;
use std::sync::LazyLock;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What an operator is told about one of them.
pub(super) struct Told {
    pub(super) topic: &'static str,
    /// As it is queried.
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) meaning: &'static str,
    pub(super) advice: &'static str,
}

const CPU: Told = Told {
    topic: super::PROCESSING,
    name: "process_cpu_seconds_total",
    kind: "counter",
    meaning: "Processor time that this process has used, in user and system mode",
    advice: "A rate near the number of cores means that the node is full: add a node, or raise flush-interval for busy rooms.",
};

const MEMORY: Told = Told {
    topic: super::MEMORY,
    name: "process_resident_memory_bytes",
    kind: "gauge",
    meaning: "Memory of this process that is in RAM",
    advice: "More than memory-max plus some hundred MiB for the store's caches is worth a report. Lower memory-max if the machine has less.",
};

const STARTED: Told = Told {
    topic: super::PROCESS,
    name: "process_start_time_seconds",
    kind: "gauge",
    meaning: "When this process started, in seconds since 1970",
    advice: "A restart that nobody asked for: look for a panic or the kernel's out-of-memory killer in the system's log.",
};

pub(super) const DESCRIBED: &[Told] = &[CPU, MEMORY, STARTED];

/// A registry without a prefix, with what is told here and a series that says which build this is.
pub(super) fn registry() -> Registry {
    LazyLock::force(&START);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry
}

static START: LazyLock<f64> =
    LazyLock::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));

/// Ticks per second, as Linux shows them to every process on every architecture.
const TICKS: f64 = 100.0;

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let name = CPU.name.trim_end_matches("_total");
            let cpu = ConstCounter::new(seconds);
            cpu.encode(encoder.encode_descriptor(name, CPU.meaning, None, MetricType::Counter)?)?;
        }
        let resident = crate::allocator::resident();
        if resident > 0 {
            let memory = ConstGauge::new(resident as i64);
            memory.encode(encoder.encode_descriptor(MEMORY.name, MEMORY.meaning, None, MetricType::Gauge)?)?;
        }
        let start = ConstGauge::new(*START);
        start.encode(encoder.encode_descriptor(STARTED.name, STARTED.meaning, None, MetricType::Gauge)?)
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS)
}
