//! What the app remembers, in memory: logins that are under way, sessions of people, logouts that come back. Each map
//! is bounded; the oldest entry makes room. Cookies carry random keys into these maps and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, header};
use openidconnect::core::CoreIdToken;
use openidconnect::{AccessToken, PkceCodeVerifier, RefreshToken};
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::surroundings;

/// The cookie that names a person's session.
pub(crate) const SESSION_COOKIE: &str = "web_app_session";
/// The cookie that binds logins under way to the browser that began them.
pub(crate) const LOGIN_COOKIE: &str = "web_app_login";
/// How long a login may take, in seconds.
pub(crate) const LOGIN_LIFETIME_SECONDS: i64 = 600;
/// How long a session lasts at most, in seconds.
pub(crate) const SESSION_LIFETIME_SECONDS: i64 = 12 * 3600;
/// The most entries that a map keeps.
const MOST_ENTRIES: usize = 1000;

/// A login that has been sent to the issuer and hasn't come back. Kept per `state`, so that each tab can have its own.
pub(crate) struct PendingLogin {
    /// The value of [`LOGIN_COOKIE`] in the browser that began.
    pub(crate) browser: String,
    /// The nonce that the ID token must carry.
    pub(crate) nonce: String,
    /// The PKCE verifier, whose S256 challenge went to the issuer.
    pub(crate) verifier: PkceCodeVerifier,
    /// When the login began, in unix seconds.
    pub(crate) begun_at: i64,
}

/// A person's session.
pub(crate) struct Session {
    /// The CSRF token of the session's forms.
    pub(crate) csrf: String,
    /// The nonce of the login; an ID token from a refresh must not carry another.
    pub(crate) nonce: String,
    /// The newest ID token, kept as the hint for logout.
    pub(crate) id_token: CoreIdToken,
    /// The claims of that ID token.
    pub(crate) claims: Value,
    /// What the userinfo endpoint said, or why it said nothing.
    pub(crate) userinfo: Result<Value, String>,
    /// The access token.
    pub(crate) access_token: AccessToken,
    /// When the access token ends, in unix seconds, where known.
    pub(crate) access_expires_at: Option<i64>,
    /// The refresh token, if one was issued.
    pub(crate) refresh_token: Option<RefreshToken>,
    /// The granted scope.
    pub(crate) scope: String,
    /// The last answers of the resource server.
    pub(crate) api_result: Option<Value>,
    /// A sentence for the next page.
    pub(crate) notice: Option<String>,
    /// When the session began, in unix seconds.
    pub(crate) begun_at: i64,
}

/// A session that several requests may hold; the lock also keeps two refreshes from running beside each other.
pub(crate) type SharedSession = Arc<tokio::sync::Mutex<Session>>;

/// All that the app remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pending: Mutex<Bounded<PendingLogin>>,
    sessions: Mutex<Bounded<SharedSession>>,
    logouts: Mutex<Bounded<()>>,
}

impl Memory {
    /// Remembers a login under its `state`.
    pub(crate) fn begin_login(&self, state: String, pending: PendingLogin) {
        lock(&self.pending).insert(state, pending);
    }

    /// Takes the login of this `state` out, if the same browser began it and it isn't too old. A foreign browser takes
    /// nothing, so it can't spoil the login either.
    pub(crate) fn take_login(&self, state: &str, browser: Option<&str>) -> Option<PendingLogin> {
        let mut pending = lock(&self.pending);
        // RFC 6749 §10.12: the state must be bound to the user agent.
        let own = pending.get(state).is_some_and(|login| browser.is_some_and(|browser| same(browser, &login.browser)));
        let login = if own { pending.remove(state) } else { None };
        login.filter(|login| surroundings::unix_seconds() < login.begun_at + LOGIN_LIFETIME_SECONDS)
    }

    /// Remembers a session under its id.
    pub(crate) fn begin_session(&self, id: String, session: Session) {
        lock(&self.sessions).insert(id, Arc::new(tokio::sync::Mutex::new(session)));
    }

    /// The session with this id.
    pub(crate) fn session(&self, id: &str) -> Option<SharedSession> {
        lock(&self.sessions).get(id).cloned()
    }

    /// Forgets the session with this id.
    pub(crate) fn end_session(&self, id: &str) {
        lock(&self.sessions).remove(id);
    }

    /// Remembers that a logout with this `state` was sent to the issuer.
    pub(crate) fn begin_logout(&self, state: String) {
        lock(&self.logouts).insert(state, ());
    }

    /// Whether this `state` belongs to a logout that hadn't come back yet.
    pub(crate) fn take_logout(&self, state: &str) -> bool {
        lock(&self.logouts).remove(state).is_some()
    }
}

/// A map that holds at most [`MOST_ENTRIES`]; the entry inserted first goes first.
struct Bounded<V> {
    entries: HashMap<String, (u64, V)>,
    by_age: BTreeMap<u64, String>,
    next: u64,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Bounded { entries: HashMap::new(), by_age: BTreeMap::new(), next: 0 }
    }
}

impl<V> Bounded<V> {
    fn insert(&mut self, key: String, value: V) {
        self.remove(&key);
        while self.entries.len() >= MOST_ENTRIES {
            match self.by_age.pop_first() {
                Some((_, oldest)) => self.entries.remove(&oldest),
                None => break,
            };
        }
        self.by_age.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        self.next += 1;
    }

    fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn remove(&mut self, key: &str) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.by_age.remove(&age);
        Some(value)
    }
}

/// A map stays whole when a holder of its lock panics: each change is a few plain insertions.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compares two secrets in constant time.
pub(crate) fn same(one: &str, other: &str) -> bool {
    bool::from(one.as_bytes().ct_eq(other.as_bytes()))
}

/// The value of a cookie in a request (RFC 6265 §4.2).
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// The text of a `Set-Cookie` header (RFC 6265 §4.1); a lifetime of 0 deletes the cookie.
pub(crate) fn set_cookie(name: &str, value: &str, lifetime_seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={lifetime_seconds}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut map = Bounded::default();
        for number in 0..MOST_ENTRIES {
            map.insert(number.to_string(), number);
        }
        // Inserted again, so no longer the oldest.
        map.insert("0".to_owned(), 7);
        map.insert("one more".to_owned(), 8);
        assert_eq!(map.entries.len(), MOST_ENTRIES);
        assert_eq!(map.by_age.len(), MOST_ENTRIES);
        assert_eq!(map.get("0"), Some(&7));
        assert_eq!(map.get("1"), None);
        assert_eq!(map.get("2"), Some(&2));
    }

    #[test]
    fn a_login_belongs_to_its_browser_and_serves_once() {
        let memory = Memory::default();
        let pending = |begun_at| PendingLogin {
            browser: "mine".to_owned(),
            nonce: "n".to_owned(),
            verifier: PkceCodeVerifier::new("v".repeat(43)),
            begun_at,
        };
        memory.begin_login("s".to_owned(), pending(surroundings::unix_seconds()));
        assert!(memory.take_login("s", Some("foreign")).is_none());
        assert!(memory.take_login("s", None).is_none());
        assert!(memory.take_login("s", Some("mine")).is_some());
        assert!(memory.take_login("s", Some("mine")).is_none());
        memory.begin_login("old".to_owned(), pending(surroundings::unix_seconds() - LOGIN_LIFETIME_SECONDS));
        assert!(memory.take_login("old", Some("mine")).is_none());
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "not_web_app_session=1; web_app_session=abc".parse().unwrap());
        headers.append(header::COOKIE, "web_app_login=d=e".parse().unwrap());
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("abc"));
        assert_eq!(cookie(&headers, LOGIN_COOKIE), Some("d=e"));
        assert_eq!(cookie(&headers, "other"), None);
    }
}
