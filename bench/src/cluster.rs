//! A PostgreSQL of the benchmark's own: made in a new folder, on the server's core, with the durability that PostgreSQL
//! has by default (`fsync`, `synchronous_commit` and `full_page_writes` on), and removed at the end.
//!
//! Leaves out every tuning: whoever repeats a run has the same settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::browser::random_text;
use crate::clock;
use crate::failure::{During, Failure};
use crate::machine;
use crate::process::{Running, free_address, on_core};

/// The account that PostgreSQL's package makes; PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";
/// How long it may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running PostgreSQL.
pub struct Cluster {
    running: Running,
    url: String,
    version: String,
    core: Option<usize>,
    _folder: TempDir,
}

impl Cluster {
    /// Makes and starts one in a new folder inside `folder`, on `core` if one is given.
    ///
    /// # Errors
    /// When PostgreSQL's programs are missing or fail.
    pub async fn start(folder: &Path, core: Option<usize>) -> Result<Self, Failure> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("keyward-bench-postgres-").tempdir_in(folder);
        let folder = folder.during("making a folder for PostgreSQL")?;
        let (data, secret) = (folder.path().join("data"), folder.path().join("password"));
        let password = random_text()?;
        std::fs::write(&secret, &password).during("writing PostgreSQL's password")?;
        if machine::is_root() {
            let mut chown = Command::new("chown");
            chown.arg("-R").arg(format!("{ACCOUNT}:{ACCOUNT}")).arg(folder.path());
            succeed(chown, "giving PostgreSQL its folder")?;
        }
        let mut initdb = as_account(None, &programs.join("initdb"));
        initdb.args(["--username=keyward", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        initdb.arg("--pwfile").arg(&secret).arg("--pgdata").arg(&data).current_dir(folder.path());
        succeed(initdb, "making a PostgreSQL")?;
        let mut version = Command::new(programs.join("postgres"));
        version.arg("--version");
        let version = succeed(version, "asking for PostgreSQL's version")?;

        let address = free_address()?;
        let mut command = as_account(core, &programs.join("postgres"));
        command.arg("-D").arg(&data).current_dir(folder.path());
        for setting in [
            format!("port={}", address.port()),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        // A fast shutdown: nobody has to leave first.
        let running = Running::start(command, "PostgreSQL", folder.path().join("log"))?.ended_by_interrupt();
        let url = format!("postgres://keyward:{password}@{address}/postgres");
        let mut cluster = Self { running, url, version, core, _folder: folder };
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    async fn wait_ready(&mut self) -> Result<(), Failure> {
        let deadline = clock::now() + START_LIMIT;
        loop {
            if let Some(status) = self.running.ended()? {
                return Err(Failure::new(format!(
                    "PostgreSQL ended at its start ({status}){}",
                    self.running.log_tail()
                )));
            }
            match PgConnection::connect(&self.url).await {
                Ok(connection) => return connection.close().await.during("closing a connection to PostgreSQL"),
                Err(_) if clock::now() < deadline => clock::pause(Duration::from_millis(20)).await,
                Err(error) => {
                    return Err(Failure::new(format!("PostgreSQL isn't ready: {error}{}", self.running.log_tail())));
                }
            }
        }
    }

    /// The URL of its first database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process from which all its others come.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// What it is and where it runs.
    pub fn words(&self) -> String {
        let place = self.core.map_or("on any core".to_owned(), |core| format!("on core {core}, the server's"));
        format!("{}, started for this run {place}, with its default settings", self.version.trim())
    }
}

/// A command that PostgreSQL's account runs if this is root, on one core if one is given.
fn as_account(core: Option<usize>, program: &Path) -> Command {
    if !machine::is_root() {
        return on_core(core, program);
    }
    let mut command = on_core(core, "setpriv");
    let account = [format!("--reuid={ACCOUNT}"), format!("--regid={ACCOUNT}"), "--clear-groups".to_owned()];
    command.args(account).arg("--").arg(program);
    command
}

/// The folder of `initdb` and `postgres`: by name where they are on the path, else the newest of Debian's packages.
fn programs() -> Result<PathBuf, Failure> {
    let answers = |program: &Path| {
        let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if answers(Path::new("initdb")) && answers(Path::new("postgres")) {
        return Ok(PathBuf::new());
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, folder)| folder).filter(|folder| answers(&folder.join("initdb")));
    newest.ok_or_else(|| {
        Failure::new("there is no PostgreSQL here (package postgresql); or name one that runs: --database postgres URL")
    })
}

/// Runs a command to its end and gives what it printed.
fn succeed(mut command: Command, act: &str) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().during(act)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{act} ({}): {}", output.status, words.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
