//! The server restarts while login pages are open.

use super::chromium::Browser;
use super::demo::Demo;
use super::process::free_ports;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs a browser: run ./test")]
async fn open_login_pages_work_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut started = None;
    for _ in 0..5 {
        let port = free_ports();
        if let Some(demo) = Demo::start_at(data.path(), port).await {
            started = Some((port, demo));
            break;
        }
    }
    let (port, demo) = started.expect("some ports stay free until the demo takes them");
    let browser = Browser::start().await;
    browser.open(&demo.single_page_app).await;
    browser.follow("#login").await;
    let (first, second) = browser.another_tab().await;
    browser.open(&demo.web_app).await;
    browser.follow("#login").await;
    let old_password = demo.password.clone();
    demo.finish();

    let demo = Demo::start_at(data.path(), port).await.expect("the ports are free again");
    assert_ne!(demo.password, old_password, "each start of the demo makes a new password");
    browser.go_to_tab(&first).await;
    demo.sign_in(&browser).await;
    browser.follow("#allow").await;
    browser.text_with("#greeting", "Ada Lovelace").await;

    // This app keeps the logins that are under way in its memory, and it restarted as well: it says so, and its next
    // attempt needs no password.
    browser.go_to_tab(&second).await;
    demo.sign_in(&browser).await;
    browser.follow("#allow").await;
    browser.text_with("#problem", "log in again").await;
    browser.follow("#try-again").await;
    browser.text("#claims").await;
    browser.finish(&["status of 400"]).await;
    demo.finish();
}
