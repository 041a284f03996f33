//! A real Chromium drives the real binary: `keyward demo` with the example programs, and `keyward serve` on an empty
//! folder. A file is a story of people; `chromium`, `demo` and `process` are what the stories stand on.
//!
//! With `KEYWARD_SCREENSHOTS=DIR` the stories of `pages` also save a picture of each page: light and dark, wide and as
//! on a phone.

pub mod chromium;
mod demo;
pub mod process;

mod history;
mod mcp_server;
mod pages;
mod restart;
mod setup;
mod single_page_app;
mod tabs;
mod web_app;
