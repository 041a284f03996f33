//! The rules of OAuth 2.1 and OpenID Connect as pure functions: values in, decision out.
//!
//! Nothing here waits, reads a clock, draws chance or touches a database. A rule stands once, with its
//! specification's section above it; the server loads what the rule needs and writes what it decides.

pub mod access_token;
pub mod acr;
pub mod authorization_code;
pub mod authorization_request;
pub mod authorization_step;
pub mod claims;
pub mod claims_request;
pub mod client_authentication;
pub mod client_metadata;
pub mod code_redemption;
pub mod consent;
pub mod display;
pub mod end_session;
pub mod id_token;
pub mod introspection;
pub mod key_schedule;
pub mod opaque_token;
pub mod parameters;
pub mod pkce;
pub mod placed_secret;
pub mod prompt;
pub mod redirect_uri;
pub mod refresh_rotation;
pub mod refresh_token;
pub mod refusal;
pub mod response_mode;
pub mod role;
pub mod scope;
pub mod session;
pub mod status_list;
pub mod timestamp;

pub use refusal::{ErrorCode, Refusal};
pub use timestamp::Timestamp;
