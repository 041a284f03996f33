//! Foreign client libraries against a running server over https: login, refresh, userinfo, introspection, revocation
//! and logout. `docs/interop.md` lists them with their versions. The clock is the real one, for theirs is.

mod apache;
mod authlib;
mod conversation;
mod django;
mod go_oidc;
mod mcp;
mod oidc_client_ts;
mod openid_client;
mod openidconnect_crate;
mod page;
mod react_oidc_context;
mod relying_party;
mod requests_oauthlib;
mod spring;

use std::path::PathBuf;
use std::process::Command;

use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata};

use serde_json::{Value, json};

use crate::support::server::SECRET;
use crate::support::service::installed;
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

/// How a foreign client is registered: by which name, how it authenticates, which ID tokens it gets.
#[derive(Clone, Copy)]
struct Registered {
    id: &'static str,
    method: AuthMethod,
    algorithm: Algorithm,
}

impl Registered {
    const BASIC_RS256: Self = Self::new("basic-rs256", AuthMethod::ClientSecretBasic, Algorithm::Rs256);
    const BASIC_EDDSA: Self = Self::new("basic-eddsa", AuthMethod::ClientSecretBasic, Algorithm::EdDsa);
    const BASIC_ES256: Self = Self::new("basic-es256", AuthMethod::ClientSecretBasic, Algorithm::Es256);
    const POST_ES256: Self = Self::new("post-es256", AuthMethod::ClientSecretPost, Algorithm::Es256);
    const PUBLIC_ES256: Self = Self::new("public-es256", AuthMethod::None, Algorithm::Es256);

    const fn new(id: &'static str, method: AuthMethod, algorithm: Algorithm) -> Self {
        Self { id, method, algorithm }
    }

    /// What the server is told.
    fn spec(self) -> ClientSpec {
        let spec = if self.method == AuthMethod::None { ClientSpec::spa(self.id) } else { ClientSpec::web(self.id) };
        foreign(spec, self.method, self.algorithm)
    }
}

/// Registers it as it is.
async fn registered(server: &TestServer, client: Registered) -> Registered {
    server.add_client(client.spec()).await;
    client
}

/// What a foreign program has to know.
fn setup(server: &TestServer, client: Registered) -> Value {
    let Registered { id, method, algorithm } = client;
    let mut entry = json!({ "id": id, "method": method.as_str(), "algorithm": algorithm.as_str() });
    if method != AuthMethod::None {
        entry["secret"] = SECRET.into();
    }
    json!({
        "issuer": server.url,
        "username": USER,
        "audience": AUDIENCE,
        "redirectUri": "https://app.example/cb",
        "postLogoutRedirectUri": "https://app.example/bye",
        "resourceServer": { "id": RESOURCE_SERVER, "secret": SECRET },
        "machine": { "id": MACHINE, "secret": SECRET },
        "client": entry,
    })
}

/// A script, run by the Python that has the libraries.
fn python(script: &str) -> Command {
    let mut command = Command::new(installed("python/bin/python"));
    // Nothing is written beside the sources.
    command.arg("-B").arg(folder().join("python").join(script));
    command
}
