//! A test kit: an issuer of your own, with keys made at run time, so that the tests of an API need no server.
//!
//! ```
//! use keyward_guard::TokenRefusal;
//! use keyward_guard::testing::TestIssuer;
//!
//! # tokio_test(async {
//! let issuer = TestIssuer::new("https://api.example.com"); // the audience of its tokens
//! let guard = issuer.guard(); // what your router gets instead of `Guard::discover(…)`
//!
//! let token = issuer.token("alice").scope("notes.read").role("admin").mint();
//! let token = guard.verify(&token).await.unwrap();
//! assert!(token.sub == "alice" && token.has_role("admin"));
//!
//! let short = issuer.token("alice").expires_in(60).mint();
//! issuer.clock().advance(121); // guards allow 60 s for clocks that disagree
//! assert_eq!(*guard.verify(&short).await.unwrap_err().refusal(), TokenRefusal::Expired);
//! # });
//! # fn tokio_test(test: impl Future<Output = ()>) {
//! #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
//! # }
//! ```
//!
//! [`TestIssuer::serve`] puts the same issuer behind HTTP on loopback, with discovery, keys, a status list and
//! introspection, for tests that include the guard's own requests. Tokens that no issuer would make come from
//! [`TestKey::sign`].
//!
//! Where something can't be made (no chance, no port), these functions panic, as is right for a test.
#![allow(clippy::expect_used, reason = "a test kit: a panic is how a test says that it can't be run")]

mod key;
mod served;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

pub use self::key::TestKey;
pub use self::served::ServedIssuer;
use crate::clock::unix_now;
use crate::guard::{Guard, GuardBuilder};
use crate::keys::{KeySet, SignatureAlgorithm};
use crate::verifier::Verifier;

/// A clock that moves only when it is told to. It begins at the system's time.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(unix_now())))
    }

    /// The time, in Unix seconds.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves the clock forward, by seconds.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// An issuer without a server. Cheap to clone; clones share keys and clock.
#[derive(Clone)]
pub struct TestIssuer {
    issuer: Arc<str>,
    audience: Arc<str>,
    clock: TestClock,
    state: Arc<Mutex<State>>,
}

/// What changes about an issuer.
struct State {
    /// The newest is the last, and signs.
    keys: Vec<Arc<TestKey>>,
    keys_made: usize,
    minted: u64,
    /// One byte a token, 1 for a revoked one: a status list of eight bits.
    statuses: Vec<u8>,
    /// Opaque tokens and their claims.
    opaque: Vec<(String, Value)>,
    revoked: Vec<String>,
}

impl std::fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl TestIssuer {
    /// An issuer `https://issuer.test` with an ES256 key, whose tokens are for this audience.
    pub fn new(audience: impl Into<String>) -> Self {
        Self::named("https://issuer.test", audience)
    }

    /// As [`new`](Self::new), with an `iss` of your choice.
    pub fn named(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let state = State {
            keys: vec![Arc::new(TestKey::new("test-1", SignatureAlgorithm::Es256))],
            keys_made: 1,
            minted: 0,
            statuses: Vec::new(),
            opaque: Vec::new(),
            revoked: Vec::new(),
        };
        Self {
            issuer: issuer.into().into(),
            audience: audience.into().into(),
            clock: TestClock::new(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The clock of the issuer and of its guards.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The published keys, as a JWK set.
    pub fn jwks_json(&self) -> String {
        let keys: Vec<Value> = self.state().keys.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }

    /// The published keys, for [`GuardBuilder::with_keys`].
    pub fn key_set(&self) -> KeySet {
        KeySet::from_jwks_json(self.jwks_json().as_bytes()).expect("these keys were just made")
    }

    /// A guard that trusts the keys published now, by this issuer's clock, with all other settings at their defaults.
    pub fn guard(&self) -> Guard {
        self.builder().with_keys(self.key_set())
    }

    /// The beginning of a guard with settings of your own, by this issuer's clock.
    pub fn builder(&self) -> GuardBuilder {
        let clock = self.clock.clone();
        Guard::builder(Verifier::new(&*self.issuer).audience(&*self.audience)).clock(move || clock.now())
    }

    /// Signs from now on with a new ES256 key; the others stay published.
    pub fn rotate(&self) {
        self.rotate_to(SignatureAlgorithm::Es256);
    }

    /// Signs from now on with a new key of this algorithm; the others stay published.
    pub fn rotate_to(&self, algorithm: SignatureAlgorithm) {
        let mut state = self.state();
        state.keys_made += 1;
        let kid = format!("test-{}", state.keys_made);
        state.keys.push(Arc::new(TestKey::new(kid, algorithm)));
    }

    /// Withdraws all keys but the one that signs.
    pub fn withdraw_old_keys(&self) {
        let mut state = self.state();
        let current = state.keys.pop();
        state.keys = current.into_iter().collect();
    }

    /// The key that signs now, for tokens that no issuer would make.
    pub fn key(&self) -> Arc<TestKey> {
        Arc::clone(self.state().keys.last().expect("an issuer always has a key"))
    }

    /// Begins a token: a user `sub`, the client `test-client`, this issuer's audience, good for an hour.
    pub fn token(&self, sub: impl Into<String>) -> TokenBuilder {
        let number = {
            let mut state = self.state();
            state.minted += 1;
            state.minted
        };
        let now = self.clock.now();
        let mut claims = Map::new();
        let members = [
            ("iss", json!(&*self.issuer)),
            ("sub", json!(sub.into())),
            ("aud", json!([&*self.audience])),
            ("exp", json!(now + 3600)),
            ("iat", json!(now)),
            ("jti", json!(format!("test-token-{number}"))),
            ("client_id", json!("test-client")),
        ];
        claims.extend(members.map(|(name, value)| (name.to_owned(), value)));
        TokenBuilder { issuer: self.clone(), claims }
    }

    /// Ends a token before its time: its place in the status list, and its life for introspection. Only an issuer that is
    /// [served](Self::serve) has anyone to tell.
    pub fn revoke(&self, token: &str) {
        let mut state = self.state();
        if let Some(index) =
            key::claims_of(token).and_then(|claims| claims.pointer("/status/status_list/idx")?.as_u64())
            && let Some(status) = usize::try_from(index).ok().and_then(|index| state.statuses.get_mut(index))
        {
            *status = 1;
        }
        state.revoked.push(token.to_owned());
    }
}

/// A token in the making.
#[derive(Clone)]
#[must_use]
pub struct TokenBuilder {
    issuer: TestIssuer,
    claims: Map<String, Value>,
}

impl std::fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBuilder").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl TokenBuilder {
    /// Grants a scope, or several with spaces between; may be called for several.
    pub fn scope(mut self, scope: &str) -> Self {
        let granted = match self.claims.get("scope").and_then(Value::as_str) {
            Some(before) => format!("{before} {scope}"),
            None => scope.to_owned(),
        };
        self.claims.insert("scope".to_owned(), granted.into());
        self
    }

    /// Gives a role; may be called for several.
    pub fn role(self, role: &str) -> Self {
        self.listed("roles", role)
    }

    /// Gives a permission; may be called for several.
    pub fn permission(self, permission: &str) -> Self {
        self.listed("permissions", permission)
    }

    /// Puts the token into a group; may be called for several.
    pub fn group(self, group: &str) -> Self {
        self.listed("groups", group)
    }

    fn listed(mut self, claim: &str, name: &str) -> Self {
        if let Some(Value::Array(names)) = self.claims.get_mut(claim) {
            names.push(name.into());
        } else {
            self.claims.insert(claim.to_owned(), json!([name]));
        }
        self
    }

    /// The client that holds the token.
    pub fn client(self, client_id: &str) -> Self {
        self.claim("client_id", client_id)
    }

    /// Another audience than the issuer's.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", json!([audience]))
    }

    /// The token ends so many seconds from now on, by the issuer's clock.
    pub fn expires_in(self, seconds: u64) -> Self {
        let exp = self.issuer.clock.now() + seconds;
        self.claim("exp", exp)
    }

    /// A token that ended an hour ago.
    pub fn expired(self) -> Self {
        let exp = self.issuer.clock.now().saturating_sub(3600);
        self.claim("exp", exp)
    }

    /// The user signed in so many seconds ago, with this authentication context.
    pub fn signed_in(self, seconds_ago: u64, acr: &str) -> Self {
        let then = self.issuer.clock.now().saturating_sub(seconds_ago);
        self.claim("auth_time", then).claim("acr", acr)
    }

    /// Any claim, in place of what it was.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Gives the token a place in the issuer's status list, so that [`TestIssuer::revoke`] can end it.
    pub fn revocable(self) -> Self {
        let index = {
            let mut state = self.issuer.state();
            state.statuses.push(0);
            state.statuses.len() - 1
        };
        let uri = format!("{}{}", self.issuer.issuer, served::STATUS_LIST);
        self.claim("status", json!({ "status_list": { "idx": index, "uri": uri } }))
    }

    /// The token as a JWT (RFC 9068).
    pub fn mint(self) -> String {
        let key = self.issuer.key();
        key.sign(&key.header("at+jwt"), &Value::Object(self.claims))
    }

    /// The token as an opaque string, which only the introspection endpoint of a [served](TestIssuer::serve) issuer can
    /// read.
    pub fn mint_opaque(self) -> String {
        let token = key::random_text();
        self.issuer.state().opaque.push((token.clone(), Value::Object(self.claims)));
        token
    }
}
