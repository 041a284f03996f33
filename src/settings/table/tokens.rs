//! `[tokens]`: lifetimes and algorithms of what is issued.

use crate::settings::Seconds;
use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};

use super::{DAY, HOUR, MINUTE, SECOND, SIGNING_ALGORITHMS, YEAR, duration};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "tokens.access_token_lifetime",
        r#""30m""#,
        duration(Seconds(30), DAY, |s, v| s.tokens.access_token_lifetime = v),
        "Life of an access token. Resource servers that check it by its signature accept it until then, whatever happens.",
    )
    .weak(|s| s.tokens.access_token_lifetime > HOUR, "a stolen access token stays good for more than an hour"),
    Setting::new(
        "tokens.refresh_token_idle_lifetime",
        r#""7d""#,
        duration(MINUTE, YEAR, |s, v| s.tokens.refresh_token_idle_lifetime = v),
        "How long a refresh token may lie unused before it ends.",
    ),
    Setting::new(
        "tokens.refresh_token_absolute_lifetime",
        r#""90d""#,
        duration(MINUTE, Seconds::days(3650), |s, v| s.tokens.refresh_token_absolute_lifetime = v),
        "How long an authorization can be refreshed in all, however often it is used. Then the user signs in again.",
    ),
    Setting::new(
        "tokens.authorization_code_lifetime",
        r#""60s""#,
        duration(SECOND, Seconds(600), |s, v| s.tokens.authorization_code_lifetime = v),
        "Life of an authorization code. RFC 6749 §4.1.2 allows ten minutes at most; a client needs seconds.",
    )
    .weak(|s| s.tokens.authorization_code_lifetime > MINUTE, "a code that leaks stays good for more than a minute"),
    Setting::new(
        "tokens.id_token_lifetime",
        r#""30m""#,
        duration(Seconds(30), DAY, |s, v| s.tokens.id_token_lifetime = v),
        "Life of an ID token.",
    ),
    Setting::new(
        "tokens.refresh_grace",
        r#""30s""#,
        duration(Seconds(0), Seconds::minutes(5), |s, v| s.tokens.refresh_grace = v),
        "How long a spent refresh token still answers with the same successor, for a client that lost the answer or \
         refreshes in two tabs. 0 means that the first reuse ends the family.",
    )
    .weak(|s| s.tokens.refresh_grace > MINUTE, "the reuse of a stolen refresh token goes unnoticed for longer"),
    Setting::new(
        "tokens.access_token_algorithm",
        r#""ES256""#,
        Kind::Choice { among: SIGNING_ALGORITHMS, put: |s, v| s.tokens.access_token_algorithm = v.to_owned() },
        "Algorithm of access tokens, unless their resource says otherwise. One of keys.algorithms.",
    )
    .fixed(|fresh, running| keep(&mut fresh.tokens.access_token_algorithm, &running.tokens.access_token_algorithm)),
    Setting::new(
        "tokens.clock_leeway",
        r#""60s""#,
        duration(Seconds(0), Seconds::minutes(5), |s, v| s.tokens.clock_leeway = v),
        "How far the clocks of clients may differ when their signed assertions and requests are checked. Our own codes \
         and tokens get no leeway.",
    )
    .weak(|s| s.tokens.clock_leeway > MINUTE, "assertions of clients are accepted long after they have expired"),
];
