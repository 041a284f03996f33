//! Attacks, each as a test that fails where the attack works.

mod connections;
mod cors;
mod csrf;
mod enumeration;
mod escaping;
pub mod forge;
mod headers;
mod host;
mod leakage;
mod mix_up;
mod outbound;
mod redirect;
mod refused_authorization;
mod revoked_key;
mod sealed;
mod session;
mod signed_input;
mod token_confusion;
pub mod visitor;
