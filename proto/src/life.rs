//! The lives of a dashboard's name: what was deleted under it, what of that can be taken back, and whose copies may not come back by themselves.
//!
//! A dashboard is deleted, and its name ends a *life*. Whoever begins a dashboard of that name anew begins another life, with another number.
//! Rooms and stores hold on to the number: what belongs to a life that is over is refused wherever it arrives, however late.
//!
//! A client cannot say which life its copy is of. But it says what it has: for every client id how many clocks. So the name remembers the
//! clocks of all that was deleted, and whoever has some of those that the dashboard does not have holds a copy of something deleted.

use crate::id::{ClientId, Clock, DashboardId};
use crate::lib0::{Reader, write_var_uint};
use crate::limits::Limits;
use crate::time::Timestamp;
use crate::update::{Scan, StateVector};
use std::sync::Arc;

/// Which life of a name, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u32);

impl Life {
    /// That of a name under which nothing was ever deleted.
    pub const FIRST: Life = Life(0);
}

impl core::fmt::Display for Life {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// Deleted dashboards of one name that can be taken back at a time.
pub const TRASHED_MAX: usize = 16;

/// Client ids of deleted dashboards that a name remembers: twice as many as one dashboard may have. 3 MB at most, usually some hundred bytes.
pub const ENDED_CLIENTS_MAX: usize = 2 << 17;

/// The client id under which pages apply templates. Content under it is no sign of any particular life.
const TEMPLATE: ClientId = 0;

/// What a store keeps of a name beside the dashboard itself. The default is that of a name under which nothing was ever deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// Grows by one with each change.
    pub version: u64,
    /// The life that is now, or that ended last.
    pub current: Life,
    /// The last that was begun.
    pub last: Life,
    /// Whether the current one has ended.
    pub gone: Option<Gone>,
    /// What can be taken back, oldest first. At most [`TRASHED_MAX`].
    pub trash: Vec<Trashed>,
    /// How far the clocks of deleted dashboards went. At most [`ENDED_CLIENTS_MAX`].
    pub ended: StateVector,
}

/// How a life ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// When.
    pub at: Timestamp,
    /// The name that it goes on under.
    pub moved_to: Option<DashboardId>,
}

/// A dashboard in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    /// Which life it was.
    pub life: Life,
    /// When it was deleted.
    pub at: Timestamp,
    /// By whom, as far as verified.
    pub by: Option<Arc<str>>,
    /// When it ends for good; `None` for never.
    pub until: Option<Timestamp>,
}

/// What is to become of what is kept under the name, together with a change of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// It stays.
    Nothing,
    /// It goes into the trash, as this life.
    Aside(Life),
    /// This life comes back from there.
    Back(Life),
}

/// The next state of a name, and what moves with it. A store makes it only of the version before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeChange {
    /// What there is then.
    pub next: Lives,
    /// What moves.
    pub moving: Moving,
}

/// Why a name does not change so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// Nothing of that is there.
    #[error("nothing of this name is there, or none of it in the trash")]
    NotThere,
    /// It is there, so it cannot be taken back or begin.
    #[error("a dashboard of this name exists")]
    Exists,
    /// Too many dashboards of this name are in the trash.
    #[error("the trash holds at most {TRASHED_MAX} dashboards of one name: end one for good first")]
    TrashFull,
    /// Too many client ids are remembered: whoever came back with a copy could not be told from others.
    #[error("deleted dashboards of this name had more than {ENDED_CLIENTS_MAX} client ids: choose another name")]
    NameSpent,
}

impl Lives {
    /// Whether a life is the one that may be read and written.
    #[must_use]
    pub fn is_current(&self, life: Life) -> bool {
        self.gone.is_none() && self.current == life
    }

    /// What is in the trash by its life; the youngest without.
    #[must_use]
    pub fn trashed(&self, life: Option<Life>) -> Option<&Trashed> {
        match life {
            Some(life) => self.trash.iter().find(|trashed| trashed.life == life),
            None => self.trash.last(),
        }
    }

    /// The dashboard goes into the trash.
    ///
    /// # Errors
    /// [`LifeError::NotThere`], [`LifeError::TrashFull`].
    pub fn delete(
        &self,
        now: Timestamp,
        by: Option<Arc<str>>,
        until: Option<Timestamp>,
        moved_to: Option<DashboardId>,
    ) -> Result<LifeChange, LifeError> {
        if self.gone.is_some() {
            return Err(LifeError::NotThere);
        }
        if self.trash.len() >= TRASHED_MAX {
            return Err(LifeError::TrashFull);
        }
        let mut next = self.following();
        next.gone = Some(Gone { at: now, moved_to });
        next.trash.push(Trashed { life: self.current, at: now, by, until });
        Ok(LifeChange { next, moving: Moving::Aside(self.current) })
    }

    /// A life comes back from the trash. Pages that have it open or kept a copy go on where they were. `ended` are the clocks of what stays
    /// in the trash.
    ///
    /// # Errors
    /// [`LifeError::Exists`], [`LifeError::NotThere`], [`LifeError::NameSpent`].
    pub fn restore(&self, life: Option<Life>, ended: &StateVector) -> Result<LifeChange, LifeError> {
        let life = self.trashed(life).ok_or(LifeError::NotThere)?.life;
        if self.gone.is_none() {
            return Err(LifeError::Exists);
        }
        let mut next = self.following();
        next.remember(ended)?;
        next.trash.retain(|trashed| trashed.life != life);
        next.gone = None;
        next.current = life;
        Ok(LifeChange { next, moving: Moving::Back(life) })
    }

    /// Another life begins. `ended` are the clocks of what is in the trash.
    ///
    /// # Errors
    /// [`LifeError::Exists`], [`LifeError::NameSpent`].
    pub fn begin(&self, ended: &StateVector) -> Result<LifeChange, LifeError> {
        if self.gone.is_none() {
            return Err(LifeError::Exists);
        }
        let mut next = self.following();
        next.remember(ended)?;
        next.gone = None;
        next.last = Life(self.last.0 + 1);
        next.current = next.last;
        Ok(LifeChange { next, moving: Moving::Nothing })
    }

    /// Remembers the clocks of what is in the trash and about to end for good.
    ///
    /// # Errors
    /// [`LifeError::NameSpent`].
    pub fn note_ended(&self, ended: &StateVector) -> Result<LifeChange, LifeError> {
        let mut next = self.following();
        next.remember(ended)?;
        Ok(LifeChange { next, moving: Moving::Nothing })
    }

    /// A life has ended for good: nothing is kept of it any more.
    #[must_use]
    pub fn purge(&self, life: Life) -> LifeChange {
        let mut next = self.following();
        next.trash.retain(|trashed| trashed.life != life);
        LifeChange { next, moving: Moving::Nothing }
    }

    fn following(&self) -> Lives {
        Lives { version: self.version + 1, ..self.clone() }
    }

    fn remember(&mut self, ended: &StateVector) -> Result<(), LifeError> {
        let random = ended.iter().filter(|(client, _)| *client != TEMPLATE);
        random.for_each(|(client, clock)| self.ended.advance(client, clock));
        if self.ended.len() > ENDED_CLIENTS_MAX { Err(LifeError::NameSpent) } else { Ok(()) }
    }

    /// As a store keeps it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_var_uint(&mut out, FORMAT);
        write_var_uint(&mut out, self.version);
        write_var_uint(&mut out, self.current.0.into());
        write_var_uint(&mut out, self.last.0.into());
        match &self.gone {
            None => write_var_uint(&mut out, 0),
            Some(gone) => {
                write_var_uint(&mut out, 1);
                write_var_uint(&mut out, gone.at.0);
                write_text(&mut out, gone.moved_to.as_ref().map(DashboardId::as_str));
            }
        }
        write_var_uint(&mut out, self.trash.len() as u64);
        for trashed in &self.trash {
            write_var_uint(&mut out, trashed.life.0.into());
            write_var_uint(&mut out, trashed.at.0);
            write_text(&mut out, trashed.by.as_deref());
            write_var_uint(&mut out, trashed.until.map_or(0, |until| until.0.saturating_add(1)));
        }
        out.extend_from_slice(&self.ended.encode());
        out
    }

    /// Reads what a store keeps; `None` if it is none, or of a later ydash.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Lives> {
        let mut reader = Reader::new(bytes);
        if reader.var_uint().ok()? != FORMAT {
            return None;
        }
        let version = reader.var_uint().ok()?;
        let (current, last) = (read_life(&mut reader)?, read_life(&mut reader)?);
        let gone = match reader.var_uint().ok()? {
            0 => None,
            1 => {
                let at = Timestamp(reader.var_uint().ok()?);
                let moved_to = match read_text(&mut reader)? {
                    Some(name) => Some(DashboardId::stored(name).ok()?),
                    None => None,
                };
                Some(Gone { at, moved_to })
            }
            _ => return None,
        };
        let mut trash = Vec::new();
        for _ in 0..reader.var_uint().ok().filter(|count| *count <= TRASHED_MAX as u64)? {
            let (life, at) = (read_life(&mut reader)?, Timestamp(reader.var_uint().ok()?));
            let by = read_text(&mut reader)?.map(Arc::from);
            let until = reader.var_uint().ok()?.checked_sub(1).map(Timestamp);
            trash.push(Trashed { life, at, by, until });
        }
        let limits = Limits { document_clients_max: ENDED_CLIENTS_MAX, ..Limits::default() };
        let ended = StateVector::decode(&bytes[reader.pos()..], &limits).ok()?;
        Some(Lives { version, current, last, gone, trash, ended })
    }
}

/// Changed with the layout of [`Lives::encode`].
const FORMAT: u64 = 1;

fn write_text(out: &mut Vec<u8>, text: Option<&str>) {
    write_var_uint(out, text.map_or(0, |text| text.len() as u64 + 1));
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn read_text<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a str>> {
    match reader.var_uint().ok()?.checked_sub(1) {
        None => Some(None),
        Some(len) => {
            let bytes = reader.bytes(usize::try_from(len).ok()?).ok()?;
            core::str::from_utf8(bytes).ok().map(Some)
        }
    }
}

fn read_life(reader: &mut Reader<'_>) -> Option<Life> {
    Some(Life(u32::try_from(reader.var_uint().ok()?).ok()?))
}

/// The clocks of deleted dashboards that the one which is there now does not have.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<StateVector>);

impl Ended {
    /// Of what a name remembers.
    #[must_use]
    pub fn new(ended: StateVector) -> Ended {
        Ended(Arc::new(ended))
    }

    /// Whether nothing was ever deleted, so that nobody needs to be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody who has `clock` clocks of a client has some that were deleted, where the dashboard has `known` of them.
    ///
    /// A dashboard that came back, or that was imported with all that the deleted one had, has those clocks itself. One that was imported
    /// from an older copy has fewer; what a copy has beyond that is not its own.
    fn has(&self, client: ClientId, clock: Clock, known: Clock) -> bool {
        clock > known && self.0.get(client) > known
    }

    /// Whether somebody who has `have` holds a copy of something deleted.
    #[must_use]
    pub fn is_held(&self, have: &StateVector, known: &StateVector) -> bool {
        !self.is_empty() && have.iter().any(|(client, clock)| self.has(client, clock, known.get(client)))
    }

    /// Whether an update brings something deleted.
    #[must_use]
    pub fn is_brought(&self, scan: &Scan, known: &StateVector) -> bool {
        !self.is_empty() && scan.spans.iter().any(|span| self.has(span.client, span.end, known.get(span.client)))
    }

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn vector(clocks: &[(ClientId, Clock)]) -> StateVector {
        clocks.iter().copied().collect()
    }

    fn deleted(lives: &Lives) -> Lives {
        lives.delete(NOW, Some("ada".into()), Some(Timestamp(2_000_000)), None).unwrap().next
    }

    #[test]
    fn a_name_goes_from_life_to_life_and_its_version_grows() {
        let first = Lives::default();
        assert!(first.is_current(Life::FIRST));
        assert_eq!(first.restore(None, &StateVector::default()), Err(LifeError::NotThere));
        assert_eq!(first.begin(&StateVector::default()), Err(LifeError::Exists));
        let gone = first.delete(NOW, None, None, None).unwrap();
        assert_eq!(gone.moving, Moving::Aside(Life(0)));
        assert!(!gone.next.is_current(Life(0)));
        assert_eq!(gone.next.delete(NOW, None, None, None), Err(LifeError::NotThere));
        let second = gone.next.begin(&vector(&[(7, 3)])).unwrap();
        assert!(second.next.is_current(Life(1)) && !second.next.is_current(Life(0)));
        assert_eq!(second.next.restore(None, &StateVector::default()), Err(LifeError::Exists));
        let gone = deleted(&second.next);
        assert_eq!(gone.trash.len(), 2);
        let back = gone.restore(Some(Life(0)), &StateVector::default()).unwrap();
        assert_eq!((back.moving, back.next.current), (Moving::Back(Life(0)), Life(0)));
        assert!(!back.next.is_current(Life(1)), "a room of the second life learns that it is over");
        let third = deleted(&back.next).begin(&StateVector::default()).unwrap().next;
        assert_eq!(third.current, Life(2), "no number is used twice");
        assert_eq!(third.version, 6);
    }

    #[test]
    fn the_trash_and_what_is_remembered_are_bounded() {
        let mut lives = Lives::default();
        for _ in 0..TRASHED_MAX {
            lives = deleted(&lives).begin(&StateVector::default()).unwrap().next;
        }
        assert_eq!(lives.delete(NOW, None, None, None), Err(LifeError::TrashFull));
        lives = lives.purge(Life(3)).next;
        lives = deleted(&lives);
        assert!(lives.trashed(Some(Life(3))).is_none() && lives.trashed(Some(Life(4))).is_some());
        let many: StateVector = (1..=ENDED_CLIENTS_MAX as u64 + 1).map(|client| (client, 1)).collect();
        assert_eq!(lives.begin(&many), Err(LifeError::NameSpent));
        assert_eq!(lives.note_ended(&many), Err(LifeError::NameSpent));
    }

    #[test]
    fn lives_are_read_as_they_were_kept() {
        let mut lives = deleted(&Lives::default()).begin(&vector(&[(1, 2), (u64::from(u32::MAX), 9)])).unwrap().next;
        assert_eq!(Lives::decode(&lives.encode()), Some(lives.clone()));
        let moved = DashboardId::parse("acme/other").unwrap();
        lives = lives.delete(NOW, None, None, Some(moved)).unwrap().next;
        assert_eq!(Lives::decode(&lives.encode()), Some(lives.clone()));
        assert_eq!(Lives::decode(&Lives::default().encode()), Some(Lives::default()));
        let bytes = lives.encode();
        for len in 0..bytes.len() {
            assert_eq!(Lives::decode(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Lives::decode(&[2]), None);
    }

    /// Change these bytes only together with [`FORMAT`] and docs/STORAGE.md.
    #[test]
    fn golden_lives() {
        let lives = deleted(&Lives::default()).begin(&vector(&[(5, 7)])).unwrap().next;
        assert_eq!(lives.encode(), b"\x01\x02\x01\x01\x00\x01\x00\xc0\x84\x3d\x04ada\x81\x89\x7a\x01\x05\x07");
    }

    #[test]
    fn who_holds_a_copy_of_something_deleted_is_told_from_others() {
        let ended = Ended::new(vector(&[(1, 10), (2, 5)]));
        let held =
            |have: &[(ClientId, Clock)], known: &[(ClientId, Clock)]| ended.is_held(&vector(have), &vector(known));
        assert!(held(&[(1, 1)], &[]));
        assert!(held(&[(9, 4), (2, 5)], &[(9, 4)]));
        assert!(!held(&[(9, 4)], &[]), "a newcomer");
        assert!(!held(&[], &[]));
        assert!(!held(&[(1, 10), (2, 5), (9, 3)], &[(1, 10), (2, 5)]), "it came back whole, and its author went on");
        assert!(!held(&[(1, 12)], &[(1, 10)]), "likewise");
        assert!(held(&[(1, 8)], &[(1, 6)]), "an older copy was imported, and this one is younger");
        assert!(!held(&[(1, 6)], &[(1, 6)]), "this one has what was imported");
        assert!(!Ended::default().is_held(&vector(&[(1, 1)]), &StateVector::default()));
    }
}
