//! `keyward demo` as a process, and what it says of itself.

use std::path::Path;
use std::process::Command;

use super::chromium::Browser;
use super::process::Process;

/// The running demo.
pub struct Demo {
    process: Process,
    pub web_app: String,
    pub single_page_app: String,
    pub mcp_server: String,
    pub mcp_client: String,
    pub issuer: String,
    pub user: String,
    pub password: String,
}

/// The binary under test, with no setting but those that the test gives it.
pub fn keyward() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYWARD_") {
            command.env_remove(name);
        }
    }
    command
}

impl Demo {
    /// On free ports, with data that goes at its end.
    pub async fn start() -> Self {
        Self::read(Process::start(keyward().args(["demo", "--port", "0"]))).await.unwrap()
    }

    /// With data that stays, on this port and the four after it; `None` where they are taken.
    pub async fn start_at(data: &Path, port: u16) -> Option<Self> {
        let port = port.to_string();
        Self::read(Process::start(keyward().arg("demo").arg("--data").arg(data).args(["--port", &port]))).await
    }

    async fn read(mut process: Process) -> Option<Self> {
        process.line(|line| line.contains("Ctrl+C").then_some(())).await?;
        let lines = process.lines();
        let said = |label: &str| {
            // A label is followed by a column of blanks.
            let rest = lines.iter().find_map(|line| line.trim().strip_prefix(label)?.strip_prefix("  ")).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        Some(Self {
            web_app: said("web app"),
            single_page_app: said("single-page app"),
            mcp_server: said("MCP server"),
            mcp_client: said("MCP client id"),
            issuer: said("Keyward"),
            user: said("user name"),
            password: said("password"),
            process,
        })
    }

    /// Fills in the login page and sends it.
    pub async fn sign_in(&self, browser: &Browser) {
        browser.fill("#username", &self.user).await;
        browser.fill("#password", &self.password).await;
        browser.follow("#sign-in").await;
    }

    /// Goes on from wherever the browser is, as a patient person would, until an app shows its claims.
    pub async fn arrive(&self, browser: &Browser) {
        for _ in 0..8 {
            match browser.first_of(&["#claims", "#allow", "#sign-in", "#try-again", "#login"]).await {
                "#claims" => return,
                "#sign-in" => self.sign_in(browser).await,
                button => browser.follow(button).await,
            }
        }
        panic!("no way leads to the app: {}", browser.describe().await);
    }

    /// Turns back at the login of this app, declines at its consent, and in the end allows it.
    pub async fn decline_at_first(&self, browser: &Browser, app: &str) {
        browser.open(app).await;
        browser.follow("#login").await;
        browser.follow("#cancel").await;
        browser.text("#declined").await;

        browser.follow("#try-again").await;
        self.sign_in(browser).await;
        browser.follow("#deny").await;
        browser.text("#declined").await;
        browser.is_at(app).await;

        browser.follow("#try-again").await;
        browser.follow("#allow").await;
        browser.text("#claims").await;
    }

    /// Ends it; fails where it complained.
    pub fn finish(self) {
        self.process.finish();
    }
}
