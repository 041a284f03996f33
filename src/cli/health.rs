//! `keyward health`: asks the server of these settings, on this machine, whether it is ready. For containers, whose image
//! has no other program that could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::output::{Failure, Report};
use crate::settings::Settings;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Octets of the answer that are looked at: the status line is at its beginning.
const LOOKED_AT: u64 = 1024;

/// Asks `/health/ready`, and fails where the answer isn't 200.
pub(super) async fn run(settings: &Settings) -> Result<Report, Failure> {
    if settings.serves_tls() {
        return Err(Failure::refused(
            "the server speaks TLS itself; have /health/ready asked by a program that knows its authority",
        ));
    }
    let address = reachable(settings.server.listen);
    let unreached = |error: std::io::Error| Failure::refused(format_args!("{address}: {error}"));
    let asked = tokio::time::timeout(PATIENCE, ask(address, settings.base_path()));
    let answer = asked
        .await
        .map_err(|_| Failure::refused(format_args!("{address}: no answer within {} s", PATIENCE.as_secs())))?
        .map_err(unreached)?;
    match status(&answer) {
        Some(200) => Ok(Report::line(json!({ "status": "ready" }), "ready")),
        Some(status) => Err(Failure::refused(format_args!("not ready: the server answers {status}"))),
        None => Err(Failure::refused(format_args!("{address}: what answers speaks no HTTP"))),
    }
}

/// Where a program on this machine finds a server that listens here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// One request of HTTP/1.1 and the beginning of its answer.
async fn ask(address: SocketAddr, base: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {base}/health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LOOKED_AT).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The code of the status line (RFC 9112 §4).
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_and_nothing_else_taken_for_one() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.1 503 Service Unavailable\r\n"), Some(503));
        for wrong in [&b""[..], b"HTTP/1.1 2", b"SSH-2.0-OpenSSH", b"HTTP/1.1 abc"] {
            assert_eq!(status(wrong), None);
        }
    }

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:4000"), "127.0.0.1:4000");
        assert_eq!(reached("[::]:4000"), "[::1]:4000");
        assert_eq!(reached("10.0.0.7:80"), "10.0.0.7:80");
    }
}
