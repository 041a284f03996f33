//! One endpoint, one file, named as its specification names it. Each parses, acts and answers.

pub mod access_token;
pub mod authorization;
pub mod csrf_token;
pub mod end_session;
pub mod health;
pub mod introspection;
pub mod jwks;
pub mod pending;
pub mod protected_resource_metadata;
pub mod provider_metadata;
pub mod revocation;
pub mod status_list;
pub mod token;
pub mod userinfo;
pub mod webfinger;
