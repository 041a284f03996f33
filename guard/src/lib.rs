//! Checks OAuth 2.0 access tokens in Rust APIs: JWTs (RFC 9068) and opaque ones (RFC 7662), of Keyward or of any other
//! server that follows these standards.
//!
//! A whole resource server, with `keyward-guard = { version = "0.1", features = ["axum"] }`:
//!
#![cfg_attr(all(feature = "discovery", feature = "axum"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "discovery", feature = "axum")), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use keyward_guard::{Guard, RequireScope, scope};
//!
//! scope!(NotesRead = "notes.read");
//!
//! async fn notes(token: RequireScope<NotesRead>) -> String { format!("The notes of {}", token.sub) }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let guard = Guard::discover("https://id.example.com", "https://api.example.com")?; // issuer, audience
//!     let app = Router::new().route("/notes", get(notes)).with_state(guard);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! The guard finds the issuer's keys by itself and keeps them fresh. It starts although the issuer is away, and goes on
//! while it is. `GET /notes` without a token is answered 401, with a token that lacks the scope 403, each with the
//! `WWW-Authenticate` challenge that tells clients what to do (RFC 6750, RFC 9470, RFC 9728).
//!
//! # What to write
//!
//! | to demand | write |
//! |---|---|
//! | any valid token | the extractor [`AccessToken`], or [`Guard::layer`](Guard#method.layer) around a router |
//! | a scope, role or permission | the extractors `RequireScope<S>`, `RequireRole<R>`, `RequirePermission<P>` |
//! | that the subject owns the thing | [`token.must_own(&owner)?`](AccessToken::must_own) |
//! | a rule of your own | [`Guard::policy`](Guard#method.policy) |
//! | a recent or strong login | [`token.require_max_age(300)?`](AccessToken::require_max_age), [`require_acr`](AccessToken::require_acr) |
//! | opaque tokens, or a question about each token | [`GuardBuilder::introspect`](GuardBuilder#method.introspect) |
//! | no token where a revoked one can't be told | [`StatusLists::refuse_when_unavailable`](GuardBuilder#method.status_lists) |
//! | the document that tells clients your issuer | [`ResourceMetadata`] |
//! | another framework than axum | [`Guard::layer`](Guard#method.layer) in tower, [`Guard::authorize`](Guard#method.authorize), or [`Guard::verify`] |
//! | nothing asynchronous at all | [`Verifier::verify`] with a [`KeySet`] |
//! | tokens in your tests | [`testing::TestIssuer`](crate#features) |
//!
//! # Features
//!
//! | feature | brings | crates compiled |
//! |---|---|--:|
//! | none (`default-features = false`) | [`Verifier`], [`KeySet`], [`Guard`] with keys that you bring | 18 |
//! | `discovery` (default) | metadata and keys over HTTP, refreshed in the background; status lists | 99 |
//! | `introspection` | RFC 7662 and RFC 9701, with cache, coalescing and circuit breaker | +2 |
//! | `tower` | a layer for any tower service | +0 |
//! | `axum` | extractors; the layer as well | +13 |
//! | `testing` | `testing`: an issuer for unit tests and one on loopback | +1 |
//!
//! Cryptography is aws-lc-rs, TLS is rustls; neither `ring` nor OpenSSL comes in. A token costs about one signature check
//! when it is new and a microsecond when it was seen before.
//!
//! # What is checked
//!
//! - **Kind and key.** `typ` is `at+jwt`; the key pins the algorithm (ES256, EdDSA, RS256, PS256); keys and addresses in a
//!   token's header aren't read; nothing unsigned, symmetric or encrypted is taken (RFC 8725).
//! - **Claims.** `iss` byte for byte, `aud`, `exp` and `nbf` with 60 s of leeway, all that RFC 9068 §2.2 requires; a claim of
//!   a wrong type or one that occurs twice refuses the token.
//! - **Life.** A token that names a status list of its issuer is refused within seconds of its revocation. While the list
//!   can't be had, tokens are accepted, or refused where [you say so](GuardBuilder#method.status_lists). Introspection, where it is on,
//!   answers 503 while it can't ask: never "valid".
//! - **Place.** The `Authorization` header alone: no query (RFC 9700 §4.3.2), no form, no header twice.
//!
//! # When the issuer is away
//!
//! Known keys serve for as long as it takes. A request waits only if no known key has its token's `kid`, and such waits
//! cause one fetch in ten seconds, whoever asks. Keys are replaced by good keys only: an answer that is missing, slow,
//! huge, malformed, empty or another issuer's changes nothing.
//!
//! # What this crate doesn't do
//!
//! - It checks no DPoP proofs and no client certificates yet; a token that is bound to a key is refused, not taken for a
//!   bearer token.
//! - It doesn't decrypt tokens, and takes no CWT.
//! - One guard knows one issuer. For several, hold several guards and choose by route.
//! - It keeps no session and logs nobody in: that is a client's work.

mod access_token;
#[cfg(feature = "axum")]
mod axum;
mod claims;
mod clock;
#[cfg(feature = "discovery")]
mod discovery;
mod guard;
#[cfg(feature = "tower")]
mod http;
#[cfg(feature = "introspection")]
mod introspection;
mod keys;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "discovery")]
mod outbound;
mod refusal;
mod resource_metadata;
mod signed;
#[cfg(feature = "discovery")]
mod status_list;
#[cfg(feature = "testing")]
pub mod testing;
mod token_cache;
mod verifier;

pub use access_token::{AccessToken, Denied};
#[cfg(feature = "axum")]
pub use axum::{PermissionName, RequirePermission, RequireRole, RequireScope, RoleName, ScopeName};
pub use claims::{Claims, Scopes, StatusReference};
#[cfg(feature = "discovery")]
pub use discovery::{Discovery, DiscoveryError, IssuerKeys};
pub use guard::{Guard, GuardBuilder};
#[cfg(feature = "introspection")]
pub use introspection::Introspection;
pub use keys::{KeySet, KeySetError, SignatureAlgorithm};
#[cfg(feature = "tower")]
pub use layer::{GuardLayer, GuardService};
pub use refusal::TokenRefusal;
pub use resource_metadata::ResourceMetadata;
#[cfg(feature = "discovery")]
pub use status_list::StatusLists;
pub use verifier::Verifier;

/// Has the README's example compiled.
#[cfg(all(doctest, feature = "discovery", feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
