//! Two tabs at once: what one does takes nothing from the other.

use super::chromium::Browser;
use super::demo::Demo;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_login_page_works_after_the_login_in_another_tab() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    let (first, second) = browser.another_tab().await;
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;

    browser.go_to_tab(&first).await;
    demo.sign_in(&browser).await;
    browser.follow("#allow").await;
    browser.text("#claims").await;

    browser.go_to_tab(&second).await;
    demo.sign_in(&browser).await;
    browser.is_at(&demo.web_app).await;
    browser.text("#claims").await;

    browser.go_to_tab(&first).await;
    browser.reload().await;
    browser.text("#claims").await;
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn a_consent_page_works_after_the_consent_in_another_tab() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    demo.sign_in(&browser).await;
    browser.text("#allow").await;
    let (first, second) = browser.another_tab().await;
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    browser.text("#allow").await;

    browser.go_to_tab(&first).await;
    browser.follow("#allow").await;
    browser.text("#claims").await;
    browser.go_to_tab(&second).await;
    browser.follow("#allow").await;
    browser.text("#claims").await;
    browser.finish(&[]).await;
    demo.finish();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn each_tab_returns_to_the_app_that_it_came_from() {
    let (demo, browser) = (Demo::start().await, Browser::start().await);
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    let (first, second) = browser.another_tab().await;
    browser.open(&demo.single_page_app).await;
    browser.follow("#login").await;

    browser.go_to_tab(&first).await;
    demo.arrive(&browser).await;
    browser.is_at(&demo.web_app).await;
    browser.go_to_tab(&second).await;
    demo.arrive(&browser).await;
    browser.is_at(&demo.single_page_app).await;
    browser.finish(&[]).await;
    demo.finish();
}
