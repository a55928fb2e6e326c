//! The rules of ARCHITECTURE.md that no compiler checks: which foreign crate belongs to whom, which module may know which, what
//! every file begins with, and that the documents name what exists.
//!
//! Read off the tokens of the sources, so that comments and strings do not count. Code under `#[cfg(test)]` may do as it likes.

use std::fs;
use std::path::{Path, PathBuf};

use ydash_proto::wire;
use ydash_proto::wire::close::CloseCode;

/// Who may name a foreign crate: paths below one of these, and nobody else. A crate that is not listed is free for all of `src`.
const OWNERS: &[(&str, &[&str])] = &[
    // It writes what is created from JSON, and plays the clients of tests, with which the guard and the reading of documents are compared.
    ("yrs", &["proto/src/document/create.rs"]),
    ("json_patch", &["proto/src/document/edit/change.rs"]),
    ("warp", &["src/http/"]),
    ("hyper", &["src/http/"]),
    ("hyper_util", &["src/http/"]),
    ("http_body_util", &["src/http/"]),
    ("headers", &["src/http/"]),
    ("fjall", &["src/store/embedded.rs", "src/store/embedded/"]),
    ("sfa", &["src/store/embedded/"]),
    ("xxhash_rust", &["src/store/embedded/"]),
    ("bincode", &["src/store/record.rs", "src/cluster/envelope.rs"]),
    ("crc32fast", &["src/store/", "src/catalog/", "src/cluster/"]),
    ("dashmap", &["src/room/registry.rs"]),
    ("prometheus_client", &["src/metrics.rs", "src/metrics/"]),
    ("flate2", &["src/compress.rs"]),
    ("clap", &["src/cli/"]),
    ("libc", &["src/allocator.rs", "src/cli/private.rs"]),
    ("rlimit", &["src/descriptors.rs"]),
    ("toml", &["src/config/"]),
    ("redis", &["src/redis/"]),
    ("rustls", &["src/redis/", "src/auth/keys.rs", "src/auth/fetch.rs", "src/trace/export.rs"]),
    ("jsonwebtoken", &["src/auth/"]),
    ("ring", &["src/auth/", "src/audit/", "src/http/etag.rs", "src/store/past.rs"]),
    ("reqwest", &["src/auth/fetch.rs", "src/auth/hook.rs", "src/trace/export.rs"]),
    ("tracing_subscriber", &["src/telemetry.rs"]),
];

/// What decides may not touch the world: neither these crates, nor these parts of the standard library.
const FORBIDDEN_IN_PROTO: &[&str] = &[
    "tokio",
    "futures_util",
    "tracing",
    "rand",
    "fastrand",
    "getrandom",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::collections::hash_map::RandomState",
];

/// Everything that `proto` may depend on.
const DEPENDENCIES_OF_PROTO: &[&str] = &["bytes", "json-patch", "serde", "serde_json", "thiserror", "yrs"];

/// Who may know whom in `src`, beside itself, `ydash_proto` and [`KNOWN_TO_ALL`]. A part stands for the files below it, unless
/// a longer one is listed for them.
const LAYERS: &[(&str, &[&str])] = &[
    ("metrics", &["allocator"]),
    ("trace", &[]),
    ("allocator", &[]),
    ("compress", &[]),
    ("descriptors", &[]),
    ("shutdown", &[]),
    ("ledger", &[]),
    ("allowances", &[]),
    ("auth", &[]),
    ("redis", &[]),
    ("access", &["catalog", "cluster"]),
    ("audit", &["catalog"]),
    ("cluster", &["redis"]),
    ("catalog", &["redis"]),
    ("store", &["catalog", "redis"]),
    ("config", &["auth", "redis", "store"]),
    ("telemetry", &["config"]),
    // The meeting point of rooms, which fill it, and sessions, which empty it: it knows neither.
    ("outbox", &[]),
    ("reading", &[]),
    ("history", &["store", "reading"]),
    ("room", &["access", "catalog", "store", "cluster", "history", "reading", "outbox"]),
    ("session", &["auth", "room", "outbox", "reading"]),
    ("http", &["audit", "auth", "config"]),
    ("inspect", &["http", "room"]),
    ("grants", &["access", "audit", "auth", "catalog", "http"]),
    ("deletions", &["access", "audit", "catalog", "http", "store"]),
    ("rest", &["cluster", "http", "outbox", "reading", "room"]),
    (
        "server",
        &[
            "access",
            "allocator",
            "audit",
            "auth",
            "catalog",
            "cluster",
            "config",
            "deletions",
            "descriptors",
            "grants",
            "http",
            "inspect",
            "rest",
            "room",
            "session",
            "outbox",
            "shutdown",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "allocator",
            "audit",
            "auth",
            "catalog",
            "config",
            "descriptors",
            "history",
            "reading",
            "server",
            "store",
            "telemetry",
        ],
    ),
];

const KNOWN_TO_ALL: &[&str] = &["allowances", "compress", "ledger", "metrics", "trace"];

#[test]
fn each_foreign_crate_has_one_owner() {
    let mut breaches = Vec::new();
    for source in sources(&["src", "proto/src"]) {
        for reference in &source.references {
            let Some((name, owners)) = OWNERS.iter().find(|(name, _)| reference.path[0] == *name) else { continue };
            if !owners.iter().any(|owner| source.file.starts_with(owner)) {
                breaches.push(format!("{}:{}: {name} belongs to {}", source.file, reference.line, owners.join(", ")));
            }
        }
    }
    none(&breaches);
}

#[test]
fn what_decides_touches_nothing() {
    let mut breaches = Vec::new();
    for source in sources(&["proto/src"]) {
        for reference in &source.references {
            let path = reference.path.join("::").replacen("core::", "std::", 1);
            let is_below = |forbidden: &&&str| path == **forbidden || path.starts_with(&format!("{forbidden}::"));
            if let Some(forbidden) = FORBIDDEN_IN_PROTO.iter().find(is_below) {
                breaches.push(format!("{}:{}: proto may not know {forbidden}", source.file, reference.line));
            }
        }
    }
    let manifest = read("proto/Cargo.toml");
    let mut section = "";
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && !line.is_empty() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !DEPENDENCIES_OF_PROTO.contains(&name) {
                breaches.push(format!("proto/Cargo.toml:{}: proto may not depend on {name}", at + 1));
            }
        }
    }
    none(&breaches);
}

#[test]
fn modules_know_only_whom_they_may() {
    let mut breaches = Vec::new();
    for source in sources(&["src"]) {
        if source.module.is_empty() {
            continue; // lib.rs and main.rs only name the parts.
        }
        let Some((layer, may_know)) = layer_of(&source.module) else {
            breaches.push(format!("{}:1: this part has no place in the table of layers", source.file));
            continue;
        };
        for reference in source.references.iter().filter(|reference| reference.path[0] == "crate") {
            let Some((known, _)) = layer_of(&reference.path[1..]) else { continue };
            if known != layer && !may_know.contains(&known) && !KNOWN_TO_ALL.contains(&known) {
                breaches.push(format!("{}:{}: {layer} may not know {known}", source.file, reference.line));
            }
        }
    }
    none(&breaches);
}

#[test]
fn every_file_says_first_what_it_is() {
    let mut breaches = Vec::new();
    let files = ["src", "proto", "tests", "load-tests", "fuzz", "examples"].map(|folder| files_below(folder, ".rs"));
    for file in files.iter().flatten() {
        if !read(file).starts_with("//! ") {
            breaches.push(format!("{file}:1: does not begin with a module comment (//!)"));
        }
    }
    none(&breaches);
}

/// The folders that paths in documents and comments begin with.
const FOLDERS: [&str; 11] =
    ["src", "proto", "tests", "load-tests", "web", "docs", "deploy", "fuzz", "migrate", "scripts", "examples"];

/// Whether `word` is a path from the repository's root at which there is nothing.
fn dangles(word: &str) -> bool {
    let top = word.split('/').next().unwrap_or_default();
    let is_path = word.contains('/') && FOLDERS.contains(&top) && !word.contains([' ', '*', '<', '{', '…']);
    is_path && !root().join(word).exists()
}

#[test]
fn files_named_in_the_documents_exist() {
    let mut breaches = Vec::new();
    let mut documents = files_below("docs", ".md");
    documents.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "load-tests/README.md"].map(String::from),
    );
    for document in documents {
        let folder = root().join(&document).parent().unwrap().to_owned();
        for (at, line) in read(&document).lines().enumerate() {
            // What is in backquotes stands at the odd places.
            let named = line.split('`').skip(1).step_by(2).filter(|named| dangles(named));
            let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            let links = links.filter(|link| !link.contains("://") && !folder.join(link).exists());
            breaches.extend(named.chain(links).map(|what| format!("{document}:{}: there is no {what}", at + 1)));
        }
    }
    none(&breaches);
}

#[test]
fn files_named_in_comments_exist() {
    let mut breaches = Vec::new();
    let folders = ["src", "proto", "tests", "load-tests", "fuzz", "examples"].map(|folder| files_below(folder, ".rs"));
    for file in folders.iter().flatten() {
        for (at, line) in read(file).lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            let words = comment.split([' ', '`', '(', ')', '"', '[', ']']);
            let words = words.map(|word| word.trim_end_matches(['.', ',', ';', ':', '?', '!', '\'']));
            breaches.extend(
                words.filter(|word| dangles(word)).map(|word| format!("{file}:{}: there is no {word}", at + 1)),
            );
        }
    }
    none(&breaches);
}

#[test]
fn every_rule_of_the_hocuspocus_dialect_stands_beside_its_test() {
    let tests = read("tests/it/hocuspocus.rs");
    let tests = tests.lines().filter_map(|line| line.strip_prefix("async fn rule_")?.split('(').next());
    let mut tests: Vec<String> = tests.map(|name| format!("rule_{name}")).collect();
    let document = read("docs/HOCUSPOCUS.md");
    let mut told: Vec<String> =
        document.split('`').filter(|quoted| quoted.starts_with("rule_")).map(str::to_owned).collect();
    tests.sort();
    told.sort();
    assert!(tests.len() >= 30, "{tests:?}");
    assert_eq!(told, tests);
}

#[test]
fn tests_named_in_the_security_document_exist() {
    let folders = ["src", "proto", "tests"].map(|folder| files_below(folder, ".rs"));
    let sources: Vec<String> = folders.iter().flatten().map(|file| read(file)).collect();
    let document = read("docs/SECURITY.md");
    let section = document.split("## Which test shows it").nth(1).unwrap().split("\n## ").next().unwrap();
    let is_name = |quoted: &&str| quoted.matches('_').count() >= 3 && !quoted.contains(['/', ' ']);
    let named: Vec<&str> = section.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() >= 30, "only {} tests in docs/SECURITY.md", named.len());
    let missing = named.into_iter().filter(|name| {
        let declared = format!("fn {name}(");
        !sources.iter().any(|source| source.contains(&declared))
    });
    none(&missing.map(|name| format!("docs/SECURITY.md: there is no test {name}")).collect::<Vec<_>>());
}

#[test]
fn the_protocol_tells_every_close_code_and_its_examples_decode() {
    let protocol = read("docs/PROTOCOL.md");
    for code in CloseCode::ALL {
        let row = format!("\n| {} |", code.code());
        assert!(protocol.contains(&row), "docs/PROTOCOL.md: close code {code} is missing");
    }
    let byte = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let mut examples = 0;
    for (at, line) in protocol.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let Some(bytes) = quoted.split(' ').map(byte).collect::<Option<Vec<u8>>>() else { continue };
            let decoded = wire::decode_from_server(&bytes.into());
            assert!(decoded.is_ok(), "docs/PROTOCOL.md:{}: {quoted} is no message: {decoded:?}", at + 1);
            examples += 1;
        }
    }
    assert!(examples >= 10, "only {examples} examples in docs/PROTOCOL.md");
}

#[test]
fn lock_files_name_no_registry_host() {
    let mut breaches = Vec::new();
    for file in files_below("", "Cargo.lock") {
        for (at, line) in read(&file).lines().enumerate() {
            // Cargo's name for crates.io, whatever mirror the crates came from.
            let is_public = line == r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
            if line.starts_with("source = ") && !is_public {
                breaches.push(format!("{file}:{}: {line}", at + 1));
            }
        }
    }
    for file in files_below("", "package-lock.json") {
        for (at, line) in read(&file).lines().enumerate() {
            // A workspace's own packages are resolved to their folders.
            if line.trim_start().starts_with(r#""resolved""#) && line.contains("://") {
                breaches.push(format!("{file}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none(&breaches);
}

#[test]
fn references_are_read_through_groups_comments_and_test_code() {
    let text = r##"
        // use tokio::fs;
        /* a /* nested */ std::net::TcpStream */
        use crate::{server, store::{self, url::StoreUrl as Url}};
        use crate::outbox::*;
        const A: &str = "std::env::var"; const B: char = '"'; const C: &str = r#"" fjall::open"#;
        fn f<'a>(x: &'a str) -> ::std::io::Result<yrs::Doc> { a.yrs.b(); Vec::<toml::Value>::new() }
        #[cfg(test)]
        #[allow(dead_code)]
        mod tests { use yrs::Text; fn g() { tokio::spawn() } }
        #[cfg(test)]
        pub(crate) mod contract;
        mod inner { use super::near; use super::super::far; }
    "##;
    let (references, test_modules) = references(&tokens(text), &["session".into(), "reader".into()]);
    let paths: Vec<String> = references.iter().map(|reference| reference.path.join("::")).collect();
    assert_eq!(
        paths,
        [
            "crate::server",
            "crate::store",
            "crate::store::url::StoreUrl",
            "crate::outbox",
            "std::io::Result",
            "yrs::Doc",
            "Vec",
            "toml::Value",
            "crate::session::reader::near",
            "crate::session::far",
        ]
    );
    assert_eq!(test_modules, ["contract"]);
    assert_eq!((references[0].line, references[5].line), (4, 7));
}

fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn layer_of(module: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    let longest = module.iter().take(2).map(String::as_str).collect::<Vec<_>>().join("::");
    let find = |name: &str| LAYERS.iter().find(|(layer, _)| *layer == name).copied();
    find(&longest).or_else(|| find(module.first()?))
}

/// One file of production code.
struct Source {
    /// From the repository's root.
    file: String,
    /// Its place in its crate.
    module: Vec<String>,
    references: Vec<Reference>,
}

/// A path in the code, relative ones made absolute: it begins with `crate` or the name of a foreign crate.
struct Reference {
    line: usize,
    path: Vec<String>,
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut test_files = Vec::new();
    for folder in folders {
        for file in files_below(folder, ".rs") {
            let inner = file.strip_prefix(folder).and_then(|rest| rest.strip_suffix(".rs")).unwrap();
            let mut module: Vec<String> = inner.split('/').skip(1).map(String::from).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                module.pop();
            }
            let (references, test_modules) = references(&tokens(&read(&file)), &module);
            let below = Path::new(folder).join(module.join("/"));
            test_files.extend(test_modules.iter().map(|name| below.join(name).with_extension("rs")));
            sources.push(Source { file, module, references });
        }
    }
    sources.retain(|source| !test_files.iter().any(|file| *file == Path::new(&source.file)));
    assert!(!sources.is_empty(), "no sources in {folders:?}");
    sources
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Sign(char),
}

/// The tokens of a source with their lines. Comments, strings and numbers are left out.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let at_is = |at: usize, expected: char| chars.get(at) == Some(&expected);
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let from = at;
        match chars[at] {
            '/' if at_is(at + 1, '/') => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if at_is(at + 1, '*') => {
                let mut depth = 0;
                loop {
                    if at_is(at, '/') && at_is(at + 1, '*') {
                        depth += 1;
                        at += 2;
                    } else if at_is(at, '*') && at_is(at + 1, '/') {
                        depth -= 1;
                        at += 2;
                    } else {
                        at += 1;
                    }
                    if depth == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            '"' => at = end_of_string(&chars, at + 1),
            '\'' if at_is(at + 1, '\\') => {
                at += 3;
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' if at_is(at + 2, '\'') => at += 3,
            '\'' => {
                at += 1; // A lifetime: leave its name out as well.
                while at < chars.len() && is_word(chars[at]) {
                    at += 1;
                }
            }
            ':' if at_is(at + 1, ':') => {
                tokens.push((line, Token::Colons));
                at += 2;
            }
            c if is_word(c) => {
                while at < chars.len() && is_word(chars[at]) {
                    at += 1;
                }
                let word: String = chars[from..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                match word.as_str() {
                    "r" | "br" if at_is(at + hashes, '"') => {
                        at += hashes + 1;
                        while at < chars.len() && !(chars[at] == '"' && (1..=hashes).all(|hash| at_is(at + hash, '#')))
                        {
                            at += 1;
                        }
                        at += hashes + 1;
                    }
                    "b" if at_is(at, '"') => at = end_of_string(&chars, at + 1),
                    _ if word.starts_with(|c: char| c.is_ascii_digit()) => {}
                    _ => tokens.push((line, Token::Word(word))),
                }
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push((line, Token::Sign(c)));
                }
                at += 1;
            }
        }
        line += chars[from..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The paths in the production code of the file at `module`, and the names of modules that exist for tests only.
fn references(tokens: &[(usize, Token)], module: &[String]) -> (Vec<Reference>, Vec<String>) {
    let (mut references, mut test_modules) = (Vec::new(), Vec::new());
    let mut module = module.to_vec();
    // Where the inline modules that are open began.
    let mut inline: Vec<usize> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < tokens.len() {
        if let Some(end) = end_of_test_item(tokens, at, &mut test_modules) {
            at = end;
            continue;
        }
        match &tokens[at].1 {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            Token::Word(word) if word == "mod" => {
                if let (Some((_, Token::Word(name))), Some((_, Token::Sign('{')))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    inline.push(depth);
                    module.push(name.clone());
                    at += 1;
                }
            }
            Token::Word(word) => {
                let before = at.checked_sub(1).map(|at| &tokens[at].1);
                let is_use = before == Some(&Token::Word("use".into()));
                let is_path = is_use || tokens.get(at + 1).is_some_and(|(_, token)| *token == Token::Colons);
                if is_path && before != Some(&Token::Sign('.')) && word != "use" {
                    let mut found = Vec::new();
                    at = read_tree(tokens, at, &[], &mut found);
                    references.extend(found.into_iter().map(|found| absolute(found, &module)));
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (references, test_modules)
}

/// Where the item behind `#[cfg(test)]` ends, if one begins at `at`.
fn end_of_test_item(tokens: &[(usize, Token)], at: usize, test_modules: &mut Vec<String>) -> Option<usize> {
    let word = |at: usize, expected: &str| matches!(tokens.get(at), Some((_, Token::Word(word))) if word == expected);
    let sign = |at: usize, expected: char| matches!(tokens.get(at), Some((_, Token::Sign(c))) if *c == expected);
    if !(sign(at, '#') && sign(at + 1, '[') && word(at + 2, "cfg") && sign(at + 3, '(') && word(at + 4, "test")) {
        return None;
    }
    let mut at = at;
    while sign(at, '#') {
        while at < tokens.len() && !sign(at, ']') {
            at += 1;
        }
        at += 1;
    }
    let mut depth = 0;
    while at < tokens.len() {
        if word(at, "mod")
            && sign(at + 2, ';')
            && let Some((_, Token::Word(name))) = tokens.get(at + 1)
        {
            test_modules.push(name.clone());
        }
        if sign(at, '{') {
            depth += 1;
        } else if sign(at, '}') {
            depth -= 1;
        }
        at += 1;
        let ended = sign(at - 1, ';') || sign(at - 1, '}') && !sign(at, ';');
        if depth == 0 && ended {
            break;
        }
    }
    Some(at)
}

/// Reads a path with its groups from `at` on; returns where it ends.
fn read_tree(tokens: &[(usize, Token)], mut at: usize, prefix: &[String], found: &mut Vec<Reference>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[at].0;
    loop {
        match tokens.get(at) {
            Some((_, Token::Word(word))) => {
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                at += 1;
            }
            Some((_, Token::Sign('{'))) => {
                at += 1;
                while at < tokens.len() && tokens[at].1 != Token::Sign('}') {
                    match &tokens[at].1 {
                        Token::Word(word) if word == "as" => at += 2,
                        Token::Word(_) => at = read_tree(tokens, at, &path, found),
                        _ => at += 1,
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        match tokens.get(at) {
            Some((_, Token::Colons)) => at += 1,
            _ => break,
        }
    }
    found.push(Reference { line, path });
    at
}

fn absolute(mut reference: Reference, module: &[String]) -> Reference {
    let base = match reference.path[0].as_str() {
        "self" => module,
        "super" => &module[..module.len().saturating_sub(1)],
        _ => return reference,
    };
    let mut path = vec!["crate".to_owned()];
    path.extend_from_slice(base);
    for segment in reference.path.drain(1..) {
        if segment == "super" {
            path.truncate(path.len().max(2) - 1);
        } else {
            path.push(segment);
        }
    }
    Reference { path, ..reference }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files below a folder whose name ends with `end`, from the repository's root, sorted.
fn files_below(folder: &str, end: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules" | "data") {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name.ends_with(end) {
                let file = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push(file);
            }
        }
    }
    files.sort();
    files
}
