//! What the documents say of settings, variables and metrics is so.

use std::path::Path;

use ydash::config::{FILE_VARIABLE, Knob};
use ydash::metrics::{Exposition, Metrics};

/// What operators and frontend developers read.
const DOCUMENTS: [&str; 19] = [
    "README.md",
    "docs/PROTOCOL.md",
    "docs/HOCUSPOCUS.md",
    "docs/STORAGE.md",
    "docs/SCALING.md",
    "docs/MIGRATING.md",
    "docs/SECURITY.md",
    "docs/AUTH.md",
    "web/README.md",
    "examples/README.md",
    "load-tests/README.md",
    "Dockerfile",
    "deploy/compose.yaml",
    "deploy/nginx.conf",
    "deploy/README.md",
    "deploy/haproxy.cfg",
    "deploy/kubernetes/nodes/deployment.yaml",
    "deploy/kubernetes/single/statefulset.yaml",
    "deploy/systemd/ydash.service",
];

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Words of `text` that start with `prefix` and go on in letters that `belongs` takes.
fn words<'a>(
    text: &'a str,
    prefix: &'a str,
    belongs: impl Fn(char) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        rest[..end].trim_end_matches(['_', '-'])
    })
}

#[test]
fn every_setting_is_documented() {
    let text: String = DOCUMENTS.iter().map(|file| read(file)).collect();
    for knob in Knob::all() {
        let is_told = ["`", " "].iter().any(|end| text.contains(&format!("`{}{end}", knob.name)));
        assert!(is_told, "no document explains `{}`", knob.name);
    }
}

#[test]
fn the_readme_tells_settings_with_their_defaults() {
    let readme = read("README.md");
    let table = readme.split("## Configuration").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut told = 0;
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.split(" | ");
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let (names, defaults) = (quoted(cells.next().unwrap()), quoted(cells.next().unwrap()));
        for (at, name) in names.iter().enumerate() {
            let knob = Knob::all().iter().find(|knob| knob.name == name);
            let knob = knob.unwrap_or_else(|| panic!("README.md: there is no setting `{name}`"));
            if let Some(default) = defaults.get(at) {
                assert_eq!(default, knob.default, "README.md: {name}");
            }
            told += 1;
        }
    }
    assert!(told >= 20, "only {told} settings in the README's table");
}

#[test]
fn flags_and_variables_in_documents_exist() {
    for file in DOCUMENTS.iter().copied().chain(["examples/run", "load-tests/compare", "load-tests/nodes"]) {
        let text = read(file);
        for variable in words(&text, "YDASH_", |c| c.is_ascii_uppercase() || c == '_') {
            // Those of scripts and tests.
            let others = ["YDASH", "YDASH_BIN", "YDASH_ARGS", FILE_VARIABLE];
            let is_known = others.contains(&variable) || Knob::all().iter().any(|knob| knob.variable == variable);
            assert!(is_known, "{file}: nothing reads {variable}");
        }
        for line in text.lines().filter(|line| line.starts_with("ydash ") || line.contains("run ydash -")) {
            for flag in words(line, "--", |c| c.is_ascii_lowercase() || c == '-') {
                let name = flag.trim_start_matches('-');
                let others = [
                    "",
                    "yjs",
                    "dashboard",
                    "salvage",
                    "bundle",
                    "life",
                    "backup",
                    "lossy",
                    "config",
                    "help",
                    "version",
                    "user",
                    "role",
                    "for",
                    "link",
                    "token",
                    "operator",
                    "new-secret",
                    "new-key",
                    "key",
                    "checkpoints",
                ];
                let is_known = others.contains(&name) || Knob::all().iter().any(|knob| knob.name == name);
                assert!(is_known, "{file}: there is no --{name}: {line}");
            }
        }
    }
}

#[test]
fn metrics_in_documents_exist() {
    let exposed = Metrics::new().expose(Exposition::OpenMetrics);
    for file in DOCUMENTS {
        let text = read(file);
        for metric in words(&text, "ydash_", |c| c.is_ascii_lowercase() || c == '_') {
            let metric = metric.strip_suffix("_total").unwrap_or(metric);
            assert!(exposed.contains(&format!("# TYPE {metric} ")), "{file}: there is no metric {metric}");
        }
    }
}
