//! The token endpoint: errors of RFC 6749 §5.2, client authentication, client credentials, code redemption, PKCE.

use std::sync::LazyLock;

use keyward::audit::{AuditEvent, AuditKind};
use keyward_entities::client_secret;
use keyward_keys::{Algorithm, SigningKey};
use keyward_protocol::client_metadata::{AuthMethod, GrantType};
use keyward_protocol::scope::ScopeSet;
use serde_json::{Value, json};

use crate::security::forge::{encode, sign, sign_hs256, with};
use crate::support::browser::parameters;
use crate::support::server::{Answer, SECRET, VERIFIER, claims};
use crate::support::{Browser, ClientSpec, TestServer};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// POST of a form with nothing else.
async fn post(server: &TestServer, form: &[(&str, &str)]) -> Answer {
    Answer::of(server.http.post(server.endpoint("/token")).form(form)).await
}

/// That an answer is an error as RFC 6749 §5.2 has it.
fn assert_refused(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (status, error), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("pragma"), "no-cache", "{what}");
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
    let allowed = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(!description.is_empty() && description.bytes().all(allowed), "{what}: {description}");
    assert!(answer.json().get("access_token").is_none(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    server.add_client(ClientSpec::machine("batch")).await;
    assert_refused(&server.token("shop", &[]).await, 400, "invalid_request", "nothing");
    assert_refused(&server.token("shop", &[("grant_type", "")]).await, 400, "invalid_request", "an empty grant_type");
    for grant in [
        "password",
        "implicit",
        "authorization-code",
        "Authorization_Code",
        "urn:ietf:params:oauth:grant-type:device_code",
    ] {
        assert_refused(&server.token("shop", &[("grant_type", grant)]).await, 400, "unsupported_grant_type", grant);
    }
    let answer = server.token("shop", &[("grant_type", "client_credentials")]).await;
    assert_refused(&answer, 400, "unauthorized_client", "a grant that the client hasn't");
    for grant in ["authorization_code", "refresh_token"] {
        let form = [("grant_type", grant), ("code", "x"), ("refresh_token", "x")];
        assert_refused(&server.token("batch", &form).await, 400, "unauthorized_client", grant);
        let form = [("grant_type", grant)];
        assert_refused(&server.token("shop", &form).await, 400, "invalid_request", "syntax comes first");
    }
    assert_refused(
        &server.token("shop", &[("grant_type", "authorization_code")]).await,
        400,
        "invalid_request",
        "no code",
    );
    assert_refused(
        &server.token("shop", &[("grant_type", "refresh_token")]).await,
        400,
        "invalid_request",
        "no refresh token",
    );
    for doubled in ["grant_type=client_credentials", "scope=api&scope=api", "x=1&x=1", "scope=&scope="] {
        let body = format!("grant_type=client_credentials&{doubled}");
        let request = server
            .http
            .post(server.endpoint("/token"))
            .basic_auth("batch", Some(SECRET))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        assert_refused(&Answer::of(request).await, 400, "invalid_request", doubled);
    }
    let body = "grant_type=client_credentials";
    let typed = |kind: &'static str, body: &'static str| {
        server
            .http
            .post(server.endpoint("/token"))
            .basic_auth("batch", Some(SECRET))
            .header("content-type", kind)
            .body(body)
    };
    for kind in ["application/json", "text/plain", "multipart/form-data", ""] {
        assert_refused(&Answer::of(typed(kind, body)).await, 400, "invalid_request", kind);
    }
    let untyped = server.http.post(server.endpoint("/token")).basic_auth("batch", Some(SECRET)).body(body);
    assert_refused(&Answer::of(untyped).await, 400, "invalid_request", "no Content-Type");
    for kind in ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-Urlencoded"] {
        assert_eq!(Answer::of(typed(kind, body)).await.status, 200, "{kind}");
    }
    for broken in ["grant_type=%zz", "grant_type=client_credentials&scope=%ff"] {
        let request = typed("application/x-www-form-urlencoded", broken);
        assert_refused(&Answer::of(request).await, 400, "invalid_request", broken);
    }
    // Parameters in the address don't count.
    let request = server
        .http
        .post(server.endpoint(&format!("/token?{body}")))
        .basic_auth("batch", Some(SECRET))
        .form(&[("a", "b")]);
    assert_refused(&Answer::of(request).await, 400, "invalid_request", "parameters in the address");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_and_long_bodies() {
    let server = TestServer::sqlite().await;
    for method in [reqwest::Method::GET, reqwest::Method::PUT, reqwest::Method::DELETE] {
        let answer = Answer::of(server.http.request(method.clone(), server.endpoint("/token"))).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").contains("POST"), "{method}: {answer:?}");
    }
    let most = server.app.settings.server.max_body_bytes;
    let request = |length: usize| {
        server
            .http
            .post(server.endpoint("/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("a".repeat(length))
    };
    assert_eq!(Answer::of(request(most)).await.status, 401);
    assert_refused_long(&Answer::of(request(most + 1)).await);
    // A body without a length is measured as it comes.
    let address = server.app.settings.server.listen;
    let streamed = tokio::task::spawn_blocking(move || chunked(address, most + 1)).await.unwrap();
    assert!(streamed.starts_with("HTTP/1.1 413 "), "{streamed}");
    server.stop().await;
}

/// Sends a chunked body of so many bytes and gives the head of the answer.
fn chunked(address: std::net::SocketAddr, length: usize) -> String {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let head = "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let body = "a".repeat(length);
    write!(connection, "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n").unwrap();
    let mut head = [0; 64];
    connection.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head).into_owned()
}

fn assert_refused_long(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (413, "invalid_request"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_fail_to_authenticate() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::machine("batch")).await;
    server.add_client(ClientSpec::spa("spa")).await;
    server
        .add_client(
            ClientSpec::machine("basic").with(|c| c.token_endpoint_auth_method = Some(AuthMethod::ClientSecretBasic)),
        )
        .await;
    server
        .add_client(
            ClientSpec::machine("post").with(|c| c.token_endpoint_auth_method = Some(AuthMethod::ClientSecretPost)),
        )
        .await;
    let grant = ("grant_type", "client_credentials");
    let basic = async |id: &str, secret: &str, form: &[(&str, &str)]| {
        Answer::of(server.http.post(server.endpoint("/token")).basic_auth(id, Some(secret)).form(form)).await
    };
    let header = async |value: &str| {
        Answer::of(server.http.post(server.endpoint("/token")).header("authorization", value).form(&[grant])).await
    };
    // RFC 6749 §5.2: who tried by the header is told the scheme.
    for (id, secret) in [
        ("batch", "wrong"),
        ("batch", ""),
        ("nobody", SECRET),
        ("spa", SECRET),
        ("spa", ""),
        ("post", SECRET),
        ("", ""),
    ] {
        let answer = basic(id, secret, &[grant]).await;
        assert_refused(&answer, 401, "invalid_client", &format!("{id}:{secret}"));
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{answer:?}");
    }
    for broken in ["Basic", "Basic !!!", "Basic bm8tY29sb24", "Bearer abc", "Digest x=y", "Basic JTp4"] {
        let answer = header(broken).await;
        assert_refused(&answer, 401, "invalid_client", broken);
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{broken}: {answer:?}");
    }
    for (id, secret) in [("batch", "wrong"), ("nobody", SECRET), ("spa", SECRET), ("basic", SECRET)] {
        let answer = post(&server, &[grant, ("client_id", id), ("client_secret", secret)]).await;
        assert_refused(&answer, 401, "invalid_client", &format!("{id} by post"));
    }
    assert_refused(&post(&server, &[grant]).await, 401, "invalid_client", "nobody at all");
    assert_refused(
        &post(&server, &[grant, ("client_id", "batch")]).await,
        401,
        "invalid_client",
        "confidential without a secret",
    );
    assert_refused(
        &post(&server, &[grant, ("client_secret", SECRET)]).await,
        400,
        "invalid_request",
        "a secret of nobody",
    );
    // RFC 6749 §2.3: one method in a request.
    for second in [("client_secret", SECRET), ("client_assertion", "a.b.c")] {
        assert_refused(&basic("batch", SECRET, &[grant, second]).await, 400, "invalid_request", second.0);
    }
    assert_refused(
        &basic("batch", SECRET, &[grant, ("client_id", "basic")]).await,
        400,
        "invalid_request",
        "two clients",
    );
    let twice = server
        .http
        .post(server.endpoint("/token"))
        .header("authorization", "Basic YTpi")
        .header("authorization", "Basic YTpi")
        .form(&[grant]);
    assert_refused(&Answer::of(twice).await, 400, "invalid_request", "two headers");
    // A public client has no secret to lose, and no client credentials.
    assert_refused(&post(&server, &[grant, ("client_id", "spa")]).await, 400, "unauthorized_client", "a public client");

    for good in [
        basic("batch", SECRET, &[grant]).await,
        basic("batch", SECRET, &[grant, ("client_id", "batch")]).await,
        post(&server, &[grant, ("client_id", "batch"), ("client_secret", SECRET)]).await,
        basic("basic", SECRET, &[grant]).await,
        post(&server, &[grant, ("client_id", "post"), ("client_secret", SECRET)]).await,
    ] {
        assert_eq!(good.status, 200, "{good:?}");
        assert_eq!((good.header("cache-control"), good.header("pragma")), ("no-store", "no-cache"));
    }
    server.stop().await;
}

on_each_database! {
    async fn client_credentials(server) {
        server.add_scope("more").await;
        server.add_scope("foreign").await;
        server.add_client(ClientSpec::api("api", "https://api.example")).await;
        server.add_client(ClientSpec::api("other", "https://other.example")).await;
        server
            .add_client(ClientSpec::machine("batch").with(|client| {
                client.scope = ScopeSet::parse("api more openid profile offline_access gone").unwrap();
                client.resources =
                    vec!["https://api.example".into(), "https://other.example".into(), "https://gone.example".into()];
            }))
            .await;
        server.add_client(ClientSpec::machine("bare").with(|client| client.default_scope = ScopeSet::default())).await;
        let ask = async |client: &str, extra: &[(&str, &str)]| {
            let mut form = vec![("grant_type", "client_credentials")];
            form.extend(extra);
            server.token(client, &form).await
        };
        let answer = ask("batch", &[]).await.json();
        assert_eq!(
            (answer["scope"].as_str(), answer["token_type"].as_str()),
            (Some("api"), Some("Bearer")),
            "the default"
        );
        for absent in ["refresh_token", "id_token"] {
            assert!(answer.get(absent).is_none(), "{answer}");
        }
        let token = claims(answer["access_token"].as_str().unwrap());
        assert_eq!((token["sub"].as_str(), token["client_id"].as_str()), (Some("batch"), Some("batch")));
        assert_eq!(token["iss"], server.url.as_str());
        assert_eq!(token["aud"], json!(["https://api.example"]), "the default resource");
        assert_eq!(
            token["exp"].as_i64().unwrap() - token["iat"].as_i64().unwrap(),
            answer["expires_in"].as_i64().unwrap()
        );
        for absent in ["auth_time", "acr", "amr", "grant_id", "sid", "nonce"] {
            assert!(token.get(absent).is_none(), "{token}");
        }
        let header = crate::security::forge::part(answer["access_token"].as_str().unwrap(), 0);
        assert_eq!((header["typ"].as_str(), header["alg"].as_str()), (Some("at+jwt"), Some("ES256")));

        for (scope, granted) in [
            ("more", "more"),
            ("more api", "more api"),
            ("api unknown", "api"),
            ("foreign more", "more"),
            ("gone api", "api"),
            ("openid profile offline_access more", "more"),
            ("unknown", "api"),
            ("openid", "api"),
        ] {
            let answer = ask("batch", &[("scope", scope)]).await.json();
            assert_eq!(answer["scope"], granted, "{scope}");
            assert_eq!(claims(answer["access_token"].as_str().unwrap())["scope"], granted, "{scope}");
            assert!(answer.get("id_token").is_none());
        }
        assert_refused(&ask("bare", &[]).await, 400, "invalid_scope", "no scope and no default");
        assert_refused(&ask("bare", &[("scope", "more")]).await, 400, "invalid_scope", "none that is left");
        assert_refused(&ask("batch", &[("scope", "a\\b")]).await, 400, "invalid_scope", "a forbidden character");
        assert_eq!(ask("bare", &[("scope", "api")]).await.status, 200);

        let audience = |answer: &Answer| claims(answer.json()["access_token"].as_str().unwrap())["aud"].clone();
        assert_eq!(audience(&ask("bare", &[("scope", "api")]).await), json!([server.url]), "no resource: the issuer");
        let other = ("resource", "https://other.example");
        assert_eq!(audience(&ask("batch", &[other]).await), json!(["https://other.example"]));
        assert_eq!(
            audience(&ask("batch", &[other, ("resource", "https://api.example"), other]).await),
            json!(["https://other.example", "https://api.example"])
        );
        for resource in
            ["https://unknown.example", "https://gone.example", "https://api.example/", "api", "https://api.example#x"]
        {
            assert_refused(&ask("batch", &[("resource", resource)]).await, 400, "invalid_target", resource);
        }
        assert_refused(
            &ask("bare", &[("scope", "api"), other]).await,
            400,
            "invalid_target",
            "another client's resource",
        );
    }

    async fn several_secrets_are_valid_until_each_ends(server) {
        let app = &server.app;
        server.add_client(ClientSpec::machine("batch")).await;
        let works = async |secret: &str| {
            let request = server.http.post(server.endpoint("/token")).basic_auth("batch", Some(secret));
            let answer = Answer::of(request.form(&[("grant_type", "client_credentials")])).await;
            assert!(answer.status == 200 || (answer.status == 401 && answer.error() == "invalid_client"), "{answer:?}");
            answer.status == 200
        };
        let rotate = async |secret: &str, old_ones_live: u64, ends: Option<u64>| {
            let now = app.clock.now();
            let row = client_secret::Model {
                id: app.random.uuid_v7(now).unwrap(),
                client: app.store.find_client("batch").await.unwrap().unwrap().id,
                secret_hash: app.secrets.client_secret_hash.hash(secret.as_bytes()).to_vec(),
                sealed_secret: None,
                created_at: now.micros(),
                expires_at: ends.map(|seconds| now.plus_seconds(seconds).micros()),
            };
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::ClientSecretAdded)).unwrap();
            app.store.rotate_client_secret(row, now.plus_seconds(old_ones_live), event).await.unwrap();
            app.reload().await.unwrap();
        };
        assert!(works(SECRET).await);
        rotate("the-second-secret", 60, None).await;
        assert!(works(SECRET).await && works("the-second-secret").await);
        server.advance(59);
        assert!(works(SECRET).await);
        server.advance(1);
        assert!(!works(SECRET).await && works("the-second-secret").await);
        // A later rotation doesn't bring an ended one back, and may end the others at once.
        rotate("the-third-secret", 0, Some(10)).await;
        assert!(!works(SECRET).await && !works("the-second-secret").await && works("the-third-secret").await);
        server.advance(10);
        assert!(!works("the-third-secret").await);
    }

    async fn codes_that_are_not_redeemed(server) {
        let app = &server.app;
        let ada = server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("other")).await;
        server.add_client(ClientSpec::web("third").with(|client| client.first_party = false)).await;
        server.add_client(ClientSpec::spa("spa")).await;
        for code in ["unknown", "a.b.c", "", &"x".repeat(5000)] {
            let error = if code.is_empty() { "invalid_request" } else { "invalid_grant" };
            assert_refused(&server.redeem("shop", code).await, 400, error, code);
        }
        let browser = Browser::new(server);
        // Protocol decision 2: with PKCE the redirect_uri may be left out, but not be another.
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let redeem = async |client: &str, code: &str, extra: &[(&str, &str)]| {
            let mut form = vec![("grant_type", "authorization_code"), ("code", code)];
            form.extend(extra);
            server.token(client, &form).await
        };
        let verifier = ("code_verifier", VERIFIER);
        for uri in
            ["https://app.example/cb/", "https://app.example", "https://evil.example/cb", "HTTPS://app.example/cb"]
        {
            assert_refused(&redeem("shop", &code, &[verifier, ("redirect_uri", uri)]).await, 400, "invalid_grant", uri);
        }
        assert_refused(&redeem("other", &code, &[verifier]).await, 400, "invalid_grant", "another client");
        assert_eq!(redeem("shop", &code, &[verifier]).await.status, 200, "nothing of that spent it");
        // A public client's code is for it alone, and needs no secret.
        let code = browser.code(&server.authorize_url("spa", &[]), "ada").await;
        assert_refused(&redeem("shop", &code, &[verifier]).await, 400, "invalid_grant", "a confidential client");
        let form = [("grant_type", "authorization_code"), ("client_id", "spa"), ("code", &code), verifier];
        assert_eq!(post(server, &form).await.status, 200);

        // What the code stands for must still stand.
        let code = browser.code(&server.authorize_url("third", &[]), "ada").await;
        let home = browser.open("/").await;
        let (_, hidden) = crate::support::browser::form(&home.text);
        let csrf = hidden[0].1.clone();
        browser.post("/apps/disconnect", &[("csrf", &csrf), ("client_id", "third")]).await;
        assert_refused(&redeem("third", &code, &[verifier]).await, 400, "invalid_grant", "the consent was withdrawn");
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        browser.post("/logout", &[("csrf", &csrf)]).await;
        assert_refused(&redeem("shop", &code, &[verifier]).await, 400, "invalid_grant", "the session ended");
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let event = app.audit_record(AuditEvent::by_cli(AuditKind::UserChanged)).unwrap();
        app.store.set_user_disabled(ada.id, true, app.clock.now(), event).await.unwrap();
        assert_refused(&redeem("shop", &code, &[verifier]).await, 400, "invalid_grant", "the user was disabled");
    }

    async fn pkce_is_downgraded_in_neither_direction(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("lax").with(|client| client.require_pkce = false)).await;
        server.add_client(ClientSpec::spa("spa").with(|client| client.require_pkce = false)).await;
        let browser = Browser::new(server);
        let redeem = async |code: &str, extra: &[(&str, &str)]| {
            let mut form = vec![("grant_type", "authorization_code"), ("code", code)];
            form.extend(extra);
            server.token("lax", &form).await
        };
        let (verifier, uri) = (("code_verifier", VERIFIER), ("redirect_uri", "https://app.example/cb"));
        // Asked for with a challenge, stolen and redeemed without (RFC 9700 §4.8.2).
        let code = browser.code(&server.authorize_url("lax", &[]), "ada").await;
        assert_refused(&redeem(&code, &[uri]).await, 400, "invalid_grant", "no verifier");
        assert_refused(&redeem(&code, &[uri, ("code_verifier", "")]).await, 400, "invalid_grant", "an empty verifier");
        assert_eq!(redeem(&code, &[uri, verifier]).await.status, 200);
        // The attacker took the challenge out of the request: the client's verifier tells.
        let bare = [("code_challenge", ""), ("code_challenge_method", "")];
        let code = browser.code(&server.authorize_url("lax", &bare), "ada").await;
        assert_refused(&redeem(&code, &[uri, verifier]).await, 400, "invalid_grant", "a verifier without a challenge");
        assert_refused(&redeem(&code, &[]).await, 400, "invalid_grant", "neither PKCE nor redirect_uri");
        assert_eq!(redeem(&code, &[uri]).await.status, 200);
        // A public client can't do without, whatever its metadata says.
        let answer = browser.get(&server.authorize_url("spa", &bare)).await;
        assert_eq!(parameters(answer.header("location"))["error"], "invalid_request");
    }
}

/// RSA keys take seconds to find: one for all tests.
static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Rs256).unwrap().0);

fn assertion_client(id: &'static str, keys: &[&SigningKey]) -> ClientSpec {
    let jwks = json!({"keys": keys.iter().map(|key| key.public_jwk()).collect::<Vec<_>>()});
    ClientSpec::machine(id).with(|client| {
        client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
        client.jwks = Some(jwks);
    })
}

async fn assert_by(server: &TestServer, assertion: &str, extra: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    form.extend(extra);
    post(server, &form).await
}

on_each_store! {
    async fn private_key_jwt(server) {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
        let other = SigningKey::generate(Algorithm::Es256).unwrap().0;
        server.add_client(assertion_client("batch", &[&key, &RSA])).await;
        server.add_client(assertion_client("bank", &[&other])).await;
        let now = server.app.clock.now().seconds();
        let fresh = || server.app.random.name().unwrap();
        let header = json!({"alg": "ES256", "kid": key.kid(), "typ": "JWT"});
        let good =
            || json!({"iss": "batch", "sub": "batch", "aud": server.url, "iat": now, "exp": now + 60, "jti": fresh()});
        // RS256, and ES256 in every form that is right.
        let rs256 = json!({"alg": "RS256", "kid": RSA.kid()});
        for (what, assertion) in [
            ("ES256", sign(&key, &header, &good())),
            ("RS256", sign(&RSA, &rs256, &good())),
            ("without typ", sign(&key, &with(&header, "typ", Value::Null), &good())),
            ("without kid", sign(&key, &with(&header, "kid", Value::Null), &good())),
            ("the token endpoint", sign(&key, &header, &with(&good(), "aud", json!(server.endpoint("/token"))))),
            ("a list", sign(&key, &header, &with(&good(), "aud", json!(["https://x.example", server.url])))),
            ("within the leeway", sign(&key, &header, &with(&good(), "exp", json!(now - 59)))),
            ("a clock ahead", sign(&key, &header, &with(&good(), "iat", json!(now + 10)))),
        ] {
            let answer = assert_by(server, &assertion, &[]).await;
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            assert_eq!(claims(answer.json()["access_token"].as_str().unwrap())["sub"], "batch");
        }
        let named = sign(&key, &header, &good());
        assert_eq!(assert_by(server, &named, &[("client_id", "batch")]).await.status, 200);
        assert_refused(&assert_by(server, &named, &[]).await, 401, "invalid_client", "used twice");
        let same = good();
        assert_eq!(assert_by(server, &sign(&key, &header, &same), &[]).await.status, 200);
        assert_refused(
            &assert_by(server, &sign(&key, &header, &same), &[]).await,
            401,
            "invalid_client",
            "the jti, signed anew",
        );

        for (name, value) in [
            ("aud", json!("https://other.example")),
            ("aud", json!(format!("{}/", server.url))),
            ("aud", json!(server.endpoint("/authorize"))),
            ("aud", json!([])),
            ("aud", Value::Null),
            ("iss", json!("bank")),
            ("iss", Value::Null),
            ("sub", json!("bank")),
            ("sub", Value::Null),
            ("exp", json!(now - 60)),
            ("exp", json!((now + 60).to_string())),
            ("exp", json!(now + 100_000)),
            ("exp", Value::Null),
            ("iat", json!(now + 61)),
            ("nbf", json!(now + 61)),
            ("jti", json!("")),
            ("jti", json!(7)),
            ("jti", Value::Null),
        ] {
            let assertion = sign(&key, &header, &with(&good(), name, value.clone()));
            assert_refused(
                &assert_by(server, &assertion, &[]).await,
                401,
                "invalid_client",
                &format!("{name} {value}"),
            );
        }
        let unsigned =
            format!("{}.{}.", encode(with(&header, "alg", json!("none")).to_string()), encode(good().to_string()));
        for (what, assertion) in [
            ("alg none", unsigned),
            ("another key", sign(&other, &header, &good())),
            ("another key by its own name", sign(&other, &with(&header, "kid", json!(other.kid())), &good())),
            ("another key without a name", sign(&other, &with(&header, "kid", Value::Null), &good())),
            ("an unknown kid", sign(&key, &with(&header, "kid", json!("unknown")), &good())),
            ("an access token's type", sign(&key, &with(&header, "typ", json!("at+jwt")), &good())),
            ("a logout token's type", sign(&key, &with(&header, "typ", json!("logout+jwt")), &good())),
            ("crit", sign(&key, &with(&header, "crit", json!(["exp"])), &good())),
            ("RS256 with the name of the ES256 key", sign(&RSA, &with(&header, "alg", json!("RS256")), &good())),
            (
                "HS256 with what is public",
                sign_hs256(key.public_jwk().to_string().as_bytes(), &with(&header, "alg", json!("HS256")), &good()),
            ),
            (
                "the server's own key",
                sign(&crate::security::forge::server_key(server), &with(&header, "kid", Value::Null), &good()),
            ),
            ("garbage", "garbage".to_owned()),
            ("dots", "..".to_owned()),
        ] {
            assert_refused(&assert_by(server, &assertion, &[]).await, 401, "invalid_client", what);
        }
        let answer = assert_by(server, &sign(&key, &header, &good()), &[("client_id", "bank")]).await;
        assert_refused(&answer, 401, "invalid_client", "another client_id");
        let answer = assert_by(server, &sign(&key, &header, &good()), &[("client_secret", SECRET)]).await;
        assert_refused(&answer, 400, "invalid_request", "a secret beside");
        let assertion = sign(&key, &header, &good());
        for kind in ["", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"] {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", kind),
                ("client_assertion", assertion.as_str()),
            ];
            assert_refused(&post(server, &form).await, 400, "invalid_request", kind);
        }
        // The secret that the client has in the database doesn't help: its method is another.
        assert_refused(
            &server.token("batch", &[("grant_type", "client_credentials")]).await,
            401,
            "invalid_client",
            "Basic",
        );
        // None of these refusals spent the assertion.
        assert_eq!(assert_by(server, &assertion, &[]).await.status, 200);
    }

    async fn an_assertion_opens_the_endpoint_that_it_names(server) {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().0;
        server.add_client(assertion_client("batch", &[&key])).await;
        let now = server.app.clock.now().seconds();
        let header = json!({"alg": "ES256"});
        for (path, audience, status) in [
            ("/introspect", "/introspect", 200),
            ("/revoke", "/revoke", 200),
            ("/introspect", "/token", 200),
            ("/introspect", "/revoke", 401),
            ("/token", "/introspect", 401),
        ] {
            let claims = json!({
                "iss": "batch", "sub": "batch", "aud": server.endpoint(audience), "exp": now + 60,
                "jti": server.app.random.name().unwrap(),
            });
            let assertion = sign(&key, &header, &claims);
            let form = [
                ("token", "x"),
                ("grant_type", "client_credentials"),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", &assertion),
            ];
            let answer = Answer::of(server.http.post(server.endpoint(path)).form(&form)).await;
            assert_eq!(answer.status, status, "{path} with aud {audience}: {answer:?}");
        }
    }

    async fn a_client_without_the_refresh_grant_gets_no_refresh_token(server) {
        server.add_user("ada").await;
        server
            .add_client(ClientSpec::web("plain").with(|client| client.grant_types = vec![GrantType::AuthorizationCode]))
            .await;
        let tokens = server.tokens("plain", "ada").await;
        assert!(tokens.get("refresh_token").is_none(), "{tokens}");
        assert_refused(&server.refresh("plain", "x").await, 400, "unauthorized_client", "refresh");
    }
}
