//! The claims about a person (OpenID Connect Core §5.1) and which scope asks for which (§5.4).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scope::ScopeSet;
use crate::timestamp::Timestamp;

/// OpenID Connect Core §5.1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Address {
    /// The whole address for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    /// Street, house number, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street_address: Option<String>,
    /// City.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// State or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// The standard claims of a person, but `sub`. Serialised, the names are those of OpenID Connect Core §5.1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are the claims of OpenID Connect Core §5.1, which defines each")]
pub struct StandardClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub middle_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthdate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    pub phone_number_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

/// The names of the claims that can be asked for, as discovery lists them.
pub const SUPPORTED: [&str; 31] = [
    "sub",
    "iss",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "sid",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "email",
    "email_verified",
    "phone_number",
    "phone_number_verified",
    "address",
];

impl StandardClaims {
    /// OpenID Connect Core §5.4: the claims that these scopes ask for. Claims without a value are left out (§5.3.2).
    pub fn released(&self, scopes: &ScopeSet, updated_at: Timestamp) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), Value::String(value.clone()));
            }
        };
        if scopes.contains("profile") {
            for (name, value) in [
                ("name", &self.name),
                ("given_name", &self.given_name),
                ("family_name", &self.family_name),
                ("middle_name", &self.middle_name),
                ("nickname", &self.nickname),
                ("preferred_username", &self.preferred_username),
                ("profile", &self.profile),
                ("picture", &self.picture),
                ("website", &self.website),
                ("gender", &self.gender),
                ("birthdate", &self.birthdate),
                ("zoneinfo", &self.zoneinfo),
                ("locale", &self.locale),
            ] {
                put(name, value);
            }
            claims.insert("updated_at".into(), updated_at.seconds().into());
        }
        if scopes.contains("email")
            && let Some(email) = &self.email
        {
            claims.insert("email".into(), Value::String(email.clone()));
            claims.insert("email_verified".into(), Value::Bool(self.email_verified));
        }
        if scopes.contains("phone")
            && let Some(number) = &self.phone_number
        {
            claims.insert("phone_number".into(), Value::String(number.clone()));
            claims.insert("phone_number_verified".into(), Value::Bool(self.phone_number_verified));
        }
        if scopes.contains("address")
            && let Some(address) = &self.address
            && let Ok(value) = serde_json::to_value(address)
        {
            claims.insert("address".into(), value);
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_release_their_claims_and_no_more() {
        let claims = StandardClaims {
            name: Some("Ada".into()),
            email: Some("ada@example.org".into()),
            email_verified: true,
            address: Some(Address { locality: Some("London".into()), ..Address::default() }),
            ..StandardClaims::default()
        };
        let released = |scope: &str| {
            let map = claims.released(&ScopeSet::parse(scope).unwrap(), Timestamp::from_seconds(7));
            map.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(released("openid"), "");
        assert_eq!(released("email"), "email email_verified");
        assert_eq!(released("profile"), "name updated_at");
        assert_eq!(released("address phone"), "address");
    }
}
