//! Leakage: no code, token, secret, password or cookie stands in the database, the audit trail, the log or an error.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::browser::{form, parameters};
use crate::support::server::{Answer, PASSWORD, SECRET, VERIFIER};
use crate::support::{ClientSpec, TestServer};

use super::visitor::Visitor;

/// What our own code writes to the log, at its most talkative, from all tests of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let filter: Targets = "off,keyward=trace,keyward_keys=trace,keyward_guard=trace,tower_http=trace".parse().unwrap();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(layer));
    log
});

/// Everything that the server keeps on disk beside its master key, as text.
fn disk(server: &TestServer) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(server.database().folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().contains("keyward.db") {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_appear_nowhere() {
    let log = LOG.clone();
    let server = TestServer::sqlite().await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop").with(|client| client.first_party = false)).await;
    server.add_client(ClientSpec::machine("batch")).await;
    let opaque = Some(keyward_protocol::client_metadata::AccessTokenFormat::Opaque);
    server.add_client(ClientSpec::web("refs").with(|client| client.access_token_format = opaque)).await;
    let mut canaries: Vec<(&str, String)> = vec![
        ("password", PASSWORD.into()),
        ("client secret", SECRET.into()),
        ("verifier", VERIFIER.into()),
        ("state", "canary-of-state".into()),
        ("wrong password", "canary-of-a-wrong-password".into()),
        ("wrong client secret", "canary-of-a-wrong-secret".into()),
        ("setup password", "canary-of-the-admin".into()),
    ];
    let mut visitor = Visitor::new(&server);

    let link = keyward::account::setup_link::make(&server.app).await.unwrap();
    canaries.push(("setup link", link.split_once("token=").unwrap().1.to_owned()));
    let page = visitor.get(&link).await;
    let admin = [("username", "root"), ("password", "canary-of-the-admin"), ("password_again", "canary-of-the-admin")];
    visitor.submit(&page, &admin).await;

    let page = visitor.open(&server.authorize_url("shop", &[("state", "canary-of-state")])).await;
    let wrong = visitor.submit(&page, &[("username", "ada"), ("password", "canary-of-a-wrong-password")]).await;
    canaries.push(("sealed request", wrong.header("location").split_once("resume=").unwrap().1.to_owned()));
    let wrong = visitor.follow(wrong).await;
    let answer = visitor.submit(&wrong, &[("username", "ada"), ("password", PASSWORD)]).await;
    let consent = visitor.follow(answer).await;
    let (_, hidden) = form(&consent.text);
    for (name, value) in hidden {
        canaries.push((if name == "csrf" { "csrf" } else { "sealed request" }, value));
    }
    for value in visitor.cookies.values() {
        canaries.push(("cookie", value.clone()));
    }
    let answer = visitor.submit(&consent, &[("decision", "allow")]).await;
    let code = parameters(answer.header("location"))["code"].clone();
    canaries.push(("code", code.clone()));

    let tokens = server.redeem("shop", &code).await.json();
    let text = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap().to_owned();
    let (access, first) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let refreshed = server.refresh("shop", &first).await.json();
    let second = text(&refreshed, "refresh_token");
    canaries.extend([
        ("access token", access.clone()),
        ("signature", access.rsplit('.').next().unwrap().to_owned()),
        ("ID token", text(&tokens, "id_token")),
        ("refresh token", first.clone()),
        ("second refresh token", second.clone()),
        ("second access token", text(&refreshed, "access_token")),
    ]);
    let mut answers = vec![server.userinfo(&access).await, server.introspect("shop", &access).await];
    answers.push(server.introspect("shop", &second).await);
    // Each kind of refusal has its own line in log or trail.
    answers.push(server.redeem("shop", &code).await);
    answers.push(server.refresh("shop", &first).await);
    answers.push(server.refresh("shop", &second).await);
    answers.push(server.userinfo(&access).await);
    answers.push(server.revoke("shop", &access).await);
    answers.push(server.revoke("shop", &second).await);
    let wrong = server.http.post(server.endpoint("/token")).basic_auth("shop", Some("canary-of-a-wrong-secret"));
    answers.push(Answer::of(wrong.form(&[("grant_type", "refresh_token"), ("refresh_token", &second)])).await);
    let machine = server.token("batch", &[("grant_type", "client_credentials")]).await.json();
    canaries.push(("machine's token", text(&machine, "access_token")));
    for _ in 0..2 {
        let reference = text(&server.tokens("refs", "ada").await, "access_token");
        answers.push(server.introspect("refs", &reference).await);
        answers.push(server.userinfo(&reference).await);
        answers.push(server.refresh("refs", &reference).await);
        answers.push(server.revoke("refs", &reference).await);
        canaries.push(("opaque token without its prefix", reference["kw_at_".len()..].to_owned()));
        canaries.push(("opaque token", reference));
    }
    let hint = text(&tokens, "id_token");
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("id_token_hint", &hint).finish();
    answers.push(visitor.open(&format!("/end_session?{query}")).await);

    // The writer of the trail has a moment to put down what waits.
    for _ in 0..100 {
        if !server.app.store.audit_events("client_authentication", 1).await.unwrap().is_empty() {
            break;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for kind in ["sign_in", "consent_given", "code_replayed", "client_authentication", "setup_completed"] {
        assert!(
            !server.app.store.audit_events(kind, 10).await.unwrap().is_empty(),
            "there is no event {kind} to look at"
        );
    }
    let disk = disk(&server);
    assert!(holds(&disk, "code_replayed") && holds(&disk, "Name of ada"), "the database was read");
    let written = log.0.lock().unwrap().clone();
    assert!(holds(&written, "an authorization code was used twice"), "the log was read");
    for (what, canary) in &canaries {
        assert!(canary.len() > 10, "{what} is too short to look for");
        assert!(!holds(&disk, canary), "the {what} stands in the database");
        assert!(!holds(&written, canary), "the {what} stands in the log");
        for answer in &answers {
            assert!(!answer.text.contains(canary.as_str()), "the {what} stands in an answer: {}", answer.text);
        }
    }
    server.stop().await;
}
