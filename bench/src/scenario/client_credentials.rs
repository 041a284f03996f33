//! The client credentials grant (RFC 6749 §4.4), and the floors that sign: they take the same request.

use super::answer;
use crate::load::{Next, Progress, Step};
use crate::provision::Client;
use crate::wire::{Response, write_form};

/// Asks for one token after the other.
pub struct ClientCredentials {
    request: Vec<u8>,
    /// What the tokens must be signed by; looked at once.
    algorithm: &'static str,
    last: String,
    /// Tokens to keep, if they are wanted afterwards.
    collected: Option<Vec<String>>,
}

impl ClientCredentials {
    /// Asks as `client`; tokens must be JSON Web Tokens signed by `algorithm`.
    pub fn new(host: &str, client: &Client, algorithm: &'static str) -> Self {
        let mut request = Vec::new();
        write_form(&mut request, host, "/token", &client.basic, "grant_type=client_credentials&scope=read");
        Self { request, algorithm, last: String::new(), collected: None }
    }

    /// Keeps the tokens.
    pub fn collecting(mut self) -> Self {
        self.collected = Some(Vec::new());
        self
    }

    /// The tokens kept.
    pub fn into_tokens(self) -> Vec<String> {
        self.collected.unwrap_or_default()
    }

    /// Each answer holds a token, and another one than the last: nothing may be answered from a cache.
    fn right(&mut self, response: &Response<'_>) -> bool {
        let token = answer::text_member(response.body, "access_token").filter(|_| response.status == 200);
        let Some(token) = token.filter(|token| *token != self.last) else {
            return false;
        };
        if self.last.is_empty() && answer::algorithm(token).as_deref() != Some(self.algorithm) {
            return false;
        }
        self.last.clear();
        self.last.push_str(token);
        if let Some(collected) = &mut self.collected {
            collected.push(token.to_owned());
        }
        true
    }
}

impl Step for ClientCredentials {
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
    fn a_repeated_or_foreign_token_is_an_error() {
        let mut step = ClientCredentials::new("localhost", &Client::new("a", "b"), "ES256").collecting();
        let mut judge = |status, token: &str| {
            let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
            matches!(step.response(&Response::of(status, "", body.as_bytes())), Progress::Done)
        };
        // {"alg":"RS256"} and {"alg":"ES256"}
        assert!(!judge(200, "eyJhbGciOiJSUzI1NiJ9.e30.eA"));
        assert!(judge(200, "eyJhbGciOiJFUzI1NiJ9.e30.eA"));
        assert!(!judge(200, "eyJhbGciOiJFUzI1NiJ9.e30.eA"));
        assert!(!judge(401, "eyJhbGciOiJFUzI1NiJ9.e30.eQ"));
        assert!(judge(200, "eyJhbGciOiJFUzI1NiJ9.e30.eQ"));
        assert_eq!(step.into_tokens().len(), 2);
    }
}
