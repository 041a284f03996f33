//! Two nodes, PostgreSQL and Redis of the test's own, and one of them after another is killed by `kill -9` at random
//! moments, under load. Then every refresh token that was answered works, or its family was ended on purpose, and the
//! counts in the database agree with each other and with what was answered.
//!
//! `KEYWARD_TEST_CHAOS_SECONDS` says for how long; a quarter of a minute unless it is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyward::random::Random;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, Statement};

use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, PASSWORD, http_builder};
use crate::support::service::Service;
use crate::support::{Browser, TestDatabase, WebApp};

const WORKERS: usize = 6;

#[allow(clippy::disallowed_methods, reason = "a longer run is for a run by hand")]
fn seconds() -> u64 {
    std::env::var("KEYWARD_TEST_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15)
}

#[allow(clippy::disallowed_methods, reason = "the binaries under test run on real time")]
fn now() -> Instant {
    Instant::now()
}

/// Someone who goes to whichever node answers.
struct Worker {
    nodes: [WebApp; 2],
    /// The last refresh token that was answered; none before the first sign-in.
    refresh_token: Option<String>,
    /// When it was first sent without an answer: the grace time of a retry runs from about then.
    unanswered_since: Option<Instant>,
    /// Codes whose redemption was answered by 200.
    redeemed: Vec<String>,
    refreshes: usize,
    /// Families that ended since a lost answer was asked for too late.
    ended_on_purpose: usize,
    turn: usize,
}

impl Worker {
    fn node(&mut self) -> WebApp {
        self.turn += 1;
        self.nodes[self.turn % 2].clone()
    }

    /// `None` where nobody answered, or somebody that it can't be done now.
    async fn ask(request: reqwest::RequestBuilder) -> Option<Answer> {
        let answer = Answer::try_of(request).await.ok()?;
        if answer.status == 503 {
            assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
            return None;
        }
        Some(answer)
    }

    async fn redeem(&mut self, code: &str) -> Option<Answer> {
        let request = self.node().redeem(code);
        Self::ask(request).await
    }

    /// Signs in anew where there is no family.
    async fn begin(&mut self, browser: &Browser) {
        let node = self.node();
        let request = browser.request(reqwest::Method::GET, &node.authorize_url());
        let Ok(answer) = Answer::try_of(request).await else { return };
        if answer.status == 503 {
            return;
        }
        assert_eq!(answer.status, 303, "the session that was answered stands");
        let code =
            crate::support::browser::parameters(answer.header("location")).remove("code").expect("the session stands");
        let Some(answer) = self.redeem(&code).await else { return };
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.refresh_token = Some(answer.json()["refresh_token"].as_str().unwrap().to_owned());
        self.redeemed.push(code);
    }

    async fn refresh(&mut self, token: String) {
        let begun = now();
        let request = self.node().refresh(&token);
        let Some(answer) = Self::ask(request).await else {
            self.unanswered_since.get_or_insert(begun);
            return;
        };
        if answer.status == 200 {
            self.refresh_token = Some(answer.json()["refresh_token"].as_str().unwrap().to_owned());
            self.unanswered_since = None;
            self.refreshes += 1;
            return;
        }
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{}", answer.text);
        // Only who retries after the grace time is taken for a thief.
        let waited = self.unanswered_since.map(|since| since.elapsed()).unwrap_or_default();
        assert!(waited > Duration::from_secs(29), "a token that was answered must work: {waited:?} {}", answer.text);
        self.ended_on_purpose += 1;
        self.refresh_token = None;
        self.unanswered_since = None;
    }

    async fn work(&mut self, browser: &Browser, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.refresh_token.clone() {
                Some(token) if !self.turn.is_multiple_of(23) || self.unanswered_since.is_some() => {
                    self.refresh(token).await
                }
                _ => self.begin(browser).await,
            }
            pause(Duration::from_millis(5)).await;
        }
    }
}

async fn number(database: &DatabaseConnection, query: &str) -> i64 {
    let statement = Statement::from_string(database.get_database_backend(), query);
    database.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// A number below this bound.
fn chance(bound: u64) -> u64 {
    u64::from(u32::from_be_bytes(Random::system().bytes().unwrap())) % bound
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
async fn a_node_postgresql_and_redis_are_killed() {
    let (mut postgres, mut redis) = (Service::postgres().await, Service::redis().await);
    let database_url = format!("postgres://keyward@127.0.0.1:{}/postgres", postgres.port);
    let database = TestDatabase::sqlite().with_redis_at(format!("redis://127.0.0.1:{}", redis.port));
    let node = |url: &str| {
        Binary::behind(&database, url)
            .with("KEYWARD_DATABASE_URL", &database_url)
            .with("KEYWARD_DATABASE_BUSY_TIMEOUT", "1s")
            .with("KEYWARD_PASSWORDS_ARGON2_MEMORY_KIB", "64")
            // What it says of an outage isn't news here.
            .with("KEYWARD_LOG_LEVEL", "off")
    };
    // Cookies and issuer are those of localhost, whatever the port.
    let mut nodes = [node("http://localhost"), node("http://localhost")];
    let http = http_builder(None).timeout(Duration::from_secs(5)).build().unwrap();
    nodes[0].run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    let app = WebApp { http: http.clone(), ..nodes[0].add_web_app("crash", &[]) };
    for node in &mut nodes {
        node.start(&http).await;
    }
    let apps = [app.at(nodes[0].own_url()), app.at(nodes[1].own_url())];
    let browser = Arc::new(Browser::at_node(&apps[0].url, "http://localhost"));
    browser.code(&apps[0].authorize_url(), "ada").await;
    let stop = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = (0..WORKERS)
        .map(|index| {
            let mut worker = Worker {
                nodes: apps.clone(),
                refresh_token: None,
                unanswered_since: None,
                redeemed: Vec::new(),
                refreshes: 0,
                ended_on_purpose: 0,
                turn: index,
            };
            let (browser, stop) = (Arc::clone(&browser), Arc::clone(&stop));
            tokio::spawn(async move {
                worker.work(&browser, &stop).await;
                worker
            })
        })
        .collect();

    let begun = now();
    let mut kills = [0; 3];
    while begun.elapsed() < Duration::from_secs(seconds()) && running.iter().all(|worker| !worker.is_finished()) {
        pause(Duration::from_millis(200 + chance(1300))).await;
        let victim = chance(3);
        kills[usize::try_from(victim).unwrap()] += 1;
        let away = Duration::from_millis(chance(800));
        match victim {
            0 => {
                let node = &mut nodes[usize::try_from(chance(2)).unwrap()];
                node.kill();
                pause(away).await;
                node.supervise(&http).await;
            }
            1 => {
                postgres.kill();
                pause(away).await;
                postgres.start().await;
            }
            _ => {
                redis.kill();
                pause(away).await;
                redis.start().await;
            }
        }
    }
    for node in &mut nodes {
        node.supervise(&http).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut workers = Vec::new();
    for worker in running {
        workers.push(worker.await.unwrap());
    }
    // Nobody had to do anything by hand: what was answered last works.
    for worker in &mut workers {
        if let Some(token) = worker.refresh_token.clone() {
            let (refreshes, ended) = (worker.refreshes, worker.ended_on_purpose);
            worker.refresh(token).await;
            assert!(
                worker.refreshes + worker.ended_on_purpose > refreshes + ended,
                "all are back, and nobody answered"
            );
        }
    }
    let options = {
        let mut options = ConnectOptions::new(&database_url);
        options.max_connections(1).sqlx_logging(false);
        options
    };
    let tables = Database::connect(options).await.unwrap();
    let (refreshes, redeemed, ended) = workers.iter().fold((0, 0, 0), |sum, worker| {
        (sum.0 + worker.refreshes, sum.1 + worker.redeemed.len(), sum.2 + worker.ended_on_purpose)
    });
    let count = async |query: &str| usize::try_from(number(&tables, query).await).unwrap();
    let spent_tokens = count("SELECT COUNT(*) FROM refresh_tokens WHERE spent_at IS NOT NULL").await;
    assert!(spent_tokens >= refreshes - ended, "{spent_tokens} rotations on record of {refreshes} answered");
    let grants = count("SELECT COUNT(*) FROM grants").await;
    assert!(grants >= redeemed);
    assert_eq!(count("SELECT COUNT(*) FROM authorization_codes WHERE spent_at IS NOT NULL").await, grants);
    assert_eq!(count("SELECT COUNT(*) FROM refresh_tokens").await, grants + spent_tokens, "one successor for each");
    assert_eq!(count("SELECT COUNT(*) FROM refresh_tokens WHERE spent_at IS NULL").await, grants, "one head a family");
    let orphans = "SELECT COUNT(*) FROM refresh_tokens r WHERE r.successor_id IS NOT NULL \
                   AND NOT EXISTS (SELECT 1 FROM refresh_tokens s WHERE s.id = r.successor_id)";
    assert_eq!(count(orphans).await, 0);
    assert_eq!(count("SELECT COUNT(*) FROM grants WHERE ended_at IS NOT NULL").await, ended);
    let events = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_token_reused'";
    assert_eq!(count(events).await, ended, "each end was on purpose and is on record");
    // No code that was redeemed can be again.
    for worker in &mut workers {
        for code in std::mem::take(&mut worker.redeemed) {
            let answer = worker.redeem(&code).await.expect("all are back");
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "a code was redeemed twice");
        }
    }
    eprintln!(
        "{} s, killed: nodes {}, PostgreSQL {}, Redis {}; {refreshes} refreshes and {redeemed} codes answered, {ended} \
         families ended by a retry after the grace time",
        begun.elapsed().as_secs(),
        kills[0],
        kills[1],
        kills[2],
    );
    assert!(refreshes > 50, "there was no load: {refreshes}");
    tables.close().await.unwrap();
    for node in &mut nodes {
        node.kill();
    }
}
