//! `[outbound]`: where the server may be sent, and how long it waits there.

use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};
use crate::settings::value;

use super::{HOUR, MINUTE, OPTIONAL_PATH, SECOND, duration, each, integer, optional, path};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "outbound.allowed_networks",
        "[]",
        Kind::List {
            what: "networks such as 10.0.0.0/8",
            put: |s, v| {
                s.outbound.allowed_networks = each(v, str::parse)?;
                Ok(())
            },
        },
        "Networks that the server may be sent to by what clients register (jwks_uri and the like), beside the internet at \
         large. Without it no private, loopback or link-local address is ever connected to. Example: [\"10.20.0.0/16\"].",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.allowed_networks, &running.outbound.allowed_networks))
    .weak(
        |s| s.outbound.allowed_networks.iter().any(|network| network.prefix_bits() == 0),
        "clients can make the server ask any address, those of its own network and machine included",
    ),
    Setting::new(
        "outbound.allowed_hosts",
        "[]",
        Kind::List {
            what: "hosts such as keys.internal.example",
            put: |s, v| {
                s.outbound.allowed_hosts = each(v, value::host)?;
                Ok(())
            },
        },
        "Hosts that the server may be sent to wherever they are, in private networks too.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.allowed_hosts, &running.outbound.allowed_hosts)),
    Setting::new(
        "outbound.http_hosts",
        "[]",
        Kind::List {
            what: "hosts such as keys.internal.example",
            put: |s, v| {
                s.outbound.http_hosts = each(v, value::host)?;
                Ok(())
            },
        },
        "Hosts that may be asked by plain http; all others only by https.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.http_hosts, &running.outbound.http_hosts))
    .weak(
        |s| s.outbound.http_hosts.iter().any(|host| host != "localhost"),
        "what comes by plain http, keys of clients among it, can be changed by anyone on the network",
    ),
    Setting::new(
        "outbound.ca_file",
        r#""""#,
        Kind::Text {
            what: OPTIONAL_PATH,
            put: |s, v| {
                s.outbound.ca_file = optional(v, path)?;
                Ok(())
            },
        },
        "PEM file with certificate authorities that are trusted beside the system's, for requests that leave the server.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.ca_file, &running.outbound.ca_file)),
    Setting::new(
        "outbound.connect_timeout",
        r#""3s""#,
        duration(SECOND, MINUTE, |s, v| s.outbound.connect_timeout = v),
        "Time for a connection to another host.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.connect_timeout, &running.outbound.connect_timeout)),
    Setting::new(
        "outbound.timeout",
        r#""10s""#,
        duration(SECOND, MINUTE, |s, v| s.outbound.timeout = v),
        "Time for a request to another host and its whole answer.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.timeout, &running.outbound.timeout)),
    Setting::new(
        "outbound.max_response_bytes",
        "1048576",
        integer(1024, 16_777_216, |s, v| s.outbound.max_response_bytes = v as usize),
        "Longest answer of another host, in bytes; for some documents the limit is lower.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.max_response_bytes, &running.outbound.max_response_bytes)),
    Setting::new(
        "outbound.max_concurrent",
        "64",
        integer(1, 10_000, |s, v| s.outbound.max_concurrent = v as usize),
        "Requests to other hosts that may be under way at once; at most 8 of them go to the same host.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.max_concurrent, &running.outbound.max_concurrent)),
    Setting::new(
        "outbound.breaker_failures",
        "5",
        integer(1, 1000, |s, v| s.outbound.breaker_failures = v),
        "Failures in a row after which a host that can't be connected to, or an address that doesn't answer well, is left \
         alone for a while.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.breaker_failures, &running.outbound.breaker_failures)),
    Setting::new(
        "outbound.breaker_pause",
        r#""30s""#,
        duration(SECOND, HOUR, |s, v| s.outbound.breaker_pause = v),
        "How long a host or an address that failed is left alone. Then one request tries.",
    )
    .fixed(|fresh, running| keep(&mut fresh.outbound.breaker_pause, &running.outbound.breaker_pause)),
];
