//! Whether the threads that answer requests keep up with them (requirement RL-3).
//!
//! The gate of the database sees who waits for the database. Where the processor is what is scarce, requests wait before
//! anybody has looked at them, and nothing that counts requests sees that. So now and then a task goes to the end of a
//! thread's queue and looks how long it took to come to its turn: as long as a request that comes now has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::clock::Clock;

/// Requests between two looks: too few of them come on an idle server to cost anything.
const EVERY: usize = 64;
/// A wait of as many microseconds is strain. A burst of some hundred requests is done in less.
const STRAIN: i64 = 25_000;
/// Below as many microseconds it is over.
const EASE: i64 = 12_500;

/// What the last look found.
#[derive(Debug, Default)]
pub struct Strain {
    holds: AtomicBool,
    requests: AtomicUsize,
    looking: AtomicBool,
}

impl Strain {
    /// Takes note of a request, and has a look where it is time; whether there is strain.
    pub fn note(self: &Arc<Self>, clock: &Clock) -> bool {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVERY)
            && !self.looking.swap(true, Ordering::Relaxed)
        {
            let (strain, clock) = (Arc::clone(self), clock.clone());
            tokio::spawn(async move {
                let begun = clock.now().micros();
                tokio::task::yield_now().await;
                strain.waited(clock.now().micros().saturating_sub(begun));
                strain.looking.store(false, Ordering::Relaxed);
            });
        }
        self.holds.load(Ordering::Relaxed)
    }

    /// What a look found, in microseconds.
    fn waited(&self, micros: i64) {
        if micros >= STRAIN {
            self.holds.store(true, Ordering::Relaxed);
        } else if micros < EASE {
            self.holds.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strain_begins_with_long_waits_and_ends_with_short_ones() {
        let strain = Strain::default();
        for (micros, holds) in [
            (0, false),
            (24_999, false),
            (25_000, true),
            (12_500, true),
            (400_000, true),
            (12_499, false),
            (20_000, false),
        ] {
            strain.waited(micros);
            assert_eq!(strain.holds.load(Ordering::Relaxed), holds, "{micros}");
        }
    }

    #[tokio::test]
    async fn a_look_finds_how_long_the_others_take() {
        let (strain, clock) =
            (Arc::new(Strain::default()), Clock::standing_at(keyward_protocol::Timestamp::from_seconds(1)));
        assert!(!strain.note(&clock));
        // In the queue before the look's turn comes: work of a second.
        let work = clock.clone();
        let busy = tokio::spawn(async move {
            tokio::task::yield_now().await;
            work.advance(1);
        });
        busy.await.unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let found: Vec<bool> = (1..EVERY).map(|_| strain.note(&clock)).collect();
        assert!(found.iter().all(|&holds| holds));
        // The next look finds nobody in its way.
        strain.note(&clock);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert!(!strain.note(&clock));
    }
}
