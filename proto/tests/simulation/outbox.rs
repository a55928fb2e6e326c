//! `src/outbox/mod.rs` without locks and wakers, for a socket with one session: the same bounds, the same answers, in the same order.

use std::collections::VecDeque;
use ydash_proto::limits::Limits;
use ydash_proto::room::{FlushSeq, Frame, FrameKind};

const BATCH_FRAMES: usize = 64;
/// What follows an overflow must fit into an empty outbox.
const FRAMES_ALWAYS: usize = 5;

#[derive(Debug)]
pub(crate) enum Item {
    Frame(Frame),
    Acks { saved: bool, count: u32 },
}

#[derive(Debug)]
pub(crate) enum Next {
    Batch(Vec<Item>),
    Drained,
    Close,
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    saved: u32,
    refused: u32,
    lags: bool,
    is_closing: bool,
}

impl Outbox {
    /// The first lost flush when this overflowed.
    pub(crate) fn push(&mut self, frame: &Frame, limits: &Limits) -> Option<FlushSeq> {
        if self.is_closing || self.lags {
            return None;
        }
        if frame.kind == FrameKind::Stateless {
            return None; // The y-websocket dialect has no message for it.
        }
        let weight = weight(frame);
        let has_state = || self.frames.iter().any(|waiting| waiting.kind == FrameKind::State);
        let fits = (self.bytes + weight <= limits.outbox_bytes_max || self.frames.len() < FRAMES_ALWAYS)
            && self.frames.len() < limits.outbox_frames_max
            && (frame.kind != FrameKind::State || !has_state());
        if fits {
            self.bytes += weight;
            self.frames.push_back(frame.clone());
            return None;
        }
        let first_lost = self.frames.iter().map(lost).min().map_or(lost(frame), |first| first.min(lost(frame)));
        self.frames.clear();
        self.bytes = 0;
        self.lags = true;
        Some(first_lost)
    }

    pub(crate) fn ack(&mut self, saved: bool, count: u32) {
        *(if saved { &mut self.saved } else { &mut self.refused }) += count;
    }

    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    pub(crate) fn lags(&self) -> bool {
        self.lags
    }

    pub(crate) fn next(&mut self) -> Next {
        let mut batch = Vec::new();
        for (saved, count) in [(true, core::mem::take(&mut self.saved)), (false, core::mem::take(&mut self.refused))] {
            if count > 0 {
                batch.push(Item::Acks { saved, count });
            }
        }
        let count = self.frames.len().min(BATCH_FRAMES);
        for frame in self.frames.drain(..count) {
            self.bytes -= weight(&frame);
            batch.push(Item::Frame(frame));
        }
        if !batch.is_empty() {
            return Next::Batch(batch);
        }
        if self.is_closing {
            return Next::Close;
        }
        if core::mem::take(&mut self.lags) { Next::Drained } else { Next::Nothing }
    }
}

fn weight(frame: &Frame) -> usize {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(_) | FrameKind::Notice | FrameKind::Stateless => frame.bytes.len(),
    }
}

fn lost(frame: &Frame) -> FlushSeq {
    match frame.kind {
        FrameKind::State | FrameKind::Difference => 0,
        FrameKind::Flush(seq) => seq,
        FrameKind::Notice | FrameKind::Stateless => FlushSeq::MAX,
    }
}
