//! One traced edit on its way through a room, from the socket until it is saved: which part it is in, and since when.
//!
//! A room follows one edit at a time. Whatever else comes meanwhile goes untraced.

use std::time::Instant;

use crate::trace::{Span, SpanContext};

/// An edit that is traced.
#[derive(Debug)]
pub(super) struct TracedEdit {
    edit: Span,
    /// The part it is in before it is accepted: the inbox, then the gate.
    coming: Option<Span>,
    /// From the gate until all others have it in their outboxes.
    flush: Option<Span>,
    /// From the store's writer until it is durable.
    commit: Option<Span>,
    is_accepted: bool,
}

impl TracedEdit {
    /// An edit that is about to go into the room's inbox. What happened since it `arrived` was its socket's part.
    pub(super) fn new(edit: Span, arrived: Option<Instant>) -> Box<TracedEdit> {
        let edit = match arrived {
            Some(arrived) => {
                let edit = edit.since(arrived);
                drop(edit.child("socket").since(arrived));
                edit
            }
            None => edit,
        };
        let coming = Some(edit.child("queue"));
        Box::new(TracedEdit { edit, coming, flush: None, commit: None, is_accepted: false })
    }

    /// The room takes it.
    pub(super) fn taken(&mut self) {
        self.coming = None;
        self.coming = Some(self.edit.child("gate"));
    }

    /// It passed the gate.
    pub(super) fn accepted(&mut self) {
        if !self.is_accepted {
            self.is_accepted = true;
            self.coming = None;
            self.flush = Some(self.edit.child("flush"));
        }
    }

    /// Whether it passed the gate.
    pub(super) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Everybody here has it in the outbox.
    pub(super) fn flushed(&mut self, bytes: usize) {
        if let Some(mut flush) = self.flush.take() {
            flush.note("bytes", bytes as u64);
        }
    }

    /// It goes to other nodes, which may go on with the trace.
    pub(super) fn published(&self, bytes: usize) -> Option<SpanContext> {
        self.is_accepted.then(|| {
            let mut bus = self.edit.child("bus");
            bus.note("bytes", bytes as u64);
            bus.context()
        })
    }

    /// The store's writer gets it, with whatever else the room has.
    pub(super) fn appends(&mut self, entries: usize, bytes: usize) {
        if self.is_accepted && self.commit.is_none() {
            let mut commit = self.edit.child("commit");
            commit.note("entries", entries as u64);
            commit.note("bytes", bytes as u64);
            self.commit = Some(commit);
        }
    }

    /// Something is durable. If it is this edit, its author is told now: that is the last part.
    pub(super) fn appended(&mut self) -> Option<Span> {
        drop(self.commit.take()?);
        Some(self.edit.child("ack"))
    }
}

/// A newcomer that is traced, from when its dashboard was asked for until the answer to its first question is in its outbox.
#[derive(Debug)]
pub(super) struct TracedJoin {
    join: Span,
    /// The inbox; then nothing until the client asks; then the making of the difference.
    part: Option<Span>,
}

impl TracedJoin {
    /// A newcomer whose dashboard is open, since it was `asked` for.
    pub(super) fn new(join: Span, asked: Instant) -> Box<TracedJoin> {
        let join = join.since(asked);
        drop(join.child("open").since(asked));
        let part = Some(join.child("queue"));
        Box::new(TracedJoin { join, part })
    }

    /// The room takes it in.
    pub(super) fn taken(&mut self) {
        self.part = None;
    }

    /// Its question is put.
    pub(super) fn asks(&mut self) {
        self.part = Some(self.join.child("encode"));
    }

    /// The answer goes into its outbox; that is all.
    pub(super) fn answered(mut self: Box<Self>, bytes: usize) {
        if let Some(part) = &mut self.part {
            part.note("bytes", bytes as u64);
        }
    }
}
