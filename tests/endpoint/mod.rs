//! What each endpoint says to good and bad requests.

mod acr;
mod authorization;
mod end_session;
mod introspection;
mod jwks;
mod jwks_uri;
mod protected_resource_metadata;
mod provider_metadata;
mod revocation;
mod signed_introspection;
mod status_list;
mod token;
mod userinfo;
mod webfinger;
