//! The real binary is killed under load, twenty times. Afterwards every refresh token that was answered works, no code
//! is redeemed twice, and nobody had to do anything by hand.

mod chaos;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, PASSWORD, http_client};
use crate::support::{Browser, TestDatabase, WebApp};

const ROUNDS: u64 = 20;
const WORKERS: usize = 6;

/// One client of the load: a chain of refresh tokens, and codes.
struct Worker {
    app: WebApp,
    /// The last refresh token that was answered.
    refresh_token: String,
    /// Codes whose redemption was answered by 200.
    redeemed: Vec<String>,
    /// Codes whose redemption got no answer.
    lost: Vec<String>,
    refreshes: usize,
}

impl Worker {
    async fn redeem(&self, code: &str) -> Option<Answer> {
        Answer::try_of(self.app.redeem(code)).await.ok()
    }

    async fn refresh(&mut self) -> Option<()> {
        let answer = Answer::try_of(self.app.refresh(&self.refresh_token)).await.ok()?;
        assert_eq!(answer.status, 200, "a refresh token that was answered must work: {}", answer.text);
        self.refresh_token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
        self.refreshes += 1;
        Some(())
    }

    /// Works until the server is gone.
    async fn work(&mut self, browser: &Browser, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.refresh().await.is_none() {
                return;
            }
            let Some(code) = next_code(browser, &self.app).await else { return };
            match self.redeem(&code).await {
                Some(answer) => {
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    self.redeemed.push(code);
                }
                None => {
                    self.lost.push(code);
                    return;
                }
            }
        }
    }

    /// What must hold when the server is back.
    async fn check(&mut self) {
        self.refresh().await.expect("the server is back");
        for code in std::mem::take(&mut self.lost) {
            // Committed or not: after this answer it is spent.
            self.redeem(&code).await.expect("the server is back");
            self.redeemed.push(code);
        }
        for code in std::mem::take(&mut self.redeemed) {
            let answer = self.redeem(&code).await.expect("the server is back");
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "a code was redeemed twice");
        }
    }
}

/// A code from the session that the browser has; `None` where the server is gone.
async fn next_code(browser: &Browser, app: &WebApp) -> Option<String> {
    let answer = Answer::try_of(browser.request(reqwest::Method::GET, &app.authorize_url())).await.ok()?;
    assert_eq!(answer.status, 303, "the session that was answered stands, and the consent too");
    let code = crate::support::browser::parameters(answer.header("location")).remove("code");
    Some(code.expect("the session that was answered stands"))
}

async fn killed_under_load(database: TestDatabase) {
    let http = http_client();
    let mut binary = Binary::new(&database);
    binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    let app = binary.add_web_app("crash", &[]);
    binary.start(&http).await;
    let browser = Arc::new(Browser::at(&binary.url));
    browser.code(&app.authorize_url(), "ada").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let mut worker = Worker {
            // Connections of its own.
            app: WebApp { http: http_client(), ..app.clone() },
            refresh_token: String::new(),
            redeemed: Vec::new(),
            lost: Vec::new(),
            refreshes: 0,
        };
        let code = next_code(&browser, &app).await.unwrap();
        let tokens = worker.redeem(&code).await.unwrap().json();
        worker.refresh_token = tokens["refresh_token"].as_str().unwrap().to_owned();
        workers.push(worker);
    }
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let running: Vec<_> = workers
            .drain(..)
            .map(|mut worker| {
                let (browser, stop) = (Arc::clone(&browser), Arc::clone(&stop));
                tokio::spawn(async move {
                    worker.work(&browser, &stop).await;
                    worker
                })
            })
            .collect();
        pause(Duration::from_millis(60 + 37 * (round % 7))).await;
        binary.kill();
        stop.store(true, Ordering::Relaxed);
        for worker in running {
            workers.push(worker.await.unwrap());
        }
        binary.start(&http).await;
        for worker in &mut workers {
            worker.check().await;
        }
    }
    let refreshes: usize = workers.iter().map(|worker| worker.refreshes).sum();
    assert!(refreshes > WORKERS * usize::try_from(ROUNDS).unwrap(), "there was no load: {refreshes} refreshes");
    binary.kill();
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    killed_under_load(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres() {
    killed_under_load(TestDatabase::postgres().await).await;
}
