//! Yjs documents read item by item: garbage collection and JSON. The only place that knows how items lie in each other.
//!
//! Linear in the document for what clients write, bounded for anything else, in depth, too. Costly all the same: run it on a
//! thread that may take its time, never in a room's task.

mod compact;
mod create;
pub mod edit;
mod json;
mod renew;
mod title;
mod tree;

pub use compact::{Compacted, Kept, compact, live_bytes};
pub use create::{CreateError, from_json};
pub use json::{ReadError, to_json, to_json_within};
pub use renew::{RenewError, renew};
pub use title::{TITLE_CHARS_MAX, title};
pub use tree::TreeError;
