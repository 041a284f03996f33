//! Child processes: the server under test, its command line, and the floors.
//!
//! Each child is ended by its own process id and waited for, also when the benchmark fails or is interrupted. What a
//! child writes to its error stream goes to a file, whose end is shown when something goes wrong.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::clock;
use crate::failure::{During, Failure};
use crate::wire::{Connection, write_get};

/// How long a child may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a child may take to end in good order before it is killed.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How much of a child's error stream a message shows.
const TAIL_BYTES: u64 = 3_000;

/// A running child.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    /// The signal that asks it to end.
    end_signal: &'static str,
    /// Held open: a floor ends when its standard input does.
    _input: Option<ChildStdin>,
}

impl Running {
    /// Starts a program, on one core if given, with its error stream in `log`.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn start(mut command: Command, name: &str, log: PathBuf) -> Result<Self, Failure> {
        let errors = File::create(&log).during(format!("creating {}", log.display()))?;
        let output = errors.try_clone().during(format!("opening {}", log.display()))?;
        let spawned = command.stdin(Stdio::piped()).stdout(output).stderr(errors).spawn();
        let mut child = spawned.during(format!("starting {name}"))?;
        let input = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, log, end_signal: "-TERM", _input: input })
    }

    /// Has the child asked by SIGINT, not SIGTERM, to end.
    pub fn ended_by_interrupt(mut self) -> Self {
        self.end_signal = "-INT";
        self
    }

    /// The child's process id. `taskset` replaces itself with the program, so it is the program's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of what the child wrote, as lines to append to a message.
    pub fn log_tail(&self) -> String {
        tail(&self.name, &self.log)
    }

    /// Waits until a GET of `path` is answered with 200.
    ///
    /// # Errors
    /// When the child ends first or takes more than two minutes; the message shows the end of its error stream.
    pub async fn wait_ready(&mut self, address: SocketAddr, host: &str, path: &str) -> Result<(), Failure> {
        let mut request = Vec::new();
        write_get(&mut request, host, path, "");
        let deadline = clock::now() + START_LIMIT;
        let mut last = "it does not accept connections".to_owned();
        while clock::now() < deadline {
            if let Some(status) = self.ended()? {
                return Err(Failure::new(format!("{} ended at its start ({status}){}", self.name, self.log_tail())));
            }
            let asked = async {
                let mut connection = Connection::open(address).await?;
                connection.exchange(&request).await.map(|answer| (answer.status, answer.summary()))
            };
            match tokio::time::timeout(Duration::from_secs(5), asked).await {
                Ok(Ok((200, _))) => return Ok(()),
                Ok(Ok((_, summary))) => last = format!("{path} answers {summary}"),
                Ok(Err(error)) => last = format!("{path}: {error}"),
                Err(_) => last = format!("{path} is not answered within 5 s"),
            }
            clock::pause(Duration::from_millis(1)).await;
        }
        Err(Failure::new(format!("{} is not ready after {START_LIMIT:?}: {last}{}", self.name, self.log_tail())))
    }

    /// The child's status if it has ended.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().during(format!("looking after {}", self.name))
    }

    /// Asks the child to end and waits for it; kills it when it doesn't within a minute.
    pub fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The standard library only knows SIGKILL; a server should end in good order, so that its next start is normal.
        let asked =
            Command::new("kill").args([self.end_signal, &self.child.id().to_string()]).stderr(Stdio::null()).status();
        if asked.is_ok_and(|status| status.success()) {
            let deadline = clock::now() + END_LIMIT;
            while clock::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                clock::block(Duration::from_millis(2));
            }
        }
        // An error here means that the child has ended meanwhile; waiting tells either way.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command that runs `program` on one core, if one is given.
pub fn on_core(core: Option<usize>, program: impl AsRef<OsStr>) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// An address of this machine's loopback with a port that was free a moment ago.
///
/// # Errors
/// When no port can be bound.
pub fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .during("looking for a free port")
}

/// The server under test: its binary, its settings, its process.
pub struct Server {
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    environment: Vec<(String, String)>,
    core: Option<usize>,
    /// A program and its arguments under which the server runs: an instrument that counts instructions.
    under: Vec<String>,
    running: Option<Running>,
}

impl Server {
    /// A server that has not been started, with its database in `folder` unless `database` is a PostgreSQL URL.
    ///
    /// # Errors
    /// When the binary or the folder is missing, or no port is free.
    pub fn new(
        binary: &Path,
        folder: &Path,
        database: Option<&str>,
        settings: &[(String, String)],
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let binary = binary.canonicalize().during(format!(
            "no server binary at {} (build it with `cargo build --release -p keyward`, or name it by --server)",
            binary.display()
        ))?;
        let data = folder.join("data");
        std::fs::create_dir_all(&data).during(format!("creating {}", data.display()))?;
        let address = free_address()?;
        let mut environment = vec![
            ("KEYWARD_DATA_DIR".to_owned(), data.display().to_string()),
            ("KEYWARD_SERVER_LISTEN".to_owned(), address.to_string()),
            ("KEYWARD_PUBLIC_URL".to_owned(), format!("http://localhost:{}", address.port())),
            ("KEYWARD_SERVER_WORKER_THREADS".to_owned(), "1".to_owned()),
            ("KEYWARD_LOG_LEVEL".to_owned(), "warn".to_owned()),
        ];
        if let Some(url) = database {
            environment.push(("KEYWARD_DATABASE_URL".to_owned(), url.to_owned()));
        }
        environment.extend_from_slice(settings);
        Ok(Self { binary, folder: folder.to_owned(), address, environment, core, under: Vec::new(), running: None })
    }

    /// From the next start on the server runs under this program.
    pub fn run_under(&mut self, program: Vec<String>) {
        self.under = program;
    }

    /// The folder of its master key and, with SQLite, of its database.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Host field of requests to it: the authority of its public URL.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The server's process id; 0 while it isn't running.
    pub fn id(&self) -> u32 {
        self.running.as_ref().map_or(0, Running::id)
    }

    /// Starts the server; gives the time from its start to the first 200 of `/health/ready`.
    ///
    /// # Errors
    /// When it can't be started or doesn't get ready.
    pub async fn start(&mut self) -> Result<Duration, Failure> {
        self.stop();
        let mut command = match self.under.split_first() {
            None => on_core(self.core, &self.binary),
            Some((program, arguments)) => {
                let mut command = on_core(self.core, program);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        command.arg("serve");
        self.equip(&mut command);
        let host = self.host();
        let begun = clock::now();
        let mut running = Running::start(command, "the server", self.folder.join("server.log"))?;
        running.wait_ready(self.address, &host, "/health/ready").await?;
        let took = clock::now().saturating_duration_since(begun);
        self.running = Some(running);
        Ok(took)
    }

    /// Ends the server and waits for it.
    pub fn stop(&mut self) {
        drop(self.running.take());
    }

    /// Fails if the server has ended by itself.
    ///
    /// # Errors
    /// With its status and the end of its error stream.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        let Some(running) = &mut self.running else {
            return Err(Failure::new("the server is not running"));
        };
        match running.ended()? {
            Some(status) => Err(Failure::new(format!("the server ended by itself ({status}){}", running.log_tail()))),
            None => Ok(()),
        }
    }

    /// The end of the server's error stream, as lines to append to a message.
    pub fn log_tail(&self) -> String {
        self.running.as_ref().map(Running::log_tail).unwrap_or_default()
    }

    /// Runs a command of the server's binary on the same database and gives the JSON it prints.
    ///
    /// # Errors
    /// When it fails or prints no JSON; the message shows its arguments and error stream, and the server's.
    pub fn command(&self, arguments: &[&str], input: &str) -> Result<serde_json::Value, Failure> {
        let shown = format!("keyward {}", arguments.join(" "));
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.equip(&mut command);
        let mut child = command.spawn().during(format!("starting `{shown}`"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that doesn't read its input may have closed it; its own status says whether it succeeded.
            drop(stdin.write_all(input.as_bytes()));
        }
        let output = child.wait_with_output().during(format!("waiting for `{shown}`"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let status = output.status;
            return Err(Failure::new(format!("`{shown}` failed ({status}):\n{}{}", errors.trim(), self.log_tail())));
        }
        serde_json::from_slice(&output.stdout).during(format!(
            "`{shown}` printed no JSON but {:?}",
            String::from_utf8_lossy(&output.stdout).chars().take(400).collect::<String>()
        ))
    }

    /// Sets folder and environment; settings that this process inherited are taken away, so that runs are alike.
    fn equip(&self, command: &mut Command) {
        for name in inherited_settings() {
            command.env_remove(name);
        }
        // Not the caller's folder: a settings file there must not be found.
        command.current_dir(&self.folder).envs(self.environment.iter().map(|(name, value)| (name, value)));
    }
}

/// Names of the server's settings in this process's own environment.
#[allow(clippy::disallowed_methods, reason = "the crate's only look at the environment: to keep it from the children")]
fn inherited_settings() -> Vec<std::ffi::OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("KEYWARD_")).collect()
}

/// The end of a log file, as lines to append to a message.
fn tail(name: &str, log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => format!("\n({name} wrote nothing)"),
        Ok(text) => format!("\n--- the end of what {name} wrote ---\n{text}"),
        Err(error) => format!("\n({}: {error})", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_ended_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut running = Running::start(command, "sleep", folder.path().join("log")).unwrap();
        let process = running.id();
        assert!(running.ended().unwrap().is_none());
        running.end();
        assert!(running.ended().unwrap().is_some());
        assert!(!Path::new(&format!("/proc/{process}/stat")).exists());
    }

    #[tokio::test]
    async fn a_child_that_ends_at_its_start_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the database is broken >&2; exit 3"]);
        let mut running = Running::start(command, "the server", folder.path().join("log")).unwrap();
        let failure = running.wait_ready(free_address().unwrap(), "localhost", "/").await.unwrap_err().to_string();
        assert!(failure.contains("the database is broken") && failure.contains('3'), "{failure}");
    }
}
