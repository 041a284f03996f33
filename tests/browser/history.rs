//! The back, forward and reload buttons: each ends in a working login or in a page that says what to do. That no page
//! is the browser's own error page or a failure of a server is checked at every step.

use super::chromium::Browser;
use super::demo::Demo;

/// An answer of the issuer that comes twice is refused by the app, by a page that says so: the console notes its status.
const USED_ANSWER: &str = "status of 400";

async fn at_login(demo: &Demo, browser: &Browser) {
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    browser.text("#sign-in").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn back_after_the_login() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    at_login(&demo, &browser).await;
    demo.sign_in(&browser).await;
    browser.text("#allow").await;
    browser.back().await;
    demo.arrive(&browser).await;
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn back_after_a_wrong_password() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    at_login(&demo, &browser).await;
    browser.fill("#username", &demo.user).await;
    browser.fill("#password", "not the password").await;
    browser.follow("#sign-in").await;
    browser.text("#notice").await;
    browser.back().await;
    assert!(!browser.shows("#notice").await, "a fresh login page: {}", browser.describe().await);
    browser.forward().await;
    browser.text("#notice").await;
    assert_eq!(browser.value("#username").await, demo.user, "what was typed stays");
    demo.sign_in(&browser).await;
    browser.text("#allow").await;
    // The page with the notice, and the login page before it: both lead on.
    for _ in 0..2 {
        browser.back().await;
        browser.text("#allow").await;
    }
    demo.arrive(&browser).await;
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn back_after_the_consent() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    at_login(&demo, &browser).await;
    demo.sign_in(&browser).await;
    browser.follow("#allow").await;
    browser.text("#claims").await;
    for _ in 0..3 {
        browser.back().await;
        browser.text("h1").await;
    }
    browser.forward().await;
    demo.arrive(&browser).await;
    browser.finish(&[USED_ANSWER]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn back_after_a_refusal_and_after_the_logout() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    at_login(&demo, &browser).await;
    demo.sign_in(&browser).await;
    browser.follow("#deny").await;
    browser.text("#declined").await;
    browser.back().await;
    demo.arrive(&browser).await;
    browser.follow("#logout").await;
    browser.text("#login").await;
    browser.back().await;
    assert!(!browser.shows("#claims").await, "nobody is logged in: {}", browser.describe().await);
    demo.arrive(&browser).await;
    browser.finish(&[USED_ANSWER]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn reload_of_each_page() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    at_login(&demo, &browser).await;
    browser.reload().await;
    browser.fill("#username", &demo.user).await;
    browser.fill("#password", "not the password").await;
    browser.follow("#sign-in").await;
    browser.text("#notice").await;
    browser.reload().await;
    demo.sign_in(&browser).await;
    browser.text("#allow").await;
    browser.reload().await;
    browser.follow("#allow").await;
    browser.text("#claims").await;
    browser.reload().await;
    browser.text("#claims").await;

    browser.open(&format!("{}/end_session", demo.issuer)).await;
    browser.reload().await;
    browser.follow("#stay").await;
    browser.text("#sign-out").await;
    browser.reload().await;
    browser.follow("#sign-out").await;
    browser.reload().await;
    browser.follow("#sign-in-again").await;
    browser.reload().await;
    demo.sign_in(&browser).await;
    browser.text_with("h1", "Ada Lovelace").await;
    browser.finish(&[]).await;
    demo.finish();
}
