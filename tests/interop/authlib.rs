//! The PyPI library `Authlib`: its Flask client, its sessions, and its resource server. `with_authlib.py` has the steps.

use super::{Registered, registered, setup};
use super::{conversation, python, server};
use crate::support::TestDatabase;

const STEPS: [&str; 12] = [
    "discovery",
    "forged_state",
    "code",
    "id_token",
    "userinfo",
    "access_token",
    "introspection",
    "refresh",
    "revocation",
    "silent_login",
    "logout",
    "client_credentials",
];

async fn every_client(database: TestDatabase) {
    let server = server(database).await;
    for client in [Registered::POST_ES256, Registered::BASIC_RS256, Registered::PUBLIC_ES256] {
        let client = registered(&server, client).await;
        conversation::hold(&server, python("with_authlib.py"), &setup(&server, client), &STEPS).await;
    }
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
