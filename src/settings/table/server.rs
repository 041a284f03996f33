//! `[server]`: listening, TLS, proxies and hosts, limits of requests, stopping.

use crate::settings::Seconds;
use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};
use crate::settings::value;

use super::{ADDRESS, OPTIONAL_ADDRESS, OPTIONAL_PATH, SECOND, address, duration, each, integer, optional, path};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "server.listen",
        r#""127.0.0.1:4000""#,
        Kind::Text {
            what: ADDRESS,
            put: |s, v| {
                s.server.listen = address(v)?;
                Ok(())
            },
        },
        "Address and port to listen on. \"0.0.0.0:4000\" or \"[::]:4000\" listens on all interfaces.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.listen, &running.server.listen))
    .weak(
        |s| !s.server.listen.ip().is_loopback() && !s.serves_tls() && s.server.trusted_proxies.is_empty(),
        "listens beyond this machine without TLS; set server.tls_certificate_file and server.tls_key_file, or name the \
         proxy that speaks TLS in server.trusted_proxies",
    ),
    Setting::new(
        "server.tls_certificate_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.server.tls_certificate_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with the certificate and its chain. With server.tls_key_file the server speaks TLS itself; without \
         both, a proxy in front of it does. Example: \"/etc/keyward/tls.pem\".",
    )
    // A server that speaks TLS takes another certificate at once; whether it speaks TLS is decided at the start.
    .fixed(|fresh, running| {
        fresh.server.tls_certificate_file.is_some() != running.server.tls_certificate_file.is_some() && keep(&mut fresh.server.tls_certificate_file, &running.server.tls_certificate_file)
    }),
    Setting::new(
        "server.tls_key_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.server.tls_key_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with the private key of the certificate. Example: \"/etc/keyward/tls.key\".",
    )
    // A server that speaks TLS takes another certificate at once; whether it speaks TLS is decided at the start.
    .fixed(|fresh, running| {
        fresh.server.tls_key_file.is_some() != running.server.tls_key_file.is_some() && keep(&mut fresh.server.tls_key_file, &running.server.tls_key_file)
    }),
    Setting::new(
        "server.http_redirect_listen",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_ADDRESS,
            put: |s, v| {
                s.server.http_redirect_listen = optional(v, address)?;
                Ok(())
            },
        },
        "Address and port of a second listener that speaks plain HTTP and only redirects to public_url. Example: \
         \"0.0.0.0:80\".",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.http_redirect_listen, &running.server.http_redirect_listen)),
    Setting::new(
        "server.trusted_proxies",
        "[]",
        Kind::List {
            what: "networks such as 10.0.0.0/8",
            put: |s, v| {
                s.server.trusted_proxies = each(v, str::parse)?;
                Ok(())
            },
        },
        "Proxies whose forwarding headers (Forwarded, X-Forwarded-For, X-Forwarded-Proto) are believed. From all others \
         these headers are ignored. Example: [\"10.0.0.0/8\", \"::1\"].",
    )
    .weak(
        |s| s.server.trusted_proxies.iter().any(|network| network.prefix_bits() == 0),
        "every peer is believed to be a proxy, so anyone can forge the address a request comes from",
    ),
    Setting::new(
        "server.trusted_hosts",
        "[]",
        Kind::List {
            what: "hosts such as login.example.com",
            put: |s, v| {
                s.server.trusted_hosts = each(v, value::authority)?;
                Ok(())
            },
        },
        "Hosts that a request may name; a host without a port stands for all ports. An empty list means the host of \
         public_url. The issuer and all links come from public_url, never from a request.",
    ),
    Setting::new(
        "server.worker_threads",
        "0",
        integer(0, 1024, |s, v| s.server.worker_threads = v as usize),
        "Threads that serve requests; 0 means one for each core.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.worker_threads, &running.server.worker_threads)),
    Setting::new(
        "server.max_body_bytes",
        "65536",
        integer(1024, 16_777_216, |s, v| s.server.max_body_bytes = v as usize),
        "Longest request body, in bytes.",
    ),
    Setting::new(
        "server.max_connections",
        "10000",
        integer(1, 1_000_000, |s, v| s.server.max_connections = v as usize),
        "Connections that may be open at once; a few more wait, the rest are closed.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.max_connections, &running.server.max_connections)),
    Setting::new(
        "server.load_shedding",
        "true",
        Kind::Flag(|s, v| s.server.load_shedding = v),
        "Whether a share of the requests is answered 503 at once while requests have been waiting too long before the \
         server can look at them: a line of more than 128 of them and of 50 ms, for half a second. Sign-ins and \
         refreshes that begin are refused first. Where that shortens no line, all are let in for some minutes.",
    )
    .weak(
        |s| !s.server.load_shedding,
        "under more load than can be served every request waits for all others, and clients give up",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.load_shedding, &running.server.load_shedding)),
    Setting::new(
        "server.request_timeout",
        r#""30s""#,
        duration(SECOND, Seconds::minutes(10), |s, v| s.server.request_timeout = v),
        "Time for a whole request, from its first byte to the answer.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.request_timeout, &running.server.request_timeout)),
    Setting::new(
        "server.shutdown_grace",
        r#""20s""#,
        duration(Seconds(0), Seconds::minutes(10), |s, v| s.server.shutdown_grace = v),
        "Time that running requests get to end when the server stops.",
    )
    .fixed(|fresh, running| keep(&mut fresh.server.shutdown_grace, &running.server.shutdown_grace)),
    Setting::new(
        "server.drain_delay",
        r#""5s""#,
        duration(Seconds(0), Seconds::minutes(10), |s, v| s.server.drain_delay = v),
        "How long the server goes on serving after SIGTERM while /health/ready says that it isn't ready, so that load \
         balancers stop sending before it stops listening: longer than they take to notice. Ctrl-C doesn't wait.",
    ),
];
