//! The refresh token grant with rotation (RFC 6749 §6, RFC 9700 §4.14.2): each connection owns its chains.

use std::collections::VecDeque;

use super::answer;
use crate::load::{Next, Progress, Step};
use crate::provision::Client;
use crate::wire::{Response, write_form};

/// Whether refreshing must bring an ID token.
#[derive(Clone, Copy, PartialEq)]
pub enum IdToken {
    /// The grant has `openid`.
    Expected,
    /// It hasn't.
    Absent,
}

/// Rotates chains of refresh tokens, one after the other.
pub struct Refresh {
    host: String,
    basic: String,
    chains: VecDeque<String>,
    current: Option<String>,
    id_token: IdToken,
    collected: Option<Vec<String>>,
}

impl Refresh {
    /// Rotates these chains as `client`.
    pub fn new(host: &str, client: &Client, chains: Vec<String>, id_token: IdToken) -> Self {
        Self {
            host: host.to_owned(),
            basic: client.basic.clone(),
            chains: chains.into(),
            current: None,
            id_token,
            collected: None,
        }
    }

    /// Keeps the access tokens.
    pub fn collecting(mut self) -> Self {
        self.collected = Some(Vec::new());
        self
    }

    /// The current refresh tokens of its chains.
    pub fn chains(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().map(String::as_str)
    }

    /// The access tokens kept.
    pub fn into_tokens(self) -> Vec<String> {
        self.collected.unwrap_or_default()
    }
}

impl Step for Refresh {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        let Some(token) = self.chains.pop_front() else {
            return Next::Finished;
        };
        let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let body = format!("grant_type=refresh_token&refresh_token={encoded}");
        write_form(out, &self.host, "/token", &self.basic, &body);
        self.current = Some(token);
        Next::Send
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        let used = self.current.take();
        let member = |name| answer::text_member(response.body, name).filter(|_| response.status == 200);
        let successor = member("refresh_token").filter(|token| Some(*token) != used.as_deref());
        let (Some(access), Some(successor)) = (member("access_token"), successor) else {
            // A refused chain is dead and isn't tried again; a connection without chains ends.
            return Progress::Failed(format!("no new pair of tokens: {}", response.summary()));
        };
        self.chains.push_back(successor.to_owned());
        // OpenID Connect Core §12.2: an ID token where the grant has openid.
        if member("id_token").is_some() != (self.id_token == IdToken::Expected) {
            return Progress::Failed(format!("ID token missing or unasked for: {}", response.summary()));
        }
        if let Some(collected) = &mut self.collected {
            collected.push(access.to_owned());
        }
        Progress::Done
    }

    fn abandon(&mut self) {
        // The lost answer may have rotated the chain; a retry within the grace time gets the same successor.
        self.chains.extend(self.current.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id_token: IdToken) -> Refresh {
        let chains = vec!["r1".to_owned(), "s1".to_owned()];
        Refresh::new("localhost", &Client::new("a", "b"), chains, id_token).collecting()
    }

    fn turn(step: &mut Refresh, status: u16, body: &str) -> (String, bool) {
        let mut out = Vec::new();
        assert!(matches!(step.request(&mut out), Next::Send));
        let sent = String::from_utf8(out).unwrap().rsplit_once('=').unwrap().1.to_owned();
        let done = matches!(step.response(&Response::of(status, "", body.as_bytes())), Progress::Done);
        (sent, done)
    }

    #[test]
    fn chains_take_turns_and_go_on_with_their_successors() {
        let mut step = step(IdToken::Absent);
        assert_eq!(turn(&mut step, 200, r#"{"access_token":"a","refresh_token":"r2"}"#), ("r1".to_owned(), true));
        assert_eq!(turn(&mut step, 200, r#"{"access_token":"b","refresh_token":"s2"}"#), ("s1".to_owned(), true));
        assert_eq!(turn(&mut step, 400, r#"{"error":"invalid_grant"}"#), ("r2".to_owned(), false));
        assert_eq!(turn(&mut step, 200, r#"{"access_token":"c","refresh_token":"s2"}"#), ("s2".to_owned(), false));
        assert!(matches!(step.request(&mut Vec::new()), Next::Finished));
        assert_eq!(step.into_tokens(), ["a", "b"]);
    }

    #[test]
    fn the_id_token_is_checked_and_a_broken_connection_keeps_the_chain() {
        let mut step = step(IdToken::Expected);
        assert!(!turn(&mut step, 200, r#"{"access_token":"a","refresh_token":"r2"}"#).1);
        assert!(turn(&mut step, 200, r#"{"access_token":"a","refresh_token":"s2","id_token":"x"}"#).1);
        assert!(matches!(step.request(&mut Vec::new()), Next::Send));
        step.abandon();
        assert_eq!(step.chains, ["s2", "r2"]);
    }
}
