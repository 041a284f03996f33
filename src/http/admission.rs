//! Which requests are let in when more come than the server can look at (requirement RL-3).
//!
//! Overload shows in the time that a request waits at its socket before anybody looks at it, which no request can tell of
//! itself. It is measured by a message to oneself: an octet through a pair of sockets, which stands in line with whatever
//! the network brings. Every so many'th request sends it, one at a time, so that a server without requests does nothing.
//!
//! A burst isn't overload: what counts is a long wait that lasts. From then on only a share of what comes is let in, so
//! large that the wait falls to a short one and stays there; it is over when all were let in for a while. What has begun
//! goes before what begins: who has a code may spend it.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::clock::Uptime;

/// One request in so many measures the wait.
const STRIDE: u32 = 32;
/// A wait that is too long where it lasts: a line of so many, as they are served, and so long at least.
const LONG: Line = Line { requests: 64, time: Duration::from_millis(20) };
/// How long a long wait lasts before anybody is refused.
const STANDS: Duration = Duration::from_millis(500);
/// The wait that is aimed at from then on.
const AIM: Line = Line { requests: 8, time: Duration::from_millis(2) };
/// The share of requests that are let in follows the wait in about this time.
const FOLLOWS: Duration = Duration::from_millis(50);
/// How long all must have been let in for the overload to be over, and how long without a measurement.
const CALM: Duration = Duration::from_secs(1);
/// The smallest share: some are always served, and show what serving costs.
const LEAST: f64 = 1.0 / 64.0;
/// How much sooner what begins is refused than what has begun.
const BEFORE: u32 = 8;
/// The share of everybody.
const ALL: u32 = 1 << 16;

/// A wait, in the measure of a machine that serves quickly or slowly.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Requests in line.
    requests: u32,
    /// And the least that they take.
    time: Duration,
}

impl Line {
    /// How long it is where each request takes so long.
    fn lasts(self, each: Duration) -> Duration {
        self.time.max(each.saturating_mul(self.requests))
    }
}

/// What a request stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It begins something that others will follow.
    Begins,
    /// It goes on with what was let in before, or others depend on it.
    GoesOn,
}

/// Lets requests in.
#[derive(Debug)]
pub struct Admission {
    /// Requests that came, to choose those that measure.
    come: AtomicU32,
    /// The share of those that begin which is let in, of [`ALL`].
    share: AtomicU32,
    /// What the shares of those who came add up to: at each whole one somebody is let in.
    credit: AtomicU32,
    /// When the message to oneself was sent, in microseconds; 0 while none is on its way.
    sent: AtomicU64,
    /// Where it is sent; nothing before it is measured.
    message: OnceLock<UnixStream>,
    uptime: Uptime,
}

impl Admission {
    /// Lets everybody in.
    #[must_use]
    pub fn new() -> Self {
        Self {
            come: AtomicU32::new(0),
            share: AtomicU32::new(ALL),
            credit: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            message: OnceLock::new(),
            uptime: Uptime::start(),
        }
    }

    /// Begins to measure, as long as this lives; a second call changes nothing.
    ///
    /// # Errors
    /// Where the system gives no sockets.
    pub fn measure(self: &Arc<Self>) -> io::Result<()> {
        let (message, arrival) = UnixStream::pair()?;
        if self.message.set(message).is_ok() {
            tokio::spawn(measure(Arc::downgrade(self), arrival));
        }
        Ok(())
    }

    /// Lets in this share of those who begin, 0 to 1, until a measurement says otherwise.
    pub fn limit(&self, share: f64) {
        // What is no number becomes 0.
        self.share.store((share.clamp(0.0, 1.0) * f64::from(ALL)) as u32, Ordering::Relaxed);
    }

    /// Takes note of a request.
    pub fn note(&self) {
        if !self.come.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRIDE) || self.sent.load(Ordering::Relaxed) != 0 {
            return;
        }
        let Some(message) = self.message.get() else { return };
        self.sent.store(self.uptime.micros().max(1), Ordering::Relaxed);
        if message.try_write(&[0]).is_err() {
            // No message is on its way; the next one tries again.
            self.sent.store(0, Ordering::Relaxed);
        }
    }

    /// Whether some are refused.
    pub fn is_limited(&self) -> bool {
        self.share.load(Ordering::Relaxed) < ALL
    }

    /// Whether one is let in.
    pub fn admits(&self, standing: Standing) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        let share = match standing {
            Standing::Begins => share,
            Standing::GoesOn => share.saturating_mul(BEFORE),
        };
        if share >= ALL {
            return true;
        }
        let before = self.credit.fetch_add(share, Ordering::Relaxed);
        before / ALL != before.wrapping_add(share) / ALL
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures the wait as long as there is somebody to be told.
async fn measure(admission: Weak<Admission>, mut arrival: UnixStream) {
    let mut control = Control::new();
    let (mut last, mut come_before) = (Duration::ZERO, 0);
    let mut octets = [0; 8];
    loop {
        let come = match control.is_limiting() {
            false => Ok(arrival.read(&mut octets).await),
            true => tokio::time::timeout(CALM, arrival.read(&mut octets)).await,
        };
        let Some(admission) = admission.upgrade() else { return };
        match come {
            Ok(Ok(1..)) => {
                let now = Duration::from_micros(admission.uptime.micros());
                let wait = now.saturating_sub(Duration::from_micros(admission.sent.swap(0, Ordering::Relaxed)));
                let come = admission.come.load(Ordering::Relaxed);
                let passed = now.saturating_sub(last);
                let each = passed / come.wrapping_sub(come_before).max(1);
                (last, come_before) = (now, come);
                let was_limiting = control.is_limiting();
                let share = control.follow(Measured { wait, now, passed, each });
                admission.limit(share);
                if control.is_limiting() && !was_limiting {
                    tracing::warn!(wait_ms = wait.as_millis(), "requests wait too long: some are refused from now on");
                }
            }
            Ok(_) => return,
            Err(_) => {
                // Hardly anybody comes any more.
                control = Control::new();
                admission.limit(1.0);
            }
        }
    }
}

/// A wait that has ended.
#[derive(Debug, Clone, Copy)]
struct Measured {
    wait: Duration,
    /// When it ended, since some beginning.
    now: Duration,
    /// Since the one before ended.
    passed: Duration,
    /// How long a request took of that time, on average.
    each: Duration,
}

/// What the waits say about the share.
#[derive(Debug, Clone, Copy)]
enum Control {
    /// All are let in.
    Open {
        /// Since when each wait was long.
        long_since: Option<Duration>,
    },
    /// A share is.
    Limiting {
        /// What keeps the wait where it is aimed at, as far as is known.
        level: f64,
        /// Since when all were let in.
        all_since: Option<Duration>,
    },
}

impl Control {
    const fn new() -> Self {
        Self::Open { long_since: None }
    }

    const fn is_limiting(&self) -> bool {
        matches!(self, Self::Limiting { .. })
    }

    /// The share, 0 to 1, from now on.
    fn follow(&mut self, measured: Measured) -> f64 {
        let Measured { wait, now, passed, each } = measured;
        match self {
            Self::Open { long_since } => {
                let since = *long_since.get_or_insert(now);
                if wait < LONG.lasts(each) {
                    *long_since = None;
                } else if now.saturating_sub(since) >= STANDS {
                    *self = Self::Limiting { level: 1.0, all_since: None };
                }
                1.0
            }
            Self::Limiting { level, all_since } => {
                let excess = wait.as_secs_f64() / AIM.lasts(each).as_secs_f64();
                // The level follows slowly, by a factor, for nobody knows its order of magnitude; a wait above the aim is
                // answered at once besides, so that the line shrinks without the level having to swing.
                let time = passed.as_secs_f64() / FOLLOWS.as_secs_f64();
                let step = if excess < 1.0 { (1.0 - excess) * time } else { (1.0 - excess).max(-1.0) * time.min(1.0) };
                *level = (*level * step.exp()).clamp(LEAST, 1.0);
                let share = *level / excess.max(1.0).powi(2);
                if share < 1.0 {
                    *all_since = None;
                } else if now.saturating_sub(*all_since.get_or_insert(now)) >= CALM {
                    *self = Self::new();
                }
                share
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes so many microseconds for a request that is let in and so many for a refusal, while they come
    /// with this time between them; in steps of a millisecond.
    struct Server {
        served_micros: f64,
        refused_micros: f64,
        control: Control,
        share: f64,
        /// Work that waits, in microseconds.
        line: f64,
        now: Duration,
    }

    struct Seen {
        served: f64,
        refused: f64,
        /// The longest wait in the second half of the time, in microseconds.
        wait: f64,
    }

    impl Server {
        fn new(served_micros: f64, refused_micros: f64) -> Self {
            let control = Control::new();
            Self { served_micros, refused_micros, control, share: 1.0, line: 0.0, now: Duration::ZERO }
        }

        /// So many a second, for so many milliseconds.
        fn offer(&mut self, rate: f64, millis: u32) -> Seen {
            let mut seen = Seen { served: 0.0, refused: 0.0, wait: 0.0 };
            let (mut unmeasured, mut last) = (0.0, self.now);
            for milli in 0..millis {
                self.now += Duration::from_millis(1);
                let come = rate / 1000.0;
                let served = come * self.share.min(1.0);
                seen.served += served;
                seen.refused += come - served;
                self.line += served * self.served_micros + (come - served) * self.refused_micros;
                let wait = self.line;
                self.line = (self.line - 1000.0).max(0.0);
                if milli > millis / 2 {
                    seen.wait = seen.wait.max(wait);
                }
                unmeasured += come;
                if unmeasured >= f64::from(STRIDE) {
                    let passed = self.now - last;
                    self.share = self.control.follow(Measured {
                        wait: Duration::from_micros(wait as u64),
                        now: self.now,
                        passed,
                        each: passed.div_f64(unmeasured),
                    });
                    (unmeasured, last) = (0.0, self.now);
                }
            }
            seen
        }
    }

    #[test]
    fn what_can_be_served_is_never_refused() {
        for (served, rate) in [(125.0, 7_500.0), (7_000.0, 130.0), (30.0, 32_000.0)] {
            let seen = Server::new(served, 20.0).offer(rate, 5_000);
            assert_eq!(seen.refused, 0.0, "{served} µs each, {rate} a second");
        }
    }

    #[test]
    fn a_burst_is_let_in_whole() {
        let mut server = Server::new(125.0, 20.0);
        assert_eq!(server.offer(30_000.0, 25).refused, 0.0);
        assert_eq!(server.offer(2_000.0, 1_000).refused, 0.0);
        assert_eq!(server.offer(30_000.0, 25).refused, 0.0);
    }

    #[test]
    fn under_overload_the_wait_is_short_and_much_is_served() {
        for (served, refused, rate) in [(125.0, 19.0, 32_000.0), (125.0, 19.0, 10_000.0), (7_000.0, 100.0, 570.0)] {
            let seen = Server::new(served, refused).offer(rate, 8_000);
            // A line of 64 at most, where 8 are aimed at.
            assert!(seen.wait < f64::max(20_000.0, 64.0 * 1e6 / rate), "{served}: {} µs", seen.wait);
            let possible = (8e6 - 8.0 * rate * refused) / (served - refused);
            assert!(seen.served > 0.8 * possible, "{served}: {} of {possible} were served", seen.served);
            assert!(seen.served + seen.refused > 7.9 * rate);
        }
    }

    #[test]
    fn it_ends_when_the_overload_has() {
        for (served, rate) in [(125.0, 7_000.0), (7_000.0, 100.0), (125.0, 100.0)] {
            let mut server = Server::new(served, 20.0);
            assert!(server.offer(4e6 / served, 3_000).refused > 0.0);
            assert!(server.control.is_limiting());
            server.offer(rate, 5_000);
            assert!(!server.control.is_limiting(), "{served} µs each, {rate} a second");
            assert_eq!(server.offer(rate, 5_000).refused, 0.0);
        }
    }

    #[test]
    fn the_share_is_kept_exactly_and_what_has_begun_goes_first() {
        let admission = Admission::new();
        let count = |standing| (0..64_000).filter(|_| admission.admits(standing)).count();
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (64_000, 64_000));
        admission.share.store(ALL / 16, Ordering::Relaxed);
        assert!(admission.is_limited());
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (4_000, 32_000));
        admission.share.store(ALL / 8, Ordering::Relaxed);
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (8_000, 64_000));
    }

    #[tokio::test]
    async fn a_request_measures_its_wait() {
        let admission = Arc::new(Admission::new());
        admission.note();
        assert_eq!(admission.sent.load(Ordering::Relaxed), 0, "nothing is measured yet");
        admission.measure().unwrap();
        for _ in 0..STRIDE {
            admission.note();
        }
        assert_ne!(admission.sent.load(Ordering::Relaxed), 0, "the message is on its way");
        while admission.sent.load(Ordering::Relaxed) != 0 {
            tokio::task::yield_now().await;
        }
        assert!(!admission.is_limited());
    }
}
