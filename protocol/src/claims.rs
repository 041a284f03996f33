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

/// The claims that say something about a token or an authentication, and that no scope gives.
const BY_NO_SCOPE: [&str; 12] =
    ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid"];

/// OpenID Connect Core §5.4: which scope asks for which claims. Roles, groups and permissions are scopes of their own
/// (requirement RB-2).
const BY_SCOPE: [(&str, &[&str]); 7] = [
    (
        "profile",
        &[
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
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("phone", &["phone_number", "phone_number_verified"]),
    ("address", &["address"]),
    ("roles", &["roles"]),
    ("groups", &["groups"]),
    ("permissions", &["permissions"]),
];

/// The names of the claims that can be asked for, as discovery lists them.
pub fn supported() -> impl Iterator<Item = &'static str> {
    BY_NO_SCOPE.into_iter().chain(BY_SCOPE.into_iter().flat_map(|(_, claims)| claims.iter().copied()))
}

/// The scope that gives this claim; none for those that no scope gives.
pub fn scope_of(claim: &str) -> Option<&'static str> {
    BY_SCOPE.into_iter().find(|(_, claims)| claims.contains(&claim)).map(|(scope, _)| scope)
}

impl StandardClaims {
    /// OpenID Connect Core §5.4: the claims that these scopes ask for. Claims without a value are left out (§5.3.2).
    pub fn released(&self, scopes: &ScopeSet, updated_at: Timestamp) -> Map<String, Value> {
        BY_SCOPE
            .into_iter()
            .filter(|(scope, _)| scopes.contains(scope))
            .flat_map(|(_, claims)| claims)
            .filter_map(|name| Some(((*name).to_owned(), self.value(name, updated_at)?)))
            .collect()
    }

    /// The value of the claim of this name, where there is one.
    pub fn value(&self, name: &str, updated_at: Timestamp) -> Option<Value> {
        let text = match name {
            "name" => &self.name,
            "given_name" => &self.given_name,
            "family_name" => &self.family_name,
            "middle_name" => &self.middle_name,
            "nickname" => &self.nickname,
            "preferred_username" => &self.preferred_username,
            "profile" => &self.profile,
            "picture" => &self.picture,
            "website" => &self.website,
            "gender" => &self.gender,
            "birthdate" => &self.birthdate,
            "zoneinfo" => &self.zoneinfo,
            "locale" => &self.locale,
            "email" => &self.email,
            "phone_number" => &self.phone_number,
            "updated_at" => return Some(updated_at.seconds().into()),
            // Whether something was verified says nothing where there is nothing.
            "email_verified" => return self.email.is_some().then(|| self.email_verified.into()),
            "phone_number_verified" => return self.phone_number.is_some().then(|| self.phone_number_verified.into()),
            "address" => return self.address.as_ref().and_then(|address| serde_json::to_value(address).ok()),
            _ => return None,
        };
        text.clone().map(Value::String)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn every_claim_of_a_scope_is_listed_as_supported_and_has_a_value() {
        let full = serde_json::to_value(StandardClaims::default()).unwrap();
        assert!(full.get("email_verified").is_some());
        for (_, names) in BY_SCOPE.into_iter().filter(|(scope, _)| !["roles", "groups", "permissions"].contains(scope))
        {
            for name in names {
                assert!(supported().any(|supported| supported == *name), "{name}");
                let mut claims = json!({"email": "a@example.org", "phone_number": "1", "address": {}});
                if claims.get(name).is_none() && !name.ends_with("_verified") && *name != "updated_at" {
                    claims[*name] = "x".into();
                }
                let claims: StandardClaims = serde_json::from_value(claims).unwrap();
                assert!(claims.value(name, Timestamp::from_seconds(7)).is_some(), "{name}");
                assert_eq!(
                    StandardClaims::default().value(name, Timestamp::from_seconds(7)).is_some(),
                    *name == "updated_at"
                );
            }
        }
        assert_eq!(scope_of("auth_time"), None);
    }
}
