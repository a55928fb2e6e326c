//! nginx as it is deployed (`deploy/nginx.conf`), over nodes and a port of a test's own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis::free_port;

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Starts in front of `nodes`.
    pub(crate) fn start(nodes: &[SocketAddr]) -> Nginx {
        // Another process may take the port between the look and the start: then the next one.
        let mut attempts = (0..10).filter_map(|_| Nginx::try_start(nodes));
        attempts.next().expect("nginx starts on some port")
    }

    fn try_start(nodes: &[SocketAddr]) -> Option<Nginx> {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let place = directory.path().display().to_string();
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
        let config = fs::read_to_string(deployed).unwrap();
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {place}/{kind};\n"))
            .concat();
        let config = config
            .replace(
                "listen 8080;",
                &format!("listen {address};\n        location = /who {{ return 200 \"{place}\"; }}"),
            )
            .replace("worker_processes auto;", "worker_processes 1;\ndaemon off;")
            .replace("http {\n", &format!("http {{\n{folders}"));
        fs::write(directory.path().join("nginx.conf"), format!("pid {place}/pid;\nerror_log stderr crit;\n{config}"))
            .unwrap();
        let upstreams: Vec<_> =
            nodes.iter().map(|node| format!("server {node} max_fails=1 fail_timeout=2s;\n")).collect();
        fs::write(directory.path().join("upstreams.conf"), upstreams.concat()).unwrap();
        let child = Command::new("nginx")
            .args(["-p".as_ref(), directory.path().as_os_str(), "-c".as_ref(), "nginx.conf".as_ref()])
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx is needed, as from `apt-get install nginx-light`: {error}"));
        let mut nginx = Nginx { child, address, _directory: directory };
        let began = Instant::now();
        // That somebody listens there does not say who.
        while !who(address).is_some_and(|told| told.contains(&place)) {
            if nginx.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(nginx)
    }
}

fn who(address: SocketAddr) -> Option<String> {
    let mut io = TcpStream::connect(address).ok()?;
    io.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    io.write_all(b"GET /who HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it, unless the master is killed: so it is asked.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
