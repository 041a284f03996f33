//! Introspection of JWT access tokens (RFC 7662 §2.1), each once or round and round, and the floor that verifies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer;
use crate::load::{Next, Progress, Step};
use crate::provision::Client;
use crate::wire::{Response, write_form};

/// Which token is next.
enum Order {
    /// Each token once over all connections.
    Once(Arc<AtomicUsize>),
    /// All tokens again and again, from a place of this connection's own.
    Round(usize),
}

/// Introspects live tokens.
pub struct Introspection {
    host: String,
    basic: String,
    tokens: Arc<Vec<String>>,
    order: Order,
    body: String,
}

impl Introspection {
    /// Steps that together introspect each token once.
    pub fn once(host: &str, client: &Client, tokens: &Arc<Vec<String>>, connections: usize) -> Vec<Self> {
        let next = Arc::new(AtomicUsize::new(0));
        (0..connections).map(|_| Self::new(host, client, tokens, Order::Once(next.clone()))).collect()
    }

    /// Steps that go round all tokens without end, each from another place.
    pub fn round(host: &str, client: &Client, tokens: &Arc<Vec<String>>, connections: usize) -> Vec<Self> {
        let place = |connection| connection * tokens.len() / connections.max(1);
        (0..connections).map(|n| Self::new(host, client, tokens, Order::Round(place(n)))).collect()
    }

    fn new(host: &str, client: &Client, tokens: &Arc<Vec<String>>, order: Order) -> Self {
        let (host, basic) = (host.to_owned(), client.basic.clone());
        Self { host, basic, tokens: tokens.clone(), order, body: String::new() }
    }
}

impl Step for Introspection {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        let index = match &mut self.order {
            Order::Once(next) => next.fetch_add(1, Ordering::Relaxed),
            Order::Round(next) => {
                let index = *next;
                *next = (index + 1) % self.tokens.len().max(1);
                index
            }
        };
        let Some(token) = self.tokens.get(index) else {
            return Next::Finished;
        };
        self.body.clear();
        self.body.push_str("token=");
        self.body.push_str(token);
        write_form(out, &self.host, "/introspect", &self.basic, &self.body);
        Next::Send
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        if response.status == 200 && answer::contains(response.body, br#""active":true"#) {
            Progress::Done
        } else {
            Progress::Failed(response.summary())
        }
    }

    fn abandon(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(step: &mut Introspection) -> Option<String> {
        let mut out = Vec::new();
        match step.request(&mut out) {
            Next::Send => String::from_utf8(out).unwrap().rsplit_once("token=").map(|(_, token)| token.to_owned()),
            Next::Finished => None,
        }
    }

    #[test]
    fn once_asks_for_each_token_one_time_over_all_connections() {
        let tokens = Arc::new(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        let mut steps = Introspection::once("localhost", &Client::new("a", "b"), &tokens, 2);
        assert_eq!(asked(&mut steps[0]).as_deref(), Some("a"));
        assert_eq!(asked(&mut steps[1]).as_deref(), Some("b"));
        assert_eq!(asked(&mut steps[1]).as_deref(), Some("c"));
        assert!(asked(&mut steps[0]).is_none() && asked(&mut steps[1]).is_none());
    }

    #[test]
    fn round_starts_apart_and_does_not_end() {
        let tokens = Arc::new(vec!["a".to_owned(), "b".to_owned()]);
        let mut steps = Introspection::round("localhost", &Client::new("a", "b"), &tokens, 2);
        assert_eq!(asked(&mut steps[1]).as_deref(), Some("b"));
        assert_eq!(asked(&mut steps[1]).as_deref(), Some("a"));
        assert_eq!(asked(&mut steps[0]).as_deref(), Some("a"));
        let answer = |body: &[u8]| Response::of(200, "", body).body.to_vec();
        let judged = steps[0].response(&Response::of(200, "", &answer(br#"{"active":false}"#)));
        assert!(matches!(judged, Progress::Failed(_)));
    }
}
