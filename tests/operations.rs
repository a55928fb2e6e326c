//! What operators run beside ydash, as it is deployed: Prometheus with its alerts, and every query of the Grafana board, over real nodes
//! with real work; HAProxy in front of them; and whether Kubernetes and systemd would take what they are given.
//!
//! Needs `prometheus`, `promtool`, `haproxy` and `kubernetes-validate`, which `scripts/test` installs.

#![allow(clippy::unwrap_used)]

#[path = "it/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use support::client::Client;
use support::node::Node;
use support::peer::Peer;
use support::redis::{Server, free_port};
use tempfile::TempDir;
use tokio::time::sleep;

#[tokio::test]
#[ignore = "needs promtool"]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let node = Node::start(&[]);
    let plain = reqwest::Client::new().get(node.http("/metrics")).header("accept", "text/plain").send().await.unwrap();
    let text = plain.text().await.unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let told = promtool.wait_with_output().unwrap();
    assert!(told.status.success() && told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
}

#[test]
#[ignore = "needs promtool"]
fn each_alert_fires_in_its_scenario_and_in_no_other() {
    let deployed = deployed("prometheus");
    for arguments in
        [["check", "config", "prometheus.yaml"], ["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]]
    {
        let told = Command::new("promtool").args(arguments).current_dir(&deployed).output().unwrap();
        assert!(told.status.success(), "{arguments:?}: {told:?}");
    }
    let read = |file: &str| std::fs::read_to_string(deployed.join(file)).unwrap();
    let (rules, tests, reference) = (read("rules.yaml"), read("tests.yaml"), read("../../docs/METRICS.md"));
    let mut alerts = 0;
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "no scenario for {alert}");
        alerts += 1;
    }
    for runbook in rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/METRICS.md#")) {
        assert!(reference.contains(&format!("### `{runbook}`")), "docs/METRICS.md says nothing about {runbook}");
        alerts -= 1;
    }
    assert_eq!(alerts, 0, "each alert has a runbook");
}

/// Two nodes over a Redis: every panel shows something while people work, and no alert fires; then Redis is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs prometheus"]
async fn every_panel_of_the_board_has_data_and_alerts_tell_that_the_store_is_down() {
    let mut redis = Server::start(&[]);
    let nodes =
        [(); 2].map(|()| Node::start_at("127.0.0.1:0", &redis.url(), &["--snapshot-bytes=4KiB", "--log=error"]));
    nodes[0].until_metric("ydash_nodes", |nodes| nodes == 2.0).await;
    let prometheus = Prometheus::start(&[nodes[0].address, nodes[1].address]);
    prometheus.until("the nodes are scraped", "sum(up{job='ydash'}) == 2").await;

    let is_over = Arc::new(AtomicBool::new(false));
    let work = work(&nodes, &is_over);
    let watch = async {
        let queries = queries_of_the_board();
        assert!(queries.len() > 60, "only {queries:?}");
        let began = Instant::now();
        loop {
            let mut empty = Vec::new();
            for (panel, query) in queries.iter().filter(|(panel, _)| panel != "Answers with 5xx") {
                if !prometheus.has_data(query).await {
                    empty.push((panel, query));
                }
            }
            if empty.is_empty() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(180), "without data: {empty:#?}");
            sleep(Duration::from_secs(1)).await;
        }
        // A machine that runs so much beside this test that Redis answers seconds late shows nothing by what else fires.
        let late = ["YdashDown", "YdashSlowSaves", "YdashSlowEdits", "YdashSlowJoins", "YdashBusDrops"];
        let firing = prometheus.firing().await;
        assert!(firing.iter().all(|alert| late.contains(&alert.as_str())), "while all is well: {firing:?}");
        redis.kill();
        prometheus
            .until("the store is told to be down", "ALERTS{alertname='YdashStoreDown',alertstate='firing'}")
            .await;
        prometheus.until("the bus is told to be down", "ALERTS{alertname='YdashBusDown',alertstate='firing'}").await;
        for node in &nodes {
            assert_eq!(reqwest::get(node.http("/readyz")).await.unwrap().status(), 503);
        }
        let errors = queries.iter().find(|(panel, _)| panel == "Answers with 5xx").unwrap();
        prometheus.until("the board shows the errors", &errors.1).await;
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(work, watch);
    // Nodes notice one after the other that they are alone. What they cannot answer meanwhile is an error.
    let firing = prometheus.firing().await;
    let unrelated = ["YdashDown", "YdashRestarting", "YdashRoomFailed", "YdashFull", "YdashConflictsHeld"];
    assert!(!firing.iter().any(|alert| unrelated.contains(&alert.as_str())), "{firing:?}");
}

/// Those that Kubernetes still supports, and the next.
const KUBERNETES: [&str; 3] = ["1.34", "1.35", "1.37"];

#[test]
#[ignore = "needs kubernetes-validate"]
fn kubernetes_takes_the_manifests() {
    for version in KUBERNETES {
        for part in ["base", "single", "nodes"] {
            let folder = deployed("kubernetes").join(part);
            let kustomization = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
            let listed: BTreeSet<_> = kustomization.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
            let mut validate = Command::new("kubernetes-validate");
            validate.args(["--strict", "--quiet", "-k", version]).current_dir(&folder);
            for file in std::fs::read_dir(&folder).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                if name != "kustomization.yaml" {
                    assert!(listed.contains(name.as_str()), "{part}/kustomization.yaml does not list {name}");
                    validate.arg(name);
                }
            }
            let told = validate.output().unwrap();
            assert!(told.status.success(), "{part} for {version}: {told:?}");
        }
    }
}

/// What each pod promises, whichever way it is run. Read as text: the manifests have no second spelling of these.
#[test]
fn pods_are_no_root_drain_in_time_and_are_asked_whether_they_live() {
    for file in ["single/statefulset.yaml", "nodes/deployment.yaml"] {
        let text = std::fs::read_to_string(deployed("kubernetes").join(file)).unwrap();
        for line in [
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "allowPrivilegeEscalation: false",
            "capabilities: { drop: [ALL] }",
            "enableServiceLinks: false",
            "httpGet: { path: /healthz, port: http }",
            "httpGet: { path: /readyz, port: http }",
        ] {
            assert!(text.contains(line), "{file}: {line}");
        }
        let seconds = |before: &str| {
            let rest = text.split(before).nth(1).unwrap_or_else(|| panic!("{file}: {before}"));
            rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().unwrap()
        };
        let (grace, pause) = (seconds("terminationGracePeriodSeconds:"), seconds("preStop: { sleep: { seconds:"));
        assert!(grace > pause + seconds("YDASH_DRAIN_DEADLINE, value:"), "{file}: a drain is cut off");
    }
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_takes_the_unit_and_finds_it_sandboxed() {
    let directory = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(deployed("systemd").join("ydash.service")).unwrap();
    let here = unit.replace("/usr/local/bin/ydash", &support::node::binary().display().to_string());
    let path = directory.path().join("ydash.service");
    std::fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let arguments = ["security", "--offline=true", "--threshold=20"];
    let judged = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
    assert!(judged.status.success(), "more than 2.0 of 10 exposed: {}", String::from_utf8_lossy(&judged.stdout));
}

/// Through the balancer as deployed: people on both nodes work on one dashboard, and one node goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs haproxy"]
async fn people_behind_haproxy_go_on_when_a_node_drains() {
    let redis = Server::start(&[]);
    let flags = ["--trusted-proxies=127.0.0.1", "--log=error", "--drain-deadline=4s"];
    let mut nodes = [(); 2].map(|()| Node::start_at("127.0.0.1:0", &redis.url(), &flags));
    let haproxy = Haproxy::start([nodes[0].address, nodes[1].address]);
    let url = format!("ws://{}/board", haproxy.address);
    let mut people = Vec::new();
    for id in 1..=4 {
        people.push(behind(&url, id).await);
    }
    for node in &nodes {
        node.until_metric("ydash_sessions", |sessions| sessions == 2.0).await;
    }
    people[0].set("before", 1).await;
    for person in &mut people {
        person.until(|person| person.get("before") == Some(1)).await;
    }
    assert!(nodes[0].terminate(Duration::from_secs(15)).await.success());
    for (at, person) in people.iter_mut().enumerate() {
        person.take_for(Duration::from_millis(100)).await;
        if !person.is_connected() {
            *person = behind(&url, at as u64 + 10).await;
        }
    }
    people[3].set("after", 2).await;
    for person in &mut people {
        person.until(|person| person.get("before") == Some(1) && person.get("after") == Some(2)).await;
    }
    assert_eq!(nodes[1].metric("ydash_sessions").await, 4.0);
}

async fn behind(url: &str, id: u64) -> Client {
    let began = Instant::now();
    loop {
        if let Some(peer) = Peer::try_open(url).await {
            let mut client = Client::new(id);
            client.begin(peer).await;
            client.until(|client| client.is_synced).await;
            return client;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "haproxy lets nobody in");
        sleep(Duration::from_millis(100)).await;
    }
}

/// HAProxy as it is deployed, over nodes and a port of a test's own.
struct Haproxy {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Haproxy {
    fn start(nodes: [SocketAddr; 2]) -> Haproxy {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = std::fs::read_to_string(deployed("haproxy.cfg")).unwrap();
        let config = config
            .replace("bind :8080", &format!("bind {address}"))
            .replace("maxconn 100000", "maxconn 100")
            .replace("node-1:1234", &nodes[0].to_string())
            .replace("node-2:1234", &nodes[1].to_string());
        std::fs::write(directory.path().join("haproxy.cfg"), config).unwrap();
        let child = Command::new("haproxy")
            .args(["-q", "-db", "-f", "haproxy.cfg"])
            .current_dir(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Haproxy { child, address, _directory: directory }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}

/// What people, programs and a page of a foreign origin do.
async fn work(nodes: &[Node; 2], is_over: &AtomicBool) {
    let mut people = Vec::new();
    for (at, node) in [&nodes[0], &nodes[0], &nodes[1]].into_iter().enumerate() {
        people.push(Client::joined(node, "/board?acks=1", at as u64 + 1).await);
    }
    let http = reqwest::Client::new();
    let (mut n, mut newcomers) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        n += 1;
        for (at, person) in people.iter_mut().enumerate() {
            person.set(&format!("{at}-{}", n % 100), n).await;
            person.take_for(Duration::from_millis(30)).await;
        }
        if n % 5 == 0 {
            // While Redis is away, these may fail.
            let node = &nodes[n as usize / 5 % 2];
            let board = node.http("/api/dashboards/default/board");
            let _ = http.get(&board).send().await;
            let _ = http.post(format!("{board}/widgets/a/data")).body(n.to_string()).send().await;
            let _ = http.get(&board).header("origin", "https://elsewhere.example").send().await;
            let mut newcomer = Client::new(100 + n as u64);
            newcomer.join(node, &format!("/board-{}", n % 20)).await;
            newcomers.push(newcomer);
            newcomers.truncate(3);
        }
    }
}

/// Every query of every panel with its title, as Grafana would send it.
fn queries_of_the_board() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(deployed("grafana").join("ydash.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    let of_restarts = board["annotations"]["list"][0]["expr"].as_str().unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{title} asks for nothing");
        targets.iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    // Without a restart, there is none to be shown.
    let of_restarts = ("restarts".to_owned(), format!("count({}) or vector(0)", of_restarts));
    for (title, query) in targets.chain([of_restarts]) {
        let query = query.replace("$__rate_interval", "60s").replace("$__interval", "60s").replace("$instance", ".*");
        assert!(!query.contains('$'), "{title}: a variable that nobody fills in: {query}");
        queries.push((title, query));
    }
    queries
}

fn deployed(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(part)
}

/// A Prometheus with the deployed rules, which waits for ten seconds before it tells.
struct Prometheus {
    child: Child,
    url: String,
    _directory: TempDir,
}

impl Prometheus {
    fn start(nodes: &[SocketAddr]) -> Prometheus {
        let directory = tempfile::tempdir().unwrap();
        let deployed = deployed("prometheus");
        let read = |file: &str| std::fs::read_to_string(deployed.join(file)).unwrap();
        let targets: Vec<_> = nodes.iter().map(|node| format!("{:?}", node.to_string())).collect();
        let config = read("prometheus.yaml")
            .replace("interval: 15s", "interval: 2s")
            .replace("\"127.0.0.1:1234\"", &targets.join(", "));
        // Long enough that one late scrape on a busy machine is no alert.
        let rules = read("rules.yaml").replace("for: 1m", "for: 10s").replace("for: 2m", "for: 10s");
        let rules =
            rules.replace("for: 5m", "for: 10s").replace("for: 10m", "for: 10s").replace("for: 15m", "for: 10s");
        std::fs::write(directory.path().join("prometheus.yaml"), config).unwrap();
        std::fs::write(directory.path().join("rules.yaml"), rules).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, url: format!("http://{address}/api/v1/query"), _directory: directory }
    }

    /// The samples that a query has now; `None` while Prometheus does not answer.
    async fn ask(&self, query: &str) -> Option<Vec<Value>> {
        let body = format!("query={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        let form = "application/x-www-form-urlencoded";
        let answer =
            reqwest::Client::new().post(&self.url).header("content-type", form).body(body).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        if answer["status"] != "success" {
            assert_eq!(answer["errorType"], "unavailable", "{query}: {answer}");
            return None;
        }
        answer["data"]["result"].as_array().cloned()
    }

    /// Whether it has a sample that is a number.
    async fn has_data(&self, query: &str) -> bool {
        let is_number = |sample: &Value| sample["value"][1].as_str().is_some_and(|value| value != "NaN");
        self.ask(query).await.is_some_and(|samples| samples.iter().any(is_number))
    }

    async fn until(&self, what: &str, query: &str) {
        let began = Instant::now();
        while !self.has_data(query).await {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {query} is empty");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn firing(&self) -> BTreeSet<String> {
        let samples = self.ask("ALERTS{alertstate=\"firing\"}").await.unwrap();
        samples.iter().map(|sample| sample["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended by itself.
        let _ = self.child.wait();
    }
}
