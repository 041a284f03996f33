//! The web app: in, look around, out; and what happens when the person says no.

use serde_json::json;

use super::chromium::Browser;
use super::demo::Demo;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_person_logs_in_works_and_logs_out() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    browser.is_at(&demo.issuer).await;

    browser.fill("#username", &demo.user).await;
    browser.fill("#password", "not the password").await;
    browser.follow("#sign-in").await;
    browser.text_with("#notice", "isn’t right").await;
    assert_eq!(browser.value("#username").await, demo.user, "the name stays");
    assert_eq!(browser.value("#password").await, "", "the password doesn't");

    browser.fill("#password", &demo.password).await;
    browser.follow("#sign-in").await;
    browser.text_with("main", "Demo web app").await;
    assert!(browser.shows("[data-scope='notes.write']").await);
    browser.follow("#allow").await;

    browser.is_at(&demo.web_app).await;
    browser.text_with("h1", "Ada Lovelace").await;
    let claims = browser.json("#claims").await;
    let userinfo = browser.json("#userinfo").await;
    assert_eq!(claims["iss"], json!(demo.issuer));
    assert!(claims["sub"].as_str().is_some_and(|subject| !subject.is_empty()), "{claims}");
    assert_eq!(userinfo["sub"], claims["sub"]);
    assert_eq!(userinfo["name"], json!("Ada Lovelace"));
    assert_eq!(userinfo["email"], json!("ada@example.org"));

    browser.follow("#call-api").await;
    let answer = browser.json("#api-result").await;
    assert_eq!(answer["GET /api/notes"]["status"], json!(200), "{answer}");
    assert_eq!(answer["GET /api/me"]["status"], json!(200), "{answer}");
    assert!(answer.to_string().contains(claims["sub"].as_str().unwrap()), "{answer}");

    let before = browser.json("#access-token-claims").await;
    browser.follow("#refresh").await;
    browser.text_with("#notice", "Tokens refreshed").await;
    let after = browser.json("#access-token-claims").await;
    assert_ne!(after["jti"], before["jti"], "a new access token");
    browser.follow("#call-api").await;
    assert_eq!(browser.json("#api-result").await["GET /api/notes"]["status"], json!(200));

    browser.follow("#logout").await;
    browser.text("#logged-out").await;
    browser.follow("#login").await;
    assert!(browser.shows("#password").await, "the password is asked for again: {}", browser.describe().await);
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_person_declines_and_thinks_better_of_it() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    demo.decline_at_first(&browser, &demo.web_app).await;
    browser.finish(&[]).await;
    demo.finish();
}
