//! Between HTTP and the endpoints: what comes in, and how answers and errors go out.

pub mod accept;
pub mod admission;
pub mod client_authentication;
pub mod connection_limit;
pub mod cors;
pub mod csrf;
pub mod headers;
pub mod json;
pub mod page;
pub mod refused;
pub mod session_cookie;
pub mod shedding;

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, FromRequest};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::{ErrorCode, Refusal};

use self::refused::Refused;
use crate::app::App;
use crate::audit::AuditOrigin;
use crate::fault::Fault;
use crate::store::client::RegisteredClient;

/// When to come again who comes while we can't serve, in seconds (RFC 9110 §10.2.3).
pub const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The id of a request, in logs, answers and the audit trail.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The header value that names the request.
    pub const fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl From<HeaderValue> for RequestId {
    fn from(value: HeaderValue) -> Self {
        Self(value)
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A request whose body was read.
#[derive(Debug)]
pub struct Incoming {
    /// The method.
    pub method: Method,
    /// The address.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The request's id.
    pub request_id: RequestId,
    /// Who is at the other end, as far as proxies that are trusted say.
    pub address: Option<IpAddr>,
    /// The client that this request turned out to come from, for CORS.
    pub client: OnceLock<Arc<RegisteredClient>>,
}

impl Incoming {
    /// For the audit trail.
    pub fn origin(&self) -> AuditOrigin {
        AuditOrigin {
            address: self.address.map(|address| address.to_string()),
            request_id: Some(self.request_id.to_string()),
        }
    }

    /// The text of a header; `None` where it is absent or not ASCII.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The parameters of the query.
    ///
    /// # Errors
    /// `invalid_request` where the encoding is broken.
    pub fn query(&self) -> Result<Parameters, Refusal> {
        Parameters::parse(self.uri.query().unwrap_or_default())
    }

    /// The parameters of the body, which must be a form.
    ///
    /// # Errors
    /// `invalid_request` where it isn't, or the encoding is broken.
    pub fn form(&self) -> Result<Parameters, Refusal> {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // RFC 6749 §4.1.3: the parameters are sent as application/x-www-form-urlencoded.
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "The Content-Type must be application/x-www-form-urlencoded.",
            ));
        }
        let text = std::str::from_utf8(&self.body)
            .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "A parameter is not correctly encoded."))?;
        Parameters::parse(text)
    }

    /// The one Authorization header.
    ///
    /// # Errors
    /// `invalid_request` where there are several or it isn't ASCII.
    pub fn authorization(&self) -> Result<Option<&str>, Refusal> {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value
                .to_str()
                .map(Some)
                .map_err(|_| Refusal::new(ErrorCode::InvalidRequest, "The Authorization header is not valid.")),
            (Some(_), Some(_)) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "There is more than one Authorization header."))
            }
        }
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

impl FromRequest<Arc<App>> for Incoming {
    type Rejection = Response;

    async fn from_request(request: Request<Body>, app: &Arc<App>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let request_id = parts.extensions.get::<RequestId>().cloned();
        let request_id = request_id.unwrap_or_else(|| RequestId(HeaderValue::from_static("")));
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let address = peer.map(|peer| client_address(app, peer, &parts.headers));
        let body = if parts.method == Method::GET || parts.method == Method::HEAD {
            Bytes::new()
        } else {
            read_body(app, body, parts.uri.path()).await?
        };
        Ok(Self {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
            request_id,
            address,
            client: OnceLock::new(),
        })
    }
}

/// The body of a request.
///
/// # Errors
/// The answer, where it is too long, comes too slowly or breaks off.
async fn read_body<B>(app: &App, body: B, path: &str) -> Result<Bytes, Response>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let reading = Limited::new(body, app.settings.server.max_body_bytes).collect();
    // A slow sender holds a connection no longer than a request may take.
    match tokio::time::timeout(app.settings.server.request_timeout.as_duration(), reading).await {
        Err(_) => {
            let refusal = Refusal::new(ErrorCode::InvalidRequest, "The body came too slowly.");
            Err(unread(StatusCode::REQUEST_TIMEOUT, &refusal, path))
        }
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => {
            let too_long = error.is::<http_body_util::LengthLimitError>();
            let status = if too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            let why = if too_long { "The body is too long." } else { "The body could not be read." };
            let refusal = Refusal::new(ErrorCode::InvalidRequest, why);
            Err(unread(status, &refusal, path))
        }
    }
}

/// The answer to a request whose body could not be read.
fn unread(status: StatusCode, refusal: &Refusal, path: &str) -> Response {
    let mut response = (status, json::error_body(refusal)).into_response();
    Refused::note_unread(&mut response, refusal, path);
    response
}

/// The address of the one who asks: the last one in `X-Forwarded-For` that isn't a trusted proxy, where the peer is one
/// (requirement WB-4: forwarded headers only from listed proxies).
fn client_address(app: &App, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !app.settings.trusts_proxy(peer) {
        return peer;
    }
    let forwarded: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in forwarded.iter().rev() {
        match hop.trim().parse::<IpAddr>() {
            Ok(address) if app.settings.trusts_proxy(address) => {}
            Ok(address) => return address,
            Err(_) => return peer,
        }
    }
    peer
}

/// Writes a fault to the log, once, at the edge.
pub fn log_fault(incoming_path: &str, request_id: &str, fault: &Fault) {
    match fault {
        // Under overload a line for each would be load on top: what is shed is counted, and told of in sums.
        Fault::Overloaded(_) => {
            tracing::debug!(request.id = request_id, path = incoming_path, error = %fault, "request shed")
        }
        _ => tracing::error!(request.id = request_id, path = incoming_path, error = %fault, "request failed"),
    }
}
