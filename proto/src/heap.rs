//! What collections take on the heap, as std lays them out and common allocators round it: for the memory budget of rooms.
//!
//! Estimates; `proto/tests/memory.rs` compares them with what is really allocated.

/// A block of so many bytes.
pub(crate) const fn block(bytes: usize) -> usize {
    const HEADER: usize = 8;
    const STEP: usize = 16;
    if bytes == 0 { 0 } else { (bytes + HEADER).next_multiple_of(STEP) }
}

/// A vector of so much capacity.
pub(crate) fn vec<T>(capacity: usize) -> usize {
    block(capacity * size_of::<T>())
}

/// A B-tree map of so many entries that came one by one in ascending order, as most do: nodes are about half full.
pub(crate) fn tree<K, V>(len: usize) -> usize {
    nodes::<K, V>(len, 7)
}

/// One whose entries came at random, or together: nodes are two thirds full, or all.
pub(crate) fn full_tree<K, V>(len: usize) -> usize {
    nodes::<K, V>(len, 10)
}

/// `filled` counts the entry between two nodes, too.
fn nodes<K, V>(len: usize, filled: usize) -> usize {
    /// Entries of a full node.
    const FULL: usize = 11;
    const EDGES: usize = (FULL + 1) * size_of::<usize>();
    if len == 0 {
        return 0;
    }
    let leaf = FULL * (size_of::<K>() + size_of::<V>()) + 2 * size_of::<usize>();
    let leaves = if len <= FULL { 1 } else { len.div_ceil(filled) };
    let inner = if leaves > 1 { leaves.div_ceil(filled) } else { 0 };
    leaves * block(leaf) + inner * block(leaf + EDGES)
}
