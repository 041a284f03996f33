//! The one HTTP client of the app: reqwest, without redirects, with caps on time and size. It serves the
//! `openidconnect` crate as its asynchronous client, and the calls to the resource server.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use url::{Host, Url};

/// The longest a request may take from connect to the last byte.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const LARGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The request couldn't be made, sent or answered.
    #[error("{}", with_causes(.0))]
    Transport(#[from] reqwest::Error),
    /// The answer couldn't be put together.
    #[error("malformed answer: {0}")]
    Malformed(#[from] axum::http::Error),
    /// The file of certificate authorities holds none.
    #[error("the PEM of the extra certificate authorities holds no certificate")]
    NoCertificate,
    /// The answer is larger than the app reads.
    #[error("the answer is larger than {LARGEST_ANSWER_BYTES} bytes")]
    TooLarge,
}

/// An error with its causes: "connection refused" is always in the last one.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The client; cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpClient {
    client: reqwest::Client,
}

impl HttpClient {
    /// Makes the client. `extra_ca_pem` is trusted beside the system's authorities.
    ///
    /// # Errors
    /// When `extra_ca_pem` holds no certificate, or TLS can't be set up.
    #[allow(clippy::disallowed_methods, reason = "the one HTTP client of this program")]
    pub(crate) fn new(extra_ca_pem: Option<&[u8]>, issuer: &Url) -> Result<HttpClient, HttpError> {
        let mut builder = reqwest::Client::builder()
            // A redirected token request would hand the secret or the code to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LONGEST_REQUEST)
            .user_agent("keyward-example-web-app");
        if let Some(pem) = extra_ca_pem {
            let authorities = reqwest::Certificate::from_pem_bundle(pem)?;
            // Passed over in silence, this would show much later, as an untrusted issuer.
            if authorities.is_empty() {
                return Err(HttpError::NoCertificate);
            }
            builder = builder.tls_certs_merge(authorities);
        }
        // A proxy can't reach this machine's own loopback addresses.
        if is_loopback(issuer) {
            builder = builder.no_proxy();
        }
        Ok(HttpClient { client: builder.build()? })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When no complete answer of bearable size comes in time. An error status is an answer.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.client.execute(request.try_into()?).await?;
        let mut builder = axum::http::Response::builder().status(answer.status()).version(answer.version());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(builder.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Whether the URL names this machine: `localhost` or a loopback address.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
