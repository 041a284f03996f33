//! `acr_values`, an essential `acr`, and the client's defaults (OpenID Connect Core §3.1.2.1, §5.5.1.1, Registration §2;
//! protocol decision 9), with a server that knows passwords alone.

use serde_json::{Value, json};

use crate::support::browser::parameters;
use crate::support::server::{Answer, claims};
use crate::support::{Browser, ClientSpec, TestServer};

fn essential(values: &Value) -> String {
    json!({"id_token": {"acr": {"essential": true, "values": values}}}).to_string()
}

fn error(answer: &Answer) -> String {
    parameters(answer.header("location")).remove("error").unwrap_or_default()
}

on_each_database! {
    async fn what_no_login_reaches_is_refused_before_anybody_logs_in(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let (stranger, ada) = (Browser::new(server), Browser::new(server));
        ada.code(&server.authorize_url("shop", &[]), "ada").await;
        for values in [json!(["urn:keyward:acr:2"]), json!(["phr", "phrh"]), json!(["somebody-elses"])] {
            for browser in [&stranger, &ada] {
                for prompt in ["", "none", "login"] {
                    let extra = [("claims", essential(&values)), ("prompt", prompt.to_owned())];
                    let extra: Vec<(&str, &str)> = extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    let answer = browser.open(&server.authorize_url("shop", &extra)).await;
                    assert_eq!(error(&answer), "unmet_authentication_requirements", "{values} {prompt}");
                }
            }
        }
    }

    async fn what_can_be_met_is_met_and_stated(server) {
        server.add_user("ada").await;
        server.add_client(ClientSpec::web("shop")).await;
        let browser = Browser::new(server);
        for extra in [
            ("claims", essential(&json!(["urn:keyward:acr:2", "urn:keyward:acr:1"])).as_str()),
            ("claims", r#"{"id_token":{"acr":{"essential":true}}}"#),
            ("claims", r#"{"id_token":{"acr":{"value":"phr"}}}"#),
            ("acr_values", "urn:keyward:acr:1"),
            ("acr_values", "phr urn:keyward:acr:2"),
            ("acr_values", "somebody-elses"),
        ] {
            let code = browser.code(&server.authorize_url("shop", &[extra]), "ada").await;
            let tokens = server.redeem("shop", &code).await.json();
            assert_eq!(claims(tokens["id_token"].as_str().unwrap())["acr"], "urn:keyward:acr:1", "{extra:?}");
        }
    }

    async fn the_clients_defaults_hold_unless_the_request_says_otherwise(server) {
        server.add_user("ada").await;
        server
            .add_client(ClientSpec::web("shop").with(|client| {
                client.default_max_age = Some(60);
                client.require_auth_time = true;
                client.default_acr_values = vec!["phr".into()];
            }))
            .await;
        let browser = Browser::new(server);
        let code = browser.code(&server.authorize_url("shop", &[]), "ada").await;
        let tokens = server.redeem("shop", &code).await.json();
        assert!(claims(tokens["id_token"].as_str().unwrap())["auth_time"].is_i64());
        let silent = |age: &'static str| server.authorize_url("shop", &[("prompt", "none"), ("max_age", age)]);
        assert_eq!(error(&browser.open(&silent("")).await), "");
        server.advance(61);
        assert_eq!(error(&browser.open(&silent("")).await), "login_required", "the default age is over");
        assert_eq!(error(&browser.open(&silent("3600")).await), "", "the request says otherwise");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_lists_what_can_be_reached() {
    let server = TestServer::sqlite().await;
    let document = Answer::of(server.http.get(server.endpoint("/.well-known/openid-configuration"))).await.json();
    assert_eq!(document["acr_values_supported"], json!(["urn:keyward:acr:1"]));
    assert_eq!(document["claims_parameter_supported"], true);
    assert_eq!(document["display_values_supported"], json!(["page", "popup", "touch"]));
    server.add_client(ClientSpec::web("shop")).await;
    for (display, class) in [
        ("page", "<body>"),
        ("popup", "<body class=\"display-popup\">"),
        ("touch", "<body class=\"display-touch\">"),
        ("wap", "<body>"),
        ("x\"><script>", "<body>"),
    ] {
        let page = Browser::new(&server).open(&server.authorize_url("shop", &[("display", display)])).await;
        assert!(page.text.contains(class) && page.text.contains("name=\"password\""), "{display}");
    }
    server.stop().await;
}
