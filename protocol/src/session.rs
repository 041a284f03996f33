//! When a session of a person at this server stands (NIST SP 800-63B §7.2: idle and absolute limits).

use crate::timestamp::Timestamp;

/// What decides whether a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// The last use that was written down.
    pub last_seen_at: Timestamp,
    /// The moment at which it ends whatever happens.
    pub expires_at: Timestamp,
    /// The moment at which it was ended.
    pub ended_at: Option<Timestamp>,
}

/// Whether the session stands at this moment, with an idle limit in seconds.
pub fn stands(times: &SessionTimes, idle_timeout: u64, now: Timestamp) -> bool {
    times.ended_at.is_none() && now < ends_at(times, idle_timeout)
}

/// The moment at which the session ends unless it is used before, with an idle limit in seconds.
pub fn ends_at(times: &SessionTimes, idle_timeout: u64) -> Timestamp {
    times.expires_at.min(times.last_seen_at.plus_seconds(idle_timeout))
}

/// Whether this use is worth a write: at most one in `interval` seconds.
pub fn worth_touching(times: &SessionTimes, interval: u64, now: Timestamp) -> bool {
    now >= times.last_seen_at.plus_seconds(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_absolute_and_ended() {
        let start = Timestamp::from_seconds(1000);
        let times = SessionTimes { last_seen_at: start, expires_at: start.plus_seconds(100), ended_at: None };
        assert!(stands(&times, 50, start.plus_seconds(49)));
        assert!(!stands(&times, 50, start.plus_seconds(50)));
        assert!(!stands(&times, 500, start.plus_seconds(100)));
        assert!(!stands(&SessionTimes { ended_at: Some(start), ..times }, 50, start));
        assert!(
            !worth_touching(&times, 60, start.plus_seconds(59)) && worth_touching(&times, 60, start.plus_seconds(60))
        );
    }
}
