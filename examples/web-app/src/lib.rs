//! A server-side web app that logs people in through Keyward: OpenID Connect Core 1.0 §3.1 (authorization code flow) as
//! a confidential client, with PKCE (RFC 7636), the `iss` check of RFC 9207, refresh (RFC 6749 §6) and logout
//! (OpenID Connect RP-Initiated Logout 1.0).
//!
//! The map: `login` begins and finishes a login, `home` shows its outcome, `actions` are the buttons; `provider` is
//! everything that is said to the issuer, `session` what the app remembers, `page` what people see.
//!
//! Left out: a database (sessions live in memory and end with the process) and back-channel logout.

mod actions;
mod home;
mod http_client;
mod login;
mod page;
mod provider;
mod session;
mod surroundings;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use url::Url;

use http_client::HttpClient;
use page::Problem;
use provider::{Provider, ProviderError, Settings};
use session::Memory;

/// What the app needs to know before it starts.
pub struct Config {
    /// The issuer, byte for byte as the provider states it.
    pub issuer: String,
    /// The client id registered for this app.
    pub client_id: String,
    /// The client secret registered for this app.
    pub client_secret: String,
    /// Where browsers reach this app, such as `http://localhost:4001`; the redirect URI is this with `/callback`.
    pub public_url: String,
    /// Where the resource server is; the app calls `/api/notes` and `/api/me` there.
    pub api_url: String,
    /// The resource indicator (RFC 8707) to ask for; without it the client's default applies.
    pub resource: Option<String>,
    /// More certificate authorities to trust, as PEM; for an issuer with a certificate of a private authority.
    pub extra_ca_pem: Option<Vec<u8>>,
}

/// Serves the app on `listener` until the future is dropped.
///
/// The issuer need not be up: it is looked for when somebody logs in.
///
/// # Errors
/// `InvalidInput` when a value of `config` is not usable; otherwise what the listener reports.
pub async fn run(listener: TcpListener, config: Config) -> io::Result<()> {
    let app = App::new(config).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    axum::serve(listener, router(Arc::new(app))).await
}

/// The app: settings, what it remembers, and the one HTTP client.
struct App {
    settings: Settings,
    /// Whether cookies carry `Secure`: the browser reaches us by https.
    secure_cookies: bool,
    http: HttpClient,
    memory: Memory,
    /// The provider as last discovered.
    provider: tokio::sync::RwLock<Option<Arc<Provider>>>,
}

/// How long discovery and keys are used before they are fetched again, in seconds.
const PROVIDER_LIFETIME_SECONDS: i64 = 3600;
/// Pauses between attempts to reach an issuer that isn't up yet, in milliseconds.
const DISCOVERY_PAUSES_MILLISECONDS: [u64; 3] = [250, 500, 1000];

impl App {
    fn new(config: Config) -> Result<App, String> {
        let public_url = config.public_url.trim_end_matches('/').to_owned();
        let public = parse_url("public_url", &public_url)?;
        let issuer = parse_url("issuer", &config.issuer)?;
        parse_url("api_url", &config.api_url)?;
        let http = HttpClient::new(config.extra_ca_pem.as_deref(), &issuer)
            .map_err(|error| format!("the HTTP client can't be made: {error}"))?;
        let settings = Settings {
            issuer: config.issuer,
            client_id: config.client_id,
            client_secret: config.client_secret,
            public_url,
            api_url: config.api_url.trim_end_matches('/').to_owned(),
            resource: config.resource,
        };
        Ok(App {
            settings,
            secure_cookies: public.scheme() == "https",
            http,
            memory: Memory::default(),
            provider: tokio::sync::RwLock::new(None),
        })
    }

    /// The provider, discovered on first need and again when what we know is old. An issuer that can't be reached is
    /// tried a few times; when an older discovery is at hand, that one serves.
    async fn provider(&self) -> Result<Arc<Provider>, ProviderError> {
        let known = self.provider.read().await.clone();
        match known {
            Some(provider) if surroundings::unix_seconds() < provider.fetched_at + PROVIDER_LIFETIME_SECONDS => {
                Ok(provider)
            }
            Some(provider) => match self.discover().await {
                Ok(fresh) => Ok(fresh),
                Err(error) => {
                    tracing::warn!(%error, "discovery failed; the older metadata are used");
                    Ok(provider)
                }
            },
            None => {
                for pause in DISCOVERY_PAUSES_MILLISECONDS {
                    match self.discover().await {
                        Err(error) if error.is_passing() => {
                            tracing::info!(%error, "the issuer can't be reached yet");
                            surroundings::pause(std::time::Duration::from_millis(pause)).await;
                        }
                        outcome => return outcome,
                    }
                }
                self.discover().await
            }
        }
    }

    /// Fetches the metadata and the keys now.
    async fn discover(&self) -> Result<Arc<Provider>, ProviderError> {
        let provider = Arc::new(Provider::discover(&self.settings, &self.http).await?);
        *self.provider.write().await = Some(Arc::clone(&provider));
        Ok(provider)
    }

    /// The provider as known, without asking the network.
    async fn known_provider(&self) -> Option<Arc<Provider>> {
        self.provider.read().await.clone()
    }
}

fn parse_url(name: &str, value: &str) -> Result<Url, String> {
    let url = Url::parse(value).map_err(|error| format!("{name} `{value}` isn't a URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(format!("{name} `{value}` must be an http or https URL"))
    }
}

/// Longest request body, in bytes: every form has one hidden field.
const LONGEST_FORM_BYTES: usize = 16 * 1024;

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(home::show))
        .route("/login", get(login::begin))
        .route("/callback", get(login::finish))
        .route("/refresh", post(actions::refresh))
        .route("/call-api", post(actions::call_api))
        .route("/logout", post(actions::log_out))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", include_str!("../static/style.css")) }))
        .route("/icon.svg", get(|| async { file("image/svg+xml", include_str!("../static/icon.svg")) }))
        .fallback(|| async { Problem::not_found() })
        .layer(axum::middleware::map_response(add_headers))
        .layer(DefaultBodyLimit::max(LONGEST_FORM_BYTES))
        .with_state(app)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=300")], text).into_response()
}

/// Headers of every answer. Pages state a Content-Security-Policy of their own; whatever states none may load nothing.
async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // RFC 9700 §4.2.4: the address of the callback holds a code and must not leave by a Referer.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    // Pages show a person's claims; no cache may keep them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
