//! The first start: `keyward serve` on an empty folder, and the one-time link from its log.

use std::path::Path;

use serde_json::Value;

use super::chromium::Browser;
use super::demo::keyward;
use super::process::{Process, free_ports};

const PASSWORD: &str = "several words in a row";

/// Starts the server; returns its address and the link from its log. `None` where the port is taken.
async fn serve(data: &Path) -> Option<(Process, String, String)> {
    let port = free_ports();
    let url = format!("http://localhost:{port}");
    let mut command = keyward();
    command
        .arg("serve")
        .current_dir(data)
        .env("KEYWARD_DATA_DIR", data.join("data"))
        .env("KEYWARD_SERVER_LISTEN", format!("127.0.0.1:{port}"))
        .env("KEYWARD_PUBLIC_URL", &url)
        .env("KEYWARD_LOG_FORMAT", "json");
    let mut process = Process::start(&mut command);
    let link = process.line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(line["fields"]["link"].as_str()?.to_owned())
    });
    let link = link.await?;
    process.line(|line| line.contains("keyward is ready").then_some(())).await?;
    Some((process, url, link))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn the_first_admin_is_made_once() {
    let data = tempfile::tempdir().unwrap();
    let mut started = None;
    for _ in 0..5 {
        started = serve(data.path()).await;
        if started.is_some() {
            break;
        }
    }
    let (process, url, link) = started.expect("some port stays free until the server takes it");
    assert!(link.starts_with(&format!("{url}/setup?token=")), "{link}");
    let browser = Browser::start().await;
    browser.open(&link).await;
    browser.inspect("setup").await;

    browser.fill("#username", "grace").await;
    browser.fill("#email", "grace@example.org").await;
    browser.fill("#password", "short").await;
    browser.fill("#password-again", "shorter").await;
    browser.follow("#create-account").await;
    browser.text("#problems").await;
    browser.inspect("setup-problems").await;
    assert_eq!(browser.value("#username").await, "grace", "what was typed stays");
    assert_eq!(browser.value("#email").await, "grace@example.org");

    browser.fill("#password", PASSWORD).await;
    browser.fill("#password-again", PASSWORD).await;
    browser.follow("#create-account").await;
    browser.text_with("h1", "set up").await;
    browser.inspect("setup-done").await;
    browser.follow("a.button").await;
    assert_eq!(browser.address().await, format!("{url}/login"));
    browser.fill("#username", "grace").await;
    browser.fill("#password", PASSWORD).await;
    browser.follow("#sign-in").await;
    assert_eq!(browser.address().await, format!("{url}/"));
    browser.text_with("#person", "grace").await;
    browser.text_with(".tags", "admin").await;

    browser.open(&link).await;
    browser.text_with("h1", "expired").await;
    assert!(!browser.shows("#create-account").await);
    browser.inspect("setup-expired").await;
    // The form with its problems and the used link are answers by 422 and 410.
    browser.finish(&["status of 422", "status of 410"]).await;
    process.finish();
}
