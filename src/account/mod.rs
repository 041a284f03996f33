//! People: their names, passwords and sessions.

pub mod claims;
pub mod client;
pub mod client_keys;
pub mod entitlement;
pub mod login_name;
pub mod password;
pub mod profile;
pub mod setup_link;
pub mod sign_in;
