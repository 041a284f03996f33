//! A verifier together with its keys, the role hierarchy and the clock: what a resource server holds and shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::access_token::{AccessToken, Denied};
#[cfg(feature = "discovery")]
use crate::discovery::{Discovery, DiscoveryError, IssuerKeys};
use crate::keys::KeySet;
use crate::refusal::TokenRefusal;
use crate::verifier::Verifier;

type Clock = dyn Fn() -> u64 + Send + Sync;

/// Validates the access tokens of one issuer for one resource server. Cheap to clone; the state of an axum router, or a
/// part of it by `FromRef`.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    verifier: Verifier,
    keys: KeySource,
    rules: Arc<Rules>,
}

enum KeySource {
    Fixed(Arc<KeySet>),
    #[cfg(feature = "discovery")]
    Issuer(IssuerKeys),
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("verifier", &self.inner.verifier).finish_non_exhaustive()
    }
}

impl Guard {
    /// Begins a guard around a verifier.
    pub fn builder(verifier: Verifier) -> GuardBuilder {
        GuardBuilder { verifier, implied: BTreeMap::new(), resource_metadata: None, clock: Arc::new(unix_now) }
    }

    /// A guard that finds the keys of `issuer` by discovery and accepts tokens for `audience`, with all settings at
    /// their defaults. It returns at once; the issuer may come up later.
    ///
    /// # Errors
    /// [`DiscoveryError`] when the issuer isn't an https URL (http only on loopback), outside of a tokio runtime, or
    /// when TLS can't be set up.
    #[cfg(feature = "discovery")]
    pub fn discover(issuer: impl Into<String>, audience: impl Into<String>) -> Result<Self, DiscoveryError> {
        Self::builder(Verifier::new(issuer).audience(audience)).discover(Discovery::new())
    }

    /// The keys of a guard made by discovery: to wait for the first ones, or to refresh them by hand.
    #[cfg(feature = "discovery")]
    pub fn issuer_keys(&self) -> Option<&IssuerKeys> {
        match &self.inner.keys {
            KeySource::Issuer(keys) => Some(keys),
            KeySource::Fixed(_) => None,
        }
    }

    /// Validates a token that has been taken from a request's `Authorization` header.
    ///
    /// Waits only for a token whose key isn't known, while the issuer's keys are fetched anew.
    ///
    /// # Errors
    /// [`Denied`] with the reason; see [`TokenRefusal`].
    pub async fn verify(&self, token: &str) -> Result<AccessToken, Denied> {
        let Inner { verifier, keys, rules } = &*self.inner;
        let verified = match keys {
            KeySource::Fixed(keys) => verifier.verify(keys, token, rules.now()),
            #[cfg(feature = "discovery")]
            KeySource::Issuer(keys) => keys.verify(verifier, token, || rules.now()).await,
        };
        let token = verified.map_err(|refusal| self.deny(refusal))?;
        // RFC 9449 §7.1, RFC 8705 §3: a bound token is good only with its proof. Nobody checks proofs here, so it is
        // refused; taking it as a bearer token would undo the binding.
        if token.cnf.is_some() {
            return Err(self.deny(TokenRefusal::BoundToKey));
        }
        Ok(token.under(Arc::clone(rules)))
    }

    /// A refusal with this guard's metadata URL.
    pub fn deny(&self, refusal: TokenRefusal) -> Denied {
        Denied::new(refusal, self.inner.rules.resource_metadata())
    }

    /// Whether both are the same guard, not merely an equal one.
    #[cfg(feature = "axum")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// The settings of a [`Guard`].
#[must_use]
pub struct GuardBuilder {
    verifier: Verifier,
    implied: BTreeMap<String, BTreeSet<String>>,
    resource_metadata: Option<Arc<str>>,
    clock: Arc<Clock>,
}

impl GuardBuilder {
    /// Who has `role` also has the `implied` ones, and what these imply in turn: `.role_implies("admin",
    /// ["moderator"]).role_implies("moderator", ["user"])`.
    pub fn role_implies<I>(mut self, role: impl Into<String>, implied: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.implied.entry(role.into()).or_default().extend(implied.into_iter().map(Into::into));
        self
    }

    /// The URL of this resource's metadata document (RFC 9728 §3), named in every challenge (§5.1).
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.resource_metadata = Some(url.into().into());
        self
    }

    /// Takes the time, in Unix seconds, from this function instead of the system clock.
    pub fn clock(mut self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// The guard, with keys that never change.
    pub fn with_keys(self, keys: KeySet) -> Guard {
        self.finish(KeySource::Fixed(Arc::new(keys)))
    }

    /// The guard, with keys that are found by discovery and refreshed in the background.
    ///
    /// # Errors
    /// As [`Discovery::start`].
    #[cfg(feature = "discovery")]
    pub fn discover(self, discovery: Discovery) -> Result<Guard, DiscoveryError> {
        let keys = discovery.start(self.verifier.issuer())?;
        Ok(self.finish(KeySource::Issuer(keys)))
    }

    fn finish(self, keys: KeySource) -> Guard {
        let rules =
            Rules { implied: transitive(&self.implied), resource_metadata: self.resource_metadata, clock: self.clock };
        Guard { inner: Arc::new(Inner { verifier: self.verifier, keys, rules: Arc::new(rules) }) }
    }
}

/// What a guard's tokens know of their guard.
pub(crate) struct Rules {
    implied: BTreeMap<String, BTreeSet<String>>,
    resource_metadata: Option<Arc<str>>,
    clock: Arc<Clock>,
}

impl Rules {
    pub(crate) fn grants_role(&self, held: &[String], wanted: &str) -> bool {
        held.iter().any(|role| role == wanted || self.implied.get(role).is_some_and(|implied| implied.contains(wanted)))
    }

    pub(crate) fn resource_metadata(&self) -> Option<Arc<str>> {
        self.resource_metadata.clone()
    }

    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }
}

/// All that each role implies, directly or not. Roles of a cycle imply each other.
fn transitive(direct: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let reach = |start: &BTreeSet<String>| {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&String> = start.iter().collect();
        while let Some(role) = waiting.pop() {
            if reached.insert(role.clone()) {
                waiting.extend(direct.get(role).into_iter().flatten());
            }
        }
        reached
    };
    direct.iter().map(|(role, implied)| (role.clone(), reach(implied))).collect()
}

/// The one place where this crate reads the system clock. A clock before 1970 counts as the end of time, so that every
/// token has expired rather than none.
#[allow(clippy::disallowed_methods, reason = "the default clock of a guard; programs may give another")]
fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (role, implied) in edges {
            direct.entry((*role).to_owned()).or_default().insert((*implied).to_owned());
        }
        transitive(&direct)
    }

    #[test]
    fn roles_imply_through_others_and_never_upwards() {
        let implied = graph(&[("admin", "moderator"), ("moderator", "user"), ("auditor", "reader")]);
        let rules = Rules { implied, resource_metadata: None, clock: Arc::new(|| 0) };
        let grants = |held: &str, wanted: &str| rules.grants_role(&[held.to_owned()], wanted);
        assert!(grants("admin", "admin") && grants("admin", "moderator") && grants("admin", "user"));
        assert!(grants("moderator", "user") && !grants("moderator", "admin"));
        assert!(!grants("user", "moderator") && !grants("admin", "reader") && !grants("", "user"));
        assert!(!rules.grants_role(&[], "user"));
    }

    #[test]
    fn a_cycle_ends() {
        let implied = graph(&[("a", "b"), ("b", "c"), ("c", "a")]);
        assert_eq!(implied["a"].len(), 3);
    }
}
