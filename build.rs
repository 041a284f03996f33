//! How the binary is linked.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "cargo and a build script talk by these")]

use std::env;
use std::process::Command;

/// The first glibc whose loader reads packed relative relocations (DT_RELR).
const READS_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The addresses that the loader puts in place take 1.2 MB of the file, all of which is read at each start, or, packed,
    // some 20 KB. A binary that is linked so asks for that glibc; where it is built on an older one it isn't.
    if links_for_this_machine() && glibc().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the binary is for the system that it is built on, and this is Linux with glibc.
fn links_for_this_machine() -> bool {
    let is = |name: &str, value: &str| env::var(name).as_deref() == Ok(value);
    is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") && env::var("TARGET") == env::var("HOST")
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
