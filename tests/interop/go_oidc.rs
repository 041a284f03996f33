//! The Go modules `github.com/coreos/go-oidc` and `golang.org/x/oauth2`. `go/main.go` has the steps.

use std::process::Command;

use super::{Registered, registered, setup};
use super::{conversation, installed, server};
use crate::support::TestDatabase;

const STEPS: [&str; 9] = [
    "discovery",
    "code",
    "id_token",
    "userinfo",
    "access_token",
    "refresh",
    "logout",
    "after_logout",
    "client_credentials",
];

async fn every_client(database: TestDatabase) {
    let server = server(database).await;
    for client in [Registered::BASIC_RS256, Registered::POST_ES256, Registered::BASIC_EDDSA, Registered::PUBLIC_ES256] {
        let client = registered(&server, client).await;
        conversation::hold(&server, Command::new(installed("go-oidc")), &setup(&server, client), &STEPS).await;
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
