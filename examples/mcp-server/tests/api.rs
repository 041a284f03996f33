//! The MCP endpoint over HTTP: what it answers, and whom it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy spares only the test functions themselves, not what they call"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_example_mcp_server::{Config, run};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An MCP server, and the issuer that it trusts.
struct World {
    key: Ed25519KeyPair,
    issuer: String,
    url: String,
    client: Client,
}

#[allow(clippy::disallowed_methods, reason = "the program under test runs on real time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[allow(clippy::disallowed_methods, reason = "a client of the test's own")]
fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

impl World {
    async fn start() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") });
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] });
        let router = Router::new()
            .route("/.well-known/oauth-authorization-server", get(|| async { Json(metadata) }))
            .route("/jwks", get(|| async { Json(keys) }));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(run(listener, Config { issuer: issuer.clone(), ..Config::default() }));
        Self { key, issuer, url, client: client() }
    }

    fn token_for(&self, audience: &str, subject: &str, scope: &str) -> String {
        let claims = json!({
            "iss": self.issuer, "aud": audience, "sub": subject, "client_id": "agent",
            "iat": now(), "exp": now() + 60, "jti": "1", "scope": scope,
        });
        let header = r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k"}"#;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes())))
    }

    fn token(&self, subject: &str, scope: &str) -> String {
        self.token_for(&format!("{}/mcp", self.url), subject, scope)
    }

    /// A request to the endpoint with this body as JSON.
    fn post(&self, token: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}/mcp", self.url)).bearer_auth(token).json(body)
    }

    /// The status and the answer to a JSON-RPC request.
    async fn ask(&self, token: &str, method: &str, params: Value) -> (u16, Value) {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let response = self.post(token, &body).send().await.unwrap();
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        if status == 200 {
            assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
        }
        (status, answer)
    }

    /// What a tool gives back.
    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Value {
        let (status, answer) = self.ask(token, "tools/call", json!({ "name": tool, "arguments": arguments })).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn messages_and_tools() {
    let world = World::start().await;
    let ada = world.token("ada", "tasks.read tasks.write");
    for (wanted, agreed) in [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("2031-01-01", "2025-11-25")] {
        let (_, answer) = world.ask(&ada, "initialize", json!({ "protocolVersion": wanted })).await;
        assert_eq!(answer["result"]["protocolVersion"], json!(agreed));
        assert_eq!(answer["result"]["capabilities"], json!({ "tools": {} }));
    }
    let (_, unversioned) = world.ask(&ada, "initialize", json!({})).await;
    assert_eq!(unversioned["error"]["code"], json!(-32602));
    assert_eq!(world.ask(&ada, "ping", Value::Null).await.1["result"], json!({}));
    assert_eq!(world.ask(&ada, "resources/list", json!({})).await.1["error"]["code"], json!(-32601));
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let told = world.post(&ada, &told).send().await.unwrap();
    assert_eq!((told.status().as_u16(), told.text().await.unwrap().as_str()), (202, ""));

    let (_, list) = world.ask(&ada, "tools/list", json!({})).await;
    let tools = list["result"]["tools"].as_array().unwrap().clone();
    assert_eq!(tools.len(), 3);
    assert!(tools.iter().all(|tool| tool["inputSchema"]["type"] == json!("object")), "{list}");

    let who = world.call(&ada, "whoami", json!({})).await;
    assert_eq!(who["structuredContent"]["sub"], json!("ada"));
    let text = who["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), who["structuredContent"]);
    assert_eq!(
        world.call(&ada, "add_task", json!({ "text": "milk" })).await["structuredContent"],
        json!({ "tasks": 1 })
    );
    let listed = world.call(&ada, "list_tasks", json!({})).await;
    assert_eq!(listed["structuredContent"], json!({ "tasks": ["milk"] }));
    let bob = world.token("bob", "tasks.read");
    let of_bob = world.call(&bob, "list_tasks", json!({})).await;
    assert_eq!(of_bob["structuredContent"], json!({ "tasks": [] }), "tasks are their owner's alone");
    let unfit = world.call(&ada, "add_task", json!({ "text": "x".repeat(501) })).await;
    assert_eq!(unfit["isError"], json!(true));
    for wrong in [
        json!({}),
        json!({ "name": "drop" }),
        json!({ "name": "add_task" }),
        json!({ "name": "add_task", "arguments": { "text": 1 } }),
        json!({ "name": "list_tasks", "arguments": { "text": "x" } }),
        json!({ "name": "list_tasks", "arguments": { "txt": "x" } }),
    ] {
        let (status, answer) = world.ask(&ada, "tools/call", wrong.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32602)), "{wrong}");
    }
}

#[tokio::test]
async fn a_stranger_learns_where_to_go() {
    let world = World::start().await;
    let url = format!("{}/.well-known/oauth-protected-resource/mcp", world.url);
    let refused = world.client.post(format!("{}/mcp", world.url)).body("{}").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 401);
    assert_eq!(header(&refused, "www-authenticate"), Some(format!("Bearer resource_metadata=\"{url}\"").as_str()));
    for path in ["", "/mcp"] {
        let url = format!("{}/.well-known/oauth-protected-resource{path}", world.url);
        let found = world.client.get(url).header("origin", "https://page.example").send().await.unwrap();
        assert_eq!(header(&found, "access-control-allow-origin"), Some("*"));
        let document: Value = found.json().await.unwrap();
        assert_eq!(document["resource"], format!("{}/mcp", world.url));
        assert_eq!(document["authorization_servers"], json!([world.issuer]));
        assert_eq!(document["scopes_supported"], json!(["tasks.read"]));
    }
    let about = world.client.get(&world.url).send().await.unwrap();
    assert!(about.status().is_success() && about.text().await.unwrap().contains("/mcp"));
}

#[tokio::test]
async fn a_token_must_be_for_this_server_and_for_the_call() {
    let world = World::start().await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    // RFC 8707: neither for the host as a whole nor for somebody else.
    for audience in [world.url.clone(), format!("{}/mcp/", world.url), "https://api.example".to_owned()] {
        let refused = world.post(&world.token_for(&audience, "ada", "tasks.read"), &ping).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 401, "{audience}");
        assert!(header(&refused, "www-authenticate").unwrap().contains("error=\"invalid_token\""));
    }
    let unfit = world.post(&world.token("ada", "profile"), &ping).send().await.unwrap();
    assert_eq!(unfit.status().as_u16(), 403);
    assert!(header(&unfit, "www-authenticate").unwrap().contains("scope=\"tasks.read\""));
    let call = json!({ "name": "add_task", "arguments": { "text": "milk" } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call });
    let reader = world.token("ada", "tasks.read");
    let refused = world.post(&reader, &call).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 403);
    let challenge = header(&refused, "www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"tasks.read tasks.write\""), "{challenge}");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    let listed = world.call(&reader, "list_tasks", json!({})).await;
    assert_eq!(listed["structuredContent"], json!({ "tasks": [] }), "what was refused changed nothing");
}

#[tokio::test]
async fn what_the_transport_refuses() {
    let world = World::start().await;
    let ada = world.token("ada", "tasks.read");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for origin in ["https://evil.example", "null", world.url.as_str()] {
        let page = world.post(&ada, &ping).header("origin", origin).send().await.unwrap();
        assert_eq!(page.status().as_u16(), 403, "{origin}");
    }
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let refused = world.client.request(method.clone(), format!("{}/mcp", world.url)).bearer_auth(&ada);
        let refused = refused.send().await.unwrap();
        assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, Some("POST")), "{method}");
    }
    for (revision, status) in [("2025-06-18", 200), ("2024-11-05", 400), ("x", 400)] {
        let answer = world.post(&ada, &ping).header("mcp-protocol-version", revision).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{revision}");
    }
    let text = world.client.post(format!("{}/mcp", world.url)).bearer_auth(&ada).body(ping.to_string());
    assert_eq!(text.header("content-type", "text/plain").send().await.unwrap().status().as_u16(), 415);
    for (body, code) in [("{", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600)] {
        let request = world.client.post(format!("{}/mcp", world.url)).bearer_auth(&ada);
        let refused = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 400, "{body}");
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], json!(code), "{body}");
    }
    let huge = json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(20_000) });
    assert_eq!(world.post(&ada, &huge).send().await.unwrap().status().as_u16(), 413);
}
