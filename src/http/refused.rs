//! What an answer refuses, noted on the answer itself: the layer that every answer passes counts it and writes the log's
//! line (requirement WB-5), so that no endpoint can forget to.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::response::Response;
use keyward_protocol::{Refusal, Timestamp};

use super::Incoming;

/// The way a refusal goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A document for a program.
    Document,
    /// A page for a person.
    Page,
    /// Back to the client through the browser.
    Redirect,
}

impl Door {
    /// Its name in the log and in the counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Page => "page",
            Self::Redirect => "redirect",
        }
    }
}

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct Refused {
    /// How it goes out.
    pub door: Door,
    /// What it says.
    pub refusal: Refusal,
    /// The path that was asked for.
    path: String,
    /// The client that asked, as far as it was known.
    client_id: Option<String>,
}

impl Refused {
    /// Notes on an answer what it refuses.
    pub fn note(response: &mut Response, door: Door, refusal: &Refusal, incoming: &Incoming) {
        let client_id = incoming.client.get().map(|client| client.client_id.clone());
        let path = incoming.uri.path().to_owned();
        response.extensions_mut().insert(Self { door, refusal: *refusal, path, client_id });
    }

    /// The same for a request that could not even be read.
    pub fn note_unread(response: &mut Response, refusal: &Refusal, path: &str) {
        let door = Door::Document;
        response.extensions_mut().insert(Self { door, refusal: *refusal, path: path.to_owned(), client_id: None });
    }

    /// Writes the line.
    pub fn log(&self, request_id: &str) {
        tracing::info!(
            request.id = request_id,
            path = self.path,
            client.id = self.client_id,
            error = self.refusal.code.as_str(),
            why = self.refusal.description,
            door = self.door.as_str(),
            "request refused"
        );
    }
}

/// A mark on an answer to a request that was shed.
#[derive(Debug, Clone, Copy)]
pub struct Shed;

/// Tells the log in sums of requests that were shed.
#[derive(Debug, Default)]
pub struct ShedLog {
    untold: AtomicU64,
    /// The second in which it was last told of, since the epoch.
    told_in: AtomicI64,
}

impl ShedLog {
    /// Takes note of one; the first in a second writes the line.
    pub fn note(&self, now: Timestamp) {
        let untold = self.untold.fetch_add(1, Ordering::Relaxed) + 1;
        let (told_in, second) = (self.told_in.load(Ordering::Relaxed), now.seconds());
        let first = second != told_in
            && self.told_in.compare_exchange(told_in, second, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if first {
            self.untold.fetch_sub(untold, Ordering::Relaxed);
            tracing::warn!(requests = untold, "more came than can be served, and requests were shed");
        }
    }
}
