//! A tower layer that lets only requests with a valid token through, and answers the others itself.
//!
//! It needs of the framework only that a body can be made from a `String`, as those of axum and `http-body-util`'s
//! `Full` can. Where that isn't so (tonic), [`Guard::authorize`] does the same in a few lines.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::request::Parts;
use ::http::{Request, Response};
use tower::{Layer, Service};

use crate::access_token::AccessToken;
use crate::guard::Guard;
use crate::refusal::TokenRefusal;

type Policy = dyn Fn(&AccessToken, &Parts) -> bool + Send + Sync;

impl Guard {
    /// A layer that validates the token of every request and puts the [`AccessToken`] into the request's extensions.
    ///
    /// Put CORS outside of it: a preflight carries no token.
    pub fn layer(&self) -> GuardLayer {
        GuardLayer { guard: self.clone(), policy: None }
    }

    /// As [`layer`](Self::layer), and then asks this closure, which sees the token and the request's head. On `false`
    /// the answer is 403.
    pub fn policy(&self, policy: impl Fn(&AccessToken, &Parts) -> bool + Send + Sync + 'static) -> GuardLayer {
        GuardLayer { guard: self.clone(), policy: Some(Arc::new(policy)) }
    }
}

/// Made by [`Guard::layer`] and [`Guard::policy`].
#[derive(Clone)]
pub struct GuardLayer {
    guard: Guard,
    policy: Option<Arc<Policy>>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService { inner, layer: self.clone() }
    }
}

/// A service behind a [`GuardLayer`].
#[derive(Clone)]
pub struct GuardService<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for GuardService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
    ResponseBody: From<String>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let GuardLayer { guard, policy } = self.layer.clone();
        // The service that was polled ready must be the one that is called; its clone may not be ready.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let token = match guard.authorize(&mut parts).await {
                Ok(token) => token,
                Err(denied) => return Ok(denied.to_response()),
            };
            if policy.is_some_and(|allows| !allows(&token, &parts)) {
                return Ok(token.deny(TokenRefusal::Policy).to_response());
            }
            parts.extensions.insert(token);
            ready.call(Request::from_parts(parts, body)).await
        })
    }
}
