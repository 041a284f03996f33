//! The authorization code flow of a user who is signed in already (RFC 6749 §4.1, OpenID Connect Core §3.1, RFC 7636):
//! one operation is the authorization request and the redemption of its code.

use std::sync::Arc;

use super::answer;
use super::refresh::IdToken;
use crate::browser::{Pkce, query_value};
use crate::load::{Next, Progress, Step};
use crate::provision::{Client, REDIRECT_URI};
use crate::wire::{Response, write_form, write_get};

/// What a browser says of itself with each request.
pub const BROWSER_FIELDS: &str = "user-agent: keyward-bench\r\naccept: text/html\r\n";

/// What all connections of a flow share.
pub struct Flow {
    host: String,
    basic: String,
    authorize: String,
    token_body: String,
    id_token: IdToken,
    algorithm: &'static str,
    pairs: Arc<Vec<Pkce>>,
}

impl Flow {
    /// The flow of `client` for `scope`; where the scope has `openid`, the ID token must be signed by `algorithm`.
    pub fn new(host: &str, client: &Client, scope: &str, algorithm: &'static str, pairs: &Arc<Vec<Pkce>>) -> Self {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("scope", scope)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let token_body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("redirect_uri", REDIRECT_URI)
            .finish();
        let openid = scope.split(' ').any(|value| value == "openid");
        Self {
            host: host.to_owned(),
            basic: client.basic.clone(),
            authorize: format!("/authorize?{query}"),
            token_body,
            id_token: if openid { IdToken::Expected } else { IdToken::Absent },
            algorithm,
            pairs: pairs.clone(),
        }
    }

    /// The target of an authorization request with this challenge and state.
    pub fn target(&self, challenge: &str, state: &str) -> String {
        let nonce = if self.id_token == IdToken::Expected { format!("&nonce=n{state}") } else { String::new() };
        format!("{}&state={state}{nonce}&code_challenge={challenge}", self.authorize)
    }
}

/// Where an operation stands.
enum Stage {
    Authorize,
    Redeem { code: String },
}

/// One browser and its application's back end.
pub struct CodeFlow {
    flow: Arc<Flow>,
    /// The session's Cookie field as a line with its end.
    cookies: String,
    stage: Stage,
    /// Counts operations; chooses the PKCE pair and is the state.
    number: usize,
    algorithm_seen: bool,
    collected: Option<Vec<String>>,
}

impl CodeFlow {
    /// A browser with these session cookies; `place` sets apart the PKCE pairs of the connections.
    pub fn new(flow: &Arc<Flow>, cookies: &str, place: usize) -> Self {
        Self {
            flow: flow.clone(),
            cookies: cookies.to_owned(),
            stage: Stage::Authorize,
            number: place,
            algorithm_seen: false,
            collected: None,
        }
    }

    /// Keeps the refresh tokens.
    pub fn collecting(mut self) -> Self {
        self.collected = Some(Vec::new());
        self
    }

    /// The refresh tokens kept.
    pub fn into_refresh_tokens(self) -> Vec<String> {
        self.collected.unwrap_or_default()
    }

    fn pair(&self) -> Option<&Pkce> {
        self.flow.pairs.get(self.number % self.flow.pairs.len().max(1))
    }

    fn state(&self) -> String {
        format!("bench-state-{}", self.number)
    }

    fn fail(&mut self, reason: String) -> Progress {
        self.abandon();
        Progress::Failed(reason)
    }

    /// The answer to the authorization request: a redirect with code and the state of this request.
    fn authorized(&mut self, response: &Response<'_>) -> Progress {
        let location = response.headers("location").next().filter(|to| to.starts_with(REDIRECT_URI));
        let (Some(location), 302 | 303) = (location, response.status) else {
            return self.fail(format!("no redirect to the client: {}", response.summary()));
        };
        let state = query_value(location, "state");
        match query_value(location, "code") {
            Some(code) if state.as_deref() == Some(&self.state()) => {
                self.stage = Stage::Redeem { code };
                Progress::More
            }
            _ => self.fail(format!("no code for this request: {}", response.summary())),
        }
    }

    /// The answer to the redemption: access token and refresh token, and an ID token where the scope has `openid`.
    fn redeemed(&mut self, response: &Response<'_>) -> Progress {
        let member = |name| answer::text_member(response.body, name).filter(|_| response.status == 200);
        let id_token = member("id_token");
        let (Some(_), Some(refresh)) = (member("access_token"), member("refresh_token")) else {
            return self.fail(format!("the code wasn't redeemed: {}", response.summary()));
        };
        if id_token.is_some() != (self.flow.id_token == IdToken::Expected) {
            return self.fail(format!("ID token missing or unasked for: {}", response.summary()));
        }
        if let Some(token) = id_token.filter(|_| !self.algorithm_seen) {
            let algorithm = answer::algorithm(token);
            if algorithm.as_deref() != Some(self.flow.algorithm) {
                return self.fail(format!("the ID token's alg is {algorithm:?}, not {}", self.flow.algorithm));
            }
            self.algorithm_seen = true;
        }
        if let Some(collected) = &mut self.collected {
            collected.push(refresh.to_owned());
        }
        self.abandon();
        Progress::Done
    }
}

impl Step for CodeFlow {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        let Some(pair) = self.pair() else {
            return Next::Finished;
        };
        match &self.stage {
            Stage::Authorize => {
                let target = self.flow.target(&pair.challenge, &self.state());
                write_get(out, &self.flow.host, &target, &format!("{BROWSER_FIELDS}{}", self.cookies));
            }
            Stage::Redeem { code } => {
                let code: String = form_urlencoded::byte_serialize(code.as_bytes()).collect();
                let body = format!("{}&code={code}&code_verifier={}", self.flow.token_body, pair.verifier);
                write_form(out, &self.flow.host, "/token", &self.flow.basic, &body);
            }
        }
        Next::Send
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        match self.stage {
            Stage::Authorize => self.authorized(response),
            Stage::Redeem { .. } => self.redeemed(response),
        }
    }

    /// The next request begins a new operation, with a pair and a state of its own.
    fn abandon(&mut self) {
        self.stage = Stage::Authorize;
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(scope: &str) -> Arc<Flow> {
        let pairs = Arc::new(vec![Pkce::new().unwrap(), Pkce::new().unwrap()]);
        Arc::new(Flow::new("localhost:1", &Client::new("web", "s"), scope, "ES256", &pairs))
    }

    fn sent(step: &mut CodeFlow) -> String {
        let mut out = Vec::new();
        assert!(matches!(step.request(&mut out), Next::Send));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_operation_is_an_authorization_and_its_redemption() {
        let flow = flow("openid profile");
        let mut step = CodeFlow::new(&flow, "cookie: s=1\r\n", 1).collecting();
        let authorize = sent(&mut step);
        assert!(authorize.starts_with("GET /authorize?response_type=code&client_id=web&"));
        assert!(authorize.contains(&format!("code_challenge={} HTTP/1.1", flow.pairs[1].challenge)));
        assert!(authorize.contains("\r\ncookie: s=1\r\n") && authorize.contains("&nonce=n"));
        let head = format!("location: {REDIRECT_URI}?code=c%2B1&state=bench-state-1&iss=x\r\n");
        assert!(matches!(step.response(&Response::of(303, &head, b"")), Progress::More));
        let redeem = sent(&mut step);
        assert!(redeem.contains("&code=c%2B1&code_verifier=") && redeem.ends_with(&flow.pairs[1].verifier));
        // {"alg":"ES256"}
        let body = br#"{"access_token":"a","refresh_token":"r","id_token":"eyJhbGciOiJFUzI1NiJ9.e30.eA"}"#;
        assert!(matches!(step.response(&Response::of(200, "", body)), Progress::Done));
        assert!(sent(&mut step).contains("state=bench-state-2"));
        assert_eq!(step.into_refresh_tokens(), ["r"]);
    }

    #[test]
    fn a_foreign_state_an_error_or_a_wrong_algorithm_fails() {
        let flow = flow("openid");
        let mut step = CodeFlow::new(&flow, "", 0);
        for query in ["code=c&state=other", "error=consent_required&state=bench-state-1", "state=bench-state-2"] {
            let head = format!("location: {REDIRECT_URI}?{query}\r\n");
            assert!(matches!(step.response(&Response::of(303, &head, b"")), Progress::Failed(_)), "{query}");
        }
        assert!(matches!(step.response(&Response::of(200, "", b"<form>")), Progress::Failed(_)));
        step.stage = Stage::Redeem { code: "c".to_owned() };
        let body = br#"{"access_token":"a","refresh_token":"r","id_token":"eyJhbGciOiJSUzI1NiJ9.e30.eA"}"#;
        assert!(matches!(step.response(&Response::of(200, "", body)), Progress::Failed(_)));
    }
}
