//! What a client sends that means harm: hostile-input lines 3, 4 and 7, as far as they pass the scan.

use crate::rng::Rng;
use bytes::Bytes;
use ydash_proto::id::{ClientId, Clock};
use ydash_proto::lib0::write_var_uint;
use ydash_proto::update::StateVector;
use ydash_proto::wire::encode;

/// A frame of a session that owns `own`, against those who are here and own what is theirs.
pub(crate) fn frame(rng: &mut Rng, own: ClientId, victims: &[ClientId], known: &StateVector) -> Option<Bytes> {
    let victim = if victims.is_empty() { None } else { Some(victims[rng.index(victims.len())]) };
    let ahead = rng.below(3) as Clock * 10;
    Some(match rng.below(6) {
        // Fills the clocks of somebody else.
        0 => encode::update(&collected(victim?, known.get(victim?) + ahead, 1 + rng.below(1000) as Clock)),
        1 => encode::sync_step2(&collected(victim?, known.get(victim?) + ahead, 1 + rng.below(1000) as Clock)),
        // A hole that nobody fills.
        2 => encode::update(&collected(own, known.get(own) + 1000 + rng.below(1000) as Clock, 5)),
        // Deletes what is not there yet.
        3 => {
            let mut update = vec![0, 1];
            write_var_uint(&mut update, victim?);
            update.push(1);
            write_var_uint(&mut update, u64::from(known.get(victim?)) + 100);
            update.push(7);
            encode::update(&update)
        }
        4 => encode::awareness([(victim?, rng.spread(1, 1 << 31) as u32, &b"{\"name\":\"Mallory\"}"[..])]),
        _ => {
            let null = &b"null"[..];
            encode::awareness([(victim?, rng.below(40) as u32, null), (own, rng.below(9) as u32, &b"{}"[..])])
        }
    })
}

fn collected(client: ClientId, clock: Clock, len: Clock) -> Vec<u8> {
    let mut update = vec![1, 1];
    write_var_uint(&mut update, client);
    write_var_uint(&mut update, clock.into());
    update.push(0);
    write_var_uint(&mut update, len.into());
    update.push(0);
    update
}
