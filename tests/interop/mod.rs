//! Foreign client libraries against a running server over https: login, refresh, userinfo, introspection, revocation
//! and logout. `docs/interop.md` lists them with their versions. The clock is the real one, for theirs is.

mod oidc_client_ts;
mod openid_client;
mod openidconnect_crate;

use std::path::PathBuf;

use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata};

use crate::support::{ClientSpec, TestDatabase, TestServer};

/// What the tokens are for.
const AUDIENCE: &str = "https://api.example";
/// The person who signs in.
const USER: &str = "ada";
/// The resource server that introspects.
const RESOURCE_SERVER: &str = "orders";
/// The client of the client_credentials grant.
const MACHINE: &str = "machine";

/// A server with a person, a resource server and a machine client.
async fn server(database: TestDatabase) -> TestServer {
    let server = TestServer::https(database, |_| {}).await;
    server.add_user(USER).await;
    server.add_client(ClientSpec::api(RESOURCE_SERVER, AUDIENCE)).await;
    server.add_client(ClientSpec::machine(MACHINE).with(for_api)).await;
    server
}

/// Lets the client ask for tokens for the resource server.
fn for_api(metadata: &mut ClientMetadata) {
    metadata.resources = vec![AUDIENCE.to_owned()];
}

/// A client as foreign libraries meet it: not the operator's own, one way to authenticate, one algorithm.
fn foreign(spec: ClientSpec, method: AuthMethod, algorithm: Algorithm) -> ClientSpec {
    spec.with(for_api).with(|metadata| {
        metadata.first_party = false;
        metadata.token_endpoint_auth_method = Some(method);
        metadata.id_token_signed_response_alg = algorithm;
    })
}

/// The folder with the scripts and with what npm installed.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(folder.join("node_modules").is_dir(), "npm ci --prefix tests/interop comes first: run ./test");
    folder
}
