//! The one client for requests that leave the server to addresses that others chose: a client's keys, documents,
//! notifications (requirement WB-6).
//!
//! It goes by https to the internet at large and nowhere else: the address that is judged is the one that is connected
//! to, so that a name which answers differently the second time gains nothing; each redirect, where any is followed, is
//! judged as if it were asked for. The operator can name hosts and networks that may be reached all the same. There is no
//! proxy, no cookie and no credential but what the caller puts in. Addresses that the operator chose are asked by a client
//! without these judgements (`operator.rs`). Left out: what an answer means.

pub mod address;
pub mod breaker;
pub mod operator;

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use moka::sync::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use thiserror::Error;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use url::{Host, Url};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::serve::install_provider;
use crate::settings::OutboundSettings;
use breaker::Breaker;

/// Hosts whose state is kept.
const KEPT_HOSTS: u64 = 10_000;
/// Addresses that answered that they can't, of which that is kept.
const KEPT_BROKEN: u64 = 10_000;
/// Requests that may be under way to one host at once: a slow one doesn't take all places.
const MOST_TO_ONE_HOST: usize = 8;
/// Connections that are kept open to one host.
const IDLE_CONNECTIONS: usize = 2;
/// How long a connection is kept open.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Why a request brought nothing. What is said is the same for everybody; particulars go to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutboundError {
    /// The address isn't one that this server goes to: no https, or not the internet at large.
    #[error("the address is not one that this server goes to")]
    Refused,
    /// No connection, no TLS that can be trusted, or no HTTP.
    #[error("the host can't be reached")]
    Unreachable,
    /// It took too long.
    #[error("the host took too long")]
    TimedOut,
    /// The answer is longer than the caller or the operator allows.
    #[error("the answer is too long")]
    TooLong,
    /// The answer points elsewhere, and the caller follows no more.
    #[error("the host answers with a redirect")]
    Redirected,
    /// The host, or this address of it, has failed so often that it isn't asked now.
    #[error("the host has failed too often and is left alone for a while")]
    LeftAlone,
    /// Too many requests are under way.
    #[error("too many requests are under way")]
    Busy,
}

/// A request to somebody else.
#[derive(Debug, Clone)]
pub struct OutboundRequest {
    url: String,
    method: Method,
    headers: HeaderMap,
    body: Vec<u8>,
    most_bytes: usize,
    redirects: u8,
}

impl OutboundRequest {
    /// GET this address; no redirect is followed, and the operator's limit of length holds.
    pub fn get(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Vec::new(),
            most_bytes: usize::MAX,
            redirects: 0,
        }
    }

    /// POST this body. A redirect is never followed.
    pub fn post(url: &str, content_type: HeaderValue, body: Vec<u8>) -> Self {
        Self { method: Method::POST, body, ..Self::get(url) }.header(header::CONTENT_TYPE, content_type)
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a limit of length of its own, in bytes, where that is lower than the operator's.
    #[must_use]
    pub const fn most_bytes(mut self, most: usize) -> Self {
        self.most_bytes = most;
        self
    }

    /// Following this many redirects of a GET. What isn't of the same origin doesn't get the headers.
    #[must_use]
    pub const fn redirects(mut self, most: u8) -> Self {
        self.redirects = most;
        self
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct OutboundAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// How names become addresses: by the system, or as a test says.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Names to addresses by the system.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Where the server goes, and where it doesn't.
#[derive(Debug, Clone)]
struct Rules {
    allowed_networks: Vec<crate::settings::Network>,
    allowed_hosts: Vec<String>,
    http_hosts: Vec<String>,
}

impl Rules {
    /// Whether this address of this host may be connected to.
    fn may_connect(&self, host: &str, address: IpAddr) -> bool {
        address::is_public(address)
            || self.allowed_networks.iter().any(|network| network.contains(address))
            || names(&self.allowed_hosts, host)
    }

    /// Judges what can be judged before a name is resolved, and gives the host's name.
    fn judge(&self, url: &Url) -> Result<String, OutboundError> {
        let host = url.host().ok_or(OutboundError::Refused)?;
        let name = host.to_string();
        let scheme_is_right = match url.scheme() {
            "https" => true,
            "http" => names(&self.http_hosts, &name),
            _ => false,
        };
        // An address isn't resolved, and so it is judged here.
        let address = match host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        let may_go = scheme_is_right
            && url.username().is_empty()
            && url.password().is_none()
            && address.is_none_or(|address| self.may_connect(&name, address));
        if may_go { Ok(name) } else { Err(OutboundError::Refused) }
    }
}

/// Whether the list has this host; a dot at its end (RFC 1034 §3.1) makes no other host of it.
fn names(list: &[String], host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    list.iter().any(|named| named.eq_ignore_ascii_case(host))
}

/// Resolves names and leaves out what the rules forbid: what is connected to is what was judged.
struct GuardedResolver {
    rules: Rules,
    lookup: Lookup,
}

/// No address of a name may be connected to.
#[derive(Debug, Error)]
#[error("every address of the name is forbidden")]
struct Forbidden;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        let rules = self.rules.clone();
        Box::pin(async move {
            let found = found.await?;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| rules.may_connect(name.as_str(), *address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// What is known of one host.
#[derive(Debug)]
struct HostState {
    breaker: Mutex<Breaker>,
    places: Semaphore,
}

/// The client.
pub struct Outbound {
    settings: OutboundSettings,
    rules: Rules,
    authorities: Vec<reqwest::Certificate>,
    lookup: Lookup,
    clock: Clock,
    /// Made at the first use: the system's certificates take time and memory that many servers never need.
    client: OnceCell<reqwest::Client>,
    places: Semaphore,
    hosts: Cache<String, Arc<HostState>>,
    /// The addresses that take a connection and then don't answer, or answer that they can't: one client's broken address
    /// says nothing about those of others on the same host.
    broken: Cache<String, Arc<Mutex<Breaker>>>,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Outbound").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Outbound {
    /// A client by these settings.
    ///
    /// # Errors
    /// Where the file of further authorities can't be read.
    pub fn new(settings: &OutboundSettings, clock: Clock, lookup: Lookup) -> Result<Self, Fault> {
        let authorities = match &settings.ca_file {
            None => Vec::new(),
            Some(file) => authorities_of("outbound.ca_file", file)?,
        };
        Ok(Self {
            rules: Rules {
                allowed_networks: settings.allowed_networks.clone(),
                allowed_hosts: settings.allowed_hosts.clone(),
                http_hosts: settings.http_hosts.clone(),
            },
            authorities,
            lookup,
            clock,
            client: OnceCell::new(),
            places: Semaphore::new(settings.max_concurrent),
            hosts: Cache::new(KEPT_HOSTS),
            broken: Cache::new(KEPT_BROKEN),
            settings: settings.clone(),
        })
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// What went wrong, in words that tell nothing of the inside.
    pub async fn send(&self, mut request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        let mut url = Url::parse(&request.url).map_err(|_| OutboundError::Refused)?;
        loop {
            let answer = self.hop(&url, &request).await?;
            let Some(next) = redirect_of(&url, &answer) else { return Ok(answer) };
            if request.redirects == 0 || request.method != Method::GET {
                return Err(OutboundError::Redirected);
            }
            request.redirects -= 1;
            if next.origin() != url.origin() {
                request.headers.clear();
            }
            url = next;
        }
    }

    /// One request and its answer, judged, bounded and remembered.
    async fn hop(&self, url: &Url, request: &OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        let name = self.rules.judge(url).inspect_err(|_| {
            tracing::warn!(url.host = url.host_str().unwrap_or_default(), "an outbound address was refused");
        })?;
        let key = format!("{name}:{}", url.port_or_known_default().unwrap_or_default());
        let host = self.hosts.get_with(key, || {
            Arc::new(HostState { breaker: Mutex::default(), places: Semaphore::new(MOST_TO_ONE_HOST) })
        });
        let time = self.settings.timeout.as_duration();
        let _places = tokio::time::timeout(time, self.take_places(&host)).await.map_err(|_| OutboundError::Busy)??;
        let pause = self.settings.breaker_pause.as_secs();
        let breaker = || host.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = self.broken.get(url.as_str());
        let address_admits = broken
            .as_ref()
            .is_none_or(|broken| broken.lock().unwrap_or_else(PoisonError::into_inner).admits(pause, self.clock.now()));
        if !address_admits || !breaker().admits(pause, self.clock.now()) {
            return Err(OutboundError::LeftAlone);
        }
        let outcome = match tokio::time::timeout(time, self.exchange(url, request)).await {
            Ok(outcome) => outcome,
            // A connection has less time: there was one.
            Err(_) => Err(Failed::connected(OutboundError::TimedOut)),
        };
        if outcome.as_ref().is_err_and(|failed| !failed.connected) {
            breaker().failed(self.settings.breaker_failures, pause, self.clock.now());
        } else {
            breaker().answered();
            let well = match &outcome {
                Ok(answer) => !answer.status.is_server_error(),
                Err(failed) => !matches!(failed.error, OutboundError::Unreachable | OutboundError::TimedOut),
            };
            if !well {
                let broken = self.broken.get_with_by_ref(url.as_str(), Arc::default);
                let mut broken = broken.lock().unwrap_or_else(PoisonError::into_inner);
                broken.failed(self.settings.breaker_failures, pause, self.clock.now());
            } else if broken.is_some() {
                self.broken.invalidate(url.as_str());
            }
        }
        outcome
            .map_err(|failed| failed.error)
            .inspect_err(|error| tracing::warn!(url.host = name, %error, "an outbound request failed"))
    }

    async fn take_places<'a>(
        &'a self,
        host: &'a HostState,
    ) -> Result<(SemaphorePermit<'a>, SemaphorePermit<'a>), OutboundError> {
        // The host's first: who waits for a slow host takes no place from the others.
        let of_host = host.places.acquire().await.map_err(|_| OutboundError::Busy)?;
        let of_all = self.places.acquire().await.map_err(|_| OutboundError::Busy)?;
        Ok((of_host, of_all))
    }

    async fn exchange(&self, url: &Url, request: &OutboundRequest) -> Result<OutboundAnswer, Failed> {
        let client = self.client().await.map_err(|fault| {
            tracing::error!(error = %fault, "the outbound client can't be made");
            Failed { error: OutboundError::Unreachable, connected: false }
        })?;
        let mut response = client
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| sorted(&error))?;
        let most = request.most_bytes.min(self.settings.max_response_bytes);
        let body = read_whole(&mut response, most).await.map_err(|unread| match unread {
            Unread::TooLong => Failed::connected(OutboundError::TooLong),
            Unread::Broken(error) => sorted(&error),
        })?;
        Ok(OutboundAnswer { status: response.status(), headers: response.headers().clone(), body })
    }

    async fn client(&self) -> Result<&reqwest::Client, Fault> {
        self.client
            .get_or_try_init(|| async {
                let resolver = GuardedResolver { rules: self.rules.clone(), lookup: Arc::clone(&self.lookup) };
                let (authorities, connect) = (self.authorities.clone(), self.settings.connect_timeout.as_duration());
                // The system's certificates are read from files.
                tokio::task::spawn_blocking(move || build(resolver, authorities, connect))
                    .await
                    .map_err(Fault::broken)?
                    .map_err(Fault::broken)
            })
            .await
    }
}

/// Why an exchange failed, and whose failure it is.
#[derive(Debug, Clone, Copy)]
struct Failed {
    error: OutboundError,
    /// There was a connection: what fails then is this address, of which its owner decides, and says nothing about the
    /// addresses of others on the same host.
    connected: bool,
}

impl Failed {
    const fn connected(error: OutboundError) -> Self {
        Self { error, connected: true }
    }
}

/// What an error of the HTTP client is for us; its own words are for the log.
fn sorted(error: &reqwest::Error) -> Failed {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Forbidden>() {
            // Our own refusal is no failure of the host.
            return Failed::connected(OutboundError::Refused);
        }
        tracing::debug!(error = %inner, "an outbound request failed");
        cause = inner.source();
    }
    let kind = if error.is_timeout() { OutboundError::TimedOut } else { OutboundError::Unreachable };
    Failed { error: kind, connected: !error.is_connect() }
}

fn build(
    resolver: GuardedResolver,
    authorities: Vec<reqwest::Certificate>,
    connect_timeout: Duration,
) -> reqwest::Result<reqwest::Client> {
    plain(authorities, connect_timeout)
        .dns_resolver(Arc::new(resolver))
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIME)
        .build()
}

/// What every client of the server has: no proxy, no redirect, no word of where a request comes from.
#[allow(clippy::disallowed_methods, reason = "the one place that makes outbound clients")]
fn plain(authorities: Vec<reqwest::Certificate>, connect_timeout: Duration) -> reqwest::ClientBuilder {
    install_provider();
    reqwest::Client::builder()
        .user_agent("Keyward")
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .tls_certs_merge(authorities)
}

/// The authorities in a PEM file, which a setting names.
fn authorities_of(setting: &str, file: &Path) -> Result<Vec<reqwest::Certificate>, Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::broken(format_args!("{setting}: {}: {error}", file.display()));
    let pem = std::fs::read(file).map_err(|error| broken(&error))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| broken(&error))?;
    if found.is_empty() {
        return Err(broken(&"there is no certificate in it"));
    }
    Ok(found)
}

/// Why a body wasn't read.
enum Unread {
    TooLong,
    Broken(reqwest::Error),
}

/// Reads a body that has at most so many octets.
async fn read_whole(response: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, Unread> {
    if response.content_length().is_some_and(|length| length > most as u64) {
        return Err(Unread::TooLong);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + chunk.len() > most {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Where an answer points to (RFC 9110 §15.4). One that points nowhere readable is an answer like others.
fn redirect_of(url: &Url, answer: &OutboundAnswer) -> Option<Url> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !redirects.contains(&answer.status) {
        return None;
    }
    url.join(answer.headers.get(header::LOCATION)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn rules(change: impl FnOnce(&mut OutboundSettings)) -> Rules {
        let mut settings = Settings::default().outbound;
        change(&mut settings);
        Rules {
            allowed_networks: settings.allowed_networks,
            allowed_hosts: settings.allowed_hosts,
            http_hosts: settings.http_hosts,
        }
    }

    fn goes(rules: &Rules, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| rules.judge(&url).is_ok())
    }

    #[test]
    fn only_https_and_no_address_that_is_near_us() {
        let strict = rules(|_| {});
        for url in ["https://shop.example/jwks", "https://8.8.8.8/", "https://[2606:4700::1111]:8443/"] {
            assert!(goes(&strict, url), "{url}");
        }
        for url in [
            "http://shop.example/",
            "ftp://shop.example/",
            "file:///etc/passwd",
            "data:,x",
            "gopher://shop.example/",
            "unix:/run/x",
            "https://user@shop.example/",
            "https://:pass@shop.example/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://017700000001/",
            "https://0/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://10.0.0.1:8443/",
            "https:///",
            "",
            "shop.example",
            "https://１２７.0.0.1/",
        ] {
            assert!(!goes(&strict, url), "{url}");
        }
    }

    #[test]
    fn the_operator_allows_hosts_and_networks() {
        let open = rules(|settings| {
            settings.allowed_hosts = vec!["intra.example".into(), "127.0.0.1".into()];
            settings.allowed_networks = vec!["10.1.0.0/16".parse().unwrap()];
            settings.http_hosts = vec!["intra.example".into()];
        });
        for url in ["http://intra.example/", "https://intra.example./", "https://127.0.0.1/", "https://10.1.2.3/"] {
            assert!(goes(&open, url), "{url}");
        }
        for url in ["http://127.0.0.1/", "https://127.0.0.2/", "https://10.2.0.1/", "http://x.intra.example/"] {
            assert!(!goes(&open, url), "{url}");
        }
        let private: IpAddr = "192.168.0.1".parse().unwrap();
        assert!(open.may_connect("intra.example", private) && !open.may_connect("evil-intra.example", private));
        assert!(!open.may_connect("intra.example.evil.example", private));
    }
}
