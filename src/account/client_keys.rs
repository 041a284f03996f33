//! The public keys that clients publish at their `jwks_uri` (RFC 7591 §2, OpenID Connect Core §10.1.1), kept in memory.
//!
//! Keys are asked for anew when their time is over or a key is missing, at most every ten seconds for a client, and once
//! for all who wait. That time is a quarter of an hour at the most, whatever the client's server says, and over at once
//! when a client is changed: a key that was withdrawn isn't believed for longer. While the client's server is away the keys
//! that are known serve on, for a day at the most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use keyward_keys::{Algorithm, ClientKeys, JwsHeader, VerifyError};
use keyward_protocol::Timestamp;
use moka::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::clock::Clock;
use crate::outbound::{Outbound, OutboundRequest};

/// Clients whose keys are kept.
const KEPT_SETS: u64 = 10_000;
/// Longest set, in bytes.
const MOST_BYTES: usize = 256 * 1024;
/// Seconds between two requests to one client's server (protocol decision 22).
const LEAST_INTERVAL: u64 = 10;
/// Seconds that a set counts as new where its server doesn't say.
const DEFAULT_LIFETIME: u64 = 15 * 60;
/// Bounds of what its server may say, in seconds.
const LIFETIMES: (u64, u64) = (60, DEFAULT_LIFETIME);
/// Seconds after which keys that can't be confirmed aren't believed any more.
const LONGEST_USE: u64 = 86_400;

/// The keys of many clients.
#[derive(Debug)]
pub struct PublishedKeys {
    outbound: Arc<Outbound>,
    clock: Clock,
    sets: Cache<Uuid, Arc<KeptSet>>,
    /// How often all sets were made old.
    edition: Arc<AtomicU64>,
}

/// The keys of one client.
#[derive(Debug, Default)]
struct KeptSet {
    current: ArcSwapOption<Fetched>,
    /// When which address was last asked. Who asks holds it, and who comes meanwhile waits for it.
    asked: Mutex<Option<(Timestamp, String)>>,
}

/// What a client's server said.
#[derive(Debug)]
struct Fetched {
    uri: String,
    keys: Arc<ClientKeys>,
    etag: Option<HeaderValue>,
    confirmed_at: Timestamp,
    /// The edition at which it was asked for.
    edition: u64,
    /// Seconds that its server lets it count as new.
    lifetime: u64,
}

impl Fetched {
    fn is_new(&self, now: Timestamp, edition: u64) -> bool {
        self.edition == edition && now < self.confirmed_at.plus_seconds(self.lifetime)
    }
}

impl KeptSet {
    /// What is known of this address and may still be believed.
    fn known(&self, uri: &str, now: Timestamp) -> Option<Arc<Fetched>> {
        self.current
            .load_full()
            .filter(|fetched| fetched.uri == uri && now < fetched.confirmed_at.plus_seconds(LONGEST_USE))
    }
}

impl PublishedKeys {
    /// Keys that this client fetches.
    pub fn new(outbound: Arc<Outbound>, clock: Clock) -> Self {
        Self { outbound, clock, sets: Cache::new(KEPT_SETS), edition: Arc::default() }
    }

    /// Has the keys of every client asked for anew at their next use, at most every ten seconds for one client.
    pub fn make_old(&self) {
        self.edition.fetch_add(1, Ordering::AcqRel);
    }

    /// Verifies an assertion by the keys that this client publishes at this address, and gives its header and claims,
    /// which aren't judged.
    ///
    /// # Errors
    /// As [`ClientKeys::verify`]; [`VerifyError::UnknownKey`] too where no keys can be had.
    pub async fn verify(
        &self,
        client: Uuid,
        uri: &str,
        assertion: &str,
        allowed: &[Algorithm],
    ) -> Result<(JwsHeader, Map<String, Value>), VerifyError> {
        let set = self.sets.get_with(client, Arc::default);
        let now = self.clock.now();
        let known = set.known(uri, now);
        if let Some(known) = known.as_ref().filter(|known| known.is_new(now, self.edition.load(Ordering::Acquire))) {
            match known.keys.verify(assertion, allowed) {
                // Protocol decision 22: keys that were changed since. One that has no name, or kept its name, shows itself
                // by a signature that doesn't fit.
                Err(VerifyError::UnknownKey | VerifyError::Signature) => {}
                outcome => return outcome,
            }
        }
        let newest = self.renewed(set, uri.to_owned(), known).await;
        newest.ok_or(VerifyError::UnknownKey)?.keys.verify(assertion, allowed)
    }

    /// The newest keys that can be had: asked for now, unless somebody did so just before.
    async fn renewed(&self, set: Arc<KeptSet>, uri: String, seen: Option<Arc<Fetched>>) -> Option<Arc<Fetched>> {
        let (outbound, clock) = (Arc::clone(&self.outbound), self.clock.clone());
        let editions = Arc::clone(&self.edition);
        // By itself: a caller who goes away takes the answer from nobody else.
        let task = tokio::spawn(async move {
            let mut asked = set.asked.lock().await;
            let now = clock.now();
            let known = set.known(&uri, now);
            let came_meanwhile = match (&known, &seen) {
                (Some(known), Some(seen)) => !Arc::ptr_eq(known, seen),
                (known, _) => known.is_some(),
            };
            let just_asked =
                asked.as_ref().is_some_and(|(at, address)| *address == uri && now < at.plus_seconds(LEAST_INTERVAL));
            if came_meanwhile || just_asked {
                return known;
            }
            *asked = Some((now, uri.clone()));
            // Before the request: keys that a change made old meanwhile stay old.
            let edition = editions.load(Ordering::Acquire);
            if let Some(fetched) = fetch(&outbound, &uri, known.as_deref(), now, edition).await {
                set.current.store(Some(Arc::new(fetched)));
            }
            set.known(&uri, now)
        });
        task.await.ok().flatten()
    }
}

/// Asks a client's server. `None` where it has nothing usable, which is in the log.
async fn fetch(
    outbound: &Outbound,
    uri: &str,
    known: Option<&Fetched>,
    now: Timestamp,
    edition: u64,
) -> Option<Fetched> {
    let mut request = OutboundRequest::get(uri)
        .most_bytes(MOST_BYTES)
        .header(header::ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
    if let Some(etag) = known.and_then(|known| known.etag.clone()) {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    // What went wrong on the way is in the log already.
    let answer = outbound.send(request).await.ok()?;
    let useless = |why: &dyn std::fmt::Display| {
        // Without its path and query: what stands there is the client's own affair.
        let url = url::Url::parse(uri).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
        tracing::warn!(url.host = host, reason = %why, "a client's jwks_uri has no usable keys");
    };
    let said = answer.headers.contains_key(header::CACHE_CONTROL).then(|| lifetime(&answer.headers));
    let (keys, etag, lifetime) = match (answer.status, known) {
        // RFC 9111 §3.2: what a confirmation doesn't say anew stays as it was.
        (StatusCode::NOT_MODIFIED, Some(known)) => {
            (Arc::clone(&known.keys), known.etag.clone(), said.unwrap_or(known.lifetime))
        }
        (StatusCode::OK, _) => {
            let set: Value = serde_json::from_slice(&answer.body).map_err(|_| useless(&"it is no JSON")).ok()?;
            let keys = ClientKeys::parse(&set).map_err(|error| useless(&error)).ok()?;
            (Arc::new(keys), answer.headers.get(header::ETAG).cloned(), said.unwrap_or(DEFAULT_LIFETIME))
        }
        (status, _) => {
            useless(&status);
            return None;
        }
    };
    Some(Fetched { uri: uri.to_owned(), keys, etag, confirmed_at: now, edition, lifetime })
}

/// RFC 9111 §5.2.2: how long a set counts as new, in seconds, within our bounds.
fn lifetime(headers: &HeaderMap) -> u64 {
    let mut said = None;
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return LIFETIMES.0;
        }
        if name.eq_ignore_ascii_case("max-age") {
            said = value.trim_matches('"').parse().ok();
        }
    }
    said.unwrap_or(DEFAULT_LIFETIME).clamp(LIFETIMES.0, LIFETIMES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_age_is_believed_within_bounds() {
        let of = |said: &'static str| {
            lifetime(&HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(said))]))
        };
        assert_eq!(lifetime(&HeaderMap::new()), 900);
        for (said, seconds) in [
            ("max-age=600", 600),
            ("public, Max-Age=\"300\"", 300),
            ("max-age=0", 60),
            ("max-age=3600", 900),
            ("max-age=99999999", 900),
            ("max-age=x", 900),
            ("max-age=-5", 900),
            ("no-store, max-age=600", 60),
            ("no-cache", 60),
            ("private", 900),
        ] {
            assert_eq!(of(said), seconds, "{said}");
        }
    }
}
