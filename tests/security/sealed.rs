//! The request that waits behind a page travels sealed: nobody changes it, or uses it where it doesn't belong.

use keyward_protocol::scope::ScopeSet;

use crate::support::browser::{form, parameters};
use crate::support::server::PASSWORD;
use crate::support::{ClientSpec, changed};

use super::visitor::Visitor;

/// The sealed request in a page's form.
fn sealed(html: &str) -> String {
    form(html).1.into_iter().find(|(name, _)| name == "request").expect("a sealed request").1
}

on_each_database! {
    async fn a_changed_request_is_refused_everywhere(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let mut visitor = Visitor::new(server);
        let login = visitor.open(&server.authorize_url("shop", &[])).await;
        let good = sealed(&login.text);
        let mut bad: Vec<String> = [0, 10, good.len() / 2, good.len() - 2].map(|at| changed(&good, at)).to_vec();
        bad.extend([
            good[..good.len() - 4].to_owned(),
            "A".repeat(200),
            "%".into(),
            format!("{good}AAAA"),
            "A".repeat(20_000),
        ]);
        for bad in &bad {
            let answer = visitor.submit(&login, &[("request", bad), ("username", "ada"), ("password", PASSWORD)]).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(visitor.session().is_none() && answer.headers.get("location").is_none());
            let answer = visitor.get(&format!("/authorize?{}", query("resume", bad))).await;
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        visitor.sign_in("ada").await;
        for path in ["/consent", "/select"] {
            for bad in &bad {
                let fields = [("request", bad.as_str()), ("decision", "allow"), ("choice", "current")];
                let answer = visitor.post(path, &fields, &[("origin", &server.url)]).await;
                assert_eq!(answer.status, 400, "{path} {answer:?}");
                assert!(answer.headers.get("location").is_none());
            }
        }
    }

    async fn a_request_of_one_kind_is_none_of_the_other(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        let login = visitor.open(&server.authorize_url("shop", &[])).await;
        visitor.sign_in("ada").await;
        let logout = visitor.get("/end_session").await;
        let answer = visitor.get(&format!("/authorize?{}", query("resume", &sealed(&logout.text)))).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let answer = visitor.get(&format!("/end_session?{}", query("resume", &sealed(&login.text)))).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let answer = visitor.submit(&logout, &[("request", &sealed(&login.text)), ("decision", "sign_out")]).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(visitor.is_signed_in().await);
    }

    async fn consent_without_its_page_is_no_consent(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let mut visitor = Visitor::new(server);
        let login = visitor.open(&server.authorize_url("shop", &[])).await;
        let answer = visitor.submit(&login, &[("username", "ada"), ("password", PASSWORD)]).await;
        let resumed = answer.header("location").to_owned();
        // A program in the middle skips the page: it has a sealed request, but none that says that the page was shown.
        let token = visitor.get("/csrf-token").await.json()["csrf_token"].as_str().unwrap().to_owned();
        let resume = resumed.split_once("resume=").unwrap().1;
        for request in [sealed(&login.text).as_str(), resume] {
            let fields = [("request", request), ("csrf", &token), ("decision", "allow")];
            let answer = visitor.post("/consent", &fields, &[("origin", &server.url)]).await;
            let answer = visitor.follow(answer).await;
            assert!(answer.text.contains("name=\"decision\""), "the page comes first: {answer:?}");
        }
        assert_eq!(server.app.store.audit_events("consent_given", 10).await.unwrap().len(), 0);
    }

    async fn what_was_done_counts_in_the_browser_where_it_was_done(server) {
        server.add_user("ada").await;
        server.add_user("mallory").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut attacker = Visitor::new(server);
        attacker.sign_in("mallory").await;
        // Addresses with progress in them, made by somebody who has seen the pages.
        let login = attacker.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        let shown = format!("/authorize?{}", query("resume", &sealed(&login.text)));
        let wrong = attacker.submit(&login, &[("username", "mallory"), ("password", "wrong")]).await;
        let noticed = wrong.header("location").to_owned();
        let select = attacker.open(&server.authorize_url("shop", &[("prompt", "select_account")])).await;
        let other = attacker.submit(&select, &[("choice", "other")]).await.header("location").to_owned();
        let chosen = attacker.submit(&select, &[("choice", "current")]).await.header("location").to_owned();

        // The victim signs in after that, which would satisfy them.
        server.advance(10);
        let mut victim = Visitor::new(server);
        victim.sign_in("ada").await;
        for address in [&shown, &noticed] {
            let answer = victim.open(address).await;
            assert!(answer.text.contains("name=\"password\""), "prompt=login asks: {answer:?}");
            assert!(!answer.text.contains("mallory") && !answer.text.contains("isn’t right"), "{}", answer.text);
        }
        for address in [&other, &chosen] {
            let answer = victim.open(address).await;
            assert!(answer.text.contains("name=\"choice\""), "the account is to be confirmed: {answer:?}");
        }
        // Where it was done it counts, and the request itself goes on in any browser.
        let answer = attacker.open(&chosen).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
        let answer = attacker.open(&other).await;
        assert!(answer.text.contains("name=\"password\""), "{answer:?}");
        let page = victim.open(&shown).await;
        let answer = victim.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        let answer = victim.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
        // A browser that has no cookie yet is bound by the first page that it gets.
        let mut fresh = Visitor::new(server);
        let page = fresh.open(&shown).await;
        let answer = fresh.submit(&page, &[("username", "ada"), ("password", "wrong")]).await;
        let page = fresh.follow(answer).await;
        assert!(page.text.contains("isn’t right") && page.text.contains("value=\"ada\""), "{}", page.text);
        let answer = fresh.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        let answer = fresh.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn consent_counts_for_the_scope_that_the_page_named(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let address = server.authorize_url("shop", &[("scope", "openid profile email")]);
        let page = visitor.open(&address).await;
        assert!(page.text.contains("data-scope=\"email\""), "{}", page.text);
        let narrowed = ScopeSet::parse("openid profile").unwrap();
        keyward::account::client::edit(&server.app, "shop", |client| client.scope = narrowed).await.unwrap();
        server.app.reload().await.unwrap();
        let answer = visitor.submit(&page, &[("decision", "allow")]).await;
        let page = visitor.follow(answer).await;
        assert!(page.text.contains("name=\"decision\"") && !page.text.contains("data-scope=\"email\""), "{page:?}");
        assert_eq!(server.app.store.audit_events("consent_given", 10).await.unwrap().len(), 0);
        let answer = visitor.submit(&page, &[("decision", "allow")]).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn resume_beside_others_is_a_parameter_of_the_client(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        for value in ["1", "AAAA"] {
            let answer = visitor.open(&server.authorize_url("shop", &[("resume", value)])).await;
            assert!(answer.text.contains("name=\"password\""), "{answer:?}");
            let answer = visitor.get(&format!("/end_session?client_id=shop&{}", query("resume", value))).await;
            assert!(answer.status == 200 && answer.text.contains("sign-in-again"), "{answer:?}");
        }
    }

    async fn a_login_asked_for_is_not_skipped_by_an_old_form(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        server.advance(10);
        // The login page for prompt=login is shown, and its sealed request is opened again without a login.
        let login = visitor.open(&server.authorize_url("shop", &[("prompt", "login")])).await;
        let answer = visitor.get(&format!("/authorize?{}", query("resume", &sealed(&login.text)))).await;
        assert!(answer.text.contains("name=\"password\""), "{answer:?}");
        let answer = visitor.submit(&login, &[("username", "ada"), ("password", PASSWORD)]).await;
        let answer = visitor.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }
}

fn query(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}
