//! Where secrets can be kept outside of the server: HashiCorp Vault and AWS Secrets Manager, how they are reached, and how
//! a secret in them is named.
//!
//! Leaves out: asking them (`secret`).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use url::{Host, Url};

/// HashiCorp Vault, or OpenBao, which speaks the same.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Its URL without a trailing slash.
    pub address: Option<String>,
    /// The namespace that all requests are made in.
    pub namespace: Option<String>,
    /// Where the secrets engine KV, version 2, is mounted.
    pub mount: String,
    /// The token that requests carry.
    pub token: Option<SecretString>,
    /// The role of AppRole that the server signs in by, where it has no token.
    pub role_id: Option<String>,
    /// The secret id of that role.
    pub secret_id: Option<SecretString>,
    /// Where AppRole is mounted.
    pub approle_mount: String,
    /// PEM file with authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// AWS Secrets Manager. Credentials come by the ordinary ways of AWS's libraries.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// The region; else that of the secret's ARN, else what AWS's libraries find.
    pub region: Option<String>,
    /// Another address than the region's.
    pub endpoint_url: Option<String>,
}

impl Default for VaultSettings {
    fn default() -> Self {
        Self {
            address: None,
            namespace: None,
            mount: "secret".to_owned(),
            token: None,
            role_id: None,
            secret_id: None,
            approle_mount: "approle".to_owned(),
            ca_file: None,
        }
    }
}

/// A secret by its name, and the field of it that is meant: `name` or `name#field`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    name: String,
    field: Option<String>,
}

impl SecretReference {
    /// The secret's name: its path below the mount (Vault), its name or ARN (AWS).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The field, where one is named.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(out, "#{field}"))
    }
}

impl FromStr for SecretReference {
    type Err = String;

    /// Reads `name` or `name#field`. The error is a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        // Whoever puts the key itself here by mistake must not find it in messages and in the audit trail.
        if text.starts_with("keyward-master-key") {
            return Err("must name the secret in which the master key is kept, and is given the key itself".to_owned());
        }
        let (name, field) = match text.split_once('#') {
            Some((name, field)) => (name, Some(field)),
            None => (text, None),
        };
        let unreadable = |part: &str| part.is_empty() || part.chars().any(|c| c.is_whitespace() || c.is_control());
        if unreadable(name) || field.is_some_and(unreadable) {
            return Err(format!("{text:?} isn't the name of a secret, nor NAME#FIELD"));
        }
        // In an address such a step would lead elsewhere.
        if name.split('/').any(|step| matches!(step, "." | "..")) {
            return Err(format!("{text:?} names a secret by a path with \".\" or \"..\" in it"));
        }
        Ok(Self { name: name.to_owned(), field: field.map(str::to_owned) })
    }
}

/// Reads a path such as that of a mount: steps with single slashes between them, none of which leads upwards.
pub(super) fn path(text: &str) -> Result<String, String> {
    let wrong_step = |step: &str| {
        step.is_empty() || matches!(step, "." | "..") || step.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if text.split('/').any(wrong_step) {
        return Err(format!("{text:?} isn't a path such as secret or team/secret, without slashes at its ends"));
    }
    Ok(text.to_owned())
}

/// Reads the URL of a service that secrets are fetched from: https, or http on this very machine.
pub(super) fn service_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} isn't a URL ({error})"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment".to_owned());
    }
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    // Anyone on the way could read the secret, and the token that opens all others.
    if url.scheme() != "https" && !(url.scheme() == "http" && here) {
        return Err(
            "must begin with https:// (http:// is for this machine only, such as http://127.0.0.1:8200)".to_owned()
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_or_without_a_field() {
        let read = |text: &str| text.parse::<SecretReference>();
        let plain = read("arn:aws:secretsmanager:eu-central-1:123456789012:secret:keyward/master-AbCdEf").unwrap();
        assert_eq!(plain.field(), None);
        let with_field = read("team/keyward#master_key").unwrap();
        assert_eq!((with_field.name(), with_field.field()), ("team/keyward", Some("master_key")));
        assert_eq!(with_field.to_string(), "team/keyward#master_key");
        for text in ["", "#", "a#", "#a", "a b", "a\n", "a/../b", "./a", "a/..", "a#b c"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(read("/aws/may/begin/so").unwrap().name(), "/aws/may/begin/so");
        let key = format!("keyward-master-key-1:{}", "Q".repeat(43));
        assert!(!read(&key).unwrap_err().contains("QQQ"), "the key itself isn't repeated");
    }

    #[test]
    fn a_mount_is_a_path() {
        assert_eq!(path("team/secret").unwrap(), "team/secret");
        for text in ["", "/", "/a", "a/", "a//b", "a/../b", ".", "a b"] {
            assert!(path(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn secrets_are_fetched_by_https_or_from_this_machine() {
        for (text, read) in [
            ("https://vault.example.com", "https://vault.example.com"),
            ("https://vault.example.com:8200/", "https://vault.example.com:8200"),
            ("https://proxy.example.com/vault", "https://proxy.example.com/vault"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("http://[::1]:8200", "http://[::1]:8200"),
            ("http://localhost:8200", "http://localhost:8200"),
        ] {
            assert_eq!(service_url(text).unwrap(), read);
        }
        for text in [
            "vault.example.com",
            "http://vault.example.com:8200",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "ftp://localhost",
            "https://me:pass@vault.example.com",
            "https://vault.example.com?a=b",
            "https://vault.example.com/#a",
        ] {
            assert!(service_url(text).is_err(), "{text}");
        }
    }
}
