//! The PyPI library `mozilla-django-oidc` in a Django project. `with_django.py` is the project.

use reqwest::Method;
use serde_json::json;

use super::relying_party::{RelyingParty, free_address};
use super::{Registered, python, server, setup};
use crate::support::server::Answer;
use crate::support::{Browser, TestDatabase, TestServer};

async fn story(server: &TestServer, client: Registered) {
    let (url, port) = free_address("http");
    let spec = client.spec().with(|metadata| {
        metadata.redirect_uris = vec![format!("{url}/oidc/callback/")];
        metadata.post_logout_redirect_uris = vec![format!("{url}/bye")];
    });
    server.add_client(spec).await;
    let mut program = python("with_django.py");
    program
        .env("KEYWARD_INTEROP", setup(server, client).to_string())
        .env("DJANGO_PORT", port.to_string())
        .env("DJANGO_DATABASE", server.database().folder().join(format!("{}.db", client.id)));
    let django = RelyingParty::start(server, &mut program, url).await;
    let browser = Browser::new(server);
    let sees = |answer: &Answer, status: u16, what: serde_json::Value| {
        if answer.status != status || serde_json::from_str::<serde_json::Value>(&answer.text).ok() != Some(what) {
            django.complain(answer);
        }
    };
    let at_home = json!({ "email": "ada@example.org", "staff": false });

    // Login makes a Django user, by the address that userinfo has.
    sees(&django.visit(&browser, "/").await, 200, at_home.clone());
    sees(&django.look(&browser, "/").await, 200, at_home.clone());

    // When the ID token's time is over, the library asks by prompt=none, and the person sees nothing of it.
    sees(&django.look(&browser, "/expire").await, 200, json!({ "state": "expired" }));
    let asked = browser.get(&format!("{}/", django.url)).await;
    assert!(asked.header("location").contains("prompt=none"), "{asked:?}");
    sees(&django.look(&browser, "/").await, 200, at_home.clone());

    // A code that another browser brings isn't this one's.
    let stranger = Browser::new(server);
    let start = stranger.get(&format!("{}/oidc/authenticate/", django.url)).await;
    let callback = stranger.arrive(start.header("location"), super::USER).await;
    let forged = browser.get(callback.header("location")).await;
    assert_eq!(forged.status, 400, "{forged:?}");

    // Logout here and there.
    let left = Answer::of(browser.request(Method::POST, &format!("{}/oidc/logout/", django.url))).await;
    sees(&django.follow(&browser, left, false).await, 200, json!({ "signed_in": false }));
    let login = django.look(&browser, "/").await;
    assert!(login.text.contains("name=\"password\""), "{login:?}");

    // Where the session at Keyward has ended elsewhere, the next prompt=none ends Django's.
    sees(&django.visit(&browser, "/").await, 200, at_home);
    sees(&django.look(&browser, "/expire").await, 200, json!({ "state": "expired" }));
    let ended = browser.open("/end_session").await;
    let ended = browser.submit(&ended, &[("decision", "sign_out")]).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    sees(&django.look(&browser, "/").await, 403, json!({ "signed_in": false }));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn each_client() {
    let server = server(TestDatabase::sqlite()).await;
    for client in [Registered::BASIC_RS256, Registered::POST_ES256] {
        story(&server, client).await;
    }
    server.stop().await;
}
