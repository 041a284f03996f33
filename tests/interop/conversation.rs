//! A talk between the test and a foreign program that can't open pages. The program says one JSON object a line:
//! `{"step": "name"}` for what it passed, `{"failure": "why"}` before it ends, and `{"open": "address"}` where a person's
//! browser has to go. Then the person of the tests signs in and allows, and the program reads one line with the address
//! that the browser was sent back to.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::USER;
use crate::browser::process::signal;
use crate::support::{Browser, TestServer};

/// How long a program may take. Interpreters start slowly on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Step(String),
    Failure(String),
    Open(String),
}

/// Runs the program to its end with `setup` as JSON in `KEYWARD_INTEROP`. It must pass exactly these steps, so that none
/// can drop out unseen.
pub async fn hold(server: &TestServer, mut program: Command, setup: &Value, steps: &[&str]) {
    let authority = server.authority().unwrap().ca_file();
    program.env("KEYWARD_INTEROP", setup.to_string());
    // Node, OpenSSL and Go, Python's requests: each has its own name for the authorities that it trusts.
    for name in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
        program.env(name, &authority);
    }
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}; run ./test"));
    let id = child.id();
    let mut complaints = child.stderr.take().unwrap();
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        complaints.read_to_string(&mut text).map(|_| text)
    });
    let (browser, runtime) = (Browser::new(server), tokio::runtime::Handle::current());
    let talk = tokio::task::spawn_blocking(move || {
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut passed, mut failures) = (Vec::new(), Vec::new());
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            match serde_json::from_str(&line).unwrap_or_else(|_| panic!("the program says {line:?}")) {
                Said::Step(name) => passed.push(name),
                Said::Failure(why) => failures.push(why),
                Said::Open(address) => {
                    let answer = runtime.block_on(browser.arrive(&address, USER));
                    let location = Some(answer.header("location")).filter(|location| !location.is_empty());
                    writeln!(input, "{}", json!({ "address": location, "status": answer.status })).unwrap();
                }
            }
        }
        (child.wait().unwrap(), passed, failures)
    });
    let Ok(talk) = tokio::time::timeout(PATIENCE, talk).await else {
        signal("KILL", id);
        panic!("{program:?} hangs:\n{}", complaints.join().unwrap().unwrap());
    };
    let (status, passed, failures) = talk.unwrap();
    let complaints = complaints.join().unwrap().unwrap();
    assert!(status.success() && failures.is_empty(), "{status} after {passed:?}: {failures:#?}\n{complaints}");
    assert_eq!(passed, steps, "{complaints}");
}
