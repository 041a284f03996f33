//! Services that a test starts for itself, to kill or restart them: PostgreSQL, Redis, HAProxy, nginx, OpenBao, moto. Each
//! ends when its value is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::authority::TestAuthority;
use super::binary::pause;

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Something that `tests/interop/install` has put into the user's cache.
#[allow(clippy::disallowed_methods, reason = "the test command hands the folder over by the environment")]
pub fn installed(name: &str) -> PathBuf {
    let folder = std::env::var_os("KEYWARD_TEST_CLIENTS").expect("KEYWARD_TEST_CLIENTS: run ./test");
    let path = PathBuf::from(folder).join(name);
    assert!(path.exists(), "{} is missing: run ./test", path.display());
    path
}

/// What a service speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Plainly,
    Tls,
}

/// A process with a folder of its own.
pub struct Service {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    child: Option<Child>,
    pub port: u16,
    folder: TempDir,
}

impl Service {
    fn new(folder: TempDir, port: u16, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { command: Box::new(command), child: None, port, folder }
    }

    /// Redis, which forgets everything when it ends.
    pub async fn redis() -> Self {
        Self::redis_by(PathBuf::from("redis-server"), None).await
    }

    /// Redis that speaks TLS and nothing else, with the certificate of this authority.
    pub async fn redis_with_tls(authority: &TestAuthority) -> Self {
        Self::redis_by(PathBuf::from("redis-server"), Some(authority)).await
    }

    /// Redis or what is like it, by this program.
    pub async fn redis_by(program: PathBuf, authority: Option<&TestAuthority>) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let place = folder.path().to_owned();
        let files = authority.map(|authority| (authority.certificate_file(), authority.key_file()));
        let mut service = Self::new(folder, port, move || {
            let mut command = Command::new(&program);
            command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&place);
            match &files {
                None => command.args(["--port", &port.to_string()]),
                Some((certificate, key)) => command
                    .args(["--port", "0", "--tls-port", &port.to_string(), "--tls-auth-clients", "no"])
                    .arg("--tls-cert-file")
                    .arg(certificate)
                    .arg("--tls-key-file")
                    .arg(key)
                    // It wants one, though it asks nobody for a certificate.
                    .arg("--tls-ca-cert-file")
                    .arg(certificate),
            };
            command
        });
        service.start().await;
        service
    }

    /// PostgreSQL with a user `keyward`, whose commits are durable.
    pub async fn postgres() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if is_root() {
            // Its account must get to its folder.
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            assert!(Command::new("chown").arg("postgres").arg(&data).status().unwrap().success());
        }
        let made = as_postgres(&postgres_program("initdb"))
            .args(["-U", "keyward", "--auth=trust", "-E", "UTF8", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let mut service = Self::new(folder, port, move || {
            let mut command = as_postgres(&postgres_program("postgres"));
            command.arg("-D").arg(&data);
            for option in [
                "listen_addresses=127.0.0.1",
                &format!("port={port}"),
                "unix_socket_directories=",
                "max_connections=100",
            ] {
                command.args(["-c", option]);
            }
            command
        });
        service.start().await;
        service
    }

    /// HAProxy with this configuration, in which `{port}` stands for its port.
    pub async fn haproxy(port: u16, configuration: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).unwrap();
        let mut service = Self::new(folder, port, move || {
            let mut command = Command::new(system_program("haproxy"));
            command.arg("-db").arg("-f").arg(&file);
            command
        });
        service.start().await;
        service
    }

    /// nginx with this configuration.
    pub async fn nginx(port: u16, configuration: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let place = folder.path().to_owned();
        let mut service = Self::new(folder, port, move || {
            let mut command = Command::new(system_program("nginx"));
            command.arg("-p").arg(&place).arg("-e").arg(place.join("error.log")).arg("-c").arg(&file);
            command.args(["-g", "daemon off;"]);
            command
        });
        service.start().await;
        service
    }

    /// OpenBao's server for development, which speaks the API of HashiCorp Vault and forgets everything when it ends.
    pub async fn openbao(root_token: &'static str, speaks: Speaks) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let home = folder.path().to_owned();
        let mut service = Self::new(folder, port, move || {
            let mut command = Command::new(installed("python/bin/bao"));
            command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", root_token]);
            command.arg(format!("-dev-listen-address=127.0.0.1:{port}")).env("HOME", &home);
            if speaks == Speaks::Tls {
                command.arg("-dev-tls").arg("-dev-tls-cert-dir").arg(&home);
            }
            command
        });
        service.start().await;
        service
    }

    /// moto, which stands in for AWS and forgets everything when it ends.
    pub async fn moto() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut service = Self::new(folder, port, move || {
            let mut command = Command::new(installed("python/bin/moto_server"));
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).env("MOTO_PORT", port.to_string());
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command
        });
        service.start().await;
        service
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Gives nginx another configuration, which it takes over without breaking a request off.
    pub fn reload_nginx(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("nginx.conf"), configuration).unwrap();
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    }

    /// Starts it, and waits until it takes connections.
    pub async fn start(&mut self) {
        for _ in 0..200 {
            let running = match &mut self.child {
                Some(child) => child.try_wait().unwrap().is_none(),
                None => false,
            };
            // PostgreSQL refuses to start while what a killed one left behind is still ending.
            if !running {
                self.child = Some(
                    (self.command)().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
                );
            }
            pause(Duration::from_millis(50)).await;
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
        }
        panic!("a service doesn't come up on port {}", self.port);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Service {
    #[allow(clippy::disallowed_methods, reason = "nothing else can wait in a drop")]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Asked politely, its own children end too. What inherited an ignored SIGINT, as from a shell's background, may
            // not heed it.
            let _ = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
            for _ in 0..100 {
                if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0\n")
}

/// PostgreSQL refuses to run as root: there the account of its package runs it.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// A program of the newest PostgreSQL of the machine.
fn postgres_program(name: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL: run ./test")
        .map(|version| version.unwrap().path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL: run ./test")
}

/// A program of the system's folders, which not every user has on the path.
fn system_program(name: &str) -> PathBuf {
    let here =
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    here.into_iter().find(|program| program.exists()).unwrap_or_else(|| panic!("{name}: run ./test"))
}
