//! The store in Redis: what several nodes share.
//!
//! A dashboard is a stream (its log) and a hash (its snapshot, and what is known of its log), in one slot of a Cluster. Whatever
//! must happen together is one Lua script on both, so nobody needs a lock, and what nodes do at once happens one after the
//! other. A sorted set of all names, on one server, is what lists are read from. See docs/STORAGE.md for keys and fields.
//!
//! A position is an entry's id in the stream. The upper bits of its sequence number hold the dashboard's *era*: a random number
//! that is drawn when a dashboard begins, and again when it is found out that some of it was lost. So a position also tells
//! whether it comes from before such a loss.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tracing::warn;
use ydash_proto::id::DashboardId;
use ydash_proto::life::{Life, LifeChange, Lives, Moving};
use ydash_proto::time::Timestamp;
use ydash_proto::version::VersionId;

use self::entry::{Answer, Id, entries_from, missing, text};
use super::past::SEGMENT_COUNTS_MIN;
use super::record::{
    RecordError, check_len, decode_entry, decode_entry_at, decode_entry_update, decode_lives, decode_refused,
    decode_snapshot, decode_snapshot_covers, decode_version, encode_base, encode_entry, encode_lives, encode_refused,
    encode_snapshot, encode_version, verify_base, verify_segment,
};
use super::versions;
use super::{
    Append, Appended, Base, CheckReport, DamagedRecord, History, HistoryLimits, KeptVersion, LogEntry, LogPosition,
    Refused, Seal, SealOutcome, SegmentInfo, SetAside, SnapshotOutcome, Store, StoreError, StoreLife, Stored,
    VersionInfo, VersionOutcome,
};
use crate::catalog::Catalog;
use crate::catalog::redis::RedisCatalog;
use crate::redis::{Command, Names, Redis, RedisError, RedisUrl, Script, Value};

macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("redis/prelude.lua"), include_str!($file))));
    };
}

script!(APPEND, "redis/append.lua");
script!(SNAPSHOT, "redis/snapshot.lua");
script!(LOAD, "redis/load.lua");
script!(PAGE, "redis/page.lua");
script!(TRIM, "redis/trim.lua");
script!(SEAL, "redis/seal.lua");
script!(VERSION, "redis/version.lua");
script!(DESCRIBE, "redis/describe.lua");
script!(REMOVE, "redis/remove.lua");
script!(REFUSED, "redis/refused.lua");
script!(LISTED, "redis/listed.lua");
script!(LIFE, "redis/life.lua");

/// What a load brings along in its first answer. What is larger is fetched with the time that it takes.
const LOAD_BYTES: usize = 4 << 20;
/// What is read of a log at once.
const PAGE_ENTRIES: usize = 512;
const PAGE_BYTES: usize = 4 << 20;
/// How many pages are trimmed at once at most; the rest is for the next time.
const TRIM_PAGES_MAX: usize = 64;
/// Names that are read, or entered, at once.
const NAMES: usize = 1000;
/// How long a removed dashboard's log remembers where it ended. Beyond, the server's clock has gone further.
const TOMBSTONE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a dashboard that is written to is listed anew, should the list have been lost.
const LIST_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// Stands in the keys of what is in the trash, before its life.
const TRASH: &str = "trash:";
/// Encoding more than this takes over a millisecond.
const ASIDE_BYTES: usize = 256 << 10;

/// How dashboards are kept in Redis.
#[derive(Clone, Debug)]
pub struct RedisStoreConfig {
    /// How long a user's private document (`~user`) stays after its last use; `None` for ever.
    pub private_ttl: Option<Duration>,
    /// The same for all others.
    pub shared_ttl: Option<Duration>,
    /// How many replicas are to have an append before it counts as durable.
    pub wait_replicas: u32,
}

impl Default for RedisStoreConfig {
    fn default() -> Self {
        RedisStoreConfig { private_ttl: Some(Duration::from_secs(30 * 24 * 3600)), shared_ttl: None, wait_replicas: 0 }
    }
}

/// Dashboards in Redis.
pub struct RedisStore {
    redis: Redis,
    /// Where appends go; connections of their own if they wait for replicas.
    appends: Redis,
    config: RedisStoreConfig,
    history: HistoryLimits,
    is_looked_at: AtomicBool,
}

/// The keys of one dashboard.
struct Keys {
    log: String,
    state: String,
    aside: String,
    refused: String,
    /// What is known of the lives of the name.
    lives: String,
    past: String,
}

impl RedisStore {
    /// Connects when it is first used.
    #[must_use]
    pub fn new(url: RedisUrl, config: RedisStoreConfig) -> RedisStore {
        let redis = Redis::new(url.clone());
        let appends = if config.wait_replicas > 0 { Redis::new(url) } else { redis.clone() };
        RedisStore { redis, appends, config, history: HistoryLimits::default(), is_looked_at: AtomicBool::new(false) }
    }

    /// Keeps so much history of each dashboard.
    #[must_use]
    pub fn with_history(self, history: HistoryLimits) -> RedisStore {
        RedisStore { history, ..self }
    }

    fn keys(&self, dashboard: &DashboardId) -> Keys {
        // What is in the trash lies beside the dashboard that it was, on the same server.
        let (dashboard, trash) = match dashboard.of_trash() {
            Some((dashboard, life)) => (dashboard, format!("{TRASH}{life}:")),
            None => (dashboard.clone(), String::new()),
        };
        let key = |what| self.redis.url().dashboard_key(&dashboard, &format!("{trash}{what}"));
        let (log, state, aside, refused, past) = (key("log"), key("state"), key("aside"), key("refused"), key("past"));
        Keys { log, state, aside, refused, past, lives: key("lives") }
    }

    /// The dashboard whose key of `what` this is, also one in the trash.
    fn dashboard_of_key(&self, key: &[u8], what: &str) -> Option<DashboardId> {
        let url = self.redis.url();
        url.dashboard_of_key(key, what).or_else(|| {
            let (name, rest) = str::from_utf8(key).ok()?.rsplit_once(&format!("}}:{TRASH}"))?;
            let life = Life(rest.strip_suffix(what)?.strip_suffix(':')?.parse().ok()?);
            Some(url.dashboard_of_key(format!("{name}}}:").as_bytes(), "")?.trashed(life))
        })
    }

    /// The sorted set of all names under which something was deleted.
    fn names_with_lives(&self) -> String {
        format!("{}:deleted", self.redis.url().prefix())
    }

    /// The sorted set of all names.
    fn names(&self) -> String {
        format!("{}:names", self.redis.url().prefix())
    }

    /// How long a dashboard stays, in milliseconds; 0 for ever.
    fn ttl(&self, dashboard: &DashboardId) -> u64 {
        let is_private = dashboard.name().starts_with('~');
        let ttl = if is_private { self.config.private_ttl } else { self.config.shared_ttl };
        ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(0))
    }

    async fn run(&self, doing: &'static str, command: Command) -> Result<Value, StoreError> {
        self.redis.run(command).await.map_err(|error| failed(doing, error))
    }

    /// Enters dashboards into the list, unless that was done not long ago. Says for which of them it failed that are not in it.
    ///
    /// They are there by now: who lists them finds them, and who finds one gone that is in the list takes it out.
    async fn enter(&self, written: Vec<(&DashboardId, u64)>) -> HashMap<DashboardId, StoreError> {
        let now = now();
        let is_due = |at: u64| now.saturating_sub(at) >= LIST_AGAIN.as_millis() as u64;
        let mut due: Vec<(&DashboardId, u64)> = written.into_iter().filter(|(_, at)| is_due(*at)).collect();
        due.sort_unstable();
        due.dedup_by_key(|(dashboard, _)| *dashboard);
        let mut failures = HashMap::new();
        for some in due.chunks(NAMES) {
            let add = some.iter().fold(Command::new("ZADD").key(&self.names()), |add, (dashboard, _)| {
                add.arg(0).arg(dashboard.as_str())
            });
            match self.run("list a dashboard", add).await {
                Ok(_) => {
                    let note = |(dashboard, _): &(&DashboardId, u64)| {
                        let keys = self.keys(dashboard);
                        Command::script(&LISTED, &[&keys.log, &keys.state]).arg(now)
                    };
                    // What is not noted is listed once more with the next append.
                    let _ = self.redis.run_all(some.iter().map(note).collect()).await;
                }
                Err(error) => {
                    let unlisted = some.iter().filter(|(_, at)| *at == 0);
                    failures.extend(unlisted.map(|(dashboard, _)| ((*dashboard).clone(), error.clone())));
                }
            }
        }
        failures
    }

    async fn append_all(&self, batch: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let bytes: usize = batch.iter().flat_map(|append| &append.entries).map(|entry| entry.update.len()).sum();
        type Records = Result<Vec<Vec<u8>>, StoreError>;
        let encode = |append: Append| {
            let records: Records = append.entries.iter().map(encode_entry).collect();
            (append, records)
        };
        let encode_all = move |batch: Vec<Append>| batch.into_iter().map(encode).collect::<Vec<_>>();
        let len = batch.len();
        let encoded = match aside(bytes, move || encode_all(batch)).await {
            Ok(encoded) => encoded,
            Err(error) => return vec![Err(error); len],
        };
        let mut results: Vec<Result<Appended, StoreError>> = Vec::with_capacity(len);
        let (mut sent, mut commands) = (Vec::new(), Vec::new());
        for (n, (append, records)) in encoded.iter().enumerate() {
            match records {
                Ok(records) => {
                    sent.push(n);
                    commands.push(self.append_command(append, records));
                    results.push(Ok(Appended::default()));
                }
                Err(error) => results.push(Err(error.clone())),
            }
        }
        let mut written = Vec::new();
        for (n, answer) in sent.into_iter().zip(self.appends.run_all(commands).await) {
            let append = &encoded[n].0;
            results[n] = match answer.map_err(|error| failed(APPENDING, error)).and_then(|value| Wrote::read(&value)) {
                Ok(Wrote::Done { appended, listed_at }) => {
                    if !append.entries.is_empty() {
                        written.push((&append.dashboard, listed_at));
                    }
                    Ok(appended)
                }
                Ok(Wrote::Gone) => Err(StoreError::Gone),
                Ok(Wrote::Lost { end }) => Err(StoreError::Lost { known: append.after.unwrap_or_default(), end }),
                Err(error) => Err(error),
            };
        }
        let unlisted = self.enter(written).await;
        if !unlisted.is_empty() {
            for (result, (append, _)) in results.iter_mut().zip(&encoded) {
                if let (Ok(_), Some(error)) = (&result, unlisted.get(&append.dashboard)) {
                    *result = Err(error.clone());
                }
            }
        }
        results
    }

    fn append_command(&self, append: &Append, records: &[Vec<u8>]) -> Command {
        let keys = self.keys(&append.dashboard);
        let command = Command::script(&APPEND, &[&keys.log, &keys.state, &keys.past, &keys.lives])
            .replicated_to(self.config.wait_replicas)
            .arg(self.ttl(&append.dashboard))
            .arg(fastrand::u32(1..))
            .arg(append.after.map(|after| Id(after).to_string()).unwrap_or_default())
            .arg(append.life.0);
        records.iter().fold(command, |command, record| command.arg(record.as_slice()))
    }

    async fn keep_snapshot(
        &self,
        dashboard: &DashboardId,
        covers: LogPosition,
        state: Bytes,
    ) -> Result<SnapshotOutcome, StoreError> {
        const DOING: &str = "write a snapshot";
        check_len(state.len())?;
        let record = aside(state.len(), move || encode_snapshot(covers, &state)).await?;
        let keys = self.keys(dashboard);
        let command = |damaged: &str| {
            Command::script(&SNAPSHOT, &[&keys.log, &keys.state, &keys.aside, &keys.past])
                .arg(self.ttl(dashboard))
                .arg(fastrand::u32(1..))
                .arg(Id(covers).to_string())
                .arg(record.as_slice())
                .arg(damaged)
        };
        let mut damaged = String::new();
        loop {
            let answer = Answer::of(self.run(DOING, command(&damaged)).await?, "a snapshot")?;
            match answer.word()? {
                "kept" => {
                    let listed_at = answer.number(2)?;
                    if let Some(error) = self.enter(vec![(dashboard, listed_at)]).await.remove(dashboard) {
                        return Err(error);
                    }
                    return Ok(SnapshotOutcome::Kept);
                }
                "superseded" => {
                    let kept = text(answer.part(1)?)?.to_owned();
                    // A damaged one stands for nothing, whatever it says that it covers.
                    if kept == damaged || !self.is_kept_damaged(&keys).await? {
                        return Ok(SnapshotOutcome::Superseded);
                    }
                    damaged = kept;
                }
                "lost" => return Err(StoreError::Lost { known: covers, end: answer.position(1)? }),
                _ => return Err(missing("a snapshot")),
            }
        }
    }

    async fn is_kept_damaged(&self, keys: &Keys) -> Result<bool, StoreError> {
        let Some(record) = self.record(&keys.state, "snapshot").await? else { return Ok(true) };
        match aside(record.len(), move || decode_snapshot_covers(&record)).await? {
            Ok(_) => Ok(false),
            Err(RecordError::Damaged(_)) => Ok(true),
            Err(later) => Err(later.into_store_error()),
        }
    }

    /// Removes entries from the log's start up to the base; those that are too many, the next call removes.
    async fn trim_one(&self, dashboard: &DashboardId) -> Result<(), StoreError> {
        const DOING: &str = "trim a log";
        let keys = self.keys(dashboard);
        let read = Command::new("HMGET").key(&keys.state).arg("base").arg("covers");
        let bounds = Answer::of(self.run(DOING, read).await?, "HMGET")?;
        let (Ok(base), Ok(covers)) = (bounds.position(0), bounds.position(1)) else { return Ok(()) };
        let to = base.min(covers);
        let mut after = LogPosition::START;
        for _ in 0..TRIM_PAGES_MAX {
            let page = self.page(&keys.log, after, PAGE_ENTRIES).await?;
            let going: Vec<_> = page.iter().take_while(|(position, _)| *position <= to).collect();
            let Some((last, _)) = going.last() else { return Ok(()) };
            let going_bytes: usize = going.iter().map(|(_, record)| record.len()).sum();
            let damaged = going.iter().filter(|(_, record)| decode_entry_at(record).is_err());
            let trim = Command::script(&TRIM, &[&keys.log, &keys.state, &keys.aside])
                .arg(Id(*last).to_string())
                .arg(Id(LogPosition(last.0.saturating_add(1))).to_string())
                .arg(going_bytes);
            let trim = damaged.fold(trim, |trim, (position, _)| trim.arg(Id(*position).to_string()));
            self.run(DOING, trim).await?;
            // A page of large entries is short, and not the last.
            if going.len() < page.len() {
                return Ok(());
            }
            after = *last;
        }
        Ok(())
    }

    async fn read_history(&self, dashboard: &DashboardId) -> Result<History, StoreError> {
        const DOING: &str = "read what there is of the past";
        let keys = self.keys(dashboard);
        let state = Command::new("HMGET").key(&keys.state).arg("base").arg("covers").arg("bytes").arg("era");
        let state = Answer::of(self.run(DOING, state).await?, "HMGET")?;
        if matches!(state.part(3)?, Value::Nil) {
            return Ok(History::default());
        }
        let covers = state.position(1).ok();
        let base = state.position(0).ok();
        let stands = base.or(covers).unwrap_or(LogPosition::START);
        let segments = self.segments(&keys).await?;
        let first = self.page(&keys.log, stands, 1).await?;
        // A damaged entry tells when it was appended by its place.
        let appended_at = |position: LogPosition| Timestamp(u64::try_from(position.0 >> 64).unwrap_or(u64::MAX));
        let since =
            first.first().map(|(position, record)| decode_entry_at(record).unwrap_or_else(|_| appended_at(*position)));
        let log_bytes = if since.is_some() { state.number(2).unwrap_or(0) } else { 0 };
        Ok(History { base: stands, is_founded: base.is_some(), covers, log_bytes, since, segments })
    }

    /// The segments of a dashboard, oldest first.
    async fn segments(&self, keys: &Keys) -> Result<Vec<SegmentInfo>, StoreError> {
        let names = self.run("list segments", Command::new("HKEYS").key(&keys.past)).await?;
        let of_name = |name: &Value| match name {
            Value::BulkString(name) => name.strip_prefix(b"s").and_then(SegmentInfo::from_key),
            _ => None,
        };
        let mut segments: Vec<SegmentInfo> = Answer::of(names, "HKEYS")?.parts().iter().filter_map(of_name).collect();
        segments.sort_unstable_by_key(|segment| segment.from);
        Ok(segments)
    }

    async fn read_base(&self, dashboard: &DashboardId) -> Result<Base, StoreError> {
        let keys = self.keys(dashboard);
        let mut bounds = self.base_bounds(&keys).await?;
        loop {
            let (base, covers, has_base) = bounds;
            let stands = base.or(covers).unwrap_or(LogPosition::START);
            let record = match (base, covers) {
                (Some(_), _) if has_base => self.record(&keys.past, "base").await?,
                (None, Some(_)) => self.record(&keys.state, "snapshot").await?,
                _ => return Ok(Base::empty(stands)),
            };
            let bytes = record.as_ref().map_or(0, Vec::len);
            let read = move || Base::read(stands, record.as_deref());
            let read = aside(bytes, read).await?.map_err(RecordError::into_store_error)?;
            let before = bounds;
            if read.is_damaged {
                // Or another node has put it forward between the two reads.
                bounds = self.base_bounds(&keys).await?;
            }
            if bounds == before {
                return Ok(read);
            }
        }
    }

    /// The position of the base, what the snapshot covers, and whether the base has a record.
    async fn base_bounds(&self, keys: &Keys) -> Result<(Option<LogPosition>, Option<LogPosition>, bool), StoreError> {
        let state = Command::new("HMGET").key(&keys.state).arg("base").arg("covers").arg("has-base");
        let state = Answer::of(self.run("read a base", state).await?, "HMGET")?;
        Ok((state.position(0).ok(), state.position(1).ok(), !matches!(state.part(2)?, Value::Nil)))
    }

    /// A field of a hash that may be large.
    async fn record(&self, key: &str, field: &str) -> Result<Option<Vec<u8>>, StoreError> {
        const DOING: &str = "read a record";
        let len = self.run(DOING, Command::new("HSTRLEN").key(key).arg(field)).await?;
        let Value::Int(len) = len else { return Err(missing("HSTRLEN")) };
        let read = Command::new("HGET").key(key).arg(field).expecting(usize::try_from(len).unwrap_or(0));
        match self.run(DOING, read).await? {
            Value::BulkString(record) => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    async fn seal_one(&self, dashboard: &DashboardId, seal: Seal) -> Result<SealOutcome, StoreError> {
        const DOING: &str = "seal a log";
        let Seal { from, base, segment } = seal;
        check_len(base.state.len())?;
        check_len(segment.as_ref().map_or(0, |segment| segment.record.len()))?;
        let keys = self.keys(dashboard);
        let kept = self.record(&keys.past, "base").await?;
        let is_damaged = match kept {
            Some(record) => match aside(record.len(), move || verify_base(&record)).await? {
                Ok(()) => false,
                Err(RecordError::Damaged(_)) => true,
                Err(later) => return Err(later.into_store_error()),
            },
            None => false,
        };
        let position = base.position;
        let record = aside(base.state.len(), move || encode_base(&base)).await?;
        let command = Command::script(&SEAL, &[&keys.log, &keys.state, &keys.aside, &keys.past])
            .arg(self.ttl(dashboard))
            .arg(Id(from).to_string())
            .arg(Id(position).to_string())
            .arg(record.as_slice())
            .arg(self.history.bytes)
            .arg(SEGMENT_COUNTS_MIN)
            .arg(if is_damaged { "1" } else { "0" });
        let command = match &segment {
            Some(segment) => command.arg(segment.info.key()).arg(&segment.record[..]),
            None => command,
        };
        match Answer::of(self.run(DOING, command).await?, "a seal")?.word()? {
            "sealed" => Ok(SealOutcome::Sealed),
            "too long" => Ok(SealOutcome::TooLong),
            "superseded" => Ok(SealOutcome::Superseded),
            _ => Err(missing("a seal")),
        }
    }

    async fn read_segment(&self, dashboard: &DashboardId, from: LogPosition) -> Result<Option<Bytes>, StoreError> {
        let keys = self.keys(dashboard);
        let segments = self.segments(&keys).await?;
        let Some(info) = segments.iter().find(|segment| segment.from == from) else { return Ok(None) };
        Ok(self.record(&keys.past, &format!("s{}", info.key())).await?.map(Bytes::from))
    }

    async fn forget_segments(&self, dashboard: &DashboardId, to: LogPosition) -> Result<(), StoreError> {
        const DOING: &str = "forget segments";
        let keys = self.keys(dashboard);
        for segment in self.segments(&keys).await?.iter().filter(|segment| segment.to <= to) {
            let field = format!("s{}", segment.key());
            if let Some(record) = self.record(&keys.past, &field).await?
                && verify_segment(&record).is_err()
            {
                let aside = format!("segment {}", Id(segment.from));
                self.run(DOING, Command::new("HSETNX").key(&keys.aside).arg(aside).arg(&record[..])).await?;
            }
            self.run(DOING, Command::new("HDEL").key(&keys.past).arg(field)).await?;
        }
        Ok(())
    }

    /// The ids of a dashboard's versions with their descriptions, as they are stored, oldest first.
    async fn version_records(&self, keys: &Keys) -> Result<Vec<(VersionId, Vec<u8>)>, StoreError> {
        const DOING: &str = "list versions";
        let names = Answer::of(self.run(DOING, Command::new("HKEYS").key(&keys.past)).await?, "HKEYS")?;
        let of_name = |name: &Value| match name {
            Value::BulkString(name) => VersionId::parse(str::from_utf8(name).ok()?),
            _ => None,
        };
        let mut ids: Vec<VersionId> = names.parts().iter().filter_map(of_name).collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let read = ids.iter().fold(Command::new("HMGET").key(&keys.past), |read, id| read.arg(id.to_string()));
        let records = Answer::of(self.run(DOING, read.expecting(LOAD_BYTES)).await?, "HMGET")?;
        // A version that was removed meanwhile is nil.
        let found = ids.into_iter().zip(records.parts()).filter_map(|(id, record)| match record {
            Value::BulkString(record) => Some((id, record.clone())),
            _ => None,
        });
        Ok(found.collect())
    }

    async fn list_versions(&self, dashboard: &DashboardId) -> Result<Vec<VersionInfo>, StoreError> {
        versions::described(self.version_records(&self.keys(dashboard)).await?).map_err(RecordError::into_store_error)
    }

    async fn read_version(&self, dashboard: &DashboardId, id: VersionId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.record(&self.keys(dashboard).past, &format!("c{id}")).await?.map(Bytes::from))
    }

    async fn keep_one_version(
        &self,
        dashboard: &DashboardId,
        life: Life,
        version: KeptVersion,
    ) -> Result<VersionOutcome, StoreError> {
        const DOING: &str = "keep a version";
        check_len(version.record.len())?;
        let keys = self.keys(dashboard);
        loop {
            let records = self.version_records(&keys).await?;
            let ids: Vec<String> = records.iter().map(|(id, _)| id.to_string()).collect();
            let described = versions::described(records.iter().map(|(id, record)| (*id, record)));
            let kept = described.map_err(RecordError::into_store_error)?;
            let is_there = kept.iter().any(|info| info.id == version.info.id);
            let going = match versions::displaced(&kept, &version.info, &self.history.versions) {
                Ok(going) => going,
                Err(_) if is_there => return Ok(VersionOutcome::Kept),
                Err(limit) => return Ok(VersionOutcome::Full(limit)),
            };
            let keep = Command::script(&VERSION, &[&keys.log, &keys.state, &keys.past, &keys.lives])
                .replicated_to(self.config.wait_replicas)
                .arg(self.ttl(dashboard))
                .arg(life.0)
                .arg(ids.join(" "))
                .arg(version.info.id.to_string())
                .arg(encode_version(&version.info))
                .arg(&version.record[..]);
            let going = records.iter().filter(|(id, _)| going.contains(id));
            let keep = going.fold(keep, |keep, (id, record)| keep.arg(id.to_string()).arg(&record[..]));
            let answer = self.appends.run(keep).await.map_err(|error| failed(DOING, error))?;
            match Answer::of(answer, "a version")?.word()? {
                "kept" => return Ok(VersionOutcome::Kept),
                "absent" => return Ok(VersionOutcome::Absent),
                "gone" => return Err(StoreError::Gone),
                // Somebody else has kept or removed one meanwhile, or named one that was to make room.
                "changed" => {}
                _ => return Err(missing("a version")),
            }
        }
    }

    async fn describe_one_version(
        &self,
        dashboard: &DashboardId,
        before: &VersionInfo,
        after: &VersionInfo,
    ) -> Result<bool, StoreError> {
        let describe = Command::script(&DESCRIBE, &[&self.keys(dashboard).past])
            .replicated_to(self.config.wait_replicas)
            .arg(before.id.to_string())
            .arg(encode_version(before))
            .arg(encode_version(after));
        let answer = self.appends.run(describe).await.map_err(|error| failed("describe a version", error))?;
        Ok(answer == Value::Int(1))
    }

    async fn remove_one_version(&self, dashboard: &DashboardId, id: VersionId) -> Result<bool, StoreError> {
        let remove = Command::new("HDEL").key(&self.keys(dashboard).past).arg(id.to_string()).arg(format!("c{id}"));
        let remove = remove.replicated_to(self.config.wait_replicas);
        let answer = self.appends.run(remove).await.map_err(|error| failed("remove a version", error))?;
        Ok(matches!(answer, Value::Int(1..)))
    }

    /// At most `limit` entries after a position, as they are stored; fewer if they are large. None means the end.
    async fn page(&self, log: &str, after: LogPosition, limit: usize) -> Result<Vec<(LogPosition, Bytes)>, StoreError> {
        if after.0 == u128::MAX || limit == 0 {
            return Ok(Vec::new());
        }
        let read = Command::script(&PAGE, &[log]).arg(Id(after).to_string()).arg(limit).arg(PAGE_BYTES);
        let answer = Answer::of(self.run("read a log", read.expecting(2 * PAGE_BYTES)).await?, "a log")?;
        entries_from(answer.parts())
    }

    async fn load_one(&self, dashboard: &DashboardId) -> Result<Stored, StoreError> {
        let keys = self.keys(dashboard);
        let mut damaged_snapshot = false;
        loop {
            let what = if damaged_snapshot { "log" } else { "" };
            let answer = self.load_raw(dashboard, &keys, what).await?;
            let bytes = answer.len();
            match aside(bytes, move || Loaded::decode(&answer)).await?? {
                Loaded::Stored(mut stored) => {
                    stored.damaged += u32::from(damaged_snapshot);
                    if damaged_snapshot {
                        self.stand_on_base(dashboard, &mut stored).await?;
                    }
                    return Ok(stored);
                }
                Loaded::DamagedSnapshot { covers, record } => {
                    damaged_snapshot = true;
                    let keep =
                        Command::new("HSETNX").key(&keys.aside).arg(format!("snapshot {covers}")).arg(&record[..]);
                    // The next one takes its place; what there was of it is kept for inspection.
                    let _ = self.run("set a damaged snapshot aside", keep).await;
                }
            }
        }
    }

    /// Puts the base where a snapshot would be. Of the log, all is read by then that is left of it.
    async fn stand_on_base(&self, dashboard: &DashboardId, stored: &mut Stored) -> Result<(), StoreError> {
        let base = self.read_base(dashboard).await?;
        if !base.is_damaged && self.record(&self.keys(dashboard).past, "base").await?.is_some() {
            stored.position = stored.position.max(base.position);
            stored.snapshot = Some((base.position, base.state));
        }
        Ok(())
    }

    async fn load_raw(&self, dashboard: &DashboardId, keys: &Keys, what: &str) -> Result<Answer, StoreError> {
        const DOING: &str = "load a dashboard";
        let load = |bytes_max: usize, expected: usize| {
            Command::script(&LOAD, &[&keys.log, &keys.state, &keys.past])
                .arg(self.ttl(dashboard))
                .arg(bytes_max)
                .arg(what)
                .expecting(expected)
        };
        let answer = Answer::of(self.run(DOING, load(LOAD_BYTES, LOAD_BYTES)).await?, "a load")?;
        if answer.word()? != "large" {
            return Ok(answer);
        }
        // It may have grown since.
        let bytes = usize::try_from(answer.number(1)?).unwrap_or(usize::MAX / 4).saturating_mul(2);
        Answer::of(self.run(DOING, load(0, bytes)).await?, "a load")
    }

    async fn read_log(
        &self,
        dashboard: &DashboardId,
        mut after: LogPosition,
        limit: usize,
    ) -> Result<Vec<(LogPosition, LogEntry)>, StoreError> {
        let log = self.keys(dashboard).log;
        let mut read = Vec::new();
        while read.len() < limit {
            let page = self.page(&log, after, (limit - read.len()).min(PAGE_ENTRIES)).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (position, record) in page {
                match decode_entry(&record) {
                    Ok(entry) => read.push((position, entry)),
                    Err(RecordError::Damaged(_)) => {}
                    Err(later) => return Err(later.into_store_error()),
                }
            }
        }
        Ok(read)
    }

    async fn list_some(
        &self,
        prefix: &str,
        after: Option<&DashboardId>,
        limit: usize,
    ) -> Result<Vec<DashboardId>, StoreError> {
        const DOING: &str = "list dashboards";
        let mut listed = Vec::new();
        let mut names = Names::new(&self.redis, self.names(), prefix, after.map(DashboardId::as_str));
        while listed.len() < limit {
            let count = (limit - listed.len()).clamp(16, NAMES);
            let page = names.next_page(count).await.map_err(|error| failed(DOING, error))?;
            let Some(page) = page else { break };
            let dashboards: Vec<_> = page.iter().filter_map(|name| DashboardId::stored(name).ok()).collect();
            let are_there = self.are_there(&dashboards).await?;
            let gone: Vec<_> = dashboards.iter().zip(&are_there).filter(|(_, is)| !**is).map(|(id, _)| id).collect();
            self.take_out(&gone).await?;
            let there = dashboards.iter().zip(&are_there).filter(|(_, is)| **is).map(|(id, _)| id.clone());
            listed.extend(there.take(limit - listed.len()));
        }
        Ok(listed)
    }

    /// Which of these dashboards have any content.
    async fn are_there(&self, dashboards: &[DashboardId]) -> Result<Vec<bool>, StoreError> {
        let ask = |dashboard| {
            let keys = self.keys(dashboard);
            [Command::new("EXISTS").key(&keys.state), Command::new("XLEN").key(&keys.log)]
        };
        let answers = self.redis.run_all(dashboards.iter().flat_map(ask).collect()).await;
        let answers: Vec<Value> =
            answers.into_iter().collect::<Result<_, _>>().map_err(|error| failed("look for dashboards", error))?;
        Ok(answers.chunks(2).map(|pair| pair.iter().any(|count| matches!(count, Value::Int(1..)))).collect())
    }

    /// Takes dashboards out of the list that are gone: expired, or lost.
    ///
    /// One that comes back at the same moment stays in it: its entry is there before it is listed, so either it is found here
    /// once it was taken out, or it is listed after that.
    async fn take_out(&self, gone: &[&DashboardId]) -> Result<(), StoreError> {
        const DOING: &str = "take dashboards off the list";
        for some in gone.chunks(NAMES) {
            let names = self.names();
            let take = some.iter().fold(Command::new("ZREM").key(&names), |take, id| take.arg(id.as_str()));
            self.run(DOING, take).await?;
            let some: Vec<DashboardId> = some.iter().map(|id| (*id).clone()).collect();
            let are_there = self.are_there(&some).await?;
            let back: Vec<_> = some.iter().zip(are_there).filter(|(_, is)| *is).map(|(id, _)| id).collect();
            if !back.is_empty() {
                let add = back.iter().fold(Command::new("ZADD").key(&names), |add, id| add.arg(0).arg(id.as_str()));
                self.run(DOING, add).await?;
            }
        }
        Ok(())
    }

    async fn remove_one(&self, dashboard: &DashboardId) -> Result<(), StoreError> {
        const DOING: &str = "remove a dashboard";
        // Off the list first: what is then written to it anew finds no trace of having been listed.
        self.run(DOING, Command::new("ZREM").key(&self.names()).arg(dashboard.as_str())).await?;
        let keys = self.keys(dashboard);
        let remove = Command::script(&REMOVE, &[&keys.log, &keys.state, &keys.aside, &keys.refused, &keys.past]);
        self.run(DOING, remove.arg(TOMBSTONE.as_millis() as u64)).await.map(drop)
    }

    async fn read_lives(&self, dashboard: &DashboardId) -> Result<Lives, StoreError> {
        let read = Command::new("HGET").key(&self.keys(dashboard).lives).arg("record").expecting(LOAD_BYTES);
        match self.run("read what is deleted", read).await? {
            Value::BulkString(record) => decode_lives(&record).map_err(RecordError::into_store_error),
            _ => Ok(Lives::default()),
        }
    }

    async fn change_one_life(&self, dashboard: &DashboardId, change: LifeChange) -> Result<(), StoreError> {
        const DOING: &str = "change what is deleted";
        let LifeChange { next, moving } = change;
        // Known as a name of which something is deleted before that is so: nothing in the trash is ever forgotten.
        self.run(DOING, Command::new("ZADD").key(&self.names_with_lives()).arg(0).arg(dashboard.as_str())).await?;
        let (moves, life) = match moving {
            Moving::Nothing => ("", next.current),
            Moving::Aside(life) => ("aside", life),
            Moving::Back(life) => ("back", life),
        };
        let (keys, trash) = (self.keys(dashboard), self.keys(&dashboard.trashed(life)));
        let change = Command::script(
            &LIFE,
            &[
                &keys.log,
                &keys.state,
                &keys.lives,
                &trash.log,
                &trash.state,
                &trash.aside,
                &trash.refused,
                &trash.past,
                &keys.aside,
                &keys.refused,
                &keys.past,
            ],
        );
        let change = change
            .replicated_to(self.config.wait_replicas)
            .arg(next.version - 1)
            .arg(encode_lives(&next))
            .arg(next.current.0)
            .arg(u8::from(next.gone.is_some()))
            .arg(moves)
            .arg(TOMBSTONE.as_millis() as u64);
        let changed = self.appends.run(change).await.map_err(|error| failed(DOING, error))?;
        if changed != Value::Int(1) {
            return Err(StoreError::LifeChanged);
        }
        match moving {
            Moving::Nothing => Ok(()),
            Moving::Aside(_) => {
                // Whoever lists it first takes it out.
                let _ = self.run(DOING, Command::new("ZREM").key(&self.names()).arg(dashboard.as_str())).await;
                Ok(())
            }
            Moving::Back(_) => {
                let add = Command::new("ZADD").key(&self.names()).arg(0).arg(dashboard.as_str());
                self.run(DOING, add).await.map(drop)
            }
        }
    }

    async fn list_deleted(
        &self,
        prefix: &str,
        after: Option<&DashboardId>,
        limit: usize,
    ) -> Result<Vec<DashboardId>, StoreError> {
        const DOING: &str = "list what is deleted";
        let after = after.map(DashboardId::as_str);
        let mut names = Names::new(&self.redis, self.names_with_lives(), prefix, after);
        let page = names.next_page(limit).await.map_err(|error| failed(DOING, error))?;
        Ok(page.unwrap_or_default().iter().filter_map(|name| DashboardId::stored(name).ok()).collect())
    }

    async fn set_one_aside(&self, dashboard: &DashboardId, refused: SetAside) -> Result<(), StoreError> {
        let record = encode_refused(&refused);
        let keys = self.keys(dashboard);
        let record = if record.len() > SetAside::BYTES_MAX { &[] } else { record.as_slice() };
        let keep = Command::script(&REFUSED, &[&keys.log, &keys.state, &keys.refused, &keys.lives])
            .arg(self.ttl(dashboard))
            .arg(record)
            .arg(SetAside::ENTRIES_MAX)
            .arg(SetAside::BYTES_MAX);
        self.run("keep what was refused", keep).await.map(drop)
    }

    async fn read_refused(&self, dashboard: &DashboardId) -> Result<Refused, StoreError> {
        const DOING: &str = "read what was refused";
        let key = self.keys(dashboard).refused;
        let read = Command::new("HMGET").key(&key).arg("first").arg("last").arg("dropped");
        let bounds = Answer::of(self.run(DOING, read).await?, "HMGET")?;
        if matches!(bounds.part(0)?, Value::Nil) {
            return Ok(Refused::default());
        }
        let (first, last) = (bounds.number(0)?, bounds.number(1)?);
        let dropped = if matches!(bounds.part(2)?, Value::Nil) { 0 } else { bounds.number(2)? };
        let mut refused = Refused { kept: Vec::new(), dropped };
        if first > last {
            return Ok(refused);
        }
        let read = (first..=last).fold(Command::new("HMGET").key(&key), Command::arg);
        let records = Answer::of(self.run(DOING, read.expecting(SetAside::BYTES_MAX)).await?, "HMGET")?;
        for record in records.parts() {
            // What was dropped meanwhile is nil.
            let Value::BulkString(record) = record else { continue };
            match decode_refused(record) {
                Ok(one) => refused.kept.push(one),
                Err(RecordError::Damaged(_)) => {}
                Err(later) => return Err(later.into_store_error()),
            }
        }
        Ok(refused)
    }

    async fn check_all(&self) -> Result<CheckReport, StoreError> {
        const DOING: &str = "check the store";
        let mut report = CheckReport::default();
        let url = self.redis.url();
        // Read off the keys, because the list may lack what it should have.
        let mut found: BTreeMap<DashboardId, Vec<DamagedRecord>> = BTreeMap::new();
        let pattern = format!("{}:{{*}}:*", url.prefix());
        let keys = self.redis.keys(&pattern).await.map_err(|error| failed(DOING, error))?;
        for key in keys {
            if let Some(dashboard) = ["log", "state"].iter().find_map(|what| self.dashboard_of_key(&key, what)) {
                found.entry(dashboard).or_default();
            } else if let Some(dashboard) = self.dashboard_of_key(&key, "aside") {
                let len = self.run(DOING, Command::new("HLEN").key(&self.keys(&dashboard).aside)).await?;
                report.set_aside += if let Value::Int(len) = len { u64::try_from(len).unwrap_or(0) } else { 0 };
            } else if let Some(dashboard) = self.dashboard_of_key(&key, "past") {
                found.entry(dashboard).or_default();
            } else if let Some(dashboard) = self.dashboard_of_key(&key, "refused") {
                let kept = self.read_refused(&dashboard).await?.kept.len() as u64;
                report.refused.insert(dashboard.to_string(), kept);
            } else if !url.is_node_key(&key) && url.dashboard_of_key(&key, "lives").is_none() {
                let why = "not a dashboard's key".to_owned();
                let dashboard = String::from_utf8_lossy(&key).into_owned();
                report.report(DamagedRecord { dashboard, position: None, why });
            }
        }
        let dashboards: Vec<DashboardId> = found.into_keys().collect();
        let mut there = Vec::new();
        for some in dashboards.chunks(NAMES) {
            let are_there = self.are_there(some).await?;
            there.extend(some.iter().zip(are_there).filter(|(_, is)| *is).map(|(id, _)| id));
        }
        for dashboard in &there {
            self.check_one(dashboard, &mut report).await?;
        }
        let listed: Vec<&DashboardId> = there.into_iter().filter(|id| id.of_trash().is_none()).collect();
        let added = self.repair_list(&listed).await?;
        if added > 0 {
            report.remarks.push(format!("{added} dashboards were missing from the list of names, and are in it again"));
        }
        report.remarks.extend(self.look_at_servers().await);
        Ok(report)
    }

    async fn check_one(&self, dashboard: &DashboardId, report: &mut CheckReport) -> Result<(), StoreError> {
        report.dashboards += 1;
        let damaged = |position, why: String| DamagedRecord { dashboard: dashboard.to_string(), position, why };
        let keys = self.keys(dashboard);
        let snapshot = self.load_raw(dashboard, &keys, "").await?;
        if !snapshot.is_whole()? {
            report.report(damaged(None, "its state is missing: evicted, or removed by hand".to_owned()));
        }
        if let Some(record) = snapshot.snapshot()? {
            report.bytes += record.len() as u64;
            match decode_snapshot(record) {
                Ok(_) => report.snapshots += 1,
                Err(error) => report.report(damaged(None, error.to_string())),
            }
        }
        let history = self.read_history(dashboard).await?;
        if history.is_founded && self.read_base(dashboard).await?.is_damaged {
            let why = "base of the log is missing or cannot be read: its history begins anew";
            report.report(damaged(None, why.to_owned()));
        }
        for segment in &history.segments {
            let record = self.record(&keys.past, &format!("s{}", segment.key())).await?.unwrap_or_default();
            report.bytes += record.len() as u64;
            match verify_segment(&record) {
                Ok(()) => report.segments += 1,
                Err(error) => report.report(damaged(Some(segment.from), format!("sealed segment: {error}"))),
            }
        }
        for (id, record) in self.version_records(&keys).await? {
            let state = self.read_version(dashboard, id).await?.unwrap_or_default();
            report.bytes += (record.len() + state.len()) as u64;
            match decode_version(&record).and_then(|_| decode_snapshot(&state)) {
                Ok(_) => report.versions += 1,
                Err(error) => report.report(damaged(None, format!("version {id}: {error}"))),
            }
        }
        let mut after = LogPosition::START;
        loop {
            let page = self.page(&keys.log, after, PAGE_ENTRIES).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (position, record) in &page {
                report.bytes += record.len() as u64;
                match decode_entry(record) {
                    Ok(_) => report.entries += 1,
                    Err(error) => report.report(damaged(Some(*position), error.to_string())),
                }
            }
        }
    }

    /// Lists what is there and not listed, and says how much that was. What is listed and not there, a list takes out by itself.
    async fn repair_list(&self, there: &[&DashboardId]) -> Result<i64, StoreError> {
        let mut added = 0;
        for some in there.chunks(NAMES) {
            let add = some.iter().fold(Command::new("ZADD").key(&self.names()), |add, id| add.arg(0).arg(id.as_str()));
            if let Value::Int(n) = self.run("repair the list of dashboards", add).await? {
                added += n;
            }
        }
        Ok(added)
    }

    /// Settings under which Redis loses what it was given, as far as it tells.
    async fn look_at_servers(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let Ok(told) = self.redis.run_everywhere(Command::new("INFO")).await else { return remarks };
        for info in told {
            let Ok(info) = text(&info) else { continue };
            let field =
                |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
            let port = field("tcp_port").unwrap_or_default();
            if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
                remarks.push(format!(
                    "Redis on port {port} has maxmemory-policy {policy} and may evict dashboards when memory is short: set noeviction"
                ));
            }
            if field("aof_enabled") == Some("0") {
                remarks.push(format!(
                    "Redis on port {port} keeps no append-only file, so a crash loses edits that were called saved: set appendonly yes"
                ));
            }
        }
        remarks
    }
}

impl Store for RedisStore {
    fn load<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(self.load_one(dashboard))
    }

    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(self.append_all(batch))
    }

    fn snapshot<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        covers: LogPosition,
        state: Bytes,
    ) -> BoxFuture<'a, Result<SnapshotOutcome, StoreError>> {
        Box::pin(self.keep_snapshot(dashboard, covers, state))
    }

    fn history<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<History, StoreError>> {
        Box::pin(self.read_history(dashboard))
    }

    fn base<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Base, StoreError>> {
        Box::pin(self.read_base(dashboard))
    }

    fn seal<'a>(&'a self, dashboard: &'a DashboardId, seal: Seal) -> BoxFuture<'a, Result<SealOutcome, StoreError>> {
        Box::pin(self.seal_one(dashboard, seal))
    }

    fn trim<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.trim_one(dashboard))
    }

    fn segment<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        from: LogPosition,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(self.read_segment(dashboard, from))
    }

    fn drop_segments<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        to: LogPosition,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.forget_segments(dashboard, to))
    }

    fn versions<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Vec<VersionInfo>, StoreError>> {
        Box::pin(self.list_versions(dashboard))
    }

    fn version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(self.read_version(dashboard, id))
    }

    fn keep_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        life: Life,
        version: KeptVersion,
    ) -> BoxFuture<'a, Result<VersionOutcome, StoreError>> {
        Box::pin(self.keep_one_version(dashboard, life, version))
    }

    fn describe_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        before: VersionInfo,
        after: VersionInfo,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { self.describe_one_version(dashboard, &before, &after).await })
    }

    fn remove_version<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        id: VersionId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.remove_one_version(dashboard, id))
    }

    fn log<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        after: LogPosition,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(LogPosition, LogEntry)>, StoreError>> {
        Box::pin(self.read_log(dashboard, after, limit))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        Box::pin(self.list_some(prefix, after, limit))
    }

    fn remove<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.remove_one(dashboard))
    }

    fn lives<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Lives, StoreError>> {
        Box::pin(self.read_lives(dashboard))
    }

    fn change_life<'a>(
        &'a self,
        dashboard: &'a DashboardId,
        change: LifeChange,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.change_one_life(dashboard, change))
    }

    fn deleted<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a DashboardId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DashboardId>, StoreError>> {
        Box::pin(self.list_deleted(prefix, after, limit))
    }

    fn set_aside<'a>(&'a self, dashboard: &'a DashboardId, refused: SetAside) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.set_one_aside(dashboard, refused))
    }

    fn refused<'a>(&'a self, dashboard: &'a DashboardId) -> BoxFuture<'a, Result<Refused, StoreError>> {
        Box::pin(self.read_refused(dashboard))
    }

    fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(RedisCatalog::new(self.redis.clone(), self.appends.clone(), self.config.wait_replicas))
    }

    /// Also lists what the list lacks.
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, StoreError>> {
        Box::pin(self.check_all())
    }

    /// A new connection may lead to a server that was restarted, or to another one.
    fn ping(&self) -> BoxFuture<'_, Result<StoreLife, StoreError>> {
        Box::pin(async move {
            let pong = self.redis.run_everywhere(Command::new("PING")).await;
            pong.map_err(|error| failed("reach Redis", error))?;
            if !self.is_looked_at.swap(true, Ordering::Relaxed) {
                for remark in self.look_at_servers().await {
                    warn!("{remark}");
                }
            }
            Ok(StoreLife(self.redis.connections_made()))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.redis.close().await;
            self.appends.close().await;
            Ok(())
        })
    }
}

const APPENDING: &str = "append to the log";

/// What an append script answered.
enum Wrote {
    Done { appended: Appended, listed_at: u64 },
    Lost { end: LogPosition },
    Gone,
}

impl Wrote {
    fn read(value: &Value) -> Result<Wrote, StoreError> {
        let answer = Answer::of(value.clone(), "an append")?;
        match answer.word()? {
            "ok" => Ok(Wrote::Done {
                appended: Appended { position: answer.position(1)?, before: answer.position(2)? },
                listed_at: answer.number(3)?,
            }),
            "lost" => Ok(Wrote::Lost { end: answer.position(1)? }),
            "gone" => Ok(Wrote::Gone),
            _ => Err(missing("an append")),
        }
    }
}

/// What a load has found.
enum Loaded {
    Stored(Stored),
    /// The log after it is not all that is left: it has to be read from its start.
    DamagedSnapshot {
        covers: String,
        record: Vec<u8>,
    },
}

impl Loaded {
    fn decode(answer: &Answer) -> Result<Loaded, StoreError> {
        let mut stored = Stored::default();
        if let Some(record) = answer.snapshot()? {
            match decode_snapshot(record) {
                Ok((covers, state)) => {
                    stored.position = covers;
                    stored.snapshot = Some((covers, state));
                }
                Err(RecordError::Damaged(_)) => {
                    let covers = text(answer.part(1)?)?.to_owned();
                    return Ok(Loaded::DamagedSnapshot { covers, record: record.to_vec() });
                }
                Err(later) => return Err(later.into_store_error()),
            }
        }
        stored.damaged += u32::from(!answer.is_whole()?);
        for (position, record) in entries_from(answer.parts().get(4..).unwrap_or_default())? {
            stored.position = position;
            match decode_entry_update(&record) {
                Ok(update) => stored.tail.push(update),
                Err(RecordError::Damaged(_)) => stored.damaged += 1,
                Err(later) => return Err(later.into_store_error()),
            }
        }
        Ok(Loaded::Stored(stored))
    }
}

impl Answer {
    /// Of a load: whether the hash is there, if there is anything.
    fn is_whole(&self) -> Result<bool, StoreError> {
        Ok(self.number(3)? == 1 || self.parts().len() == 4)
    }

    /// Of a load: the snapshot.
    fn snapshot(&self) -> Result<Option<&[u8]>, StoreError> {
        match (self.part(1)?, self.part(2)?) {
            (Value::BulkString(covers), _) if covers.is_empty() => Ok(None),
            (_, Value::BulkString(record)) => Ok(Some(record)),
            _ => Err(missing("a load")),
        }
    }
}

fn failed(doing: &'static str, error: RedisError) -> StoreError {
    match error {
        RedisError::Closed => StoreError::Closed,
        error => StoreError::unavailable(doing, error),
    }
}

/// Runs `work` where it may take its time, if it is about much.
async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    if bytes <= ASIDE_BYTES {
        return Ok(work());
    }
    let working = tokio::task::spawn_blocking(work).await;
    working.map_err(|panicked| StoreError::unavailable("encode or decode records", panicked))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
