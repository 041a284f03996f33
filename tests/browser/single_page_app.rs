//! The single-page app: a public client without a server of its own.

use serde_json::json;

use super::chromium::Browser;
use super::demo::Demo;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_person_logs_in_works_and_logs_out() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.single_page_app).await;
    browser.follow("#login").await;
    browser.is_at(&demo.issuer).await;
    demo.sign_in(&browser).await;
    browser.text_with("main", "Demo single-page app").await;
    browser.follow("#allow").await;

    browser.text_with("#status", "You are logged in").await;
    browser.text_with("#greeting", "Ada Lovelace").await;
    let claims = browser.json("#claims").await;
    assert_eq!(claims["iss"], json!(demo.issuer));
    assert!(claims["sub"].as_str().is_some_and(|subject| !subject.is_empty()), "{claims}");
    assert_eq!(browser.json("#userinfo").await["name"], json!("Ada Lovelace"));

    browser.click("#call-api").await;
    browser.text_with("#status", "The API has answered").await;
    let answer = browser.json("#api-result").await;
    assert_eq!(answer["GET /api/notes"]["status"], json!(200), "{answer}");
    assert_eq!(answer["GET /api/me"]["status"], json!(200), "{answer}");

    let before = browser.json("#access-token-claims").await;
    browser.click("#refresh").await;
    browser.text_with("#status", "Tokens refreshed").await;
    assert_ne!(browser.json("#access-token-claims").await["jti"], before["jti"], "a new access token");
    browser.click("#call-api").await;
    browser.text_with("#status", "The API has answered").await;
    assert_eq!(browser.json("#api-result").await["GET /api/notes"]["status"], json!(200));

    // Its tokens end with the page; the login at the issuer stands.
    browser.reload().await;
    browser.text("#login").await;
    browser.follow("#login").await;
    browser.text_with("#status", "You are logged in").await;
    browser.text("#claims").await;

    browser.follow("#logout").await;
    browser.text_with("#status", "You are logged out").await;
    browser.follow("#login").await;
    assert!(browser.shows("#password").await, "the password is asked for again: {}", browser.describe().await);
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_person_declines_and_thinks_better_of_it() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    demo.decline_at_first(&browser, &demo.single_page_app).await;
    browser.finish(&[]).await;
    demo.finish();
}
