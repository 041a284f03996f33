//! Spring Security, in a Spring Boot program that is both a client with a login and a resource server. `spring/` is the
//! program.

use std::process::Command;

use serde_json::{Value, json};

use super::relying_party::{RelyingParty, free_address};
use super::{AUDIENCE, MACHINE, Registered, USER, installed, server};
use crate::support::browser::form;
use crate::support::server::{Answer, SECRET};
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer, changed};

const CLIENTS: [Registered; 2] = [Registered::BASIC_RS256, Registered::POST_ES256];

/// Registers the clients and starts the program that is both of them.
async fn program(server: &TestServer) -> RelyingParty {
    let (url, port) = free_address("http");
    let mut command = Command::new("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-jar"])
        .arg(installed("spring/program.jar"))
        .arg(format!("--server.port={port}"))
        .arg("--server.address=127.0.0.1")
        .arg("--server.servlet.session.cookie.name=spring-session")
        .arg(format!("--program.issuer={}", server.url))
        .arg(format!("--program.audience={AUDIENCE}"))
        .arg(format!("--spring.security.oauth2.client.provider.keyward.issuer-uri={}", server.url));
    for client in CLIENTS {
        let spec = client.spec().with(|metadata| {
            metadata.redirect_uris = vec![format!("{url}/login/oauth2/code/{}", client.id)];
            metadata.post_logout_redirect_uris = vec![format!("{url}/bye")];
            // Within a minute of its end Spring Security takes a token for expired: it refreshes at each use.
            metadata.access_token_lifetime = Some(30);
        });
        server.add_client(spec).await;
        let registration = format!("--spring.security.oauth2.client.registration.{}", client.id);
        command
            .arg(format!("{registration}.provider=keyward"))
            .arg(format!("{registration}.client-id={}", client.id))
            .arg(format!("{registration}.client-secret={SECRET}"))
            .arg(format!("{registration}.client-authentication-method={}", client.method.as_str()))
            .arg(format!("{registration}.scope=openid,profile,email,offline_access"));
    }
    RelyingParty::start(server, &mut command, url).await
}

async fn login_to_logout(server: &TestServer, program: &RelyingParty, client: Registered) {
    let browser = Browser::new(server);
    let json = |answer: Answer| -> Value {
        match serde_json::from_str(&answer.text) {
            Ok(value) if answer.status == 200 => value,
            _ => program.complain(&answer),
        }
    };

    // Login. Spring Security sends PKCE by itself, checks the ID token, and asks userinfo.
    let start = browser.get(&format!("{}/oauth2/authorization/{}", program.url, client.id)).await;
    assert!(start.header("location").contains("code_challenge_method=S256"), "{start:?}");
    let page = program.follow(&browser, start, true).await;
    let me = json(if page.status == 200 { program.look(&browser, "/me").await } else { page });
    assert_eq!(me["registration"], json!(client.id));
    assert_eq!(me["alg"], json!(client.algorithm.as_str()));
    assert_eq!(me["email"], json!(format!("{USER}@example.org")));
    assert_eq!(me["id_token"]["email"], Value::Null, "what a scope names is at userinfo");
    assert!(me["id_token"]["nonce"].is_string() && me["id_token"]["sid"].is_string(), "{me}");

    // The API, by tokens that are refreshed each time; their audience is the client's default resource.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let call = json(program.look(&browser, "/call").await);
        assert_eq!(call["api"]["sub"], me["id_token"]["sub"]);
        assert_eq!(call["api"]["client_id"], json!(client.id));
        for authority in ["SCOPE_openid", "SCOPE_profile", "SCOPE_email", "SCOPE_offline_access"] {
            assert!(call["api"]["authorities"].as_array().unwrap().contains(&json!(authority)), "{call}");
        }
        assert!(!seen.contains(&call["access_token"]), "a token is used twice");
        seen.push(call["access_token"].clone());
    }

    // Logout, from the page that Spring Security makes for it.
    let page = browser.get(&format!("{}/logout", program.url)).await;
    let (action, hidden) = form(&page.text);
    let fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let left = browser.post(&format!("{}{action}", program.url), &fields).await;
    assert_eq!(json(program.follow(&browser, left, false).await), json!({ "bye": true }));
    let again = browser.open(&format!("{}/oauth2/authorization/{}", program.url, client.id)).await;
    let again = program.follow(&browser, again, false).await;
    assert!(again.text.contains("name=\"password\""), "{again:?}");
}

/// The program as a resource server alone: which tokens it takes.
async fn resource_server(server: &TestServer, program: &RelyingParty) {
    let call = async |path: &str, token: &str| {
        Answer::of(server.http.get(format!("{}{path}", program.url)).bearer_auth(token)).await
    };
    let machine = server.token(MACHINE, &[("grant_type", "client_credentials"), ("resource", AUDIENCE)]).await.json();
    let good = machine["access_token"].as_str().unwrap();
    let answer = call("/api/me", good).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.json()["sub"], &answer.json()["client_id"]), (&json!(MACHINE), &json!(MACHINE)));
    let refused = call("/api/profile", good).await;
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"), "{refused:?}");

    server.add_client(ClientSpec::machine("elsewhere")).await;
    let other = server.token("elsewhere", &[("grant_type", "client_credentials")]).await.json();
    let tampered = changed(good, good.len() - 10);
    for wrong in [other["access_token"].as_str().unwrap(), &tampered, "no.jwt.at-all"] {
        let refused = call("/api/me", wrong).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.header("www-authenticate").contains("invalid_token"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn client_and_resource_server() {
    let server = server(TestDatabase::sqlite()).await;
    let program = program(&server).await;
    for client in CLIENTS {
        login_to_logout(&server, &program, client).await;
    }
    resource_server(&server, &program).await;
    drop(program);
    server.stop().await;
}
