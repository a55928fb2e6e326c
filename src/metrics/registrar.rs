//! Registers metrics, and remembers what an operator is told about each: `docs/METRICS.md` is made of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::{CounterBy, GaugeBy, HistogramBy, Label, Labels, process};

/// What an operator is told about a metric.
#[derive(Debug)]
struct Described {
    topic: &'static str,
    /// As it is queried.
    name: String,
    kind: &'static str,
    labels: &'static [&'static str],
    meaning: &'static str,
    advice: &'static str,
}

/// A registry under construction, with the topic that the next metrics are about.
#[derive(Debug)]
pub(super) struct Registrar {
    registry: Registry,
    described: Vec<Described>,
    /// Every label made of an enum: its name, and each value with its meaning. In the order of the first metric that has it.
    labels: Vec<(&'static str, Vec<(&'static str, String)>)>,
    topic: &'static str,
}

const PREFIX: &str = "ydash";

impl Registrar {
    pub(super) fn new() -> Registrar {
        Registrar { registry: Registry::with_prefix(PREFIX), described: Vec::new(), labels: Vec::new(), topic: "" }
    }

    /// Opens a section of the reference.
    pub(super) fn about(&mut self, topic: &'static str) -> &mut Registrar {
        self.topic = topic;
        self
    }

    pub(super) fn counter(&mut self, name: &str, meaning: &'static str, advice: &'static str) -> Counter {
        self.add(name, "counter", &[], meaning, advice, Counter::default())
    }

    pub(super) fn gauge(&mut self, name: &str, meaning: &'static str, advice: &'static str) -> Gauge {
        self.add(name, "gauge", &[], meaning, advice, Gauge::default())
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        buckets: impl Iterator<Item = f64>,
        meaning: &'static str,
        advice: &'static str,
    ) -> Histogram {
        self.add(name, "histogram", &[], meaning, advice, Histogram::new(buckets))
    }

    pub(super) fn counters<L: Label>(
        &mut self,
        name: &str,
        meaning: &'static str,
        advice: &'static str,
    ) -> CounterBy<L> {
        let family = Family::<Labels<1>, Counter>::default();
        let family = self.add(name, "counter", &[L::NAME], meaning, advice, family);
        self.label::<L>();
        CounterBy::new(|label: &L| family.get_or_create_owned(&[(L::NAME, Cow::Borrowed(label.as_str()))]))
    }

    pub(super) fn gauges<L: Label>(&mut self, name: &str, meaning: &'static str, advice: &'static str) -> GaugeBy<L> {
        let family = Family::<Labels<1>, Gauge>::default();
        let family = self.add(name, "gauge", &[L::NAME], meaning, advice, family);
        self.label::<L>();
        GaugeBy::new(|label: &L| family.get_or_create_owned(&[(L::NAME, Cow::Borrowed(label.as_str()))]))
    }

    pub(super) fn histograms<L: Label>(
        &mut self,
        name: &str,
        new: fn() -> Histogram,
        meaning: &'static str,
        advice: &'static str,
    ) -> HistogramBy<L> {
        let family = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(new);
        let family = self.add(name, "histogram", &[L::NAME], meaning, advice, family);
        self.label::<L>();
        HistogramBy::new(|label: &L| family.get_or_create_owned(&[(L::NAME, Cow::Borrowed(label.as_str()))]))
    }

    /// Counters whose label values come up as they are counted.
    pub(super) fn family<const N: usize>(
        &mut self,
        name: &str,
        labels: &'static [&'static str; N],
        meaning: &'static str,
        advice: &'static str,
    ) -> Family<Labels<N>, Counter> {
        self.add(name, "counter", labels, meaning, advice, Family::default())
    }

    /// A series whose label says which version this is.
    pub(super) fn build(&mut self, name: &str, meaning: &'static str, advice: &'static str) {
        let family = Family::<Labels<1>, Gauge>::default();
        family.get_or_create(&[("version", Cow::Borrowed(env!("CARGO_PKG_VERSION")))]).set(1);
        self.add(name, "gauge", &["version"], meaning, advice, family);
    }

    /// The registry, and the reference.
    pub(super) fn finish(mut self) -> (Registry, Reference) {
        for told in process::DESCRIBED {
            self.described.push(Described {
                topic: told.topic,
                name: told.name.into(),
                kind: told.kind,
                labels: &[],
                meaning: told.meaning,
                advice: told.advice,
            });
        }
        (self.registry, Reference { described: self.described, labels: self.labels })
    }

    fn add<M: Metric + Clone>(
        &mut self,
        name: &str,
        kind: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
        advice: &'static str,
        metric: M,
    ) -> M {
        self.registry.register(name, meaning, metric.clone());
        let total = if kind == "counter" { "_total" } else { "" };
        let name = format!("{PREFIX}_{name}{total}");
        self.described.push(Described { topic: self.topic, name, kind, labels, meaning, advice });
        metric
    }

    fn label<L: Label>(&mut self) {
        if self.labels.iter().any(|(name, _)| *name == L::NAME) {
            return;
        }
        self.labels.push((L::NAME, L::ALL.iter().map(|one| (one.as_str(), one.meaning())).collect()));
    }
}

/// What there is to know about every metric.
#[derive(Debug, Default)]
pub(super) struct Reference {
    described: Vec<Described>,
    labels: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

impl Reference {
    /// The names of all counters, as they are queried.
    pub(super) fn counters(&self) -> impl Iterator<Item = &str> {
        self.described.iter().filter(|one| one.kind == "counter").map(|one| one.name.as_str())
    }

    /// `docs/METRICS.md`.
    pub(super) fn page(&self) -> String {
        let mut page = INTRODUCTION.to_owned();
        let mut topics: Vec<&str> = Vec::new();
        for one in &self.described {
            if !topics.contains(&one.topic) {
                topics.push(one.topic);
            }
        }
        for topic in &topics {
            let _ = writeln!(page, "- {topic}:");
            let names: Vec<_> =
                self.described.iter().filter(|one| one.topic == *topic).map(|one| format!("`{}`", one.name)).collect();
            let lines: Vec<_> = names.chunks(5).map(|some| format!("  {}", some.join(", "))).collect();
            let _ = writeln!(page, "{}", lines.join(",\n"));
        }
        for topic in topics {
            let _ = write!(page, "\n## {topic}\n");
            for one in self.described.iter().filter(|one| one.topic == topic) {
                let labels: Vec<_> = one.labels.iter().map(|label| format!("`{label}`")).collect();
                let by = if labels.is_empty() { String::new() } else { format!(", by {}", labels.join(" and ")) };
                let Described { name, kind, meaning, advice, .. } = one;
                let _ =
                    write!(page, "\n### `{name}`\n{kind}, {}{by}\n\n{meaning}.\n\n*Action:* {advice}\n", one.unit());
            }
        }
        page.push_str("\n## Label values\n");
        for (label, values) in &self.labels {
            let _ = write!(page, "\n### `{label}`\n| value | meaning |\n|---|---|\n");
            for (value, meaning) in values {
                let _ = writeln!(page, "| `{value}` | {meaning} |");
            }
        }
        page
    }
}

impl Described {
    fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        if name.ends_with("_seconds") {
            "seconds"
        } else if name.ends_with("_bytes") || name.contains("_bytes_") {
            "bytes"
        } else if name.ends_with("_up") {
            "1 or 0"
        } else {
            "count"
        }
    }
}

const INTRODUCTION: &str = "\
# Metrics

Every metric that `/metrics` shows: what it means, its unit, and what to do when it moves. This page is made from the code
(`YDASH_WRITE_DOCS=1 cargo test --test it metrics`), and a test fails when the two differ.

The answer is OpenMetrics, or the Prometheus text format for whoever asks for plain text, as in
`curl -s -H 'Accept: text/plain' http://127.0.0.1:1234/metrics | promtool check metrics`. Every series with a closed set of label
values exists from the start. No metric has the name of a dashboard, a user or an address as a label.

";
