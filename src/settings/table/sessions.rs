//! `[sessions]`: how long people stay signed in.

use crate::settings::Seconds;
use crate::settings::setting::Setting;

use super::{HOUR, MINUTE, YEAR, duration, integer};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "sessions.idle_timeout",
        r#""12h""#,
        duration(MINUTE, Seconds::days(90), |s, v| s.sessions.idle_timeout = v),
        "How long a browser may stay away before its user must sign in again.",
    ),
    Setting::new(
        "sessions.absolute_timeout",
        r#""30d""#,
        duration(MINUTE, YEAR, |s, v| s.sessions.absolute_timeout = v),
        "How long a session may last in all, however much it is used.",
    ),
    Setting::new(
        "sessions.touch_interval",
        r#""60s""#,
        duration(Seconds(0), HOUR, |s, v| s.sessions.touch_interval = v),
        "How often at most the last use of a session is written down. Shorter is more exact and writes more.",
    ),
    Setting::new(
        "sessions.max_per_user",
        "100",
        integer(1, 10_000, |s, v| s.sessions.max_per_user = v),
        "Sessions that a person may have at once. A sign-in beyond that ends the one that was used the longest ago.",
    ),
];
