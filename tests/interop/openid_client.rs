//! The npm library `openid-client` in Node: `openid-client.mjs` goes through the steps and reports them.

use std::process::{Command, Output};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::AuthMethod;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{AUDIENCE, MACHINE, RESOURCE_SERVER, USER, folder, foreign, server};
use crate::support::server::{PASSWORD, SECRET};
use crate::support::{ClientSpec, TestDatabase, TestServer};

/// Each way to authenticate and each algorithm of ID tokens.
const CLIENTS: [(&str, AuthMethod, Algorithm); 5] = [
    ("basic-rs256", AuthMethod::ClientSecretBasic, Algorithm::Rs256),
    ("post-es256", AuthMethod::ClientSecretPost, Algorithm::Es256),
    ("key-es256", AuthMethod::PrivateKeyJwt, Algorithm::Es256),
    ("key-eddsa", AuthMethod::PrivateKeyJwt, Algorithm::EdDsa),
    ("public-rs256", AuthMethod::None, Algorithm::Rs256),
];

/// The steps that the script must have passed for each of them.
const STEPS: [&str; 14] = [
    "discovery",
    "login",
    "consent",
    "issuer_of_the_answer",
    "token",
    "id_token",
    "userinfo",
    "access_token",
    "introspection",
    "refresh",
    "revocation",
    "login_again",
    "logout",
    "after_logout",
];

/// The steps of the machine client.
const MACHINE_STEPS: [&str; 5] = ["discovery", "client_credentials", "introspection", "revocation", "refusals"];

/// The public key as a JWK Set (RFC 7518 §6.2).
fn jwks(key: &KeyPair, kid: &str) -> Value {
    let point = key.public_key_raw();
    assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point of P-256");
    let encode = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
    json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
        "x": encode(&point[1..33]), "y": encode(&point[33..]),
    }] })
}

/// Registers the clients and gives what the script must know of them.
async fn register(server: &TestServer) -> Vec<Value> {
    let mut known = Vec::new();
    for (id, method, algorithm) in CLIENTS {
        let spec = if method == AuthMethod::None { ClientSpec::spa(id) } else { ClientSpec::web(id) };
        let mut spec = foreign(spec, method, algorithm);
        let mut entry = json!({ "id": id, "method": method.as_str(), "algorithm": algorithm.as_str() });
        match method {
            AuthMethod::PrivateKeyJwt => {
                let key = KeyPair::generate().unwrap();
                let file = server.authority().unwrap().folder().join(format!("{id}.pem"));
                std::fs::write(&file, key.serialize_pem()).unwrap();
                spec.metadata.jwks = Some(jwks(&key, id));
                entry["keyFile"] = file.to_str().unwrap().into();
            }
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => entry["secret"] = SECRET.into(),
            AuthMethod::None => {}
        }
        server.add_client(spec).await;
        known.push(entry);
    }
    known
}

/// Runs the script to its end.
async fn run_script(server: &TestServer, setup: Value) -> Output {
    let mut node = Command::new("node");
    node.arg(folder().join("openid-client.mjs"))
        .env("NODE_EXTRA_CA_CERTS", server.authority().unwrap().ca_file())
        .env("KEYWARD_INTEROP", setup.to_string());
    tokio::task::spawn_blocking(move || node.output()).await.unwrap().expect("node is installed")
}

async fn every_client(database: TestDatabase) {
    let server = server(database).await;
    let clients = register(&server).await;
    let setup = json!({
        "issuer": server.url,
        "username": USER,
        "password": PASSWORD,
        "audience": AUDIENCE,
        "redirectUri": "https://app.example/cb",
        "postLogoutRedirectUri": "https://app.example/bye",
        "resourceServer": { "id": RESOURCE_SERVER, "secret": SECRET },
        "machine": { "id": MACHINE, "secret": SECRET },
        "clients": clients,
    });
    let output = run_script(&server, setup).await;
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: Vec<Value> = serde_json::from_str(&report).unwrap();
    let mut expected: Vec<Value> =
        CLIENTS.iter().map(|(id, ..)| json!({ "client": id, "steps": STEPS, "failure": null })).collect();
    expected.push(json!({ "client": MACHINE, "steps": MACHINE_STEPS, "failure": null }));
    assert_eq!(report, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn sqlite() {
    every_client(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn postgres() {
    every_client(TestDatabase::postgres().await).await;
}
