//! A web app beside the real binary: the requests that it makes, unsent, for some tests want an answer and others a server
//! that is gone.

use reqwest::RequestBuilder;

use super::server::{Answer, CHALLENGE, http_client, redemption};

/// A confidential client that redeems codes and refreshes, as `Binary::add_web_app` registers it.
#[derive(Clone)]
pub struct WebApp {
    pub http: reqwest::Client,
    /// The server that it asks.
    pub url: String,
    pub id: String,
    pub secret: String,
}

impl WebApp {
    pub fn new(url: &str, id: &str, secret: &str) -> Self {
        Self { http: http_client(), url: url.to_owned(), id: id.to_owned(), secret: secret.to_owned() }
    }

    /// The same at another node.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// The address of an authorization request for a code and, with it, a refresh token.
    pub fn authorize_url(&self) -> String {
        format!(
            "{}/authorize?client_id={}&response_type=code&scope=openid+offline_access&state=s\
             &redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_challenge={CHALLENGE}&code_challenge_method=S256",
            self.url, self.id
        )
    }

    /// A form for an endpoint, from this client.
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).basic_auth(&self.id, Some(&self.secret)).form(form)
    }

    /// Redeems a code with the verifier of all tests.
    pub fn redeem(&self, code: &str) -> RequestBuilder {
        self.post("/token", &redemption(code))
    }

    /// Uses a refresh token.
    pub fn refresh(&self, token: &str) -> RequestBuilder {
        self.post("/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// GET `/userinfo` with a Bearer token.
    pub fn userinfo(&self, token: &str) -> RequestBuilder {
        self.http.get(format!("{}/userinfo", self.url)).bearer_auth(token)
    }
}

/// A text of a token endpoint's answer, which must have been good.
pub fn granted(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", answer.text)).to_owned()
}
