//! `[authorization]`: begun logins.

use crate::settings::setting::Setting;

use super::{DAY, MINUTE, duration};

pub(super) const SETTINGS: &[Setting] = &[Setting::new(
    "authorization.pending_lifetime",
    r#""1h""#,
    duration(MINUTE, DAY, |s, v| s.authorization.pending_lifetime = v),
    "How long a begun login can still be finished; after that it starts again and still returns to its client.",
)];
