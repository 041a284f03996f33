//! The document by which clients find the authorization server of an API (RFC 9728 §2, §3).
//!
//! Left out: signed metadata (§2.2), internationalized members.

use serde_json::{Map, Value, json};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Metadata of a protected resource. Give it to
/// [`GuardBuilder::described_by`](crate::GuardBuilder::described_by) and serve it at [`path`](Self::path).
///
/// ```
/// use keyward_guard::ResourceMetadata;
///
/// let notes = ResourceMetadata::new("https://api.example.com/notes", "https://id.example.com")
///     .scopes(["notes.read", "notes.write"])
///     .name("Notes");
/// assert_eq!(notes.path(), "/.well-known/oauth-protected-resource/notes");
/// assert_eq!(notes.url(), "https://api.example.com/.well-known/oauth-protected-resource/notes");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct ResourceMetadata {
    resource: String,
    base: Option<String>,
    members: Map<String, Value>,
}

impl ResourceMetadata {
    /// Of the resource with this identifier, best its https URL (RFC 9728 §1.2) and the audience of its tokens, whose
    /// tokens come from this issuer.
    pub fn new(resource: impl Into<String>, issuer: impl Into<String>) -> Self {
        let resource = resource.into();
        let mut members = Map::new();
        members.insert("resource".to_owned(), json!(resource));
        members.insert("authorization_servers".to_owned(), json!([issuer.into()]));
        // RFC 9700 §4.3.2: a token belongs into the header alone.
        members.insert("bearer_methods_supported".to_owned(), json!(["header"]));
        Self { resource, base: None, members }
    }

    /// The scopes that tokens for this resource may have.
    pub fn scopes<I>(self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        self.member("scopes_supported", scopes)
    }

    /// The name that people see.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.member("resource_name", name.into())
    }

    /// A page for developers.
    pub fn documentation(self, url: impl Into<String>) -> Self {
        self.member("resource_documentation", url.into())
    }

    /// Any other member.
    pub fn member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    /// Where clients reach this resource (`https://api.example.com`), if its identifier isn't its URL.
    pub fn served_at(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// The path of the document: the well-known part between host and path of the identifier (RFC 9728 §3.1).
    pub fn path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.split().1)
    }

    /// The URL of the document; without a host where the identifier isn't a URL and [`served_at`](Self::served_at) isn't
    /// set.
    pub fn url(&self) -> String {
        let base = self.base.as_deref().map_or_else(|| self.split().0, |base| base.trim_end_matches('/'));
        format!("{base}{}", self.path())
    }

    /// The document.
    pub fn to_json(&self) -> String {
        Value::Object(self.members.clone()).to_string()
    }

    /// Origin and path of an identifier that is a URL, the path without a closing slash, query or fragment; both are empty
    /// for others.
    fn split(&self) -> (&str, &str) {
        let identifier = self.resource.split(['?', '#']).next().unwrap_or_default();
        let Some(host) = ["https://", "http://"].iter().find_map(|scheme| identifier.strip_prefix(scheme)) else {
            return ("", "");
        };
        let host_bytes = host.find('/').unwrap_or(host.len());
        let (origin, path) = identifier.split_at(identifier.len() - host.len() + host_bytes);
        (origin, path.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lies_where_the_specification_says() {
        for (resource, path, url) in [
            ("https://api.example", "", "https://api.example"),
            ("https://api.example/", "", "https://api.example"),
            ("http://127.0.0.1:4003/notes/", "/notes", "http://127.0.0.1:4003"),
            ("https://api.example/a/b?c#d", "/a/b", "https://api.example"),
            ("urn:example:api/x", "", ""),
        ] {
            let metadata = ResourceMetadata::new(resource, "https://id.example");
            assert_eq!(metadata.path(), format!("{WELL_KNOWN}{path}"), "{resource}");
            assert_eq!(metadata.url(), format!("{url}{WELL_KNOWN}{path}"), "{resource}");
        }
        let elsewhere = ResourceMetadata::new("urn:example:api", "https://id.example").served_at("http://127.0.0.1:1/");
        assert_eq!(elsewhere.url(), format!("http://127.0.0.1:1{WELL_KNOWN}"));
    }

    #[test]
    fn the_document_says_what_was_set() {
        let metadata = ResourceMetadata::new("https://api.example", "https://id.example")
            .scopes(["a", "b"])
            .name("Notes")
            .documentation("https://api.example/docs")
            .member("dpop_bound_access_tokens_required", false);
        let document: Value = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(
            document,
            json!({
                "resource": "https://api.example", "authorization_servers": ["https://id.example"],
                "bearer_methods_supported": ["header"], "scopes_supported": ["a", "b"], "resource_name": "Notes",
                "resource_documentation": "https://api.example/docs", "dpop_bound_access_tokens_required": false,
            })
        );
    }
}
