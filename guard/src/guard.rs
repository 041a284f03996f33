//! A verifier together with its keys, the role hierarchy and the clock: what a resource server holds and shares.
//!
//! A token goes through three questions: is it the issuer's and for us ([`Verifier`], remembered for tokens seen before),
//! has it been ended before its time (status list, introspection), and may it be used as a bearer token (`cnf`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::access_token::{AccessToken, Denied};
use crate::clock::unix_now;
#[cfg(feature = "discovery")]
use crate::discovery::{Discovery, DiscoveryError, IssuerKeys};
#[cfg(feature = "introspection")]
use crate::introspection::{Door, Introspection, Introspector, Which};
use crate::keys::KeySet;
use crate::refusal::TokenRefusal;
use crate::resource_metadata::ResourceMetadata;
#[cfg(feature = "introspection")]
use crate::signed;
use crate::signed::{Kind, Signed};
#[cfg(feature = "discovery")]
use crate::status_list::{Follower, StatusLists};
use crate::token_cache::{TokenCache, TokenHash};
use crate::verifier::Verifier;

pub(crate) type Clock = dyn Fn() -> u64 + Send + Sync;

/// How many verified tokens are remembered unless the program says otherwise.
const REMEMBERED_TOKENS: usize = 10_000;

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
    verified: TokenCache<Verified>,
    #[cfg(feature = "discovery")]
    statuses: Option<Arc<Follower>>,
    #[cfg(feature = "introspection")]
    introspector: Option<Arc<Introspector>>,
}

enum KeySource {
    Fixed(Arc<KeySet>),
    #[cfg(feature = "discovery")]
    Issuer(IssuerKeys),
    /// All tokens are introspected.
    #[cfg(feature = "introspection")]
    Nowhere,
}

/// A token that was found good, and the keys that it was found good with: other keys must find that anew. It is found by
/// the hash of what is signed, which the check of its signature needs too.
#[derive(Clone)]
struct Verified {
    token: AccessToken,
    keys: Arc<KeySet>,
    /// In base64url. Useless without what it signs, which isn't kept.
    signature: Arc<str>,
}

impl Verified {
    /// Whether this is the signature that was found good. In constant time: it mustn't be guessed letter by letter.
    fn is_signed_by(&self, signature: &str) -> bool {
        verify_slices_are_equal(self.signature.as_bytes(), signature.as_bytes()).is_ok()
    }
}

impl KeySource {
    fn are_current(&self, keys: &Arc<KeySet>) -> bool {
        match self {
            Self::Fixed(fixed) => Arc::ptr_eq(fixed, keys),
            #[cfg(feature = "discovery")]
            Self::Issuer(issuer) => issuer.are_current(keys),
            #[cfg(feature = "introspection")]
            Self::Nowhere => false,
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("verifier", &self.inner.verifier).finish_non_exhaustive()
    }
}

impl Guard {
    /// Begins a guard around a verifier.
    pub fn builder(verifier: Verifier) -> GuardBuilder {
        GuardBuilder {
            verifier,
            implied: BTreeMap::new(),
            resource_metadata: None,
            clock: Arc::new(unix_now),
            remembered_tokens: REMEMBERED_TOKENS,
            #[cfg(feature = "discovery")]
            status_lists: Some(StatusLists::new()),
        }
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
            _ => None,
        }
    }

    /// Validates a token that has been taken from a request's `Authorization` header.
    ///
    /// Waits only for a token whose key isn't known, while the issuer's keys are fetched anew; for a status list that is
    /// met for the first time; and for an introspection answer that isn't remembered.
    ///
    /// # Errors
    /// [`Denied`] with the reason; see [`TokenRefusal`].
    pub async fn verify(&self, token: &str) -> Result<AccessToken, Denied> {
        let token = self.judge(token).await.map_err(|refusal| self.deny(refusal))?;
        // RFC 9449 §7.1, RFC 8705 §3: a bound token is good only with its proof. Nobody checks proofs here, so it is
        // refused; taking it as a bearer token would undo the binding.
        if token.cnf.is_some() {
            return Err(self.deny(TokenRefusal::BoundToKey));
        }
        Ok(token.under(Arc::clone(&self.inner.rules)))
    }

    async fn judge(&self, token: &str) -> Result<AccessToken, TokenRefusal> {
        #[cfg(feature = "introspection")]
        if let Some(introspector) = &self.inner.introspector {
            return match (introspector.which(), signed::looks_like_jwt(token)) {
                (Which::Opaque, true) => self.judge_jwt(token).await,
                (Which::Every, true) => {
                    let verified = self.judge_jwt(token).await?;
                    introspector.ask(token, TokenHash::of(token), Some(verified)).await
                }
                _ => introspector.ask(token, TokenHash::of(token), None).await,
            };
        }
        self.judge_jwt(token).await
    }

    async fn judge_jwt(&self, token: &str) -> Result<AccessToken, TokenRefusal> {
        let Inner { verifier, keys, rules, verified, .. } = &*self.inner;
        let mut signed = Signed::split(token, Kind::ACCESS_TOKEN)?;
        let hash = verified.is_on().then(|| TokenHash::from(signed.hash()));
        let known = hash
            .and_then(|hash| verified.get(&hash))
            .filter(|known| keys.are_current(&known.keys) && known.is_signed_by(signed.signature));
        let token = match known {
            Some(known) => {
                verifier.judge_times(&known.token, rules.now())?;
                known.token
            }
            None => {
                let (token, keys) = match keys {
                    KeySource::Fixed(keys) => (verifier.verify_signed(keys, &signed, rules.now())?, Arc::clone(keys)),
                    #[cfg(feature = "discovery")]
                    KeySource::Issuer(keys) => {
                        keys.judge(|keys| verifier.verify_signed(keys, &signed, rules.now())).await?
                    }
                    #[cfg(feature = "introspection")]
                    KeySource::Nowhere => return Err(TokenRefusal::KeysUnavailable),
                };
                if let Some(hash) = hash {
                    verified.put(hash, Verified { token: token.clone(), keys, signature: signed.signature.into() });
                }
                token
            }
        };
        #[cfg(feature = "discovery")]
        if let (Some(statuses), Some(reference)) = (&self.inner.statuses, &token.status) {
            statuses.check(reference, token.exp).await?;
        }
        Ok(token)
    }

    /// A refusal with this guard's metadata URL.
    pub fn deny(&self, refusal: TokenRefusal) -> Denied {
        Denied::new(refusal, self.inner.rules.resource_metadata())
    }

    /// Whether both are the same guard, not merely an equal one.
    #[cfg(feature = "tower")]
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
    remembered_tokens: usize,
    #[cfg(feature = "discovery")]
    status_lists: Option<StatusLists>,
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

    /// The document that describes this resource, whose URL is named in every challenge (RFC 9728 §5.1). Serve it with
    /// `ResourceMetadata::router` or under [`ResourceMetadata::path`].
    pub fn described_by(self, metadata: &ResourceMetadata) -> Self {
        self.resource_metadata(metadata.url())
    }

    /// How many verified tokens are remembered, by their hash; 10,000 by default, 0 turns it off. A remembered token
    /// skips the signature check alone: its times, its key's place in the key set and its status are looked at each time.
    pub fn remember_at_most(mut self, tokens: usize) -> Self {
        self.remembered_tokens = tokens;
        self
    }

    /// How the issuer's status lists are followed. No effect on a guard with fixed keys, which fetches nothing.
    #[cfg(feature = "discovery")]
    pub fn status_lists(mut self, lists: StatusLists) -> Self {
        self.status_lists = Some(lists);
        self
    }

    /// Doesn't look at status lists: a revoked JWT then lives until its `exp`.
    #[cfg(feature = "discovery")]
    pub fn ignore_status_lists(mut self) -> Self {
        self.status_lists = None;
        self
    }

    /// Takes the time, in Unix seconds, from this function instead of the system clock.
    pub fn clock(mut self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// The guard, with keys that never change.
    pub fn with_keys(self, keys: KeySet) -> Guard {
        self.finish(KeySource::Fixed(Arc::new(keys)), |_| {})
    }

    /// The guard, with keys that are found by discovery and refreshed in the background.
    ///
    /// # Errors
    /// As [`Discovery::start`].
    #[cfg(feature = "discovery")]
    pub fn discover(self, discovery: Discovery) -> Result<Guard, DiscoveryError> {
        let keys = discovery.start(self.verifier.issuer())?;
        let statuses = self.follower(&keys);
        Ok(self.finish(KeySource::Issuer(keys), |inner| inner.statuses = statuses))
    }

    /// The guard, which asks the authorization server about tokens (RFC 7662): about opaque ones only, or about all. Keys
    /// are found by discovery as well, unless they aren't needed; then `discovery` only says how requests are made.
    ///
    /// # Errors
    /// As [`Discovery::start`]; [`DiscoveryError::IntrospectionEndpoint`], [`DiscoveryError::SignedWithoutKeys`].
    #[cfg(feature = "introspection")]
    pub fn introspect(self, introspection: Introspection, discovery: Discovery) -> Result<Guard, DiscoveryError> {
        let (keys, door) = match introspection.which() {
            Which::EveryWithoutKeys => (KeySource::Nowhere, Door::Own(Box::new(discovery.outbound()?))),
            Which::Opaque | Which::Every => {
                let keys = discovery.start(self.verifier.issuer())?;
                (KeySource::Issuer(keys.clone()), Door::Issuer(keys))
            }
        };
        let statuses = match &keys {
            KeySource::Issuer(keys) => self.follower(keys),
            _ => None,
        };
        let introspector = Introspector::new(introspection, self.verifier.clone(), Arc::clone(&self.clock), door)?;
        Ok(self.finish(keys, |inner| {
            inner.statuses = statuses;
            inner.introspector = Some(introspector);
        }))
    }

    #[cfg(feature = "discovery")]
    fn follower(&self, keys: &IssuerKeys) -> Option<Arc<Follower>> {
        self.status_lists.clone().map(|lists| Follower::new(lists, keys.clone(), Arc::clone(&self.clock)))
    }

    fn finish(self, keys: KeySource, complete: impl FnOnce(&mut Inner)) -> Guard {
        let rules =
            Rules { implied: transitive(&self.implied), resource_metadata: self.resource_metadata, clock: self.clock };
        let mut inner = Inner {
            verifier: self.verifier,
            keys,
            rules: Arc::new(rules),
            verified: TokenCache::new(self.remembered_tokens),
            #[cfg(feature = "discovery")]
            statuses: None,
            #[cfg(feature = "introspection")]
            introspector: None,
        };
        complete(&mut inner);
        Guard { inner: Arc::new(inner) }
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
