//! What is known of a client (RFC 7591 §2, OpenID Connect Registration §2), and which combinations may stand.

use std::sync::LazyLock;

use keyward_keys::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::redirect_uri;
use crate::refusal::{ErrorCode, Refusal};
use crate::scope::ScopeSet;

/// RFC 6749 §2.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientType {
    /// Can keep a credential.
    #[default]
    Confidential,
    /// Can't: single-page and native apps.
    Public,
}

/// The grants of the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.1.
    AuthorizationCode,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 6749 §4.4.
    ClientCredentials,
}

impl GrantType {
    /// Every grant that is offered.
    pub const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    /// The value of `grant_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// The grant of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// How a client authenticates at the endpoints that it calls itself (RFC 7591 §2, OpenID Connect Core §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// RFC 6749 §2.3.1, Authorization header.
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, body.
    ClientSecretPost,
    /// RFC 7523 §2.2 with a key pair.
    PrivateKeyJwt,
    /// A public client.
    None,
}

impl AuthMethod {
    /// Every method that is offered.
    pub const ALL: [Self; 4] = [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// The value in metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }

    /// The method of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }
}

/// The form of an access token (requirement TK-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenFormat {
    /// RFC 9068: resource servers check it by themselves.
    Jwt,
    /// A reference that says nothing; resource servers introspect it (RFC 7662).
    Opaque,
}

impl AccessTokenFormat {
    /// Every form that is offered.
    pub const ALL: [Self; 2] = [Self::Jwt, Self::Opaque];

    /// The value in metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
        }
    }

    /// The form of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// What a resource server wants of the access tokens that are for it (requirement TK-4): it counts more than what their
/// client has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceTokens {
    /// Their form; none: the client's.
    pub access_token_format: Option<AccessTokenFormat>,
    /// The longest that they live, in seconds; none: as long as the client's.
    pub access_token_lifetime: Option<u64>,
    /// Those of people's grants are in a status list, whatever the client says.
    pub access_token_status_list: bool,
}

/// The metadata of a client, as it is stored. Members that a newer version of this program has written are kept as they
/// are: versions share a database while an upgrade goes from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientMetadata {
    /// The name that people see.
    pub client_name: String,
    /// Whether it can keep a credential.
    pub client_type: ClientType,
    /// Where answers may go.
    pub redirect_uris: Vec<String>,
    /// Where a browser may go after logout.
    pub post_logout_redirect_uris: Vec<String>,
    /// Origins beside those of the redirect URIs that may call by script.
    pub web_origins: Vec<String>,
    /// The grants it may use.
    pub grant_types: Vec<GrantType>,
    /// The one way it authenticates; none set: Basic or post.
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// Scopes it may be granted.
    pub scope: ScopeSet,
    /// Scopes it gets where it asks for none that can be granted.
    pub default_scope: ScopeSet,
    /// Its public keys, a JWK Set.
    pub jwks: Option<Value>,
    /// Where its public keys are, a JWK Set too; never beside `jwks` (RFC 7591 §2).
    pub jwks_uri: Option<String>,
    /// The algorithm of its ID tokens (OpenID Connect Registration §2: RS256 unless it registered another).
    pub id_token_signed_response_alg: Algorithm,
    /// The algorithm of its access tokens; none: the server's setting.
    pub access_token_signed_response_alg: Option<Algorithm>,
    /// The form of its access tokens, where no resource wants another; none: JWT.
    pub access_token_format: Option<AccessTokenFormat>,
    /// Access tokens of people's grants are in a status list (protocol decision 20), so that resource servers hear of a
    /// revocation without introspection.
    pub access_token_status_list: bool,
    /// RFC 9701 §6: the algorithm of signed introspection answers that it gets.
    pub introspection_signed_response_alg: Algorithm,
    /// What it wants, as a resource server, of tokens for its audiences.
    pub resource_tokens: ResourceTokens,
    /// PKCE is demanded; public clients can't turn it off.
    pub require_pkce: bool,
    /// The operator's own: no consent page.
    pub first_party: bool,
    /// The operator vouches for a native client, so that its consent may be remembered (RFC 8252 §8.6).
    pub trusted_native: bool,
    /// Whether refresh tokens rotate; public clients always do.
    pub rotate_refresh_tokens: bool,
    /// The audiences that this client stands for as a resource server.
    pub audiences: Vec<String>,
    /// The resources it may ask for; the first is its default (RFC 8707).
    pub resources: Vec<String>,
    /// OpenID Connect Registration §2, seconds.
    pub default_max_age: Option<u64>,
    /// OpenID Connect Registration §2. Every ID token of this server has `auth_time`, so there is nothing to do for it.
    pub require_auth_time: bool,
    /// OpenID Connect Registration §2: the classes of authentication that it wishes for, the more wanted first.
    pub default_acr_values: Vec<String>,
    /// Claims that scopes name are in the ID token too.
    pub id_token_scope_claims: bool,
    /// Seconds; none: the server's setting.
    pub access_token_lifetime: Option<u64>,
    /// Seconds without use after which a refresh token ends; none: the server's setting.
    pub refresh_token_idle_lifetime: Option<u64>,
    /// Seconds after which a family of refresh tokens ends; none: the server's setting.
    pub refresh_token_absolute_lifetime: Option<u64>,
    /// The client's home page.
    pub client_uri: Option<String>,
    /// Its privacy policy.
    pub policy_uri: Option<String>,
    /// Its terms.
    pub tos_uri: Option<String>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for ClientMetadata {
    fn default() -> Self {
        Self {
            client_name: String::new(),
            client_type: ClientType::Confidential,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            web_origins: Vec::new(),
            grant_types: Vec::new(),
            token_endpoint_auth_method: None,
            scope: ScopeSet::default(),
            default_scope: ScopeSet::default(),
            jwks: None,
            jwks_uri: None,
            id_token_signed_response_alg: Algorithm::Rs256,
            access_token_signed_response_alg: None,
            access_token_format: None,
            access_token_status_list: false,
            introspection_signed_response_alg: Algorithm::Rs256,
            resource_tokens: ResourceTokens::default(),
            require_pkce: true,
            first_party: false,
            trusted_native: false,
            rotate_refresh_tokens: true,
            audiences: Vec::new(),
            resources: Vec::new(),
            default_max_age: None,
            require_auth_time: false,
            default_acr_values: Vec::new(),
            id_token_scope_claims: false,
            access_token_lifetime: None,
            refresh_token_idle_lifetime: None,
            refresh_token_absolute_lifetime: None,
            client_uri: None,
            policy_uri: None,
            tos_uri: None,
            other: Map::new(),
        }
    }
}

impl ClientMetadata {
    /// The metadata as they are stored: without members that say nothing, which are the most of a usual client. A row is a
    /// third as long by that, and is read that much sooner. A member is left out only where its default is nothing by its
    /// nature: that of another kind may become another one in a later version, and clients of today aren't to change by that.
    ///
    /// # Errors
    /// Where they can't be written as JSON.
    pub fn to_stored(&self) -> Result<String, serde_json::Error> {
        static SILENT: LazyLock<Map<String, Value>> = LazyLock::new(|| {
            let mut members = match serde_json::to_value(ClientMetadata::default()) {
                Ok(Value::Object(members)) => members,
                _ => Map::new(),
            };
            members.retain(|_, value| says_nothing(value));
            members
        });
        let mut stored = serde_json::to_value(self)?;
        if let Value::Object(members) = &mut stored {
            members.retain(|name, value| SILENT.get(name).is_none_or(|silent| silent != value));
        }
        serde_json::to_string(&stored)
    }

    /// Reads what [`ClientMetadata::to_stored`] wrote, or the whole form of earlier versions.
    ///
    /// # Errors
    /// Where the text is damaged.
    pub fn from_stored(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether the client may use this grant.
    pub fn has_grant(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// RFC 9700 §2.1.1, protocol decision 3: whether an authorization request must carry a challenge.
    pub fn needs_pkce(&self) -> bool {
        self.client_type == ClientType::Public || self.require_pkce
    }

    /// RFC 9700 §4.14.2, protocol decision 13: refresh tokens of public clients rotate at each use.
    pub fn rotates_refresh_tokens(&self) -> bool {
        self.client_type == ClientType::Public || self.rotate_refresh_tokens
    }

    /// Protocol decision 31: whether scripts of this origin belong to the client.
    pub fn owns_origin(&self, origin: &str) -> bool {
        self.web_origins.iter().any(|registered| registered == origin)
            || self.redirect_uris.iter().any(|uri| {
                url::Url::parse(uri).is_ok_and(|url| {
                    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == origin
                })
            })
    }

    /// RFC 7591 §3.2.2: whether this metadata can be honoured. Every way to make or change a client comes through here.
    ///
    /// # Errors
    /// `invalid_redirect_uri` or `invalid_client_metadata`.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::new(ErrorCode::InvalidClientMetadata, why));
        if self.client_name.trim().is_empty() {
            return refuse("A client needs a name.");
        }
        if self.client_name.chars().count() > 200 || self.client_name.chars().any(char::is_control) {
            return refuse("The client's name is longer than 200 characters or has control characters.");
        }
        for uri in self.redirect_uris.iter().chain(&self.post_logout_redirect_uris) {
            redirect_uri::check_registrable(uri, self.client_type)?;
        }
        if self.has_grant(GrantType::AuthorizationCode) && self.redirect_uris.is_empty() {
            return refuse("The authorization_code grant needs a redirect URI.");
        }
        if self.has_grant(GrantType::RefreshToken) && !self.has_grant(GrantType::AuthorizationCode) {
            return refuse("The refresh_token grant needs the authorization_code grant.");
        }
        match self.client_type {
            ClientType::Public => {
                if !matches!(self.token_endpoint_auth_method, None | Some(AuthMethod::None)) {
                    return refuse("A public client has no way to authenticate but none.");
                }
                // RFC 6749 §4.4: only confidential clients.
                if self.has_grant(GrantType::ClientCredentials) {
                    return refuse("A public client can't have the client_credentials grant.");
                }
                if !self.audiences.is_empty() {
                    return refuse("A public client can't stand for a resource server.");
                }
            }
            ClientType::Confidential => {
                if self.token_endpoint_auth_method == Some(AuthMethod::None) {
                    return refuse("A confidential client must authenticate.");
                }
            }
        }
        let signs = self.token_endpoint_auth_method == Some(AuthMethod::PrivateKeyJwt);
        // RFC 7591 §2: one or the other.
        if self.jwks.is_some() && self.jwks_uri.is_some() {
            return refuse("A client has jwks or a jwks_uri, not both.");
        }
        if self.jwks_uri.as_deref().is_some_and(|uri| !is_fetchable(uri)) {
            return refuse("The jwks_uri must be an https address without a user name or a fragment.");
        }
        match self.jwks.as_ref().map(keyward_keys::ClientKeys::parse) {
            None if signs && self.jwks_uri.is_none() => return refuse("private_key_jwt needs jwks or a jwks_uri."),
            Some(Err(_)) => return refuse("The jwks are not a set of usable public keys."),
            Some(Ok(keys)) if signs && keys.is_empty() => {
                return refuse("The jwks have no key that verifies a signature.");
            }
            None | Some(Ok(_)) => {}
        }
        if !self.default_scope.is_subset_of(&self.scope) {
            return refuse("The default scope is not within the scope.");
        }
        for origin in &self.web_origins {
            let well_formed = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
            if !well_formed || !(origin.starts_with("https://") || origin.starts_with("http://")) {
                return refuse("A web origin must be scheme, host and port, as browsers send it.");
            }
        }
        for resource in self.audiences.iter().chain(&self.resources) {
            // RFC 8707 §2: an absolute URI without a fragment.
            if url::Url::parse(resource).is_err() || resource.contains('#') || resource.len() > 500 {
                return refuse("An audience or resource must be an absolute URI without a fragment.");
            }
        }
        for uri in [&self.client_uri, &self.policy_uri, &self.tos_uri].into_iter().flatten() {
            // These become links on pages.
            if !url::Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "https" | "http")) {
                return refuse("A link of the client must be an http or https address.");
            }
        }
        // OpenID Connect Registration §2.
        if self.default_max_age.is_some_and(|age| age > 10 * 365 * 86_400) {
            return refuse("The default_max_age must not be longer than ten years.");
        }
        if self.default_acr_values.len() > 20 || self.default_acr_values.iter().any(|class| !is_acr_value(class)) {
            return refuse("The default_acr_values must be at most 20 values without blanks.");
        }
        if self.resource_tokens != ResourceTokens::default() && self.audiences.is_empty() {
            return refuse("Only a client that stands for an audience can say what tokens for it are like.");
        }
        let lifetimes = [
            self.access_token_lifetime,
            self.refresh_token_idle_lifetime,
            self.refresh_token_absolute_lifetime,
            self.resource_tokens.access_token_lifetime,
        ];
        for lifetime in lifetimes.into_iter().flatten() {
            if lifetime == 0 || lifetime > 10 * 365 * 86_400 {
                return refuse("A lifetime must lie between one second and ten years.");
            }
        }
        Ok(())
    }
}

/// Null, false, and what is empty.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(says_nothing),
    }
}

/// An address that this server may be told to fetch. Whether it does is for the outbound client to judge, at each fetch;
/// `http` is only for hosts that the operator names there.
fn is_fetchable(uri: &str) -> bool {
    uri.len() <= 2000
        && !uri.contains('#')
        && url::Url::parse(uri).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

fn is_acr_value(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> ClientMetadata {
        ClientMetadata {
            client_name: "Shop".into(),
            redirect_uris: vec!["https://shop.example/cb".into()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            ..ClientMetadata::default()
        }
    }

    #[test]
    fn combinations_that_cannot_be_honoured_are_refused() {
        web().check().unwrap();
        let broken: [fn(&mut ClientMetadata); 12] = [
            |client| client.client_name = " ".into(),
            |client| client.redirect_uris.clear(),
            |client| client.grant_types = vec![GrantType::RefreshToken],
            |client| client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt),
            |client| client.token_endpoint_auth_method = Some(AuthMethod::None),
            |client| client.client_type = ClientType::Public,
            |client| client.default_scope = ScopeSet::parse("x").unwrap(),
            |client| client.web_origins = vec!["https://shop.example/".into()],
            |client| client.audiences = vec!["api".into()],
            |client| client.client_uri = Some("javascript:alert(1)".into()),
            |client| client.resource_tokens.access_token_status_list = true,
            |client| {
                client.audiences = vec!["https://api.example".into()];
                client.resource_tokens.access_token_lifetime = Some(0);
            },
        ];
        for (index, change) in broken.into_iter().enumerate() {
            let mut client = web();
            change(&mut client);
            if index == 5 {
                client.grant_types.push(GrantType::ClientCredentials);
            }
            assert!(client.check().is_err(), "case {index}");
        }
    }

    #[test]
    fn keys_are_given_or_pointed_to() {
        let keyed = |change: fn(&mut ClientMetadata)| {
            let mut client = web();
            client.token_endpoint_auth_method = Some(AuthMethod::PrivateKeyJwt);
            client.jwks_uri = Some("https://shop.example/jwks".into());
            change(&mut client);
            client.check()
        };
        keyed(|_| {}).unwrap();
        assert!(keyed(|client| client.jwks = Some(serde_json::json!({"keys": []}))).is_err(), "RFC 7591: not both");
        for bad in
            ["", "shop.example/jwks", "ftp://shop.example/jwks", "https://u@shop.example/", "https://a.example/#k"]
        {
            assert!(ClientMetadata { jwks_uri: Some(bad.into()), ..web() }.check().is_err(), "{bad}");
        }
        assert!(ClientMetadata { default_acr_values: vec!["a b".into()], ..web() }.check().is_err());
    }

    #[test]
    fn origins_come_from_redirect_uris_and_the_list() {
        let mut client = web();
        client.web_origins = vec!["https://app.example".into()];
        assert!(client.owns_origin("https://shop.example"));
        assert!(client.owns_origin("https://app.example"));
        for foreign in ["https://shop.example.evil.example", "http://shop.example", "null", "https://shop.example:8443"]
        {
            assert!(!client.owns_origin(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_public_client_always_needs_pkce_and_rotates() {
        let client = ClientMetadata {
            client_type: ClientType::Public,
            require_pkce: false,
            rotate_refresh_tokens: false,
            ..ClientMetadata::default()
        };
        assert!(client.needs_pkce() && client.rotates_refresh_tokens());
    }

    /// Versions of this program share a database while an upgrade goes from node to node.
    #[test]
    fn what_a_newer_version_wrote_is_read_and_kept() {
        let stored = r#"{"client_name":"Shop","a_member_of_tomorrow":{"x":1},"another":false}"#;
        let mut metadata = ClientMetadata::from_stored(stored).unwrap();
        metadata.client_name = "Store".to_owned();
        let written: Value = serde_json::from_str(&metadata.to_stored().unwrap()).unwrap();
        assert_eq!(written["client_name"], "Store");
        assert_eq!(written["a_member_of_tomorrow"]["x"], 1);
        assert_eq!(written["another"], false);
    }

    #[test]
    fn what_says_nothing_is_not_stored_and_what_differs_is() {
        let stored = web().to_stored().unwrap();
        assert_eq!(ClientMetadata::from_stored(&stored).unwrap(), web());
        for silent in ["jwks", "first_party", "default_scope", "resource_tokens", "audiences", "policy_uri"] {
            assert!(!stored.contains(silent), "{silent} in {stored}");
        }
        // What holds unless it is said otherwise is said, so that it holds whatever a later version's default is.
        for said in [r#""require_pkce":true"#, r#""client_type":"confidential""#, r#""rotate_refresh_tokens":true"#] {
            assert!(stored.contains(said), "{said} in {stored}");
        }
        let open = ClientMetadata {
            require_pkce: false,
            rotate_refresh_tokens: false,
            first_party: true,
            // No keys, which isn't the same as not saying.
            jwks: Some(serde_json::json!({"keys": []})),
            ..web()
        };
        let stored = open.to_stored().unwrap();
        assert!(stored.contains(r#""require_pkce":false"#), "{stored}");
        assert_eq!(ClientMetadata::from_stored(&stored).unwrap(), open);
        let whole = serde_json::to_string(&open).unwrap();
        assert_eq!(ClientMetadata::from_stored(&whole).unwrap(), open);
        assert!(stored.len() * 2 < whole.len(), "{} of {}", stored.len(), whole.len());
    }
}
