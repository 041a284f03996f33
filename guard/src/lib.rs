//! Validates OAuth 2.0 access tokens (RFC 9068) in axum and tower services.
//!
//! For tokens of Keyward, or of any server that issues JWT access tokens by RFC 9068. A whole resource server:
//!
#![cfg_attr(all(feature = "discovery", feature = "axum"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "discovery", feature = "axum")), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use keyward_guard::{AccessToken, Guard, RequireScope, scope};
//!
//! scope!(NotesRead = "notes.read");
//!
//! async fn me(token: AccessToken) -> String { token.sub.clone() }
//! async fn notes(token: RequireScope<NotesRead>) -> String { format!("The notes of {}", token.sub) }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let guard = Guard::discover("https://id.example.com", "https://api.example.com")?; // issuer, audience
//!     let app = Router::new().route("/me", get(me)).route("/notes", get(notes)).with_state(guard);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! | to demand | write |
//! |---|---|
//! | any valid token | the extractor [`AccessToken`], or [`Guard::layer`] around a router |
//! | a scope, role or permission | the extractors `RequireScope<S>`, `RequireRole<R>`, `RequirePermission<P>` |
//! | that the subject owns the thing | [`token.must_own(&owner)?`](AccessToken::must_own) |
//! | a rule of your own | [`Guard::policy`] |
//! | a recent or strong login | [`token.require_max_age(300)?`](AccessToken::require_max_age), [`require_acr`](AccessToken::require_acr) |
//! | nothing of axum or HTTP | [`Verifier::verify`] with a [`KeySet`]; `default-features = false` |
//!
//! Refusals answer with status and `WWW-Authenticate` by RFC 6750, RFC 9470 and RFC 9728. Tokens are taken from the
//! `Authorization` header only: never from a query (RFC 9700 §4.3.2) and never from a form.
//!
//! Keys are found by discovery, kept, and refreshed in the background; an issuer that is away stops nobody whose key is
//! known. Left out for now: opaque tokens (introspection), proofs of bound tokens (DPoP, mTLS; such tokens are
//! refused), status lists.

mod access_token;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "discovery")]
mod discovery;
mod guard;
mod keys;
#[cfg(feature = "axum")]
mod layer;
mod refusal;
mod verifier;

pub use access_token::{AccessToken, Claims, Denied, Scopes};
#[cfg(feature = "axum")]
pub use axum::{PermissionName, RequirePermission, RequireRole, RequireScope, RoleName, ScopeName};
#[cfg(feature = "discovery")]
pub use discovery::{Discovery, DiscoveryError, IssuerKeys};
pub use guard::{Guard, GuardBuilder};
pub use keys::{KeySet, KeySetError, SignatureAlgorithm};
#[cfg(feature = "axum")]
pub use layer::{GuardLayer, GuardService};
pub use refusal::TokenRefusal;
pub use verifier::Verifier;
