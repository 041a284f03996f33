//! `[log]`: shape and level of the log.

use crate::settings::LogFormat;
use crate::settings::live::keep;
use crate::settings::setting::{Kind, Setting};
use crate::settings::value;

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "log.format",
        r#""auto""#,
        Kind::Choice {
            among: &["auto", "text", "json"],
            put: |s, v| {
                s.log.format = match v {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => LogFormat::Auto,
                };
            },
        },
        "Shape of a line of the log. \"auto\" is text on a terminal and JSON elsewhere.",
    )
    .fixed(|fresh, running| keep(&mut fresh.log.format, &running.log.format)),
    Setting::new(
        "log.level",
        r#""info""#,
        Kind::Text {
            what: "a level, or levels by part of the program",
            put: |s, v| {
                value::log_level(v)?;
                s.log.level = v.to_owned();
                Ok(())
            },
        },
        "off, error, warn, info, debug or trace; or levels by part of the program, such as \"info,keyward=debug\".",
    ),
];
