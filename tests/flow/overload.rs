//! More load than the database can serve: those who are let in keep their pace, the others hear 503 at once, and nobody
//! loses anything (requirement RL-3).

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use crate::support::{ClientSpec, TestDatabase, TestServer};

const CHAINS: usize = 24;

async fn refused_requests_lose_nothing(database: TestDatabase) {
    let server = TestServer::with(database, |settings| settings.database.max_waiting = 2).await;
    server.add_user("ada").await;
    server.add_client(ClientSpec::web("shop")).await;
    server.add_client(ClientSpec::machine("batch")).await;
    let mut tokens = Vec::new();
    for _ in 0..CHAINS {
        tokens.push(server.tokens("shop", "ada").await["refresh_token"].as_str().unwrap().to_owned());
    }
    let (refused, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let chains = tokens.into_iter().map(|mut token| {
        let (server, refused, served) = (&server, &refused, &served);
        async move {
            // Until the gate has closed and a good many were refused.
            while refused.load(Ordering::Relaxed) < 200 {
                assert!(served.load(Ordering::Relaxed) < 20_000, "nobody was ever refused");
                let answer = server.refresh("shop", &token).await;
                if answer.status == 503 {
                    assert_eq!(answer.error(), "temporarily_unavailable");
                    assert_eq!(answer.header("retry-after"), "2");
                    assert_eq!(answer.header("content-type"), "application/json");
                    assert_eq!(answer.header("cache-control"), "no-store");
                    assert_eq!(answer.header("x-content-type-options"), "nosniff");
                    assert!(!answer.header("x-request-id").is_empty());
                    refused.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            }
            token
        }
    });
    // A client's own token needs no act, and nobody who asks for one is sent away.
    let beside = async {
        let mut served = 0;
        while refused.load(Ordering::Relaxed) < 200 {
            let answer = server.token("batch", &[("grant_type", "client_credentials")]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            served += 1;
        }
        served
    };
    let (tokens, beside) = tokio::join!(join_all(chains), beside);
    assert!(beside > 0);
    for token in tokens {
        assert_eq!(server.refresh("shop", &token).await.status, 200, "each family goes on");
    }
    let counted = server.app.metrics.text();
    let shed = counted.lines().find_map(|line| line.strip_prefix("keyward_shed_requests_total ")).unwrap();
    assert_eq!(shed.parse::<usize>().unwrap(), refused.into_inner());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    refused_requests_lose_nothing(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres() {
    refused_requests_lose_nothing(TestDatabase::postgres().await).await;
}
