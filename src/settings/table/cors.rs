//! `[cors]`: whose scripts may call the server.

use crate::settings::setting::{Kind, Setting};
use crate::settings::value;
use crate::settings::{PublicUrl, Seconds};

use super::{DAY, duration, each};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "cors.allowed_origins",
        "[]",
        Kind::List {
            what: "origins such as https://app.example.com",
            put: |s, v| {
                s.cors.allowed_origins = each(v, value::origin)?;
                Ok(())
            },
        },
        "Origins whose scripts may call the server, beside those of the registered clients.",
    )
    .weak(
        |s| {
            let loopback = |origin: &String| origin.parse::<PublicUrl>().is_ok_and(|url| url.is_loopback());
            s.cors.allowed_origins.iter().any(|origin| origin.starts_with("http:") && !loopback(origin))
        },
        "an origin without https can be impersonated by anyone on the network",
    ),
    Setting::new(
        "cors.development_origins",
        "[]",
        Kind::List {
            what: "origins such as http://localhost:5173",
            put: |s, v| {
                s.cors.development_origins = each(v, value::origin)?;
                Ok(())
            },
        },
        "Origins that are added to cors.allowed_origins while environment is \"development\", and mean nothing in \
         production: for the server of a single-page app on a developer's machine.",
    ),
    Setting::new(
        "cors.max_age",
        r#""24h""#,
        duration(Seconds(0), DAY, |s, v| s.cors.max_age = v),
        "How long a browser may keep the answer to a preflight request.",
    ),
];
