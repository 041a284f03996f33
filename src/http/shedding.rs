//! The door before all others: while more come than can be served, requests are refused here, before they are routed,
//! understood or given an identity of their own (requirement RL-3). What a refusal costs is taken from those who are
//! served, and under overload most are refused.
//!
//! Two know of overload: [`Admission`], by the time that requests wait before they are looked at, and the store's gate, by
//! those who wait for the database. A form is decided about once it is there, for what it asks for tells whether something
//! begins, and by then others have come in. What is malformed hears of it when it comes again.
//! Who comes from a web page needs an answer with the headers of CORS, and is decided about by the endpoint
//! ([`admit_from_page`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures_util::future::{BoxFuture, Either};
use http::header::{self, HeaderMap};
use http::{Method, Request, StatusCode};
use tower::Service;

use keyward_protocol::client_metadata::GrantType;

use super::admission::Standing;
use super::{RequestId, headers, json, page, read_body};
use crate::app::App;
use crate::fault::Fault;
use crate::locale::Texts;

/// A service behind the door.
#[derive(Debug, Clone)]
pub struct Shedding<S> {
    inner: S,
    door: Arc<Door>,
}

#[derive(Debug)]
struct Door {
    app: Arc<App>,
    /// The paths of the endpoints whose requests are refused here.
    token: String,
    introspection: String,
    authorization: String,
    /// What a program is told.
    document: Prepared,
    /// What a person is told, in each language.
    pages: Vec<(Texts, Prepared)>,
}

/// A refusal that lacks but the id of its request.
#[derive(Debug)]
struct Prepared {
    headers: HeaderMap,
    /// The body before the id and after it; whole where the id isn't told of in it.
    body: (Bytes, Option<Bytes>),
}

/// What is to be decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sought {
    /// A page.
    Page(Standing),
    /// Tokens, by a form that tells which.
    Tokens,
    /// What a token is worth.
    Introspection,
}

impl<S> Shedding<S> {
    /// Puts the door before a service.
    ///
    /// # Errors
    /// Where the pages that refuse can't be made.
    pub fn new(app: &Arc<App>, inner: S) -> Result<Self, Fault> {
        let base = app.settings.base_path();
        let mut document = json::fault_response(&OVERLOADED);
        headers::set(app, document.headers_mut());
        let pages = app.locales.languages().into_iter().map(|texts| Ok((texts.clone(), Prepared::page(app, texts)?)));
        let door = Door {
            app: Arc::clone(app),
            token: format!("{base}/token"),
            introspection: format!("{base}/introspect"),
            authorization: format!("{base}/authorize"),
            document: Prepared { headers: document.headers().clone(), body: (json::busy_body(), None) },
            pages: pages.collect::<Result<_, Fault>>()?,
        };
        Ok(Self { inner, door: Arc::new(door) })
    }
}

const OVERLOADED: Fault = Fault::Overloaded("more requests come than can be served");

/// Whether a web page's request is let in: the endpoint asks, for the door leaves it alone.
///
/// # Errors
/// [`Fault::Overloaded`] where it isn't.
pub fn admit_from_page(app: &App, headers: &HeaderMap, standing: Standing) -> Result<(), Fault> {
    if is_from_page(headers) && !app.lifecycle.is_draining() && !app.admission.admits(standing) {
        return Err(OVERLOADED);
    }
    Ok(())
}

/// Whether a request comes from a script of a web page (Fetch §3.2).
fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
}

impl Prepared {
    /// The page that says so in this language.
    fn page(app: &App, texts: Texts) -> Result<Self, Fault> {
        const ID: &str = "the-id-stands-here";
        let (mut headers, html) = page::busy(app, texts, ID)?;
        headers::set(app, &mut headers);
        let (before, after) = html.split_once(ID).ok_or_else(|| Fault::broken("the busy page names no request"))?;
        let body = (Bytes::copy_from_slice(before.as_bytes()), Some(Bytes::copy_from_slice(after.as_bytes())));
        Ok(Self { headers, body })
    }

    fn response(&self, id: &RequestId) -> Response {
        let body = match &self.body {
            (whole, None) => Body::from(whole.clone()),
            (before, Some(after)) => Body::from([before, id.as_bytes(), after].concat()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

impl Door {
    /// What is to be decided about a request, if anything is while so many come.
    fn looks_at<B: HttpBody>(&self, request: &Request<B>) -> Option<Sought> {
        let app = &self.app;
        if !(app.admission.is_limiting() || app.store.is_overloaded()) || app.lifecycle.is_draining() {
            return None;
        }
        // Both forms of a path answer (see the router).
        let path = request.uri().path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let posts = request.method() == Method::POST;
        if path == self.authorization && (posts || request.method() == Method::GET) {
            // Who has just signed in or consented comes back to a request that was let in before; with this parameter alone.
            let returns =
                request.uri().query().is_some_and(|query| query.starts_with("resume=") && !query.contains('&'));
            return Some(Sought::Page(if returns && !posts { Standing::GoesOn } else { Standing::Begins }));
        }
        if !posts || is_from_page(request.headers()) {
            return None;
        }
        match path {
            path if path == self.token => Some(Sought::Tokens),
            path if path == self.introspection => Some(Sought::Introspection),
            _ => None,
        }
    }

    /// Whether it is let in.
    fn admits(&self, sought: Sought, form: &[u8]) -> bool {
        let (admission, store) = (&self.app.admission, &self.app.store);
        match sought {
            Sought::Page(standing) => admission.admits(standing) && store.admits().is_ok(),
            // It needs no act.
            Sought::Introspection => admission.admits(Standing::GoesOn),
            Sought::Tokens => {
                let grant = grant(form);
                // A client's own token, as a JWT, needs no act.
                let needs_act = grant != Some(GrantType::ClientCredentials);
                admission.admits(Standing::of(grant)) && (!needs_act || store.admits().is_ok())
            }
        }
    }

    /// The answer to one who isn't.
    fn refusal(&self, sought: Sought, parts: &http::request::Parts, id: &RequestId) -> Response {
        self.app.metrics.shed();
        self.app.shed_log.note(self.app.clock.now());
        let prepared = match sought {
            Sought::Tokens | Sought::Introspection => &self.document,
            Sought::Page(_) => {
                let wanted = parts.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
                let texts = self.app.locales.choose(&[], wanted);
                let page = self.pages.iter().find(|(spoken, _)| spoken.language() == texts.language());
                page.map_or(&self.document, |(_, page)| page)
            }
        };
        prepared.response(id)
    }
}

/// The `grant_type` of a form, in the plain spelling (RFC 6749 §4).
fn grant(form: &[u8]) -> Option<GrantType> {
    let named = form.split(|&octet| octet == b'&').find_map(|parameter| parameter.strip_prefix(b"grant_type="))?;
    GrantType::parse(std::str::from_utf8(named).ok()?)
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
        self.door.app.admission.note();
        let Some(sought) = self.door.looks_at(&request) else {
            return Either::Left(self.inner.call(request.map(Body::new)));
        };
        let next = self.inner.clone();
        let (door, mut inner) = (Arc::clone(&self.door), std::mem::replace(&mut self.inner, next));
        Either::Right(Box::pin(async move {
            let (parts, body) = request.into_parts();
            let id = headers::request_id(&door.app, &parts.headers);
            // A refusal before the body is there would cost the connection.
            let read = match parts.method == Method::GET {
                true => Ok(Bytes::new()),
                false => read_body(&door.app, body, parts.uri.path()).await,
            };
            let mut response = match read {
                Ok(form) if door.admits(sought, &form) => {
                    return inner.call(Request::from_parts(parts, Body::from(form))).await;
                }
                Ok(_) => door.refusal(sought, &parts, &id),
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
    fn the_grant_is_read_off_the_form() {
        for (form, expected) in [
            ("grant_type=client_credentials", Some(GrantType::ClientCredentials)),
            ("scope=api&grant_type=client_credentials&client_id=a", Some(GrantType::ClientCredentials)),
            ("code=grant_type%3Dclient_credentials&grant_type=authorization_code", Some(GrantType::AuthorizationCode)),
            ("grant_type=password", None),
            ("xgrant_type=client_credentials", None),
            ("grant_typex=client_credentials", None),
            ("", None),
        ] {
            assert_eq!(grant(form.as_bytes()), expected, "{form}");
        }
    }
}
