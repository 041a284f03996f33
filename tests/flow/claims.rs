//! The claims parameter (OpenID Connect Core §5.5), from the request to userinfo and refreshed ID tokens: what was asked
//! for and allowed is told, and nothing else.

use keyward_protocol::scope::ScopeSet;
use serde_json::{Value, json};

use crate::support::browser::parameters;
use crate::support::server::claims;
use crate::support::{Browser, ClientSpec, TestServer};

/// A client whose users are asked.
fn shop() -> ClientSpec {
    ClientSpec::web("shop").with(|client| client.first_party = false)
}

/// The address of a request for these claims beside the scope `openid`.
fn request(server: &TestServer, wanted: &Value, extra: &[(&str, &str)]) -> String {
    let wanted = wanted.to_string();
    let mut parameters = vec![("scope", "openid"), ("claims", wanted.as_str())];
    parameters.extend(extra);
    server.authorize_url("shop", &parameters)
}

/// What an authorization that needs no page answers.
async fn silent(browser: &Browser, server: &TestServer, wanted: &Value) -> String {
    let answer = browser.open(&request(server, wanted, &[("prompt", "none")])).await;
    parameters(answer.header("location")).remove("error").unwrap_or_default()
}

async fn tokens(browser: &Browser, server: &TestServer, wanted: &Value) -> Value {
    let code = browser.code(&request(server, wanted, &[]), "ada").await;
    let answer = server.redeem("shop", &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

async fn userinfo(server: &TestServer, tokens: &Value) -> Value {
    server.userinfo(tokens["access_token"].as_str().unwrap()).await.json()
}

on_each_database! {
    async fn what_was_asked_for_and_allowed_is_told(server) {
        server.add_user("ada").await;
        server.add_client(shop()).await;
        let wanted = json!({
            "userinfo": {"email": {"essential": true}, "nickname": null, "name#de": null, "shoe_size": null},
            "id_token": {"name": null, "email_verified": null, "auth_time": {"essential": true}}
        });
        let browser = Browser::new(server);
        let page = browser.sign_in(&browser.open(&request(server, &wanted, &[])).await, "ada").await;
        for shown in ["data-scope=\"openid\"", "data-claim=\"email\"", "data-claim=\"name\"", "data-claim=\"nickname\""] {
            assert!(page.text.contains(shown), "{shown}");
        }
        assert!(!page.text.contains("shoe_size") && !page.text.contains("data-claim=\"auth_time\""));
        let answer = browser.submit(&page, &[("decision", "allow")]).await;
        let code = parameters(answer.header("location"))["code"].clone();
        let tokens = server.redeem("shop", &code).await.json();
        let id_token = claims(tokens["id_token"].as_str().unwrap());
        assert_eq!((&id_token["name"], &id_token["email_verified"]), (&json!("Name of ada"), &json!(true)));
        assert!(id_token["auth_time"].is_i64() && id_token.get("email").is_none(), "{id_token}");
        let said = userinfo(server, &tokens).await;
        assert_eq!(said["email"], "ada@example.org");
        assert!(said.get("name").is_none() && said.get("nickname").is_none(), "{said}");
        // OpenID Connect Core §12.2: a refreshed ID token is as the first was.
        let refreshed = server.refresh("shop", tokens["refresh_token"].as_str().unwrap()).await.json();
        assert_eq!(claims(refreshed["id_token"].as_str().unwrap())["name"], "Name of ada");
        assert_eq!(userinfo(server, &refreshed).await["email"], "ada@example.org");
    }

    async fn consent_covers_what_it_named_and_more_is_asked_again(server) {
        server.add_user("ada").await;
        server.add_client(shop()).await;
        let browser = Browser::new(server);
        let (little, more) = (json!({"userinfo": {"email": null}}), json!({"userinfo": {"email": null, "name": null}}));
        tokens(&browser, server, &little).await;
        assert_eq!(silent(&browser, server, &little).await, "");
        assert_eq!(silent(&browser, server, &json!({})).await, "");
        assert_eq!(silent(&browser, server, &more).await, "consent_required");
        let page = browser.open(&request(server, &more, &[])).await;
        assert!(page.text.contains("data-claim=\"name\""), "{}", page.text);
        tokens(&browser, server, &more).await;
        assert_eq!(silent(&browser, server, &more).await, "");
        assert_eq!(silent(&browser, server, &little).await, "", "what was allowed before stays allowed");
        // The scope that gives a claim covers it.
        let profile = server.authorize_url("shop", &[("scope", "openid profile")]);
        browser.code(&profile, "ada").await;
        assert_eq!(silent(&browser, server, &json!({"userinfo": {"locale": null}})).await, "");
        let page = browser.open("/").await;
        assert!(page.text.contains("See your e-mail address"), "the account page names it: {}", page.text);
    }

    async fn a_withdrawn_consent_takes_a_waiting_code_along(server) {
        server.add_user("ada").await;
        server.add_client(shop()).await;
        let browser = Browser::new(server);
        let code = browser.code(&request(server, &json!({"userinfo": {"email": null}}), &[]), "ada").await;
        let home = browser.open("/").await;
        let answer = browser.submit(&home, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(server.redeem("shop", &code).await.error(), "invalid_grant");
    }

    async fn a_claim_is_a_part_of_a_scope_that_the_client_may_have(server) {
        server.add_user("ada").await;
        server.add_client(shop().with(|client| client.scope = ScopeSet::parse("openid profile").unwrap())).await;
        let browser = Browser::new(server);
        let wanted = json!({"userinfo": {"email": null, "name": null}, "id_token": {"email": null}});
        let held = tokens(&browser, server, &wanted).await;
        let said = userinfo(server, &held).await;
        assert_eq!(said["name"], "Name of ada");
        assert!(said.get("email").is_none(), "the scope email isn't the client's: {said}");
        assert!(claims(held["id_token"].as_str().unwrap()).get("email").is_none());
        // What the operator takes away is gone from what was granted before.
        keyward::account::client::edit(&server.app, "shop", |client| {
            client.scope = ScopeSet::parse("openid").unwrap();
        })
        .await
        .unwrap();
        server.app.reload().await.unwrap();
        assert!(userinfo(server, &held).await.get("name").is_none());
    }

    async fn values_choose_and_a_subject_binds(server) {
        let ada = server.add_user("ada").await;
        let grace = server.add_user("grace").await;
        server.add_client(shop()).await;
        let browser = Browser::new(server);
        let wanted = json!({"userinfo": {"email": {"values": ["x@example.org"]}, "name": {"value": "Name of ada"}}});
        let said = userinfo(server, &tokens(&browser, server, &wanted).await).await;
        assert_eq!(said["name"], "Name of ada");
        assert!(said.get("email").is_none(), "another value is of no use: {said}");
        // §3.1.2.2: an answer for the named subject alone.
        for member in ["id_token", "userinfo"] {
            let own = json!({ member: {"sub": {"value": ada.subject}} });
            assert_eq!(silent(&browser, server, &own).await, "", "{member}");
            let other = json!({ member: {"sub": {"value": grace.subject}} });
            assert_eq!(silent(&browser, server, &other).await, "login_required", "{member}");
            let page = browser.open(&request(server, &other, &[])).await;
            assert!(page.text.contains("name=\"password\""), "{member}: a login as the one who is named");
            let answer = browser.arrive(&request(server, &other, &[]), "ada").await;
            assert_eq!(parameters(answer.header("location"))["error"], "login_required", "{member}: ada again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_clients_ask_nothing() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let browser = Browser::new(&server);
    let wanted = json!({"userinfo": {"email": null, "roles": null}, "id_token": {"groups": null, "permissions": null}});
    let page = browser.sign_in(&browser.open(&request(&server, &wanted, &[])).await, "ada").await;
    let code = parameters(page.header("location"))["code"].clone();
    let tokens = server.redeem("shop", &code).await.json();
    let said = userinfo(&server, &tokens).await;
    assert_eq!((&said["email"], &said["roles"]), (&json!("ada@example.org"), &json!([])));
    let id_token = claims(tokens["id_token"].as_str().unwrap());
    assert_eq!((&id_token["groups"], &id_token["permissions"]), (&json!([]), &json!([])));
    // RFC 8725 §2: no member is there twice, whatever scope and claims both ask for.
    let both = json!({"id_token": {"roles": null, "groups": null}});
    let address = server.authorize_url("shop", &[("scope", "openid roles groups"), ("claims", &both.to_string())]);
    let tokens = server.redeem("shop", &browser.code(&address, "ada").await).await.json();
    let payload = tokens["id_token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let text = {
        use base64::Engine;
        String::from_utf8(base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    assert_eq!((text.matches("\"roles\"").count(), text.matches("\"groups\"").count()), (1, 1), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_parameter_is_refused_and_shows_nothing() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(shop()).await;
    for bad in ["{", "[]", "{\"userinfo\":[]}", "{\"id_token\":{\"email\":{\"essential\":1}}}", &"[".repeat(1500)] {
        let address = server.authorize_url("shop", &[("scope", "openid"), ("claims", bad)]);
        let answer = Browser::new(&server).open(&address).await;
        let answer = parameters(answer.header("location"));
        assert_eq!(answer["error"], "invalid_request", "{bad}");
        assert!(!answer["error_description"].contains('{'), "{answer:?}");
    }
    server.stop().await;
}
