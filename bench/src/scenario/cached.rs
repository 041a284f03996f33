//! A document that every client fetches and that never changes during a run: discovery (OpenID Connect Discovery §4,
//! RFC 8414 §3), JWKS (RFC 7517 §5), and the floor of both.

use crate::load::{Next, Progress, Step};
use crate::wire::{Response, write_get};

/// Gets one document again and again.
pub struct Document {
    request: Vec<u8>,
    member: Option<&'static str>,
    first: Vec<u8>,
}

impl Document {
    /// Gets `target`; its JSON must have `member`, if one is given.
    pub fn new(host: &str, target: &str, member: Option<&'static str>) -> Self {
        let mut request = Vec::new();
        write_get(&mut request, host, target, "accept: application/json\r\n");
        Self { request, member, first: Vec::new() }
    }

    /// The first answer is read as JSON; the later ones must be equal to it.
    fn right(&mut self, response: &Response<'_>) -> bool {
        if response.status != 200 {
            return false;
        }
        if self.first.is_empty() {
            let parsed: Option<serde_json::Value> = serde_json::from_slice(response.body).ok();
            let right = parsed.is_some_and(|json| self.member.is_none_or(|member| json.get(member).is_some()));
            if right {
                self.first.extend_from_slice(response.body);
            }
            return right;
        }
        self.first == response.body
    }
}

impl Step for Document {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(&self.request);
        Next::Send
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        if self.right(response) { Progress::Done } else { Progress::Failed(response.summary()) }
    }

    fn abandon(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_is_read_and_later_ones_compared() {
        let mut step = Document::new("localhost", "/jwks", Some("keys"));
        let mut judge = |status, body: &[u8]| matches!(step.response(&Response::of(status, "", body)), Progress::Done);
        assert!(!judge(200, br#"{"key":[]}"#));
        assert!(!judge(200, b"<html>"));
        assert!(judge(200, br#"{"keys":[]}"#));
        assert!(judge(200, br#"{"keys":[]}"#));
        assert!(!judge(200, br#"{"keys":[1]}"#));
        assert!(!judge(500, br#"{"keys":[]}"#));
    }
}
