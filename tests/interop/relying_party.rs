//! A foreign program that people visit: a server of its own, which sends them to Keyward when it wants to know who they
//! are.

use std::process::Command;

use super::USER;
use crate::browser::process::{Process, free_ports, until};
use crate::support::server::Answer;
use crate::support::{Browser, TestServer};

/// How often the program is waited for; each time is as long as patience with a page.
const TRIES: usize = 4;

/// The program, listening.
pub struct RelyingParty {
    process: Process,
    pub url: String,
}

/// An address that is free now, as `scheme://localhost:port`, and its port.
pub fn free_address(scheme: &str) -> (String, u16) {
    let port = free_ports();
    (format!("{scheme}://localhost:{port}"), port)
}

impl RelyingParty {
    /// Starts it and waits until it answers at its address, whatever it answers.
    pub async fn start(server: &TestServer, command: &mut Command, url: String) -> Self {
        let authority = server.authority().unwrap().ca_file();
        let process = Process::start(command.env("SSL_CERT_FILE", &authority).env("REQUESTS_CA_BUNDLE", &authority));
        for _ in 0..TRIES {
            if until(async || server.http.get(&url).send().await.ok()).await.is_some() {
                return Self { process, url };
            }
        }
        panic!("{command:?} doesn't come up:\n{}", process.lines().join("\n"));
    }

    /// Fails, with what the program said.
    pub fn complain(&self, of: &Answer) -> ! {
        panic!("{of:#?}\n{}", self.process.lines().join("\n"));
    }

    /// What somebody sees who goes to this path of the program and wherever it sends them: through Keyward's pages too,
    /// where they sign in and allow.
    pub async fn visit(&self, browser: &Browser, path: &str) -> Answer {
        let answer = browser.get(&format!("{}{path}", self.url)).await;
        self.follow(browser, answer, true).await
    }

    /// The same, but nobody signs in: what is seen may be Keyward's login page.
    pub async fn look(&self, browser: &Browser, path: &str) -> Answer {
        let answer = browser.get(&format!("{}{path}", self.url)).await;
        self.follow(browser, answer, false).await
    }

    /// Follows redirects within the program and to Keyward and back.
    pub async fn follow(&self, browser: &Browser, mut answer: Answer, signs_in: bool) -> Answer {
        let mut at = url::Url::parse(&self.url).unwrap();
        for _ in 0..10 {
            if !matches!(answer.status, 302 | 303) {
                return answer;
            }
            at = at.join(answer.header("location")).unwrap();
            let own = at.as_str().starts_with(&self.url);
            answer = match (own, signs_in) {
                (true, _) => browser.get(at.as_str()).await,
                (false, true) => browser.arrive(at.as_str(), USER).await,
                (false, false) => browser.open(at.as_str()).await,
            };
        }
        self.complain(&answer);
    }
}
