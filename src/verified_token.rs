//! Access tokens of ours that were seen before: signature and claims are checked once, and whether one is live is asked of
//! the database no more often than it can have changed (protocol decision 19). On this node nothing can end one unnoticed; a
//! command ends what it ends in a process of its own, and waits for as long as anything is remembered before it says so.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use keyward_guard::AccessToken;
use keyward_protocol::Timestamp;

use crate::app::STALE_MICROS;

/// A JWT whose signature and claims were found right.
#[derive(Debug)]
pub struct VerifiedToken {
    token: AccessToken,
    /// Whether it was found live a short while ago.
    pub known: KnownLive,
}

impl From<AccessToken> for VerifiedToken {
    fn from(token: AccessToken) -> Self {
        Self { token, known: KnownLive::default() }
    }
}

impl Deref for VerifiedToken {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.token
    }
}

/// That a token was found live, until when, and behind how many endings
/// ([`Store::endings`](crate::store::Store::endings)). Any number may ask and remember at once.
#[derive(Debug, Default)]
pub struct KnownLive {
    /// 0 where it never was.
    endings: AtomicU64,
    /// When it is to be looked for again, in microseconds.
    look_again_at: AtomicI64,
}

impl KnownLive {
    /// Whether it was found live no longer ago than [`STALE_MICROS`] and nothing has ended since.
    pub fn holds(&self, endings: u64, now: Timestamp) -> bool {
        let look_again_at = self.look_again_at.load(Ordering::Acquire);
        // A clock that is set back makes it last no longer than by what it is set back, and by a second at the most.
        let since = look_again_at.saturating_sub(STALE_MICROS);
        self.endings.load(Ordering::Acquire) == endings && (since..look_again_at).contains(&now.micros())
    }

    /// Remembers that it was found live by a look that began at this moment and behind so many endings, and that it ends at
    /// `ends_at` by itself. Of two who remember at once both are right, and so is each half of what they remember.
    pub fn remember(&self, endings: u64, looked_at: Timestamp, ends_at: Timestamp) {
        let look_again_at = looked_at.micros().saturating_add(STALE_MICROS);
        // What ends sooner is looked for each time.
        if ends_at.micros() >= look_again_at {
            self.look_again_at.store(look_again_at, Ordering::Release);
            self.endings.store(endings, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + micros)
    }

    #[test]
    fn what_was_found_live_holds_for_a_second_and_until_something_ends() {
        let known = KnownLive::default();
        assert!(!known.holds(1, at(0)), "nobody has looked");
        known.remember(1, at(0), at(60_000_000));
        assert!(known.holds(1, at(0)) && known.holds(1, at(STALE_MICROS - 1)));
        for (endings, now) in [(2, 0), (0, 0), (1, STALE_MICROS), (1, 3 * STALE_MICROS), (1, -1)] {
            assert!(!known.holds(endings, at(now)), "{endings} {now}");
        }
        known.remember(2, at(5), at(60_000_000));
        assert!(known.holds(2, at(STALE_MICROS)) && !known.holds(1, at(5)));
    }

    #[test]
    fn what_is_about_to_end_is_looked_for_each_time() {
        let known = KnownLive::default();
        known.remember(1, at(0), at(STALE_MICROS - 1));
        assert!(!known.holds(1, at(0)));
        known.remember(1, at(0), at(STALE_MICROS));
        assert!(known.holds(1, at(STALE_MICROS - 1)));
    }
}
