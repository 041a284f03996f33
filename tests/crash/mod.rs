//! The real binary is killed under load, twenty times. Afterwards every refresh token that was answered works, no code
//! is redeemed twice, and nobody had to do anything by hand.

mod chaos;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, CHALLENGE, PASSWORD, VERIFIER, http_client};
use crate::support::{Browser, TestDatabase};

const ROUNDS: u64 = 20;
const WORKERS: usize = 6;

/// One client of the load: a chain of refresh tokens, and codes.
struct Worker {
    http: reqwest::Client,
    url: String,
    secret: String,
    /// The last refresh token that was answered.
    refresh_token: String,
    /// Codes whose redemption was answered by 200.
    redeemed: Vec<String>,
    /// Codes whose redemption got no answer.
    lost: Vec<String>,
    refreshes: usize,
}

impl Worker {
    async fn token(&self, form: &[(&str, &str)]) -> Option<Answer> {
        let mut form = form.to_vec();
        form.extend([("client_id", "crash"), ("client_secret", self.secret.as_str())]);
        let response = self.http.post(format!("{}/token", self.url)).form(&form).send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Answer { status, headers, text: response.text().await.ok()? })
    }

    async fn redeem(&self, code: &str) -> Option<Answer> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", "https://app.example/cb"),
            ("code_verifier", VERIFIER),
        ];
        self.token(&form).await
    }

    async fn refresh(&mut self) -> Option<()> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", self.refresh_token.as_str())];
        let answer = self.token(&form).await?;
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
            let Some(code) = next_code(browser, &self.url).await else { return };
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

fn authorize_url(url: &str) -> String {
    format!(
        "{url}/authorize?client_id=crash&response_type=code&scope=openid+offline_access&state=s\
         &redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

/// A code from the session that the browser has; `None` where the server is gone.
async fn next_code(browser: &Browser, url: &str) -> Option<String> {
    let response = browser.request(reqwest::Method::GET, &authorize_url(url)).send().await.ok()?;
    let status = response.status();
    let location = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(status, 303, "the session that was answered stands, and the consent too");
    let code = crate::support::browser::parameters(location).remove("code");
    Some(code.expect("the session that was answered stands"))
}

async fn killed_under_load(database: TestDatabase) {
    let http = http_client();
    let mut binary = Binary::new(&database);
    binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    let secret = binary.add_web_app("crash", &["--auth-method", "client_secret_post"]);
    binary.start(&http).await;
    let browser = Arc::new(Browser::at(&binary.url));
    browser.code(&authorize_url(&binary.url), "ada").await;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let mut worker = Worker {
            http: http_client(),
            url: binary.url.clone(),
            secret: secret.clone(),
            refresh_token: String::new(),
            redeemed: Vec::new(),
            lost: Vec::new(),
            refreshes: 0,
        };
        let code = next_code(&browser, &binary.url).await.unwrap();
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
