//! The PyPI library `requests-oauthlib`, with ID tokens checked by `PyJWT`. `with_requests_oauthlib.py` has the steps.

use super::{Registered, registered, setup};
use super::{conversation, python, server};
use crate::support::TestDatabase;

const STEPS: [&str; 8] = [
    "discovery",
    "code",
    "id_token",
    "access_token",
    "userinfo",
    "refresh_when_expired",
    "revocation",
    "client_credentials",
];

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn each_client() {
    let server = server(TestDatabase::sqlite()).await;
    for client in [Registered::BASIC_RS256, Registered::PUBLIC_ES256] {
        let client = registered(&server, client).await;
        conversation::hold(&server, python("with_requests_oauthlib.py"), &setup(&server, client), &STEPS).await;
    }
    server.stop().await;
}
