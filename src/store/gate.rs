//! Admission to the database: under more load than it can serve, the acts that are let in keep their pace and the others
//! are refused at once, rather than all waiting longer and longer (requirement RL-3).
//!
//! A burst isn't overload: it is let in whole and done soon. Nor is it overload when more callers than the bound come again
//! as soon as they are answered: they are all served in turn, and refusing some would serve nobody better. What counts is
//! how many are inside on the average of the last two thousand or so. Once that is several times the bound, the bound holds
//! strictly, until as many have come without one being refused; and now and then all are let in again, for callers who
//! come again at once are refused for ever by a bound that they would never have set off. Counts stand for time here, so no
//! clock is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::fault::Fault;

/// Acts over which the mean is taken, roughly.
const SPAN: usize = 2048;
/// So many times the bound are inside on the mean where more come than can be served.
const OVERLOAD: usize = 8;
/// So many are let in under the strict bound before it is seen whether the overload lasts.
const TRIAL: usize = 128 * SPAN;
/// Inside at once, whatever the mean says.
const MOST: usize = 4096;

const FULL: Fault = Fault::Overloaded("more acts wait for the database than it can serve");

/// Counts who is inside.
#[derive(Debug)]
pub(super) struct Gate {
    inside: AtomicUsize,
    /// The mean of `inside`, times [`SPAN`].
    mean: AtomicUsize,
    /// Whether the bound holds strictly.
    guarding: AtomicBool,
    /// How many came in since one was refused.
    unrefused: AtomicUsize,
    /// How many came in since the bound holds strictly.
    guarded: AtomicUsize,
    /// The bound.
    most: usize,
    /// The mean above which it holds.
    overload: usize,
}

/// One who is inside, until it is dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<Gate>);

impl Gate {
    pub(super) fn new(most: usize) -> Self {
        // A mean that can't be reached would be no bound.
        let overload = (most * OVERLOAD).min(MOST / 4).max(most);
        Self {
            inside: AtomicUsize::new(0),
            mean: AtomicUsize::new(0),
            guarding: AtomicBool::new(false),
            unrefused: AtomicUsize::new(0),
            guarded: AtomicUsize::new(0),
            most,
            overload,
        }
    }

    /// Whether the bound holds strictly.
    pub(super) fn is_guarding(&self) -> bool {
        self.guarding.load(Ordering::Acquire)
    }

    /// Whether one would be let in now. A refusal counts as one at the gate itself, so that it stays closed while so many
    /// come.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    pub(super) fn admits(&self) -> Result<(), Fault> {
        if self.is_guarding() && self.inside.load(Ordering::Relaxed) >= self.most {
            self.unrefused.store(0, Ordering::Relaxed);
            return Err(FULL);
        }
        Ok(())
    }

    /// Lets one in.
    ///
    /// # Errors
    /// [`Fault::Overloaded`], at once, where the load stands above what can be served.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Inside, Fault> {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        let entered = Inside(Arc::clone(self));
        if self.is_guarding() {
            if inside > self.most {
                self.unrefused.store(0, Ordering::Relaxed);
                return Err(FULL);
            }
            let is_over = self.unrefused.fetch_add(1, Ordering::Relaxed) >= SPAN;
            if self.guarded.fetch_add(1, Ordering::Relaxed) >= TRIAL || is_over {
                self.mean.store(0, Ordering::Relaxed);
                self.guarding.store(false, Ordering::Release);
            }
            return Ok(entered);
        }
        // Two at once may lose one's share of the mean, which is no loss.
        let mean = self.mean.load(Ordering::Relaxed);
        let mean = mean - mean / SPAN + inside;
        self.mean.store(mean, Ordering::Relaxed);
        if mean / SPAN > self.overload {
            self.unrefused.store(0, Ordering::Relaxed);
            self.guarded.store(0, Ordering::Relaxed);
            self.guarding.store(true, Ordering::Release);
        }
        if inside > MOST {
            return Err(Fault::Overloaded("too many acts wait for the database"));
        }
        Ok(entered)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many callers as this, each of whom comes again at once; served in batches, as the writer thread does.
    fn serve(gate: &Arc<Gate>, callers: usize, rounds: usize) -> (usize, usize, usize) {
        let (mut served, mut refused, mut longest) = (0, 0, 0);
        for _ in 0..rounds {
            let entered: Vec<_> = (0..callers).map(|_| gate.enter()).collect();
            let inside = entered.iter().filter(|entered| entered.is_ok()).count();
            longest = inside;
            served += inside;
            refused += callers - inside;
        }
        (served, refused, longest)
    }

    #[test]
    fn what_can_be_served_is_never_refused() {
        let gate = Arc::new(Gate::new(64));
        assert_eq!(serve(&gate, 64, 1000), (64_000, 0, 64));
        assert_eq!(serve(&gate, 8 * 64, 1000), (512_000, 0, 512), "callers who come again at once");
    }

    #[test]
    fn a_burst_is_let_in_whole() {
        let gate = Arc::new(Gate::new(64));
        assert_eq!(serve(&gate, 1000, 1), (1000, 0, 1000));
        assert_eq!(serve(&gate, 8, 1000).1, 0);
        assert_eq!(serve(&gate, 1000, 1), (1000, 0, 1000));
    }

    #[test]
    fn standing_overload_is_bounded_and_ends_when_it_is_over() {
        let gate = Arc::new(Gate::new(64));
        let (_, refused, _) = serve(&gate, 1000, 100);
        assert!(refused > 0);
        let (served, refused, longest) = serve(&gate, 1000, 100);
        assert_eq!((served, refused, longest), (6400, 93_600, 64));
        assert!(gate.admits().is_ok());
        let entered: Vec<_> = (0..64).map(|_| gate.enter()).collect();
        assert!(gate.admits().is_err());
        drop(entered);
        assert_eq!(serve(&gate, 60, 100), (6000, 0, 60));
        assert_eq!(serve(&gate, 300, 1), (300, 0, 300), "calm again: a burst is let in whole");
    }

    #[test]
    fn who_would_not_have_set_it_off_is_not_refused_for_ever() {
        let gate = Arc::new(Gate::new(64));
        serve(&gate, 1000, 100);
        assert!(serve(&gate, 100, 100).1 > 0, "the bound holds");
        serve(&gate, 100, TRIAL / 64);
        assert_eq!(serve(&gate, 100, 1000), (100_000, 0, 100));
        // Where the overload lasts the bound holds again soon, and hardly more were let in.
        serve(&gate, 1000, 100);
        let (served, refused, _) = serve(&gate, 1000, 2 * TRIAL / 64);
        assert!(gate.is_guarding() && refused > 10 * served, "{served} were served, {refused} refused");
        assert!(served < 2 * TRIAL + 4 * 4096, "{served} were served");
    }

    #[test]
    fn a_wide_bound_holds_too() {
        let gate = Arc::new(Gate::new(1000));
        serve(&gate, 3000, 100);
        assert_eq!(serve(&gate, 3000, 10), (10_000, 20_000, 1000));
    }

    #[test]
    fn there_is_a_last_bound() {
        let gate = Arc::new(Gate::new(MOST));
        let entered: Vec<_> = (0..MOST + 10).map(|_| gate.enter()).collect();
        assert_eq!(entered.iter().filter(|entered| entered.is_err()).count(), 10);
        drop(entered);
        assert_eq!(gate.inside.load(Ordering::Relaxed), 0);
    }
}
