//! The npm library `react-oidc-context` in a real Chromium: a React page in two tabs, whose tokens renew by themselves.

use std::process::Command;

use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::AuthMethod;
use serde_json::{Value, json};

use super::page::{self, Page, result};
use super::{USER, folder, foreign, server};
use crate::browser::chromium::Browser;
use crate::browser::process::until;
use crate::support::server::PASSWORD;
use crate::support::{ClientSpec, TestDatabase, TestServer};

const CLIENT: &str = "react-page";
/// How long access tokens live, in seconds.
const LIFETIME: u64 = 60;
/// How many tokens must have come by themselves in each tab.
const RENEWALS: u64 = 3;

/// The page as one script, made by the npm program `esbuild`.
fn bundle() -> String {
    let mut esbuild = Command::new(folder().join("node_modules/.bin/esbuild"));
    esbuild
        .current_dir(folder())
        .args(["react/page.jsx", "--bundle", "--jsx=automatic", "--format=iife", "--log-level=warning"])
        .arg(r#"--define:process.env.NODE_ENV="production""#);
    let output = esbuild.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn serve(server: &TestServer) -> Page {
    let setup = json!({ "authority": server.url, "client": CLIENT, "lifetime": LIFETIME });
    let html = std::fs::read_to_string(folder().join("react/index.html")).unwrap();
    let page = Page::serve(server, html, [("/setup.js", format!("const setup = {setup};")), ("/page.js", bundle())]);
    let page = page.await;
    let spec = foreign(ClientSpec::spa(CLIENT), AuthMethod::None, Algorithm::Es256).with(|metadata| {
        metadata.redirect_uris = vec![format!("{}/callback", page.url)];
        metadata.post_logout_redirect_uris = vec![format!("{}/bye", page.url)];
        metadata.access_token_lifetime = Some(LIFETIME);
    });
    server.add_client(spec).await;
    page
}

/// Waits until this tab has renewed that often, without a failure; gives what it has now.
async fn renewed(browser: &Browser, times: u64) -> Value {
    let done = until(async || {
        let count: u64 = browser.text("#renewals").await.parse().ok()?;
        (count >= times).then_some(())
    });
    assert!(done.await.is_some(), "no renewal: {}", browser.describe().await);
    assert_eq!(browser.json("#errors").await, json!([]), "{:#?}", browser.complaints().await);
    result(browser, "logged in").await
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn two_tabs() {
    let server = server(TestDatabase::sqlite()).await;
    let page = serve(&server).await;
    let browser = page::browser(&server).await;

    browser.open(&page.url).await;
    assert_eq!(result(&browser, "nobody").await, Value::Null);
    browser.follow("#login").await;
    browser.fill("#username", USER).await;
    browser.fill("#password", PASSWORD).await;
    browser.follow("#sign-in").await;
    browser.text_with("main", &format!("Client {CLIENT}")).await;
    browser.follow("#allow").await;
    let login = result(&browser, "logged in").await;
    browser.is_at(&page.url).await;
    assert_eq!(login["profile"]["email"], json!("ada@example.org"));
    assert!(login["refresh_token"].is_string(), "{login}");

    // A second tab finds the tokens of the first. From now on both renew, at about the same moments and each with the
    // refresh token that it knows.
    let (first, second) = browser.another_tab().await;
    browser.open(&page.url).await;
    let found = result(&browser, "logged in").await;
    assert_eq!(found["profile"]["sid"], login["profile"]["sid"]);
    for tab in [&second, &first, &second] {
        browser.go_to_tab(tab).await;
        let now = renewed(&browser, RENEWALS).await;
        assert_ne!(now["access_token"], login["access_token"]);
        let userinfo = server.userinfo(now["access_token"].as_str().unwrap()).await;
        assert_eq!(userinfo.status, 200, "{userinfo:?}");
    }
    browser.click("#renew").await;
    renewed(&browser, RENEWALS + 1).await;

    // Logout in one tab ends the session; the next login asks for the password.
    browser.follow("#logout").await;
    assert_eq!(result(&browser, "nobody").await, Value::Null);
    browser.follow("#login").await;
    browser.is_at(&server.url).await;
    assert!(browser.shows("#password").await, "{}", browser.describe().await);
    // The other tab learns at its next renewal that its refresh token is worth nothing any more.
    browser.go_to_tab(&first).await;
    let errors = until(async || Some(browser.json("#errors").await).filter(|errors| *errors != json!([])));
    let errors = errors.await;
    assert!(errors.is_some(), "{}", browser.describe().await);
    browser.finish(&["status of 400"]).await;
    server.stop().await;
}
