//! A person logs in through a client by authorization code with PKCE (RFC 6749 §4.1, RFC 7636, OpenID Connect Core §3.1).

use crate::support::browser::parameters;
use crate::support::server::{CHALLENGE, VERIFIER, claims};
use crate::support::{Browser, ClientSpec};

on_each_database! {
    async fn login_consent_tokens_userinfo_logout(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let browser = Browser::new(server);
        let address = server.authorize_url("shop", &[("scope", "openid profile offline_access")]);
        let page = browser.open(&address).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("name=\"password\""), "{}", page.text);

        let wrong = browser.submit(&page, &[("username", "ada"), ("password", "wrong")]).await;
        assert!(wrong.text.contains("role=\"alert\"") && wrong.text.contains("value=\"ada\""), "{}", wrong.text);

        let consent = browser.sign_in(&wrong, "ADA").await;
        assert!(consent.text.contains("name=\"decision\"") && consent.text.contains("Client shop"), "{}", consent.text);
        let answer = browser.submit(&consent, &[("decision", "allow")]).await;
        assert_eq!(answer.status, 303);
        let sent = parameters(answer.header("location"));
        assert!(answer.header("location").starts_with("https://app.example/cb?code="));
        assert_eq!((sent["state"].as_str(), sent["iss"].as_str()), ("st-1", server.url.as_str()));

        let tokens = server.redeem("shop", &sent["code"]).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text);
        assert_eq!(tokens.header("cache-control"), "no-store");
        let tokens = tokens.json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!(tokens["scope"], "openid profile offline_access");
        let id_token = claims(tokens["id_token"].as_str().unwrap());
        assert_eq!((id_token["aud"].as_str(), id_token["nonce"].as_str()), (Some("shop"), Some("n-1")));
        let access = claims(tokens["access_token"].as_str().unwrap());
        assert_eq!(access["client_id"], "shop");
        assert_eq!(access["sub"], id_token["sub"]);

        let userinfo = server.userinfo(tokens["access_token"].as_str().unwrap()).await;
        assert_eq!(userinfo.status, 200, "{}", userinfo.text);
        assert_eq!(userinfo.json()["name"], "Name of ada");
        assert!(userinfo.json().get("email").is_none(), "the scope email was not granted");

        // The consent is remembered, and the session is there: the next code comes without a page.
        let again = browser.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert!(parameters(again.header("location")).contains_key("code"), "{again:?}");

        let hint = tokens["id_token"].as_str().unwrap();
        let query = [
            ("id_token_hint", hint),
            ("post_logout_redirect_uri", "https://app.example/bye"),
            ("state", "out"),
        ];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let bye = browser.open(&server.endpoint(&format!("/end_session?{query}"))).await;
        assert_eq!(bye.header("location"), "https://app.example/bye?state=out");
        let after = browser.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert_eq!(parameters(after.header("location"))["error"], "login_required");
    }

    async fn consent_denied_goes_back_to_the_client(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let browser = Browser::new(server);
        let page = browser.open(&server.authorize_url("shop", &[])).await;
        let consent = browser.sign_in(&page, "ada").await;
        let answer = browser.submit(&consent, &[("decision", "deny")]).await;
        let sent = parameters(answer.header("location"));
        assert_eq!(sent["error"], "access_denied");
        assert_eq!((sent["state"].as_str(), sent["iss"].as_str()), ("st-1", server.url.as_str()));
    }

    async fn response_modes(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let answer = browser.arrive(&server.authorize_url("shop", &[("response_mode", "fragment")]), "ada").await;
        assert!(answer.header("location").starts_with("https://app.example/cb#code="), "{answer:?}");
        let page = browser.open(&server.authorize_url("shop", &[("response_mode", "form_post")])).await;
        assert_eq!(page.status, 200);
        let (action, fields) = crate::support::browser::form(&page.text);
        assert_eq!(action, "https://app.example/cb");
        assert!(fields.iter().any(|(name, _)| name == "code") && fields.iter().any(|(name, _)| name == "iss"));
        let policy = page.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://app.example") && policy.contains("'sha256-"), "{policy}");
    }

    async fn a_code_lives_sixty_seconds_and_for_its_own_client_and_verifier(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("other")).await;
        let browser = Browser::new(server);
        let late = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        server.advance(60);
        assert_eq!(server.redeem("shop", &late).await.error(), "invalid_grant");

        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        assert_eq!(server.redeem("other", &code).await.error(), "invalid_grant");
        let form = |redirect: &'static str, verifier: &'static str| {
            [("grant_type", "authorization_code"), ("redirect_uri", redirect), ("code_verifier", verifier)]
        };
        for (redirect, verifier) in
            [("https://app.example/cb/", VERIFIER), ("https://app.example/cb", CHALLENGE), ("https://app.example/cb", "")]
        {
            let mut form = form(redirect, verifier).to_vec();
            form.push(("code", &code));
            assert_eq!(server.token("shop", &form).await.error(), "invalid_grant", "{redirect} {verifier}");
        }
        // Nothing of that spent it.
        assert_eq!(server.redeem("shop", &code).await.status, 200);
    }

    async fn the_second_use_of_a_code_ends_what_the_first_gave(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
        assert_eq!(server.userinfo(access).await.status, 200);
        server.advance(600);
        assert_eq!(server.redeem("shop", &code).await.error(), "invalid_grant");
        assert_eq!(server.userinfo(access).await.status, 401);
        assert_eq!(server.refresh("shop", refresh).await.error(), "invalid_grant");
        assert_eq!(server.app.store.audit_events("code_replayed", 10).await.unwrap().len(), 1);
    }

    async fn prompt_login_asks_again_and_renews_the_session(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        browser.code(&server.authorize_url("shop", &[]), "ada").await;
        server.advance(100);
        let page = browser.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        assert!(page.text.contains("name=\"password\""), "{}", page.text);
        let answer = browser.sign_in(&page, "ada").await;
        let code = parameters(answer.header("location"))["code"].clone();
        let tokens = server.redeem("shop", &code).await.json();
        let auth_time = claims(tokens["id_token"].as_str().unwrap())["auth_time"].as_i64().unwrap();
        assert_eq!(auth_time, server.app.clock.now().seconds());
        server.advance(50);
        let page = browser.open(&server.authorize_url("shop", &[("max_age", "20")])).await;
        assert!(page.text.contains("name=\"password\""));
        let silent = browser.open(&server.authorize_url("shop", &[("max_age", "20"), ("prompt", "none")])).await;
        assert_eq!(parameters(silent.header("location"))["error"], "login_required");
    }

    async fn a_session_that_is_used_again_gives_tokens_for_their_whole_life(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        // Tied to the session, which is over when it isn't used for twelve hours.
        let address = server.authorize_url("shop", &[("scope", "openid")]);
        let code = browser.code(&address, "ada").await;
        let first = server.redeem("shop", &code).await.json();
        server.advance(43_200 - 60);
        let answer = browser.get(&address).await;
        let second = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        assert!(first["expires_in"].as_u64() > Some(60), "{first}");
        assert_eq!(second["expires_in"], first["expires_in"], "{second}");
    }

    async fn two_tabs_each_come_to_their_own_end(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        server.add_client(ClientSpec::web("bank")).await;
        let browser = Browser::new(server);
        let first = browser.open(&server.authorize_url("shop", &[("state", "tab-1")])).await;
        let second = browser.open(&server.authorize_url("bank", &[("state", "tab-2")])).await;
        let answer = browser.sign_in(&first, "ada").await;
        assert_eq!(parameters(answer.header("location"))["state"], "tab-1");
        let answer = browser.sign_in(&second, "ada").await;
        let sent = parameters(answer.header("location"));
        assert_eq!(sent["state"], "tab-2");
        assert_eq!(server.redeem("bank", &sent["code"]).await.status, 200);
    }

    async fn a_login_page_of_yesterday_still_comes_to_its_client(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        let page = browser.open(&server.authorize_url("shop", &[])).await;
        server.advance(86_400);
        let answer = browser.sign_in(&page, "ada").await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn a_stale_form_shows_itself_again_filled_in(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let page = Browser::new(server).open(&server.authorize_url("shop", &[])).await;
        // Another browser has no cookie that fits the form: the form comes back, and then works.
        let other = Browser::new(server);
        let again = other.sign_in(&page, "ada").await;
        assert!(again.text.contains("name=\"password\"") && again.text.contains("value=\"ada\""), "{}", again.text);
        let answer = other.sign_in(&again, "ada").await;
        assert!(parameters(answer.header("location")).contains_key("code"));
    }

    async fn a_post_to_authorize_goes_on_by_get(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let address = server.authorize_url("shop", &[]);
        let query = address.split_once('?').unwrap().1.to_owned();
        let request = browser
            .request(reqwest::Method::POST, "/authorize")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", "https://app.example")
            .header("sec-fetch-site", "cross-site")
            .body(query);
        let answer = crate::support::server::Answer::of(request).await;
        assert_eq!(answer.status, 303);
        let answer = browser.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }
}
