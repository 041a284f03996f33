//! The closed loop: each connection begins its next operation when the last one has been answered.
//!
//! An operation is one or more requests that a [`Step`] writes and judges. Operations that fail are counted and the
//! first few are kept as text; only successful ones enter rate and latencies. Left out: load of a given rate, which is
//! in [`crate::paced`]; so latencies say here how long an answer takes at full load and not how a queue grows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::clock;
use crate::failure::{During, Failure};
use crate::histogram::Histogram;
use crate::machine;
use crate::wire::{Connection, Response};

/// How many failed operations a result shows.
pub const SHOWN_ERRORS: usize = 5;
/// An answer that takes longer than this ends its operation as failed.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a run with a number of operations may take at most.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// What a step wants next.
pub enum Next {
    /// The request has been written: send it.
    Send,
    /// There is no work left for this connection.
    Finished,
}

/// What an answer means for the operation.
pub enum Progress {
    /// The operation goes on with another request.
    More,
    /// The operation has succeeded.
    Done,
    /// The operation has failed, for this reason; the step begins a new one.
    Failed(String),
}

/// The state machine of one connection of a scenario.
pub trait Step: Send + 'static {
    /// Appends the next request to the empty `out`.
    fn request(&mut self, out: &mut Vec<u8>) -> Next;
    /// Judges the answer.
    fn response(&mut self, response: &Response<'_>) -> Progress;
    /// The connection broke before the answer: the next request begins a new operation.
    fn abandon(&mut self);
}

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Limit {
    /// After this time of measuring.
    Time(Duration),
    /// After this many operations of each connection, or earlier where a step says that it has finished.
    Each(u64),
}

/// Where a run's load goes and how long.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The server's address.
    pub address: SocketAddr,
    /// The server's process, whose share of its core is measured.
    pub server: u32,
    /// The database's process, if the benchmark started one on the same core.
    pub database: Option<u32>,
    /// Load before measuring; none for runs that count operations.
    pub warm_up: Duration,
    /// When to end.
    pub limit: Limit,
}

/// What a run showed.
pub struct Measured {
    /// Successful operations in the measured time.
    pub operations: u64,
    /// The measured time in seconds.
    pub seconds: f64,
    /// Latencies of the successful operations.
    pub latencies: Histogram,
    /// Failed operations, those of the warm-up included.
    pub errors: u64,
    /// The first few of them.
    pub first_errors: Vec<String>,
    /// The generator's use of its core, 0 to 1.
    pub generator_busy: f64,
    /// The server's use of its core, 0 to 1 (more if it runs on several).
    pub server_busy: f64,
    /// The use of that core by the database that the benchmark started, 0 to 1.
    pub database_busy: f64,
}

impl Measured {
    /// Successful operations a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }
}

/// The measured span of a run.
#[derive(Clone, Copy)]
struct Span {
    begin: Instant,
    /// Open for runs that count operations.
    end: Option<Instant>,
    /// Operations of each connection.
    each: u64,
}

/// Processor seconds of everybody who takes part, at a moment.
#[derive(Clone, Copy)]
pub struct Busy {
    at: Instant,
    generator: f64,
    server: f64,
    database: f64,
}

impl Busy {
    /// Now.
    pub fn sample(plan: &Plan) -> Self {
        Self {
            at: clock::now(),
            generator: machine::cpu_seconds(std::process::id()),
            server: machine::cpu_seconds(plan.server),
            database: machine::family_cpu_seconds(plan.database),
        }
    }

    /// The shares of a core of generator, server and database from `earlier` to this moment.
    pub fn since(&self, earlier: &Self) -> (f64, f64, f64) {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64().max(f64::EPSILON);
        (
            (self.generator - earlier.generator) / seconds,
            (self.server - earlier.server) / seconds,
            (self.database - earlier.database) / seconds,
        )
    }
}

/// What one connection counted.
struct Tally {
    latencies: Histogram,
    errors: u64,
    first_errors: Vec<String>,
    last: Instant,
}

impl Tally {
    fn fail(&mut self, reason: String) {
        self.errors += 1;
        if self.first_errors.len() < SHOWN_ERRORS {
            self.first_errors.push(reason);
        }
    }
}

/// Runs one step on each of as many connections as there are steps; gives the result and the steps in their order.
///
/// # Errors
/// When a connection can't be opened at the start, or the run exceeds its time by far.
pub async fn run<S: Step>(plan: Plan, steps: Vec<S>) -> Result<(Measured, Vec<S>), Failure> {
    let mut connections = Vec::with_capacity(steps.len());
    for _ in &steps {
        connections.push(Connection::open(plan.address).await.during(format!("connecting to {}", plan.address))?);
    }
    let span = match plan.limit {
        Limit::Time(time) => {
            let begin = clock::now() + plan.warm_up;
            Span { begin, end: Some(begin + time), each: u64::MAX }
        }
        Limit::Each(each) => Span { begin: clock::now(), end: None, each },
    };
    let begin = span.begin;
    let mut tasks = JoinSet::new();
    for (index, (connection, step)) in connections.into_iter().zip(steps).enumerate() {
        tasks.spawn(async move {
            let (tally, step) = drive(plan.address, connection, step, span).await;
            (index, tally, step)
        });
    }

    clock::pause(begin.saturating_duration_since(clock::now())).await;
    let before = Busy::sample(&plan);
    let (patience, mut after) = match plan.limit {
        Limit::Time(time) => {
            clock::pause(time).await;
            (ANSWER_TIMEOUT * 2, Some(Busy::sample(&plan)))
        }
        Limit::Each(_) => (RUN_TIMEOUT, None),
    };
    let joined = tokio::time::timeout(patience, async {
        let mut ended = Vec::new();
        while let Some(result) = tasks.join_next().await {
            ended.push(result.during("a connection's task")?);
        }
        Ok::<_, Failure>(ended)
    });
    let mut ended = joined.await.map_err(|_| Failure::new("the run did not end in time"))??;
    let after = after.take().unwrap_or_else(|| Busy::sample(&plan));
    let (generator_busy, server_busy, database_busy) = after.since(&before);

    ended.sort_by_key(|(index, _, _)| *index);
    let mut latencies = Histogram::new();
    let mut errors = 0;
    let mut first_errors = Vec::new();
    let mut last = begin;
    let mut steps = Vec::with_capacity(ended.len());
    for (_, tally, step) in ended {
        latencies.merge(&tally.latencies);
        errors += tally.errors;
        first_errors.extend(tally.first_errors);
        last = last.max(tally.last);
        steps.push(step);
    }
    first_errors.truncate(SHOWN_ERRORS);
    let seconds = match plan.limit {
        Limit::Time(time) => time.as_secs_f64(),
        Limit::Each(_) => last.saturating_duration_since(begin).as_secs_f64(),
    };
    let measured = Measured {
        operations: latencies.total(),
        seconds,
        latencies,
        errors,
        first_errors,
        generator_busy,
        server_busy,
        database_busy,
    };
    Ok((measured, steps))
}

/// One connection's loop.
async fn drive<S: Step>(address: SocketAddr, connection: Connection, mut step: S, span: Span) -> (Tally, S) {
    let mut tally = Tally { latencies: Histogram::new(), errors: 0, first_errors: Vec::new(), last: span.begin };
    let mut connection = Some(connection);
    let mut request = Vec::with_capacity(4 * 1024);
    let mut begun = clock::now();
    let mut left = span.each;
    while left > 0 && span.end.is_none_or(|end| begun < end) {
        left -= 1;
        let usable = connection.take().filter(|open| !open.closing());
        let mut open = match usable {
            Some(open) => open,
            None => match Connection::open(address).await {
                Ok(open) => open,
                Err(error) => {
                    // A server that no longer listens won't come back during a run.
                    tally.fail(format!("reconnecting: {error}"));
                    break;
                }
            },
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, operation(&mut open, &mut step, &mut request)).await {
            Ok(Ended::Done) => {
                let now = clock::now();
                if now >= span.begin && span.end.is_none_or(|end| now <= end) {
                    tally.latencies.record(now.saturating_duration_since(begun));
                    tally.last = now;
                }
                begun = now;
                connection = Some(open);
            }
            Ok(Ended::Failed(reason) | Ended::Refused { words: reason, .. }) => {
                tally.fail(reason);
                begun = clock::now();
                connection = Some(open);
            }
            Ok(Ended::Broken(reason)) => {
                step.abandon();
                tally.fail(reason);
                begun = clock::now();
            }
            Ok(Ended::Finished) => break,
            Err(_) => {
                step.abandon();
                tally.fail(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
                begun = clock::now();
            }
        }
    }
    (tally, step)
}

/// How an operation ended.
pub enum Ended {
    /// It succeeded.
    Done,
    /// It failed, for this reason.
    Failed(String),
    /// The server refused it for overload: 503 with Retry-After (RFC 9110 §15.6.4).
    Refused {
        /// What the answer was.
        words: String,
        /// From sending the refused request to its answer.
        took: Duration,
    },
    /// The connection broke.
    Broken(String),
    /// There is no work left.
    Finished,
}

/// All requests of one operation.
pub async fn operation<S: Step>(connection: &mut Connection, step: &mut S, request: &mut Vec<u8>) -> Ended {
    loop {
        request.clear();
        match step.request(request) {
            Next::Send => {}
            Next::Finished => return Ended::Finished,
        }
        let sent = clock::now();
        match connection.exchange(request).await {
            Ok(response) if response.status == 503 && response.headers("retry-after").next().is_some() => {
                step.abandon();
                let took = clock::now().saturating_duration_since(sent);
                return Ended::Refused { words: response.summary(), took };
            }
            Ok(response) => match step.response(&response) {
                Progress::More => {}
                Progress::Done => return Ended::Done,
                Progress::Failed(reason) => return Ended::Failed(reason),
            },
            Err(error) => return Ended::Broken(format!("connection: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use axum::Router;
    use axum::routing::get;

    /// Asks for `/` and, as a second request of the operation, for `/more`.
    struct Pair {
        second: bool,
        host: String,
    }

    impl Step for Pair {
        fn request(&mut self, out: &mut Vec<u8>) -> Next {
            crate::wire::write_get(out, &self.host, if self.second { "/more" } else { "/" }, "");
            Next::Send
        }

        fn response(&mut self, response: &Response<'_>) -> Progress {
            if response.status != 200 {
                self.second = false;
                return Progress::Failed(response.summary());
            }
            self.second = !self.second;
            if self.second { Progress::More } else { Progress::Done }
        }

        fn abandon(&mut self) {
            self.second = false;
        }
    }

    async fn serve(router: Router) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn pairs(address: SocketAddr, count: usize) -> Vec<Pair> {
        (0..count).map(|_| Pair { second: false, host: address.to_string() }).collect()
    }

    #[tokio::test]
    async fn counted_operations_are_all_done_once() {
        let seen = Arc::new(AtomicU64::new(0));
        let counter = seen.clone();
        let count = get(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async { "a" }
        });
        let address = serve(Router::new().route("/", count.clone()).route("/more", count)).await;
        let plan = Plan {
            address,
            server: std::process::id(),
            database: None,
            warm_up: Duration::ZERO,
            limit: Limit::Each(25),
        };
        let (measured, steps) = run(plan, pairs(address, 4)).await.unwrap();
        assert_eq!((measured.operations, measured.errors, steps.len()), (100, 0, 4));
        assert!(measured.rate() > 0.0);
        // What the generator counted is what the server saw: two requests an operation.
        assert_eq!(seen.load(Ordering::Relaxed), 200);
    }

    #[tokio::test]
    async fn failed_operations_are_counted_and_shown_but_not_measured() {
        let address = serve(Router::new().route("/", get(|| async { "a" }))).await;
        let plan = Plan {
            address,
            server: std::process::id(),
            database: None,
            warm_up: Duration::ZERO,
            limit: Limit::Time(Duration::from_millis(100)),
        };
        let (measured, _) = run(plan, pairs(address, 2)).await.unwrap();
        assert_eq!(measured.operations, 0);
        assert!(measured.errors > 2);
        assert_eq!(measured.first_errors.len(), SHOWN_ERRORS);
        assert!(measured.first_errors[0].contains("status 404"));
    }
}
