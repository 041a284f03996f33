//! The door before all others: while the database is known to be asked for more than it can do, a token request is
//! refused here, before it is routed, understood or given an identity of its own (requirement RL-3). What a refusal costs is
//! taken from those who are served, and under overload most are refused. It is decided once the body is there, for by then
//! others have come in.
//!
//! Hardly more is refused here than [`Store::admits`](crate::store::Store::admits) would refuse later; what is malformed
//! hears of it when it comes again. A client's own token, asked for in the plain spelling, needs no act; who comes from a web
//! page needs an answer with the headers of CORS; a long body is no haste's business: they all go on.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures_util::future::{BoxFuture, Either};
use http::header::{self, HeaderMap};
use http::{Method, Request, StatusCode};
use tower::Service;

use super::{headers, json, read_body};
use crate::app::App;
use crate::fault::Fault;

/// The longest body that is looked into.
const LONGEST: u64 = 8 * 1024;

/// A service behind the door.
#[derive(Debug, Clone)]
pub struct Shedding<S> {
    inner: S,
    door: Arc<Door>,
}

#[derive(Debug)]
struct Door {
    app: Arc<App>,
    /// The path of the token endpoint.
    token_path: String,
    /// What a refusal carries but for the id of its request.
    headers: HeaderMap,
    /// What it says.
    body: Bytes,
}

impl<S> Shedding<S> {
    /// Puts the door before a service.
    pub fn new(app: &Arc<App>, inner: S) -> Self {
        let mut refusal = json::fault_response(&OVERLOADED);
        headers::set(app, refusal.headers_mut());
        let door = Door {
            app: Arc::clone(app),
            token_path: format!("{}/token", app.settings.base_path()),
            headers: refusal.headers().clone(),
            body: json::busy_body(),
        };
        Self { inner, door: Arc::new(door) }
    }
}

const OVERLOADED: Fault = Fault::Overloaded("more acts wait for the database than it can serve");

impl Door {
    /// Whether a request is to be looked into: it asks for tokens, without the help of a web page, while more come than can
    /// be served.
    fn holds<B: HttpBody>(&self, request: &Request<B>) -> bool {
        request.method() == Method::POST
            && self.app.store.is_overloaded()
            && request.uri().path() == self.token_path
            && !request.headers().contains_key(header::ORIGIN)
            && request.body().size_hint().upper().is_some_and(|length| length <= LONGEST)
            && !self.app.lifecycle.is_draining()
    }

    fn refusal(&self) -> Response {
        self.app.metrics.shed();
        self.app.shed_log.note(self.app.clock.now());
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// Whether a form asks for a client's own token (RFC 6749 §4.4.2).
fn is_for_the_client_itself(form: &[u8]) -> bool {
    form.split(|&octet| octet == b'&').any(|parameter| parameter == b"grant_type=client_credentials")
}

type Answering = BoxFuture<'static, Result<Response, Infallible>>;

impl<S, B> Service<Request<B>> for Shedding<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Answering>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.door.holds(&request) {
            return Either::Left(self.inner.call(request.map(Body::new)));
        }
        let next = self.inner.clone();
        let (door, mut inner) = (Arc::clone(&self.door), std::mem::replace(&mut self.inner, next));
        Either::Right(Box::pin(async move {
            let (parts, body) = request.into_parts();
            let id = headers::request_id(&door.app, &parts.headers);
            let mut response = match read_body(&door.app, body, parts.uri.path()).await {
                Ok(form) if is_for_the_client_itself(&form) || door.app.store.admits().is_ok() => {
                    return inner.call(Request::from_parts(parts, Body::from(form))).await;
                }
                Ok(_) => door.refusal(),
                Err(mut unread) => {
                    headers::note_refused(&door.app, &unread, &id);
                    headers::set(&door.app, unread.headers_mut());
                    unread
                }
            };
            headers::name_request(&door.app, &id, parts.version, response.headers_mut());
            Ok(response)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_own_token_is_told_from_others() {
        for (form, expected) in [
            ("grant_type=client_credentials", true),
            ("scope=api&grant_type=client_credentials&client_id=a", true),
            ("grant_type=refresh_token&refresh_token=grant_type%3Dclient_credentials", false),
            ("xgrant_type=client_credentials", false),
            ("grant_type=client_credentialsx", false),
            ("", false),
        ] {
            assert_eq!(is_for_the_client_itself(form.as_bytes()), expected, "{form}");
        }
    }
}
