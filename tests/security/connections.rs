//! Connections that say nothing: their places are given to others, and few may wait.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::binary::pause;
use crate::support::server::Answer;
use crate::support::{TestDatabase, TestServer};

/// A server with few places, where a silent connection gets one second.
async fn small(places: usize) -> TestServer {
    TestServer::with(TestDatabase::sqlite(), move |settings| {
        settings.server.max_connections = places;
        settings.server.request_timeout = keyward::settings::Seconds(3);
    })
    .await
}

async fn connect(server: &TestServer, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.app.settings.server.listen).await.unwrap();
    stream.write_all(said).await.unwrap();
    stream
}

/// Whether the other side closes within this time, without having said anything.
async fn closed(stream: &mut TcpStream, within: Duration) -> bool {
    let read = tokio::time::timeout(within, stream.read(&mut [0; 64])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_give_way() {
    let server = small(2).await;
    // Nothing, and a beginning that leaves open which HTTP it is.
    let mut silent = [connect(&server, b"").await, connect(&server, b"PRI * HT").await];
    pause(Duration::from_millis(200)).await;
    let request = Answer::of(server.http.get(server.endpoint("/health/live")));
    let answer = tokio::time::timeout(Duration::from_secs(3), request).await.expect("it is answered in time");
    assert_eq!(answer.status, 200);
    for stream in &mut silent {
        assert!(closed(stream, Duration::from_secs(2)).await);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_connections_wait_for_a_place() {
    let server = small(1).await;
    // A head that never ends has the time of a request.
    let _holder = connect(&server, b"GET / HTTP/1.1\r\n").await;
    pause(Duration::from_millis(200)).await;
    let mut closed_at_once = 0;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(connect(&server, b"").await);
    }
    for stream in &mut waiting {
        closed_at_once += usize::from(closed(stream, Duration::from_millis(50)).await);
    }
    assert_eq!(closed_at_once, 4, "of twenty sixteen wait");
    // And those don't wait for ever.
    pause(Duration::from_secs(3)).await;
    let mut left = 0;
    for stream in &mut waiting {
        left += usize::from(!closed(stream, Duration::from_millis(10)).await);
    }
    assert!(left <= 1, "{left} are left");
    server.stop().await;
}
