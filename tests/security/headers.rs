//! Headers on every kind of answer (requirement WB-1).

use reqwest::Method;

use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec, TestServer};

/// One answer of each kind, with the status it must have.
async fn every_kind(server: &TestServer) -> Vec<(&'static str, Answer)> {
    let http = &server.http;
    let get = |path: &str| http.get(server.endpoint(path));
    let post = |path: &str| http.post(server.endpoint(path));
    let page = Answer::of(get("/login")).await;
    let asset = page.text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let etag = Answer::of(get("/jwks")).await.header("etag").to_owned();
    let kinds = [
        ("page", get("/login"), 200),
        ("page of an authorization", http.get(server.authorize_url("shop", &[])), 200),
        ("error page", get("/authorize"), 400),
        ("redirect to a page", get("/"), 303),
        ("redirect to a client", http.get(server.authorize_url("shop", &[("prompt", "none")])), 303),
        (
            "form post",
            http.get(server.authorize_url("shop", &[("prompt", "none"), ("response_mode", "form_post")])),
            200,
        ),
        ("JSON", get("/health/live"), 200),
        ("JSON error", post("/token").form(&[("a", "b")]), 401),
        ("challenge", get("/userinfo"), 401),
        ("document", get("/.well-known/openid-configuration"), 200),
        ("keys", get("/jwks"), 200),
        ("not modified", get("/jwks").header("if-none-match", etag), 304),
        ("not found", get("/nothing"), 404),
        ("no such asset", get("/assets/nothing.css"), 404),
        ("asset", get(&asset), 200),
        ("wrong method", get("/token"), 405),
        ("wrong method of a page", http.delete(server.endpoint("/login")), 405),
        ("too long", post("/token").body("x".repeat(server.app.settings.server.max_body_bytes + 1)), 413),
        (
            "preflight",
            http.request(Method::OPTIONS, server.endpoint("/token"))
                .header("origin", "https://app.example")
                .header("access-control-request-method", "POST"),
            204,
        ),
        ("foreign host", get("/login").header("host", "evil.example"), 421),
        ("forged form", post("/logout").header("origin", "https://evil.example").form(&[("a", "b")]), 403),
    ];
    let mut answers = Vec::new();
    for (what, request, status) in kinds {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answers.push((what, answer));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_of_its_kind() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    for (what, answer) in every_kind(&server).await {
        let policy = answer.header("content-security-policy");
        for directive in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{what}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        assert!(matches!(answer.header("referrer-policy"), "no-referrer" | "same-origin"), "{what}: {answer:?}");
        assert!(!answer.header("permissions-policy").is_empty(), "{what}");
        assert!(!answer.header("cross-origin-resource-policy").is_empty(), "{what}");
        assert!(!answer.header("cache-control").is_empty(), "{what}");
        assert!(answer.header("x-request-id").len() >= 16, "{what}: {answer:?}");
        for absent in ["server", "x-powered-by", "strict-transport-security"] {
            assert!(answer.headers.get(absent).is_none(), "{what} has {absent}");
        }
        for (name, _) in &answer.headers {
            let count = answer.headers.get_all(name).iter().count();
            assert!(count == 1 || matches!(name.as_str(), "vary" | "set-cookie"), "{what}: {count} times {name}");
        }
        if answer.header("content-type").starts_with("text/html") {
            assert!(policy.contains("form-action 'self'"), "{what}: {policy}");
            assert_eq!(answer.header("cache-control"), "no-store", "{what}");
            assert!(!answer.text.contains("style=\"") && !answer.text.contains("<style"), "{what} has inline style");
        }
        if answer.status >= 400 && !what.contains("asset") {
            assert_eq!(answer.header("cache-control"), "no-store", "{what}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_with_a_client_behind_them_keep_the_opener_and_others_do_not() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let login = Answer::of(server.http.get(server.authorize_url("shop", &[]))).await;
    assert!(login.headers.get("cross-origin-opener-policy").is_none());
    assert!(login.header("content-security-policy").contains("form-action 'self' https://app.example;"));
    let setup = Answer::of(server.http.get(server.endpoint("/setup"))).await;
    assert_eq!(setup.header("cross-origin-opener-policy"), "same-origin");
    assert!(!setup.header("content-security-policy").contains("example"));
    // What goes wrong on the way keeps it too.
    let http = &server.http;
    let foreign =
        |path: &str| http.post(server.endpoint(path)).header("origin", "https://evil.example").form(&[("a", "b")]);
    for (what, request, status, own) in [
        ("authorize", http.get(server.authorize_url("nobody", &[])), 400, false),
        ("authorize/", http.get(server.endpoint("/authorize/")), 400, false),
        ("resume", http.get(server.endpoint("/authorize?resume=AAAA")), 400, false),
        ("wrong method", http.delete(server.endpoint("/authorize")), 405, false),
        ("login", foreign("/login"), 403, false),
        ("consent", foreign("/consent"), 400, false),
        ("a consent page that is reloaded", http.get(server.endpoint("/consent")), 405, false),
        ("select", foreign("/select"), 400, false),
        ("end_session", http.get(server.endpoint("/end_session?resume=AAAA")), 400, false),
        ("confirmation", foreign("/end_session/confirm"), 400, false),
        ("logout", foreign("/logout"), 403, true),
        ("not found", http.get(server.endpoint("/authorize/x")), 404, true),
    ] {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.headers.get("cross-origin-opener-policy").is_some(), own, "{what}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_redirect_by_ipv6_is_a_source_that_policies_know() {
    let server = TestServer::sqlite().await;
    let spec = ClientSpec::spa("shop").with(|client| client.redirect_uris = vec!["http://[::1]/cb".into()]);
    server.add_client(spec).await;
    let address = server.authorize_url("shop", &[("redirect_uri", "http://[::1]:51004/cb")]);
    let login = Answer::of(server.http.get(address)).await;
    assert_eq!(login.status, 200, "{login:?}");
    assert!(login.header("content-security-policy").contains("form-action 'self' http:;"), "{login:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_effect_where_get_has_one() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let browser = Browser::new(&server);
    let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
    let tokens = server.redeem("shop", &code).await.json();
    let out = format!("/end_session?id_token_hint={}", tokens["id_token"].as_str().unwrap());
    let silent = server.authorize_url("shop", &[("prompt", "none")]);
    for address in [silent.as_str(), out.as_str()] {
        let answer = Answer::of(browser.request(Method::HEAD, address)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"), "{address}: {answer:?}");
        assert!(answer.headers.get("location").is_none() && answer.headers.get("set-cookie").is_none(), "{answer:?}");
    }
    let answer = browser.get(&silent).await;
    assert!(answer.header("location").contains("code="), "the session stands: {answer:?}");
    assert_eq!(Answer::of(browser.request(Method::HEAD, "/login")).await.status, 303, "where it is harmless it works");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_form_post_page_runs_a_script_and_only_that_one() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
    let browser = Browser::new(&server);
    let login = browser.open(&server.authorize_url("shop", &[("response_mode", "form_post")])).await;
    let consent = browser.sign_in(&login, "ada").await;
    let home = browser.get("/").await;
    for page in [&login, &consent, &home] {
        assert!(!page.text.contains("<script"), "{}", page.text);
        assert!(!page.header("content-security-policy").contains("script-src"), "{page:?}");
    }
    let posted = browser.submit(&consent, &[("decision", "allow")]).await;
    assert_eq!(posted.text.matches("<script").count(), 1);
    let script = posted.text.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, script.as_bytes());
    let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest.as_ref());
    let policy = posted.header("content-security-policy");
    assert!(policy.contains(&format!("script-src 'sha256-{hash}'")), "{policy}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_id_is_kept_and_any_other_replaced() {
    let server = TestServer::sqlite().await;
    let ask = async |id: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(id).unwrap();
        Answer::of(server.http.get(server.endpoint("/nothing")).header("x-request-id", value)).await
    };
    for good in ["a", "3f1c9a7e-0000-4000-8000-000000000000", "trace_1.2", &"x".repeat(64)] {
        let answer = ask(good.as_bytes()).await;
        assert_eq!(answer.header("x-request-id"), good);
        assert!(answer.text.contains(good), "the page shows it");
    }
    for bad in [
        "",
        "a b",
        "<script>alert(1)</script>",
        "\"onload=\"x",
        "a;b",
        "ä",
        "${jndi:ldap://evil.example}",
        &"x".repeat(65),
    ] {
        let answer = ask(bad.as_bytes()).await;
        let own = answer.header("x-request-id");
        assert!(
            own.len() >= 16 && own.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "{own}"
        );
        assert_ne!(own, bad);
        assert!(answer.text.contains(own) && (bad.len() < 3 || !answer.text.contains(bad)), "{bad:?}: {}", answer.text);
    }
    let two = [ask(b"<").await, ask(b"<").await];
    assert_ne!(two[0].header("x-request-id"), two[1].header("x-request-id"));
    server.stop().await;
}
