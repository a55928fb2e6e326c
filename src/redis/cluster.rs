//! The way to the servers of a Cluster: which one owns which slot, and one [`Link`] to each.
//!
//! A batch is split by owner, and each owner gets its part as one pipeline. Whoever answers that a slot has moved is believed for
//! that command, which goes there once; then, as after any failure, the map is asked for anew before the next batch. So a
//! failover is found within one failed batch, and a server that hangs holds up nobody's slots but its own.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ::redis::Value;
use ::redis::aio::MultiplexedConnection;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::channels::Ear;
use super::command::{Command, RedisError, answer};
use super::link::{Access, Link, Target, code};
use super::url::Address;

const SLOTS: usize = 16384;
/// The least time between two looks at the map.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
const NOBODY: u16 = u16::MAX;

pub(super) struct Cluster {
    seeds: Vec<Address>,
    access: Access,
    made: Arc<AtomicU64>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
    map: Mutex<Arc<SlotMap>>,
    is_stale: AtomicBool,
    /// When the map was asked for last; held while it is.
    looked_at: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct SlotMap {
    pub(super) owners: Vec<Address>,
    /// Which of them, by slot; empty before the first look.
    by_slot: Vec<u16>,
}

/// Where a command goes.
enum Route {
    To(Address),
    /// To whoever is about to get the slot.
    Asking(Address),
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, access: Access, made: Arc<AtomicU64>) -> Cluster {
        Cluster {
            seeds,
            access,
            made,
            links: Mutex::default(),
            map: Mutex::default(),
            is_stale: AtomicBool::new(true),
            looked_at: tokio::sync::Mutex::default(),
        }
    }

    /// Sends each command to the owner of its slot; one without a key to any server.
    pub(super) async fn run_all(&self, commands: &[Command]) -> Vec<Result<Value, RedisError>> {
        let map = match self.map().await {
            Ok(map) => map,
            Err(error) => return vec![Err(error); commands.len()],
        };
        let mut answers: Vec<Option<Result<Value, RedisError>>> = vec![None; commands.len()];
        let mut by_owner: HashMap<&Address, Vec<usize>> = HashMap::new();
        for (n, command) in commands.iter().enumerate() {
            match map.owner(command.slot) {
                Some(owner) => by_owner.entry(owner).or_default().push(n),
                None => {
                    self.is_stale.store(true, Ordering::Relaxed);
                    let detail = "nobody serves this slot".into();
                    answers[n] = Some(Err(RedisError::Refused { code: "CLUSTERDOWN".into(), detail }));
                }
            }
        }
        let parts = by_owner.into_iter().map(async |(owner, part)| {
            let link = self.link(owner);
            let those: Vec<&Command> = part.iter().map(|&n| &commands[n]).collect();
            let answered = link.run(&those).await;
            (owner, part, answered)
        });
        let mut elsewhere = Vec::new();
        for (owner, part, answered) in join_all(parts).await {
            match answered {
                Ok(values) => {
                    for (n, value) in part.into_iter().zip(values) {
                        match redirect(&value, owner) {
                            Some(route) => elsewhere.push((n, route)),
                            None => answers[n] = Some(self.answered(value)),
                        }
                    }
                }
                Err(error) => {
                    self.is_stale.store(true, Ordering::Relaxed);
                    part.into_iter().for_each(|n| answers[n] = Some(Err(error.clone())));
                }
            }
        }
        if !elsewhere.is_empty() {
            let moved =
                elsewhere.into_iter().map(async |(n, route)| (n, self.run_redirected(&commands[n], route).await));
            for (n, answer) in join_all(moved).await {
                answers[n] = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.expect("every command went somewhere")).collect()
    }

    /// Sends a command to every master.
    pub(super) async fn run_everywhere(&self, command: &Command) -> Result<Vec<Value>, RedisError> {
        let map = self.map().await?;
        let each = map.owners.iter().map(async |owner| self.link(owner).run(&[command]).await);
        let mut values = Vec::with_capacity(map.owners.len());
        for answered in join_all(each).await {
            let value = answered.inspect_err(|_| self.is_stale.store(true, Ordering::Relaxed))?;
            values.push(answer(value.into_iter().next().unwrap_or(Value::Nil))?);
        }
        Ok(values)
    }

    /// The way to each master.
    pub(super) async fn owners(&self) -> Result<Vec<Arc<Link>>, RedisError> {
        Ok(self.map().await?.owners.iter().map(|owner| self.link(owner)).collect())
    }

    /// Who owns which slot, asked for anew.
    pub(super) async fn look_again(&self) -> Result<Arc<SlotMap>, RedisError> {
        self.is_stale.store(true, Ordering::Relaxed);
        self.map().await
    }

    /// A connection of one's own to a server.
    pub(super) async fn connect_apart(&self, address: &Address, ear: Ear) -> Result<MultiplexedConnection, RedisError> {
        self.link(address).connect_apart(ear).await
    }

    pub(super) async fn close(&self) {
        let links: Vec<_> = self.links().values().cloned().collect();
        for link in links {
            link.close().await;
        }
    }

    async fn run_redirected(&self, command: &Command, route: Route) -> Result<Value, RedisError> {
        let asking = Command::new("ASKING");
        let (owner, commands) = match &route {
            Route::To(owner) => {
                self.is_stale.store(true, Ordering::Relaxed);
                (owner, vec![command])
            }
            Route::Asking(owner) => (owner, vec![&asking, command]),
        };
        let values = self.link(owner).run(&commands).await?;
        self.answered(values.into_iter().next_back().unwrap_or(Value::Nil))
    }

    fn answered(&self, value: Value) -> Result<Value, RedisError> {
        if matches!(code(&value), Some("READONLY" | "MOVED" | "CLUSTERDOWN")) {
            self.is_stale.store(true, Ordering::Relaxed);
        }
        answer(value)
    }

    /// The map; asked for anew if something went wrong with it. While somebody else asks, the old one does.
    async fn map(&self) -> Result<Arc<SlotMap>, RedisError> {
        let known = Arc::clone(&self.lock_map());
        let is_known = !known.by_slot.is_empty();
        if is_known && !self.is_stale.load(Ordering::Relaxed) {
            return Ok(known);
        }
        let mut looked_at = if is_known {
            match self.looked_at.try_lock() {
                Ok(looked_at) => looked_at,
                Err(_) => return Ok(known),
            }
        } else {
            self.looked_at.lock().await
        };
        let known = Arc::clone(&self.lock_map());
        let is_known = !known.by_slot.is_empty();
        let is_fresh = looked_at.is_some_and(|at| at.elapsed() < LOOK_PAUSE);
        if is_known && (is_fresh || !self.is_stale.load(Ordering::Relaxed)) {
            return Ok(known);
        }
        self.is_stale.store(false, Ordering::Relaxed);
        let looked = self.look(&known).await;
        *looked_at = Some(Instant::now());
        match looked {
            Ok(map) => {
                let map = Arc::new(map);
                *self.lock_map() = Arc::clone(&map);
                self.links().retain(|address, _| map.owners.contains(address) || self.seeds.contains(address));
                Ok(map)
            }
            Err(error) => {
                self.is_stale.store(true, Ordering::Relaxed);
                if is_known { Ok(known) } else { Err(error) }
            }
        }
    }

    /// Asks everybody for the map and takes the first answer that tells of all slots, or the one that tells of most.
    async fn look(&self, known: &SlotMap) -> Result<SlotMap, RedisError> {
        let question = Command::new("CLUSTER").arg("SLOTS");
        let mut asked: Vec<&Address> = known.owners.iter().collect();
        asked.extend(self.seeds.iter().filter(|seed| !known.owners.contains(seed)));
        let mut told: FuturesUnordered<_> = asked
            .into_iter()
            .map(async |address| {
                let value = self.link(address).run(&[&question]).await?.into_iter().next().unwrap_or(Value::Nil);
                SlotMap::read(&answer(value)?, address).ok_or(RedisError::Unexpected("CLUSTER SLOTS"))
            })
            .collect();
        let mut best: Result<SlotMap, RedisError> = Err(RedisError::Unconnected("no servers".into()));
        while let Some(map) = told.next().await {
            match (map, &best) {
                (Ok(map), _) if map.served() == SLOTS => return Ok(map),
                (Ok(map), Ok(other)) if map.served() <= other.served() => {}
                (Err(_), Ok(_)) => {}
                (map, _) => best = map,
            }
        }
        best
    }

    fn link(&self, address: &Address) -> Arc<Link> {
        let mut links = self.links();
        let link = links.entry(address.clone()).or_insert_with(|| {
            Arc::new(Link::new(Target::Server(address.clone()), self.access.clone(), Arc::clone(&self.made)))
        });
        Arc::clone(link)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Address, Arc<Link>>> {
        self.links.lock().expect("nothing panics while it holds the links")
    }

    fn lock_map(&self) -> MutexGuard<'_, Arc<SlotMap>> {
        self.map.lock().expect("nothing panics while it holds the map")
    }
}

impl SlotMap {
    /// Reads what `CLUSTER SLOTS` answers: first slot, last slot, master, replicas. `None` if it is something else.
    fn read(value: &Value, told_by: &Address) -> Option<SlotMap> {
        let Value::Array(ranges) = value else { return None };
        let mut map = SlotMap { owners: Vec::new(), by_slot: vec![NOBODY; SLOTS] };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_slice() else { return None };
            let [host, Value::Int(port), ..] = master.as_slice() else { return None };
            let host = match host {
                Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
                _ => String::new(),
            };
            // "?" is a server that does not know its own name yet; no name means: the one where you are.
            if host == "?" {
                continue;
            }
            let host = if host.is_empty() { told_by.host.clone() } else { host };
            let address = Address { host, port: u16::try_from(*port).ok()? };
            let at = map.owners.iter().position(|owner| *owner == address).unwrap_or_else(|| {
                map.owners.push(address);
                map.owners.len() - 1
            });
            let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
            map.by_slot.get_mut(slots)?.fill(u16::try_from(at).ok()?);
        }
        Some(map)
    }

    pub(super) fn owner(&self, slot: Option<u16>) -> Option<&Address> {
        match slot {
            Some(slot) => self.owners.get(usize::from(*self.by_slot.get(usize::from(slot))?)),
            None => self.owners.first(),
        }
    }

    fn served(&self) -> usize {
        self.by_slot.iter().filter(|owner| **owner != NOBODY).count()
    }
}

/// Where else a command is to go: `MOVED 3999 127.0.0.1:6381`, `ASK …`. Without a host it is the one that answered.
fn redirect(value: &Value, answered_by: &Address) -> Option<Route> {
    let Value::ServerError(error) = value else { return None };
    let place = || {
        // IPv6 comes without brackets.
        let (host, port) = error.details()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
        let host = if host.is_empty() { &answered_by.host } else { host };
        Some(Address { host: host.to_owned(), port: port.parse().ok()? })
    };
    match error.code() {
        "MOVED" => place().map(Route::To),
        "ASK" => place().map(Route::Asking),
        _ => None,
    }
}

/// The slot of a key: CRC-16 (XMODEM) of its hash tag, the part between its first `{` and the next `}` unless that is empty.
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let len = key[open + 1..].iter().position(|byte| *byte == b'}')?;
        (len > 0).then(|| &key[open + 1..open + 1 + len])
    });
    let crc = tag.unwrap_or(key).iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ (0x1021 * (crc >> 15)))
    });
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/: CRC16("123456789") = 31C3.
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), slot_of(b"foo{}{bar}"));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b""), 0);
    }

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn host(name: &str) -> Value {
        Value::BulkString(name.as_bytes().to_vec())
    }

    #[test]
    fn maps_are_read_with_and_without_names() {
        let told_by = Address { host: "seed".into(), port: 1 };
        let range = |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
        let told = Value::Array(vec![
            range(0, 99, server(host("a"), 7000)),
            range(100, 199, server(host(""), 7001)),
            range(200, 299, server(Value::Nil, 7001)),
            range(300, 399, server(host("?"), 7002)),
            range(16383, 16383, server(host("a"), 7000)),
        ]);
        let map = SlotMap::read(&told, &told_by).unwrap();
        let owner = |slot| map.owner(Some(slot)).map(ToString::to_string);
        assert_eq!(owner(99).as_deref(), Some("a:7000"));
        assert_eq!((owner(100).as_deref(), owner(250).as_deref()), (Some("seed:7001"), Some("seed:7001")));
        assert_eq!((owner(300), owner(400)), (None, None));
        assert_eq!(owner(16383).as_deref(), Some("a:7000"));
        assert_eq!((map.served(), map.owners.len()), (301, 2));
        for garbage in [Value::Nil, Value::Array(vec![Value::Nil]), Value::Array(vec![range(0, 99999, Value::Nil)])] {
            assert_eq!(SlotMap::read(&garbage, &told_by), None);
        }
        let beyond = Value::Array(vec![range(0, 99999, server(host("a"), 1))]);
        assert_eq!(SlotMap::read(&beyond, &told_by), None);
    }

    #[test]
    fn redirections_name_a_server() {
        let answered_by = Address { host: "here".into(), port: 1 };
        let refused = |code: &str, detail: &str| {
            let error = ::redis::make_extension_error(code.into(), Some(detail.into()));
            Value::ServerError(::redis::ServerError::try_from(error).unwrap())
        };
        let place = |detail| match redirect(&refused("MOVED", detail), &answered_by) {
            Some(Route::To(address)) => Some(address.to_string()),
            _ => None,
        };
        assert_eq!(place("3999 127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(place("3999 ::1:6381").as_deref(), Some("[::1]:6381"));
        assert_eq!(place("3999 :6381").as_deref(), Some("here:6381"));
        assert_eq!(place("3999"), None);
        assert!(matches!(redirect(&refused("ASK", "1 a:1"), &answered_by), Some(Route::Asking(_))));
        assert!(redirect(&refused("OOM", "x"), &answered_by).is_none());
    }
}
