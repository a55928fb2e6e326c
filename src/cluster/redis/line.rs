//! One subscription: its channel, who else is on it, and the room's inbox.

use super::super::Inbox;
use super::assembly::{Assembled, Assembly, Budget};
use super::company::Company;
use super::frame::Frame;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use ydash_proto::id::NodeId;

/// A dashboard that is open on this node.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) channel: Arc<str>,
    pub(super) slot: u16,
    /// A *here* waits to be said: one answers all who asked.
    pub(super) is_answering: AtomicBool,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
    has_others: AtomicBool,
    has_had_others: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    company: Company,
    assembly: Assembly,
    /// Whoever subscribed did not wait for the confirmation, or what came before it was not heard.
    has_missed: bool,
}

/// What is to be said because something was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// That this node is here.
    pub(super) here: bool,
    /// That the node was taken for gone.
    pub(super) forgotten: bool,
}

impl Line {
    /// One that is not connected yet.
    pub(super) fn new(channel: Arc<str>, slot: u16) -> Line {
        Line {
            channel,
            slot,
            is_answering: AtomicBool::new(false),
            inbox: Arc::default(),
            state: Mutex::default(),
            has_others: AtomicBool::new(true),
            has_had_others: AtomicBool::new(true),
        }
    }

    /// Where its room takes what is heard.
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(super) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Acquire)
    }

    pub(super) fn has_had_others(&self) -> bool {
        self.has_had_others.load(Ordering::Acquire)
    }

    /// Takes what another node says. `None`: it is nothing that belongs on a dashboard's channel.
    pub(super) fn hear(&self, own: NodeId, from: NodeId, frame: Frame, budget: &Budget) -> Option<Reply> {
        let mut state = self.lock();
        if frame == Frame::Bye {
            state.assembly.forget(from);
            let was_here = state.company.left(from);
            self.show(&state);
            if was_here {
                self.inbox.gone(from);
            }
            return Some(Reply::default());
        }
        if matches!(frame, Frame::Heartbeat(_)) {
            return None;
        }
        // Before the room hears of it: it looks whether it has company when it does.
        let met = state.company.met(from);
        self.show(&state);
        match &frame {
            Frame::Envelope(envelope) => self.inbox.put(envelope.clone()),
            Frame::Part(part) => match state.assembly.take(from, part, budget) {
                Assembled::Waiting => {}
                Assembled::Whole(envelope) => self.inbox.put(envelope),
                Assembled::Lost => self.inbox.lost(),
            },
            Frame::Forgotten(target) if *target == own => self.inbox.forgotten(),
            _ => {}
        }
        Some(Reply { here: frame == Frame::Hello, forgotten: met.was_dropped })
    }

    /// It is heard from here on, and `listeners` others heard the hello. Says until when that leaves a doubt about who is here.
    pub(super) fn subscribed(&self, now: Instant, listeners: Option<usize>) -> Option<Instant> {
        let mut state = self.lock();
        state.company.subscribed(now, listeners);
        self.show(&state);
        if core::mem::take(&mut state.has_missed) {
            self.inbox.lost();
        }
        state.company.settles_at()
    }

    /// Its subscriber does not wait for the confirmation any longer.
    pub(super) fn is_not_awaited(&self) {
        let mut state = self.lock();
        if !state.company.is_connected() {
            state.has_missed = true;
            state.company.disconnected();
            self.show(&state);
        }
    }

    /// Nothing is heard until it is subscribed again.
    pub(super) fn disconnected(&self) {
        let mut state = self.lock();
        state.has_missed |= state.company.is_connected();
        state.company.disconnected();
        state.assembly.clear();
        self.show(&state);
    }

    /// This node was away for a while, which others may have noticed: a hello is about to be said once more.
    pub(super) fn was_away(&self) {
        let mut state = self.lock();
        state.company.ask_again();
        self.show(&state);
        self.inbox.lost();
    }

    /// A node is gone without its word.
    pub(super) fn gone(&self, node: NodeId) {
        let mut state = self.lock();
        state.assembly.forget(node);
        if state.company.gone(node) {
            self.show(&state);
            self.inbox.gone(node);
        }
    }

    /// A node has left the bus altogether.
    pub(super) fn left(&self, node: NodeId) {
        let mut state = self.lock();
        state.assembly.forget(node);
        if state.company.left(node) {
            self.show(&state);
            self.inbox.gone(node);
        }
    }

    /// Whether a node was taken for gone here.
    pub(super) fn has_dropped(&self, node: NodeId) -> bool {
        self.lock().company.has_dropped(node)
    }

    /// Ends a doubt that has lasted long enough. Says whether there is none left.
    pub(super) fn settle(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let gone = state.company.settle(now);
        self.show(&state);
        for node in gone {
            state.assembly.forget(node);
            self.inbox.gone(node);
        }
        state.company.settles_at().is_none()
    }

    fn show(&self, state: &State) {
        self.has_others.store(state.company.has_others(), Ordering::Release);
        self.has_had_others.store(state.company.has_had_others(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
