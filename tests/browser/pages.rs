//! Every page of Keyward, looked at: names, contrast, width, console; and pictures where they are asked for.

use serde_json::json;

use super::chromium::Browser;
use super::demo::Demo;
use super::process::until;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn every_page_is_readable_and_quiet() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.web_app).await;
    browser.inspect("web-app-welcome").await;
    browser.follow("#login").await;
    let request = browser.address().await;
    browser.inspect("login").await;

    browser.fill("#username", &demo.user).await;
    browser.fill("#password", "not the password").await;
    browser.follow("#sign-in").await;
    browser.text("#notice").await;
    browser.inspect("login-wrong").await;

    browser.fill("#password", &demo.password).await;
    browser.follow("#sign-in").await;
    browser.text("#allow").await;
    browser.inspect("consent").await;
    browser.follow("#allow").await;
    browser.text("#claims").await;
    browser.follow("#call-api").await;
    browser.inspect("web-app").await;

    browser.open(&format!("{request}&prompt=select_account")).await;
    browser.text("#choose-other").await;
    browser.inspect("select-account").await;
    browser.follow("#choose-other").await;
    browser.text("#password").await;
    browser.open(&format!("{request}&prompt=login")).await;
    browser.text("#notice").await;
    browser.inspect("login-again").await;
    for display in ["popup", "touch"] {
        browser.open(&format!("{request}&prompt=login&display={display}")).await;
        browser.text("#notice").await;
        browser.inspect(&format!("login-{display}")).await;
    }

    browser.open(&demo.single_page_app).await;
    browser.text("#login").await;
    browser.inspect("single-page-app-welcome").await;
    browser.follow("#login").await;
    browser.follow("#allow").await;
    browser.text_with("#status", "You are logged in").await;
    browser.inspect("single-page-app").await;

    browser.open(&demo.issuer).await;
    browser.text("#sign-out").await;
    browser.inspect("home").await;
    browser.follow("form[action='/apps/disconnect'] button").await;
    browser.text_with("[role='status']", "no longer has access").await;
    browser.inspect("home-disconnected").await;

    browser.follow("#change-password").await;
    browser.inspect("change-password").await;
    browser.fill("#current", "not the password").await;
    browser.fill("#password", "quite another sentence").await;
    browser.fill("#password-again", "quite another sentence").await;
    browser.follow("#change-password").await;
    browser.text("#problems").await;
    browser.inspect("change-password-wrong").await;
    browser.fill("#current", &demo.password).await;
    browser.fill("#password", "quite another sentence").await;
    browser.fill("#password-again", "quite another sentence").await;
    browser.follow("#change-password").await;
    browser.text_with("[role='status']", "Your password is new").await;
    browser.inspect("home-password-changed").await;

    browser.open(&format!("{}/end_session", demo.issuer)).await;
    browser.text("#confirm-sign-out").await;
    browser.inspect("end-session").await;
    browser.follow("#confirm-sign-out").await;
    browser.text("#sign-in-again").await;
    browser.inspect("signed-out").await;
    browser.follow("#sign-in-again").await;
    browser.text("#sign-in").await;
    browser.inspect("login-own").await;
    // A form that comes back with its problems is answered by 422, which the browser notes down.
    let mut complaints = browser.complaints().await;
    complaints.retain(|complaint| !complaint.contains("/account/password - Failed to load resource"));
    assert_eq!(complaints, Vec::<String>::new());

    browser.open(&format!("{}/authorize?client_id=nobody", demo.issuer)).await;
    browser.text("#request-id").await;
    browser.inspect("error").await;
    browser.open(&format!("{}/nothing/here", demo.issuer)).await;
    browser.text("#request-id").await;
    browser.inspect("not-found").await;
    browser.finish(&["status of 400", "status of 404", "status of 422"]).await;
    demo.finish();
}

/// The other stories rely on the console and on the inspection: both must speak up where something is wrong.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn what_is_wrong_is_noticed() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&format!("{}/login", demo.issuer)).await;
    assert_eq!(browser.flaws().await, json!([]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    let script = "document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">a breach</p>')";
    browser.run(script).await.unwrap();
    let breach = until(async || {
        browser.complaints().await.into_iter().find(|complaint| complaint.contains("Content Security Policy"))
    });
    assert!(breach.await.is_some());

    let script = "const main = document.querySelector('main');
        main.insertAdjacentHTML('beforeend', '<h1 id=pale>pale</h1><input><img src=/none><button></button>');
        document.getElementById('pale').style.color = '#ddd';
        main.style.inlineSize = '200vw';";
    browser.run(script).await.unwrap();
    let flaws = browser.flaws().await.to_string();
    for flaw in ["exactly one h1", "no label", "no alt", "no name", "wider than the window", "contrast"] {
        assert!(flaws.contains(flaw), "{flaw}: {flaws}");
    }
    browser.finish(&["/none"]).await;
    demo.finish();
}
