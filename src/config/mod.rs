//! The configuration: one table of knobs, and the layers that set them.
//!
//! Default, then a TOML file, then the environment, then flags; each layer overrides the one before, and every value remembers
//! where it came from. A knob `a-b` is `a-b = …` in the file, `YDASH_A_B` in the environment and `--a-b` as a flag: all
//! three names come from its field in the table, so they cannot drift.

mod issuers;
mod value;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use ydash_proto::access::Access;
use ydash_proto::allowance::{Rate, UserLimits};
use ydash_proto::limits::Limits;

use crate::auth::{HookSettings, IssuerSettings, Preset};
use crate::ledger;
use crate::redis::RedisUrl;
use crate::store::redis::RedisStoreConfig;
use crate::store::{HistoryLimits, StoreConfig, StoreUrl};
use crate::trace::Endpoint;

pub use value::{AnonymousAccess, BusUrl, HostName, LogFormat, Network, Origin, Secret, duration};

/// The file that is read when no other is named and this one is there.
pub const DEFAULT_FILE: &str = "ydash.toml";

/// Names the file in the environment.
pub const FILE_VARIABLE: &str = "YDASH_CONFIG";

const VARIABLE_PREFIX: &str = "YDASH_";

/// What stands for such a value in the help.
const MAY_HOLD_PASSWORDS: &[&str] = &["URL", SECRET];

/// What stands for a value that nobody is shown.
const SECRET: &str = "SECRET";

/// Variables by which others know some knobs. The knob's own wins.
const FOREIGN_VARIABLES: &[(&str, &str)] =
    &[("REDIS_STATE_TTL", "redis-private-ttl"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp-endpoint")];

/// Declares the table: a group, then its knobs with documentation, type, default, how the value is written, and its parser.
macro_rules! knobs {
    ($( $group:literal { $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:literal, $hint:literal, $parse:path; )+ } )+) => {
        /// Every knob's value, and where it came from.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $field: $type, )+)+
            /// Who issues tokens that are taken, all settings together.
            pub issuers: Vec<IssuerSettings>,
            settings: Vec<Setting>,
        }

        static KNOBS: LazyLock<Vec<Knob>> = LazyLock::new(|| vec![
            $($( Knob {
                name: leak(stringify!($field).replace('_', "-")),
                variable: leak(format!("{VARIABLE_PREFIX}{}", stringify!($field).to_uppercase())),
                group: $group,
                help: concat!($($doc),+).trim(),
                hint: $hint,
                default: $default,
                assign: |config, text| { config.$field = $parse(text)?; Ok(()) },
            }, )+)+
        ]);

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $($( $field: $parse($default).expect("defaults parse"), )+)+
                    issuers: Vec::new(),
                    settings: KNOBS.iter().map(|knob| Setting { text: knob.default.into(), source: Source::Default }).collect(),
                }
            }
        }
    };
}

knobs! {
    "Serving" {
        /// Address and port to listen on.
        listen: SocketAddr = "127.0.0.1:1234", "ADDR", value::listen;
        /// Listen on other than loopback addresses although nobody is asked for credentials.
        insecure: bool = "false", "", value::yes_or_no;
        /// Address and port at which /metrics, /api/nodes and /inspector ask nobody for a token; let no stranger reach it.
        admin_listen: Option<SocketAddr> = "", "ADDR", value::listen_or_not;
        /// How long a drain may take before what is left is cut off.
        drain_deadline: Duration = "10s", "TIME", value::duration;
        /// Proxies whose X-Forwarded-For is believed: addresses or ranges, with commas between.
        trusted_proxies: Vec<Network> = "", "NET,..", value::list;
    }
    "Access" {
        /// What clients without a token may do: read-write, read-only or none; auto is read-write, and none once tokens are read.
        anonymous_access: AnonymousAccess = "auto", "ACCESS", value::parsed;
        /// The secret that tokens of `ydash token`, or of your own, are signed with (HS256): at least 32 bytes.
        auth_secret: Secret = "", "SECRET", value::secret;
        /// The issuer whose tokens are taken, exactly as they name it; more than one goes into auth-file.
        auth_issuer: String = "", "ISSUER", value::line;
        /// Whose tokens they are: keycloak, auth0, entra, cognito, clerk or supabase; for any other say nothing.
        auth_preset: Option<Preset> = "", "NAME", value::optional;
        /// What tokens of auth-issuer have to name as their audience, with commas between.
        auth_audience: Vec<String> = "", "NAME,..", value::list;
        /// Where the keys of auth-issuer are: discover, a URL, or a file with a JWKS, a JWK or PEM.
        auth_keys: String = "discover", "PLACE", value::line;
        /// What everybody with a token of auth-issuer may do: watcher, viewer, editor or owner; without, grants decide.
        auth_role: String = "", "ROLE", value::line;
        /// The address of your own service that says who may do what; it is asked about each token and dashboard.
        authorize_url: String = "", "URL", value::line;
        /// The secret that signs questions to authorize-url (HMAC-SHA256): at least 32 bytes.
        authorize_secret: Secret = "", "SECRET", value::secret;
        /// A TOML file with a table [[issuer]] for each issuer of tokens, see docs/AUTH.md.
        auth_file: String = "", "FILE", value::line;
        /// Origins whose pages may connect, with commas between, or * for all; if empty, loopback origins and the server's own.
        allowed_origins: Vec<Origin> = "", "ORIGIN,..", value::list;
        /// Names beside loopback ones under which browsers may find the server, with commas between, or * for all.
        allowed_hosts: Vec<HostName> = "", "HOST,..", value::list;
        /// Whether /inspector answers to browsers on this machine; off where a proxy on this machine stands before ydash.
        inspector: bool = "true", "BOOL", value::yes_or_no;
    }
    "Keeping" {
        /// Where dashboards are kept: file:DIRECTORY, memory:, or redis://HOST and its kin.
        store: StoreUrl = "file:./data", "URL", value::parsed;
        /// How long edits of all rooms are collected into one durable write.
        commit_interval: Duration = "40ms", "TIME", value::duration;
        /// Bytes appended to a dashboard's log after which it gets a snapshot.
        snapshot_bytes: usize = "256KiB", "SIZE", value::bytes;
        /// The longest time from an edit to the snapshot that holds it.
        snapshot_interval: Duration = "60s", "TIME", value::duration;
        /// For how long every edit of a dashboard is kept, with a state to stand on.
        history: Duration = "7d", "TIME", value::duration;
        /// Bytes of history that stay of one dashboard, however young; the newest stay.
        history_bytes: usize = "64MiB", "SIZE", value::bytes;
        /// The same of all dashboards in a directory; the longest give first.
        history_bytes_total: usize = "4GiB", "SIZE", value::bytes;
        /// How long a dashboard that was deleted can be taken back.
        trash: Option<Duration> = "30d", "TIME", value::lifetime;
        /// Bytes that the audit logs of all nodes have together; the oldest lines go first.
        audit_bytes: usize = "64MiB", "SIZE", value::bytes;
        /// A file with a key of `ydash token --new-key`, which signs checkpoints of the audit log.
        audit_key: String = "", "FILE", value::line;
        /// How long a user's private document (~user) stays in Redis after its last use; also REDIS_STATE_TTL.
        redis_private_ttl: Option<Duration> = "30d", "TIME", value::lifetime;
        /// How long any other dashboard stays in Redis after its last use.
        redis_shared_ttl: Option<Duration> = "never", "TIME", value::lifetime;
        /// How many replicas of Redis are to have an edit before it is called saved.
        redis_wait_replicas: u32 = "0", "N", value::count_or_none;
    }
    "Nodes" {
        /// How nodes hear each other: auto (over the store, if that is Redis), none, or redis://HOST like the store.
        bus: BusUrl = "auto", "URL", value::parsed;
        /// What this node is called in lists of nodes; the host's name and the port if it is not said.
        node_name: String = "", "NAME", value::name;
    }
    "Rooms" {
        /// How long a room without members stays in memory.
        room_idle: Duration = "60s", "TIME", value::duration;
        /// Memory of all rooms together, above which the longest idle ones leave early.
        room_memory: usize = "512MiB", "SIZE", value::bytes;
        /// How long updates of a busy room are collected into one frame.
        flush_interval: Duration = "8ms", "TIME", value::duration;
        /// How long presence of a busy room is collected into one frame, and updates of a very busy one.
        awareness_interval: Duration = "20ms", "TIME", value::duration;
        /// Members of one room.
        members_max: usize = "20000", "N", value::count;
    }
    "Sizes" {
        /// One message from a client, and one REST body; auto is what a document may have, so that it can be brought.
        frame_bytes_max: Option<usize> = "auto", "SIZE", value::size_or_auto;
        /// One document.
        document_bytes_max: usize = "64MiB", "SIZE", value::size;
        /// One client's presence; with more it is shown to nobody.
        awareness_state_bytes_max: usize = "32KiB", "SIZE", value::bytes;
        /// One stateless message.
        stateless_bytes_max: usize = "64KiB", "SIZE", value::bytes;
        /// What may wait on one socket for a token, or for its documents to open.
        pending_bytes_max: usize = "1MiB", "SIZE", value::size;
        /// The largest state that is sent compressed: browsers inflate any, Node's own WebSocket 4 MiB; 0 turns compression off.
        compress_bytes_max: usize = "4MiB", "SIZE", value::bytes;
        /// What may wait for one slow reader before it gets a single diff instead.
        outbox_bytes_max: usize = "1MiB", "SIZE", value::size;
    }
    "Sessions" {
        /// Sessions of this process.
        sessions_max: usize = "50000", "N", value::count;
        /// Sessions from one address.
        sessions_per_address_max: usize = "10000", "N", value::count;
        /// Joins per second from one address, on average.
        address_join_rate: u32 = "1000", "N", value::count;
        /// Joins at once from one address.
        address_join_burst: u32 = "10000", "N", value::count;
        /// Messages per second from one session, on average.
        session_message_rate: u32 = "2000", "N", value::count;
        /// Messages at once from one session.
        session_message_burst: u32 = "10000", "N", value::count;
        /// Bytes per second from one session, on average.
        session_byte_rate: usize = "4MiB", "SIZE", value::size;
        /// Bytes at once from one session.
        session_byte_burst: usize = "64MiB", "SIZE", value::size;
        /// Sessions of one user on this node; whoever shows no token, or a link, counts by the address alone.
        user_sessions_max: u32 = "1000", "N", value::count;
        /// Joins per second of one user, on average.
        user_join_rate: u32 = "50", "N", value::count;
        /// Joins at once of one user.
        user_join_burst: u32 = "1000", "N", value::count;
        /// Messages per second of one user, on average, on all sessions together.
        user_message_rate: u32 = "4000", "N", value::count;
        /// Messages at once of one user.
        user_message_burst: u32 = "20000", "N", value::count;
        /// Bytes per second that one user sends, on average, on all sessions and over REST together.
        user_byte_rate: usize = "8MiB", "SIZE", value::size;
        /// Bytes at once that one user sends; what is larger passes alone.
        user_byte_burst: usize = "128MiB", "SIZE", value::size;
        /// REST calls per second of one user, on average.
        user_request_rate: u32 = "500", "N", value::count;
        /// REST calls at once of one user.
        user_request_burst: u32 = "5000", "N", value::count;
        /// Dashboards per hour that one user is the first to write to, on average.
        user_create_rate: u32 = "1000", "N", value::count;
        /// The same at once.
        user_create_burst: u32 = "1000", "N", value::count;
        /// How long a socket may be silent, pongs included.
        idle_timeout: Duration = "60s", "TIME", value::timeout;
        /// Documents on one socket, in the Hocuspocus dialect.
        documents_per_socket_max: usize = "256", "N", value::count;
        /// How long a socket of the Hocuspocus dialect may take to show a token that is good.
        auth_timeout: Duration = "30s", "TIME", value::timeout;
        /// Memory for all that clients send and ask for, rooms included; auto is half of what the machine or container has, 256 MiB to 4 GiB.
        memory_max: Option<usize> = "auto", "SIZE", value::size_or_auto;
        /// How long the head of an HTTP request may take.
        header_timeout: Duration = "10s", "TIME", value::timeout;
        /// How long a body or an answer may stand still, and the time over which transfer-pace is measured.
        transfer_timeout: Duration = "30s", "TIME", value::timeout;
        /// Bytes per second that a body has to arrive at, and an answer has to be read at.
        transfer_pace: usize = "16KiB", "SIZE", value::bytes;
        /// REST calls per second from one address, on average; as many of all other requests but probes.
        address_request_rate: u32 = "500", "N", value::count;
        /// REST calls at once from one address.
        address_request_burst: u32 = "5000", "N", value::count;
        /// Bytes per second that REST reads for one address, on average; one that is written counts as four.
        address_byte_rate: usize = "32MiB", "SIZE", value::size;
        /// Bytes at once that REST reads for one address; what is larger passes alone.
        address_byte_burst: usize = "64MiB", "SIZE", value::size;
    }
    "Traces" {
        /// Where an OpenTelemetry collector takes traces by OTLP over HTTP, as http://collector:4318; also OTEL_EXPORTER_OTLP_ENDPOINT.
        otlp_endpoint: Option<Endpoint> = "", "URL", value::optional;
        /// The share of edits and joins that is traced, from 0 to 1; what a caller traces (traceparent) always is.
        trace_sample: f64 = "0.01", "SHARE", value::share;
    }
    "Logs" {
        /// What is logged: a level, or levels by module such as ydash::store=debug,info.
        log: String = "info", "FILTER", value::parsed;
        /// How log lines look: text or json.
        log_format: LogFormat = "text", "FORMAT", value::parsed;
    }
}

/// How `memory-max` is divided, so that neither part can take the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudgets {
    /// For live rooms.
    pub rooms: usize,
    /// For what peers send and are sent.
    pub peers: usize,
}

/// One knob of the table.
#[derive(Debug)]
pub struct Knob {
    /// Its flag and its key in the file.
    pub name: &'static str,
    /// Its variable in the environment.
    pub variable: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What stands for the value in the help; empty for a switch.
    pub hint: &'static str,
    /// As it would be written.
    pub default: &'static str,
    assign: fn(&mut Config, &str) -> Result<(), String>,
}

impl Knob {
    /// Whether the flag needs no value.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.hint.is_empty()
    }

    /// Whether the value is a list, so that the flag may be repeated.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.hint.ends_with("..")
    }

    /// Every knob, in the order of the table.
    #[must_use]
    pub fn all() -> &'static [Knob] {
        &KNOBS
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A file.
    File(PathBuf),
    /// Its variable.
    Environment,
    /// A variable of another name.
    ForeignVariable(&'static str),
    /// Its flag.
    Flag,
}

impl Source {
    /// In words, for the knob it belongs to; empty for a default.
    #[must_use]
    pub fn told(&self, knob: &Knob) -> String {
        match self {
            Source::Default => String::new(),
            Source::File(path) => format!("from {}", path.display()),
            Source::Environment => format!("from {}", knob.variable),
            Source::ForeignVariable(variable) => format!("from {variable}"),
            Source::Flag => format!("from --{}", knob.name),
        }
    }
}

#[derive(Clone, Debug)]
struct Setting {
    text: String,
    source: Source,
}

/// What the layers are read from. Tests make their own; the process has one.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Every environment variable.
    pub environment: BTreeMap<String, String>,
    /// Flags by knob name.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file was named that cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not TOML", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: toml::de::Error,
    },
    /// The file, or a caller, sets something that there is not.
    #[error("{place}: there is no setting `{name}`{}", suggestion(.similar))]
    Unknown {
        /// The file.
        place: String,
        /// The key.
        name: String,
        /// The nearest knob, if one is near.
        similar: Option<&'static str>,
    },
    /// A value that its knob does not take.
    #[error("{place} `{name}`{}: {reason}", .text.as_ref().map(|text| format!(" is {text:?}")).unwrap_or_default())]
    Value {
        /// Where it stands.
        place: String,
        /// The knob as it is called there.
        name: String,
        /// The value, unless there may be a password in it.
        text: Option<String>,
        /// What was expected.
        reason: String,
    },
    /// Two values that contradict each other, or one that would be unsafe.
    #[error("{0}")]
    Unfit(String),
}

impl Config {
    /// Puts the layers together and checks the result as a whole. The second value are warnings for the operator.
    ///
    /// # Errors
    /// [`ConfigError`] – for the operator: it names the place, the knob and what was expected.
    pub fn load(layers: &Layers) -> Result<(Config, Vec<String>), ConfigError> {
        let mut config = Config::default();
        if let Some((path, text)) = read_file(layers)? {
            config.apply_file(&path, &text)?;
        }
        let warnings = config.apply_environment(&layers.environment)?;
        for (name, text) in &layers.flags {
            let index = find(name).ok_or_else(|| unknown("flags", name))?;
            config.set(index, text, Source::Flag, || ("flag".into(), format!("--{name}")))?;
        }
        config.issuers = issuers::all(&config)?;
        config.check()?;
        Ok((config, warnings))
    }

    /// The bounds of rooms and sessions; what has no knob keeps its default.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            frame_bytes_max: self.frame_bytes_max.unwrap_or(self.document_bytes_max),
            document_bytes_max: self.document_bytes_max,
            awareness_state_bytes_max: self.awareness_state_bytes_max,
            members_max: self.members_max,
            outbox_bytes_max: self.outbox_bytes_max,
            stateless_bytes_max: self.stateless_bytes_max,
            pending_bytes_max: self.pending_bytes_max,
            documents_per_socket_max: self.documents_per_socket_max,
            ..Limits::default()
        }
    }

    /// The limits of one user on this node.
    #[must_use]
    pub fn user_limits(&self) -> UserLimits {
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        UserLimits {
            sessions_max: self.user_sessions_max,
            joins: Rate { per_second: self.user_join_rate, burst: self.user_join_burst },
            messages: Rate { per_second: self.user_message_rate, burst: self.user_message_burst },
            bytes: Rate { per_second: bytes(self.user_byte_rate), burst: bytes(self.user_byte_burst) },
            requests: Rate { per_second: self.user_request_rate, burst: self.user_request_burst },
            dashboards_per_hour: self.user_create_rate,
            dashboards_burst: self.user_create_burst,
        }
    }

    /// The same, with the files of issuers and keys read again.
    ///
    /// # Errors
    /// [`ConfigError`] – go on as before, and tell the operator.
    pub fn with_issuers_read_again(&self) -> Result<Config, ConfigError> {
        Ok(Config { issuers: issuers::all(self)?, ..self.clone() })
    }

    /// Whether tokens are read.
    #[must_use]
    pub fn reads_tokens(&self) -> bool {
        !self.issuers.is_empty() || self.hook().is_some()
    }

    /// The service that is asked who may do what, if there is one.
    #[must_use]
    pub fn hook(&self) -> Option<HookSettings> {
        let (url, secret) = (self.authorize_url.clone(), self.authorize_secret.0.clone());
        (!url.is_empty()).then_some(HookSettings { url, secret })
    }

    /// What who shows no token may do.
    #[must_use]
    pub fn anonymous(&self) -> Option<Access> {
        match self.anonymous_access {
            AnonymousAccess::Auto => (!self.reads_tokens()).then_some(Access::EDITOR),
            AnonymousAccess::Is(access) => access,
        }
    }

    /// Memory for rooms, at most half of it all, and for everything else.
    #[must_use]
    pub fn memory(&self) -> MemoryBudgets {
        let all = self.memory_max.unwrap_or_else(|| ledger::automatic_budget(ledger::available_memory()));
        let rooms = self.room_memory.min(all / 2);
        MemoryBudgets { rooms, peers: all - rooms }
    }

    /// The Redis over which this node hears others, if it does.
    #[must_use]
    pub fn bus_redis(&self) -> Option<&RedisUrl> {
        match &self.bus {
            BusUrl::Auto => self.store.redis(),
            BusUrl::None => None,
            BusUrl::Redis(url) => Some(url),
        }
    }

    /// What a store is opened with.
    #[must_use]
    pub fn store_config(&self) -> StoreConfig {
        let redis = RedisStoreConfig {
            private_ttl: self.redis_private_ttl,
            shared_ttl: self.redis_shared_ttl,
            wait_replicas: self.redis_wait_replicas,
        };
        let (bytes, bytes_total) = (self.history_bytes as u64, self.history_bytes_total as u64);
        let history = HistoryLimits { bytes, bytes_total, ..HistoryLimits::default() };
        StoreConfig { history, redis }
    }

    /// Every knob with its value and origin, secrets masked.
    pub fn settings(&self) -> impl Iterator<Item = (&'static Knob, String, &Source)> {
        let shown = |knob: &Knob, text: &str| match knob.hint {
            SECRET if !text.is_empty() => "***".into(),
            _ => masked(text),
        };
        KNOBS.iter().zip(&self.settings).map(move |(knob, setting)| (knob, shown(knob, &setting.text), &setting.source))
    }

    /// The settings as a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut group = "";
        for (knob, text, source) in self.settings() {
            if knob.group != group {
                group = knob.group;
                let _ = writeln!(table, "{group}");
            }
            let text = if text.is_empty() { "-" } else { &text };
            let line = format!("  {:<26} {text:<22} {}", knob.name, source.told(knob));
            let _ = writeln!(table, "{}", line.trim_end());
        }
        table
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table =
            text.parse().map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
        let place = || path.display().to_string();
        for (name, value) in table {
            let index = find(&name).ok_or_else(|| unknown(&place(), &name))?;
            let text = plain(&value).ok_or_else(|| ConfigError::Value {
                place: place(),
                name: name.clone(),
                text: None,
                reason: "expected a string, a number, true, false or a list of strings".into(),
            })?;
            self.set(index, &text, Source::File(path.to_owned()), || (place(), name.clone()))?;
        }
        Ok(())
    }

    /// Unknown variables only warn: Kubernetes sets `YDASH_SERVICE_HOST` and others for a service of this name.
    fn apply_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<Vec<String>, ConfigError> {
        for (variable, name) in FOREIGN_VARIABLES {
            let text = environment.get(*variable).filter(|text| !text.is_empty());
            if let (Some(text), Some(index)) = (text, find(name)) {
                let place = || ("environment".into(), (*variable).to_owned());
                self.set(index, text, Source::ForeignVariable(variable), place)?;
            }
        }
        let mut warnings = Vec::new();
        for (variable, text) in environment {
            if !variable.starts_with(VARIABLE_PREFIX) || variable == FILE_VARIABLE || text.is_empty() {
                continue;
            }
            match KNOBS.iter().position(|knob| knob.variable == variable) {
                Some(index) => {
                    self.set(index, text, Source::Environment, || ("environment".into(), variable.clone()))?;
                }
                None => {
                    let similar = nearest(variable, KNOBS.iter().map(|knob| knob.variable));
                    warnings.push(format!("nothing reads the variable `{variable}`{}", suggestion(&similar)));
                }
            }
        }
        Ok(warnings)
    }

    fn set(
        &mut self,
        index: usize,
        text: &str,
        source: Source,
        place: impl Fn() -> (String, String),
    ) -> Result<(), ConfigError> {
        (KNOBS[index].assign)(self, text).map_err(|reason| {
            let (place, name) = place();
            let text = (!MAY_HOLD_PASSWORDS.contains(&KNOBS[index].hint)).then(|| text.to_owned());
            ConfigError::Value { place, name, text, reason }
        })?;
        self.settings[index] = Setting { text: text.into(), source };
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let unfit = |reason: String| Err(ConfigError::Unfit(reason));
        if !self.listen.ip().to_canonical().is_loopback() && !self.insecure && !self.reads_tokens() {
            return unfit(format!(
                "refusing to listen on {}: it can be reached from other machines, and nobody who connects is asked for \
                 credentials; set auth-secret or auth-issuer (docs/AUTH.md), listen on 127.0.0.1, or say --insecure if \
                 something in front of it decides who may connect",
                self.listen
            ));
        }
        let told = |name: &str| {
            let text = find(name).map_or("", |index| &self.settings[index].text);
            format!("{name} ({text})")
        };
        let (frame, document, burst) =
            (told("frame-bytes-max"), told("document-bytes-max"), told("session-byte-burst"));
        if self.frame_bytes_max.is_some_and(|bytes| bytes > self.document_bytes_max) {
            return unfit(format!("{frame} is above {document}: no such message could ever be kept; lower it too"));
        }
        if self.frame_bytes_max.is_some_and(|bytes| self.session_byte_burst < bytes) {
            return unfit(format!("{burst} is below {frame}: the largest message would never be taken"));
        }
        if matches!(self.bus, BusUrl::Redis(_)) && self.store.redis().is_none() {
            return unfit(format!(
                "the store `{}` is this node's own, but nodes on a bus must share their store: \
                 set store to a Redis as well, or bus to none",
                self.store
            ));
        }
        Ok(())
    }
}

fn read_file(layers: &Layers) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let variable = layers.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty());
    let named = layers.file.clone().or_else(|| variable.map(PathBuf::from));
    let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

fn find(name: &str) -> Option<usize> {
    KNOBS.iter().position(|knob| knob.name == name)
}

fn unknown(place: &str, name: &str) -> ConfigError {
    let similar = nearest(name, KNOBS.iter().map(|knob| knob.name));
    ConfigError::Unknown { place: place.into(), name: name.into(), similar }
}

fn suggestion(similar: &Option<&'static str>) -> String {
    similar.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A TOML value as it would be written in a flag.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(toml::Value::as_str).collect();
            Some(parts?.join(","))
        }
        _ => None,
    }
}

/// `scheme://user:password@host?…-password=password` without the passwords.
fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let rest = match rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{user}:***@{host}"),
        None => rest.to_owned(),
    };
    let Some((place, parameters)) = rest.split_once('?') else { return format!("{scheme}://{rest}") };
    let mask = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if name.ends_with("password") => format!("{name}=***"),
        _ => parameter.to_owned(),
    };
    let parameters: Vec<String> = parameters.split('&').map(mask).collect();
    format!("{scheme}://{place}?{}", parameters.join("&"))
}

/// The candidate that is fewest edits away, if that is few for its length.
fn nearest(name: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    candidates
        .map(|one| (edits(name, one), one))
        .min()
        .filter(|(edits, one)| edits * 3 <= one.len())
        .map(|(_, one)| one)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Names live as long as the process, once each.
fn leak(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}
