//! The authorization endpoint: which requests end on a page, which go back to the client, and what is asked of people.

use keyward_entities::client;
use keyward_protocol::client_metadata::GrantType;

use crate::support::browser::{form, parameters};
use crate::support::server::{Answer, CHALLENGE, claims};
use crate::support::{Browser, ClientSpec, TestServer, changed};

/// The query of a right request of `shop`.
fn good() -> String {
    format!(
        "client_id=shop&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&response_type=code&scope=openid&state=st-1\
         &code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

async fn ask(server: &TestServer, query: &str) -> Answer {
    Answer::of(server.http.get(server.endpoint(&format!("/authorize?{query}")))).await
}

async fn post(server: &TestServer, body: String) -> Answer {
    let request = server
        .http
        .post(server.endpoint("/authorize"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let answer = Answer::of(request).await;
    match answer.status {
        303 => Answer::of(server.http.get(server.endpoint(answer.header("location")))).await,
        _ => answer,
    }
}

/// A page that says what is wrong, and nothing that leads anywhere.
fn assert_page(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {answer:?}");
    assert!(answer.headers.get("location").is_none(), "{what}");
    assert!(answer.header("content-type").starts_with("text/html"), "{what}");
    assert!(answer.text.contains("<h1>") && !answer.text.contains("<form"), "{what}: {}", answer.text);
    assert!(answer.text.contains(answer.header("x-request-id")), "{what}: whoever helps needs the request's id");
}

/// An error that went back to the client.
fn assert_error(server: &TestServer, answer: &Answer, error: &str, state: Option<&str>, what: &str) {
    assert_eq!(answer.status, 303, "{what}: {answer:?}");
    assert!(answer.header("location").starts_with("https://app.example/cb?"), "{what}: {answer:?}");
    let sent = parameters(answer.header("location"));
    assert_eq!(sent["error"], error, "{what}: {sent:?}");
    assert_eq!(sent.get("state").map(String::as_str), state, "{what}");
    assert_eq!(sent["iss"], server.url, "{what}");
    assert!(!sent["error_description"].is_empty() && !sent.contains_key("code"), "{what}");
    assert!(answer.headers.get("set-cookie").is_none(), "{what}");
}

fn is_login(answer: &Answer) -> bool {
    answer.status == 200 && answer.text.contains("name=\"password\"")
}

fn is_consent(answer: &Answer) -> bool {
    answer.status == 200 && answer.text.contains("name=\"decision\"")
}

fn error_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    parameters(answer.header("location")).remove("error").unwrap_or_else(|| panic!("no error: {answer:?}"))
}

fn has_code(answer: &Answer) -> bool {
    answer.status == 303 && parameters(answer.header("location")).contains_key("code")
}

fn third_party(id: &'static str) -> ClientSpec {
    ClientSpec::web(id).with(|client| client.first_party = false)
}

#[tokio::test(flavor = "multi_thread")]
async fn until_client_and_redirect_are_proven_there_is_only_a_page() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    server
        .add_client(ClientSpec::web("several").with(|client| client.redirect_uris.push("https://app.example/2".into())))
        .await;
    let good = good();
    assert!(is_login(&ask(&server, &good).await), "the request itself is right");
    let cases = [
        ("no parameter", String::new()),
        ("no client_id", good.replace("client_id=shop&", "")),
        ("an empty client_id", good.replace("client_id=shop", "client_id=")),
        ("an unknown client_id", good.replace("client_id=shop", "client_id=nobody")),
        ("a client_id of another case", good.replace("client_id=shop", "client_id=Shop")),
        ("a client_id that is too long", good.replace("client_id=shop", &format!("client_id={}", "x".repeat(300)))),
        ("client_id twice", format!("{good}&client_id=shop")),
        ("client_id twice, once empty", format!("{good}&client_id=")),
        ("redirect_uri twice", format!("{good}&redirect_uri=https%3A%2F%2Fapp.example%2Fcb")),
        ("another redirect_uri beside", format!("{good}&redirect_uri=https%3A%2F%2Fevil.example")),
        ("a foreign redirect_uri", good.replace("app.example", "evil.example")),
        ("request twice", format!("{good}&request=a&request=b")),
        ("request_uri twice", format!("{good}&request_uri=a&request_uri=b")),
        ("no redirect_uri in an OpenID request", good.replace("&redirect_uri=https%3A%2F%2Fapp.example%2Fcb", "")),
        (
            "no redirect_uri of several",
            good.replace("&redirect_uri=https%3A%2F%2Fapp.example%2Fcb", "")
                .replace("client_id=shop", "client_id=several")
                .replace("scope=openid", "scope=api"),
        ),
        ("a broken escape", format!("{good}&nonce=%zz")),
        ("half an escape", format!("{good}&nonce=%4")),
        ("no UTF-8", format!("{good}&nonce=%ff%fe")),
        ("a NUL", format!("{good}&nonce=%00")),
        ("too many parameters", format!("{good}{}", "&a=".repeat(200))),
        ("more than 8 KiB", format!("{good}&nonce={}", "n".repeat(8192))),
        ("a resume that isn't ours", "resume=AAAA".to_owned()),
    ];
    for (what, query) in &cases {
        // Silence asked for or not, and in whatever mode: nothing goes to an address that isn't proven.
        for extra in ["", "&prompt=none", "&response_mode=form_post"] {
            if query.is_empty() && !extra.is_empty() {
                continue;
            }
            assert_page(&ask(&server, &format!("{query}{extra}")).await, what);
        }
        if !query.starts_with("resume") {
            assert_page(&post(&server, query.clone()).await, &format!("{what}, by POST"));
        }
    }
    let json = server.http.post(server.endpoint("/authorize")).header("content-type", "application/json").body("{}");
    assert_page(&Answer::of(json).await, "JSON");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_after_that_goes_back_to_the_client() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let long = "x".repeat(1025);
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("response_type", "")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "id_token")], "unsupported_response_type"),
        (&[("response_type", "code id_token")], "unsupported_response_type"),
        (&[("response_type", "CODE")], "unsupported_response_type"),
        (&[("response_mode", "web_message")], "invalid_request"),
        (&[("response_mode", "jwt")], "invalid_request"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "consent none")], "invalid_request"),
        (&[("prompt", "create")], "invalid_request"),
        (&[("prompt", "Login")], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("max_age", "1.5")], "invalid_request"),
        (&[("max_age", "soon")], "invalid_request"),
        (&[("max_age", "9999999999999999999")], "invalid_request"),
        (&[("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge_method", "s256")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=")], "invalid_request"),
        (&[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM")], "invalid_request"),
        (&[("scope", "openid \"x\"")], "invalid_scope"),
        (&[("scope", "öffnen")], "invalid_scope"),
        (&[("scope", "unknown")], "invalid_scope"),
        (&[("scope", "phone")], "invalid_scope"),
        (&[("request", "eyJhbGciOiJub25lIn0.e30.")], "request_not_supported"),
        (&[("request_uri", "https://app.example/request")], "request_uri_not_supported"),
        (&[("request_uri", "urn:ietf:params:oauth:request_uri:x")], "request_uri_not_supported"),
        (&[("registration", "{}")], "registration_not_supported"),
        (&[("resource", "https://api.example")], "invalid_target"),
        (&[("resource", "not a URI")], "invalid_target"),
        (&[("nonce", &long)], "invalid_request"),
        (&[("login_hint", &long)], "invalid_request"),
        (&[("id_token_hint", "garbage")], "invalid_request"),
    ];
    for (extra, error) in cases {
        let address = server.authorize_url("shop", extra);
        let answer = Answer::of(server.http.get(&address)).await;
        assert_error(&server, &answer, error, Some("st-1"), &format!("{extra:?}"));
        let posted = post(&server, address.split_once('?').unwrap().1.to_owned()).await;
        assert_error(&server, &posted, error, Some("st-1"), &format!("{extra:?}, by POST"));
    }
    let pkce = Answer::of(server.http.get(server.authorize_url("shop", cases[15].0))).await;
    assert!(parameters(pkce.header("location"))["error_description"].contains("PKCE"), "{pkce:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_parameters_go_back_and_a_doubled_state_is_not_echoed() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let good = good();
    for state in ["&state=st-1", "&state=st-2", "&state="] {
        let answer = ask(&server, &format!("{good}{state}")).await;
        assert_error(&server, &answer, "invalid_request", None, state);
    }
    for doubled in [
        "scope=openid",
        "nonce=a&nonce=a",
        "response_type=code",
        "code_challenge=x",
        "unknown=1&unknown=2",
        "prompt=&prompt=",
    ] {
        let answer = ask(&server, &format!("{good}&{doubled}")).await;
        assert_error(&server, &answer, "invalid_request", Some("st-1"), doubled);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_travel_in_the_mode_that_was_asked_for() {
    let server = TestServer::sqlite().await;
    server
        .add_client(
            ClientSpec::web("shop").with(|client| client.redirect_uris.push("https://app.example/cb?tenant=1".into())),
        )
        .await;
    let browser = Browser::new(&server);
    let address = |mode| server.authorize_url("shop", &[("response_mode", mode), ("prompt", "none")]);
    let answer = browser.get(&address("fragment")).await;
    assert!(answer.header("location").starts_with("https://app.example/cb#error=login_required"), "{answer:?}");
    let answer = browser.get(&address("form_post")).await;
    let (action, fields) = form(&answer.text);
    assert_eq!((answer.status, action.as_str()), (200, "https://app.example/cb"));
    assert!(
        fields.contains(&("error".into(), "login_required".into()))
            && fields.contains(&("state".into(), "st-1".into()))
    );
    // A redirect URI with a query of its own keeps it.
    let extra = [("redirect_uri", "https://app.example/cb?tenant=1"), ("prompt", "none")];
    let answer = browser.get(&server.authorize_url("shop", &extra)).await;
    assert!(
        answer.header("location").starts_with("https://app.example/cb?tenant=1&error=login_required"),
        "{answer:?}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_code_grant_is_told_so() {
    let server = TestServer::sqlite().await;
    let spec = ClientSpec::machine("batch").with(|client| client.redirect_uris = vec!["https://app.example/cb".into()]);
    server.add_client(spec).await;
    let answer = Answer::of(server.http.get(server.authorize_url("batch", &[]))).await;
    assert_error(&server, &answer, "unauthorized_client", Some("st-1"), "client credentials only");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_and_languages_reach_the_login_page() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let open = async |extra: &[(&str, &str)], language: &str| {
        let request = server.http.get(server.authorize_url("shop", extra)).header("accept-language", language);
        Answer::of(request).await
    };
    let page = open(&[("login_hint", "ada@example.org")], "en").await;
    assert!(page.text.contains("name=\"username\" type=\"text\" value=\"ada@example.org\""), "{}", page.text);
    assert!(open(&[], "en").await.text.contains("name=\"username\" type=\"text\" value=\"\""));
    for (ui_locales, header, language, title) in [
        ("", "en", "en", "Sign in"),
        ("", "de-AT,de;q=0.9", "de", "Anmelden"),
        ("de", "en", "de", "Anmelden"),
        ("de-CH fr", "en", "de", "Anmelden"),
        ("fr de", "en", "de", "Anmelden"),
        ("fr", "de", "de", "Anmelden"),
        ("tlh", "tlh", "en", "Sign in"),
        ("en", "de", "en", "Sign in"),
    ] {
        let page = open(&[("ui_locales", ui_locales)], header).await;
        assert!(page.text.contains(&format!("<html lang=\"{language}\"")), "{ui_locales} {header}: {}", page.text);
        assert!(page.text.contains(&format!("<h1>{title}</h1>")), "{ui_locales} {header}: {}", page.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_request_comes_through_and_one_byte_more_does_not() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let base = good().replace("state=st-1", "state=");
    for (length, fits) in [(8192, true), (8193, false)] {
        let state = "s".repeat(length - base.len());
        let query = base.replace("state=", &format!("state={state}"));
        assert_eq!(query.len(), length);
        let browser = Browser::new(&server);
        for posted in [false, true] {
            let answer = if posted {
                let request = browser
                    .request(reqwest::Method::POST, "/authorize")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(query.clone());
                let answer = Answer::of(request).await;
                browser.follow(answer).await
            } else {
                browser.open(&format!("/authorize?{query}")).await
            };
            if !fits {
                assert_page(&answer, "one byte too many");
                continue;
            }
            let answer = if is_login(&answer) { browser.sign_in(&answer, "ada").await } else { answer };
            assert!(has_code(&answer), "posted: {posted} {answer:?}");
            assert_eq!(parameters(answer.header("location"))["state"], state);
        }
    }
    server.stop().await;
}

on_each_database! {
    async fn a_silent_request_shows_nothing(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(third_party("shop")).await;
        server.add_client(ClientSpec::web("own")).await;
        let silent = |client, extra: &[(&'static str, &'static str)]| {
            let mut all = vec![("prompt", "none")];
            all.extend(extra);
            server.authorize_url(client, &all)
        };
        let browser = Browser::new(server);
        assert_eq!(error_of(&browser.get(&silent("shop", &[])).await), "login_required");
        // A first-party client needs nobody's consent.
        browser.code(&server.authorize_url("own", &[]), "ada").await;
        assert!(has_code(&browser.get(&silent("own", &[])).await));
        assert_eq!(error_of(&browser.get(&silent("shop", &[])).await), "consent_required");
        browser.code(&server.authorize_url("shop", &[]), "ada").await;
        assert!(has_code(&browser.get(&silent("shop", &[])).await));
        // More than was granted needs consent again.
        assert_eq!(error_of(&browser.get(&silent("shop", &[("scope", "openid email")])).await), "consent_required");
        server.advance(100);
        assert!(has_code(&browser.get(&silent("shop", &[("max_age", "101")])).await));
        assert_eq!(error_of(&browser.get(&silent("shop", &[("max_age", "100")])).await), "login_required");
        assert_eq!(error_of(&browser.get(&silent("shop", &[("max_age", "0")])).await), "login_required");
        let of_bob = server.tokens("own", "bob").await["id_token"].as_str().unwrap().to_owned();
        let hinted = server.authorize_url("shop", &[("prompt", "none"), ("id_token_hint", &of_bob)]);
        assert_eq!(error_of(&browser.get(&hinted).await), "login_required");
    }

    async fn a_hint_says_who_is_expected(server) {
        let bob = server.add_user("bob").await;
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let of_bob = server.tokens("shop", "bob").await;
        let hint = of_bob["id_token"].as_str().unwrap();
        let browser = Browser::new(server);
        browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let address = server.authorize_url("shop", &[("id_token_hint", hint)]);
        // An expired hint is still a hint (OpenID Connect Core §3.1.2.1).
        server.advance(7200);
        let page = browser.open(&address).await;
        assert!(is_login(&page), "ada is signed in, and bob is expected: {page:?}");
        assert_eq!(error_of(&browser.sign_in(&page, "ada").await), "login_required");
        let page = browser.open(&address).await;
        let answer = browser.sign_in(&page, "bob").await;
        let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        assert_eq!(claims(tokens["id_token"].as_str().unwrap())["sub"], bob.subject.as_str());
        assert!(has_code(&browser.get(&address).await), "bob is there now");
        let access = of_bob["access_token"].as_str().unwrap();
        for bad in [access, &changed(hint, hint.len() - 1), "garbage", "a.b.c"] {
            let answer = browser.get(&server.authorize_url("shop", &[("id_token_hint", bad)])).await;
            assert_error(server, &answer, "invalid_request", Some("st-1"), bad);
        }
    }

    async fn an_account_can_be_chosen(server) {
        let ada = server.add_user("ada").await;
        let bob = server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let address = server.authorize_url("shop", &[("prompt", "select_account")]);
        // Nobody is signed in: the login is the choice.
        let page = browser.open(&address).await;
        assert!(is_login(&page));
        assert!(has_code(&browser.sign_in(&page, "ada").await));
        let subject = async |answer: &Answer| {
            let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
            claims(tokens["id_token"].as_str().unwrap())["sub"].as_str().unwrap().to_owned()
        };
        let page = browser.open(&address).await;
        assert!(page.text.contains("name=\"choice\"") && page.text.contains("Name of ada"), "{}", page.text);
        let answer = browser.submit(&page, &[("choice", "current")]).await;
        assert_eq!(subject(&answer).await, ada.subject);
        let page = browser.open(&address).await;
        let login = browser.submit(&page, &[("choice", "other")]).await;
        assert!(is_login(&login), "{login:?}");
        let answer = browser.sign_in(&login, "bob").await;
        assert_eq!(subject(&answer).await, bob.subject);
        // No choice is no answer.
        let page = browser.open(&address).await;
        let again = browser.submit(&page, &[]).await;
        assert!(again.text.contains("name=\"choice\""), "{again:?}");
    }

    async fn consent_is_remembered_for_its_client_and_scope(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(third_party("shop")).await;
        server.add_client(third_party("bank")).await;
        let browser = Browser::new(server);
        let narrow = [("scope", "openid profile")];
        let page = browser.open(&server.authorize_url("shop", &narrow)).await;
        let consent = browser.sign_in(&page, "ada").await;
        assert!(is_consent(&consent));
        for scope in ["openid", "profile"] {
            assert!(consent.text.contains(&format!("data-scope=\"{scope}\"")), "{}", consent.text);
        }
        assert!(
            !consent.text.contains("data-scope=\"email\"") && consent.text.contains("app.example"),
            "{}",
            consent.text
        );
        assert!(has_code(&browser.submit(&consent, &[("decision", "allow")]).await));

        assert!(has_code(&browser.open(&server.authorize_url("shop", &narrow)).await), "remembered");
        assert!(
            has_code(&browser.open(&server.authorize_url("shop", &[("scope", "openid")])).await),
            "less is covered"
        );
        let wider = server.authorize_url("shop", &[("scope", "openid email")]);
        let consent = browser.open(&wider).await;
        assert!(is_consent(&consent), "more is not");
        assert_eq!(error_of(&browser.submit(&consent, &[("decision", "deny")]).await), "access_denied");
        assert!(is_consent(&browser.open(&wider).await), "a refusal isn't remembered as a consent");
        assert!(is_consent(
            &browser.open(&server.authorize_url("shop", &[("scope", "openid"), ("prompt", "consent")])).await
        ));
        assert!(is_consent(&browser.open(&server.authorize_url("bank", &narrow)).await), "nor is it another client's");
        let other = Browser::new(server);
        let page = other.open(&server.authorize_url("shop", &narrow)).await;
        assert!(is_consent(&other.sign_in(&page, "bob").await), "nor another person's");
    }

    async fn a_first_party_client_asks_for_consent_only_by_prompt(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let page = browser.open(&server.authorize_url("shop", &[])).await;
        assert!(has_code(&browser.sign_in(&page, "ada").await));
        let consent = browser.open(&server.authorize_url("shop", &[("prompt", "consent")])).await;
        assert!(is_consent(&consent));
        assert!(has_code(&browser.submit(&consent, &[("decision", "allow")]).await));
    }

    async fn offline_access_needs_the_grant_and_a_consent_that_names_it(server) {
        server.add_user("ada").await;
        server.add_client(third_party("shop")).await;
        server
            .add_client(third_party("plain").with(|client| client.grant_types = vec![GrantType::AuthorizationCode]))
            .await;
        let browser = Browser::new(server);
        let scope = |scope| [("scope", scope)];
        let redeem = async |client: &str, answer: &Answer| {
            let answer = server.redeem(client, &parameters(answer.header("location"))["code"]).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()
        };
        // A client without the grant can't have it, and the consent page doesn't speak of it.
        let page = browser.open(&server.authorize_url("plain", &scope("openid offline_access"))).await;
        let consent = browser.sign_in(&page, "ada").await;
        assert!(!consent.text.contains("data-scope=\"offline_access\""), "{}", consent.text);
        let tokens = redeem("plain", &browser.submit(&consent, &[("decision", "allow")]).await).await;
        assert_eq!(tokens["scope"], "openid");
        assert!(tokens.get("refresh_token").is_none());

        browser.code(&server.authorize_url("shop", &scope("openid")), "ada").await;
        // Only a silent request loses the scope; any other asks.
        let silent = [("scope", "openid offline_access"), ("prompt", "none")];
        let tokens = redeem("shop", &browser.get(&server.authorize_url("shop", &silent)).await).await;
        assert_eq!(tokens["scope"], "openid");
        let consent = browser.open(&server.authorize_url("shop", &scope("openid offline_access"))).await;
        assert!(is_consent(&consent) && consent.text.contains("data-scope=\"offline_access\""), "{}", consent.text);
        let tokens = redeem("shop", &browser.submit(&consent, &[("decision", "allow")]).await).await;
        assert_eq!(tokens["scope"], "openid offline_access");
        let tokens = redeem("shop", &browser.get(&server.authorize_url("shop", &silent)).await).await;
        assert_eq!(tokens["scope"], "openid offline_access", "now it is on record");
    }

    async fn a_native_app_is_asked_about_each_time(server) {
        server.add_user("ada").await;
        for (id, trusted) in [("native", false), ("trusted", true)] {
            server
                .add_client(ClientSpec::spa(id).with(|client| {
                    client.first_party = false;
                    client.trusted_native = trusted;
                    client.redirect_uris = vec![
                        "http://127.0.0.1/cb".into(),
                        "com.example.app:/cb".into(),
                        "https://app.example/cb".into(),
                    ];
                }))
                .await;
        }
        let browser = Browser::new(server);
        for redirect in ["http://127.0.0.1:51004/cb", "com.example.app:/cb"] {
            let at = |client, prompt| server.authorize_url(client, &[("redirect_uri", redirect), ("prompt", prompt)]);
            let answer = browser.arrive(&at("native", ""), "ada").await;
            assert!(answer.header("location").starts_with(&format!("{redirect}?code=")), "{answer:?}");
            let page = browser.open(&at("native", "")).await;
            assert!(is_consent(&page), "{redirect}: anybody could be behind it");
            assert!(page.text.contains("notice-caution"), "and the page says so");
            let policy = page.header("content-security-policy");
            let target = if redirect.starts_with("http") { "http://127.0.0.1:51004" } else { "com.example.app:" };
            assert!(policy.contains(&format!("form-action 'self' {target};")), "{policy}");
            assert_eq!(error_of(&browser.get(&at("native", "none")).await), "consent_required");
            browser.arrive(&at("trusted", ""), "ada").await;
            assert!(has_code(&browser.get(&at("trusted", "none")).await), "{redirect}: the operator vouches");
        }
        // The same client behind an https redirect is who it says.
        browser.arrive(&server.authorize_url("native", &[]), "ada").await;
        assert!(has_code(&browser.get(&server.authorize_url("native", &[("prompt", "none")])).await));
    }

    async fn a_disabled_client_is_unknown(server) {
        let app = &server.app;
        let now = app.clock.now();
        let row = client::Model {
            id: app.random.uuid_v7(now).unwrap(),
            organization_id: keyward::store::DEFAULT_ORGANIZATION,
            client_id: "shop".into(),
            metadata: ClientSpec::spa("shop").metadata.to_stored().unwrap(),
            disabled_at: Some(now.micros()),
            created_at: now.micros(),
            updated_at: now.micros(),
            longest_token_life: None,
        };
        let event =
            app.audit_record(keyward::audit::AuditEvent::by_cli(keyward::audit::AuditKind::ClientAdded)).unwrap();
        app.store.add_client(row, None, Vec::new(), event).await.unwrap().unwrap();
        app.reload().await.unwrap();
        assert_page(&ask(server, &good()).await, "a disabled client");
        let form = [("client_id", "shop"), ("grant_type", "refresh_token"), ("refresh_token", "x")];
        let request = server.http.post(server.endpoint("/token")).form(&form);
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    }
}
