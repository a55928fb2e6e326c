//! The awareness table of one room: clocks on raw varints, states as the bytes they came in.
//!
//! Yjs' own rule decides what is newer (`y-protocols/awareness.js`, `applyAwarenessUpdate`); what it adds is ownership. Stock clients
//! send every entry that they receive back to the server (yjs#732), and drop users whom their own timer misses: so an entry for
//! somebody else's id is dropped in silence, and only for an id that no live session owns may anybody speak. Removal keeps
//! the clock, as the clients' own does.

use super::Owners;
use super::stamp;
use crate::id::{ClientId, MemberId, NodeId};
use crate::limits::Limits;
use crate::limits::presence::{NUDGED_CLOCKS_MAX, REMOVED_MAX, SMALL_STATE, UNOWNED_CLOCK_MAX, UNOWNED_MAX};
use crate::time::Timestamp;
use crate::wire::awareness::{Entries, Entry, NULL};
use crate::wire::encode;
use bytes::Bytes;
use core::time::Duration;
use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet};

/// When a state that no live session owns counts as gone (`outdatedTimeout` in y-protocols).
const OUTDATED_AFTER: Duration = Duration::from_secs(30);
/// How soon somebody may be made to announce itself again; a storm of reconnects costs each one announcement a second.
const NUDGE_AGAIN: Duration = Duration::from_secs(1);
/// The same for each one who is here, because everybody hears of each announcement; up to where clients announce themselves anyway.
const NUDGE_AGAIN_EACH: Duration = Duration::from_millis(5);
const NUDGE_AGAIN_MAX: Duration = Duration::from_secs(15);
/// How long one that was shown who is here waits for the answer when it asks again, for each MiB of the answer.
const SHOW_AGAIN_PER_MIB: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Known {
    clock: u32,
    state: Option<Bytes>,
    /// How many bytes at the end of the state the server wrote.
    stamp: usize,
    owner: Option<MemberId>,
    seen_at: Timestamp,
    nudged_at: Timestamp,
    renewal: Renewal,
    /// The telling ([`Presence::tellings`]) before which nothing was known of the id, and so nobody was told.
    untold: Option<u64>,
}

impl Known {
    fn new(clock: u32, state: Option<Bytes>, owner: Option<MemberId>, seen_at: Timestamp) -> Known {
        let (nudged_at, renewal) = (Timestamp(0), Renewal::NotNeeded);
        Known { clock, state, stamp: 0, owner, seen_at, nudged_at, renewal, untold: None }
    }

    /// What its client said.
    fn said(&self) -> Option<Bytes> {
        self.state.as_ref().map(|state| stamp::unstamped(state, self.stamp))
    }
}

/// Somebody who came back takes nothing at the clock that is known: its owner is to take the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    NotNeeded,
    Wanted,
    Asked,
}

/// The states of everybody in the room.
#[derive(Debug, Default)]
pub(in crate::room) struct Presence {
    known: BTreeMap<ClientId, Known>,
    dirty: BTreeSet<ClientId>,
    /// Ids whose clock alone is known, in the order of their removal.
    removed: BTreeSet<(Timestamp, ClientId)>,
    unowned: usize,
    /// Of all states together.
    bytes: usize,
    /// How often anybody was told anything.
    tellings: u64,
    /// How often anything changed.
    changes: u64,
    next_expiry: Option<Timestamp>,
    next_nudge: Option<Timestamp>,
    /// Everybody's state as one frame, until it changes.
    snapshot: Option<Bytes>,
    /// How long the last one was.
    snapshot_bytes: usize,
    /// Which node shows the entries that other nodes do.
    elsewhere: BTreeMap<ClientId, NodeId>,
    /// Entries that are dirty because of what another node said.
    heard: BTreeSet<ClientId>,
}

/// How far a session has introduced itself: its first single-entry message names its own id, unless it is an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::room) enum Introduction {
    /// It has not, and has read nothing yet: stock clients announce themselves as soon as the socket opens.
    First,
    /// It has not, but may have read what others announced. One without a state of its own still echoes theirs.
    Late,
    /// Its id is known.
    Done,
}

/// What another node's entries led to, beside those that became dirty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::room) struct HeardOf {
    /// Live sessions here that own ids which the other node says are shown there.
    pub(in crate::room) contested: Vec<MemberId>,
    /// Ids that the node does not show any more.
    pub(in crate::room) freed: Vec<ClientId>,
}

/// Who announces, and under which circumstances.
#[derive(Clone, Copy, Debug)]
pub(in crate::room) struct Announcer<'a> {
    pub(in crate::room) member: MemberId,
    /// How far it has introduced itself on this connection.
    pub(in crate::room) introduction: Introduction,
    /// The id that it announced as its own.
    pub(in crate::room) announced: Option<ClientId>,
    /// Whether the room was opened only just now.
    pub(in crate::room) is_young: bool,
    /// Whom the server has verified behind it, if states are to say so.
    pub(in crate::room) verified: Option<&'a str>,
}

/// What an announcement led to, beside the entries that became dirty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::room) struct Announced {
    /// Entries to send back to the announcer alone: it takes a higher clock and announces itself again at once.
    pub(in crate::room) nudges: Vec<(ClientId, u32)>,
    /// The announcer was here before: it dropped everybody's state when its socket closed, but not their clocks, so it takes
    /// nobody's entry until the clock has moved ([`Presence::nudge_others`]).
    pub(in crate::room) returned: bool,
    /// Entries that were dropped for a reason other than being known already.
    pub(in crate::room) dropped: u32,
    /// The id that the announcer takes for its own.
    pub(in crate::room) claimed: Option<ClientId>,
    /// A live session that took the same id for its own before.
    pub(in crate::room) contested: Option<MemberId>,
}

impl Presence {
    /// Takes one awareness message.
    ///
    /// A room that `is_young` does not know who was here before it was opened, a moment ago on this or another process; their peers do, and
    /// take nothing at a clock that they have seen. So whoever announces itself there is made to take the next clock.
    pub(in crate::room) fn announce(
        &mut self,
        now: Timestamp,
        announcer: Announcer<'_>,
        entries: Entries<'_>,
        owners: &mut Owners,
        limits: &Limits,
    ) -> Announced {
        let Announcer { member, introduction, is_young, announced, verified } = announcer;
        let mut outcome = Announced::default();
        if introduction != Introduction::Done
            && entries.len() == 1
            && let Some(entry) = entries.clone().next()
            && !entry.is_null()
            && !self.is_elsewhere(entry.client)
        {
            let is_new = || self.known.get(&entry.client).is_none_or(|known| is_newer(known, &entry));
            match (introduction, owners.speaker(entry.client)) {
                (Introduction::Late, Some(_)) => {}
                (Introduction::Late, None) if !is_new() => {}
                (_, None) => {
                    owners.speak(entry.client, member);
                    outcome.claimed = Some(entry.client);
                }
                // Another session has the same id: one that is gone and has not been missed yet, or a page that is there twice.
                (_, Some(other)) => {
                    outcome.contested = Some(other);
                    outcome.claimed = Some(entry.client);
                    outcome.returned = true;
                }
            }
        }
        let announced = announced.or(outcome.claimed);
        for entry in entries {
            let mut owner = owners.speaker(entry.client);
            if announced == Some(entry.client) && owner != Some(member) && !self.is_elsewhere(entry.client) {
                // Of several sessions with one id, the one is shown that came, or changed its state, last.
                let known = self.known.get(&entry.client);
                let Ok(state) = entry.state(limits.awareness_state_bytes_max) else { continue };
                let said = digest(&state);
                // Where the one that was shown has hidden itself or is gone, each of the others is news.
                let is_shown = known.is_some_and(|known| known.state.is_some());
                if entry.is_null() || is_shown && !owners.has_news(entry.client, member, said) {
                    continue;
                }
                let clock = known.map_or(0, |known| known.clock);
                if known.is_none_or(|known| is_newer(known, &entry)) {
                    let goes_on = owners.is_nudged(entry.client, member) && entry.clock - clock <= NUDGED_CLOCKS_MAX;
                    if entry.clock > UNOWNED_CLOCK_MAX && !goes_on {
                        outcome.dropped += 1;
                        continue;
                    }
                    let before = known.and_then(Known::said).map_or(0, |said| digest(&said));
                    owners.displace(entry.client, member, before);
                    owner = Some(member);
                } else {
                    outcome.nudges.push((entry.client, clock));
                    owners.nudged(entry.client, member, said);
                    continue;
                }
            }
            if owner.is_some_and(|owner| owner != member) || owner.is_none() && self.is_elsewhere(entry.client) {
                continue;
            }
            let is_own = owner.is_some();
            // Also with a clock that moved while it was away, or with a state that somebody else gave it.
            outcome.returned |= is_own
                && introduction != Introduction::Done
                && self.known.get(&entry.client).is_some_and(|known| known.owner.is_none());
            if !is_own && entry.clock > UNOWNED_CLOCK_MAX {
                outcome.dropped += 1;
                continue;
            }
            match self.known.get(&entry.client) {
                Some(known) if !is_newer(known, &entry) => {
                    let says_the_same = known.clock == entry.clock
                        && match known.said() {
                            Some(said) => entry.is(&said),
                            None => entry.is_null(),
                        };
                    if is_own && !entry.is_null() && !says_the_same {
                        outcome.nudges.push((entry.client, known.clock));
                    }
                    if is_own {
                        self.own(entry.client, member, now);
                    }
                }
                None if entry.is_null() => {}
                known => {
                    let is_new = known.is_none_or(|known| known.state.is_none());
                    if is_new && !entry.is_null() && !is_own && self.unowned >= UNOWNED_MAX {
                        outcome.dropped += 1;
                        continue;
                    }
                    if is_new && self.states() >= limits.awareness_entries_max {
                        outcome.dropped += 1;
                        continue;
                    }
                    let Some(state) = self.take_state(&entry, limits) else {
                        outcome.dropped += 1;
                        if !is_new {
                            // Nobody is shown as they were once: absent is true.
                            self.put_and_tell(entry.client, Known::new(entry.clock, None, owner, now));
                        }
                        continue;
                    };
                    let (state, stamp) = match verified {
                        Some(verified) if !entry.is_null() => {
                            stamp::stamped(&state, if is_own { verified } else { stamp::NOBODY })
                        }
                        _ => (state, 0),
                    };
                    let state = (!entry.is_null()).then_some(state);
                    if is_young && is_own && is_new && introduction != Introduction::Done && entry.clock > 0 {
                        outcome.nudges.push((entry.client, entry.clock));
                    }
                    let known = Known { stamp, ..Known::new(entry.clock, state, owner, now) };
                    self.put_and_tell(entry.client, known);
                }
            }
        }
        for (client, _) in &outcome.nudges {
            let Some(known) = self.known.get_mut(client) else { continue };
            // If another session of this id is to announce itself again, the nudge to this one does not reach it.
            if known.owner == Some(member) || known.renewal != Renewal::Wanted {
                known.renewal = Renewal::Asked;
            }
        }
        outcome
    }

    /// Whom to make announce itself again for the sake of `returned`: owner, client and clock. Each at most once a second; whose
    /// turn was less than that ago follows with [`Presence::nudge_again`].
    pub(in crate::room) fn nudge_others(
        &mut self,
        now: Timestamp,
        returned: MemberId,
    ) -> Vec<(MemberId, ClientId, u32)> {
        self.renew(now, Some(returned));
        self.nudge_again(now)
    }

    /// Everybody is to announce itself again: [`Presence::nudge_again`] says whom to make do so.
    pub(in crate::room) fn renew_all(&mut self, now: Timestamp) {
        self.renew(now, None);
    }

    fn renew(&mut self, now: Timestamp, except: Option<MemberId>) {
        for known in self.known.values_mut() {
            if known.state.is_some() && known.owner.is_some_and(|owner| Some(owner) != except) {
                known.renewal = Renewal::Wanted;
            }
        }
        self.next_nudge = Some(now);
    }

    /// As [`Presence::nudge_others`], for whom it left out.
    pub(in crate::room) fn nudge_again(&mut self, now: Timestamp) -> Vec<(MemberId, ClientId, u32)> {
        let mut nudges = Vec::new();
        if self.next_nudge.is_none_or(|at| now < at) {
            return nudges;
        }
        self.next_nudge = None;
        let again = (NUDGE_AGAIN_EACH * self.states() as u32).clamp(NUDGE_AGAIN, NUDGE_AGAIN_MAX);
        for (&client, known) in &mut self.known {
            let Some(owner) = known.owner.filter(|_| known.renewal == Renewal::Wanted) else { continue };
            if now.since(known.nudged_at) >= again {
                known.nudged_at = now;
                known.renewal = Renewal::Asked;
                nudges.push((owner, client, known.clock));
            } else {
                let at = known.nudged_at + again;
                self.next_nudge = Some(self.next_nudge.map_or(at, |earlier| at.min(earlier)));
            }
        }
        nudges
    }

    /// The clock of `client` if nobody is shown under it any more.
    pub(in crate::room) fn hidden_at(&self, client: ClientId) -> Option<u32> {
        self.known.get(&client).filter(|known| known.state.is_none()).map(|known| known.clock)
    }

    /// Which of `clients` were made to announce themselves again and did not: the nudge may have been lost on its way.
    pub(in crate::room) fn unanswered(&self, clients: &[ClientId]) -> Vec<(ClientId, u32)> {
        let known = clients.iter().filter_map(|client| self.known.get(client).map(|known| (*client, known)));
        known
            .filter(|(_, known)| known.renewal == Renewal::Asked)
            .map(|(client, known)| (client, known.clock))
            .collect()
    }

    /// When [`Presence::nudge_again`] has something to do.
    pub(in crate::room) fn next_nudge(&self) -> Option<Timestamp> {
        self.next_nudge
    }

    /// Removes what `member` owned, at the same clock.
    pub(in crate::room) fn leave(&mut self, member: MemberId, clients: &[ClientId], now: Timestamp) {
        for &client in clients {
            if let Some(known) = self.known.get(&client)
                && known.owner == Some(member)
            {
                let gone = Known::new(known.clock, None, None, now);
                match known.state {
                    Some(_) => self.put_and_tell(client, gone),
                    None => _ = self.put(client, gone),
                }
            }
        }
    }

    /// Removes the states that nobody owns and nobody renewed.
    pub(in crate::room) fn expire(&mut self, now: Timestamp) {
        if self.next_expiry.is_none_or(|at| now < at) {
            return;
        }
        let outdated: Vec<(ClientId, u32)> = self
            .known
            .iter()
            .filter(|(_, known)| {
                known.owner.is_none() && known.state.is_some() && now.since(known.seen_at) >= OUTDATED_AFTER
            })
            .filter(|(client, _)| !self.elsewhere.contains_key(client))
            .map(|(&client, known)| (client, known.clock))
            .collect();
        for (client, clock) in outdated {
            self.put_and_tell(client, Known::new(clock, None, None, now));
        }
        self.next_expiry = (self.unowned > 0).then(|| now + OUTDATED_AFTER / 2);
    }

    /// When [`Presence::expire`] may have something to do.
    pub(in crate::room) fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Whether something waits to be told.
    pub(in crate::room) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whose entries changed since [`Presence::take_dirty`] was called last.
    pub(in crate::room) fn changed(&self) -> impl Iterator<Item = ClientId> {
        self.dirty.iter().copied()
    }

    /// What changed but for one client's entry, if anything.
    pub(in crate::room) fn changed_but(&self, client: ClientId) -> Option<Bytes> {
        let entries = self.dirty.iter().filter(|other| **other != client);
        let entries = entries.filter_map(|client| self.known.get(client).map(|known| as_wire((*client, known))));
        entries.clone().next()?;
        Some(encode::awareness(entries))
    }

    /// What changed since the last call, as one frame with each client's newest entry, and whose it is when it is one only.
    pub(in crate::room) fn take_dirty(&mut self) -> Option<(Bytes, Option<MemberId>)> {
        let dirty = core::mem::take(&mut self.dirty);
        self.heard.clear();
        let author = match dirty.len() {
            0 => return None,
            1 => dirty.first().and_then(|client| self.known.get(client)).and_then(|known| known.owner),
            _ => None,
        };
        let known = &self.known;
        let entries = dirty.iter().filter_map(|client| known.get(client).map(|known| (*client, known)));
        let frame = encode::awareness(entries.map(as_wire));
        self.tellings += 1;
        self.forget_oldest();
        Some((frame, author))
    }

    /// Everybody's state as one frame, for one who joins.
    pub(in crate::room) fn snapshot(&mut self) -> Bytes {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        self.tellings += 1;
        let shown = self.known.iter().filter(|(_, known)| known.state.is_some());
        let snapshot = encode::awareness(shown.map(|(&client, known)| as_wire((client, known))));
        self.snapshot_bytes = snapshot.len();
        self.snapshot = Some(snapshot.clone());
        snapshot
    }

    /// Grows with each change.
    pub(in crate::room) fn changes(&self) -> u64 {
        self.changes
    }

    /// How long one that was shown who is here waits when it asks again: the longer, the more there is to show.
    pub(in crate::room) fn show_again_after(&self) -> Duration {
        SHOW_AGAIN_PER_MIB * (1 + (self.snapshot_bytes >> 20) as u32)
    }

    /// Everybody's state and everybody's goodbye as one frame, for one who may have missed some.
    pub(in crate::room) fn everything(&mut self) -> Bytes {
        self.tellings += 1;
        encode::awareness(self.known.iter().map(|(&client, known)| as_wire((client, known))))
    }

    /// The clock known for `client`, shown or removed.
    pub(in crate::room) fn clock(&self, client: ClientId) -> Option<u32> {
        self.known.get(&client).map(|known| known.clock)
    }

    /// How many entries other nodes show.
    pub(in crate::room) fn shown_elsewhere(&self) -> usize {
        self.elsewhere.len()
    }

    /// Whether another node shows `client`.
    pub(in crate::room) fn is_elsewhere(&self, client: ClientId) -> bool {
        !self.elsewhere.is_empty() && self.elsewhere.contains_key(&client)
    }

    /// Takes what another node says of its members; `is_all`: whoever is not in it is not there.
    pub(in crate::room) fn hear(
        &mut self,
        now: Timestamp,
        origin: NodeId,
        entries: Entries<'_>,
        is_all: bool,
        owners: &Owners,
        limits: &Limits,
    ) -> HeardOf {
        let mut outcome = HeardOf::default();
        let mut missing: BTreeSet<ClientId> = match is_all {
            true => self.elsewhere.iter().filter(|(_, node)| **node == origin).map(|(&client, _)| client).collect(),
            false => BTreeSet::new(),
        };
        for entry in entries {
            if !entry.is_null() {
                missing.remove(&entry.client);
            }
            if let Some(owner) = owners.speaker(entry.client) {
                if !entry.is_null() {
                    outcome.contested.push(owner);
                }
                continue;
            }
            let shown_by = self.elsewhere.get(&entry.client);
            let known = self.known.get(&entry.client);
            if shown_by.is_some_and(|node| *node != origin) || known.is_some_and(|known| !is_newer(known, &entry)) {
                continue;
            }
            if entry.is_null() {
                if shown_by.is_some() {
                    self.hide(entry.client, entry.clock, now);
                    outcome.freed.push(entry.client);
                }
                continue;
            }
            let is_new = known.is_none_or(|known| known.state.is_none());
            let was_unowned = !is_new && shown_by.is_none();
            if is_new && self.states() >= limits.awareness_entries_max {
                continue;
            }
            let Some(state) = self.take_state(&entry, limits) else {
                if !is_new && shown_by.is_some() {
                    self.hide(entry.client, entry.clock, now);
                    outcome.freed.push(entry.client);
                }
                continue;
            };
            self.unowned -= usize::from(was_unowned);
            self.elsewhere.insert(entry.client, origin);
            self.put_and_tell(entry.client, Known::new(entry.clock, Some(state), None, now));
            self.heard.insert(entry.client);
        }
        outcome.freed.extend(missing.iter().copied());
        for client in missing {
            let clock = self.clock(client).unwrap_or(0);
            self.hide(client, clock, now);
        }
        outcome
    }

    /// Removes what `origin` showed, at the same clocks, and says whose ids that frees.
    pub(in crate::room) fn gone(&mut self, now: Timestamp, origin: NodeId) -> Vec<ClientId> {
        let shown = self.elsewhere.iter().filter(|(_, node)| **node == origin);
        let freed: Vec<ClientId> = shown.map(|(&client, _)| client).collect();
        for &client in &freed {
            let clock = self.clock(client).unwrap_or(0);
            self.hide(client, clock, now);
        }
        freed
    }

    /// The awareness message body with the entries that became dirty on this node.
    pub(in crate::room) fn changed_here(&self) -> Option<Bytes> {
        let here = self.dirty.iter().filter(|client| !self.heard.contains(client));
        let entries = here.filter_map(|client| self.known.get(client).map(|known| as_wire((*client, known))));
        entries.clone().next()?;
        Some(encode::awareness_payload(&encode::awareness(entries)))
    }

    /// The awareness message body with everybody whom this node shows.
    pub(in crate::room) fn shown_here(&mut self) -> Bytes {
        self.tellings += 1;
        let here = self.known.iter().filter(|(client, known)| known.state.is_some() && !self.is_elsewhere(**client));
        encode::awareness_payload(&encode::awareness(here.map(|(&client, known)| as_wire((client, known)))))
    }

    fn hide(&mut self, client: ClientId, clock: u32, now: Timestamp) {
        let is_kept = self.put(client, Known::new(clock, None, None, now));
        self.elsewhere.remove(&client);
        if is_kept {
            self.dirty.insert(client);
            self.heard.insert(client);
        }
    }

    /// The state of an entry, if it is one and there is place for it. Large ones find less place than small ones, so that a few who announce
    /// much do not make everybody absent.
    fn take_state(&self, entry: &Entry<'_>, limits: &Limits) -> Option<Bytes> {
        let state = entry.state(limits.awareness_state_bytes_max).ok()?;
        let shown = self.known.get(&entry.client).and_then(|known| known.state.as_ref()).map_or(0, Bytes::len);
        let place = match state.len() {
            ..=SMALL_STATE => limits.awareness_bytes_max,
            _ => limits.awareness_bytes_max / 2,
        };
        (entry.is_null() || self.bytes - shown + state.len() <= place).then_some(state)
    }

    /// How many states are shown.
    pub(in crate::room) fn states(&self) -> usize {
        self.known.len() - self.removed.len()
    }

    /// Prepares `client`, which has just left, for another session that announced it meanwhile, last at `announced_at`: a client takes
    /// nothing at a clock before its own. Returns the clock at which it is removed.
    pub(in crate::room) fn hand_over(&mut self, client: ClientId, announced_at: u32) -> u32 {
        match self.known.get_mut(&client) {
            Some(known) => {
                if announced_at <= UNOWNED_CLOCK_MAX && announced_at > known.clock {
                    known.clock = announced_at;
                    self.changes += 1;
                    self.snapshot = None;
                    self.dirty.insert(client);
                }
                known.clock
            }
            None => announced_at,
        }
    }

    /// Bytes held, roughly.
    pub(in crate::room) fn memory(&self) -> usize {
        self.snapshot.as_ref().map_or(0, Bytes::len) + self.known.len() * 96 + self.bytes
    }

    fn own(&mut self, client: ClientId, member: MemberId, now: Timestamp) {
        if let Some(known) = self.known.get_mut(&client) {
            if known.owner.is_none() && known.state.is_some() && !self.elsewhere.contains_key(&client) {
                self.unowned -= 1;
            }
            if known.state.is_none() {
                self.removed.remove(&(known.seen_at, client));
                self.removed.insert((now, client));
            }
            known.owner = Some(member);
            known.seen_at = now;
        }
    }

    /// Takes an entry that others are to hear of.
    fn put_and_tell(&mut self, client: ClientId, known: Known) {
        if self.put(client, known) {
            self.dirty.insert(client);
        }
    }

    /// Takes an entry, at a logarithmic price. Says whether anything of the id is known now: one without an owner that came and went before
    /// anybody was told of it leaves nothing, so that what waits to be told is bounded by what is shown.
    fn put(&mut self, client: ClientId, mut known: Known) -> bool {
        self.changes += 1;
        self.snapshot = None;
        self.heard.remove(&client);
        let is_elsewhere = self.is_elsewhere(client);
        let bytes = |known: &Known| known.state.as_ref().map_or(0, Bytes::len);
        self.bytes += bytes(&known);
        let (is_gone, is_unowned, seen_at) = (known.state.is_none(), known.owner.is_none(), known.seen_at);
        match self.known.entry(client) {
            btree_map::Entry::Vacant(vacant) => {
                known.untold = Some(self.tellings);
                vacant.insert(known);
            }
            btree_map::Entry::Occupied(mut occupied) => {
                let before = occupied.get_mut();
                self.bytes -= bytes(before);
                let is_untold = before.owner.is_none() && before.untold == Some(self.tellings);
                let leaves_nothing = known.state.is_none() && is_untold;
                if before.state.is_none() {
                    self.removed.remove(&(before.seen_at, client));
                } else if before.owner.is_none() && !is_elsewhere {
                    self.unowned -= 1;
                }
                if leaves_nothing {
                    occupied.remove();
                    self.dirty.remove(&client);
                    return false;
                }
                (known.nudged_at, known.untold) = (before.nudged_at, before.untold);
                *before = known;
            }
        }
        if is_gone {
            self.removed.insert((seen_at, client));
        } else if is_unowned && !is_elsewhere {
            self.unowned += 1;
            let expiry = seen_at + OUTDATED_AFTER;
            self.next_expiry = Some(self.next_expiry.map_or(expiry, |at| at.min(expiry)));
        }
        self.forget_oldest();
        true
    }

    /// Forgets the clocks of those who were removed first, unless others are still to hear of that: then once they have.
    fn forget_oldest(&mut self) {
        while self.removed.len() > REMOVED_MAX
            && let Some(&(at, client)) = self.removed.first()
            && !self.dirty.contains(&client)
        {
            self.removed.remove(&(at, client));
            self.known.remove(&client);
        }
    }
}

/// A number that differs, in all likelihood, when the state does: FNV-1a.
fn digest(state: &[u8]) -> u64 {
    state.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// y-protocols' rule: a higher clock, or a removal at the same clock of something that is shown.
fn is_newer(known: &Known, entry: &Entry<'_>) -> bool {
    known.clock < entry.clock || (known.clock == entry.clock && entry.is_null() && known.state.is_some())
}

fn as_wire((client, known): (ClientId, &Known)) -> (ClientId, u32, &[u8]) {
    (client, known.clock, known.state.as_deref().unwrap_or(NULL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lib0::{write_var_bytes, write_var_uint};
    use crate::wire::awareness::entries;

    const NODE: NodeId = NodeId(7);

    fn body(entries: impl ExactSizeIterator<Item = (ClientId, u32, &'static str)>) -> Bytes {
        let mut out = Vec::new();
        write_var_uint(&mut out, entries.len() as u64);
        for (client, clock, state) in entries {
            write_var_uint(&mut out, client);
            write_var_uint(&mut out, u64::from(clock));
            write_var_bytes(&mut out, state.as_bytes());
        }
        out.into()
    }

    /// Each of so many ids comes, and goes right after it.
    fn pairs(from: ClientId, ids: usize) -> Bytes {
        let pair = |at: usize| match at % 2 {
            0 => (from + at as ClientId / 2, 1, "1"),
            _ => (from + at as ClientId / 2, 2, "null"),
        };
        body((0..2 * ids).map(pair))
    }

    fn announce(presence: &mut Presence, now: Timestamp, body: &Bytes) -> Announced {
        let announcer = Announcer {
            member: MemberId(1),
            introduction: Introduction::Late,
            is_young: false,
            announced: None,
            verified: None,
        };
        let entries = entries(body).expect("well-formed");
        presence.announce(now, announcer, entries, &mut Owners::default(), &Limits::default())
    }

    fn hear(presence: &mut Presence, body: &Bytes) {
        let entries = entries(body).expect("well-formed");
        presence.hear(Timestamp(1), NODE, entries, false, &Owners::default(), &Limits::default());
    }

    /// Each removal once searched all those that nobody had been told of: 136 KB took seconds, 1 MB a worker for good.
    #[test]
    fn who_comes_and_goes_before_anybody_is_told_leaves_nothing() {
        let mut presence = Presence::default();
        for ids in [8_000, 100_000] {
            announce(&mut presence, Timestamp(1), &pairs(1, ids));
            hear(&mut presence, &pairs(1, ids));
            assert!(presence.known.is_empty() && presence.removed.is_empty() && presence.elsewhere.is_empty());
            assert!(presence.heard.is_empty() && presence.unowned == 0 && !presence.is_dirty());
        }
        assert_eq!(presence.take_dirty(), None);
    }

    #[test]
    fn who_was_shown_to_anybody_is_removed_for_all_to_hear() {
        let tell: [fn(&mut Presence); 4] = [
            |presence| _ = presence.take_dirty(),
            |presence| _ = presence.snapshot(),
            |presence| _ = presence.everything(),
            |presence| _ = presence.shown_here(),
        ];
        for tell in tell {
            let mut presence = Presence::default();
            announce(&mut presence, Timestamp(1), &body([(5, 1, "1")].into_iter()));
            tell(&mut presence);
            announce(&mut presence, Timestamp(1), &body([(5, 2, "null")].into_iter()));
            let removal = encode::awareness([(5, 2, NULL)]);
            assert_eq!(presence.take_dirty(), Some((removal, None)));
            announce(&mut presence, Timestamp(1), &pairs(5, 1));
            assert_eq!(presence.clock(5), Some(2), "a clock that others know is remembered");
        }
    }

    /// One client that came back 10 times a second among 1,200 members made each of them announce itself every second: 186 MB/s.
    #[test]
    fn the_more_are_here_the_more_rarely_they_are_made_to_announce_themselves_again() {
        for (members, within, waves) in [(100, 60, 60), (1_200, 60, 10), (10_000, 60, 4)] {
            let mut presence = Presence::default();
            for member in 1..=members {
                let owned = Known::new(1, Some(Bytes::from_static(b"1")), Some(MemberId(member)), Timestamp(1));
                presence.put_and_tell(member, owned);
            }
            let start = Timestamp(1_000_000);
            let mut nudges = presence.nudge_others(start, MemberId(0)).len();
            assert_eq!(nudges as u64, members, "the first time at once");
            for at in 1..within * 10 {
                nudges += presence.nudge_others(start + Duration::from_millis(100) * at as u32, MemberId(0)).len();
            }
            assert_eq!(nudges as u64, waves * members);
        }
    }

    #[test]
    fn removals_are_remembered_up_to_a_bound_and_forgotten_in_their_order() {
        let mut presence = Presence::default();
        let rounds = REMOVED_MAX / UNOWNED_MAX + 3;
        for round in 1..=rounds {
            let ids = (0..UNOWNED_MAX).map(|at| ((rounds - round) * UNOWNED_MAX + at) as ClientId);
            let now = Timestamp(round as u64);
            announce(&mut presence, now, &body(ids.clone().map(|id| (id, 1, "1"))));
            assert_eq!(presence.states(), UNOWNED_MAX);
            presence.take_dirty().expect("who came");
            announce(&mut presence, now, &body(ids.map(|id| (id, 2, "null"))));
            assert!(presence.removed.len() <= REMOVED_MAX + UNOWNED_MAX, "until all have heard of it");
            presence.take_dirty().expect("who went");
            assert!(presence.known.len() <= REMOVED_MAX);
        }
        assert_eq!(presence.removed.len(), REMOVED_MAX);
        assert_eq!(presence.clock(0), Some(2));
        assert_eq!(presence.clock(REMOVED_MAX as ClientId - 1), Some(2));
        assert_eq!(presence.clock(REMOVED_MAX as ClientId), None, "it was removed earlier");
    }

    fn state(bytes: usize) -> &'static str {
        Box::leak(format!("\"{}\"", "x".repeat(bytes - 2)).into_boxed_str())
    }

    #[test]
    fn a_state_beyond_the_bound_makes_its_user_absent_until_one_fits() {
        let mut presence = Presence::default();
        let max = Limits::default().awareness_state_bytes_max;
        assert_eq!(announce(&mut presence, Timestamp(1), &body([(5, 1, state(max))].into_iter())).dropped, 0);
        assert!(presence.take_dirty().is_some(), "30 KB are nothing special");
        for clock in 2..4 {
            let told = announce(&mut presence, Timestamp(1), &body([(5, clock, state(max + 1))].into_iter()));
            assert_eq!(told.dropped, 1);
        }
        // Shown once as it was before, it stayed so for everybody, as if it were true.
        assert_eq!(presence.take_dirty(), Some((encode::awareness([(5, 2, NULL)]), Some(MemberId(1)))));
        assert_eq!(presence.bytes, 0);
        announce(&mut presence, Timestamp(1), &body([(5, 4, "1")].into_iter()));
        assert_eq!(presence.take_dirty(), Some((encode::awareness([(5, 4, &b"1"[..])]), Some(MemberId(1)))));
        // So it is with what other nodes show.
        hear(&mut presence, &body([(6, 1, "1")].into_iter()));
        hear(&mut presence, &body([(6, 2, state(max + 1))].into_iter()));
        assert_eq!((presence.clock(6), presence.states(), presence.bytes), (None, 1, 1));
    }

    #[test]
    fn large_states_leave_place_for_small_ones() {
        let mut presence = Presence::default();
        let limits = Limits::default();
        let (large, half) = (limits.awareness_state_bytes_max, limits.awareness_bytes_max / 2);
        let mut client = 0;
        let mut come = |presence: &mut Presence, bytes| {
            client += 1;
            announce(presence, Timestamp(1), &body([(client, 1, state(bytes))].into_iter())).dropped == 0
        };
        assert!((0..half / large).all(|_| come(&mut presence, large)));
        assert!(!come(&mut presence, large) && !come(&mut presence, SMALL_STATE + 1));
        assert!((0..UNOWNED_MAX - half / large).all(|_| come(&mut presence, 2_000)));
        assert!(presence.bytes > half && presence.bytes <= limits.awareness_bytes_max);
        let states = presence.known.values().filter_map(|known| known.state.as_ref());
        assert_eq!(presence.bytes, states.map(Bytes::len).sum::<usize>());
    }
}
