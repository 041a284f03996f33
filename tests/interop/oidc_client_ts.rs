//! The npm library `oidc-client-ts` on a page of its own origin, in a real Chromium that goes through Keyward's pages.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::{AuthMethod, GrantType};
use serde_json::{Value, json};

use super::page::{self, Page, result};
use super::{USER, folder, foreign, server};
use crate::support::server::{PASSWORD, claims};
use crate::support::{ClientSpec, TestDatabase, TestServer};

/// Has refresh tokens and ES256.
const WITH_REFRESH: &str = "page-with-refresh";
/// Has none, renews in a frame, RS256.
const WITHOUT_REFRESH: &str = "page-without-refresh";

/// The page.
async fn serve(server: &TestServer) -> Page {
    let read = |path: &str| std::fs::read_to_string(folder().join(path)).unwrap();
    let setup = json!({
        "authority": server.url, "withRefresh": WITH_REFRESH, "withoutRefresh": WITHOUT_REFRESH,
    });
    let scripts = [
        ("/setup.js", format!("const setup = {setup};")),
        ("/page.js", read("page/page.js")),
        ("/oidc-client-ts.js", read("node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js")),
    ];
    Page::serve(server, read("page/index.html"), scripts).await
}

/// Registers its two clients.
async fn register(page: &Page, server: &TestServer) {
    for (id, algorithm) in [(WITH_REFRESH, Algorithm::Es256), (WITHOUT_REFRESH, Algorithm::Rs256)] {
        let spec = foreign(ClientSpec::spa(id), AuthMethod::None, algorithm).with(|metadata| {
            metadata.redirect_uris = vec![format!("{}/callback/{id}", page.url), format!("{}/silent", page.url)];
            metadata.post_logout_redirect_uris = vec![format!("{}/bye", page.url)];
            if id == WITHOUT_REFRESH {
                metadata.grant_types = vec![GrantType::AuthorizationCode];
            }
        });
        server.add_client(spec).await;
    }
}

/// The algorithm in a token's header.
fn algorithm(token: &Value) -> Value {
    let header = token.as_str().unwrap().split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["alg"].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn in_chromium() {
    let server = server(TestDatabase::sqlite()).await;
    let page = serve(&server).await;
    register(&page, &server).await;
    let browser = page::browser(&server).await;

    // A login that the person breaks off.
    browser.open(&page.url).await;
    assert_eq!(result(&browser, "nobody").await, Value::Null);
    browser.follow("#login").await;
    browser.is_at(&server.url).await;
    browser.follow("#cancel").await;
    assert_eq!(result(&browser, "failed").await["error"], json!("access_denied"));

    // Login and consent; name and address come from userinfo, for they aren't in the ID token.
    browser.open(&page.url).await;
    browser.follow("#login").await;
    browser.fill("#username", USER).await;
    browser.fill("#password", PASSWORD).await;
    browser.follow("#sign-in").await;
    browser.text_with("main", &format!("Client {WITH_REFRESH}")).await;
    browser.follow("#allow").await;
    let login = result(&browser, "logged in").await;
    browser.is_at(&page.url).await;
    assert_eq!(login["profile"]["email"], json!("ada@example.org"));
    assert_eq!(login["profile"]["name"], json!("Name of ada"));
    assert_eq!(login["state"], json!({ "place": "basket" }));
    assert_eq!(algorithm(&login["id_token"]), json!("ES256"));
    let id_token = claims(login["id_token"].as_str().unwrap());
    assert_eq!((&id_token["email"], &id_token["aud"]), (&Value::Null, &json!(WITH_REFRESH)));
    assert!(id_token["nonce"].is_string(), "{id_token}");

    // Renewal by the refresh token; the library keeps what it got over a reload of the page.
    browser.click("#silent").await;
    let renewed = result(&browser, "renewed").await;
    for name in ["access_token", "refresh_token"] {
        assert!(renewed[name].is_string() && renewed[name] != login[name], "{name}: {renewed}");
    }
    assert_eq!(renewed["profile"]["sub"], login["profile"]["sub"]);
    browser.reload().await;
    assert_eq!(result(&browser, "logged in before").await["access_token"], renewed["access_token"]);

    // Another client of the same person: no password, but a consent of its own; renewal in a frame by `prompt=none`.
    browser.follow("#login-elsewhere").await;
    browser.text_with("main", &format!("Client {WITHOUT_REFRESH}")).await;
    browser.follow("#allow").await;
    let other = result(&browser, "logged in").await;
    assert_eq!((&other["refresh_token"], &other["profile"]["email"]), (&Value::Null, &Value::Null));
    assert_eq!(other["profile"]["sub"], login["profile"]["sub"]);
    assert_ne!(other["profile"]["sid"], login["profile"]["sid"]);
    assert_eq!(algorithm(&other["id_token"]), json!("RS256"));
    browser.click("#silent").await;
    let renewed = result(&browser, "renewed").await;
    assert_ne!(renewed["access_token"], other["access_token"]);
    browser.click("#check").await;
    assert_eq!(result(&browser, "checked").await["profile"]["sid"], other["profile"]["sid"]);

    // Revocation: the page can read the refusals that follow, across origins.
    browser.click("#revoke").await;
    let revoked = result(&browser, "revoked").await;
    assert_eq!(revoked["refresh_token"], Value::Null);
    assert_eq!(revoked["userinfo"], json!(401));
    assert!(revoked["challenge"].as_str().unwrap().contains("error=\"invalid_token\""), "{revoked}");
    assert_eq!(revoked["renewal"], json!("invalid_grant"));

    // Logout: back at the page with its state, nobody is signed in, and the next login asks for the password.
    browser.follow("#logout").await;
    assert_eq!(result(&browser, "logged out").await, json!({ "state": "left", "user": null }));
    browser.is_at(&page.url).await;
    browser.click("#check").await;
    assert_eq!(result(&browser, "failed").await["error"], json!("login_required"));
    browser.follow("#login").await;
    browser.is_at(&server.url).await;
    assert!(browser.shows("#password").await, "{}", browser.describe().await);

    // The console names the two refusals that were meant: of userinfo, and of the refresh.
    browser.finish(&["status of 401", "status of 400"]).await;
    server.stop().await;
}
