//! When who sends: fixed before the run, so that a slow server does not slow the load down.
//!
//! Every source sends once per period, at a phase of its own. A thread sleeps towards each moment, since the runtime's timers
//! only count milliseconds; what is sent too late counts from the moment at which it was due.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::author::mix;

/// The moments of a run, in microseconds since its start.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    period_micros: u64,
    phases_micros: Vec<u64>,
    warm_up_rounds: u64,
    rounds: u64,
}

/// It is `source`'s turn for the `round`-th time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) source: usize,
    pub(crate) round: u64,
}

impl Schedule {
    /// `sources` that send `rate` times a second each, for `warm_up` and then `measured`, from `start` on.
    pub(crate) fn new(start: Instant, sources: usize, rate: f64, warm_up: Duration, measured: Duration) -> Schedule {
        let period_micros = ((1e6 / rate) as u64).max(1);
        let rounds_in = |span: Duration| (span.as_secs_f64() * rate).round() as u64;
        Schedule {
            start,
            period_micros,
            phases_micros: (0..sources as u64).map(|source| mix(source) % period_micros).collect(),
            warm_up_rounds: rounds_in(warm_up),
            rounds: rounds_in(warm_up) + rounds_in(measured).max(1),
        }
    }

    /// Microseconds since the start of the run.
    pub(crate) fn now(&self) -> u64 {
        self.micros(Instant::now())
    }

    /// As [`Schedule::now`], at another moment; 0 before the start.
    pub(crate) fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }

    /// When a source's turn is due.
    pub(crate) fn due(&self, source: usize, round: u64) -> u64 {
        self.phases_micros[source] + round * self.period_micros
    }

    /// Whether the turn belongs to the part of the run that counts.
    pub(crate) fn is_measured(&self, round: u64) -> bool {
        round >= self.warm_up_rounds
    }

    /// How many turns every source has, and how many of these count.
    pub(crate) fn rounds(&self) -> (u64, u64) {
        (self.rounds, self.rounds - self.warm_up_rounds)
    }

    /// When the part of the run that counts begins and ends.
    pub(crate) fn window(&self) -> (Instant, Instant) {
        let at = |round| self.start + Duration::from_micros(round * self.period_micros);
        (at(self.warm_up_rounds), at(self.rounds))
    }

    /// Starts the clock: each turn comes out when it is due. Ends after the last one, or when nobody listens.
    pub(crate) fn run(&self) -> mpsc::UnboundedReceiver<Tick> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let schedule = self.clone();
        std::thread::spawn(move || {
            let mut order: Vec<usize> = (0..schedule.phases_micros.len()).collect();
            order.sort_unstable_by_key(|&source| schedule.phases_micros[source]);
            for round in 0..schedule.rounds {
                for &source in &order {
                    let due = schedule.start + Duration::from_micros(schedule.due(source, round));
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if sender.send(Tick { source, round }).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_turns_and_the_window_covers_the_measured_ones() {
        let second = Duration::from_secs(1);
        let schedule = Schedule::new(Instant::now(), 7, 50.0, second, 3 * second);
        assert_eq!(schedule.rounds(), (200, 150));
        let (begin, end) = schedule.window();
        assert_eq!(end - begin, 3 * second);
        for source in 0..7 {
            assert!(!schedule.is_measured(49) && schedule.is_measured(50));
            assert_eq!(schedule.due(source, 51) - schedule.due(source, 50), 20_000);
            assert!((1_000_000..1_020_000).contains(&schedule.due(source, 50)));
        }
    }

    #[test]
    fn turns_come_when_they_are_due() {
        let schedule = Schedule::new(Instant::now(), 5, 100.0, Duration::from_millis(10), Duration::from_millis(40));
        let mut ticks = schedule.run();
        let mut turns = [0; 5];
        while let Some(tick) = ticks.blocking_recv() {
            assert!(schedule.now() >= schedule.due(tick.source, tick.round));
            assert_eq!(turns[tick.source], tick.round);
            turns[tick.source] += 1;
        }
        assert_eq!(turns, [5; 5]);
    }
}
