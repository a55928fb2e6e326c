//! The guard against real documents: random histories of several clients, written by yrs, exchanged in parts, out of order
//! and with losses, must come out of the gate as the same document that a full exchange gives.

mod history;

use std::collections::BTreeSet;

use bytes::Bytes;
use history::{CLIENTS, clocks, full_state, play, portrait, reader_of, step};
use proptest::prelude::*;
use ydash_proto::limits::Limits;
use ydash_proto::update::{DeleteSet, EMPTY_UPDATE, Knowledge, Scan, StateVector, diff, diff_many, merge, scan};

/// What an update says, in whatever order it gives its deletions.
fn content(update: &Bytes) -> (Vec<(u64, u32, Bytes)>, DeleteSet) {
    let scanned = scan(update, &Limits::default()).expect("an update");
    let structs =
        scanned.spans.iter().map(|span| (span.client, span.start, update.slice(span.bytes.clone()))).collect();
    (structs, DeleteSet::collect(scanned.deletes(update)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_the_gate_accepts_is_what_a_full_exchange_gives(
        steps in prop::collection::vec(step(CLIENTS), 1..60),
        late in prop::collection::vec(any::<prop::sample::Index>(), 60),
        cut in any::<prop::sample::Index>(),
    ) {
        let (clients, gate) = play(&steps, &late);
        let states: Vec<Bytes> = clients.iter().map(full_state).collect();
        let expected = portrait(&reader_of(&states));
        prop_assert!(gate.held.is_empty(), "everything was shown, yet held: {:?}", gate.held);
        prop_assert_eq!(gate.knowledge.clocks(), &expected.2);

        // One after the other, merged, and merged in two steps: all the same.
        let accepted = gate.bytes();
        prop_assert_eq!(&portrait(&reader_of(&accepted)), &expected);
        let merged = merge(&accepted);
        prop_assert_eq!(&portrait(&reader_of(std::slice::from_ref(&merged))), &expected);
        let (early, later) = accepted.split_at(cut.index(accepted.len() + 1));
        prop_assert_eq!(content(&merge(&[merge(early), merge(later)])), content(&merged));

        // A document read from the store knows what the room knew.
        let opened = Knowledge::of(&merge(early), later, &Limits::default()).expect("accepted updates");
        prop_assert!(opened.held.is_empty());
        prop_assert_eq!(&opened.knowledge, &gate.knowledge);

        // Showing it all again is nothing new, and deletions that everybody repeats are known.
        let mut gate = gate;
        let count = gate.accepted.len();
        states.iter().chain([&merged]).for_each(|state| gate.receive(state));
        prop_assert_eq!(gate.accepted.len(), count);

        // A reader finds out while integrating that one of two concurrent values is deleted; that is news, once.
        let reader = full_state(&reader_of(&accepted));
        gate.receive(&reader);
        prop_assert!(gate.accepted[count..].iter().all(|accepted| accepted.scan.spans.is_empty()));
        prop_assert_eq!(gate.knowledge.deletes(), &expected.3);
        let count = gate.accepted.len();
        gate.receive(&reader);
        prop_assert_eq!(gate.accepted.len(), count);
    }

    #[test]
    fn a_diff_brings_anybody_up_to_date(
        steps in prop::collection::vec(step(CLIENTS), 1..50),
        late in prop::collection::vec(any::<prop::sample::Index>(), 50),
        cut in any::<prop::sample::Index>(),
        clocks_cut in prop::collection::vec(any::<prop::sample::Index>(), CLIENTS),
    ) {
        let (clients, gate) = play(&steps, &late);
        let accepted = gate.bytes();
        let merged = merge(&accepted);
        let expected = portrait(&reader_of(std::slice::from_ref(&merged)));
        for doc in &clients {
            let have = clocks(doc);
            let missing = diff(&merged, &have);
            prop_assert_eq!(content(&diff_many(&accepted, &have)), content(&missing));
            let missing_scan = scan(&missing, &Limits::default()).expect("an update");
            prop_assert!(missing_scan.spans.iter().all(|span| span.start == have.get(span.client)));
            // yrs and Yjs agree on what is missing.
            let theirs = yrs::diff_updates_v1(&merged, &have.encode()).expect("an update");
            let their_scan = scan(&theirs, &Limits::default()).expect("an update");
            let ranges = |scan: &Scan| scan.spans.iter().map(|s| (s.client, s.start, s.end)).collect::<BTreeSet<_>>();
            prop_assert_eq!(ranges(&missing_scan), ranges(&their_scan));
            let before = full_state(doc);
            let updated = reader_of(&[before, missing]);
            prop_assert_eq!(&portrait(&updated), &expected);
        }

        // A diff and what it was made against are the whole, cut anywhere, even through surrogate pairs (which then are lost).
        let early = merge(&accepted[..cut.index(accepted.len() + 1)]);
        let have: StateVector = scan(&early, &Limits::default()).expect("an update").spans.iter().map(|s| (s.client, s.end)).collect();
        prop_assert_eq!(content(&merge(&[early, diff(&merged, &have)])), content(&merged));
        let anywhere: StateVector = expected.2.iter().zip(&clocks_cut).map(|((client, clock), index)| (client, index.index(clock as usize + 1) as u32)).collect();
        let rest = diff(&merged, &anywhere);
        let rest = scan(&rest, &Limits::default()).expect("an update");
        for (client, clock) in expected.2.iter() {
            let from = anywhere.get(client);
            let span = rest.spans.iter().find(|span| span.client == client).map(|span| (span.start, span.end));
            prop_assert_eq!(span, (from < clock).then_some((from, clock)));
        }
    }

    #[test]
    fn merging_overlapping_updates_says_what_they_say(
        steps in prop::collection::vec(step(CLIENTS), 1..40),
        late in prop::collection::vec(any::<prop::sample::Index>(), 40),
        order in any::<prop::sample::Index>(),
    ) {
        let (clients, gate) = play(&steps, &late);
        let mut updates: Vec<Bytes> = clients.iter().map(full_state).collect();
        updates.extend(gate.bytes());
        updates.push(Bytes::from_static(&EMPTY_UPDATE));
        let expected = portrait(&reader_of(&updates));
        let by = order.index(updates.len());
        updates.rotate_left(by);
        let merged = merge(&updates);
        prop_assert_eq!(portrait(&reader_of(std::slice::from_ref(&merged))), expected);
        let scanned = scan(&merged, &Limits::default()).expect("an update");
        prop_assert!(scanned.spans.windows(2).all(|pair| pair[0].client > pair[1].client), "one span a client, descending");
    }
}
