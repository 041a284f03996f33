//! The claims of JWT access tokens (RFC 9068) and their audience.

use serde::Serialize;

use crate::authorization_request::OPENID;
use crate::client_metadata::{AccessTokenFormat, ClientMetadata, ResourceTokens};
use crate::scope::ScopeSet;
use crate::status_list::Status;

/// RFC 9068 §2.2: the claims of an access token. Times are seconds since the epoch.
#[derive(Debug, Clone, Serialize)]
pub struct AccessTokenClaims<'a> {
    /// The issuer.
    pub iss: &'a str,
    /// The user, or the client where no user is involved.
    pub sub: &'a str,
    /// Whom it is for.
    pub aud: &'a [String],
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Its own name.
    pub jti: &'a str,
    /// The client.
    pub client_id: &'a str,
    /// The granted scope.
    pub scope: &'a str,
    /// The grant it belongs to (protocol decision 19); absent where no user is involved.
    #[serde(rename = "grant_id", skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a str>,
    /// When the user authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How strongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<&'a str>,
    /// By which methods (RFC 8176).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amr: Option<&'a [String]>,
    /// RFC 9068 §2.2.3.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<&'a [String]>,
    /// RFC 9068 §2.2.3.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<&'a [String]>,
    /// What the roles allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<&'a [String]>,
    /// Where its revocation is to be seen (draft-ietf-oauth-status-list-21 §6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status<'a>>,
}

/// What an access token is like (requirement TK-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// JWT or opaque.
    pub format: AccessTokenFormat,
    /// A bit of a status list says whether it was revoked; only a JWT has one.
    pub status_list: bool,
    /// Seconds that it lives.
    pub lifetime: u64,
}

/// Whether a token is of a person's grant or of a client for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A person's grant.
    Person,
    /// A client (RFC 6749 §4.4).
    Client,
}

/// What a token of this client is like where it is for these resources. `lifetime` is the server's, in seconds.
///
/// - A resource's wish counts more than the client's. Of several resources that differ, `opaque` is followed: a JWT
///   would tell the one what the other wants hidden, while every resource server can introspect.
/// - Protocol decision 20: the status list where the client or any of the resources wants it; for a client's token for
///   itself only where the client does, for each such token costs a write.
/// - The shortest life that any resource or the client allows.
pub fn form<'a>(
    client: &ClientMetadata,
    resources: impl Iterator<Item = &'a ResourceTokens> + Clone,
    holder: Holder,
    lifetime: u64,
) -> Form {
    let mut wishes = resources.clone().filter_map(|resource| resource.access_token_format);
    let format = match wishes.next() {
        None => client.access_token_format.unwrap_or(AccessTokenFormat::Jwt),
        Some(AccessTokenFormat::Jwt) => {
            wishes.find(|wish| *wish != AccessTokenFormat::Jwt).unwrap_or(AccessTokenFormat::Jwt)
        }
        Some(AccessTokenFormat::Opaque) => AccessTokenFormat::Opaque,
    };
    let wanted = client.access_token_status_list
        || (holder == Holder::Person && resources.clone().any(|resource| resource.access_token_status_list));
    let lifetime = resources
        .filter_map(|resource| resource.access_token_lifetime)
        .fold(client.access_token_lifetime.unwrap_or(lifetime), u64::min);
    Form { format, status_list: wanted && format == AccessTokenFormat::Jwt, lifetime }
}

/// RFC 9068 §3, protocol decision 16: the granted resources, else the client's default resource, else the issuer;
/// tokens with `openid` also carry the issuer, for userinfo.
pub fn audience(issuer: &str, client: &ClientMetadata, granted: &[String], scope: &ScopeSet) -> Vec<String> {
    let mut audience: Vec<String> =
        if granted.is_empty() { client.resources.first().cloned().into_iter().collect() } else { granted.to_vec() };
    if audience.is_empty() || (scope.contains(OPENID) && !audience.iter().any(|resource| resource == issuer)) {
        audience.push(issuer.to_owned());
    }
    audience
}

/// How the subjects that the server makes for users begin.
pub const USER_SUBJECT_PREFIX: &str = "u_";

/// Protocol decision 16: the `sub` of a token that involves no user, in a name space that no user's `sub` has.
///
/// A user's subject is [`USER_SUBJECT_PREFIX`] and 22 characters; client ids of that shape are refused.
pub fn may_be_client_id(client_id: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (1..=255).contains(&client_id.len())
        && client_id.bytes().all(unreserved)
        && !(client_id.starts_with(USER_SUBJECT_PREFIX) && client_id.len() == USER_SUBJECT_PREFIX.len() + 22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audience_follows_the_order_of_the_decision() {
        let mut client = ClientMetadata::default();
        let (none, openid) = (ScopeSet::parse("api").unwrap(), ScopeSet::parse("openid").unwrap());
        assert_eq!(audience("https://as", &client, &[], &none), ["https://as"]);
        client.resources = vec!["https://api".into(), "https://b".into()];
        assert_eq!(audience("https://as", &client, &[], &none), ["https://api"]);
        assert_eq!(audience("https://as", &client, &[], &openid), ["https://api", "https://as"]);
        assert_eq!(audience("https://as", &client, &["https://b".into()], &none), ["https://b"]);
    }

    #[test]
    fn a_resources_wish_counts_more_than_the_clients() {
        use AccessTokenFormat::{Jwt, Opaque};
        let resource = |format, lifetime, status| ResourceTokens {
            access_token_format: format,
            access_token_lifetime: lifetime,
            access_token_status_list: status,
        };
        let client = |format, lifetime, status| ClientMetadata {
            access_token_format: format,
            access_token_lifetime: lifetime,
            access_token_status_list: status,
            ..ClientMetadata::default()
        };
        for (client, resources, expected) in [
            (client(None, None, false), vec![], (Jwt, false, 1800)),
            (client(Some(Opaque), Some(60), true), vec![], (Opaque, false, 60)),
            (client(Some(Opaque), None, true), vec![resource(Some(Jwt), None, false)], (Jwt, true, 1800)),
            (client(None, Some(60), false), vec![resource(Some(Opaque), Some(90), true)], (Opaque, false, 60)),
            (client(None, Some(60), false), vec![resource(None, Some(30), true)], (Jwt, true, 30)),
            (
                client(None, None, false),
                vec![resource(Some(Jwt), None, false), resource(Some(Opaque), Some(5), false)],
                (Opaque, false, 5),
            ),
        ] {
            let form = form(&client, resources.iter(), Holder::Person, 1800);
            assert_eq!((form.format, form.status_list, form.lifetime), expected, "{resources:?}");
        }
        let own = |client: &ClientMetadata, wish: bool| {
            form(client, [resource(None, None, wish)].iter(), Holder::Client, 1800).status_list
        };
        assert!(own(&client(None, None, true), false));
        assert!(!own(&client(Some(Opaque), None, true), false));
        assert!(
            !own(&client(None, None, false), true),
            "a resource makes no write of what clients have for themselves"
        );
    }

    #[test]
    fn client_ids_keep_out_of_the_users_name_space() {
        assert!(may_be_client_id("u_web-app") && may_be_client_id("a.b~c_d"));
        for bad in ["", "a b", "a/b", "u_0123456789abcdefghijkl", "é"] {
            assert!(!may_be_client_id(bad), "{bad}");
        }
    }
}
