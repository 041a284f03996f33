//! Mix-up: every answer of the authorization endpoint names its issuer, errors too (RFC 9207 §2).

use keyward::settings::PublicUrl;

use crate::support::browser::{form, parameters};
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// What an answer in any response mode says.
fn said(answer: &crate::support::server::Answer) -> std::collections::BTreeMap<String, String> {
    if answer.status == 200 {
        let (action, fields) = form(&answer.text);
        assert_eq!(action, "https://app.example/cb");
        return fields.into_iter().collect();
    }
    assert!(answer.header("location").starts_with("https://app.example/cb"), "{answer:?}");
    parameters(answer.header("location"))
}

on_each_database! {
    async fn every_answer_in_every_mode_has_iss(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
        for mode in ["query", "fragment", "form_post"] {
            let at = |extra: &[(&'static str, &'static str)]| {
                let mut all = vec![("response_mode", mode)];
                all.extend(extra);
                server.authorize_url("shop", &all)
            };
            let check = |what: &str, answer: &crate::support::server::Answer, error: Option<&str>| {
                let said = said(answer);
                assert_eq!(said.get("iss"), Some(&server.url), "{mode} {what}");
                assert_eq!(said.get("state").map(String::as_str), Some("st-1"), "{mode} {what}");
                assert_eq!(said.get("error").map(String::as_str), error, "{mode} {what}");
                assert_eq!(said.contains_key("code"), error.is_none(), "{mode} {what}");
            };
            let browser = Browser::new(server);
            check("malformed", &browser.open(&at(&[("prompt", "maybe")])).await, Some("invalid_request"));
            check("silent", &browser.open(&at(&[("prompt", "none")])).await, Some("login_required"));
            let login = browser.open(&at(&[])).await;
            check("cancelled", &browser.submit(&login, &[("action", "cancel")]).await, Some("access_denied"));
            let consent = browser.sign_in(&browser.open(&at(&[("prompt", "consent")])).await, "ada").await;
            check("denied", &browser.submit(&consent, &[("decision", "deny")]).await, Some("access_denied"));
            check("allowed", &browser.submit(&consent, &[("decision", "allow")]).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_path_is_named_byte_for_byte() {
    let server = TestServer::with(TestDatabase::sqlite(), |settings| {
        settings.public_url = format!("{}/auth", settings.public_url.as_str()).parse::<PublicUrl>().unwrap();
    })
    .await;
    server.add_client(ClientSpec::web("shop")).await;
    let address = server.authorize_url("shop", &[("prompt", "none")]).replace("/authorize?", "/auth/authorize?");
    let answer = Browser::new(&server).get(&address).await;
    assert_eq!(parameters(answer.header("location"))["iss"], format!("{}/auth", server.url));
    server.stop().await;
}
