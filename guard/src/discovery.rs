//! Finds an issuer's keys and keeps them fresh: authorization server metadata (RFC 8414 §3, else OpenID Connect
//! Discovery §4), then its `jwks_uri` (RFC 7517 §5).
//!
//! Good keys are only ever replaced by good keys: an answer that is missing, malformed, too large, of another issuer or
//! empty changes nothing. A request waits for a fetch only when no known key has its token's `kid`; such fetches happen
//! at most every ten seconds, whoever asks. Left out: signed metadata (RFC 8414 §2.1), HTTP caching headers.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::header::ACCEPT;
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::access_token::AccessToken;
use crate::keys::{KeySet, KeySetError};
use crate::refusal::TokenRefusal;
use crate::verifier::Verifier;

/// A longer document is refused. In bytes.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// While no key is known at all, an attempt that a request asks for is repeated at most this often.
const FIRST_KEYS_RETRY: Duration = Duration::from_secs(1);

/// After a failed refresh the background tries again this soon, or at its interval if that is shorter.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Why keys can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The issuer isn't a URL that RFC 8414 §2 allows: https (http on loopback only), no query, no fragment.
    #[error("the issuer must be an https URL without query and fragment (http is for loopback only)")]
    Issuer,
    /// There is no tokio runtime to refresh keys in.
    #[error("discovery must be started inside of a tokio runtime")]
    NoRuntime,
    /// The extra root certificates aren't PEM certificates.
    #[error("the extra root certificates hold no PEM certificate")]
    ExtraRoot,
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
    /// The request failed.
    #[error("{url} can't be fetched")]
    Fetch {
        /// What was fetched.
        url: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// The answer isn't 200; redirects count as such and aren't followed.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is longer than 512 KiB.
    #[error("{url} is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
    },
    /// The metadata document is malformed, names another issuer, or names a `jwks_uri` that isn't https.
    #[error("{url} isn't usable: {reason}")]
    Metadata {
        /// What was fetched.
        url: String,
        /// A fixed text.
        reason: &'static str,
    },
    /// The JWK set can't be used.
    #[error("{url} isn't usable")]
    Keys {
        /// What was fetched.
        url: String,
        /// Why.
        #[source]
        source: KeySetError,
    },
    /// The runtime ended while keys were being fetched.
    #[error("the fetch was stopped")]
    Stopped,
}

/// How keys are found and refreshed.
#[derive(Debug, Clone)]
#[must_use]
pub struct Discovery {
    refresh_every: Duration,
    refetch_at_most_every: Duration,
    timeout: Duration,
    extra_roots: Vec<Vec<u8>>,
    client: Option<Client>,
    plain_http: PlainHttp,
}

/// Where http without TLS is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlainHttp {
    Loopback,
    Anywhere,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// Refresh every 5 minutes, for unknown keys at most every 10 s, 10 s for an answer.
    pub fn new() -> Self {
        Self {
            refresh_every: Duration::from_secs(300),
            refetch_at_most_every: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            extra_roots: Vec::new(),
            client: None,
            plain_http: PlainHttp::Loopback,
        }
    }

    /// How often the background refreshes the keys. A rotation must publish a key longer than this before signing with
    /// it; where it doesn't, the fetch for an unknown key fills in.
    pub fn refresh_every(mut self, interval: Duration) -> Self {
        self.refresh_every = interval;
        self
    }

    /// How often unknown keys may cause a fetch, over all requests together.
    pub fn refetch_at_most_every(mut self, interval: Duration) -> Self {
        self.refetch_at_most_every = interval;
        self
    }

    /// How long one answer may take, its body included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Also trusts the certificate authorities in this PEM text, beside those of the system. No effect on a client of
    /// one's own.
    pub fn extra_root_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(pem.into());
        self
    }

    /// Uses this client. It shouldn't follow redirects; an answer that came by one is refused in any case.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Allows http to hosts other than loopback, for networks that encrypt below HTTP. Who can change the answers can
    /// then forge any token.
    pub fn allow_plain_http(mut self) -> Self {
        self.plain_http = PlainHttp::Anywhere;
        self
    }

    /// Starts to fetch and refresh the keys of `issuer` in the background and returns at once.
    ///
    /// # Errors
    /// [`DiscoveryError::Issuer`], [`DiscoveryError::NoRuntime`], [`DiscoveryError::ExtraRoot`],
    /// [`DiscoveryError::Client`]. An issuer that is away is
    /// no error.
    pub fn start(self, issuer: &str) -> Result<IssuerKeys, DiscoveryError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| DiscoveryError::NoRuntime)?;
        let url = Url::parse(issuer).map_err(|_| DiscoveryError::Issuer)?;
        // RFC 8414 §2: "a URL that uses the "https" scheme and has no query or fragment components".
        if !self.plain_http.allows(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(DiscoveryError::Issuer);
        }
        let client = match &self.client {
            Some(client) => client.clone(),
            None => outbound(&self.extra_roots)?,
        };
        let inner = Arc::new(Inner {
            issuer: issuer.to_owned(),
            metadata_urls: metadata_urls(&url),
            settings: self,
            client,
            keys: ArcSwapOption::empty(),
            attempts: Arc::new(Mutex::new(Attempts { last_for_unknown_key: None, outcome: Outcome::Failed })),
        });
        let task = runtime.spawn(keep_fresh(Arc::clone(&inner))).abort_handle();
        Ok(IssuerKeys { inner, _background: Arc::new(Background(task)) })
    }
}

/// The keys of an issuer, refreshed in the background for as long as a clone of this exists.
#[derive(Clone)]
pub struct IssuerKeys {
    inner: Arc<Inner>,
    _background: Arc<Background>,
}

impl std::fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerKeys").field("issuer", &self.inner.issuer).field("keys", &self.current()).finish()
    }
}

struct Background(AbortHandle);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Inner {
    issuer: String,
    metadata_urls: [Url; 2],
    settings: Discovery,
    client: Client,
    keys: ArcSwapOption<KeySet>,
    /// Held while fetching, so that one fetch serves all who wait.
    attempts: Arc<Mutex<Attempts>>,
}

struct Attempts {
    last_for_unknown_key: Option<Instant>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fetched,
    Failed,
}

impl IssuerKeys {
    /// The keys known now, if any have been had yet.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.inner.keys.load_full()
    }

    /// Fetches the keys now; joins a fetch that is under way by waiting for it and then fetching again.
    ///
    /// # Errors
    /// [`DiscoveryError`]; the keys known before stay.
    pub async fn refresh(&self) -> Result<(), DiscoveryError> {
        let attempts = Arc::clone(&self.inner.attempts).lock_owned().await;
        self.inner.fetch_detached(attempts).await
    }

    /// Verifies a token with the known keys, and once more with new ones if its key is unknown.
    ///
    /// # Errors
    /// As [`Verifier::verify`]; [`TokenRefusal::KeysUnavailable`] when the key is unknown and the issuer doesn't answer.
    pub async fn verify(
        &self,
        verifier: &Verifier,
        token: &str,
        now: impl Fn() -> u64,
    ) -> Result<AccessToken, TokenRefusal> {
        let seen = self.inner.keys.load_full();
        if let Some(keys) = &seen {
            match verifier.verify(keys, token, now()) {
                Err(TokenRefusal::UnknownKey) => {}
                judged => return judged,
            }
        }
        let outcome = self.inner.renew(seen.as_ref()).await;
        let judged = match self.inner.keys.load_full() {
            None => Err(TokenRefusal::KeysUnavailable),
            Some(keys) => verifier.verify(&keys, token, now()),
        };
        match (judged, outcome) {
            // The issuer may have a key that we couldn't learn of: not the token's fault, and so no 401, after which a
            // client would throw a good token away.
            (Err(TokenRefusal::UnknownKey), Outcome::Failed) => Err(TokenRefusal::KeysUnavailable),
            (judged, _) => judged,
        }
    }
}

impl Inner {
    /// Fetches keys because `seen` has none for a token, unless that was done a moment ago.
    async fn renew(self: &Arc<Self>, seen: Option<&Arc<KeySet>>) -> Outcome {
        let mut attempts = Arc::clone(&self.attempts).lock_owned().await;
        let current = self.keys.load_full();
        let unchanged = match (seen, &current) {
            (None, None) => true,
            (Some(seen), Some(current)) => Arc::ptr_eq(seen, current),
            _ => false,
        };
        if !unchanged {
            return Outcome::Fetched;
        }
        let pause = match current {
            Some(_) => self.settings.refetch_at_most_every,
            None => FIRST_KEYS_RETRY.min(self.settings.refetch_at_most_every),
        };
        if attempts.last_for_unknown_key.is_some_and(|last| last.elapsed() < pause) {
            return attempts.outcome;
        }
        attempts.last_for_unknown_key = Some(monotonic_now());
        match self.fetch_detached(attempts).await {
            Ok(()) => Outcome::Fetched,
            Err(_) => Outcome::Failed, // logged where it happened
        }
    }

    /// Fetches in a task of its own: a request that is given up meanwhile can't stop a fetch that others wait for.
    async fn fetch_detached(self: &Arc<Self>, attempts: OwnedMutexGuard<Attempts>) -> Result<(), DiscoveryError> {
        let inner = Arc::clone(self);
        tokio::spawn(async move { inner.fetch_and_note(attempts).await }).await.unwrap_or(Err(DiscoveryError::Stopped))
    }

    async fn fetch_and_note(&self, mut attempts: OwnedMutexGuard<Attempts>) -> Result<(), DiscoveryError> {
        match self.fetch().await {
            Ok(keys) => {
                tracing::debug!(issuer = %self.issuer, keys = keys.len(), ignored = keys.ignored(), "keys fetched");
                self.keys.store(Some(Arc::new(keys)));
                attempts.outcome = Outcome::Fetched;
                Ok(())
            }
            Err(error) => {
                let cause = error.source().map(|source| innermost(source).to_string());
                tracing::warn!(issuer = %self.issuer, %error, cause, "keys can't be fetched; known ones stay in use");
                attempts.outcome = Outcome::Failed;
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, DiscoveryError> {
        let [first, second] = &self.metadata_urls;
        let jwks_uri = match self.jwks_uri(first).await {
            Ok(found) => found,
            // Nobody answered: the same host won't answer on another path.
            Err(error @ DiscoveryError::Fetch { .. }) => return Err(error),
            Err(_) => self.jwks_uri(second).await?,
        };
        let document = self.get(&jwks_uri).await?;
        KeySet::from_jwks_json(&document).map_err(|source| DiscoveryError::Keys { url: jwks_uri.to_string(), source })
    }

    async fn jwks_uri(&self, url: &Url) -> Result<Url, DiscoveryError> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let unusable = |reason| DiscoveryError::Metadata { url: url.to_string(), reason };
        let document = self.get(url).await?;
        let metadata: Metadata =
            serde_json::from_slice(&document).map_err(|_| unusable("no JSON object with issuer and jwks_uri"))?;
        // RFC 8414 §3.3: the `issuer` must be identical to the one that the URL was made from.
        if metadata.issuer != self.issuer {
            return Err(unusable("it names another issuer"));
        }
        // RFC 8414 §2: "This URL MUST use the "https" scheme".
        Url::parse(&metadata.jwks_uri)
            .ok()
            .filter(|jwks_uri| self.settings.plain_http.allows(jwks_uri))
            .ok_or_else(|| unusable("its jwks_uri isn't an https URL"))
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, DiscoveryError> {
        let failed = |source| DiscoveryError::Fetch { url: url.to_string(), source };
        let request = self.client.get(url.clone()).header(ACCEPT, "application/json").timeout(self.settings.timeout);
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK || response.url() != url {
            return Err(DiscoveryError::Status { url: url.to_string(), status: response.status().as_u16() });
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if document.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                return Err(DiscoveryError::TooLarge { url: url.to_string() });
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

impl PlainHttp {
    fn allows(self, url: &Url) -> bool {
        match url.scheme() {
            "https" => true,
            "http" => self == Self::Anywhere || url.host_str().is_some_and(is_loopback),
            _ => false,
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// RFC 8414 §3.1 puts the well-known part between host and path; OpenID Connect Discovery §4.1 puts it at the end.
fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ]
}

async fn keep_fresh(inner: Arc<Inner>) {
    loop {
        let attempts = Arc::clone(&inner.attempts).lock_owned().await;
        let pause = match inner.fetch_and_note(attempts).await {
            Ok(()) => inner.settings.refresh_every,
            Err(_) => inner.settings.refresh_every.min(RETRY_AFTER_FAILURE),
        };
        wait(pause).await;
    }
}

/// The one place where this crate waits.
#[allow(clippy::disallowed_methods, reason = "the guard runs in programs that have no clock of ours")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// The one place where this crate measures time.
fn monotonic_now() -> Instant {
    Instant::now()
}

/// The one place where this crate makes an HTTP client.
#[allow(clippy::disallowed_methods, reason = "the guard runs in programs that have no client of ours")]
fn outbound(extra_roots: &[Vec<u8>]) -> Result<Client, DiscoveryError> {
    let mut roots = Vec::new();
    for pem in extra_roots {
        let found = Certificate::from_pem_bundle(pem).map_err(|_| DiscoveryError::ExtraRoot)?;
        // A file without any certificate is a mistake that would only show later, as a failing handshake.
        if found.is_empty() {
            return Err(DiscoveryError::ExtraRoot);
        }
        roots.extend(found);
    }
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .user_agent(concat!("keyward-guard/", env!("CARGO_PKG_VERSION")));
    let builder = if roots.is_empty() { builder } else { builder.tls_certs_merge(roots) };
    builder.build().map_err(DiscoveryError::Client)
}

fn innermost<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_lies_where_the_specifications_say() {
        for (issuer, inserted, appended) in [
            (
                "https://id.example",
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ),
            (
                "https://id.example/tenant/",
                "https://id.example/.well-known/oauth-authorization-server/tenant",
                "https://id.example/tenant/.well-known/openid-configuration",
            ),
        ] {
            let [first, second] = metadata_urls(&Url::parse(issuer).unwrap());
            assert_eq!((first.as_str(), second.as_str()), (inserted, appended));
        }
    }

    #[test]
    fn http_is_for_loopback_only() {
        let allowed = |url: &str| PlainHttp::Loopback.allows(&Url::parse(url).unwrap());
        for good in ["https://id.example", "http://127.0.0.1:4000", "http://[::1]/x", "http://localhost:1"] {
            assert!(allowed(good), "{good}");
        }
        for bad in ["http://id.example", "http://10.0.0.1", "http://localhost.evil.example", "ftp://127.0.0.1"] {
            assert!(!allowed(bad), "{bad}");
        }
        assert!(PlainHttp::Anywhere.allows(&Url::parse("http://id.internal").unwrap()));
    }

    #[tokio::test]
    async fn an_issuer_that_no_specification_allows_is_refused() {
        for issuer in ["", "id.example", "http://id.example", "https://id.example?x", "https://id.example#x"] {
            assert!(matches!(Discovery::new().start(issuer), Err(DiscoveryError::Issuer)), "{issuer}");
        }
    }

    #[tokio::test]
    async fn an_extra_root_that_is_no_certificate_is_refused() {
        for pem in ["", "certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            let started = Discovery::new().extra_root_ca(pem).start("https://id.example");
            assert!(matches!(started, Err(DiscoveryError::ExtraRoot | DiscoveryError::Client(_))), "{pem}");
        }
    }

    #[test]
    fn without_a_runtime_it_says_so() {
        assert!(matches!(Discovery::new().start("https://id.example"), Err(DiscoveryError::NoRuntime)));
    }
}
