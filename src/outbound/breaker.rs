//! A circuit breaker for a host that can't be connected to, or for one address that doesn't answer or says that it can't:
//! after failures in a row nothing is sent there for a while, and then one request tries.

use keyward_protocol::Timestamp;

/// What is known of a host or an address.
#[derive(Debug, Default)]
pub struct Breaker {
    failures_in_a_row: u32,
    closed_to_us_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether a request may go. After the pause one may, and the next only when that one came back well or another
    /// pause, in seconds, is over.
    pub fn admits(&mut self, pause: u64, now: Timestamp) -> bool {
        match self.closed_to_us_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.closed_to_us_until = Some(now.plus_seconds(pause));
                true
            }
            None => true,
        }
    }

    /// It answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// It didn't answer, or only that it can't. `most` failures in a row end the trust.
    pub fn failed(&mut self, most: u32, pause: u64, now: Timestamp) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row >= most {
            self.closed_to_us_until = Some(now.plus_seconds(pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_tries_once_and_closes() {
        let at = Timestamp::from_seconds;
        let mut breaker = Breaker::default();
        for second in 0..3 {
            assert!(breaker.admits(30, at(second)));
            breaker.failed(3, 30, at(second));
        }
        assert!(!breaker.admits(30, at(3)) && !breaker.admits(30, at(31)));
        assert!(breaker.admits(30, at(32)), "one tries");
        assert!(!breaker.admits(30, at(33)), "and only one");
        breaker.failed(3, 30, at(34));
        assert!(!breaker.admits(30, at(63)));
        assert!(breaker.admits(30, at(64)));
        breaker.answered();
        assert!(breaker.admits(30, at(64)) && breaker.admits(30, at(64)));
        breaker.failed(3, 30, at(65));
        assert!(breaker.admits(30, at(65)), "failures count in a row");
    }
}
