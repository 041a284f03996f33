//! The clock: the only place that asks for the time. Tests hand in one that they move.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyward_protocol::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

/// A moment as RFC 3339 writes it, in UTC and whole seconds.
pub fn moment(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.seconds())
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.seconds().to_string())
}

/// Tells the time and waits for moments.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Moved(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn standing_at(start: Timestamp) -> Self {
        Self(Source::Moved(Arc::new(watch::Sender::new(start))))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Moved(sender) => *sender.borrow(),
        }
    }

    /// Moves a standing clock on; the machine's can't be moved.
    pub fn advance(&self, seconds: u64) {
        if let Source::Moved(sender) = &self.0 {
            sender.send_modify(|now| *now = now.plus_seconds(seconds));
        }
    }

    /// Waits until the moment.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match &self.0 {
            Source::System => {
                let micros = moment.micros().saturating_sub(system_now().micros());
                if let Ok(micros) = u64::try_from(micros) {
                    system_sleep(Duration::from_micros(micros)).await;
                }
            }
            Source::Moved(sender) => {
                // The sender lives in `self`: the channel can't be closed while this waits.
                let _ = sender.subscribe().wait_for(|now| *now >= moment).await;
            }
        }
    }

    /// Waits some milliseconds of this clock.
    pub async fn sleep_millis(&self, millis: u64) {
        let micros = i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.sleep_until(Timestamp::from_micros(self.now().micros().saturating_add(micros))).await;
    }
}

/// How long something has been running, by the machine's clock that never goes back: what measures the machine's own work
/// can't be moved.
#[derive(Debug, Clone, Copy)]
pub struct Uptime(Instant);

impl Uptime {
    /// From now on.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since the start.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[allow(clippy::disallowed_methods, reason = "the one place that sleeps by the machine's clock")]
async fn system_sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
