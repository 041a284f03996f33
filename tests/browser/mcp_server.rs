//! The demo's MCP server, by a client that was told its address and its own name as the demo prints them, and nothing else.

use serde_json::{Value, json};

use super::demo::Demo;
use crate::support::Browser;
use crate::support::browser::parameters;
use crate::support::server::{Answer, CHALLENGE, VERIFIER, http_client};

const CALLBACK: &str = "http://localhost:9/callback";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_finds_its_way_and_adds_a_task() {
    let demo = Demo::start().await;
    let http = http_client();
    let call = |token: &str, method: &str, params: Value| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request =
            http.post(&demo.mcp_server).header("accept", "application/json, text/event-stream").json(&message);
        if token.is_empty() { request } else { request.bearer_auth(token) }
    };
    let about = Answer::of(http.get(demo.mcp_server.trim_end_matches("mcp"))).await;
    assert!(about.status == 200 && about.text.contains("POST /mcp"), "{about:?}");

    // Who opens the endpoint itself in a browser reads the same.
    let opened = Answer::of(http.get(&demo.mcp_server)).await;
    assert_eq!((opened.status, opened.text), (405, about.text));

    // The challenge names the metadata, and these name Keyward.
    let refused = Answer::of(call("", "ping", json!({}))).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate");
    let metadata = challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let metadata = Answer::of(http.get(metadata)).await.json();
    assert_eq!(metadata["resource"], demo.mcp_server.as_str());
    assert_eq!(metadata["authorization_servers"], json!([demo.issuer]));

    // A person logs in and consents.
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", demo.mcp_client.as_str()),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "tasks.read tasks.write"),
            ("resource", demo.mcp_server.as_str()),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    let browser = Browser::at(&demo.issuer);
    let login = browser.open(&format!("{}/authorize?{query}", demo.issuer)).await;
    let consent = browser.submit(&login, &[("username", &demo.user), ("password", &demo.password)]).await;
    assert!(consent.text.contains("Demo MCP client") && consent.text.contains("Change your tasks"), "{}", consent.text);
    let arrived = browser.submit(&consent, &[("decision", "allow")]).await;
    let code = parameters(arrived.header("location")).remove("code").expect("a code");
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &demo.mcp_client),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let tokens = Answer::of(http.post(format!("{}/token", demo.issuer)).form(&form)).await.json();
    let token = tokens["access_token"].as_str().unwrap_or_else(|| panic!("{tokens}"));

    let task = json!({ "name": "add_task", "arguments": { "text": "Write the note on the engine" } });
    assert_eq!(Answer::of(call(token, "tools/call", task)).await.status, 200);
    let listed = Answer::of(call(token, "tools/call", json!({ "name": "list_tasks", "arguments": {} }))).await;
    assert!(listed.text.contains("Write the note on the engine"), "{listed:?}");
    demo.finish();
}
