//! What a client sends that means harm: hostile-input lines 3, 4 and 7, as far as they pass the scan.

use crate::rng::Rng;
use bytes::Bytes;
use ydash_proto::id::{ClientId, Clock};
use ydash_proto::lib0::write_var_uint;
use ydash_proto::update::StateVector;
use ydash_proto::wire::encode;

/// A frame of a session that is shown as `own`, against others, whether they are here or not.
pub(crate) fn frame(rng: &mut Rng, own: ClientId, victims: &[ClientId], known: &StateVector) -> Option<Bytes> {
    let victim = if victims.is_empty() { None } else { Some(victims[rng.index(victims.len())]) };
    let ahead = if rng.chance(60) { 0 } else { rng.below(3) as Clock * 10 };
    let len_max = if rng.chance(10) { 1 << 28 } else { 1000 };
    Some(match rng.below(10) {
        // Fills the clocks of somebody else.
        0 => encode::update(&collected(victim?, known.get(victim?) + ahead, rng.spread(1, len_max) as Clock)),
        1 => encode::sync_step2(&collected(victim?, known.get(victim?) + ahead, rng.spread(1, len_max) as Clock)),
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
        // What somebody else never wrote: deleted, and live.
        5 => {
            let (client, clock) = (victim?, known.get(victim?));
            if clock == 0 {
                return None;
            }
            let mut update = header(client, clock);
            update.push(0x81);
            write_var_uint(&mut update, client);
            write_var_uint(&mut update, u64::from(clock) - 1);
            write_var_uint(&mut update, rng.spread(1, len_max));
            update.push(0);
            encode::update(&update)
        }
        6 | 7 => {
            let mut update = header(victim?, known.get(victim?));
            update.extend_from_slice(b"\x04\x01\x04text\x06forged\0");
            if rng.chance(50) { encode::update(&update) } else { encode::sync_step2(&update) }
        }
        8 => {
            let mut update = header(victim?, known.get(victim?));
            update.extend_from_slice(b"\x08\x01\x05array\x02\x77\x06forged\x77\x06forged\0");
            encode::update(&update)
        }
        _ => {
            let null = &b"null"[..];
            encode::awareness([(victim?, rng.below(40) as u32, null), (own, rng.below(9) as u32, &b"{}"[..])])
        }
    })
}

/// One struct of one client follows.
fn header(client: ClientId, clock: Clock) -> Vec<u8> {
    let mut update = vec![1, 1];
    write_var_uint(&mut update, client);
    write_var_uint(&mut update, clock.into());
    update
}

fn collected(client: ClientId, clock: Clock, len: Clock) -> Vec<u8> {
    let mut update = header(client, clock);
    update.push(0);
    write_var_uint(&mut update, len.into());
    update.push(0);
    update
}
