//! A single-page app: a public client with PKCE whose tokens live in the page's memory (RFC 9700; the draft "OAuth
//! 2.0 for Browser-Based Applications"). This server only hands out its files and `/config.json`; everything else is
//! in `static/oidc.js` (the protocol) and `static/app.js` (the page).
//!
//! Left out: a backend of its own. Tokens in memory end with the page; an app that must not let script see tokens at
//! all is the `web-app` example.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use url::Url;

/// What the app needs to know before it starts.
pub struct Config {
    /// The issuer, byte for byte as the provider states it.
    pub issuer: String,
    /// The client id registered for this app.
    pub client_id: String,
    /// Where the resource server is; the page calls `/api/notes` and `/api/me` there.
    pub api_url: String,
    /// Where browsers reach this app, such as `http://localhost:4002`; the redirect URI is this with `/callback`.
    pub public_url: String,
}

/// Serves the app on `listener` until the future is dropped.
///
/// # Errors
/// `InvalidInput` when a value of `config` is not usable; otherwise what the listener reports.
pub async fn run(listener: TcpListener, config: Config) -> io::Result<()> {
    let router = router(config).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    axum::serve(listener, router).await
}

/// What the page reads from `/config.json`.
#[derive(Clone, Serialize)]
struct PageConfig {
    issuer: String,
    client_id: String,
    api_url: String,
    redirect_uri: String,
    post_logout_redirect_uri: String,
}

fn router(config: Config) -> Result<Router, String> {
    let headers = security_headers(&config)?;
    let public_url = config.public_url.trim_end_matches('/').to_owned();
    origin("public_url", &public_url)?;
    let page_config = Arc::new(PageConfig {
        redirect_uri: format!("{public_url}/callback"),
        post_logout_redirect_uri: format!("{public_url}/"),
        issuer: config.issuer,
        client_id: config.client_id,
        api_url: config.api_url.trim_end_matches('/').to_owned(),
    });
    let page = || async { file("text/html; charset=utf-8", include_str!("../static/index.html")) };
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    Ok(Router::new()
        .route("/", get(page))
        .route("/callback", get(page))
        .route("/app.js", get(|| async { file(SCRIPT, include_str!("../static/app.js")) }))
        .route("/oidc.js", get(|| async { file(SCRIPT, include_str!("../static/oidc.js")) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", include_str!("../static/style.css")) }))
        .route("/icon.svg", get(|| async { file("image/svg+xml", include_str!("../static/icon.svg")) }))
        .route(
            "/config.json",
            get(|State(config): State<Arc<PageConfig>>| async move { Json(config.as_ref().clone()) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is no such page.") })
        .layer(axum::middleware::map_response(move |response| add_headers(headers.clone(), response)))
        .with_state(page_config))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn add_headers(headers: HeaderMap, mut response: Response) -> Response {
    response.headers_mut().extend(headers);
    response
}

/// Headers of every answer. The policy allows script from this server only and connections to issuer and API only, so
/// that a token can't be sent elsewhere by script that slips in.
fn security_headers(config: &Config) -> Result<HeaderMap, String> {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {} {}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
        origin("issuer", &config.issuer)?,
        origin("api_url", &config.api_url)?
    );
    let policy = HeaderValue::from_str(&policy).map_err(|error| error.to_string())?;
    let fixed: [(HeaderName, &str); 3] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // RFC 9700 §4.2.4: the address of the callback holds a code and must not leave by a Referer.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    let mut headers = HeaderMap::from_iter(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(headers)
}

/// The origin of an http or https URL.
fn origin(name: &str, value: &str) -> Result<String, String> {
    let url = Url::parse(value).map_err(|error| format!("{name} `{value}` isn't a URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(format!("{name} `{value}` must be an http or https URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    fn config() -> Config {
        Config {
            issuer: "https://login.example.org/tenant".to_owned(),
            client_id: "spa".to_owned(),
            api_url: "http://localhost:4003/".to_owned(),
            public_url: "http://localhost:4002/".to_owned(),
        }
    }

    async fn fetch(path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(config()).unwrap().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_answer_has_the_strict_policy() {
        for path in
            ["/", "/callback?code=x&state=y", "/app.js", "/oidc.js", "/style.css", "/icon.svg", "/config.json", "/no"]
        {
            let (status, headers, _) = fetch(path).await;
            assert_eq!(status == StatusCode::OK, path != "/no", "{path}");
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
            assert!(
                policy.contains("connect-src 'self' https://login.example.org http://localhost:4003; base-uri"),
                "{policy}"
            );
            assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    #[tokio::test]
    async fn the_callback_is_the_same_page_without_inline_code() {
        let (_, headers, page) = fetch("/").await;
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(page, fetch("/callback?code=x").await.2);
        assert!(!page.contains("<style") && !page.contains(" style="), "inline style");
        assert!(!page.split_whitespace().any(|word| word.starts_with("on") && word.contains('=')), "inline script");
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=").count());
    }

    #[tokio::test]
    async fn the_page_learns_where_everything_is() {
        let (_, _, text) = fetch("/config.json").await;
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["issuer"], "https://login.example.org/tenant");
        assert_eq!(config["client_id"], "spa");
        assert_eq!(config["api_url"], "http://localhost:4003");
        assert_eq!(config["redirect_uri"], "http://localhost:4002/callback");
        assert_eq!(config["post_logout_redirect_uri"], "http://localhost:4002/");
    }

    #[test]
    fn a_bad_address_is_refused_at_the_start() {
        assert!(router(Config { issuer: "login.example.org".to_owned(), ..config() }).is_err());
        assert!(router(Config { api_url: "ftp://localhost".to_owned(), ..config() }).is_err());
        assert!(router(Config { public_url: String::new(), ..config() }).is_err());
    }
}
