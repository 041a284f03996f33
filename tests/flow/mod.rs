//! Whole stories, from the browser's first request to the last token.

mod change_password;
mod claims;
mod code_flow;
mod ends;
mod nodes;
mod opaque_tokens;
mod outage;
mod overload;
mod races;
mod redis;
mod refresh;
mod resource_servers;
mod rolling;
mod rotation;
mod scope_roles;
mod sole_server;
mod steady_traffic;
mod storage_flat;
