//! Yjs documents read item by item: garbage collection and JSON. The only place that turns bytes into items.
//!
//! Costly, and as safe as yrs is on hostile content: run it on a thread with a large stack that may take its time, never in a
//! room's task. A panic inside yrs is caught here and ends nothing but the call.

mod compact;
mod json;
mod tree;

pub use compact::{Compacted, Kept, compact};
pub use json::{ReadError, to_json};
pub use tree::TreeError;

use std::panic::{AssertUnwindSafe, catch_unwind};
use yrs::updates::decoder::Decode;
use yrs::{Doc, OffsetKind, Options, Transact, Update};

/// Builds a document from one update, and hands it to `read`. `None` when yrs refused it or panicked.
fn with_document<T>(update: &[u8], read: impl FnOnce(&Doc) -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| {
        let doc = Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() });
        let update = Update::decode_v1(update).ok()?;
        doc.transact_mut().apply_update(update).ok()?;
        Some(read(&doc))
    }))
    .ok()
    .flatten()
}
