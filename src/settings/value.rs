//! Reading one value out of text: durations, hosts, origins, database URLs, log levels, languages.
//! Each reader answers with a sentence that says what is wrong; those for secrets never repeat the value.
//!
//! Leaves out: which setting takes which value (`table/`), and TOML (`load.rs`).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

/// A span of time in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u64);

impl Seconds {
    /// The number of seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The span in microseconds, the unit of stored times. No setting is long enough to reach the bound.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(1_000_000)
    }

    /// The span as the standard library counts it, for timers.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    pub(super) const fn minutes(count: u64) -> Self {
        Self(count * 60)
    }

    pub(super) const fn hours(count: u64) -> Self {
        Self(count * 3600)
    }

    pub(super) const fn days(count: u64) -> Self {
        Self(count * 86_400)
    }
}

impl fmt::Display for Seconds {
    /// Writes the span in the largest unit that divides it: `90s`, `15m`, `12h`, `7d`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60)] {
            if self.0 > 0 && self.0.is_multiple_of(seconds) {
                return write!(out, "{}{unit}", self.0 / seconds);
            }
        }
        write!(out, "{}s", self.0)
    }
}

impl std::str::FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        seconds(text).ok_or("a duration is written such as 30s, 15m, 12h or 7d, or as a number of seconds")
    }
}

/// Reads `30s`, `15m`, `12h`, `7d`, or a bare number of seconds; `None` for anything else.
pub(super) fn seconds(text: &str) -> Option<Seconds> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    // `parse` alone would also take a plus sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit).map(Seconds)
}

/// Reads a whole number; `None` for anything else, a sign included.
pub(super) fn whole_number(text: &str) -> Option<u32> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Reads a host with or without a port, as a `Host` header names it (RFC 9110 §7.2), and answers in lower case.
pub(super) fn authority(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} isn't a host such as login.example.com or login.example.com:8443");
    let (host, port) = split_authority(text);
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err()) {
        return Err(wrong());
    }
    let parsed = Host::parse(host).map_err(|_| wrong())?.to_string();
    // `Host::parse` also decodes; only what stays the same but for its letters' case is a plain name.
    if parsed != host.to_ascii_lowercase() || host.contains('*') {
        return Err(wrong());
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads the name or address of a host, without a port, and answers in lower case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let host = authority(text)?;
    match split_authority(&host) {
        (_, None) => Ok(host),
        (_, Some(_)) => Err(format!("{text:?} has a port; name the host alone")),
    }
}

/// Splits `host:port`; the brackets of an IPv6 address stay with the host.
pub(super) fn split_authority(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Reads an origin exactly as browsers send it (RFC 6454 §6.2).
pub(super) fn origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let Some(url) = url else {
        return Err(format!("{text:?} isn't an origin such as https://app.example.com"));
    };
    let written = url.origin().ascii_serialization();
    if written != text {
        return Err(format!("{text:?} isn't an origin as browsers send it; did you mean {written:?}?"));
    }
    Ok(written)
}

/// Checks `sqlite:PATH` or `postgres://…`. The URL may hold a password, so no answer repeats it.
pub(super) fn database_url(text: &str) -> Result<(), String> {
    if let Some(path) = sqlite_path(text) {
        // The writer and the readers open the database one by one: each would get a memory of its own.
        if path.contains(":memory:") {
            return Err("must name a file: a database in memory can't be shared by the server's connections".into());
        }
        if path.is_empty() || path.contains('?') {
            return Err("must be sqlite: and the path of a file, without parameters".into());
        }
        return Ok(());
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(()),
        _ => Err("must be sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE".into()),
    }
}

/// The path of an SQLite URL, with or without slashes behind the scheme; `None` for other databases.
pub(super) fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?;
    Some(path.strip_prefix("//").unwrap_or(path))
}

/// Whether the host of a URL is this machine: `localhost`, 127.0.0.0/8 or ::1.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a PostgreSQL URL leaves this machine without demanding TLS.
pub(super) fn database_travels_in_clear(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return false;
    }
    let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let host = parameter("host").or_else(|| url.host_str().map(str::to_owned)).unwrap_or_default();
    // An empty host or a path is a local socket.
    let local = host.is_empty() || host.starts_with('/') || is_this_machine(&host);
    let mode = parameter("sslmode").or_else(|| parameter("ssl-mode")).unwrap_or_default();
    !local && !matches!(mode.as_str(), "require" | "verify-ca" | "verify-full")
}

/// Checks `redis://…` or `rediss://…`. The URL may hold a password, so no answer repeats it.
pub(super) fn redis_url(text: &str) -> Result<(), String> {
    let right = Url::parse(text).is_ok_and(|url| {
        let number = url.path().trim_matches('/');
        matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && (number.is_empty() || whole_number(number).is_some())
            // `#insecure` would switch off the check of the certificate.
            && url.fragment().is_none()
    });
    if right { Ok(()) } else { Err("must be redis://USER:PASSWORD@HOST/NUMBER, or rediss:// for TLS".into()) }
}

/// Whether a Redis URL leaves this machine without TLS.
pub(super) fn redis_travels_in_clear(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    url.scheme() == "redis" && !is_this_machine(url.host_str().unwrap_or_default())
}

/// Reads what the names of keys begin with.
pub(super) fn key_prefix(text: &str) -> Result<String, String> {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(right) {
        return Err("must be 1 to 64 letters, digits, \"-\", \"_\", \".\" or \":\"".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks a level, or levels by part of the program: `info`, `warn,keyward=debug`.
pub(super) fn log_level(text: &str) -> Result<(), String> {
    let level = |word: &str| matches!(word, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let target = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    };
    let right = text.split(',').all(|part| match part.split_once('=') {
        Some((name, word)) => target(name) && level(word),
        None => level(part),
    });
    if right {
        return Ok(());
    }
    Err(format!(
        "{text:?} isn't a level (off, error, warn, info, debug, trace), nor levels by part such as \"info,keyward=debug\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit() {
        for (text, count) in [("30s", 30), ("45", 45), ("0", 0), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(seconds(text), Some(Seconds(count)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "+1s",
            "1.5h",
            "1h30m",
            "10 s",
            "5w",
            "10S",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
        for text in ["0s", "30s", "90s", "15m", "12h", "7d"] {
            assert_eq!(seconds(text).unwrap().to_string(), text);
        }
        assert_eq!(Seconds(60).as_micros(), 60_000_000);
        assert_eq!(Seconds(60).as_duration(), Duration::from_secs(60));
    }

    #[test]
    fn hosts_without_ports() {
        for (text, read) in [("Keys.Example", "keys.example"), ("10.0.0.1", "10.0.0.1"), ("[fd00::1]", "[fd00::1]")] {
            assert_eq!(host(text).unwrap(), read);
        }
        for text in ["keys.example:443", "https://keys.example", "*.example", ""] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts() {
        for (text, read) in [
            ("login.example.com", "login.example.com"),
            ("Login.Example.com:8443", "login.example.com:8443"),
            ("[::1]:4000", "[::1]:4000"),
            ("[::1]", "[::1]"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(authority(text).unwrap(), read);
        }
        for text in ["", "*", "*.example.com", "https://a", "a/b", "a:", "a:70000", "a:b", "me@a", "a b", "%61", "::1"]
        {
            assert!(authority(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        assert_eq!(origin("https://app.example.com").unwrap(), "https://app.example.com");
        assert_eq!(origin("http://localhost:5173").unwrap(), "http://localhost:5173");
        for text in
            ["*", "null", "https://app.example.com/", "https://app.example.com:443", "app.example.com", "file:///a"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
        assert!(origin("https://App.example.com/x").unwrap_err().contains("did you mean \"https://app.example.com\"?"));
    }

    #[test]
    fn database_urls() {
        for text in
            ["sqlite:keyward.db", "sqlite:///var/lib/keyward.db", "postgres://u:p@db/keyward", "postgresql:///k"]
        {
            assert!(database_url(text).is_ok(), "{text}");
        }
        for text in
            ["", "sqlite:", "sqlite::memory:", "sqlite:a?mode=ro", "mysql://u:hunter2@db/k", "postgres//u:hunter2@db"]
        {
            assert!(!database_url(text).unwrap_err().contains("hunter2"), "{text}");
        }
        assert_eq!(sqlite_path("sqlite:///var/a.db"), Some("/var/a.db"));
        assert_eq!(sqlite_path("sqlite:a.db"), Some("a.db"));
        assert_eq!(sqlite_path("postgres://db/a"), None);
    }

    #[test]
    fn only_a_remote_database_without_tls_travels_in_clear() {
        for text in ["postgres://db.example.com/k", "postgres://10.0.0.1/k?sslmode=prefer", "postgres:///k?host=db"] {
            assert!(database_travels_in_clear(text), "{text}");
        }
        for text in [
            "sqlite:a",
            "postgres://localhost/k",
            "postgres://[::1]/k",
            "postgres:///k?host=/run/postgresql",
            "postgres://db/k?sslmode=verify-full",
        ] {
            assert!(!database_travels_in_clear(text), "{text}");
        }
    }

    #[test]
    fn log_levels_and_languages() {
        for text in ["info", "off", "warn,keyward=debug", "info,sqlx::query=trace"] {
            assert!(log_level(text).is_ok(), "{text}");
        }
        for text in ["", "verbose", "info,", "keyward=loud", "=info"] {
            assert!(log_level(text).is_err(), "{text}");
        }
    }
}
