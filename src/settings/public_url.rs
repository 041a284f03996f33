//! The address under which clients and browsers know this server: its issuer (RFC 8414 §2, OIDC Discovery §3).
//!
//! Leaves out: the addresses the server listens on; behind a proxy they have nothing in common with this one.

use std::str::FromStr;

use url::Url;

use super::is_this_machine;

/// A checked public URL. Its text is the issuer, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    https: bool,
    loopback: bool,
    /// Host as a URL writes it: IPv6 in brackets.
    host: String,
    port: Option<u16>,
    /// Path without a trailing slash; empty for a URL without a path.
    path: String,
}

impl PublicUrl {
    /// The URL as it was written, without a trailing slash: the issuer.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path, without a trailing slash: `""` or for example `"/auth"`.
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.path
    }

    /// Scheme, host and port, as browsers write an origin (RFC 6454 §6.2).
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.strip_suffix(self.path.as_str()).unwrap_or(&self.text)
    }

    /// Its host without the port; IPv6 addresses stand in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, where one is written. A URL in normal form never writes the default port of its scheme.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether its scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether its host is this machine: `localhost`, a name below it, 127.0.0.0/8 or ::1.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl Default for PublicUrl {
    /// `http://localhost:4000`, for a first try on one machine.
    fn default() -> Self {
        Self {
            text: "http://localhost:4000".to_owned(),
            https: false,
            loopback: true,
            host: "localhost".to_owned(),
            port: Some(4000),
            path: String::new(),
        }
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    /// Checks a URL. The error is a sentence that says what to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} isn't a URL ({error})"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(format!("must begin with https://, not {}:", url.scheme()));
        }
        // A name or password in the issuer would be shown to everyone.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or a password".to_owned());
        }
        // RFC 8414 §2: an issuer has no query and no fragment.
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or a fragment (RFC 8414 §2)".to_owned());
        }
        // Endpoints are made by appending a path, and clients compare the issuer byte for byte.
        if text.ends_with('/') {
            return Err(format!("must not end with a slash; write \"{}\"", text.trim_end_matches('/')));
        }
        let normal = url.as_str().trim_end_matches('/');
        // Libraries that normalise URLs must get the same bytes as those that don't.
        if normal != text {
            return Err(format!("isn't in normal form; write {normal:?}"));
        }
        let path = url.path().trim_end_matches('/');
        // The path becomes a cookie's Path and a prefix of every route; both give other characters a meaning.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/');
        if path.contains("//") || !path.bytes().all(plain) {
            return Err("its path may hold only letters, digits, '-', '.', '_', '~' and single slashes".to_owned());
        }
        let host = url.host_str().ok_or_else(|| "has no host".to_owned())?;
        // RFC 6761 §6.3: names below localhost are this machine too.
        let loopback = is_this_machine(host) || host.ends_with(".localhost");
        let https = url.scheme() == "https";
        // RFC 9700 §2.6, RFC 8414 §2: the issuer uses https; plain http never leaves the machine.
        if !https && !loopback {
            return Err("must begin with https:// (http:// is for localhost only)".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            https,
            loopback,
            host: host.to_owned(),
            port: url.port(),
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_issuer_byte_for_byte() {
        let url: PublicUrl = "https://login.example.com:8443/auth/one".parse().unwrap();
        assert_eq!(url.as_str(), "https://login.example.com:8443/auth/one");
        assert_eq!(url.base_path(), "/auth/one");
        assert_eq!(url.origin(), "https://login.example.com:8443");
        assert_eq!((url.host(), url.port()), ("login.example.com", Some(8443)));
        assert!(url.is_https() && !url.is_loopback());

        let url: PublicUrl = "https://login.example.com".parse().unwrap();
        assert_eq!((url.base_path(), url.origin()), ("", "https://login.example.com"));
        assert_eq!("http://localhost:4000".parse::<PublicUrl>().unwrap(), PublicUrl::default());
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for text in ["http://localhost", "http://127.0.0.1:4000", "http://[::1]:4000", "http://shop.localhost:4000"] {
            assert!(text.parse::<PublicUrl>().unwrap().is_loopback(), "{text}");
        }
        for text in ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "http://notlocalhost"] {
            assert!(text.parse::<PublicUrl>().unwrap_err().contains("https://"), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_issuer() {
        for (text, word) in [
            ("login.example.com", "isn't a URL"),
            ("ftp://example.com", "must begin with https://"),
            ("https://example.com/", "write \"https://example.com\""),
            ("https://example.com/auth/", "write \"https://example.com/auth\""),
            ("https://example.com?a=b", "query"),
            ("https://example.com/#a", "fragment"),
            ("https://me:secret@example.com", "password"),
            ("https://Example.com", "write \"https://example.com\""),
            ("https://example.com:443", "write \"https://example.com\""),
            ("https://example.com/a/../b", "write \"https://example.com/b\""),
            ("https://example.com/a//b", "single slashes"),
            ("https://example.com/a;b", "may hold only"),
            ("https://example.com/%7Ea", "may hold only"),
        ] {
            let error = text.parse::<PublicUrl>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
