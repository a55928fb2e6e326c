//! A `ydash` process of its own, with a store in a temporary directory and its log in memory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a process may take to listen: a debug build on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(30);

/// The binary under test: `YDASH_BIN`, or the one that Cargo built with the tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("YDASH_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ydash").into(), PathBuf::from)
}

/// A running server.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends when the log does.
    logging: Option<JoinHandle<()>>,
    _directory: Option<TempDir>,
}

impl Node {
    /// Starts with an empty store that ends with the node.
    pub(crate) fn start(flags: &[&str]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start_in(directory.path(), flags);
        node._directory = Some(directory);
        node
    }

    /// Starts with the store in `directory`.
    pub(crate) fn start_in(directory: &Path, flags: &[&str]) -> Node {
        Node::spawn(directory, "127.0.0.1:0", "file:data", flags)
    }

    /// Starts at an address (port 0: any) over a store that others may use as well.
    pub(crate) fn start_at(listen: &str, store: &str, flags: &[&str]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::spawn(directory.path(), listen, store, flags);
        node._directory = Some(directory);
        node
    }

    /// As [`Node::start`], with so many open files at most.
    pub(crate) fn start_with_files(files: usize, flags: &[&str]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(binary());
        let mut node = Node::run(limited, directory.path(), "127.0.0.1:0", "file:data", flags);
        node._directory = Some(directory);
        node
    }

    /// As [`Node::start_at`], with the certificates in a file in the place of the system's.
    pub(crate) fn start_trusting(certificates: &Path, store: &str, flags: &[&str]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut trusting = Command::new("env");
        trusting.arg(format!("SSL_CERT_FILE={}", certificates.display())).arg(binary());
        let mut node = Node::run(trusting, directory.path(), "127.0.0.1:0", store, flags);
        node._directory = Some(directory);
        node
    }

    fn spawn(directory: &Path, listen: &str, store: &str, flags: &[&str]) -> Node {
        Node::run(Command::new(binary()), directory, listen, store, flags)
    }

    fn run(mut command: Command, directory: &Path, listen: &str, store: &str, flags: &[&str]) -> Node {
        super::let_reqwest_work();
        let mut child = command
            .current_dir(directory)
            .env_clear()
            .args(["--listen", listen, "--store", store])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let logging = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let (told, tells) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let address = line.split_once("http://").and_then(|(_, rest)| rest.split('/').next());
                if let Some(address) = address.and_then(|text| text.parse().ok()) {
                    let _ = told.send(address); // Nobody listens after the first.
                }
            }
        });
        let address = tells
            .recv_timeout(START_WITHIN)
            .unwrap_or_else(|_| panic!("no address was told: {:#?}", log.lock().unwrap()));
        Node { child, address, log, logging: Some(logging), _directory: None }
    }

    /// The URL of a path.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The WebSocket URL of a path.
    pub(crate) fn ws(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Every line of the log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Memory of the process that is in RAM, in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// CPU time that the process has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        // utime and stime, in the 100 Hz that Linux shows to everybody.
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// One sample of `/metrics`, by its name with labels; 0 when there is none.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let text = reqwest::get(self.http("/metrics")).await.unwrap().text().await.unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a sample of `/metrics` `is_it`.
    pub(crate) async fn until_metric(&self, sample: &str, is_it: impl Fn(f64) -> bool) {
        let began = Instant::now();
        let mut value = self.metric(sample).await;
        while !is_it(value) {
            assert!(began.elapsed() < Duration::from_secs(120), "{sample} stays at {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            value = self.metric(sample).await;
        }
    }

    /// How often something was refused for `reason`.
    pub(crate) async fn refusals(&self, reason: &str) -> f64 {
        self.metric(&format!("ydash_refusals_total{{reason=\"{reason}\"}}")).await
    }

    /// A dashboard's state as one Yjs update.
    pub(crate) async fn state(&self, dashboard: &str) -> Vec<u8> {
        let answer = reqwest::get(self.http(&format!("/api/dashboards/{dashboard}/state"))).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().to_vec()
    }

    /// Whether the process lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name: STOP, CONT, … After STOP, nothing more is done by the node when this returns.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id();
        let sent = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().unwrap();
        assert!(sent.success());
        if name == "STOP" {
            // On a busy machine its threads take a while to see it.
            while !is_stopped(id) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Asks it to drain, and waits for its end.
    pub(crate) async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // So that nothing it said last is missing.
                self.logging.take().map(JoinHandle::join);
                return status;
            }
            assert!(began.elapsed() < within, "still there {within:?} after SIGTERM: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.log().iter().filter(|line| !line.starts_with("  ")) {
                eprintln!("| {line}");
            }
        }
    }
}

/// Whether all threads of a process are stopped, as Linux tells; elsewhere, nothing can be said.
fn is_stopped(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
    })
}
