//! Live dashboards on this node: one task each, found through the [`Registry`], reached through a [`RoomHandle`].
//!
//! What a room decides is [`ydash_proto::room`]; here is the task that feeds it and does what it wants done.

mod about;
mod clock;
mod driver;
mod handle;
mod memory;
mod registry;
mod storage;
mod traced;
mod users;
mod versions;
mod visit;

pub use crate::store::{VersionInfo, VersionLimit};
pub use about::Noted;
pub use clock::Clock;
pub use handle::{Ended, MemberIds, RoomHandle, RoomView, WriteError};
pub use registry::{OpenError, Registry, RoomsConfig};
pub use versions::{KeepError, Keeping};
pub use visit::{Stay, Visit, Visitors};
