//! Which requests are let in when more come than the server can look at (requirement RL-3).
//!
//! Overload shows in the time that a request waits at its socket before anybody looks at it, which no request can tell of
//! itself. It is measured by a message to oneself: an octet through a pair of sockets, which stands in line with whatever
//! the network brings. Every so many'th request sends it, one at a time, so that a server without requests does nothing.
//!
//! A burst isn't overload: what counts is a long wait that lasts. From then on only a share of what comes is let in, so
//! large that the wait falls to a short one and stays there; it is over when all were let in for a while. What has begun
//! goes before what begins: who has a code may spend it.

mod control;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use keyward_protocol::client_metadata::GrantType;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use self::control::{CALM, Control, Measured};
use crate::clock::Uptime;

/// One request in so many measures the wait.
const STRIDE: u32 = 32;
/// The smallest share of those who go on, of [`ALL`].
const GOES_ON: u32 = ALL / 8;
/// How much sooner what begins is refused than what has begun.
const BEFORE: u32 = 8;
/// The share of everybody.
const ALL: u32 = 1 << 16;

/// What a request stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It begins something that others will follow.
    Begins,
    /// It goes on with what was let in before, or others depend on it.
    GoesOn,
}

impl Standing {
    /// What a token request of this grant stands for; one of no known grant will be refused anyway.
    pub const fn of(grant: Option<GrantType>) -> Self {
        match grant {
            Some(GrantType::AuthorizationCode) => Self::GoesOn,
            Some(GrantType::RefreshToken | GrantType::ClientCredentials) | None => Self::Begins,
        }
    }
}

/// Lets requests in.
#[derive(Debug)]
pub struct Admission {
    /// Requests that came, to choose those that measure.
    come: AtomicU32,
    /// Those of them that could have been refused, counted while some are.
    asked: AtomicU32,
    /// Whether some may be refused.
    limiting: AtomicBool,
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
            asked: AtomicU32::new(0),
            limiting: AtomicBool::new(false),
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
        self.set(share, share < 1.0);
    }

    /// Sets the share, and whether those who could be refused are counted: for as long as an overload lasts, even where
    /// nobody is refused.
    fn set(&self, share: f64, limiting: bool) {
        // What is no number becomes 0.
        self.share.store((share.clamp(0.0, 1.0) * f64::from(ALL)) as u32, Ordering::Relaxed);
        self.limiting.store(limiting, Ordering::Relaxed);
    }

    /// Takes note of a request.
    pub fn note(&self) {
        if !self.come.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRIDE) {
            return;
        }
        let Some(message) = self.message.get() else { return };
        let now = self.uptime.micros().max(1);
        let is_first = self.sent.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first && message.try_write(&[0]).is_err() {
            // No message is on its way; the next one tries again.
            self.sent.store(0, Ordering::Relaxed);
        }
    }

    /// Whether some may be refused.
    pub fn is_limiting(&self) -> bool {
        self.limiting.load(Ordering::Relaxed)
    }

    /// Whether one is let in.
    pub fn admits(&self, standing: Standing) -> bool {
        if !self.is_limiting() {
            return true;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let share = self.share.load(Ordering::Relaxed);
        let share = match standing {
            Standing::Begins => share,
            Standing::GoesOn => share.saturating_mul(BEFORE).max(GOES_ON),
        };
        if share >= ALL {
            return true;
        }
        let before = self.credit.fetch_add(share, Ordering::Relaxed);
        before / ALL != before.wrapping_add(share) / ALL
    }

    /// The message has come back.
    fn observe(&self, control: &mut Control, last: &mut Seen, now: Duration) {
        let sent = self.sent.swap(0, Ordering::Relaxed);
        if sent == 0 {
            return;
        }
        let seen = Seen { at: now, come: self.come.load(Ordering::Relaxed), asked: self.asked.load(Ordering::Relaxed) };
        let come = seen.come.wrapping_sub(last.come).max(1);
        let passed = now.saturating_sub(last.at);
        let measured = Measured {
            wait: now.saturating_sub(Duration::from_micros(sent)),
            now,
            passed,
            each: passed / come,
            refusable: f64::from(seen.asked.wrapping_sub(last.asked)) / f64::from(come),
        };
        *last = seen;
        self.apply(control, |control| control.follow(measured));
    }

    /// Nothing was measured for a while: hardly anybody comes any more, unless it is the message itself that waits.
    fn nothing_seen(&self, control: &mut Control) {
        if self.sent.load(Ordering::Relaxed) == 0 {
            self.apply(control, |control| {
                *control = Control::new();
                1.0
            });
        }
    }

    fn apply(&self, control: &mut Control, change: impl FnOnce(&mut Control) -> f64) {
        let was_limiting = control.is_limiting();
        let share = change(control);
        self.set(share, control.is_limiting());
        match (was_limiting, control.is_limiting()) {
            (false, true) => tracing::warn!("requests wait too long: some are refused from now on"),
            (true, false) if control.is_bearing() => {
                tracing::warn!(
                    "refusing shortens no line, for those who are refused come again at once: all requests are let in, and wait"
                );
            }
            (true, false) => tracing::info!("all requests are let in again"),
            _ => {}
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

/// What was seen at the end of a wait.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    at: Duration,
    come: u32,
    asked: u32,
}

/// Measures the wait as long as there is somebody to be told.
async fn measure(admission: Weak<Admission>, mut arrival: UnixStream) {
    let mut control = Control::new();
    let mut last = Seen::default();
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
                admission.observe(&mut control, &mut last, now);
            }
            Ok(_) => {
                tracing::error!("how long requests wait can't be measured any more: all are let in");
                admission.limit(1.0);
                return;
            }
            Err(_) => admission.nothing_seen(&mut control),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_exactly_and_what_has_begun_goes_first() {
        let admission = Admission::new();
        let count = |standing| (0..64_000).filter(|_| admission.admits(standing)).count();
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (64_000, 64_000));
        admission.limit(1.0 / 16.0);
        assert!(admission.is_limiting());
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (4_000, 32_000));
        admission.limit(1.0 / 8.0);
        assert_eq!((count(Standing::Begins), count(Standing::GoesOn)), (8_000, 64_000));
        admission.limit(1.0);
        assert!(!admission.is_limiting());
    }

    /// The message to oneself, from its sending to what follows from it, with waits that are told.
    #[test]
    fn long_waits_limit_even_where_the_message_itself_is_late() {
        let admission = Admission::new();
        let (mut control, mut last, mut now) = (Control::new(), Seen::default(), Duration::from_secs(1));
        let mut wait = |wait: Duration, control: &mut Control| {
            admission.sent.store(u64::try_from(now.as_micros()).unwrap(), Ordering::Relaxed);
            admission.come.fetch_add(2_000, Ordering::Relaxed);
            for _ in 0..1000 {
                admission.admits(Standing::Begins);
            }
            // For as long as it is on its way, silence says nothing.
            let before = control.is_limiting();
            admission.nothing_seen(control);
            assert_eq!(control.is_limiting(), before);
            now += wait;
            admission.observe(control, &mut last, now);
            // A second octet, of somebody who came at the same moment, is no measurement.
            admission.observe(control, &mut last, now + Duration::from_secs(9));
        };
        wait(Duration::from_secs(2), &mut control);
        assert!(!admission.is_limiting(), "once is a burst");
        wait(Duration::from_secs(2), &mut control);
        assert!(admission.is_limiting() && admission.share.load(Ordering::Relaxed) < ALL / 16);
        wait(Duration::from_secs(2), &mut control);
        assert!(admission.is_limiting() && admission.share.load(Ordering::Relaxed) < ALL / 16);
        assert!(admission.share.load(Ordering::Relaxed) >= ALL / 256, "some are always let in");
        for _ in 0..5 {
            wait(Duration::from_secs(2), &mut control);
        }
        assert!(!admission.is_limiting() && control.is_bearing(), "it shortened no line");
        admission.nothing_seen(&mut control);
        assert!(!admission.is_limiting() && !control.is_bearing(), "nobody comes any more");
        assert!(admission.admits(Standing::Begins));
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
        assert!(!admission.is_limiting());
    }
}
