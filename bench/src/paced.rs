//! Load of a given rate: many connections, each of which begins its next operation at its own fixed times, whatever the
//! server does; so load above what the server can serve stays above it.
//!
//! A connection whose operation is still running at its time begins the next one as soon as it can. What was really
//! begun is counted, so a generator or a server that holds the load back is visible. A refusal (503 with Retry-After)
//! is counted apart with a latency of its own; every other failure is an error.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clock;
use crate::failure::{During, Failure};
use crate::histogram::Histogram;
use crate::load::{ANSWER_TIMEOUT, Busy, Ended, Plan, SHOWN_ERRORS, Step, operation};
use crate::wire::Connection;

/// What paced load showed. Operations count if they began in the measured time.
pub struct Paced {
    /// The measured time in seconds.
    pub seconds: f64,
    /// Operations that were begun.
    pub begun: u64,
    /// Latencies of those that succeeded.
    pub admitted: Histogram,
    /// Latencies of refusals, each from the refused request to its answer.
    pub refused: Histogram,
    /// Those that failed, the warm-up's included.
    pub errors: u64,
    /// The first few of them.
    pub first_errors: Vec<String>,
    /// The generator's use of its core, 0 to 1.
    pub generator_busy: f64,
    /// The server's use of its core, 0 to 1.
    pub server_busy: f64,
    /// The database's use of that core, 0 to 1.
    pub database_busy: f64,
}

/// When a connection begins its operations.
#[derive(Clone, Copy)]
struct Beat {
    first: Instant,
    period: Duration,
    /// From here on operations count.
    begin: Instant,
    end: Instant,
}

/// What one connection counted.
struct Tally {
    begun: u64,
    admitted: Histogram,
    refused: Histogram,
    errors: u64,
    first_errors: Vec<String>,
}

/// Runs the steps, one a connection, so that all together begin `rate` operations a second for `time` behind the plan's
/// warm-up.
///
/// # Errors
/// When a connection can't be opened at the start, or the run exceeds its time by far.
pub async fn run<S: Step>(plan: Plan, time: Duration, rate: f64, steps: Vec<S>) -> Result<Paced, Failure> {
    let count = u32::try_from(steps.len()).during("counting connections")?.max(1);
    let period = Duration::try_from_secs_f64(f64::from(count) / rate).during("an operation's period")?;
    let mut connections = Vec::with_capacity(steps.len());
    for _ in &steps {
        connections.push(Connection::open(plan.address).await.during(format!("connecting to {}", plan.address))?);
    }
    let start = clock::now();
    let begin = start + plan.warm_up;
    let end = begin + time;
    let mut tasks = JoinSet::new();
    for (place, (connection, step)) in (0_u32..).zip(connections.into_iter().zip(steps)) {
        // The connections' times lie evenly in the period.
        let beat = Beat { first: start + period * place / count, period, begin, end };
        tasks.spawn(drive(plan.address, connection, step, beat));
    }
    clock::pause_until(begin).await;
    let before = Busy::sample(&plan);
    clock::pause_until(end).await;
    let after = Busy::sample(&plan);
    let mut total = Tally::new();
    let joined = tokio::time::timeout(ANSWER_TIMEOUT * 2, async {
        while let Some(result) = tasks.join_next().await {
            let tally = result.during("a connection's task")?;
            total.begun += tally.begun;
            total.admitted.merge(&tally.admitted);
            total.refused.merge(&tally.refused);
            total.errors += tally.errors;
            total.first_errors.extend(tally.first_errors);
        }
        Ok::<_, Failure>(())
    });
    joined.await.map_err(|_| Failure::new("the run did not end in time"))??;
    total.first_errors.truncate(SHOWN_ERRORS);
    let (generator_busy, server_busy, database_busy) = after.since(&before);
    Ok(Paced {
        seconds: time.as_secs_f64(),
        begun: total.begun,
        admitted: total.admitted,
        refused: total.refused,
        errors: total.errors,
        first_errors: total.first_errors,
        generator_busy,
        server_busy,
        database_busy,
    })
}

impl Tally {
    fn new() -> Self {
        Self { begun: 0, admitted: Histogram::new(), refused: Histogram::new(), errors: 0, first_errors: Vec::new() }
    }

    fn fail(&mut self, reason: String) {
        self.errors += 1;
        if self.first_errors.len() < SHOWN_ERRORS {
            self.first_errors.push(reason);
        }
    }
}

/// One connection's operations.
async fn drive<S: Step>(address: SocketAddr, connection: Connection, mut step: S, beat: Beat) -> Tally {
    let mut tally = Tally::new();
    let mut connection = Some(connection);
    let mut request = Vec::with_capacity(4 * 1024);
    let mut due = beat.first;
    while due < beat.end {
        clock::pause_until(due).await;
        due += beat.period;
        let begun = clock::now();
        if begun >= beat.end {
            break;
        }
        let counts = begun >= beat.begin;
        tally.begun += u64::from(counts);
        let usable = connection.take().filter(|open| !open.closing());
        let mut open = match usable {
            Some(open) => open,
            None => match Connection::open(address).await {
                Ok(open) => open,
                Err(error) => {
                    tally.fail(format!("reconnecting: {error}"));
                    break;
                }
            },
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, operation(&mut open, &mut step, &mut request)).await {
            Ok(Ended::Done) => {
                if counts {
                    tally.admitted.record(clock::now().saturating_duration_since(begun));
                }
                connection = Some(open);
            }
            Ok(Ended::Refused { took, .. }) => {
                if counts {
                    tally.refused.record(took);
                }
                connection = Some(open);
            }
            Ok(Ended::Failed(reason)) => {
                tally.fail(reason);
                connection = Some(open);
            }
            Ok(Ended::Broken(reason)) => {
                step.abandon();
                tally.fail(reason);
            }
            Ok(Ended::Finished) => {
                tally.fail("a connection ran out of work".to_owned());
                break;
            }
            Err(_) => {
                step.abandon();
                tally.fail(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            }
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::http::header::RETRY_AFTER;
    use axum::response::IntoResponse;
    use axum::routing::get;

    use super::*;
    use crate::load::Limit;
    use crate::scenario::cached::Document;

    async fn paced(router: Router, rate: f64) -> Paced {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let time = Duration::from_millis(500);
        let plan = Plan {
            address,
            server: std::process::id(),
            database: None,
            warm_up: Duration::from_millis(50),
            limit: Limit::Time(time),
        };
        let steps = (0..8).map(|_| Document::new(&address.to_string(), "/", None)).collect();
        run(plan, time, rate, steps).await.unwrap()
    }

    #[tokio::test]
    async fn a_rate_is_kept_and_refusals_are_no_errors() {
        let asked = Arc::new(AtomicU64::new(0));
        let answer = get(move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match number % 4 {
                    0 => "{}".into_response(),
                    _ => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "2")], "busy").into_response(),
                }
            }
        });
        let paced = paced(Router::new().route("/", answer), 400.0).await;
        assert_eq!(paced.errors, 0, "{:?}", paced.first_errors);
        assert!((150..=230).contains(&paced.begun), "{} were begun", paced.begun);
        assert_eq!(paced.begun, paced.admitted.total() + paced.refused.total());
        assert!(paced.refused.total() > 2 * paced.admitted.total());
    }

    #[tokio::test]
    async fn a_refusal_that_says_not_when_to_come_again_is_an_error() {
        let paced = paced(Router::new().route("/", get(|| async { StatusCode::SERVICE_UNAVAILABLE })), 100.0).await;
        assert!(paced.errors > 0 && paced.refused.total() == 0 && paced.admitted.total() == 0);
        assert!(paced.first_errors.first().unwrap().contains("status 503"));
    }
}
