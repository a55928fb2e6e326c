//! nginx as it is deployed (`deploy/nginx.conf`), over nodes and a port of a test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Starts in front of `nodes`.
    pub(crate) fn start(nodes: &[SocketAddr]) -> Nginx {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let place = directory.path().display();
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
        let config = fs::read_to_string(deployed).unwrap();
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {place}/{kind};\n"))
            .concat();
        let config = config
            .replace("listen 8080;", &format!("listen {port};"))
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
        let mut nginx = Nginx { child, address: port, _directory: directory };
        let began = Instant::now();
        while TcpStream::connect(port).is_err() {
            assert!(nginx.child.try_wait().unwrap().is_none(), "nginx does not start");
            assert!(began.elapsed() < Duration::from_secs(20), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker ends with it, unless the master is killed: so it is asked.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
