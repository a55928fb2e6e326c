//! The file of `ydash doctor --bundle`: what somebody needs to know who is asked why a server was slow, in one text.
//!
//! It has settings with secrets masked, what the doctor found, the machine, and what a running server shows of itself in numbers. It has no
//! content, no presence, no token and no address of a client. Names of dashboards are in it only where the doctor found something wrong.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Config;

/// How long a running server may take to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// What is kept of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What a server is asked.
const ASKED: [&str; 3] = ["/readyz", "/api/nodes", "/metrics"];

/// Writes the report. `findings` is what the doctor says; `token` lets it ask a server whose numbers are for operators.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(super) fn write(path: &Path, config: &Config, findings: &str, token: Option<&str>) -> io::Result<()> {
    let mut report = String::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let _ = writeln!(report, "ydash {}, {now} seconds since 1970", env!("CARGO_PKG_VERSION"));
    section(&mut report, "settings", &config.table());
    section(&mut report, "doctor", findings);
    section(&mut report, "machine", &machine());
    // The one for operators asks for no token.
    let address = config.admin_listen.unwrap_or(config.listen);
    for path in ASKED {
        let answer = ask(address, path, token).unwrap_or_else(|error| format!("no answer from {address}: {error}\n"));
        section(&mut report, path, &answer);
    }
    // Never over another file.
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(report.as_bytes())?;
    file.sync_all()
}

fn section(report: &mut String, title: &str, text: &str) {
    let _ = write!(report, "\n==== {title}\n{text}");
    if !text.ends_with('\n') {
        report.push('\n');
    }
}

/// Whatever of it there is.
fn machine() -> String {
    let mut told = String::new();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(told, "{} on {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH);
    for file in [
        "/proc/version",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/self/limits",
        "/proc/pressure/cpu",
        "/proc/pressure/io",
    ] {
        if let Ok(text) = std::fs::read_to_string(file) {
            let _ = writeln!(told, "{file}:\n{}", text.trim_end());
        }
    }
    told
}

/// One request over HTTP/1.1, to this machine's own server.
fn ask(address: SocketAddr, path: &str, token: Option<&str>) -> io::Result<String> {
    let local =
        if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address };
    let mut socket = TcpStream::connect_timeout(&local, WITHIN)?;
    socket.set_read_timeout(Some(WITHIN))?;
    socket.set_write_timeout(Some(WITHIN))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let port = local.port();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{authorization}Connection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(format!("{}\n{body}", head.lines().next().unwrap_or_default()))
}
