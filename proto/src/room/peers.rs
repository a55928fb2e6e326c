//! The rooms of the same dashboard on other nodes: what is told to them, what is heard from them, and what makes up for a bus that
//! loses, doubles and reorders messages.
//!
//! **One hop.** A flush is published once, with what was accepted on this node; what came from the bus or the store never is.
//!
//! **Who keeps what.** The node that accepted an update appends it. Whoever hears of it does not, but remembers it as
//! *unconfirmed* until the origin's `durable` number, which travels with every message, says that it is in the store. What is
//! unconfirmed is appended here too (as [`Source::Node`], doing so twice is harmless) when
//! - its origin is gone, so nobody else may have done it;
//! - an author on this node wants to hear that the same content is saved: nothing is called saved before it is;
//! - it is part of an answer to another node, which would take it for this node's;
//! - too much of it waits, or the room closes.
//!
//! So an accepted update that any node knows of is in the store, or some live node is on its way to put it there. One whose
//! origin died before anybody heard of it was never called saved, and its author's client still has it.
//!
//! **Healing.** A gap in an origin's numbers, an update behind a hole, or word of a loss lead to a question: a state vector that
//! everybody answers with the difference and with all presence of its members. Every [`EXCHANGE`], each room tells what it has;
//! who lacks something of it, still after a while, asks.
//!
//! What the store holds of others is [`super::reconcile`]'s, and their presence `awareness/elsewhere.rs`'.

use super::effect::{Effect, Report};
use super::input::{Said, Scanned};
use super::reconcile::Reading;
use super::saving::Unsaved;
use super::{Room, Sender};
use crate::id::{ClientId, MemberId, NodeId};
use crate::log::{LogEntry, Source};
use crate::time::Timestamp;
use crate::update::{self, DeleteSet, Scan, Source as Trust, StateVector};
use crate::wire::encode;
use bytes::Bytes;
use core::time::Duration;
use std::collections::BTreeMap;

/// How often a room with company tells what it has.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Between two questions of a room; and how long what it seems to lack may still be on its way.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Between two times that others' members are made to announce themselves anew: a storm of reconnects costs each one
/// announcement a second.
const RENEW_PAUSE: Duration = Duration::from_secs(1);

/// What a room knows of the others. Made when it first has company.
#[derive(Debug)]
pub(super) struct Remote {
    has_others: bool,
    /// Whether there ever were others, so that the log may hold what they wrote.
    pub(super) has_met: bool,
    /// The number of the last message published.
    number: u64,
    /// Everything published up to here is in the store.
    durable: u64,
    /// Everything published up to here is when the append in flight is.
    appending: u64,
    peers: BTreeMap<NodeId, Peer>,
    unconfirmed_bytes: usize,
    /// Updates accepted on this node that the open flush collects.
    outgoing: Vec<Bytes>,
    /// Whether the open flush collects updates from elsewhere.
    heard_in_flush: bool,
    /// Members that announced an id which is shown by another node, and at which clock last.
    pub(super) claims: Vec<(MemberId, ClientId, u32)>,
    /// When other nodes' members were made to announce themselves anew, and when they will be.
    renewed_at: Option<Timestamp>,
    renew_at: Option<Timestamp>,
    asked_at: Option<Timestamp>,
    ask_at: Option<Timestamp>,
    /// What others have and this room, a moment ago, had not.
    doubt: Option<(Timestamp, StateVector)>,
    exchange_at: Timestamp,
    pub(super) reading: Reading,
}

#[derive(Debug)]
struct Peer {
    last: u64,
    unconfirmed: Vec<(u64, Bytes)>,
}

impl Remote {
    /// `opened_at` keeps numbers growing from one life of the room on this node to the next.
    fn new(now: Timestamp, opened_at: Timestamp) -> Remote {
        let number = opened_at.0 << 20;
        Remote {
            has_others: false,
            has_met: false,
            number,
            durable: number,
            appending: number,
            peers: BTreeMap::new(),
            unconfirmed_bytes: 0,
            outgoing: Vec::new(),
            heard_in_flush: false,
            claims: Vec::new(),
            renewed_at: None,
            renew_at: None,
            asked_at: None,
            ask_at: None,
            doubt: None,
            exchange_at: now,
            reading: Reading::default(),
        }
    }

    fn ask_soon(&mut self, now: Timestamp) {
        let at = self.asked_at.map_or(now, |asked| now.max(asked + ASK_PAUSE));
        self.ask_at = Some(self.ask_at.map_or(at, |sooner| sooner.min(at)));
    }

    fn confirm(&mut self, origin: NodeId, durable: u64) {
        let Some(peer) = self.peers.get_mut(&origin) else { return };
        let bytes = &mut self.unconfirmed_bytes;
        peer.unconfirmed.retain(|(number, update)| {
            let stays = *number > durable;
            *bytes -= if stays { 0 } else { update.len() };
            stays
        });
    }

    fn next_timeout(&self) -> Timestamp {
        let doubt = self.doubt.as_ref().map(|(at, _)| *at);
        let at = self
            .ask_at
            .into_iter()
            .chain(self.renew_at)
            .chain(self.reading.again_at)
            .chain(doubt)
            .chain(self.has_others.then_some(self.exchange_at));
        at.min().unwrap_or(Timestamp(u64::MAX))
    }
}

/// What a room asks of its [`Remote`] in passing; a room that never had company has none.
#[derive(Debug, Default)]
pub(super) struct Company(pub(super) Option<Box<Remote>>);

impl Company {
    /// Keeps apart what this node's members write.
    pub(super) fn wrote(&mut self, update: &Bytes) {
        if let Some(remote) = self.0.as_mut().filter(|remote| remote.has_others) {
            remote.outgoing.push(update.clone());
        }
    }

    /// Whether nothing waits for another node to have appended it, or for word whether it is still there.
    pub(super) fn is_settled(&self) -> bool {
        self.0.as_ref().is_none_or(|remote| remote.unconfirmed_bytes == 0 && !remote.reading.compares)
    }

    /// When [`Room::keep_company`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|remote| remote.next_timeout())
    }

    /// An append with everything that was accepted so far is on its way.
    pub(super) fn appending(&mut self) {
        if let Some(remote) = &mut self.0 {
            remote.appending = remote.number;
        }
    }

    /// The append in flight is durable.
    pub(super) fn appended(&mut self) {
        if let Some(remote) = &mut self.0 {
            remote.durable = remote.durable.max(remote.appending);
        }
    }

    /// The open flush collects something that other nodes know, or find in the store: it is not published.
    pub(super) fn heard_in_flush(&mut self) {
        if let Some(remote) = &mut self.0 {
            remote.heard_in_flush = true;
        }
    }

    /// Whether other nodes have the dashboard open.
    pub(super) fn has_others(&self) -> bool {
        self.0.as_ref().is_some_and(|remote| remote.has_others)
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |remote| size_of::<Remote>() + remote.unconfirmed_bytes + remote.peers.len() * 96)
    }

    /// Forgets a member that left.
    pub(super) fn forget(&mut self, member: MemberId) {
        if let Some(remote) = &mut self.0 {
            remote.claims.retain(|(claimant, ..)| *claimant != member);
        }
    }

    /// Somebody came back to this node who takes no entry at a clock that it has seen, of members of other nodes neither.
    pub(super) fn somebody_returned(&mut self, now: Timestamp) {
        if let Some(remote) = self.0.as_mut().filter(|remote| remote.has_others) {
            remote.renew_at = Some(remote.renewed_at.map_or(now, |at| now.max(at + RENEW_PAUSE)));
        }
    }

    pub(super) fn meet(&mut self, now: Timestamp, opened_at: Timestamp) -> &mut Remote {
        self.0.get_or_insert_with(|| Box::new(Remote::new(now, opened_at)))
    }
}

impl Room {
    /// The bus says whether other nodes have the dashboard open; or that they had.
    pub(super) fn linked(&mut self, now: Timestamp, others: bool, effects: &mut Vec<Effect>) {
        let remote = self.company.meet(now, self.opened_at);
        // The first word says that there are or were others.
        remote.has_met = true;
        if others && !core::mem::replace(&mut remote.has_others, others) {
            self.ask_others(now, effects);
            self.publish_presence(effects);
        } else if !others {
            remote.has_others = false;
            remote.outgoing = Vec::new();
        }
    }

    /// Messages of other nodes may be missing.
    pub(super) fn lost(&mut self, now: Timestamp) {
        self.company.meet(now, self.opened_at).ask_soon(now);
    }

    /// Other nodes took this one for gone. Their clients take nothing at a clock that they have seen removed, so everybody here is
    /// made to take the next one.
    pub(super) fn forgotten(&mut self, now: Timestamp) {
        self.lost(now);
        self.presence.renew_all(now);
    }

    /// Another node's room says something.
    pub(super) fn heard(
        &mut self,
        now: Timestamp,
        origin: NodeId,
        number: u64,
        durable: u64,
        said: Said<Box<Scanned>>,
        effects: &mut Vec<Effect>,
    ) {
        let remote = self.company.meet(now, self.opened_at);
        remote.has_met = true;
        let mut is_late = false;
        match remote.peers.get_mut(&origin) {
            Some(peer) => {
                is_late = number <= peer.last;
                let has_gap = number > peer.last.saturating_add(1);
                peer.last = peer.last.max(number);
                if has_gap {
                    remote.ask_soon(now);
                }
            }
            None => {
                // What it said before is unknown, unless it has only just come.
                remote.peers.insert(origin, Peer { last: number, unconfirmed: Vec::new() });
                remote.ask_soon(now);
            }
        }
        remote.confirm(origin, durable);
        if self.is_closing && self.members.is_empty() {
            // What is said now is for those who stay; listening to it, a room in use elsewhere would never be settled.
            return;
        }
        match said {
            Said::Update(scanned) => {
                let unconfirmed = (number > durable).then_some((origin, number));
                self.heard_update(now, unconfirmed, &scanned, effects);
            }
            Said::Awareness(body) => self.heard_awareness(now, origin, &body, false, effects),
            // One that was overtaken would remove who came since.
            Said::Presence(_) if is_late => {}
            Said::Presence(body) => self.heard_awareness(now, origin, &body, true, effects),
            // Told once or not at all: a bus may double what it carries.
            Said::Stateless(_) if is_late => {}
            Said::Stateless(payload) => self.stateless(None, &payload, effects),
            Said::Renew => self.presence.renew_all(now),
            Said::StateVector { have, deletes, asks } => self.compare(now, &have, deletes, asks, effects),
        }
    }

    /// Another node has closed the dashboard, or is no more.
    pub(super) fn node_gone(&mut self, now: Timestamp, origin: NodeId, effects: &mut Vec<Effect>) {
        self.adopt(now, |node, _| node == origin, effects);
        self.company.meet(now, self.opened_at).peers.remove(&origin);
        let freed = self.presence.gone(now, origin);
        if !freed.is_empty()
            && let Some(remote) = &mut self.company.0
        {
            // Whose clients have moved to another node that knew of its end earlier, was not believed when that showed them.
            remote.ask_soon(now);
        }
        self.freed(now, &freed, effects);
    }

    /// Does what is due towards other nodes.
    pub(super) fn keep_company(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.company.0 else { return };
        if let Some((_, have)) = remote.doubt.take_if(|(at, _)| now >= *at)
            && !self.document.clocks().covers(&have)
        {
            remote.ask_soon(now);
        }
        remote.reading.retry(now, effects);
        let has_others = remote.has_others;
        let asks = remote.ask_at.take_if(|at| now >= *at).is_some();
        let renews = remote.renew_at.take_if(|at| now >= *at).is_some();
        let tells = has_others && now >= remote.exchange_at;
        if tells {
            remote.exchange_at = now + EXCHANGE;
        }
        if has_others && renews {
            remote.renewed_at = Some(now);
            self.publish(Said::Renew, effects);
        }
        if has_others && asks {
            self.ask_others(now, effects);
        } else if tells {
            self.publish_state_vector(false, effects);
        }
        if tells {
            self.publish_presence(effects);
        }
    }

    /// Publishes what this node's members wrote of the flush that goes out as `frame`.
    pub(super) fn publish_flush(&mut self, frame: &Bytes, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.company.0 else { return };
        let outgoing = core::mem::take(&mut remote.outgoing);
        let has_heard = core::mem::take(&mut remote.heard_in_flush);
        let update = match outgoing.as_slice() {
            _ if !has_heard => encode::sync_payload(frame),
            [] => return,
            [only] => only.clone(),
            many => update::merge(many),
        };
        self.publish(Said::Update(update), effects);
    }

    /// Before an author hears that `update` is saved: appends what of it is known from other nodes that have not said so.
    pub(super) fn vouch_for(
        &mut self,
        now: Timestamp,
        sender: Sender<'_>,
        update: &Bytes,
        scan: &Scan,
        is_update_frame: bool,
        effects: &mut Vec<Effect>,
    ) {
        let is_told = match sender {
            Sender::Member(id) => self.members.get(&id).is_some_and(|member| member.wants_acks),
            Sender::Request(..) => true,
        };
        if self.company.is_settled() || !is_told {
            return;
        }
        if is_update_frame {
            let deletes = DeleteSet::collect(scan.deletes(update));
            self.adopt(now, |_, unconfirmed| overlaps(unconfirmed, scan, &deletes), effects);
        } else {
            // A SyncStep2 leaves out what this room has told the client that it has: it stands for all of that.
            self.adopt_all(now, effects);
        }
    }

    /// Appends all that no other node has confirmed: nobody will be here to see to it later.
    pub(super) fn adopt_all(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.adopt(now, |_, _| true, effects);
    }

    pub(super) fn publish(&mut self, said: Said<Bytes>, effects: &mut Vec<Effect>) {
        let Some(remote) = self.company.0.as_mut().filter(|remote| remote.has_others) else { return };
        remote.number += 1;
        if self.saving.is_saved() {
            remote.durable = remote.number;
        } else if self.saving.is_all_in_flight() {
            remote.appending = remote.number;
        }
        effects.push(Effect::Publish { number: remote.number, durable: remote.durable, said });
    }

    /// Passes a text on to the members of other nodes; who does not hear it has missed it.
    pub(super) fn publish_stateless(&mut self, payload: Bytes, effects: &mut Vec<Effect>) {
        self.publish(Said::Stateless(payload), effects);
    }

    fn publish_state_vector(&mut self, asks: bool, effects: &mut Vec<Effect>) {
        let (have, deletes) = (self.document.clocks().clone(), self.document.deletes_digest());
        self.publish(Said::StateVector { have, deletes, asks }, effects);
    }

    fn ask_others(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(remote) = &mut self.company.0 {
            remote.asked_at = Some(now);
            remote.ask_at = None;
            remote.doubt = None;
        }
        effects.push(Effect::Report(Report::AskedNodes));
        self.publish_state_vector(true, effects);
    }

    fn heard_update(
        &mut self,
        now: Timestamp,
        unconfirmed: Option<(NodeId, u64)>,
        scanned: &Scanned,
        effects: &mut Vec<Effect>,
    ) {
        let admission = self.admit_trusted(now, scanned, effects);
        let Some(remote) = &mut self.company.0 else { return };
        if admission.held.is_some() {
            remote.ask_soon(now);
        }
        let Some(accepted) = admission.accepted else { return };
        if let Some((origin, number)) = unconfirmed
            && let Some(peer) = remote.peers.get_mut(&origin)
        {
            remote.unconfirmed_bytes += accepted.bytes.len();
            peer.unconfirmed.push((number, accepted.bytes));
        }
        if self.is_closing || remote.unconfirmed_bytes > self.limits.unsaved_bytes_max {
            self.adopt_all(now, effects);
        }
        self.retry_held(now, effects);
    }

    /// Takes in what another node or the store holds, and tells the members here.
    pub(super) fn admit_trusted(
        &mut self,
        now: Timestamp,
        scanned: &Scanned,
        effects: &mut Vec<Effect>,
    ) -> update::Admission {
        let limits = self.limits.for_trusted();
        let free = |_| false;
        let admission = self.document.admit(&scanned.update, &scanned.scan, Trust::Trusted, free, &limits);
        if let Some(accepted) = &admission.accepted {
            self.company.heard_in_flush();
            self.flush.collect(now, None, accepted.clone(), None);
            effects.push(Effect::Report(Report::AcceptedFromNode));
            self.revive(now);
        }
        admission
    }

    /// Another room says what it has: it gets what it lacks if it asks, and this room asks for what it seems to lack itself.
    fn compare(&mut self, now: Timestamp, have: &StateVector, deletes: u64, asks: bool, effects: &mut Vec<Effect>) {
        let has_same_deletes = deletes == self.document.deletes_digest();
        if asks {
            if !has_same_deletes || !have.covers(self.document.clocks()) {
                self.adopt_all(now, effects);
                let difference = self.document.difference(have);
                self.publish(Said::Update(difference), effects);
            }
            self.publish_presence(effects);
        }
        let lacks = !self.document.clocks().covers(have);
        let Some(remote) = &mut self.company.0 else { return };
        if lacks {
            let (_, doubted) = remote.doubt.get_or_insert_with(|| (now + ASK_PAUSE, StateVector::default()));
            have.iter().for_each(|(client, clock)| doubted.advance(client, clock));
        } else if !has_same_deletes && !asks {
            // Who lacks deletions cannot be told from a digest; the answers carry all of them.
            remote.ask_soon(now);
        }
    }

    /// Appends what other nodes have published and not confirmed, as far as `which` says.
    fn adopt(&mut self, now: Timestamp, which: impl Fn(NodeId, &Bytes) -> bool, effects: &mut Vec<Effect>) {
        let Some(remote) = &mut self.company.0 else { return };
        let mut adopted = Vec::new();
        for (&origin, peer) in &mut remote.peers {
            adopted.extend(peer.unconfirmed.extract_if(.., |(_, update)| which(origin, update)));
        }
        for (_, update) in adopted {
            remote.unconfirmed_bytes -= update.len();
            let scan = update::scan_admitted(&update);
            let entry = LogEntry { at: now, author: None, session: 0, source: Source::Node, update };
            let starts = scan.spans.iter().map(|span| (span.client, span.start));
            let unsaved = Unsaved { entry, echo_to: None };
            if self.saving.add(unsaved, starts, self.document.clocks(), self.limits.unsaved_bytes_max) {
                effects.push(Effect::Report(Report::Diverged));
            }
        }
    }
}

fn overlaps(unconfirmed: &Bytes, scan: &Scan, deletes: &DeleteSet) -> bool {
    let other = update::scan_admitted(unconfirmed);
    let shares_clocks = other.spans.iter().any(|theirs| {
        let shares =
            |ours: &&update::Span| ours.client == theirs.client && ours.start < theirs.end && theirs.start < ours.end;
        scan.spans.iter().find(shares).is_some()
    });
    shares_clocks || {
        let theirs = DeleteSet::collect(other.deletes(unconfirmed));
        theirs.subtract(deletes) != theirs
    }
}

#[cfg(test)]
mod tests {
    use super::super::saving::SNAPSHOT_AGAIN;
    use super::super::{Dialect, Input, Loaded, StoreRead, Tuning};
    use super::*;
    use crate::limits::Limits;
    use crate::log::LogPosition;
    use crate::wire::awareness::NULL;

    const HERE: NodeId = NodeId(1);
    const THERE: NodeId = NodeId(2);
    const OPENED: Timestamp = Timestamp(1_000_000);

    /// `client`'s item at `clock`: one character in the root text `t`.
    fn typed(client: u8, clock: u8) -> Scanned {
        let mut bytes = vec![1, 1, client, clock];
        match clock.checked_sub(1) {
            None => bytes.extend([4, 1, 1, b't', 1, b'x']),
            Some(before) => bytes.extend([0x84, client, before, 1, b'x']),
        }
        bytes.push(0);
        let update = Bytes::from(bytes);
        let scan = update::scan(&update, &Limits::default()).expect("an update");
        Scanned { update, scan, frame: None }
    }

    fn linked_room() -> Room {
        let mut room = Room::open(OPENED, Loaded::default(), Limits::default(), Tuning::default()).expect("empty");
        said(&mut room, OPENED, Input::Linked { others: true });
        room
    }

    /// What the room publishes because of an input.
    fn said(room: &mut Room, now: Timestamp, input: Input) -> Vec<(u64, u64, Said<Bytes>)> {
        let mut effects = Vec::new();
        room.handle(now, input, &mut effects);
        room.handle_timeout(now, &mut effects);
        published(effects)
    }

    fn published(effects: Vec<Effect>) -> Vec<(u64, u64, Said<Bytes>)> {
        let publish = |effect| match effect {
            Effect::Publish { number, durable, said } => Some((number, durable, said)),
            _ => None,
        };
        effects.into_iter().filter_map(publish).collect()
    }

    fn write(update: Scanned) -> Input {
        let author = crate::access::Admission::anonymous(crate::access::Access::EDITOR);
        Input::Write { request: super::super::RequestId(1), author: Box::new(author), update: Box::new(update) }
    }

    fn deliver(
        room: &mut Room,
        now: Timestamp,
        origin: NodeId,
        said_there: &(u64, u64, Said<Bytes>),
    ) -> Vec<(u64, u64, Said<Bytes>)> {
        let (number, durable, what) = said_there.clone();
        let said_here = match what {
            Said::Update(update) => {
                let scan = update::scan(&update, &Limits::default()).expect("an update");
                Said::Update(Box::new(Scanned { update, scan, frame: None }))
            }
            Said::Awareness(body) => Said::Awareness(body),
            Said::Presence(body) => Said::Presence(body),
            Said::Stateless(payload) => Said::Stateless(payload),
            Said::Renew => Said::Renew,
            Said::StateVector { have, deletes, asks } => Said::StateVector { have, deletes, asks },
        };
        said(room, now, Input::Remote { origin, number, durable, said: said_here })
    }

    fn is_update(message: &(u64, u64, Said<Bytes>)) -> bool {
        matches!(message.2, Said::Update(_))
    }

    #[test]
    fn what_was_heard_is_not_published_or_appended_again() {
        let mut here = linked_room();
        let mut there = linked_room();
        let words = said(&mut there, OPENED, write(typed(5, 0)));
        let word = words.into_iter().find(is_update).expect("published at the flush");
        let mut effects = Vec::new();
        let Said::Update(update) = word.2.clone() else { unreachable!() };
        let scan = update::scan(&update, &Limits::default()).expect("an update");
        let heard = Said::Update(Box::new(Scanned { update, scan, frame: None }));
        here.handle(
            OPENED,
            Input::Remote { origin: THERE, number: word.0, durable: word.1, said: heard },
            &mut effects,
        );
        here.handle_timeout(OPENED, &mut effects);
        assert_eq!(here.clocks().get(5), 1);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::FanOut { .. })), "its members are told");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Append { .. })));
        assert!(!published(effects).iter().any(is_update));
        assert!(!here.is_settled(), "the origin has not confirmed it");
    }

    /// What another node had appended, and the store has lost, stands behind no position of this room's.
    #[test]
    fn what_another_node_had_saved_is_put_back_when_the_store_was_restarted() {
        let mut here = linked_room();
        let heard = |clock| Said::Update(Box::new(typed(5, clock)));
        said(&mut here, OPENED, Input::Remote { origin: THERE, number: 1, durable: 0, said: heard(0) });
        said(&mut here, OPENED, Input::Remote { origin: THERE, number: 2, durable: 1, said: heard(1) });
        let vector = Said::StateVector { have: StateVector::default(), deletes: 0, asks: false };
        said(&mut here, OPENED, Input::Remote { origin: THERE, number: 3, durable: 3, said: vector });
        here.handle_timeout(OPENED + ASK_PAUSE, &mut Vec::new());
        assert!(here.is_settled());
        said(&mut here, OPENED, Input::NodeGone { origin: THERE });
        let mut effects = Vec::new();
        here.handle(OPENED, Input::CheckStore { compare: true }, &mut effects);
        here.handle_timeout(OPENED, &mut effects);
        let is_read = |effect: &Effect| matches!(effect, Effect::ReadStore);
        assert_eq!(effects.iter().filter(|effect| is_read(effect)).count(), 1, "{effects:?}");
        assert!(!here.is_settled(), "it must not go before that is known");
        here.handle(OPENED, Input::Appended { position: LogPosition(1), before: LogPosition(1) }, &mut effects);
        // It fails at first, and then began before the store was restarted once more.
        effects.clear();
        here.handle(OPENED, Input::StoreRead { read: None }, &mut effects);
        let later = OPENED + SNAPSHOT_AGAIN;
        here.handle_timeout(later, &mut effects);
        here.handle(later, Input::CheckStore { compare: true }, &mut effects);
        here.handle(later, Input::StoreRead { read: Some(StoreRead::default()) }, &mut effects);
        assert_eq!(effects.iter().filter(|effect| is_read(effect)).count(), 2);
        here.handle(later, Input::Appended { position: LogPosition(1), before: LogPosition(1) }, &mut effects);
        effects.clear();
        let read = StoreRead { updates: vec![typed(5, 0)], position: LogPosition(1) };
        here.handle(later, Input::StoreRead { read: Some(read.clone()) }, &mut effects);
        here.handle_timeout(later, &mut effects);
        let appended = effects.iter().find_map(|effect| match effect {
            Effect::Append { entries, .. } => entries.first(),
            _ => None,
        });
        let entry = appended.expect("the store lacks something");
        let scan = update::scan(&entry.update, &Limits::default()).expect("an update");
        assert_eq!((entry.source, scan.spans[0].start, scan.spans[0].end), (Source::Recovery, 1, 2));
        here.handle(later, Input::Appended { position: LogPosition(2), before: LogPosition(1) }, &mut effects);
        // All is there: nothing is appended.
        effects.clear();
        here.handle(later, Input::CheckStore { compare: true }, &mut effects);
        let whole = StoreRead { updates: vec![typed(5, 1), typed(5, 0)], position: LogPosition(2) };
        here.handle(later, Input::StoreRead { read: Some(whole) }, &mut effects);
        here.handle_timeout(later, &mut effects);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Append { entries, .. } if !entries.is_empty())));
    }

    #[test]
    fn lost_last_words_are_found_by_the_exchange() {
        let (mut here, mut there) = (linked_room(), linked_room());
        said(&mut there, OPENED, write(typed(5, 0))); // Nobody hears it.
        let mut now = OPENED + EXCHANGE;
        let mut to_here = Vec::new();
        let mut effects = Vec::new();
        there.handle_timeout(now, &mut effects);
        to_here.extend(published(effects));
        // Within a few turns of what is told, doubted, asked and answered.
        for _ in 0..4 {
            let mut to_there = Vec::new();
            for message in to_here.drain(..) {
                to_there.extend(deliver(&mut here, now, THERE, &message));
            }
            now = now + ASK_PAUSE;
            let mut effects = Vec::new();
            here.handle_timeout(now, &mut effects);
            to_there.extend(published(effects));
            for message in to_there {
                to_here.extend(deliver(&mut there, now, HERE, &message));
            }
        }
        assert_eq!(here.clocks(), there.clocks());
        assert_eq!(here.clocks().get(5), 1);
    }

    #[test]
    fn a_gap_is_asked_for_and_who_is_gone_leaves_what_it_did_not_confirm() {
        let (mut here, mut there) = (linked_room(), linked_room());
        let lost = said(&mut there, OPENED, write(typed(5, 0)));
        let later = OPENED + ASK_PAUSE;
        let second = said(&mut there, later, write(typed(5, 1))).into_iter().find(is_update).expect("published");
        let asked = deliver(&mut here, later, THERE, &second);
        let asks = |(_, _, what): &(u64, u64, Said<Bytes>)| matches!(what, Said::StateVector { asks: true, .. });
        assert!(asked.iter().any(asks), "it lies behind a hole");
        assert_eq!(here.clocks().get(5), 0);
        for message in lost.iter().filter(|message| is_update(message)) {
            deliver(&mut here, later, THERE, message);
        }
        let mut effects = Vec::new();
        here.handle(later, Input::NodeGone { origin: THERE }, &mut effects);
        here.handle_timeout(later, &mut effects);
        let appended = effects.iter().find_map(|effect| match effect {
            Effect::Append { entries, .. } => Some(entries),
            _ => None,
        });
        let entries = appended.expect("nobody else will append it");
        assert!(entries.iter().all(|entry| entry.source == Source::Node));
    }

    #[test]
    fn a_room_that_was_never_linked_publishes_nothing() {
        let mut room = Room::open(OPENED, Loaded::default(), Limits::default(), Tuning::default()).expect("empty");
        assert_eq!(said(&mut room, OPENED, write(typed(5, 0))), []);
        assert_eq!(room.company.memory(), 0);
    }

    #[test]
    fn a_room_that_had_company_reads_the_store_before_a_snapshot_and_covers_what_it_read() {
        let mut room = linked_room();
        said(&mut room, OPENED, write(typed(5, 0)));
        said(&mut room, OPENED, Input::Appended { position: LogPosition(7), before: LogPosition::START });
        said(&mut room, OPENED, Input::Linked { others: false });
        let due = OPENED + Tuning::default().snapshot_interval;
        let mut effects = Vec::new();
        room.handle_timeout(due, &mut effects);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadStore)), "{effects:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Compact { .. })));
        effects.clear();
        // Out of order, as one append joins the entries of each session.
        let read = StoreRead { updates: vec![typed(6, 1), typed(5, 0), typed(6, 0)], position: LogPosition(9) };
        room.handle(due, Input::StoreRead { read: Some(read) }, &mut effects);
        room.handle_timeout(due, &mut effects);
        assert_eq!(room.clocks().get(6), 2);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Compact { .. })));
        effects.clear();
        room.handle(due, Input::Compacted { base: None }, &mut effects);
        let covers = effects.iter().find_map(|effect| match effect {
            Effect::Snapshot { covers, .. } => Some(*covers),
            _ => None,
        });
        assert_eq!(covers, Some(LogPosition(9)));
    }

    /// Other nodes have removed everybody here at the clocks that they had, and their clients take nothing at those any more.
    #[test]
    fn who_was_taken_for_gone_is_announced_anew_at_the_next_clock() {
        const MEMBER: MemberId = MemberId(1);
        let (mut here, mut there) = (linked_room(), linked_room());
        let joining = super::super::Joining {
            member: MEMBER,
            admission: crate::access::Admission::anonymous(crate::access::Access::EDITOR),
            wants_acks: false,
            wants_echo: false,
            dialect: Dialect::YWebsocket,
        };
        said(&mut here, OPENED, Input::Joined(Box::new(joining)));
        let entry = |clock| encode::awareness_payload(&encode::awareness([(5, clock, &b"{}"[..])]));
        for message in said(&mut here, OPENED, Input::Awareness { member: MEMBER, body: entry(3) }) {
            deliver(&mut there, OPENED, HERE, &message);
        }
        assert!(there.presence.is_elsewhere(5));
        said(&mut there, OPENED, Input::NodeGone { origin: HERE });
        assert_eq!(there.presence.states(), 0);
        let later = OPENED + ASK_PAUSE;
        let mut effects = Vec::new();
        here.handle(later, Input::Forgotten, &mut effects);
        here.handle_timeout(later, &mut effects);
        let nudge = encode::awareness([(5, 3, NULL)]);
        let is_nudge =
            |effect: &Effect| matches!(effect, Effect::Send { to, frame } if *to == MEMBER && frame.bytes == nudge);
        assert!(effects.iter().any(is_nudge), "{effects:?}");
        let mut announced = published(effects);
        announced.extend(said(&mut here, later, Input::Awareness { member: MEMBER, body: entry(4) }));
        for message in announced {
            deliver(&mut there, later, HERE, &message);
        }
        assert!(there.presence.is_elsewhere(5), "it is shown again");
    }

    /// Nodes learn of another's end at different moments, and its clients move meanwhile.
    #[test]
    fn who_moved_from_a_node_that_died_is_shown_although_that_was_heard_too_early() {
        const ELSEWHERE: NodeId = NodeId(3);
        let mut here = linked_room();
        let entry = |clock| encode::awareness_payload(&encode::awareness([(5, clock, &b"{}"[..])]));
        let heard = |room: &mut Room, now, origin, number, what| {
            said(room, now, Input::Remote { origin, number, durable: 0, said: what })
        };
        heard(&mut here, OPENED, ELSEWHERE, 1, Said::Awareness(entry(3)));
        let moved = OPENED + ASK_PAUSE * 2;
        heard(&mut here, moved, THERE, 1, Said::Awareness(entry(4)));
        let later = moved + ASK_PAUSE * 2;
        let asked = said(&mut here, later, Input::NodeGone { origin: ELSEWHERE });
        assert!(!here.presence.is_elsewhere(5));
        assert!(asked.iter().any(|(_, _, what)| matches!(what, Said::StateVector { asks: true, .. })), "{asked:?}");
        heard(&mut here, later, THERE, 2, Said::Presence(entry(4)));
        assert!(here.presence.is_elsewhere(5));
    }

    /// It has forgotten the others when its socket closed, but not their clocks: also of those on other nodes.
    #[test]
    fn for_who_comes_back_members_of_other_nodes_are_announced_anew() {
        const MEMBER: MemberId = MemberId(1);
        let (mut here, mut there) = (linked_room(), linked_room());
        let joining = |member| super::super::Joining {
            member,
            admission: crate::access::Admission::anonymous(crate::access::Access::EDITOR),
            wants_acks: false,
            wants_echo: false,
            dialect: Dialect::YWebsocket,
        };
        let entry = |client, clock| encode::awareness_payload(&encode::awareness([(client, clock, &b"{}"[..])]));
        said(&mut there, OPENED, Input::Joined(Box::new(joining(MEMBER))));
        for message in said(&mut there, OPENED, Input::Awareness { member: MEMBER, body: entry(5, 3) }) {
            deliver(&mut here, OPENED, THERE, &message);
        }
        let now = OPENED + super::super::YOUNG;
        said(&mut here, now, Input::Joined(Box::new(joining(MemberId(7)))));
        let newcomer = said(&mut here, now, Input::Awareness { member: MemberId(7), body: entry(6, 1) });
        assert!(!newcomer.iter().any(|(_, _, what)| *what == Said::Renew), "it is here for the first time");
        said(&mut here, now, Input::Left { member: MemberId(7) });
        said(&mut here, now, Input::Joined(Box::new(joining(MemberId(8)))));
        let back = said(&mut here, now, Input::Awareness { member: MemberId(8), body: entry(6, 1) });
        let renew = back.into_iter().find(|(_, _, what)| *what == Said::Renew).expect("others are told");
        let mut effects = Vec::new();
        there.handle(
            now,
            Input::Remote { origin: HERE, number: renew.0, durable: renew.1, said: Said::Renew },
            &mut effects,
        );
        there.handle_timeout(now, &mut effects);
        let nudge = encode::awareness([(5, 3, NULL)]);
        let is_nudge =
            |effect: &Effect| matches!(effect, Effect::Send { to, frame } if *to == MEMBER && frame.bytes == nudge);
        assert!(effects.iter().any(is_nudge), "{effects:?}");
    }

    /// Otherwise a node could not drain while others are busy.
    #[test]
    fn a_room_that_closes_and_is_empty_listens_to_nobody() {
        let (mut here, mut there) = (linked_room(), linked_room());
        here.handle(OPENED, Input::Close, &mut Vec::new());
        for message in said(&mut there, OPENED, write(typed(5, 0))) {
            deliver(&mut here, OPENED, THERE, &message);
        }
        assert_eq!(here.clocks().get(5), 0);
        assert!(here.is_evictable(OPENED));
    }

    /// An id that another node shows is nobody's here: not by announcing it, not by editing as it, and an echo of its entry is
    /// no claim. When that node lets go of it, who announced it is made to do so again, at a clock that it takes.
    #[test]
    fn an_id_belongs_to_the_node_that_shows_it_until_it_lets_go() {
        const CLAIMANT: MemberId = MemberId(1);
        let mut room = linked_room();
        let joining = super::super::Joining {
            member: CLAIMANT,
            admission: crate::access::Admission::anonymous(crate::access::Access::EDITOR),
            wants_acks: false,
            wants_echo: false,
            dialect: super::super::Dialect::default(),
        };
        said(&mut room, OPENED, Input::Joined(Box::new(joining)));
        let entry = |clock, state: &[u8]| encode::awareness_payload(&encode::awareness([(5, clock, state)]));
        let shown = |room: &mut Room, number, clock, state: &[u8]| {
            let said_there = Said::Awareness(entry(clock, state));
            said(room, OPENED, Input::Remote { origin: THERE, number, durable: 0, said: said_there })
        };
        shown(&mut room, 1, 3, b"{}");
        said(&mut room, OPENED, Input::Update { member: CLAIMANT, update: Box::new(typed(5, 0)) });
        assert_eq!(room.clocks().get(5), 0, "it waits for the other node's word");
        let claim = said(&mut room, OPENED, Input::Awareness { member: CLAIMANT, body: entry(8, b"{}") });
        assert!(claim.iter().any(|(_, _, what)| *what == Said::Awareness(entry(8, b"{}"))), "{claim:?}");
        let echo = said(&mut room, OPENED, Input::Awareness { member: CLAIMANT, body: entry(3, b"{}") });
        assert_eq!(echo, []);
        let mut effects = Vec::new();
        let removed = Said::Awareness(entry(3, NULL));
        room.handle(OPENED, Input::Remote { origin: THERE, number: 2, durable: 0, said: removed }, &mut effects);
        let nudge = encode::awareness([(5, 8, NULL)]);
        let is_nudge =
            |effect: &Effect| matches!(effect, Effect::Send { to, frame } if *to == CLAIMANT && frame.bytes == nudge);
        assert!(effects.iter().any(is_nudge), "{effects:?}");
        assert_eq!(room.clocks().get(5), 1, "what waited is taken");
    }
}
