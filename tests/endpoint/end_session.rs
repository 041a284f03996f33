//! Logout (OpenID Connect RP-Initiated Logout): whose word ends a session, where the browser goes then, and that no
//! other request does either.

use keyward::settings::Seconds;

use crate::security::forge::{foreign_key, part, server_key, sign, with};
use crate::support::browser::{form, parameters};
use crate::support::server::Answer;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

const BYE: &str = "https://app.example/bye";

fn address(parameters: &[(&str, &str)]) -> String {
    format!("/end_session?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// Signs in at a new browser and gives it with the tokens.
async fn signed_in(server: &TestServer, client: &str, user: &str) -> (Browser, serde_json::Value) {
    let browser = Browser::new(server);
    let code = browser.code(&server.authorize_url(client, &[]), user).await;
    (browser, server.redeem(client, &code).await.json())
}

async fn is_signed_in(server: &TestServer, browser: &Browser) -> bool {
    let answer = browser.get(&server.authorize_url("shop", &[("prompt", "none")])).await;
    parameters(answer.header("location")).contains_key("code")
}

fn asks(answer: &Answer) -> bool {
    answer.status == 200 && answer.text.contains("action=\"/end_session/confirm\"")
}

/// The page that says that nobody is signed in.
fn is_out(answer: &Answer) -> bool {
    answer.status == 200 && answer.text.contains("id=\"sign-in-again\"")
}

fn hint(tokens: &serde_json::Value) -> &str {
    tokens["id_token"].as_str().unwrap()
}

on_each_database! {
    async fn a_hint_of_this_session_ends_it_unasked(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        for (extra, target) in [
            (&[][..], None),
            (&[("post_logout_redirect_uri", BYE)], Some(BYE.to_owned())),
            (&[("post_logout_redirect_uri", BYE), ("state", "a b&c=d")], Some(format!("{BYE}?state=a+b%26c%3Dd"))),
            (&[("post_logout_redirect_uri", BYE), ("client_id", "shop")], Some(BYE.to_owned())),
            // Not registered: the session ends all the same, and the browser goes nowhere.
            (&[("post_logout_redirect_uri", "https://app.example/bye/")], None),
            (&[("post_logout_redirect_uri", "https://evil.example"), ("state", "s")], None),
            (&[("post_logout_redirect_uri", "https://app.example/cb")], None),
        ] {
            let (browser, tokens) = signed_in(server, "shop", "ada").await;
            let mut parameters = vec![("id_token_hint", hint(&tokens))];
            parameters.extend(extra);
            let answer = browser.get(&address(&parameters)).await;
            match &target {
                Some(target) => assert_eq!((answer.status, answer.header("location")), (303, target.as_str())),
                None => assert!(is_out(&answer) && answer.headers.get("location").is_none(), "{extra:?}: {answer:?}"),
            }
            assert!(answer.header("set-cookie").contains("Max-Age=0"), "{answer:?}");
            assert!(!is_signed_in(server, &browser).await, "{extra:?}");
        }
        let events = server.app.store.audit_events("sign_out", 100).await.unwrap();
        assert_eq!(events.len(), 7);
    }

    async fn an_expired_hint_is_a_hint(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let (browser, tokens) = signed_in(server, "shop", "ada").await;
        server.advance(server.app.settings.tokens.id_token_lifetime.as_secs() + 1);
        let answer =
            browser.get(&address(&[("id_token_hint", hint(&tokens)), ("post_logout_redirect_uri", BYE)])).await;
        assert_eq!((answer.status, answer.header("location")), (303, BYE));
        assert!(!is_signed_in(server, &browser).await);
    }

    async fn without_a_good_hint_the_person_is_asked_and_goes_nowhere(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("bank")).await;
        let (browser, tokens) = signed_in(server, "shop", "ada").await;
        let (_, of_bob) = signed_in(server, "shop", "bob").await;
        let (_, elsewhere) = signed_in(server, "shop", "ada").await;
        let good = hint(&tokens);
        let (header, claims) = (part(good, 0), part(good, 1));
        let key = server_key(server);
        assert_eq!(header["alg"], "ES256");
        let own = foreign_key(keyward_keys::Algorithm::Es256);
        let cases = [
            ("no hint", String::new(), "shop"),
            ("no hint and no client", String::new(), ""),
            ("another person's", hint(&of_bob).to_owned(), ""),
            ("the same person's of another browser", hint(&elsewhere).to_owned(), ""),
            ("another client named", good.to_owned(), "bank"),
            ("an unknown client named", good.to_owned(), "nobody"),
            ("cut", good[..good.len() - 3].to_owned(), ""),
            ("signed by another key", sign(&own, &header, &claims), ""),
            ("another type", sign(&key, &with(&header, "typ", "at+jwt".into()), &claims), ""),
            ("unsigned", format!("{}.", good.rsplit_once('.').unwrap().0), ""),
            ("another session's", sign(&key, &header, &with(&claims, "sid", "x".into())), ""),
            ("an access token", tokens["access_token"].as_str().unwrap().to_owned(), ""),
            ("garbage", "garbage".to_owned(), ""),
        ];
        for (what, hint, client) in &cases {
            let mut parameters = vec![("post_logout_redirect_uri", BYE), ("state", "s")];
            if !hint.is_empty() {
                parameters.push(("id_token_hint", hint));
            }
            if !client.is_empty() {
                parameters.push(("client_id", client));
            }
            let question = browser.get(&address(&parameters)).await;
            assert!(asks(&question), "{what}: {question:?}");
            assert!(
                question.headers.get("location").is_none()
                    && question
                        .headers
                        .get("set-cookie")
                        .is_none_or(|cookie| !cookie.to_str().unwrap().contains("session")),
                "{what}"
            );
            assert!(is_signed_in(server, &browser).await, "{what}");
        }
        // The question names the account, and the answer is taken.
        let question = browser.get(&address(&[("client_id", "shop"), ("post_logout_redirect_uri", BYE)])).await;
        assert!(question.text.contains("ada") && question.text.contains("Client shop"), "{}", question.text);
        for decision in [&[("decision", "stay")][..], &[]] {
            let answer = browser.submit(&question, decision).await;
            assert!(answer.status == 200 && answer.text.contains("action=\"/logout\""), "home: {answer:?}");
            assert!(is_signed_in(server, &browser).await);
        }
        // A field that comes twice is refused.
        let (_, hidden) = form(&question.text);
        let mut twice: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        twice.extend([("decision", "stay"), ("decision", "sign_out")]);
        assert_eq!(browser.post("/end_session/confirm", &twice).await.status, 400);
        assert!(is_signed_in(server, &browser).await);
        let answer = browser.submit(&question, &[("decision", "sign_out")]).await;
        assert!(
            is_out(&answer) && answer.headers.get("location").is_none(),
            "protocol decision 29: no redirect: {answer:?}"
        );
        assert!(!is_signed_in(server, &browser).await);
    }

    async fn where_nobody_is_signed_in_nobody_is_asked(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let (_, tokens) = signed_in(server, "shop", "ada").await;
        let stranger = Browser::new(server);
        let answer = stranger
            .get(&address(&[("id_token_hint", hint(&tokens)), ("post_logout_redirect_uri", BYE), ("state", "s")]))
            .await;
        assert_eq!((answer.status, answer.header("location")), (303, format!("{BYE}?state=s").as_str()));
        for parameters in [
            &[][..],
            &[("client_id", "shop"), ("post_logout_redirect_uri", BYE)],
            &[("id_token_hint", "garbage"), ("post_logout_redirect_uri", BYE)],
            &[("post_logout_redirect_uri", BYE), ("state", "s")],
        ] {
            let answer = stranger.get(&address(parameters)).await;
            assert!(is_out(&answer) && answer.headers.get("location").is_none(), "{parameters:?}: {answer:?}");
        }
        // The other browser is as it was: a hint ends only the session of the browser that brings it.
        let (browser, tokens) = signed_in(server, "shop", "ada").await;
        stranger.get(&address(&[("id_token_hint", hint(&tokens))])).await;
        assert!(is_signed_in(server, &browser).await);
    }

    async fn a_post_of_another_site_goes_on_by_get(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let (browser, tokens) = signed_in(server, "shop", "ada").await;
        // Lax cookies don't travel with a cross-site POST: this one comes from a client that has none of the browser's.
        let form = [("id_token_hint", hint(&tokens)), ("post_logout_redirect_uri", BYE), ("state", "s")];
        let request = server
            .http
            .post(server.endpoint("/end_session"))
            .header("origin", "https://app.example")
            .header("sec-fetch-site", "cross-site")
            .form(&form);
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let next = answer.header("location").to_owned();
        assert!(next.starts_with("/end_session?resume=") && !next.contains(hint(&tokens)), "{next}");
        assert!(is_signed_in(server, &browser).await);
        let answer = browser.get(&next).await;
        assert_eq!((answer.status, answer.header("location")), (303, format!("{BYE}?state=s").as_str()));
        assert!(!is_signed_in(server, &browser).await);
    }

    async fn what_hangs_on_the_session_ends_with_it(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("bank")).await;
        let browser = Browser::new(server);
        let tied = server
            .redeem("shop", &browser.code(&server.authorize_url("shop", &[("scope", "openid")]), "ada").await)
            .await
            .json();
        let offline = server.authorize_url("bank", &[("scope", "profile openid offline_access")]);
        let kept = server.redeem("bank", &browser.code(&offline, "ada").await).await.json();
        let (sid, other) = (part(hint(&tied), 1)["sid"].clone(), part(hint(&kept), 1)["sid"].clone());
        assert!(sid.is_string() && sid != other, "protocol decision 29: each client has its own sid");
        let refreshed = server.refresh("bank", kept["refresh_token"].as_str().unwrap()).await.json();
        assert_eq!(part(hint(&refreshed), 1)["sid"], other, "the session stands");
        assert_eq!(browser.get(&address(&[("id_token_hint", hint(&tied))])).await.status, 200);
        assert_eq!(server.refresh("shop", tied["refresh_token"].as_str().unwrap()).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(tied["access_token"].as_str().unwrap()).await.status, 401);
        // offline_access outlives the session (protocol decision 12).
        let refreshed = server.refresh("bank", refreshed["refresh_token"].as_str().unwrap()).await.json();
        assert!(part(hint(&refreshed), 1).get("sid").is_none(), "the session is over");
    }

    async fn a_new_login_keeps_the_sid_and_the_hint(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let (browser, tokens) = signed_in(server, "shop", "ada").await;
        let page = browser.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        let answer = browser.sign_in(&page, "ada").await;
        let later = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        assert_eq!(
            part(hint(&tokens), 1)["sid"],
            part(hint(&later), 1)["sid"],
            "constant through the cookie's rotation"
        );
        let answer =
            browser.get(&address(&[("id_token_hint", hint(&tokens)), ("post_logout_redirect_uri", BYE)])).await;
        assert_eq!(answer.header("location"), BYE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let (browser, tokens) = signed_in(&server, "shop", "ada").await;
    let good = form_urlencoded::Serializer::new(String::new()).append_pair("id_token_hint", hint(&tokens)).finish();
    for query in [
        format!("{good}&state=a&state=b"),
        format!("{good}&{good}"),
        format!(
            "{good}&post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye&post_logout_redirect_uri=https%3A%2F%2Fevil.example"
        ),
        format!("{good}&state=%zz"),
        format!("{good}&state={}", "s".repeat(8192)),
        "resume=AAAA".to_owned(),
    ] {
        let answer = browser.get(&format!("/end_session?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.headers.get("location").is_none());
        assert!(is_signed_in(&server, &browser).await, "{query}");
    }
    let answer = browser.get("/end_session?ui_locales=de").await;
    assert!(answer.text.contains("<html lang=\"de\"") && answer.text.contains("Abmelden?"), "{}", answer.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_farewell_has_an_address_keeps_the_language_and_offers_the_way_back() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    let home = "https://app.example/home";
    server.add_client(ClientSpec::web("shop").with(|client| client.client_uri = Some(home.into()))).await;
    let (browser, _) = signed_in(&server, "shop", "ada").await;
    let question =
        browser.get(&address(&[("client_id", "shop"), ("ui_locales", "xx de"), ("state", "s"), ("other", "o")])).await;
    assert!(asks(&question), "{question:?}");
    let (action, hidden) = form(&question.text);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.push(("decision", "sign_out"));
    let answer = browser.post(&action, &fields).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/end_session?client_id=shop&ui_locales=xx+de"));
    assert!(answer.header("set-cookie").contains("Max-Age=0"), "{answer:?}");
    let farewell = browser.follow(answer).await;
    assert!(is_out(&farewell) && farewell.text.contains("<html lang=\"de\""), "{}", farewell.text);
    assert!(farewell.text.contains(&format!("id=\"return\" href=\"{home}\"")), "{}", farewell.text);
    assert!(farewell.text.contains("Client shop"), "{}", farewell.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_run_out_is_no_session() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.sessions.idle_timeout = Seconds(600);
        settings.sessions.absolute_timeout = Seconds(3600);
    })
    .await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    let (browser, tokens) = signed_in(&server, "shop", "ada").await;
    server.advance(599);
    assert!(is_signed_in(&server, &browser).await);
    // That was a use: the idle time starts again.
    server.advance(599);
    assert!(is_signed_in(&server, &browser).await);
    server.advance(600);
    assert!(!is_signed_in(&server, &browser).await);
    let answer = browser.get(&address(&[("id_token_hint", hint(&tokens)), ("post_logout_redirect_uri", BYE)])).await;
    assert_eq!((answer.status, answer.header("location")), (303, BYE), "nothing to end is no error");
    server.stop().await;
}
