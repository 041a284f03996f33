//! The claims of a validated access token (RFC 9068 §2.2), typed, and the questions a resource server asks about them.
//!
//! An [`AccessToken`] comes only out of [`Verifier::verify`](crate::Verifier::verify), so having one is the proof that
//! its signature, issuer, audience and times were checked. A claim with a wrong JSON type refuses the whole token
//! instead of being dropped: a check that reads a claim must never meet a silent absence.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::guard::Rules;
use crate::refusal::TokenRefusal;

/// The claims of an access token. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// `iss`: the issuer, equal to the configured one byte for byte.
    pub iss: String,
    /// `sub`: the user, or the client itself where no user is involved.
    pub sub: String,
    /// `aud`: whom the token is for; a single string becomes a list of one.
    pub aud: Vec<String>,
    /// `exp`: the token is valid before this time.
    pub exp: u64,
    /// `iat`: when the token was issued.
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
    /// All other claims.
    pub other: Map<String, Value>,
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

/// A validated access token. Cheap to clone. Its claims are fields: `token.sub`, `token.scope.contains("notes.read")`.
///
/// As an axum extractor (feature `axum`) it is the request's Bearer token, validated by the state's
/// [`Guard`](crate::Guard).
#[derive(Clone)]
pub struct AccessToken {
    claims: Arc<Claims>,
    rules: Option<Arc<Rules>>,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessToken").field(&self.claims).finish()
    }
}

impl Deref for AccessToken {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

/// A refusal together with the URL of the resource's metadata, ready to be an answer: with the feature `axum` it turns
/// into a response with status, `WWW-Authenticate` and a small JSON body.
#[derive(Clone, PartialEq, Eq)]
pub struct Denied {
    refusal: TokenRefusal,
    resource_metadata: Option<Arc<str>>,
}

impl Denied {
    pub(crate) fn new(refusal: TokenRefusal, resource_metadata: Option<Arc<str>>) -> Self {
        Self { refusal, resource_metadata }
    }

    /// Why.
    pub fn refusal(&self) -> &TokenRefusal {
        &self.refusal
    }

    /// The value of `WWW-Authenticate`, if the answer has one.
    pub fn www_authenticate(&self) -> Option<String> {
        self.refusal.www_authenticate(self.resource_metadata.as_deref())
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Denied").field(&self.refusal).finish()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for Denied {}

impl AccessToken {
    pub(crate) fn new(claims: Claims) -> Self {
        Self { claims: Arc::new(claims), rules: None }
    }

    /// The same token under a guard's role hierarchy and metadata URL.
    pub(crate) fn under(self, rules: Arc<Rules>) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// Whether the token has this role, itself or by the guard's hierarchy (`admin` implies `user` where so configured).
    pub fn has_role(&self, role: &str) -> bool {
        match &self.rules {
            Some(rules) => rules.grants_role(&self.roles, role),
            None => self.roles.iter().any(|held| held == role),
        }
    }

    /// Whether the token has this permission.
    pub fn has_permission(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| held == permission)
    }

    /// Demands a scope.
    ///
    /// # Errors
    /// 403 `insufficient_scope`, naming the scope (RFC 6750 §3.1).
    pub fn require_scope(&self, scope: &str) -> Result<(), Denied> {
        self.demand(self.scope.contains(scope), || TokenRefusal::InsufficientScope(scope.to_owned()))
    }

    /// Demands a role, by the guard's hierarchy.
    ///
    /// # Errors
    /// 403 `insufficient_scope`.
    pub fn require_role(&self, role: &str) -> Result<(), Denied> {
        self.demand(self.has_role(role), || TokenRefusal::MissingRole)
    }

    /// Demands a permission.
    ///
    /// # Errors
    /// 403 `insufficient_scope`.
    pub fn require_permission(&self, permission: &str) -> Result<(), Denied> {
        self.demand(self.has_permission(permission), || TokenRefusal::MissingPermission)
    }

    /// Demands that `owner`, the subject that owns a resource, is the token's subject.
    ///
    /// # Errors
    /// 403 `insufficient_scope`. Where a stranger mustn't learn that the resource exists, answer 404 instead.
    pub fn must_own(&self, owner: &str) -> Result<(), Denied> {
        self.demand(self.sub == owner, || TokenRefusal::NotOwner)
    }

    /// Demands one of these authentication context classes, the preferred first (RFC 9470).
    ///
    /// # Errors
    /// 401 `insufficient_user_authentication` with `acr_values`.
    pub fn require_acr(&self, acceptable: &[&str]) -> Result<(), Denied> {
        let met = self.acr.as_deref().is_some_and(|acr| acceptable.contains(&acr));
        self.demand(met, || TokenRefusal::StepUp {
            acr_values: acceptable.iter().map(|acr| (*acr).to_owned()).collect(),
            max_age: None,
        })
    }

    /// Demands that the user authenticated at most `max_age` seconds before `now` (Unix seconds; RFC 9470). A token
    /// without `auth_time` doesn't meet it.
    ///
    /// # Errors
    /// 401 `insufficient_user_authentication` with `max_age`.
    pub fn require_authenticated_within(&self, max_age: u64, now: u64) -> Result<(), Denied> {
        let met = self.auth_time.is_some_and(|then| now.saturating_sub(then) <= max_age);
        self.demand(met, || TokenRefusal::StepUp { acr_values: Vec::new(), max_age: Some(max_age) })
    }

    /// As [`require_authenticated_within`](Self::require_authenticated_within), by the guard's clock. A token that no
    /// guard validated has no clock and doesn't meet it.
    ///
    /// # Errors
    /// 401 `insufficient_user_authentication` with `max_age`.
    pub fn require_max_age(&self, max_age: u64) -> Result<(), Denied> {
        let now = self.rules.as_ref().map_or(u64::MAX, |rules| rules.now());
        self.require_authenticated_within(max_age, now)
    }

    /// A refusal of this token with the guard's metadata URL, for a check of one's own.
    pub fn deny(&self, refusal: TokenRefusal) -> Denied {
        Denied::new(refusal, self.rules.as_ref().and_then(|rules| rules.resource_metadata()))
    }

    fn demand(&self, met: bool, refusal: impl FnOnce() -> TokenRefusal) -> Result<(), Denied> {
        if met { Ok(()) } else { Err(self.deny(refusal())) }
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
    other: Map<String, Value>,
}

impl RawClaims {
    /// The claims that RFC 9068 §2.2 requires must be there, and say something.
    pub(crate) fn complete(self) -> Result<Claims, TokenRefusal> {
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
            other: self.other,
        })
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
        while let Some(name) = map.next_key::<String>()? {
            // `null` is a wrong type for each of these, as no variant of them is an `Option`.
            match name.as_str() {
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
                _ => {
                    let value = map.next_value()?;
                    if raw.other.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim occurs twice"));
                    }
                }
            }
        }
        Ok(raw)
    }
}

fn once<'de, A: MapAccess<'de>, T: Deserialize<'de>>(slot: &mut Option<T>, map: &mut A) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::custom("a claim occurs twice"));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

/// A NumericDate (RFC 7519 §2): a JSON number of seconds, a fraction cut off. `exp` doesn't use it: there a fraction is
/// refused, as no issuer that we know of sends one.
struct NumericDate(u64);

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

/// `aud`: a string or an array of strings (RFC 7519 §4.1.3).
struct OneOrMany(Vec<String>);

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
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Plain(String),
            Scim { value: String },
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Plain(name) | Form::Scim { value: name } => Self(name),
        })
    }
}
