//! `docs/METRICS.md` is what the code says, and every name is one that Prometheus' guidelines would give.

use std::collections::BTreeMap;
use std::path::Path;

use ydash::metrics::{Exposition, Metrics};

use super::support::client::Client;
use super::support::node::Node;

const FILE: &str = "docs/METRICS.md";

/// With `YDASH_WRITE_DOCS` set, the file is written.
#[test]
fn the_reference_of_metrics_is_made_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let reference = Metrics::new().reference();
    if std::env::var_os("YDASH_WRITE_DOCS").is_some() {
        std::fs::write(&path, &reference).unwrap();
    }
    let is_it = std::fs::read_to_string(&path).is_ok_and(|text| text == reference);
    assert!(is_it, "{FILE} is not what the code says: YDASH_WRITE_DOCS=1 cargo test --test it metrics");
}

/// The rules of <https://prometheus.io/docs/practices/naming/>.
#[test]
fn metrics_are_named_as_prometheus_wants() {
    let text = Metrics::new().expose(Exposition::Prometheus);
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert!(kinds.insert(name, kind).is_none(), "{name} is declared twice");
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name, help);
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let is_declared = kinds.contains_key(name) || parts.is_some_and(|name| kinds[name] == "histogram");
            assert!(is_declared, "{name} is not declared");
        }
    }
    assert!(kinds.len() > 40, "only {kinds:?}");
    for (name, kind) in kinds {
        assert!(name.starts_with("ydash_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for unit in ["milli", "micro", "minutes", "hours", "kib", "mib", "kilo", "percent", "_ms", "_sec_"] {
            assert!(!name.contains(unit), "{name}: base units are seconds, bytes and ratios");
        }
        for word in ["counter", "gauge", "histogram"] {
            assert!(!name.contains(word), "{name} names its type");
        }
        assert!(helps[name].len() > 10, "{name} is not explained");
    }
}

/// A dashboard in use moves what operators look at: who is there, what they do, and how long it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_at_work_show_in_connections_operations_and_times() {
    let node = Node::start(&[]);
    let mut ada = Client::joined(&node, "/board?acks=1", 1).await;
    let mut bob = Client::joined(&node, "/board", 2).await;
    for n in 0..5 {
        ada.set(&n.to_string(), n).await;
    }
    ada.until(|ada| ada.saved >= 5).await;
    bob.until(|bob| bob.get("4").is_some()).await;
    node.until_metric("ydash_members", |members| members == 2.0).await;
    assert_eq!(node.metric("ydash_users").await, 0.0, "nobody showed a token");
    for counted in [
        "ydash_join_seconds_count{part=\"open\"}",
        "ydash_join_seconds_count{part=\"queue\"}",
        "ydash_join_seconds_count{part=\"encode\"}",
    ] {
        assert_eq!(node.metric(counted).await, 2.0, "{counted}");
    }
    for moved in [
        "ydash_flush_seconds_count",
        "ydash_append_seconds_count",
        "ydash_room_turn_seconds_count",
        "ydash_http_request_seconds_count{route=\"metrics\"}",
        "ydash_build_info{version=\"0.1.0\"}",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(node.metric(moved).await > 0.0, "{moved}");
    }
    let plain = reqwest::Client::new().get(node.http("/metrics")).header("accept", "text/plain").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let plain = plain.text().await.unwrap();
    assert!(plain.contains("# TYPE ydash_joins_total counter\nydash_joins_total 2\n"), "{plain}");
    assert!(!plain.contains("# EOF"));
}
