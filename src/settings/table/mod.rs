//! THE table of settings, a file a section: name, default, kind, meaning, and when a choice is weak. Whoever adds a
//! setting adds a field to `Settings` and a row to its section's file; its environment variable, its line of the
//! example, its row of the reference page and the suggestions for mistyped names follow from the row.
//!
//! Leaves out: rules between two settings (`load.rs`).

mod audit;
mod authorization;
mod aws;
mod cleanup;
mod cors;
mod database;
mod general;
mod keys;
mod log;
mod metrics;
mod outbound;
mod passwords;
mod redis;
mod server;
mod sessions;
mod tokens;
mod vault;

use std::path::PathBuf;

use secrecy::SecretString;

use super::setting::{ItemProblem, Kind, Setting};
use super::{Seconds, Settings};

/// The signing algorithms this server has, by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1).
pub const SIGNING_ALGORITHMS: &[&str] = &["ES256", "RS256", "EdDSA", "PS256"];

/// The settings of each section, in the order of the example. What stands outside of all sections comes first.
static SECTIONS: &[&[Setting]] = &[
    general::SETTINGS,
    server::SETTINGS,
    database::SETTINGS,
    redis::SETTINGS,
    keys::SETTINGS,
    vault::SETTINGS,
    aws::SETTINGS,
    tokens::SETTINGS,
    sessions::SETTINGS,
    passwords::SETTINGS,
    authorization::SETTINGS,
    cors::SETTINGS,
    outbound::SETTINGS,
    audit::SETTINGS,
    metrics::SETTINGS,
    log::SETTINGS,
    cleanup::SETTINGS,
];

/// Every setting, in the order of the example.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().copied().flatten()
}

/// The setting of this name.
#[must_use]
pub(super) fn find(path: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.path == path)
}

/// Each section by its name, with its settings.
pub(super) fn sections() -> impl Iterator<Item = (&'static str, &'static [Setting])> {
    SECTIONS.iter().filter_map(|settings| settings.first().map(|first| (first.section(), *settings)))
}

/// An empty text unsets an optional setting.
fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// Reads a path; an empty one would name the working folder by accident.
fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("must be the path of a file or folder".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Reads a secret that becomes a line of a request.
fn header_text(text: &str) -> Result<SecretString, String> {
    if text.bytes().any(|octet| !octet.is_ascii_graphic()) {
        return Err("must be one line of visible characters without blanks".to_owned());
    }
    Ok(SecretString::from(text))
}

/// Reads an address with a port.
fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} isn't an address with a port such as 127.0.0.1:4000 or [::]:4000"))
}

/// Reads each item, and names the first that is wrong.
fn each<T>(items: &[&str], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ItemProblem> {
    items.iter().enumerate().map(|(index, item)| read(item).map_err(|message| (index, message))).collect()
}

const fn duration(least: Seconds, most: Seconds, put: fn(&mut Settings, Seconds)) -> Kind {
    Kind::Duration { least, most, put }
}

const fn integer(least: u32, most: u32, put: fn(&mut Settings, u32)) -> Kind {
    Kind::Integer { least, most, put }
}

const ADDRESS: &str = "an address with a port";
const OPTIONAL_ADDRESS: &str = "an address with a port, or \"\" for none";
const OPTIONAL_PATH: &str = "the path of a file, or \"\" for none";
const SECOND: Seconds = Seconds(1);
const MINUTE: Seconds = Seconds::minutes(1);
const HOUR: Seconds = Seconds::hours(1);
const DAY: Seconds = Seconds::days(1);
const YEAR: Seconds = Seconds::days(365);
