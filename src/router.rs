//! THE table: path, method, CORS class → the file that answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{self, HeaderValue};

use crate::app::App;
use crate::endpoint::{
    authorization, csrf_token, end_session, health, introspection, jwks, protected_resource_metadata,
    provider_metadata, revocation, status_list, token, userinfo, webfinger,
};
use crate::http::cors::{self, CorsClass};
use crate::http::page::error_page;
use crate::http::{Incoming, headers};
use crate::page::view::ErrorKind;
use crate::page::{asset, change_password, consent, home, login, select_account, setup};

type Route = (&'static str, CorsClass, MethodRouter<Arc<App>>);

/// Every route below the path of the public URL.
fn routes() -> Vec<Route> {
    use CorsClass::{Clients, None, Open};
    vec![
        ("/authorize", None, get(authorization::handle).post(authorization::handle).head(no_head)),
        ("/token", Clients, post(token::handle)),
        ("/userinfo", Clients, get(userinfo::handle).post(userinfo::handle)),
        ("/introspect", Clients, post(introspection::handle)),
        ("/revoke", Clients, post(revocation::handle)),
        ("/jwks", Open, get(jwks::handle)),
        ("/status-lists", Open, get(status_list::handle_aggregation)),
        ("/status-lists/{name}", Open, get(status_list::handle)),
        ("/end_session", None, get(end_session::handle).post(end_session::handle).head(no_head)),
        ("/end_session/confirm", None, post(end_session::handle_confirmation)),
        ("/.well-known/openid-configuration", Open, get(provider_metadata::handle)),
        ("/.well-known/oauth-authorization-server", Open, get(provider_metadata::handle)),
        ("/.well-known/oauth-protected-resource", Open, get(protected_resource_metadata::handle)),
        ("/.well-known/webfinger", Open, get(webfinger::handle)),
        ("/csrf-token", None, get(csrf_token::handle)),
        ("/health/startup", None, get(health::startup)),
        ("/health/live", None, get(health::live)),
        ("/health/ready", None, get(health::ready)),
        ("/login", None, get(login::handle).post(login::handle_form)),
        ("/consent", None, post(consent::handle)),
        ("/select", None, post(select_account::handle)),
        ("/setup", None, get(setup::handle).post(setup::handle_form)),
        ("/logout", None, post(home::handle_logout)),
        ("/apps/disconnect", None, post(home::handle_disconnect)),
        ("/account/password", None, get(change_password::handle).post(change_password::handle_form)),
        ("/.well-known/change-password", None, get(change_password::handle_well_known)),
        ("/assets/{name}", None, get(asset::handle)),
    ]
}

/// The service that answers every request.
pub fn router(app: &Arc<App>) -> Router {
    let base = app.settings.base_path();
    let mut router = Router::new().route(&format!("{base}/"), get(home::handle));
    if !base.is_empty() {
        router = router.route(base, get(home::handle));
        // RFC 8414 §3.1: the well-known part is inserted before the issuer's path.
        for name in ["openid-configuration", "oauth-authorization-server"] {
            let path = format!("/.well-known/{name}{base}");
            let handler = with_cors(app, CorsClass::Open, get(provider_metadata::handle));
            router = router.route(&path, handler);
        }
        // RFC 9728 §3.1: likewise. RFC 7033 §4: WebFinger is at the host's root.
        let handler = with_cors(app, CorsClass::Open, get(protected_resource_metadata::handle));
        router = router.route(&format!("/.well-known/oauth-protected-resource{base}"), handler);
        router = router.route("/.well-known/webfinger", with_cors(app, CorsClass::Open, get(webfinger::handle)));
        router = router.route("/.well-known/change-password", get(change_password::handle_well_known));
    }
    for (path, class, handler) in routes() {
        let handler = with_cors(app, class, handler);
        // Both forms of a path answer; the issuer and the metadata know one.
        if !path.contains('{') {
            router = router.route(&format!("{base}{path}/"), handler.clone());
        }
        router = router.route(&format!("{base}{path}"), handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(app), headers::apply))
        .with_state(Arc::clone(app))
}

fn with_cors(app: &Arc<App>, class: CorsClass, handler: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    // A preflight is an OPTIONS request. The route must know that method: what the router puts in for methods that a
    // route doesn't know stands outside of the route's layers.
    match class {
        CorsClass::Open => handler.options(wrong_method).layer(from_fn_with_state(Arc::clone(app), cors::open)),
        CorsClass::Clients => handler.options(wrong_method).layer(from_fn_with_state(Arc::clone(app), cors::clients)),
        CorsClass::None => handler,
    }
}

async fn not_found(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    error_page(&app, &incoming, ErrorKind::NotFound, None)
}

/// RFC 9110 §9.2.1: HEAD is safe. What these two do for GET isn't: they issue codes and end sessions.
async fn no_head(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    let mut response = error_page(&app, &incoming, ErrorKind::Method, None);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
    response
}

async fn wrong_method(State(app): State<Arc<App>>, incoming: Incoming) -> Response {
    error_page(&app, &incoming, ErrorKind::Method, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How large what a handler gives is.
    fn size<F, A, B, T>(_: F) -> usize
    where
        F: FnOnce(A, B) -> T,
        T: Future,
    {
        size_of::<T>()
    }

    /// A future is moved several times before it runs, whole, with the room for all that it may ever wait for. What is
    /// rare and large belongs on the heap.
    #[test]
    fn what_answers_a_hot_path_is_small() {
        for (name, octets) in [
            ("token", size(token::handle)),
            ("authorize", size(authorization::handle)),
            ("introspect", size(introspection::handle)),
            ("userinfo", size(userinfo::handle)),
        ] {
            assert!(octets <= 2304, "{name}: {octets} octets");
        }
    }
}
