//! Real Redis servers for tests: started on a free port in a directory of their own, gone with the value that stands for them.
//!
//! Knows nothing of ydash, so that unit tests and integration tests share it (`tests/it/support/redis.rs`). A server is killed
//! when its [`Server`] is dropped, also by a panic; and when the test process is killed itself, by a shell that watches it.

#![allow(dead_code, reason = "unit tests and integration tests each use a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const STARTING: Duration = Duration::from_secs(30);

/// A server process. Blocks its thread a little whenever it is asked something.
pub(crate) struct Server {
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    watchdog: Child,
}

impl Server {
    /// Starts `redis-server` without persistence, with these arguments behind its own (`--appendonly yes`, …).
    pub(crate) fn start(arguments: &[&str]) -> Server {
        // Another process may take the port between the look and the start: then the next one.
        for _ in 0..10 {
            let mut server = Server {
                port: free_port(),
                directory: tempfile::tempdir().expect("a temporary directory"),
                arguments: arguments.iter().map(ToString::to_string).collect(),
                process: None,
            };
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start on any port");
    }

    /// Starts `redis-sentinel` for the master at a port. It takes a master that is silent for a second for dead.
    pub(crate) fn start_sentinel(master: &str, master_port: u16) -> Server {
        let watch = format!("{master} 127.0.0.1 {master_port} 1");
        Server::start(&[
            "--sentinel",
            &format!("monitor {watch}"),
            &format!("down-after-milliseconds {master} 1000"),
            &format!("failover-timeout {master} 3000"),
        ])
    }

    /// One that tests share which keep to prefixes of their own; gone with the last of them.
    pub(crate) fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Server::start(&[]));
        *shared = Arc::downgrade(&server);
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port, over what its directory holds.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + STARTING;
        while !self.try_start() {
            assert!(Instant::now() < deadline, "redis-server does not start again on port {}", self.port);
        }
    }

    /// SIGSTOP: takes connections and never answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Runs one command and returns its answer as text: arrays with a line for each part, errors with their minus sign.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command).unwrap_or_else(|error| panic!("{command:?} on port {}: {error}", self.port))
    }

    /// Waits until a command's answer is as wanted.
    pub(crate) fn wait_until(&self, command: &[&str], wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + STARTING;
        loop {
            let answer = ask(self.port, command).unwrap_or_default();
            if wanted(&answer) {
                return;
            }
            assert!(Instant::now() < deadline, "{command:?} on port {} still answers {answer}", self.port);
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let status = Command::new("kill").args([signal, &process.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    fn try_start(&mut self) -> bool {
        let (port, directory) = (self.port.to_string(), self.directory.path());
        let mut command = Command::new("redis-server");
        if self.arguments.first().is_some_and(|first| first == "--sentinel") {
            // Sentinel keeps its state in its configuration.
            let file = directory.join("sentinel.conf");
            if !file.exists() {
                let mut lines = format!("port {port}\nbind 127.0.0.1\ndir {}\n", directory.display());
                self.arguments[1..].iter().for_each(|line| lines.push_str(&format!("sentinel {line}\n")));
                fs::write(&file, lines).expect("write sentinel.conf");
            }
            command.arg(file).arg("--sentinel");
        } else {
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.args(["--dir".as_ref(), directory.as_os_str()]);
            command.args(["--repl-diskless-sync-delay", "0", "--appendfsync", "always"]).args(&self.arguments);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("redis-server is needed, as from `apt-get install redis-server`: {error}"),
        };
        let output = child.stdout.take().expect("piped");
        // Ends when the test process does, however it does.
        let script = format!("cat; kill -9 {} 2>/dev/null", child.id());
        let mut watchdog = Command::new("sh");
        watchdog.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null());
        let watchdog = watchdog.spawn().expect("sh is there");
        self.process = Some(Process { child, watchdog });
        // A full pipe would stop the server.
        thread::spawn(move || _ = std::io::copy(&mut { output }, &mut std::io::sink()));
        let deadline = Instant::now() + STARTING;
        while Instant::now() < deadline {
            let process = self.process.as_mut().expect("set above");
            if process.child.try_wait().expect("a child can be waited for").is_some() {
                self.process = None;
                return false;
            }
            match ask(self.port, &["PING"]).as_deref() {
                Ok("PONG") if self.is_it() => return true,
                // With a password nobody can be asked who he is.
                Ok(refusal) if refusal.starts_with("-NOAUTH") => return true,
                _ => {}
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.process = None;
        false
    }

    /// Whether who answers on the port is this process and not one that was there before.
    fn is_it(&self) -> bool {
        let pid = self.process.as_ref().map(|process| process.child.id().to_string()).unwrap_or_default();
        let told = ask(self.port, &["INFO", "server"]).unwrap_or_default();
        told.lines().any(|line| line.trim_end().strip_prefix("process_id:") == Some(pid.as_str()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: it must not find the number given to another process.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three masters that share the slots.
pub(crate) struct ServerCluster {
    pub(crate) servers: Vec<Server>,
}

impl ServerCluster {
    /// Starts a Cluster and waits until all of it knows all of it.
    pub(crate) fn start(arguments: &[&str]) -> ServerCluster {
        let mut servers: Vec<Server> = Vec::new();
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (first, last) in slots {
            // The servers' own port would be ten thousand above the other.
            let bus_port = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus_port];
            let server = Server::start(&[&own, arguments].concat());
            assert_eq!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
            if let Some(other) = servers.first() {
                let meet = ["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), &bus_port];
                assert_eq!(other.ask(&meet), "OK");
            }
            servers.push(server);
        }
        let cluster = ServerCluster { servers };
        cluster.wait_until_whole();
        cluster
    }

    /// One that tests share which keep to prefixes of their own.
    pub(crate) fn shared() -> Arc<ServerCluster> {
        static SHARED: Mutex<Weak<ServerCluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(ServerCluster::start(&[]));
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Waits until every server says that all slots are served.
    pub(crate) fn wait_until_whole(&self) {
        for server in &self.servers {
            server.wait_until(&["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
    }
}

/// A port that nobody listens on, for what names its own. Not one that the system gives out by itself: who is restarted at its port
/// would now and then find somebody's outgoing connection there.
pub(crate) fn free_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let given_out_from = range.split_whitespace().next().and_then(|from| from.parse().ok()).unwrap_or(32_768);
    for _ in 0..1_000 {
        let port = fastrand::u16(10_000.min(given_out_from - 1)..given_out_from);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free below {given_out_from}");
}

fn ask(port: u16, command: &[&str]) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = format!("*{}\r\n", command.len());
    command.iter().for_each(|part| request.push_str(&format!("${}\r\n{part}\r\n", part.len())));
    socket.write_all(request.as_bytes())?;
    read_answer(&mut BufReader::new(socket))
}

fn read_answer(from: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let len = || line[1..].parse::<i64>().map_err(|_| std::io::ErrorKind::InvalidData);
    match line.as_bytes().first() {
        Some(b'+' | b':') => Ok(line[1..].to_owned()),
        Some(b'-') => Ok(line.to_owned()),
        Some(b'$') if len()? < 0 => Ok(String::new()),
        Some(b'$') => {
            let mut text = vec![0; usize::try_from(len()?).unwrap_or(0) + 2];
            from.read_exact(&mut text)?;
            text.truncate(text.len() - 2);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Some(b'*') => {
            let parts: Result<Vec<_>, _> = (0..len()?.max(0)).map(|_| read_answer(from)).collect();
            Ok(parts?.join("\n"))
        }
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}
