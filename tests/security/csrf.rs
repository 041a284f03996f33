//! Forged forms: what another site makes a browser send changes nothing, whatever it knows (requirement WB-2).

use crate::support::browser::{form, parameters};
use crate::support::server::{Answer, PASSWORD};
use crate::support::{ClientSpec, TestServer};

use super::visitor::{Visitor, together};

const FOREIGN: &str = "https://evil.example";

/// A form that is ready to be sent, right in every field.
struct Ready {
    action: String,
    fields: Vec<(String, String)>,
}

impl Ready {
    /// The form of this page with these fields beside the hidden ones.
    fn of(page: &Answer, fields: &[(&str, &str)]) -> Self {
        let (action, hidden) = form(&page.text);
        let fields = together(&hidden, fields).iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { action, fields }
    }

    fn with_csrf<'a>(&'a self, token: &'a str) -> Vec<(&'a str, &'a str)> {
        self.fields.iter().map(|(k, v)| (k.as_str(), if k == "csrf" { token } else { v.as_str() })).collect()
    }

    fn without_csrf(&self) -> Vec<(&str, &str)> {
        self.all().into_iter().filter(|(name, _)| *name != "csrf").collect()
    }

    fn all(&self) -> Vec<(&str, &str)> {
        self.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
    }
}

/// Sends the form in every forged way and gives the answers. The first four are right in cookie and token; what gives
/// them away is where they come from.
async fn forgeries(server: &TestServer, visitor: &Visitor, ready: &Ready) -> Vec<(&'static str, Answer)> {
    let own = server.url.as_str();
    let mut answers = Vec::new();
    for (what, headers) in [
        ("cross-site", vec![("sec-fetch-site", "cross-site"), ("origin", FOREIGN)]),
        ("same-site but another origin", vec![("sec-fetch-site", "same-site")]),
        ("cross-site with our Origin", vec![("sec-fetch-site", "cross-site"), ("origin", own)]),
        ("foreign Origin", vec![("origin", FOREIGN)]),
        ("null Origin", vec![("origin", "null")]),
        ("Origin with our name in it", vec![("origin", "http://localhost.evil.example")]),
    ] {
        let answer = visitor.clone().post(&ready.action, &ready.all(), &headers).await;
        assert_eq!(answer.status, 403, "{what} to {}: {answer:?}", ready.action);
        answers.push((what, answer));
    }
    let honest = [("origin", own), ("sec-fetch-site", "same-origin")];
    let mut other = Visitor::new(server);
    let (_, foreign) = form(&other.get("/login").await.text);
    let foreign = foreign.into_iter().find(|(name, _)| name == "csrf").unwrap().1;
    for (what, sender, fields) in [
        ("no cookie", visitor.without_form_cookie(), ready.all()),
        ("no token", visitor.clone(), ready.without_csrf()),
        ("another browser's token", visitor.clone(), ready.with_csrf(&foreign)),
        ("a made-up token", visitor.clone(), ready.with_csrf("AAAA")),
    ] {
        let answer = sender.clone().post(&ready.action, &fields, &honest).await;
        assert!(answer.status < 500, "{what} to {}: {answer:?}", ready.action);
        answers.push((what, answer));
    }
    answers
}

/// That none of these answers gave the browser a session or the client a code.
fn nothing_given(answers: &[(&'static str, Answer)]) {
    for (what, answer) in answers {
        let cookies = format!("{:?}", answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>());
        assert!(!cookies.contains("keyward_session"), "{what}: {answer:?}");
        assert!(!answer.header("location").starts_with("https://app.example"), "{what}: {answer:?}");
    }
}

fn third_party() -> ClientSpec {
    ClientSpec::web("shop").with(|client| client.first_party = false)
}

on_each_database! {
    async fn login(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        let page = visitor.open(&server.authorize_url("shop", &[])).await;
        let ready = Ready::of(&page, &[("username", "ada"), ("password", PASSWORD)]);
        nothing_given(&forgeries(server, &visitor, &ready).await);
        assert_eq!(server.app.store.audit_events("sign_in", 100).await.unwrap().len(), 0, "no password was even tried");
        // The same form, sent by its page, works.
        let answer = visitor.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, 303);
        assert!(visitor.session().is_some());
    }

    async fn consent(server) {
        server.add_user("ada").await;
        server.add_client(third_party()).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.open(&server.authorize_url("shop", &[])).await;
        for decision in ["allow", "deny"] {
            let ready = Ready::of(&page, &[("decision", decision)]);
            nothing_given(&forgeries(server, &visitor, &ready).await);
        }
        let silent = visitor.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert_eq!(parameters(silent.header("location"))["error"], "consent_required");
        assert_eq!(server.app.store.audit_events("consent_given", 10).await.unwrap().len(), 0);
        let answer = visitor.submit(&page, &[("decision", "allow")]).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn select_account(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.open(&server.authorize_url("shop", &[("prompt", "select_account")])).await;
        let answers = forgeries(server, &visitor, &Ready::of(&page, &[("choice", "current")])).await;
        nothing_given(&answers);
        for (what, answer) in answers {
            // A stale form asks again; the choice wasn't taken.
            let shown = visitor.follow(answer).await;
            assert!(!shown.header("location").contains("code="), "{what}");
        }
        let answer = visitor.submit(&page, &[("choice", "current")]).await;
        let answer = visitor.follow(answer).await;
        assert!(parameters(answer.header("location")).contains_key("code"), "{answer:?}");
    }

    async fn sign_out(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.get("/").await;
        let ready = Ready::of(&page, &[]);
        assert_eq!(ready.action, "/logout");
        forgeries(server, &visitor, &ready).await;
        assert!(visitor.is_signed_in().await);
        visitor.submit(&page, &[]).await;
        assert!(!visitor.is_signed_in().await);
    }

    async fn change_password(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.get("/account/password").await;
        let fresh = "quite another sentence";
        let filled = [("current", PASSWORD), ("password", fresh), ("password_again", fresh)];
        forgeries(server, &visitor, &Ready::of(&page, &filled)).await;
        assert_eq!(server.app.store.audit_events("password_set", 10).await.unwrap().len(), 0);
        assert!(visitor.is_signed_in().await);
        assert_eq!(visitor.submit(&page, &filled).await.status, 303);
    }

    async fn disconnect(server) {
        server.add_user("ada").await;
        server.add_client(third_party()).await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.open(&server.authorize_url("shop", &[])).await;
        visitor.submit(&page, &[("decision", "allow")]).await;
        let home = visitor.get("/").await;
        let (_, hidden) = form(&home.text);
        let mut fields = hidden;
        fields.push(("client_id".into(), "shop".into()));
        let ready = Ready { action: "/apps/disconnect".into(), fields };
        forgeries(server, &visitor, &ready).await;
        let silent = visitor.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert!(parameters(silent.header("location")).contains_key("code"), "still connected: {silent:?}");
        let own = server.url.clone();
        let answer = visitor.post(&ready.action, &ready.all(), &[("origin", &own)]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/?done=app-disconnected"));
        let answer = visitor.follow(answer).await;
        assert!(answer.text.contains("no longer has access"), "{}", answer.text);
        let silent = visitor.open(&server.authorize_url("shop", &[("prompt", "none")])).await;
        assert_eq!(parameters(silent.header("location"))["error"], "consent_required");
    }

    async fn set_up(server) {
        let link = keyward::account::setup_link::make(&server.app).await.unwrap();
        let mut visitor = Visitor::new(server);
        let page = visitor.get(&link).await;
        assert_eq!(page.status, 200);
        let filled = [("username", "root"), ("password", PASSWORD), ("password_again", PASSWORD)];
        forgeries(server, &visitor, &Ready::of(&page, &filled)).await;
        assert!(!server.app.store.has_users().await.unwrap());
        // Nobody is told that all is done before it is.
        let early = visitor.get("/setup?done").await;
        assert_eq!(early.status, 410, "{}", early.text);
        let answer = visitor.submit(&page, &filled).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/setup?done"));
        let answer = visitor.follow(answer).await;
        assert!(answer.status == 200 && answer.text.contains("The server is set up"), "{}", answer.text);
        assert!(server.app.store.has_users().await.unwrap());
    }

    async fn confirmation_of_a_logout(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let page = visitor.get("/end_session").await;
        let ready = Ready::of(&page, &[("decision", "sign_out")]);
        assert_eq!(ready.action, "/end_session/confirm");
        forgeries(server, &visitor, &ready).await;
        assert!(visitor.is_signed_in().await);
        visitor.submit(&page, &[("decision", "sign_out")]).await;
        assert!(!visitor.is_signed_in().await);
    }

    async fn the_token_for_scripts_is_bound_to_the_browser(server) {
        server.add_user("ada").await;
        let mut visitor = Visitor::new(server);
        visitor.sign_in("ada").await;
        let answer = visitor.get("/csrf-token").await;
        assert!(answer.headers.get("access-control-allow-origin").is_none());
        let token = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        let own = server.url.clone();
        let mut stranger = visitor.without_form_cookie();
        stranger.get("/login").await;
        stranger.post("/logout", &[("csrf", &token)], &[("origin", &own)]).await;
        assert!(visitor.is_signed_in().await, "the token counted for another cookie");
        visitor.post("/logout", &[("csrf", &token)], &[("origin", &own)]).await;
        assert!(!visitor.is_signed_in().await);
    }
}
