//! The layers of the configuration, and what the command tells about them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ydash::config::{Config, ConfigError, Knob, Layers, Source};
use ydash::metrics::{Label as _, Refusal};
use ydash::store::{Append, LogEntry, StoreConfig, StoreUrl};
use ydash_proto::access::Access;
use ydash_proto::allowance::Allowance;
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::time::Timestamp;

use super::support::client::Client;
use super::support::node::Node;
use super::support::redis::free_port;

fn layers(file: Option<&Path>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    Layers {
        file: file.map(Path::to_owned),
        environment: own(environment).into_iter().collect::<BTreeMap<_, _>>(),
        flags: own(flags),
    }
}

fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

fn source_of(config: &Config, name: &str) -> Source {
    config.settings().find(|(knob, _, _)| knob.name == name).map(|(_, _, source)| source.clone()).unwrap()
}

#[test]
fn each_layer_overrides_the_one_before() {
    let (_directory, path) = file("room-idle = '1s'\nflush-interval = '1ms'\nmembers-max = 7\n");
    let environment = [("YDASH_ROOM_IDLE", "2s"), ("YDASH_FLUSH_INTERVAL", "2ms")];
    let (config, warnings) = Config::load(&layers(Some(&path), &environment, &[("room-idle", "3s")])).unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.room_idle, Duration::from_secs(3));
    assert_eq!(config.flush_interval, Duration::from_millis(2));
    assert_eq!(config.members_max, 7);
    assert_eq!(config.limits().members_max, 7);
    assert_eq!(source_of(&config, "room-idle"), Source::Flag);
    assert_eq!(source_of(&config, "flush-interval"), Source::Environment);
    assert_eq!(source_of(&config, "members-max"), Source::File(path));
    assert_eq!(source_of(&config, "listen"), Source::Default);
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    let (_directory, path) = file("anonymous-access = 'read-only'\nallowed-origins = ['https://a', 'https://b']\n");
    let (config, _) = Config::load(&layers(None, &[("YDASH_CONFIG", path.to_str().unwrap())], &[])).unwrap();
    assert_eq!(config.anonymous(), Some(Access::VIEWER));
    assert_eq!(config.allowed_origins.len(), 2);
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let missing = Path::new("/nowhere/ydash.toml");
    assert!(matches!(Config::load(&layers(Some(missing), &[], &[])), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let (_directory, path) = file("rom-idle = '1s'\n");
    let error = Config::load(&layers(Some(&path), &[], &[])).unwrap_err().to_string();
    assert!(error.contains("`rom-idle`") && error.contains("did you mean `room-idle`?"), "{error}");
}

#[test]
fn an_unknown_variable_warns_with_a_suggestion() {
    let environment = [("YDASH_LISTN", "1"), ("YDASH_SERVICE_HOST", "10.0.0.1"), ("HOME", "/"), ("YDASH_STORE", "")];
    let (config, warnings) = Config::load(&layers(None, &environment, &[])).unwrap();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("did you mean `YDASH_LISTEN`?"), "{warnings:?}");
    assert!(!warnings[1].contains("did you mean"), "{warnings:?}");
    assert_eq!(source_of(&config, "store"), Source::Default);
}

#[test]
fn a_bad_value_names_its_place_and_what_was_expected() {
    let (_directory, path) = file("room-idle = 60\n");
    for (layers, place) in [
        (layers(Some(&path), &[], &[]), "settings.toml `room-idle`"),
        (layers(None, &[("YDASH_ROOM_IDLE", "soon")], &[]), "environment `YDASH_ROOM_IDLE`"),
        (layers(None, &[], &[("room-idle", "soon")]), "flag `--room-idle`"),
    ] {
        let error = Config::load(&layers).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains("expected a duration"), "{error}");
        assert!(error.contains("` is \"soon\"") || error.contains("` is \"60\""), "{error}");
    }
}

#[test]
fn every_knob_has_one_name_in_three_spellings() {
    for knob in Knob::all() {
        assert_eq!(knob.variable, format!("YDASH_{}", knob.name.to_uppercase().replace('-', "_")));
        let (config, warnings) =
            Config::load(&layers(None, &[("YDASH_INSECURE", "true"), (knob.variable, knob.default)], &[])).unwrap();
        assert_eq!(warnings, [""; 0]);
        let expected = if knob.default.is_empty() { Source::Default } else { Source::Environment };
        assert_eq!(source_of(&config, knob.name), expected, "{}", knob.name);
    }
}

#[test]
fn a_refusal_names_knobs_that_there_are() {
    for refusal in Refusal::ALL {
        for name in refusal.knobs().into_iter().flat_map(|names| names.split(", ")) {
            assert!(Knob::all().iter().any(|knob| knob.name == name), "{refusal:?}: {name}");
        }
    }
}

#[test]
fn a_variable_that_others_know_counts_unless_the_own_one_is_set() {
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let ttl = |environment: &[(&str, &str)]| Config::load(&layers(None, environment, &[])).unwrap().0;
    assert_eq!(ttl(&[]).redis_private_ttl, days(30));
    for (text, expected) in [("86400", days(1)), ("2d", days(2)), ("never", None), ("", days(30))] {
        assert_eq!(ttl(&[("REDIS_STATE_TTL", text)]).redis_private_ttl, expected, "{text}");
    }
    let both = ttl(&[("REDIS_STATE_TTL", "86400"), ("YDASH_REDIS_PRIVATE_TTL", "3d")]);
    assert_eq!((both.redis_private_ttl, both.redis_shared_ttl), (days(3), None));
    assert!(ttl(&[("REDIS_STATE_TTL", "86400")]).table().contains("from REDIS_STATE_TTL"));
    let error = Config::load(&layers(None, &[("REDIS_STATE_TTL", "soon")], &[])).unwrap_err().to_string();
    assert!(error.contains("`REDIS_STATE_TTL`"), "{error}");
}

#[test]
fn passwords_are_not_told() {
    let url = "redis-sentinel://me:s3cret@a,b/0?master=m&sentinel-user=u&sentinel-password=s3cret&prefix=p";
    let (config, _) = Config::load(&layers(None, &[], &[("store", url)])).unwrap();
    let told = config.table();
    assert!(told.contains("me:***@a,b/0?master=m&sentinel-user=u&sentinel-password=***&prefix=p"), "{told}");
    assert!(!told.contains("s3cret") && !config.store.to_string().contains("s3cret"));
    let error = Config::load(&layers(None, &[], &[("store", "redis://me:s3cret@")])).unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn other_than_loopback_needs_insecure() {
    for address in ["0.0.0.0:1234", "[::]:1234", "192.0.2.1:80"] {
        let error = Config::load(&layers(None, &[], &[("listen", address)])).unwrap_err().to_string();
        assert!(error.contains("--insecure"), "{error}");
        assert!(Config::load(&layers(None, &[], &[("listen", address), ("insecure", "true")])).is_ok());
    }
    for address in ["127.0.0.1:1234", "127.1.2.3:1", "[::1]:1234", "[::ffff:127.0.0.1]:1"] {
        assert!(Config::load(&layers(None, &[], &[("listen", address)])).is_ok(), "{address}");
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for flags in [&[("frame-bytes-max", "128MiB")][..], &[("session-byte-burst", "1MiB"), ("frame-bytes-max", "2MiB")]]
    {
        let refused = Config::load(&layers(None, &[], flags)).unwrap_err();
        assert!(matches!(&refused, ConfigError::Unfit(_)) && refused.to_string().contains(flags[0].1), "{refused}");
    }
}

#[test]
fn what_a_document_may_hold_fits_into_one_message() {
    for (flags, expected) in
        [(&[][..], 64 << 20), (&[("document-bytes-max", "1MiB")], 1 << 20), (&[("frame-bytes-max", "16MiB")], 16 << 20)]
    {
        let (config, _) = Config::load(&layers(None, &[], flags)).unwrap();
        assert_eq!(config.limits().frame_bytes_max, expected);
        assert!(config.limits().message_bytes_max() > expected);
    }
}

#[test]
fn the_table_shows_values_and_origins() {
    let (config, _) = Config::load(&layers(None, &[("YDASH_STORE", "memory:")], &[("room-idle", "5s")])).unwrap();
    let table = config.table();
    let line = |name: &str| table.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("room-idle").ends_with("from --room-idle") && line("room-idle").contains("5s"));
    assert!(line("store").ends_with("from YDASH_STORE"));
    assert!(line("listen").ends_with("127.0.0.1:1234"));
}

/// Runs the command in an empty directory with an empty environment.
fn ydash(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ydash"));
    command.args(arguments).current_dir(directory.path()).env_clear().output().unwrap()
}

#[test]
fn help_names_every_knob_and_command() {
    let told = String::from_utf8(ydash(&["--help"]).stdout).unwrap();
    for knob in Knob::all() {
        assert!(told.contains(&format!("--{}", knob.name)), "{}", knob.name);
    }
    for command in ["serve", "export", "import", "doctor"] {
        assert!(told.contains(command), "{command}");
    }
    assert!(ydash(&["--version"]).stdout.starts_with(b"ydash "));
}

#[test]
fn a_bus_needs_a_store_that_nodes_share() {
    let load = |flags: &[(&str, &str)]| Config::load(&layers(None, &[], flags)).map(|(config, _)| config);
    let on = |config: &Config| config.bus_redis().map(ToString::to_string);
    assert_eq!(on(&load(&[]).unwrap()), None);
    let shared = ("store", "redis://h:1");
    assert_eq!(on(&load(&[shared]).unwrap()).as_deref(), Some("redis://h:1/0"));
    assert_eq!(on(&load(&[shared, ("bus", "none")]).unwrap()), None);
    assert_eq!(on(&load(&[shared, ("bus", "redis://h:2")]).unwrap()).as_deref(), Some("redis://h:2/0"));
    for own in ["memory:", "file:data"] {
        let refused = load(&[("store", own), ("bus", "redis://h")]).unwrap_err();
        assert!(matches!(&refused, ConfigError::Unfit(why) if why.contains("must share")), "{refused}");
    }
}

#[test]
fn a_refused_start_says_why_and_fails() {
    let refused = ydash(&["--listen", "0.0.0.0:0"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("refusing to listen on 0.0.0.0:0"), "{told}");

    let refused = ydash(&["--log", "inof"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("`inof` is no level"), "{told}");

    let refused =
        ydash(&["--listen", "127.0.0.1:0", "--store", concat!("file:", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("Cargo.toml cannot be opened: it is no directory"), "{told}");

    let refused = ydash(&["--log", "==="]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("is not a filter"), "{told}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = ydash(&["--listen", &address, "--store", "memory:"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("is in use"), "{told}");
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let fine = ydash(&["doctor", "--listen", "127.0.0.1:0", "--store", "memory:"]);
    let told = String::from_utf8(fine.stdout).unwrap();
    assert!(fine.status.success() && !told.contains("BROKEN"), "{told}");

    let broken = ydash(&["doctor", "--room-idle", "soon"]);
    let told = String::from_utf8(broken.stdout).unwrap();
    assert!(!broken.status.success() && told.contains("BROKEN") && told.contains("--room-idle"), "{told}");
}

/// Canaries stand where secrets, tokens, content and names are: none of them may be in what is passed on to strangers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_for_helpers_has_numbers_and_no_secrets() {
    let admin = format!("127.0.0.1:{}", free_port());
    let flags = [
        "--auth-secret=canary-of-at-least-thirty-two-bytes",
        "--otlp-endpoint=http://somebody:canary@127.0.0.1:1",
        "--anonymous-access=read-write",
        &format!("--admin-listen={admin}"),
    ];
    let node = Node::start(&flags);
    let mut ada = Client::joined(&node, "/canary-board?acks=1", 1).await;
    ada.set("canary-key", 1).await;
    ada.until(|ada| ada.saved >= 1).await;
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_ydash"));
        doctor
            .current_dir(directory.path())
            .env_clear()
            .env("YDASH_UNKNOWN", "canary")
            .args(["doctor", "--store=memory:"]);
        doctor.args(flags).args([
            "--listen",
            &node.address.to_string(),
            "--bundle=report.txt",
            "--token=canary.canary.canary",
        ]);
        doctor.output().unwrap()
    };
    let told = run();
    assert!(String::from_utf8_lossy(&told.stdout).contains("report.txt has no secrets"), "{told:?}");
    let report = std::fs::read_to_string(directory.path().join("report.txt")).unwrap();
    for part in [
        "==== settings",
        "auth-secret                ***",
        "http://somebody:***@127.0.0.1:1",
        "BROKEN  tokens",
        "==== machine",
        "/proc/meminfo",
        "{\"status\":\"ready\"}",
        "ydash_joins_total 1",
        "ydash_join_seconds_bucket",
    ] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
    assert!(!report.contains("canary"), "{report}");
    assert!(String::from_utf8_lossy(&run().stderr).contains("cannot write report.txt"), "never over another file");
}

#[test]
fn looking_at_a_directory_makes_no_store_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("file:{}", directory.path().display());
    let seen = ydash(&["doctor", "--listen", "127.0.0.1:0", "--store", &store]);
    let told = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.status.success() && told.contains("holds no store yet"), "{told}");
    let refused = ydash(&["export", "backup", "--store", &store]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("there is no store in"), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn an_archive_carries_dashboards_to_another_store() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ydash"));
        let output = command.args(arguments).current_dir(directory.path()).env_clear().output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, told) = run(&["export", "backup", "--store", "file:from"]);
    assert!(!done && told.contains("there is no store in from"), "{told}");
    let (done, told) = run(&["export", "backup", "--store", "memory:"]);
    assert!(!done && told.contains("memory: keeps nothing"), "{told}");

    fill(&directory.path().join("from"));
    let (done, told) = run(&["export", "backup", "--store", "file:from"]);
    assert!(done && told.contains("exported 2 dashboards, 2 log entries"), "{told}");
    let (done, told) = run(&["export", "backup", "--store", "file:from"]);
    assert!(!done && told.contains("backup is there already"), "{told}");
    let (done, told) = run(&["import", "backup", "--store", "file:to"]);
    assert!(done && told.contains("imported 2 dashboards, 2 log entries"), "{told}");
    let (done, told) = run(&["export", "one", "--store", "file:to", "--dashboard", "default/a"]);
    assert!(done && told.contains("exported 1 dashboards, 1 log entries"), "{told}");
    let (done, told) = run(&["export", "none", "--store", "file:to", "--dashboard", "default/nothing"]);
    assert!(!done && told.contains("nothing is written: default/nothing"), "{told}");
    assert!(!directory.path().join("none").exists());
    // As clients say it, and as it was kept before they all said the same.
    for (file, name) in [("short", "a"), ("older", "default/default/a")] {
        let (done, told) = run(&["export", file, "--store", "file:to", "--dashboard", name]);
        assert!(done && told.contains("exported 1 dashboards, 1 log entries"), "{told}");
    }
    let (done, told) = run(&["export", "none", "--store", "file:to", "--dashboard", "a/.."]);
    assert!(!done && told.contains("name must be 1 to 255 bytes"), "{told}");
    let (done, told) = run(&["export", "missing/backup", "--store", "file:to"]);
    assert!(!done && told.contains("cannot write missing/backup.partial"), "{told}");
    for (file, why) in
        [("from/format", "from/format: not a ydash archive"), ("nothing", "cannot read nothing"), ("from", "from")]
    {
        let (done, told) = run(&["import", file, "--store", "file:to"]);
        assert!(!done && told.contains(why), "{told}");
    }

    let (done, told) = run(&["export", "lines", "--yjs", "--store", "file:to", "--dashboard", "default/a"]);
    assert!(done && told.contains("exported 1 dashboards"), "{told}");
    let lines = std::fs::read_to_string(directory.path().join("lines")).unwrap();
    assert!(lines.starts_with(r#"{"dashboard":"default/a","update":""#) && lines.lines().count() == 1, "{lines}");
    let (done, told) = run(&["import", "lines", "--store", "file:to"]);
    assert!(!done && told.contains("ydash-migrate.js reads those"), "{told}");
}

/// Makes a store with two dashboards.
fn fill(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = ydash::store::open(&StoreUrl::Directory(directory.to_owned()), &StoreConfig::default()).unwrap();
        let entry = |update: &'static [u8]| LogEntry {
            at: Timestamp(1),
            author: None,
            session: 1,
            source: ydash::store::Source::Rest,
            update: update.into(),
        };
        let append = |name| Append {
            dashboard: DashboardId::new("default", name).unwrap(),
            life: Life::FIRST,
            after: None,
            entries: vec![entry(b"\x00\x00")],
        };
        for result in store.append(vec![append("a"), append("b")]).await {
            result.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// Nobody is slowed down by the defaults who does what people do.
#[test]
fn a_drag_and_a_paste_are_well_within_what_a_user_may_send_by_default() {
    let limits = Config::default().user_limits();
    let mut user = Allowance::new(limits, Timestamp(0));
    // In two browsers: an edit and a cursor in each of 60 frames a second, for a minute; then 5 MB from the clipboard, twice.
    for frame in 0..3600_u64 {
        assert_eq!(user.send(Timestamp(frame * 1000 / 60), 4, 400), Ok(()), "frame {frame}");
    }
    for _ in 0..2 {
        assert_eq!(user.send(Timestamp(60_000), 1, 5 << 20), Ok(()));
    }
}
