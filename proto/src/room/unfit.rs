//! Members that have what does not fit: into a message, into the document, or into memory.
//!
//! They stay, and are told. A client that were closed for it would come back and send it again, for ever; one that were asked for it at each
//! later edit would, too. So it is asked ever more rarely.

use super::Room;
use super::effect::{Effect, Frame, FrameKind, LimitReached};
use super::input::Dialect;
use crate::id::MemberId;
use crate::wire::encode;
use core::time::Duration;

/// A refused update of more than this is not asked for as often as others.
const LARGE_BYTES: usize = 64 << 10;
/// How often the pause between two questions may double.
const DOUBLINGS_MAX: u8 = 7;

/// What a member has sent that did not fit.
#[derive(Debug, Default)]
pub(super) struct Unfit {
    /// How many times in a row.
    times: u8,
    is_told: bool,
}

impl Unfit {
    /// Whether something did not fit, and nothing was taken since that would fill its gap.
    pub(super) fn is_any(&self) -> bool {
        self.times > 0
    }

    /// How long to wait before the member is asked again, if others wait for `pause`.
    pub(super) fn pause(&self, pause: Duration) -> Duration {
        pause * (1 << self.times.min(DOUBLINGS_MAX))
    }

    /// What it answered was taken.
    pub(super) fn is_over(&mut self) {
        self.times = 0;
    }
}

impl Room {
    /// An update of a member was in a message that is longer than one may be.
    pub(super) fn too_large(&mut self, id: MemberId, acks: u32, effects: &mut Vec<Effect>) {
        self.ack(id, false, acks, effects);
        self.does_not_fit(id, LimitReached::MessageBytes, usize::MAX, effects);
    }

    /// An update of so many bytes was not taken for lack of room.
    pub(super) fn does_not_fit(&mut self, id: MemberId, why: LimitReached, bytes: usize, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if bytes > LARGE_BYTES {
            member.unfit.times = member.unfit.times.saturating_add(1).min(DOUBLINGS_MAX);
        }
        self.tell_unsaved(id, &why.to_string(), effects);
    }

    /// Says once why something of a member is not saved: its client prints it.
    pub(super) fn tell_unsaved(&mut self, id: MemberId, why: &str, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        // Providers of the other dialect would take it for their end, and count the update as unsaved anyway.
        if member.dialect == Dialect::YWebsocket && !core::mem::replace(&mut member.unfit.is_told, true) {
            let bytes = encode::permission_denied(why);
            effects.push(Effect::Send { to: id, frame: Frame { bytes, kind: FrameKind::Notice } });
        }
    }
}
