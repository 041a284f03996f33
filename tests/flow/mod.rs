//! Whole stories, from the browser's first request to the last token.

mod change_password;
mod code_flow;
mod outage;
mod overload;
mod races;
mod refresh;
mod rotation;
