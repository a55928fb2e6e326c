//! What waits to be written to one socket: bounded in bytes and frames, shared by the sessions on it.
//!
//! A socket has one session, or, once [divided](Outbox::divide), any number: each with the address that goes in front of its frames.
//!
//! A room never waits for a socket. When a session's frames outgrow the bound, all of them that wait are dropped, the room is
//! told which flush was the first one lost, and what it sends meanwhile is ignored; once the socket has drained, the session gets one
//! difference for everything. So a slow reader costs a bounded amount of memory, is not disconnected for being slow, and
//! loses nothing. Acks are counted, not queued: their number is exact whatever is dropped.
//!
//! Whoever shares an outbox between a room and a writer wakes the writer after each call that may have given it something to do, and
//! the reader after those that may have left it a [`Call`].

use crate::id::MemberId;
use crate::limits::OutboxLimits;
use crate::limits::outbox::{BATCH_FRAMES, BUSY_BYTES, CHARGED_BYTES, FRAMES_ALWAYS, SAID_BYTES_MAX, STATES_ALWAYS};
use crate::room::{FlushSeq, Frame, FrameKind};
use crate::update::StateVector;
use crate::wire::close::CloseCode;
use crate::wire::{encode, tag};
use bytes::Bytes;
use core::time::Duration;
use std::collections::VecDeque;

/// Memory that is paid for what waits.
pub trait Purse {
    /// Holds so many bytes, or what is held already if that is more. Says whether there is memory for them.
    fn try_hold(&mut self, bytes: usize) -> bool;

    /// Holds exactly so many bytes, whether there is memory for them or not.
    fn hold(&mut self, bytes: usize);
}

/// As much as anybody wants, in tests and tools.
impl Purse for () {
    fn try_hold(&mut self, _: usize) -> bool {
        true
    }

    fn hold(&mut self, _: usize) {}
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits, or the session lags and it was ignored: either way there is nothing to do.
    Taken,
    /// The session's frames were dropped; the first lost flush, or 0 when a state was among them.
    Overflowed(FlushSeq),
}

/// What the writer is to write next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Frames, in order; acks come as messages of type 8.
    Batch,
    /// What a session asked while much waited for it: everything is written, it can be answered.
    Asked(MemberId, Question),
    /// A session that lagged: everything is written, it can be told the difference.
    Drained(MemberId),
    /// Say goodbye and end.
    Close(CloseCode, Duration),
    /// The socket is gone.
    Gone,
}

/// What may cost a long answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// SyncStep1, from one that has this.
    State(StateVector),
    /// Who is here.
    Presence,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// What the socket did not take of a frame, framed already.
    Rest(Bytes),
    /// The address in front of what comes next, on a socket with several sessions.
    Behind(Bytes),
    /// A message.
    Frame(Frame),
    /// A message with its address.
    Said(Bytes),
    /// So many acks of one kind.
    Acks {
        /// Durable or refused.
        saved: bool,
        /// How many.
        count: u32,
    },
    /// A WebSocket ping.
    Ping,
    /// A WebSocket pong with the ping's payload.
    Pong(Bytes),
}

/// What the reader is told by others than the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Find out whether the peer lives: it has been pinged.
    Probe,
    /// A room does not want one of the socket's sessions.
    Dismissed(MemberId, CloseCode),
    /// Somebody else has ended the session; the peer is told why, or is gone.
    Ended,
}

/// Room for so many frames stays with an idle session.
const FRAMES_KEPT: usize = 4;

/// What waits for one socket.
#[derive(Debug, Default)]
pub struct Outbox {
    limits: OutboxLimits,
    rest: Option<Bytes>,
    frames: VecDeque<(MemberId, Frame)>,
    bytes: usize,
    /// Of differences that wait: like states, they do not count as `bytes`, but they are charged.
    difference_bytes: usize,
    /// Of all frames that the writer has taken and not written yet; and those of them that are charged.
    leaving_bytes: usize,
    leaving_charged: usize,
    asked: Vec<(MemberId, Question)>,
    saved: u32,
    refused: u32,
    lagging: Vec<MemberId>,
    ping: bool,
    pong: Option<Bytes>,
    close: Option<(CloseCode, Duration)>,
    is_closed: bool,
    wants_probe: bool,
    several: Option<Box<Several>>,
}

/// What a divided socket has beside.
#[derive(Debug, Default)]
struct Several {
    /// Sorted by member.
    sessions: Vec<Addressee>,
    said: VecDeque<Bytes>,
    said_bytes: usize,
    dismissed: Vec<(MemberId, CloseCode)>,
}

#[derive(Debug)]
struct Addressee {
    member: MemberId,
    address: Bytes,
    saved: u32,
    refused: u32,
    /// SyncStep1 that were written.
    questions: u64,
}

impl Several {
    fn session(&mut self, member: MemberId) -> Option<&mut Addressee> {
        let at = self.sessions.binary_search_by_key(&member, |session| session.member).ok()?;
        Some(&mut self.sessions[at])
    }
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Outbox {
        Outbox { limits, ..Outbox::default() }
    }

    /// Puts a frame for `member` into the queue.
    pub fn push(&mut self, member: MemberId, frame: &Frame, purse: &mut dyn Purse) -> Pushed {
        if self.is_closed || self.close.is_some() || !self.lagging.is_empty() && self.lagging.contains(&member) {
            return Pushed::Taken;
        }
        if self.address(member, frame).is_none() {
            return Pushed::Taken;
        }
        let fits = (self.bytes + weight(frame) <= self.limits.bytes_max || self.frames.len() < FRAMES_ALWAYS)
            && self.frames.len() < self.limits.frames_max
            && (!is_state(frame) || self.has_room_for_state(member, frame.bytes.len()))
            && self.is_paid_for(frame, purse);
        if fits {
            self.bytes += weight(frame);
            self.difference_bytes += difference(frame);
            self.frames.push_back((member, frame.clone()));
            return Pushed::Taken;
        }
        let mut first_lost = lost(frame);
        self.drop_frames(member, |waiting| first_lost = first_lost.min(lost(waiting)));
        self.lagging.push(member);
        Pushed::Overflowed(first_lost)
    }

    /// What goes in front of `frame` for `member`, or `None` when it is nothing for this socket.
    #[must_use]
    pub fn address(&self, member: MemberId, frame: &Frame) -> Option<&[u8]> {
        match &self.several {
            // Only the dialect that divides sockets has a message for it.
            None => (frame.kind != FrameKind::Stateless).then_some(&[]),
            Some(several) => {
                let at = several.sessions.binary_search_by_key(&member, |session| session.member).ok()?;
                // Sockets with several sessions have a heartbeat of their own.
                (frame.bytes != encode::keep_alive()).then_some(&several.sessions[at].address)
            }
        }
    }

    /// What the socket did not take of a frame that was written past the queue while that was empty: it goes first.
    pub fn put_first(&mut self, rest: Bytes) {
        self.rest = Some(rest);
    }

    /// Keeps a question for later when much is on its way to the socket: the newest of each session, whose answer says what those before
    /// it would. Gives it back when it can be answered at once.
    #[must_use]
    pub fn postpone(&mut self, member: MemberId, question: Question) -> Option<Question> {
        let is_busy =
            self.bytes + self.leaving_bytes > BUSY_BYTES || self.frames.iter().any(|(_, frame)| is_long(frame));
        if self.is_closed || self.close.is_some() || !is_busy {
            return Some(question);
        }
        let is_alike = |(other, kept): &(MemberId, Question)| {
            *other == member && core::mem::discriminant(kept) == core::mem::discriminant(&question)
        };
        self.asked.retain(|kept| !is_alike(kept));
        self.asked.push((member, question));
        None
    }

    /// Bytes and frames that wait.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.bytes, self.frames.len())
    }

    /// The frames that wait.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().map(|(_, frame)| frame)
    }

    /// Whether a session's frames were dropped and it has not been told the difference yet.
    #[must_use]
    pub fn lags(&self, member: MemberId) -> bool {
        self.lagging.contains(&member)
    }

    /// Counts acks.
    pub fn ack(&mut self, member: MemberId, saved: bool, count: u32) {
        let (saved_count, refused_count) = match &mut self.several {
            None => (&mut self.saved, &mut self.refused),
            Some(several) => match several.session(member) {
                Some(session) => (&mut session.saved, &mut session.refused),
                None => return, // It has left: whoever has its address by now counts on acks of its own.
            },
        };
        let counter = if saved { saved_count } else { refused_count };
        *counter = counter.saturating_add(count);
    }

    /// Makes this a socket for several sessions, and forgets what waited for the one it had.
    pub fn divide(&mut self) {
        self.frames = VecDeque::new();
        self.asked = Vec::new();
        (self.bytes, self.difference_bytes, self.saved, self.refused) = (0, 0, 0, 0);
        self.lagging = Vec::new();
        self.several = Some(Box::default());
    }

    /// Whether the socket is one for several sessions.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.several.is_some()
    }

    /// Lets a session in whose frames go out behind `address`.
    pub fn enroll(&mut self, member: MemberId, address: Bytes) {
        let Some(several) = &mut self.several else { return };
        let at = several.sessions.partition_point(|session| session.member < member);
        several.sessions.insert(at, Addressee { member, address, saved: 0, refused: 0, questions: 0 });
    }

    /// Forgets a session and all that waits for it.
    pub fn withdraw(&mut self, member: MemberId) {
        self.drop_frames(member, |_| ());
        self.lagging.retain(|other| *other != member);
        self.asked.retain(|(other, _)| *other != member);
        if let Some(several) = &mut self.several {
            several.sessions.retain(|session| session.member != member);
            several.dismissed.retain(|(other, _)| *other != member);
        }
    }

    /// Puts a whole message into the queue, before all frames. It is never dropped. Says whether it fits.
    #[must_use]
    pub fn say(&mut self, message: Bytes) -> bool {
        let Some(several) = &mut self.several else { return true };
        if several.said_bytes + message.len() > SAID_BYTES_MAX {
            return false;
        }
        several.said_bytes += message.len();
        several.said.push_back(message);
        true
    }

    /// How many SyncStep1 were written to a session.
    #[must_use]
    pub fn questions(&self, member: MemberId) -> u64 {
        let Some(several) = &self.several else { return 0 };
        let at = several.sessions.binary_search_by_key(&member, |session| session.member);
        at.map_or(0, |at| several.sessions[at].questions)
    }

    /// Has the writer ping the peer.
    pub fn ping(&mut self) {
        self.ping = true;
    }

    /// Pings the peer and leaves the reader a [`Call::Probe`].
    pub fn probe(&mut self) {
        (self.ping, self.wants_probe) = (true, true);
    }

    /// Answers a ping; of several that wait only the newest is answered (RFC 6455 §5.5.3).
    pub fn pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    /// What the reader is told next; there may be more behind it.
    pub fn take_call(&mut self) -> Option<Call> {
        if self.is_closed || self.close.is_some() {
            return Some(Call::Ended);
        }
        if let Some((member, code)) = self.several.as_mut().and_then(|several| several.dismissed.pop()) {
            return Some(Call::Dismissed(member, code));
        }
        core::mem::take(&mut self.wants_probe).then_some(Call::Probe)
    }

    /// Ends the socket after what waits was written, `after` from then. The first call counts.
    pub fn close(&mut self, code: CloseCode, after: Duration) {
        if self.close.is_none() {
            self.close = Some((code, after));
        }
    }

    /// Ends one session. On a divided socket that leaves the others alone, if the reason concerns that session's document only.
    pub fn dismiss(&mut self, member: MemberId, code: CloseCode) {
        if let Some(several) = &mut self.several {
            if several.session(member).is_none() {
                return;
            }
            if code == CloseCode::RoomFull {
                several.dismissed.push((member, code));
                return;
            }
        }
        self.close(code, code.hold());
    }

    /// Ends one session at once: what waits for it is dropped, and nothing more is taken for it. On a divided socket that leaves the others
    /// alone.
    pub fn expel(&mut self, member: MemberId, code: CloseCode) {
        let is_here = self.several.as_mut().is_none_or(|several| several.session(member).is_some());
        self.withdraw(member);
        match &mut self.several {
            Some(several) if is_here => several.dismissed.push((member, code)),
            Some(_) => {}
            None => self.close(code, code.hold()),
        }
    }

    /// Drops everything: the socket is gone.
    pub fn abandon(&mut self, purse: &mut dyn Purse) {
        *self = Outbox { limits: self.limits, is_closed: true, ..Outbox::default() };
        purse.hold(0);
    }

    /// Whether the writer has ended, or somebody found the socket gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_closed
    }

    /// Takes what is to be written next, into `batch` if it is something to write. `None` when there is nothing to do. Whoever asks for
    /// more has written what it took before.
    pub fn next(&mut self, batch: &mut Vec<Item>, purse: &mut dyn Purse) -> Option<Next> {
        (self.leaving_bytes, self.leaving_charged) = (0, 0);
        if self.is_closed {
            return Some(Next::Gone);
        }
        if let Some(rest) = self.rest.take() {
            batch.push(Item::Rest(rest));
        }
        if core::mem::take(&mut self.ping) {
            batch.push(Item::Ping);
        }
        if let Some(payload) = self.pong.take() {
            batch.push(Item::Pong(payload));
        }
        let count = self.frames.len().min(BATCH_FRAMES);
        let (mut written, mut differences, mut leaving) = (0, 0, 0);
        let Outbox { saved, refused, frames, several, .. } = self;
        let mut leaves = |frame: &Frame| {
            written += weight(frame);
            differences += difference(frame);
            leaving += frame.bytes.len();
        };
        match several {
            None => {
                put_acks(batch, None, saved, refused);
                for (_, frame) in frames.drain(..count) {
                    leaves(&frame);
                    batch.push(Item::Frame(frame));
                }
            }
            Some(several) => {
                several.said_bytes = 0;
                batch.extend(core::mem::take(&mut several.said).into_iter().map(Item::Said));
                for session in &mut several.sessions {
                    put_acks(batch, Some(&session.address), &mut session.saved, &mut session.refused);
                }
                for (member, frame) in frames.drain(..count) {
                    leaves(&frame);
                    let Some(session) = several.session(member) else { continue };
                    session.questions += u64::from(frame.bytes.starts_with(&[tag::SYNC, tag::SYNC_STEP_1]));
                    batch.extend([Item::Behind(session.address.clone()), Item::Frame(frame)]);
                }
            }
        }
        self.bytes -= written;
        self.difference_bytes -= differences;
        (self.leaving_bytes, self.leaving_charged) = (leaving, written + differences);
        let charged = self.charged();
        purse.hold(if charged > CHARGED_BYTES { charged } else { 0 });
        if !batch.is_empty() {
            return Some(Next::Batch);
        }
        if self.frames.capacity() > FRAMES_KEPT {
            self.frames = VecDeque::new();
        }
        if let Some((code, after)) = self.close {
            return Some(Next::Close(code, after));
        }
        if let Some((member, question)) = self.asked.pop() {
            if self.asked.is_empty() {
                self.asked = Vec::new();
            }
            return Some(Next::Asked(member, question));
        }
        // One by one: what follows an overflow needs an empty outbox.
        (!self.lagging.is_empty()).then(|| Next::Drained(self.lagging.remove(0)))
    }

    /// Whether there is memory for one more frame. Where there is none, its reader lags and gets one state that is shared: nothing is lost.
    fn is_paid_for(&self, frame: &Frame, purse: &mut dyn Purse) -> bool {
        let more = weight(frame) + difference(frame);
        let bytes = self.charged() + more;
        if bytes <= CHARGED_BYTES || more == 0 || purse.try_hold(bytes) {
            return true;
        }
        if frame.kind == FrameKind::Difference || self.frames.len() >= FRAMES_ALWAYS {
            return false;
        }
        purse.hold(bytes); // It is one of those without which no reader could catch up.
        true
    }

    /// What is paid for: what waits, and what the writer has taken and not written yet.
    fn charged(&self) -> usize {
        self.bytes + self.difference_bytes + self.leaving_charged
    }

    /// Whether another state may wait. Those of one session are shared with others; those of several add up.
    fn has_room_for_state(&self, member: MemberId, bytes: usize) -> bool {
        if self.several.is_none() {
            return !self.has_state(member);
        }
        let (mut count, mut sum) = (0, bytes);
        for (owner, waiting) in self.frames.iter().filter(|(_, waiting)| is_state(waiting)) {
            if *owner == member {
                return false;
            }
            count += 1;
            sum += waiting.bytes.len();
        }
        count < STATES_ALWAYS || sum <= self.limits.bytes_max
    }

    fn drop_frames(&mut self, member: MemberId, mut each: impl FnMut(&Frame)) {
        let (mut freed, mut freed_differences) = (0, 0);
        self.frames.retain(|(owner, waiting)| {
            let drops = *owner == member;
            if drops {
                each(waiting);
                freed += weight(waiting);
                freed_differences += difference(waiting);
            }
            !drops
        });
        self.bytes -= freed;
        self.difference_bytes -= freed_differences;
        self.frames.shrink_to(BATCH_FRAMES);
    }

    /// Whether a state waits for `member`. A second one would say it all again, and states count for nothing in `bytes`.
    fn has_state(&self, member: MemberId) -> bool {
        self.frames.iter().any(|(owner, waiting)| *owner == member && is_state(waiting))
    }
}

fn put_acks(batch: &mut Vec<Item>, address: Option<&Bytes>, saved: &mut u32, refused: &mut u32) {
    for (saved, count) in [(true, core::mem::take(saved)), (false, core::mem::take(refused))] {
        if count > 0 {
            batch.extend(address.cloned().map(Item::Behind));
            batch.push(Item::Acks { saved, count });
        }
    }
}

/// A state is shared by everybody who joins: it costs its reader nothing of its own.
fn weight(frame: &Frame) -> usize {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(_) | FrameKind::Notice | FrameKind::Stateless => frame.bytes.len(),
    }
}

/// What is charged beside.
fn difference(frame: &Frame) -> usize {
    if frame.kind == FrameKind::Difference { frame.bytes.len() } else { 0 }
}

fn is_state(frame: &Frame) -> bool {
    matches!(frame.kind, FrameKind::State | FrameKind::Difference)
}

fn is_long(frame: &Frame) -> bool {
    frame.bytes.len() > BUSY_BYTES
}

fn lost(frame: &Frame) -> FlushSeq {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(seq) => seq,
        FrameKind::Notice | FrameKind::Stateless => FlushSeq::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use std::cell::RefCell;
    use std::rc::Rc;

    const ALICE: MemberId = MemberId(1);

    /// An outbox that pays as one of several of the same address, or has as much memory as it wants.
    struct Paying {
        outbox: Outbox,
        purse: Share,
    }

    struct Share {
        ledger: Option<Rc<RefCell<Ledger<u8>>>>,
        held: usize,
    }

    impl Purse for Share {
        fn try_hold(&mut self, bytes: usize) -> bool {
            let Some(ledger) = &self.ledger else { return true };
            let fits = bytes <= self.held || ledger.borrow_mut().take(1, bytes - self.held).is_ok();
            if fits {
                self.held = self.held.max(bytes);
            }
            fits
        }

        fn hold(&mut self, bytes: usize) {
            let Some(ledger) = &self.ledger else { return };
            ledger.borrow_mut().give_back(1, self.held);
            ledger.borrow_mut().charge(1, bytes);
            self.held = bytes;
        }
    }

    impl core::ops::Deref for Paying {
        type Target = Outbox;

        fn deref(&self) -> &Outbox {
            &self.outbox
        }
    }

    impl core::ops::DerefMut for Paying {
        fn deref_mut(&mut self) -> &mut Outbox {
            &mut self.outbox
        }
    }

    impl Paying {
        fn new(limits: OutboxLimits, ledger: Option<Rc<RefCell<Ledger<u8>>>>) -> Paying {
            Paying { outbox: Outbox::new(limits), purse: Share { ledger, held: 0 } }
        }

        fn push(&mut self, member: MemberId, frame: &Frame) -> Pushed {
            self.outbox.push(member, frame, &mut self.purse)
        }
    }

    fn outbox() -> Paying {
        Paying::new(OutboxLimits { bytes_max: 100, frames_max: 8 }, None)
    }

    fn flush(seq: FlushSeq, bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![0; bytes]), kind: FrameKind::Flush(seq) }
    }

    fn take(outbox: &mut Paying) -> (Option<Next>, Vec<Item>) {
        let mut batch = Vec::new();
        (outbox.outbox.next(&mut batch, &mut outbox.purse), batch)
    }

    #[test]
    fn an_overflow_drops_what_waits_and_names_the_first_lost_flush() {
        let mut outbox = outbox();
        for seq in 3..8 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 20)), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(8, 60)), Pushed::Overflowed(3));
        assert_eq!(outbox.push(ALICE, &flush(9, 10)), Pushed::Taken, "ignored while it lags");
        assert_eq!(take(&mut outbox), (Some(Next::Drained(ALICE)), vec![]));
        assert_eq!(outbox.push(ALICE, &flush(10, 10)), Pushed::Taken);
        assert_eq!(take(&mut outbox), (Some(Next::Batch), vec![Item::Frame(flush(10, 10))]));
    }

    #[test]
    fn frames_are_bounded_by_number_too() {
        let mut outbox = outbox();
        for seq in 1..=8 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 1)), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(9, 1)), Pushed::Overflowed(1));
    }

    /// With 300 members whose presence takes 4 KB each, nobody who had overflowed once ever got anything again: the room's
    /// answer was larger than the bound, so it overflowed, so the room answered.
    #[test]
    fn what_follows_an_overflow_fits_whatever_its_size() {
        let mut outbox = outbox();
        let state = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::State };
        let notice = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::Notice };
        for frame in [&state, &notice, &notice, &notice] {
            assert_eq!(outbox.push(ALICE, frame), Pushed::Taken);
        }
        assert_eq!(outbox.push(ALICE, &flush(1, 1)), Pushed::Taken);
        assert_eq!(outbox.push(ALICE, &flush(2, 1)), Pushed::Overflowed(0), "a lost state means starting over");
    }

    #[test]
    fn a_second_state_does_not_wait_behind_the_first() {
        let mut outbox = outbox();
        let state = Frame { bytes: Bytes::from(vec![0; 1000]), kind: FrameKind::State };
        assert_eq!(outbox.push(ALICE, &state), Pushed::Taken);
        assert_eq!(outbox.push(MemberId(2), &state), Pushed::Taken, "another session on the socket");
        assert_eq!(outbox.push(ALICE, &state), Pushed::Overflowed(0));
    }

    #[test]
    fn acks_survive_an_overflow() {
        let mut outbox = outbox();
        outbox.ack(ALICE, true, 2);
        for seq in 1..=5 {
            outbox.push(ALICE, &flush(seq, 20));
        }
        outbox.ack(ALICE, true, 1);
        outbox.ack(ALICE, false, 1);
        assert_eq!(outbox.push(ALICE, &flush(6, 90)), Pushed::Overflowed(1));
        assert_eq!(take(&mut outbox), (Some(Next::Batch), vec![acks(true, 3), acks(false, 1)]));
    }

    const BOB: MemberId = MemberId(2);

    fn acks(saved: bool, count: u32) -> Item {
        Item::Acks { saved, count }
    }

    fn behind(address: &'static str) -> Item {
        Item::Behind(address.into())
    }

    /// For Alice behind "a" and Bob behind "b".
    fn divided() -> Paying {
        let mut outbox = outbox();
        outbox.push(MemberId(9), &flush(1, 10));
        outbox.divide();
        outbox.enroll(BOB, "b".into());
        outbox.enroll(ALICE, "a".into());
        outbox
    }

    #[test]
    fn each_session_of_a_divided_socket_has_its_address_and_acks() {
        let mut outbox = divided();
        outbox.push(BOB, &flush(1, 10));
        outbox.push(ALICE, &flush(2, 10));
        outbox.push(MemberId(3), &flush(3, 10));
        for (member, saved, count) in [(ALICE, true, 2), (BOB, false, 1), (MemberId(3), true, 1)] {
            outbox.ack(member, saved, count);
        }
        assert!(outbox.say("said".into()));
        let expected = vec![
            Item::Said("said".into()),
            behind("a"),
            acks(true, 2),
            behind("b"),
            acks(false, 1),
            behind("b"),
            Item::Frame(flush(1, 10)),
            behind("a"),
            Item::Frame(flush(2, 10)),
        ];
        assert_eq!(take(&mut outbox), (Some(Next::Batch), expected));
    }

    #[test]
    fn who_withdrew_leaves_nothing_behind_for_the_next_one_with_its_address() {
        let mut outbox = divided();
        outbox.push(ALICE, &flush(1, 10));
        outbox.ack(ALICE, true, 1);
        outbox.push(BOB, &flush(1, 10));
        outbox.withdraw(ALICE);
        outbox.push(ALICE, &flush(2, 10));
        outbox.ack(ALICE, true, 1);
        outbox.dismiss(ALICE, CloseCode::Internal);
        outbox.enroll(MemberId(3), "a".into());
        assert_eq!(take(&mut outbox), (Some(Next::Batch), vec![behind("b"), Item::Frame(flush(1, 10))]));
    }

    /// Together they stay within the bound of the socket, and each is told the difference in its turn.
    #[test]
    fn sessions_that_overflow_drain_one_by_one() {
        let mut outbox = divided();
        for seq in 1..=5 {
            assert_eq!(outbox.push(ALICE, &flush(seq, 20)), Pushed::Taken);
        }
        assert_eq!(outbox.push(BOB, &flush(1, 20)), Pushed::Overflowed(1), "the others' frames stay");
        assert_eq!(outbox.push(ALICE, &flush(6, 20)), Pushed::Overflowed(1));
        assert_eq!(take(&mut outbox), (Some(Next::Drained(BOB)), vec![]));
        assert_eq!(outbox.push(BOB, &flush(2, 1000)), Pushed::Taken);
        assert_eq!(take(&mut outbox).0, Some(Next::Batch));
        assert_eq!(take(&mut outbox), (Some(Next::Drained(ALICE)), vec![]));
    }

    #[test]
    fn states_of_many_documents_are_bounded() {
        let mut outbox = Paying::new(OutboxLimits { bytes_max: 1000, frames_max: 64 }, None);
        outbox.divide();
        let state = Frame { bytes: Bytes::from(vec![0; 400]), kind: FrameKind::State };
        let mut taken = 0;
        for member in 1..=20 {
            outbox.enroll(MemberId(member), "x".into());
            taken += usize::from(outbox.push(MemberId(member), &state) == Pushed::Taken);
        }
        assert_eq!(taken, STATES_ALWAYS);
        let small = Frame { bytes: Bytes::from(vec![0; 4]), kind: FrameKind::State };
        let mut outbox = Paying::new(OutboxLimits { bytes_max: 1000, frames_max: 64 }, None);
        outbox.divide();
        for member in 1..=20 {
            outbox.enroll(MemberId(member), "x".into());
            assert_eq!(outbox.push(MemberId(member), &small), Pushed::Taken, "small ones go out together");
        }
    }

    #[test]
    fn what_is_said_is_bounded_and_questions_are_counted_when_they_leave() {
        let mut outbox = divided();
        let question = Frame { bytes: Bytes::from_static(&[0, 0, 1, 0]), kind: FrameKind::Notice };
        outbox.push(ALICE, &question);
        assert_eq!(outbox.questions(ALICE), 0);
        take(&mut outbox);
        assert_eq!((outbox.questions(ALICE), outbox.questions(BOB)), (1, 0));
        let said = Bytes::from(vec![0; SAID_BYTES_MAX / 2]);
        assert!(outbox.say(said.clone()) && outbox.say(said.clone()) && !outbox.say(said.slice(..1)));
        take(&mut outbox);
        assert!(outbox.say(said));
    }

    #[test]
    fn a_full_room_dismisses_one_session_and_a_failed_one_ends_the_socket() {
        let mut outbox = divided();
        outbox.probe();
        outbox.dismiss(ALICE, CloseCode::RoomFull);
        assert_eq!(outbox.take_call(), Some(Call::Dismissed(ALICE, CloseCode::RoomFull)));
        assert_eq!(outbox.take_call(), Some(Call::Probe));
        assert_eq!(outbox.take_call(), None);
        outbox.dismiss(BOB, CloseCode::Internal);
        assert_eq!(outbox.take_call(), Some(Call::Ended));
    }

    #[test]
    fn whoever_is_expelled_gets_nothing_of_what_waits() {
        let mut alone = outbox();
        alone.push(ALICE, &flush(1, 10));
        alone.expel(ALICE, CloseCode::Forbidden);
        assert!(matches!(take(&mut alone), (Some(Next::Close(..)), items) if items.is_empty()));

        let mut shared = divided();
        shared.push(ALICE, &flush(1, 10));
        shared.push(BOB, &flush(1, 10));
        shared.expel(ALICE, CloseCode::Forbidden);
        shared.push(ALICE, &flush(2, 10));
        // Its seat is given up as well, which ends nobody else's session.
        shared.dismiss(ALICE, CloseCode::Internal);
        assert_eq!(shared.take_call(), Some(Call::Dismissed(ALICE, CloseCode::Forbidden)));
        assert_eq!(shared.take_call(), None);
        let frames = take(&mut shared).1.into_iter().filter(|item| matches!(item, Item::Frame(_)));
        assert_eq!(frames.count(), 1, "Bob's");
    }

    #[test]
    fn an_undivided_socket_gets_no_stateless_messages() {
        let mut outbox = outbox();
        let stateless = Frame { bytes: Bytes::from_static(&[5, 0]), kind: FrameKind::Stateless };
        outbox.push(ALICE, &stateless);
        outbox.push(ALICE, &flush(1, 1));
        assert_eq!(take(&mut outbox), (Some(Next::Batch), vec![Item::Frame(flush(1, 1))]));
    }

    fn difference(bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![0; bytes]), kind: FrameKind::Difference }
    }

    /// Outboxes of one address that pays from a ledger of so many bytes.
    fn of_one_address(count: usize, budget: usize) -> (Rc<RefCell<Ledger<u8>>>, Vec<Paying>) {
        let ledger = Rc::new(RefCell::new(Ledger::new(budget)));
        let limits = OutboxLimits { bytes_max: 1 << 20, frames_max: 64 };
        let outboxes = (0..count).map(|_| Paying::new(limits, Some(Rc::clone(&ledger)))).collect();
        (ledger, outboxes)
    }

    /// Sixty sockets that did not read once cost 34 MiB each, for 13 bytes that each sent.
    #[test]
    fn a_difference_that_nobody_can_pay_for_gives_way_to_the_state_that_all_share() {
        let (ledger, mut outboxes) = of_one_address(10, 64 << 20);
        let pushed: Vec<Pushed> = outboxes.iter_mut().map(|outbox| outbox.push(ALICE, &difference(10 << 20))).collect();
        assert!(pushed[..4].iter().all(|pushed| *pushed == Pushed::Taken));
        assert!(pushed[4..].iter().all(|pushed| *pushed == Pushed::Overflowed(0)));
        assert!(ledger.borrow().used() <= 48 << 20);
        assert_eq!(take(&mut outboxes[9]), (Some(Next::Drained(ALICE)), vec![]));
        let state = Frame { bytes: Bytes::from(vec![0; 40 << 20]), kind: FrameKind::State };
        assert_eq!(outboxes[9].push(ALICE, &state), Pushed::Taken);
        // What was taken is charged until it is written.
        assert_eq!(take(&mut outboxes[0]).0, Some(Next::Batch));
        assert!(ledger.borrow().used() >= 40 << 20);
        outboxes[0].ping();
        take(&mut outboxes[0]);
        assert!(ledger.borrow().used() <= 30 << 20);
        outboxes.iter_mut().for_each(|Paying { outbox, purse }| outbox.abandon(purse));
        assert_eq!(ledger.borrow().used(), 0);
    }

    #[test]
    fn questions_of_a_reader_that_does_not_read_wait_and_the_newest_is_answered() {
        let mut outbox = outbox();
        let question = |clock| Question::State([(1, clock)].into_iter().collect());
        assert_eq!(outbox.postpone(ALICE, question(1)), Some(question(1)), "nothing waits");
        outbox.push(ALICE, &Frame { bytes: Bytes::from(vec![0; 1 << 20]), kind: FrameKind::State });
        assert_eq!(take(&mut outbox).0, Some(Next::Batch));
        for clock in 2..100 {
            assert_eq!(outbox.postpone(ALICE, question(clock)), None, "a state is on its way");
            assert_eq!(outbox.postpone(ALICE, Question::Presence), None);
        }
        assert_eq!(take(&mut outbox), (Some(Next::Asked(ALICE, Question::Presence)), vec![]));
        assert_eq!(take(&mut outbox), (Some(Next::Asked(ALICE, question(99))), vec![]));
        assert_eq!(outbox.postpone(ALICE, Question::Presence), Some(Question::Presence));
    }

    #[test]
    fn what_waits_for_readers_of_one_address_leaves_memory_for_others() {
        let (ledger, mut outboxes) = of_one_address(10, 4 << 20);
        for seq in 1..20 {
            for outbox in &mut outboxes {
                let _ = outbox.push(ALICE, &flush(seq, 40 << 10)); // Taken, or its reader lags.
            }
        }
        assert!(ledger.borrow().used() <= 3 << 20, "{}", ledger.borrow().used());
        assert!(outboxes.iter().any(|outbox| outbox.waiting().0 == 0), "some lag");
    }
}
