//! What machine this is, which cores are used, and what a process takes of it: read from Linux's `/proc`.
//!
//! On other systems the values are missing (shown as 0 or "unknown"); the benchmark still runs, unpinned.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::failure::{During, Failure};

/// Clock ticks in a second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Linux runs Rust on.
const TICKS: f64 = 100.0;

/// The machine, for the report.
#[derive(Serialize)]
pub struct Machine {
    /// The first processor's model name.
    pub cpu: String,
    /// Processors that are on line.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// File system of the folder that holds the databases; `tmpfs` makes commits cheaper than a disk would.
    pub file_system: String,
    /// How generator and server share the cores, in words.
    pub pinning: String,
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// Resident set: `VmRSS`.
    pub resident_kib: u64,
    /// The part of it that is no mapped file: `RssAnon`.
    pub anonymous_kib: u64,
    /// The greatest resident set so far: `VmHWM`.
    pub peak_kib: u64,
}

/// Which cores the generator and the measured process run on.
#[derive(Clone)]
pub enum Pinning {
    /// Each has a core of its own.
    Pinned {
        /// The generator's core.
        generator: usize,
        /// The core of the server and of the floors.
        server: usize,
    },
    /// The scheduler chooses, for this reason.
    Free(String),
}

impl Pinning {
    /// The core of server and floors, if they are pinned.
    pub fn server_core(&self) -> Option<usize> {
        match self {
            Self::Pinned { server, .. } => Some(*server),
            Self::Free(_) => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Pinned { generator, server } => {
                format!("server and floors on core {server}, generator on core {generator}")
            }
            Self::Free(reason) => format!("not pinned: {reason}"),
        }
    }
}

/// Puts this process onto the generator's core, by starting itself anew through `taskset` where that is needed.
///
/// `cores` are generator and server as asked for; without them the first two that this process may use are taken.
///
/// # Errors
/// When starting anew fails.
pub fn pin(cores: Option<(usize, usize)>) -> Result<Pinning, Failure> {
    let allowed = allowed_cores();
    let (generator, server) = match (cores, allowed.as_slice()) {
        (Some(pair), _) => pair,
        (None, [generator, server, ..]) => (*generator, *server),
        (None, _) => return Ok(Pinning::Free("fewer than two cores are available".to_owned())),
    };
    if allowed == [generator] {
        return Ok(Pinning::Pinned { generator, server });
    }
    let found = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return Ok(Pinning::Free("there is no `taskset` here (package util-linux)".to_owned()));
    }
    let own = std::env::current_exe().during("finding this program's file")?;
    let error = Command::new("taskset")
        .args(["-c", &generator.to_string()])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .arg(format!("--cores={generator},{server}"))
        .exec();
    Err(Failure::new(format!("starting anew through taskset: {error}")))
}

/// Describes the machine; `folder` is where the databases lie.
pub fn describe(pinning: &Pinning, folder: &Path) -> Machine {
    let processors = read("/proc/cpuinfo");
    let cpu = line_value(&processors, "model name").unwrap_or("unknown").to_owned();
    Machine {
        cpu,
        cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_mib: kib(&read("/proc/meminfo"), "MemTotal") / 1024,
        file_system: file_system(&read("/proc/self/mounts"), folder),
        pinning: pinning.words(),
    }
}

/// Memory of a process; zeros once it has ended.
pub fn memory(process: u32) -> Memory {
    let status = read(&format!("/proc/{process}/status"));
    Memory {
        resident_kib: kib(&status, "VmRSS"),
        anonymous_kib: kib(&status, "RssAnon"),
        peak_kib: kib(&status, "VmHWM"),
    }
}

/// Seconds of processor time that a process has used, of the user and of the kernel; 0 once it has ended.
pub fn cpu_seconds(process: u32) -> f64 {
    ticks(&read(&format!("/proc/{process}/stat"))) as f64 / TICKS
}

/// [`cpu_seconds`] of a process and of all its children that live; 0 without a process.
pub fn family_cpu_seconds(process: Option<u32>) -> f64 {
    let Some(process) = process else { return 0.0 };
    let parent = process.to_string();
    let children = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok).filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = read(&format!("/proc/{id}/stat"));
        // Field 4, the parent: the second behind the name.
        let behind_name = stat.rsplit_once(')')?.1;
        (behind_name.split_whitespace().nth(1) == Some(parent.as_str())).then(|| ticks(&stat) as f64 / TICKS)
    });
    cpu_seconds(process) + children.sum::<f64>()
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    line_value(&read("/proc/self/status"), "Uid").and_then(|ids| ids.split_whitespace().next()) == Some("0")
}

/// `utime` and `stime`: fields 14 and 15, counted behind the name, which may itself hold spaces and brackets.
fn ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    behind_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line `name: value`.
fn line_value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim())
}

fn kib(text: &str, name: &str) -> u64 {
    line_value(text, name).and_then(|value| value.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn allowed_cores() -> Vec<usize> {
    line_value(&read("/proc/self/status"), "Cpus_allowed_list").map(core_list).unwrap_or_default()
}

/// Cores of a list such as `0-2,5`.
fn core_list(text: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

/// The type of the mount with the longest path that holds `folder`.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut columns = line.split(' ').skip(1);
        if let (Some(point), Some(kind)) = (columns.next(), columns.next())
            && folder.starts_with(point)
            && best.is_none_or(|(length, _)| point.len() >= length)
        {
            best = Some((point.len(), kind));
        }
    }
    best.map_or("unknown", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        assert_eq!(core_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(core_list("3"), [3]);
        assert!(core_list("").is_empty());
    }

    #[test]
    fn processor_time_survives_a_name_with_brackets_and_spaces() {
        let stat = "4242 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(ticks(stat), 300);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn the_nearest_mount_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/var/x")), "ext4");
        assert_eq!(file_system("", Path::new("/var/x")), "unknown");
    }

    #[test]
    fn this_process_has_memory() {
        let memory = memory(std::process::id());
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.anonymous_kib);
    }

    #[test]
    fn a_family_is_a_process_and_its_children() {
        let own = std::process::id();
        let mut child = Command::new("sh").args(["-c", "i=0; while :; do i=$((i+1)); done"]).spawn().unwrap();
        while cpu_seconds(child.id()) < 0.05 {
            std::thread::yield_now();
        }
        assert!(family_cpu_seconds(Some(own)) > cpu_seconds(own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(family_cpu_seconds(None), 0.0);
    }
}
