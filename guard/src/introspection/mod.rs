//! Asks the authorization server about tokens (RFC 7662): for opaque ones, which nobody else can read, or as a stricter
//! mode for all.
//!
//! Answers are remembered for a few seconds, simultaneous questions about one token become one, and a server that is
//! away is spared by a circuit breaker. While it can't be asked, a token is neither good nor bad: 503. No token is
//! logged or kept. Left out: answers in pages, encrypted answers.

mod answer;
mod breaker;
mod credentials;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::answer::{AbsentAudience, Unusable};
use self::breaker::{Admission, Breaker};
use self::credentials::{Credentials, PrivateKey};
use crate::access_token::AccessToken;
use crate::clock::monotonic_now;
use crate::discovery::{DiscoveryError, IssuerKeys};
use crate::guard::Clock;
use crate::keys::SignatureAlgorithm;
use crate::outbound::{Outbound, OutboundError, innermost};
use crate::refusal::TokenRefusal;
use crate::signed::{self, Kind};
use crate::token_cache::{TokenCache, TokenHash};
use crate::verifier::Verifier;

/// A longer answer is refused. In bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A longer token is refused unasked. In bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// So many questions may be under way at once; more tokens than that get 503.
const MAX_QUESTIONS: usize = 256;

/// How a guard asks; [`GuardBuilder::introspect`](crate::GuardBuilder::introspect) takes it.
#[derive(Debug)]
#[must_use]
pub struct Introspection {
    client_id: String,
    credentials: Credentials,
    endpoint: Option<String>,
    which: Which,
    signed: Option<SignatureAlgorithm>,
    absent_audience: AbsentAudience,
    remember: Duration,
    remember_inactive: Duration,
    capacity: usize,
    timeout: Duration,
}

/// Which tokens are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// What isn't a JWT; JWTs are judged by the issuer's keys.
    Opaque,
    /// All; JWTs are judged by the issuer's keys first.
    Every,
    /// All; no keys are needed.
    EveryWithoutKeys,
}

impl Introspection {
    /// Asks about opaque tokens, as this client of the authorization server, by `client_secret_basic`. JWTs are still
    /// judged by the issuer's keys, without a question.
    ///
    /// By default an answer is remembered for 5 s (and never past the token's `exp`), an "inactive" for 2 s, at most
    /// 10,000 of each; one question takes at most 3 s.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self::with(client_id.into(), Credentials::Basic(Zeroizing::new(client_secret.into())))
    }

    /// As [`new`](Self::new), by `private_key_jwt` (RFC 7523): `pem` is a PKCS#8 key for ES256 or Ed25519, `kid` its name
    /// in the client's registered JWK set.
    ///
    /// # Errors
    /// [`DiscoveryError::PrivateKey`] when it is no such key.
    pub fn with_private_key(
        client_id: impl Into<String>,
        pem: &str,
        kid: Option<&str>,
    ) -> Result<Self, DiscoveryError> {
        let key = PrivateKey::read(pem, kid.map(str::to_owned)).ok_or(DiscoveryError::PrivateKey)?;
        Ok(Self::with(client_id.into(), Credentials::PrivateKey(key)))
    }

    fn with(client_id: String, credentials: Credentials) -> Self {
        Self {
            client_id,
            credentials,
            endpoint: None,
            which: Which::Opaque,
            signed: None,
            absent_audience: AbsentAudience::Refuse,
            remember: Duration::from_secs(5),
            remember_inactive: Duration::from_secs(2),
            capacity: 10_000,
            timeout: Duration::from_secs(3),
        }
    }

    /// Sends the secret in the form (`client_secret_post`), for a server that can't read Basic credentials.
    pub fn secret_in_form(mut self) -> Self {
        if let Credentials::Basic(secret) = self.credentials {
            self.credentials = Credentials::Post(secret);
        }
        self
    }

    /// The endpoint, instead of the one that the issuer's metadata names.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Also asks about JWTs, after their signature and claims were found good: whoever is signed out or disabled is
    /// refused as soon as the server says so.
    pub fn every_token(mut self) -> Self {
        self.which = Which::Every;
        self
    }

    /// Asks about every token and fetches no keys, for an issuer without a JWK set. Needs [`endpoint`](Self::endpoint).
    pub fn without_keys(mut self) -> Self {
        self.which = Which::EveryWithoutKeys;
        self
    }

    /// Demands answers that the issuer has signed with this algorithm (RFC 9701), the one that was registered as
    /// `introspection_signed_response_alg`. A plain answer isn't accepted any more.
    pub fn signed_answers(mut self, algorithm: SignatureAlgorithm) -> Self {
        self.signed = Some(algorithm);
        self
    }

    /// Accepts an active token whose answer names no audience (RFC 7662 §2.2 makes it optional). Only for a server whose
    /// tokens are all meant for this API, or that calls tokens of others inactive. The answer must still say that the
    /// token is an access token, by `token_type` or by `token_use`: a refresh token is active too.
    pub fn accept_absent_audience(mut self) -> Self {
        self.absent_audience = AbsentAudience::Accept;
        self
    }

    /// How long an active token's answer is remembered: so long may a revocation take to be noticed here.
    pub fn remember_for(mut self, duration: Duration) -> Self {
        self.remember = duration;
        self
    }

    /// How long it is remembered that a token isn't active.
    pub fn remember_inactive_for(mut self, duration: Duration) -> Self {
        self.remember_inactive = duration;
        self
    }

    /// How many answers are remembered, of active and of inactive tokens each; 0 remembers none.
    pub fn remember_at_most(mut self, tokens: usize) -> Self {
        self.capacity = tokens;
        self
    }

    /// How long one question may take, its answer's body included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn which(&self) -> Which {
        self.which
    }
}

/// Where the question goes, and by whom.
pub(crate) enum Door {
    /// By the client of the issuer's keys, to the endpoint of its metadata if none is set.
    Issuer(IssuerKeys),
    /// By a client of its own, to the endpoint that is set.
    Own(Box<Outbound>),
}

/// Asks, remembers, and shares answers.
pub(crate) struct Introspector {
    settings: Introspection,
    verifier: Verifier,
    clock: Arc<Clock>,
    door: Door,
    endpoint: Option<Arc<Url>>,
    active: TokenCache<(Instant, AccessToken)>,
    refused: TokenCache<(Instant, TokenRefusal)>,
    under_way: Mutex<HashMap<TokenHash, watch::Receiver<Option<Outcome>>>>,
    breaker: Mutex<Breaker>,
}

type Outcome = Result<AccessToken, TokenRefusal>;

/// Why a question wasn't answered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the issuer's metadata names no introspection endpoint")]
    NoEndpoint,
    #[error("the client assertion can't be made")]
    Assertion,
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("the introspection endpoint answered with status {0}")]
    Status(u16),
    #[error(transparent)]
    Answer(#[from] Unusable),
    #[error("the signed answer is refused: {0}")]
    Signature(TokenRefusal),
}

impl Failure {
    /// Whether the server refused this question and may well answer others. 401 is about the guard's own credentials
    /// (RFC 7662 §2.3), 429 and 5xx about the server.
    fn is_about_one_token(&self) -> bool {
        matches!(self, Self::Status(400 | 403 | 413 | 414))
    }
}

impl Introspector {
    pub(crate) fn new(
        settings: Introspection,
        verifier: Verifier,
        clock: Arc<Clock>,
        door: Door,
    ) -> Result<Arc<Self>, DiscoveryError> {
        let endpoint = match &settings.endpoint {
            Some(text) => {
                let url = Url::parse(text).map_err(|_| DiscoveryError::IntrospectionEndpoint)?;
                // RFC 7662 §4: "the authorization server MUST require TLS".
                if !door.outbound().allows(&url) {
                    return Err(DiscoveryError::IntrospectionEndpoint);
                }
                Some(Arc::new(url))
            }
            None if matches!(door, Door::Own(_)) => return Err(DiscoveryError::IntrospectionEndpoint),
            None => None,
        };
        if settings.signed.is_some() && matches!(door, Door::Own(_)) {
            return Err(DiscoveryError::SignedWithoutKeys);
        }
        Ok(Arc::new(Self {
            active: TokenCache::new(settings.capacity),
            refused: TokenCache::new(settings.capacity),
            settings,
            verifier,
            clock,
            door,
            endpoint,
            under_way: Mutex::default(),
            breaker: Mutex::new(Breaker::NEW),
        }))
    }

    pub(crate) fn which(&self) -> Which {
        self.settings.which
    }

    /// The token as the authorization server knows it. `verified` is the same token, where it is a JWT that was found
    /// good: then only its life is in question.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        token: &str,
        hash: TokenHash,
        verified: Option<AccessToken>,
    ) -> Result<AccessToken, TokenRefusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::TooLarge);
        }
        if let Some(known) = self.known(&hash) {
            return known;
        }
        let mut answer = self.question(token, hash, verified)?;
        let outcome = match answer.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        outcome.unwrap_or(Err(TokenRefusal::IntrospectionUnavailable { retry_after: 1 }))
    }

    /// What was answered a moment ago.
    fn known(&self, hash: &TokenHash) -> Option<Outcome> {
        let now = monotonic_now();
        if let Some((until, token)) = self.active.get(hash) {
            // Never past `exp`: what is to be said of the token then is for the server to say.
            if now < until && (self.clock)() < token.exp {
                return Some(Ok(token));
            }
        }
        let (until, refusal) = self.refused.get(hash)?;
        (now < until).then_some(Err(refusal))
    }

    /// Joins the question about this token, or begins it in a task of its own: a request that is given up can't take the
    /// answer away from others.
    fn question(
        self: &Arc<Self>,
        token: &str,
        hash: TokenHash,
        verified: Option<AccessToken>,
    ) -> Result<watch::Receiver<Option<Outcome>>, TokenRefusal> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = under_way.get(&hash) {
            return Ok(answer.clone());
        }
        // The answer may have come since the caller looked.
        if let Some(known) = self.known(&hash) {
            return Ok(watch::Sender::new(Some(known)).subscribe());
        }
        if under_way.len() >= MAX_QUESTIONS {
            return Err(TokenRefusal::IntrospectionUnavailable { retry_after: 1 });
        }
        // A trial takes the question's time and a little for the answer's check.
        let trial = self.settings.timeout + Duration::from_secs(1);
        if let Admission::Refuse(left) = self.breaker().admit(monotonic_now(), trial) {
            let retry_after = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            return Err(TokenRefusal::IntrospectionUnavailable { retry_after: retry_after.max(1) });
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(hash, answer.clone());
        let question = Question { introspector: Arc::clone(self), hash };
        let token = Zeroizing::new(token.to_owned());
        tokio::spawn(async move {
            let outcome = question.introspector.settle(&token, hash, verified).await;
            // Remembered first, so that whoever finds no question finds the answer.
            drop(question);
            sender.send_replace(Some(outcome));
        });
        Ok(answer)
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, tells the breaker how it went, and remembers the answer.
    async fn settle(&self, token: &str, hash: TokenHash, verified: Option<AccessToken>) -> Outcome {
        match self.put_question(token, verified).await {
            Ok(outcome) => {
                self.breaker().succeeded();
                let now = monotonic_now();
                match &outcome {
                    Ok(token) => self.active.put(hash, (now + self.settings.remember, token.clone())),
                    Err(refusal) => {
                        self.refused.put(hash, (now + self.settings.remember_inactive, refusal.clone()));
                    }
                }
                outcome
            }
            Err(error) => {
                let refusal = TokenRefusal::IntrospectionUnavailable { retry_after: 1 };
                let now = monotonic_now();
                if error.is_about_one_token() {
                    self.breaker().learned_nothing(now);
                    self.refused.put(hash, (now + self.settings.remember_inactive, refusal.clone()));
                } else {
                    self.breaker().failed(now);
                }
                let cause = innermost(&error).to_string();
                tracing::warn!(issuer = %self.verifier.issuer(), %error, cause, "a token can't be introspected");
                Err(refusal)
            }
        }
    }

    async fn put_question(&self, token: &str, verified: Option<AccessToken>) -> Result<Outcome, Failure> {
        let endpoint = match (&self.endpoint, &self.door) {
            (Some(set), _) => Arc::clone(set),
            (None, Door::Issuer(keys)) => keys.introspection_endpoint().await.ok_or(Failure::NoEndpoint)?,
            (None, Door::Own(_)) => return Err(Failure::NoEndpoint),
        };
        let Introspection { client_id, credentials, timeout, signed, .. } = &self.settings;
        let issuer = self.verifier.issuer();
        let (form, authorization) =
            credentials.form(token, client_id, issuer, (self.clock)()).ok_or(Failure::Assertion)?;
        let accept = if signed.is_some() { "application/token-introspection+jwt" } else { "application/json" };
        let reply = self.door.outbound().post(&endpoint, accept, form, authorization, *timeout, MAX_ANSWER_BYTES);
        let reply = reply.await?;
        if reply.status != 200 {
            return Err(Failure::Status(reply.status));
        }
        let answer = match signed {
            None => serde_json::from_slice(&reply.body).map_err(|_| Unusable::Malformed)?,
            Some(algorithm) => {
                let jwt = str::from_utf8(&reply.body).map_err(|_| Unusable::Malformed)?.trim();
                let payload = self.door.open(jwt, Kind::introspection(*algorithm)).await.map_err(Failure::Signature)?;
                answer::unwrap_signed(&payload, issuer, client_id, (self.clock)())?
            }
        };
        let absent = if verified.is_some() { AbsentAudience::Judged } else { self.settings.absent_audience };
        let judged = answer::judge(answer, &self.verifier, absent, (self.clock)())?;
        Ok(judged.map(|claims| verified.unwrap_or_else(|| AccessToken::new(claims))))
    }
}

/// A question under way. However it ends, the next caller may ask again.
struct Question {
    introspector: Arc<Introspector>,
    hash: TokenHash,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.introspector.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hash);
    }
}

impl Door {
    fn outbound(&self) -> &Outbound {
        match self {
            Self::Issuer(keys) => keys.outbound(),
            Self::Own(outbound) => outbound,
        }
    }

    async fn open(&self, jwt: &str, kind: Kind) -> Result<Vec<u8>, TokenRefusal> {
        match self {
            Self::Issuer(keys) => keys.judge(|keys| signed::open(keys, jwt, kind)).await.map(|(payload, _)| payload),
            Self::Own(_) => Err(TokenRefusal::KeysUnavailable),
        }
    }
}
