//! The request that waits behind a page travels sealed: nobody changes it, or uses it where it doesn't belong.

use crate::support::ClientSpec;
use crate::support::browser::{form, parameters};
use crate::support::server::PASSWORD;

use super::visitor::Visitor;

/// The sealed request in a page's form.
fn sealed(html: &str) -> String {
    form(html).1.into_iter().find(|(name, _)| name == "request").expect("a sealed request").1
}

/// The text with one character changed.
fn changed(text: &str, at: usize) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    characters[at] = if characters[at] == 'A' { 'B' } else { 'A' };
    characters.into_iter().collect()
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
