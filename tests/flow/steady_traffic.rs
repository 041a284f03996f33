//! Two nodes behind HAProxy, with PostgreSQL and Redis of the test's own, under steady traffic: sign-ins, refreshes, and
//! calls of two resource servers, one of which keeps the keys that it had before the first rotation for as long as it
//! can. Ten rotations, a change of the master key that restarts each node, a restart of PostgreSQL and a revoked key go
//! by. No good token is refused, no code and no refresh token is accepted twice, and nothing is answered by 5xx but while
//! the database is away.
//!
//! What an operator would see of the commands is printed. `KEYWARD_TEST_TRAFFIC_SECONDS` says for how long (24 s of
//! rotations unless it is set). The keys rotate by `--now`, and the resource servers' times are as much shorter than
//! their defaults as the time between two rotations is than the schedule's; from 80 minutes on all wait as they would in
//! earnest.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use keyward_guard::{Discovery, Guard, IssuerKeys, Verifier};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, Statement};

use super::rolling::configuration;
use crate::security::forge::part;
use crate::support::binary::{Binary, pause};
use crate::support::browser::parameters;
use crate::support::server::{Answer, PASSWORD, http_builder, real_seconds};
use crate::support::service::{Service, free_port};
use crate::support::{Browser, TestDatabase, WebApp};

const API: &str = "https://api.example";
const WORKERS: usize = 4;
const ROTATIONS: u32 = 10;

#[allow(clippy::disallowed_methods, reason = "a longer run is for a run by hand")]
fn seconds() -> u64 {
    std::env::var("KEYWARD_TEST_TRAFFIC_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// How the keys rotate, and how resource servers follow.
struct Pace {
    between: Duration,
    /// `keys rotate` has to be told `--now`.
    hurried: bool,
    refresh_every: Duration,
    refetch_at_most_every: Duration,
}

impl Pace {
    fn of(seconds: u64) -> Self {
        let between = Duration::from_secs(seconds) / (ROTATIONS + 2);
        // The set's max-age, the second in which nodes hear, `database.busy_timeout` and `tokens.clock_leeway`.
        let hurried = between < Duration::from_secs(400);
        let (refresh_every, refetch_at_most_every) = match hurried {
            true => (between / 2, Duration::from_secs(1)),
            false => (Duration::from_secs(300), Duration::from_secs(10)),
        };
        Self { between, hurried, refresh_every, refetch_at_most_every }
    }
}

/// Whether the database is away: an odd number says so, and each change makes it another.
#[derive(Default)]
struct Outage(AtomicUsize);

impl Outage {
    fn mark(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn changes(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the database was away at any time since the mark.
    fn excuses(&self, mark: usize) -> bool {
        !mark.is_multiple_of(2) || self.mark() != mark
    }
}

#[derive(Default)]
struct Counts {
    sign_ins: AtomicUsize,
    refreshes: AtomicUsize,
    calls: AtomicUsize,
    /// Codes and refresh tokens that were sent a second time, each refused.
    replays: AtomicUsize,
    /// Unanswered while the database was away.
    excused: AtomicUsize,
}

fn count(counter: &AtomicUsize) -> usize {
    counter.fetch_add(1, Ordering::Relaxed)
}

impl Counts {
    fn say(&self) -> String {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        format!(
            "{} sign-ins, {} refreshes, {} calls of resource servers, {} replays refused, {} unanswered while the \
             database was away",
            read(&self.sign_ins),
            read(&self.refreshes),
            read(&self.calls),
            read(&self.replays),
            read(&self.excused),
        )
    }
}

/// What all workers share.
struct Traffic {
    app: WebApp,
    /// One that follows the keys, and one with old ones.
    resource_servers: [String; 2],
    outage: Outage,
    counts: Counts,
    /// The key that was revoked: its tokens aren't good any more.
    revoked: Mutex<Option<String>>,
    stop: AtomicBool,
}

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

fn text(tokens: &serde_json::Value, name: &str) -> String {
    tokens[name].as_str().unwrap_or_else(|| panic!("no {name}: {tokens}")).to_owned()
}

impl Traffic {
    /// The answer; `None` where there is none or a 5xx, which only an outage excuses.
    async fn ask(&self, what: &str, request: reqwest::RequestBuilder) -> Option<Answer> {
        let mark = self.outage.mark();
        match Answer::try_of(request).await {
            Ok(answer) if answer.status < 500 => Some(answer),
            failed => {
                assert!(self.outage.excuses(mark), "{what}, and the database wasn't away: {failed:?}");
                count(&self.counts.excused);
                // Who is told that the server is busy doesn't ask again at once.
                pause(Duration::from_millis(100)).await;
                None
            }
        }
    }

    async fn redeem(&self, code: &str) -> Option<Answer> {
        self.ask("a code", self.app.redeem(code)).await
    }

    async fn refresh(&self, token: &str) -> Option<Answer> {
        self.ask("a refresh", self.app.refresh(token)).await
    }

    /// The token is good, so each resource server takes it.
    async fn call(&self, token: &str) {
        for (index, address) in self.resource_servers.iter().enumerate() {
            let Some(answer) = self.ask("a call", self.app.http.get(address).bearer_auth(token)).await else {
                continue;
            };
            if answer.status == 200 {
                count(&self.counts.calls);
                continue;
            }
            let revoked = self.revoked.lock().unwrap().clone();
            assert_eq!(
                revoked,
                Some(kid(token)),
                "resource server {index} refused a good token: {answer:?} {}",
                part(token, 1)
            );
        }
    }
}

/// A person's browser and its client, which go through one grant after another.
struct Worker {
    traffic: Arc<Traffic>,
    browser: Browser,
    turn: usize,
    /// Access tokens of grants that stand, which haven't expired: each a key's first that this worker got.
    kept: Vec<String>,
}

impl Worker {
    async fn new(traffic: &Arc<Traffic>, turn: usize) -> Self {
        let browser = Browser::at(&traffic.app.url);
        let arrived = browser.arrive(&traffic.app.authorize_url(), "ada").await;
        assert_eq!(arrived.status, 303, "{arrived:?}");
        Self { traffic: Arc::clone(traffic), browser, turn, kept: Vec::new() }
    }

    async fn run(mut self) {
        while !self.traffic.stop.load(Ordering::Relaxed) {
            self.turn += 1;
            self.grant().await;
            let soon = real_seconds() + 30;
            self.kept.retain(|token| part(token, 1)["exp"].as_i64().unwrap() > soon);
            for token in &self.kept {
                self.traffic.call(token).await;
            }
        }
    }

    /// From a sign-in to whatever end; `None` where an outage came between.
    async fn grant(&mut self) -> Option<()> {
        let traffic = Arc::clone(&self.traffic);
        let request = self.browser.request(reqwest::Method::GET, &traffic.app.authorize_url());
        let answer = traffic.ask("a sign-in", request).await?;
        assert_eq!(answer.status, 303, "the session stands: {answer:?}");
        let code = parameters(answer.header("location")).remove("code").expect("the session stands");
        if self.turn.is_multiple_of(5) {
            return self.race(&code).await;
        }
        let mut tokens = granted(traffic.redeem(&code).await?);
        count(&traffic.counts.sign_ins);
        let mut spent = Vec::new();
        for _ in 0..4 {
            traffic.call(&text(&tokens, "access_token")).await;
            let old = text(&tokens, "refresh_token");
            // A lost answer is asked for again, within the grace time.
            tokens = loop {
                if let Some(answer) = traffic.refresh(&old).await {
                    break granted(answer);
                }
            };
            count(&traffic.counts.refreshes);
            spent.push(old);
        }
        let access = text(&tokens, "access_token");
        traffic.call(&access).await;
        let answer = traffic.ask("userinfo", traffic.app.userinfo(&access)).await?;
        let revoked = traffic.revoked.lock().unwrap().clone();
        assert!(answer.status == 200 || revoked == Some(kid(&access)), "{answer:?}");
        let new_key = !self.kept.iter().any(|token| kid(token) == kid(&access));
        if new_key {
            self.kept.push(access);
            return Some(());
        }
        // A thief has the code, or a refresh token whose successor has been used.
        let replayed = match self.turn.is_multiple_of(2) {
            true => traffic.redeem(&code).await?,
            false => traffic.refresh(&spent[self.turn % 3]).await?,
        };
        refused(&replayed);
        refused(&traffic.refresh(&text(&tokens, "refresh_token")).await?);
        count(&traffic.counts.replays);
        Some(())
    }

    /// One code at both nodes at once.
    async fn race(&self, code: &str) -> Option<()> {
        let (first, second) = tokio::join!(self.traffic.redeem(code), self.traffic.redeem(code));
        let (first, second) = (first?, second?);
        let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
        let tokens = granted(won);
        count(&self.traffic.counts.sign_ins);
        refused(&lost);
        refused(&self.traffic.refresh(&text(&tokens, "refresh_token")).await?);
        count(&self.traffic.counts.replays);
        Some(())
    }
}

fn granted(answer: Answer) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn refused(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "accepted twice: {}", answer.text);
}

/// A resource server on loopback; gives its address and the keys that it goes by.
async fn resource_server(issuer: &str, discovery: Discovery) -> (String, IssuerKeys) {
    let guard = Guard::builder(Verifier::new(issuer).audience(API)).discover(discovery).unwrap();
    let keys = guard.issuer_keys().unwrap().clone();
    keys.refresh().await.unwrap();
    let router = Router::new().route("/", get(|| async { "yours" })).layer(guard.layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, keys)
}

/// The operator, who reads what the commands say.
struct Operator<'a> {
    traffic: &'a Traffic,
}

impl Operator<'_> {
    /// Runs a command as it is said in a terminal, and prints it with all that it says.
    fn run(&self, node: &Binary, line: &str) -> (bool, String) {
        let words: Vec<_> = line.split(' ').collect();
        let output = node.command(&words).stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        let folder = node.command(&[]).get_envs().find_map(|(name, value)| {
            (name == "KEYWARD_DATA_DIR").then(|| value.unwrap().to_str().unwrap().to_owned())
        });
        let hidden = |text: &str| text.replace(folder.as_deref().unwrap_or("-"), "data");
        eprintln!("$ keyward {}\n{}", hidden(line), hidden(&said));
        eprintln!("# meanwhile: {}", self.traffic.counts.say());
        (output.status.success(), said)
    }

    fn must(&self, node: &Binary, line: &str) -> String {
        let (done, said) = self.run(node, line);
        assert!(done, "{line}: {said}");
        said
    }
}

/// Stops a node as a deployment would, does something meanwhile, and starts it again.
async fn restart(node: &mut Binary, http: &reqwest::Client, meanwhile: impl FnOnce()) {
    node.signal("TERM");
    meanwhile();
    assert!(node.ended().await.success());
    node.start(http).await;
    // Until the proxy has seen it.
    pause(Duration::from_millis(1500)).await;
}

fn set_up(node: &Binary) -> WebApp {
    let run = |words: &[&str]| node.run(words, "");
    node.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    run(&["--json", "clients", "add", "--name", "Api", "--id", "api", "--audience", API]);
    node.add_web_app("shop", &["--resource", API, "--status-list"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL, Redis and HAProxy: run ./test")]
async fn ten_rotations_under_steady_traffic() {
    let pace = Pace::of(seconds());
    let (mut postgres, redis) = (Service::postgres().await, Service::redis().await);
    let database_url = format!("postgres://keyward@127.0.0.1:{}/postgres", postgres.port);
    let database = TestDatabase::sqlite().with_redis_at(format!("redis://127.0.0.1:{}", redis.port));
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let node = || {
        Binary::behind(&database, &url)
            .with("KEYWARD_DATABASE_URL", &database_url)
            .with("KEYWARD_DATABASE_BUSY_TIMEOUT", "1s")
            .with("KEYWARD_SERVER_TRUSTED_PROXIES", "127.0.0.1")
            .with("KEYWARD_SERVER_DRAIN_DELAY", "2s")
            .with("KEYWARD_PASSWORDS_ARGON2_MEMORY_KIB", "64")
            // What it says of the outage isn't news here.
            .with("KEYWARD_LOG_LEVEL", "off")
    };
    let mut nodes = [node(), node()];
    let http = http_builder(None).timeout(Duration::from_secs(10)).build().unwrap();
    let app = WebApp { http: http.clone(), ..set_up(&nodes[0]) };
    for node in &mut nodes {
        node.start(&http).await;
    }
    let mut proxy = Service::haproxy(port, &configuration("haproxy.cfg", port, &nodes)).await;
    pause(Duration::from_millis(700)).await;

    let discovery = || Discovery::new().client(http.clone()).refetch_at_most_every(pace.refetch_at_most_every);
    let (following, new_keys) = resource_server(&url, discovery().refresh_every(pace.refresh_every)).await;
    let (behind, old_keys) = resource_server(&url, discovery().refresh_every(Duration::from_secs(7 * 86_400))).await;
    let traffic = Arc::new(Traffic {
        app,
        resource_servers: [following, behind],
        outage: Outage::default(),
        counts: Counts::default(),
        revoked: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let mut running = Vec::new();
    for turn in 0..WORKERS {
        running.push(tokio::spawn(Worker::new(&traffic, turn * 7).await.run()));
    }
    let fine = || running.iter().all(|worker| !worker.is_finished());
    let operator = Operator { traffic: &traffic };
    pause(pace.between).await;

    operator.must(&nodes[0], "keys list");
    if pace.hurried {
        let (done, said) = operator.run(&nodes[0], "keys rotate");
        assert!(!done && said.contains("too new"), "{said}");
    }
    let rotate = if pace.hurried { "keys rotate --now" } else { "keys rotate" };
    let new_key = database.folder().join("new-master.key");
    for rotation in 1..=ROTATIONS {
        assert!(fine(), "a worker has failed");
        match rotation {
            // One node is draining while the key changes, and comes back with the new master key.
            4 => {
                operator.must(&nodes[1], &format!("keys reseal --new-key-file {}", new_key.display()));
                let [first, second] = &mut nodes;
                first.set("KEYWARD_KEYS_MASTER_KEY_FILE", new_key.display().to_string());
                restart(first, &http, || _ = operator.must(second, rotate)).await;
            }
            8 => {
                let [first, second] = &mut nodes;
                second.set("KEYWARD_KEYS_MASTER_KEY_FILE", new_key.display().to_string());
                restart(second, &http, || _ = operator.must(first, rotate)).await;
                operator.must(first, "keys reseal --finish --yes");
            }
            _ => _ = operator.must(&nodes[0], rotate),
        }
        pause(pace.between).await;
        if rotation == 1 {
            // The key that signs now was published when both began; the next one is news.
            let known = |keys: &IssuerKeys| keys.current().unwrap().len();
            for _ in 0..50 {
                if known(&new_keys) == 3 {
                    break;
                }
                pause(Duration::from_millis(100)).await;
            }
            assert_eq!((known(&new_keys), known(&old_keys)), (3, 2), "one follows, the other has its old keys");
        }
        if rotation == 6 {
            traffic.outage.changes();
            postgres.kill();
            pause(Duration::from_millis(700)).await;
            postgres.start().await;
            for node in &nodes {
                node.ready(&http).await;
            }
            // Until the proxy has seen it, and what was under way has ended.
            pause(Duration::from_millis(1500)).await;
            traffic.outage.changes();
        }
    }
    let keys = nodes[0].run(&["--json", "keys", "list"], "");
    let in_state = |state: &str| keys.as_array().unwrap().iter().filter(|key| key["state"] == state).count();
    assert_eq!((in_state("active"), in_state("next")), (1, 1));
    assert!(!pace.hurried || in_state("retired") == 10, "all of them are published for their tokens: {keys}");

    let active = keys.as_array().unwrap().iter().find(|key| key["state"] == "active").unwrap();
    let active = active["kid"].as_str().unwrap().to_owned();
    *traffic.revoked.lock().unwrap() = Some(active.clone());
    operator.must(&nodes[1], &format!("keys revoke {active} --yes"));
    pause(pace.between).await;
    operator.must(&nodes[0], "keys list");
    traffic.stop.store(true, Ordering::Relaxed);
    for worker in running {
        worker.await.expect("nothing failed");
    }

    let mut options = ConnectOptions::new(&database_url);
    options.max_connections(1).sqlx_logging(false);
    let tables = Database::connect(options).await.unwrap();
    let number = async |query: &str| -> i64 {
        let statement = Statement::from_string(tables.get_database_backend(), query);
        tables.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
    };
    let twice = "SELECT COUNT(*) FROM (SELECT successor_id FROM refresh_tokens WHERE successor_id IS NOT NULL \
                 GROUP BY successor_id HAVING COUNT(*) > 1) AS twice";
    assert_eq!(number(twice).await, 0, "a successor of two");
    let heads = "SELECT COUNT(*) FROM (SELECT grant_id FROM refresh_tokens WHERE spent_at IS NULL \
                 GROUP BY grant_id HAVING COUNT(*) > 1) AS heads";
    assert_eq!(number(heads).await, 0, "a family with two heads");
    tables.close().await.unwrap();
    let Counts { sign_ins, refreshes, calls, replays, .. } = &traffic.counts;
    for (counter, least) in [(sign_ins, 20), (refreshes, 100), (calls, 200), (replays, 10)] {
        assert!(counter.load(Ordering::Relaxed) >= least, "there was no traffic: {}", traffic.counts.say());
    }
    eprintln!("{}", traffic.counts.say());
    proxy.kill();
    for node in &mut nodes {
        node.kill();
    }
}
