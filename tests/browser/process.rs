//! A program that a test starts, reads and ends by its id, even where the test panics.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a program or a page may take before the test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(40);

/// Asks again and again until there is an answer or patience ends.
#[allow(clippy::disallowed_methods, reason = "browser and server run on real time")]
pub async fn until<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return Some(answer);
        }
        if begun.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A running program; dropping it ends it.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it and keeps every line that it says.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take().unwrap(), Arc::clone(&lines));
        keep(child.stderr.take().unwrap(), Arc::clone(&lines));
        Self { child, lines }
    }

    /// What it said up to now, on both streams.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line from which `read` makes something; `None` where the program ended before.
    pub async fn line<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = until(async || {
            // Asked first: what it said before it ended is read all the same.
            let ended = self.child.try_wait().unwrap().is_some();
            let found = self.lines().iter().find_map(|line| read(line));
            if found.is_none() && !ended { None } else { Some(found) }
        })
        .await;
        found.unwrap_or_else(|| panic!("the program doesn't say what it should:\n{}", self.lines().join("\n")))
    }

    /// Asks it to end by SIGTERM, waits, and kills it where it doesn't.
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        signal("TERM", self.child.id());
        for _ in 0..250 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(PAUSE);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Ends it and makes sure that it ended in order and complained of nothing on the way.
    pub fn finish(mut self) {
        let status = self.stop();
        assert!(status.success(), "ended by {status} (signal {:?}):\n{}", status.signal(), self.lines().join("\n"));
        let complaints: Vec<_> = self.lines().into_iter().filter(|line| line.contains(r#""level":"ERROR""#)).collect();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a signal to one process.
pub fn signal(name: &str, id: u32) {
    // It may have ended meanwhile: then there is nothing to do, and the shell's complaint isn't shown.
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).stderr(Stdio::null()).status().unwrap();
}

fn keep(stream: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}

/// The first of four ports in a row that are free now. They lie below those that the system gives to callers.
pub fn free_ports() -> u16 {
    for _ in 0..100 {
        let chance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let first = 20_000 + chance % 3_000 * 4;
        if (first..first + 4).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return first;
        }
    }
    panic!("no four ports in a row are free");
}
