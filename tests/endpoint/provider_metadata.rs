//! The metadata document (RFC 8414, OpenID Connect Discovery): one text at every well-known path, and each promise kept.

use keyward::settings::PublicUrl;
use serde_json::{Value, json};

use crate::support::browser::parameters;
use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

async fn get(server: &TestServer, path: &str) -> Answer {
    Answer::of(server.http.get(server.endpoint(path))).await
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Every address of the document answers, and not as if nothing were there.
async fn every_endpoint_is_there(server: &TestServer, document: &Value) {
    let mut seen = 0;
    for (name, value) in document.as_object().unwrap() {
        if !(name.ends_with("_endpoint") || name == "jwks_uri") {
            continue;
        }
        let address = value.as_str().unwrap();
        assert!(address.starts_with(document["issuer"].as_str().unwrap()), "{name}: {address}");
        for request in [server.http.get(address), server.http.post(address).form(&[("a", "b")])] {
            let answer = Answer::of(request).await;
            assert!(answer.status < 500 && answer.status != 404, "{name}: {answer:?}");
        }
        seen += 1;
    }
    assert!(seen >= 7, "{seen} endpoints");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_paths_say_the_same_and_the_issuer_is_exact() {
    let server = TestServer::sqlite().await;
    let openid = get(&server, "/.well-known/openid-configuration").await;
    let oauth = get(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!((openid.status, openid.header("content-type")), (200, "application/json"));
    assert_eq!(openid.text, oauth.text);
    // Byte for byte, as it stands in the text.
    assert!(openid.text.contains(&format!("\"issuer\":\"{}\"", server.url)), "{}", openid.text);
    let document = openid.json();
    every_endpoint_is_there(&server, &document).await;
    // Discovery §3, RFC 8414 §2: what must be there.
    for name in [
        "issuer",
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "response_types_supported",
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
        "scopes_supported",
        "claims_supported",
    ] {
        assert!(!document[name].is_null(), "{name}");
    }
    assert_eq!(document["response_types_supported"], json!(["code"]));
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    for name in document.as_object().unwrap().keys().filter(|name| name.contains("alg_values")) {
        assert!(!strings(&document[name]).contains(&"none"), "{name}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_for_minutes_and_known_by_its_tag() {
    let server = TestServer::sqlite().await;
    let path = "/.well-known/openid-configuration";
    let first = get(&server, path).await;
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
    for (known, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
    ] {
        let answer = Answer::of(server.http.get(server.endpoint(path)).header("if-none-match", &known)).await;
        assert_eq!(answer.status, status, "{known}");
        assert_eq!(answer.text.is_empty(), status == 304, "{known}");
        assert_eq!(answer.header("etag"), etag, "{known}");
        assert_eq!(answer.header("cache-control"), "public, max-age=300", "RFC 9110 §15.4.5");
    }
    // A new scope is a new document with a new tag.
    server.add_scope("fresh").await;
    let second = Answer::of(server.http.get(server.endpoint(path)).header("if-none-match", &etag)).await;
    assert_eq!(second.status, 200);
    assert!(strings(&second.json()["scopes_supported"]).contains(&"fresh") && second.header("etag") != etag);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_path_has_all_three_forms() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.public_url = format!("{}/auth/main", settings.public_url.as_str()).parse::<PublicUrl>().unwrap();
    })
    .await;
    let issuer = format!("{}/auth/main", server.url);
    let mut texts = Vec::new();
    for path in [
        // Discovery §4: appended. RFC 8414 §3.1: inserted. And the form that MCP clients try between the two.
        "/auth/main/.well-known/openid-configuration",
        "/auth/main/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/auth/main",
        "/.well-known/openid-configuration/auth/main",
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["issuer"], issuer.as_str(), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        texts.push(answer.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    let document: Value = serde_json::from_str(&texts[0]).unwrap();
    every_endpoint_is_there(&server, &document).await;
    for elsewhere in ["/.well-known/openid-configuration", "/token", "/authorize", "/jwks", "/auth/token"] {
        assert_eq!(get(&server, elsewhere).await.status, 404, "{elsewhere} is another issuer's");
    }

    // A login through it: each page, cookie and redirect has the path.
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let browser = Browser::new(&server);
    let address = server.authorize_url("shop", &[]).replace("/authorize?", "/auth/main/authorize?");
    let answer = browser.arrive(&address, "ada").await;
    let sent = parameters(answer.header("location"));
    assert_eq!(sent["iss"], issuer);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", sent["code"].as_str()),
        ("code_verifier", crate::support::server::VERIFIER),
    ];
    let request = server.http.post(document["token_endpoint"].as_str().unwrap());
    let request = request.basic_auth("shop", Some(crate::support::server::SECRET)).form(&form);
    let tokens = Answer::of(request).await.json();
    for token in ["access_token", "id_token"] {
        assert_eq!(crate::support::server::claims(tokens[token].as_str().unwrap())["iss"], issuer.as_str());
    }
    let userinfo = server.http.get(document["userinfo_endpoint"].as_str().unwrap());
    assert_eq!(Answer::of(userinfo.bearer_auth(tokens["access_token"].as_str().unwrap())).await.status, 200);
    assert_eq!(browser.open("/auth/main/").await.status, 200);
    assert_eq!(browser.open("/auth/main").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_lists_is_what_there_is() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    let document = get(&server, "/.well-known/openid-configuration").await.json();
    let keys = get(&server, "/jwks").await.json();
    let mut published: Vec<&str> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["alg"].as_str().unwrap()).collect();
    published.sort_unstable();
    // A key that signs, and the next one.
    published.dedup();
    assert_eq!(strings(&document["id_token_signing_alg_values_supported"]), published);
    server.add_client(ClientSpec::web("shop")).await;
    for mode in strings(&document["response_modes_supported"]) {
        let answer = Browser::new(&server)
            .get(&server.authorize_url("shop", &[("response_mode", mode), ("prompt", "none")]))
            .await;
        let said = format!("{}{}", answer.header("location"), answer.text);
        assert!(said.contains("login_required"), "{mode}: {answer:?}");
    }
    for prompt in strings(&document["prompt_values_supported"]) {
        let answer = Browser::new(&server).get(&server.authorize_url("shop", &[("prompt", prompt)])).await;
        assert!(!answer.header("location").contains("invalid_request"), "{prompt}: {answer:?}");
    }
    for grant in strings(&document["grant_types_supported"]) {
        assert_ne!(server.token("shop", &[("grant_type", grant)]).await.error(), "unsupported_grant_type", "{grant}");
    }
    let methods = strings(&document["token_endpoint_auth_methods_supported"]);
    assert_eq!(methods, ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]);
    assert!(!strings(&document["introspection_endpoint_auth_methods_supported"]).contains(&"none"));
    for (name, parameter) in
        [("request_parameter_supported", "request"), ("request_uri_parameter_supported", "request_uri")]
    {
        assert_eq!(document[name], false);
        let answer = Browser::new(&server).get(&server.authorize_url("shop", &[(parameter, "x")])).await;
        assert!(answer.header("location").contains("not_supported"), "{parameter}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_of_a_path_does_no_harm() {
    let server = TestServer::sqlite().await;
    for path in ["/.well-known/openid-configuration/", "/jwks/"] {
        assert_eq!(get(&server, path).await.status, 200, "{path}");
    }
    assert_eq!(get(&server, "/userinfo/").await.status, 401);
    assert_eq!(get(&server, "/authorize/").await.status, 400);
    server.stop().await;
}
