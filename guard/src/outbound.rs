//! The one HTTP client of this crate: https, no redirects, bounded time and size.
//!
//! Left out: compressed answers, which could swell beyond what was counted.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, ETAG, HeaderName, IF_NONE_MATCH};
use reqwest::{Certificate, Client, RequestBuilder, Response, Url, redirect};

use crate::discovery::DiscoveryError;

/// Where http without TLS is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    Loopback,
    Anywhere,
}

impl PlainHttp {
    pub(crate) fn allows(self, url: &Url) -> bool {
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    #[error("the answer came from elsewhere, by a redirect")]
    Redirected { status: u16 },
    #[error("the answer is too large")]
    TooLarge,
}

/// An answer of any status.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The client with its limits.
pub(crate) struct Outbound {
    client: Client,
    timeout: Duration,
    plain_http: PlainHttp,
}

impl Outbound {
    /// Around a program's own client, or around a new one that trusts the system's authorities and these.
    pub(crate) fn new(
        own: Option<Client>,
        extra_roots: &[Vec<u8>],
        timeout: Duration,
        plain_http: PlainHttp,
    ) -> Result<Self, DiscoveryError> {
        let client = match own {
            Some(client) => client,
            None => client(extra_roots)?,
        };
        Ok(Self { client, timeout, plain_http })
    }

    /// Whether this URL may be asked: https, or http where that was allowed.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        self.plain_http.allows(url)
    }

    /// GET; with `etag` a copy is at hand, and 304 is an answer. `max` is the longest body, in bytes.
    pub(crate) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        etag: Option<&str>,
        max: usize,
    ) -> Result<Reply, OutboundError> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        self.send(request, url, self.timeout, max).await
    }

    /// POST of a form, with one more header if there is one.
    #[cfg(feature = "introspection")]
    pub(crate) async fn post(
        &self,
        url: &Url,
        accept: &'static str,
        form: String,
        authorization: Option<reqwest::header::HeaderValue>,
        timeout: Duration,
        max: usize,
    ) -> Result<Reply, OutboundError> {
        use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
        let request = self.client.post(url.clone()).header(ACCEPT, accept);
        let mut request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        self.send(request, url, timeout, max).await
    }

    async fn send(
        &self,
        request: RequestBuilder,
        url: &Url,
        timeout: Duration,
        max: usize,
    ) -> Result<Reply, OutboundError> {
        let mut response = request.timeout(timeout).send().await.map_err(OutboundError::Request)?;
        let status = response.status().as_u16();
        if response.url() != url {
            return Err(OutboundError::Redirected { status });
        }
        let etag = text_of(&response, ETAG);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(OutboundError::Request)? {
            if body.len() + chunk.len() > max {
                return Err(OutboundError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, etag, body })
    }
}

fn text_of(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

#[allow(clippy::disallowed_methods, reason = "the guard runs in programs that have no client of ours")]
fn client(extra_roots: &[Vec<u8>]) -> Result<Client, DiscoveryError> {
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

/// The error at the end of a chain: what a person needs to read.
pub(crate) fn innermost<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
