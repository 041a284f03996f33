//! The real binary, with settings by the environment and its data in a test's folder. It ends when the value is dropped.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{TestDatabase, WebApp};

/// The binary under test with its settings.
pub struct Binary {
    settings: Vec<(&'static str, String)>,
    pub url: String,
    /// Where it listens itself, behind a proxy; else the URL.
    node: Option<String>,
    running: Option<Child>,
}

impl Binary {
    pub fn new(database: &TestDatabase) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://localhost:{port}");
        let mut settings = vec![
            ("KEYWARD_DATA_DIR", database.folder().display().to_string()),
            ("KEYWARD_DATABASE_URL", database.url()),
            ("KEYWARD_SERVER_LISTEN", format!("127.0.0.1:{port}")),
            ("KEYWARD_PUBLIC_URL", url.clone()),
            ("KEYWARD_KEYS_ALGORITHMS", "ES256".to_owned()),
            ("KEYWARD_LOG_LEVEL", "warn".to_owned()),
        ];
        if let Some(redis) = database.redis_url() {
            settings.push(("KEYWARD_REDIS_URL", redis.to_owned()));
            settings.push(("KEYWARD_REDIS_KEY_PREFIX", database.redis_prefix()));
        }
        Self { settings, url, node: None, running: None }
    }

    /// One of several nodes behind a proxy at this address.
    pub fn behind(database: &TestDatabase, public_url: &str) -> Self {
        let mut binary = Self::new(database).with("KEYWARD_PUBLIC_URL", public_url);
        binary.node = Some(std::mem::replace(&mut binary.url, public_url.to_owned()));
        binary
    }

    /// With another value of a setting, by its variable.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value.to_owned());
        self
    }

    /// Where it listens itself.
    pub fn own_url(&self) -> &str {
        self.node.as_deref().unwrap_or(&self.url)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        url::Url::parse(self.own_url()).unwrap().port().unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.running.take().expect("it runs");
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(arguments).envs(self.settings.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Runs a command to its end, with this on standard input.
    fn finish(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads no input may be gone before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Registers a first-party web app that redeems codes and refreshes, with whatever else these flags say.
    pub fn add_web_app(&self, id: &str, more: &[&str]) -> WebApp {
        let mut arguments = vec!["--json", "clients", "add", "--name", id, "--id", id];
        arguments.extend(["--redirect-uri", "https://app.example/cb", "--first-party", "--id-token-alg", "ES256"]);
        arguments.extend(["--grant", "authorization_code", "--grant", "refresh_token"]);
        arguments.extend(["--scope", "openid offline_access"]);
        arguments.extend(more);
        WebApp::new(&self.url, id, self.run(&arguments, "")["client_secret"].as_str().unwrap())
    }

    /// Runs a command to its end, with this on standard input, and gives the JSON it prints.
    pub fn run(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.finish(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail, with this on standard input, and gives what it says of it.
    pub fn refuse(&self, arguments: &[&str], input: &str) -> String {
        let output = self.finish(arguments, input);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        said
    }

    pub async fn start(&mut self, http: &reqwest::Client) {
        self.spawn();
        self.ready(http).await;
    }

    /// Starts it and doesn't wait.
    pub fn spawn(&mut self) {
        self.running = Some(self.command(&["serve"]).stdin(Stdio::null()).spawn().unwrap());
    }

    /// Starts it, and again where it ends for want of a database, until it is ready.
    pub async fn supervise(&mut self, http: &reqwest::Client) {
        for _ in 0..100 {
            let runs = match &mut self.running {
                Some(child) => child.try_wait().unwrap().is_none(),
                None => false,
            };
            if !runs {
                self.spawn();
            }
            for _ in 0..10 {
                let answer = http.get(format!("{}/health/ready", self.own_url())).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                pause(Duration::from_millis(30)).await;
            }
        }
        panic!("the server doesn't come up");
    }

    /// Waits until it is ready.
    pub async fn ready(&self, http: &reqwest::Client) {
        for _ in 0..600 {
            if let Ok(answer) = http.get(format!("{}/health/ready", self.own_url())).send().await
                && answer.status().is_success()
            {
                return;
            }
            pause(Duration::from_millis(50)).await;
        }
        panic!("the server doesn't come up");
    }

    /// Another value of a setting, by its variable, from the next start or command on.
    pub fn set(&mut self, variable: &'static str, value: String) {
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value));
    }

    /// No value of a setting, by its variable, from the next start or command on.
    pub fn unset(&mut self, variable: &str) {
        self.settings.retain(|(name, _)| *name != variable);
    }

    /// Has it speak TLS with these files from the next start on.
    pub fn speak_tls(&mut self, certificate: &Path, key: &Path) {
        self.url = self.url.replacen("http:", "https:", 1);
        self.set("KEYWARD_PUBLIC_URL", self.url.clone());
        self.settings.push(("KEYWARD_SERVER_TLS_CERTIFICATE_FILE", certificate.display().to_string()));
        self.settings.push(("KEYWARD_SERVER_TLS_KEY_FILE", key.display().to_string()));
    }

    /// Has it read this settings file from the next start on.
    pub fn read_settings(&mut self, file: &Path) {
        self.settings.push(("KEYWARD_CONFIG", file.display().to_string()));
    }

    /// Has it tell its counters from the next start on; gives the address.
    pub fn tell_metrics(&mut self) -> SocketAddr {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.settings.push(("KEYWARD_METRICS_LISTEN", address.to_string()));
        address
    }

    /// Sends a signal to the running server, by its process id.
    pub fn signal(&self, name: &str) {
        let id = self.running.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.kill();
    }
}

#[allow(clippy::disallowed_methods, reason = "the binary under test runs on real time")]
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
