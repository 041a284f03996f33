//! A circuit breaker: after some failures in a row nobody asks for a while, and then one asks first. Pure: time goes in.
//!
//! It spares a server that is struggling, and spares requests the wait for a time-out that will come anyway.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open the circuit.
const FAILURES: u32 = 5;

/// How long it stays open the first time; each failed trial doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// It never stays open longer than this without a trial.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Ask, and report how it went.
    Ask,
    /// Don't: try again after this.
    Refuse(Duration),
}

/// The circuit's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// All ask; the failures in a row are counted.
    Closed { failures: u32 },
    /// Nobody asks until then.
    Open { until: Instant, pause: Duration },
    /// One asks, the others wait for how it goes. If nothing is heard of that one until `until`, another may.
    HalfOpen { until: Instant, pause: Duration },
}

impl Breaker {
    pub(super) const NEW: Self = Self::Closed { failures: 0 };

    /// May the caller ask now? `trial` is the longest that one question may take.
    pub(super) fn admit(&mut self, now: Instant, trial: Duration) -> Admission {
        match *self {
            Self::Closed { .. } => Admission::Ask,
            Self::Open { until, pause } | Self::HalfOpen { until, pause } => {
                let left = until.saturating_duration_since(now);
                if left.is_zero() {
                    *self = Self::HalfOpen { until: now + trial, pause };
                    Admission::Ask
                } else {
                    Admission::Refuse(left)
                }
            }
        }
    }

    /// A question was answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::NEW;
    }

    /// A question was refused for its own sake: no failure, and no proof that others are answered. If it was the trial,
    /// the next caller tries.
    pub(super) fn learned_nothing(&mut self, now: Instant) {
        if let Self::HalfOpen { pause, .. } = *self {
            *self = Self::Open { until: now, pause };
        }
    }

    /// A question wasn't answered.
    pub(super) fn failed(&mut self, now: Instant) {
        *self = match *self {
            Self::Closed { failures } if failures + 1 < FAILURES => Self::Closed { failures: failures + 1 },
            Self::Closed { .. } => Self::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE },
            // The failure of a question from before the circuit opened.
            open @ Self::Open { .. } => open,
            Self::HalfOpen { pause, .. } => {
                let pause = (pause * 2).min(LONGEST_PAUSE);
                Self::Open { until: now + pause, pause }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Duration = Duration::from_secs(3);

    fn start() -> Instant {
        crate::clock::monotonic_now()
    }

    #[test]
    fn a_question_refused_for_its_own_sake_neither_opens_nor_closes() {
        let now = start();
        let mut breaker = Breaker::NEW;
        for _ in 0..FAILURES * 2 {
            assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
            breaker.learned_nothing(now);
        }
        assert_eq!(breaker, Breaker::NEW);
        let mut breaker = opened(now);
        let due = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(due, TRIAL), Admission::Ask);
        breaker.learned_nothing(due);
        assert_eq!(breaker.admit(due, TRIAL), Admission::Ask, "the next one tries");
        assert_eq!(breaker.admit(due, TRIAL), Admission::Refuse(TRIAL));
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::NEW;
        for _ in 0..FAILURES {
            assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = start();
        let mut breaker = Breaker::NEW;
        for _ in 0..20 {
            for _ in 0..FAILURES - 1 {
                breaker.failed(now);
                assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
            }
            breaker.succeeded();
        }
        assert_eq!(opened(now).admit(now, TRIAL), Admission::Refuse(FIRST_PAUSE));
    }

    #[test]
    fn after_the_pause_one_asks_first() {
        let mut now = start();
        let mut breaker = opened(now);
        now += FIRST_PAUSE - Duration::from_millis(1);
        assert_eq!(breaker.admit(now, TRIAL), Admission::Refuse(Duration::from_millis(1)));
        now += Duration::from_millis(1);
        assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
        assert_eq!(breaker.admit(now, TRIAL), Admission::Refuse(TRIAL), "only one");
        breaker.succeeded();
        assert_eq!(breaker, Breaker::NEW);
    }

    #[test]
    fn a_failed_trial_doubles_the_pause_up_to_its_bound() {
        let mut now = start();
        let mut breaker = opened(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let Admission::Refuse(pause) = breaker.admit(now, TRIAL) else { panic!("it is open") };
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
            breaker.failed(now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_trial_that_is_never_heard_of_gives_way_to_another() {
        let mut now = start();
        let mut breaker = opened(now);
        now += FIRST_PAUSE;
        assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
        now += TRIAL;
        assert_eq!(breaker.admit(now, TRIAL), Admission::Ask);
    }

    #[test]
    fn late_failures_do_not_prolong_an_open_circuit() {
        let now = start();
        let mut breaker = opened(now);
        breaker.failed(now + Duration::from_millis(900));
        assert_eq!(breaker.admit(now + FIRST_PAUSE, TRIAL), Admission::Ask);
    }
}
