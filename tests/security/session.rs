//! Session fixation, cookies, and browsers that several people share.

use keyward::settings::PublicUrl;

use crate::support::browser::{form, parameters};
use crate::support::server::{Answer, PASSWORD, claims};
use crate::support::{ClientSpec, TestDatabase, TestServer};

use super::visitor::{Visitor, together};

/// Whether this value of the session cookie opens anything.
async fn works(server: &TestServer, (name, value): &(String, String)) -> bool {
    let mut visitor = Visitor::new(server);
    visitor.cookies.insert(name.clone(), value.clone());
    visitor.is_signed_in().await
}

/// The cookies that an answer sets.
fn cookies_of(answer: &Answer) -> Vec<(String, String)> {
    let values = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    values
        .map(|value| value.split(';').next().unwrap().split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

on_each_database! {
    async fn a_cookie_that_was_planted_never_becomes_a_session(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let (name, _) = visitor.session().unwrap();
        let planted = (name.clone(), "A".repeat(43));
        let mut victim = Visitor::new(server);
        victim.cookies.insert(planted.0.clone(), planted.1.clone());
        victim.sign_in("ada").await;
        assert_ne!(victim.session().unwrap().1, planted.1);
        assert!(victim.is_signed_in().await);
        assert!(!works(server, &planted).await);
    }

    async fn each_login_gives_a_new_value_and_ends_the_old(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let first = visitor.session().unwrap();
        assert!(works(server, &first).await);

        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        visitor.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        let second = visitor.session().unwrap();
        assert_ne!(first.1, second.1);
        assert!(works(server, &second).await && !works(server, &first).await);

        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        visitor.submit(&page, &[("username", "bob"), ("password", PASSWORD)]).await;
        let third = visitor.session().unwrap();
        assert!(works(server, &third).await && !works(server, &second).await);

        let home = visitor.get("/").await;
        visitor.submit(&home, &[]).await;
        assert!(visitor.session().is_none(), "the browser's cookie is gone");
        assert!(!works(server, &third).await, "and so is the session");
    }

    async fn a_failed_login_changes_no_session(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let before = visitor.session().unwrap();
        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        visitor.submit(&page, &[("username", "bob"), ("password", "wrong")]).await;
        assert_eq!(visitor.session().unwrap(), before);
        assert!(works(server, &before).await);
    }

    async fn the_next_person_gets_tokens_of_their_own(server) {
        let ada = server.add_user("ada").await;
        let bob = server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        // A tab of ada's stays open while bob signs in.
        let tab = visitor.open(&server.authorize_url("shop", &[("prompt", "select_account")])).await;
        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        let answer = visitor.submit(&page, &[("username", "bob"), ("password", PASSWORD)]).await;
        let answer = visitor.follow(answer).await;
        let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        let id_token = claims(tokens["id_token"].as_str().unwrap());
        assert_eq!(id_token["sub"], bob.subject.as_str());
        let home = visitor.get("/").await;
        assert!(home.text.contains("Name of bob") && !home.text.contains("Name of ada"), "{}", home.text);
        // Whatever ada's tab leads to now, it isn't a code for ada.
        let answer = visitor.submit(&tab, &[("choice", "current")]).await;
        let answer = visitor.follow(answer).await;
        let tokens = server.redeem("shop", &parameters(answer.header("location"))["code"]).await.json();
        assert_ne!(claims(tokens["id_token"].as_str().unwrap())["sub"], ada.subject.as_str());
    }

    async fn a_consent_form_counts_for_the_person_who_saw_it(server) {
        server.add_user("ada").await;
        server.add_user("bob").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let form_of_ada = visitor.open(&server.authorize_url("shop", &[])).await;
        assert!(form_of_ada.text.contains("name=\"decision\""));
        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        visitor.submit(&page, &[("username", "bob"), ("password", PASSWORD)]).await;
        let answer = visitor.submit(&form_of_ada, &[("decision", "allow")]).await;
        let answer = visitor.follow(answer).await;
        assert!(answer.text.contains("name=\"decision\"") && answer.text.contains("bob"), "bob is asked: {answer:?}");
        assert_eq!(server.app.store.audit_events("consent_given", 10).await.unwrap().len(), 0);
        // The form that bob saw counts for bob.
        let answer = visitor.submit(&answer, &[("decision", "allow")]).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn a_login_form_of_another_browser_signs_nobody_in(server) {
        server.add_user("mallory").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut attacker = Visitor::new(server);
        let page = attacker.open(&server.authorize_url("shop", &[])).await;
        let (action, hidden) = form(&page.text);
        let fields = together(&hidden, &[("username", "mallory"), ("password", PASSWORD)]);
        // The victim's browser has a cookie of its own, and sends the attacker's form by itself.
        let mut victim = Visitor::new(server);
        victim.get("/login").await;
        let answer = victim.post(&action, &fields, &[]).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let answer = victim.follow(answer).await;
        assert_eq!(answer.status, 200, "the form is shown again: {answer:?}");
        assert!(answer.text.contains("This page was open for too long"), "{}", answer.text);
        assert!(victim.session().is_none());
        // The form that this browser now got works in it.
        let answer = victim.submit(&answer, &[("username", "mallory"), ("password", PASSWORD)]).await;
        let answer = victim.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn a_browser_that_keeps_no_cookies_is_told_so(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        for address in [server.authorize_url("shop", &[]), server.endpoint("/login")] {
            let typed = [("username", "ada"), ("password", PASSWORD)];
            let page = Visitor::new(server).get(&address).await;
            let answer = Visitor::new(server).submit(&page, &typed).await;
            assert_eq!(answer.status, 303, "{answer:?}");
            // It may be that the cookie just went: the first time the form is only shown again.
            let page = Visitor::new(server).get(answer.header("location")).await;
            assert!(page.status == 200 && page.text.contains("This page was open for too long"), "{page:?}");
            let answer = Visitor::new(server).submit(&page, &typed).await;
            assert!(answer.status == 400 && answer.text.contains("keeps no cookies"), "{answer:?}");
            // A browser that does keep them comes through after the same notice.
            let mut kept = Visitor::new(server);
            kept.cookies.extend(cookies_of(&page));
            let answer = kept.submit(&page, &typed).await;
            let answer = kept.follow(answer).await;
            assert!(answer.header("location").contains("code=") || answer.text.contains("Name of ada"), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_over_http_are_for_this_host_and_no_script() {
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    let mut visitor = Visitor::new(&server);
    let page = visitor.get("/login").await;
    let signed_in = visitor.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    for (answer, purpose) in [(&page, "keyward_form_"), (&signed_in, "keyward_session_")] {
        let line = answer.header("set-cookie");
        assert!(line.starts_with(purpose), "{line}");
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax"] {
            assert!(line.contains(attribute), "{line}");
        }
        assert!(!line.contains("Domain") && !line.contains("Secure"), "{line}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // At least 128 bits that nobody can guess: 256, in base64url.
    assert_eq!(visitor.session().unwrap().1.len(), 43);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_an_https_server_are_secure_and_named_so() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.public_url = "https://id.example".parse::<PublicUrl>().unwrap();
    })
    .await;
    server.add_user("ada").await;
    // As a proxy that ends TLS passes it on.
    let mut visitor = Visitor::new(&server);
    visitor.host = Some("id.example");
    let page = visitor.get("/login").await;
    let (action, hidden) = form(&page.text);
    let fields = together(&hidden, &[("username", "ada"), ("password", PASSWORD)]);
    let signed_in = visitor.post(&action, &fields, &[("origin", "https://id.example")]).await;
    for (answer, purpose) in [(&page, "__Host-keyward_form_"), (&signed_in, "__Host-keyward_session_")] {
        let line = answer.header("set-cookie");
        assert!(line.starts_with(purpose), "{line}");
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(line.contains(attribute), "{line}");
        }
        assert!(!line.contains("Domain"), "{line}");
        assert!(answer.header("strict-transport-security").contains("max-age="));
    }
    server.stop().await;
}
