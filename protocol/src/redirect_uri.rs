//! Redirect URIs: which may be registered (RFC 8252 §7, RFC 7591 §5) and which match (RFC 9700 §4.1.3).
//! Post-logout redirect URIs follow the same rules (OpenID Connect RP-Initiated Logout §3).

use url::{Host, Url};

use crate::client_metadata::{ClientMetadata, ClientType};
use crate::refusal::{ErrorCode, Refusal};

/// Longer addresses are refused.
const MOST_BYTES: usize = 2000;

/// A redirect URI that a registered client owns. It has one constructor, and only it carries an answer back: an error
/// before it exists can only be a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenRedirect(String);

impl ProvenRedirect {
    /// RFC 6749 §3.1.2.3, protocol decision 2: the URI that the request names, matched by exact string; or the only
    /// registered one where the request may leave it out.
    ///
    /// # Errors
    /// `invalid_request`, to be shown on a page and never sent to the URI in question.
    pub fn prove(client: &ClientMetadata, named: Option<&str>, required: bool) -> Result<Self, Refusal> {
        match named {
            Some(named) if client.redirect_uris.iter().any(|registered| matches(client, registered, named)) => {
                Ok(Self(named.to_owned()))
            }
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "The redirect_uri is not registered.")),
            None => match client.redirect_uris.as_slice() {
                // A loopback URI of a public client is registered without its real port: it must be named.
                [only] if !required && !is_loopback(only) => Ok(Self(only.clone())),
                _ => Err(Refusal::new(ErrorCode::InvalidRequest, "The redirect_uri is missing.")),
            },
        }
    }

    /// OpenID Connect RP-Initiated Logout §2: where the browser may go after a logout.
    ///
    /// # Errors
    /// `invalid_request` where it isn't registered.
    pub fn prove_post_logout(client: &ClientMetadata, named: &str) -> Result<Self, Refusal> {
        if client.post_logout_redirect_uris.iter().any(|registered| matches(client, registered, named)) {
            Ok(Self(named.to_owned()))
        } else {
            Err(Refusal::new(ErrorCode::InvalidRequest, "The post_logout_redirect_uri is not registered."))
        }
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a Content-Security-Policy `form-action` must allow for the answer to get there: the origin, or the scheme
    /// where there is no origin (private-use schemes).
    pub fn form_action_source(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url.origin().ascii_serialization(),
            Ok(url) => format!("{}:", url.scheme()),
            Err(_) => String::new(),
        }
    }

    /// The host for people, with the port where it isn't the scheme's own; or the scheme where there is no host.
    pub fn display_host(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) => match (url.host_str(), url.port()) {
                (Some(host), Some(port)) => format!("{host}:{port}"),
                (Some(host), None) => host.to_owned(),
                (None, _) => format!("{}:", url.scheme()),
            },
            Err(_) => String::new(),
        }
    }

    /// RFC 8252 §8.6: any program on the device may listen there, so that the client behind it isn't proven.
    pub fn is_unproven_native(&self) -> bool {
        // Plain http is registrable on loopback alone.
        !self.0.starts_with("https://")
    }
}

/// Whether a named URI is this registered one. No normalisation: what differs in any octet is another URI.
fn matches(client: &ClientMetadata, registered: &str, named: &str) -> bool {
    // RFC 9700 §4.1.3: exact string comparison.
    if registered == named {
        return true;
    }
    // RFC 8252 §7.3: loopback redirects of native clients may differ in the port, and in nothing else.
    client.client_type == ClientType::Public && {
        match (split_loopback(registered), split_loopback(named)) {
            (Some((host, rest)), Some((named_host, named_rest))) => host == named_host && rest == named_rest,
            _ => false,
        }
    }
}

/// Host and what follows the port of `http://127.0.0.1:port/…`; nothing else has these parts.
fn split_loopback(uri: &str) -> Option<(&'static str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (host, rest) = ["127.0.0.1", "[::1]", "localhost"]
        .into_iter()
        .find_map(|host| rest.strip_prefix(host).map(|rest| (host, rest)))?;
    let rest = match rest.strip_prefix(':') {
        None => rest,
        Some(after) => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (port, rest) = after.split_at_checked(digits)?;
            if port.starts_with('0') || port.parse::<u16>().is_err() {
                return None;
            }
            rest
        }
    };
    (rest.is_empty() || rest.starts_with('/') || rest.starts_with('?')).then_some((host, rest))
}

fn is_loopback(uri: &str) -> bool {
    split_loopback(uri).is_some()
}

/// RFC 6749 §3.1.2, RFC 8252 §7, §8.4: whether a client may register this URI.
///
/// # Errors
/// `invalid_redirect_uri` with what is wrong.
pub fn check_registrable(uri: &str, client_type: ClientType) -> Result<(), Refusal> {
    let refuse = |why| Err(Refusal::new(ErrorCode::InvalidRedirectUri, why));
    if uri.len() > MOST_BYTES {
        return refuse("A redirect URI is longer than 2000 bytes.");
    }
    if uri
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'`' | b'*' | b';' | b','))
    {
        return refuse("A redirect URI has a character that is not allowed.");
    }
    let Ok(url) = Url::parse(uri) else {
        return refuse("A redirect URI is not an absolute URI.");
    };
    // RFC 6749 §3.1.2: no fragment component.
    if uri.contains('#') {
        return refuse("A redirect URI has a fragment.");
    }
    if !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@') {
        return refuse("A redirect URI has user information.");
    }
    if has_dot_segment(uri) {
        return refuse("A redirect URI has dot segments.");
    }
    match url.scheme() {
        "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(()),
        "http" => match url.host() {
            // RFC 8252 §7.3 and development: plain http never leaves the machine.
            Some(Host::Domain("localhost")) => Ok(()),
            Some(Host::Ipv4(address)) if address.is_loopback() => Ok(()),
            Some(Host::Ipv6(address)) if address.is_loopback() => Ok(()),
            _ => refuse("A redirect URI with http must be on loopback."),
        },
        "https" => refuse("A redirect URI has no host."),
        // RFC 8252 §7.1: private-use schemes are reversed domain names, and only native (public) clients have them.
        scheme if client_type == ClientType::Public && scheme.contains('.') => Ok(()),
        _ => refuse("A redirect URI has a scheme that is not allowed."),
    }
}

fn authority(uri: &str) -> &str {
    let after = uri.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?']).next().unwrap_or_default()
}

fn has_dot_segment(uri: &str) -> bool {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = path.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
    path.split('/').skip(1).any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(client_type: ClientType, uris: &[&str]) -> ClientMetadata {
        ClientMetadata {
            client_type,
            redirect_uris: uris.iter().map(|&uri| uri.to_owned()).collect(),
            post_logout_redirect_uris: uris.iter().map(|&uri| uri.to_owned()).collect(),
            ..ClientMetadata::default()
        }
    }

    /// The corpus of `lessons.md`: each is close to the registered URI, and none is it.
    const FOREIGN: [&str; 30] = [
        "https://good.example.evil.example/cb",
        "https://good.example@evil.example/cb",
        "https://good.example@@evil.example/cb",
        "https://evil.example/cb",
        "https://evil.example\\@good.example/cb",
        "https://good.example\\.evil.example/cb",
        "https://good.example/cb/",
        "https://good.example/cb?x=1",
        "https://good.example/cb#x",
        "https://good.example/CB",
        "https://GOOD.example/cb",
        "HTTPS://good.example/cb",
        "https://good.example:443/cb",
        "https://good.example/x/../cb",
        "https://good.example/%2e%2e/cb",
        "https://good.example/%252e%252e/cb",
        "https://good.example/cb%0d%0aX: y",
        "https://good.example/cb\r\nX: y",
        "https://good.example/c%62",
        "https://user@good.example/cb",
        "https://user:pw@good.example/cb",
        "http://good.example/cb",
        "//good.example/cb",
        "/cb",
        "javascript:alert(1)//https://good.example/cb",
        "data:text/html,https://good.example/cb",
        " https://good.example/cb",
        "https://good.example/cb ",
        "https://good.example/cb\0",
        "https://good.example.",
    ];

    #[test]
    fn only_the_exact_string_matches() {
        for client_type in [ClientType::Public, ClientType::Confidential] {
            let client = client(client_type, &["https://good.example/cb"]);
            assert!(ProvenRedirect::prove(&client, Some("https://good.example/cb"), true).is_ok());
            for foreign in FOREIGN {
                assert!(ProvenRedirect::prove(&client, Some(foreign), true).is_err(), "{foreign:?}");
                assert!(ProvenRedirect::prove_post_logout(&client, foreign).is_err(), "{foreign:?}");
            }
        }
    }

    #[test]
    fn loopback_of_public_clients_differs_in_the_port_only() {
        for registered in ["http://127.0.0.1/cb", "http://[::1]:8080/cb", "http://localhost:1/cb"] {
            let public = client(ClientType::Public, &[registered]);
            let host = split_loopback(registered).unwrap().0;
            for named in [format!("http://{host}:51004/cb"), format!("http://{host}/cb")] {
                assert!(ProvenRedirect::prove(&public, Some(&named), true).is_ok(), "{named}");
                if named != registered {
                    let confidential = client(ClientType::Confidential, &[registered]);
                    assert!(ProvenRedirect::prove(&confidential, Some(&named), true).is_err(), "{named}");
                }
            }
            for bad in [
                format!("http://{host}:51004/other"),
                format!("https://{host}:51004/cb"),
                format!("http://{host}:99999/cb"),
                format!("http://{host}:/cb"),
                format!("http://{host}:80@evil.example/cb"),
                format!("http://{host}.evil.example/cb"),
                format!("http://x@{host}:1/cb"),
                format!("http://{host}:1/cb#f"),
            ] {
                assert!(ProvenRedirect::prove(&public, Some(&bad), true).is_err(), "{bad}");
            }
        }
        let public = client(ClientType::Public, &["http://127.0.0.1/cb"]);
        assert!(ProvenRedirect::prove(&public, Some("http://localhost:5/cb"), true).is_err());
    }

    #[test]
    fn a_missing_uri_takes_the_only_one_where_allowed() {
        let one = client(ClientType::Confidential, &["https://a.example/cb"]);
        assert_eq!(ProvenRedirect::prove(&one, None, false).unwrap().as_str(), "https://a.example/cb");
        assert!(ProvenRedirect::prove(&one, None, true).is_err());
        let two = client(ClientType::Confidential, &["https://a.example/cb", "https://b.example/cb"]);
        assert!(ProvenRedirect::prove(&two, None, false).is_err());
    }

    #[test]
    fn what_may_be_registered() {
        for good in ["https://a.example/cb", "https://a.example", "http://localhost:3000/cb", "http://127.0.0.1/cb?x=1"]
        {
            check_registrable(good, ClientType::Confidential).unwrap();
        }
        check_registrable("com.example.app:/cb", ClientType::Public).unwrap();
        assert!(check_registrable("com.example.app:/cb", ClientType::Confidential).is_err());
        for bad in [
            "http://a.example/cb",
            "https://a.example/cb#x",
            "https://u@a.example/",
            "javascript:alert(1)",
            "myapp:/cb",
            "https://*.example/cb",
            "https://a.example/../cb",
            "https://a.example/%2E%2e/cb",
            "/cb",
            "https://",
            "data:x",
            "https://a.example/a b",
            "https://a.example\\b",
        ] {
            assert!(check_registrable(bad, ClientType::Public).is_err(), "{bad}");
        }
    }
}
