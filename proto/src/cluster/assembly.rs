//! Puts envelopes together that came in parts: in order, one at a time per node, within a budget of all subscriptions together.

use super::Part;
use crate::id::NodeId;
use crate::limits::bus::ASSEMBLY_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What unfinished envelopes are counted against.
#[derive(Clone, Debug, Default)]
pub struct AssemblyBudget(Arc<AtomicUsize>);

/// The unfinished envelopes of one subscription.
#[derive(Debug, Default)]
pub struct Assembly {
    unfinished: BTreeMap<NodeId, Unfinished>,
}

/// What a part led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled {
    /// More parts are to come.
    Waiting,
    /// The whole envelope.
    Whole(Bytes),
    /// A part before it is missing, or too much is unfinished: the envelope is lost.
    Lost,
}

#[derive(Debug)]
struct Unfinished {
    message: u64,
    next: u32,
    bytes: BytesMut,
    _share: BudgetShare,
}

impl Assembly {
    /// Takes a part of what `node` says.
    pub fn take(&mut self, node: NodeId, part: &Part, budget: &AssemblyBudget) -> Assembled {
        if part.index == 0 {
            self.unfinished.remove(&node);
            let Some(share) = budget.hold(part.count as usize * part.bytes.len()) else { return Assembled::Lost };
            let bytes = BytesMut::with_capacity(part.bytes.len());
            self.unfinished.insert(node, Unfinished { message: part.message, next: 0, bytes, _share: share });
        }
        let is_next = |one: &&mut Unfinished| one.message == part.message && one.next == part.index;
        let Some(unfinished) = self.unfinished.get_mut(&node).filter(is_next) else {
            // Its first parts were not heard, or not taken. Said once, with the last of them.
            self.unfinished.remove(&node);
            return if part.index + 1 == part.count { Assembled::Lost } else { Assembled::Waiting };
        };
        unfinished.bytes.extend_from_slice(&part.bytes);
        unfinished.next += 1;
        if unfinished.next < part.count {
            return Assembled::Waiting;
        }
        let whole = self.unfinished.remove(&node).map(|unfinished| unfinished.bytes.freeze());
        whole.map_or(Assembled::Lost, Assembled::Whole)
    }

    /// Forgets what a node had begun to say.
    pub fn forget(&mut self, node: NodeId) {
        self.unfinished.remove(&node);
    }

    /// Forgets everything that was begun.
    pub fn clear(&mut self) {
        self.unfinished.clear();
    }
}

impl AssemblyBudget {
    fn hold(&self, bytes: usize) -> Option<BudgetShare> {
        let fits = |used: usize| Some(used + bytes).filter(|sum| *sum <= ASSEMBLY_BYTES_MAX);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(BudgetShare { budget: self.clone(), bytes })
    }
}

/// Bytes that are taken from the budget.
#[derive(Debug)]
struct BudgetShare {
    budget: AssemblyBudget,
    bytes: usize,
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::BusFrame;
    use super::*;
    use crate::limits::bus::{BODY_BYTES_MAX, PARTS_MAX};

    const ANN: NodeId = NodeId(1);
    const BEN: NodeId = NodeId(2);

    fn parts(len: usize, message: u64) -> (Bytes, Vec<Part>) {
        let envelope: Bytes = (0..len).map(|n| (n % 251) as u8).collect();
        let part = |frame| match frame {
            BusFrame::Part(part) => part,
            other => panic!("{other:?}"),
        };
        (envelope.clone(), BusFrame::carry(envelope, message).into_iter().map(part).collect())
    }

    #[test]
    fn interleaved_parts_of_two_nodes_become_their_envelopes() {
        let (mut assembly, budget) = (Assembly::default(), AssemblyBudget::default());
        let (whole, parts) = parts(2 * BODY_BYTES_MAX + 7, 1);
        for part in &parts[..2] {
            assert_eq!(assembly.take(ANN, part, &budget), Assembled::Waiting);
            assert_eq!(assembly.take(BEN, part, &budget), Assembled::Waiting);
        }
        assert_eq!(assembly.take(ANN, &parts[2], &budget), Assembled::Whole(whole.clone()));
        assert_eq!(assembly.take(BEN, &parts[2], &budget), Assembled::Whole(whole));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_missing_part_loses_its_envelope_once_and_the_next_one_is_whole() {
        let (mut assembly, budget) = (Assembly::default(), AssemblyBudget::default());
        let (_, first) = parts(3 * BODY_BYTES_MAX + 7, 1);
        assert_eq!(assembly.take(ANN, &first[0], &budget), Assembled::Waiting);
        assert_eq!(assembly.take(ANN, &first[2], &budget), Assembled::Waiting);
        assert_eq!(assembly.take(ANN, &first[3], &budget), Assembled::Lost);
        let (whole, second) = parts(BODY_BYTES_MAX + 7, 2);
        assert_eq!(assembly.take(ANN, &second[0], &budget), Assembled::Waiting);
        assert_eq!(assembly.take(ANN, &second[1], &budget), Assembled::Whole(whole));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_unfinished_is_bounded() {
        let (mut assembly, budget) = (Assembly::default(), AssemblyBudget::default());
        let bytes = Bytes::from(vec![0; BODY_BYTES_MAX]);
        let first = Part { message: 1, index: 0, count: PARTS_MAX, bytes };
        assert_eq!(assembly.take(ANN, &first, &budget), Assembled::Waiting);
        assert_eq!(assembly.take(BEN, &first, &budget), Assembled::Lost);
        assembly.forget(ANN);
        assert_eq!(assembly.take(BEN, &first, &budget), Assembled::Waiting);
        assembly.clear();
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
