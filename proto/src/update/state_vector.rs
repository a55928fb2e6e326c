//! How much of every client is known.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::CLOCK_END_MAX;
use super::scan::ScanError;
use crate::id::{ClientId, Clock};
use crate::lib0::{Reader, write_var_uint};
use crate::limits::Limits;

/// For each client the first clock that is not known; clients of whom nothing is known are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateVector {
    clocks: BTreeMap<ClientId, Clock>,
}

impl StateVector {
    /// Bytes held beside itself, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        crate::heap::tree::<ClientId, Clock>(self.clocks.len())
    }

    /// Reads a state vector as it comes in a SyncStep1.
    ///
    /// # Errors
    /// [`ScanError`] – not a state vector: garbage, close the member.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<StateVector, ScanError> {
        let mut reader = Reader::new(bytes);
        let count = reader.var_uint()?;
        // An entry takes two bytes at least, so the count is checked before anything is made of it.
        if count > (reader.remaining() / 2) as u64 {
            return Err(ScanError::Count);
        }
        if count > limits.document_clients_max as u64 {
            return Err(ScanError::TooManyClients);
        }
        let mut state = StateVector::default();
        for _ in 0..count {
            let client = reader.var_uint()?;
            let clock = reader.var_uint()?;
            if clock > CLOCK_END_MAX {
                return Err(ScanError::ClockOverflow);
            }
            state.advance(client, clock as Clock);
        }
        if !reader.is_empty() {
            return Err(ScanError::Trailing);
        }
        Ok(state)
    }

    /// The first unknown clock of `client`.
    #[inline]
    #[must_use]
    pub fn get(&self, client: ClientId) -> Clock {
        self.clocks.get(&client).copied().unwrap_or(0)
    }

    /// Notes that `client` is known up to, but without, `clock`; never goes back.
    #[inline]
    pub fn advance(&mut self, client: ClientId, clock: Clock) {
        if clock > 0 {
            let known = self.clocks.entry(client).or_insert(clock);
            *known = clock.max(*known);
        }
    }

    /// Lowers the clock of `client` to `clock`; one that is lower already stays.
    pub fn lower(&mut self, client: ClientId, clock: Clock) {
        if clock == 0 {
            self.clocks.remove(&client);
        } else if let Some(known) = self.clocks.get_mut(&client) {
            *known = clock.min(*known);
        }
    }

    /// What is known both here and to `other`.
    #[must_use]
    pub fn at_most(&self, other: &StateVector) -> StateVector {
        self.iter().map(|(client, clock)| (client, clock.min(other.get(client)))).collect()
    }

    /// Every known client with its first unknown clock, clients ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ClientId, Clock)> {
        self.clocks.iter().map(|(client, clock)| (*client, *clock))
    }

    /// How many clients are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clocks.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clocks.is_empty()
    }

    /// Whether everything that `other` knows is known here.
    #[must_use]
    pub fn covers(&self, other: &StateVector) -> bool {
        other.iter().all(|(client, clock)| self.get(client) >= clock)
    }

    /// The bytes that Yjs writes: clients descending.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(4 + self.clocks.len() * 10);
        write_var_uint(&mut out, self.clocks.len() as u64);
        for (client, clock) in self.iter().rev() {
            write_var_uint(&mut out, client);
            write_var_uint(&mut out, u64::from(clock));
        }
        Bytes::from(out)
    }
}

impl FromIterator<(ClientId, Clock)> for StateVector {
    fn from_iter<I: IntoIterator<Item = (ClientId, Clock)>>(entries: I) -> StateVector {
        let mut state = StateVector::default();
        entries.into_iter().for_each(|(client, clock)| state.advance(client, clock));
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_yjs() {
        let state: StateVector = [(1, 1), (300, 2)].into_iter().collect();
        assert_eq!(state.encode()[..], [2, 0xac, 2, 2, 1, 1]);
        assert_eq!(StateVector::decode(&state.encode(), &Limits::default()), Ok(state));
        assert_eq!(StateVector::default().encode()[..], [0]);
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_allocated() {
        let refused = StateVector::decode(&[0xff, 0xff, 0xff, 0x7f], &Limits::default());
        assert_eq!(refused, Err(ScanError::Count));
    }

    #[test]
    fn state_vectors_that_no_peer_writes_are_refused() {
        let limits = Limits { document_clients_max: 1, ..Limits::default() };
        assert_eq!(StateVector::decode(&[0, 0], &limits), Err(ScanError::Trailing));
        assert_eq!(StateVector::decode(&[2, 1, 1, 2, 1], &limits), Err(ScanError::TooManyClients));
        let beyond = [1, 1, 0x80, 0x80, 0x80, 0x80, 8];
        assert_eq!(StateVector::decode(&beyond, &limits), Err(ScanError::ClockOverflow));
        assert!(StateVector::decode(&[], &limits).is_err());
    }

    #[test]
    fn clocks_never_go_back_and_clock_zero_is_nobody() {
        let mut state = StateVector::default();
        state.advance(1, 5);
        state.advance(1, 3);
        state.advance(2, 0);
        assert_eq!(state.iter().collect::<Vec<_>>(), [(1, 5)]);
        assert!(state.covers(&[(1, 5)].into_iter().collect()));
        assert!(!state.covers(&[(1, 6)].into_iter().collect()));
        assert!(!StateVector::default().covers(&state));
    }
}
