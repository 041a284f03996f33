//! The claims of ID tokens (OpenID Connect Core §2, §3.1.3.6).

use serde::Serialize;
use serde_json::{Map, Value};

/// OpenID Connect Core §2. Times are seconds since the epoch.
#[derive(Debug, Clone, Serialize)]
pub struct IdTokenClaims<'a> {
    /// The issuer.
    pub iss: &'a str,
    /// The user.
    pub sub: &'a str,
    /// The client.
    pub aud: &'a str,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// When the user authenticated.
    pub auth_time: i64,
    /// The nonce of the authorization request; absent at a refresh (Core §12.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
    /// How strongly the user authenticated.
    pub acr: &'a str,
    /// By which methods (RFC 8176).
    pub amr: &'a [String],
    /// The party it was issued to.
    pub azp: &'a str,
    /// Binds the access token beside it (Core §3.1.3.6).
    pub at_hash: &'a str,
    /// The session, by a name of its own for each client (Back-Channel Logout §2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<&'a str>,
    /// Roles, where the scope is granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<&'a [String]>,
    /// Groups, where the scope is granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<&'a [String]>,
    /// Claims of the person, where the client has them in the ID token.
    #[serde(flatten)]
    pub person: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_claims_are_absent() {
        let claims = IdTokenClaims {
            iss: "https://as",
            sub: "s",
            aud: "c",
            exp: 2,
            iat: 1,
            auth_time: 1,
            nonce: None,
            acr: "1",
            amr: &[],
            azp: "c",
            at_hash: "h",
            sid: None,
            roles: None,
            groups: None,
            person: Map::new(),
        };
        let value = serde_json::to_value(&claims).unwrap();
        for absent in ["nonce", "sid", "roles", "groups"] {
            assert!(value.get(absent).is_none());
        }
        assert_eq!(value["aud"], "c");
    }
}
