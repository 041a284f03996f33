//! The npm library `@modelcontextprotocol/sdk` as a client of the MCP example, which Keyward protects. `mcp-client.mjs`
//! has the steps.

use std::process::Command;

use keyward_example_mcp_server::{Config, run};
use keyward_protocol::scope::ScopeSet;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Registered, conversation, folder, server, setup};
use crate::support::{ClientSpec, TestDatabase, TestServer};

const STEPS: [&str; 8] =
    ["authorization_is_demanded", "code", "initialize", "tools", "step_up", "refresh", "login_again", "end"];

/// Starts the example for tokens of this server; gives the address of its endpoint.
async fn example(server: &TestServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let config = Config {
        issuer: server.url.clone(),
        public_url: Some(url.clone()),
        extra_ca: Some(server.authority().unwrap().ca_file()),
    };
    tokio::spawn(run(listener, config));
    format!("{url}/mcp")
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn sdk_client() {
    let server = server(TestDatabase::sqlite()).await;
    server.add_scope("tasks.read").await;
    server.add_scope("tasks.write").await;
    // Each with a list of tasks of its own.
    for (api, client) in [("public-tasks", Registered::PUBLIC_ES256), ("confidential-tasks", Registered::BASIC_RS256)] {
        let endpoint = example(&server).await;
        server.add_client(ClientSpec::api(api, &endpoint)).await;
        let spec = client.spec().with(|metadata| {
            metadata.scope = ScopeSet::parse("tasks.read tasks.write").unwrap();
            metadata.resources = vec![endpoint.clone()];
        });
        server.add_client(spec).await;
        let mut program = Command::new("node");
        program.arg(folder().join("mcp-client.mjs"));
        let mut setup = setup(&server, client);
        setup["server"] = json!(endpoint);
        conversation::hold(&server, program, &setup, &STEPS).await;
    }
    server.stop().await;
}
