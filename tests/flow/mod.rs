//! Whole stories, from the browser's first request to the last token.

mod code_flow;
mod outage;
mod races;
mod refresh;
