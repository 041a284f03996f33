//! A validated access token, and the questions a resource server asks about it.
//!
//! An [`AccessToken`] comes only out of [`Verifier::verify`](crate::Verifier::verify) or out of the authorization
//! server's own answer (introspection), so having one is the proof that issuer, audience and times were checked.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::claims::Claims;
use crate::guard::Rules;
use crate::refusal::TokenRefusal;

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
        self.demand(!self.sub.is_empty() && self.sub == owner, || TokenRefusal::NotOwner)
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
