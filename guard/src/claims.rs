//! The claims of an access token (RFC 9068 §2.2), typed.
//!
//! A claim with a wrong JSON type refuses the whole token instead of being dropped: a check that reads a claim must never
//! meet a silent absence. Left out: judging the values, which is [`Verifier`](crate::Verifier)'s part.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::refusal::TokenRefusal;

/// The claims of an access token. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// `iss`: the issuer, equal to the configured one byte for byte.
    pub iss: String,
    /// `sub`: the user, or the client itself where no user is involved. Empty only for an introspected token whose
    /// answer names no subject (RFC 7662 §2.2 makes it optional); such a token owns nothing.
    pub sub: String,
    /// `aud`: whom the token is for; a single string becomes a list of one.
    pub aud: Vec<String>,
    /// `exp`: the token is valid before this time. `u64::MAX` where an introspection answer names no end.
    pub exp: u64,
    /// `iat`: when the token was issued; 0 where an introspection answer doesn't say.
    pub iat: u64,
    /// `nbf`: the token is valid from this time on.
    pub nbf: Option<u64>,
    /// `jti`: the token's id.
    pub jti: String,
    /// `client_id`: the client that got the token.
    pub client_id: String,
    /// `scope` (RFC 8693 §4.2); empty where the claim is absent.
    pub scope: Scopes,
    /// `auth_time`: when the user last authenticated.
    pub auth_time: Option<u64>,
    /// `acr`: the authentication context class.
    pub acr: Option<String>,
    /// `amr`: the authentication methods (RFC 8176).
    pub amr: Vec<String>,
    /// `roles` (RFC 9068 §2.2.3.1), as issued: the guard's hierarchy isn't applied here.
    pub roles: Vec<String>,
    /// `groups` (RFC 9068 §2.2.3.1).
    pub groups: Vec<String>,
    /// `permissions`, as Keyward issues them.
    pub permissions: Vec<String>,
    /// `entitlements` (RFC 9068 §2.2.3.1).
    pub entitlements: Vec<String>,
    /// `cnf`: the key that the token is bound to (RFC 7800, RFC 9449 §6, RFC 8705 §3.1). Who accepts such a token must
    /// check the proof; [`Guard`](crate::Guard) can't and refuses it.
    pub cnf: Option<Map<String, Value>>,
    /// `status.status_list` (Token Status List §6.1): where the issuer says whether the token has been revoked.
    pub status: Option<StatusReference>,
    /// All other claims.
    pub other: Map<String, Value>,
}

/// A token's place in a status list (Token Status List §6.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct StatusReference {
    /// `idx`: the token's index in the list, from 0.
    pub idx: u64,
    /// `uri`: the list.
    pub uri: String,
}

/// The scopes of a token (RFC 6749 §3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(String);

impl Scopes {
    /// Whether this scope was granted. Scopes are compared exactly.
    pub fn contains(&self, scope: &str) -> bool {
        self.iter().any(|granted| granted == scope)
    }

    /// The scopes, in the token's order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Whether no scope was granted.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The claim as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The claims as they come: typed, but not yet known to be complete.
#[derive(Default)]
pub(crate) struct RawClaims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<u64>,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    jti: Option<String>,
    client_id: Option<String>,
    scope: Option<String>,
    auth_time: Option<NumericDate>,
    acr: Option<String>,
    amr: Option<Vec<String>>,
    roles: Option<Names>,
    groups: Option<Names>,
    permissions: Option<Names>,
    entitlements: Option<Names>,
    cnf: Option<Map<String, Value>>,
    status: Option<Status>,
    other: Map<String, Value>,
}

impl RawClaims {
    /// The claims that RFC 9068 §2.2 requires must be there, and say something.
    pub(crate) fn complete(mut self) -> Result<Claims, TokenRefusal> {
        let status = match self.status.take() {
            Some(Status::List(reference)) => Some(reference),
            Some(Status::Other(claim)) => {
                self.other.insert("status".to_owned(), claim);
                None
            }
            None => None,
        };
        let filled = |claim: Option<String>, name| match claim {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(TokenRefusal::MissingClaim(name)),
        };
        let names = |claim: Option<Names>| claim.map(|names| names.0).unwrap_or_default();
        Ok(Claims {
            iss: filled(self.iss, "iss")?,
            exp: self.exp.ok_or(TokenRefusal::MissingClaim("exp"))?,
            aud: match self.aud {
                Some(OneOrMany(audiences)) if !audiences.is_empty() => audiences,
                _ => return Err(TokenRefusal::MissingClaim("aud")),
            },
            sub: filled(self.sub, "sub")?,
            client_id: filled(self.client_id, "client_id")?,
            iat: self.iat.ok_or(TokenRefusal::MissingClaim("iat"))?.0,
            jti: filled(self.jti, "jti")?,
            nbf: self.nbf.map(|time| time.0),
            scope: Scopes(self.scope.unwrap_or_default()),
            auth_time: self.auth_time.map(|time| time.0),
            acr: self.acr,
            amr: self.amr.unwrap_or_default(),
            roles: names(self.roles),
            groups: names(self.groups),
            permissions: names(self.permissions),
            entitlements: names(self.entitlements),
            cnf: self.cnf,
            status,
            other: self.other,
        })
    }

    /// The claims of an introspection answer (RFC 7662 §2.2), where all but `active` is optional. What is absent takes
    /// the value that grants least; issuer and audience are judged by the caller, who knows what absence means there.
    #[cfg(feature = "introspection")]
    pub(crate) fn of_introspection(self, issuer: &str) -> Claims {
        let names = |claim: Option<Names>| claim.map(|names| names.0).unwrap_or_default();
        let time = |claim: Option<NumericDate>| claim.map(|time| time.0);
        Claims {
            iss: self.iss.unwrap_or_else(|| issuer.to_owned()),
            sub: self.sub.unwrap_or_default(),
            aud: self.aud.map(|aud| aud.0).unwrap_or_default(),
            exp: self.exp.unwrap_or(u64::MAX),
            iat: time(self.iat).unwrap_or_default(),
            nbf: time(self.nbf),
            jti: self.jti.unwrap_or_default(),
            client_id: self.client_id.unwrap_or_default(),
            scope: Scopes(self.scope.unwrap_or_default()),
            auth_time: time(self.auth_time),
            acr: self.acr,
            amr: self.amr.unwrap_or_default(),
            roles: names(self.roles),
            groups: names(self.groups),
            permissions: names(self.permissions),
            entitlements: names(self.entitlements),
            cnf: self.cnf,
            // The answer itself says whether the token is alive.
            status: None,
            other: self.other,
        }
    }
}

impl<'de> Deserialize<'de> for RawClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

/// Reads the object in one pass. Hand-written because serde's `flatten` would hold every claim twice, and because
/// RFC 7519 §4 lets us refuse a claim that occurs twice: two readers of such a token could see two different values.
struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = RawClaims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawClaims, A::Error> {
        let mut raw = RawClaims::default();
        while let Some(ClaimName(name)) = map.next_key()? {
            // `null` is a wrong type for each of these, as no variant of them is an `Option`.
            match &*name {
                "iss" => once(&mut raw.iss, &mut map)?,
                "sub" => once(&mut raw.sub, &mut map)?,
                "aud" => once(&mut raw.aud, &mut map)?,
                "exp" => once(&mut raw.exp, &mut map)?,
                "iat" => once(&mut raw.iat, &mut map)?,
                "nbf" => once(&mut raw.nbf, &mut map)?,
                "jti" => once(&mut raw.jti, &mut map)?,
                "client_id" => once(&mut raw.client_id, &mut map)?,
                "scope" => once(&mut raw.scope, &mut map)?,
                "auth_time" => once(&mut raw.auth_time, &mut map)?,
                "acr" => once(&mut raw.acr, &mut map)?,
                "amr" => once(&mut raw.amr, &mut map)?,
                "roles" => once(&mut raw.roles, &mut map)?,
                "groups" => once(&mut raw.groups, &mut map)?,
                "permissions" => once(&mut raw.permissions, &mut map)?,
                "entitlements" => once(&mut raw.entitlements, &mut map)?,
                "cnf" => once(&mut raw.cnf, &mut map)?,
                "status" => once(&mut raw.status, &mut map)?,
                _ => {
                    let value = map.next_value()?;
                    if raw.other.insert(name.into_owned(), value).is_some() {
                        return Err(A::Error::custom("a claim occurs twice"));
                    }
                }
            }
        }
        Ok(raw)
    }
}

/// A claim's name: read in place, as most are known and none of these is kept.
#[derive(Deserialize)]
struct ClaimName<'a>(#[serde(borrow)] Cow<'a, str>);

fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(slot: &mut Option<T>, map: &mut A) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::custom("a claim occurs twice"));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

/// A NumericDate (RFC 7519 §2): a JSON number of seconds, a fraction cut off. `exp` doesn't use it: there a fraction is
/// refused, as no issuer that we know of sends one.
pub(crate) struct NumericDate(pub(crate) u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds))
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
                // 2^53: beyond it a float skips seconds.
                if (0.0..=9_007_199_254_740_992.0).contains(&seconds) {
                    Ok(NumericDate(seconds as u64))
                } else {
                    Err(E::custom("not a time"))
                }
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

/// `status` (Token Status List §6.1): an object whose member `status_list` is understood. Another mechanism, or a claim
/// of that name that some issuer uses for something else, says nothing here; a malformed `status_list` refuses the token.
enum Status {
    List(StatusReference),
    Other(Value),
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let claim = Value::deserialize(deserializer)?;
        match claim.get("status_list") {
            Some(list) => StatusReference::deserialize(list).map(Self::List).map_err(D::Error::custom),
            None => Ok(Self::Other(claim)),
        }
    }
}

/// `aud`: a string or an array of strings (RFC 7519 §4.1.3).
pub(crate) struct OneOrMany(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Audience;
        impl<'de> Visitor<'de> for Audience {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, one: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut many = Vec::with_capacity(items.size_hint().unwrap_or(2).min(16));
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(Audience)
    }
}

/// Roles and their like: an array of strings, or of SCIM's objects with a `value` (RFC 9068 §2.2.3.1, RFC 7643 §4.1.2).
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings or of objects with a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(Name(name)) = items.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Hand-written because serde's `untagged` would hold each name twice.
        struct PlainOrScim;
        impl<'de> Visitor<'de> for PlainOrScim {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object with a value")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Name, A::Error> {
                #[derive(Deserialize)]
                struct Scim {
                    value: String,
                }
                Scim::deserialize(MapAccessDeserializer::new(map)).map(|scim| Name(scim.value))
            }
        }
        deserializer.deserialize_any(PlainOrScim)
    }
}
