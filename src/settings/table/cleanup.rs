//! `[cleanup]`: removing what has expired.

use crate::settings::setting::Setting;

use super::{DAY, SECOND, duration, integer};

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "cleanup.interval",
        r#""60s""#,
        duration(SECOND, DAY, |s, v| s.cleanup.interval = v),
        "Pause between two rounds that remove what has expired.",
    ),
    Setting::new(
        "cleanup.batch",
        "500",
        integer(1, 100_000, |s, v| s.cleanup.batch = v),
        "Most rows that one transaction of a round removes.",
    ),
];
